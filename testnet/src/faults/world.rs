//! What all parts of a fault run share: the network, its processes and links, the people, the
//! recorded history, and what is going on at each node just now.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use node::{
    clock::{Clock, SystemClock},
    provider_client::ProviderClient,
    wallet_client::WalletClient,
};
use wire::{Now, Timestamp};

use super::{
    history::{Head, History, Item, Lane, Made, Ms, Place},
    links::Links,
};
use crate::{
    citizen::Citizen,
    founding::{self, Network, Plan},
    processes::{self, Processes, client},
    roster::service,
};

pub const HOMES: [Place; 2] = ["maebashi", "ebetsu"];
pub const SOURCES: [Place; 2] = ["lunch", "clinic"];
pub const RECIPIENTS: [Place; 2] = ["hospital-a", "hospital-b"];
pub const ITEMS: [Item; 3] = ["health.allergy", "health.condition", "identity.address"];
/// The shortest lease there is: the most often it runs out in a run.
pub const LEASE_MS: u64 = 2_000;

/// How long a wallet waits for an answer.
const WALLET_PATIENCE: Duration = Duration::from_secs(5);

pub fn everyone() -> impl Iterator<Item = Place> {
    HOMES.into_iter().chain(SOURCES).chain(RECIPIENTS)
}

/// What a wallet or a recipient's system can be at with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Permit,
    Deny,
    DenyAtSource,
    DenyRelayed,
    Register,
    RequestAtRecipient,
    RequestAtSource,
}

impl Operation {
    /// Each with the nodes that it can be under way at.
    pub const ALL: [(Self, &'static [Place]); 7] = [
        (Self::Permit, &HOMES),
        (Self::Deny, &HOMES),
        (Self::DenyAtSource, &SOURCES),
        (Self::DenyRelayed, &HOMES),
        (Self::Register, &HOMES),
        (Self::RequestAtRecipient, &RECIPIENTS),
        (Self::RequestAtSource, &SOURCES),
    ];
}

pub struct Person {
    pub index: usize,
    pub home: Place,
    pub citizen: tokio::sync::Mutex<Citizen>,
    /// What they signed.
    pub made: Mutex<Vec<Made>>,
}

impl Person {
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        let citizen = self.index;
        SOURCES.into_iter().flat_map(move |source| {
            RECIPIENTS.into_iter().flat_map(move |recipient| {
                ITEMS.into_iter().map(move |item| Lane { citizen, source, recipient, item })
            })
        })
    }
}

pub struct World {
    pub network: Network,
    pub links: Arc<Links>,
    pub people: Vec<Person>,
    processes: Mutex<Processes>,
    wallets: BTreeMap<Place, WalletClient>,
    systems: BTreeMap<Place, ProviderClient>,
    began: Now,
    history: Mutex<History>,
    under_way: Mutex<BTreeMap<(Place, Operation), usize>>,
    /// Decided about a moment ago: here most can go wrong.
    hot: Mutex<Vec<Lane>>,
    stop: AtomicBool,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Founds a network, starts it, and enrols people with a record of each item at each source.
    pub async fn begin(dir: &Path, mebuku: PathBuf, people: u8) -> anyhow::Result<Self> {
        let keys: Vec<_> = everyone().collect();
        let network = founding::found(dir, &mebuku, &Plan::few(&keys, LEASE_MS, people))?;
        let links = Links::start(&network).await?;
        let processes = processes::start_all(&network, mebuku, |node, pid| {
            links.runs_as(node, pid);
        })
        .await?;
        let mut world = Self {
            wallets: network
                .nodes
                .iter()
                .map(|node| {
                    let wallet = WalletClient::new(&node.public_url())?;
                    Ok((node.participant.key, wallet.with_timeout(WALLET_PATIENCE)))
                })
                .collect::<anyhow::Result<_>>()?,
            systems: network
                .nodes
                .iter()
                .map(|node| (node.participant.key, client(node)))
                .collect(),
            network,
            links,
            people: Vec::new(),
            processes: Mutex::new(processes),
            began: SystemClock.now(),
            history: Mutex::new(History { granted_ms: LEASE_MS, ..History::default() }),
            under_way: Mutex::default(),
            hot: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        for index in 0..usize::from(people) {
            let person = world.enrol(index).await.with_context(|| format!("citizen {index}"))?;
            world.people.push(person);
        }
        Ok(world)
    }

    async fn enrol(&self, index: usize) -> anyhow::Result<Person> {
        let home = HOMES[index % HOMES.len()];
        let card = format!("citizen-{index}");
        let mut citizen = Citizen::enrol_at(&self.network, &card, home).await?;
        citizen.home = citizen.home.with_timeout(WALLET_PATIENCE);
        for place in SOURCES.into_iter().chain(RECIPIENTS) {
            citizen.join(&service(place)).await?;
        }
        for source in SOURCES {
            for recipient in RECIPIENTS {
                citizen.link(&service(source), &service(recipient)).await?;
            }
            let subject = citizen.pair(&service(source))?.subject;
            for item in ITEMS {
                let record = format!(r#"{{"citizen":{index},"item":"{item}"}}"#);
                let (name, item) = (service(source), item.parse()?);
                let put = self.system(source).put_record(&name, &subject, &item, &record).await?;
                anyhow::ensure!(put.status == 204, "a record was not stored");
            }
        }
        Ok(Person { index, home, citizen: citizen.into(), made: Mutex::default() })
    }

    pub fn wallet(&self, at: Place) -> &WalletClient {
        &self.wallets[at]
    }

    pub fn system(&self, at: Place) -> &ProviderClient {
        &self.systems[at]
    }

    pub fn processes(&self) -> MutexGuard<'_, Processes> {
        lock(&self.processes)
    }

    pub fn start(&self, node: Place) -> anyhow::Result<()> {
        let mut processes = self.processes();
        processes.start(self.network.node(node))?;
        let pid = processes.pid(node).context("just started")?;
        self.links.runs_as(node, pid);
        Ok(())
    }

    /// Milliseconds since the run began, on the clock that counts suspend.
    pub fn now(&self) -> Ms {
        SystemClock.now().mono_ms - self.began.mono_ms
    }

    /// A node's wall-clock time, on the run's own line.
    pub fn of_wall(&self, wall: Timestamp) -> Ms {
        wall.0.saturating_sub(self.began.wall.0)
    }

    /// How far the wall clock was set or slewed against the other one since the run began.
    pub fn wall_drift_ms(&self) -> i64 {
        let now = SystemClock.now();
        let since = |now: u64, began: u64| now as i64 - began as i64;
        since(now.wall.0, self.began.wall.0) - since(now.mono_ms, self.began.mono_ms)
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub fn saw_head(&self, node: Place, of: impl Into<String>, at: Ms, length: u64) {
        self.history().heads.push(Head { node, of: of.into(), at, length });
    }

    /// An operation is under way at a node until the guard goes.
    pub fn under_way(&self, at: Place, operation: Operation) -> UnderWay<'_> {
        *lock(&self.under_way).entry((at, operation)).or_default() += 1;
        UnderWay { world: self, what: (at, operation) }
    }

    pub fn is_under_way(&self, at: Place, operation: Operation) -> bool {
        lock(&self.under_way).get(&(at, operation)).is_some_and(|count| *count > 0)
    }

    pub fn operations_at(&self, at: Place) -> BTreeSet<Operation> {
        let under_way = lock(&self.under_way);
        let here = under_way.iter().filter(|((node, _), count)| *node == at && **count > 0);
        here.map(|((_, operation), _)| *operation).collect()
    }

    pub fn heat(&self, lanes: impl Iterator<Item = Lane>) {
        let mut hot = lock(&self.hot);
        hot.extend(lanes);
        let surplus = hot.len().saturating_sub(32);
        hot.drain(..surplus);
    }

    pub fn hot(&self) -> Vec<Lane> {
        lock(&self.hot).clone()
    }

    pub fn stop_load(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

pub struct UnderWay<'a> {
    world: &'a World,
    what: (Place, Operation),
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.world.under_way).get_mut(&self.what) {
            *count -= 1;
        }
    }
}
