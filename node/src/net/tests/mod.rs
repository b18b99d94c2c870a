//! Nodes against each other and against strangers, over loopback TCP and QUIC.

mod finding;
mod membership;
mod stranger;
mod strangers;
mod world;

use std::{sync::atomic::Ordering, time::Duration};

use futures::future::join_all;
use wire::{cbor, channel::ChannelReply, limits};

use super::{NetError, Protocol};
use world::{Node, QUIC, TCP, World, within};

/// A municipality and a provider that dialled it.
async fn pair(world: &World, listen: &str) -> (Node, Node) {
    let mut city = world.start(&world.city(0), listen, vec![]).await;
    let bootstrap = vec![city.address()];
    let mut provider = world.start(&world.provider(1), listen, bootstrap).await;
    city.greets(&provider.id().clone(), 2).await;
    provider.greets(&city.id().clone(), 2).await;
    (city, provider)
}

async fn two_members_talk(listen: &str) {
    let world = World::new();
    let (city, provider) = pair(&world, listen).await;
    provider.asks(city.id()).await;
    city.asks(provider.id()).await;
    let (here, there) = (city.network.peers(), provider.network.peers());
    assert_eq!((here.len(), there.len()), (1, 1), "one connection serves both ways");
    assert_eq!(here[0].organisation, *provider.id());
    assert_eq!(here[0].peer, provider.network.local_peer());
    assert!(!here[0].outbound && there[0].outbound);
    while city.network.peers()[0].rtt.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_talk_over_tcp() {
    within(two_members_talk(TCP)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_talk_over_quic() {
    within(two_members_talk(QUIC)).await;
}

/// None of them is answered before all are being handled.
async fn many_at_once(listen: &str) {
    let world = World::new();
    let (city, provider) = pair(&world, listen).await;
    let ask = || provider.network.request(city.id(), Protocol::Exchange, b"together".to_vec());
    let replies = join_all((0..256).map(|_| ask())).await;
    for reply in replies {
        assert_eq!(reply.unwrap(), format!("{}:together", city.id()).as_bytes());
    }
    assert_eq!(provider.network.peers().len(), 1, "over one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_over_tcp() {
    within(many_at_once(TCP)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_over_quic() {
    within(many_at_once(QUIC)).await;
}

/// Thousands queue for streams; none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_streams_wait_their_turn() {
    within(async {
        let world = World::new();
        let (city, provider) = pair(&world, TCP).await;
        join_all((0..3000).map(|_| provider.asks(city.id()))).await;
        assert_eq!(city.handled.load(Ordering::SeqCst), 3000);
    })
    .await;
}

/// One member's requests that are worked on for ever take its own share, and nothing of another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_without_end_waits_for_themselves() {
    within(async {
        let world = World::new();
        let (mut city, greedy) = pair(&world, TCP).await;
        let modest = world.start(&world.provider(2), TCP, vec![city.address()]).await;
        city.greets(&modest.id().clone(), 2).await;
        let share = super::limits::HANDLING_SHARE as u64;
        for _ in 0..super::limits::OUTBOUND_STREAMS {
            let (network, to) = (greedy.network.clone(), city.id().clone());
            tokio::spawn(async move {
                let _ = network.request(&to, Protocol::Exchange, b"never".to_vec()).await;
            });
        }
        while city.handled.load(Ordering::SeqCst) < share {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        modest.asks(city.id()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(city.handled.load(Ordering::SeqCst), share + 1, "the rest of them wait");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_are_held_and_large_ones_pass() {
    within(async {
        let world = World::new();
        let (city, provider) = pair(&world, TCP).await;
        let send = |protocol, size| provider.network.request(city.id(), protocol, vec![7; size]);
        let limit = limits::EXCHANGE_REQUEST_FRAME;
        let refused = send(Protocol::Exchange, limit + 1).await;
        assert_eq!(refused, Err(NetError::TooLarge { size: limit + 1, limit }));
        // The echo adds 14 bytes.
        let size = limits::FRAME - 14;
        assert_eq!(send(Protocol::Channel, size).await.unwrap().len(), limits::FRAME);
        // More than one connection's share of memory at once: they take turns.
        let all = join_all((0..16).map(|_| send(Protocol::Channel, size))).await;
        assert!(all.iter().all(Result::is_ok));
        // A reply beyond the limit is not sent.
        assert_eq!(send(Protocol::Channel, limits::FRAME).await, Err(NetError::Closed));
        provider.asks(city.id()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_closes_the_stream_only() {
    within(async {
        let world = World::new();
        let (city, provider) = pair(&world, QUIC).await;
        let none = provider.network.request(city.id(), Protocol::Exchange, b"none".to_vec()).await;
        assert_eq!(none, Err(NetError::Closed));
        provider.asks(city.id()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_messages_need_the_role() {
    within(async {
        let world = World::new();
        let (city, provider) = pair(&world, TCP).await;
        // The edge looks at the variant alone: `{"push": {}}` and so on.
        let message =
            |variant: &[u8]| [&[0xa1, 0x60 + variant.len() as u8][..], variant, &[0xa0]].concat();
        let refused = cbor::to_vec(&ChannelReply::Refused(wire::channel::ChannelRefusal::NotYours));
        for (from, to, variant, passes) in [
            (&city, &provider, "push", true),
            (&provider, &city, "push", false),
            (&city, &provider, "relay", true),
            (&provider, &city, "relay", false),
            (&provider, &city, "pull", true),
            (&city, &provider, "pull", false),
        ] {
            let message = message(variant.as_bytes());
            let reply = from.network.request(to.id(), Protocol::Channel, message).await.unwrap();
            assert_eq!(reply != refused, passes, "{variant}");
        }
        assert_eq!(city.handled.load(Ordering::SeqCst), 1, "the edge keeps the rest away");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reaches_itself() {
    within(async {
        let world = World::new();
        let city = world.start(&world.city(0), TCP, vec![]).await;
        city.asks(city.id()).await;
        assert_eq!(city.network.member(city.id()).await.unwrap().organisation, *city.id());
        // One list of bootstrap nodes for all, this one included.
        let own = vec![city.address()];
        let listen = own[0].to_string();
        city.network.shutdown().await;
        let city = world.start(&world.city(0), &listen, own).await;
        city.asks(city.id()).await;
        assert!(city.network.peers().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_and_a_foreign_descriptor_stop_the_start() {
    within(async {
        let world = World::new();
        let city = world.start(&world.city(0), TCP, vec![]).await;
        let taken = world.try_start(&world.city(1), &city.address().to_string(), vec![]).await;
        assert!(matches!(taken.err(), Some(NetError::Start(why)) if why.contains("listening")));
        let mut other = world.city(1);
        other.seed = [99; 32];
        let foreign = world.try_start(&other, TCP, vec![]).await;
        assert!(matches!(foreign.err(), Some(NetError::Start(why)) if why.contains("peer id")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_address_may_be_a_name_and_may_be_pinned() {
    within(async {
        let world = World::new();
        let mut city = world.start(&world.city(0), TCP, vec![]).await;
        let by_name = city.address().to_string().replace("/ip4/127.0.0.1", "/dns4/localhost");
        let provider = world.start(&world.provider(1), TCP, vec![by_name.parse().unwrap()]).await;
        city.greets(provider.id(), 2).await;

        let pin = |peer| vec![format!("{}/p2p/{peer}", city.address()).parse().unwrap()];
        let pinned = pin(city.network.local_peer());
        let wrong = pin(provider.network.local_peer());
        let right = world.start(&world.provider(2), TCP, pinned).await;
        let wrong = world.start(&world.provider(3), TCP, wrong).await;
        city.greets(right.id(), 2).await;
        assert!(wrong.network.peers().is_empty(), "another key than the pinned one");
    })
    .await;
}

async fn shutdown_gives_the_port_back(listen: &str) {
    let world = World::new();
    let (city, mut provider) = pair(&world, listen).await;
    let (address, id) = (city.address().to_string(), city.id().clone());
    let handle = city.network.clone();
    city.network.shutdown().await;
    provider.is_alone().await;
    assert_eq!(
        handle.request(provider.id(), Protocol::Exchange, vec![]).await,
        Err(NetError::Closed)
    );
    let city = world.start(&world.city(0), &address, vec![]).await;
    provider.greets(&id, 2).await;
    provider.asks(city.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_gives_the_tcp_port_back() {
    within(shutdown_gives_the_port_back(TCP)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_gives_the_quic_port_back() {
    within(shutdown_gives_the_port_back(QUIC)).await;
}
