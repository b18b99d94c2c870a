//! Membership, and the exchange between recipient and source.

use wire::{
    OrganisationId,
    exchange::{ExchangeMessage, ExchangeReply, PresentConsent, Receipt, Rejection, Request},
    membership::{
        Authority, CaPurpose, Committee, Denial, Denied, Descriptor, DirectoryReply,
        DirectoryRequest, Hello, HelloReply, Municipality, NodeIdentity, NotSigned, Role, RoleKeys,
        Root, SignRefusal, TimestampDraft, TrustFile, TrustList, TrustReply, TrustRequest,
        TrustTimestamp, TrustVersions,
    },
    witness::{AddCheckpoint, WitnessConflict, WitnessRefused, WitnessReply, WitnessRequest},
};

use super::*;

pub fn examples() -> Vec<Example> {
    [trust(), nodes(), exchange(), witness()].into_iter().flatten().collect()
}

fn organisation() -> OrganisationId {
    "9000020102016".parse().unwrap()
}

fn role_keys(seeds: &[u8]) -> RoleKeys {
    let mut keys: Vec<_> = seeds.iter().map(|seed| key(*seed).public_key()).collect();
    keys.sort();
    RoleKeys { keys, threshold: seeds.len() as u32 }
}

fn root() -> Root {
    Root {
        version: 1,
        testnet: true,
        issued: NOON,
        expires: NOON.plus_ms(1),
        root: role_keys(&[1, 2]),
        trust_list: role_keys(&[3, 4]),
        timestamp: role_keys(&[5]),
    }
}

fn trust_list() -> TrustList {
    TrustList {
        version: 7,
        issued: NOON,
        expires: NOON.plus_ms(1),
        authorities: vec![Authority {
            organisation: organisation(),
            anchor: chain()[0].clone(),
            purposes: vec![CaPurpose::Citizen, CaPurpose::Organisation, CaPurpose::Credential],
        }],
        municipalities: vec![Municipality {
            organisation: organisation(),
            name: "前橋市".to_owned(),
        }],
        witnesses: vec![organisation()],
        committee: Committee {
            members: vec![organisation()],
            threshold: 1,
            public_key: Bytes([&[2][..], &[9; 32]].concat()),
        },
        denied: vec![Denied::Certificate(Hash([3; 32]))],
    }
}

fn timestamp() -> TrustTimestamp {
    TrustTimestamp {
        version: 9,
        list_version: 7,
        list_hash: multi_sign(&trust_list(), &[]).payload_hash(),
        issued: NOON,
        soft_expiry: NOON.plus_ms(86_400_000),
        hard_expiry: NOON.plus_ms(14 * 86_400_000),
        denylist: vec![Denied::Organisation(organisation()), Denied::Certificate(Hash([4; 32]))],
    }
}

fn trust() -> Vec<Example> {
    let nobody = RoleKeys { keys: vec![], threshold: 0 };
    let bare_root = Root {
        testnet: false,
        root: nobody.clone(),
        trust_list: nobody.clone(),
        timestamp: nobody,
        ..root()
    };
    let bare_list = TrustList {
        authorities: vec![],
        municipalities: vec![],
        witnesses: vec![],
        committee: Committee { members: vec![], threshold: 0, public_key: Bytes(vec![]) },
        denied: vec![],
        ..trust_list()
    };
    let quiet = TrustTimestamp { denylist: vec![], ..timestamp() };
    let versions = TrustVersions { root: 1, list: 24, timestamp: 70_000 };
    let file = TrustFile {
        roots: vec![Bytes(multi_sign(&root(), &[1, 2]).bytes())],
        trust_list: Bytes(multi_sign(&trust_list(), &[3, 4]).bytes()),
        timestamp: Bytes(multi_sign(&timestamp(), &[5]).bytes()),
    };
    let denial = Denial { denied: Denied::Organisation(organisation()), list_version: 7 };
    let denials = vec![Bytes(multi_sign(&denial, &[5, 6]).bytes())];
    let draft = TimestampDraft { file: file.clone(), denials: denials.clone() };
    let not_signed =
        |why| TrustReply::NotSigned(SignRefusal { why, highest: 9, denials: denials.clone() });
    vec![
        multi_signed("signed-denial", "full", &denial, &[5, 6]),
        multi_signed("signed-denial", "minimal", &denial, &[]),
        plain("denial", "organisation", &denial),
        plain(
            "denial",
            "certificate",
            &Denial { denied: Denied::Certificate(Hash([4; 32])), ..denial.clone() },
        ),
        plain("trust-request", "sign", &TrustRequest::Sign(draft)),
        plain("trust-request", "denials", &TrustRequest::Denials(denials.clone())),
        plain("trust-reply", "signed", &TrustReply::Signed(file.timestamp.clone())),
        plain("trust-reply", "no-key", &not_signed(NotSigned::NoKey)),
        plain("trust-reply", "refused", &not_signed(NotSigned::Refused)),
        plain("trust-reply", "spent", &not_signed(NotSigned::Spent)),
        multi_signed("signed-root", "full", &root(), &[1, 2]),
        multi_signed("signed-root", "minimal", &bare_root, &[]),
        plain("root", "full", &root()),
        multi_signed("signed-trust-list", "full", &trust_list(), &[3, 4]),
        multi_signed("signed-trust-list", "minimal", &bare_list, &[]),
        plain("trust-list", "full", &trust_list()),
        plain("trust-list", "minimal", &bare_list),
        multi_signed("signed-timestamp", "full", &timestamp(), &[5]),
        multi_signed("signed-timestamp", "minimal", &quiet, &[]),
        plain("trust-timestamp", "full", &timestamp()),
        plain("trust-request", "pull", &TrustRequest::Pull(versions)),
        plain("trust-request", "hint", &TrustRequest::Hint(versions)),
        plain("trust-reply", "newer", &TrustReply::Newer(file.clone())),
        plain("trust-reply", "current", &TrustReply::Current),
        plain("trust-reply", "noted", &TrustReply::Noted),
        plain("trust-reply", "busy", &TrustReply::Busy),
        plain("trust-reply", "malformed", &TrustReply::Malformed),
        plain("trust-file", "full", &file),
        plain("trust-file", "minimal", &TrustFile { roots: vec![], ..file.clone() }),
    ]
}

fn descriptor() -> Descriptor {
    Descriptor {
        organisation: organisation(),
        name: "前橋市".to_owned(),
        version: 3,
        peers: vec!["12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".to_owned()],
        addresses: vec!["/dns4/node.example.lg.jp/udp/4001/quic-v1".to_owned()],
        log_key: Bytes(vec![6; 32]),
        witness_key: Some(Bytes(vec![7; 32])),
        roles: vec![
            Role::Home,
            Role::Issuer,
            Role::Source,
            Role::Recipient,
            Role::Witness,
            Role::Committee,
        ],
        services: vec!["9000020102016/resident-record".parse().unwrap()],
        public_url: Some("https://wallet.example.lg.jp".to_owned()),
        issued: NOON,
    }
}

fn nodes() -> Vec<Example> {
    let bare = Descriptor {
        name: String::new(),
        peers: vec![],
        addresses: vec![],
        witness_key: None,
        roles: vec![],
        services: vec![],
        public_url: None,
        ..descriptor()
    };
    let identity = NodeIdentity { chain: chain(), descriptor: bytes_of(&descriptor()) };
    let hello = Hello {
        identity: identity.clone(),
        root_version: 1,
        list_version: 7,
        timestamp_version: 9,
    };
    let refused = HelloReply::Refused("the certificate is not valid yet".to_owned());
    vec![
        signed("signed-descriptor", "full", &descriptor()),
        signed("signed-descriptor", "minimal", &bare),
        plain("descriptor", "full", &descriptor()),
        plain("descriptor", "minimal", &bare),
        plain("hello", "full", &hello),
        plain("hello-reply", "welcome", &HelloReply::Welcome(hello)),
        plain("hello-reply", "refused", &refused),
        plain("directory-request", "full", &DirectoryRequest::Organisation(organisation())),
        plain("directory-reply", "found", &DirectoryReply::Found(identity)),
        plain("directory-reply", "unknown", &DirectoryReply::Unknown),
    ]
}

fn request() -> Request {
    Request {
        id: nonce(5),
        source: source(),
        recipient: recipient(),
        subject: subject(0xb2),
        items: vec!["health.allergy".parse().unwrap(), "school".parse().unwrap()],
        whole: true,
        purpose: "treatment".parse().unwrap(),
        nonce: nonce(6),
        issued: NOON,
        expires: NOON.plus_ms(120_000),
        present_consent: Some(PresentConsent {
            permit: attested(&super::consent::full_permit()),
            status: attested(&super::wallet::status(wire::citizen::Standing::Good)),
        }),
    }
}

fn exchange() -> Vec<Example> {
    let bare = Request { items: vec![], whole: false, present_consent: None, ..request() };
    let receipt = Receipt { request: Hash([1; 32]), presentation: Hash([2; 32]), time: NOON };
    let presentation = Bytes(b"eyJhbGciOiJFUzI1NiJ9.e30.c2ln~".to_vec());
    let mut all = vec![
        signed("signed-request", "full", &request()),
        signed("signed-request", "minimal", &bare),
        plain("request", "full", &request()),
        plain("request", "minimal", &bare),
        signed("signed-receipt", "full", &receipt),
        signed("signed-receipt", "minimal", &Receipt { time: Timestamp(0), ..receipt.clone() }),
        plain("receipt", "full", &receipt),
        plain("exchange-message", "request", &ExchangeMessage::Request(bytes_of(&request()))),
        plain("exchange-message", "receipt", &ExchangeMessage::Receipt(bytes_of(&receipt))),
        plain("exchange-reply", "presentation", &ExchangeReply::Presentation(presentation)),
        plain("exchange-reply", "not-permitted", &ExchangeReply::NotPermitted),
        plain("exchange-reply", "noted", &ExchangeReply::Noted),
    ];
    for (shown, rejection) in [
        ("malformed", Rejection::Malformed),
        ("not-authentic", Rejection::NotAuthentic),
        ("out-of-time", Rejection::OutOfTime),
        ("id-reused", Rejection::IdReused),
        ("unknown-service", Rejection::UnknownService),
        ("busy", Rejection::Busy),
        ("unavailable", Rejection::Unavailable),
    ] {
        let shown = format!("rejected-{shown}");
        all.push(plain("exchange-reply", &shown, &ExchangeReply::Rejected(rejection)));
    }
    all
}

fn witness() -> Vec<Example> {
    let origin = format!("mebuku/{NETWORK}/{}", organisation());
    let note = format!(
        "{origin}\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} {origin} Az3grlgtzPICa5OS8npVmf1My\
         q/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    );
    let line = format!(
        "\u{2014} {origin}/witness jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin\
         1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    );
    let add = |old_size, proof| {
        WitnessRequest::AddCheckpoint(AddCheckpoint { old_size, proof, note: note.clone() })
    };
    let conflict = |size, note| WitnessReply::Conflict(WitnessConflict { size, note });
    let request = |shown, request: &_| plain("witness-request", shown, request);
    let reply = |shown, reply: &_| plain("witness-reply", shown, reply);
    let mut examples = vec![
        request("add-checkpoint-full", &add(5, vec![Hash([0x68; 32]), Hash([0x69; 32])])),
        request("add-checkpoint-minimal", &add(0, vec![])),
        request("latest", &WitnessRequest::Latest(origin)),
        reply("cosigned", &WitnessReply::Cosigned(line)),
        reply("conflict-full", &conflict(7, Some(note.clone()))),
        reply("conflict-minimal", &conflict(0, None)),
        reply("known", &WitnessReply::Known(note.clone())),
        reply("unknown", &WitnessReply::Unknown),
    ];
    for (shown, refused) in [
        ("refused-not-a-witness", WitnessRefused::NotAWitness),
        ("refused-not-yours", WitnessRefused::NotYours),
        ("refused-malformed", WitnessRefused::Malformed),
        ("refused-inconsistent", WitnessRefused::Inconsistent),
        ("refused-unavailable", WitnessRefused::Unavailable),
    ] {
        examples.push(reply(shown, &WitnessReply::Refused(refused)));
    }
    examples
}
