//! The Merkle tree of RFC 6962 section 2.1 (unchanged in RFC 9162), over SHA-256.
//!
//! A log keeps the hash of every *complete* subtree, addressed by its height and its number from the
//! left; leaves have height 0. Each of them is written once and never changes, any root or proof is
//! put together from about twice the logarithm of the size, and those of height 0, 8, 16, … are just
//! what the tiles of c2sp.org/tlog-tiles hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::{Hash, sha256};

/// Root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// Largest size of a log, in leaves: no arithmetic on sizes below it overflows, and no counter
/// reaches it.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// SHA-256(0x00 ‖ data).
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(0);
    bytes.extend_from_slice(data);
    sha256(&bytes)
}

/// SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    sha256(&bytes)
}

/// Why a root, proof or tile could not be made. Says nothing about any proof's validity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("{0} leaves are more than a log can have")]
    TooLarge(u64),
    #[error("leaf {index} is not in a tree of {size} leaves")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves does not extend one of {old}")]
    NotAnExtension { old: u64, new: u64 },
    #[error("there is no tile {index} of level {level} and width {width}")]
    NoSuchTile { level: u8, index: u64, width: u16 },
    #[error("the subtree of height {level}, number {index} is not stored")]
    MissingNode { level: u8, index: u64 },
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTreeProof {
    #[error("leaf {index} cannot be in a tree of {size} leaves")]
    NoSuchLeaf { index: u64, size: u64 },
    #[error("a tree of {new} leaves cannot extend one of {old}")]
    NotAnExtension { old: u64, new: u64 },
    #[error("the proof holds {0} hashes, which is not what trees of this size need")]
    Length(usize),
    #[error("the proof leads to another root of the older tree")]
    OldRoot,
    #[error("the proof leads to another root")]
    Root,
}

/// Reads the hashes of complete subtrees.
pub trait Nodes {
    /// The complete subtree of height `level` over the leaves from `index`·2^level on, if all of them
    /// are in the log.
    fn node(&self, level: u8, index: u64) -> Option<Hash>;
}

impl Nodes for BTreeMap<(u8, u64), Hash> {
    fn node(&self, level: u8, index: u64) -> Option<Hash> {
        self.get(&(level, index)).copied()
    }
}

/// A complete subtree that an append brought into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NewNode {
    pub level: u8,
    pub index: u64,
    pub hash: Hash,
}

/// The right edge of a tree: all that appending and the root need.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "FrontierFields", into = "FrontierFields")]
pub struct Frontier {
    size: u64,
    /// The complete subtrees that the one-bits of `size` stand for, largest first.
    subtrees: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontierFields {
    size: u64,
    subtrees: Vec<Hash>,
}

impl From<Frontier> for FrontierFields {
    fn from(Frontier { size, subtrees }: Frontier) -> Self {
        Self { size, subtrees }
    }
}

impl TryFrom<FrontierFields> for Frontier {
    type Error = &'static str;
    fn try_from(fields: FrontierFields) -> Result<Self, Self::Error> {
        Self::new(fields.size, fields.subtrees).ok_or("a frontier's hashes do not match its size")
    }
}

impl Frontier {
    /// A frontier kept elsewhere: one hash for each one-bit of `size`, largest subtree first. `None`
    /// if their number does not match.
    pub fn new(size: u64, subtrees: Vec<Hash>) -> Option<Self> {
        (size <= MAX_SIZE && subtrees.len() == size.count_ones() as usize)
            .then_some(Self { size, subtrees })
    }

    /// The frontier of the first `size` leaves of a stored log.
    pub fn load(nodes: &dyn Nodes, size: u64) -> Result<Self, TreeError> {
        check_size(size)?;
        Ok(Self { size, subtrees: subtrees(nodes, 0, size)? })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. The complete subtrees it brings into being come lowest first, the leaf among
    /// them.
    pub fn append(&mut self, leaf_hash: Hash) -> Vec<NewNode> {
        let mut node = NewNode { level: 0, index: self.size, hash: leaf_hash };
        let mut new = vec![node];
        // A one-bit of the size is a subtree that waits for a right sibling of its own height.
        while node.index & 1 == 1 {
            let left = self.subtrees.pop().expect("one subtree for each one-bit of the size");
            node = NewNode {
                level: node.level + 1,
                index: node.index >> 1,
                hash: node_hash(&left, &node.hash),
            };
            new.push(node);
        }
        self.subtrees.push(node.hash);
        self.size += 1;
        new
    }

    /// The Merkle tree hash over all leaves.
    pub fn root(&self) -> Hash {
        join(&self.subtrees)
    }
}

fn check_size(size: u64) -> Result<(), TreeError> {
    if size <= MAX_SIZE { Ok(()) } else { Err(TreeError::TooLarge(size)) }
}

/// Joins complete subtrees, largest first, from the right.
fn join(subtrees: &[Hash]) -> Hash {
    let mut from_right = subtrees.iter().rev();
    match from_right.next() {
        None => EMPTY_ROOT,
        Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// The complete subtrees over the leaves from `start` to before `end`, largest first. `start` must
/// be a multiple of a power of two that is no smaller than their number.
fn subtrees(nodes: &dyn Nodes, start: u64, end: u64) -> Result<Vec<Hash>, TreeError> {
    let mut at = start;
    let mut hashes = Vec::new();
    for level in (0..64u8).rev().filter(|level| (end - start) >> level & 1 == 1) {
        let index = at >> level;
        hashes.push(nodes.node(level, index).ok_or(TreeError::MissingNode { level, index })?);
        at += 1 << level;
    }
    Ok(hashes)
}

fn range_root(nodes: &dyn Nodes, start: u64, end: u64) -> Result<Hash, TreeError> {
    Ok(join(&subtrees(nodes, start, end)?))
}

/// The root over the first `size` leaves of a stored log.
pub fn root(nodes: &dyn Nodes, size: u64) -> Result<Hash, TreeError> {
    Frontier::load(nodes, size).map(|frontier| frontier.root())
}

/// Where a tree over the leaves from `start` to before `end` (two at least) splits: the largest power
/// of two smaller than their number, from `start` on.
fn middle(start: u64, end: u64) -> u64 {
    start + (1 << (end - start - 1).ilog2())
}

/// The inclusion proof of leaf `index` in the tree of the first `size` leaves, from the leaf up
/// (RFC 9162 section 2.1.3.1).
pub fn inclusion_proof(nodes: &dyn Nodes, index: u64, size: u64) -> Result<Vec<Hash>, TreeError> {
    check_size(size)?;
    if index >= size {
        return Err(TreeError::NoSuchLeaf { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = middle(start, end);
        if index < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `new` leaves extends that of `old` leaves (RFC 9162 section 2.1.4.1);
/// empty if `old` is 0 or equals `new`.
pub fn consistency_proof(nodes: &dyn Nodes, old: u64, new: u64) -> Result<Vec<Hash>, TreeError> {
    check_size(new)?;
    if old > new {
        return Err(TreeError::NotAnExtension { old, new });
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    if old == 0 {
        return Ok(path);
    }
    while old != end {
        let middle = middle(start, end);
        if old <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    // The verifier knows the old root; any other subtree at the border must be told.
    if start != 0 {
        path.push(range_root(nodes, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an inclusion proof (RFC 9162 section 2.1.3.2). Any input is safe.
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), InvalidTreeProof> {
    if index >= size {
        return Err(InvalidTreeProof::NoSuchLeaf { index, size });
    }
    let mut climb = Climb { node: index, last: size - 1 };
    let mut hash = *leaf_hash;
    for sibling in proof {
        match climb.side().ok_or(InvalidTreeProof::Length(proof.len()))? {
            Side::Left => hash = node_hash(sibling, &hash),
            Side::Right => hash = node_hash(&hash, sibling),
        }
    }
    if climb.last != 0 {
        return Err(InvalidTreeProof::Length(proof.len()));
    }
    if hash == *root { Ok(()) } else { Err(InvalidTreeProof::Root) }
}

/// Checks a consistency proof (RFC 9162 section 2.1.4.2). Any input is safe. The empty tree is
/// extended by every tree, with an empty proof.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), InvalidTreeProof> {
    if old_size > new_size {
        return Err(InvalidTreeProof::NotAnExtension { old: old_size, new: new_size });
    }
    if old_size == 0 && *old_root != EMPTY_ROOT {
        return Err(InvalidTreeProof::OldRoot);
    }
    if old_size == 0 || old_size == new_size {
        let same = old_size != new_size || old_root == new_root;
        return match proof {
            [] if same => Ok(()),
            [] => Err(InvalidTreeProof::Root),
            _ => Err(InvalidTreeProof::Length(proof.len())),
        };
    }
    // An old tree that is one complete subtree is where the climb begins.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(InvalidTreeProof::Length(0))?
    };
    let mut climb = Climb { node: old_size - 1, last: new_size - 1 };
    climb.skip_while(|node| node & 1 == 1);
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        match climb.side().ok_or(InvalidTreeProof::Length(proof.len()))? {
            Side::Left => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    if climb.last != 0 {
        return Err(InvalidTreeProof::Length(proof.len()));
    }
    if old != *old_root {
        return Err(InvalidTreeProof::OldRoot);
    }
    if new == *new_root { Ok(()) } else { Err(InvalidTreeProof::Root) }
}

/// On which side the next sibling of a proof stands.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: `fn` and `sn` of RFC 9162.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    /// The side of the next sibling, and one step up; `None` at the root.
    fn side(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // On the right edge, heights at which there is no sibling are passed over.
            self.skip_while(|node| node & 1 == 0 && node != 0);
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }

    fn skip_while(&mut self, skip: impl Fn(u64) -> bool) {
        while skip(self.node) {
            self.node >>= 1;
            self.last >>= 1;
        }
    }
}

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Height of the subtrees between one tile level and the next.
const TILE_HEIGHT: u8 = 8;

/// The bytes of a tile: `width` hashes of height 8·`level`, from number 256·`index` on
/// (c2sp.org/tlog-tiles, "Merkle Tree").
pub fn tile(nodes: &dyn Nodes, level: u8, index: u64, width: u16) -> Result<Vec<u8>, TreeError> {
    let none = TreeError::NoSuchTile { level, index, width };
    // Level 8 would be of height 64: beyond the largest log.
    if level >= 8 || !(1..=TILE_WIDTH).contains(&width) || index > MAX_SIZE >> TILE_HEIGHT {
        return Err(none);
    }
    let level = level * TILE_HEIGHT;
    let first = index << TILE_HEIGHT;
    let mut bytes = Vec::with_capacity(usize::from(width) * 32);
    for index in first..first + u64::from(width) {
        let hash = nodes.node(level, index).ok_or(TreeError::MissingNode { level, index })?;
        bytes.extend_from_slice(&hash.0);
    }
    Ok(bytes)
}

/// The path of a tile below a log's prefix: `tile/<level>/<index>[.p/<width>]`, the index in groups of
/// three digits, all but the last with an `x` before them: `tile/0/x001/x234/067`.
pub fn tile_path(level: u8, index: u64, width: u16) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let suffix = if width == TILE_WIDTH { String::new() } else { format!(".p/{width}") };
    format!("tile/{level}/{}{suffix}", groups.join("/"))
}

#[cfg(test)]
mod tests;
