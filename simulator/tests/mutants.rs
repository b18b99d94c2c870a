//! Every guard of `consent::guard`, switched off one at a time: the model has to notice, in a
//! scenario that the guarded run gets through without a violation (`promise.rs`, `testnet model`). The table stands in
//! `specs/14-verification.md`.

use consent::guard::{Guard, restore, switch_off};
use simulator::{
    explore::explore,
    scenario::{self, Scenario},
};

/// Each guard and the scenario in which its absence shows.
const TABLE: [(Guard, fn() -> Scenario); 33] = [
    (Guard::LeaseFromSend, scenario::one_lease),
    (Guard::LeaseMonotonic, scenario::one_lease),
    (Guard::LeaseWallCap, scenario::one_lease),
    (Guard::GrantAnswersItsPull, scenario::one_lease),
    (Guard::AppliedCoversLease, scenario::piece_by_piece),
    (Guard::GrantedDuration, scenario::one_lease),
    (Guard::HomeRemembersGrants, scenario::one_lease),
    (Guard::LongestGrantCounts, scenario::two_settings),
    (Guard::LapseMonotonic, scenario::one_lease),
    (Guard::UnreadableDenies, scenario::piece_by_piece),
    (Guard::DenyStandsUntilNamed, scenario::stale_view),
    (Guard::KeyEndVoids, scenario::lost_phone),
    (Guard::KeyMustBegin, scenario::lost_phone),
    (Guard::AnyKeyMayDeny, scenario::lost_phone),
    (Guard::EvaluateInCommit, scenario::old_copies),
    (Guard::LeaseBeforeSend, scenario::one_lease),
    (Guard::EvaluateBeforeSend, scenario::old_copies),
    (Guard::RetryIgnoresOwnUse, scenario::one_use),
    (Guard::RetrySamePermits, scenario::retry),
    (Guard::UseInSameWrite, scenario::one_use),
    (Guard::StartCheck, scenario::old_copies),
    (Guard::AcceptedIsCosigned, scenario::old_copies),
    (Guard::OldHomeLetsGoFirst, scenario::moving),
    (Guard::DeniesNeverWait, scenario::moving),
    (Guard::MovedPairsAwaitTheSource, scenario::moved_leases),
    (Guard::CollapsedDeniesStand, scenario::collapse),
    (Guard::CollapseListsExactIds, scenario::collapse),
    (Guard::PresentNamesDenies, scenario::at_the_counter),
    (Guard::PresentForOneRequest, scenario::at_the_counter),
    (Guard::PresentStatusIsFresh, scenario::at_the_counter),
    (Guard::RequestIsDurable, scenario::recipient),
    (Guard::FirstAnswerStands, scenario::recipient),
    (Guard::ReceiptIsOwed, scenario::recipient),
];

/// One test: the switch is the process's.
#[test]
fn what_guards_is_missed_when_it_is_gone() {
    let mut unnoticed = Vec::new();
    for (guard, scenario) in &TABLE {
        switch_off(*guard);
        let found = explore(scenario(), 2).violation;
        restore();
        match found {
            Some(found) => println!("{guard:?}: {} ({} steps)", found.says, found.actions.len()),
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
