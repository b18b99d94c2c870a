//! The wallet's P-256 keys in files of their own: encrypted under a passphrase, or open for trials.

use std::{fs, path::Path};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use der::pem;
use wire::{PublicKey, SignError, SignatureBytes, Signer};
use zeroize::Zeroizing;

use super::directory::{DirectoryError, write_private};
use crate::keys::{KeyError, KeyFile, KeyKind, P256Signer, Passphrase};

/// RFC 7468 section 10.
const LABEL: &str = "PRIVATE KEY";

#[derive(Debug, thiserror::Error)]
pub enum WalletKeyError {
    #[error(transparent)]
    Encrypted(#[from] KeyError),
    #[error(transparent)]
    File(#[from] DirectoryError),
    #[error("{file}: there is no such key, or it cannot be read")]
    Read { file: String, source: std::io::Error },
    #[error("{0}: the key is encrypted; give --passphrase-file")]
    NeedsPassphrase(String),
    #[error("{0}: not an open P-256 private key (PKCS#8, PEM)")]
    Format(String),
    #[error("the cryptographic library failed while {0}")]
    Library(&'static str),
}

/// Makes and opens the keys of one wallet.
#[derive(Debug)]
pub struct WalletKeys {
    passphrase: Option<Passphrase>,
}

impl WalletKeys {
    /// Without a passphrase, keys lie open.
    pub fn new(passphrase: Option<Passphrase>) -> Self {
        Self { passphrase }
    }

    pub fn are_encrypted(&self) -> bool {
        self.passphrase.is_some()
    }

    pub fn open(&self, path: &Path) -> Result<Box<dyn Signer>, WalletKeyError> {
        Ok(match &self.passphrase {
            Some(passphrase) => {
                Box::new(P256Signer::new(&KeyFile::open(path, KeyKind::P256, passphrase)?)?)
            }
            None => Box::new(OpenSigner::read(path)?),
        })
    }

    /// Opens a key; makes it first if it is not there. An attempt that failed half-way goes on with
    /// the key it made.
    pub fn open_or_make(&self, path: &Path) -> Result<Box<dyn Signer>, WalletKeyError> {
        if path.exists() {
            return self.open(path);
        }
        match &self.passphrase {
            Some(passphrase) => KeyFile::create(path, KeyKind::P256, passphrase).map(drop)?,
            None => OpenSigner::make(path)?,
        }
        self.open(path)
    }
}

/// Signs with a key from a file that is not encrypted.
struct OpenSigner {
    key: EcdsaKeyPair,
    public_key: PublicKey,
}

impl OpenSigner {
    fn make(path: &Path) -> Result<(), WalletKeyError> {
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| WalletKeyError::Library("drawing a key"))?;
        let text = pem::encode_string(LABEL, pem::LineEnding::LF, key.as_ref())
            .map_err(|_| WalletKeyError::Library("encoding a key"))?;
        Ok(write_private(path, Zeroizing::new(text).as_bytes())?)
    }

    fn read(path: &Path) -> Result<Self, WalletKeyError> {
        let file = || path.display().to_string();
        let text = fs::read(path)
            .map(Zeroizing::new)
            .map_err(|source| WalletKeyError::Read { file: file(), source })?;
        let format = || WalletKeyError::Format(file());
        let (label, pkcs8) = pem::decode_vec(&text).map_err(|_| format())?;
        let pkcs8 = Zeroizing::new(pkcs8);
        match label {
            LABEL => {}
            "ENCRYPTED PRIVATE KEY" => return Err(WalletKeyError::NeedsPassphrase(file())),
            _ => return Err(format()),
        }
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| format())?;
        let public_key = PublicKey::from_sec1(key.public_key().as_ref()).map_err(|_| format())?;
        Ok(Self { key, public_key })
    }
}

impl Signer for OpenSigner {
    fn public_key(&self) -> PublicKey {
        self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let failed = || SignError("the cryptographic library failed".into());
        let signature = self.key.sign(&SystemRandom::new(), message).map_err(|_| failed())?;
        SignatureBytes::try_from(signature.as_ref()).map_err(|_| failed())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(signer: &dyn Signer) -> PublicKey {
        let signature = signer.sign(b"message").unwrap();
        signer.public_key().verify(b"message", &signature).unwrap();
        signer.public_key()
    }

    #[test]
    fn an_open_key_comes_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id.pem");
        let keys = WalletKeys::new(None);
        assert!(matches!(keys.open(&path), Err(WalletKeyError::Read { .. })));
        let made = check(&*keys.open_or_make(&path).unwrap());
        assert_eq!(made, check(&*keys.open_or_make(&path).unwrap()));
        assert_eq!(made, check(&*keys.open(&path).unwrap()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        // A passphrase given later does not pretend that the key was encrypted all along.
        let with = WalletKeys::new(Some(Passphrase::new("secret".into())));
        assert!(matches!(with.open(&path), Err(WalletKeyError::Encrypted(_))));
    }

    #[test]
    fn an_encrypted_key_needs_its_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id.pem");
        let keys = WalletKeys::new(Some(Passphrase::new("secret".into())));
        let made = check(&*keys.open_or_make(&path).unwrap());
        assert_eq!(made, check(&*keys.open(&path).unwrap()));
        assert!(matches!(
            WalletKeys::new(None).open(&path),
            Err(WalletKeyError::NeedsPassphrase(_))
        ));
        let wrong = WalletKeys::new(Some(Passphrase::new("other".into())));
        assert!(matches!(wrong.open(&path), Err(WalletKeyError::Encrypted(_))));
    }
}
