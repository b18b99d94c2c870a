use wire::Timestamp;

use super::*;
use crate::{
    record::NodeStarted,
    tree::{EMPTY_ROOT, verify_inclusion},
};

fn record(number: u64) -> Record {
    let body = NodeStarted { version: "0.1.0".into(), descriptor: None, log_size: number };
    Record::new(&body, Timestamp(1_790_000_000_000 + number))
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall: Timestamp(0) }
}

fn log(size: u64) -> Log {
    let mut log = Log::default();
    (0..size).for_each(|number| _ = log.append(&record(number), [number as u8; 32]));
    log
}

#[test]
fn a_leaf_is_the_salted_commitment() {
    let mut log = log(5);
    assert_eq!((Log::default().root(), log.size()), (EMPTY_ROOT, 5));
    let appended = log.append(&record(5), [9; 32]);
    assert_eq!((appended.index, appended.salt), (5, [9; 32]));
    assert_eq!(appended.record_bytes, record(5).to_bytes());
    // SHA-256(0x00 ‖ SHA-256(salt ‖ record)), spelt out.
    let inner = wire::sha256(&[&[9; 32][..], &appended.record_bytes].concat());
    assert_eq!(appended.leaf_hash, wire::sha256(&[&[0][..], &inner.0].concat()));
    // Leaves 4 and 5 complete a subtree of two.
    let levels: Vec<_> = appended.nodes.iter().map(|node| (node.level, node.index)).collect();
    assert_eq!(levels, [(0, 5), (1, 2)]);
    assert_eq!(appended.nodes[0].hash, appended.leaf_hash);
}

#[test]
fn the_salt_hides_the_record() {
    let (mut a, mut b) = (log(0), log(0));
    let leaves = [a.append(&record(0), [1; 32]).leaf_hash, b.append(&record(0), [2; 32]).leaf_hash];
    assert_ne!(leaves[0], leaves[1]);
}

#[test]
fn a_failed_batch_is_rolled_back_by_dropping_the_clone() {
    let log = log(7);
    let mut tried = log.clone();
    tried.append(&record(99), [0; 32]);
    let mut again = log.clone();
    assert_ne!(tried, again);
    again.append(&record(99), [0; 32]);
    assert_eq!(tried, again);
}

#[test]
fn a_log_goes_on_where_it_was() {
    let mut whole = log(13);
    let stored = wire::cbor::to_vec(whole.frontier());
    let mut resumed = Log::resume(wire::cbor::from_slice(&stored).unwrap());
    assert_eq!(resumed.root(), whole.root());
    let salt = [3; 32];
    assert_eq!(resumed.append(&record(13), salt), whole.append(&record(13), salt));
    assert_eq!(resumed.checkpoint("log"), whole.checkpoint("log"));
    assert_eq!(resumed.checkpoint("log").size, 14);
}

#[test]
fn one_leaf_is_proven_by_its_own_hash() {
    let mut log = Log::default();
    let leaf = log.append(&record(0), [1; 32]).leaf_hash;
    verify_inclusion(&leaf, 0, 1, &[], &log.checkpoint("log").root).unwrap();
}

#[test]
fn a_checkpoint_is_due_after_a_second() {
    let policy = CheckpointPolicy::default();
    let mut log = log(0);
    log.await_checkpoint(true, at(50));
    assert_eq!(log.checkpoint_due_ms(&policy), None, "nothing to sign");
    log.append(&record(0), [0; 32]);
    log.await_checkpoint(false, at(100));
    log.append(&record(1), [0; 32]);
    log.await_checkpoint(false, at(900));
    assert_eq!(log.checkpoint_due_ms(&policy), Some(1100), "counted from the first");
    assert!(!log.checkpoint_due(&policy, at(1099)) && log.checkpoint_due(&policy, at(1100)));
    log.checkpointed(1);
    assert_eq!(log.checkpoint_due_ms(&policy), Some(1900), "the second still waits");
    log.checkpointed(2);
    assert_eq!(log.checkpoint_due_ms(&policy), None);
}

#[test]
fn a_checkpoint_is_due_after_256_entries() {
    let policy = CheckpointPolicy::default();
    let mut log = log(255);
    log.await_checkpoint(false, at(5000));
    assert!(!log.checkpoint_due(&policy, at(5000)));
    log.append(&record(255), [0; 32]);
    assert!(log.checkpoint_due(&policy, at(0)));
    log.checkpointed(1);
    assert!(!log.checkpoint_due(&policy, at(5000)));
}

#[test]
fn a_deny_waits_50_ms_at_most() {
    let policy = CheckpointPolicy::default();
    let mut log = log(1);
    log.await_checkpoint(false, at(1000));
    log.append(&record(1), [0; 32]);
    log.await_checkpoint(true, at(1200));
    assert_eq!(log.checkpoint_due_ms(&policy), Some(1250));
    // A second one, after the head to be signed was taken.
    log.append(&record(2), [0; 32]);
    log.await_checkpoint(true, at(1240));
    log.checkpointed(2);
    assert_eq!(log.checkpoint_due_ms(&policy), Some(1290));
    // Somebody begins to wait for what is there already.
    log.checkpointed(3);
    log.append(&record(3), [0; 32]);
    log.await_checkpoint(false, at(2000));
    log.await_checkpoint(true, at(2100));
    assert_eq!(log.checkpoint_due_ms(&policy), Some(2050));
}

#[test]
fn waiting_groups_are_bounded_and_never_late() {
    let policy = CheckpointPolicy { entries: u64::MAX, ..Default::default() };
    let mut log = log(0);
    for number in 0..10 * WAITING_LIMIT as u64 {
        log.append(&record(number), [0; 32]);
        log.await_checkpoint(number == 2000, at(number));
        assert!(log.checkpoint_due_ms(&policy).unwrap() <= 1000);
        assert!(number < 2000 || log.checkpoint_due_ms(&policy).unwrap() <= 2050);
    }
    assert_eq!(log.waiting.len(), WAITING_LIMIT);
    log.checkpointed(log.size() - 1);
    assert_eq!(log.waiting.len(), 1);
}

#[test]
fn after_a_restart_a_checkpoint_is_due_at_once() {
    let policy = CheckpointPolicy::default();
    let mut resumed = Log::resume(log(3).frontier().clone());
    assert!(resumed.checkpoint_due(&policy, at(60)));
    resumed.checkpointed(3);
    assert_eq!(resumed.checkpoint_due_ms(&policy), None);
    resumed.checkpointed(u64::MAX);
    resumed.append(&record(3), [0; 32]);
    assert_eq!(resumed.covered, 3, "no checkpoint covers what is not there");
    assert_eq!(Log::resume(Default::default()), Log::default());
}
