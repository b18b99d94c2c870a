//! Records: what a node says it did. The tree holds only a salted commitment to each, so that a record
//! can be erased and the tree still stands (`specs/09-evidence.md`, "Leaf").

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::{Bytes, CborError, Hash, Timestamp, cbor, sha256};

pub use body::*;

mod body;

/// Largest record, in bytes: room for a signed object and its surroundings.
pub const RECORD_LIMIT: usize = 2 * wire::limits::SIGNED_OBJECT;

/// What happened. Codes are never reused; a body whose form changes gets a new one. A reader that
/// meets a code it does not know passes over the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordKind(pub u16);

impl RecordKind {
    // 1 to 15: keys, certificates and decisions.
    /// A CA of this node issued a certificate.
    pub const CERTIFICATE_ISSUED: Self = Self(1);
    /// At home: the begin of a key entered a channel.
    pub const KEY_BEGUN: Self = Self(2);
    /// At home: the end of a key entered a channel.
    pub const KEY_ENDED: Self = Self(3);
    /// At home: a decision entered a channel.
    pub const DECISION_ACCEPTED: Self = Self(4);
    /// At a source: channel entries were applied.
    pub const ENTRY_APPLIED: Self = Self(5);
    /// At a source: a record of a citizen was stored.
    pub const RECORD_STORED: Self = Self(6);
    /// At home: the longest lease that may be out on a channel changed.
    pub const LONGEST_GRANT: Self = Self(7);
    /// A certificate that a CA of this node issued was revoked.
    pub const CERTIFICATE_REVOKED: Self = Self(9);
    // 16 to 31: the exchange, at the recipient.
    pub const REQUEST_SENT: Self = Self(16);
    pub const PRESENTATION_RECEIVED: Self = Self(17);
    pub const REFUSAL_RECEIVED: Self = Self(18);
    // 32 to 47: the exchange, at the source.
    pub const RELEASE: Self = Self(32);
    pub const REFUSAL: Self = Self(33);
    pub const RECEIPT_NOTED: Self = Self(34);
    /// Refusals beyond the pace at which each is logged apart.
    pub const REFUSALS: Self = Self(35);
    // 48 to 63: what was turned away.
    /// A submission was refused.
    pub const ATTEMPT_REFUSED: Self = Self(48);
    // 64 to 79: the node itself.
    pub const NODE_STARTED: Self = Self(64);
    pub const OPERATOR_ACTION: Self = Self(65);
    /// The node goes by a newer trust file.
    pub const TRUST_ADOPTED: Self = Self(66);

    /// Every kind with its name, in the order of the codes.
    pub const ALL: [(Self, &str); 19] = [
        (Self::CERTIFICATE_ISSUED, "certificate-issued"),
        (Self::KEY_BEGUN, "key-begun"),
        (Self::KEY_ENDED, "key-ended"),
        (Self::DECISION_ACCEPTED, "decision-accepted"),
        (Self::ENTRY_APPLIED, "entry-applied"),
        (Self::RECORD_STORED, "record-stored"),
        (Self::LONGEST_GRANT, "longest-grant"),
        (Self::CERTIFICATE_REVOKED, "certificate-revoked"),
        (Self::REQUEST_SENT, "request-sent"),
        (Self::PRESENTATION_RECEIVED, "presentation-received"),
        (Self::REFUSAL_RECEIVED, "refusal-received"),
        (Self::RELEASE, "release"),
        (Self::REFUSAL, "refusal"),
        (Self::RECEIPT_NOTED, "receipt-noted"),
        (Self::REFUSALS, "refusals"),
        (Self::ATTEMPT_REFUSED, "attempt-refused"),
        (Self::NODE_STARTED, "node-started"),
        (Self::OPERATOR_ACTION, "operator-action"),
        (Self::TRUST_ADOPTED, "trust-adopted"),
    ];

    /// The name, if this version knows the kind.
    pub fn name(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map(|(_, name)| *name)
    }
}

impl std::fmt::Display for RecordKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}

/// Why a record or its body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record cannot be read: {0}")]
    Record(CborError),
    #[error("the body of the record `{0}` cannot be read: {1}")]
    Body(RecordKind, CborError),
    #[error("the record is of another kind: `{0}`")]
    OtherKind(RecordKind),
}

/// One record. This outer form never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub kind: RecordKind,
    /// The node's wall clock.
    pub time: Timestamp,
    /// Deterministic CBOR of the kind's body.
    pub body: Bytes,
}

/// The body of one or several kinds of record.
pub trait RecordBody: Serialize + DeserializeOwned {
    const KINDS: &'static [RecordKind];
    /// The kind of record that this body makes: one of [`Self::KINDS`].
    fn kind(&self) -> RecordKind {
        Self::KINDS[0]
    }
}

impl Record {
    pub fn new<B: RecordBody>(body: &B, time: Timestamp) -> Self {
        Self { kind: body.kind(), time, body: cbor::to_vec(body).into() }
    }

    /// The deterministic CBOR that a leaf commits to.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads exactly what [`Self::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        cbor::from_slice_limited(bytes, "record", RECORD_LIMIT).map_err(RecordError::Record)
    }

    /// Reads the body, if it is of this type.
    pub fn body<B: RecordBody>(&self) -> Result<B, RecordError> {
        if !B::KINDS.contains(&self.kind) {
            return Err(RecordError::OtherKind(self.kind));
        }
        let unreadable = |error| RecordError::Body(self.kind, error);
        let body: B = cbor::from_slice(&self.body).map_err(unreadable)?;
        // Serde also reads `None` from a field left out: a second encoding of the same body.
        if body.kind() != self.kind || cbor::to_vec(&body) != *self.body {
            return Err(unreadable(CborError::NotDeterministic));
        }
        Ok(body)
    }
}

/// SHA-256(salt ‖ record): the data of a leaf. Without the salt nobody can tell whether
/// a guessed record is the one.
pub fn commitment(salt: &[u8; 32], record: &[u8]) -> Hash {
    sha256(&[&salt[..], record].concat())
}

#[cfg(test)]
mod tests;
