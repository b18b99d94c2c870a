//! Enrolment, the keys at services, and the links between them.

use std::path::Path;

use anyhow::{Context, bail};
use identity::synthetic::SyntheticCard;

use wire::{ServiceName, cbor};

use super::{Report, Session, directory::KeyName, hint, json, read_file, words};
use crate::wallet_client::WalletClient;

impl Session<'_> {
    pub(super) async fn enrol(
        &mut self,
        card: Option<&Path>,
        challenge: Option<&Path>,
    ) -> anyhow::Result<Report> {
        let home = self.home()?;
        self.enrol_at(&home, card, challenge).await?;
        let id = self.wallet.id()?;
        let (number, until) = (id.number(), id.not_after());
        Ok(Report {
            text: format!("your number is {number}; certified until {}\n", words::date(until)),
            json: json!({ "number": number, "not_after": until }),
        })
    }

    /// Proves to a municipality who the citizen is: it certifies the wallet's ID key.
    pub(super) async fn enrol_at(
        &mut self,
        home: &WalletClient,
        card: Option<&Path>,
        challenge: Option<&Path>,
    ) -> anyhow::Result<()> {
        let card = match card {
            Some(path) => Some(read_file(path)?),
            None => self.directory.card()?,
        };
        let Some(card) = card else {
            bail!("no card: give --card FILE (a real card reader is not built in yet)");
        };
        let card = SyntheticCard::from_bytes(&card).context("the card file cannot be used")?;
        let trust = self.trust(home).await?;
        let signer = self.keys.open_or_make(&self.directory.key_file(KeyName::Id))?;
        let key = signer.public_key();
        let challenge = match challenge {
            Some(path) => cbor::from_slice(&read_file(path)?).context("not a challenge")?,
            None => home.challenge().await?,
        };
        let draft = self.wallet.enrolment(challenge, key, self.now())?;
        let signature = card.sign(&draft.card_message()).context("the card did not sign")?;
        let enrolment = draft.with_card(card.certificate().to_vec(), signature).sign(&*signer)?;
        let reply = home.enrol(&enrolment).await?;
        self.wallet.accept_enrolment(&key, reply, &trust, self.now())?;
        self.save()
    }

    pub(super) async fn certify_service_key(
        &mut self,
        service: &ServiceName,
    ) -> anyhow::Result<Report> {
        self.wallet.id().map_err(hint)?;
        let home = self.home()?;
        let begun = self.certify_at(&home, service).await?;
        let own = self.wallet.service(service)?;
        let standing = if begun {
            "it may permit and deny"
        } else {
            "it may deny; to permit, another of your phones must approve it, or the officer's desk \
             (`key export`, `key approve`)"
        };
        Ok(Report {
            text: format!("certified a key at {service} as {}: {standing}\n", own.subject),
            json: json::service_key(service, own),
        })
    }

    /// Has a municipality certify the wallet's key at a service, made if need be. Says whether it stands.
    pub(super) async fn certify_at(
        &mut self,
        home: &WalletClient,
        service: &ServiceName,
    ) -> anyhow::Result<bool> {
        let trust = self.trust(home).await?;
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
        Ok(begun)
    }

    pub(super) async fn fetch_link(
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
}
