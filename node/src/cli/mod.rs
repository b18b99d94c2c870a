//! The command line, one module for each family of commands.

pub mod ca;
pub mod desk;
pub mod doctor;
pub mod init;
pub mod join;
pub mod request;
pub mod trust;
pub mod verify;
pub mod wallet;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::{
    config::Config,
    provider_client::{Answer, ProviderClient},
    run::Node,
};

/// A node of the Mebuku network, and the tools around it.
#[derive(Debug, Parser)]
#[command(name = "mebuku", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node's keys, and write down what its CA has to certify
    Init {
        /// The node's configuration
        #[arg(long)]
        config: PathBuf,
    },
    /// Take what a new node needs: the trust file of its network, and the certificates that a CA issued
    Join(join::JoinArgs),
    /// Run a node until it is told to stop
    Run {
        /// The node's configuration
        #[arg(long)]
        config: PathBuf,
    },
    /// Ask a source for a presentation, through this organisation's node
    Request(request::RequestArgs),
    /// Check an evidence bundle, offline
    Verify(verify::VerifyArgs),
    /// Say what is wrong with a node's configuration, keys, certificates and trust list
    Doctor {
        /// The node's configuration
        #[arg(long)]
        config: PathBuf,
    },
    /// Govern who is trusted: propose, read, sign, publish
    Trust(trust::TrustArgs),
    /// Certify organisations: look at applications, approve them
    Ca(ca::CaArgs),
    /// A citizen's wallet
    Wallet(wallet::WalletArgs),
    /// The officer's desk of a home: who acts for a citizen, lost phones, moves
    Desk(desk::DeskArgs),
}

/// Where a node's provider API is, and with which key it lets one in.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The provider API of the organisation's node
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    node: String,
    /// File with the API key: each operator has their own
    #[arg(long)]
    api_key_file: PathBuf,
}

impl NodeArgs {
    pub fn client(&self) -> anyhow::Result<ProviderClient> {
        let path = &self.api_key_file;
        let key = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        Ok(ProviderClient::new(self.node.trim_end_matches('/'), key.trim()))
    }
}

/// What a node answered; an error that says why, if it refused.
pub fn answered(answer: &Answer) -> anyhow::Result<Value> {
    let json = answer.json()?;
    if !answer.status.is_success() {
        let detail = json["detail"].as_str().unwrap_or("the node did not say why");
        bail!("{}: {detail}", json["title"].as_str().unwrap_or("refused"));
    }
    Ok(json)
}

/// Shows what a node answered, a refusal too.
pub fn show_answer(answer: &Answer) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&answer.json()?)?);
    answered(answer).map(drop)
}

impl Cli {
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init { config } => init::run(&config),
            Command::Join(args) => join::run(args).await,
            Command::Ca(args) => ca::run(args).await,
            Command::Run { config } => run_node(&config).await,
            Command::Request(args) => request::run(args).await,
            Command::Verify(args) => verify::run(&args),
            Command::Trust(args) => trust::run(args).await,
            Command::Doctor { config } => doctor::run(&config).await,
            Command::Wallet(args) => wallet::run(args).await,
            Command::Desk(args) => desk::run(args).await,
        }
    }
}

async fn run_node(path: &std::path::Path) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let config = Config::load(path)?;
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::from(config.log_level))
        .with_writer(std::io::stderr)
        .init();
    let node = Node::start(config).await?;
    tracing::info!(
        organisation = %node.context.organisation,
        provider = %node.provider_address,
        public = ?node.public_address,
        "ready"
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = tokio::signal::ctrl_c() => false,
        () = node.failed() => true,
    };
    node.stop().await;
    anyhow::ensure!(!failed, "the commit thread ended; the log says why");
    tracing::info!("stopped");
    Ok(())
}
