//! The world explored exhaustively: every order of events and faults within a scenario's bounds.
//! Safety only; a scenario is done when nothing new can be reached.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use stateright::{Model, Property};
use wire::channel::ChannelId;

use crate::{
    cast::{
        ALL_LEAVES, Cast, PairId, Paper, PaperId, PlainReopen, PlainRequest, PlainScope, PlainUses,
        RequestId, Says, Size,
    },
    world::{NodeId, World},
};

/// The only pair of the model, and its nodes.
pub const PAIR: PairId = PairId { citizen: 0, source: 0 };
pub const HOME: NodeId = 0;
pub const SOURCE: NodeId = 1;
/// One step of time.
pub const TICK_MS: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Tick,
    HandIn(PaperId),
    HandDirect(PaperId),
    Cosign(NodeId),
    ReadRegister,
    Pull,
    Push,
    Deliver(usize),
    Duplicate(usize),
    Lose(usize),
    /// The source waits no longer for an answer, which may still come.
    GiveUp,
    Ask(RequestId),
    Commit(RequestId),
    Leave(RequestId),
    Restart(NodeId),
    BackUp(NodeId),
    Restore(NodeId),
    Sleep(NodeId),
    Freeze(NodeId),
    Wake(NodeId),
    SetWall(NodeId, i64),
    /// The home's operator sets a shorter lease and restarts it.
    ShortenLease,
}

/// Kinds of fault, for the counts that a run prints.
pub const FAULTS: [&str; 11] = [
    "message lost",
    "message duplicated",
    "message delayed",
    "slow fetch",
    "home restarted",
    "source restarted",
    "home restored from an old copy",
    "source restored from an old copy",
    "machine asleep or frozen",
    "wall clock set",
    "lease setting changed",
];

/// How much of each may happen in one history: what makes the world finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub ticks: u8,
    pub pulls: u8,
    pub pushes: u8,
    pub cosigns: u8,
    pub registers: u8,
    pub asks: u8,
    pub losses: u8,
    pub duplicates: u8,
    pub home_restarts: u8,
    pub source_restarts: u8,
    pub home_restores: u8,
    pub source_restores: u8,
    pub sleeps: u8,
    pub wall_sets: u8,
    pub shorter_leases: u8,
    /// Most messages on their way at once.
    pub flights: u8,
}

impl Bounds {
    pub const NONE: Self = Self {
        ticks: 0,
        pulls: 0,
        pushes: 0,
        cosigns: 0,
        registers: 0,
        asks: 0,
        losses: 0,
        duplicates: 0,
        home_restarts: 0,
        source_restarts: 0,
        home_restores: 0,
        source_restores: 0,
        sleeps: 0,
        wall_sets: 0,
        shorter_leases: 0,
        flights: 2,
    };
}

/// One exhaustible corner of the world.
pub struct Scenario {
    pub name: &'static str,
    pub cast: Cast,
    /// Accepted, cosigned and applied before the story begins.
    pub before: Vec<PaperId>,
    /// What wallets may hand in, each once: at the home, and denies at the source too.
    pub papers: Vec<PaperId>,
    pub direct: Vec<PaperId>,
    pub requests: Vec<RequestId>,
    /// What the home grants.
    pub lease_ms: u64,
    /// The setting after [`Action::ShortenLease`].
    pub shorter_ms: u64,
    pub bounds: Bounds,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub world: World,
    left: Bounds,
    handed: u32,
    direct: u32,
}

/// A scenario with the counts of what happened in it.
pub struct Explored {
    pub scenario: Scenario,
    pub faults: Arc<[AtomicU64; FAULTS.len()]>,
}

impl Explored {
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, faults: Arc::default() }
    }

    fn count(&self, fault: usize) {
        self.faults[fault].fetch_add(1, Ordering::Relaxed);
    }

    fn channel(&self) -> ChannelId {
        self.scenario.cast.channel(PAIR)
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
        let Scenario { cast, before, lease_ms, bounds, .. } = &self.scenario;
        let mut world = World::new(cast, *lease_ms, 0);
        for id in before {
            world.hand_in(cast, *id);
        }
        let channel = self.channel();
        // Applied, and the home has heard of it.
        while !world.flights.is_empty() || world.owes(cast, HOME, &channel) {
            world.push(cast, HOME, &channel);
            for flight in std::mem::take(&mut world.flights) {
                world.deliver(cast, &flight);
            }
        }
        world.cosign(HOME);
        world.cosign(SOURCE);
        vec![State { world, left: *bounds, handed: 0, direct: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Scenario { papers, direct, requests, shorter_ms, .. } = &self.scenario;
        let State { world, left, .. } = state;
        if world.judge.violation.is_some() {
            return;
        }
        let (home, source) = (&world.nodes[HOME], &world.nodes[SOURCE]);
        let room = world.flights.len() < left.flights as usize;
        if left.ticks > 0 {
            actions.push(Action::Tick);
        }
        if home.serves() {
            let fresh = |n: &usize| state.handed & (1 << n) == 0;
            actions.extend((0..papers.len()).filter(fresh).map(|n| Action::HandIn(papers[n])));
            if left.registers > 0 {
                actions.push(Action::ReadRegister);
            }
            if room && left.pushes > 0 && world.owes(&self.scenario.cast, HOME, &self.channel()) {
                actions.push(Action::Push);
            }
        }
        if source.serves() {
            if left.losses > 0 && !world.flights.is_empty() {
                actions.push(Action::GiveUp);
            }
            let fresh = |n: &usize| state.direct & (1 << n) == 0;
            actions.extend((0..direct.len()).filter(fresh).map(|n| Action::HandDirect(direct[n])));
            if room && left.pulls > 0 {
                actions.push(Action::Pull);
            }
            for request in requests {
                match source.memory.answers.get(request) {
                    None if left.asks > 0 => actions.push(Action::Ask(*request)),
                    None => {}
                    Some(crate::node::Stage::Leaving(_)) => actions.push(Action::Leave(*request)),
                    Some(_) => actions.push(Action::Commit(*request)),
                }
            }
        }
        for node in [HOME, SOURCE] {
            if left.cosigns > 0 && world.may_be_cosigned(node) {
                actions.push(Action::Cosign(node));
            }
        }
        for n in 0..world.flights.len() {
            if world.nodes[world.flights[n].to()].serves() {
                actions.push(Action::Deliver(n));
                if left.duplicates > 0 {
                    actions.push(Action::Duplicate(n));
                }
            }
            if left.losses > 0 {
                actions.push(Action::Lose(n));
            }
        }
        let restarts = [
            (HOME, left.home_restarts, left.home_restores),
            (SOURCE, left.source_restarts, left.source_restores),
        ];
        for (node, restarts, restores) in restarts {
            let this = &world.nodes[node];
            if restarts > 0 && this.serves() {
                actions.push(Action::Restart(node));
            }
            if restores > 0 && this.serves() {
                actions.push(if this.backup.is_some() {
                    Action::Restore(node)
                } else {
                    Action::BackUp(node)
                });
            }
            if let crate::node::Power::Asleep { .. } = this.power {
                actions.push(Action::Wake(node));
            } else if left.sleeps > 0 && this.serves() {
                actions.push(Action::Sleep(node));
                actions.push(Action::Freeze(node));
            }
            if left.wall_sets > 0 && this.serves() {
                // Back at the source, to stretch a lease; forward at the home, to cut a lapse short.
                let by = if node == SOURCE { -3 } else { 3 };
                actions.push(Action::SetWall(node, by * TICK_MS as i64));
            }
        }
        if left.shorter_leases > 0 && home.serves() && *shorter_ms < home.lease_ms {
            actions.push(Action::ShortenLease);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let cast = &self.scenario.cast;
        let State { world, left, .. } = &mut state;
        match action {
            Action::Tick => {
                spend(&mut left.ticks)?;
                world.true_ms += TICK_MS;
                if !world.flights.is_empty() {
                    self.count(2);
                }
                if world.nodes[SOURCE]
                    .memory
                    .answers
                    .values()
                    .any(|stage| matches!(stage, crate::node::Stage::Fetching(..)))
                {
                    self.count(3);
                }
            }
            Action::HandIn(id) => {
                let n = self.scenario.papers.iter().position(|paper| *paper == id)?;
                state.handed |= 1 << n;
                state.world.hand_in(cast, id);
            }
            Action::HandDirect(id) => {
                let n = self.scenario.direct.iter().position(|paper| *paper == id)?;
                state.direct |= 1 << n;
                state.world.hand_direct(cast, id);
            }
            Action::Cosign(node) => {
                spend(&mut left.cosigns)?;
                world.cosign(node);
            }
            Action::ReadRegister => {
                spend(&mut left.registers)?;
                world.read_register(cast, PAIR);
            }
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
            Action::GiveUp => {
                spend(&mut left.losses)?;
                world.give_up(SOURCE, &self.channel());
                self.count(2);
            }
            Action::Duplicate(n) => {
                spend(&mut left.duplicates)?;
                let flight = world.flights[n].clone();
                world.deliver(cast, &flight);
                self.count(1);
            }
            Action::Lose(n) => {
                spend(&mut left.losses)?;
                let flight = world.flights.remove(n);
                world.failed(&flight);
                self.count(0);
            }
            Action::Ask(request) => {
                spend(&mut left.asks)?;
                world.ask(cast, request);
            }
            Action::Commit(request) => world.commit(cast, request),
            Action::Leave(request) => world.leave(cast, request),
            Action::Restart(node) => {
                let (budget, fault) = if node == HOME {
                    (&mut left.home_restarts, 4)
                } else {
                    (&mut left.source_restarts, 5)
                };
                spend(budget)?;
                world.crash(node);
                world.start(node);
                self.count(fault);
            }
            Action::BackUp(node) => world.back_up(node),
            Action::Restore(node) => {
                let (budget, fault) = if node == HOME {
                    (&mut left.home_restores, 6)
                } else {
                    (&mut left.source_restores, 7)
                };
                spend(budget)?;
                world.restore(node);
                world.start(node);
                self.count(fault);
            }
            Action::Sleep(node) | Action::Freeze(node) => {
                spend(&mut left.sleeps)?;
                world.fall_asleep(node, action == Action::Freeze(node));
                self.count(8);
            }
            Action::Wake(node) => world.wake(node),
            Action::SetWall(node, by) => {
                spend(&mut left.wall_sets)?;
                world.set_wall(node, by);
                self.count(9);
            }
            Action::ShortenLease => {
                spend(&mut left.shorter_leases)?;
                world.set_lease(HOME, self.scenario.shorter_ms);
                world.crash(HOME);
                world.start(HOME);
                self.count(10);
            }
        }
        state.world.settle();
        // The network keeps no order.
        state.world.flights.sort_by_key(crate::shared::Shared::print);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("no violation", |_, state: &State| {
            state.world.judge.violation.is_none()
        })]
    }
}

/// A permit and a deny that meet, at the home and straight at the source, under every fault.
pub fn scenario(bounds: Bounds) -> Scenario {
    let mut cast = Cast::new(Size { homes: 1, sources: 1, recipients: 1, citizens: 1 });
    let at = trust::testing::NOW;
    let mut write = |phone, says| cast.write(Paper { pair: PAIR, phone, says }, at);
    let scope = PlainScope { recipient: Some(0), leaves: 0b010 };
    let everything = PlainScope { recipient: None, leaves: ALL_LEAVES };
    let permit = |reopens, uses| Says::Permit { scope, reopens, until_ms: 3_600_000, uses };
    let begins = [write(0, Says::KeyBegins { phone: 0 }), write(0, Says::KeyBegins { phone: 1 })];
    let once = write(0, permit(vec![], PlainUses::Once));
    let deny = write(0, Says::Deny { scope });
    let reopening = write(1, permit(vec![PlainReopen::Deny(deny)], PlainUses::Unlimited));
    let stop = write(1, Says::Deny { scope: everything });
    let request = PlainRequest { pair: PAIR, recipient: 0, leaves: 0b010, whole: true };
    let requests = vec![cast.ask(request.clone(), at), cast.ask(request, at)];
    let _ = stop;
    Scenario {
        name: "a deny and a permit that reopens it",
        before: vec![begins[0], begins[1], once],
        papers: vec![deny, reopening],
        direct: vec![deny],
        requests,
        lease_ms: 2000,
        shorter_ms: 2000,
        bounds,
        cast,
    }
}
