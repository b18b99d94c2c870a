//! Two phones of one person: the second is begun by the first, a view from before a deny reopens
//! nothing, and a lost phone's permit is void whenever it was signed.

use testnet::{citizen::Citizen, roster};
use wire::{DecisionId, Signed, consent::Decision};

use crate::{
    http::refused,
    world::{ALLERGY, ITEM, Run, Turn, question, run, until},
};

const SOURCE: &str = "clinic";
const RECIPIENT: &str = "hospital-a";

async fn released(turn: &Turn, citizen: &Citizen) -> bool {
    turn.released(&question(citizen, SOURCE, RECIPIENT)).await
}

#[test]
fn a_phone_begins_the_next_one_and_a_lost_one_is_ended() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let first = turn.citizen("citizen-5", SOURCE, RECIPIENT).await;
        let subject = first.pair(&source).expect("a pair").subject;
        let item = ITEM.parse().expect("an item");
        let put = turn.provider(SOURCE).put_record(&source, &subject, &item, ALLERGY).await;
        assert_eq!(put.expect("an answer").status, 204);

        // From now on this home begins no key by itself: another phone has to.
        turn.processes.kill("maebashi").expect("it ran");
        let config = turn.node("maebashi").config();
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let own = config.with_file_name("phones.toml");
        std::fs::write(&own, format!("{text}\n[home]\nfresh_proofing_s = 0\n")).expect("written");
        let _home = Run::start(&own);
        turn.ready("maebashi").await;
        turn.leased_anew(SOURCE, "maebashi").await;

        let mut second = Citizen::enrol(turn.network, "citizen-5").await.expect("enrolment");
        assert!(!second.join(&source).await.expect("a certificate"), "not begun by the home");
        second.join(&recipient).await.expect("a certificate");
        second.link(&source, &recipient).await.expect("a link");
        let early = second.sign_permit(&source, &recipient, &[]).expect("a permit");
        refused(second.hand_in(&early).await, 403, "no key-begin names this key");
        assert!(!released(&turn, &second).await, "its key has not begun");

        let chain = second.wallet.service(&source).expect("a key").chain.clone();
        let key = second.wallet.service(&source).expect("a key").key.key_hash();
        first.approve(&source, chain).await.expect("begun");
        second.hand_in(&early).await.expect("accepted");
        second.until_in_force(&source).await.expect("in force");
        assert!(released(&turn, &second).await, "begun by the first phone, its permit counts");

        // The first phone denies; the second signs from a view in which there is no deny.
        let deny = first.sign_deny(&source, &recipient).expect("a deny");
        first.hand_in(&deny).await.expect("accepted");
        let stale = second.sign_permit(&source, &recipient, &[]).expect("a permit");
        second.hand_in(&stale).await.expect("accepted");
        let view = second.until_in_force(&source).await.expect("in force");
        assert!(!released(&turn, &second).await, "a deny stands until a permit names it");
        let deny = Signed::<Decision>::decode(&deny.object, &turn.network.id).expect("a deny").id();
        let deny = DecisionId::from(deny);
        assert!(view.pair().denies.contains_key(&deny), "the register shows it");
        let naming = second.sign_permit(&source, &recipient, &[deny]).expect("a permit");
        second.hand_in(&naming).await.expect("accepted");
        second.until_in_force(&source).await.expect("in force");
        assert!(released(&turn, &second).await);

        // It is lost. What it signed before and hands in after is void, and its certificate revoked.
        let later = second.sign_permit(&source, &recipient, &[deny]).expect("a permit");
        first.end(&source, key, &[]).await.expect("ended");
        first.until_in_force(&source).await.expect("in force");
        assert!(!released(&turn, &first).await, "the lost phone's permits are void");
        refused(second.hand_in(&later).await, 403, "the key was ended");
        first.until_in_force(&source).await.expect("in force");
        assert!(!released(&turn, &first).await, "whenever it was signed");
        let certificate = second.wallet.certificate_hash(&source).expect("a certificate");
        let status = first.home.certificate_status(&certificate).await.expect("a status");
        let checked =
            second.wallet.check_status(&source, &status, &second.trust, testnet::citizen::now());
        assert!(matches!(checked, Err(wallet::WalletError::Revoked)), "{checked:?}");
        until("the first phone to be the only one", async || {
            let view = first.register(&source).await.expect("a register");
            view.pair().ended.contains_key(&key)
        })
        .await;
    });
}
