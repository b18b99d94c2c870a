//! The stores of `consent`'s machines on a transaction of the node's store: whatever a machine
//! writes lands in one atomic batch with the evidence of it.

use consent::{
    ChannelStore, DenyKey, HomeEntries, HomeEntry, PairState, PairThread, StoreFault, UseCount,
    home::HomeChannel,
    source::SourceChannel,
    store::{HomeStore, SourceStore},
};
use evidence::map::{MapNode, MapNodes, NodeKey};
use wire::{
    DecisionId, OrganisationId, ServiceId, ServiceName,
    channel::{ChannelId, Entry},
    consent::Attested,
    limits,
};

use crate::store::{Column, Key, Read, Scan, StoreError, Transaction, TypedRead};

/// A store that fails, as the machines of `consent` know it.
pub fn store_fault(error: StoreError) -> StoreFault {
    StoreFault(error.to_string())
}

/// Which of its channels' columns an end of a channel uses.
struct Columns {
    pairs: Column,
    threads: Column,
    map: Column,
}

const HOME: Columns =
    Columns { pairs: Column::HomePairs, threads: Column::HomeThreads, map: Column::HomeMap };
const SOURCE: Columns =
    Columns { pairs: Column::SourcePairs, threads: Column::SourceThreads, map: Column::SourceMap };

/// One channel at its home, inside a transaction.
pub struct HomeChannelStore<'t, 'a> {
    pub tx: &'t mut Transaction<'a>,
    pub channel: ChannelId,
}

/// One channel at its source, inside a transaction.
pub struct SourceChannelStore<'t, 'a> {
    pub tx: &'t mut Transaction<'a>,
    pub channel: ChannelId,
}

pub fn channel_key(channel: &ChannelId) -> Key {
    Key::new().channel(channel)
}

pub fn subject_key(channel: &ChannelId, subject: &ServiceId) -> Key {
    channel_key(channel).fixed(&subject.0)
}

pub fn entry_key(channel: &ChannelId, seq: u64) -> Key {
    channel_key(channel).u64(seq)
}

pub fn map_key(channel: &ChannelId, node: &NodeKey) -> Key {
    channel_key(channel).bytes(&node.to_bytes())
}

/// A pair at a source belongs to the service, not to a channel: a citizen may have moved.
pub fn source_pair_key(source: &ServiceName, subject: &ServiceId) -> Key {
    Key::new().text(source).fixed(&subject.0)
}

/// The prefix of all pairs of `source` that claim to be a recipient's citizen.
pub fn links_prefix(recipient: &ServiceName, there: &ServiceId, source: &ServiceName) -> Key {
    Key::new().text(recipient).fixed(&there.0).text(source)
}

fn direct_key(channel: &ChannelId, subject: &ServiceId, id: &DecisionId) -> Key {
    Key::new().text(&channel.source).fixed(&subject.0).fixed(&id.0)
}

fn seqs_prefix(source: &ServiceName, home: &OrganisationId) -> Key {
    Key::new().text(source).text(home)
}

/// The lowest sequence numbers in a column that lists some of a channel's entries.
fn seqs(
    read: &(impl Read + ?Sized),
    column: Column,
    (source, home): (&ServiceName, &OrganisationId),
    most: usize,
) -> Result<Vec<u64>, StoreError> {
    let rows = read.scan_values(column, &Scan::prefix(&seqs_prefix(source, home), most))?;
    Ok(rows.into_iter().map(|(_, seq)| seq).collect())
}

/// Entries of a channel that wait at its source, without effect, as far as the home is told: rising.
pub fn waiting_rows(
    read: &(impl Read + ?Sized),
    channel: &ChannelId,
) -> Result<Vec<u64>, StoreError> {
    let of = (&channel.source, &channel.home);
    seqs(read, Column::SourceWaiting, of, limits::WAITING_ENTRIES)
}

/// Entries of a channel that could not be read, as far as the home is told of them at once: rising.
pub fn unreadable_rows(
    read: &(impl Read + ?Sized),
    channel: &ChannelId,
) -> Result<Vec<u64>, StoreError> {
    let of = (&channel.source, &channel.home);
    seqs(read, Column::SourceUnreadable, of, limits::PULL_ATTACHMENTS)
}

/// What a source knows of one citizen.
pub fn source_pair(
    read: &(impl Read + ?Sized),
    source: &ServiceName,
    subject: &ServiceId,
) -> Result<PairState, StoreError> {
    let pair = read.read(Column::SourcePairs, &source_pair_key(source, subject))?;
    Ok(pair.unwrap_or_default())
}

/// What a home's channel holds of one pair, in its order.
pub fn home_rows(
    read: &(impl Read + ?Sized),
    channel: &ChannelId,
    subject: &ServiceId,
) -> Result<Vec<HomeEntry>, StoreFault> {
    let thread: Option<PairThread> =
        read.read(Column::HomeThreads, &subject_key(channel, subject)).map_err(store_fault)?;
    let row = |seq| {
        home_entry(read, channel, seq)?.ok_or_else(|| StoreFault(format!("entry {seq} is missing")))
    };
    thread.unwrap_or_default().seqs.into_iter().map(row).collect()
}

/// The Merkle map of a channel as one of its ends stores it, to be proven from.
pub struct StoredMap<'a> {
    read: &'a dyn Read,
    column: Column,
    channel: &'a ChannelId,
}

impl<'a> StoredMap<'a> {
    pub fn of_home(read: &'a dyn Read, channel: &'a ChannelId) -> Self {
        Self { read, column: HOME.map, channel }
    }

    pub fn of_source(read: &'a dyn Read, channel: &'a ChannelId) -> Self {
        Self { read, column: SOURCE.map, channel }
    }
}

impl MapNodes for StoredMap<'_> {
    fn node(&self, key: &NodeKey) -> Option<MapNode> {
        // A node that cannot be read makes the proof fail, never pass.
        self.read.read(self.column, &map_key(self.channel, key)).ok().flatten()
    }
}

macro_rules! channel_store {
    ($store:ident, $columns:expr, $pair_key:expr) => {
        impl ChannelStore for $store<'_, '_> {
            fn pair(&self, subject: &ServiceId) -> Result<PairState, StoreFault> {
                let key = $pair_key(&self.channel, subject);
                Ok(self.tx.read($columns.pairs, &key).map_err(store_fault)?.unwrap_or_default())
            }

            fn put_pair(&mut self, subject: &ServiceId, pair: &PairState) {
                self.tx.write($columns.pairs, $pair_key(&self.channel, subject), pair);
            }

            fn thread(&self, subject: &ServiceId) -> Result<PairThread, StoreFault> {
                let key = subject_key(&self.channel, subject);
                Ok(self.tx.read($columns.threads, &key).map_err(store_fault)?.unwrap_or_default())
            }

            fn put_thread(&mut self, subject: &ServiceId, thread: &PairThread) {
                self.tx.write($columns.threads, subject_key(&self.channel, subject), thread);
            }

            fn map_node(&self, node: &NodeKey) -> Result<Option<MapNode>, StoreFault> {
                self.tx.read($columns.map, &map_key(&self.channel, node)).map_err(store_fault)
            }

            fn put_map_node(&mut self, node: &NodeKey, value: &MapNode) {
                self.tx.write($columns.map, map_key(&self.channel, node), value);
            }
        }
    };
}

channel_store!(HomeChannelStore, HOME, subject_key);
channel_store!(SourceChannelStore, SOURCE, |channel: &ChannelId, subject: &ServiceId| {
    source_pair_key(&channel.source, subject)
});

/// One channel's entries at its home, as they are durable.
pub struct HomeChannelEntries<'r, R: ?Sized> {
    pub read: &'r R,
    pub channel: ChannelId,
}

fn home_entry(
    read: &(impl Read + ?Sized),
    channel: &ChannelId,
    seq: u64,
) -> Result<Option<HomeEntry>, StoreFault> {
    read.read(Column::HomeEntries, &entry_key(channel, seq)).map_err(store_fault)
}

impl<R: Read + ?Sized> HomeEntries for HomeChannelEntries<'_, R> {
    fn entry(&self, seq: u64) -> Result<Option<HomeEntry>, StoreFault> {
        home_entry(self.read, &self.channel, seq)
    }
}

impl HomeEntries for HomeChannelStore<'_, '_> {
    fn entry(&self, seq: u64) -> Result<Option<HomeEntry>, StoreFault> {
        home_entry(&*self.tx, &self.channel, seq)
    }
}

impl HomeStore for HomeChannelStore<'_, '_> {
    fn put_channel(&mut self, channel: &HomeChannel) {
        self.tx.write(Column::HomeChannels, channel_key(channel.id()), channel);
    }

    fn put_entry(&mut self, entry: &HomeEntry) {
        self.tx.write(Column::HomeEntries, entry_key(&self.channel, entry.entry.seq), entry);
    }
}

impl SourceStore for SourceChannelStore<'_, '_> {
    fn put_channel(&mut self, channel: &SourceChannel) {
        self.tx.write(Column::SourceChannels, channel_key(channel.id()), channel);
    }

    fn put_entry(&mut self, entry: &Entry) {
        self.tx.write(Column::SourceEntries, entry_key(&self.channel, entry.seq), entry);
    }

    fn put_link(&mut self, recipient: &ServiceName, there: &ServiceId, subject: &ServiceId) {
        let key = links_prefix(recipient, there, &self.channel.source).fixed(&subject.0);
        self.tx.write(Column::SourceLinks, key, subject);
    }

    fn direct_denies(
        &self,
        after: Option<&DenyKey>,
        limit: usize,
    ) -> Result<Vec<(DenyKey, Attested)>, StoreFault> {
        let prefix = Key::new().text(&self.channel.source);
        let mut scan = Scan::prefix(&prefix, limit);
        let start = after.map(|(subject, id)| direct_key(&self.channel, subject, id));
        if let Some(start) = &start {
            scan = scan.after(start);
        }
        let rows = self.tx.scan_values::<Attested>(Column::DirectDenies, &scan);
        (rows.map_err(store_fault)?.into_iter())
            .map(|(key, deny)| {
                let ids = key.get(prefix.len()..).and_then(<[u8]>::split_first_chunk::<32>);
                let (subject, id) =
                    ids.ok_or_else(|| StoreFault("a key is too short".to_owned()))?;
                let id = wire::Hash::try_from(id).map_err(|e| StoreFault(e.to_string()))?;
                Ok(((ServiceId(*subject), id.into()), deny))
            })
            .collect()
    }

    fn put_waiting(&mut self, home: &OrganisationId, seq: u64) {
        let key = seqs_prefix(&self.channel.source, home).u64(seq);
        self.tx.write(Column::SourceWaiting, key, &seq);
    }

    fn drop_waiting(&mut self, home: &OrganisationId, seq: u64) {
        self.tx.delete(Column::SourceWaiting, seqs_prefix(&self.channel.source, home).u64(seq));
    }

    fn put_unreadable(&mut self, home: &OrganisationId, seq: u64) {
        let key = seqs_prefix(&self.channel.source, home).u64(seq);
        self.tx.write(Column::SourceUnreadable, key, &seq);
    }

    fn drop_unreadable(&mut self, home: &OrganisationId, seq: u64) {
        let key = seqs_prefix(&self.channel.source, home).u64(seq);
        self.tx.delete(Column::SourceUnreadable, key);
    }

    fn unreadable(&self, home: &OrganisationId) -> Result<Vec<u64>, StoreFault> {
        let channel = ChannelId { home: home.clone(), source: self.channel.source.clone() };
        unreadable_rows(&*self.tx, &channel).map_err(store_fault)
    }

    fn put_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId, deny: &Attested) {
        self.tx.write(Column::DirectDenies, direct_key(&self.channel, subject, id), deny);
    }

    fn drop_direct_deny(&mut self, subject: &ServiceId, id: &DecisionId) {
        self.tx.delete(Column::DirectDenies, direct_key(&self.channel, subject, id));
    }

    fn uses(&self, permit: &DecisionId) -> Result<UseCount, StoreFault> {
        let uses = self.tx.read(Column::Uses, &permit.0).map_err(store_fault)?;
        Ok(uses.unwrap_or_default())
    }

    fn put_uses(&mut self, permit: &DecisionId, uses: UseCount) {
        self.tx.write(Column::Uses, permit.0, &uses);
    }
}
