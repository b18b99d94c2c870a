//! Papers come in: at a home, straight at a source; and what wallets are told of them.

use consent::{
    ChannelStore,
    home::{HomeError, in_force},
    lease::Run,
    source::accept_direct_deny,
};
use wire::{
    Bytes, Now,
    channel::{ChannelId, Entry},
    citizen::InForce,
    consent::Scope,
};

use super::World;
use crate::{
    cast::{Cast, PairId, PaperId, Says, UNKNOWN_KIND},
    node::home_channel,
};

impl World {
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
}

pub(super) enum HandInError {
    /// It does not hold, or its key does not stand.
    Refused(String),
}

/// Accepts a paper into its channel as a home does; says whether it is new.
pub(super) fn accept(
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
