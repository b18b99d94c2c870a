//! The network of members: libp2p over TCP + Noise + Yamux and QUIC (`specs/08-network.md`).
//!
//! One task, the event loop, owns the swarm: it dials, greets, admits and closes. Requests do not
//! pass through it: once a member is greeted, callers reach its connection over a bounded queue and
//! inbound requests run in tasks of their own.
//!
//! - [`limits`]: every bound
//! - `frame`, `protocol`: bytes on a stream
//! - `handler`, `behaviour`: one connection, and all of them
//! - `edge`: what inbound requests meet first; `shares`: how much of the node each may keep busy
//! - `event_loop`, `greeting`, `search`, `bootstrap`: who is let in, found, kept connected
//! - `resolve`: names in addresses
//! - `directory`: who is where

mod behaviour;
mod bootstrap;
mod directory;
mod edge;
mod event_loop;
mod frame;
mod greeting;
mod handler;
pub mod limits;
mod protocol;
mod resolve;
mod search;
mod shares;
mod view;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use libp2p::identity;
pub use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use trust::{Trust, member::Member};
use wire::{
    OrganisationId, Signed, Timestamp,
    membership::{Descriptor, NodeIdentity, TrustFile},
};

pub use directory::DirectoryStore;
pub use protocol::Protocol;

use directory::Directory;
use edge::Edge;
use event_loop::{Command, EventLoop};
use handler::{Call, CallError};
use protocol::WireProtocol;
use view::{Route, View};

/// The wall clock, by which certificates are judged.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Clone)]
pub struct NetworkConfig {
    /// Ed25519 secret key of the transport; the peer id follows from it.
    pub seed: [u8; 32],
    /// `/ip4/…/tcp/…` and `/ip4/…/udp/…/quic-v1`; port 0 takes any free port.
    pub listen: Vec<Multiaddr>,
    /// Municipal nodes to stay connected to; `/p2p/<peer id>` at the end pins the node.
    pub bootstrap: Vec<Multiaddr>,
    /// No new connection is admitted while the process uses more physical memory.
    pub memory_bytes: usize,
    /// Keeps the directory over a restart.
    pub directory: Option<Arc<dyn DirectoryStore>>,
}

impl NetworkConfig {
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            memory_bytes: limits::MEMORY_BYTES,
            directory: None,
        }
    }
}

/// The peer id that belongs to a transport key, as descriptors write it (base58).
pub fn peer_id(seed: [u8; 32]) -> String {
    keypair(seed).public().to_peer_id().to_base58()
}

fn keypair(mut seed: [u8; 32]) -> identity::Keypair {
    identity::Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are an Ed25519 seed")
}

/// What the application does with the network's events.
pub trait Inbound: Send + Sync + 'static {
    /// Answers a request of a greeted member; `None` closes the stream without an answer. The
    /// future runs in a task of its own, at most [`limits::HANDLING_SHARE`] at once of one organisation
    /// in each lane, and [`limits::HANDLING`] of all.
    fn handle(
        &self,
        from: Arc<Member>,
        protocol: Protocol,
        message: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>>;

    /// Answers a question for the trust file that somebody asks before hello: a newcomer, or a node that
    /// was away for long. `None` closes the stream.
    fn handle_stranger(&self, _message: Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }

    /// A trust file that this node asked for before hello, because its own has run out. It proves
    /// itself or not. Called from the event loop: must return promptly.
    fn trust_file(&self, _file: TrustFile) {}

    /// A member passed hello, on this or on one more connection, or told a new descriptor. Called
    /// from the event loop: must return promptly.
    fn greeted(&self, _member: Arc<Member>) {}

    /// A peer was not let in, or no longer: for the operator's console and the metrics. Called from
    /// the event loop: must return promptly.
    fn turned_away(&self, _peer: PeerId, _reason: &str) {}
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    #[error("no municipal node knows this organisation")]
    UnknownOrganisation,
    /// One end does not take the other for a member, or no longer.
    #[error("not a member: {0}")]
    NotAMember(String),
    #[error("the organisation's node cannot be reached")]
    Unreachable,
    #[error("no answer in time")]
    Timeout,
    #[error("a message of {size} bytes, at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    /// Connection or stream ended before the answer: whether the request was handled is unknown.
    #[error("closed without an answer")]
    Closed,
    #[error("too many callers wait for connections")]
    Busy,
    #[error("the network cannot start: {0}")]
    Start(String),
}

impl From<CallError> for NetError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout => Self::Timeout,
            CallError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            CallError::Closed => Self::Closed,
        }
    }
}

/// One connection with a greeted member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    pub organisation: OrganisationId,
    pub name: String,
    pub peer: PeerId,
    pub address: Multiaddr,
    /// Whether we dialled.
    pub outbound: bool,
    pub since: Timestamp,
    /// Of the last ping.
    pub rtt: Option<Duration>,
}

/// A handle on the running network; clones are cheap. The network ends with [`Network::shutdown`]
/// or when the last handle is dropped.
#[derive(Clone)]
pub struct Network {
    commands: mpsc::Sender<Command>,
    view: Arc<View>,
    edge: Arc<Edge>,
    identity: watch::Receiver<NodeIdentity>,
    clock: Clock,
    peer: PeerId,
}

impl Network {
    /// Binds all listen addresses and begins to greet. `identity` is this node's own: a new value
    /// is told to all connected members.
    ///
    /// # Errors
    /// [`NetError::Start`] if an address cannot be bound, or if the descriptor is not of this
    /// network or does not name this node's peer id.
    pub async fn start(
        config: NetworkConfig,
        identity: watch::Receiver<NodeIdentity>,
        trust: Arc<Trust>,
        clock: Clock,
        inbound: Arc<dyn Inbound>,
    ) -> Result<Self, NetError> {
        let keypair = keypair(config.seed);
        let peer = keypair.public().to_peer_id();
        let own = own_organisation(&identity.borrow(), &trust, &peer)?;
        let directory = Directory::new(config.directory.clone(), trust.network());
        let edge = Arc::new(Edge::new(inbound, own, trust, identity.clone(), directory));
        let swarm = behaviour::swarm(keypair, Arc::clone(&edge), config.memory_bytes)?;
        let view = Arc::new(View::default());
        let (commands, receiver) = mpsc::channel(limits::COMMAND_QUEUE);
        let mut event_loop = EventLoop::new(
            swarm,
            receiver,
            Arc::clone(&edge),
            Arc::clone(&view),
            identity.clone(),
            Arc::clone(&clock),
            config.bootstrap,
        );
        event_loop.listen(&config.listen).await?;
        tokio::spawn(event_loop.run());
        Ok(Self { commands, view, edge, identity, clock, peer })
    }

    /// Sends one request to a member's node and waits for the reply, at most
    /// [`limits::REQUEST_TIMEOUT`]; finds, dials and greets as needed.
    pub async fn request(
        &self,
        to: &OrganisationId,
        protocol: Protocol,
        mut message: Vec<u8>,
    ) -> Result<Vec<u8>, NetError> {
        let protocol = WireProtocol::Application(protocol);
        let (size, limit) = (message.len(), protocol.request_limit());
        if size > limit {
            return Err(NetError::TooLarge { size, limit });
        }
        let deadline = Instant::now() + limits::REQUEST_TIMEOUT;
        if *to == self.edge.own {
            return self.request_to_self(protocol, message, deadline).await;
        }
        loop {
            let route = match self.view.route(to) {
                Some(route) => route,
                None => self.route(to, deadline).await?,
            };
            let (reply, answer) = oneshot::channel();
            let call = Call { protocol, message, deadline, reply };
            match timeout_at(deadline, route.caller.send(call)).await {
                Err(_) => return Err(NetError::Timeout),
                // The connection ended before it took the call: nothing was sent.
                Ok(Err(unsent)) => message = unsent.0.message,
                Ok(Ok(())) => {
                    return match timeout_at(deadline, answer).await {
                        Err(_) => Err(NetError::Timeout),
                        Ok(Err(_)) => Err(NetError::Closed),
                        Ok(Ok(reply)) => Ok(reply?),
                    };
                }
            }
        }
    }

    /// A municipality is home and source in one node: such a request takes the same way through
    /// membership and role, without a connection.
    async fn request_to_self(
        &self,
        protocol: WireProtocol,
        message: Vec<u8>,
        deadline: Instant,
    ) -> Result<Vec<u8>, NetError> {
        let own = self.own_member().await?;
        match timeout_at(deadline, self.edge.serve(own, protocol, message, None)).await {
            Err(_) => Err(NetError::Timeout),
            Ok(reply) => reply.ok_or(NetError::Closed),
        }
    }

    async fn own_member(&self) -> Result<Arc<Member>, NetError> {
        let (identity, trust) = (self.identity.borrow().clone(), self.edge.trust());
        let now = (self.clock)();
        verify_identity(identity, trust, now).await
    }

    async fn route(&self, to: &OrganisationId, deadline: Instant) -> Result<Route, NetError> {
        let (answer, found) = oneshot::channel();
        self.ask(Command::Route { to: to.clone(), answer }, found, deadline).await?
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<T>,
        deadline: Instant,
    ) -> Result<T, NetError> {
        let asked = async {
            self.commands.send(command).await.map_err(|_| NetError::Closed)?;
            answer.await.map_err(|_| NetError::Closed)
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(NetError::Timeout))
    }

    /// The member with this organisation id: connected, remembered, or asked for at the municipal
    /// nodes; verified in any case.
    pub async fn member(&self, organisation: &OrganisationId) -> Result<Arc<Member>, NetError> {
        if *organisation == self.edge.own {
            return self.own_member().await;
        }
        if let Some(route) = self.view.route(organisation) {
            return Ok(route.member);
        }
        let deadline = Instant::now() + limits::REQUEST_TIMEOUT;
        let (answer, found) = oneshot::channel();
        self.ask(Command::Member { of: organisation.clone(), answer }, found, deadline).await?
    }

    /// Replaces the trust; returns when every connection was judged by the new one, with how many
    /// were closed.
    pub async fn set_trust(&self, trust: Arc<Trust>) -> Result<usize, NetError> {
        let (done, closed) = oneshot::channel();
        self.commands
            .send(Command::SetTrust { trust, done })
            .await
            .map_err(|_| NetError::Closed)?;
        closed.await.map_err(|_| NetError::Closed)
    }

    /// All connections with greeted members.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.view.peers()
    }

    /// Where this node can be reached, as far as it knows itself: without peer id.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.view.listen_addresses()
    }

    pub fn local_peer(&self) -> PeerId {
        self.peer
    }

    /// Closes all connections and gives the ports back. Requests under way end with
    /// [`NetError::Closed`].
    pub async fn shutdown(self) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            let _ = finished.await;
        }
    }
}

fn own_organisation(
    identity: &NodeIdentity,
    trust: &Trust,
    peer: &PeerId,
) -> Result<OrganisationId, NetError> {
    let signed = Signed::<Descriptor>::decode(&identity.descriptor, trust.network())
        .map_err(|error| NetError::Start(format!("own descriptor: {error}")))?;
    let descriptor = signed.unverified();
    if !descriptor.peers.contains(&peer.to_base58()) {
        return Err(NetError::Start("own descriptor does not name this node's peer id".into()));
    }
    Ok(descriptor.organisation.clone())
}

/// Checks signatures and certificates off the event loop.
async fn verify_identity(
    identity: NodeIdentity,
    trust: Arc<Trust>,
    now: Timestamp,
) -> Result<Arc<Member>, NetError> {
    let check =
        move || trust::member::verify_identity(&identity, &trust, now).map_err(|e| e.to_string());
    match tokio::task::spawn_blocking(check).await {
        Ok(verdict) => verdict.map(Arc::new).map_err(NetError::NotAMember),
        Err(_) => Err(NetError::NotAMember("its membership could not be checked".into())),
    }
}
