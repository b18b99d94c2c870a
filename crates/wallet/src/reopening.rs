//! What a permit may name besides single denies: a list that the home collapsed, all denies of an ended
//! key. What each comes to in a register is shown to the citizen before they name it.

use std::collections::{BTreeMap, BTreeSet};

use wire::{DecisionId, consent::Reopen};

use crate::{PermitDraft, RegisterView};

impl RegisterView {
    /// The denies that `reopen` names here; `None` if the register has no such deny, list or ended key, or
    /// a list of denies that it does not have all of: nobody reopens what they were not shown.
    pub fn denies_named_by(&self, reopen: &Reopen) -> Option<Vec<DecisionId>> {
        let pair = self.pair();
        match reopen {
            Reopen::Deny(id) => pair.knows_deny(id).then(|| vec![*id]),
            Reopen::Collapsed(digest) => {
                let listed = pair.collapsed.get(digest)?;
                listed
                    .iter()
                    .all(|id| pair.knows_deny(id))
                    .then(|| listed.iter().copied().collect())
            }
            Reopen::Key(key) => {
                pair.ended.get(key)?;
                let theirs =
                    pair.standing_denies().filter(|(_, deny)| deny.key.as_ref() == Some(key));
                Some(theirs.map(|(id, _)| *id).collect())
            }
        }
    }

    /// Whether the citizen's denies leave nothing of what a draft would permit, none of them named: a
    /// request for it is one that they answered before it was made.
    pub fn denies_all_of(&self, draft: &PermitDraft) -> bool {
        let unnamed = PermitDraft { reopens: BTreeSet::new(), ..draft.clone() };
        !draft.leaves().is_empty() && self.leaves_allowed_by(&unnamed).is_empty()
    }

    /// The lists and ended keys that name some of these denies, and how many of them: what to name where
    /// there are more than one permit may name one by one ([`wire::limits::REOPENS`]).
    pub fn together(&self, denies: &[DecisionId]) -> BTreeMap<Reopen, usize> {
        let pair = self.pair();
        let lists = pair.collapsed.keys().copied().map(Reopen::Collapsed);
        let keys = pair.ended.keys().copied().map(Reopen::Key);
        lists
            .chain(keys)
            .filter_map(|reopen| {
                let named = self.denies_named_by(&reopen)?;
                let count = denies.iter().filter(|id| named.contains(id)).count();
                (count > 0).then_some((reopen, count))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
