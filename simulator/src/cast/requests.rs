//! What recipients sign: requests and receipts, and what both sides check of them.

use consent::PairState;
use exchange::{
    Ask, Authentic, Ending, NoEnding, PresentConsent, Received, ReceivedReceipt, Released,
};
use wire::{
    Bytes, Nonce, Signed, Timestamp,
    exchange::{ExchangeReply, Receipt, Rejection, Request},
};

use super::{Cast, PairId, PaperId, RequestId, papers::items};
use crate::shared::fingerprint;

const PURPOSE: &str = "treatment";
const VALIDITY_MS: u64 = wire::limits::REQUEST_VALIDITY_MS;

/// A request in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlainRequest {
    pub pair: PairId,
    pub recipient: usize,
    pub leaves: u8,
    pub whole: bool,
}

impl Cast {
    /// A recipient's system wants to know something, and gives it an id.
    pub fn ask(&mut self, plain: PlainRequest, at: Timestamp) -> RequestId {
        self.requests.push((plain, at));
        self.requests.len() - 1
    }

    pub fn request(&self, id: RequestId) -> &PlainRequest {
        &self.requests[id].0
    }

    pub fn question(&self, id: RequestId) -> Ask {
        let plain = self.request(id);
        Ask {
            source: self.sources[plain.pair.source].clone(),
            recipient: self.recipients[plain.recipient].clone(),
            subject: self.there(plain.pair, plain.recipient).subject,
            items: items(plain.leaves),
            whole: plain.whole,
            purpose: PURPOSE.parse().expect("a purpose"),
        }
    }

    /// The request, made for the `n`th time: with fresh random bytes each time.
    pub fn draft(&self, id: RequestId, n: u64) -> Request {
        let bytes = |tag, n: u64| {
            let hash = wire::hash_parts(tag, &[&(id as u64).to_be_bytes(), &n.to_be_bytes()]);
            Nonce(hash.0[..16].try_into().expect("16 of 32 bytes"))
        };
        self.question(id)
            .request(
                bytes("simulator/id", 0),
                bytes("simulator/request", n),
                self.requests[id].1,
                VALIDITY_MS,
            )
            .expect("a well-formed request")
    }

    /// Signed by its recipient.
    pub fn sign_request(&self, id: RequestId, request: &Request) -> Signed<Request> {
        self.remembered(
            fingerprint(request),
            |memory| &mut memory.signed,
            || {
                let signer = &self.organisations[self.request(id).recipient].signer;
                Signed::new(request.clone(), &self.network.id, signer).expect("test keys sign")
            },
        )
    }

    /// The source's checks up to authenticity.
    pub fn authenticate(
        &self,
        id: RequestId,
        signed: &Bytes,
        at: Timestamp,
    ) -> Result<Authentic, Rejection> {
        self.remembered(
            fingerprint(signed),
            |memory| &mut memory.authentic,
            || {
                let member = &self.members[self.request(id).recipient];
                Received::decode(signed, &self.network.id)
                    .and_then(|received| received.authenticate(member, &self.sources, at))
                    .map_err(|fault| fault.rejection())
            },
        )
    }

    /// What a citizen hands over at the counter.
    pub fn present(&self, paper: PaperId) -> wire::exchange::PresentConsent {
        let submission = &self.papers[paper].1;
        wire::exchange::PresentConsent {
            permit: submission.attested.clone(),
            status: submission.status.clone().expect("a present-consent has a status"),
        }
    }

    /// Admits the present-consent of a request that carries one.
    pub fn admit_present(
        &self,
        request: &Authentic,
        pair: &PairState,
        status_age_ms: u64,
        at: Timestamp,
    ) -> Option<PresentConsent> {
        self.remembered(
            (fingerprint(&(request.id(), pair)), at),
            |memory| &mut memory.present,
            || PresentConsent::admit(request, pair, self.trust(), status_age_ms, at).ok(),
        )
    }

    /// What a reply comes to for its recipient.
    pub fn ending(
        &self,
        reply: &ExchangeReply,
        signed: &Signed<Request>,
        at: Timestamp,
    ) -> Result<Ending, NoEnding> {
        self.remembered(
            fingerprint(&(signed.id(), reply)),
            |memory| &mut memory.endings,
            || Ending::of(reply, signed, self.trust(), at),
        )
    }

    pub fn sign_receipt(&self, id: RequestId, receipt: &Receipt) -> Bytes {
        self.always_remembered(
            fingerprint(receipt),
            |memory| &mut memory.receipts,
            || self.sign(receipt.clone(), &self.organisations[self.request(id).recipient].signer),
        )
    }

    /// Whether a receipt answers what was released.
    pub fn receipt_holds(
        &self,
        id: RequestId,
        signed: &Bytes,
        released: &Released,
        at: Timestamp,
    ) -> bool {
        self.remembered(
            fingerprint(&(signed, released)),
            |memory| &mut memory.noted,
            || {
                let member = &self.members[self.request(id).recipient];
                ReceivedReceipt::decode(signed, &self.network.id)
                    .and_then(|receipt| receipt.check(member, Some(released), at))
                    .is_ok()
            },
        )
    }
}
