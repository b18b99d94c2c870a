//! A bundle against what its citizen was told: a deny with the receipt that it was in force.

use consent::admission::ReadDecision;
use exchange::bundle::{BundleError, ConfirmedDeny, Verdict, verify_against};
use trust::testing::{NOW, TestOrganisation};
use wire::{
    Timestamp,
    consent::{Attested, Reopen},
    ids::Pair,
    notice::{Effect, EffectHow},
};

use crate::{
    release::{Case, at_the_counter, released},
    world::{HERE, World, hospital, lunch},
};

/// The last moment before the releases here, which are at [`NOW`].
const BEFORE: Timestamp = Timestamp(NOW.0 - 1);

fn effect(world: &World, deny: &Attested, how: EffectHow, since: Timestamp) -> Effect {
    let decision = ReadDecision::read(deny, &world.network.id).unwrap().id();
    Effect {
        decision,
        pair: Pair { source: lunch(), subject: HERE },
        channel: Some(world.channel()),
        seq: Some(3),
        how,
        since,
        log_index: (how == EffectHow::AtSource).then_some(0),
        time: since.plus_ms(5),
        present_consent_excepted: how == EffectHow::LeasesLapsed,
    }
}

fn signed(world: &World, effect: Effect, by: &TestOrganisation, deny: &Attested) -> ConfirmedDeny {
    let receipt = Attested { object: world.sign(effect, &by.signer), chain: by.chain.clone() };
    ConfirmedDeny::new(deny.clone(), receipt)
}

/// By whoever signs such a receipt.
fn confirmed(world: &World, deny: &Attested, how: EffectHow, since: Timestamp) -> ConfirmedDeny {
    let by = if how == EffectHow::AtSource { &world.lunch } else { &world.home };
    signed(world, effect(world, deny, how, since), by, deny)
}

fn against(case: &Case, confirmed: &ConfirmedDeny) -> Result<Verdict, BundleError> {
    let read = ConfirmedDeny::from_bytes(&confirmed.to_bytes()).unwrap();
    verify_against(&case.bundle.to_bytes(), &case.world.network.id, &[read])
}

#[track_caller]
fn refused(case: &Case, confirmed: &ConfirmedDeny) -> String {
    let error = against(case, confirmed).map(|_| ()).unwrap_err();
    assert_eq!(error.check, "confirmed deny", "{error}");
    error.reason
}

#[track_caller]
fn passes(case: &Case, confirmed: &ConfirmedDeny) -> String {
    let checks = against(case, confirmed).unwrap().checks;
    checks.into_iter().find(|check| check.name == "confirmed deny").unwrap().detail
}

/// The bundle holds; deny and receipt prove nothing against it.
#[track_caller]
fn unusable(case: &Case, confirmed: &ConfirmedDeny) -> String {
    let error = against(case, confirmed).map(|_| ()).unwrap_err();
    assert_eq!(error.check, "deny with its receipt", "{error}");
    error.reason
}

/// A release on a permit, and a deny that the channel in the bundle does not show.
fn left_out() -> (Case, Attested) {
    let mut world = World::new();
    world.permit(&hospital(), |_| ());
    let deny = world.signed_deny(&hospital());
    (released(world), deny)
}

#[test]
fn a_release_against_what_the_source_or_the_home_had_confirmed_is_caught() {
    let (case, deny) = left_out();
    case.verify().unwrap();
    let source = confirmed(&case.world, &deny, EffectHow::AtSource, BEFORE);
    let reason = refused(&case, &source);
    assert!(reason.contains("at the source") && reason.contains("deny"), "{reason}");
    // By the home's clock, which may be a minute ahead.
    for how in [EffectHow::Acknowledged, EffectHow::LeasesLapsed] {
        let long_before = Timestamp(NOW.0 - 60_001);
        refused(&case, &confirmed(&case.world, &deny, how, long_before));
        let just_before = Timestamp(NOW.0 - 60_000);
        let detail = passes(&case, &confirmed(&case.world, &deny, how, just_before));
        assert!(detail.contains("not before the release"), "{detail}");
    }
}

#[test]
fn at_the_source_its_log_says_which_was_first_and_no_clock() {
    let (case, deny) = left_out();
    // The release is the second of three records.
    let at = |log_index, since| {
        let effect = effect(&case.world, &deny, EffectHow::AtSource, since);
        signed(&case.world, Effect { log_index, ..effect }, &case.world.lunch, &deny)
    };
    for since in [BEFORE, NOW, NOW.plus_ms(60_000)] {
        for index in [0, 1] {
            assert!(refused(&case, &at(Some(index), since)).contains("at the source"));
        }
        let later = passes(&case, &at(Some(2), since));
        assert!(later.contains("not before the release"), "{later}");
    }
    assert!(unusable(&case, &at(None, BEFORE)).contains("no place in the source's log"));
}

#[test]
fn a_home_that_the_pair_moved_to_later_speaks_of_later() {
    let (case, deny) = left_out();
    let world = &case.world;
    let city = world.network.city(1);
    let channel =
        Some(wire::channel::ChannelId { home: city.organisation.clone(), source: lunch() });
    let since = NOW.plus_ms(86_400_000);
    let effect = Effect { channel, ..effect(world, &deny, EffectHow::Acknowledged, since) };
    let says = passes(&case, &signed(world, effect, &city, &deny));
    assert!(says.contains("not before the release"), "{says}");
}

#[test]
fn a_release_that_heeds_the_deny_passes() {
    let mut world = World::new();
    let deny = world.signed_deny(&hospital());
    let id = world.hand_in(&deny);
    world.permit(&hospital(), |permit| permit.reopens = vec![Reopen::Deny(id)]);
    let case = released(world);
    let detail = passes(&case, &confirmed(&case.world, &deny, EffectHow::AtSource, BEFORE));
    assert!(detail.contains("heeds"), "{detail}");
}

#[test]
fn lapsed_leases_except_a_present_consent_and_nothing_else_does() {
    let mut world = World::new();
    let deny = world.signed_deny(&hospital());
    let case = at_the_counter(world, |_| ());
    let long_before = Timestamp(NOW.0 - 100_000);
    let lapsed = confirmed(&case.world, &deny, EffectHow::LeasesLapsed, long_before);
    assert!(passes(&case, &lapsed).contains("excepts"));
    refused(&case, &confirmed(&case.world, &deny, EffectHow::Acknowledged, long_before));
    refused(&case, &confirmed(&case.world, &deny, EffectHow::AtSource, long_before));
}

#[test]
fn a_receipt_of_others_or_about_others_is_refused_by_name() {
    let (mut case, deny) = left_out();
    let other = case.world.signed_deny(&hospital());
    let world = &case.world;
    let at_source = || effect(world, &deny, EffectHow::AtSource, BEFORE);
    let long_before = Timestamp(NOW.0 - 100_000);
    let acknowledged = || effect(world, &deny, EffectHow::Acknowledged, long_before);
    let (hospital_node, city) = (&world.hospital, world.network.city(1));
    let elsewhere = Pair { source: lunch(), subject: wire::ServiceId([0xcc; 32]) };
    let of_city = wire::channel::ChannelId { home: city.organisation.clone(), source: lunch() };
    let cases = [
        (at_source(), &world.home, &deny, "neither by the source"),
        (at_source(), hospital_node, &deny, "neither by the source"),
        (acknowledged(), &world.lunch, &deny, "neither by the source"),
        (Effect { channel: None, ..acknowledged() }, &world.home, &deny, "neither by the source"),
        (
            Effect { channel: Some(of_city), ..acknowledged() },
            &city,
            &deny,
            "neither by the source",
        ),
        (at_source(), &world.lunch, &other, "another decision"),
        (Effect { pair: elsewhere, ..at_source() }, &world.lunch, &deny, "another pair"),
        (Effect { since: NOW, time: BEFORE, ..at_source() }, &world.lunch, &deny, "after it was"),
    ];
    for (effect, by, deny, says) in cases {
        let reason = unusable(&case, &signed(world, effect, by, deny));
        assert!(reason.contains(says), "{says}: {reason}");
    }
    let mut forged = confirmed(world, &deny, EffectHow::AtSource, BEFORE);
    *forged.receipt.object.0.last_mut().unwrap() ^= 1;
    unusable(&case, &forged);
    let mut forged = confirmed(world, &deny, EffectHow::AtSource, BEFORE);
    *forged.deny.object.0.last_mut().unwrap() ^= 1;
    unusable(&case, &forged);
}

#[test]
fn a_permit_is_no_deny_and_another_file_none_either() {
    let mut world = World::new();
    let permit = world.signed_permit(&hospital(), |_| ());
    world.hand_in(&permit);
    let case = released(world);
    let reason = unusable(&case, &confirmed(&case.world, &permit, EffectHow::AtSource, BEFORE));
    assert!(reason.contains("no deny"), "{reason}");
    let mut file = confirmed(&case.world, &permit, EffectHow::AtSource, BEFORE);
    file.format = "mebuku/bundle/1".to_owned();
    assert!(ConfirmedDeny::from_bytes(&file.to_bytes()).is_err());
}
