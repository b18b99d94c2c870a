//! The table at the end of a fault run.

use std::collections::BTreeMap;

use super::{
    history::{Got, History, Said, Via},
    injector::{Fault, Tally},
    judge::{Check, Findings, lease_bound_ms},
    world::Operation,
};

/// Most violations that are told in full for each check.
const TOLD: usize = 10;

pub fn print(history: &History, tally: &Tally, findings: &Findings) {
    println!("\nfaults               home  source  recipient   all");
    for fault in [Fault::Kill, Fault::Suspend, Fault::Cut, Fault::Stall] {
        let of = |role| tally.faults.get(&(fault, role)).copied().unwrap_or(0);
        println!(
            "  {:<16} {:>6} {:>7} {:>10} {:>5}",
            match fault {
                Fault::Kill => "SIGKILL, restart",
                Fault::Suspend => "suspended",
                Fault::Cut => "link cut",
                Fault::Stall => "link stalled",
            },
            of("home"),
            of("source"),
            of("recipient"),
            tally.of(fault)
        );
    }
    println!("  most nodes away at once: {}", tally.most_down);
    let mut restarts = tally.restarts.clone();
    restarts.sort_unstable();
    if let (Some(last), Some(middle)) = (restarts.last(), restarts.get(restarts.len() / 2)) {
        println!("  restart to first answer: median {middle} ms, longest {last} ms");
    }
    println!("kills during");
    for (operation, _) in Operation::ALL {
        let what = match operation {
            Operation::Permit => "permit at the home",
            Operation::Deny => "deny at the home",
            Operation::DenyAtSource => "deny straight at the source",
            Operation::DenyRelayed => "deny at another city (relayed)",
            Operation::Register => "register read at the home",
            Operation::RequestAtRecipient => "request, at the recipient",
            Operation::RequestAtSource => "request, at the source",
        };
        println!("  {what:<32} {:>6}", tally.during.get(&operation).copied().unwrap_or(0));
    }

    println!(
        "decisions            made  attempts  accepted  in force  unavailable  no answer  refused"
    );
    let is_deny: BTreeMap<_, _> =
        history.made.iter().map(|made| (made.id, made.is_deny())).collect();
    let rows = [
        ("permit", false, Via::Home),
        ("deny, home", true, Via::Home),
        ("deny, source", true, Via::Source),
        ("deny, relayed", true, Via::Relay),
    ];
    for (name, deny, via) in rows {
        let handed = || {
            let of_kind = history.handed.iter().filter(|handed| handed.via == via);
            of_kind.filter(|handed| is_deny.get(&handed.decision) == Some(&deny))
        };
        let said = |wanted: fn(&Said) -> bool| handed().filter(|h| wanted(&h.said)).count();
        let made: std::collections::BTreeSet<_> = handed().map(|handed| handed.decision).collect();
        println!(
            "  {name:<16} {:>6} {:>9} {:>9} {:>9} {:>12} {:>10} {:>8}",
            made.len(),
            handed().count(),
            said(|said| *said == Said::Accepted),
            said(|said| *said == Said::InForce),
            said(|said| *said == Said::Unavailable),
            said(|said| *said == Said::NoAnswer),
            said(|said| matches!(said, Said::Refused(_)))
        );
    }
    println!("requests asked: {}", history.asked.len());
    for (name, wanted) in [
        ("data", (|got| matches!(got, Got::Data { .. })) as fn(&Got) -> bool),
        ("not permitted", |got| *got == Got::NotPermitted),
        ("rejected", |got| matches!(got, Got::Rejected(_))),
        ("no answer from the source", |got| *got == Got::NoAnswer),
        ("recipient's node silent", |got| *got == Got::Silence),
    ] {
        let count = history.asked.iter().filter(|asked| wanted(&asked.got)).count();
        println!("  {name:<32} {count:>6}");
    }
    for asked in &history.asked {
        if let Got::Rejected(why) = &asked.got {
            println!("  one of the rejected: {why}");
            break;
        }
    }

    println!("checks");
    for check in Check::ALL {
        let made = findings.made.get(&check).copied().unwrap_or(0);
        let broken = findings.violations.iter().filter(|found| found.check == check).count();
        println!("  {check:<66} {made:>7}  violated {broken}");
    }
    match findings.longest_gap_ms {
        Some(gap) => println!(
            "deny accepted to last release on an older lease: {gap} ms at the longest ({} such releases); \
             the bound is {} ms",
            findings.after_accepted,
            lease_bound_ms(history.granted_ms)
        ),
        None => println!("no release was committed after a deny that covers it was accepted"),
    }
    violations(findings);
}

fn violations(findings: &Findings) {
    for check in Check::ALL {
        let of: Vec<_> = findings.violations.iter().filter(|found| found.check == check).collect();
        for found in of.iter().take(TOLD) {
            println!("violation: {check}: {}", found.what);
        }
        if of.len() > TOLD {
            println!("violation: {check}: and {} more", of.len() - TOLD);
        }
    }
}
