//! What `mebuku wallet` takes.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use wire::{
    DecisionId, Hash, ItemType, KeyHash, NetworkId, Purpose, ServiceName, Timestamp,
    consent::{Items, PurposeScope, Recipient},
};

use super::reopening::ReopenArgs;

/// A citizen's wallet on the command line.
#[derive(Debug, Clone, Args)]
pub struct WalletArgs {
    /// The wallet's directory.
    #[arg(long)]
    pub dir: PathBuf,
    /// A file whose first line encrypts the private keys; without it they lie open.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// The authorities (PEM) to trust on whose server answers; without it, those of this machine.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// Answer in JSON, for programs.
    #[arg(long)]
    pub json: bool,
    #[command(subcommand)]
    pub command: WalletCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum WalletCommand {
    /// Make a new wallet for a citizen of the municipality whose node answers at a URL.
    Create {
        #[arg(long)]
        home: String,
        /// The network id: the trust list must hang from it.
        #[arg(long)]
        network: NetworkId,
        /// A synthetic card, for testnets: kept in the directory for `enrol`.
        #[arg(long)]
        card: Option<PathBuf>,
    },
    /// Prove who you are with the card; get the number and an ID certificate.
    Enrol {
        /// A card file, if none was given to `create`.
        #[arg(long)]
        card: Option<PathBuf>,
        /// At the counter, on the phone of who acts for the citizen whose card this is: what the officer
        /// opened (`mebuku desk challenge`).
        #[arg(long)]
        challenge: Option<PathBuf>,
    },
    /// Get a key and certificate at a service.
    Service { service: ServiceName },
    /// Get the attestation that your ids at two services are one person.
    Link { source: ServiceName, recipient: ServiceName },
    /// Allow one recipient to get items from a source.
    Permit(PermitArgs),
    /// Refuse: holds until a permit names it.
    Deny(DenyArgs),
    /// One deny that covers everything at a source.
    Stop {
        source: ServiceName,
        #[command(flatten)]
        direct: DirectArgs,
    },
    /// At the counter, without your home: allow the one request that a recipient shows.
    Present(PresentArgs),
    /// Ask your CA how your certificate at a source stands, and keep the answer for the counter.
    Status { source: ServiceName },
    /// Show what stands at a source, and whether it is in force (発効).
    Register { source: ServiceName },
    /// Show who looked at what at a source, when, and whether it was released or refused.
    History {
        #[arg(long)]
        service: ServiceName,
    },
    /// Show what a recipient asks you to permit.
    Requests {
        #[arg(long)]
        service: ServiceName,
        /// Also what your denies answer already.
        #[arg(long)]
        all: bool,
    },
    /// Answer a recipient's request; agreeing signs the permit that it asks for.
    Answer(AnswerArgs),
    /// Get the receipt that a decision is in force (発効証明), and keep it.
    Effect {
        source: ServiceName,
        decision: DecisionId,
        /// Write deny and receipt to this file, for `mebuku verify --deny`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take your registers to the municipality whose node answers at a URL: you have moved there.
    Move(MoveArgs),
    /// Show what this wallet holds.
    Show,
    /// Records you hand in yourself.
    #[command(subcommand)]
    Record(RecordCommand),
    /// The keys of your other phones.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The ID keys of your other phones: what gets new keys and links.
    #[command(subcommand)]
    Id(IdCommand),
}

#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("how often").args(["once", "per_day"])))]
pub struct PermitArgs {
    #[arg(long)]
    pub source: ServiceName,
    #[arg(long)]
    pub recipient: ServiceName,
    /// An item type or category such as health.allergy; several times for several.
    #[arg(long = "item", required = true)]
    pub items: Vec<ItemType>,
    #[arg(long)]
    pub purpose: Purpose,
    #[arg(long, default_value_t = 30)]
    pub days: u32,
    /// Good for one release.
    #[arg(long)]
    pub once: bool,
    /// Good for this many releases a day.
    #[arg(long)]
    pub per_day: Option<u32>,
    /// How many days the recipient may keep the data; without it, as the law says.
    #[arg(long)]
    pub retention_days: Option<u32>,
    /// The recipient may pass the data on.
    #[arg(long)]
    pub onward: bool,
    /// Only data about this time and later: a day (from its first moment, UTC) or a moment like
    /// 2026-04-01T09:30:00Z.
    #[arg(long, value_parser = moment, requires = "data_until")]
    pub data_from: Option<Timestamp>,
    /// Only data about the time before this: a day or a moment.
    #[arg(long, value_parser = moment, requires = "data_from")]
    pub data_until: Option<Timestamp>,
    #[command(flatten)]
    pub reopen: ReopenArgs,
    /// Sign although denies stand that were not named: what they cover stays refused.
    #[arg(long)]
    pub leave_denies: bool,
    /// Only say what the permit would mean; sign nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct PresentArgs {
    /// A file with the request that the recipient shows (hexadecimal).
    #[arg(long)]
    pub request: PathBuf,
    #[command(flatten)]
    pub reopen: ReopenArgs,
    /// Only say what it would mean; sign nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DenyArgs {
    #[arg(long)]
    pub source: ServiceName,
    /// Without it: every recipient.
    #[arg(long)]
    pub recipient: Option<ServiceName>,
    /// Several times for several; without it: every item.
    #[arg(long = "item")]
    pub items: Vec<ItemType>,
    /// Without it: every purpose.
    #[arg(long)]
    pub purpose: Option<Purpose>,
    #[command(flatten)]
    pub direct: DirectArgs,
}

#[derive(Debug, Clone, Args)]
pub struct DirectArgs {
    /// Hand it to the node at this URL: the source's, or any municipality's, which relays it. It holds
    /// as soon as the source has it, even if your home is down.
    #[arg(long)]
    pub direct: Option<String>,
    /// Write the deny and the source's receipt to this file, for `mebuku verify --deny`.
    #[arg(long, value_name = "FILE", requires = "direct")]
    pub out: Option<PathBuf>,
}

impl DenyArgs {
    pub fn draft(&self) -> wallet::DenyDraft {
        wallet::DenyDraft {
            source: self.source.clone(),
            recipient: self.recipient.clone().map_or(Recipient::Any, Recipient::Service),
            items: if self.items.is_empty() {
                Items::All
            } else {
                Items::Types(self.items.clone())
            },
            purpose: self.purpose.clone().map_or(PurposeScope::Any, PurposeScope::Code),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct MoveArgs {
    /// The new municipality's node.
    #[arg(long)]
    pub to: String,
    /// Only the register at this service; without it, all of them, and you live there from now on.
    #[arg(long)]
    pub service: Option<ServiceName>,
    /// A card file to enrol with, if none was given to `create`.
    #[arg(long)]
    pub card: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct AnswerArgs {
    /// The request's id, as `requests` shows it.
    pub id: Hash,
    #[arg(value_enum)]
    pub answer: AnswerWord,
    /// The recipient's service.
    #[arg(long)]
    pub service: ServiceName,
    #[command(flatten)]
    pub reopen: ReopenArgs,
    /// Agree although denies stand that were not named: what they cover stays refused.
    #[arg(long)]
    pub leave_denies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerWord {
    Agree,
    Decline,
}

#[derive(Debug, Clone, Subcommand)]
pub enum RecordCommand {
    /// Hand a record to the source that will hold it.
    Put {
        #[arg(long)]
        source: ServiceName,
        #[arg(long)]
        item: ItemType,
        /// A file with JSON.
        #[arg(long)]
        file: PathBuf,
        /// The source's node.
        #[arg(long)]
        url: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub enum IdCommand {
    /// Show the ID keys that your home enrolled for you.
    List,
    /// End a lost phone's: it gets no certificate and no link any more. Its keys at services are ended
    /// one by one (`key end`).
    End { key: KeyHash },
}

/// `YYYY-MM-DD`, which is its first moment, or `YYYY-MM-DDTHH:MM:SSZ`.
fn moment(text: &str) -> Result<Timestamp, String> {
    let full = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let time: der::DateTime = full
        .parse()
        .map_err(|_| "neither a day like 2026-04-01 nor a moment like 2026-04-01T09:30:00Z")?;
    Ok(Timestamp(time.unix_duration().as_secs() * 1000))
}

#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Write this wallet's certificate chain at a service to a file, for the other phone to approve.
    Export { service: ServiceName, file: PathBuf },
    /// Let the other phone's key permit, from the file it exported.
    Approve {
        source: ServiceName,
        file: PathBuf,
        /// It is the phone of somebody whom you let decide for you, for so many days.
        #[arg(long)]
        proxy_days: Option<u32>,
    },
    /// Show the keys of your phones at a source.
    List { source: ServiceName },
    /// End another phone's key: its permits are void but for those kept.
    End {
        source: ServiceName,
        key: KeyHash,
        /// A permit of that key that shall go on; several times for several.
        #[arg(long = "keep")]
        keep: Vec<DecisionId>,
        /// Keep none of its permits: a lost phone.
        #[arg(long, conflicts_with = "keep")]
        keep_none: bool,
    },
}
