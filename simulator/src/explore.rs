//! Explores scenarios to their ends and says what was seen.

use stateright::{Checker, Model};

use crate::{
    model::{Action, Explored, Kind},
    scenario::Scenario,
};

/// What exploring one scenario came to.
#[derive(Debug, Clone)]
pub struct Exploration {
    pub name: &'static str,
    /// States that differ from each other.
    pub unique: usize,
    /// All that were reached, by whatever way.
    pub reached: usize,
    /// How often each of [`Kind::ALL`] happened.
    pub counts: [u64; Kind::ALL.len()],
    pub violation: Option<Counterexample>,
}

/// A history that breaks the promise.
#[derive(Debug, Clone)]
pub struct Counterexample {
    pub says: String,
    pub actions: Vec<Action>,
}

/// Every history of a scenario, on `threads` threads; ends early only at a violation.
pub fn explore(scenario: Scenario, threads: usize) -> Exploration {
    let model = Explored::new(scenario);
    let (name, counted) = (model.scenario.name, model.counts.clone());
    // Depth first: what waits to be looked at stays small.
    let checker = model.checker().threads(threads).spawn_dfs().join();
    let violation = checker.discoveries().into_values().next().map(|path| Counterexample {
        says: path.last_state().world.judge.violation.clone().unwrap_or_default(),
        actions: path.into_actions(),
    });
    let counts = counted.read();
    let (unique, reached) = (checker.unique_state_count(), checker.state_count());
    Exploration { name, unique, reached, counts, violation }
}
