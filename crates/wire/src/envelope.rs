//! The signed envelope. One signer: `COSE_Sign1`; a threshold of them: `COSE_Sign` (RFC 9052
//! sections 4.2 and 4.1), both untagged, in deterministic CBOR, with an empty unprotected header.
//!
//! The protected header holds `alg` (1), `kid` (4: SHA-256 of the signer's SubjectPublicKeyInfo)
//! and `typ` (16, RFC 9596: `mebuku/<name>;v=<version>`). The external_aad is the deterministic
//! CBOR array `["mebuku", type code, version, network id]`: nothing signed for one purpose or one
//! network passes in another.
//!
//! [`Signed`] is parsed but not checked; [`Verified`] can only be had from a check.

use ciborium::Value;
use coset::{
    AsCborValue, CoseSign, CoseSign1, CoseSign1Builder, CoseSignBuilder, CoseSignature,
    CoseSignatureBuilder, Header, HeaderBuilder, Label, ProtectedHeader,
    RegisteredLabelWithPrivate::Assigned, iana,
};

use crate::{
    cbor::{self, CborError},
    crypto::{PublicKey, SignatureBytes, sha256},
    ids::{Hash, KeyHash, NetworkId},
    registry::{Message, MessageType},
};

/// COSE header parameter `typ` (RFC 9596 section 2).
const TYP: i64 = 16;

/// Something that signs with one P-256 key: a file key, an HSM, a browser. May be slow.
pub trait Signer: Send + Sync {
    fn public_key(&self) -> PublicKey;
    /// ES256 over `message`, as r ‖ s.
    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError>;
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("the key store did not sign: {0}")]
pub struct SignError(pub String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("{expected}: {error}")]
    Encoding { expected: MessageType, error: CborError },
    #[error("{expected}: not a COSE envelope of this network's profile: {what}")]
    Profile { expected: MessageType, what: &'static str },
    #[error("expected a {expected}, version {version}, got `{got}`")]
    WrongType { expected: MessageType, version: u8, got: String },
    #[error("{0}: signed by another key than the one it was checked with")]
    OtherKey(MessageType),
    #[error("{0}: the signature does not match (altered, made for another purpose or network)")]
    BadSignature(MessageType),
    #[error("{what}: {valid} valid signatures of known keys, {threshold} needed")]
    BelowThreshold { what: MessageType, valid: usize, threshold: usize },
}

fn aad<M: Message>(network: &NetworkId) -> Vec<u8> {
    cbor::to_vec(&Value::Array(vec![
        Value::from("mebuku"),
        Value::from(M::TYPE.code()),
        Value::from(M::VERSION),
        Value::Bytes(network.0.to_vec()),
    ]))
}

fn typ<M: Message>() -> String {
    format!("mebuku/{};v={}", M::TYPE.name(), M::VERSION)
}

fn typ_header<M: Message>() -> HeaderBuilder {
    HeaderBuilder::new().value(TYP, Value::from(typ::<M>()))
}

fn signer_header<M: Message>(key: &KeyHash) -> Header {
    typ_header::<M>().algorithm(iana::Algorithm::ES256).key_id(key.0.to_vec()).build()
}

fn profile<M: Message>(what: &'static str) -> EnvelopeError {
    EnvelopeError::Profile { expected: M::TYPE, what }
}

/// Reads the key hash of a protected header, after checking that it says what this type's must say
/// and nothing else. An unknown version is refused by name.
fn check_header<M: Message>(protected: &ProtectedHeader) -> Result<KeyHash, EnvelopeError> {
    check_typ::<M>(&protected.header)?;
    if protected.header.alg != Some(Assigned(iana::Algorithm::ES256)) {
        return Err(profile::<M>("unknown algorithm suite"));
    }
    let key = KeyHash::try_from(&protected.header.key_id[..])
        .map_err(|_| profile::<M>("kid is not a key hash"))?;
    if protected.header != signer_header::<M>(&key) {
        return Err(profile::<M>("unexpected header parameters"));
    }
    check_header_bytes::<M>(protected)?;
    Ok(key)
}

/// The COSE reader takes a header however it is written; one object must have one encoding.
fn check_header_bytes<M: Message>(protected: &ProtectedHeader) -> Result<(), EnvelopeError> {
    match &protected.original_data {
        Some(bytes) if *bytes != encode(protected.header.clone()) => {
            Err(profile::<M>("the protected header is not in deterministic encoding"))
        }
        _ => Ok(()),
    }
}

fn check_typ<M: Message>(header: &Header) -> Result<(), EnvelopeError> {
    match header.rest.iter().find(|(label, _)| *label == Label::Int(TYP)) {
        Some((_, Value::Text(text))) if *text == typ::<M>() => Ok(()),
        Some((_, Value::Text(text))) if text.len() <= 64 => Err(EnvelopeError::WrongType {
            expected: M::TYPE,
            version: M::VERSION,
            got: text.chars().filter(|c| c.is_ascii_graphic()).collect(),
        }),
        _ => Err(profile::<M>("no typ header")),
    }
}

fn decode_envelope<M: Message, E: AsCborValue>(
    bytes: &[u8],
    limit: usize,
) -> Result<E, EnvelopeError> {
    let encoding = |error| EnvelopeError::Encoding { expected: M::TYPE, error };
    if bytes.len() > limit {
        let error = CborError::TooLarge { what: M::TYPE.name(), size: bytes.len(), limit };
        return Err(encoding(error));
    }
    let value = cbor::value_from_slice(bytes).map_err(encoding)?;
    E::from_cbor_value(value).map_err(|_| profile::<M>("wrong structure"))
}

fn decode_payload<M: Message>(payload: &Option<Vec<u8>>) -> Result<M, EnvelopeError> {
    let bytes = payload.as_deref().ok_or(profile::<M>("detached payload"))?;
    let encoding = |error| EnvelopeError::Encoding { expected: M::TYPE, error };
    let message: M = cbor::from_slice(bytes).map_err(encoding)?;
    // Serde also reads `None` from a field left out: a second encoding of the same message.
    if cbor::to_vec(&message) != bytes {
        return Err(encoding(CborError::NotDeterministic));
    }
    Ok(message)
}

fn encode(value: impl AsCborValue) -> Vec<u8> {
    cbor::to_vec(&value.to_cbor_value().expect("our own envelopes are well formed"))
}

/// A payload waiting for its signature.
pub struct Unsigned<M> {
    message: M,
    cose: CoseSign1,
    to_be_signed: Vec<u8>,
    key: KeyHash,
}

impl<M: Message> Unsigned<M> {
    pub fn new(message: M, network: &NetworkId, key: &PublicKey) -> Self {
        let key = key.key_hash();
        let cose = CoseSign1Builder::new()
            .protected(signer_header::<M>(&key))
            .payload(cbor::to_vec(&message))
            .build();
        let to_be_signed = cose.tbs_data(&aad::<M>(network));
        Self { message, cose, to_be_signed, key }
    }

    /// The Sig_structure (RFC 9052 section 4.4): the bytes to sign.
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    pub fn finish(mut self, signature: SignatureBytes) -> Signed<M> {
        self.cose.signature = signature.0.to_vec();
        Signed {
            bytes: encode(self.cose),
            message: self.message,
            id: sha256(&self.to_be_signed),
            key: self.key,
            signature,
            to_be_signed: self.to_be_signed,
        }
    }

    pub fn sign(self, signer: &dyn Signer) -> Result<Signed<M>, SignError> {
        let signature = signer.sign(&self.to_be_signed)?;
        Ok(self.finish(signature))
    }
}

/// A `COSE_Sign1` envelope, parsed. Its signature has **not** been checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Signed<M> {
    bytes: Vec<u8>,
    message: M,
    id: Hash,
    key: KeyHash,
    signature: SignatureBytes,
    to_be_signed: Vec<u8>,
}

impl<M: Message> Signed<M> {
    /// Signs in one step.
    pub fn new(message: M, network: &NetworkId, signer: &dyn Signer) -> Result<Self, SignError> {
        Unsigned::new(message, network, &signer.public_key()).sign(signer)
    }

    pub fn decode(bytes: &[u8], network: &NetworkId) -> Result<Self, EnvelopeError> {
        let cose: CoseSign1 = decode_envelope::<M, _>(bytes, M::LIMIT)?;
        let key = check_header::<M>(&cose.protected)?;
        if !cose.unprotected.is_empty() {
            return Err(profile::<M>("the unprotected header must be empty"));
        }
        let signature = SignatureBytes::try_from(&cose.signature[..])
            .map_err(|_| profile::<M>("an ES256 signature is 64 bytes long"))?;
        let message = decode_payload::<M>(&cose.payload)?;
        let to_be_signed = cose.tbs_data(&aad::<M>(network));
        Ok(Self {
            bytes: bytes.to_vec(),
            message,
            id: sha256(&to_be_signed),
            key,
            signature,
            to_be_signed,
        })
    }

    /// What the envelope claims, before any check: only to find the key to check it with.
    pub fn unverified(&self) -> &M {
        &self.message
    }

    /// The hash of the key that the protected header names.
    pub fn key(&self) -> KeyHash {
        self.key
    }

    /// SHA-256 of the Sig_structure: the object's id, the same whatever the signature's bytes.
    pub fn id(&self) -> Hash {
        self.id
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn verify(self, key: &PublicKey) -> Result<Verified<M>, EnvelopeError> {
        if key.key_hash() != self.key {
            return Err(EnvelopeError::OtherKey(M::TYPE));
        }
        key.verify(&self.to_be_signed, &self.signature)
            .map_err(|_| EnvelopeError::BadSignature(M::TYPE))?;
        Ok(Verified { signed: self, public_key: *key })
    }
}

impl<M: Message> std::fmt::Debug for Signed<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signed<{}>({})", M::TYPE, self.id)
    }
}

/// An envelope whose signature was checked with [`Verified::public_key`]. Whether that key may say
/// such a thing is the next question.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Verified<M: Message> {
    signed: Signed<M>,
    public_key: PublicKey,
}

impl<M: Message> Verified<M> {
    pub fn message(&self) -> &M {
        &self.signed.message
    }

    pub fn into_message(self) -> M {
        self.signed.message
    }

    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    pub fn key(&self) -> KeyHash {
        self.signed.key
    }

    pub fn id(&self) -> Hash {
        self.signed.id
    }

    pub fn bytes(&self) -> &[u8] {
        &self.signed.bytes
    }
}

/// A `COSE_Sign` envelope: one payload, signatures of several people, each attributable.
#[derive(Clone)]
pub struct MultiSigned<M> {
    cose: CoseSign,
    message: M,
}

/// By encoding: whether it was read or made here leaves no difference.
impl<M: Message> PartialEq for MultiSigned<M> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl<M: Message> Eq for MultiSigned<M> {}

impl<M: Message> MultiSigned<M> {
    pub fn new(message: M) -> Self {
        let cose = CoseSignBuilder::new()
            .protected(typ_header::<M>().build())
            .payload(cbor::to_vec(&message))
            .build();
        Self { cose, message }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let cose: CoseSign = decode_envelope::<M, _>(bytes, M::LIMIT)?;
        check_typ::<M>(&cose.protected.header)?;
        if cose.protected.header != typ_header::<M>().build() || !cose.unprotected.is_empty() {
            return Err(profile::<M>("unexpected header parameters"));
        }
        check_header_bytes::<M>(&cose.protected)?;
        for signature in &cose.signatures {
            check_header::<M>(&signature.protected)?;
            if !signature.unprotected.is_empty() {
                return Err(profile::<M>("the unprotected header must be empty"));
            }
        }
        let kids: Vec<_> = cose.signatures.iter().map(|s| &s.protected.header.key_id).collect();
        if kids.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(profile::<M>("signatures must be sorted by kid, each key once"));
        }
        let message = decode_payload::<M>(&cose.payload)?;
        Ok(Self { cose, message })
    }

    pub fn bytes(&self) -> Vec<u8> {
        encode(self.cose.clone())
    }

    pub fn unverified(&self) -> &M {
        &self.message
    }

    /// How many signatures it carries, of whatever keys. More than [`Self::signers`] gives means that
    /// some bytes of it are vouched for by nobody.
    pub fn signatures(&self) -> usize {
        self.cose.signatures.len()
    }

    /// SHA-256 of the payload: how lists refer to each other, and for a genesis root the network id.
    pub fn payload_hash(&self) -> Hash {
        sha256(self.cose.payload.as_deref().unwrap_or_default())
    }

    /// Adds a signature, replacing an earlier one by the same key.
    pub fn sign(&mut self, network: &NetworkId, signer: &dyn Signer) -> Result<(), SignError> {
        let key = signer.public_key().key_hash();
        let mut entry: CoseSignature =
            CoseSignatureBuilder::new().protected(signer_header::<M>(&key)).build();
        let to_be_signed = self.cose.tbs_data(&aad::<M>(network), &entry);
        entry.signature = signer.sign(&to_be_signed)?.0.to_vec();
        self.cose.signatures.retain(|s| s.protected.header.key_id != key.0);
        self.cose.signatures.push(entry);
        self.sort();
        Ok(())
    }

    /// Takes over the signatures of another copy of the same payload, of keys that have not signed here. None
    /// of them is checked.
    pub fn join(&mut self, other: &Self) {
        if self.payload_hash() != other.payload_hash() {
            return;
        }
        for signature in &other.cose.signatures {
            let kid = &signature.protected.header.key_id;
            if self.cose.signatures.iter().all(|known| known.protected.header.key_id != *kid) {
                self.cose.signatures.push(signature.clone());
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.cose
            .signatures
            .sort_by(|a, b| a.protected.header.key_id.cmp(&b.protected.header.key_id));
    }

    /// The keys among `keys` that validly signed. Every signature by one of them must be valid:
    /// a broken signature of a known key is an altered file, not a missing vote.
    pub fn signers(
        &self,
        network: &NetworkId,
        keys: &[PublicKey],
    ) -> Result<Vec<PublicKey>, EnvelopeError> {
        let aad = aad::<M>(network);
        let mut valid = Vec::new();
        for signature in &self.cose.signatures {
            let kid = &signature.protected.header.key_id;
            let Some(key) = keys.iter().find(|key| key.key_hash().0[..] == kid[..]) else {
                continue;
            };
            SignatureBytes::try_from(&signature.signature[..])
                .and_then(|bytes| key.verify(&self.cose.tbs_data(&aad, signature), &bytes))
                .map_err(|_| EnvelopeError::BadSignature(M::TYPE))?;
            valid.push(*key);
        }
        Ok(valid)
    }

    /// Passes if at least `threshold` of `keys` validly signed, each counted once. Signatures of
    /// other keys are not looked at: a new root carries those of the root before it, too.
    pub fn verify(
        &self,
        network: &NetworkId,
        keys: &[PublicKey],
        threshold: usize,
    ) -> Result<&M, EnvelopeError> {
        let valid = self.signers(network, keys)?.len();
        if threshold == 0 || valid < threshold {
            return Err(EnvelopeError::BelowThreshold { what: M::TYPE, valid, threshold });
        }
        Ok(&self.message)
    }
}

impl<M: Message> std::fmt::Debug for MultiSigned<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MultiSigned<{}>({} signatures)", M::TYPE, self.cose.signatures.len())
    }
}

#[cfg(test)]
mod tests;
