//! Each part in turn is replaced by another that is rightly signed, but not the right one.

use evidence::record::{Record, Release};
use trust::{
    LeafKind, Trust, root_ca, sub_ca,
    testing::{NOW, TestCa, TestNetwork, TestSigner, a_year, assemble, issue_leaf, sign_all},
};
use wire::{
    Bytes, Hash, MultiSigned, NetworkId, Nonce, Signed, Signer, Timestamp, cbor,
    channel::{ChannelId, Entry, EntryKind},
    consent::Attested,
    exchange::Receipt,
    membership::{CaPurpose, Denied, Role, TrustList},
};

use crate::{
    release::{Case, honest, released, request},
    world::{DAY, HERE, LogKey, World, hospital, insurer, lunch, scope, service},
};

/// Same people and keys, another genesis root.
fn other_network() -> TestNetwork {
    let mut network = TestNetwork::new();
    let mut root = network.roots[0].unverified().clone();
    root.expires = root.expires.plus_ms(1);
    let genesis = MultiSigned::new(root);
    network.id = trust::network_id(&genesis);
    network.roots = vec![sign_all(genesis, &network.id, &network.root_signers[..3])];
    let (lists, timestamps) = (&network.list_signers, &network.timestamp_signers);
    let timestamp = network.timestamp.clone();
    let (file, timestamp) =
        assemble(&network.id, &network.roots, &network.list, timestamp, lists, timestamps);
    network.trust = Trust::open(&file, &network.id, NOW).unwrap();
    (network.file, network.timestamp) = (file, timestamp);
    network
}

fn honest_elsewhere() -> Case {
    let mut world = World::on(other_network());
    world.permit(&hospital(), |_| ());
    released(world)
}

#[test]
fn another_networks_bundle() {
    let (mut here, there) = (honest(), honest_elsewhere());
    there.verify().unwrap();
    let ours: NetworkId = here.world.network.id;
    let error = exchange::bundle::verify(&there.bundle.to_bytes(), &ours).unwrap_err();
    assert_eq!(error.check, "trust list");
    // Its parts under our trust list.
    let mut mixed = there.bundle.clone();
    mixed.trust = here.bundle.trust.clone();
    assert_eq!(exchange::bundle::verify(&mixed.to_bytes(), &ours).unwrap_err().check, "source");
    here.bundle.release = there.bundle.release.clone();
    assert_eq!(here.fails(), "release record");
}

#[test]
fn another_form_of_file() {
    let mut case = honest();
    case.bundle.format = "mebuku/bundle/2".to_owned();
    assert_eq!(case.fails(), "file");
}

#[test]
fn a_trust_list_that_had_expired() {
    for (list_until, timestamp_until) in [(NOW, NOW.plus_ms(DAY)), (NOW.plus_ms(DAY), NOW)] {
        let mut case = honest();
        case.bundle.trust = case.world.network.file_with(|list, timestamp| {
            list.issued = Timestamp(NOW.0 - 1000);
            list.expires = list_until;
            timestamp.issued = Timestamp(NOW.0 - 1000);
            timestamp.soft_expiry = Timestamp(timestamp_until.0 - 500);
            timestamp.hard_expiry = timestamp_until;
        });
        let error = case.verify().map(|_| ()).unwrap_err();
        assert_eq!(error.check, "trust list");
        assert!(error.reason.contains("expired"), "{error}");
    }
}

#[test]
fn a_signature_of_nobody_on_the_trust_list() {
    let mut case = honest();
    let network = &case.world.network;
    let mut list = MultiSigned::<TrustList>::decode(&network.file.trust_list).unwrap();
    // One more key of the role is welcome.
    list.sign(&network.id, &network.list_signers[3]).unwrap();
    case.bundle.trust.trust_list = list.bytes().into();
    case.verify().unwrap();
    list.sign(&case.world.network.id, &TestSigner::new(222)).unwrap();
    case.bundle.trust.trust_list = list.bytes().into();
    assert_eq!(case.fails(), "trust list");
}

#[test]
fn members_that_are_none() {
    // Certified by a CA of the city's name that is not the city's.
    let mut case = honest();
    let world = &case.world;
    let (city, name) = (&world.home.organisation, &world.home.descriptor.name);
    let (root, signer) = (TestSigner::new(221), TestSigner::new(222));
    let certificate = root_ca(city, name, &root, [1; 16], a_year()).unwrap();
    let root = TestCa { certificate, signer: root };
    let (purpose, key) = (CaPurpose::Organisation, signer.public_key());
    let certificate = sub_ca(&root.ca(), purpose, city, name, &key, [2; 16], a_year()).unwrap();
    let ca = TestCa { certificate, signer };
    let leaf = LeafKind::Organisation {
        organisation: lunch().organisation(),
        name: "School lunch".to_owned(),
        services: vec![lunch()],
    };
    let key = world.lunch.signer.public_key();
    let chain = vec![issue_leaf(&ca, &leaf, &key, a_year()).into(), ca.certificate.clone().into()];
    let (signer, descriptor) = (world.lunch.signer.clone(), world.lunch.descriptor.clone());
    case.bundle.source = world.network.organisation_from(signer, chain, descriptor).identity;
    assert_eq!(case.fails(), "source");

    // Struck off.
    for (organisation, check) in [(lunch(), "source"), (hospital(), "recipient")] {
        let mut case = honest();
        let denied = Denied::Organisation(organisation.organisation());
        case.bundle.trust =
            case.world.network.file_with(|_, timestamp| timestamp.denylist = vec![denied]);
        assert_eq!(case.fails(), check);
    }

    // Good members, in the wrong place.
    let mut case = honest();
    case.bundle.source = case.world.hospital.identity.clone();
    assert_eq!(case.fails(), "release record");
    let mut case = honest();
    case.bundle.recipient = case.world.lunch.identity.clone();
    assert_eq!(case.fails(), "request");
    let mut case = honest();
    case.bundle.home = case.world.network.city(1).identity;
    assert_eq!(case.fails(), "lease");
    let mut case = honest();
    case.bundle.home = case.world.hospital.identity.clone();
    assert_eq!(case.fails(), "home");
}

#[test]
fn a_home_that_claims_too_much() {
    // A firm's node cannot be a home, whatever its descriptor says.
    let mut case = honest();
    let mut descriptor = case.world.hospital.descriptor.clone();
    descriptor.roles = vec![Role::Home];
    let hospital = &case.world.hospital;
    let (signer, chain) = (hospital.signer.clone(), hospital.chain.clone());
    case.bundle.home = case.world.network.organisation_from(signer, chain, descriptor).identity;
    assert_eq!(case.fails(), "home");
}

#[test]
fn a_release_in_another_log() {
    let mut case = honest();
    let record = Record::new(&case.release, NOW);
    let (lunch, hospital) = (lunch().organisation(), hospital().organisation());
    // Another key under the source's name; the source's key under another name.
    for (key, organisation) in [(LogKey::new(8), &lunch), (LogKey::new(7), &hospital)] {
        case.bundle.release = case.world.logged_by(&record, &key, organisation);
        assert_eq!(case.fails(), "release record");
    }
    case.bundle.release = case.world.logged_by(&record, &LogKey::new(7), &lunch);
    case.verify().unwrap();
    // Another record of the same log in its place.
    let path = case.bundle.release.path.clone();
    let mut other = case.release.clone();
    other.items.clear();
    case.relog(|release| *release = other);
    case.bundle.release.path = path;
    assert_eq!(case.fails(), "release record");
}

#[test]
fn a_record_that_is_no_release() {
    let mut case = honest();
    let noted = evidence::record::ReceiptNoted {
        receipt: Bytes(vec![]),
        request_id: case.release.request_id,
        presentation: case.release.presentation,
        recipient: hospital(),
    };
    case.bundle.release = case.world.logged(&Record::new(&noted, NOW));
    assert_eq!(case.fails(), "release record");
    let mut case = honest();
    case.relog(|release| release.pair.source = insurer());
    assert_eq!(case.fails(), "release record");
    case.relog(|release| release.channel.source = hospital());
    assert_eq!(case.fails(), "release record");
}

#[test]
fn another_request() {
    let mut case = honest();
    let mut other = request(&mut case.world, "health.allergy");
    other.source = service("990000000004", "clinic");
    let network = case.world.network.id;
    let hospital_key = case.world.hospital.signer.clone();
    let mut relog = |request: &wire::exchange::Request, signer: &dyn Signer, recipient| {
        let signed = Signed::new(request.clone(), &network, signer).unwrap();
        case.relog(|release: &mut Release| {
            release.request = signed.bytes().to_vec().into();
            (release.request_id, release.request_nonce) = (signed.id(), request.id);
            release.recipient = recipient;
        });
        case.fails()
    };
    // To another source; by another recipient, in words and in deed; out of time.
    assert_eq!(relog(&other, &hospital_key, hospital()), "request");
    other.source = lunch();
    assert_eq!(relog(&other, &TestSigner::new(222), hospital()), "request");
    other.recipient = insurer();
    assert_eq!(relog(&other, &hospital_key, insurer()), "request");
    other.recipient = hospital();
    assert_eq!(relog(&other, &hospital_key, insurer()), "request");
    (other.issued, other.expires) = (NOW.plus_ms(60_001), NOW.plus_ms(90_000));
    assert_eq!(relog(&other, &hospital_key, hospital()), "request");
    (other.issued, other.expires) = (Timestamp(NOW.0 - 90_000), Timestamp(NOW.0 - 60_001));
    assert_eq!(relog(&other, &hospital_key, hospital()), "request");
    // A good one, but not the one that the presentation answers.
    (other.issued, other.expires) = (NOW, NOW.plus_ms(60_000));
    assert_eq!(relog(&other, &hospital_key, hospital()), "presentation");
    // Named wrongly.
    let mut case = honest();
    case.relog(|release| release.request_id = Hash([1; 32]));
    assert_eq!(case.fails(), "request");
    let mut case = honest();
    case.relog(|release| release.request_nonce = Nonce([1; 16]));
    assert_eq!(case.fails(), "request");
}

#[test]
fn another_lease() {
    let mut case = honest();
    case.regrant(|_| ());
    case.verify().unwrap();
    // Run out, allowing a minute for the clocks; yet to come.
    case.regrant(|grant| grant.time = Timestamp(NOW.0 - 119_999));
    case.verify().unwrap();
    case.regrant(|grant| grant.time = Timestamp(NOW.0 - 120_000));
    assert_eq!(case.fails(), "lease");
    case.regrant(|grant| grant.time = NOW.plus_ms(60_001));
    assert_eq!(case.fails(), "lease");
    // For another channel.
    let city = case.world.network.cities[1].organisation.clone();
    case.regrant(|grant| grant.channel = ChannelId { home: city, source: lunch() });
    assert_eq!(case.fails(), "lease");
    case.regrant(|grant| grant.channel.source = service("990000000001", "supper"));
    assert_eq!(case.fails(), "lease");
    // For what the source had not applied, or had otherwise.
    case.regrant(|grant| grant.head.position.length += 1);
    assert_eq!(case.fails(), "lease");
    case.regrant(|grant| grant.head.position.chain = Hash([1; 32]));
    assert_eq!(case.fails(), "lease");
    case.regrant(|grant| grant.head.map = Hash([1; 32]));
    assert_eq!(case.fails(), "lease");
    // By another home's hand.
    let grant = case.world.grant();
    let signer = &case.world.network.city(1).signer;
    let signed = Signed::new(grant, &case.world.network.id, signer).unwrap();
    case.bundle.grant = Some(signed.bytes().to_vec().into());
    case.relog(|release| release.lease = Some(signed.id()));
    assert_eq!(case.fails(), "lease");
    // A good one, that the release does not name; and none.
    let mut case = honest();
    let grant = case.world.grant();
    case.bundle.grant = Some(case.world.sign(grant, &case.world.home.signer));
    assert_eq!(case.fails(), "lease");
    case.relog(|release| release.lease = None);
    assert_eq!(case.fails(), "lease");
}

#[test]
fn another_head() {
    let mut case = honest();
    let head = *case.world.source_end.applied();
    let good = case.world.statement(head);
    let mut wrong = vec![good.clone(); 5];
    wrong[0].head.position.length -= 1;
    wrong[1].head.position.chain = Hash([1; 32]);
    wrong[2].head.map = Hash([1; 32]);
    wrong[3].channel.home = case.world.network.cities[1].organisation.clone();
    wrong[4].channel.source = service("990000000001", "supper");
    for statement in wrong {
        case.bundle.channels[0].statement = case.world.by_home(statement);
        assert_eq!(case.fails(), "channel head");
    }
    let by_lunch = case.world.sign(good.clone(), &case.world.lunch.signer);
    case.bundle.channels[0].statement.object = by_lunch.clone();
    assert_eq!(case.fails(), "channel head");
    let chain = case.world.lunch.chain.clone();
    case.bundle.channels[0].statement = Attested { object: by_lunch, chain };
    assert_eq!(case.fails(), "channel head");
    case.bundle.channels[0].statement = case.world.by_home(good);
    case.verify().unwrap();
}

#[test]
fn entries_left_out_added_or_moved() {
    let case = honest();
    let entries = case.bundle.channels[0].entries.clone();
    let with = |entries: Vec<Entry>| {
        let mut case = honest();
        case.bundle.channels[0].entries = entries;
        case.fails()
    };
    // Any one of them: the deny is the last.
    assert_eq!(entries.last().unwrap().kind, EntryKind::DENY);
    for left_out in 0..entries.len() {
        let mut fewer = entries.clone();
        fewer.remove(left_out);
        assert_eq!(with(fewer), "decisions");
    }
    // A permit that never came through the channel, at a place that the citizen has not.
    let mut world = World::new();
    let permit = world.signed_permit(&hospital(), |_| ());
    let body = cbor::to_vec(&permit).into();
    let extra = Entry {
        seq: 4,
        kind: EntryKind::PERMIT,
        subject: HERE,
        scope: scope(&hospital()),
        time: NOW,
        body,
    };
    for seq in [4, 5] {
        let more = [&entries[..], &[Entry { seq, ..extra.clone() }]].concat();
        assert_eq!(with(more), "decisions");
    }
    // One twice.
    assert_eq!(with([&entries[..], &entries[2..]].concat()), "decisions");
    // In another order, as they are and numbered anew.
    let mut moved = entries.clone();
    moved.swap(1, 2);
    assert_eq!(with(moved.clone()), "decisions");
    (moved[1].seq, moved[2].seq) = (2, 3);
    assert_eq!(with(moved), "decisions");
    // The neighbour's among them, and the header of one changed.
    let mut neighbour = entries.clone();
    neighbour.insert(0, case.world.source_store.source_entries[0].clone());
    assert_eq!(with(neighbour), "decisions");
    let mut header = entries.clone();
    header[2].scope = scope(&hospital());
    assert_eq!(with(header), "decisions");
    let mut header = entries.clone();
    header[2].time = NOW.plus_ms(1);
    assert_eq!(with(header), "decisions");
    assert_eq!(with(vec![]), "decisions");
}

#[test]
fn another_map_proof() {
    let mut case = honest();
    let neighbour = Hash(case.world.source_store.source_entries[0].subject.0);
    let nodes = &case.world.source_store.map;
    case.bundle.channels[0].map_proof = evidence::map::prove(nodes, &neighbour).unwrap();
    assert_eq!(case.fails(), "decisions");
    let absent = Hash([0xab; 32]);
    case.bundle.channels[0].map_proof = evidence::map::prove(nodes, &absent).unwrap();
    assert_eq!(case.fails(), "decisions");
}

#[test]
fn another_presentation() {
    let (mut case, mut world) = (honest(), World::new());
    world.permit(&hospital(), |_| ());
    world.nonce();
    let other = released(world);
    assert_ne!(case.release.request_id, other.release.request_id);
    case.bundle.presentation = other.bundle.presentation.clone();
    assert_eq!(case.fails(), "presentation");
    // And logged as if it were this release's.
    case.relog(|release| release.presentation = other.release.presentation);
    assert_eq!(case.fails(), "presentation");
}

#[test]
fn another_receipt() {
    let mut case = honest();
    let Release { request_id, presentation, .. } = case.release.clone();
    let good = Receipt { request: request_id, presentation, time: NOW.plus_ms(50) };
    let wrong = [
        Receipt { request: Hash([1; 32]), ..good.clone() },
        Receipt { presentation: request_id, ..good.clone() },
    ];
    for receipt in wrong {
        case.bundle.receipt = Some(case.world.sign(receipt, &case.world.hospital.signer));
        assert_eq!(case.fails(), "receipt");
    }
    case.bundle.receipt = Some(case.world.sign(good.clone(), &case.world.lunch.signer));
    assert_eq!(case.fails(), "receipt");
    case.bundle.receipt = Some(case.world.sign(good, &case.world.hospital.signer));
    case.verify().unwrap();
}
