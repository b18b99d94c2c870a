//! Nodes on the loopback interface, with the certificates of the test network, and an application
//! that echoes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Barrier, mpsc, watch},
    time::timeout,
};
use trust::{
    member::Member,
    testing::{NOW, TestNetwork, TestOrganisation},
};
use wire::{
    OrganisationId, Timestamp,
    membership::{NodeIdentity, Role},
};

use crate::net::{
    Clock, Inbound, Multiaddr, NetError, Network, NetworkConfig, PeerId, Protocol, peer_id,
};

pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Every test ends within this, well or badly.
pub async fn within<T>(test: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(40), test).await.expect("the test took too long")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Greeted { organisation: OrganisationId, version: u64 },
    TurnedAway { peer: PeerId, reason: String },
}

/// Answers `<own number>:<message>`. `none` gets no answer, `never` none either and stays; `together`
/// waits for the barrier.
pub struct Echo {
    own: OrganisationId,
    events: mpsc::UnboundedSender<Event>,
    barrier: Arc<Barrier>,
    pub handled: Arc<AtomicU64>,
}

impl Inbound for Echo {
    fn handle(
        &self,
        _: Arc<Member>,
        _: Protocol,
        message: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        let (own, barrier) = (self.own.clone(), Arc::clone(&self.barrier));
        async move {
            match &message[..] {
                b"none" => return None,
                b"never" => std::future::pending().await,
                b"together" => {
                    barrier.wait().await;
                }
                _ => {}
            }
            Some([own.as_str().as_bytes(), b":", &message].concat())
        }
        .boxed()
    }

    fn greeted(&self, member: Arc<Member>) {
        let organisation = member.organisation.clone();
        let version = member.descriptor.version;
        let _ = self.events.send(Event::Greeted { organisation, version });
    }

    fn turned_away(&self, peer: PeerId, reason: &str) {
        let _ = self.events.send(Event::TurnedAway { peer, reason: reason.to_owned() });
    }
}

/// Who a node is, before it runs.
#[derive(Clone)]
pub struct Identity {
    pub seed: [u8; 32],
    pub organisation: TestOrganisation,
}

pub struct World {
    pub network: TestNetwork,
}

impl World {
    pub fn new() -> Self {
        Self { network: TestNetwork::new() }
    }

    /// City `n`, a municipality.
    pub fn city(&self, n: usize) -> Identity {
        self.identity(self.network.city(n), n as u8 + 1)
    }

    /// Provider `n`, certified by city 0, source and recipient.
    pub fn provider(&self, n: u8) -> Identity {
        let number = OrganisationId::from_base(&format!("7000000{n:05}")).unwrap();
        let roles = [Role::Source, Role::Recipient];
        let organisation = self.network.organisation(0, &number, "Provider", &[], &roles);
        self.identity(organisation, 100 + n)
    }

    fn identity(&self, organisation: TestOrganisation, seed: u8) -> Identity {
        let seed = [seed; 32];
        let mut identity = Identity { seed, organisation };
        self.describe(&mut identity, 1, vec![]);
        identity
    }

    /// Signs a new descriptor.
    pub fn describe(&self, identity: &mut Identity, version: u64, addresses: Vec<String>) {
        let TestOrganisation { signer, chain, descriptor, .. } = identity.organisation.clone();
        let peers = vec![peer_id(identity.seed)];
        let descriptor = wire::membership::Descriptor { version, addresses, peers, ..descriptor };
        identity.organisation = self.network.organisation_from(signer, chain, descriptor);
    }

    /// Starts a node, then tells its addresses in version 2 of its descriptor.
    pub async fn start(&self, who: &Identity, listen: &str, bootstrap: Vec<Multiaddr>) -> Node {
        let mut node = self.try_start(who, listen, bootstrap).await.expect("starts");
        self.announce(&mut node, 2);
        node
    }

    pub async fn try_start(
        &self,
        who: &Identity,
        listen: &str,
        bootstrap: Vec<Multiaddr>,
    ) -> Result<Node, NetError> {
        let mut config = NetworkConfig::new(who.seed);
        config.listen = vec![listen.parse().unwrap()];
        config.bootstrap = bootstrap;
        let (identity, watched) = watch::channel(who.organisation.identity.clone());
        let (sender, events) = mpsc::unbounded_channel();
        let now = Arc::new(Mutex::new(NOW));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || *now.lock().unwrap())
        };
        let handled = Arc::new(AtomicU64::new(0));
        let echo = Arc::new(Echo {
            own: who.organisation.organisation.clone(),
            events: sender,
            barrier: Arc::new(Barrier::new(256)),
            handled: Arc::clone(&handled),
        });
        let trust = Arc::new(self.network.trust.clone());
        let network = Network::start(config, watched, trust, clock, echo).await?;
        Ok(Node { network, who: who.clone(), identity, events, now, handled })
    }

    pub fn announce(&self, node: &mut Node, version: u64) {
        let addresses = node.network.listen_addresses();
        let addresses = addresses.iter().map(Multiaddr::to_string).collect();
        self.describe(&mut node.who, version, addresses);
        node.identity.send_replace(node.who.organisation.identity.clone());
    }
}

pub struct Node {
    pub network: Network,
    pub who: Identity,
    pub identity: watch::Sender<NodeIdentity>,
    pub events: mpsc::UnboundedReceiver<Event>,
    pub now: Arc<Mutex<Timestamp>>,
    pub handled: Arc<AtomicU64>,
}

impl Node {
    pub fn id(&self) -> &OrganisationId {
        &self.who.organisation.organisation
    }

    pub fn address(&self) -> Multiaddr {
        self.network.listen_addresses()[0].clone()
    }

    pub async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.events.recv().await.expect("the node runs");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Waits until this descriptor version of `who` was greeted here.
    pub async fn greets(&mut self, who: &OrganisationId, version: u64) {
        let wanted = Event::Greeted { organisation: who.clone(), version };
        self.event(|event| *event == wanted).await;
    }

    /// Waits for the reason why `peer` was turned away.
    pub async fn turns_away(&mut self, who: &PeerId) -> String {
        let turned = |event: &Event| matches!(event, Event::TurnedAway { peer, .. } if peer == who);
        match self.event(turned).await {
            Event::TurnedAway { reason, .. } => reason,
            Event::Greeted { .. } => unreachable!("filtered"),
        }
    }

    /// One request that must be answered.
    pub async fn asks(&self, to: &OrganisationId) {
        let reply = self.network.request(to, Protocol::Exchange, b"hello".to_vec()).await;
        assert_eq!(reply.unwrap(), [to.as_str().as_bytes(), b":hello"].concat());
    }

    /// Waits until no connection is left.
    pub async fn is_alone(&self) {
        while !self.network.peers().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
