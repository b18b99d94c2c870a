//! Enrolments that must not end in a certificate. A challenge is good for one attempt, whatever
//! becomes of it.

use testnet::citizen::{PhoneKey, nonce, now};
use wallet::Wallet;
use wire::{PublicKey, Signed, Signer, citizen::Challenge, citizen::Enrolment};

use crate::{
    http::{call, refused},
    world::{Turn, run},
};

fn phone(turn: &Turn) -> Wallet {
    let city = turn.node("maebashi");
    let home =
        wallet::Home { organisation: city.participant.organisation(), url: city.public_url() };
    Wallet::new(turn.network.id, home)
}

/// An enrolment of Hanako's card for this challenge; `alter` may touch the card's signature.
fn enrolment(
    turn: &Turn,
    challenge: Challenge,
    key: &PhoneKey,
    alter: impl FnOnce(&mut Vec<u8>),
) -> Signed<Enrolment> {
    let card = turn.network.card("hanako").expect("a card");
    let draft = phone(turn).enrolment(challenge, key.public_key(), now()).expect("a draft");
    let mut signature = card.sign(&draft.card_message()).expect("the card signs");
    alter(&mut signature);
    draft.with_card(card.certificate().to_vec(), signature).sign(key).expect("signed")
}

#[test]
fn a_challenge_is_good_for_one_honest_card() {
    run(async |mut turn| {
        turn.start(&["maebashi"]).await;
        let city = turn.node("maebashi");
        let home = node::wallet_client::WalletClient::new(&city.public_url()).expect("a client");
        let key = PhoneKey::generate().expect("a key");
        let issued = turn.metric("maebashi", "mebuku_certificates_issued_total").await;

        // The card's signature altered; then the same challenge, rightly answered: too late.
        let challenge = home.challenge().await.expect("a challenge");
        let altered = enrolment(&turn, challenge.clone(), &key, |signature| signature[17] ^= 4);
        refused(home.enrol(&altered).await, 403, "the card's signature is not over this challenge");
        let honest = enrolment(&turn, challenge, &key, |_| ());
        refused(home.enrol(&honest).await, 403, "the challenge is not open here");

        // The card signed for another phone's key.
        let challenge = home.challenge().await.expect("a challenge");
        let theirs = PhoneKey::generate().expect("a key");
        let for_theirs = enrolment(&turn, challenge, &theirs, |_| ());
        let stolen = Enrolment { id_key: key.public_key(), ..for_theirs.unverified().clone() };
        let stolen = Signed::new(stolen, &turn.network.id, &key).expect("signed");
        refused(home.enrol(&stolen).await, 403, "not over this challenge and this ID key");

        // Somebody else signs for the key that is named.
        let challenge = home.challenge().await.expect("a challenge");
        let named: PublicKey = key.public_key();
        let unproven = enrolment(&turn, challenge, &theirs, |_| ());
        let unproven = Enrolment { id_key: named, ..unproven.unverified().clone() };
        let unproven = Signed::new(unproven, &turn.network.id, &theirs).expect("signed");
        refused(home.enrol(&unproven).await, 403, "not signed by the ID key that it names");

        // Challenges that this home never gave, or not like this.
        let challenge = home.challenge().await.expect("a challenge");
        let invented = Challenge { nonce: nonce(), ..challenge.clone() };
        let invented = enrolment(&turn, invented, &key, |_| ());
        refused(home.enrol(&invented).await, 403, "the challenge is not open here");
        let longer = Challenge { expires: challenge.expires.plus_ms(60_000), ..challenge.clone() };
        let longer = enrolment(&turn, longer, &key, |_| ());
        refused(home.enrol(&longer).await, 403, "the challenge was altered");

        // Another network's card.
        let challenge = home.challenge().await.expect("a challenge");
        let honest = enrolment(&turn, challenge.clone(), &key, |_| ());
        let elsewhere = wire::NetworkId([8; 32]);
        let elsewhere = Signed::new(honest.unverified().clone(), &elsewhere, &key).expect("signed");
        refused(home.enrol(&elsewhere).await, 403, "not signed by the ID key that it names");

        let after = turn.metric("maebashi", "mebuku_certificates_issued_total").await;
        assert_eq!(after, issued, "no certificate came of all that");

        // What cannot be read is no attempt, and costs the log nothing.
        let log = turn.metric("maebashi", "mebuku_log_size").await;
        for _ in 0..20 {
            let reply = call(&city.public_url(), "POST", "/wallet/enrol", &[], b"\x84\x40").await;
            reply.is_problem(400, "malformed", "the enrolment cannot be read");
        }
        assert_eq!(turn.metric("maebashi", "mebuku_log_size").await, log);

        // An honest one, at last: and its challenge is used up as well.
        let challenge = home.challenge().await.expect("a challenge");
        let honest = enrolment(&turn, challenge, &key, |_| ());
        home.enrol(&honest).await.expect("a certificate");
        refused(home.enrol(&honest).await, 403, "the challenge is not open here");
    });
}
