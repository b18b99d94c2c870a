//! Home and source of one channel, with real certificates and signatures: what is handed in at one
//! end, and what it does at the other.

mod arrivals;
mod bad_input;
mod bounds;
mod collapse;
mod fixture;
mod keys;
mod moves;
mod waiting;
mod world;

use consent::{
    AdmissionError, AdmittedKeyBegin, AdmittedKeyEnd, ChannelStore, DenyKey,
    admission::ReadDecision,
    evaluate::Refused,
    home::{self, HomeError, Terms},
    lease::Run,
    source::{SourceError, accept_direct_deny},
    store::SourceStore,
};
use fixture::{Fixture, NOW, RUN, now};
use wire::{
    Hash, Nonce, Now, Timestamp,
    channel::EntryKind,
    citizen::InForce,
    consent::{Items, Recipient, Reopen, Scope},
};

#[test]
fn a_permit_travels_and_opens() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.ask(), Err(Refused::NoPermit));
    let permit = fixture.accept_permit(vec![]);
    assert_eq!(fixture.ask(), Err(Refused::NoPermit), "not before the source has applied it");
    fixture.sync();
    assert_eq!(fixture.ask().unwrap().permits().into_iter().collect::<Vec<_>>(), [permit]);
    let (home, source) = (&fixture.home_store, &fixture.source_store);
    assert_eq!(home.pairs, source.pairs, "both ends hold the same set");
    assert_eq!(home.threads, source.threads);
    assert_eq!(fixture.home.head(), fixture.source.applied());
}

#[test]
fn a_deny_closes_until_a_permit_names_it() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    let deny = fixture.accept_deny(Scope::EVERYTHING);
    fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::Denied));
    fixture.accept_permit(vec![]);
    fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::Denied), "a permit that does not name it");
    fixture.accept_permit(vec![Reopen::Deny(deny)]);
    fixture.sync();
    assert!(fixture.ask().is_ok());
}

#[test]
fn the_same_decision_twice_is_accepted_once() {
    let mut fixture = Fixture::new();
    let submission = fixture.permit_submission(vec![], 1);
    let first = fixture.hand_in(&submission).unwrap();
    let again = fixture.hand_in(&submission).unwrap();
    assert!(!first.known && again.known);
    assert_eq!(first.entry, again.entry);
    assert_eq!(fixture.home.head().position.length, 2, "the key-begin and one permit");
}

#[test]
fn a_key_without_key_begin_may_deny_but_not_permit() {
    let mut fixture = Fixture::new();
    // Another CA certifies a key for the same citizen at the same source.
    let rogue = fixture.rogue_phone();
    let permit = fixture.signed_permit(&rogue, vec![], 5);
    assert!(matches!(fixture.hand_in(&permit), Err(HomeError::KeyStanding(_))));
    // Even a home that lets it through opens nothing.
    fixture.force_entry(EntryKind::PERMIT, &permit);
    fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::KeyDoesNotStand));
    let deny = fixture.signed_deny(&rogue, Scope::EVERYTHING, 6);
    assert!(fixture.hand_in(&deny).is_ok());
}

#[test]
fn nobody_decides_over_another_citizen() {
    let fixture = Fixture::new();
    let mallory = fixture.other_citizen();
    // Mallory signs with her own key and certificate, and writes the victim's id.
    for submission in [
        fixture.signed_permit(&mallory, vec![], 7),
        fixture.signed_deny(&mallory, Scope::EVERYTHING, 8),
    ] {
        let read = ReadDecision::read(&submission, &fixture.network.id).unwrap();
        let pair = fixture.home_store.pair(&read.claimed_pair().subject).unwrap();
        let refused = read.admit(&pair, &fixture.network.trust, NOW);
        assert!(matches!(refused, Err(AdmissionError::OtherCitizen)), "{refused:?}");
    }
}

#[test]
fn a_link_must_join_the_pair_and_the_recipients_id() {
    let fixture = Fixture::new();
    let admit = |submission: &_| {
        let read = ReadDecision::read(submission, &fixture.network.id).unwrap();
        let pair = fixture.home_store.pair(&read.claimed_pair().subject).unwrap();
        read.admit(&pair, &fixture.network.trust, NOW).map(drop)
    };
    assert!(admit(&fixture.permit_submission(vec![], 1)).is_ok());
    let foreign = fixture.permit_with_link(fixture.link_to(wire::ServiceId([0x77; 32])));
    assert!(matches!(admit(&foreign), Err(AdmissionError::ForeignLink)));
    // Signed by an organisation that the list lets issue nothing to citizens.
    let unaccredited = fixture.permit_with_link(fixture.link_by_the_source());
    assert!(matches!(admit(&unaccredited), Err(AdmissionError::LinkSigner)));
}

#[test]
fn an_ended_key_loses_its_permits_whenever_they_were_signed() {
    let mut fixture = Fixture::new();
    let (old, new) = (fixture.phone.clone(), fixture.second_phone());
    fixture.begin_by(&old, &new);
    let kept = fixture.accept_permit(vec![]);
    fixture.sync();
    assert!(fixture.ask().is_ok());
    // Lost: the other phone ends the key and keeps nothing.
    fixture.end_key(&new, &old, vec![]);
    fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::KeyDoesNotStand));
    // The thief signs another permit; a home that takes it opens nothing.
    let stolen = fixture.permit_submission(vec![], 9);
    assert!(matches!(fixture.hand_in(&stolen), Err(HomeError::KeyStanding(_))));
    fixture.force_entry(EntryKind::PERMIT, &stolen);
    fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::KeyDoesNotStand));
    // But its denies are still taken.
    let deny = fixture.signed_deny(&old, Scope::EVERYTHING, 10);
    assert!(fixture.hand_in(&deny).is_ok());
    let _ = kept;
}

#[test]
fn a_key_cannot_end_itself_nor_be_begun_by_a_stranger() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.phone.clone(), fixture.second_phone());
    let channel = fixture.channel();
    let pair = fixture.pair_state();
    let trust = fixture.network.trust.clone();
    let itself = fixture.key_end(&old, &old, vec![]);
    let refused = AdmittedKeyEnd::admit(&itself, &channel, &pair, &trust, NOW);
    assert!(matches!(refused, Err(AdmissionError::NotEntitled)));
    let begun_by_new = fixture.key_begin(&new, &new);
    let refused = AdmittedKeyBegin::admit(&begun_by_new, &channel, &pair, &trust, NOW);
    assert!(refused.is_err(), "a key that has not begun approves nobody");
    // Another city, in its own channel, for a pair whose home is Maebashi.
    let elsewhere = wire::channel::ChannelId {
        home: fixture.network.cities[1].organisation.clone(),
        ..channel
    };
    let begun = fixture.key_begin_by_city(1, &new);
    let refused = AdmittedKeyBegin::admit(&begun, &elsewhere, &pair, &trust, NOW);
    assert!(matches!(refused, Err(AdmissionError::NotEntitled)));
}

#[test]
fn a_header_cannot_narrow_a_deny() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 11);
    let narrow = Scope {
        recipient: Recipient::Service("9000020102016/other".parse().unwrap()),
        items: Items::Types(vec!["identity.name".parse().unwrap()]),
        ..Scope::EVERYTHING
    };
    fixture.force_entry_with(EntryKind::DENY, narrow, &deny);
    let outcome = fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::Denied));
    assert!(outcome.last().unwrap().fault.is_some(), "and the home hears of it");
}

#[test]
fn an_entry_that_cannot_be_read_is_a_deny_of_its_scope_but_never_a_permit() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    fixture.sync();
    assert!(fixture.ask().is_ok());
    let garbage = wire::consent::Attested { object: vec![1, 2, 3].into(), chain: vec![] };
    fixture.force_entry_with(EntryKind::PERMIT, Scope::EVERYTHING, &garbage);
    fixture.sync();
    assert!(fixture.ask().is_ok(), "an unreadable permit is no permit and no deny");
    fixture.force_entry_with(EntryKind(999), Scope::EVERYTHING, &garbage);
    fixture.sync();
    assert_eq!(fixture.ask(), Err(Refused::Denied), "an unknown kind is a deny");
    let pull = fixture.pull(Nonce([0; 16]), None).unwrap().0;
    assert_eq!(pull.progress.unreadable, [2, 3], "both are reported");
}

#[test]
fn a_missing_altered_or_reordered_entry_is_seen() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    fixture.accept_deny(Scope::EVERYTHING);
    let batch = fixture.home.batch_after(&fixture.home_store, &fixture.source.applied().position);
    let batch = batch.unwrap();
    let statement = fixture.statement(batch.head);
    let apply = |entries: &[_], fixture: &Fixture| {
        let (mut source, mut store) = (fixture.source.clone(), fixture.source_store.clone());
        source.apply(&mut store, entries, &statement, &fixture.network.trust, now())
    };
    assert_eq!(apply(&batch.entries, &fixture).unwrap().len(), 3);
    // The deny left out, and the permit renumbered into its place or not.
    let without: Vec<_> = batch.entries[..2].to_vec();
    assert!(matches!(apply(&without, &fixture), Err(SourceError::Forked)));
    let mut swapped = batch.entries.clone();
    swapped.swap(1, 2);
    assert!(matches!(apply(&swapped, &fixture), Err(SourceError::Forked)));
    let mut altered = batch.entries.clone();
    altered[2].scope.items = Items::Types(vec!["identity".parse().unwrap()]);
    assert!(matches!(apply(&altered, &fixture), Err(SourceError::Forked)));
    // A gap applies nothing and waits.
    assert!(apply(&batch.entries[1..], &fixture).unwrap().is_empty());
}

#[test]
fn entries_that_come_twice_are_applied_once() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    let start = fixture.source.applied().position;
    let batch = fixture.home.batch_after(&fixture.home_store, &start).unwrap();
    fixture.sync();
    let before = (fixture.source.clone(), fixture.source_store.clone());
    let statement = fixture.statement(batch.head);
    let trust = fixture.network.trust.clone();
    let (source, store) = (&mut fixture.source, &mut fixture.source_store);
    let outcome = source.apply(store, &batch.entries, &statement, &trust, now()).unwrap();
    assert!(outcome.is_empty());
    assert_eq!((fixture.source.clone(), fixture.source_store.clone()), before);
}

#[test]
fn a_source_of_another_history_gets_no_lease() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    fixture.sync();
    let mut pull = fixture.pull(Nonce([1; 16]), None).unwrap().0;
    pull.progress.applied.chain = Hash([9; 32]);
    let (home, store) = (&mut fixture.home, &mut fixture.home_store);
    assert!(matches!(home.grant(store, &pull, 60_000, &RUN, now()), Err(HomeError::Forked)));
    pull.progress.applied.length = 99;
    assert!(matches!(home.grant(store, &pull, 60_000, &RUN, now()), Err(HomeError::Forked)));
}

/// A pull of a source that is up to date, answered with this lease.
fn grant(fixture: &mut Fixture, granted_ms: u64, now: Now) -> Terms {
    let (pull, _) = fixture.pull(Nonce([1; 16]), None).unwrap();
    fixture.home.grant(&mut fixture.home_store, &pull, granted_ms, &RUN, now).unwrap()
}

fn later(ms: u64) -> Now {
    Now { mono_ms: now().mono_ms + ms, wall: NOW.plus_ms(ms) }
}

#[test]
fn a_restarted_home_remembers_its_longest_grant() {
    let mut fixture = Fixture::new();
    fixture.sync();
    assert_eq!(grant(&mut fixture, 60_000, now()).longest_grant_ms, Some(60_000));
    // All that is left after a restart is what was stored.
    fixture.home = fixture.home_store.home_channel.clone().unwrap();
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 12);
    let entry = fixture.hand_in(&deny).unwrap().entry;
    let status = |run: &Run, now| home::in_force(&entry, &fixture.home, run, now);
    assert_eq!(status(&RUN, later(60_000)), InForce::Accepted);
    assert_eq!(status(&RUN, later(60_061)), InForce::LeasesLapsed(NOW.plus_ms(60_061)));
    // One clock alone does not make it so.
    let wall_ahead = Now { wall: later(90_000).wall, ..later(1_000) };
    assert_eq!(status(&RUN, wall_ahead), InForce::Accepted);
    let wall_behind = Now { wall: later(1_000).wall, ..later(90_000) };
    assert_eq!(status(&RUN, wall_behind), InForce::Accepted);
    // Restarted after the entry: the monotonic clock of before says nothing any more.
    let next = Run { id: Nonce([0x22; 16]), started_ms: 10 };
    let at = |mono_ms| Now { mono_ms, wall: later(90_000).wall };
    assert_eq!(status(&next, at(60_070)), InForce::Accepted);
    assert!(matches!(status(&next, at(60_071)), InForce::LeasesLapsed(_)));
}

#[test]
fn a_pull_that_brings_no_news_needs_no_write() {
    let mut fixture = Fixture::new();
    fixture.sync();
    assert!(grant(&mut fixture, 60_000, now()).wrote);
    let before = fixture.home_store.clone();
    let terms = grant(&mut fixture, 60_000, later(20_000));
    assert!(!terms.wrote && terms.longest_grant_ms.is_none());
    assert_eq!(fixture.home_store, before);
    // An entry that the pull acknowledges is news.
    fixture.accept_permit(vec![]);
    let position = fixture.source.applied().position;
    let batch = fixture.home.batch_after(&fixture.home_store, &position).unwrap();
    let (statement, trust) = (fixture.statement(batch.head), fixture.network.trust.clone());
    let (source, store) = (&mut fixture.source, &mut fixture.source_store);
    source.apply(store, &batch.entries, &statement, &trust, now()).unwrap();
    assert!(grant(&mut fixture, 60_000, later(40_000)).wrote);
    assert_eq!(fixture.home.acknowledged(), 2);
    assert!(!grant(&mut fixture, 60_000, later(60_000)).wrote);
}

#[test]
fn a_shorter_setting_counts_once_the_longer_leases_have_run_out() {
    let mut fixture = Fixture::new();
    fixture.sync();
    grant(&mut fixture, 60_000, now());
    // Set to 2 s, asked every now and then.
    assert_eq!(grant(&mut fixture, 2_000, later(1_000)).longest_grant_ms, None);
    assert_eq!(grant(&mut fixture, 2_000, later(30_000)).longest_grant_ms, None);
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 12);
    let entry = fixture.hand_in(&deny).unwrap().entry;
    assert_eq!(grant(&mut fixture, 2_000, later(61_060)).longest_grant_ms, None);
    let status = |fixture: &Fixture| home::in_force(&entry, &fixture.home, &RUN, later(10_000));
    assert_eq!(status(&fixture), InForce::Accepted, "a lease of 60 s may be out");
    assert_eq!(grant(&mut fixture, 2_000, later(61_061)).longest_grant_ms, Some(2_000));
    // Raised for a moment in between: the wait begins anew.
    grant(&mut fixture, 60_000, later(70_000));
    grant(&mut fixture, 2_000, later(70_001));
    grant(&mut fixture, 60_000, later(100_000));
    grant(&mut fixture, 2_000, later(100_001));
    assert_eq!(grant(&mut fixture, 2_000, later(140_000)).longest_grant_ms, None);
    assert_eq!(fixture.home.longest_grant_ms(), 60_000);
    assert_eq!(grant(&mut fixture, 2_000, later(160_062)).longest_grant_ms, Some(2_000));
}

#[test]
fn a_longer_setting_does_not_put_back_in_doubt_what_had_lapsed() {
    let mut fixture = Fixture::new();
    fixture.sync();
    grant(&mut fixture, 2_000, now());
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 12);
    let entry = fixture.hand_in(&deny).unwrap().entry;
    let lapsed = InForce::LeasesLapsed(NOW.plus_ms(2_003));
    assert_eq!(home::in_force(&entry, &fixture.home, &RUN, later(2_003)), lapsed);
    assert_eq!(grant(&mut fixture, 60_000, later(3_000)).longest_grant_ms, Some(60_000));
    assert_eq!(home::in_force(&entry, &fixture.home, &RUN, later(3_000)), lapsed);
}

#[test]
fn a_deny_is_in_force_when_acknowledged_or_when_every_older_lease_lapsed() {
    let mut fixture = Fixture::new();
    // No lease is out: it binds at once.
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 13);
    let accepted = fixture.hand_in(&deny).unwrap();
    let status = |fixture: &Fixture, row: &_| home::in_force(row, &fixture.home, &RUN, now());
    assert!(matches!(status(&fixture, &accepted.entry), InForce::LeasesLapsed(_)));
    fixture.sync();
    let seq = accepted.entry.entry.seq;
    let row = fixture.home_store.home_entries[seq as usize].clone();
    assert_eq!(status(&fixture, &row), InForce::Acknowledged(NOW));
}

#[test]
fn what_the_source_could_not_read_is_shown_and_reported_once() {
    let mut fixture = Fixture::new();
    let garbage = wire::consent::Attested { object: vec![1, 2, 3].into(), chain: vec![] };
    fixture.force_entry_with(EntryKind::PERMIT, Scope::EVERYTHING, &garbage);
    fixture.sync();
    let (pull, _) = fixture.pull(Nonce([1; 16]), None).unwrap();
    assert_eq!(pull.progress.unreadable, [1]);
    let (home, store) = (&mut fixture.home, &mut fixture.home_store);
    assert!(home.grant(store, &pull, 60_000, &RUN, now()).unwrap().wrote);
    let row = |fixture: &Fixture| fixture.home_store.home_entries[1].clone();
    let status = home::in_force(&row(&fixture), &fixture.home, &RUN, now());
    assert_eq!(status, InForce::Unreadable(NOW), "acknowledged, and permits nothing");
    // Said again, later: no news, and the first time stands.
    assert!(
        !fixture.home.grant(&mut fixture.home_store, &pull, 60_000, &RUN, later(9)).unwrap().wrote
    );
    assert_eq!(row(&fixture).unreadable, Some(NOW));
    // The answer came: the source need not say it again, not after a restart either.
    fixture.source.reported(&mut fixture.source_store, &pull.progress.unreadable);
    assert_eq!(fixture.source_store.source_channel.as_ref(), Some(&fixture.source));
    let (pull, _) = fixture.pull(Nonce([2; 16]), None).unwrap();
    assert!(pull.progress.unreadable.is_empty());
    // What the source cannot have seen is not taken.
    let mut pull = pull;
    pull.progress.unreadable = vec![2, 99];
    assert!(
        !fixture.home.grant(&mut fixture.home_store, &pull, 60_000, &RUN, later(9)).unwrap().wrote
    );
}

#[test]
fn denies_that_the_home_will_not_take_hold_up_no_others() {
    let mut fixture = Fixture::new();
    fixture.sync();
    let deny = wire::consent::Attested { object: vec![1].into(), chain: vec![] };
    let subject = *fixture.source_store.pairs.keys().next().unwrap();
    let many = wire::limits::PULL_ATTACHMENTS + 40;
    for number in 0..many {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        fixture.source_store.put_direct_deny(&subject, &wire::DecisionId(id), &deny);
    }
    let keys: Vec<_> = fixture.source_store.direct_denies.keys().copied().collect();
    let carried = |after: Option<&DenyKey>| {
        let (pull, last) = fixture.pull(Nonce([1; 16]), after).unwrap();
        (pull.denies.len(), last)
    };
    let (count, last) = carried(None);
    assert_eq!((count, last), (wire::limits::PULL_ATTACHMENTS, Some(keys[count - 1])));
    // The next pull begins with those that the first had no room for, then goes round.
    assert_eq!(carried(last.as_ref()), (count, Some(keys[count - 41])));
}

#[test]
fn a_deny_handed_to_the_source_holds_and_comes_back_through_the_channel() {
    let mut fixture = Fixture::new();
    fixture.accept_permit(vec![]);
    fixture.sync();
    let submission = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 14);
    let read = ReadDecision::read(&submission, &fixture.network.id).unwrap();
    let pair = fixture.source_store.pair(&read.claimed_pair().subject).unwrap();
    let deny = read.admit(&pair, &fixture.network.trust, NOW).unwrap();
    assert!(accept_direct_deny(&mut fixture.source_store, &deny).unwrap());
    assert!(!accept_direct_deny(&mut fixture.source_store, &deny).unwrap(), "once");
    assert_eq!(fixture.ask(), Err(Refused::Denied));
    let pull = fixture.pull(Nonce([2; 16]), None).unwrap().0;
    assert_eq!(pull.denies, [submission]);
    fixture.hand_in(&pull.denies[0]).unwrap();
    fixture.sync();
    assert!(fixture.source_store.direct_denies.is_empty(), "the channel brought it");
    assert_eq!(fixture.ask(), Err(Refused::Denied));
}

#[test]
fn a_deny_by_a_key_whose_certificate_ran_out_is_taken() {
    let fixture = Fixture::new();
    let deny = fixture.signed_deny(&fixture.phone, Scope::EVERYTHING, 15);
    let permit = fixture.permit_submission(vec![], 16);
    let later = Timestamp(NOW.0 + 366 * 86_400_000);
    // The list itself has to be fresh; only the phone's certificate is old.
    let trust = fixture.trust_at(later);
    let admit = |submission: &_| {
        let read = ReadDecision::read(submission, &fixture.network.id).unwrap();
        let pair = fixture.home_store.pair(&read.claimed_pair().subject).unwrap();
        read.admit(&pair, &trust, later).map(drop)
    };
    assert!(admit(&deny).is_ok());
    assert!(matches!(admit(&permit), Err(AdmissionError::Chain(_))));
}

#[test]
fn what_was_signed_for_another_network_or_altered_is_nothing() {
    let fixture = Fixture::new();
    let deny = fixture.signed_deny(&fixture.phone, Scope::EVERYTHING, 17);
    let elsewhere = wire::NetworkId([3; 32]);
    let read = ReadDecision::read(&deny, &elsewhere).unwrap();
    let pair = fixture.pair_state();
    let refused = read.admit(&pair, &fixture.network.trust, NOW);
    assert!(matches!(refused, Err(AdmissionError::Envelope(_))));
    for at in (0..deny.object.len()).step_by(3) {
        let mut altered = deny.clone();
        altered.object.0[at] ^= 1;
        let refused = ReadDecision::read(&altered, &fixture.network.id)
            .and_then(|read| read.admit(&pair, &fixture.network.trust, NOW));
        assert!(refused.is_err(), "byte {at}");
    }
}
