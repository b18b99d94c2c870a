//! A citizen moves from Maebashi to Omura: what stood goes on standing, denies hold before, between and
//! after, and the old home is asked for nothing any more.

mod refusals;
mod silence;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use node::{
    provider_client::{ProviderClient, Question},
    wallet_client::WalletClient,
};
use testnet::{
    citizen::{Citizen, home_of, nonce, now},
    processes::client,
    roster,
};
use wallet::{Wallet, moving};
use wire::{
    DecisionId, Nonce, Signed, Timestamp,
    citizen::{InForce, MoveReply},
    consent::{Attested, Decision},
    notice::EffectHow,
};

use crate::{
    http::refused,
    world::{Turn, every_bit_counts, mebuku, question, run, until, write_private},
};

const SOURCE: &str = "lunch";
const RECIPIENT: &str = "hospital-a";
const OLD: &str = "maebashi";
const NEW: &str = "omura";

pub fn id_of(turn: &Turn, decision: &Attested) -> DecisionId {
    Signed::<Decision>::decode(&decision.object, &turn.network.id).expect("a decision").id().into()
}

/// Starts both cities and the two providers, and waits until the source has both cities' leases.
pub async fn start(turn: &mut Turn) {
    turn.start(&[OLD, NEW, SOURCE, RECIPIENT]).await;
    turn.leased(SOURCE, NEW).await;
}

/// The recipient asks all the time; each question with when it was asked and whether data came.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<(Timestamp, Nonce, bool)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(turn: &Turn, asked: Question) -> Self {
        let recipient: ProviderClient = client(turn.node(RECIPIENT));
        let (stop, log) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (until, into) = (Arc::clone(&stop), Arc::clone(&log));
        let task = tokio::spawn(async move {
            while !until.load(Ordering::Relaxed) {
                let (at, id) = (now(), nonce());
                let answer = recipient.ask(&Question { id, ..asked.clone() }).await;
                let answer = answer.expect("an answer");
                let refused = answer.problem().as_deref() == Some("not-permitted");
                assert!(refused || answer.status == 200, "{}", answer.text());
                into.lock().expect("a log").push((at, id, !refused));
            }
        });
        Self { stop, asked: log, task }
    }

    /// Waits until something asked after `since` is answered so.
    async fn until(&self, what: &str, since: Timestamp, released: bool) {
        until(what, async || self.since(since).iter().any(|(_, got)| *got == released)).await;
    }

    fn since(&self, since: Timestamp) -> Vec<(Nonce, bool)> {
        let asked = self.asked.lock().expect("a log");
        asked.iter().filter(|(at, ..)| *at > since).map(|(_, id, got)| (*id, *got)).collect()
    }

    async fn end(self) -> Vec<(Timestamp, Nonce, bool)> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic");
        self.asked.lock().expect("a log").clone()
    }
}

/// Hands a deny in until the home says that the source has it.
async fn deny_in_force(citizen: &Citizen, deny: &Attested) -> Timestamp {
    until("the deny to be in force", async || {
        let reply = citizen.home.decide(deny).await.expect("accepted");
        matches!(reply.status, InForce::Acknowledged(_))
    })
    .await;
    now()
}

#[test]
fn a_citizen_moves_while_requests_run() {
    run(async |mut turn| {
        start(&mut turn).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let mut citizen = turn.citizen("citizen-0", SOURCE, RECIPIENT).await;
        turn.permit(&mut citizen, SOURCE, RECIPIENT).await;
        let load = Load::start(&turn, question(&citizen, SOURCE, RECIPIENT));
        load.until("a release", now(), true).await;

        // A deny of somebody else, before.
        let before = citizen.sign_deny(&source, &roster::service("bank")).expect("a deny");
        citizen.hand_in(&before).await.expect("accepted");
        let (old, to) = (citizen.home.clone(), home_of(turn.node(NEW)));
        let new = WalletClient::new(&to.url).expect("a client");
        let shown = citizen.pair_register(&source).await.expect("a register");
        let view = citizen.register(&source).await.expect("it reads");
        let moving = citizen.sign_move(&source, &to, &shown).expect("a move");
        let leave = moving::submission(moving.clone(), None);
        let left: MoveReply = old.move_pair(&leave).await.expect("let go");
        // A wallet that crashed here hands in the same again.
        let again = old.move_pair(&leave).await.expect("known");
        assert_eq!((left.seq, left.waits_for.clone()), (again.seq, again.waits_for));

        // The old home takes no permit and no change of keys, and names the new one; denies always.
        let name = to.organisation.to_string();
        let permit = citizen.sign_permit(&source, &recipient, &[]).expect("a permit");
        refused(old.decide(&permit).await, 409, &name);
        let chain = citizen.wallet.service(&source).expect("a key").chain.clone();
        let begin = citizen.wallet.approve_key(&source, chain, &citizen.trust, nonce(), now());
        let begin = begin.expect("a begin").sign(citizen.signer(&source).expect("a key"));
        let begin = citizen.wallet.attest_with_service_key(&source, &begin.expect("signed"));
        refused(old.key(&begin.expect("attested")).await, 409, &name);
        // The new one has not begun: a key is not known there yet.
        refused(new.decide(&permit).await, 403, "no key-begin names this key");

        // A deny between the two halves: the old home relays it, and it holds at once.
        let between = citizen.sign_deny(&source, &recipient).expect("a deny");
        old.decide(&between).await.expect("relayed");
        let told = now();
        load.until("a refusal", told, false).await;
        assert!(load.since(told).iter().all(|(_, got)| !got), "released after it was in force");

        let register = citizen.pair_register(&source).await.expect("the old home shows it still");
        let arrive = moving::submission(moving, Some(&register));
        let begun = new.move_pair(&arrive).await.expect("taken over");
        assert_eq!(begun.waits_for, None);
        let again = new.move_pair(&arrive).await.expect("known");
        assert_eq!((begun.seq, again.waits_for), (again.seq, None));
        citizen.wallet.accept_move(&source, &to, &begun).expect("it follows");
        citizen.home = new.clone();
        until("the new home to hear of the deny between", async || {
            let view = citizen.register(&source).await.expect("it reads");
            view.pair().knows_deny(&id_of(&turn, &between))
        })
        .await;
        let after = citizen.until_in_force(&source).await.expect("in force");
        Wallet::check_arrival(&view, &after).expect("all is there");
        assert!(after.pair().knows_deny(&id_of(&turn, &before)));
        assert_eq!(after.pair().home.as_ref(), Some(&to.organisation));

        // A permit at the new home, naming the deny: data flows again.
        let denies = [id_of(&turn, &between)];
        let permit = citizen.sign_permit(&source, &recipient, &denies).expect("a permit");
        citizen.hand_in(&permit).await.expect("accepted");
        citizen.until_in_force(&source).await.expect("in force");
        let since = now();
        load.until("a release under the new home", since, true).await;

        // And a deny at the new home bites; its receipt is the source's word, never a lapse of leases.
        let last = citizen.sign_deny(&source, &recipient).expect("a deny");
        let told = deny_in_force(&citizen, &last).await;
        load.until("a refusal", told, false).await;
        let asked = load.end().await;
        let late: Vec<_> = asked.iter().filter(|(at, ..)| *at > told).collect();
        assert!(late.iter().all(|(.., got)| !got), "released after the deny was in force");
        let released = asked.iter().filter(|(.., got)| *got).count();
        println!("{} asked, {released} released, {} after the last deny", asked.len(), late.len());

        receipts(&turn, &mut citizen, &old, &[before, last]).await;
        // The evidence of a release under the new home shows both homes' channels, and the deny named.
        let (_, id, _) = asked.iter().rfind(|(at, _, got)| *at > since && *got).expect("a release");
        let bundle = turn.bundle(SOURCE, id).await;
        let verdict = exchange::bundle::verify(&bundle, &turn.network.id).expect("it verifies");
        let homes = verdict.checks.iter().find(|check| check.name == "channel head");
        let maebashi = turn.node(OLD).participant.organisation().to_string();
        assert!(homes.expect("a check").detail.contains(&maebashi), "{homes:?}");
        assert_eq!(verdict.release.channel.home, to.organisation);
        every_bit_counts(&bundle, &turn.network.id);
        history(&citizen, &old).await;
    });
}

/// The home of its time has the receipt of each decision, and the wallet takes both.
async fn receipts(turn: &Turn, citizen: &mut Citizen, old: &WalletClient, denies: &[Attested; 2]) {
    let source = roster::service(SOURCE);
    for (home, deny, other) in [
        (old.clone(), &denies[0], citizen.home.clone()),
        (citizen.home.clone(), &denies[1], old.clone()),
    ] {
        let id = id_of(turn, deny);
        let query = citizen.wallet.effect_query(&source, id, nonce(), now()).expect("a query");
        let query = query.sign(citizen.signer(&source).expect("a key")).expect("signed");
        let query = citizen.wallet.attest_with_service_key(&source, &query).expect("attested");
        let receipt = home.effect(&query).await.expect("in force");
        let trust = citizen.trust.clone();
        let effect = citizen.wallet.accept_effect(&source, &id, &receipt, &trust, now());
        assert_eq!(effect.expect("it holds").how, EffectHow::Acknowledged);
        refused(other.effect(&query).await, 404, "no such decision");
    }
}

/// What happened is told by the home of its time, and both are the citizen's own.
async fn history(citizen: &Citizen, old: &WalletClient) {
    let source = roster::service(SOURCE);
    for home in [old, &citizen.home] {
        until("the look-ups to be shown", async || {
            let query = citizen.wallet.query(&source, nonce(), now()).expect("a query");
            let query = query.sign(citizen.signer(&source).expect("a key")).expect("signed");
            let query = citizen.wallet.attest_with_service_key(&source, &query).expect("attested");
            let shown = home.history(&query).await.expect("a history");
            let view = citizen.wallet.read_history(&source, &shown, &citizen.trust, now());
            !view.expect("it holds").notices.is_empty()
        })
        .await;
    }
}

/// The same by the command line: all services at once, interrupted and taken up again.
#[test]
fn the_command_line_moves_all_services() {
    run(async |mut turn| {
        start(&mut turn).await;
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("wallet");
        let passphrase = folder.path().join("passphrase");
        write_private(&passphrase, "a wallet's own\n");
        let card = turn.network.cards.join("citizen-1.card");
        let wallet = async |words: &str| {
            let mut command = tokio::process::Command::new(mebuku());
            command.args(["wallet", "--json", "--dir"]).arg(&dir);
            command.arg("--passphrase-file").arg(&passphrase).args(words.split_whitespace());
            let output = command.output().await.expect("it runs");
            let json = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
            (output.status.success(), json, String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let good = async |words: &str| {
            let (ok, json, error) = wallet(words).await;
            assert!(ok, "{words}: {error}");
            json
        };
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let (old, new) = (turn.node(OLD), turn.node(NEW));
        let create = format!("--network {} --card {}", turn.network.id, card.display());
        good(&format!("create --home {} {create}", old.public_url())).await;
        good("enrol").await;
        for service in [&source, &recipient] {
            good(&format!("service {service}")).await;
        }
        good(&format!("link {source} {recipient}")).await;
        let permit = format!("--source {source} --recipient {recipient} --item health.allergy");
        let permit = good(&format!("permit {permit} --purpose treatment")).await;

        // The new home is not there: nothing has happened, and the wallet says what to do.
        turn.processes.kill(NEW).expect("it ran");
        let (ok, _, error) = wallet(&format!("move --to {}", new.public_url())).await;
        assert!(!ok && error.contains("could not be reached"), "{error}");
        turn.start(&[NEW]).await;
        let moved = good(&format!("move --to {} --service {source}", new.public_url())).await;
        assert_eq!(moved["services"][0]["state"], "moved", "{moved}");
        let moved = good(&format!("move --to {}", new.public_url())).await;
        let states: Vec<_> = moved["services"]
            .as_array()
            .expect("services")
            .iter()
            .map(|one| &one["state"])
            .collect();
        assert_eq!(states, ["moved", "moved"], "{moved}");
        let shown = good("show").await;
        let home = new.participant.organisation().to_string();
        assert_eq!(shown["home"]["organisation"], home.as_str());
        assert!(shown["services"].as_array().expect("services").iter().all(|service| {
            service["home"]["organisation"] == home.as_str() && service["epoch"] == 1
        }));

        // The register shows what was brought and what came since; the new city certifies and links.
        let rows = good(&format!("register {source}")).await;
        let kinds: Vec<_> = rows.as_array().expect("rows").iter().map(|row| &row["kind"]).collect();
        assert_eq!(kinds, ["key-begin", "permit", "move-end", "move-begin"]);
        assert_eq!(
            (&rows[1]["id"], &rows[1]["status"]),
            (&permit["decision"], &serde_json::Value::Null)
        );
        good(&format!("link {source} {recipient}")).await;
        good(&format!("status {source}")).await;
        let deny = good(&format!("deny --source {source}")).await;
        until("the receipt of the new home", async || {
            let decision = deny["decision"].as_str().expect("an id");
            wallet(&format!("effect {source} {decision}")).await.0
        })
        .await;
        // Nothing is left to be done.
        let again = good(&format!("move --to {}", new.public_url())).await;
        assert_eq!(again["services"][0]["state"], "moved");
    });
}
