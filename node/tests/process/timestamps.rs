//! The cities' nodes keep the timestamp by themselves: they renew it, put it to what people decided, and strike
//! off whom enough operators want struck off. A node whose file has run out catches up alone.

use std::time::Duration;

use node::provider_client::Question;
use testnet::{
    citizen::{nonce, now},
    processes::client,
};
use trust::ceremony::Wanted;
use wire::{cbor, membership::Denied};

use crate::world::{Turn, question, run, until};

const CITIES: [&str; 3] = ["maebashi", "ebetsu", "omura"];
const SOURCE: &str = "lunch";
const RECIPIENT: &str = "hospital-a";

/// Something that people may decide.
fn rename(wanted: &mut Wanted) {
    wanted.list.municipalities[0].name += " 2";
}

/// What a node goes by.
async fn in_force(turn: &Turn, key: &str) -> serde_json::Value {
    client(turn.node(key)).get("/v1/trust").await.expect("an answer").json().expect("json")
}

async fn deny(turn: &Turn, key: &str, denied: &Denied) -> (u16, serde_json::Value) {
    let answer = client(turn.node(key)).deny("officer", denied).await.expect("an answer");
    (answer.status.as_u16(), answer.json().expect("json"))
}

#[test]
fn nodes_renew_the_timestamp_before_it_runs_out() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&CITIES).await;
        turn.start(&[SOURCE]).await;
        let began = now();
        let short = turn.network.with_timestamp(|timestamp| {
            timestamp.version += 1;
            timestamp.issued = began;
            timestamp.soft_expiry = began.plus_ms(4_000);
        });
        assert_eq!(turn.hand_in("maebashi", &short.expect("a file")).await.0, 200);
        until("a third renewal, at the source too", async || {
            in_force(&turn, SOURCE).await["timestamp"].as_u64() >= Some(5)
        })
        .await;
        let after = in_force(&turn, SOURCE).await;
        assert_eq!((after["list"].as_u64(), after["signs"].as_bool()), (Some(1), Some(false)));
        assert_eq!(in_force(&turn, "maebashi").await["signs"], true);
        let spent = now().ms_since(began);
        println!("{} timestamps in {spent} ms, each fresh for 4 s", after["timestamp"]);
    });
}

#[test]
fn what_people_decided_gets_its_timestamp_from_the_nodes() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&["maebashi", SOURCE]).await;
        let firm = turn.node("bank").participant.organisation();
        let strikes = |firm: &wire::OrganisationId| {
            let denied = Denied::Organisation(firm.clone());
            turn.network.decide(|wanted| wanted.list.denied = vec![denied]).expect("enough people")
        };
        let decided = strikes(&firm);
        // A source has no say, and one city alone is too few.
        let (status, said) = turn.hand_in(SOURCE, &decided).await;
        assert_eq!((status, said["type"].as_str()), (503, Some("urn:mebuku:problem:no-timestamp")));
        assert!(said["detail"].as_str().expect("why").contains("none of the timestamp keys"));
        let (status, said) = turn.hand_in("maebashi", &decided).await;
        assert_eq!(status, 503, "{said}");
        assert!(said["detail"].as_str().expect("why").contains("1 of 3"), "{said}");
        assert_eq!(in_force(&turn, "maebashi").await["list"], 1, "and nobody goes by it");

        turn.start(&CITIES[1..]).await;
        until("enough cities", async || turn.hand_in("maebashi", &decided).await.0 == 200).await;
        until("everybody to go by it", async || in_force(&turn, SOURCE).await["list"] == 2).await;
        let after = in_force(&turn, SOURCE).await;
        assert_eq!(after["denied"][0]["organisation"], firm.as_str(), "{after}");
        // What too few people signed gets none.
        let mut forged = turn.network.decide(rename).expect("a file");
        *forged.trust_list.0.last_mut().expect("a signature") ^= 1;
        assert_eq!(turn.hand_in("maebashi", &forged).await.0, 409);
    });
}

#[test]
fn three_operators_strike_a_member_off_at_once() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&CITIES).await;
        turn.start(&[SOURCE, RECIPIENT]).await;
        let mut taro = turn.citizen("citizen-6", SOURCE, RECIPIENT).await;
        turn.permit(&mut taro, SOURCE, RECIPIENT).await;
        let asked = question(&taro, SOURCE, RECIPIENT);
        assert!(turn.released(&asked).await);
        let gone = turn.node(RECIPIENT).participant.organisation();
        let denied = Denied::Organisation(gone.clone());

        let (status, said) = deny(&turn, SOURCE, &denied).await;
        assert_eq!(status, 409, "no operator of a source: {said}");
        let (status, said) = deny(&turn, CITIES[0], &denied).await;
        assert_eq!((status, said[0]["signed"].as_u64()), (200, Some(1)), "{said}");
        until("the others to hear of it", async || {
            in_force(&turn, CITIES[1]).await["denials"][0]["signed"] == 1
        })
        .await;
        let (_, said) = deny(&turn, CITIES[1], &denied).await;
        assert_eq!((said[0]["signed"].as_u64(), said[0]["needed"].as_u64()), (Some(2), Some(3)));
        assert!(turn.released(&asked).await, "two are too few");

        let began = now();
        assert_eq!(deny(&turn, CITIES[2], &denied).await.0, 200);
        until("the source to be rid of it", async || {
            in_force(&turn, SOURCE).await["denylist"][0]["organisation"] == gone.as_str()
        })
        .await;
        println!("struck off at the source {} ms after the third operator", now().ms_since(began));
        let refused = turn.ask(&Question { id: nonce(), ..asked.clone() }).await;
        assert_ne!(refused.status, 200, "{}", refused.text());
        let peers = client(turn.node(SOURCE)).get("/v1/peers").await.expect("peers").text();
        assert!(!peers.contains(gone.as_str()), "{peers}");

        // The next list says nothing of it: it lapses. That is what the difference told the signers.
        let lapse = turn.network.decide(rename).expect("a list that does not confirm it");
        assert_eq!(turn.hand_in(CITIES[0], &lapse).await.0, 200);
        until("it to be a member again", async || {
            turn.ask(&Question { id: nonce(), ..asked.clone() }).await.status == 200
        })
        .await;
        let before = turn.network.deny_certificates(&[]).expect("the list before");
        assert_eq!(turn.hand_in(CITIES[0], &before).await.0, 409, "and nothing goes back");
    });
}

/// Its file has run out long ago, as on a disk of last year's: it can judge nobody, and asks before anything
/// else.
#[test]
fn a_node_from_an_old_disk_catches_up_alone() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        let fresh = turn.network.with_timestamp(|timestamp| timestamp.version += 2);
        let old = turn.network.with_timestamp(|timestamp| {
            timestamp.version += 1;
            timestamp.soft_expiry = timestamp.issued.plus_ms(1);
            timestamp.hard_expiry = timestamp.issued.plus_ms(2);
        });
        let path = turn.node(SOURCE).directory.join("trust.cbor");
        let original = std::fs::read(&path).expect("a file");
        std::fs::write(&path, cbor::to_vec(&old.expect("a file"))).expect("written");
        turn.processes.start(turn.node(SOURCE)).expect("a process");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(client(turn.node(SOURCE)).get("/health").await.is_err(), "it serves nobody");

        turn.start(&["maebashi"]).await;
        // The city has nothing newer at first: an honest answer, and no way in.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(client(turn.node(SOURCE)).get("/health").await.is_err(), "nothing to go by");
        assert_eq!(turn.hand_in("maebashi", &fresh.expect("a file")).await.0, 200);
        turn.ready(SOURCE).await;
        assert_eq!(in_force(&turn, SOURCE).await["timestamp"], 3);
        // Kept: it starts again without asking anybody.
        turn.processes.kill("maebashi").expect("it ran");
        turn.processes.kill(SOURCE).expect("it ran");
        turn.processes.start(turn.node(SOURCE)).expect("a process");
        until("it to start alone", async || {
            client(turn.node(SOURCE)).get("/v1/trust").await.is_ok()
        })
        .await;
        assert_eq!(in_force(&turn, SOURCE).await["timestamp"], 3);
        std::fs::write(&path, original).expect("written");
    });
}
