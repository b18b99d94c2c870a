//! The certificate profile (`specs/03-trust.md`): how names are written, and a strict reader that
//! takes back only what is written so. Path validation itself is in [`crate::chain`].

use std::collections::BTreeSet;

use const_oid::{
    ObjectIdentifier,
    db::rfc4519::{COUNTRY_NAME, ORGANIZATION_NAME, SERIAL_NUMBER},
};
use der::{Any, Decode, Encode, Tag, Tagged, flagset::FlagSet};
use wire::{
    Hash, OrganisationId, PublicKey, ServiceName, Timestamp, limits, membership::CaPurpose, sha256,
};
use x509_cert::{
    Version,
    attr::AttributeTypeAndValue,
    ext::pkix::{
        AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, ExtendedKeyUsage, KeyUsage,
        KeyUsages, NameConstraints, PolicyMappings, SubjectAltName, SubjectKeyIdentifier,
        name::GeneralName,
    },
    name::{Name, RdnSequence, RelativeDistinguishedName},
};

pub(crate) mod signature;

use self::signature::{ECDSA_WITH_SHA_256, verify_signature};
use crate::{chain::CertificateKind, issue::LeafKind, oids};

/// commonName.
const COMMON_NAME: ObjectIdentifier = const_oid::db::rfc4519::COMMON_NAME;

/// Bounds the work that a hostile certificate can cause: no list in it is longer.
const LIST: usize = limits::DESCRIPTOR_LIST;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(pub &'static str);

fn refuse<T>(what: &'static str) -> Result<T, ProfileError> {
    Err(ProfileError(what))
}

fn attribute(
    oid: ObjectIdentifier,
    tag: Tag,
    text: &str,
) -> Result<AttributeTypeAndValue, der::Error> {
    Ok(AttributeTypeAndValue { oid, value: Any::new(tag, text.as_bytes())? })
}

fn name(attributes: Vec<AttributeTypeAndValue>) -> Result<Name, der::Error> {
    let mut sequence = RdnSequence::default();
    for attribute in attributes {
        let mut relative = RelativeDistinguishedName::default();
        relative.insert(attribute)?;
        sequence.push(relative);
    }
    Name::from_der(&sequence.to_der()?)
}

/// From when until when a certificate says that it holds, both ends inclusive. Nothing of it is
/// checked; `None` if it is not of the profile.
pub fn claimed_validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let certificate = Certificate::read(der).ok()?;
    Some((certificate.not_before(), certificate.not_after()))
}

fn country() -> Result<AttributeTypeAndValue, der::Error> {
    attribute(COUNTRY_NAME, Tag::PrintableString, "JP")
}

/// C, O, organizationIdentifier, and for a CA its CN: without it a CA and its own organisation's
/// leaf would share one name, and RFC 5280 would take the leaf for self-issued.
pub(crate) fn organisation_name(
    organisation: &OrganisationId,
    text: &str,
    common_name: Option<&str>,
) -> Result<Name, der::Error> {
    let identifier = format!("NTRJP-{organisation}");
    let mut attributes = vec![
        country()?,
        attribute(ORGANIZATION_NAME, Tag::Utf8String, text)?,
        attribute(oids::ORGANISATION_IDENTIFIER, Tag::Utf8String, &identifier)?,
    ];
    if let Some(common_name) = common_name {
        attributes.push(attribute(COMMON_NAME, Tag::Utf8String, common_name)?);
    }
    name(attributes)
}

/// C and serialNumber, nothing about the person.
pub(crate) fn citizen_name(serial_number: &str) -> Result<Name, der::Error> {
    name(vec![country()?, attribute(SERIAL_NUMBER, Tag::PrintableString, serial_number)?])
}

/// An organisation's name as people read it: 1 to 64 characters (ub-organization-name, RFC 5280
/// appendix A.1).
pub(crate) fn check_name(text: &str) -> Result<(), &'static str> {
    let length = text.chars().count();
    if (1..=64).contains(&length) && !text.chars().any(char::is_control) && text.trim() == text {
        Ok(())
    } else {
        Err("an organisation's name is 1 to 64 characters long, without control characters")
    }
}

/// What a number may look like here; its check characters are the identity crate's.
pub(crate) fn check_number(text: &str) -> Result<(), &'static str> {
    let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(valid) {
        Ok(())
    } else {
        Err("a number is 1 to 64 of A-Z a-z 0-9 -")
    }
}

/// The one value of an attribute type, as text; none if it is missing, twice, or shares its place
/// with another.
fn single(name: &Name, oid: ObjectIdentifier) -> Option<&str> {
    let mut found = name.iter_rdn().filter(|rdn| rdn.iter().any(|a| a.oid == oid));
    let rdn = found.next()?;
    if found.next().is_some() || rdn.len() != 1 {
        return None;
    }
    let value = &rdn.iter().next()?.value;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString => std::str::from_utf8(value.value()).ok(),
        _ => None,
    }
}

pub(crate) fn organisation_of(name: &Name) -> Result<OrganisationId, ProfileError> {
    single(name, oids::ORGANISATION_IDENTIFIER)
        .and_then(|text| text.strip_prefix("NTRJP-"))
        .and_then(|text| text.parse().ok())
        .ok_or(ProfileError(
            "the subject has no single organizationIdentifier NTRJP-<corporate number>",
        ))
}

pub(crate) fn name_of(name: &Name) -> Result<String, ProfileError> {
    single(name, ORGANIZATION_NAME)
        .map(str::to_owned)
        .ok_or(ProfileError("the subject has no single organizationName"))
}

/// The service that a subjectAltName names.
pub(crate) fn service_of(name: &GeneralName) -> Result<ServiceName, ProfileError> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => ServiceName::from_uri(uri.as_str())
            .map_err(|_| ProfileError("a subjectAltName URI is no service")),
        _ => refuse("a subjectAltName is no URI"),
    }
}

/// A parsed certificate whose form has been checked; its signature has **not**.
#[derive(Clone)]
pub(crate) struct Certificate {
    decoded: x509_cert::Certificate,
    der: Vec<u8>,
    key: PublicKey,
    subject_key: Vec<u8>,
    authority_key: Vec<u8>,
}

impl Certificate {
    pub(crate) fn read(der: &[u8]) -> Result<Self, ProfileError> {
        const MALFORMED: ProfileError = ProfileError("not a DER certificate (RFC 5280)");
        if der.len() > limits::CERTIFICATE {
            return refuse("larger than a certificate may be");
        }
        let decoded = x509_cert::Certificate::from_der(der).map_err(|_| MALFORMED)?;
        // One spelling per certificate, or a denylist of hashes would mean nothing.
        if decoded.to_der().map_err(|_| MALFORMED)? != der {
            return Err(MALFORMED);
        }
        let tbs = decoded.tbs_certificate();
        if tbs.version() != Version::V3
            || tbs.issuer_unique_id().is_some()
            || tbs.subject_unique_id().is_some()
        {
            return refuse("not a version 3 certificate without unique identifiers");
        }
        let algorithm = tbs.signature();
        if algorithm.oid != ECDSA_WITH_SHA_256
            || algorithm.parameters.is_some()
            || algorithm != decoded.signature_algorithm()
        {
            return refuse("signed with another algorithm than ecdsa-with-SHA256");
        }
        let serial = tbs.serial_number().as_bytes();
        if serial.is_empty() || serial.len() > 20 || serial.iter().all(|byte| *byte == 0) {
            return refuse("the serial number is not a positive number of at most 20 bytes");
        }
        let spki = tbs.subject_public_key_info().to_der().map_err(|_| MALFORMED)?;
        let key = PublicKey::from_spki(&spki).map_err(|_| ProfileError("the key is not P-256"))?;
        let mut certificate =
            Self { decoded, der: der.to_vec(), key, subject_key: vec![], authority_key: vec![] };
        certificate.check_lists()?;
        let subject_key: SubjectKeyIdentifier =
            certificate.extension()?.ok_or(ProfileError("no subjectKeyIdentifier"))?.1;
        let authority_key: AuthorityKeyIdentifier =
            certificate.extension()?.ok_or(ProfileError("no authorityKeyIdentifier"))?.1;
        certificate.subject_key = subject_key.0.as_bytes().to_vec();
        certificate.authority_key = match authority_key.key_identifier {
            Some(identifier) => identifier.as_bytes().to_vec(),
            None => return refuse("the authorityKeyIdentifier names no key"),
        };
        Ok(certificate)
    }

    /// Path validation compares every name with every constraint and multiplies policies with
    /// mappings: short lists keep that work small.
    fn check_lists(&self) -> Result<(), ProfileError> {
        const TOO_MANY: ProfileError = ProfileError("a list in the certificate is too long");
        let tbs = self.decoded.tbs_certificate();
        let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        let distinct: BTreeSet<_> = extensions.iter().map(|extension| extension.extn_id).collect();
        if distinct.len() != extensions.len() {
            return refuse("an extension stands twice");
        }
        let attributes = |name: &Name| name.iter_rdn().map(|rdn| rdn.len()).sum::<usize>();
        let constraints = self.extension::<NameConstraints>()?.map_or(0, |(_, constraints)| {
            constraints.permitted_subtrees.map_or(0, |list| list.len())
                + constraints.excluded_subtrees.map_or(0, |list| list.len())
        });
        let lengths = [
            extensions.len(),
            attributes(tbs.subject()),
            attributes(tbs.issuer()),
            constraints,
            self.extension::<SubjectAltName>()?.map_or(0, |(_, names)| names.0.len()),
            self.extension::<CertificatePolicies>()?.map_or(0, |(_, list)| list.0.len()),
            self.extension::<PolicyMappings>()?.map_or(0, |(_, list)| list.0.len()),
            self.extension::<ExtendedKeyUsage>()?.map_or(0, |(_, list)| list.0.len()),
        ];
        if lengths.into_iter().any(|length| length > LIST) { Err(TOO_MANY) } else { Ok(()) }
    }

    fn extension<'a, T: Decode<'a, Error = der::Error> + const_oid::AssociatedOid>(
        &'a self,
    ) -> Result<Option<(bool, T)>, ProfileError> {
        self.decoded
            .tbs_certificate()
            .get_extension::<T>()
            .map_err(|_| ProfileError("an extension is malformed"))
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn hash(&self) -> Hash {
        sha256(&self.der)
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(crate) fn subject(&self) -> &Name {
        self.decoded.tbs_certificate().subject()
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.decoded.tbs_certificate().issuer()
    }

    pub(crate) fn not_before(&self) -> Timestamp {
        let validity = self.decoded.tbs_certificate().validity();
        Timestamp::from_secs(validity.not_before.to_unix_duration().as_secs())
    }

    /// The last second in which it holds.
    pub(crate) fn not_after(&self) -> Timestamp {
        let validity = self.decoded.tbs_certificate().validity();
        Timestamp::from_secs(validity.not_after.to_unix_duration().as_secs())
    }

    pub(crate) fn subject_key(&self) -> &[u8] {
        &self.subject_key
    }

    pub(crate) fn authority_key(&self) -> &[u8] {
        &self.authority_key
    }

    /// Whether this names `issuer` as the certificate that signed it: the same name byte for byte,
    /// and the same key identifier, as CA generations may share a name.
    pub(crate) fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.issuer() == issuer.subject() && self.authority_key == issuer.subject_key
    }

    /// Issuer and subject are one name: self-issued, in RFC 5280's words.
    pub(crate) fn names_itself(&self) -> bool {
        self.issuer() == self.subject()
    }

    pub(crate) fn verify_with(&self, key: &PublicKey) -> Result<(), ProfileError> {
        let tbs = self.decoded.tbs_certificate();
        let message = tbs.to_der().map_err(|_| ProfileError("not a DER certificate (RFC 5280)"))?;
        verify_signature(key, &message, tbs.signature(), self.decoded.signature())
    }

    fn policies(&self) -> Result<Vec<ObjectIdentifier>, ProfileError> {
        let list = self.extension::<CertificatePolicies>()?.map(|(_, list)| list.0);
        Ok(list.unwrap_or_default().iter().map(|policy| policy.policy_identifier).collect())
    }

    fn usages(&self) -> Result<Vec<ObjectIdentifier>, ProfileError> {
        Ok(self.extension::<ExtendedKeyUsage>()?.map(|(_, list)| list.0).unwrap_or_default())
    }

    /// Reads a leaf of `kind` and of no other.
    pub(crate) fn leaf(&self, kind: CertificateKind) -> Result<LeafKind, ProfileError> {
        if self.extension::<BasicConstraints>()?.is_some_and(|(_, constraints)| constraints.ca) {
            return refuse("a CA certificate is no leaf");
        }
        if self.policies()? != [oids::policy(kind)] {
            return refuse("the certificate policy is not that of this kind alone");
        }
        if self.usages()? != [oids::extended_key_usage(kind)] {
            return refuse("the extended key usage is not that of this kind alone");
        }
        if self.extension::<KeyUsage>()? != Some((true, KeyUsage(leaf_key_usage(kind)))) {
            return refuse("the key usage is not that of this kind");
        }
        let services = self.services()?;
        let subject = self.subject();
        let leaf = match kind {
            CertificateKind::Id => LeafKind::Id { number: self.serial_attribute()?.to_owned() },
            CertificateKind::Service => LeafKind::Service {
                subject: (self.serial_attribute()?.parse())
                    .map_err(|_| ProfileError("the subject's serialNumber is no service id"))?,
                service: only(services.clone())?,
            },
            CertificateKind::Organisation => LeafKind::Organisation {
                organisation: organisation_of(subject)?,
                name: self.organisation_name()?,
                services: services.clone(),
            },
            CertificateKind::Credential => LeafKind::Credential {
                organisation: organisation_of(subject)?,
                name: self.organisation_name()?,
                service: only(services.clone())?,
            },
        };
        // Whatever was read must be all there is, written in the one way in which it is issued.
        let (name, alternatives) = leaf
            .names()
            .map_err(|_| ProfileError("the leaf says what no CA of this network certifies"))?;
        let written: Vec<GeneralName> =
            self.extension::<SubjectAltName>()?.map(|(_, names)| names.0).unwrap_or_default();
        if name != *subject || alternatives != written {
            return refuse("the subject or subjectAltName has another form than this kind's");
        }
        Ok(leaf)
    }

    fn serial_attribute(&self) -> Result<&str, ProfileError> {
        single(self.subject(), SERIAL_NUMBER)
            .ok_or(ProfileError("the subject has no single serialNumber"))
    }

    fn organisation_name(&self) -> Result<String, ProfileError> {
        name_of(self.subject())
    }

    fn services(&self) -> Result<Vec<ServiceName>, ProfileError> {
        let names = self.extension::<SubjectAltName>()?.map(|(_, names)| names.0);
        names.unwrap_or_default().iter().map(service_of).collect()
    }

    /// Reads a CA certificate: an anchor (no policies, no extended key usage) or a sub-CA for one
    /// purpose.
    pub(crate) fn into_ca(self) -> Result<CaCertificate, ProfileError> {
        let (critical, constraints) = self
            .extension::<BasicConstraints>()?
            .ok_or(ProfileError("a CA certificate has basicConstraints"))?;
        if !constraints.ca || !critical {
            return refuse("the basicConstraints are not those of a CA");
        }
        let usage = self.extension::<KeyUsage>()?;
        if !usage.is_some_and(|(_, usage)| usage.0.contains(KeyUsages::KeyCertSign)) {
            return refuse("the key usage does not allow signing certificates");
        }
        let organisation = organisation_of(self.subject())?;
        let kinds = self.kinds()?;
        let purpose = match kinds.first() {
            None => None,
            Some(first) if kinds.iter().all(|kind| kind.purpose() == first.purpose()) => {
                Some(first.purpose())
            }
            Some(_) => return refuse("a CA issues for one purpose only"),
        };
        let path_length = constraints.path_len_constraint;
        Ok(CaCertificate { certificate: self, organisation, kinds, purpose, path_length })
    }

    /// The kinds of leaf that a CA's policies and usages, which must agree, allow it to issue.
    fn kinds(&self) -> Result<Vec<CertificateKind>, ProfileError> {
        let (policies, usages) = (self.policies()?, self.usages()?);
        let kinds: Vec<CertificateKind> = CertificateKind::ALL
            .into_iter()
            .filter(|kind| policies.contains(&oids::policy(*kind)))
            .collect();
        let agree = kinds.iter().all(|kind| usages.contains(&oids::extended_key_usage(*kind)));
        if !agree || policies.len() != kinds.len() || usages.len() != kinds.len() {
            return refuse("the policies and extended key usages are not those of one of our CAs");
        }
        Ok(kinds)
    }
}

fn only(services: Vec<ServiceName>) -> Result<ServiceName, ProfileError> {
    let [service] = <[ServiceName; 1]>::try_from(services)
        .map_err(|_| ProfileError("the subjectAltName does not name exactly one service"))?;
    Ok(service)
}

pub(crate) fn leaf_key_usage(kind: CertificateKind) -> FlagSet<KeyUsages> {
    match kind {
        CertificateKind::Credential => KeyUsages::DigitalSignature.into(),
        CertificateKind::Id | CertificateKind::Service | CertificateKind::Organisation => {
            KeyUsages::DigitalSignature | KeyUsages::NonRepudiation
        }
    }
}

/// A CA certificate of the profile; its signature has **not** been checked.
#[derive(Clone)]
pub(crate) struct CaCertificate {
    certificate: Certificate,
    organisation: OrganisationId,
    kinds: Vec<CertificateKind>,
    purpose: Option<CaPurpose>,
    path_length: Option<u8>,
}

impl CaCertificate {
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn subject(&self) -> &Name {
        self.certificate.subject()
    }

    pub(crate) fn organisation(&self) -> &OrganisationId {
        &self.organisation
    }

    /// None for a root.
    pub(crate) fn purpose(&self) -> Option<CaPurpose> {
        self.purpose
    }

    pub(crate) fn path_length(&self) -> Option<u8> {
        self.path_length
    }

    pub(crate) fn may_issue(&self, kind: CertificateKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Reads an anchor: self-signed, for no purpose of its own.
    pub(crate) fn read_anchor(der: &[u8]) -> Result<Self, ProfileError> {
        let certificate = Certificate::read(der)?;
        if !certificate.names_as_issuer(&certificate) {
            return refuse("an anchor is self-signed");
        }
        certificate.verify_with(certificate.key())?;
        let anchor = certificate.into_ca()?;
        match anchor.purpose {
            None => Ok(anchor),
            Some(_) => {
                refuse("an anchor's purposes stand in the trust list, not in the certificate")
            }
        }
    }
}
