//! This node's own log and its witnesses: asked at the start whether they know a longer one, and sent
//! every checkpoint, for cosignatures that *accepted* waits for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evidence::{
    cosignature::{CosignerKey, witness_name},
    note::{Checkpoint, NoteSignature, SignedNote, VerifiedCheckpoint, log_origin},
    tree,
    witness::{BadQuorum, Gathering, Quorum, StartCheck, StartVerdict, assigned},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use trust::Trust;
use wire::{
    Hash, OrganisationId,
    witness::{AddCheckpoint, WitnessConflict, WitnessRefused, WitnessReply, WitnessRequest},
};

use crate::{
    config,
    context::{Context, Fault},
    evidence_log,
    net::Protocol,
    store::{
        Column, Key, Read, StoreError, TypedRead,
        log::{LogHead, SignedCheckpoint, with_nodes},
    },
};

/// How long an acknowledgement waits for cosignatures. The deny itself waits for nothing.
const COSIGN_WAIT: Duration = Duration::from_secs(3);
/// The pause after a witness that could not be asked, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why this node serves nothing but its witness role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServing {
    #[error(
        "this node asks its witnesses whether its log is the newest they know; not enough of them \
         have answered yet"
    )]
    Waiting,
    #[error(
        "this node was put back to an old state: its witness {by} knows {size} entries of its log. It \
         serves nothing. Put the newest copy of its data back (specs/09-evidence.md, Repair)"
    )]
    Restored { by: OrganisationId, size: u64 },
    #[error(
        "this node's log is not the one that its witness {by} knows. It serves nothing. Put the \
         newest copy of its data back (specs/09-evidence.md, Repair)"
    )]
    Forked { by: OrganisationId },
}

/// Value of the fact `witnesses` in [`Column::Meta`]: by whom everything accepted so far is cosigned.
/// After a change of the trust list a start asks these too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    witnesses: Vec<OrganisationId>,
    cosign: u64,
    start: u64,
}

impl Assignment {
    /// The witnesses that trust list and configuration give a log.
    fn now(
        trust: &Trust,
        own: &OrganisationId,
        config: &config::Witnesses,
    ) -> Result<(Self, Quorum), BadQuorum> {
        let candidates: Vec<_> =
            trust.municipalities().map(|city| city.organisation.clone()).collect();
        let others = candidates.iter().filter(|candidate| *candidate != own).count();
        let usual = Quorum::of_candidates(others)?;
        let (cosign, start) =
            (config.cosign.unwrap_or(usual.q()), config.start.unwrap_or(usual.r()));
        let quorum = Quorum::new(usual.n(), cosign, start)?;
        let witnesses = assigned(&candidates, own, quorum.n());
        Ok((Self { witnesses, cosign: cosign as u64, start: start as u64 }, quorum))
    }

    fn key() -> Key {
        Key::new().text("witnesses")
    }

    fn stored(read: &(impl Read + ?Sized)) -> Result<Option<Self>, StoreError> {
        read.read(Column::Meta, &Self::key())
    }

    fn quorum(&self) -> Result<Quorum, BadQuorum> {
        Quorum::new(self.witnesses.len(), self.cosign as usize, self.start as usize)
    }
}

/// What stands between this node's log and a rewritten or forgotten past.
pub struct OwnLog {
    /// `None` on a testnet that runs without witnesses.
    guard: Option<Guard>,
    verdict: watch::Sender<StartVerdict>,
    /// How many leaves are cosigned by enough witnesses.
    reached: watch::Sender<u64>,
}

struct Guard {
    origin: String,
    log_key: [u8; 32],
    assignment: Assignment,
    start: Mutex<StartCheck>,
    gathering: Mutex<Gathering>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OwnLog {
    /// `read` is the store as it was found, before anything is appended.
    pub fn new(
        trust: &Trust,
        own: &OrganisationId,
        log_key: [u8; 32],
        config: &config::Witnesses,
        read: &(impl Read + ?Sized),
    ) -> Result<Result<Arc<Self>, BadQuorum>, StoreError> {
        if config.off {
            let verdict = watch::Sender::new(StartVerdict::Serve);
            let reached = watch::Sender::new(u64::MAX);
            return Ok(Ok(Arc::new(Self { guard: None, verdict, reached })));
        }
        let (assignment, quorum) = match Assignment::now(trust, own, config) {
            Ok(assignment) => assignment,
            Err(error) => return Ok(Err(error)),
        };
        let origin = log_origin(trust.network(), own);
        let head: Option<LogHead> = read.read(Column::LogState, &[])?;
        let (size, root) = head.map_or((0, tree::EMPTY_ROOT), |head| (head.size, head.root));
        let head = Checkpoint { origin: origin.clone(), size, root };
        let mut start = StartCheck::new(head, quorum, assignment.witnesses.clone());
        if let Some(before) = Assignment::stored(read)?.filter(|before| *before != assignment) {
            match before.quorum() {
                Ok(quorum) => start = start.also(quorum, before.witnesses),
                Err(error) => return Ok(Err(error)),
            }
        }
        let gathering = Gathering::new(quorum, assignment.witnesses.clone());
        let guard = Guard {
            origin,
            log_key,
            assignment,
            start: Mutex::new(start),
            gathering: Mutex::new(gathering),
        };
        let verdict = watch::Sender::new(StartVerdict::Waiting);
        Ok(Ok(Arc::new(Self { guard: Some(guard), verdict, reached: watch::Sender::new(0) })))
    }

    /// Asks every witness until it has answered, then sends it every checkpoint.
    pub fn start(self: &Arc<Self>, context: &Arc<Context>) {
        let Some(guard) = &self.guard else {
            tracing::warn!("this node runs without witnesses: an old backup would go unnoticed");
            return;
        };
        let witnesses: BTreeSet<_> = lock(&guard.start).unanswered().cloned().collect();
        let names: Vec<_> = witnesses.iter().map(ToString::to_string).collect();
        tracing::info!(witnesses = ?names, "asking the witnesses of this node's log");
        for witness in witnesses {
            let follow = Arc::clone(self).follow(Arc::clone(context), witness);
            tokio::spawn(follow);
        }
        tokio::spawn(Arc::clone(self).remember_assignment(Arc::clone(context)));
    }

    /// Whether this node may serve more than its witness role.
    pub fn serving(&self) -> Result<(), NotServing> {
        match &*self.verdict.borrow() {
            StartVerdict::Serve => Ok(()),
            StartVerdict::Waiting => Err(NotServing::Waiting),
            StartVerdict::Restored { by, size } => {
                Err(NotServing::Restored { by: by.clone(), size: *size })
            }
            StartVerdict::Forked { by } => Err(NotServing::Forked { by: by.clone() }),
        }
    }

    /// Returns when this node may serve, which may be never.
    pub async fn until_serving(&self) {
        let mut verdict = self.verdict.subscribe();
        // The sender lives as long as `self`.
        let _ = verdict.wait_for(|verdict| *verdict == StartVerdict::Serve).await;
    }

    /// Waits, at most 3 s, until enough witnesses have cosigned a checkpoint over this leaf. Says
    /// whether they have.
    pub async fn cosigned(&self, log_index: u64) -> bool {
        let mut reached = self.reached.subscribe();
        let cosigned = reached.wait_for(|reached| *reached > log_index);
        matches!(tokio::time::timeout(COSIGN_WAIT, cosigned).await, Ok(Ok(_)))
    }

    /// How many leaves are cosigned by enough witnesses; `None` without witnesses.
    pub fn reached(&self) -> Option<u64> {
        self.guard.as_ref().map(|_| *self.reached.borrow())
    }

    /// Whether enough witnesses have cosigned a checkpoint over this leaf by now.
    pub fn is_cosigned(&self, log_index: u64) -> bool {
        *self.reached.borrow() > log_index
    }

    /// What comes of some work, if this node may serve when it begins *and* when it is done: a witness
    /// may have found the node out meanwhile, and then nothing of it leaves.
    pub async fn while_serving<T>(&self, work: impl Future<Output = T>) -> Result<T, NotServing> {
        self.serving()?;
        let done = work.await;
        self.serving()?;
        Ok(done)
    }

    async fn follow(self: Arc<Self>, context: Arc<Context>, witness: OrganisationId) {
        let Some(guard) = &self.guard else { return };
        let mut pause = FIRST_PAUSE;
        let mut known = loop {
            match self.ask_latest(guard, &context, &witness).await {
                Ok(known) => break known,
                Err(Fault::Stopping) => return,
                Err(fault) => {
                    tracing::debug!(%witness, %fault, "a witness was not asked, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        };
        if !guard.assignment.witnesses.contains(&witness) {
            return;
        }
        // What a node that may not serve has signed goes nowhere.
        self.until_serving().await;
        let mut checkpoints = context.committer.checkpoints();
        pause = FIRST_PAUSE;
        // What a node that was found out has signed goes nowhere either.
        while self.serving().is_ok() {
            let latest = checkpoints.borrow_and_update().clone();
            let Some(latest) = latest.filter(|latest| latest.size > known) else {
                if checkpoints.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.submit(guard, &context, &witness, known, &latest).await {
                Ok(Submitted::Cosigned) => {
                    known = latest.size;
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(Submitted::Knows(size)) if size != known && size <= latest.size => {
                    known = size;
                }
                Ok(Submitted::Knows(_)) => {}
                Err(Fault::Stopping) => return,
                Err(fault) => {
                    tracing::debug!(%witness, %fault, "a checkpoint was not cosigned, trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The size that a witness cosigned last.
    async fn ask_latest(
        &self,
        guard: &Guard,
        context: &Arc<Context>,
        witness: &OrganisationId,
    ) -> Result<u64, Fault> {
        let request = WitnessRequest::Latest(guard.origin.clone());
        match context.ask(witness, Protocol::Witness, &request).await? {
            WitnessReply::Known(note) => self.learn(guard, context, witness, Some(&note)),
            WitnessReply::Unknown => self.learn(guard, context, witness, None),
            WitnessReply::Refused(refused) => Err(Fault::Witness(refused)),
            WitnessReply::Cosigned(_) | WitnessReply::Conflict(_) => Err(Fault::Protocol),
        }
    }

    /// Takes in what a witness says it knows. Gives the size.
    fn learn(
        &self,
        guard: &Guard,
        context: &Context,
        witness: &OrganisationId,
        note: Option<&str>,
    ) -> Result<u64, Fault> {
        let latest = note
            .map(|note| VerifiedCheckpoint::verify(note.as_bytes(), &guard.origin, &guard.log_key))
            .transpose()
            .map_err(|error| {
                tracing::warn!(%witness, %error, "a witness shows no checkpoint of this log");
                Fault::Protocol
            })?;
        let latest = latest.as_ref().map(VerifiedCheckpoint::checkpoint);
        let root = match latest {
            Some(latest) => root_at(&*context.committer.read(), latest.size)?,
            None => None,
        };
        let verdict = {
            let mut start = lock(&guard.start);
            start.answer(witness, latest, |_| root);
            start.verdict()
        };
        let size = latest.map_or(0, |latest| latest.size);
        if latest.is_some_and(|latest| root == Some(latest.root)) {
            self.gathered(guard, witness, size);
        }
        self.verdict.send_if_modified(|standing| {
            let news = *standing != verdict;
            *standing = verdict;
            news
        });
        match self.serving() {
            Err(reason @ (NotServing::Restored { .. } | NotServing::Forked { .. })) => {
                // At the start, or long after it: from here on nothing is granted, released or sent.
                tracing::error!("{reason}");
            }
            Err(NotServing::Waiting) | Ok(()) => {}
        }
        Ok(size)
    }

    async fn submit(
        &self,
        guard: &Guard,
        context: &Arc<Context>,
        witness: &OrganisationId,
        old_size: u64,
        latest: &SignedCheckpoint,
    ) -> Result<Submitted, Fault> {
        let note = latest.own_note().map_err(|_| Fault::Failed)?;
        let proof = with_nodes(&*context.committer.read(), |nodes| {
            tree::consistency_proof(nodes, old_size, latest.size)
        })?
        .map_err(|_| Fault::Failed)?;
        let add = AddCheckpoint { old_size, proof, note: note.to_string() };
        let request = WitnessRequest::AddCheckpoint(add);
        match context.ask(witness, Protocol::Witness, &request).await? {
            WitnessReply::Cosigned(line) => {
                let line: NoteSignature = line.parse().map_err(|_| Fault::Protocol)?;
                let key = cosigner(context, witness).await?;
                key.verify(note.text(), &line).map_err(|error| {
                    tracing::warn!(%witness, %error, "a witness's cosignature does not hold");
                    Fault::Protocol
                })?;
                self.gathered(guard, witness, latest.size);
                keep(context, latest.size, line).await?;
                Ok(Submitted::Cosigned)
            }
            WitnessReply::Conflict(WitnessConflict { note, .. }) => {
                let size = self.learn(guard, context, witness, note.as_deref())?;
                Ok(Submitted::Knows(size))
            }
            // It knows another tree than ours at this size, and says which when it is asked.
            WitnessReply::Refused(WitnessRefused::Inconsistent) => {
                Ok(Submitted::Knows(self.ask_latest(guard, context, witness).await?))
            }
            WitnessReply::Refused(refused) => Err(Fault::Witness(refused)),
            WitnessReply::Known(_) | WitnessReply::Unknown => Err(Fault::Protocol),
        }
    }

    fn gathered(&self, guard: &Guard, witness: &OrganisationId, size: u64) {
        let reached = {
            let mut gathering = lock(&guard.gathering);
            gathering.cosigned(witness, size);
            gathering.reached()
        };
        self.reached.send_if_modified(|before| {
            let further = reached > *before;
            *before = reached.max(*before);
            further
        });
    }

    /// Once today's witnesses have cosigned all there was when this node began to serve, a later start
    /// need not ask those of before.
    async fn remember_assignment(self: Arc<Self>, context: Arc<Context>) {
        let Some(guard) = &self.guard else { return };
        self.until_serving().await;
        let remembered = async {
            let size = evidence_log::size(&*context.committer.read())?;
            let mut reached = self.reached.subscribe();
            // The sender lives as long as `self`.
            let _ = reached.wait_for(|reached| *reached >= size).await;
            let assignment = guard.assignment.clone();
            context
                .commit(move |tx| {
                    tx.write(Column::Meta, Assignment::key(), &assignment);
                    Ok::<_, std::convert::Infallible>(())
                })
                .await
        };
        if let Err(fault) = remembered.await {
            tracing::warn!(%fault, "who this log's witnesses are was not noted");
        }
    }
}

enum Submitted {
    Cosigned,
    /// It has cosigned another size than it was thought.
    Knows(u64),
}

/// The root that the own tree has, or had, at a size; `None` if it is not that long.
fn root_at(read: &(impl Read + ?Sized), size: u64) -> Result<Option<Hash>, StoreError> {
    if size > evidence_log::size(read)? {
        return Ok(None);
    }
    Ok(with_nodes(read, |nodes| tree::root(nodes, size))?.ok())
}

/// The key that a witness cosigns with, as its descriptor says.
async fn cosigner(context: &Context, witness: &OrganisationId) -> Result<CosignerKey, Fault> {
    let member = context.network()?.member(witness).await?;
    let key = member.descriptor.witness_key.as_ref();
    let key = key.and_then(|key| <[u8; 32]>::try_from(&key.0[..]).ok()).ok_or(Fault::Protocol)?;
    let name = witness_name(context.trust().network(), witness);
    CosignerKey::new(&name, key).map_err(|_| Fault::Protocol)
}

/// Adds a cosignature to the stored checkpoint, for whoever reads it later.
async fn keep(context: &Context, size: u64, line: NoteSignature) -> Result<(), Fault> {
    let kept = context.commit(move |tx| {
        let key = Key::new().u64(size);
        let stored: Option<SignedCheckpoint> = tx.read(Column::Checkpoints, &key)?;
        let Some(mut stored) = stored else { return Ok(()) };
        let Ok(mut note) = SignedNote::parse(&stored.note) else { return Ok(()) };
        let known = note.signatures().iter().any(|known| known.name == line.name);
        if !known && note.add(line).is_ok() {
            stored.note = note.to_string().into_bytes().into();
            tx.write(Column::Checkpoints, key, &stored);
        }
        Ok::<_, StoreError>(())
    });
    Ok(kept.await??)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn serving() -> Arc<OwnLog> {
        let verdict = watch::Sender::new(StartVerdict::Serve);
        Arc::new(OwnLog { guard: None, verdict, reached: watch::Sender::new(0) })
    }

    fn found_out(own_log: &OwnLog) -> NotServing {
        let by: OrganisationId = "9000020102016".parse().unwrap();
        own_log.verdict.send_replace(StartVerdict::Restored { by: by.clone(), size: 7 });
        NotServing::Restored { by, size: 7 }
    }

    #[tokio::test]
    async fn nothing_that_was_under_way_leaves_a_node_that_was_found_out() {
        let own_log = serving();
        assert_eq!(own_log.while_serving(async { "released" }).await, Ok("released"));
        let (finish, finished) = oneshot::channel();
        let task = {
            let own_log = Arc::clone(&own_log);
            tokio::spawn(async move { own_log.while_serving(finished).await })
        };
        tokio::task::yield_now().await;
        let reason = found_out(&own_log);
        finish.send("released").unwrap();
        assert_eq!(task.await.unwrap(), Err(reason.clone()));
        // And nothing new is even begun.
        let begun = std::sync::atomic::AtomicBool::new(false);
        let work = async { begun.store(true, std::sync::atomic::Ordering::Relaxed) };
        assert_eq!(own_log.while_serving(work).await, Err(reason));
        assert!(!begun.into_inner());
    }

    #[tokio::test]
    async fn a_leaf_is_cosigned_once_enough_witnesses_have_a_larger_tree() {
        let own_log = serving();
        assert!(!own_log.is_cosigned(0));
        own_log.reached.send_replace(7);
        assert!(own_log.is_cosigned(6) && !own_log.is_cosigned(7));
    }
}
