//! What comes from outside: decisions, requests, faults.

use super::{Event, Run, at};
use crate::{
    cast::{PairId, Paper, PaperId, PlainReopen, PlainRequest, RequestId, Says},
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
                self.hand_in(paper, false, 0);
            }
            What::Deny { pair, phone, scope, home, direct } => {
                let says = Says::Deny { scope };
                let paper = self.cast.write(Paper { pair, phone, says }, time);
                self.count("denies");
                if home {
                    self.hand_in(paper, false, 0);
                }
                if direct {
                    self.hand_in(paper, true, 0);
                }
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
                self.hand_in(paper, false, 0);
            }
            What::Unknown { pair, scope } => {
                let paper =
                    self.cast.write(Paper { pair, phone: 0, says: Says::Unknown { scope } }, time);
                self.count("unknown entries");
                let home = self.world.home(&self.cast, pair);
                self.at_node(home, |world, cast| world.hand_in(cast, paper));
            }
            What::Read { pair, phone } => {
                self.world.read_register(&self.cast, pair);
                let denies = self.world.denies_at_home(&self.cast, pair);
                self.seen.entry((pair, phone)).or_default().extend(denies);
            }
            What::Ask { pair, recipient, leaves, whole, fetch_ms, again_ms } => {
                let request = self.cast.ask(PlainRequest { pair, recipient, leaves, whole }, time);
                self.fetches.insert(request, fetch_ms);
                self.count("requests");
                self.ask(request);
                if let Some(again_ms) = again_ms {
                    self.schedule(self.world.true_ms + again_ms, Event::AskAgain(request));
                }
            }
            What::Fault(fault) => self.fault(fault),
        }
    }

    fn named(&self, pair: PairId, phone: usize, names: Names) -> Vec<PlainReopen> {
        let seen = self.seen.get(&(pair, phone)).into_iter().flatten();
        let denies = seen.map(|id| PlainReopen::Deny(*id));
        match names {
            Names::None => vec![],
            Names::All => denies.take(wire::limits::REOPENS).collect(),
            Names::Some(mask) => denies
                .enumerate()
                .filter(|(n, _)| mask & (1 << (n % 64)) != 0)
                .map(|(_, deny)| deny)
                .take(wire::limits::REOPENS)
                .collect(),
            Names::AllAndPhone => denies
                .take(wire::limits::REOPENS - 1)
                .chain([PlainReopen::Phone(1 - phone)])
                .collect(),
        }
    }

    /// Hands a paper in, and again until it was acknowledged.
    pub(super) fn hand_in(&mut self, paper: PaperId, direct: bool, tries: u32) {
        let judge = &self.world.judge;
        let done = if direct { &judge.told } else { &judge.accepted };
        if done.contains_key(&paper) || tries == 20 {
            return;
        }
        let pair = self.cast.paper(paper).pair;
        if direct {
            let source = self.world.source(&self.cast, pair);
            self.at_node(source, |world, cast| world.hand_direct(cast, paper));
        } else {
            let home = self.world.home(&self.cast, pair);
            self.at_node(home, |world, cast| world.hand_in(cast, paper));
        }
        let again_ms = self.world.true_ms + 15_000;
        self.schedule(again_ms, Event::HandIn { paper, direct, tries: tries + 1 });
    }

    pub(super) fn ask(&mut self, request: RequestId) {
        self.world.ask(&self.cast, request);
        let fetch_ms = self.fetches.get(&request).copied().unwrap_or(0);
        self.schedule(self.world.true_ms + fetch_ms, Event::Commit(request));
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
                self.armed.insert(node, fault);
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
                self.world.start(node);
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
