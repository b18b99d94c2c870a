//! `mebuku desk`: what an officer of a home does at the counter, through the home's node.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use wire::{Bytes, DecisionId, KeyHash, OrganisationId, ServiceId, ServiceName};

use super::{NodeArgs, answered};
use crate::provider_client::ProviderClient;

#[derive(Debug, Args)]
pub struct DeskArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Who does this: stands in the evidence log
    #[arg(long)]
    operator: String,
    #[command(subcommand)]
    command: DeskCommand,
}

#[derive(Debug, Subcommand)]
enum DeskCommand {
    /// Open a challenge for the phone of who acts for a citizen; `mebuku wallet enrol --challenge` takes it
    Challenge {
        /// Where to write it
        #[arg(long)]
        out: PathBuf,
    },
    /// Let a guardian's or proxy's phone decide for a citizen
    KeyBegin(KeyBeginArgs),
    /// End a key: a lost phone, a guardianship that is over
    KeyEnd {
        #[command(flatten)]
        pair: PairArgs,
        /// The key, as `keys` shows it
        #[arg(long)]
        key: KeyHash,
        /// A permit of that key that shall go on; several times for several
        #[arg(long = "keep")]
        keep: Vec<DecisionId>,
        /// Keep none of its permits: a lost phone
        #[arg(long, conflicts_with = "keep")]
        keep_none: bool,
    },
    /// Show the keys of a citizen at a service, and what they permitted
    Keys {
        #[command(flatten)]
        pair: PairArgs,
    },
    /// Certify that a citizen moved: writes what `hand-in` takes, first at the home that is left
    Move {
        #[command(flatten)]
        pair: PairArgs,
        /// The home that the citizen leaves
        #[arg(long)]
        from: OrganisationId,
        /// The home that the citizen comes to
        #[arg(long)]
        to: OrganisationId,
        /// One more than the citizen's moves so far; the home that is left knows
        #[arg(long)]
        epoch: Option<u32>,
        /// Where to write it
        #[arg(long)]
        out: PathBuf,
    },
    /// Hand in a certified move: the home that is left lets go and writes what the new one takes over
    HandIn {
        /// What `move` wrote, or `hand-in` at the home that was left
        file: PathBuf,
        /// At the home that is left: where to write what the new one needs
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// One citizen at one service.
#[derive(Debug, Args)]
struct PairArgs {
    #[arg(long)]
    source: ServiceName,
    /// The citizen's service id there
    #[arg(long)]
    subject: ServiceId,
}

#[derive(Debug, Args)]
struct KeyBeginArgs {
    /// What the phone exported: `mebuku wallet key export`
    #[arg(long)]
    service_chain: PathBuf,
    #[arg(long, value_enum)]
    basis: Basis,
    /// The kind of document that the officer saw
    #[arg(long, value_enum)]
    document: Document,
    /// A file with what the document says, or its number; - reads it from the terminal
    #[arg(long)]
    text_file: PathBuf,
    /// The citizen's, where a guardian acts: 2018-04-01
    #[arg(long)]
    birth_date: Option<String>,
    /// The day (in Japan) or moment at which the key's permits end
    #[arg(long)]
    until: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Basis {
    Guardian,
    Proxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Document {
    /// 戸籍
    FamilyRegister,
    /// 登記事項証明書
    GuardianshipRegister,
    /// A decision of the family court
    CourtOrder,
    /// 委任状
    PowerOfAttorney,
}

/// The word that the command line and the API share.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default()
}

pub async fn run(args: DeskArgs) -> anyhow::Result<()> {
    let client = args.node.client()?;
    let mut body = json!({ "operator": args.operator });
    let of_pair = |body: &mut Value, PairArgs { source, subject }: &PairArgs| {
        body["source"] = json!(source);
        body["subject"] = json!(subject);
    };
    match args.command {
        DeskCommand::Challenge { out } => {
            let answer = call(&client, "challenge", &body).await?;
            write(&out, &answer["challenge"])?;
            println!("wrote the challenge to {}; it is open for 10 minutes", out.display());
        }
        DeskCommand::KeyBegin(begin) => {
            let chain = std::fs::read(&begin.service_chain)
                .with_context(|| format!("{}", begin.service_chain.display()))?;
            body["service_chain"] = json!(Bytes(chain));
            body["basis"] = json!(word(&begin.basis));
            body["document"] = json!(word(&begin.document));
            body["text"] = json!(read_text(&begin.text_file)?);
            if let Some(born) = begin.birth_date {
                body["birth_date"] = json!(born);
            }
            if let Some(until) = begin.until {
                body["until"] = json!(until);
            }
            show(&call(&client, "key-begin", &body).await?)?;
        }
        DeskCommand::KeyEnd { pair, key, keep, keep_none } => {
            if keep.is_empty() && !keep_none {
                bail!(
                    "say with --keep ID which of the key's permits go on (`desk keys` shows \
                     them), or --keep-none for a lost phone"
                );
            }
            of_pair(&mut body, &pair);
            body["key"] = json!(key);
            body["keeps"] = json!(keep);
            show(&call(&client, "key-end", &body).await?)?;
        }
        DeskCommand::Keys { pair } => {
            of_pair(&mut body, &pair);
            show(&call(&client, "keys", &body).await?)?;
        }
        DeskCommand::Move { pair, from, to, epoch, out } => {
            of_pair(&mut body, &pair);
            body["from"] = json!(from);
            body["to"] = json!(to);
            if let Some(epoch) = epoch {
                body["epoch"] = json!(epoch);
            }
            let answer = call(&client, "move", &body).await?;
            write(&out, &answer["move"])?;
            println!("wrote the certified move to {}", out.display());
        }
        DeskCommand::HandIn { file, out } => {
            let bytes = std::fs::read(&file).with_context(|| format!("{}", file.display()))?;
            body["move"] = json!(Bytes(bytes));
            let mut answer = call(&client, "hand-in", &body).await?;
            let onward = answer["move"].take();
            show(&answer)?;
            match (onward.is_null(), out) {
                (true, None) => {}
                (true, Some(out)) => {
                    println!("{} is not written: this home takes over", out.display());
                }
                (false, Some(out)) => {
                    write(&out, &onward)?;
                    println!("wrote what the new home needs to {}", out.display());
                }
                (false, None) => {
                    bail!("let go; once more with --out FILE to write what the new home needs")
                }
            }
        }
    }
    Ok(())
}

async fn call(client: &ProviderClient, what: &str, body: &Value) -> anyhow::Result<Value> {
    answered(&client.post(&format!("/v1/desk/{what}"), body).await?)
}

fn show(answer: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(())
}

/// Hexadecimal in an answer becomes bytes in a file.
fn write(path: &Path, hexadecimal: &Value) -> anyhow::Result<()> {
    let bytes: Bytes =
        serde_json::from_value(hexadecimal.clone()).context("not an answer of ours")?;
    std::fs::write(path, &*bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Never from the command line itself, which others on the machine can read.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("the terminal cannot be read")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    }
    Ok(text.trim().to_owned())
}
