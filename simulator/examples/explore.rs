use simulator::{model::*, scenario};
use stateright::{Checker, Model};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
#[allow(clippy::disallowed_methods)]
fn main() {
    let which: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let secs: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    #[cfg(feature = "mutants")]
    if let Some(g) = std::env::args().nth(3) {
        consent::guard::switch_off(consent::guard::Guard::ALL[g.parse::<usize>().unwrap()]);
    }
    let e = Explored::new(scenario::ALL[which](false));
    let name = e.scenario.name;
    let counts = e.counts.clone();
    let t = Instant::now();
    let c = e.checker().threads(2).timeout(Duration::from_secs(secs)).spawn_dfs().join();
    println!(
        "{name}: states {} unique {} depth {} in {:?}",
        c.state_count(),
        c.unique_state_count(),
        c.max_depth(),
        t.elapsed()
    );
    println!("{:?}", counts.iter().map(|c| c.load(Ordering::Relaxed)).collect::<Vec<_>>());
    for (name, path) in c.discoveries() {
        println!("{name}: {:?}", path.last_state().world.judge.violation);
        for a in path.into_actions() {
            println!("  {a:?}");
        }
    }
}
