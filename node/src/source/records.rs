//! The node's own record store: what the provider's system, or a citizen themself, puts in under a
//! service id, to be read only after consent.

use std::sync::Arc;

use consent::{
    access::{self, Access, NoAccess},
    vocabulary,
};
use serde::{Deserialize, Serialize};
use trust::{CertificateKind, LeafSubject};
use wire::{
    Bytes, ItemType, KeyHash, Pair, ServiceId, ServiceName, Timestamp, citizen::RecordSubmission,
    consent::Attested, limits, registry::MessageType,
};

use crate::{
    channel_store::source_pair,
    context::{Context, Fault},
    evidence_log,
    home::query::QUERY_WINDOW_MS,
    store::{Column, Key, Read, StoreError, TypedRead},
};

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("no such service at this node")]
    UnknownService,
    #[error("`{0}` is no leaf of the vocabulary")]
    UnknownItem(ItemType),
    #[error("the record is larger than {} bytes", limits::RECORD)]
    TooLarge,
    #[error("the record is not JSON")]
    NotJson,
    #[error("{0}")]
    NotAuthentic(String),
    #[error("the certificate is for another service id than the record names")]
    OtherCitizen,
    #[error("{0}")]
    Access(#[from] NoAccess),
    #[error("the submission's time differs from ours by more than 5 minutes")]
    OutOfTime,
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRecord {
    /// The JSON text that was put in.
    pub content: Bytes,
    /// The time that it is about; without one, a permit with a window never shows it.
    pub about: Option<Timestamp>,
}

pub fn record_key(service: &ServiceName, subject: &ServiceId, item: &ItemType) -> Key {
    Key::new().text(service).fixed(&subject.0).text(item)
}

/// One record, as it was put in.
pub fn record(
    read: &(impl Read + ?Sized),
    service: &ServiceName,
    subject: &ServiceId,
    item: &ItemType,
) -> Result<Option<StoredRecord>, StoreError> {
    read.read(Column::Records, &record_key(service, subject, item))
}

/// A record to be stored.
pub struct NewRecord {
    pub service: ServiceName,
    pub subject: ServiceId,
    pub item: ItemType,
    /// JSON text.
    pub content: Vec<u8>,
    /// The time that it is about.
    pub about: Option<Timestamp>,
}

/// Stores a record that the provider's own system puts in. Durable when this returns.
pub async fn put(context: &Arc<Context>, record: NewRecord) -> Result<(), RecordError> {
    store(context, record, None).await
}

/// `by`: the key of the citizen's that hands it in. Whether it may is asked in the same commit: a key
/// that just ended replaces nothing.
async fn store(
    context: &Arc<Context>,
    record: NewRecord,
    by: Option<KeyHash>,
) -> Result<(), RecordError> {
    let NewRecord { service, subject, item, content, about } = record;
    if !context.owns(&service) {
        return Err(RecordError::UnknownService);
    }
    if !vocabulary::CURRENT.is_leaf(&item) {
        return Err(RecordError::UnknownItem(item));
    }
    if content.len() > limits::RECORD {
        return Err(RecordError::TooLarge);
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(&content).map_err(|_| RecordError::NotJson)?;
    let hash = wire::sha256(&content);
    let record = StoredRecord { content: Bytes(content), about };
    context
        .commit(move |tx| {
            let now = tx.wall();
            if let Some(key) = by {
                let pair = source_pair(tx, &service, &subject).map_err(Fault::from)?;
                access::may(&pair, &key, Access::Record, now)?;
            }
            tx.write(Column::Records, record_key(&service, &subject, &item), &record);
            tx.log(&evidence_log::record_stored(&service, &subject, &item, &hash, now));
            Ok(())
        })
        .await?
}

/// Stores a record that a citizen hands in: only their own, shown by the key that signs, which has to
/// stand for the pair.
pub async fn submit(context: &Arc<Context>, submission: Attested) -> Result<(), RecordError> {
    let trust = context.live_trust()?;
    let now = context.now().wall;
    let verified = trust::verify_signed::<RecordSubmission>(
        &submission,
        CertificateKind::Service,
        &trust,
        now,
    );
    let (record, chain) = verified.map_err(|error| RecordError::NotAuthentic(error.to_string()))?;
    let id = record.id();
    let RecordSubmission { pair, item, content, time, .. } = record.into_message();
    let own = match chain.subject() {
        LeafSubject::Service { service, subject } => {
            *service == pair.source && *subject == pair.subject
        }
        _ => false,
    };
    let stored = if !own {
        Err(RecordError::OtherCitizen)
    } else if time.ms_since(now).max(now.ms_since(time)) > QUERY_WINDOW_MS {
        Err(RecordError::OutOfTime)
    } else {
        let Pair { source: service, subject } = pair;
        let record = NewRecord { service, subject, item, content: content.0, about: Some(time) };
        store(context, record, Some(chain.key())).await
    };
    if let Err(error @ (RecordError::OtherCitizen | RecordError::Access(_))) = &stored {
        let (what, reason) = (MessageType::RecordSubmission, error.to_string());
        tracing::info!(%what, %reason, "a submission was refused");
        context.log_attempt(evidence_log::attempt_refused(what, id, &reason, now)).await?;
    }
    stored
}
