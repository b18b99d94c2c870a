//! Answering requests: the stages of `exchange::source`, carried out on this node's store, keys and
//! clocks. Order: member, size, signature, seen before, consent under a live lease, fetch, sign,
//! consent again inside the commit, lease again, send (DESIGN section 7).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consent::{
    PairState, UseCount,
    lease::{Lease, NoLease},
    notices::{Attempt, AttemptOutcome},
};
use exchange::{
    Authentic, Committed, Declined, Evaluated, Prepared, PresentConsent, Previous, Received,
    ReceivedReceipt, Record, Resend, View, padded_delay,
    source::{ChannelView, PairView, PresentConsentError, REFUSAL_STEP_MS, Released, claimed_pair},
};
use serde::{Deserialize, Serialize};
use trust::{Trust, member::Member};
use wire::{
    Bytes, DecisionId, ItemType, Nonce, Now, ServiceId, ServiceName,
    channel::{ChannelHead, ChannelId},
    consent::Recipient,
    exchange::{ExchangeMessage, ExchangeReply, Rejection, Request},
    ids::Pair,
};

use super::{Source, channels, notices, records};
use crate::{
    channel_store::{links_prefix, source_pair},
    context::Fault,
    evidence_log,
    store::{Column, Key, Read, Scan, StoreError, Transaction, TypedRead},
};

/// How often a request is evaluated while its citizen's permits change under it.
const EVALUATIONS: usize = 3;

/// Most pairs that are looked at for one id of a recipient's.
const LINKS: usize = 16;

/// A release as it is kept: what a retry is answered with and a bundle is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRelease {
    pub id: Nonce,
    pub recipient: ServiceName,
    pub released: Released,
    pub presentation: Bytes,
    pub log_index: u64,
    /// The recipient's signed receipt, once it came.
    pub receipt: Option<Bytes>,
}

pub fn release_key(recipient: &ServiceName, id: &Nonce) -> Key {
    Key::new().text(recipient).fixed(&id.0)
}

/// An authentic request, with the present-consent that it carries.
#[derive(Clone)]
struct Asked {
    request: Authentic,
    present: Option<Arc<PresentConsent>>,
}

/// Everything a view borrows, read from one consistent state of the store.
struct Facts {
    pair: Option<(ServiceId, PairState)>,
    uses: BTreeMap<DecisionId, UseCount>,
    lease: Result<Lease, NoLease>,
    previous: Option<StoredRelease>,
    channel: Option<(ChannelId, ChannelHead)>,
    present: Option<Arc<PresentConsent>>,
    now: Now,
}

impl Facts {
    fn view(&self) -> View<'_> {
        View {
            pair: self.pair.as_ref().map(|(subject, state)| PairView {
                subject,
                state,
                channel: self.channel.as_ref().map(|(id, applied)| ChannelView {
                    id,
                    applied,
                    lease: self.lease.as_ref().map_err(|none| *none),
                }),
            }),
            uses: &self.uses,
            present: self.present.as_deref(),
            previous: self.previous.as_ref().map(|stored| Previous {
                released: &stored.released,
                presentation: &stored.presentation,
            }),
            at: self.now.wall,
        }
    }
}

impl Source {
    /// Answers one exchange message of a greeted member.
    pub async fn answer(
        self: &Arc<Self>,
        from: &Member,
        message: ExchangeMessage,
    ) -> ExchangeReply {
        if !self.rate.allows(&from.organisation, self.context.now().mono_ms) {
            let code = rejection_code(Rejection::Busy);
            self.context.metrics.refusals.with_label_values(&[code]).inc();
            return ExchangeReply::Rejected(Rejection::Busy);
        }
        match message {
            ExchangeMessage::Request(bytes) => {
                let started = self.context.now();
                let timer = self.context.metrics.exchange_seconds.start_timer();
                let reply = self.answer_request(from, &bytes).await;
                let unavailable = ExchangeReply::Rejected(Rejection::Unavailable);
                if reply == ExchangeReply::NotPermitted || reply == unavailable {
                    // The reason must not show in time either, nor whether a fault came before
                    // consent was looked at or after.
                    let now = self.context.now();
                    let wait = padded_delay(started.mono_ms, now.mono_ms, REFUSAL_STEP_MS);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                timer.observe_duration();
                reply
            }
            ExchangeMessage::Receipt(bytes) => self.note_receipt(from, &bytes).await,
        }
    }

    async fn answer_request(self: &Arc<Self>, from: &Member, bytes: &[u8]) -> ExchangeReply {
        let trust = match self.context.live_trust() {
            Ok(trust) => trust,
            Err(_) => return ExchangeReply::Rejected(Rejection::Unavailable),
        };
        let now = self.context.now().wall;
        let request = Received::decode(bytes, trust.network())
            .and_then(|request| request.authenticate(from, &self.context.services, now));
        let request = match request {
            Ok(request) => request,
            Err(fault) => {
                tracing::info!(recipient = %from.organisation, %fault, "a request was turned away");
                let rejection = fault.rejection();
                self.context.metrics.refusals.with_label_values(&[rejection_code(rejection)]).inc();
                return ExchangeReply::Rejected(rejection);
            }
        };
        let present = match self.present(&request, &trust) {
            Ok(Ok(present)) => present,
            // To leave it out and evaluate the rest would answer another question.
            Ok(Err(error)) => {
                tracing::info!(recipient = %from.organisation, %error, "a present-consent does not hold");
                return self
                    .refuse(&request, error.code(), ExchangeReply::NotPermitted, None)
                    .await;
            }
            Err(fault) => {
                tracing::error!(%fault, "a request could not be answered");
                return ExchangeReply::Rejected(Rejection::Unavailable);
            }
        };
        let request = Asked { request, present };
        let mut released = self.release(&request).await;
        for _ in 1..EVALUATIONS {
            // Another permit stands now than the one the presentation cites: from the start again.
            if !matches!(released, Ok(Err(Declined::Changed))) {
                break;
            }
            released = self.release(&request).await;
        }
        match released {
            Ok(Ok(committed)) => self.send(&request, committed).await,
            Ok(Err(declined)) => self.decline(&request, declined).await,
            Err(fault) => {
                tracing::error!(%fault, "a request could not be answered");
                ExchangeReply::Rejected(Rejection::Unavailable)
            }
        }
    }

    /// Evaluate, fetch, sign, and evaluate again inside the durable write.
    async fn release(
        self: &Arc<Self>,
        request: &Asked,
    ) -> Result<Result<Committed, Declined>, Fault> {
        let facts = self.facts(&*self.context.committer.read(), request, self.context.now())?;
        let evaluated = request.request.evaluate(&facts.view());
        let allowed = match evaluated {
            Ok(Evaluated::Fetch(allowed)) => allowed,
            Ok(Evaluated::Resend(resend)) => {
                return self.commit_resend(request.clone(), resend).await;
            }
            Err(declined) => return Ok(Err(declined)),
        };
        let source = request.request.request().source.clone();
        let records = self.fetch(&source, allowed.subject(), allowed.leaves())?;
        let Some(credential) = self.credentials.get(&source) else {
            tracing::error!(service = %source, "no credential key for this service");
            return Err(Fault::Protocol);
        };
        let (chain, signer) = (credential.chain.clone(), Arc::clone(&credential.signer));
        let (seed, at) = (self.context.entropy.array(), self.context.now().wall);
        // Concealing and signing take their time, an HSM more of it.
        let prepared = tokio::task::spawn_blocking(move || {
            let unsigned = allowed.prepare(records, &chain, seed, at)?;
            Ok::<_, exchange::PrepareError>(unsigned.sign(&*signer))
        });
        match prepared.await.map_err(|_| Fault::Failed)? {
            Ok(prepared) => self.commit_release(request.clone(), prepared?).await,
            Err(exchange::PrepareError::Declined(declined)) => Ok(Err(declined)),
            Err(error) => {
                tracing::error!(%error, "a presentation could not be made");
                Err(Fault::Protocol)
            }
        }
    }

    async fn commit_release(
        self: &Arc<Self>,
        request: Asked,
        prepared: Prepared,
    ) -> Result<Result<Committed, Declined>, Fault> {
        let source = Arc::clone(self);
        let salt = Nonce(self.context.entropy.array());
        let committed = self.committed(move |tx| {
            let facts = source.facts(tx, &request, tx.now())?;
            let request = request.request;
            let committed = match prepared.commit(&facts.view()) {
                Ok(committed) => committed,
                Err(declined) => return Ok(Err(declined)),
            };
            if let Some(write) = committed.write() {
                let release = &write.released.release;
                notices::note(tx, &release.channel, released(release, request.request()), salt)?;
                let record =
                    evidence::record::Record::new(&write.released.release, write.released.time);
                let log_index = tx.log(&record);
                source.keep_grant(tx, &write.released.release);
                for (permit, uses) in write.uses {
                    tx.write(Column::Uses, permit.0, uses);
                }
                let asked = request.request();
                let stored = StoredRelease {
                    id: asked.id,
                    recipient: asked.recipient.clone(),
                    released: write.released.clone(),
                    presentation: Bytes(write.presentation.to_vec()),
                    log_index,
                    receipt: None,
                };
                let former = source.former_channels(tx, &facts)?;
                if !former.is_empty() {
                    let key = release_key(&asked.recipient, &asked.id);
                    tx.write(Column::FormerHeads, key, &former);
                }
                tx.write(Column::Releases, release_key(&asked.recipient, &asked.id), &stored);
                tx.write(Column::ReleaseIds, request.id().0, &(&asked.recipient, asked.id));
            }
            Ok(Ok(committed))
        });
        let committed = committed.await;
        if let Ok(Ok(committed)) = &committed
            && let Some(write) = committed.write()
        {
            self.notices.wake(&write.released.release.channel);
        }
        committed
    }

    async fn commit_resend(
        self: &Arc<Self>,
        request: Asked,
        resend: Resend,
    ) -> Result<Result<Committed, Declined>, Fault> {
        let source = Arc::clone(self);
        self.committed(move |tx| {
            let facts = source.facts(tx, &request, tx.now())?;
            Ok(resend.commit(&facts.view()))
        })
        .await
    }

    /// Runs a job whose verdict is no error of the commit: a refusal writes nothing.
    async fn committed(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<Result<Committed, Declined>, StoreError>
        + Send
        + 'static,
    ) -> Result<Result<Committed, Declined>, Fault> {
        Ok(self.context.commit(job).await??)
    }

    /// The last look at consent, lease and time, then the bytes may leave.
    async fn send(self: &Arc<Self>, request: &Asked, committed: Committed) -> ExchangeReply {
        let is_new = committed.write().is_some();
        let facts = self.facts(&*self.context.committer.read(), request, self.context.now());
        let sent = match &facts {
            Ok(facts) => committed.send(&facts.view()),
            Err(error) => {
                tracing::error!(%error, "a release could not be looked at again: not sent");
                return ExchangeReply::Rejected(Rejection::Unavailable);
            }
        };
        match sent {
            Ok(reply) => {
                if is_new {
                    self.context.metrics.releases.inc();
                }
                reply
            }
            Err(declined) => self.decline(request, declined).await,
        }
    }

    /// What a release cites must be on disk with it: an evidence bundle is made from it later.
    fn keep_grant(&self, tx: &mut Transaction<'_>, release: &evidence::record::Release) {
        let channel = self.channels.channel(&release.channel);
        if let (Some(id), Some(channel)) = (release.lease, channel)
            && let Some(grant) = channel.grant(&id)
        {
            tx.write(Column::Grants, id.0, &grant);
        }
    }

    /// Logs the exact reason; the wire hears none.
    async fn decline(&self, request: &Asked, declined: Declined) -> ExchangeReply {
        let code = match &declined {
            Declined::Refused(refused) => refused.code(),
            Declined::IdReused => "id-reused",
            Declined::Expired => "out-of-time",
            Declined::Changed => "changed",
            Declined::Damaged => "damaged",
        };
        let subject = request.present.as_ref().map(|present| present.subject());
        self.refuse(&request.request, code, declined.reply(), subject).await
    }

    /// `subject`: whom the request is about, where a present-consent that holds says so.
    async fn refuse(
        &self,
        request: &Authentic,
        code: &'static str,
        reply: ExchangeReply,
        subject: Option<ServiceId>,
    ) -> ExchangeReply {
        self.context.metrics.refusals.with_label_values(&[code]).inc();
        let asked = request.request();
        tracing::info!(recipient = %asked.recipient, source = %asked.source, reason = code, "refused");
        let now = self.context.now().wall;
        let linked = || self.linked(&*self.context.committer.read(), asked, now).ok().flatten();
        let subject = subject.or_else(linked);
        let pair = subject.map(|subject| Pair { source: asked.source.clone(), subject });
        let record = evidence_log::refusal(request, pair, code, self.context.now().wall);
        if let Err(fault) =
            self.log_refusal(record, subject.map(|subject| (subject, asked, code))).await
        {
            tracing::error!(%fault, "a refusal could not be logged");
            return ExchangeReply::Rejected(Rejection::Unavailable);
        }
        reply
    }

    /// The present-consent that a request carries, admitted; `None` if it carries none.
    #[allow(clippy::type_complexity)] // a fault of ours, a verdict, and what there is to say
    fn present(
        &self,
        request: &Authentic,
        trust: &Trust,
    ) -> Result<Result<Option<Arc<PresentConsent>>, PresentConsentError>, StoreError> {
        if request.request().present_consent.is_none() {
            return Ok(Ok(None));
        }
        let claimed = match claimed_pair(request, trust.network()) {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Err(error)),
        };
        let read = self.context.committer.read();
        let state = source_pair(&*read, &request.request().source, &claimed.subject)?;
        let now = self.context.now().wall;
        let admitted = PresentConsent::admit(request, &state, trust, self.status_age_ms, now);
        Ok(admitted.map(|present| Some(Arc::new(present))))
    }

    /// Logs a refusal, and owes its notice to the home of the citizen, if they are known.
    async fn log_refusal(
        &self,
        record: evidence::record::Record,
        about: Option<(ServiceId, &Request, &'static str)>,
    ) -> Result<(), Fault> {
        let salt = Nonce(self.context.entropy.array());
        let notice = about.and_then(|(subject, asked, code)| {
            let outcome = AttemptOutcome::Refused(code.parse().ok()?);
            let attempt = Attempt {
                subject,
                recipient: asked.recipient.clone(),
                items: asked.items.clone(),
                purpose: asked.purpose.clone(),
                outcome,
            };
            Some((asked.source.clone(), attempt))
        });
        let logged = self.context.commit(move |tx| {
            tx.log(&record);
            let Some((source, attempt)) = notice else { return Ok::<_, StoreError>(None) };
            let Some(home) = source_pair(tx, &source, &attempt.subject)?.home else {
                return Ok(None);
            };
            let channel = ChannelId { home, source };
            notices::note(tx, &channel, attempt, salt)?;
            Ok(Some(channel))
        });
        if let Some(channel) = logged.await?? {
            self.notices.wake(&channel);
        }
        Ok(())
    }

    fn facts(
        &self,
        read: &(impl Read + ?Sized),
        request: &Asked,
        now: Now,
    ) -> Result<Facts, StoreError> {
        let Asked { request, present } = request;
        let asked = request.request();
        let (recipient, id) = request.idempotency_key();
        let previous = read.read(Column::Releases, &release_key(recipient, &id))?;
        let mut facts = Facts {
            pair: None,
            uses: BTreeMap::new(),
            lease: Err(NoLease::Never),
            previous,
            channel: None,
            present: present.clone(),
            now,
        };
        let subject = match present {
            Some(present) => self.claimed(read, asked, present, now.wall)?,
            None => self.linked(read, asked, now.wall)?,
        };
        let Some(subject) = subject else { return Ok(facts) };
        let pair = source_pair(read, &asked.source, &subject)?;
        for (permit, standing) in &pair.permits {
            if standing.permit.uses != wire::consent::Uses::Unlimited
                && let Some(uses) = read.read(Column::Uses, &permit.0)?
            {
                facts.uses.insert(*permit, uses);
            }
        }
        // Nothing else says that this permit is spent: it stands in no channel.
        if let Some(present) = present
            && let Some(uses) = read.read(Column::Uses, &present.id().0)?
        {
            facts.uses.insert(present.id(), uses);
        }
        if let Some(home) = &pair.home {
            let id = ChannelId { home: home.clone(), source: asked.source.clone() };
            let network = *self.context.trust().network();
            let state = channels::load(read, &network, &id)?;
            if let Some(channel) = self.channels.channel(&id) {
                facts.lease = channel.lease(&state.applied().position, now);
            }
            facts.channel = Some((id, *state.applied()));
        }
        facts.pair = Some((subject, pair));
        Ok(facts)
    }

    /// How far the channels of the homes before are applied, of a pair that moved: what evidence of a
    /// release has to show beside the channel of its home.
    fn former_channels(
        &self,
        read: &(impl Read + ?Sized),
        facts: &Facts,
    ) -> Result<Vec<(ChannelId, ChannelHead)>, StoreError> {
        let (Some((_, pair)), Some((channel, _))) = (&facts.pair, &facts.channel) else {
            return Ok(Vec::new());
        };
        let network = *self.context.trust().network();
        let former = pair.former_homes.iter().filter(|home| **home != channel.home);
        former
            .map(|home| {
                let id = ChannelId { home: home.clone(), source: channel.source.clone() };
                let applied = *channels::load(read, &network, &id)?.applied();
                Ok((id, applied))
            })
            .collect()
    }

    /// Whom a present-consent says the request is about, unless another citizen's permit opens that
    /// very id: then a CA attested what is not so, and better no record than another person's.
    fn claimed(
        &self,
        read: &(impl Read + ?Sized),
        asked: &Request,
        present: &PresentConsent,
        at: wire::Timestamp,
    ) -> Result<Option<ServiceId>, StoreError> {
        let prefix = links_prefix(&asked.recipient, &asked.subject, &asked.source);
        let linked =
            read.scan_values::<ServiceId>(Column::SourceLinks, &Scan::prefix(&prefix, LINKS))?;
        for (_, other) in &linked {
            if *other != present.subject() && opens(read, asked, other, at)? {
                tracing::error!(recipient = %asked.recipient, "several citizens are linked to one id: refused");
                return Ok(None);
            }
        }
        Ok(if linked.len() < LINKS { Some(present.subject()) } else { None })
    }

    /// Whom the recipient means. Several pairs may be linked to the id, through a CA that attests
    /// what is not so: then only one that a standing permit opens to this very id counts, and if
    /// there are two of those, none does. Better no record than another person's.
    fn linked(
        &self,
        read: &(impl Read + ?Sized),
        asked: &Request,
        at: wire::Timestamp,
    ) -> Result<Option<ServiceId>, StoreError> {
        let prefix = links_prefix(&asked.recipient, &asked.subject, &asked.source);
        let linked =
            read.scan_values::<ServiceId>(Column::SourceLinks, &Scan::prefix(&prefix, LINKS))?;
        let subjects: Vec<_> = linked.into_iter().map(|(_, subject)| subject).collect();
        if subjects.len() < 2 {
            return Ok(subjects.first().copied());
        }
        let mut opened = Vec::new();
        for subject in &subjects {
            if opens(read, asked, subject, at)? {
                opened.push(*subject);
            }
        }
        if opened.len() > 1 || subjects.len() == LINKS {
            tracing::error!(recipient = %asked.recipient, "several citizens are linked to one id: refused");
            return Ok(None);
        }
        Ok(opened.first().or(subjects.first()).copied())
    }

    fn fetch(
        &self,
        source: &ServiceName,
        subject: &ServiceId,
        leaves: &[(ItemType, DecisionId)],
    ) -> Result<BTreeMap<ItemType, Record>, Fault> {
        let read = self.context.committer.read();
        let mut found = BTreeMap::new();
        for (item, _) in leaves {
            if let Some(held) = records::record(&*read, source, subject, item)? {
                let record = Record::from_json(&held.content).map_err(|_| Fault::Protocol)?;
                found.insert(item.clone(), record.about(held.about));
            }
        }
        Ok(found)
    }

    /// Keeps a recipient's receipt with its release.
    async fn note_receipt(&self, from: &Member, bytes: &[u8]) -> ExchangeReply {
        let Ok(trust) = self.context.live_trust() else {
            return ExchangeReply::Rejected(Rejection::Unavailable);
        };
        let received = match ReceivedReceipt::decode(bytes, trust.network()) {
            Ok(received) => received,
            Err(error) => return ExchangeReply::Rejected(error.rejection()),
        };
        let (from, kept) = (from.clone(), Bytes(bytes.to_vec()));
        let noted = self
            .context
            .commit(move |tx| {
                let (now, id) = (tx.wall(), received.claimed_request());
                let index: Option<(ServiceName, Nonce)> = tx.read(Column::ReleaseIds, &id.0)?;
                let key = index.map(|(recipient, id)| release_key(&recipient, &id));
                let stored: Option<StoredRelease> = match &key {
                    Some(key) => tx.read(Column::Releases, key)?,
                    None => None,
                };
                let released = stored.as_ref().map(|stored| &stored.released);
                if let Err(error) = received.check(&from, released, now) {
                    return Ok(Err(error.rejection()));
                }
                if let (Some(mut stored), Some(key)) = (stored, key)
                    && stored.receipt.is_none()
                {
                    let body = evidence::record::ReceiptNoted {
                        receipt: kept.clone(),
                        request_id: id,
                        presentation: stored.released.release.presentation,
                        recipient: stored.recipient.clone(),
                    };
                    tx.log(&evidence::record::Record::new(&body, now));
                    stored.receipt = Some(kept);
                    tx.write(Column::Releases, key, &stored);
                }
                Ok::<_, StoreError>(Ok(()))
            })
            .await;
        match noted {
            Ok(Ok(Ok(()))) => ExchangeReply::Noted,
            Ok(Ok(Err(rejection))) => ExchangeReply::Rejected(rejection),
            Ok(Err(_)) | Err(_) => ExchangeReply::Rejected(Rejection::Unavailable),
        }
    }
}

/// Whether a standing permit of a citizen opens to the recipient's id that is asked about.
fn opens(
    read: &(impl Read + ?Sized),
    asked: &Request,
    subject: &ServiceId,
    at: wire::Timestamp,
) -> Result<bool, StoreError> {
    let pair = source_pair(read, &asked.source, subject)?;
    Ok(pair.permits.iter().any(|(id, standing)| {
        standing.permit.recipient_subject == asked.subject
            && standing.scope.recipient == Recipient::Service(asked.recipient.clone())
            && pair.key_stands(id, standing, at).is_ok()
    }))
}

/// What the citizen's home hears of a release.
fn released(release: &evidence::record::Release, asked: &Request) -> Attempt {
    Attempt {
        subject: release.pair.subject,
        recipient: release.recipient.clone(),
        items: release.items.clone(),
        purpose: asked.purpose.clone(),
        outcome: AttemptOutcome::Released {
            request: release.request_id,
            permits: release.permits.clone(),
        },
    }
}

/// The label under which a rejection is counted.
pub fn rejection_code(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Malformed => "malformed",
        Rejection::NotAuthentic => "not-authentic",
        Rejection::OutOfTime => "out-of-time",
        Rejection::IdReused => "id-reused",
        Rejection::UnknownService => "unknown-service",
        Rejection::Busy => "busy",
        Rejection::Unavailable => "unavailable",
    }
}
