//! The same request again is the same answer; a new one after a deny is a refusal.

use node::provider_client::Question;
use serde_json::Value;
use testnet::{citizen::nonce, roster};

use crate::world::{Turn, question, run};

async fn releases_of(turn: &Turn, source: &str, question: &Question) -> usize {
    let page = turn.provider(source).get("/v1/releases").await.expect("releases");
    let page = page.json().expect("json");
    let id = question.id.to_string();
    page.as_array().expect("a page").iter().filter(|release| release["id"] == id.as_str()).count()
}

#[test]
fn a_request_asked_again_is_answered_with_the_same_bytes() {
    run(async |mut turn| {
        turn.start(&["maebashi", "lunch", "hospital-a"]).await;
        let mut taro = turn.citizen("taro", "lunch", "hospital-a").await;
        turn.permit(&mut taro, "lunch", "hospital-a").await;

        let asked = question(&taro, "lunch", "hospital-a");
        let first = turn.ask(&asked).await;
        assert_eq!(first.status, 200, "{}", first.text());
        let again = turn.ask(&asked).await;
        assert_eq!(first.body, again.body);
        let presentation = first.json().expect("json")["presentation"].clone();
        assert!(matches!(&presentation, Value::String(text) if text.contains('~')));
        assert_eq!(releases_of(&turn, "lunch", &asked).await, 1);

        // Two at once with one id: one release, one presentation.
        let at_once = Question { id: nonce(), ..asked.clone() };
        let (one, other) = tokio::join!(turn.ask(&at_once), turn.ask(&at_once));
        let answered: Vec<_> = [one, other].into_iter().filter(|a| a.status == 200).collect();
        assert!(!answered.is_empty());
        assert!(answered.windows(2).all(|pair| pair[0].body == pair[1].body));
        let settled = turn.ask(&at_once).await;
        assert_eq!(settled.body, answered[0].body);
        assert_eq!(releases_of(&turn, "lunch", &at_once).await, 1);

        let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-a"));
        let deny = taro.sign_deny(&lunch, &hospital).expect("a deny");
        taro.hand_in(&deny).await.expect("accepted");
        taro.until_in_force(&lunch).await.expect("in force");

        let new = Question { id: nonce(), ..asked.clone() };
        let refused = turn.ask(&new).await;
        assert_eq!(refused.problem().as_deref(), Some("not-permitted"), "{}", refused.text());
        // The refusal stays the answer to that id, and nothing of it was released.
        assert_eq!(turn.ask(&new).await.body, refused.body);
        assert_eq!(releases_of(&turn, "lunch", &new).await, 0);

        // What the recipient has it has: under the old id, from its own store.
        assert_eq!(turn.ask(&asked).await.body, first.body);
        let kept = turn.provider("hospital-a").get(&format!("/v1/requests/{}", asked.id)).await;
        assert_eq!(kept.expect("an answer").body, first.body);
        assert_eq!(releases_of(&turn, "lunch", &asked).await, 1);
    });
}
