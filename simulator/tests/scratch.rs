use simulator::{
    days::{runs_of, simulate},
    explore::explore,
    model::Kind,
    scenario,
    script::Fault,
};
#[test]
fn model() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut sums = [0u64; Kind::ALL.len()];
    for s in scenario::ALL {
        let s = s();
        if !only.is_empty() && !only.split(',').any(|o| s.name == o) {
            continue;
        }
        let t = std::time::Instant::now();
        let e = explore(s, 2);
        println!(
            "{:<22} {:>9} unique {:>9} reached {:.1}s {:?}",
            e.name,
            e.unique,
            e.reached,
            t.elapsed().as_secs_f64(),
            e.violation.as_ref().map(|v| &v.says)
        );
        if let Some(v) = e.violation {
            for a in v.actions {
                println!("   {a:?}");
            }
        }
        for (s, c) in sums.iter_mut().zip(e.counts) {
            *s += c;
        }
    }
    for (n, (_, k)) in Kind::ALL.iter().enumerate() {
        println!("  {k:<34} {}", sums[n]);
    }
}
#[test]
fn days() {
    let hours: u64 = std::env::var("HOURS").map_or(8, |h| h.parse().unwrap());
    let t = std::time::Instant::now();
    let s =
        simulate(&runs_of(std::env::var("SEED").map_or(1, |h| h.parse().unwrap()), 6, hours), 2);
    println!("{hours} hours {:.1}s", t.elapsed().as_secs_f64());
    for (k, v) in &s.counts {
        println!("  {k:<34} {v}");
    }
    for (k, v) in &s.struck {
        println!("  struck {k:<34} {v}");
    }
    for (k, v) in Fault::KINDS.iter().zip(s.faults) {
        println!("  fault {k:<34} {v}");
    }
    for (o, v) in &s.violations {
        println!("VIOLATION {o:?} {v}");
        if let Some((script, out)) = simulator::run::shrink(o, 200) {
            for i in script {
                println!("   {i:?}");
            }
            println!("  {:?} {}", out.violation, out.violated_ms);
        }
    }
}
