//! Answering requests: the stages of `exchange::source`, carried out on this node's store, keys and
//! clocks. Order: member, size, signature, seen before, consent under a live lease, fetch, sign,
//! consent again inside the commit, lease again, send (DESIGN section 7).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consent::notices::{Attempt, AttemptOutcome};
use exchange::{
    Authentic, Committed, Declined, Evaluated, Prepared, PresentConsent, Received, ReceivedReceipt,
    Record, Resend, padded_delay,
    source::{PresentConsentError, REFUSAL_STEP_MS, Released, claimed_pair},
};
use serde::{Deserialize, Serialize};
use trust::{Trust, member::Member};
use wire::{
    Bytes, DecisionId, ItemType, Nonce, ServiceId, ServiceName,
    exchange::{ExchangeMessage, ExchangeReply, Rejection, Request},
    ids::Pair,
};

use super::{
    Source,
    facts::{Asked, previous},
    notices, records,
};
use crate::{
    channel_store::source_pair,
    context::Fault,
    store::{Column, Key, StoreError, Transaction, TypedRead},
};

/// How often a request is evaluated while its citizen's permits change under it.
const EVALUATIONS: usize = 3;

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
                if committed.awaits_witnesses() {
                    tx.hurry_checkpoint();
                }
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
        if committed.awaits_witnesses() && !self.is_witnessed(request).await {
            tracing::warn!("a counted use was not cosigned in time: not sent, asking again may do");
            return ExchangeReply::Rejected(Rejection::Unavailable);
        }
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

    /// Waits until the witnesses know of the release that answers a request; says whether they do.
    async fn is_witnessed(&self, request: &Asked) -> bool {
        let stored = previous(&*self.context.committer.read(), &request.request);
        match stored {
            Ok(Some(stored)) => self.context.cosigned(stored.log_index).await,
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "a release could not be looked at again");
                false
            }
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
        if let Err(fault) = self.note_refusal(request, pair, code).await {
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
