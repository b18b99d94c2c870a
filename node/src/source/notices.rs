//! What a source owes its citizens' homes: a notice of every release and refused attempt, written in
//! the same commit as the evidence of it and kept until the home has it.

use std::sync::Arc;

use consent::{
    StoreFault,
    notices::{Attempt, Noted, NoticeStore, Outbox, Refusal},
};
use wire::{
    Nonce, ServiceId, ServiceName,
    channel::{ChannelId, ChannelRefusal, ChannelReply, ChannelRequest},
    notice::{Notice, NoticeBatch, NoticePush},
};

use crate::{
    channel_store::{channel_key, entry_key, store_fault, subject_key},
    context::{Context, Fault},
    courier::{Courier, Owed},
    net::Protocol,
    store::{Column, Key, Read, Scan, StoreError, Transaction, TypedRead},
};

/// The notices of one channel, inside a transaction.
struct Notices<'t, 'a> {
    tx: &'t mut Transaction<'a>,
    channel: ChannelId,
}

impl Notices<'_, '_> {
    fn outbox(&self) -> Result<Outbox, StoreFault> {
        let stored = self.tx.read(Column::NoticeStates, &channel_key(&self.channel));
        Ok(stored.map_err(store_fault)?.unwrap_or_else(|| Outbox::new(self.channel.clone())))
    }

    fn open_prefix(&self, subject: &ServiceId, recipient: &ServiceName) -> Key {
        subject_key(&self.channel, subject).text(recipient)
    }

    fn open_key(&self, refusal: &Refusal) -> Key {
        self.open_prefix(&refusal.subject, &refusal.recipient).fixed(&refusal.kind.0)
    }
}

impl NoticeStore for Notices<'_, '_> {
    fn notice(&self, seq: u64) -> Result<Option<Notice>, StoreFault> {
        self.tx.read(Column::NoticeOutbox, &entry_key(&self.channel, seq)).map_err(store_fault)
    }

    fn put_notice(&mut self, notice: &Notice) {
        self.tx.write(Column::NoticeOutbox, entry_key(&self.channel, notice.seq), notice);
    }

    fn drop_notice(&mut self, seq: u64) {
        self.tx.delete(Column::NoticeOutbox, entry_key(&self.channel, seq));
    }

    fn open(&self, refusal: &Refusal) -> Result<Option<u64>, StoreFault> {
        self.tx.read(Column::NoticeOpen, &self.open_key(refusal)).map_err(store_fault)
    }

    fn open_count(
        &self,
        subject: &ServiceId,
        recipient: &ServiceName,
        limit: usize,
    ) -> Result<usize, StoreFault> {
        let prefix = self.open_prefix(subject, recipient);
        let rows = self.tx.scan(Column::NoticeOpen, &Scan::prefix(&prefix, limit));
        Ok(rows.map_err(store_fault)?.len())
    }

    fn put_open(&mut self, refusal: &Refusal, seq: u64) {
        let key = self.open_key(refusal);
        self.tx.write(Column::NoticeOpen, key, &seq);
    }

    fn drop_open(&mut self, refusal: &Refusal) {
        let key = self.open_key(refusal);
        self.tx.delete(Column::NoticeOpen, key);
    }

    fn put_outbox(&mut self, outbox: &Outbox) {
        self.tx.write(Column::NoticeStates, channel_key(&self.channel), outbox);
    }
}

/// Writes a notice into the commit that writes what it is about.
pub(super) fn note(
    tx: &mut Transaction<'_>,
    channel: &ChannelId,
    attempt: Attempt,
    salt: Nonce,
) -> Result<(), StoreError> {
    let at = tx.wall();
    let mut notices = Notices { tx, channel: channel.clone() };
    let noted =
        notices.outbox().and_then(|mut outbox| outbox.note(&mut notices, attempt, salt, at));
    noted.map_err(|fault| {
        tracing::error!(%fault, "a notice could not be written");
        StoreError::Inconsistent { column: Column::NoticeOutbox, what: "a notice is not as it was" }
    })
}

/// Sends them.
pub(super) struct NoticesOwed {
    context: Arc<Context>,
}

pub(super) fn courier(context: &Arc<Context>) -> Arc<Courier<NoticesOwed>> {
    let clock = Arc::clone(&context.clock);
    Courier::new(NoticesOwed { context: Arc::clone(context) }, clock)
}

/// Takes up the channels on which notices waited when the node stopped.
pub(super) fn resume(courier: &Arc<Courier<NoticesOwed>>, context: &Context) -> Result<(), Fault> {
    let read = context.committer.read();
    let rows = read.scan_values::<Outbox>(Column::NoticeStates, &Scan::prefix(&[], usize::MAX))?;
    for (_, outbox) in rows {
        if outbox.waiting() > 0 {
            courier.wake(outbox.channel());
        }
    }
    Ok(())
}

impl NoticesOwed {
    /// Runs one step of the outbox in a commit of its own.
    async fn step<T: Send + 'static>(
        &self,
        channel: &ChannelId,
        step: impl FnOnce(&mut Outbox, &mut Notices<'_, '_>) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, Fault> {
        let channel = channel.clone();
        let done = self.context.commit(move |tx| {
            let mut notices = Notices { tx, channel };
            let mut outbox = notices.outbox()?;
            step(&mut outbox, &mut notices)
        });
        Ok(done.await??)
    }
}

impl Owed for NoticesOwed {
    type To = ChannelId;

    async fn send(&self, channel: &ChannelId) -> Result<bool, Fault> {
        let context = &self.context;
        let notices = self.step(channel, |outbox, store| outbox.batch(store)).await?;
        let Some(first) = notices.first().map(|notice| notice.seq) else { return Ok(false) };
        let hashes = notices.iter().map(Notice::hash).collect();
        let time = context.now().wall;
        let batch = NoticeBatch { channel: channel.clone(), first, hashes, time };
        let batch = context.attest(batch).await?;
        let push = ChannelRequest::Notices(NoticePush { notices, batch });
        match context.ask(&channel.home, Protocol::Channel, &push).await? {
            ChannelReply::Noted(next) => {
                match self.step(channel, move |outbox, store| outbox.noted(store, next)).await? {
                    Noted::Taken { more } => Ok(more),
                    Noted::OutOfStep => Err(Fault::Protocol),
                }
            }
            ChannelReply::Refused(ChannelRefusal::Forked) => {
                tracing::warn!(home = %channel.home, "other notices came under our numbers: renumbered");
                self.step(channel, |outbox, store| {
                    outbox.out_of_step(store);
                    Ok(())
                })
                .await?;
                Err(Fault::Refused(ChannelRefusal::Forked))
            }
            ChannelReply::Refused(refusal) => Err(Fault::Refused(refusal)),
            _ => Err(Fault::Protocol),
        }
    }
}
