//! Corners of the world small enough to be explored whole, each around one part of the promise.

use crate::{
    cast::{
        ALL_LEAVES, Cast, Paper, PaperId, PlainReopen, PlainRequest, PlainScope, PlainUses,
        RequestId, Says, Size,
    },
    model::{BEGIN_MS, Bounds, HOME, PAIR},
    world::NodeId,
};

mod apart;

pub use apart::{
    at_the_counter, collapse, lost_while_moving, moved_leases, moving, moving_under_faults,
    recipient, recipient_copies,
};

pub struct Scenario {
    pub name: &'static str,
    pub cast: Cast,
    /// Accepted, cosigned and applied before the story begins.
    pub before: Vec<PaperId>,
    /// What wallets may hand in, each once: at a home, and denies straight at the source.
    pub papers: Vec<(NodeId, PaperId)>,
    pub direct: Vec<PaperId>,
    pub requests: Vec<RequestId>,
    /// The present-consents that may be joined to a request once it was prepared.
    pub counter: Vec<(RequestId, PaperId)>,
    /// Whether the recipient is a node of the story, or requests just come.
    pub recipient_apart: bool,
    /// What the home grants, and what its operator may shorten it to.
    pub lease_ms: u64,
    pub shorter_ms: u64,
    /// Most entries in one answer.
    pub batch: usize,
    /// Whether the witnesses see a log the moment it grows, or some time later.
    pub cosigned_at_once: bool,
    /// Most denies before the home collapses them.
    pub denies: usize,
    /// How old the status of a present-consent's certificate may be.
    pub status_age_ms: u64,
    /// Whose operators make copies of their disks, to restore them from.
    pub copies: Vec<NodeId>,
    pub bounds: Bounds,
}

const HEALTH: PlainScope = PlainScope { recipient: Some(0), leaves: 0b010 };
const EVERYTHING: PlainScope = PlainScope { recipient: None, leaves: ALL_LEAVES };
const HOUR_MS: u64 = 3_600_000;

/// Writes the papers of a scenario.
struct Author {
    cast: Cast,
}

impl Author {
    fn new() -> Self {
        Self::with_homes(1)
    }

    fn with_homes(homes: usize) -> Self {
        let size = Size { homes, sources: 1, recipients: 1, citizens: 1 };
        Self { cast: Cast::new(size).remembering() }
    }

    fn write(&mut self, phone: usize, says: Says) -> PaperId {
        self.cast.write(Paper { pair: PAIR, phone, says }, trust::testing::NOW)
    }

    fn begin(&mut self, phone: usize) -> PaperId {
        self.write(phone, Says::KeyBegins { phone })
    }

    fn end(&mut self, by: usize, phone: usize) -> PaperId {
        self.write(by, Says::KeyEnds { phone, keeps: vec![] })
    }

    fn deny(&mut self, phone: usize, scope: PlainScope) -> PaperId {
        self.write(phone, Says::Deny { scope })
    }

    fn permit(&mut self, phone: usize, reopens: &[PaperId], uses: PlainUses) -> PaperId {
        let reopens = reopens.iter().map(|id| PlainReopen::Deny(*id)).collect();
        self.write(phone, Says::Permit { scope: HEALTH, reopens, until_ms: 3 * HOUR_MS, uses })
    }

    fn request(&mut self) -> RequestId {
        let request = PlainRequest { pair: PAIR, recipient: 0, leaves: 0b010, whole: true };
        self.cast.ask(request, trust::testing::NOW.plus_ms(BEGIN_MS))
    }

    fn scenario(self, name: &'static str, bounds: Bounds) -> Scenario {
        Scenario {
            name,
            cast: self.cast,
            before: vec![],
            papers: vec![],
            direct: vec![],
            requests: vec![],
            counter: vec![],
            recipient_apart: false,
            lease_ms: 2000,
            shorter_ms: 2000,
            batch: wire::limits::ENTRIES,
            cosigned_at_once: true,
            denies: wire::limits::DENIES,
            status_age_ms: exchange::source::STATUS_AGE_MS,
            copies: vec![],
            bounds,
        }
    }
}

const BOUNDS: Bounds =
    Bounds { ticks: 2, pulls: 1, pushes: 1, asks: 1, receipts: 0, faults: 1, flights: 1 };

fn at_home(papers: &[PaperId]) -> Vec<(NodeId, PaperId)> {
    papers.iter().map(|id| (HOME, *id)).collect()
}

/// Everybody: home, source, a recipient that asks, two phones, one of which denies what the other
/// permitted; under every fault, old copies of both disks among them.
pub fn everybody() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.begin(1), author.permit(0, &[], PlainUses::Once)];
    let deny = author.deny(1, HEALTH);
    let request = author.request();
    let bounds = Bounds { ticks: 1, pulls: 1, pushes: 0, asks: 1, faults: 1, flights: 2, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny]),
        requests: vec![request],
        recipient_apart: true,
        copies: vec![HOME, 1],
        ..author.scenario("everybody", bounds)
    }
}

/// One deny, and any two faults: an old copy put back and a clock set, a crash on either side, twice the same.
pub fn two_faults() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let deny = author.deny(0, HEALTH);
    let request = author.request();
    let bounds = Bounds { ticks: 1, pulls: 1, pushes: 0, asks: 1, faults: 2, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny]),
        requests: vec![request],
        copies: vec![HOME, 1],
        ..author.scenario("two faults", bounds)
    }
}

/// A permit good once, a deny at the home or straight at the source, a permit of another phone that
/// reopens it: under every fault.
pub fn deny_and_reopen() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.begin(1), author.permit(0, &[], PlainUses::Once)];
    let deny = author.deny(0, HEALTH);
    let reopening = author.permit(1, &[deny], PlainUses::Unlimited);
    let request = author.request();
    let bounds = Bounds { ticks: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny, reopening]),
        direct: vec![deny],
        requests: vec![request],
        ..author.scenario("deny and reopen", bounds)
    }
}

/// Two requests at once on a permit good once, with retries.
pub fn one_use() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Once)];
    let requests = vec![author.request(), author.request()];
    let bounds = Bounds { ticks: 1, pulls: 1, pushes: 0, asks: 3, faults: 1, flights: 1, ..BOUNDS };
    Scenario { before, requests, copies: vec![HOME, 1], ..author.scenario("one use", bounds) }
}

/// A permit good once, a source put back to an old copy, and witnesses that see its log some time later.
pub fn one_use_forgotten() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Once)];
    let requests = vec![author.request(), author.request()];
    let bounds = Bounds { ticks: 1, pulls: 3, pushes: 0, asks: 2, faults: 1, flights: 1, ..BOUNDS };
    Scenario {
        before,
        requests,
        cosigned_at_once: false,
        copies: vec![1],
        ..author.scenario("one use forgotten", bounds)
    }
}

/// A request answered on one permit and asked again when only another one still permits it.
pub fn retry() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let deny = author.deny(0, HEALTH);
    let reopening = author.permit(0, &[deny], PlainUses::Unlimited);
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 1, pushes: 2, asks: 2, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny, reopening]),
        requests: vec![request],
        ..author.scenario("a retry", bounds)
    }
}

/// A second phone: permits before its key begins and after it was lost and ended.
pub fn lost_phone() -> Scenario {
    let mut author = Author::new();
    let begin = author.begin(0);
    let second = author.begin(1);
    let stolen = author.permit(1, &[], PlainUses::Unlimited);
    let lost = author.end(0, 1);
    let last = author.deny(1, EVERYTHING);
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 1, pushes: 1, asks: 1, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before: vec![begin],
        papers: at_home(&[second, stolen, lost, last]),
        direct: vec![last],
        requests: vec![request],
        ..author.scenario("a lost phone", bounds)
    }
}

/// A permit signed on a phone that has not seen the other phone's deny.
pub fn stale_view() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.begin(1)];
    let deny = author.deny(0, HEALTH);
    let stale = author.permit(1, &[], PlainUses::Unlimited);
    let naming = author.permit(1, &[deny], PlainUses::Once);
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 1, pushes: 1, asks: 2, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny, stale, naming]),
        direct: vec![deny],
        requests: vec![request],
        ..author.scenario("a stale view", bounds)
    }
}

/// One deny against one lease: late answers, lost ones, clocks that are set or stand still.
pub fn one_lease() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let deny = author.deny(0, HEALTH);
    let request = author.request();
    let bounds = Bounds { ticks: 4, pulls: 2, pushes: 0, asks: 1, faults: 1, flights: 2, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny]),
        requests: vec![request],
        ..author.scenario("one lease", bounds)
    }
}

/// The home's lease is shortened while longer ones are out.
pub fn two_settings() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let deny = author.deny(0, HEALTH);
    let request = author.request();
    let bounds = Bounds { ticks: 4, pulls: 2, pushes: 0, asks: 1, faults: 1, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny]),
        requests: vec![request],
        lease_ms: 6000,
        ..author.scenario("two settings", bounds)
    }
}

/// Old copies of a disk, with witnesses that see the logs some time later.
pub fn old_copies() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let deny = author.deny(0, HEALTH);
    let request = author.request();
    let bounds = Bounds { ticks: 1, pulls: 2, pushes: 0, asks: 1, faults: 1, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny]),
        direct: vec![deny],
        requests: vec![request],
        cosigned_at_once: false,
        copies: vec![HOME, 1],
        ..author.scenario("old copies", bounds)
    }
}

/// A source tells a home how far it is, and is put back to before that; its witnesses lag.
pub fn told_too_soon() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let deny = author.deny(0, HEALTH);
    let bounds = Bounds { ticks: 0, pulls: 3, pushes: 1, asks: 0, faults: 1, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[deny]),
        cosigned_at_once: false,
        copies: vec![1],
        ..author.scenario("told too soon", bounds)
    }
}

/// An entry that nobody can read, and answers that carry one entry at a time.
pub fn piece_by_piece() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let elsewhere = author.permit(0, &[], PlainUses::Once);
    let unknown = author.write(0, Says::Unknown { scope: HEALTH });
    let request = author.request();
    let bounds = Bounds { ticks: 3, pulls: 1, pushes: 0, asks: 1, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[elsewhere, unknown]),
        requests: vec![request],
        batch: 1,
        ..author.scenario("piece by piece", bounds)
    }
}

/// All of them.
pub const ALL: [fn() -> Scenario; 21] = [
    everybody,
    two_faults,
    deny_and_reopen,
    one_use,
    one_use_forgotten,
    retry,
    lost_phone,
    stale_view,
    one_lease,
    two_settings,
    old_copies,
    told_too_soon,
    piece_by_piece,
    recipient,
    recipient_copies,
    moving,
    moving_under_faults,
    moved_leases,
    lost_while_moving,
    collapse,
    at_the_counter,
];

impl Scenario {
    /// The same with wider bounds, for long runs.
    #[must_use]
    pub fn wider(self) -> Self {
        Self { bounds: self.bounds.wider(), ..self }
    }
}
