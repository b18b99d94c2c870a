//! One full and one minimal example of every message, and every variant of every choice. The CDDL
//! is checked against them, and the golden vectors in `specs/vectors` are made of them.
//! All keys, ids and times are fixed: the same bytes come out on every run.

mod consent;
mod network;
mod notice;
mod wallet;

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde::{Serialize, de::DeserializeOwned};
use wire::{
    Bytes, Hash, Message, MultiSigned, NetworkId, Nonce, Pair, PublicKey, ServiceId, ServiceName,
    SignError, SignatureBytes, Signed, Signer, Timestamp, cbor, consent::Attested,
};

pub struct Example {
    /// `<rule>-<what is shown>`, and the file name of its vector.
    pub name: String,
    /// The CDDL rule that it must match.
    pub rule: &'static str,
    pub bytes: Vec<u8>,
    /// Whether the reader takes these bytes for the same type.
    pub reads: fn(&[u8]) -> bool,
    /// For a signed object: its id, or for several signers the hash of its payload.
    pub id: Option<Hash>,
}

pub fn all() -> Vec<Example> {
    let all = [consent::examples(), notice::examples(), network::examples(), wallet::examples()];
    all.into_iter().flatten().collect()
}

/// An example of `message`, after checking that CBOR and JSON both give it back.
fn plain<T>(rule: &'static str, shown: &str, message: &T) -> Example
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = cbor::to_vec(message);
    assert_eq!(&cbor::from_slice::<T>(&bytes).unwrap(), message, "{rule} {shown} in CBOR");
    let json = serde_json::to_string(message).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), message, "{rule} {shown} in JSON");
    let reads = |bytes: &[u8]| cbor::from_slice::<T>(bytes).is_ok();
    Example { name: format!("{rule}-{shown}"), rule, bytes, reads, id: None }
}

/// An envelope around `message`, signed with key 1.
fn signed<M: Message + Clone + PartialEq + std::fmt::Debug>(
    rule: &'static str,
    shown: &str,
    message: &M,
) -> Example {
    let signed = sign(message, 1);
    let read = Signed::<M>::decode(signed.bytes(), &NETWORK).unwrap();
    let verified = read.verify(&key(1).public_key()).unwrap();
    assert_eq!((verified.message(), verified.id()), (message, signed.id()));
    Example {
        name: format!("{rule}-{shown}"),
        rule,
        bytes: signed.bytes().to_vec(),
        reads: |bytes| Signed::<M>::decode(bytes, &NETWORK).is_ok(),
        id: Some(signed.id()),
    }
}

/// An envelope of several signers.
fn multi_signed<M: Message + Clone + PartialEq + std::fmt::Debug>(
    rule: &'static str,
    shown: &str,
    message: &M,
    seeds: &[u8],
) -> Example {
    let envelope = multi_sign(message, seeds);
    let keys: Vec<PublicKey> = seeds.iter().map(|seed| key(*seed).public_key()).collect();
    if !seeds.is_empty() {
        assert_eq!(envelope.verify(&NETWORK, &keys, keys.len()), Ok(message));
    }
    Example {
        name: format!("{rule}-{shown}"),
        rule,
        bytes: envelope.bytes(),
        reads: |bytes| MultiSigned::<M>::decode(bytes).is_ok(),
        id: Some(envelope.payload_hash()),
    }
}

pub const NETWORK: NetworkId = NetworkId([0x4e; 32]);

/// 2026-04-01T00:00:00Z.
const NOON: Timestamp = Timestamp::from_secs(1_775_001_600);

/// A signing key of 32 equal bytes; signatures follow RFC 6979.
pub struct Key(SigningKey);

pub fn key(seed: u8) -> Key {
    Key(SigningKey::from_slice(&[seed; 32]).unwrap())
}

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_sec1(self.0.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let signature: Signature = self.0.sign(message);
        Ok(SignatureBytes(signature.to_bytes().into()))
    }
}

fn sign<M: Message + Clone>(message: &M, seed: u8) -> Signed<M> {
    Signed::new(message.clone(), &NETWORK, &key(seed)).unwrap()
}

fn multi_sign<M: Message + Clone>(message: &M, seeds: &[u8]) -> MultiSigned<M> {
    let mut envelope = MultiSigned::new(message.clone());
    for seed in seeds {
        envelope.sign(&NETWORK, &key(*seed)).unwrap();
    }
    envelope
}

fn bytes_of<M: Message + Clone>(message: &M) -> Bytes {
    Bytes(sign(message, 1).bytes().to_vec())
}

fn attested<M: Message + Clone>(message: &M) -> Attested {
    Attested { object: bytes_of(message), chain: chain() }
}

/// Stands for DER certificates: this crate carries them unread.
fn chain() -> Vec<Bytes> {
    vec![Bytes(vec![0x30, 0x03, 0x02, 0x01, 0x01]), Bytes(vec![0x30, 0x03, 0x02, 0x01, 0x02])]
}

fn source() -> ServiceName {
    "7000012050002/school-lunch".parse().unwrap()
}

fn recipient() -> ServiceName {
    "1180301018771/reception".parse().unwrap()
}

fn subject(byte: u8) -> ServiceId {
    ServiceId([byte; 32])
}

fn pair() -> Pair {
    Pair { source: source(), subject: subject(0xa1) }
}

fn nonce(byte: u8) -> Nonce {
    Nonce([byte; 16])
}
