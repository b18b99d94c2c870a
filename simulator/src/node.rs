//! One node of the world: what its disk holds, what it keeps in memory, what its clocks show. The thin
//! shell around the machines, as `node` is in production: it loads, calls, stores, and answers only
//! after it stored.

use std::collections::{BTreeMap, BTreeSet};

use consent::{
    home::HomeChannel, lease::Run, memory::MemoryStore, pull::Puller, push::Pusher,
    source::SourceChannel,
};
use exchange::{Allowed, Authentic, Committed, OwnRequest, PresentConsent, source::Released};
use wire::{
    Hash, Nonce, Now, Timestamp,
    channel::{ChannelId, Pull},
};

use crate::{
    cast::{Cast, PairId, PaperId, RequestId},
    shared::Shared,
    world::{Facts, NodeId},
};

mod source_store;

pub use source_store::AtSource;

/// The root of a log without leaves.
const EMPTY_ROOT: Hash = Hash([0; 32]);

/// Monotonic clocks do not begin at nought.
const MONO_START: u64 = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub role: Role,
    pub power: Power,
    pub clocks: Clocks,
    /// What a home grants: configuration.
    pub lease_ms: u64,
    pub disk: Shared<Disk>,
    /// A copy of the disk that an operator made once.
    pub backup: Option<Shared<Disk>>,
    pub memory: Shared<Memory>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Home(usize),
    Source(usize),
    Recipient(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    Off,
    Serving,
    /// Its witnesses know a longer log: it was restored from an old copy and serves nothing.
    Restored,
    /// The machine is asleep or frozen, since when (true time).
    Asleep {
        since_ms: u64,
        frozen: bool,
    },
}

/// How a node's clocks differ from true time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Clocks {
    /// The wall clock was set by so much.
    pub wall_offset_ms: i64,
    /// How much the monotonic clock missed while the machine was frozen.
    pub frozen_ms: u64,
    /// How fast both run, in parts per million more than true time.
    pub drift_ppm: i64,
}

impl Clocks {
    pub fn now(&self, true_ms: u64) -> Now {
        let passed = true_ms as i64 + (true_ms as i64 * self.drift_ppm) / 1_000_000;
        let mono = MONO_START as i64 + passed - self.frozen_ms as i64;
        let wall = trust::testing::NOW.0 as i64 + passed + self.wall_offset_ms;
        Now { mono_ms: mono.max(0) as u64, wall: Timestamp(wall.max(0) as u64) }
    }
}

/// What survives a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Disk {
    pub channels: BTreeMap<ChannelId, Shared<MemoryStore>>,
    /// What all channels of a source share: pairs, links, uses, denies that came another way.
    pub pairs: Shared<MemoryStore>,
    /// The evidence log, as its root after each leaf.
    log: Vec<Hash>,
    /// What was taken of wallets.
    pub logged: BTreeMap<PaperId, Logged>,
    pub releases: BTreeMap<RequestId, Shared<Stored>>,
    /// The requests of which a source has the receipt.
    pub receipts: BTreeSet<RequestId>,
    /// What a source has heard of each pair, for the reference.
    pub heard: BTreeMap<PairId, BTreeSet<PaperId>>,
    /// A recipient's own requests.
    pub requests: BTreeMap<RequestId, Shared<OwnRequest>>,
}

/// A paper that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Logged {
    /// Under which size of the log it may be acknowledged.
    pub size: u64,
    /// Whether it was taken by the pair's home, whose word it is that S1 counts from.
    pub at_home: bool,
}

/// A release as the source keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    pub released: Released,
    pub presentation: Vec<u8>,
    /// The size of the log with it.
    pub size: u64,
}

/// What is gone after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    pub run: Run,
    /// The source's pulls and leases.
    pub pulls: BTreeMap<ChannelId, Puller>,
    /// The home's pushes.
    pub pushes: BTreeMap<ChannelId, Pusher>,
    /// Answers the source is working at.
    pub answers: BTreeMap<RequestId, Work>,
    /// Papers that were made durable and wait for witnesses before they are acknowledged.
    pub waiting: BTreeSet<PaperId>,
    /// How much of a home's log its witnesses must know before it grants a lease.
    pub grants_known: u64,
    /// Pulls that a home is answering: the denies they brought are taken first, one write each.
    pub pulled: Vec<Pulling>,
    /// The pairs that may have more denies than a home lets stand one by one.
    pub crowded: BTreeSet<PairId>,
}

/// A pull that a home is answering.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pulling {
    pub from: NodeId,
    pub pull: Shared<Pull>,
    /// How many of the denies it brought are looked at.
    pub looked_at: usize,
}

/// A request that a source is answering.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Work {
    pub request: Shared<Authentic>,
    pub present: Option<Shared<PresentConsent>>,
    /// Who waits for the answer, if anybody does.
    pub back: Option<NodeId>,
    pub stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Permitted; the records are being fetched. The facts are there only for a mutant that goes by
    /// them at the commit.
    Fetching(Shared<Allowed>, Option<Shared<Facts>>),
    /// Durable; the bytes have not left.
    Leaving(Shared<Committed>),
    /// Asked for again; to be looked at under the commit.
    Again(Shared<exchange::Resend>),
}

impl Memory {
    /// What a process has when it starts.
    pub fn new(run: u64, now: Now) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&run.to_be_bytes());
        Self {
            run: Run { id: Nonce(id), started_ms: now.mono_ms },
            pulls: BTreeMap::new(),
            pushes: BTreeMap::new(),
            answers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            grants_known: 0,
            pulled: Vec::new(),
            crowded: BTreeSet::new(),
        }
    }

    pub fn puller(&mut self, channel: &ChannelId) -> &mut Puller {
        place(&mut self.pulls, channel, || Puller::new(channel.clone()))
    }

    pub fn pusher(&mut self, channel: &ChannelId) -> &mut Pusher {
        place(&mut self.pushes, channel, Pusher::default)
    }
}

impl Node {
    pub fn new(role: Role, lease_ms: u64, true_ms: u64) -> Self {
        let clocks = Clocks::default();
        Self {
            role,
            power: Power::Serving,
            clocks,
            lease_ms,
            disk: Shared::default(),
            backup: None,
            memory: Shared::new(Memory::new(0, clocks.now(true_ms))),
        }
    }

    pub fn serves(&self) -> bool {
        self.power == Power::Serving
    }

    pub fn now(&self, true_ms: u64) -> Now {
        self.clocks.now(true_ms)
    }
}

impl Disk {
    pub fn append(&mut self, record: &impl std::hash::Hash) -> u64 {
        let leaf = crate::shared::fingerprint(record).to_be_bytes();
        let root = self.log.last().copied().unwrap_or(EMPTY_ROOT);
        self.log.push(wire::hash_parts("simulator/log", &[&root.0, &leaf]));
        self.size()
    }

    /// The size of the log.
    pub fn size(&self) -> u64 {
        self.log.len() as u64
    }

    /// The log's root when it had this size; `None` if it never had.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        match size.checked_sub(1) {
            None => Some(EMPTY_ROOT),
            Some(last) => self.log.get(usize::try_from(last).ok()?).copied(),
        }
    }

    /// Changes what a home keeps of one channel.
    pub fn channel<R>(&mut self, id: &ChannelId, change: impl FnOnce(&mut MemoryStore) -> R) -> R {
        place(&mut self.channels, id, Shared::default).update(change)
    }

    /// Changes what a source keeps of one channel, and of the pairs that all of its channels share.
    pub fn at_source<R>(
        &mut self,
        id: &ChannelId,
        change: impl FnOnce(&mut AtSource<'_>) -> R,
    ) -> R {
        let channel = place(&mut self.channels, id, Shared::default);
        change(&mut AtSource { pairs: &mut self.pairs, channel })
    }
}

/// What stands under a channel's id, made now if nothing does. The id is copied only then: this is asked
/// with every message.
fn place<'a, T>(
    places: &'a mut BTreeMap<ChannelId, T>,
    id: &ChannelId,
    new: impl FnOnce() -> T,
) -> &'a mut T {
    if !places.contains_key(id) {
        places.insert(id.clone(), new());
    }
    places.get_mut(id).expect("it was put there if it was not")
}

pub fn home_channel(store: &MemoryStore, cast: &Cast, id: &ChannelId) -> HomeChannel {
    store.home_channel.clone().unwrap_or_else(|| HomeChannel::new(&cast.network.id, id.clone()))
}

pub fn source_channel(store: &MemoryStore, cast: &Cast, id: &ChannelId) -> SourceChannel {
    store.source_channel.clone().unwrap_or_else(|| SourceChannel::new(&cast.network.id, id.clone()))
}
