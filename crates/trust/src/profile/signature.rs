//! Key identifiers and ECDSA signatures of certificates, each in its one spelling.

use const_oid::ObjectIdentifier;
use der::{
    Decode, Encode, Sequence,
    asn1::{BitString, Uint},
};
use wire::{PublicKey, SignatureBytes, sha256};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::ProfileError;

/// ecdsa-with-SHA256 (RFC 5758 section 3.2), always without parameters.
pub(crate) const ECDSA_WITH_SHA_256: ObjectIdentifier = const_oid::db::rfc5912::ECDSA_WITH_SHA_256;

/// RFC 7093 section 2, method 1: the first 160 bits of SHA-256 over the key's bits.
pub(crate) fn key_identifier(key: &PublicKey) -> [u8; 20] {
    let hash = sha256(key.sec1());
    let mut identifier = [0; 20];
    identifier.copy_from_slice(&hash.0[..20]);
    identifier
}

/// Order of P-256 (SEC 2 section 2.4.2), and half of it rounded down.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Ecdsa-Sig-Value (RFC 3279 section 2.2.3).
#[derive(Sequence)]
struct EcdsaSignature {
    r: Uint,
    s: Uint,
}

/// Writes a signature in DER with the smaller of its two `s`: (r, s) and (r, n − s) both match, and
/// a certificate with two spellings would slip past a denylist of hashes.
pub(crate) fn encode_signature(signature: &SignatureBytes) -> Result<Vec<u8>, der::Error> {
    let (r, s) = signature.0.split_at(32);
    let mut low: [u8; 32] = s.try_into().expect("half of 64 bytes");
    if low > HALF_ORDER {
        low = negate(&low);
    }
    EcdsaSignature { r: Uint::new(r)?, s: Uint::new(&low)? }.to_der()
}

/// n − s, for s < n.
fn negate(s: &[u8; 32]) -> [u8; 32] {
    let mut out = [0; 32];
    let mut borrow = false;
    for i in (0..32).rev() {
        let (difference, under) = ORDER[i].overflowing_sub(s[i]);
        let (difference, under_again) = difference.overflowing_sub(u8::from(borrow));
        out[i] = difference;
        borrow = under || under_again;
    }
    out
}

/// Checks an ecdsa-with-SHA256 signature of a certificate; only the spelling that
/// [`encode_signature`] writes is taken.
pub(crate) fn verify_signature(
    key: &PublicKey,
    message: &[u8],
    algorithm: &AlgorithmIdentifierOwned,
    signature: &BitString,
) -> Result<(), ProfileError> {
    const BAD: ProfileError = ProfileError("the signature does not match");
    if algorithm.oid != ECDSA_WITH_SHA_256 || algorithm.parameters.is_some() {
        return Err(ProfileError("signed with another algorithm than ecdsa-with-SHA256"));
    }
    let der = signature.as_bytes().ok_or(BAD)?;
    let parsed = EcdsaSignature::from_der(der).map_err(|_| BAD)?;
    let mut bytes = [0; 64];
    for (part, half) in [parsed.r.as_bytes(), parsed.s.as_bytes()].iter().zip(bytes.chunks_mut(32))
    {
        let start = half.len().checked_sub(part.len()).ok_or(BAD)?;
        half[start..].copy_from_slice(part);
    }
    let bytes = SignatureBytes(bytes);
    if encode_signature(&bytes).map_err(|_| BAD)? != der {
        return Err(ProfileError("the signature is not in its one canonical form (low s, DER)"));
    }
    #[cfg(test)]
    VERIFICATIONS.set(VERIFICATIONS.get() + 1);
    key.verify(message, &bytes).map_err(|_| BAD)
}

#[cfg(test)]
thread_local! {
    /// How many signatures this thread had to verify: bounded work is counted in tests.
    pub(crate) static VERIFICATIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The other signature that matches, which must not pass: for tests.
#[cfg(test)]
pub(crate) fn twin_signature(der: &[u8]) -> Vec<u8> {
    let EcdsaSignature { r, s } = EcdsaSignature::from_der(der).expect("DER");
    let mut full = [0; 32];
    full[32 - s.as_bytes().len()..].copy_from_slice(s.as_bytes());
    let s = Uint::new(&negate(&full)).expect("short");
    EcdsaSignature { r, s }.to_der().expect("encodes")
}
