//! What a source keeps, as its channels' machines see it: each channel by itself, the pairs once.

use consent::{
    ChannelStore, DenyKey, PairState, PairThread, StoreFault, UseCount, evaluate::UseView,
    memory::MemoryStore, source::SourceChannel, store::SourceStore,
};
use evidence::map::{MapNode, NodeKey};
use wire::{DecisionId, OrganisationId, ServiceId, ServiceName, channel::Entry, consent::Attested};

use crate::shared::Shared;

pub struct AtSource<'a> {
    pub pairs: &'a mut Shared<MemoryStore>,
    pub channel: &'a mut Shared<MemoryStore>,
}

impl ChannelStore for AtSource<'_> {
    fn pair(&self, subject: &ServiceId) -> Result<PairState, StoreFault> {
        self.pairs.pair(subject)
    }

    fn put_pair(&mut self, subject: &ServiceId, pair: &PairState) {
        self.pairs.update(|store| store.put_pair(subject, pair));
    }

    fn thread(&self, subject: &ServiceId) -> Result<PairThread, StoreFault> {
        self.channel.thread(subject)
    }

    fn put_thread(&mut self, subject: &ServiceId, thread: &PairThread) {
        self.channel.update(|store| store.put_thread(subject, thread));
    }

    fn map_node(&self, key: &NodeKey) -> Result<Option<MapNode>, StoreFault> {
        self.channel.map_node(key)
    }

    fn put_map_node(&mut self, key: &NodeKey, node: &MapNode) {
        self.channel.update(|store| store.put_map_node(key, node));
    }
}

impl SourceStore for AtSource<'_> {
    fn put_channel(&mut self, channel: &SourceChannel) {
        self.channel.update(|store| SourceStore::put_channel(store, channel));
    }

    /// Only evidence bundles read entries again, and the world makes none.
    fn put_entry(&mut self, _: &Entry) {}

    fn put_link(&mut self, recipient: &ServiceName, there: &ServiceId, subject: &ServiceId) {
        self.pairs.update(|store| store.put_link(recipient, there, subject));
    }

    fn direct_denies(
        &self,
        after: Option<&DenyKey>,
        limit: usize,
    ) -> Result<Vec<(DenyKey, Attested)>, StoreFault> {
        self.pairs.direct_denies(after, limit)
    }

    fn put_waiting(&mut self, home: &OrganisationId, seq: u64) {
        self.pairs.update(|store| store.put_waiting(home, seq));
    }

    fn drop_waiting(&mut self, home: &OrganisationId, seq: u64) {
        self.pairs.update(|store| store.drop_waiting(home, seq));
    }

    fn put_unreadable(&mut self, home: &OrganisationId, seq: u64) {
        self.pairs.update(|store| store.put_unreadable(home, seq));
    }

    fn drop_unreadable(&mut self, home: &OrganisationId, seq: u64) {
        self.pairs.update(|store| store.drop_unreadable(home, seq));
    }

    fn unreadable(&self, home: &OrganisationId) -> Result<Vec<u64>, StoreFault> {
        self.pairs.unreadable(home)
    }

    fn put_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId, deny: &Attested) {
        self.pairs.update(|store| store.put_direct_deny(subject, id, deny));
    }

    fn drop_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId) {
        if self.pairs.direct_denies.contains_key(&(*subject, *id)) {
            self.pairs.update(|store| store.drop_direct_deny(subject, id));
        }
    }

    fn uses(&self, permit: &DecisionId) -> Result<UseCount, StoreFault> {
        Ok(UseView::uses(&self.pairs.uses, permit))
    }

    fn put_uses(&mut self, permit: &DecisionId, uses: UseCount) {
        self.pairs.update(|store| store.put_uses(permit, uses));
    }
}
