//! Every release and refused attempt reaches the citizen's history, late if need be; and a receipt
//! says since when a decision is in force.

use node::{provider_client::Question, wallet_client::WalletClient};
use testnet::{
    citizen::{Citizen, nonce, now},
    roster,
};
use wallet::HistoryView;
use wire::{
    DecisionId, Signed,
    consent::{Attested, Decision},
    notice::{Effect, EffectHow, NoticeOutcome},
};

use crate::{
    http::refused,
    world::{Turn, question, run, until},
};

// Nobody else in these tests asks this source for these citizens' data.
const SOURCE: &str = "clinic";
const RECIPIENT: &str = "hospital-b";

async fn history(citizen: &Citizen, source: &str) -> HistoryView {
    let source = roster::service(source);
    let query = citizen.wallet.query(&source, nonce(), now()).expect("a query");
    let query = query.sign(citizen.signer(&source).expect("a key")).expect("signed");
    let query = citizen.wallet.attest_with_service_key(&source, &query).expect("attested");
    let history = citizen.home.history(&query).await.expect("a history");
    let read = citizen.wallet.read_history(&source, &history, &citizen.trust, now());
    read.expect("a history that holds")
}

/// How often something was released, and how often refused for which reason.
fn counts(view: &HistoryView) -> (u64, Vec<(String, u64)>) {
    let mut released = 0;
    let mut refused: Vec<(String, u64)> = Vec::new();
    for notice in &view.notices {
        match &notice.outcome {
            NoticeOutcome::Released { .. } => released += notice.count,
            NoticeOutcome::Refused(reason) => {
                match refused.iter_mut().find(|(known, _)| known == reason.as_str()) {
                    Some((_, count)) => *count += notice.count,
                    None => refused.push((reason.to_string(), notice.count)),
                }
            }
        }
    }
    refused.sort();
    (released, refused)
}

async fn until_counts(citizen: &Citizen, released: u64, refused: &[(&str, u64)]) {
    let refused: Vec<_> = refused.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect();
    let wanted = (released, refused);
    until(&format!("the history to say {wanted:?}"), async || {
        counts(&history(citizen, SOURCE).await) == wanted
    })
    .await;
}

async fn ask(turn: &Turn, asked: &Question) -> u16 {
    turn.ask(&Question { id: nonce(), ..asked.clone() }).await.status.as_u16()
}

async fn effect(citizen: &mut Citizen, source: &str, decision: DecisionId) -> Effect {
    let receipt =
        citizen.home.effect(&effect_query(citizen, source, decision)).await.expect("in force");
    let (trust, at, source) = (citizen.trust.clone(), now(), roster::service(source));
    let taken = citizen.wallet.accept_effect(&source, &decision, &receipt, &trust, at);
    taken.expect("a receipt that holds")
}

fn effect_query(citizen: &Citizen, source: &str, decision: DecisionId) -> Attested {
    let source = roster::service(source);
    let query = citizen.wallet.effect_query(&source, decision, nonce(), now()).expect("a query");
    let query = query.sign(citizen.signer(&source).expect("a key")).expect("signed");
    citizen.wallet.attest_with_service_key(&source, &query).expect("attested")
}

fn id_of(turn: &Turn, decision: &Attested) -> DecisionId {
    Signed::<Decision>::decode(&decision.object, &turn.network.id).expect("a decision").id().into()
}

#[test]
fn releases_and_refusals_reach_the_citizens_history() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let mut mallory = turn.citizen("mallory", SOURCE, RECIPIENT).await;
        turn.permit(&mut mallory, SOURCE, RECIPIENT).await;
        let taro = turn.citizen("taro", SOURCE, RECIPIENT).await;
        let asked = question(&mallory, SOURCE, RECIPIENT);
        let before = now();
        assert_eq!(ask(&turn, &asked).await, 200);
        let other = Question { purpose: "emergency".parse().expect("a purpose"), ..asked.clone() };
        assert_eq!(ask(&turn, &other).await, 403);
        assert_eq!(ask(&turn, &other).await, 403);
        until_counts(&mallory, 1, &[("no-permit", 2)]).await;
        let view = history(&mallory, SOURCE).await;
        let released = &view.notices[0];
        assert_eq!(released.recipient, roster::service(RECIPIENT));
        assert!(released.first >= before && released.first <= now());
        assert!(history(&taro, SOURCE).await.notices.is_empty(), "nobody else's");

        // The home is down: what happens meanwhile waits at the source, over its restart, too.
        turn.processes.kill("maebashi").expect("it ran");
        assert_eq!(ask(&turn, &other).await, 403);
        assert_eq!(ask(&turn, &other).await, 403);
        assert_eq!(ask(&turn, &other).await, 403);
        turn.processes.kill(SOURCE).expect("it ran");
        turn.start(&["maebashi", SOURCE]).await;
        // Whatever the reason was while the lease ran out, all three are there.
        until("the late notices to arrive", async || {
            let (released, refused) = counts(&history(&mallory, SOURCE).await);
            released == 1 && refused.iter().map(|(_, count)| count).sum::<u64>() == 5
        })
        .await;
        receipts(&turn, &mut mallory).await;
    });
}

async fn receipts(turn: &Turn, citizen: &mut Citizen) {
    let (from, to) = (roster::service(SOURCE), roster::service(RECIPIENT));
    // Handed to the home: in force once the source has acknowledged it.
    let deny = citizen.sign_deny(&from, &to).expect("a deny");
    let handed_in = now();
    citizen.hand_in(&deny).await.expect("accepted");
    citizen.until_in_force(&from).await.expect("in force");
    let told = now();
    let effect = effect(citizen, SOURCE, id_of(turn, &deny)).await;
    assert_eq!(effect.how, EffectHow::Acknowledged);
    assert!(handed_in <= effect.since && effect.since <= told && !effect.present_consent_excepted);
    assert!(citizen.wallet.effect(&id_of(turn, &deny)).is_some());
    let unknown = effect_query(citizen, SOURCE, DecisionId([7; 32]));
    refused(citizen.home.effect(&unknown).await, 404, "no such decision");

    // Handed to the source: in force at once, by the source's own word.
    let direct = citizen.sign_deny(&from, &to).expect("a deny");
    let (source, id) = (WalletClient::new(&turn.node(SOURCE).public_url()), id_of(turn, &direct));
    let source = source.expect("a client");
    let handed_in = now();
    let receipt = source.deny(&direct).await.expect("in force").effect.expect("a receipt");
    let (trust, at) = (citizen.trust.clone(), now());
    let taken = citizen.wallet.accept_effect(&from, &id, &receipt, &trust, at).expect("holds");
    assert_eq!((taken.how, taken.seq), (EffectHow::AtSource, None));
    assert!(handed_in <= taken.since && taken.since <= at);
    let again = source.deny(&direct).await.expect("known").effect.expect("a receipt");
    let again = citizen.wallet.accept_effect(&from, &id, &again, &trust, now()).expect("holds");
    assert_eq!(again.since, taken.since, "since it first was");
}

#[test]
fn a_deny_is_not_in_force_while_a_lease_may_live_and_then_by_its_lapse() {
    run(async |mut turn| {
        turn.start(&["maebashi", "bank", RECIPIENT]).await;
        let mut taro = turn.citizen("taro", "bank", RECIPIENT).await;
        turn.permit(&mut taro, "bank", RECIPIENT).await;
        turn.processes.kill("bank").expect("it ran");
        let deny = taro.sign_deny(&roster::service("bank"), &roster::service(RECIPIENT));
        let deny = deny.expect("a deny");
        let (handed_in, id) = (now(), id_of(&turn, &deny));
        taro.hand_in(&deny).await.expect("accepted");
        // Until then the answer is a clear no.
        until("the leases to lapse", async || {
            match taro.home.effect(&effect_query(&taro, "bank", id)).await {
                Ok(_) => true,
                no => {
                    refused(no, 409, "not bound by it yet");
                    false
                }
            }
        })
        .await;
        let effect = effect(&mut taro, "bank", id).await;
        assert_eq!((effect.how, effect.present_consent_excepted), (EffectHow::LeasesLapsed, true));
        assert!(handed_in <= effect.since && effect.since <= now(), "not before it was accepted");
    });
}
