//! A pair that moves from one home to another: the two channels come to the source in any interleaving,
//! and the state is the same.

use consent::{
    AdmissionError, AdmittedKeyBegin, AdmittedMove, ChannelStore, PairState, Refused,
    admission::ReadDecision,
    home::{Accepted, HomeChannel, HomeError, adopt},
    memory::MemoryStore,
    source::unreadable_id,
};
use proptest::prelude::*;
use trust::testing::NOW;
use wire::{
    channel::{Entry, EntryKind as Kind},
    consent::{Attested, DocumentKind, ExpressedBy, Reopen, Scope},
};

use crate::{
    fixture::{RUN, now},
    world::{DAY, World, allergy, ask, here, saw},
};

/// The channels of up to three cities for one pair.
struct Story {
    world: World,
    channels: Vec<Vec<Entry>>,
}

impl Story {
    fn new(world: World, channels: &[&[(Kind, Attested)]]) -> Self {
        let entries = |channel: &&[(Kind, Attested)]| {
            (channel.iter().enumerate())
                .map(|(seq, (kind, body))| world.entry(seq as u64, *kind, body))
                .collect()
        };
        let channels = channels.iter().map(entries).collect();
        Self { world, channels }
    }

    /// A begins a key, permits, lets go; B begins, its citizen denies, permits anew, begins a second key;
    /// relayed denies come through both. Then to C and back to A.
    fn there_and_back() -> Self {
        let world = World::new();
        let (own, second) = (world.phone("own"), world.phone("second"));
        let early = world.deny(&own, Scope::EVERYTHING);
        let deny = world.deny(&second, Scope::EVERYTHING);
        let reopens = [&early, &deny].map(|deny| Reopen::Deny(world.decision_id(deny)));
        let first = world.moving(&own, 0, 1, 1);
        let onward = world.moving(&own, 1, 2, 2);
        let back = world.moving(&own, 2, 0, 3);
        let a = [
            (Kind::KEY_BEGIN, world.begin(&world.officer(0), &own)),
            (Kind::PERMIT, world.permit(&own, &[])),
            (Kind::MOVE_END, first.clone()),
            (Kind::PERMIT, world.permit(&own, &reopens)), // no effect any more
            (Kind::DENY, early),
            (Kind::MOVE_BEGIN, back.clone()),
            (Kind::PERMIT, world.permit(&own, &reopens)),
        ];
        let b = [
            (Kind::PERMIT, world.permit(&own, &reopens)), // no effect yet
            (Kind::MOVE_BEGIN, first),
            (Kind::KEY_BEGIN, world.begin(&own, &second)),
            (Kind::DENY, deny),
            (Kind::PERMIT, world.permit(&second, &[reopens[0].clone()])),
            (Kind::MOVE_END, onward.clone()),
        ];
        let c = [
            (Kind::MOVE_BEGIN, onward),
            (Kind::KEY_END, world.end(&own, &second, &[])),
            (Kind::MOVE_END, back),
        ];
        Self::new(world, &[&a, &b, &c])
    }

    /// Takes one entry from the channel that each pick names, and then whatever is left in order.
    fn interleaved(&self, picks: &[usize]) -> PairState {
        let mut pair = PairState::default();
        let mut next = vec![0; self.channels.len()];
        let rest = (0..self.channels.len()).flat_map(|city| vec![city; self.channels[city].len()]);
        for city in picks.iter().copied().chain(rest) {
            if let Some(entry) = self.channels[city].get(next[city]) {
                next[city] += 1;
                self.world.absorb(&mut pair, city, entry);
            }
        }
        pair
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_channels_of_a_pairs_homes_come_in_any_interleaving(
        picks in prop::collection::vec(0usize..3, 0..18),
    ) {
        let story = Story::there_and_back();
        let pair = story.interleaved(&picks);
        prop_assert_eq!(&pair, &story.interleaved(&[]));
        prop_assert_eq!((pair.epoch, pair.home.clone()), (3, Some(story.world.city(0))));
        prop_assert!(pair.waiting.is_empty() && !pair.awaits_begin);
        prop_assert!(ask(&pair, NOW).is_ok(), "the last permit counts");
        prop_assert_eq!(pair.permits.len(), 3, "what came before a begin or after an end does not");
    }
}

#[test]
fn the_new_channel_counts_only_after_the_old_homes_end() {
    let world = World::new();
    let own = world.phone("own");
    let moving = world.moving(&own, 0, 1, 1);
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &[(Kind::KEY_BEGIN, world.begin(&world.officer(0), &own))]);
    let entry = |seq, kind, body: &Attested| world.entry(seq, kind, body);
    world.absorb(&mut pair, 1, &entry(0, Kind::MOVE_BEGIN, &moving));
    world.absorb(&mut pair, 1, &entry(1, Kind::PERMIT, &world.permit(&own, &[])));
    assert_eq!(ask(&pair, NOW), Err(Refused::NoPermit));
    assert_eq!(pair.home, Some(world.city(0)), "and the old home's lease is the one that counts");
    let links = world.absorb(&mut pair, 0, &entry(1, Kind::MOVE_END, &moving)).links;
    assert_eq!(links.len(), 1, "what waited acts now");
    assert!(ask(&pair, NOW).is_ok());
    assert_eq!((pair.home.clone(), pair.epoch), (Some(world.city(1)), 1));
    // The old home's permits, keys and moves have no effect from here on; its denies always do.
    let before = pair.clone();
    for (kind, body) in [
        (Kind::PERMIT, world.permit(&own, &[])),
        (Kind::KEY_BEGIN, world.begin(&world.officer(0), &world.phone("late"))),
        (Kind::KEY_END, world.end(&world.officer(0), &own, &[])),
        (Kind::COLLAPSE, world.collapse(0, vec![wire::DecisionId([1; 32])])),
        (Kind::MOVE_END, world.moving(&own, 0, 2, 2)),
    ] {
        let fault = world.absorb(&mut pair, 0, &entry(2, kind, &body)).fault;
        assert!(fault.is_some(), "{kind:?}");
        assert_eq!(pair, before, "{kind:?}");
    }
    let deny = world.deny(&own, Scope::EVERYTHING);
    world.absorb(&mut pair, 0, &entry(3, Kind::DENY, &deny));
    assert_eq!(ask(&pair, NOW), Err(Refused::Denied));
}

#[test]
fn denies_of_a_home_to_come_hold_at_once() {
    let world = World::new();
    let own = world.phone("own");
    let mut pair = PairState::default();
    let channel = [
        (Kind::KEY_BEGIN, world.begin(&world.officer(0), &own)),
        (Kind::PERMIT, world.permit(&own, &[])),
    ];
    world.replay(&mut pair, 0, &channel);
    let moving = world.moving(&own, 0, 1, 1);
    let deny = world.deny(&own, Scope::EVERYTHING);
    world.replay(&mut pair, 1, &[(Kind::MOVE_BEGIN, moving), (Kind::DENY, deny)]);
    assert_eq!(ask(&pair, NOW), Err(Refused::Denied));
}

#[test]
fn an_unreadable_entry_of_a_former_home_stands_on() {
    let world = World::new();
    let own = world.phone("own");
    let garbage = Attested { object: vec![1, 2, 3].into(), chain: vec![] };
    let moving = world.moving(&own, 0, 1, 1);
    let mut pair = PairState::default();
    let old = [
        (Kind::KEY_BEGIN, world.begin(&world.officer(0), &own)),
        (Kind::PERMIT, world.permit(&own, &[])),
        (Kind(999), garbage.clone()),
        (Kind::MOVE_END, moving.clone()),
    ];
    world.replay(&mut pair, 0, &old);
    world.replay(&mut pair, 1, &[(Kind::MOVE_BEGIN, moving)]);
    assert_eq!(ask(&pair, NOW), Err(Refused::Denied));
    // Another city that copies the entry does not take its place.
    world.absorb(&mut pair, 2, &world.entry(2, Kind(999), &garbage));
    assert_eq!(ask(&pair, NOW), Err(Refused::Denied));
}

#[test]
fn who_may_move_a_pair_and_with_which_epoch() {
    let world = World::new();
    let (own, guardian) = (world.phone("own"), world.phone("guardian"));
    let (ended, until) = (world.phone("ended"), NOW.plus_ms(DAY));
    let home = world.officer(0);
    let mut pair = PairState::default();
    let authority = saw(DocumentKind::FamilyRegister);
    let channel = [
        (Kind::KEY_BEGIN, world.begin(&home, &own)),
        (Kind::KEY_BEGIN, world.begin(&home, &ended)),
        (Kind::KEY_END, world.end(&own, &ended, &[])),
        (
            Kind::KEY_BEGIN,
            world.begin_as(&home, &guardian, ExpressedBy::Guardian, authority, until),
        ),
    ];
    world.replay(&mut pair, 0, &channel);
    for (what, body, moves) in [
        ("the citizen's key", world.moving(&own, 0, 1, 1), true),
        ("an officer of the old home", world.moving(&home, 0, 1, 1), true),
        ("an officer of the new home", world.moving(&world.officer(1), 0, 1, 1), true),
        ("an officer of a third", world.moving(&world.officer(2), 0, 1, 1), false),
        ("a guardian's key", world.moving(&guardian, 0, 1, 1), false),
        ("an ended key", world.moving(&ended, 0, 1, 1), false),
        ("a key never begun", world.moving(&world.phone("stranger"), 0, 1, 1), false),
        ("an epoch too high", world.moving(&own, 0, 1, 2), false),
        ("an epoch too low", world.moving(&own, 0, 1, 0), false),
        ("from another home", world.moving(&own, 2, 1, 1), false),
        ("to itself", world.moving(&own, 0, 0, 1), false),
    ] {
        let mut after = pair.clone();
        world.absorb(&mut after, 0, &world.entry(4, Kind::MOVE_END, &body));
        assert_eq!(after.epoch == 1 && after.awaits_begin, moves, "{what}");
        let begin = world.entry(0, Kind::MOVE_BEGIN, &body);
        world.absorb(&mut after, 1, &begin);
        assert_eq!(after.is_home(&world.city(1)), moves, "{what}");
    }
}

#[test]
fn a_home_that_left_the_trust_list_need_not_let_go() {
    let world = World::new();
    let own = world.phone_by(1, "own");
    let gone = world.city(0);
    let trust = world.network.trust_with(|list, _| {
        list.municipalities.retain(|municipality| municipality.organisation != gone);
    });
    let moving = world.moving(&own, 0, 1, 1);
    let begin = world.entry(0, Kind::MOVE_BEGIN, &moving);
    let permit = world.entry(1, Kind::PERMIT, &world.permit(&own, &[]));
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &[(Kind::KEY_BEGIN, world.begin(&world.officer(0), &own))]);
    // It was still listed when the begin came: it waits, until the new home says it again.
    let mut waited = pair.clone();
    world.absorb(&mut waited, 1, &begin);
    world.absorb(&mut waited, 1, &permit);
    assert_eq!(waited.home, Some(gone));
    let again = world.entry(2, Kind::MOVE_BEGIN, &moving);
    let acted = world.absorb_under(&mut waited, 1, &again, &trust).acted;
    let faults: Vec<_> = acted.iter().map(|entry| entry.fault.is_some()).collect();
    assert_eq!(faults, [true, false, true], "it begins once");
    let acted = world.absorb_under(&mut pair, 1, &begin, &trust).acted;
    assert!(acted[0].fault.is_some(), "its home hears of it: {acted:?}");
    world.absorb_under(&mut pair, 1, &permit, &trust);
    assert_eq!(waited, pair);
    assert!(pair.is_home(&world.city(1)));
    // Nobody knows what the old home still owed: the begin denies everything until a permit names it.
    assert_eq!(ask(&pair, NOW), Err(Refused::Denied));
    let reopens = Reopen::Deny(unreadable_id(&world.channel(1), &begin.hash()));
    let permit = world.entry(3, Kind::PERMIT, &world.permit(&own, &[reopens]));
    world.absorb_under(&mut pair, 1, &permit, &trust);
    assert!(ask(&pair, NOW).is_ok());
}

#[test]
fn a_new_home_adopts_the_register_that_the_citizen_brings() {
    let world = World::new();
    let own = world.phone("own");
    let moving = world.moving(&own, 0, 1, 1);
    let register: Vec<_> = [
        (Kind::KEY_BEGIN, world.begin(&world.officer(0), &own)),
        (Kind::DENY, world.deny(&own, Scope::EVERYTHING)),
        (Kind::MOVE_END, moving.clone()),
    ]
    .iter()
    .enumerate()
    .map(|(seq, (kind, body))| world.entry(seq as u64, *kind, body))
    .collect();
    // What the new home holds already: a deny that it relayed.
    let mut held = PairState::default();
    world.absorb(&mut held, 1, &world.entry(0, Kind::DENY, &world.deny(&own, Scope::EVERYTHING)));
    let pair = adopt(&world.channel(0), held, &register, world.trust(), NOW);
    assert_eq!(pair.denies.len(), 2);
    let channel = world.channel(1);
    let admit = |body: &Attested, pair: &PairState| {
        AdmittedMove::admit_begin(body, &channel, pair, world.trust(), NOW)
    };
    assert!(admit(&moving, &pair).is_ok());
    let early = adopt(&world.channel(0), PairState::default(), &register[..2], world.trust(), NOW);
    assert!(admit(&moving, &early).is_err(), "not before the old home let go");
}

#[test]
fn a_home_speaks_of_leases_only_for_pairs_that_never_moved() {
    use consent::home::in_force_for;
    use wire::citizen::InForce::{Accepted, Acknowledged, LeasesLapsed};
    let world = World::new();
    let own = world.phone("own");
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &[(Kind::KEY_BEGIN, world.begin(&world.officer(0), &own))]);
    let says = |pair: &PairState, city| in_force_for(pair, &world.city(city), LeasesLapsed(NOW));
    assert_eq!(says(&pair, 0), LeasesLapsed(NOW));
    assert_eq!(says(&pair, 1), Accepted, "the source releases under another home's leases");
    let moving = world.moving(&own, 0, 1, 1);
    world.absorb(&mut pair, 0, &world.entry(1, Kind::MOVE_END, &moving));
    world.absorb(&mut pair, 1, &world.entry(0, Kind::MOVE_BEGIN, &moving));
    assert_eq!([says(&pair, 0), says(&pair, 1)], [Accepted, Accepted]);
    let acknowledged = in_force_for(&pair, &world.city(1), Acknowledged(NOW));
    assert_eq!(acknowledged, Acknowledged(NOW));
}

/// One city's end of its channel.
pub struct Home {
    pub channel: HomeChannel,
    pub store: MemoryStore,
}

impl Home {
    pub fn new(world: &World, city: usize) -> Self {
        let channel = HomeChannel::new(&world.network.id, world.channel(city));
        Self { channel, store: MemoryStore::default() }
    }

    pub fn pair(&self) -> PairState {
        self.store.pair(&here()).unwrap()
    }

    pub fn decide(&mut self, world: &World, decision: &Attested) -> Result<Accepted, HomeError> {
        let read = ReadDecision::read(decision, &world.network.id).unwrap();
        let admitted = read.admit(&self.pair(), world.trust(), NOW).unwrap();
        self.channel.accept_decision(&mut self.store, &admitted, &RUN, now())
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.store.home_entries.iter().map(|row| row.entry.clone()).collect()
    }
}

#[test]
fn both_homes_and_the_source_hold_the_same_after_a_move() {
    let world = World::new();
    let own = world.phone("own");
    let (mut old, mut new) = (Home::new(&world, 0), Home::new(&world, 1));
    let begin = world.begin(&world.officer(0), &own);
    let (id, trust) = (world.channel(0), world.trust());
    let begin = AdmittedKeyBegin::admit(&begin, &id, &old.pair(), trust, NOW).unwrap();
    old.channel.accept_key_begin(&mut old.store, &begin, &RUN, now()).unwrap();
    old.decide(&world, &world.permit(&own, &[])).unwrap();
    let early_deny = world.deny(&own, allergy());
    old.decide(&world, &early_deny).unwrap();

    let moving = world.moving(&own, 0, 1, 1);
    let early = AdmittedMove::admit_begin(&moving, &world.channel(1), &new.pair(), trust, NOW);
    assert!(matches!(early, Err(AdmissionError::OutOfTurn(_))), "without the register");
    let end = AdmittedMove::admit_end(&moving, &id, &old.pair(), trust, NOW).unwrap();
    old.channel.accept_move_end(&mut old.store, &end, &RUN, now()).unwrap();
    let refused = old.decide(&world, &world.permit(&own, &[]));
    assert!(
        matches!(&refused, Err(HomeError::OtherHome(home)) if *home == world.city(1)),
        "{refused:?}"
    );
    let twice = AdmittedMove::admit_end(&moving, &id, &old.pair(), trust, NOW);
    assert!(matches!(twice, Err(AdmissionError::OutOfTurn(_))));

    let brought = adopt(&id, new.pair(), &old.entries(), trust, NOW);
    let begin =
        AdmittedMove::admit_begin(&moving, &world.channel(1), &brought, trust, NOW).unwrap();
    new.channel.accept_move_begin(&mut new.store, &begin, brought, &RUN, now()).unwrap();
    let deny = world.deny(&own, Scope::EVERYTHING);
    new.decide(&world, &deny).unwrap();
    // Known from the register, and handed in again here: taken, and the set is the same.
    let before = new.pair();
    assert!(!new.decide(&world, &early_deny).unwrap().known);
    assert!(new.decide(&world, &early_deny).unwrap().known);
    assert_eq!(new.pair(), before);
    let reopens = [&deny, &early_deny].map(|deny| Reopen::Deny(world.decision_id(deny)));
    new.decide(&world, &world.permit(&own, &reopens)).unwrap();
    // A deny is never refused, by the old home neither: it goes through its own channel.
    old.decide(&world, &deny).unwrap();

    let mut source = PairState::default();
    for (city, home) in [(1, &new), (0, &old)] {
        for entry in home.entries() {
            assert_eq!(world.absorb(&mut source, city, &entry).fault, None);
        }
    }
    assert_eq!(source, new.pair());
    assert!(ask(&source, NOW).is_ok());
}
