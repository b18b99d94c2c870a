//! The in-memory twin of the store, for tests: the same behaviour, repeatable, with faults on demand.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Batch, Column, Read, Row, Scan, Snapshot, Store, StoreError, check_format};

/// How an injected fault ends a commit. Both look the same to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing was written.
    Before,
    /// Everything was written, and the answer was lost.
    Persisted,
}

type Columns = BTreeMap<Column, BTreeMap<Vec<u8>, Vec<u8>>>;

#[derive(Debug, Clone, Default)]
struct State {
    /// Shared with snapshots; a commit copies it only while one is held.
    columns: Arc<Columns>,
    commits: u64,
    faults: BTreeMap<u64, Fault>,
    unreadable: bool,
}

/// Share it as `Arc<MemoryStore>`. `clone` makes an independent copy: a backup, a disk image.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    pub fn new() -> Self {
        let store = Self::default();
        check_format(&store).expect("a new store in memory has no faults yet");
        store.state().commits = 0;
        store
    }

    /// The n-th commit from now on (1 is the next) ends in this fault.
    pub fn fail_commit(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        let commit = state.commits + n;
        state.faults.insert(commit, fault);
    }

    /// Whether every read fails from now on, as on a disk that is gone.
    pub fn fail_reads(&self, fail: bool) {
        self.state().unreadable = fail;
    }

    /// Commits so far, failed ones included.
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A commit either swaps in the whole new tree or none of it, so a panic elsewhere leaves
        // nothing half-written behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn columns(&self) -> Result<Arc<Columns>, StoreError> {
        let state = self.state();
        if state.unreadable {
            return Err(StoreError::Backend("injected read fault".into()));
        }
        Ok(state.columns.clone())
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        let columns = self.state().columns.clone();
        Self { state: Mutex::new(State { columns, ..State::default() }) }
    }
}

impl Read for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.columns()?.get(column, key)
    }

    fn scan(&self, column: Column, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError> {
        self.columns()?.scan(column, scan)
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        state.commits += 1;
        let commit = state.commits;
        let fault = state.faults.remove(&commit);
        if fault != Some(Fault::Before) {
            let columns = Arc::make_mut(&mut state.columns);
            for operation in batch.operations {
                let column = columns.entry(operation.column).or_default();
                match operation.value {
                    Some(value) => column.insert(operation.key, value),
                    None => column.remove(&operation.key),
                };
            }
        }
        match fault {
            None => Ok(()),
            Some(_) => Err(StoreError::Backend("injected commit fault".into())),
        }
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(self.state().columns.clone())
    }
}

impl Snapshot for Arc<Columns> {}

impl Read for Arc<Columns> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(BTreeMap::get(self, &column).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, column: Column, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError> {
        let (Some(rows), Some(range)) = (BTreeMap::get(self, &column), scan.range()) else {
            return Ok(Vec::new());
        };
        let rows = range.of(rows).map(|(key, value)| (key.clone(), value.clone()));
        Ok(if scan.descending {
            rows.rev().take(scan.limit).collect()
        } else {
            rows.take(scan.limit).collect()
        })
    }
}
