//! A recipient asks for consent, the citizen answers, and the recipient learns only the answer.

use node::{provider_client::Question, wallet_client::WalletClient};
use serde_json::{Value, json};
use testnet::{
    citizen::{Citizen, nonce, now},
    roster,
};
use wallet::{AskedConsent, DenyDraft};
use wire::{
    Nonce, ServiceId, ServiceName, Signed,
    asking::{Answered, ConsentAnswer},
    consent::{Attested, Recipient},
};

use crate::{
    http::{Reply, call, refused},
    world::{ALLERGY, ITEM, Turn, question, run, until},
};

// Nobody else in these tests permits or denies between these two.
const SOURCE: &str = "hospital-b";
const RECIPIENT: &str = "bank";
const PATH: &str = "/v1/consent-requests";

async fn provider(turn: &Turn, key: &str, method: &str, path: &str, body: &Value) -> Reply {
    let node = turn.node(key);
    let bearer = format!("Bearer {}", node.api_key);
    let body = body.to_string();
    let headers = [("authorization", bearer.as_str())];
    call(&node.provider_url(), method, path, &headers, body.as_bytes()).await
}

fn body(citizen: &Citizen, id: Nonce) -> Value {
    let recipient = roster::service(RECIPIENT);
    json!({
        "id": id,
        "source": roster::service(SOURCE),
        "recipient": recipient,
        "subject": citizen.pair(&recipient).expect("a pair").subject,
        "items": [ITEM],
        "purpose": "treatment",
        "valid_days": 30,
        "text": "診療のために、アレルギー情報を受け取ります。",
        "language": "ja",
    })
}

async fn state(turn: &Turn, id: Nonce) -> Value {
    provider(turn, RECIPIENT, "GET", &format!("{PATH}/{id}"), &json!({})).await.json()
}

async fn until_state(turn: &Turn, id: Nonce, wanted: &str) -> Value {
    until(wanted, async || state(turn, id).await["state"] == wanted).await;
    state(turn, id).await
}

/// What the wallet shows of what the recipient asks.
async fn asked(citizen: &Citizen) -> Vec<AskedConsent> {
    let recipient = roster::service(RECIPIENT);
    let query = citizen.wallet.query(&recipient, nonce(), now()).expect("a query");
    let query = sign(citizen, &recipient, query);
    let waiting = citizen.home.requests(&query).await.expect("requests");
    let read = citizen.wallet.read_requests(&recipient, &waiting, &citizen.trust, now());
    read.expect("requests that hold")
}

fn sign<M: wire::Message>(
    citizen: &Citizen,
    service: &ServiceName,
    unsigned: wire::Unsigned<M>,
) -> Attested {
    let signer = citizen.signer(service).expect("a key");
    let signed: Signed<M> = unsigned.sign(signer).expect("signed");
    citizen.wallet.attest_with_service_key(service, &signed).expect("attested")
}

fn answer(citizen: &Citizen, asked: &AskedConsent, answer: Answered) -> Attested {
    let unsigned = citizen.wallet.answer(asked, answer, now()).expect("an answer");
    sign(citizen, &roster::service(RECIPIENT), unsigned)
}

async fn until_asked(citizen: &Citizen, count: usize) -> Vec<AskedConsent> {
    until("the request to be shown", async || asked(citizen).await.len() == count).await;
    asked(citizen).await
}

#[test]
fn a_recipient_asks_and_learns_only_the_answer() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let mut hanako = turn.citizen("hanako", SOURCE, RECIPIENT).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let subject = hanako.pair(&source).expect("a pair").subject;
        let item = ITEM.parse().expect("an item");
        let put = turn.provider(SOURCE).put_record(&source, &subject, &item, ALLERGY).await;
        assert_eq!(put.expect("an answer").status, 204);
        // The recipient has applied the channel that says whose citizen she is.
        hanako.until_in_force(&recipient).await.expect("in force");
        let question = question(&hanako, SOURCE, RECIPIENT);
        assert_eq!(turn.ask(&question).await.status, 403, "nothing is permitted yet");

        // Asked with the home down: it waits at the recipient, across a restart, too.
        turn.processes.kill("maebashi").expect("it ran");
        let id = nonce();
        let reply = provider(&turn, RECIPIENT, "POST", PATH, &body(&hanako, id)).await;
        assert_eq!((reply.status, &reply.json()["state"]), (202, &json!("waiting")));
        let again = provider(&turn, RECIPIENT, "POST", PATH, &body(&hanako, id)).await;
        assert_eq!(again.body, reply.body, "the same is one");
        turn.processes.kill(RECIPIENT).expect("it ran");
        turn.start(&["maebashi", RECIPIENT]).await;
        turn.leased_anew(SOURCE, "maebashi").await;

        let shown = until_asked(&hanako, 1).await;
        let request = &shown[0].request;
        assert_eq!((request.id, request.valid_days), (id, 30));
        let permit = shown[0].permit();
        let unsigned = hanako.wallet.permit(&permit, nonce(), now()).expect("a permit");
        let permit = sign(&hanako, &source, unsigned);
        hanako.hand_in(&permit).await.expect("accepted");
        let agreed = answer(&hanako, &shown[0], Answered::Agreed);
        hanako.home.answer(&agreed).await.expect("taken");
        hanako.home.answer(&agreed).await.expect("the same again is the same");
        let declined = answer(&hanako, &shown[0], Answered::Declined);
        refused(hanako.home.answer(&declined).await, 403, "answered before");
        let told = until_state(&turn, id, "agreed").await;
        assert_eq!(told, json!({ "id": id, "state": "agreed" }), "the answer and nothing else");
        assert!(asked(&hanako).await.is_empty(), "it waits no more");
        hanako.until_in_force(&source).await.expect("in force");
        let again = Question { id: nonce(), ..question };
        assert_eq!(turn.ask(&again).await.status, 200, "answered with a presentation");

        let second = nonce();
        provider(&turn, RECIPIENT, "POST", PATH, &body(&hanako, second)).await;
        let shown = until_asked(&hanako, 1).await;
        let declined = answer(&hanako, &shown[0], Answered::Declined);
        hanako.home.answer(&declined).await.expect("taken");
        until_state(&turn, second, "declined").await;
        bad_requests(&turn, &hanako).await;
        bad_answers(&turn, &hanako).await;
        too_many(&turn, &hanako).await;
    });
}

async fn bad_requests(turn: &Turn, citizen: &Citizen) {
    let ask = async |change: &dyn Fn(&mut Value)| {
        let mut body = body(citizen, nonce());
        change(&mut body);
        provider(turn, RECIPIENT, "POST", PATH, &body).await
    };
    ask(&|b| b["recipient"] = json!(roster::service(SOURCE))).await.is_problem(
        400,
        "malformed",
        "not a service of this node",
    );
    ask(&|b| b["subject"] = json!(ServiceId([7; 32]))).await.is_problem(409, "no-home", "no home");
    ask(&|b| b["items"] = json!([])).await.is_problem(400, "malformed", "1 to 64");
    ask(&|b| b["text"] = json!("あ".repeat(2001))).await.is_problem(400, "malformed", "2000");
    ask(&|b| b["text"] = json!("x".repeat(300 * 1024))).await.is_problem(413, "too-large", "");
    ask(&|b| b["wait_days"] = json!(31)).await.is_problem(400, "malformed", "30 days");
    ask(&|b| b["valid_days"] = json!(0)).await.is_problem(400, "malformed", "days");
    ask(&|b| b["sauce"] = json!(1)).await.is_problem(400, "malformed", "sauce");
    let id = nonce();
    provider(turn, RECIPIENT, "POST", PATH, &body(citizen, id)).await;
    let mut other = body(citizen, id);
    other["purpose"] = json!("emergency");
    let reply = provider(turn, RECIPIENT, "POST", PATH, &other).await;
    reply.is_problem(409, "id-reused", "");
    let unknown = format!("{PATH}/{}", nonce());
    let reply = provider(turn, RECIPIENT, "GET", &unknown, &json!({})).await;
    reply.is_problem(404, "not-found", "consent request");
    // One request waits now.
    until_asked(citizen, 1).await;
}

async fn bad_answers(turn: &Turn, citizen: &Citizen) {
    let recipient = roster::service(RECIPIENT);
    let shown = until_asked(citizen, 1).await;
    let good = citizen.wallet.answer(&shown[0], Answered::Declined, now()).expect("an answer");
    let forged = |change: &dyn Fn(&mut ConsentAnswer)| {
        let mut answer = ConsentAnswer {
            request: shown[0].id,
            pair: citizen.pair(&recipient).expect("a pair"),
            answer: Answered::Agreed,
            time: now(),
        };
        change(&mut answer);
        let signer = citizen.signer(&recipient).expect("a key");
        let signed = Signed::new(answer, &turn.network.id, signer).expect("signed");
        let chain = citizen.wallet.service(&recipient).expect("a key").chain.clone();
        Attested { object: signed.bytes().to_vec().into(), chain }
    };
    let foreign = forged(&|answer| answer.pair.subject = ServiceId([7; 32]));
    refused(citizen.home.answer(&foreign).await, 403, "another service id");
    let unknown = forged(&|answer| answer.request = wire::Hash([7; 32]));
    refused(citizen.home.answer(&unknown).await, 404, "no such consent request");
    let old = forged(&|answer| answer.time = wire::Timestamp(0));
    refused(citizen.home.answer(&old).await, 403, "5 minutes");
    let mut altered = sign(citizen, &recipient, good);
    let end = altered.object.0.len() - 1;
    altered.object.0[end] ^= 1;
    refused(citizen.home.answer(&altered).await, 400, "");
    // Another citizen, at the same recipient, cannot see or answer it.
    let taro = turn.citizen("taro", SOURCE, RECIPIENT).await;
    assert!(asked(&taro).await.is_empty());
    let unsigned = taro.wallet.answer(&shown[0], Answered::Agreed, now()).expect("an answer");
    let theirs = sign(&taro, &recipient, unsigned);
    refused(taro.home.answer(&theirs).await, 404, "no such consent request");
    // A home hears of answers from wallets, a source from nobody.
    let source = WalletClient::new(&turn.node(SOURCE).public_url()).expect("a client");
    refused(source.answer(&altered).await, 404, "path");
    assert_eq!(asked(citizen).await.len(), 1);
}

async fn too_many(turn: &Turn, citizen: &Citizen) {
    // Two were answered, and one waits.
    let left = consent::asking::IN_A_DAY - 3;
    for _ in 0..left {
        provider(turn, RECIPIENT, "POST", PATH, &body(citizen, nonce())).await;
    }
    let shown = until_asked(citizen, left + 1).await;
    let refused = async || {
        let id = nonce();
        provider(turn, RECIPIENT, "POST", PATH, &body(citizen, id)).await;
        let told = until_state(turn, id, "refused").await;
        assert_eq!(told, json!({ "id": id, "state": "refused", "reason": "too-many" }));
    };
    refused().await;
    // Neither an answer nor a short wait makes room today, and a deny looks no different.
    let declined = answer(citizen, &shown[0], Answered::Declined);
    citizen.home.answer(&declined).await.expect("taken");
    refused().await;
    let stop = DenyDraft {
        recipient: Recipient::Service(roster::service(RECIPIENT)),
        ..DenyDraft::everything(roster::service(SOURCE))
    };
    let stop = citizen.sign_deny_draft(&stop).expect("a deny");
    citizen.hand_in(&stop).await.expect("accepted");
    refused().await;
    assert_eq!(asked(citizen).await.len(), left);
}
