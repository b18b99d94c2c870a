//! One key in one encrypted PEM file, readable by its owner only.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    num::NonZeroU32,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use der::pem;
use zeroize::Zeroizing;

use super::{
    KeyError, KeyKind, Passphrase,
    pkcs8::{self, OpenError, PrivateKey},
};
use crate::entropy::SystemEntropy;

/// RFC 7468 section 11.
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// PBKDF2 rounds for new files: OWASP's figure for HMAC-SHA-256.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// Larger than any key or passphrase file.
const LARGEST_FILE: u64 = 64 * 1024;

/// An opened key file: a PKCS#8 private key of the kind that was asked for.
pub struct KeyFile {
    path: PathBuf,
    private_key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({})", self.path.display())
    }
}

impl KeyFile {
    /// Draws a new key and writes it; refuses if the file exists.
    pub fn create(path: &Path, kind: KeyKind, passphrase: &Passphrase) -> Result<Self, KeyError> {
        Self::create_with(path, kind, passphrase, ROUNDS)
    }

    pub(super) fn create_with(
        path: &Path,
        kind: KeyKind,
        passphrase: &Passphrase,
        rounds: NonZeroU32,
    ) -> Result<Self, KeyError> {
        // Deriving the key takes a moment; `publish` refuses again if another was quicker.
        if path.try_exists().unwrap_or(false) {
            return Err(KeyError::Exists { path: path.to_owned() });
        }
        let private_key = generate(kind)?;
        let file = pkcs8::encrypt(&private_key, passphrase, rounds, SystemEntropy.array())
            .ok_or(KeyError::Library("encrypting a key"))?;
        let text = pem::encode_string(LABEL, pem::LineEnding::LF, &file)
            .map_err(|_| KeyError::Library("encoding a key"))?;
        publish(path, text.as_bytes())?;
        Ok(Self { path: path.to_owned(), private_key })
    }

    pub fn open(path: &Path, kind: KeyKind, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        let format = |what| KeyError::Format { path: path.to_owned(), what };
        let (label, file) = pem::decode_vec(text.as_bytes()).map_err(|_| format("not PEM"))?;
        match label {
            LABEL => {}
            "PRIVATE KEY" | "EC PRIVATE KEY" => return Err(format("it is not encrypted")),
            _ => return Err(format("the PEM label is not `ENCRYPTED PRIVATE KEY`")),
        }
        let private_key = pkcs8::decrypt(&file, passphrase).map_err(|error| match error {
            OpenError::Format(what) => format(what),
            OpenError::Passphrase => KeyError::WrongPassphrase { path: path.to_owned() },
        })?;
        let opened = Self { path: path.to_owned(), private_key };
        match opened.parsed().kind() {
            Ok(found) if found == kind => Ok(opened),
            found => Err(opened.wrong_kind(kind, found)),
        }
    }

    /// The PKCS#8 PrivateKeyInfo, DER.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.private_key
    }

    /// The 32 bytes of a [`KeyKind::Secret`] or [`KeyKind::Aes256`].
    pub fn secret(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        match self.parsed().kind() {
            Ok(KeyKind::Secret | KeyKind::Aes256) => {}
            found => return Err(self.wrong_kind(KeyKind::Secret, found)),
        }
        let secret = self.parsed().key().try_into().map_err(|_| self.broken())?;
        Ok(Zeroizing::new(secret))
    }

    fn parsed(&self) -> PrivateKey<'_> {
        PrivateKey::parse(&self.private_key).expect("parsed when it was opened or made")
    }

    fn wrong_kind(&self, expected: KeyKind, found: Result<KeyKind, String>) -> KeyError {
        let found = found.map_or_else(|other| other, |kind| kind.to_string());
        KeyError::WrongKind { path: self.path.clone(), expected, found }
    }

    pub(super) fn broken(&self) -> KeyError {
        let what = "the private key inside cannot be used";
        KeyError::Format { path: self.path.clone(), what }
    }
}

fn generate(kind: KeyKind) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let random = SystemRandom::new();
    let failed = |_| KeyError::Library("drawing a key");
    Ok(match kind {
        KeyKind::P256 => {
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
            Zeroizing::new(key.map_err(failed)?.as_ref().to_vec())
        }
        KeyKind::Ed25519 => {
            let key = Ed25519KeyPair::generate_pkcs8v1(&random);
            Zeroizing::new(key.map_err(failed)?.as_ref().to_vec())
        }
        KeyKind::Secret | KeyKind::Aes256 => {
            let secret = Zeroizing::new(SystemEntropy.array());
            pkcs8::wrap_secret(kind, &secret).ok_or(KeyError::Library("encoding a key"))?
        }
    })
}

/// Writes a new file whole or not at all: beside it, synced, then under its name, which must be free.
pub(super) fn publish(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let file_error = |what| move |source| KeyError::File { path: path.to_owned(), what, source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tag = hex::encode(SystemEntropy.array::<8>());
    let temporary = directory.join(format!(".{name}.{tag}"));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    })();
    // Unlike a rename, a link never replaces what is there.
    let linked = written.and_then(|()| std::fs::hard_link(&temporary, path));
    // Whatever happened above is what the caller wants to hear about.
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(KeyError::Exists { path: path.to_owned() })
        }
        other => other
            .and_then(|()| File::open(directory)?.sync_all())
            .map_err(file_error("cannot be written")),
    }
}

/// Reads a small text file that only its owner may use.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let file_error = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), what: "cannot be read", source },
    };
    let file = File::open(path).map_err(file_error)?;
    let mode = file.metadata().map_err(file_error)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(LARGEST_FILE).read_to_string(&mut text).map_err(file_error)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_leaves_no_temporary_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        publish(&path, b"one").unwrap();
        assert!(matches!(publish(&path, b"two"), Err(KeyError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(matches!(
            publish(&directory.path().join("no/such/key"), b"x"),
            Err(KeyError::File { .. })
        ));
    }
}
