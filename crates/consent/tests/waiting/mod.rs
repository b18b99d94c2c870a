//! What waits at the source for the home before to let go: the new home hears of it, and does not count it
//! as acknowledged before it acts.

use consent::{
    AdmittedKeyEnd,
    memory::MemoryStore,
    source::{AppliedEntry, SourceChannel},
};
use trust::testing::NOW;
use wire::{
    channel::{EntryKind as Kind, HeadStatement, Reached},
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
        for other in &mut self.stores {
            (other.pairs, other.waiting) = (pairs.clone(), waiting.clone());
        }
        self.tell(world, city, home);
        applied.unwrap()
    }

    fn tell(&self, world: &World, city: usize, home: &mut Home) {
        let reached = self.channels[city].reached(self.stores[city].waiting_of(&world.city(city)));
        home.channel.acknowledge(&mut home.store, &reached, now()).unwrap();
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
    assert_eq!(applied[0].acted, [(world.city(1), 0), (world.city(1), 1)]);
    assert_eq!(acknowledged(&b), [false, false, true], "not heard of yet");
    let old = Reached { applied: source.channels[1].applied().position, waiting: vec![0, 1] };
    source.tell(&world, 1, &mut b);
    assert_eq!(acknowledged(&b), [true; 3]);
    // An old answer that comes late takes nothing back.
    b.channel.acknowledge(&mut b.store, &old, now()).unwrap();
    assert_eq!(acknowledged(&b), [true; 3]);
}

#[test]
fn a_full_list_of_what_waits_says_nothing_of_what_comes_behind_it() {
    let world = World::new();
    let own = world.phone("own");
    let mut home = Home::new(&world, 0);
    let denies = limits::PULL_ATTACHMENTS + 10;
    let deny = world.entry(0, Kind::DENY, &world.deny(&own, allergy()));
    for _ in 0..denies {
        home.channel.append_unchecked(&mut home.store, deny.clone(), &RUN, now()).unwrap();
    }
    let applied = home.channel.head().position;
    let acknowledged = |home: &Home| {
        home.store.home_entries.iter().filter(|row| row.acknowledged.is_some()).count()
    };
    let full: Vec<u64> = (2..2 + limits::PULL_ATTACHMENTS as u64).collect();
    let say = |home: &mut Home, waiting: Vec<u64>| {
        home.channel.acknowledge(&mut home.store, &Reached { applied, waiting }, now()).unwrap()
    };
    assert_eq!(say(&mut home, full.clone()), denies as u64);
    assert_eq!(acknowledged(&home), 2, "those before the list");
    assert_eq!(say(&mut home, full[1..].to_vec()), 0);
    assert_eq!(acknowledged(&home), 2 + 1 + 8, "one that acts, and all behind a list with room");
    say(&mut home, vec![]);
    assert_eq!(acknowledged(&home), denies);
}
