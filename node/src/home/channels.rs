//! The home's side of its channels: what is owed is pushed until the source has it, and pulls are
//! answered with a lease.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use consent::{
    Pusher,
    admission::ReadDecision,
    home::{Batch, HomeChannel, HomeError},
    store::HomeEntries,
};
use tokio::sync::Notify;
use trust::member::Member;
use wire::{
    Bytes, NetworkId, ServiceId,
    channel::{
        ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Grant, Position, Progress, Pull,
        PullReply, Push,
    },
    consent::Attested,
    limits,
};

use super::{Home, register::log_accepted};
use crate::{
    channel_store::{HomeChannelEntries, HomeChannelStore, channel_key, store_fault},
    context::{Context, Fault},
    evidence_log,
    net::Protocol,
    store::{Column, Read, Scan, TypedRead},
};

/// Loads a channel, new if it was never used.
pub fn load_channel(
    read: &(impl Read + ?Sized),
    network: &NetworkId,
    channel: &ChannelId,
) -> Result<HomeChannel, consent::StoreFault> {
    let stored: Option<HomeChannel> =
        read.read(Column::HomeChannels, &channel_key(channel)).map_err(store_fault)?;
    Ok(stored.unwrap_or_else(|| HomeChannel::new(network, channel.clone())))
}

/// Pushes what is owed: one task a channel, which does what its [`Pusher`] says.
pub struct Outboxes {
    context: Arc<Context>,
    channels: Mutex<HashMap<ChannelId, Arc<Outbox>>>,
    /// The leaf of this node's log that witnesses must have cosigned before a lease is granted: the
    /// last record of a longest grant, or all that was there at the start.
    longest_grant: OnceLock<AtomicU64>,
}

struct Outbox {
    pusher: Mutex<Pusher>,
    changed: Notify,
}

impl Outbox {
    fn pusher(&self) -> MutexGuard<'_, Pusher> {
        self.pusher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outboxes {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let (channels, longest_grant) = (Mutex::new(HashMap::new()), OnceLock::new());
        Arc::new(Self { context, channels, longest_grant })
    }

    /// The leaf that tells of the longest lease that may be out: all that is there, at first.
    fn longest_grant(&self) -> Result<&AtomicU64, Fault> {
        if let Some(leaf) = self.longest_grant.get() {
            return Ok(leaf);
        }
        let all = self.context.covering(None)?;
        Ok(self.longest_grant.get_or_init(|| AtomicU64::new(all)))
    }

    /// Whether the witnesses know of the longest lease that may be out; waits for them a moment.
    async fn grants_are_known(&self) -> Result<bool, Fault> {
        let leaf = self.longest_grant()?.load(Ordering::SeqCst);
        Ok(self.context.cosigned(leaf).await)
    }

    /// Takes up the channels that still owed something when the node stopped.
    pub fn resume(self: &Arc<Self>) -> Result<(), Fault> {
        let read = self.context.committer.read();
        let rows =
            read.scan_values::<HomeChannel>(Column::HomeChannels, &Scan::prefix(&[], usize::MAX))?;
        for (_, channel) in rows {
            if channel.acknowledged() < channel.head().position.length {
                self.wake(channel.id());
            }
        }
        Ok(())
    }

    /// Something new is owed on this channel.
    pub fn wake(self: &Arc<Self>, channel: &ChannelId) {
        let outbox = self.outbox(channel);
        outbox.pusher().owed(self.context.now());
        outbox.changed.notify_one();
    }

    /// The source pulled: it is back, if it was away, and it is here. What its pull does not bring leaves.
    fn heard(self: &Arc<Self>, channel: &ChannelId, applied: Position) {
        let outbox = self.outbox(channel);
        outbox.pusher().heard(applied);
        outbox.pusher().owed(self.context.now());
        outbox.changed.notify_one();
    }

    fn outbox(self: &Arc<Self>, channel: &ChannelId) -> Arc<Outbox> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let outbox = channels.entry(channel.clone()).or_insert_with(|| {
            let pusher = Mutex::new(Pusher::new());
            let outbox = Arc::new(Outbox { pusher, changed: Notify::new() });
            tokio::spawn(Arc::clone(self).push_for_ever(channel.clone(), Arc::clone(&outbox)));
            outbox
        });
        Arc::clone(outbox)
    }

    async fn push_for_ever(self: Arc<Self>, channel: ChannelId, outbox: Arc<Outbox>) {
        loop {
            let wake_at_ms = outbox.pusher().wake_at_ms();
            self.context.wait_until(wake_at_ms, &outbox.changed).await;
            if !outbox.pusher().begin(self.context.now()) {
                continue;
            }
            let pushed = self.push_once(&channel, &outbox).await;
            match pushed {
                Ok(()) => {}
                Err(Fault::Stopping | Fault::NotServing(_)) => return,
                Err(fault) => {
                    tracing::debug!(source = %channel.source, %fault, "push failed, trying again");
                    self.context.metrics.push_failures.inc();
                    outbox.pusher().failed(self.context.now());
                }
            }
        }
    }

    /// Sends one batch.
    async fn push_once(&self, channel: &ChannelId, outbox: &Outbox) -> Result<(), Fault> {
        let context = &self.context;
        let network = *context.live_trust()?.network();
        // What is owed is durable, and only this task says that it was taken: no turn at the commit
        // point, where a batch may just be syncing.
        let applied = outbox.pusher().applied().copied();
        let batch = match owed(&*context.committer.read(), &network, channel, applied) {
            Ok(batch) if batch.entries.is_empty() => {
                outbox.pusher().idle();
                return Ok(());
            }
            Ok(batch) => batch,
            Err(HomeError::Store(fault)) => return Err(fault.into()),
            Err(_) => return Err(Fault::Protocol),
        };
        let statement = context.state_head(channel, batch.head).await?;
        let push = Push { channel: channel.clone(), entries: batch.entries, statement };
        let source = channel.source.organisation();
        let reply = context.ask(&source, Protocol::Channel, &ChannelRequest::Push(push)).await?;
        let ChannelReply::Applied(progress) = reply else { return Err(Fault::Protocol) };
        let applied = progress.applied;
        let length = self.acknowledged(channel, progress).await?;
        outbox.pusher().pushed(applied, applied.length < length, context.now());
        Ok(())
    }

    /// Notes how far the source is; gives how long the channel is.
    async fn acknowledged(&self, channel: &ChannelId, progress: Progress) -> Result<u64, Fault> {
        let context = &self.context;
        let network = *context.trust().network();
        let id = channel.clone();
        let done = context
            .commit(move |tx| {
                let mut home = load_channel(tx, &network, &id)?;
                let now = tx.now();
                let mut store = HomeChannelStore { tx, channel: id };
                home.acknowledge(&mut store, &progress, now)?;
                Ok::<_, HomeError>(home.head().position.length)
            })
            .await?;
        match done {
            Ok(done) => Ok(done),
            Err(HomeError::Store(fault)) => Err(fault.into()),
            Err(error) => {
                tracing::error!(source = %channel.source, %error, "the source's history differs from ours");
                Err(Fault::Protocol)
            }
        }
    }
}

/// The next batch after where the source is, or, not known, after what it last acknowledged.
fn owed(
    read: &(impl Read + ?Sized),
    network: &NetworkId,
    channel: &ChannelId,
    applied: Option<Position>,
) -> Result<Batch, HomeError> {
    let home = load_channel(read, network, channel)?;
    let entries = HomeChannelEntries { read, channel: channel.clone() };
    let applied = match (applied, home.acknowledged().checked_sub(1)) {
        (Some(applied), _) => applied,
        (None, None) => Position::start(network, channel),
        (None, Some(last)) => match entries.entry(last)? {
            Some(row) => row.head.position,
            None => return Err(consent::StoreFault(format!("entry {last} is missing")).into()),
        },
    };
    home.batch_after(&entries, &applied)
}

impl Home {
    /// Answers a pull: the denies it brings are accepted first; what the grant changes is durable before
    /// it is signed.
    pub async fn answer_pull(&self, from: &Member, mut pull: Pull) -> ChannelReply {
        if pull.channel.home != self.context.organisation {
            return ChannelReply::Refused(ChannelRefusal::NotMine);
        }
        if !from.owns(&pull.channel.source) {
            return ChannelReply::Refused(ChannelRefusal::NotYours);
        }
        let Progress { reached, unreadable, .. } = &pull.progress;
        let waiting = reached.as_ref().map_or(0, |reached| reached.waiting.len());
        if pull.denies.len().max(unreadable.len()) > limits::PULL_ATTACHMENTS
            || waiting > limits::WAITING_ENTRIES
        {
            return ChannelReply::Refused(ChannelRefusal::Malformed);
        }
        // Those that are not looked at are not refused: they hold at the source, and come again.
        let now = self.context.now().mono_ms;
        pull.denies.retain(|_| self.pulled_denies.allows(&from.organisation, now));
        match self.take_and_grant(pull).await {
            Ok(reply) => reply,
            Err(fault) => {
                tracing::warn!(source = %from.organisation, %fault, "a pull could not be answered");
                ChannelReply::Refused(ChannelRefusal::Unavailable)
            }
        }
    }

    async fn take_and_grant(&self, pull: Pull) -> Result<ChannelReply, Fault> {
        let trust = self.context.live_trust()?;
        let mut taken = BTreeSet::new();
        for deny in &pull.denies {
            match self.take_deny(&trust, &pull.channel, deny).await? {
                Ok(subject) => {
                    taken.insert(subject);
                }
                // The source holds it as a deny all the same; nothing is opened by our not taking it.
                Err(refused) => {
                    tracing::warn!(source = %pull.channel.source, %refused, "a deny from a source was not taken");
                }
            }
        }
        for subject in taken {
            self.collapse_or_warn(&pull.channel, &subject).await;
        }
        let count = pull.progress.unreadable.len();
        if count > 0 {
            tracing::warn!(source = %pull.channel.source, count, "the source could not read entries");
        }
        self.grant(*trust.network(), pull).await
    }

    async fn grant(&self, network: NetworkId, pull: Pull) -> Result<ChannelReply, Fault> {
        let (context, outboxes) = (&self.context, Arc::clone(&self.pusher));
        let (channel, nonce, applied) = (pull.channel.clone(), pull.nonce, pull.progress.applied);
        let (id, lease_ms, run) = (channel.clone(), self.lease_ms, self.run);
        outboxes.longest_grant()?;
        // At the commit point, though most pulls write nothing: there it sees every entry whose
        // acceptance began before it. A snapshot could miss one that is just being synced.
        let terms = context
            .commit(move |tx| {
                let mut home = load_channel(tx, &network, &id)?;
                let now = tx.now();
                let mut store = HomeChannelStore { tx: &mut *tx, channel: id };
                let terms = home.grant(&mut store, &pull, lease_ms, &run, now)?;
                if let Some(longest_ms) = terms.longest_grant_ms {
                    tx.hurry_checkpoint();
                    let leaf =
                        tx.log(&evidence_log::longest_grant(home.id(), longest_ms, now.wall));
                    // Here, so that no other pull of this very batch is answered before.
                    if let Some(longest) = outboxes.longest_grant.get() {
                        longest.fetch_max(leaf, Ordering::SeqCst);
                    }
                }
                Ok(terms)
            })
            .await?;
        let terms = match terms {
            Ok(terms) => terms,
            Err(HomeError::Store(fault)) => return Err(fault.into()),
            Err(error) => {
                tracing::error!(source = %channel.source, %error, "the source's history differs from ours");
                return Ok(ChannelReply::Refused(ChannelRefusal::Forked));
            }
        };
        // A home put back to before this would not know of the lease, and call entries lapsed while it
        // lives: no grant leaves before the witnesses know of the longest.
        if !self.pusher.grants_are_known().await? {
            return Ok(ChannelReply::Refused(ChannelRefusal::Unavailable));
        }
        let grant = Grant {
            channel: channel.clone(),
            nonce,
            head: terms.head,
            granted_ms: terms.granted_ms,
            time: context.now().wall,
        };
        let grant = Bytes(context.sign(grant).await?.bytes().to_vec());
        let statement = context.state_head(&channel, terms.batch.head).await?;
        context.metrics.leases_granted.inc();
        self.pusher.heard(&channel, applied);
        Ok(ChannelReply::Pulled(PullReply { grant, entries: terms.batch.entries, statement }))
    }

    /// Accepts a deny that a source brought along; gives whose it is.
    async fn take_deny(
        &self,
        trust: &trust::Trust,
        channel: &ChannelId,
        deny: &Attested,
    ) -> Result<Result<ServiceId, String>, Fault> {
        let read = match ReadDecision::read(deny, trust.network()) {
            Ok(read) if read.claimed_pair().source == channel.source => read,
            Ok(_) => return Ok(Err("it is about another source".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let subject = read.claimed_pair().subject;
        let pair = self.pair_state(channel, &subject)?;
        let admitted = match read.admit(&pair, trust, self.context.now().wall) {
            Ok(admitted) if admitted.is_deny() => admitted,
            Ok(_) => return Ok(Err("it is no deny".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (network, id, run) = (*trust.network(), channel.clone(), self.run);
        let accepted = self
            .context
            .commit(move |tx| {
                let mut home = load_channel(tx, &network, &id)?;
                let now = tx.now();
                let mut store = HomeChannelStore { tx, channel: id.clone() };
                let accepted = home.accept_decision(&mut store, &admitted, &run, now)?;
                if !accepted.known {
                    log_accepted(store.tx, &id, &accepted.entry);
                }
                Ok::<_, HomeError>(())
            })
            .await?;
        Ok(accepted.map(|()| subject).map_err(|error| error.to_string()))
    }
}
