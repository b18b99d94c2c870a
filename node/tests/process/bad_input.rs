//! What wallets might hand in that is not as it should be, at both faces that take decisions: the home's
//! `/wallet/decision` and the source's `/wallet/deny`. Each is told by name what is wrong with it, what
//! may not be refused is taken, and nothing else leaves a trace.

use node::{
    certificates,
    config::Config,
    keys::{KeyName, KeyStore},
    wallet_client::{ClientError, WalletClient},
};
use testnet::{
    citizen::{Citizen, nonce, now},
    founding::Network,
    roster,
};
use wire::{
    Bytes, Pair, Signed, Timestamp, cbor,
    citizen::DecisionReply,
    consent::{Attested, Decision, Link, Permit, Verdict},
    limits,
};

use crate::{
    http::{call, refused},
    world::{Turn, run},
};

// Nobody else in these tests decides about these two.
const SOURCE: &str = "bank";
const OTHER: &str = "clinic";
const RECIPIENT: &str = "hospital-a";

/// What a face has to say: a status and words, or that it takes it.
type Expected = Option<(u16, &'static str)>;
const TAKEN: Expected = None;
const ONLY_DENIES: Expected = Some((400, "only a deny"));

struct Case {
    name: &'static str,
    submission: Attested,
    home: Expected,
    source: Expected,
}

struct Faces {
    home: WalletClient,
    source: WalletClient,
}

impl Faces {
    fn of(turn: &Turn) -> Self {
        let client = |key| WalletClient::new(&turn.node(key).public_url()).expect("a client");
        Self { home: client("maebashi"), source: client(SOURCE) }
    }

    async fn judge(&self, cases: Vec<Case>) {
        for Case { name, submission, home, source } in cases {
            check(name, self.home.decide(&submission).await, home);
            check(name, self.source.deny(&submission).await, source);
        }
    }
}

#[track_caller]
fn check(name: &str, told: Result<DecisionReply, ClientError>, expected: Expected) {
    match (told, expected) {
        (Ok(_), TAKEN) => {}
        (told, Some((status, words))) => {
            println!("{name}: {told:?}");
            refused(told, status, words);
        }
        (Err(error), TAKEN) => panic!("{name} must be taken: {error:?}"),
    }
}

fn decision(submission: &Attested, network: &Network) -> Decision {
    let signed = Signed::<Decision>::decode(&submission.object, &network.id).expect("a decision");
    Decision { nonce: nonce(), ..signed.unverified().clone() }
}

/// With an unprotected header: `COSE_Sign1` is an array of four, the second the empty map (01).
fn with_unprotected_header(submission: &Attested) -> Attested {
    let mut object = submission.object.0.clone();
    let protected = match object[1] {
        short @ 0x40..=0x57 => 2 + usize::from(short - 0x40),
        0x58 => 3 + usize::from(object[2]),
        other => panic!("an unexpected protected header: {other:x}"),
    };
    assert_eq!((object[0], object[protected]), (0x84, 0xa0), "the profile's form");
    object.splice(protected..=protected, [0xa1, 0x18, 0x63, 0x01]);
    Attested { object: object.into(), ..submission.clone() }
}

fn last_bit_flipped(submission: &Attested) -> Attested {
    let mut altered = submission.clone();
    *altered.object.0.last_mut().expect("a signature") ^= 1;
    altered
}

#[test]
fn what_is_not_as_it_should_be_is_told_so_at_both_faces() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let mut kenta = turn.citizen("kenta", SOURCE, RECIPIENT).await;
        let faces = Faces::of(&turn);
        known_ones(&turn, &faces, &kenta).await;
        sizes(&turn, &faces, &kenta).await;
        others(&turn, &faces, &mut kenta).await;
        links(&turn, &faces, &mut kenta).await;
        ended_phone(&turn, &faces, &kenta).await;
        revoked_phone(turn, &mut kenta).await;
    });
}

/// A decision that both know: once more, altered, with a header that was never signed.
async fn known_ones(turn: &Turn, faces: &Faces, citizen: &Citizen) {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    let known = citizen.sign_deny(&source, &recipient).expect("a deny");
    let first = faces.home.decide(&known).await.expect("accepted");
    citizen.until_in_force(&source).await.expect("in force");
    let again = faces.home.decide(&known).await.expect("known");
    assert_eq!((again.seq, again.decision), (first.seq, first.decision), "one decision");
    let direct = citizen.sign_deny(&source, &recipient).expect("a deny");
    let first = faces.source.deny(&direct).await.expect("in force");
    let again = faces.source.deny(&direct).await.expect("known");
    assert_eq!(
        (again.status, again.decision),
        (first.status, first.decision),
        "since it first was"
    );

    let rows = citizen.register(&source).await.expect("a register").rows().len();
    let altered = Some((400, "the signature does not match"));
    let header = Some((400, "unprotected header"));
    let case =
        |name, submission, expected| Case { name, submission, home: expected, source: expected };
    faces
        .judge(vec![
            case("the same once more", known.clone(), TAKEN),
            case("a known one with another signature", last_bit_flipped(&known), altered),
            case("a known one with a header", with_unprotected_header(&known), header),
            case("a direct one with another signature", last_bit_flipped(&direct), altered),
            case("a direct one with a header", with_unprotected_header(&direct), header),
        ])
        .await;
    let after = citizen.register(&source).await.expect("a register").rows().len();
    // The direct one may have come through the channel meanwhile.
    assert!(after - rows <= 1, "nothing of it was taken");
    let _ = turn;
}

async fn sizes(turn: &Turn, faces: &Faces, citizen: &Citizen) {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    let deny = || citizen.sign_deny(&source, &recipient).expect("a deny");
    let object = |size: usize| Attested { object: Bytes(vec![0x84; size]), ..deny() };
    let long = Some((400, "at most 32768 are allowed"));
    let longer = Some((400, "a chain has at most 4 certificates"));
    let larger = Some((400, "a certificate has at most 16 KiB"));
    let many = Attested { chain: [deny().chain, deny().chain, deny().chain].concat(), ..deny() };
    let large = Attested { chain: vec![Bytes(vec![0x30; limits::CERTIFICATE + 1])], ..deny() };
    let case =
        |name, submission, expected| Case { name, submission, home: expected, source: expected };
    faces
        .judge(vec![
            case("33 KiB", object(33 * 1024), long),
            case("128 KiB", object(128 * 1024), long),
            case("380 KiB", object(380 * 1024), long),
            case("six certificates", many, longer),
            case("a large certificate", large, larger),
        ])
        .await;
    let too_large = cbor::to_vec(&object(385 * 1024));
    for (key, path) in [("maebashi", "/wallet/decision"), (SOURCE, "/wallet/deny")] {
        let reply = call(&turn.node(key).public_url(), "POST", path, &[], &too_large).await;
        reply.is_problem(413, "too-large", "larger");
    }
}

/// From the future, for another source, by another service's certificate, by another citizen.
async fn others(turn: &Turn, faces: &Faces, citizen: &mut Citizen) {
    let (source, other, recipient) =
        (roster::service(SOURCE), roster::service(OTHER), roster::service(RECIPIENT));
    let network = turn.network;
    let deny = citizen.sign_deny(&source, &recipient).expect("a deny");
    let permit = citizen.sign_permit(&source, &recipient, &[]).expect("a permit");
    let forged =
        |at: &wire::ServiceName, decision| citizen.sign_forged(at, decision).expect("signed");
    let later = |time: Timestamp| time.plus_ms(400 * 24 * 3_600_000);
    let future = decision(&deny, network);
    let future = forged(&source, Decision { time: later(future.time), ..future });
    let mut not_yet = decision(&permit, network);
    if let Verdict::Permit(permit) = &mut not_yet.verdict {
        permit.valid_from = later(permit.valid_from);
        permit.valid_until = later(permit.valid_until);
    }
    let not_yet = forged(&source, not_yet);
    // Signed by the key at the recipient, with its certificate.
    let by_other_service = forged(&recipient, decision(&deny, network));
    let subject = citizen.pair(&source).expect("a pair").subject;
    let elsewhere = Pair { source: other, subject };
    let for_other = forged(&source, Decision { pair: elsewhere, ..decision(&deny, network) });
    let someone = Pair { source: source.clone(), subject: wire::ServiceId([7; 32]) };
    let for_someone = forged(&source, Decision { pair: someone, ..decision(&deny, network) });
    let (other_source, other_citizen) =
        (Some((403, "for another source service")), Some((403, "for another service id")));
    faces
        .judge(vec![
            Case { name: "from the future", submission: future, home: TAKEN, source: TAKEN },
            Case { name: "not yet valid", submission: not_yet, home: TAKEN, source: ONLY_DENIES },
            Case {
                name: "another service's certificate",
                submission: by_other_service,
                home: other_source,
                source: other_source,
            },
            Case {
                name: "for another source",
                submission: for_other,
                home: other_source,
                source: Some((400, "no such service at this node")),
            },
            Case {
                name: "for another citizen",
                submission: for_someone,
                home: other_citizen,
                source: other_citizen,
            },
        ])
        .await;
}

/// Without a link, with another citizen's, by an organisation that may attest none.
async fn links(turn: &Turn, faces: &Faces, citizen: &mut Citizen) {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    let permit = citizen.sign_permit(&source, &recipient, &[]).expect("a permit");
    let with = |link: Attested| {
        let mut decision = decision(&permit, turn.network);
        if let Verdict::Permit(permit) = &mut decision.verdict {
            **permit = Permit { link, ..(**permit).clone() };
        }
        citizen.sign_forged(&source, decision).expect("signed")
    };
    let none = with(Attested { object: Bytes(vec![]), chain: vec![] });
    let taro = turn.citizen("taro", SOURCE, RECIPIENT).await;
    let foreign = with(taro.wallet.link(&source, &recipient).expect("a link").clone());
    // A provider joins the two ids itself.
    let node = turn.node(RECIPIENT);
    let signer = node.keys().expect("keys").p256(&KeyName::Organisation).expect("a key");
    let data_dir = Config::load(&node.config()).expect("a configuration").data_dir;
    let chain = certificates::read(&data_dir, &KeyName::Organisation).expect("a chain");
    let link = Link {
        source: citizen.pair(&source).expect("a pair"),
        recipient: citizen.pair(&recipient).expect("a pair"),
        time: now(),
    };
    let link = Signed::new(link, &turn.network.id, &*signer).expect("signed");
    let by_provider = with(Attested { object: link.bytes().to_vec().into(), chain });
    let case = |name, submission, words| Case {
        name,
        submission,
        home: Some((403, words)),
        source: ONLY_DENIES,
    };
    faces
        .judge(vec![
            case("without a link", none, "link attestation"),
            case("a foreign link", foreign, "joins other service ids"),
            case("a provider's link", by_provider, "may not issue citizens' certificates"),
        ])
        .await;
}

async fn ended_phone(turn: &Turn, faces: &Faces, citizen: &Citizen) {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    let mut lost = turn.citizen("kenta", SOURCE, RECIPIENT).await;
    let key = lost.wallet.service(&source).expect("a key").key.key_hash();
    citizen.end(&source, key, &[]).await.expect("ended");
    citizen.until_in_force(&source).await.expect("in force");
    let permit = lost.sign_permit(&source, &recipient, &[]).expect("a permit");
    let deny = || lost.sign_deny(&source, &recipient).expect("a deny");
    let ended = Some((403, "the key was ended"));
    faces
        .judge(vec![
            Case {
                name: "an ended phone's permit",
                submission: permit,
                home: ended,
                source: ONLY_DENIES,
            },
            Case { name: "an ended phone's deny", submission: deny(), home: TAKEN, source: TAKEN },
            Case {
                name: "an ended phone's deny, altered",
                submission: last_bit_flipped(&deny()),
                home: Some((400, "the signature does not match")),
                source: Some((400, "the signature does not match")),
            },
        ])
        .await;
}

/// A phone whose certificate the municipalities have put on the denylist.
async fn revoked_phone(mut turn: Turn, citizen: &mut Citizen) {
    let source = roster::service(SOURCE);
    let recipient = roster::service(RECIPIENT);
    let certificate = citizen.wallet.certificate_hash(&source).expect("a certificate");
    let file = turn.network.deny_certificates(&[certificate]).expect("a trust file");
    let keys = ["maebashi", SOURCE, RECIPIENT];
    let place = |key| turn.network.node(key).directory.join("trust.cbor");
    let before = std::fs::read(place(SOURCE)).expect("a trust file");
    for key in keys {
        turn.processes.kill(key).expect("it ran");
        std::fs::write(place(key), cbor::to_vec(&file)).expect("written");
    }
    turn.start(&keys).await;
    let permit = citizen.sign_permit(&source, &recipient, &[]).expect("a permit");
    let deny = citizen.sign_deny(&source, &recipient).expect("a deny");
    let listed = Some((403, "on the denylist"));
    Faces::of(&turn)
        .judge(vec![
            Case {
                name: "a revoked phone's permit",
                submission: permit,
                home: listed,
                source: ONLY_DENIES,
            },
            Case { name: "a revoked phone's deny", submission: deny, home: TAKEN, source: TAKEN },
        ])
        .await;
    let query = citizen.query(&source).expect("a query");
    let home = &Faces::of(&turn).home;
    refused(home.register(&query).await, 403, "on the denylist");
    drop(turn.processes);
    for key in keys {
        std::fs::write(turn.network.node(key).directory.join("trust.cbor"), &before)
            .expect("written");
    }
}
