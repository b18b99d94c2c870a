//! The registration authority's machine: from a challenge to a [`ProofedCitizen`]
//! (`specs/07-identity.md`, section 2).
//!
//! A challenge is good for one attempt: its nonce is burnt before anything else is checked, so a
//! failed attempt teaches nothing and cannot be tried again.

use std::{collections::BTreeMap, fmt};

use wire::{
    EnvelopeError, Hash, NetworkId, Nonce, OrganisationId, PublicKey, Signed, Timestamp, Verified,
    citizen::{Challenge, Enrolment, card_message},
};

use crate::{
    jpki::{
        CardAttributes, CardError, CheckedCard, CouldNotCheck, JpkiRoots, StatusError,
        check_certificate, check_status,
    },
    number::{CanonicalIdentity, NoCanonicalIdentity},
};

/// How long a challenge is open, in milliseconds: time to put the card on the reader and type its
/// password.
pub const CHALLENGE_VALIDITY_MS: u64 = 10 * 60 * 1000;
/// Most challenges open at once at one registrar.
pub const OPEN_CHALLENGES: usize = 16 * 1024;

/// The open challenges of one registration authority. A restart that loses them does no harm:
/// wallets ask anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Registrar {
    organisation: OrganisationId,
    network: NetworkId,
    /// Nonce to expiry.
    open: BTreeMap<Nonce, Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    #[error("too many challenges are open; try again in a few minutes")]
    TooMany,
    #[error("a nonce was used twice: the source of randomness is broken")]
    NonceUsedTwice,
}

/// What is known of the card's revocation status when an enrolment is checked.
#[derive(Debug, Clone, Copy)]
pub enum CardStatus<'a> {
    /// A revocation list (DER) of the CA that issued the card, at most `max_age_ms` old.
    List { der: &'a [u8], max_age_ms: u64 },
    /// Nothing was to be had, which is a refusal.
    NoAnswer,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    #[error("the enrolment cannot be read: {0}")]
    Envelope(EnvelopeError),
    #[error("the challenge is not open here: never given, already used, or too old")]
    UnknownChallenge,
    #[error("the challenge was altered")]
    AlteredChallenge,
    #[error("the challenge has expired")]
    ExpiredChallenge,
    #[error("the enrolment is not signed by the ID key that it names: {0}")]
    NoProofOfPossession(EnvelopeError),
    #[error("{0}")]
    Card(CardError),
    #[error("the card's signature is not over this challenge and this ID key")]
    CardSignature,
    #[error("{0}")]
    Status(StatusError),
    #[error("{0}")]
    Identity(NoCanonicalIdentity),
}

/// A person whom their card proved to be the one who holds `id_key`: signature, chain, revocation
/// status and challenge have been checked. Personal data: `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProofedCitizen {
    enrolment: Verified<Enrolment>,
    card: CheckedCard,
    identity: CanonicalIdentity,
    time: Timestamp,
}

impl ProofedCitizen {
    pub fn attributes(&self) -> &CardAttributes {
        self.card.attributes()
    }

    /// The key to certify.
    pub fn id_key(&self) -> &PublicKey {
        &self.enrolment.message().id_key
    }

    /// SHA-256 of the card's signing certificate.
    pub fn certificate_hash(&self) -> Hash {
        self.card.hash()
    }

    /// What the number is computed from.
    pub fn identity(&self) -> &CanonicalIdentity {
        &self.identity
    }

    /// The card's certificate, to notice its revocation later.
    pub fn card(&self) -> &CheckedCard {
        &self.card
    }

    /// The evidence as it came in: for the proofing store, and nowhere else.
    pub fn enrolment(&self) -> &Verified<Enrolment> {
        &self.enrolment
    }

    pub fn proofed_at(&self) -> Timestamp {
        self.time
    }
}

impl fmt::Debug for ProofedCitizen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofedCitizen({:?})", self.id_key())
    }
}

/// An enrolment in which all is proven but the card's revocation status, for an adapter that has to
/// go and ask for that one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitingStatus {
    enrolment: Verified<Enrolment>,
    card: CheckedCard,
    identity: CanonicalIdentity,
}

impl AwaitingStatus {
    /// Whose status is wanted.
    pub fn card(&self) -> &CheckedCard {
        &self.card
    }

    pub fn complete(
        self,
        status: CardStatus<'_>,
        now: Timestamp,
    ) -> Result<ProofedCitizen, EnrolmentError> {
        let verdict = match status {
            CardStatus::List { der, max_age_ms } => check_status(der, &self.card, now, max_age_ms),
            CardStatus::NoAnswer => Err(CouldNotCheck::NoAnswer.into()),
        };
        verdict.map_err(EnrolmentError::Status)?;
        let Self { enrolment, card, identity } = self;
        Ok(ProofedCitizen { enrolment, card, identity, time: now })
    }
}

impl Registrar {
    pub fn new(organisation: OrganisationId, network: NetworkId) -> Self {
        Self { organisation, network, open: BTreeMap::new() }
    }

    /// Opens a challenge. `nonce` is fresh randomness.
    pub fn open_challenge(
        &mut self,
        nonce: Nonce,
        now: Timestamp,
    ) -> Result<Challenge, ChallengeError> {
        self.open.retain(|_, expires| now < *expires);
        if self.open.len() >= OPEN_CHALLENGES {
            return Err(ChallengeError::TooMany);
        }
        let expires = now.plus_ms(CHALLENGE_VALIDITY_MS);
        if self.open.insert(nonce, expires).is_some() {
            return Err(ChallengeError::NonceUsedTwice);
        }
        Ok(Challenge { registrar: self.organisation.clone(), nonce, expires })
    }

    /// How many challenges wait for their answer.
    pub fn open_challenges(&self) -> usize {
        self.open.len()
    }

    /// Checks a signed [`Enrolment`] for which the card's status is at hand.
    pub fn check_enrolment(
        &mut self,
        bytes: &[u8],
        roots: &JpkiRoots,
        status: CardStatus<'_>,
        now: Timestamp,
    ) -> Result<ProofedCitizen, EnrolmentError> {
        self.check_all_but_status(bytes, roots, now)?.complete(status, now)
    }

    /// Checks a signed [`Enrolment`] up to the card's revocation status.
    pub fn check_all_but_status(
        &mut self,
        bytes: &[u8],
        roots: &JpkiRoots,
        now: Timestamp,
    ) -> Result<AwaitingStatus, EnrolmentError> {
        let signed: Signed<Enrolment> =
            Signed::decode(bytes, &self.network).map_err(EnrolmentError::Envelope)?;
        // Burnt first: whatever comes out below, this challenge is spent.
        let challenge = &signed.unverified().challenge;
        let expires = self.open.remove(&challenge.nonce).ok_or(EnrolmentError::UnknownChallenge)?;
        if challenge.registrar != self.organisation || challenge.expires != expires {
            return Err(EnrolmentError::AlteredChallenge);
        }
        if now >= expires {
            return Err(EnrolmentError::ExpiredChallenge);
        }
        let id_key = signed.unverified().id_key;
        let enrolment = signed.verify(&id_key).map_err(EnrolmentError::NoProofOfPossession)?;
        let message = enrolment.message();
        let card = check_certificate(&message.card_certificate, roots, now)
            .map_err(EnrolmentError::Card)?;
        let to_be_signed = card_message(&self.network, &message.challenge, &id_key);
        card.verify(&to_be_signed, &message.card_signature)
            .map_err(|_| EnrolmentError::CardSignature)?;
        let identity =
            CanonicalIdentity::new(card.attributes()).map_err(EnrolmentError::Identity)?;
        Ok(AwaitingStatus { enrolment, card, identity })
    }
}

#[cfg(test)]
mod tests;
