//! What both stores must do alike.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn both(test: impl Fn(&dyn Store)) {
    test(&MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    test(&RocksStore::open(directory.path()).unwrap());
}

fn put(column: Column, rows: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(column, *key, value.as_bytes().to_vec());
    }
    batch
}

fn keys(rows: Vec<Row>) -> Vec<String> {
    rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

#[test]
fn a_batch_is_written_whole_and_later_writes_win() {
    both(|store| {
        let mut batch = put(Column::Uses, &[("a", "1"), ("b", "2"), ("a", "3")]);
        batch.delete(Column::Uses, "b");
        batch.put(Column::Records, "a", b"other column".to_vec());
        assert_eq!(batch.len(), 5);
        store.commit(batch).unwrap();
        assert_eq!(store.get(Column::Uses, b"a").unwrap(), Some(b"3".to_vec()));
        assert_eq!(store.get(Column::Uses, b"b").unwrap(), None);
        assert_eq!(store.get(Column::Records, b"a").unwrap(), Some(b"other column".to_vec()));
        store.commit(Batch::default()).unwrap();
    });
}

#[test]
fn a_scan_stays_within_its_prefix_and_limit_both_ways() {
    both(|store| {
        let rows = [("a", ""), ("b1", ""), ("b2", ""), ("b3", ""), ("b3\u{7f}", ""), ("c", "")];
        store.commit(put(Column::Records, &rows)).unwrap();
        store.commit(put(Column::Uses, &[("b4", "")])).unwrap();
        let scan = |scan: Scan<'_>| keys(store.scan(Column::Records, &scan).unwrap());
        let all = Scan::prefix(b"b", 9);
        assert_eq!(scan(all.clone()), ["b1", "b2", "b3", "b3\u{7f}"]);
        assert_eq!(scan(Scan::prefix(b"b", 2)), ["b1", "b2"]);
        assert_eq!(scan(Scan::prefix(b"b", 2).descending()), ["b3\u{7f}", "b3"]);
        assert_eq!(scan(all.clone().from(b"b2")), ["b2", "b3", "b3\u{7f}"]);
        assert_eq!(scan(all.clone().after(b"b2")), ["b3", "b3\u{7f}"]);
        assert_eq!(scan(all.clone().descending().from(b"b2")), ["b2", "b1"]);
        assert_eq!(scan(all.clone().descending().after(b"b2")), ["b1"]);
        assert_eq!(scan(all.clone().from(b"a")), ["b1", "b2", "b3", "b3\u{7f}"]);
        assert_eq!(scan(all.clone().descending().from(b"z")).len(), 4);
        assert!(scan(all.clone().from(b"c")).is_empty());
        assert!(scan(all.descending().from(b"a")).is_empty());
        assert!(scan(Scan::prefix(b"b", 0)).is_empty());
        assert_eq!(scan(Scan::prefix(b"", 9)).len(), 6);
    });
}

#[test]
fn a_prefix_of_the_highest_bytes_has_an_end_too() {
    both(|store| {
        let mut batch = Batch::default();
        for key in [&[0xff][..], &[0xff, 0xff], &[0xff, 0xff, 1], &[0xfe]] {
            batch.put(Column::Records, key, Vec::new());
        }
        store.commit(batch).unwrap();
        let count = |scan| store.scan(Column::Records, &scan).unwrap().len();
        assert_eq!(count(Scan::prefix(&[0xff, 0xff], 9)), 2);
        assert_eq!(count(Scan::prefix(&[0xff], 9).descending()), 3);
    });
}

#[test]
fn a_snapshot_does_not_see_what_comes_later() {
    both(|store| {
        store.commit(put(Column::Uses, &[("a", "1")])).unwrap();
        let snapshot = store.snapshot();
        store.commit(put(Column::Uses, &[("a", "2"), ("b", "2")])).unwrap();
        assert_eq!(snapshot.get(Column::Uses, b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(snapshot.scan(Column::Uses, &Scan::prefix(b"", 9)).unwrap().len(), 1);
        assert_eq!(store.snapshot().scan(Column::Uses, &Scan::prefix(b"", 9)).unwrap().len(), 2);
    });
}

#[test]
fn typed_values_come_back_and_broken_ones_name_their_column() {
    both(|store| {
        let mut batch = Batch::default();
        batch.write(Column::Uses, "a", &(1u64, "text"));
        batch.put(Column::Uses, "b", vec![99, 0]);
        store.commit(batch).unwrap();
        assert_eq!(store.read(Column::Uses, b"a"), Ok(Some((1u64, "text".to_owned()))));
        assert_eq!(store.read::<u64>(Column::Uses, b"none"), Ok(None));
        let text = store.read::<u64>(Column::Uses, b"b").unwrap_err().to_string();
        assert_eq!(text, "column `uses`: a value cannot be read");
        assert!(store.scan_values::<(u64, String)>(Column::Uses, &Scan::prefix(b"", 9)).is_err());
    });
}

#[test]
fn an_injected_fault_writes_all_or_nothing() {
    let store = MemoryStore::new();
    store.fail_commit(1, Fault::Before);
    store.fail_commit(2, Fault::Persisted);
    assert!(store.commit(put(Column::Uses, &[("a", "")])).is_err());
    assert!(store.commit(put(Column::Uses, &[("b", "")])).is_err());
    assert!(store.commit(put(Column::Uses, &[("c", "")])).is_ok());
    assert_eq!(keys(store.scan(Column::Uses, &Scan::prefix(b"", 9)).unwrap()), ["b", "c"]);
    assert_eq!(store.commits(), 3);
}

#[test]
fn a_clone_of_the_store_in_memory_is_a_backup() {
    let store = MemoryStore::new();
    store.commit(put(Column::Uses, &[("a", "")])).unwrap();
    let backup = store.clone();
    store.commit(put(Column::Uses, &[("b", "")])).unwrap();
    assert_eq!(keys(backup.scan(Column::Uses, &Scan::prefix(b"", 9)).unwrap()), ["a"]);
}

type Writes = Vec<(Vec<u8>, Option<u8>)>;

/// Short keys over few bytes, so that writes and bounds meet.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xfe, 0xff]), 0..4)
}

fn any_writes() -> impl Strategy<Value = Writes> {
    prop::collection::vec((any_key(), any::<Option<u8>>()), 0..12)
}

proptest! {
    /// A transaction reads as if all writes below it had been made in one map.
    #[test]
    fn a_transaction_reads_through_its_layers(
        layers in prop::collection::vec(any_writes(), 3),
        prefix in any_key(),
        inclusive in any::<Option<bool>>(),
        start_key in any_key(),
        limit in 0usize..6,
        descending: bool,
    ) {
        let mut model = BTreeMap::new();
        for (key, value) in layers.iter().flatten() {
            match value {
                Some(value) => model.insert(key.clone(), vec![*value]),
                None => model.remove(key),
            };
        }
        let store = MemoryStore::new();
        let mut batch = Batch::default();
        for (key, value) in &layers[0] {
            match value {
                Some(value) => batch.put(Column::Uses, key.clone(), vec![*value]),
                None => batch.delete(Column::Uses, key.clone()),
            }
        }
        store.commit(batch).unwrap();
        let mut earlier = transaction::Overlay::default();
        for (key, value) in &layers[1] {
            earlier.set(Column::Uses, key.clone(), value.map(|value| vec![value]));
        }
        let log = evidence::log::Log::default();
        let now = wire::Now { mono_ms: 0, wall: wire::Timestamp(0) };
        let entropy = crate::entropy::SystemEntropy;
        let mut tx = Transaction::new(&store, &earlier, &log, now, &entropy);
        for (key, value) in &layers[2] {
            match value {
                Some(value) => tx.put(Column::Uses, key.clone(), vec![*value]),
                None => tx.delete(Column::Uses, key.clone()),
            }
        }

        let mut scan = Scan::prefix(&prefix, limit);
        scan = match inclusive {
            Some(true) => scan.from(&start_key),
            Some(false) => scan.after(&start_key),
            None => scan,
        };
        let mut expected: Vec<Row> =
            model.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if descending {
            scan = scan.descending();
            expected.reverse();
        }
        expected.retain(|(key, _)| match inclusive {
            None => true,
            Some(true) if descending => *key <= start_key,
            Some(true) => *key >= start_key,
            Some(false) if descending => *key < start_key,
            Some(false) => *key > start_key,
        });
        expected.truncate(limit);
        prop_assert_eq!(tx.scan(Column::Uses, &scan).unwrap(), expected);
        for key in layers.iter().flatten().map(|(key, _)| key).chain([&prefix]) {
            prop_assert_eq!(tx.get(Column::Uses, key).unwrap(), model.get(key).cloned());
        }
    }
}
