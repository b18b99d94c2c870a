//! What the machines of a channel read and write. One implementation is a transaction of the node's
//! store, so that everything a machine writes lands in one atomic batch; another is a plain map, for
//! tests, the model and the simulator.

use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, Hash, OrganisationId, ServiceId, ServiceName, Timestamp,
    channel::{ChannelHead, Entry, EntryKind},
    consent::Attested,
};

use evidence::map::{MapNode, NodeKey};

use crate::{
    evaluate::UseCount, home::HomeChannel, lease::Moment, pair::PairState, source::SourceChannel,
};

/// The store could not be read: no verdict about what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store could not be read: {0}")]
pub struct StoreFault(pub String);

/// An entry as the home keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeEntry {
    pub entry: Entry,
    /// The channel's head right after it.
    pub head: ChannelHead,
    pub decision: Option<DecisionId>,
    pub accepted: Moment,
    /// The longest lease that can have been granted without knowing it.
    pub longest_grant_ms: u64,
    /// When the source was first known to have applied it, with effect.
    pub acknowledged: Option<Timestamp>,
    /// When the source first said that it could not read or verify it.
    pub unreadable: Option<Timestamp>,
}

impl HomeEntry {
    /// Whether this is the entry of that kind with this very body: something handed in again.
    pub fn holds(&self, kind: EntryKind, body: &[u8]) -> bool {
        self.entry.kind == kind && *self.entry.body == *body
    }
}

/// Where a deny that came another way is kept: by the citizen's id at the source, then its own.
pub type DenyKey = (ServiceId, DecisionId);

/// What one channel says of one pair: the digest that the Merkle map holds, and which entries made
/// it. The digest is `H("mebuku/pair/1", [digest before, entry hash])`, from 32 zero bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairThread {
    pub digest: Hash,
    pub seqs: Vec<u64>,
}

impl Default for PairThread {
    fn default() -> Self {
        Self { digest: Hash([0; 32]), seqs: Vec::new() }
    }
}

impl PairThread {
    pub fn extend(&mut self, seq: u64, entry: &Hash) {
        self.digest = pair_digest(&self.digest, entry);
        self.seqs.push(seq);
    }
}

/// One step of a pair's digest.
pub fn pair_digest(before: &Hash, entry: &Hash) -> Hash {
    wire::hash_parts("mebuku/pair/1", &[&before.0, &entry.0])
}

/// What both ends of one channel keep. Implementations are bound to one channel, but for
/// [`ChannelStore::pair`] at a source, which all channels of that source share.
pub trait ChannelStore {
    fn pair(&self, subject: &ServiceId) -> Result<PairState, StoreFault>;
    fn put_pair(&mut self, subject: &ServiceId, pair: &PairState);
    fn thread(&self, subject: &ServiceId) -> Result<PairThread, StoreFault>;
    fn put_thread(&mut self, subject: &ServiceId, thread: &PairThread);
    fn map_node(&self, key: &NodeKey) -> Result<Option<MapNode>, StoreFault>;
    fn put_map_node(&mut self, key: &NodeKey, node: &MapNode);
}

/// A channel's entries at its home: all that a push needs.
pub trait HomeEntries {
    fn entry(&self, seq: u64) -> Result<Option<HomeEntry>, StoreFault>;
}

/// What only a home keeps of a channel.
pub trait HomeStore: ChannelStore + HomeEntries {
    fn put_channel(&mut self, channel: &HomeChannel);
    fn put_entry(&mut self, entry: &HomeEntry);
}

/// What only a source keeps of a channel.
pub trait SourceStore: ChannelStore {
    fn put_channel(&mut self, channel: &SourceChannel);
    fn put_entry(&mut self, entry: &Entry);
    /// Which pair of this source is meant by a recipient's id: from the link of an applied permit.
    /// Several may claim it; whoever looks it up has to see all of them.
    fn put_link(
        &mut self,
        recipient: &ServiceName,
        recipient_subject: &ServiceId,
        subject: &ServiceId,
    );
    /// Denies of this source that came another way, whosever home has to hear of them: at most `limit`
    /// in the order of their keys, from the first one behind `after`.
    fn direct_denies(
        &self,
        after: Option<&DenyKey>,
        limit: usize,
    ) -> Result<Vec<(DenyKey, Attested)>, StoreFault>;
    /// An entry of a home's channel to this source waits in its pair, without effect.
    fn put_waiting(&mut self, home: &OrganisationId, seq: u64);
    fn drop_waiting(&mut self, home: &OrganisationId, seq: u64);
    /// An entry of a home's channel to this source could not be read or verified, and the home has still
    /// to hear of it.
    fn put_unreadable(&mut self, home: &OrganisationId, seq: u64);
    fn drop_unreadable(&mut self, home: &OrganisationId, seq: u64);
    /// The lowest of them, at most [`wire::limits::PULL_ATTACHMENTS`].
    fn unreadable(&self, home: &OrganisationId) -> Result<Vec<u64>, StoreFault>;
    fn put_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId, deny: &Attested);
    fn drop_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId);
    fn uses(&self, permit: &DecisionId) -> Result<UseCount, StoreFault>;
    fn put_uses(&mut self, permit: &DecisionId, uses: UseCount);
}
