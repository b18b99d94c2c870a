//! 対面同意: at the counter, while the home cannot be reached, a permit for the one request that the
//! recipient shows, with the status of the certificate that signs it.

use std::collections::BTreeSet;

use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    Hash, ServiceName, Timestamp,
    citizen::{CertificateStatus, Standing},
    consent::{Attested, Onward, Reopen, Uses},
    exchange::Request,
};

use crate::{NoticeText, PermitDraft, Wallet, WalletError, error::DraftFault};

impl Wallet {
    /// What the citizen would allow by a present-consent for `request`: these items, once, to be kept
    /// as the law says, not to be passed on. `reopens` are the denies they saw and want to name.
    pub fn present_draft(
        &self,
        request: &Request,
        reopens: BTreeSet<Reopen>,
        notice: NoticeText,
        now: Timestamp,
    ) -> Result<PermitDraft, WalletError> {
        if request.subject != self.pair(&request.recipient)?.subject {
            return Err(DraftFault::OtherCitizensRequest.into());
        }
        if now >= request.expires {
            return Err(DraftFault::RequestOver.into());
        }
        if request.present_consent.is_some() {
            return Err(DraftFault::NotBare.into());
        }
        Ok(PermitDraft {
            source: request.source.clone(),
            recipient: request.recipient.clone(),
            items: request.items.iter().cloned().collect(),
            purpose: request.purpose.clone(),
            reopens,
            valid_days: 1,
            uses: Uses::Once,
            window: None,
            retention_days: None,
            onward: Onward::Forbidden,
            notice,
            request: Some(request.consent_hash()),
        })
    }

    /// What to ask the CA about: SHA-256 of this wallet's certificate at `service`.
    pub fn certificate_hash(&self, service: &ServiceName) -> Result<Hash, WalletError> {
        let own = self.service(service)?;
        let leaf = own.chain.first().ok_or(WalletError::OtherKey)?;
        Ok(wire::sha256(leaf))
    }

    /// Checks that the CA of this wallet's certificate at `service` says that it is good. Gives the
    /// time of the status; how old it may be is the source's to say.
    pub fn check_status(
        &self,
        service: &ServiceName,
        status: &Attested,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<Timestamp, WalletError> {
        let own = trust::verify_chain(
            &self.service(service)?.chain,
            CertificateKind::Service,
            trust,
            now,
        )
        .map_err(WalletError::Chain)?;
        let (status, signer) = trust::verify_signed::<CertificateStatus>(
            status,
            CertificateKind::Organisation,
            trust,
            now,
        )
        .map_err(WalletError::Signed)?;
        let by_the_issuer = matches!(
            signer.subject(),
            LeafSubject::Organisation { organisation, .. }
                if organisation == own.issuing_organisation()
        );
        let status = status.message();
        if !by_the_issuer || status.certificate != own.certificate_hash() {
            return Err(WalletError::OtherStatus);
        }
        match status.standing {
            Standing::Good => Ok(status.time),
            Standing::Revoked => Err(WalletError::Revoked),
        }
    }
}
