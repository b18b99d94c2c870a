use proptest::prelude::*;

use super::*;
use crate::tree::{Frontier, consistency_proof, leaf_hash, root};

type Stored = BTreeMap<(u8, u64), Hash>;

/// A log of `size` leaves; its leaves from `fork` on are others than those of the log without fork.
fn log(size: u64, fork: u64) -> Stored {
    let (mut frontier, mut nodes) = (Frontier::default(), Stored::new());
    for index in 0..size {
        let leaf =
            leaf_hash(&[index.to_be_bytes(), u64::from(index >= fork).to_be_bytes()].concat());
        nodes.extend(frontier.append(leaf).into_iter().map(|n| ((n.level, n.index), n.hash)));
    }
    nodes
}

fn head(nodes: &Stored, size: u64) -> Checkpoint {
    Checkpoint { origin: "mebuku/test/log".into(), size, root: root(nodes, size).unwrap() }
}

fn organisation(number: u64) -> OrganisationId {
    OrganisationId::from_base(&format!("{number:012}")).unwrap()
}

fn organisations(count: u64) -> Vec<OrganisationId> {
    (0..count).map(organisation).collect()
}

const STRAIGHT: u64 = u64::MAX;

#[test]
fn a_witness_cosigns_what_extends_the_tree_it_knows() {
    let nodes = log(40, STRAIGHT);
    let mut known: Option<Checkpoint> = None;
    for size in [0, 1, 5, 5, 8, 33, 40] {
        let old = known.as_ref().map_or(0, |known| known.size);
        let proof = consistency_proof(&nodes, old, size).unwrap();
        let new = head(&nodes, size);
        assert_eq!(observe(known.as_ref(), old, &proof, &new), Ok(()), "{old} to {size}");
        known = Some(new);
    }
}

#[test]
fn a_witness_refuses_by_name() {
    use WitnessRefusal::*;
    let (nodes, forked) = (log(40, STRAIGHT), log(40, 15));
    let known = head(&nodes, 20);
    let proof = |old, new| consistency_proof(&nodes, old, new).unwrap();
    let ask = |old, proof: &[Hash], new: &Checkpoint| observe(Some(&known), old, proof, new);

    let new = head(&nodes, 33);
    for old in [0, 19, 21, 33] {
        let conflict = Err(Conflict { size: 20 });
        assert_eq!(ask(old, &proof(old, 33), &new), conflict, "the size to begin at is told");
    }
    assert_eq!(ask(34, &[], &new), Err(Backwards { old: 34, new: 33 }));
    assert_eq!(observe(None, 1, &proof(1, 33), &new), Err(Conflict { size: 0 }));

    let other = head(&forked, 20);
    for old in [0, 19, 20] {
        assert_eq!(ask(old, &[], &other), Err(Forked { size: 20 }), "whatever it claims to know");
    }
    assert_eq!(ask(5, &proof(5, 19), &head(&nodes, 19)), Err(Shrunk { size: 20 }));
    assert_eq!(ask(0, &[], &head(&nodes, 0)), Err(Shrunk { size: 20 }));

    let refused = |result| matches!(result, Err(NotAnExtension { size: 20, .. }));
    let theirs = consistency_proof(&forked, 20, 33).unwrap();
    assert!(refused(ask(20, &theirs, &head(&forked, 33))), "a fork before the known head");
    assert!(refused(ask(20, &proof(20, 32), &new)));
    assert!(refused(ask(20, &[], &new)));
    let mut longer = proof(20, 33);
    longer.push(longer[0]);
    assert!(refused(ask(20, &longer, &new)));
    assert!(refused(ask(20, &vec![new.root; PROOF_LIMIT + 1], &new)));
    assert!(refused(ask(20, &[new.root], &known)), "no proof leads from a tree to itself");
    let elsewhere = Checkpoint { origin: "mebuku/test/other".into(), ..new.clone() };
    assert_eq!(ask(20, &proof(20, 33), &elsewhere), Err(OtherOrigin));
    assert_eq!(ask(20, &proof(20, 33), &new), Ok(()));
    let first = observe(None, 0, &[new.root], &new);
    assert!(matches!(first, Err(NotAnExtension { size: 0, .. })), "nothing leads from nothing");

    let evidence = [(Forked { size: 1 }, true), (Shrunk { size: 1 }, true)];
    let none = [(Conflict { size: 1 }, false), (OtherOrigin, false)];
    for (refusal, kept) in evidence.into_iter().chain(none) {
        assert_eq!(refusal.is_evidence(), kept, "{refusal}");
    }
}

#[test]
fn witnesses_are_assigned_by_rank() {
    let all = organisations(40);
    let log = organisation(3);
    let chosen = assigned(&all, &log, 7);
    assert_eq!(chosen.len(), 7);
    assert!(!assigned(&all, &log, 100).contains(&log), "nobody witnesses itself");
    assert_eq!(assigned(&all, &log, 100).len(), 39);
    let mut twice: Vec<_> = all.iter().rev().chain(&all).cloned().collect();
    assert_eq!(assigned(&twice, &log, 7), chosen, "order and repetition do not matter");
    twice.retain(|candidate| *candidate != chosen[2]);
    let without = assigned(&twice, &log, 7);
    assert!(chosen.iter().filter(|witness| **witness != chosen[2]).all(|w| without.contains(w)));
    assert_ne!(assigned(&all, &organisation(4), 7), chosen, "the load is spread");
    assert_eq!(assigned(std::slice::from_ref(&log), &log, 7), []);
    // For ever: nodes must agree on it. SHA-256 over the array of tag, log and candidate, smallest
    // first, computed by hand.
    let of_four = assigned(&organisations(4), &organisation(0), 3);
    let bytes = |candidate: &OrganisationId| {
        let mut array = vec![0x83, 0x78, 27];
        array.extend(b"mebuku/witness-assignment/1");
        for id in [&organisation(0), candidate] {
            array.push(0x40 | 13);
            array.extend(id.as_str().as_bytes());
        }
        wire::sha256(&array)
    };
    let mut by_hand = organisations(4)[1..].to_vec();
    by_hand.sort_by_key(bytes);
    assert_eq!(of_four, by_hand);
}

#[test]
fn quorums_overlap() {
    let default = |n| Quorum::of_candidates(n).map(|quorum| (quorum.n(), quorum.q(), quorum.r()));
    assert_eq!(default(1000), Ok((7, 4, 4)));
    assert_eq!(default(7), Ok((7, 4, 4)));
    assert_eq!(default(4), Ok((4, 3, 3)));
    assert_eq!(default(3), Ok((3, 2, 2)));
    assert_eq!(default(1), Ok((1, 1, 1)));
    assert_eq!(default(0), Err(BadQuorum::NoWitness));
    assert!(Quorum::new(7, 5, 3).is_ok());
    let apart = BadQuorum::NoOverlap { n: 7, cosign: 4, start: 3 };
    assert_eq!(Quorum::new(7, 4, 3), Err(apart));
    for (q, r) in [(0, 3), (3, 0), (4, 3), (3, 4)] {
        assert_eq!(Quorum::new(3, q, r), Err(BadQuorum::OutOfRange { n: 3 }));
    }
}

#[test]
fn gathering_counts_each_witness_once_and_never_backwards() {
    let witnesses = organisations(4);
    let mut gathering = Gathering::new(Quorum::new(4, 3, 2).unwrap(), witnesses.clone());
    gathering.cosigned(&witnesses[0], 10);
    gathering.cosigned(&witnesses[0], 30);
    gathering.cosigned(&witnesses[1], 20);
    gathering.cosigned(&organisation(9), 50);
    assert_eq!(gathering.reached(), 0, "two of three");
    gathering.cosigned(&witnesses[2], 15);
    assert_eq!(gathering.reached(), 15);
    gathering.cosigned(&witnesses[2], 5);
    assert_eq!(gathering.reached(), 15);
    gathering.cosigned(&witnesses[3], 25);
    assert_eq!(
        (gathering.reached(), gathering.count(25), gathering.of(&witnesses[0])),
        (20, 2, 30)
    );
    gathering.reassign(Quorum::new(2, 2, 1).unwrap(), [witnesses[0].clone(), organisation(9)]);
    assert_eq!(gathering.reached(), 0, "the new one has cosigned nothing");
    gathering.cosigned(&organisation(9), 40);
    assert_eq!(gathering.reached(), 30, "the one that stayed has");
}

/// A check for a log of `size` leaves with three witnesses, of which two must answer.
fn check(nodes: &Stored, size: u64) -> StartCheck {
    StartCheck::new(head(nodes, size), Quorum::new(3, 2, 2).unwrap(), organisations(3))
}

fn root_at(nodes: &Stored, len: u64) -> impl Fn(u64) -> Option<Hash> {
    move |size| (size <= len).then(|| root(nodes, size).unwrap())
}

#[test]
fn a_start_waits_for_enough_answers() {
    let nodes = log(40, STRAIGHT);
    let mut check = check(&nodes, 20);
    let own = root_at(&nodes, 20);
    assert_eq!(check.unanswered().count(), 3);
    assert_eq!(check.verdict(), StartVerdict::Waiting);
    check.answer(&organisation(0), Some(&head(&nodes, 20)), &own);
    check.answer(&organisation(0), Some(&head(&nodes, 20)), &own);
    check.answer(&organisation(8), None, &own);
    let elsewhere = Checkpoint { origin: "mebuku/test/other".into(), ..head(&nodes, 30) };
    check.answer(&organisation(1), Some(&elsewhere), &own);
    assert_eq!(check.verdict(), StartVerdict::Waiting, "one witness, however often it answers");
    let unanswered: BTreeSet<_> = check.unanswered().cloned().collect();
    assert_eq!(unanswered, BTreeSet::from([organisation(1), organisation(2)]));
    // One that lags behind, or knows nothing, speaks against nothing.
    check.answer(&organisation(1), Some(&head(&nodes, 7)), &own);
    assert_eq!(check.verdict(), StartVerdict::Serve);
    check.answer(&organisation(2), None, &own);
    assert_eq!(check.verdict(), StartVerdict::Serve);
}

#[test]
fn a_log_that_was_put_back_or_forks_never_serves() {
    let (nodes, forked) = (log(40, STRAIGHT), log(40, 15));
    let restored = |by, size| StartVerdict::Restored { by: organisation(by), size };
    let cases = [
        ("a longer log", 20, head(&nodes, 21), restored(1, 21)),
        ("a log where here is none", 0, head(&nodes, 1), restored(1, 1)),
        ("a longer log on another branch", 20, head(&forked, 30), restored(1, 30)),
        ("another root", 20, head(&forked, 20), StartVerdict::Forked { by: organisation(1) }),
        ("another past", 20, head(&forked, 16), StartVerdict::Forked { by: organisation(1) }),
    ];
    for (case, size, known, verdict) in cases {
        let own = root_at(&nodes, size);
        let mut first = check(&nodes, size);
        first.answer(&organisation(1), Some(&known), &own);
        assert_eq!(first.verdict(), verdict, "{case}: one witness is enough");
        for good in [0, 1, 2] {
            first.answer(&organisation(good), None, &own);
        }
        assert_eq!(first.verdict(), verdict, "{case}: and nothing takes it back");
        let mut late = check(&nodes, size);
        late.answer(&organisation(0), None, &own);
        late.answer(&organisation(2), None, &own);
        assert_eq!(late.verdict(), StartVerdict::Serve);
        late.answer(&organisation(1), Some(&known), &own);
        assert_eq!(late.verdict(), verdict, "{case}: a late answer revokes");
    }
    // The past up to the fork is common to both.
    let mut same_past = check(&nodes, 20);
    same_past.answer(&organisation(1), Some(&head(&forked, 15)), root_at(&nodes, 20));
    assert_eq!(same_past.verdict(), StartVerdict::Waiting);
}

#[test]
fn what_was_logged_since_the_start_is_no_restore() {
    let nodes = log(40, STRAIGHT);
    let mut check = check(&nodes, 20);
    check.answer(&organisation(0), None, root_at(&nodes, 20));
    check.answer(&organisation(1), None, root_at(&nodes, 20));
    check.answer(&organisation(2), Some(&head(&nodes, 25)), root_at(&nodes, 25));
    assert_eq!(check.verdict(), StartVerdict::Serve);
}

#[test]
fn after_a_reassignment_both_groups_are_asked() {
    let nodes = log(40, STRAIGHT);
    let own = root_at(&nodes, 20);
    let before = [3, 4, 5].map(organisation);
    let mut check = check(&nodes, 20).also(Quorum::new(3, 2, 2).unwrap(), before);
    assert_eq!(check.unanswered().count(), 6);
    for new in [0, 1, 2] {
        check.answer(&organisation(new), None, &own);
    }
    check.answer(&organisation(4), Some(&head(&nodes, 20)), &own);
    assert_eq!(check.verdict(), StartVerdict::Waiting);
    check.answer(&organisation(5), Some(&head(&nodes, 20)), &own);
    assert_eq!(check.verdict(), StartVerdict::Serve);
}

proptest! {
    /// The promise of the numbers: whatever q witnesses cosigned, any r of them that answer honestly
    /// tell of it.
    #[test]
    fn whoever_was_put_back_is_found_out(
        n in 1..=7usize, q in 1..=7usize, r in 1..=7usize,
        order in Just((0..7u64).collect::<Vec<_>>()).prop_shuffle(),
        asked in Just((0..7u64).collect::<Vec<_>>()).prop_shuffle(),
        backup in 0..20u64,
    ) {
        let Ok(quorum) = Quorum::new(n, q, r) else { return Ok(()) };
        let within = |all: Vec<u64>| all.into_iter().filter(|i| *i < n as u64).collect::<Vec<_>>();
        let (order, asked) = (within(order), within(asked));
        let nodes = log(20, STRAIGHT);
        let mut gathering = Gathering::new(quorum, organisations(n as u64));
        order[..q].iter().for_each(|witness| gathering.cosigned(&organisation(*witness), 20));
        prop_assert_eq!(gathering.reached(), 20);
        let own = root_at(&nodes, backup);
        let mut check = StartCheck::new(head(&nodes, backup), quorum, organisations(n as u64));
        for witness in &asked[..r] {
            let size = gathering.of(&organisation(*witness));
            let known = (size > 0).then(|| head(&nodes, size));
            check.answer(&organisation(*witness), known.as_ref(), &own);
        }
        let found = matches!(check.verdict(), StartVerdict::Restored { size: 20, .. });
        prop_assert!(found, "{:?}", check.verdict());
    }
}
