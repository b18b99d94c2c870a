//! The check of a signing certificate, and what comes out of it: a [`CheckedCard`].

use std::fmt;

use der::{Decode, Encode, asn1::ObjectIdentifier};
use wire::{
    Hash, Timestamp,
    crypto::{BadSignature, verify_rsa_sha256},
    limits, sha256,
};
use x509_cert::{
    TbsCertificate, Version,
    ext::{
        Extension, Extensions,
        pkix::{
            AuthorityKeyIdentifier, CertificatePolicies, CrlDistributionPoints,
            SubjectKeyIdentifier,
            name::{DistributionPointName, GeneralName},
        },
    },
};

use super::{
    JpkiRoot, JpkiRoots,
    attributes::{BadAttribute, CardAttributes},
    oid,
    x509::{self, SHA256_WITH_RSA, SignedDer},
};

/// keyUsage of a signing certificate: digitalSignature and nonRepudiation.
const KEY_USAGE: [u8; 4] = [0x03, 0x02, 0x06, 0xc0];

/// A signing certificate that hangs from a configured root, is within its validity and matches the
/// profile. Its revocation status has **not** been asked: [`super::check_status`] does that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CheckedCard {
    attributes: CardAttributes,
    issuer: JpkiRoot,
    serial: Vec<u8>,
    public_key: Vec<u8>,
    not_after: Timestamp,
    distribution_points: Vec<Vec<u8>>,
    hash: Hash,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    #[error("the card's certificate is malformed or larger than {} bytes", limits::CERTIFICATE)]
    Malformed,
    #[error("the card's certificate is not signed with sha256WithRSAEncryption")]
    Algorithm,
    #[error("the card's key is not RSA-2048 with e = 65537")]
    Key,
    #[error("the card's certificate names an issuer that is no configured J-LIS root")]
    UnknownIssuer,
    #[error("no root of the generation (key id) that the card's certificate names is configured")]
    UnknownGeneration,
    #[error("the authorityKeyIdentifier does not match the root it names")]
    IssuerMismatch,
    #[error("the card's certificate is not signed by the root that it names")]
    BadSignature,
    #[error("the card's certificate is not valid yet")]
    NotYetValid,
    #[error("the card's certificate has expired")]
    Expired,
    #[error("the root of the card's certificate is outside its own validity")]
    RootExpired,
    #[error("extension {0} stands twice in the card's certificate")]
    Repeated(ObjectIdentifier),
    #[error("the card's certificate has a critical extension that is not understood: {0}")]
    UnknownCritical(ObjectIdentifier),
    #[error("a signing certificate does not have extension {0}")]
    Unexpected(ObjectIdentifier),
    #[error("the card's certificate lacks {0}, or it is not as in the profile")]
    Extension(&'static str),
    #[error("certificate policy {0} is not that of a signing certificate of this root")]
    Policy(ObjectIdentifier),
    #[error("the card's certificate: {0}")]
    Attribute(BadAttribute),
}

impl CheckedCard {
    pub fn attributes(&self) -> &CardAttributes {
        &self.attributes
    }

    /// The generation of the CA that issued it.
    pub fn issuer(&self) -> &JpkiRoot {
        &self.issuer
    }

    /// Big-endian, without leading zeros; unique only together with [`Self::issuer`].
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// SHA-256 of the certificate.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// DER of the names in cRLDistributionPoints: which of the CA's lists speaks for this card.
    pub(super) fn distribution_points(&self) -> &[Vec<u8>] {
        &self.distribution_points
    }

    /// Checks a signature that the card made: RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        verify_rsa_sha256(&self.public_key, message, signature)
    }
}

impl fmt::Debug for CheckedCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckedCard({:?})", self.issuer)
    }
}

/// Checks a card's signing certificate (DER) at the moment `at`.
///
/// The root is chosen by the key id in the authorityKeyIdentifier, since generations share one
/// name. The signature is checked before the contents are believed.
pub fn check_certificate(
    der: &[u8],
    roots: &JpkiRoots,
    at: Timestamp,
) -> Result<CheckedCard, CardError> {
    if der.len() > limits::CERTIFICATE {
        return Err(CardError::Malformed);
    }
    let parts = x509::split_signed(der).map_err(|_| CardError::Malformed)?;
    let tbs = TbsCertificate::from_der(parts.body).map_err(|_| CardError::Malformed)?;
    let inner = tbs.signature().to_der().map_err(|_| CardError::Malformed)?;
    if parts.algorithm != SHA256_WITH_RSA || inner != SHA256_WITH_RSA {
        return Err(CardError::Algorithm);
    }
    let unique_ids = tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some();
    let (Version::V3, Some(extensions), false) = (tbs.version(), tbs.extensions(), unique_ids)
    else {
        return Err(CardError::Malformed);
    };
    if let Some(oid) = x509::repeated(extensions) {
        return Err(CardError::Repeated(oid));
    }
    let issuer = issuer(&tbs, extensions, roots)?;
    check_signature(&parts, issuer)?;
    check_validity(&tbs, issuer, at)?;
    let public_key = x509::rsa_2048(tbs.subject_public_key_info()).ok_or(CardError::Key)?;
    let attributes = check_extensions(extensions, issuer)?;
    Ok(CheckedCard {
        attributes,
        issuer: issuer.clone(),
        serial: x509::serial(tbs.serial_number()).to_vec(),
        public_key,
        not_after: x509::timestamp(&tbs.validity().not_after),
        distribution_points: distribution_points(extensions)?,
        hash: sha256(der),
    })
}

fn required<'a>(
    extensions: &'a Extensions,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<&'a Extension, CardError> {
    x509::extension(extensions, oid).map_err(CardError::Repeated)?.ok_or(CardError::Extension(name))
}

fn issuer<'r>(
    tbs: &TbsCertificate,
    extensions: &Extensions,
    roots: &'r JpkiRoots,
) -> Result<&'r JpkiRoot, CardError> {
    const NAME: &str = "authorityKeyIdentifier";
    let name = tbs.issuer().to_der().map_err(|_| CardError::Malformed)?;
    if !roots.iter().any(|root| root.subject == name) {
        return Err(CardError::UnknownIssuer);
    }
    let extension = required(extensions, oid::AUTHORITY_KEY_IDENTIFIER, NAME)?;
    let id = AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes())
        .map_err(|_| CardError::Extension(NAME))?;
    let key_id = id.key_identifier.ok_or(CardError::Extension(NAME))?;
    let root = (roots.iter())
        .find(|root| root.subject == name && root.key_id == key_id.as_bytes())
        .ok_or(CardError::UnknownGeneration)?;
    // The profile has all three; a card that leaves out issuer and serial still names its root.
    let named = id.authority_cert_issuer.is_none_or(|names| {
        matches!(&names[..], [GeneralName::DirectoryName(other)]
            if other.to_der().is_ok_and(|other| other == root.subject))
    });
    let numbered =
        id.authority_cert_serial_number.is_none_or(|serial| x509::serial(&serial) == root.serial);
    if named && numbered { Ok(root) } else { Err(CardError::IssuerMismatch) }
}

fn check_signature(parts: &SignedDer<'_>, issuer: &JpkiRoot) -> Result<(), CardError> {
    verify_rsa_sha256(&issuer.public_key, parts.body, parts.signature)
        .map_err(|_| CardError::BadSignature)
}

fn check_validity(tbs: &TbsCertificate, root: &JpkiRoot, at: Timestamp) -> Result<(), CardError> {
    let validity = tbs.validity();
    if at < x509::timestamp(&validity.not_before) {
        return Err(CardError::NotYetValid);
    }
    // notAfter is inclusive and counts whole seconds (RFC 5280 section 4.1.2.5).
    if at >= x509::timestamp(&validity.not_after).plus_ms(1000) {
        return Err(CardError::Expired);
    }
    if root.covers(at) { Ok(()) } else { Err(CardError::RootExpired) }
}

fn check_extensions(
    extensions: &Extensions,
    issuer: &JpkiRoot,
) -> Result<CardAttributes, CardError> {
    let processed = [oid::KEY_USAGE, oid::SUBJECT_ALT_NAME, oid::CERTIFICATE_POLICIES];
    for extension in extensions {
        if [oid::BASIC_CONSTRAINTS, oid::EXTENDED_KEY_USAGE].contains(&extension.extn_id) {
            return Err(CardError::Unexpected(extension.extn_id));
        }
        if extension.critical && !processed.contains(&extension.extn_id) {
            return Err(CardError::UnknownCritical(extension.extn_id));
        }
    }
    let usage = required(extensions, oid::KEY_USAGE, "keyUsage")?;
    if !usage.critical || usage.extn_value.as_bytes() != KEY_USAGE {
        return Err(CardError::Extension("keyUsage"));
    }
    check_policy(extensions, issuer)?;
    let key_id = required(extensions, oid::SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier")?;
    let key_id = SubjectKeyIdentifier::from_der(key_id.extn_value.as_bytes());
    if !key_id.is_ok_and(|id| id.0.as_bytes().len() == 20) {
        return Err(CardError::Extension("subjectKeyIdentifier"));
    }
    let names = required(extensions, oid::SUBJECT_ALT_NAME, "subjectAltName")?;
    CardAttributes::from_subject_alt_name(names.extn_value.as_bytes()).map_err(CardError::Attribute)
}

/// Exactly one policy, critical, of the same world (production or test) as the root.
fn check_policy(extensions: &Extensions, issuer: &JpkiRoot) -> Result<(), CardError> {
    const NAME: &str = "certificatePolicies";
    let extension = required(extensions, oid::CERTIFICATE_POLICIES, NAME)?;
    let policies = CertificatePolicies::from_der(extension.extn_value.as_bytes())
        .map_err(|_| CardError::Extension(NAME))?;
    let ([policy], true) = (&policies.0[..], extension.critical) else {
        return Err(CardError::Extension(NAME));
    };
    let expected = if issuer.is_test() { oid::POLICY_TEST } else { oid::POLICY_PRODUCTION };
    if policy.policy_identifier != expected {
        return Err(CardError::Policy(policy.policy_identifier));
    }
    Ok(())
}

fn distribution_points(extensions: &Extensions) -> Result<Vec<Vec<u8>>, CardError> {
    const NAME: &str = "cRLDistributionPoints";
    let extension = required(extensions, oid::CRL_DISTRIBUTION_POINTS, NAME)?;
    let points = CrlDistributionPoints::from_der(extension.extn_value.as_bytes())
        .map_err(|_| CardError::Extension(NAME))?;
    let mut names = Vec::new();
    for point in points.0 {
        let Some(DistributionPointName::FullName(full)) = point.distribution_point else {
            return Err(CardError::Extension(NAME));
        };
        for name in full {
            names.push(name.to_der().map_err(|_| CardError::Extension(NAME))?);
        }
    }
    Ok(names)
}
