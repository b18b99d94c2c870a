//! The bytes of key files: PKCS#8 (RFC 5208) private keys under PBES2 (RFC 8018) with
//! PBKDF2-HMAC-SHA-256 and AES-256-CBC. What `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes is read,
//! and the other way round.

use std::num::NonZeroU32;

use aws_lc_rs::{
    cipher::{
        AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    iv::FixedLength,
};
use der::{
    Any, AnyRef, Decode, Encode, Reader, Sequence, SliceReader,
    asn1::{Null, ObjectIdentifier, OctetString, OctetStringRef},
};
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};
use zeroize::Zeroizing;

use super::{KeyKind, Passphrase};

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const AES256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");
const AES256_GCM: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.46");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// More rounds than anybody sets are a file made to keep the node busy.
const MOST_ROUNDS: u32 = 20_000_000;

/// RFC 5958 section 3.
#[derive(Sequence)]
struct EncryptedPrivateKeyInfo {
    algorithm: AlgorithmIdentifierOwned,
    data: OctetString,
}

/// RFC 8018 appendix A.4.
#[derive(Sequence)]
struct Pbes2 {
    key_derivation: AlgorithmIdentifierOwned,
    encryption: AlgorithmIdentifierOwned,
}

/// RFC 8018 appendix A.2, without the choice of another salt source.
#[derive(Sequence)]
struct Pbkdf2 {
    salt: OctetString,
    rounds: u32,
    #[asn1(optional = "true")]
    key_length: Option<u16>,
    #[asn1(optional = "true")]
    prf: Option<AlgorithmIdentifierOwned>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    Format(&'static str),
    /// The passphrase does not fit, or the data is damaged.
    Passphrase,
}

pub(super) fn encrypt(
    private_key: &[u8],
    passphrase: &Passphrase,
    rounds: NonZeroU32,
    iv: [u8; 16],
) -> Option<Vec<u8>> {
    let salt = passphrase.salt(rounds);
    let key = derive(passphrase, &salt, rounds)?;
    let mut data = Zeroizing::new(private_key.to_vec());
    PaddedBlockEncryptingKey::cbc_pkcs7(key)
        .ok()?
        .less_safe_encrypt(&mut *data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .ok()?;
    let null = || Any::from(Null);
    let octets = |bytes: &[u8]| Any::encode_from(&OctetString::new(bytes).ok()?).ok();
    let prf = AlgorithmIdentifierOwned { oid: HMAC_SHA256, parameters: Some(null()) };
    let pbkdf2 = Pbkdf2 {
        salt: OctetString::new(&salt[..]).ok()?,
        rounds: rounds.get(),
        key_length: None,
        prf: Some(prf),
    };
    let pbes2 = Pbes2 {
        key_derivation: AlgorithmIdentifierOwned {
            oid: PBKDF2,
            parameters: Some(Any::encode_from(&pbkdf2).ok()?),
        },
        encryption: AlgorithmIdentifierOwned { oid: AES256_CBC, parameters: Some(octets(&iv)?) },
    };
    EncryptedPrivateKeyInfo {
        algorithm: AlgorithmIdentifierOwned {
            oid: PBES2,
            parameters: Some(Any::encode_from(&pbes2).ok()?),
        },
        data: OctetString::new(&data[..]).ok()?,
    }
    .to_der()
    .ok()
}

/// Decrypts to a PKCS#8 private key, whose structure has been checked.
pub(super) fn decrypt(
    file: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    const OTHER: OpenError =
        OpenError::Format("this version reads PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC only");
    let file = EncryptedPrivateKeyInfo::from_der(file)
        .map_err(|_| OpenError::Format("not an EncryptedPrivateKeyInfo (RFC 5958)"))?;
    let pbes2: Pbes2 = parameters(&file.algorithm, PBES2).ok_or(OTHER)?;
    let pbkdf2: Pbkdf2 = parameters(&pbes2.key_derivation, PBKDF2).ok_or(OTHER)?;
    let iv: OctetString = parameters(&pbes2.encryption, AES256_CBC).ok_or(OTHER)?;
    let iv: [u8; 16] = iv.as_bytes().try_into().map_err(|_| OTHER)?;
    if pbkdf2.prf.is_none_or(|prf| prf.oid != HMAC_SHA256)
        || pbkdf2.key_length.is_some_and(|length| length != 32)
    {
        return Err(OTHER);
    }
    let rounds = NonZeroU32::new(pbkdf2.rounds)
        .filter(|rounds| rounds.get() <= MOST_ROUNDS)
        .ok_or(OpenError::Format("an unreasonable number of PBKDF2 rounds"))?;
    let key = derive(passphrase, pbkdf2.salt.as_bytes(), rounds).ok_or(OpenError::Passphrase)?;
    let mut data = Zeroizing::new(file.data.as_bytes().to_vec());
    let length = PaddedBlockDecryptingKey::cbc_pkcs7(key)
        .and_then(|key| {
            key.decrypt(&mut data, DecryptionContext::Iv128(FixedLength::from(iv)))
                .map(|plain| plain.len())
        })
        .map_err(|_| OpenError::Passphrase)?;
    data.truncate(length);
    // One wrong passphrase in 256 leaves a padding that looks right.
    PrivateKey::parse(&data).ok_or(OpenError::Passphrase)?;
    Ok(data)
}

fn derive(passphrase: &Passphrase, salt: &[u8], rounds: NonZeroU32) -> Option<UnboundCipherKey> {
    UnboundCipherKey::new(&AES_256, &passphrase.derive(salt, rounds)[..]).ok()
}

fn parameters<T: der::DecodeOwned>(
    algorithm: &AlgorithmIdentifierOwned,
    oid: ObjectIdentifier,
) -> Option<T> {
    let parameters = algorithm.parameters.as_ref().filter(|_| algorithm.oid == oid)?;
    T::from_der(&parameters.to_der().ok()?).ok()
}

/// A PKCS#8 PrivateKeyInfo, of version 1 or 2; attributes and public key are passed over.
pub(super) struct PrivateKey<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    key: &'a [u8],
}

impl<'a> PrivateKey<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let parsed: der::Result<_> = reader.sequence(|info| {
            let _version: u8 = info.decode()?;
            let algorithm = AlgorithmIdentifierRef::decode(info)?;
            let key = <&OctetStringRef>::decode(info)?;
            info.read_slice(info.remaining_len())?;
            Ok(Self { algorithm, key: key.as_bytes() })
        });
        parsed.ok().filter(|_| reader.is_finished())
    }

    /// The kind of key, or the OID of what it is otherwise.
    pub(super) fn kind(&self) -> Result<KeyKind, String> {
        let curve = || self.algorithm.parameters.and_then(|any| any.decode_as().ok());
        match self.algorithm.oid {
            EC_PUBLIC_KEY if curve() == Some(P256) => Ok(KeyKind::P256),
            EC_PUBLIC_KEY => Err("a key of another elliptic curve".into()),
            ED25519 => Ok(KeyKind::Ed25519),
            HMAC_SHA256 => Ok(KeyKind::Secret),
            AES256_GCM => Ok(KeyKind::Aes256),
            other => Err(format!("a key of the algorithm {other}")),
        }
    }

    /// The content of the private key field; its form depends on the kind.
    pub(super) fn key(&self) -> &'a [u8] {
        self.key
    }
}

/// A PrivateKeyInfo around 32 secret bytes: a secret or a symmetric key, which PKCS#8 can carry under
/// the identifier of the algorithm it is used with.
pub(super) fn wrap_secret(kind: KeyKind, secret: &[u8; 32]) -> Option<Zeroizing<Vec<u8>>> {
    #[derive(Sequence)]
    struct PrivateKeyInfo<'a> {
        version: u8,
        algorithm: AlgorithmIdentifierRef<'a>,
        key: &'a OctetStringRef,
    }
    let oid = match kind {
        KeyKind::Secret => HMAC_SHA256,
        KeyKind::Aes256 => AES256_GCM,
        KeyKind::P256 | KeyKind::Ed25519 => return None,
    };
    let algorithm = AlgorithmIdentifierRef { oid, parameters: None::<AnyRef<'_>> };
    let key = OctetStringRef::new(secret).ok()?;
    PrivateKeyInfo { version: 0, algorithm, key }.to_der().ok().map(Zeroizing::new)
}
