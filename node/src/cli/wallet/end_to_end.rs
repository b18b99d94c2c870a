//! The commands against a home and a source that answer over http and decide by the crates' own
//! rules, at the test network's time.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes as Body,
    extract::State,
    http::{StatusCode, header},
    routing::{get, post},
};
use clap::Parser;
use exchange::bundle::ConfirmedDeny;
use trust::{CertificateKind, testing::NOW};
use wallet::testing::{HOSPITAL, LUNCH, TestHome};
use wire::{
    DecisionId, Now,
    asking::{Answered, ConsentAnswer, ConsentRequest, WaitingRequests},
    cbor,
    channel::ChannelId,
    citizen::{DecisionReply, InForce, RecordSubmission, WalletQuery},
    consent::{Attested, Decision, Onward, Scope, Uses, Verdict},
    notice::{
        Effect, EffectHow, EffectQuery, HistoryBatch, Notice, NoticeBatch, NoticeOutcome,
        PairHistory,
    },
};

use super::*;
use crate::clock::ManualClock;

/// Home and source in one, with what the source was handed.
struct Face {
    home: TestHome,
    challenges: u8,
    denied: Vec<Scope>,
    records: Vec<Vec<u8>>,
    older_trust: bool,
    answers: Vec<ConsentAnswer>,
}

type Shared = Arc<Mutex<Face>>;

fn lock(face: &Shared) -> MutexGuard<'_, Face> {
    face.lock().unwrap()
}

fn read(body: &Body) -> Attested {
    cbor::from_slice(body).unwrap()
}

/// What a key certified for the pair signed.
fn verified<M: wire::Message>(face: &Face, submission: &Attested) -> M {
    trust::verify_signed::<M>(submission, CertificateKind::Service, face.home.trust(), NOW)
        .unwrap()
        .0
        .into_message()
}

async fn trust(State(face): State<Shared>) -> Vec<u8> {
    let face = lock(&face);
    let file = if face.older_trust {
        face.home.network.file.clone()
    } else {
        face.home.network.file_with(|_, timestamp| timestamp.version = 2)
    };
    cbor::to_vec(&file)
}

async fn identity(State(face): State<Shared>) -> Vec<u8> {
    cbor::to_vec(&lock(&face).home.node.identity)
}

async fn challenge(State(face): State<Shared>) -> Vec<u8> {
    let mut face = lock(&face);
    face.challenges += 1;
    let n = face.challenges;
    cbor::to_vec(&face.home.challenge(n))
}

async fn enrol(State(face): State<Shared>, body: Body) -> Vec<u8> {
    cbor::to_vec(&lock(&face).home.enrol(&body))
}

async fn service_key(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let mut face = lock(&face);
    let reply = face.home.certify(&read(&body));
    let chain = trust::verify_chain(&reply.chain, CertificateKind::Service, face.home.trust(), NOW)
        .unwrap();
    let trust::LeafSubject::Service { service, subject } = chain.subject().clone() else {
        panic!("another kind of certificate")
    };
    face.home.begin_key(wire::Pair { source: service, subject }, reply.chain.clone());
    cbor::to_vec(&reply)
}

async fn link(State(face): State<Shared>, body: Body) -> Vec<u8> {
    cbor::to_vec(&lock(&face).home.attest(&read(&body)))
}

async fn decision(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let mut face = lock(&face);
    let submission = read(&body);
    verified::<Decision>(&face, &submission);
    let signed = Signed::<Decision>::decode(&submission.object, &face.home.network.id).unwrap();
    face.home.take(&signed, &submission);
    let decision = signed.id().into();
    cbor::to_vec(&DecisionReply { decision, seq: Some(7), status: InForce::Accepted, effect: None })
}

async fn register(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let face = lock(&face);
    let query = verified::<WalletQuery>(&face, &read(&body));
    cbor::to_vec(&face.home.register_of(&query.pair.subject))
}

async fn history(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let face = lock(&face);
    let pair = verified::<WalletQuery>(&face, &read(&body)).pair;
    let notice = Notice {
        seq: 3,
        subject: pair.subject,
        recipient: HOSPITAL.parse().unwrap(),
        items: vec!["health.allergy".parse().unwrap()],
        purpose: Some("treatment".parse().unwrap()),
        first: NOW,
        last: NOW,
        count: 1,
        outcome: NoticeOutcome::Refused("denied".parse().unwrap()),
        salt: Nonce([1; 16]),
    };
    let home = face.home.node.organisation.clone();
    let channel = ChannelId { home, source: pair.source };
    let batch = NoticeBatch { channel, first: 3, hashes: vec![notice.hash()], time: NOW };
    let batch = HistoryBatch { batch: face.home.sign(batch), notices: vec![notice] };
    cbor::to_vec(&PairHistory { batches: vec![batch], older: false })
}

async fn effect(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let face = lock(&face);
    let EffectQuery { pair, decision, .. } = verified(&face, &read(&body));
    let home = face.home.node.organisation.clone();
    let effect = Effect {
        decision,
        channel: Some(ChannelId { home, source: pair.source.clone() }),
        pair,
        seq: Some(1),
        how: EffectHow::LeasesLapsed,
        since: NOW,
        log_index: None,
        time: NOW,
        present_consent_excepted: true,
    };
    cbor::to_vec(&face.home.sign(effect))
}

/// Asks for the allergy once, whoever asks.
async fn requests(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let face = lock(&face);
    let pair = verified::<WalletQuery>(&face, &read(&body)).pair;
    let request = ConsentRequest {
        id: Nonce([2; 16]),
        source: LUNCH.parse().unwrap(),
        recipient: pair.source,
        subject: pair.subject,
        items: vec!["health.allergy".parse().unwrap()],
        purpose: "treatment".parse().unwrap(),
        valid_days: 30,
        uses: Uses::Once,
        window: None,
        retention_days: None,
        onward: Onward::Forbidden,
        text: "診療のためにお願いします。".to_owned(),
        language: "ja".to_owned(),
        version: 1,
        issued: NOW,
        expires: NOW.plus_ms(3_600_000),
    };
    let waiting = face.answers.is_empty().then(|| face.home.sign(request));
    cbor::to_vec(&WaitingRequests { requests: waiting.into_iter().collect() })
}

async fn answer(State(face): State<Shared>, body: Body) {
    let mut face = lock(&face);
    let answer = verified(&face, &read(&body));
    face.answers.push(answer);
}

async fn deny(State(face): State<Shared>, body: Body) -> Vec<u8> {
    let mut face = lock(&face);
    let submission = read(&body);
    let deny = verified::<Decision>(&face, &submission);
    assert_eq!(deny.verdict, Verdict::Deny);
    let id = Signed::<Decision>::decode(&submission.object, &face.home.network.id).unwrap().id();
    let effect = Effect {
        decision: id.into(),
        pair: deny.pair,
        channel: None,
        seq: None,
        how: EffectHow::AtSource,
        since: NOW,
        log_index: Some(9),
        time: NOW,
        present_consent_excepted: false,
    };
    face.denied.push(deny.scope);
    let effect = Some(face.home.sign(effect));
    let status = InForce::Acknowledged(NOW);
    cbor::to_vec(&DecisionReply { decision: id.into(), seq: None, status, effect })
}

async fn record(
    State(face): State<Shared>,
    body: Body,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], &'static str) {
    let mut face = lock(&face);
    let record = verified::<RecordSubmission>(&face, &read(&body));
    let problem = [(header::CONTENT_TYPE, "application/problem+json")];
    if record.item.as_str() != "health.allergy" {
        let why = r#"{"title":"This was not taken","detail":"only allergies are kept here"}"#;
        return (StatusCode::FORBIDDEN, problem, why);
    }
    face.records.push(record.content.0);
    (StatusCode::OK, problem, "")
}

/// One citizen at the command line.
struct Desk {
    face: Shared,
    url: String,
    folder: tempfile::TempDir,
    clock: ManualClock,
}

impl Desk {
    async fn new() -> Self {
        let face = Face {
            home: TestHome::new(),
            challenges: 0,
            denied: Vec::new(),
            records: Vec::new(),
            older_trust: false,
            answers: Vec::new(),
        };
        let face = Arc::new(Mutex::new(face));
        let router = Router::new()
            .route("/trust", get(trust))
            .route("/identity", get(identity))
            .route("/wallet/challenge", post(challenge))
            .route("/wallet/enrol", post(enrol))
            .route("/wallet/service-key", post(service_key))
            .route("/wallet/link", post(link))
            .route("/wallet/decision", post(decision))
            .route("/wallet/register", post(register))
            .route("/wallet/history", post(history))
            .route("/wallet/effect", post(effect))
            .route("/wallet/requests", post(requests))
            .route("/wallet/answer", post(answer))
            .route("/wallet/deny", post(deny))
            .route("/wallet/record", post(record))
            .with_state(face.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let clock = ManualClock::new(Now { mono_ms: 0, wall: NOW });
        Self { face, url, folder: tempfile::tempdir().unwrap(), clock }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn try_run(&self, line: &str) -> anyhow::Result<Report> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            wallet: WalletArgs,
        }
        let directory = self.path("wallet").into_os_string().into_string().unwrap();
        let words = ["wallet", "--dir", &directory].into_iter().chain(line.split_whitespace());
        let args = Line::try_parse_from(words)?.wallet;
        execute(args, &self.clock, &SystemEntropy).await
    }

    async fn run(&self, line: &str) -> Report {
        match self.try_run(line).await {
            Ok(report) => report,
            Err(error) => panic!("{line}: {error:#}"),
        }
    }

    async fn refused(&self, line: &str) -> String {
        match self.try_run(line).await {
            Ok(report) => panic!("{line}: {}", report.text),
            Err(error) => format!("{error:#}"),
        }
    }

    /// From nothing to a wallet with a key at the source and a link to the recipient.
    async fn set_up(&self) {
        let card = lock(&self.face).home.card("前橋　花子").to_bytes().unwrap();
        std::fs::write(self.path("card"), card).unwrap();
        let network = lock(&self.face).home.network.id;
        let card = self.path("card").into_os_string().into_string().unwrap();
        self.run(&format!("create --home {} --network {network} --card {card}", self.url)).await;
        self.run("enrol").await;
        self.run(&format!("service {LUNCH}")).await;
        self.run(&format!("link {LUNCH} {HOSPITAL}")).await;
    }
}

#[tokio::test]
async fn a_deny_stands_against_a_permit_until_the_citizen_names_it() {
    let desk = Desk::new().await;
    desk.set_up().await;
    let shown = desk.run("show").await;
    assert!(shown.text.contains(LUNCH) && !shown.text.contains("may only deny"), "{}", shown.text);
    let number = shown.json["id"]["number"].as_str().unwrap().to_owned();
    number.parse::<identity::Number>().unwrap();

    let deny = desk.run(&format!("deny --source {LUNCH} --item health.allergy")).await;
    let deny = deny.json["decision"].as_str().unwrap().to_owned();
    let both = format!(
        "permit --source {LUNCH} --recipient {HOSPITAL} --item health.allergy \
         --item health.medication --purpose treatment --days 7"
    );
    let dry = desk.run(&format!("{both} --dry-run")).await;
    assert!(dry.text.contains("7 days") && dry.text.contains(&deny), "{}", dry.text);
    assert_eq!(dry.json["allows"], json!(["health.medication"]));
    assert_eq!(dry.json["denies_standing"], json!([deny]));
    assert!(dry.json.get("decision").is_none(), "a dry run signs nothing");

    let refused = desk.refused(&both).await;
    assert!(refused.contains(&deny) && refused.contains("--leave-denies"), "{refused}");
    let partial = desk.run(&format!("{both} --leave-denies")).await;
    assert!(partial.text.contains("So it allows only health.medication."), "{}", partial.text);
    let allergy = both.replace("--item health.medication", "");
    let refused = desk.refused(&allergy).await;
    assert!(refused.contains(&deny) && refused.contains("Nothing was signed"), "{refused}");
    let unknown = "02".repeat(32);
    let refused = desk.refused(&format!("{allergy} --reopen {unknown}")).await;
    assert!(refused.contains("no deny"), "{refused}");
    let full = desk.run(&format!("{allergy} --reopen {deny}")).await;
    assert!(full.text.contains("no longer stand") && full.text.contains("accepted, on its way"));
    assert_eq!(full.json["allows"], json!(["health.allergy"]));

    let register = desk.run(&format!("register {LUNCH}")).await;
    let rows = register.json.as_array().unwrap();
    let kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["key-begin", "deny", "permit", "permit"]);
    assert_eq!(rows[1]["id"], json!(deny));
    assert_eq!(rows[2]["allows"], json!(["health.medication"]));
    assert_eq!(rows[3]["allows"], json!(["health.allergy"]));
    assert!(register.text.contains("allows health.allergy"), "{}", register.text);
    // What was signed a week ago and has run out is still shown as what it was.
    desk.clock.advance_ms(8 * 24 * 3_600_000);
    let register = desk.run(&format!("register {LUNCH}")).await;
    assert!(register.text.contains("allows nothing: the permit has expired"), "{}", register.text);
}

/// The deny and the receipt that a command wrote for `mebuku verify`.
fn kept(desk: &Desk, file: &Path) -> (DecisionId, Effect) {
    let kept = ConfirmedDeny::from_bytes(&std::fs::read(file).unwrap()).unwrap();
    let network = lock(&desk.face).home.network.id;
    let deny = Signed::<Decision>::decode(&kept.deny.object, &network).unwrap();
    let receipt = Signed::<Effect>::decode(&kept.receipt.object, &network).unwrap();
    (deny.id().into(), receipt.unverified().clone())
}

#[tokio::test]
async fn a_deny_and_a_record_go_straight_to_the_source() {
    let desk = Desk::new().await;
    desk.set_up().await;
    let url = &desk.url;
    let out = desk.path("stopped");
    let stop = format!("stop {LUNCH} --direct {url} --out {}", out.display());
    let stopped = desk.run(&stop).await;
    let (deny, receipt) = kept(&desk, &out);
    assert_eq!(receipt.decision, deny);
    assert!(
        stopped.text.contains("発効 in force since") && stopped.text.contains("(at the source")
    );
    assert_eq!(stopped.json["effect"]["how"], "at-source");
    assert_eq!(lock(&desk.face).denied, [Scope::EVERYTHING]);

    let file = desk.path("record.json");
    std::fs::write(&file, r#"{"egg":"severe"}"#).unwrap();
    let put = format!("record put --source {LUNCH} --file {} --url {url}", file.display());
    desk.run(&format!("{put} --item health.allergy")).await;
    assert_eq!(lock(&desk.face).records, [br#"{"egg":"severe"}"#.to_vec()]);
    let refused = desk.refused(&format!("{put} --item health.medication")).await;
    assert_eq!(
        refused, "This was not taken: only allergies are kept here (status 403)",
        "a node's words reach the citizen"
    );
}

#[tokio::test]
async fn who_looked_and_since_when_a_deny_is_in_force_is_told() {
    let desk = Desk::new().await;
    desk.set_up().await;
    let history = desk.run(&format!("history --service {LUNCH}")).await;
    assert!(history.text.contains(HOSPITAL) && history.text.contains("拒否中"), "{}", history.text);
    assert_eq!(history.json["notices"][0]["outcome"], json!({ "refused": "denied" }));

    let deny = desk.run(&format!("deny --source {LUNCH}")).await;
    let deny = deny.json["decision"].as_str().unwrap().to_owned();
    let out = desk.path("lapsed");
    let told = desk.run(&format!("effect {LUNCH} {deny} --out {}", out.display())).await;
    let (kept, receipt) = kept(&desk, &out);
    assert_eq!((kept.to_string(), receipt.decision), (deny, kept));
    assert!(
        told.text.contains("in force since") && told.text.contains("(lapsed)"),
        "{}",
        told.text
    );
    assert!(told.text.contains("counter"), "what is excepted is said: {}", told.text);
}

#[tokio::test]
async fn a_recipients_request_is_shown_and_answered_once() {
    let desk = Desk::new().await;
    desk.set_up().await;
    desk.run(&format!("service {HOSPITAL}")).await;
    let asked = desk.run(&format!("requests --service {HOSPITAL}")).await;
    assert!(asked.text.contains("診療のために") && asked.text.contains("30 days, one release"));
    let id = asked.json[0]["id"].as_str().unwrap().to_owned();

    // A deny in the way: nothing is signed, and nothing answered.
    let deny = desk.run(&format!("deny --source {LUNCH}")).await;
    let deny = deny.json["decision"].as_str().unwrap().to_owned();
    let agree = format!("answer {id} agree --service {HOSPITAL}");
    let refused = desk.refused(&agree).await;
    assert!(refused.contains(&deny) && refused.contains("Nothing was signed"), "{refused}");
    assert!(lock(&desk.face).answers.is_empty());
    // What a deny answers already is no prompt; who wants to see it all the same, can.
    let asked = desk.run(&format!("requests --service {HOSPITAL}")).await;
    assert_eq!(asked.json, json!([]));
    assert!(asked.text.contains("1 for what you deny already"), "{}", asked.text);
    let asked = desk.run(&format!("requests --service {HOSPITAL} --all")).await;
    assert_eq!((&asked.json[0]["id"], &asked.json[0]["denied"]), (&json!(id), &json!(true)));
    let agreed = desk.run(&format!("{agree} --reopen {deny}")).await;
    assert!(agreed.text.contains("agreed 同意"), "{}", agreed.text);
    assert_eq!(agreed.json["permit"]["allows"], json!(["health.allergy"]));
    {
        let face = lock(&desk.face);
        assert_eq!(face.answers.len(), 1);
        assert_eq!(face.answers[0].answer, Answered::Agreed);
        assert_eq!(face.answers[0].pair.source.to_string(), HOSPITAL);
    }
    let refused = desk.refused(&format!("answer {id} decline --service {HOSPITAL}")).await;
    assert!(refused.contains("waits"), "{refused}");
}

#[tokio::test]
async fn an_older_trust_list_is_refused_and_a_wallet_is_made_once() {
    let desk = Desk::new().await;
    desk.set_up().await;
    lock(&desk.face).older_trust = true;
    let before = std::fs::read(desk.path("wallet/wallet.cbor")).unwrap();
    let refused = desk.refused(&format!("service {HOSPITAL}")).await;
    assert!(refused.contains("trust list does not hold"), "{refused}");
    assert_eq!(std::fs::read(desk.path("wallet/wallet.cbor")).unwrap(), before);
    // Saying no needs no trust list.
    desk.run(&format!("stop {LUNCH}")).await;
    let network = lock(&desk.face).home.network.id;
    let again = format!("create --home {} --network {network}", desk.url);
    assert!(desk.refused(&again).await.contains("holds a wallet already"));
    let other = format!("create --home {} --network {}", desk.url, "07".repeat(32));
    assert!(desk.refused(&other).await.contains("trust list does not hold"));
    lock(&desk.face).older_trust = false;
    let number = desk.run("show").await.json["id"]["number"].clone();
    assert_eq!(desk.run("enrol").await.json["number"], number, "a person keeps their number");
}
