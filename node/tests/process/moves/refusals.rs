//! Moves that are not right are refused, each for what is wrong with it, and change nothing.

use testnet::{
    citizen::{Citizen, home_of, nonce, now},
    roster,
};
use wallet::moving;
use wire::{
    OrganisationId, Signed,
    channel::PairExtract,
    citizen::MoveSubmission,
    consent::{Attested, Move},
};

use super::{NEW, OLD, RECIPIENT, SOURCE, start};
use crate::{
    http::{call, refused},
    world::{Turn, run},
};

/// A move of the citizen's pair at the source, altered before it is signed with the citizen's key.
fn signed(turn: &Turn, citizen: &Citizen, change: impl FnOnce(&mut Move)) -> Attested {
    let source = roster::service(SOURCE);
    let mut moving = Move {
        nonce: nonce(),
        pair: citizen.pair(&source).expect("a pair"),
        from: turn.node(OLD).participant.organisation(),
        to: turn.node(NEW).participant.organisation(),
        epoch: 1,
        time: now(),
    };
    change(&mut moving);
    let signer = citizen.signer(&source).expect("a key");
    let signed = Signed::new(moving, &turn.network.id, signer).expect("signed");
    let chain = citizen.wallet.service(&source).expect("a key").chain.clone();
    Attested { object: signed.bytes().to_vec().into(), chain }
}

fn alone(moving: Attested) -> MoveSubmission {
    moving::submission(moving, None)
}

#[test]
fn what_is_wrong_with_a_move_is_named() {
    run(async |mut turn| {
        start(&mut turn).await;
        let source = roster::service(SOURCE);
        let mut citizen = turn.citizen("citizen-2", SOURCE, RECIPIENT).await;
        turn.permit(&mut citizen, SOURCE, RECIPIENT).await;
        let (old, to) = (citizen.home.clone(), home_of(turn.node(NEW)));
        let new = node::wallet_client::WalletClient::new(&to.url).expect("a client");
        let third: OrganisationId = turn.node("ebetsu").participant.organisation();
        let before = citizen.pair_register(&source).await.expect("a register");

        // At the home left.
        let at_old = async |change: &dyn Fn(&mut Move), status, words: &str| {
            let moving = signed(&turn, &citizen, change);
            refused(old.move_pair(&alone(moving)).await, status, words);
        };
        at_old(&|moving| moving.epoch = 2, 403, "epoch is not the pair's next").await;
        at_old(&|moving| moving.epoch = 0, 403, "epoch is not the pair's next").await;
        at_old(&|moving| moving.from = third.clone(), 400, "neither the home left nor").await;
        at_old(&|moving| moving.to = moving.from.clone(), 403, "from one home to another").await;
        let nobody = roster::service(RECIPIENT).organisation();
        at_old(&|moving| moving.to = nobody.clone(), 403, "no municipality of the trust list")
            .await;
        // Of a pair that is not here, and of another citizen's: this key has no say over either.
        let there = citizen.pair(&roster::service(RECIPIENT)).expect("a pair").subject;
        at_old(
            &|moving| moving.pair.subject = there,
            403,
            "another than the one that the move leaves",
        )
        .await;
        let stranger = turn.citizen("citizen-3", SOURCE, RECIPIENT).await;
        let theirs = citizen.pair(&source).expect("a pair");
        let foreign = signed(&turn, &stranger, |moving| moving.pair = theirs.clone());
        refused(old.move_pair(&alone(foreign)).await, 403, "");
        let mut altered = signed(&turn, &citizen, |_| ());
        let end = altered.object.0.len() - 1;
        altered.object.0[end] ^= 1;
        refused(old.move_pair(&alone(altered)).await, 400, "");
        let history = vec![before.extract()];
        let loaded = MoveSubmission { moving: signed(&turn, &citizen, |_| ()), history };
        refused(old.move_pair(&loaded).await, 400, "takes the move alone");
        // A key that ended: a second phone of the same person.
        let phone = second_phone(&turn, &citizen).await;
        let by_phone = signed(&turn, &phone, |_| ());
        let key = phone.wallet.service(&source).expect("a key").key.key_hash();
        citizen.end(&source, key, &[]).await.expect("ended");
        refused(old.move_pair(&alone(by_phone)).await, 403, "nobody who may say this");
        // Junk, and more than anybody has to say.
        let url = turn.node(OLD).public_url();
        call(&url, "POST", "/wallet/move", &[], b"junk").await.is_problem(400, "malformed", "");
        let long = vec![0u8; wire::limits::MOVE_SUBMISSION + 1];
        call(&url, "POST", "/wallet/move", &[], &long).await.is_problem(413, "too-large", "");

        // Nothing of this has moved anything.
        let shown = citizen.register(&source).await.expect("it reads");
        assert_eq!(shown.pair().epoch, 0);

        // At the home moved to, with a move that is right.
        let moving = signed(&turn, &citizen, |_| ());
        citizen.home.move_pair(&alone(moving.clone())).await.expect("let go");
        let left = citizen.pair_register(&source).await.expect("a register").extract();
        let at_new = async |history: Vec<PairExtract>, words: &str| {
            let submission = MoveSubmission { moving: moving.clone(), history };
            refused(new.move_pair(&submission).await, 403, words);
        };
        at_new(vec![], "the pair's home is another").await;
        for place in 0..left.entries.len() {
            let mut fewer = left.clone();
            fewer.entries.remove(place);
            at_new(vec![fewer], "missing, altered or added").await;
            let mut changed = left.clone();
            changed.entries[place].time = now();
            at_new(vec![changed], "missing, altered or added").await;
        }
        let mut unsigned = left.clone();
        let end = unsigned.statement.object.0.len() - 1;
        unsigned.statement.object.0[end] ^= 1;
        at_new(vec![unsigned], "word on its channel's head").await;
        // The register of before it let go is true, too, and says that the old home is home still.
        let other = signed(&turn, &citizen, |moving| moving.epoch = 7);
        let submission = MoveSubmission { moving: other, history: vec![left.clone()] };
        refused(new.move_pair(&submission).await, 403, "another than the one that the move leaves");
        let elsewhere = signed(&turn, &citizen, |moving| moving.to = third.clone());
        let submission = MoveSubmission { moving: elsewhere, history: vec![left.clone()] };
        refused(new.move_pair(&submission).await, 400, "neither the home left nor");
        let strangers = stranger.pair_register(&source).await.expect("a register").extract();
        at_new(vec![strangers], "an entry of another pair").await;

        let submission = MoveSubmission { moving: moving.clone(), history: vec![left.clone()] };
        let begun = new.move_pair(&submission).await.expect("taken over");
        assert_eq!(begun.waits_for, None);
        // Replayed at either home it is what it was.
        assert_eq!(new.move_pair(&submission).await.expect("known").seq, begun.seq);
        old.move_pair(&alone(moving)).await.expect("known");
        // A second move of the same epoch finds nobody to let go.
        let twice = signed(&turn, &citizen, |moving| moving.to = third.clone());
        refused(
            old.move_pair(&alone(twice)).await,
            403,
            "another than the one that the move leaves",
        );
    });
}

/// Another phone of the citizen, its key begun by the home after fresh proofing.
async fn second_phone(turn: &Turn, citizen: &Citizen) -> Citizen {
    let source = roster::service(SOURCE);
    let mut phone = Citizen::enrol(turn.network, "citizen-2").await.expect("enrolment");
    assert!(phone.join(&source).await.expect("a certificate"));
    assert_eq!(phone.pair(&source).expect("a pair"), citizen.pair(&source).expect("a pair"));
    phone
}
