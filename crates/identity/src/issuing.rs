//! What an issuing CA decides before it signs: ID certificates, service certificates and link
//! attestations (`specs/07-identity.md`, section 6).
//!
//! Requests come signed by the ID key, with the chain of its certificate checked by `trust`. That
//! the ID certificate is not revoked is for the caller to have asked, since it is the one who can.

use trust::{
    CertificateKind, VerifiedChain,
    issue::{Ca, IssueError, LeafKind, Pointers, Validity, leaf},
};
use wire::{
    EnvelopeError, NetworkId, Pair, PublicKey, ServiceId, Signed, Timestamp, Verified,
    citizen::{LinkRequest, ServiceKeyProof, ServiceKeyRequest},
    consent::Link,
};

use crate::number::{Number, Y, service_id};

/// Longest validity of an ID or service certificate, in milliseconds: five years, two of them leap
/// years.
pub const VALIDITY_MS: u64 = (5 * 365 + 2) * 24 * 60 * 60 * 1000;
/// How far a request's time may be from ours, in milliseconds, either way.
pub const REQUEST_WINDOW_MS: u64 = 5 * 60 * 1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuingError {
    #[error("a citizen's certificate holds for five years at most")]
    TooLong,
    #[error("the chain is not that of an ID certificate")]
    NotAnIdCertificate,
    #[error("the request is signed by another key than the ID certificate's")]
    OtherIdKey,
    #[error("the ID certificate does not hold at this time")]
    IdCertificateExpired,
    #[error("the request's time is more than five minutes from now")]
    RequestTime,
    #[error("y is not the one behind the ID certificate's number")]
    OtherPerson,
    #[error("the key to be certified did not sign its proof of possession: {0}")]
    NoProofOfPossession(EnvelopeError),
    #[error("the proof of possession was made for another service or another ID key")]
    OtherProof,
    #[error("the key to be certified is the ID key itself; each service gets its own")]
    IdKeyReused,
    #[error("a link joins two different services")]
    OneService,
    #[error("the certificate was not issued: {0}")]
    Issue(IssueError),
}

/// Issues an ID certificate (DER): the number, no personal attributes, at most five years.
///
/// `number` comes from the function's checked answer for the citizen whom proofing returned,
/// `id_key` from the same [`crate::ProofedCitizen`]. `serial` is 128 fresh random bits.
pub fn issue_id_certificate(
    ca: &Ca<'_>,
    number: &Number,
    id_key: &PublicKey,
    serial: [u8; 16],
    validity: Validity,
    pointers: &Pointers,
) -> Result<Vec<u8>, IssuingError> {
    check_length(validity)?;
    let kind = LeafKind::Id { number: number.to_string() };
    leaf(ca, &kind, id_key, serial, validity, pointers).map_err(IssuingError::Issue)
}

fn check_length(validity: Validity) -> Result<(), IssuingError> {
    // Both ends are inclusive, so five years end one second before the fifth birthday.
    if validity.not_after.ms_since(validity.not_before) > VALIDITY_MS {
        return Err(IssuingError::TooLong);
    }
    Ok(())
}

/// A service-key request in which everything was checked: this key may be certified for this id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedServiceKey {
    subject: Pair,
    key: PublicKey,
    id_not_after: Timestamp,
}

impl CheckedServiceKey {
    /// The service and the citizen's id there.
    pub fn pair(&self) -> &Pair {
        &self.subject
    }

    /// The key to certify.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// Checks that `request` comes from the holder of the ID certificate, that they are who `y` says,
/// and that the key to be certified is theirs; and computes the service id.
pub fn check_service_key(
    request: &Verified<ServiceKeyRequest>,
    id: &VerifiedChain,
    network: &NetworkId,
    now: Timestamp,
) -> Result<CheckedServiceKey, IssuingError> {
    let message = request.message();
    let y = check_person(request.public_key(), id, &message.y, message.time, now)?;
    if message.key == *id.public_key() {
        return Err(IssuingError::IdKeyReused);
    }
    let proof = Signed::<ServiceKeyProof>::decode(&message.proof, network)
        .and_then(|proof| proof.verify(&message.key))
        .map_err(IssuingError::NoProofOfPossession)?;
    if proof.message().service != message.service || proof.message().id_key != id.key() {
        return Err(IssuingError::OtherProof);
    }
    let subject = service_id(&y, &message.service);
    Ok(CheckedServiceKey {
        subject: Pair { source: message.service.clone(), subject },
        key: message.key,
        id_not_after: id.not_after(),
    })
}

/// A service certificate and the id it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCertificate {
    pub subject: ServiceId,
    /// DER.
    pub certificate: Vec<u8>,
}

/// Issues a service certificate for a checked key. It ends with the ID certificate, where
/// `validity` would go on.
pub fn issue_checked_service_certificate(
    ca: &Ca<'_>,
    checked: &CheckedServiceKey,
    serial: [u8; 16],
    validity: Validity,
    pointers: &Pointers,
) -> Result<ServiceCertificate, IssuingError> {
    let not_after = validity.not_after.min(checked.id_not_after);
    let validity = Validity { not_after, ..validity };
    check_length(validity)?;
    let Pair { source: service, subject } = checked.subject.clone();
    let kind = LeafKind::Service { subject, service };
    let certificate =
        leaf(ca, &kind, &checked.key, serial, validity, pointers).map_err(IssuingError::Issue)?;
    Ok(ServiceCertificate { subject, certificate })
}

/// [`check_service_key`] and [`issue_checked_service_certificate`] in one step.
#[expect(clippy::too_many_arguments, reason = "five say who asks, three what to issue")]
pub fn issue_service_certificate(
    ca: &Ca<'_>,
    request: &Verified<ServiceKeyRequest>,
    id: &VerifiedChain,
    network: &NetworkId,
    now: Timestamp,
    serial: [u8; 16],
    validity: Validity,
    pointers: &Pointers,
) -> Result<ServiceCertificate, IssuingError> {
    let checked = check_service_key(request, id, network, now)?;
    issue_checked_service_certificate(ca, &checked, serial, validity, pointers)
}

/// The link attestation that the request asks for, to be signed by the organisation key.
pub fn attest_link(
    request: &Verified<LinkRequest>,
    id: &VerifiedChain,
    now: Timestamp,
) -> Result<Link, IssuingError> {
    let message = request.message();
    let y = check_person(request.public_key(), id, &message.y, message.time, now)?;
    if message.source == message.recipient {
        return Err(IssuingError::OneService);
    }
    let pair = |service: &wire::ServiceName| Pair {
        source: service.clone(),
        subject: service_id(&y, service),
    };
    Ok(Link { source: pair(&message.source), recipient: pair(&message.recipient), time: now })
}

/// That the signer holds a valid ID certificate and `y` is the one behind its number, and that the
/// request is fresh.
fn check_person(
    signer: &PublicKey,
    id: &VerifiedChain,
    y: &[u8],
    time: Timestamp,
    now: Timestamp,
) -> Result<Y, IssuingError> {
    let LeafKind::Id { number } = id.subject() else {
        return Err(IssuingError::NotAnIdCertificate);
    };
    debug_assert_eq!(id.kind(), CertificateKind::Id);
    if signer != id.public_key() {
        return Err(IssuingError::OtherIdKey);
    }
    // The chain may have been checked a while ago; certificates count in whole seconds.
    if now < id.not_before() || now.as_secs() > id.not_after().as_secs() {
        return Err(IssuingError::IdCertificateExpired);
    }
    if time.ms_since(now).max(now.ms_since(time)) > REQUEST_WINDOW_MS {
        return Err(IssuingError::RequestTime);
    }
    let y = Y::from_bytes(y).map_err(|_| IssuingError::OtherPerson)?;
    match number.parse::<Number>() {
        Ok(number) if number == y.number() => Ok(y),
        _ => Err(IssuingError::OtherPerson),
    }
}

#[cfg(test)]
mod tests;
