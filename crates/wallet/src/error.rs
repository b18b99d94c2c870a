use trust::{ChainError, SignedError};
use wire::{CborError, KeyHash, OrganisationId, ServiceName, Timestamp};

/// Why the wallet did not prepare something or did not take a reply.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error("this wallet is not enrolled yet")]
    NotEnrolled,
    #[error("this wallet has no key at {0} yet")]
    NoServiceKey(ServiceName),
    #[error("this wallet has no link between {source_service} and {recipient} yet")]
    NoLink { source_service: ServiceName, recipient: ServiceName },
    #[error("signed with key {got}, where key {expected} has to sign")]
    WrongSigner { expected: KeyHash, got: KeyHash },
    #[error("the certificate chain in the reply does not hold")]
    Chain(#[source] ChainError),
    #[error("the signed object in the reply does not hold")]
    Signed(#[source] SignedError),
    #[error("the certificate in the reply is for another key than this wallet's")]
    OtherKey,
    #[error("the certificate in the reply is for another citizen or service")]
    OtherSubject,
    #[error("the number in the certificate does not follow from the secret that came with it")]
    OtherNumber,
    #[error("the reply gives this wallet another number than it has")]
    NumberChanged,
    #[error("the secret in the reply is not one")]
    Secret(#[source] identity::number::NotY),
    #[error("the link in the reply joins other service ids than this wallet's")]
    ForeignLink,
    #[error("the link in the reply is signed by one who may not issue citizens' certificates")]
    LinkSigner,
    #[error("the register in the reply is not what its home signed")]
    Extract(#[source] consent::ExtractFault),
    #[error("the pair is at the home that it should move to")]
    AtHome,
    #[error("no key of this wallet stands at {0}: another of your phones has to move it")]
    KeyDoesNotStand(ServiceName),
    #[error("the pair moved to {0} before: that municipality is its home")]
    MovedElsewhere(OrganisationId),
    #[error("the answer is about another move than the one that was signed")]
    ForeignMove,
    #[error("the new home does not show all that the home before held")]
    NotBrought,
    #[error("the answer is about another decision than the one that was sent")]
    OtherDecision,
    #[error("the signed object in the reply is another organisation's")]
    OtherSigner,
    #[error("the history in the reply holds a notice of another citizen or channel")]
    ForeignHistory,
    #[error("a notice in the reply is not in the batch that the source signed")]
    NoticeNotSigned,
    #[error("the history in the reply is not in the order of its channel")]
    HistoryOrder,
    #[error("the receipt in the reply is about another citizen or channel, or contradicts itself")]
    ForeignEffect,
    #[error("a consent request in the reply is to another citizen or of another recipient")]
    ForeignRequest,
    #[error("a consent request in the reply is not in its form: {0}")]
    Asked(#[source] consent::asking::AskFault),
    #[error("the ID keys in the reply are not this citizen's, or the one to be ended is not")]
    OtherIdKeys,
    #[error("the certificate is by {0}, whose node this wallet does not know")]
    UnknownIssuer(OrganisationId),
    #[error("the challenge has run out")]
    ChallengeOver,
    #[error("the status in the reply is of another certificate, or not by its CA's organisation")]
    OtherStatus,
    #[error("this wallet's certificate is revoked")]
    Revoked,
    #[error("{0}")]
    Draft(DraftFault),
    #[error("the stored wallet cannot be read")]
    Stored(#[source] CborError),
    #[error("the stored wallet has format {0}, which this program does not know")]
    StoredFormat(u16),
}

/// What is wrong with a draft: the citizen's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftFault {
    #[error("name 1 to 64 item types")]
    ItemCount,
    #[error("`{0}` is public: it needs no consent, and no decision covers it")]
    PublicItem(wire::ItemType),
    #[error("`{0}` is no item type or category of the vocabulary")]
    UnknownItem(wire::ItemType),
    #[error("`{0}` is no purpose of the vocabulary")]
    UnknownPurpose(wire::Purpose),
    #[error("a permit lasts at least one day")]
    NoTime,
    #[error(
        "the permit would outlast its certificate, which ends at {} s after 1970", .0.as_secs()
    )]
    OutlivesCertificate(Timestamp),
    #[error(
        "the permit would outlast the time for which its key was begun, which ends at {} s after 1970",
        .0.as_secs()
    )]
    OutlivesKey(Timestamp),
    #[error("uses per period need a count of at least 1 and a period of at least 1 s")]
    Uses,
    #[error("the window of the data must end after it begins")]
    Window,
    #[error("at most 256 denies can be reopened at once")]
    TooManyReopens,
    #[error("the notice needs its words and a language tag of 1 to 35 characters")]
    Notice,
    #[error("a source and a recipient are two services")]
    SameService,
    #[error("a record is JSON of at most {} bytes", wire::limits::RECORD)]
    Record,
    #[error("the request is about another citizen than this wallet's")]
    OtherCitizensRequest,
    #[error("the request has run out: the recipient has to prepare another one")]
    RequestOver,
    #[error("the request carries a present-consent already")]
    NotBare,
    #[error("a key of the pair is not ended by itself: sign with another")]
    EndsItself,
    #[error("an ID key is not ended by itself: sign with another phone's")]
    EndsOwnId,
}

impl From<DraftFault> for WalletError {
    fn from(fault: DraftFault) -> Self {
        Self::Draft(fault)
    }
}
