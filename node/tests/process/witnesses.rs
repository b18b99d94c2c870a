//! Witnesses: a node put back to an old copy of its data serves nothing and says why; what is accepted
//! is cosigned; and nodes that all start at once find each other.

use std::path::{Path, PathBuf};

use node::{provider_client::Question, wallet_client::WalletClient};
use serde_json::Value;
use testnet::{
    citizen::{Citizen, nonce, now},
    processes::health,
    roster,
};
use wire::{citizen::InForce, consent::Attested};

use crate::{
    http::refused,
    world::{ALLERGY, ITEM, Turn, copy_over, mebuku, question, run, until},
};

// Each test has a pair of its own: what a citizen denied stays denied in the next test.
const CITIES: [&str; 4] = ["maebashi", "ebetsu", "omura", "kadoma"];

/// The data directory of a node that does not run, copied beside it.
fn copy_of(turn: &Turn, key: &str, name: &str) -> PathBuf {
    let directory = &turn.node(key).directory;
    let copy = directory.join(name);
    copy_over(&directory.join("data"), &copy);
    copy
}

/// Stops a node, takes a copy of its data, and starts it again.
async fn back_up(turn: &mut Turn, key: &'static str) -> PathBuf {
    turn.processes.kill(key).expect("it ran");
    let copy = copy_of(turn, key, "backup");
    turn.start(&[key]).await;
    copy
}

/// Puts the copy in the place of a node's data and starts it; returns once it knows that it was put
/// back, with where its newest data lie now.
async fn put_back(turn: &mut Turn, key: &'static str, backup: &Path) -> PathBuf {
    turn.processes.kill(key).expect("it ran");
    let newest = copy_of(turn, key, "newest");
    copy_over(backup, &turn.node(key).directory.join("data"));
    turn.processes.start(turn.node(key)).expect("a process");
    until("the node to know that it was put back", async || {
        status(turn, key).await.is_some_and(|status| status == "restored")
    })
    .await;
    newest
}

/// The repair that specs/09 describes: the newest copy of the data.
async fn repair(turn: &mut Turn, key: &'static str, newest: &Path) {
    turn.processes.kill(key).expect("it ran");
    copy_over(newest, &turn.node(key).directory.join("data"));
    turn.start(&[key]).await;
}

async fn status(turn: &Turn, key: &str) -> Option<String> {
    let health: Value = health(turn.node(key)).await.ok()?;
    Some(health["status"].as_str()?.to_owned())
}

async fn cosigned(turn: &Turn, key: &str) -> u64 {
    let health = health(turn.node(key)).await.expect("health");
    health["cosigned"].as_u64().expect("a number")
}

/// What an operator sees of a node that was put back.
async fn says_what_to_do(turn: &Turn, key: &str) {
    let answer = turn.provider(key).get("/health").await.expect("health");
    assert_eq!(answer.status, 503, "{}", answer.text());
    let log = std::fs::read_to_string(turn.node(key).directory.join("node.log")).expect("a log");
    let mut doctor = std::process::Command::new(mebuku());
    let doctor = doctor.args(["doctor", "--config"]).arg(turn.node(key).config()).output();
    let doctor = doctor.expect("a process");
    assert!(!doctor.status.success());
    let examined = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for (where_, said) in [("health", answer.text()), ("log", log), ("doctor", examined)] {
        assert!(said.contains("put back to an old state"), "{where_}: {said}");
        assert!(said.contains("specs/09-evidence.md, Repair"), "{where_}: {said}");
    }
}

#[track_caller]
fn accepted(status: InForce) {
    assert_ne!(status, InForce::Durable, "enough witnesses run");
}

fn deny(citizen: &Citizen, source: &str) -> Attested {
    let (source, hospital) = (roster::service(source), roster::service("hospital-a"));
    citizen.sign_deny(&source, &hospital).expect("a deny")
}

#[test]
fn a_home_put_back_to_an_old_copy_serves_nothing_and_says_why() {
    run(async |mut turn| {
        turn.with_witnesses();
        turn.start(&[&CITIES[..], &["bank", "hospital-a"]].concat()).await;
        let mut taro = turn.citizen("taro", "bank", "hospital-a").await;
        turn.permit(&mut taro, "bank", "hospital-a").await;
        let backup = back_up(&mut turn, "maebashi").await;

        let before = cosigned(&turn, "maebashi").await;
        let reply = taro.hand_in(&deny(&taro, "bank")).await.expect("accepted");
        accepted(reply.status);
        assert!(cosigned(&turn, "maebashi").await > before, "the deny's entry is cosigned");

        let newest = put_back(&mut turn, "maebashi", &backup).await;
        says_what_to_do(&turn, "maebashi").await;
        let words = "put back to an old state";
        refused(taro.hand_in(&deny(&taro, "bank")).await, 503, words);
        refused(taro.home.challenge().await, 503, words);
        assert!(taro.register(&roster::service("bank")).await.is_err(), "nor is anything shown");
        until("the lease from this home to run out", async || {
            turn.lease("bank", "maebashi").await.is_none()
        })
        .await;

        repair(&mut turn, "maebashi", &newest).await;
        let view = taro.until_in_force(&roster::service("bank")).await.expect("in force");
        let stands = |id| view.rows().iter().any(|row| row.decision().is_some_and(|d| d.0 == id));
        assert!(stands(reply.decision), "the deny is not forgotten");
    });
}

#[test]
fn a_source_put_back_to_an_old_copy_releases_nothing() {
    run(async |mut turn| {
        turn.with_witnesses();
        turn.start(&[&CITIES[..], &["hospital-b", "hospital-a"]].concat()).await;
        let mut mallory = turn.citizen("mallory", "hospital-b", "hospital-a").await;
        turn.permit(&mut mallory, "hospital-b", "hospital-a").await;
        let asked = question(&mallory, "hospital-b", "hospital-a");
        assert_eq!(turn.ask(&asked).await.status, 200);
        let backup = back_up(&mut turn, "hospital-b").await;

        let direct = WalletClient::new(&turn.node("hospital-b").public_url()).expect("a client");
        direct.deny(&deny(&mallory, "hospital-b")).await.expect("accepted");
        let newest = put_back(&mut turn, "hospital-b", &backup).await;
        says_what_to_do(&turn, "hospital-b").await;
        let anew = Question { id: nonce(), ..asked.clone() };
        let answer = turn.ask(&anew).await;
        assert_ne!(answer.status, 200, "{}", answer.text());
        refused(direct.deny(&deny(&mallory, "hospital-b")).await, 503, "put back to an old state");
        let (service, subject) = (roster::service("hospital-b"), nonce().0.repeat(2));
        let subject = wire::ServiceId(subject.try_into().expect("32 bytes"));
        let item = ITEM.parse().expect("an item");
        let put = turn.provider("hospital-b").put_record(&service, &subject, &item, ALLERGY).await;
        assert_eq!(put.expect("an answer").status, 503);

        repair(&mut turn, "hospital-b", &newest).await;
        until("an answer, which must be that the deny stands", async || {
            let answer = turn.ask(&Question { id: nonce(), ..asked.clone() }).await;
            assert_ne!(answer.status, 200, "{}", answer.text());
            answer.problem().as_deref() == Some("not-permitted")
        })
        .await;
    });
}

#[test]
fn without_its_witnesses_a_deny_is_durable_and_bites_and_is_accepted_later() {
    run(async |mut turn| {
        turn.with_witnesses();
        let all = [&CITIES[..], &["hospital-b", "hospital-a"]].concat();
        turn.start(&all).await;
        let mut hanako = turn.citizen("hanako", "hospital-b", "hospital-a").await;
        turn.permit(&mut hanako, "hospital-b", "hospital-a").await;
        let asked = question(&hanako, "hospital-b", "hospital-a");
        assert_eq!(turn.ask(&asked).await.status, 200);

        // One of three is left.
        for key in ["ebetsu", "omura"] {
            turn.processes.kill(key).expect("it ran");
        }
        let deny = deny(&hanako, "hospital-b");
        let (home, handed_in) = (hanako.home.clone(), deny.clone());
        let signed = now();
        let waiting = tokio::spawn(async move { home.decide(&handed_in).await });
        until("the deny to bite before it is acknowledged", async || {
            let anew = Question { id: nonce(), ..asked.clone() };
            turn.ask(&anew).await.problem().as_deref() == Some("not-permitted")
        })
        .await;
        println!("refused {} ms after the deny", now().ms_since(signed));
        let reply = waiting.await.expect("a task").expect("durable");
        println!("told {:?} after {} ms", reply.status, now().ms_since(signed));
        assert_eq!(reply.status, InForce::Durable);
        // Nor does the register say more, though the source has it.
        let told = async |hanako: &Citizen| {
            let register =
                hanako.register(&roster::service("hospital-b")).await.expect("a register");
            let row = register
                .rows()
                .iter()
                .find(|row| row.decision().is_some_and(|d| d.0 == reply.decision));
            row.expect("the deny").status
        };
        assert_eq!(told(&hanako).await, Some(InForce::Durable));
        // Entries and leases hang on no witness, though the home is told nothing of them.
        let (source, recipient) = (roster::service("hospital-b"), roster::service("hospital-a"));
        let anew = hanako.sign_permit(&source, &recipient, &[reply.decision]).expect("a permit");
        hanako.hand_in(&anew).await.expect("durable");
        until("the permit to open what the deny closed", async || turn.released(&asked).await)
            .await;
        turn.leased_anew("hospital-b", "maebashi").await;
        let last = hanako.sign_deny(&source, &recipient).expect("a deny");
        assert_eq!(hanako.hand_in(&last).await.expect("durable").status, InForce::Durable);
        assert_eq!(told(&hanako).await, Some(InForce::Durable));

        turn.start(&["ebetsu", "omura"]).await;
        until("the same deny to be accepted", async || {
            let again = hanako.hand_in(&deny).await.expect("known");
            assert_eq!(again.decision, reply.decision);
            again.status != InForce::Durable
        })
        .await;
        // The source's word waits for its own witnesses.
        until("the source's word", async || {
            matches!(told(&hanako).await, Some(InForce::Acknowledged(_)))
        })
        .await;

        // Everybody at once: the witness role needs nobody.
        for key in &all {
            turn.processes.kill(key).expect("it ran");
        }
        turn.start(&all).await;
        until("an answer, which must be that the deny stands", async || {
            let answer = turn.ask(&Question { id: nonce(), ..asked.clone() }).await;
            assert_ne!(answer.status, 200, "{}", answer.text());
            answer.problem().as_deref() == Some("not-permitted")
        })
        .await;
    });
}

/// A node whose newest entries only `late` knows, put back to before them: it serves on the word of the
/// others, until `late` is back. `news` makes the entries.
async fn served_on_an_old_copy(
    turn: &mut Turn,
    key: &'static str,
    late: &'static str,
    news: impl AsyncFnOnce(&Turn),
) {
    let backup = back_up(turn, key).await;
    let others: Vec<_> = CITIES.into_iter().filter(|city| ![key, late].contains(city)).collect();
    for city in &others {
        turn.processes.kill(city).expect("it ran");
    }
    news(turn).await;
    turn.processes.kill(late).expect("it ran");
    turn.processes.kill(key).expect("it ran");
    copy_over(&backup, &turn.node(key).directory.join("data"));
    turn.start(&[&others[..], &[key]].concat()).await;
}

/// Starts the witness that was away; returns once the node has heard of it.
async fn found_out(turn: &mut Turn, key: &str, late: &'static str) {
    turn.processes.start(turn.node(late)).expect("a process");
    until("the node to know that it was put back", async || {
        status(turn, key).await.is_some_and(|status| status == "restored")
    })
    .await;
}

#[test]
fn a_source_found_out_while_it_serves_releases_nothing_more() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.with_witnesses();
        turn.start(&[&CITIES[..], &["lunch", "hospital-a"]].concat()).await;
        let mut mallory = turn.citizen("mallory", "lunch", "hospital-a").await;
        turn.permit(&mut mallory, "lunch", "hospital-a").await;
        let asked = question(&mallory, "lunch", "hospital-a");
        let direct = WalletClient::new(&turn.node("lunch").public_url()).expect("a client");
        served_on_an_old_copy(&mut turn, "lunch", "kadoma", async |_| {
            let told = direct.deny(&deny(&mallory, "lunch")).await.expect("durable");
            assert_eq!(told.status, InForce::Durable);
            assert!(told.effect.is_none());
        })
        .await;
        let ask = async |turn: &Turn| turn.ask(&Question { id: nonce(), ..asked.clone() }).await;
        // What was never accepted can be forgotten: until somebody says so.
        until("a release of the node that was put back", async || ask(&turn).await.status == 200)
            .await;

        found_out(&mut turn, "lunch", "kadoma").await;
        says_what_to_do(&turn, "lunch").await;
        for _ in 0..20 {
            let answer = ask(&turn).await;
            assert_ne!(answer.status, 200, "{}", answer.text());
        }
        refused(direct.deny(&deny(&mallory, "lunch")).await, 503, "put back to an old state");
    });
}

#[test]
fn a_home_found_out_while_it_serves_grants_nothing_more() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.with_witnesses();
        turn.start(&[&CITIES[..], &["clinic", "hospital-a"]].concat()).await;
        let taro = turn.citizen("taro", "clinic", "hospital-a").await;
        served_on_an_old_copy(&mut turn, "maebashi", "omura", async |_| {
            let told = taro.hand_in(&deny(&taro, "clinic")).await.expect("durable");
            assert_eq!(told.status, InForce::Durable);
        })
        .await;
        turn.ready("clinic").await;

        found_out(&mut turn, "maebashi", "omura").await;
        says_what_to_do(&turn, "maebashi").await;
        refused(taro.hand_in(&deny(&taro, "clinic")).await, 503, "put back to an old state");
        until("the lease from this home to run out", async || {
            turn.lease("clinic", "maebashi").await.is_none()
        })
        .await;
    });
}
