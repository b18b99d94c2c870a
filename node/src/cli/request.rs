//! `mebuku request`: what a provider's system does over http, from the command line.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use wire::{ItemType, Nonce, Purpose, ServiceId, ServiceName};

use crate::{
    entropy::SystemEntropy,
    provider_client::{ProviderClient, Question},
};

#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The provider API of this organisation's node
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    node: String,
    /// File with the API key
    #[arg(long)]
    api_key_file: PathBuf,
    /// Who holds the data
    #[arg(long)]
    source: ServiceName,
    /// Which of our services asks
    #[arg(long)]
    recipient: ServiceName,
    /// The citizen's service id at the recipient
    #[arg(long)]
    subject: ServiceId,
    /// Item type; may be given several times
    #[arg(long = "item", required = true)]
    items: Vec<ItemType>,
    #[arg(long)]
    purpose: Purpose,
    /// All the items, or nothing
    #[arg(long)]
    whole: bool,
    /// The id of an earlier request, to try it again
    #[arg(long)]
    id: Option<Nonce>,
}

pub async fn run(args: RequestArgs) -> anyhow::Result<()> {
    let key = std::fs::read_to_string(&args.api_key_file)
        .with_context(|| format!("{}", args.api_key_file.display()))?;
    let client = ProviderClient::new(args.node.trim_end_matches('/'), key.trim());
    let question = Question {
        id: args.id.unwrap_or_else(|| Nonce(SystemEntropy.array())),
        source: args.source,
        recipient: args.recipient,
        subject: args.subject,
        items: args.items,
        purpose: args.purpose,
        whole: args.whole,
    };
    let answer = client.ask(&question).await?;
    let json = answer.json()?;
    println!("{}", serde_json::to_string_pretty(&json)?);
    if !answer.status.is_success() {
        let detail = json["detail"].as_str().unwrap_or("the node did not say why");
        bail!("request {}: {}: {detail}", question.id, json["title"].as_str().unwrap_or("refused"));
    }
    Ok(())
}
