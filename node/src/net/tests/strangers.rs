//! Whoever does not pass hello is told why, and the honest go on.

use std::sync::atomic::Ordering;

use trust::testing::{TestSigner, a_year, issue_leaf};
use trust::{LeafKind, root_ca, sub_ca};
use wire::{
    Signed, Signer, cbor,
    membership::{CaPurpose, DirectoryReply, DirectoryRequest, Hello, HelloReply, NodeIdentity},
};

use super::{
    pair,
    stranger::{DIRECTORY, EXCHANGE, HELLO, Stranger, frame},
    world::{Identity, Node, QUIC, TCP, World, within},
};

fn hello(world: &World, who: &Identity) -> Hello {
    who.organisation.hello(&world.network.trust)
}

/// The city turned `stranger` away for `reason` and still serves the provider.
async fn turned_away(city: &mut Node, provider: &Node, stranger: &mut Stranger, reason: &str) {
    let why = city.turns_away(&stranger.peer()).await;
    assert!(why.contains(reason), "{why}");
    stranger.is_disconnected().await;
    assert_eq!(city.network.peers().len(), 1);
    provider.asks(city.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_from_elsewhere_does_not_pass() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        // Same names as city 0's CA, other keys.
        let mut who = world.provider(2);
        let (root, middle) = (TestSigner::from_label("rogue"), TestSigner::from_label("rogue sub"));
        let mut rogue = world.network.cities[0].clone();
        rogue.root.certificate =
            root_ca(&rogue.organisation, &rogue.name, &root, [1; 16], a_year()).unwrap();
        rogue.root.signer = root;
        rogue.organisation_ca.certificate = sub_ca(
            &rogue.root.ca(),
            CaPurpose::Organisation,
            &rogue.organisation,
            &rogue.name,
            &middle.public_key(),
            [2; 16],
            a_year(),
        )
        .unwrap();
        rogue.organisation_ca.signer = middle;
        let leaf = LeafKind::Organisation {
            organisation: who.organisation.organisation.clone(),
            name: who.organisation.descriptor.name.clone(),
            services: vec![],
        };
        let key = who.organisation.signer.public_key();
        let certificate = issue_leaf(&rogue.organisation_ca, &leaf, &key, a_year());
        who.organisation.identity.chain =
            vec![certificate.into(), rogue.organisation_ca.certificate.clone().into()];

        let mut stranger = Stranger::connect(who.seed, city.address()).await;
        let reason = stranger.is_refused(&hello(&world, &who)).await;
        assert!(reason.contains("organisation certificate"), "{reason}");
        turned_away(&mut city, &provider, &mut stranger, &reason).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_network_does_not_pass() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, QUIC).await;
        let who = world.provider(2);
        let other = wire::NetworkId([9; 32]);
        let organisation = &who.organisation;
        let descriptor =
            Signed::new(organisation.descriptor.clone(), &other, &organisation.signer).unwrap();
        let mut greeting = hello(&world, &who);
        greeting.identity = NodeIdentity {
            chain: organisation.chain.clone(),
            descriptor: descriptor.bytes().to_vec().into(),
        };
        let mut stranger = Stranger::connect(who.seed, city.address()).await;
        let reason = stranger.is_refused(&greeting).await;
        assert!(reason.contains("signature does not match"), "{reason}");
        turned_away(&mut city, &provider, &mut stranger, &reason).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_members_hello_from_another_key_does_not_pass() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        // Recorded or bought: the hello itself is genuine, that of a connected member.
        let mut stranger = Stranger::connect([77; 32], city.address()).await;
        let reason = stranger.is_refused(&hello(&world, &provider.who)).await;
        assert!(reason.contains("peer id"), "{reason}");
        turned_away(&mut city, &provider, &mut stranger, &reason).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_cannot_be_skipped() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        // Even a true member must greet first, and on each connection.
        for protocol in [EXCHANGE, DIRECTORY] {
            let mut stranger = Stranger::connect(world.provider(2).seed, city.address()).await;
            assert_eq!(stranger.send(protocol, frame(b"hello")).await, None);
            turned_away(&mut city, &provider, &mut stranger, "before hello").await;
        }
        assert_eq!(city.handled.load(Ordering::SeqCst), 2, "only the provider's own");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_dropped() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, QUIC).await;
        let mut stranger = Stranger::connect([78; 32], city.address()).await;
        turned_away(&mut city, &provider, &mut stranger, "no hello in time").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_hellos_are_refused_by_name() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        let oversized = [&u32::MAX.to_be_bytes()[..], &[0; 100]].concat();
        let not_deterministic = frame(&[0xbf, 0xff]);
        for (bytes, reason) in [
            (oversized, "4294967295 bytes, at most 65536"),
            (frame(b"\xa1garbage"), "malformed hello"),
            (frame(b""), "malformed hello"),
            (not_deterministic, "malformed hello"),
            (vec![0, 0, 1], "broke off"),
        ] {
            let mut stranger = Stranger::connect([79; 32], city.address()).await;
            let HelloReply::Refused(why) = stranger.greet_with(bytes).await else {
                panic!("welcomed");
            };
            assert!(why.contains(reason), "{why}");
            turned_away(&mut city, &provider, &mut stranger, reason).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_members_bad_frame_costs_one_stream() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        let who = world.provider(2);
        let mut member = Stranger::connect(who.seed, city.address()).await;
        assert!(matches!(member.say_hello(&hello(&world, &who)).await, HelloReply::Welcome(_)));
        city.greets(&who.organisation.organisation, 1).await;
        let oversized = [&(64 * 1024 + 1u32).to_be_bytes()[..], &[0; 100]].concat();
        for bad in [oversized, vec![0, 0, 0, 9, 1]] {
            assert_eq!(member.send(EXCHANGE, bad).await, None);
        }
        let reply = member.send(EXCHANGE, frame(b"hello")).await.expect("still served");
        assert!(reply.ends_with(b":hello"));
        // A second hello within moments is against the rules.
        assert_eq!(member.send(HELLO, frame(b"")).await, None);
        let why = city.turns_away(&member.peer()).await;
        assert!(why.contains("too soon"), "{why}");
        provider.asks(city.id()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_municipal_nodes_answer_look_ups() {
    within(async {
        let world = World::new();
        let (city, provider) = pair(&world, TCP).await;
        let who = world.provider(2);
        let ask =
            |of: &Node| frame(&cbor::to_vec(&DirectoryRequest::Organisation(of.id().clone())));
        let mut member = Stranger::connect(who.seed, provider.address()).await;
        assert!(matches!(member.say_hello(&hello(&world, &who)).await, HelloReply::Welcome(_)));
        assert_eq!(member.send(DIRECTORY, ask(&city)).await, None, "a provider keeps silent");
        let mut member = Stranger::connect(who.seed, city.address()).await;
        assert!(matches!(member.say_hello(&hello(&world, &who)).await, HelloReply::Welcome(_)));
        for (of, version) in [(&provider, 2), (&city, 2)] {
            let reply = member.send(DIRECTORY, ask(of)).await.expect("an answer");
            let DirectoryReply::Found(identity) = cbor::from_slice(&reply[4..]).unwrap() else {
                panic!("not found");
            };
            let found =
                trust::verify_identity(&identity, &world.network.trust, trust::testing::NOW);
            assert_eq!(found.unwrap().descriptor.version, version);
        }
    })
    .await;
}
