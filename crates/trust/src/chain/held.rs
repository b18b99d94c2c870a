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

use wire::{Bytes, Hash, Timestamp};

use super::{CertificateKind, VerifiedChain};

/// About 1 KiB each.
const MOST: usize = 2048;

#[derive(Default)]
pub(crate) struct HeldChains(Mutex<HashMap<(Hash, CertificateKind), VerifiedChain>>);

impl HeldChains {
    /// The verdict on the very same certificates, if they all hold at `at`.
    pub fn get(
        &self,
        chain: &[Bytes],
        kind: CertificateKind,
        at: Timestamp,
    ) -> Option<VerifiedChain> {
        let held = self.lock();
        let verdict = held.get(&(hash(chain), kind))?;
        // Certificates know seconds only.
        let seconds = verdict.not_before.as_secs()..=verdict.not_after.as_secs();
        seconds.contains(&at.as_secs()).then(|| verdict.clone())
    }

    pub fn put(&self, chain: &[Bytes], verdict: &VerifiedChain) {
        let mut held = self.lock();
        if held.len() >= MOST {
            // Seldom, and a full check finds each of them again.
            held.clear();
        }
        held.insert((hash(chain), verdict.kind()), verdict.clone());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Hash, CertificateKind), VerifiedChain>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(chain: &[Bytes]) -> Hash {
    wire::sha256(&wire::cbor::to_vec(&chain))
}
