//! The outer shape that certificates and revocation lists share: `SEQUENCE { body, algorithm,
//! signature }`, read from the original bytes, because the signature is over those.

use der::{Decode, Encode, Reader, SliceReader, asn1::BitStringRef, asn1::ObjectIdentifier};
use wire::Timestamp;
use x509_cert::{
    ext::{Extension, Extensions},
    serial_number::SerialNumber,
    spki::SubjectPublicKeyInfoOwned,
    time::Time,
};

/// DER of AlgorithmIdentifier `sha256WithRSAEncryption` with its NULL (RFC 4055 section 5).
pub(crate) const SHA256_WITH_RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
/// DER of AlgorithmIdentifier `rsaEncryption` with its NULL (RFC 3279 section 2.3.1).
pub(crate) const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

pub(super) struct SignedDer<'a> {
    /// The whole TLV that was signed.
    pub body: &'a [u8],
    /// The whole TLV of the outer AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    pub signature: &'a [u8],
}

pub(super) fn split_signed(der: &[u8]) -> Result<SignedDer<'_>, der::Error> {
    let mut reader = SliceReader::new(der)?;
    let parts = reader.sequence(|inner| {
        let body = inner.tlv_bytes()?;
        let algorithm = inner.tlv_bytes()?;
        let signature = BitStringRef::decode(inner)?;
        let signature = signature.as_bytes().ok_or_else(|| der::Tag::BitString.value_error())?;
        Ok::<_, der::Error>(SignedDer { body, algorithm, signature })
    })?;
    reader.finish()?;
    Ok(parts)
}

/// The SubjectPublicKeyInfo as DER, if it is RSA with exactly 2048 bits and e = 65537.
pub(super) fn rsa_2048(spki: &SubjectPublicKeyInfoOwned) -> Option<Vec<u8>> {
    #[derive(der::Sequence)]
    struct RsaPublicKey<'a> {
        modulus: der::asn1::UintRef<'a>,
        exponent: der::asn1::UintRef<'a>,
    }
    if spki.algorithm.to_der().ok()? != RSA_ENCRYPTION {
        return None;
    }
    let key = RsaPublicKey::from_der(spki.subject_public_key.as_bytes()?).ok()?;
    let modulus = key.modulus.as_bytes();
    let full = modulus.len() == 256 && modulus[0] & 0x80 != 0;
    (full && key.exponent.as_bytes() == [1, 0, 1]).then(|| spki.to_der().ok()).flatten()
}

/// The one extension with this OID. `Err` if it stands twice, which RFC 5280 section 4.2 forbids.
pub(super) fn extension(
    extensions: &Extensions,
    oid: ObjectIdentifier,
) -> Result<Option<&Extension>, ObjectIdentifier> {
    let mut found = extensions.iter().filter(|extension| extension.extn_id == oid);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(oid),
        (first, None) => Ok(first),
    }
}

/// An OID that stands more than once among the extensions.
pub(super) fn repeated(extensions: &Extensions) -> Option<ObjectIdentifier> {
    let mut oids: Vec<_> = extensions.iter().map(|extension| extension.extn_id).collect();
    oids.sort();
    oids.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// A serial number as big-endian bytes without leading zeros (the sign's among them).
pub(super) fn serial(serial: &SerialNumber) -> &[u8] {
    let bytes = serial.as_bytes();
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

pub(super) fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_secs(time.to_unix_duration().as_secs())
}
