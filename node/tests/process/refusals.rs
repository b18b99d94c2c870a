//! A recipient that asks in vain again and again: the evidence log grows at a set pace and says how
//! often, and the citizen's notices count every attempt.

use futures::future::join_all;
use node::provider_client::Question;
use serde_json::Value;
use testnet::{citizen::nonce, roster};
use wire::notice::NoticeOutcome;

use crate::world::{Turn, question, run, until};

const SOURCE: &str = "lunch";
const RECIPIENT: &str = "bank";
const DENIED: &str = "mebuku_refusals_total{reason=\"denied\"} ";
const ASKED: usize = 400;

/// The source's log entries of a kind: when, why and how many.
async fn logged(turn: &Turn, kind: &str) -> Vec<Value> {
    let (mut from, mut found) = (0, Vec::new());
    loop {
        let page = turn.provider(SOURCE).get(&format!("/v1/log?from={from}")).await.expect("a log");
        let page = page.json().expect("json").as_array().cloned().expect("a page");
        let Some(last) = page.last() else { return found };
        from = last["index"].as_u64().expect("a number") + 1;
        found.extend(page.into_iter().filter(|entry| entry["kind"] == kind));
    }
}

#[test]
fn a_flood_of_refusals_is_counted_and_not_forgotten() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let mut hanako = turn.citizen("hanako", SOURCE, RECIPIENT).await;
        turn.permit(&mut hanako, SOURCE, RECIPIENT).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let deny = hanako.sign_deny(&source, &recipient).expect("a deny");
        hanako.hand_in(&deny).await.expect("accepted");
        hanako.until_in_force(&source).await.expect("in force");

        let (apart, denied) =
            (logged(&turn, "refusal").await.len(), turn.metric(SOURCE, DENIED).await);
        let asked = question(&hanako, SOURCE, RECIPIENT);
        for _ in 0..ASKED / 20 {
            let ask = || async {
                let answer = turn.ask(&Question { id: nonce(), ..asked.clone() }).await;
                assert_eq!(answer.problem().as_deref(), Some("not-permitted"), "{}", answer.text());
            };
            join_all((0..20).map(|_| ask())).await;
        }
        assert_eq!(turn.metric(SOURCE, DENIED).await, denied + ASKED as u64);
        let newly_apart = logged(&turn, "refusal").await.len() - apart;
        assert!(
            (100..ASKED).contains(&newly_apart),
            "{newly_apart} stand in the log by themselves"
        );

        // A crash forgets no count: the next start tells the log of it.
        turn.processes.kill(SOURCE).expect("it ran");
        turn.start(&[SOURCE]).await;
        let counted = async || {
            let sums = logged(&turn, "refusals").await;
            let denied = sums.iter().filter(|sum| sum["reason"] == "denied");
            denied.map(|sum| sum["count"].as_u64().expect("a count")).sum::<u64>()
        };
        until("the log to be told", async || counted().await > 0).await;
        let counted = counted().await;
        println!("{ASKED} refused: {newly_apart} logged apart, {counted} counted");
        assert_eq!(counted + newly_apart as u64, ASKED as u64, "every attempt is in the log");

        // The citizen hears of each.
        until("the notices of all of them", async || {
            let query = hanako.query(&source).expect("a query");
            let history = hanako.home.history(&query).await.expect("a history");
            let notices = history.batches.iter().flat_map(|batch| &batch.notices);
            let refused = notices.filter(|notice| {
                notice.recipient == recipient
                    && matches!(&notice.outcome, NoticeOutcome::Refused(why) if why.as_str() == "denied")
            });
            refused.map(|notice| notice.count).sum::<u64>() == ASKED as u64
        })
        .await;
    });
}
