//! `mebuku ca`: the operators of a member CA look at what is asked for, and approve it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use wire::Hash;

use super::{NodeArgs, answered, show_answer};

#[derive(Debug, Args)]
pub struct CaArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Hand in what `mebuku init` wrote at the applicant
    HandIn {
        /// certification-request.json
        request: PathBuf,
    },
    /// All applications
    List,
    /// One application: who asks, for which services, with which keys
    Show { id: Hash },
    /// Approve an application; with the last approval that it takes, its certificates are issued
    Approve {
        id: Hash,
        /// Who approves: stands in the evidence log
        #[arg(long)]
        operator: String,
    },
    /// Write the certificates that were issued: what the applicant needs for `mebuku join`
    Fetch {
        id: Hash,
        #[arg(long)]
        out: PathBuf,
    },
}

pub async fn run(args: CaArgs) -> anyhow::Result<()> {
    let client = args.node.client()?;
    let of = |id: &Hash| format!("/v1/ca/applications/{id}");
    match args.command {
        CaCommand::HandIn { request } => {
            let text = std::fs::read(&request).with_context(|| format!("{}", request.display()))?;
            let asked =
                serde_json::from_slice(&text).with_context(|| format!("{}", request.display()))?;
            show_answer(&client.post("/v1/ca/applications", &asked).await?)
        }
        CaCommand::List => show_answer(&client.get("/v1/ca/applications").await?),
        CaCommand::Show { id } => show_answer(&client.get(&of(&id)).await?),
        CaCommand::Approve { id, operator } => {
            let body = serde_json::json!({ "operator": operator });
            show_answer(&client.post(&format!("{}/approve", of(&id)), &body).await?)
        }
        CaCommand::Fetch { id, out } => {
            let answer = client.get(&of(&id)).await?;
            if answered(&answer)?["issued"] != true {
                bail!("the application is not approved by enough operators yet");
            }
            std::fs::write(&out, &answer.body).with_context(|| format!("{}", out.display()))?;
            println!("{}", out.display());
            Ok(())
        }
    }
}
