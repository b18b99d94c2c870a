use trust::testing::{NOW, TestSigner};
use wire::{Bytes, Signer, consent::Attested, exchange::PresentConsent};

use super::*;
use crate::fixture::{Fixture, hospital, item, lunch, pharmacy};

fn decode(fixture: &Fixture, request: Request, signer: &dyn Signer) -> Received {
    let signed = Signed::new(request, &fixture.network.id, signer).unwrap();
    Received::decode(signed.bytes(), &fixture.network.id).unwrap()
}

fn authenticate_at(
    fixture: &Fixture,
    request: Request,
    now: Timestamp,
) -> Result<Authentic, RequestFault> {
    let member = fixture.member(&fixture.hospital);
    decode(fixture, request, &fixture.hospital.signer).authenticate(&member, &[lunch()], now)
}

fn malformed(fixture: &Fixture, request: Request) -> RequestFault {
    let signed = fixture.signed(request);
    let fault = Received::decode(signed.bytes(), &fixture.network.id).unwrap_err();
    assert_eq!(fault.rejection(), Rejection::Malformed);
    fault
}

#[test]
fn a_request_arrives() {
    let fixture = Fixture::new();
    let request = fixture.request(&["health.condition", "health.allergy", "health.allergy"], true);
    assert_eq!(request.items, [item("health.allergy"), item("health.condition")]);
    let signed = fixture.signed(request.clone());
    let authentic = authenticate_at(&fixture, request.clone(), NOW).unwrap();
    assert_eq!(authentic.request(), &request);
    assert_eq!((authentic.id(), authentic.bytes()), (signed.id(), signed.bytes()));
    assert_eq!(authentic.idempotency_key(), (&hospital(), request.id));
}

#[test]
fn what_a_recipient_cannot_ask() {
    let fixture = Fixture::new();
    let ask = |items: &[&str], validity| {
        let (id, nonce) = (Nonce([1; 16]), Nonce([2; 16]));
        fixture.ask(items, false).request(id, nonce, NOW, validity).unwrap_err()
    };
    let many: Vec<String> = (0..65).map(|n| format!("x.a{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(ask(&[], 1000), RequestFault::Form(_)));
    assert!(matches!(ask(&many, 1000), RequestFault::Form(_)));
    assert_eq!(ask(&["health"], 0), RequestFault::Validity);
    assert_eq!(ask(&["health"], 120_001), RequestFault::Validity);
    let ask = fixture.ask(&["health"], false);
    assert!(ask.request(Nonce([1; 16]), Nonce([2; 16]), NOW, 120_000).is_ok());
}

#[test]
fn the_form_is_checked_before_anything_else() {
    let fixture = Fixture::new();
    let good = fixture.request(&["health.allergy", "health.condition"], true);
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = good.clone();
        change(&mut request);
        malformed(&fixture, request)
    };
    assert!(matches!(with(&|r| r.items.clear()), RequestFault::Form(_)));
    assert!(matches!(with(&|r| r.items.reverse()), RequestFault::Form(_)));
    assert!(matches!(with(&|r| r.items[1] = r.items[0].clone()), RequestFault::Form(_)));
    assert!(matches!(
        with(&|r| r.items = (10..75).map(|n| item(&format!("x.a{n}"))).collect()),
        RequestFault::Form(_)
    ));
    let long = Attested { object: Bytes(vec![]), chain: vec![Bytes(vec![]); 5] };
    let bare = Attested { object: Bytes(vec![]), chain: vec![] };
    let both = |permit: &Attested, status: &Attested| {
        Some(PresentConsent { permit: permit.clone(), status: status.clone() })
    };
    for (permit, status) in [(&long, &bare), (&bare, &long)] {
        let fault = with(&|r| r.present_consent = both(permit, status));
        assert!(matches!(fault, RequestFault::Encoding(_)), "a chain of five is not read");
    }
    let big = Attested { object: Bytes(vec![0; 65_536]), chain: vec![] };
    let fault = with(&|r| r.present_consent = both(&big, &bare));
    assert!(matches!(fault, RequestFault::Encoding(_)));
    let bytes = fixture.signed(good).bytes().to_vec();
    for cut in 0..bytes.len() {
        let fault = Received::decode(&bytes[..cut], &fixture.network.id).unwrap_err();
        assert_eq!(fault.rejection(), Rejection::Malformed);
    }
}

#[test]
fn only_the_sender_asks_for_its_own_services() {
    let fixture = Fixture::new();
    let good = fixture.request(&["health"], false);
    let member = fixture.member(&fixture.hospital);
    // Another's key, under its own name and under the member's.
    let stranger = TestSigner::new(200);
    let fault = decode(&fixture, good.clone(), &stranger).authenticate(&member, &[lunch()], NOW);
    assert_eq!(fault.clone().unwrap_err(), RequestFault::OtherKey);
    assert_eq!(fault.unwrap_err().rejection(), Rejection::NotAuthentic);
    // A member passes on what another member signed.
    let relay = fixture.member(&fixture.lunch);
    let fault = decode(&fixture, good.clone(), &fixture.hospital.signer).authenticate(
        &relay,
        &[lunch()],
        NOW,
    );
    assert_eq!(fault.unwrap_err(), RequestFault::OtherKey);
    // A member asks in another's name.
    let fault =
        decode(&fixture, good.clone(), &fixture.lunch.signer).authenticate(&relay, &[lunch()], NOW);
    assert_eq!(fault.clone().unwrap_err(), RequestFault::ForeignRecipient);
    assert_eq!(fault.unwrap_err().rejection(), Rejection::NotAuthentic);
    // A service that is not here.
    let fault = decode(&fixture, good.clone(), &fixture.hospital.signer).authenticate(
        &member,
        &[hospital()],
        NOW,
    );
    assert_eq!(fault.clone().unwrap_err(), RequestFault::UnknownService);
    assert_eq!(fault.unwrap_err().rejection(), Rejection::UnknownService);
    // Any of its services may ask.
    let asked = Request { recipient: pharmacy(), ..good.clone() };
    authenticate_at(&fixture, asked, NOW).unwrap();
    // Another network.
    let other = wire::NetworkId([9; 32]);
    let signed = Signed::new(good, &other, &fixture.hospital.signer).unwrap();
    let fault = Received::decode(signed.bytes(), &fixture.network.id)
        .unwrap()
        .authenticate(&member, &[lunch()], NOW)
        .unwrap_err();
    assert!(matches!(fault, RequestFault::Signature(_)));
    assert_eq!(fault.rejection(), Rejection::NotAuthentic);
}

#[test]
fn every_flipped_byte_is_refused() {
    let fixture = Fixture::new();
    let member = fixture.member(&fixture.hospital);
    let good = fixture.signed(fixture.request(&["health"], false)).bytes().to_vec();
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[position] ^= 1 << bit;
            let result = Received::decode(&bytes, &fixture.network.id)
                .and_then(|received| received.authenticate(&member, &[lunch()], NOW));
            assert!(result.is_err(), "byte {position}, bit {bit}");
        }
    }
}

#[test]
fn time_runs_out() {
    let fixture = Fixture::new();
    let good = fixture.request(&["health"], false); // 60 s from NOW
    let fault = |request: &Request, now| {
        let fault = authenticate_at(&fixture, request.clone(), now).unwrap_err();
        assert_eq!(fault.rejection(), Rejection::OutOfTime);
        fault
    };
    assert_eq!(fault(&good, Timestamp(NOW.0 - 60_001)), RequestFault::NotYetValid);
    assert_eq!(fault(&good, NOW.plus_ms(120_000)), RequestFault::Expired);
    for now in [Timestamp(NOW.0 - 60_000), NOW, NOW.plus_ms(119_999)] {
        authenticate_at(&fixture, good.clone(), now).unwrap();
    }
    let long = Request { expires: NOW.plus_ms(120_001), ..good.clone() };
    assert_eq!(fault(&long, NOW), RequestFault::Validity);
    let none = Request { expires: NOW, ..good.clone() };
    assert_eq!(fault(&none, NOW), RequestFault::Validity);
    let backwards = Request { expires: Timestamp(NOW.0 - 1), ..good.clone() };
    assert_eq!(fault(&backwards, NOW), RequestFault::Validity);
    let authentic = authenticate_at(&fixture, good, NOW).unwrap();
    assert!(!authentic.is_over(NOW.plus_ms(119_999)));
    assert!(authentic.is_over(NOW.plus_ms(120_000)));
}

#[test]
fn stages_come_in_order() {
    // One request with every fault: what is found is the first stage's.
    let fixture = Fixture::new();
    let member = fixture.member(&fixture.hospital);
    let stranger = TestSigner::new(200);
    let mut request = Request {
        source: hospital(),
        recipient: lunch(),
        expires: NOW.plus_ms(999_999),
        ..fixture.request(&["health.allergy", "health.condition"], false)
    };
    request.items.reverse();
    let signed = Signed::new(request.clone(), &fixture.network.id, &stranger).unwrap();
    let fault = Received::decode(signed.bytes(), &fixture.network.id).unwrap_err();
    assert!(matches!(fault, RequestFault::Form(_)));
    request.items.reverse();
    let try_as = |request: &Request, signer: &TestSigner| {
        let received = decode(&fixture, request.clone(), signer);
        received.authenticate(&member, &[lunch()], NOW).unwrap_err()
    };
    assert_eq!(try_as(&request, &stranger), RequestFault::OtherKey);
    assert_eq!(try_as(&request, &fixture.hospital.signer), RequestFault::ForeignRecipient);
    request.recipient = hospital();
    assert_eq!(try_as(&request, &fixture.hospital.signer), RequestFault::UnknownService);
    request.source = lunch();
    assert_eq!(try_as(&request, &fixture.hospital.signer), RequestFault::Validity);
}
