//! How a citizen's certificate stands at the CA that issued it: `POST /ca/status`. Ours until OCSP is
//! served (`specs/07-identity.md` section 6).

use serde::{Deserialize, Serialize};
use wire::{
    Bytes, Hash, KeyHash, Timestamp,
    citizen::{CertificateStatus, Standing},
    consent::Attested,
    ids::Pair,
};

use super::Home;
use crate::{
    context::Fault,
    store::{Column, Key, Read, StoreError, Transaction, TypedRead},
};

/// How many answers are signed a second in the long run, and at once.
pub(super) const PER_SECOND: u64 = 50;
pub(super) const BURST: u64 = 200;

/// A certificate of this CA. The row is there as soon as the certificate is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRow {
    pub revoked: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("too many questions; ask again in a second")]
    Busy,
    #[error("no certificate of this CA has this hash")]
    Unknown,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Home {
    /// The signed status of a certificate that this CA issued. It tells nobody anything who does not
    /// hold the certificate.
    pub async fn certificate_status(&self, certificate: Hash) -> Result<Attested, StatusError> {
        let now = self.context.now();
        if !self.status_rate.allows(&(), now.mono_ms) {
            return Err(StatusError::Busy);
        }
        let row: Option<CertificateRow> = {
            let read = self.context.committer.read();
            read.read(Column::CertificateStanding, &certificate.0).map_err(Fault::from)?
        };
        let standing = match row.ok_or(StatusError::Unknown)? {
            CertificateRow { revoked: None } => Standing::Good,
            CertificateRow { revoked: Some(_) } => Standing::Revoked,
        };
        let status = CertificateStatus { certificate, standing, time: now.wall };
        Ok(self.context.attest(status).await?)
    }
}

/// Notes a new certificate, given as DER.
pub(super) fn note_issued(tx: &mut Transaction<'_>, certificate: &[u8]) {
    let row = CertificateRow::default();
    tx.write(Column::CertificateStanding, wire::sha256(certificate).0, &row);
}

/// Whether a certificate of this CA, given as DER, was revoked.
pub(super) fn is_revoked(
    read: &(impl Read + ?Sized),
    certificate: &[u8],
) -> Result<bool, StoreError> {
    let row: Option<CertificateRow> =
        read.read(Column::CertificateStanding, &wire::sha256(certificate).0)?;
    Ok(row.is_some_and(|row| row.revoked.is_some()))
}

/// A phone that was ended is not asked again: its certificate at that source is revoked with it, in
/// the same write, if it is one of ours.
pub(super) fn revoke_ended(
    tx: &mut Transaction<'_>,
    pair: &Pair,
    key: &KeyHash,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = Key::new().text(&pair.source).fixed(&pair.subject.0).fixed(&key.0);
    if let Some(certificate) = tx.read::<Bytes>(Column::ServiceKeys, &at)? {
        let row = CertificateRow { revoked: Some(now) };
        tx.write(Column::CertificateStanding, wire::sha256(&certificate).0, &row);
    }
    Ok(())
}
