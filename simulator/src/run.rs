//! Simulated days by seed: the same machines as the model's, with clocks that drift, a network that
//! loses and delays, disks that lose writes, and an outside judge after every step. The same seed gives
//! the same trace.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use fastrand::Rng;
use wire::{Hash, Timestamp, channel::ChannelId};

use crate::{
    cast::{
        Cast, PHONES, PairId, Paper, PaperId, PlainReopen, PlainRequest, RequestId, Says, Size,
    },
    node::{Disk, Power},
    script::{self, Fault, HOUR_MS, Injection, LEASES_MS, Names, Population, What},
    shared::Shared,
    world::{Flight, NodeId, World},
};

/// The world begins a day after its certificates, so that clocks may lag.
const BEGIN_MS: u64 = 24 * HOUR_MS;
/// How far a node's clocks drift, at most (parts per million): half of what leases allow for.
const DRIFT_PPM: i64 = 500;
/// Witnesses see a log so soon after it grew.
const COSIGN_MS: u64 = 60;

/// What is run: a seed, how many nodes, how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub nodes: usize,
    pub minutes: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// SHA-256 over every event in its order.
    pub trace: Option<Hash>,
    pub violation: Option<String>,
    /// When the violation was seen.
    pub violated_ms: u64,
    pub faults: [u64; Fault::KINDS.len()],
    pub counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone)]
enum Event {
    Inject(usize),
    Arrive(Shared<Flight>),
    Pull(usize),
    Push(usize),
    Cosign(NodeId),
    /// A wallet that got no acknowledgement tries again.
    HandIn {
        paper: PaperId,
        direct: bool,
        tries: u32,
    },
    Commit(RequestId),
    Leave(RequestId),
    AskAgain(RequestId),
    Start(NodeId),
    Wake(NodeId),
    Repair(NodeId),
}

/// How the nodes of a run are divided among the roles.
pub fn population(nodes: usize) -> Population {
    let homes = (nodes / 3).clamp(1, 4);
    let sources = (nodes / 3).clamp(1, 8);
    let recipients = nodes.saturating_sub(homes + sources).clamp(1, 8);
    Population { homes, sources, recipients, citizens: 2 * homes }
}

/// The script that a seed stands for.
pub fn script_of(options: &Options) -> Vec<Injection> {
    let mut rng = Rng::with_seed(options.seed);
    script::write(&mut rng, population(options.nodes), BEGIN_MS, options.minutes)
}

/// Runs the whole script of a seed.
pub fn run(options: &Options) -> Outcome {
    run_script(options, &script_of(options))
}

/// Runs a script, perhaps with parts left out.
pub fn run_script(options: &Options, script: &[Injection]) -> Outcome {
    let mut run = Run::new(options, script);
    run.go(BEGIN_MS + (options.minutes + 5) * script::MINUTE_MS);
    run.finish()
}

/// A script that still leads to a violation, with as much left out as can be found in `tries` runs.
pub fn shrink(options: &Options, tries: usize) -> Option<(Vec<Injection>, Outcome)> {
    let mut script = script_of(options);
    let mut outcome = run_script(options, &script);
    outcome.violation.as_ref()?;
    script.retain(|injection| injection.at_ms <= outcome.violated_ms);
    let mut left = tries;
    let mut chunk = script.len() / 2;
    while chunk > 0 && left > 0 {
        let mut from = 0;
        while from < script.len() && left > 0 {
            let until = (from + chunk).min(script.len());
            let shorter: Vec<_> = script[..from].iter().chain(&script[until..]).cloned().collect();
            let shorter_outcome = run_script(options, &shorter);
            left -= 1;
            if shorter_outcome.violation.is_some() {
                (script, outcome) = (shorter, shorter_outcome);
            } else {
                from = until;
            }
        }
        chunk /= 2;
    }
    Some((script, outcome))
}

/// One channel, its two nodes, and when their timers are set to.
#[derive(Debug, Clone)]
struct Lane {
    channel: ChannelId,
    home: NodeId,
    source: NodeId,
    pull_ms: Option<u64>,
    push_ms: Option<u64>,
}

struct Run<'a> {
    script: &'a [Injection],
    seed: u64,
    cast: Cast,
    world: World,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    numbers: u64,
    lanes: Vec<Lane>,
    cosigning: BTreeSet<NodeId>,
    cuts: BTreeMap<(NodeId, NodeId), u64>,
    slow: BTreeMap<(NodeId, NodeId), (u64, u64)>,
    /// A fault of the disk that waits for a node's next write.
    armed: BTreeMap<NodeId, Fault>,
    newest: BTreeMap<NodeId, Shared<Disk>>,
    /// The denies that a phone has seen in its register.
    seen: BTreeMap<(PairId, usize), BTreeSet<PaperId>>,
    lost_phones: BTreeSet<PairId>,
    clock_touched: BTreeMap<NodeId, u64>,
    fetches: BTreeMap<RequestId, u64>,
    trace: Vec<u8>,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(options: &Options, script: &'a [Injection]) -> Self {
        let size = population(options.nodes);
        let Population { homes, sources, recipients, citizens } = size;
        let mut cast = Cast::new(Size { homes, sources, recipients, citizens });
        let mut world = World::new(&cast, LEASES_MS[0], BEGIN_MS);
        let mut rng = Rng::with_seed(options.seed ^ 0x636c_6f63_6b73);
        for node in 0..world.nodes.len() {
            world.set_drift(node, rng.i64(-DRIFT_PPM..=DRIFT_PPM));
        }
        let mut run_papers = Vec::new();
        for citizen in 0..citizens {
            for source in 0..sources {
                let pair = PairId { citizen, source };
                for phone in 0..PHONES {
                    let paper = Paper { pair, phone, says: Says::KeyBegins { phone } };
                    run_papers.push(cast.write(paper, at(BEGIN_MS)));
                }
            }
        }
        let mut run = Self {
            script,
            seed: options.seed,
            cast,
            world,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            numbers: 0,
            lanes: Vec::new(),
            cosigning: BTreeSet::new(),
            cuts: BTreeMap::new(),
            slow: BTreeMap::new(),
            armed: BTreeMap::new(),
            newest: BTreeMap::new(),
            seen: BTreeMap::new(),
            lost_phones: BTreeSet::new(),
            clock_touched: BTreeMap::new(),
            fetches: BTreeMap::new(),
            trace: Vec::new(),
            outcome: Outcome::default(),
        };
        for paper in run_papers {
            run.schedule(BEGIN_MS, Event::HandIn { paper, direct: false, tries: 0 });
        }
        run.lanes = run.lay_lanes();
        for lane in 0..run.lanes.len() {
            run.set_timers(lane);
        }
        for (n, injection) in script.iter().enumerate() {
            run.schedule(injection.at_ms, Event::Inject(n));
        }
        run
    }

    fn lay_lanes(&self) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for source in &self.cast.sources {
            for home in &self.cast.homes {
                let channel = ChannelId { home: home.clone(), source: source.clone() };
                let home = self.world.home_of(&self.cast, &channel);
                let source = self.world.source_of(&self.cast, &channel);
                lanes.push(Lane { channel, home, source, pull_ms: None, push_ms: None });
            }
        }
        lanes
    }

    /// Random, but the same for the same thing whatever else happened: a shrunk script must not shift
    /// the luck of what is left.
    fn luck(&self, what: impl std::hash::Hash) -> Rng {
        let print = crate::shared::fingerprint(&(self.seed, self.world.true_ms, what));
        Rng::with_seed(print)
    }

    fn schedule(&mut self, at_ms: u64, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse((at_ms.max(self.world.true_ms), self.numbers)));
        self.events.insert(self.numbers, event);
    }

    fn count(&mut self, what: &'static str) {
        *self.outcome.counts.entry(what).or_default() += 1;
    }

    fn go(&mut self, until_ms: u64) {
        while let Some(Reverse((at_ms, number))) = self.queue.pop() {
            if at_ms > until_ms || self.outcome.violation.is_some() {
                return;
            }
            let event = self.events.remove(&number).expect("scheduled once");
            self.world.true_ms = at_ms;
            if self.is_stale(&event) {
                continue;
            }
            self.note(&event);
            self.step(event);
            self.after();
        }
    }

    /// A timer that was set anew since.
    fn is_stale(&self, event: &Event) -> bool {
        let set_ms = match event {
            Event::Pull(lane) => self.lanes[*lane].pull_ms,
            Event::Push(lane) => self.lanes[*lane].push_ms,
            _ => return false,
        };
        set_ms != Some(self.world.true_ms)
    }

    /// Every event goes into the trace in words that do not depend on the machine.
    fn note(&mut self, event: &Event) {
        let text = match event {
            Event::Inject(n) => format!("{:?}", self.script[*n].what),
            Event::Arrive(flight) => flight.brief(),
            other => format!("{other:?}"),
        };
        self.trace.extend_from_slice(&self.world.true_ms.to_be_bytes());
        self.trace.extend_from_slice(text.as_bytes());
        if self.trace.len() > 64 * 1024 {
            self.fold_trace();
        }
    }

    fn fold_trace(&mut self) {
        self.trace = wire::sha256(&self.trace).0.to_vec();
    }

    /// A step at a node, with a disk that may fail under it.
    fn at_node(&mut self, node: NodeId, step: impl FnOnce(&mut World, &Cast)) {
        let Some(fault) = self.armed.get(&node).copied() else {
            return step(&mut self.world, &self.cast);
        };
        let before = self.world.clone();
        step(&mut self.world, &self.cast);
        if self.world.nodes[node].disk == before.nodes[node].disk {
            return; // nothing was written
        }
        self.armed.remove(&node);
        self.outcome.faults[fault.kind()] += 1;
        // Whatever it would have said is not said.
        self.world.flights = before.flights.clone();
        if let Fault::LoseWrite { .. } = fault {
            // A batch is written whole or not at all: a torn one is found by its checksum and dropped.
            self.world = before;
        }
        self.world.crash(node);
        let down_ms = self.luck(("down", node)).u64(100..30_000);
        self.schedule(self.world.true_ms + down_ms, Event::Start(node));
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Inject(n) => self.inject(n),
            Event::Arrive(flight) => {
                self.at_node(flight.to(), |world, cast| world.deliver(cast, &flight));
            }
            Event::Pull(lane) => {
                self.lanes[lane].pull_ms = None;
                let Lane { channel, source, .. } = self.lanes[lane].clone();
                self.at_node(source, |world, cast| world.pull(cast, source, &channel));
            }
            Event::Push(lane) => {
                self.lanes[lane].push_ms = None;
                let Lane { channel, home, .. } = self.lanes[lane].clone();
                self.at_node(home, |world, cast| world.push(cast, home, &channel));
            }
            Event::Cosign(node) => {
                self.cosigning.remove(&node);
                self.world.cosign(node);
            }
            Event::HandIn { paper, direct, tries } => self.hand_in(paper, direct, tries),
            Event::Commit(request) => {
                let source = self.world.source(&self.cast, self.cast.request(request).pair);
                self.at_node(source, |world, cast| world.commit(cast, request));
                let wait_ms = self.luck(("leave", request)).u64(0..300);
                self.schedule(self.world.true_ms + wait_ms, Event::Leave(request));
            }
            Event::Leave(request) => self.world.leave(&self.cast, request),
            Event::AskAgain(request) => self.ask(request),
            Event::Start(node) => {
                if self.world.nodes[node].power == Power::Off {
                    self.world.start(node);
                    if self.world.nodes[node].power == Power::Restored {
                        self.count("restored node that serves nothing");
                    }
                }
            }
            Event::Wake(node) => self.world.wake(node),
            Event::Repair(node) => {
                if let Some(newest) = self.newest.remove(&node)
                    && self.world.nodes[node].power == Power::Restored
                {
                    self.world.repair(node, newest);
                    self.world.start(node);
                }
            }
        }
        self.world.settle();
    }

    /// Sends what was said, sets timers, looks for a violation.
    fn after(&mut self) {
        for (n, flight) in std::mem::take(&mut self.world.flights).into_iter().enumerate() {
            self.dispatch(n, flight);
        }
        for node in 0..self.world.nodes.len() {
            if self.world.may_be_cosigned(node) && self.cosigning.insert(node) {
                self.schedule(self.world.true_ms + COSIGN_MS, Event::Cosign(node));
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
    fn set_timers(&mut self, lane: usize) {
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

    fn inject(&mut self, n: usize) {
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
    fn hand_in(&mut self, paper: PaperId, direct: bool, tries: u32) {
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

    fn ask(&mut self, request: RequestId) {
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

    fn finish(mut self) -> Outcome {
        self.fold_trace();
        self.outcome.trace = Hash::try_from(&self.trace[..]).ok();
        let judge = &self.world.judge;
        for (name, count) in [
            ("accepted", judge.accepted.len()),
            ("told in force", judge.told.len()),
            ("releases", judge.uses.values().map(BTreeMap::len).sum()),
            ("presentations that left", judge.departures),
        ] {
            self.outcome.counts.insert(name, count as u64);
        }
        self.outcome
    }
}

fn at(true_ms: u64) -> Timestamp {
    trust::testing::NOW.plus_ms(true_ms)
}
