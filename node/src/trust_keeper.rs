//! The trust file of a running node. It adopts a newer one whoever brings it, keeps it, and lets everything
//! follow that hangs from it: connections, channels, roles. A file proves itself, so that it does not
//! matter from whom it comes; hints only say where to look.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use trust::{Trust, TrustError, Versions, member::Member};
use wire::{
    OrganisationId, cbor, limits,
    membership::{TrustFile, TrustReply, TrustRequest, TrustVersions},
};

use crate::{
    context::{Context, Fault},
    evidence_log,
    net::Protocol,
    rate::RateLimit,
    source::Source,
    store::{Column, Read, StoreError, TypedRead},
};

/// How often a municipality is asked for a newer file, though nobody hinted at one.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The least time between two questions: hints cost no more than that.
const LEAST: Duration = Duration::from_millis(500);

pub struct TrustKeeper {
    context: Arc<Context>,
    source: Option<Arc<Source>>,
    /// Held while a file is adopted: two at once would each be newer than what was before.
    adopting: tokio::sync::Mutex<()>,
    /// Who said last to have a newer one.
    hinted: Mutex<Option<OrganisationId>>,
    news: Notify,
    /// How often each member may fetch the whole file: more than once a list, less than a flood.
    pulls: RateLimit<OrganisationId>,
}

/// Why a trust file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotAdopted {
    #[error(transparent)]
    Trust(#[from] TrustError),
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
    pub fn new(context: Arc<Context>, source: Option<Arc<Source>>) -> Arc<Self> {
        Arc::new(Self {
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
        let kept = Arc::clone(&trust);
        let written = context.commit(move |tx| {
            tx.write(Column::Trust, [], kept.file());
            tx.log(&evidence_log::trust_adopted(&kept, now));
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
        context.set_trust(Arc::clone(&trust));
        if let Some(source) = &self.source {
            source.channels.follow(&trust)?;
        }
        let closed = context.network()?.set_trust(Arc::clone(&trust)).await.map_err(Fault::from)?;
        let Versions { root, list, timestamp } = versions;
        tracing::info!(root, list, timestamp, closed, "a newer trust file is in force");
        self.tell(versions);
        Ok(Adopted { versions, news: true, closed })
    }

    /// Says to everybody who is connected that there is a newer one here.
    fn tell(&self, versions: Versions) {
        let Ok(network) = self.context.network() else { return };
        for peer in network.peers() {
            let (context, to) = (Arc::clone(&self.context), peer.organisation);
            tokio::spawn(async move {
                let hint = TrustRequest::Hint(as_message(versions));
                // Whoever does not hear of it asks before long.
                let _: Result<TrustReply, _> = context.ask(&to, Protocol::Trust, &hint).await;
            });
        }
    }

    /// Answers another member.
    pub fn answer(&self, from: &Member, message: &[u8]) -> TrustReply {
        match cbor::from_slice(message) {
            Ok(TrustRequest::Pull(theirs)) => {
                let trust = self.context.trust();
                if !is_newer(trust.versions(), theirs) {
                    TrustReply::Current
                } else if self.pulls.allows(&from.organisation, self.context.now().mono_ms) {
                    TrustReply::Newer(trust.file().clone())
                } else {
                    TrustReply::Busy
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
        let have = as_message(self.context.trust().versions());
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

fn as_message(versions: Versions) -> TrustVersions {
    let Versions { root, list, timestamp } = versions;
    TrustVersions { root, list, timestamp }
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
