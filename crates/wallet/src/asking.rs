//! Consent requests: what a recipient asks, checked before it is shown, the permit it would lead to,
//! and the answer. The recipient learns the answer, and nothing of any other service.

use consent::asking;
use trust::Trust;
use wire::{
    Hash, ServiceName, Signed, Timestamp, Unsigned,
    asking::{Answered, ConsentAnswer, ConsentRequest, WaitingRequests},
};

use crate::{NoticeText, PermitDraft, Wallet, WalletError, history::by_organisation};

/// A consent request of a recipient to this wallet's citizen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedConsent {
    /// Id of the signed request: what an answer names.
    pub id: Hash,
    pub request: ConsentRequest,
}

impl AskedConsent {
    /// The permit that agreeing means: exactly what was asked, under the words that were shown. The
    /// citizen names what it reopens.
    pub fn permit(&self) -> PermitDraft {
        let ConsentRequest { source, recipient, items, purpose, .. } = &self.request;
        PermitDraft {
            source: source.clone(),
            recipient: recipient.clone(),
            items: items.iter().cloned().collect(),
            purpose: purpose.clone(),
            reopens: Default::default(),
            valid_days: self.request.valid_days,
            uses: self.request.uses,
            window: self.request.window,
            retention_days: self.request.retention_days,
            onward: self.request.onward,
            notice: NoticeText {
                text: self.request.text.clone(),
                language: self.request.language.clone(),
                version: self.request.version,
            },
            request: None,
        }
    }
}

impl Wallet {
    /// Checks what a recipient asks: signed by its organisation, about this wallet's citizen, in its
    /// form, not expired. [`Wallet::query`] at the recipient asks for it. One that does not hold fails
    /// all: an honest home keeps none.
    pub fn read_requests(
        &self,
        recipient: &ServiceName,
        waiting: &WaitingRequests,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Vec<AskedConsent>, WalletError> {
        let pair = self.pair(recipient)?;
        let mut asked = Vec::with_capacity(waiting.requests.len());
        for signed in &waiting.requests {
            let organisation = recipient.organisation();
            let request: ConsentRequest =
                by_organisation(signed, &organisation, trust, at, |request: &ConsentRequest| {
                    request.issued
                })?;
            if request.recipient != *recipient || request.subject != pair.subject {
                return Err(WalletError::ForeignRequest);
            }
            asking::check(&request, at).map_err(WalletError::Asked)?;
            let id = Signed::<ConsentRequest>::decode(&signed.object, trust.network())
                .map_err(|error| WalletError::Signed(trust::SignedError::Envelope(error)))?
                .id();
            asked.push(AskedConsent { id, request });
        }
        Ok(asked)
    }

    /// For the key at the *recipient* to sign. Agreeing is said after the permit was handed in.
    pub fn answer(
        &self,
        asked: &AskedConsent,
        answer: Answered,
        at: Timestamp,
    ) -> Result<Unsigned<ConsentAnswer>, WalletError> {
        let recipient = &asked.request.recipient;
        let own = self.service(recipient)?;
        let pair = self.pair(recipient)?;
        let answer = ConsentAnswer { request: asked.id, pair, answer, time: at };
        Ok(Unsigned::new(answer, self.network(), &own.key))
    }
}

#[cfg(test)]
mod tests;
