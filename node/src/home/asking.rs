//! Consent requests at the citizen's home: kept for the citizen, shown to them, and their answer
//! carried back. The home learns what is asked; the recipient learns the answer and nothing else.

use std::sync::Arc;

use consent::{
    PairState,
    access::Access,
    asking::{self, Taken},
};
use serde::{Deserialize, Serialize};
use trust::{CertificateKind, member::Member};
use wire::{
    Hash, OrganisationId, ServiceId, ServiceName, Signed, Timestamp,
    asking::{ConsentAnswer, ConsentRequest, WaitingRequests},
    channel::{ChannelId, ChannelRefusal, ChannelReply, ChannelRequest},
    citizen::WalletQuery,
    consent::Attested,
};

use super::{Home, notices::is_of, register::SubmissionError};
use crate::{
    channel_store::subject_key,
    context::{Context, Fault},
    courier::{Courier, Owed},
    net::Protocol,
    store::{Column, Key, Read, Scan, StoreError, TypedRead},
};

/// A consent request as the home keeps it, until it expires and for a day at least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredAsk {
    pub request: Attested,
    /// Id of the signed request.
    pub id: Hash,
    pub expires: Timestamp,
    /// When it came; in rows of before this was kept, long ago.
    #[serde(default)]
    pub taken: Timestamp,
    /// Id of the signed answer, once there is one.
    pub answer: Option<Hash>,
}

impl StoredAsk {
    fn counts(&self) -> Taken {
        Taken { taken: self.taken, expires: self.expires, answered: self.answer.is_some() }
    }
}

fn asks_of(recipient: &ServiceName, subject: &ServiceId) -> Key {
    Key::new().text(recipient).fixed(&subject.0)
}

/// What became of a request that came in.
enum Kept {
    Asked,
    Refused(ChannelRefusal),
}

impl Home {
    /// Takes a recipient's consent request: durable, and shown to the citizen, when this answers.
    pub async fn take_ask(&self, from: &Member, ask: Attested) -> ChannelReply {
        match self.keep_ask(from, ask).await {
            Ok(Kept::Asked) => ChannelReply::Asked,
            Ok(Kept::Refused(refusal)) => {
                tracing::info!(recipient = %from.organisation, ?refusal, "a consent request was refused");
                ChannelReply::Refused(refusal)
            }
            Err(fault) => {
                tracing::warn!(recipient = %from.organisation, %fault, "a consent request was not kept");
                ChannelReply::Refused(ChannelRefusal::Unavailable)
            }
        }
    }

    async fn keep_ask(&self, from: &Member, ask: Attested) -> Result<Kept, Fault> {
        let context = &self.context;
        let trust = context.live_trust()?;
        let now = context.now().wall;
        let kind = CertificateKind::Organisation;
        let request = match trust::verify_signed::<ConsentRequest>(&ask, kind, &trust, now) {
            Ok((request, chain)) if is_of(chain.subject(), &from.organisation) => request,
            _ => return Ok(Kept::Refused(ChannelRefusal::Malformed)),
        };
        let id = request.id();
        let request = request.into_message();
        if !from.owns(&request.recipient) {
            return Ok(Kept::Refused(ChannelRefusal::NotYours));
        }
        if let Err(fault) = asking::check(&request, now) {
            tracing::info!(recipient = %request.recipient, %fault, "a consent request is not in its form");
            return Ok(Kept::Refused(ChannelRefusal::Malformed));
        }
        let home = context.organisation.clone();
        let kept = context
            .commit(move |tx| {
                let ConsentRequest { recipient, subject, .. } = &request;
                let channel = ChannelId { home: home.clone(), source: recipient.clone() };
                let pair: Option<PairState> =
                    tx.read(Column::HomePairs, &subject_key(&channel, subject))?;
                if pair.is_none_or(|pair| pair.home.as_ref() != Some(&home)) {
                    return Ok::<_, StoreError>(Kept::Refused(ChannelRefusal::NotMine));
                }
                let prefix = asks_of(recipient, subject);
                let key = prefix.clone().fixed(&request.id.0);
                if let Some(known) = tx.read::<StoredAsk>(Column::ConsentAsks, &key)? {
                    return Ok(if known.id == id {
                        Kept::Asked
                    } else {
                        Kept::Refused(ChannelRefusal::Malformed)
                    });
                }
                let now = tx.wall();
                let (past, before): (Vec<_>, Vec<_>) = asks(tx, recipient, subject)?
                    .into_iter()
                    .map(|(key, row)| (key, row.counts()))
                    .partition(|(_, row)| row.is_past(now));
                for (key, _) in past {
                    tx.delete(Column::ConsentAsks, key);
                }
                if !asking::has_room(before.iter().map(|(_, row)| row), now) {
                    return Ok(Kept::Refused(ChannelRefusal::TooMany));
                }
                let expires = request.expires;
                let row = StoredAsk { request: ask, id, expires, taken: now, answer: None };
                tx.write(Column::ConsentAsks, key, &row);
                Ok(Kept::Asked)
            })
            .await??;
        Ok(kept)
    }

    /// What waits for the answer of the citizen who asks, at one recipient.
    pub async fn requests(&self, query: Attested) -> Result<WaitingRequests, SubmissionError> {
        let trust = self.context.live_trust()?;
        let query: WalletQuery = self.query(&trust, &query, Access::Requests)?.message;
        let now = self.context.now().wall;
        let read = self.context.committer.read();
        let rows = asks(&*read, &query.pair.source, &query.pair.subject).map_err(Fault::from)?;
        let requests = rows
            .into_iter()
            .filter(|(_, row)| row.answer.is_none() && now < row.expires)
            .map(|(_, row)| row.request)
            .collect();
        Ok(WaitingRequests { requests })
    }

    /// Takes a citizen's answer: durable, and owed to the recipient, when this returns. The same
    /// answer again is the same; another one to the same request is refused.
    pub async fn answer(&self, submission: Attested) -> Result<(), SubmissionError> {
        let trust = self.context.live_trust()?;
        let asked = self.query::<ConsentAnswer>(&trust, &submission, Access::Requests)?;
        let (id, answer) = (asked.id, asked.message);
        let pair = answer.pair.clone();
        let recipient = pair.source.organisation();
        let to = recipient.clone();
        let taken = self
            .context
            .commit(move |tx| {
                let now = tx.wall();
                let rows = asks(tx, &pair.source, &pair.subject).map_err(Fault::from)?;
                let row = rows.into_iter().find(|(_, row)| row.id == answer.request);
                let Some((key, mut row)) = row else {
                    return Err(SubmissionError::Unknown("no such consent request waits here"));
                };
                match row.answer {
                    Some(known) if known == id => return Ok(()),
                    Some(_) => {
                        let fault = "the consent request was answered before".to_owned();
                        return Err(SubmissionError::Standing(fault));
                    }
                    None if now >= row.expires => {
                        let fault = "the consent request has expired".to_owned();
                        return Err(SubmissionError::Standing(fault));
                    }
                    None => row.answer = Some(id),
                }
                tx.write(Column::ConsentAsks, key, &row);
                let owed = Key::new().text(&to).fixed(&answer.request.0);
                tx.write(Column::ConsentAnswerOutbox, owed, &submission);
                Ok(())
            })
            .await?;
        taken?;
        self.answers.wake(&recipient);
        Ok(())
    }
}

fn asks(
    read: &(impl Read + ?Sized),
    recipient: &ServiceName,
    subject: &ServiceId,
) -> Result<Vec<(Vec<u8>, StoredAsk)>, StoreError> {
    let prefix = asks_of(recipient, subject);
    // None is taken while there are as many as are remembered.
    let scan = Scan::prefix(&prefix, asking::REMEMBERED);
    read.scan_values::<StoredAsk>(Column::ConsentAsks, &scan)
}

/// Carries answers to the recipients, by their organisations.
pub(super) struct AnswersOwed {
    context: Arc<Context>,
}

pub(super) fn courier(context: &Arc<Context>) -> Arc<Courier<AnswersOwed>> {
    let clock = Arc::clone(&context.clock);
    Courier::new(AnswersOwed { context: Arc::clone(context) }, clock)
}

/// Takes up the answers that were owed when the node stopped.
pub(super) fn resume(courier: &Arc<Courier<AnswersOwed>>, context: &Context) -> Result<(), Fault> {
    let read = context.committer.read();
    let scan = Scan::prefix(&[], usize::MAX);
    for (_, answer) in read.scan_values::<Attested>(Column::ConsentAnswerOutbox, &scan)? {
        let network = *context.trust().network();
        if let Ok(answer) = Signed::<ConsentAnswer>::decode(&answer.object, &network) {
            courier.wake(&answer.unverified().pair.source.organisation());
        }
    }
    Ok(())
}

impl Owed for AnswersOwed {
    type To = OrganisationId;

    async fn send(&self, to: &OrganisationId) -> Result<bool, Fault> {
        let prefix = Key::new().text(to);
        let owed = self
            .context
            .committer
            .read()
            .scan_values::<Attested>(Column::ConsentAnswerOutbox, &Scan::prefix(&prefix, 1))?;
        let Some((key, answer)) = owed.into_iter().next() else { return Ok(false) };
        let message = ChannelRequest::Answer(answer);
        match self.context.ask(to, Protocol::Channel, &message).await? {
            ChannelReply::Answered => {}
            ChannelReply::Refused(ChannelRefusal::Unavailable) => {
                return Err(Fault::Refused(ChannelRefusal::Unavailable));
            }
            // It will not take it later either: a recipient that lost its request asks again.
            ChannelReply::Refused(refusal) => {
                tracing::warn!(recipient = %to, ?refusal, "a consent answer was not taken");
            }
            _ => return Err(Fault::Protocol),
        }
        let done = self.context.commit(move |tx| {
            tx.delete(Column::ConsentAnswerOutbox, key);
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = done.await?;
        Ok(true)
    }
}
