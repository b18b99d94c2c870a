//! The real certificates in `vectors/jpki/`.

use super::*;

const LEAF: &[u8] = include_bytes!("../../../vectors/jpki/jpki-sign-cert.der");
const AUTHENTICATION_LEAF: &[u8] = include_bytes!("../../../vectors/jpki/jpki-auth-cert.der");
const TEST_2019: &[u8] = include_bytes!("../../../vectors/jpki/test-roots/signca-test-2019.cer");
const TEST_2024: &[u8] = include_bytes!("../../../vectors/jpki/test-roots/signca-test-2024.cer");

fn test_roots(roots: &[&[u8]]) -> JpkiRoots {
    JpkiRoots::new(roots.iter().map(|der| der.to_vec()).collect(), true).unwrap()
}

#[test]
fn the_real_test_leaf_passes_under_its_own_generation() {
    let roots = test_roots(&[TEST_2019, TEST_2024]);
    let card = check_certificate(LEAF, &roots, NOW).unwrap();
    assert_eq!(card.serial(), [0x1e, 0xe6, 0x07]);
    assert_eq!(card.issuer().hash(), wire::sha256(TEST_2024));
    let attributes = card.attributes();
    assert_eq!(attributes.birth_date.gregorian(), (1980, 2, 17));
    assert_eq!(attributes.birth_date.era(), Era::Showa);
    assert_eq!(attributes.gender, Gender::Male);
    assert_eq!(attributes.name, "黒桐　幹也");
    assert_eq!(attributes.address, "東京都清瀬市観布子南１２－７－２０２");
    assert_eq!(attributes.name_substituted, [false; 5]);
    assert_eq!(attributes.address_substituted, [false; 18]);
    // 2030-02-17T14:59:59Z, the last second of the day in Japan.
    assert_eq!(card.not_after(), Timestamp::from_secs(1_897_570_799));
    crate::number::CanonicalIdentity::new(attributes).unwrap();
}

#[test]
fn the_wrong_generation_shares_the_name_and_is_refused() {
    let only_2019 = test_roots(&[TEST_2019]);
    let only_2024 = test_roots(&[TEST_2024]);
    let names = [&only_2019, &only_2024].map(|roots| roots.iter().next().unwrap().subject.clone());
    assert_eq!(names[0], names[1]);
    let refused = check_certificate(LEAF, &only_2019, NOW);
    assert_eq!(refused, Err(CardError::UnknownGeneration));
    assert!(check_certificate(LEAF, &only_2024, NOW).is_ok());
}

#[test]
fn outside_a_testnet_the_test_world_is_refused() {
    for root in [TEST_2019, TEST_2024] {
        let refused = JpkiRoots::new(vec![root.to_vec()], false);
        assert_eq!(refused, Err(RootError::TestRoot));
    }
    // With the production roots alone its issuer is unknown.
    let production = JpkiRoots::new(
        ["signca02.cer", "signca03.cer"].map(|name| read("production-roots", name)).to_vec(),
        false,
    )
    .unwrap();
    assert_eq!(check_certificate(LEAF, &production, NOW), Err(CardError::UnknownIssuer));
}

#[test]
fn an_authentication_certificate_is_no_signing_certificate() {
    let roots = test_roots(&[TEST_2019, TEST_2024]);
    let refused = check_certificate(AUTHENTICATION_LEAF, &roots, NOW);
    assert_eq!(refused, Err(CardError::UnknownIssuer));
    let root = read("test-roots", "authca-test-2023.cer");
    assert_eq!(JpkiRoots::new(vec![root], true), Err(RootError::WrongPurpose));
}

#[test]
fn a_change_anywhere_in_the_real_leaf_is_found() {
    let roots = test_roots(&[TEST_2019, TEST_2024]);
    for at in 0..LEAF.len() {
        let mut tampered = LEAF.to_vec();
        tampered[at] ^= 0x04;
        assert!(check_certificate(&tampered, &roots, NOW).is_err(), "byte {at}");
    }
    let before = Timestamp::from_secs(1_761_528_956);
    assert_eq!(check_certificate(LEAF, &roots, before), Err(CardError::NotYetValid));
    let after = Timestamp::from_secs(1_897_570_800);
    assert_eq!(check_certificate(LEAF, &roots, after), Err(CardError::Expired));
}

fn vectors() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/jpki")
}

fn read(folder: &str, name: &str) -> Vec<u8> {
    std::fs::read(vectors().join(folder).join(name)).unwrap()
}

#[test]
fn every_real_root_is_read_and_none_is_passed_over() {
    use RootPurpose::{Authentication, Signature};
    let expected = [
        ("production-roots", "authca01.cer", Authentication),
        ("production-roots", "authca02.cer", Authentication),
        ("production-roots", "authca03.cer", Authentication),
        ("production-roots", "signca01.cer", Signature),
        ("production-roots", "signca02.cer", Signature),
        ("production-roots", "signca03.cer", Signature),
        ("test-roots", "authca-test-2019.cer", Authentication),
        ("test-roots", "authca-test-2023.cer", Authentication),
        ("test-roots", "signca-test-2019.cer", Signature),
        ("test-roots", "signca-test-2024.cer", Signature),
    ];
    let mut key_ids = BTreeSet::new();
    for (folder, name, purpose) in expected {
        let root = JpkiRoot::from_der(&read(folder, name)).unwrap();
        assert_eq!(root.purpose(), purpose, "{name}");
        assert_eq!(root.is_test(), folder == "test-roots", "{name}");
        assert!(key_ids.insert(root.key_id().to_vec()));
    }
    let mut there = 0;
    for folder in ["production-roots", "test-roots"] {
        there += std::fs::read_dir(vectors().join(folder)).unwrap().count();
    }
    assert_eq!(there, expected.len());
    // Both live production generations anchor side by side.
    let live = ["signca02.cer", "signca03.cer"].map(|name| read("production-roots", name));
    assert_eq!(JpkiRoots::new(live.to_vec(), false).unwrap().iter().count(), 2);
}
