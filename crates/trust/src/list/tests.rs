use wire::{
    Signer,
    membership::{Denied, RoleKeys},
};

use super::*;
use crate::testing::{NOW, TestNetwork, TestSigner, assemble, role_keys, sign_all};

const MINUTE_MS: u64 = 60_000;

fn open(network: &TestNetwork, file: &TrustFile) -> Result<Trust, TrustError> {
    Trust::open(file, &network.id, NOW)
}

/// The test network's file with one of the three signed anew by the given keys.
fn list_signed_by(network: &TestNetwork, signers: &[TestSigner]) -> TrustFile {
    let list = sign_all(MultiSigned::new(network.list.clone()), &network.id, signers);
    TrustFile { trust_list: list.bytes().into(), ..network.file.clone() }
}

fn timestamp_signed_by(network: &TestNetwork, signers: &[TestSigner]) -> TrustFile {
    let stamp = sign_all(MultiSigned::new(network.timestamp.clone()), &network.id, signers);
    TrustFile { timestamp: stamp.bytes().into(), ..network.file.clone() }
}

fn below_threshold(result: Result<Trust, TrustError>, valid: usize, threshold: usize) {
    match result.unwrap_err() {
        TrustError::Envelope {
            error: EnvelopeError::BelowThreshold { valid: v, threshold: t, .. },
            ..
        } => {
            assert_eq!((v, t), (valid, threshold));
        }
        other => panic!("{other}"),
    }
}

/// A root after the last one, changed and signed by the given keys.
fn next_root(
    network: &TestNetwork,
    change: impl FnOnce(&mut Root),
    signers: &[&TestSigner],
) -> MultiSigned<Root> {
    let mut root = network.roots.last().unwrap().unverified().clone();
    root.version += 1;
    change(&mut root);
    let mut envelope = MultiSigned::new(root);
    for signer in signers {
        envelope.sign(&network.id, *signer).unwrap();
    }
    envelope
}

fn file_with_roots(network: &TestNetwork, more: &[MultiSigned<Root>]) -> TrustFile {
    let mut network = network.clone();
    network.roots.extend(more.iter().cloned());
    network.file_with(|_, _| {})
}

#[test]
fn a_good_file_opens_and_says_what_it_holds() {
    let network = TestNetwork::new();
    let trust = open(&network, &network.file).unwrap();
    assert_eq!(trust, network.trust);
    assert_eq!(*trust.network(), network.id);
    assert!(trust.testnet());
    assert_eq!(trust.versions(), Versions { root: 1, list: 1, timestamp: 1 });
    assert_eq!(trust.list(), &network.list);
    assert_eq!(trust.timestamp(), &network.timestamp);
    assert_eq!(trust.root(), network.roots[0].unverified());
    assert_eq!(trust.file(), &network.file);
    let names: Vec<_> = trust.municipalities().map(|city| city.name.as_str()).collect();
    assert_eq!(names, ["前橋市", "高崎市", "伊勢崎市", "太田市"]);
    let city = &network.cities[2];
    assert!(trust.is_municipality(&city.organisation));
    assert_eq!(
        trust.authority(&city.organisation, CaPurpose::Credential),
        Some(&network.list.authorities[2])
    );
    let stranger = OrganisationId::from_base("012345678901").unwrap();
    assert!(!trust.is_municipality(&stranger));
    assert_eq!(trust.authority(&stranger, CaPurpose::Citizen), None);
}

#[test]
fn the_network_id_is_the_hash_of_the_genesis_roots_payload() {
    let network = TestNetwork::new();
    let root = wire::cbor::to_vec(network.roots[0].unverified());
    assert_eq!(network.id.0, wire::sha256(&root).0);
    let elsewhere = NetworkId([1; 32]);
    let result = Trust::open(&network.file, &elsewhere, NOW);
    assert_eq!(result, Err(TrustError::OtherNetwork));
}

#[test]
fn a_file_of_another_network_is_refused() {
    let network = TestNetwork::new();
    let mut other = network.clone();
    let mut root = network.roots[0].unverified().clone();
    root.issued = NOW.plus_ms(1);
    other.id = network_id(&MultiSigned::new(root.clone()));
    other.roots = vec![sign_all(MultiSigned::new(root), &other.id, &other.root_signers)];
    let file = other.file_with(|_, _| {});
    Trust::open(&file, &other.id, NOW).unwrap();
    assert_eq!(open(&network, &file), Err(TrustError::OtherNetwork));
    // The same keys govern both, and still nothing passes from one to the other.
    let list = TrustFile { trust_list: file.trust_list.clone(), ..network.file.clone() };
    assert!(matches!(open(&network, &list), Err(TrustError::Envelope { .. })));
    let stamp = TrustFile { timestamp: file.timestamp, ..network.file.clone() };
    assert!(matches!(open(&network, &stamp), Err(TrustError::Envelope { .. })));
}

#[test]
fn each_role_needs_its_threshold() {
    let network = TestNetwork::new();
    let list = list_signed_by(&network, &network.list_signers[..2]);
    below_threshold(open(&network, &list), 2, 3);
    open(&network, &list_signed_by(&network, &network.list_signers[1..])).unwrap();

    let stamp = timestamp_signed_by(&network, &network.timestamp_signers[..2]);
    below_threshold(open(&network, &stamp), 2, 3);
    open(&network, &timestamp_signed_by(&network, &network.timestamp_signers[1..])).unwrap();

    let genesis = MultiSigned::new(network.roots[0].unverified().clone());
    let genesis = sign_all(genesis, &network.id, &network.root_signers[..2]);
    let mut roots = network.file.clone();
    roots.roots = vec![genesis.bytes().into()];
    below_threshold(open(&network, &roots), 2, 3);
}

#[test]
fn one_key_counts_once_and_another_roles_key_not_at_all() {
    let network = TestNetwork::new();
    // The envelope keeps one signature for each key ...
    let twice = [0, 1, 0].map(|i: usize| network.list_signers[i].clone());
    below_threshold(open(&network, &list_signed_by(&network, &twice)), 2, 3);
    // ... and bytes made by hand with a key twice are refused as such.
    let (a, b) = (
        sign_all(MultiSigned::new(network.list.clone()), &network.id, &network.list_signers[..1]),
        sign_all(MultiSigned::new(network.list.clone()), &network.id, &network.list_signers[..1]),
    );
    let doubled = double_signature(&a.bytes(), &b.bytes());
    let file = TrustFile { trust_list: doubled.into(), ..network.file.clone() };
    assert!(matches!(
        open(&network, &file),
        Err(TrustError::Envelope { error: EnvelopeError::Profile { .. }, .. })
    ));
    let mixed = [
        network.list_signers[0].clone(),
        network.list_signers[1].clone(),
        network.root_signers[0].clone(),
        network.timestamp_signers[0].clone(),
        TestSigner::new(100),
    ];
    below_threshold(open(&network, &list_signed_by(&network, &mixed)), 2, 3);
}

/// Puts the one signature of `b` beside that of `a`: an untagged COSE_Sign ends in the array of
/// signatures, `81 <signature>` with one.
fn double_signature(a: &[u8], b: &[u8]) -> Vec<u8> {
    let one = |bytes: &[u8]| {
        let value = wire::cbor::value_from_slice(bytes).unwrap();
        let mut encoded = wire::cbor::to_vec(&value);
        assert_eq!(encoded, bytes);
        // [body protected, {}, payload, [[protected, {}, bstr .size 64]]]
        let start = (0..encoded.len())
            .rev()
            .find(|i| encoded[*i] == 0x81 && encoded[*i + 1] == 0x83)
            .unwrap();
        let signature = encoded.split_off(start + 1);
        encoded.pop();
        (encoded, signature)
    };
    let ((head, first), (_, second)) = (one(a), one(b));
    [head, vec![0x82], first, second].concat()
}

#[test]
fn a_role_with_a_key_twice_or_an_impossible_threshold_is_refused() {
    let good = TestNetwork::new();
    type Change = fn(&mut Root);
    let changes: [(&str, Change); 6] = [
        ("a key twice", |root| {
            let first = root.trust_list.keys[0];
            root.trust_list.keys.insert(0, first);
        }),
        ("unsorted keys", |root| root.timestamp.keys.reverse()),
        ("threshold 0", |root| root.timestamp.threshold = 0),
        ("threshold above the keys", |root| root.trust_list.threshold = 5),
        ("no keys", |root| root.timestamp.keys.clear()),
        ("version 2", |root| root.version = 2),
    ];
    for (what, change) in changes {
        let mut network = good.clone();
        let mut root = network.roots[0].unverified().clone();
        change(&mut root);
        network.id = network_id(&MultiSigned::new(root.clone()));
        network.roots = vec![sign_all(MultiSigned::new(root), &network.id, &network.root_signers)];
        let file = network.file_with(|_, _| {});
        let refusal = Trust::open(&file, &network.id, NOW).unwrap_err();
        assert!(
            matches!(refusal, TrustError::Content { .. } | TrustError::RootOrder { .. }),
            "{what}: {refusal}"
        );
    }
}

#[test]
fn an_altered_byte_is_refused() {
    let network = TestNetwork::new();
    // No signature more than needed: one by an unknown key beside enough good ones is ignored.
    let stamp = timestamp_signed_by(&network, &network.timestamp_signers[..3]);
    let good = TrustFile { timestamp: stamp.timestamp, ..network.file.clone() };
    open(&network, &good).unwrap();
    let alter = |part: fn(&mut TrustFile) -> &mut Vec<u8>, step: usize| {
        let length = part(&mut good.clone()).len();
        for index in (0..length).step_by(step) {
            let mut file = good.clone();
            part(&mut file)[index] ^= 1;
            assert!(open(&network, &file).is_err(), "byte {index}");
        }
    };
    alter(|file| &mut file.roots[0].0, 3);
    alter(|file| &mut file.timestamp.0, 1);
    alter(|file| &mut file.trust_list.0, 17);
}

#[test]
fn list_and_timestamp_cannot_be_mixed() {
    let network = TestNetwork::new();
    let newer = network.file_with(|list, timestamp| {
        list.version = 2;
        timestamp.version = 2;
    });
    open(&network, &newer).unwrap();
    let old_stamp = TrustFile { timestamp: network.file.timestamp.clone(), ..newer.clone() };
    assert_eq!(open(&network, &old_stamp), Err(TrustError::OtherList { named: 1, got: 2 }));
    let old_list = TrustFile { trust_list: network.file.trust_list.clone(), ..newer };
    assert_eq!(open(&network, &old_list), Err(TrustError::OtherList { named: 2, got: 1 }));
    // The same version with other content.
    let twin = network.file_with(|list, _| list.expires = list.expires.plus_ms(1));
    let mixed = TrustFile { trust_list: twin.trust_list, ..network.file.clone() };
    assert_eq!(open(&network, &mixed), Err(TrustError::OtherList { named: 1, got: 1 }));
}

#[test]
fn expiries_are_first_moments_at_which_a_thing_no_longer_holds() {
    let network = TestNetwork::new();
    let (list, timestamp) = (&network.list, &network.timestamp);
    let freshness = |at| network.trust.freshness(at);
    assert_eq!(freshness(NOW), Freshness::Fresh);
    assert_eq!(freshness(Timestamp(timestamp.soft_expiry.0 - 1)), Freshness::Fresh);
    assert_eq!(freshness(timestamp.soft_expiry), Freshness::SoftExpired);
    assert_eq!(freshness(Timestamp(timestamp.hard_expiry.0 - 1)), Freshness::SoftExpired);
    assert_eq!(freshness(timestamp.hard_expiry), Freshness::HardExpired);

    let open_at = |file: &TrustFile, at| Trust::open(file, &network.id, at);
    open_at(&network.file, timestamp.soft_expiry).unwrap();
    open_at(&network.file, Timestamp(timestamp.hard_expiry.0 - 1)).unwrap();
    let stale = open_at(&network.file, timestamp.hard_expiry);
    assert_eq!(stale, Err(TrustError::Expired("timestamp (hard expiry)")));

    let fresh_stamp = network.file_with(|_, timestamp| {
        timestamp.soft_expiry = Timestamp(u64::MAX);
        timestamp.hard_expiry = Timestamp(u64::MAX);
    });
    let trust = open_at(&fresh_stamp, Timestamp(list.expires.0 - 1)).unwrap();
    assert_eq!(trust.freshness(list.expires), Freshness::HardExpired);
    assert_eq!(open_at(&fresh_stamp, list.expires), Err(TrustError::Expired("trust list")));
    let root = trust.root().expires;
    assert_eq!(open_at(&fresh_stamp, root), Err(TrustError::Expired("root")));

    let upside_down = network.file_with(|_, timestamp| {
        timestamp.soft_expiry = timestamp.hard_expiry.plus_ms(1);
    });
    assert!(matches!(open(&network, &upside_down), Err(TrustError::Content { .. })));
}

#[test]
fn an_update_never_goes_back() {
    let network = TestNetwork::new();
    let at = |list_version, timestamp_version| {
        network.file_with(|list, timestamp| {
            list.version = list_version;
            timestamp.version = timestamp_version;
        })
    };
    let trust = open(&network, &at(2, 2)).unwrap();
    trust.update(&at(2, 2), NOW).unwrap();
    trust.update(&at(2, 3), NOW).unwrap();
    trust.update(&at(3, 3), NOW).unwrap();
    assert_eq!(
        trust.update(&at(1, 3), NOW),
        Err(TrustError::Rollback { what: "trust list", have: 2, got: 1 })
    );
    assert_eq!(
        trust.update(&at(2, 1), NOW),
        Err(TrustError::Rollback { what: "timestamp", have: 2, got: 1 })
    );
}

#[test]
fn the_same_version_with_other_content_is_refused() {
    let network = TestNetwork::new();
    let list = network.file_with(|list, timestamp| {
        list.expires = list.expires.plus_ms(1);
        timestamp.version = 2;
    });
    assert_eq!(
        network.trust.update(&list, NOW),
        Err(TrustError::Fork { what: "trust list", version: 1 })
    );
    let stamp = network.file_with(|_, timestamp| {
        timestamp.hard_expiry = timestamp.hard_expiry.plus_ms(MINUTE_MS);
    });
    assert_eq!(
        network.trust.update(&stamp, NOW),
        Err(TrustError::Fork { what: "timestamp", version: 1 })
    );
    // Other signatures over the same content are no other content.
    let resigned = list_signed_by(&network, &network.list_signers);
    network.trust.update(&resigned, NOW).unwrap();
}

#[test]
fn a_new_root_needs_the_old_threshold_and_its_own() {
    let network = TestNetwork::new();
    let old: Vec<_> = network.root_signers.iter().collect();
    let keys: Vec<_> = (0..4).map(|i| TestSigner::new(120 + i)).collect();
    let new: Vec<_> = keys.iter().collect();
    let rotate = |root: &mut Root| root.root = role_keys(&keys, 3);
    let open_with = |signers: &[&TestSigner]| {
        open(&network, &file_with_roots(&network, &[next_root(&network, rotate, signers)]))
    };
    below_threshold(open_with(&old), 0, 3);
    below_threshold(open_with(&new), 0, 3);
    below_threshold(open_with(&[old[0], old[1], new[0], new[1], new[2]]), 2, 3);
    below_threshold(open_with(&[old[0], old[1], old[2], new[0], new[1]]), 2, 3);
    let both = [old[0], old[1], old[2], new[1], new[2], new[3]];
    let trust = open_with(&both).unwrap();
    assert_eq!(trust.versions().root, 2);

    // After the rotation the old keys alone can do nothing more; the new ones can.
    let mut rotated = network.clone();
    rotated.roots.push(next_root(&network, rotate, &both));
    let third = |signers: &[&TestSigner]| {
        file_with_roots(&rotated, &[next_root(&rotated, |_| {}, signers)])
    };
    below_threshold(trust.update(&third(&old), NOW), 0, 3);
    assert_eq!(trust.update(&third(&new), NOW).unwrap().versions().root, 3);
}

#[test]
fn rotated_list_keys_take_effect() {
    let network = TestNetwork::new();
    let keys: Vec<_> = (0..4).map(|i| TestSigner::new(120 + i)).collect();
    let signers: Vec<_> = network.root_signers.iter().collect();
    let root = next_root(&network, |root| root.trust_list = role_keys(&keys, 3), &signers);
    let stale = file_with_roots(&network, std::slice::from_ref(&root));
    below_threshold(open(&network, &stale), 0, 3);
    let mut rotated = network.clone();
    rotated.roots.push(root);
    rotated.list_signers = keys;
    open(&network, &rotated.file_with(|_, _| {})).unwrap();
}

#[test]
fn roots_are_walked_one_by_one() {
    let network = TestNetwork::new();
    let signers: Vec<_> = network.root_signers.iter().collect();
    let second = next_root(&network, |_| {}, &signers);
    let skipped = next_root(&network, |root| root.version = 3, &signers);
    assert_eq!(
        open(&network, &file_with_roots(&network, &[skipped])),
        Err(TrustError::RootOrder { expected: 2, got: 3 })
    );
    let twice = file_with_roots(&network, &[second.clone(), second.clone()]);
    assert_eq!(open(&network, &twice), Err(TrustError::RootOrder { expected: 3, got: 2 }));
    let mut headless = file_with_roots(&network, std::slice::from_ref(&second));
    headless.roots.remove(0);
    assert_eq!(open(&network, &headless), Err(TrustError::OtherNetwork));
    headless.roots.clear();
    assert_eq!(open(&network, &headless), Err(TrustError::Roots(0)));

    let trust = open(&network, &file_with_roots(&network, std::slice::from_ref(&second))).unwrap();
    assert_eq!(
        trust.update(&network.file, NOW),
        Err(TrustError::Rollback { what: "root", have: 2, got: 1 })
    );
    let fork = next_root(&network, |root| root.issued = NOW.plus_ms(1), &signers);
    assert_eq!(
        trust.update(&file_with_roots(&network, &[fork]), NOW),
        Err(TrustError::Fork { what: "root", version: 2 })
    );
    let production = next_root(&network, |root| root.testnet = false, &signers);
    let result = open(&network, &file_with_roots(&network, &[production]));
    assert!(matches!(result, Err(TrustError::Content { what: "root", .. })));
}

#[test]
fn an_earlier_root_may_have_expired_but_not_the_last() {
    let network = TestNetwork::new();
    let mut old = network.clone();
    let mut root = network.roots[0].unverified().clone();
    root.expires = NOW;
    old.id = network_id(&MultiSigned::new(root.clone()));
    old.roots = vec![sign_all(MultiSigned::new(root), &old.id, &old.root_signers)];
    assert_eq!(open(&old, &old.file_with(|_, _| {})), Err(TrustError::Expired("root")));
    let signers: Vec<_> = old.root_signers.iter().collect();
    let second = next_root(&old, |root| root.expires = NOW.plus_ms(MINUTE_MS), &signers);
    open(&old, &file_with_roots(&old, &[second])).unwrap();
}

#[test]
fn a_denylist_needs_three_signers() {
    let network = TestNetwork::new();
    let city = network.cities[0].organisation.clone();
    let hash = Hash([5; 32]);
    let denylist = vec![Denied::Organisation(city.clone()), Denied::Certificate(hash)];
    // Of few keys two may do for a timestamp.
    let keys = network.timestamp_signers[..3].iter().map(Signer::public_key);
    let mut role = RoleKeys { keys: keys.collect(), threshold: 2 };
    role.keys.sort();
    let all: Vec<_> = network.root_signers.iter().collect();
    let second = next_root(&network, |root| root.timestamp = role, &all);
    let file = file_with_roots(&network, &[second]);
    let with = |signers: &[TestSigner]| {
        let mut timestamp = network.timestamp.clone();
        timestamp.denylist = denylist.clone();
        let stamp = sign_all(MultiSigned::new(timestamp), &network.id, signers);
        open(&network, &TrustFile { timestamp: stamp.bytes().into(), ..file.clone() })
    };
    let two = with(&network.timestamp_signers[..2]);
    assert!(matches!(two, Err(TrustError::Content { what: "timestamp", .. })));
    let trust = with(&network.timestamp_signers[..3]).unwrap();
    assert!(trust.is_denied_organisation(&city));
    assert!(trust.is_denied_certificate(&hash));
    assert!(!trust.is_denied_organisation(&network.cities[1].organisation));
    assert!(!network.trust.is_denied_organisation(&city));
}

#[test]
fn lists_that_contradict_themselves_are_refused() {
    let network = TestNetwork::new();
    type Change = fn(&mut TrustList);
    let changes: [(&str, Change); 15] = [
        ("version 0", |list| list.version = 0),
        ("denied twice", |list| list.denied = vec![Denied::Certificate(Hash([1; 32])); 2]),
        ("denied out of order", |list| {
            list.denied = [2, 1].map(|byte| Denied::Certificate(Hash([byte; 32]))).to_vec();
        }),
        ("a municipality twice", |list| list.municipalities.push(list.municipalities[0].clone())),
        ("a witness twice", |list| list.witnesses.push(list.witnesses[0].clone())),
        ("a member twice", |list| list.committee.members.push(list.committee.members[0].clone())),
        ("threshold 0", |list| list.committee.threshold = 0),
        ("threshold 5 of 4", |list| list.committee.threshold = 5),
        ("a key of 32 bytes", |list| list.committee.public_key.0.truncate(32)),
        ("an uncompressed point", |list| list.committee.public_key.0[0] = 4),
        ("an anchor twice", |list| list.authorities.push(list.authorities[0].clone())),
        ("another's anchor", |list| {
            list.authorities[0].organisation = list.authorities[1].organisation.clone();
        }),
        ("no purpose", |list| list.authorities[0].purposes.clear()),
        ("a purpose twice", |list| {
            list.authorities[0].purposes = vec![CaPurpose::Citizen, CaPurpose::Citizen];
        }),
        ("no certificate", |list| list.authorities[0].anchor = Bytes(vec![0x30, 0])),
    ];
    for (what, change) in changes {
        let file = network.file_with(|list, _| change(list));
        let refusal = open(&network, &file).unwrap_err();
        assert!(
            matches!(refusal, TrustError::Content { .. } | TrustError::Authority { .. }),
            "{what}: {refusal}"
        );
    }
    let sub_ca = network.file_with(|list, _| {
        list.authorities[0].anchor = network.cities[0].citizen.certificate.clone().into();
    });
    assert!(matches!(open(&network, &sub_ca), Err(TrustError::Authority { position: 0, .. })));
    let mut forged = network.cities[0].root.certificate.clone();
    *forged.last_mut().unwrap() ^= 1;
    let forged = network.file_with(|list, _| list.authorities[0].anchor = forged.into());
    assert!(matches!(open(&network, &forged), Err(TrustError::Authority { position: 0, .. })));
}

#[test]
fn only_a_testnet_may_do_without_a_committee() {
    let alone = Committee { members: vec![], threshold: 0, public_key: Bytes(vec![]) };
    check_committee(&alone, true).unwrap();
    assert!(check_committee(&alone, false).is_err());
    let network = TestNetwork::new();
    check_committee(&network.list.committee, false).unwrap();
    let single = Committee { threshold: 1, ..network.list.committee };
    check_committee(&single, true).unwrap();
    assert!(check_committee(&single, false).is_err());
}

#[test]
fn assembling_again_gives_the_same_bytes() {
    let network = TestNetwork::new();
    let (file, _) = assemble(
        &network.id,
        &network.roots,
        &network.list,
        network.timestamp.clone(),
        &network.list_signers,
        &network.timestamp_signers,
    );
    assert_eq!(file, network.file);
    assert!(
        network.trust.root().timestamp.keys.contains(&network.timestamp_signers[0].public_key())
    );
}
