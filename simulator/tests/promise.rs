//! The promise on small budgets, in every test run; `testnet model` and `testnet sim` explore more.

use simulator::{
    days::{runs_of, simulate},
    explore::explore,
    run::{Options, run, run_script, script_of, shrink},
    scenario,
};

#[test]
fn small_scenarios_hold_whatever_happens() {
    for scenario in [
        scenario::one_use,
        scenario::lost_phone,
        scenario::stale_view,
        scenario::piece_by_piece,
        scenario::recipient,
        scenario::recipient_copies,
    ] {
        let done = explore(scenario(), 2);
        assert!(done.violation.is_none(), "{}: {:?}", done.name, done.violation);
        assert!(done.unique > 1_000, "{} was hardly explored", done.name);
    }
}

#[test]
fn a_seed_repeats_to_the_last_event() {
    let options = Options { seed: 7, nodes: 6, minutes: 30 };
    let (first, second) = (run(&options), run(&options));
    assert_eq!(first.violation, None);
    assert_eq!(first.trace, second.trace);
    assert_eq!(first.faults, second.faults);
    let other = run(&Options { seed: 8, ..options });
    assert_ne!(first.trace, other.trace);
}

#[test]
fn how_many_threads_work_shows_in_nothing() {
    let runs = runs_of(3, 6, 4);
    assert_eq!(runs.len(), 2);
    let (one, two) = (simulate(&runs, 1), simulate(&runs, 2));
    assert_eq!(one.trace, two.trace);
    assert_eq!(one.counts, two.counts);
    assert!(one.violations.is_empty(), "{:?}", one.violations);
    assert!(one.counts["releases"] > 0 && one.counts["told in force"] > 0);
}

#[test]
fn every_minute_has_a_decision_a_request_and_a_fault() {
    use simulator::script::{MINUTE_MS, What};
    let options = Options { seed: 11, nodes: 9, minutes: 50 };
    let script = script_of(&options);
    let start = script[0].at_ms / MINUTE_MS;
    for minute in start..start + options.minutes {
        let within = || script.iter().filter(|injection| injection.at_ms / MINUTE_MS == minute);
        assert!(within().any(|i| matches!(
            i.what,
            What::Permit { .. }
                | What::Deny { .. }
                | What::Move { .. }
                | What::LosePhone { .. }
                | What::Unknown { .. }
        )));
        assert!(within().any(|i| matches!(i.what, What::Ask { .. } | What::Present { .. })));
        assert!(within().any(|i| matches!(i.what, What::Fault(fault) if fault.strikes())));
    }
}

#[test]
fn leaving_things_out_shifts_nobodys_luck() {
    let options = Options { seed: 5, nodes: 6, minutes: 20 };
    let mut script = script_of(&options);
    let whole = run_script(&options, &script);
    assert_eq!(whole.violation, None);
    assert!(shrink(&options, 10).is_none(), "nothing to shrink where nothing failed");
    script.truncate(script.len() / 2);
    assert_eq!(run_script(&options, &script).violation, None);
}
