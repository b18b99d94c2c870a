//! The revocation status of a card by a revocation list (RFC 5280 section 5). Fetching the list is
//! an adapter's task, open to certified operators only; this is the check. No answer, or an old
//! one, is a refusal: [`CouldNotCheck`]. A verdict is [`StatusError::Revoked`].

use std::fmt;

use der::{Decode, Encode, asn1::ObjectIdentifier};
use wire::{Timestamp, crypto::verify_rsa_sha256};
use x509_cert::{
    crl::TbsCertList,
    ext::{
        Extensions,
        pkix::{
            AuthorityKeyIdentifier, CrlReason, IssuingDistributionPoint,
            name::DistributionPointName,
        },
    },
};

use super::{
    CheckedCard, oid,
    x509::{self, SHA256_WITH_RSA},
};

/// Largest list that is read, in bytes: some half a million revoked certificates.
const LIST_LIMIT: usize = 32 * 1024 * 1024;
/// How far the list's clock may be ahead of ours, in milliseconds.
const CLOCK_SKEW_MS: u64 = 5 * 60 * 1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// A verdict: the card's certificate no longer holds.
    #[error("the card's certificate is revoked ({0})")]
    Revoked(Reason),
    /// No verdict could be had, which proofing treats as a refusal.
    #[error("the card's revocation status could not be checked: {0}")]
    CouldNotCheck(CouldNotCheck),
}

impl From<CouldNotCheck> for StatusError {
    fn from(why: CouldNotCheck) -> Self {
        Self::CouldNotCheck(why)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CouldNotCheck {
    #[error("no status was to be had")]
    NoAnswer,
    #[error("the revocation list is malformed or larger than {LIST_LIMIT} bytes")]
    Malformed,
    #[error("the revocation list is not signed with sha256WithRSAEncryption")]
    Algorithm,
    #[error("the revocation list is of another issuer or generation than the card")]
    OtherIssuer,
    #[error("the signature of the revocation list does not match")]
    BadSignature,
    #[error("the revocation list has a critical extension that is not understood: {0}")]
    UnknownCritical(ObjectIdentifier),
    #[error("the revocation list is a part that does not speak for this card")]
    NotCovered,
    #[error("the revocation list comes from the future")]
    FromTheFuture,
    #[error("the revocation list does not say until when it holds")]
    NoNextUpdate,
    #[error("the revocation list is stale")]
    Stale,
}

/// Why a certificate was revoked (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Unspecified,
    KeyCompromise,
    CaCompromise,
    /// At J-LIS: name, address or another attribute changed.
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    CertificateHold,
    PrivilegeWithdrawn,
    AaCompromise,
    RemoveFromList,
}

impl Reason {
    /// The CRLReason of RFC 5280 section 5.3.1.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::RemoveFromList => 8,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
            Self::RemoveFromList => "removeFromCRL",
        })
    }
}

/// Looks the card up in a revocation list (DER) of the CA generation that issued it. The list must
/// be current at `at` and at most `max_age_ms` old, whatever it says of itself.
pub fn check_status(
    crl_der: &[u8],
    card: &CheckedCard,
    at: Timestamp,
    max_age_ms: u64,
) -> Result<(), StatusError> {
    if crl_der.len() > LIST_LIMIT {
        return Err(CouldNotCheck::Malformed.into());
    }
    let parts = x509::split_signed(crl_der).map_err(|_| CouldNotCheck::Malformed)?;
    if parts.algorithm != SHA256_WITH_RSA {
        return Err(CouldNotCheck::Algorithm.into());
    }
    let list = verified_list(&parts, card)?;
    check_freshness(&list, at, max_age_ms)?;
    check_coverage(list.crl_extensions.as_ref(), card)?;
    let revoked = list.revoked_certificates.unwrap_or_default();
    if let Some(entry) =
        revoked.iter().find(|entry| x509::serial(&entry.serial_number) == card.serial())
    {
        return Err(StatusError::Revoked(reason(entry.crl_entry_extensions.as_ref())));
    }
    // Somebody else's entry may change what the list is about, as certificateIssuer does: with one that is not
    // understood the list says nothing of anybody (RFC 5280 section 5.3).
    let of_entries = revoked.iter().filter_map(|entry| entry.crl_entry_extensions.as_ref());
    match of_entries.flatten().find(|e| e.critical && e.extn_id != oid::CRL_REASON) {
        Some(unknown) => Err(CouldNotCheck::UnknownCritical(unknown.extn_id).into()),
        None => Ok(()),
    }
}

/// The generations share a name, so a list of another one shows by its authorityKeyIdentifier or
/// by the signature. It is read before the signature counts, only to tell these apart.
fn verified_list(
    parts: &x509::SignedDer<'_>,
    card: &CheckedCard,
) -> Result<TbsCertList, CouldNotCheck> {
    let issuer = card.issuer();
    let signed = verify_rsa_sha256(&issuer.public_key, parts.body, parts.signature).is_ok();
    let list = TbsCertList::from_der(parts.body).map_err(|_| CouldNotCheck::Malformed)?;
    if list.signature.to_der().map_err(|_| CouldNotCheck::Malformed)? != SHA256_WITH_RSA {
        return Err(CouldNotCheck::Algorithm);
    }
    let name = list.issuer.to_der().map_err(|_| CouldNotCheck::Malformed)?;
    let other_key = (list.crl_extensions.iter().flatten())
        .filter(|extension| extension.extn_id == oid::AUTHORITY_KEY_IDENTIFIER)
        .filter_map(|extension| {
            AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes()).ok()?.key_identifier
        })
        .any(|key_id| key_id.as_bytes() != issuer.key_id);
    if name != issuer.subject || other_key {
        return Err(CouldNotCheck::OtherIssuer);
    }
    if signed { Ok(list) } else { Err(CouldNotCheck::BadSignature) }
}

fn check_freshness(
    list: &TbsCertList,
    at: Timestamp,
    max_age_ms: u64,
) -> Result<(), CouldNotCheck> {
    let this_update = x509::timestamp(&list.this_update);
    if this_update > at.plus_ms(CLOCK_SKEW_MS) {
        return Err(CouldNotCheck::FromTheFuture);
    }
    let next_update = list.next_update.as_ref().ok_or(CouldNotCheck::NoNextUpdate)?;
    if at >= x509::timestamp(next_update) || at.ms_since(this_update) > max_age_ms {
        return Err(CouldNotCheck::Stale);
    }
    Ok(())
}

/// J-LIS cuts its list into one part per municipality: a part speaks for a card only if it names
/// one of the card's distribution points (RFC 5280 section 5.2.5).
fn check_coverage(
    extensions: Option<&Extensions>,
    card: &CheckedCard,
) -> Result<(), CouldNotCheck> {
    let Some(extensions) = extensions else { return Ok(()) };
    if x509::repeated(extensions).is_some() {
        return Err(CouldNotCheck::Malformed);
    }
    for extension in extensions {
        // A list's number and its key id change nothing in what it says.
        let processed =
            [oid::ISSUING_DISTRIBUTION_POINT, oid::CRL_NUMBER, oid::AUTHORITY_KEY_IDENTIFIER];
        if extension.critical && !processed.contains(&extension.extn_id) {
            return Err(CouldNotCheck::UnknownCritical(extension.extn_id));
        }
        if extension.extn_id != oid::ISSUING_DISTRIBUTION_POINT {
            continue;
        }
        let part = IssuingDistributionPoint::from_der(extension.extn_value.as_bytes())
            .map_err(|_| CouldNotCheck::Malformed)?;
        let other_kind = part.only_contains_ca_certs
            || part.only_contains_attribute_certs
            || part.indirect_crl
            || part.only_some_reasons.is_some();
        let named = match &part.distribution_point {
            None => true,
            Some(DistributionPointName::FullName(names)) => names
                .iter()
                .filter_map(|name| name.to_der().ok())
                .any(|name| card.distribution_points().contains(&name)),
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => false,
        };
        if other_kind || !named {
            return Err(CouldNotCheck::NotCovered);
        }
    }
    Ok(())
}

/// A reason that cannot be read does not make a listed certificate good.
fn reason(extensions: Option<&Extensions>) -> Reason {
    let code = (extensions.into_iter().flatten())
        .find(|extension| extension.extn_id == oid::CRL_REASON)
        .and_then(|extension| CrlReason::from_der(extension.extn_value.as_bytes()).ok());
    match code {
        None | Some(CrlReason::Unspecified) => Reason::Unspecified,
        Some(CrlReason::KeyCompromise) => Reason::KeyCompromise,
        Some(CrlReason::CaCompromise) => Reason::CaCompromise,
        Some(CrlReason::AffiliationChanged) => Reason::AffiliationChanged,
        Some(CrlReason::Superseded) => Reason::Superseded,
        Some(CrlReason::CessationOfOperation) => Reason::CessationOfOperation,
        Some(CrlReason::CertificateHold) => Reason::CertificateHold,
        Some(CrlReason::RemoveFromCRL) => Reason::RemoveFromList,
        Some(CrlReason::PrivilegeWithdrawn) => Reason::PrivilegeWithdrawn,
        Some(CrlReason::AaCompromise) => Reason::AaCompromise,
    }
}
