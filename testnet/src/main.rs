//! `testnet demo`, `faults` and `latency`: see the library.

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
    /// Kill, suspend and cut off nodes under load, and judge from outside whether every deny held;
    /// fail on any violation
    Faults(testnet::faults::Options),
    /// Measure how soon a deny bites: connected, and with the source cut off
    Latency(testnet::latency::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Demo { check, dir } => testnet::story::run(&dir, check).await,
        Command::Faults(options) => testnet::faults::run(&options).await,
        Command::Latency(options) => testnet::latency::run(&options).await,
    }
}
