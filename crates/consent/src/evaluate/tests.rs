use std::collections::BTreeMap;

use wire::{
    KeyHash,
    cbor::Bytes,
    consent::{
        Attested, ExpressedBy, Items, Notice, Permit, PurposeScope, Recipient, Reopen, Scope,
    },
};

use super::*;
use crate::pair::PairKey;

mod sets;
mod vectors;

const T0: Timestamp = Timestamp(1_800_000_000_000);
const DAY: u64 = 86_400_000;

fn hospital() -> ServiceName {
    "9000020102016/hospital-a".parse().unwrap()
}

fn clinic() -> ServiceName {
    "9000020102016/clinic".parse().unwrap()
}

fn item(text: &str) -> ItemType {
    text.parse().unwrap()
}

fn key(n: u8) -> KeyHash {
    KeyHash([n; 32])
}

fn id(n: u8) -> DecisionId {
    DecisionId([n; 32])
}

fn there() -> ServiceId {
    ServiceId([0xbb; 32])
}

fn scope(recipient: Option<ServiceName>, items: &[&str], purpose: Option<&str>) -> Scope {
    Scope {
        recipient: recipient.map_or(Recipient::Any, Recipient::Service),
        items: if items.is_empty() {
            Items::All
        } else {
            Items::Types(items.iter().map(|text| item(text)).collect())
        },
        purpose: purpose.map_or(PurposeScope::Any, |p| PurposeScope::Code(p.parse().unwrap())),
    }
}

fn permit(n: u8) -> StandingPermit {
    StandingPermit {
        key: key(n),
        expressed_by: ExpressedBy::Oneself,
        scope: scope(Some(hospital()), &["health.allergy"], Some("treatment")),
        permit: Permit {
            recipient_subject: there(),
            reopens: vec![],
            valid_from: T0,
            valid_until: T0.plus_ms(30 * DAY),
            uses: Uses::Unlimited,
            window: None,
            retention_days: None,
            onward: Onward::Forbidden,
            notice: Notice { hash: Hash([0; 32]), language: "ja".to_owned(), version: 1 },
            vocabulary: 1,
            link: Attested { object: Bytes(vec![]), chain: vec![] },
            request: None,
        },
    }
}

/// A pair with begun keys 1 to 4.
fn pair() -> PairState {
    let public_key = wire::PublicKey::from_sec1(&[4; 65]).unwrap();
    let begun = PairKey { public_key, basis: ExpressedBy::Oneself, until: T0.plus_ms(100 * DAY) };
    PairState { keys: (1..=4).map(|n| (key(n), begun.clone())).collect(), ..PairState::default() }
}

struct Ask {
    recipient: ServiceName,
    items: Vec<ItemType>,
    whole: bool,
    purpose: Purpose,
    at: Timestamp,
    released: Option<Vec<(ItemType, DecisionId)>>,
    uses: BTreeMap<DecisionId, UseCount>,
}

impl Ask {
    fn new(items: &[&str]) -> Self {
        Self {
            recipient: hospital(),
            items: items.iter().map(|text| item(text)).collect(),
            whole: false,
            purpose: "treatment".parse().unwrap(),
            at: T0.plus_ms(DAY),
            released: None,
            uses: BTreeMap::new(),
        }
    }

    fn of(&self, pair: &PairState) -> Result<Permitted, Refused> {
        let query = Query {
            recipient: &self.recipient,
            recipient_subject: &there(),
            items: &self.items,
            whole: self.whole,
            purpose: &self.purpose,
            consent_hash: Hash([5; 32]),
            at: self.at,
            released: self.released.as_deref(),
        };
        evaluate(pair, &self.uses, &query)
    }
}

fn deny(n: u8, scope: Scope) -> (DecisionId, StandingDeny) {
    (id(n), StandingDeny { key: Some(key(n)), scope, unreadable_from: None })
}

#[test]
fn the_default_is_no() {
    assert_eq!(Ask::new(&["health.allergy"]).of(&pair()), Err(Refused::NoPermit));
    assert_eq!(Ask::new(&["weather"]).of(&pair()), Err(Refused::UnknownItem));
}

#[test]
fn a_permit_opens_what_it_names_and_no_more() {
    let mut pair = pair();
    pair.permits.insert(id(1), permit(1));
    let allowed = Ask::new(&["health.allergy"]).of(&pair).unwrap();
    assert_eq!(allowed.leaves(), [(item("health.allergy"), id(1))]);
    assert_eq!(Ask::new(&["health.medication"]).of(&pair), Err(Refused::NoPermit));
    let other = Ask { recipient: clinic(), ..Ask::new(&["health.allergy"]) };
    assert_eq!(other.of(&pair), Err(Refused::NoPermit));
    let purpose = "administration".parse().unwrap();
    let other = Ask { purpose, ..Ask::new(&["health.allergy"]) };
    assert_eq!(other.of(&pair), Err(Refused::NoPermit));
    // The category gives the permitted leaf, or nothing where all or nothing was asked.
    assert_eq!(Ask::new(&["health"]).of(&pair).unwrap().leaves().len(), 1);
    let whole = Ask { whole: true, ..Ask::new(&["health"]) };
    assert_eq!(whole.of(&pair), Err(Refused::NoPermit));
}

#[test]
fn a_permit_for_another_person_at_the_recipient_permits_nothing() {
    let mut pair = pair();
    let mut foreign = permit(1);
    foreign.permit.recipient_subject = ServiceId([0xcc; 32]);
    pair.permits.insert(id(1), foreign);
    assert_eq!(Ask::new(&["health.allergy"]).of(&pair), Err(Refused::NoPermit));
}

#[test]
fn the_interval_is_half_open() {
    let mut pair = pair();
    pair.permits.insert(id(1), permit(1));
    let at = |at| Ask { at, ..Ask::new(&["health.allergy"]) }.of(&pair);
    assert_eq!(at(Timestamp(T0.0 - 1)), Err(Refused::NotYetValid));
    assert!(at(T0).is_ok());
    assert!(at(Timestamp(T0.0 + 30 * DAY - 1)).is_ok());
    assert_eq!(at(T0.plus_ms(30 * DAY)), Err(Refused::Expired));
}

#[test]
fn a_deny_stands_until_a_permit_names_it() {
    let mut pair = pair();
    pair.permits.insert(id(1), permit(1));
    pair.denies.extend([deny(2, Scope::EVERYTHING)]);
    let ask = Ask::new(&["health.allergy"]);
    assert_eq!(ask.of(&pair), Err(Refused::Denied));
    // A newer permit that does not name it changes nothing.
    pair.permits.insert(id(3), permit(3));
    assert_eq!(ask.of(&pair), Err(Refused::Denied));
    let mut naming = permit(4);
    naming.permit.reopens = vec![Reopen::Deny(id(2))];
    pair.permits.insert(id(4), naming);
    assert_eq!(ask.of(&pair).unwrap().leaves(), [(item("health.allergy"), id(4))]);
    // The same words said again are another deny.
    pair.denies.extend([deny(5, Scope::EVERYTHING)]);
    assert_eq!(ask.of(&pair), Err(Refused::Denied));
}

#[test]
fn an_ended_key_is_reopened_with_all_its_denies_but_a_standing_one_is_not() {
    let mut pair = pair();
    let mut naming = permit(1);
    naming.permit.reopens = vec![Reopen::Key(key(2))];
    pair.permits.insert(id(1), naming);
    pair.denies.extend([deny(2, Scope::EVERYTHING)]);
    let ask = Ask::new(&["health.allergy"]);
    assert_eq!(ask.of(&pair), Err(Refused::Denied));
    pair.ended.insert(key(2), BTreeSet::new());
    assert!(ask.of(&pair).is_ok());
}

#[test]
fn an_unreadable_entry_stands_only_from_the_pairs_own_home() {
    let [home, other] =
        ["000020102016", "000020012173"].map(|n| wire::OrganisationId::from_base(n).unwrap());
    let mut pair = PairState { home: Some(home.clone()), ..pair() };
    pair.permits.insert(id(1), permit(1));
    pair.apply_unreadable(id(2), Scope::EVERYTHING, other);
    assert!(Ask::new(&["health.allergy"]).of(&pair).is_ok());
    pair.apply_unreadable(id(3), Scope::EVERYTHING, home);
    assert_eq!(Ask::new(&["health.allergy"]).of(&pair), Err(Refused::Denied));
}

#[test]
fn keys_decide_whether_a_permit_counts() {
    let ask = Ask::new(&["health.allergy"]);
    let mut with_permit = pair();
    with_permit.permits.insert(id(1), permit(1));

    let mut never_begun = with_permit.clone();
    never_begun.keys.clear();
    assert_eq!(ask.of(&never_begun), Err(Refused::KeyDoesNotStand));

    let mut ended = with_permit.clone();
    ended.ended.insert(key(1), BTreeSet::new());
    assert_eq!(ask.of(&ended), Err(Refused::KeyDoesNotStand));
    ended.ended.insert(key(1), BTreeSet::from([id(1)]));
    assert!(ask.of(&ended).is_ok());

    let mut over = with_permit.clone();
    over.keys.get_mut(&key(1)).unwrap().until = ask.at;
    assert_eq!(ask.of(&over), Err(Refused::KeyDoesNotStand));

    let mut guardian = with_permit;
    guardian.keys.get_mut(&key(1)).unwrap().basis = ExpressedBy::Guardian;
    assert_eq!(ask.of(&guardian), Err(Refused::KeyDoesNotStand));
}

#[test]
fn uses_are_counted() {
    let mut pair = pair();
    let mut once = permit(1);
    once.permit.uses = Uses::Once;
    pair.permits.insert(id(1), once.clone());
    let mut ask = Ask::new(&["health.allergy"]);
    assert!(ask.of(&pair).is_ok());
    let used = use_after(&once, UseCount::default(), ask.at).unwrap();
    ask.uses.insert(id(1), used);
    assert_eq!(ask.of(&pair), Err(Refused::UsesSpent));

    let mut twice_a_day = permit(1);
    twice_a_day.permit.uses = Uses::Per { count: 2, period_ms: DAY };
    pair.permits.insert(id(1), twice_a_day.clone());
    let mut used = UseCount::default();
    for _ in 0..2 {
        ask.uses.insert(id(1), used);
        assert!(ask.of(&pair).is_ok());
        used = use_after(&twice_a_day, used, ask.at).unwrap();
    }
    ask.uses.insert(id(1), used);
    assert_eq!(ask.of(&pair), Err(Refused::UsesSpent));
    ask.at = ask.at.plus_ms(DAY);
    assert!(ask.of(&pair).is_ok());
    assert_eq!(use_after(&twice_a_day, used, ask.at), Some(UseCount { period: 2, count: 1 }));
    // Set back by a day, the clock opens nothing again, and the counter does not go back.
    ask.at = Timestamp(ask.at.0 - 2 * DAY);
    assert_eq!(ask.of(&pair), Err(Refused::UsesSpent));
    assert_eq!(use_after(&twice_a_day, used, ask.at), Some(UseCount { period: 1, count: 3 }));
}

#[test]
fn a_retry_ignores_its_own_use() {
    let mut pair = pair();
    let mut once = permit(1);
    once.permit.uses = Uses::Once;
    pair.permits.insert(id(1), once);
    let mut ask = Ask::new(&["health.allergy"]);
    ask.uses.insert(id(1), UseCount { period: 0, count: 1 });
    assert_eq!(ask.of(&pair), Err(Refused::UsesSpent));
    ask.released = Some(vec![(item("health.allergy"), id(1))]);
    assert!(ask.of(&pair).is_ok());
}

#[test]
fn a_retry_passes_on_the_same_permit_or_not_at_all() {
    let mut pair = pair();
    pair.permits.insert(id(1), permit(1));
    pair.permits.insert(id(2), permit(2));
    let mut ask = Ask::new(&["health.allergy"]);
    assert_eq!(ask.of(&pair).unwrap().leaves()[0].1, id(1));
    ask.released = Some(vec![(item("health.allergy"), id(2))]);
    assert_eq!(ask.of(&pair).unwrap().leaves()[0].1, id(2));
    pair.ended.insert(key(2), BTreeSet::new());
    assert_eq!(ask.of(&pair), Err(Refused::KeyDoesNotStand));
    // It was released with one leaf; it does not come back with more.
    let mut wider = permit(3);
    wider.scope = scope(Some(hospital()), &["health"], None);
    pair.permits.insert(id(3), wider);
    let mut ask = Ask::new(&["health"]);
    ask.released = Some(vec![(item("health.allergy"), id(1))]);
    assert_eq!(ask.of(&pair).unwrap().leaves().len(), 1);
}

#[test]
fn the_choice_among_permits_is_fixed() {
    let mut pair = pair();
    let mut limited = permit(1);
    limited.permit.uses = Uses::Once;
    limited.permit.valid_until = T0.plus_ms(2 * DAY);
    let mut later = permit(2);
    later.permit.valid_until = T0.plus_ms(40 * DAY);
    pair.permits.extend([(id(1), limited), (id(2), later), (id(4), permit(4)), (id(3), permit(3))]);
    let allowed = Ask::new(&["health.allergy"]).of(&pair).unwrap();
    assert_eq!(allowed.leaves()[0].1, id(3), "unlimited, earliest expiry, lowest id");
}

#[test]
fn a_present_consent_is_good_for_its_request_only() {
    let mut pair = pair();
    let mut bound = permit(1);
    bound.permit.request = Some(Hash([6; 32]));
    pair.permits.insert(id(1), bound.clone());
    let ask = Ask::new(&["health.allergy"]);
    assert_eq!(ask.of(&pair), Err(Refused::NoPermit));
    bound.permit.request = Some(Hash([5; 32]));
    pair.permits.insert(id(1), bound);
    assert!(ask.of(&pair).is_ok());
}

#[test]
fn the_terms_are_those_of_the_permit_a_leaf_passes_on() {
    let mut pair = pair();
    let window = Some(Window { from: Timestamp(0), until: T0 });
    let mut narrow = permit(1);
    narrow.permit.window = window;
    narrow.permit.retention_days = Some(7);
    let mut wide = permit(2);
    wide.scope = scope(Some(hospital()), &["health.medication"], None);
    wide.permit.onward = Onward::Allowed;
    pair.permits.extend([(id(1), narrow), (id(2), wide)]);
    let permitted = Ask::new(&["health"]).of(&pair).unwrap();
    let own = PermitTerms { window, retention_days: Some(7), onward: Onward::Forbidden };
    assert_eq!(permitted.terms(&item("health.allergy")), Some(&own));
    let other = PermitTerms { window: None, retention_days: None, onward: Onward::Allowed };
    assert_eq!(permitted.terms(&item("health.medication")), Some(&other));
    assert_eq!(permitted.terms(&item("health.condition")), None);
    // Another permit for the same leaf, not chosen, lends it nothing.
    pair.permits.insert(id(3), permit(3));
    let permitted = Ask::new(&["health.allergy"]).of(&pair).unwrap();
    assert_eq!(permitted.terms(&item("health.allergy")), Some(&own));
}
