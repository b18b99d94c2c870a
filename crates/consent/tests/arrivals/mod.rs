//! A pair comes to a home with what the homes before signed of it: what the new one makes of that is what
//! the source makes of the channels.

use consent::{
    AdmittedKeyBegin, AdmittedMove, CheckedExtract, PairState, Refused,
    home::{Accepted, HomeError},
    moving::{Arrival, ArrivalFault},
};
use evidence::map;
use trust::{Trust, testing::NOW};
use wire::{
    Hash,
    channel::{EntryKind, HeadStatement, PairExtract, Progress, Reached},
    consent::{Attested, Reopen, Scope},
    limits,
};

use crate::{
    fixture::{RUN, now},
    moves::Home,
    world::{Phone, World, allergy, ask, here, pair},
};

/// What a city signs of its channel.
fn extract(world: &World, city: usize, home: &Home) -> PairExtract {
    let (channel, head) = (world.channel(city), *home.channel.head());
    PairExtract {
        statement: world.sign(HeadStatement { channel, head, time: NOW }, &world.officer(city)),
        entries: home.entries(),
        map_proof: map::prove(&home.store.map, &Hash(here().0)).unwrap(),
    }
}

pub fn checked(world: &World, city: usize, home: &Home) -> CheckedExtract {
    CheckedExtract::check(&extract(world, city, home), &pair(), world.trust(), NOW).unwrap()
}

fn begin(world: &World, city: usize, home: &mut Home, phone: &Phone) {
    let body = world.begin(&world.officer(city), phone);
    let (id, trust) = (world.channel(city), world.trust());
    let begin = AdmittedKeyBegin::admit(&body, &id, &home.pair(), trust, NOW).unwrap();
    home.channel.accept_key_begin(&mut home.store, &begin, &RUN, now()).unwrap();
}

pub fn let_go(world: &World, city: usize, home: &mut Home, moving: &Attested) {
    let (id, trust) = (world.channel(city), world.trust());
    let end = AdmittedMove::admit_end(moving, &id, &home.pair(), trust, NOW).unwrap();
    home.channel.accept_move_end(&mut home.store, &end, &RUN, now()).unwrap();
}

fn arrival(
    world: &World,
    city: usize,
    home: &Home,
    moving: &Attested,
    history: &[CheckedExtract],
    trust: &Trust,
) -> Result<Arrival, ArrivalFault> {
    let (held, own) = (home.pair(), &home.store.home_entries);
    Arrival::new(&world.channel(city), moving, history, (&held, own), trust, NOW)
}

pub fn arrive(
    world: &World,
    city: usize,
    home: &mut Home,
    moving: &Attested,
    history: &[CheckedExtract],
) -> Accepted {
    let arrival = arrival(world, city, home, moving, history, world.trust()).unwrap();
    let accepted = arrival.accept(&mut home.channel, &mut home.store, &here(), &RUN, now());
    accepted.unwrap().expect("nothing came between")
}

/// What the source makes of these channels, in this order.
fn source(world: &World, channels: &[(usize, &Home)]) -> PairState {
    let mut pair = PairState::default();
    for (city, home) in channels {
        for entry in home.entries() {
            world.absorb(&mut pair, *city, &entry);
        }
    }
    pair
}

/// A citizen of the first city, who permitted and denied.
pub fn settled(world: &World) -> (Home, Phone) {
    let (mut home, own) = (Home::new(world, 0), world.phone("own"));
    begin(world, 0, &mut home, &own);
    home.decide(world, &world.permit(&own, &[])).unwrap();
    home.decide(world, &world.deny(&own, allergy())).unwrap();
    (home, own)
}

#[test]
fn there_and_back_again() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let there = world.moving(&own, 0, 1, 1);
    let_go(&world, 0, &mut a, &there);
    let brought = checked(&world, 0, &a);
    assert!(!arrive(&world, 1, &mut b, &there, std::slice::from_ref(&brought)).known);
    assert_eq!(b.pair(), source(&world, &[(0, &a), (1, &b)]));
    // The same again is the same, and nothing to be written.
    let again = arrival(&world, 1, &b, &there, &[brought], world.trust()).unwrap();
    assert_eq!(again.stands().unwrap().entry.kind, EntryKind::MOVE_BEGIN);

    let deny = world.deny(&own, Scope::EVERYTHING);
    b.decide(&world, &deny).unwrap();
    let back = world.moving(&own, 1, 0, 2);
    let_go(&world, 1, &mut b, &back);
    let history = [checked(&world, 0, &a), checked(&world, 1, &b)];
    arrive(&world, 0, &mut a, &back, &history);
    assert_eq!(a.pair(), source(&world, &[(0, &a), (1, &b)]));
    assert_eq!(a.pair(), source(&world, &[(1, &b), (0, &a)]));
    assert!(a.pair().is_home(&world.city(0)) && a.pair().knows_deny(&world.decision_id(&deny)));
    let denies: Vec<_> = a.pair().standing_denies().map(|(id, _)| Reopen::Deny(*id)).collect();
    a.decide(&world, &world.permit(&own, &denies)).unwrap();
    assert!(ask(&source(&world, &[(0, &a), (1, &b)]), NOW).is_ok());
}

#[test]
fn the_order_in_which_it_is_brought_does_not_matter() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    let (mut b, mut c) = (Home::new(&world, 1), Home::new(&world, 2));
    let first = world.moving(&own, 0, 1, 1);
    let_go(&world, 0, &mut a, &first);
    arrive(&world, 1, &mut b, &first, &[checked(&world, 0, &a)]);
    let second = world.moving(&own, 1, 2, 2);
    let_go(&world, 1, &mut b, &second);
    let history = [checked(&world, 1, &b), checked(&world, 0, &a)];
    arrive(&world, 2, &mut c, &second, &history);
    assert_eq!(c.pair(), source(&world, &[(0, &a), (1, &b), (2, &c)]));
    // Half of it does not do.
    let half = arrival(&world, 2, &Home::new(&world, 2), &second, &history[..1], world.trust());
    assert!(matches!(half, Err(ArrivalFault::Admission(_))), "{half:?}");
}

#[test]
fn a_stray_key_begin_of_the_new_home_has_no_effect() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    // The citizen asked the new city for a key before the move: it took itself for the home.
    let (mut b, stray) = (Home::new(&world, 1), world.phone_by(1, "stray"));
    begin(&world, 1, &mut b, &stray);
    b.decide(&world, &world.permit(&stray, &[])).unwrap();
    b.decide(&world, &world.deny(&stray, allergy())).unwrap();
    let moving = world.moving(&own, 0, 1, 1);
    let_go(&world, 0, &mut a, &moving);
    arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    assert_eq!(b.pair(), source(&world, &[(0, &a), (1, &b)]));
    assert!(!b.pair().keys.contains_key(&stray.key()));
    assert_eq!(b.pair().denies.len(), 2, "a deny is never lost");
    let refused = b.decide(&world, &world.permit(&stray, &[]));
    assert!(matches!(refused, Err(HomeError::KeyStanding(_))), "{refused:?}");
}

#[test]
fn a_home_by_the_sources_word_lets_nobody_go_on_anothers() {
    let world = World::new();
    let (mut b, own) = settled(&world); // the honest home is the first city here
    let (mut rogue, forged) = (Home::new(&world, 1), world.phone_by(1, "forged"));
    begin(&world, 1, &mut rogue, &forged);
    let moving = world.moving(&forged, 1, 0, 1);
    let_go(&world, 1, &mut rogue, &moving);
    let brought = [checked(&world, 1, &rogue)];
    let applied = b.channel.head().position;
    let reached = Some(Reached { applied, waiting: vec![] });
    let progress = Progress { applied, reached, unreadable: vec![] };
    b.channel.acknowledge(&mut b.store, &progress, now()).unwrap();
    let refused = arrival(&world, 0, &b, &moving, &brought, world.trust());
    assert!(matches!(refused, Err(ArrivalFault::AtHome)), "{refused:?}");
    // Unless the source could do nothing with its begin: then it is the other that was first.
    b.store.home_entries[0].unreadable = Some(NOW);
    assert!(arrival(&world, 0, &b, &moving, &brought, world.trust()).is_ok());
    assert!(b.pair().is_home(&world.city(0)) && b.pair().keys.contains_key(&own.key()));
}

#[test]
fn an_early_begin_waits_and_acts_when_the_end_is_brought() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let moving = world.moving(&own, 0, 1, 1);
    let early = arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    assert!(b.pair().waits(&world.city(1), &early.entry.entry));
    assert_eq!(b.pair(), source(&world, &[(0, &a), (1, &b)]));
    let refused = b.decide(&world, &world.permit(&own, &[]));
    assert!(matches!(&refused, Err(HomeError::OtherHome(home)) if *home == world.city(0)));
    let deny = world.deny(&own, Scope::EVERYTHING);
    b.decide(&world, &deny).unwrap();
    // Without news it goes on waiting.
    let still = arrival(&world, 1, &b, &moving, &[checked(&world, 0, &a)], world.trust()).unwrap();
    assert!(still.stands().is_some());
    // The old home went on until it heard of the move.
    a.decide(&world, &world.deny(&own, allergy())).unwrap();
    let_go(&world, 0, &mut a, &moving);
    let begun = arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    assert!(begun.known && begun.entry.entry == early.entry.entry, "no second entry");
    assert!(b.pair().is_home(&world.city(1)) && b.pair().waiting.is_empty());
    assert_eq!(b.pair(), source(&world, &[(0, &a), (1, &b)]));
    assert_eq!(b.pair(), source(&world, &[(1, &b), (0, &a)]));
}

#[test]
fn an_early_begin_is_said_again_once_the_home_before_is_gone() {
    let world = World::new();
    let (a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let moving = world.moving(&own, 0, 1, 1);
    arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    let mut at_source = source(&world, &[(0, &a), (1, &b)]);
    let gone = world.city(0);
    let trust = world.network.trust_with(|list, _| {
        list.municipalities.retain(|municipality| municipality.organisation != gone);
    });
    let shown = extract(&world, 0, &a);
    assert!(CheckedExtract::check(&shown, &pair(), &trust, NOW).is_err());
    assert!(CheckedExtract::on_anothers_word(&shown, &pair(), &trust).is_ok());
    assert!(CheckedExtract::on_anothers_word(&shown, &pair(), world.trust()).is_err());

    let arrival = arrival(&world, 1, &b, &moving, &[], &trust).unwrap();
    let accepted = arrival.accept(&mut b.channel, &mut b.store, &here(), &RUN, now()).unwrap();
    assert!(!accepted.unwrap().known);
    world.absorb_under(&mut at_source, 1, b.entries().last().unwrap(), &trust);
    assert_eq!(b.pair(), at_source);
    assert!(b.pair().is_home(&world.city(1)));
}

#[test]
fn what_a_removed_home_still_owed_is_not_released_around() {
    let world = World::new();
    let gone = world.city(0);
    let trust = world.network.trust_with(|list, _| {
        list.municipalities.retain(|municipality| municipality.organisation != gone);
    });
    // The old home has told the citizen that the deny is in force: it is cut off, its leases ran out.
    // Whether it let go or not, and whether the citizen brought the deny or not, the source has neither.
    for lets_go in [false, true] {
        let world = World::new();
        let (mut a, own) = settled(&world);
        let named: Vec<_> = a.pair().standing_denies().map(|(id, _)| Reopen::Deny(*id)).collect();
        a.decide(&world, &world.permit(&own, &named)).unwrap();
        let mut at_source = source(&world, &[(0, &a)]);
        assert!(ask(&at_source, NOW).is_ok());
        let shown = checked(&world, 0, &a);
        a.decide(&world, &world.deny(&own, Scope::EVERYTHING)).unwrap();
        let moving = world.moving(&own, 0, 1, 1);
        let mut b = Home::new(&world, 1);
        if lets_go {
            let_go(&world, 0, &mut a, &moving);
            arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
        } else {
            arrive(&world, 1, &mut b, &moving, &[shown]);
            let again = arrival(&world, 1, &b, &moving, &[], &trust).unwrap();
            again.accept(&mut b.channel, &mut b.store, &here(), &RUN, now()).unwrap().unwrap();
        }
        for entry in b.entries() {
            world.absorb_under(&mut at_source, 1, &entry, &trust);
        }
        assert!(at_source.is_home(&world.city(1)));
        assert_eq!(ask(&at_source, NOW), Err(Refused::Denied), "it let go: {lets_go}");
    }
}

#[test]
fn one_begin_of_a_step_waits_however_often_it_is_signed() {
    let world = World::new();
    let (a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let shown = [checked(&world, 0, &a)];
    let first = arrive(&world, 1, &mut b, &world.moving(&own, 0, 1, 1), &shown);
    for _ in 0..3 {
        let another = world.moving(&own, 0, 1, 1);
        assert_ne!(wire::cbor::to_vec(&another), first.entry.entry.body.0);
        let again = arrive(&world, 1, &mut b, &another, &shown);
        assert_eq!((again.known, &again.entry), (true, &first.entry));
    }
    assert_eq!(b.entries().len(), 1);
}

#[test]
fn a_home_takes_only_so_many_moves_that_wait() {
    let world = World::new();
    let (a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let moving = world.moving(&own, 0, 1, 1);
    // As many of other citizens wait, as the source tells.
    let many = limits::WAITING_ENTRIES as u64;
    let stray = world.entry(0, EntryKind::DENY, &world.deny(&own, allergy()));
    for _ in 0..many {
        b.channel.append_unchecked(&mut b.store, stray.clone(), &RUN, now()).unwrap();
    }
    let applied = b.channel.head().position;
    let mut tell = |waiting: Vec<u64>| {
        let reached = Some(Reached { applied, waiting });
        let progress = Progress { applied, reached, unreadable: vec![] };
        b.channel.acknowledge(&mut b.store, &progress, now()).unwrap();
        let shown = [checked(&world, 0, &a)];
        let arrival =
            Arrival::new(&world.channel(1), &moving, &shown, (&b.pair(), &[]), world.trust(), NOW);
        let before = b.store.clone();
        let accepted = arrival.unwrap().accept(&mut b.channel, &mut b.store, &here(), &RUN, now());
        assert_eq!(accepted.is_err(), b.store == before, "refused: nothing is written");
        accepted.map(drop)
    };
    let full = tell((0..many).collect());
    assert!(matches!(full, Err(HomeError::TooManyWaiting(limits::WAITING_ENTRIES))), "{full:?}");
    assert!(tell((1..many).collect()).is_ok(), "one of them acts");
}

#[test]
fn what_came_between_is_not_overwritten() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let moving = world.moving(&own, 0, 1, 1);
    let_go(&world, 0, &mut a, &moving);
    let arrival =
        arrival(&world, 1, &b, &moving, &[checked(&world, 0, &a)], world.trust()).unwrap();
    let deny = world.deny(&own, Scope::EVERYTHING);
    b.decide(&world, &deny).unwrap();
    let before = b.store.clone();
    let raced = arrival.accept(&mut b.channel, &mut b.store, &here(), &RUN, now()).unwrap();
    assert!(raced.is_none() && b.store == before);
    arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    assert!(b.pair().knows_deny(&world.decision_id(&deny)));
    assert_eq!(b.pair(), source(&world, &[(0, &a), (1, &b)]));
}
