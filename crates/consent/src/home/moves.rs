//! A pair leaves this home, or comes to it.

use trust::Trust;
use wire::{
    Now, ServiceId, Timestamp, cbor,
    channel::{ChannelId, Entry, EntryKind},
    consent::{Attested, Scope},
    limits,
};

use super::{Accepted, HomeChannel, HomeError};
use crate::{
    admission::AdmittedMove,
    lease::Run,
    pair::PairState,
    source::{absorb, close_all},
    store::{HomeEntry, HomeStore},
};

/// Lets the register that a citizen brings from the home before act on what this home already holds of
/// the pair. Its entries prove themselves; that none is missing they do not: the source, which has the
/// old channel whole, decides.
pub fn adopt(
    old: &ChannelId,
    mut pair: PairState,
    register: &[Entry],
    trust: &Trust,
    at: Timestamp,
) -> PairState {
    for entry in register {
        absorb(old, &mut pair, entry, &entry.hash(), trust, at);
    }
    pair
}

impl HomeChannel {
    /// Lets the pair go to another home. What comes after it here is relayed denies only.
    pub fn accept_move_end(
        &mut self,
        store: &mut dyn HomeStore,
        end: &AdmittedMove,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let subject = end.moving().pair.subject;
        let mut pair = store.pair(&subject)?;
        pair.apply_move_end(end);
        let (kind, body) = (EntryKind::MOVE_END, end.submission());
        self.append(store, kind, subject, Scope::EVERYTHING, body, None, pair, run, now)
    }

    /// Takes a pair over. `pair` is what [`adopt`] made of the register that the citizen brought.
    pub fn accept_move_begin(
        &mut self,
        store: &mut dyn HomeStore,
        begin: &AdmittedMove,
        mut pair: PairState,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let subject = begin.moving().pair.subject;
        let entry = self.next_entry(EntryKind::MOVE_BEGIN, subject, begin.submission(), now);
        // A begin that waited acts with this one, at the source as here, and before it.
        let waited = pair.waiting.remove(&self.id.home).unwrap_or_default();
        let let_go = pair.home.as_ref() == Some(&begin.moving().to);
        pair.apply_move_begin(begin);
        if !let_go {
            close_all(&self.id, &mut pair, waited.first().unwrap_or(&entry));
        }
        pair.forget_over(now.wall);
        store.put_pair(&subject, &pair);
        let entry = self.append_entry(store, entry, None, run, now)?;
        Ok(Accepted { entry, known: false })
    }

    /// Takes a pair whose home has not let go: the begin waits, here and at the source, and until it
    /// acts this home takes denies only. `pair` as for [`Self::accept_move_begin`].
    pub fn accept_early_begin(
        &mut self,
        store: &mut dyn HomeStore,
        begin: &AdmittedMove,
        mut pair: PairState,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        if self.waiting.len() >= limits::WAITING_ENTRIES {
            return Err(HomeError::TooManyWaiting(self.waiting.len()));
        }
        let subject = begin.moving().pair.subject;
        let entry = self.next_entry(EntryKind::MOVE_BEGIN, subject, begin.submission(), now);
        self.waiting.insert(entry.seq);
        pair.waiting.entry(self.id.home.clone()).or_default().push(entry.clone());
        store.put_pair(&subject, &pair);
        let entry = self.append_entry(store, entry, None, run, now)?;
        Ok(Accepted { entry, known: false })
    }

    /// The entry that holds these very signed bytes, if this channel has it: a move handed in again.
    pub fn known(
        &self,
        store: &dyn HomeStore,
        kind: EntryKind,
        subject: &ServiceId,
        submission: &Attested,
    ) -> Result<Option<HomeEntry>, HomeError> {
        let body = cbor::to_vec(submission);
        self.find(store, subject, |row| row.holds(kind, &body))
    }
}
