//! The passphrase of key files, and the keys derived from it. A derivation is slow on purpose (RFC
//! 8018), so each is done once: files made beside others share their salt, and a node that opens seven
//! of them derives one key. Who guesses at the passphrase needs one file either way.

use std::{
    num::NonZeroU32,
    path::Path,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::{KeyError, file::read_private};
use crate::entropy::SystemEntropy;

/// Bytes of a salt that we draw.
const SALT: usize = 16;
/// Most derived keys that are remembered; a node has a handful of files.
const REMEMBERED: usize = 32;

/// A key-encryption key.
pub(super) type Derived = Zeroizing<[u8; 32]>;

/// Opens the key files of a node.
pub struct Passphrase {
    text: Zeroizing<String>,
    /// By salt and rounds, the oldest first.
    derived: Mutex<Vec<(Vec<u8>, NonZeroU32, Derived)>>,
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

impl Passphrase {
    pub fn new(passphrase: String) -> Self {
        Self { text: Zeroizing::new(passphrase), derived: Mutex::new(Vec::new()) }
    }

    /// From the file the configuration names, or else from MEBUKU_PASSPHRASE.
    pub fn load(file: Option<&Path>) -> Result<Self, KeyError> {
        Self::choose(file, std::env::var("MEBUKU_PASSPHRASE").ok())
    }

    fn choose(file: Option<&Path>, environment: Option<String>) -> Result<Self, KeyError> {
        match (file, environment) {
            (Some(path), _) => Self::from_file(path),
            (None, Some(passphrase)) if !passphrase.is_empty() => Ok(Self::new(passphrase)),
            (None, _) => Err(KeyError::NoPassphrase),
        }
    }

    /// The file's first line.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let text = read_private(path)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self::new(line.to_owned())),
            _ => Err(KeyError::EmptyPassphrase { path: path.to_owned() }),
        }
    }

    /// PBKDF2-HMAC-SHA-256.
    pub(super) fn derive(&self, salt: &[u8], rounds: NonZeroU32) -> Derived {
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., key)) = derived.iter().find(|(of, n, _)| of == salt && *n == rounds) {
            return key.clone();
        }
        let mut key = Zeroizing::new([0; 32]);
        let text = self.text.as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, text, &mut key[..]);
        if derived.len() == REMEMBERED {
            derived.remove(0);
        }
        derived.push((salt.to_vec(), rounds, key.clone()));
        key
    }

    /// The salt for a new file: that of a file which was opened or made before, if there is one.
    pub(super) fn salt(&self, rounds: NonZeroU32) -> [u8; SALT] {
        let derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ours = derived.iter().filter(|(_, n, _)| *n == rounds);
        let known = of_ours.filter_map(|(salt, ..)| <[u8; SALT]>::try_from(&salt[..]).ok()).next();
        known.unwrap_or_else(|| SystemEntropy.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::file::publish;

    #[test]
    fn the_passphrase_file_wins_over_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        publish(&path, b"from the file\nsecond line\n").unwrap();
        let chosen = Passphrase::choose(Some(&path), Some("from the environment".into())).unwrap();
        assert_eq!(*chosen.text, "from the file");
        let chosen = Passphrase::choose(None, Some("from the environment".into())).unwrap();
        assert_eq!(*chosen.text, "from the environment");
        for environment in [None, Some(String::new())] {
            let error = Passphrase::choose(None, environment).unwrap_err();
            assert!(matches!(error, KeyError::NoPassphrase));
        }
    }

    #[test]
    fn an_empty_or_open_passphrase_file_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        publish(&path, b"\n").unwrap();
        assert!(matches!(
            Passphrase::from_file(&path),
            Err(KeyError::EmptyPassphrase { path: at }) if at == path
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let text = Passphrase::from_file(&path).unwrap_err().to_string();
        assert!(text.contains("passphrase: others") && text.contains("0640"), "{text}");
    }

    #[test]
    fn one_derivation_serves_all_files_with_its_salt() {
        let rounds = NonZeroU32::new(1000).unwrap();
        let (one, other) = (Passphrase::new("one".into()), Passphrase::new("other".into()));
        let salt = one.salt(rounds);
        assert_ne!(one.salt(rounds), salt, "nothing was derived yet");
        let key = one.derive(&salt, rounds);
        assert_eq!(one.salt(rounds), salt);
        assert_eq!(*one.derive(&salt, rounds), *key);
        assert_eq!(one.derived.lock().unwrap().len(), 1);
        // Neither another passphrase nor other rounds take it.
        assert_ne!(*other.derive(&salt, rounds), *key);
        let more = NonZeroU32::new(1001).unwrap();
        assert_ne!(one.salt(more), salt);
        assert_ne!(*one.derive(&salt, more), *key);
        for n in 0..2 * REMEMBERED as u64 {
            one.derive(&n.to_be_bytes(), rounds);
        }
        assert_eq!(one.derived.lock().unwrap().len(), REMEMBERED);
        assert_eq!(*one.derive(&salt, rounds), *key, "forgotten, and derived again");
    }
}
