//! Faults on real processes: nodes are killed (SIGKILL) and started again, suspended, cut off, while
//! wallets permit and deny and recipients' systems ask. Whether every promise was kept is judged from
//! outside: by what wallets were told, what recipients' systems received, and, beside it, by what the
//! nodes' own registers, stores and evidence logs say.
//!
//! The choice of faults and of the load is seeded; real processes are not deterministic, so that a
//! seed repeats the kinds and the order of faults and not what they meet.
//!
//! - [`world`]: what all share; [`load`]: wallets and recipients' systems; [`injector`]: the faults
//! - [`links`]: forwarders between the nodes, which cut and stall
//! - [`history`]: what is recorded; [`judge`]: whether it keeps the promises; [`fabricated`]: proof
//!   that the judge sees
//! - [`collection`]: the nodes' own evidence; [`report`]: the table

pub(crate) mod collection;
mod dice;
mod fabricated;
pub mod history;
mod injector;
pub mod judge;
pub(crate) mod links;
pub(crate) mod load;
mod report;
pub(crate) mod world;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use tokio::task::JoinSet;

use self::{
    dice::Dice,
    injector::{Injector, Tally},
    judge::{Findings, judge},
    world::{Operation, World},
};
use crate::story::sibling;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many times a node is killed
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Seed of the choice of faults and load; processes are not deterministic
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop killing after so many minutes, and fail if the kills were not reached
    #[arg(long, default_value_t = 6)]
    minutes: u64,
    /// Where the nodes' directories go; made anew each time
    #[arg(long, default_value = "testnet-data-faults")]
    dir: PathBuf,
    /// Only show that the judge sees each kind of violation in a fabricated history
    #[arg(long)]
    self_test: bool,
}

/// Citizens, half of them at each home.
const PEOPLE: u8 = 12;
/// Workers of the recipients' systems.
const ASKERS: u64 = 8;
/// A request is good for two minutes; one that is older is not asked again.
const REQUEST_MS: u64 = 100_000;

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let wrong = fabricated::self_test();
    for what in &wrong {
        println!("the judge: {what}");
    }
    anyhow::ensure!(wrong.is_empty(), "the judge does not see what it has to");
    println!(
        "the judge sees each of {} fabricated violations, and none in a clean history",
        fabricated::cases().len()
    );
    if options.self_test {
        return Ok(());
    }
    println!(
        "faults: seed {}, {} kills, at most {} minutes, leases of {} ms",
        options.seed,
        options.kills,
        options.minutes,
        world::LEASE_MS
    );
    let world = Arc::new(World::begin(&options.dir, sibling("mebuku")?, PEOPLE).await?);
    println!("   {:>4} s: six nodes run, {PEOPLE} citizens are enrolled", world.now() / 1000);

    let outcome = under_load(&world, options).await;
    let ended = match outcome {
        Ok(tally) => finish(&world).await.map(|findings| (tally, findings)),
        Err(error) => Err(error),
    };
    world.processes().stop_all();
    let (tally, findings) = ended?;
    report::print(&world.history(), &tally, &findings);
    let missed = missed(&tally, &findings, options.kills);
    for what in &missed {
        println!("not covered: {what}");
    }
    println!(
        "wall clock against the other one: {} ms; the run took {} s",
        world.wall_drift_ms(),
        world.now() / 1000
    );
    println!("violations: {}", findings.violations.len());
    anyhow::ensure!(findings.violations.is_empty(), "promises were broken");
    anyhow::ensure!(missed.is_empty(), "the run does not cover what it has to");
    Ok(())
}

/// The load, and the faults in it.
async fn under_load(world: &Arc<World>, options: &Options) -> anyhow::Result<Tally> {
    load::relay_in_vain(world, &mut Dice::new(options.seed, 2)).await?;
    let mut wallets = JoinSet::new();
    let mut others = JoinSet::new();
    for index in 0..world.people.len() {
        let dice = Dice::new(options.seed, 1000 + index as u64);
        wallets.spawn(load::decide(Arc::clone(world), index, dice));
    }
    for worker in 0..ASKERS {
        others.spawn(load::ask_on(Arc::clone(world), Dice::new(options.seed, 2000 + worker)));
    }
    others.spawn(injector::watch(Arc::clone(world)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let until = world.now() + options.minutes * 60_000;
    let injector = Injector::new(Arc::clone(world), Dice::new(options.seed, 1));
    let tally = injector.run(options.kills, until).await;
    // Whoever has begun something ends it against whole nodes.
    world.stop_load();
    while let Some(ended) = wallets.join_next().await {
        ended??;
    }
    while let Some(ended) = others.join_next().await {
        ended?;
    }
    tally
}

/// Lets everything heal, gathers what the nodes say, and judges.
async fn finish(world: &World) -> anyhow::Result<Findings> {
    println!("   {:>4} s: the load ended; everything heals", world.now() / 1000);
    collection::settle(world).await?;
    let again = collection::reconcile(world, world.now().saturating_sub(REQUEST_MS)).await;
    println!("   {:>4} s: {again} requests without an answer were asked again", world.now() / 1000);
    let probes = load::probe(world).await;
    println!("   {:>4} s: {} lanes were asked once more", world.now() / 1000, probes.len());
    world.history().probes = probes;
    collection::collect(world).await?;
    Ok(judge(&world.history()))
}

/// What a run of this size has to have met and did not.
fn missed(tally: &Tally, findings: &Findings, kills: usize) -> Vec<String> {
    let mut missed = Vec::new();
    if tally.kills() < kills {
        missed.push(format!("{} of {kills} kills in the time given", tally.kills()));
    }
    // A short run is a trial: it need not meet everything.
    if kills < 50 {
        return missed;
    }
    for role in ["home", "source", "recipient"] {
        if !tally.faults.contains_key(&(injector::Fault::Kill, role)) {
            missed.push(format!("no {role} was killed"));
        }
    }
    use injector::Fault::{Cut, Stall, Suspend};
    for fault in [Suspend, Cut, Stall] {
        if !tally.faults.keys().any(|(met, _)| *met == fault) {
            missed.push(format!("no {fault:?}"));
        }
    }
    for (operation, _) in Operation::ALL {
        if !tally.during.contains_key(&operation) {
            missed.push(format!("no kill during {operation:?}"));
        }
    }
    // A promise that nothing was held against was not tried.
    for check in judge::Check::ALL {
        if findings.made.get(&check).is_none_or(|made| *made == 0) {
            missed.push(format!("nothing to check of: {check}"));
        }
    }
    missed
}
