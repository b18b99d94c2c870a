//! `mebuku verify`: checks an evidence bundle, offline and without a node.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use exchange::bundle::{self, BUNDLE_LIMIT, CONFIRMED_DENY_LIMIT, ConfirmedDeny};
use wire::NetworkId;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The bundle
    file: PathBuf,
    /// Hash of the network's genesis root, from a source you trust
    #[arg(long)]
    root: NetworkId,
    /// A deny with its receipt (発効証明), as `wallet effect --out` or `wallet deny --direct --out` wrote it;
    /// several times for several. The release must not go against it
    #[arg(long = "deny", value_name = "FILE")]
    denies: Vec<PathBuf>,
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let path = args.file.display();
    let bytes = read(&args.file, BUNDLE_LIMIT)?;
    let confirmed = args.denies.iter().map(|file| {
        let bytes = read(file, CONFIRMED_DENY_LIMIT)?;
        ConfirmedDeny::from_bytes(&bytes).with_context(|| format!("{}", file.display()))
    });
    let confirmed = confirmed.collect::<anyhow::Result<Vec<_>>>()?;
    match bundle::verify_against(&bytes, &args.root, &confirmed) {
        Ok(verdict) => {
            for check in &verdict.checks {
                println!("  ok  {:<16} {}", check.name, check.detail);
            }
            for what in &verdict.not_checked {
                println!("   –  not checked: {what}");
            }
            println!(
                "valid: {} got {} from {} at {} ms, as the citizen had permitted",
                verdict.release.recipient,
                items(&verdict.release.items),
                verdict.release.pair.source,
                verdict.released_at.0
            );
            Ok(())
        }
        Err(error) if error.is_about_a_deny() => {
            println!("  FAILED  {error}");
            bail!(
                "{path}: the bundle itself holds; a deny handed in cannot be held against it: {error}"
            );
        }
        Err(error) => {
            println!("  FAILED  {error}");
            bail!("{path}: this bundle proves nothing: {error}");
        }
    }
}

fn read(file: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    let path = file.display();
    let size = std::fs::metadata(file).with_context(|| format!("{path}"))?.len();
    if size > limit as u64 {
        bail!("{path}: larger than any such file ({limit} bytes)");
    }
    std::fs::read(file).with_context(|| format!("{path}"))
}

fn items(items: &[wire::ItemType]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
