//! A phone that was lost: what its keys still see, which keys it still gets begun, and how its ID key is
//! ended. Nothing here waits for a certificate to run out.

use node::wallet_client::{ClientError, WalletClient};
use testnet::{
    citizen::{Citizen, PhoneKey, nonce, now},
    founding::rogue_service_chain,
    roster,
};
use wire::{
    DecisionId, Message, ServiceName, Signed, Signer, Unsigned,
    citizen::{IdEnd, RecordSubmission, WalletQuery},
    consent::{Attested, Decision},
    notice::EffectQuery,
};

use crate::{
    http::refused,
    world::{ITEM, Turn, run, until},
};

const SOURCE: &str = "clinic";
const RECIPIENT: &str = "hospital-a";

/// Signed by a key that says it is of the citizen's pair, under a chain that says so.
fn signed<M: Message + Clone>(
    turn: &Turn,
    key: &dyn Signer,
    chain: &Attested,
    message: M,
) -> Attested {
    let signed = Unsigned::new(message, &turn.network.id, &key.public_key()).sign(key);
    let object = signed.expect("signed").bytes().to_vec().into();
    Attested { object, chain: chain.chain.clone() }
}

/// What one key is told when it asks for everything there is to see, and puts a record in.
async fn told(turn: &Turn, citizen: &Citizen, key: &dyn Signer, chain: &Attested) -> [bool; 4] {
    let pair = citizen.pair(&roster::service(SOURCE)).expect("a pair");
    let query = || WalletQuery { pair: pair.clone(), nonce: nonce(), time: now() };
    let ask = |message| signed(turn, key, chain, message);
    let record = RecordSubmission {
        pair: pair.clone(),
        item: ITEM.parse().expect("an item"),
        content: br#"{"resourceType":"AllergyIntolerance"}"#.to_vec().into(),
        nonce: nonce(),
        time: now(),
    };
    let record = signed(turn, key, chain, record);
    let source = WalletClient::new(&turn.node(SOURCE).public_url()).expect("a client");
    [
        may(citizen.home.register(&ask(query())).await),
        may(citizen.home.history(&ask(query())).await),
        may(citizen.home.requests(&ask(query())).await),
        may(source.put_record(&record).await),
    ]
}

fn may<T: std::fmt::Debug>(result: Result<T, ClientError>) -> bool {
    match result {
        Ok(_) => true,
        Err(ClientError::Problem(no)) if no.status == 403 && no.detail.contains("it may deny") => {
            false
        }
        other => panic!("{other:?}"),
    }
}

/// Any key may deny, and gets the receipt of that deny, and of nothing else.
async fn denies_and_hears_of_it(turn: &Turn, citizen: &Citizen, phone: &Citizen) -> DecisionId {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    let deny = phone.sign_deny(&source, &recipient).expect("a deny");
    phone.hand_in(&deny).await.expect("saying no is always safe");
    let id = Signed::<Decision>::decode(&deny.object, &turn.network.id).expect("a deny").id();
    let effect = |decision: DecisionId| {
        let pair = phone.pair(&source).expect("a pair");
        let query = EffectQuery { pair, decision, nonce: nonce(), time: now() };
        signed(turn, phone.key(&source).expect("a key"), &deny, query)
    };
    until("the receipt of its own deny", async || {
        phone.home.effect(&effect(DecisionId::from(id))).await.is_ok()
    })
    .await;
    let others = citizen.sign_deny(&source, &recipient).expect("a deny");
    let others = citizen.hand_in(&others).await.expect("accepted").decision;
    refused(phone.home.effect(&effect(others)).await, 403, "it may deny");
    refused(phone.home.effect(&effect(DecisionId([7; 32]))).await, 403, "it may deny");
    DecisionId::from(id)
}

fn chain(phone: &Citizen, service: &ServiceName) -> Attested {
    let chain = phone.wallet.service(service).expect("a key").chain.clone();
    Attested { object: Vec::new().into(), chain }
}

#[test]
fn what_a_phone_sees_ends_with_its_key_and_a_rogue_cas_sees_nothing() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT, "lunch"]).await;
        let source = roster::service(SOURCE);
        let own = turn.citizen("taro", SOURCE, RECIPIENT).await;
        let mut lost = turn.citizen("taro", SOURCE, RECIPIENT).await;
        let everything = [true; 4];
        until("the source to know the keys", async || {
            let (key, chain) = (lost.key(&source).expect("a key"), chain(&lost, &source));
            told(&turn, &lost, key, &chain).await == everything
        })
        .await;

        // Another city's CA certifies a key for the same service id, unasked.
        let rogue = PhoneKey::generate().expect("a key");
        let pair = own.pair(&source).expect("a pair");
        let rogues = rogue_service_chain(turn.node("ebetsu"), &pair, &rogue.public_key(), now());
        let rogues = Attested { object: Vec::new().into(), chain: rogues.expect("a chain") };
        assert_eq!(told(&turn, &own, &rogue, &rogues).await, [false; 4]);

        let key = lost.key(&source).expect("a key").clone();
        own.end(&source, key.public_key().key_hash(), &[]).await.expect("ended");
        own.until_in_force(&source).await.expect("in force");
        assert_eq!(told(&turn, &lost, &key, &chain(&lost, &source)).await, [false; 4]);
        denies_and_hears_of_it(&turn, &own, &lost).await;

        // Whoever holds it gets no other key begun, however short ago the card was seen: neither at
        // this source nor at another, nor the ended one once more.
        assert!(!lost.join_with(&source, key.clone()).await.expect("certified"), "it ended");
        assert!(!lost.join(&source).await.expect("certified"), "not begun");
        let unbegun = lost.key(&source).expect("a key");
        assert_eq!(told(&turn, &lost, unbegun, &chain(&lost, &source)).await, [false; 4]);
        denies_and_hears_of_it(&turn, &own, &lost).await;
        assert!(!lost.join(&roster::service("lunch")).await.expect("certified"), "not begun");
        let key = own.key(&source).expect("a key");
        assert_eq!(told(&turn, &own, key, &chain(&own, &source)).await, everything);
    });
}

#[test]
fn a_lost_phones_id_key_is_ended_by_another() {
    run(async |mut turn| {
        turn.start(&["maebashi", "lunch", "bank"]).await;
        let (source, bank) = (roster::service("lunch"), roster::service("bank"));
        let own = Citizen::enrol(turn.network, "hanako").await.expect("enrolment");
        let mut lost = Citizen::enrol(turn.network, "hanako").await.expect("enrolment");
        let stranger = Citizen::enrol(turn.network, "taro").await.expect("enrolment");
        let id = |citizen: &Citizen| citizen.wallet.id().expect("enrolled").key().key_hash();
        lost.join(&source).await.expect("certified");
        lost.join(&bank).await.expect("certified");
        lost.link(&source, &bank).await.expect("linked");

        let no = |result: anyhow::Result<()>| {
            result.expect_err("a refusal").downcast::<ClientError>().expect("the home's")
        };
        let unknown = "no ID key of yours";
        refused::<()>(Err(no(stranger.end_id_key(id(&lost)).await)), 403, unknown);
        refused::<()>(Err(no(own.end_id_key(wire::KeyHash([7; 32])).await)), 403, unknown);
        // By itself, or in another's name: not even where the wallet would sign it.
        let itself = IdEnd { key: id(&lost), nonce: nonce(), time: now() };
        let late = IdEnd { time: wire::Timestamp(0), ..itself.clone() };
        refused(lost.hand_in_id_end(itself).await, 403, "not ended by itself");
        refused(own.hand_in_id_end(late).await, 403, "5 minutes");

        let log = turn.metric("maebashi", "mebuku_log_size").await;
        own.end_id_key(id(&lost)).await.expect("ended");
        assert_eq!(turn.metric("maebashi", "mebuku_log_size").await, log + 1, "it is evidence");
        own.end_id_key(id(&lost)).await.expect("the same again is the same");
        assert_eq!(turn.metric("maebashi", "mebuku_log_size").await, log + 1);
        let keys = own.id_keys().await.expect("a list").keys;
        let ended = keys.iter().find(|row| row.key == id(&lost)).expect("listed").ended;
        assert!(ended.is_some() && keys.iter().any(|row| row.key == id(&own)));
        assert!(keys.iter().all(|row| row.key != id(&stranger)));

        let ended = "the ID key was ended";
        let result = lost.join(&source).await.map(drop);
        refused::<()>(Err(no(result)), 403, ended);
        refused::<()>(Err(no(lost.link(&source, &bank).await)), 403, ended);
        refused::<()>(Err(no(lost.end_id_key(id(&own)).await)), 403, ended);
        refused::<()>(Err(no(lost.id_keys().await.map(drop))), 403, ended);

        // With the card it is enrolled anew.
        lost.enrol_again(turn.network, "hanako").await.expect("enrolment");
        assert!(lost.join(&source).await.expect("certified"));
    });
}
