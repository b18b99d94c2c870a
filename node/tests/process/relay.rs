//! A deny handed to any municipality: it holds at the source although the citizen's own home is dead,
//! and where the source is dead, too, it is kept and brought there later. Which of the two is said.

use node::{provider_client::Question, wallet_client::WalletClient};
use testnet::{
    citizen::{Citizen, nonce, now},
    roster,
};
use wire::{
    DecisionId, Signed,
    citizen::InForce,
    consent::{Attested, Decision},
    notice::EffectHow,
};

use crate::{
    http::refused,
    world::{Turn, question, run, until},
};

const SOURCE: &str = "hospital-b";
const RECIPIENT: &str = "hospital-a";
const DENIED: &str = "mebuku_refusals_total{reason=\"denied\"} ";

fn id_of(turn: &Turn, deny: &Attested) -> DecisionId {
    Signed::<Decision>::decode(&deny.object, &turn.network.id).expect("a deny").id().into()
}

async fn is_denied(turn: &Turn, citizen: &Citizen) -> bool {
    let before = turn.metric(SOURCE, DENIED).await;
    let asked = Question { id: nonce(), ..question(citizen, SOURCE, RECIPIENT) };
    assert_ne!(turn.ask(&asked).await.status, 200, "no release after the deny");
    turn.metric(SOURCE, DENIED).await > before
}

#[test]
fn a_deny_reaches_its_source_through_any_city() {
    run(async |mut turn| {
        turn.start(&["maebashi", "ebetsu", SOURCE, RECIPIENT]).await;
        let mut taro = turn.citizen("taro", SOURCE, RECIPIENT).await;
        turn.permit(&mut taro, SOURCE, RECIPIENT).await;
        assert_eq!(turn.ask(&question(&taro, SOURCE, RECIPIENT)).await.status, 200);
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let ebetsu = WalletClient::new(&turn.node("ebetsu").public_url()).expect("a client");

        let permit = taro.sign_permit(&source, &recipient, &[]).expect("a permit");
        refused(ebetsu.deny(&permit).await, 400, "only a deny");
        let mut altered = taro.sign_deny(&source, &recipient).expect("a deny");
        *altered.object.0.last_mut().expect("a signature") ^= 1;
        refused(ebetsu.deny(&altered).await, 400, "the signature does not match");

        // The citizen's own home is dead.
        turn.processes.kill("maebashi").expect("it ran");
        let deny = taro.sign_deny(&source, &recipient).expect("a deny");
        let reply = ebetsu.deny(&deny).await.expect("relayed");
        assert_eq!((reply.decision, reply.seq), (id_of(&turn, &deny), None));
        assert!(matches!(reply.status, InForce::Acknowledged(_)));
        let (trust, receipt) = (taro.trust.clone(), reply.effect.expect("the source's receipt"));
        let effect = taro.wallet.accept_effect(&source, &reply.decision, &receipt, &trust, now());
        assert_eq!(effect.expect("it holds").how, EffectHow::AtSource);
        assert!(is_denied(&turn, &taro).await, "for the deny, not for the lease");

        // So is the source: then it is not in force, and the city says so.
        turn.processes.kill(SOURCE).expect("it ran");
        let later = taro.sign_deny(&source, &recipient).expect("a deny");
        let reply = ebetsu.deny(&later).await.expect("kept");
        assert!(reply.seq.is_some() && reply.effect.is_none(), "{reply:?}");
        assert!(matches!(reply.status, InForce::Accepted | InForce::Durable), "{reply:?}");
        let again = ebetsu.deny(&later).await.expect("known");
        assert_eq!(again.seq, reply.seq, "once");
        // It forgets nothing when it dies itself.
        turn.processes.kill("ebetsu").expect("it ran");
        turn.start(&["ebetsu", "maebashi", SOURCE]).await;
        // The source has it from Ebetsu, and the citizen's home from the source.
        until("the citizen's home to know both", async || {
            let Ok(view) = taro.register(&source).await else { return false };
            [&deny, &later].iter().all(|deny| view.pair().knows_deny(&id_of(&turn, deny)))
        })
        .await;
        assert!(is_denied(&turn, &taro).await);
        let both = [id_of(&turn, &deny), id_of(&turn, &later)];
        let one = taro.sign_permit(&source, &recipient, &both[..1]).expect("a permit");
        taro.hand_in(&one).await.expect("accepted");
        taro.until_in_force(&source).await.expect("in force");
        assert!(is_denied(&turn, &taro).await, "the other one stands at the source");
        let naming = taro.sign_permit(&source, &recipient, &both).expect("a permit");
        taro.hand_in(&naming).await.expect("accepted");
        taro.until_in_force(&source).await.expect("in force");
        let asked = Question { id: nonce(), ..question(&taro, SOURCE, RECIPIENT) };
        assert_eq!(turn.ask(&asked).await.status, 200, "both are named");
    });
}
