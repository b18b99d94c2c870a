//! The network and the clocks between the nodes: what was said goes on its way, timers are set.

use super::{COSIGN_MS, Event, Lane, Run};
use crate::{
    shared::Shared,
    world::{Flight, NodeId},
};

impl Run<'_> {
    /// Sends what was said, sets timers, looks for a violation.
    pub(super) fn after(&mut self) {
        for (n, flight) in std::mem::take(&mut self.world.flights).into_iter().enumerate() {
            self.dispatch(n, flight);
        }
        for node in 0..self.world.nodes.len() {
            if self.world.may_be_cosigned(node) && self.cosigning.insert(node) {
                self.schedule(self.world.true_ms + COSIGN_MS, Event::Cosign(node));
            }
            let memory = &self.world.nodes[node].memory;
            let (answers, collapses) = (!memory.pulled.is_empty(), !memory.crowded.is_empty());
            if answers && self.answering.insert(node) {
                self.schedule(self.world.true_ms + 1, Event::Answer(node));
            }
            if collapses && self.collapsing.insert(node) {
                self.schedule(self.world.true_ms + 2, Event::Collapse(node));
            }
        }
        for lane in 0..self.lanes.len() {
            self.set_timers(lane);
        }
        if let Some(violation) = &self.world.judge.violation {
            self.outcome.violation = Some(violation.clone());
            self.outcome.violated_ms = self.world.true_ms;
        }
    }

    /// A node's timers run on its own clock; a little late never hurts.
    pub(super) fn set_timers(&mut self, lane: usize) {
        let now_ms = self.world.true_ms;
        let Lane { channel, home, source, pull_ms, push_ms } = &self.lanes[lane];
        let due = |node: NodeId, wake_ms: u64| {
            let wait_ms = wake_ms.saturating_sub(self.world.now(node).mono_ms);
            now_ms + wait_ms + wait_ms / 1000 + 1
        };
        let (home_node, source_node) = (&self.world.nodes[*home], &self.world.nodes[*source]);
        let pull = source_node.serves().then(|| {
            let puller = source_node.memory.pulls.get(channel);
            due(*source, puller.map_or(0, |puller| puller.wake_at_ms()))
        });
        let pusher = home_node.memory.pushes.get(channel).filter(|_| home_node.serves());
        let push = pusher.and_then(|pusher| pusher.wake_at_ms()).map(|wake_ms| due(*home, wake_ms));
        let sooner =
            |new: Option<u64>, set: Option<u64>| new.filter(|new| set.is_none_or(|set| *new < set));
        let (pull, push) = (sooner(pull, *pull_ms), sooner(push, *push_ms));
        if let Some(due_ms) = pull {
            self.lanes[lane].pull_ms = pull;
            self.schedule(due_ms, Event::Pull(lane));
        }
        if let Some(due_ms) = push {
            self.lanes[lane].push_ms = push;
            self.schedule(due_ms, Event::Push(lane));
        }
    }

    /// Puts a message on its way: lost, late, twice, or as it should be.
    fn dispatch(&mut self, n: usize, flight: Shared<Flight>) {
        let (from, to) = (flight.from(), flight.to());
        let link = (from.min(to), from.max(to));
        let now_ms = self.world.true_ms;
        let mut luck = self.luck(("flight", n, from, to));
        if self.cuts.get(&link).is_some_and(|until| now_ms < *until) || luck.u32(0..200) == 0 {
            self.outcome.faults[12] += 1;
            // Sometimes the connection says so.
            if luck.bool() {
                self.world.failed(&flight);
            }
            return;
        }
        let slow = self.slow.get(&link).filter(|(until, _)| now_ms < *until).map(|(_, by)| *by);
        let delay_ms = 1 + luck.u64(0..30) + slow.map_or(0, |by| luck.u64(0..by));
        if luck.u32(0..200) == 0 {
            self.outcome.faults[13] += 1;
            let again_ms = now_ms + delay_ms + luck.u64(0..90_000);
            self.schedule(again_ms, Event::Arrive(flight.clone()));
        }
        self.schedule(now_ms + delay_ms, Event::Arrive(flight));
    }
}
