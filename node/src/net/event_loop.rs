//! The task that owns the swarm: dials, greets, admits, closes. Nothing in it waits for anything
//! but its next event.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::TransportError},
    multiaddr::Protocol,
    ping,
    swarm::{ConnectionId, DialError, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use trust::{Trust, member::Member};
use wire::{
    OrganisationId,
    membership::{Hello, NodeIdentity},
};

use super::{
    Clock, NetError,
    behaviour::{Behaviour, BehaviourEvent},
    bootstrap::Slot,
    edge::Edge,
    greeting::Checked,
    limits,
    search::{Looked, Searches},
    view::{Route, View},
};

pub(super) enum Command {
    /// A greeted connection with this organisation.
    Route {
        to: OrganisationId,
        answer: oneshot::Sender<Result<Route, NetError>>,
    },
    /// Its verified identity, connected or not.
    Member {
        of: OrganisationId,
        answer: oneshot::Sender<Result<Arc<Member>, NetError>>,
    },
    SetTrust {
        trust: Arc<Trust>,
        done: oneshot::Sender<usize>,
    },
    Shutdown {
        done: oneshot::Sender<()>,
    },
}

/// What a dial is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DialFor {
    Slot(usize),
    Organisation(OrganisationId),
}

pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    pub(super) dialled: bool,
    pub(super) slot: Option<usize>,
    opened: Instant,
    pub(super) state: State,
    /// When we last said hello on it, and whether we owe another.
    pub(super) said_hello: Option<Instant>,
    pub(super) owes_hello: bool,
    /// Why we, or the other end, will not go on.
    pub(super) refusal: Option<String>,
}

pub(super) enum State {
    /// No hello has passed.
    Strange,
    /// The member's hello, kept to be judged again.
    Admitted { hello: Arc<Hello>, member: Arc<Member> },
    /// Refused: closed at the latest then.
    Leaving(Instant),
}

impl Connection {
    pub(super) fn is_strange(&self) -> bool {
        matches!(self.state, State::Strange)
    }

    pub(super) fn member(&self) -> Option<&Arc<Member>> {
        match &self.state {
            State::Admitted { member, .. } => Some(member),
            _ => None,
        }
    }
}

/// What a task outside the loop found.
pub(super) enum Found {
    Member(Looked),
    /// What the name in a bootstrap address stands for.
    Slot(usize, Vec<Multiaddr>),
}

pub(super) struct EventLoop {
    pub(super) swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    pub(super) edge: Arc<Edge>,
    pub(super) view: Arc<View>,
    pub(super) identity: watch::Receiver<NodeIdentity>,
    pub(super) clock: Clock,
    /// Counts replacements of the trust.
    pub(super) generation: u64,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) dials: BTreeMap<ConnectionId, DialFor>,
    pub(super) slots: Vec<Slot>,
    pub(super) searches: Searches,
    pub(super) checks: JoinSet<Checked>,
    /// One for each open search and bootstrap slot at most, apart from what was given up.
    pub(super) look_ups: JoinSet<Found>,
    pub(super) next_recheck: Instant,
}

impl EventLoop {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        edge: Arc<Edge>,
        view: Arc<View>,
        identity: watch::Receiver<NodeIdentity>,
        clock: Clock,
        bootstrap: Vec<Multiaddr>,
    ) -> Self {
        Self {
            swarm,
            commands,
            edge,
            view,
            identity,
            clock,
            generation: 0,
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            slots: bootstrap.into_iter().map(Slot::new).collect(),
            searches: Searches::default(),
            checks: JoinSet::new(),
            look_ups: JoinSet::new(),
            next_recheck: Instant::now() + limits::RECHECK_INTERVAL,
        }
    }

    /// Binds the addresses; returns when each of them listens.
    pub(super) async fn listen(&mut self, addresses: &[Multiaddr]) -> Result<(), NetError> {
        let refuse = |address: &Multiaddr, error: &dyn std::fmt::Display| {
            NetError::Start(format!("listening on {address}: {error}"))
        };
        for address in addresses {
            // libp2p shares a TCP port with whoever has it: a second node started by mistake would
            // take half of the first one's connections.
            is_free(address).await.map_err(|error| refuse(address, &error))?;
            let listener = self.swarm.listen_on(address.clone()).map_err(|error| match error {
                TransportError::Other(error) => refuse(address, &error),
                TransportError::MultiaddrNotSupported(_) => refuse(address, &"not supported"),
            })?;
            loop {
                let event = timeout(limits::CONNECT_TIMEOUT, self.swarm.select_next_some());
                match event.await.map_err(|_| refuse(address, &"no answer from the system"))? {
                    SwarmEvent::NewListenAddr { listener_id, address } => {
                        self.view.listening(address);
                        if listener_id == listener {
                            break;
                        }
                    }
                    SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => {
                        return Err(refuse(address, &error));
                    }
                    SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
                        if listener_id == listener =>
                    {
                        return Err(refuse(address, &error));
                    }
                    event => self.on_swarm_event(event),
                }
            }
        }
        Ok(())
    }

    pub(super) async fn run(mut self) {
        let mut tick = interval(limits::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut identity_changes = true;
        let stopped = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { done }) => break Some(done),
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                Some(checked) = self.checks.join_next() => match checked {
                    Ok(checked) => self.on_checked(checked),
                    // The connection it was for is closed when its time for hello is over.
                    Err(_) => tracing::error!("a membership check failed"),
                },
                Some(Ok(found)) = self.look_ups.join_next() => match found {
                    Found::Member(looked) => self.on_looked(looked),
                    Found::Slot(index, addresses) => self.dial_slot(index, addresses),
                },
                changed = self.identity.changed(), if identity_changes => match changed {
                    Ok(()) => {
                        for connection in self.connections.values_mut() {
                            connection.owes_hello = true;
                        }
                    }
                    Err(_) => identity_changes = false,
                },
                _ = tick.tick() => self.on_tick(),
            }
        };
        self.stop().await;
        if let Some(done) = stopped {
            let _ = done.send(());
        }
    }

    async fn stop(mut self) {
        self.commands.close();
        let addresses = self.view.listen_addresses();
        self.view.clear();
        for connection in self.connections.keys() {
            self.swarm.close_connection(*connection);
        }
        let closing = async {
            while !self.connections.is_empty() {
                match self.swarm.select_next_some().await {
                    SwarmEvent::ConnectionClosed { connection_id, .. } => {
                        self.connections.remove(&connection_id);
                    }
                    SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                        self.swarm.close_connection(connection_id);
                    }
                    _ => {}
                }
            }
        };
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, closing).await;
        drop(self.swarm);
        // QUIC connections linger for a few round trips (RFC 9000 section 10.2), the port with them.
        let freed = async {
            for address in &addresses {
                while is_free(address).await.is_err() {
                    sleep(limits::TICK / 10).await;
                }
            }
        };
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, freed).await;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Route { to, answer } => self.find_route(to, answer),
            Command::Member { of, answer } => self.find_member(of, answer),
            Command::SetTrust { trust, done } => {
                self.edge.set_trust(trust);
                self.generation += 1;
                self.searches.forgive();
                self.greet_who_waits();
                self.check_all_again(Some(done));
            }
            Command::Shutdown { .. } => unreachable!("taken by the loop"),
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Dialogue((connection, report))) => {
                self.on_report(connection, report);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => match event.result {
                Ok(rtt) => self.view.set_rtt(event.connection, rtt),
                Err(ping::Failure::Unsupported) => {}
                Err(_) => {
                    self.swarm.close_connection(event.connection);
                }
            },
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(connection_id, peer_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => self.on_closed(connection_id),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.view.listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.view.not_listening(&address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                for address in &addresses {
                    self.view.not_listening(address);
                }
                if reason.is_err() {
                    tracing::error!("a listener closed");
                }
            }
            _ => {}
        }
    }

    fn on_established(&mut self, id: ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) {
        let purpose = self.dials.remove(&id);
        let slot = match purpose {
            Some(DialFor::Slot(index)) => Some(index),
            _ => None,
        };
        if let Some(index) = slot {
            self.slot_connected(index, id, peer);
        }
        let dialled = endpoint.is_dialer();
        let connection = Connection {
            peer,
            address: endpoint.get_remote_address().clone(),
            dialled,
            slot,
            opened: Instant::now(),
            state: State::Strange,
            said_hello: None,
            owes_hello: false,
            refusal: None,
        };
        self.connections.insert(id, connection);
        if dialled {
            self.begin(id);
        } else {
            let strangers = |(id, connection): (&ConnectionId, &Connection)| {
                (!connection.dialled && connection.is_strange()).then_some(*id)
            };
            let mut strangers = self.connections.iter().filter_map(strangers);
            // Ids count up: the first is the oldest, and an honest peer greets within moments.
            if let Some(oldest) = strangers.next()
                && strangers.count() >= limits::UNGREETED
            {
                self.turn_away(oldest, "too many connections without hello".into());
            }
        }
    }

    fn on_closed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.view.remove(id);
        let refused = connection.refusal.is_some();
        if let Some(member) = connection.member() {
            tracing::info!(organisation = %member.organisation, "disconnected");
        } else {
            let error = connection.refusal.map_or(NetError::Unreachable, NetError::NotAMember);
            self.attempt_failed(id, &error);
        }
        if let Some(index) = connection.slot {
            self.slot_failed(index, refused);
        }
    }

    fn on_dial_failed(&mut self, id: ConnectionId, error: &DialError) {
        match self.dials.remove(&id) {
            Some(DialFor::Slot(index)) => self.slot_dial_failed(index, error),
            Some(DialFor::Organisation(_)) => self.attempt_failed(id, &NetError::Unreachable),
            None => {}
        }
    }

    /// `options` take a new local port: two nodes that dial each other at once from the ports they
    /// listen on can meet in one TCP connection with two diallers (RFC 9293, simultaneous open), which
    /// neither can use.
    pub(super) fn dial(
        &mut self,
        options: DialOpts,
        purpose: DialFor,
    ) -> Result<ConnectionId, DialError> {
        let connection = options.connection_id();
        self.swarm.dial(options)?;
        self.dials.insert(connection, purpose);
        Ok(connection)
    }

    pub(super) fn has_connection_with(&self, peer: &PeerId) -> bool {
        self.connections.values().any(|connection| connection.peer == *peer)
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let mut silent = Vec::new();
        let mut owed = Vec::new();
        for (id, connection) in &self.connections {
            match connection.state {
                State::Strange if now - connection.opened >= limits::HELLO_TIMEOUT => {
                    silent.push(*id);
                }
                State::Leaving(until) if until <= now => {
                    self.swarm.close_connection(*id);
                }
                State::Admitted { .. }
                    if connection.owes_hello
                        && connection
                            .said_hello
                            .is_none_or(|said| now - said >= limits::HELLO_INTERVAL) =>
                {
                    owed.push(*id);
                }
                _ => {}
            }
        }
        for id in silent {
            self.turn_away(id, "no hello in time".into());
        }
        for id in owed {
            self.say_hello(id);
        }
        if now >= self.next_recheck {
            self.check_all_again(None);
        }
        self.keep_connected(now);
        self.continue_searches(now);
    }
}

/// Whether the port of a listen address can be had.
async fn is_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        // Not ours to judge.
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) => TcpListener::bind((ip, port)).await.map(drop),
        Some(Protocol::Udp(port)) => UdpSocket::bind((ip, port)).await.map(drop),
        _ => Ok(()),
    }
}
