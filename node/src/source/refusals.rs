//! What is written of refusals: each stands in the evidence log by itself, up to a pace; beyond it they
//! are counted durably, by source, recipient and reason, and the log is told the sums. So a recipient
//! that asks ten thousand times a second fills no disk, and every attempt of it is evidence still. A
//! citizen's home hears of all of them, by what was asked ([`super::notices`]).

use std::{sync::Arc, time::Duration};

use consent::notices::{Attempt, AttemptOutcome};
use evidence::record::{Record, Refusals};
use exchange::Authentic;
use wire::{Nonce, ReasonCode, channel::ChannelId, ids::Pair};

use super::{Source, notices};
use crate::{
    channel_store::source_pair,
    context::Fault,
    evidence_log,
    store::{Column, Key, Scan, StoreError, Transaction, TypedRead},
};

/// How many refusals of one recipient's organisation are logged apart, in the long run and at once.
pub(super) const PER_SECOND: u64 = 10;
pub(super) const BURST: u64 = 100;
/// How often the sums of the others go into the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Most sums told in one commit.
const TOLD: usize = 1024;

impl Source {
    /// Notes a refusal with its exact reason, and owes its notice to the home of the citizen, if they
    /// are known. Durable when this returns.
    pub(super) async fn note_refusal(
        &self,
        request: &Authentic,
        pair: Option<Pair>,
        reason: &'static str,
    ) -> Result<(), Fault> {
        let (now, salt) = (self.context.now(), Nonce(self.context.entropy.array()));
        let asked = request.request();
        let apart = self.refusal_rate.allows(&asked.recipient.organisation(), now.mono_ms);
        let record = apart.then(|| evidence_log::refusal(request, pair.clone(), reason, now.wall));
        let sum = Refusals {
            source: asked.source.clone(),
            recipient: asked.recipient.clone(),
            reason: reason.to_owned(),
            count: 1,
            first: now.wall,
            last: now.wall,
            last_request: request.id(),
        };
        let notice = pair.and_then(|Pair { source, subject }| {
            let outcome = AttemptOutcome::Refused(reason.parse::<ReasonCode>().ok()?);
            let (recipient, items) = (asked.recipient.clone(), asked.items.clone());
            let purpose = asked.purpose.clone();
            Some((source, Attempt { subject, recipient, items, purpose, outcome }))
        });
        let noted = self.context.commit(move |tx| {
            match record {
                Some(record) => drop(tx.log(&record)),
                None => count(tx, sum)?,
            }
            let Some((source, attempt)) = notice else { return Ok::<_, StoreError>(None) };
            let Some(home) = source_pair(tx, &source, &attempt.subject)?.home else {
                return Ok(None);
            };
            let channel = ChannelId { home, source };
            notices::note(tx, &channel, attempt, salt)?;
            Ok(Some(channel))
        });
        if let Some(channel) = noted.await?? {
            self.notices.wake(&channel);
        }
        Ok(())
    }

    /// Tells the log of what was counted, now (it may be of before a restart) and again and again.
    pub(super) async fn tell_refusals(self: Arc<Self>) {
        loop {
            match self.context.commit(tell).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "refusals that were counted cannot be read")
                }
                Err(Fault::Commit(crate::store::CommitError::Stopped)) => return,
                Err(fault) => {
                    tracing::warn!(%fault, "refusals that were counted are not logged yet")
                }
            }
            tokio::time::sleep(TOLD_EVERY).await;
        }
    }
}

fn place(sum: &Refusals) -> Key {
    Key::new().text(&sum.source).text(&sum.recipient).text(&sum.reason)
}

fn count(tx: &mut Transaction<'_>, one: Refusals) -> Result<(), StoreError> {
    let place = place(&one);
    let sum = match tx.read::<Refusals>(Column::RefusalCounts, &place)? {
        Some(before) => {
            Refusals { count: before.count.saturating_add(1), first: before.first, ..one }
        }
        None => one,
    };
    tx.write(Column::RefusalCounts, place, &sum);
    Ok(())
}

fn tell(tx: &mut Transaction<'_>) -> Result<(), StoreError> {
    let sums = tx.scan_values::<Refusals>(Column::RefusalCounts, &Scan::prefix(&[], TOLD))?;
    let now = tx.wall();
    for (place, sum) in sums {
        tx.log(&Record::new(&sum, now));
        tx.delete(Column::RefusalCounts, place);
    }
    Ok(())
}
