//! The citizen moved: what stood came through two channels, and the bundle shows both, whole.

use consent::CheckedExtract;
use exchange::bundle::verify;
use wire::{channel::EntryKind, consent::Reopen, ids::Pair};

use crate::{
    release::{Case, forged, released},
    world::{HERE, World, hospital, insurer, lunch},
};

/// Permitted and denied in the first city, then moved to the second.
fn moved() -> World {
    let mut world = World::new();
    world.permit(&hospital(), |_| ());
    world.deny(&insurer());
    world.neighbours_deny();
    world.move_to(1);
    world
}

fn reason(case: &Case, check: &str) -> String {
    let error = case.verify().map(|_| ()).unwrap_err();
    assert_eq!(error.check, check, "{error}");
    error.reason
}

#[test]
fn a_permit_from_before_the_move_is_shown_by_both_channels() {
    let case = released(moved());
    assert_eq!(case.release.channel.home, case.world.network.cities[1].organisation);
    let verdict = case.verify().unwrap();
    let detail = |name: &str| {
        let check = verdict.checks.iter().find(|check| check.name == name).unwrap();
        check.detail.clone()
    };
    let first = case.world.network.cities[0].organisation.to_string();
    assert!(detail("channel head").contains(&first), "{}", detail("channel head"));
    assert_eq!(detail("decisions"), "all 5 entries of the pair");
}

#[test]
fn decisions_after_the_move_count_beside_those_before() {
    let mut world = moved();
    let deny = world.deny(&hospital());
    let mut denied = moved();
    let stale = denied.permit(&hospital(), |_| ());
    denied.deny(&hospital());
    assert!(reason(&forged(denied, "health.allergy", &[stale]), "consent").contains("deny"));
    let permit = world.permit(&hospital(), |permit| permit.reopens = vec![Reopen::Deny(deny)]);
    let case = released(world);
    assert_eq!(case.release.permits, [permit]);
    case.verify().unwrap();
}

#[test]
fn there_and_on_again() {
    let mut world = moved();
    world.deny(&insurer());
    world.move_to(2);
    let case = released(world);
    assert_eq!(case.bundle.channels.len(), 3);
    case.verify().unwrap();
}

#[test]
fn a_former_homes_channel_cannot_be_left_out_cut_or_altered() {
    // A deny of the first city, which the permit does not name.
    let case = || {
        let mut world = World::new();
        let permit = world.permit(&hospital(), |_| ());
        world.deny(&hospital());
        world.move_to(1);
        forged(world, "health.allergy", &[permit])
    };
    assert!(reason(&case(), "consent").contains("deny"));
    // Without the deny, or any other entry, by the first city's word.
    for place in 0..case().bundle.channels[0].entries.len() {
        let mut fewer = case();
        fewer.bundle.channels[0].entries.remove(place);
        assert!(reason(&fewer, "decisions").contains("missing"));
    }
    // Without the channel: then nobody let go, and the release is another home's.
    let mut alone = case();
    alone.bundle.channels.remove(0);
    assert!(reason(&alone, "decisions").contains("another municipality"));
    // The release's channel left out, or standing twice.
    let mut former = case();
    former.bundle.channels.remove(1);
    assert_eq!(former.fails(), "channel head");
    let mut twice = case();
    twice.bundle.channels.push(twice.bundle.channels[1].clone());
    assert!(reason(&twice, "channel head").contains("twice"));
    // Under an older head of the first city, before it let go.
    let mut early = World::new();
    early.permit(&hospital(), |_| ());
    early.sync();
    let extract = early.extract();
    let mut older = released(moved());
    older.bundle.channels[0] = extract;
    assert!(reason(&older, "decisions").contains("another municipality"));
}

#[test]
fn channels_have_one_order_and_belong_to_the_pairs_homes() {
    let mut swapped = released(moved());
    swapped.bundle.channels.swap(0, 1);
    assert!(reason(&swapped, "decisions").contains("order"));
    // A third city's, which relayed nothing, and the first city's word by another.
    let mut stray = released(moved());
    let mut elsewhere = World::new();
    elsewhere.sync();
    elsewhere.move_to(2);
    stray.bundle.channels.push(elsewhere.extract());
    assert_eq!(stray.fails(), "decisions");
    let mut foreign = released(moved());
    let second = foreign.bundle.channels[1].statement.chain.clone();
    foreign.bundle.channels[0].statement.chain = second;
    assert_eq!(foreign.fails(), "channel head");
}

#[test]
fn no_byte_of_it_can_change() {
    let case = released(moved());
    let (file, root) = (case.bundle.to_bytes(), case.world.network.id);
    verify(&file, &root).unwrap();
    let passed: Vec<_> = (0..file.len())
        .step_by(211)
        .filter(|at| {
            let mut broken = file.clone();
            broken[*at] ^= 1 << (at / 211 % 8);
            verify(&broken, &root).is_ok()
        })
        .collect();
    assert!(passed.is_empty(), "of {} bytes, these may change: {passed:?}", file.len());
}

#[test]
fn an_extract_is_what_its_home_signed() {
    let world = moved();
    let (trust, at) = (&world.network.trust, world.clock);
    let pair = Pair { source: lunch(), subject: HERE };
    let good = world.former[0].clone();
    let checked = CheckedExtract::check(&good, &pair, trust, at).unwrap();
    assert_eq!(checked.entries().last().unwrap().kind, EntryKind::MOVE_END);
    assert_eq!(checked.statement().channel.home, world.network.cities[0].organisation);
    let refused = |change: &dyn Fn(&mut wire::channel::PairExtract)| {
        let mut extract = good.clone();
        change(&mut extract);
        CheckedExtract::check(&extract, &pair, trust, at).unwrap_err().to_string()
    };
    assert!(refused(&|e| drop(e.entries.pop())).contains("missing, altered or added"));
    assert!(refused(&|e| e.entries[0].time = at.plus_ms(1)).contains("missing, altered"));
    assert!(refused(&|e| e.entries.swap(0, 1)).contains("out of order"));
    assert!(refused(&|e| e.entries[1].seq = 99).contains("beyond the head"));
    assert!(refused(&|e| e.entries[0].subject = wire::ServiceId([1; 32])).contains("another pair"));
    assert!(refused(&|e| e.statement = world.extract().statement).contains("beyond the head"));
    let by_lunch = |e: &mut wire::channel::PairExtract| {
        e.statement.object = world.sign(checked.statement().clone(), &world.lunch.signer);
        e.statement.chain = world.lunch.chain.clone();
    };
    assert!(refused(&by_lunch).contains("another organisation"));
}
