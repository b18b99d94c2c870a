//! What waits at the source for the home before to let go: the new home hears of it, and does not count it
//! as acknowledged before it acts.

use consent::{
    AdmittedKeyEnd,
    memory::MemoryStore,
    source::{Acted, AppliedEntry, SourceChannel},
    store::SourceStore,
};
use trust::testing::NOW;
use wire::{
    channel::{EntryKind as Kind, HeadStatement, Progress, Reached},
    consent::Scope,
    limits,
};

use crate::{
    arrivals::{arrive, checked, let_go, settled},
    fixture::{RUN, now},
    moves::Home,
    world::{World, allergy},
};

/// Both channels at one source, which shares its pairs between them.
struct Source {
    channels: [SourceChannel; 2],
    stores: [MemoryStore; 2],
}

impl Source {
    fn new(world: &World) -> Self {
        let new = |city| SourceChannel::new(&world.network.id, world.channel(city));
        Self { channels: [new(0), new(1)], stores: Default::default() }
    }

    /// Applies what a city's channel has, and tells the city.
    fn sync(&mut self, world: &World, city: usize, home: &mut Home) -> Vec<AppliedEntry> {
        let position = self.channels[city].applied().position;
        let batch = home.channel.batch_after(&home.store, &position).unwrap();
        let statement = HeadStatement { channel: world.channel(city), head: batch.head, time: NOW };
        let store = &mut self.stores[city];
        let applied =
            self.channels[city].apply(store, &batch.entries, &statement, world.trust(), now());
        let (pairs, waiting) = (store.pairs.clone(), store.waiting.clone());
        let unreadable = store.unreadable.clone();
        for other in &mut self.stores {
            (other.pairs, other.waiting) = (pairs.clone(), waiting.clone());
            other.unreadable.clone_from(&unreadable);
        }
        self.tell(world, city, home);
        applied.unwrap()
    }

    fn tell(&self, world: &World, city: usize, home: &mut Home) {
        let (channel, store) = (&self.channels[city], &self.stores[city]);
        let reached = channel.reached(store.waiting_of(&world.city(city)));
        let unreadable = store.unreadable(&world.city(city)).unwrap();
        let progress = channel.progress(Some(reached), unreadable);
        home.channel.acknowledge(&mut home.store, &progress, now()).unwrap();
    }
}

#[test]
fn what_waits_at_the_source_is_not_acknowledged_until_it_acts() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let mut source = Source::new(&world);
    source.sync(&world, 0, &mut a);
    // The pair moves; the source hears of it from the new home first.
    let moving = world.moving(&own, 0, 1, 1);
    let_go(&world, 0, &mut a, &moving);
    arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    let key_end = world.end(&world.officer(1), &own, &[]);
    let key_end =
        AdmittedKeyEnd::admit(&key_end, &world.channel(1), &b.pair(), world.trust(), NOW).unwrap();
    b.channel.accept_key_end(&mut b.store, &key_end, &RUN, now()).unwrap();
    b.decide(&world, &world.deny(&own, Scope::EVERYTHING)).unwrap();
    let applied = source.sync(&world, 1, &mut b);
    assert!(applied.iter().all(|entry| entry.acted.is_empty() && entry.fault.is_none()));
    assert_eq!(b.channel.acknowledged(), 3, "nothing more is owed");
    let acknowledged = |home: &Home| -> Vec<bool> {
        home.store.home_entries.iter().map(|row| row.acknowledged.is_some()).collect()
    };
    assert_eq!(acknowledged(&b), [false, false, true], "a deny never waits");
    source.tell(&world, 1, &mut b);
    assert_eq!(acknowledged(&b), [false, false, true], "said again");

    let applied = source.sync(&world, 0, &mut a);
    let entries = b.entries();
    let acted =
        |seq| Acted { home: world.city(1), seq, hash: entries[seq as usize].hash(), fault: None };
    assert_eq!(applied[0].acted, [acted(0), acted(1)]);
    assert_eq!(acknowledged(&b), [false, false, true], "not heard of yet");
    let applied = source.channels[1].applied().position;
    let reached = Some(Reached { applied, waiting: vec![0, 1] });
    let old = Progress { applied, reached, unreadable: vec![] };
    source.tell(&world, 1, &mut b);
    assert_eq!(acknowledged(&b), [true; 3]);
    // An old answer that comes late takes nothing back.
    b.channel.acknowledge(&mut b.store, &old, now()).unwrap();
    assert_eq!(acknowledged(&b), [true; 3]);
}

#[test]
fn what_waited_and_fails_once_it_acts_is_not_acknowledged() {
    let world = World::new();
    let (mut a, own) = settled(&world);
    let mut b = Home::new(&world, 1);
    let mut source = Source::new(&world);
    source.sync(&world, 0, &mut a);
    let moving = world.moving(&own, 0, 1, 1);
    let_go(&world, 0, &mut a, &moving);
    arrive(&world, 1, &mut b, &moving, &[checked(&world, 0, &a)]);
    // A key's end that nobody of the pair signed: the new home is at fault, or reads it otherwise.
    let foreign = world.end(&world.phone("stranger"), &own, &[]);
    let entry = world.entry(0, Kind::KEY_END, &foreign);
    b.channel.append_unchecked(&mut b.store, entry, &RUN, now()).unwrap();
    source.sync(&world, 1, &mut b);
    let told = |home: &Home| -> Vec<_> {
        let rows = home.store.home_entries.iter();
        rows.map(|row| (row.acknowledged.is_some(), row.unreadable.is_some())).collect()
    };
    assert_eq!(told(&b), [(false, false); 2], "both wait");
    source.sync(&world, 0, &mut a);
    source.tell(&world, 1, &mut b);
    assert_eq!(told(&b), [(true, false), (false, true)]);
    // Until an answered pull reported it; the home knows it from then on.
    let id = world.city(1);
    assert_eq!(source.stores[1].unreadable(&id).unwrap(), [1]);
    let (channel, store) = (&source.channels[1], &mut source.stores[1]);
    channel.reported(store, &[1]);
    assert!(source.stores[1].unreadable(&id).unwrap().is_empty());
    source.tell(&world, 1, &mut b);
    assert_eq!(told(&b), [(true, false), (false, true)]);
}

#[test]
fn a_full_list_of_what_waits_says_nothing_of_what_comes_behind_it() {
    let world = World::new();
    let own = world.phone("own");
    let mut home = Home::new(&world, 0);
    let denies = limits::WAITING_ENTRIES + 10;
    let deny = world.entry(0, Kind::DENY, &world.deny(&own, allergy()));
    for _ in 0..denies {
        home.channel.append_unchecked(&mut home.store, deny.clone(), &RUN, now()).unwrap();
    }
    let applied = home.channel.head().position;
    let acknowledged = |home: &Home| {
        home.store.home_entries.iter().filter(|row| row.acknowledged.is_some()).count()
    };
    let full: Vec<u64> = (2..2 + limits::WAITING_ENTRIES as u64).collect();
    let say = |home: &mut Home, waiting: Vec<u64>| {
        let reached = Some(Reached { applied, waiting });
        let progress = Progress { applied, reached, unreadable: vec![] };
        home.channel.acknowledge(&mut home.store, &progress, now()).unwrap()
    };
    assert!(say(&mut home, full.clone()));
    assert_eq!(acknowledged(&home), 2, "those before the list");
    assert!(!say(&mut home, full.clone()), "no news");
    assert!(say(&mut home, full[1..].to_vec()));
    assert_eq!(acknowledged(&home), 2 + 1 + 8, "one that acts, and all behind a list with room");
    say(&mut home, vec![]);
    assert_eq!(acknowledged(&home), denies);
}
