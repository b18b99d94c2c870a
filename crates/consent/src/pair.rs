//! One citizen at one source: the keys of the pair, and its permits and denies, as a *set*. Nothing
//! here depends on the order in which things arrived, with one exception that the protocol wants:
//! the first home that begins a key is the pair's home.
//!
//! Both ends of a channel keep this state and change it by the same functions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::{
    Bytes, DecisionId, Hash, KeyHash, OrganisationId, PublicKey, Timestamp,
    channel::Entry,
    consent::{Attested, Decision, ExpressedBy, Permit, Reopen, Scope, collapse_digest},
};

use crate::{
    admission::{
        AdmittedCollapse, AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd, AdmittedMove,
    },
    guard::Guard,
    scope,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairState {
    /// Whose channel permits and keys are taken from, and whose lease counts: set by the first
    /// key-begin, then by each move.
    pub home: Option<OrganisationId>,
    /// How often the pair has moved.
    pub epoch: u32,
    /// Between the two halves of a move: the old home has let go, the new one has not begun.
    pub awaits_begin: bool,
    pub former_homes: BTreeSet<OrganisationId>,
    /// What came from homes to come, from their move-begin on; it acts once the home before lets go.
    pub waiting: BTreeMap<OrganisationId, Vec<Entry>>,
    pub keys: BTreeMap<KeyHash, PairKey>,
    /// Keys that ended, by the permits each end keeps. An end may arrive before its begin.
    pub ended: BTreeMap<KeyHash, BTreeSet<DecisionId>>,
    pub permits: BTreeMap<DecisionId, StandingPermit>,
    /// Those that no collapse lists.
    pub denies: BTreeMap<DecisionId, StandingDeny>,
    /// What each collapse lists, held here or not.
    pub collapsed: BTreeMap<Hash, BTreeSet<DecisionId>>,
    /// The denies that a collapse lists, once for each scope and signer; sorted.
    pub folded: Vec<FoldedDenies>,
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
    /// Without its link, which was checked when the permit was admitted and is in its entry.
    pub permit: Permit,
}

impl StandingPermit {
    pub fn new(admitted: &AdmittedDecision) -> Option<Self> {
        let Decision { scope, expressed_by, .. } = admitted.decision().clone();
        let mut permit = admitted.permit()?.clone();
        permit.link = Attested { object: Bytes(Vec::new()), chain: Vec::new() };
        Some(Self { key: admitted.key(), expressed_by, scope, permit })
    }
}

/// How long a permit that is over is kept, so that who asks again soon is told why not.
const OVER_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingDeny {
    /// Who signed it; `None` for an entry that could not be read, applied as a deny of its scope.
    pub key: Option<KeyHash>,
    pub scope: Scope,
    /// For an entry that could not be read: whose channel it came in. It stands only if that is, or
    /// was, the pair's home, or any municipality could lock out any citizen.
    pub unreadable_from: Option<OrganisationId>,
}

/// Collapsed denies that say the same: what they say is kept once, and which they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldedDenies {
    pub deny: StandingDeny,
    /// Sorted, each once.
    pub ids: Vec<DecisionId>,
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
    #[error("the key was begun on another basis (self, guardian, proxy) than the decision names")]
    OtherBasis,
}

/// What the `reopens` of one permit come to in a pair.
pub struct Reopened<'a> {
    denies: BTreeSet<&'a DecisionId>,
    ended_keys: BTreeSet<&'a KeyHash>,
    collapsed: Vec<&'a BTreeSet<DecisionId>>,
}

impl Reopened<'_> {
    pub fn names(&self, id: &DecisionId, deny: &StandingDeny) -> bool {
        self.denies.contains(id)
            || deny.key.as_ref().is_some_and(|key| self.ended_keys.contains(key))
            || self
                .collapsed
                .iter()
                .any(|ids| ids.contains(id) || !Guard::CollapseListsExactIds.holds())
    }
}

impl PairState {
    /// Whether permits and keys are taken from this home's channel now.
    pub fn is_home(&self, organisation: &OrganisationId) -> bool {
        !self.awaits_begin && self.home.as_ref() == Some(organisation)
    }

    /// Whether what this state says came through more than one home's channel.
    pub fn has_moved(&self) -> bool {
        self.epoch > 0 || !self.waiting.is_empty()
    }

    /// Whether an entry of this home's channel waits, without effect, for the home before to let go.
    pub fn waits(&self, home: &OrganisationId, entry: &Entry) -> bool {
        self.waiting.get(home).is_some_and(|entries| entries.contains(entry))
    }

    /// Whether the key behind `permit` stands behind it at `at`.
    pub fn key_stands(
        &self,
        id: &DecisionId,
        permit: &StandingPermit,
        at: Timestamp,
    ) -> Result<(), KeyStanding> {
        let Some(key) = self.keys.get(&permit.key) else {
            return if Guard::KeyMustBegin.holds() { Err(KeyStanding::NotBegun) } else { Ok(()) };
        };
        let voided = self.ended.get(&permit.key).is_some_and(|keeps| !keeps.contains(id));
        if voided && Guard::KeyEndVoids.holds() {
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

    /// On what basis a key stands now: begun, not ended, not over. What it may sign for others hangs
    /// on that.
    pub fn standing_basis(&self, key: &KeyHash, at: Timestamp) -> Option<ExpressedBy> {
        if self.ended.contains_key(key) {
            return None;
        }
        self.keys.get(key).filter(|key| at < key.until).map(|key| key.basis)
    }

    pub fn knows(&self, decision: &DecisionId) -> bool {
        self.permits.contains_key(decision) || self.knows_deny(decision)
    }

    pub fn knows_deny(&self, id: &DecisionId) -> bool {
        self.deny(id).is_some()
    }

    /// A deny that is held, collapsed or not.
    pub fn deny(&self, id: &DecisionId) -> Option<&StandingDeny> {
        self.denies.get(id).or_else(|| {
            let folded = self.folded.iter().find(|folded| folded.ids.binary_search(id).is_ok());
            folded.map(|folded| &folded.deny)
        })
    }

    pub fn apply_decision(&mut self, admitted: &AdmittedDecision) {
        match StandingPermit::new(admitted) {
            None => {
                let scope = admitted.decision().scope.clone();
                let deny = StandingDeny { key: Some(admitted.key()), scope, unreadable_from: None };
                self.apply_deny(admitted.id(), deny);
            }
            Some(permit) => {
                if !Guard::DenyStandsUntilNamed.holds() {
                    self.denies.retain(|_, deny| !scope::overlaps(&deny.scope, &permit.scope));
                }
                self.permits.insert(admitted.id(), permit);
            }
        }
    }

    /// Forgets permits that have long been over at `at`, the time in the header of an entry of the
    /// pair's home: both ends forget the same, and none of them can permit anything any more.
    pub fn forget_over(&mut self, at: Timestamp) {
        self.permits.retain(|_, permit| at < permit.permit.valid_until.plus_ms(OVER_MS));
    }

    /// How many permits are not over.
    pub fn open_permits(&self, at: Timestamp) -> usize {
        self.permits.values().filter(|permit| at < permit.permit.valid_until).count()
    }

    /// An entry that could not be read or verified, and is no permit.
    pub fn apply_unreadable(&mut self, id: DecisionId, scope: Scope, from: OrganisationId) {
        self.apply_deny(id, StandingDeny { key: None, scope, unreadable_from: Some(from) });
    }

    /// A deny goes where it would be had it come before every collapse that lists it.
    pub(crate) fn apply_deny(&mut self, id: DecisionId, deny: StandingDeny) {
        if self.collapsed.values().any(|ids| ids.contains(&id)) {
            self.fold(id, deny);
        } else {
            self.denies.insert(id, deny);
        }
    }

    pub fn apply_collapse(&mut self, admitted: &AdmittedCollapse) {
        self.collapse(admitted.collapse().denies.iter().copied().collect());
    }

    pub(crate) fn collapse(&mut self, ids: BTreeSet<DecisionId>) {
        for id in &ids {
            if let Some(deny) = self.denies.remove(id)
                && Guard::CollapsedDeniesStand.holds()
            {
                self.fold(*id, deny);
            }
        }
        self.collapsed.insert(collapse_digest(&ids), ids);
    }

    fn fold(&mut self, id: DecisionId, deny: StandingDeny) {
        match self.folded.binary_search_by(|folded| folded.deny.cmp(&deny)) {
            Ok(at) => {
                let ids = &mut self.folded[at].ids;
                if let Err(place) = ids.binary_search(&id) {
                    ids.insert(place, id);
                }
            }
            Err(at) => self.folded.insert(at, FoldedDenies { deny, ids: vec![id] }),
        }
    }

    /// The denies that stand, whatever order things came in: what each says, with the ids of those
    /// that say it.
    pub fn standing(&self) -> impl Iterator<Item = (&StandingDeny, &[DecisionId])> {
        let single = self.denies.iter().map(|(id, deny)| (deny, std::slice::from_ref(id)));
        let folded = self.folded.iter().map(|folded| (&folded.deny, &folded.ids[..]));
        single.chain(folded).filter(|(deny, _)| match &deny.unreadable_from {
            None => true,
            Some(from) => self.home.as_ref() == Some(from) || self.former_homes.contains(from),
        })
    }

    /// The same, one by one.
    pub fn standing_denies(&self) -> impl Iterator<Item = (&DecisionId, &StandingDeny)> {
        self.standing().flat_map(|(deny, ids)| ids.iter().map(move |id| (id, deny)))
    }

    /// Takes the denies that these permits name and that are not held here as denies of what each permit is
    /// about. For who reads channels that have not brought everything yet: whoever named a deny saw it.
    pub fn assume_named(&mut self, permits: &[DecisionId]) {
        for id in permits {
            let Some(permit) = self.permits.get(id) else { continue };
            let scope = permit.scope.clone();
            let named = permit.permit.reopens.iter().filter_map(|reopen| match reopen {
                Reopen::Deny(deny) if !self.knows_deny(deny) => Some(*deny),
                _ => None,
            });
            for deny in named.collect::<Vec<_>>() {
                let standing =
                    StandingDeny { key: None, scope: scope.clone(), unreadable_from: None };
                self.apply_deny(deny, standing);
            }
        }
    }

    /// What `reopens` name here. A list that is not held names nothing; nor does a key that was not
    /// ended: what it may still say is not known.
    pub fn reopened<'a>(&'a self, reopens: impl IntoIterator<Item = &'a Reopen>) -> Reopened<'a> {
        let mut reopened = Reopened {
            denies: BTreeSet::new(),
            ended_keys: BTreeSet::new(),
            collapsed: Vec::new(),
        };
        for reopen in reopens {
            match reopen {
                Reopen::Deny(id) => {
                    reopened.denies.insert(id);
                }
                Reopen::Key(key) if self.ended.contains_key(key) => {
                    reopened.ended_keys.insert(key);
                }
                Reopen::Key(_) => {}
                Reopen::Collapsed(digest) => reopened.collapsed.extend(self.collapsed.get(digest)),
            }
        }
        reopened
    }

    pub fn apply_key_begin(&mut self, admitted: &AdmittedKeyBegin) {
        self.home.get_or_insert_with(|| admitted.home().clone());
        // A key begins once; a second begin cannot stretch its time or change its basis.
        self.keys.entry(admitted.key()).or_insert_with(|| admitted.pair_key());
    }

    pub fn apply_key_end(&mut self, admitted: &AdmittedKeyEnd) {
        self.end_key(admitted.end().key, admitted.end().keeps.iter().copied().collect());
    }

    pub(crate) fn end_key(&mut self, key: KeyHash, keeps: BTreeSet<DecisionId>) {
        // Two ends of one key: only what both keep is kept, in whatever order they come.
        let kept = self.ended.entry(key).or_insert_with(|| keeps.clone());
        kept.retain(|id| keeps.contains(id));
    }

    /// The old home lets go. From here on its entries are relayed denies or nothing.
    pub fn apply_move_end(&mut self, admitted: &AdmittedMove) {
        let moving = admitted.moving();
        self.leave(&moving.from, &moving.to, moving.epoch);
    }

    /// The new home begins. If the trust list no longer has the old one, it lets go with this.
    pub fn apply_move_begin(&mut self, admitted: &AdmittedMove) {
        let moving = admitted.moving();
        if self.home.as_ref() != Some(&moving.to) {
            self.leave(&moving.from, &moving.to, moving.epoch);
        }
        self.awaits_begin = false;
    }

    pub(crate) fn leave(&mut self, from: &OrganisationId, to: &OrganisationId, epoch: u32) {
        self.former_homes.insert(from.clone());
        self.home = Some(to.clone());
        self.epoch = epoch;
        self.awaits_begin = true;
    }
}
