//! What is handed in wrongly, and what becomes of it.

use consent::{AdmissionError, ChannelStore, PairState, Refused, admission::ReadDecision};
use trust::testing::NOW;
use wire::{
    EnvelopeError, Signed, Timestamp,
    channel::EntryKind as Kind,
    consent::{Attested, Decision, Scope},
};

use crate::{
    fixture::Fixture,
    world::{DAY, World, ask},
};

fn admit(fixture: &Fixture, submission: &Attested) -> Result<wire::DecisionId, AdmissionError> {
    let read = ReadDecision::read(submission, &fixture.network.id)?;
    let pair = fixture.home_store.pair(&read.claimed_pair().subject).unwrap();
    Ok(read.admit(&pair, &fixture.network.trust, NOW)?.id())
}

#[test]
fn a_known_decision_with_another_signature_or_header_is_neither_known_nor_new() {
    let mut fixture = Fixture::new();
    let deny = fixture.signed_deny(&fixture.phone.clone(), Scope::EVERYTHING, 1);
    let id = fixture.hand_in(&deny).unwrap().entry.decision.unwrap();
    let length = fixture.home.head().position.length;
    assert!(fixture.hand_in(&deny).unwrap().known, "the very same is known, and no error");
    assert_eq!(fixture.home.head().position.length, length);

    // Another signature over the same: the same id, so that only its check tells them apart.
    let mut altered = deny.clone();
    *altered.object.0.last_mut().unwrap() ^= 1;
    assert_eq!(ReadDecision::read(&altered, &fixture.network.id).unwrap().id(), id);
    let refused = admit(&fixture, &altered);
    let bad_signature =
        matches!(refused, Err(AdmissionError::Envelope(EnvelopeError::BadSignature(_))));
    assert!(bad_signature, "{refused:?}");

    // An unprotected header: there is none in the one form, so that it cannot be read at all.
    let altered = Attested { object: with_unprotected_header(&deny.object).into(), ..deny };
    assert!(ReadDecision::read(&altered, &fixture.network.id).is_err());
}

/// A COSE_Sign1 whose empty unprotected header, behind the protected one, becomes `{0: 0}`.
fn with_unprotected_header(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte == 0x84).unwrap() + 1;
    let (head, length) = match bytes[start] {
        0x58 => (2, usize::from(bytes[start + 1])),
        0x59 => (3, usize::from(bytes[start + 1]) << 8 | usize::from(bytes[start + 2])),
        short => (1, usize::from(short - 0x40)),
    };
    let at = start + head + length;
    assert_eq!(bytes[at], 0xa0, "an empty map");
    [&bytes[..at], &[0xa1, 0x00, 0x00], &bytes[at + 1..]].concat()
}

#[test]
fn malformed_and_oversized_decisions_are_refused_by_name() {
    let fixture = Fixture::new();
    let deny = fixture.signed_deny(&fixture.phone, Scope::EVERYTHING, 1);
    let with = |object: Vec<u8>| Attested { object: object.into(), ..deny.clone() };
    for (what, submission) in [
        ("nothing", with(vec![])),
        ("cut short", with(deny.object[..deny.object.len() - 1].to_vec())),
        ("something behind it", with([&deny.object[..], &[0]].concat())),
        ("oversized", with(vec![0; 33 * 1024])),
        ("another type", fixture.key_begin_by_city(0, &fixture.phone)),
    ] {
        let refused = admit(&fixture, &submission);
        assert!(matches!(refused, Err(AdmissionError::Envelope(_))), "{what}: {refused:?}");
    }
    // A chain that does not certify the signer, for a key that was not begun.
    let stranger = fixture.second_phone();
    let mut foreign = fixture.signed_deny(&stranger, Scope::EVERYTHING, 2);
    foreign.chain = fixture.phone.chain.clone();
    assert!(matches!(admit(&fixture, &foreign), Err(AdmissionError::Envelope(_))));
    foreign.chain = vec![];
    assert!(matches!(admit(&fixture, &foreign), Err(AdmissionError::Chain(_))));
}

#[test]
fn a_permits_link_is_there_and_is_the_right_one() {
    let fixture = Fixture::new();
    let good = fixture.link_to(wire::ServiceId([0xbb; 32]));
    assert!(admit(&fixture, &fixture.permit_with_link(good.clone())).is_ok());
    let empty = Attested { object: vec![].into(), chain: vec![] };
    let unchained = Attested { chain: vec![], ..good };
    for (what, link) in [("none", empty), ("without its chain", unchained)] {
        let refused = admit(&fixture, &fixture.permit_with_link(link));
        assert!(matches!(refused, Err(AdmissionError::Link(_))), "{what}: {refused:?}");
    }
    let another = fixture.permit_with_link(fixture.link_to(wire::ServiceId([0x77; 32])));
    assert!(matches!(admit(&fixture, &another), Err(AdmissionError::ForeignLink)));
}

#[test]
fn a_decision_from_the_future_is_taken_and_lives_when_its_time_comes() {
    let world = World::new();
    let own = world.phone("own");
    let future = NOW.plus_ms(5 * DAY);
    let permit = world.permit_as(&own, wire::consent::ExpressedBy::Oneself, &[], future);
    let mut pair = PairState::default();
    let channel = [(Kind::KEY_BEGIN, world.begin(&world.officer(0), &own)), (Kind::PERMIT, permit)];
    assert_eq!(world.replay(&mut pair, 0, &channel), [None, None]);
    assert_eq!(ask(&pair, NOW), Err(Refused::NotYetValid));
    assert!(ask(&pair, future).is_ok());
    // A deny holds at once, whatever time it names: time is never compared.
    for time in [Timestamp(0), NOW.plus_ms(400 * DAY)] {
        let deny = world.decision(
            &own,
            wire::consent::ExpressedBy::Oneself,
            Scope::EVERYTHING,
            time,
            wire::consent::Verdict::Deny,
        );
        let mut pair = pair.clone();
        assert_eq!(world.absorb(&mut pair, 0, &world.entry(2, Kind::DENY, &deny)).fault, None);
        assert_eq!(ask(&pair, future), Err(Refused::Denied));
    }
}

#[test]
fn what_is_for_another_source_is_nothing_here() {
    let world = World::new();
    let own = world.phone("own");
    let mut pair = PairState::default();
    world.replay(&mut pair, 0, &[(Kind::KEY_BEGIN, world.begin(&world.officer(0), &own))]);
    let permit = world.permit(&own, &[]);
    let signed = Signed::<Decision>::decode(&permit.object, &world.network.id).unwrap();
    let mut elsewhere = signed.unverified().clone();
    elsewhere.pair.source = "9000020102016/other".parse().unwrap();
    let elsewhere = world.sign(elsewhere, &own);
    let fault = world.absorb(&mut pair, 0, &world.entry(1, Kind::PERMIT, &elsewhere)).fault;
    assert!(fault.is_some() && pair.permits.is_empty());
    // Signed for this source by a key that is certified for another pair.
    let read = ReadDecision::read(&elsewhere, &world.network.id).unwrap();
    let refused = read.admit(&PairState::default(), world.trust(), NOW).map(|_| ());
    assert!(matches!(refused, Err(AdmissionError::OtherSource)), "{refused:?}");
}

#[test]
fn a_permit_by_a_revoked_or_ended_phone_opens_nothing() {
    let world = World::new();
    let (home, own, other) = (world.officer(0), world.phone("own"), world.phone("other"));
    let permit = world.permit(&own, &[]);
    let begun = [
        (Kind::KEY_BEGIN, world.begin(&home, &own)),
        (Kind::KEY_BEGIN, world.begin(&home, &other)),
    ];
    let mut revoked = PairState::default();
    world.replay(&mut revoked, 0, &begun);
    let mut ended = revoked.clone();
    let trust = world.network.trust_with(|_, timestamp| {
        let certificate = wire::sha256(&own.chain[0]);
        timestamp.denylist.push(wire::membership::Denied::Certificate(certificate));
    });
    let entry = world.entry(3, Kind::PERMIT, &permit);
    assert!(world.absorb_under(&mut revoked, 0, &entry, &trust).fault.is_some());
    assert_eq!(ask(&revoked, NOW), Err(Refused::NoPermit));
    let end = world.end(&other, &own, &[]);
    world.absorb(&mut ended, 0, &world.entry(2, Kind::KEY_END, &end));
    world.absorb(&mut ended, 0, &entry);
    assert_eq!(ask(&ended, NOW), Err(Refused::KeyDoesNotStand));
}
