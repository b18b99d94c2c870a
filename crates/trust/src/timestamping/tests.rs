use proptest::prelude::*;
use wire::{Signer, membership::Denial};

use super::*;
use crate::testing::{NOW, TestNetwork, TestSigner};

const HOUR_MS: u64 = 3_600_000;

/// The nodes that hold the four timestamp keys of the test network.
struct Nodes {
    network: TestNetwork,
    trust: Trust,
    machines: Vec<(TestSigner, Timestamping)>,
}

impl Nodes {
    fn new() -> Self {
        let network = TestNetwork::new();
        let machine = |signer: &TestSigner| (signer.clone(), Timestamping::default());
        let machines = network.timestamp_signers.iter().map(machine).collect();
        Self { trust: network.trust.clone(), network, machines }
    }

    /// What node `by` sends to the others.
    fn draft(&mut self, by: usize, spent: u64, at: Timestamp) -> MultiSigned<TrustTimestamp> {
        let (trust, (signer, machine)) = (&self.trust, &mut self.machines[by]);
        let mut draft = machine.draft(trust, trust.decided(), spent, at);
        draft.sign(&self.network.id, signer).unwrap();
        draft
    }

    fn message(&self, by: usize, draft: &MultiSigned<TrustTimestamp>) -> TimestampDraft {
        TimestampDraft {
            file: self.trust.decided().with_timestamp(draft),
            denials: self.machines[by].1.denials().bytes(),
        }
    }

    fn ask(
        &mut self,
        of: usize,
        message: &TimestampDraft,
        at: Timestamp,
    ) -> Result<MultiSigned<TrustTimestamp>, Refusal> {
        let (signer, machine) = &mut self.machines[of];
        let mut signed = machine.examine(&self.trust, &signer.public_key(), message, at)?;
        signed.sign(&self.network.id, signer).unwrap();
        Ok(signed)
    }

    fn round(&mut self, by: usize, at: Timestamp) -> MultiSigned<TrustTimestamp> {
        let mut draft = self.draft(by, 0, at);
        let message = self.message(by, &draft);
        for of in (0..4).filter(|of| *of != by) {
            draft.join(&self.ask(of, &message, at).unwrap());
        }
        draft
    }

    fn denial(&self, by: usize, denied: &Denied) -> Vec<u8> {
        let list_version = self.trust.list().version;
        let mut denial = MultiSigned::new(Denial { denied: denied.clone(), list_version });
        denial.sign(&self.network.id, &self.machines[by].0).unwrap();
        denial.bytes()
    }

    /// Node `by` hears that each of these wants somebody struck off.
    fn wish(&mut self, by: usize, of: &[usize], denied: &Denied) {
        for signer in of {
            let denial = self.denial(*signer, denied);
            self.machines[by].1.add_denial(&denial, &self.trust).unwrap();
        }
    }

    fn adopt(&mut self, timestamp: &MultiSigned<TrustTimestamp>, at: Timestamp) {
        let file = self.trust.decided().with_timestamp(timestamp);
        self.trust = self.trust.update(&file, at).unwrap();
    }
}

fn firm() -> Denied {
    Denied::Organisation("7000012050002".parse().unwrap())
}

#[test]
fn nodes_renew_a_timestamp_by_themselves() {
    let mut nodes = Nodes::new();
    let at = NOW.plus_ms(12 * HOUR_MS);
    let renewed = nodes.round(0, at);
    assert!(is_signed_enough(&renewed, nodes.trust.decided(), &nodes.trust));
    nodes.adopt(&renewed, at);
    let timestamp = nodes.trust.timestamp();
    assert_eq!((timestamp.version, timestamp.issued), (2, at));
    assert_eq!(timestamp.hard_expiry, at.plus_ms(14 * 24 * HOUR_MS), "as far ahead as before");
}

#[test]
fn each_key_has_its_turn_and_waits_a_little_for_those_before() {
    let mut nodes = Nodes::new();
    let trust = nodes.trust.clone();
    let mut due: Vec<_> = nodes
        .machines
        .iter_mut()
        .map(|(signer, machine)| machine.due(&trust, &signer.public_key(), NOW).unwrap())
        .collect();
    due.sort();
    let hours: Vec<_> = due.iter().map(|at| at.ms_since(NOW) as f64 / HOUR_MS as f64).collect();
    assert_eq!(hours, [12.0, 13.5, 15.0, 16.5], "all of them within the soft expiry of 24 hours");
    let stranger = TestSigner::new(200).public_key();
    assert_eq!(Timestamping::default().due(&trust, &stranger, NOW), None);
}

#[test]
fn a_key_signs_one_timestamp_of_each_version() {
    let mut nodes = Nodes::new();
    let at = NOW.plus_ms(12 * HOUR_MS);
    let (one, other) = (nodes.draft(0, 0, at), nodes.draft(1, 0, at.plus_ms(1)));
    let (one, other) = (nodes.message(0, &one), nodes.message(1, &other));
    let signed = nodes.ask(2, &one, at).unwrap();
    assert_eq!(nodes.ask(2, &one, at).unwrap(), signed, "the same one again, as often as asked");
    assert_eq!(nodes.ask(2, &other, at).unwrap_err().kind, NotSigned::Spent);
    // After a restart too.
    let kept = nodes.machines[2].1.kept();
    nodes.machines[2].1 = Timestamping::restore(&kept, &nodes.trust);
    assert_eq!(nodes.ask(2, &other, at).unwrap_err().kind, NotSigned::Spent);
    // Whoever hears that goes beyond what is spent.
    let next = nodes.draft(1, 2, at);
    assert_eq!(next.unverified().version, 3);
    let next = nodes.message(1, &next);
    assert!(nodes.ask(2, &next, at).is_ok());
}

#[test]
fn what_nobody_honest_would_draft_is_not_signed() {
    type Change = fn(&mut TrustTimestamp);
    let at = NOW.plus_ms(12 * HOUR_MS);
    let cases: [(&str, Change); 9] = [
        ("spent", |t| t.version = 1),
        ("too many versions", |t| t.version += SKIPS),
        ("another trust list", |t| t.list_hash = Hash([7; 32])),
        ("another trust list", |t| t.list_version += 1),
        ("another clock", |t| t.issued = t.issued.plus_ms(CLOCK_MS + 1)),
        ("another time", |t| t.hard_expiry = t.hard_expiry.plus_ms(1)),
        ("another time", |t| t.soft_expiry = t.soft_expiry.plus_ms(1)),
        ("too few want", |t| t.denylist = vec![firm()]),
        ("soft expiry comes after", |t| t.soft_expiry = t.hard_expiry.plus_ms(1)),
    ];
    for (expected, change) in cases {
        let mut nodes = Nodes::new();
        let mut timestamp = nodes.draft(0, 0, at).unverified().clone();
        change(&mut timestamp);
        let mut draft = MultiSigned::new(timestamp);
        draft.sign(&nodes.network.id, &nodes.machines[0].0).unwrap();
        let message = nodes.message(0, &draft);
        let refusal = nodes.ask(1, &message, at).unwrap_err();
        assert!(refusal.why.contains(expected), "{expected}: {refusal}");
        assert_eq!(nodes.machines[1].1.kept(), Kept::default(), "and nothing is spent: {expected}");
    }
}

#[test]
fn a_draft_is_a_timestamp_keys() {
    let (mut nodes, at) = (Nodes::new(), NOW.plus_ms(12 * HOUR_MS));
    let stranger = TestSigner::new(200);
    let honest = nodes.draft(0, 0, at);
    let mut unsigned = MultiSigned::new(honest.unverified().clone());
    let by_nobody = nodes.message(0, &unsigned);
    assert_eq!(nodes.ask(1, &by_nobody, at).unwrap_err().kind, NotSigned::Refused);
    unsigned.sign(&nodes.network.id, &stranger).unwrap();
    let by_a_stranger = nodes.message(0, &unsigned);
    assert_eq!(nodes.ask(1, &by_a_stranger, at).unwrap_err().kind, NotSigned::Refused);
    // And whoever holds no such key signs nothing.
    let message = nodes.message(0, &honest);
    let asked = Timestamping::default().examine(&nodes.trust, &stranger.public_key(), &message, at);
    assert_eq!(asked.unwrap_err().kind, NotSigned::NoKey);
}

#[test]
fn three_operators_strike_somebody_off_and_two_do_not() {
    let (mut nodes, at) = (Nodes::new(), NOW.plus_ms(HOUR_MS));
    nodes.wish(0, &[0, 1], &firm());
    let key = nodes.machines[0].0.public_key();
    let trust = nodes.trust.clone();
    assert!(nodes.machines[0].1.due(&trust, &key, at).unwrap() > at, "nothing is urgent");
    assert_eq!(nodes.draft(0, 0, at).unverified().denylist, []);

    nodes.wish(0, &[2], &firm());
    let due = nodes.machines[0].1.due(&trust, &key, at).unwrap();
    assert!(due.ms_since(at) <= 4 * URGENT_STEP_MS, "now it is");
    // The others have not heard of it: what stands behind it comes along.
    let timestamp = nodes.round(0, at);
    assert_eq!(timestamp.unverified().denylist, [firm()]);
    nodes.adopt(&timestamp, at);
    assert!(nodes.trust.is_denied_organisation(&"7000012050002".parse().unwrap()));

    // Once there, nobody gets it off by leaving it out, whoever drafts.
    let later = at.plus_ms(12 * HOUR_MS);
    let mut silent = nodes.draft(3, 0, later).unverified().clone();
    silent.denylist.clear();
    let mut draft = MultiSigned::new(silent);
    draft.sign(&nodes.network.id, &nodes.machines[3].0).unwrap();
    let message = nodes.message(3, &draft);
    let refusal = nodes.ask(1, &message, later).unwrap_err();
    assert!(refusal.why.contains("leaves out who is struck off"), "{refusal}");
}

#[test]
fn with_the_next_list_it_lapses_unless_the_list_confirms_it() {
    let (mut nodes, at) = (Nodes::new(), NOW.plus_ms(HOUR_MS));
    nodes.wish(0, &[0, 1, 2], &firm());
    let timestamp = nodes.round(0, at);
    nodes.adopt(&timestamp, at);
    for confirmed in [vec![firm()], vec![]] {
        let trust = nodes.trust.clone();
        let file = nodes.network.file_with(|list, _| {
            list.version = 2;
            list.denied = confirmed.clone();
        });
        let next = trust.next(&file, at).unwrap();
        let mut draft = nodes.machines[0].1.draft(&trust, &next, 0, at);
        assert_eq!(draft.unverified().denylist, []);
        draft.sign(&nodes.network.id, &nodes.machines[0].0).unwrap();
        let message = TimestampDraft {
            file: next.with_timestamp(&draft),
            denials: nodes.machines[0].1.denials().bytes(),
        };
        for of in 1..4 {
            draft.join(&nodes.ask(of, &message, at).unwrap());
        }
        let after = trust.update(&next.with_timestamp(&draft), at).unwrap();
        let denied = after.is_denied_organisation(&"7000012050002".parse().unwrap());
        assert_eq!(denied, !confirmed.is_empty());
        // The wishes were about the list before.
        let restored = Timestamping::restore(&nodes.machines[0].1.kept(), &after);
        assert_eq!(restored.denials().pending(&after), []);
    }
}

#[test]
fn denials_are_checked_and_bounded() {
    let mut nodes = Nodes::new();
    let trust = nodes.trust.clone();
    let mut denials = Denials::default();
    let mut foreign = MultiSigned::new(Denial { denied: firm(), list_version: 1 });
    assert_eq!(denials.add(&foreign.bytes(), &trust), Err(DenialError::Stranger));
    foreign.sign(&nodes.network.id, &TestSigner::new(200)).unwrap();
    assert_eq!(denials.add(&foreign.bytes(), &trust), Err(DenialError::Stranger));
    let mut lapsed = MultiSigned::new(Denial { denied: firm(), list_version: 2 });
    lapsed.sign(&nodes.network.id, &nodes.machines[0].0).unwrap();
    let error = DenialError::Lapsed { named: 2, in_force: 1 };
    assert_eq!(denials.add(&lapsed.bytes(), &trust), Err(error));

    assert_eq!(denials.add(&nodes.denial(0, &firm()), &trust), Ok(true));
    assert_eq!(denials.add(&nodes.denial(0, &firm()), &trust), Ok(false), "the same again");
    assert_eq!(denials.add(&nodes.denial(1, &firm()), &trust), Ok(true));
    let pending = Pending { denied: firm(), signed: 2, needed: 3 };
    assert_eq!(denials.pending(&trust), [pending]);
    for number in 1..64 {
        let certificate = Denied::Certificate(Hash([number; 32]));
        assert_eq!(denials.add(&nodes.denial(0, &certificate), &trust), Ok(true));
    }
    let beyond = Denied::Certificate(Hash([64; 32]));
    assert_eq!(denials.add(&nodes.denial(0, &beyond), &trust), Err(DenialError::TooMany));
    assert_eq!(denials.add(&nodes.denial(1, &beyond), &trust), Ok(true), "another key may");
    // A restart keeps them.
    nodes.machines[0].1 = Timestamping { denials, ..Timestamping::default() };
    let kept = nodes.machines[0].1.kept();
    assert_eq!(Timestamping::restore(&kept, &trust).kept(), kept);
}

proptest! {
    /// Whoever drafts, whoever hears it, in whatever order: of two timestamps with the same version at most
    /// one has enough signatures, as long as keys sign by these rules.
    #[test]
    fn of_one_version_one_timestamp_at_most_is_signed_enough(
        steps in proptest::collection::vec((0usize..4, 0u64..6, 0u64..4, any::<[bool; 4]>()), 1..12),
    ) {
        let mut nodes = Nodes::new();
        let mut enough: Vec<(u64, Hash)> = Vec::new();
        for (by, spent, late, hears) in steps {
            let at = NOW.plus_ms(HOUR_MS + late);
            let mut draft = nodes.draft(by, spent, at);
            let message = nodes.message(by, &draft);
            for of in (0..4).filter(|of| *of != by && hears[*of]) {
                if let Ok(signed) = nodes.ask(of, &message, at) {
                    draft.join(&signed);
                }
            }
            if is_signed_enough(&draft, nodes.trust.decided(), &nodes.trust) {
                enough.push((draft.unverified().version, draft.payload_hash()));
            }
        }
        enough.sort();
        enough.dedup();
        prop_assert!(enough.windows(2).all(|pair| pair[0].0 != pair[1].0), "{enough:?}");
    }
}
