use std::fmt::Debug;

use wire::{
    MessageType, Nonce, Pair, ServiceId,
    channel::{ChannelId, Entry, EntryKind, Position},
    consent::Scope,
    exchange::Rejection,
};

use super::*;

const TIME: Timestamp = Timestamp(1_790_000_000_000);

fn channel() -> ChannelId {
    ChannelId {
        home: "7000012050002".parse().unwrap(),
        source: "7000012050002/lunch".parse().unwrap(),
    }
}

fn pair() -> Pair {
    Pair { source: channel().source, subject: ServiceId([5; 32]) }
}

fn entry(kind: EntryKind) -> Entry {
    let body = Bytes(vec![1, 2, 3]);
    Entry {
        seq: 4,
        kind,
        subject: ServiceId([5; 32]),
        scope: Scope::EVERYTHING,
        time: Timestamp(6),
        body,
    }
}

fn release() -> Release {
    Release {
        request: Bytes(vec![0xaa; 300]),
        request_id: Hash([1; 32]),
        request_nonce: Nonce([2; 16]),
        permits: vec![Hash([3; 32]).into()],
        items: vec!["health.allergy".parse().unwrap()],
        presentation: Hash([4; 32]),
        pair: pair(),
        recipient: "7000012050002/clinic".parse().unwrap(),
        channel: channel(),
        position: Position { length: 9, chain: Hash([6; 32]) },
        map: Hash([7; 32]),
        lease: Some(Hash([8; 32])),
    }
}

/// Through bytes and back, and as no other kind.
fn round_trip<B: RecordBody + Debug + PartialEq>(body: B, kind: RecordKind) {
    assert_eq!(body.kind(), kind);
    assert!(B::KINDS.contains(&kind));
    let record = Record::new(&body, TIME);
    let read = Record::from_bytes(&record.to_bytes()).unwrap();
    assert_eq!(read, record);
    assert_eq!((read.kind, read.time), (kind, TIME));
    assert_eq!(read.body::<B>(), Ok(body));
    for (other, _) in RecordKind::ALL.into_iter().filter(|(other, _)| *other != kind) {
        let renamed = Record { kind: other, ..read.clone() };
        assert!(renamed.body::<B>().is_err(), "{kind} read as {other}");
    }
}

#[test]
fn every_kind_has_a_body_that_reads_back() {
    let recipient = release().recipient;
    let (request_id, source) = (Hash([1; 32]), channel().source);
    round_trip(
        CertificateIssued {
            profile: "service".into(),
            certificate: Hash([1; 32]),
            issuer: Hash([2; 32]),
            serial: Bytes(vec![3; 16]),
        },
        RecordKind::CERTIFICATE_ISSUED,
    );
    round_trip(
        CertificateRevoked { certificate: Hash([1; 32]), request: Hash([2; 32]) },
        RecordKind::CERTIFICATE_REVOKED,
    );
    for (entry_kind, kind) in [
        (EntryKind::KEY_BEGIN, RecordKind::KEY_BEGUN),
        (EntryKind::KEY_END, RecordKind::KEY_ENDED),
        (EntryKind::PERMIT, RecordKind::DECISION_ACCEPTED),
        (EntryKind::DENY, RecordKind::DECISION_ACCEPTED),
    ] {
        let entry = entry(entry_kind);
        let accepted = EntryAccepted::new(&channel(), &entry);
        assert_eq!((accepted.entry, accepted.seq), (entry.hash(), 4));
        round_trip(accepted, kind);
    }
    let (applied, map) = (release().position, Hash([7; 32]));
    round_trip(EntryApplied { channel: channel(), applied, map }, RecordKind::ENTRY_APPLIED);
    round_trip(
        RecordStored {
            service: source.clone(),
            subject: ServiceId([5; 32]),
            item: "health.allergy".parse().unwrap(),
            content: Hash([9; 32]),
        },
        RecordKind::RECORD_STORED,
    );
    round_trip(
        RequestSent { request: Bytes(vec![1]), request_id, source: source.clone() },
        RecordKind::REQUEST_SENT,
    );
    round_trip(
        PresentationReceived { request_id, source: source.clone(), presentation: Hash([2; 32]) },
        RecordKind::PRESENTATION_RECEIVED,
    );
    for rejection in [None, Some(Rejection::Busy)] {
        let refusal = RefusalReceived { request_id, source: source.clone(), rejection };
        round_trip(refusal, RecordKind::REFUSAL_RECEIVED);
    }
    round_trip(release(), RecordKind::RELEASE);
    round_trip(Release { lease: None, ..release() }, RecordKind::RELEASE);
    for pair in [None, Some(pair())] {
        let refusal = Refusal {
            request_id,
            request_nonce: Nonce([2; 16]),
            pair,
            recipient: recipient.clone(),
            items: vec!["health".parse().unwrap()],
            purpose: "treatment".parse().unwrap(),
            reason: "denied".into(),
        };
        round_trip(refusal, RecordKind::REFUSAL);
    }
    round_trip(
        Refusals {
            source: source.clone(),
            recipient: recipient.clone(),
            reason: "denied".into(),
            count: 9,
            first: TIME,
            last: TIME,
            last_request: request_id,
        },
        RecordKind::REFUSALS,
    );
    let presentation = Hash([2; 32]);
    round_trip(
        ReceiptNoted { receipt: Bytes(vec![1]), request_id, presentation, recipient },
        RecordKind::RECEIPT_NOTED,
    );
    let refused =
        AttemptRefused::new(MessageType::Decision, Hash([1; 32]), "not a key of the pair");
    assert_eq!((refused.message, &refused.reason[..]), (16, "not a key of the pair"));
    round_trip(refused, RecordKind::ATTEMPT_REFUSED);
    round_trip(
        NodeStarted { version: "0.1.0".into(), descriptor: Some(Hash([1; 32])), log_size: 7 },
        RecordKind::NODE_STARTED,
    );
    let home = wire::OrganisationId::from_base("000020102016").unwrap();
    let channel = ChannelId { home, source: "9000020102016/lunch".parse().unwrap() };
    round_trip(LongestGrant { channel, longest_ms: 60_000 }, RecordKind::LONGEST_GRANT);
    let (operator, action) = ("desk-3".into(), "certificate-revoked".into());
    let object = Some(Hash([1; 32]));
    round_trip(OperatorAction { operator, action, object }, RecordKind::OPERATOR_ACTION);
    let list_hash = Hash([4; 32]);
    round_trip(
        TrustAdopted { root: 1, list: 7, timestamp: 300, list_hash },
        RecordKind::TRUST_ADOPTED,
    );
}

#[test]
fn a_long_reason_is_cut_between_letters() {
    let refused = AttemptRefused::new(MessageType::Decision, Hash([1; 32]), &"芽吹く".repeat(100));
    assert!(refused.reason.len() <= 512 && refused.reason.len() > 508);
    assert!(refused.reason.starts_with("芽吹く芽"));
}

/// Stored for ever: this encoding and this commitment never change.
#[test]
fn the_outer_form_is_fixed() {
    let record = Record { kind: RecordKind(64), time: Timestamp(1), body: Bytes(vec![0xf6]) };
    // {"body": h'f6', "kind": 64, "time": 1}
    let expected = "a364626f647941f6646b696e6418406474696d6501";
    assert_eq!(hex::encode(record.to_bytes()), expected);
    let commitment = commitment(&[7; 32], &record.to_bytes());
    let salted = format!("{}{expected}", "07".repeat(32));
    assert_eq!(commitment, sha256(&hex::decode(salted).unwrap()));
}

#[test]
fn kinds_stand_in_order_with_one_name_each() {
    let codes: Vec<u16> = RecordKind::ALL.iter().map(|(kind, _)| kind.0).collect();
    assert!(codes.is_sorted_by(|a, b| a < b));
    let mut names: Vec<_> = RecordKind::ALL.iter().map(|(_, name)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RecordKind::ALL.len());
    assert_eq!(RecordKind::RELEASE.to_string(), "release");
    assert_eq!((RecordKind(8).name(), RecordKind(8).to_string()), (None, "kind 8".into()));
}

/// The registry in the specification is the same.
#[test]
fn the_specification_lists_every_kind() {
    let spec = include_str!("../../../../specs/09-evidence.md");
    let listed: Vec<(u16, &str)> = spec
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let code = cells.next()?.parse().ok()?;
            Some((code, cells.next()?.strip_prefix('`')?.strip_suffix('`')?))
        })
        .collect();
    let known: Vec<_> = RecordKind::ALL.iter().map(|(kind, name)| (kind.0, *name)).collect();
    assert_eq!(listed, known);
}

#[test]
fn unknown_kinds_can_be_passed_over() {
    let record = Record { kind: RecordKind(999), time: TIME, body: Bytes(vec![0xff, 0x00]) };
    let read = Record::from_bytes(&record.to_bytes()).unwrap();
    assert_eq!(read.body::<Release>(), Err(RecordError::OtherKind(RecordKind(999))));
}

#[test]
fn a_second_encoding_is_refused() {
    let bytes = Record::new(&release(), TIME).to_bytes();
    assert!(Record::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    assert!(Record::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(Record::from_bytes(&vec![0; RECORD_LIMIT + 1]).is_err());

    // The body without its `lease` would read as the same as with a null there.
    let body = Release { lease: None, ..release() };
    let encoded = cbor::to_vec(&body);
    let mut value = cbor::value_from_slice(&encoded).unwrap();
    let fields = value.as_map_mut().unwrap();
    fields.retain(|(name, _)| name.as_text() != Some("lease"));
    let without = cbor::to_vec(&value);
    assert_eq!(without.len(), encoded.len() - 7);
    let record = Record { kind: RecordKind::RELEASE, time: TIME, body: without.into() };
    let not_deterministic = RecordError::Body(RecordKind::RELEASE, CborError::NotDeterministic);
    assert_eq!(record.body::<Release>(), Err(not_deterministic));
}
