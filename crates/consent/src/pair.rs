//! One citizen at one source: the keys of the pair, and its permits and denies, as a *set*. Nothing
//! here depends on the order in which things arrived, with one exception that the protocol wants:
//! the first home that begins a key is the pair's home.
//!
//! Both ends of a channel keep this state and change it by the same functions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, KeyHash, OrganisationId, PublicKey, Timestamp,
    consent::{Decision, ExpressedBy, Permit, Scope, Verdict},
};

use crate::admission::{AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairState {
    /// Whose channel permits and keys are taken from; set by the first key-begin.
    pub home: Option<OrganisationId>,
    pub keys: BTreeMap<KeyHash, PairKey>,
    /// Keys that ended, by the permits each end keeps. An end may arrive before its begin.
    pub ended: BTreeMap<KeyHash, BTreeSet<DecisionId>>,
    pub permits: BTreeMap<DecisionId, StandingPermit>,
    pub denies: BTreeMap<DecisionId, StandingDeny>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairKey {
    pub public_key: PublicKey,
    pub basis: ExpressedBy,
    /// First moment at which its permits no longer hold.
    pub until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingPermit {
    pub key: KeyHash,
    pub expressed_by: ExpressedBy,
    pub scope: Scope,
    pub permit: Permit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingDeny {
    /// Who signed it; `None` for an entry that could not be read, applied as a deny of its scope.
    pub key: Option<KeyHash>,
    pub scope: Scope,
    /// For an entry that could not be read: whose channel it came in. It stands only if that is the
    /// pair's home, or any municipality could lock out any citizen.
    pub unreadable_from: Option<OrganisationId>,
}

/// Why a key may not permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeyStanding {
    #[error("no key-begin names this key: it may deny, but not permit")]
    NotBegun,
    #[error("the key was ended, and the end does not keep this permit")]
    Ended,
    #[error("the key's time is over")]
    Over,
    #[error("the key was begun for a guardian, and the decision does not say so (or the reverse)")]
    OtherBasis,
}

impl PairState {
    /// Whether the key behind `permit` stands behind it at `at`.
    pub fn key_stands(
        &self,
        id: &DecisionId,
        permit: &StandingPermit,
        at: Timestamp,
    ) -> Result<(), KeyStanding> {
        let key = self.keys.get(&permit.key).ok_or(KeyStanding::NotBegun)?;
        if self.ended.get(&permit.key).is_some_and(|keeps| !keeps.contains(id)) {
            return Err(KeyStanding::Ended);
        }
        if at >= key.until {
            return Err(KeyStanding::Over);
        }
        if key.basis != permit.expressed_by {
            return Err(KeyStanding::OtherBasis);
        }
        Ok(())
    }

    /// Whether a key may approve others now: begun, not ended, not over.
    pub fn may_approve(&self, key: &KeyHash, at: Timestamp) -> bool {
        !self.ended.contains_key(key) && self.keys.get(key).is_some_and(|key| at < key.until)
    }

    pub fn knows(&self, decision: &DecisionId) -> bool {
        self.permits.contains_key(decision) || self.denies.contains_key(decision)
    }

    pub fn apply_decision(&mut self, admitted: &AdmittedDecision) {
        let Decision { scope, expressed_by, verdict, .. } = admitted.decision().clone();
        let key = admitted.key();
        match verdict {
            Verdict::Deny => {
                let deny = StandingDeny { key: Some(key), scope, unreadable_from: None };
                self.denies.insert(admitted.id(), deny);
            }
            Verdict::Permit(permit) => {
                let permit = StandingPermit { key, expressed_by, scope, permit: *permit };
                self.permits.insert(admitted.id(), permit);
            }
        }
    }

    /// An entry that could not be read or verified, and is no permit.
    pub fn apply_unreadable(&mut self, id: DecisionId, scope: Scope, from: OrganisationId) {
        let deny = StandingDeny { key: None, scope, unreadable_from: Some(from) };
        self.denies.insert(id, deny);
    }

    /// The denies that stand, whatever order things came in.
    pub fn standing_denies(&self) -> impl Iterator<Item = (&DecisionId, &StandingDeny)> {
        self.denies
            .iter()
            .filter(|(_, deny)| deny.unreadable_from.is_none() || deny.unreadable_from == self.home)
    }

    pub fn apply_key_begin(&mut self, admitted: &AdmittedKeyBegin) {
        self.home.get_or_insert_with(|| admitted.home().clone());
        // A key begins once; a second begin cannot stretch its time or change its basis.
        self.keys.entry(admitted.key()).or_insert_with(|| admitted.pair_key());
    }

    pub fn apply_key_end(&mut self, admitted: &AdmittedKeyEnd) {
        let keeps: BTreeSet<_> = admitted.end().keeps.iter().copied().collect();
        // Two ends of one key: only what both keep is kept, in whatever order they come.
        self.ended
            .entry(admitted.end().key)
            .and_modify(|kept| kept.retain(|id| keeps.contains(id)))
            .or_insert(keeps);
    }
}
