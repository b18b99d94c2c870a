//! The faults: nodes are killed and suspended, links cut and stalled, as a seed says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{task::JoinSet, time::sleep};

use super::{
    dice::Dice,
    history::{Ms, Place},
    links::Link,
    world::{HOMES, Operation, RECIPIENTS, SOURCES, World, everyone, lock},
};

/// How long a node may take to answer again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the injector waits for an operation of the wanted kind to be under way.
const AIM: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill,
    Suspend,
    Cut,
    Stall,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Tally {
    /// Faults by kind and by the role of whom they hit.
    pub faults: BTreeMap<(Fault, &'static str), usize>,
    /// Kills that found an operation of this kind under way at the node.
    pub during: BTreeMap<Operation, usize>,
    /// From starting a process to its first answer, in milliseconds.
    pub restarts: Vec<Ms>,
    /// Most nodes down at once.
    pub most_down: usize,
}

impl Tally {
    pub fn kills(&self) -> usize {
        self.of(Fault::Kill)
    }

    pub fn of(&self, fault: Fault) -> usize {
        self.faults.iter().filter(|((kind, _), _)| *kind == fault).map(|(_, count)| count).sum()
    }
}

pub fn role(node: Place) -> &'static str {
    if HOMES.contains(&node) {
        "home"
    } else if SOURCES.contains(&node) {
        "source"
    } else {
        "recipient"
    }
}

pub struct Injector {
    world: Arc<World>,
    dice: Dice,
    tally: Arc<Mutex<Tally>>,
    /// Down or suspended.
    away: Arc<Mutex<BTreeSet<Place>>>,
    healing: JoinSet<anyhow::Result<()>>,
}

impl Injector {
    pub fn new(world: Arc<World>, dice: Dice) -> Self {
        Self { world, dice, tally: Arc::default(), away: Arc::default(), healing: JoinSet::new() }
    }

    /// Goes on until so many nodes were killed or the time is over, then waits until all are back.
    pub async fn run(mut self, kills: usize, until: Ms) -> anyhow::Result<Tally> {
        let mut told = 0;
        while lock(&self.tally).kills() < kills && self.world.now() < until {
            self.one().await?;
            while let Some(healed) = self.healing.try_join_next() {
                healed??;
            }
            let done = lock(&self.tally).kills();
            if done / 20 > told {
                told = done / 20;
                self.progress(done);
            }
            sleep(Duration::from_millis(self.dice.between(150, 900))).await;
        }
        while let Some(healed) = self.healing.join_next().await {
            healed??;
        }
        self.world.links.heal();
        Ok(std::mem::take(&mut *lock(&self.tally)))
    }

    fn progress(&self, kills: usize) {
        let history = self.world.history();
        println!(
            "   {:>4} s: {kills} kills, {} decisions, {} attempts, {} asked",
            self.world.now() / 1000,
            history.made.len(),
            history.handed.len(),
            history.asked.len()
        );
    }

    async fn one(&mut self) -> anyhow::Result<()> {
        match self.dice.below(100) {
            0..60 => self.kill_one().await,
            60..68 => {
                self.kill_one().await?;
                self.kill_one().await
            }
            68..82 => self.link(Link::Cut),
            82..92 => self.link(Link::Stalled),
            _ => self.suspend(),
        }
    }

    fn present(&self, of: &[Place]) -> Vec<Place> {
        let away = lock(&self.away);
        of.iter().filter(|node| !away.contains(*node)).copied().collect()
    }

    /// Kills a node, mostly while something of a chosen kind is under way there, and starts it again
    /// a moment later.
    async fn kill_one(&mut self) -> anyhow::Result<()> {
        let (operation, nodes) = *self.dice.pick(&Operation::ALL);
        let nodes = self.present(nodes);
        let node = if nodes.is_empty() {
            let anybody = self.present(&everyone().collect::<Vec<_>>());
            if anybody.is_empty() {
                return Ok(());
            }
            *self.dice.pick(&anybody)
        } else {
            *self.dice.pick(&nodes)
        };
        let deadline = tokio::time::Instant::now() + AIM;
        while !self.world.is_under_way(node, operation) && tokio::time::Instant::now() < deadline {
            sleep(Duration::from_micros(300)).await;
        }
        sleep(Duration::from_micros(self.dice.below(6_000))).await;
        {
            let during = self.world.operations_at(node);
            if self.world.processes().ended(node) {
                bail!("{node} ended by itself");
            }
            self.world.processes().kill(node)?;
            let mut tally = lock(&self.tally);
            *tally.faults.entry((Fault::Kill, role(node))).or_default() += 1;
            for operation in during {
                *tally.during.entry(operation).or_default() += 1;
            }
            let mut away = lock(&self.away);
            away.insert(node);
            tally.most_down = tally.most_down.max(away.len());
        }
        let (world, away, tally) =
            (Arc::clone(&self.world), Arc::clone(&self.away), Arc::clone(&self.tally));
        let pause = Duration::from_millis(self.dice.below(900));
        self.healing.spawn(async move {
            sleep(pause).await;
            let began = world.now();
            world.start(node)?;
            answers(&world, node).await?;
            lock(&tally).restarts.push(world.now() - began);
            lock(&away).remove(&node);
            Ok(())
        });
        Ok(())
    }

    /// Cuts or stalls a link, or all links of a node, for a while.
    fn link(&mut self, link: Link) -> anyhow::Result<()> {
        let all: Vec<_> = everyone().collect();
        let one = *self.dice.pick(&all);
        let others: Vec<_> = all.into_iter().filter(|other| *other != one).collect();
        let others = if self.dice.percent(30) {
            others
        } else {
            // Channels run between these, requests between those.
            let likely: &[Place] = match role(one) {
                "home" => &SOURCES,
                "recipient" => &SOURCES,
                _ if self.dice.percent(60) => &HOMES,
                _ => &RECIPIENTS,
            };
            vec![*self.dice.pick(likely)]
        };
        let fault = if link == Link::Cut { Fault::Cut } else { Fault::Stall };
        *lock(&self.tally).faults.entry((fault, role(one))).or_default() += 1;
        for other in &others {
            self.world.links.set(one, other, link);
        }
        let (world, pause) = (Arc::clone(&self.world), self.dice.between(300, 5_000));
        self.healing.spawn(async move {
            sleep(Duration::from_millis(pause)).await;
            for other in others {
                world.links.set(one, other, Link::Whole);
            }
            Ok(())
        });
        Ok(())
    }

    /// A node stands still, its clocks do not.
    fn suspend(&mut self) -> anyhow::Result<()> {
        let nodes = self.present(&everyone().collect::<Vec<_>>());
        if nodes.is_empty() {
            return Ok(());
        }
        let node = *self.dice.pick(&nodes);
        self.world.processes().suspend(node, true)?;
        *lock(&self.tally).faults.entry((Fault::Suspend, role(node))).or_default() += 1;
        lock(&self.away).insert(node);
        let (world, away) = (Arc::clone(&self.world), Arc::clone(&self.away));
        let pause = self.dice.between(200, 4_000);
        self.healing.spawn(async move {
            sleep(Duration::from_millis(pause)).await;
            world.processes().suspend(node, false)?;
            lock(&away).remove(&node);
            Ok(())
        });
        Ok(())
    }
}

/// Waits until a node answers, and notes how long its log is.
async fn answers(world: &World, node: Place) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if look_at(world, node).await.is_some() {
            return Ok(());
        }
        if world.processes().ended(node) || tokio::time::Instant::now() > deadline {
            let log = world.network.node(node).directory.join("node.log");
            return Err(anyhow::anyhow!("see {}", log.display()))
                .with_context(|| format!("{node} does not come back"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Notes how far a node's log, and a source's channels, are. `None` if it does not answer.
pub async fn look_at(world: &World, node: Place) -> Option<()> {
    let at = world.now();
    let system = world.system(node);
    let soon = |path| tokio::time::timeout(Duration::from_secs(2), system.get(path));
    let health = soon("/health").await.ok()?.ok()?.json().ok()?;
    world.saw_head(node, "log", at, health["log_size"].as_u64()?);
    if SOURCES.contains(&node) {
        let leases = soon("/v1/leases").await.ok()?.ok()?.json().ok()?;
        for lease in leases.as_array()? {
            let (home, applied) = (lease["home"].as_str()?, lease["applied"].as_u64()?);
            world.saw_head(node, format!("channel of {home}"), at, applied);
        }
    }
    Some(())
}

/// Looks at every node twice a second, until the load stops.
pub async fn watch(world: Arc<World>) {
    while !world.stopping() {
        for node in everyone() {
            look_at(&world, node).await;
        }
        sleep(Duration::from_millis(500)).await;
    }
}
