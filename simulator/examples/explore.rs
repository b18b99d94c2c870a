use simulator::model::*;
use stateright::{Checker, Model};
use std::time::Duration;
fn main() {
    let arg: Vec<u8> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let b = Bounds {
        ticks: arg[0],
        pulls: arg[1],
        pushes: arg[2],
        cosigns: arg[3],
        registers: arg[4],
        asks: arg[5],
        losses: arg[6],
        duplicates: arg[7],
        home_restarts: arg[8],
        source_restarts: arg[9],
        home_restores: arg[10],
        source_restores: arg[11],
        sleeps: arg[12],
        wall_sets: arg[13],
        shorter_leases: 0,
        flights: arg[14],
    };
    let e = Explored::new(scenario(b));
    let faults = e.faults.clone();
    let t = tokio_free();
    let c = e.checker().threads(2).timeout(Duration::from_secs(100)).spawn_bfs().join();
    println!(
        "states {} unique {} depth {} done {} faults {:?} in {:?}",
        c.state_count(),
        c.unique_state_count(),
        c.max_depth(),
        c.is_done(),
        faults,
        t.elapsed()
    );
    for (name, path) in c.discoveries() {
        println!("{name}: {:?}", path.last_state().world.judge.violation);
        for a in path.into_actions() {
            println!("  {a:?}");
        }
    }
}
#[allow(clippy::disallowed_methods)]
fn tokio_free() -> std::time::Instant {
    std::time::Instant::now()
}
