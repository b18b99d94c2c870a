use std::{collections::BTreeMap, path::Path};

use ciborium::Value;
use proptest::prelude::*;

use super::{
    CborError::{
        DuplicateKey, Forbidden, Malformed, NotDeterministic, Shape, TooLarge, TrailingBytes,
    },
    *,
};
use crate::ids::{Hash, Pair, Timestamp};

fn bytes(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).unwrap()
}

fn refusal(hexadecimal: &str) -> CborError {
    value_from_slice(&bytes(hexadecimal)).expect_err(hexadecimal)
}

enum Expect {
    Accepted,
    /// What the vector shows that the profile does not have, and the error it must give.
    Refused(&'static str, fn(&CborError) -> bool),
}

/// Every example of RFC 8949 appendix A, and what this profile makes of it.
const APPENDIX_A: &[(Expect, &[&str])] = &[
    (
        Expect::Accepted,
        &[
            "00",
            "01",
            "0a",
            "17",
            "1818",
            "1819",
            "1864",
            "1903e8",
            "1a000f4240",
            "1b000000e8d4a51000",
            "1bffffffffffffffff",
            "3bffffffffffffffff",
            "20",
            "29",
            "3863",
            "3903e7",
            "f4",
            "f5",
            "f6",
            "40",
            "4401020304",
            "60",
            "6161",
            "6449455446",
            "62225c",
            "62c3bc",
            "63e6b0b4",
            "64f0908591",
            "80",
            "83010203",
            "8301820203820405",
            "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
            "a0",
            "a201020304",
            "a26161016162820203",
            "826161a161626163",
            "a56161614161626142616361436164614461656145",
        ],
    ),
    (
        Expect::Refused("indefinite length", |e| *e == NotDeterministic),
        &[
            "5f42010243030405ff",
            "7f657374726561646d696e67ff",
            "9fff",
            "9f018202039f0405ffff",
            "9f01820203820405ff",
            "83018202039f0405ff",
            "83019f0203ff820405",
            "9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
            "bf61610161629f0203ffff",
            "826161bf61626163ff",
            "bf6346756ef563416d7421ff",
        ],
    ),
    (
        Expect::Refused("float", |e| *e == Forbidden("floats")),
        &[
            "f90000",
            "f98000",
            "f93c00",
            "fb3ff199999999999a",
            "f93e00",
            "f97bff",
            "fa47c35000",
            "fa7f7fffff",
            "fb7e37e43c8800759c",
            "f90001",
            "f90400",
            "f9c400",
            "fbc010666666666666",
            "f97c00",
            "f97e00",
            "f9fc00",
            "fa7f800000",
            "fa7fc00000",
            "faff800000",
            "fb7ff0000000000000",
            "fb7ff8000000000000",
            "fbfff0000000000000",
        ],
    ),
    (
        Expect::Refused("tag", |e| *e == Forbidden("tags")),
        &[
            "c249010000000000000000",
            "c349010000000000000000",
            "c074323031332d30332d32315432303a30343a30305a",
            "c11a514b67b0",
            "d74401020304",
            "d818456449455446",
            "d82076687474703a2f2f7777772e6578616d706c652e636f6d",
        ],
    ),
    (Expect::Refused("float under a tag", |e| *e == Forbidden("tags")), &["c1fb41d452d9ec200000"]),
    (Expect::Refused("undefined", |e| *e == NotDeterministic), &["f7"]),
    (Expect::Refused("unassigned simple value", |e| *e == Malformed), &["f0", "f818", "f8ff"]),
];

#[test]
fn appendix_a() {
    let mut open: BTreeMap<&str, &Expect> = BTreeMap::new();
    let mut accepted = 0;
    for (expect, vectors) in APPENDIX_A {
        for vector in *vectors {
            assert!(open.insert(vector, expect).is_none(), "{vector} stands twice");
            match (value_from_slice(&bytes(vector)), expect) {
                (Ok(value), Expect::Accepted) => {
                    assert_eq!(to_vec(&value), bytes(vector));
                    accepted += 1;
                }
                (Err(error), Expect::Refused(what, fits)) if fits(&error) => {
                    println!("{vector}: refused, {what}: {error}");
                }
                (result, _) => panic!("{vector}: {result:?}"),
            }
        }
    }
    assert_eq!((accepted, open.len()), (37, 82));

    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/cbor/appendix_a.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("appendix A: ../shared/vectors/cbor is not here; used the built-in table");
        return;
    };
    println!("appendix A: compared with ../shared/vectors/cbor/appendix_a.json");
    let file: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for vector in &file {
        let hexadecimal = vector["hex"].as_str().unwrap();
        let expect = open.remove(hexadecimal).unwrap_or_else(|| panic!("{hexadecimal} is new"));
        if let (Expect::Accepted, Some(decoded)) = (expect, vector.get("decoded")) {
            let value = value_from_slice(&bytes(hexadecimal)).unwrap();
            assert_eq!(as_json(&value), *decoded, "{hexadecimal}");
        }
    }
    assert!(open.is_empty(), "not in the file: {:?}", open.keys());
}

fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(n) => serde_json::from_str(&i128::from(*n).to_string()).unwrap(),
        Value::Text(text) => text.as_str().into(),
        Value::Bool(b) => (*b).into(),
        Value::Null => serde_json::Value::Null,
        Value::Array(items) => items.iter().map(as_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, item)| (key.as_text().unwrap().to_owned(), as_json(item)))
            .collect(),
        other => panic!("no JSON for {other:?}"),
    }
}

#[test]
fn only_the_shortest_form() {
    // A well-formed item beside its shortest form: the first must go, the second pass.
    for (longer, shortest) in [
        ("1817", "17"),
        ("1900ff", "18ff"),
        ("1a0000ffff", "19ffff"),
        ("1b00000000ffffffff", "1affffffff"),
        ("3817", "37"),
        ("3900ff", "38ff"),
        ("3b00000000ffffffff", "3affffffff"),
        ("580161", "4161"),
        ("59000161", "4161"),
        ("780161", "6161"),
        ("7a0000000161", "6161"),
        ("9800", "80"),
        ("98018100", "818100"),
        ("9b0000000000000000", "80"),
        ("b800", "a0"),
        ("b9000161610a", "a161610a"),
        ("5f4161ff", "4161"),
        ("7f6161ff", "6161"),
        ("9fff", "80"),
        ("bf61610aff", "a161610a"),
        ("818117", "818117"),
        ("81811817", "818117"),
    ] {
        assert!(value_from_slice(&bytes(shortest)).is_ok(), "{shortest}");
        if longer != shortest {
            assert_eq!(refusal(longer), NotDeterministic, "{longer}");
        }
    }
}

#[test]
fn map_keys_sorted_and_once() {
    // The order of RFC 8949 section 4.2.1: 10, 100, -1, "z", "aa", [100], [-1], false.
    let sorted = "a80a0018640020006170006261610081186400812000f400".replacen("617000", "617a00", 1);
    assert!(value_from_slice(&bytes(&sorted)).is_ok());
    let entries = ["0a00", "186400", "2000", "617a00", "62616100", "81186400", "812000", "f400"];
    for swap in 1..entries.len() {
        let mut other = entries;
        other.swap(swap - 1, swap);
        assert_eq!(refusal(&format!("a8{}", other.concat())), NotDeterministic, "swap {swap}");
    }
    assert_eq!(refusal("a2616100616101"), DuplicateKey);
    assert_eq!(refusal("a2616100616100"), DuplicateKey);
    assert_eq!(refusal("a3616100616200616102"), DuplicateKey);
    // Twins by value, one of them not in its shortest form.
    assert_eq!(refusal("a20a00180a01"), DuplicateKey);
    // The sort goes by encoding, not by length first (RFC 7049 had it so): 256 before -1.
    assert!(value_from_slice(&bytes("a21901000120 02".replace(' ', "").as_str())).is_ok());
    assert_eq!(refusal("a22002 19010001".replace(' ', "").as_str()), NotDeterministic);
}

#[test]
fn forbidden_kinds() {
    for float in
        ["f90000", "f93c00", "fa47c35000", "fb3ff199999999999a", "f97e00", "fb7ff0000000000000"]
    {
        assert_eq!(refusal(float), Forbidden("floats"), "{float}");
        assert_eq!(refusal(&format!("81{float}")), Forbidden("floats"));
        assert_eq!(refusal(&format!("a1{float}00")), Forbidden("floats"));
    }
    for tagged in ["c000", "d28443a10126a04000", "d9d9f700", "d81845646868686868"] {
        let error = refusal(tagged);
        assert!(
            matches!(error, Forbidden("tags") | TrailingBytes(_) | Malformed),
            "{tagged}: {error}"
        );
    }
    assert_eq!(refusal("d9d9f700"), Forbidden("tags"));
    assert_eq!(refusal("81c100"), Forbidden("tags"));
    // A bignum that an integer could hold is no second spelling of it.
    assert_eq!(refusal("c24101"), NotDeterministic);
    for simple in ["e0", "f0", "f3", "f7", "f820", "f8ff", "f818"] {
        assert!(matches!(refusal(simple), NotDeterministic | Malformed), "{simple}");
    }
    for reserved in ["1c", "1d", "1e", "1f", "5c", "7d", "9e", "bc", "ff", "fc", "dfff"] {
        assert_eq!(refusal(reserved), Malformed, "{reserved}");
    }
    assert_eq!(refusal("61ff"), Malformed, "text that is not UTF-8");
}

#[test]
fn trailing_and_missing_bytes() {
    assert_eq!(refusal(""), Malformed);
    assert_eq!(refusal("0000"), TrailingBytes(1));
    assert_eq!(refusal("80808080"), TrailingBytes(3));
    let whole = to_vec(&(1u64 << 40, "text", Bytes(vec![7; 300]), [Some(Hash([1; 32])), None]));
    for length in 0..whole.len() {
        assert_eq!(value_from_slice(&whole[..length]), Err(Malformed), "{length} bytes");
    }
}

#[test]
fn depth_has_an_end() {
    let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    assert!(value_from_slice(&nested(CBOR_DEPTH - 1)).is_ok());
    let maps = |depth: usize| [[0xa1, 0x00].repeat(depth), vec![0x00]].concat();
    assert!(value_from_slice(&maps(CBOR_DEPTH - 1)).is_ok());
    let keys = |depth: usize| [vec![0xa1; depth], vec![0x00; depth + 1]].concat();
    assert!(value_from_slice(&keys(CBOR_DEPTH - 1)).is_ok());
    for depth in [CBOR_DEPTH, CBOR_DEPTH + 1, 1000, 1_000_000] {
        assert_eq!(value_from_slice(&nested(depth)), Err(Malformed), "{depth}");
        assert_eq!(value_from_slice(&maps(depth)), Err(Malformed), "{depth}");
        assert_eq!(value_from_slice(&keys(depth)), Err(Malformed), "{depth}");
        assert_eq!(value_from_slice(&vec![0x9f; depth]), Err(Malformed), "{depth}");
        let tags = [vec![0xc0; depth], vec![0x00]].concat();
        assert!(value_from_slice(&tags).is_err(), "{depth}");
    }
}

/// Peak of the process's address space in KiB, where the system tells it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn claimed_lengths_are_not_believed() {
    let before = peak_kib();
    for major in [0x40u8, 0x60, 0x80, 0xa0] {
        for claim in [1u64 << 28, 1 << 32, 1 << 36, 1 << 45, 1 << 62, u64::MAX] {
            for content in [0usize, 1, 10_000] {
                let mut hostile = vec![major | 27];
                hostile.extend(claim.to_be_bytes());
                hostile.extend(vec![0; content]);
                assert_eq!(value_from_slice(&hostile), Err(Malformed), "{major:x} {claim:x}");
                let inside = [vec![0x82, 0x00], hostile].concat();
                assert_eq!(value_from_slice(&inside), Err(Malformed));
            }
        }
    }
    // The smallest claim alone would be 256 MiB; other tests of this process need far less.
    match (before, peak_kib()) {
        (Some(before), Some(after)) => assert!(after - before < 192 * 1024, "{before} {after}"),
        _ => println!("address space not measured on this system"),
    }
}

#[test]
fn size_is_refused_before_content() {
    let garbage = vec![0xff; 101];
    assert_eq!(
        from_slice_limited::<u64>(&garbage, "test", 100),
        Err(TooLarge { what: "test", size: 101, limit: 100 })
    );
    assert_eq!(from_slice_limited::<u64>(&garbage[..100], "test", 100), Err(Malformed));
    assert_eq!(from_slice_limited::<u64>(&[7], "test", 1), Ok(7));
}

#[test]
fn shapes_are_strict() {
    let pair = Pair {
        source: "7000012050002/app".parse().unwrap(),
        subject: [9; 32].as_slice().try_into().unwrap(),
    };
    let encoded = to_vec(&pair);
    assert_eq!(from_slice::<Pair>(&encoded), Ok(pair.clone()));
    let map = |entries: &[(&str, Value)]| {
        let entries = entries.iter().map(|(k, v)| (Value::from(*k), v.clone())).collect();
        from_slice::<Pair>(&to_vec(&Value::Map(entries)))
    };
    let subject = Value::Bytes(vec![9; 32]);
    let source = Value::from("7000012050002/app");
    assert_eq!(map(&[("subject", subject.clone()), ("source", source.clone())]), Ok(pair));
    let shape = |result: Result<Pair, CborError>| match result {
        Err(Shape(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(shape(map(&[("source", source.clone())])).contains("subject"));
    shape(map(&[("source", source.clone()), ("subject", subject.clone()), ("x", Value::Null)]));
    shape(map(&[("source", source.clone()), ("subject", Value::Bytes(vec![9; 31]))]));
    shape(map(&[("source", source.clone()), ("subject", Value::from("09".repeat(32)))]));
    let array = Value::Array(vec![9.into(); 32]);
    shape(map(&[("source", source.clone()), ("subject", array)]));
    // Neither an array of the fields nor numbered fields are a second spelling of a struct.
    shape(from_slice(&to_vec(&Value::Array(vec![source.clone(), subject.clone()]))));
    shape(from_slice(&to_vec(&Value::Map(vec![(0.into(), source), (1.into(), subject)]))));
    assert!(from_slice::<u32>(&to_vec(&u64::MAX)).is_err());
    assert!(from_slice::<Timestamp>(&to_vec(&-1)).is_err());
}

#[test]
fn errors_quote_no_content() {
    let secret = "yamada-hanako-1984";
    for hostile in [
        to_vec(&Value::Map(vec![(secret.into(), Value::from(secret))])),
        to_vec(&Value::Map(vec![
            ("source".into(), secret.into()),
            ("subject".into(), secret.into()),
        ])),
        to_vec(secret),
        to_vec(&[secret; 3]),
        to_vec(&Value::Bytes(secret.into())),
    ] {
        let errors = [
            from_slice::<Pair>(&hostile).unwrap_err().to_string(),
            from_slice::<crate::consent::Scope>(&hostile).unwrap_err().to_string(),
            from_slice::<crate::consent::Recipient>(&hostile).unwrap_err().to_string(),
            from_slice::<crate::consent::Uses>(&hostile).unwrap_err().to_string(),
            from_slice::<u8>(&hostile).unwrap_err().to_string(),
        ];
        for error in errors {
            assert!(!error.contains("yamada"), "{error}");
        }
    }
}

#[test]
#[should_panic(expected = "no floats, tags or twin keys")]
fn the_encoder_writes_no_floats() {
    to_vec(&1.5f32);
}

#[test]
fn bytes_in_json_are_hexadecimal() {
    let content = Bytes(vec![0, 1, 0xfe]);
    assert_eq!(serde_json::to_string(&content).unwrap(), "\"0001fe\"");
    assert_eq!(serde_json::from_str::<Bytes>("\"0001fe\"").unwrap(), content);
    assert!(serde_json::from_str::<Bytes>("\"0001f\"").is_err());
    assert!(serde_json::from_str::<Bytes>("[0,1]").is_err());
    assert_eq!(to_vec(&content), bytes("430001fe"));
    assert_eq!(format!("{content:?}"), "Bytes(3)");
}

/// Any value of the profile, maps already without twin keys.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(|n| Value::Integer((-1 - i128::from(n)).try_into().unwrap())),
        (0u64..300).prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        ".{0,40}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            proptest::collection::vec((inner.clone(), inner), 0..8).prop_map(|entries| {
                let once: BTreeMap<Vec<u8>, (Value, Value)> =
                    entries.into_iter().map(|entry| (to_vec(&entry.0), entry)).collect();
                // Not in sorted order: that is the encoder's work.
                Value::Map(once.into_values().rev().collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in any_value()) {
        let encoded = to_vec(&value);
        let read = value_from_slice(&encoded).unwrap();
        prop_assert_eq!(to_vec(&read), encoded.clone());
        let mut sorted = value;
        canonicalise(&mut sorted, CBOR_DEPTH).unwrap();
        prop_assert_eq!(read, sorted);
        let mut longer = encoded;
        longer.push(0);
        prop_assert_eq!(value_from_slice(&longer), Err(TrailingBytes(1)));
    }

    #[test]
    fn a_flipped_bit_is_another_value_or_none(value in any_value(), place in any::<prop::sample::Index>()) {
        let encoded = to_vec(&value);
        let bit = place.index(encoded.len() * 8);
        let mut flipped = encoded.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = value_from_slice(&flipped) {
            prop_assert_eq!(to_vec(&other), flipped);
            prop_assert_ne!(other, value_from_slice(&encoded).unwrap());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = value_from_slice(&input) {
            prop_assert_eq!(to_vec(&value), input);
        }
    }

    /// Random bytes seldom get past the first head; these are built from heads alone.
    #[test]
    fn any_heads_are_refused_or_canonical(
        heads in proptest::collection::vec((0u8..8, 0u8..32, 0u8..4), 0..40)
    ) {
        let mut input = Vec::new();
        for (major, info, argument) in heads {
            input.push(major << 5 | info);
            let length = match info { 24 => 1, 25 => 2, 26 => 4, 27 => 8, _ => 0 };
            input.extend(std::iter::repeat_n(0, length));
            if length > 0 {
                *input.last_mut().unwrap() = argument;
            }
        }
        if let Ok(value) = value_from_slice(&input) {
            prop_assert_eq!(to_vec(&value), input);
        }
    }
}
