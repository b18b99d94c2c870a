//! Simulated days by seed: the same machines as the model's, with clocks that drift, a network that
//! loses and delays, disks that lose writes, and an outside judge after every step. The same seed gives
//! the same trace.

mod inject;
mod network;
mod recipients;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use fastrand::Rng;
use wire::{Hash, Timestamp, channel::ChannelId};

use crate::{
    cast::{Cast, PHONES, PairId, Paper, PaperId, PlainReopen, RequestId, Says, Size},
    node::{Disk, Power},
    script::{self, Fault, HOUR_MS, Injection, LEASES_MS, Population},
    shared::Shared,
    world::{Flight, NodeId, World},
};

/// The world begins a day after its certificates, so that clocks may lag.
const BEGIN_MS: u64 = 24 * HOUR_MS;
/// How far a node's clocks drift, at most (parts per million): half of what leases allow for.
const DRIFT_PPM: i64 = 500;
/// Witnesses see a log so soon after it grew.
const COSIGN_MS: u64 = 60;
/// How often recipients send receipts again that no source has noted.
const RECEIPTS_MS: u64 = 30_000;
/// Past so many denies that no permit names a home collapses them: few, so that it happens.
const DENIES: usize = 3;

/// What is run: a seed, how many nodes, how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub nodes: usize,
    pub minutes: u64,
}

/// Of a step that writes nothing durable.
const NO_WRITE: &str = "nothing";

/// Everything that a node of any role writes, one durable write each: where a failing one can strike.
pub const WRITES: [&str; 16] = [
    "paper",
    "collapse",
    "move",
    "answer to a pull",
    "deny that a pull brought",
    "acknowledgement",
    "entries pulled",
    "entries pushed",
    "deny at the source",
    "release",
    "receipt",
    "request",
    "prepared request",
    "request with a present-consent",
    "answer received",
    "receipt crossed off",
];

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// SHA-256 over every event in its order.
    pub trace: Option<Hash>,
    pub violation: Option<String>,
    /// When the violation was seen.
    pub violated_ms: u64,
    pub faults: [u64; Fault::KINDS.len()],
    /// How often a failing write struck, by what was to be written.
    pub struck: BTreeMap<&'static str, u64>,
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
        at: Place,
        tries: u32,
    },
    /// A wallet goes on with its citizen's move.
    Move {
        paper: PaperId,
        tries: u32,
    },
    Commit(RequestId),
    /// Perhaps its witnesses have not cosigned yet.
    Leave {
        request: RequestId,
        tries: u32,
    },
    Ask {
        request: RequestId,
        tries: u32,
    },
    /// The citizen at the counter signs, by the script's number.
    Sign {
        request: RequestId,
        script: usize,
    },
    Attach {
        request: RequestId,
        paper: PaperId,
        tries: u32,
    },
    Receipts(NodeId),
    /// A home goes on with a pull it is answering, or with collapsing denies.
    Answer(NodeId),
    Collapse(NodeId),
    Start(NodeId),
    Wake(NodeId),
    Repair(NodeId),
}

/// Where a wallet hands something in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Home(NodeId),
    Source,
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

/// Who takes part in a run of so many nodes: keys and certificates, the same in each.
pub fn cast_of(nodes: usize) -> Cast {
    let Population { homes, sources, recipients, citizens } = population(nodes);
    Cast::new(Size { homes, sources, recipients, citizens })
}

/// Runs the whole script of a seed.
pub fn run(options: &Options) -> Outcome {
    run_script(options, &script_of(options))
}

/// Runs a script, perhaps with parts left out.
pub fn run_script(options: &Options, script: &[Injection]) -> Outcome {
    run_with(cast_of(options.nodes), options, script)
}

/// The same with a cast that was made before.
pub fn run_with(cast: Cast, options: &Options, script: &[Injection]) -> Outcome {
    let mut run = Run::new(cast, options, script);
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
            if kind(&shorter_outcome) == kind(&outcome) {
                (script, outcome) = (shorter, shorter_outcome);
            } else {
                from = until;
            }
        }
        chunk /= 2;
    }
    Some((script, outcome))
}

/// Which invariant broke: its text up to the colon. A shorter script must break the same one.
fn kind(outcome: &Outcome) -> Option<&str> {
    outcome.violation.as_deref()?.split(':').next()
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
    /// Timers that are set, so that none is set twice.
    cosigning: BTreeSet<NodeId>,
    answering: BTreeSet<NodeId>,
    collapsing: BTreeSet<NodeId>,
    /// What came to a machine that was asleep, or was due there: it happens when that wakes.
    parked: BTreeMap<NodeId, Vec<Event>>,
    cuts: BTreeMap<(NodeId, NodeId), u64>,
    slow: BTreeMap<(NodeId, NodeId), (u64, u64)>,
    /// A fault of the disk that waits for one of a node's next writes: after so many more.
    armed: BTreeMap<NodeId, (Fault, u32)>,
    newest: BTreeMap<NodeId, Shared<Disk>>,
    /// The denies, and lists of them, that a phone has seen in its register.
    seen: BTreeMap<(PairId, usize), BTreeSet<PlainReopen>>,
    /// The homes that citizens moved to, and how often they have.
    homes: BTreeMap<PairId, (usize, u32)>,
    moving: BTreeSet<PairId>,
    lost_phones: BTreeSet<PairId>,
    clock_touched: BTreeMap<NodeId, u64>,
    fetches: BTreeMap<RequestId, u64>,
    trace: Vec<u8>,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(mut cast: Cast, options: &Options, script: &'a [Injection]) -> Self {
        let size = population(options.nodes);
        let Population { homes, sources, recipients, citizens } = size;
        let mut world = World::new(&cast, LEASES_MS[0], BEGIN_MS);
        world.denies = DENIES;
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
            answering: BTreeSet::new(),
            collapsing: BTreeSet::new(),
            parked: BTreeMap::new(),
            cuts: BTreeMap::new(),
            slow: BTreeMap::new(),
            armed: BTreeMap::new(),
            newest: BTreeMap::new(),
            seen: BTreeMap::new(),
            homes: BTreeMap::new(),
            moving: BTreeSet::new(),
            lost_phones: BTreeSet::new(),
            clock_touched: BTreeMap::new(),
            fetches: BTreeMap::new(),
            trace: Vec::new(),
            outcome: Outcome::default(),
        };
        for paper in run_papers {
            let at = Place::Home(run.home(run.cast.paper(paper).pair));
            run.schedule(BEGIN_MS, Event::HandIn { paper, at, tries: 0 });
        }
        for recipient in 0..recipients {
            run.schedule(BEGIN_MS, Event::Receipts(homes + sources + recipient));
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
            if let Some(asleep) = self.asleep(&event) {
                self.parked.entry(asleep).or_default().push(event);
                self.count("held up by a sleeping machine");
                continue;
            }
            self.note(&event);
            self.step(event);
            self.after();
        }
    }

    /// The sleeping machine at which an event would happen, if it is one that waits for it: a message in
    /// its buffers, an answer it is working at.
    fn asleep(&self, event: &Event) -> Option<NodeId> {
        let node = match event {
            Event::Arrive(flight) => flight.to(),
            Event::Commit(request) | Event::Leave { request, .. } => {
                self.world.source(&self.cast, self.cast.request(*request).pair)
            }
            Event::Answer(node) | Event::Collapse(node) => *node,
            _ => return None,
        };
        matches!(self.world.nodes[node].power, Power::Asleep { .. }).then_some(node)
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

    /// Where a citizen hands in what they sign.
    fn home(&self, pair: PairId) -> NodeId {
        self.homes.get(&pair).map_or_else(|| self.cast.home_of(pair), |(home, _)| *home)
    }

    /// A step at a node, with a disk that may fail under it. `what` it would write, for the counts.
    fn at_node(&mut self, node: NodeId, what: &'static str, step: impl FnOnce(&mut World, &Cast)) {
        let Some((fault, more)) = self.armed.get(&node).copied() else {
            return step(&mut self.world, &self.cast);
        };
        debug_assert!(WRITES.contains(&what) || what == NO_WRITE, "{what}");
        let before = self.world.clone();
        step(&mut self.world, &self.cast);
        if self.world.nodes[node].disk == before.nodes[node].disk {
            return; // nothing was written
        }
        if more > 0 {
            self.armed.insert(node, (fault, more - 1));
            return;
        }
        self.armed.remove(&node);
        self.outcome.faults[fault.kind()] += 1;
        *self.outcome.struck.entry(what).or_default() += 1;
        // Whatever it would have said is not said.
        self.world.flights = before.flights.clone();
        if let Fault::LoseWrite { .. } = fault {
            // A batch is written whole or not at all: a torn one is found by its checksum and dropped, which
            // the store's own tests show. What was written before it, in the same answer, stays.
            self.world = before;
        }
        self.world.crash(node);
        let down_ms = self.luck(("down", node)).u64(100..30_000);
        self.schedule(self.world.true_ms + down_ms, Event::Start(node));
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Inject(n) => self.inject(n),
            Event::Arrive(flight) => self.arrive(&flight),
            Event::Pull(lane) => {
                self.lanes[lane].pull_ms = None;
                let Lane { channel, source, .. } = &self.lanes[lane];
                self.world.pull(&self.cast, *source, channel);
            }
            Event::Push(lane) => {
                self.lanes[lane].push_ms = None;
                let Lane { channel, home, .. } = &self.lanes[lane];
                self.world.push(&self.cast, *home, channel);
            }
            Event::Cosign(node) => {
                self.cosigning.remove(&node);
                self.world.cosign(&self.cast, node);
            }
            Event::Answer(node) => {
                self.answering.remove(&node);
                if self.world.nodes[node].serves() {
                    self.at_node(node, "deny that a pull brought", |world, cast| {
                        world.answer(cast, node)
                    });
                }
            }
            Event::Collapse(node) => {
                self.collapsing.remove(&node);
                if self.world.nodes[node].serves() {
                    self.at_node(node, "collapse", |world, cast| world.collapse(cast, node));
                }
            }
            Event::HandIn { paper, at, tries } => self.hand_in(paper, at, tries),
            Event::Move { paper, tries } => self.move_on(paper, tries),
            Event::Commit(request) => {
                let source = self.world.source(&self.cast, self.cast.request(request).pair);
                self.at_node(source, "release", |world, cast| world.commit(cast, request));
                let wait_ms = self.luck(("leave", request)).u64(0..300);
                let leave = Event::Leave { request, tries: 0 };
                self.schedule(self.world.true_ms + wait_ms, leave);
            }
            Event::Leave { request, tries } => self.leave(request, tries),
            Event::Ask { request, tries } => self.ask(request, tries),
            Event::Sign { request, script } => self.sign(request, script),
            Event::Attach { request, paper, tries } => self.attach(request, paper, tries),
            Event::Receipts(node) => {
                self.send_receipts(node);
                self.schedule(self.world.true_ms + RECEIPTS_MS, Event::Receipts(node));
            }
            Event::Start(node) => {
                if self.world.nodes[node].power == Power::Off {
                    self.world.start(&self.cast, node);
                    if self.world.nodes[node].power == Power::Restored {
                        self.count("restored node that serves nothing");
                    }
                }
            }
            Event::Wake(node) => {
                self.world.wake(node);
                for event in self.parked.remove(&node).unwrap_or_default() {
                    self.schedule(self.world.true_ms, event);
                }
            }
            Event::Repair(node) => {
                match self.world.nodes[node].power {
                    Power::Restored => {
                        if let Some(newest) = self.newest.remove(&node) {
                            self.world.repair(node, newest);
                            self.world.start(&self.cast, node);
                        }
                    }
                    // It is down just now: the operator comes again.
                    Power::Off => self.schedule(self.world.true_ms + 30_000, Event::Repair(node)),
                    // No witness knew more than the old copy: nothing is to be repaired.
                    Power::Serving | Power::Asleep { .. } => {
                        self.newest.remove(&node);
                    }
                }
            }
        }
        self.world.settle(&self.cast);
    }

    fn finish(mut self) -> Outcome {
        self.fold_trace();
        self.outcome.trace = Hash::try_from(&self.trace[..]).ok();
        let judge = &self.world.judge;
        for (name, count) in [
            ("accepted", judge.acceptances()),
            ("told in force", judge.told.len()),
            ("releases", judge.uses.values().map(BTreeMap::len).sum()),
            ("presentations that left", judge.departures),
            ("of them on a present-consent", judge.at_the_counter),
            ("presentations received", judge.given.len()),
            ("receipts noted", judge.noted.len()),
            ("collapses", judge.collapses),
        ] {
            self.outcome.counts.insert(name, count as u64);
        }
        self.outcome
    }
}

fn at(true_ms: u64) -> Timestamp {
    trust::testing::NOW.plus_ms(true_ms)
}
