//! The consent register (同意台帳): what wallets hand in, and what they read back.

use consent::{
    AdmissionError, AdmittedCollapse, AdmittedKeyBegin, AdmittedKeyEnd, ChannelStore, HomeEntry,
    PairState, Run,
    access::{Access, NoAccess},
    admission::ReadDecision,
    home::{Accepted, HomeChannel, HomeError, collapse_due, in_force, in_force_for},
};
use wire::{
    Now, OrganisationId, ServiceId, Signed,
    channel::{ChannelId, ChannelReply, ChannelRequest, EntryKind, HeadStatement},
    citizen::{DecisionReply, InForce, PairRegister, RegisterEntry, WalletQuery},
    consent::{Attested, Collapse, KeyBegin, KeyEnd},
    ids::Pair,
    registry::MessageType,
};

use super::{Home, channels::load_channel, moves, phones, status};
use crate::{
    channel_store::{HomeChannelStore, StoredMap, channel_key, entry_key, home_rows, subject_key},
    context::Fault,
    evidence_log,
    net::Protocol,
    store::{Column, Read, Transaction, Turn, TypedRead},
};

const STALE: &str =
    "a key of this phone was ended since its proofing: another phone has to approve";

/// Why something handed in was not taken. The text names what is wrong and nobody.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    #[error("{0}")]
    Standing(String),
    #[error("the pair's home is {0}, which takes its permits and keys")]
    OtherHome(OrganisationId),
    #[error("something else was handed in for the pair at the same time; hand this in again")]
    Raced,
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the request's time differs from ours by more than 5 minutes")]
    OutOfTime,
    #[error("the certificate is for another service id than the request names")]
    OtherCitizen,
    #[error("{0}")]
    Access(#[from] NoAccess),
    #[error("{0}")]
    Unknown(&'static str),
    #[error("the decision is durable here and on its way; the source is not bound by it yet")]
    NotYet,
    #[error("the decision is durable here; too few witnesses have cosigned that yet")]
    NotCosigned,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<HomeError> for SubmissionError {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Store(fault) => Self::Fault(fault.into()),
            HomeError::OtherHome(home) => Self::OtherHome(home),
            error => Self::Standing(error.to_string()),
        }
    }
}

impl SubmissionError {
    /// Whether it was rightly made and refused for what it says: such attempts are logged.
    fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Fault(_)
                | Self::Malformed(_)
                | Self::Raced
                | Self::Admission(AdmissionError::Envelope(_))
        )
    }
}

/// Which pair a signed change of keys is about.
trait About: wire::Message {
    fn pair(&self) -> &Pair;
}

impl About for KeyBegin {
    fn pair(&self) -> &Pair {
        &self.pair
    }
}

impl About for KeyEnd {
    fn pair(&self) -> &Pair {
        &self.pair
    }
}

/// What a home holds of one pair.
pub(super) fn home_pair(
    read: &(impl Read + ?Sized),
    channel: &ChannelId,
    subject: &ServiceId,
) -> Result<PairState, Fault> {
    Ok(read.read(Column::HomePairs, &subject_key(channel, subject))?.unwrap_or_default())
}

impl Home {
    /// Takes a decision: when this returns it is durable, on its way to the source, and cosigned by
    /// witnesses, or the reply says that they have not answered in time.
    pub async fn decide(&self, submission: Attested) -> Result<DecisionReply, SubmissionError> {
        let trust = self.context.live_trust()?;
        let read = ReadDecision::read(&submission, trust.network())?;
        let (pair, id) = (read.claimed_pair().clone(), read.id());
        let channel = self.channel(&pair);
        let state = self.pair_state(&channel, &pair.subject)?;
        let admitted = match read.admit(&state, &trust, self.context.now().wall) {
            Ok(admitted) => admitted,
            Err(error) => {
                return self.refuse(MessageType::Decision, wire::Hash(id.0), error.into()).await;
            }
        };
        if admitted.is_deny() && !state.is_home(&channel.home) {
            // Another municipality's citizen: the source has to hear of it, and through the source
            // the pair's own home. If it cannot now, the deny goes through our own channel, later.
            match self.relay(&pair, id, submission).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => {
                    tracing::info!(source = %pair.source, %fault, "a deny was not relayed")
                }
            }
        }
        let is_deny = admitted.is_deny();
        let turn = if is_deny { Turn::First } else { Turn::InOrder };
        let accepted = self
            .accept(channel.clone(), turn, move |home, store, run, now| {
                Ok(home.accept_decision(store, &admitted, run, now)?)
            })
            .await;
        match accepted {
            Ok(accepted) => {
                self.context.metrics.decisions_accepted.inc();
                if is_deny {
                    self.collapse_or_warn(&channel, &pair.subject).await;
                }
                self.reply(&channel, &accepted).await
            }
            Err(error) => self.refuse(MessageType::Decision, wire::Hash(id.0), error).await,
        }
    }

    /// Collapses the denies of a pair as long as there are more than the cap.
    pub(super) async fn collapse_or_warn(&self, channel: &ChannelId, subject: &ServiceId) {
        loop {
            match self.collapse(channel, subject).await {
                Ok(true) => {}
                Ok(false) => return,
                // The denies are accepted all the same; the next one tries again.
                Err(error) => {
                    let source = &channel.source;
                    return tracing::warn!(%source, %error, "denies were not collapsed");
                }
            }
        }
    }

    /// One collapse, if one is due; says whether it was.
    async fn collapse(
        &self,
        channel: &ChannelId,
        subject: &ServiceId,
    ) -> Result<bool, SubmissionError> {
        let now = self.context.now().wall;
        let state = self.pair_state(channel, subject)?;
        let due = collapse_due(&state, now).filter(|_| state.is_home(&channel.home));
        let Some(denies) = due else { return Ok(false) };
        let collapse = Collapse { channel: channel.clone(), subject: *subject, denies, time: now };
        let submission = self.context.attest(collapse).await?;
        let trust = self.context.live_trust()?;
        let (id, subject) = (channel.clone(), *subject);
        let job = move |home: &mut HomeChannel,
                        store: &mut HomeChannelStore<'_, '_>,
                        run: &Run,
                        now: Now| {
            let pair = store.pair(&subject).map_err(HomeError::from)?;
            let collapse = AdmittedCollapse::admit(&submission, &id, &pair, &trust, now.wall)?;
            // Another deny, accepted at the same time, may have brought them into a list already: one
            // list of them is enough, and a second would only be another name for the same.
            if !collapse.collapse().denies.iter().all(|id| pair.denies.contains_key(id)) {
                return Err(SubmissionError::Raced);
            }
            Ok(home.accept_collapse(store, &collapse, run, now)?)
        };
        match self.accept(channel.clone(), Turn::InOrder, job).await {
            // Meanwhile: whether one is due still, the next look says.
            Ok(_) | Err(SubmissionError::Raced) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Hands a deny on to its source, where it holds once that has said so.
    async fn relay(
        &self,
        pair: &Pair,
        decision: wire::DecisionId,
        deny: Attested,
    ) -> Result<DecisionReply, Fault> {
        let source = pair.source.organisation();
        let message = ChannelRequest::Relay(deny);
        match self.context.ask(&source, Protocol::Channel, &message).await? {
            ChannelReply::Relayed(effect) => {
                let status = InForce::Acknowledged(self.context.now().wall);
                Ok(DecisionReply { decision, seq: None, status, effect: Some(effect) })
            }
            ChannelReply::Durable => {
                let status = InForce::Durable;
                Ok(DecisionReply { decision, seq: None, status, effect: None })
            }
            ChannelReply::Refused(refusal) => Err(Fault::Refused(refusal)),
            _ => Err(Fault::Protocol),
        }
    }

    /// Takes a key-begin or key-end that a standing key of the pair signed. Who may approve is asked
    /// inside the commit: of two phones that end each other only one can.
    pub async fn change_key(&self, submission: Attested) -> Result<DecisionReply, SubmissionError> {
        let trust = self.context.live_trust()?;
        if let Ok(begin) = Signed::<KeyBegin>::decode(&submission.object, trust.network()) {
            let pair = begin.unverified().pair.clone();
            let channel = self.channel(&pair);
            return match self.accept_begin(pair, submission, None, |_| {}).await {
                Ok(accepted) => self.reply(&channel, &accepted).await,
                Err(error) => {
                    let (id, error) = (begin.id(), self.redirected(&channel, begin, error)?);
                    self.refuse(MessageType::KeyBegin, id, error).await
                }
            };
        }
        let end = Signed::<KeyEnd>::decode(&submission.object, trust.network())
            .map_err(|_| SubmissionError::Malformed("neither a key-begin nor a key-end"))?;
        let pair = end.unverified().pair.clone();
        let channel = self.channel(&pair);
        match self.accept_end(pair, submission, |_| {}).await {
            Ok(accepted) => self.reply(&channel, &accepted).await,
            Err(error) => {
                let (id, error) = (end.id(), self.redirected(&channel, end, error)?);
                self.refuse(MessageType::KeyEnd, id, error).await
            }
        }
    }

    /// Who holds a key of a pair whose home is another is told which, instead of that nobody may say
    /// this here.
    fn redirected<M: About>(
        &self,
        channel: &ChannelId,
        signed: Signed<M>,
        error: SubmissionError,
    ) -> Result<SubmissionError, Fault> {
        if !matches!(error, SubmissionError::Admission(AdmissionError::NotEntitled)) {
            return Ok(error);
        }
        let state = self.pair_state(channel, &signed.unverified().pair().subject)?;
        let key = state.keys.get(&signed.key()).map(|key| key.public_key);
        let theirs = key.is_some_and(|key| signed.verify(&key).is_ok());
        Ok(match state.home {
            Some(home) if theirs && home != channel.home => SubmissionError::OtherHome(home),
            _ => error,
        })
    }

    /// Begins a key that this home itself approves, after fresh proofing of the phone with `id_key`. One
    /// that had begun before stays as it is.
    pub(super) async fn begin_key(
        &self,
        begin: KeyBegin,
        key: &wire::KeyHash,
        id_key: wire::KeyHash,
    ) -> Result<(), SubmissionError> {
        let pair = begin.pair.clone();
        if self.pair_state(&self.channel(&pair), &pair.subject)?.keys.contains_key(key) {
            return Ok(());
        }
        let submission = self.context.attest(begin).await?;
        self.accept_begin(pair, submission, Some(id_key), |_| {}).await.map(drop)
    }

    /// `fresh`: the ID key on whose fresh proofing the home approves the key by itself. `also` is written
    /// with it, or not at all.
    pub(super) async fn accept_begin(
        &self,
        pair: Pair,
        submission: Attested,
        fresh: Option<wire::KeyHash>,
        also: impl FnOnce(&mut Transaction<'_>) + Send + 'static,
    ) -> Result<Accepted, SubmissionError> {
        let trust = self.context.live_trust()?;
        let channel = self.channel(&pair);
        let id = channel.clone();
        self.accept(channel, Turn::InOrder, move |home, store, run, now| {
            if let Some(id_key) = fresh
                && phones::is_stale(store.tx, &id_key).map_err(Fault::from)?
            {
                return Err(SubmissionError::Standing(STALE.to_owned()));
            }
            let state = store.pair(&pair.subject).map_err(HomeError::from)?;
            let begin = AdmittedKeyBegin::admit(&submission, &id, &state, &trust, now.wall)?;
            let accepted = home.accept_key_begin(store, &begin, run, now)?;
            also(store.tx);
            Ok(accepted)
        })
        .await
    }

    /// Ends a key, and revokes its certificate if this home's CA issued it.
    pub(super) async fn accept_end(
        &self,
        pair: Pair,
        submission: Attested,
        also: impl FnOnce(&mut Transaction<'_>) + Send + 'static,
    ) -> Result<Accepted, SubmissionError> {
        let trust = self.context.live_trust()?;
        let channel = self.channel(&pair);
        let id = channel.clone();
        let desk = self.desk.clone();
        self.accept(channel, Turn::InOrder, move |home, store, run, now| {
            let state = store.pair(&pair.subject).map_err(HomeError::from)?;
            let end = AdmittedKeyEnd::admit(&submission, &id, &state, &trust, now.wall)?;
            let accepted = home.accept_key_end(store, &end, run, now)?;
            let KeyEnd { pair, key, .. } = end.end();
            status::revoke_ended(store.tx, pair, key, now.wall).map_err(Fault::from)?;
            phones::note_ended(store.tx, desk.as_deref(), pair, key).map_err(Fault::from)?;
            also(store.tx);
            Ok(accepted)
        })
        .await
    }

    /// The register of one pair, for whoever holds a key certified for it.
    pub async fn register(&self, query: Attested) -> Result<PairRegister, SubmissionError> {
        let trust = self.context.live_trust()?;
        let query: WalletQuery = self.query(&trust, &query, Access::Register)?.message;
        self.shown(&self.channel(&query.pair), &query.pair.subject).await
    }

    /// The register of one pair: for the citizen, or for the home that they move to.
    pub(super) async fn shown(
        &self,
        channel: &ChannelId,
        subject: &ServiceId,
    ) -> Result<PairRegister, SubmissionError> {
        let (channel, subject, at) = (channel.clone(), *subject, self.context.now());
        let (head, brought, entries, map_proof, end) = {
            let read = self.context.committer.read();
            let home = self.home_channel(&*read, &channel)?;
            let state = home_pair(&*read, &channel, &subject)?;
            let listed = |row: HomeEntry| {
                let status = self.status(&*read, &row, &home, &state, at)?;
                Ok(RegisterEntry { decision: row.decision, status, entry: row.entry })
            };
            let rows = home_rows(&*read, &channel, &subject).map_err(Fault::from)?;
            let end = rows.iter().rfind(|row| row.entry.kind == EntryKind::MOVE_END);
            let end = end.map(|end| self.record_of(&*read, &channel, end)).transpose()?;
            let entries = rows.into_iter().map(listed).collect::<Result<Vec<_>, Fault>>()?;
            let map = StoredMap::of_home(&*read, &channel);
            let map_proof = evidence::map::prove(&map, &wire::Hash(subject.0))
                .map_err(|damaged| Fault::Channel(consent::StoreFault(damaged.to_string())))?;
            (*home.head(), moves::brought(&*read, &channel, &subject)?, entries, map_proof, end)
        };
        // A home put back to before it let go would grant leases for the pair beside the new one: the new
        // one hears of the end only once the witnesses have.
        if let Some(end) = end
            && !self.context.cosigned(end).await
        {
            return Err(SubmissionError::NotCosigned);
        }
        let statement = HeadStatement { channel, head, time: at.wall };
        let statement = self.context.attest(statement).await?;
        Ok(PairRegister { brought, entries, statement, map_proof })
    }

    fn home_channel(
        &self,
        read: &(impl Read + ?Sized),
        channel: &ChannelId,
    ) -> Result<HomeChannel, Fault> {
        let stored = read.read(Column::HomeChannels, &channel_key(channel))?;
        let new = || HomeChannel::new(self.context.trust().network(), channel.clone());
        Ok(stored.unwrap_or_else(new))
    }

    pub(super) fn channel(&self, pair: &Pair) -> ChannelId {
        ChannelId { home: self.context.organisation.clone(), source: pair.source.clone() }
    }

    pub(super) fn pair_state(
        &self,
        channel: &ChannelId,
        subject: &ServiceId,
    ) -> Result<PairState, Fault> {
        home_pair(&*self.context.committer.read(), channel, subject)
    }

    /// Runs one of the channel's `accept_…` at the commit point, logs it, and wakes the pusher.
    pub(super) async fn accept(
        &self,
        channel: ChannelId,
        turn: Turn,
        job: impl FnOnce(
            &mut HomeChannel,
            &mut HomeChannelStore<'_, '_>,
            &Run,
            wire::Now,
        ) -> Result<Accepted, SubmissionError>
        + Send
        + 'static,
    ) -> Result<Accepted, SubmissionError> {
        let network = *self.context.trust().network();
        let (id, run) = (channel.clone(), self.run);
        let job = move |tx: &mut Transaction<'_>| {
            let mut home = load_channel(tx, &network, &id).map_err(HomeError::from)?;
            let now = tx.now();
            let mut store = HomeChannelStore { tx, channel: id.clone() };
            let accepted = job(&mut home, &mut store, &run, now)?;
            if !accepted.known {
                log_accepted(tx, &id, &accepted.entry);
            }
            tx.hurry_checkpoint();
            Ok::<_, SubmissionError>(accepted)
        };
        let accepted = self.context.commit_at(turn, job).await??;
        self.pusher.wake(&channel);
        Ok(accepted)
    }

    /// Logs why something rightly made was not taken, and gives the error on.
    pub(super) async fn refuse<T>(
        &self,
        what: MessageType,
        id: wire::Hash,
        error: SubmissionError,
    ) -> Result<T, SubmissionError> {
        if error.is_refusal() {
            let now = self.context.now().wall;
            tracing::info!(%what, reason = %error, "a submission was refused");
            self.context
                .log_attempt(evidence_log::attempt_refused(what, id, &error.to_string(), now))
                .await?;
        }
        Err(error)
    }

    /// Whether an entry is in force, as this home knows it: the one answer of replies, receipts and
    /// the register.
    pub(super) fn standing(
        &self,
        channel: &ChannelId,
        entry: &HomeEntry,
    ) -> Result<InForce, Fault> {
        let read = self.context.committer.read();
        let home = self.home_channel(&*read, channel)?;
        let state = home_pair(&*read, channel, &entry.entry.subject)?;
        self.status(&*read, entry, &home, &state, self.context.now())
    }

    fn status(
        &self,
        read: &(impl Read + ?Sized),
        entry: &HomeEntry,
        home: &HomeChannel,
        state: &PairState,
        now: Now,
    ) -> Result<InForce, Fault> {
        let us = &self.context.organisation;
        let status = in_force_for(state, us, in_force(entry, home, &self.run, now));
        Ok(match status {
            InForce::Unreadable(_) => status,
            // What a lost disk could make this home forget is not promised.
            _ if !self.context.is_cosigned(self.record_of(read, home.id(), entry)?) => {
                InForce::Durable
            }
            status => status,
        })
    }

    /// The leaf of the evidence log that says that an entry is accepted; for an entry from before that
    /// was noted, the last one there is.
    fn record_of(
        &self,
        read: &(impl Read + ?Sized),
        channel: &ChannelId,
        entry: &HomeEntry,
    ) -> Result<u64, Fault> {
        let key = entry_key(channel, entry.entry.seq);
        self.context.covering(read.read(Column::HomeEntryRecords, &key)?)
    }

    /// The push is under way: only the acknowledgement waits for witnesses.
    pub(super) async fn reply(
        &self,
        channel: &ChannelId,
        accepted: &Accepted,
    ) -> Result<DecisionReply, SubmissionError> {
        let entry = &accepted.entry;
        let id = entry.decision.unwrap_or(wire::DecisionId(entry.entry.hash().0));
        let record = self.record_of(&*self.context.committer.read(), channel, entry)?;
        self.context.cosigned(record).await;
        let status = self.standing(channel, entry)?;
        Ok(DecisionReply { decision: id, seq: Some(entry.entry.seq), status, effect: None })
    }
}

/// Logs that an entry is accepted, and notes where: until witnesses have cosigned that leaf, the entry
/// is told as durable and no more.
pub(super) fn log_accepted(tx: &mut Transaction<'_>, channel: &ChannelId, entry: &HomeEntry) {
    let index = tx.log(&evidence_log::accepted(channel, entry, tx.wall()));
    tx.write(Column::HomeEntryRecords, entry_key(channel, entry.entry.seq), &index);
}
