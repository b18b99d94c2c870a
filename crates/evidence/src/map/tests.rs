use proptest::{collection::vec, prelude::*};
use wire::{cbor, hash_parts, sha256};

use super::*;

fn key(number: u64) -> Hash {
    sha256(format!("key {number}").as_bytes())
}

fn value_of(number: u64) -> Hash {
    sha256(format!("value {number}").as_bytes())
}

fn map(entries: impl IntoIterator<Item = (Hash, Hash)>) -> MemoryMap {
    let mut map = MemoryMap::default();
    entries.into_iter().for_each(|(key, value)| map.insert(&key, &value));
    map
}

fn numbered(count: u64) -> MemoryMap {
    map((0..count).map(|number| (key(number), value_of(number))))
}

/// The definition word by word, from the sorted list of all entries.
fn naive_root(entries: &[(Hash, Hash)], depth: u16) -> Hash {
    match entries {
        [] => Hash([0; 32]),
        [(key, value)] => hash_parts("mebuku/map-leaf/1", &[&key.0, &value.0]),
        _ => {
            let right = |key: &Hash| key.0[depth as usize / 8] & (0x80 >> (depth % 8)) != 0;
            let middle = entries.partition_point(|(key, _)| !right(key));
            let (left, right) = entries.split_at(middle);
            let halves = [naive_root(left, depth + 1), naive_root(right, depth + 1)];
            hash_parts("mebuku/map-node/1", &[&halves[0].0, &halves[1].0])
        }
    }
}

/// Roots computed by another program in another language.
#[test]
fn fixed_roots() {
    let roots = [
        (0, "0000000000000000000000000000000000000000000000000000000000000000"),
        (1, "e257705319d5f9e2a392f41e1d556ccb9b6ac1d8a8982e52ff5a3a6695219de3"),
        (2, "aa44b125fd47181261d3e03b8edf72147bf252bddf1cf50973e9527f555aa157"),
        (3, "00696c39968333f2f2cce8e2a3aa74b7fb30418f8783d9a3462c93fe13c355e7"),
        (16, "624108df30220ce74d1509129806bc490320fd036ea457352b65bd56bf54ce1b"),
        (1000, "ea0a0bfce2f89f64b306170b1504041ee1564ad7e424a095154da388e400cd10"),
    ];
    for (count, root) in roots {
        assert_eq!(numbered(count).root().to_string(), root, "{count} keys");
    }
}

/// Keys that differ in the last bit only, and in the first bit only.
#[test]
fn the_deepest_and_the_shallowest_parting() {
    let zero = Hash([0; 32]);
    let (mut last, mut first) = (zero, zero);
    last.0[31] = 1;
    first.0[0] = 0x80;
    let deep = map([(zero, value_of(0)), (last, value_of(1))]);
    let deep_root = "8b62a51dcb318734f38a5d8889b80c80ce54649e0c3938ceba388c46196e1fc4";
    assert_eq!(deep.root().to_string(), deep_root);
    let shallow = map([(zero, value_of(0)), (first, value_of(1))]);
    let shallow_root = "447c8e9cf82f8ae63a2da1552bb4238a71609076519dd759cf80d72debd0ed9c";
    assert_eq!(shallow.root().to_string(), shallow_root);

    let proof = deep.prove(&last);
    assert_eq!(proof.path.len(), 256);
    proof.verify_presence(&deep.root(), &last, &value_of(1)).unwrap();
    // A third key that parts from both at the last but one bit ends in an empty subtree there.
    let mut third = zero;
    third.0[31] = 2;
    let proof = deep.prove(&third);
    assert_eq!((proof.path.len(), proof.other), (255, None));
    proof.verify_absence(&deep.root(), &third).unwrap();
    let three = map([(last, value_of(1)), (third, value_of(2)), (zero, value_of(0))]);
    let entries = [(zero, value_of(0)), (last, value_of(1)), (third, value_of(2))];
    assert_eq!(three.root(), naive_root(&entries, 0));
}

/// Keys that share long prefixes as often as none, which hashes would never do.
fn any_key() -> impl Strategy<Value = Hash> {
    let flips = prop_oneof![vec(0..256usize, 0..3), vec(246..256usize, 0..4), vec(0..8usize, 0..4)];
    prop_oneof![
        flips.prop_map(|flips| {
            let mut key = Hash([0x5a; 32]);
            flips.iter().for_each(|bit| key.0[bit / 8] ^= 0x80 >> (bit % 8));
            key
        }),
        any::<[u8; 32]>().prop_map(Hash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn roots_and_proofs_match_the_definition(
        entries in vec((any_key(), 0..1000u64), 0..40),
        strangers in vec(any_key(), 8),
    ) {
        let mut map = MemoryMap::default();
        let mut plain = BTreeMap::new();
        for (key, number) in &entries {
            map.insert(key, &value_of(*number));
            plain.insert(*key, value_of(*number));
            let sorted: Vec<_> = plain.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(map.root(), naive_root(&sorted, 0));
        }
        let root = map.root();
        for (key, value) in &plain {
            let proof = map.prove(key);
            prop_assert_eq!(map.value(key), Some(*value));
            prop_assert_eq!(proof.verify_presence(&root, key, value), Ok(()));
            prop_assert!(proof.verify_presence(&root, key, &value_of(1000)).is_err());
            prop_assert!(proof.verify_absence(&root, key).is_err());
        }
        for key in strangers.iter().filter(|key| !plain.contains_key(key)) {
            let proof = map.prove(key);
            prop_assert_eq!(map.value(key), None);
            prop_assert_eq!(proof.verify_absence(&root, key), Ok(()));
            prop_assert!(proof.verify_presence(&root, key, &value_of(0)).is_err());
            // No proof made for another key shows a present one to be absent.
            for present in plain.keys() {
                prop_assert!(proof.verify_absence(&root, present).is_err());
            }
        }
    }

    #[test]
    fn order_does_not_matter(entries in vec((any_key(), 0..9u64), 0..30), seed in any::<u64>()) {
        let set: BTreeMap<Hash, Hash> =
            entries.iter().map(|(key, number)| (*key, value_of(*number))).collect();
        let mut shuffled: Vec<_> = set.clone().into_iter().collect();
        shuffled.sort_by_key(|(key, _)| sha256(&[&seed.to_be_bytes()[..], &key.0].concat()));
        // An older value before the last one leaves no trace either.
        let twice = shuffled.iter().map(|(key, _)| (*key, value_of(77))).chain(shuffled.clone());
        prop_assert_eq!(map(set), map(twice));
    }

    #[test]
    fn node_keys_have_one_encoding(key in any::<[u8; 32]>(), depth in 0..=256u16, junk in vec(any::<u8>(), 0..40)) {
        let at = NodeKey::towards(&Hash(key), depth);
        prop_assert_eq!(NodeKey::from_bytes(&at.to_bytes()), Some(at));
        if let Some(read) = NodeKey::from_bytes(&junk) {
            prop_assert_eq!(read.to_bytes(), junk);
        }
    }

    #[test]
    fn forged_proofs_do_no_harm(
        path in prop_oneof![vec(any_key(), 0..20), vec(Just(EMPTY_ROOT), 0..300)],
        other in prop::option::of((any_key(), any_key())),
        key in any_key(),
    ) {
        let map = numbered(20);
        let proof = MapProof { path, other };
        prop_assert!(proof.verify_presence(&map.root(), &key, &value_of(0)).is_err());
        prop_assert!(proof.verify_absence(&map.root(), &key).is_err());
    }
}

fn flip(hash: &Hash, bit: usize) -> Hash {
    let mut flipped = *hash;
    flipped.0[bit / 8] ^= 0x80 >> (bit % 8);
    flipped
}

/// The proof with each of its bits flipped in turn.
fn flipped(proof: &MapProof) -> Vec<MapProof> {
    let mut all = Vec::new();
    for bit in 0..256 {
        for at in 0..proof.path.len() {
            let mut path = proof.path.clone();
            path[at] = flip(&path[at], bit);
            all.push(MapProof { path, other: proof.other });
        }
        if let Some((key, value)) = proof.other {
            let path = &proof.path;
            all.push(MapProof { path: path.clone(), other: Some((flip(&key, bit), value)) });
            all.push(MapProof { path: path.clone(), other: Some((key, flip(&value, bit))) });
        }
    }
    all
}

#[test]
fn every_flipped_bit_is_refused() {
    let map = numbered(50);
    let root = map.root();
    let (present, value) = (key(7), value_of(7));
    let proof = map.prove(&present);
    assert!(!proof.path.is_empty());
    for proof in flipped(&proof) {
        assert!(proof.verify_presence(&root, &present, &value).is_err());
    }
    for bit in 0..256 {
        assert!(proof.verify_presence(&flip(&root, bit), &present, &value).is_err());
        assert!(proof.verify_presence(&root, &flip(&present, bit), &value).is_err());
        assert!(proof.verify_presence(&root, &present, &flip(&value, bit)).is_err());
    }
    // One absence that ends in another's leaf, one that ends in an empty subtree.
    for other in [true, false] {
        let absent = (50..).map(key).find(|key| map.prove(key).other.is_some() == other).unwrap();
        let proof = map.prove(&absent);
        proof.verify_absence(&root, &absent).unwrap();
        for proof in flipped(&proof) {
            assert!(proof.verify_absence(&root, &absent).is_err());
        }
    }
}

#[test]
fn lengthened_shortened_and_mixed_proofs_are_refused() {
    let map = numbered(50);
    let root = map.root();
    let (present, value) = (key(7), value_of(7));
    let proof = map.prove(&present);
    let cut = |path: &[Hash]| MapProof { path: path.to_vec(), other: None };
    let (first, last) = (proof.path.len() - 1, proof.path.len());
    for path in [&proof.path[..first], &proof.path[1..last], &[]] {
        assert!(cut(path).verify_presence(&root, &present, &value).is_err());
        assert!(cut(path).verify_absence(&root, &present).is_err());
    }
    let longer = cut(&[&proof.path[..], &[EMPTY_ROOT]].concat());
    let refused = longer.verify_presence(&root, &present, &value);
    assert_eq!(refused, Err(InvalidMapProof::Root));
    let mut too_long = proof.clone();
    too_long.path.resize(257, EMPTY_ROOT);
    let refused = too_long.verify_presence(&root, &present, &value);
    assert_eq!(refused, Err(InvalidMapProof::Length));

    let mut mixed = proof.clone();
    mixed.other = Some((present, value));
    assert_eq!(mixed.verify_absence(&root, &present), Err(InvalidMapProof::ShowsPresence));
    let refused = mixed.verify_presence(&root, &present, &value);
    assert_eq!(refused, Err(InvalidMapProof::ShowsAbsence));
    // Another key's true leaf at its true place, but not on the way to this key.
    let other = (0..50).map(key).find(|other| shared_bits(other, &present) == 0).unwrap();
    let elsewhere = map.prove(&other);
    let number = (0..50).find(|number| key(*number) == other).unwrap();
    let proof = MapProof { path: elsewhere.path, other: Some((other, value_of(number))) };
    assert_eq!(proof.verify_absence(&root, &present), Err(InvalidMapProof::OffTheWay));
}

#[test]
fn the_empty_map_and_a_single_key() {
    let empty = MemoryMap::default();
    assert_eq!(empty.root(), EMPTY_ROOT);
    empty.prove(&key(0)).verify_absence(&EMPTY_ROOT, &key(0)).unwrap();
    let one = numbered(1);
    assert_eq!(one.root(), leaf_hash(&key(0), &value_of(0)));
    let proof = one.prove(&key(1));
    assert_eq!(proof, MapProof { path: vec![], other: Some((key(0), value_of(0))) });
    proof.verify_absence(&one.root(), &key(1)).unwrap();
    assert!(proof.verify_absence(&one.root(), &key(0)).is_err());
    assert!(proof.verify_absence(&EMPTY_ROOT, &key(1)).is_err());
}

#[test]
fn an_update_writes_no_more_than_the_way() {
    let map = numbered(1000);
    let update = update(&map.nodes, &key(1), &value_of(2));
    assert!(update.writes.len() < 24, "{} writes", update.writes.len());
    assert_eq!(update.writes.len(), map.prove(&key(1)).path.len() + 1);
    assert_eq!(update.writes.last().unwrap().0, NodeKey::ROOT);
}

#[test]
fn a_damaged_store_is_found_and_left_alone() {
    let map = numbered(64);
    let path = map.prove(&key(3)).path.len() as u16;
    let mut absent_child = map.nodes.clone();
    absent_child.remove(&NodeKey::towards(&key(3), path)).unwrap();
    let mut other_child = map.nodes.clone();
    let forged = MapNode::Leaf { key: key(3), value: value_of(4) };
    other_child.insert(NodeKey::towards(&key(3), path), forged);
    for nodes in [absent_child, other_child] {
        let damaged = DamagedMap(NodeKey::towards(&key(3), path));
        assert_eq!(value(&nodes, &key(3)), Err(damaged));
        assert_eq!(prove(&nodes, &key(3)), Err(damaged));
        let update = update(&nodes, &key(3), &value_of(9));
        let untouched = MapUpdate { root: map.root(), writes: vec![], damaged: Some(damaged) };
        assert_eq!(update, untouched);
    }
    // Inner nodes all the way down, each committing to the next by chance: cannot be, but ends.
    struct Endless;
    impl MapNodes for Endless {
        fn node(&self, _: &NodeKey) -> Option<MapNode> {
            Some(MapNode::Inner { left: EMPTY_ROOT, right: leaf_hash(&EMPTY_ROOT, &EMPTY_ROOT) })
        }
    }
    assert!(prove(&Endless, &Hash([0xff; 32])).is_err());
}

#[test]
fn nodes_and_proofs_have_one_encoding() {
    let map = numbered(9);
    for node in map.nodes.values() {
        let bytes = cbor::to_vec(node);
        assert_eq!(cbor::from_slice::<MapNode>(&bytes).as_ref(), Ok(node));
    }
    let proof = map.prove(&key(100));
    assert_eq!(cbor::from_slice::<MapProof>(&cbor::to_vec(&proof)).as_ref(), Ok(&proof));
    // Stored and shown for ever.
    let leaf = MapNode::Leaf { key: Hash([1; 32]), value: Hash([2; 32]) };
    let expected =
        format!("a1646c656166a2636b65795820{}6576616c75655820{}", "01".repeat(32), "02".repeat(32));
    assert_eq!(hex::encode(cbor::to_vec(&leaf)), expected);
    let proof = MapProof { path: vec![Hash([3; 32])], other: None };
    let expected = format!("a2647061746881 5820{}656f74686572f6", "03".repeat(32));
    assert_eq!(hex::encode(cbor::to_vec(&proof)), expected.replace(' ', ""));
    let at = NodeKey::towards(&Hash([0xff; 32]), 12);
    assert_eq!(hex::encode(at.to_bytes()), "000cfff0");
}
