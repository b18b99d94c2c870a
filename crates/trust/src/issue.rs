//! Building certificates of the network's profile (`specs/03-trust.md` has the table). Serial
//! numbers are the caller's: 128 random bits, never used twice by one CA.

use const_oid::AssociatedOid;
use der::{
    Decode, Encode, Sequence,
    asn1::{BitString, Ia5String, OctetString, Uint},
};
use wire::{
    OrganisationId, PublicKey, ServiceId, ServiceName, SignError, Signer, Timestamp,
    membership::CaPurpose,
};
use x509_cert::{
    Version,
    ext::{
        Criticality, Extension,
        pkix::{
            AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
            CertificatePolicies, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages,
            SubjectAltName, SubjectKeyIdentifier,
            certpolicy::PolicyInformation,
            crl::dp::DistributionPoint,
            name::{DistributionPointName, GeneralName},
        },
    },
    name::Name,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity as X509Validity},
};

use crate::{
    chain::CertificateKind,
    oids,
    profile::{self, Certificate, ProfileError},
};

/// Most services that one organisation certificate names.
pub const SERVICES: usize = wire::limits::DESCRIPTOR_LIST;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    Sign(#[from] SignErrorText),
    #[error("the certificate could not be encoded: {0}")]
    Encoding(der::Error),
    #[error("the CA certificate is not of this network's profile: {0}")]
    Ca(ProfileError),
    #[error("the signer's key is not the one in the CA certificate")]
    OtherKey,
    #[error("a CA for {0:?} purposes may not issue this kind of certificate")]
    WrongPurpose(CaPurpose),
    #[error("only a root CA may issue a sub-CA, and only a sub-CA a leaf")]
    WrongLevel,
    #[error("a sub-CA belongs to the organisation of its root CA")]
    OtherOrganisation,
    #[error(
        "notAfter must come after notBefore, no later than the CA's own, within years 1970 to 9999"
    )]
    Validity,
    #[error("the serial number is zero")]
    Serial,
    #[error("{0}")]
    Content(&'static str),
}

/// Why the key store did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignErrorText(pub String);

impl From<SignError> for IssueError {
    fn from(error: SignError) -> Self {
        Self::Sign(SignErrorText(error.to_string()))
    }
}

impl From<der::Error> for IssueError {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error)
    }
}

/// What a leaf says about the holder of its key: what is asked for at issuing and what is read from
/// a checked chain.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// One phone of a citizen, named by their number.
    Id { number: String },
    /// One phone of a citizen at one service.
    Service { subject: ServiceId, service: ServiceName },
    /// A member's organisation key, with the services it stands for.
    Organisation { organisation: OrganisationId, name: String, services: Vec<ServiceName> },
    /// A key that signs one service's credentials.
    Credential { organisation: OrganisationId, name: String, service: ServiceName },
}

/// Without numbers and service ids, which no log may hold.
impl std::fmt::Debug for LeafKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeafKind({}, {:?}, {:?})", self.kind(), self.organisation(), self.services())
    }
}

impl LeafKind {
    pub fn kind(&self) -> CertificateKind {
        match self {
            Self::Id { .. } => CertificateKind::Id,
            Self::Service { .. } => CertificateKind::Service,
            Self::Organisation { .. } => CertificateKind::Organisation,
            Self::Credential { .. } => CertificateKind::Credential,
        }
    }

    /// The organisation that holds the key; none for a citizen's.
    pub fn organisation(&self) -> Option<&OrganisationId> {
        match self {
            Self::Id { .. } | Self::Service { .. } => None,
            Self::Organisation { organisation, .. } | Self::Credential { organisation, .. } => {
                Some(organisation)
            }
        }
    }

    /// The services that the certificate names.
    pub fn services(&self) -> &[ServiceName] {
        match self {
            Self::Id { .. } => &[],
            Self::Service { service, .. } | Self::Credential { service, .. } => {
                std::slice::from_ref(service)
            }
            Self::Organisation { services, .. } => services,
        }
    }

    /// The one way in which this is written: subject and subjectAltName (sorted).
    pub(crate) fn names(&self) -> Result<(Name, Vec<GeneralName>), IssueError> {
        self.check()?;
        let subject = match self {
            Self::Id { number } => profile::citizen_name(number)?,
            Self::Service { subject, .. } => profile::citizen_name(&subject.to_string())?,
            Self::Organisation { organisation, name, .. }
            | Self::Credential { organisation, name, .. } => {
                profile::organisation_name(organisation, name, None)?
            }
        };
        let mut services: Vec<&ServiceName> = self.services().iter().collect();
        services.sort();
        let alternatives = services
            .iter()
            .map(|service| {
                Ia5String::new(&service.uri()).map(GeneralName::UniformResourceIdentifier)
            })
            .collect::<Result<_, _>>()?;
        Ok((subject, alternatives))
    }

    fn check(&self) -> Result<(), IssueError> {
        if let Self::Id { number } = self {
            profile::check_number(number).map_err(IssueError::Content)?;
        }
        if let Self::Organisation { name, .. } | Self::Credential { name, .. } = self {
            profile::check_name(name).map_err(IssueError::Content)?;
        }
        let services = self.services();
        if services.len() > SERVICES {
            return Err(IssueError::Content("too many services for one certificate"));
        }
        let mut seen: Vec<&ServiceName> = services.iter().collect();
        seen.sort();
        if seen.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(IssueError::Content("a service is named twice"));
        }
        match self.organisation() {
            Some(owner) if services.iter().any(|service| service.organisation() != *owner) => {
                Err(IssueError::Content("a service belongs to another organisation"))
            }
            _ => Ok(()),
        }
    }
}

/// From when until when a certificate holds, both inclusive; certificates count in seconds, so
/// fractions are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Where a leaf's status can be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointers {
    /// URL of the CRL (RFC 5280 section 4.2.1.13).
    pub crl: Option<String>,
    /// URL of the OCSP responder (RFC 5280 section 4.2.2.1).
    pub ocsp: Option<String>,
}

/// A CA that signs: its certificate, DER, and the key in it.
pub struct Ca<'a> {
    pub certificate: &'a [u8],
    pub signer: &'a dyn Signer,
}

/// A self-signed anchor. What it may issue stands in the trust list, so it carries no policies and
/// no extended key usage.
pub fn root_ca(
    organisation: &OrganisationId,
    name: &str,
    signer: &dyn Signer,
    serial: [u8; 16],
    validity: Validity,
) -> Result<Vec<u8>, IssueError> {
    profile::check_name(name).map_err(IssueError::Content)?;
    let key = signer.public_key();
    let subject = profile::organisation_name(organisation, name, Some("Root CA"))?;
    let mut extensions = Extensions::new(&key, &key)?;
    extensions.add(&BasicConstraints { ca: true, path_len_constraint: Some(1) })?;
    extensions.add(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?;
    let issuer = subject.clone();
    build(Contents { issuer, subject, key: &key, serial, validity, extensions }, signer)
}

/// A CA for one purpose, of the root's own organisation.
pub fn sub_ca(
    root: &Ca,
    purpose: CaPurpose,
    organisation: &OrganisationId,
    name: &str,
    key: &PublicKey,
    serial: [u8; 16],
    validity: Validity,
) -> Result<Vec<u8>, IssueError> {
    profile::check_name(name).map_err(IssueError::Content)?;
    let issuer = open_ca(root, validity)?;
    if issuer.purpose().is_some() || issuer.path_length() == Some(0) {
        return Err(IssueError::WrongLevel);
    }
    if issuer.organisation() != organisation {
        return Err(IssueError::OtherOrganisation);
    }
    let common_name = match purpose {
        CaPurpose::Citizen => "Citizen CA",
        CaPurpose::Organisation => "Organisation CA",
        CaPurpose::Credential => "Credential CA",
    };
    let subject = profile::organisation_name(organisation, name, Some(common_name))?;
    let kinds = oids::kinds(purpose);
    let mut extensions = Extensions::new(key, &root.signer.public_key())?;
    extensions.add(&BasicConstraints { ca: true, path_len_constraint: Some(0) })?;
    extensions.add(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?;
    extensions.add(&policies(kinds))?;
    extensions.add(&usages(kinds))?;
    let issuer = issuer.subject().clone();
    build(Contents { issuer, subject, key, serial, validity, extensions }, root.signer)
}

/// A certificate for a key that issues nothing.
pub fn leaf(
    ca: &Ca,
    kind: &LeafKind,
    key: &PublicKey,
    serial: [u8; 16],
    validity: Validity,
    pointers: &Pointers,
) -> Result<Vec<u8>, IssueError> {
    let issuer = open_ca(ca, validity)?;
    let purpose = issuer.purpose().ok_or(IssueError::WrongLevel)?;
    if !issuer.may_issue(kind.kind()) {
        return Err(IssueError::WrongPurpose(purpose));
    }
    let (subject, alternatives) = kind.names()?;
    let mut extensions = Extensions::new(key, &ca.signer.public_key())?;
    extensions.add(&KeyUsage(profile::leaf_key_usage(kind.kind())))?;
    extensions.add(&policies(&[kind.kind()]))?;
    extensions.add(&usages(&[kind.kind()]))?;
    if !alternatives.is_empty() {
        extensions.add(&SubjectAltName(alternatives))?;
    }
    if let Some(crl) = &pointers.crl {
        let point = DistributionPoint {
            distribution_point: Some(DistributionPointName::FullName(vec![uri(crl)?])),
            reasons: None,
            crl_issuer: None,
        };
        extensions.add(&CrlDistributionPoints(vec![point]))?;
    }
    if let Some(ocsp) = &pointers.ocsp {
        let access = AccessDescription {
            access_method: const_oid::db::rfc5280::ID_AD_OCSP,
            access_location: uri(ocsp)?,
        };
        extensions.add(&AuthorityInfoAccessSyntax(vec![access]))?;
    }
    let issuer = issuer.subject().clone();
    build(Contents { issuer, subject, key, serial, validity, extensions }, ca.signer)
}

fn open_ca(ca: &Ca, validity: Validity) -> Result<profile::CaCertificate, IssueError> {
    let certificate = Certificate::read(ca.certificate).map_err(IssueError::Ca)?;
    if certificate.key() != &ca.signer.public_key() {
        return Err(IssueError::OtherKey);
    }
    if validity.not_after.as_secs() > certificate.not_after().as_secs() {
        return Err(IssueError::Validity);
    }
    certificate.into_ca().map_err(IssueError::Ca)
}

fn uri(text: &str) -> Result<GeneralName, IssueError> {
    if text.len() > 256 || !(text.starts_with("http://") || text.starts_with("https://")) {
        return Err(IssueError::Content(
            "a status URL is http or https and at most 256 bytes long",
        ));
    }
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(text)?))
}

fn policies(kinds: &[CertificateKind]) -> CertificatePolicies {
    let information = |kind: &CertificateKind| PolicyInformation {
        policy_identifier: oids::policy(*kind),
        policy_qualifiers: None,
    };
    CertificatePolicies(kinds.iter().map(information).collect())
}

fn usages(kinds: &[CertificateKind]) -> ExtendedKeyUsage {
    ExtendedKeyUsage(kinds.iter().map(|kind| oids::extended_key_usage(*kind)).collect())
}

#[derive(Default)]
struct Extensions(Vec<Extension>);

impl Extensions {
    /// Starts with the key identifiers that every certificate has.
    fn new(key: &PublicKey, issuer: &PublicKey) -> Result<Self, IssueError> {
        let mut extensions = Self::default();
        let authority = OctetString::new(profile::signature::key_identifier(issuer))?;
        extensions.add(&AuthorityKeyIdentifier {
            key_identifier: Some(authority),
            ..Default::default()
        })?;
        extensions.add(&SubjectKeyIdentifier(OctetString::new(
            profile::signature::key_identifier(key),
        )?))?;
        Ok(extensions)
    }

    /// Critical as RFC 5280 section 4.2.1 wants it for a certificate whose subject is not empty.
    fn add<E: Criticality + AssociatedOid + Encode>(
        &mut self,
        extension: &E,
    ) -> Result<(), IssueError> {
        let critical =
            E::OID != SubjectAltName::OID && extension.criticality(&Name::default(), &self.0);
        let extn_value = OctetString::new(extension.to_der()?)?;
        self.0.push(Extension { extn_id: E::OID, critical, extn_value });
        Ok(())
    }
}

struct Contents<'a> {
    issuer: Name,
    subject: Name,
    key: &'a PublicKey,
    serial: [u8; 16],
    validity: Validity,
    extensions: Extensions,
}

/// RFC 5280 section 4.1. The types of `x509-cert` can be read but not filled in.
#[derive(Sequence)]
struct TbsCertificate {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: Uint,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: X509Validity,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct SignedCertificate {
    tbs_certificate: TbsCertificate,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

fn build(contents: Contents, signer: &dyn Signer) -> Result<Vec<u8>, IssueError> {
    if contents.serial == [0; 16] {
        return Err(IssueError::Serial);
    }
    if contents.validity.not_after <= contents.validity.not_before {
        return Err(IssueError::Validity);
    }
    let algorithm =
        AlgorithmIdentifierOwned { oid: profile::signature::ECDSA_WITH_SHA_256, parameters: None };
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: Uint::new(&contents.serial)?,
        signature: algorithm.clone(),
        issuer: contents.issuer,
        validity: X509Validity::new(
            time(contents.validity.not_before)?,
            time(contents.validity.not_after)?,
        ),
        subject: contents.subject,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&contents.key.to_spki())?,
        extensions: Some(contents.extensions.0),
    };
    let signature = signer.sign(&tbs_certificate.to_der()?)?;
    let signature = BitString::from_bytes(&profile::signature::encode_signature(&signature)?)?;
    let der = SignedCertificate { tbs_certificate, signature_algorithm: algorithm, signature }
        .to_der()?;
    if der.len() > wire::limits::CERTIFICATE {
        return Err(IssueError::Content("the certificate is too large"));
    }
    Ok(der)
}

/// UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5).
fn time(at: Timestamp) -> Result<Time, IssueError> {
    let duration = std::time::Duration::from_secs(at.as_secs());
    der::DateTime::from_unix_duration(duration).map(Time::from).map_err(|_| IssueError::Validity)
}

#[cfg(test)]
mod tests;
