//! `mebuku ca`: the operators of a member CA look at what is asked for, and approve it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use wire::Hash;

use crate::provider_client::{Answer, ProviderClient};

#[derive(Debug, Args)]
pub struct CaArgs {
    /// The provider API of the CA's node
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    node: String,
    /// File with the API key: each operator has their own
    #[arg(long)]
    api_key_file: PathBuf,
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
    let path = &args.api_key_file;
    let key = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let client = ProviderClient::new(args.node.trim_end_matches('/'), key.trim());
    let of = |id: &Hash| format!("/v1/ca/applications/{id}");
    match args.command {
        CaCommand::HandIn { request } => {
            let text = std::fs::read(&request).with_context(|| format!("{}", request.display()))?;
            let asked =
                serde_json::from_slice(&text).with_context(|| format!("{}", request.display()))?;
            print_answer(&client.post("/v1/ca/applications", &asked).await?)
        }
        CaCommand::List => print_answer(&client.get("/v1/ca/applications").await?),
        CaCommand::Show { id } => print_answer(&client.get(&of(&id)).await?),
        CaCommand::Approve { id, operator } => {
            let body = serde_json::json!({ "operator": operator });
            print_answer(&client.post(&format!("{}/approve", of(&id)), &body).await?)
        }
        CaCommand::Fetch { id, out } => {
            let answer = client.get(&of(&id)).await?;
            checked(&answer)?;
            if answer.json()?["issued"] != true {
                bail!("the application is not approved by enough operators yet");
            }
            std::fs::write(&out, &answer.body).with_context(|| format!("{}", out.display()))?;
            println!("{}", out.display());
            Ok(())
        }
    }
}

fn print_answer(answer: &Answer) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&answer.json()?)?);
    checked(answer)
}

fn checked(answer: &Answer) -> anyhow::Result<()> {
    if !answer.status.is_success() {
        let json = answer.json()?;
        bail!("{}", json["detail"].as_str().unwrap_or("the node did not say why"));
    }
    Ok(())
}
