//! How soon a deny bites, measured from outside on real processes.
//!
//! *Connected*: the wallet sends a signed deny to the citizen's home, while the recipient's system
//! asks for just that item without a pause, one request after another. Two times are taken from the
//! moment before the deny is sent: until the home's acknowledgement is read, and until the answer of
//! the first refused request that was begun after that moment is read. The second one includes the
//! deny's way (http, the home's synced commit, the push, the source's synced commit), the rest of a
//! release that was under way, and the refused request's own way with its padding; signing the deny
//! is not in it. All connections are kept alive.
//!
//! *Cut off*: the link from home to source is cut or stalled right before the deny is sent, or cut
//! and the home killed once it acknowledged. Taken is the time from the home's acceptance (the time
//! in its register) to the source's last release (the time in its store) for that citizen: at most
//! the lease that was granted, and what clocks may drift.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::time::{Instant, sleep};
use wallet::DenyDraft;
use wire::{
    DecisionId, Nonce, Signed,
    consent::{Attested, Decision, Items, PurposeScope, Recipient},
};

use crate::{
    citizen::nonce,
    faults::{
        collection,
        history::{Got, Lane, Ms, Place},
        judge::lease_bound_ms,
        links::Link,
        load::{ask, permit_draft},
        world::{ITEMS, LEASE_MS, RECIPIENTS, SOURCES, World},
    },
    roster::service,
    story::sibling,
};

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many denies are measured with everything connected
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// How many are measured with the source cut off
    #[arg(long, default_value_t = 24)]
    cut_off: usize,
    /// Where the nodes' directories go; made anew each time
    #[arg(long, default_value = "testnet-data-latency")]
    dir: PathBuf,
}

const PEOPLE: u8 = 24;
/// How many requests are open at once while the source is cut off.
const ASKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(20);

/// The denies handed in so far for one citizen's recipient at one source.
type Denied = BTreeMap<(usize, Place, Place), BTreeSet<DecisionId>>;

pub async fn run(options: &Options) -> anyhow::Result<()> {
    let world = World::begin(&options.dir, sibling("mebuku")?, PEOPLE).await?;
    println!("six nodes run, {PEOPLE} citizens are enrolled, leases of {LEASE_MS} ms");
    let measured = measure(&world, options).await;
    world.processes().stop_all();
    let (connected, cut_off) = measured?;
    connected.print();
    let bound = lease_bound_ms(LEASE_MS);
    let late = print_cut_off(&cut_off, bound)?;
    println!("later than the bound: {late}");
    ensure!(late == 0, "a release came later than the lease allows");
    Ok(())
}

async fn measure(world: &World, options: &Options) -> anyhow::Result<(Connected, Vec<CutOff>)> {
    let mut denied = Denied::new();
    let lanes: Vec<_> = world.people.iter().flat_map(|person| person.lanes()).collect();
    let mut connected = Connected::default();
    while connected.refused.len() < options.count {
        permit_all(world, &denied).await?;
        for lane in lanes.iter().take(options.count - connected.refused.len()) {
            connected.measure(world, *lane, &mut denied).await?;
        }
        println!("   connected: {} measured", connected.refused.len());
    }
    let mut cut_off = Vec::new();
    while cut_off.len() < options.cut_off {
        permit_all(world, &denied).await?;
        let missing = options.cut_off - cut_off.len();
        // A stride that meets every home, source and recipient.
        for lane in lanes.iter().step_by(7).take(missing) {
            let fault = Isolation::ALL[cut_off.len() % Isolation::ALL.len()];
            cut_off.push(isolated(world, *lane, fault, &mut denied).await?);
        }
        println!("   cut off: {} measured", cut_off.len());
    }
    last_releases(world, &mut cut_off).await?;
    Ok((connected, cut_off))
}

/// Every citizen permits every recipient everything again, which reopens what was denied.
async fn permit_all(world: &World, denied: &Denied) -> anyhow::Result<()> {
    for person in &world.people {
        for source in SOURCES {
            for recipient in RECIPIENTS {
                let none = BTreeSet::new();
                let reopens = denied.get(&(person.index, source, recipient)).unwrap_or(&none);
                let draft = permit_draft(source, recipient, &ITEMS, reopens, false)?;
                let permit = person.citizen.lock().await.sign_permit_draft(&draft)?;
                world.wallet(person.home).decide(&permit).await.context("a permit")?;
            }
        }
    }
    collection::settle(world).await
}

async fn sign_deny(
    world: &World,
    lane: Lane,
    denied: &mut Denied,
) -> anyhow::Result<(DecisionId, Attested)> {
    let citizen = world.people[lane.citizen].citizen.lock().await;
    let deny = citizen.sign_deny_draft(&DenyDraft {
        source: service(lane.source),
        recipient: Recipient::Service(service(lane.recipient)),
        items: Items::Types(vec![lane.item.parse()?]),
        purpose: PurposeScope::Any,
    })?;
    let id = DecisionId(Signed::<Decision>::decode(&deny.object, &world.network.id)?.id().0);
    denied.entry((lane.citizen, lane.source, lane.recipient)).or_default().insert(id);
    Ok((id, deny))
}

/// Asks until there is data: the permit is in force, the connections are open.
async fn until_data(world: &World, lane: Lane) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = ask(world, nonce(), lane).await;
        if matches!(asked.got, Got::Data { .. }) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no data before the deny: {:?}", asked.got);
        sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Default)]
struct Connected {
    acknowledged: Vec<Duration>,
    refused: Vec<Duration>,
    /// Requests begun after the deny was sent that still got data.
    passed: usize,
}

impl Connected {
    async fn measure(
        &mut self,
        world: &World,
        lane: Lane,
        denied: &mut Denied,
    ) -> anyhow::Result<()> {
        let (_, deny) = sign_deny(world, lane, denied).await?;
        let home = world.people[lane.citizen].home;
        until_data(world, lane).await?;
        let sent = Instant::now();
        let decide = async {
            world.wallet(home).decide(&deny).await.context("the deny")?;
            anyhow::Ok(sent.elapsed())
        };
        let refusal = async {
            let mut passed = 0;
            loop {
                match ask(world, nonce(), lane).await.got {
                    Got::NotPermitted => return anyhow::Ok((sent.elapsed(), passed)),
                    Got::Data { .. } => passed += 1,
                    other => anyhow::bail!("neither data nor a refusal: {other:?}"),
                }
                ensure!(sent.elapsed() < PATIENCE, "the deny does not bite");
            }
        };
        let (acknowledged, (refused, passed)) = tokio::try_join!(decide, refusal)?;
        self.acknowledged.push(acknowledged);
        self.refused.push(refused);
        self.passed += passed;
        Ok(())
    }

    fn print(&self) {
        println!("\nconnected, {} denies            p50        p99        max", self.refused.len());
        for (name, times) in [
            ("deny sent → acknowledged", &self.acknowledged),
            ("deny sent → first refusal", &self.refused),
        ] {
            let mut times = times.clone();
            times.sort_unstable();
            let Some(last) = times.last() else { continue };
            let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
            println!(
                "  {name:<28} {:>7.1} ms {:>7.1} ms {:>7.1} ms",
                ms(percentile(&times, 50)),
                ms(percentile(&times, 99)),
                ms(last)
            );
        }
        println!("  requests begun after the deny was sent that still got data: {}", self.passed);
    }
}

/// The smallest that so many percent are not above (nearest rank). `sorted` is not empty.
fn percentile<T>(sorted: &[T], percent: usize) -> &T {
    &sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

/// How the source is kept from hearing of a deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Isolation {
    Cut,
    Stalled,
    CutAndKilled,
}

impl Isolation {
    const ALL: [Self; 3] = [Self::Cut, Self::Stalled, Self::CutAndKilled];
}

/// One deny that the source could not hear of.
struct CutOff {
    isolation: Isolation,
    source: Place,
    requests: BTreeSet<Nonce>,
    accepted: Ms,
    /// When the recipient last got data.
    last_data: Option<Ms>,
    /// When the source last committed a release.
    last_release: Option<Ms>,
}

impl CutOff {
    /// From the acceptance to the last release, and to the last data. Fails where nothing was released:
    /// then nothing was measured.
    fn gaps(&self) -> anyhow::Result<(u64, u64)> {
        let both = self.last_release.zip(self.last_data);
        let (release, data) = both.with_context(|| {
            format!(
                "{:?} at {}: nothing was released, so nothing is measured",
                self.isolation, self.source
            )
        })?;
        Ok((release.saturating_sub(self.accepted), data.saturating_sub(self.accepted)))
    }
}

async fn isolated(
    world: &World,
    lane: Lane,
    isolation: Isolation,
    denied: &mut Denied,
) -> anyhow::Result<CutOff> {
    let (id, deny) = sign_deny(world, lane, denied).await?;
    let home = world.people[lane.citizen].home;
    until_data(world, lane).await?;
    let link = if isolation == Isolation::Stalled { Link::Stalled } else { Link::Cut };
    world.links.set(home, lane.source, link);
    let over = Duration::from_millis(lease_bound_ms(LEASE_MS) + 500);
    let began = Instant::now();
    let asking = || async {
        let (mut requests, mut last_data) = (BTreeSet::new(), None);
        while began.elapsed() < over {
            let request = nonce();
            requests.insert(request);
            if let Got::Data { .. } = ask(world, request, lane).await.got {
                last_data = Some(world.now());
            }
        }
        (requests, last_data)
    };
    let deciding = async {
        world.wallet(home).decide(&deny).await.context("the deny")?;
        if isolation == Isolation::CutAndKilled {
            world.processes().kill(home)?;
        }
        anyhow::Ok(())
    };
    let askers: [_; ASKERS] = std::array::from_fn(|_| asking());
    let [one, two] = askers;
    let (one, two, decided) = tokio::join!(one, two, deciding);
    decided?;
    let last_data = one.1.max(two.1);
    let requests = one.0.into_iter().chain(two.0).collect();
    world.links.heal();
    if isolation == Isolation::CutAndKilled {
        world.start(home)?;
    }
    collection::settle(world).await?;
    let accepted = accepted(world, lane, id).await?;
    let source = lane.source;
    Ok(CutOff { isolation, source, requests, accepted, last_data, last_release: None })
}

/// When the home says that it accepted a decision.
async fn accepted(world: &World, lane: Lane, id: DecisionId) -> anyhow::Result<Ms> {
    let citizen = world.people[lane.citizen].citizen.lock().await;
    let register = citizen.pair_register(&service(lane.source)).await?;
    let row = register.entries.into_iter().find(|row| row.decision == Some(id));
    Ok(world.of_wall(row.context("the home lost the deny")?.entry.time))
}

async fn last_releases(world: &World, cut_off: &mut [CutOff]) -> anyhow::Result<()> {
    for source in SOURCES {
        collection::releases(world, source).await?;
    }
    let history = world.history();
    for one in cut_off {
        let of = history.released.iter().filter(|release| {
            release.source == one.source && one.requests.contains(&release.request)
        });
        one.last_release = of.map(|release| release.at).max();
    }
    Ok(())
}

/// Prints the table; says how many were later than the bound.
fn print_cut_off(all: &[CutOff], bound: u64) -> anyhow::Result<usize> {
    println!("\ncut off, deny accepted →                times     median        max      bound");
    let mut late = 0;
    for isolation in Isolation::ALL {
        let of = all.iter().filter(|one| one.isolation == isolation);
        let gaps = of.map(CutOff::gaps).collect::<anyhow::Result<Vec<_>>>()?;
        let (releases, data): (Vec<_>, Vec<_>) = gaps.into_iter().unzip();
        late += releases.iter().filter(|gap| **gap > bound).count();
        let how = match isolation {
            Isolation::Cut => "link cut",
            Isolation::Stalled => "link stalled",
            Isolation::CutAndKilled => "link cut, home killed",
        };
        for (what, mut gaps) in [("last release", releases), ("last data", data)] {
            gaps.sort_unstable();
            let Some(last) = gaps.last() else { continue };
            println!(
                "  {:<36} {:>7} {:>7} ms {:>7} ms {:>7} ms",
                format!("{what}, {how}"),
                gaps.len(),
                percentile(&gaps, 50),
                last,
                bound
            );
        }
    }
    Ok(late)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (&50, &99));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (&7, &7));
        assert_eq!(percentile(&[1, 2, 3], 50), &2);
    }
}
