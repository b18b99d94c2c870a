//! Who is who: root, trust list, timestamp, node descriptor, hello, directory
//! (`specs/03-trust.md`).

use serde::{Deserialize, Serialize};

use crate::{
    cbor::Bytes,
    crypto::PublicKey,
    ids::{Hash, OrganisationId, ServiceName, Timestamp},
    limits,
    registry::{Message, MessageType},
};

/// The keys that govern the network. The payload hash of version 1 is the network id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Counts from 1; each is signed by the threshold of the one before and its own.
    pub version: u64,
    /// Whether test roots, single-key numbers and synthetic cards are allowed: never in production.
    pub testnet: bool,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub root: RoleKeys,
    pub trust_list: RoleKeys,
    pub timestamp: RoleKeys,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// Sorted, each once.
    pub keys: Vec<PublicKey>,
    pub threshold: u32,
}

/// 信頼リスト.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustList {
    pub version: u64,
    pub issued: Timestamp,
    pub expires: Timestamp,
    /// CAs with what each may issue.
    pub authorities: Vec<Authority>,
    /// Organisations that may be homes.
    pub municipalities: Vec<Municipality>,
    pub witnesses: Vec<OrganisationId>,
    pub committee: Committee,
    /// Struck off by people, for good. Sorted, each once.
    pub denied: Vec<Denied>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Municipality {
    pub organisation: OrganisationId,
    /// Shown to people.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    pub organisation: OrganisationId,
    /// Self-signed root CA certificate, DER.
    pub anchor: Bytes,
    /// Sorted, each once.
    pub purposes: Vec<CaPurpose>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaPurpose {
    /// ID and service certificates, link attestations.
    Citizen,
    /// Organisation keys of members.
    Organisation,
    /// Keys that sign credentials.
    Credential,
}

/// The keepers of the number function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committee {
    pub members: Vec<OrganisationId>,
    pub threshold: u32,
    /// Public key of the VOPRF (RFC 9497, P256-SHA256): compressed SEC1 point.
    pub public_key: Bytes,
}

/// Says which list is current, and who was struck off since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustTimestamp {
    pub version: u64,
    pub list_version: u64,
    /// Payload hash of that trust list.
    pub list_hash: Hash,
    pub issued: Timestamp,
    /// After this: alarm, and nobody new is admitted.
    pub soft_expiry: Timestamp,
    /// After this: stop.
    pub hard_expiry: Timestamp,
    /// Struck off by nodes since that list. It lapses with the list, unless the next one confirms it.
    /// Sorted, each once.
    pub denylist: Vec<Denied>,
}

/// One city's wish that somebody be struck off until the next trust list. Signed with timestamp keys; with
/// enough of them it goes onto the denylist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    pub denied: Denied,
    /// The list in force; with another one the wish has lapsed.
    pub list_version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denied {
    Organisation(OrganisationId),
    /// SHA-256 of a DER certificate.
    Certificate(Hash),
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Organisation(organisation) => write!(f, "{organisation}"),
            Self::Certificate(hash) => write!(f, "the certificate {hash}"),
        }
    }
}

/// Root chain, list and timestamp as they travel and as they lie on disk. All three are
/// [`crate::MultiSigned`] envelopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    /// From the genesis root on, each version once.
    pub roots: Vec<Bytes>,
    pub trust_list: Bytes,
    pub timestamp: Bytes,
}

/// Which trust file a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustVersions {
    pub root: u64,
    pub list: u64,
    pub timestamp: u64,
}

/// Between members; a pull by anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustRequest {
    /// Give me yours, if any of its versions is higher than these.
    Pull(TrustVersions),
    /// I have these. No more than a reason to pull: what is pulled proves itself.
    Hint(TrustVersions),
    /// Put your timestamp key to this. Between the nodes that hold one.
    Sign(TimestampDraft),
    /// Signed [`Denial`]s that I know of.
    Denials(Vec<Bytes>),
}

/// A trust file whose timestamp has not got all its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampDraft {
    pub file: TrustFile,
    /// The signed [`Denial`]s that stand behind what is new on its denylist.
    pub denials: Vec<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustReply {
    Newer(TrustFile),
    /// There is none newer here.
    Current,
    /// To a hint, and to denials.
    Noted,
    /// The timestamp as drafted, with this node's signature beside those it had.
    Signed(Bytes),
    NotSigned(SignRefusal),
    /// Asked too often: again later.
    Busy,
    Malformed,
}

/// A draft was not signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRefusal {
    pub why: NotSigned,
    /// The highest version that this node has signed or goes by.
    pub highest: u64,
    /// Signed [`Denial`]s that the draft has to heed.
    pub denials: Vec<Bytes>,
}

/// Why a node does not put its timestamp key to a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotSigned {
    /// It holds none of the timestamp keys.
    NoKey,
    /// Its clock, its rules, or what it knows say otherwise.
    Refused,
    /// It has signed another timestamp of this version, or a higher one.
    Spent,
}

/// What a node is and where to find it. Signed by the organisation key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    pub organisation: OrganisationId,
    /// Shown to people.
    pub name: String,
    /// A higher version replaces a lower one of the same organisation.
    pub version: u64,
    /// libp2p peer ids (base58), Ed25519.
    pub peers: Vec<String>,
    /// Multiaddresses without the peer id.
    pub addresses: Vec<String>,
    /// Ed25519 key of the evidence log.
    pub log_key: Bytes,
    /// Ed25519 key with which it cosigns others' logs.
    pub witness_key: Option<Bytes>,
    /// Sorted, each once.
    pub roles: Vec<Role>,
    /// Sorted, each once, all its own.
    pub services: Vec<ServiceName>,
    /// Where wallets reach it.
    pub public_url: Option<String>,
    pub issued: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Home,
    Issuer,
    Source,
    Recipient,
    Witness,
    Committee,
}

/// The first message on every connection, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub identity: NodeIdentity,
    pub root_version: u64,
    pub list_version: u64,
    pub timestamp_version: u64,
}

/// A node's descriptor with the chain of the organisation key that signed it, leaf first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIdentity {
    pub chain: Vec<Bytes>,
    /// A signed [`Descriptor`].
    pub descriptor: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HelloReply {
    Welcome(Hello),
    /// Why the caller is not let in; names no third party.
    Refused(String),
}

/// Asks a municipal node where an organisation's node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryRequest {
    Organisation(OrganisationId),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryReply {
    Found(NodeIdentity),
    Unknown,
}

impl Message for Root {
    const TYPE: MessageType = MessageType::Root;
    const LIMIT: usize = limits::TRUST_OBJECT;
}
impl Message for TrustList {
    const TYPE: MessageType = MessageType::TrustList;
    const LIMIT: usize = limits::TRUST_OBJECT;
}
impl Message for TrustTimestamp {
    const TYPE: MessageType = MessageType::Timestamp;
    const LIMIT: usize = limits::TRUST_OBJECT;
}
impl Message for Denial {
    const TYPE: MessageType = MessageType::Denial;
    const LIMIT: usize = limits::DENIAL;
}
impl Message for Descriptor {
    const TYPE: MessageType = MessageType::Descriptor;
    const LIMIT: usize = 32 * 1024;
}
