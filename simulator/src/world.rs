//! The world: homes, sources, what is on its way between them, true time, and what an outside judge has
//! seen. One step is one event at one node. The model checker and the simulator drive the same steps.

use std::collections::BTreeMap;

use consent::{
    ChannelStore, UseCount,
    guard::Guard,
    home::{HomeError, in_force},
    lease::Run,
    source::{SourceError, accept_direct_deny},
};
use exchange::{
    Declined, Evaluated, Previous, View,
    source::{ChannelView, PairView},
};
use wire::{
    Bytes, Hash, Nonce, Now, ServiceId,
    channel::{ChannelHead, ChannelId, Entry, Grant, HeadStatement, Position, Pull},
    citizen::InForce,
    consent::Scope,
};

use crate::{
    cast::{Cast, PairId, PaperId, RequestId, Says, UNKNOWN_KIND},
    judge::Judge,
    node::{Memory, Node, Power, Role, Stage, Stored, home_channel, source_channel},
    shared::Shared,
};

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

/// What a source reads before it decides, as one view of its store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    subject: ServiceId,
    state: consent::PairState,
    channel: ChannelId,
    applied: ChannelHead,
    lease: Result<consent::lease::Lease, consent::lease::NoLease>,
    uses: BTreeMap<wire::DecisionId, UseCount>,
    previous: Option<Stored>,
    now: Now,
}

impl Facts {
    fn view(&self) -> View<'_> {
        View {
            pair: Some(PairView {
                subject: &self.subject,
                state: &self.state,
                channel: Some(ChannelView {
                    id: &self.channel,
                    applied: &self.applied,
                    lease: self.lease.as_ref().map_err(|none| *none),
                }),
            }),
            uses: &self.uses,
            present: None,
            previous: self.previous.as_ref().map(|stored| Previous {
                released: &stored.released,
                presentation: &stored.presentation,
            }),
            at: self.now.wall,
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
                node.memory.update(|memory| memory.pusher(channel).acknowledged(false, now));
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
                    let more = node.disk.update(|disk| {
                        disk.channel(channel, |store| {
                            let mut machine = home_channel(store, cast, channel);
                            machine.acknowledge(store, position, now).ok()?;
                            Some(machine.acknowledged() < machine.head().position.length)
                        })
                    });
                    node.memory.update(|memory| match more {
                        Some(more) => memory.pusher(channel).acknowledged(more, now),
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
        let terms = self.nodes[home].update(|node| {
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
                if let Ok(Some(longest)) = terms.as_ref().map(|terms| terms.longest_grant_ms) {
                    disk.append(&("longest grant", longest));
                }
                terms
            })
        });
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

    fn facts(&self, cast: &Cast, request: RequestId, source: NodeId) -> Facts {
        let pair = cast.request(request).pair;
        let channel = cast.channel(pair);
        let node = &self.nodes[source];
        let now = self.now(source);
        let store = node.disk.channels.get(&channel).cloned().unwrap_or_default();
        let applied = *source_channel(&store, cast, &channel).applied();
        let lease = match node.memory.pulls.get(&channel) {
            Some(puller) => puller.live(&applied.position, now).copied(),
            None => Err(consent::lease::NoLease::Never),
        };
        let subject = cast.subject(pair);
        Facts {
            state: store.pair(&subject).expect("memory does not fail"),
            subject,
            channel,
            applied,
            lease,
            uses: store.uses.clone(),
            previous: node.disk.releases.get(&request).cloned(),
            now,
        }
    }

    /// A recipient asks, for the first time or again.
    pub fn ask(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() || self.nodes[source].memory.answers.contains_key(&request)
        {
            return;
        }
        let facts = self.facts(cast, request, source);
        let stage = match cast.authentic(request).evaluate(&facts.view()) {
            Ok(Evaluated::Fetch(allowed)) => {
                let stale = (!Guard::EvaluateInCommit.holds()).then(|| Shared::new(facts));
                Stage::Fetching(Shared::new(allowed), stale)
            }
            Ok(Evaluated::Resend(resend)) => Stage::Again(Shared::new(resend)),
            Err(declined) => {
                // Of what stands there, only a refusal is about consent.
                if let (Some(stored), Ok(_), Declined::Refused(_)) =
                    (&facts.previous, &facts.lease, &declined)
                {
                    let (leaves, heard) =
                        self.passed_on(cast, request, source, &stored.released.leaves);
                    let wall_ms = since_start(facts.now);
                    self.judge.update(|judge| {
                        judge.retry_declined(cast, request, &leaves, &heard, wall_ms, &declined);
                    });
                }
                return;
            }
        };
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.insert(request, stage));
        });
    }

    /// The records are there: evaluated again inside the durable write.
    pub fn commit(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() {
            return;
        }
        let Some(stage) = self.nodes[source].memory.answers.get(&request).cloned() else { return };
        let facts = self.facts(cast, request, source);
        let at = trust::testing::NOW;
        let committed = match &stage {
            Stage::Fetching(allowed, stale) => {
                let number = cast.request(request).pair.source;
                let facts = stale.as_deref().unwrap_or(&facts);
                match cast.prepare(request, (**allowed).clone(), number, at) {
                    Some(prepared) => prepared.commit(&facts.view()),
                    None => return,
                }
            }
            Stage::Again(resend) => (**resend).clone().commit(&facts.view()),
            Stage::Leaving(_) => return,
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(_) => {
                self.forget(source, request);
                return;
            }
        };
        if let Some(write) = committed.write() {
            let (leaves, heard) = self.passed_on(cast, request, source, &write.released.leaves);
            let (true_ms, wall_ms) = (self.true_ms, since_start(facts.now));
            self.judge.update(|judge| {
                judge.released(cast, request, &leaves, &heard, (true_ms, wall_ms));
            });
            let stored = Stored {
                released: write.released.clone(),
                presentation: write.presentation.to_vec(),
            };
            let uses = write.uses.to_vec();
            self.nodes[source].update(|node| {
                node.disk.update(|disk| {
                    disk.append(&("release", request));
                    disk.releases.insert(request, stored);
                    if Guard::UseInSameWrite.holds() {
                        disk.channel(&facts.channel, |store| store.uses.extend(uses));
                    }
                });
            });
        }
        let stage = Stage::Leaving(Shared::new(committed));
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.insert(request, stage));
        });
    }

    /// The last look, then the bytes leave.
    pub fn leave(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() {
            return;
        }
        let answer = self.nodes[source].memory.answers.get(&request).cloned();
        let Some(Stage::Leaving(committed)) = answer else { return };
        let facts = self.facts(cast, request, source);
        let sent = (*committed).clone().send(&facts.view());
        self.forget(source, request);
        if sent.is_ok()
            && let Some(stored) = &facts.previous
        {
            let (leaves, heard) = self.passed_on(cast, request, source, &stored.released.leaves);
            let (true_ms, wall_ms) = (self.true_ms, since_start(facts.now));
            self.judge
                .update(|judge| judge.left(cast, request, &leaves, &heard, (true_ms, wall_ms)));
        }
    }

    fn forget(&mut self, source: NodeId, request: RequestId) {
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.remove(&request));
        });
    }

    /// What passed on which permit, and what the source has heard of the pair, in plain words.
    fn passed_on(
        &self,
        cast: &Cast,
        request: RequestId,
        source: NodeId,
        leaves: &[(wire::ItemType, wire::DecisionId)],
    ) -> (Vec<(u8, PaperId)>, std::collections::BTreeSet<PaperId>) {
        let leaves = leaves.iter().map(|(item, permit)| {
            let leaf = crate::cast::LEAVES.iter().position(|name| *name == item.as_str());
            let permit = cast.by_decision(permit).expect("a permit of the cast");
            (1 << leaf.expect("a leaf of the cast"), permit)
        });
        let heard = self.nodes[source].disk.heard.get(&cast.request(request).pair);
        (leaves.collect(), heard.cloned().unwrap_or_default())
    }

    /// The process dies; what was not durable is gone.
    pub fn crash(&mut self, node: NodeId) {
        let now = self.now(node);
        self.nodes[node].update(|node| {
            node.power = Power::Off;
            node.memory = Shared::new(Memory::new(0, now));
        });
    }

    /// The process starts, and asks its witnesses whether its log was longer.
    pub fn start(&mut self, node: NodeId) {
        self.runs += 1;
        let (run, now) = (self.runs, self.now(node));
        let log = &self.nodes[node].disk.log;
        let longer = self.witnessed.get(&node).is_some_and(|(size, root)| {
            *size > log.len() as u64 || fold(&log[..*size as usize]) != *root
        });
        let restored = longer && Guard::StartCheck.holds();
        self.nodes[node].update(|node| {
            node.power = if restored { Power::Restored } else { Power::Serving };
            let mut memory = Memory::new(run, now);
            for (channel, store) in &node.disk.channels {
                let Some(machine) = &store.home_channel else { continue };
                if machine.acknowledged() < machine.head().position.length {
                    memory.pusher(channel).owed(now);
                }
            }
            node.memory = Shared::new(memory);
        });
        // Only a disk that was replaced can lack anything, and that comes with a start.
        let this = &self.nodes[node];
        if this.serves() && this.role == Role::Home(node) && self.judge.lacks(node, &this.disk) {
            let disk = this.disk.clone();
            self.judge.update(|judge| judge.lost(node, &disk));
        }
    }

    pub fn back_up(&mut self, node: NodeId) {
        self.nodes[node].update(|node| node.backup = Some(node.disk.clone()));
    }

    /// The disk is replaced by the old copy; the process is dead.
    pub fn restore(&mut self, node: NodeId) {
        self.crash(node);
        self.nodes[node].update(|node| {
            if let Some(backup) = node.backup.take() {
                node.disk = backup;
            }
        });
    }

    /// The machine sleeps (its monotonic clock goes on) or is frozen (it stands still).
    pub fn fall_asleep(&mut self, node: NodeId, frozen: bool) {
        let since_ms = self.true_ms;
        self.nodes[node].update(|node| node.power = Power::Asleep { since_ms, frozen });
    }

    pub fn wake(&mut self, node: NodeId) {
        let true_ms = self.true_ms;
        self.nodes[node].update(|node| {
            if let Power::Asleep { since_ms, frozen } = node.power {
                if frozen {
                    node.clocks.frozen_ms += true_ms - since_ms;
                }
                node.power = Power::Serving;
            }
        });
    }

    pub fn set_lease(&mut self, home: NodeId, lease_ms: u64) {
        self.nodes[home].update(|node| node.lease_ms = lease_ms);
    }

    /// The source would like to pull before its time.
    pub fn hurry(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).hurry(now));
        });
    }

    /// The connection broke under a message: whoever waits for its answer knows.
    pub fn failed(&mut self, flight: &Flight) {
        let (node, pull, channel) = match flight {
            Flight::Pull { from, pull, .. } => (*from, true, &pull.channel),
            Flight::Pulled { to, grant, .. } => (*to, true, &grant.channel),
            Flight::Forked { to, channel, .. } => (*to, true, channel),
            Flight::Push { from, channel, .. } => (*from, false, channel),
            Flight::Applied { to, channel, .. } => (*to, false, channel),
        };
        if !self.nodes[node].serves() {
            return;
        }
        let now = self.now(node);
        self.nodes[node].update(|node| {
            node.memory.update(|memory| match pull {
                true => memory.puller(channel).failed(now),
                false => memory.pusher(channel).failed(now),
            });
        });
    }

    /// The source waits no longer for the answer to its pull.
    pub fn give_up(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).failed(now));
        });
    }

    /// The operator puts the newest disk back.
    pub fn repair(&mut self, node: NodeId, disk: Shared<crate::node::Disk>) {
        self.crash(node);
        self.nodes[node].update(|node| node.disk = disk);
    }

    /// The denies of a pair that a wallet sees in its register; none if the home does not answer.
    pub fn denies_at_home(&self, cast: &Cast, pair: PairId) -> Vec<PaperId> {
        let home = &self.nodes[self.home(cast, pair)];
        let Some(store) = home.disk.channels.get(&cast.channel(pair)) else { return vec![] };
        if !home.serves() {
            return vec![];
        }
        let state = store.pair(&cast.subject(pair)).expect("memory does not fail");
        state.denies.keys().filter_map(|id| cast.by_decision(id)).collect()
    }

    pub fn set_drift(&mut self, node: NodeId, ppm: i64) {
        self.nodes[node].update(|node| node.clocks.drift_ppm = ppm);
    }

    pub fn set_wall_to(&mut self, node: NodeId, offset_ms: i64) {
        self.nodes[node].update(|node| node.clocks.wall_offset_ms = offset_ms);
    }

    pub fn set_wall(&mut self, node: NodeId, by_ms: i64) {
        self.nodes[node].update(|node| node.clocks.wall_offset_ms += by_ms);
    }
}

/// What a node's wall clock shows, as the plain words count it.
fn since_start(now: Now) -> u64 {
    now.wall.ms_since(trust::testing::NOW)
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
