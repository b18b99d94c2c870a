//! The commit point: the one place where a running node writes.
//!
//! A single thread takes jobs from a bounded queue, runs up to [`BATCH_JOBS`] of them one after the
//! other, each seeing what the earlier ones wrote, and makes all their writes, the evidence log's
//! entries and (when one is due) a signed checkpoint durable in **one** synced batch. Only then does
//! it answer anybody. While one batch syncs, the next jobs queue up: group commit by itself.
//!
//! Because jobs run one at a time, "read, decide, write" inside a job is one step: between an
//! evaluation of consent and its release no deny can slip in.
//!
//! A batch that fails is answered with [`CommitError`] to every job in it, those that returned an
//! error of their own included, since they may have seen what was never written. Its outcome is
//! unknown; the thread forgets what it had in memory and reads the log's head from the store again
//! before it goes on.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use evidence::{log::Log, note::NoteSigner};
use tokio::sync::{mpsc, oneshot, watch};
use wire::Now;

use super::{
    Snapshot, Store, StoreError,
    log::{self, CheckpointPolicy, SignedCheckpoint},
    transaction::{Overlay, Transaction},
};
use crate::{clock::Clock, entropy::Entropy};

/// Most jobs in one batch.
pub const BATCH_JOBS: usize = 256;
/// A batch that has grown to this many bytes is written before more jobs run.
const BATCH_BYTES: usize = 8 << 20;
/// Most jobs waiting in each of the two queues: whoever submits more waits for a place.
const QUEUE: usize = 1024;
/// How long after a signature or commit that failed the next checkpoint is tried.
const RETRY_MS: u64 = 1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Whether the batch was persisted is unknown; asking again (with the same id) tells.
    #[error("the batch could not be made durable: {0}")]
    Store(StoreError),
    #[error("the job panicked; nothing of it was written")]
    Panicked,
    #[error("the node is stopping")]
    Stopped,
}

/// Tells a job's caller how it ended, once it is known how its batch did.
type Answer = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

trait Job: Send {
    /// Runs, and says whether its writes stay.
    fn run(self: Box<Self>, transaction: &mut Transaction<'_>) -> (bool, Answer);
    /// Answers without having run.
    fn refuse(self: Box<Self>, error: CommitError);
}

struct Task<J, T, E> {
    job: J,
    tell: oneshot::Sender<Result<Result<T, E>, CommitError>>,
}

impl<J, T, E> Job for Task<J, T, E>
where
    J: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send,
    T: Send + 'static,
    E: Send + 'static,
{
    fn run(self: Box<Self>, transaction: &mut Transaction<'_>) -> (bool, Answer) {
        let Self { job, tell } = *self;
        // A transaction whose job panicked is thrown away whole, so no broken state is seen.
        let result = catch_unwind(AssertUnwindSafe(|| job(transaction)));
        let keep = matches!(result, Ok(Ok(_)));
        let verdict = result.map_err(|_| CommitError::Panicked);
        // Here and below the caller may have gone away; what it asked for is done all the same.
        (keep, Box::new(move |committed| drop(tell.send(committed.and(verdict)))))
    }

    fn refuse(self: Box<Self>, error: CommitError) {
        drop(self.tell.send(Err(error)));
    }
}

enum Message {
    Job(Box<dyn Job>),
    Close,
}

/// Counters since the start, for metrics.
#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    jobs: AtomicU64,
    failures: AtomicU64,
}

/// A reading of the committer's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Batches made durable.
    pub batches: u64,
    /// Jobs answered, whatever the answer.
    pub jobs: u64,
    /// Batches whose commit failed.
    pub failures: u64,
    /// Jobs waiting now.
    pub queued: usize,
}

/// The log's name and key, and when its checkpoints are signed.
#[derive(Clone)]
pub struct LogParameters {
    /// See [`evidence::note::log_origin`].
    pub origin: String,
    pub policy: CheckpointPolicy,
    pub signer: Arc<dyn NoteSigner + Send + Sync>,
}

/// Hands jobs to the commit thread. Clones share it; it ends when the last clone is dropped or
/// [`Committer::close`] is called.
#[derive(Clone)]
pub struct Committer {
    shared: Arc<Shared>,
}

/// When a job is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Ahead of every job in order that has not begun: whatever else a node is asked for, a deny does
    /// not wait behind it.
    First,
    InOrder,
}

struct Shared {
    queue: mpsc::Sender<Message>,
    /// Taken before anything of `queue`.
    first: mpsc::Sender<Message>,
    store: Arc<dyn Store>,
    checkpoints: watch::Receiver<Option<SignedCheckpoint>>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    /// Reads the log's head from the store, checks it against the log's nodes, and starts the
    /// thread. Nobody else may write to `store` from now on.
    pub fn start(
        store: Arc<dyn Store>,
        parameters: LogParameters,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let log = log::load(&*store, clock.now())?;
        let latest = SignedCheckpoint::latest(&*store)?;
        let (queue, others) = mpsc::channel(QUEUE);
        let (first, before) = mpsc::channel(QUEUE);
        let jobs = Queues { first: before, others };
        let (publish, checkpoints) = watch::channel(latest);
        let counters = Arc::new(Counters::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| StoreError::Backend(error.to_string()))?;
        let writer = Writer {
            store: store.clone(),
            log: Some(log),
            parameters,
            not_before_ms: 0,
            publish,
            entropy,
            clock,
            counters: counters.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || runtime.block_on(writer.run(jobs)))
            .map_err(|error| StoreError::Backend(error.to_string()))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { shared: Arc::new(Shared { queue, first, store, checkpoints, counters, thread }) })
    }

    /// Runs a job and answers when its writes are durable. Waits for a place in the queue.
    ///
    /// The inner result is the job's own verdict; a job that returns `Err` leaves no writes. The
    /// outer error means that the verdict must not be relied on. A caller that stops waiting once
    /// the job is queued does not stop the job.
    pub async fn submit<T, E>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, CommitError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.submit_at(Turn::InOrder, job).await
    }

    /// As [`submit`](Self::submit), at its turn.
    pub async fn submit_at<T, E>(
        &self,
        turn: Turn,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, CommitError>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let queue = match turn {
            Turn::First => &self.shared.first,
            Turn::InOrder => &self.shared.queue,
        };
        let (tell, told) = oneshot::channel();
        let job = Message::Job(Box::new(Task { job, tell }));
        queue.send(job).await.map_err(|_| CommitError::Stopped)?;
        told.await.unwrap_or(Err(CommitError::Stopped))
    }

    /// The committed state at this moment.
    pub fn read(&self) -> Box<dyn Snapshot + '_> {
        self.shared.store.snapshot()
    }

    /// The latest durable checkpoint, and whenever there is a newer one.
    pub fn checkpoints(&self) -> watch::Receiver<Option<SignedCheckpoint>> {
        self.shared.checkpoints.clone()
    }

    pub fn statistics(&self) -> Statistics {
        let Shared { queue, first, counters, .. } = &*self.shared;
        let waiting = |queue: &mpsc::Sender<Message>| queue.max_capacity() - queue.capacity();
        Statistics {
            batches: counters.batches.load(Relaxed),
            jobs: counters.jobs.load(Relaxed),
            failures: counters.failures.load(Relaxed),
            queued: waiting(queue) + waiting(first),
        }
    }

    /// Returns when the thread has ended, asked or by a fault: a node cannot go on without it.
    pub async fn ended(&self) {
        self.shared.queue.closed().await;
    }

    /// Takes no more jobs, finishes those that wait, signs what is not under a checkpoint yet, and
    /// returns when the thread has ended.
    pub async fn close(&self) {
        // If it cannot be sent the thread has ended already.
        let _ = self.shared.queue.send(Message::Close).await;
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Jobs' panics are caught; one of the thread's own was printed by the panic hook.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }
}

struct Writer {
    store: Arc<dyn Store>,
    /// `None` after a failure: to be read from the store again.
    log: Option<Log>,
    parameters: LogParameters,
    /// On the monotonic clock, when a checkpoint may be tried again.
    not_before_ms: u64,
    publish: watch::Sender<Option<SignedCheckpoint>>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl Writer {
    async fn run(mut self, mut queue: Queues) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match wait(&mut queue, self.due_in_ms()).await {
                    Wait::Message(Message::Job(job)) => waiting.push_back(job),
                    Wait::Message(Message::Close) => queue.close(),
                    Wait::CheckpointDue => {}
                    Wait::Closed => break,
                }
            }
            while waiting.len() < BATCH_JOBS {
                match queue.try_recv() {
                    Some(Message::Job(job)) => waiting.push_back(job),
                    Some(Message::Close) => queue.close(),
                    None => break,
                }
            }
            self.batch(&mut waiting);
        }
        self.parameters.policy.entries = 1;
        self.not_before_ms = 0;
        self.batch(&mut waiting);
    }

    /// How long until there is something to do besides jobs: a checkpoint, or finding out what the
    /// store holds after a failure.
    fn due_in_ms(&self) -> Option<u64> {
        let due_ms = match &self.log {
            Some(log) => log.checkpoint_due_ms(&self.parameters.policy)?,
            None => 0,
        };
        Some(due_ms.max(self.not_before_ms).saturating_sub(self.clock.now().mono_ms))
    }

    fn failed(&mut self, now: Now) {
        self.not_before_ms = now.mono_ms + RETRY_MS;
    }

    /// Runs the jobs that wait, as far as one batch holds them, commits and answers.
    fn batch(&mut self, waiting: &mut VecDeque<Box<dyn Job>>) {
        let mut log = match self.log.take().map_or_else(|| self.reload(), Ok) {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(%error, "the log's head cannot be read; nothing can be committed");
                self.counters.failures.fetch_add(1, Relaxed);
                self.counters.jobs.fetch_add(waiting.len() as u64, Relaxed);
                self.failed(self.clock.now());
                for job in waiting.drain(..) {
                    job.refuse(CommitError::Store(error.clone()));
                }
                return;
            }
        };
        let before = log.size();
        let mut overlay = Overlay::default();
        let mut answers: Vec<Answer> = Vec::with_capacity(waiting.len());
        let mut urgent = false;
        while overlay.bytes() < BATCH_BYTES
            && let Some(job) = waiting.pop_front()
        {
            let now = self.clock.now();
            let mut transaction =
                Transaction::new(&*self.store, &overlay, &log, now, &*self.entropy);
            let (keep, answer) = job.run(&mut transaction);
            answers.push(answer);
            if keep {
                let changes = transaction.into_changes();
                overlay.absorb(changes.writes);
                if let Some(longer) = changes.log {
                    log = longer;
                }
                urgent |= changes.urgent;
            }
        }
        if log.size() > before {
            log::write_head(&log, &mut overlay);
        }
        let now = self.clock.now();
        log.await_checkpoint(urgent, now);
        let checkpoint = self.checkpoint(&log, now, &mut overlay);
        let outcome = self.commit(overlay);
        self.counters.jobs.fetch_add(answers.len() as u64, Relaxed);
        match &outcome {
            Ok(()) => {
                if let Some(checkpoint) = checkpoint {
                    log.checkpointed(checkpoint.size);
                    self.publish.send_replace(Some(checkpoint));
                }
                self.log = Some(log);
            }
            Err(error) => {
                tracing::error!(%error, "a batch could not be made durable; its outcome is unknown");
                self.counters.failures.fetch_add(1, Relaxed);
                self.failed(now);
            }
        }
        for answer in answers {
            answer(outcome.clone().map_err(CommitError::Store));
        }
    }

    fn commit(&self, overlay: Overlay) -> Result<(), StoreError> {
        let batch = overlay.into_batch();
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch)?;
        self.counters.batches.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Signs the log as it will be, if that is due. A key store that does not sign must not keep
    /// denies from being written: the checkpoint is tried again a little later.
    fn checkpoint(
        &mut self,
        log: &Log,
        now: Now,
        overlay: &mut Overlay,
    ) -> Option<SignedCheckpoint> {
        let LogParameters { origin, policy, signer } = &self.parameters;
        if now.mono_ms < self.not_before_ms || !log.checkpoint_due(policy, now) {
            return None;
        }
        match log.checkpoint(origin).sign(&**signer) {
            Ok(note) => {
                let note = note.to_string().into_bytes().into();
                let (size, root) = (log.size(), log.root());
                let checkpoint = SignedCheckpoint { size, root, time: now.wall, note };
                checkpoint.write(overlay);
                Some(checkpoint)
            }
            Err(error) => {
                tracing::error!(%error, "the checkpoint could not be signed");
                self.failed(now);
                None
            }
        }
    }

    /// What is durable after a failure, log and checkpoint.
    fn reload(&mut self) -> Result<Log, StoreError> {
        let log = log::load(&*self.store, self.clock.now())?;
        let latest = SignedCheckpoint::latest(&*self.store)?;
        self.publish.send_if_modified(|published| {
            let other = *published != latest;
            *published = latest;
            other
        });
        Ok(log)
    }
}

/// What waits, in the order in which it is taken.
struct Queues {
    first: mpsc::Receiver<Message>,
    others: mpsc::Receiver<Message>,
}

impl Queues {
    /// `None` once both are closed and empty.
    async fn recv(&mut self) -> Option<Message> {
        tokio::select! {
            biased;
            Some(message) = self.first.recv() => Some(message),
            Some(message) = self.others.recv() => Some(message),
            else => None,
        }
    }

    fn try_recv(&mut self) -> Option<Message> {
        self.first.try_recv().or_else(|_| self.others.try_recv()).ok()
    }

    fn close(&mut self) {
        self.first.close();
        self.others.close();
    }
}

enum Wait {
    Message(Message),
    CheckpointDue,
    Closed,
}

async fn wait(queue: &mut Queues, due_ms: Option<u64>) -> Wait {
    let message = match due_ms {
        None => queue.recv().await,
        Some(ms) => match tokio::time::timeout(Duration::from_millis(ms), queue.recv()).await {
            Ok(message) => message,
            Err(_) => return Wait::CheckpointDue,
        },
    };
    message.map_or(Wait::Closed, Wait::Message)
}

#[cfg(test)]
mod tests;
