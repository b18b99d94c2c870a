//! The Merkle map of a channel head as others see it: its hashes, and the proof of one key's value. The
//! map itself is kept by `evidence::map`, which says what it is.

use serde::{Deserialize, Serialize};

use crate::{crypto::hash_parts, ids::Hash};

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
pub fn goes_right(key: &Hash, depth: u16) -> bool {
    key.0[usize::from(depth / 8)] >> (7 - depth % 8) & 1 == 1
}

/// How many leading bits two keys share: 256 if they are equal.
pub fn shared_bits(a: &Hash, b: &Hash) -> u16 {
    match a.0.iter().zip(&b.0).position(|(a, b)| a != b) {
        Some(byte) => byte as u16 * 8 + (a.0[byte] ^ b.0[byte]).leading_zeros() as u16,
        None => MAX_DEPTH,
    }
}

/// The half on the way to `key` and its sibling as (left, right).
pub fn in_order(key: &Hash, depth: u16, own: Hash, sibling: Hash) -> (Hash, Hash) {
    if goes_right(key, depth) { (sibling, own) } else { (own, sibling) }
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
