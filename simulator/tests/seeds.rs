//! Runs that once broke the promise, or nearly did: each is run for ever. `testnet sim` prints the line to
//! add when it finds one.

use simulator::run::{Options, run};

/// Seed, nodes, minutes, and what it showed.
const SEEDS: [(u64, usize, u64, &str); 1] =
    [(1, 6, 120, "the first run of the seed that everybody tries")];

#[test]
fn what_once_failed_holds() {
    for (seed, nodes, minutes, showed) in SEEDS {
        let outcome = run(&Options { seed, nodes, minutes });
        assert_eq!(outcome.violation, None, "seed {seed}: {showed}");
    }
}
