//! Where the outcome is another than the suite's, and why.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A CRL signed with another key than the certificate it is about (RFC 5280 section 6.3.3 f): certval checks
    /// it with the key of the certificate's own issuer, so that the status stays open, and that refuses.
    OtherCrlKey,
    /// Indirect CRLs, by another issuer (RFC 5280 section 5.2.5): not looked at; the status stays open.
    IndirectCrl,
    /// A distribution point named relative to the CRL's issuer: the same.
    RelativeName,
    /// CRLs that each cover some reasons are not put together: the same.
    SomeReasons,
    /// Delta CRLs (RFC 5280 section 5.2.4) are not looked at: what one takes back is still refused, and **what
    /// one alone revokes is accepted**. Our own CAs issue none.
    DeltaCrl,
    /// DSA signatures are none of ours.
    Dsa,
    /// A time before 1970, which the reader does not take.
    EarlyTime,
}

use Reason::*;

pub const LISTED: &[(&str, Reason)] = &[
    ("ValidDSASignaturesTest4EE", Dsa),
    ("ValidDSAParameterInheritanceTest5EE", Dsa),
    ("Validpre2000UTCnotBeforeDateTest3EE", EarlyTime),
    ("ValidSeparateCertificateandCRLKeysTest19EE", OtherCrlKey),
    ("ValidBasicSelfIssuedOldWithNewTest1EE", OtherCrlKey),
    ("ValidBasicSelfIssuedNewWithOldTest4EE", OtherCrlKey),
    ("ValidBasicSelfIssuedCRLSigningKeyTest6EE", OtherCrlKey),
    ("ValidSelfIssuedpathLenConstraintTest15EE", OtherCrlKey),
    ("ValidSelfIssuedpathLenConstraintTest17EE", OtherCrlKey),
    ("ValidSelfIssuedrequireExplicitPolicyTest6EE", OtherCrlKey),
    ("ValidSelfIssuedinhibitPolicyMappingTest7EE", OtherCrlKey),
    ("ValidSelfIssuedinhibitAnyPolicyTest7EE", OtherCrlKey),
    ("ValidSelfIssuedinhibitAnyPolicyTest9EE", OtherCrlKey),
    ("ValidDNnameConstraintsTest19EE", OtherCrlKey),
    ("ValidIDPwithindirectCRLTest24EE", IndirectCrl),
    ("ValidIDPwithindirectCRLTest25EE", IndirectCrl),
    ("ValidcRLIssuerTest28EE", IndirectCrl),
    ("ValidcRLIssuerTest29EE", IndirectCrl),
    ("ValidcRLIssuerTest30EE", IndirectCrl),
    ("ValidcRLIssuerTest33EE", IndirectCrl),
    ("ValiddistributionPointTest4EE", RelativeName),
    ("ValiddistributionPointTest5EE", RelativeName),
    ("ValiddistributionPointTest7EE", RelativeName),
    ("ValidonlySomeReasonsTest18EE", SomeReasons),
    ("ValidonlySomeReasonsTest19EE", SomeReasons),
    ("InvaliddeltaCRLTest4EE", DeltaCrl),
    ("ValiddeltaCRLTest5EE", DeltaCrl),
];

/// Certificates that lead nowhere: names in another order, and those that sign CRLs alone.
pub const NOT_ON_A_PATH: &[&str] = &[
    "NameOrderingCACert",
    "SeparateCertificateandCRLKeysCRLSigningCert",
    "SeparateCertificateandCRLKeysCA2CRLSigningCert",
    "indirectCRLCA3cRLIssuerCert",
    "indirectCRLCA4cRLIssuerCert",
];
