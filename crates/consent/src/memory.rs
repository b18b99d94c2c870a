//! Both ends' stores as plain maps: for tests, the model checker and the simulator.

use std::collections::{BTreeMap, BTreeSet};

use evidence::map::{MapNode, NodeKey};
use wire::{
    DecisionId, OrganisationId, ServiceId, ServiceName, channel::Entry, consent::Attested, limits,
};

use crate::{
    evaluate::{UseCount, UseView},
    home::HomeChannel,
    pair::PairState,
    source::SourceChannel,
    store::{
        ChannelStore, DenyKey, HomeEntries, HomeEntry, HomeStore, PairThread, SourceStore,
        StoreFault,
    },
};

/// What one channel keeps at one end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MemoryStore {
    pub pairs: BTreeMap<ServiceId, PairState>,
    pub threads: BTreeMap<ServiceId, PairThread>,
    pub map: BTreeMap<NodeKey, MapNode>,
    pub home_channel: Option<HomeChannel>,
    pub home_entries: Vec<HomeEntry>,
    pub source_channel: Option<SourceChannel>,
    pub source_entries: Vec<Entry>,
    pub links: BTreeSet<(ServiceName, ServiceId, ServiceId)>,
    pub direct_denies: BTreeMap<(ServiceId, DecisionId), Attested>,
    pub waiting: BTreeSet<(OrganisationId, u64)>,
    pub unreadable: BTreeSet<(OrganisationId, u64)>,
    pub uses: BTreeMap<DecisionId, UseCount>,
}

impl MemoryStore {
    /// What waits of a home's channel, as far as it is told ([`SourceChannel::reached`]).
    pub fn waiting_of(&self, home: &OrganisationId) -> Vec<u64> {
        lowest(&self.waiting, home, limits::WAITING_ENTRIES)
    }
}

fn lowest(all: &BTreeSet<(OrganisationId, u64)>, of: &OrganisationId, most: usize) -> Vec<u64> {
    all.iter().filter(|(home, _)| home == of).take(most).map(|(_, seq)| *seq).collect()
}

impl ChannelStore for MemoryStore {
    fn pair(&self, subject: &ServiceId) -> Result<PairState, StoreFault> {
        Ok(self.pairs.get(subject).cloned().unwrap_or_default())
    }

    fn put_pair(&mut self, subject: &ServiceId, pair: &PairState) {
        self.pairs.insert(*subject, pair.clone());
    }

    fn thread(&self, subject: &ServiceId) -> Result<PairThread, StoreFault> {
        Ok(self.threads.get(subject).cloned().unwrap_or_default())
    }

    fn put_thread(&mut self, subject: &ServiceId, thread: &PairThread) {
        self.threads.insert(*subject, thread.clone());
    }

    fn map_node(&self, key: &NodeKey) -> Result<Option<MapNode>, StoreFault> {
        Ok(self.map.get(key).copied())
    }

    fn put_map_node(&mut self, key: &NodeKey, node: &MapNode) {
        self.map.insert(*key, *node);
    }
}

impl HomeEntries for MemoryStore {
    fn entry(&self, seq: u64) -> Result<Option<HomeEntry>, StoreFault> {
        Ok(usize::try_from(seq).ok().and_then(|seq| self.home_entries.get(seq)).cloned())
    }
}

impl HomeStore for MemoryStore {
    fn put_channel(&mut self, channel: &HomeChannel) {
        self.home_channel = Some(channel.clone());
    }

    fn put_entry(&mut self, entry: &HomeEntry) {
        match self.home_entries.iter_mut().find(|known| known.entry.seq == entry.entry.seq) {
            Some(known) => *known = entry.clone(),
            None => self.home_entries.push(entry.clone()),
        }
    }
}

impl SourceStore for MemoryStore {
    fn put_channel(&mut self, channel: &SourceChannel) {
        self.source_channel = Some(channel.clone());
    }

    fn put_entry(&mut self, entry: &Entry) {
        self.source_entries.push(entry.clone());
    }

    fn put_link(&mut self, recipient: &ServiceName, there: &ServiceId, subject: &ServiceId) {
        self.links.insert((recipient.clone(), *there, *subject));
    }

    fn direct_denies(
        &self,
        after: Option<&DenyKey>,
        limit: usize,
    ) -> Result<Vec<(DenyKey, Attested)>, StoreFault> {
        let behind = self.direct_denies.iter().filter(|(key, _)| after.is_none_or(|a| *key > a));
        Ok(behind.take(limit).map(|(key, deny)| (*key, deny.clone())).collect())
    }

    fn put_waiting(&mut self, home: &OrganisationId, seq: u64) {
        self.waiting.insert((home.clone(), seq));
    }

    fn drop_waiting(&mut self, home: &OrganisationId, seq: u64) {
        self.waiting.remove(&(home.clone(), seq));
    }

    fn put_unreadable(&mut self, home: &OrganisationId, seq: u64) {
        self.unreadable.insert((home.clone(), seq));
    }

    fn drop_unreadable(&mut self, home: &OrganisationId, seq: u64) {
        self.unreadable.remove(&(home.clone(), seq));
    }

    fn unreadable(&self, home: &OrganisationId) -> Result<Vec<u64>, StoreFault> {
        Ok(lowest(&self.unreadable, home, limits::PULL_ATTACHMENTS))
    }

    fn put_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId, deny: &Attested) {
        self.direct_denies.insert((*subject, *id), deny.clone());
    }

    fn drop_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId) {
        self.direct_denies.remove(&(*subject, *id));
    }

    fn uses(&self, permit: &DecisionId) -> Result<UseCount, StoreFault> {
        Ok(UseView::uses(&self.uses, permit))
    }

    fn put_uses(&mut self, permit: &DecisionId, uses: UseCount) {
        self.uses.insert(*permit, uses);
    }
}
