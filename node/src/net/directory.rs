//! Who was greeted: the newest known identity of each organisation. A municipal node answers
//! look-ups from it; every node dials from it. What comes out of it was true when it was greeted
//! and is verified again before it is used.

use std::{collections::BTreeMap, sync::Arc};

use wire::{
    NetworkId, OrganisationId, Signed, Timestamp,
    membership::{Descriptor, NodeIdentity},
};

use super::limits;

/// Keeps the directory over a restart. Called from the event loop: an implementation returns
/// promptly and does slow writing elsewhere.
pub trait DirectoryStore: Send + Sync + 'static {
    fn load(&self) -> Vec<NodeIdentity>;
    /// Replaces what was stored for `organisation`.
    fn remember(&self, organisation: &OrganisationId, identity: &NodeIdentity);
    fn forget(&self, organisation: &OrganisationId);
}

struct Entry {
    identity: NodeIdentity,
    version: u64,
    issued: Timestamp,
    peers: Vec<String>,
    size: usize,
    /// Position in the order of greeting.
    seen: u64,
}

pub(super) struct Directory {
    entries: BTreeMap<OrganisationId, Entry>,
    by_age: BTreeMap<u64, OrganisationId>,
    bytes: usize,
    clock: u64,
    store: Option<Arc<dyn DirectoryStore>>,
    most: usize,
    most_bytes: usize,
}

impl Directory {
    pub(super) fn new(store: Option<Arc<dyn DirectoryStore>>, network: &NetworkId) -> Self {
        Self::bounded(store, network, limits::DIRECTORY_ENTRIES, limits::DIRECTORY_BYTES)
    }

    fn bounded(
        store: Option<Arc<dyn DirectoryStore>>,
        network: &NetworkId,
        most: usize,
        most_bytes: usize,
    ) -> Self {
        let mut directory = Self {
            entries: BTreeMap::new(),
            by_age: BTreeMap::new(),
            bytes: 0,
            clock: 0,
            store: None,
            most,
            most_bytes,
        };
        for identity in store.iter().flat_map(|store| store.load()) {
            // Another network's or another version's leftovers are of no use here.
            if let Ok(signed) = Signed::<Descriptor>::decode(&identity.descriptor, network) {
                directory.learn(signed.unverified(), identity);
            }
        }
        directory.store = store;
        directory
    }

    /// Takes in an identity that was just verified. An older descriptor than the known one changes
    /// nothing but when the organisation was last seen; the same descriptor may come with a renewed
    /// certificate.
    pub(super) fn learn(&mut self, descriptor: &Descriptor, identity: NodeIdentity) {
        let organisation = &descriptor.organisation;
        let version = (descriptor.version, descriptor.issued);
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(organisation)
            && ((entry.version, entry.issued) > version || entry.identity == identity)
        {
            self.by_age.remove(&entry.seen);
            entry.seen = self.clock;
            self.by_age.insert(self.clock, organisation.clone());
            return;
        }
        if let Some(store) = &self.store {
            store.remember(organisation, &identity);
        }
        self.take_out(organisation);
        let size =
            identity.descriptor.len() + identity.chain.iter().map(|c| c.len()).sum::<usize>();
        self.bytes += size;
        self.by_age.insert(self.clock, organisation.clone());
        self.entries.insert(
            organisation.clone(),
            Entry {
                identity,
                version: descriptor.version,
                issued: descriptor.issued,
                peers: descriptor.peers.clone(),
                size,
                seen: self.clock,
            },
        );
        while self.entries.len() > self.most || self.bytes > self.most_bytes {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
    }

    pub(super) fn find(&self, organisation: &OrganisationId) -> Option<&NodeIdentity> {
        self.entries.get(organisation).map(|entry| &entry.identity)
    }

    /// Whether a newer descriptor than `descriptor` is known, and no longer names `peer`: that key
    /// was rotated out, and whoever still holds it is not the organisation any more.
    pub(super) fn has_rotated_out(&self, descriptor: &Descriptor, peer: &str) -> bool {
        self.entries.get(&descriptor.organisation).is_some_and(|entry| {
            entry.version > descriptor.version && !entry.peers.iter().any(|known| known == peer)
        })
    }

    pub(super) fn forget(&mut self, organisation: &OrganisationId) {
        self.take_out(organisation);
        if let Some(store) = &self.store {
            store.forget(organisation);
        }
    }

    fn take_out(&mut self, organisation: &OrganisationId) {
        if let Some(entry) = self.entries.remove(organisation) {
            self.by_age.remove(&entry.seen);
            self.bytes -= entry.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use wire::Bytes;

    const NETWORK: NetworkId = NetworkId([1; 32]);

    fn organisation(n: u32) -> OrganisationId {
        OrganisationId::from_base(&format!("{n:012}")).unwrap()
    }

    fn descriptor(n: u32, version: u64, peer: &str) -> (Descriptor, NodeIdentity) {
        let descriptor = Descriptor {
            organisation: organisation(n),
            name: "Example".into(),
            version,
            peers: vec![peer.into()],
            addresses: vec![],
            log_key: Bytes(vec![0; 32]),
            witness_key: None,
            roles: vec![],
            services: vec![],
            public_url: None,
            issued: Timestamp(version),
        };
        let identity = NodeIdentity {
            chain: vec![Bytes(vec![n as u8; 100])],
            descriptor: Bytes(version.to_be_bytes().to_vec()),
        };
        (descriptor, identity)
    }

    fn directory(most: usize, most_bytes: usize) -> Directory {
        Directory::bounded(None, &NETWORK, most, most_bytes)
    }

    #[test]
    fn the_highest_version_stays() {
        let mut directory = directory(10, 10_000);
        for version in [2, 3, 1] {
            let (descriptor, identity) = descriptor(1, version, "a");
            directory.learn(&descriptor, identity);
        }
        let newest = descriptor(1, 3, "a").1;
        assert_eq!(directory.find(&organisation(1)), Some(&newest));
        assert_eq!(directory.bytes, 108, "one entry's weight, not three");
    }

    #[test]
    fn bounded_by_number_and_by_weight_oldest_first() {
        for mut directory in [directory(2, 10_000), directory(10, 250)] {
            for n in [1, 2, 1, 3] {
                let (descriptor, identity) = descriptor(n, 1, "a");
                directory.learn(&descriptor, identity);
            }
            assert!(directory.find(&organisation(1)).is_some(), "greeted again after 2");
            assert!(directory.find(&organisation(2)).is_none(), "greeted longest ago");
            assert!(directory.find(&organisation(3)).is_some());
            assert_eq!((directory.bytes, directory.by_age.len()), (216, 2));
        }
    }

    #[test]
    fn a_key_named_no_more_is_rotated_out() {
        let mut directory = directory(10, 10_000);
        let (new, identity) = descriptor(1, 2, "new");
        directory.learn(&new, identity);
        let (old, _) = descriptor(1, 1, "old");
        assert!(directory.has_rotated_out(&old, "old"));
        assert!(!directory.has_rotated_out(&old, "new"), "a replica that was not told yet");
        assert!(!directory.has_rotated_out(&new, "old"), "that is for the descriptor to say");
    }

    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<OrganisationId, NodeIdentity>>);

    impl DirectoryStore for Kept {
        fn load(&self) -> Vec<NodeIdentity> {
            self.0.lock().unwrap().values().cloned().collect()
        }
        fn remember(&self, organisation: &OrganisationId, identity: &NodeIdentity) {
            self.0.lock().unwrap().insert(organisation.clone(), identity.clone());
        }
        fn forget(&self, organisation: &OrganisationId) {
            self.0.lock().unwrap().remove(organisation);
        }
    }

    #[test]
    fn the_store_follows() {
        let kept = Arc::new(Kept::default());
        let mut directory = Directory::bounded(Some(kept.clone()), &NETWORK, 1, 10_000);
        for (n, version) in [(1, 1), (1, 2), (1, 1), (2, 1)] {
            let (descriptor, identity) = descriptor(n, version, "a");
            directory.learn(&descriptor, identity);
        }
        assert_eq!(kept.load(), [descriptor(2, 1, "a").1], "1 gave way");
        directory.forget(&organisation(2));
        assert!(kept.load().is_empty());
    }
}
