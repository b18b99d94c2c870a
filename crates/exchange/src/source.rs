//! 提供: from an authentic request to bytes that may leave. One type for each stage; what was not
//! checked cannot be passed where a checked thing is wanted:
//!
//! ```text
//! Authentic ── evaluate ──► Allowed ── prepare ──► Unsigned ── sign ──► Prepared ── commit ──► Committed ── send ──► reply
//!                   └─────► Resend ──────────────────────────────────────────────── commit ──────┘
//! ```
//!
//! Consent is evaluated three times: before the slow fetch, again inside the durable write, which the
//! node serialises with applying channel entries, and right before the first byte leaves. A deny
//! applied in between therefore refuses the release; once a deny is acknowledged no older evaluation
//! can still commit.

mod present;
mod release;

use std::collections::BTreeMap;

use consent::{
    PairState, Permitted, Query, Refused, UseView,
    evaluate::evaluate,
    lease::{Lease, NoLease},
};
use evidence::record::{Refusal, Release};
use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, ItemType, Pair, ServiceId, Timestamp,
    channel::{ChannelHead, ChannelId},
    exchange::{ExchangeReply, Rejection},
};

pub use present::{
    LONGEST_STATUS_AGE_MS, PresentConsent, PresentConsentError, STATUS_AGE_MS, claimed_pair,
};
pub use release::{Allowed, Committed, PrepareError, Prepared, ReleaseWrite, Resend, Unsigned};

use crate::{credential::Terms, request::Authentic};

/// Refusals leave only at multiples of this after the request came in.
pub const REFUSAL_STEP_MS: u64 = 5;

/// Everything consent depends on, as one consistent view of the store.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The pair that the recipient's service id is linked to, or that a present-consent claims;
    /// `None` if the source knows of none.
    pub pair: Option<PairView<'a>>,
    pub uses: &'a dyn UseView,
    pub present: Option<&'a PresentConsent>,
    /// What was released before under [`Authentic::idempotency_key`].
    pub previous: Option<Previous<'a>>,
    pub at: Timestamp,
}

/// One citizen at this source.
#[derive(Debug, Clone, Copy)]
pub struct PairView<'a> {
    /// The citizen's service id here.
    pub subject: &'a ServiceId,
    pub state: &'a PairState,
    /// The channel from the pair's home; `None` before there is one.
    pub channel: Option<ChannelView<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub struct ChannelView<'a> {
    pub id: &'a ChannelId,
    pub applied: &'a ChannelHead,
    pub lease: Result<&'a Lease, NoLease>,
}

/// An earlier release under the same idempotency key, with the presentation that was made.
#[derive(Debug, Clone, Copy)]
pub struct Previous<'a> {
    pub released: &'a Released,
    pub presentation: &'a [u8],
}

/// What was released: the idempotency record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// What the evidence log says of it.
    pub release: Release,
    /// Which item passed on which permit. Sorted by leaf, never empty.
    pub leaves: Vec<(ItemType, DecisionId)>,
    pub time: Timestamp,
}

/// Why nothing is released, as the source sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Declined {
    /// To the recipient: `not-permitted`. To the home and the log: the reason.
    #[error("not permitted: {0}")]
    Refused(Refused),
    #[error("the request's id came before with other content")]
    IdReused,
    #[error("the request has expired")]
    Expired,
    /// Another permit now stands for an item than the one the presentation cites: evaluate anew.
    #[error("consent changed while the presentation was made")]
    Changed,
    #[error("the stored presentation is not the one that was released")]
    Damaged,
}

impl From<Refused> for Declined {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Declined {
    /// What goes on the wire. Refusals all look the same; send them after [`padded_delay`].
    pub fn reply(&self) -> ExchangeReply {
        match self {
            Self::Refused(_) => ExchangeReply::NotPermitted,
            Self::IdReused => ExchangeReply::Rejected(Rejection::IdReused),
            Self::Expired => ExchangeReply::Rejected(Rejection::OutOfTime),
            Self::Changed | Self::Damaged => ExchangeReply::Rejected(Rejection::Unavailable),
        }
    }
}

/// How long a refusal still waits, in milliseconds: it leaves at the next multiple of `step_ms`
/// after the request arrived, so that its reason does not show in time. [`REFUSAL_STEP_MS`], or more
/// than a fetch takes where that is slower. Both times are of the monotonic clock.
pub fn padded_delay(arrival_ms: u64, now_ms: u64, step_ms: u64) -> u64 {
    let step = step_ms.max(1);
    step - now_ms.saturating_sub(arrival_ms) % step
}

/// What an evaluation leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Evaluated {
    /// Fetch the records and prepare a presentation.
    Fetch(Allowed),
    /// It was answered before: send the same bytes again.
    Resend(Resend),
}

/// Yes, and about whom, and under which proof that nothing was missed.
struct Decided {
    subject: ServiceId,
    channel: ChannelId,
    applied: ChannelHead,
    /// The lease's grant; `None` if a present-consent needs none.
    lease: Option<wire::Hash>,
    permitted: Permitted,
    /// What each permit that it passes on asks of the recipient.
    terms: BTreeMap<DecisionId, Terms>,
}

impl Authentic {
    /// Evaluates consent before anything of the citizen is fetched.
    pub fn evaluate(&self, view: &View<'_>) -> Result<Evaluated, Declined> {
        self.check_previous(view)?;
        let Decided { subject, permitted, terms, .. } = self.decide(view)?;
        Ok(match view.previous {
            Some(_) => Evaluated::Resend(Resend::new(self.clone())),
            None => Evaluated::Fetch(Allowed::new(self.clone(), subject, permitted, terms)),
        })
    }

    /// What the log and the citizen's home hear of a refusal. `subject` is the citizen's service id
    /// at the source, if it is known.
    pub fn refusal(&self, subject: Option<ServiceId>, reason: Refused) -> Refusal {
        let request = self.request();
        Refusal {
            request_id: self.id(),
            request_nonce: request.id,
            pair: subject.map(|subject| Pair { source: request.source.clone(), subject }),
            recipient: request.recipient.clone(),
            items: request.items.clone(),
            purpose: request.purpose.clone(),
            reason: reason.code().to_owned(),
        }
    }

    fn check_previous(&self, view: &View<'_>) -> Result<(), Declined> {
        if self.is_over(view.at) {
            return Err(Declined::Expired);
        }
        match view.previous {
            Some(Previous { released, .. }) if *released.release.request != *self.bytes() => {
                Err(Declined::IdReused)
            }
            Some(Previous { released, presentation })
                if released.release.presentation != wire::sha256(presentation) =>
            {
                Err(Declined::Damaged)
            }
            _ => Ok(()),
        }
    }

    fn decide(&self, view: &View<'_>) -> Result<Decided, Refused> {
        self.decide_items(view, &self.request().items, self.request().whole)
    }

    /// The rule, under a live lease. Without one only a present-consent counts, and nothing beside
    /// it.
    fn decide_items(
        &self,
        view: &View<'_>,
        items: &[ItemType],
        whole: bool,
    ) -> Result<Decided, Refused> {
        let pair = view.pair.ok_or(Refused::UnknownCitizen)?;
        let present = view.present.filter(|present| present.is_for(self));
        if present.is_some_and(|present| present.subject() != *pair.subject) {
            return Err(Refused::UnknownCitizen);
        }
        let channel = pair.channel.filter(|channel| {
            channel.id.source == self.request().source
                && pair.state.home.as_ref() == Some(&channel.id.home)
        });
        let channel = channel.ok_or(Refused::NoLease)?;
        let joined;
        let state = match present {
            None if channel.lease.is_err() => return Err(Refused::NoLease),
            None => pair.state,
            Some(present) if !present.is_fresh(view.at) => return Err(Refused::KeyDoesNotStand),
            Some(present) => {
                joined = present.joined(pair.state, channel.lease.is_err());
                &joined
            }
        };
        let request = self.request();
        let query = Query {
            recipient: &request.recipient,
            recipient_subject: &request.subject,
            items,
            whole,
            purpose: &request.purpose,
            consent_hash: request.consent_hash(),
            at: view.at,
            released: view.previous.map(|previous| &previous.released.leaves[..]),
        };
        let permitted = evaluate(state, view.uses, &query)?;
        let stands_alone =
            present.is_some_and(|present| permitted.permits().iter().all(|id| *id == present.id()));
        let cited = permitted.permits();
        let terms = (state.permits.iter())
            .filter(|(id, _)| cited.contains(*id))
            .map(|(id, standing)| (*id, Terms::of(&standing.permit)))
            .collect();
        Ok(Decided {
            terms,
            subject: *pair.subject,
            channel: channel.id.clone(),
            applied: *channel.applied,
            lease: channel.lease.ok().filter(|_| !stands_alone).map(|lease| lease.grant),
            permitted,
        })
    }
}

#[cfg(test)]
mod tests;
