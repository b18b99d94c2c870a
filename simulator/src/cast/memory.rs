//! What is remembered of earlier verifications.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use consent::{
    AdmittedCollapse, AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd, AdmittedMove, PairState,
    admission::ReadDecision,
    home::adopt,
    source::{Absorb, Absorbed},
};
use wire::{
    Bytes, DecisionId, Hash, Signed, Timestamp,
    channel::{ChannelId, Entry},
    consent::{Attested, Collapse},
    exchange::{Rejection, Request},
};

use super::{Cast, PairId, PaperId, Says, UNKNOWN_KIND};
use crate::shared::fingerprint;

/// What is remembered of earlier verifications: the same bytes lead to the same verdict, and a
/// signature costs more than everything else in a step.
#[derive(Default)]
pub(super) struct Memory {
    absorbed: HashMap<(u64, Hash), (PairState, Absorbed)>,
    admitted: HashMap<(u64, PaperId), Option<AdmittedDecision>>,
    begun: HashMap<(u64, PaperId), Result<AdmittedKeyBegin, String>>,
    ended: HashMap<(u64, PaperId), Result<AdmittedKeyEnd, String>>,
    moved: HashMap<(u64, PaperId), Result<AdmittedMove, String>>,
    adopted: HashMap<u64, PairState>,
    collapsed: HashMap<u64, Option<AdmittedCollapse>>,
    prepared: HashMap<u64, Option<exchange::Prepared>>,
    pub(super) signed: HashMap<u64, Signed<Request>>,
    pub(super) authentic: HashMap<u64, Result<exchange::Authentic, Rejection>>,
    pub(super) present: HashMap<(u64, Timestamp), Option<exchange::PresentConsent>>,
    pub(super) endings: HashMap<u64, Result<exchange::Ending, exchange::NoEnding>>,
    pub(super) receipts: HashMap<u64, Bytes>,
    pub(super) noted: HashMap<u64, bool>,
}

/// A copy of a cast remembers for itself.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Memory>);

impl Clone for Remembered {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Cast {
    /// Admits a decision, once for each state of the pair's keys: wallets hand the same one in again.
    pub fn admit(&self, id: PaperId, pair: &PairState, at: Timestamp) -> Option<AdmittedDecision> {
        let key = (fingerprint(&pair.keys), id);
        self.always_remembered(
            key,
            |memory| &mut memory.admitted,
            || {
                let read = ReadDecision::read(self.attested(id), &self.network.id);
                read.ok()?.admit(pair, self.trust(), at).ok()
            },
        )
    }

    /// Admits a key-begin into a channel, once for each state of the pair.
    pub fn admit_begin(
        &self,
        id: PaperId,
        channel: &ChannelId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedKeyBegin, String> {
        self.remembered(
            (fingerprint(&(channel, pair)), id),
            |memory| &mut memory.begun,
            || {
                AdmittedKeyBegin::admit(self.attested(id), channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// The same for a key-end.
    pub fn admit_end(
        &self,
        id: PaperId,
        channel: &ChannelId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedKeyEnd, String> {
        self.remembered(
            (fingerprint(&(channel, pair)), id),
            |memory| &mut memory.ended,
            || {
                AdmittedKeyEnd::admit(self.attested(id), channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// The same for the half of a move that belongs into a channel.
    pub fn admit_move(
        &self,
        id: PaperId,
        channel: &ChannelId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedMove, String> {
        let Says::Moves { from, .. } = self.paper(id).says else { panic!("paper {id} moves") };
        let ends = channel.home == self.homes[from];
        let admit = if ends { AdmittedMove::admit_end } else { AdmittedMove::admit_begin };
        self.remembered(
            (fingerprint(&(channel, pair)), id),
            |memory| &mut memory.moved,
            || {
                admit(self.attested(id), channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// What a new home makes of the register that a citizen brings.
    pub fn adopt(
        &self,
        old: &ChannelId,
        pair: PairState,
        register: &[Entry],
        at: Timestamp,
    ) -> PairState {
        self.remembered(
            fingerprint(&(old, &pair, register)),
            |memory| &mut memory.adopted,
            || adopt(old, pair.clone(), register, self.trust(), at),
        )
    }

    /// The home lists denies of its citizen.
    pub fn collapse(
        &self,
        home: usize,
        pair: PairId,
        state: &PairState,
        denies: Vec<DecisionId>,
        at: Timestamp,
    ) -> Option<AdmittedCollapse> {
        let channel = self.channel(home, pair);
        self.remembered(
            fingerprint(&(&channel, state, &denies)),
            |memory| &mut memory.collapsed,
            || {
                let subject = self.subject(pair);
                let collapse = Collapse {
                    channel: channel.clone(),
                    subject,
                    denies: denies.clone(),
                    time: at,
                };
                let city = &self.cities[home];
                let object = self.sign(collapse, &city.signer);
                let listed = Attested { object, chain: city.chain.clone() };
                AdmittedCollapse::admit(&listed, &channel, state, self.trust(), at).ok()
            },
        )
    }

    /// Builds and signs a presentation, once for each set of permitted items.
    pub fn prepare(
        &self,
        allowed: exchange::Allowed,
        source: usize,
        at: Timestamp,
    ) -> Option<exchange::Prepared> {
        let key = fingerprint(&(allowed.request().id(), allowed.leaves(), at));
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
    pub(super) fn remembered<K: Eq + std::hash::Hash, V: Clone>(
        &self,
        key: K,
        place: impl Fn(&mut Memory) -> &mut HashMap<K, V>,
        work: impl FnOnce() -> V,
    ) -> V {
        if self.remembers { self.always_remembered(key, place, work) } else { work() }
    }

    pub(super) fn always_remembered<K: Eq + std::hash::Hash, V: Clone>(
        &self,
        key: K,
        place: impl Fn(&mut Memory) -> &mut HashMap<K, V>,
        work: impl FnOnce() -> V,
    ) -> V {
        if let Some(known) = place(&mut self.memory()).get(&key) {
            return known.clone();
        }
        let found = work();
        place(&mut self.memory()).insert(key, found.clone());
        found
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let key = (fingerprint(&(&channel.home, &*pair, entry.kind)), what);
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
