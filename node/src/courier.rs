//! Carries what this node owes durably to other nodes, one message at a time to each, at the pace of
//! [`consent::pace`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use consent::pace::{Event, Next, Pace};
use tokio::sync::Notify;

use crate::{clock::Clock, context::Fault};

/// Something owed to others, kept in the store.
pub trait Owed: Send + Sync + 'static {
    /// To whom.
    type To: Ord + Clone + Send + Sync + 'static;

    /// Sends one message and notes the answer durably. Says whether more may be owed.
    fn send(&self, to: &Self::To) -> impl Future<Output = Result<bool, Fault>> + Send;
}

pub struct Courier<O: Owed> {
    owed: O,
    clock: Arc<dyn Clock>,
    /// One task for each that anything was ever owed to since the start.
    tasks: Mutex<BTreeMap<O::To, Arc<Notify>>>,
}

impl<O: Owed> Courier<O> {
    pub fn new(owed: O, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { owed, clock, tasks: Mutex::new(BTreeMap::new()) })
    }

    /// Something is owed to `to`, durably.
    pub fn wake(self: &Arc<Self>, to: &O::To) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = tasks.entry(to.clone()).or_insert_with(|| {
            let notify = Arc::new(Notify::new());
            tokio::spawn(Arc::clone(self).carry(to.clone(), Arc::clone(&notify)));
            notify
        });
        notify.notify_one();
    }

    async fn carry(self: Arc<Self>, to: O::To, notify: Arc<Notify>) {
        let mut pace = Pace::default();
        let mut next = Next::Rest;
        loop {
            let event = match next {
                Next::Rest => {
                    notify.notified().await;
                    Event::Owed
                }
                Next::WakeAt(at) => {
                    let pause = at.saturating_sub(self.clock.now().mono_ms);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    Event::Due
                }
                Next::Send => match self.owed.send(&to).await {
                    Ok(more) => Event::Delivered { more },
                    Err(Fault::Stopping | Fault::NotServing(_)) => return,
                    Err(fault) => {
                        tracing::debug!(%fault, "not delivered, trying again");
                        Event::Failed
                    }
                },
            };
            next = pace.on(event, self.clock.now().mono_ms);
        }
    }
}
