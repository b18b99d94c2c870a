//! Between a wallet and its home: enrolment, service certificates, links, decisions, history
//! (`specs/07-identity.md`, `specs/10-wallet.md`).

use serde::{Deserialize, Serialize};

use crate::{
    cbor::Bytes,
    channel::PairExtract,
    consent::Attested,
    crypto::PublicKey,
    ids::{
        DecisionId, Hash, ItemType, KeyHash, NetworkId, Nonce, OrganisationId, Pair, ServiceId,
        ServiceName, Timestamp,
    },
    map::MapProof,
    registry::{Message, MessageType},
};

/// What the RA asks the card to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    pub registrar: OrganisationId,
    pub nonce: Nonce,
    pub expires: Timestamp,
}

/// The answer: signed by the new ID key (which proves possession), holding the card's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    pub challenge: Challenge,
    pub id_key: PublicKey,
    /// JPKI signing certificate, DER.
    pub card_certificate: Bytes,
    /// RSASSA-PKCS1-v1_5 with SHA-256 over [`card_message`].
    pub card_signature: Bytes,
}

/// The bytes a My Number Card signs: bound to the network, the RA, the challenge and the new key.
pub fn card_message(network: &NetworkId, challenge: &Challenge, id_key: &PublicKey) -> Vec<u8> {
    crate::hash_parts(
        "mebuku/card/1",
        &[&network.0, &crate::cbor::to_vec(challenge), id_key.sec1()],
    )
    .0
    .to_vec()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentReply {
    /// ID certificate chain, leaf first.
    pub chain: Vec<Bytes>,
    /// `y`, 32 bytes: the wallet keeps it, the issuer forgets it.
    pub y: Bytes,
}

/// Signed by the ID key: certify this key for my service id at that service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeyRequest {
    pub service: ServiceName,
    /// A [`ServiceKeyProof`] signed by the key to be certified.
    pub proof: Bytes,
    pub key: PublicKey,
    pub y: Bytes,
    pub nonce: Nonce,
    pub time: Timestamp,
}

/// Proof of possession of the key to be certified, bound to the ID key that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeyProof {
    pub service: ServiceName,
    pub id_key: KeyHash,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeyReply {
    pub subject: ServiceId,
    /// Service certificate chain, leaf first.
    pub chain: Vec<Bytes>,
    /// Whether the home began the key in the pair's channel (fresh proofing); otherwise an earlier
    /// key of the pair must approve it.
    pub begun: bool,
}

/// Signed by the ID key: attest that my ids at these two services are one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRequest {
    pub source: ServiceName,
    pub recipient: ServiceName,
    pub y: Bytes,
    pub nonce: Nonce,
    pub time: Timestamp,
}

/// Signed by an ID key: show me the ID keys of my number at this home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdQuery {
    pub nonce: Nonce,
    pub time: Timestamp,
}

/// Signed by another ID key of the same number: this one is lost. Its certificate is revoked; it gets
/// no key certified and no link attested any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdEnd {
    pub key: KeyHash,
    pub nonce: Nonce,
    pub time: Timestamp,
}

/// The ID keys of one number that this home enrolled, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdKeys {
    pub keys: Vec<EnrolledIdKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledIdKey {
    pub key: KeyHash,
    /// When it was enrolled, the last time.
    pub enrolled: Timestamp,
    pub ended: Option<Timestamp>,
}

/// Signed by a key of the pair: show me the register and what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletQuery {
    pub pair: Pair,
    pub nonce: Nonce,
    pub time: Timestamp,
}

/// The register of one pair, as the home that is asked holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRegister {
    /// What the channels of the homes before held when the pair came here, the first home's first.
    pub brought: Vec<PairExtract>,
    /// What this home's channel holds, with how each entry stands.
    pub entries: Vec<RegisterEntry>,
    /// As in [`PairExtract`]: the home signs what it shows, and that it shows all.
    pub statement: Attested,
    pub map_proof: MapProof,
}

impl PairRegister {
    /// What the channels of all of the pair's homes hold, the first home's first: for the next one.
    pub fn history(&self) -> Vec<PairExtract> {
        self.brought.iter().cloned().chain([self.extract()]).collect()
    }

    /// What this home's channel holds, for others.
    pub fn extract(&self) -> PairExtract {
        PairExtract {
            statement: self.statement.clone(),
            entries: self.entries.iter().map(|listed| listed.entry.clone()).collect(),
            map_proof: self.map_proof.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterEntry {
    pub entry: crate::channel::Entry,
    /// The decision's id, for permits and denies.
    pub decision: Option<DecisionId>,
    pub status: InForce,
}

/// 発効: whether the source is bound by an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InForce {
    /// Durable at the home, on its way to the source, and cosigned by the home's witnesses.
    Accepted,
    /// As accepted, but the witnesses have not answered yet: should this node be lost now, it could be
    /// forgotten. Asking again with the same bytes gives the better answer later.
    Durable,
    /// The source acknowledged it as applied.
    Acknowledged(Timestamp),
    /// Every lease that did not know it has run out: the source cannot release against it.
    LeasesLapsed(Timestamp),
    /// The source said that it could not read or verify it, or found that its signer had no say: it
    /// permits nothing.
    Unreadable(Timestamp),
}

/// The home's answer to a decision that it made durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionReply {
    pub decision: DecisionId,
    /// Its place in this node's channel to the source; `None` for a deny that the source has, handed
    /// straight to it or relayed: there it holds.
    pub seq: Option<u64>,
    pub status: InForce,
    /// For such a deny: the source's signed [`crate::notice::Effect`], with its chain, unless the source's
    /// witnesses have not cosigned it in time.
    pub effect: Option<Attested>,
}

/// A move, handed in at the home left and then at the home moved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveSubmission {
    /// A signed [`crate::consent::Move`].
    pub moving: Attested,
    /// At the home moved to: what the channels of all homes before hold of the pair, the first home's
    /// first. At the home left: nothing.
    pub history: Vec<PairExtract>,
}

/// The home's answer to a move that it made durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveReply {
    /// Place of the move-end or move-begin in this home's channel.
    pub seq: u64,
    pub status: InForce,
    /// The home before, where it has not let go yet: until it does, or is off the trust list, the
    /// begin waits and this home takes denies only.
    pub waits_for: Option<OrganisationId>,
}

/// A record a citizen hands in themself, signed by a key of the pair at the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSubmission {
    pub pair: Pair,
    pub item: ItemType,
    /// JSON, UTF-8.
    pub content: Bytes,
    pub nonce: Nonce,
    pub time: Timestamp,
}

/// How a certificate stands at the CA that issued it, signed by the CA's organisation. Any wallet may
/// ask; a present-consent carries it. Ours until OCSP is served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateStatus {
    /// SHA-256 of the certificate's DER.
    pub certificate: Hash,
    pub standing: Standing,
    /// When it was looked up.
    pub time: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Good,
    Revoked,
}

/// A signed object that came over http with the chain of its signer.
pub type Submission = Attested;

impl Message for Enrolment {
    const TYPE: MessageType = MessageType::Enrolment;
}
impl Message for ServiceKeyRequest {
    const TYPE: MessageType = MessageType::ServiceKeyRequest;
    const LIMIT: usize = 8 * 1024;
}
impl Message for ServiceKeyProof {
    const TYPE: MessageType = MessageType::ServiceKeyProof;
    const LIMIT: usize = 4 * 1024;
}
impl Message for LinkRequest {
    const TYPE: MessageType = MessageType::LinkRequest;
    const LIMIT: usize = 8 * 1024;
}
impl Message for IdQuery {
    const TYPE: MessageType = MessageType::IdQuery;
    const LIMIT: usize = 4 * 1024;
}
impl Message for IdEnd {
    const TYPE: MessageType = MessageType::IdEnd;
    const LIMIT: usize = 4 * 1024;
}
impl Message for WalletQuery {
    const TYPE: MessageType = MessageType::WalletQuery;
    const LIMIT: usize = 4 * 1024;
}
impl Message for RecordSubmission {
    const TYPE: MessageType = MessageType::RecordSubmission;
    const LIMIT: usize = 320 * 1024;
}
impl Message for CertificateStatus {
    const TYPE: MessageType = MessageType::CertificateStatus;
    const LIMIT: usize = 4 * 1024;
}
