//! Every guard of `consent::guard`, switched off one at a time: the model has to notice, in a
//! scenario that the guarded run gets through without a violation (`promise.rs`, `testnet model`). The table stands in
//! `specs/14-verification.md`.

use consent::guard::{Guard, restore, switch_off};
use simulator::{
    explore::explore,
    scenario::{self, Scenario},
};

/// Each guard, the scenario in which its absence shows, and as a breach of what: found for another reason
/// it would not be the guard that was missed.
const TABLE: [(Guard, fn() -> Scenario, &[&str]); 37] = [
    (Guard::LeaseFromSend, scenario::one_lease, &["S1", "S2"]),
    (Guard::LeaseMonotonic, scenario::one_lease, &["S1", "S2"]),
    (Guard::LeaseWallCap, scenario::one_lease, &["S1", "S2"]),
    (Guard::GrantAnswersItsPull, scenario::one_lease, &["S1", "S2"]),
    (Guard::AppliedCoversLease, scenario::piece_by_piece, &["S1", "S2", "rule"]),
    (Guard::GrantedDuration, scenario::one_lease, &["S1", "S2"]),
    (Guard::HomeRemembersGrants, scenario::one_lease, &["S2"]),
    (Guard::LongestGrantCounts, scenario::two_settings, &["S2"]),
    (Guard::LapseMonotonic, scenario::one_lease, &["S2"]),
    (Guard::UnreadableDenies, scenario::piece_by_piece, &["rule", "S2"]),
    (Guard::DenyStandsUntilNamed, scenario::stale_view, &["rule"]),
    (Guard::KeyEndVoids, scenario::lost_phone, &["rule", "S2"]),
    (Guard::KeyMustBegin, scenario::lost_phone, &["rule"]),
    (Guard::AnyKeyMayDeny, scenario::lost_phone, &["S4"]),
    (Guard::EvaluateInCommit, scenario::old_copies, &["rule", "S2"]),
    (Guard::LeaseBeforeSend, scenario::one_lease, &["S1", "S2"]),
    (Guard::EvaluateBeforeSend, scenario::old_copies, &["rule", "S2"]),
    (Guard::RetryIgnoresOwnUse, scenario::one_use, &["rule"]),
    (Guard::RetrySamePermits, scenario::retry, &["rule"]),
    (Guard::UseInSameWrite, scenario::one_use, &["rule", "S3"]),
    (Guard::UseIsCosigned, scenario::one_use_forgotten, &["rule", "S3"]),
    (Guard::HomeStartCheck, scenario::old_copies, &["S3", "S2"]),
    (Guard::SourceStartCheck, scenario::old_copies, &["S2", "S3"]),
    (Guard::AcceptedIsCosigned, scenario::old_copies, &["S3", "S2"]),
    (Guard::ReachedIsCosigned, scenario::told_too_soon, &["S3", "S2"]),
    (Guard::OldHomeLetsGoFirst, scenario::moving, &["S1", "S2"]),
    (Guard::DeniesNeverWait, scenario::moving, &["rule", "S2"]),
    (Guard::MovedPairsAwaitTheSource, scenario::moved_leases, &["S2"]),
    (Guard::WaitingIsNotInForce, scenario::lost_while_moving, &["S2"]),
    (Guard::CollapsedDeniesStand, scenario::collapse, &["rule", "S2"]),
    (Guard::CollapseListsExactIds, scenario::collapse, &["rule"]),
    (Guard::PresentNamesDenies, scenario::at_the_counter, &["rule"]),
    (Guard::PresentForOneRequest, scenario::at_the_counter, &["rule"]),
    (Guard::PresentStatusIsFresh, scenario::at_the_counter, &["rule"]),
    (Guard::RequestIsDurable, scenario::recipient, &["recipient"]),
    (Guard::FirstAnswerStands, scenario::recipient, &["recipient"]),
    (Guard::ReceiptIsOwed, scenario::recipient, &["recipient"]),
];

/// What a violation is one of: an invariant by its number, the `allowed` rule, what a recipient owes.
fn breach(says: &str) -> &str {
    match says.split_once(':') {
        Some((invariant @ ("S1" | "S2" | "S3" | "S4"), _)) => invariant,
        _ if says.contains("against the rule") || says.contains("a retry of") => "rule",
        _ => "recipient",
    }
}

/// One test: the switch is the process's.
#[test]
fn what_guards_is_missed_when_it_is_gone() {
    let mut unnoticed = Vec::new();
    for (guard, scenario, breaches) in &TABLE {
        switch_off(*guard);
        let found = explore(scenario(), 2).violation;
        restore();
        match found {
            Some(found) if breaches.contains(&breach(&found.says)) => {
                println!("{guard:?}: {} ({} steps)", found.says, found.actions.len());
            }
            Some(found) => unnoticed.push(format!("{guard:?}, but {}", found.says)),
            None => unnoticed.push(format!("{guard:?}")),
        }
    }
    assert!(unnoticed.is_empty(), "nobody missed {unnoticed:?}");
}

#[test]
fn the_table_has_every_guard_once() {
    let named: Vec<_> = TABLE.iter().map(|(guard, ..)| *guard).collect();
    assert_eq!(named, Guard::ALL);
}
