//! Every guard of `consent::guard`, switched off one at a time: the model or the simulator has to notice,
//! within what the guarded run gets through without a violation. The table stands in
//! `specs/14-verification.md`.

use consent::guard::{Guard, restore, switch_off};
use simulator::{
    explore::explore,
    run::{Options, run},
    scenario::{self, Scenario},
};

/// Where a guard's absence shows.
enum Finder {
    Model(fn(bool) -> Scenario),
    /// Any of the first so many seeds, an hour each.
    Days(u64),
}

const TABLE: [(Guard, Finder); 22] = [
    (Guard::LeaseFromSend, Finder::Model(scenario::one_lease)),
    (Guard::LeaseMonotonic, Finder::Model(scenario::one_lease)),
    (Guard::LeaseWallCap, Finder::Model(scenario::one_lease)),
    (Guard::GrantAnswersItsPull, Finder::Model(scenario::one_lease)),
    (Guard::AppliedCoversLease, Finder::Model(scenario::piece_by_piece)),
    (Guard::GrantedDuration, Finder::Model(scenario::one_lease)),
    (Guard::HomeRemembersGrants, Finder::Model(scenario::one_lease)),
    (Guard::LongestGrantCounts, Finder::Model(scenario::two_settings)),
    (Guard::LapseMonotonic, Finder::Model(scenario::one_lease)),
    (Guard::UnreadableDenies, Finder::Model(scenario::piece_by_piece)),
    (Guard::DenyStandsUntilNamed, Finder::Model(scenario::stale_view)),
    (Guard::KeyEndVoids, Finder::Model(scenario::lost_phone)),
    (Guard::KeyMustBegin, Finder::Model(scenario::lost_phone)),
    (Guard::AnyKeyMayDeny, Finder::Model(scenario::lost_phone)),
    (Guard::EvaluateInCommit, Finder::Model(scenario::old_copies)),
    (Guard::LeaseBeforeSend, Finder::Model(scenario::one_lease)),
    (Guard::EvaluateBeforeSend, Finder::Model(scenario::old_copies)),
    (Guard::RetryIgnoresOwnUse, Finder::Model(scenario::one_use)),
    (Guard::RetrySamePermits, Finder::Days(40)),
    (Guard::UseInSameWrite, Finder::Model(scenario::one_use)),
    (Guard::StartCheck, Finder::Model(scenario::old_copies)),
    (Guard::AcceptedIsCosigned, Finder::Model(scenario::old_copies)),
];

/// One test: the switch is the process's.
#[test]
fn what_guards_is_missed_when_it_is_gone() {
    let mut unnoticed = Vec::new();
    for (guard, finder) in &TABLE {
        switch_off(*guard);
        let found = match finder {
            Finder::Model(scenario) => {
                explore(scenario(false), 2).violation.map(|found| (found.actions.len(), found.says))
            }
            Finder::Days(seeds) => (1..=*seeds).find_map(|seed| {
                let outcome = run(&Options { seed, nodes: 6, minutes: 60 });
                outcome.violation.map(|says| (seed as usize, says))
            }),
        };
        restore();
        match found {
            Some((steps, says)) => println!("{guard:?}: {says} ({steps})"),
            None => unnoticed.push(guard),
        }
    }
    assert!(unnoticed.is_empty(), "nobody missed {unnoticed:?}");
}

#[test]
fn the_table_has_every_guard_once() {
    let named: Vec<_> = TABLE.iter().map(|(guard, _)| *guard).collect();
    assert_eq!(named, Guard::ALL);
}
