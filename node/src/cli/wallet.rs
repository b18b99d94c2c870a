//! `mebuku wallet`: a citizen's wallet on the command line. What it says and checks is the crate
//! `wallet`; here are its directory, its keys, the calls to nodes, and plain words.

mod arguments;
mod asking;
mod certify;
mod decide;
mod directory;
mod history;
mod json;
mod keys;
mod moves;
mod phones;
mod present;
mod reopening;
mod show;
mod words;

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use trust::Trust;
use wallet::{Home, Wallet, WalletError};
use wire::{Nonce, ServiceName, Signed, Signer, Timestamp, Unsigned, membership::Role};

pub use arguments::{
    AnswerArgs, AnswerWord, DenyArgs, DirectArgs, IdCommand, KeyCommand, MoveArgs, PermitArgs,
    PresentArgs, RecordCommand, WalletArgs, WalletCommand,
};
use directory::{KeyName, WalletDirectory};
use keys::WalletKeys;

use crate::{
    clock::{Clock, SystemClock},
    entropy::{Entropy, SystemEntropy},
    keys::Passphrase,
    tls::TlsRoots,
    wallet_client::WalletClient,
};

/// What a command has to say, to people and to programs.
struct Report {
    text: String,
    json: Value,
}

/// An open wallet, with what its commands need.
struct Session<'a> {
    directory: WalletDirectory,
    wallet: Wallet,
    keys: WalletKeys,
    roots: TlsRoots,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
}

pub async fn run(args: WalletArgs) -> anyhow::Result<()> {
    let json = args.json;
    let report = execute(args, &SystemClock, &SystemEntropy).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report.json)?);
    } else {
        print!("{}", report.text);
    }
    Ok(())
}

async fn execute(
    args: WalletArgs,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> anyhow::Result<Report> {
    let passphrase = args.passphrase_file.as_deref().map(Passphrase::from_file).transpose()?;
    let keys = WalletKeys::new(passphrase);
    let roots = args.ca_file.map_or(TlsRoots::System, TlsRoots::File);
    if let WalletCommand::Create { home, network, card } = &args.command {
        if !keys.are_encrypted() {
            eprintln!("warning: private keys will lie open; --passphrase-file encrypts them");
        }
        let client = WalletClient::trusting(home, &roots)?;
        let trust = Trust::open(&client.trust().await?, network, clock.now().wall)
            .context("the home's trust list does not hold")?;
        let home = find_home(&client, &trust, clock.now().wall).await?;
        let directory = WalletDirectory::create(&args.dir)?;
        if let Some(card) = card {
            directory.save_card(&read_file(card)?)?;
        }
        directory.save_trust(trust.file())?;
        let wallet = Wallet::new(*network, home);
        directory.save(&wallet)?;
        let Home { organisation, url } = wallet.home();
        return Ok(Report {
            text: format!("made a wallet with home {organisation} at {url}\n"),
            json: json!({ "home": wallet.home(), "network": network }),
        });
    }
    let (directory, wallet) = WalletDirectory::open(&args.dir)?;
    let mut session = Session { directory, wallet, keys, roots, clock, entropy };
    match args.command {
        WalletCommand::Create { .. } => unreachable!("handled above"),
        WalletCommand::Enrol { card, challenge } => {
            session.enrol(card.as_deref(), challenge.as_deref()).await
        }
        WalletCommand::Service { service } => session.certify_service_key(&service).await,
        WalletCommand::Link { source, recipient } => session.fetch_link(&source, &recipient).await,
        WalletCommand::Permit(args) => session.permit(&args).await,
        WalletCommand::Deny(args) => session.deny(&args.draft(), &args.direct).await,
        WalletCommand::Stop { source, direct } => {
            session.deny(&wallet::DenyDraft::everything(source), &direct).await
        }
        WalletCommand::Present(args) => session.present(&args).await,
        WalletCommand::Status { source } => session.status(&source).await,
        WalletCommand::Register { source } => {
            let view = session.register(&source).await?;
            let now = session.now();
            Ok(Report { text: words::register(&view, now), json: json::register(&view, now) })
        }
        WalletCommand::History { service } => session.history(&service).await,
        WalletCommand::Requests { service, all } => session.requests(&service, all).await,
        WalletCommand::Answer(args) => session.answer(&args).await,
        WalletCommand::Effect { source, decision, out } => {
            session.effect(&source, decision, out.as_deref()).await
        }
        WalletCommand::Move(args) => session.move_home(&args).await,
        WalletCommand::Show => session.show(),
        WalletCommand::Record(RecordCommand::Put { source, item, file, url }) => {
            let client = session.client(&url)?;
            let content = String::from_utf8(read_file(&file)?).context("a record is UTF-8")?;
            let (nonce, now) = (session.nonce(), session.now());
            let unsigned = session.wallet.record(&source, item.clone(), &content, nonce, now);
            let signed = session.sign(&source, unsigned.map_err(hint)?)?;
            let record = session.wallet.attest_with_service_key(&source, &signed)?;
            client.put_record(&record).await?;
            Ok(Report {
                text: format!("{source} holds your {item} now\n"),
                json: json!({ "source": source, "item": item }),
            })
        }
        WalletCommand::Key(command) => session.key(command).await,
        WalletCommand::Id(command) => session.id(command).await,
    }
}

/// The organisation behind a URL, if it may be a home.
async fn find_home(client: &WalletClient, trust: &Trust, now: Timestamp) -> anyhow::Result<Home> {
    let member = trust::verify_identity(&client.identity().await?, trust, now)
        .context("the home's identity does not hold")?;
    let organisation = member.organisation.clone();
    if !trust.is_municipality(&organisation) || !member.has_role(Role::Home) {
        bail!("{organisation} is no municipality that may be a home");
    }
    Ok(Home { organisation, url: client.url().to_owned() })
}

impl Session<'_> {
    fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    fn nonce(&self) -> Nonce {
        Nonce(self.entropy.array())
    }

    /// Where the citizen lives.
    fn home(&self) -> anyhow::Result<WalletClient> {
        self.client(&self.wallet.home().url)
    }

    fn client(&self, url: &str) -> anyhow::Result<WalletClient> {
        Ok(WalletClient::trusting(url, &self.roots)?)
    }

    /// Where the register of the pair at a service is.
    fn home_of(&self, service: &ServiceName) -> anyhow::Result<WalletClient> {
        self.client(&self.wallet.home_of(service).url)
    }

    fn save(&self) -> anyhow::Result<()> {
        Ok(self.directory.save(&self.wallet)?)
    }

    fn id_signer(&self) -> anyhow::Result<Box<dyn Signer>> {
        Ok(self.keys.open(&self.directory.key_file(KeyName::Id))?)
    }

    /// Signs with the key at a service.
    fn sign<M: wire::Message>(
        &self,
        service: &ServiceName,
        unsigned: Unsigned<M>,
    ) -> anyhow::Result<Signed<M>> {
        let signer = self.keys.open(&self.directory.key_file(KeyName::Service(service)))?;
        Ok(unsigned.sign(&*signer)?)
    }

    /// The home's trust list, never an older one than seen before.
    async fn trust(&self, home: &WalletClient) -> anyhow::Result<Trust> {
        let file = home.trust().await?;
        let network = self.wallet.network();
        let trust = match self.directory.trust()? {
            // The one on disk may have run out since: it still says what must not be undercut.
            Some(known) => Trust::open(&known, network, Timestamp(0))
                .context("the stored trust list does not hold")?
                .update(&file, self.now()),
            None => Trust::open(&file, network, self.now()),
        };
        let trust = trust.context("the home's trust list does not hold")?;
        self.directory.save_trust(trust.file())?;
        Ok(trust)
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Says which command comes first.
fn hint(error: WalletError) -> anyhow::Error {
    let command = match &error {
        WalletError::NotEnrolled => "enrol".to_owned(),
        WalletError::NoServiceKey(service) => format!("service {service}"),
        WalletError::NoLink { source_service, recipient } => {
            format!("link {source_service} {recipient}")
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}; `mebuku wallet --dir … {command}` gets it")
}

#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod tests;
