//! The keyed function behind the number: a verifiable OPRF (RFC 9497, suite P256-SHA256, mode
//! VOPRF). The keeper of the key sees a blinded element and learns nobody's identity; the asker
//! checks by a proof that the one known key was used.
//!
//! [`BlindedQuery`] and [`Evaluation`] stay as they are when the key is shared t-of-n among the
//! committee: its members' answers are checked and combined into an evaluation. Until then
//! [`SingleKeyFunction`] stands in, in testnets only.
//!
//! `voprf` speaks the older generation of the elliptic-curve crates: bytes cross this file's
//! border, types do not.

use std::fmt;

use p256_013::NistP256;
use rand_chacha_03::ChaCha20Rng;
use rand_core_06::{CryptoRng, RngCore, SeedableRng};
use voprf::{Error, Group, Proof, VoprfClient, VoprfServer};

use super::{CanonicalIdentity, Y};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("not a compressed point of P-256 (33 bytes)")]
    NotAPoint,
    #[error("not a proof of the number function (64 bytes)")]
    NotAProof,
    #[error("not a key of the number function (a P-256 scalar, 32 bytes)")]
    NotAKey,
    #[error("the proof does not match: the number was not computed with the network's key")]
    ProofDoesNotMatch,
    #[error("a number function with its key in one place is for testnets only")]
    SingleKeyOutsideTestnet,
    #[error("the number function has no value for this identity")]
    NoValue,
}

/// What the keeper of the key gets: a compressed SEC1 point that says nothing about the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlindedElement(pub [u8; 33]);

/// What the keeper answers: a compressed SEC1 point and the proof (c ‖ s) that the key belonging to
/// its public key was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Evaluation {
    pub element: [u8; 33],
    pub proof: [u8; 64],
}

/// An identity whose number was asked for, with the blinding: the asker's secret until the answer
/// comes. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct BlindedQuery {
    identity: CanonicalIdentity,
    client: VoprfClient<NistP256>,
}

impl fmt::Debug for BlindedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedQuery(..)")
    }
}

impl BlindedQuery {
    /// `seed` is 32 fresh random bytes, used for nothing else.
    pub fn new(
        identity: CanonicalIdentity,
        seed: [u8; 32],
    ) -> Result<(Self, BlindedElement), NumberError> {
        let (client, element) = blind(identity.as_bytes(), &mut ChaCha20Rng::from_seed(seed))?;
        Ok((Self { identity, client }, element))
    }

    /// Unblinds the answer. `public_key` is the function's, as the trust list has it (compressed
    /// SEC1 point); an answer made with another key is refused.
    pub fn finalize(&self, evaluation: &Evaluation, public_key: &[u8]) -> Result<Y, NumberError> {
        finalize(&self.client, self.identity.as_bytes(), evaluation, public_key).map(Y)
    }
}

fn blind<R: RngCore + CryptoRng>(
    input: &[u8],
    random: &mut R,
) -> Result<(VoprfClient<NistP256>, BlindedElement), NumberError> {
    let blinded = VoprfClient::blind(input, random).map_err(|_| NumberError::NoValue)?;
    let element = BlindedElement(blinded.message.serialize().into());
    Ok((blinded.state, element))
}

fn finalize(
    client: &VoprfClient<NistP256>,
    input: &[u8],
    evaluation: &Evaluation,
    public_key: &[u8],
) -> Result<[u8; 32], NumberError> {
    let element = voprf::EvaluationElement::deserialize(compressed(&evaluation.element)?)
        .map_err(|_| NumberError::NotAPoint)?;
    let proof = Proof::deserialize(&evaluation.proof).map_err(|_| NumberError::NotAProof)?;
    let public_key =
        NistP256::deserialize_elem(compressed(public_key)?).map_err(|_| NumberError::NotAPoint)?;
    let output =
        client.finalize(input, &element, &proof, public_key).map_err(|error| match error {
            Error::ProofVerification => NumberError::ProofDoesNotMatch,
            _ => NumberError::NoValue,
        })?;
    Ok(output.into())
}

/// The library reads every SEC1 form; on the wire there is one.
fn compressed(point: &[u8]) -> Result<&[u8], NumberError> {
    if point.len() == 33 { Ok(point) } else { Err(NumberError::NotAPoint) }
}

/// The number function with its whole key in one place: whoever holds it can number anybody, so it
/// exists in testnets only. `Debug` shows nothing; the key is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct SingleKeyFunction {
    server: VoprfServer<NistP256>,
}

impl fmt::Debug for SingleKeyFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SingleKeyFunction(..)")
    }
}

impl SingleKeyFunction {
    /// `key` is a P-256 scalar, 32 bytes big-endian; `testnet` is what the network's root says.
    pub fn new(key: &[u8], testnet: bool) -> Result<Self, NumberError> {
        if !testnet {
            return Err(NumberError::SingleKeyOutsideTestnet);
        }
        let key: &[u8; 32] = key.try_into().map_err(|_| NumberError::NotAKey)?;
        let server = VoprfServer::new_with_key(key).map_err(|_| NumberError::NotAKey)?;
        Ok(Self { server })
    }

    /// Derives the key from 32 random bytes (DeriveKeyPair, RFC 9497 section 3.2.1).
    pub fn from_seed(seed: &[u8; 32], info: &[u8], testnet: bool) -> Result<Self, NumberError> {
        if !testnet {
            return Err(NumberError::SingleKeyOutsideTestnet);
        }
        let server = VoprfServer::new_from_seed(seed, info).map_err(|_| NumberError::NotAKey)?;
        Ok(Self { server })
    }

    /// Compressed SEC1 point.
    pub fn public_key(&self) -> [u8; 33] {
        NistP256::serialize_elem(self.server.get_public_key()).into()
    }

    /// Answers a query. `seed` is 32 fresh random bytes.
    pub fn evaluate(&self, blinded: &[u8], seed: [u8; 32]) -> Result<Evaluation, NumberError> {
        // Two proofs with one nonce give the key away (as with ECDSA), so the nonce depends on the
        // key and the question too: a seed used twice by mistake does no harm.
        let nonce =
            wire::hash_parts("mebuku/number-proof/1", &[&seed, blinded, &self.server.serialize()]);
        self.evaluate_with(blinded, &mut ChaCha20Rng::from_seed(nonce.0))
    }

    fn evaluate_with<R: RngCore + CryptoRng>(
        &self,
        blinded: &[u8],
        random: &mut R,
    ) -> Result<Evaluation, NumberError> {
        let blinded = voprf::BlindedElement::deserialize(compressed(blinded)?)
            .map_err(|_| NumberError::NotAPoint)?;
        let answer = self.server.blind_evaluate(random, &blinded);
        let mut proof = [0; 64];
        proof.copy_from_slice(&answer.proof.serialize());
        Ok(Evaluation { element: answer.message.serialize().into(), proof })
    }
}

#[cfg(test)]
mod tests;
