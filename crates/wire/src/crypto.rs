//! The one place that chooses the cryptography: aws-lc-rs, three to four times the speed of the
//! pure-Rust crates. Verification only: whoever signs stands outside, behind [`crate::Signer`].

use aws_lc_rs::{digest, signature};
use serde::{Deserialize, Serialize};

use crate::{
    cbor,
    ids::{Hash, KeyHash},
};

/// A P-256 public key as an uncompressed SEC1 point (65 bytes, first byte `0x04`). Uncompressed,
/// because checking a signature then needs no square root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 65]);

/// DER of a P-256 SubjectPublicKeyInfo up to the point (RFC 5480 section 2).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 public key (uncompressed SEC1 point, 65 bytes)")]
pub struct NotAKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct BadSignature;

impl PublicKey {
    /// Takes an uncompressed SEC1 point. Whether the point lies on the curve shows when a signature
    /// is checked with it.
    pub fn from_sec1(point: &[u8]) -> Result<Self, NotAKey> {
        let point: [u8; 65] = point.try_into().map_err(|_| NotAKey)?;
        if point[0] == 4 { Ok(Self(point)) } else { Err(NotAKey) }
    }

    /// Takes a DER SubjectPublicKeyInfo (RFC 5480).
    pub fn from_spki(der: &[u8]) -> Result<Self, NotAKey> {
        der.strip_prefix(&SPKI_PREFIX).ok_or(NotAKey).and_then(Self::from_sec1)
    }

    pub fn sec1(&self) -> &[u8; 65] {
        &self.0
    }

    pub fn to_spki(self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0[..]].concat()
    }

    /// SHA-256 of the DER SubjectPublicKeyInfo: how signed objects name the key that signed them.
    pub fn key_hash(&self) -> KeyHash {
        KeyHash(sha256(&self.to_spki()).0)
    }

    /// Checks an ES256 signature (RFC 7518 section 3.4: r ‖ s, 64 bytes) over `message`.
    pub fn verify(&self, message: &[u8], signature: &SignatureBytes) -> Result<(), BadSignature> {
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &self.0)
            .verify(message, &signature.0)
            .map_err(|_| BadSignature)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.key_hash())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        cbor::Bytes(self.0.to_vec()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = cbor::Bytes::deserialize(deserializer)?;
        Self::from_sec1(&bytes).map_err(serde::de::Error::custom)
    }
}

/// An ES256 signature: r ‖ s, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignatureBytes(pub [u8; 64]);

impl std::fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignatureBytes")
    }
}

impl TryFrom<&[u8]> for SignatureBytes {
    type Error = BadSignature;
    fn try_from(bytes: &[u8]) -> Result<Self, BadSignature> {
        bytes.try_into().map(Self).map_err(|_| BadSignature)
    }
}

/// Checks an RSASSA-PKCS1-v1_5 signature with SHA-256 (RFC 8017 section 8.2; JPKI cards).
/// `public_key` is a DER SubjectPublicKeyInfo or RSAPublicKey of 2048 to 8192 bits.
pub fn verify_rsa_sha256(
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public_key)
        .verify(message, signature)
        .map_err(|_| BadSignature)
}

/// Checks an Ed25519 signature (RFC 8032; log checkpoints and witness cosignatures).
pub fn verify_ed25519(
    public_key: &[u8; 32],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    signature::UnparsedPublicKey::new(&signature::ED25519, public_key)
        .verify(message, signature)
        .map_err(|_| BadSignature)
}

pub fn sha256(bytes: &[u8]) -> Hash {
    let digest = digest::digest(&digest::SHA256, bytes);
    Hash(digest.as_ref().try_into().expect("SHA-256 is 32 bytes long"))
}

/// SHA-256 over the deterministic CBOR array `[tag, bstr…]`: unambiguous, and one purpose's hash
/// never equals another's.
pub fn hash_parts(tag: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = digest::Context::new(&digest::SHA256);
    let mut head = Vec::with_capacity(16 + tag.len());
    write_head(&mut head, 4, parts.len() as u64 + 1);
    write_head(&mut head, 3, tag.len() as u64);
    head.extend_from_slice(tag.as_bytes());
    hasher.update(&head);
    for part in parts {
        head.clear();
        write_head(&mut head, 2, part.len() as u64);
        hasher.update(&head);
        hasher.update(part);
    }
    Hash(hasher.finish().as_ref().try_into().expect("SHA-256 is 32 bytes long"))
}

/// A CBOR head: major type and argument in the shortest form (RFC 8949 section 3).
fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend([major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
