//! The message registry: every signed type has one code for ever. The table stands in
//! `specs/02-messages.md`, with the ranges reserved for what comes later; a test keeps both equal.

/// A type of signed object. Codes are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum MessageType {
    Root = 1,
    TrustList = 2,
    Timestamp = 3,
    Descriptor = 4,
    Denial = 5,
    Decision = 16,
    KeyBegin = 17,
    KeyEnd = 18,
    Link = 19,
    Move = 20,
    Collapse = 21,
    HeadStatement = 32,
    Grant = 33,
    Effect = 34,
    Notices = 35,
    Request = 48,
    Receipt = 49,
    ConsentRequest = 50,
    ConsentAnswer = 51,
    Enrolment = 64,
    ServiceKeyRequest = 65,
    ServiceKeyProof = 66,
    LinkRequest = 67,
    WalletQuery = 68,
    RecordSubmission = 69,
    CertificateStatus = 70,
    EffectQuery = 71,
    IdQuery = 78,
    IdEnd = 79,
}

impl MessageType {
    pub const ALL: [Self; 29] = [
        Self::Root,
        Self::TrustList,
        Self::Timestamp,
        Self::Descriptor,
        Self::Denial,
        Self::Decision,
        Self::KeyBegin,
        Self::KeyEnd,
        Self::Link,
        Self::Move,
        Self::Collapse,
        Self::HeadStatement,
        Self::Grant,
        Self::Effect,
        Self::Notices,
        Self::Request,
        Self::Receipt,
        Self::ConsentRequest,
        Self::ConsentAnswer,
        Self::Enrolment,
        Self::ServiceKeyRequest,
        Self::ServiceKeyProof,
        Self::LinkRequest,
        Self::WalletQuery,
        Self::RecordSubmission,
        Self::CertificateStatus,
        Self::EffectQuery,
        Self::IdQuery,
        Self::IdEnd,
    ];

    /// The name in the `typ` header (RFC 9596) and in error texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::TrustList => "trust-list",
            Self::Timestamp => "timestamp",
            Self::Descriptor => "descriptor",
            Self::Denial => "denial",
            Self::Decision => "decision",
            Self::KeyBegin => "key-begin",
            Self::KeyEnd => "key-end",
            Self::Link => "link",
            Self::Move => "move",
            Self::Collapse => "collapse",
            Self::HeadStatement => "head-statement",
            Self::Grant => "grant",
            Self::Effect => "effect",
            Self::Notices => "notices",
            Self::Request => "request",
            Self::Receipt => "receipt",
            Self::ConsentRequest => "consent-request",
            Self::ConsentAnswer => "consent-answer",
            Self::Enrolment => "enrolment",
            Self::ServiceKeyRequest => "service-key-request",
            Self::ServiceKeyProof => "service-key-proof",
            Self::LinkRequest => "link-request",
            Self::WalletQuery => "wallet-query",
            Self::RecordSubmission => "record-submission",
            Self::CertificateStatus => "certificate-status",
            Self::EffectQuery => "effect-query",
            Self::IdQuery => "id-query",
            Self::IdEnd => "id-end",
        }
    }

    pub const fn code(self) -> u16 {
        self as u16
    }
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A payload that can be signed: its registered type, its version, and how large it may be.
pub trait Message: serde::Serialize + serde::de::DeserializeOwned {
    const TYPE: MessageType;
    const VERSION: u8 = 1;
    /// Largest envelope of this type, in bytes.
    const LIMIT: usize = crate::limits::SIGNED_OBJECT;
}
