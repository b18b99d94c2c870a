//! A provider's side as a source: it keeps the channels from every home, holds records, and answers
//! requests only as the citizens' decisions allow.

pub mod channels;
pub mod exchange;
mod facts;
mod notices;
pub mod records;
mod refusals;

use std::{collections::BTreeMap, sync::Arc};

use consent::{admission::ReadDecision, source::accept_direct_deny};
use serde::{Deserialize, Serialize};
use trust::member::Member;
use wire::{
    Bytes, DecisionId, Hash, Nonce, OrganisationId, ServiceName, Signer, Timestamp,
    channel::{ChannelHead, ChannelId, ChannelRefusal, ChannelReply, ChannelRequest},
    citizen::{DecisionReply, InForce},
    consent::Attested,
    notice::{Effect, EffectHow},
    registry::MessageType,
};

use crate::{
    channel_store::{SourceChannelStore, source_pair, store_fault},
    context::{Context, Fault},
    courier::Courier,
    evidence_log,
    home::register::SubmissionError,
    rate::RateLimit,
    store::{Column, Key, Scan, Turn, TypedRead},
};

pub use channels::Channels;
pub use exchange::{StoredRelease, release_key};
use notices::NoticesOwed;

/// The key that signs one service's credentials, and its chain.
pub struct CredentialKey {
    pub signer: Arc<dyn Signer>,
    pub chain: Vec<Bytes>,
}

/// Since when a deny that was handed straight in is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InForceSince {
    pub time: Timestamp,
    /// Releases that this node's log has here or later heed it.
    pub log_index: u64,
}

pub struct Source {
    pub(crate) context: Arc<Context>,
    pub channels: Arc<Channels>,
    credentials: BTreeMap<ServiceName, CredentialKey>,
    /// How many exchange messages each member may send.
    rate: RateLimit<OrganisationId>,
    /// How many refusals of each recipient's are logged apart.
    refusal_rate: RateLimit<OrganisationId>,
    /// Notices on their way to the citizens' homes.
    notices: Arc<Courier<NoticesOwed>>,
    /// How old the certificate status of a present-consent may be.
    status_age_ms: u64,
}

/// More than a large hospital asks in an emergency, and no more than one core signs.
const MESSAGES_PER_SECOND: u64 = 10_000;

/// One release, as an operator sees it.
#[derive(Debug, Serialize)]
pub struct ReleaseView {
    pub id: Nonce,
    pub request: Hash,
    pub recipient: ServiceName,
    pub presentation: Hash,
    pub released_at: Timestamp,
    pub log_index: u64,
    pub receipt: bool,
}

/// Most releases in one page.
const PAGE: usize = 1000;

impl Source {
    pub fn new(
        context: Arc<Context>,
        credentials: BTreeMap<ServiceName, CredentialKey>,
        status_age_ms: u64,
    ) -> Arc<Self> {
        let channels = Channels::new(Arc::clone(&context));
        let rate = RateLimit::new(MESSAGES_PER_SECOND, 2 * MESSAGES_PER_SECOND);
        let refusal_rate = RateLimit::new(refusals::PER_SECOND, refusals::BURST);
        let notices = notices::courier(&context);
        Arc::new(Self {
            context,
            channels,
            credentials,
            rate,
            refusal_rate,
            notices,
            status_age_ms,
        })
    }

    /// `log_size`: of this node's log before it started.
    pub fn start(self: &Arc<Self>, log_size: u64) -> Result<(), Fault> {
        self.channels.start(log_size)?;
        tokio::spawn(Arc::clone(self).tell_refusals());
        notices::resume(&self.notices, &self.context)
    }

    /// Channel messages that are for a source.
    pub async fn handle(&self, from: &Member, message: ChannelRequest) -> ChannelReply {
        match message {
            ChannelRequest::Push(push) => self.channels.take_push(from, push).await,
            ChannelRequest::Relay(deny) => match self.take_direct_deny(deny).await {
                Ok(DecisionReply { effect: Some(effect), .. }) => ChannelReply::Relayed(effect),
                Ok(_) => ChannelReply::Durable,
                Err(SubmissionError::Fault(_)) => {
                    ChannelReply::Refused(ChannelRefusal::Unavailable)
                }
                Err(_) => ChannelReply::Refused(ChannelRefusal::Malformed),
            },
            _ => ChannelReply::Refused(ChannelRefusal::NotMine),
        }
    }

    /// A deny that a wallet handed straight in, or a municipal node relayed: when this returns it is
    /// durable, and no evaluation from before it can commit a release any more. The reply has the
    /// signed receipt (発効証明) of that, unless too few witnesses have cosigned it in time.
    pub async fn take_direct_deny(
        &self,
        submission: Attested,
    ) -> Result<DecisionReply, SubmissionError> {
        let context = &self.context;
        let trust = context.live_trust()?;
        let read = ReadDecision::read(&submission, trust.network())?;
        let pair = read.claimed_pair().clone();
        if !context.owns(&pair.source) {
            return Err(SubmissionError::Malformed("no such service at this node"));
        }
        let state = source_pair(&*context.committer.read(), &pair.source, &pair.subject)
            .map_err(Fault::from)?;
        let id = read.id();
        let deny = match read.admit(&state, &trust, context.now().wall) {
            Ok(deny) if deny.is_deny() => deny,
            Ok(_) => return Err(SubmissionError::Malformed("only a deny may be handed in here")),
            Err(error) => {
                let record = evidence_log::attempt_refused(
                    MessageType::Decision,
                    Hash(id.0),
                    &error.to_string(),
                    context.now().wall,
                );
                context.log_attempt(record).await?;
                return Err(error.into());
            }
        };
        let decision = DecisionId::from(Hash(id.0));
        // It goes to the pair's home with the next pull, as soon as there is one.
        let known = state.home.clone();
        let home = known.clone().unwrap_or_else(|| context.organisation.clone());
        let channel = ChannelId { home, source: pair.source.clone() };
        let id = channel.clone();
        let taken = context
            .commit_at(Turn::First, move |tx| {
                let now = tx.wall();
                let mut store = SourceChannelStore { tx, channel: id.clone() };
                let new = accept_direct_deny(&mut store, &deny)?;
                store.tx.hurry_checkpoint();
                let known = store.tx.read(Column::Effects, &decision.0).map_err(store_fault)?;
                let index = new.then(|| {
                    let entry = direct_entry(&deny, now);
                    let accepted = evidence::record::EntryAccepted::new(&id, &entry);
                    store.tx.log(&evidence::record::Record::new(&accepted, now))
                });
                let since = match (known, index) {
                    (Some(since), _) => since,
                    (None, Some(log_index)) => InForceSince { time: now, log_index },
                    // The channel brought it before, and that is in the log already.
                    (None, None) => {
                        let log_index = evidence_log::size(&*store.tx).map_err(store_fault)?;
                        InForceSince { time: now, log_index }
                    }
                };
                store.tx.write(Column::Effects, decision.0, &since);
                Ok::<_, consent::StoreFault>((since, index))
            })
            .await?;
        let (since, index) = taken.map_err(Fault::from)?;
        if let Some(channel) = self.channels.channel(&channel) {
            channel.pull_now(self.context.now());
        }
        if !context.cosigned(context.covering(index)?).await {
            return Ok(DecisionReply {
                decision,
                seq: None,
                status: InForce::Durable,
                effect: None,
            });
        }
        let effect = Effect {
            decision,
            pair,
            channel: known.map(|_| channel),
            seq: None,
            how: EffectHow::AtSource,
            since: since.time,
            log_index: Some(since.log_index),
            time: context.now().wall,
            present_consent_excepted: false,
        };
        let effect = Some(context.attest(effect).await?);
        let status = InForce::Acknowledged(since.time);
        Ok(DecisionReply { decision, seq: None, status, effect })
    }

    /// A page of what was released, in the order of request ids.
    pub fn releases(&self, after: Option<Nonce>) -> Result<Vec<ReleaseView>, Fault> {
        let read = self.context.committer.read();
        let mut views = Vec::new();
        for service in self.recipients()? {
            let prefix = Key::new().text(&service);
            let start = after.map(|after| Key::new().text(&service).fixed(&after.0));
            let scan = Scan::prefix(&prefix, PAGE);
            let scan = match &start {
                Some(start) => scan.after(start),
                None => scan,
            };
            let rows = read.scan_values::<StoredRelease>(Column::Releases, &scan)?;
            views.extend(rows.into_iter().map(|(_, stored)| ReleaseView {
                id: stored.id,
                request: stored.released.release.request_id,
                recipient: service.clone(),
                presentation: stored.released.release.presentation,
                released_at: stored.released.time,
                log_index: stored.log_index,
                receipt: stored.receipt.is_some(),
            }));
        }
        views.sort_by_key(|view| view.id);
        views.truncate(PAGE);
        Ok(views)
    }

    /// The release of a request, by the id that its recipient chose. Two recipients may have chosen
    /// the same one; the first by name is given.
    pub fn release_by_id(&self, id: &Nonce) -> Result<Option<StoredRelease>, Fault> {
        let read = self.context.committer.read();
        for recipient in self.recipients()? {
            if let Some(stored) = read.read(Column::Releases, &release_key(&recipient, id))? {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// How far the channels of the pair's former homes were applied when a request was released.
    pub fn former_heads(
        &self,
        recipient: &ServiceName,
        id: &Nonce,
    ) -> Result<Vec<(ChannelId, ChannelHead)>, Fault> {
        let read = self.context.committer.read();
        let heads = read.read(Column::FormerHeads, &release_key(recipient, id))?;
        Ok(heads.unwrap_or_default())
    }

    /// Every recipient service that anything was released to.
    fn recipients(&self) -> Result<Vec<ServiceName>, Fault> {
        let read = self.context.committer.read();
        let mut recipients = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let mut scan = Scan::prefix(&[], 1);
            if let Some(last) = &last {
                scan = scan.after(last);
            }
            let rows = read.scan_values::<StoredRelease>(Column::Releases, &scan)?;
            let Some((_, row)) = rows.into_iter().next() else { return Ok(recipients) };
            // On to the last key that this recipient could have.
            last = Some(Key::new().text(&row.recipient).fixed(&[0xff; 16]).into_bytes());
            recipients.push(row.recipient);
        }
    }
}

/// The entry that the channel will bring for a direct deny, but for its number: what the log names.
fn direct_entry(deny: &consent::AdmittedDecision, time: Timestamp) -> wire::channel::Entry {
    wire::channel::Entry {
        seq: u64::MAX,
        kind: wire::channel::EntryKind::DENY,
        subject: deny.decision().pair.subject,
        scope: deny.decision().scope.clone(),
        time,
        body: wire::cbor::to_vec(deny.submission()).into(),
    }
}
