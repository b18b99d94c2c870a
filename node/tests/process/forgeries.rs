//! Decisions that are not what they say: each is refused by name, and none leaves a trace in the
//! register. A decision handed in twice is one decision.

use std::collections::BTreeSet;

use node::wallet_client::{ClientError, WalletClient};
use testnet::{
    citizen::{Citizen, PhoneKey, nonce, now},
    roster,
};
use wire::{
    NetworkId, PublicKey, SignError, SignatureBytes, Signed, Signer,
    consent::{Attested, Decision, KeyEnd},
};

use crate::{
    http::refused,
    world::{Turn, run},
};

/// Signs with one key in another's name.
struct InTheNameOf<'a> {
    named: PublicKey,
    signs: &'a PhoneKey,
}

impl Signer for InTheNameOf<'_> {
    fn public_key(&self) -> PublicKey {
        self.named
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        self.signs.sign(message)
    }
}

fn decision(submission: &Attested, network: &NetworkId) -> Decision {
    let signed = Signed::<Decision>::decode(&submission.object, network).expect("a decision");
    Decision { nonce: nonce(), ..signed.unverified().clone() }
}

/// What stands in the citizen's register for the lunch service, by number.
async fn numbers(citizen: &Citizen) -> BTreeSet<u64> {
    let register = citizen.register(&roster::service("lunch")).await.expect("a register");
    register.rows().iter().map(|row| row.seq).collect()
}

#[test]
fn a_decision_counts_as_it_was_signed_and_once() {
    run(async |mut turn| {
        turn.start(&["maebashi", "lunch", "hospital-b"]).await;
        let mut mallory = turn.citizen("mallory", "lunch", "hospital-b").await;
        let before = numbers(&mallory).await;
        let refusals = turn.metric("maebashi", "mebuku_decisions_accepted_total").await;
        forged(&turn, &mut mallory).await;
        altered(&turn, &mut mallory).await;
        handed_to_the_source(&turn, &mut mallory).await;
        assert_eq!(numbers(&mallory).await, before, "nothing was taken");
        let after = turn.metric("maebashi", "mebuku_decisions_accepted_total").await;
        assert_eq!(after, refusals, "nothing was taken");
        replayed(&mut mallory, &before).await;
    });
}

async fn forged(turn: &Turn, citizen: &mut Citizen) {
    let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-b"));
    let genuine = citizen.sign_permit(&lunch, &hospital, &[]).expect("a permit");
    let network = &turn.network.id;
    let (other, own) =
        (PhoneKey::generate().expect("a key"), citizen.signer(&lunch).expect("a key"));
    let attest = |object: &[u8]| Attested { object: object.to_vec().into(), ..genuine.clone() };

    let by_other = Signed::new(decision(&genuine, network), network, &other).expect("signed");
    let by_other = attest(by_other.bytes());
    refused(citizen.hand_in(&by_other).await, 400, "signed by another key");

    let posing = InTheNameOf { named: own.public_key(), signs: &other };
    let posing = Signed::new(decision(&genuine, network), network, &posing).expect("signed");
    let posing = attest(posing.bytes());
    refused(citizen.hand_in(&posing).await, 400, "the signature does not match");

    let elsewhere = Signed::new(decision(&genuine, network), &NetworkId([9; 32]), own);
    let elsewhere = attest(elsewhere.expect("signed").bytes());
    refused(citizen.hand_in(&elsewhere).await, 400, "another purpose or network");

    let end = KeyEnd {
        nonce: nonce(),
        pair: citizen.pair(&lunch).expect("a pair"),
        key: own.public_key().key_hash(),
        keeps: vec![],
        time: now(),
    };
    let end = attest(Signed::new(end, network, own).expect("signed").bytes());
    refused(citizen.hand_in(&end).await, 400, "key-end");
    refused(citizen.home.register(&end).await, 400, "key-end");
    refused(citizen.home.service_key(&end).await, 400, "");
    refused(citizen.home.key(&genuine).await, 400, "neither a key-begin nor a key-end");
    refused(citizen.home.link(&genuine).await, 400, "");

    let stranger = turn.citizen("taro", "lunch", "hospital-b").await;
    let taros = stranger.wallet.service(&lunch).expect("a key").chain.clone();
    let key = stranger.signer(&lunch).expect("a key");
    let for_other = Signed::new(decision(&genuine, network), network, key).expect("signed");
    let for_other = Attested { object: for_other.bytes().to_vec().into(), chain: taros };
    refused(citizen.hand_in(&for_other).await, 403, "another service id");
}

/// One flipped bit, anywhere: no answer is a yes.
async fn altered(_turn: &Turn, citizen: &mut Citizen) {
    let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-b"));
    let genuine = citizen.sign_permit(&lunch, &hospital, &[]).expect("a permit");
    let mut tried = 0;
    for at in (0..genuine.object.len()).step_by(13) {
        let mut flipped = genuine.clone();
        flipped.object.0[at] ^= 1 << (at % 8);
        let answer = citizen.hand_in(&flipped).await;
        let no =
            matches!(&answer, Err(ClientError::Problem(no)) if [400, 403].contains(&no.status));
        assert!(no, "byte {at}: {answer:?}");
        tried += 1;
    }
    println!("{tried} places of a permit of {} bytes were flipped", genuine.object.len());
}

async fn handed_to_the_source(turn: &Turn, citizen: &mut Citizen) {
    let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-b"));
    let source = WalletClient::new(&turn.node("lunch").public_url()).expect("a client");
    let permit = citizen.sign_permit(&lunch, &hospital, &[]).expect("a permit");
    refused(source.deny(&permit).await, 400, "only a deny");
    let mut deny = citizen.sign_deny(&lunch, &hospital).expect("a deny");
    *deny.object.0.last_mut().expect("a signature") ^= 1;
    refused(source.deny(&deny).await, 400, "the signature does not match");
    let other = WalletClient::new(&turn.node("hospital-b").public_url()).expect("a client");
    let deny = citizen.sign_deny(&lunch, &hospital).expect("a deny");
    refused(other.deny(&deny).await, 400, "no such service at this node");
}

async fn replayed(citizen: &mut Citizen, before: &BTreeSet<u64>) {
    let (lunch, hospital) = (roster::service("lunch"), roster::service("hospital-b"));
    let permit = citizen.sign_permit(&lunch, &hospital, &[]).expect("a permit");
    let deny = citizen.sign_deny(&lunch, &hospital).expect("a deny");
    let mut taken = before.clone();
    for decision in [permit, deny] {
        let first = citizen.hand_in(&decision).await.expect("accepted");
        assert!(taken.insert(first.seq.expect("an entry")), "a number of its own");
        for _ in 0..3 {
            let again = citizen.hand_in(&decision).await.expect("known");
            assert_eq!((again.seq, again.decision), (first.seq, first.decision));
        }
    }
    assert_eq!(numbers(citizen).await, taken);
}
