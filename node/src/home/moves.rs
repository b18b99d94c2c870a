//! 転出入: a pair leaves this municipality, or comes to it (`specs/04-consent.md`, "Moving"). Both calls
//! may be repeated: the same bytes are the same entry.

use std::sync::Arc;

use consent::{
    AdmittedMove, ChannelStore, CheckedExtract,
    home::{Accepted, HomeError},
    moving::{Arrival, ArrivalFault},
};
use wire::{
    OrganisationId, Pair, ServiceId, Signed,
    channel::{ChannelId, EntryKind, PairExtract},
    citizen::{MoveReply, MoveSubmission},
    consent::{Attested, Move},
    registry::MessageType,
};

use super::{
    Home,
    register::{SubmissionError, home_pair},
};
use crate::{
    channel_store::{home_rows, subject_key},
    context::Fault,
    store::{Column, Read, Scan, StoreError, Transaction, Turn, TypedRead},
};

/// What the channels of the homes before held of a pair when it came here.
pub(super) fn brought(
    read: &(impl Read + ?Sized),
    channel: &ChannelId,
    subject: &ServiceId,
) -> Result<Vec<PairExtract>, Fault> {
    let prefix = subject_key(channel, subject);
    let rows = read.scan_values(Column::BroughtExtracts, &Scan::prefix(&prefix, usize::MAX))?;
    Ok(rows.into_iter().map(|(_, extract)| extract).collect())
}

/// Keeps what was brought in the place of what was brought before.
fn keep_brought(
    tx: &mut Transaction<'_>,
    channel: &ChannelId,
    subject: &ServiceId,
    history: &[PairExtract],
) -> Result<(), StoreError> {
    let prefix = subject_key(channel, subject);
    for (key, _) in tx.scan(Column::BroughtExtracts, &Scan::prefix(&prefix, usize::MAX))? {
        tx.delete(Column::BroughtExtracts, key);
    }
    for (place, extract) in (0..).zip(history) {
        tx.write(Column::BroughtExtracts, prefix.clone().u64(place), extract);
    }
    Ok(())
}

/// How often an arrival is worked out while something else of the pair comes in.
const ATTEMPTS: usize = 3;

/// What a citizen brings to this municipality.
struct Brought {
    pair: Pair,
    from: OrganisationId,
    moving: Attested,
    history: Vec<PairExtract>,
}

impl Home {
    /// Takes a move, signed by a standing key of the pair or, where an officer certified it, by the
    /// organisation of one of the two homes: lets the pair go, or takes it over. Durable, on its way to
    /// the source, and cosigned by witnesses or said not to be, when this returns.
    pub async fn move_pair(
        &self,
        submission: MoveSubmission,
    ) -> Result<MoveReply, SubmissionError> {
        let trust = self.context.live_trust()?;
        let MoveSubmission { moving, history } = submission;
        let signed = Signed::<Move>::decode(&moving.object, trust.network())
            .map_err(consent::AdmissionError::from)?;
        let Move { pair, from, to, .. } = signed.unverified().clone();
        let us = &self.context.organisation;
        let moved = if from == *us {
            self.let_go(pair, moving, &history).await
        } else if to == *us {
            self.take_over(Brought { pair, from, moving, history }).await
        } else {
            let neither = "this municipality is neither the home left nor the home moved to";
            return Err(SubmissionError::Malformed(neither));
        };
        match moved {
            Ok(reply) => Ok(reply),
            Err(error) => self.refuse(MessageType::Move, signed.id(), error).await,
        }
    }

    async fn let_go(
        &self,
        pair: Pair,
        moving: Attested,
        history: &[PairExtract],
    ) -> Result<MoveReply, SubmissionError> {
        if !history.is_empty() {
            return Err(SubmissionError::Malformed("the home left takes the move alone"));
        }
        let trust = self.context.live_trust()?;
        let channel = self.channel(&pair);
        let (id, subject) = (channel.clone(), pair.subject);
        let placed = self
            .accept(channel.clone(), Turn::InOrder, move |home, store, run, now| {
                if let Some(entry) = home.known(store, EntryKind::MOVE_END, &subject, &moving)? {
                    return Ok(Accepted { entry, known: true });
                }
                let pair = store.pair(&subject).map_err(HomeError::from)?;
                let end = AdmittedMove::admit_end(&moving, &id, &pair, &trust, now.wall)?;
                Ok(home.accept_move_end(store, &end, run, now)?)
            })
            .await?;
        self.moved(&channel, &subject, &placed).await
    }

    async fn take_over(&self, brought: Brought) -> Result<MoveReply, SubmissionError> {
        let (channel, subject) = (self.channel(&brought.pair), brought.pair.subject);
        let brought = Arc::new(brought);
        let mut attempt = 1;
        let placed = loop {
            match self.place(&channel, &brought).await {
                // A deny came between: what was worked out is not what holds.
                Err(SubmissionError::Raced) if attempt < ATTEMPTS => attempt += 1,
                placed => break placed?,
            }
        };
        self.moved(&channel, &subject, &placed).await
    }

    /// Works out what the pair comes to here, and makes it so if nothing else came first.
    async fn place(
        &self,
        channel: &ChannelId,
        brought: &Arc<Brought>,
    ) -> Result<Accepted, SubmissionError> {
        let trust = self.context.live_trust()?;
        let subject = brought.pair.subject;
        let (held, own) = {
            let read = self.context.committer.read();
            let own = home_rows(&*read, channel, &subject).map_err(Fault::from)?;
            (home_pair(&*read, channel, &subject)?, own)
        };
        let now = self.context.now().wall;
        let (id, brought) = (channel.clone(), Arc::clone(brought));
        // A register is many signatures: not on the network's threads, nor at the commit point.
        let arrival = tokio::task::spawn_blocking(move || {
            let Brought { pair, from, moving, history } = &*brought;
            // What a home that left the trust list said was checked when the begin came.
            let vouched = trust.is_municipality(from);
            let (mut checked, mut kept) = (Vec::new(), Vec::new());
            for extract in history.iter().filter(|_| vouched) {
                let one = CheckedExtract::check(extract, pair, &trust, now)?;
                // Its own channel it has itself.
                if one.statement().channel.home != id.home {
                    kept.push(extract.clone());
                }
                checked.push(one);
            }
            let arrival = Arrival::new(&id, moving, &checked, (&held, &own), &trust, now)?;
            Ok::<_, SubmissionError>((arrival, kept))
        });
        let (arrival, kept) = arrival.await.map_err(|_| Fault::Failed)??;
        if let Some(entry) = arrival.stands() {
            return Ok(Accepted { entry: entry.clone(), known: true });
        }
        let id = channel.clone();
        self.accept(channel.clone(), Turn::InOrder, move |home, store, run, now| {
            let accepted = arrival.accept(home, store, &subject, run, now)?;
            let accepted = accepted.ok_or(SubmissionError::Raced)?;
            if !kept.is_empty() {
                keep_brought(store.tx, &id, &subject, &kept).map_err(Fault::from)?;
            }
            Ok(accepted)
        })
        .await
    }

    async fn moved(
        &self,
        channel: &ChannelId,
        subject: &ServiceId,
        placed: &Accepted,
    ) -> Result<MoveReply, SubmissionError> {
        let reply = self.reply(channel, placed).await?;
        let entry = &placed.entry.entry;
        let state = self.pair_state(channel, subject)?;
        let waits = state.waits(&channel.home, entry);
        let waits_for = state.home.filter(|_| waits);
        Ok(MoveReply { seq: entry.seq, status: reply.status, waits_for })
    }
}

impl From<ArrivalFault> for SubmissionError {
    fn from(fault: ArrivalFault) -> Self {
        match fault {
            ArrivalFault::Admission(error) => error.into(),
            ArrivalFault::AtHome => Self::Standing(fault.to_string()),
        }
    }
}

impl From<consent::ExtractFault> for SubmissionError {
    fn from(fault: consent::ExtractFault) -> Self {
        Self::Standing(fault.to_string())
    }
}
