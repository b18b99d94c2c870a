//! Look-ups, restarts, dialling at once.

use std::time::Duration;

use tokio::{runtime::Runtime, time::Instant};
use wire::OrganisationId;

use super::{
    pair,
    world::{Node, QUIC, TCP, World, within},
};
use crate::net::{NetError, Protocol};

/// A municipality and two providers that know only it.
async fn triangle(world: &World, listen: &str) -> (Node, Node, Node) {
    let (mut city, one) = pair(world, listen).await;
    let two = world.start(&world.provider(2), listen, vec![city.address()]).await;
    city.greets(two.id(), 2).await;
    (city, one, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_is_found_through_a_municipality() {
    within(async {
        let world = World::new();
        let (city, one, two) = triangle(&world, TCP).await;
        assert!(one.network.peers().iter().all(|peer| peer.organisation == *city.id()));
        let found = one.network.member(two.id()).await.unwrap();
        assert_eq!(found.descriptor.addresses, [two.address().to_string()]);
        assert_eq!(one.network.peers().len(), 1, "to know is not yet to dial");
        one.asks(two.id()).await;
        assert_eq!(one.network.peers().len(), 2);
        // The municipality is not needed any more: the connection stands, the identity is cached.
        city.network.shutdown().await;
        one.asks(two.id()).await;
        two.asks(one.id()).await;

        let nobody = OrganisationId::from_base("999999999999").unwrap();
        let city = world.start(&world.city(1), TCP, vec![]).await;
        let three = world.start(&world.provider(3), TCP, vec![city.address()]).await;
        assert_eq!(
            three.network.request(&nobody, Protocol::Exchange, vec![]).await,
            Err(NetError::UnknownOrganisation)
        );
        assert_eq!(three.network.member(&nobody).await.err(), Some(NetError::UnknownOrganisation));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_may_dial_at_once() {
    within(async {
        let world = World::new();
        for listen in [TCP, QUIC] {
            let (_city, one, two) = triangle(&world, listen).await;
            for _ in 0..20 {
                tokio::join!(one.asks(two.id()), two.asks(one.id()));
            }
        }
    })
    .await;
}

/// From the ports they listen on, two that dial each other at once would now and then meet in one TCP
/// connection with two diallers, and both dials fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_dials_from_the_port_that_they_listen_on() {
    within(async {
        let world = World::new();
        for listen in [TCP, QUIC] {
            let (city, one, two) = triangle(&world, listen).await;
            one.asks(two.id()).await;
            for dialled in [&city, &two] {
                let peers = dialled.network.peers();
                let from = peers.iter().find(|peer| peer.organisation == *one.id());
                assert_ne!(from.expect("it asked").address, one.address());
            }
        }
    })
    .await;
}

/// Ends without a goodbye: the tasks vanish with their runtime, and nothing is sent for them.
async fn kill(runtime: Runtime) {
    tokio::task::spawn_blocking(move || runtime.shutdown_background()).await.unwrap();
}

async fn a_killed_node_is_back_soon(listen: &'static str) {
    let world = std::sync::Arc::new(World::new());
    let run = |listen: String| {
        let world = std::sync::Arc::clone(&world);
        async move {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let start = async move { world.start(&world.city(0), &listen, vec![]).await };
            let node = runtime.spawn(start).await.unwrap();
            (runtime, node)
        }
    };
    let (runtime, city) = run(listen.to_owned()).await;
    let (address, id) = (city.address().to_string(), city.id().clone());
    let mut provider = world.start(&world.provider(1), TCP, vec![city.address()]).await;
    provider.greets(&id, 2).await;
    provider.asks(&id).await;
    kill(runtime).await;
    drop(city);
    let (runtime, city) = loop {
        // The system may need a moment to give the port back.
        let world = std::sync::Arc::clone(&world);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let address = address.clone();
        let start = async move { world.try_start(&world.city(0), &address, vec![]).await };
        match runtime.spawn(start).await.unwrap() {
            Ok(node) => break (runtime, node),
            Err(_) => kill(runtime).await,
        }
    };
    let restarted = Instant::now();
    while provider.network.request(&id, Protocol::Exchange, b"x".to_vec()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = restarted.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    // And the other way: the connection that the provider made again serves both.
    city.asks(provider.id()).await;
    kill(runtime).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_back_soon_over_tcp() {
    within(a_killed_node_is_back_soon(TCP)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_back_soon_over_quic() {
    within(a_killed_node_is_back_soon(QUIC)).await;
}

/// The remembered address fails, the directory knows the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moved_is_found_again() {
    within(async {
        let world = World::new();
        let (mut city, one, two) = triangle(&world, TCP).await;
        one.asks(two.id()).await;
        let id = two.id().clone();
        two.network.shutdown().await;
        let mut two = world.try_start(&world.provider(2), TCP, vec![city.address()]).await.unwrap();
        world.announce(&mut two, 3);
        city.greets(&id, 3).await;
        one.asks(&id).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_unreachable_and_soon_said() {
    within(async {
        let world = World::new();
        let (city, one, two) = triangle(&world, TCP).await;
        let id = two.id().clone();
        two.network.shutdown().await;
        let begun = Instant::now();
        for _ in 0..3 {
            let reply = one.network.request(&id, Protocol::Exchange, vec![]).await;
            assert_eq!(reply, Err(NetError::Unreachable));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "no waiting for the request's own end");
        one.asks(city.id()).await;
    })
    .await;
}
