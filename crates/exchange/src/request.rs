//! 照会: what a recipient asks for, and how a source comes to believe that it was asked. Each check
//! of DESIGN section 7 that needs no look at any citizen stands here, in its order:
//! [`Received`] (size, form) → [`Authentic`] (sender, signature, services, time).
//!
//! Rate is the connection's business and comes before this.

use trust::Member;
use wire::{
    EnvelopeError, Hash, ItemType, NetworkId, Nonce, Purpose, ServiceId, ServiceName, Signed,
    Timestamp, Verified,
    exchange::{Rejection, Request},
    limits,
};

use crate::credential::CLOCK_SKEW_MS;

/// What a recipient wants to know, before it is a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    pub source: ServiceName,
    pub recipient: ServiceName,
    /// The citizen's service id at the recipient.
    pub subject: ServiceId,
    /// Item types or categories, in any order.
    pub items: Vec<ItemType>,
    /// All the items, or nothing.
    pub whole: bool,
    pub purpose: Purpose,
}

impl Ask {
    /// The request, valid from `issued` for `validity_ms`. `id` and `nonce` are fresh random bytes.
    /// Sign it with [`wire::Unsigned`]; for a present-consent, show the citizen
    /// [`Request::consent_hash`] and fill the field in first.
    pub fn request(
        self,
        id: Nonce,
        nonce: Nonce,
        issued: Timestamp,
        validity_ms: u64,
    ) -> Result<Request, RequestFault> {
        let mut items = self.items;
        items.sort();
        items.dedup();
        let request = Request {
            id,
            source: self.source,
            recipient: self.recipient,
            subject: self.subject,
            items,
            whole: self.whole,
            purpose: self.purpose,
            nonce,
            issued,
            expires: issued.plus_ms(validity_ms),
            present_consent: None,
        };
        check_form(&request)?;
        check_validity(&request)?;
        Ok(request)
    }

    /// Whether a request asks just this.
    pub fn is_asked_by(&self, request: &Request) -> bool {
        let mut items = self.items.clone();
        items.sort();
        items.dedup();
        self.source == request.source
            && self.recipient == request.recipient
            && self.subject == request.subject
            && items == request.items
            && self.purpose == request.purpose
            && self.whole == request.whole
    }
}

/// Why a request is turned away before any citizen is looked at: for the log. The wire carries only
/// [`RequestFault::rejection`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    #[error(transparent)]
    Encoding(EnvelopeError),
    #[error("the request is not of its one form: {0}")]
    Form(&'static str),
    #[error("signed by another key than the sender's organisation key")]
    OtherKey,
    #[error("the signature does not hold: {0}")]
    Signature(EnvelopeError),
    #[error("the recipient is not a service of the sender")]
    ForeignRecipient,
    #[error("the source is not a service of this node")]
    UnknownService,
    #[error("the request is valid for no time, or for more than {max} ms", max = limits::REQUEST_VALIDITY_MS)]
    Validity,
    #[error("the request is not valid yet")]
    NotYetValid,
    #[error("the request has expired")]
    Expired,
}

impl RequestFault {
    pub fn rejection(&self) -> Rejection {
        match self {
            Self::Encoding(_) | Self::Form(_) => Rejection::Malformed,
            Self::OtherKey | Self::Signature(_) | Self::ForeignRecipient => Rejection::NotAuthentic,
            Self::UnknownService => Rejection::UnknownService,
            Self::Validity | Self::NotYetValid | Self::Expired => Rejection::OutOfTime,
        }
    }
}

/// A request that can be read. Nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Received {
    signed: Signed<Request>,
}

impl Received {
    pub fn decode(bytes: &[u8], network: &NetworkId) -> Result<Self, RequestFault> {
        let signed = Signed::decode(bytes, network).map_err(RequestFault::Encoding)?;
        check_form(signed.unverified())?;
        Ok(Self { signed })
    }

    /// Checks that `member`, who sent it, signed it for one of its own services, about one of
    /// `services` (this node's), and that it is good now.
    pub fn authenticate(
        self,
        member: &Member,
        services: &[ServiceName],
        now: Timestamp,
    ) -> Result<Authentic, RequestFault> {
        let key = member.organisation_key();
        if self.signed.key() != key.key_hash() {
            return Err(RequestFault::OtherKey);
        }
        let verified = self.signed.verify(key).map_err(RequestFault::Signature)?;
        let request = verified.message();
        if !member.owns(&request.recipient) {
            return Err(RequestFault::ForeignRecipient);
        }
        if !services.contains(&request.source) {
            return Err(RequestFault::UnknownService);
        }
        check_validity(request)?;
        if now.plus_ms(CLOCK_SKEW_MS) < request.issued {
            return Err(RequestFault::NotYetValid);
        }
        if now >= request.expires.plus_ms(CLOCK_SKEW_MS) {
            return Err(RequestFault::Expired);
        }
        Ok(Authentic { verified })
    }
}

/// A request that its recipient made, for this node, now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authentic {
    verified: Verified<Request>,
}

impl Authentic {
    pub fn request(&self) -> &Request {
        self.verified.message()
    }

    /// Id of the signed request.
    pub fn id(&self) -> Hash {
        self.verified.id()
    }

    pub fn bytes(&self) -> &[u8] {
        self.verified.bytes()
    }

    /// Under what a release is kept, so that a retry finds it: a request's id is the recipient's
    /// own choice, and no recipient can take up another's.
    pub fn idempotency_key(&self) -> (&ServiceName, Nonce) {
        (&self.request().recipient, self.request().id)
    }

    /// Whether it must not be answered any more: looked at again before the first byte leaves.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.request().expires.plus_ms(CLOCK_SKEW_MS)
    }
}

fn check_form(request: &Request) -> Result<(), RequestFault> {
    if !(1..=limits::ITEMS).contains(&request.items.len()) {
        return Err(RequestFault::Form("1 to 64 items"));
    }
    if request.items.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(RequestFault::Form("items sorted, each once"));
    }
    Ok(())
}

fn check_validity(request: &Request) -> Result<(), RequestFault> {
    let lasts = request.expires.ms_since(request.issued);
    if (1..=limits::REQUEST_VALIDITY_MS).contains(&lasts) {
        Ok(())
    } else {
        Err(RequestFault::Validity)
    }
}

#[cfg(test)]
mod tests;
