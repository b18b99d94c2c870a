//! Enrolment: the card answers the home's challenge, the home answers with an ID certificate and
//! `y`, the secret behind number and service ids.

use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    NetworkId, PublicKey, Timestamp, Unsigned,
    cbor::Bytes,
    citizen::{Challenge, Enrolment, EnrolmentReply, card_message},
};

use crate::{
    Wallet, WalletError,
    state::{IdKey, read_y},
};

/// A challenge taken up with a new ID key, waiting for the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentDraft {
    network: NetworkId,
    challenge: Challenge,
    id_key: PublicKey,
}

impl EnrolmentDraft {
    /// What the My Number Card has to sign (RSASSA-PKCS1-v1_5 with SHA-256).
    pub fn card_message(&self) -> Vec<u8> {
        card_message(&self.network, &self.challenge, &self.id_key)
    }

    /// The enrolment, for the new ID key to sign: which proves that the wallet holds it.
    pub fn with_card(self, certificate: Vec<u8>, signature: Vec<u8>) -> Unsigned<Enrolment> {
        let enrolment = Enrolment {
            challenge: self.challenge,
            id_key: self.id_key,
            card_certificate: Bytes(certificate),
            card_signature: Bytes(signature),
        };
        Unsigned::new(enrolment, &self.network, &self.id_key)
    }
}

impl Wallet {
    /// Takes up a challenge with a new ID key. Enrolling again (a renewed certificate, a new ID key)
    /// goes the same way.
    pub fn enrolment(
        &self,
        challenge: Challenge,
        id_key: PublicKey,
        at: Timestamp,
    ) -> Result<EnrolmentDraft, WalletError> {
        if at >= challenge.expires {
            return Err(WalletError::ChallengeOver);
        }
        Ok(EnrolmentDraft { network: *self.network(), challenge, id_key })
    }

    /// Keeps what the home answered, if the certificate is for `id_key`, hangs from a CA that may
    /// issue ID certificates, and names the number that follows from `y`.
    pub fn accept_enrolment(
        &mut self,
        id_key: &PublicKey,
        reply: EnrolmentReply,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<(), WalletError> {
        let chain = trust::verify_chain(&reply.chain, CertificateKind::Id, trust, at)
            .map_err(WalletError::Chain)?;
        if chain.public_key() != id_key {
            return Err(WalletError::OtherKey);
        }
        let LeafSubject::Id { number: certified } = chain.subject() else {
            return Err(WalletError::OtherSubject);
        };
        let number = read_y(&reply.y)?.number();
        if *certified != number.to_string() {
            return Err(WalletError::OtherNumber);
        }
        // A person keeps one number for life: a reply with another is for someone else.
        if self.id().is_ok_and(|id| id.number != number) {
            return Err(WalletError::NumberChanged);
        }
        let not_after = chain.not_after();
        self.set_id(IdKey { key: *id_key, chain: reply.chain, not_after, number, y: reply.y });
        Ok(())
    }
}
