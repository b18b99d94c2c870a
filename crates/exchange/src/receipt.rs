//! 受領: the recipient signs that it got this presentation for this request. A receipt is made from
//! a checked presentation only, and counts at the source only for what it released.

use trust::Member;
use wire::{
    EnvelopeError, Hash, NetworkId, Signed, Timestamp, Verified,
    exchange::{Receipt, Rejection},
};

use crate::{
    credential::{CLOCK_SKEW_MS, CheckedPresentation},
    source::Released,
};

/// What the recipient signs ([`wire::Unsigned`]) after the check.
pub fn receipt(presentation: &CheckedPresentation, now: Timestamp) -> Receipt {
    Receipt { request: presentation.request(), presentation: presentation.hash(), time: now }
}

/// Why a receipt does not count: for the log; the wire carries only [`ReceiptError::rejection`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error(transparent)]
    Encoding(EnvelopeError),
    #[error("signed by another key than the sender's organisation key")]
    OtherKey,
    #[error("the signature does not hold: {0}")]
    Signature(EnvelopeError),
    #[error("nothing was released to the sender for this request")]
    NothingReleased,
    #[error("another presentation than the one that was released")]
    OtherPresentation,
    #[error("received before it was released, or in the future")]
    Time,
}

impl ReceiptError {
    pub fn rejection(&self) -> Rejection {
        match self {
            Self::Encoding(_) => Rejection::Malformed,
            Self::OtherKey | Self::Signature(_) => Rejection::NotAuthentic,
            Self::NothingReleased | Self::OtherPresentation => Rejection::Malformed,
            Self::Time => Rejection::OutOfTime,
        }
    }
}

/// A receipt that can be read. Nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedReceipt {
    signed: Signed<Receipt>,
}

impl ReceivedReceipt {
    pub fn decode(bytes: &[u8], network: &NetworkId) -> Result<Self, ReceiptError> {
        Signed::decode(bytes, network).map(|signed| Self { signed }).map_err(ReceiptError::Encoding)
    }

    /// Id of the signed request it is about: only to look up the release.
    pub fn claimed_request(&self) -> Hash {
        self.signed.unverified().request
    }

    /// Checks that `member` signed it, and that it answers what was released to it.
    pub fn check(
        self,
        member: &Member,
        released: Option<&Released>,
        now: Timestamp,
    ) -> Result<Verified<Receipt>, ReceiptError> {
        let key = member.organisation_key();
        if self.signed.key() != key.key_hash() {
            return Err(ReceiptError::OtherKey);
        }
        let verified = self.signed.verify(key).map_err(ReceiptError::Signature)?;
        let receipt = verified.message();
        let Released { release, time, .. } = released
            .filter(|released| member.owns(&released.release.recipient))
            .filter(|released| released.release.request_id == receipt.request)
            .ok_or(ReceiptError::NothingReleased)?;
        if release.presentation != receipt.presentation {
            return Err(ReceiptError::OtherPresentation);
        }
        let too_early = receipt.time.plus_ms(CLOCK_SKEW_MS) < *time;
        if too_early || receipt.time > now.plus_ms(CLOCK_SKEW_MS) {
            return Err(ReceiptError::Time);
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests;
