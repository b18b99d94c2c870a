//! The trust file of a running node. It adopts a newer one whoever brings it, keeps it, and lets everything
//! follow that hangs from it: connections, channels, roles. A file proves itself, so that it does not
//! matter from whom it comes; hints only say where to look.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use trust::{Trust, TrustError, Versions, list::Decided, member::Member};
use wire::{
    OrganisationId, Timestamp, cbor, limits,
    membership::{TrustFile, TrustReply, TrustRequest, TrustVersions},
};

use crate::{
    context::{Context, Fault},
    evidence_log,
    net::Protocol,
    rate::RateLimit,
    source::Source,
    store::{Column, Read, StoreError, TypedRead},
    timestamper::{NoTimestamp, Timestamper},
};

/// How often a municipality is asked for a newer file, though nobody hinted at one.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The least time before another attempt at a timestamp.
const RETRY: Duration = Duration::from_secs(1);
/// The least time between two questions: hints cost no more than that.
const LEAST: Duration = Duration::from_millis(500);

pub struct TrustKeeper {
    context: Arc<Context>,
    source: Option<Arc<Source>>,
    pub timestamper: Timestamper,
    /// Held while a file is adopted: two at once would each be newer than what was before.
    adopting: tokio::sync::Mutex<()>,
    /// Who said last to have a newer one.
    hinted: Mutex<Option<OrganisationId>>,
    news: Notify,
    /// How often each member may fetch the whole file: more than once a list, less than a flood.
    pulls: RateLimit<OrganisationId>,
    /// How often all strangers together may.
    strange_pulls: RateLimit<()>,
    /// How often each city may have a timestamp looked at, or denials.
    drafts: RateLimit<OrganisationId>,
    /// Whether what is in force is not yet kept: nothing is written before the witnesses have said that
    /// this node's log is the newest.
    unkept: AtomicBool,
}

/// Why a trust file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotAdopted {
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is what people decided, but it lacks a timestamp.
    #[error(transparent)]
    NoTimestamp(#[from] NoTimestamp),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What came of a trust file that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    pub versions: Versions,
    /// Whether it was not known before.
    pub news: bool,
    /// How many connections it closed.
    pub closed: usize,
}

impl TrustKeeper {
    /// `unkept`: the trust file to start with is newer than what is on disk.
    pub fn new(
        context: Arc<Context>,
        source: Option<Arc<Source>>,
        timestamper: Timestamper,
        unkept: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            timestamper,
            strange_pulls: RateLimit::new(2, 16),
            drafts: RateLimit::new(2, 20),
            unkept: AtomicBool::new(unkept),
            context,
            source,
            adopting: tokio::sync::Mutex::new(()),
            hinted: Mutex::new(None),
            news: Notify::new(),
            pulls: RateLimit::new(1, 10),
        })
    }

    pub fn start(self: &Arc<Self>) {
        tokio::spawn(Arc::clone(self).ask_for_ever());
        tokio::spawn(Arc::clone(self).stamp_for_ever());
    }

    /// Takes what an operator hands in: a trust file or, where this node holds a timestamp key, what people
    /// decided, for which the nodes make the timestamp now.
    pub async fn hand_in(&self, file: TrustFile) -> Result<Adopted, NotAdopted> {
        let error = match self.adopt(file.clone()).await {
            Err(NotAdopted::Trust(error)) => error,
            outcome => return outcome,
        };
        let (known, now) = (self.context.trust(), self.context.now().wall);
        let next = tokio::task::spawn_blocking(move || {
            let next = known.next(&file, now).ok();
            next.filter(|next| is_ahead(next, known.decided()))
        });
        let decided = next.await.map_err(|_| Fault::Failed)?.ok_or(error)?;
        self.adopt(self.timestamper.stamp(&decided).await?).await
    }

    /// Renews the timestamp whenever it is this node's turn.
    async fn stamp_for_ever(self: Arc<Self>) {
        loop {
            self.timestamper.until_due().await;
            let trust = self.context.trust();
            let stamped = match self.timestamper.stamp(trust.decided()).await {
                Ok(file) => self.adopt(file).await.map(drop),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = stamped {
                tracing::warn!(%error, "the timestamp was not renewed yet");
                // Others may be about to do the same: not all at once.
                let [random] = self.context.entropy.array::<1>();
                tokio::time::sleep(RETRY + Duration::from_millis(u64::from(random) * 8)).await;
            }
        }
    }

    /// Checks a file and, if it is newer than what is in force, goes by it from now on: kept and in the
    /// evidence log first, then told to the network, whose connections are judged by it before this returns.
    pub async fn adopt(&self, file: TrustFile) -> Result<Adopted, NotAdopted> {
        let context = &self.context;
        let _one = self.adopting.lock().await;
        let (before, now) = (context.trust(), context.now().wall);
        let known = Arc::clone(&before);
        // Many signatures and certificates: not on the network's threads.
        let opened = tokio::task::spawn_blocking(move || known.update(&file, now));
        let trust = Arc::new(opened.await.map_err(|_| Fault::Failed)??);
        let versions = trust.versions();
        if versions == before.versions() {
            return Ok(Adopted { versions, news: false, closed: 0 });
        }
        match context.serving() {
            Ok(()) => self.write(&trust, now).await?,
            Err(_) => self.unkept.store(true, Ordering::SeqCst),
        }
        context.set_trust(Arc::clone(&trust));
        if let Some(source) = &self.source {
            source.channels.follow(&trust)?;
        }
        let closed = context.network()?.set_trust(Arc::clone(&trust)).await.map_err(Fault::from)?;
        let Versions { root, list, timestamp } = versions;
        tracing::info!(root, list, timestamp, closed, "a newer trust file is in force");
        self.tell(versions);
        self.timestamper.look();
        Ok(Adopted { versions, news: true, closed })
    }

    /// Makes durable what is in force, if it is not: called when this node takes up its work.
    pub async fn keep(&self) -> Result<(), Fault> {
        let _one = self.adopting.lock().await;
        if self.unkept.swap(false, Ordering::SeqCst) {
            self.write(&self.context.trust(), self.context.now().wall).await?;
        }
        Ok(())
    }

    async fn write(&self, trust: &Arc<Trust>, now: Timestamp) -> Result<(), Fault> {
        let kept = Arc::clone(trust);
        let written = self.context.commit(move |tx| {
            tx.write(Column::Trust, [], kept.file());
            tx.log(&evidence_log::trust_adopted(&kept, now));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
        Ok(())
    }

    /// Says to everybody who is connected that there is a newer one here.
    fn tell(&self, versions: Versions) {
        let Ok(network) = self.context.network() else { return };
        for peer in network.peers() {
            let (context, to) = (Arc::clone(&self.context), peer.organisation);
            tokio::spawn(async move {
                let hint = TrustRequest::Hint(versions.into());
                // Whoever does not hear of it asks before long.
                let _: Result<TrustReply, _> = context.ask(&to, Protocol::Trust, &hint).await;
            });
        }
    }

    /// Answers another member.
    pub async fn answer(&self, from: &Member, message: &[u8]) -> TrustReply {
        let mono_ms = self.context.now().mono_ms;
        let city = &from.organisation;
        match cbor::from_slice(message) {
            Ok(TrustRequest::Pull(theirs)) => {
                self.newer_than(theirs, || self.pulls.allows(city, mono_ms))
            }
            Ok(TrustRequest::Sign(_) | TrustRequest::Denials(_))
                if !self.context.trust().is_municipality(city)
                    || !self.drafts.allows(city, mono_ms) =>
            {
                TrustReply::Busy
            }
            Ok(TrustRequest::Sign(draft)) => self.timestamper.examine(city, draft).await,
            Ok(TrustRequest::Denials(denials)) => {
                match self.timestamper.take_denials(&denials).await {
                    Ok(()) => TrustReply::Noted,
                    Err(_) => TrustReply::Busy,
                }
            }
            Ok(TrustRequest::Hint(theirs)) => {
                if is_higher(theirs, self.context.trust().versions()) {
                    self.look_at(from.organisation.clone());
                }
                TrustReply::Noted
            }
            Err(_) => TrustReply::Malformed,
        }
    }

    /// Answers somebody who has not said hello: what is handed out proves itself, and says nothing that
    /// members do not tell everybody.
    pub fn answer_stranger(&self, message: &[u8]) -> TrustReply {
        match cbor::from_slice(message) {
            Ok(TrustRequest::Pull(theirs)) => self
                .newer_than(theirs, || self.strange_pulls.allows(&(), self.context.now().mono_ms)),
            _ => TrustReply::Malformed,
        }
    }

    fn newer_than(&self, theirs: TrustVersions, allowed: impl FnOnce() -> bool) -> TrustReply {
        let trust = self.context.trust();
        if !is_newer(trust.versions(), theirs) {
            TrustReply::Current
        } else if allowed() {
            TrustReply::Newer(trust.file().clone())
        } else {
            TrustReply::Busy
        }
    }

    /// A file that this node asked for because its own has run out.
    pub fn take_file(self: &Arc<Self>, file: TrustFile) {
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = keeper.adopt(file).await {
                tracing::warn!(%error, "a trust file was handed out that does not hold");
            }
        });
    }

    /// This member may have a newer file.
    pub fn look_at(&self, member: OrganisationId) {
        *self.hinted.lock().unwrap_or_else(PoisonError::into_inner) = Some(member);
        self.news.notify_one();
    }

    async fn ask_for_ever(self: Arc<Self>) {
        let mut turn = 0;
        loop {
            let _ = tokio::time::timeout(ASK_EVERY, self.news.notified()).await;
            let hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(member) = hinted.or_else(|| self.next_municipality(&mut turn)) else {
                continue;
            };
            self.timestamper.tell(member.clone()).await;
            if let Err(error) = self.pull(&member).await {
                tracing::debug!(%member, %error, "no newer trust file came of asking");
            }
            tokio::time::sleep(LEAST).await;
        }
    }

    /// Each in turn, but for this node's own.
    fn next_municipality(&self, turn: &mut usize) -> Option<OrganisationId> {
        let trust = self.context.trust();
        let own = &self.context.organisation;
        let others: Vec<_> =
            trust.municipalities().map(|city| &city.organisation).filter(|id| *id != own).collect();
        *turn = turn.wrapping_add(1);
        others.get(*turn % others.len().max(1)).map(|id| (*id).clone())
    }

    async fn pull(&self, from: &OrganisationId) -> Result<(), NotAdopted> {
        let have = self.context.trust().versions().into();
        let reply: TrustReply =
            self.context.ask(from, Protocol::Trust, &TrustRequest::Pull(have)).await?;
        if let TrustReply::Newer(file) = reply {
            self.adopt(file).await?;
        }
        Ok(())
    }
}

/// The trust file to start with: the operator's, or the one that this node went by last, if that is newer. A
/// file that would go back, or tells another story, is an error: nobody is to be led back by an old copy.
pub fn newest(
    trust: Trust,
    read: &(impl Read + ?Sized),
    at: wire::Timestamp,
) -> Result<Result<Trust, TrustError>, StoreError> {
    let kept: Option<TrustFile> = read.read(Column::Trust, &[])?;
    let Some(kept) = kept else { return Ok(Ok(trust)) };
    if kept == *trust.file() {
        return Ok(Ok(trust));
    }
    Ok(match trust.update(&kept, at) {
        Ok(newer) => Ok(newer),
        // The operator's is newer, then: as an update of the one that was kept.
        Err(TrustError::Rollback { .. }) => Trust::open(&kept, trust.network(), wire::Timestamp(0))
            .and_then(|known| known.update(trust.file(), at)),
        Err(error) => Err(error),
    })
}

/// Whether people decided something that is not in force yet.
fn is_ahead(next: &Decided, known: &Decided) -> bool {
    next.root().version > known.root().version || next.list().version > known.list().version
}

fn is_newer(ours: Versions, theirs: TrustVersions) -> bool {
    ours.root > theirs.root || ours.list > theirs.list || ours.timestamp > theirs.timestamp
}

fn is_higher(theirs: TrustVersions, ours: Versions) -> bool {
    theirs.root > ours.root || theirs.list > ours.list || theirs.timestamp > ours.timestamp
}

/// Reads a trust file that came over http.
pub fn read_file(bytes: &[u8]) -> Result<TrustFile, wire::CborError> {
    cbor::from_slice_limited(bytes, "trust file", limits::TRUST_FILE)
}
