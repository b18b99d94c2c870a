//! What one citizen, one source or one municipality can make others keep, carry and look at.

use consent::{
    AdmissionError, AdmittedKeyBegin, AdmittedKeyEnd, ChannelStore, DenyKey, PairState,
    admission::ReadDecision,
    home::{Accepted, HomeError},
    store::SourceStore,
};
use trust::testing::NOW;
use wire::{
    DecisionId, Nonce, Now, ServiceId,
    channel::EntryKind as Kind,
    consent::{Attested, Scope},
    limits,
};

use crate::{
    fixture::{Fixture, RUN, now},
    world::{DAY, World},
};

fn at(ms: u64) -> Now {
    Now { mono_ms: now().mono_ms + ms, wall: NOW.plus_ms(ms) }
}

fn hand_in_at(
    fixture: &mut Fixture,
    submission: &Attested,
    now: Now,
) -> Result<Accepted, HomeError> {
    let read = ReadDecision::read(submission, &fixture.network.id).unwrap();
    let trust = fixture.trust_at(now.wall);
    let admitted = read.admit(&fixture.pair_state(), &trust, now.wall).unwrap();
    fixture.home.accept_decision(&mut fixture.home_store, &admitted, &RUN, now)
}

#[test]
fn a_chain_that_cannot_hold_is_not_read() {
    let fits = Attested {
        object: vec![1].into(),
        chain: vec![vec![0; limits::CERTIFICATE].into(); limits::CHAIN],
    };
    let read = |attested: &Attested| {
        wire::cbor::from_slice::<Attested>(&wire::cbor::to_vec(attested)).map(drop)
    };
    read(&fits).unwrap();
    let mut longer = fits.clone();
    longer.chain.push(vec![0].into());
    let mut larger = fits;
    larger.chain[0].0.push(0);
    assert!(read(&longer).is_err() && read(&larger).is_err());
}

#[test]
fn a_pull_stays_below_a_frame_and_goes_round_all_that_waits() {
    let mut fixture = Fixture::new();
    fixture.sync();
    let subject = *fixture.source_store.pairs.keys().next().unwrap();
    let heavy = Attested {
        object: vec![0; 32 * 1024].into(),
        chain: vec![vec![0; limits::CERTIFICATE].into(); limits::CHAIN],
    };
    let many = 60_u8;
    for number in 0..many {
        fixture.source_store.put_direct_deny(&subject, &DecisionId([number; 32]), &heavy);
    }
    let (mut after, mut carried) = (None, 0);
    for _ in 0..4 {
        let pulled = fixture.pull(Nonce([1; 16]), after.as_ref());
        let (pull, looked_up_to) = pulled.unwrap();
        assert!(wire::cbor::to_vec(&pull).len() < limits::FRAME);
        carried += pull.denies.len();
        after = looked_up_to;
    }
    assert!(carried >= usize::from(many), "{carried} of {many}");
}

#[test]
fn denies_for_a_home_that_is_away_starve_those_for_others_never() {
    let mut fixture = Fixture::new();
    fixture.sync();
    let ours = *fixture.source_store.pairs.keys().next().unwrap();
    let deny = |n: u8| Attested { object: vec![n].into(), chain: vec![] };
    let elsewhere =
        PairState { home: Some(fixture.network.city(1).organisation), ..PairState::default() };
    for n in 0..5 * u16::try_from(limits::PULL_LOOKS_AT).unwrap() {
        let mut subject = [0; 32];
        subject[..2].copy_from_slice(&n.to_be_bytes());
        fixture.source_store.put_pair(&ServiceId(subject), &elsewhere);
        fixture.source_store.put_direct_deny(&ServiceId(subject), &DecisionId([0; 32]), &deny(0));
    }
    fixture.source_store.put_direct_deny(&ours, &DecisionId([1; 32]), &deny(1));
    let mut after: Option<DenyKey> = None;
    let pulls = (1..10).find(|_| {
        let pulled = fixture.pull(Nonce([1; 16]), after.as_ref());
        let (pull, looked_up_to) = pulled.unwrap();
        after = looked_up_to;
        pull.denies == [deny(1)]
    });
    assert!(pulls.is_some_and(|pulls| pulls <= 6), "{pulls:?}");
}

#[test]
fn a_change_of_keys_that_comes_again_is_known() {
    let mut fixture = Fixture::new();
    let (phone, second) = (fixture.phone.clone(), fixture.second_phone());
    let trust = fixture.network.trust.clone();
    let begin = fixture.key_begin(&phone, &second);
    let take_begin = |fixture: &mut Fixture, begin: &Attested| {
        let (channel, pair) = (fixture.channel(), fixture.pair_state());
        let begin = AdmittedKeyBegin::admit(begin, &channel, &pair, &trust, NOW).unwrap();
        fixture.home.accept_key_begin(&mut fixture.home_store, &begin, &RUN, now())
    };
    let first = take_begin(&mut fixture, &begin).unwrap();
    let again = take_begin(&mut fixture, &begin).unwrap();
    assert!(!first.known && again.known && first.entry == again.entry);
    // Another begin of the same key is none.
    let other = fixture.key_begin_by_city(0, &second);
    assert!(matches!(take_begin(&mut fixture, &other), Err(HomeError::AlreadyBegun)));

    let take_end = |fixture: &mut Fixture, end: &Attested| {
        let (channel, pair) = (fixture.channel(), fixture.pair_state());
        let end = AdmittedKeyEnd::admit(end, &channel, &pair, &trust, NOW).unwrap();
        fixture.home.accept_key_end(&mut fixture.home_store, &end, &RUN, now()).unwrap()
    };
    let end = fixture.key_end(&phone, &second, vec![]);
    let first = take_end(&mut fixture, &end);
    let length = fixture.home.head().position.length;
    // Whoever saw it may hand it in again, with whatever chain: the signer's key is known.
    let junk = Attested { chain: vec![vec![7; 1000].into()], ..end.clone() };
    for again in [&end, &junk] {
        let known = take_end(&mut fixture, again);
        assert!(known.known && known.entry == first.entry);
    }
    assert_eq!(fixture.home.head().position.length, length);
    // One that keeps less is news.
    let keeps = fixture.key_end(&phone, &second, vec![DecisionId([1; 32])]);
    assert!(!take_end(&mut fixture, &keeps).known);
}

#[test]
fn a_pair_holds_so_many_permits_and_forgets_those_that_are_over() {
    let mut fixture = Fixture::new();
    let first = fixture.permit_submission(vec![], 1);
    hand_in_at(&mut fixture, &first, at(0)).unwrap();
    for n in 1..limits::PERMITS {
        let permit = fixture.permit_submission(vec![], n as u8);
        hand_in_at(&mut fixture, &permit, at(0)).unwrap();
    }
    let refused = fixture.permit_submission(vec![], 2);
    let full = hand_in_at(&mut fixture, &refused, at(0));
    assert!(matches!(full, Err(HomeError::TooManyPermits(limits::PERMITS))), "{full:?}");
    fixture.accept_deny(Scope::EVERYTHING);
    assert!(
        hand_in_at(&mut fixture, &first, at(0)).unwrap().known,
        "a known one is no further one"
    );
    fixture.sync();
    fixture.sync(); // more than one batch
    assert!(fixture.home_store.pairs == fixture.source_store.pairs, "both ends hold the same");

    // Over, but remembered; a day later forgotten, and never taken for new.
    let over = at(30 * DAY);
    assert_eq!(fixture.pair_state().open_permits(over.wall), 0);
    let refused = fixture.permit_submission(vec![], 3);
    assert!(matches!(hand_in_at(&mut fixture, &refused, over), Err(HomeError::Over)));
    let later = at(32 * DAY);
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 4);
    hand_in_at(&mut fixture, &deny, later).unwrap();
    assert!(fixture.pair_state().permits.is_empty());
    assert!(matches!(hand_in_at(&mut fixture, &first, later), Err(HomeError::Over)));
}

#[test]
fn permits_are_kept_without_their_links() {
    let mut fixture = Fixture::new();
    let permit = fixture.accept_permit(vec![]);
    let kept = &fixture.pair_state().permits[&permit];
    assert!(kept.permit.link.object.is_empty() && kept.permit.link.chain.is_empty());
}

#[test]
fn a_municipality_fills_no_strangers_pair() {
    let world = World::new();
    let own = world.phone("own");
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &[(Kind::KEY_BEGIN, world.begin(&world.officer(0), &own))]);
    // The claim is signed by the municipality itself; what follows is whatever it likes.
    let moving = world.moving(&world.officer(1), 0, 1, 1);
    world.absorb(&mut pair, 1, &world.entry(0, Kind::MOVE_BEGIN, &moving));
    let stuffing = Attested { object: vec![0; 60 * 1024].into(), chain: vec![] };
    let mut faults = 0;
    for seq in 1..40 {
        let entry = world.entry(seq, Kind::KEY_END, &stuffing);
        faults += usize::from(world.absorb(&mut pair, 1, &entry).fault.is_some());
    }
    let waiting = &pair.waiting[&world.city(1)];
    let bytes: usize = waiting.iter().map(|entry| entry.body.len()).sum();
    assert!(bytes <= limits::WAITING && faults > 25, "{bytes} bytes, {faults} faults");
    // What closes is not lost should the citizen really come to move there, and closes nothing before.
    assert!(pair.standing().next().is_none());
    assert_eq!(pair.denies.len(), faults);
}

#[test]
fn a_deny_by_a_key_never_begun_counts_whatever_the_clocks_say() {
    let fixture = Fixture::new();
    let never_begun = fixture.second_phone();
    let deny = fixture.signed_deny(&never_begun, Scope::EVERYTHING, 15);
    let permit = fixture.signed_permit(&never_begun, vec![], 16);
    // A year after the certificate ran out, and so says the phone.
    let later = NOW.plus_ms(2 * 366 * DAY);
    let trust = fixture.trust_at(later);
    let admit = |submission: &_| {
        let read = ReadDecision::read(submission, &fixture.network.id).unwrap();
        read.admit(&fixture.pair_state(), &trust, later).map(drop)
    };
    admit(&deny).unwrap();
    assert!(matches!(admit(&permit), Err(AdmissionError::Chain(_))));
}

#[test]
fn a_deny_of_a_key_of_the_pair_leaves_behind_a_chain_that_does_not_hold() {
    let mut fixture = Fixture::new();
    fixture.sync();
    let phone = fixture.phone.clone();
    let honest = fixture.signed_deny(&phone, Scope::EVERYTHING, 15);
    let junk = vec![vec![0xff; limits::CERTIFICATE].into(); limits::CHAIN];
    for (seed, chain, kept) in
        [(16, honest.chain.clone(), honest.chain.len()), (17, junk, 0), (18, Vec::new(), 0)]
    {
        let deny = fixture.signed_deny(&phone, Scope::EVERYTHING, seed);
        let deny = Attested { chain, ..deny };
        let accepted = hand_in_at(&mut fixture, &deny, at(0)).unwrap();
        let body: Attested = wire::cbor::from_slice(&accepted.entry.entry.body).unwrap();
        assert_eq!((&body.object, body.chain.len()), (&deny.object, kept));
    }
    fixture.sync();
    assert_eq!(fixture.source_store.pairs.values().next().unwrap().denies.len(), 3);
}
