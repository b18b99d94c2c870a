//! Notices of releases and refused attempts, at both ends: a source owes them to the citizen's home
//! and keeps them until the home has them; a home takes each once, in order, from the source alone.
//!
//! What lies waiting is bounded: the same refusal again is counted, not kept again, and beyond
//! [`KINDS`] different ones of one recipient about one citizen they are counted together. A batch
//! that was sent is never changed any more, so that sending it again is sending the same.

use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, Hash, ItemType, Nonce, Purpose, ReasonCode, ServiceId, ServiceName, Timestamp,
    channel::ChannelId,
    limits,
    notice::{Notice, NoticeBatch, NoticeOutcome},
};

use crate::store::StoreFault;

/// Most different refusals of one recipient about one citizen that wait apart.
pub const KINDS: usize = 64;
/// No channel numbers further: numbers are added to without a check.
const LAST_SEQ: u64 = 1 << 53;

/// Where a channel's notices stand at the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    channel: ChannelId,
    /// The home has everything before this place.
    noted: u64,
    /// Everything before was in a batch that was made: it may be on its way, and is not changed.
    sealed: u64,
    /// The place of the next notice.
    next: u64,
    /// A notice's number, as the home knows it, less its place here: not 0 once the two were out of
    /// step.
    #[serde(default)]
    shift: i64,
}

/// What happened, as the source saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub subject: ServiceId,
    pub recipient: ServiceName,
    pub items: Vec<ItemType>,
    pub purpose: Purpose,
    pub outcome: AttemptOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    Released { request: Hash, permits: Vec<DecisionId> },
    Refused(ReasonCode),
}

/// Under what a refusal that still waits is found again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    pub subject: ServiceId,
    pub recipient: ServiceName,
    /// Hash of what was asked for and why it was refused.
    pub kind: Hash,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The home has it; `more` waits.
    Taken { more: bool },
    /// Nothing was taken: a failure like any other, after which a pause comes.
    OutOfStep,
}

/// What a source keeps of one channel's notices.
pub trait NoticeStore {
    fn notice(&self, seq: u64) -> Result<Option<Notice>, StoreFault>;
    fn put_notice(&mut self, notice: &Notice);
    fn drop_notice(&mut self, seq: u64);
    /// Where a refusal waits that may still be counted up.
    fn open(&self, refusal: &Refusal) -> Result<Option<u64>, StoreFault>;
    /// How many of them wait of this recipient about this citizen; `limit` at most.
    fn open_count(
        &self,
        subject: &ServiceId,
        recipient: &ServiceName,
        limit: usize,
    ) -> Result<usize, StoreFault>;
    fn put_open(&mut self, refusal: &Refusal, seq: u64);
    fn drop_open(&mut self, refusal: &Refusal);
    fn put_outbox(&mut self, outbox: &Outbox);
}

impl Outbox {
    pub fn new(channel: ChannelId) -> Self {
        Self { channel, noted: 0, sealed: 0, next: 0, shift: 0 }
    }

    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// How many notices the home has not got.
    pub fn waiting(&self) -> u64 {
        self.next - self.noted
    }

    /// Writes down what happened, to be told to the home. `salt` is fresh.
    pub fn note(
        &mut self,
        store: &mut dyn NoticeStore,
        attempt: Attempt,
        salt: Nonce,
        at: Timestamp,
    ) -> Result<(), StoreFault> {
        let Attempt { subject, recipient, items, purpose, outcome } = attempt;
        let notice = |seq, items, purpose, outcome| Notice {
            seq,
            subject,
            recipient: recipient.clone(),
            items,
            purpose,
            first: at,
            last: at,
            count: 1,
            outcome,
            salt,
        };
        let reason = match outcome {
            AttemptOutcome::Released { request, permits } => {
                let outcome = NoticeOutcome::Released { request, permits };
                self.append(store, &notice(self.next, items, Some(purpose), outcome));
                return Ok(());
            }
            AttemptOutcome::Refused(reason) => reason,
        };
        let mut refused =
            notice(self.next, items, Some(purpose), NoticeOutcome::Refused(reason.clone()));
        if self.count_up(store, &refused, at)? {
            return Ok(());
        }
        if store.open_count(&refused.subject, &refused.recipient, KINDS)? >= KINDS {
            // Made different to fill the disk, or to hide one among many: how often and why stays.
            refused.items = Vec::new();
            refused.purpose = None;
            if self.count_up(store, &refused, at)? {
                return Ok(());
            }
        }
        store.put_open(&refusal(&refused), refused.seq);
        self.append(store, &refused);
        Ok(())
    }

    /// Counts the same refusal up, if it waits.
    fn count_up(
        &self,
        store: &mut dyn NoticeStore,
        again: &Notice,
        at: Timestamp,
    ) -> Result<bool, StoreFault> {
        let Some(seq) = store.open(&refusal(again))? else { return Ok(false) };
        let mut waiting = missing(store.notice(seq)?, seq)?;
        waiting.count = waiting.count.saturating_add(1);
        waiting.last = waiting.last.max(at);
        store.put_notice(&waiting);
        Ok(true)
    }

    fn append(&mut self, store: &mut dyn NoticeStore, notice: &Notice) {
        self.next += 1;
        store.put_notice(notice);
        store.put_outbox(self);
    }

    /// The next batch: the one that may be on its way already, or else what waits, which from then
    /// on is not changed. Empty if nothing waits.
    pub fn batch(&mut self, store: &mut dyn NoticeStore) -> Result<Vec<Notice>, StoreFault> {
        let again = self.sealed > self.noted;
        let end =
            if again { self.sealed } else { self.next.min(self.noted + limits::NOTICES as u64) };
        let mut notices = Vec::new();
        for place in self.noted..end {
            let notice = missing(store.notice(place)?, place)?;
            if !again {
                close(store, &notice);
            }
            notices.push(Notice { seq: self.number(place), ..notice });
        }
        if self.sealed != end {
            self.sealed = end;
            store.put_outbox(self);
        }
        Ok(notices)
    }

    /// The home says which notice it wants next. If that is not the end of the batch, the two are out
    /// of step (one of them was restored from a backup): what waits is numbered anew from there. Rather
    /// twice than never.
    pub fn noted(&mut self, store: &mut dyn NoticeStore, next: u64) -> Result<Noted, StoreFault> {
        if next != self.number(self.sealed) {
            if next < LAST_SEQ {
                self.number_from(store, next);
            }
            return Ok(Noted::OutOfStep);
        }
        for place in self.noted..self.sealed {
            store.drop_notice(place);
        }
        self.noted = self.sealed;
        store.put_outbox(self);
        Ok(Noted::Taken { more: self.next > self.noted })
    }

    /// The home has other notices under these numbers: those that wait get higher ones.
    pub fn out_of_step(&mut self, store: &mut dyn NoticeStore) {
        self.number_from(store, self.number(self.sealed));
    }

    fn number(&self, place: u64) -> u64 {
        place.wrapping_add_signed(self.shift)
    }

    /// Gives what waits other numbers, from the first on: they lie in new batches from here.
    fn number_from(&mut self, store: &mut dyn NoticeStore, first: u64) {
        // Both below 2^54: neither can be wider than the difference holds.
        self.shift = first.wrapping_sub(self.noted).cast_signed();
        self.sealed = self.noted;
        store.put_outbox(self);
    }
}

fn close(store: &mut dyn NoticeStore, notice: &Notice) {
    if matches!(notice.outcome, NoticeOutcome::Refused(_)) {
        store.drop_open(&refusal(notice));
    }
}

fn refusal(notice: &Notice) -> Refusal {
    let kind = wire::cbor::to_vec(&(&notice.items, &notice.purpose, &notice.outcome));
    Refusal {
        subject: notice.subject,
        recipient: notice.recipient.clone(),
        kind: wire::sha256(&kind),
    }
}

fn missing(notice: Option<Notice>, seq: u64) -> Result<Notice, StoreFault> {
    notice.ok_or_else(|| StoreFault(format!("notice {seq} is missing")))
}

/// Why a home does not take a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    #[error("the batch is for another channel")]
    OtherChannel,
    #[error("the batch holds none or too many notices, or does not match them")]
    Mismatch,
    #[error("a notice is not in its form")]
    Form,
    #[error("other notices came under these numbers")]
    Forked,
}

/// What a home does with a batch that holds in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// Keep it; the next one wanted is given.
    Keep { next: u64 },
    /// It is there already, or lies beyond a gap: nothing is kept, and the next one wanted is told.
    Pass { next: u64 },
}

/// Judges a batch whose signature was checked. `next` is the number of the notice this home wants
/// next on the channel; `known` the batch it has from before that begins where this one does.
pub fn take(
    channel: &ChannelId,
    notices: &[Notice],
    batch: &NoticeBatch,
    next: u64,
    known: Option<&NoticeBatch>,
) -> Result<Taking, BatchFault> {
    if batch.channel != *channel {
        return Err(BatchFault::OtherChannel);
    }
    let counted = (1..=limits::NOTICES).contains(&notices.len())
        && notices.len() == batch.hashes.len()
        && batch.first < LAST_SEQ;
    if !counted {
        return Err(BatchFault::Mismatch);
    }
    for (seq, (notice, hash)) in (batch.first..).zip(notices.iter().zip(&batch.hashes)) {
        if notice.seq != seq || notice.hash() != *hash {
            return Err(BatchFault::Mismatch);
        }
        if !in_form(notice) {
            return Err(BatchFault::Form);
        }
    }
    if batch.first == next {
        return Ok(Taking::Keep { next: next + notices.len() as u64 });
    }
    if batch.first < next && known.is_none_or(|known| known.hashes != batch.hashes) {
        return Err(BatchFault::Forked);
    }
    Ok(Taking::Pass { next })
}

fn in_form(notice: &Notice) -> bool {
    let sorted = |items: &[ItemType]| items.windows(2).all(|pair| pair[0] < pair[1]);
    let outcome = match &notice.outcome {
        NoticeOutcome::Released { permits, .. } => {
            (1..=limits::ITEMS).contains(&permits.len())
                && permits.windows(2).all(|pair| pair[0] < pair[1])
                && notice.count == 1
                && notice.purpose.is_some()
                && !notice.items.is_empty()
        }
        // Either what was asked for, or the sum of many.
        NoticeOutcome::Refused(_) => notice.purpose.is_some() != notice.items.is_empty(),
    };
    outcome
        && notice.items.len() <= RELEASED_ITEMS
        && sorted(&notice.items)
        && notice.count > 0
        && notice.first <= notice.last
}

/// Most items of one notice: a release names leaves, of which a request's categories may have more
/// than it has items.
const RELEASED_ITEMS: usize = 4 * limits::ITEMS;

#[cfg(test)]
mod tests;
