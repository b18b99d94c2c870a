//! What a citizen signs: decisions, the begin and end of keys, and the link attestation a CA signs
//! for them (`specs/04-consent.md`).

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    cbor::Bytes,
    channel::ChannelId,
    crypto::hash_parts,
    ids::{
        DecisionId, Hash, ItemType, KeyHash, Nonce, OrganisationId, Pair, Purpose, ServiceId,
        ServiceName, Timestamp,
    },
    limits,
    registry::{Message, MessageType},
};

/// Who may get (or may not get) which items for what: the header of a channel entry, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    pub recipient: Recipient,
    pub items: Items,
    pub purpose: PurposeScope,
}

impl Scope {
    /// "Stop everything": every recipient, every item, every purpose.
    pub const EVERYTHING: Self =
        Self { recipient: Recipient::Any, items: Items::All, purpose: PurposeScope::Any };
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipient {
    /// Allowed in a deny only.
    Any,
    Service(ServiceName),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Items {
    All,
    /// Item types or categories, sorted, each once; a category means every leaf below it.
    Types(Vec<ItemType>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurposeScope {
    Any,
    /// A purpose, or a category of them: then every purpose below it.
    Code(Purpose),
}

/// 同意・拒否. Signed by a key that a service certificate ties to `pair.subject` at `pair.source`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    pub nonce: Nonce,
    pub pair: Pair,
    pub scope: Scope,
    /// The phone's clock. Shown to people, never compared.
    pub time: Timestamp,
    pub expressed_by: ExpressedBy,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Deny,
    Permit(Box<Permit>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpressedBy {
    #[serde(rename = "self")]
    Oneself,
    /// 法定代理人: who has parental authority, or a guardian.
    Guardian,
    /// 任意代理人: whom the citizen gave a power of attorney.
    Proxy,
}

/// What only a permit carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// The citizen's service id at the recipient.
    pub recipient_subject: ServiceId,
    /// Denies that stop standing against this permit, sorted, each once.
    pub reopens: Vec<Reopen>,
    pub valid_from: Timestamp,
    /// The first moment at which it no longer holds.
    pub valid_until: Timestamp,
    pub uses: Uses,
    /// Which data, by the time it is about; `None` is all.
    pub window: Option<Window>,
    /// How long the recipient may keep what it gets, in days; `None` is as the law says.
    pub retention_days: Option<u32>,
    pub onward: Onward,
    pub notice: Notice,
    /// The vocabulary version whose leaves a category in the scope means.
    pub vocabulary: u32,
    /// A signed [`Link`] between the pair and `recipient_subject`, with its signer's chain.
    pub link: Attested,
    /// Set for a present-consent: SHA-256 of the one request it is good for.
    pub request: Option<Hash>,
}

/// What a permit reopens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reopen {
    /// One deny.
    Deny(DecisionId),
    /// All denies of an ended key.
    Key(KeyHash),
    /// All denies that the home's collapse entry with this digest lists.
    Collapsed(Hash),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Uses {
    Once,
    /// `count` uses in every period of `period_ms`, counted from `valid_from`.
    Per {
        count: u32,
        period_ms: u64,
    },
    Unlimited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Onward {
    Forbidden,
    Allowed,
}

/// The words that were shown before the citizen signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub hash: Hash,
    /// BCP 47 language tag.
    pub language: String,
    pub version: u32,
}

/// A signed object with the certificate chain of its signer, leaf first, anchor left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    pub object: Bytes,
    /// At most [`limits::CHAIN`] certificates of at most [`limits::CERTIFICATE`] bytes.
    #[serde(deserialize_with = "bounded_chain")]
    pub chain: Vec<Bytes>,
}

/// A chain that cannot hold is not read: whoever knows the key already may never look at it, and would
/// carry it on.
fn bounded_chain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
    let chain = Vec::<Bytes>::deserialize(deserializer)?;
    if chain.len() > limits::CHAIN {
        return Err(de::Error::custom("a chain has at most 4 certificates"));
    }
    if chain.iter().any(|certificate| certificate.len() > limits::CERTIFICATE) {
        return Err(de::Error::custom("a certificate has at most 16 KiB"));
    }
    Ok(chain)
}

/// Begins a key of a pair. Approved by an earlier key of the pair (kid: that key), or after fresh
/// proofing by the pair's home (kid: the home's organisation key).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyBegin {
    pub nonce: Nonce,
    pub pair: Pair,
    pub basis: ExpressedBy,
    /// The document that makes someone else than the citizen entitled, as an officer of the home saw
    /// it: always for a guardian, for a proxy unless a key of the citizen's own signed, never for self.
    pub authority: Option<Authority>,
    /// The service certificate chain of the key that begins, leaf first.
    pub chain: Vec<Bytes>,
    /// No permit of this key outlives it; at most the certificate's notAfter.
    pub until: Timestamp,
    pub time: Timestamp,
}

/// What an officer saw. The document itself stays at the home: only who has it and the salt can tell
/// that it is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    pub document: DocumentKind,
    /// [`authority_digest`] of the document.
    pub digest: Hash,
    /// When the officer saw it.
    pub seen: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// 戸籍: parental authority over a minor.
    FamilyRegister,
    /// 登記事項証明書 of the register of guardianships (後見登記).
    GuardianshipRegister,
    /// A decision of the family court.
    CourtOrder,
    /// 委任状.
    PowerOfAttorney,
}

/// `H("mebuku/authority/1", [salt, document])`: the salt keeps others from guessing at the document.
pub fn authority_digest(salt: &[u8; 32], document: &[u8]) -> Hash {
    hash_parts("mebuku/authority/1", &[salt, document])
}

/// Ends a key of a pair: its permits are void but for those in `keeps`, whenever signed or received.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEnd {
    pub nonce: Nonce,
    pub pair: Pair,
    pub key: KeyHash,
    /// Sorted, each once; empty for a lost phone.
    pub keeps: Vec<DecisionId>,
    pub time: Timestamp,
}

/// Moves a pair to another home. Signed by a standing key of basis self, or, where an officer certified
/// it, by the organisation key of one of the two homes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    pub nonce: Nonce,
    pub pair: Pair,
    pub from: OrganisationId,
    pub to: OrganisationId,
    /// One more than the pair's moves so far: 1 for its first.
    pub epoch: u32,
    pub time: Timestamp,
}

/// Collapses denies of a pair into one that has their scopes; signed by the channel's home. Later denies
/// are never in it: it lists exact ids, and an id cannot be known before its deny was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collapse {
    pub channel: ChannelId,
    pub subject: ServiceId,
    /// Sorted, each once, 1 to [`crate::limits::COLLAPSED`].
    pub denies: Vec<DecisionId>,
    pub time: Timestamp,
}

/// What a permit names to reopen all denies of a list ([`Reopen::Collapsed`]):
/// `H("mebuku/collapse/1", ids)`, the ids sorted, each once.
pub fn collapse_digest<'a>(sorted: impl IntoIterator<Item = &'a DecisionId>) -> Hash {
    let ids: Vec<&[u8]> = sorted.into_iter().map(|id| &id.0[..]).collect();
    hash_parts("mebuku/collapse/1", &ids)
}

/// "Source service id *a* and recipient service id *b* are one person", signed by an issuing
/// organisation after the wallet showed `y`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub source: Pair,
    pub recipient: Pair,
    pub time: Timestamp,
}

impl Message for Decision {
    const TYPE: MessageType = MessageType::Decision;
    const LIMIT: usize = 32 * 1024;
}
impl Message for KeyBegin {
    const TYPE: MessageType = MessageType::KeyBegin;
}
impl Message for KeyEnd {
    const TYPE: MessageType = MessageType::KeyEnd;
}
impl Message for Move {
    const TYPE: MessageType = MessageType::Move;
    const LIMIT: usize = 4 * 1024;
}
impl Message for Collapse {
    const TYPE: MessageType = MessageType::Collapse;
}
impl Message for Link {
    const TYPE: MessageType = MessageType::Link;
    const LIMIT: usize = 4 * 1024;
}
