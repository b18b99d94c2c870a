//! What the nodes' own evidence says at the end, with everything healed: registers, channels,
//! releases, evidence logs. Then every lane is asked once more.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::time::sleep;
use wire::citizen::{InForce, PairRegister};

use super::{
    history::{Applied, Asked, Got, Ms, Place, Registered, Released},
    injector::look_at,
    load,
    world::{HOMES, Person, SOURCES, World, everyone},
};
use crate::roster::service;

/// How long everything may take to come together after the last fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until every node serves, the sources hold every lease, and every register says that all is
/// in force. Whatever is not by then is for the judge.
pub async fn settle(world: &World) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for node in everyone() {
        let founded = world.network.node(node);
        loop {
            look_at(world, node).await;
            let health = crate::processes::health(founded).await.unwrap_or(Value::Null);
            let leases = if SOURCES.contains(&node) { HOMES.len() as u64 } else { 0 };
            if health["leases_live"].as_u64().is_some_and(|live| live >= leases) {
                break;
            }
            ensure!(tokio::time::Instant::now() < deadline, "{node} does not come back: {health}");
            sleep(Duration::from_millis(100)).await;
        }
    }
    for person in &world.people {
        for source in SOURCES {
            loop {
                let register = register(person, source).await;
                let all = register.as_ref().is_ok_and(|register| {
                    register.entries.iter().all(|row| is_acknowledged(row.status))
                });
                if all || tokio::time::Instant::now() > deadline {
                    break;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
    Ok(())
}

fn is_acknowledged(status: InForce) -> bool {
    matches!(status, InForce::Acknowledged(_))
}

async fn register(person: &Person, source: Place) -> anyhow::Result<PairRegister> {
    person.citizen.lock().await.pair_register(&service(source)).await
}

/// The recipients' systems ask again for what had no answer, with the same ids, as long as a request
/// is good.
pub async fn reconcile(world: &World, young: Ms) -> usize {
    let mut last: BTreeMap<_, Asked> = BTreeMap::new();
    for asked in &world.history().asked {
        last.insert(asked.request, asked.clone());
    }
    last.retain(|_, asked| {
        matches!(asked.got, Got::NoAnswer | Got::Silence) && asked.begun >= young
    });
    let count = last.len();
    for (request, asked) in last {
        let asked = load::ask(world, request, asked.lane).await;
        world.history().asked.push(asked);
    }
    count
}

pub async fn collect(world: &World) -> anyhow::Result<()> {
    let mut owed: BTreeMap<(Place, Place), u64> = BTreeMap::new();
    for person in &world.people {
        for source in SOURCES {
            let register = register(person, source).await.context("a register at the end")?;
            // The wallet reads it as it always does: every signature, every number.
            let view = person.citizen.lock().await.register(&service(source)).await?;
            ensure!(view.rows().len() == register.entries.len(), "two readings differ");
            let channel = owed.entry((person.home, source)).or_default();
            for row in register.entries {
                *channel = (*channel).max(row.entry.seq + 1);
                let Some(decision) = row.decision else { continue };
                let accepted = world.of_wall(row.entry.time);
                let in_force = is_acknowledged(row.status);
                world.history().registered.push(Registered { decision, accepted, in_force });
            }
        }
    }
    for source in SOURCES {
        releases(world, source).await?;
        logged(world, source).await?;
        let leases = world.system(source).get("/v1/leases").await?.json()?;
        for home in HOMES {
            let organisation = world.network.node(home).participant.organisation().to_string();
            let lease = (leases.as_array().into_iter().flatten())
                .find(|lease| lease["home"] == organisation.as_str());
            let applied = lease.and_then(|lease| lease["applied"].as_u64()).unwrap_or(0);
            let owed = owed.get(&(home, source)).copied().unwrap_or(0);
            world.history().applied.push(Applied { home, source, owed, applied });
        }
    }
    Ok(())
}

/// Notes every release that a source keeps.
pub async fn releases(world: &World, source: Place) -> anyhow::Result<()> {
    let mut after: Option<String> = None;
    loop {
        let query = after.as_ref().map(|id| format!("?after={id}")).unwrap_or_default();
        let page = world.system(source).get(&format!("/v1/releases{query}")).await?.json()?;
        let page = page.as_array().cloned().context("a page of releases")?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last["id"].as_str().map(ToOwned::to_owned);
        for release in &page {
            let text = |key: &str| release[key].as_str().context("a release").map(str::to_owned);
            let at = release["released_at"].as_u64().context("a release's time")?;
            world.history().released.push(Released {
                request: text("id")?.parse()?,
                source,
                at: world.of_wall(wire::Timestamp(at)),
                presentation: text("presentation")?.parse()?,
            });
        }
    }
}

async fn logged(world: &World, source: Place) -> anyhow::Result<()> {
    let mut from = 0;
    loop {
        let page = world.system(source).get(&format!("/v1/log?from={from}")).await?.json()?;
        let page = page.as_array().cloned().context("a page of the log")?;
        let Some(last) = page.last().and_then(|entry| entry["index"].as_u64()) else {
            return Ok(());
        };
        for entry in page.iter().filter(|entry| entry["kind"] == "release") {
            let request = entry["request"].as_str().context("a release's request")?.parse()?;
            world.history().logged.push((source, request));
        }
        from = last + 1;
    }
}
