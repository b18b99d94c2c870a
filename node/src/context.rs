//! What all parts of a running node share: who it is, what it signs with, where it writes, whom it
//! trusts.

use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;
use trust::{Freshness, Trust, member::Member};
use wire::{
    Bytes, Now, OrganisationId, ServiceName, SignError, Signed, Signer,
    channel::{ChannelHead, ChannelId, ChannelRefusal, HeadStatement},
    consent::Attested,
    membership::NodeIdentity,
    witness::WitnessRefused,
};

use crate::{
    clock::Clock,
    entropy::Entropy,
    evidence_log,
    metrics::Metrics,
    net::{NetError, Network, Protocol},
    rate::RateLimit,
    store::{CommitError, Committer, StoreError, Transaction, Turn, log::Record},
    witness::{NotServing, OwnLog},
};

pub struct Context {
    pub organisation: OrganisationId,
    /// Shown to people.
    pub name: String,
    pub services: Vec<ServiceName>,
    pub committer: Committer,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// The organisation key.
    pub signer: Arc<dyn Signer>,
    /// Chain and signed descriptor, as hello shows them.
    pub identity: NodeIdentity,
    pub metrics: Metrics,
    /// How many refused attempts go into the evidence log: anybody can make one, and the log is for
    /// ever. The rest is counted in the metrics.
    attempts: RateLimit<()>,
    trust: RwLock<Arc<Trust>>,
    /// Who watches over this node's log.
    own_log: Arc<OwnLog>,
    network: OnceLock<Network>,
}

/// Why a node could not do its part: nothing was half done, and asking again may help.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
    #[error("the store could not be read: {0}")]
    Channel(#[from] consent::StoreFault),
    #[error("the key store did not sign: {0}")]
    Sign(#[from] SignError),
    #[error("{0}")]
    Network(#[from] NetError),
    #[error("the other node answered with something else than the protocol says")]
    Protocol,
    #[error("the trust list is past its hard expiry")]
    TrustExpired,
    #[error("the other node does not serve this now: {0:?}")]
    Refused(ChannelRefusal),
    #[error("a witness does not serve this now: {0:?}")]
    Witness(WitnessRefused),
    #[error(transparent)]
    NotServing(#[from] NotServing),
    #[error("this node's witnesses have not cosigned its log yet")]
    NotCosigned,
    #[error("a task of this node failed; nothing of it was done")]
    Failed,
    #[error("the node is stopping")]
    Stopping,
}

/// The parts a context is made of, but for the network, which needs the context's inbound side first.
pub struct Parts {
    pub organisation: OrganisationId,
    pub name: String,
    pub services: Vec<ServiceName>,
    pub committer: Committer,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub signer: Arc<dyn Signer>,
    pub identity: NodeIdentity,
    pub metrics: Metrics,
    pub trust: Trust,
    pub own_log: Arc<OwnLog>,
}

impl Context {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            organisation: parts.organisation,
            name: parts.name,
            services: parts.services,
            committer: parts.committer,
            clock: parts.clock,
            entropy: parts.entropy,
            signer: parts.signer,
            identity: parts.identity,
            metrics: parts.metrics,
            attempts: RateLimit::new(10, 100),
            trust: RwLock::new(Arc::new(parts.trust)),
            own_log: parts.own_log,
            network: OnceLock::new(),
        })
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    pub fn trust(&self) -> Arc<Trust> {
        self.trust.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the node goes by this.
    pub fn set_trust(&self, trust: Arc<Trust>) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    /// The trust list, if it still says anything.
    pub fn live_trust(&self) -> Result<Arc<Trust>, Fault> {
        let trust = self.trust();
        match trust.freshness(self.now().wall) {
            Freshness::HardExpired => Err(Fault::TrustExpired),
            Freshness::Fresh | Freshness::SoftExpired => Ok(trust),
        }
    }

    /// Called once, when the network has started.
    pub fn set_network(&self, network: Network) {
        // A second network would be a fault of the wiring; the first one stays.
        let _ = self.network.set(network);
    }

    pub fn network(&self) -> Result<&Network, Fault> {
        self.network.get().ok_or(Fault::Stopping)
    }

    pub fn own_log(&self) -> &Arc<OwnLog> {
        &self.own_log
    }

    /// Whether this node may serve more than its witness role, and if not why.
    pub fn serving(&self) -> Result<(), NotServing> {
        self.own_log.serving()
    }

    /// Whether a witness knows more of this node's past than the node itself.
    pub fn lost_its_past(&self) -> bool {
        !matches!(self.serving(), Ok(()) | Err(NotServing::Waiting))
    }

    /// Waits, at most 3 s, until enough witnesses have cosigned a checkpoint over a leaf of the evidence
    /// log. Says whether they have: then what it is evidence of is accepted.
    pub async fn cosigned(&self, log_index: u64) -> bool {
        self.own_log.cosigned(log_index).await
    }

    /// Whether they have by now.
    pub fn is_cosigned(&self, log_index: u64) -> bool {
        self.own_log.is_cosigned(log_index)
    }

    /// The one gate before anything leaves; see [`OwnLog::while_serving`].
    pub async fn while_serving<T>(&self, work: impl Future<Output = T>) -> Result<T, NotServing> {
        self.own_log.while_serving(work).await
    }

    /// Waits as [`cosigned`](Self::cosigned) for everything that this node's log holds now.
    pub async fn all_cosigned(&self) -> Result<bool, Fault> {
        let hurried = self.commit(|tx| {
            tx.hurry_checkpoint();
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = hurried.await?;
        Ok(self.cosigned(self.covering(None)?).await)
    }

    /// The leaf to wait for: the one just written, or the last there is for what was known before.
    pub fn covering(&self, written: Option<u64>) -> Result<u64, Fault> {
        match written {
            Some(index) => Ok(index),
            None => Ok(evidence_log::size(&*self.committer.read())?.saturating_sub(1)),
        }
    }

    pub fn owns(&self, service: &ServiceName) -> bool {
        self.services.contains(service)
    }

    /// Signs with the organisation key, off the network's threads: a key store may be slow.
    pub async fn sign<M>(self: &Arc<Self>, message: M) -> Result<Signed<M>, Fault>
    where
        M: wire::Message + Send + 'static,
    {
        let context = Arc::clone(self);
        let network = *self.trust().network();
        tokio::task::spawn_blocking(move || Signed::new(message, &network, &*context.signer))
            .await
            .map_err(|_| Fault::Failed)?
            .map_err(Fault::from)
    }

    /// Signs, and adds the chain of the organisation key.
    pub async fn attest<M>(self: &Arc<Self>, message: M) -> Result<Attested, Fault>
    where
        M: wire::Message + Send + 'static,
    {
        Ok(self.attested(&self.sign(message).await?))
    }

    /// What the organisation key signed, with its chain.
    pub fn attested<M: wire::Message>(&self, signed: &Signed<M>) -> Attested {
        let object = Bytes(signed.bytes().to_vec());
        Attested { object, chain: self.identity.chain.clone() }
    }

    /// The home's signed word on a head of one of its channels.
    pub async fn state_head(
        self: &Arc<Self>,
        channel: &ChannelId,
        head: ChannelHead,
    ) -> Result<Bytes, Fault> {
        let time = self.now().wall;
        let statement = HeadStatement { channel: channel.clone(), head, time };
        Ok(Bytes(self.sign(statement).await?.bytes().to_vec()))
    }

    /// Sends a message to an organisation's node and decodes its reply. A node that was put back to an
    /// old state sends nothing: it would speak from a past that is over.
    pub async fn ask<Q, R>(
        &self,
        to: &OrganisationId,
        protocol: Protocol,
        message: &Q,
    ) -> Result<R, Fault>
    where
        Q: Serialize,
        R: serde::de::DeserializeOwned,
    {
        if protocol != Protocol::Witness {
            self.serving()?;
        }
        let reply = self.network()?.request(to, protocol, wire::cbor::to_vec(message)).await?;
        wire::cbor::from_slice(&reply).map_err(|_| Fault::Protocol)
    }

    /// Waits for a notification, but no longer than until `due_ms` on the monotonic clock, if there is
    /// such a time.
    pub async fn wait_until(&self, due_ms: Option<u64>, notify: &Notify) {
        match due_ms.map(|due_ms| due_ms.saturating_sub(self.now().mono_ms)) {
            None => notify.notified().await,
            Some(0) => {}
            Some(ms) => {
                let _ = tokio::time::timeout(Duration::from_millis(ms), notify.notified()).await;
            }
        }
    }

    /// Runs a job at the commit point; see [`Committer::submit`]. Faults of the store or of the
    /// commit come out as [`Fault`], the job's own verdict stays inside.
    pub async fn commit<T, E>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Fault>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.commit_at(Turn::InOrder, job).await
    }

    /// As [`commit`](Self::commit), at its turn: the first is for denies, and what brings them.
    pub async fn commit_at<T, E>(
        &self,
        turn: Turn,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Fault>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        Ok(self.committer.submit_at(turn, job).await?)
    }

    /// Logs that something handed in was not taken, and counts it.
    pub async fn log_attempt(&self, record: Record) -> Result<(), Fault> {
        self.metrics.submissions_refused.inc();
        if self.attempts.allows(&(), self.now().mono_ms) { self.log(record).await } else { Ok(()) }
    }

    /// Logs something that changes no state.
    pub async fn log(&self, record: Record) -> Result<(), Fault> {
        let logged = self.commit(move |tx| {
            tx.log(&record);
            Ok::<_, std::convert::Infallible>(())
        });
        match logged.await? {
            Ok(()) => Ok(()),
        }
    }
}

/// A member's signed message: checked with the organisation key that hello proved.
pub fn verify_by<M: wire::Message>(
    bytes: &[u8],
    member: &Member,
    trust: &Trust,
) -> Result<wire::Verified<M>, wire::EnvelopeError> {
    Signed::<M>::decode(bytes, trust.network())?.verify(member.organisation_key())
}
