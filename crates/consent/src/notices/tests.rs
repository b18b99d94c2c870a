use std::collections::BTreeMap;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_775_001_600);
const MORE: Noted = Noted::Taken { more: true };
const ALL: Noted = Noted::Taken { more: false };

/// A store in memory, and the home at the other end.
#[derive(Default)]
struct Desk {
    notices: BTreeMap<u64, Notice>,
    open: BTreeMap<Refusal, u64>,
    outbox: Option<Outbox>,
}

impl NoticeStore for Desk {
    fn notice(&self, seq: u64) -> Result<Option<Notice>, StoreFault> {
        Ok(self.notices.get(&seq).cloned())
    }
    fn put_notice(&mut self, notice: &Notice) {
        self.notices.insert(notice.seq, notice.clone());
    }
    fn drop_notice(&mut self, seq: u64) {
        self.notices.remove(&seq);
    }
    fn open(&self, refusal: &Refusal) -> Result<Option<u64>, StoreFault> {
        Ok(self.open.get(refusal).copied())
    }
    fn open_count(
        &self,
        subject: &ServiceId,
        recipient: &ServiceName,
        limit: usize,
    ) -> Result<usize, StoreFault> {
        let theirs = |one: &&Refusal| one.subject == *subject && one.recipient == *recipient;
        Ok(self.open.keys().filter(theirs).take(limit).count())
    }
    fn put_open(&mut self, refusal: &Refusal, seq: u64) {
        self.open.insert(refusal.clone(), seq);
    }
    fn drop_open(&mut self, refusal: &Refusal) {
        self.open.remove(refusal);
    }
    fn put_outbox(&mut self, outbox: &Outbox) {
        self.outbox = Some(outbox.clone());
    }
}

impl Desk {
    fn outbox(&self) -> Outbox {
        self.outbox.clone().unwrap_or_else(|| Outbox::new(channel()))
    }

    fn note(&mut self, attempt: Attempt, at: u64) {
        self.outbox().note(self, attempt, Nonce([at as u8; 16]), NOW.plus_ms(at)).unwrap();
    }

    fn batch(&mut self) -> Vec<Notice> {
        self.outbox().batch(self).unwrap()
    }

    fn noted(&mut self, next: u64) -> Noted {
        self.outbox().noted(self, next).unwrap()
    }
}

fn channel() -> ChannelId {
    ChannelId {
        home: "9000020102016".parse().unwrap(),
        source: "9000020102016/school-lunch".parse().unwrap(),
    }
}

fn attempt(subject: u8, purpose: &str, outcome: AttemptOutcome) -> Attempt {
    Attempt {
        subject: ServiceId([subject; 32]),
        recipient: "9000020102016/hospital".parse().unwrap(),
        items: vec!["health.allergy".parse().unwrap()],
        purpose: purpose.parse().unwrap(),
        outcome,
    }
}

fn refused(purpose: &str, reason: &str) -> Attempt {
    attempt(1, purpose, AttemptOutcome::Refused(reason.parse().unwrap()))
}

fn released(request: u8) -> Attempt {
    let permits = vec![DecisionId([9; 32])];
    attempt(1, "treatment", AttemptOutcome::Released { request: Hash([request; 32]), permits })
}

fn signed(notices: &[Notice]) -> NoticeBatch {
    let first = notices.first().map_or(0, |notice| notice.seq);
    let hashes = notices.iter().map(Notice::hash).collect();
    NoticeBatch { channel: channel(), first, hashes, time: NOW }
}

#[test]
fn releases_stand_apart_and_the_same_refusal_is_counted() {
    let mut desk = Desk::default();
    desk.note(refused("treatment", "no-permit"), 1);
    desk.note(released(1), 2);
    desk.note(refused("treatment", "no-permit"), 3);
    desk.note(released(2), 4);
    desk.note(refused("treatment", "denied"), 5);
    desk.note(refused("administration", "no-permit"), 6);
    desk.note(attempt(2, "treatment", AttemptOutcome::Refused("no-permit".parse().unwrap())), 7);
    let batch = desk.batch();
    let counts: Vec<_> = batch.iter().map(|notice| (notice.seq, notice.count)).collect();
    assert_eq!(counts, [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    assert_eq!((batch[0].first, batch[0].last), (NOW.plus_ms(1), NOW.plus_ms(3)));
}

#[test]
fn a_batch_on_its_way_is_not_changed_and_goes_again_until_it_is_noted() {
    let mut desk = Desk::default();
    desk.note(refused("treatment", "denied"), 1);
    let sent = desk.batch();
    // The same refusal, while the first may be on its way or lost.
    desk.note(refused("treatment", "denied"), 2);
    desk.note(refused("treatment", "denied"), 3);
    assert_eq!(desk.batch(), sent, "the same again");
    assert_eq!(desk.noted(1), MORE);
    let next = desk.batch();
    assert_eq!((next.len(), next[0].seq, next[0].count), (1, 1, 2));
    assert_eq!(desk.noted(2), ALL);
    assert!(desk.batch().is_empty());
    assert!(desk.notices.is_empty() && desk.open.is_empty(), "nothing is left behind");
}

#[test]
fn a_flood_of_different_refusals_stays_bounded() {
    let mut desk = Desk::default();
    for n in 0..1000 {
        desk.note(refused(&format!("p{n}"), "no-permit"), n);
    }
    assert_eq!(desk.notices.len(), KINDS + 1);
    let total: u64 = desk.notices.values().map(|notice| notice.count).sum();
    assert_eq!(total, 1000, "each is counted");
    let sum = &desk.notices[&(KINDS as u64)];
    assert_eq!((&sum.items, &sum.purpose, sum.count), (&vec![], &None, 1000 - KINDS as u64));
    // Another citizen is not drowned in it.
    desk.note(attempt(2, "treatment", AttemptOutcome::Refused("denied".parse().unwrap())), 1000);
    assert_eq!(desk.notices.len(), KINDS + 2);
    let batch = desk.batch();
    let taken = take(&channel(), &batch, &signed(&batch), 0, None);
    assert_eq!(taken, Ok(Taking::Keep { next: KINDS as u64 + 2 }));
}

#[test]
fn batches_are_bounded() {
    let mut desk = Desk::default();
    for n in 0..300 {
        desk.note(released(n as u8), n);
    }
    assert_eq!(desk.batch().len(), 256);
    assert_eq!(desk.noted(256), MORE);
    assert_eq!(desk.batch().len(), 44);
    assert_eq!(desk.noted(300), ALL);
}

#[test]
fn a_home_takes_each_once_and_tells_what_it_wants() {
    let mut desk = Desk::default();
    for n in 0..3 {
        desk.note(released(n), u64::from(n));
    }
    let notices = desk.batch();
    let batch = signed(&notices);
    let channel = channel();
    assert_eq!(take(&channel, &notices, &batch, 0, None), Ok(Taking::Keep { next: 3 }));
    // The answer was lost: the same again is passed over.
    assert_eq!(take(&channel, &notices, &batch, 3, Some(&batch)), Ok(Taking::Pass { next: 3 }));
    let gap = [notices[2].clone()];
    assert_eq!(take(&channel, &gap, &signed(&gap), 0, None), Ok(Taking::Pass { next: 0 }));
    let other = NoticeBatch { hashes: vec![Hash([0; 32]); 3], ..batch.clone() };
    assert_eq!(take(&channel, &notices, &batch, 3, Some(&other)), Err(BatchFault::Forked));
    assert_eq!(take(&channel, &notices, &batch, 2, None), Err(BatchFault::Forked));
}

#[test]
fn what_does_not_hold_is_named() {
    let mut desk = Desk::default();
    desk.note(released(1), 1);
    desk.note(refused("treatment", "denied"), 2);
    let notices = desk.batch();
    let fault = |change: &dyn Fn(&mut Vec<Notice>)| {
        let mut notices = notices.clone();
        change(&mut notices);
        take(&channel(), &notices, &signed(&notices), 0, None).unwrap_err()
    };
    assert_eq!(fault(&|n| n.clear()), BatchFault::Mismatch);
    assert_eq!(fault(&|n| n[1].seq = 5), BatchFault::Mismatch);
    assert_eq!(fault(&|n| n[0].count = 2), BatchFault::Form);
    assert_eq!(fault(&|n| n[0].items.clear()), BatchFault::Form);
    assert_eq!(fault(&|n| n[1].count = 0), BatchFault::Form);
    assert_eq!(fault(&|n| n[1].purpose = None), BatchFault::Form);
    assert_eq!(fault(&|n| n[1].last = Timestamp(0)), BatchFault::Form);
    assert_eq!(fault(&|n| *n = vec![n[0].clone(); 257]), BatchFault::Mismatch);
    let batch = signed(&notices);
    let mut altered = notices.clone();
    altered[0].subject = ServiceId([7; 32]);
    assert_eq!(take(&channel(), &altered, &batch, 0, None), Err(BatchFault::Mismatch));
    let foreign = ChannelId { source: "9000020102016/other".parse().unwrap(), ..channel() };
    assert_eq!(take(&foreign, &notices, &batch, 0, None), Err(BatchFault::OtherChannel));
}

#[test]
fn ends_that_were_restored_find_their_step_again() {
    // The home lost what it had: everything still here is sent from where it is now.
    let mut desk = Desk::default();
    desk.note(released(1), 1);
    desk.batch();
    desk.noted(1);
    desk.note(released(2), 2);
    desk.batch();
    assert_eq!(desk.noted(0), Noted::OutOfStep);
    assert_eq!(desk.batch()[0].seq, 0);
    assert_eq!(desk.noted(1), ALL);
    // This source lost count: other notices came under its numbers.
    desk.note(released(3), 3);
    assert_eq!(desk.batch()[0].seq, 1);
    desk.outbox().out_of_step(&mut desk);
    assert_eq!(desk.batch()[0].seq, 2);
    assert_eq!(desk.noted(40), Noted::OutOfStep);
    assert_eq!(desk.batch()[0].seq, 40);
    // Nonsense changes nothing, and is no progress.
    assert_eq!(desk.noted(u64::MAX), Noted::OutOfStep);
    assert_eq!(desk.batch()[0].seq, 40);
    assert_eq!(desk.noted(41), ALL);
    assert!(desk.notices.is_empty(), "nothing is left behind");
}

#[test]
fn out_of_step_nothing_that_waits_is_written_anew() {
    let mut desk = Desk::default();
    for n in 0..300 {
        desk.note(released(n as u8), n);
    }
    desk.note(refused("treatment", "denied"), 300);
    desk.batch();
    let stored = desk.notices.clone();
    assert_eq!(desk.noted(1000), Noted::OutOfStep);
    assert_eq!(desk.notices, stored);
    // What was not in a batch yet is counted up still.
    desk.note(refused("treatment", "denied"), 301);
    assert_eq!(
        desk.batch().iter().map(|notice| notice.seq).collect::<Vec<_>>(),
        Vec::from_iter(1000..1256)
    );
    assert_eq!(desk.noted(1256), MORE);
    let rest = desk.batch();
    assert_eq!((rest.len(), rest[0].seq, rest[44].count), (45, 1256, 2));
    assert_eq!(desk.noted(1301), ALL);
}
