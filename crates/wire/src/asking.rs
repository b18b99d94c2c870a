//! A recipient without a permit asks for one; the citizen answers (`specs/10-wallet.md`).

use serde::{Deserialize, Serialize};

use crate::{
    consent::{Attested, Onward, Uses, Window},
    ids::{Hash, ItemType, Nonce, Pair, Purpose, ServiceId, ServiceName, Timestamp},
    registry::{Message, MessageType},
};

/// Signed by the recipient's organisation: what it asks the citizen to permit, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// Chosen by the recipient; the same one asks once.
    pub id: Nonce,
    pub source: ServiceName,
    pub recipient: ServiceName,
    /// The citizen's service id at the recipient.
    pub subject: ServiceId,
    /// Item types or categories, sorted, each once.
    pub items: Vec<ItemType>,
    pub purpose: Purpose,
    pub valid_days: u32,
    pub uses: Uses,
    pub window: Option<Window>,
    pub retention_days: Option<u32>,
    pub onward: Onward,
    /// What the citizen is shown; a permit names its hash ([`crate::consent::Notice`]). At most
    /// [`crate::limits::NOTICE_TEXT`] characters.
    pub text: String,
    /// BCP 47 language tag of `text`.
    pub language: String,
    /// The recipient's own count of its wordings.
    pub version: u32,
    pub issued: Timestamp,
    /// At most [`crate::limits::CONSENT_REQUEST_MS`] after `issued`.
    pub expires: Timestamp,
}

/// Signed by a key certified for the citizen's pair at the *recipient*. It says nothing of any other
/// service: what was permitted is between the citizen and the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentAnswer {
    /// Id of the signed [`ConsentRequest`].
    pub request: Hash,
    /// The recipient service, and the citizen's id there.
    pub pair: Pair,
    pub answer: Answered,
    pub time: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    Agreed,
    Declined,
}

/// What waits for a citizen's answer at one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingRequests {
    /// Signed [`ConsentRequest`]s, each with the chain of the recipient's organisation.
    pub requests: Vec<Attested>,
}

impl Message for ConsentRequest {
    const TYPE: MessageType = MessageType::ConsentRequest;
    const LIMIT: usize = 16 * 1024;
}
impl Message for ConsentAnswer {
    const TYPE: MessageType = MessageType::ConsentAnswer;
    const LIMIT: usize = 4 * 1024;
}
