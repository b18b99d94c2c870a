//! What honest nodes put together verifies, years later and elsewhere.

use evidence::record::Release;
use exchange::bundle::Bundle;
use trust::testing::NOW;
use wire::consent::{Reopen, Uses};

use crate::{
    release::{honest, released},
    world::{DAY, World, hospital, item, phone_until},
};

#[test]
fn it_verifies_and_names_every_check() {
    let case = honest();
    let verdict = case.verify().unwrap();
    let names: Vec<_> = verdict.checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "file",
            "trust list",
            "source",
            "recipient",
            "home",
            "release record",
            "request",
            "lease",
            "channel head",
            "decisions",
            "consent",
            "presentation",
            "receipt"
        ]
    );
    assert!(verdict.checks.iter().all(|check| !check.detail.is_empty()));
    assert!(!verdict.not_checked.is_empty());
    assert_eq!(verdict.release, case.release);
    assert_eq!(verdict.released_at, NOW);
    let items: Vec<_> = verdict.presentation.items().keys().cloned().collect();
    assert_eq!(items, [item("health.allergy")]);
    // What the tests beside this one rest on: gaps, several entries, proofs with a path.
    let seqs: Vec<_> = case.bundle.channels[0].entries.iter().map(|entry| entry.seq).collect();
    assert_eq!((seqs, case.release.position.length), (vec![1, 2, 3], 5));
    assert!(
        !case.bundle.channels[0].map_proof.path.is_empty() && !case.bundle.release.path.is_empty()
    );
}

#[test]
fn it_verifies_without_a_receipt_and_says_so() {
    let mut case = honest();
    case.bundle.receipt = None;
    let verdict = case.verify().unwrap();
    let receipt = verdict.checks.iter().find(|check| check.name == "receipt").unwrap();
    assert_eq!(receipt.detail, "none came");
}

#[test]
fn a_reopened_deny_does_not_hinder() {
    let mut world = World::new();
    world.permit(&hospital(), |_| ());
    let deny = world.deny(&hospital());
    let permit = world.permit(&hospital(), |permit| permit.reopens = vec![Reopen::Deny(deny)]);
    let case = released(world);
    assert_eq!(case.release.permits, [permit]);
    case.verify().unwrap();
}

#[test]
fn each_of_two_permits_good_once() {
    let mut world = World::new();
    let first = world.permit(&hospital(), |permit| {
        permit.uses = Uses::Once;
        permit.valid_until = NOW.plus_ms(DAY);
    });
    let second = world.permit(&hospital(), |permit| permit.uses = Uses::Once);
    let case = released(world);
    assert_eq!(case.release.permits, [first]);
    case.verify().unwrap();
    // The first is spent: the second release passes on the second.
    let case = released(case.world);
    assert_eq!(case.release.permits, [second]);
    case.verify().unwrap();
}

#[test]
fn a_phone_whose_certificate_ran_out_is_followed_by_another() {
    let mut world = World::new();
    world.permit(&hospital(), |permit| permit.valid_until = NOW.plus_ms(DAY));
    // A second phone, of which the certificate is good for a day.
    let old = phone_until(&world.network, "old phone", NOW.plus_ms(DAY));
    world.begin(&old, NOW.plus_ms(DAY));
    world.sync();
    world.clock = NOW.plus_ms(2 * DAY);
    let permit = world.permit(&hospital(), |_| ());
    let case = released(world);
    assert_eq!(case.release.permits, [permit]);
    case.verify().unwrap();
}

#[test]
fn reading_gives_what_was_written() {
    let case = honest();
    let bytes = case.bundle.to_bytes();
    let read = Bundle::from_bytes(&bytes).unwrap();
    assert_eq!((read.to_bytes(), read.hash()), (bytes.clone(), wire::sha256(&bytes)));
    let release: Release =
        evidence::record::Record::from_bytes(&read.release.record).unwrap().body().unwrap();
    assert_eq!(release, case.release);
}
