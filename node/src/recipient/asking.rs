//! Asking a citizen for consent: the request is durable before it leaves, goes to the home that the
//! citizen's channel names, and what comes back is the answer and nothing else.

use std::sync::Arc;

use consent::asking::{self, AskFault};
use serde::{Deserialize, Serialize};
use trust::{CertificateKind, LeafSubject, member::Member};
use wire::{
    Hash, ItemType, Nonce, OrganisationId, Purpose, ServiceId, ServiceName, Signed, Timestamp,
    asking::{Answered, ConsentAnswer, ConsentRequest},
    channel::{ChannelRefusal, ChannelReply, ChannelRequest},
    consent::{Attested, Onward, Uses, Window},
};

use super::Recipient;
use crate::{
    channel_store::source_pair,
    context::{Context, Fault},
    courier::{Courier, Owed},
    net::Protocol,
    store::{Column, Key, Scan, StoreError, TypedRead},
};

/// What the recipient's own system asks a citizen to permit.
#[derive(Debug, Clone)]
pub struct ConsentAsk {
    pub source: ServiceName,
    pub recipient: ServiceName,
    pub subject: ServiceId,
    pub items: Vec<ItemType>,
    pub purpose: Purpose,
    pub valid_days: u32,
    pub uses: Uses,
    pub window: Option<Window>,
    pub retention_days: Option<u32>,
    pub onward: Onward,
    pub text: String,
    pub language: String,
    pub version: u32,
    /// How long it may wait for its answer, in milliseconds.
    pub wait_ms: u64,
    /// The caller's own id for a safe retry.
    pub id: Option<Nonce>,
}

/// How a consent request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentState {
    Waiting,
    Agreed,
    Declined,
    Expired,
    /// The citizen's home did not take it.
    Refused(ChannelRefusal),
}

#[derive(Debug, thiserror::Error)]
pub enum ConsentAskError {
    #[error("the recipient is not a service of this node")]
    NotOurs,
    #[error("{0}")]
    Malformed(#[from] AskFault),
    #[error("this id names another consent request")]
    OtherRequest,
    #[error("no home of this citizen is known here: they have no key at the recipient yet")]
    NoHome,
    #[error("this node has not the role source: no home tells it of its citizens, to ask them")]
    NoChannels,
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A consent request as its recipient keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredConsentRequest {
    pub request: Attested,
    /// Id of the signed request.
    pub id: Hash,
    pub home: OrganisationId,
    pub expires: Timestamp,
    pub outcome: Option<ConsentOutcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentOutcome {
    /// A signed [`ConsentAnswer`], with the chain of its signer.
    Answered {
        answer: Answered,
        signed: Attested,
    },
    Refused(ChannelRefusal),
}

impl StoredConsentRequest {
    fn state(&self, now: Timestamp) -> ConsentState {
        match &self.outcome {
            Some(ConsentOutcome::Answered { answer: Answered::Agreed, .. }) => ConsentState::Agreed,
            Some(ConsentOutcome::Answered { .. }) => ConsentState::Declined,
            Some(ConsentOutcome::Refused(refusal)) => ConsentState::Refused(*refusal),
            None if now >= self.expires => ConsentState::Expired,
            None => ConsentState::Waiting,
        }
    }
}

impl Recipient {
    /// Asks: durable, and on its way to the citizen's home, when this returns. The same id with the
    /// same content is the same request.
    pub async fn ask_consent(
        self: &Arc<Self>,
        ask: ConsentAsk,
    ) -> Result<(Nonce, ConsentState), ConsentAskError> {
        let context = &self.context;
        if !context.owns(&ask.recipient) {
            return Err(ConsentAskError::NotOurs);
        }
        let id = ask.id.unwrap_or_else(|| Nonce(context.entropy.array()));
        let now = context.now().wall;
        let request = request(id, ask, now);
        if let Some(known) = self.stored_consent(&id)? {
            return self.the_same(&known, &request).map(|state| (id, state));
        }
        asking::check(&request, now)?;
        if !self.follows_channels {
            return Err(ConsentAskError::NoChannels);
        }
        let read = context.committer.read();
        let pair = source_pair(&*read, &request.recipient, &request.subject);
        let home = pair.map_err(Fault::from)?.home.ok_or(ConsentAskError::NoHome)?;
        drop(read);
        let expires = request.expires;
        let signed = context.sign(request.clone()).await?;
        let row = StoredConsentRequest {
            request: context.attested(&signed),
            id: signed.id(),
            home: home.clone(),
            expires,
            outcome: None,
        };
        let to = home.clone();
        let known = context
            .commit(move |tx| {
                if let Some(known) = tx.read(Column::ConsentRequests, &id.0)? {
                    return Ok::<Option<StoredConsentRequest>, StoreError>(Some(known));
                }
                tx.write(Column::ConsentRequests, id.0, &row);
                tx.write(Column::ConsentRequestIds, row.id.0, &id);
                tx.write(Column::ConsentRequestOutbox, Key::new().text(&to).fixed(&id.0), &id);
                Ok(None)
            })
            .await?
            .map_err(Fault::from)?;
        if let Some(known) = known {
            return self.the_same(&known, &request).map(|state| (id, state));
        }
        self.asks.wake(&home);
        Ok((id, ConsentState::Waiting))
    }

    /// How a request stands that was made before.
    pub fn consent_state(&self, id: &Nonce) -> Result<Option<ConsentState>, Fault> {
        let now = self.context.now().wall;
        Ok(self.stored_consent(id)?.map(|stored| stored.state(now)))
    }

    fn stored_consent(&self, id: &Nonce) -> Result<Option<StoredConsentRequest>, Fault> {
        Ok(self.context.committer.read().read(Column::ConsentRequests, &id.0)?)
    }

    /// A retry says the same but for its times.
    fn the_same(
        &self,
        known: &StoredConsentRequest,
        request: &ConsentRequest,
    ) -> Result<ConsentState, ConsentAskError> {
        let network = *self.context.trust().network();
        let before = Signed::<ConsentRequest>::decode(&known.request.object, &network)
            .map_err(|_| Fault::Protocol)?;
        let ConsentRequest { issued, expires, .. } = *before.unverified();
        let again = ConsentRequest { issued, expires, ..request.clone() };
        if again != *before.unverified() {
            return Err(ConsentAskError::OtherRequest);
        }
        Ok(known.state(self.context.now().wall))
    }

    /// Takes a citizen's answer from their home: durable when this answers.
    pub async fn take_answer(&self, from: &Member, answer: Attested) -> ChannelReply {
        match self.keep_answer(from, answer).await {
            Ok(reply) => reply,
            Err(fault) => {
                tracing::warn!(home = %from.organisation, %fault, "a consent answer was not kept");
                ChannelReply::Refused(ChannelRefusal::Unavailable)
            }
        }
    }

    async fn keep_answer(&self, from: &Member, signed: Attested) -> Result<ChannelReply, Fault> {
        let trust = self.context.live_trust()?;
        let malformed = ChannelReply::Refused(ChannelRefusal::Malformed);
        let Ok(claimed) = Signed::<ConsentAnswer>::decode(&signed.object, trust.network()) else {
            return Ok(malformed);
        };
        // It may come late; its certificate held when it was signed, or holds now.
        let now = self.context.now().wall;
        let times = [claimed.unverified().time.min(now), now];
        let verified = times.into_iter().find_map(|at| {
            let kind = CertificateKind::Service;
            trust::verify_signed::<ConsentAnswer>(&signed, kind, &trust, at).ok()
        });
        let Some((answer, chain)) = verified else { return Ok(malformed) };
        let answer = answer.into_message();
        let theirs = LeafSubject::Service {
            subject: answer.pair.subject,
            service: answer.pair.source.clone(),
        };
        if *chain.subject() != theirs {
            return Ok(malformed);
        }
        let (from, network) = (from.organisation.clone(), *trust.network());
        let kept = self.context.commit(move |tx| {
            let id: Option<Nonce> = tx.read(Column::ConsentRequestIds, &answer.request.0)?;
            let row: Option<StoredConsentRequest> = match &id {
                Some(id) => tx.read(Column::ConsentRequests, &id.0)?,
                None => None,
            };
            let (Some(id), Some(mut row)) = (id, row) else {
                return Ok::<_, StoreError>(ChannelReply::Refused(ChannelRefusal::NotMine));
            };
            let asked = Signed::<ConsentRequest>::decode(&row.request.object, &network);
            let about = asked.is_ok_and(|asked| {
                let asked = asked.unverified();
                asked.recipient == answer.pair.source && asked.subject == answer.pair.subject
            });
            if row.home != from || !about {
                return Ok(ChannelReply::Refused(ChannelRefusal::NotYours));
            }
            // The first answer stands; the home lets no second one through.
            if row.outcome.is_none() {
                row.outcome = Some(ConsentOutcome::Answered { answer: answer.answer, signed });
                tx.write(Column::ConsentRequests, id.0, &row);
            }
            Ok(ChannelReply::Answered)
        });
        Ok(kept.await??)
    }
}

fn request(id: Nonce, ask: ConsentAsk, issued: Timestamp) -> ConsentRequest {
    let mut items = ask.items;
    items.sort();
    items.dedup();
    ConsentRequest {
        id,
        source: ask.source,
        recipient: ask.recipient,
        subject: ask.subject,
        items,
        purpose: ask.purpose,
        valid_days: ask.valid_days,
        uses: ask.uses,
        window: ask.window,
        retention_days: ask.retention_days,
        onward: ask.onward,
        text: ask.text,
        language: ask.language,
        version: ask.version,
        issued,
        expires: issued.plus_ms(ask.wait_ms),
    }
}

/// Carries consent requests to the citizens' homes.
pub(super) struct AsksOwed {
    context: Arc<Context>,
}

pub(super) fn courier(context: &Arc<Context>) -> Arc<Courier<AsksOwed>> {
    let clock = Arc::clone(&context.clock);
    Courier::new(AsksOwed { context: Arc::clone(context) }, clock)
}

/// Takes up the requests that were owed when the node stopped.
pub(super) fn resume(courier: &Arc<Courier<AsksOwed>>, context: &Context) -> Result<(), Fault> {
    let read = context.committer.read();
    let scan = Scan::prefix(&[], usize::MAX);
    for (_, id) in read.scan_values::<Nonce>(Column::ConsentRequestOutbox, &scan)? {
        if let Some(row) = read.read::<StoredConsentRequest>(Column::ConsentRequests, &id.0)? {
            courier.wake(&row.home);
        }
    }
    Ok(())
}

impl AsksOwed {
    /// The home of the citizen that a request is about, if it is another by now than when it was made.
    fn moved_to(&self, row: &StoredConsentRequest) -> Result<Option<OrganisationId>, Fault> {
        let network = *self.context.trust().network();
        let asked = Signed::<ConsentRequest>::decode(&row.request.object, &network)
            .map_err(|_| Fault::Protocol)?;
        let ConsentRequest { recipient, subject, .. } = asked.unverified();
        let pair = source_pair(&*self.context.committer.read(), recipient, subject)?;
        Ok(pair.home.filter(|home| *home != row.home))
    }
}

impl Owed for AsksOwed {
    type To = OrganisationId;

    async fn send(&self, home: &OrganisationId) -> Result<bool, Fault> {
        let context = &self.context;
        let prefix = Key::new().text(home);
        let owed = {
            let read = context.committer.read();
            let scan = Scan::prefix(&prefix, 1);
            match read.scan_values::<Nonce>(Column::ConsentRequestOutbox, &scan)?.into_iter().next()
            {
                None => return Ok(false),
                Some((key, id)) => (key, id, read.read(Column::ConsentRequests, &id.0)?),
            }
        };
        let (key, id, row): (_, Nonce, Option<StoredConsentRequest>) = owed;
        let over = context.now().wall;
        let row = row.filter(|row| row.outcome.is_none() && over < row.expires);
        let mut refused = None;
        let mut asked_at = home.clone();
        if let Some(row) = row {
            let moved_to = self.moved_to(&row)?;
            let message = ChannelRequest::Ask(row.request);
            let mut reply = context.ask(home, Protocol::Channel, &message).await?;
            // The citizen may have moved since the request was made.
            if let (ChannelReply::Refused(ChannelRefusal::NotMine), Some(now)) = (&reply, moved_to)
            {
                reply = context.ask(&now, Protocol::Channel, &message).await?;
                asked_at = now;
            }
            match reply {
                ChannelReply::Asked => {}
                ChannelReply::Refused(ChannelRefusal::Unavailable) => {
                    return Err(Fault::Refused(ChannelRefusal::Unavailable));
                }
                ChannelReply::Refused(refusal) => refused = Some(refusal),
                _ => return Err(Fault::Protocol),
            }
        }
        let done = context.commit(move |tx| {
            tx.delete(Column::ConsentRequestOutbox, key);
            let known: Option<StoredConsentRequest> = tx.read(Column::ConsentRequests, &id.0)?;
            if let Some(mut row) = known
                && row.outcome.is_none()
                && (refused.is_some() || row.home != asked_at)
            {
                row.outcome = refused.map(ConsentOutcome::Refused);
                row.home = asked_at;
                tx.write(Column::ConsentRequests, id.0, &row);
            }
            Ok::<_, StoreError>(())
        });
        done.await??;
        Ok(true)
    }
}
