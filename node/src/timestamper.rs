//! This node's timestamp key at work: it drafts a timestamp when it is its turn, has the other cities' nodes
//! sign it, and signs theirs. What is to be signed is decided by [`trust::timestamping`]; here it is made
//! durable before a signature leaves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::sync::{Mutex, Notify};
use trust::{
    list::Decided,
    timestamping::{DenialError, Kept, Pending, Timestamping, is_signed_enough, join_copy},
};
use wire::{
    Bytes, Message, MultiSigned, OrganisationId, Signer,
    membership::{
        Denial, Denied, NotSigned, SignRefusal, TimestampDraft, TrustFile, TrustReply, TrustRequest,
    },
};

use crate::{
    context::{Context, Fault},
    evidence_log::operator_action,
    net::Protocol,
    operator::Operator,
    store::{Column, StoreError, TypedRead, log::Record},
};

/// How many nodes are asked for a signature at once.
const AT_ONCE: usize = 16;
/// Longest sleep: the wall clock may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What an operator's denial is called in the evidence log.
const DENIAL_SIGNED: &str = "denial-signed";

pub struct Timestamper {
    context: Arc<Context>,
    signer: Option<Arc<dyn Signer>>,
    machine: Mutex<Timestamping>,
    /// The highest version that another node said to be spent.
    spent: AtomicU64,
    news: Notify,
}

/// Why there is no timestamp.
#[derive(Debug, thiserror::Error)]
pub enum NoTimestamp {
    #[error("this node holds none of the timestamp keys; hand it in to one that does")]
    NoKey,
    #[error(
        "{signed} of {needed} nodes signed its timestamp; hand it in again when more can be reached"
    )]
    TooFew { signed: usize, needed: usize },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a denial was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotDenied {
    #[error("this node holds none of the timestamp keys")]
    NoKey,
    #[error(transparent)]
    Denial(#[from] DenialError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Timestamper {
    pub fn new(context: Arc<Context>, signer: Option<Arc<dyn Signer>>) -> Result<Self, StoreError> {
        let kept: Option<Kept> = context.committer.read().read(Column::Timestamping, &[])?;
        let machine = Timestamping::restore(&kept.unwrap_or_default(), &context.trust());
        let (spent, news) = (AtomicU64::new(0), Notify::new());
        Ok(Self { context, signer, machine: Mutex::new(machine), spent, news })
    }

    /// Whether this node's key has a say in the timestamp that is in force.
    pub fn holds_key(&self) -> bool {
        self.key_for(self.context.trust().decided()).is_some()
    }

    fn key_for(&self, decided: &Decided) -> Option<&Arc<dyn Signer>> {
        let signer = self.signer.as_ref()?;
        decided.root().timestamp.keys.contains(&signer.public_key()).then_some(signer)
    }

    pub async fn pending(&self) -> Vec<Pending> {
        self.machine.lock().await.denials().pending(&self.context.trust())
    }

    /// Returns when it is this node's turn to make a timestamp.
    pub async fn until_due(&self) {
        loop {
            let now = self.context.now().wall;
            let due = match &self.signer {
                Some(signer) if self.context.serving().is_ok() => {
                    let trust = self.context.trust();
                    self.machine.lock().await.due(&trust, &signer.public_key(), now)
                }
                _ => None,
            };
            let wait = due.map_or(LOOK_EVERY, |due| Duration::from_millis(due.ms_since(now)));
            if wait.is_zero() {
                return;
            }
            let _ = tokio::time::timeout(wait.min(LOOK_EVERY), self.news.notified()).await;
        }
    }

    /// Looks anew at whose turn it is.
    pub fn look(&self) {
        self.news.notify_one();
    }

    /// Makes a timestamp for what people decided: drafts it, and asks every city's node for its signature
    /// until there are enough.
    pub async fn stamp(&self, decided: &Decided) -> Result<TrustFile, NoTimestamp> {
        let context = &self.context;
        let signer = self.key_for(decided).ok_or(NoTimestamp::NoKey)?;
        context.serving().map_err(Fault::from)?;
        let (mut timestamp, draft) = {
            let mut machine = self.machine.lock().await;
            let spent = self.spent.load(Ordering::Relaxed);
            let mut next = machine.clone();
            let draft = next.draft(&context.trust(), decided, spent, context.now().wall);
            self.keep(&mut machine, next, None).await?;
            let draft = self.sign(draft, signer).await?;
            let file = decided.with_timestamp(&draft);
            (draft, TimestampDraft { file, denials: machine.denials().bytes() })
        };
        let trust = context.trust();
        let cities = decided.list().municipalities.iter().map(|city| &city.organisation);
        let others: Vec<_> = cities.filter(|id| **id != context.organisation).cloned().collect();
        let request = TrustRequest::Sign(draft);
        let mut answers = stream::iter(others)
            .map(async |city: OrganisationId| {
                let answer = context.ask(&city, Protocol::Trust, &request).await;
                (city, answer)
            })
            .buffer_unordered(AT_ONCE);
        while !is_signed_enough(&timestamp, decided, &trust) {
            let Some((city, answer)) = answers.next().await else {
                let role = &decided.root().timestamp;
                let signed = timestamp.signatures();
                return Err(NoTimestamp::TooFew { signed, needed: role.threshold as usize });
            };
            match answer {
                Ok(TrustReply::Signed(copy)) => {
                    if !join_copy(&mut timestamp, &copy, decided, &trust) {
                        tracing::warn!(%city, "it answered with a signature that does not hold");
                    }
                }
                Ok(TrustReply::NotSigned(SignRefusal { why, highest, denials })) => {
                    tracing::debug!(%city, ?why, highest, "it did not sign a timestamp");
                    self.spent.fetch_max(highest, Ordering::Relaxed);
                    self.take_denials(&denials).await?;
                }
                Ok(_) => tracing::debug!(%city, "it did not sign a timestamp"),
                Err(error) => tracing::debug!(%city, %error, "it did not sign a timestamp"),
            }
        }
        Ok(decided.with_timestamp(&timestamp))
    }

    /// Another node's draft.
    pub async fn examine(&self, from: &OrganisationId, draft: TimestampDraft) -> TrustReply {
        let context = &self.context;
        let Some(signer) = self.signer.clone().filter(|_| context.serving().is_ok()) else {
            return not_signed(NotSigned::NoKey, 0, Vec::new());
        };
        let mut machine = self.machine.lock().await;
        let (trust, now, key) = (context.trust(), context.now().wall, signer.public_key());
        // Signatures and certificates of a whole list: not on the network's threads.
        let mut next = machine.clone();
        let examined = tokio::task::spawn_blocking(move || {
            let verdict = next.examine(&trust, &key, &draft, now);
            (verdict, next)
        });
        let Ok((verdict, next)) = examined.await else { return TrustReply::Busy };
        if self.keep(&mut machine, next, None).await.is_err() {
            return TrustReply::Busy;
        }
        let signed = match verdict {
            Ok(timestamp) => self.sign(timestamp, &signer).await,
            Err(refusal) => {
                tracing::info!(%from, why = %refusal, "a timestamp was not signed");
                let highest = machine.highest(&context.trust());
                return not_signed(refusal.kind, highest, machine.denials().bytes());
            }
        };
        signed.map_or(TrustReply::Busy, |timestamp| TrustReply::Signed(Bytes(timestamp.bytes())))
    }

    /// Denials that another node knows of. Those that do not hold, or are about another list, are passed over.
    pub async fn take_denials(&self, denials: &[Bytes]) -> Result<(), Fault> {
        let mut machine = self.machine.lock().await;
        let mut next = machine.clone();
        let trust = self.context.trust();
        let mut news = false;
        for denial in denials.iter().take(wire::limits::DENIED) {
            match next.add_denial(denial, &trust) {
                Ok(new) => news |= new,
                Err(error) => tracing::debug!(%error, "a denial was passed over"),
            }
        }
        if news {
            self.keep(&mut machine, next, None).await?;
            self.look();
        }
        Ok(())
    }

    /// This node's operator wants somebody struck off until the next list. Signed, kept, in the evidence log,
    /// and told to the other cities, whose operators have to want the same.
    pub async fn deny(
        &self,
        operator: &Operator,
        denied: Denied,
    ) -> Result<Vec<Pending>, NotDenied> {
        let context = &self.context;
        let trust = context.live_trust()?;
        let signer = self.key_for(trust.decided()).ok_or(NotDenied::NoKey)?;
        context.serving().map_err(Fault::from)?;
        let list_version = trust.list().version;
        let denial = self.sign(MultiSigned::new(Denial { denied, list_version }), signer).await?;
        {
            let mut machine = self.machine.lock().await;
            let mut next = machine.clone();
            if next.add_denial(&denial.bytes(), &trust)? {
                let (object, now) = (Some(denial.payload_hash()), context.now().wall);
                let record = operator_action(operator, DENIAL_SIGNED, object, now);
                self.keep(&mut machine, next, Some(record)).await?;
            }
        }
        for city in trust.municipalities().filter(|city| city.organisation != context.organisation)
        {
            self.tell(city.organisation.clone()).await;
        }
        self.look();
        Ok(self.pending().await)
    }

    /// Tells a city what denials are known here, if there are any.
    pub async fn tell(&self, city: OrganisationId) {
        let denials = self.machine.lock().await.denials().bytes();
        if !denials.is_empty() {
            let context = Arc::clone(&self.context);
            tokio::spawn(async move {
                // Whoever does not hear of it is told with the draft, or later.
                let request = TrustRequest::Denials(denials);
                let _: Result<TrustReply, _> = context.ask(&city, Protocol::Trust, &request).await;
            });
        }
    }

    /// Goes on from `next`, which is durable before: what is in memory is on disk, so that what changes nothing
    /// costs no write.
    async fn keep(
        &self,
        machine: &mut Timestamping,
        next: Timestamping,
        record: Option<Record>,
    ) -> Result<(), Fault> {
        let kept = next.kept();
        if kept == machine.kept() && record.is_none() {
            *machine = next;
            return Ok(());
        }
        let written = self.context.commit(move |tx| {
            tx.write(Column::Timestamping, [], &kept);
            if let Some(record) = &record {
                tx.log(record);
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written.await?;
        *machine = next;
        Ok(())
    }

    /// Off the network's threads: a key store may be slow.
    async fn sign<M: Message + Send + 'static>(
        &self,
        mut message: MultiSigned<M>,
        signer: &Arc<dyn Signer>,
    ) -> Result<MultiSigned<M>, Fault> {
        let (network, signer) = (*self.context.trust().network(), Arc::clone(signer));
        let signed = tokio::task::spawn_blocking(move || {
            message.sign(&network, &*signer)?;
            Ok::<_, wire::SignError>(message)
        });
        Ok(signed.await.map_err(|_| Fault::Failed)??)
    }
}

fn not_signed(why: NotSigned, highest: u64, denials: Vec<Bytes>) -> TrustReply {
    TrustReply::NotSigned(SignRefusal { why, highest, denials })
}
