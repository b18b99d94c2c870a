//! How the evidence log lies in the store.
//!
//! The store keeps three things: the records with their salts, which can be erased; the hashes of
//! all complete subtrees, from which frontier, tiles and proofs come; and the head, size and root,
//! against which the frontier is checked at every start.

use std::cell::RefCell;

use evidence::{
    log::Log,
    note::{Checkpoint, NoteError, SignedNote},
    tree::{Frontier, Nodes, TreeError},
};
use serde::{Deserialize, Serialize};
use wire::{Bytes, Hash, Now, Timestamp};

use super::{Column, Key, Read, Scan, StoreError, TypedRead, encode_value, transaction::Overlay};

pub use evidence::{log::CheckpointPolicy, record::Record};

/// Value of [`Column::LogState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHead {
    pub size: u64,
    pub root: Hash,
}

/// Value of [`Column::LogRecords`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRecord {
    /// The bytes that the leaf commits to, together with the salt.
    pub record: Bytes,
    pub salt: Hash,
}

/// Value of [`Column::Checkpoints`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCheckpoint {
    pub size: u64,
    pub root: Hash,
    pub time: Timestamp,
    /// A C2SP signed note; witnesses' cosignatures come to it later.
    pub note: Bytes,
}

impl SignedCheckpoint {
    /// The one that covers most.
    pub fn latest(store: &(impl Read + ?Sized)) -> Result<Option<Self>, StoreError> {
        let scan = Scan::prefix(&[], 1).descending();
        let latest = store.scan_values(Column::Checkpoints, &scan)?.pop();
        Ok(latest.map(|(_, checkpoint)| checkpoint))
    }

    /// The note as the log's own key signed it, without what witnesses added.
    pub fn own_note(&self) -> Result<SignedNote, NoteError> {
        let note = SignedNote::parse(&self.note)?;
        let origin = Checkpoint::parse(note.text())?.origin;
        Ok(note.signed_only_by(&origin))
    }

    pub(super) fn write(&self, writes: &mut Overlay) {
        let key = Key::new().u64(self.size).into_bytes();
        writes.set(Column::Checkpoints, key, Some(encode_value(self)));
    }
}

/// The record of a leaf with its salt; `None` if there is no such leaf or its record was erased.
pub fn record(
    store: &(impl Read + ?Sized),
    index: u64,
) -> Result<Option<StoredRecord>, StoreError> {
    store.read(Column::LogRecords, &Key::new().u64(index))
}

/// Makes a root, proof or tile from the stored subtrees, for instance
/// `with_nodes(&*snapshot, |nodes| inclusion_proof(nodes, index, size))`.
pub fn with_nodes<T>(
    store: &(impl Read + ?Sized),
    make: impl FnOnce(&dyn Nodes) -> Result<T, TreeError>,
) -> Result<Result<T, TreeError>, StoreError> {
    let nodes = StoredNodes { store, fault: RefCell::new(None) };
    let made = make(&nodes);
    // A node that could not be read looked like one that is not there.
    nodes.fault.into_inner().map_or(Ok(made), Err)
}

/// `evidence` knows nothing of stores that fail: the failure is kept for the end.
struct StoredNodes<'a, R: ?Sized> {
    store: &'a R,
    fault: RefCell<Option<StoreError>>,
}

impl<R: Read + ?Sized> Nodes for StoredNodes<'_, R> {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        self.store.read(Column::LogNodes, &node_key(level, index)).unwrap_or_else(|error| {
            self.fault.borrow_mut().get_or_insert(error);
            None
        })
    }
}

fn node_key(level: u8, index: u64) -> Key {
    Key::new().u64(level.into()).u64(index)
}

fn damaged(what: &'static str) -> StoreError {
    StoreError::Inconsistent { column: Column::LogNodes, what }
}

/// Reads the head, finds the frontier, and checks that they fit together.
pub(super) fn load(store: &(impl Read + ?Sized), now: Now) -> Result<Log, StoreError> {
    let Some(head) = store.read::<LogHead>(Column::LogState, &[])? else {
        return Ok(Log::default());
    };
    let frontier = with_nodes(store, |nodes| Frontier::load(nodes, head.size))?
        .map_err(|_| damaged("a subtree of the evidence log is missing"))?;
    if frontier.root() != head.root {
        return Err(damaged("the evidence log does not have the root it had"));
    }
    let mut log = Log::resume(frontier);
    if let Some(latest) = SignedCheckpoint::latest(store)? {
        log.checkpointed(latest.size);
    }
    // Whether somebody waits for what is under no checkpoint has been forgotten: assume it.
    log.await_checkpoint(true, now);
    Ok(log)
}

/// Appends to the log and writes record and new nodes; the head is written once per batch. Gives the
/// index.
pub(super) fn append(log: &mut Log, record: &Record, salt: [u8; 32], writes: &mut Overlay) -> u64 {
    let appended = log.append(record, salt);
    let stored = StoredRecord { record: appended.record_bytes.into(), salt: Hash(salt) };
    let key = Key::new().u64(appended.index).into_bytes();
    writes.set(Column::LogRecords, key, Some(encode_value(&stored)));
    for node in appended.nodes {
        let key = node_key(node.level, node.index).into_bytes();
        writes.set(Column::LogNodes, key, Some(encode_value(&node.hash)));
    }
    appended.index
}

pub(super) fn write_head(log: &Log, writes: &mut Overlay) {
    let head = LogHead { size: log.size(), root: log.root() };
    writes.set(Column::LogState, Vec::new(), Some(encode_value(&head)));
}
