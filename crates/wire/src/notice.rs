//! What a citizen learns of what happened at a source: notices of every release and refused attempt,
//! and the receipt that a decision is in force (`specs/05-channel.md`).

use serde::{Deserialize, Serialize};

use crate::{
    cbor,
    channel::ChannelId,
    consent::Attested,
    ids::{
        DecisionId, Hash, ItemType, Nonce, Pair, Purpose, ReasonCode, ServiceId, ServiceName,
        Timestamp,
    },
    registry::{Message, MessageType},
};

/// One release, or one kind of refused attempt, as the citizen's home hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Counts from 0 in its channel.
    pub seq: u64,
    /// The citizen's service id at the channel's source.
    pub subject: ServiceId,
    pub recipient: ServiceName,
    /// What was released, or what was asked for and refused. Sorted, each once; empty where many
    /// different refused requests were counted together.
    pub items: Vec<ItemType>,
    /// `None` where many different refused requests were counted together.
    pub purpose: Option<Purpose>,
    /// By the source's clock.
    pub first: Timestamp,
    pub last: Timestamp,
    /// How often between `first` and `last`; 1 for a release.
    pub count: u64,
    pub outcome: NoticeOutcome,
    /// Fresh for each notice: its hash tells nobody what it says.
    pub salt: Nonce,
}

impl Notice {
    /// What the signed batch says of it: SHA-256 of its deterministic CBOR.
    pub fn hash(&self) -> Hash {
        crate::sha256(&cbor::to_vec(self))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NoticeOutcome {
    Released {
        /// Id of the signed request.
        request: Hash,
        /// The permits it passed on, sorted, each once.
        permits: Vec<DecisionId>,
    },
    /// The exact reason, which the recipient was not told (`specs/04-consent.md`).
    Refused(ReasonCode),
}

/// The source's signed word on consecutive notices of a channel. It holds hashes only, so that the
/// home can show a citizen their notice with it, and nobody else's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeBatch {
    pub channel: ChannelId,
    /// `seq` of the first notice.
    pub first: u64,
    /// [`Notice::hash`] of each, at most [`crate::limits::NOTICES`].
    pub hashes: Vec<Hash>,
    pub time: Timestamp,
}

impl NoticeBatch {
    /// The hash of the notice with this number, if the batch has one.
    pub fn hash_of(&self, seq: u64) -> Option<&Hash> {
        let place = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.hashes.get(place)
    }
}

/// Source to home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticePush {
    pub notices: Vec<Notice>,
    /// A signed [`NoticeBatch`] over exactly these, with the chain of the source's organisation.
    pub batch: Attested,
}

/// What the home shows a citizen of one pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairHistory {
    /// Oldest first.
    pub batches: Vec<HistoryBatch>,
    /// Whether older notices exist that are not shown.
    pub older: bool,
}

/// A citizen's own notices of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryBatch {
    /// A signed [`NoticeBatch`], with the chain of the source's organisation.
    pub batch: Attested,
    pub notices: Vec<Notice>,
}

/// 発効証明: a decision is in force. Signed by the pair's home, or by the source for a deny that was
/// handed straight to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    pub decision: DecisionId,
    pub pair: Pair,
    /// The channel from the pair's home; `None` at a source that knows of no home yet.
    pub channel: Option<ChannelId>,
    /// Its place in the channel; `None` where the channel has not brought it.
    pub seq: Option<u64>,
    pub how: EffectHow,
    pub since: Timestamp,
    /// At the source: every release that its evidence log has at this leaf or a later one was made with the
    /// decision standing, whatever time it names. `None` from a home.
    pub log_index: Option<u64>,
    /// When this was signed.
    pub time: Timestamp,
    /// Whether a present-consent at a source that has not received the deny is excepted (DESIGN
    /// section 6): it needs no lease, so that lapsed leases say nothing of it.
    pub present_consent_excepted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectHow {
    /// The source said that it has applied it.
    Acknowledged,
    /// Every lease granted without it has run out.
    LeasesLapsed,
    /// The source signs that it holds it.
    AtSource,
}

/// Signed by a key of the pair: give me the receipt for this decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectQuery {
    pub pair: Pair,
    pub decision: DecisionId,
    pub nonce: Nonce,
    pub time: Timestamp,
}

impl Message for Effect {
    const TYPE: MessageType = MessageType::Effect;
    const LIMIT: usize = 4 * 1024;
}
impl Message for NoticeBatch {
    const TYPE: MessageType = MessageType::Notices;
    const LIMIT: usize = 16 * 1024;
}
impl Message for EffectQuery {
    const TYPE: MessageType = MessageType::EffectQuery;
    const LIMIT: usize = 4 * 1024;
}
