//! All of NIST PKITS (Public Key Interoperability Test Suite 1.0.1, sections 4.1 to 4.16) against
//! the path validation that `trust::chain` uses. What diverges stands in `divergences.rs` with its
//! reason; anything else that diverges fails, and so does what stands there and does not diverge.
//!
//! The files are NIST's and not part of this repository: `scripts/pkits.sh` brings them.

#[path = "pkits/data.rs"]
mod data;
#[path = "pkits/divergences.rs"]
mod divergences;
#[path = "pkits/table.rs"]
mod table;
#[path = "pkits/validation.rs"]
mod validation;

use std::collections::{BTreeMap, BTreeSet};

use data::Data;
use divergences::{DIVERGENCES, Divergence, REFUSED_FOR_LACK_OF_SUPPORT};
use table::{Expected, Run};

/// How many tests each section of PKITS has, from 4.1 on.
const TESTS: [usize; 16] = [6, 8, 11, 21, 8, 17, 5, 20, 8, 14, 11, 10, 38, 35, 10, 2];

#[test]
fn the_table_has_every_test_of_every_section() {
    let runs = table::runs();
    let tests: BTreeSet<String> = runs.iter().map(|run| run.test.clone()).collect();
    let of_section = |(section, count): (usize, usize)| {
        (1..=count).map(move |number| format!("4.{section}.{number}"))
    };
    let wanted: BTreeSet<String> = (1..).zip(TESTS).flat_map(of_section).collect();
    assert_eq!(tests, wanted);
    let numbers: BTreeSet<&str> = runs.iter().map(|run| run.number.as_str()).collect();
    assert_eq!((tests.len(), runs.len(), numbers.len()), (224, 249, 249));
}

/// What is said of runs is said of runs that there are, once each.
#[test]
fn divergences_are_of_runs_in_the_table() {
    let runs: BTreeMap<String, Expected> =
        table::runs().into_iter().map(|run| (run.number, run.expected)).collect();
    let mut seen = BTreeSet::new();
    for divergence in DIVERGENCES {
        for number in divergence.runs {
            assert!(seen.insert(*number), "{number} stands twice");
            let is_valid = runs[*number] == Expected::Valid;
            assert_eq!(is_valid, divergence.got.is_some(), "{number}");
        }
    }
    for number in REFUSED_FOR_LACK_OF_SUPPORT {
        assert!(seen.insert(*number), "{number} stands twice");
        let Expected::Invalid(status) = runs[*number] else { panic!("{number} is valid") };
        let lacking = ["RevocationStatusNotDetermined", "SignatureVerificationFailure"];
        assert!(lacking.contains(&status), "{number}: {status}");
    }
}

#[test]
fn the_spec_says_what_diverges() {
    let spec = include_str!("../../../specs/03-trust.md");
    for Divergence { runs, why, .. } in DIVERGENCES {
        let runs = format!("| {} |", runs.join(", "));
        let row = spec.lines().find(|line| line.starts_with(&runs));
        assert!(row.is_some_and(|row| row.ends_with(&format!("| {why} |"))), "{runs} {why}");
    }
    let diverging: usize = DIVERGENCES.iter().map(|divergence| divergence.runs.len()).sum();
    let as_wanted = table::runs().len() - diverging;
    let counts = format!("{as_wanted} runs come out as PKITS wants, {diverging} diverge:");
    assert!(spec.contains(&counts), "{counts}");
    let lacking = format!("{} more are refused as they should", REFUSED_FOR_LACK_OF_SUPPORT.len());
    assert!(spec.contains(&lacking), "{lacking}");
}

fn divergence_of(run: &Run) -> Option<&'static Divergence> {
    DIVERGENCES.iter().find(|divergence| divergence.runs.contains(&run.number.as_str()))
}

/// `None` if the run came to what is written down for it.
fn complaint(run: &Run, verdict: &Result<(), String>) -> Option<String> {
    // What the path is refused for, if it is.
    let got = verdict.as_ref().err().map(String::as_str);
    let by_pkits = match run.expected {
        Expected::Valid => None,
        Expected::Invalid(status) => Some(status),
    };
    let wanted = divergence_of(run).map_or(by_pkits, |divergence| divergence.got);
    if got == wanted {
        return None;
    }
    let (number, path) = (&run.number, &run.path);
    Some(if got == by_pkits {
        format!("{number} does not diverge any more: take it from the list")
    } else {
        format!("{number} {path:?}: refusal {got:?}, wanted {wanted:?}")
    })
}

#[test]
fn every_path_comes_to_what_pkits_wants_or_to_a_listed_divergence() {
    let Some(data) = Data::find() else {
        println!("PKITS was not run: its files are not here. scripts/pkits.sh brings them.");
        return;
    };
    let runs = table::runs();
    let complaints: Vec<String> =
        runs.iter().filter_map(|run| complaint(run, &validation::validate(run, &data))).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");

    assert_eq!(data.unread(), [""; 0], "files that no test reads");
    assert_eq!((data.read_count(".crt"), data.read_count(".crl")), (405, 173));
    report(&runs);
}

fn report(runs: &[Run]) {
    let diverging: usize = DIVERGENCES.iter().map(|divergence| divergence.runs.len()).sum();
    let tests: BTreeSet<&str> = runs.iter().map(|run| run.test.as_str()).collect();
    println!(
        "PKITS: {} tests, {} runs, {} as expected, {diverging} diverge",
        tests.len(),
        runs.len(),
        runs.len() - diverging
    );
    for Divergence { runs, got, why } in DIVERGENCES {
        let what = if got.is_some() { "refused though valid" } else { "ACCEPTED THOUGH INVALID" };
        println!("  {what}: {}: {why}", runs.join(", "));
    }
    println!("  refused, but for lack of support: {}", REFUSED_FOR_LACK_OF_SUPPORT.join(", "));
}
