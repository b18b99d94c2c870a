//! `mebuku join`: takes a node that was initialised to the point where it can run: the trust file from any
//! member, checked from the root that the configuration pins, and the certificates that a CA issued.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;
use trust::{CertificateKind, Trust, verify_chain};
use wire::{Bytes, Timestamp, cbor};

use crate::{
    certificates,
    clock::{Clock, SystemClock},
    config::Config,
    keys::{FileKeyStore, KeyName, KeyStore, Passphrase},
    run::read_trust,
    wallet_client::WalletClient,
};

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The node's configuration
    #[arg(long)]
    config: PathBuf,
    /// The public face of any member: whoever it is, what it hands out proves itself
    #[arg(long)]
    from: String,
    /// What `mebuku ca fetch` wrote at the CA; not needed where the certificates lie there already
    #[arg(long)]
    certificates: Option<PathBuf>,
}

/// What of a CA's answer is read.
#[derive(Debug, Deserialize)]
struct Issued {
    chains: Vec<Vec<Bytes>>,
}

pub async fn run(args: JoinArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let now = SystemClock.now().wall;
    let trust = take_trust(&config, &args.from, now).await?;
    let versions = trust.versions();
    println!(
        "{}: root {}, trust list {}, timestamp {}",
        config.trust_file.display(),
        versions.root,
        versions.list,
        versions.timestamp
    );
    let passphrase = Passphrase::load(config.passphrase_file.as_deref())?;
    let keys = FileKeyStore::open(config.keys_dir(), passphrase)?;
    let issued = match &args.certificates {
        Some(path) => read_issued(path)?,
        None => Vec::new(),
    };
    let mut names = vec![KeyName::Organisation];
    names.extend(config.service_names().iter().map(KeyName::credential));
    for name in names {
        let kind = match name {
            KeyName::Organisation => CertificateKind::Organisation,
            _ => CertificateKind::Credential,
        };
        let key = keys.p256(&name)?.public_key();
        let chain = match issued.iter().find(|chain| certificates::is_for(chain, &key)) {
            Some(chain) => chain.clone(),
            None => certificates::read(&config.data_dir, &name)?,
        };
        let verified = verify_chain(&chain, kind, &trust, now)
            .map_err(|error| anyhow::anyhow!("the certificate of the key {name}: {error}"))?;
        ensure!(
            *verified.public_key() == key,
            "the certificate of the key {name} is for another key"
        );
        certificates::write(&config.data_dir, &name, &chain)?;
        println!("key {name}: certified");
    }
    if config.bootstrap.is_empty() {
        bail!("`bootstrap` in the configuration names nobody to dial: put a city's address there");
    }
    println!("next: `mebuku run --config {}`", args.config.display());
    Ok(())
}

/// The newer of what is there and what the member hands out; written only if it holds.
async fn take_trust(config: &Config, from: &str, now: Timestamp) -> anyhow::Result<Trust> {
    let client = WalletClient::new(from.trim_end_matches('/'))?;
    let file = client.trust().await.with_context(|| format!("asking {from} for the trust file"))?;
    let path: &Path = &config.trust_file;
    let trust = if path.exists() {
        let known = Trust::open(&read_trust(path)?, &config.network, Timestamp(0))
            .with_context(|| format!("{}", path.display()))?;
        known.update(&file, now)
    } else {
        Trust::open(&file, &config.network, now)
    };
    let trust = trust.with_context(|| format!("the trust file that {from} hands out"))?;
    std::fs::write(path, cbor::to_vec(&file)).with_context(|| format!("{}", path.display()))?;
    Ok(trust)
}

fn read_issued(path: &Path) -> anyhow::Result<Vec<Vec<Bytes>>> {
    let text = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let issued: Issued =
        serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
    Ok(issued.chains)
}
