use std::{collections::BTreeSet, path::Path};

use der::asn1::ObjectIdentifier;
use wire::Timestamp;

use super::*;
use crate::synthetic::{
    CardValidity, Draft, SyntheticCard, SyntheticJlis, other_name, other_names, part, policies,
    subject_alt_name,
};

mod real;

/// Noon of 1 July 2026.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_782_907_200);
const DAY: u64 = 24 * 60 * 60 * 1000;
const YEAR: u64 = 365 * DAY;

fn back(ms: u64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

pub(crate) fn jlis(serial: u8) -> SyntheticJlis {
    let validity = CardValidity { not_before: back(2 * YEAR), not_after: NOW.plus_ms(8 * YEAR) };
    SyntheticJlis::generate(&[serial], validity).unwrap()
}

pub(crate) fn validity() -> CardValidity {
    CardValidity { not_before: back(DAY), not_after: NOW.plus_ms(4 * YEAR) }
}

pub(crate) fn attributes() -> CardAttributes {
    CardAttributes {
        name: "山田　花子".into(),
        birth_date: "419900401".parse().unwrap(),
        gender: Gender::Female,
        address: "群馬県前橋市大手町２－１２－１".into(),
        name_substituted: vec![false, true, false, false, false],
        address_substituted: vec![false; 15],
    }
}

pub(crate) fn roots(of: &[&SyntheticJlis]) -> JpkiRoots {
    JpkiRoots::new(of.iter().map(|jlis| jlis.root().to_vec()).collect(), true).unwrap()
}

/// A CA, its roots, a card of its own and the draft from which the card was made.
struct Desk {
    jlis: SyntheticJlis,
    roots: JpkiRoots,
    card: SyntheticCard,
    draft: Draft,
}

impl Desk {
    fn new() -> Self {
        let jlis = jlis(0x21);
        let roots = roots(&[&jlis]);
        let card = jlis.issue_card(&attributes(), &[0x1e, 0xe6, 0x07], validity()).unwrap();
        let draft = jlis.draft(&attributes(), &[0x1e, 0xe6, 0x07], validity(), &card.spki());
        Self { jlis, roots, card, draft }
    }

    /// Checks the card after a change to what the CA signs.
    fn check(&self, change: impl FnOnce(&mut Draft)) -> Result<CheckedCard, CardError> {
        let mut draft = self.draft.clone();
        change(&mut draft);
        check_certificate(&self.jlis.sign_draft(&draft).unwrap(), &self.roots, NOW)
    }

    /// Checks the card with another set of otherNames.
    fn check_names(
        &self,
        change: impl FnOnce(&mut Vec<Vec<u8>>),
    ) -> Result<CheckedCard, CardError> {
        let mut names = other_names(&attributes());
        change(&mut names);
        self.check(|draft| set(draft, oid::SUBJECT_ALT_NAME, &subject_alt_name(&names)))
    }

    fn checked(&self) -> CheckedCard {
        check_certificate(self.card.certificate(), &self.roots, NOW).unwrap()
    }
}

fn place(draft: &Draft, id: ObjectIdentifier) -> usize {
    draft.extensions.iter().position(|(oid, ..)| *oid == id).unwrap()
}

fn set(draft: &mut Draft, id: ObjectIdentifier, value: &[u8]) {
    let at = place(draft, id);
    draft.extensions[at].2 = value.to_vec();
}

fn drop_extension(draft: &mut Draft, id: ObjectIdentifier) {
    let at = place(draft, id);
    draft.extensions.remove(at);
}

#[test]
fn a_synthetic_card_gives_its_attributes() {
    let desk = Desk::new();
    let checked = desk.checked();
    assert_eq!(*checked.attributes(), attributes());
    assert_eq!(checked.serial(), [0x1e, 0xe6, 0x07]);
    assert_eq!(checked.not_after(), validity().not_after);
    assert!(checked.issuer().is_test());
    assert_eq!(checked.hash(), wire::sha256(desk.card.certificate()));
    // The draft is what the card was made of.
    assert_eq!(desk.check(|_| ()).unwrap().hash(), checked.hash());

    let signature = desk.card.sign(b"message").unwrap();
    checked.verify(b"message", &signature).unwrap();
    assert!(checked.verify(b"massage", &signature).is_err());
    for at in [0, 100, 255] {
        let mut tampered = signature.clone();
        tampered[at] ^= 1;
        assert!(checked.verify(b"message", &tampered).is_err());
    }
    assert!(!format!("{checked:?}").contains("山田"));
}

#[test]
fn files_of_cards_and_cas_come_back() {
    let desk = Desk::new();
    let card = SyntheticCard::from_bytes(&desk.card.to_bytes().unwrap()).unwrap();
    assert_eq!(card.certificate(), desk.card.certificate());
    assert_eq!(card.sign(b"m").unwrap(), desk.card.sign(b"m").unwrap());
    let again = SyntheticJlis::from_bytes(&desk.jlis.to_bytes().unwrap()).unwrap();
    let other = again.issue_card(&attributes(), &[1], validity()).unwrap();
    check_certificate(other.certificate(), &desk.roots, NOW).unwrap();
    // Neither passes for the other, nor does anything else.
    assert!(SyntheticCard::from_bytes(&desk.jlis.to_bytes().unwrap()).is_err());
    assert!(SyntheticJlis::from_bytes(&desk.card.to_bytes().unwrap()).is_err());
    assert!(SyntheticCard::from_bytes(b"").is_err());
}

#[test]
fn a_change_anywhere_in_the_certificate_is_found() {
    let desk = Desk::new();
    let good = desk.card.certificate();
    for at in 0..good.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut tampered = good.to_vec();
            tampered[at] ^= bit;
            assert!(check_certificate(&tampered, &desk.roots, NOW).is_err(), "byte {at}");
        }
    }
    for length in [0, 1, 4, 100, good.len() - 1] {
        let cut = check_certificate(&good[..length], &desk.roots, NOW);
        assert_eq!(cut, Err(CardError::Malformed));
    }
    let longer = [good, &[0]].concat();
    assert_eq!(check_certificate(&longer, &desk.roots, NOW), Err(CardError::Malformed));
    let large = vec![0x30; wire::limits::CERTIFICATE + 1];
    assert_eq!(check_certificate(&large, &desk.roots, NOW), Err(CardError::Malformed));
}

#[test]
fn it_holds_from_its_first_second_to_its_last() {
    let desk = Desk::new();
    let at = |at| check_certificate(desk.card.certificate(), &desk.roots, at).map(|_| ());
    let CardValidity { not_before, not_after } = validity();
    assert_eq!(at(not_before), Ok(()));
    assert_eq!(at(Timestamp(not_before.0 - 1)), Err(CardError::NotYetValid));
    assert_eq!(at(not_after.plus_ms(999)), Ok(()));
    assert_eq!(at(not_after.plus_ms(1000)), Err(CardError::Expired));
    // A card that would outlive its root does not.
    let long = CardValidity { not_before, not_after: NOW.plus_ms(20 * YEAR) };
    let card = desk.jlis.issue_card(&attributes(), &[1], long).unwrap();
    let late = check_certificate(card.certificate(), &desk.roots, NOW.plus_ms(9 * YEAR));
    assert_eq!(late, Err(CardError::RootExpired));
}

#[test]
fn serials_of_any_honest_length_pass() {
    let desk = Desk::new();
    for serial in [&[1][..], &[0x7f], &[0x80], &[0x1e, 0xe6, 0x07], &[0x99; 19]] {
        let checked = desk.check(|draft| draft.serial = serial.to_vec()).unwrap();
        assert_eq!(checked.serial(), serial);
    }
}

#[test]
fn the_generation_is_chosen_by_key_id() {
    let [first, second] = [jlis(1), jlis(2)];
    let card = second.issue_card(&attributes(), &[7], validity()).unwrap();
    let both = roots(&[&first, &second]);
    assert_eq!(
        check_certificate(card.certificate(), &both, NOW).unwrap().issuer().key_id(),
        both.iter().nth(1).unwrap().key_id()
    );
    let only_first = roots(&[&first]);
    let refused = check_certificate(card.certificate(), &only_first, NOW);
    assert_eq!(refused, Err(CardError::UnknownGeneration));
    // Same name, key id of the first generation, signature of the second.
    let mut draft = second.draft(&attributes(), &[7], validity(), &card.spki());
    let honest = first.draft(&attributes(), &[7], validity(), &card.spki());
    let at = place(&draft, oid::AUTHORITY_KEY_IDENTIFIER);
    draft.extensions[at] = honest.extensions[at].clone();
    let forged = second.sign_draft(&draft).unwrap();
    assert_eq!(check_certificate(&forged, &both, NOW), Err(CardError::BadSignature));
    // Key id of one, serial of the other.
    let key_id = &draft.extensions[at].2;
    let mixed = [&key_id[..key_id.len() - 1], &[2]].concat();
    set(&mut draft, oid::AUTHORITY_KEY_IDENTIFIER, &mixed);
    let forged = first.sign_draft(&draft).unwrap();
    assert_eq!(check_certificate(&forged, &both, NOW), Err(CardError::IssuerMismatch));
}

#[test]
fn a_card_by_a_ca_of_its_own_is_refused() {
    let desk = Desk::new();
    // The card brings the same name and even the root's key id; only the signature is another's.
    let forger = jlis(0x21);
    let forged = forger.sign_draft(&desk.draft).unwrap();
    assert_eq!(check_certificate(&forged, &desk.roots, NOW), Err(CardError::BadSignature));
}

#[test]
fn extensions_must_be_those_of_the_profile() {
    let desk = Desk::new();
    let refused = |change: &dyn Fn(&mut Draft)| desk.check(change).unwrap_err();
    for (id, name) in [
        (oid::KEY_USAGE, "keyUsage"),
        (oid::SUBJECT_ALT_NAME, "subjectAltName"),
        (oid::CERTIFICATE_POLICIES, "certificatePolicies"),
        (oid::CRL_DISTRIBUTION_POINTS, "cRLDistributionPoints"),
        (oid::AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier"),
        (oid::SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier"),
    ] {
        assert_eq!(refused(&|draft| drop_extension(draft, id)), CardError::Extension(name));
        let garbage = refused(&|draft| set(draft, id, &[0x30, 0x01]));
        let expected = match name {
            "subjectAltName" => CardError::Attribute(BadAttribute::Malformed),
            _ => CardError::Extension(name),
        };
        assert_eq!(garbage, expected);
        let twice = refused(&|draft| {
            let copy = draft.extensions[place(draft, id)].clone();
            draft.extensions.push(copy);
        });
        assert_eq!(twice, CardError::Repeated(id));
    }
    for id in [oid::KEY_USAGE, oid::CERTIFICATE_POLICIES] {
        let error = refused(&|draft| {
            let at = place(draft, id);
            draft.extensions[at].1 = false;
        });
        assert!(matches!(error, CardError::Extension(_)), "{id} must be critical");
    }
    // digitalSignature alone, with more bits, and the same bits encoded otherwise.
    for usage in [[3, 2, 7, 0x80], [3, 2, 5, 0xe0], [3, 2, 0, 0xc0]] {
        let error = refused(&|draft| set(draft, oid::KEY_USAGE, &usage));
        assert_eq!(error, CardError::Extension("keyUsage"));
    }
    let unknown = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.9.9");
    let error = refused(&|draft| draft.extensions.push((unknown, true, vec![5, 0])));
    assert_eq!(error, CardError::UnknownCritical(unknown));
    desk.check(|draft| draft.extensions.push((unknown, false, vec![5, 0]))).unwrap();
    for (id, value) in [
        (oid::BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff][..]),
        (oid::BASIC_CONSTRAINTS, &[0x30, 0]),
        (oid::EXTENDED_KEY_USAGE, &[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2]),
    ] {
        let error = refused(&|draft| draft.extensions.push((id, false, value.to_vec())));
        assert_eq!(error, CardError::Unexpected(id));
    }
}

#[test]
fn the_policy_is_one_and_of_the_roots_world() {
    let desk = Desk::new();
    let policy = |value: Vec<u8>| desk.check(|draft| set(draft, oid::CERTIFICATE_POLICIES, &value));
    assert!(policy(policies(oid::POLICY_TEST)).is_ok());
    let authentication = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.1.0.30");
    let any = ObjectIdentifier::new_unwrap("2.5.29.32.0");
    for other in [oid::POLICY_PRODUCTION, authentication, any] {
        assert_eq!(policy(policies(other)), Err(CardError::Policy(other)));
    }
    let one = policies(oid::POLICY_TEST);
    let two = [&[0x30, 2 * (one.len() - 2) as u8][..], &one[2..], &one[2..]].concat();
    assert_eq!(policy(two), Err(CardError::Extension("certificatePolicies")));
    assert_eq!(policy(vec![0x30, 0]), Err(CardError::Extension("certificatePolicies")));
}

#[test]
fn the_six_names_stand_in_their_order_once_each() {
    let desk = Desk::new();
    let refused = |change: &dyn Fn(&mut Vec<Vec<u8>>)| match desk.check_names(change) {
        Err(CardError::Attribute(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&|names| names.swap(0, 1)), BadAttribute::Order(oid::BIRTH_DATE));
    assert_eq!(refused(&|names| names.swap(4, 5)), BadAttribute::Order(oid::ADDRESS_SUBSTITUTED));
    for missing in 0..6 {
        let error = refused(&|names| {
            names.remove(missing);
        });
        assert!(matches!(error, BadAttribute::Order(_)));
    }
    let twice = refused(&|names| names.push(names[5].clone()));
    assert_eq!(twice, BadAttribute::Order(oid::ADDRESS_SUBSTITUTED));
    // Names of other kinds are tolerated anywhere; that is how furigana will come.
    let furigana = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.7");
    for at in 0..=6 {
        let more =
            |names: &mut Vec<Vec<u8>>| names.insert(at, other_name(furigana, "ヤマダ　ハナコ"));
        assert_eq!(*desk.check_names(more).unwrap().attributes(), attributes());
    }
    // A URI is no otherName; a PrintableString is no UTF8String.
    assert_eq!(refused(&|names| names.push(vec![0x86, 1, b'x'])), BadAttribute::Malformed);
    let printable = refused(&|names| {
        let at = names[2].len() - 3;
        names[2][at] = 0x13;
    });
    assert_eq!(printable, BadAttribute::NotText(oid::GENDER));
}

#[test]
fn contents_that_no_card_has_are_refused() {
    let desk = Desk::new();
    let refused = |at: usize, id, text: &str| match desk
        .check_names(|names| names[at] = other_name(id, text))
    {
        Err(CardError::Attribute(error)) => error,
        other => panic!("{other:?}"),
    };
    let name_flags = BadAttribute::Flags(oid::NAME_SUBSTITUTED);
    let address_flags = BadAttribute::Flags(oid::ADDRESS_SUBSTITUTED);
    for flags in ["0000", "000000", "0000x", "00002"] {
        assert_eq!(refused(4, oid::NAME_SUBSTITUTED, flags), name_flags);
    }
    for flags in [14, 16] {
        assert_eq!(refused(5, oid::ADDRESS_SUBSTITUTED, &"0".repeat(flags)), address_flags);
    }
    for (at, id) in oid::OTHER_NAMES.into_iter().enumerate() {
        assert_eq!(refused(at, id, ""), BadAttribute::Empty(id));
    }
    for birth_date in ["19900401", "419900431", "319900401", "61990040１"] {
        assert_eq!(refused(1, oid::BIRTH_DATE, birth_date), BadAttribute::BirthDate);
    }
    for gender in ["0", "4", "01", "１", "F"] {
        assert_eq!(refused(2, oid::GENDER, gender), BadAttribute::Gender);
    }
    let long = "町".repeat(201);
    assert_eq!(refused(3, oid::ADDRESS, &long), BadAttribute::AddressTooLong);
    // The name is longer than its flags say.
    assert_eq!(refused(0, oid::NAME, "山田　花子代"), name_flags);
}

#[test]
fn keys_and_algorithms_other_than_the_profiles_are_refused() {
    let desk = Desk::new();
    let p256 = [
        &[0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1][..],
        &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0, 4],
        &[7; 64],
    ]
    .concat();
    assert_eq!(desk.check(|draft| draft.spki = p256.clone()), Err(CardError::Key));
    // The exponent stands last: 3 instead of 65537, and a modulus that is one bit short.
    let exponent = |draft: &mut Draft| *draft.spki.last_mut().unwrap() = 3;
    assert_eq!(desk.check(exponent), Err(CardError::Key));
    let short = |draft: &mut Draft| {
        let at = draft.spki.len() - 5 - 256;
        draft.spki[at] &= 0x7f;
    };
    assert!(matches!(desk.check(short), Err(CardError::Key | CardError::Malformed)));
    // sha512WithRSAEncryption inside, sha256 outside.
    let inner = |draft: &mut Draft| draft.algorithm[12] = 0x0d;
    assert_eq!(desk.check(inner), Err(CardError::Algorithm));
    // A version 1 certificate has no extensions; one that says it is does not pass.
    assert!(desk.check(|draft| draft.version.clear()).is_err());
    assert!(desk.check(|draft| draft.issuer = draft.subject.clone()).is_err());
}

#[test]
fn a_card_on_no_list_is_good() {
    let desk = Desk::new();
    let card = desk.checked();
    let next = NOW.plus_ms(DAY);
    let empty = desk.jlis.crl(&[], back(DAY), next).unwrap();
    assert_eq!(check_status(&empty, &card, NOW, 2 * DAY), Ok(()));
    let others: Vec<_> = [&[1][..], &[0x1e, 0xe6], &[0x1e, 0xe6, 0x08], &[0, 0x1e, 0xe6, 0x06]]
        .map(|serial| (serial.to_vec(), Reason::Superseded))
        .to_vec();
    let list = desk.jlis.crl(&others, back(DAY), next).unwrap();
    assert_eq!(check_status(&list, &card, NOW, 2 * DAY), Ok(()));
}

#[test]
fn a_revoked_card_is_refused_with_its_reason() {
    let desk = Desk::new();
    let card = desk.checked();
    for reason in [
        Reason::Unspecified,
        Reason::AffiliationChanged,
        Reason::CessationOfOperation,
        Reason::Superseded,
        Reason::CertificateHold,
        Reason::KeyCompromise,
        Reason::RemoveFromList,
    ] {
        let listed = [(vec![9], Reason::Superseded), (vec![0x1e, 0xe6, 0x07], reason)];
        let list = desk.jlis.crl(&listed, back(DAY), NOW.plus_ms(DAY)).unwrap();
        let status = check_status(&list, &card, NOW, 2 * DAY);
        assert_eq!(status, Err(StatusError::Revoked(reason)));
    }
    assert!(
        StatusError::Revoked(Reason::AffiliationChanged).to_string().contains("affiliationChanged")
    );
}

fn no_verdict(status: Result<(), StatusError>) -> CouldNotCheck {
    match status {
        Err(StatusError::CouldNotCheck(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stale_list_is_no_answer() {
    let desk = Desk::new();
    let card = desk.checked();
    let list = desk.jlis.crl(&[], back(DAY), NOW.plus_ms(DAY)).unwrap();
    let at = |at, max_age| check_status(&list, &card, at, max_age);
    assert_eq!(at(NOW, DAY), Ok(()));
    assert_eq!(no_verdict(at(NOW, DAY - 1)), CouldNotCheck::Stale);
    assert_eq!(at(NOW.plus_ms(DAY - 1), 3 * DAY), Ok(()));
    assert_eq!(no_verdict(at(NOW.plus_ms(DAY), 3 * DAY)), CouldNotCheck::Stale);
    assert_eq!(at(back(DAY + 300_000), DAY), Ok(()));
    assert_eq!(no_verdict(at(back(DAY + 300_001), DAY)), CouldNotCheck::FromTheFuture);
    let open_ended = desk.jlis.crl_with(&[], back(DAY), None, (&[], &[])).unwrap();
    let status = check_status(&open_ended, &card, NOW, 2 * DAY);
    assert_eq!(no_verdict(status), CouldNotCheck::NoNextUpdate);
}

#[test]
fn a_list_of_another_generation_or_altered_is_no_answer() {
    let desk = Desk::new();
    let card = desk.checked();
    let (from, to) = (back(DAY), NOW.plus_ms(DAY));
    let status = |list: &[u8]| no_verdict(check_status(list, &card, NOW, 2 * DAY));
    let other = jlis(2).crl(&[], from, to).unwrap();
    assert_eq!(status(&other), CouldNotCheck::OtherIssuer);
    let good = desk.jlis.crl(&[(vec![5], Reason::Superseded)], from, to).unwrap();
    for at in 0..good.len() {
        let mut tampered = good.clone();
        tampered[at] ^= 1;
        status(&tampered);
    }
    let mut signature = good.clone();
    *signature.last_mut().unwrap() ^= 1;
    assert_eq!(status(&signature), CouldNotCheck::BadSignature);
    assert_eq!(status(&[]), CouldNotCheck::Malformed);
    assert_eq!(status(&good[..good.len() - 1]), CouldNotCheck::Malformed);
    assert_eq!(status(desk.jlis.root()), CouldNotCheck::Malformed);
}

#[test]
fn a_part_of_the_list_speaks_for_its_municipality_only() {
    let desk = Desk::new();
    let card = desk.checked();
    let list = |more: &[_]| {
        desk.jlis.crl_with(&[], back(DAY), Some(NOW.plus_ms(DAY)), (more, &[])).unwrap()
    };
    let status = |more: &[_]| check_status(&list(more), &card, NOW, 2 * DAY);
    assert_eq!(status(&[part(("Gunma-ken", "Maebashi-shi"))]), Ok(()));
    let elsewhere = status(&[part(("Tokyo-to", "Kiyose-shi"))]);
    assert_eq!(no_verdict(elsewhere), CouldNotCheck::NotCovered);
    // onlyContainsCACerts, indirectCRL, onlySomeReasons.
    for flag in [[0x82, 1, 0xff], [0x84, 1, 0xff], [0x83, 1, 0]] {
        let value = [&[0x30, 3][..], &flag].concat();
        let partial = status(&[(oid::ISSUING_DISTRIBUTION_POINT, true, value)]);
        assert!(matches!(
            no_verdict(partial),
            CouldNotCheck::NotCovered | CouldNotCheck::Malformed
        ));
    }
    let delta = ObjectIdentifier::new_unwrap("2.5.29.27");
    let status = status(&[(delta, true, vec![2, 1, 1])]);
    assert_eq!(no_verdict(status), CouldNotCheck::UnknownCritical(delta));

    // In the entry of another certificate: the list is of no use. In the card's own: it is revoked.
    let status = |serial: &[u8], more| {
        let revoked = [(serial.to_vec(), Reason::Superseded)];
        let until = Some(NOW.plus_ms(DAY));
        let list = desk.jlis.crl_with(&revoked, back(DAY), until, (&[], &[more])).unwrap();
        check_status(&list, &card, NOW, 2 * DAY)
    };
    let issuer = ObjectIdentifier::new_unwrap("2.5.29.29");
    let foreign = [0x55; 4];
    let critical = status(&foreign, (issuer, true, vec![0x30, 0]));
    assert_eq!(no_verdict(critical), CouldNotCheck::UnknownCritical(issuer));
    assert_eq!(status(&foreign, (issuer, false, vec![0x30, 0])), Ok(()));
    let own = status(card.serial(), (issuer, true, vec![0x30, 0]));
    assert_eq!(own, Err(StatusError::Revoked(Reason::Superseded)));
}

#[test]
fn roots_are_checked_before_they_anchor_anything() {
    let desk = Desk::new();
    let root = desk.jlis.root().to_vec();
    let refused = |roots: Vec<Vec<u8>>, testnet| JpkiRoots::new(roots, testnet).unwrap_err();
    assert_eq!(refused(vec![root.clone()], false), RootError::TestRoot);
    assert_eq!(refused(vec![], true), RootError::None);
    assert!(matches!(refused(vec![root.clone(), root.clone()], true), RootError::Twice(_)));
    // A card's certificate, or one that a root signed, is no root.
    assert!(JpkiRoots::new(vec![desk.card.certificate().to_vec()], true).is_err());
    for at in 0..root.len() {
        let mut tampered = root.clone();
        tampered[at] ^= 1;
        assert!(JpkiRoot::from_der(&tampered).is_err(), "byte {at}");
    }
    // Names itself as its issuer, but another key signed.
    let forger = jlis(1);
    let mut draft = desk.draft.clone();
    draft.subject = draft.issuer.clone();
    let forged = forger.sign_draft(&draft).unwrap();
    assert_eq!(JpkiRoot::from_der(&forged), Err(RootError::NotSelfSigned));
}
