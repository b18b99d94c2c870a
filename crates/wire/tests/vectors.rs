//! Golden vectors in `specs/vectors`: other implementations check themselves with them, and this
//! test that no byte changes unnoticed. `MEBUKU_BLESS=1` writes them anew.

mod examples;

use std::{collections::BTreeMap, fs, path::Path};

use ciborium::Value;
use examples::{Example, NETWORK, key};
use serde_json::json;
use wire::{
    Hash, MultiSigned, NetworkId, Signed, Signer, Timestamp, cbor, channel::HeadStatement,
    consent::Decision, exchange::Receipt, membership::Root,
};

#[test]
fn valid() {
    let examples = examples::all();
    let mut files = BTreeMap::new();
    let mut index = Vec::new();
    for Example { name, rule, bytes, reads, id } in &examples {
        assert!(reads(bytes), "{name}");
        let file = format!("{name}.hex");
        // Keys in the order of the alphabet: how serde_json orders them depends on what else is
        // built with it.
        let mut entry = json!({ "file": file });
        if let Some(id) = id {
            entry[if is_multi(rule) { "payload_hash" } else { "id" }] = json!(id);
        }
        entry["rule"] = json!(rule);
        index.push(entry);
        let twin = files.insert(file, format!("{}\n", hex::encode(bytes)));
        assert!(twin.is_none(), "{name} stands twice");
    }
    let keys: BTreeMap<String, String> = (1..=9u8)
        .map(|seed| (hex::encode([seed; 32]), hex::encode(key(seed).public_key().sec1())))
        .collect();
    let header = json!({
        "about": "hexadecimal; `rule` names the CDDL rule; `keys` are private and public keys; objects of one signer are signed by the key 01…01 over `network`, those of several by the keys that their kids name",
        "keys": keys,
        "network": NETWORK,
        "vectors": index,
    });
    files.insert("index.json".to_owned(), format!("{header:#}\n"));
    compare("valid", &files);
    println!("{} valid vectors", examples.len());
}

fn is_multi(rule: &str) -> bool {
    ["signed-root", "signed-trust-list", "signed-timestamp"].contains(&rule)
}

/// A vector that must be refused: by which reader, and with which words.
struct Refused {
    name: &'static str,
    reader: Reader,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Reader {
    /// Deterministic CBOR.
    Cbor,
    /// The envelope of a decision, then its signature by key 01…01.
    Decision,
    /// The envelope of a root, then two signatures of the keys 01…01, 02…02 and 03…03.
    Root,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Cbor => "cbor",
            Self::Decision => "signed-decision",
            Self::Root => "signed-root",
        }
    }

    fn refusal(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Cbor => cbor::value_from_slice(bytes).err().map(|error| error.to_string()),
            Self::Decision => Signed::<Decision>::decode(bytes, &NETWORK)
                .and_then(|signed| signed.verify(&key(1).public_key()))
                .err()
                .map(|error| error.to_string()),
            Self::Root => {
                let keys = [1, 2, 3].map(|seed| key(seed).public_key());
                MultiSigned::<Root>::decode(bytes)
                    .and_then(|root| root.verify(&NETWORK, &keys, 2).cloned())
                    .err()
                    .map(|error| error.to_string())
            }
        }
    }
}

#[test]
fn invalid() {
    let vectors: Vec<Refused> =
        [encodings(), envelopes(), thresholds()].into_iter().flatten().collect();
    let mut files = BTreeMap::new();
    let mut index = Vec::new();
    for Refused { name, reader, bytes } in &vectors {
        let reason = reader.refusal(bytes).unwrap_or_else(|| panic!("{name} is accepted"));
        let file = format!("{name}.hex");
        index.push(json!({ "file": file, "reader": reader.name(), "reason": reason }));
        let twin = files.insert(file, format!("{}\n", hex::encode(bytes)));
        assert!(twin.is_none(), "{name} stands twice");
    }
    let header = json!({
        "about": "each must be refused; `reason` is this implementation's wording, another's may differ",
        "network": NETWORK,
        "vectors": index,
    });
    files.insert("index.json".to_owned(), format!("{header:#}\n"));
    compare("invalid", &files);
    println!("{} invalid vectors", vectors.len());
}

fn encodings() -> Vec<Refused> {
    [
        ("cbor-empty", ""),
        ("cbor-longer-integer", "1817"),
        ("cbor-longer-length", "580161"),
        ("cbor-indefinite-bytes", "5f4161ff"),
        ("cbor-indefinite-array", "9f01ff"),
        ("cbor-indefinite-map", "bf616101ff"),
        ("cbor-unsorted-keys", "a2616201616101"),
        ("cbor-length-first-order", "a2200119010001"),
        ("cbor-twin-keys", "a2616101616102"),
        ("cbor-float", "f93c00"),
        ("cbor-not-a-number", "81f97e00"),
        ("cbor-tag", "c100"),
        ("cbor-bignum", "c24101"),
        ("cbor-undefined", "f7"),
        ("cbor-simple-value", "f0"),
        ("cbor-not-utf-8", "61ff"),
        ("cbor-trailing-byte", "0100"),
        ("cbor-cut-short", "8201"),
        ("cbor-claims-too-much", "5b7fffffffffffffff00"),
        ("cbor-too-deep", "818181818181818181818181818181818100"),
    ]
    .into_iter()
    .map(|(name, bytes)| Refused { name, reader: Reader::Cbor, bytes: hex::decode(bytes).unwrap() })
    .collect()
}

fn example(name: &str) -> Vec<u8> {
    examples::all().into_iter().find(|example| example.name == name).expect(name).bytes
}

fn parts(bytes: &[u8]) -> Vec<Value> {
    cbor::value_from_slice(bytes).unwrap().into_array().unwrap()
}

fn changed(bytes: &[u8], change: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
    let mut parts = parts(bytes);
    change(&mut parts);
    cbor::to_vec(&Value::Array(parts))
}

/// With a map inside a byte string changed: the header or the payload.
fn with_map(bytes: &[u8], at: usize, change: fn(&mut Vec<(Value, Value)>)) -> Vec<u8> {
    changed(bytes, |parts| {
        let map = cbor::value_from_slice(parts[at].as_bytes().unwrap()).unwrap();
        let mut entries = map.into_map().unwrap();
        change(&mut entries);
        parts[at] = Value::Bytes(cbor::to_vec(&Value::Map(entries)));
    })
}

fn envelopes() -> Vec<Refused> {
    let deny = example("signed-decision-deny");
    let permit = example("signed-decision-permit-minimal");
    let message = Signed::<Decision>::decode(&deny, &NETWORK).unwrap().unverified().clone();
    let elsewhere = Signed::new(message.clone(), &NetworkId([0; 32]), &key(1)).unwrap();
    let by_another = Signed::new(message, &NETWORK, &key(2)).unwrap();
    let receipt =
        Receipt { request: Hash([1; 32]), presentation: Hash([2; 32]), time: Timestamp(0) };
    let another_type = Signed::new(receipt, &NETWORK, &key(1)).unwrap();
    let statement = example("signed-head-statement-full");
    assert!(Signed::<HeadStatement>::decode(&statement, &NETWORK).is_ok());
    let (header, payload) = (parts(&deny)[0].clone(), parts(&deny)[2].clone());
    let indefinite = |value: &Value| {
        let mut bytes = value.as_bytes().unwrap().clone();
        // Both are maps of fewer than 24 entries.
        bytes[0] = 0xbf;
        bytes.push(0xff);
        Value::Bytes(bytes)
    };
    [
        ("envelope-other-network", elsewhere.bytes().to_vec()),
        ("envelope-other-key", by_another.bytes().to_vec()),
        ("envelope-other-type", another_type.bytes().to_vec()),
        ("envelope-other-type-relabelled", changed(&statement, |p| p[0] = header.clone())),
        (
            "envelope-next-version",
            with_map(&deny, 0, |header| header[2].1 = "mebuku/decision;v=2".into()),
        ),
        (
            "envelope-altered-payload",
            with_map(&deny, 2, |entries| {
                let time = entries.iter_mut().find(|(key, _)| *key == Value::from("time")).unwrap();
                time.1 = 0.into();
            }),
        ),
        ("envelope-altered-signature", changed(&deny, |p| p[3].as_bytes_mut().unwrap()[0] ^= 1)),
        ("envelope-short-signature", changed(&deny, |p| p[3].as_bytes_mut().unwrap().truncate(63))),
        ("envelope-zero-signature", changed(&deny, |p| p[3] = Value::Bytes(vec![0; 64]))),
        ("envelope-tagged", [&[0xd2], &deny[..]].concat()),
        ("envelope-detached", changed(&deny, |p| p[2] = Value::Null)),
        ("envelope-three-parts", changed(&deny, |p| drop(p.pop()))),
        (
            "envelope-unprotected-header",
            changed(&deny, |p| p[1] = Value::Map(vec![(4.into(), Value::Bytes(vec![1]))])),
        ),
        ("envelope-header-indefinite", changed(&deny, |p| p[0] = indefinite(&header))),
        (
            "envelope-header-more",
            with_map(&deny, 0, |header| header.push((5.into(), Value::Bytes(vec![0; 12])))),
        ),
        ("envelope-header-other-algorithm", with_map(&deny, 0, |header| header[0].1 = (-8).into())),
        ("envelope-header-without-kid", with_map(&deny, 0, |header| drop(header.remove(1)))),
        ("envelope-header-without-typ", with_map(&deny, 0, |header| drop(header.pop()))),
        ("envelope-payload-indefinite", changed(&deny, |p| p[2] = indefinite(&payload))),
        (
            "envelope-payload-more",
            with_map(&deny, 2, |entries| entries.push(("zz".into(), Value::Null))),
        ),
        (
            "envelope-payload-without-nonce",
            with_map(&deny, 2, |entries| {
                entries.retain(|(key, _)| *key != Value::from("nonce"));
            }),
        ),
        (
            "envelope-payload-without-null",
            with_map(&permit, 2, |entries| {
                let verdict =
                    entries.iter_mut().find(|(key, _)| *key == Value::from("verdict")).unwrap();
                let permit = verdict.1.as_map_mut().unwrap()[0].1.as_map_mut().unwrap();
                permit.retain(|(key, _)| *key != Value::from("request"));
            }),
        ),
    ]
    .into_iter()
    .map(|(name, bytes)| Refused { name, reader: Reader::Decision, bytes })
    .collect()
}

fn thresholds() -> Vec<Refused> {
    let full = example("signed-root-full");
    let root = MultiSigned::<Root>::decode(&full).unwrap().unverified().clone();
    let by = |seeds: &[u8]| {
        let mut envelope = MultiSigned::new(root.clone());
        for seed in seeds {
            envelope.sign(&NETWORK, &key(*seed)).unwrap();
        }
        envelope.bytes()
    };
    let two = by(&[1, 2]);
    assert_eq!(Reader::Root.refusal(&two), None);
    [
        ("threshold-nobody", by(&[])),
        ("threshold-one", by(&[1])),
        ("threshold-one-and-a-stranger", by(&[1, 4])),
        (
            "threshold-the-same-twice",
            changed(&by(&[1]), |p| {
                let signatures = p[3].as_array_mut().unwrap();
                signatures.push(signatures[0].clone());
            }),
        ),
        ("threshold-unsorted", changed(&two, |p| p[3].as_array_mut().unwrap().reverse())),
        (
            "threshold-one-of-three-broken",
            changed(&by(&[1, 2, 3]), |p| {
                let entry = p[3].as_array_mut().unwrap()[0].as_array_mut().unwrap();
                entry[2].as_bytes_mut().unwrap()[0] ^= 1;
            }),
        ),
        (
            "threshold-altered-payload",
            with_map(&two, 2, |entries| {
                let testnet =
                    entries.iter_mut().find(|(key, _)| *key == Value::from("testnet")).unwrap();
                testnet.1 = false.into();
            }),
        ),
        ("threshold-single-signer-envelope", example("signed-decision-deny")),
    ]
    .into_iter()
    .map(|(name, bytes)| Refused { name, reader: Reader::Root, bytes })
    .collect()
}

/// The folder holds exactly these files, or is made to when blessing.
fn compare(folder: &str, files: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors").join(folder);
    let on_disk = || -> BTreeMap<String, String> {
        let Ok(entries) = fs::read_dir(&folder) else { return BTreeMap::new() };
        let entries = entries.map(|entry| entry.unwrap());
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    };
    if std::env::var_os("MEBUKU_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for name in on_disk().keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
    }
    let on_disk = on_disk();
    for name in on_disk.keys() {
        assert!(files.contains_key(name), "{name} belongs to no example");
    }
    for (name, content) in files {
        let stands = on_disk.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(stands, content, "{name} changed: stored and deployed data would break");
    }
}
