//! Between a recipient and a source: request, presentation or refusal, receipt
//! (`specs/06-exchange.md`).

use serde::{Deserialize, Serialize};

use crate::{
    cbor::Bytes,
    consent::Attested,
    ids::{Hash, ItemType, Nonce, Purpose, ServiceId, ServiceName, Timestamp},
    registry::{Message, MessageType},
};

/// Signed by the recipient's organisation key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the recipient; a retry carries the same one and the same bytes.
    pub id: Nonce,
    pub source: ServiceName,
    pub recipient: ServiceName,
    /// The citizen's service id at the recipient.
    pub subject: ServiceId,
    /// Item types or categories, sorted, each once.
    pub items: Vec<ItemType>,
    /// All the items, or nothing.
    pub whole: bool,
    pub purpose: Purpose,
    /// Comes back in the presentation.
    pub nonce: Nonce,
    pub issued: Timestamp,
    /// At most [`crate::limits::REQUEST_VALIDITY_MS`] after `issued`.
    pub expires: Timestamp,
    pub present_consent: Option<PresentConsent>,
}

/// 対面同意: what a citizen hands over at the counter, for one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresentConsent {
    /// The permit that the citizen signed for this very request: its `request` names
    /// [`Request::consent_hash`].
    pub permit: Attested,
    /// A signed [`crate::citizen::CertificateStatus`] of the certificate that signed the permit, by
    /// the organisation whose CA issued it.
    pub status: Attested,
}

impl Request {
    /// What a present-consent binds: the hash of the request without the present-consent itself.
    pub fn consent_hash(&self) -> Hash {
        let bare = Self { present_consent: None, ..self.clone() };
        crate::hash_parts("mebuku/request/1", &[&crate::cbor::to_vec(&bare)])
    }
}

/// 受領: the recipient got this presentation for this request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Id of the signed request (hash of its Sig_structure).
    pub request: Hash,
    /// SHA-256 of the presentation's bytes.
    pub presentation: Hash,
    pub time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeMessage {
    /// A signed [`Request`].
    Request(Bytes),
    /// A signed [`Receipt`].
    Receipt(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeReply {
    /// An SD-JWT VC in its compact serialisation, all disclosures with it.
    Presentation(Bytes),
    /// The one refusal: no permit, denied, expired, unknown citizen and no data all look like this.
    NotPermitted,
    /// The receipt is durable at the source.
    Noted,
    /// The message itself is at fault, or the source cannot serve now; says nothing of any citizen.
    Rejected(Rejection),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rejection {
    Malformed,
    /// Signature, key or certificate do not fit the sender.
    NotAuthentic,
    /// Its validity is over, not begun, or longer than allowed.
    OutOfTime,
    /// The same id came with other content.
    IdReused,
    /// No such service at this node.
    UnknownService,
    /// Too many requests; try again later.
    Busy,
    /// A fault at the source; nothing was released.
    Unavailable,
}

impl Message for Request {
    const TYPE: MessageType = MessageType::Request;
}
impl Message for Receipt {
    const TYPE: MessageType = MessageType::Receipt;
    const LIMIT: usize = 4 * 1024;
}
