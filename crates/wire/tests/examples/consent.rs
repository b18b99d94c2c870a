//! Decisions, keys, links; the channel.

use wire::{
    DecisionId, Hash, KeyHash, Pair,
    channel::{
        ChannelHead, ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Entry, EntryKind,
        Grant, HeadStatement, PairExtract, Position, Progress, Pull, PullReply, Push, Reached,
    },
    consent::{
        Authority, Collapse, Decision, DocumentKind, ExpressedBy, Items, KeyBegin, KeyEnd, Link,
        Move, Notice, Onward, Permit, PurposeScope, Recipient, Reopen, Scope, Uses, Verdict,
        Window,
    },
    map::MapProof,
};

use super::{notice::effect, *};

pub fn examples() -> Vec<Example> {
    [decisions(), keys_and_links(), channel_values(), channel_messages()]
        .into_iter()
        .flatten()
        .collect()
}

pub fn deny() -> Decision {
    Decision {
        nonce: nonce(1),
        pair: pair(),
        scope: Scope::EVERYTHING,
        time: NOON,
        expressed_by: ExpressedBy::Oneself,
        verdict: Verdict::Deny,
    }
}

fn scope() -> Scope {
    Scope {
        recipient: Recipient::Service(recipient()),
        items: Items::Types(vec![
            "health.allergy".parse().unwrap(),
            "school.attendance".parse().unwrap(),
        ]),
        purpose: PurposeScope::Code("treatment".parse().unwrap()),
    }
}

fn link() -> Link {
    Link {
        source: pair(),
        recipient: Pair { source: recipient(), subject: subject(0xb2) },
        time: NOON,
    }
}

fn permit() -> Permit {
    Permit {
        recipient_subject: subject(0xb2),
        reopens: vec![],
        valid_from: NOON,
        valid_until: NOON.plus_ms(1),
        uses: Uses::Once,
        window: None,
        retention_days: None,
        onward: Onward::Forbidden,
        notice: Notice { hash: Hash([0xc3; 32]), language: "ja".to_owned(), version: 0 },
        vocabulary: 0,
        link: attested(&link()),
        request: None,
    }
}

fn permitting(permit: Permit) -> Decision {
    Decision {
        scope: scope(),
        expressed_by: ExpressedBy::Guardian,
        verdict: Verdict::Permit(Box::new(permit)),
        ..deny()
    }
}

pub fn full_permit() -> Decision {
    permitting(Permit {
        reopens: vec![
            Reopen::Deny(DecisionId([1; 32])),
            Reopen::Key(KeyHash([2; 32])),
            Reopen::Collapsed(Hash([3; 32])),
        ],
        valid_until: Timestamp(u64::MAX),
        uses: Uses::Per { count: u32::MAX, period_ms: u64::MAX },
        window: Some(Window { from: Timestamp(0), until: NOON }),
        retention_days: Some(u32::MAX),
        onward: Onward::Allowed,
        notice: Notice { hash: Hash([0xc3; 32]), language: "ja-JP".to_owned(), version: u32::MAX },
        vocabulary: u32::MAX,
        request: Some(Hash([0xd4; 32])),
        ..permit()
    })
}

fn decisions() -> Vec<Example> {
    vec![
        signed("signed-decision", "deny", &deny()),
        signed("signed-decision", "permit-minimal", &permitting(permit())),
        signed("signed-decision", "permit-full", &full_permit()),
        plain("decision", "deny-everything", &deny()),
        plain("decision", "deny-one-recipient", &Decision { scope: scope(), ..deny() }),
        plain("decision", "permit-minimal", &permitting(permit())),
        plain("decision", "permit-full", &full_permit()),
        plain(
            "decision",
            "permit-unlimited",
            &permitting(Permit { uses: Uses::Unlimited, ..permit() }),
        ),
    ]
}

pub fn moving() -> Move {
    Move {
        nonce: nonce(6),
        pair: pair(),
        from: "7000012050002".parse().unwrap(),
        to: "1180301018771".parse().unwrap(),
        epoch: u32::MAX,
        time: NOON,
    }
}

fn collapse() -> Collapse {
    Collapse {
        channel: channel(),
        subject: subject(0xa1),
        denies: vec![DecisionId([1; 32]), DecisionId([2; 32])],
        time: NOON,
    }
}

fn keys_and_links() -> Vec<Example> {
    let begin = KeyBegin {
        nonce: nonce(2),
        pair: pair(),
        basis: ExpressedBy::Oneself,
        authority: None,
        chain: chain(),
        until: NOON.plus_ms(1),
        time: NOON,
    };
    let guardian = KeyBegin {
        basis: ExpressedBy::Guardian,
        authority: Some(Authority {
            document: DocumentKind::FamilyRegister,
            digest: Hash([0xe5; 32]),
            seen: NOON,
        }),
        ..begin.clone()
    };
    let authorised =
        |document| Authority { document, digest: Hash([0xe5; 32]), seen: Timestamp(0) };
    let proxy = |document| KeyBegin {
        basis: ExpressedBy::Proxy,
        authority: Some(authorised(document)),
        chain: vec![],
        ..begin.clone()
    };
    let end = KeyEnd {
        nonce: nonce(3),
        pair: pair(),
        key: KeyHash([5; 32]),
        keeps: vec![DecisionId([6; 32]), DecisionId([7; 32])],
        time: NOON,
    };
    let lost = KeyEnd { keeps: vec![], ..end.clone() };
    vec![
        signed("signed-key-begin", "full", &begin),
        signed("signed-key-begin", "minimal", &KeyBegin { chain: vec![], ..begin.clone() }),
        signed("signed-key-begin", "guardian", &guardian),
        plain("key-begin", "full", &begin),
        plain("key-begin", "guardian", &guardian),
        plain("key-begin", "proxy", &proxy(DocumentKind::PowerOfAttorney)),
        plain("key-begin", "proxy-by-court", &proxy(DocumentKind::CourtOrder)),
        plain("key-begin", "proxy-by-register", &proxy(DocumentKind::GuardianshipRegister)),
        signed("signed-key-end", "full", &end),
        signed("signed-key-end", "minimal", &lost),
        plain("key-end", "full", &end),
        plain("key-end", "minimal", &lost),
        signed("signed-move", "full", &moving()),
        signed("signed-move", "minimal", &Move { epoch: 0, time: Timestamp(0), ..moving() }),
        plain("move", "full", &moving()),
        signed("signed-collapse", "full", &collapse()),
        signed("signed-collapse", "minimal", &Collapse { denies: vec![], ..collapse() }),
        plain("collapse", "full", &collapse()),
        plain("move-body", "full", &attested(&moving())),
        plain("collapse-body", "full", &attested(&collapse())),
        signed("signed-link", "full", &link()),
        signed("signed-link", "minimal", &Link { time: Timestamp(0), ..link() }),
        plain("link", "full", &link()),
        plain("permit-body", "full", &attested(&full_permit())),
        plain("deny-body", "full", &attested(&deny())),
        plain("key-begin-body", "full", &attested(&begin)),
        plain("key-end-body", "full", &attested(&end)),
        plain("submission", "full", &attested(&deny())),
        plain("submission", "minimal", &Attested { object: Bytes(vec![]), chain: vec![] }),
    ]
}

pub fn channel() -> ChannelId {
    ChannelId { home: "9000020102016".parse().unwrap(), source: source() }
}

pub fn entry() -> Entry {
    Entry {
        seq: 0,
        kind: EntryKind::DENY,
        subject: subject(0xa1),
        scope: Scope::EVERYTHING,
        time: NOON,
        body: Bytes(cbor::to_vec(&attested(&deny()))),
    }
}

fn unknown_entry() -> Entry {
    Entry {
        seq: u64::MAX,
        kind: EntryKind(u16::MAX),
        scope: scope(),
        body: Bytes(vec![]),
        ..entry()
    }
}

fn head() -> ChannelHead {
    let position = Position::start(&NETWORK, &channel()).after(&entry().hash());
    ChannelHead { position, map: Hash([8; 32]) }
}

pub fn statement() -> HeadStatement {
    HeadStatement { channel: channel(), head: head(), time: NOON }
}

fn grant() -> Grant {
    Grant { channel: channel(), nonce: nonce(4), head: head(), granted_ms: 60_000, time: NOON }
}

pub fn map_proof() -> MapProof {
    MapProof { path: vec![Hash([9; 32])], other: None }
}

pub fn absence() -> MapProof {
    MapProof { path: vec![], other: Some((Hash([1; 32]), Hash([2; 32]))) }
}

pub fn extract() -> PairExtract {
    PairExtract {
        statement: attested(&statement()),
        entries: vec![entry()],
        map_proof: map_proof(),
    }
}

fn channel_values() -> Vec<Example> {
    let start = Position::start(&NETWORK, &channel());
    let empty = ChannelHead { position: start, map: Hash([0; 32]) };
    let header = |entry: &Entry, shown: &str| Example {
        name: format!("entry-header-{shown}"),
        rule: "entry-header",
        bytes: entry.header(),
        reads: |bytes| {
            cbor::from_slice::<(u64, EntryKind, ServiceId, Scope, Timestamp)>(bytes).is_ok()
        },
        id: None,
    };
    vec![
        plain("channel-id", "full", &channel()),
        plain("entry", "deny", &entry()),
        plain("entry", "unknown-kind", &unknown_entry()),
        header(&entry(), "deny"),
        header(&unknown_entry(), "unknown-kind"),
        plain("position", "start", &start),
        plain("channel-head", "full", &head()),
        signed("signed-head-statement", "full", &statement()),
        signed("signed-head-statement", "minimal", &HeadStatement { head: empty, ..statement() }),
        plain("head-statement", "full", &statement()),
        signed("signed-grant", "full", &grant()),
        signed("signed-grant", "minimal", &Grant { head: empty, granted_ms: 0, ..grant() }),
        plain("grant", "full", &grant()),
        plain("map-proof", "of-presence", &map_proof()),
        plain("map-proof", "of-absence", &absence()),
        plain("pair-extract", "full", &extract()),
        plain(
            "pair-extract",
            "minimal",
            &PairExtract { entries: vec![], map_proof: absence(), ..extract() },
        ),
    ]
}

fn channel_messages() -> Vec<Example> {
    let applied = head().position;
    let idle = Progress { applied, reached: None, unreadable: vec![] };
    let progress = |waiting, unreadable| {
        let reached = Some(Reached { applied: Position { length: 3, ..applied }, waiting });
        Progress { applied, reached, unreadable }
    };
    let push = |entries| {
        let push = Push { channel: channel(), entries, statement: bytes_of(&statement()) };
        ChannelRequest::Push(push)
    };
    let pull = Pull {
        channel: channel(),
        nonce: nonce(4),
        progress: progress(vec![0, 7], vec![0, u64::MAX]),
        denies: vec![attested(&deny())],
    };
    let minimal = Pull { progress: idle.clone(), denies: vec![], ..pull.clone() };
    let pulled = |entries| {
        let (grant, statement) = (bytes_of(&grant()), bytes_of(&statement()));
        ChannelReply::Pulled(PullReply { grant, entries, statement })
    };
    let mut all = vec![
        plain("channel-request", "push-full", &push(vec![entry(), unknown_entry()])),
        plain("channel-request", "push-minimal", &push(vec![])),
        plain("channel-request", "pull-full", &ChannelRequest::Pull(pull)),
        plain("channel-request", "pull-minimal", &ChannelRequest::Pull(minimal)),
        plain("channel-request", "relay", &ChannelRequest::Relay(attested(&deny()))),
        plain("channel-reply", "applied", &ChannelReply::Applied(progress(vec![], vec![]))),
        plain("channel-reply", "applied-minimal", &ChannelReply::Applied(idle)),
        plain("channel-reply", "pulled-full", &pulled(vec![entry()])),
        plain("channel-reply", "pulled-minimal", &pulled(vec![])),
        plain("channel-reply", "relayed", &ChannelReply::Relayed(attested(&effect()))),
        plain("channel-reply", "durable", &ChannelReply::Durable),
    ];
    for (shown, refusal) in [
        ("not-mine", ChannelRefusal::NotMine),
        ("not-yours", ChannelRefusal::NotYours),
        ("malformed", ChannelRefusal::Malformed),
        ("forked", ChannelRefusal::Forked),
        ("unavailable", ChannelRefusal::Unavailable),
        ("too-many", ChannelRefusal::TooMany),
    ] {
        let shown = format!("refused-{shown}");
        all.push(plain("channel-reply", &shown, &ChannelReply::Refused(refusal)));
    }
    all
}
