//! The consent register (同意台帳): what wallets hand in, and what they read back.

use consent::{
    AdmissionError, AdmittedKeyBegin, AdmittedKeyEnd, ChannelStore, PairState, PairThread,
    admission::ReadDecision,
    home::{Accepted, HomeError, in_force},
};
use trust::LeafSubject;
use wire::{
    ServiceId, Signed,
    channel::{ChannelId, ChannelReply, ChannelRequest},
    citizen::{DecisionReply, InForce, PairRegister, RegisterEntry, WalletQuery},
    consent::{Attested, KeyBegin, KeyEnd},
    ids::Pair,
    registry::MessageType,
};

use super::{Home, channels::load_channel};
use crate::{
    channel_store::{HomeChannelStore, entry_key, subject_key},
    context::Fault,
    evidence_log,
    net::Protocol,
    store::{Column, Transaction, TypedRead},
};

/// How far a wallet's clock may be off when it asks for its register, in milliseconds.
pub const QUERY_WINDOW_MS: u64 = 5 * 60 * 1000;

/// Why something handed in was not taken. The text names what is wrong and nobody.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    #[error("{0}")]
    Standing(String),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the request's time differs from ours by more than 5 minutes")]
    OutOfTime,
    #[error("the certificate is for another service id than the request names")]
    OtherCitizen,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<HomeError> for SubmissionError {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Store(fault) => Self::Fault(fault.into()),
            error => Self::Standing(error.to_string()),
        }
    }
}

impl SubmissionError {
    /// Whether it was rightly made and refused for what it says: such attempts are logged.
    fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Fault(_) | Self::Malformed(_) | Self::Admission(AdmissionError::Envelope(_))
        )
    }
}

impl Home {
    /// Takes a decision: durable when this returns, then pushed to the source.
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
        let foreign = admitted.is_deny() && state.home.is_none();
        if foreign {
            // Another municipality's citizen: the source has to hear of it, and through the source
            // the pair's own home. If it cannot now, the deny goes through our own channel, later.
            match self.relay(&pair, id, submission).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => {
                    tracing::info!(source = %pair.source, %fault, "a deny was not relayed")
                }
            }
        }
        let accepted = self
            .accept(channel, move |home, store, now| {
                Ok(home.accept_decision(store, &admitted, now)?)
            })
            .await;
        match accepted {
            Ok(accepted) => {
                self.context.metrics.decisions_accepted.inc();
                let mut reply = self.reply(&accepted);
                if foreign && matches!(reply.status, InForce::LeasesLapsed(_)) {
                    // Our leases are out, but the source releases on that of the pair's own home.
                    reply.status = InForce::Accepted;
                }
                Ok(reply)
            }
            Err(error) => self.refuse(MessageType::Decision, wire::Hash(id.0), error).await,
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
            ChannelReply::Relayed => {
                let status = InForce::Acknowledged(self.context.now().wall);
                Ok(DecisionReply { decision, seq: None, status })
            }
            ChannelReply::Refused(refusal) => Err(Fault::Refused(refusal)),
            ChannelReply::Applied(_) | ChannelReply::Pulled(_) => Err(Fault::Protocol),
        }
    }

    /// Takes a key-begin or key-end that a standing key of the pair signed. Who may approve is asked
    /// inside the commit: of two phones that end each other only one can.
    pub async fn change_key(&self, submission: Attested) -> Result<DecisionReply, SubmissionError> {
        let trust = self.context.live_trust()?;
        if let Ok(begin) = Signed::<KeyBegin>::decode(&submission.object, trust.network()) {
            let pair = begin.unverified().pair.clone();
            return match self.accept_begin(pair, submission).await {
                Ok(accepted) => Ok(self.reply(&accepted)),
                Err(error) => self.refuse(MessageType::KeyBegin, begin.id(), error).await,
            };
        }
        let end = Signed::<KeyEnd>::decode(&submission.object, trust.network())
            .map_err(|_| SubmissionError::Malformed("neither a key-begin nor a key-end"))?;
        let channel = self.channel(&end.unverified().pair);
        let (id, subject) = (channel.clone(), end.unverified().pair.subject);
        let accepted = self
            .accept(channel, move |home, store, now| {
                let pair = store.pair(&subject).map_err(HomeError::from)?;
                let end = AdmittedKeyEnd::admit(&submission, &id, &pair, &trust, now.wall)?;
                Ok(home.accept_key_end(store, &end, now)?)
            })
            .await;
        match accepted {
            Ok(accepted) => Ok(self.reply(&accepted)),
            Err(error) => self.refuse(MessageType::KeyEnd, end.id(), error).await,
        }
    }

    /// Begins a key that this home itself approves, after fresh proofing. `None` if it had begun.
    pub(super) async fn begin_key(
        &self,
        begin: KeyBegin,
        key: &wire::KeyHash,
    ) -> Result<Option<Accepted>, SubmissionError> {
        let pair = begin.pair.clone();
        if self.pair_state(&self.channel(&pair), &pair.subject)?.keys.contains_key(key) {
            return Ok(None);
        }
        let submission = self.context.attest(begin).await?;
        self.accept_begin(pair, submission).await.map(Some)
    }

    async fn accept_begin(
        &self,
        pair: Pair,
        submission: Attested,
    ) -> Result<Accepted, SubmissionError> {
        let trust = self.context.live_trust()?;
        let channel = self.channel(&pair);
        let id = channel.clone();
        self.accept(channel, move |home, store, now| {
            let state = store.pair(&pair.subject).map_err(HomeError::from)?;
            let begin = AdmittedKeyBegin::admit(&submission, &id, &state, &trust, now.wall)?;
            Ok(home.accept_key_begin(store, &begin, now)?)
        })
        .await
    }

    /// The register of one pair, for whoever holds a key certified for it.
    pub async fn register(&self, query: Attested) -> Result<PairRegister, SubmissionError> {
        let trust = self.context.live_trust()?;
        let now = self.context.now().wall;
        let (query, chain) = trust::verify_signed::<WalletQuery>(
            &query,
            trust::CertificateKind::Service,
            &trust,
            now,
        )
        .map_err(AdmissionError::from)?;
        let WalletQuery { pair, time, .. } = query.message();
        let theirs = match chain.subject() {
            LeafSubject::Service { service, subject } => {
                *service == pair.source && *subject == pair.subject
            }
            _ => false,
        };
        if !theirs {
            return Err(SubmissionError::OtherCitizen);
        }
        if time.ms_since(now).max(now.ms_since(*time)) > QUERY_WINDOW_MS {
            return Err(SubmissionError::OutOfTime);
        }
        let channel = self.channel(pair);
        let read = self.context.committer.read();
        let thread: PairThread = read
            .read(Column::HomeThreads, &subject_key(&channel, &pair.subject))
            .map_err(Fault::from)?
            .unwrap_or_default();
        let mut entries = Vec::with_capacity(thread.seqs.len());
        for seq in thread.seqs {
            let row: consent::HomeEntry = read
                .read(Column::HomeEntries, &entry_key(&channel, seq))
                .map_err(Fault::from)?
                .ok_or(Fault::Channel(consent::StoreFault(format!("entry {seq} is missing"))))?;
            let status = in_force(&row, now);
            entries.push(RegisterEntry { decision: row.decision, status, entry: row.entry });
        }
        Ok(PairRegister { entries })
    }

    fn channel(&self, pair: &Pair) -> ChannelId {
        ChannelId { home: self.context.organisation.clone(), source: pair.source.clone() }
    }

    fn pair_state(&self, channel: &ChannelId, subject: &ServiceId) -> Result<PairState, Fault> {
        let read = self.context.committer.read();
        Ok(read.read(Column::HomePairs, &subject_key(channel, subject))?.unwrap_or_default())
    }

    /// Runs one of the channel's `accept_…` at the commit point, logs it, and wakes the pusher.
    async fn accept(
        &self,
        channel: ChannelId,
        job: impl FnOnce(
            &mut consent::home::HomeChannel,
            &mut HomeChannelStore<'_, '_>,
            wire::Now,
        ) -> Result<Accepted, SubmissionError>
        + Send
        + 'static,
    ) -> Result<Accepted, SubmissionError> {
        let network = *self.context.trust().network();
        let id = channel.clone();
        let accepted = self
            .context
            .commit(move |tx: &mut Transaction<'_>| {
                let mut home = load_channel(tx, &network, &id).map_err(HomeError::from)?;
                let now = tx.now();
                let mut store = HomeChannelStore { tx, channel: id.clone() };
                let accepted = job(&mut home, &mut store, now)?;
                if !accepted.known {
                    tx.log(&evidence_log::accepted(&id, &accepted.entry, now.wall));
                    tx.hurry_checkpoint();
                }
                Ok::<_, SubmissionError>(accepted)
            })
            .await??;
        self.pusher.wake(&channel);
        Ok(accepted)
    }

    /// Logs why something rightly made was not taken, and gives the error on.
    async fn refuse<T>(
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

    fn reply(&self, accepted: &Accepted) -> DecisionReply {
        let entry = &accepted.entry;
        let id = entry.decision.unwrap_or(wire::DecisionId(entry.entry.hash().0));
        let status = in_force(entry, self.context.now().wall);
        DecisionReply { decision: id, seq: Some(entry.entry.seq), status }
    }
}
