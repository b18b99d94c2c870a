use trust::testing::TestSigner;
use wire::Signer;

use super::*;
use crate::{
    jpki::{
        Reason,
        tests::{NOW, attributes, jlis, roots, validity},
    },
    synthetic::{SyntheticCard, SyntheticJlis},
};

const DAY: u64 = 24 * 60 * 60 * 1000;
const NETWORK: NetworkId = NetworkId([9; 32]);

/// One RA with one CA's roots, a card, a fresh list, and the phone's new key.
struct Desk {
    registrar: Registrar,
    jlis: SyntheticJlis,
    roots: JpkiRoots,
    card: SyntheticCard,
    list: Vec<u8>,
    phone: TestSigner,
}

const SERIAL: [u8; 3] = [0x1e, 0xe6, 0x07];

fn organisation(base: &str) -> OrganisationId {
    OrganisationId::from_base(base).unwrap()
}

impl Desk {
    fn new() -> Self {
        let jlis = jlis(0x21);
        let card = jlis.issue_card(&attributes(), &SERIAL, validity()).unwrap();
        let list = jlis.crl(&[], NOW, NOW.plus_ms(DAY)).unwrap();
        Self {
            registrar: Registrar::new(organisation("000020102016"), NETWORK),
            roots: roots(&[&jlis]),
            jlis,
            card,
            list,
            phone: TestSigner::new(1),
        }
    }

    fn open(&mut self, nonce: u8) -> Challenge {
        self.registrar.open_challenge(Nonce([nonce; 16]), NOW).unwrap()
    }

    /// What an honest wallet answers.
    fn answer(&self, challenge: &Challenge) -> Enrolment {
        let id_key = self.phone.public_key();
        let message = card_message(&NETWORK, challenge, &id_key);
        Enrolment {
            challenge: challenge.clone(),
            id_key,
            card_certificate: self.card.certificate().to_vec().into(),
            card_signature: self.card.sign(&message).unwrap().into(),
        }
    }

    fn check(&mut self, enrolment: Enrolment) -> Result<ProofedCitizen, EnrolmentError> {
        let bytes = signed(enrolment, &self.phone);
        self.check_bytes(&bytes, NOW)
    }

    fn check_bytes(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<ProofedCitizen, EnrolmentError> {
        let status = CardStatus::List { der: &self.list, max_age_ms: DAY };
        self.registrar.check_enrolment(bytes, &self.roots, status, now)
    }
}

fn signed(enrolment: Enrolment, signer: &dyn Signer) -> Vec<u8> {
    Signed::new(enrolment, &NETWORK, signer).unwrap().bytes().to_vec()
}

#[test]
fn an_honest_enrolment_is_proofed() {
    let mut desk = Desk::new();
    let challenge = desk.open(1);
    assert_eq!(challenge.registrar, organisation("000020102016"));
    assert_eq!(challenge.expires, NOW.plus_ms(CHALLENGE_VALIDITY_MS));
    let enrolment = desk.answer(&challenge);
    let citizen = desk.check(enrolment.clone()).unwrap();
    assert_eq!(*citizen.attributes(), attributes());
    assert_eq!(*citizen.id_key(), desk.phone.public_key());
    assert_eq!(citizen.certificate_hash(), wire::sha256(desk.card.certificate()));
    assert_eq!(*citizen.identity(), CanonicalIdentity::new(&attributes()).unwrap());
    assert_eq!(citizen.card().serial(), SERIAL);
    assert_eq!(citizen.proofed_at(), NOW);
    assert_eq!(*citizen.enrolment().message(), enrolment);
    let shown = format!("{citizen:?}");
    assert!(!shown.contains("山田") && !shown.contains("前橋"));
}

#[test]
fn a_challenge_is_good_once() {
    let mut desk = Desk::new();
    let challenge = desk.open(1);
    let enrolment = desk.answer(&challenge);
    desk.check(enrolment.clone()).unwrap();
    assert_eq!(desk.check(enrolment), Err(EnrolmentError::UnknownChallenge));
    assert_eq!(desk.registrar.open_challenges(), 0);
}

#[test]
fn a_failed_attempt_burns_the_challenge_whatever_failed() {
    let mut desk = Desk::new();
    type Spoil = fn(&mut Enrolment);
    let spoils: [Spoil; 4] = [
        |e| e.card_signature.0[0] ^= 1,
        |e| e.card_certificate.0.clear(),
        |e| e.challenge.expires = e.challenge.expires.plus_ms(1),
        |e| e.id_key = TestSigner::new(2).public_key(),
    ];
    for (nonce, spoil) in (1..).zip(spoils) {
        let challenge = desk.open(nonce);
        let honest = desk.answer(&challenge);
        let mut spoiled = honest.clone();
        spoil(&mut spoiled);
        assert!(desk.check(spoiled).is_err());
        assert_eq!(desk.check(honest), Err(EnrolmentError::UnknownChallenge));
    }
}

#[test]
fn challenges_expire_and_are_bounded() {
    let mut desk = Desk::new();
    let challenge = desk.open(1);
    let bytes = signed(desk.answer(&challenge), &desk.phone);
    let late = NOW.plus_ms(CHALLENGE_VALIDITY_MS);
    assert_eq!(desk.check_bytes(&bytes, late), Err(EnrolmentError::ExpiredChallenge));
    let challenge = desk.open(2);
    let bytes = signed(desk.answer(&challenge), &desk.phone);
    desk.check_bytes(&bytes, Timestamp(late.0 - 1)).unwrap();

    desk.open(3);
    let twice = desk.registrar.open_challenge(Nonce([3; 16]), NOW);
    assert_eq!(twice, Err(ChallengeError::NonceUsedTwice));
    for i in 1..OPEN_CHALLENGES as u128 {
        desk.registrar.open_challenge(Nonce(i.to_be_bytes()), NOW).unwrap();
    }
    let full = desk.registrar.open_challenge(Nonce([4; 16]), NOW);
    assert_eq!(full, Err(ChallengeError::TooMany));
    // Those that ran out make room.
    desk.registrar.open_challenge(Nonce([4; 16]), late).unwrap();
    assert_eq!(desk.registrar.open_challenges(), 1);
}

#[test]
fn another_registrars_or_networks_challenge_is_refused() {
    let mut desk = Desk::new();
    let mut other = Registrar::new(organisation("000020102024"), NETWORK);
    let theirs = other.open_challenge(Nonce([5; 16]), NOW).unwrap();
    let enrolment = desk.answer(&theirs);
    assert_eq!(desk.check(enrolment), Err(EnrolmentError::UnknownChallenge));
    // Passed on by a registrar that copied our open nonce: the card signed for the other one.
    desk.open(5);
    let enrolment = desk.answer(&theirs);
    assert_eq!(desk.check(enrolment), Err(EnrolmentError::AlteredChallenge));

    let challenge = desk.open(6);
    let elsewhere = Signed::new(desk.answer(&challenge), &NetworkId([8; 32]), &desk.phone).unwrap();
    let refused = desk.check_bytes(elsewhere.bytes(), NOW);
    assert!(matches!(refused, Err(EnrolmentError::NoProofOfPossession(_))), "{refused:?}");
    // A card signature made for another network.
    let challenge = desk.open(7);
    let mut enrolment = desk.answer(&challenge);
    let foreign = card_message(&NetworkId([8; 32]), &challenge, &enrolment.id_key);
    enrolment.card_signature = desk.card.sign(&foreign).unwrap().into();
    assert_eq!(desk.check(enrolment), Err(EnrolmentError::CardSignature));
}

#[test]
fn somebody_elses_id_key_is_refused() {
    let mut desk = Desk::new();
    let thief = TestSigner::new(66);
    // The thief's key in the message, the victim's card signature over the victim's key.
    let challenge = desk.open(1);
    let mut enrolment = desk.answer(&challenge);
    enrolment.id_key = thief.public_key();
    let bytes = signed(enrolment, &thief);
    assert_eq!(desk.check_bytes(&bytes, NOW), Err(EnrolmentError::CardSignature));
    // The victim's key in the message, signed by the thief.
    let challenge = desk.open(2);
    let bytes = signed(desk.answer(&challenge), &thief);
    let refused = desk.check_bytes(&bytes, NOW);
    assert!(matches!(refused, Err(EnrolmentError::NoProofOfPossession(_))), "{refused:?}");
}

#[test]
fn a_tampered_card_signature_or_certificate_is_refused() {
    let mut desk = Desk::new();
    for at in [0, 1, 128, 255] {
        let challenge = desk.open(at as u8);
        let mut enrolment = desk.answer(&challenge);
        enrolment.card_signature.0[at] ^= 0x40;
        assert_eq!(desk.check(enrolment), Err(EnrolmentError::CardSignature));
    }
    // The signature of another person's card, beside this certificate.
    let stranger = desk.jlis.issue_card(&attributes(), &[7], validity()).unwrap();
    let challenge = desk.open(100);
    let mut enrolment = desk.answer(&challenge);
    let message = card_message(&NETWORK, &challenge, &enrolment.id_key);
    enrolment.card_signature = stranger.sign(&message).unwrap().into();
    assert_eq!(desk.check(enrolment), Err(EnrolmentError::CardSignature));
    // A card of a J-LIS that is not configured.
    let other = jlis(1);
    let card = other.issue_card(&attributes(), &[7], validity()).unwrap();
    let challenge = desk.open(101);
    let mut enrolment = desk.answer(&challenge);
    enrolment.card_certificate = card.certificate().to_vec().into();
    let refused = Err(EnrolmentError::Card(CardError::UnknownGeneration));
    assert_eq!(desk.check(enrolment), refused);
}

#[test]
fn no_good_status_no_proofing() {
    let mut desk = Desk::new();
    let mut attempt = |nonce: u8, list: Option<&[u8]>| {
        let challenge = desk.open(nonce);
        let bytes = signed(desk.answer(&challenge), &desk.phone);
        let status =
            list.map_or(CardStatus::NoAnswer, |der| CardStatus::List { der, max_age_ms: DAY });
        match desk.registrar.check_enrolment(&bytes, &desk.roots, status, NOW) {
            Err(EnrolmentError::Status(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(attempt(1, None), CouldNotCheck::NoAnswer.into());
    let jlis = SyntheticJlis::from_bytes(&Desk::new().jlis.to_bytes().unwrap()).unwrap();
    let foreign = jlis.crl(&[], NOW, NOW.plus_ms(DAY)).unwrap();
    assert_eq!(attempt(2, Some(&foreign)), CouldNotCheck::OtherIssuer.into());

    let mut desk = Desk::new();
    let old = Timestamp(NOW.0 - 2 * DAY);
    desk.list = desk.jlis.crl(&[], old, NOW.plus_ms(DAY)).unwrap();
    let challenge = desk.open(3);
    let enrolment = desk.answer(&challenge);
    let stale = Err(EnrolmentError::Status(CouldNotCheck::Stale.into()));
    assert_eq!(desk.check(enrolment), stale);

    let revoked = [(SERIAL.to_vec(), Reason::AffiliationChanged)];
    desk.list = desk.jlis.crl(&revoked, NOW, NOW.plus_ms(DAY)).unwrap();
    let challenge = desk.open(4);
    let enrolment = desk.answer(&challenge);
    let refused = StatusError::Revoked(Reason::AffiliationChanged);
    assert_eq!(desk.check(enrolment), Err(EnrolmentError::Status(refused)));
}

#[test]
fn an_adapter_may_fetch_the_status_in_between() {
    let mut desk = Desk::new();
    let challenge = desk.open(1);
    let bytes = signed(desk.answer(&challenge), &desk.phone);
    let waiting = desk.registrar.check_all_but_status(&bytes, &desk.roots, NOW).unwrap();
    assert_eq!(waiting.card().serial(), SERIAL);
    let status = CardStatus::List { der: &desk.list, max_age_ms: DAY };
    let later = NOW.plus_ms(5_000);
    assert_eq!(waiting.clone().complete(status, later).unwrap().proofed_at(), later);
    let refused = waiting.complete(CardStatus::NoAnswer, later);
    assert_eq!(refused, Err(EnrolmentError::Status(CouldNotCheck::NoAnswer.into())));
}

#[test]
fn what_is_no_enrolment_is_refused_and_burns_nothing() {
    let mut desk = Desk::new();
    let challenge = desk.open(1);
    let honest = signed(desk.answer(&challenge), &desk.phone);
    for bytes in [&[][..], &[0xff; 40], &honest[..honest.len() - 1], &vec![0; 100_000]] {
        let refused = desk.check_bytes(bytes, NOW);
        assert!(matches!(refused, Err(EnrolmentError::Envelope(_))), "{refused:?}");
    }
    // An object of another type.
    let other = wire::citizen::ServiceKeyProof {
        service: "9000020102016/lunch".parse().unwrap(),
        id_key: desk.phone.public_key().key_hash(),
    };
    let other = Signed::new(other, &NETWORK, &desk.phone).unwrap();
    assert!(desk.check_bytes(other.bytes(), NOW).is_err());
    assert_eq!(desk.registrar.open_challenges(), 1);
    desk.check_bytes(&honest, NOW).unwrap();
}
