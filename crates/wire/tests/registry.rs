//! `specs/02-messages.md` and `MessageType` say the same.

use std::{collections::BTreeSet, path::Path};

use wire::{
    Message, MessageType,
    asking::{ConsentAnswer, ConsentRequest},
    channel::{EntryKind, Grant, HeadStatement},
    citizen::{
        CertificateStatus, Enrolment, IdEnd, IdQuery, LinkRequest, RecordSubmission,
        ServiceKeyProof, ServiceKeyRequest, WalletQuery,
    },
    consent::{Collapse, Decision, KeyBegin, KeyEnd, Link, Move},
    exchange::{Receipt, Request},
    limits,
    membership::{Denial, Descriptor, Root, TrustList, TrustTimestamp},
    notice::{Effect, EffectQuery, NoticeBatch},
};

fn spec() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/02-messages.md");
    std::fs::read_to_string(path).unwrap()
}

/// The cells of the table under a heading, without its head.
fn table(spec: &str, heading: &str) -> Vec<Vec<String>> {
    let section = spec.split(&format!("\n## {heading}\n")).nth(1).expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    })
    .collect()
}

fn registered() -> Vec<(MessageType, u8, usize)> {
    fn of<M: Message>() -> (MessageType, u8, usize) {
        (M::TYPE, M::VERSION, M::LIMIT)
    }
    vec![
        of::<Root>(),
        of::<TrustList>(),
        of::<TrustTimestamp>(),
        of::<Descriptor>(),
        of::<Denial>(),
        of::<Decision>(),
        of::<KeyBegin>(),
        of::<KeyEnd>(),
        of::<Link>(),
        of::<Move>(),
        of::<Collapse>(),
        of::<HeadStatement>(),
        of::<Grant>(),
        of::<Effect>(),
        of::<NoticeBatch>(),
        of::<Request>(),
        of::<Receipt>(),
        of::<ConsentRequest>(),
        of::<ConsentAnswer>(),
        of::<Enrolment>(),
        of::<ServiceKeyRequest>(),
        of::<ServiceKeyProof>(),
        of::<LinkRequest>(),
        of::<WalletQuery>(),
        of::<RecordSubmission>(),
        of::<CertificateStatus>(),
        of::<EffectQuery>(),
        of::<IdQuery>(),
        of::<IdEnd>(),
    ]
}

#[test]
fn the_table_is_the_registry() {
    let registered = registered();
    let types: Vec<MessageType> = registered.iter().map(|(message, ..)| *message).collect();
    assert_eq!(types, MessageType::ALL, "every type has exactly one message");

    let rows = table(&spec(), "Signed messages");
    assert_eq!(rows.len(), registered.len());
    for (row, (message, version, limit)) in rows.iter().zip(&registered) {
        let expected = [
            message.code().to_string(),
            message.name().to_owned(),
            version.to_string(),
            limit.to_string(),
        ];
        let stands = [&row[0], &row[1], &row[3], &row[4]].map(String::clone);
        assert_eq!(stands, expected, "{row:?}");
        assert!(!row[2].is_empty() && !row[5].is_empty(), "who signs it, and where: {row:?}");
    }
}

#[test]
fn codes_and_names_are_unique_and_in_their_range() {
    let codes: BTreeSet<u16> = MessageType::ALL.iter().map(|message| message.code()).collect();
    let names: BTreeSet<&str> = MessageType::ALL.iter().map(|message| message.name()).collect();
    assert_eq!((codes.len(), names.len()), (MessageType::ALL.len(), MessageType::ALL.len()));
    assert!(MessageType::ALL.is_sorted_by_key(|message| message.code()));

    let ranges: Vec<(u32, u32, String)> = table(&spec(), "Ranges")
        .into_iter()
        .map(|row| {
            let (first, last) = row[0].split_once('–').expect("first–last");
            (first.parse().unwrap(), last.parse().unwrap(), row[1].clone())
        })
        .collect();
    let (mut next, mut kinds) = (1, Vec::new());
    for (first, last, what) in &ranges {
        assert_eq!(*first, next, "no gap and no overlap before {what}");
        assert!(first <= last);
        next = last + 1;
        kinds.push(what.as_str());
    }
    assert_eq!(next, 65536, "every code is in a range");
    let range = |message: MessageType| {
        let code = u32::from(message.code());
        let found = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&code));
        found.unwrap().2.clone()
    };
    for message in MessageType::ALL {
        let expected = match message.code() {
            1..=5 => "trust",
            16..=21 => "consent",
            32..=35 => "channel",
            48..=51 => "exchange",
            64..=71 | 78..=79 => "citizen",
            code => panic!("{message}: {code} is not in use yet: say here where it belongs"),
        };
        assert_eq!(range(message), expected, "{message}");
    }
}

#[test]
fn entry_kinds() {
    let rows = table(&spec(), "Entry kinds");
    let kinds: Vec<(u16, &str)> =
        rows.iter().map(|row| (row[0].parse().unwrap(), row[1].as_str())).collect();
    assert_eq!(
        kinds,
        [
            (EntryKind::PERMIT.0, "permit"),
            (EntryKind::DENY.0, "deny"),
            (EntryKind::KEY_BEGIN.0, "key-begin"),
            (EntryKind::KEY_END.0, "key-end"),
            (EntryKind::MOVE_BEGIN.0, "move-begin"),
            (EntryKind::MOVE_END.0, "move-end"),
            (EntryKind::COLLAPSE.0, "collapse"),
        ]
    );
}

#[test]
fn limits_fit_their_frames() {
    for (message, _, limit) in registered() {
        assert!(limit >= 1024, "{message}");
        assert!(
            limit <= limits::SIGNED_OBJECT || matches!(message.code(), 1..=3 | 69),
            "{message}"
        );
    }
    const { assert!(limits::HELLO_FRAME <= limits::FRAME) };
    const { assert!(limits::EXCHANGE_REQUEST_FRAME <= limits::FRAME) };
    const { assert!(Descriptor::LIMIT < limits::HELLO_FRAME) };
    const { assert!(RecordSubmission::LIMIT > limits::RECORD) };
}
