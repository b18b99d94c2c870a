mod first;

use std::sync::mpsc as blocking;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use evidence::{note::VerifiedCheckpoint, record::RecordKind};
use wire::{Hash, SignError, Timestamp};

use super::*;
use crate::{
    clock::{ManualClock, SystemClock},
    entropy::SystemEntropy,
    store::{
        Batch, Column, Fault, Key, MemoryStore, Read, RocksStore, Scan, TypedRead,
        log::{LogHead, Record, StoredRecord},
    },
};

const ORIGIN: &str = "mebuku/test/log";

/// A log key that can be told to refuse.
struct LogKey {
    key: Ed25519KeyPair,
    refuses: std::sync::atomic::AtomicBool,
}

impl LogKey {
    fn new() -> Arc<Self> {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        Arc::new(Self { key, refuses: false.into() })
    }
}

impl NoteSigner for LogKey {
    fn public_key(&self) -> [u8; 32] {
        self.key.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        if self.refuses.load(Relaxed) {
            return Err(SignError("told to".into()));
        }
        Ok(self.key.sign(message).as_ref().try_into().unwrap())
    }
}

fn parameters(policy: CheckpointPolicy) -> LogParameters {
    LogParameters { origin: ORIGIN.into(), policy, signer: LogKey::new() }
}

fn start(store: &Arc<impl Store + 'static>) -> Committer {
    start_with(store, CheckpointPolicy::default())
}

fn start_with(store: &Arc<impl Store + 'static>, policy: CheckpointPolicy) -> Committer {
    let (entropy, clock) = (Arc::new(SystemEntropy), Arc::new(SystemClock));
    Committer::start(store.clone(), parameters(policy), entropy, clock).unwrap()
}

/// No checkpoint unless somebody waits for it or the committer is closed.
const SELDOM: CheckpointPolicy =
    CheckpointPolicy { entries: u64::MAX, interval_ms: u64::MAX, urgent_ms: 20 };

fn record(n: u64) -> Record {
    Record {
        kind: RecordKind::NODE_STARTED,
        time: Timestamp(n),
        body: n.to_be_bytes().to_vec().into(),
    }
}

fn counter(read: &(impl Read + ?Sized), key: &str) -> u64 {
    read.read(Column::Uses, &Key::new().text(key)).unwrap().unwrap_or(0)
}

/// Adds one to a counter and logs it; gives the new value.
fn count(tx: &mut Transaction<'_>, key: &str) -> u64 {
    let next = counter(tx, key) + 1;
    tx.write(Column::Uses, Key::new().text(key), &next);
    tx.log(&record(next));
    next
}

async fn add(committer: &Committer, key: &'static str) -> Result<u64, CommitError> {
    let job = move |tx: &mut Transaction<'_>| Ok::<_, StoreError>(count(tx, key));
    committer.submit(job).await.map(|counted| counted.unwrap())
}

/// The head on disk, after checking that the records lead to it.
fn checked_head(store: &(impl Read + ?Sized)) -> LogHead {
    let head = store.read::<LogHead>(Column::LogState, &[]).unwrap();
    let head = head.unwrap_or(LogHead { size: 0, root: Log::default().root() });
    let rows = store.scan_values(Column::LogRecords, &Scan::prefix(&[], usize::MAX)).unwrap();
    let mut log = Log::default();
    for (key, StoredRecord { record, salt }) in rows {
        let record: Record = wire::cbor::from_slice(&record).unwrap();
        let appended = log.append(&record, salt.0);
        assert_eq!(crate::store::last_u64(&key), Some(appended.index), "no gap");
        for node in appended.nodes {
            let key = Key::new().u64(node.level.into()).u64(node.index);
            assert_eq!(store.read::<Hash>(Column::LogNodes, &key), Ok(Some(node.hash)));
        }
    }
    assert_eq!((log.size(), log.root()), (head.size, head.root));
    head
}

/// Holds the commit thread inside a job until the returned sender is dropped, so that what is
/// submitted meanwhile ends up in one batch.
async fn hold(committer: &Committer) -> (blocking::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, held) = blocking::channel::<()>();
    let (running, runs) = oneshot::channel();
    let committer = committer.clone();
    let job = tokio::spawn(async move {
        let job = move |_: &mut Transaction<'_>| {
            running.send(()).unwrap();
            let _ = held.recv();
            Ok::<_, ()>(())
        };
        committer.submit(job).await.unwrap().unwrap();
    });
    runs.await.unwrap();
    (release, job)
}

/// Waits until this many jobs are queued.
async fn queued(committer: &Committer, jobs: usize) {
    while committer.statistics().queued < jobs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn many_tasks_count(store: Arc<impl Store + 'static>) {
    let committer = start(&store);
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let committer = committer.clone();
            tokio::spawn(async move {
                let own: &'static str = ["a", "b", "c", "d"][task % 4];
                for _ in 0..100 {
                    add(&committer, own).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for key in ["a", "b", "c", "d"] {
        assert_eq!(counter(&*committer.read(), key), 1600);
    }
    assert_eq!(checked_head(&*committer.read()).size, 6400);
    let Statistics { batches, jobs, failures, queued } = committer.statistics();
    assert_eq!((jobs, failures, queued), (6400, 0, 0));
    assert!(batches < 3200, "{batches} batches: jobs were not committed in groups");
    committer.close().await;
    assert_eq!(committer.checkpoints().borrow().as_ref().unwrap().size, 6400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_count_in_memory() {
    many_tasks_count(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_count_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(RocksStore::open(directory.path()).unwrap());
    many_tasks_count(open()).await;
    // The thread and all handles are gone: the directory is free again, and everything is there.
    let committer = start(&open());
    assert_eq!(checked_head(&*committer.read()).size, 6400);
    assert_eq!(add(&committer, "a").await, Ok(1601));
}

#[tokio::test]
async fn a_job_that_fails_leaves_nothing() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let failed = committer.submit(|tx| {
        count(tx, "a");
        Err::<(), _>("changed its mind")
    });
    assert_eq!(failed.await, Ok(Err("changed its mind")));
    assert_eq!(store.commits(), 0);
    assert_eq!(add(&committer, "a").await, Ok(1));
    assert_eq!(checked_head(&*store).size, 1);
}

#[tokio::test]
async fn a_job_that_panics_leaves_nothing_and_harms_nobody() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let panicked = committer.submit(|tx| -> Result<(), ()> {
        count(tx, "a");
        panic!("a fault in a job");
    });
    assert_eq!(panicked.await, Err(CommitError::Panicked));
    assert_eq!(add(&committer, "a").await, Ok(1));
    assert_eq!(checked_head(&*store).size, 1);
}

#[tokio::test]
async fn jobs_of_one_batch_see_each_other_and_commit_once() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let (release, held) = hold(&committer).await;
    let counts = futures::future::join_all((0..20).map(|n| {
        let committer = committer.clone();
        async move {
            let job = move |tx: &mut Transaction<'_>| {
                let counted = count(tx, "a");
                // Every third fails after it wrote.
                if n % 3 == 0 { Err(counted) } else { Ok(counted) }
            };
            committer.submit(job).await.unwrap()
        }
    }));
    let counts = tokio::spawn(counts);
    queued(&committer, 20).await;
    assert_eq!(counter(&*committer.read(), "a"), 0, "nothing is seen before it is durable");
    drop(release);
    held.await.unwrap();
    let counts = counts.await.unwrap();
    let kept: Vec<_> = counts.iter().filter_map(|count| count.ok()).collect();
    assert_eq!(kept, (1..=13).collect::<Vec<_>>());
    assert_eq!(counts[0], Err(1));
    assert_eq!(store.commits(), 1);
    assert_eq!(checked_head(&*store).size, 13);
}

/// What the jobs of a batch are told when it fails, and how the node goes on.
async fn batch_fails(fault: Fault) -> (Arc<MemoryStore>, Committer) {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    add(&committer, "a").await.unwrap();
    let (release, held) = hold(&committer).await;
    store.fail_commit(1, fault);
    let batch = tokio::spawn({
        let committer = committer.clone();
        async move {
            let refuses = committer.submit(|tx| Err::<(), _>(counter(tx, "a")));
            let adds = [add(&committer, "a"), add(&committer, "a")];
            tokio::join!(futures::future::join_all(adds), refuses)
        }
    });
    queued(&committer, 3).await;
    drop(release);
    // The job that held the thread was alone in its batch, or in this one: either way it wrote
    // nothing.
    let _ = held.await;
    let (adds, refuses) = batch.await.unwrap();
    for answer in adds {
        assert!(matches!(answer, Err(CommitError::Store(StoreError::Backend(_)))));
    }
    assert!(matches!(refuses, Err(CommitError::Store(_))), "it saw what may never have been");
    assert_eq!(committer.statistics().failures, 1);
    (store, committer)
}

#[tokio::test]
async fn a_commit_that_failed_before_it_wrote_changed_nothing() {
    let (store, committer) = batch_fails(Fault::Before).await;
    assert_eq!(checked_head(&*store).size, 1);
    assert_eq!(add(&committer, "a").await, Ok(2));
    assert_eq!(checked_head(&*store).size, 2);
}

#[tokio::test]
async fn a_commit_that_failed_but_was_persisted_is_found_again() {
    let (store, committer) = batch_fails(Fault::Persisted).await;
    assert_eq!(checked_head(&*store).size, 3);
    assert_eq!(add(&committer, "a").await, Ok(4));
    assert_eq!(checked_head(&*store).size, 4);
}

#[tokio::test]
async fn no_job_runs_while_the_log_cannot_be_read() {
    let (store, committer) = batch_fails(Fault::Before).await;
    store.fail_reads(true);
    let ran = Arc::new(AtomicU64::new(0));
    let counts = ran.clone();
    let refused = committer.submit(move |_| {
        counts.fetch_add(1, Relaxed);
        Ok::<_, ()>(())
    });
    assert!(matches!(refused.await, Err(CommitError::Store(_))));
    assert_eq!(ran.load(Relaxed), 0);
    store.fail_reads(false);
    assert_eq!(add(&committer, "a").await, Ok(2));
    assert_eq!(checked_head(&*store).size, 2);
}

#[tokio::test]
async fn a_checkpoint_that_was_persisted_unseen_is_published() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, CheckpointPolicy { entries: 1, ..SELDOM });
    store.fail_commit(1, Fault::Persisted);
    assert!(add(&committer, "a").await.is_err());
    let mut checkpoints = committer.checkpoints();
    let seen = checkpoints.wait_for(|checkpoint| checkpoint.is_some());
    assert_eq!(seen.await.unwrap().as_ref().unwrap().size, 1);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_log_and_refuses_a_damaged_one() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    for _ in 0..11 {
        add(&committer, "a").await.unwrap();
    }
    committer.close().await;
    let committer = start_with(&store, SELDOM);
    assert_eq!(add(&committer, "a").await, Ok(12));
    committer.close().await;
    let head = checked_head(&*store);
    assert_eq!(head.size, 12);

    // A log of 12 leaves hangs from a subtree of 8 and one of 4.
    let refused = |change: &dyn Fn(&mut Batch)| {
        let damaged = Arc::new(MemoryStore::clone(&store));
        let mut batch = Batch::default();
        change(&mut batch);
        damaged.commit(batch).unwrap();
        let (entropy, clock) = (Arc::new(SystemEntropy), Arc::new(SystemClock));
        Committer::start(damaged, parameters(SELDOM), entropy, clock).err().unwrap().to_string()
    };
    let node = || Key::new().u64(3).u64(0);
    let text = refused(&|batch| batch.delete(Column::LogNodes, node()));
    assert!(text.contains("a subtree of the evidence log is missing"), "{text}");
    let text = refused(&|batch| batch.write(Column::LogNodes, node(), &Hash([1; 32])));
    assert!(text.contains("does not have the root it had"), "{text}");
}

#[tokio::test]
async fn an_erased_record_does_not_break_the_log() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    add(&committer, "a").await.unwrap();
    let erased = committer.submit(|tx| {
        tx.delete(Column::LogRecords, Key::new().u64(0));
        Ok::<_, ()>(tx.log(&record(9)))
    });
    assert_eq!(erased.await, Ok(Ok(1)));
    committer.close().await;
    assert_eq!(log::record(&*store, 0), Ok(None));
    let log = log::load(&*store, SystemClock.now()).unwrap();
    assert_eq!(log.size(), 2);
    let root = log::with_nodes(&*store, |nodes| evidence::tree::root(nodes, 2));
    assert_eq!(root, Ok(Ok(log.root())));
}

#[tokio::test]
async fn a_checkpoint_is_signed_in_the_batch_of_its_entries() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, CheckpointPolicy { entries: 2, ..SELDOM });
    add(&committer, "a").await.unwrap();
    assert_eq!(*committer.checkpoints().borrow(), None);
    add(&committer, "a").await.unwrap();
    assert_eq!(store.commits(), 2);
    let published = committer.checkpoints().borrow().clone().unwrap();
    let head = checked_head(&*store);
    assert_eq!((published.size, published.root), (head.size, head.root));
    assert_eq!(SignedCheckpoint::latest(&*store), Ok(Some(published.clone())));
    let key = LogKey::new().public_key();
    let verified = VerifiedCheckpoint::verify(&published.note, ORIGIN, &key).unwrap();
    assert_eq!((verified.checkpoint().size, verified.checkpoint().root), (2, head.root));
}

#[tokio::test]
async fn a_checkpoint_somebody_waits_for_comes_without_another_job() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let urgent = committer.submit(|tx| {
        tx.hurry_checkpoint();
        Ok::<_, ()>(count(tx, "a"))
    });
    urgent.await.unwrap().unwrap();
    let mut checkpoints = committer.checkpoints();
    let soon = tokio::time::timeout(Duration::from_secs(5), checkpoints.changed());
    soon.await.expect("within 20 ms and a little").unwrap();
    assert_eq!(checkpoints.borrow().as_ref().unwrap().size, 1);
}

#[tokio::test]
async fn what_is_under_no_checkpoint_at_the_start_gets_one() {
    let store = Arc::new(MemoryStore::new());
    let crashed = start_with(&store, SELDOM);
    add(&crashed, "a").await.unwrap();
    let image = Arc::new(MemoryStore::clone(&store));
    let committer = start(&image);
    let mut checkpoints = committer.checkpoints();
    checkpoints.wait_for(|checkpoint| checkpoint.is_some()).await.unwrap();
    assert_eq!(SignedCheckpoint::latest(&*image).unwrap().unwrap().size, 1);
}

#[tokio::test]
async fn a_key_that_does_not_sign_keeps_nothing_from_being_written() {
    let store = Arc::new(MemoryStore::new());
    let signer = LogKey::new();
    signer.refuses.store(true, Relaxed);
    let policy = CheckpointPolicy { entries: 1, ..SELDOM };
    let parameters = LogParameters { origin: ORIGIN.into(), policy, signer: signer.clone() };
    let clock = Arc::new(ManualClock::new(Now { mono_ms: 0, wall: Timestamp(0) }));
    let committer =
        Committer::start(store.clone(), parameters, Arc::new(SystemEntropy), clock.clone())
            .unwrap();
    assert_eq!(add(&committer, "a").await, Ok(1));
    signer.refuses.store(false, Relaxed);
    assert_eq!(add(&committer, "a").await, Ok(2));
    assert_eq!(*committer.checkpoints().borrow(), None, "not tried again at once");
    clock.advance_ms(RETRY_MS);
    assert_eq!(add(&committer, "a").await, Ok(3));
    assert_eq!(committer.checkpoints().borrow().as_ref().unwrap().size, 3);
}

#[tokio::test]
async fn closing_finishes_what_waits_and_takes_no_more() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let (release, held) = hold(&committer).await;
    let waiting: Vec<_> = (0..300)
        .map(|_| {
            let committer = committer.clone();
            tokio::spawn(async move { add(&committer, "a").await })
        })
        .collect();
    queued(&committer, 300).await;
    let closing = tokio::spawn({
        let committer = committer.clone();
        async move { committer.close().await }
    });
    queued(&committer, 301).await;
    drop(release);
    held.await.unwrap();
    closing.await.unwrap();
    committer.ended().await;
    for job in waiting {
        assert!(job.await.unwrap().is_ok());
    }
    assert_eq!(add(&committer, "a").await, Err(CommitError::Stopped));
    assert_eq!(counter(&*store, "a"), 300);
    assert_eq!(SignedCheckpoint::latest(&*store).unwrap().unwrap().size, 300);
}

#[tokio::test]
async fn a_full_queue_makes_submitters_wait() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let (release, held) = hold(&committer).await;
    let waiting: Vec<_> = (0..QUEUE + 10)
        .map(|_| {
            let committer = committer.clone();
            tokio::spawn(async move { add(&committer, "a").await })
        })
        .collect();
    queued(&committer, QUEUE).await;
    assert_eq!(committer.statistics().queued, QUEUE);
    drop(release);
    held.await.unwrap();
    for job in waiting {
        assert!(job.await.unwrap().is_ok());
    }
    assert_eq!(counter(&*store, "a"), QUEUE as u64 + 10);
}

#[tokio::test]
async fn a_batch_of_large_jobs_is_cut() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let (release, held) = hold(&committer).await;
    let waiting: Vec<_> = (0..20u64)
        .map(|n| {
            let committer = committer.clone();
            tokio::spawn(async move {
                let job = move |tx: &mut Transaction<'_>| {
                    tx.put(Column::Records, Key::new().u64(n), vec![0; BATCH_BYTES / 10]);
                    Ok::<_, ()>(())
                };
                committer.submit(job).await
            })
        })
        .collect();
    queued(&committer, 20).await;
    drop(release);
    held.await.unwrap();
    for job in waiting {
        job.await.unwrap().unwrap().unwrap();
    }
    assert_eq!(store.commits(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_job() {
    let store = Arc::new(MemoryStore::new());
    let committer = start_with(&store, SELDOM);
    let (release, held) = hold(&committer).await;
    let gone = tokio::spawn({
        let committer = committer.clone();
        async move { add(&committer, "a").await }
    });
    queued(&committer, 1).await;
    gone.abort();
    drop(release);
    held.await.unwrap();
    assert_eq!(add(&committer, "a").await, Ok(2));
}
