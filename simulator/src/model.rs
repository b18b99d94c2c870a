//! The world explored exhaustively: every order of events and faults within a scenario's bounds.
//! Safety only; a scenario is done when nothing new can be reached.
//!
//! Wallets are told at the earliest moment at which a home may tell them: that is when the promise binds
//! most.

mod bounds;
mod counts;

use exchange::Answer;
use stateright::{Model, Property};
use wire::Bytes;

use crate::{
    cast::{PairId, PaperId, RequestId, Says},
    node::{Power, Role, Stage},
    scenario::Scenario,
    shared::Shared,
    world::{NodeId, World},
};

pub use bounds::Bounds;
pub use counts::{Counts, Kind};

/// The only pair of the model, and where its citizen begins.
pub const PAIR: PairId = PairId { citizen: 0, source: 0 };
pub const HOME: NodeId = 0;
/// One step of time.
pub const TICK_MS: u64 = 1000;
/// When the story begins: permits are valid by then, whatever the clocks show.
pub const BEGIN_MS: u64 = 3_600_000;
/// How far a wall clock is set.
const JUMP_MS: i64 = 4 * TICK_MS as i64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Tick,
    /// A paper, by its place in the scenario.
    HandIn(usize),
    HandDirect(PaperId),
    Cosign(NodeId),
    /// The channel from a home.
    Pull(NodeId),
    Push(NodeId),
    Deliver(usize),
    Ask(RequestId),
    Prepare(RequestId),
    Attach(RequestId, PaperId),
    Commit(RequestId),
    Leave(RequestId),
    SendReceipt(RequestId),
    /// A home goes on with the pull it is answering.
    Answer(NodeId),
    Collapse(NodeId),
    BackUp(NodeId),
    Wake(NodeId),
    /// A node that died starts again.
    Start(NodeId),
    Fault(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    Duplicate(usize),
    Lose(usize),
    /// The source waits no longer for a home's answer, which may still come.
    GiveUp(NodeId),
    Crash(NodeId),
    /// It dies, and its disk is replaced by an old copy.
    Restore(NodeId),
    Sleep(NodeId),
    Freeze(NodeId),
    /// Back at the source, to stretch a lease; forward at the home, to cut a lapse short.
    SetWall(NodeId),
    /// The home's operator sets a shorter lease and restarts it.
    ShortenLease,
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
    pub counts: Counts,
    source: NodeId,
    recipient: NodeId,
    /// The requests as their recipient first signs them, for stories in which they just come.
    signed: Vec<Shared<Bytes>>,
}

impl Explored {
    pub fn new(scenario: Scenario) -> Self {
        let cast = &scenario.cast;
        let source = cast.homes.len();
        let signed = scenario.requests.iter().map(|id| {
            Shared::new(Bytes(cast.sign_request(*id, &cast.draft(*id, 0)).bytes().to_vec()))
        });
        let signed = signed.collect();
        let counts = Counts::default();
        Self { counts, source, recipient: source + cast.sources.len(), signed, scenario }
    }

    fn homes(&self) -> std::ops::Range<NodeId> {
        0..self.source
    }

    /// The nodes that are part of the story.
    fn nodes(&self) -> std::ops::Range<NodeId> {
        0..if self.scenario.recipient_apart { self.recipient + 1 } else { self.recipient }
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
        let source = &world.nodes[self.source];
        if source.serves() && !world.flights.is_empty() {
            self.homes().for_each(|home| add(Fault::GiveUp(home)));
        }
        for node in self.nodes() {
            let this = &world.nodes[node];
            if !this.serves() {
                continue;
            }
            add(Fault::Crash(node));
            if this.backup.as_ref().is_some_and(|backup| *backup != this.disk) {
                add(Fault::Restore(node));
            }
            // What a clock shows is of no account where no time is left to pass.
            if node != self.recipient && state.left.ticks > 0 {
                add(Fault::SetWall(node));
            }
        }
        if source.serves() && state.left.ticks > 0 {
            add(Fault::Sleep(self.source));
            add(Fault::Freeze(self.source));
        }
        let home = &world.nodes[HOME];
        if home.serves() && self.scenario.shorter_ms < home.lease_ms {
            add(Fault::ShortenLease);
        }
    }

    fn strike(&self, world: &mut World, fault: Fault) {
        let cast = &self.scenario.cast;
        self.counts.add(match fault {
            Fault::Duplicate(_) => Kind::Duplicated,
            Fault::Lose(_) => Kind::Lost,
            Fault::GiveUp(_) => Kind::GivenUp,
            Fault::Crash(node) => match world.nodes[node].role {
                Role::Home(_) => Kind::HomeRestarted,
                Role::Source(_) => Kind::SourceRestarted,
                Role::Recipient(_) => Kind::RecipientRestarted,
            },
            Fault::Restore(node) => match world.nodes[node].role {
                Role::Home(_) => Kind::HomeRestored,
                Role::Source(_) => Kind::SourceRestored,
                Role::Recipient(_) => Kind::RecipientRestored,
            },
            Fault::Sleep(_) => Kind::Asleep,
            Fault::Freeze(_) => Kind::Frozen,
            Fault::SetWall(node) if node == self.source => Kind::SourceClock,
            Fault::SetWall(_) => Kind::HomeClock,
            Fault::ShortenLease => Kind::ShorterLease,
        });
        match fault {
            Fault::Duplicate(n) => {
                let flight = world.flights[n].clone();
                world.deliver(cast, &flight);
            }
            Fault::Lose(n) => {
                let flight = world.flights.remove(n);
                world.failed(&flight);
            }
            Fault::GiveUp(home) => world.give_up(self.source, &cast.channel(home, PAIR)),
            Fault::Crash(node) => world.crash(node),
            Fault::Restore(node) => world.restore(node),
            Fault::Sleep(node) => world.fall_asleep(node, false),
            Fault::Freeze(node) => world.fall_asleep(node, true),
            Fault::SetWall(node) => {
                world.set_wall(node, if node == self.source { -JUMP_MS } else { JUMP_MS });
            }
            Fault::ShortenLease => {
                world.set_lease(HOME, self.scenario.shorter_ms);
                world.crash(HOME);
            }
        }
    }

    /// What a recipient, its system and a citizen at its counter may do.
    fn at_the_recipient(&self, state: &State, actions: &mut Vec<Action>) {
        let Scenario { requests, counter, .. } = &self.scenario;
        let State { world, left, .. } = state;
        let node = &world.nodes[self.recipient];
        if !node.serves() {
            return;
        }
        let answer = |request: &RequestId| {
            let own = node.disk.requests.get(request)?;
            Some(&own.stored()?.answer)
        };
        let room = world.flights.len() < left.flights as usize;
        for request in requests {
            let over = !matches!(answer(request), None | Some(Answer::Pending));
            if room && left.asks > 0 && !over {
                actions.push(Action::Ask(*request));
            }
            let owed = node.disk.requests.get(request).is_some_and(|own| own.owed().is_some());
            if room && left.receipts > 0 && owed {
                actions.push(Action::SendReceipt(*request));
            }
        }
        for (request, paper) in counter {
            match answer(request) {
                None => actions.push(Action::Prepare(*request)),
                Some(Answer::Prepared | Answer::Pending) if room && left.asks > 0 => {
                    actions.push(Action::Attach(*request, *paper));
                }
                Some(_) => {}
            }
        }
    }

    fn at_the_source(&self, state: &State, actions: &mut Vec<Action>) {
        let Scenario { direct, requests, recipient_apart, .. } = &self.scenario;
        let State { world, left, direct: handed, .. } = state;
        let source = &world.nodes[self.source];
        if !source.serves() {
            return;
        }
        let fresh = |n: &usize| handed & (1 << n) == 0;
        actions.extend((0..direct.len()).filter(fresh).map(|n| Action::HandDirect(direct[n])));
        if world.flights.len() < left.flights as usize && left.pulls > 0 {
            actions.extend(self.homes().map(Action::Pull));
        }
        for (request, work) in &source.memory.answers {
            match work.stage {
                Stage::Leaving(_) if !world.may_leave(self.source, *request) => {}
                Stage::Leaving(_) => actions.push(Action::Leave(*request)),
                _ => actions.push(Action::Commit(*request)),
            }
        }
        if !recipient_apart && left.asks > 0 {
            let idle = |request: &&RequestId| !source.memory.answers.contains_key(request);
            actions.extend(requests.iter().filter(idle).map(|request| Action::Ask(*request)));
        }
    }

    fn happened(&self, before: &State, after: &State) {
        let (was, is) = (&before.world.judge, &after.world.judge);
        let grown = [
            (was.noted.len() < is.noted.len(), Kind::Noted),
            (was.collapses < is.collapses, Kind::Collapsed),
            (was.at_the_counter < is.at_the_counter, Kind::AtTheCounter),
        ];
        grown.into_iter().filter(|(grown, _)| *grown).for_each(|(_, kind)| self.counts.add(kind));
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
        world.denies = self.scenario.denies;
        world.status_age_ms = self.scenario.status_age_ms;
        let channel = cast.channel(HOME, PAIR);
        for id in before {
            world.hand_in(cast, HOME, *id);
        }
        while world.owes(cast, HOME, &channel) {
            world.push(cast, HOME, &channel);
            while let Some(flight) = world.flights.pop() {
                world.deliver(cast, &flight);
            }
        }
        for node in self.nodes() {
            world.cosign(cast, node);
        }
        world.batch = *batch;
        world.prompt_witness = self.scenario.cosigned_at_once;
        vec![State { world, left: *bounds, handed: 0, direct: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Scenario { cast, papers, copies, .. } = &self.scenario;
        let State { world, left, handed, .. } = state;
        if world.judge.violation.is_some() {
            return;
        }
        let room = world.flights.len() < left.flights as usize;
        if left.ticks > 0 {
            actions.push(Action::Tick);
        }
        for (n, (home, _)) in papers.iter().enumerate() {
            if world.nodes[*home].serves() && handed & (1 << n) == 0 {
                actions.push(Action::HandIn(n));
            }
        }
        if room && left.pushes > 0 {
            let owes = |home: &NodeId| {
                world.nodes[*home].serves() && world.owes(cast, *home, &cast.channel(*home, PAIR))
            };
            actions.extend(self.homes().filter(owes).map(Action::Push));
        }
        self.at_the_source(state, actions);
        if self.scenario.recipient_apart {
            self.at_the_recipient(state, actions);
        }
        for (n, flight) in world.flights.iter().enumerate() {
            if world.nodes[flight.to()].serves() {
                actions.push(Action::Deliver(n));
            }
        }
        for node in 0..self.recipient {
            if !self.scenario.cosigned_at_once && world.may_be_cosigned(node) {
                actions.push(Action::Cosign(node));
            }
            if let Power::Asleep { .. } = world.nodes[node].power {
                actions.push(Action::Wake(node));
            }
            let memory = &world.nodes[node].memory;
            if world.nodes[node].serves() && !memory.pulled.is_empty() {
                actions.push(Action::Answer(node));
            }
            if world.nodes[node].serves() && !memory.crowded.is_empty() {
                actions.push(Action::Collapse(node));
            }
        }
        for node in self.nodes() {
            if world.nodes[node].power == Power::Off {
                actions.push(Action::Start(node));
            }
        }
        for node in copies {
            if left.faults > 0 && world.nodes[*node].backup.is_none() {
                actions.push(Action::BackUp(*node));
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
                    self.counts.add(Kind::Delayed);
                }
                let answers = &world.nodes[self.source].memory.answers;
                if answers.values().any(|work| matches!(work.stage, Stage::Fetching(..))) {
                    self.counts.add(Kind::SlowFetch);
                }
            }
            Action::HandIn(n) => {
                let (home, id) = papers[n];
                world.hand_in(cast, home, id);
                let taken = world.nodes[home].disk.logged.contains_key(&id);
                match &cast.paper(id).says {
                    // A wallet repeats a move until it is taken.
                    Says::Moves { .. } if !taken => return None,
                    Says::Moves { to, .. } if *to == home => self.counts.add(Kind::Moved),
                    _ => {}
                }
                *handed |= 1 << n;
            }
            Action::HandDirect(id) => {
                *handed_direct |= 1 << direct.iter().position(|paper| *paper == id)?;
                world.hand_direct(cast, id);
            }
            Action::Cosign(node) => world.cosign(cast, node),
            Action::Pull(home) => {
                spend(&mut left.pulls)?;
                world.hurry(self.source, &cast.channel(home, PAIR));
                world.pull(cast, self.source, &cast.channel(home, PAIR));
            }
            Action::Push(home) => {
                spend(&mut left.pushes)?;
                world.push(cast, home, &cast.channel(home, PAIR));
            }
            Action::Deliver(n) => {
                let flight = world.flights.remove(n);
                world.deliver(cast, &flight);
            }
            Action::Ask(request) => {
                spend(&mut left.asks)?;
                if self.scenario.recipient_apart {
                    world.ask(cast, request);
                } else {
                    let n = self.scenario.requests.iter().position(|id| *id == request)?;
                    world.arrive(cast, None, request, &self.signed[n]);
                }
            }
            Action::Prepare(request) => world.prepare(cast, request),
            Action::Attach(request, paper) => {
                spend(&mut left.asks)?;
                world.attach(cast, request, paper);
            }
            Action::Commit(request) => world.commit(cast, request),
            Action::Leave(request) => world.leave(cast, request),
            Action::SendReceipt(request) => {
                spend(&mut left.receipts)?;
                world.send_receipt(cast, request);
            }
            Action::Answer(home) => world.answer(cast, home),
            Action::Collapse(home) => world.collapse(cast, home),
            Action::BackUp(node) => world.back_up(node),
            Action::Wake(node) => world.wake(node),
            Action::Start(node) => world.start(cast, node),
            Action::Fault(fault) => {
                spend(&mut left.faults)?;
                self.strike(world, fault);
            }
        }
        if self.scenario.cosigned_at_once {
            (0..self.recipient).for_each(|node| world.cosign(cast, node));
        }
        world.settle(cast);
        world.read_register(cast, PAIR);
        // The network keeps no order.
        world.flights.sort_by_key(Shared::print);
        self.happened(last, &state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let holds = |_: &Self, state: &State| state.world.judge.violation.is_none();
        vec![Property::always("the promise", holds)]
    }
}
