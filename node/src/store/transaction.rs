//! What a job sees: the store, over it what earlier jobs of the batch wrote, over that what it wrote
//! itself.

use std::collections::BTreeMap;

use evidence::log::Log;
use serde::Serialize;
use wire::{Now, Timestamp};

use super::{
    Batch, Column, Read, Row, Scan, StoreError, encode_value,
    log::{self, Record},
};
use crate::entropy::Entropy;

/// Writes not yet committed; `None` deletes.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    columns: BTreeMap<Column, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    bytes: usize,
}

impl Overlay {
    pub(super) fn set(&mut self, column: Column, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.columns.entry(column).or_default().insert(key, value);
    }

    fn find(&self, column: Column, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.columns.get(&column)?.get(key)
    }

    /// The writes of `later` win.
    pub(super) fn absorb(&mut self, later: Self) {
        self.bytes += later.bytes;
        for (column, rows) in later.columns {
            self.columns.entry(column).or_default().extend(rows);
        }
    }

    /// What was written so far, in bytes; overwriting counts again.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn into_batch(self) -> Batch {
        let mut batch = Batch::default();
        for (column, rows) in self.columns {
            for (key, value) in rows {
                match value {
                    Some(value) => batch.put(column, key, value),
                    None => batch.delete(column, key),
                }
            }
        }
        batch
    }
}

/// One job's view of the store and its writes. They become visible to others when the batch is
/// durable, and are dropped if the job returns an error.
pub struct Transaction<'a> {
    store: &'a dyn Read,
    earlier: &'a Overlay,
    own: Overlay,
    log: &'a Log,
    own_log: Option<Log>,
    urgent: bool,
    now: Now,
    entropy: &'a dyn Entropy,
}

/// What a job leaves behind.
pub(super) struct Changes {
    pub(super) writes: Overlay,
    /// Set if the job logged anything.
    pub(super) log: Option<Log>,
    pub(super) urgent: bool,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(
        store: &'a dyn Read,
        earlier: &'a Overlay,
        log: &'a Log,
        now: Now,
        entropy: &'a dyn Entropy,
    ) -> Self {
        let own = Overlay::default();
        Self { store, earlier, own, log, own_log: None, urgent: false, now, entropy }
    }

    pub(super) fn into_changes(self) -> Changes {
        Changes { writes: self.own, log: self.own_log, urgent: self.urgent }
    }

    /// When the job began to run: after everything that was committed before it.
    pub fn now(&self) -> Now {
        self.now
    }

    pub fn wall(&self) -> Timestamp {
        self.now.wall
    }

    pub fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.own.set(column, key.into(), Some(value));
    }

    /// Puts a typed value (see [`super::value`]).
    pub fn write<T: Serialize + ?Sized>(
        &mut self,
        column: Column,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) {
        self.put(column, key, encode_value(value));
    }

    pub fn delete(&mut self, column: Column, key: impl Into<Vec<u8>>) {
        self.own.set(column, key.into(), None);
    }

    /// Appends to the evidence log, in the same batch as everything else the job writes. Returns the
    /// entry's index, which is only taken once the batch is durable.
    pub fn log(&mut self, record: &Record) -> u64 {
        let salt = self.entropy.array();
        let log = self.own_log.get_or_insert_with(|| self.log.clone());
        log::append(log, record, salt, &mut self.own)
    }

    /// Somebody waits for what this job logged (a citizen for the acknowledgement of a deny): the
    /// next checkpoint is due at once rather than at its usual time.
    pub fn hurry_checkpoint(&mut self) {
        self.urgent = true;
    }
}

impl Read for Transaction<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.own.find(column, key).or_else(|| self.earlier.find(column, key)) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(column, key),
        }
    }

    fn scan(&self, column: Column, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError> {
        let Some(range) = scan.range() else { return Ok(Vec::new()) };
        let changes: BTreeMap<&Vec<u8>, &Option<Vec<u8>>> = [self.earlier, &self.own]
            .into_iter()
            .filter_map(|overlay| overlay.columns.get(&column))
            .flat_map(|rows| range.of(rows))
            .collect();
        // However many of the store's rows are deleted above it, `limit` of them are left, or the
        // store has no more: what the merge puts first is what comes first.
        let deleted = changes.values().filter(|value| value.is_none()).count();
        let mut below = scan.clone();
        below.limit = scan.limit.saturating_add(deleted);
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> =
            self.store.scan(column, &below)?.into_iter().collect();
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(if scan.descending {
            rows.into_iter().rev().take(scan.limit).collect()
        } else {
            rows.into_iter().take(scan.limit).collect()
        })
    }
}
