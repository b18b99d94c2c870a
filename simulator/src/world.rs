//! The world: homes, sources, recipients, what is on its way between them, true time, and what an outside
//! judge has seen. One step is one event at one node. The model checker and the simulator drive the same steps.

mod answers;
mod channels;
mod faults;
mod flight;
mod papers;
mod recipients;

use std::collections::BTreeMap;

use consent::guard::Guard;
use wire::{Hash, Now, channel::ChannelId};

use crate::{
    cast::{Cast, PairId, RequestId},
    judge::Judge,
    node::{Node, Role},
    shared::Shared,
};

pub use answers::Facts;
pub use flight::Flight;

/// Number of a node in [`World::nodes`]: homes first, then sources, then recipients.
pub type NodeId = usize;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub true_ms: u64,
    pub nodes: Vec<Shared<Node>>,
    /// On its way, in the order of fingerprints: the network keeps none.
    pub flights: Vec<Shared<Flight>>,
    /// What the witnesses last cosigned of each node's log: size and root.
    pub witnessed: BTreeMap<NodeId, (u64, Hash)>,
    pub judge: Shared<Judge>,
    /// Whether a home that waits for its witnesses before it grants, and a source that does before it says
    /// how far it is, hear from them.
    pub prompt_witness: bool,
    /// Most entries in one answer to a pull.
    pub batch: usize,
    /// Most denies of a pair that no permit names before its home collapses them.
    pub denies: usize,
    /// How old the status of a present-consent's certificate may be.
    pub status_age_ms: u64,
    /// Counts the starts of processes: no run has the id of another.
    runs: u64,
}

impl World {
    /// Every node new, nothing said.
    pub fn new(cast: &Cast, lease_ms: u64, true_ms: u64) -> Self {
        let homes = (0..cast.homes.len()).map(Role::Home);
        let sources = (0..cast.sources.len()).map(Role::Source);
        let recipients = (0..cast.recipients.len()).map(Role::Recipient);
        let node = |role| Shared::new(Node::new(role, lease_ms, true_ms));
        Self {
            true_ms,
            nodes: homes.chain(sources).chain(recipients).map(node).collect(),
            flights: Vec::new(),
            witnessed: BTreeMap::new(),
            judge: Shared::default(),
            prompt_witness: true,
            batch: wire::limits::ENTRIES,
            denies: wire::limits::DENIES,
            status_age_ms: exchange::source::STATUS_AGE_MS,
            runs: 0,
        }
    }

    pub fn source(&self, cast: &Cast, pair: PairId) -> NodeId {
        cast.homes.len() + pair.source
    }

    pub fn recipient(&self, cast: &Cast, request: RequestId) -> NodeId {
        cast.homes.len() + cast.sources.len() + cast.request(request).recipient
    }

    pub fn home_of(&self, cast: &Cast, channel: &ChannelId) -> NodeId {
        cast.homes.iter().position(|home| *home == channel.home).expect("a home of the cast")
    }

    pub fn source_of(&self, cast: &Cast, channel: &ChannelId) -> NodeId {
        let source = cast.sources.iter().position(|source| *source == channel.source);
        cast.homes.len() + source.expect("a source of the cast")
    }

    pub fn now(&self, node: NodeId) -> Now {
        self.nodes[node].now(self.true_ms)
    }

    fn send(&mut self, flight: Flight) {
        self.flights.push(Shared::new(flight));
    }

    /// The witnesses see a node's log and cosign it: what waited is now accepted.
    pub fn cosign(&mut self, cast: &Cast, node: NodeId) {
        if !self.nodes[node].serves() {
            return;
        }
        let disk = &self.nodes[node].disk;
        let size = disk.size();
        let Some(root) = disk.root_at(size) else { return };
        if let Some((known, known_root)) = self.witnessed.get(&node)
            && disk.root_at(*known) != Some(*known_root)
        {
            return; // a fork: no witness cosigns it
        }
        self.witnessed.insert(node, (size, root));
        let (known, now) = (self.cosigned(node), self.now(node));
        self.nodes[node].update(|node| channels::tell(node, known, now));
        self.acknowledge(cast, node);
    }

    /// How much of a node's log the witnesses cosigned, or all of it to a node that does not ask.
    fn cosigned(&self, node: NodeId) -> u64 {
        match self.witnessed.get(&node) {
            _ if !Guard::AcceptedIsCosigned.holds() => u64::MAX,
            Some((size, _)) => *size,
            None => 0,
        }
    }

    /// Tells the wallets that their papers are accepted, as far as the witnesses cosigned the log.
    pub fn acknowledge(&mut self, cast: &Cast, node: NodeId) {
        let covered = self.cosigned(node);
        let role = self.nodes[node].role;
        let done: Vec<_> = {
            let Node { disk, memory, .. } = &*self.nodes[node];
            let taken = memory.waiting.iter().filter_map(|id| Some((*id, *disk.logged.get(id)?)));
            taken.filter(|(_, logged)| logged.size <= covered).collect()
        };
        if done.is_empty() {
            return;
        }
        self.nodes[node].update(|node| {
            node.memory.update(|memory| {
                memory.waiting.retain(|id| done.iter().all(|(known, _)| known != id))
            });
        });
        let true_ms = self.true_ms;
        self.judge.update(|judge| {
            for (id, logged) in done {
                match role {
                    Role::Home(home) => {
                        let source = &cast.sources[cast.paper(id).pair.source];
                        judge.accepted(id, source, home, logged.at_home, true_ms);
                    }
                    Role::Source(_) => judge.in_force(id, true_ms),
                    Role::Recipient(_) => {}
                }
            }
        });
    }

    /// Whether the witnesses would cosign more of a node's log, or a wallet would hear of it.
    pub fn may_be_cosigned(&self, node: NodeId) -> bool {
        let known = self.witnessed.get(&node).map_or(0, |(size, _)| *size);
        let this = &self.nodes[node];
        this.serves() && (known < this.disk.size() || !this.memory.waiting.is_empty())
    }

    /// For the mutant that calls accepted what no witness saw.
    pub fn settle(&mut self, cast: &Cast) {
        if !Guard::AcceptedIsCosigned.holds() {
            for node in 0..self.nodes.len() {
                self.acknowledge(cast, node);
            }
        }
    }

    /// A message arrives. A node that is off or restored does not hear it; one that sleeps does when it
    /// wakes, which is a later delivery.
    pub fn deliver(&mut self, cast: &Cast, flight: &Flight) {
        let to = flight.to();
        if !self.nodes[to].serves() {
            return;
        }
        match flight {
            Flight::Pull { from, pull, .. } => self.answer_pull(cast, *from, to, pull),
            Flight::Pulled { grant, unreadable, entries, head, .. } => {
                self.pulled(cast, to, grant, unreadable, (entries, *head));
            }
            Flight::Forked { channel, .. } => self.forked(to, channel),
            Flight::Push { from, channel, entries, head, .. } => {
                self.pushed(cast, (*from, to), channel, (entries, *head));
            }
            Flight::Applied { channel, progress, .. } => {
                self.applied(cast, to, channel, progress);
            }
            Flight::Request { from, request, signed, .. } => {
                self.arrive(cast, Some(*from), *request, signed);
            }
            Flight::Reply { request, reply, .. } => self.receive(cast, *request, reply),
            Flight::Receipt { from, request, signed, .. } => {
                self.note(cast, (*from, to), *request, signed);
            }
            Flight::Noted { request, .. } => self.noted(cast, *request),
        }
    }
}
