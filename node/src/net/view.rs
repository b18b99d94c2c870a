//! What handles can see without asking the event loop: routes, peers, listen addresses.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use libp2p::{Multiaddr, swarm::ConnectionId};
use tokio::sync::mpsc;
use trust::member::Member;
use wire::OrganisationId;

use super::{PeerStatus, handler::Call};

/// A greeted connection, ready for calls.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) connection: ConnectionId,
    pub(super) caller: mpsc::Sender<Call>,
    pub(super) member: Arc<Member>,
}

#[derive(Default)]
pub(super) struct View(RwLock<State>);

#[derive(Default)]
struct State {
    /// The newest connection stands last and is used.
    routes: BTreeMap<OrganisationId, Vec<Route>>,
    peers: BTreeMap<ConnectionId, PeerStatus>,
    listen: Vec<Multiaddr>,
}

impl View {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn route(&self, to: &OrganisationId) -> Option<Route> {
        let state = self.read();
        state.routes.get(to)?.iter().rev().find(|route| !route.caller.is_closed()).cloned()
    }

    pub(super) fn peers(&self) -> Vec<PeerStatus> {
        self.read().peers.values().cloned().collect()
    }

    pub(super) fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.read().listen.clone()
    }

    /// Adds a greeted connection, or renews what is known of it.
    pub(super) fn admit(&self, route: Route, mut status: PeerStatus) {
        let mut state = self.write();
        let connection = route.connection;
        if let Some(known) = state.peers.get(&connection) {
            status = PeerStatus { since: known.since, rtt: known.rtt, ..status };
        }
        state.peers.insert(connection, status);
        let routes = state.routes.entry(route.member.organisation.clone()).or_default();
        match routes.iter_mut().find(|known| known.connection == connection) {
            Some(known) => *known = route,
            None => routes.push(route),
        }
    }

    /// Takes a connection out.
    pub(super) fn remove(&self, connection: ConnectionId) {
        let mut state = self.write();
        let Some(status) = state.peers.remove(&connection) else { return };
        if let Some(routes) = state.routes.get_mut(&status.organisation) {
            routes.retain(|route| route.connection != connection);
            if routes.is_empty() {
                state.routes.remove(&status.organisation);
            }
        }
    }

    /// Takes a connection out if it was another organisation's.
    pub(super) fn remove_other(&self, connection: ConnectionId, organisation: &OrganisationId) {
        let known = self.read().peers.get(&connection).map(|status| status.organisation.clone());
        if known.is_some_and(|known| known != *organisation) {
            self.remove(connection);
        }
    }

    pub(super) fn set_rtt(&self, connection: ConnectionId, rtt: Duration) {
        if let Some(status) = self.write().peers.get_mut(&connection) {
            status.rtt = Some(rtt);
        }
    }

    pub(super) fn listening(&self, address: Multiaddr) {
        let mut state = self.write();
        if !state.listen.contains(&address) {
            state.listen.push(address);
        }
    }

    pub(super) fn not_listening(&self, address: &Multiaddr) {
        self.write().listen.retain(|known| known != address);
    }

    pub(super) fn clear(&self) {
        *self.write() = State::default();
    }
}
