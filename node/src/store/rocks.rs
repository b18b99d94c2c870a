//! RocksDB, the embedded default.
//!
//! Memory is bounded: all columns share one block cache and one budget for write buffers, so that an
//! idle node stays small and a busy one does not grow with the number of columns.

use std::{io::ErrorKind as Io, path::Path};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIterator,
    LogLevel, Options, ReadOptions, WriteBatch, WriteOptions, checkpoint::Checkpoint,
};

use super::{Batch, Column, KeyRange, Read, Row, Scan, Snapshot, Store, StoreError, check_format};

/// For blocks, indexes and filters of all columns together.
const BLOCK_CACHE: usize = 12 << 20;
/// For all write buffers together: what is beyond it is flushed.
const WRITE_BUFFERS: usize = 12 << 20;
/// For one column's write buffer.
const WRITE_BUFFER: usize = 4 << 20;
/// A write buffer grows by this much; there is one per column, most of them nearly empty.
const ARENA_BLOCK: usize = 64 << 10;
/// Columns that are written seldom would hold old logs; beyond this much they are flushed.
const WRITE_AHEAD_LOG: u64 = 64 << 20;
const OPEN_FILES: i32 = 256;

/// A store in a directory of its own, held by one process at a time.
pub struct RocksStore {
    db: DB,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksStore({})", self.db.path().display())
    }
}

impl RocksStore {
    /// Opens the store in `path`, which is made (readable by its owner only) if it is not there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_directory(path)?;
        let options = database_options();
        refuse_unknown_columns(&options, path)?;
        let column_options = column_options();
        // RocksDB's own default column as well, though nothing is kept in it: after a full disk
        // writing begins again once the largest write buffer would fit, and its would be 64 MiB.
        let columns = Column::ALL
            .map(|column| column.name())
            .into_iter()
            .chain([rocksdb::DEFAULT_COLUMN_FAMILY_NAME])
            .map(|name| ColumnFamilyDescriptor::new(name, column_options.clone()));
        let db = DB::open_cf_descriptors(&options, path, columns)
            .map_err(|error| open_error(path, error))?;
        let store = Self { db };
        check_format(&store)?;
        Ok(store)
    }

    /// Makes a consistent copy in `path`, which must not exist, while the store is in use. What can
    /// be is linked rather than copied where `path` is on the same file system.
    pub fn backup(&self, path: &Path) -> Result<(), StoreError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(backend)
    }

    fn family(&self, column: Column) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(column.name()).expect("open creates every column")
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error
        .kind()
    {
        Io::StorageFull => StoreError::DiskFull,
        _ => StoreError::Directory { path: path.to_owned(), reason: error.to_string() },
    })
}

fn refuse_unknown_columns(options: &Options, path: &Path) -> Result<(), StoreError> {
    if !path.join("CURRENT").exists() {
        return Ok(());
    }
    let names = DB::list_cf(options, path).map_err(|error| open_error(path, error))?;
    let known = |name: &str| {
        name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME
            || Column::ALL.iter().any(|column| column.name() == name)
    };
    match names.into_iter().find(|name| !known(name)) {
        Some(name) => Err(StoreError::UnknownColumn(name)),
        None => Ok(()),
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS);
    options.set_max_total_wal_size(WRITE_AHEAD_LOG);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(2);
    // A log file that was synced and is missing or too short is noticed at the next start.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn column_options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER);
    options.set_max_write_buffer_number(2);
    options.set_arena_block_size(ARENA_BLOCK);
    options
}

fn open_error(path: &Path, error: rocksdb::Error) -> StoreError {
    // RocksDB has no code of its own for this: "While lock file: …/LOCK: Resource temporarily
    // unavailable" from another process, "lock hold by current process" from this one.
    let text = error.as_ref();
    if text.contains("lock hold by current process") || text.contains("While lock file") {
        return StoreError::Held { path: path.to_owned() };
    }
    match backend(error) {
        StoreError::Backend(reason) => StoreError::Directory { path: path.to_owned(), reason },
        other => other,
    }
}

fn backend(error: rocksdb::Error) -> StoreError {
    classify(error.into_string())
}

fn classify(text: String) -> StoreError {
    // The text of ENOSPC, and what RocksDB says while it refuses writes because of it.
    if text.contains("No space left on device") || text.contains("NoSpace") {
        StoreError::DiskFull
    } else {
        StoreError::Backend(text)
    }
}

fn read_options(range: KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(range.lower);
    if let Some(upper) = range.upper {
        options.set_iterate_upper_bound(upper);
    }
    options
}

fn collect(mut iterator: DBRawIterator<'_>, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    if scan.descending {
        iterator.seek_to_last()
    } else {
        iterator.seek_to_first()
    }
    while rows.len() < scan.limit {
        let Some((key, value)) = iterator.item() else { break };
        rows.push((key.to_vec(), value.to_vec()));
        if scan.descending { iterator.prev() } else { iterator.next() }
    }
    iterator.status().map_err(backend)?;
    Ok(rows)
}

impl Read for RocksStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(column), key).map_err(backend)
    }

    fn scan(&self, column: Column, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError> {
        let Some(range) = scan.range() else { return Ok(Vec::new()) };
        collect(self.db.raw_iterator_cf_opt(self.family(column), read_options(range)), scan)
    }
}

impl Store for RocksStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        for operation in &batch.operations {
            let family = self.family(operation.column);
            match &operation.value {
                Some(value) => writes.put_cf(family, &operation.key, value),
                None => writes.delete_cf(family, &operation.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(writes, &options).map_err(backend)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(RocksSnapshot { store: self, snapshot: self.db.snapshot() })
    }
}

struct RocksSnapshot<'a> {
    store: &'a RocksStore,
    snapshot: rocksdb::Snapshot<'a>,
}

impl Snapshot for RocksSnapshot<'_> {}

impl Read for RocksSnapshot<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot.get_cf(self.store.family(column), key).map_err(backend)
    }

    fn scan(&self, column: Column, scan: &Scan<'_>) -> Result<Vec<Row>, StoreError> {
        let Some(range) = scan.range() else { return Ok(Vec::new()) };
        let family = self.store.family(column);
        collect(self.snapshot.raw_iterator_cf_opt(family, read_options(range)), scan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Key, STORE_FORMAT, TypedRead};

    fn batch_of(key: &str, value: u64) -> Batch {
        let mut batch = Batch::default();
        batch.write(Column::Meta, Key::new().text(key), &value);
        batch
    }

    fn value(store: &dyn Read, key: &str) -> Option<u64> {
        store.read(Column::Meta, &Key::new().text(key)).unwrap()
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/store");
        let store = RocksStore::open(&path).unwrap();
        store.commit(batch_of("a", 7)).unwrap();
        drop(store);
        let store = RocksStore::open(&path).unwrap();
        assert_eq!(value(&store, "a"), Some(7));
        let mode = std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap());
        assert_eq!(mode & 0o777, 0o700);
    }

    /// Copies a store that nobody holds, with its write-ahead log cut to a length.
    fn torn_copy(from: &Path, to: &Path, log: &std::ffi::OsStr, length: u64) {
        std::fs::create_dir(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let cut = std::fs::OpenOptions::new().write(true).open(to.join(log)).unwrap();
        cut.set_len(length).unwrap();
    }

    #[test]
    fn a_batch_torn_at_any_byte_is_dropped_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = RocksStore::open(&path).unwrap();
        store.commit(batch_of("first", 1)).unwrap();
        let log = || {
            let files = std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
            files.filter(|file| file.extension().is_some_and(|kind| kind == "log")).max().unwrap()
        };
        let before = log().metadata().unwrap().len();
        let mut batch = batch_of("second", 2);
        batch.write(Column::Uses, Key::new().text("third"), &3_u64);
        store.commit(batch).unwrap();
        let whole = log().metadata().unwrap().len();
        drop(store);
        assert_eq!(log().metadata().unwrap().len(), whole, "closing writes nothing more");
        for length in before..=whole {
            let copy = dir.path().join(format!("cut at {length}"));
            torn_copy(&path, &copy, log().file_name().unwrap(), length);
            let store = RocksStore::open(&copy).unwrap();
            let third: Option<u64> = store.read(Column::Uses, &Key::new().text("third")).unwrap();
            let expected = (length == whole).then_some(());
            assert_eq!(value(&store, "first"), Some(1), "cut at {length}");
            assert_eq!(value(&store, "second"), expected.map(|()| 2), "cut at {length}");
            assert_eq!(third, expected.map(|()| 3), "cut at {length}");
            drop(store);
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }

    #[test]
    fn a_second_open_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _held = RocksStore::open(directory.path()).unwrap();
        let error = RocksStore::open(directory.path()).unwrap_err();
        let expected = format!(
            "{}: another node is running on this data directory",
            directory.path().display()
        );
        assert_eq!(error.to_string(), expected);
    }

    const OPEN_IN_CHILD: &str = "MEBUKU_TEST_OPEN";

    /// Does nothing by itself: the next test runs it in another process.
    #[test]
    fn child_opens() {
        if let Some(path) = std::env::var_os(OPEN_IN_CHILD) {
            match RocksStore::open(Path::new(&path)) {
                Ok(_) => println!("child: opened"),
                Err(error) => println!("child: {error}"),
            }
        }
    }

    #[test]
    fn a_second_open_from_another_process_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let held = RocksStore::open(directory.path()).unwrap();
        let in_child = || {
            let module = module_path!().split_once("::").unwrap().1;
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("{module}::child_opens"), "--nocapture"])
                .env(OPEN_IN_CHILD, directory.path())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let said = in_child();
        assert!(said.contains("another node is running on this data directory"), "{said}");
        drop(held);
        let said = in_child();
        assert!(said.contains("child: opened"), "{said}");
    }

    #[test]
    fn a_store_of_a_newer_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(directory.path()).unwrap();
        assert_eq!(value(&store, "format"), Some(STORE_FORMAT));
        store.commit(batch_of("format", STORE_FORMAT + 1)).unwrap();
        drop(store);
        let error = RocksStore::open(directory.path()).unwrap_err();
        assert_eq!(error, StoreError::NewerFormat { found: STORE_FORMAT + 1 });
    }

    #[test]
    fn a_column_this_version_does_not_know_is_named() {
        let directory = tempfile::tempdir().unwrap();
        drop(RocksStore::open(directory.path()).unwrap());
        let names = DB::list_cf(&Options::default(), directory.path()).unwrap();
        let mut db = DB::open_cf(&Options::default(), directory.path(), names).unwrap();
        db.create_cf("regional-points", &Options::default()).unwrap();
        drop(db);
        let error = RocksStore::open(directory.path()).unwrap_err();
        assert_eq!(error, StoreError::UnknownColumn("regional-points".into()));
    }

    #[test]
    fn a_column_that_is_new_in_this_version_is_made() {
        let directory = tempfile::tempdir().unwrap();
        drop(RocksStore::open(directory.path()).unwrap());
        let names = DB::list_cf(&Options::default(), directory.path()).unwrap();
        let mut db = DB::open_cf(&Options::default(), directory.path(), names).unwrap();
        db.drop_cf(Column::Directory.name()).unwrap();
        drop(db);
        let store = RocksStore::open(directory.path()).unwrap();
        assert_eq!(store.get(Column::Directory, b"x"), Ok(None));
    }

    #[test]
    fn a_backup_taken_while_running_opens_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(&directory.path().join("store")).unwrap();
        store.commit(batch_of("a", 1)).unwrap();
        let backup = directory.path().join("backup");
        store.backup(&backup).unwrap();
        store.commit(batch_of("a", 2)).unwrap();
        let restored = RocksStore::open(&backup).unwrap();
        assert_eq!((value(&restored, "a"), value(&store, "a")), (Some(1), Some(2)));
        assert!(store.backup(&backup).is_err(), "a backup is never overwritten");
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = RocksStore::open(&file.join("store")).unwrap_err();
        assert!(matches!(&error, StoreError::Directory { path, .. } if path.starts_with(&file)));
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = "IO error: No space left on device: While appending to file: 000004.log";
        assert_eq!(classify(full.into()), StoreError::DiskFull);
        let other = "Corruption: block checksum mismatch";
        assert_eq!(classify(other.into()), StoreError::Backend(other.into()));
    }
}
