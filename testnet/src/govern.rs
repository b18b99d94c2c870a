//! Municipalities govern their network while it runs: a city is added and another removed, a node comes back
//! from an old disk, and three of seven signers try what they can. What is measured is seen from outside, on
//! real processes.

mod collusion;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use node::provider_client::Question;
use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};
use wire::{cbor, membership::TrustFile};

use crate::{
    citizen::{Citizen, nonce},
    founding::{self, Network},
    processes::{Processes, client},
    roster,
    story::sibling,
};

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the nodes' directories go; made anew each time
    #[arg(long, default_value = "testnet-data-govern")]
    dir: PathBuf,
}

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// How soon after the list reached a node the removed member is out there.
const OUT_WITHIN_MS: u128 = 2_000;
const RECORD: &str = r#"{"resourceType":"AllergyIntolerance","criticality":"high"}"#;
const ITEM: &str = "health.allergy";

const STAYS: [&str; 4] = ["maebashi", "omura", "lunch", "hospital-a"];
const REMOVED: &str = "ebetsu";
const ADDED: &str = "kadoma";
const SOURCE: &str = "lunch";
const RECIPIENT: &str = "hospital-a";
/// Its disk is a year old.
const OLD: &str = "bank";
const ASKERS: usize = 4;

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mebuku = sibling("mebuku")?;
    let plan = founding::Plan { later: &[ADDED], ..founding::Plan::story() };
    let network = founding::found(&options.dir, &mebuku, &plan)?;
    let mut table = Table::default();
    let mut processes = Processes::new(mebuku, &network);
    let governed = govern(&network, &mut processes, &mut table).await;
    processes.stop_all();
    governed?;
    collusion::attempts(&mut table)?;
    table.print();
    ensure!(table.unmet == 0, "{} of the expectations were not met", table.unmet);
    Ok(())
}

/// One row for each thing that was seen.
#[derive(Default)]
pub struct Table {
    rows: Vec<(String, String, bool)>,
    unmet: usize,
}

impl Table {
    pub fn row(&mut self, what: impl Into<String>, seen: impl Into<String>, met: bool) {
        self.unmet += usize::from(!met);
        self.rows.push((what.into(), seen.into(), met));
    }

    fn print(&self) {
        let width = self.rows.iter().map(|(what, ..)| what.chars().count()).max().unwrap_or(0);
        println!();
        for (what, seen, met) in &self.rows {
            let mark = if *met { "ok " } else { "NOT" };
            println!("{mark}  {what:width$}  {seen}");
        }
    }
}

/// Exchanges that run all the while.
#[derive(Default)]
struct Load {
    released: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

async fn govern(
    network: &Network,
    processes: &mut Processes,
    table: &mut Table,
) -> anyhow::Result<()> {
    for key in ["maebashi", REMOVED, "omura", SOURCE, RECIPIENT] {
        processes.start(network.node(key))?;
    }
    for key in ["maebashi", REMOVED, "omura", SOURCE, RECIPIENT] {
        processes.ready(network.node(key)).await?;
    }
    let old = network.with_timestamp(|timestamp| {
        timestamp.soft_expiry = timestamp.issued.plus_ms(1);
        timestamp.hard_expiry = timestamp.issued.plus_ms(2);
    })?;
    let question = permitted(network).await?;
    let load = Arc::new(Load::default());
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        let recipient = client(network.node(RECIPIENT));
        let (load, question) = (Arc::clone(&load), question.clone());
        askers.spawn(async move {
            while !load.stop.load(Ordering::Relaxed) {
                let question = Question { id: nonce(), ..question.clone() };
                let released = recipient.ask(&question).await.is_ok_and(|a| a.status == 200);
                let count = if released { &load.released } else { &load.failed };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    add(network, processes, table).await?;
    remove(network, table).await?;
    load.stop.store(true, Ordering::Relaxed);
    while askers.join_next().await.is_some() {}
    let (released, failed) =
        (load.released.load(Ordering::Relaxed), load.failed.load(Ordering::Relaxed));
    let seen = format!("{released} exchanges, {failed} failed");
    table.row("exchanges between members that stay", seen, released > 0 && failed == 0);
    come_back(network, processes, table, &old).await
}

/// A citizen's record at the source, which the recipient may have.
async fn permitted(network: &Network) -> anyhow::Result<Question> {
    let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
    let mut citizen = Citizen::enrol(network, "taro").await?;
    for service in [&source, &recipient] {
        ensure!(citizen.join(service).await?, "a service certificate");
    }
    citizen.link(&source, &recipient).await?;
    let subject = citizen.pair(&source).context("a pair")?.subject;
    let (holder, item) = (client(network.node(SOURCE)), ITEM.parse()?);
    let put = holder.put_record(&source, &subject, &item, RECORD).await?;
    ensure!(put.status == 204, "the record was not taken");
    let permit = citizen.sign_permit(&source, &recipient, &[])?;
    citizen.hand_in(&permit).await?;
    citizen.until_in_force(&source).await?;
    let subject = citizen.pair(&recipient).context("a pair")?.subject;
    let (items, purpose) = (vec![item], "treatment".parse()?);
    Ok(Question { id: nonce(), source, recipient, subject, items, purpose, whole: true })
}

async fn add(
    network: &Network,
    processes: &mut Processes,
    table: &mut Table,
) -> anyhow::Result<()> {
    let (city, authority) = network.later.first().context("a city that is not on the list")?;
    let file = network.decide(|wanted| {
        wanted.list.municipalities.push(city.clone());
        wanted.list.authorities.push(authority.clone());
    })?;
    let began = Instant::now();
    hand_in(network, "maebashi", &file).await?;
    let stamped = began.elapsed().as_millis();
    table.row("a city is added: people sign, nodes make the timestamp", ms(stamped), true);
    // What it starts with is the new list, as its operator got it.
    let in_force = node::wallet_client::WalletClient::new(&network.node("maebashi").public_url())?;
    let file = cbor::to_vec(&in_force.trust().await?);
    std::fs::write(network.node(ADDED).directory.join("trust.cbor"), &file)?;
    // What is decided next builds on it.
    std::fs::write(network.nodes[0].directory.join("trust.cbor"), &file)?;
    let began = Instant::now();
    processes.start(network.node(ADDED))?;
    let organisation = city.organisation.to_string();
    until("a lease of the added city at the source", async || {
        let leases = get(network, SOURCE, "/v1/leases").await.unwrap_or_default();
        let mut leases = leases.as_array().into_iter().flatten();
        leases.any(|lease| lease["home"] == organisation.as_str() && lease["live"] == true)
    })
    .await?;
    table.row(
        "  from the start of its node to a lease of it at the source",
        ms(began.elapsed().as_millis()),
        true,
    );
    let enrolled = Citizen::enrol_at(network, "hanako", ADDED).await.is_ok();
    table.row("  a citizen enrols there", if enrolled { "yes" } else { "no" }, enrolled);
    Ok(())
}

async fn remove(network: &Network, table: &mut Table) -> anyhow::Result<()> {
    let gone = network.node(REMOVED).participant.organisation();
    let file = network.decide(|wanted| {
        wanted.list.municipalities.retain(|city| city.organisation != gone);
        wanted.list.authorities.retain(|authority| authority.organisation != gone);
    })?;
    let mut watching = JoinSet::new();
    for key in STAYS {
        let (node, gone) = (client(network.node(key)), gone.to_string());
        watching.spawn(async move {
            let mut known = None;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let json = async |path: &str| node.get(path).await.ok()?.json().ok();
                if known.is_none()
                    && json("/v1/trust").await.is_some_and(|trust| trust["list"] == 3)
                {
                    known = Some(Instant::now());
                }
                let peers = json("/v1/peers").await.map(|peers| peers.to_string());
                let out = peers.is_some_and(|peers| !peers.contains(&gone));
                match known {
                    Some(known) if out => return (key, Some(known.elapsed().as_millis())),
                    _ if Instant::now() > deadline => return (key, None),
                    _ => tokio::time::sleep(POLL).await,
                }
            }
        });
    }
    let began = Instant::now();
    hand_in(network, "omura", &file).await?;
    let stamped = began.elapsed().as_millis();
    table.row("a city is removed: people sign, nodes make the timestamp", ms(stamped), true);
    let mut outs = watching.join_all().await;
    outs.sort();
    for (key, out) in outs {
        let seen = out.map_or("never".to_owned(), |out| format!("{out} ms after the list"));
        let met = out.is_some_and(|out| out <= OUT_WITHIN_MS);
        table.row(format!("  out at {key}, within {OUT_WITHIN_MS} ms"), seen, met);
    }
    let leases = get(network, SOURCE, "/v1/leases").await?;
    let mut leases = leases.as_array().into_iter().flatten();
    let void = !leases.any(|lease| lease["home"] == gone.as_str() && lease["live"] == true);
    table.row("  its leases at the source", if void { "void" } else { "live" }, void);
    // It goes on dialling, with a certificate that nobody takes any more.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for key in STAYS {
        let peers = get(network, key, "/v1/peers").await?.to_string();
        let refused = !peers.contains(gone.as_str());
        let seen = if refused { "refused" } else { "let in" };
        table.row(format!("  6 s later it is still at the door of {key}"), seen, refused);
    }
    Ok(())
}

/// A node with the trust file of another time, which has run out.
async fn come_back(
    network: &Network,
    processes: &mut Processes,
    table: &mut Table,
    old: &TrustFile,
) -> anyhow::Result<()> {
    std::fs::write(network.node(OLD).directory.join("trust.cbor"), cbor::to_vec(old))?;
    let began = Instant::now();
    processes.start(network.node(OLD))?;
    until("the node from an old disk", async || {
        get(network, OLD, "/v1/trust").await.is_ok_and(|trust| trust["list"] == 3)
    })
    .await?;
    table.row(
        "a node restored from an old disk catches up alone, from list 1 to 3",
        ms(began.elapsed().as_millis()),
        true,
    );
    Ok(())
}

async fn hand_in(network: &Network, key: &str, file: &TrustFile) -> anyhow::Result<()> {
    let answer = client(network.node(key)).hand_in_trust(cbor::to_vec(file)).await?;
    ensure!(answer.status == 200, "{key} did not take the file: {}", answer.text());
    Ok(())
}

async fn get(network: &Network, key: &str, path: &str) -> anyhow::Result<Value> {
    Ok(client(network.node(key)).get(path).await?.json()?)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn ms(elapsed: u128) -> String {
    format!("{elapsed} ms")
}
