//! What sources report of this home's citizens, and what those are shown of it.

use consent::{
    PairState,
    access::Access,
    notices::{BatchFault, Taking, take},
};
use serde::{Deserialize, Serialize};
use trust::{CertificateKind, LeafSubject, member::Member};
use wire::{
    Signed,
    channel::{ChannelId, ChannelRefusal, ChannelReply},
    citizen::WalletQuery,
    consent::Attested,
    notice::{HistoryBatch, Notice, NoticeBatch, NoticePush, PairHistory},
};

use super::{Home, register::SubmissionError};
use crate::{
    channel_store::{channel_key, entry_key, subject_key},
    context::Fault,
    store::{Column, Read, Scan, StoreError, TypedRead},
};

/// Most notices shown at once: the newest.
const SHOWN: usize = 1000;

/// A notice, and the batch that holds its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredNotice {
    pub notice: Notice,
    /// `first` of the batch.
    pub batch: u64,
}

/// A batch as the source signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredBatch {
    pub batch: Attested,
    pub hashes: NoticeBatch,
}

impl Home {
    /// Takes a source's notices: durable when this answers.
    pub async fn take_notices(&self, from: &Member, push: NoticePush) -> ChannelReply {
        match self.keep_notices(from, push).await {
            Ok(reply) => reply,
            Err(fault) => {
                tracing::warn!(source = %from.organisation, %fault, "notices could not be kept");
                ChannelReply::Refused(ChannelRefusal::Unavailable)
            }
        }
    }

    async fn keep_notices(&self, from: &Member, push: NoticePush) -> Result<ChannelReply, Fault> {
        let context = &self.context;
        let trust = context.live_trust()?;
        let NoticePush { notices, batch: signed } = push;
        let Ok(claimed) = Signed::<NoticeBatch>::decode(&signed.object, trust.network()) else {
            return Ok(ChannelReply::Refused(ChannelRefusal::Malformed));
        };
        let channel = claimed.unverified().channel.clone();
        if channel.home != context.organisation {
            return Ok(ChannelReply::Refused(ChannelRefusal::NotMine));
        }
        if !from.owns(&channel.source) {
            return Ok(ChannelReply::Refused(ChannelRefusal::NotYours));
        }
        // With its own chain: the citizen has to be able to check it without knowing the member.
        let verified = trust::verify_signed::<NoticeBatch>(
            &signed,
            CertificateKind::Organisation,
            &trust,
            context.now().wall,
        );
        let batch = match verified {
            Ok((batch, chain)) if is_of(chain.subject(), &from.organisation) => {
                batch.into_message()
            }
            _ => return Ok(ChannelReply::Refused(ChannelRefusal::Malformed)),
        };
        let source = channel.source.clone();
        let kept = context
            .commit(move |tx| {
                let next = next_wanted(tx, &channel)?;
                let known = entry_key(&channel, batch.first);
                let known: Option<StoredBatch> = tx.read(Column::NoticeBatches, &known)?;
                let known = known.map(|known| known.hashes);
                let next = match take(&channel, &notices, &batch, next, known.as_ref()) {
                    Ok(Taking::Keep { next }) => next,
                    other => return Ok::<_, StoreError>(other),
                };
                let first = batch.first;
                for notice in notices {
                    let pair: Option<PairState> =
                        tx.read(Column::HomePairs, &subject_key(&channel, &notice.subject))?;
                    // Of people whose home this is not and never was, nothing is kept. Of one who moved,
                    // what happened before the source heard of it comes late.
                    let theirs = |pair: PairState| {
                        pair.home.as_ref() == Some(&channel.home)
                            || pair.former_homes.contains(&channel.home)
                    };
                    if pair.is_some_and(theirs) {
                        let key = subject_key(&channel, &notice.subject).u64(notice.seq);
                        tx.write(Column::Notices, key, &StoredNotice { notice, batch: first });
                    }
                }
                let stored = StoredBatch { batch: signed, hashes: batch };
                tx.write(Column::NoticeBatches, entry_key(&channel, first), &stored);
                Ok(Ok(Taking::Keep { next }))
            })
            .await??;
        Ok(match kept {
            Ok(Taking::Keep { next } | Taking::Pass { next }) => ChannelReply::Noted(next),
            Err(fault) => {
                tracing::warn!(%source, %fault, "notices were not taken");
                ChannelReply::Refused(match fault {
                    BatchFault::Forked => ChannelRefusal::Forked,
                    _ => ChannelRefusal::Malformed,
                })
            }
        })
    }

    /// What happened at a source to the citizen who asks.
    pub async fn history(&self, query: Attested) -> Result<PairHistory, SubmissionError> {
        let trust = self.context.live_trust()?;
        let query: WalletQuery = self.query(&trust, &query, Access::History)?.message;
        let channel = self.channel(&query.pair);
        let read = self.context.committer.read();
        let prefix = subject_key(&channel, &query.pair.subject);
        let scan = Scan::prefix(&prefix, SHOWN + 1).descending();
        let mut rows =
            read.scan_values::<StoredNotice>(Column::Notices, &scan).map_err(Fault::from)?;
        let older = rows.len() > SHOWN;
        rows.truncate(SHOWN);
        let mut batches: Vec<(u64, HistoryBatch)> = Vec::new();
        for (_, StoredNotice { notice, batch: first }) in rows.into_iter().rev() {
            match batches.last_mut() {
                Some((last, shown)) if *last == first => shown.notices.push(notice),
                _ => {
                    let stored: Option<StoredBatch> = read
                        .read(Column::NoticeBatches, &entry_key(&channel, first))
                        .map_err(Fault::from)?;
                    let missing =
                        || consent::StoreFault(format!("notice batch {first} is missing"));
                    let batch = stored.ok_or_else(|| Fault::Channel(missing()))?.batch;
                    batches.push((first, HistoryBatch { batch, notices: vec![notice] }));
                }
            }
        }
        let batches = batches.into_iter().map(|(_, batch)| batch).collect();
        Ok(PairHistory { batches, older })
    }
}

/// The number of the notice that this home wants next on a channel.
fn next_wanted(read: &impl Read, channel: &ChannelId) -> Result<u64, StoreError> {
    let prefix = channel_key(channel);
    let last = Scan::prefix(&prefix, 1).descending();
    let rows = read.scan_values::<StoredBatch>(Column::NoticeBatches, &last)?;
    let next = |batch: &NoticeBatch| batch.first + batch.hashes.len() as u64;
    Ok(rows.first().map_or(0, |(_, stored)| next(&stored.hashes)))
}

pub(super) fn is_of(leaf: &LeafSubject, organisation: &wire::OrganisationId) -> bool {
    matches!(leaf, LeafSubject::Organisation { organisation: of, .. } if of == organisation)
}
