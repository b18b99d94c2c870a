//! The denies that stand in a permit's way: those that the citizen named to reopen, those that still
//! stand, and under which names they go.

use std::{collections::BTreeSet, fmt::Write};

use anyhow::bail;
use clap::Args;
use wallet::{PermitDraft, RegisterView};
use wire::{DecisionId, Hash, KeyHash, consent::Reopen};

use super::words;

/// What no longer stands against a permit; all denies of each are shown.
#[derive(Debug, Clone, Default, Args)]
pub struct ReopenArgs {
    /// A deny that shall no longer stand against the permit; several times for several.
    #[arg(long = "reopen", value_name = "DENY")]
    pub denies: Vec<DecisionId>,
    /// All denies of a list that your home made of many (`collapsed` in the register), by its digest.
    #[arg(long = "reopen-list", value_name = "DIGEST")]
    pub lists: Vec<Hash>,
    /// All denies of a key that was ended: a lost phone's.
    #[arg(long = "reopen-key", value_name = "KEY")]
    pub keys: Vec<KeyHash>,
}

impl ReopenArgs {
    pub fn all(&self) -> BTreeSet<Reopen> {
        let denies = self.denies.iter().copied().map(Reopen::Deny);
        let lists = self.lists.iter().copied().map(Reopen::Collapsed);
        denies.chain(lists).chain(self.keys.iter().copied().map(Reopen::Key)).collect()
    }
}

/// What the register says of a draft's way.
pub(super) struct InTheWay {
    /// For people: every deny that is named, and every one that still stands.
    pub(super) text: String,
    pub(super) named: BTreeSet<DecisionId>,
    pub(super) standing: Vec<DecisionId>,
}

/// Looks up what a draft names, and what covers it and is not named.
pub(super) fn in_the_way(view: &RegisterView, draft: &PermitDraft) -> anyhow::Result<InTheWay> {
    let mut named = BTreeSet::new();
    for reopen in &draft.reopens {
        match view.denies_named_by(reopen) {
            Some(denies) => named.extend(denies),
            None => {
                let (source, what) = (&draft.source, describe(reopen));
                bail!("no {what} stands at {source}");
            }
        }
    }
    let covering = view.denies_a_permit_would_reopen(draft);
    let standing: Vec<_> = covering.into_iter().filter(|id| !named.contains(id)).collect();
    let mut text = String::new();
    if !named.is_empty() {
        let named: Vec<_> = named.iter().copied().collect();
        text += "These denies will no longer stand against it:\n";
        text += &words::denies(view, &named);
    }
    if !standing.is_empty() {
        text += "These denies still stand against it; each needs --reopen:\n";
        text += &words::denies(view, &standing);
        for (reopen, count) in view.together(&standing) {
            let _ = match reopen {
                Reopen::Collapsed(digest) => {
                    writeln!(text, "  {count} of them by --reopen-list {digest}")
                }
                Reopen::Key(key) => writeln!(text, "  {count} of them by --reopen-key {key}"),
                Reopen::Deny(_) => Ok(()),
            };
        }
    }
    Ok(InTheWay { text, named, standing })
}

fn describe(reopen: &Reopen) -> String {
    match reopen {
        Reopen::Deny(id) => format!("deny {id}"),
        Reopen::Collapsed(digest) => format!("list of denies {digest}"),
        Reopen::Key(key) => format!("ended key {key}"),
    }
}
