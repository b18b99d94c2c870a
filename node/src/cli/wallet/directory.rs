//! A wallet's directory: `wallet.cbor` (with the citizen's secret in it), `trust.cbor`, `card.cbor`
//! and `keys/`, readable by its owner only, and used by one process at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use wallet::{Wallet, WalletError};
use wire::{CborError, ServiceName, cbor, membership::TrustFile};

/// Which of the wallet's keys: each has a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyName<'a> {
    Id,
    Service(&'a ServiceName),
}

/// What the wallet keeps of a node's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// The home's register of the pair.
    Register,
    /// The status of the wallet's certificate.
    Status,
}

/// As the largest answer that a node gives, in bytes.
const LAST_LIMIT: usize = 32 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("{} holds a wallet already", .0.display())]
    Exists(PathBuf),
    #[error("{} holds no wallet; `create` makes one", .0.display())]
    NoWallet(PathBuf),
    #[error("cannot {what} {}", .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Wallet(#[from] WalletError),
    #[error("{} is damaged", .path.display())]
    Damaged { path: PathBuf, source: CborError },
}

/// Held open, it keeps every other process out.
#[derive(Debug)]
pub struct WalletDirectory {
    path: PathBuf,
    /// Locked as long as it is open, so that a process that dies leaves nothing behind.
    _lock: File,
}

impl WalletDirectory {
    /// Takes a directory that holds no wallet yet, making it if need be.
    pub fn create(path: &Path) -> Result<Self, DirectoryError> {
        let directory = Self::take(path)?;
        if directory.file("wallet.cbor").exists() {
            return Err(DirectoryError::Exists(path.to_owned()));
        }
        make_private_directory(&directory.file("keys"))?;
        Ok(directory)
    }

    /// Takes a directory that holds a wallet.
    pub fn open(path: &Path) -> Result<(Self, Wallet), DirectoryError> {
        if !path.join("wallet.cbor").exists() {
            return Err(DirectoryError::NoWallet(path.to_owned()));
        }
        let directory = Self::take(path)?;
        let file = directory.file("wallet.cbor");
        let bytes = fs::read(&file).map_err(io_error("read", &file))?;
        Ok((directory, Wallet::from_bytes(&bytes)?))
    }

    fn take(path: &Path) -> Result<Self, DirectoryError> {
        make_private_directory(path)?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(io_error("open", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(io_error("lock", &file)(source)),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn save(&self, wallet: &Wallet) -> Result<(), DirectoryError> {
        write_private(&self.file("wallet.cbor"), &wallet.to_bytes())
    }

    /// The trust list of the last run, if there was one.
    pub fn trust(&self) -> Result<Option<TrustFile>, DirectoryError> {
        let path = self.file("trust.cbor");
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let trust =
            cbor::from_slice(&bytes).map_err(|source| DirectoryError::Damaged { path, source })?;
        Ok(Some(trust))
    }

    pub fn save_trust(&self, trust: &TrustFile) -> Result<(), DirectoryError> {
        write_private(&self.file("trust.cbor"), &cbor::to_vec(trust))
    }

    /// What a node last said about the pair at a service, for when it cannot be asked.
    pub fn last<T: DeserializeOwned>(
        &self,
        what: Last,
        service: &ServiceName,
    ) -> Result<Option<T>, DirectoryError> {
        let path = self.last_file(what, service);
        let Some(bytes) = read_if_there(&path)? else { return Ok(None) };
        let last = cbor::from_slice_limited(&bytes, "wallet file", LAST_LIMIT);
        last.map(Some).map_err(|source| DirectoryError::Damaged { path, source })
    }

    pub fn save_last(
        &self,
        what: Last,
        service: &ServiceName,
        value: &impl Serialize,
    ) -> Result<(), DirectoryError> {
        write_private(&self.last_file(what, service), &cbor::to_vec(value))
    }

    fn last_file(&self, what: Last, service: &ServiceName) -> PathBuf {
        let what = match what {
            Last::Register => "register",
            Last::Status => "status",
        };
        let (organisation, short) = (service.organisation(), service.short_name());
        self.file(&format!("{what}-{organisation}_{short}.cbor"))
    }

    /// The card file that was given to `create`.
    pub fn card(&self) -> Result<Option<Vec<u8>>, DirectoryError> {
        read_if_there(&self.file("card.cbor"))
    }

    pub fn save_card(&self, card: &[u8]) -> Result<(), DirectoryError> {
        write_private(&self.file("card.cbor"), card)
    }

    /// Where a private key lies. No two services share a file: neither part of a service's name
    /// holds an underscore.
    pub fn key_file(&self, name: KeyName<'_>) -> PathBuf {
        self.file("keys").join(match name {
            KeyName::Id => "id.pem".to_owned(),
            KeyName::Service(service) => {
                format!("{}_{}.pem", service.organisation(), service.short_name())
            }
        })
    }
}

fn make_private_directory(path: &Path) -> Result<(), DirectoryError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make", path))
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DirectoryError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Writes a file that only its owner may read, whole or not at all: a temporary file beside it,
/// synced, renamed, and the directory synced.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // One that a crash left behind may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("replace", &temporary)(error));
        }
        _ => {}
    }
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> DirectoryError {
    move |source| DirectoryError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wallet::Home;
    use wire::NetworkId;

    use super::*;

    fn wallet(url: &str) -> Wallet {
        let home = Home { organisation: "9000020102016".parse().unwrap(), url: url.to_owned() };
        Wallet::new(NetworkId([7; 32]), home)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_wallet_comes_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let directory = WalletDirectory::create(&path).unwrap();
        directory.save(&wallet("http://localhost:1")).unwrap();
        directory.save(&wallet("http://localhost:2")).unwrap();
        directory.save_card(b"card").unwrap();
        drop(directory);
        let (directory, found) = WalletDirectory::open(&path).unwrap();
        assert_eq!(found, wallet("http://localhost:2"));
        assert_eq!(directory.card().unwrap().unwrap(), b"card");
        assert_eq!(directory.trust().unwrap(), None);
        for file in ["wallet.cbor", "card.cbor", "lock"] {
            assert_eq!(mode(&path.join(file)), 0o600, "{file}");
        }
        assert_eq!((mode(&path), mode(&path.join("keys"))), (0o700, 0o700));
        let left: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".new"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_left_over_temporary_file_does_not_lend_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (path, left) =
            (folder.path().join("wallet.cbor"), folder.path().join("wallet.cbor.new"));
        fs::write(&left, b"half").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        write_private(&path, b"whole").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"whole".to_vec(), 0o600));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = WalletDirectory::create(folder.path()).unwrap();
        held.save(&wallet("http://localhost")).unwrap();
        // flock belongs to the open file, so that a second opening in this process is kept out too.
        let second = WalletDirectory::open(folder.path()).unwrap_err();
        assert!(matches!(second, DirectoryError::InUse(_)), "{second}");
        drop(held);
        WalletDirectory::open(folder.path()).unwrap();
    }

    #[test]
    fn creating_twice_and_opening_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = WalletDirectory::open(&folder.path().join("none")).unwrap_err();
        assert!(matches!(error, DirectoryError::NoWallet(_)), "{error}");
        assert!(!folder.path().join("none").exists());
        WalletDirectory::create(folder.path()).unwrap().save(&wallet("http://localhost")).unwrap();
        let error = WalletDirectory::create(folder.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Exists(_)), "{error}");
    }

    #[test]
    fn each_key_has_its_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = WalletDirectory::create(folder.path()).unwrap();
        let service: ServiceName = "9000020102016/school-lunch".parse().unwrap();
        let path = directory.key_file(KeyName::Service(&service));
        assert_eq!(path.file_name().unwrap(), "9000020102016_school-lunch.pem");
        assert_ne!(path, directory.key_file(KeyName::Id));
    }
}
