//! Path validation after RFC 5280 section 6, by the crate certval, from an anchor of the trust list
//! down to a leaf, with what our profile asks beyond it: one kind per leaf, strict names, one
//! spelling per certificate, CAs of the anchor's own organisation.
//!
//! A chain is refused on its cheap properties first (length, sizes, lists, names), so that hostile
//! work is bounded: at most [`wire::limits::CHAIN`] signatures for each anchor of one name and key.

mod held;

use std::collections::BTreeSet;

use certval::{
    CertificationPath, CertificationPathResults, CertificationPathSettings, PDVCertificate,
    PDVTrustAnchorChoice, PathValidationStatus, PkiEnvironment, TimeOfInterest,
    enforce_trust_anchor_constraints,
};
use der::{Encode, asn1::BitString};
use wire::{
    Bytes, EnvelopeError, Hash, KeyHash, OrganisationId, PublicKey, Signed, Timestamp, Verified,
    consent::Attested, limits, membership::CaPurpose,
};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::{
    issue::LeafKind,
    list::{Anchor, Freshness, Trust},
    oids,
    profile::{self, CaCertificate, Certificate},
};

pub(crate) use held::HeldChains;

/// What a leaf's key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateKind {
    /// A citizen's phone signs in at its home and signs applications.
    Id,
    /// A citizen's phone signs decisions at one service.
    Service,
    /// A member signs releases, requests, leases, its descriptor.
    Organisation,
    /// A service signs credentials.
    Credential,
}

impl CertificateKind {
    pub const ALL: [Self; 4] = [Self::Id, Self::Service, Self::Organisation, Self::Credential];

    /// What an anchor must be listed for to issue this kind.
    pub const fn purpose(self) -> CaPurpose {
        match self {
            Self::Id | Self::Service => CaPurpose::Citizen,
            Self::Organisation => CaPurpose::Organisation,
            Self::Credential => CaPurpose::Credential,
        }
    }
}

impl std::fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Id => "ID",
            Self::Service => "service",
            Self::Organisation => "organisation",
            Self::Credential => "credential",
        })
    }
}

/// What a checked leaf says.
pub type LeafSubject = LeafKind;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A verdict: this chain is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidChain),
    /// No verdict: nothing can be checked with a trust list that old.
    #[error("could not check the chain: the trust list is past its hard expiry")]
    TrustExpired,
}

/// Why a chain is not valid. Certificates are counted from the leaf, which is 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChain {
    #[error("the chain has {0} certificates; a leaf and 1 to {max} CAs are allowed", max = limits::CHAIN - 1)]
    Length(usize),
    #[error("certificate {position} is not of this network's profile: {what}")]
    Profile { position: usize, what: &'static str },
    #[error("certificate {position} was not issued by the next one")]
    Broken { position: usize },
    #[error("the chain hangs from no anchor of the trust list")]
    UnknownAnchor,
    #[error("its anchor is not on the trust list for {0} certificates")]
    Purpose(CertificateKind),
    #[error("certificate {position} is not valid yet")]
    NotYetValid { position: usize },
    #[error("certificate {position} has expired")]
    Expired { position: usize },
    #[error("the signature of certificate {position} does not match")]
    BadSignature { position: usize },
    /// As certval names it.
    #[error("path validation (RFC 5280 section 6) refuses the chain: {0}")]
    Path(PathValidationStatus),
    #[error("path validation (RFC 5280 section 6) cannot process the chain")]
    Unprocessable,
    #[error("certificate {position} is on the denylist")]
    DeniedCertificate { position: usize },
    #[error("an organisation in the chain is on the denylist")]
    DeniedOrganisation,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// A chain that held at the time it was checked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifiedChain {
    leaf: Vec<u8>,
    public_key: PublicKey,
    subject: LeafSubject,
    issuing_organisation: OrganisationId,
    not_before: Timestamp,
    not_after: Timestamp,
    certificate_hash: Hash,
}

impl VerifiedChain {
    pub fn leaf_der(&self) -> &[u8] {
        &self.leaf
    }

    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    pub fn key(&self) -> KeyHash {
        self.public_key.key_hash()
    }

    pub fn kind(&self) -> CertificateKind {
        self.subject.kind()
    }

    /// What the leaf says.
    pub fn subject(&self) -> &LeafSubject {
        &self.subject
    }

    /// Whose anchor it hangs from.
    pub fn issuing_organisation(&self) -> &OrganisationId {
        &self.issuing_organisation
    }

    /// The first moment at which every certificate of the chain, anchor included, holds.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second in which every certificate of the chain, anchor included, holds.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SHA-256 of the leaf's DER.
    pub fn certificate_hash(&self) -> Hash {
        self.certificate_hash
    }
}

/// Checks a chain (leaf first, anchor left out) for one kind of leaf at a moment. Revocation status
/// is not looked at here; the denylist of `trust` is.
pub fn verify_chain(
    chain: &[Bytes],
    kind: CertificateKind,
    trust: &Trust,
    at: Timestamp,
) -> Result<VerifiedChain, ChainError> {
    verify(chain, kind, trust, at, true)
}

/// The same, but a leaf that the denylist names passes: only for who says no, since that is safe
/// whatever became of the key (DESIGN section 6, S4).
pub fn verify_chain_though_revoked(
    chain: &[Bytes],
    kind: CertificateKind,
    trust: &Trust,
    at: Timestamp,
) -> Result<VerifiedChain, ChainError> {
    verify(chain, kind, trust, at, false)
}

fn verify(
    chain: &[Bytes],
    kind: CertificateKind,
    trust: &Trust,
    at: Timestamp,
    leaf_must_not_be_denied: bool,
) -> Result<VerifiedChain, ChainError> {
    if trust.freshness(at) == Freshness::HardExpired {
        return Err(ChainError::TrustExpired);
    }
    // Before anything is hashed: a chain may be as long as a message.
    if !(2..=limits::CHAIN).contains(&chain.len()) {
        return Err(InvalidChain::Length(chain.len()).into());
    }
    let asked = held::Asked::new(chain, kind);
    if let Some(verdict) = trust.held_chains().get(&asked, at) {
        return Ok(verdict);
    }
    let verdict = check(chain, kind, trust, at, leaf_must_not_be_denied)?;
    if !trust.is_denied_certificate(&verdict.certificate_hash) {
        trust.held_chains().put(asked, verdict.clone());
    }
    Ok(verdict)
}

/// Checks the chain of a signed object, then its signature with the leaf's key.
pub fn verify_signed<M: wire::Message>(
    attested: &Attested,
    kind: CertificateKind,
    trust: &Trust,
    at: Timestamp,
) -> Result<(Verified<M>, VerifiedChain), SignedError> {
    let signed = Signed::<M>::decode(&attested.object, trust.network())?;
    let chain = verify_chain(&attested.chain, kind, trust, at)?;
    let verified = signed.verify(chain.public_key())?;
    Ok((verified, chain))
}

/// As [`verify_signed`], for who looks at it later: the chain has to hold when it was signed, by whatever
/// clock said so, or `at`. Fails as it does `at`.
pub fn verify_signed_before<M: wire::Message>(
    attested: &Attested,
    kind: CertificateKind,
    trust: &Trust,
    signed_at: Timestamp,
    at: Timestamp,
) -> Result<(Verified<M>, VerifiedChain), SignedError> {
    verify_signed(attested, kind, trust, signed_at)
        .or_else(|_| verify_signed(attested, kind, trust, at))
}

fn check(
    chain: &[Bytes],
    kind: CertificateKind,
    trust: &Trust,
    at: Timestamp,
    leaf_must_not_be_denied: bool,
) -> Result<VerifiedChain, InvalidChain> {
    let mut certificates = Vec::with_capacity(chain.len());
    for (position, der) in chain.iter().enumerate() {
        let certificate = Certificate::read(der)
            .map_err(|error| InvalidChain::Profile { position, what: error.0 })?;
        let looked_up = position > 0 || leaf_must_not_be_denied;
        if looked_up && trust.is_denied_certificate(&certificate.hash()) {
            return Err(InvalidChain::DeniedCertificate { position });
        }
        certificates.push(certificate);
    }
    for (position, pair) in certificates.windows(2).enumerate() {
        if !pair[0].names_as_issuer(&pair[1]) {
            return Err(InvalidChain::Broken { position });
        }
    }
    let top = certificates.last().expect("two certificates at least");
    let anchors: Vec<&Anchor> = trust.anchors_of(top).collect();
    if anchors.is_empty() {
        return Err(InvalidChain::UnknownAnchor);
    }
    let leaf = &certificates[0];
    let subject =
        leaf.leaf(kind).map_err(|error| InvalidChain::Profile { position: 0, what: error.0 })?;
    if subject.organisation().is_some_and(|owner| trust.is_denied_organisation(owner)) {
        return Err(InvalidChain::DeniedOrganisation);
    }
    let mut refusal = InvalidChain::Purpose(kind);
    for anchor in anchors.into_iter().filter(|anchor| anchor.has_purpose(kind.purpose())) {
        match check_under(anchor, &certificates, kind, trust, at) {
            Ok(()) => {
                let all = || certificates.iter().chain([anchor.ca().certificate()]);
                return Ok(VerifiedChain {
                    leaf: leaf.der().to_vec(),
                    public_key: *leaf.key(),
                    subject,
                    issuing_organisation: anchor.ca().organisation().clone(),
                    not_before: all().map(Certificate::not_before).max().unwrap_or_default(),
                    not_after: all().map(Certificate::not_after).min().unwrap_or_default(),
                    certificate_hash: leaf.hash(),
                });
            }
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn check_under(
    anchor: &Anchor,
    certificates: &[Certificate],
    kind: CertificateKind,
    trust: &Trust,
    at: Timestamp,
) -> Result<(), InvalidChain> {
    let organisation = anchor.ca().organisation();
    if trust.is_denied_certificate(&anchor.ca().certificate().hash()) {
        return Err(InvalidChain::DeniedCertificate { position: certificates.len() });
    }
    if trust.is_denied_organisation(organisation) {
        return Err(InvalidChain::DeniedOrganisation);
    }
    for (position, certificate) in certificates.iter().enumerate().skip(1) {
        let profile = |what| InvalidChain::Profile { position, what };
        let ca: CaCertificate = certificate.clone().into_ca().map_err(|error| profile(error.0))?;
        // The list admits an organisation; that organisation admits no other.
        if ca.organisation() != organisation {
            return Err(profile("a CA of another organisation than its anchor"));
        }
        // RFC 5280 does not count self-issued CAs against a path length; we have no use for them.
        if certificate.names_itself() {
            return Err(profile("a self-issued CA"));
        }
        if !ca.may_issue(kind) {
            return Err(profile("a CA for another purpose"));
        }
    }
    validate_path(anchor, certificates, kind, at)
}

fn validate_path(
    anchor: &Anchor,
    certificates: &[Certificate],
    kind: CertificateKind,
    at: Timestamp,
) -> Result<(), InvalidChain> {
    let unprocessable = |_: der::Error| InvalidChain::Unprocessable;
    let parse = |certificate: &Certificate| PDVCertificate::try_from(certificate.der());
    let trust_anchor =
        PDVTrustAnchorChoice::try_from(anchor.ca().certificate().der()).map_err(unprocessable)?;
    let target = parse(&certificates[0]).map_err(unprocessable)?;
    let intermediates = certificates[1..]
        .iter()
        .rev()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()
        .map_err(unprocessable)?;
    let path = CertificationPath::new(trust_anchor, intermediates, target);

    let mut environment = PkiEnvironment::new();
    environment.add_verify_signature_message_callback(verify_certificate_signature);
    environment.add_validate_path_callback(certval::validate_path_rfc5280);
    let settings = settings(kind, at)?;
    let settings = enforce_trust_anchor_constraints(&settings, &path.trust_anchor)
        .map_err(|error| refusal(error, None, certificates.len()))?;
    let mut results = CertificationPathResults::new();
    environment
        .validate_path(&environment, &settings, &path, &mut results)
        .map_err(|error| refusal(error, results.get_failure_index(), certificates.len()))?;
    match results.get_validation_status() {
        Some(PathValidationStatus::Valid) => Ok(()),
        Some(status) => Err(InvalidChain::Path(status)),
        None => Err(InvalidChain::Unprocessable),
    }
}

/// The inputs of RFC 5280 section 6.1.1, and that usages are intersected along the path.
fn settings(
    kind: CertificateKind,
    at: Timestamp,
) -> Result<CertificationPathSettings, InvalidChain> {
    // certval takes second 0 for "do not check times".
    let seconds = at.as_secs().max(1);
    let time = TimeOfInterest::from_unix_secs(seconds).map_err(|_| InvalidChain::Unprocessable)?;
    let mut settings = CertificationPathSettings::new();
    settings.set_time_of_interest(time);
    settings.set_initial_policy_set_from_oid_set(BTreeSet::from([oids::policy(kind)]));
    settings.set_initial_explicit_policy_indicator(true);
    settings.set_initial_policy_mapping_inhibit_indicator(true);
    settings.set_initial_inhibit_any_policy_indicator(true);
    settings.set_extended_key_usage_from_oid_set(BTreeSet::from([oids::extended_key_usage(kind)]));
    settings.set_extended_key_usage_path(true);
    settings.set_target_key_usage(profile::leaf_key_usage(kind));
    settings.set_enforce_trust_anchor_constraints(true);
    settings.set_enforce_trust_anchor_validity(true);
    // The anchor handed over is the trust list's own; there is no other store to look in.
    settings.set_require_ta_store(false);
    Ok(settings)
}

fn verify_certificate_signature(
    _: &PkiEnvironment,
    message: &[u8],
    signature: &BitString,
    algorithm: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKeyInfoOwned,
) -> certval::Result<()> {
    let failure =
        certval::Error::PathValidation(PathValidationStatus::SignatureVerificationFailure);
    let key = PublicKey::from_spki(&key.to_der()?).map_err(|_| failure)?;
    profile::signature::verify_signature(&key, message, algorithm, signature).map_err(|_| failure)
}

/// Certval counts from the anchor, which is 0; we count from the leaf.
fn refusal(error: certval::Error, index: Option<u32>, certificates: usize) -> InvalidChain {
    let certval::Error::PathValidation(status) = error else {
        return InvalidChain::Unprocessable;
    };
    let position = index.map(|index| certificates.saturating_sub(index as usize));
    match (status, position) {
        (PathValidationStatus::InvalidNotBeforeDate, Some(position)) => {
            InvalidChain::NotYetValid { position }
        }
        (PathValidationStatus::InvalidNotAfterDate, Some(position)) => {
            InvalidChain::Expired { position }
        }
        (PathValidationStatus::SignatureVerificationFailure, Some(position)) => {
            InvalidChain::BadSignature { position }
        }
        (status, _) => InvalidChain::Path(status),
    }
}

#[cfg(test)]
mod tests;
