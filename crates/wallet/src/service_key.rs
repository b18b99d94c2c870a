//! Service certificates: a key of its own for each service and phone, tied by the CA to the
//! citizen's id at that service and to nothing else.

use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    KeyHash, Nonce, OrganisationId, PublicKey, ServiceName, Signed, Timestamp, Unsigned,
    cbor::Bytes,
    citizen::{ServiceKeyProof, ServiceKeyReply, ServiceKeyRequest},
};

use crate::{Home, Wallet, WalletError, state::ServiceKey};

impl Wallet {
    /// For the new key to sign: that it wants to be certified at `service` for this ID key.
    pub fn service_key_proof(
        &self,
        service: &ServiceName,
        key: &PublicKey,
    ) -> Result<Unsigned<ServiceKeyProof>, WalletError> {
        let proof = ServiceKeyProof { service: service.clone(), id_key: self.id()?.key.key_hash() };
        Ok(Unsigned::new(proof, self.network(), key))
    }

    /// For the ID key to sign: certify the key behind `proof` for my id at its service.
    pub fn service_key_request(
        &self,
        key: &PublicKey,
        proof: &Signed<ServiceKeyProof>,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<ServiceKeyRequest>, WalletError> {
        let id = self.id()?;
        let ServiceKeyProof { service, id_key } = proof.unverified();
        check_signer(&key.key_hash(), &proof.key())?;
        check_signer(&id.key.key_hash(), id_key)?;
        let request = ServiceKeyRequest {
            service: service.clone(),
            proof: Bytes(proof.bytes().to_vec()),
            key: *key,
            y: self.y_bytes()?,
            nonce,
            time: at,
        };
        Ok(Unsigned::new(request, self.network(), &id.key))
    }

    /// Keeps the certificate, if it is for `key`, for `service`, and for the service id that follows
    /// from `y`. It replaces an earlier key at that service. Returns whether the key was begun: if
    /// not, an earlier key of the pair must approve it before it may permit.
    pub fn accept_service_key(
        &mut self,
        service: &ServiceName,
        key: &PublicKey,
        reply: ServiceKeyReply,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<bool, WalletError> {
        let ServiceKeyReply { subject, chain, begun } = reply;
        let expected = self.y()?.service_id(service);
        let verified = trust::verify_chain(&chain, CertificateKind::Service, trust, at)
            .map_err(WalletError::Chain)?;
        if verified.public_key() != key {
            return Err(WalletError::OtherKey);
        }
        match verified.subject() {
            LeafSubject::Service { service: certified, subject: certified_subject, .. }
                if certified == service
                    && *certified_subject == expected
                    && subject == expected => {}
            _ => return Err(WalletError::OtherSubject),
        }
        let not_after = verified.not_after();
        let own = ServiceKey { key: *key, subject, chain, not_after, begun, acting: None };
        self.set_service(service.clone(), own);
        Ok(begun)
    }
}

impl Wallet {
    /// Which municipality's CA certified the key at `service`: whom to ask how the certificate stands.
    pub fn certified_by(
        &self,
        service: &ServiceName,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<&Home, WalletError> {
        let chain = &self.service(service)?.chain;
        let verified = trust::verify_chain(chain, CertificateKind::Service, trust, at)
            .map_err(WalletError::Chain)?;
        let issuer = verified.issuing_organisation();
        self.home_by(issuer).ok_or_else(|| WalletError::UnknownIssuer(issuer.clone()))
    }

    /// Which organisation's CA issued the ID certificate.
    pub fn enrolled_by(&self, trust: &Trust, at: Timestamp) -> Result<OrganisationId, WalletError> {
        let verified = trust::verify_chain(self.id()?.chain(), CertificateKind::Id, trust, at)
            .map_err(WalletError::Chain)?;
        Ok(verified.issuing_organisation().clone())
    }
}

fn check_signer(expected: &KeyHash, got: &KeyHash) -> Result<(), WalletError> {
    if expected == got {
        Ok(())
    } else {
        Err(WalletError::WrongSigner { expected: *expected, got: *got })
    }
}
