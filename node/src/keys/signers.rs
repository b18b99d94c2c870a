//! What is done with an opened key: signing and sealing, all by aws-lc-rs.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    encoding::AsBigEndian,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use evidence::note::NoteSigner;
use wire::{PublicKey, SignError, SignatureBytes, Signer};
use zeroize::Zeroizing;

use super::{KeyError, KeyFile};

/// Signs with a P-256 key in memory.
pub struct P256Signer {
    key: EcdsaKeyPair,
    public_key: PublicKey,
    random: SystemRandom,
}

impl P256Signer {
    pub fn new(file: &KeyFile) -> Result<Self, KeyError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, file.pkcs8())
            .map_err(|_| file.broken())?;
        let public_key = PublicKey::from_sec1(key.public_key().as_ref())
            .map_err(|_| KeyError::Library("reading a public key"))?;
        Ok(Self { key, public_key, random: SystemRandom::new() })
    }
}

impl std::fmt::Debug for P256Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "P256Signer({:?})", self.public_key)
    }
}

impl Signer for P256Signer {
    fn public_key(&self) -> PublicKey {
        self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let failed = || SignError("the cryptographic library failed".into());
        let signature = self.key.sign(&self.random, message).map_err(|_| failed())?;
        SignatureBytes::try_from(signature.as_ref()).map_err(|_| failed())
    }
}

/// Signs with an Ed25519 key in memory: checkpoints, cosignatures, libp2p's handshake.
pub struct Ed25519Signer {
    key: Ed25519KeyPair,
    public_key: [u8; 32],
}

impl Ed25519Signer {
    pub fn new(file: &KeyFile) -> Result<Self, KeyError> {
        let key = Ed25519KeyPair::from_pkcs8(file.pkcs8()).map_err(|_| file.broken())?;
        let public_key = key
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::Library("reading a public key"))?;
        Ok(Self { key, public_key })
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// RFC 8032.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let failed = || SignError("the cryptographic library failed".into());
        let signature = self.key.try_sign(message).map_err(|_| failed())?;
        signature.as_ref().try_into().map_err(|_| failed())
    }

    /// The private key (RFC 8032 section 5.1.5), as libp2p takes it.
    pub fn seed(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        const FAILED: KeyError = KeyError::Library("reading a seed");
        let seed = self.key.seed().map_err(|_| FAILED)?;
        let bytes = seed.as_be_bytes().map_err(|_| FAILED)?;
        Ok(Zeroizing::new(bytes.as_ref().try_into().map_err(|_| FAILED)?))
    }
}

impl NoteSigner for Ed25519Signer {
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.sign(message)
    }
}

impl std::fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ed25519Signer({})", hex::encode(self.public_key))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("sealed data of an unknown format")]
    Format,
    #[error("sealed data does not open: another key, another place, or altered")]
    NotAuthentic,
    #[error("the cryptographic library failed while sealing")]
    Library,
}

/// Seals data at rest with AES-256-GCM and random nonces (good for 2³² seals per key).
pub struct SealingKey(RandomizedNonceKey);

/// Format byte of sealed data: AES-256-GCM, 12-byte nonce in front.
const SEALED_FORMAT: u8 = 1;

impl SealingKey {
    pub fn new(file: &KeyFile) -> Result<Self, KeyError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &file.secret()?[..])
            .map_err(|_| file.broken())?;
        Ok(Self(key))
    }

    /// `place` is where the data will lie (column and key): it opens nowhere else.
    /// Gives format byte, nonce, ciphertext, tag.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut data = plain.to_vec();
        let nonce = (self.0)
            .seal_in_place_append_tag(Aad::from(place), &mut data)
            .map_err(|_| SealError::Library)?;
        Ok([&[SEALED_FORMAT], &nonce.as_ref()[..], &data].concat())
    }

    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, data) = match sealed.split_first() {
            Some((&SEALED_FORMAT, rest)) => {
                rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Format)?
            }
            _ => return Err(SealError::Format),
        };
        let mut data = Zeroizing::new(data.to_vec());
        let length = (self.0)
            .open_in_place(Nonce::from(nonce), Aad::from(place), &mut data)
            .map_err(|_| SealError::NotAuthentic)?
            .len();
        data.truncate(length);
        Ok(data)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}
