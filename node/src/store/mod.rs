//! Storage. One trait to read, one to commit; RocksDB is the embedded default, an in-memory twin
//! serves tests and the simulator, and a shared SQL database can stand behind the same seam.
//!
//! - [`Column`]: what lies where ([`column`]), under which key ([`key`]), in which form ([`value`])
//! - [`Read`], [`Snapshot`], [`Store`]: the seam
//! - [`RocksStore`], [`MemoryStore`]: what stands behind it
//! - [`Committer`]: the one place where a running node writes ([`commit`]); everything else reads
//! - [`log`]: how the evidence log lies in the store
//!
//! Whoever opens a store writes to it alone: that the committer is the only writer of a store is
//! what makes "read, decide, write" one step.

pub mod column;
pub mod commit;
pub mod key;
pub mod log;
pub mod memory;
pub mod rocks;
pub mod transaction;
pub mod value;

use std::path::PathBuf;

use serde::{Serialize, de::DeserializeOwned};

pub use column::Column;
pub use commit::{CommitError, Committer, LogParameters, Statistics, Turn};
pub use key::{Key, last_u64};
pub use memory::{Fault, MemoryStore};
pub use rocks::RocksStore;
pub use transaction::Transaction;
pub use value::{ValueError, decode_value, encode_value};

/// The format of the store as a whole: raised when a version could no longer read what an older one
/// wrote, and never for a new column.
pub const STORE_FORMAT: u64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{}: another node is running on this data directory", path.display())]
    Held { path: PathBuf },
    #[error("{}: cannot be used as a data directory: {reason}", path.display())]
    Directory { path: PathBuf, reason: String },
    #[error("the disk is full; a few seconds after there is room again, this works")]
    DiskFull,
    #[error(
        "the store has format {found}, this version reads up to {STORE_FORMAT}: it was written by a newer version"
    )]
    NewerFormat { found: u64 },
    #[error(
        "the store has a column `{0}` that this version does not know: it was written by a newer version"
    )]
    UnknownColumn(String),
    #[error("column `{column}`: a value cannot be read")]
    Value {
        column: Column,
        #[source]
        source: ValueError,
    },
    #[error("column `{column}`: {what}")]
    Inconsistent { column: Column, what: &'static str },
    #[error("the storage failed: {0}")]
    Backend(String),
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Which rows of a column to read: those whose key begins with a prefix, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan<'a> {
    prefix: &'a [u8],
    start: Option<(&'a [u8], bool)>,
    limit: usize,
    descending: bool,
}

impl<'a> Scan<'a> {
    /// At most `limit` rows: whoever wants more asks again with [`Scan::after`] the last key.
    pub fn prefix(prefix: &'a [u8], limit: usize) -> Self {
        Self { prefix, start: None, limit, descending: false }
    }

    /// From the last key backwards.
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// Begins at this key or the next one in the scan's direction.
    pub fn from(mut self, key: &'a [u8]) -> Self {
        self.start = Some((key, true));
        self
    }

    /// Begins behind this key in the scan's direction.
    pub fn after(mut self, key: &'a [u8]) -> Self {
        self.start = Some((key, false));
        self
    }

    /// The half-open range of keys, `None` if it is empty.
    fn range(&self) -> Option<KeyRange> {
        let successor = |key: &[u8]| [key, &[0]].concat();
        let mut lower = self.prefix.to_vec();
        let mut upper = key::prefix_end(self.prefix);
        match (self.start, self.descending) {
            (None, _) => {}
            (Some((key, inclusive)), false) => {
                let start = if inclusive { key.to_vec() } else { successor(key) };
                lower = lower.max(start);
            }
            (Some((key, inclusive)), true) => {
                let end = if inclusive { successor(key) } else { key.to_vec() };
                upper = Some(upper.map_or_else(|| end.clone(), |upper| upper.min(end.clone())));
            }
        }
        let empty = self.limit == 0 || upper.as_ref().is_some_and(|upper| *upper <= lower);
        (!empty).then_some(KeyRange { lower, upper })
    }
}

/// `lower <= key < upper`; without an upper bound, all from `lower` on.
struct KeyRange {
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

impl KeyRange {
    fn of<'m, V>(
        &self,
        map: &'m std::collections::BTreeMap<Vec<u8>, V>,
    ) -> std::collections::btree_map::Range<'m, Vec<u8>, V> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let upper = self.upper.as_deref().map_or(Unbounded, Excluded);
        map.range::<[u8], _>((Included(&self.lower[..]), upper))
    }
}

/// Reading, from a store, a snapshot of it, or inside a transaction.
pub trait Read {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    fn scan(&self, column: Column, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError>;
}

/// Reading typed values (see [`value`]) from whatever can be read.
pub trait TypedRead: Read {
    fn read<T: DeserializeOwned>(
        &self,
        column: Column,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        self.get(column, key)?.map(|bytes| decode(column, &bytes)).transpose()
    }

    fn scan_values<T: DeserializeOwned>(
        &self,
        column: Column,
        scan: &Scan<'_>,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let rows = self.scan(column, scan)?;
        rows.into_iter().map(|(key, bytes)| Ok((key, decode(column, &bytes)?))).collect()
    }
}

impl<R: Read + ?Sized> TypedRead for R {}

fn decode<T: DeserializeOwned>(column: Column, bytes: &[u8]) -> Result<T, StoreError> {
    decode_value(bytes).map_err(|source| StoreError::Value { column, source })
}

/// The state of a store at one moment, whatever is committed afterwards.
pub trait Snapshot: Read + Send + Sync {}

pub trait Store: Read + Send + Sync {
    /// Makes all writes of the batch durable together, or none of them. After an error the outcome
    /// is **unknown**: the batch may have been persisted.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    fn snapshot(&self) -> Box<dyn Snapshot + '_>;
}

/// Writes that become durable together. A later write to the same key wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    operations: Vec<Operation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Operation {
    column: Column,
    key: Vec<u8>,
    /// `None` deletes.
    value: Option<Vec<u8>>,
}

impl Batch {
    pub fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.operations.push(Operation { column, key: key.into(), value: Some(value) });
    }

    pub fn delete(&mut self, column: Column, key: impl Into<Vec<u8>>) {
        self.operations.push(Operation { column, key: key.into(), value: None });
    }

    /// Puts a typed value (see [`value`]).
    pub fn write<T: Serialize + ?Sized>(
        &mut self,
        column: Column,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) {
        self.put(column, key, encode_value(value));
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.into_bytes()
    }
}

/// Marks a new store with today's format; refuses one from the future.
fn check_format(store: &dyn Store) -> Result<(), StoreError> {
    let key = Key::new().text("format");
    match store.read::<u64>(Column::Meta, &key)? {
        Some(found) if found > STORE_FORMAT => Err(StoreError::NewerFormat { found }),
        Some(_) => Ok(()),
        None => {
            let mut batch = Batch::default();
            batch.write(Column::Meta, key, &STORE_FORMAT);
            store.commit(batch)
        }
    }
}

#[cfg(test)]
mod tests;
