//! The node's own record store: what the provider's system, or a citizen themself, puts in under a
//! service id, to be read only after consent.

use std::sync::Arc;

use consent::vocabulary;
use serde::{Deserialize, Serialize};
use trust::{CertificateKind, LeafSubject};
use wire::{
    Bytes, ItemType, ServiceId, ServiceName, Timestamp, citizen::RecordSubmission,
    consent::Attested, limits, registry::MessageType,
};

use crate::{
    context::{Context, Fault},
    evidence_log,
    home::register::QUERY_WINDOW_MS,
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

/// Stores a record that the provider's own system puts in. Durable when this returns.
pub async fn put(
    context: &Arc<Context>,
    service: ServiceName,
    subject: ServiceId,
    item: ItemType,
    content: Vec<u8>,
    about: Option<Timestamp>,
) -> Result<(), RecordError> {
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
    let committed = context
        .commit(move |tx| {
            tx.write(Column::Records, record_key(&service, &subject, &item), &record);
            let now = tx.wall();
            tx.log(&evidence_log::record_stored(&service, &subject, &item, &hash, now));
            Ok::<_, std::convert::Infallible>(())
        })
        .await?;
    match committed {
        Ok(()) => Ok(()),
    }
}

/// Stores a record that a citizen hands in: only their own, shown by the key that signs.
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
    if !own {
        let error = RecordError::OtherCitizen;
        tracing::info!(what = %MessageType::RecordSubmission, reason = %error, "a submission was refused");
        context
            .log_attempt(evidence_log::attempt_refused(
                MessageType::RecordSubmission,
                id,
                &error.to_string(),
                now,
            ))
            .await?;
        return Err(error);
    }
    if time.ms_since(now).max(now.ms_since(time)) > QUERY_WINDOW_MS {
        return Err(RecordError::OutOfTime);
    }
    put(context, pair.source, pair.subject, item, content.0, Some(time)).await
}
