//! The home is gone: a deny still bites, and without a lease nothing is released. It comes back:
//! everything goes on, and it learns of the deny.

use node::{provider_client::Question, wallet_client::WalletClient};
use testnet::{
    citizen::{Citizen, now},
    founding::LEASE_MS,
    roster,
};
use wire::{Hash, Signed, consent::Decision};

use crate::world::{PATIENCE_MS, Turn, question, run, until};

const DENIED: &str = "mebuku_refusals_total{reason=\"denied\"}";
const NO_LEASE: &str = "mebuku_refusals_total{reason=\"no-lease\"}";

#[test]
fn a_deny_holds_without_its_home_and_a_lease_does_not() {
    run(async |mut turn| {
        turn.start(&["maebashi", "bank", "hospital-a"]).await;
        let mut hanako = turn.citizen("hanako", "bank", "hospital-a").await;
        turn.permit(&mut hanako, "bank", "hospital-a").await;
        let mut mallory = turn.citizen("mallory", "bank", "hospital-a").await;
        turn.permit(&mut mallory, "bank", "hospital-a").await;
        let hanakos = question(&hanako, "bank", "hospital-a");
        let mallorys = question(&mallory, "bank", "hospital-a");
        assert!(turn.released(&hanakos).await && turn.released(&mallorys).await);

        turn.processes.kill("maebashi").expect("it ran");
        let killed = now();
        let deny = deny_at_the_source(&turn, &hanako, &hanakos).await;
        until_the_lease_ran_out(&turn, &mallorys, killed).await;

        turn.start(&["maebashi"]).await;
        until("releases to go on", async || turn.released(&mallorys).await).await;
        println!("released again {} ms after the kill", now().ms_since(killed));
        assert!(!turn.released(&hanakos).await, "the deny stands");
        let bank = roster::service("bank");
        until("the home to learn of the deny", async || {
            let register = hanako.register(&bank).await;
            register.is_ok_and(|view| {
                view.rows().iter().any(|row| row.decision().is_some_and(|(id, _)| id.0 == deny.0))
            })
        })
        .await;
        hanako.until_in_force(&bank).await.expect("in force");
        assert!(!turn.released(&hanakos).await, "the deny stands");
        assert!(turn.released(&mallorys).await, "and is about nobody else");
    });
}

/// Hands a deny straight to the source. The next request is refused for it. Gives its id.
async fn deny_at_the_source(turn: &Turn, citizen: &Citizen, asked: &Question) -> Hash {
    let (bank, hospital) = (roster::service("bank"), roster::service("hospital-a"));
    let deny = citizen.sign_deny(&bank, &hospital).expect("a deny");
    let source = WalletClient::new(&turn.node("bank").public_url()).expect("a client");
    let before = turn.metric("bank", DENIED).await;
    source.deny(&deny).await.expect("in force");
    let told = now();
    assert!(!turn.released(asked).await, "the deny bites at once");
    println!("told in force, and refused {} ms later", now().ms_since(told));
    assert_eq!(turn.metric("bank", DENIED).await, before + 1, "for the deny, not for the lease");
    // Again is the same deny.
    source.deny(&deny).await.expect("known");
    assert!(!turn.released(asked).await);
    let signed = Signed::<Decision>::decode(&deny.object, &turn.network.id).expect("a decision");
    signed.id()
}

/// Asks until the first refusal: no release was asked for after the last lease had run out.
async fn until_the_lease_ran_out(turn: &Turn, asked: &Question, killed: wire::Timestamp) {
    let before = turn.metric("bank", NO_LEASE).await;
    let mut count = 0;
    loop {
        let asked_at = now();
        assert!(asked_at < killed.plus_ms(PATIENCE_MS), "it releases without a lease");
        if !turn.released(asked).await {
            break;
        }
        count += 1;
        // The last lease was counted from a pull before the kill.
        assert!(asked_at < killed.plus_ms(LEASE_MS), "released after the lease had run out");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("{count} releases, the first refusal {} ms after the kill", now().ms_since(killed));
    assert!(turn.metric("bank", NO_LEASE).await > before, "refused for lack of a lease");
    assert!(!turn.released(asked).await, "and it stays so");
    let leases = turn.provider("bank").get("/v1/leases").await.expect("leases");
    let leases = leases.json().expect("json");
    assert!(leases.as_array().expect("leases").iter().all(|lease| lease["live"] == false));
}
