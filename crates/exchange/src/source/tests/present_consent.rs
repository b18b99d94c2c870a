//! Without a lease: a permit signed at the counter for one request.

use wire::{
    citizen::{CertificateStatus, Standing},
    exchange,
};

use super::*;

/// A citizen at the counter whose home cannot be reached: begun key, no permit in the channel.
struct Counter {
    store: Store,
    phone: TestSigner,
}

impl Counter {
    fn new() -> Self {
        let mut store = Store::new(&["health"], Uses::Unlimited);
        let phone = TestSigner::new(150);
        let mut key = store.pair.keys.remove(&KEY).unwrap();
        key.public_key = phone.public_key();
        store.pair.keys.insert(phone.public_key().key_hash(), key);
        store.pair.permits.clear();
        store.keeper.revoke();
        Self { store, phone }
    }

    fn bare(&self) -> Request {
        self.store.fixture.request(&["health.allergy"], true)
    }

    /// A request with a permit for it, changed by `change` before it is signed.
    fn request(&self, change: impl FnOnce(&mut Decision)) -> Authentic {
        self.request_with_status(change, |_| {}, 1)
    }

    /// The same, with a status that `alter` changed and `city` signed.
    fn request_with_status(
        &self,
        change: impl FnOnce(&mut Decision),
        alter: impl FnOnce(&mut CertificateStatus),
        by: usize,
    ) -> Authentic {
        let bare = self.bare();
        let network = &self.store.fixture.network;
        let city = network.city(1);
        let link = Link {
            source: Pair { source: lunch(), subject: HERE },
            recipient: Pair { source: hospital(), subject: THERE },
            time: NOW,
        };
        let link = Signed::new(link, &network.id, &city.signer).unwrap();
        let mut permit = permit(Uses::Once);
        permit.request = Some(bare.consent_hash());
        permit.link = Attested { object: link.bytes().to_vec().into(), chain: city.chain };
        let mut decision = Decision {
            nonce: Nonce([5; 16]),
            pair: Pair { source: lunch(), subject: HERE },
            scope: scope(&["health.allergy"]),
            time: NOW,
            expressed_by: ExpressedBy::Oneself,
            verdict: Verdict::Permit(Box::new(permit)),
        };
        change(&mut decision);
        let signed = Signed::new(decision, &network.id, &self.phone).unwrap();
        let chain = network.service_certificate(1, HERE, &lunch(), &self.phone.public_key());
        let mut status = CertificateStatus {
            certificate: wire::sha256(&chain[0]),
            standing: Standing::Good,
            time: NOW,
        };
        alter(&mut status);
        let issuer = network.city(by);
        let status = Signed::new(status, &network.id, &issuer.signer).unwrap();
        let present = exchange::PresentConsent {
            permit: Attested { object: signed.bytes().to_vec().into(), chain },
            status: Attested { object: status.bytes().to_vec().into(), chain: issuer.chain },
        };
        self.store.fixture.authentic(Request { present_consent: Some(present), ..bare })
    }

    fn admit(&self, request: &Authentic) -> Result<PresentConsent, PresentConsentError> {
        let trust = self.store.fixture.trust();
        PresentConsent::admit(request, &self.store.pair, trust, STATUS_AGE_MS, NOW)
    }

    fn evaluate(&self, request: &Authentic, ms: u64) -> Result<Evaluated, Declined> {
        let present = self.admit(request).unwrap();
        self.store.view_with(request, ms, Some(&present), |view| request.evaluate(view))
    }
}

fn change_permit(decision: &mut Decision, change: impl FnOnce(&mut Permit)) {
    match &mut decision.verdict {
        Verdict::Permit(permit) => change(permit),
        Verdict::Deny => panic!("a permit"),
    }
}

#[test]
fn it_releases_without_a_lease_once() {
    let mut counter = Counter::new();
    let request = counter.request(|_| {});
    let network = counter.store.fixture.network.id;
    assert_eq!(claimed_pair(&request, &network).unwrap().subject, HERE);
    let present = counter.admit(&request).unwrap();
    // Without it, there is no lease to release under.
    let refused = counter.store.evaluate(&request, 0).unwrap_err();
    assert_eq!(refused, Declined::Refused(Refused::NoLease));
    let Evaluated::Fetch(allowed) = counter.evaluate(&request, 0).unwrap() else {
        panic!("not released before");
    };
    let prepared = counter.store.prepared(allowed, &["health.allergy"]);
    let store = &mut counter.store;
    let committed =
        store.view_with(&request, 1, Some(&present), |view| prepared.commit(view)).unwrap();
    let write = committed.write().unwrap();
    assert_eq!(write.released.release.lease, None);
    assert_eq!(write.released.release.permits, [present.id()]);
    assert_eq!(write.uses, [(present.id(), UseCount { period: 0, count: 1 })]);
    store.apply(&request, &committed);
    let first = bytes(store.view_with(&request, 2, Some(&present), |view| committed.send(view)));
    // A retry with it gets the same bytes.
    let Evaluated::Resend(resend) = counter.evaluate(&request, 3).unwrap() else {
        panic!("released before");
    };
    let store = &counter.store;
    let again = store.view_with(&request, 3, Some(&present), |view| resend.commit(view)).unwrap();
    let sent = store.view_with(&request, 3, Some(&present), |view| again.send(view));
    assert_eq!(bytes(sent), first);
}

#[test]
fn it_names_every_deny_that_stands() {
    let mut counter = Counter::new();
    counter.store.pair.denies.insert(DENY, deny(&["health"]));
    let silent = counter.request(|_| {});
    let refused = counter.evaluate(&silent, 0).unwrap_err();
    assert_eq!(refused, Declined::Refused(Refused::Denied));
    let naming = counter.request(|decision| {
        change_permit(decision, |permit| permit.reopens = vec![Reopen::Deny(DENY)]);
    });
    assert!(matches!(counter.evaluate(&naming, 0), Ok(Evaluated::Fetch(_))));
}

#[test]
fn it_is_for_this_request_only() {
    let counter = Counter::new();
    let admit = |change: &dyn Fn(&mut Permit)| {
        let request = counter.request(|decision| change_permit(decision, |p| change(p)));
        counter.admit(&request).map(|_| ())
    };
    assert!(admit(&|_| {}).is_ok());
    for change in [
        (|permit| permit.request = None) as fn(&mut Permit),
        |permit| permit.request = Some(Hash([1; 32])),
        |permit| permit.uses = Uses::Unlimited,
    ] {
        assert!(matches!(admit(&change), Err(PresentConsentError::OtherRequest)));
    }
    let deny = counter.request(|decision| decision.verdict = Verdict::Deny);
    assert!(matches!(counter.admit(&deny), Err(PresentConsentError::OtherRequest)));
    let none = counter.store.fixture.authentic(counter.bare());
    assert!(matches!(counter.admit(&none), Err(PresentConsentError::None)));
    // One admitted for another request is not looked at.
    let present = counter.admit(&counter.request(|_| {})).unwrap();
    let other = counter.store.numbered(9);
    let refused = counter.store.view_with(&other, 0, Some(&present), |view| other.evaluate(view));
    assert_eq!(refused, Err(Declined::Refused(Refused::NoLease)));
}

#[test]
fn its_key_must_stand() {
    let mut counter = Counter::new();
    let request = counter.request(|_| {});
    let key = counter.phone.public_key().key_hash();
    let not_standing = Declined::Refused(Refused::KeyDoesNotStand);
    // The status that was fresh when it was admitted is too old when it is evaluated.
    let late = STATUS_AGE_MS + 1;
    let present = counter.admit(&request).unwrap();
    assert!(present.is_fresh(NOW.plus_ms(STATUS_AGE_MS)));
    assert!(!present.is_fresh(NOW.plus_ms(late)));
    let old = counter.request_with_status(|_| {}, |s| s.time = Timestamp(NOW.0 - STATUS_AGE_MS), 1);
    let present = counter.admit(&old).unwrap();
    let refused = counter.store.view_with(&old, 1, Some(&present), |view| old.evaluate(view));
    assert_eq!(refused, Err(not_standing));
    // It was ended, or never began.
    counter.store.pair.ended.insert(key, Default::default());
    assert_eq!(counter.evaluate(&request, 0), Err(not_standing));
    counter.store.pair.ended.clear();
    counter.store.pair.keys.clear();
    assert_eq!(counter.evaluate(&request, 0), Err(not_standing));
}

#[test]
fn without_a_lease_no_other_permit_helps() {
    let mut counter = Counter::new();
    let broad = standing(&["health"], Uses::Unlimited);
    let key = counter.phone.public_key().key_hash();
    counter.store.pair.permits.insert(PERMIT, StandingPermit { key, ..broad });
    let request = counter.request(|decision| decision.scope = scope(&["health.condition"]));
    let refused = counter.evaluate(&request, 0).unwrap_err();
    assert_eq!(refused, Declined::Refused(Refused::NoPermit));
}

#[test]
fn it_is_about_the_pair_that_was_looked_up() {
    let counter = Counter::new();
    let request = counter.request(|_| {});
    let present = counter.admit(&request).unwrap();
    let store = &counter.store;
    let elsewhere = ServiceId([0xcc; 32]);
    let refused = store.view_with(&request, 0, Some(&present), |view| {
        let pair = view.pair.map(|pair| PairView { subject: &elsewhere, ..pair });
        request.evaluate(&View { pair, ..*view })
    });
    assert_eq!(refused, Err(Declined::Refused(Refused::UnknownCitizen)));
}

#[test]
fn its_status_is_the_issuers_fresh_and_good() {
    let counter = Counter::new();
    let admit = |alter: fn(&mut CertificateStatus), by| {
        counter.admit(&counter.request_with_status(|_| {}, alter, by)).map(|_| ())
    };
    assert!(admit(|_| {}, 1).is_ok());
    assert!(admit(|s| s.time = NOW.plus_ms(60_000), 1).is_ok());
    let revoked = admit(|s| s.standing = Standing::Revoked, 1);
    assert!(matches!(revoked, Err(PresentConsentError::Revoked)));
    for alter in
        [(|s| s.time = Timestamp(NOW.0 - STATUS_AGE_MS - 1)) as fn(&mut CertificateStatus), |s| {
            s.time = NOW.plus_ms(60_001)
        }]
    {
        assert!(matches!(admit(alter, 1), Err(PresentConsentError::StaleStatus)));
    }
    // Of another certificate, or by a city that did not issue it.
    let other = admit(|s| s.certificate = Hash([1; 32]), 1);
    assert!(matches!(other, Err(PresentConsentError::OtherStatus)));
    assert!(matches!(admit(|_| {}, 0), Err(PresentConsentError::OtherStatus)));
}

#[test]
fn a_source_that_never_saw_a_key_of_the_pair_refuses() {
    let mut counter = Counter::new();
    let request = counter.request(|_| {});
    counter.store.pair = PairState::default();
    let refused = counter.evaluate(&request, 0).unwrap_err();
    assert_eq!(refused, Declined::Refused(Refused::NoLease));
}
