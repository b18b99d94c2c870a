//! `testnet model` and `testnet sim`: the promise explored in the small and by seed
//! (`specs/14-verification.md`). The worlds themselves are the crate `simulator`.

use std::time::Duration;

use anyhow::bail;
use simulator::{
    days::{Summary, runs_of, simulate},
    explore::{Exploration, explore},
    model::Kind,
    run, scenario,
    script::Fault,
};
use tokio::time::Instant;

/// Most runs that are spent on making a failing one short.
const SHRINKING: usize = 400;
/// A model with fewer states shows little.
const LEAST_STATES: usize = 1_000_000;
/// From so many hours on every kind of fault and of outcome is to be seen.
const TELLING_HOURS: u64 = 100;

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The same seed gives the same trace
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Homes, sources and recipients, a third each
    #[arg(long, default_value_t = 6)]
    pub nodes: usize,
    #[arg(long, default_value_t = 24)]
    pub hours: u64,
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Explores every scenario to its end.
pub fn model(big: bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut done: Vec<Exploration> = Vec::new();
    for scenario in scenario::ALL {
        let start = Instant::now();
        let scenario = scenario();
        let found = explore(if big { scenario.wider() } else { scenario }, threads());
        let took = start.elapsed().as_secs_f64();
        println!(
            "{:<18} {:>9} unique states, {:>9} reached, {took:>6.1} s",
            found.name, found.unique, found.reached
        );
        if let Some(violation) = &found.violation {
            println!("VIOLATION: {}", violation.says);
            for action in &violation.actions {
                println!("  {action:?}");
            }
        }
        done.push(found);
    }
    println!("\nwhat happened in them, how often:");
    for (n, (_, kind)) in Kind::ALL.iter().enumerate() {
        let count: u64 = done.iter().map(|found| found.counts[n]).sum();
        println!("  {kind:<32} {count:>9}");
        if count == 0 {
            bail!("'{kind}' never happened: the model does not show what it says");
        }
    }
    let unique: usize = done.iter().map(|found| found.unique).sum();
    let largest = done.iter().map(|found| found.unique).max().unwrap_or(0);
    let violations = done.iter().filter(|found| found.violation.is_some()).count();
    println!("\nexhausted: {} scenarios in {}", done.len(), seconds(begin.elapsed()));
    println!("unique states: {unique}");
    println!("largest scenario: {largest}");
    println!("violations: {violations}");
    if violations > 0 {
        bail!("the promise was broken");
    }
    if unique < LEAST_STATES {
        bail!("fewer than {LEAST_STATES} states: the scenarios have become too small to show much");
    }
    Ok(())
}

/// Simulates the hours of a seed.
pub fn days(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    let runs = runs_of(options.seed, options.nodes, options.hours);
    let summary = simulate(&runs, threads());
    print(&summary);
    for (run, says) in &summary.violations {
        println!("\nVIOLATION in the run of seed {} ({} minutes): {says}", run.seed, run.minutes);
        if let Some((script, outcome)) = run::shrink(run, SHRINKING) {
            println!("what is left of it, shrunk:");
            for injection in &script {
                println!("  {injection:?}");
            }
            println!("  at {} ms: {}", outcome.violated_ms, outcome.violation.unwrap_or_default());
            println!("for simulator/tests/seeds.rs, once it is mended:");
            println!("  ({}, {}, {}, \"{says}\"),", run.seed, run.nodes, run.minutes);
        }
    }
    if let Some(kind) = summary.missing().filter(|_| options.hours >= TELLING_HOURS) {
        bail!("'{kind}' never happened: the run does not show what it says");
    }
    println!("\n{} runs, {} hours in {}", runs.len(), options.hours, seconds(begin.elapsed()));
    match summary.trace {
        Some(trace) => println!("trace: {trace}"),
        None => bail!("no trace"),
    }
    println!("violations: {}", summary.violations.len());
    if !summary.violations.is_empty() {
        bail!("the promise was broken");
    }
    Ok(())
}

fn print(summary: &Summary) {
    println!("what happened:");
    for (name, count) in &summary.counts {
        println!("  {name:<34} {count:>9}");
    }
    println!("\nfailing writes, by what was to be written:");
    for (what, count) in &summary.struck {
        println!("  {what:<34} {count:>9}");
    }
    println!("\nfaults:");
    for (kind, count) in Fault::KINDS.iter().zip(summary.faults) {
        println!("  {kind:<34} {count:>9}");
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
