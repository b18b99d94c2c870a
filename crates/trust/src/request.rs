//! Certification requests (PKCS#10, RFC 2986): what the holder of a key wants certified, signed with that key.
//! An organisation's key and a key for a service's credentials are asked for so; the extension request (RFC
//! 5272 section 3.1) carries the certificate policy, which says which of the two, and the services as
//! subjectAltName. A request has one spelling: the reader writes what it read, and compares.

use const_oid::AssociatedOid;
use der::{
    Decode, Encode,
    asn1::{BitString, OctetString, SetOfVec},
};
use wire::{PublicKey, ServiceName, Signer};
use x509_cert::{
    attr::Attribute,
    ext::{
        Extension,
        pkix::{CertificatePolicies, SubjectAltName, certpolicy::PolicyInformation},
    },
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
};

use crate::{
    chain::CertificateKind,
    issue::{IssueError, LeafKind},
    oids,
    profile::{self, ProfileError, signature},
};

/// Largest request, in bytes of DER.
pub const REQUEST: usize = wire::limits::CERTIFICATE;
/// The kinds that are asked for with a request; citizens' keys are certified by proofing.
const KINDS: [CertificateKind; 2] = [CertificateKind::Organisation, CertificateKind::Credential];

/// A request whose signature was checked: whoever made it holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub kind: LeafKind,
    pub key: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the certification request: {0}")]
    Form(ProfileError),
    #[error("the certification request asks for what is not issued: {0}")]
    Content(IssueError),
}

fn form<T>(why: &'static str) -> Result<T, RequestError> {
    Err(RequestError::Form(ProfileError(why)))
}

/// Asks for a certificate of this kind for the signer's key. DER.
pub fn request(kind: &LeafKind, signer: &dyn Signer) -> Result<Vec<u8>, IssueError> {
    if !KINDS.contains(&kind.kind()) {
        return Err(IssueError::Content("citizens' keys are certified by proofing"));
    }
    let info = contents(kind, &signer.public_key())?;
    let signed = signer.sign(&info.to_der()?)?;
    let signed = BitString::from_bytes(&signature::encode_signature(&signed)?)?;
    let der = CertReq { info, algorithm: algorithm(), signature: signed }.to_der()?;
    if der.len() > REQUEST {
        return Err(IssueError::Content("the request is too large"));
    }
    Ok(der)
}

impl Request {
    /// Reads a request, and checks that it is signed with the key that it names.
    pub fn read(der: &[u8]) -> Result<Self, RequestError> {
        const MALFORMED: &str = "not a DER certification request (RFC 2986)";
        if der.len() > REQUEST {
            return form("larger than a request may be");
        }
        let Ok(decoded) = CertReq::from_der(der) else { return form(MALFORMED) };
        let Ok(spki) = decoded.info.public_key.to_der() else { return form(MALFORMED) };
        let Ok(key) = PublicKey::from_spki(&spki) else { return form("the key is not P-256") };
        let kind = read_kind(&decoded.info)?;
        let written = contents(&kind, &key).map_err(RequestError::Content)?;
        let Ok(message) = written.to_der() else { return form(MALFORMED) };
        if written != decoded.info || decoded.to_der().ok().as_deref() != Some(der) {
            return form("it is not written as requests of this network are");
        }
        signature::verify_signature(&key, &message, &decoded.algorithm, &decoded.signature)
            .map_err(RequestError::Form)?;
        Ok(Self { kind, key })
    }
}

fn read_kind(info: &CertReqInfo) -> Result<LeafKind, RequestError> {
    let [attribute] = info.attributes.as_slice() else { return form("it has not one attribute") };
    let [value] = attribute.values.as_slice() else { return form("an attribute has one value") };
    let extensions = value.to_der().ok().and_then(|der| ExtensionReq::from_der(&der).ok());
    let Some(ExtensionReq(extensions)) = extensions.filter(|_| attribute.oid == ExtensionReq::OID)
    else {
        return form("the attribute is no extension request");
    };
    let found = |oid| {
        let mut all = extensions.iter().filter(move |extension| extension.extn_id == oid);
        all.next().map(|extension| extension.extn_value.as_bytes())
    };
    let policies = found(CertificatePolicies::OID)
        .and_then(|der| CertificatePolicies::from_der(der).ok())
        .map(|policies| policies.0);
    let Some([policy]) = policies.as_deref() else { return form("it names not one policy") };
    let kind = KINDS.into_iter().find(|kind| oids::policy(*kind) == policy.policy_identifier);
    let names = match found(SubjectAltName::OID) {
        None => Vec::new(),
        Some(der) => match SubjectAltName::from_der(der) {
            Ok(SubjectAltName(names)) => names,
            Err(_) => return form("its subjectAltName is malformed"),
        },
    };
    let services: Result<Vec<ServiceName>, _> = names.iter().map(profile::service_of).collect();
    let mut services = services.map_err(RequestError::Form)?;
    let organisation = profile::organisation_of(&info.subject).map_err(RequestError::Form)?;
    let name = profile::name_of(&info.subject).map_err(RequestError::Form)?;
    match kind {
        Some(CertificateKind::Organisation) => {
            Ok(LeafKind::Organisation { organisation, name, services })
        }
        Some(CertificateKind::Credential) => match services.pop() {
            Some(service) if services.is_empty() => {
                Ok(LeafKind::Credential { organisation, name, service })
            }
            _ => form("a key for credentials is of one service"),
        },
        _ => form("its policy is none that is asked for with a request"),
    }
}

fn algorithm() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: signature::ECDSA_WITH_SHA_256, parameters: None }
}

fn contents(kind: &LeafKind, key: &PublicKey) -> Result<CertReqInfo, IssueError> {
    let (subject, alternatives) = kind.names()?;
    let policy =
        PolicyInformation { policy_identifier: oids::policy(kind.kind()), policy_qualifiers: None };
    let mut extensions = vec![extension(&CertificatePolicies(vec![policy]))?];
    if !alternatives.is_empty() {
        extensions.push(extension(&SubjectAltName(alternatives))?);
    }
    let mut attributes = SetOfVec::new();
    attributes.insert(Attribute::try_from(ExtensionReq(extensions))?)?;
    Ok(CertReqInfo {
        version: Version::V1,
        subject,
        public_key: SubjectPublicKeyInfoOwned::from_der(&key.to_spki())?,
        attributes,
    })
}

fn extension<E: AssociatedOid + Encode>(value: &E) -> Result<Extension, IssueError> {
    let extn_value = OctetString::new(value.to_der()?)?;
    Ok(Extension { extn_id: E::OID, critical: false, extn_value })
}

#[cfg(test)]
mod tests;
