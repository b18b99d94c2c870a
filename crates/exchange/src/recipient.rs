//! 照会者: a recipient's side of one request, as a machine. The node loads it, tells it what happened,
//! makes what changed durable in one write, and only then does what it says: a crash on either side
//! ends in the very same signed request again, never in a second one.
//!
//! ```text
//! (nothing) ── begin ─────────────────► pending ── settle ──► presented, its receipt owed ── noted ──► presented
//!      └──── prepare ─► prepared ─ begin ──┘ └───── settle ──► not permitted, rejected
//! ```

use std::collections::BTreeMap;

use consent::guard::Guard;
use evidence::record::{PresentationReceived, Record, RefusalReceived, RequestSent};
use serde::{Deserialize, Serialize};
use trust::Trust;
use wire::{
    Bytes, DecisionId, NetworkId, ServiceName, Signed, Timestamp, cbor,
    exchange::{ExchangeReply, PresentConsent, Receipt, Rejection, Request},
};

use crate::{
    credential::{CheckedPresentation, Expected, PresentationError, Terms, check_presentation},
    receipt::receipt,
    request::Ask,
};

/// A request as its recipient keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRequest {
    /// The signed request; while it is prepared, the CBOR of the bare one.
    pub request: Bytes,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Pending,
    /// Not signed yet: it waits for the citizen's present-consent.
    Prepared,
    /// Checked; the receipt is signed over it.
    Presented {
        presentation: Bytes,
        /// The disclosed items, as JSON text: what was checked is what is shown.
        items: Bytes,
        terms: BTreeMap<DecisionId, Terms>,
    },
    NotPermitted,
    Rejected(Rejection),
}

/// All that a recipient keeps under one id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OwnRequest {
    stored: Option<StoredRequest>,
    /// Until the source has noted it, and to whom.
    owed: Option<(ServiceName, Receipt)>,
}

/// What the recipient does about an id now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing is known under the id: make a request, sign it, [`OwnRequest::begin`].
    New,
    /// Sign this one, [`OwnRequest::begin`].
    Sign(Box<Request>),
    /// Send these very bytes, for the first time or again.
    Send(Box<Signed<Request>>),
    /// It has its answer.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OwnRequestError {
    #[error("this id names another request")]
    OtherRequest,
    #[error("no request with this id waits for a present-consent")]
    NotPrepared,
    #[error("the request waits for the citizen's present-consent")]
    Waits,
    #[error("what is kept of the request cannot be read")]
    Damaged,
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Presented(Box<CheckedPresentation>),
    NotPermitted,
    Rejected(Rejection),
}

/// A reply that ends nothing: the same request may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEnding {
    #[error("the source cannot answer now")]
    Later(Rejection),
    #[error("the presentation does not hold: {0}")]
    BadPresentation(PresentationError),
    #[error("the reply answers no request")]
    Foreign,
}

impl Ending {
    /// What a reply to a request comes to at `now`.
    pub fn of(
        reply: &ExchangeReply,
        signed: &Signed<Request>,
        trust: &Trust,
        now: Timestamp,
    ) -> Result<Self, NoEnding> {
        match reply {
            ExchangeReply::Presentation(bytes) => {
                let expected = Expected::answer_to(signed.unverified(), signed.id(), now);
                let checked = check_presentation(bytes, &expected, trust)
                    .map_err(NoEnding::BadPresentation)?;
                Ok(Self::Presented(Box::new(checked)))
            }
            ExchangeReply::NotPermitted => Ok(Self::NotPermitted),
            // The source may be able to answer the same request in a moment.
            ExchangeReply::Rejected(later @ (Rejection::Busy | Rejection::Unavailable)) => {
                Err(NoEnding::Later(*later))
            }
            ExchangeReply::Rejected(rejection) => Ok(Self::Rejected(*rejection)),
            ExchangeReply::Noted => Err(NoEnding::Foreign),
        }
    }
}

impl OwnRequest {
    /// As it was kept.
    pub fn load(stored: Option<StoredRequest>, owed: Option<(ServiceName, Receipt)>) -> Self {
        Self { stored, owed }
    }

    pub fn stored(&self) -> Option<&StoredRequest> {
        self.stored.as_ref()
    }

    /// The receipt that the source has not noted.
    pub fn owed(&self) -> Option<&(ServiceName, Receipt)> {
        self.owed.as_ref()
    }

    /// The recipient's own system asks, for the first time or again.
    pub fn ask(&self, ask: &Ask, network: &NetworkId) -> Result<Next, OwnRequestError> {
        let Some(stored) = &self.stored else { return Ok(Next::New) };
        if stored.answer == Answer::Prepared {
            return Err(OwnRequestError::Waits);
        }
        let signed = signed(stored, network)?;
        if !ask.is_asked_by(signed.unverified()) {
            return Err(OwnRequestError::OtherRequest);
        }
        Ok(if stored.answer == Answer::Pending {
            Next::Send(Box::new(signed))
        } else {
            Next::Ended
        })
    }

    /// Keeps a request for a citizen at the counter to sign a permit for. The same question again
    /// gives the request that is kept already, and `fresh` is not used.
    pub fn prepare(&mut self, ask: &Ask, fresh: Request) -> Result<Request, OwnRequestError> {
        match &self.stored {
            Some(stored) => {
                let known = bare(stored).map_err(|error| match error {
                    OwnRequestError::NotPrepared => OwnRequestError::OtherRequest,
                    error => error,
                })?;
                if ask.is_asked_by(&known) { Ok(known) } else { Err(OwnRequestError::OtherRequest) }
            }
            None => {
                let request = Bytes(cbor::to_vec(&fresh));
                self.stored = Some(StoredRequest { request, answer: Answer::Prepared });
                Ok(fresh)
            }
        }
    }

    /// Joins the citizen's present-consent to the request that was prepared. Handed in again, the same
    /// one goes on where it was; there is never a second one.
    pub fn attach(
        &self,
        present: &PresentConsent,
        network: &NetworkId,
    ) -> Result<Next, OwnRequestError> {
        let stored = self.stored.as_ref().ok_or(OwnRequestError::NotPrepared)?;
        if stored.answer == Answer::Prepared {
            let present_consent = Some(present.clone());
            return Ok(Next::Sign(Box::new(Request { present_consent, ..bare(stored)? })));
        }
        let signed = signed(stored, network)?;
        if signed.unverified().present_consent.as_ref() != Some(present) {
            return Err(OwnRequestError::NotPrepared);
        }
        Ok(if stored.answer == Answer::Pending {
            Next::Send(Box::new(signed))
        } else {
            Next::Ended
        })
    }

    /// Takes a request that was signed under this id, in the place of the prepared one or of none. It
    /// may leave once this is durable, with the record that is returned.
    pub fn begin(&mut self, signed: &Signed<Request>) -> Result<RequestSent, OwnRequestError> {
        let request = signed.unverified();
        let fits = match &self.stored {
            None => request.present_consent.is_none(),
            Some(stored) => {
                let prepared = bare(stored).map_err(|_| OwnRequestError::OtherRequest)?;
                request.present_consent.is_some()
                    && request.consent_hash() == prepared.consent_hash()
            }
        };
        if !fits {
            return Err(OwnRequestError::OtherRequest);
        }
        let bytes = Bytes(signed.bytes().to_vec());
        if Guard::RequestIsDurable.holds() {
            self.stored = Some(StoredRequest { request: bytes.clone(), answer: Answer::Pending });
        }
        Ok(RequestSent { request: bytes, request_id: signed.id(), source: request.source.clone() })
    }

    /// Ends the request, unless it has its answer: of two the first stands. With a presentation the
    /// receipt is owed, in the same write. Gives the record for the log if this was news.
    pub fn settle(
        &mut self,
        signed: &Signed<Request>,
        ending: &Ending,
        now: Timestamp,
    ) -> Option<Record> {
        let stored = self.stored.as_mut()?;
        let is_over = stored.answer != Answer::Pending && Guard::FirstAnswerStands.holds();
        if is_over || *stored.request != *signed.bytes() {
            return None;
        }
        let (request_id, source) = (signed.id(), signed.unverified().source.clone());
        let rejection = match ending {
            Ending::Presented(checked) => {
                stored.answer = presented(checked);
                if Guard::ReceiptIsOwed.holds() {
                    self.owed = Some((source.clone(), receipt(checked, now)));
                }
                let presentation = checked.hash();
                let received = PresentationReceived { request_id, source, presentation };
                return Some(Record::new(&received, now));
            }
            Ending::NotPermitted => {
                stored.answer = Answer::NotPermitted;
                None
            }
            Ending::Rejected(rejection) => {
                stored.answer = Answer::Rejected(*rejection);
                Some(*rejection)
            }
        };
        Some(Record::new(&RefusalReceived { request_id, source, rejection }, now))
    }

    /// The source has the receipt.
    pub fn noted(&mut self) {
        self.owed = None;
    }
}

fn signed(stored: &StoredRequest, network: &NetworkId) -> Result<Signed<Request>, OwnRequestError> {
    Signed::decode(&stored.request, network).map_err(|_| OwnRequestError::Damaged)
}

/// The request that waits for its present-consent.
fn bare(stored: &StoredRequest) -> Result<Request, OwnRequestError> {
    match stored.answer {
        Answer::Prepared => cbor::from_slice(&stored.request).map_err(|_| OwnRequestError::Damaged),
        _ => Err(OwnRequestError::NotPrepared),
    }
}

fn presented(checked: &CheckedPresentation) -> Answer {
    let items = serde_json::to_vec(checked.items());
    Answer::Presented {
        presentation: Bytes(checked.bytes().to_vec()),
        items: Bytes(items.expect("JSON values under text names are JSON")),
        terms: checked.terms().clone(),
    }
}

#[cfg(test)]
mod tests;
