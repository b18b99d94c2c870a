//! Where certval comes to another result than PKITS wants, and why. `specs/03-trust.md` says what
//! that means for this network.

/// Runs of one cause.
pub(crate) struct Divergence {
    pub(crate) runs: &'static [&'static str],
    /// What a valid path is refused for. `None`: a path that must be refused is accepted.
    pub(crate) got: Option<&'static str>,
    pub(crate) why: &'static str,
}

const UNDETERMINED: Option<&str> = Some("RevocationStatusNotDetermined");

pub(crate) const DIVERGENCES: &[Divergence] = &[
    Divergence {
        runs: &["4.1.4", "4.1.5"],
        got: Some("SignatureVerificationFailure"),
        why: "DSA signatures are not supported",
    },
    Divergence {
        runs: &["4.2.3"],
        got: Some("Unreadable"),
        why: "a UTCTime before 1970 is not read",
    },
    Divergence {
        runs: &[
            "4.4.19", "4.5.1", "4.5.4", "4.5.6", "4.6.15", "4.6.17", "4.9.6", "4.11.7", "4.12.7",
            "4.12.9", "4.13.19",
        ],
        got: UNDETERMINED,
        why: "a CRL counts only if signed by the key that signed the certificate, not by another \
              key of the CA",
    },
    Divergence {
        runs: &["4.14.4", "4.14.5", "4.14.7"],
        got: UNDETERMINED,
        why: "distribution points named relative to the CRL's issuer are not supported",
    },
    Divergence {
        runs: &["4.14.18", "4.14.19"],
        got: UNDETERMINED,
        why: "CRLs for some reasons are not put together",
    },
    Divergence {
        runs: &["4.14.24", "4.14.25", "4.14.28", "4.14.29", "4.14.30", "4.14.33"],
        got: UNDETERMINED,
        why: "CRLs of another issuer (indirect CRLs) are not supported",
    },
    Divergence {
        runs: &["4.15.5"],
        got: Some("CertificateRevokedEndEntity"),
        why: "delta-CRLs are not used: what one takes off the complete CRL stays revoked",
    },
    Divergence {
        runs: &["4.15.4"],
        got: None,
        why: "delta-CRLs are not used: what only one of them revokes passes",
    },
];

/// Refused as PKITS wants, but not because the certificate was found revoked or its signature
/// wrong: what it takes to find that is not supported. No divergence; it would be one to count
/// these as proof of support.
pub(crate) const REFUSED_FOR_LACK_OF_SUPPORT: &[&str] = &[
    "4.1.6", "4.4.20", "4.4.21", "4.5.2", "4.5.5", "4.5.7", "4.14.6", "4.14.15", "4.14.16",
    "4.14.20", "4.14.21", "4.14.31", "4.14.32", "4.14.34",
];
