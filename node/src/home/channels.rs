//! The home's side of its channels: what is owed is pushed until the source has it, and pulls are
//! answered with a lease.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use consent::{
    Pusher, Run,
    admission::ReadDecision,
    home::{Batch, HomeChannel, HomeError},
    store::HomeEntries,
};
use tokio::sync::Notify;
use trust::member::Member;
use wire::{
    Bytes, NetworkId,
    channel::{
        ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Grant, Position, Pull, PullReply,
        Push,
    },
    consent::Attested,
};

use super::register::log_accepted;
use crate::{
    channel_store::{HomeChannelEntries, HomeChannelStore, channel_key, store_fault, subject_key},
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
    grants: OnceLock<AtomicU64>,
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
        Arc::new(Self { context, channels: Mutex::new(HashMap::new()), grants: OnceLock::new() })
    }

    /// Whether the witnesses know of the longest lease that may be out; waits for them a moment.
    /// `record` is the leaf that tells of it, if it was just written.
    async fn grants_are_known(&self, record: Option<u64>) -> Result<bool, Fault> {
        let known = match self.grants.get() {
            Some(known) => known,
            None => {
                let all = self.context.covering(None)?;
                self.grants.get_or_init(|| AtomicU64::new(all))
            }
        };
        if let Some(record) = record {
            known.fetch_max(record, Ordering::Relaxed);
        }
        Ok(self.context.cosigned(known.load(Ordering::Relaxed)).await)
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
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let outbox = channels.entry(channel.clone()).or_insert_with(|| {
            let pusher = Mutex::new(Pusher::new());
            let outbox = Arc::new(Outbox { pusher, changed: Notify::new() });
            tokio::spawn(Arc::clone(self).push_for_ever(channel.clone(), Arc::clone(&outbox)));
            outbox
        });
        outbox.pusher().owed(self.context.now());
        outbox.changed.notify_one();
    }

    async fn push_for_ever(self: Arc<Self>, channel: ChannelId, outbox: Arc<Outbox>) {
        loop {
            let wake_at_ms = outbox.pusher().wake_at_ms();
            self.context.wait_until(wake_at_ms, &outbox.changed).await;
            if !outbox.pusher().begin(self.context.now()) {
                continue;
            }
            let pushed = self.push_once(&channel).await;
            let now = self.context.now();
            match pushed {
                Ok(more) => outbox.pusher().acknowledged(more, now),
                Err(Fault::Stopping | Fault::NotServing(_)) => return,
                Err(fault) => {
                    tracing::debug!(source = %channel.source, %fault, "push failed, trying again");
                    self.context.metrics.push_failures.inc();
                    outbox.pusher().failed(now);
                }
            }
        }
    }

    /// Sends one batch. Says whether more may be owed.
    async fn push_once(&self, channel: &ChannelId) -> Result<bool, Fault> {
        let context = &self.context;
        let network = *context.live_trust()?.network();
        // What is owed is durable, and only this task says that it was taken: no turn at the commit
        // point, where a batch may just be syncing.
        let batch = owed(&*context.committer.read(), &network, channel);
        let batch = match batch {
            Ok(batch) if batch.entries.is_empty() => return Ok(false),
            Ok(batch) => batch,
            Err(HomeError::Store(fault)) => return Err(fault.into()),
            Err(_) => return Err(Fault::Protocol),
        };
        let statement = context.state_head(channel, batch.head).await?;
        let push = Push { channel: channel.clone(), entries: batch.entries, statement };
        let source = channel.source.organisation();
        let reply = context.ask(&source, Protocol::Channel, &ChannelRequest::Push(push)).await?;
        let ChannelReply::Applied(applied) = reply else { return Err(Fault::Protocol) };
        self.acknowledged(channel, applied).await
    }

    /// Notes how far the source is. Says whether more is owed.
    async fn acknowledged(&self, channel: &ChannelId, applied: Position) -> Result<bool, Fault> {
        let context = &self.context;
        let network = *context.trust().network();
        let id = channel.clone();
        let done = context
            .commit(move |tx| {
                let mut home = load_channel(tx, &network, &id)?;
                let now = tx.now();
                let mut store = HomeChannelStore { tx, channel: id };
                home.acknowledge(&mut store, &applied, now)?;
                Ok::<_, HomeError>(home.acknowledged() < home.head().position.length)
            })
            .await?;
        match done {
            Ok(more) => Ok(more),
            Err(HomeError::Store(fault)) => Err(fault.into()),
            Err(error) => {
                tracing::error!(source = %channel.source, %error, "the source's history differs from ours");
                Err(Fault::Protocol)
            }
        }
    }
}

/// The next batch after what the source last acknowledged.
fn owed(
    read: &(impl Read + ?Sized),
    network: &NetworkId,
    channel: &ChannelId,
) -> Result<Batch, HomeError> {
    let home = load_channel(read, network, channel)?;
    let entries = HomeChannelEntries { read, channel: channel.clone() };
    let acknowledged = match home.acknowledged().checked_sub(1) {
        None => Position::start(network, channel),
        Some(last) => match entries.entry(last)? {
            Some(row) => row.head.position,
            None => return Err(consent::StoreFault(format!("entry {last} is missing")).into()),
        },
    };
    home.batch_after(&entries, &acknowledged)
}

/// Answers a pull: the denies it brings are accepted first; what the grant changes is durable before
/// it is signed.
pub async fn answer_pull(
    context: &Arc<Context>,
    pusher: &Arc<Outboxes>,
    (lease_ms, run): (u64, Run),
    from: &Member,
    pull: Pull,
) -> ChannelReply {
    if pull.channel.home != context.organisation {
        return ChannelReply::Refused(ChannelRefusal::NotMine);
    }
    if !from.owns(&pull.channel.source) {
        return ChannelReply::Refused(ChannelRefusal::NotYours);
    }
    match grant(context, pusher, (lease_ms, run), pull).await {
        Ok(reply) => reply,
        Err(fault) => {
            tracing::warn!(source = %from.organisation, %fault, "a pull could not be answered");
            ChannelReply::Refused(ChannelRefusal::Unavailable)
        }
    }
}

async fn grant(
    context: &Arc<Context>,
    pusher: &Arc<Outboxes>,
    (lease_ms, run): (u64, Run),
    pull: Pull,
) -> Result<ChannelReply, Fault> {
    let trust = context.live_trust()?;
    for deny in &pull.denies {
        if let Err(refused) = take_deny(context, &trust, run, &pull.channel, deny).await? {
            // The source holds it as a deny all the same; nothing is opened by our not taking it.
            tracing::warn!(source = %pull.channel.source, %refused, "a deny from a source was not taken");
        }
    }
    if !pull.unreadable.is_empty() {
        let count = pull.unreadable.len();
        tracing::warn!(source = %pull.channel.source, count, "the source could not read entries");
    }
    let network = *trust.network();
    let Pull { channel, nonce, .. } = pull.clone();
    let id = channel.clone();
    // At the commit point, though most pulls write nothing: there it sees every entry whose
    // acceptance began before it. A snapshot could miss one that is just being synced.
    let terms = context
        .commit(move |tx| {
            let mut home = load_channel(tx, &network, &id)?;
            let now = tx.now();
            let mut store = HomeChannelStore { tx: &mut *tx, channel: id };
            let terms = home.grant(&mut store, &pull, lease_ms, &run, now)?;
            let record = terms.longest_grant_ms.map(|longest_ms| {
                tx.hurry_checkpoint();
                tx.log(&evidence_log::longest_grant(home.id(), longest_ms, now.wall))
            });
            Ok((terms, record))
        })
        .await?;
    let terms = match terms {
        Ok((terms, record)) => {
            // A home put back to before this would not know of the lease, and call entries lapsed while
            // it lives: no grant leaves before the witnesses know of the longest.
            if !pusher.grants_are_known(record).await? {
                return Ok(ChannelReply::Refused(ChannelRefusal::Unavailable));
            }
            terms
        }
        Err(HomeError::Store(fault)) => return Err(fault.into()),
        Err(error) => {
            tracing::error!(source = %channel.source, %error, "the source's history differs from ours");
            return Ok(ChannelReply::Refused(ChannelRefusal::Forked));
        }
    };
    let time = context.now().wall;
    let grant = Grant {
        channel: channel.clone(),
        nonce,
        head: terms.head,
        granted_ms: terms.granted_ms,
        time,
    };
    let grant = Bytes(context.sign(grant).await?.bytes().to_vec());
    let statement = context.state_head(&channel, terms.batch.head).await?;
    context.metrics.leases_granted.inc();
    pusher.wake(&channel);
    Ok(ChannelReply::Pulled(PullReply { grant, entries: terms.batch.entries, statement }))
}

/// Accepts a deny that a source brought along.
async fn take_deny(
    context: &Arc<Context>,
    trust: &Arc<trust::Trust>,
    run: Run,
    channel: &ChannelId,
    deny: &Attested,
) -> Result<Result<(), String>, Fault> {
    let read = match ReadDecision::read(deny, trust.network()) {
        Ok(read) if read.claimed_pair().source == channel.source => read,
        Ok(_) => return Ok(Err("it is about another source".to_owned())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let pair = {
        let key = subject_key(channel, &read.claimed_pair().subject);
        context.committer.read().read(Column::HomePairs, &key)?.unwrap_or_default()
    };
    let admitted = match read.admit(&pair, trust, context.now().wall) {
        Ok(admitted) if admitted.is_deny() => admitted,
        Ok(_) => return Ok(Err("it is no deny".to_owned())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (network, id) = (*trust.network(), channel.clone());
    let accepted = context
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
    Ok(accepted.map_err(|error| error.to_string()))
}
