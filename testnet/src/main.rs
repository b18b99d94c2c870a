//! `testnet demo`, `model`, `sim`, `faults`, `govern` and `latency`: see the library.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "testnet")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Found a network, tell the story, and stay up
    Demo {
        /// End after the story; fail if a step did
        #[arg(long)]
        check: bool,
        /// Where the nodes' directories go; made anew each time
        #[arg(long, default_value = "testnet-data")]
        dir: PathBuf,
    },
    /// Explore every history of small worlds, with every fault: the machines of production, model
    /// checked; fail on any violation
    Model {
        /// More of everything: takes hours
        #[arg(long)]
        big: bool,
    },
    /// Simulate days by seed: drifting clocks, partitions, crashes, lost writes, old backups; fail on any
    /// violation
    Sim(testnet::simulation::Options),
    /// Kill, suspend and cut off nodes under load, and judge from outside whether every deny held;
    /// fail on any violation
    Faults(testnet::faults::Options),
    /// Add a city and remove another while exchanges run; fail if anybody who stays notices
    Govern(testnet::govern::Options),
    /// Measure how soon a deny bites: connected, and with the source cut off
    Latency(testnet::latency::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Demo { check, dir } => testnet::story::run(&dir, check).await,
        Command::Model { big } => testnet::simulation::model(big),
        Command::Sim(options) => testnet::simulation::days(&options),
        Command::Faults(options) => testnet::faults::run(&options).await,
        Command::Govern(options) => testnet::govern::run(&options).await,
        Command::Latency(options) => testnet::latency::run(&options).await,
    }
}
