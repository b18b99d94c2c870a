//! Histories that never happened: a clean one, and one for each way in which a network could break
//! its word. A judge that does not see these sees nothing.

use std::collections::BTreeSet;

use wire::{DecisionId, Hash, Nonce};

use super::{
    history::{
        Applied, Asked, Got, Handed, Head, History, Lane, Made, Ms, Registered, Released, Said,
        Verdict, Via,
    },
    judge::{Check, judge, lease_bound_ms},
};

const GRANTED_MS: u64 = 2000;
const LANE: Lane =
    Lane { citizen: 0, source: "lunch", recipient: "hospital-a", item: "health.allergy" };

const PERMIT: DecisionId = decision(1);
const DENY: DecisionId = decision(2);
const AGAIN: DecisionId = decision(3);
const ONCE: DecisionId = decision(4);
const DIRECT: DecisionId = decision(5);

const fn decision(number: u8) -> DecisionId {
    DecisionId([number; 32])
}

fn request(number: u8) -> Nonce {
    Nonce([number; 16])
}

fn made(id: DecisionId, verdict: Verdict) -> Made {
    Made { id, citizen: 0, source: "lunch", verdict }
}

fn permit(id: DecisionId, reopens: &[DecisionId], once: bool) -> Made {
    let reopens: BTreeSet<_> = reopens.iter().copied().collect();
    made(id, Verdict::Permit { recipient: LANE.recipient, item: LANE.item, reopens, once })
}

fn handed(id: DecisionId, via: Via, begun: Ms, ended: Ms, said: Said) -> Handed {
    let to = if via == Via::Source { "lunch" } else { "maebashi" };
    Handed { decision: id, via, to, begun, ended, said }
}

fn data(number: u8, permit: DecisionId) -> Got {
    Got::Data { presentation: Hash([number; 32]), permits: vec![permit] }
}

fn asked(number: u8, begun: Ms, ended: Ms, got: Got) -> Asked {
    Asked { request: request(number), lane: LANE, begun, ended, got }
}

/// A permit, a release, a deny, a refusal, a permit that reopens it, a release, a permit good once,
/// and in the end a deny of everything straight to the source.
pub fn clean() -> History {
    let mut history = History { granted_ms: GRANTED_MS, ..History::default() };
    history.made = vec![
        permit(PERMIT, &[], false),
        made(DENY, Verdict::Deny { recipient: Some(LANE.recipient), item: Some(LANE.item) }),
        permit(AGAIN, &[DENY], false),
        permit(ONCE, &[DENY], true),
        made(DIRECT, Verdict::Deny { recipient: None, item: None }),
    ];
    history.handed = vec![
        handed(PERMIT, Via::Home, 100, 120, Said::Accepted),
        handed(DENY, Via::Home, 900, 930, Said::NoAnswer),
        handed(DENY, Via::Home, 935, 945, Said::Accepted),
        handed(DENY, Via::Home, 1100, 1110, Said::InForce),
        handed(AGAIN, Via::Home, 4000, 4020, Said::Accepted),
        handed(ONCE, Via::Home, 4100, 4120, Said::Accepted),
        handed(DIRECT, Via::Source, 8000, 8010, Said::Unavailable),
        handed(DIRECT, Via::Source, 8100, 8110, Said::InForce),
    ];
    let mut release = |number, at, permit, begun, ended| {
        history.asked.push(asked(number, begun, ended, data(number, permit)));
        let presentation = Hash([number; 32]);
        let request = request(number);
        history.released.push(Released { request, source: "lunch", at, presentation });
        history.logged.push(("lunch", request));
    };
    release(1, 510, PERMIT, 500, 520);
    // On a lease that did not know of the deny, and before it was in force.
    release(2, 1050, PERMIT, 1040, 1060);
    release(3, 5010, AGAIN, 5000, 5020);
    release(4, 5110, ONCE, 5100, 5120);
    history.asked.push(asked(5, 1200, 1210, Got::NotPermitted));
    history.asked.push(asked(6, 1090, 1150, Got::NoAnswer));
    history.asked.push(asked(6, 1300, 1310, Got::NotPermitted));
    let accepted = [(PERMIT, 110), (DENY, 940), (AGAIN, 4010), (ONCE, 4110), (DIRECT, 8500)];
    history.registered = accepted
        .map(|(decision, accepted)| Registered { decision, accepted, in_force: true })
        .to_vec();
    history.applied = vec![Applied { home: "maebashi", source: "lunch", owed: 6, applied: 6 }];
    history.heads = [(0, 3), (1000, 9), (2000, 9)]
        .map(|(at, length)| Head { node: "lunch", of: "log".to_owned(), at, length })
        .to_vec();
    history.probes = vec![asked(9, 9000, 9010, Got::NotPermitted)];
    history
}

/// One promise broken, and the check that has to see it.
pub struct Case {
    pub name: &'static str,
    pub seen_by: Check,
    pub history: History,
}

fn case(name: &'static str, seen_by: Check, breach: impl FnOnce(&mut History)) -> Case {
    let mut history = clean();
    breach(&mut history);
    Case { name, seen_by, history }
}

/// A release as it should be, but for its time and its permit.
fn leak(history: &mut History, begun: Ms, at: Ms, permit: DecisionId) {
    history.asked.push(asked(7, begun, at + 10, data(7, permit)));
    let presentation = Hash([7; 32]);
    history.released.push(Released { request: request(7), source: "lunch", at, presentation });
    history.logged.push(("lunch", request(7)));
}

/// The time after which nothing may be released against `DENY`, which was accepted at 940 ms.
const LAST: Ms = 940 + lease_bound_ms(GRANTED_MS);

pub fn cases() -> Vec<Case> {
    vec![
        case(
            "data to a request begun after the deny was in force",
            Check::NothingOnceInForce,
            |h| {
                leak(h, 1120, 1130, PERMIT);
            },
        ),
        case("a release committed after the deny was in force", Check::NothingOnceInForce, |h| {
            leak(h, 1090, 1150, PERMIT);
        }),
        case(
            "a retry that gets data after the deny was in force",
            Check::NothingOnceInForce,
            |h| {
                h.asked.push(asked(7, 1000, 1010, Got::NoAnswer));
                leak(h, 1200, 1005, PERMIT);
            },
        ),
        case("data after a deny straight to the source", Check::NothingOnceInForce, |h| {
            leak(h, 8120, 8130, AGAIN);
        }),
        case(
            "a release after the lease, the deny never told in force",
            Check::NothingBeyondTheLease,
            |h| {
                h.handed.retain(|handed| handed.said != Said::InForce || handed.decision != DENY);
                leak(h, LAST + 50, LAST + 60, PERMIT);
            },
        ),
        case("a release after the lease, its answer lost", Check::NothingBeyondTheLease, |h| {
            h.made.retain(|made| made.id == PERMIT || made.id == DENY);
            h.handed.retain(|handed| handed.said != Said::InForce);
            leak(h, LAST + 50, LAST + 60, PERMIT);
            h.asked.last_mut().expect("just pushed").got = Got::Silence;
        }),
        case("a home that dates its acceptance later", Check::AcceptedWhenSaid, |h| {
            h.registered[1].accepted = 3000;
        }),
        case("data on nothing", Check::PermitCited, |h| {
            h.asked[0].got = Got::Data { presentation: Hash([1; 32]), permits: vec![] };
        }),
        case("data on another citizen's permit", Check::PermitCited, |h| {
            h.made[0].citizen = 1;
        }),
        case("an acknowledged decision is missing", Check::AcknowledgedKept, |h| {
            h.registered.remove(0);
        }),
        case("a deny that the source took never came home", Check::AcknowledgedKept, |h| {
            h.registered.pop();
        }),
        case("a decision is not in force at the end", Check::EverythingApplied, |h| {
            h.registered[1].in_force = false;
        }),
        case("a source is behind at the end", Check::EverythingApplied, |h| {
            h.applied[0].applied = 5;
        }),
        case("a release stands twice in the log", Check::ReleasedOnce, |h| {
            h.logged.push(("lunch", request(1)));
        }),
        case("a release is not in the log", Check::ReleasedOnce, |h| {
            h.logged.remove(0);
        }),
        case("the log has a release that the store has not", Check::ReleasedOnce, |h| {
            h.logged.push(("lunch", request(8)));
        }),
        case("other bytes were received than released", Check::ReceivedAsReleased, |h| {
            h.released[0].presentation = Hash([9; 32]);
        }),
        case("data was received that was never released", Check::ReceivedAsReleased, |h| {
            h.released.remove(0);
            h.logged.remove(0);
        }),
        case("one use was spent twice", Check::SpentOnce, |h| {
            leak(h, 5200, 5210, ONCE);
        }),
        case("a deny was refused", Check::DenyNeverRefused, |h| {
            h.handed.push(handed(DIRECT, Via::Relay, 7000, 7010, Said::Refused("busy".into())));
        }),
        case("a log got shorter", Check::HeadsNeverGoBack, |h| {
            h.heads.push(Head { node: "lunch", of: "log".to_owned(), at: 3000, length: 8 });
        }),
        case("data at the end against the register", Check::RuleAtTheEnd, |h| {
            h.probes[0].got = data(9, AGAIN);
        }),
        case("a refusal at the end against the register", Check::RuleAtTheEnd, |h| {
            h.made.retain(|made| made.id != DIRECT);
            h.handed.retain(|handed| handed.decision != DIRECT);
        }),
    ]
}

/// Judges every fabricated history; says what was wrong with the judge, if anything was.
pub fn self_test() -> Vec<String> {
    let mut wrong = Vec::new();
    for violation in judge(&clean()).violations {
        wrong.push(format!("a clean history: {}: {}", violation.check, violation.what));
    }
    let looked_at = judge(&clean()).made;
    for check in Check::ALL {
        if !looked_at.contains_key(&check) {
            wrong.push(format!("never looked at: {check}"));
        }
    }
    for case in cases() {
        if !judge(&case.history).violations.iter().any(|found| found.check == case.seen_by) {
            wrong.push(format!("not seen: {}", case.name));
        }
    }
    for check in Check::ALL {
        if !cases().iter().any(|case| case.seen_by == check) {
            wrong.push(format!("no fabricated history breaks: {check}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_breach_is_seen_and_none_in_a_clean_history() {
        assert_eq!(self_test(), [""; 0]);
    }

    #[test]
    fn what_only_looks_like_a_breach_is_none() {
        // Until the lease ran out, as long as nobody was told that the deny is in force.
        let mut history = clean();
        history.handed.retain(|handed| handed.said != Said::InForce || handed.decision != DENY);
        leak(&mut history, LAST - 20, LAST, PERMIT);
        assert_eq!(judge(&history).violations, []);
        assert_eq!(judge(&history).longest_gap_ms, Some(LAST - 940));

        // The recipient's node had it, was killed before it said so, and gives it again.
        let mut history = clean();
        history.asked.push(asked(7, 1000, 1010, Got::Silence));
        leak(&mut history, 1200, 1005, PERMIT);
        assert_eq!(judge(&history).violations, []);

        // Nobody was told that it holds: it may be lost.
        let mut history = clean();
        history.registered.retain(|row| row.decision != ONCE);
        history.handed.retain(|handed| handed.decision != ONCE);
        assert_eq!(judge(&history).violations, []);
    }
}
