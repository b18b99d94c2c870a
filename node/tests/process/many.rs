//! More denies than a permit may name one by one: the home makes a list of them, the wallet shows what
//! is in it, and the citizen names the list; or the key of the phone that was lost.

use std::path::{Path, PathBuf};

use futures::future::join_all;
use node::provider_client::Question;
use serde_json::{Value, json};
use testnet::{
    citizen::{Citizen, nonce},
    roster,
};
use tokio::process::Command;

use crate::{
    http::refused,
    world::{ALLERGY, ITEM, Turn, mebuku, question, run, until},
};

// Nobody else in these tests decides about these two.
const CARD: &str = "kenta";
const SOURCE: &str = "hospital-a";
const RECIPIENT: &str = "bank";
const DENIES: usize = 300;

/// A wallet on the command line.
struct CommandLine {
    dir: PathBuf,
}

impl CommandLine {
    async fn new(turn: &Turn, dir: &Path) -> Self {
        let home = turn.node("maebashi").public_url();
        let card = turn.network.cards.join(format!("{CARD}.card")).display().to_string();
        let network = turn.network.id.to_string();
        let this = Self { dir: dir.join("wallet") };
        this.run(&["create", "--home", &home, "--network", &network, "--card", &card]).await;
        this.run(&["enrol"]).await;
        let (source, recipient) =
            (roster::service(SOURCE).to_string(), roster::service(RECIPIENT).to_string());
        this.run(&["service", &source]).await;
        this.run(&["service", &recipient]).await;
        this.run(&["link", &source, &recipient]).await;
        this
    }

    /// What a command says to programs, or why it does not do it.
    async fn try_run(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = Command::new(mebuku());
        command.args(["wallet", "--json", "--dir"]).arg(&self.dir).args(arguments);
        let output = command.output().await.expect("a process");
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).expect("json"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    async fn run(&self, arguments: &[&str]) -> Value {
        match self.try_run(arguments).await {
            Ok(said) => said,
            Err(why) => panic!("{arguments:?}: {why}"),
        }
    }

    async fn try_permit(&self, named: &[&str]) -> Result<Value, String> {
        let (source, recipient) =
            (roster::service(SOURCE).to_string(), roster::service(RECIPIENT).to_string());
        let permit = [
            &["permit", "--source", &source, "--recipient", &recipient, "--item", ITEM][..],
            &["--purpose", "treatment"],
            named,
        ];
        self.try_run(&permit.concat()).await
    }

    async fn permit(&self, named: &[&str]) -> Value {
        self.try_permit(named).await.expect("a permit")
    }
}

async fn denies(citizen: &Citizen) {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    for _ in 0..DENIES / 20 {
        let deny = || async {
            let deny = citizen.sign_deny(&source, &recipient).expect("a deny");
            citizen.hand_in(&deny).await.expect("saying no is always safe");
        };
        join_all((0..20).map(|_| deny())).await;
    }
}

/// The digests of the lists that the register shows.
async fn lists(phone: &CommandLine) -> Vec<String> {
    let register = phone.run(&["register", &roster::service(SOURCE).to_string()]).await;
    let rows = register.as_array().expect("rows").clone();
    let collapses = rows.into_iter().filter(|row| row["kind"] == "collapse");
    collapses.map(|row| row["digest"].as_str().expect("a digest").to_owned()).collect()
}

async fn until_released(turn: &Turn, citizen: &Citizen) {
    until("a release", async || {
        let asked = Question { id: nonce(), ..question(citizen, SOURCE, RECIPIENT) };
        turn.ask(&asked).await.status == 200
    })
    .await;
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|id| id.as_str().expect("an id")).collect()
}

#[test]
fn a_permit_names_a_list_of_three_hundred_denies_or_a_lost_phones_key() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let folder = tempfile::tempdir().expect("a directory");
        let phone = CommandLine::new(&turn, folder.path()).await;
        let other = turn.citizen(CARD, SOURCE, RECIPIENT).await;
        let source = roster::service(SOURCE);
        let subject = other.pair(&source).expect("a pair").subject;
        let item = ITEM.parse().expect("an item");
        let put = turn.provider(SOURCE).put_record(&source, &subject, &item, ALLERGY).await;
        assert_eq!(put.expect("an answer").status, 204);
        phone.permit(&[]).await;
        until_released(&turn, &other).await;

        denies(&other).await;
        other.until_in_force(&source).await.expect("in force");
        let listed = lists(&phone).await;
        assert_eq!(listed.len(), 1, "past 256 the home made a list");

        // All are shown, and under which names they go, before anything is signed.
        let dry = phone.permit(&["--dry-run"]).await;
        let standing = texts(&dry["denies_standing"]);
        assert_eq!((standing.len(), &dry["allows"]), (DENIES, &json!([])));
        let together = &dry["together"][0];
        assert_eq!(together["reopen"], json!({ "collapsed": listed[0] }));
        let in_list = together["denies"].as_u64().expect("a count") as usize;
        assert!((257..=DENIES).contains(&in_list), "{in_list} in the list");
        let why = phone.try_permit(&[]).await.expect_err("nothing was named");
        assert!(why.contains("Nothing was signed") && why.contains("--reopen-list"), "{why}");
        assert!(standing.iter().all(|id| why.contains(id)), "each is shown");
        let each: Vec<_> = standing.iter().flat_map(|id| ["--reopen", id]).collect();
        let why = phone.try_permit(&each).await.expect_err("too many");
        assert!(why.contains("at most 256"), "{why}");
        let why = phone.try_permit(&["--reopen-list", &"07".repeat(32)]).await;
        assert!(why.expect_err("no such list").contains("no list of denies 0707"));

        // The list, and one by one those that came after it.
        let by_list = ["--reopen-list", &listed[0]];
        let partly = phone.permit(&[&by_list[..], &["--dry-run"]].concat()).await;
        let rest = texts(&partly["denies_standing"]);
        assert_eq!((texts(&partly["denies_named"]).len(), rest.len()), (in_list, DENIES - in_list));
        let rest: Vec<_> = rest.iter().flat_map(|id| ["--reopen", id]).collect();
        let permit = phone.permit(&[&by_list[..], &rest].concat()).await;
        assert_eq!(permit["allows"], json!([ITEM]));
        until_released(&turn, &other).await;

        // The phone is lost, and whoever has it says no three hundred times more. That is taken.
        let key = other.key(&source).expect("a key");
        let key = wire::Signer::public_key(key).key_hash().to_string();
        let why = phone.try_permit(&["--reopen-key", &key]).await.expect_err("it has not ended");
        assert!(why.contains("no ended key"), "{why}");
        phone.run(&["key", "end", &source.to_string(), &key, "--keep-none"]).await;
        let query = other.query(&source).expect("a query");
        refused(other.home.register(&query).await, 403, "the key was ended");
        denies(&other).await;
        let all = phone.permit(&["--reopen-key", &key, "--dry-run"]).await;
        assert_eq!(texts(&all["denies_named"]).len(), 2 * DENIES, "each is shown");
        assert_eq!(all["allows"], json!([ITEM]));
        phone.permit(&["--reopen-key", &key]).await;
        until_released(&turn, &other).await;
    });
}
