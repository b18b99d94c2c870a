//! Denies past the cap: the home lists them, every reader folds what it holds, and the set means what it
//! meant, in whatever order a deny and the list that has it arrive.

use consent::{AdmittedCollapse, ChannelStore, PairState, Refused, home::collapse_due};
use trust::testing::NOW;
use wire::{
    DecisionId,
    channel::{Entry, EntryKind as Kind},
    consent::{Attested, Collapse, Items, Reopen, Scope, collapse_digest},
    limits,
};

use crate::{
    fixture::{self, Fixture},
    world::{World, allergy, ask},
};

struct Story {
    world: World,
    pair: PairState,
    denies: Vec<Attested>,
    ids: Vec<DecisionId>,
}

impl Story {
    /// A begun key, a permit, and three denies that were not applied yet.
    fn new() -> Self {
        let world = World::new();
        let (home, own) = (world.officer(0), world.phone("own"));
        let mut pair = PairState::default();
        let channel =
            [(Kind::KEY_BEGIN, world.begin(&home, &own)), (Kind::PERMIT, world.permit(&own, &[]))];
        world.replay(&mut pair, 0, &channel);
        let name = Items::Types(vec!["identity.name".parse().unwrap()]);
        let denies = vec![
            world.deny(&own, Scope::EVERYTHING),
            world.deny(&own, Scope::EVERYTHING),
            world.deny(&own, Scope { items: name, ..Scope::EVERYTHING }),
        ];
        let mut ids: Vec<_> = denies.iter().map(|deny| world.decision_id(deny)).collect();
        ids.sort();
        Self { world, pair, denies, ids }
    }

    fn deny(&self, n: usize) -> Entry {
        self.world.entry(2 + n as u64, Kind::DENY, &self.denies[n])
    }

    fn list(&self, city: usize) -> Entry {
        self.world.entry(9, Kind::COLLAPSE, &self.world.collapse(city, self.ids.clone()))
    }

    fn after(&self, entries: &[&Entry]) -> PairState {
        let mut pair = self.pair.clone();
        for entry in entries {
            self.world.absorb(&mut pair, 0, entry);
        }
        pair
    }
}

#[test]
fn a_deny_and_the_list_that_has_it_come_in_any_order() {
    let story = Story::new();
    let (a, b, c, list) = (&story.deny(0), &story.deny(1), &story.deny(2), &story.list(0));
    let all = story.after(&[a, b, c, list]);
    assert!(all.denies.is_empty());
    assert_eq!(all.folded.len(), 2, "two of the three say the same");
    for order in [[list, a, b, c], [a, list, b, c], [c, b, list, a], [b, list, c, a]] {
        assert_eq!(story.after(&order), all);
    }
    assert_eq!(ask(&all, NOW), Err(Refused::Denied));
    // Twice is once: the list, and a deny that is in it, handed in again.
    assert_eq!(story.after(&[a, b, c, list, list, a, c]), all);
    assert!(story.ids.iter().all(|id| all.knows(id)));
}

#[test]
fn ids_that_a_reader_does_not_hold_change_nothing_until_they_come() {
    let story = Story::new();
    let alone = story.after(&[&story.list(0)]);
    assert!(ask(&alone, NOW).is_ok(), "a list closes nothing by itself");
    assert!(alone.folded.is_empty() && !alone.knows(&story.ids[0]));
    let late = story.after(&[&story.list(0), &story.deny(1)]);
    assert_eq!(ask(&late, NOW), Err(Refused::Denied), "and loses nothing that comes later");
}

#[test]
fn a_permit_names_the_list_by_its_digest_and_no_later_deny_is_in_it() {
    let story = Story::new();
    let own = story.world.phone("own");
    let naming = story.world.permit(&own, &[Reopen::Collapsed(collapse_digest(&story.ids))]);
    let naming = story.world.entry(10, Kind::PERMIT, &naming);
    let (a, b, c, list) = (&story.deny(0), &story.deny(1), &story.deny(2), &story.list(0));
    assert_eq!(ask(&story.after(&[a, b, c, &naming]), NOW), Err(Refused::Denied), "no list yet");
    assert!(ask(&story.after(&[a, b, c, &naming, list]), NOW).is_ok());
    let later = story.world.deny(&own, allergy());
    let later = story.world.entry(11, Kind::DENY, &later);
    assert_eq!(ask(&story.after(&[a, b, c, list, &naming, &later]), NOW), Err(Refused::Denied));
}

#[test]
fn only_the_pairs_home_collapses() {
    let story = Story::new();
    let (a, list) = (&story.deny(0), &story.list(0));
    let before = story.after(&[a]);
    // Another city, in its own channel; the citizen's own key; a list out of order or empty.
    let mut pair = before.clone();
    let fault = story.world.absorb(&mut pair, 1, &story.list(1)).fault;
    assert!(fault.is_some() && pair == before);
    let own = story.world.phone("own");
    let message = |denies: Vec<DecisionId>| Collapse {
        channel: story.world.channel(0),
        subject: crate::world::here(),
        denies,
        time: NOW,
    };
    let by_key = story.world.sign(message(story.ids.clone()), &own);
    let backwards: Vec<_> = story.ids.iter().rev().copied().collect();
    for body in [
        by_key,
        story.world.collapse(0, backwards),
        story.world.collapse(0, vec![]),
        story.world.collapse(1, story.ids.clone()),
    ] {
        let mut pair = before.clone();
        let entry = story.world.entry(9, Kind::COLLAPSE, &body);
        let fault = story.world.absorb(&mut pair, 0, &entry).fault;
        assert!(fault.is_some());
        assert!(pair.collapsed.is_empty() && pair.denies.contains_key(&id_of(&story, 0)));
    }
    assert!(!story.after(&[a, list]).collapsed.is_empty());
}

fn id_of(story: &Story, n: usize) -> DecisionId {
    story.world.decision_id(&story.denies[n])
}

#[test]
fn the_home_collapses_past_the_cap_what_no_standing_permit_names() {
    let mut fixture = Fixture::new();
    let mut denies = Vec::new();
    for _ in 0..limits::DENIES {
        denies.push(fixture.accept_deny(Scope::EVERYTHING));
    }
    assert_eq!(collapse_due(&fixture.pair_state(), NOW), None, "the cap itself is not past it");
    let named = denies[7];
    fixture.accept_permit(vec![Reopen::Deny(named)]);
    denies.push(fixture.accept_deny(Scope::EVERYTHING));
    assert_eq!(collapse_due(&fixture.pair_state(), NOW), None, "one is named");
    denies.push(fixture.accept_deny(Scope::EVERYTHING));
    let due = collapse_due(&fixture.pair_state(), NOW).unwrap();
    let mut expected: Vec<_> = denies.iter().copied().filter(|id| *id != named).collect();
    expected.sort();
    assert_eq!(due, expected);
    // After the permit has run out, what it named is listed too.
    let later = NOW.plus_ms(31 * crate::world::DAY);
    assert_eq!(collapse_due(&fixture.pair_state(), later).unwrap().len(), denies.len());

    let again = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 200);
    let id = fixture.hand_in(&again).unwrap().entry.decision.unwrap();
    let due: Vec<_> = {
        let mut due = due;
        due.push(id);
        due.sort();
        due
    };
    let submission = fixture.collapse(due.clone());
    let (channel, pair) = (fixture.channel(), fixture.pair_state());
    let collapse =
        AdmittedCollapse::admit(&submission, &channel, &pair, &fixture.network.trust, NOW).unwrap();
    fixture
        .home
        .accept_collapse(&mut fixture.home_store, &collapse, &fixture::RUN, fixture::now())
        .unwrap();
    fixture.sync();
    let (home, source) = (&fixture.home_store, &fixture.source_store);
    assert_eq!(home.pairs, source.pairs, "both ends hold the same set");
    let pair = fixture.pair_state();
    assert_eq!((pair.denies.len(), pair.folded.len()), (1, 1));
    assert_eq!(fixture.ask(), Err(Refused::Denied));
    assert_eq!(collapse_due(&pair, NOW), None);
    // A deny that was collapsed, handed in again: known, and neither lost nor refused.
    let known = fixture.hand_in(&again).unwrap();
    assert!(known.known && known.entry.decision == Some(id));
    assert_eq!(fixture.home_store.pair(&crate::world::here()).unwrap(), pair);
    let digest = collapse_digest(&due);
    fixture.accept_permit(vec![Reopen::Deny(named), Reopen::Collapsed(digest)]);
    fixture.sync();
    assert!(fixture.ask().is_ok());
}
