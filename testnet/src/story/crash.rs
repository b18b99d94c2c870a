//! Step 7: the source is killed with requests in flight, and everything is reconciled from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use node::provider_client::{ProviderClient, Question};
use serde_json::Value;
use wire::{Hash, Nonce};

use super::{Cast, Story};
use crate::{
    citizen::{Citizen, nonce, now},
    founding::LEASE_MS,
    processes::client,
};

const WORKERS: usize = 192;
/// How many ask while the source starts again.
const EAGER: usize = 8;

/// What the recipients' systems know of each request.
#[derive(Default)]
struct Ledger {
    /// Asked, not answered.
    open: BTreeSet<Nonce>,
    /// Hash of the presentation that came.
    presented: BTreeMap<Nonce, Hash>,
    /// Ended with something that was no presentation.
    unanswered: BTreeSet<Nonce>,
}

impl Story {
    pub(super) async fn crash(&mut self, cast: &Cast, hanako: &Citizen) -> anyhow::Result<()> {
        println!("\n7. The lunch service is killed (SIGKILL) with requests in flight");
        let hospital = client(self.network.node("hospital-a"));
        let question = self.question(cast, &cast.hospital_a, hanako)?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (hospital, question) = (hospital.clone(), question.clone());
                tokio::spawn(load(hospital, question, Arc::clone(&ledger), Arc::clone(&stop)))
            })
            .collect();
        // Long enough for the load to be under way.
        let deadline = now().plus_ms(30_000);
        while lock(&ledger).presented.len() < 4 * WORKERS {
            anyhow::ensure!(now() < deadline, "the load did not get under way");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (in_flight, received_before) = {
            // The ledger stands still while the source dies, so that the count is exact.
            let held = lock(&ledger);
            self.processes.kill("lunch")?;
            (held.open.len(), held.presented.clone())
        };
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await?;
        }
        let open: Vec<_> = {
            let ledger = lock(&ledger);
            ledger.open.union(&ledger.unanswered).copied().collect()
        };
        println!(
            "   {in_flight} were open when it was killed, {} answered before; {} answers were on their way",
            received_before.len(),
            in_flight.saturating_sub(open.len())
        );
        self.check(
            open.len() >= 32,
            &format!("{} requests in flight lost their answer", open.len()),
        );

        let started = now();
        self.processes.start(self.network.node("lunch"))?;
        // The hospital asks all the while: whatever is released too early would be seen.
        let eager: Vec<_> = (0..EAGER)
            .map(|_| tokio::spawn(ask_until_presented(hospital.clone(), question.clone())))
            .collect();
        let first_lease = self.wait_for_first_lease(hanako).await?;
        self.processes.ready(self.network.node("lunch")).await?;
        let (mut asked, mut refused) = (0, 0);
        for eager in eager {
            let counts = eager.await??;
            asked += counts.0;
            refused += counts.1;
        }

        let mut reconciled = 0;
        for id in &open {
            let again = Question { id: *id, ..question.clone() };
            if let Some(presentation) = ask_until_answered(&hospital, &again).await? {
                lock(&ledger).presented.insert(*id, presentation);
                reconciled += 1;
            }
        }
        let received = lock(&ledger).presented.clone();
        println!("   asked again with the same ids: {reconciled} of {} answered", open.len());
        self.check(reconciled == open.len(), "every request in flight ended in one presentation");

        let releases = self.releases().await?;
        let known: BTreeMap<Nonce, &Release> =
            releases.iter().map(|release| (release.id, release)).collect();
        let lost = received_before.keys().filter(|id| !known.contains_key(*id)).count();
        self.check(lost == 0, "nothing that was acknowledged before the kill is missing after it");
        let differing = received
            .iter()
            .filter(|(id, hash)| known.get(*id).is_none_or(|r| r.presentation != **hash))
            .count();
        println!(
            "   reconciled: {} requests, {differing} differ between what was released and received",
            received.len()
        );
        self.check(
            differing == 0,
            "what the recipient received is what the source released, byte for byte",
        );
        let mut logged: BTreeMap<Nonce, u32> = BTreeMap::new();
        for id in self.logged_releases().await? {
            *logged.entry(id).or_default() += 1;
        }
        let once = logged.values().all(|count| *count == 1) && logged.keys().eq(known.keys());
        self.check(
            once,
            &format!(
                "the evidence log holds {} releases: no request was released twice",
                logged.len()
            ),
        );
        let early = releases
            .iter()
            .filter(|release| release.at >= started.0 && release.at < first_lease)
            .count();
        println!(
            "   while it started, Hospital A asked {asked} times and was refused {refused} times"
        );
        self.check(early == 0, "it released nothing until its lease was fresh");
        Ok(())
    }

    /// The requests that the source's evidence log says were released, one for each such entry.
    async fn logged_releases(&self) -> anyhow::Result<Vec<Nonce>> {
        let lunch = client(self.network.node("lunch"));
        let (mut from, mut ids) = (0, Vec::new());
        loop {
            let page = lunch.get(&format!("/v1/log?from={from}")).await?.json()?;
            let page = page.as_array().cloned().unwrap_or_default();
            let Some(last) = page.last().and_then(|entry| entry["index"].as_u64()) else {
                return Ok(ids);
            };
            for entry in page.iter().filter(|entry| entry["kind"] == "release") {
                ids.push(entry["request"].as_str().unwrap_or_default().parse()?);
            }
            from = last + 1;
        }
    }

    /// When the pull was sent that brought the restarted source its first lease from Maebashi.
    async fn wait_for_first_lease(&self, hanako: &Citizen) -> anyhow::Result<u64> {
        let lunch = client(self.network.node("lunch"));
        let home = hanako.wallet.home().organisation.to_string();
        let deadline = now().plus_ms(30_000);
        loop {
            if let Ok(answer) = lunch.get("/v1/leases").await {
                let leases = answer.json().unwrap_or(Value::Null);
                let lease = leases
                    .as_array()
                    .and_then(|leases| leases.iter().find(|lease| lease["home"] == home.as_str()));
                if let Some(until) = lease.and_then(|lease| lease["until"].as_u64()) {
                    return Ok(until - LEASE_MS);
                }
            }
            anyhow::ensure!(now() < deadline, "no lease within 30 s of the restart");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn releases(&self) -> anyhow::Result<Vec<Release>> {
        let lunch = client(self.network.node("lunch"));
        let mut releases: Vec<Release> = Vec::new();
        loop {
            let after = releases.last().map(|last| format!("?after={}", last.id));
            let path = format!("/v1/releases{}", after.unwrap_or_default());
            let page = lunch.get(&path).await?.json()?;
            let page = page.as_array().cloned().unwrap_or_default();
            if page.is_empty() {
                return Ok(releases);
            }
            for release in page {
                releases.push(Release {
                    id: release["id"].as_str().unwrap_or_default().parse()?,
                    presentation: release["presentation"].as_str().unwrap_or_default().parse()?,
                    at: release["released_at"].as_u64().unwrap_or_default(),
                });
            }
        }
    }
}

struct Release {
    id: Nonce,
    presentation: Hash,
    at: u64,
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One worker of the recipient's system: asks, waits, asks the next.
async fn load(
    hospital: ProviderClient,
    question: Question,
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::Relaxed) {
        let question = Question { id: nonce(), ..question.clone() };
        lock(&ledger).open.insert(question.id);
        let answer = hospital.ask(&question).await;
        let mut ledger = lock(&ledger);
        ledger.open.remove(&question.id);
        match answer.ok().and_then(|answer| presentation(&answer)) {
            Some(hash) => ledger.presented.insert(question.id, hash).is_none(),
            None => ledger.unanswered.insert(question.id),
        };
    }
}

fn presentation(answer: &node::provider_client::Answer) -> Option<Hash> {
    let json = answer.json().ok()?;
    Some(wire::sha256(json["presentation"].as_str()?.as_bytes()))
}

/// Asks with new ids, without a pause, until one is presented. Says how often it asked, and how often
/// the source refused.
async fn ask_until_presented(
    hospital: ProviderClient,
    question: Question,
) -> anyhow::Result<(u32, u32)> {
    let deadline = now().plus_ms(30_000);
    let (mut asked, mut refused) = (0, 0);
    loop {
        anyhow::ensure!(now() < deadline, "nothing was presented within 30 s of the restart");
        let question = Question { id: nonce(), ..question.clone() };
        let answer = hospital.ask(&question).await?;
        asked += 1;
        if presentation(&answer).is_some() {
            return Ok((asked, refused));
        }
        if answer.problem().as_deref() == Some("not-permitted") {
            refused += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The recipient's system tries again with the same id until the request has an end.
async fn ask_until_answered(
    hospital: &ProviderClient,
    question: &Question,
) -> anyhow::Result<Option<Hash>> {
    let deadline = now().plus_ms(30_000);
    loop {
        let answer = hospital.ask(question).await?;
        if let Some(hash) = presentation(&answer) {
            return Ok(Some(hash));
        }
        if answer.status != 503 || now() > deadline {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
