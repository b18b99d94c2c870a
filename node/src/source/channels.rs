//! The source's side of its channels: it pulls from every home, applies what they owe it, and keeps
//! the leases.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use consent::{
    lease::{Lease, LeaseKeeper, NoLease},
    source::{AppliedEntry, SourceChannel, SourceError},
};
use serde::Serialize;
use tokio::sync::Notify;
use trust::{Trust, member::Member};
use wire::{
    Bytes, Hash, Nonce, Now, Timestamp,
    channel::{
        ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Entry, Grant, HeadStatement,
        Position, Pull, Push,
    },
};

use crate::{
    channel_store::{SourceChannelStore, channel_key, store_fault},
    context::{Context, Fault, verify_by},
    evidence_log,
    net::Protocol,
    store::{Column, Key, Read, StoreError, TypedRead},
};

/// The pause after a pull that failed.
const RETRY: Duration = Duration::from_millis(500);
/// The least time between two pulls that brought nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// Leases outside of this are a fault of the home: shorter ones would keep both busy, longer ones
/// would leave a deny without effect for longer than anybody could be told.
const LEASES_MS: std::ops::RangeInclusive<u64> = 2_000..=24 * 60 * 60 * 1000;

/// One channel as a running source sees it. The lease lives here, in memory, and nowhere else.
pub struct Channel {
    pub id: ChannelId,
    keeper: Mutex<LeaseKeeper>,
    /// The signed grants behind the lease and the one before it, newest first, with their ids: kept
    /// on disk once a release cites them. A release may just be committing on the earlier one.
    grants: Mutex<Vec<(Hash, Bytes)>>,
    /// Why the last pull failed, if it did: for the operator.
    fault: Mutex<Option<String>>,
    /// Pull now: entries are missing, or a direct deny is waiting.
    hurry: Notify,
}

/// What an operator sees of a lease.
#[derive(Debug, Clone, Serialize)]
pub struct LeaseStatus {
    pub home: wire::OrganisationId,
    pub source: wire::ServiceName,
    pub applied: u64,
    pub live: bool,
    /// Why not, if not.
    pub reason: Option<String>,
    /// When the lease runs out (milliseconds since 1970), if there is one.
    pub until: Option<Timestamp>,
}

impl Channel {
    fn new(id: ChannelId) -> Arc<Self> {
        let keeper = Mutex::new(LeaseKeeper::new(id.clone()));
        Arc::new(Self {
            id,
            keeper,
            grants: Mutex::new(Vec::new()),
            fault: Mutex::new(None),
            hurry: Notify::new(),
        })
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, LeaseKeeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live lease, if all it covers is applied.
    pub fn lease(&self, applied: &Position, now: Now) -> Result<Lease, NoLease> {
        self.keeper().live(applied, now).copied()
    }

    /// The signed grant with this id, if it is one of the last two.
    pub fn grant(&self, id: &Hash) -> Option<Bytes> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.iter().find(|(of, _)| of == id).map(|(_, bytes)| bytes.clone())
    }

    /// Notes how the last pull went; says whether that is news.
    fn note_fault(&self, fault: Option<String>) -> bool {
        let mut last = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *last, fault.clone()) != fault
    }

    fn last_fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep_grant(&self, id: Hash, bytes: Bytes) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.insert(0, (id, bytes));
        grants.truncate(2);
    }

    pub fn pull_now(&self) {
        self.hurry.notify_one();
    }
}

/// Whether to pull again at once.
enum Progress {
    /// More entries wait at the home.
    More,
    Done,
}

/// All channels of this node's services: one for each home and service.
pub struct Channels {
    context: Arc<Context>,
    channels: Mutex<HashMap<ChannelId, Arc<Channel>>>,
}

impl Channels {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context, channels: Mutex::new(HashMap::new()) })
    }

    /// Starts pulling from every municipality on the trust list, for every service of this node.
    pub fn start(self: &Arc<Self>) {
        let trust = self.context.trust();
        for home in trust.municipalities() {
            for source in &self.context.services {
                let id = ChannelId { home: home.organisation.clone(), source: source.clone() };
                let channel = Channel::new(id.clone());
                self.lock().insert(id, Arc::clone(&channel));
                tokio::spawn(Arc::clone(self).pull_for_ever(channel));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChannelId, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn channel(&self, id: &ChannelId) -> Option<Arc<Channel>> {
        self.lock().get(id).cloned()
    }

    pub fn statuses(&self) -> Result<Vec<LeaseStatus>, StoreError> {
        let now = self.context.now();
        let read = self.context.committer.read();
        let mut channels: Vec<_> = self.lock().values().cloned().collect();
        channels.sort_by(|a, b| a.id.cmp(&b.id));
        channels
            .iter()
            .map(|channel| {
                let network = *self.context.trust().network();
                let state = load(&*read, &network, &channel.id)?;
                let position = state.applied().position;
                let lease = channel.lease(&position, now);
                Ok(LeaseStatus {
                    home: channel.id.home.clone(),
                    source: channel.id.source.clone(),
                    applied: position.length,
                    live: lease.is_ok(),
                    until: lease.as_ref().ok().map(Lease::runs_until),
                    reason: lease.err().map(|reason| match channel.last_fault() {
                        Some(fault) => format!("{reason}; last pull: {fault}"),
                        None => reason.to_string(),
                    }),
                })
            })
            .collect()
    }

    async fn pull_for_ever(self: Arc<Self>, channel: Arc<Channel>) {
        loop {
            let pause = match self.pull_once(&channel).await {
                Ok(Progress::More) => {
                    channel.note_fault(None);
                    continue;
                }
                Ok(Progress::Done) => {
                    channel.note_fault(None);
                    let next = channel.keeper().next_pull_ms();
                    let due = next.saturating_sub(self.context.now().mono_ms);
                    Duration::from_millis(due).max(PAUSE)
                }
                Err(Fault::Stopping) => return,
                Err(fault) => {
                    self.context.metrics.pull_failures.inc();
                    if channel.note_fault(Some(fault.to_string())) {
                        let (home, source) = (&channel.id.home, &channel.id.source);
                        tracing::warn!(%home, %source, %fault, "pulls fail, trying again");
                    }
                    RETRY
                }
            };
            let _ = tokio::time::timeout(pause, channel.hurry.notified()).await;
        }
    }

    /// One pull and what it brings.
    async fn pull_once(&self, channel: &Channel) -> Result<Progress, Fault> {
        let context = &self.context;
        let nonce = Nonce(context.entropy.array());
        let pull = self.next_pull(&channel.id, nonce).await?;
        // The lease is counted from here, before the pull leaves.
        channel.keeper().sending(nonce, context.now());
        let reply: ChannelReply =
            context.ask(&channel.id.home, Protocol::Channel, &ChannelRequest::Pull(pull)).await?;
        let pulled = match reply {
            ChannelReply::Pulled(pulled) => pulled,
            ChannelReply::Refused(ChannelRefusal::Forked) => {
                channel.keeper().revoke();
                tracing::error!(home = %channel.id.home, "the home's history differs from ours: releasing nothing");
                return Err(Fault::Protocol);
            }
            ChannelReply::Refused(refusal) => return Err(Fault::Refused(refusal)),
            ChannelReply::Applied(_) | ChannelReply::Relayed | ChannelReply::Durable => {
                return Err(Fault::Protocol);
            }
        };
        let home = context.network()?.member(&channel.id.home).await?;
        let trust = context.live_trust()?;
        let grant =
            verify_by::<Grant>(&pulled.grant, &home, &trust).map_err(|_| Fault::Protocol)?;
        let statement = verify_by::<HeadStatement>(&pulled.statement, &home, &trust)
            .map_err(|_| Fault::Protocol)?;
        if !LEASES_MS.contains(&grant.message().granted_ms) {
            return Err(Fault::Protocol);
        }
        let brought = !pulled.entries.is_empty();
        let applied = self.apply(&channel.id, pulled.entries, statement, &trust).await?;
        if applied.is_none() {
            channel.keeper().revoke();
            return Err(Fault::Protocol);
        }
        // The bytes first: a release on the new lease must find what it cites.
        channel.keep_grant(grant.id(), Bytes(grant.bytes().to_vec()));
        channel.keeper().granted(grant.message(), grant.id()).map_err(|_| Fault::Protocol)?;
        context.metrics.leases_received.inc();
        let behind = applied.is_some_and(|at| at.length < grant.message().head.position.length);
        // A home that says there is more and sends nothing is asked again at its pace, not at ours.
        Ok(if behind && brought { Progress::More } else { Progress::Done })
    }

    async fn next_pull(&self, id: &ChannelId, nonce: Nonce) -> Result<Pull, Fault> {
        let (id, network) = (id.clone(), *self.context.trust().network());
        let pull = self
            .context
            .commit(move |tx| {
                let channel = load(tx, &network, &id).map_err(store_fault)?;
                channel.pull(&SourceChannelStore { tx, channel: id }, nonce)
            })
            .await?;
        Ok(pull?)
    }

    /// A home pushes: apply, and say how far we are.
    pub async fn take_push(&self, from: &Member, push: Push) -> ChannelReply {
        let Push { channel, entries, statement } = push;
        if channel.home != from.organisation {
            return ChannelReply::Refused(ChannelRefusal::NotYours);
        }
        let (Some(known), Ok(trust)) = (self.channel(&channel), self.context.live_trust()) else {
            return ChannelReply::Refused(ChannelRefusal::NotMine);
        };
        let Ok(statement) = verify_by::<HeadStatement>(&statement, from, &trust) else {
            return ChannelReply::Refused(ChannelRefusal::Malformed);
        };
        match self.apply(&channel, entries, statement, &trust).await {
            Ok(Some(applied)) => ChannelReply::Applied(applied),
            Ok(None) => {
                known.keeper().revoke();
                ChannelReply::Refused(ChannelRefusal::Forked)
            }
            Err(fault) => {
                tracing::warn!(home = %channel.home, %fault, "a push could not be applied");
                ChannelReply::Refused(ChannelRefusal::Unavailable)
            }
        }
    }

    /// Applies entries in one commit with the signed head they lead to. `None` is a fork.
    async fn apply(
        &self,
        id: &ChannelId,
        entries: Vec<Entry>,
        statement: wire::Verified<HeadStatement>,
        trust: &Arc<Trust>,
    ) -> Result<Option<Position>, Fault> {
        let (channel, trust) = (id.clone(), Arc::clone(trust));
        let applied = self
            .context
            .commit(move |tx| {
                let mut state = load(tx, trust.network(), &channel).map_err(store_fault)?;
                let now = tx.now();
                let mut store = SourceChannelStore { tx, channel: channel.clone() };
                let outcome =
                    state.apply(&mut store, &entries, statement.message(), &trust, now)?;
                let tx = store.tx;
                for entry in &outcome {
                    if let Some(record) = evidence_log::faulty_entry(entry, now.wall) {
                        tx.log(&record);
                    }
                    report(&channel, entry);
                }
                if !outcome.is_empty() {
                    tx.log(&evidence_log::applied(&channel, state.applied(), now.wall));
                    tx.hurry_checkpoint();
                }
                if statement.message().head == *state.applied() {
                    let key = statement_key(&channel, state.applied().position.length);
                    tx.write(Column::Statements, key, &Bytes(statement.bytes().to_vec()));
                }
                Ok::<_, SourceError>((state.applied().position, outcome.len()))
            })
            .await?;
        match applied {
            Ok((position, count)) => {
                self.context.metrics.entries_applied.inc_by(count as u64);
                Ok(Some(position))
            }
            Err(SourceError::Store(fault)) => Err(fault.into()),
            Err(error) => {
                tracing::error!(home = %id.home, %error, "releasing nothing on this channel");
                Ok(None)
            }
        }
    }
}

/// Loads a channel, new if nothing came on it yet.
pub fn load(
    read: &(impl Read + ?Sized),
    network: &wire::NetworkId,
    id: &ChannelId,
) -> Result<SourceChannel, StoreError> {
    let stored = read.read(Column::SourceChannels, &channel_key(id))?;
    Ok(stored.unwrap_or_else(|| SourceChannel::new(network, id.clone())))
}

pub fn statement_key(channel: &ChannelId, length: u64) -> Key {
    channel_key(channel).u64(length)
}

fn report(channel: &ChannelId, applied: &AppliedEntry) {
    if let Some(fault) = &applied.fault {
        tracing::warn!(home = %channel.home, seq = applied.seq, %fault, "an entry permits nothing");
    }
}
