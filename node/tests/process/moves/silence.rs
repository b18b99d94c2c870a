//! The old home does not answer: the new one takes the pair, and the begin waits. The citizen can still
//! say no. The old home comes back, lets go, and the move comes to its end.

use node::wallet_client::WalletClient;
use testnet::{citizen::home_of, roster};
use wallet::moving;
use wire::citizen::InForce;

use super::{NEW, OLD, RECIPIENT, SOURCE, id_of, start};
use crate::{
    http::refused,
    world::{Turn, question, run, until},
};

async fn released(turn: &Turn, citizen: &testnet::citizen::Citizen) -> bool {
    turn.released(&question(citizen, SOURCE, RECIPIENT)).await
}

#[test]
fn a_home_that_does_not_let_go_is_waited_for() {
    run(async |mut turn| {
        start(&mut turn).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let mut citizen = turn.citizen("citizen-4", SOURCE, RECIPIENT).await;
        turn.permit(&mut citizen, SOURCE, RECIPIENT).await;
        assert!(released(&turn, &citizen).await);
        // What the wallet saw last is all that there is.
        let last = citizen.pair_register(&source).await.expect("a register");
        turn.processes.kill(OLD).expect("it ran");

        let to = home_of(turn.node(NEW));
        let new = WalletClient::new(&to.url).expect("a client");
        let moving = citizen.sign_move(&source, &to, &last).expect("a move");
        let arrive = moving::submission(moving.clone(), Some(&last));
        let maebashi = turn.node(OLD).participant.organisation();
        let reply = new.move_pair(&arrive).await.expect("taken");
        assert_eq!(reply.waits_for.as_ref(), Some(&maebashi));
        assert!(matches!(reply.status, InForce::Accepted), "{:?}", reply.status);
        assert!(!citizen.wallet.accept_move(&source, &to, &reply).expect("it follows"));
        let old = std::mem::replace(&mut citizen.home, new.clone());
        // It is never said to be in force, though the source has the entry.
        until("the source to have the begin", async || {
            let shown = citizen.pair_register(&source).await.expect("a register");
            shown.entries.len() == 1
        })
        .await;
        let again = new.move_pair(&arrive).await.expect("known");
        assert!(matches!(again.status, InForce::Accepted), "{:?}", again.status);
        let view = citizen.register(&source).await.expect("it reads");
        assert_eq!(view.rows().last().expect("a row").status, Some(InForce::Accepted));
        assert_eq!(view.pair().home.as_ref(), Some(&maebashi));

        // Permits wait for their home; a deny is relayed, and holds at once.
        let permit = citizen.sign_permit(&source, &recipient, &[]).expect("a permit");
        refused(new.decide(&permit).await, 409, &maebashi.to_string());
        let deny = citizen.sign_deny(&source, &recipient).expect("a deny");
        let told = new.decide(&deny).await.expect("relayed");
        assert!(told.effect.is_some(), "the source's own receipt");
        assert!(!released(&turn, &citizen).await);

        // The old home is back: it lets go by the same move, and what waited acts.
        turn.start(&[OLD]).await;
        old.move_pair(&moving::submission(moving.clone(), None)).await.expect("let go");
        let query =
            citizen.wallet.query(&source, testnet::citizen::nonce(), testnet::citizen::now());
        let query = query.expect("a query").sign(citizen.signer(&source).expect("a key"));
        let query = citizen.wallet.attest_with_service_key(&source, &query.expect("signed"));
        let left = old.register(&query.expect("attested")).await.expect("a register");
        let reply = new.move_pair(&moving::submission(moving, Some(&left))).await.expect("begun");
        assert_eq!((reply.seq, reply.waits_for.clone()), (again.seq, None));
        assert!(citizen.wallet.accept_move(&source, &to, &reply).expect("it follows"));
        let permit = citizen.sign_permit(&source, &recipient, &[id_of(&turn, &deny)]);
        until("the new home to hear of the deny", async || {
            let view = citizen.register(&source).await.expect("it reads");
            view.pair().knows_deny(&id_of(&turn, &deny))
        })
        .await;
        citizen.hand_in(&permit.expect("a permit")).await.expect("accepted");
        citizen.until_in_force(&source).await.expect("in force");
        until("releases under the new home", async || released(&turn, &citizen).await).await;
    });
}
