use std::{collections::BTreeMap, fmt};

use consent::pair::PairKey;
use identity::{Number, Y};
use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, Hash, KeyHash, Message, NetworkId, OrganisationId, PublicKey, ServiceId,
    ServiceName, Signed, Timestamp, cbor,
    cbor::Bytes,
    consent::{Attested, ExpressedBy},
    ids::Pair,
};

use crate::WalletError;

/// The format that [`Wallet::to_bytes`] writes.
const FORMAT: u16 = 3;
/// The one before, in which all pairs were at one home.
const BEFORE_MOVES: u16 = 2;

/// What a wallet keeps between two runs: everything but private keys. It holds the citizen's secret
/// `y`, so that whoever stores it stores it as well guarded as a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    format: u16,
    network: NetworkId,
    /// Where the citizen lives: it enrols them, certifies new keys and attests links.
    home: Home,
    id: Option<IdKey>,
    services: BTreeMap<ServiceName, ServiceKey>,
    /// Where the register of each pair is that this wallet has a key for.
    pairs: BTreeMap<ServiceName, PairHome>,
    /// Link attestations by source, then recipient.
    links: BTreeMap<ServiceName, BTreeMap<ServiceName, Attested>>,
    /// The words that were shown, by the hash that permits carry.
    notices: BTreeMap<Hash, ShownNotice>,
    /// 発効証明: signed effects by the decision they are about, the latest of each.
    effects: BTreeMap<DecisionId, Attested>,
}

/// A municipality whose node keeps registers, and where its public face is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    pub organisation: OrganisationId,
    pub url: String,
}

/// Where the register of one pair is, as far as this wallet knows: another of the person's phones may
/// have moved it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairHome {
    pub home: Home,
    /// How often the pair has moved.
    pub epoch: u32,
    /// The homes before, the last one first: they still have what happened in their time.
    pub former: Vec<Home>,
    /// A move that was signed and has not come to its end.
    pub moving: Option<PendingMove>,
}

/// A signed move, kept so that handing it in again is handing in the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingMove {
    pub to: Home,
    /// A signed [`wire::consent::Move`], with the chain of who signed it.
    pub moving: Attested,
}

impl PairHome {
    pub(crate) fn at(home: Home) -> Self {
        Self { home, epoch: 0, former: Vec::new(), moving: None }
    }
}

/// The enrolled identity: ID key, its certificate, the number, and the secret behind it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdKey {
    pub(crate) key: PublicKey,
    /// ID certificate chain, leaf first.
    pub(crate) chain: Vec<Bytes>,
    pub(crate) not_after: Timestamp,
    pub(crate) number: Number,
    pub(crate) y: Bytes,
}

/// The wallet's key at one service, with the certificate that ties it to the citizen's id there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKey {
    pub key: PublicKey,
    pub subject: ServiceId,
    /// Service certificate chain, leaf first.
    pub chain: Vec<Bytes>,
    /// End of the certificate, and so of every permit the key signs.
    pub not_after: Timestamp,
    /// Whether the pair's channel begins the key: until then it may deny, but not permit.
    pub begun: bool,
    /// Set once the register says that it was begun for somebody who acts for the citizen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting: Option<Acting>,
}

/// Who holds this phone: not the citizen, but who acts for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acting {
    /// Guardian or proxy.
    pub basis: ExpressedBy,
    /// First moment at which the key's permits no longer hold: a ward's majority, say.
    pub until: Timestamp,
}

impl ServiceKey {
    /// Who expresses what this key signs.
    pub fn expressed_by(&self) -> ExpressedBy {
        self.acting.map_or(ExpressedBy::Oneself, |acting| acting.basis)
    }
}

/// A notice as the citizen saw it before signing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownNotice {
    pub text: String,
    /// BCP 47 language tag.
    pub language: String,
    pub version: u32,
    pub first_shown: Timestamp,
}

impl IdKey {
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    pub fn chain(&self) -> &[Bytes] {
        &self.chain
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// 利用者識別番号.
    pub fn number(&self) -> Number {
        self.number
    }
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the number nor the secret behind it belongs into logs.
        f.debug_struct("IdKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Wallet {
    /// A new wallet for a citizen of `home`, not enrolled yet.
    pub fn new(network: NetworkId, home: Home) -> Self {
        Self {
            format: FORMAT,
            network,
            home,
            id: None,
            services: BTreeMap::new(),
            pairs: BTreeMap::new(),
            links: BTreeMap::new(),
            notices: BTreeMap::new(),
            effects: BTreeMap::new(),
        }
    }

    /// Deterministic CBOR, with the secret in it.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WalletError> {
        let value = cbor::value_from_slice(bytes).map_err(WalletError::Stored)?;
        // The format first: another one would fail on its fields with a misleading message.
        let format = (value.as_map().into_iter().flatten())
            .find(|(key, _)| key.as_text() == Some("format"))
            .and_then(|(_, value)| u16::try_from(value.as_integer()?).ok());
        match format {
            Some(FORMAT) | None => cbor::from_slice(bytes).map_err(WalletError::Stored),
            Some(BEFORE_MOVES) => {
                let before: WalletBeforeMoves =
                    cbor::from_slice(bytes).map_err(WalletError::Stored)?;
                Ok(before.into())
            }
            Some(other) => Err(WalletError::StoredFormat(other)),
        }
    }

    pub fn network(&self) -> &NetworkId {
        &self.network
    }

    /// Where the citizen lives.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Where the register of the pair at a service is.
    pub fn home_of(&self, service: &ServiceName) -> &Home {
        self.pairs.get(service).map_or(&self.home, |pair| &pair.home)
    }

    /// The same, with the homes before and a move under way; `None` without a key at the service.
    pub fn pair_home(&self, service: &ServiceName) -> Option<&PairHome> {
        self.pairs.get(service)
    }

    /// The pair's homes: the present one, then those before, the last one first.
    pub fn homes_of(&self, service: &ServiceName) -> impl Iterator<Item = &Home> {
        let former = self.pairs.get(service).map(|pair| &pair.former);
        std::iter::once(self.home_of(service)).chain(former.into_iter().flatten())
    }

    /// Where a municipality's node is, if this wallet has dealt with it.
    pub fn home_by(&self, organisation: &OrganisationId) -> Option<&Home> {
        let pairs = self.pairs.values().flat_map(|pair| pair.former.iter().chain([&pair.home]));
        pairs.chain([&self.home]).find(|home| home.organisation == *organisation)
    }

    pub(crate) fn is_home_of(&self, service: &ServiceName, organisation: &OrganisationId) -> bool {
        self.homes_of(service).any(|home| home.organisation == *organisation)
    }

    /// The citizen lives elsewhere from now on. Their pairs stay where they are until each is moved.
    pub fn settle(&mut self, home: Home) {
        self.home = home;
    }

    pub fn id(&self) -> Result<&IdKey, WalletError> {
        self.id.as_ref().ok_or(WalletError::NotEnrolled)
    }

    pub fn services(&self) -> &BTreeMap<ServiceName, ServiceKey> {
        &self.services
    }

    pub fn service(&self, service: &ServiceName) -> Result<&ServiceKey, WalletError> {
        self.services.get(service).ok_or_else(|| WalletError::NoServiceKey(service.clone()))
    }

    /// Link attestations held: by source, then recipient.
    pub fn links(&self) -> &BTreeMap<ServiceName, BTreeMap<ServiceName, Attested>> {
        &self.links
    }

    pub fn link(
        &self,
        source: &ServiceName,
        recipient: &ServiceName,
    ) -> Result<&Attested, WalletError> {
        self.links.get(source).and_then(|links| links.get(recipient)).ok_or_else(|| {
            WalletError::NoLink { source_service: source.clone(), recipient: recipient.clone() }
        })
    }

    /// The notice with this hash, if this wallet showed it.
    pub fn notice(&self, hash: &Hash) -> Option<&ShownNotice> {
        self.notices.get(hash)
    }

    /// The citizen's pair at a service, worked out from the secret: no certificate needed.
    pub fn pair(&self, service: &ServiceName) -> Result<Pair, WalletError> {
        let subject = self.y()?.service_id(service);
        Ok(Pair { source: service.clone(), subject })
    }

    /// Joins an object signed by the ID key with the ID chain, to be handed in.
    pub fn attest_with_id<M: Message>(&self, signed: &Signed<M>) -> Result<Attested, WalletError> {
        let id = self.id()?;
        attest(signed, &id.key, &id.chain)
    }

    /// Joins an object signed by the key at `service` with that key's chain, to be handed in.
    pub fn attest_with_service_key<M: Message>(
        &self,
        service: &ServiceName,
        signed: &Signed<M>,
    ) -> Result<Attested, WalletError> {
        let key = self.service(service)?;
        attest(signed, &key.key, &key.chain)
    }

    pub(crate) fn y(&self) -> Result<Y, WalletError> {
        read_y(&self.id()?.y)
    }

    pub(crate) fn y_bytes(&self) -> Result<Bytes, WalletError> {
        Ok(self.id()?.y.clone())
    }

    pub(crate) fn set_id(&mut self, id: IdKey) {
        self.id = Some(id);
    }

    pub(crate) fn set_service(&mut self, service: ServiceName, key: ServiceKey) {
        let home = self.home.clone();
        self.pairs.entry(service.clone()).or_insert_with(|| PairHome::at(home));
        self.services.insert(service, key);
    }

    pub(crate) fn pair_home_mut(&mut self, service: &ServiceName) -> &mut PairHome {
        let home = self.home.clone();
        self.pairs.entry(service.clone()).or_insert_with(|| PairHome::at(home))
    }

    pub(crate) fn set_link(&mut self, source: ServiceName, recipient: ServiceName, link: Attested) {
        self.links.entry(source).or_default().insert(recipient, link);
    }

    /// `begun`: what the register says of a key.
    pub(crate) fn note_begun(&mut self, service: &ServiceName, key: &KeyHash, begun: &PairKey) {
        if let Some(own) = self.services.get_mut(service)
            && own.key.key_hash() == *key
        {
            own.begun = true;
            let PairKey { basis, until, .. } = *begun;
            own.acting = (basis != ExpressedBy::Oneself).then_some(Acting { basis, until });
        }
    }

    /// The receipt that a decision is in force, if this wallet got one.
    pub fn effect(&self, decision: &DecisionId) -> Option<&Attested> {
        self.effects.get(decision)
    }

    pub(crate) fn note_effect(&mut self, decision: DecisionId, receipt: Attested) {
        self.effects.insert(decision, receipt);
    }

    pub(crate) fn note_notice(&mut self, hash: Hash, notice: ShownNotice) {
        self.notices.entry(hash).or_insert(notice);
    }
}

/// A wallet of the format before pairs could move.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WalletBeforeMoves {
    /// Looked at before the rest is read.
    #[serde(rename = "format")]
    _format: u16,
    network: NetworkId,
    home: Home,
    id: Option<IdKey>,
    services: BTreeMap<ServiceName, ServiceKey>,
    links: BTreeMap<ServiceName, BTreeMap<ServiceName, Attested>>,
    notices: BTreeMap<Hash, ShownNotice>,
    effects: BTreeMap<DecisionId, Attested>,
}

impl From<WalletBeforeMoves> for Wallet {
    fn from(before: WalletBeforeMoves) -> Self {
        let WalletBeforeMoves { network, home, id, services, links, notices, effects, .. } = before;
        let pairs = services.keys().map(|service| (service.clone(), PairHome::at(home.clone())));
        let pairs = pairs.collect();
        Self { format: FORMAT, network, home, id, services, pairs, links, notices, effects }
    }
}

pub(crate) fn read_y(bytes: &Bytes) -> Result<Y, WalletError> {
    Y::from_bytes(bytes).map_err(WalletError::Secret)
}

fn attest<M: Message>(
    signed: &Signed<M>,
    key: &PublicKey,
    chain: &[Bytes],
) -> Result<Attested, WalletError> {
    let (expected, got) = (key.key_hash(), signed.key());
    if expected != got {
        return Err(WalletError::WrongSigner { expected, got });
    }
    Ok(Attested { object: Bytes(signed.bytes().to_vec()), chain: chain.to_vec() })
}
