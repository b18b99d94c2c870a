//! `mebuku wallet`: a citizen's wallet on the command line. What it says and checks is the crate
//! `wallet`; here are its directory, its keys, the calls to nodes, and plain words.

mod arguments;
mod asking;
mod directory;
mod history;
mod json;
mod keys;
mod words;

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, bail};
use identity::synthetic::SyntheticCard;
use serde_json::{Value, json};
use trust::Trust;
use wallet::{Home, NoticeText, PermitDraft, RegisterView, Wallet, WalletError};
use wire::{
    Bytes, DecisionId, Nonce, ServiceName, Signed, Signer, Timestamp, Unsigned, cbor,
    citizen::DecisionReply,
    consent::{Decision, Onward, Reopen, Uses},
    membership::Role,
};

pub use arguments::{
    AnswerArgs, AnswerWord, DenyArgs, KeyCommand, PermitArgs, RecordCommand, WalletArgs,
    WalletCommand,
};
use directory::{KeyName, WalletDirectory};
use keys::WalletKeys;

use crate::{
    clock::{Clock, SystemClock},
    entropy::{Entropy, SystemEntropy},
    keys::Passphrase,
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
    if let WalletCommand::Create { home, network, card } = &args.command {
        if !keys.are_encrypted() {
            eprintln!("warning: private keys will lie open; --passphrase-file encrypts them");
        }
        let client = WalletClient::new(home)?;
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
    let mut session = Session { directory, wallet, keys, clock, entropy };
    match args.command {
        WalletCommand::Create { .. } => unreachable!("handled above"),
        WalletCommand::Enrol { card } => session.enrol(card.as_deref()).await,
        WalletCommand::Service { service } => session.certify_service_key(&service).await,
        WalletCommand::Link { source, recipient } => session.fetch_link(&source, &recipient).await,
        WalletCommand::Permit(args) => session.permit(&args).await,
        WalletCommand::Deny(args) => session.deny(&args.draft(), args.direct.as_deref()).await,
        WalletCommand::Stop { source, direct } => {
            session.deny(&wallet::DenyDraft::everything(source), direct.as_deref()).await
        }
        WalletCommand::Register { source } => {
            let view = session.register(&source).await?;
            let now = session.now();
            Ok(Report { text: words::register(&view, now), json: json::register(&view, now) })
        }
        WalletCommand::History { service } => session.history(&service).await,
        WalletCommand::Requests { service } => session.requests(&service).await,
        WalletCommand::Answer(args) => session.answer(&args).await,
        WalletCommand::Effect { source, decision } => session.effect(&source, decision).await,
        WalletCommand::Show => session.show(),
        WalletCommand::Record(RecordCommand::Put { source, item, file, url }) => {
            let client = WalletClient::new(&url)?;
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

    fn home(&self) -> anyhow::Result<WalletClient> {
        Ok(WalletClient::new(&self.wallet.home().url)?)
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

    async fn enrol(&mut self, card: Option<&Path>) -> anyhow::Result<Report> {
        let card = match card {
            Some(path) => Some(read_file(path)?),
            None => self.directory.card()?,
        };
        let Some(card) = card else {
            bail!("no card: give --card FILE (a real card reader is not built in yet)");
        };
        let card = SyntheticCard::from_bytes(&card).context("the card file cannot be used")?;
        let home = self.home()?;
        let trust = self.trust(&home).await?;
        let signer = self.keys.open_or_make(&self.directory.key_file(KeyName::Id))?;
        let key = signer.public_key();
        let draft = self.wallet.enrolment(home.challenge().await?, key, self.now())?;
        let signature = card.sign(&draft.card_message()).context("the card did not sign")?;
        let enrolment = draft.with_card(card.certificate().to_vec(), signature).sign(&*signer)?;
        let reply = home.enrol(&enrolment).await?;
        self.wallet.accept_enrolment(&key, reply, &trust, self.now())?;
        self.save()?;
        let id = self.wallet.id()?;
        let (number, until) = (id.number(), id.not_after());
        Ok(Report {
            text: format!("your number is {number}; certified until {}\n", words::date(until)),
            json: json!({ "number": number, "not_after": until }),
        })
    }

    async fn certify_service_key(&mut self, service: &ServiceName) -> anyhow::Result<Report> {
        self.wallet.id().map_err(hint)?;
        let home = self.home()?;
        let trust = self.trust(&home).await?;
        let signer = self.keys.open_or_make(&self.directory.key_file(KeyName::Service(service)))?;
        let key = signer.public_key();
        let proof = self.wallet.service_key_proof(service, &key)?.sign(&*signer)?;
        let request = self
            .wallet
            .service_key_request(&key, &proof, self.nonce(), self.now())?
            .sign(&*self.id_signer()?)?;
        let reply = home.service_key(&self.wallet.attest_with_id(&request)?).await?;
        let begun = self.wallet.accept_service_key(service, &key, reply, &trust, self.now())?;
        self.save()?;
        let own = self.wallet.service(service)?;
        let standing = if begun {
            "it may permit and deny"
        } else {
            "it may deny; to permit, another of your phones must approve it (`key export`, `key approve`)"
        };
        Ok(Report {
            text: format!("certified a key at {service} as {}: {standing}\n", own.subject),
            json: json::service_key(service, own),
        })
    }

    async fn fetch_link(
        &mut self,
        source: &ServiceName,
        recipient: &ServiceName,
    ) -> anyhow::Result<Report> {
        let request = self
            .wallet
            .link_request(source, recipient, self.nonce(), self.now())
            .map_err(hint)?
            .sign(&*self.id_signer()?)?;
        let home = self.home()?;
        let trust = self.trust(&home).await?;
        let reply = home.link(&self.wallet.attest_with_id(&request)?).await?;
        self.wallet.accept_link(source, recipient, reply, &trust, self.now())?;
        self.save()?;
        Ok(Report {
            text: format!("linked {source} and {recipient}\n"),
            json: json!({ "source": source, "recipient": recipient }),
        })
    }

    /// Fetches and checks the register of the pair at a source.
    async fn register(&mut self, source: &ServiceName) -> anyhow::Result<RegisterView> {
        let query = self.wallet.query(source, self.nonce(), self.now()).map_err(hint)?;
        let query = self.sign(source, query)?;
        let home = self.home()?;
        let trust = self.trust(&home).await?;
        let register = home.register(&self.wallet.attest_with_service_key(source, &query)?).await?;
        let view = self.wallet.read_register(source, &register, &trust, self.now())?;
        self.wallet.note_register(source, &view);
        self.save()?;
        Ok(view)
    }

    async fn permit(&mut self, args: &PermitArgs) -> anyhow::Result<Report> {
        self.permit_as(permit_draft(args), &args.reopen, args.dry_run).await
    }

    /// Says what a permit would mean, signs it unless it would allow nothing, and hands it in.
    async fn permit_as(
        &mut self,
        draft: PermitDraft,
        reopen: &[DecisionId],
        dry_run: bool,
    ) -> anyhow::Result<Report> {
        let view = self.register(&draft.source).await?;
        if let Some(unknown) = reopen.iter().find(|id| !view.pair().denies.contains_key(id)) {
            bail!("no deny {unknown} stands at {}", draft.source);
        }
        let covering = view.denies_a_permit_would_reopen(&draft);
        let standing: Vec<_> = covering.iter().copied().filter(|id| !reopen.contains(id)).collect();
        let allowed = view.leaves_allowed_by(&draft);
        let mut text = draft.notice.text.clone();
        if !reopen.is_empty() {
            text += "These denies will no longer stand against it:\n";
            text += &words::denies(&view, reopen);
        }
        if !standing.is_empty() {
            text += "These denies still stand against it; each needs --reopen:\n";
            text += &words::denies(&view, &standing);
        }
        let leaves: Vec<_> = allowed.iter().map(|leaf| leaf.as_str()).collect();
        if leaves.is_empty() {
            text += "So it would allow nothing.\n";
        } else if !standing.is_empty() {
            text += &format!("So it allows only {}.\n", leaves.join(", "));
        }
        let mut json = json!({ "allows": leaves, "denies_standing": standing });
        if dry_run {
            return Ok(Report { text, json });
        }
        // A deny stands until a permit names it, so that such a permit could never come to life.
        if leaves.is_empty() && !standing.is_empty() {
            bail!("{text}Nothing was signed.");
        }
        let (nonce, now) = (self.nonce(), self.now());
        let unsigned = self.wallet.permit(&draft, nonce, now).map_err(hint)?;
        // What was shown is kept before what was signed leaves the house.
        self.save()?;
        let reply = self.decide(&draft.source, unsigned).await?;
        text += &format!("permit {}: {}\n", reply.decision, words::status(&reply.status));
        json["decision"] = json!(reply.decision);
        json["seq"] = json!(reply.seq);
        json["status"] = json!(reply.status);
        if !self.wallet.service(&draft.source)?.begun {
            text += "The key at this source has not begun: until another phone approves it, the \
                     permit allows nothing.\n";
        }
        Ok(Report { text, json })
    }

    async fn deny(
        &mut self,
        draft: &wallet::DenyDraft,
        direct: Option<&str>,
    ) -> anyhow::Result<Report> {
        let (nonce, now) = (self.nonce(), self.now());
        let unsigned = self.wallet.deny(draft, nonce, now).map_err(hint)?;
        let says = words::scope(&deny_scope(draft));
        let Some(url) = direct else {
            let reply = self.decide(&draft.source, unsigned).await?;
            return Ok(Report {
                text: format!(
                    "denied {says}\ndeny {}: {}\n",
                    reply.decision,
                    words::status(&reply.status)
                ),
                json: serde_json::to_value(&reply)?,
            });
        };
        let client = WalletClient::new(url)?;
        let signed = self.sign(&draft.source, unsigned)?;
        let id = DecisionId::from(signed.id());
        let deny = self.wallet.attest_with_service_key(&draft.source, &signed)?;
        let receipt = client.deny_direct(&deny).await?;
        let (text, json) = self.keep_direct_effect(&draft.source, &id, &receipt)?;
        Ok(Report {
            text: format!("denied {says}\ndeny {id}: {text}\n"),
            json: json!({ "decision": id, "direct": true, "effect": json }),
        })
    }

    /// Signs a decision and hands it to the home.
    async fn decide(
        &self,
        source: &ServiceName,
        unsigned: Unsigned<Decision>,
    ) -> anyhow::Result<DecisionReply> {
        let signed = self.sign(source, unsigned)?;
        let decision = self.wallet.attest_with_service_key(source, &signed)?;
        let reply = self.home()?.decide(&decision).await?;
        self.wallet.check_decision_reply(&signed, &reply)?;
        Ok(reply)
    }

    async fn key(&mut self, command: KeyCommand) -> anyhow::Result<Report> {
        let (source, change, what) = match command {
            KeyCommand::Export { service, file } => {
                let own = self.wallet.service(&service).map_err(hint)?;
                directory::write_private(&file, &cbor::to_vec(&own.chain))?;
                let key = own.key.key_hash();
                return Ok(Report {
                    text: format!("wrote the chain of key {key} to {}\n", file.display()),
                    json: json!({ "service": service, "key": key }),
                });
            }
            KeyCommand::Approve { source, file } => {
                let chain: Vec<Bytes> =
                    cbor::from_slice(&read_file(&file)?).context("not an exported chain")?;
                let trust = self.trust(&self.home()?).await?;
                let (nonce, now) = (self.nonce(), self.now());
                let begin = self.wallet.approve_key(&source, chain, &trust, nonce, now);
                let signed = self.sign(&source, begin.map_err(hint)?)?;
                let change = self.wallet.attest_with_service_key(&source, &signed)?;
                (source, change, "the key begins")
            }
            KeyCommand::End { source, key, keep } => {
                let keeps: BTreeSet<_> = keep.into_iter().collect();
                let (nonce, now) = (self.nonce(), self.now());
                let end = self.wallet.end_key(&source, key, &keeps, nonce, now).map_err(hint)?;
                let signed = self.sign(&source, end)?;
                let change = self.wallet.attest_with_service_key(&source, &signed)?;
                (source, change, "the key ends")
            }
        };
        let reply = self.home()?.key(&change).await?;
        Ok(Report {
            text: format!("{what} at {source}: {}\n", words::status(&reply.status)),
            json: serde_json::to_value(&reply)?,
        })
    }

    fn show(&self) -> anyhow::Result<Report> {
        let wallet = &self.wallet;
        let Home { organisation, url } = wallet.home();
        let mut text = format!("network  {}\nhome     {organisation} at {url}\n", wallet.network());
        let id = match wallet.id() {
            Ok(id) => {
                let until = words::date(id.not_after());
                text += &format!("number   {}, certified until {until}\n", id.number());
                json!({ "number": id.number(), "key": id.key().key_hash(), "not_after": id.not_after() })
            }
            Err(_) => {
                text += "number   none yet (`enrol`)\n";
                Value::Null
            }
        };
        let mut services = Vec::new();
        for (service, own) in wallet.services() {
            let begun = if own.begun { "" } else { ", may only deny yet" };
            let until = words::date(own.not_after);
            text += &format!("service  {service} as {}, until {until}{begun}\n", own.subject);
            services.push(json::service_key(service, own));
        }
        let mut links = Vec::new();
        for (source, recipients) in wallet.links() {
            for recipient in recipients.keys() {
                text += &format!("link     {source} to {recipient}\n");
                links.push(json!({ "source": source, "recipient": recipient }));
            }
        }
        let json = json!({
            "network": wallet.network(),
            "home": wallet.home(),
            "id": id,
            "services": services,
            "links": links,
        });
        Ok(Report { text, json })
    }
}

/// The draft that the arguments mean, with its notice written.
fn permit_draft(args: &PermitArgs) -> PermitDraft {
    let uses = match (args.once, args.per_day) {
        (true, _) => Uses::Once,
        (false, Some(count)) => Uses::Per { count, period_ms: wallet::decision::DAY_MS },
        (false, None) => Uses::Unlimited,
    };
    let mut draft = PermitDraft {
        source: args.source.clone(),
        recipient: args.recipient.clone(),
        items: args.items.iter().cloned().collect(),
        purpose: args.purpose.clone(),
        reopens: args.reopen.iter().copied().map(Reopen::Deny).collect(),
        valid_days: args.days,
        uses,
        window: None,
        retention_days: args.retention_days,
        onward: if args.onward { Onward::Allowed } else { Onward::Forbidden },
        notice: NoticeText {
            text: String::new(),
            language: words::NOTICE_LANGUAGE.to_owned(),
            version: words::NOTICE_VERSION,
        },
        request: None,
    };
    draft.notice.text = words::notice(&draft);
    draft
}

fn deny_scope(draft: &wallet::DenyDraft) -> wire::consent::Scope {
    wire::consent::Scope {
        recipient: draft.recipient.clone(),
        items: draft.items.clone(),
        purpose: draft.purpose.clone(),
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
