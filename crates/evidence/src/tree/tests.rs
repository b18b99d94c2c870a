use proptest::prelude::*;

use super::*;

type Stored = BTreeMap<(u8, u64), Hash>;

fn hash(hex: &str) -> Hash {
    hex.parse().unwrap()
}

fn hashes(hex: &[&str]) -> Vec<Hash> {
    hex.iter().map(|hex| hash(hex)).collect()
}

fn grow(frontier: &mut Frontier, nodes: &mut Stored, leaf: Hash) {
    for node in frontier.append(leaf) {
        let before = nodes.insert((node.level, node.index), node.hash);
        assert_eq!(before, None, "a subtree is written once");
    }
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

fn stored(size: u64) -> (Frontier, Stored) {
    let (mut frontier, mut nodes) = Default::default();
    (0..size).for_each(|index| grow(&mut frontier, &mut nodes, leaf(index)));
    (frontier, nodes)
}

/// RFC 6962 section 2.1 word by word, remembering subtrees.
#[derive(Default)]
struct Naive {
    known: BTreeMap<(u64, u64), Hash>,
}

impl Naive {
    fn split(n: u64) -> u64 {
        let mut k = 1;
        while k * 2 < n {
            k *= 2;
        }
        k
    }

    /// MTH(D[start:end])
    fn root(&mut self, start: u64, end: u64) -> Hash {
        if let Some(known) = self.known.get(&(start, end)) {
            return *known;
        }
        let root = match end - start {
            0 => sha256(&[]),
            1 => leaf(start),
            n => {
                let k = Self::split(n);
                let (left, right) = (self.root(start, start + k), self.root(start + k, end));
                sha256(&[&[1][..], &left.0, &right.0].concat())
            }
        };
        self.known.insert((start, end), root);
        root
    }

    /// PATH(m, D[start:end])
    fn path(&mut self, m: u64, start: u64, end: u64) -> Vec<Hash> {
        if end - start == 1 {
            return vec![];
        }
        let k = Self::split(end - start);
        if m < k {
            let mut path = self.path(m, start, start + k);
            path.push(self.root(start + k, end));
            path
        } else {
            let mut path = self.path(m - k, start + k, end);
            path.push(self.root(start, start + k));
            path
        }
    }

    /// SUBPROOF(m, D[start:end], b)
    fn subproof(&mut self, m: u64, start: u64, end: u64, b: bool) -> Vec<Hash> {
        if m == end - start {
            return if b { vec![] } else { vec![self.root(start, end)] };
        }
        let k = Self::split(end - start);
        if m <= k {
            let mut proof = self.subproof(m, start, start + k, b);
            proof.push(self.root(start + k, end));
            proof
        } else {
            let mut proof = self.subproof(m - k, start + k, end, false);
            proof.push(self.root(start, start + k));
            proof
        }
    }
}

/// The eight leaves of the tests that came with Certificate Transparency's first implementation.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn published() -> (Vec<Hash>, Stored) {
    let (mut frontier, mut nodes) = (Frontier::default(), Stored::new());
    let mut roots = vec![frontier.root()];
    for data in LEAVES {
        grow(&mut frontier, &mut nodes, leaf_hash(&hex::decode(data).unwrap()));
        roots.push(frontier.root());
    }
    (roots, nodes)
}

#[test]
fn published_roots() {
    let (roots, nodes) = published();
    assert_eq!(roots, hashes(&ROOTS));
    for (size, expected) in (0..).zip(&roots) {
        assert_eq!(root(&nodes, size).as_ref(), Ok(expected));
    }
}

#[test]
fn published_inclusion_proofs() {
    let (roots, nodes) = published();
    let cases: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (index, size, expected) in cases {
        let proof = inclusion_proof(&nodes, index, size).unwrap();
        assert_eq!(proof, hashes(expected), "leaf {index} of {size}");
        let leaf = nodes[&(0, index)];
        verify_inclusion(&leaf, index, size, &proof, &roots[size as usize]).unwrap();
    }
}

#[test]
fn published_consistency_proofs() {
    let (roots, nodes) = published();
    let cases: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (old, new, expected) in cases {
        let proof = consistency_proof(&nodes, old, new).unwrap();
        assert_eq!(proof, hashes(expected), "{old} to {new}");
        let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
        verify_consistency(old, old_root, new, new_root, &proof).unwrap();
    }
}

/// What must not pass in place of `proof`: a hash missing, one too many, one altered, two swapped.
fn spoiled(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![[proof, &[leaf(7)]].concat(), [&[leaf(7)], proof].concat()];
    for at in 0..proof.len() {
        let mut shorter = proof.to_vec();
        shorter.remove(at);
        all.push(shorter);
        let mut flipped = proof.to_vec();
        flipped[at].0[at % 32] ^= 1 << (at % 8);
        all.push(flipped);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    all
}

#[test]
fn all_inclusion_proofs_up_to_300() {
    let mut naive = Naive::default();
    let (_, nodes) = stored(300);
    for size in 1..=300 {
        let root = naive.root(0, size);
        assert_eq!(super::root(&nodes, size), Ok(root));
        for index in 0..size {
            let proof = inclusion_proof(&nodes, index, size).unwrap();
            assert_eq!(proof, naive.path(index, 0, size));
            verify_inclusion(&leaf(index), index, size, &proof, &root).unwrap();
            // The whole assortment of faults for some, two of them for all.
            let other = (index + 1) % (size + 1);
            assert!(verify_inclusion(&leaf(index), other, size, &proof, &root).is_err());
            assert!(verify_inclusion(&leaf(size), index, size, &proof, &root).is_err());
            if size < 70 || size % 64 == 1 {
                for spoiled in spoiled(&proof) {
                    assert!(verify_inclusion(&leaf(index), index, size, &spoiled, &root).is_err());
                }
            }
        }
    }
}

#[test]
fn all_consistency_proofs_up_to_300() {
    let mut naive = Naive::default();
    let (_, nodes) = stored(300);
    let other_root = leaf(9);
    let roots: Vec<Hash> = (0..=300).map(|size| naive.root(0, size)).collect();
    for new in 0..=300 {
        for old in 0..=new {
            let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
            let proof = consistency_proof(&nodes, old, new).unwrap();
            let expected = if old == 0 { vec![] } else { naive.subproof(old, 0, new, true) };
            assert_eq!(proof, expected, "{old} to {new}");
            verify_consistency(old, old_root, new, new_root, &proof).unwrap();
            let verify = |old_root, new_root, proof: &[Hash]| {
                verify_consistency(old, old_root, new, new_root, proof).is_err()
            };
            assert!(verify(&other_root, new_root, &proof));
            assert!(old == 0 || verify(old_root, &other_root, &proof));
            if old == new || old == 0 || new < 40 || new % 64 == 1 {
                assert!(spoiled(&proof).iter().all(|proof| verify(old_root, new_root, proof)));
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_proof_is_refused() {
    let (frontier, nodes) = stored(45);
    let root = frontier.root();
    let proof = inclusion_proof(&nodes, 37, 45).unwrap();
    let (old_root, extension) =
        (super::root(&nodes, 22).unwrap(), consistency_proof(&nodes, 22, 45).unwrap());
    let flip = |proof: &[Hash], bit: usize| {
        let mut proof = proof.to_vec();
        proof[bit / 256].0[bit / 8 % 32] ^= 1 << (bit % 8);
        proof
    };
    for bit in 0..proof.len() * 256 {
        let result = verify_inclusion(&leaf(37), 37, 45, &flip(&proof, bit), &root);
        assert_eq!(result, Err(InvalidTreeProof::Root));
    }
    for bit in 0..extension.len() * 256 {
        let result = verify_consistency(22, &old_root, 45, &root, &flip(&extension, bit));
        assert!(matches!(result, Err(InvalidTreeProof::Root | InvalidTreeProof::OldRoot)));
    }
}

#[test]
fn edges_of_the_consistency_check() {
    let (roots, nodes) = published();
    let verify = |old: usize, new: usize, proof: &[Hash]| {
        verify_consistency(old as u64, &roots[old], new as u64, &roots[new], proof)
    };
    assert_eq!(verify(0, 0, &[]), Ok(()));
    assert_eq!(verify(0, 5, &[]), Ok(()));
    assert_eq!(verify(0, 5, &[leaf(1)]), Err(InvalidTreeProof::Length(1)));
    assert_eq!(verify(5, 5, &[leaf(1)]), Err(InvalidTreeProof::Length(1)));
    assert_eq!(verify(4, 5, &[]), Err(InvalidTreeProof::Length(0)));
    assert_eq!(verify(3, 5, &[]), Err(InvalidTreeProof::Length(0)));
    assert_eq!(verify(5, 4, &[]), Err(InvalidTreeProof::NotAnExtension { old: 5, new: 4 }));
    let not_empty = verify_consistency(0, &roots[1], 5, &roots[5], &[]);
    assert_eq!(not_empty, Err(InvalidTreeProof::OldRoot));
    let rewritten = verify_consistency(5, &roots[4], 5, &roots[5], &[]);
    assert_eq!(rewritten, Err(InvalidTreeProof::Root));
    assert_eq!(consistency_proof(&nodes, 9, 8), Err(TreeError::NotAnExtension { old: 9, new: 8 }));
}

#[test]
fn missing_nodes_are_reported_not_invented() {
    let (_, mut nodes) = stored(8);
    assert_eq!(inclusion_proof(&nodes, 8, 8), Err(TreeError::NoSuchLeaf { index: 8, size: 8 }));
    assert_eq!(inclusion_proof(&nodes, 0, 9), Err(TreeError::MissingNode { level: 0, index: 8 }));
    nodes.remove(&(1, 1));
    assert_eq!(inclusion_proof(&nodes, 0, 8), Err(TreeError::MissingNode { level: 1, index: 1 }));
    assert_eq!(root(&nodes, 8), Ok(hash_of_eight()));
    let too_large = Err(TreeError::TooLarge(u64::MAX));
    assert_eq!(root(&nodes, u64::MAX), too_large);
    assert_eq!(inclusion_proof(&nodes, 0, u64::MAX), Err(TreeError::TooLarge(u64::MAX)));
    assert_eq!(consistency_proof(&nodes, 0, u64::MAX), Err(TreeError::TooLarge(u64::MAX)));
}

fn hash_of_eight() -> Hash {
    Naive::default().root(0, 8)
}

#[test]
fn a_frontier_survives_storage_and_refuses_nonsense() {
    let (frontier, nodes) = stored(77);
    let bytes = wire::cbor::to_vec(&frontier);
    assert_eq!(wire::cbor::from_slice::<Frontier>(&bytes).unwrap(), frontier);
    assert_eq!(Frontier::load(&nodes, 77).unwrap(), frontier);
    assert_eq!(Frontier::new(3, vec![leaf(0)]), None);
    assert_eq!(Frontier::new(0, vec![leaf(0)]), None);
    assert_eq!(Frontier::new(u64::MAX, vec![leaf(0); 64]), None);
    let nonsense = wire::cbor::to_vec(&FrontierFields { size: 2, subtrees: vec![] });
    assert!(wire::cbor::from_slice::<Frontier>(&nonsense).is_err());
}

/// A log of any size whose leaves are all the same.
struct Uniform(Vec<Hash>);

impl Uniform {
    fn new() -> Self {
        let mut levels = vec![leaf(0)];
        for level in 0..63 {
            levels.push(node_hash(&levels[level], &levels[level]));
        }
        Self(levels)
    }
}

impl Nodes for Uniform {
    fn node(&self, level: u8, _: u64) -> Option<Hash> {
        self.0.get(usize::from(level)).copied()
    }
}

#[test]
fn the_largest_log_has_proofs() {
    let nodes = Uniform::new();
    let root = root(&nodes, MAX_SIZE).unwrap();
    for index in [0, 1, MAX_SIZE / 2, MAX_SIZE - 2, MAX_SIZE - 1] {
        let proof = inclusion_proof(&nodes, index, MAX_SIZE).unwrap();
        verify_inclusion(&leaf(0), index, MAX_SIZE, &proof, &root).unwrap();
    }
    let mut frontier = Frontier::load(&nodes, MAX_SIZE).unwrap();
    assert_eq!(frontier.append(leaf(0)).last().unwrap().level, 63);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn proofs_of_huge_logs_hold(sizes in (1..=MAX_SIZE, 1..=MAX_SIZE), at in any::<u64>()) {
        let nodes = Uniform::new();
        let (old, new) = (sizes.0.min(sizes.1), sizes.0.max(sizes.1));
        let (old_root, new_root) = (root(&nodes, old).unwrap(), root(&nodes, new).unwrap());
        let proof = consistency_proof(&nodes, old, new).unwrap();
        prop_assert_eq!(verify_consistency(old, &old_root, new, &new_root, &proof), Ok(()));
        let proof = inclusion_proof(&nodes, at % new, new).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf(0), at % new, new, &proof, &new_root), Ok(()));
        prop_assert!(verify_inclusion(&leaf(1), at % new, new, &proof, &new_root).is_err());
    }

    #[test]
    fn hostile_numbers_do_no_harm(
        a in prop_oneof![any::<u64>(), u64::MAX - 3..=u64::MAX, 0..4u64],
        b in prop_oneof![any::<u64>(), u64::MAX - 3..=u64::MAX, 0..4u64],
        length in 0..140usize,
    ) {
        let proof = vec![leaf(3); length];
        prop_assert!(verify_inclusion(&leaf(0), a, b, &proof, &leaf(1)).is_err());
        prop_assert!(verify_consistency(a, &leaf(0), b, &leaf(1), &proof).is_err());
        let nothing = Stored::new();
        prop_assert!(inclusion_proof(&nothing, a, b).is_err() || (a, b) == (0, 1));
        let _ = consistency_proof(&nothing, a, b);
        let _ = tile(&nothing, a as u8, b, length as u16);
        let _ = tile_path(a as u8, b, length as u16);
    }
}

#[test]
fn tiles_hold_the_whole_tree() {
    let size = 66_000u64;
    let (frontier, nodes) = stored(size);
    // The tree is rebuilt from tiles alone.
    let mut rebuilt = Stored::new();
    for level in 0..3u8 {
        let count = size >> (8 * level);
        for index in 0..count.div_ceil(256) {
            let width = (count - index * 256).min(256) as u16;
            let bytes = tile(&nodes, level, index, width).unwrap();
            assert_eq!(bytes.len(), usize::from(width) * 32);
            for (number, bytes) in (index * 256..).zip(bytes.chunks(32)) {
                let (mut height, mut number) = (level * 8, number);
                rebuilt.insert((height, number), Hash::try_from(bytes).unwrap());
                while number % 2 == 1 && height < level * 8 + 7 {
                    let pair = [number - 1, number].map(|number| rebuilt[&(height, number)]);
                    (height, number) = (height + 1, number / 2);
                    rebuilt.insert((height, number), node_hash(&pair[0], &pair[1]));
                }
            }
        }
    }
    assert_eq!(rebuilt, nodes);
    assert_eq!(root(&rebuilt, size), Ok(frontier.root()));
    let missing = tile(&nodes, 0, 257, 209);
    assert_eq!(missing, Err(TreeError::MissingNode { level: 0, index: size }));
    for (level, index, width) in [(0, 0, 0), (0, 0, 257), (8, 0, 1), (0, u64::MAX, 1)] {
        let none = TreeError::NoSuchTile { level, index, width };
        assert_eq!(tile(&nodes, level, index, width), Err(none));
    }
}

#[test]
fn tile_paths() {
    assert_eq!(tile_path(0, 0, 256), "tile/0/000");
    assert_eq!(tile_path(1, 5, 112), "tile/1/005.p/112");
    assert_eq!(tile_path(0, 999, 256), "tile/0/999");
    assert_eq!(tile_path(0, 1000, 256), "tile/0/x001/000");
    // The example of c2sp.org/tlog-tiles.
    assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
}
