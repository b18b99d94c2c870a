//! Many simulated hours: the hours of one seed are cut into runs of their own, each with its own seed, so
//! that all cores work and no history grows for ever. Which thread ran what shows in nothing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use wire::{Hash, hash_parts};

use crate::{
    run::{self, Options, Outcome},
    script::Fault,
};

/// One run is at most so long, in hours.
pub const RUN_HOURS: u64 = 2;

#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub runs: usize,
    /// SHA-256 over the traces of all runs in their order.
    pub trace: Option<Hash>,
    /// The runs that broke the promise, with what was seen.
    pub violations: Vec<(Options, String)>,
    pub faults: [u64; Fault::KINDS.len()],
    pub struck: BTreeMap<&'static str, u64>,
    pub counts: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// A kind of fault, or something that should come of the days, that never happened.
    pub fn missing(&self) -> Option<&'static str> {
        let faults = Fault::KINDS.iter().zip(self.faults).map(|(kind, count)| (*kind, count));
        let counts = self.counts.iter().map(|(name, count)| (*name, *count));
        let struck = run::WRITES.iter().map(|what| (*what, self.struck.get(what).copied()));
        let struck = struck.map(|(what, count)| (what, count.unwrap_or(0)));
        faults.chain(counts).chain(struck).find(|(_, count)| *count == 0).map(|(kind, _)| kind)
    }
}

/// The runs that `hours` of a seed are cut into.
pub fn runs_of(seed: u64, nodes: usize, hours: u64) -> Vec<Options> {
    let cut = |n: u64| {
        let print = hash_parts("simulator/run", &[&seed.to_be_bytes(), &n.to_be_bytes()]);
        let own = u64::from_be_bytes(print.0[..8].try_into().expect("8 of 32 bytes"));
        let hours = RUN_HOURS.min(hours - n * RUN_HOURS);
        // The first run of a seed is the seed itself: a failing run can be named and run alone.
        Options { seed: if n == 0 { seed } else { own }, nodes, minutes: hours * 60 }
    };
    (0..hours.div_ceil(RUN_HOURS)).map(cut).collect()
}

/// Runs them all, which have as many nodes each, on `threads` threads.
pub fn simulate(runs: &[Options], threads: usize) -> Summary {
    let next = AtomicUsize::new(0);
    let Some(nodes) = runs.first().map(|run| run.nodes) else { return Summary::default() };
    let cast = run::cast_of(nodes);
    let work = || {
        let mut done = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(options) = runs.get(n) else { return done };
            let script = run::script_of(options);
            done.push((n, run::run_with(cast.clone(), options, &script)));
        }
    };
    let mut outcomes: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().flat_map(|worker| worker.join().expect("a run panicked"));
        done.collect()
    });
    outcomes.sort_by_key(|(n, _)| *n);
    let mut summary = Summary { runs: runs.len(), ..Summary::default() };
    let mut traces = Vec::new();
    for (n, outcome) in outcomes {
        traces.extend(outcome.trace.iter().flat_map(|trace| trace.0));
        if let Some(violation) = outcome.violation {
            summary.violations.push((runs[n], violation));
        }
        for (sum, count) in summary.faults.iter_mut().zip(outcome.faults) {
            *sum += count;
        }
        for (name, count) in outcome.counts {
            *summary.counts.entry(name).or_default() += count;
        }
        for (what, count) in outcome.struck {
            *summary.struck.entry(what).or_default() += count;
        }
    }
    summary.trace = Some(wire::sha256(&traces));
    summary
}
