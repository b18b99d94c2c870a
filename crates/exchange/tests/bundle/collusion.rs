//! Source and home together log a release that no citizen allowed, sign the lease and the head for
//! it, and leave nothing out. The replay finds it.

use consent::admission::ReadDecision;
use trust::testing::NOW;
use wire::{
    DecisionId,
    consent::{Reopen, Uses},
};

use crate::{
    release::{Case, forged, released},
    world::{DAY, World, hospital, insurer},
};

#[track_caller]
fn reason(case: &Case) -> String {
    let error = case.verify().map(|_| ()).unwrap_err();
    assert_eq!(error.check, "consent", "{error}");
    error.reason
}

/// What is forged here is well made: with a permit, it passes.
#[test]
fn made_up_but_allowed() {
    let mut world = World::new();
    let permit = world.permit(&hospital(), |_| ());
    forged(world, "health.allergy", &[permit]).verify().unwrap();
}

#[test]
fn against_a_standing_deny() {
    let mut world = World::new();
    let permit = world.permit(&hospital(), |_| ());
    world.deny(&hospital());
    let case = forged(world, "health.allergy", &[permit]);
    assert!(reason(&case).contains("deny"));
}

#[test]
fn without_any_permit() {
    let case = forged(World::new(), "health.allergy", &[DecisionId([1; 32])]);
    assert!(reason(&case).contains("no permit"));
    // For somebody else.
    let mut world = World::new();
    let permit = world.permit(&insurer(), |_| ());
    assert!(reason(&forged(world, "health.allergy", &[permit])).contains("no permit"));
    // Of something else.
    let mut world = World::new();
    let permit = world.permit(&hospital(), |_| ());
    assert!(reason(&forged(world, "health.condition", &[permit])).contains("no permit"));
}

#[test]
fn on_a_permit_that_is_over_or_yet_to_come() {
    let mut world = World::new();
    let permit = world.permit(&hospital(), |permit| permit.valid_until = NOW.plus_ms(DAY));
    world.clock = NOW.plus_ms(DAY);
    assert!(reason(&forged(world, "health.allergy", &[permit])).contains("expired"));
    let mut world = World::new();
    let permit = world.permit(&hospital(), |permit| permit.valid_from = NOW.plus_ms(1));
    assert!(reason(&forged(world, "health.allergy", &[permit])).contains("not valid yet"));
}

#[test]
fn on_a_permit_of_a_lost_phone() {
    let mut world = World::new();
    let permit = world.permit(&hospital(), |_| ());
    world.end_key();
    let case = forged(world, "health.allergy", &[permit]);
    assert!(reason(&case).contains("key"));
}

#[test]
fn citing_other_permits_than_stood() {
    let cite = |cited: fn(DecisionId, DecisionId) -> Vec<DecisionId>| {
        let mut world = World::new();
        let unlimited = world.permit(&hospital(), |_| ());
        let once = world.permit(&hospital(), |permit| permit.uses = Uses::Once);
        let mut cited = cited(unlimited, once);
        cited.sort();
        forged(world, "health.allergy", &cited)
    };
    cite(|unlimited, _| vec![unlimited]).verify().unwrap();
    // An unlimited permit comes first: the counted one was not needed.
    assert_eq!(reason(&cite(|_, once| vec![once])), "it passed on other permits");
    assert_eq!(
        reason(&cite(|unlimited, once| vec![unlimited, once])),
        "it passed on other permits"
    );
    let foreign = cite(|unlimited, _| vec![unlimited, DecisionId([0xff; 32])]);
    assert_eq!(reason(&foreign), "it passed on other permits");
}

/// A deny was handed straight to the source, and a new permit names it: the channel brings the permit first.
#[test]
fn a_permit_that_names_what_only_the_source_has_is_the_one_it_passed_on() {
    let cite = |naming: bool, second: bool| {
        let mut world = World::new();
        let deny = world.signed_deny(&hospital());
        let id = ReadDecision::read(&deny, &world.network.id).unwrap().id();
        let first = world.permit(&hospital(), |_| ());
        let anew = world.permit(&hospital(), |permit| {
            permit.valid_until = NOW.plus_ms(2 * DAY);
            permit.reopens = if naming { vec![Reopen::Deny(id)] } else { vec![] };
        });
        let verdict =
            forged(world, "health.allergy", &[if second { anew } else { first }]).verify();
        // The terms in its presentation are another test's.
        verdict.err().is_none_or(|error| error.check != "consent")
    };
    // Of two that name nothing the rule takes one.
    assert_ne!(cite(false, true), cite(false, false));
    assert!(cite(true, true));
}

#[test]
fn logging_other_items_than_went_out() {
    let mut world = World::new();
    world.permit(&hospital(), |_| ());
    let mut case = released(world);
    case.relog(|release| release.items = vec!["health.condition".parse().unwrap()]);
    assert_eq!(reason(&case), "an item went out that was not permitted");
    case.relog(|release| release.items = vec![]);
    assert_eq!(case.fails(), "consent");
}

#[test]
fn about_another_citizen() {
    let mut world = World::new();
    world.permit(&hospital(), |_| ());
    let mut case = released(world);
    case.relog(|release| release.pair.subject = wire::ServiceId([0xa9; 32]));
    assert_eq!(case.fails(), "decisions");
    // Of whom there is no entry at all.
    case.bundle.channels[0].entries.clear();
    case.relog(|release| release.pair.subject = wire::ServiceId([0xcc; 32]));
    assert_eq!(case.fails(), "decisions");
}
