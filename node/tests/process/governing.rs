//! The municipalities decide while the network runs: nodes go by it as soon as it reaches one of them, whoever
//! is off the list is out within moments, and the others notice nothing.

use std::time::Duration;

use node::provider_client::Question;
use testnet::{
    citizen::{nonce, now},
    processes::client,
};
use wire::membership::TrustFile;

use crate::world::{Turn, question, run, until};

const SOURCE: &str = "lunch";
const RECIPIENT: &str = "hospital-a";
const GONE: &str = "ebetsu";

async fn list_version(turn: &Turn, key: &str) -> Option<u64> {
    let health = client(turn.node(key)).get("/health").await.ok()?;
    health.json().ok()?["trust_list_version"].as_u64()
}

async fn is_connected(turn: &Turn, key: &str, to: &str) -> bool {
    let organisation = turn.node(to).participant.organisation();
    let peers = client(turn.node(key)).get("/v1/peers").await.expect("peers").text();
    peers.contains(organisation.as_str())
}

fn without(turn: &Turn, key: &str) -> TrustFile {
    let gone = turn.node(key).participant.organisation();
    let removal = turn.network.govern(|wanted| {
        wanted.list.municipalities.retain(|city| city.organisation != gone);
        wanted.list.authorities.retain(|authority| authority.organisation != gone);
    });
    removal.expect("a trust file")
}

#[test]
fn a_city_is_removed_while_exchanges_run() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&["maebashi", GONE, SOURCE, RECIPIENT]).await;
        turn.leased(SOURCE, GONE).await;
        let mut taro = turn.citizen("taro", SOURCE, RECIPIENT).await;
        turn.permit(&mut taro, SOURCE, RECIPIENT).await;
        let asked = question(&taro, SOURCE, RECIPIENT);
        assert!(turn.released(&asked).await);
        let before = testnet_file(&turn);
        let removal = without(&turn, GONE);

        // It is handed to one node, which no operator of the source's has to know of.
        let began = now();
        let (status, said) = turn.hand_in("maebashi", &removal).await;
        assert_eq!(
            (status, said["news"].as_bool(), said["list"].as_u64()),
            (200, Some(true), Some(2)),
            "{said}"
        );
        let mut failed = 0;
        until("the source to go by it, and to be rid of the city", async || {
            failed += usize::from(!turn.released(&asked).await);
            list_version(&turn, SOURCE).await == Some(2) && !is_connected(&turn, SOURCE, GONE).await
        })
        .await;
        println!(
            "the removed city is out at the source {} ms after the list reached a node",
            now().ms_since(began)
        );
        assert!(turn.lease(SOURCE, GONE).await.is_none(), "its leases are void");
        for _ in 0..20 {
            failed += usize::from(!turn.released(&asked).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(failed, 0, "those who stay notice nothing");
        // It knocks in vain: it goes by the old list, and says so itself.
        assert!(!is_connected(&turn, SOURCE, GONE).await);
        assert!(!is_connected(&turn, "maebashi", GONE).await);
        until("the recipient to go by it", async || {
            list_version(&turn, RECIPIENT).await == Some(2)
        })
        .await;

        // Again is no news; back is refused, and nothing of it is kept.
        let (status, said) = turn.hand_in(SOURCE, &removal).await;
        assert_eq!((status, said["news"].as_bool()), (200, Some(false)), "{said}");
        let (status, said) = turn.hand_in(SOURCE, &before).await;
        assert_eq!(status, 409, "{said}");
        assert!(said["detail"].as_str().expect("why").contains("go back"), "{said}");
        let mut forged = removal.clone();
        *forged.trust_list.0.last_mut().expect("a signature") ^= 1;
        assert_eq!(turn.hand_in(SOURCE, &forged).await.0, 409);
        let garbage = client(turn.node(SOURCE)).hand_in_trust(vec![0xff]).await.expect("an answer");
        assert_eq!(garbage.status.as_u16(), 400);

        // Whoever starts anew goes by what it adopted, not by the file that it started with first.
        turn.processes.kill(SOURCE).expect("it ran");
        turn.start(&[SOURCE]).await;
        assert_eq!(list_version(&turn, SOURCE).await, Some(2));
        assert!(turn.lease(SOURCE, GONE).await.is_none());
        // The recipient may still hold the connection to the process that is gone.
        until("a release after the restart", async || {
            turn.ask(&Question { id: nonce(), ..asked.clone() }).await.status == 200
        })
        .await;
    });
}

/// A node that was away when the others were told catches up by itself, from whichever city it meets.
#[test]
fn a_node_that_was_away_catches_up() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&["maebashi"]).await;
        assert_eq!(turn.hand_in("maebashi", &without(&turn, GONE)).await.0, 200);
        turn.processes.start(turn.node(SOURCE)).expect("a process");
        until("the source to catch up", async || list_version(&turn, SOURCE).await == Some(2))
            .await;
        turn.ready(SOURCE).await;
    });
}

fn testnet_file(turn: &Turn) -> TrustFile {
    let path = turn.node("maebashi").directory.join("trust.cbor");
    node::run::read_trust(&path).expect("the file in force")
}
