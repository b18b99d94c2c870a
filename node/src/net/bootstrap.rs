//! The municipal nodes named in the configuration are kept connected.

use libp2p::{
    Multiaddr, PeerId, multiaddr,
    swarm::{ConnectionId, DialError, dial_opts::DialOpts},
};
use tokio::time::Instant;

use super::{
    event_loop::{DialFor, EventLoop, Found},
    limits,
    resolve::{is_name, resolve},
};

pub(super) struct Slot {
    /// Without the peer id.
    address: Multiaddr,
    /// As configured.
    pinned: Option<PeerId>,
    /// As configured or as met there last.
    peer: Option<PeerId>,
    state: State,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due(Instant),
    /// The name in its address is being looked up.
    Resolving,
    Dialling(ConnectionId),
    Connected(ConnectionId),
    /// The address is this node's own: one list of bootstrap nodes serves all of them.
    Own,
}

impl Slot {
    pub(super) fn new(mut address: Multiaddr) -> Self {
        let mut pinned = None;
        if let Some(multiaddr::Protocol::P2p(peer)) = address.iter().last() {
            pinned = Some(peer);
            address.pop();
        }
        Self { address, pinned, peer: pinned, state: State::Due(Instant::now()), failures: 0 }
    }

    pub(super) fn is_own(&self) -> bool {
        self.state == State::Own
    }

    fn later(&mut self, wait: std::time::Duration) {
        self.state = State::Due(Instant::now() + wait);
    }
}

/// Wait before the next dial after `failures` in a row.
pub(super) fn back_off(failures: u32) -> std::time::Duration {
    limits::REDIAL_FIRST.saturating_mul(1 << failures.min(10)).min(limits::REDIAL_LAST)
}

impl EventLoop {
    /// Dials what is due.
    pub(super) fn keep_connected(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            if !matches!(self.slots[index].state, State::Due(due) if due <= now) {
                continue;
            }
            let peer = self.slots[index].peer;
            // It may have dialled us first.
            if peer.is_some_and(|peer| self.has_connection_with(&peer)) {
                self.slots[index].later(limits::REDIAL_LAST);
                continue;
            }
            let address = self.slots[index].address.clone();
            if is_name(&address) {
                self.slots[index].state = State::Resolving;
                self.look_ups
                    .spawn(async move { Found::Slot(index, resolve(vec![address]).await) });
            } else {
                self.dial_slot(index, vec![address]);
            }
        }
    }

    pub(super) fn dial_slot(&mut self, index: usize, addresses: Vec<Multiaddr>) {
        let options = match (self.slots[index].peer, addresses.first()) {
            (Some(peer), Some(_)) => {
                DialOpts::peer_id(peer).addresses(addresses).allocate_new_port().build()
            }
            // Whoever answers is judged by its hello; one address at a time.
            (None, Some(address)) => {
                DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build()
            }
            (_, None) => return self.slot_failed(index, false),
        };
        match self.dial(options, DialFor::Slot(index)) {
            Ok(connection) => self.slots[index].state = State::Dialling(connection),
            Err(DialError::LocalPeerId { .. }) => self.slots[index].state = State::Own,
            Err(_) => self.slot_failed(index, false),
        }
    }

    pub(super) fn slot_connected(&mut self, index: usize, connection: ConnectionId, peer: PeerId) {
        let slot = &mut self.slots[index];
        slot.state = State::Connected(connection);
        slot.peer = Some(peer);
    }

    /// The slot's node passed hello: the next dial, if any, comes at once.
    pub(super) fn slot_greeted(&mut self, index: usize) {
        self.slots[index].failures = 0;
    }

    pub(super) fn slot_dial_failed(&mut self, index: usize, error: &DialError) {
        match error {
            DialError::LocalPeerId { .. } => self.slots[index].state = State::Own,
            DialError::WrongPeerId { .. } => {
                // The node's key was changed since we met it; a configured peer id stays binding.
                let slot = &mut self.slots[index];
                slot.peer = slot.pinned;
                let refused = slot.pinned.is_some();
                self.slot_failed(index, refused);
            }
            _ => self.slot_failed(index, false),
        }
    }

    /// Sets the next dial; a node that refused us is left in peace for longer.
    pub(super) fn slot_failed(&mut self, index: usize, refused: bool) {
        let slot = &mut self.slots[index];
        let wait = if refused { limits::REDIAL_REFUSED } else { back_off(slot.failures) };
        slot.failures = slot.failures.saturating_add(1);
        slot.later(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_below_two_seconds() {
        let waits: Vec<_> = (0..40).map(back_off).collect();
        assert_eq!(waits[0], limits::REDIAL_FIRST);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits[39], limits::REDIAL_LAST);
        assert!(limits::REDIAL_LAST.as_secs() < 2, "a restarted node is back within two seconds");
    }

    #[tokio::test]
    async fn a_pinned_slot_dials_without_the_suffix() {
        let peer = PeerId::random();
        let slot = Slot::new(format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}").parse().unwrap());
        assert_eq!(
            (slot.address.to_string(), slot.peer),
            ("/ip4/127.0.0.1/tcp/1".into(), Some(peer))
        );
        let slot = Slot::new("/ip4/127.0.0.1/tcp/1".parse().unwrap());
        assert_eq!(slot.peer, None);
    }
}
