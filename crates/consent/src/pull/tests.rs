use wire::{
    DecisionId, Hash, Nonce, Now, ServiceId, Timestamp,
    channel::{ChannelHead, ChannelId, Grant, Position},
};

use super::*;

const LEASE_MS: u64 = 60_000;

fn channel() -> ChannelId {
    ChannelId {
        home: wire::OrganisationId::from_base("000020102016").unwrap(),
        source: "9000020102016/lunch".parse().unwrap(),
    }
}

fn at(ms: u64) -> Now {
    Now { mono_ms: 1_000_000 + ms, wall: Timestamp(1_800_000_000_000 + ms) }
}

fn mono(ms: u64) -> u64 {
    at(ms).mono_ms
}

fn position(length: u64) -> Position {
    Position { length, chain: Hash([length as u8; 32]) }
}

fn nonce(number: u8) -> Nonce {
    Nonce([number; 16])
}

fn grant(number: u8, length: u64) -> Grant {
    let head = ChannelHead { position: position(length), map: Hash([1; 32]) };
    let time = at(0).wall;
    Grant { channel: channel(), nonce: nonce(number), head, granted_ms: LEASE_MS, time }
}

fn begun(number: u8, now: Now) -> Puller {
    let mut puller = Puller::new(channel());
    assert!(puller.begin(nonce(number), now));
    puller
}

fn pulled(puller: &mut Puller, number: u8, now: Now) {
    let id = Hash([number; 32]);
    puller.pulled(&grant(number, 0), id, &position(0), false, now).unwrap();
}

#[test]
fn it_pulls_at_once_then_every_third_of_a_lease() {
    let mut puller = Puller::new(channel());
    assert!(puller.wake_at_ms() <= mono(0));
    assert!(puller.begin(nonce(1), at(0)));
    pulled(&mut puller, 1, at(5_000));
    // Counted from when the pull left, and so is the lease.
    assert_eq!(puller.wake_at_ms(), mono(LEASE_MS / 3));
    assert!(!puller.begin(nonce(2), at(LEASE_MS / 3 - 1)));
    assert!(puller.live(&position(0), at(LEASE_MS - 1)).is_ok());
    assert_eq!(puller.live(&position(0), at(LEASE_MS)), Err(NoLease::RanOut));
    assert!(puller.begin(nonce(2), at(LEASE_MS / 3)));
}

#[test]
fn one_pull_at_a_time_until_it_is_given_up() {
    let mut puller = begun(1, at(0));
    assert!(!puller.begin(nonce(2), at(1)));
    assert_eq!(puller.wake_at_ms(), mono(TIMEOUT_MS));
    assert!(!puller.begin(nonce(2), at(TIMEOUT_MS)), "the pause first");
    assert!(puller.begin(nonce(2), at(TIMEOUT_MS + FIRST_PAUSE_MS)));
    // Its answer comes after all: it answers nothing any more.
    let late = puller.clone();
    let now = at(TIMEOUT_MS + FIRST_PAUSE_MS + 1);
    let refused = puller.pulled(&grant(1, 0), Hash([1; 32]), &position(0), false, now);
    assert_eq!(refused, Err(GrantError::Unasked));
    assert_eq!(puller, late);
    pulled(&mut puller, 2, now);
    assert!(puller.live(&position(0), now).is_ok());
}

#[test]
fn more_entries_are_fetched_at_once_if_some_came() {
    let answer = |brought| {
        let mut puller = begun(1, at(0));
        puller.pulled(&grant(1, 9), Hash([1; 32]), &position(4), brought, at(10)).unwrap();
        puller.wake_at_ms()
    };
    assert_eq!(answer(true), mono(10));
    assert_eq!(answer(false), mono(LEASE_MS / 3), "a home that promises and sends nothing");
}

#[test]
fn who_is_in_a_hurry_does_not_wait_for_the_third() {
    let mut puller = begun(1, at(0));
    pulled(&mut puller, 1, at(10));
    puller.hurry(at(5_000));
    assert!(puller.begin(nonce(2), at(5_000)));
    // Meanwhile another deny: the next pull follows the answer, and not faster than the least time.
    puller.hurry(at(5_001));
    assert!(!puller.begin(nonce(3), at(5_001)));
    pulled(&mut puller, 2, at(5_010));
    assert_eq!(puller.wake_at_ms(), mono(5_000 + LEAST_MS));
    assert!(puller.begin(nonce(3), at(5_000 + LEAST_MS)));
    // And through the pause after a failure.
    puller.failed(at(6_000));
    puller.hurry(at(6_001));
    assert!(puller.begin(nonce(4), at(6_001)));
}

#[test]
fn the_pause_doubles_up_to_its_end_and_begins_anew_after_an_answer() {
    let (mut puller, mut now, mut pauses) = (Puller::new(channel()), 0, Vec::new());
    for number in 0..5 {
        assert!(puller.begin(nonce(number), at(now)));
        puller.failed(at(now));
        pauses.push(puller.wake_at_ms() - mono(now));
        now += pauses.last().unwrap();
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 4_000]);
    assert!(puller.begin(nonce(9), at(now)));
    pulled(&mut puller, 9, at(now));
    let next = now + LEASE_MS / 3;
    assert!(puller.begin(nonce(10), at(next)));
    puller.failed(at(next));
    assert_eq!(puller.wake_at_ms(), mono(next + FIRST_PAUSE_MS));
    assert!(puller.live(&position(0), at(next)).is_ok(), "one failure costs no lease");
}

#[test]
fn a_fork_ends_the_lease_and_is_asked_about_slowly() {
    let mut puller = begun(1, at(0));
    pulled(&mut puller, 1, at(10));
    puller.forked(at(20));
    assert_eq!(puller.live(&position(0), at(21)), Err(NoLease::Never));
    assert_eq!(puller.wake_at_ms(), mono(20 + FORKED_MS));
    // A grant for the pull that was on its way when the fork was seen opens nothing.
    let mut puller = begun(1, at(0));
    puller.forked(at(5));
    let refused = puller.pulled(&grant(1, 0), Hash([1; 32]), &position(0), false, at(6));
    assert_eq!(refused, Err(GrantError::Unasked));
}

#[test]
fn a_grant_that_no_home_may_give_is_a_failure() {
    for granted_ms in [0, 1_999, 86_400_001] {
        let mut puller = begun(1, at(0));
        let grant = Grant { granted_ms, ..grant(1, 0) };
        let refused = puller.pulled(&grant, Hash([1; 32]), &position(0), false, at(5));
        assert_eq!(refused, Err(GrantError::Duration(granted_ms)));
        assert_eq!(puller.live(&position(0), at(6)), Err(NoLease::Never));
        assert_eq!(puller.wake_at_ms(), mono(5 + FIRST_PAUSE_MS));
    }
}

#[test]
fn direct_denies_move_on_only_with_an_answer() {
    let key = |byte| (ServiceId([byte; 32]), DecisionId([byte; 32]));
    let mut puller = begun(1, at(0));
    puller.carries(Some(key(7)));
    puller.failed(at(1));
    assert_eq!(puller.denies_after(), None);
    assert!(puller.begin(nonce(2), at(1_000)));
    puller.carries(Some(key(7)));
    pulled(&mut puller, 2, at(1_001));
    assert_eq!(puller.denies_after(), Some(&key(7)));
    // A pull that carried none leaves it.
    assert!(puller.begin(nonce(3), at(100_000)));
    pulled(&mut puller, 3, at(100_001));
    assert_eq!(puller.denies_after(), Some(&key(7)));
}

#[test]
fn a_home_is_told_only_what_witnesses_know() {
    let reached =
        |length, waiting: &[u64]| Reached { applied: position(length), waiting: waiting.to_vec() };
    let mut puller = Puller::new(channel());
    assert_eq!((puller.told(), puller.untold()), (None, None));
    puller.reached(reached(3, &[1]), 40);
    assert!(!puller.witnessed(39));
    assert_eq!((puller.told(), puller.untold()), (None, Some(40)));
    // The same again, with more in the log meanwhile, does not wait for that.
    puller.reached(reached(3, &[1]), 55);
    assert!(puller.witnessed(40));
    assert_eq!((puller.told(), puller.untold()), (Some(&reached(3, &[1])), None));
    puller.reached(reached(3, &[1]), 60);
    assert_eq!(puller.untold(), None, "no news");
    // What waited and acts now is news, too.
    puller.reached(reached(3, &[]), 61);
    assert_eq!(puller.told(), Some(&reached(3, &[1])));
    puller.reached(reached(5, &[]), 70);
    // One from before that is told of late.
    puller.reached(reached(4, &[]), 65);
    assert_eq!(puller.untold(), Some(61));
    assert!(puller.witnessed(69));
    assert_eq!((puller.told(), puller.untold()), (Some(&reached(3, &[])), Some(70)));
    assert!(!puller.witnessed(69), "nothing more");
    assert!(puller.witnessed(90));
    puller.reached(reached(4, &[]), 65);
    assert_eq!((puller.told(), puller.untold()), (Some(&reached(5, &[])), None));
}

#[test]
fn witnesses_slower_than_what_comes_in_are_not_waited_for_in_vain() {
    let reached = |length| Reached { applied: position(length), waiting: vec![] };
    let mut puller = Puller::new(channel());
    // A commit a second, cosigned two seconds later.
    for second in 0..10 {
        puller.reached(reached(second), second);
        if let Some(cosigned) = second.checked_sub(2) {
            puller.witnessed(cosigned);
        }
        let told = puller.told().map(|reached| reached.applied.length);
        assert!(told.unwrap_or(0) + 4 > second, "at {second}: {told:?}");
    }
}
