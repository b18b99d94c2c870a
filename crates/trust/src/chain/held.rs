//! Chains that held, remembered. A member signs everything with one chain, and a citizen's phone many
//! things with one: to validate the path again each time would cost more than the signature itself.
//!
//! A trust list never changes, a newer one is another value with a memory of its own: so what it says of
//! anchors and denials cannot become old here. Time can, so a verdict counts only within the time for
//! which every certificate of the chain holds. Refusals are not remembered, and so nothing that a
//! stranger made up.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use wire::{Bytes, Timestamp};

use super::{CertificateKind, VerifiedChain};

/// About 1 KiB each.
const MOST: usize = 2048;

/// The very same certificates, asked about as a leaf of the same kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    certificates: wire::Hash,
    kind: CertificateKind,
}

impl Asked {
    pub fn new(chain: &[Bytes], kind: CertificateKind) -> Self {
        Self { certificates: wire::sha256(&wire::cbor::to_vec(&chain)), kind }
    }
}

#[derive(Default)]
pub(crate) struct HeldChains(Mutex<HashMap<Asked, VerifiedChain>>);

impl HeldChains {
    /// The verdict, if all certificates hold at `at`.
    pub fn get(&self, asked: &Asked, at: Timestamp) -> Option<VerifiedChain> {
        let held = self.lock();
        let verdict = held.get(asked)?;
        // Certificates know seconds only.
        let seconds = verdict.not_before.as_secs()..=verdict.not_after.as_secs();
        seconds.contains(&at.as_secs()).then(|| verdict.clone())
    }

    pub fn put(&self, asked: Asked, verdict: VerifiedChain) {
        let mut held = self.lock();
        if held.len() >= MOST {
            // Seldom, and a full check finds each of them again.
            held.clear();
        }
        held.insert(asked, verdict);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asked, VerifiedChain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
