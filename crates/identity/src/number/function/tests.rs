use super::*;
use crate::number::canonical::CanonicalIdentity;

/// All VOPRF-mode vectors of the suite (RFC 9497 appendix A.3.2).
const VECTORS: &str = include_str!("../../../vectors/rfc9497-p256-sha256-voprf.json");

/// Gives out exactly the bytes it was made of.
struct Scripted(Vec<u8>);

impl RngCore for Scripted {
    fn next_u32(&mut self) -> u32 {
        unreachable!("scalars are drawn as bytes")
    }
    fn next_u64(&mut self) -> u64 {
        unreachable!("scalars are drawn as bytes")
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<_>>());
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}
impl CryptoRng for Scripted {}

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn list(value: &serde_json::Value) -> Vec<Vec<u8>> {
    value.as_str().unwrap().split(',').map(|part| hex::decode(part).unwrap()).collect()
}

#[test]
fn every_voprf_vector_of_rfc_9497() {
    let suite: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(
        (suite["identifier"].as_str(), suite["mode"].as_u64()),
        (Some("P256-SHA256"), Some(1))
    );
    let function = SingleKeyFunction::new(&bytes(&suite["skSm"]), true).unwrap();
    let public_key = bytes(&suite["pkSm"]);
    assert_eq!(function.public_key()[..], public_key);
    let seed = bytes(&suite["seed"]).try_into().unwrap();
    let derived = SingleKeyFunction::from_seed(&seed, &bytes(&suite["keyInfo"]), true).unwrap();
    assert_eq!(derived.public_key(), function.public_key());

    let (mut single, mut batched) = (0, 0);
    for vector in suite["vectors"].as_array().unwrap() {
        let r = bytes(&vector["Proof"]["r"]);
        let proof = bytes(&vector["Proof"]["proof"]);
        let inputs = list(&vector["Input"]);
        let outputs = list(&vector["Output"]);
        let elements = list(&vector["EvaluationElement"]);
        assert_eq!(inputs.len() as u64, vector["Batch"].as_u64().unwrap());
        let mut clients = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let mut random = Scripted(list(&vector["Blind"])[i].clone());
            let (client, blinded) = blind(input, &mut random).unwrap();
            assert_eq!(blinded.0[..], list(&vector["BlindedElement"])[i]);
            let evaluation = function.evaluate_with(&blinded.0, &mut Scripted(r.clone())).unwrap();
            assert_eq!(evaluation.element[..], elements[i]);
            let output = finalize(&client, input, &evaluation, &public_key).unwrap();
            assert_eq!(output[..], outputs[i]);
            if inputs.len() == 1 {
                assert_eq!(evaluation.proof[..], proof);
                single += 1;
            }
            clients.push((client, blinded));
        }
        if inputs.len() > 1 {
            // Our protocol asks for one identity at a time; the batch proof is checked through the
            // library we stand on, both ways.
            let blinded: Vec<_> = (clients.iter())
                .map(|(_, b)| voprf::BlindedElement::<NistP256>::deserialize(&b.0).unwrap())
                .collect();
            let prepared: Vec<_> =
                function.server.batch_blind_evaluate_prepare(blinded.iter()).collect();
            let answer = function
                .server
                .batch_blind_evaluate_finish(&mut Scripted(r), blinded.iter(), &prepared)
                .unwrap();
            assert_eq!(answer.proof.serialize()[..], proof);
            let messages: Vec<_> = answer.messages.collect();
            let clients: Vec<_> = clients.into_iter().map(|(client, _)| client).collect();
            let key = NistP256::deserialize_elem(&public_key).unwrap();
            let proof = Proof::deserialize(&proof).unwrap();
            let found: Vec<Vec<u8>> =
                VoprfClient::batch_finalize(&inputs, &clients, &messages, &proof, key)
                    .unwrap()
                    .map(|output| output.unwrap().to_vec())
                    .collect();
            assert_eq!(found, outputs);
            batched += 1;
        }
    }
    // As many as the RFC prints: none skipped.
    assert_eq!((single, batched), (2, 1));
}

fn identity() -> CanonicalIdentity {
    use crate::jpki::{BirthDate, CardAttributes, Era, Gender};
    CanonicalIdentity::new(&CardAttributes {
        name: "山田　花子".into(),
        birth_date: BirthDate::new(Era::Heisei, 1990, 4, 1).unwrap(),
        gender: Gender::Female,
        address: "群馬県前橋市大手町２－１２－１".into(),
        name_substituted: vec![false; 5],
        address_substituted: vec![false; 15],
    })
    .unwrap()
}

#[test]
fn the_blinding_and_the_nonce_do_not_show_in_the_result() {
    let function = SingleKeyFunction::from_seed(&[7; 32], b"", true).unwrap();
    let ask = |seed, nonce| {
        let (query, blinded) = BlindedQuery::new(identity(), seed).unwrap();
        let evaluation = function.evaluate(&blinded.0, nonce).unwrap();
        (blinded, query.finalize(&evaluation, &function.public_key()).unwrap())
    };
    let (first, y) = ask([1; 32], [2; 32]);
    let (second, again) = ask([3; 32], [4; 32]);
    assert_ne!(first, second);
    assert!(y == again);
    let other = SingleKeyFunction::from_seed(&[8; 32], b"", true).unwrap();
    let (query, blinded) = BlindedQuery::new(identity(), [1; 32]).unwrap();
    let evaluation = other.evaluate(&blinded.0, [2; 32]).unwrap();
    assert!(query.finalize(&evaluation, &other.public_key()).unwrap() != y);
}

#[test]
fn an_answer_by_another_key_or_altered_is_refused() {
    let function = SingleKeyFunction::from_seed(&[7; 32], b"", true).unwrap();
    let other = SingleKeyFunction::from_seed(&[8; 32], b"", true).unwrap();
    let (query, blinded) = BlindedQuery::new(identity(), [1; 32]).unwrap();
    let good = function.evaluate(&blinded.0, [2; 32]).unwrap();
    let key = function.public_key();
    assert!(query.finalize(&good, &key).is_ok());

    let refused =
        |evaluation: &Evaluation, key: &[u8]| query.finalize(evaluation, key).unwrap_err();
    let foreign = other.evaluate(&blinded.0, [2; 32]).unwrap();
    assert_eq!(refused(&foreign, &key), NumberError::ProofDoesNotMatch);
    assert_eq!(refused(&good, &other.public_key()), NumberError::ProofDoesNotMatch);
    // The right proof beside another element, and the negated element.
    let swapped = Evaluation { element: foreign.element, ..good };
    assert_eq!(refused(&swapped, &key), NumberError::ProofDoesNotMatch);
    let mut negated = good;
    negated.element[0] ^= 1;
    assert_eq!(refused(&negated, &key), NumberError::ProofDoesNotMatch);
    for i in 0..64 {
        let mut altered = good;
        altered.proof[i] ^= 0x10;
        assert!(matches!(
            refused(&altered, &key),
            NumberError::ProofDoesNotMatch | NumberError::NotAProof
        ));
    }
    // An answer to someone else's query.
    let (_, strange) = BlindedQuery::new(identity(), [9; 32]).unwrap();
    let strange = function.evaluate(&strange.0, [2; 32]).unwrap();
    assert_eq!(refused(&strange, &key), NumberError::ProofDoesNotMatch);
}

#[test]
fn what_is_no_point_key_or_proof_is_refused() {
    let function = SingleKeyFunction::from_seed(&[7; 32], b"", true).unwrap();
    let (query, blinded) = BlindedQuery::new(identity(), [1; 32]).unwrap();
    let good = function.evaluate(&blinded.0, [2; 32]).unwrap();
    let point = |bytes: &[u8]| function.evaluate(bytes, [2; 32]).unwrap_err();
    assert_eq!(point(&[]), NumberError::NotAPoint);
    assert_eq!(point(&[0]), NumberError::NotAPoint, "the point at infinity");
    assert_eq!(point(&[0; 33]), NumberError::NotAPoint);
    assert_eq!(point(&[0xff; 33]), NumberError::NotAPoint);
    assert_eq!(point(&[&[4][..], &[1; 64]].concat()), NumberError::NotAPoint);
    let zero_proof = Evaluation { proof: [0; 64], ..good };
    assert!(query.finalize(&zero_proof, &function.public_key()).is_err());
    assert_eq!(query.finalize(&good, &[2; 32]).unwrap_err(), NumberError::NotAPoint);
    for key in [&[0; 32][..], &[0xff; 32], &[1; 31], &[]] {
        assert_eq!(SingleKeyFunction::new(key, true).unwrap_err(), NumberError::NotAKey);
    }
}

#[test]
fn a_key_in_one_place_is_refused_outside_a_testnet() {
    let refused = NumberError::SingleKeyOutsideTestnet;
    assert_eq!(SingleKeyFunction::new(&[1; 32], false).unwrap_err(), refused);
    assert_eq!(SingleKeyFunction::from_seed(&[1; 32], b"", false).unwrap_err(), refused);
}

#[test]
fn a_seed_used_twice_gives_other_nonces() {
    let function = SingleKeyFunction::from_seed(&[7; 32], b"", true).unwrap();
    let (_, first) = BlindedQuery::new(identity(), [1; 32]).unwrap();
    let (_, second) = BlindedQuery::new(identity(), [2; 32]).unwrap();
    let proofs = [first, second].map(|b| function.evaluate(&b.0, [5; 32]).unwrap().proof);
    // s = r − c·k: with one r the two challenges and responses would solve for k. The commitments
    // are not visible here, but the same question gives the same proof and another one does not.
    assert_ne!(proofs[0], proofs[1]);
    assert_eq!(proofs[0], function.evaluate(&first.0, [5; 32]).unwrap().proof);
    assert_ne!(proofs[0], function.evaluate(&first.0, [6; 32]).unwrap().proof);
}
