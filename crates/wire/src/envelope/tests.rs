use ciborium::Value;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use proptest::prelude::*;

use super::{EnvelopeError::*, *};
use crate::{
    channel::Grant,
    exchange::Receipt,
    ids::Timestamp,
    limits,
    membership::{RoleKeys, Root},
};

struct Key(SigningKey);

fn key(seed: u8) -> Key {
    Key(SigningKey::from_slice(&[seed; 32]).unwrap())
}

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_sec1(self.0.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let signature: Signature = self.0.sign(message);
        Ok(SignatureBytes(signature.to_bytes().into()))
    }
}

/// A key store that is gone.
struct Broken;

impl Signer for Broken {
    fn public_key(&self) -> PublicKey {
        key(1).public_key()
    }

    fn sign(&self, _: &[u8]) -> Result<SignatureBytes, SignError> {
        Err(SignError("token removed".to_owned()))
    }
}

const NETWORK: NetworkId = NetworkId([1; 32]);
const OTHER_NETWORK: NetworkId = NetworkId([2; 32]);

fn receipt() -> Receipt {
    Receipt { request: Hash([3; 32]), presentation: Hash([4; 32]), time: Timestamp(5) }
}

fn signed() -> Signed<Receipt> {
    Signed::new(receipt(), &NETWORK, &key(1)).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Signed<Receipt>, EnvelopeError> {
    Signed::decode(bytes, &NETWORK)
}

fn verify(bytes: &[u8]) -> Result<Verified<Receipt>, EnvelopeError> {
    decode(bytes)?.verify(&key(1).public_key())
}

/// The four parts of an encoded `COSE_Sign1`, changed and written again.
fn changed(change: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
    let mut parts = cbor::value_from_slice(signed().bytes()).unwrap().into_array().unwrap();
    change(&mut parts);
    cbor::to_vec(&Value::Array(parts))
}

fn header(entries: Vec<(Value, Value)>) -> Value {
    Value::Bytes(cbor::to_vec(&Value::Map(entries)))
}

fn header_entries() -> Vec<(Value, Value)> {
    vec![
        (1.into(), (-7).into()),
        (4.into(), Value::Bytes(key(1).public_key().key_hash().0.to_vec())),
        (16.into(), "mebuku/receipt;v=1".into()),
    ]
}

fn with_header(entries: Vec<(Value, Value)>) -> Result<Signed<Receipt>, EnvelopeError> {
    decode(&changed(|parts| parts[0] = header(entries)))
}

#[test]
fn roundtrip() {
    let signed = signed();
    let read = decode(signed.bytes()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.unverified(), &receipt());
    assert_eq!(read.key(), key(1).public_key().key_hash());
    let verified = read.verify(&key(1).public_key()).unwrap();
    assert_eq!(verified.message(), &receipt());
    assert_eq!(verified.public_key(), &key(1).public_key());
    assert_eq!((verified.id(), verified.bytes()), (signed.id(), signed.bytes()));
    assert_eq!(verified.into_message(), receipt());
}

#[test]
fn the_id_is_the_hash_of_the_sig_structure() {
    // RFC 9052 section 4.4: ["Signature1", protected, external_aad, payload].
    let aad = cbor::to_vec(&Value::Array(vec![
        "mebuku".into(),
        49.into(),
        1.into(),
        Value::Bytes(vec![1; 32]),
    ]));
    let structure = cbor::to_vec(&Value::Array(vec![
        "Signature1".into(),
        header(header_entries()),
        Value::Bytes(aad),
        Value::Bytes(cbor::to_vec(&receipt())),
    ]));
    assert_eq!(signed().id(), sha256(&structure));
    let unsigned = Unsigned::new(receipt(), &NETWORK, &key(1).public_key());
    assert_eq!(unsigned.to_be_signed(), structure);
}

#[test]
fn a_key_store_fault_is_no_signature() {
    let error = Signed::new(receipt(), &NETWORK, &Broken).unwrap_err();
    assert_eq!(error.to_string(), "the key store did not sign: token removed");
    let mut root = MultiSigned::new(root());
    assert!(root.sign(&NETWORK, &Broken).is_err());
    assert_eq!(root, MultiSigned::new(self::root()));
}

#[test]
fn another_key_network_or_type_does_not_pass() {
    let bytes = signed().bytes().to_vec();
    let receipt = MessageType::Receipt;
    assert_eq!(
        decode(&bytes).unwrap().verify(&key(2).public_key()).unwrap_err(),
        OtherKey(receipt)
    );
    let elsewhere = Signed::<Receipt>::decode(&bytes, &OTHER_NETWORK).unwrap();
    assert_ne!(elsewhere.id(), signed().id());
    assert_eq!(elsewhere.verify(&key(1).public_key()).unwrap_err(), BadSignature(receipt));
    assert_eq!(
        Signed::<Grant>::decode(&bytes, &NETWORK).unwrap_err(),
        WrongType {
            expected: MessageType::Grant,
            version: 1,
            got: "mebuku/receipt;v=1".to_owned()
        }
    );
}

/// A receipt's fields under another type's code.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Lookalike(Receipt);

impl Message for Lookalike {
    const TYPE: MessageType = MessageType::Grant;
}

/// The type is signed twice: in the header, and by its code in the external_aad. With the header
/// rewritten the second still catches it.
#[test]
fn the_type_is_signed() {
    let lookalike = Signed::new(Lookalike(receipt()), &NETWORK, &key(1)).unwrap();
    let mut parts = cbor::value_from_slice(lookalike.bytes()).unwrap().into_array().unwrap();
    parts[0] = header(header_entries());
    let rewritten = cbor::to_vec(&Value::Array(parts));
    assert_eq!(verify(&rewritten).unwrap_err(), BadSignature(MessageType::Receipt));
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct NextReceipt(Receipt);

impl Message for NextReceipt {
    const TYPE: MessageType = MessageType::Receipt;
    const VERSION: u8 = 2;
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let next = Signed::new(NextReceipt(receipt()), &NETWORK, &key(1)).unwrap();
    let error = decode(next.bytes()).unwrap_err();
    assert_eq!(error.to_string(), "expected a receipt, version 1, got `mebuku/receipt;v=2`");
    // And with the version in the header rewritten, the external_aad still tells them apart.
    let mut parts = cbor::value_from_slice(next.bytes()).unwrap().into_array().unwrap();
    parts[0] = header(header_entries());
    let rewritten = cbor::to_vec(&Value::Array(parts));
    assert_eq!(verify(&rewritten).unwrap_err(), BadSignature(MessageType::Receipt));
}

#[test]
fn alterations_do_not_pass() {
    let other = Receipt { time: Timestamp(6), ..receipt() };
    let bytes = changed(|parts| parts[2] = Value::Bytes(cbor::to_vec(&other)));
    assert_eq!(verify(&bytes).unwrap_err(), BadSignature(MessageType::Receipt));

    let bytes = changed(|parts| parts[3].as_bytes_mut().unwrap()[10] ^= 1);
    assert_eq!(verify(&bytes).unwrap_err(), BadSignature(MessageType::Receipt));

    let bytes = changed(|parts| parts[3] = Value::Bytes(vec![0; 64]));
    assert_eq!(verify(&bytes).unwrap_err(), BadSignature(MessageType::Receipt));

    // The header of another signer, so that the id of the key is rewritten with it.
    let mut entries = header_entries();
    entries[1].1 = Value::Bytes(key(2).public_key().key_hash().0.to_vec());
    let stolen = with_header(entries).unwrap();
    assert_eq!(
        stolen.verify(&key(2).public_key()).unwrap_err(),
        BadSignature(MessageType::Receipt)
    );
}

#[test]
fn no_flipped_bit_passes() {
    let bytes = signed().bytes().to_vec();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn the_profile_is_narrow() {
    let refused = |bytes: Vec<u8>| match decode(&bytes).unwrap_err() {
        Profile { expected: MessageType::Receipt, what } => what,
        other => panic!("{other}"),
    };
    assert_eq!(
        refused(changed(|parts| parts[1] = Value::Map(vec![(4.into(), Value::Bytes(vec![1]))]))),
        "the unprotected header must be empty"
    );
    assert_eq!(refused(changed(|parts| parts[2] = Value::Null)), "detached payload");
    assert_eq!(refused(changed(|parts| drop(parts.pop()))), "wrong structure");
    assert_eq!(refused(changed(|parts| parts.push(Value::Null))), "wrong structure");
    for length in [0, 63, 65, 72] {
        assert_eq!(
            refused(changed(|parts| parts[3] = Value::Bytes(vec![1; length]))),
            "an ES256 signature is 64 bytes long"
        );
    }
    assert_eq!(refused(changed(|parts| parts[0] = Value::Bytes(vec![]))), "no typ header");

    let entries = |change: fn(&mut Vec<(Value, Value)>)| {
        let mut entries = header_entries();
        change(&mut entries);
        refused(changed(|parts| parts[0] = header(entries)))
    };
    assert_eq!(entries(|e| drop(e.pop())), "no typ header");
    assert_eq!(entries(|e| e[2].1 = 7.into()), "no typ header");
    assert_eq!(entries(|e| e[2].1 = "x".repeat(65).into()), "no typ header");
    assert_eq!(entries(|e| drop(e.remove(0))), "unknown algorithm suite");
    assert_eq!(entries(|e| e[0].1 = (-8).into()), "unknown algorithm suite");
    assert_eq!(entries(|e| e[0].1 = (-35).into()), "unknown algorithm suite");
    assert_eq!(entries(|e| drop(e.remove(1))), "kid is not a key hash");
    assert_eq!(entries(|e| e[1].1 = Value::Bytes(vec![1; 31])), "kid is not a key hash");
    assert_eq!(entries(|e| e.push((99.into(), Value::Null))), "unexpected header parameters");
    assert_eq!(entries(|e| e.push((3.into(), 60.into()))), "unexpected header parameters");
    let critical = Value::Array(vec![16.into()]);
    let mut with_critical = header_entries();
    with_critical.push((2.into(), critical));
    assert_eq!(
        refused(changed(|parts| parts[0] = header(with_critical))),
        "unexpected header parameters"
    );
}

/// What the header says is one thing, how it is written another: the writing must be the one
/// deterministic one, too.
#[test]
fn the_header_is_deterministic() {
    let plain = cbor::to_vec(&Value::Map(header_entries()));
    assert!(with_header(header_entries()).is_ok());
    let mut indefinite = plain.clone();
    indefinite[0] = 0xbf;
    indefinite.push(0xff);
    let mut longer = vec![0xb8, 0x03];
    longer.extend(&plain[1..]);
    // {4: kid, 1: alg, 16: typ}
    let mut unsorted = vec![plain[0]];
    unsorted.extend(&plain[3..3 + 35]);
    unsorted.extend(&plain[1..3]);
    unsorted.extend(&plain[3 + 35..]);
    for other in [indefinite, longer, unsorted] {
        let bytes = changed(|parts| parts[0] = Value::Bytes(other));
        assert_eq!(
            decode(&bytes).unwrap_err(),
            Profile {
                expected: MessageType::Receipt,
                what: "the protected header is not in deterministic encoding"
            }
        );
    }
}

#[test]
fn the_encoding_is_deterministic() {
    let bytes = signed().bytes().to_vec();
    let encoding = |bytes: &[u8]| match decode(bytes).unwrap_err() {
        Encoding { expected: MessageType::Receipt, error } => error,
        other => panic!("{other}"),
    };
    // Tag 18 (COSE_Sign1) is not written here.
    assert_eq!(encoding(&[&[0xd2], &bytes[..]].concat()), CborError::Forbidden("tags"));
    assert_eq!(encoding(&[&bytes[..], &[0]].concat()), CborError::TrailingBytes(1));
    assert_eq!(encoding(&bytes[..bytes.len() - 1]), CborError::Malformed);
    assert_eq!(encoding(&[&[0x98, 0x04], &bytes[1..]].concat()), CborError::NotDeterministic);
    // The payload, too.
    let payload = cbor::to_vec(&receipt());
    let mut indefinite = payload.clone();
    indefinite[0] = 0xbf;
    indefinite.push(0xff);
    let bytes = changed(|parts| parts[2] = Value::Bytes(indefinite));
    assert_eq!(encoding(&bytes), CborError::NotDeterministic);
    let bytes = changed(|parts| parts[2] = Value::Bytes([&payload[..], &[0]].concat()));
    assert_eq!(encoding(&bytes), CborError::TrailingBytes(1));
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Word {
    Yes,
    No,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Loose {
    word: Word,
    option: Option<u8>,
}

impl Message for Loose {
    const TYPE: MessageType = MessageType::Receipt;
}

/// Serde reads a missing field as `None` and `{"yes": null}` as `"yes"`: a second encoding of one
/// message, which must not be accepted.
#[test]
fn a_payload_has_one_encoding() {
    let loose = Loose { word: Word::Yes, option: None };
    let signed = Signed::new(loose.clone(), &NETWORK, &key(1)).unwrap();
    assert_eq!(Signed::<Loose>::decode(signed.bytes(), &NETWORK).unwrap().unverified(), &loose);
    let word = |value: Value| ("word".into(), value);
    for payload in [
        Value::Map(vec![word("yes".into())]),
        Value::Map(vec![
            ("option".into(), Value::Null),
            word(Value::Map(vec![("yes".into(), Value::Null)])),
        ]),
    ] {
        let mut parts = cbor::value_from_slice(signed.bytes()).unwrap().into_array().unwrap();
        parts[2] = Value::Bytes(cbor::to_vec(&payload));
        let bytes = cbor::to_vec(&Value::Array(parts));
        let error = Signed::<Loose>::decode(&bytes, &NETWORK).unwrap_err();
        assert!(
            matches!(
                error,
                Encoding { error: CborError::NotDeterministic | CborError::Shape(_), .. }
            ),
            "{payload:?}: {error}"
        );
    }
}

#[test]
fn oversize_is_refused_unread() {
    let garbage = vec![0xff; Receipt::LIMIT + 1];
    assert_eq!(
        decode(&garbage).unwrap_err(),
        Encoding {
            expected: MessageType::Receipt,
            error: CborError::TooLarge {
                what: "receipt",
                size: Receipt::LIMIT + 1,
                limit: Receipt::LIMIT
            }
        }
    );
    let garbage = vec![0xff; limits::TRUST_OBJECT + 1];
    assert!(matches!(
        MultiSigned::<Root>::decode(&garbage).unwrap_err(),
        Encoding { error: CborError::TooLarge { .. }, .. }
    ));
}

/// ECDSA signatures come in twos, (r, s) and (r, n − s). Both pass, as hardware makes either, and
/// the id is the same: nothing may hang from a signature's bytes.
#[test]
fn high_and_low_s_are_one_object() {
    let unsigned = Unsigned::new(receipt(), &NETWORK, &key(1).public_key());
    let first = key(1).sign(unsigned.to_be_signed()).unwrap();
    let (r, s) = Signature::from_slice(&first.0).unwrap().split_scalars();
    let mirrored = Signature::from_scalars(r, -s).unwrap();
    let second = SignatureBytes(mirrored.to_bytes().into());
    assert_ne!(first, second);
    let first = unsigned.finish(first);
    let second = Unsigned::new(receipt(), &NETWORK, &key(1).public_key()).finish(second);
    assert_ne!(first.bytes(), second.bytes());
    assert_eq!(first.id(), second.id());
    assert_eq!(verify(first.bytes()).unwrap().id(), verify(second.bytes()).unwrap().id());
    // A random nonce gives another signature, and the id stays, valid or not.
    let broken = changed(|parts| parts[3] = Value::Bytes(vec![9; 64]));
    assert_eq!(decode(&broken).unwrap().id(), first.id());
}

fn root() -> Root {
    let keys = |seeds: [u8; 3]| {
        let mut keys: Vec<_> = seeds.iter().map(|seed| key(*seed).public_key()).collect();
        keys.sort();
        RoleKeys { keys, threshold: 2 }
    };
    Root {
        version: 1,
        testnet: true,
        issued: Timestamp(1),
        expires: Timestamp(2),
        root: keys([1, 2, 3]),
        trust_list: keys([4, 5, 6]),
        timestamp: keys([7, 8, 9]),
    }
}

fn multi(signers: &[u8]) -> MultiSigned<Root> {
    let mut multi = MultiSigned::new(root());
    for seed in signers {
        multi.sign(&NETWORK, &key(*seed)).unwrap();
    }
    MultiSigned::decode(&multi.bytes()).unwrap()
}

fn below(valid: usize, threshold: usize) -> EnvelopeError {
    BelowThreshold { what: MessageType::Root, valid, threshold }
}

#[test]
fn a_threshold_of_known_keys() {
    let keys = root().root.keys;
    for enough in [&[1, 2][..], &[3, 1], &[1, 2, 3]] {
        assert_eq!(multi(enough).verify(&NETWORK, &keys, 2), Ok(&root()));
    }
    assert_eq!(
        multi(&[1, 2]).bytes(),
        multi(&[2, 1]).bytes(),
        "the order of signing leaves no mark"
    );
    assert_eq!(multi(&[]).verify(&NETWORK, &keys, 2), Err(below(0, 2)));
    assert_eq!(multi(&[1]).verify(&NETWORK, &keys, 2), Err(below(1, 2)));
    assert_eq!(multi(&[1, 2]).verify(&NETWORK, &keys, 3), Err(below(2, 3)));
    assert_eq!(multi(&[1, 2, 3]).verify(&NETWORK, &keys, 0), Err(below(3, 0)), "never without any");
    // Foreign signers do not count, nor do they harm: a new root carries the old threshold's, too.
    assert_eq!(multi(&[1, 4, 5, 6]).verify(&NETWORK, &keys, 2), Err(below(1, 2)));
    assert_eq!(multi(&[1, 2, 4]).verify(&NETWORK, &keys, 2), Ok(&root()));
    // The same person twice is one signature, in the file and in the list of keys.
    assert_eq!(multi(&[1, 1]).verify(&NETWORK, &keys, 2), Err(below(1, 2)));
    let twice = [keys[0], keys[0], keys[1]];
    let signers = multi(&[1, 2, 3]).signers(&NETWORK, &twice).unwrap();
    assert_eq!(signers.len(), 2);
    assert_eq!(multi(&[1, 2]).payload_hash(), sha256(&cbor::to_vec(&root())));
}

#[test]
fn a_broken_signature_of_a_known_key_spoils_the_file() {
    let keys = root().root.keys;
    let broken = |seed: u8| {
        let mut value = cbor::value_from_slice(&multi(&[1, 2, 3, 4]).bytes()).unwrap();
        let kid = key(seed).public_key().key_hash();
        let signatures = value.as_array_mut().unwrap()[3].as_array_mut().unwrap();
        let entry = signatures
            .iter_mut()
            .map(|entry| entry.as_array_mut().unwrap())
            .find(|entry| entry[0].as_bytes().unwrap().windows(32).any(|w| w == kid.0))
            .unwrap();
        entry[2].as_bytes_mut().unwrap()[0] ^= 1;
        MultiSigned::<Root>::decode(&cbor::to_vec(&value)).unwrap()
    };
    for known in [1, 2, 3] {
        assert_eq!(broken(known).verify(&NETWORK, &keys, 2), Err(BadSignature(MessageType::Root)));
    }
    assert_eq!(broken(4).verify(&NETWORK, &keys, 2), Ok(&root()), "a foreign one is not looked at");
    assert_eq!(
        multi(&[1, 2]).verify(&OTHER_NETWORK, &keys, 2),
        Err(BadSignature(MessageType::Root)),
        "made for another network"
    );
}

#[test]
fn the_threshold_envelope_is_narrow() {
    let refused = |change: fn(&mut Vec<Value>)| {
        let value = cbor::value_from_slice(&multi(&[1, 2]).bytes()).unwrap();
        let mut parts = value.into_array().unwrap();
        change(&mut parts);
        match MultiSigned::<Root>::decode(&cbor::to_vec(&Value::Array(parts))).unwrap_err() {
            Profile { expected: MessageType::Root, what } => what.to_owned(),
            other => other.to_string(),
        }
    };
    let unsorted = "signatures must be sorted by kid, each key once";
    assert_eq!(refused(|p| p[3].as_array_mut().unwrap().reverse()), unsorted);
    assert_eq!(
        refused(|p| {
            let signatures = p[3].as_array_mut().unwrap();
            signatures.insert(1, signatures[0].clone());
        }),
        unsorted
    );
    assert_eq!(
        refused(|p| p[1] = Value::Map(vec![(99.into(), Value::Null)])),
        "unexpected header parameters"
    );
    assert_eq!(
        refused(|p| {
            let entry = p[3].as_array_mut().unwrap()[0].as_array_mut().unwrap();
            entry[1] = Value::Map(vec![(99.into(), Value::Null)]);
        }),
        "the unprotected header must be empty"
    );
    assert_eq!(refused(|p| p[2] = Value::Null), "detached payload");
    assert_eq!(
        refused(|p| p[0] = header(vec![(16.into(), "mebuku/trust-list;v=1".into())])),
        "expected a root, version 1, got `mebuku/trust-list;v=1`"
    );
    assert_eq!(refused(|p| p[0] = header(vec![])), "no typ header");
    assert_eq!(
        refused(
            |p| p[0] = header(vec![(1.into(), (-7).into()), (16.into(), "mebuku/root;v=1".into())])
        ),
        "unexpected header parameters"
    );
    // One signer's envelope is none of several, and the other way round.
    assert!(MultiSigned::<Root>::decode(signed().bytes()).is_err());
    assert!(decode(&multi(&[1, 2]).bytes()).is_err());
}

#[test]
fn debug_shows_no_content() {
    assert_eq!(format!("{:?}", signed()), format!("Signed<receipt>({})", signed().id()));
    assert_eq!(format!("{:?}", multi(&[1, 2])), "MultiSigned<root>(2 signatures)");
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(MultiSigned::<Root>::decode(&bytes).is_err());
    }

    /// Past the outer structure: hostile headers, payloads and signatures never panic.
    #[test]
    fn any_parts_are_refused(
        protected in proptest::collection::vec(any::<u8>(), 0..80),
        payload in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let replaced = |at: usize, with: &[u8]| changed(|p| p[at] = Value::Bytes(with.to_vec()));
        prop_assert!(decode(&replaced(0, &protected)).is_err());
        prop_assert!(verify(&replaced(2, &payload)).is_err());
    }

    #[test]
    fn any_receipt_roundtrips(request in any::<[u8; 32]>(), presentation in any::<[u8; 32]>(), time: u64, seed in 1u8..255) {
        let message = Receipt {
            request: Hash(request),
            presentation: Hash(presentation),
            time: Timestamp(time),
        };
        let signed = Signed::new(message.clone(), &NETWORK, &key(seed)).unwrap();
        let verified = decode(signed.bytes()).unwrap().verify(&key(seed).public_key()).unwrap();
        prop_assert_eq!(verified.into_message(), message);
    }
}
