//! Membership changes while connections stand.

use std::sync::Arc;

use trust::testing::NOW;
use wire::membership::{Denied, HelloReply};

use super::{
    pair,
    stranger::Stranger,
    world::{QUIC, TCP, World, within},
};
use crate::net::{NetError, Protocol};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_trust_removes_whom_it_denies() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        let other = world.start(&world.provider(2), QUIC, vec![]).await;
        let denied = provider.id().clone();
        let trust = world.network.trust_with(|_, timestamp| {
            timestamp.version = 2;
            timestamp.denylist.push(Denied::Organisation(denied.clone()));
        });
        assert_eq!(city.network.set_trust(Arc::new(trust.clone())).await, Ok(1), "one closed");
        assert!(city.network.peers().is_empty());
        let reason = city.turns_away(&provider.network.local_peer()).await;
        assert!(reason.contains("organisation certificate"), "{reason}");
        provider.is_alone().await;

        let call = |from: &super::Node, to: &super::Node| {
            let (network, to) = (from.network.clone(), to.id().clone());
            async move { network.request(&to, Protocol::Exchange, vec![1]).await }
        };
        // It is told why when it comes again; and it is not called either.
        let told = call(&provider, &city).await;
        assert!(
            matches!(&told, Err(NetError::NotAMember(why)) if why.contains("refused there")),
            "{told:?}"
        );
        let kept = call(&city, &provider).await;
        assert!(matches!(&kept, Err(NetError::NotAMember(_))), "{kept:?}");

        // Others stay, and a further trust may let it in again.
        assert_eq!(other.network.set_trust(Arc::new(trust)).await, Ok(0));
        let again = world.network.trust_with(|_, timestamp| timestamp.version = 3);
        assert_eq!(city.network.set_trust(Arc::new(again)).await, Ok(0));
        city.greets(&denied, 2).await;
        city.asks(&denied).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_soft_expiry_nobody_new_comes_in() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        let late = NOW.plus_ms(25 * 3_600_000);
        *city.now.lock().unwrap() = late;
        let again = Arc::new(world.network.trust.clone());
        assert_eq!(city.network.set_trust(again).await, Ok(0), "known members stay");
        provider.asks(city.id()).await;
        let who = world.provider(2);
        let mut newcomer = Stranger::connect(who.seed, city.address()).await;
        let reason = newcomer.is_refused(&who.organisation.hello(&world.network.trust)).await;
        assert!(reason.contains("nobody new"), "{reason}");
        city.turns_away(&newcomer.peer()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_rotated_out_no_longer_passes() {
    within(async {
        let world = World::new();
        let (mut city, provider) = pair(&world, TCP).await;
        let old = world.provider(2);
        let mut new = old.clone();
        new.seed = [88; 32];
        world.describe(&mut new, 2, vec![]);
        let hello = |who: &super::world::Identity| who.organisation.hello(&world.network.trust);

        let mut before = Stranger::connect(old.seed, city.address()).await;
        assert!(matches!(before.say_hello(&hello(&old)).await, HelloReply::Welcome(_)));
        let mut current = Stranger::connect(new.seed, city.address()).await;
        assert!(matches!(current.say_hello(&hello(&new)).await, HelloReply::Welcome(_)));
        before.is_disconnected().await;
        let why = city.turns_away(&before.peer()).await;
        assert!(why.contains("rotated out"), "{why}");
        let mut stolen = Stranger::connect(old.seed, city.address()).await;
        let reason = stolen.is_refused(&hello(&old)).await;
        assert!(reason.contains("no longer names"), "{reason}");
        city.turns_away(&stolen.peer()).await;
        provider.asks(city.id()).await;
    })
    .await;
}

/// A new descriptor reaches those already connected, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_descriptor_is_told_on_standing_connections() {
    within(async {
        let world = World::new();
        let (mut city, mut provider) = pair(&world, QUIC).await;
        for version in 3..5 {
            world.announce(&mut provider, version);
            city.greets(provider.id(), version).await;
            world.announce(&mut city, version);
            provider.greets(city.id(), version).await;
        }
        assert_eq!(city.network.peers().len(), 1);
        let member = city.network.member(provider.id()).await.unwrap();
        assert_eq!(member.descriptor.version, 4);
    })
    .await;
}
