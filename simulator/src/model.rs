//! The world explored exhaustively: every order of events and faults within a scenario's bounds.
//! Safety only; a scenario is done when nothing new can be reached.
//!
//! Wallets are told at the earliest moment at which a home may tell them: that is when the promise binds
//! most.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use stateright::{Model, Property};
use wire::channel::ChannelId;

use crate::{
    cast::{PairId, PaperId, RequestId},
    node::{Power, Stage},
    scenario::Scenario,
    shared::Shared,
    world::{NodeId, World},
};

/// The only pair of the model, and its nodes.
pub const PAIR: PairId = PairId { citizen: 0, source: 0 };
pub const HOME: NodeId = 0;
pub const SOURCE: NodeId = 1;
/// One step of time.
pub const TICK_MS: u64 = 1000;
/// When the story begins: permits are valid by then, whatever the clocks show.
pub const BEGIN_MS: u64 = 3_600_000;
/// How far a wall clock is set.
const JUMP_MS: i64 = 4 * TICK_MS as i64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Tick,
    HandIn(PaperId),
    HandDirect(PaperId),
    Cosign(NodeId),
    Pull,
    Push,
    Deliver(usize),
    Ask(RequestId),
    Commit(RequestId),
    Leave(RequestId),
    BackUp(NodeId),
    Wake(NodeId),
    Fault(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    Duplicate(usize),
    Lose(usize),
    /// The source waits no longer for an answer, which may still come.
    GiveUp,
    Restart(NodeId),
    Restore(NodeId),
    Sleep(NodeId),
    Freeze(NodeId),
    /// Back at the source, to stretch a lease; forward at the home, to cut a lapse short.
    SetWall(NodeId),
    /// The home's operator sets a shorter lease and restarts it.
    ShortenLease,
}

/// What a run counts, to show that it happened.
pub const KINDS: [&str; 14] = [
    "message delayed",
    "message duplicated",
    "message lost",
    "answer given up on",
    "slow fetch",
    "home crashed and restarted",
    "source crashed and restarted",
    "home restored from an old copy",
    "source restored from an old copy",
    "machine asleep",
    "machine frozen",
    "source's wall clock set back",
    "home's wall clock set forward",
    "lease setting shortened",
];

/// How much of each may happen in one history: what makes the world finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub ticks: u8,
    pub pulls: u8,
    pub pushes: u8,
    pub asks: u8,
    /// Faults of any kind.
    pub faults: u8,
    /// Most messages on their way at once.
    pub flights: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub world: World,
    left: Bounds,
    /// Which papers were handed in already, by their place in the scenario.
    handed: u32,
    direct: u32,
}

/// A scenario with the counts of what happened in it.
pub struct Explored {
    pub scenario: Scenario,
    pub counts: Arc<[AtomicU64; KINDS.len()]>,
}

impl Explored {
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, counts: Arc::default() }
    }

    fn count(&self, kind: usize) {
        self.counts[kind].fetch_add(1, Ordering::Relaxed);
    }

    fn channel(&self) -> ChannelId {
        self.scenario.cast.channel(PAIR)
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let world = &state.world;
        let mut add = |fault| actions.push(Action::Fault(fault));
        for (n, flight) in world.flights.iter().enumerate() {
            if world.nodes[flight.to()].serves() {
                add(Fault::Duplicate(n));
            }
            add(Fault::Lose(n));
        }
        if world.nodes[SOURCE].serves() && !world.flights.is_empty() {
            add(Fault::GiveUp);
        }
        for node in [HOME, SOURCE] {
            let this = &world.nodes[node];
            if !this.serves() {
                continue;
            }
            add(Fault::Restart(node));
            if this.backup.as_ref().is_some_and(|backup| *backup != this.disk) {
                add(Fault::Restore(node));
            }
            add(Fault::SetWall(node));
        }
        if world.nodes[SOURCE].serves() {
            add(Fault::Sleep(SOURCE));
            add(Fault::Freeze(SOURCE));
        }
        let home = &world.nodes[HOME];
        if home.serves() && self.scenario.shorter_ms < home.lease_ms {
            add(Fault::ShortenLease);
        }
    }

    fn strike(&self, world: &mut World, fault: Fault) {
        let cast = &self.scenario.cast;
        match fault {
            Fault::Duplicate(n) => {
                let flight = world.flights[n].clone();
                world.deliver(cast, &flight);
                self.count(1);
            }
            Fault::Lose(n) => {
                let flight = world.flights.remove(n);
                world.failed(&flight);
                self.count(2);
            }
            Fault::GiveUp => {
                world.give_up(SOURCE, &self.channel());
                self.count(3);
            }
            Fault::Restart(node) => {
                world.crash(node);
                world.start(node);
                self.count(5 + node);
            }
            Fault::Restore(node) => {
                world.restore(node);
                world.start(node);
                self.count(7 + node);
            }
            Fault::Sleep(node) => {
                world.fall_asleep(node, false);
                self.count(9);
            }
            Fault::Freeze(node) => {
                world.fall_asleep(node, true);
                self.count(10);
            }
            Fault::SetWall(SOURCE) => {
                world.set_wall(SOURCE, -JUMP_MS);
                self.count(11);
            }
            Fault::SetWall(node) => {
                world.set_wall(node, JUMP_MS);
                self.count(12);
            }
            Fault::ShortenLease => {
                world.set_lease(HOME, self.scenario.shorter_ms);
                world.crash(HOME);
                world.start(HOME);
                self.count(13);
            }
        }
    }
}

fn spend(left: &mut u8) -> Option<()> {
    *left = left.checked_sub(1)?;
    Some(())
}

impl Model for Explored {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let Scenario { cast, before, lease_ms, batch, bounds, .. } = &self.scenario;
        let mut world = World::new(cast, *lease_ms, BEGIN_MS);
        let channel = self.channel();
        for id in before {
            world.hand_in(cast, *id);
        }
        while world.owes(cast, HOME, &channel) {
            world.push(cast, HOME, &channel);
            while let Some(flight) = world.flights.pop() {
                world.deliver(cast, &flight);
            }
        }
        world.cosign(HOME);
        world.cosign(SOURCE);
        world.batch = *batch;
        world.prompt_witness = self.scenario.cosigned_at_once;
        vec![State { world, left: *bounds, handed: 0, direct: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Scenario { cast, papers, direct, requests, .. } = &self.scenario;
        let State { world, left, handed, direct: handed_direct } = state;
        if world.judge.violation.is_some() {
            return;
        }
        let (home, source) = (&world.nodes[HOME], &world.nodes[SOURCE]);
        let room = world.flights.len() < left.flights as usize;
        if left.ticks > 0 {
            actions.push(Action::Tick);
        }
        if home.serves() {
            let fresh = |n: &usize| handed & (1 << n) == 0;
            actions.extend((0..papers.len()).filter(fresh).map(|n| Action::HandIn(papers[n])));
            if room && left.pushes > 0 && world.owes(cast, HOME, &self.channel()) {
                actions.push(Action::Push);
            }
        }
        if source.serves() {
            let fresh = |n: &usize| handed_direct & (1 << n) == 0;
            actions.extend((0..direct.len()).filter(fresh).map(|n| Action::HandDirect(direct[n])));
            if room && left.pulls > 0 {
                actions.push(Action::Pull);
            }
            for request in requests {
                match source.memory.answers.get(request) {
                    None if left.asks > 0 => actions.push(Action::Ask(*request)),
                    None => {}
                    Some(Stage::Leaving(_)) => actions.push(Action::Leave(*request)),
                    Some(_) => actions.push(Action::Commit(*request)),
                }
            }
        }
        for (n, flight) in world.flights.iter().enumerate() {
            if world.nodes[flight.to()].serves() {
                actions.push(Action::Deliver(n));
            }
        }
        for node in [HOME, SOURCE] {
            if !self.scenario.cosigned_at_once && world.may_be_cosigned(node) {
                actions.push(Action::Cosign(node));
            }
            if let Power::Asleep { .. } = world.nodes[node].power {
                actions.push(Action::Wake(node));
            }
            if self.scenario.copies && left.faults > 0 && world.nodes[node].backup.is_none() {
                actions.push(Action::BackUp(node));
            }
        }
        if left.faults > 0 {
            self.faults(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let Scenario { cast, papers, direct, .. } = &self.scenario;
        let State { world, left, handed, direct: handed_direct } = &mut state;
        match action {
            Action::Tick => {
                spend(&mut left.ticks)?;
                world.true_ms += TICK_MS;
                if !world.flights.is_empty() {
                    self.count(0);
                }
                let answers = &world.nodes[SOURCE].memory.answers;
                if answers.values().any(|stage| matches!(stage, Stage::Fetching(..))) {
                    self.count(4);
                }
            }
            Action::HandIn(id) => {
                *handed |= 1 << papers.iter().position(|paper| *paper == id)?;
                world.hand_in(cast, id);
            }
            Action::HandDirect(id) => {
                *handed_direct |= 1 << direct.iter().position(|paper| *paper == id)?;
                world.hand_direct(cast, id);
            }
            Action::Cosign(node) => world.cosign(node),
            Action::Pull => {
                spend(&mut left.pulls)?;
                world.hurry(SOURCE, &self.channel());
                world.pull(cast, SOURCE, &self.channel());
            }
            Action::Push => {
                spend(&mut left.pushes)?;
                world.push(cast, HOME, &self.channel());
            }
            Action::Deliver(n) => {
                let flight = world.flights.remove(n);
                world.deliver(cast, &flight);
            }
            Action::Ask(request) => {
                spend(&mut left.asks)?;
                world.ask(cast, request);
            }
            Action::Commit(request) => world.commit(cast, request),
            Action::Leave(request) => world.leave(cast, request),
            Action::BackUp(node) => world.back_up(node),
            Action::Wake(node) => world.wake(node),
            Action::Fault(fault) => {
                spend(&mut left.faults)?;
                self.strike(world, fault);
            }
        }
        if self.scenario.cosigned_at_once {
            world.cosign(HOME);
            world.cosign(SOURCE);
        }
        world.settle();
        world.read_register(cast, PAIR);
        // The network keeps no order.
        world.flights.sort_by_key(Shared::print);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let holds = |_: &Self, state: &State| state.world.judge.violation.is_none();
        vec![Property::always("the promise", holds)]
    }
}
