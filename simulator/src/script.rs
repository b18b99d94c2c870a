//! What happens to a simulated network from outside: what citizens decide, what recipients ask, what
//! goes wrong. Written from a seed before the run begins, so that parts of it can be left out again when a
//! failing run is shrunk.

use fastrand::Rng;

use crate::{
    cast::{ALL_LEAVES, PairId, PlainScope, PlainUses},
    world::NodeId,
};

pub const MINUTE_MS: u64 = 60_000;
pub const HOUR_MS: u64 = 60 * MINUTE_MS;

/// One thing that happens, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    pub at_ms: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Permit {
        pair: PairId,
        phone: usize,
        scope: PlainScope,
        uses: PlainUses,
        hours: u64,
        names: Names,
    },
    /// Handed in at the home, straight at the source, or both; or at another city's.
    Deny {
        pair: PairId,
        phone: usize,
        scope: PlainScope,
        home: bool,
        direct: bool,
        elsewhere: bool,
    },
    /// The citizen moves to the next city.
    Move {
        pair: PairId,
    },
    /// The second phone is lost; the first one keeps some of its permits.
    LosePhone {
        pair: PairId,
        keeps: bool,
    },
    /// An entry of a kind that nobody knows yet.
    Unknown {
        pair: PairId,
        scope: PlainScope,
    },
    /// The phone reads its register, and from then on knows the denies in it.
    Read {
        pair: PairId,
        phone: usize,
    },
    Ask {
        pair: PairId,
        recipient: usize,
        leaves: u8,
        whole: bool,
        fetch_ms: u64,
        again_ms: Option<u64>,
    },
    /// A citizen at the counter signs a permit for the one request, after a while, with a status of
    /// their certificate that is some time old.
    Present {
        pair: PairId,
        phone: usize,
        recipient: usize,
        leaves: u8,
        names: Names,
        sign_ms: u64,
        status_old_ms: u64,
        fetch_ms: u64,
    },
    Fault(Fault),
}

/// Which of the denies that its phone has seen a permit names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Nothing,
    /// Those whose bits are set.
    Those(u64),
    All,
    /// All, and the other phone's key.
    AllAndPhone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash {
        node: NodeId,
        down_ms: u64,
    },
    /// The node's next write does not reach the disk, and it dies: a lost or torn batch.
    LoseWrite {
        node: NodeId,
        torn: bool,
    },
    /// The next write reaches the disk, but the node dies before it says so.
    MuteWrite {
        node: NodeId,
    },
    Cut {
        a: NodeId,
        b: NodeId,
        for_ms: u64,
    },
    /// Messages between two nodes take up to so long.
    Slow {
        a: NodeId,
        b: NodeId,
        by_ms: u64,
        for_ms: u64,
    },
    Sleep {
        node: NodeId,
        frozen: bool,
        for_ms: u64,
    },
    SetWall {
        node: NodeId,
        offset_ms: i64,
    },
    BackUp {
        node: NodeId,
    },
    /// Restored from its last copy; an operator puts the newest disk back later.
    Restore {
        node: NodeId,
        repaired_ms: u64,
    },
    SetLease {
        home: NodeId,
        lease_ms: u64,
    },
}

impl Fault {
    /// For the counts that a run prints.
    pub const KINDS: [&str; 14] = [
        "crash",
        "write lost",
        "write torn",
        "written, then died",
        "link cut",
        "link slow",
        "sleep",
        "freeze",
        "wall clock set",
        "backup",
        "restore",
        "lease setting",
        "message lost",
        "message twice",
    ];

    /// Whether it has its effect at once, whatever state the network is in.
    pub fn strikes(&self) -> bool {
        matches!(self, Self::Crash { .. } | Self::Cut { .. } | Self::Slow { .. })
    }

    pub fn kind(&self) -> usize {
        match self {
            Self::Crash { .. } => 0,
            Self::LoseWrite { torn: false, .. } => 1,
            Self::LoseWrite { torn: true, .. } => 2,
            Self::MuteWrite { .. } => 3,
            Self::Cut { .. } => 4,
            Self::Slow { .. } => 5,
            Self::Sleep { frozen: false, .. } => 6,
            Self::Sleep { frozen: true, .. } => 7,
            Self::SetWall { .. } => 8,
            Self::BackUp { .. } => 9,
            Self::Restore { .. } => 10,
            Self::SetLease { .. } => 11,
        }
    }
}

/// Who can be hit.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    pub homes: usize,
    pub sources: usize,
    pub recipients: usize,
    pub citizens: usize,
}

/// The leases homes grant in a run, the longest first.
pub const LEASES_MS: [u64; 3] = [60_000, 10_000, 2_000];

/// In every minute at least one decision, one request and one fault.
pub fn write(rng: &mut Rng, size: Population, begin_ms: u64, minutes: u64) -> Vec<Injection> {
    let mut script = Vec::new();
    for minute in 0..minutes {
        let start = begin_ms + minute * MINUTE_MS;
        let mut add = |rng: &mut Rng, what| {
            script.push(Injection { at_ms: start + rng.u64(0..MINUTE_MS), what });
        };
        for _ in 0..rng.u32(1..3) {
            let what = decision(rng, size);
            add(rng, what);
        }
        for _ in 0..rng.u32(1..4) {
            let what = request(rng, size);
            add(rng, what);
        }
        for _ in 0..rng.u32(1..3) {
            let (pair, phone) = (pair(rng, size), rng.usize(0..2));
            add(rng, What::Read { pair, phone });
        }
        let fault = fault(rng, size);
        add(rng, What::Fault(fault));
        // Some faults strike later, or find nothing to strike: one does in every minute.
        if !fault.strikes() {
            let sure = sure_fault(rng, size);
            add(rng, What::Fault(sure));
        }
    }
    script.sort_by_key(|injection| injection.at_ms);
    script
}

fn pair(rng: &mut Rng, size: Population) -> PairId {
    PairId { citizen: rng.usize(0..size.citizens), source: rng.usize(0..size.sources) }
}

fn leaves(rng: &mut Rng) -> u8 {
    match rng.u8(0..4) {
        0 => ALL_LEAVES,
        _ => rng.u8(1..ALL_LEAVES),
    }
}

fn decision(rng: &mut Rng, size: Population) -> What {
    let (pair, phone) = (pair(rng, size), rng.usize(0..2));
    let recipient = rng.usize(0..size.recipients);
    match rng.u32(0..100) {
        0..48 => {
            let uses = match rng.u8(0..3) {
                0 => PlainUses::Once,
                1 => PlainUses::Per { count: rng.u32(1..4), period_ms: rng.u64(1..60) * MINUTE_MS },
                _ => PlainUses::Unlimited,
            };
            let names = names(rng);
            let scope = PlainScope { recipient: Some(recipient), leaves: leaves(rng) };
            What::Permit { pair, phone, scope, uses, hours: rng.u64(1..30), names }
        }
        48..95 => {
            let recipient = (rng.u8(0..4) > 0).then_some(recipient);
            let scope = PlainScope { recipient, leaves: leaves(rng) };
            let (home, direct) =
                *rng.choice(&[(true, false), (false, true), (true, true)]).expect("three");
            let elsewhere = rng.u8(0..10) == 0;
            What::Deny { pair, phone, scope, home, direct, elsewhere }
        }
        95..97 => What::Move { pair },
        97 => What::LosePhone { pair, keeps: rng.bool() },
        _ => {
            let scope = PlainScope { recipient: Some(recipient), leaves: leaves(rng) };
            What::Unknown { pair, scope }
        }
    }
}

fn names(rng: &mut Rng) -> Names {
    match rng.u8(0..8) {
        0 => Names::Nothing,
        1 => Names::Those(rng.u64(..)),
        2 => Names::AllAndPhone,
        _ => Names::All,
    }
}

fn request(rng: &mut Rng, size: Population) -> What {
    if rng.u8(0..12) == 0 {
        return What::Present {
            pair: pair(rng, size),
            phone: rng.usize(0..2),
            recipient: rng.usize(0..size.recipients),
            leaves: rng.u8(1..ALL_LEAVES),
            names: names(rng),
            sign_ms: rng.u64(100..40_000),
            status_old_ms: rng.u64(0..900_000),
            fetch_ms: rng.u64(0..200),
        };
    }
    What::Ask {
        pair: pair(rng, size),
        recipient: rng.usize(0..size.recipients),
        leaves: leaves(rng),
        whole: rng.u8(0..4) == 0,
        fetch_ms: if rng.u8(0..6) == 0 { rng.u64(0..90_000) } else { rng.u64(0..200) },
        again_ms: rng.bool().then(|| rng.u64(100..100_000)),
    }
}

/// A fault that has its effect whatever state the network is in.
fn sure_fault(rng: &mut Rng, size: Population) -> Fault {
    loop {
        let fault = fault(rng, size);
        if fault.strikes() {
            return fault;
        }
    }
}

fn fault(rng: &mut Rng, size: Population) -> Fault {
    let node = rng.usize(0..size.homes + size.sources + size.recipients);
    let (home, source) = (rng.usize(0..size.homes), size.homes + rng.usize(0..size.sources));
    let recipient = size.homes + size.sources + rng.usize(0..size.recipients);
    let (a, b) = if rng.u8(0..3) == 0 { (source, recipient) } else { (home, source) };
    match rng.u32(0..100) {
        0..14 => Fault::Crash { node, down_ms: rng.u64(100..120_000) },
        14..26 => Fault::LoseWrite { node, torn: rng.bool() },
        26..38 => Fault::MuteWrite { node },
        38..52 => Fault::Cut { a, b, for_ms: rng.u64(1_000..300_000) },
        52..64 => {
            Fault::Slow { a, b, by_ms: rng.u64(100..40_000), for_ms: rng.u64(10_000..300_000) }
        }
        64..76 => Fault::Sleep { node, frozen: rng.bool(), for_ms: rng.u64(1_000..180_000) },
        76..84 => Fault::SetWall { node, offset_ms: rng.i64(-90_000..90_000) },
        84..91 => Fault::BackUp { node },
        91..96 => Fault::Restore { node, repaired_ms: rng.u64(10_000..240_000) },
        _ => {
            let lease_ms = *rng.choice(&LEASES_MS).expect("three");
            Fault::SetLease { home: rng.usize(0..size.homes), lease_ms }
        }
    }
}
