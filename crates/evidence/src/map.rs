//! The Merkle map in a channel head: 32-byte keys (a pair's service id) to 32-byte values (the digest
//! of its decisions and keys). Its root commits to all of them at once, and a short proof shows the
//! value of one key, or that it has none, without telling any other.
//!
//! It is a compact sparse tree. A key is read as 256 bits, the most significant first; bit *d* chooses
//! left (0) or right (1) at depth *d*. The hash of a subtree is
//!
//! - 32 zero bytes, if no key lies in it;
//! - `H("mebuku/map-leaf/1", [key, value])`, if exactly one does;
//! - `H("mebuku/map-node/1", [left, right])` otherwise.
//!
//! So the root depends on the set alone, not on the order of its growth. Keys are never removed. This
//! format is for ever: heads and evidence refer to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{
    Hash,
    map::{goes_right, in_order, shared_bits},
};

pub use wire::map::{EMPTY_ROOT, InvalidMapProof, MAX_DEPTH, MapProof, inner_hash, leaf_hash};

/// Where a subtree lies: its depth and the bits that lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey {
    depth: u16,
    /// Zero after the first `depth` bits.
    prefix: [u8; 32],
}

impl NodeKey {
    pub const ROOT: Self = Self { depth: 0, prefix: [0; 32] };

    /// The subtree at `depth` (256 at most) on the way to `key`.
    fn towards(key: &Hash, depth: u16) -> Self {
        let mut prefix = [0; 32];
        let (bytes, bits) = (usize::from(depth / 8), depth % 8);
        prefix[..bytes].copy_from_slice(&key.0[..bytes]);
        if bits > 0 {
            prefix[bytes] = key.0[bytes] & !(0xff >> bits);
        }
        Self { depth, prefix }
    }

    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// For key-value stores: the depth as two bytes, big-endian, and the prefix in as few bytes as
    /// hold it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.depth.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.prefix[..usize::from(self.depth.div_ceil(8))]);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote, and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (depth, rest) = bytes.split_first_chunk()?;
        let depth = u16::from_be_bytes(*depth);
        if depth > MAX_DEPTH || rest.len() != usize::from(depth.div_ceil(8)) {
            return None;
        }
        let mut prefix = Hash([0; 32]);
        prefix.0[..rest.len()].copy_from_slice(rest);
        let key = Self::towards(&prefix, depth);
        (key.prefix == prefix.0).then_some(key)
    }
}

/// A subtree that holds keys, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MapNode {
    /// Exactly one key.
    Leaf { key: Hash, value: Hash },
    /// Several; the hashes of both halves, of which one may be empty.
    Inner { left: Hash, right: Hash },
}

impl MapNode {
    pub fn hash(&self) -> Hash {
        match self {
            Self::Leaf { key, value } => leaf_hash(key, value),
            Self::Inner { left, right } => inner_hash(left, right),
        }
    }
}

/// Reads stored subtrees; `None` for one that holds no key.
pub trait MapNodes {
    fn node(&self, key: &NodeKey) -> Option<MapNode>;
}

impl MapNodes for BTreeMap<NodeKey, MapNode> {
    fn node(&self, key: &NodeKey) -> Option<MapNode> {
        self.get(key).copied()
    }
}

/// The store lacks a subtree that the one above it commits to, or holds another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored Merkle map is damaged at depth {}", .0.depth)]
pub struct DamagedMap(pub NodeKey);

/// What setting a key changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct MapUpdate {
    /// Root of the map with the new value.
    pub root: Hash,
    /// Subtrees to be stored, deepest first; the rest stays as it is. They take effect together.
    pub writes: Vec<(NodeKey, MapNode)>,
    /// Set if the store is damaged. Nothing is changed then, and the root is the old one: heads that
    /// are signed over it cannot agree with the entries, so that a caller that does not look here
    /// stops the channel and loses nobody's decisions.
    pub damaged: Option<DamagedMap>,
}

/// The way from the root towards a key.
struct Descent {
    /// Both halves' hashes of the nodes passed, from the root down.
    passed: Vec<(Hash, Hash)>,
    /// The leaf at which the way ends, if it does not end in an empty subtree.
    end: Option<(Hash, Hash)>,
}

fn descend(nodes: &dyn MapNodes, key: &Hash) -> Result<Descent, DamagedMap> {
    let mut passed = Vec::new();
    let mut expected = None;
    for depth in 0..=MAX_DEPTH {
        if expected == Some(EMPTY_ROOT) {
            return Ok(Descent { passed, end: None });
        }
        let at = NodeKey::towards(key, depth);
        let node = nodes.node(&at);
        if expected.is_some_and(|hash| node.map(|node| node.hash()) != Some(hash)) {
            return Err(DamagedMap(at));
        }
        match node {
            // The root of an empty map.
            None => return Ok(Descent { passed, end: None }),
            Some(MapNode::Leaf { key: other, value }) if shared_bits(key, &other) >= depth => {
                return Ok(Descent { passed, end: Some((other, value)) });
            }
            Some(MapNode::Inner { left, right }) if depth < MAX_DEPTH => {
                expected = Some(if goes_right(key, depth) { right } else { left });
                passed.push((left, right));
            }
            // A leaf off its way, or an inner node below the last bit.
            Some(_) => return Err(DamagedMap(at)),
        }
    }
    unreachable!("at the last depth every node ends the way")
}

/// The root of a stored map.
pub fn root(nodes: &dyn MapNodes) -> Hash {
    nodes.node(&NodeKey::ROOT).map_or(EMPTY_ROOT, |node| node.hash())
}

/// The value of a key in a stored map.
pub fn value(nodes: &dyn MapNodes, key: &Hash) -> Result<Option<Hash>, DamagedMap> {
    Ok(descend(nodes, key)?.end.filter(|(found, _)| found == key).map(|(_, value)| value))
}

/// Gives `key` the `value`, new or in place of an older one. Reads and writes one subtree for each
/// step of the way: about log2 of the number of keys, where keys are hashes.
pub fn update(nodes: &dyn MapNodes, key: &Hash, value: &Hash) -> MapUpdate {
    let descent = match descend(nodes, key) {
        Ok(descent) => descent,
        Err(damaged) => {
            return MapUpdate { root: root(nodes), writes: vec![], damaged: Some(damaged) };
        }
    };
    let mut writes = Vec::new();
    let mut write = |depth: u16, towards: &Hash, node: MapNode| {
        writes.push((NodeKey::towards(towards, depth), node));
        node.hash()
    };
    let leaf = MapNode::Leaf { key: *key, value: *value };
    let mut siblings: Vec<Hash> =
        (0..).zip(&descent.passed).map(|(depth, halves)| sibling(key, depth, halves)).collect();
    // Where another key was alone, both go down to where they part.
    if let Some((other, other_value)) = descent.end
        && other != *key
    {
        let below = shared_bits(key, &other) + 1;
        let other_leaf = MapNode::Leaf { key: other, value: other_value };
        siblings.resize(usize::from(below), EMPTY_ROOT);
        siblings[usize::from(below) - 1] = write(below, &other, other_leaf);
    }
    let depth = siblings.len() as u16;
    let hash = write(depth, key, leaf);
    let root = (0..depth).rev().zip(siblings.iter().rev()).fold(hash, |hash, (depth, sibling)| {
        let (left, right) = in_order(key, depth, hash, *sibling);
        write(depth, key, MapNode::Inner { left, right })
    });
    MapUpdate { root, writes, damaged: None }
}

/// The half at `depth` that the way to `key` does not take.
fn sibling(key: &Hash, depth: u16, (left, right): &(Hash, Hash)) -> Hash {
    if goes_right(key, depth) { *left } else { *right }
}

/// Makes the proof for one key of a stored map: of its value, or that it has none.
pub fn prove(nodes: &dyn MapNodes, key: &Hash) -> Result<MapProof, DamagedMap> {
    let Descent { passed, end } = descend(nodes, key)?;
    let path = (0..).zip(&passed).map(|(depth, halves)| sibling(key, depth, halves)).collect();
    Ok(MapProof { path, other: end.filter(|(found, _)| found != key) })
}

/// A whole map in memory: for tests, the model checker and the simulator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MemoryMap {
    nodes: BTreeMap<NodeKey, MapNode>,
}

impl MemoryMap {
    pub fn root(&self) -> Hash {
        root(&self.nodes)
    }

    pub fn value(&self, key: &Hash) -> Option<Hash> {
        value(&self.nodes, key).expect(WHOLE)
    }

    pub fn insert(&mut self, key: &Hash, value: &Hash) {
        let update = update(&self.nodes, key, value);
        debug_assert_eq!(update.damaged, None, "{WHOLE}");
        self.nodes.extend(update.writes);
    }

    /// The proof of the key's value, or of its absence.
    pub fn prove(&self, key: &Hash) -> MapProof {
        prove(&self.nodes, key).expect(WHOLE)
    }
}

/// Nothing but [`MemoryMap::insert`] writes these nodes.
const WHOLE: &str = "a map in memory is whole";

#[cfg(test)]
mod tests;
