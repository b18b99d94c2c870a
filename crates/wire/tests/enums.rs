//! How every variant of every enum is written, in JSON and in CBOR. These words lie in signed and
//! stored data: changing one breaks them.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use wire::{
    Bytes, DecisionId, Hash, KeyHash, Timestamp,
    asking::Answered,
    cbor,
    channel::{ChannelRefusal, ChannelReply, EntryKind, Position, Progress, Reached},
    citizen::{InForce, Standing},
    consent::{
        DocumentKind, ExpressedBy, Items, Onward, PurposeScope, Recipient, Reopen, Uses, Verdict,
    },
    exchange::{ExchangeMessage, ExchangeReply, Rejection},
    membership::{
        CaPurpose, Denied, DirectoryReply, DirectoryRequest, HelloReply, NotSigned, Role,
    },
    notice::{EffectHow, NoticeOutcome},
};

/// Checks both spellings of each value, and that a word that is none of them is refused.
fn spelled<T>(values: &[(T, &str)])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for (value, json) in values {
        assert_eq!(serde_json::to_string(value).unwrap(), *json);
        assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
        let encoded = cbor::to_vec(value);
        assert_eq!(&cbor::from_slice::<T>(&encoded).unwrap(), value);
        // Text stays text; a variant that holds something is a map of one key.
        let word = json.trim_start_matches('{').split('"').nth(1).unwrap_or_default();
        match cbor::value_from_slice(&encoded).unwrap() {
            ciborium::Value::Text(text) => assert_eq!(format!("\"{text}\""), *json),
            ciborium::Value::Map(entries) => {
                assert_eq!(entries.len(), 1, "{json}");
                assert_eq!(entries[0].0.as_text(), Some(word), "{json}");
            }
            other => panic!("{json}: {other:?}"),
        }
        let other_case = json.replacen(word, &word.to_uppercase(), 1);
        assert!(serde_json::from_str::<T>(&other_case).is_err(), "{other_case}");
    }
    for wrong in ["\"zz\"", "{\"zz\":null}", "{}", "0", "null", "[]", "true"] {
        assert!(serde_json::from_str::<T>(wrong).is_err(), "{wrong}");
        let value: ciborium::Value = serde_json::from_str(wrong).unwrap();
        assert!(cbor::from_slice::<T>(&cbor::to_vec(&value)).is_err(), "{wrong}");
    }
}

fn hex(byte: &str) -> String {
    byte.repeat(32)
}

#[test]
fn consent() {
    spelled(&[
        (ExpressedBy::Oneself, r#""self""#),
        (ExpressedBy::Guardian, r#""guardian""#),
        (ExpressedBy::Proxy, r#""proxy""#),
    ]);
    spelled(&[
        (DocumentKind::FamilyRegister, r#""family-register""#),
        (DocumentKind::GuardianshipRegister, r#""guardianship-register""#),
        (DocumentKind::CourtOrder, r#""court-order""#),
        (DocumentKind::PowerOfAttorney, r#""power-of-attorney""#),
    ]);
    spelled(&[(Onward::Forbidden, r#""forbidden""#), (Onward::Allowed, r#""allowed""#)]);
    spelled(&[
        (Recipient::Any, r#""any""#),
        (
            Recipient::Service("7000012050002/app".parse().unwrap()),
            r#"{"service":"7000012050002/app"}"#,
        ),
    ]);
    spelled(&[
        (Items::All, r#""all""#),
        (Items::Types(vec![]), r#"{"types":[]}"#),
        (Items::Types(vec!["health.allergy".parse().unwrap()]), r#"{"types":["health.allergy"]}"#),
    ]);
    spelled(&[
        (PurposeScope::Any, r#""any""#),
        (PurposeScope::Code("treatment".parse().unwrap()), r#"{"code":"treatment"}"#),
    ]);
    spelled(&[
        (Reopen::Deny(DecisionId([1; 32])), &*format!(r#"{{"deny":"{}"}}"#, hex("01"))),
        (Reopen::Key(KeyHash([2; 32])), &*format!(r#"{{"key":"{}"}}"#, hex("02"))),
        (Reopen::Collapsed(Hash([3; 32])), &*format!(r#"{{"collapsed":"{}"}}"#, hex("03"))),
    ]);
    spelled(&[
        (Uses::Once, r#""once""#),
        (Uses::Unlimited, r#""unlimited""#),
        (Uses::Per { count: 3, period_ms: 60_000 }, r#"{"per":{"count":3,"period_ms":60000}}"#),
    ]);
    spelled(&[(Verdict::Deny, r#""deny""#)]);
}

#[test]
fn channel() {
    spelled(&[
        (ChannelRefusal::NotMine, r#""not-mine""#),
        (ChannelRefusal::NotYours, r#""not-yours""#),
        (ChannelRefusal::Malformed, r#""malformed""#),
        (ChannelRefusal::Forked, r#""forked""#),
        (ChannelRefusal::Unavailable, r#""unavailable""#),
        (ChannelRefusal::TooMany, r#""too-many""#),
    ]);
    let applied = Position { length: 2, chain: Hash([1; 32]) };
    spelled(&[
        (ChannelReply::Durable, r#""durable""#),
        (ChannelReply::Noted(9), r#"{"noted":9}"#),
        (ChannelReply::Asked, r#""asked""#),
        (ChannelReply::Answered, r#""answered""#),
        (ChannelReply::Refused(ChannelRefusal::Forked), r#"{"refused":"forked"}"#),
        (
            ChannelReply::Applied(Progress {
                applied,
                reached: Some(Reached { applied, waiting: vec![5] }),
                unreadable: vec![1],
            }),
            &*format!(
                r#"{{"applied":{{"applied":{0},"reached":{{"applied":{0},"waiting":[5]}},"unreadable":[1]}}}}"#,
                format_args!(r#"{{"length":2,"chain":"{}"}}"#, hex("01"))
            ),
        ),
    ]);
    spelled(&[
        (EffectHow::Acknowledged, r#""acknowledged""#),
        (EffectHow::LeasesLapsed, r#""leases-lapsed""#),
        (EffectHow::AtSource, r#""at-source""#),
    ]);
    spelled(&[
        (NoticeOutcome::Refused("denied".parse().unwrap()), r#"{"refused":"denied"}"#),
        (
            NoticeOutcome::Released { request: Hash([1; 32]), permits: vec![] },
            &*format!(r#"{{"released":{{"request":"{}","permits":[]}}}}"#, hex("01")),
        ),
    ]);
    // A number, so that a kind not known yet can be read.
    assert_eq!(cbor::to_vec(&EntryKind::DENY), [0x02]);
    assert_eq!(cbor::from_slice::<EntryKind>(&[0x19, 0xff, 0xff]).unwrap(), EntryKind(u16::MAX));
    assert_eq!(serde_json::to_string(&EntryKind::KEY_END).unwrap(), "4");
}

#[test]
fn exchange() {
    spelled(&[
        (Rejection::Malformed, r#""malformed""#),
        (Rejection::NotAuthentic, r#""not-authentic""#),
        (Rejection::OutOfTime, r#""out-of-time""#),
        (Rejection::IdReused, r#""id-reused""#),
        (Rejection::UnknownService, r#""unknown-service""#),
        (Rejection::Busy, r#""busy""#),
        (Rejection::Unavailable, r#""unavailable""#),
    ]);
    spelled(&[(Answered::Agreed, r#""agreed""#), (Answered::Declined, r#""declined""#)]);
    let content = || Bytes(vec![0xfe, 1]);
    spelled(&[
        (ExchangeMessage::Request(content()), r#"{"request":"fe01"}"#),
        (ExchangeMessage::Receipt(content()), r#"{"receipt":"fe01"}"#),
    ]);
    spelled(&[
        (ExchangeReply::NotPermitted, r#""not-permitted""#),
        (ExchangeReply::Noted, r#""noted""#),
        (ExchangeReply::Presentation(content()), r#"{"presentation":"fe01"}"#),
        (ExchangeReply::Rejected(Rejection::Busy), r#"{"rejected":"busy"}"#),
    ]);
}

#[test]
fn membership() {
    spelled(&[
        (CaPurpose::Citizen, r#""citizen""#),
        (CaPurpose::Organisation, r#""organisation""#),
        (CaPurpose::Credential, r#""credential""#),
    ]);
    spelled(&[
        (Role::Home, r#""home""#),
        (Role::Issuer, r#""issuer""#),
        (Role::Source, r#""source""#),
        (Role::Recipient, r#""recipient""#),
        (Role::Witness, r#""witness""#),
        (Role::Committee, r#""committee""#),
    ]);
    let organisation = "7000012050002".parse().unwrap();
    spelled(&[
        (Denied::Organisation(organisation), r#"{"organisation":"7000012050002"}"#),
        (Denied::Certificate(Hash([4; 32])), &*format!(r#"{{"certificate":"{}"}}"#, hex("04"))),
    ]);
    spelled(&[
        (NotSigned::NoKey, r#""no-key""#),
        (NotSigned::Refused, r#""refused""#),
        (NotSigned::Spent, r#""spent""#),
    ]);
    let asked = DirectoryRequest::Organisation("7000012050002".parse().unwrap());
    spelled(&[(asked, r#"{"organisation":"7000012050002"}"#)]);
    spelled(&[(DirectoryReply::Unknown, r#""unknown""#)]);
    spelled(&[(HelloReply::Refused("expired".to_owned()), r#"{"refused":"expired"}"#)]);
}

#[test]
fn citizen() {
    spelled(&[
        (InForce::Accepted, r#""accepted""#),
        (InForce::Durable, r#""durable""#),
        (InForce::Acknowledged(Timestamp(5)), r#"{"acknowledged":5}"#),
        (InForce::LeasesLapsed(Timestamp(5)), r#"{"leases-lapsed":5}"#),
        (InForce::Unreadable(Timestamp(5)), r#"{"unreadable":5}"#),
    ]);
    spelled(&[(Standing::Good, r#""good""#), (Standing::Revoked, r#""revoked""#)]);
}
