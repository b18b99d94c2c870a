//! The source's side of its channels: it pulls from every home, applies what they owe it, and keeps
//! the leases.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use consent::{
    Puller,
    lease::{Lease, NoLease},
    source::{AppliedEntry, SourceChannel, SourceError},
};
use serde::Serialize;
use tokio::sync::Notify;
use trust::{Trust, member::Member};
use wire::{
    Bytes, Hash, Nonce, Now, Timestamp,
    channel::{
        ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Entry, Grant, HeadStatement,
        Position, Progress, Pull, Push, Reached,
    },
    limits,
};

use crate::{
    channel_store::{SourceChannelStore, channel_key, store_fault, unreadable_rows, waiting_rows},
    context::{Context, Fault, verify_by},
    evidence_log,
    net::Protocol,
    store::{Column, Key, Read, StoreError, Turn, TypedRead},
};

/// One channel as a running source sees it. The lease lives here, in memory, and nowhere else.
pub struct Channel {
    pub id: ChannelId,
    puller: Mutex<Puller>,
    /// The signed grants behind the lease and the one before it, newest first, with their ids: kept
    /// on disk once a release cites them. A release may just be committing on the earlier one.
    grants: Mutex<Vec<(Hash, Bytes)>>,
    /// Why the last pull failed, if it did: for the operator.
    fault: Mutex<Option<String>>,
    /// The puller's next time may have changed.
    changed: Notify,
    /// There is more to tell the home, once witnesses know of it.
    untold: Notify,
    /// The home is no municipality any more: nobody finds this channel, and its tasks end.
    closed: AtomicBool,
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
        let puller = Mutex::new(Puller::new(id.clone()));
        Arc::new(Self {
            id,
            puller,
            grants: Mutex::new(Vec::new()),
            fault: Mutex::new(None),
            changed: Notify::new(),
            untold: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    fn puller(&self) -> MutexGuard<'_, Puller> {
        self.puller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The live lease, if all it covers is applied.
    pub fn lease(&self, applied: &Position, now: Now) -> Result<Lease, NoLease> {
        self.puller().live(applied, now).copied()
    }

    /// The signed grant with this id, if it is one of the last two.
    pub fn grant(&self, id: &Hash) -> Option<Bytes> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.iter().find(|(of, _)| of == id).map(|(_, bytes)| bytes.clone())
    }

    /// The channel is so far here, and all of it in this node's log up to `leaf`.
    fn reached(&self, reached: Reached, leaf: u64) {
        self.puller().reached(reached, leaf);
        self.untold.notify_one();
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

    /// A direct deny waits.
    pub fn pull_now(&self, now: Now) {
        self.puller().hurry(now);
        self.changed.notify_one();
    }
}

/// All channels of this node's services: one for each home and service.
pub struct Channels {
    context: Arc<Context>,
    channels: Mutex<HashMap<ChannelId, Arc<Channel>>>,
    started: AtomicBool,
}

impl Channels {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let (channels, started) = (Mutex::new(HashMap::new()), AtomicBool::new(false));
        Arc::new(Self { context, channels, started })
    }

    /// Starts pulling from every municipality on the trust list, for every service of this node.
    /// `log_size`: of this node's log so far. The homes are told what is applied once witnesses know that.
    pub fn start(self: &Arc<Self>, log_size: u64) -> Result<(), Fault> {
        self.started.store(true, Ordering::SeqCst);
        self.go_by(&self.context.trust(), log_size)
    }

    /// The trust list is another: whoever is no municipality any more has no lease here from now on, and
    /// whoever became one is pulled from. Nothing, before [`Channels::start`].
    pub fn follow(self: &Arc<Self>, trust: &Trust) -> Result<(), Fault> {
        if !self.started.load(Ordering::SeqCst) {
            return Ok(());
        }
        let log_size = evidence_log::size(&*self.context.committer.read())?;
        self.go_by(trust, log_size)
    }

    fn go_by(self: &Arc<Self>, trust: &Trust, log_size: u64) -> Result<(), Fault> {
        let gone: Vec<_> = {
            let mut channels = self.lock();
            channels.extract_if(|id, _| !trust.is_municipality(&id.home)).collect()
        };
        for (_, channel) in gone {
            channel.closed.store(true, Ordering::SeqCst);
            channel.changed.notify_one();
            channel.untold.notify_one();
        }
        let mut added = Vec::new();
        {
            let read = self.context.committer.read();
            for home in trust.municipalities() {
                for source in &self.context.services {
                    let id = ChannelId { home: home.organisation.clone(), source: source.clone() };
                    if self.channel(&id).is_some() {
                        continue;
                    }
                    let channel = Channel::new(id.clone());
                    let reached = reached(&*read, trust.network(), &id)?;
                    channel.reached(reached, log_size.saturating_sub(1));
                    added.push((id, channel));
                }
            }
        }
        // All at once: what one channel brings lets entries of another act.
        self.lock().extend(added.iter().cloned());
        for (_, channel) in added {
            tokio::spawn(Arc::clone(self).tell_for_ever(Arc::clone(&channel)));
            tokio::spawn(Arc::clone(self).pull_for_ever(channel));
        }
        Ok(())
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
            let wake_at_ms = channel.puller().wake_at_ms();
            self.context.wait_until(Some(wake_at_ms), &channel.changed).await;
            if channel.closed.load(Ordering::SeqCst) {
                return;
            }
            let nonce = Nonce(self.context.entropy.array());
            // The lease is counted from here, before the pull is even made.
            if !channel.puller().begin(nonce, self.context.now()) {
                continue;
            }
            match self.pull_once(&channel, nonce).await {
                Ok(()) => {
                    channel.note_fault(None);
                }
                Err(Fault::Stopping | Fault::NotServing(_)) => return,
                Err(fault) => {
                    self.context.metrics.pull_failures.inc();
                    if channel.note_fault(Some(fault.to_string())) {
                        let (home, source) = (&channel.id.home, &channel.id.source);
                        tracing::warn!(%home, %source, %fault, "pulls fail, trying again");
                    }
                    let forked = matches!(fault, Fault::Refused(ChannelRefusal::Forked));
                    let now = self.context.now();
                    let mut puller = channel.puller();
                    if forked { puller.forked(now) } else { puller.failed(now) }
                }
            }
        }
    }

    /// One pull and what it brings.
    async fn pull_once(self: &Arc<Self>, channel: &Channel, nonce: Nonce) -> Result<(), Fault> {
        let context = &self.context;
        let pull = self.next_pull(channel, nonce).await?;
        let reported = pull.progress.unreadable.clone();
        let reply: ChannelReply =
            context.ask(&channel.id.home, Protocol::Channel, &ChannelRequest::Pull(pull)).await?;
        let pulled = match reply {
            ChannelReply::Pulled(pulled) => pulled,
            ChannelReply::Refused(refusal) => {
                if refusal == ChannelRefusal::Forked {
                    tracing::error!(home = %channel.id.home, "the home's history differs from ours: releasing nothing");
                }
                return Err(Fault::Refused(refusal));
            }
            _ => return Err(Fault::Protocol),
        };
        let home = context.network()?.member(&channel.id.home).await?;
        let trust = context.live_trust()?;
        let grant =
            verify_by::<Grant>(&pulled.grant, &home, &trust).map_err(|_| Fault::Protocol)?;
        let statement = verify_by::<HeadStatement>(&pulled.statement, &home, &trust)
            .map_err(|_| Fault::Protocol)?;
        let applied = self.apply(channel, pulled.entries, statement, &trust, reported).await?;
        let Some((applied, news)) = applied else {
            return Err(Fault::Refused(ChannelRefusal::Forked));
        };
        // The bytes first: a release on the new lease must find what it cites.
        channel.keep_grant(grant.id(), Bytes(grant.bytes().to_vec()));
        let now = context.now();
        let (message, id) = (grant.message(), grant.id());
        channel.puller().pulled(message, id, &applied, news > 0, now).map_err(|error| {
            tracing::warn!(home = %channel.id.home, %error, "a grant was not taken");
            Fault::Protocol
        })?;
        context.metrics.leases_received.inc();
        Ok(())
    }

    /// The next pull, which tells what witnesses know by now: a lease hangs on no witness.
    async fn next_pull(&self, channel: &Channel, nonce: Nonce) -> Result<Pull, Fault> {
        let context = &self.context;
        let (told, after) = {
            let puller = channel.puller();
            (puller.told().cloned(), puller.denies_after().copied())
        };
        let (id, network) = (channel.id.clone(), *context.trust().network());
        let pull = context
            .commit(move |tx| {
                let channel = load(tx, &network, &id).map_err(store_fault)?;
                let store = SourceChannelStore { tx, channel: id };
                channel.pull(&store, nonce, told, after.as_ref())
            })
            .await?;
        let (pull, last) = pull?;
        channel.puller().carries(last);
        Ok(pull)
    }

    /// As soon as witnesses know how far the channel is, the home is told: it waits to call entries in
    /// force.
    async fn tell_for_ever(self: Arc<Self>, channel: Arc<Channel>) {
        while !channel.closed.load(Ordering::SeqCst) {
            // No guard of the puller across an await.
            let untold = channel.puller().untold();
            let Some(leaf) = untold else {
                channel.untold.notified().await;
                continue;
            };
            if self.context.cosigned(leaf).await && channel.puller().witnessed(leaf) {
                channel.pull_now(self.context.now());
            }
        }
    }

    /// A home pushes: apply, and say how far we are.
    pub async fn take_push(self: &Arc<Self>, from: &Member, push: Push) -> ChannelReply {
        let Push { channel, entries, statement } = push;
        if channel.home != from.organisation {
            return ChannelReply::Refused(ChannelRefusal::NotYours);
        }
        if entries.len() > limits::ENTRIES {
            return ChannelReply::Refused(ChannelRefusal::Malformed);
        }
        let (Some(known), Ok(trust)) = (self.channel(&channel), self.context.live_trust()) else {
            return ChannelReply::Refused(ChannelRefusal::NotMine);
        };
        let Ok(statement) = verify_by::<HeadStatement>(&statement, from, &trust) else {
            return ChannelReply::Refused(ChannelRefusal::Malformed);
        };
        match self.apply(&known, entries, statement, &trust, Vec::new()).await {
            Ok(Some(_)) => self.progress(&known).map_or_else(
                |fault| {
                    tracing::warn!(home = %channel.home, %fault, "how far a channel is cannot be read");
                    ChannelReply::Refused(ChannelRefusal::Unavailable)
                },
                ChannelReply::Applied,
            ),
            Ok(None) => {
                known.puller().forked(self.context.now());
                ChannelReply::Refused(ChannelRefusal::Forked)
            }
            Err(fault) => {
                tracing::warn!(home = %channel.home, %fault, "a push could not be applied");
                ChannelReply::Refused(ChannelRefusal::Unavailable)
            }
        }
    }

    /// How far a channel is, as it is durable.
    fn progress(&self, channel: &Channel) -> Result<Progress, StoreError> {
        let told = channel.puller().told().cloned();
        let read = self.context.committer.read();
        let state = load(&*read, self.context.trust().network(), &channel.id)?;
        Ok(state.progress(told, unreadable_rows(&*read, &channel.id)?))
    }

    /// Applies entries in one commit with the signed head they lead to; gives where the channel is then,
    /// and how many of them were news. `None` is a fork. The home has heard that the `reported` entries
    /// are unreadable.
    async fn apply(
        self: &Arc<Self>,
        at: &Channel,
        entries: Vec<Entry>,
        statement: wire::Verified<HeadStatement>,
        trust: &Arc<Trust>,
        reported: Vec<u64>,
    ) -> Result<Option<(Position, usize)>, Fault> {
        let (channel, trust) = (at.id.clone(), Arc::clone(trust));
        let applied = self
            .context
            .commit_at(Turn::First, move |tx| {
                let mut state = load(tx, trust.network(), &channel).map_err(store_fault)?;
                let now = tx.now();
                let mut store = SourceChannelStore { tx, channel: channel.clone() };
                let outcome =
                    state.apply(&mut store, &entries, statement.message(), &*trust, now)?;
                state.reported(&mut store, &reported);
                for entry in &outcome {
                    for record in evidence_log::faulty_entries(entry, now.wall) {
                        store.tx.log(&record);
                    }
                    report(&channel, entry);
                }
                let tx = store.tx;
                let mut told = Vec::new();
                if !outcome.is_empty() {
                    let record = evidence_log::applied(&channel, state.applied(), now.wall);
                    let leaf = tx.log(&record);
                    tx.hurry_checkpoint();
                    // The homes are told of what this very commit did, so in this very view.
                    let acted = outcome.iter().flat_map(|entry| &entry.acted);
                    let homes = acted.map(|acted| &acted.home).chain([&channel.home]);
                    let homes: BTreeSet<_> = homes.collect();
                    for home in homes {
                        let id = ChannelId { home: home.clone(), ..channel.clone() };
                        told.push((reached(tx, trust.network(), &id)?, leaf, id));
                    }
                }
                if statement.message().head == *state.applied() {
                    let key = statement_key(&channel, state.applied().position.length);
                    tx.write(Column::Statements, key, &Bytes(statement.bytes().to_vec()));
                }
                Ok::<_, SourceError>((state.applied().position, outcome.len(), told))
            })
            .await?;
        match applied {
            Ok((position, news, told)) => {
                self.context.metrics.entries_applied.inc_by(news as u64);
                for (reached, leaf, id) in told {
                    if let Some(channel) = self.channel(&id) {
                        channel.reached(reached, leaf);
                    }
                }
                Ok(Some((position, news)))
            }
            Err(SourceError::Store(fault)) => Err(fault.into()),
            Err(error) => {
                tracing::error!(home = %at.id.home, %error, "releasing nothing on this channel");
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

/// How far a channel is, as this view has it.
fn reached(
    read: &(impl Read + ?Sized),
    network: &wire::NetworkId,
    id: &ChannelId,
) -> Result<Reached, consent::StoreFault> {
    let channel = load(read, network, id).map_err(store_fault)?;
    Ok(channel.reached(waiting_rows(read, id).map_err(store_fault)?))
}

pub fn statement_key(channel: &ChannelId, length: u64) -> Key {
    channel_key(channel).u64(length)
}

fn report(channel: &ChannelId, applied: &AppliedEntry) {
    let own = applied.fault.iter().map(|fault| (&channel.home, applied.seq, fault));
    let acted = applied.acted.iter();
    let acted = acted.filter_map(|acted| Some((&acted.home, acted.seq, acted.fault.as_ref()?)));
    for (home, seq, fault) in own.chain(acted) {
        tracing::warn!(%home, seq, %fault, "an entry permits nothing");
    }
}
