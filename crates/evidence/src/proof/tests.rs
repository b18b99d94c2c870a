use std::collections::BTreeMap;

use super::*;
use crate::{
    log::Log,
    note::{NoteSigner, SignedNote, tests::TestKey},
    record::NodeStarted,
};

const ORIGIN: &str = "mebuku/network/7000012050002";

fn record(number: u64) -> Record {
    let body = NodeStarted { version: "0.1.0".into(), descriptor: None, log_size: number };
    Record::new(&body, wire::Timestamp(number))
}

struct TestLog {
    log: Log,
    nodes: BTreeMap<(u8, u64), Hash>,
    key: TestKey,
}

impl TestLog {
    fn new(size: u64) -> Self {
        let (mut log, mut nodes) = (Log::default(), BTreeMap::new());
        for number in 0..size {
            for node in log.append(&record(number), [number as u8; 32]).nodes {
                nodes.insert((node.level, node.index), node.hash);
            }
        }
        Self { log, nodes, key: TestKey::new(5) }
    }

    fn prove(&self, index: u64) -> LogProof {
        let checkpoint = self.log.checkpoint(ORIGIN).sign(&self.key).unwrap().to_string();
        let (record, salt) = (record(index).to_bytes(), [index as u8; 32]);
        LogProof::new(&self.nodes, index, &record, &salt, self.log.size(), &checkpoint).unwrap()
    }

    fn verify(&self, proof: &LogProof) -> Result<ProvenRecord, ProofError> {
        proof.verify(ORIGIN, &self.key.public_key())
    }
}

#[test]
fn every_record_of_a_log_can_be_proven() {
    let log = TestLog::new(21);
    for index in 0..21 {
        let proof = LogProof::from_bytes(&log.prove(index).to_bytes()).unwrap();
        let proven = log.verify(&proof).unwrap();
        assert_eq!((proven.record(), proven.index()), (&record(index), index));
        assert_eq!(*proven.checkpoint(), log.log.checkpoint(ORIGIN));
    }
}

#[test]
fn an_error_names_what_failed() {
    let log = TestLog::new(21);
    let good = log.prove(13);
    let spoil = |change: fn(&mut LogProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        log.verify(&proof).unwrap_err()
    };
    let root = ProofError::Inclusion(InvalidTreeProof::Root);
    assert_eq!(spoil(|proof| proof.record = record(14).to_bytes().into()), root);
    assert_eq!(spoil(|proof| proof.salt.0[0] ^= 1), root);
    assert_eq!(spoil(|proof| proof.index = 12), root);
    assert_eq!(spoil(|proof| proof.path[2].0[31] ^= 1), root);
    assert_eq!(spoil(|proof| proof.salt.0.push(0)), ProofError::Salt(33));
    let length = ProofError::Inclusion(InvalidTreeProof::Length(4));
    assert_eq!(spoil(|proof| _ = proof.path.pop()), length);
    let none = InvalidTreeProof::NoSuchLeaf { index: u64::MAX, size: 21 };
    assert_eq!(spoil(|proof| proof.index = u64::MAX), ProofError::Inclusion(none));
    let sizes = ProofError::OtherSize { proof: 22, checkpoint: 21 };
    assert_eq!(spoil(|proof| proof.size = 22), sizes);
    assert!(matches!(spoil(|proof| proof.checkpoint.clear()), ProofError::Checkpoint(_)));
}

#[test]
fn another_log_another_key_another_head_prove_nothing() {
    let (log, longer) = (TestLog::new(21), TestLog::new(22));
    let proof = log.prove(13);
    let stranger = TestKey::new(6).public_key();
    assert!(matches!(
        proof.verify(ORIGIN, &stranger),
        Err(ProofError::Checkpoint(NoteError::NotSigned(_)))
    ));
    assert!(matches!(
        proof.verify("mebuku/other", &log.key.public_key()),
        Err(ProofError::Checkpoint(NoteError::OtherOrigin { .. }))
    ));
    // A later head of the same log, with the size made to match.
    let checkpoint = longer.prove(0).checkpoint;
    let moved = LogProof { checkpoint, size: 22, ..proof };
    assert!(matches!(log.verify(&moved), Err(ProofError::Inclusion(_))));
}

/// The log signed a leaf that commits to something else.
#[test]
fn what_the_tree_holds_but_is_no_record_is_named() {
    let key = TestKey::new(5);
    let (junk, salt) = (b"not a record".to_vec(), [1; 32]);
    let root = tree::leaf_hash(&commitment(&salt, &junk).0);
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 1, root };
    let checkpoint = checkpoint.sign(&key).unwrap().to_string();
    let nodes = BTreeMap::from([((0, 0), root)]);
    let proof = LogProof::new(&nodes, 0, &junk, &salt, 1, &checkpoint).unwrap();
    let result = proof.verify(ORIGIN, &key.public_key());
    assert!(matches!(result, Err(ProofError::Record(RecordError::Record(_)))));
}

#[test]
fn a_cosigned_checkpoint_proves_the_same() {
    let log = TestLog::new(21);
    let mut proof = log.prove(3);
    let mut note = SignedNote::parse(proof.checkpoint.as_bytes()).unwrap();
    let witness = SignedNote::sign(note.text().into(), "witness", &TestKey::new(8)).unwrap();
    note.add(witness.signatures()[0].clone()).unwrap();
    proof.checkpoint = note.to_string();
    assert_eq!(log.verify(&proof), log.verify(&log.prove(3)));
}

#[test]
fn every_flipped_bit_of_an_encoded_proof_is_refused() {
    let log = TestLog::new(6);
    let bytes = log.prove(3).to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let verdict = LogProof::from_bytes(&flipped).and_then(|proof| log.verify(&proof));
        assert!(verdict.is_err(), "bit {bit}");
    }
    let long = vec![0; LogProof::LIMIT + 1];
    assert!(matches!(LogProof::from_bytes(&long), Err(ProofError::Encoding(_))));
}
