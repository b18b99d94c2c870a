//! Homes with different settings at one source: each entry lapses at its own home's bound, and a
//! restart with a shorter setting lets none lapse early.

use std::path::PathBuf;

use testnet::{citizen::Citizen, citizen::now, roster};
use wire::{Timestamp, citizen::InForce};

use crate::world::{Run, Turn, run, until};

const SOURCE: &str = "clinic";
const SHORT_MS: u64 = 2_000;
const LONG_MS: u64 = 10_000;

/// A configuration beside the city's own with this setting.
fn config(turn: &Turn, city: &str, lease_ms: u64) -> PathBuf {
    let config = turn.node(city).config();
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let set = |line: &str| match line.starts_with("lease_ms") {
        true => format!("lease_ms = {lease_ms}\n"),
        false => format!("{line}\n"),
    };
    let own = config.with_file_name(format!("lease-{lease_ms}.toml"));
    std::fs::write(&own, text.lines().map(set).collect::<String>()).expect("written");
    own
}

/// Hands a deny in; says when that was begun.
async fn denies(citizen: &Citizen) -> Timestamp {
    let (source, recipient) = (roster::service(SOURCE), roster::service("hospital-a"));
    let deny = citizen.sign_deny(&source, &recipient).expect("a deny");
    let begun = now();
    citizen.hand_in(&deny).await.expect("accepted");
    begun
}

/// When the newest entry was first seen to have lapsed.
async fn lapsed(citizen: &Citizen) -> Timestamp {
    until("the leases to lapse", async || {
        let view = citizen.register(&roster::service(SOURCE)).await.expect("a register");
        let last = view.rows().last().and_then(|row| row.status).expect("an entry");
        assert!(!matches!(last, InForce::Acknowledged(_)), "the source stands still");
        matches!(last, InForce::LeasesLapsed(_))
    })
    .await;
    now()
}

#[test]
fn each_homes_leases_lapse_by_its_own_setting() {
    run(async |mut turn| {
        let short = Run::start(&config(&turn, "maebashi", SHORT_MS));
        let long = Run::start(&config(&turn, "ebetsu", LONG_MS));
        turn.start(&[SOURCE]).await;
        turn.ready("ebetsu").await;
        turn.leased(SOURCE, "maebashi").await;
        turn.leased(SOURCE, "ebetsu").await;
        let source = roster::service(SOURCE);
        let enrol = async |card, city| {
            let mut citizen = Citizen::enrol_at(turn.network, card, city).await.expect("enrolment");
            assert!(citizen.join(&source).await.expect("a certificate"));
            citizen
        };
        let (mallory, kenta) = (enrol("mallory", "maebashi").await, enrol("kenta", "ebetsu").await);
        mallory.until_in_force(&source).await.expect("in force");
        kenta.until_in_force(&source).await.expect("in force");

        // It has a live lease from both, and hears of nothing any more.
        turn.processes.suspend(SOURCE, true).expect("it runs");
        let (at_short, at_long) = (denies(&mallory).await, denies(&kenta).await);
        let (short_ms, long_ms) =
            tokio::join!(async { lapsed(&mallory).await.ms_since(at_short) }, async {
                lapsed(&kenta).await.ms_since(at_long)
            },);
        println!("lapsed after {short_ms} ms at a setting of {SHORT_MS}, {long_ms} at {LONG_MS}");
        assert!((SHORT_MS..LONG_MS).contains(&short_ms), "{short_ms}");
        assert!(long_ms >= LONG_MS, "{long_ms}");

        // Leases of 10 s are out; the home comes back with a setting of 2 s.
        turn.processes.suspend(SOURCE, false).expect("it runs");
        turn.leased(SOURCE, "ebetsu").await;
        kenta.until_in_force(&source).await.expect("in force");
        turn.processes.suspend(SOURCE, true).expect("it runs");
        let at = denies(&kenta).await;
        drop(long);
        let restarted = Run::start(&config(&turn, "ebetsu", SHORT_MS));
        turn.ready("ebetsu").await;
        let after_restart = denies(&kenta).await;
        let lapsed = lapsed(&kenta).await;
        let (first, second) = (lapsed.ms_since(at), lapsed.ms_since(after_restart));
        println!(
            "after a restart with {SHORT_MS}: lapsed {first} and {second} ms after the denies"
        );
        assert!(second >= LONG_MS, "an entry of after the restart waits for the longest lease out");
        turn.processes.suspend(SOURCE, false).expect("it runs");
        drop((short, restarted));
    });
}
