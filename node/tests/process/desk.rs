//! The officer's desk: who acts for a citizen, for how long, and what they may not do.

use std::path::PathBuf;

use node::provider_client::Answer;
use serde_json::{Value, json};
use testnet::{
    citizen::{Citizen, now},
    roster,
};
use wire::{
    Bytes, DecisionId, KeyHash, ServiceName, Signed, cbor,
    citizen::MoveSubmission,
    consent::{Attested, Decision, ExpressedBy, Move},
};

use crate::{
    http::refused,
    world::{ALLERGY, ITEM, Turn, command, question, run, until},
};

const RECIPIENT: &str = "hospital-a";

async fn desk(turn: &Turn, what: &str, mut body: Value) -> Answer {
    body["operator"] = json!("市民課 3番窓口");
    let answer = turn.provider("maebashi").post(&format!("/v1/desk/{what}"), &body).await;
    answer.expect("an answer")
}

#[track_caller]
fn refuses(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.text().contains(words), "`{words}` is not in: {}", answer.text());
}

/// What the officer enters to begin the phone's key at a service.
fn case(phone: &Citizen, source: &ServiceName, basis: &str, document: &str) -> Value {
    let chain = &phone.wallet.service(source).expect("a key").chain;
    json!({
        "service_chain": Bytes(cbor::to_vec(chain)),
        "basis": basis,
        "document": document,
        "text": "前橋家庭裁判所 令和8年(家)第123号",
    })
}

fn key(phone: &Citizen, source: &ServiceName) -> KeyHash {
    phone.wallet.service(source).expect("a key").key.key_hash()
}

/// A phone in the hands of who acts for the citizen of a card: certified, and not begun.
async fn phone_of_another(turn: &Turn, card: &str, source: &str, at_desk: bool) -> Citizen {
    let challenge = if at_desk {
        let opened = desk(turn, "challenge", json!({})).await.json().expect("a challenge");
        let bytes: Bytes = serde_json::from_value(opened["challenge"].clone()).expect("bytes");
        Some(cbor::from_slice(&bytes).expect("a challenge"))
    } else {
        None
    };
    let phone = Citizen::enrol_with(turn.network, card, "maebashi", challenge).await;
    let mut phone = phone.expect("enrolment");
    let (source, recipient) = (roster::service(source), roster::service(RECIPIENT));
    for service in [&source, &recipient] {
        assert!(!phone.join(service).await.expect("a certificate"), "proofing begins no key of it");
    }
    phone.link(&source, &recipient).await.expect("a link");
    phone
}

async fn put_record(turn: &Turn, citizen: &Citizen, source: &str) {
    let service = roster::service(source);
    let subject = citizen.pair(&service).expect("a pair").subject;
    let item = ITEM.parse().expect("an item");
    let put = turn.provider(source).put_record(&service, &subject, &item, ALLERGY).await;
    assert_eq!(put.expect("an answer").status, 204);
}

async fn released(turn: &Turn, citizen: &Citizen, source: &str) -> bool {
    let answer = turn.ask(&question(citizen, source, RECIPIENT)).await;
    let is_refused = answer.problem().as_deref() == Some("not-permitted");
    assert!(is_refused || answer.status == 200, "{}", answer.text());
    !is_refused
}

fn decision(turn: &Turn, submission: &Attested) -> (DecisionId, Decision) {
    let signed = Signed::<Decision>::decode(&submission.object, &turn.network.id).expect("signed");
    (signed.id().into(), signed.unverified().clone())
}

#[test]
fn a_guardian_decides_for_a_child_and_the_child_s_card_alone_does_not() {
    run(async |mut turn| {
        const SOURCE: &str = "clinic";
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let health = turn.provider("maebashi").get("/health").await.expect("health");
        let before = health.json().expect("json")["log_size"].to_string();
        // Without an officer's challenge: who holds a child's card is not the child.
        let mut phone = phone_of_another(&turn, "akari", SOURCE, false).await;
        put_record(&turn, &phone, SOURCE).await;
        let early = phone.sign_permit(&source, &recipient, &[]).expect("a permit");
        refused(phone.hand_in(&early).await, 403, "no key-begin names this key");

        let guardian = case(&phone, &source, "guardian", "family-register");
        let with = |field: &str, value: Value| {
            let mut other = guardian.clone();
            other[field] = value;
            other
        };
        let born = |date: &str| with("birth_date", json!(date));
        for (body, status, words) in [
            (guardian.clone(), 403, "the citizen's birth date is needed"),
            (born("1980-04-01"), 403, "parental authority has ended"),
            (born("2020-02-30"), 400, "`birth_date` is no day like"),
            (with("document", json!("letter")), 400, "unknown variant"),
            (with("text", json!("")), 400, "the document's text has 1 to"),
            (with("basis", json!("self")), 403, "a citizen's own begin by proofing"),
        ] {
            refuses(&desk(&turn, "key-begin", body).await, status, words);
        }
        let mut wrong = born("2020-04-01");
        wrong["document"] = json!("power-of-attorney");
        refuses(&desk(&turn, "key-begin", wrong).await, 403, "the document does not fit");
        let mut long = born("2020-04-01");
        long["until"] = json!("2038-04-02");
        refuses(&desk(&turn, "key-begin", long).await, 403, "2038-03-31T15:00:00Z");
        assert_eq!(
            turn.provider("clinic")
                .post("/v1/desk/keys", &json!({}))
                .await
                .expect("an answer")
                .status,
            404
        );

        let begun = desk(&turn, "key-begin", born("2020-04-01")).await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        let end = phone.wallet.service(&source).expect("a key").not_after;
        assert_eq!(begun.json().expect("json")["until"], json!(end), "the certificate ends first");
        refuses(&desk(&turn, "key-begin", born("2020-04-01")).await, 403, "has already begun");

        phone.learn(&source).await.expect("a register");
        let permit = phone.sign_permit(&source, &recipient, &[]).expect("a permit");
        assert_eq!(decision(&turn, &permit).1.expressed_by, ExpressedBy::Guardian);
        phone.hand_in(&permit).await.expect("accepted");
        phone.until_in_force(&source).await.expect("in force");
        assert!(released(&turn, &phone, SOURCE).await, "the guardian's permit counts");
        // As if the child had said it: the register knows better.
        let mut own = decision(&turn, &permit).1;
        own.expressed_by = ExpressedBy::Oneself;
        own.nonce = testnet::citizen::nonce();
        let own = phone.sign_forged(&source, own).expect("signed");
        refused(phone.hand_in(&own).await, 403, "begun on another basis");

        let deny = phone.sign_deny(&source, &recipient).expect("a deny");
        let (id, denied) = decision(&turn, &deny);
        assert_eq!(denied.expressed_by, ExpressedBy::Guardian);
        phone.hand_in(&deny).await.expect("accepted");
        phone.until_in_force(&source).await.expect("in force");
        assert!(!released(&turn, &phone, SOURCE).await, "the guardian's deny counts");
        let again = phone.sign_permit(&source, &recipient, &[id]).expect("a permit");
        phone.hand_in(&again).await.expect("accepted");
        phone.until_in_force(&source).await.expect("in force");
        assert!(released(&turn, &phone, SOURCE).await);

        // The guardianship is over: what the guardian permitted is, too.
        let subject = phone.pair(&source).expect("a pair").subject;
        let of_pair = json!({ "source": source, "subject": subject });
        let keys = desk(&turn, "keys", of_pair.clone()).await.json().expect("json");
        assert_eq!(keys[0]["basis"], "guardian", "{keys}");
        assert_eq!(keys[0]["permits"].as_array().expect("permits").len(), 2, "{keys}");
        let mut end = of_pair;
        end["key"] = json!(key(&phone, &source));
        let ended = desk(&turn, "key-end", end).await;
        assert_eq!(ended.status, 200, "{}", ended.text());
        until("the permits to be void", async || !released(&turn, &phone, SOURCE).await).await;
        let late = phone.sign_permit(&source, &recipient, &[id]).expect("a permit");
        refused(phone.hand_in(&late).await, 403, "the key was ended");

        // Everything an officer did is in the log, with who it was and nothing of the document.
        let path = format!("/v1/log?from={before}");
        let log = turn.provider("maebashi").get(&path).await.expect("a log").json().expect("json");
        let done = log.as_array().expect("entries").iter();
        let done: Vec<_> = done.filter(|entry| entry["kind"] == "operator-action").collect();
        let actions: Vec<_> = done.iter().map(|entry| &entry["action"]).collect();
        assert_eq!(actions, ["key-begun", "keys-shown", "key-ended"], "{log}");
        assert!(done.iter().all(|entry| entry["operator"] == "市民課 3番窓口"), "{log}");
        let text = std::fs::read_to_string(turn.node("maebashi").directory.join("node.log"));
        assert!(!text.expect("a log").contains("家庭裁判所"));
    });
}

#[test]
fn a_guardian_s_time_ends_its_denies_stay_and_it_cannot_make_itself_permanent() {
    run(async |mut turn| {
        const SOURCE: &str = "lunch";
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let mut ken = turn.citizen("ken", SOURCE, RECIPIENT).await;
        put_record(&turn, &ken, SOURCE).await;
        let mut guardian = phone_of_another(&turn, "ken", SOURCE, true).await;
        let over = now().plus_ms(12_000);
        let mut body = case(&guardian, &source, "guardian", "guardianship-register");
        body["birth_date"] = json!("1948-04-01");
        body["until"] = json!(over.0.to_string());
        let begun = desk(&turn, "key-begin", body).await;
        assert_eq!(begun.status, 200, "{}", begun.text());

        // A permit of its own is at most as long as the key: the wallet says so.
        let drawn = guardian.sign_permit(&source, &recipient, &[]).expect("a permit");
        let mut by_guardian = decision(&turn, &drawn).1;
        by_guardian.expressed_by = ExpressedBy::Guardian;
        guardian.learn(&source).await.expect("a register");
        let too_long =
            guardian.sign_permit(&source, &recipient, &[]).expect_err("outlives its key");
        let too_long = too_long.to_string();
        assert!(too_long.contains("the time for which its key was begun"), "{too_long}");
        let permit = guardian.sign_forged(&source, by_guardian.clone()).expect("signed");
        guardian.hand_in(&permit).await.expect("accepted");
        guardian.until_in_force(&source).await.expect("in force");
        assert!(released(&turn, &guardian, SOURCE).await);

        let third = phone_of_another(&turn, "ken", SOURCE, true).await;
        let chain = third.wallet.service(&source).expect("a key").chain.clone();
        let approved = guardian.approve(&source, chain).await.expect_err("refused").to_string();
        assert!(approved.contains("signed by nobody who may say this"), "{approved}");
        let ended = guardian.end(&source, key(&ken, &source), &[]).await;
        let ended = ended.expect_err("refused").to_string();
        assert!(ended.contains("signed by nobody who may say this"), "{ended}");

        until("the guardian's time to be over", async || now() > over).await;
        assert!(!released(&turn, &guardian, SOURCE).await, "its permits end with it");
        by_guardian.nonce = testnet::citizen::nonce();
        let late = guardian.sign_forged(&source, by_guardian).expect("signed");
        refused(guardian.hand_in(&late).await, 403, "the key's time is over");
        let deny = guardian.sign_deny(&source, &recipient).expect("a deny");
        guardian.hand_in(&deny).await.expect("saying no is always safe");
        let own = ken.sign_permit(&source, &recipient, &[]).expect("a permit");
        ken.hand_in(&own).await.expect("accepted");
        ken.until_in_force(&source).await.expect("in force");
        assert!(!released(&turn, &ken, SOURCE).await, "its denies stand");
        let naming = ken.sign_permit(&source, &recipient, &[decision(&turn, &deny).0]);
        ken.hand_in(&naming.expect("a permit")).await.expect("accepted");
        ken.until_in_force(&source).await.expect("in force");
        assert!(released(&turn, &ken, SOURCE).await, "until the citizen names them");

        // A move, certified because the phone is gone.
        let subject = ken.pair(&source).expect("a pair").subject;
        let city = |key: &str| turn.node(key).participant.organisation();
        let moving = |from: &str, to: &str| json!({ "source": source, "subject": subject, "from": city(from), "to": city(to) });
        refuses(
            &desk(&turn, "move", moving("omura", "ebetsu")).await,
            403,
            "this one is one of them",
        );
        refuses(&desk(&turn, "move", moving("omura", "maebashi")).await, 409, "how often");
        let moved = desk(&turn, "move", moving("maebashi", "ebetsu")).await;
        let moved: Bytes =
            serde_json::from_value(moved.json().expect("json")["move"].clone()).expect("bytes");
        let moved: MoveSubmission = cbor::from_slice(&moved).expect("a move");
        assert!(moved.history.is_empty());
        let moved = moved.moving;
        let kind = trust::CertificateKind::Organisation;
        let (moved, chain) =
            trust::verify_signed::<Move>(&moved, kind, &ken.trust, now()).expect("it holds");
        assert_eq!((moved.message().epoch, &moved.message().to), (1, &city("ebetsu")));
        let by = matches!(
            chain.subject(),
            trust::LeafSubject::Organisation { organisation, .. } if *organisation == city("maebashi")
        );
        assert!(by, "signed by the home");
    });
}

#[test]
fn a_proxy_with_a_power_of_attorney_on_the_command_line() {
    run(async |mut turn| {
        const SOURCE: &str = "bank";
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let node = turn.node("maebashi");
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let wallet_of = |arguments: &[&str]| {
            let dir = path("wallet");
            command(&[&["wallet", "--dir", &dir, "--json"], arguments].concat())
        };
        let key_file = node.directory.join("api-key").display().to_string();
        let url = node.provider_url();
        let desk = |arguments: &[&str]| {
            let common =
                ["desk", "--node", &url, "--api-key-file", &key_file, "--operator", "窓口"];
            command(&[&common, arguments].concat())
        };
        let card: PathBuf = turn.network.cards.join("ken.card");
        let (home, network) = (node.public_url(), turn.network.id.to_string());
        let card = card.display().to_string();
        let (source_name, recipient_name) = (source.to_string(), recipient.to_string());
        wallet_of(&["create", "--home", &home, "--network", &network, "--card", &card])
            .expect("made");
        desk(&["challenge", "--out", &path("challenge")]).expect("opened");
        wallet_of(&["enrol", "--challenge", &path("challenge")]).expect("enrolled");
        for service in [&source_name, &recipient_name] {
            let certified = wallet_of(&["service", service]).expect("certified");
            assert!(certified.contains("\"begun\": false"), "{certified}");
        }
        wallet_of(&["link", &source_name, &recipient_name]).expect("linked");
        wallet_of(&["key", "export", &source_name, &path("chain")]).expect("exported");

        std::fs::write(path("document"), "委任状 令和8年11月1日\n").expect("written");
        let (chain, document) = (path("chain"), path("document"));
        let over = now().plus_ms(300 * wallet::decision::DAY_MS).0.to_string();
        let begin = |basis: &str| {
            desk(&[
                "key-begin",
                "--service-chain",
                &chain,
                "--basis",
                basis,
                "--document",
                "power-of-attorney",
                "--text-file",
                &document,
                "--until",
                &over,
            ])
        };
        let wrong = begin("guardian").expect_err("refused");
        assert!(wrong.contains("birth date is needed"), "{wrong}");
        let begun: Value = serde_json::from_str(&begin("proxy").expect("begun")).expect("json");
        assert_eq!(begun["until"].to_string(), over, "{begun}");

        let permit = |days: &str| {
            wallet_of(&[
                "permit",
                "--source",
                &source_name,
                "--recipient",
                &recipient_name,
                "--item",
                ITEM,
                "--purpose",
                "treatment",
                "--days",
                days,
            ])
        };
        let long = permit("400").expect_err("refused");
        assert!(long.contains("outlast the time for which its key was begun"), "{long}");
        permit("30").expect("permitted");
        let deny = ["deny", "--source", &source_name, "--recipient", &recipient_name];
        wallet_of(&[&deny[..], &["--item", "health.medication"]].concat()).expect("denied");
        let register = wallet_of(&["register", &source_name]).expect("a register");
        let register: Value = serde_json::from_str(&register).expect("json");
        let by: Vec<_> = register
            .as_array()
            .expect("rows")
            .iter()
            .skip(1)
            .map(|row| &row["expressed_by"])
            .collect();
        assert_eq!(by, ["proxy", "proxy"], "{register}");

        let subject = begun["subject"].as_str().expect("a subject");
        let pair = ["--source", &source_name, "--subject", subject];
        let keys: Value =
            serde_json::from_str(&desk(&[&["keys"][..], &pair].concat()).expect("keys"))
                .expect("json");
        let key = keys[0]["key"].as_str().expect("a key");
        assert_eq!(keys[0]["basis"], "proxy");
        let end = [&["key-end"][..], &pair, &["--key", key]].concat();
        let unsaid = desk(&end).expect_err("nothing said of its permits");
        assert!(unsaid.contains("--keep-none"), "{unsaid}");
        desk(&[&end[..], &["--keep-none"]].concat()).expect("ended");
        let refused = permit("30").expect_err("refused");
        assert!(refused.contains("the key was ended"), "{refused}");
        let (from, to) =
            (node.participant.organisation(), turn.node("kadoma").participant.organisation());
        let (from, to, out) = (from.to_string(), to.to_string(), path("move"));
        let moving =
            [&["move"][..], &pair, &["--from", &from, "--to", &to, "--out", &out]].concat();
        desk(&moving).expect("certified");
        let moved: MoveSubmission =
            cbor::from_slice(&std::fs::read(&out).expect("a file")).expect("a move");
        let signed =
            Signed::<Move>::decode(&moved.moving.object, &turn.network.id).expect("signed");
        assert_eq!(signed.unverified().epoch, 1);

        // To the end: the home that is left lets go and writes what the new one takes over.
        turn.start(&["kadoma"]).await;
        let there = turn.node("kadoma");
        let (there_url, there_key) =
            (there.provider_url(), there.directory.join("api-key").display().to_string());
        let desk_there = |arguments: &[&str]| {
            let common =
                ["desk", "--node", &there_url, "--api-key-file", &there_key, "--operator", "転入"];
            command(&[&common[..], arguments].concat())
        };
        let early = desk_there(&["hand-in", &out]).expect_err("nothing was brought");
        assert!(early.contains("home is another than the one"), "{early}");
        let onward = path("onward");
        let unwritten = desk(&["hand-in", &out]).expect_err("nowhere to write");
        assert!(unwritten.contains("--out"), "{unwritten}");
        let left = desk(&["hand-in", &out, "--out", &onward]).expect("let go");
        assert!(left.contains("wrote what the new home needs"), "{left}");
        desk_there(&["hand-in", &onward]).expect("taken over");
        until("the move to be in force", async || {
            desk_there(&["hand-in", &onward]).expect("known").contains("acknowledged")
        })
        .await;
        let keys: Value =
            serde_json::from_str(&desk_there(&[&["keys"][..], &pair].concat()).expect("keys"))
                .expect("json");
        assert_eq!(
            (keys[0]["key"].as_str(), keys[0]["basis"].as_str()),
            (Some(key), Some("proxy"))
        );
        // The old home has no say any more, the new one has.
        let again = [&["key-end"][..], &pair, &["--key", key, "--keep-none"]].concat();
        desk(&again).expect_err("no home any more");
    });
}
