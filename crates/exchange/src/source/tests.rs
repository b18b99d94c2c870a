use std::collections::BTreeMap;

use consent::{
    UseCount,
    lease::LeaseKeeper,
    pair::{PairKey, StandingDeny, StandingPermit},
};
use trust::testing::{NOW, TestSigner};
use wire::{
    Bytes, Hash, KeyHash, Nonce, Now, PublicKey, ServiceName, Signed, Signer,
    channel::{Grant, Position},
    consent::{
        Attested, Decision, ExpressedBy, Items, Link, Notice, Onward, Permit, PurposeScope,
        Recipient, Reopen, Scope, Uses, Verdict, Window,
    },
    exchange::Request,
};

use super::*;
use crate::{
    check_presentation,
    fixture::{
        Fixture, HERE, PERMIT, SEED, THERE, expected, hospital, item, lunch, records, treatment,
    },
};

mod present_consent;

const KEY: KeyHash = KeyHash([0x77; 32]);
const DENY: DecisionId = DecisionId([0xdd; 32]);

fn scope(items: &[&str]) -> Scope {
    Scope {
        recipient: Recipient::Service(hospital()),
        items: Items::Types(items.iter().map(|text| item(text)).collect()),
        purpose: PurposeScope::Code(treatment()),
    }
}

fn permit(uses: Uses) -> Permit {
    Permit {
        recipient_subject: THERE,
        reopens: vec![],
        valid_from: Timestamp(NOW.0 - 1_000_000),
        valid_until: NOW.plus_ms(1_000_000_000),
        uses,
        window: None,
        retention_days: None,
        onward: Onward::Forbidden,
        notice: Notice { hash: Hash([0; 32]), language: "ja".to_owned(), version: 1 },
        vocabulary: 1,
        link: Attested { object: Bytes(vec![]), chain: vec![] },
        request: None,
    }
}

fn standing(items: &[&str], uses: Uses) -> StandingPermit {
    StandingPermit {
        key: KEY,
        expressed_by: ExpressedBy::Oneself,
        scope: scope(items),
        permit: permit(uses),
    }
}

fn deny(items: &[&str]) -> StandingDeny {
    StandingDeny { key: Some(KEY), scope: scope(items), unreadable_from: None }
}

/// A source's store, as far as one citizen goes.
struct Store {
    fixture: Fixture,
    pair: PairState,
    uses: BTreeMap<DecisionId, UseCount>,
    channel: ChannelId,
    applied: ChannelHead,
    keeper: LeaseKeeper,
    released: BTreeMap<(ServiceName, Nonce), (Released, Vec<u8>)>,
}

fn now(ms: u64) -> Now {
    Now { mono_ms: 5_000_000 + ms, wall: NOW.plus_ms(ms) }
}

impl Store {
    /// A citizen who permits the hospital `items`, under a lease of 60 s from [`NOW`].
    fn new(items: &[&str], uses: Uses) -> Self {
        let fixture = Fixture::new();
        let home = fixture.network.cities[1].organisation.clone();
        let public_key = PublicKey::from_sec1(&[4; 65]).unwrap();
        let key =
            PairKey { public_key, basis: ExpressedBy::Oneself, until: NOW.plus_ms(1_000_000_000) };
        let pair = PairState {
            home: Some(home.clone()),
            keys: [(KEY, key)].into(),
            permits: [(PERMIT, standing(items, uses))].into(),
            ..PairState::default()
        };
        let channel = ChannelId { home, source: lunch() };
        let position = Position { length: 4, chain: Hash([4; 32]) };
        let applied = ChannelHead { position, map: Hash([5; 32]) };
        let mut keeper = LeaseKeeper::new(channel.clone());
        keeper.sending(Nonce([6; 16]), now(0));
        let grant = Grant {
            channel: channel.clone(),
            nonce: Nonce([6; 16]),
            head: applied,
            granted_ms: 60_000,
            time: NOW,
        };
        keeper.granted(&grant, Hash([8; 32])).unwrap();
        Self {
            fixture,
            pair,
            uses: BTreeMap::new(),
            channel,
            applied,
            keeper,
            released: BTreeMap::new(),
        }
    }

    fn lease(&self, ms: u64) -> Result<&Lease, NoLease> {
        self.keeper.live(&self.applied.position, now(ms))
    }

    fn view<T>(&self, request: &Authentic, ms: u64, then: impl FnOnce(&View<'_>) -> T) -> T {
        self.view_with(request, ms, None, then)
    }

    fn view_with<T>(
        &self,
        request: &Authentic,
        ms: u64,
        present: Option<&PresentConsent>,
        then: impl FnOnce(&View<'_>) -> T,
    ) -> T {
        let (service, id) = request.idempotency_key();
        let previous = self.released.get(&(service.clone(), id));
        let channel =
            ChannelView { id: &self.channel, applied: &self.applied, lease: self.lease(ms) };
        then(&View {
            pair: Some(PairView { subject: &HERE, state: &self.pair, channel: Some(channel) }),
            uses: &self.uses,
            present,
            previous: previous.map(|(released, bytes)| Previous { released, presentation: bytes }),
            at: NOW.plus_ms(ms),
        })
    }

    fn evaluate(&self, request: &Authentic, ms: u64) -> Result<Evaluated, Declined> {
        self.view(request, ms, |view| request.evaluate(view))
    }

    fn allowed(&self, request: &Authentic, ms: u64) -> Allowed {
        match self.evaluate(request, ms).unwrap() {
            Evaluated::Fetch(allowed) => allowed,
            Evaluated::Resend(_) => panic!("released before"),
        }
    }

    fn prepared(&self, allowed: Allowed, held: &[&str]) -> Prepared {
        let unsigned = allowed.prepare(records(held), &self.fixture.chain, SEED, NOW).unwrap();
        unsigned.sign(&self.fixture.credential).unwrap()
    }

    fn commit(&mut self, prepared: Prepared, ms: u64) -> Result<Committed, Declined> {
        let request = prepared.request().clone();
        let committed = self.view(&request, ms, |view| prepared.commit(view))?;
        self.apply(&request, &committed);
        Ok(committed)
    }

    fn apply(&mut self, request: &Authentic, committed: &Committed) {
        let Some(write) = committed.write() else { return };
        self.uses.extend(write.uses.iter().copied());
        let (service, id) = request.idempotency_key();
        let value = (write.released.clone(), write.presentation.to_vec());
        assert!(self.released.insert((service.clone(), id), value).is_none());
    }

    /// The whole way, all records held.
    fn answer(&mut self, request: &Authentic, ms: u64) -> Result<ExchangeReply, Declined> {
        let committed = match self.evaluate(request, ms)? {
            Evaluated::Fetch(allowed) => {
                let held: Vec<String> =
                    allowed.leaves().iter().map(|(item, _)| item.to_string()).collect();
                let held: Vec<&str> = held.iter().map(String::as_str).collect();
                let prepared = self.prepared(allowed, &held);
                self.commit(prepared, ms)?
            }
            Evaluated::Resend(resend) => self.view(request, ms, |view| resend.commit(view))?,
        };
        self.send(request, committed, ms)
    }

    fn send(
        &self,
        request: &Authentic,
        committed: Committed,
        ms: u64,
    ) -> Result<ExchangeReply, Declined> {
        self.view(request, ms, |view| committed.send(view))
    }

    fn authentic(&self, items: &[&str], whole: bool) -> Authentic {
        self.fixture.authentic(self.fixture.request(items, whole))
    }

    fn numbered(&self, n: u8) -> Authentic {
        let request =
            Request { id: Nonce([n; 16]), ..self.fixture.request(&["health.allergy"], true) };
        self.fixture.authentic(request)
    }
}

fn bytes(reply: Result<ExchangeReply, Declined>) -> Vec<u8> {
    match reply.unwrap() {
        ExchangeReply::Presentation(bytes) => bytes.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn from_request_to_presentation() {
    let mut store = Store::new(&["health"], Uses::Once);
    let request = store.authentic(&["health.allergy", "health.condition"], true);
    let allowed = store.allowed(&request, 0);
    assert_eq!(allowed.subject(), &HERE);
    assert_eq!(
        allowed.leaves(),
        [(item("health.allergy"), PERMIT), (item("health.condition"), PERMIT)]
    );
    let prepared = store.prepared(allowed, &["health.allergy", "health.condition"]);
    let committed = store.commit(prepared, 10).unwrap();
    let write = committed.write().unwrap();
    let release = &write.released.release;
    assert_eq!(*release.request, *request.bytes());
    assert_eq!((release.request_id, release.request_nonce), (request.id(), request.request().id));
    assert_eq!(release.permits, [PERMIT]);
    assert_eq!(release.items, [item("health.allergy"), item("health.condition")]);
    assert_eq!(release.presentation, wire::sha256(write.presentation));
    assert_eq!((&release.pair.source, &release.pair.subject), (&lunch(), &HERE));
    assert_eq!((&release.recipient, &release.channel), (&hospital(), &store.channel));
    assert_eq!((release.position, release.map), (store.applied.position, store.applied.map));
    assert_eq!(release.lease, Some(Hash([8; 32])));
    assert_eq!(write.released.time, NOW.plus_ms(10));
    // One use, though two items passed on it.
    assert_eq!(write.uses, [(PERMIT, UseCount { period: 0, count: 1 })]);

    let bytes = bytes(store.send(&request, committed, 20));
    let expected = expected(request.request(), request.id(), NOW.plus_ms(30));
    let checked = check_presentation(&bytes, &expected, store.fixture.trust()).unwrap();
    assert_eq!(checked.decisions(), [PERMIT]);
    assert_eq!(checked.items().len(), 2);
}

#[test]
fn a_deny_during_the_fetch_refuses() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy", "health.condition"], false);
    let allowed = store.allowed(&request, 0);
    let prepared = store.prepared(allowed, &["health.allergy", "health.condition"]);
    // Of one of the two items only: the other would still be permitted.
    store.pair.denies.insert(DENY, deny(&["health.condition"]));
    assert_eq!(store.commit(prepared, 10), Err(Declined::Refused(Refused::Denied)));
    assert!(store.released.is_empty() && store.uses.is_empty());
    // Asked again, the other item goes out.
    let bytes = bytes(store.answer(&request, 20));
    let expected = expected(request.request(), request.id(), NOW.plus_ms(30));
    let checked = check_presentation(&bytes, &expected, store.fixture.trust()).unwrap();
    assert_eq!(checked.items().keys().collect::<Vec<_>>(), [&item("health.allergy")]);
}

#[test]
fn a_deny_after_the_commit_still_stops_the_first_byte() {
    let mut store = Store::new(&["health"], Uses::Once);
    let request = store.authentic(&["health.allergy", "health.condition"], false);
    let allowed = store.allowed(&request, 0);
    let prepared = store.prepared(allowed, &["health.allergy", "health.condition"]);
    let committed = store.commit(prepared, 10).unwrap();
    // Its own use is spent, and that refuses nothing.
    assert!(store.send(&request, committed.clone(), 11).is_ok());
    // Of one of the two items only: what is signed holds both.
    store.pair.denies.insert(DENY, deny(&["health.condition"]));
    let refused = Err(Declined::Refused(Refused::Denied));
    assert_eq!(store.send(&request, committed.clone(), 12), refused);
    store.pair.denies.clear();
    // A key that ended, a permit that is gone, another permit in its place.
    let ended = store.pair.keys.remove(&KEY).unwrap();
    assert_eq!(
        store.send(&request, committed.clone(), 12),
        Err(Declined::Refused(Refused::KeyDoesNotStand))
    );
    store.pair.keys.insert(KEY, ended);
    store.pair.permits.clear();
    store.pair.permits.insert(DecisionId([0x22; 32]), standing(&["health"], Uses::Unlimited));
    assert!(store.send(&request, committed, 12).is_err());
}

#[test]
fn a_permit_that_changes_during_the_fetch_is_not_passed_over() {
    let mut store = Store::new(&["health"], Uses::Once);
    let request = store.authentic(&["health.allergy"], true);
    let allowed = store.allowed(&request, 0);
    let prepared = store.prepared(allowed, &["health.allergy"]);
    // The presentation cites PERMIT; now an unlimited one comes first.
    let better = DecisionId([0x22; 32]);
    store.pair.permits.insert(better, standing(&["health"], Uses::Unlimited));
    assert_eq!(store.commit(prepared, 10), Err(Declined::Changed));
    let allowed = store.allowed(&request, 20);
    assert_eq!(allowed.leaves(), [(item("health.allergy"), better)]);
    let prepared = store.prepared(allowed, &["health.allergy"]);
    let committed = store.commit(prepared, 20).unwrap();
    assert!(committed.write().unwrap().uses.is_empty(), "unlimited permits are not counted");
}

#[test]
fn the_lease_is_looked_at_three_times() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    let no_lease = Declined::Refused(Refused::NoLease);
    assert_eq!(store.evaluate(&request, 60_000).unwrap_err(), no_lease);
    let allowed = store.allowed(&request, 59_999);
    let prepared = store.prepared(allowed, &["health.allergy"]);
    assert_eq!(store.commit(prepared.clone(), 60_000), Err(no_lease));
    let committed = store.commit(prepared, 59_999).unwrap();
    let sent = store.send(&request, committed.clone(), 60_000);
    assert_eq!(sent, Err(no_lease));
    assert!(store.send(&request, committed, 59_999).is_ok());
    // A pull that brought a head not applied yet.
    store.applied.position.length = 3;
    assert_eq!(store.evaluate(&request, 1).unwrap_err(), no_lease);
}

#[test]
fn a_lease_of_another_channel_is_none() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    let own = store.channel.clone();
    let no_lease = Declined::Refused(Refused::NoLease);
    store.channel.home = store.fixture.network.cities[2].organisation.clone();
    assert_eq!(store.evaluate(&request, 0).unwrap_err(), no_lease);
    store.channel = ChannelId { source: hospital(), ..own.clone() };
    assert_eq!(store.evaluate(&request, 0).unwrap_err(), no_lease);
    store.channel = own;
    store.allowed(&request, 0);
}

#[test]
fn a_retry_gets_the_same_bytes() {
    let mut store = Store::new(&["health"], Uses::Once);
    let request = store.authentic(&["health.allergy"], true);
    let first = bytes(store.answer(&request, 0));
    assert_eq!(store.uses[&PERMIT].count, 1);
    // Its own use does not refuse it, and is not counted again.
    for ms in [5, 1_000] {
        assert_eq!(bytes(store.answer(&request, ms)), first);
    }
    assert_eq!(store.uses[&PERMIT].count, 1);
    // Another request finds the use spent.
    let other = store.numbered(9);
    assert_eq!(store.answer(&other, 6), Err(Declined::Refused(Refused::UsesSpent)));
}

#[test]
fn a_retry_after_a_deny_is_refused() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    let first = bytes(store.answer(&request, 0));
    store.pair.denies.insert(DENY, deny(&["health.allergy"]));
    assert_eq!(store.answer(&request, 5), Err(Declined::Refused(Refused::Denied)));
    // On another permit than its bytes cite it does not pass either.
    let mut reopening = standing(&["health"], Uses::Unlimited);
    reopening.permit.reopens = vec![Reopen::Deny(DENY)];
    store.pair.permits.insert(DecisionId([0x22; 32]), reopening);
    assert!(matches!(store.answer(&request, 6), Err(Declined::Refused(_))));
    // A new request does.
    let other = store.numbered(9);
    assert_ne!(bytes(store.answer(&other, 7)), first);
}

#[test]
fn a_deny_between_a_retrys_evaluation_and_its_sending_refuses() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    bytes(store.answer(&request, 0));
    let Evaluated::Resend(resend) = store.evaluate(&request, 1).unwrap() else {
        panic!("released before");
    };
    store.pair.denies.insert(DENY, deny(&["health.allergy"]));
    let committed = store.view(&request, 2, |view| resend.commit(view));
    assert_eq!(committed, Err(Declined::Refused(Refused::Denied)));
}

#[test]
fn a_retry_needs_a_lease_too() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    bytes(store.answer(&request, 0));
    assert_eq!(store.answer(&request, 60_000), Err(Declined::Refused(Refused::NoLease)));
}

#[test]
fn one_id_is_one_request() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    bytes(store.answer(&request, 0));
    let same_id = store.authentic(&["health.condition"], true);
    assert_eq!(same_id.request().id, request.request().id);
    let declined = store.answer(&same_id, 5).unwrap_err();
    assert_eq!(declined, Declined::IdReused);
    assert_eq!(declined.reply(), ExchangeReply::Rejected(Rejection::IdReused));
    // Also when the first is released while the second one's records are fetched.
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let allowed = store.allowed(&same_id, 0);
    let prepared = store.prepared(allowed, &["health.condition"]);
    bytes(store.answer(&request, 1));
    assert_eq!(store.commit(prepared, 2), Err(Declined::IdReused));
}

#[test]
fn twins_in_flight_spend_one_use() {
    let mut store = Store::new(&["health"], Uses::Once);
    let request = store.authentic(&["health.allergy"], true);
    let (one, two) = (store.allowed(&request, 0), store.allowed(&request, 0));
    let one = store.prepared(one, &["health.allergy"]);
    let two = two
        .prepare(records(&["health.allergy"]), &store.fixture.chain, [9; 32], NOW)
        .unwrap()
        .sign(&store.fixture.credential)
        .unwrap();
    let first = store.commit(one, 1).unwrap();
    let second = store.commit(two, 2).unwrap();
    assert_eq!(second.write(), None);
    let first = bytes(store.send(&request, first, 3));
    assert_eq!(bytes(store.send(&request, second, 3)), first);
    assert_eq!(store.uses[&PERMIT].count, 1);
    // Two different requests on a permit good once: the second finds it spent when it commits.
    let mut store = Store::new(&["health"], Uses::Once);
    let (a, b) = (store.numbered(1), store.numbered(2));
    let one = store.prepared(store.allowed(&a, 0), &["health.allergy"]);
    let two = store.prepared(store.allowed(&b, 0), &["health.allergy"]);
    store.commit(one, 1).unwrap();
    assert_eq!(store.commit(two, 2), Err(Declined::Refused(Refused::UsesSpent)));
}

#[test]
fn a_damaged_store_sends_nothing() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    bytes(store.answer(&request, 0));
    let Evaluated::Resend(resend) = store.evaluate(&request, 1).unwrap() else {
        panic!("released before");
    };
    let kept = store.released.clone();
    store.released.values_mut().for_each(|(_, bytes)| bytes[0] ^= 1);
    assert_eq!(store.answer(&request, 1), Err(Declined::Damaged));
    store.released.clear();
    let committed = store.view(&request, 1, |view| resend.clone().commit(view));
    assert_eq!(committed, Err(Declined::Damaged));
    store.released = kept;
    assert!(store.view(&request, 1, |view| resend.commit(view)).is_ok());
}

#[test]
fn nothing_is_answered_too_late() {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true); // 60 s, and 60 s of clock skew
    let allowed = store.allowed(&request, 0);
    let prepared = store.prepared(allowed, &["health.allergy"]);
    assert_eq!(store.evaluate(&request, 120_000).unwrap_err(), Declined::Expired);
    assert_eq!(store.commit(prepared.clone(), 120_000), Err(Declined::Expired));
    let committed = store.commit(prepared, 1).unwrap();
    let late = store.send(&request, committed, 120_000);
    assert_eq!(late, Err(Declined::Expired));
}

#[test]
fn what_is_not_held_is_left_out() {
    let store = Store::new(&["health"], Uses::Unlimited);
    let part = store.authentic(&["health"], false);
    let whole = store.authentic(&["health"], true);
    let no_data = PrepareError::Declined(Declined::Refused(Refused::NoData));
    let prepare = |request: &Authentic, held: &[&str]| {
        store.allowed(request, 0).prepare(records(held), &store.fixture.chain, SEED, NOW)
    };
    assert_eq!(prepare(&part, &[]).unwrap_err(), no_data);
    assert_eq!(prepare(&whole, &["health.allergy"]).unwrap_err(), no_data);
    assert_eq!(no_data.reply(), ExchangeReply::NotPermitted);
    assert_eq!(prepare(&part, &["identity.name"]).unwrap_err(), PrepareError::ForeignRecord);
    assert_eq!(
        prepare(&part, &["health.allergy", "identity.name"]).unwrap_err(),
        PrepareError::ForeignRecord
    );
    // A retry of what went out in part gets that part again.
    let mut store = store;
    let prepared = store.prepared(store.allowed(&part, 0), &["health.allergy"]);
    let committed = store.commit(prepared, 1).unwrap();
    assert_eq!(committed.write().unwrap().released.leaves.len(), 1);
    let first = bytes(store.send(&part, committed, 2));
    assert_eq!(bytes(store.answer(&part, 3)), first);
}

#[test]
fn refusals_look_the_same() {
    let mut store = Store::new(&["health.allergy"], Uses::Unlimited);
    let request = store.authentic(&["health.allergy"], true);
    let mut replies = Vec::new();
    let mut see = |declined: Declined, reason: Refused| {
        assert_eq!(declined, Declined::Refused(reason));
        replies.push(wire::cbor::to_vec(&declined.reply()));
    };
    let unknown = View { pair: None, uses: &store.uses, present: None, previous: None, at: NOW };
    see(request.evaluate(&unknown).unwrap_err(), Refused::UnknownCitizen);
    let other = store.authentic(&["identity.name"], true);
    see(store.evaluate(&other, 0).unwrap_err(), Refused::NoPermit);
    let unheard_of = store.authentic(&["weather"], true);
    see(store.evaluate(&unheard_of, 0).unwrap_err(), Refused::UnknownItem);
    see(store.evaluate(&request, 60_000).unwrap_err(), Refused::NoLease);
    store.pair.denies.insert(DENY, deny(&["health"]));
    see(store.evaluate(&request, 0).unwrap_err(), Refused::Denied);
    store.pair.denies.clear();
    store.pair.permits.get_mut(&PERMIT).unwrap().permit.valid_until = NOW;
    see(store.evaluate(&request, 0).unwrap_err(), Refused::Expired);
    assert!(replies.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(replies[0], wire::cbor::to_vec(&ExchangeReply::NotPermitted));

    let refusal = request.refusal(Some(HERE), Refused::Expired);
    assert_eq!(refusal.reason, "expired");
    assert_eq!((refusal.request_id, refusal.pair.unwrap().subject), (request.id(), HERE));
    assert!(request.refusal(None, Refused::UnknownCitizen).pair.is_none());
}

#[test]
fn refusals_leave_on_the_beat() {
    let table = [
        (0, 0, 5),
        (0, 1, 4),
        (0, 4, 1),
        (0, 5, 5),
        (0, 6, 4),
        (1_003, 1_004, 4),
        (1_003, 1_019, 4),
        (9, 3, 5), // a clock that cannot go back
    ];
    for (arrival, now, wait) in table {
        assert_eq!(padded_delay(arrival, now, REFUSAL_STEP_MS), wait, "{arrival} {now}");
    }
    for now in 0..500 {
        let leaves = now + padded_delay(7, now, 5);
        assert!(now < 7 || (leaves - 7).is_multiple_of(5));
    }
    assert_eq!(padded_delay(0, 30, 250), 220);
    assert_eq!(padded_delay(0, 30, 0), 1);
}

#[test]
fn the_idempotency_record_can_be_stored() {
    let mut store = Store::new(&["health"], Uses::Once);
    let request = store.authentic(&["health.allergy"], true);
    bytes(store.answer(&request, 0));
    let (released, _) = store.released.values().next().unwrap();
    let stored = wire::cbor::to_vec(released);
    assert_eq!(wire::cbor::from_slice::<Released>(&stored).unwrap(), *released);
    let record = evidence::record::Record::new(&released.release, released.time);
    assert_eq!(record.body::<Release>().unwrap(), released.release);
}

/// What a release of both items on one permit with this window shows, of an allergy from `about`
/// and a condition of no known time.
fn shown(window: Option<Window>, about: u64, whole: bool) -> Result<Vec<String>, PrepareError> {
    let mut store = Store::new(&["health"], Uses::Unlimited);
    for standing in store.pair.permits.values_mut() {
        standing.permit.window = window;
        standing.permit.retention_days = Some(7);
    }
    let request = store
        .fixture
        .authentic(store.fixture.request(&["health.allergy", "health.condition"], whole));
    let Ok(Evaluated::Fetch(allowed)) = store.evaluate(&request, 0) else { panic!("allowed") };
    let mut held = records(&["health.allergy", "health.condition"]);
    let allergy = held.remove(&item("health.allergy")).unwrap().about(Some(Timestamp(about)));
    held.insert(item("health.allergy"), allergy);
    let unsigned = allowed.prepare(held, &store.fixture.chain, SEED, NOW)?;
    let bytes = unsigned.sign(&store.fixture.credential).unwrap().commit_bytes();
    let expected = expected(request.request(), request.id(), NOW);
    let checked = check_presentation(&bytes, &expected, store.fixture.trust()).unwrap();
    let terms: Vec<_> = checked.terms().values().collect();
    assert_eq!((terms[0].window, terms[0].retention_days), (window, Some(7)));
    Ok(checked.items().keys().map(ToString::to_string).collect())
}

#[test]
fn a_record_outside_of_the_permits_window_is_no_data() {
    let window = Some(Window { from: Timestamp(100), until: Timestamp(200) });
    let both = ["health.allergy", "health.condition"];
    assert_eq!(shown(None, 5, true).unwrap(), both);
    assert_eq!(shown(window, 100, false).unwrap(), both[..1]);
    assert_eq!(shown(window, 199, false).unwrap(), both[..1]);
    let no_data = Err(PrepareError::Declined(Declined::Refused(Refused::NoData)));
    assert_eq!(shown(window, 99, false), no_data);
    assert_eq!(shown(window, 200, false), no_data);
    // One whose time is not known lies in no window: then it is not all.
    assert_eq!(shown(window, 150, true), no_data);
}
