//! The `allowed` rule (DESIGN section 6, `specs/04-consent.md`):
//!
//! ```text
//! allowed(request) ⟺ some permit p is live and covers the request, and
//!                     every deny that covers it is named in p.reopens
//! ```
//!
//! evaluated for each leaf item. Nothing else: no order, no "most specific", no clocks compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, Hash, ItemType, Purpose, ServiceId, ServiceName, Timestamp,
    consent::{Onward, Uses, Window},
};

use crate::{
    guard::Guard,
    pair::{PairState, StandingDeny, StandingPermit},
    scope,
    vocabulary::{self, Vocabulary},
};

/// What a recipient asks, as the rule sees it.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    pub recipient: &'a ServiceName,
    /// The citizen's service id at the recipient.
    pub recipient_subject: &'a ServiceId,
    /// Item types or categories.
    pub items: &'a [ItemType],
    /// All the items, or nothing.
    pub whole: bool,
    pub purpose: &'a Purpose,
    /// What a present-consent binds ([`wire::exchange::Request::consent_hash`]).
    pub consent_hash: Hash,
    pub at: Timestamp,
    /// What an earlier release of this very request recorded. A retry passes on the same permits or
    /// not at all, and its own use does not count against it.
    pub released: Option<&'a [(ItemType, DecisionId)]>,
}

/// Yes: for each leaf to be presented, the permit it passes on. Sorted by leaf, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permitted {
    leaves: Vec<(ItemType, DecisionId)>,
    terms: BTreeMap<DecisionId, PermitTerms>,
}

/// Under which terms a permit lets data go: the source applies the window, the recipient is bound by the
/// rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermitTerms {
    pub window: Option<Window>,
    pub retention_days: Option<u32>,
    pub onward: Onward,
}

impl Permitted {
    pub fn leaves(&self) -> &[(ItemType, DecisionId)] {
        &self.leaves
    }

    pub fn permits(&self) -> BTreeSet<DecisionId> {
        self.leaves.iter().map(|(_, permit)| *permit).collect()
    }

    /// The terms of the permit that a leaf passes on; `None` for a leaf that does not.
    pub fn terms(&self, leaf: &ItemType) -> Option<&PermitTerms> {
        let (_, permit) = self.leaves.iter().find(|(item, _)| item == leaf)?;
        self.terms.get(permit)
    }
}

/// No, and exactly why: for the citizen's home and the log, never for the recipient.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    thiserror::Error,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    // In rising order of how much they explain: the highest reason found is the one reported.
    #[error("the source does not know this citizen at this recipient")]
    UnknownCitizen,
    #[error("no item that the vocabulary knows was asked for")]
    UnknownItem,
    #[error("the purpose is none that the vocabulary knows")]
    UnknownPurpose,
    #[error("no permit covers the request")]
    NoPermit,
    #[error("the permit's key does not stand behind it")]
    KeyDoesNotStand,
    #[error("the permit is not valid yet")]
    NotYetValid,
    #[error("the permit has expired")]
    Expired,
    #[error("the permit's uses are spent")]
    UsesSpent,
    #[error("a deny stands that no permit names")]
    Denied,
    #[error("the source holds no data of what is permitted")]
    NoData,
    #[error("the source holds no live lease from the citizen's home")]
    NoLease,
}

impl Refused {
    /// The reason's code in the evidence log and in notices.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownCitizen => "unknown-citizen",
            Self::UnknownItem => "unknown-item",
            Self::UnknownPurpose => "unknown-purpose",
            Self::NoPermit => "no-permit",
            Self::KeyDoesNotStand => "key-does-not-stand",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::UsesSpent => "uses-spent",
            Self::Denied => "denied",
            Self::NoData => "no-data",
            Self::NoLease => "no-lease",
        }
    }
}

/// How often a permit has been used, in its current period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseCount {
    /// Which period since `valid_from` the count is of; 0 for a permit good once.
    pub period: u64,
    pub count: u32,
}

/// The use counters; a permit without one was never used.
pub trait UseView {
    fn uses(&self, permit: &DecisionId) -> UseCount;
}

impl UseView for BTreeMap<DecisionId, UseCount> {
    fn uses(&self, permit: &DecisionId) -> UseCount {
        self.get(permit).copied().unwrap_or_default()
    }
}

/// Evaluates a query against everything the source has applied for the pair.
pub fn evaluate(
    pair: &PairState,
    uses: &dyn UseView,
    query: &Query<'_>,
) -> Result<Permitted, Refused> {
    let leaves: BTreeSet<ItemType> =
        query.items.iter().flat_map(|item| vocabulary::CURRENT.leaves_of(item)).collect();
    if leaves.is_empty() {
        return Err(Refused::UnknownItem);
    }
    // A category of purposes is none: what is denied below it would be asked for around the deny.
    if !vocabulary::CURRENT.knows_purpose(query.purpose) {
        return Err(Refused::UnknownPurpose);
    }
    let mut permitted = Vec::new();
    let mut reason = Refused::UnknownItem;
    for leaf in leaves {
        match evaluate_leaf(pair, uses, query, &leaf) {
            Ok(permit) => permitted.push((leaf, permit)),
            Err(refused) if query.whole => return Err(refused),
            Err(refused) => reason = reason.max(refused),
        }
    }
    // A category asked for as a whole that the vocabulary does not know in full is not whole.
    let unknown = query.items.iter().any(|item| vocabulary::CURRENT.leaves_of(item).is_empty());
    if query.whole && unknown {
        return Err(Refused::UnknownItem);
    }
    if let Some(released) = query.released
        && permitted != released
        && Guard::RetrySamePermits.holds()
    {
        return Err(reason.max(Refused::NoPermit));
    }
    if permitted.is_empty() {
        return Err(reason);
    }
    let cited: BTreeSet<_> = permitted.iter().map(|(_, permit)| *permit).collect();
    let terms =
        (cited.into_iter()).filter_map(|id| Some((id, terms_of(pair.permits.get(&id)?)))).collect();
    Ok(Permitted { leaves: permitted, terms })
}

fn terms_of(standing: &StandingPermit) -> PermitTerms {
    let permit = &standing.permit;
    PermitTerms {
        window: permit.window,
        retention_days: permit.retention_days,
        onward: permit.onward,
    }
}

/// The permit that one leaf passes on: of those that allow it, unlimited first, then the earliest
/// expiry, then the lowest id.
fn evaluate_leaf(
    pair: &PairState,
    uses: &dyn UseView,
    query: &Query<'_>,
    leaf: &ItemType,
) -> Result<DecisionId, Refused> {
    let denies: Vec<_> = (pair.standing())
        .filter(|(deny, _)| scope::covers(&deny.scope, leaf, query.recipient, query.purpose))
        .collect();
    let recorded = query
        .released
        .and_then(|released| released.iter().find(|(item, _)| item == leaf))
        .map(|(_, permit)| permit);
    let mut reason = Refused::NoPermit;
    let mut best = None;
    for (id, permit) in &pair.permits {
        let other = query.released.is_some() && recorded != Some(id);
        if other && Guard::RetrySamePermits.holds() {
            continue;
        }
        match permit_allows(pair, uses, query, leaf, id, permit, &denies, recorded.is_some()) {
            Ok(()) => {
                let rank = (permit.permit.uses != Uses::Unlimited, permit.permit.valid_until, *id);
                best = Some(best.map_or(rank, |best| rank.min(best)));
            }
            Err(refused) => reason = reason.max(refused),
        }
    }
    best.map(|(_, _, id)| id).ok_or(reason)
}

#[allow(clippy::too_many_arguments)] // one rule, read in one place
fn permit_allows(
    pair: &PairState,
    uses: &dyn UseView,
    query: &Query<'_>,
    leaf: &ItemType,
    id: &DecisionId,
    standing: &StandingPermit,
    denies: &[(&StandingDeny, &[DecisionId])],
    is_retry: bool,
) -> Result<(), Refused> {
    let permit = &standing.permit;
    let Some(vocabulary) = Vocabulary::version(permit.vocabulary) else {
        return Err(Refused::NoPermit);
    };
    let covered =
        scope::permits(&standing.scope, &vocabulary, leaf, query.recipient, query.purpose)
            && permit.recipient_subject == *query.recipient_subject
            && (permit.request.is_none_or(|hash| hash == query.consent_hash)
                || !Guard::PresentForOneRequest.holds());
    if !covered {
        return Err(Refused::NoPermit);
    }
    pair.key_stands(id, standing, query.at).map_err(|_| Refused::KeyDoesNotStand)?;
    if query.at < permit.valid_from {
        return Err(Refused::NotYetValid);
    }
    if query.at >= permit.valid_until {
        return Err(Refused::Expired);
    }
    let own = is_retry && Guard::RetryIgnoresOwnUse.holds();
    if !own && spent(permit.uses, permit.valid_from, query.at, uses.uses(id)) {
        return Err(Refused::UsesSpent);
    }
    let reopened = pair.reopened(&permit.reopens);
    let named = |(deny, ids): &(&StandingDeny, &[DecisionId])| {
        ids.iter().all(|id| reopened.names(id, deny))
    };
    if denies.iter().all(named) { Ok(()) } else { Err(Refused::Denied) }
}

fn spent(uses: Uses, valid_from: Timestamp, at: Timestamp, used: UseCount) -> bool {
    match uses {
        Uses::Unlimited => false,
        Uses::Once => used.count > 0,
        Uses::Per { count, .. } => {
            // A clock that was set back must not open a period again that is already counted.
            let period = period(uses, valid_from, at);
            used.period > period || (used.period == period && used.count >= count)
        }
    }
}

fn period(uses: Uses, valid_from: Timestamp, at: Timestamp) -> u64 {
    match uses {
        Uses::Per { period_ms, .. } => at.ms_since(valid_from).checked_div(period_ms).unwrap_or(0),
        Uses::Once | Uses::Unlimited => 0,
    }
}

/// The counter after one more use of a permit; `None` where nothing is counted.
pub fn use_after(standing: &StandingPermit, used: UseCount, at: Timestamp) -> Option<UseCount> {
    let permit = &standing.permit;
    if permit.uses == Uses::Unlimited {
        return None;
    }
    let period = period(permit.uses, permit.valid_from, at).max(used.period);
    let count = if used.period == period { used.count.saturating_add(1) } else { 1 };
    Some(UseCount { period, count })
}

#[cfg(test)]
mod tests;
