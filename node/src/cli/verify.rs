//! `mebuku verify`: checks an evidence bundle, offline and without a node.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use exchange::bundle::{self, BUNDLE_LIMIT};
use wire::NetworkId;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The bundle
    file: PathBuf,
    /// Hash of the network's genesis root, from a source you trust
    #[arg(long)]
    root: NetworkId,
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let path = args.file.display();
    let size = std::fs::metadata(&args.file).with_context(|| format!("{path}"))?.len();
    if size > BUNDLE_LIMIT as u64 {
        bail!("{path}: larger than any bundle ({BUNDLE_LIMIT} bytes)");
    }
    let bytes = std::fs::read(&args.file).with_context(|| format!("{path}"))?;
    match bundle::verify(&bytes, &args.root) {
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
        Err(error) => {
            println!("  FAILED  {error}");
            bail!("{path}: this bundle proves nothing: {error}");
        }
    }
}

fn items(items: &[wire::ItemType]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
