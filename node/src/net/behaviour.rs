//! What the swarm is made of: our own behaviour, which carries hellos between connections and the
//! event loop, beside libp2p's identify, ping and limits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, connection_limits,
    core::{Endpoint, transport::PortUse},
    identify, identity, memory_connection_limits, noise, ping,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
    tcp, yamux,
};
use tokio::sync::mpsc;

use super::{
    NetError,
    edge::Edge,
    handler::{Call, Handler, Instruction, Report},
    limits,
};

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    connections: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(super) dialogue: Dialogue,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

/// Hands each connection a [`Handler`], and the way to call over it to whoever asks.
pub(super) struct Dialogue {
    edge: Arc<Edge>,
    callers: BTreeMap<ConnectionId, mpsc::Sender<Call>>,
    /// At most a few for each connection: hellos are rare and answered one by one.
    queue: VecDeque<ToSwarm<(ConnectionId, Report), Instruction>>,
    waker: Option<Waker>,
}

impl Dialogue {
    fn new(edge: Arc<Edge>) -> Self {
        Self { edge, callers: BTreeMap::new(), queue: VecDeque::new(), waker: None }
    }

    pub(super) fn caller(&self, connection: ConnectionId) -> Option<mpsc::Sender<Call>> {
        self.callers.get(&connection).cloned()
    }

    pub(super) fn instruct(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        event: Instruction,
    ) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&mut self, connection: ConnectionId, dialler: bool) -> Handler {
        let (sender, receiver) = mpsc::channel(limits::CALL_QUEUE);
        self.callers.insert(connection, sender);
        Handler::new(Arc::clone(&self.edge), dialler, receiver)
    }
}

impl NetworkBehaviour for Dialogue {
    type ConnectionHandler = Handler;
    type ToSwarm = (ConnectionId, Report);

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, false))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(connection, true))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.callers.remove(&closed.connection_id);
            }
            // A limit may refuse a connection after its handler was made.
            FromSwarm::DialFailure(failure) => {
                self.callers.remove(&failure.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                self.callers.remove(&failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        report: THandlerOutEvent<Self>,
    ) {
        self.queue.push_back(ToSwarm::GenerateEvent((connection, report)));
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.queue.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// TCP + Noise + Yamux and QUIC, with every limit said.
pub(super) fn swarm(
    keypair: identity::Keypair,
    edge: Arc<Edge>,
    memory_bytes: usize,
) -> Result<Swarm<Behaviour>, NetError> {
    let start = |error: &dyn std::fmt::Display| NetError::Start(error.to_string());
    let multiplexer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(limits::STREAMS);
        config
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, multiplexer)
        .map_err(|error| start(&error))?
        .with_quic_config(|mut config| {
            config.handshake_timeout = limits::CONNECT_TIMEOUT;
            config.max_idle_timeout = limits::QUIC_IDLE_TIMEOUT.as_millis() as u32;
            config.keep_alive_interval = limits::QUIC_KEEP_ALIVE;
            config.max_concurrent_stream_limit = limits::STREAMS as u32;
            config.max_stream_data = limits::QUIC_STREAM_WINDOW;
            config.max_connection_data = limits::QUIC_CONNECTION_WINDOW;
            config
        })
        .with_behaviour(|keypair| Behaviour {
            connections: connection_limits::Behaviour::new(
                connection_limits::ConnectionLimits::default()
                    .with_max_pending_incoming(Some(limits::PENDING_INCOMING))
                    .with_max_pending_outgoing(Some(limits::PENDING_OUTGOING))
                    .with_max_established_incoming(Some(limits::ESTABLISHED_INCOMING))
                    .with_max_established_outgoing(Some(limits::ESTABLISHED_OUTGOING))
                    .with_max_established(Some(limits::ESTABLISHED_TOTAL))
                    .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER)),
            ),
            memory: memory_connection_limits::Behaviour::with_max_bytes(memory_bytes),
            dialogue: Dialogue::new(edge),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(limits::PING_INTERVAL)
                    .with_timeout(limits::PING_TIMEOUT),
            ),
            // Strangers are served identify too: it tells them no addresses, and we keep none.
            identify: identify::Behaviour::new(
                identify::Config::new("/mebuku/1".into(), keypair.public())
                    .with_agent_version(concat!("mebuku/", env!("CARGO_PKG_VERSION")).into())
                    .with_hide_listen_addrs(true)
                    .with_push_listen_addr_updates(false)
                    .with_cache_size(0),
            ),
        })
        .map_err(|error| start(&error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits::IDLE_TIMEOUT)
                .with_max_negotiating_inbound_streams(limits::NEGOTIATING_STREAMS)
                .with_per_connection_event_buffer_size(limits::CONNECTION_EVENTS)
                .with_dial_concurrency_factor(DIAL_CONCURRENCY)
        })
        .with_connection_timeout(limits::CONNECT_TIMEOUT)
        .build();
    Ok(swarm)
}

/// Addresses of one node that are tried at once.
const DIAL_CONCURRENCY: std::num::NonZeroU8 = std::num::NonZeroU8::new(4).expect("not zero");
