//! Our tiles, proofs, checkpoints and notes read by another implementation of the C2SP specifications,
//! and its output read by ours.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use evidence::{
    note::{Checkpoint, NoteSigner, SignedNote, VerifiedCheckpoint, VerifierKey},
    tree::{self, Frontier},
};
use signed_note::{Note, Signer, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{Tile, TileHashReader, TileReader, tlog};
use wire::{Hash, SignError};

type Stored = BTreeMap<(u8, u64), Hash>;

/// The key pair in the documentation of Go's note package.
const PETER_SECRET: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

struct Key(Ed25519KeyPair);

impl Key {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl NoteSigner for Key {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

fn leaf_data(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

fn log(size: u64) -> (Frontier, Stored) {
    let (mut frontier, mut nodes) = (Frontier::default(), Stored::new());
    for index in 0..size {
        for node in frontier.append(tree::leaf_hash(&leaf_data(index))) {
            nodes.insert((node.level, node.index), node.hash);
        }
    }
    (frontier, nodes)
}

/// Serves our tiles to their reader, which checks every one of them against the root.
struct Tiles(Stored);

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::tlog::Error> {
        let read = |tile: &Tile| {
            let width = tile.width() as u16;
            // Their paths name the height too, as Go's checksum database does.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            assert_eq!(tree::tile_path(tile.level(), tile.level_index(), width), path);
            tree::tile(&self.0, tile.level(), tile.level_index(), width).unwrap()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn theirs(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes.iter().map(|hash| tlog::Hash(hash.0)).collect()
}

#[test]
fn tiles_and_proofs_agree() {
    let sizes = [1, 2, 3, 255, 256, 257, 600, 65_535, 65_536, 65_537, 66_001];
    let (_, nodes) = log(66_001);
    let tiles = Tiles(nodes.clone());
    for size in sizes {
        let root = tree::root(&nodes, size).unwrap();
        let their_root = tlog::Hash(root.0);
        let reader = TileHashReader::new(size, their_root, &tiles);
        assert_eq!(tlog::tree_hash(size, &reader).unwrap(), their_root);
        for index in [0, 1, size / 3, size / 2, size - 1].into_iter().filter(|i| *i < size) {
            let ours = tree::inclusion_proof(&nodes, index, size).unwrap();
            let proof = tlog::prove_record(size, index, &reader).unwrap();
            assert_eq!(theirs(&ours), proof, "leaf {index} of {size}");
            let leaf = tlog::record_hash(&leaf_data(index));
            assert_eq!(leaf.0, nodes[&(0, index)].0);
            tlog::check_record(&theirs(&ours), size, their_root, index, leaf).unwrap();
        }
        for old in sizes.into_iter().filter(|old| *old <= size) {
            let ours = tree::consistency_proof(&nodes, old, size).unwrap();
            let old_root = tree::root(&nodes, old).unwrap();
            let (old_hash, proof) = (tlog::Hash(old_root.0), theirs(&ours));
            tlog::check_tree(&proof, size, their_root, old, old_hash).unwrap();
            assert_eq!(proof, tlog::prove_tree(size, old, &reader).unwrap(), "{old} to {size}");
            tree::verify_consistency(old, &old_root, size, &root, &ours).unwrap();
        }
    }
}

#[test]
fn they_read_our_checkpoints() {
    let (frontier, _) = log(1000);
    let key = Key::new(7);
    let origin = "mebuku/test/log";
    let checkpoint =
        Checkpoint { origin: origin.into(), size: frontier.size(), root: frontier.root() };
    let note = checkpoint.sign(&key).unwrap().to_string();

    let verifier_key = VerifierKey::new(origin, key.public_key()).unwrap();
    let verifier = StandardVerifier::new(&verifier_key.to_string()).unwrap();
    let theirs = Note::from_bytes(note.as_bytes()).unwrap();
    let (verified, others) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), others.len()), (1, 0));
    assert_eq!(verified[0].id().to_be_bytes(), verifier_key.key_id());

    let head = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((head.origin(), head.size()), (origin, 1000));
    assert_eq!(head.hash().0, frontier.root().0);
    assert_eq!(head.to_bytes(), checkpoint.text().as_bytes());
}

#[test]
fn we_read_their_notes() {
    let signer = StandardSigner::new(PETER_SECRET).unwrap();
    let key: VerifierKey = PETER.parse().unwrap();
    assert_eq!(key.to_string(), PETER);
    let head = tlog_tiles::Checkpoint::new(
        "PeterNeumann",
        42,
        tlog::record_hash(b"a head"),
        "an extension line\nanother\n",
    )
    .unwrap();
    let mut note = Note::new(&head.to_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer as &dyn Signer]).unwrap();
    let bytes = note.to_bytes();
    let verified = VerifiedCheckpoint::verify(&bytes, "PeterNeumann", key.key()).unwrap();
    let root = tree::leaf_hash(b"a head");
    let expected = Checkpoint { origin: "PeterNeumann".into(), size: 42, root };
    assert_eq!(*verified.checkpoint(), expected);
    assert_eq!(SignedNote::parse(&bytes).unwrap().to_string().as_bytes(), bytes);
}
