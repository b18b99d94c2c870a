//! The world: homes, sources, what is on its way between them, true time, and what an outside judge has
//! seen. One step is one event at one node. The model checker and the simulator drive the same steps.

mod answers;
mod faults;

use std::collections::BTreeMap;

use consent::{
    ChannelStore,
    guard::Guard,
    home::{HomeError, in_force},
    lease::Run,
    source::{SourceError, accept_direct_deny},
};
use wire::{
    Bytes, Hash, Nonce, Now,
    channel::{ChannelHead, ChannelId, Entry, Grant, HeadStatement, Position, Pull},
    citizen::InForce,
    consent::Scope,
};

use crate::{
    cast::{Cast, PairId, PaperId, Says, UNKNOWN_KIND},
    judge::Judge,
    node::{Node, Role, home_channel, source_channel},
    shared::Shared,
};

pub use answers::Facts;

/// Number of a node in [`World::nodes`]: homes first, then sources.
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
    /// Whether a home that waits for its witnesses before it grants hears from them.
    pub prompt_witness: bool,
    /// Most entries in one answer to a pull.
    pub batch: usize,
    /// Counts the starts of processes: no run has the id of another.
    runs: u64,
}

/// A message between two nodes. Signatures are the transport's and the trust list's matter; what is
/// believed of a message here is what a member proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Flight {
    Pull {
        from: NodeId,
        to: NodeId,
        pull: Shared<Pull>,
    },
    Pulled {
        from: NodeId,
        to: NodeId,
        grant: Grant,
        /// What the pull reported, which the home has on disk now.
        unreadable: Vec<u64>,
        entries: Vec<Shared<Entry>>,
        head: ChannelHead,
    },
    Forked {
        from: NodeId,
        to: NodeId,
        channel: ChannelId,
    },
    Push {
        from: NodeId,
        to: NodeId,
        channel: ChannelId,
        entries: Vec<Shared<Entry>>,
        head: ChannelHead,
    },
    Applied {
        from: NodeId,
        to: NodeId,
        channel: ChannelId,
        position: Position,
    },
}

impl Flight {
    pub fn from(&self) -> NodeId {
        match self {
            Self::Pull { from, .. }
            | Self::Pulled { from, .. }
            | Self::Forked { from, .. }
            | Self::Push { from, .. }
            | Self::Applied { from, .. } => *from,
        }
    }

    /// In a few words, for traces.
    pub fn brief(&self) -> String {
        let (from, to) = (self.from(), self.to());
        match self {
            Self::Pull { pull, .. } => {
                let (applied, denies) = (pull.applied.length, pull.denies.len());
                format!("{from}→{to} pull after {applied}, {denies} denies")
            }
            Self::Pulled { grant, entries, .. } => {
                let (length, ms) = (grant.head.position.length, grant.granted_ms);
                format!("{from}→{to} {ms} ms for {length}, {} entries", entries.len())
            }
            Self::Forked { .. } => format!("{from}→{to} forked"),
            Self::Push { entries, head, .. } => {
                format!("{from}→{to} push of {} up to {}", entries.len(), head.position.length)
            }
            Self::Applied { position, .. } => format!("{from}→{to} applied {}", position.length),
        }
    }

    pub fn to(&self) -> NodeId {
        match self {
            Self::Pull { to, .. }
            | Self::Pulled { to, .. }
            | Self::Forked { to, .. }
            | Self::Push { to, .. }
            | Self::Applied { to, .. } => *to,
        }
    }
}

impl World {
    /// Every node new, nothing said.
    pub fn new(cast: &Cast, lease_ms: u64, true_ms: u64) -> Self {
        let homes = (0..cast.homes.len()).map(Role::Home);
        let sources = (0..cast.sources.len()).map(Role::Source);
        let node = |role| Shared::new(Node::new(role, lease_ms, true_ms));
        let bound_ms = consent::lease::lapse_ms(lease_ms);
        Self {
            true_ms,
            nodes: homes.chain(sources).map(node).collect(),
            flights: Vec::new(),
            witnessed: BTreeMap::new(),
            judge: Shared::new(Judge::new(bound_ms)),
            prompt_witness: true,
            batch: wire::limits::ENTRIES,
            runs: 0,
        }
    }

    pub fn home(&self, cast: &Cast, pair: PairId) -> NodeId {
        cast.home_of(pair)
    }

    pub fn source(&self, cast: &Cast, pair: PairId) -> NodeId {
        cast.homes.len() + pair.source
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

    /// A wallet hands a paper in at its home: durable when this returns, acknowledged later.
    pub fn hand_in(&mut self, cast: &Cast, id: PaperId) {
        let paper = cast.paper(id);
        let (home, channel) = (self.home(cast, paper.pair), cast.channel(paper.pair));
        if !self.nodes[home].serves() {
            return;
        }
        let now = self.now(home);
        let refused = self.nodes[home].update(|node| {
            let run = node.memory.run;
            let accepted = node.disk.update(|disk| {
                let done =
                    disk.channel(&channel, |store| accept(cast, store, &channel, id, &run, now));
                let new = done?;
                if new {
                    let size = disk.append(&("accepted", id));
                    disk.logged.insert(id, size);
                }
                Ok::<_, HandInError>(())
            });
            if accepted.is_ok() {
                node.memory.update(|memory| {
                    memory.waiting.insert(id);
                    memory.pusher(&channel).owed(now);
                });
            }
            accepted.err()
        });
        if let Some(HandInError::Refused(error)) = refused
            && matches!(paper.says, Says::Deny { .. })
        {
            self.judge.update(|judge| judge.refused_deny(id, &error));
        }
    }

    /// A wallet hands a deny straight to the source.
    pub fn hand_direct(&mut self, cast: &Cast, id: PaperId) {
        let pair = cast.paper(id).pair;
        let (source, channel) = (self.source(cast, pair), cast.channel(pair));
        if !self.nodes[source].serves() {
            return;
        }
        let now = self.now(source);
        let at = now.wall;
        let refused = self.nodes[source].update(|node| {
            let taken = node.disk.update(|disk| {
                let new = disk.channel(&channel, |store| {
                    let state = store.pair(&cast.subject(pair)).expect("memory does not fail");
                    let deny = cast.admit(id, &state, at)?;
                    Some(accept_direct_deny(store, &deny).expect("memory does not fail"))
                })?;
                if new || !disk.logged.contains_key(&id) {
                    let size = disk.append(&("direct", id));
                    disk.logged.insert(id, size);
                }
                disk.heard.entry(pair).or_default().insert(id);
                Some(())
            });
            if taken.is_some() {
                node.memory.update(|memory| {
                    memory.waiting.insert(id);
                    memory.puller(&channel).hurry(now);
                });
            }
            taken.is_none()
        });
        if refused {
            self.judge.update(|judge| judge.refused_deny(id, "not admitted"));
        }
    }

    /// The witnesses see a node's log and cosign it: what waited is now accepted.
    pub fn cosign(&mut self, node: NodeId) {
        if !self.nodes[node].serves() {
            return;
        }
        let log = &self.nodes[node].disk.log;
        let (size, root) = (log.len() as u64, fold(log));
        if let Some((known, known_root)) = self.witnessed.get(&node) {
            let fits = *known <= size && fold(&log[..*known as usize]) == *known_root;
            if !fits {
                return; // a fork: no witness cosigns it
            }
        }
        self.witnessed.insert(node, (size, root));
        self.acknowledge(node);
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
    pub fn acknowledge(&mut self, node: NodeId) {
        let covered = self.cosigned(node);
        let role = self.nodes[node].role;
        let done: Vec<_> = {
            let Node { disk, memory, .. } = &*self.nodes[node];
            let due = |id: &&PaperId| disk.logged.get(*id).is_some_and(|size| *size <= covered);
            memory.waiting.iter().filter(due).copied().collect()
        };
        if done.is_empty() {
            return;
        }
        self.nodes[node].update(|node| {
            node.memory.update(|memory| memory.waiting.retain(|id| !done.contains(id)));
        });
        let true_ms = self.true_ms;
        self.judge.update(|judge| {
            for id in done {
                match role {
                    Role::Home(home) => judge.accepted(id, home, true_ms),
                    Role::Source(_) => judge.in_force(id, true_ms),
                }
            }
        });
    }

    /// Whether a push would carry anything.
    pub fn owes(&self, cast: &Cast, home: NodeId, channel: &ChannelId) -> bool {
        self.nodes[home].disk.channels.get(channel).is_some_and(|store| {
            let machine = home_channel(store, cast, channel);
            machine.acknowledged() < machine.head().position.length
        })
    }

    /// Whether the witnesses would cosign more of a node's log, or a wallet would hear of it.
    pub fn may_be_cosigned(&self, node: NodeId) -> bool {
        let known = self.witnessed.get(&node).map_or(0, |(size, _)| *size);
        let this = &self.nodes[node];
        this.serves() && (known < this.disk.log.len() as u64 || !this.memory.waiting.is_empty())
    }

    /// For the mutant that calls accepted what no witness saw.
    pub fn settle(&mut self) {
        if !Guard::AcceptedIsCosigned.holds() {
            for node in 0..self.nodes.len() {
                self.acknowledge(node);
            }
        }
    }

    /// A wallet reads its register: the home says what is in force.
    pub fn read_register(&mut self, cast: &Cast, pair: PairId) {
        let home = self.home(cast, pair);
        if !self.nodes[home].serves() {
            return;
        }
        let (now, covered) = (self.now(home), self.cosigned(home));
        let told: Vec<_> = {
            let node = &self.nodes[home];
            let Some(store) = node.disk.channels.get(&cast.channel(pair)) else { return };
            let thread = store.thread(&cast.subject(pair)).expect("memory does not fail");
            let rows = thread.seqs.iter().map(|seq| &store.home_entries[*seq as usize]);
            let machine = home_channel(store, cast, &cast.channel(pair));
            let run = &node.memory.run;
            rows.filter(|row| {
                let status = in_force(row, &machine, run, now);
                matches!(status, InForce::Acknowledged(_) | InForce::LeasesLapsed(_))
            })
            .filter_map(|row| match row.decision {
                Some(id) => cast.by_decision(&id),
                None => cast.by_entry(&row.entry),
            })
            .filter(|id| node.disk.logged.get(id).is_some_and(|size| *size <= covered))
            .filter(|id| !self.judge.told.contains_key(id))
            .collect()
        };
        if told.is_empty() {
            return;
        }
        let true_ms = self.true_ms;
        self.judge.update(|judge| told.into_iter().for_each(|id| judge.in_force(id, true_ms)));
    }

    /// The source pulls, if a pull is due.
    pub fn pull(&mut self, cast: &Cast, source: NodeId, channel: &ChannelId) {
        if !self.nodes[source].serves() {
            return;
        }
        let now = self.now(source);
        let home = self.home_of(cast, channel);
        let run = u128::from_be_bytes(self.nodes[source].memory.run.id.0);
        let nonce = Nonce((run | u128::from(now.mono_ms)).to_be_bytes());
        let pull = self.nodes[source].update(|node| {
            let store = node.disk.channels.get(channel).cloned().unwrap_or_default();
            node.memory.update(|memory| {
                let puller = memory.puller(channel);
                if !puller.begin(nonce, now) {
                    return None;
                }
                let machine = source_channel(&store, cast, channel);
                let pulled = machine.pull(&*store, nonce, puller.denies_after());
                let (pull, last) = pulled.expect("memory does not fail");
                puller.carries(last);
                Some(pull)
            })
        });
        let Some(pull) = pull else { return };
        self.judge.update(|judge| judge.reports(channel, pull.applied.length));
        self.send(Flight::Pull { from: source, to: home, pull: Shared::new(pull) });
    }

    /// The home pushes what is owed, if a push is due.
    pub fn push(&mut self, cast: &Cast, home: NodeId, channel: &ChannelId) {
        if !self.nodes[home].serves() {
            return;
        }
        let now = self.now(home);
        let due = self.nodes[home]
            .update(|node| node.memory.update(|memory| memory.pusher(channel).begin(now)));
        if !due {
            return;
        }
        let Some(store) = self.nodes[home].disk.channels.get(channel) else { return };
        let machine = home_channel(store, cast, channel);
        let start = match machine.acknowledged() {
            0 => Position::start(&cast.network.id, channel),
            seen => store.home_entries[seen as usize - 1].head.position,
        };
        let Ok(batch) = machine.batch_after(&**store, &start) else { return };
        if batch.entries.is_empty() {
            self.nodes[home].update(|node| {
                node.memory.update(|memory| memory.pusher(channel).acknowledged(0, false, now));
            });
            return;
        }
        let to = self.source_of(cast, channel);
        let entries = batch.entries.into_iter().map(Shared::new).collect();
        self.send(Flight::Push {
            from: home,
            to,
            channel: channel.clone(),
            entries,
            head: batch.head,
        });
    }

    /// A message arrives. A node that is off or restored does not hear it; one that sleeps does when it
    /// wakes, which is a later delivery.
    pub fn deliver(&mut self, cast: &Cast, flight: &Flight) {
        if !self.nodes[flight.to()].serves() {
            return;
        }
        match flight {
            Flight::Pull { from, to, pull } => self.answer_pull(cast, *from, *to, pull),
            Flight::Pulled { to, grant, unreadable, entries, head, .. } => {
                let (channel, brought) = (&grant.channel, !entries.is_empty());
                match self.apply(cast, *to, channel, entries, *head) {
                    Some(applied) => self.lease(cast, *to, grant, unreadable, &applied, brought),
                    None => self.forked(*to, channel),
                }
            }
            Flight::Forked { to, channel, .. } => self.forked(*to, channel),
            Flight::Push { from, to, channel, entries, head } => {
                match self.apply(cast, *to, channel, entries, *head) {
                    Some(position) => {
                        let (from, to, channel) = (*to, *from, channel.clone());
                        self.send(Flight::Applied { from, to, channel, position });
                    }
                    None => self.forked(*to, channel),
                }
            }
            Flight::Applied { to, channel, position, .. } => {
                let now = self.now(*to);
                self.nodes[*to].update(|node| {
                    let done = node.disk.update(|disk| {
                        disk.channel(channel, |store| {
                            let mut machine = home_channel(store, cast, channel);
                            let newly = machine.acknowledge(store, position, now).ok()?;
                            Some((newly, machine.acknowledged() < machine.head().position.length))
                        })
                    });
                    node.memory.update(|memory| match done {
                        Some((newly, more)) => {
                            memory.pusher(channel).acknowledged(newly, more, now)
                        }
                        None => memory.pusher(channel).failed(now),
                    });
                });
            }
        }
    }

    fn lease(
        &mut self,
        cast: &Cast,
        source: NodeId,
        grant: &Grant,
        unreadable: &[u64],
        applied: &Position,
        brought: bool,
    ) {
        let now = self.now(source);
        let id = wire::hash_parts("simulator/grant", &[&grant.nonce.0]);
        self.nodes[source].update(|node| {
            let granted = node.memory.update(|memory| {
                memory.puller(&grant.channel).pulled(grant, id, applied, brought, now)
            });
            if granted.is_ok() && !unreadable.is_empty() {
                node.disk.update(|disk| {
                    disk.channel(&grant.channel, |store| {
                        source_channel(store, cast, &grant.channel).reported(store, unreadable);
                    });
                });
            }
        });
    }

    fn forked(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).forked(now));
        });
    }

    fn answer_pull(&mut self, cast: &Cast, from: NodeId, home: NodeId, pull: &Pull) {
        let (now, granted_ms) = (self.now(home), self.nodes[home].lease_ms);
        let (run, batch) = (self.nodes[home].memory.run, self.batch);
        let channel = &pull.channel;
        let denies: Vec<_> =
            (pull.denies.iter()).filter_map(|deny| cast.by_attested(deny)).collect();
        let (terms, record) = self.nodes[home].update(|node| {
            node.disk.update(|disk| {
                for id in denies {
                    let new =
                        disk.channel(channel, |store| accept(cast, store, channel, id, &run, now));
                    if new.unwrap_or(false) {
                        let size = disk.append(&("accepted", id));
                        disk.logged.insert(id, size);
                    }
                }
                let terms = disk.channel(channel, |store| {
                    let mut machine = home_channel(store, cast, channel);
                    let mut terms = machine.grant(store, pull, granted_ms, &run, now)?;
                    terms.batch = machine.batch_of(store, &pull.applied, batch)?;
                    Ok::<_, HomeError>(terms)
                });
                let longest = terms.as_ref().ok().and_then(|terms| terms.longest_grant_ms);
                let record = longest.map(|longest| disk.append(&("longest grant", longest)));
                (terms, record)
            })
        });
        if let Some(record) = record {
            self.nodes[home].update(|node| {
                node.memory.update(|memory| memory.grants_known = record.max(memory.grants_known));
            });
        }
        let known = self.nodes[home].memory.grants_known;
        if self.prompt_witness && self.cosigned(home) < known {
            self.cosign(home);
        }
        if self.cosigned(home) < known {
            // No lease leaves before the witnesses know of the longest: unavailable.
            self.give_up(from, channel);
            return;
        }
        match terms {
            Ok(terms) => {
                let grant = Grant {
                    channel: channel.clone(),
                    nonce: pull.nonce,
                    head: terms.head,
                    granted_ms: terms.granted_ms,
                    time: now.wall,
                };
                self.judge.update(|judge| judge.grants(channel, terms.head.position.length));
                let entries = terms.batch.entries.into_iter().map(Shared::new).collect();
                let unreadable = pull.unreadable.clone();
                let head = terms.batch.head;
                let (from, to) = (home, from);
                self.send(Flight::Pulled { from, to, grant, unreadable, entries, head });
            }
            Err(_) => {
                let channel = channel.clone();
                self.send(Flight::Forked { from: home, to: from, channel });
            }
        }
    }

    /// Applies entries at a source; `None` is a fork.
    fn apply(
        &mut self,
        cast: &Cast,
        source: NodeId,
        channel: &ChannelId,
        entries: &[Shared<Entry>],
        head: ChannelHead,
    ) -> Option<Position> {
        let now = self.now(source);
        let entries: Vec<Entry> = entries.iter().map(|entry| (**entry).clone()).collect();
        let statement = HeadStatement { channel: channel.clone(), head, time: now.wall };
        self.nodes[source].update(|node| {
            // An empty answer undoes nothing; a copy would cost more than all the rest.
            let before = (!entries.is_empty()).then(|| node.disk.clone());
            let applied = node.disk.update(|disk| {
                let outcome = disk.channel(channel, |store| {
                    let mut machine = source_channel(store, cast, channel);
                    let outcome = machine.apply(store, &entries, &statement, cast, now)?;
                    Ok::<_, SourceError>((machine.applied().position, outcome.len()))
                });
                if let Ok((position, 1..)) = &outcome {
                    disk.append(&("applied", channel, position.length));
                    for paper in entries.iter().filter_map(|entry| cast.by_entry(entry)) {
                        disk.heard.entry(cast.paper(paper).pair).or_default().insert(paper);
                    }
                }
                outcome
            });
            match applied {
                Ok((position, _)) => Some(position),
                Err(_) => {
                    // Everything of it goes with the batch that was not committed.
                    if let Some(before) = before {
                        node.disk = before;
                    }
                    None
                }
            }
        })
    }
}

/// A root over the log's leaves.
fn fold(leaves: &[Hash]) -> Hash {
    leaves
        .iter()
        .fold(Hash([0; 32]), |root, leaf| wire::hash_parts("simulator/log", &[&root.0, &leaf.0]))
}

enum HandInError {
    /// It does not hold, or its key does not stand.
    Refused(String),
}

/// Accepts a paper into its channel as a home does; says whether it is new.
fn accept(
    cast: &Cast,
    store: &mut consent::memory::MemoryStore,
    channel: &ChannelId,
    id: PaperId,
    run: &Run,
    now: Now,
) -> Result<bool, HandInError> {
    let refused = |error: &dyn std::fmt::Display| HandInError::Refused(error.to_string());
    let paper = cast.paper(id);
    let subject = cast.subject(paper.pair);
    let state = store.pair(&subject).expect("memory does not fail");
    let mut machine = home_channel(store, cast, channel);
    let attested = cast.attested(id);
    let accepted = match &paper.says {
        Says::Deny { .. } | Says::Permit { .. } => {
            let admitted =
                cast.admit(id, &state, now.wall).ok_or_else(|| refused(&"not admitted"))?;
            machine.accept_decision(store, &admitted, run, now)
        }
        Says::KeyBegins { .. } => {
            let begin = cast.admit_begin(id, &state, now.wall).map_err(|error| refused(&error))?;
            machine.accept_key_begin(store, &begin, run, now)
        }
        Says::KeyEnds { .. } => {
            let end = cast.admit_end(id, &state, now.wall).map_err(|error| refused(&error))?;
            machine.accept_key_end(store, &end, run, now)
        }
        Says::Unknown { scope } => {
            let scope: Scope = cast.scope(scope);
            let body = Bytes(wire::cbor::to_vec(attested));
            let entry = Entry { seq: 0, kind: UNKNOWN_KIND, subject, scope, time: now.wall, body };
            return match machine.append_unchecked(store, entry, run, now) {
                Ok(_) => Ok(true),
                Err(error) => Err(refused(&error)),
            };
        }
    };
    match accepted {
        Ok(accepted) => Ok(!accepted.known),
        Err(HomeError::Store(fault)) => panic!("memory does not fail: {fault}"),
        Err(error) => Err(refused(&error)),
    }
}
