//! `testnet demo`: see the library.

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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Demo { check, dir } => testnet::story::run(&dir, check).await,
    }
}
