//! Stories with more than one home and one source: recipients, moves, collapses, the counter.

use super::{Author, BOUNDS, EVERYTHING, HEALTH, Scenario, at_home};
use crate::{
    cast::{PlainReopen, PlainUses, Says},
    model::{BEGIN_MS, Bounds, HOME},
};

/// The home that a citizen moves to, and the recipient behind one home and one source.
const NEW: usize = 1;
const RECIPIENT: usize = 2;

/// A recipient's request, the source's reply and the receipt are messages like others: late, twice,
/// lost; a deny in between, so that a second reply says no.
pub fn recipient() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Once)];
    let deny = author.deny(0, HEALTH);
    let request = author.request();
    let bounds =
        Bounds { ticks: 1, pulls: 1, pushes: 0, asks: 2, receipts: 1, faults: 1, flights: 2 };
    Scenario {
        before,
        direct: vec![deny],
        requests: vec![request],
        recipient_apart: true,
        ..author.scenario("recipient", bounds)
    }
}

/// The recipient's disk put back to an old copy.
pub fn recipient_copies() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let request = author.request();
    let bounds =
        Bounds { ticks: 0, pulls: 1, pushes: 0, asks: 2, receipts: 1, faults: 2, flights: 1 };
    Scenario {
        before,
        requests: vec![request],
        recipient_apart: true,
        copies: vec![RECIPIENT],
        ..author.scenario("recipient's copies", bounds)
    }
}

/// A move to another home in whatever order the wallet goes about it, with denies at both.
pub fn moving() -> Scenario {
    let mut author = Author::with_homes(2);
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let moves = author.write(0, Says::Moves { from: HOME, to: NEW, epoch: 1 });
    let (early, late) = (author.deny(0, HEALTH), author.deny(0, EVERYTHING));
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 2, pushes: 1, asks: 1, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: vec![(HOME, moves), (NEW, moves), (HOME, early), (NEW, late)],
        requests: vec![request],
        ..author.scenario("a move", bounds)
    }
}

/// A move under faults: crashes, an old copy of the home that was left, messages lost and doubled.
pub fn moving_under_faults() -> Scenario {
    let mut author = Author::with_homes(2);
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let moves = author.write(0, Says::Moves { from: HOME, to: NEW, epoch: 1 });
    let deny = author.deny(0, EVERYTHING);
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 2, pushes: 1, asks: 1, faults: 1, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: vec![(HOME, moves), (NEW, moves), (NEW, deny)],
        requests: vec![request],
        copies: vec![HOME],
        ..author.scenario("a move, faults", bounds)
    }
}

/// A deny at the home that the citizen has left, while its leases run out, one entry at a time.
pub fn moved_leases() -> Scenario {
    let mut author = Author::with_homes(2);
    let before = vec![author.begin(0), author.permit(0, &[], PlainUses::Unlimited)];
    let moves = author.write(0, Says::Moves { from: HOME, to: NEW, epoch: 1 });
    let deny = author.deny(0, HEALTH);
    let request = author.request();
    let bounds = Bounds { ticks: 3, pulls: 2, pushes: 0, asks: 1, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: vec![(HOME, moves), (NEW, moves), (HOME, deny)],
        requests: vec![request],
        batch: 1,
        ..author.scenario("leases after a move", bounds)
    }
}

/// A phone is lost in the middle of a move: its key ends at the new home, and the source may hear of that
/// before it hears that the old one let go.
pub fn lost_while_moving() -> Scenario {
    let mut author = Author::with_homes(2);
    let before =
        vec![author.begin(0), author.begin(1), author.permit(1, &[], PlainUses::Unlimited)];
    let moves = author.write(0, Says::Moves { from: HOME, to: NEW, epoch: 1 });
    let lost = author.end(0, 1);
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 3, pushes: 1, asks: 1, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: vec![(HOME, moves), (NEW, moves), (NEW, lost)],
        requests: vec![request],
        ..author.scenario("a phone lost while moving", bounds)
    }
}

/// More denies than the cap: the home collapses them, a permit names the list, later denies are not in
/// it, one comes late and another way.
pub fn collapse() -> Scenario {
    let mut author = Author::new();
    let before =
        vec![author.begin(0), author.begin(1), author.permit(0, &[], PlainUses::Unlimited)];
    let (one, two) = (author.deny(0, HEALTH), author.deny(1, HEALTH));
    let later = author.deny(0, HEALTH);
    let scope = HEALTH;
    let reopens = vec![PlainReopen::Collapsed(vec![one, two])];
    let uses = PlainUses::Unlimited;
    let naming =
        author.write(0, Says::Permit { scope, reopens, until_ms: 3 * super::HOUR_MS, uses });
    let request = author.request();
    let bounds = Bounds { ticks: 0, pulls: 1, pushes: 1, asks: 1, faults: 0, flights: 1, ..BOUNDS };
    Scenario {
        before,
        papers: at_home(&[one, two, naming, later]),
        direct: vec![later, one],
        requests: vec![request],
        denies: 1,
        ..author.scenario("a collapse", bounds)
    }
}

/// A citizen at the counter, with and without a lease: a permit for the one request that was prepared,
/// another request, denies at the home and at the source, a status that grows old.
pub fn at_the_counter() -> Scenario {
    let mut author = Author::new();
    let before = vec![author.begin(0)];
    let deny = author.deny(0, HEALTH);
    let (request, other) = (author.request(), author.request());
    let sign = |author: &mut Author, request, reopens| {
        author.write(0, Says::Present { request, reopens, status_ms: BEGIN_MS })
    };
    let plain = sign(&mut author, request, vec![]);
    let naming = sign(&mut author, request, vec![PlainReopen::Deny(deny)]);
    let bounds =
        Bounds { ticks: 2, pulls: 1, pushes: 0, asks: 1, receipts: 0, faults: 0, flights: 1 };
    Scenario {
        before,
        papers: at_home(&[deny]),
        direct: vec![deny],
        // The last is handed to another request than it was signed for.
        counter: vec![(request, plain), (request, naming), (other, plain)],
        recipient_apart: true,
        status_age_ms: 1000,
        ..author.scenario("at the counter", bounds)
    }
}
