//! A citizen's phone, in this process: the wallet library with keys in memory, speaking to nodes over
//! http as any wallet does.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use node::{
    clock::{Clock, SystemClock},
    entropy::SystemEntropy,
    wallet_client::{ClientError, WalletClient},
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use trust::Trust;
use wallet::{DenyDraft, MoveStep, NoticeText, PermitDraft, RegisterView, Wallet, moving};
use wire::{
    Bytes, DecisionId, KeyHash, NetworkId, Nonce, PublicKey, ServiceName, SignError,
    SignatureBytes, Signed, Signer, Timestamp,
    citizen::{Challenge, DecisionReply, IdEnd, IdKeys, InForce, MoveReply, PairRegister},
    consent::{Attested, Decision, Items, Onward, PurposeScope, Recipient, Reopen, Uses},
    ids::Pair,
};

use crate::founding::{Founded, Network};

/// A P-256 key in memory, signing as a phone without our C library would (RFC 6979).
#[derive(Clone)]
pub struct PhoneKey(SigningKey);

impl PhoneKey {
    pub fn generate() -> anyhow::Result<Self> {
        Ok(Self(SigningKey::from_slice(&SystemEntropy.array::<32>())?))
    }
}

impl Signer for PhoneKey {
    fn public_key(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(false);
        PublicKey::from_sec1(point.as_bytes()).expect("asked for an uncompressed point")
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let signature: Signature =
            self.0.try_sign(message).map_err(|error| SignError(error.to_string()))?;
        Ok(SignatureBytes(signature.to_bytes().into()))
    }
}

pub struct Citizen {
    pub home: WalletClient,
    pub wallet: Wallet,
    pub trust: Trust,
    network: NetworkId,
    id_key: PhoneKey,
    keys: BTreeMap<ServiceName, PhoneKey>,
}

pub fn now() -> Timestamp {
    SystemClock.now().wall
}

pub fn nonce() -> Nonce {
    Nonce(SystemEntropy.array())
}

/// A city as a wallet knows it.
pub fn home_of(city: &Founded) -> wallet::Home {
    wallet::Home { organisation: city.participant.organisation(), url: city.public_url() }
}

impl Citizen {
    /// Enrols with a card at Maebashi.
    pub async fn enrol(network: &Network, card: &str) -> anyhow::Result<Self> {
        Self::enrol_at(network, card, "maebashi").await
    }

    /// Enrols with a card at a city.
    pub async fn enrol_at(network: &Network, card: &str, city: &str) -> anyhow::Result<Self> {
        Self::enrol_with(network, card, city, None).await
    }

    /// The same with a challenge that an officer opened: on the phone of who acts for the citizen.
    pub async fn enrol_with(
        network: &Network,
        card: &str,
        city: &str,
        challenge: Option<Challenge>,
    ) -> anyhow::Result<Self> {
        let city = network.node(city);
        let home = WalletClient::new(&city.public_url())?;
        let trust = Trust::open(&home.trust().await?, &network.id, now())?;
        let wallet = Wallet::new(network.id, home_of(city));
        let (id_key, keys) = (PhoneKey::generate()?, BTreeMap::new());
        let mut citizen = Self { home, wallet, trust, network: network.id, id_key, keys };
        let challenge = match challenge {
            Some(challenge) => challenge,
            None => citizen.home.challenge().await?,
        };
        citizen.answer_challenge(network, card, challenge).await?;
        Ok(citizen)
    }

    /// Enrols this phone's ID key once more.
    pub async fn enrol_again(&mut self, network: &Network, card: &str) -> anyhow::Result<()> {
        let challenge = self.home.challenge().await?;
        self.answer_challenge(network, card, challenge).await
    }

    async fn answer_challenge(
        &mut self,
        network: &Network,
        card: &str,
        challenge: Challenge,
    ) -> anyhow::Result<()> {
        let (card, key) = (network.card(card)?, self.id_key.public_key());
        let draft = self.wallet.enrolment(challenge, key, now())?;
        let signature = card.sign(&draft.card_message())?;
        let enrolment = draft.with_card(card.certificate().to_vec(), signature);
        let reply = self.home.enrol(&enrolment.sign(&self.id_key)?).await?;
        Ok(self.wallet.accept_enrolment(&key, reply, &self.trust, now())?)
    }

    /// Gets a service certificate; says whether the key was begun.
    pub async fn join(&mut self, service: &ServiceName) -> anyhow::Result<bool> {
        self.join_with(service, PhoneKey::generate()?).await
    }

    /// The same for this key.
    pub async fn join_with(
        &mut self,
        service: &ServiceName,
        key: PhoneKey,
    ) -> anyhow::Result<bool> {
        let proof = self.wallet.service_key_proof(service, &key.public_key())?.sign(&key)?;
        let request = self.wallet.service_key_request(&key.public_key(), &proof, nonce(), now())?;
        let request = self.wallet.attest_with_id(&request.sign(&self.id_key)?)?;
        let reply = self.home.service_key(&request).await?;
        let begun = self.wallet.accept_service_key(
            service,
            &key.public_key(),
            reply,
            &self.trust,
            now(),
        )?;
        self.keys.insert(service.clone(), key);
        Ok(begun)
    }

    pub async fn link(
        &mut self,
        source: &ServiceName,
        recipient: &ServiceName,
    ) -> anyhow::Result<()> {
        let request = self.wallet.link_request(source, recipient, nonce(), now())?;
        let request = self.wallet.attest_with_id(&request.sign(&self.id_key)?)?;
        let link = self.home.link(&request).await?;
        Ok(self.wallet.accept_link(source, recipient, link, &self.trust, now())?)
    }

    pub fn pair(&self, service: &ServiceName) -> anyhow::Result<Pair> {
        Ok(self.wallet.pair(service)?)
    }

    /// The ID keys of this citizen's number, as the home gives them.
    pub async fn id_keys(&self) -> anyhow::Result<IdKeys> {
        let query = self.wallet.id_query(nonce(), now())?.sign(&self.id_key)?;
        let keys = self.home.id_keys(&self.wallet.attest_with_id(&query)?).await?;
        self.wallet.check_id_keys(&keys, None)?;
        Ok(keys)
    }

    /// Ends another phone's ID key.
    pub async fn end_id_key(&self, key: KeyHash) -> anyhow::Result<()> {
        let end = self.wallet.end_id_key(key, nonce(), now())?.sign(&self.id_key)?;
        let keys = self.home.end_id_key(&self.wallet.attest_with_id(&end)?).await?;
        Ok(self.wallet.check_id_keys(&keys, Some(&key))?)
    }

    /// Hands in the end of an ID key that no wallet would sign.
    pub async fn hand_in_id_end(&self, end: IdEnd) -> Result<IdKeys, ClientError> {
        let signed = Signed::new(end, &self.network, &self.id_key).expect("a key in memory signs");
        let end = self.wallet.attest_with_id(&signed).expect("enrolled");
        self.home.end_id_key(&end).await
    }

    pub fn key(&self, service: &ServiceName) -> anyhow::Result<&PhoneKey> {
        self.keys.get(service).context("no key for this service yet")
    }

    /// Signs a permit for treatment.
    pub fn sign_permit(
        &mut self,
        source: &ServiceName,
        recipient: &ServiceName,
        reopens: &[DecisionId],
    ) -> anyhow::Result<Attested> {
        let draft = PermitDraft {
            source: source.clone(),
            recipient: recipient.clone(),
            items: BTreeSet::from(["health.allergy".parse()?]),
            purpose: "treatment".parse()?,
            reopens: reopens.iter().copied().map(Reopen::Deny).collect(),
            valid_days: 90,
            uses: Uses::Unlimited,
            window: None,
            retention_days: Some(365),
            onward: Onward::Forbidden,
            notice: NoticeText {
                text:
                    "受付の病院が、診療のために、給食サービスにあるアレルギー情報を受け取ります。"
                        .to_owned(),
                language: "ja".to_owned(),
                version: 1,
            },
            request: None,
        };
        self.sign_permit_draft(&draft)
    }

    pub fn sign_permit_draft(&mut self, draft: &PermitDraft) -> anyhow::Result<Attested> {
        let unsigned = self.wallet.permit(draft, nonce(), now())?;
        let signed = unsigned.sign(self.key(&draft.source)?)?;
        Ok(self.wallet.attest_with_service_key(&draft.source, &signed)?)
    }

    pub fn sign_deny(
        &self,
        source: &ServiceName,
        recipient: &ServiceName,
    ) -> anyhow::Result<Attested> {
        let draft = DenyDraft {
            source: source.clone(),
            recipient: Recipient::Service(recipient.clone()),
            items: Items::Types(vec!["health.allergy".parse()?]),
            purpose: PurposeScope::Any,
        };
        self.sign_deny_draft(&draft)
    }

    pub fn sign_deny_draft(&self, draft: &DenyDraft) -> anyhow::Result<Attested> {
        let unsigned = self.wallet.deny(draft, nonce(), now())?;
        let signed = unsigned.sign(self.key(&draft.source)?)?;
        Ok(self.wallet.attest_with_service_key(&draft.source, &signed)?)
    }

    pub async fn hand_in(&self, decision: &Attested) -> Result<DecisionReply, ClientError> {
        self.home.decide(decision).await
    }

    /// Hands in what was altered after the wallet made it: signed anew with this phone's key.
    pub fn sign_forged(
        &self,
        source: &ServiceName,
        decision: Decision,
    ) -> anyhow::Result<Attested> {
        let key = self.key(source)?;
        let signed = Signed::new(decision, &self.network, key)?;
        let chain = self.wallet.service(source)?.chain.clone();
        Ok(Attested { object: signed.bytes().to_vec().into(), chain })
    }

    pub fn signer(&self, service: &ServiceName) -> anyhow::Result<&dyn Signer> {
        Ok(self.key(service)?)
    }

    /// Lets the key that another phone's chain certifies permit at a source.
    pub async fn approve(&self, source: &ServiceName, chain: Vec<Bytes>) -> anyhow::Result<()> {
        let begin = self.wallet.approve_key(source, chain, &self.trust, nonce(), now())?;
        let signed = begin.sign(self.key(source)?)?;
        self.home.key(&self.wallet.attest_with_service_key(source, &signed)?).await?;
        Ok(())
    }

    /// Ends another phone's key at a source; only the permits in `keeps` go on.
    pub async fn end(
        &self,
        source: &ServiceName,
        key: KeyHash,
        keeps: &[DecisionId],
    ) -> anyhow::Result<()> {
        let keeps = keeps.iter().copied().collect();
        let end = self.wallet.end_key(source, key, &keeps, nonce(), now())?;
        let signed = end.sign(self.key(source)?)?;
        self.home.key(&self.wallet.attest_with_service_key(source, &signed)?).await?;
        Ok(())
    }

    /// The move of the pair at a service to another city, by what its home shows; handed in nowhere.
    pub fn sign_move(
        &mut self,
        service: &ServiceName,
        to: &wallet::Home,
        shown: &PairRegister,
    ) -> anyhow::Result<Attested> {
        let view = self.wallet.read_register(service, shown, &self.trust, now())?;
        match self.wallet.next_move(service, to, (shown, &view), nonce(), now())? {
            MoveStep::Sign(unsigned) => {
                let signed = unsigned.sign(self.key(service)?)?;
                Ok(self.wallet.keep_move(service, to, &signed)?)
            }
            MoveStep::Signed(moving) => {
                self.wallet.keep_signed_move(service, to, moving.clone());
                Ok(moving)
            }
            MoveStep::Nothing => bail!("no key of the pair at {service} ever began"),
        }
    }

    /// Moves the pair at a service to another city, and follows.
    pub async fn move_to(
        &mut self,
        service: &ServiceName,
        city: &Founded,
    ) -> anyhow::Result<MoveReply> {
        let to = home_of(city);
        let shown = self.pair_register(service).await?;
        let signed = self.sign_move(service, &to, &shown)?;
        self.home.move_pair(&moving::submission(signed.clone(), None)).await?;
        let left = self.pair_register(service).await?;
        let new = WalletClient::new(&to.url)?;
        let reply = new.move_pair(&moving::submission(signed, Some(&left))).await?;
        self.wallet.accept_move(service, &to, &reply)?;
        self.home = new;
        Ok(reply)
    }

    /// The register as the home gives it.
    pub async fn pair_register(&self, source: &ServiceName) -> anyhow::Result<PairRegister> {
        Ok(self.home.register(&self.query(source)?).await?)
    }

    /// A query for the pair at a service, signed.
    pub fn query(&self, service: &ServiceName) -> anyhow::Result<Attested> {
        let query = self.wallet.query(service, nonce(), now())?.sign(self.key(service)?)?;
        Ok(self.wallet.attest_with_service_key(service, &query)?)
    }

    /// The register as the wallet shows it.
    pub async fn register(&self, source: &ServiceName) -> anyhow::Result<RegisterView> {
        let register = self.pair_register(source).await?;
        Ok(self.wallet.read_register(source, &register, &self.trust, now())?)
    }

    /// Takes over what the register says of this phone's key.
    pub async fn learn(&mut self, source: &ServiceName) -> anyhow::Result<()> {
        let view = self.register(source).await?;
        self.wallet.note_register(source, &view);
        Ok(())
    }

    /// Waits until the wallet is told that the source is bound by everything handed in so far.
    pub async fn until_in_force(&self, source: &ServiceName) -> anyhow::Result<RegisterView> {
        let deadline = now().plus_ms(20_000);
        loop {
            let view = self.register(source).await?;
            let binds = |status| matches!(status, InForce::Acknowledged(_));
            if view.rows().iter().all(|row| row.status.is_none_or(binds)) {
                return Ok(view);
            }
            anyhow::ensure!(now() < deadline, "the source did not acknowledge within 20 s");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    pub async fn submit_record(
        &self,
        source_url: &str,
        record: &Attested,
    ) -> anyhow::Result<Result<(), ClientError>> {
        Ok(WalletClient::new(source_url)?.put_record(record).await)
    }
}
