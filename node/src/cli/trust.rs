//! `mebuku trust`: the ceremony by which municipalities govern who is trusted. Proposals are files: they go
//! from hand to hand, to machines without a network too, and each signer reads what would change.

mod plan;

use std::{
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use trust::{
    Trust,
    ceremony::{self, Ceremony, Proposal, Renew},
};
use wire::{Hash, NetworkId, OrganisationId, Signer, Timestamp, cbor, membership::Denied};

use self::plan::Plan;
pub use self::plan::key_text;
use super::{NodeArgs, show_answer};
use crate::{
    clock::{Clock, SystemClock},
    keys::{KeyFile, KeyKind, P256Signer, Passphrase},
    run::read_trust,
};

#[derive(Debug, Args)]
pub struct TrustArgs {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// Make a governing key, and print its public part for the plan
    Key {
        /// Where to write the encrypted key
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Write down what is in force as a plan, to be edited and proposed
    Plan {
        #[command(flatten)]
        force: InForceArgs,
        /// Where to write it; certificates of CAs go beside it
        #[arg(long)]
        out: PathBuf,
    },
    /// Begin a network: root, trust list and timestamp from a plan
    Init {
        #[arg(long)]
        plan: PathBuf,
        /// Directory for the proposals
        #[arg(long)]
        out: PathBuf,
    },
    /// Propose what leads from what is in force to a plan
    Propose {
        #[command(flatten)]
        force: InForceArgs,
        #[arg(long)]
        plan: PathBuf,
        /// Sign anew what does not change, before it runs out
        #[arg(long, value_enum)]
        renew: Option<RenewArg>,
        /// Propose the timestamp too, to be signed by hand: where nodes cannot make it, or have stood still
        /// past its hard expiry
        #[arg(long)]
        timestamp: bool,
        /// Directory for the proposals
        #[arg(long)]
        out: PathBuf,
    },
    /// Say what proposals change, and who has signed
    Show {
        #[command(flatten)]
        before: BeforeArgs,
        #[arg(required = true)]
        proposals: Vec<PathBuf>,
    },
    /// Read what proposals change, and sign those that the key has a say in
    Sign {
        #[command(flatten)]
        before: BeforeArgs,
        /// The governing key
        #[arg(long)]
        key: PathBuf,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        /// Do not ask: what changes was read before
        #[arg(long)]
        yes: bool,
        /// Signed in place
        #[arg(required = true)]
        proposals: Vec<PathBuf>,
    },
    /// Put signed proposals together into a trust file
    Publish {
        #[command(flatten)]
        before: BeforeArgs,
        /// Where to write the trust file
        #[arg(long)]
        out: PathBuf,
        /// Copies that were signed in several places too
        #[arg(required = true)]
        proposals: Vec<PathBuf>,
    },
    /// Want an organisation or a certificate struck off until the next trust list
    ///
    /// It is as soon as three cities' operators want it; the next list confirms it, or it lapses.
    Deny {
        #[command(flatten)]
        node: NodeArgs,
        /// Who wants it: stands in the node's evidence log
        #[arg(long)]
        operator: String,
        #[command(flatten)]
        denied: DeniedArgs,
    },
    /// Say what this organisation's node goes by, and what waits for a decision
    Status {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Hand a trust file to this organisation's node, which goes by it and tells the others
    HandIn {
        #[command(flatten)]
        node: NodeArgs,
        file: PathBuf,
    },
    /// Check a trust file from the genesis root on, and say what is in it
    Verify {
        /// Hash of the genesis root, from a source you trust
        #[arg(long)]
        root: NetworkId,
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct DeniedArgs {
    /// By its corporate number
    #[arg(long)]
    organisation: Option<OrganisationId>,
    /// By the SHA-256 of its DER, in hexadecimal digits
    #[arg(long)]
    certificate: Option<Hash>,
}

#[derive(Debug, Args)]
struct InForceArgs {
    /// The trust file in force
    #[arg(long)]
    trust: PathBuf,
    /// Hash of the genesis root, from a source you trust
    #[arg(long)]
    root: NetworkId,
}

#[derive(Debug, Args)]
struct BeforeArgs {
    /// The trust file in force; none for a network that begins
    #[arg(long, requires = "root")]
    trust: Option<PathBuf>,
    /// Hash of the genesis root, from a source you trust
    #[arg(long)]
    root: Option<NetworkId>,
}

#[derive(Debug, Args)]
struct PassphraseArgs {
    /// File with the passphrase of the key; otherwise MEBUKU_PASSPHRASE
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RenewArg {
    List,
    Root,
}

pub async fn run(args: TrustArgs) -> anyhow::Result<()> {
    let now = SystemClock.now().wall;
    match args.command {
        TrustCommand::Key { out, passphrase } => {
            let passphrase = Passphrase::load(passphrase.passphrase_file.as_deref())?;
            let key = KeyFile::create(&out, KeyKind::P256, &passphrase)?;
            println!("{}", plan::key_text(&P256Signer::new(&key)?.public_key()));
            Ok(())
        }
        TrustCommand::Plan { force, out } => {
            Plan::of(&in_force(&force.trust, &force.root)?).write(&out)?;
            println!("{}: edit it, then `mebuku trust propose`", out.display());
            Ok(())
        }
        TrustCommand::Init { plan, out } => propose(None, &plan, Renew::Changed, true, &out, now),
        TrustCommand::Propose { force, plan, renew, timestamp, out } => {
            let before = in_force(&force.trust, &force.root)?;
            let renew = match renew {
                None => Renew::Changed,
                Some(RenewArg::List) => Renew::List,
                Some(RenewArg::Root) => Renew::Root,
            };
            propose(Some(before), &plan, renew, timestamp, &out, now)
        }
        TrustCommand::Show { before, proposals } => show(&table(&before, &proposals)?),
        TrustCommand::Sign { before, key, passphrase, yes, proposals } => {
            let mut ceremony = table(&before, &proposals)?;
            show(&ceremony)?;
            if !yes && !is_confirmed()? {
                bail!("nothing was signed");
            }
            let passphrase = Passphrase::load(passphrase.passphrase_file.as_deref())?;
            let signer = P256Signer::new(&KeyFile::open(&key, KeyKind::P256, &passphrase)?)?;
            sign(&mut ceremony, &signer, &proposals)
        }
        TrustCommand::Publish { before, out, proposals } => {
            let ceremony = table(&before, &proposals)?;
            if before.trust.is_some() && !ceremony.has_timestamp() {
                write_whole(&out, &cbor::to_vec(&ceremony.decided(now)?))?;
                println!("{}: signed by enough people", out.display());
                println!(
                    "next: `mebuku trust hand-in` to a city's node; the nodes make its timestamp"
                );
                return Ok(());
            }
            let (file, trust) = ceremony.publish(now)?;
            write_whole(&out, &cbor::to_vec(&file))?;
            println!("{}: {}", out.display(), versions(&trust));
            println!("network {}", trust.network());
            Ok(())
        }
        TrustCommand::Deny { node, operator, denied } => {
            let denied = match (denied.organisation, denied.certificate) {
                (Some(organisation), _) => Denied::Organisation(organisation),
                (None, Some(certificate)) => Denied::Certificate(certificate),
                (None, None) => bail!("name an organisation or a certificate"),
            };
            show_answer(&node.client()?.deny(&operator, &denied).await?)
        }
        TrustCommand::Status { node } => show_answer(&node.client()?.get("/v1/trust").await?),
        TrustCommand::HandIn { node, file } => {
            let bytes = cbor::to_vec(&read_trust(&file)?);
            let answer = node.client()?.hand_in_trust(bytes).await?;
            show_answer(&answer).with_context(|| format!("{}", file.display()))
        }
        TrustCommand::Verify { root, file } => {
            let trust = Trust::open(&read_trust(&file)?, &root, now)
                .with_context(|| format!("{}", file.display()))?;
            println!("{}: {}", file.display(), versions(&trust));
            print!("{}", plan::summary(&trust));
            Ok(())
        }
    }
}

/// A file in force is the base of what comes next even where it has run out: that is what is to be mended.
fn in_force(path: &Path, root: &NetworkId) -> anyhow::Result<Trust> {
    let file = read_trust(path)?;
    Trust::open(&file, root, Timestamp(0)).with_context(|| format!("{}", path.display()))
}

fn propose(
    before: Option<Trust>,
    plan: &Path,
    renew: Renew,
    with_timestamp: bool,
    out: &Path,
    now: Timestamp,
) -> anyhow::Result<()> {
    let plan = Plan::read(plan)?;
    let wanted = plan.wanted()?;
    let proposals = ceremony::propose(before.as_ref(), &wanted, renew, now)?;
    if proposals.is_empty() && !with_timestamp {
        bail!(
            "the plan changes nothing; to sign anew what runs out: --renew list, or --renew root"
        );
    }
    let mut ceremony = Ceremony::new(before);
    for proposal in &proposals {
        ceremony.add(proposal.clone())?;
    }
    let timestamp = with_timestamp.then(|| ceremony.draft_timestamp(now, plan.freshness_ms()));
    let timestamp = timestamp.transpose()?;
    if let Some(timestamp) = &timestamp {
        ceremony.add(timestamp.clone())?;
    }
    std::fs::create_dir_all(out).with_context(|| format!("{}", out.display()))?;
    for proposal in proposals.iter().chain(&timestamp) {
        let name = format!("{}-{}.proposal", proposal.what().replace(' ', "-"), proposal.version());
        let path = out.join(name);
        if path.exists() {
            bail!("{}: there already; proposals are never overwritten", path.display());
        }
        write_whole(&path, &proposal.bytes())?;
        println!("{}", path.display());
    }
    show(&ceremony)
}

/// Everything on the table.
fn table(before: &BeforeArgs, paths: &[PathBuf]) -> anyhow::Result<Ceremony> {
    let trust = match (&before.trust, &before.root) {
        (Some(trust), Some(root)) => Some(in_force(trust, root)?),
        _ => None,
    };
    let mut ceremony = Ceremony::new(trust);
    for path in paths {
        ceremony.add(read_proposal(path)?).with_context(|| format!("{}", path.display()))?;
    }
    if let (None, Some(root)) = (&before.trust, &before.root)
        && ceremony.network()? != *root
    {
        bail!("the proposed root begins network {}, not {root}", ceremony.network()?);
    }
    Ok(ceremony)
}

fn read_proposal(path: &Path) -> anyhow::Result<Proposal> {
    let limit = wire::limits::TRUST_OBJECT as u64;
    let size = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?.len();
    if size > limit {
        bail!("{}: larger than any proposal ({limit} bytes)", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    Proposal::from_bytes(&bytes).with_context(|| format!("{}", path.display()))
}

fn show(ceremony: &Ceremony) -> anyhow::Result<()> {
    println!("network {}", ceremony.network()?);
    println!("what changes:");
    for difference in ceremony.differences() {
        println!("  {difference}");
    }
    println!("signatures:");
    for standing in ceremony.standings()? {
        let mark = if standing.is_enough() { "enough" } else { "not yet" };
        let (signed, needed) = (standing.signed.len(), standing.role.threshold);
        println!("  {}: {signed} of {needed} by the {} ({mark})", standing.what, standing.keys);
        for key in &standing.signed {
            println!("    {}", key.key_hash());
        }
    }
    Ok(())
}

fn is_confirmed() -> anyhow::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("nobody is there to confirm; read what changes with `show`, then sign with --yes");
    }
    print!("sign this? yes/no: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Signs, and writes each file anew that the key has a say in: all or, where the disk fails, some, each whole.
fn sign(ceremony: &mut Ceremony, signer: &dyn Signer, paths: &[PathBuf]) -> anyhow::Result<()> {
    let signed = ceremony.sign(signer)?;
    for path in paths {
        let of_kind = read_proposal(path)?;
        let Some(proposal) = signed.iter().find(|signed| signed.what() == of_kind.what()) else {
            println!("{}: this key has no say in a {}", path.display(), of_kind.what());
            continue;
        };
        write_whole(path, &proposal.bytes())?;
        println!("{}: signed by {}", path.display(), signer.public_key().key_hash());
    }
    Ok(())
}

fn versions(trust: &Trust) -> String {
    let trust::Versions { root, list, timestamp } = trust.versions();
    format!("root {root}, trust list {list}, timestamp {timestamp}")
}

/// The old file or the new one, never half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_added_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
