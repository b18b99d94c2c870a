//! What this node's parts write into the evidence log: one constructor for each thing that happens,
//! so that the log's words are chosen in one place.

use consent::{HomeEntry, source::AppliedEntry};
use evidence::record::{
    AttemptRefused, CertificateIssued, CertificateRevoked, EntryAccepted, EntryApplied,
    LongestGrant, NodeStarted, OperatorAction, Record, RecordStored, Refusal, Refusals, Release,
    TrustAdopted,
};
use exchange::Authentic;
use serde::Serialize;
use trust::{CertificateKind, Trust};
use wire::{
    Bytes, Hash, ItemType, MessageType, Nonce, ServiceId, ServiceName, Timestamp,
    channel::{ChannelHead, ChannelId},
    ids::Pair,
};
use x509_cert::der::Decode;

use crate::{
    operator::Operator,
    store::{
        Column, Read, StoreError, TypedRead,
        log::{self, LogHead},
    },
};

/// At home: an entry is durable in its channel.
pub fn accepted(channel: &ChannelId, entry: &HomeEntry, at: Timestamp) -> Record {
    Record::new(&EntryAccepted::new(channel, &entry.entry), at)
}

/// At home: the longest lease that may be out on a channel is another from now on.
pub fn longest_grant(channel: &ChannelId, longest_ms: u64, at: Timestamp) -> Record {
    Record::new(&LongestGrant { channel: channel.clone(), longest_ms }, at)
}

/// At a source: the channel is applied up to here.
pub fn applied(channel: &ChannelId, head: &ChannelHead, at: Timestamp) -> Record {
    let body = EntryApplied { channel: channel.clone(), applied: head.position, map: head.map };
    Record::new(&body, at)
}

/// At a source: what permits nothing, and why, of an entry and of those that waited and act with it.
/// Nothing if all were as they should be.
pub fn faulty_entries(entry: &AppliedEntry, at: Timestamp) -> impl Iterator<Item = Record> {
    let id = entry.decision.map_or(Hash([0; 32]), |id| Hash(id.0));
    let own = entry.fault.iter().map(move |fault| (id, fault));
    let acted = entry.acted.iter().filter_map(|acted| Some((Hash([0; 32]), acted.fault.as_ref()?)));
    own.chain(acted).map(move |(id, fault)| attempt_refused(MessageType::Decision, id, fault, at))
}

/// The node goes by a newer trust file.
pub fn trust_adopted(trust: &Trust, at: Timestamp) -> Record {
    let trust::Versions { root, list, timestamp } = trust.versions();
    let list_hash = trust.timestamp().list_hash;
    Record::new(&TrustAdopted { root, list, timestamp, list_hash }, at)
}

/// Something signed was handed in and not taken.
pub fn attempt_refused(what: MessageType, id: Hash, reason: &str, at: Timestamp) -> Record {
    Record::new(&AttemptRefused::new(what, id, reason), at)
}

pub fn record_stored(
    service: &ServiceName,
    subject: &ServiceId,
    item: &ItemType,
    content: &Hash,
    at: Timestamp,
) -> Record {
    let body = RecordStored {
        service: service.clone(),
        subject: *subject,
        item: item.clone(),
        content: *content,
    };
    Record::new(&body, at)
}

/// A certificate this node's CA just issued.
pub fn certificate_issued(
    kind: CertificateKind,
    certificate: &[u8],
    issuer: &[u8],
    at: Timestamp,
) -> Record {
    let profile = match kind {
        CertificateKind::Id => "citizen",
        CertificateKind::Service => "service",
        CertificateKind::Organisation => "organisation",
        CertificateKind::Credential => "credential",
    };
    let serial = x509_cert::Certificate::from_der(certificate)
        .map(|parsed| parsed.tbs_certificate().serial_number().as_bytes().to_vec())
        .unwrap_or_default();
    let body = CertificateIssued {
        profile: profile.to_owned(),
        certificate: wire::sha256(certificate),
        issuer: wire::sha256(issuer),
        serial: Bytes(serial),
    };
    Record::new(&body, at)
}

/// A certificate of this node's CA does not hold any more; `request` asked for that.
pub fn certificate_revoked(certificate: Hash, request: Hash, at: Timestamp) -> Record {
    Record::new(&CertificateRevoked { certificate, request }, at)
}

/// At a source: a request that was refused, with the exact reason. The recipient is told none.
pub fn refusal(request: &Authentic, pair: Option<Pair>, reason: &str, at: Timestamp) -> Record {
    let asked = request.request();
    let body = Refusal {
        request_id: request.id(),
        request_nonce: asked.id,
        pair,
        recipient: asked.recipient.clone(),
        items: asked.items.clone(),
        purpose: asked.purpose.clone(),
        reason: reason.to_owned(),
    };
    Record::new(&body, at)
}

/// A person did something by hand. `object`: the id of what was signed for it, if anything was.
pub fn operator_action(
    operator: &Operator,
    action: &'static str,
    object: Option<Hash>,
    at: Timestamp,
) -> Record {
    let (operator, action) = (operator.as_str().to_owned(), action.to_owned());
    Record::new(&OperatorAction { operator, action, object }, at)
}

pub fn node_started(descriptor: Hash, log_size: u64, at: Timestamp) -> Record {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Record::new(&NodeStarted { version, descriptor: Some(descriptor), log_size }, at)
}

/// One entry of the log, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogView {
    pub index: u64,
    pub kind: String,
    pub time: Timestamp,
    /// The request it is about, by the id that its recipient chose.
    pub request: Option<Nonce>,
    /// Why something was refused.
    pub reason: Option<String>,
    /// How many, where many were counted together.
    pub count: Option<u64>,
    /// What a person did by hand, and who it was.
    pub action: Option<String>,
    pub operator: Option<String>,
}

/// Most entries in one page.
const PAGE: u64 = 1000;

/// The entries from an index on. Erased records are left out.
pub fn page(read: &(impl Read + ?Sized), from: u64) -> Result<Vec<LogView>, StoreError> {
    let end = size(read)?.min(from.saturating_add(PAGE));
    let mut views = Vec::new();
    for index in from..end {
        let Some(stored) = log::record(read, index)? else { continue };
        let Ok(record) = Record::from_bytes(&stored.record) else { continue };
        let release = record.body::<Release>().ok();
        let refusal = record.body::<Refusal>().ok();
        let attempt = record.body::<AttemptRefused>().ok();
        let refusals = record.body::<Refusals>().ok();
        let by_hand = record.body::<OperatorAction>().ok();
        views.push(LogView {
            index,
            kind: record.kind.to_string(),
            time: record.time,
            request: release
                .map(|release| release.request_nonce)
                .or(refusal.as_ref().map(|refusal| refusal.request_nonce)),
            count: refusals.as_ref().map(|refusals| refusals.count),
            reason: refusal
                .map(|refusal| refusal.reason)
                .or(attempt.map(|attempt| attempt.reason))
                .or(refusals.map(|refusals| refusals.reason)),
            action: by_hand.as_ref().map(|by_hand| by_hand.action.clone()),
            operator: by_hand.map(|by_hand| by_hand.operator),
        });
    }
    Ok(views)
}

/// How many entries the log has.
pub fn size(read: &(impl Read + ?Sized)) -> Result<u64, StoreError> {
    let head: Option<LogHead> = read.read(Column::LogState, &[])?;
    Ok(head.map_or(0, |head| head.size))
}
