//! A release on a present-consent: no lease, the permit in the request, and every deny of the channel
//! shown that it had to name.

use evidence::record::Release;
use exchange::bundle::verify;
use wire::{
    Signed, Timestamp,
    citizen::Standing,
    consent::{Permit, Reopen, Uses},
};

use crate::{
    release::{Case, at_the_counter, present},
    world::{DAY, World, hospital, insurer},
};

fn counter() -> Case {
    let mut world = World::new();
    world.deny(&insurer());
    at_the_counter(world, |_| ())
}

#[track_caller]
fn reason(case: &Case, check: &str) -> String {
    let error = case.verify().map(|_| ()).unwrap_err();
    assert_eq!(error.check, check, "{error}");
    error.reason
}

/// The source logs another request, and the same release, as made on it.
fn logged(case: &mut Case, request: &wire::exchange::Request) {
    let world = &case.world;
    let signed = Signed::new(request.clone(), &world.network.id, &world.hospital.signer).unwrap();
    case.relog(|release: &mut Release| {
        release.request = signed.bytes().to_vec().into();
        (release.request_id, release.request_nonce) = (signed.id(), request.id);
    });
}

#[test]
fn it_verifies_and_says_on_what() {
    let case = counter();
    assert_eq!(case.release.lease, None);
    let verdict = case.verify().unwrap();
    let detail = |name: &str| {
        let check = verdict.checks.iter().find(|check| check.name == name).unwrap();
        check.detail.clone()
    };
    assert_eq!(detail("lease"), "none: released on a present-consent");
    assert!(detail("present-consent").contains("good 5 s before"), "{}", detail("present-consent"));
    assert!(detail("consent").contains(&case.release.permits[0].to_string()));
}

#[test]
fn a_named_deny_does_not_hinder_and_one_that_is_not_named_does() {
    let mut world = World::new();
    let deny = world.deny(&hospital());
    let case = at_the_counter(world, |permit| permit.reopens = vec![Reopen::Deny(deny)]);
    case.verify().unwrap();
    // The source makes up a release on one that does not name it.
    let mut case = counter();
    case.world.deny(&hospital());
    case.world.sync();
    let applied = *case.world.source_end.applied();
    case.bundle.channels = vec![case.world.extract()];
    case.relog(|release| (release.position, release.map) = (applied.position, applied.map));
    assert!(reason(&case, "consent").contains("deny"));
}

#[test]
fn after_a_move_too() {
    let mut world = World::new();
    world.deny(&insurer());
    world.move_to(1);
    at_the_counter(world, |_| ()).verify().unwrap();
}

#[test]
fn a_present_consent_that_does_not_hold() {
    let made_up = |change: fn(&mut Permit), standing, age_ms: u64| {
        let mut case = counter();
        let clock = case.world.clock;
        let request = present(&mut case.world, change, |status| {
            status.standing = standing;
            status.time = Timestamp(clock.0 - age_ms);
        });
        logged(&mut case, &request);
        reason(&case, "present-consent")
    };
    let good = Standing::Good;
    assert!(made_up(|_| (), Standing::Revoked, 5_000).contains("revoked"));
    assert!(made_up(|_| (), good, DAY + 1).contains("too old"));
    assert!(made_up(|permit| permit.uses = Uses::Unlimited, good, 0).contains("good once"));
    assert!(made_up(|permit| permit.request = None, good, 0).contains("for this request"));
    // Without one, and without a lease.
    let mut case = counter();
    let bare = crate::release::request(&mut case.world, "health.allergy");
    logged(&mut case, &bare);
    assert!(reason(&case, "lease").contains("no present-consent"));
    // By a phone that was lost.
    let mut case = counter();
    case.world.end_key();
    case.world.sync();
    let applied = *case.world.source_end.applied();
    case.bundle.channels = vec![case.world.extract()];
    case.relog(|release| (release.position, release.map) = (applied.position, applied.map));
    assert!(reason(&case, "consent").contains("key"));
    // A lease that is none of this release's.
    let mut case = counter();
    let grant = case.world.grant();
    case.bundle.grant = Some(case.world.sign(grant, &case.world.home.signer));
    assert_eq!(case.fails(), "lease");
}

#[test]
fn no_byte_of_it_can_change() {
    let case = counter();
    let (file, root) = (case.bundle.to_bytes(), case.world.network.id);
    let passed: Vec<_> = (0..file.len())
        .step_by(173)
        .filter(|at| {
            let mut broken = file.clone();
            broken[*at] ^= 1 << (at / 173 % 8);
            verify(&broken, &root).is_ok()
        })
        .collect();
    assert!(passed.is_empty(), "of {} bytes, these may change: {passed:?}", file.len());
}
