//! Every release and refused attempt reaches the citizen's history, late if need be; and a receipt
//! says since when a decision is in force.

use node::{provider_client::Question, wallet_client::WalletClient};
use testnet::{
    citizen::{Citizen, nonce, now},
    roster,
};
use wallet::HistoryView;
use wire::{
    DecisionId, Signed, Timestamp,
    consent::{Attested, Decision},
    notice::{Effect, EffectHow, NoticeOutcome},
};

use crate::{
    http::refused,
    world::{Turn, question, run, until},
};

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
        counts(&history(citizen, "lunch").await) == wanted
    })
    .await;
}

async fn ask(turn: &Turn, asked: &Question) -> u16 {
    turn.ask(&Question { id: nonce(), ..asked.clone() }).await.status
}

async fn effect(citizen: &mut Citizen, decision: DecisionId) -> Effect {
    let source = roster::service("lunch");
    let receipt = citizen.home.effect(&effect_query(citizen, decision)).await.expect("in force");
    let (trust, at) = (citizen.trust.clone(), now());
    let taken = citizen.wallet.accept_effect(&source, &decision, &receipt, &trust, at);
    taken.expect("a receipt that holds")
}

fn effect_query(citizen: &Citizen, decision: DecisionId) -> Attested {
    let source = roster::service("lunch");
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
        turn.start(&["maebashi", "lunch", "hospital-a"]).await;
        let mut hanako = turn.citizen("hanako", "lunch", "hospital-a").await;
        turn.permit(&mut hanako, "lunch", "hospital-a").await;
        let taro = turn.citizen("taro", "lunch", "hospital-a").await;
        let asked = question(&hanako, "lunch", "hospital-a");
        let before = now();
        assert_eq!(ask(&turn, &asked).await, 200);
        let other = Question { purpose: "emergency".parse().expect("a purpose"), ..asked.clone() };
        assert_eq!(ask(&turn, &other).await, 403);
        assert_eq!(ask(&turn, &other).await, 403);
        until_counts(&hanako, 1, &[("no-permit", 2)]).await;
        let view = history(&hanako, "lunch").await;
        let released = &view.notices[0];
        assert_eq!(released.recipient, roster::service("hospital-a"));
        assert!(released.first >= before && released.first <= now());
        assert!(history(&taro, "lunch").await.notices.is_empty(), "nobody else's");

        // The home is down: what happens meanwhile waits at the source, over its restart, too.
        turn.processes.kill("maebashi").expect("it ran");
        assert_eq!(ask(&turn, &other).await, 403);
        assert_eq!(ask(&turn, &other).await, 403);
        assert_eq!(ask(&turn, &other).await, 403);
        turn.processes.kill("lunch").expect("it ran");
        turn.start(&["maebashi", "lunch"]).await;
        // Whatever the reason was while the lease ran out, all three are there.
        until("the late notices to arrive", async || {
            let (released, refused) = counts(&history(&hanako, "lunch").await);
            released == 1 && refused.iter().map(|(_, count)| count).sum::<u64>() == 5
        })
        .await;
        receipts(&turn, &mut hanako).await;
    });
}

async fn receipts(turn: &Turn, citizen: &mut Citizen) {
    let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-a"));
    // Handed to the home: in force once the source has acknowledged it.
    let deny = citizen.sign_deny(&lunch, &hospital).expect("a deny");
    let handed_in = now();
    citizen.hand_in(&deny).await.expect("accepted");
    citizen.until_in_force(&lunch).await.expect("in force");
    let told = now();
    let effect = effect(citizen, id_of(turn, &deny)).await;
    assert_eq!(effect.how, EffectHow::Acknowledged);
    assert!(handed_in <= effect.since && effect.since <= told && !effect.present_consent_excepted);
    assert!(citizen.wallet.effect(&id_of(turn, &deny)).is_some());
    let unknown = effect_query(citizen, DecisionId([7; 32]));
    refused(citizen.home.effect(&unknown).await, 404, "no such decision");

    // Handed to the source: in force at once, by the source's own word.
    let direct = citizen.sign_deny(&lunch, &hospital).expect("a deny");
    let (source, id) = (WalletClient::new(&turn.node("lunch").public_url()), id_of(turn, &direct));
    let source = source.expect("a client");
    let handed_in = now();
    let receipt = source.deny_direct(&direct).await.expect("in force");
    let (trust, at) = (citizen.trust.clone(), now());
    let taken = citizen.wallet.accept_effect(&lunch, &id, &receipt, &trust, at).expect("holds");
    assert_eq!((taken.how, taken.seq), (EffectHow::AtSource, None));
    assert!(handed_in <= taken.since && taken.since <= at);
    let again = source.deny_direct(&direct).await.expect("known");
    let again = citizen.wallet.accept_effect(&lunch, &id, &again, &trust, now()).expect("holds");
    assert_eq!(again.since, taken.since, "since it first was");
}

#[test]
fn a_deny_is_not_in_force_while_a_lease_may_live_and_then_by_its_lapse() {
    run(async |mut turn| {
        turn.start(&["maebashi", "lunch", "hospital-a"]).await;
        let mut hanako = turn.citizen("hanako", "lunch", "hospital-a").await;
        turn.permit(&mut hanako, "lunch", "hospital-a").await;
        turn.processes.kill("lunch").expect("it ran");
        let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-a"));
        let deny = hanako.sign_deny(&lunch, &hospital).expect("a deny");
        let (handed_in, id) = (now(), id_of(&turn, &deny));
        hanako.hand_in(&deny).await.expect("accepted");
        let first = hanako.home.effect(&effect_query(&hanako, id)).await;
        // A source that was just killed may have had a lease: the first answer is no, unless this
        // machine was slower than the lease.
        if now() < handed_in.plus_ms(testnet::founding::LEASE_MS / 2) {
            refused(first, 409, "not bound by it yet");
        }
        until("the leases to lapse", async || {
            hanako.home.effect(&effect_query(&hanako, id)).await.is_ok()
        })
        .await;
        let effect = effect(&mut hanako, id).await;
        assert_eq!((effect.how, effect.present_consent_excepted), (EffectHow::LeasesLapsed, true));
        assert!(effect.since <= now() && effect.since > Timestamp(0));
        assert!(effect.since >= handed_in, "not before it was accepted");
    });
}
