//! How much of this node other nodes may keep busy. What they ask is worked on in lanes that do not
//! wait for each other, and in each lane every organisation has a share: one that asks without end waits
//! for itself. Denies, pushed or relayed, have a lane of their own, in which only municipalities are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::OrganisationId;

use super::{Protocol, limits};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// Pushes and relays: what brings denies to a source.
    Denies,
    /// What else is said on channels.
    Channel,
    Exchange,
    Witness,
    Trust,
}

impl Lane {
    const ALL: [Self; 5] =
        [Self::Denies, Self::Channel, Self::Exchange, Self::Witness, Self::Trust];

    /// `variant`: the name of a channel message's.
    pub(super) fn of(protocol: Protocol, variant: Option<&[u8]>) -> Self {
        match protocol {
            Protocol::Channel if matches!(variant, Some(b"push" | b"relay")) => Self::Denies,
            Protocol::Channel => Self::Channel,
            Protocol::Exchange => Self::Exchange,
            Protocol::Witness => Self::Witness,
            Protocol::Trust => Self::Trust,
        }
    }
}

/// The places of all lanes.
pub(super) struct Shares {
    lanes: [Arc<Semaphore>; Lane::ALL.len()],
    members: Mutex<BTreeMap<(Lane, OrganisationId), Arc<Semaphore>>>,
}

/// Held while a request is worked on.
pub(super) struct Place {
    _lane: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

impl Shares {
    pub(super) fn new() -> Self {
        let lanes = Lane::ALL.map(|_| Arc::new(Semaphore::new(limits::HANDLING)));
        Self { lanes, members: Mutex::default() }
    }

    /// Waits for a place: for one of the organisation's own first, so that whoever has none left waits
    /// where nobody else does.
    pub(super) async fn place(&self, lane: Lane, organisation: &OrganisationId) -> Place {
        let share = self.share(lane, organisation);
        let _share = acquire(share).await;
        let _lane = acquire(Arc::clone(&self.lanes[lane as usize])).await;
        Place { _lane, _share }
    }

    fn share(&self, lane: Lane, organisation: &OrganisationId) -> Arc<Semaphore> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if members.len() >= limits::SHARES {
            // Only who is at it or waits needs to be remembered.
            members.retain(|_, share| {
                Arc::strong_count(share) > 1 || share.available_permits() < limits::HANDLING_SHARE
            });
        }
        let share = members.entry((lane, organisation.clone()));
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(limits::HANDLING_SHARE))))
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.acquire_owned().await.expect("these semaphores are never closed")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn organisation(n: usize) -> OrganisationId {
        OrganisationId::from_base(&format!("7000000{n:05}")).unwrap()
    }

    #[test]
    fn whoever_asks_without_end_waits_for_themselves() {
        let shares = Shares::new();
        let (greedy, modest) = (organisation(1), organisation(2));
        let now = |lane, who| shares.place(lane, who).now_or_never();
        let mut held: Vec<_> = std::iter::from_fn(|| now(Lane::Channel, &greedy)).collect();
        assert_eq!(held.len(), limits::HANDLING_SHARE);
        assert!(now(Lane::Channel, &modest).is_some(), "another's share");
        assert!(now(Lane::Denies, &greedy).is_some(), "another lane");
        held.pop();
        assert!(now(Lane::Channel, &greedy).is_some(), "given back");
    }

    #[test]
    fn all_of_a_full_lane_hold_up_no_deny() {
        let shares = Shares::new();
        let mut held = Vec::new();
        let mut n = 0;
        while let Some(place) = shares.place(Lane::Channel, &organisation(n)).now_or_never() {
            held.push(place);
            n += usize::from(held.len() % limits::HANDLING_SHARE == 0);
        }
        assert_eq!(held.len(), limits::HANDLING);
        assert!(shares.place(Lane::Denies, &organisation(n)).now_or_never().is_some());
        for (message, lane) in [
            (&b"push"[..], Lane::Denies),
            (b"relay", Lane::Denies),
            (b"pull", Lane::Channel),
            (b"ask", Lane::Channel),
        ] {
            assert_eq!(Lane::of(Protocol::Channel, Some(message)), lane);
        }
    }

    #[test]
    fn it_remembers_those_at_work_only() {
        let shares = Shares::new();
        let busy = shares.place(Lane::Witness, &organisation(0)).now_or_never();
        for n in 1..limits::SHARES + 10 {
            drop(shares.place(Lane::Witness, &organisation(n)).now_or_never());
        }
        let members = shares.members.lock().unwrap();
        assert!(members.len() <= limits::SHARES);
        assert!(members.contains_key(&(Lane::Witness, organisation(0))));
        drop(busy);
    }
}
