//! Links: the CA's word that the citizen's ids at a source and at a recipient are one person. Kept
//! in the wallet, shown to these two only.

use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    Nonce, ServiceName, Timestamp, Unsigned,
    citizen::LinkRequest,
    consent::{Attested, Link},
    membership::CaPurpose,
};

use crate::{Wallet, WalletError, error::DraftFault};

impl Wallet {
    /// For the ID key to sign.
    pub fn link_request(
        &self,
        source: &ServiceName,
        recipient: &ServiceName,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<LinkRequest>, WalletError> {
        if source == recipient {
            return Err(DraftFault::SameService.into());
        }
        let request = LinkRequest {
            source: source.clone(),
            recipient: recipient.clone(),
            y: self.y_bytes()?,
            nonce,
            time: at,
        };
        Ok(Unsigned::new(request, self.network(), &self.id()?.key))
    }

    /// Keeps the attestation, if an organisation that may issue citizens' certificates signed it and
    /// it joins exactly this citizen's two ids.
    pub fn accept_link(
        &mut self,
        source: &ServiceName,
        recipient: &ServiceName,
        reply: Attested,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<(), WalletError> {
        let (link, signer) =
            trust::verify_signed::<Link>(&reply, CertificateKind::Organisation, trust, at)
                .map_err(WalletError::Signed)?;
        let may_issue = match signer.subject() {
            LeafSubject::Organisation { organisation, .. } => {
                trust.authority(organisation, CaPurpose::Citizen).is_some()
            }
            _ => false,
        };
        if !may_issue {
            return Err(WalletError::LinkSigner);
        }
        let Link { source: one, recipient: other, .. } = link.message();
        if *one != self.pair(source)? || *other != self.pair(recipient)? {
            return Err(WalletError::ForeignLink);
        }
        self.set_link(source.clone(), recipient.clone(), reply);
        Ok(())
    }
}
