//! Begin and end of a pair's keys: who may, and what it does.

use consent::{PairState, Refused};
use trust::testing::NOW;
use wire::{
    Timestamp,
    channel::EntryKind,
    consent::{Attested, DocumentKind, ExpressedBy, Reopen, Scope},
};

use crate::world::{DAY, World, ask, saw};

use DocumentKind::{CourtOrder, FamilyRegister, GuardianshipRegister, PowerOfAttorney};
use EntryKind as Kind;
use ExpressedBy::{Guardian, Oneself, Proxy};

const LATER: Timestamp = Timestamp(NOW.0 + 20 * DAY);

/// A city's channel in which the citizen's own phone, a guardian's and a proxy's have begun.
fn family(world: &World) -> Vec<(Kind, Attested)> {
    let home = world.officer(0);
    let until = NOW.plus_ms(300 * DAY);
    let begin = |label, basis, authority| {
        let begin = world.begin_as(&home, &world.phone(label), basis, authority, until);
        (Kind::KEY_BEGIN, begin)
    };
    vec![
        begin("own", Oneself, None),
        begin("guardian", Guardian, saw(FamilyRegister)),
        begin("proxy", Proxy, saw(PowerOfAttorney)),
    ]
}

#[test]
fn who_may_begin_a_key_on_which_basis_and_with_which_document() {
    let world = World::new();
    let mut pair = PairState::default();
    assert_eq!(world.replay(&mut pair, 0, &family(&world)), [None, None, None]);
    let until = NOW.plus_ms(DAY);
    let new = world.phone("new");
    for (by, basis, document, begins) in [
        ("home", Oneself, None, true),
        ("home", Oneself, Some(FamilyRegister), false),
        ("home", Guardian, Some(FamilyRegister), true),
        ("home", Guardian, Some(GuardianshipRegister), true),
        ("home", Guardian, Some(CourtOrder), true),
        ("home", Guardian, Some(PowerOfAttorney), false),
        ("home", Guardian, None, false),
        ("home", Proxy, Some(PowerOfAttorney), true),
        ("home", Proxy, Some(GuardianshipRegister), true),
        ("home", Proxy, Some(CourtOrder), true),
        ("home", Proxy, Some(FamilyRegister), false),
        ("home", Proxy, None, false),
        ("own", Oneself, None, true),
        ("own", Proxy, None, true),
        ("own", Proxy, Some(PowerOfAttorney), false),
        ("own", Guardian, None, false),
        ("own", Guardian, Some(FamilyRegister), false),
        ("guardian", Oneself, None, false),
        ("guardian", Guardian, None, false),
        ("guardian", Guardian, Some(FamilyRegister), false),
        ("guardian", Proxy, None, false),
        ("proxy", Oneself, None, false),
        ("proxy", Proxy, None, false),
        ("new", Oneself, None, false),
    ] {
        let approver = if by == "home" { world.officer(0) } else { world.phone(by) };
        let begin = world.begin_as(&approver, &new, basis, document.and_then(saw), until);
        let mut after = pair.clone();
        let entry = world.entry(3, Kind::KEY_BEGIN, &begin);
        let fault = world.absorb(&mut after, 0, &entry).fault;
        let what = format!("{by} begins a key for {basis:?} with {document:?}: {fault:?}");
        assert_eq!(after.keys.contains_key(&new.key()), begins, "{what}");
        assert_eq!(fault.is_none(), begins, "{what}");
        assert_eq!(after.denies, pair.denies, "it would only have opened something: {what}");
    }
}

#[test]
fn who_may_end_which_key() {
    let world = World::new();
    let until = NOW.plus_ms(300 * DAY);
    let mut channel = family(&world);
    for (label, basis, document) in [
        ("own 2", Oneself, None),
        ("guardian 2", Guardian, saw(FamilyRegister)),
        ("proxy 2", Proxy, saw(PowerOfAttorney)),
    ] {
        let begin = world.begin_as(&world.officer(0), &world.phone(label), basis, document, until);
        channel.push((Kind::KEY_BEGIN, begin));
    }
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &channel);
    for (by, key, ends) in [
        ("home", "own", true),
        ("home", "guardian", true),
        ("home", "proxy", true),
        ("home", "never begun", true),
        ("own", "own 2", true),
        ("own", "guardian", true),
        ("own", "proxy", true),
        ("own", "never begun", true),
        ("own", "own", false),
        ("guardian", "guardian 2", true),
        ("guardian", "guardian", false),
        ("guardian", "own", false),
        ("guardian", "proxy", false),
        ("guardian", "never begun", false),
        ("proxy", "proxy 2", true),
        ("proxy", "own", false),
        ("proxy", "guardian", false),
        ("never begun", "own", false),
        ("other home", "own", false),
    ] {
        let approver = match by {
            "home" => world.officer(0),
            "other home" => world.officer(1),
            label => world.phone(label),
        };
        let end = world.end(&approver, &world.phone(key), &[]);
        let mut after = pair.clone();
        let fault = world.absorb(&mut after, 0, &world.entry(9, Kind::KEY_END, &end)).fault;
        let ended = after.ended.contains_key(&world.phone(key).key());
        assert_eq!(ended, ends, "{by} ends {key}: {fault:?}");
    }
}

#[test]
fn a_lost_phone_keeps_nothing_and_a_thief_who_signed_before_gains_nothing() {
    let world = World::new();
    let (home, lost, other) = (world.officer(0), world.phone("own"), world.phone("other"));
    let before = world.permit(&lost, &[]);
    // Signed by the thief with a time before the loss, handed in after it.
    let earlier = Timestamp(NOW.0 - 10 * DAY);
    let stolen = world.permit_as(&lost, Oneself, &[], earlier);
    let mut pair = PairState::default();
    let channel = [
        (Kind::KEY_BEGIN, world.begin(&home, &lost)),
        (Kind::KEY_BEGIN, world.begin(&lost, &other)),
        (Kind::PERMIT, before),
    ];
    world.replay(&mut pair, 0, &channel);
    assert!(ask(&pair, NOW).is_ok());
    world.absorb(&mut pair, 0, &world.entry(3, Kind::KEY_END, &world.end(&other, &lost, &[])));
    assert_eq!(ask(&pair, NOW), Err(Refused::KeyDoesNotStand));
    world.absorb(&mut pair, 0, &world.entry(4, Kind::PERMIT, &stolen));
    assert_eq!(ask(&pair, NOW), Err(Refused::KeyDoesNotStand));
    // The thief cannot end the other phone any more, nor begin one; but saying no is still taken.
    let revenge = world.end(&lost, &other, &[]);
    let fault = world.absorb(&mut pair, 0, &world.entry(5, Kind::KEY_END, &revenge)).fault;
    assert!(fault.is_some() && !pair.ended.contains_key(&other.key()));
    let deny = world.deny(&lost, Scope::EVERYTHING);
    assert!(world.absorb(&mut pair, 0, &world.entry(6, Kind::DENY, &deny)).fault.is_none());
    // The other phone reopens them all at once, since the key was ended.
    let again = world.permit(&other, &[Reopen::Key(lost.key())]);
    world.absorb(&mut pair, 0, &world.entry(7, Kind::PERMIT, &again));
    assert!(ask(&pair, NOW).is_ok());
}

#[test]
fn two_ends_of_one_key_keep_what_both_keep_in_whatever_order() {
    let world = World::new();
    let (home, old, other) = (world.officer(0), world.phone("own"), world.phone("other"));
    let permits = [world.permit(&old, &[]), world.permit(&old, &[])];
    let mut ids = permits.each_ref().map(|permit| world.decision_id(permit));
    ids.sort();
    let channel = [
        (Kind::KEY_BEGIN, world.begin(&home, &old)),
        (Kind::KEY_BEGIN, world.begin(&home, &other)),
        (Kind::PERMIT, permits[0].clone()),
        (Kind::PERMIT, permits[1].clone()),
    ];
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &channel);
    let both = world.entry(4, Kind::KEY_END, &world.end(&other, &old, &ids));
    let one = world.entry(5, Kind::KEY_END, &world.end(&home, &old, &ids[..1]));
    let none = world.entry(6, Kind::KEY_END, &world.end(&other, &old, &[]));
    let after = |entries: &[&wire::channel::Entry]| {
        let mut pair = pair.clone();
        for entry in entries {
            world.absorb(&mut pair, 0, entry);
        }
        pair
    };
    let permits_of = |pair: &PairState| {
        ask(pair, NOW).map(|permitted| permitted.permits().into_iter().collect::<Vec<_>>())
    };
    assert_eq!(after(&[&both, &one]), after(&[&one, &both]));
    assert_eq!(permits_of(&after(&[&both])), Ok(vec![ids[0]]));
    assert_eq!(permits_of(&after(&[&both, &one])), Ok(vec![ids[0]]));
    assert_eq!(after(&[&one, &none]), after(&[&none, &one]));
    assert_eq!(permits_of(&after(&[&none, &one])), Err(Refused::KeyDoesNotStand));
}

#[test]
fn an_end_that_arrives_before_its_begin_ends_it() {
    let world = World::new();
    let (home, own, lost) = (world.officer(0), world.phone("own"), world.phone("lost"));
    let permit = world.permit(&lost, &[]);
    let begin = (Kind::KEY_BEGIN, world.begin(&home, &own));
    let late = (Kind::KEY_BEGIN, world.begin(&home, &lost));
    let end = (Kind::KEY_END, world.end(&own, &lost, &[]));
    let permit = (Kind::PERMIT, permit);
    let state = |channel: &[(Kind, Attested)]| {
        let mut pair = PairState::default();
        world.replay(&mut pair, 0, channel);
        pair
    };
    let first = state(&[begin.clone(), end.clone(), late.clone(), permit.clone()]);
    assert_eq!(ask(&first, NOW), Err(Refused::KeyDoesNotStand));
    assert_eq!(first, state(&[begin, late, permit, end]));
}

#[test]
fn a_guardian_ends_at_majority_and_the_grown_citizen_ends_what_is_left() {
    let world = World::new();
    let (home, guardian, own) = (world.officer(0), world.phone("guardian"), world.phone("own"));
    let majority = NOW.plus_ms(15 * DAY);
    let begin = world.begin_as(&home, &guardian, Guardian, saw(FamilyRegister), majority);
    let mut pair = PairState::default();
    let permit = world.permit_as(&guardian, Guardian, &[], NOW);
    world.replay(&mut pair, 0, &[(Kind::KEY_BEGIN, begin), (Kind::PERMIT, permit)]);
    assert!(ask(&pair, Timestamp(majority.0 - 1)).is_ok());
    assert_eq!(ask(&pair, majority), Err(Refused::KeyDoesNotStand));
    // A decision that hides on what basis it was made does not count.
    let hidden = world.permit_as(&guardian, Oneself, &[], NOW);
    let mut other = PairState::default();
    let begin = world.begin_as(&home, &guardian, Guardian, saw(FamilyRegister), majority);
    world.replay(&mut other, 0, &[(Kind::KEY_BEGIN, begin), (Kind::PERMIT, hidden)]);
    assert_eq!(ask(&other, NOW), Err(Refused::KeyDoesNotStand));
    // The citizen's own phone, begun at the counter, ends the guardian's early.
    let end = world.end(&own, &guardian, &[]);
    let begin = world.begin(&home, &own);
    world.absorb(&mut pair, 0, &world.entry(2, Kind::KEY_BEGIN, &begin));
    world.absorb(&mut pair, 0, &world.entry(3, Kind::KEY_END, &end));
    assert_eq!(ask(&pair, NOW), Err(Refused::KeyDoesNotStand));
}

#[test]
fn a_second_phone_permits_once_the_first_approved_it() {
    let world = World::new();
    let (home, first, second) = (world.officer(0), world.phone("own"), world.phone("second"));
    let permit = world.permit(&second, &[]);
    let mut pair = PairState::default();
    let channel = [(Kind::KEY_BEGIN, world.begin(&home, &first)), (Kind::PERMIT, permit)];
    world.replay(&mut pair, 0, &channel);
    assert_eq!(ask(&pair, NOW), Err(Refused::KeyDoesNotStand), "kept, but it does not count");
    let begin = world.begin(&first, &second);
    world.absorb(&mut pair, 0, &world.entry(2, Kind::KEY_BEGIN, &begin));
    assert!(ask(&pair, LATER).is_ok());
}

#[test]
fn a_rogue_cas_key_denies_but_does_not_permit_even_when_revoked() {
    let world = World::new();
    let (home, own) = (world.officer(0), world.phone("own"));
    let rogue = world.phone_by(1, "rogue");
    let mut pair = PairState::default();
    let channel = [
        (Kind::KEY_BEGIN, world.begin(&home, &own)),
        (Kind::PERMIT, world.permit(&rogue, &[])),
        (Kind::KEY_BEGIN, world.begin(&rogue, &rogue)),
    ];
    world.replay(&mut pair, 0, &channel);
    assert_eq!(ask(&pair, NOW), Err(Refused::KeyDoesNotStand));
    world.absorb(&mut pair, 0, &world.entry(3, Kind::PERMIT, &world.permit(&own, &[])));
    assert!(ask(&pair, NOW).is_ok());
    // Even with its certificate on the denylist.
    let trust = world.network.trust_with(|_, timestamp| {
        let certificate = wire::sha256(&rogue.chain[0]);
        timestamp.denylist.push(wire::membership::Denied::Certificate(certificate));
    });
    let deny = world.entry(4, Kind::DENY, &world.deny(&rogue, Scope::EVERYTHING));
    let fault = world.absorb_under(&mut pair, 0, &deny, &trust).fault;
    assert_eq!(fault, None);
    assert_eq!(ask(&pair, NOW), Err(Refused::Denied));
}
