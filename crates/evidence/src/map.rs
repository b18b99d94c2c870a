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
use wire::{Hash, hash_parts};

/// Hash of a subtree without keys, and so the root of the empty map.
pub const EMPTY_ROOT: Hash = Hash([0; 32]);

/// Depth of a leaf whose key differs from another in the last bit only: the deepest there is.
pub const MAX_DEPTH: u16 = 256;

/// Hash of a subtree with one key.
pub fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    hash_parts("mebuku/map-leaf/1", &[&key.0, &value.0])
}

/// Hash of a subtree with several keys, from its halves.
pub fn inner_hash(left: &Hash, right: &Hash) -> Hash {
    hash_parts("mebuku/map-node/1", &[&left.0, &right.0])
}

/// Bit `depth` of a key, the most significant first: whether its way goes to the right.
fn goes_right(key: &Hash, depth: u16) -> bool {
    key.0[usize::from(depth / 8)] >> (7 - depth % 8) & 1 == 1
}

/// How many leading bits two keys share: 256 if they are equal.
fn shared_bits(a: &Hash, b: &Hash) -> u16 {
    match a.0.iter().zip(&b.0).position(|(a, b)| a != b) {
        Some(byte) => byte as u16 * 8 + (a.0[byte] ^ b.0[byte]).leading_zeros() as u16,
        None => MAX_DEPTH,
    }
}

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

/// The half on the way to `key` and its sibling as (left, right).
fn in_order(key: &Hash, depth: u16, own: Hash, sibling: Hash) -> (Hash, Hash) {
    if goes_right(key, depth) { (sibling, own) } else { (own, sibling) }
}

/// Makes the proof for one key of a stored map: of its value, or that it has none.
pub fn prove(nodes: &dyn MapNodes, key: &Hash) -> Result<MapProof, DamagedMap> {
    let Descent { passed, end } = descend(nodes, key)?;
    let path = (0..).zip(&passed).map(|(depth, halves)| sibling(key, depth, halves)).collect();
    Ok(MapProof { path, other: end.filter(|(found, _)| found != key) })
}

/// Shows the value of one key, or that it has none, to whoever knows the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapProof {
    /// The halves that the way to the key does not take, from the root down; as many as the way is
    /// long, 256 at most.
    pub path: Vec<Hash>,
    /// Only for absence: key and value of the leaf in which the way ends instead. Without it, the way
    /// ends in an empty subtree.
    pub other: Option<(Hash, Hash)>,
}

/// Why a map proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapProof {
    #[error("the proof holds more than {MAX_DEPTH} hashes")]
    Length,
    #[error("the proof is one of absence")]
    ShowsAbsence,
    #[error("the proof is one of presence")]
    ShowsPresence,
    #[error("the leaf that the proof shows does not lie on the way to the key")]
    OffTheWay,
    #[error("the proof leads to another root")]
    Root,
}

impl MapProof {
    /// Checks that `key` has `value` in the map with this root.
    pub fn verify_presence(
        &self,
        root: &Hash,
        key: &Hash,
        value: &Hash,
    ) -> Result<(), InvalidMapProof> {
        if self.other.is_some() {
            return Err(InvalidMapProof::ShowsAbsence);
        }
        self.climb(root, key, leaf_hash(key, value))
    }

    /// Checks that `key` has no value in the map with this root.
    pub fn verify_absence(&self, root: &Hash, key: &Hash) -> Result<(), InvalidMapProof> {
        let end = match &self.other {
            None => EMPTY_ROOT,
            Some((other, _)) if other == key => return Err(InvalidMapProof::ShowsPresence),
            Some((other, _)) if usize::from(shared_bits(key, other)) < self.path.len() => {
                return Err(InvalidMapProof::OffTheWay);
            }
            Some((other, value)) => leaf_hash(other, value),
        };
        self.climb(root, key, end)
    }

    fn climb(&self, root: &Hash, key: &Hash, end: Hash) -> Result<(), InvalidMapProof> {
        if self.path.len() > usize::from(MAX_DEPTH) {
            return Err(InvalidMapProof::Length);
        }
        let depths = (0..self.path.len() as u16).rev();
        let climbed = depths.zip(self.path.iter().rev()).fold(end, |hash, (depth, sibling)| {
            let (left, right) = in_order(key, depth, hash, *sibling);
            inner_hash(&left, &right)
        });
        if climbed == *root { Ok(()) } else { Err(InvalidMapProof::Root) }
    }
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
