//! What comes from outside: decisions, requests, faults.

use super::{Event, Place, Run, at, recipients::TRIES};
use crate::{
    cast::{PairId, Paper, PaperId, PlainReopen, PlainRequest, Says},
    script::{Fault, HOUR_MS, LEASES_MS, Names, What},
    world::{NodeId, World},
};

impl Run<'_> {
    pub(super) fn inject(&mut self, n: usize) {
        let what = self.script[n].what.clone();
        let time = at(self.world.true_ms);
        match what {
            What::Permit { pair, phone, scope, uses, hours, names } => {
                let reopens = self.named(pair, phone, names);
                let until_ms = self.world.true_ms + hours * HOUR_MS;
                let says = Says::Permit { scope, reopens, until_ms, uses };
                let paper = self.cast.write(Paper { pair, phone, says }, time);
                self.count("permits");
                self.hand_in(paper, Place::Home(self.home(pair)), 0);
            }
            What::Deny { pair, phone, scope, home, direct, elsewhere } => {
                let says = Says::Deny { scope };
                let paper = self.cast.write(Paper { pair, phone, says }, time);
                self.count("denies");
                let known = self.home(pair);
                if home {
                    self.hand_in(paper, Place::Home(known), 0);
                }
                if direct {
                    self.hand_in(paper, Place::Source, 0);
                }
                if elsewhere {
                    self.hand_in(paper, Place::Home((known + 1) % self.cast.homes.len()), 0);
                }
            }
            What::Move { pair } => {
                let from = self.home(pair);
                let to = (from + 1) % self.cast.homes.len();
                if from == to || !self.moving.insert(pair) {
                    return;
                }
                let epoch = self.homes.get(&pair).map_or(0, |(_, epoch)| *epoch) + 1;
                let says = Says::Moves { from, to, epoch };
                let paper = self.cast.write(Paper { pair, phone: 0, says }, time);
                self.count("moves begun");
                self.move_on(paper, 0);
            }
            What::LosePhone { pair, keeps } => {
                if !self.lost_phones.insert(pair) {
                    return;
                }
                let permits = self.cast.papers().filter(|(_, paper)| {
                    paper.pair == pair
                        && paper.phone == 1
                        && matches!(paper.says, Says::Permit { .. })
                });
                let every_other = permits.map(|(id, _)| id).step_by(2).filter(|_| keeps);
                let keeps = every_other.collect();
                let says = Says::KeyEnds { phone: 1, keeps };
                let paper = self.cast.write(Paper { pair, phone: 0, says }, time);
                self.count("lost phones");
                self.hand_in(paper, Place::Home(self.home(pair)), 0);
            }
            What::Unknown { pair, scope } => {
                let paper =
                    self.cast.write(Paper { pair, phone: 0, says: Says::Unknown { scope } }, time);
                self.count("unknown entries");
                // It counts if it comes from the pair's home, or from one that was.
                let home = self.cast.home_of(pair);
                self.at_node(home, "paper", |world, cast| world.hand_in(cast, home, paper));
            }
            What::Read { pair, phone } => {
                self.world.read_register(&self.cast, pair);
                let denies = self.world.denies_at(&self.cast, self.home(pair), pair);
                self.seen.entry((pair, phone)).or_default().extend(denies);
            }
            What::Ask { pair, recipient, leaves, whole, fetch_ms, again_ms } => {
                let plain = PlainRequest { pair, recipient, leaves, whole };
                let request = self.new_request(plain, fetch_ms);
                self.count("requests");
                self.ask(request, 0);
                if let Some(again_ms) = again_ms {
                    let again = Event::Ask { request, tries: TRIES };
                    self.schedule(self.world.true_ms + again_ms, again);
                }
            }
            What::Present { pair, recipient, leaves, sign_ms, fetch_ms, .. } => {
                let plain = PlainRequest { pair, recipient, leaves, whole: false };
                let request = self.new_request(plain, fetch_ms);
                self.count("requests at the counter");
                let node = self.world.recipient(&self.cast, request);
                self.at_node(node, "prepared request", |world, cast| world.prepare(cast, request));
                self.schedule(self.world.true_ms + sign_ms, Event::Sign { request, script: n });
            }
            What::Fault(fault) => self.fault(fault),
        }
    }

    pub(super) fn named(&self, pair: PairId, phone: usize, names: Names) -> Vec<PlainReopen> {
        let seen = self.seen.get(&(pair, phone)).into_iter().flatten().cloned();
        match names {
            Names::Nothing => vec![],
            Names::All => seen.take(wire::limits::REOPENS).collect(),
            Names::Those(mask) => seen
                .enumerate()
                .filter(|(n, _)| mask & (1 << (n % 64)) != 0)
                .map(|(_, reopen)| reopen)
                .take(wire::limits::REOPENS)
                .collect(),
            Names::AllAndPhone => seen
                .take(wire::limits::REOPENS - 1)
                .chain([PlainReopen::Phone(1 - phone)])
                .collect(),
        }
    }

    /// Hands a paper in, and again until it was acknowledged.
    pub(super) fn hand_in(&mut self, paper: PaperId, at: Place, tries: u32) {
        let judge = &self.world.judge;
        let done = match at {
            Place::Home(home) => judge.has_accepted(home, paper),
            Place::Source => judge.told.contains_key(&paper),
        };
        if done || tries == 8 {
            return;
        }
        match at {
            Place::Home(home) => {
                self.at_node(home, "paper", |world, cast| world.hand_in(cast, home, paper));
            }
            Place::Source => {
                let source = self.world.source(&self.cast, self.cast.paper(paper).pair);
                let step = |world: &mut World, cast: &_| world.hand_direct(cast, paper);
                self.at_node(source, "deny at the source", step);
            }
        }
        let again_ms = self.world.true_ms + 15_000;
        self.schedule(again_ms, Event::HandIn { paper, at, tries: tries + 1 });
    }

    /// First the old home lets go, then the new one begins; each is asked until it has said so.
    pub(super) fn move_on(&mut self, paper: PaperId, tries: u32) {
        let Paper { pair, says: Says::Moves { from, to, epoch }, .. } = *self.cast.paper(paper)
        else {
            return;
        };
        let judge = &self.world.judge;
        let let_go = judge.has_accepted(from, paper);
        if let_go {
            self.homes.insert(pair, (to, epoch));
        }
        if judge.has_accepted(to, paper) {
            self.moving.remove(&pair);
            self.count("moves");
            return;
        }
        if let_go || tries < 40 {
            let home = if let_go { to } else { from };
            self.at_node(home, "move", |world, cast| world.hand_in(cast, home, paper));
            self.schedule(self.world.true_ms + 2_000, Event::Move { paper, tries: tries + 1 });
        } else {
            self.moving.remove(&pair);
        }
    }

    fn fault(&mut self, fault: Fault) {
        let now_ms = self.world.true_ms;
        let serves = |world: &World, node: NodeId| world.nodes[node].serves();
        let done = match fault {
            Fault::Crash { node, down_ms } => {
                self.world.crash(node);
                self.schedule(now_ms + down_ms, Event::Start(node));
                true
            }
            Fault::LoseWrite { node, .. } | Fault::MuteWrite { node } => {
                // Not always the very next one: one write may follow on another at once.
                let more = self.luck(("armed", node)).u32(0..3);
                self.armed.insert(node, (fault, more));
                false // counted when it strikes
            }
            Fault::Cut { a, b, for_ms } => {
                self.cuts.insert((a, b), now_ms + for_ms);
                true
            }
            Fault::Slow { a, b, by_ms, for_ms } => {
                self.slow.insert((a, b), (now_ms + for_ms, by_ms));
                true
            }
            Fault::Sleep { node, frozen, for_ms } => {
                // A frozen monotonic clock and a wall clock set back within one lease are together more
                // than any single machine could notice.
                let touched = self.clock_touched.get(&node).is_some_and(|until| now_ms < *until);
                if !serves(&self.world, node) || (frozen && touched) {
                    return;
                }
                if frozen {
                    self.clock_touched.insert(node, now_ms + for_ms + 2 * LEASES_MS[0]);
                }
                self.world.fall_asleep(node, frozen);
                self.schedule(now_ms + for_ms, Event::Wake(node));
                true
            }
            Fault::SetWall { node, offset_ms } => {
                if self.clock_touched.get(&node).is_some_and(|until| now_ms < *until) {
                    return;
                }
                self.clock_touched.insert(node, now_ms + 2 * LEASES_MS[0]);
                self.world.set_wall_to(node, offset_ms);
                true
            }
            Fault::BackUp { node } => {
                if serves(&self.world, node) {
                    self.world.back_up(node);
                }
                serves(&self.world, node)
            }
            Fault::Restore { node, repaired_ms } => {
                if self.world.nodes[node].backup.is_none() || !serves(&self.world, node) {
                    return;
                }
                self.newest.insert(node, self.world.nodes[node].disk.clone());
                self.world.restore(node);
                self.world.start(&self.cast, node);
                self.schedule(now_ms + repaired_ms, Event::Repair(node));
                true
            }
            Fault::SetLease { home, lease_ms } => {
                if !serves(&self.world, home) {
                    return;
                }
                self.world.set_lease(home, lease_ms);
                self.world.crash(home);
                self.schedule(now_ms + 1_000, Event::Start(home));
                true
            }
        };
        if done {
            self.outcome.faults[fault.kind()] += 1;
        }
    }
}
