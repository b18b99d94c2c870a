//! Between a home and a source: entries, the two-part head, pushes, pulls and leases
//! (`specs/05-channel.md`).

use serde::{Deserialize, Serialize};

use crate::{
    cbor::{self, Bytes},
    consent::{Attested, Scope},
    crypto::hash_parts,
    ids::{Hash, NetworkId, Nonce, OrganisationId, ServiceId, ServiceName, Timestamp},
    map::MapProof,
    registry::{Message, MessageType},
};

/// Everything that one home owes to one source service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelId {
    pub home: OrganisationId,
    pub source: ServiceName,
}

/// What an entry's body is. A number, so that a kind not known yet still has a readable header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryKind(pub u16);

impl EntryKind {
    /// Body: [`crate::consent::Attested`] around a signed permit.
    pub const PERMIT: Self = Self(1);
    /// Body: [`crate::consent::Attested`] around a signed deny.
    pub const DENY: Self = Self(2);
    /// Body: [`crate::consent::Attested`] around a signed key-begin (chain: the approver's).
    pub const KEY_BEGIN: Self = Self(3);
    /// Body: [`crate::consent::Attested`] around a signed key-end (chain: the approver's).
    pub const KEY_END: Self = Self(4);
    /// Body: [`crate::consent::Attested`] around a signed move, in the channel of the home moved to.
    pub const MOVE_BEGIN: Self = Self(5);
    /// The same move, in the channel of the home left.
    pub const MOVE_END: Self = Self(6);
    /// Body: [`crate::consent::Attested`] around a signed collapse.
    pub const COLLAPSE: Self = Self(7);
}

/// One entry. The header (all but the body) never changes its form: a reader that cannot read or
/// verify the body applies anything but a permit as a deny of `scope`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counts from 0 in its channel.
    pub seq: u64,
    pub kind: EntryKind,
    /// The pair's service id at the channel's source.
    pub subject: ServiceId,
    pub scope: Scope,
    /// When the home accepted it. Certificates in the body are judged at this time, so that whoever
    /// replays the channel years later, a rebuilt source or an evidence bundle, comes to the same.
    pub time: Timestamp,
    pub body: Bytes,
}

impl Entry {
    /// The deterministic CBOR of the header: `[seq, kind, subject, scope, time]`.
    pub fn header(&self) -> Vec<u8> {
        cbor::to_vec(&(self.seq, self.kind, self.subject, &self.scope, self.time))
    }

    /// Commits to header and body separately, so that a proof can leave a body out.
    pub fn hash(&self) -> Hash {
        entry_hash(&self.header(), &crate::sha256(&self.body))
    }
}

/// The hash of an entry from its encoded header and the hash of its body.
pub fn entry_hash(header: &[u8], body: &Hash) -> Hash {
    hash_parts("mebuku/entry/1", &[header, &body.0])
}

/// How far a channel has been followed: the number of entries and the hash chain over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub length: u64,
    pub chain: Hash,
}

impl Position {
    pub fn start(network: &NetworkId, channel: &ChannelId) -> Self {
        let chain = hash_parts("mebuku/channel/1", &[&network.0, &cbor::to_vec(channel)]);
        Self { length: 0, chain }
    }

    /// The position after one more entry.
    pub fn after(&self, entry: &Hash) -> Self {
        Self {
            length: self.length + 1,
            chain: hash_parts("mebuku/chain/1", &[&self.chain.0, &entry.0]),
        }
    }
}

/// How far a source is with a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Durably applied: where the entries go on that it is sent next.
    pub applied: Position,
    /// What the home may call in force; `None` before the source's witnesses know of anything.
    pub reached: Option<Reached>,
    /// Sequence numbers, rising, of entries below what is reached that the source could not read or
    /// verify: the lowest [`crate::limits::PULL_ATTACHMENTS`], until the home has answered a pull with them.
    pub unreadable: Vec<u64>,
}

/// How far a source is as its witnesses know it: nothing that is put back from an old copy unseen takes
/// it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    pub applied: Position,
    /// Sequence numbers, rising, of applied entries that have no effect yet: they wait for the home
    /// before to let their pair go. A list of [`crate::limits::WAITING_ENTRIES`], the most there may
    /// be, says nothing of entries behind its last one.
    pub waiting: Vec<u64>,
}

/// The two things a head commits to: the chain, so that no entry can be missing unseen, and the
/// Merkle map pair → digest, so that a release can prove which decisions stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelHead {
    pub position: Position,
    pub map: Hash,
}

/// The home's signed word on a head; every push and every pull answer ends in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadStatement {
    pub channel: ChannelId,
    pub head: ChannelHead,
    pub time: Timestamp,
}

/// Everything that one channel holds of one pair up to a head, for others than its two ends: the
/// signed word of the home on that head, and the proof that no entry is missing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairExtract {
    /// A signed [`HeadStatement`], with the chain of the home's organisation.
    pub statement: Attested,
    /// In the channel's order.
    pub entries: Vec<Entry>,
    /// That the head's map holds the digest of these entries under the pair's id, or holds none.
    pub map_proof: MapProof,
}

/// The signed answer to a pull: up to when the source may release, counted from when it *sent* the
/// pull that carried `nonce`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub channel: ChannelId,
    pub nonce: Nonce,
    pub head: ChannelHead,
    pub granted_ms: u64,
    pub time: Timestamp,
}

/// Requests of the channel protocol. Members know each other from hello, so that only what must
/// convince third parties is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelRequest {
    /// Home to source.
    Push(Push),
    /// Source to home.
    Pull(Pull),
    /// Any municipal node to a source: a deny that a wallet handed in there.
    Relay(Attested),
    /// Source to home: what happened to the home's citizens there.
    Notices(crate::notice::NoticePush),
    /// Recipient to a citizen's home: a signed consent request with its signer's chain.
    Ask(Attested),
    /// Home to recipient: a citizen's signed consent answer with its signer's chain.
    Answer(Attested),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelReply {
    /// To a push: how far the source is, whatever the push held.
    Applied(Progress),
    Pulled(PullReply),
    /// To a relayed deny: it is durable at the source, cosigned by its witnesses, and bites. A signed
    /// [`crate::notice::Effect`], with the chain of the source's organisation.
    Relayed(Attested),
    /// To a relayed deny: it is durable at the source and bites; its witnesses have not answered yet.
    Durable,
    /// To notices: the number of the next one that this home has not got.
    Noted(u64),
    /// To a consent request: it is durable at the home, which shows it to the citizen.
    Asked,
    /// To a consent answer: it is durable at the recipient.
    Answered,
    Refused(ChannelRefusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelRefusal {
    /// This node is not the home or the source the message is for.
    NotMine,
    /// The sender is not the home or the source it would have to be.
    NotYours,
    Malformed,
    /// The positions do not belong to one history: one of the two lost or rewrote entries.
    Forked,
    /// Try again later.
    Unavailable,
    /// As many as may wait for one citizen are waiting.
    TooMany,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub channel: ChannelId,
    /// Consecutive, at most [`crate::limits::ENTRIES`].
    pub entries: Vec<Entry>,
    /// A signed [`HeadStatement`] for the position after the last entry.
    pub statement: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    pub channel: ChannelId,
    pub nonce: Nonce,
    pub progress: Progress,
    /// Denies handed straight to the source that it has not seen in the channel yet.
    pub denies: Vec<Attested>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullReply {
    /// A signed [`Grant`].
    pub grant: Bytes,
    /// The next entries after what is `applied`, and where they end; the rest comes with the next pull.
    pub entries: Vec<Entry>,
    /// A signed [`HeadStatement`] for the position after the last of `entries`.
    pub statement: Bytes,
}

impl Message for HeadStatement {
    const TYPE: MessageType = MessageType::HeadStatement;
    const LIMIT: usize = 4 * 1024;
}
impl Message for Grant {
    const TYPE: MessageType = MessageType::Grant;
    const LIMIT: usize = 4 * 1024;
}
