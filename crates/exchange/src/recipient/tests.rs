use trust::testing::NOW;
use wire::{Nonce, consent::Attested};

use super::*;
use crate::fixture::{Fixture, claims};

struct Desk {
    fixture: Fixture,
    ask: Ask,
    request: Request,
    signed: Signed<Request>,
}

impl Desk {
    fn new() -> Self {
        let fixture = Fixture::new();
        let ask = fixture.ask(&["health.allergy"], true);
        let request = fixture.request(&["health.allergy"], true);
        let signed = fixture.signed(request.clone());
        Self { fixture, ask, request, signed }
    }

    fn network(&self) -> &NetworkId {
        &self.fixture.network.id
    }

    fn pending(&self) -> OwnRequest {
        let mut own = OwnRequest::default();
        own.begin(&self.signed).unwrap();
        own
    }

    /// A presentation that answers the request, checked; `allergy` changes its bytes.
    fn presented(&self, issued_ms: u64) -> Ending {
        let mut claims = claims(&self.request, self.signed.id(), &["health.allergy"]);
        claims.issued = NOW.plus_ms(issued_ms);
        let bytes = self.fixture.present(&claims).bytes().to_vec();
        let reply = ExchangeReply::Presentation(Bytes(bytes));
        let now = NOW.plus_ms(issued_ms);
        Ending::of(&reply, &self.signed, self.fixture.trust(), now).unwrap()
    }

    fn present(&self, byte: u8) -> PresentConsent {
        let attested = |n| Attested { object: vec![byte, n].into(), chain: vec![] };
        PresentConsent { permit: attested(1), status: attested(2) }
    }
}

/// What is durable is all that a restart leaves.
fn restarted(own: &OwnRequest) -> OwnRequest {
    OwnRequest::load(own.stored().cloned(), own.owed().cloned())
}

#[test]
fn the_very_same_signed_request_goes_out_until_it_is_answered() {
    let desk = Desk::new();
    let mut own = OwnRequest::default();
    assert_eq!(own.ask(&desk.ask, desk.network()), Ok(Next::New));
    let sent = own.begin(&desk.signed).unwrap();
    assert_eq!((&*sent.request, sent.request_id), (desk.signed.bytes(), desk.signed.id()));
    for _ in 0..2 {
        own = restarted(&own);
        let Ok(Next::Send(again)) = own.ask(&desk.ask, desk.network()) else { panic!("pending") };
        assert_eq!(again.bytes(), desk.signed.bytes());
    }
    // Another signature under the id, whoever made it, is not taken.
    let nonce = Nonce([9; 16]);
    let other = desk.fixture.signed(Request { nonce, ..desk.request.clone() });
    let before = own.clone();
    assert_eq!(own.begin(&other), Err(OwnRequestError::OtherRequest));
    assert_eq!(own.begin(&desk.signed), Err(OwnRequestError::OtherRequest));
    assert_eq!(own, before);
}

#[test]
fn another_question_under_the_same_id_is_refused() {
    let desk = Desk::new();
    let own = desk.pending();
    let other = desk.fixture.ask(&["health.condition"], true);
    assert_eq!(own.ask(&other, desk.network()), Err(OwnRequestError::OtherRequest));
    let part = Ask { whole: false, ..desk.ask.clone() };
    assert_eq!(own.ask(&part, desk.network()), Err(OwnRequestError::OtherRequest));
}

#[test]
fn of_two_answers_the_first_stands() {
    let desk = Desk::new();
    let endings = || {
        [
            desk.presented(0),
            desk.presented(1000),
            Ending::NotPermitted,
            Ending::Rejected(Rejection::IdReused),
        ]
    };
    for first in endings() {
        let mut own = desk.pending();
        assert!(own.settle(&desk.signed, &first, NOW).is_some());
        let settled = own.clone();
        for second in endings() {
            own = restarted(&own);
            assert_eq!(own.settle(&desk.signed, &second, NOW.plus_ms(5)), None);
            assert_eq!(own, settled);
        }
        assert_eq!(own.ask(&desk.ask, desk.network()), Ok(Next::Ended));
    }
}

#[test]
fn a_presentation_and_its_receipt_are_one_write_and_it_is_owed_until_noted() {
    let desk = Desk::new();
    let mut own = desk.pending();
    let ending = desk.presented(0);
    let Ending::Presented(checked) = &ending else { panic!("presented") };
    own.settle(&desk.signed, &ending, NOW.plus_ms(7)).unwrap();
    let mut own = restarted(&own);
    let (source, receipt) = own.owed().unwrap();
    assert_eq!(source, &desk.request.source);
    assert_eq!(receipt.request, desk.signed.id());
    assert_eq!((receipt.presentation, receipt.time), (checked.hash(), NOW.plus_ms(7)));
    let Some(Answer::Presented { presentation, items, terms }) =
        own.stored().map(|stored| stored.answer.clone())
    else {
        panic!("presented")
    };
    assert_eq!((&*presentation, &terms), (checked.bytes(), checked.terms()));
    assert!(
        serde_json::from_slice::<serde_json::Value>(&items).unwrap()["health.allergy"].is_object()
    );
    let stored = own.stored().cloned();
    own.noted();
    assert_eq!((own.owed(), own.stored()), (None, stored.as_ref()));
    // A refusal owes nothing.
    let mut own = desk.pending();
    own.settle(&desk.signed, &Ending::NotPermitted, NOW).unwrap();
    assert_eq!(own.owed(), None);
}

#[test]
fn replies_that_end_nothing_leave_it_pending() {
    let desk = Desk::new();
    let of = |reply| Ending::of(&reply, &desk.signed, desk.fixture.trust(), NOW);
    for later in [Rejection::Busy, Rejection::Unavailable] {
        assert_eq!(of(ExchangeReply::Rejected(later)), Err(NoEnding::Later(later)));
    }
    assert_eq!(of(ExchangeReply::Noted), Err(NoEnding::Foreign));
    let garbage = of(ExchangeReply::Presentation(vec![1, 2, 3].into()));
    assert!(matches!(garbage, Err(NoEnding::BadPresentation(_))));
    assert_eq!(of(ExchangeReply::NotPermitted), Ok(Ending::NotPermitted));
    for rejection in [Rejection::Malformed, Rejection::OutOfTime, Rejection::IdReused] {
        let ending = of(ExchangeReply::Rejected(rejection));
        assert_eq!(ending, Ok(Ending::Rejected(rejection)));
    }
}

#[test]
fn an_answer_to_another_signature_settles_nothing() {
    let desk = Desk::new();
    let other = desk.fixture.signed(Request { nonce: Nonce([9; 16]), ..desk.request.clone() });
    let mut own = desk.pending();
    let before = own.clone();
    assert_eq!(own.settle(&other, &Ending::NotPermitted, NOW), None);
    assert_eq!(own, before);
    let mut nothing = OwnRequest::default();
    assert_eq!(nothing.settle(&desk.signed, &Ending::NotPermitted, NOW), None);
    assert_eq!(nothing, OwnRequest::default());
}

#[test]
fn a_prepared_request_takes_one_present_consent() {
    let desk = Desk::new();
    let network = desk.network();
    let mut own = OwnRequest::default();
    assert_eq!(own.attach(&desk.present(1), network), Err(OwnRequestError::NotPrepared));
    assert_eq!(own.prepare(&desk.ask, desk.request.clone()), Ok(desk.request.clone()));
    // Prepared again after a restart: the one that the citizen was shown.
    let mut own = restarted(&own);
    let fresh = Request { nonce: Nonce([9; 16]), ..desk.request.clone() };
    assert_eq!(own.prepare(&desk.ask, fresh), Ok(desk.request.clone()));
    let other = desk.fixture.ask(&["health.condition"], true);
    let refused = own.prepare(&other, desk.request.clone());
    assert_eq!(refused, Err(OwnRequestError::OtherRequest));
    assert_eq!(own.ask(&desk.ask, network), Err(OwnRequestError::Waits));
    assert_eq!(own.begin(&desk.signed), Err(OwnRequestError::OtherRequest), "unsigned by them");

    let Ok(Next::Sign(joined)) = own.attach(&desk.present(1), network) else { panic!("to sign") };
    assert_eq!(joined.consent_hash(), desk.request.consent_hash());
    let signed = desk.fixture.signed(*joined);
    own.begin(&signed).unwrap();
    let own = restarted(&own);
    let Ok(Next::Send(again)) = own.attach(&desk.present(1), network) else { panic!("pending") };
    assert_eq!(again.bytes(), signed.bytes());
    assert_eq!(own.attach(&desk.present(2), network), Err(OwnRequestError::NotPrepared));
    let mut own = own;
    assert_eq!(
        own.prepare(&desk.ask, desk.request.clone()),
        Err(OwnRequestError::OtherRequest),
        "it has left"
    );
    own.settle(&signed, &Ending::NotPermitted, NOW).unwrap();
    assert_eq!(own.attach(&desk.present(1), network), Ok(Next::Ended));
}

#[test]
fn what_cannot_be_read_is_named() {
    let desk = Desk::new();
    let stored = |answer| StoredRequest { request: vec![1, 2, 3].into(), answer };
    let own = |answer| OwnRequest::load(Some(stored(answer)), None);
    let asked = own(Answer::Pending).ask(&desk.ask, desk.network());
    assert_eq!(asked, Err(OwnRequestError::Damaged));
    let attached = own(Answer::Prepared).attach(&desk.present(1), desk.network());
    assert_eq!(attached, Err(OwnRequestError::Damaged));
}
