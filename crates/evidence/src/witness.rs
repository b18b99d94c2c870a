//! Witnesses (c2sp.org/tlog-witness): other members that remember how far a node's log had come, so
//! that it can neither be rewritten nor be put back to an old backup unseen.
//!
//! - [`observe`]: what a witness checks before it cosigns
//! - [`assigned`], [`Quorum`]: who witnesses a log, and how many of them count
//! - [`Gathering`]: at the log, how far enough of them have cosigned
//! - [`StartCheck`]: at the log's node when it starts, whether its log is the newest there is
//!
//! What was accepted was cosigned by `q` witnesses; who starts has asked `r`; as q + r > n, one of
//! those asked knows of it. Nothing here says what a lying witness could do (`specs/13`).

use std::collections::{BTreeMap, BTreeSet};

use wire::{Hash, OrganisationId, hash_parts};

use crate::{
    note::Checkpoint,
    tree::{EMPTY_ROOT, InvalidTreeProof, verify_consistency},
};

/// Most hashes in a consistency proof (c2sp.org/tlog-witness, `add-checkpoint`).
pub const PROOF_LIMIT: usize = 63;
/// Most witnesses that a log is given unless configuration says otherwise.
pub const WITNESSES: usize = 7;

/// Why a witness does not cosign. The first variant only says what to send instead; the next three
/// are seen only of a log that was put back or that forks, when its messages come in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    #[error("the proof begins at another size than the {size} that this witness knows")]
    Conflict { size: u64 },
    #[error("the log has shrunk: this witness knows {size} leaves")]
    Shrunk { size: u64 },
    #[error("the log forks: this witness knows another root at its {size} leaves")]
    Forked { size: u64 },
    #[error(
        "the new tree is not shown to extend the {size} leaves that this witness knows: {fault}"
    )]
    NotAnExtension { size: u64, fault: InvalidTreeProof },
    #[error("the proof begins at {old} leaves, the checkpoint has only {new}")]
    Backwards { old: u64, new: u64 },
    #[error("the checkpoint is of another log than the one known")]
    OtherOrigin,
}

impl WitnessRefusal {
    /// Whether both checkpoints are to be kept, as evidence against the log.
    pub fn is_evidence(&self) -> bool {
        use WitnessRefusal::{Forked, NotAnExtension, Shrunk};
        matches!(self, Forked { .. } | NotAnExtension { .. } | Shrunk { .. })
    }
}

/// Whether a witness that knows `known` may cosign `new`, whose signature by the log was checked.
/// `proof` shows that it extends the first `old_size` leaves, which must be those known (0 at the
/// first time). On `Ok` the witness makes `new` durable in place of `known`, in the same step, and
/// only then answers. A checkpoint equal to the known one is cosigned again.
pub fn observe(
    known: Option<&Checkpoint>,
    old_size: u64,
    proof: &[Hash],
    new: &Checkpoint,
) -> Result<(), WitnessRefusal> {
    if known.is_some_and(|known| known.origin != new.origin) {
        return Err(WitnessRefusal::OtherOrigin);
    }
    if old_size > new.size {
        return Err(WitnessRefusal::Backwards { old: old_size, new: new.size });
    }
    let (size, root) = known.map_or((0, EMPTY_ROOT), |known| (known.size, known.root));
    if new.size < size {
        return Err(WitnessRefusal::Shrunk { size });
    }
    // Before the old size is looked at: a fork is one whatever the proof claims to begin at.
    if new.size == size && new.root != root {
        return Err(WitnessRefusal::Forked { size });
    }
    if old_size != size {
        return Err(WitnessRefusal::Conflict { size });
    }
    if proof.len() > PROOF_LIMIT {
        let fault = InvalidTreeProof::Length(proof.len());
        return Err(WitnessRefusal::NotAnExtension { size, fault });
    }
    verify_consistency(size, &root, new.size, &new.root, proof)
        .map_err(|fault| WitnessRefusal::NotAnExtension { size, fault })
}

/// The witnesses of an organisation's log among `candidates`, at most `n`, by rendezvous hashing: each
/// candidate's rank for a log hangs from these two alone, so a change of the list moves few. Never the
/// log's own organisation.
pub fn assigned(
    candidates: &[OrganisationId],
    log: &OrganisationId,
    n: usize,
) -> Vec<OrganisationId> {
    let rank = |candidate: &OrganisationId| {
        let parts = [log.as_str().as_bytes(), candidate.as_str().as_bytes()];
        hash_parts("mebuku/witness-assignment/1", &parts)
    };
    let others: BTreeSet<_> = candidates.iter().filter(|candidate| *candidate != log).collect();
    let mut ranked: Vec<_> = others.into_iter().map(|other| (rank(other), other)).collect();
    ranked.sort();
    ranked.into_iter().take(n).map(|(_, other)| other.clone()).collect()
}

/// Why numbers of witnesses are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadQuorum {
    #[error("there is no other organisation that could be a witness")]
    NoWitness,
    #[error("of {n} witnesses at least one and at most {n} can be asked for")]
    OutOfRange { n: usize },
    #[error(
        "{cosign} that cosign and {start} asked at a start have none in common for sure among {n} \
         witnesses: together they must be more than {n}"
    )]
    NoOverlap { n: usize, cosign: usize, start: usize },
}

/// How many of a log's witnesses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quorum {
    n: usize,
    q: usize,
    r: usize,
}

impl Quorum {
    /// Of `n` witnesses `q` must cosign and `r` answer at a start; q + r > n.
    pub fn new(n: usize, q: usize, r: usize) -> Result<Self, BadQuorum> {
        if n == 0 {
            return Err(BadQuorum::NoWitness);
        }
        if ![q, r].iter().all(|count| (1..=n).contains(count)) {
            return Err(BadQuorum::OutOfRange { n });
        }
        if q + r <= n {
            return Err(BadQuorum::NoOverlap { n, cosign: q, start: r });
        }
        Ok(Self { n, q, r })
    }

    /// The default for a number of organisations other than the log's own: up to seven witnesses, and
    /// a majority of them for both.
    pub fn of_candidates(candidates: usize) -> Result<Self, BadQuorum> {
        let n = candidates.min(WITNESSES);
        Self::new(n, n / 2 + 1, n / 2 + 1)
    }

    /// Number of witnesses.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many must cosign.
    pub fn q(&self) -> usize {
        self.q
    }

    /// How many must answer at a start.
    pub fn r(&self) -> usize {
        self.r
    }
}

/// How far a log's witnesses have cosigned it. A witness that cosigned a size has seen every smaller
/// one to be part of it, so only its largest is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gathering {
    quorum: Quorum,
    largest: BTreeMap<OrganisationId, u64>,
}

impl Gathering {
    pub fn new(quorum: Quorum, witnesses: impl IntoIterator<Item = OrganisationId>) -> Self {
        Self { quorum, largest: witnesses.into_iter().map(|witness| (witness, 0)).collect() }
    }

    pub fn quorum(&self) -> Quorum {
        self.quorum
    }

    pub fn witnesses(&self) -> impl Iterator<Item = &OrganisationId> {
        self.largest.keys()
    }

    /// A witness's cosignature under a checkpoint of this size arrived and was checked. Of an
    /// organisation that is no witness of this log it counts for nothing.
    pub fn cosigned(&mut self, from: &OrganisationId, size: u64) {
        if let Some(largest) = self.largest.get_mut(from) {
            *largest = size.max(*largest);
        }
    }

    /// The largest size that a witness has cosigned; 0 for none, or for who is no witness.
    pub fn of(&self, witness: &OrganisationId) -> u64 {
        self.largest.get(witness).copied().unwrap_or(0)
    }

    /// How many witnesses have cosigned at least this size.
    pub fn count(&self, size: u64) -> usize {
        self.largest.values().filter(|largest| **largest >= size).count()
    }

    /// The largest size that q witnesses have cosigned; 0 if there is none.
    pub fn reached(&self) -> u64 {
        let mut sizes: Vec<_> = self.largest.values().copied().collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.get(self.quorum.q - 1).copied().unwrap_or(0)
    }

    /// Other witnesses from now on; what those that stay have cosigned counts further.
    pub fn reassign(
        &mut self,
        quorum: Quorum,
        witnesses: impl IntoIterator<Item = OrganisationId>,
    ) {
        let before = std::mem::replace(self, Self::new(quorum, witnesses));
        before.largest.iter().for_each(|(witness, size)| self.cosigned(witness, *size));
    }
}

/// What a node that starts may do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StartVerdict {
    /// Too few witnesses have answered: nothing but the witness role.
    Waiting,
    Serve,
    /// A witness knows a longer log than this node had: it was put back to an old state. It never
    /// serves.
    Restored {
        by: OrganisationId,
        size: u64,
    },
    /// A witness knows another log of this name than the one here. It never serves.
    Forked {
        by: OrganisationId,
    },
}

/// Finds out, before a node serves, whether its log is the newest that its witnesses know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StartCheck {
    own: Checkpoint,
    /// The witnesses of today and, after a reassignment, those of before: of each group r must answer.
    groups: Vec<(Quorum, BTreeSet<OrganisationId>)>,
    answered: BTreeSet<OrganisationId>,
    /// What speaks against serving, for ever.
    against: Option<StartVerdict>,
}

impl StartCheck {
    /// `own` is the head of the log as it was found at the start, before anything is appended.
    pub fn new(
        own: Checkpoint,
        quorum: Quorum,
        witnesses: impl IntoIterator<Item = OrganisationId>,
    ) -> Self {
        let groups = vec![(quorum, witnesses.into_iter().collect())];
        Self { own, groups, answered: BTreeSet::new(), against: None }
    }

    /// Demands answers of a further group too: the witnesses before a reassignment.
    pub fn also(
        mut self,
        quorum: Quorum,
        witnesses: impl IntoIterator<Item = OrganisationId>,
    ) -> Self {
        self.groups.push((quorum, witnesses.into_iter().collect()));
        self
    }

    /// The witnesses that have not answered yet.
    pub fn unanswered(&self) -> impl Iterator<Item = &OrganisationId> {
        let all: BTreeSet<_> = self.groups.iter().flat_map(|(_, witnesses)| witnesses).collect();
        all.into_iter().filter(|witness| !self.answered.contains(*witness))
    }

    /// A witness told the last checkpoint that it knows of this log, checked to bear the log's
    /// signature; `None` if it knows none. `root_at` tells the root that the own tree has (now) at a
    /// size, `None` if it is not that long. Of one that is no witness only what speaks against serving
    /// counts, and an answer about another log counts for nothing.
    pub fn answer(
        &mut self,
        from: &OrganisationId,
        latest: Option<&Checkpoint>,
        root_at: impl FnOnce(u64) -> Option<Hash>,
    ) {
        if latest.is_some_and(|latest| latest.origin != self.own.origin) {
            return;
        }
        // A size beyond the own one at the start may well be known: the node served since.
        if let Some(latest) = latest.filter(|latest| root_at(latest.size) != Some(latest.root)) {
            let by = from.clone();
            let verdict = if latest.size > self.own.size {
                StartVerdict::Restored { by, size: latest.size }
            } else {
                StartVerdict::Forked { by }
            };
            self.against.get_or_insert(verdict);
        }
        self.answered.insert(from.clone());
    }

    /// What holds now. `Serve` comes after enough answers, and a later answer can still revoke it.
    pub fn verdict(&self) -> StartVerdict {
        if let Some(against) = &self.against {
            return against.clone();
        }
        let enough = |(quorum, witnesses): &(Quorum, BTreeSet<OrganisationId>)| {
            self.answered.intersection(witnesses).count() >= quorum.r
        };
        if self.groups.iter().all(enough) { StartVerdict::Serve } else { StartVerdict::Waiting }
    }
}

#[cfg(test)]
mod tests;
