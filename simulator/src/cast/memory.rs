//! What is remembered of earlier verifications.

use std::{collections::HashMap, sync::PoisonError};

use consent::{
    AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd, PairState,
    admission::ReadDecision,
    source::{Absorb, Absorbed},
};
use wire::{
    Hash, Timestamp,
    channel::{ChannelId, Entry},
};

use super::{Cast, PaperId, RequestId, UNKNOWN_KIND};
use crate::shared::fingerprint;

/// What is remembered of earlier verifications: the same bytes lead to the same verdict, and a
/// signature costs more than everything else in a step.
#[derive(Default)]
pub(super) struct Memory {
    absorbed: HashMap<(u64, Hash), (PairState, Absorbed)>,
    admitted: HashMap<(u64, PaperId), Option<AdmittedDecision>>,
    begun: HashMap<(u64, PaperId), Result<AdmittedKeyBegin, String>>,
    ended: HashMap<(u64, PaperId), Result<AdmittedKeyEnd, String>>,
    prepared: HashMap<u64, Option<exchange::Prepared>>,
}

impl Cast {
    /// Admits a decision, once for each state of the pair's keys.
    pub fn admit(&self, id: PaperId, pair: &PairState, at: Timestamp) -> Option<AdmittedDecision> {
        let key = (fingerprint(&pair.keys), id);
        self.remembered(
            key,
            |memory| &mut memory.admitted,
            || {
                let read = ReadDecision::read(self.attested(id), &self.network.id);
                read.ok()?.admit(pair, self.trust(), at).ok()
            },
        )
    }

    /// Admits a key-begin, once for each state of the pair.
    pub fn admit_begin(
        &self,
        id: PaperId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedKeyBegin, String> {
        self.remembered(
            (fingerprint(pair), id),
            |memory| &mut memory.begun,
            || {
                let channel = self.channel(self.paper(id).pair);
                AdmittedKeyBegin::admit(self.attested(id), &channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// The same for a key-end.
    pub fn admit_end(
        &self,
        id: PaperId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedKeyEnd, String> {
        self.remembered(
            (fingerprint(pair), id),
            |memory| &mut memory.ended,
            || {
                let channel = self.channel(self.paper(id).pair);
                AdmittedKeyEnd::admit(self.attested(id), &channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// Builds and signs a presentation, once for each set of permitted items.
    pub fn prepare(
        &self,
        request: RequestId,
        allowed: exchange::Allowed,
        source: usize,
        at: Timestamp,
    ) -> Option<exchange::Prepared> {
        let key = fingerprint(&(request, allowed.leaves(), at));
        self.remembered(
            key,
            |memory| &mut memory.prepared,
            || {
                let record = exchange::Record::from_json(b"{}").expect("an empty record");
                let leaves = allowed.leaves().iter();
                let records = leaves.map(|(item, _)| (item.clone(), record.clone())).collect();
                let seed = wire::sha256(&key.to_be_bytes()).0;
                let (signer, chain) = &self.credentials[source];
                allowed.prepare(records, chain, seed, at).ok()?.sign(signer).ok()
            },
        )
    }

    /// What was worked out before for `key`, or what `work` finds now.
    fn remembered<K: Eq + std::hash::Hash, V: Clone>(
        &self,
        key: K,
        place: impl Fn(&mut Memory) -> &mut HashMap<K, V>,
        work: impl FnOnce() -> V,
    ) -> V {
        if !self.remembers {
            return work();
        }
        if let Some(known) = place(&mut self.memory()).get(&key) {
            return known.clone();
        }
        let found = work();
        place(&mut self.memory()).insert(key, found.clone());
        found
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Absorb for Cast {
    fn absorb(
        &self,
        channel: &ChannelId,
        pair: &mut PairState,
        entry: &Entry,
        hash: &Hash,
        at: Timestamp,
    ) -> Absorbed {
        // When it was accepted makes no difference within a scenario's few seconds.
        let what = if entry.kind == UNKNOWN_KIND { *hash } else { wire::sha256(&entry.body) };
        let key = (fingerprint(&(&*pair, entry.kind)), what);
        let before = &*pair;
        let (after, absorbed) = self.remembered(
            key,
            |memory| &mut memory.absorbed,
            || {
                let mut after = before.clone();
                let absorbed = self.trust().absorb(channel, &mut after, entry, hash, at);
                (after, absorbed)
            },
        );
        *pair = after;
        absorbed
    }
}
