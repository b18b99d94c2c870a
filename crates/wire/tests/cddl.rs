//! The CDDL in `specs/cddl` says exactly what the encoder writes: every example of every message
//! matches its rule, and no mutated one does.

mod examples;

use std::{collections::BTreeSet, path::Path};

use cddl_cat::{cbor::validate_cbor, context::BasicContext, flatten::flatten_from_str};
use ciborium::Value;
use wire::{MessageType, cbor};

const FILES: [&str; 8] =
    ["common", "envelope", "consent", "channel", "exchange", "membership", "citizen", "witness"];

fn rules() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/cddl");
    let mut on_disk: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    on_disk.sort();
    let mut expected = FILES.map(|name| format!("{name}.cddl"));
    expected.sort();
    assert_eq!(on_disk, expected);
    FILES.map(|name| std::fs::read_to_string(folder.join(format!("{name}.cddl"))).unwrap()).concat()
}

/// The rules, ready to check with. The validator looks for a regular expression anywhere in the
/// text, CDDL means the whole of it.
fn context(rules: &str) -> BasicContext {
    let anchored: String = rules
        .split_inclusive('\n')
        .map(|line| match line.split_once(".regexp \"") {
            Some((before, rest)) => {
                let (expression, after) = rest.rsplit_once('"').unwrap();
                format!("{before}.regexp \"^(?:{expression})$\"{after}")
            }
            None => line.to_owned(),
        })
        .collect();
    BasicContext::new(flatten_from_str(&anchored).unwrap())
}

fn check(context: &BasicContext, rule: &str, value: &Value) -> Result<(), String> {
    let definition = context.rules.get(rule).ok_or_else(|| format!("no rule {rule}"))?;
    validate_cbor(definition, value, context).map_err(|error| error.to_string())
}

fn read(bytes: &[u8]) -> Value {
    cbor::value_from_slice(bytes).unwrap()
}

#[test]
fn every_example_matches_its_rule() {
    let context = context(&rules());
    let examples = examples::all();
    for example in &examples {
        check(&context, example.rule, &read(&example.bytes))
            .unwrap_or_else(|error| panic!("{}: {error}", example.name));
        assert_eq!(example.id.is_some(), example.rule.starts_with("signed-"), "{}", example.name);
    }
    println!("{} examples match", examples.len());
    for message in MessageType::ALL {
        let rule = format!("signed-{message}");
        let count = examples.iter().filter(|example| example.rule == rule).count();
        assert!(count >= 2, "{rule}: one full and one minimal example are the least");
    }
}

#[test]
fn every_rule_is_reached_by_an_example() {
    let text = rules();
    let mut names: Vec<&str> = Vec::new();
    let mut bodies: Vec<BTreeSet<String>> = Vec::new();
    for line in text.lines() {
        let code = line.split(';').next().unwrap_or_default();
        if !code.starts_with([' ', ']', '}']) && code.contains('=') && !code.contains("=>") {
            names.push(code.split(['=', '<']).next().unwrap().trim());
            bodies.push(BTreeSet::new());
        }
        let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        if let Some(body) = bodies.last_mut() {
            body.extend(words.map(str::to_owned));
        }
    }
    // Hashed and signed over, never sent: nothing reads it back.
    let mut reached = BTreeSet::from(["external-aad".to_owned()]);
    reached.extend(examples::all().iter().map(|example| example.rule.to_owned()));
    loop {
        let before = reached.len();
        for (name, body) in names.iter().zip(&bodies) {
            if reached.contains(*name) {
                reached.extend(body.iter().filter(|w| names.contains(&w.as_str())).cloned());
            }
        }
        if reached.len() == before {
            break;
        }
    }
    let orphans: Vec<_> = names.iter().filter(|name| !reached.contains(**name)).collect();
    assert!(orphans.is_empty(), "no example reaches {orphans:?}");
    assert!(names.len() > 80, "{} rules read", names.len());
}

/// Every value that differs from `value` in one place: a key more, a key less, a value of another
/// type. What stands inside byte strings is left alone (their own examples cover it).
fn mutants(value: &Value) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    let other_type = match value {
        Value::Text(_) => Value::from(1),
        // An absent value may be a text instead, never a truth value.
        Value::Null => Value::from(true),
        _ => Value::from("\u{1}"),
    };
    all.push(("wrong type", other_type));
    match value {
        Value::Map(entries) => {
            let mut more = entries.clone();
            more.push(("zz".into(), Value::Null));
            all.push(("extra key", Value::Map(more)));
            for (place, (key, item)) in entries.iter().enumerate() {
                let mut less = entries.clone();
                less.remove(place);
                all.push(("missing key", Value::Map(less)));
                for (what, mutant) in mutants(item) {
                    let mut changed = entries.clone();
                    changed[place] = (key.clone(), mutant);
                    all.push((what, Value::Map(changed)));
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                for (what, mutant) in mutants(item) {
                    let mut changed = items.clone();
                    changed[place] = mutant;
                    all.push((what, Value::Array(changed)));
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn no_mutated_example_matches() {
    let context = context(&rules());
    let mut tried = 0;
    for example in examples::all() {
        for (what, mutant) in mutants(&read(&example.bytes)) {
            tried += 1;
            let name = &example.name;
            assert!(
                check(&context, example.rule, &mutant).is_err(),
                "{name}, {what}: the CDDL takes {mutant:?}"
            );
            // Serde reads a missing field as `None`; envelopes refuse that, bare frames may not.
            if what != "missing key" {
                assert!(
                    !(example.reads)(&cbor::to_vec(&mutant)),
                    "{name}, {what}: the reader takes {mutant:?}"
                );
            }
        }
    }
    println!("{tried} mutants refused");
    assert!(tried > 1000);
}

/// Values that differ by content, not by type.
#[test]
fn no_wrong_content_matches() {
    let context = context(&rules());
    let refused = |rule: &str, value: Value| {
        assert!(check(&context, rule, &value).is_err(), "{rule} takes {value:?}");
    };
    for length in [0, 31, 33] {
        refused("hash", Value::Bytes(vec![0; length]));
        refused("service-id", Value::Bytes(vec![0; length]));
    }
    refused("nonce", Value::Bytes(vec![0; 17]));
    refused("public-key", Value::Bytes(vec![4; 64]));
    refused("u16", 65536.into());
    refused("u32", (1u64 << 32).into());
    refused("u64", (-1).into());
    for text in ["", "x7000012050002", "70000120500021", "700001205000", "7000012050002 "] {
        refused("organisation-id", text.into());
    }
    for text in ["7000012050002/", "7000012050002/App", "7000012050002/a/b"] {
        refused("service-name", text.into());
    }
    for text in ["", "a..b", ".a", "a.", "A", "a b", "a.b.c.d.e.f.g.h.i"] {
        refused("item-type", text.into());
    }
    refused("recipient", "some".into());
    refused("rejection", "not-permitted".into());
    refused("in-force", Value::Map(vec![("accepted".into(), Value::Null)]));
    // The envelope of one type is not that of another, nor one version that of the next.
    let examples = examples::all();
    for one in examples.iter().filter(|example| example.rule.starts_with("signed-")) {
        for other in MessageType::ALL {
            let rule = format!("signed-{other}");
            assert_eq!(check(&context, &rule, &read(&one.bytes)).is_ok(), rule == one.rule);
        }
    }
}

#[test]
fn the_external_aad_is_as_described() {
    let aad = |code: Value| {
        Value::Array(vec!["mebuku".into(), code, 1.into(), Value::Bytes(vec![0; 32])])
    };
    let context = context(&rules());
    for message in MessageType::ALL {
        check(&context, "external-aad", &aad(message.code().into())).unwrap();
    }
    assert!(check(&context, "external-aad", &aad(65536.into())).is_err());
}
