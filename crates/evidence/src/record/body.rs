//! The bodies of records. They name people by service ids only, never by the number or by attributes;
//! what a body refers to by hash lies in its own store, or with the one who holds it.

use serde::{Deserialize, Serialize};
use wire::{
    Bytes, DecisionId, Hash, ItemType, MessageType, Nonce, Pair, Purpose, ServiceId, ServiceName,
    Timestamp,
    channel::{ChannelId, Entry, EntryKind, Position},
    exchange::Rejection,
};

use super::{RecordBody, RecordKind};

macro_rules! body {
    ($name:ident: $($kind:ident),+) => {
        impl RecordBody for $name {
            const KINDS: &'static [RecordKind] = &[$(RecordKind::$kind),+];
        }
    };
}

/// A certificate, by hash: certificates themselves hold names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateIssued {
    /// Which profile: `citizen`, `service`, `organisation`, `credential` or `ca`.
    pub profile: String,
    /// SHA-256 of the certificate's DER.
    pub certificate: Hash,
    /// SHA-256 of the issuing CA's certificate.
    pub issuer: Hash,
    /// The serial number's content octets.
    pub serial: Bytes,
}
body!(CertificateIssued: CERTIFICATE_ISSUED);

/// A CA of this node revoked a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRevoked {
    /// SHA-256 of the certificate's DER.
    pub certificate: Hash,
    /// Hash of the Sig_structure of what asked for it.
    pub request: Hash,
}
body!(CertificateRevoked: CERTIFICATE_REVOKED);

/// At home: an entry is durable in a channel, and so accepted. The kind of the record follows from
/// that of the entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryAccepted {
    pub channel: ChannelId,
    pub seq: u64,
    pub kind: EntryKind,
    pub subject: ServiceId,
    /// Hash of the entry ([`Entry::hash`]).
    pub entry: Hash,
}

impl EntryAccepted {
    pub fn new(channel: &ChannelId, entry: &Entry) -> Self {
        Self {
            channel: channel.clone(),
            seq: entry.seq,
            kind: entry.kind,
            subject: entry.subject,
            entry: entry.hash(),
        }
    }
}

impl RecordBody for EntryAccepted {
    const KINDS: &'static [RecordKind] =
        &[RecordKind::DECISION_ACCEPTED, RecordKind::KEY_BEGUN, RecordKind::KEY_ENDED];

    fn kind(&self) -> RecordKind {
        match self.kind {
            EntryKind::KEY_BEGIN => RecordKind::KEY_BEGUN,
            EntryKind::KEY_END => RecordKind::KEY_ENDED,
            _ => RecordKind::DECISION_ACCEPTED,
        }
    }
}

/// At a source: the channel is applied up to here. The chain names every entry before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryApplied {
    pub channel: ChannelId,
    pub applied: Position,
    /// Root of the Merkle map at that position.
    pub map: Hash,
}
body!(EntryApplied: ENTRY_APPLIED);

/// At a source: a citizen's record of one item was stored or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordStored {
    pub service: ServiceName,
    pub subject: ServiceId,
    pub item: ItemType,
    /// SHA-256 of the content.
    pub content: Hash,
}
body!(RecordStored: RECORD_STORED);

/// At home: until when an entry may be without effect at its source follows from this.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongestGrant {
    pub channel: ChannelId,
    /// The longest lease that may be out, in milliseconds.
    pub longest_ms: u64,
}
body!(LongestGrant: LONGEST_GRANT);

/// At a recipient, before the request leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSent {
    /// The signed request.
    pub request: Bytes,
    /// Hash of its Sig_structure.
    pub request_id: Hash,
    pub source: ServiceName,
}
body!(RequestSent: REQUEST_SENT);

/// At a recipient: a presentation came and passed every check.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresentationReceived {
    pub request_id: Hash,
    pub source: ServiceName,
    /// SHA-256 of the presentation's bytes.
    pub presentation: Hash,
}
body!(PresentationReceived: PRESENTATION_RECEIVED);

/// At a recipient: no presentation came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalReceived {
    pub request_id: Hash,
    pub source: ServiceName,
    /// `None` is the one refusal, `not-permitted`.
    pub rejection: Option<Rejection>,
}
body!(RefusalReceived: REFUSAL_RECEIVED);

/// At a source: a presentation was released. Written in the same batch as the use it spends, before
/// the first byte leaves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The signed request.
    pub request: Bytes,
    /// Hash of its Sig_structure.
    pub request_id: Hash,
    /// The id that the recipient chose for it ([`wire::exchange::Request::id`]).
    pub request_nonce: Nonce,
    /// The permits that it passed on, sorted, each once.
    pub permits: Vec<DecisionId>,
    /// The leaf items that went out, sorted, each once.
    pub items: Vec<ItemType>,
    /// SHA-256 of the presentation's bytes.
    pub presentation: Hash,
    pub pair: Pair,
    pub recipient: ServiceName,
    /// The channel, how far it was applied, and the root of its map there: what a map proof of the
    /// decisions that stood is checked with.
    pub channel: ChannelId,
    pub position: Position,
    pub map: Hash,
    /// Hash of the lease's signed grant (its Sig_structure); `None` only on a present-consent.
    pub lease: Option<Hash>,
}
body!(Release: RELEASE);

/// At a source: a request was refused. The recipient was told `not-permitted` and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    pub request_id: Hash,
    pub request_nonce: Nonce,
    /// `None` if the source knows no such citizen.
    pub pair: Option<Pair>,
    pub recipient: ServiceName,
    /// What was asked for, as asked.
    pub items: Vec<ItemType>,
    pub purpose: Purpose,
    /// The exact reason's code (`specs/04-consent.md`).
    pub reason: String,
}
body!(Refusal: REFUSAL);

/// At a source: how often one recipient was refused for one reason beyond the pace at which each refusal
/// is logged apart. Citizens' notices count them by what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    pub source: ServiceName,
    pub recipient: ServiceName,
    /// The exact reason's code (`specs/04-consent.md`).
    pub reason: String,
    pub count: u64,
    /// The first and the last of them, by the source's clock.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The last of them: hash of its Sig_structure.
    pub last_request: Hash,
}
body!(Refusals: REFUSALS);

/// At a source: the recipient's receipt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptNoted {
    /// The signed receipt.
    pub receipt: Bytes,
    pub request_id: Hash,
    pub presentation: Hash,
    pub recipient: ServiceName,
}
body!(ReceiptNoted: RECEIPT_NOTED);

/// Something signed was handed in and refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptRefused {
    /// Code of the message type that it was handed in as ([`MessageType`]).
    pub message: u16,
    /// Hash of its Sig_structure, if it has one, or of its bytes.
    pub id: Hash,
    /// Why, in words that name no person.
    pub reason: String,
}
body!(AttemptRefused: ATTEMPT_REFUSED);

impl AttemptRefused {
    /// Longest reason that is kept, in bytes.
    pub const REASON_LIMIT: usize = 512;

    /// A longer reason is cut.
    pub fn new(message: MessageType, id: Hash, reason: &str) -> Self {
        let reason = reason[..reason.floor_char_boundary(Self::REASON_LIMIT)].to_owned();
        Self { message: message.code(), id, reason }
    }
}

/// The node began to serve.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStarted {
    /// Version of the program.
    pub version: String,
    /// SHA-256 of the signed descriptor that it serves under; `None` before it has one.
    pub descriptor: Option<Hash>,
    /// Size of its log before this record, as it found it.
    pub log_size: u64,
}
body!(NodeStarted: NODE_STARTED);

/// A person did something by hand, at the console or the command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorAction {
    /// The operator's account, as the organisation names it.
    pub operator: String,
    /// A code such as `certificate-revoked`.
    pub action: String,
    /// SHA-256 of the object it was done to, if there is one.
    pub object: Option<Hash>,
}
body!(OperatorAction: OPERATOR_ACTION);

/// From here on the node goes by this trust file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustAdopted {
    pub root: u64,
    pub list: u64,
    pub timestamp: u64,
    /// Payload hash of the trust list.
    pub list_hash: Hash,
}
body!(TrustAdopted: TRUST_ADOPTED);
