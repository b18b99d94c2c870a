//! `mebuku request`: what a provider's system does over http, from the command line.

use clap::Args;
use wire::{ItemType, Nonce, Purpose, ServiceId, ServiceName};

use super::{NodeArgs, show_answer};
use crate::{entropy::SystemEntropy, provider_client::Question};

#[derive(Debug, Args)]
pub struct RequestArgs {
    #[command(flatten)]
    node: NodeArgs,
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
    let client = args.node.client()?;
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
    show_answer(&answer).map_err(|refused| anyhow::anyhow!("request {}: {refused}", question.id))
}
