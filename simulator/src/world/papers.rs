//! Papers come in: at a home, straight at a source; and what wallets are told of them.

use consent::{
    ChannelStore, PairState,
    home::{HomeError, collapse_beyond, in_force, in_force_for},
    lease::Run,
    memory::MemoryStore,
    source::accept_direct_deny,
};
use wire::{
    Bytes, Now,
    channel::{ChannelId, Entry},
    citizen::InForce,
    consent::Scope,
};

use super::{NodeId, World};
use crate::{
    cast::{Cast, PairId, PaperId, Says, UNKNOWN_KIND},
    node::{Logged, home_channel},
};

impl World {
    /// A wallet hands a paper in at a home: durable when this returns, acknowledged later. With a move
    /// to that home it brings the register of the one before; as long as it cannot get that, it waits.
    pub fn hand_in(&mut self, cast: &Cast, home: NodeId, id: PaperId) {
        let paper = cast.paper(id);
        let channel = cast.channel(home, paper.pair);
        if !self.nodes[home].serves() {
            return;
        }
        let register = match paper.says {
            Says::Moves { from, to, .. } if to == home => {
                let Some(register) = self.register(cast, from, paper.pair) else { return };
                register
            }
            _ => vec![],
        };
        let accepted = self.take(cast, home, &channel, id, &register);
        match accepted {
            Ok(()) => {
                let now = self.now(home);
                self.nodes[home].update(|node| {
                    node.memory.update(|memory| {
                        memory.waiting.insert(id);
                        memory.pusher(&channel).owed(now);
                    });
                });
            }
            Err(HandInError::Refused(error)) if matches!(paper.says, Says::Deny { .. }) => {
                self.judge.update(|judge| judge.refused_deny(id, &error));
            }
            Err(_) => {}
        }
    }

    /// A home takes a paper: one durable write.
    pub(super) fn take(
        &mut self,
        cast: &Cast,
        home: NodeId,
        channel: &ChannelId,
        id: PaperId,
        register: &[Entry],
    ) -> Result<(), HandInError> {
        let (now, most) = (self.now(home), self.denies);
        let paper = cast.paper(id);
        let subject = cast.subject(paper.pair);
        self.nodes[home].update(|node| {
            let run = node.memory.run;
            let (is_new, state) = node.disk.update(|disk| {
                let take = |store: &mut MemoryStore| {
                    let is_new = accept(cast, store, channel, id, register, &run, now)?;
                    let state = store.pair(&subject).expect("memory does not fail");
                    Ok::<_, HandInError>((is_new, state))
                };
                let (is_new, state) = disk.channel(channel, take)?;
                if is_new {
                    let at_home = state.is_home(&channel.home);
                    let size = disk.append(&("accepted", id));
                    disk.logged.insert(id, Logged { size, at_home });
                }
                Ok::<_, HandInError>((is_new, state))
            })?;
            let is_deny = matches!(paper.says, Says::Deny { .. });
            let is_crowded = is_new && is_deny && state.is_home(&channel.home);
            if is_crowded && collapse_beyond(&state, most, now.wall).is_some() {
                node.memory.update(|memory| memory.crowded.insert(paper.pair));
            }
            Ok(())
        })
    }

    /// A home collapses the denies of one of its crowded pairs: one durable write. It looks at the pair
    /// again until they are few enough.
    pub fn collapse(&mut self, cast: &Cast, home: NodeId) {
        let now = self.now(home);
        let Some(pair) = self.nodes[home].memory.crowded.first().copied() else { return };
        let (channel, subject) = (cast.channel(home, pair), cast.subject(pair));
        let most = self.denies;
        let is_collapsed = self.nodes[home].update(|node| {
            let run = node.memory.run;
            let listed = node.disk.channels.get(&channel).and_then(|store| {
                let state = store.pair(&subject).expect("memory does not fail");
                let due = collapse_beyond(&state, most, now.wall);
                let due = due.filter(|_| state.is_home(&channel.home))?;
                cast.collapse(home, pair, &state, due, now.wall)
            });
            let Some(listed) = listed else {
                node.memory.update(|memory| memory.crowded.remove(&pair));
                return false;
            };
            node.disk.update(|disk| {
                disk.channel(&channel, |store| {
                    let mut machine = home_channel(store, cast, &channel);
                    let accepted = machine.accept_collapse(store, &listed, &run, now);
                    accepted.expect("memory does not fail")
                });
                disk.append(&("collapsed", pair));
            });
            node.memory.update(|memory| memory.pusher(&channel).owed(now));
            true
        });
        if is_collapsed {
            self.judge.update(|judge| judge.collapses += 1);
        }
    }

    /// What a wallet is shown of its pair: all that the home has taken, once its witnesses know it.
    fn register(&self, cast: &Cast, home: NodeId, pair: PairId) -> Option<Vec<Entry>> {
        let node = &self.nodes[home];
        if !node.serves() || self.cosigned(home) < node.disk.size() {
            return None;
        }
        let store = node.disk.channels.get(&cast.channel(home, pair))?;
        let thread = store.thread(&cast.subject(pair)).expect("memory does not fail");
        let rows = thread.seqs.iter().map(|seq| &store.home_entries[*seq as usize]);
        Some(rows.map(|row| row.entry.clone()).collect())
    }

    /// A wallet hands a deny straight to the source.
    pub fn hand_direct(&mut self, cast: &Cast, id: PaperId) {
        let pair = cast.paper(id).pair;
        let source = self.source(cast, pair);
        if !self.nodes[source].serves() {
            return;
        }
        let now = self.now(source);
        let at = now.wall;
        let state = self.nodes[source].disk.pairs.pair(&cast.subject(pair));
        let state = state.expect("memory does not fail");
        let home = state.home.clone().unwrap_or_else(|| cast.homes[cast.home_of(pair)].clone());
        let channel = ChannelId { home, source: cast.sources[pair.source].clone() };
        let refused = self.nodes[source].update(|node| {
            let taken = node.disk.update(|disk| {
                let deny = cast.admit(id, &state, at)?;
                let new = disk.at_source(&channel, |store| accept_direct_deny(store, &deny));
                if new.expect("memory does not fail") || !disk.logged.contains_key(&id) {
                    let size = disk.append(&("direct", id));
                    disk.logged.insert(id, Logged { size, at_home: false });
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

    /// A wallet reads its register at every home that has one: each says what is in force.
    pub fn read_register(&mut self, cast: &Cast, pair: PairId) {
        for home in 0..cast.homes.len() {
            self.read_register_at(cast, home, pair);
        }
    }

    fn read_register_at(&mut self, cast: &Cast, home: NodeId, pair: PairId) {
        if !self.nodes[home].serves() {
            return;
        }
        let (now, covered) = (self.now(home), self.cosigned(home));
        let channel = cast.channel(home, pair);
        let told: Vec<_> = {
            let node = &self.nodes[home];
            let Some(store) = node.disk.channels.get(&channel) else { return };
            let subject = cast.subject(pair);
            let thread = store.thread(&subject).expect("memory does not fail");
            let unknown = PairState::default();
            let state = store.pairs.get(&subject).unwrap_or(&unknown);
            let rows = thread.seqs.iter().map(|seq| &store.home_entries[*seq as usize]);
            let machine = home_channel(store, cast, &channel);
            let run = &node.memory.run;
            rows.filter(|row| {
                let status = in_force(row, &machine, run, now);
                let status = in_force_for(state, &channel.home, status);
                matches!(status, InForce::Acknowledged(_) | InForce::LeasesLapsed(_))
            })
            .filter_map(|row| match row.decision {
                Some(id) => cast.by_decision(&id),
                None => cast.by_entry(&row.entry),
            })
            .filter(|id| node.disk.logged.get(id).is_some_and(|logged| logged.size <= covered))
            .filter(|id| !self.judge.told.contains_key(id))
            .collect()
        };
        if told.is_empty() {
            return;
        }
        let true_ms = self.true_ms;
        self.judge.update(|judge| told.into_iter().for_each(|id| judge.in_force(id, true_ms)));
    }
}

pub(super) enum HandInError {
    /// It does not hold, or its key does not stand.
    Refused(String),
}

/// Accepts a paper into its channel as a home does; says whether it is new.
pub(super) fn accept(
    cast: &Cast,
    store: &mut MemoryStore,
    channel: &ChannelId,
    id: PaperId,
    register: &[Entry],
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
            let begin = cast.admit_begin(id, channel, &state, now.wall);
            let begin = begin.map_err(|error| refused(&error))?;
            machine.accept_key_begin(store, &begin, run, now)
        }
        Says::KeyEnds { .. } => {
            let end = cast.admit_end(id, channel, &state, now.wall);
            let end = end.map_err(|error| refused(&error))?;
            machine.accept_key_end(store, &end, run, now)
        }
        Says::Moves { from, .. } => {
            let body = Bytes(wire::cbor::to_vec(attested));
            if store.home_entries.iter().any(|row| row.entry.body == body) {
                return Ok(false); // the wallet repeats what it got no answer to
            }
            let (ends, at) = (channel.home == cast.homes[*from], now.wall);
            let old = cast.channel(*from, paper.pair);
            let state = if ends { state } else { cast.adopt(&old, state, register, at) };
            let moving =
                cast.admit_move(id, channel, &state, at).map_err(|error| refused(&error))?;
            if ends {
                machine.accept_move_end(store, &moving, run, now)
            } else {
                machine.accept_move_begin(store, &moving, state, run, now)
            }
        }
        Says::Present { .. } => return Err(refused(&"it belongs to a request")),
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
