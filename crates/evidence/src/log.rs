//! The log machine: turns records into leaves, leaves into nodes, and says when a checkpoint is due.
//!
//! It keeps the right edge of the tree and nothing else. What an append brings into being goes to disk
//! in the same batch as the change of state it is evidence of; a caller works on a clone and puts it in
//! place of the old one when the batch is durable.

use wire::{Hash, Now};

use crate::{
    note::Checkpoint,
    record::{Record, commitment},
    tree::{Frontier, NewNode, leaf_hash},
};

/// When the next checkpoint is to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CheckpointPolicy {
    /// At the latest once this many leaves are under no checkpoint …
    pub entries: u64,
    /// … or this long after the first of them …
    pub interval_ms: u64,
    /// … or this long after one that somebody waits for, such as a deny.
    pub urgent_ms: u64,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self { entries: 256, interval_ms: 1000, urgent_ms: 50 }
    }
}

/// What an append leaves to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Number of the leaf, counted from 0.
    pub index: u64,
    /// The bytes that the leaf commits to.
    pub record_bytes: Vec<u8>,
    pub salt: [u8; 32],
    pub leaf_hash: Hash,
    /// Complete subtrees that now exist, the leaf first.
    pub nodes: Vec<NewNode>,
}

/// An evidence log as far as appending needs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Log {
    frontier: Frontier,
    /// Size under the last signed checkpoint.
    covered: u64,
    /// What waits for the next one, oldest first.
    waiting: Vec<Waiting>,
}

/// Leaves that were appended together and are under no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Waiting {
    /// Size of the log with them.
    size: u64,
    since_ms: u64,
    urgent: bool,
}

/// Most groups of waiting leaves that are told apart; beyond it the youngest become one.
const WAITING_LIMIT: usize = 256;

impl Log {
    /// Goes on with a stored log. None of it is known to be under a checkpoint, and somebody may wait
    /// for one: it is due at once, unless [`Self::checkpointed`] tells of a stored one over all leaves.
    pub fn resume(frontier: Frontier) -> Self {
        let size = frontier.size();
        let waiting = vec![Waiting { size, since_ms: 0, urgent: true }];
        Self { frontier, covered: 0, waiting: if size > 0 { waiting } else { vec![] } }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends a record. The salt is 32 fresh random bytes, used for no other record.
    pub fn append(&mut self, record: &Record, salt: [u8; 32]) -> Appended {
        let record_bytes = record.to_bytes();
        let leaf_hash = leaf_hash(&commitment(&salt, &record_bytes).0);
        let index = self.size();
        let nodes = self.frontier.append(leaf_hash);
        Appended { index, record_bytes, salt, leaf_hash, nodes }
    }

    /// The leaves appended since the last call wait for a checkpoint from now on; `urgent` if somebody
    /// waits with them. To be called once the batch that holds them is durable.
    pub fn await_checkpoint(&mut self, urgent: bool, now: Now) {
        let (size, full) = (self.size(), self.waiting.len() >= WAITING_LIMIT);
        match self.waiting.last_mut() {
            Some(last) if last.size == size || full => {
                last.size = size;
                last.urgent |= urgent;
            }
            _ if size > self.covered => {
                self.waiting.push(Waiting { size, since_ms: now.mono_ms, urgent });
            }
            _ => {}
        }
    }

    /// When the next checkpoint is due, on the monotonic clock: possibly in the past; `None` if every
    /// leaf is under one.
    pub fn checkpoint_due_ms(&self, policy: &CheckpointPolicy) -> Option<u64> {
        let open = self.size().saturating_sub(self.covered);
        if open == 0 {
            return None;
        }
        if open >= policy.entries {
            return Some(0);
        }
        let first = |urgent: bool, limit_ms: u64| {
            let group = self.waiting.iter().find(|group| group.urgent || !urgent);
            group.map(|group| group.since_ms.saturating_add(limit_ms))
        };
        let dues = [first(false, policy.interval_ms), first(true, policy.urgent_ms)];
        dues.into_iter().flatten().min()
    }

    /// Whether a checkpoint is due now.
    pub fn checkpoint_due(&self, policy: &CheckpointPolicy, now: Now) -> bool {
        self.checkpoint_due_ms(policy).is_some_and(|due| due <= now.mono_ms)
    }

    /// The checkpoint over all leaves, to be signed.
    pub fn checkpoint(&self, origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: self.size(), root: self.root() }
    }

    /// A checkpoint over the first `size` leaves is signed and durable.
    pub fn checkpointed(&mut self, size: u64) {
        self.covered = self.covered.max(size.min(self.size()));
        self.waiting.retain(|group| group.size > self.covered);
    }
}

#[cfg(test)]
mod tests;
