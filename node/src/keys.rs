//! The node's private keys.
//!
//! [`KeyStore`] is the seam: [`FileKeyStore`] keeps encrypted files and is meant for trials; a
//! PKCS#11 token goes behind the same trait.
//!
//! - [`file`]: one key in one encrypted PEM file
//! - [`passphrase`]: what encrypts them
//! - [`signers`]: what is done with an opened key

pub mod file;
pub mod passphrase;
mod pkcs8;
pub mod signers;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use wire::{BadId, ServiceName, Signer};
use zeroize::Zeroizing;

pub use file::KeyFile;
pub use passphrase::Passphrase;
pub use signers::{Ed25519Signer, P256Signer, SealError, SealingKey};

/// What a private key is for; its name in the key store follows from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyName {
    /// Signs releases, requests, leases, descriptors.
    Organisation,
    /// Signs the credentials of one service, given by its short name. Stored as
    /// `credential-for-<short name>`, so that a service called `ca` is not taken for the CA.
    Credential(String),
    /// The libp2p identity.
    Transport,
    /// Signs the checkpoints of the own evidence log.
    Log,
    /// Cosigns the checkpoints of others.
    Witness,
    /// Signs the network's timestamp, together with other municipalities' nodes.
    Timestamp,
    /// A municipality's own root CA.
    RootCa,
    CitizenCa,
    OrganisationCa,
    CredentialCa,
    /// The single key of the number function: testnets only.
    Number,
    /// Seals what proofing must keep.
    Proofing,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    P256,
    Ed25519,
    /// 32 secret bytes.
    Secret,
    /// AES-256-GCM.
    Aes256,
}

impl KeyName {
    pub fn credential(service: &ServiceName) -> Self {
        Self::Credential(service.short_name().to_owned())
    }

    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Transport | Self::Log | Self::Witness => KeyKind::Ed25519,
            Self::Number => KeyKind::Secret,
            Self::Proofing => KeyKind::Aes256,
            Self::Organisation
            | Self::Timestamp
            | Self::Credential(_)
            | Self::RootCa
            | Self::CitizenCa
            | Self::OrganisationCa
            | Self::CredentialCa => KeyKind::P256,
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organisation => "organisation",
            Self::Credential(service) => return write!(f, "credential-for-{service}"),
            Self::Transport => "transport",
            Self::Log => "log",
            Self::Witness => "witness",
            Self::Timestamp => "timestamp",
            Self::RootCa => "root-ca",
            Self::CitizenCa => "citizen-ca",
            Self::OrganisationCa => "organisation-ca",
            Self::CredentialCa => "credential-ca",
            Self::Number => "number",
            Self::Proofing => "proofing",
        })
    }
}

impl FromStr for KeyName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        const NOT_A_NAME: BadId = BadId(
            "a key name (organisation, credential-for-<service>, transport, log, witness, timestamp, root-ca, \
             citizen-ca, organisation-ca, credential-ca, number, proofing)",
        );
        const PLAIN: [KeyName; 11] = [
            KeyName::Organisation,
            KeyName::Transport,
            KeyName::Log,
            KeyName::Witness,
            KeyName::Timestamp,
            KeyName::RootCa,
            KeyName::CitizenCa,
            KeyName::OrganisationCa,
            KeyName::CredentialCa,
            KeyName::Number,
            KeyName::Proofing,
        ];
        if let Some(plain) = PLAIN.into_iter().find(|name| name.to_string() == text) {
            return Ok(plain);
        }
        let service = text.strip_prefix("credential-for-").ok_or(NOT_A_NAME)?;
        let valid = (1..=32).contains(&service.len())
            && service.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if valid { Ok(Self::Credential(service.to_owned())) } else { Err(NOT_A_NAME) }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "a P-256 key",
            Self::Ed25519 => "an Ed25519 key",
            Self::Secret => "a 32-byte secret",
            Self::Aes256 => "an AES-256-GCM key",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "no passphrase for the key store: set `passphrase_file` in the configuration, or MEBUKU_PASSPHRASE"
    )]
    NoPassphrase,
    #[error("{}: the passphrase is empty", path.display())]
    EmptyPassphrase { path: PathBuf },
    #[error("{}: there is no such key", path.display())]
    Missing { path: PathBuf },
    #[error("{}: the key exists already, and keys are never overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("{}: others than its owner may use this file (mode {mode:04o}); set it to 0600", path.display())]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("{}: wrong passphrase, or the file is damaged", path.display())]
    WrongPassphrase { path: PathBuf },
    #[error("{}: not an encrypted private key: {what}", path.display())]
    Format { path: PathBuf, what: &'static str },
    #[error("{}: expected {expected}, found {found}", path.display())]
    WrongKind { path: PathBuf, expected: KeyKind, found: String },
    #[error("{}: {what}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the cryptographic library failed while {0}")]
    Library(&'static str),
}

/// Where private keys are and how they are used.
pub trait KeyStore: Send + Sync {
    /// Makes a new key of the kind the name calls for; never replaces one.
    fn create(&self, name: &KeyName) -> Result<(), KeyError>;

    fn contains(&self, name: &KeyName) -> Result<bool, KeyError>;

    /// A signer with a P-256 key: organisation, credential and CA keys.
    fn p256(&self, name: &KeyName) -> Result<Arc<dyn Signer>, KeyError>;

    /// A signer with an Ed25519 key: log and witness keys.
    fn ed25519(&self, name: &KeyName) -> Result<Arc<Ed25519Signer>, KeyError>;

    /// The seed of the transport key. libp2p wants it in memory, so that it cannot be kept in a
    /// token.
    fn transport_seed(&self) -> Result<Zeroizing<[u8; 32]>, KeyError>;

    /// The single key of the number function.
    fn number_secret(&self) -> Result<Zeroizing<[u8; 32]>, KeyError>;

    /// The key of the proofing store.
    fn proofing(&self) -> Result<SealingKey, KeyError>;
}

/// Keys in encrypted files `<name>.pem` of one directory.
#[derive(Debug)]
pub struct FileKeyStore {
    directory: PathBuf,
    passphrase: Passphrase,
}

impl FileKeyStore {
    /// Makes the directory (for its owner only) if it is not there.
    pub fn open(directory: impl Into<PathBuf>, passphrase: Passphrase) -> Result<Self, KeyError> {
        use std::os::unix::fs::DirBuilderExt;
        let directory = directory.into();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(
            |source| KeyError::File {
                path: directory.clone(),
                what: "the key directory cannot be made",
                source,
            },
        )?;
        Ok(Self { directory, passphrase })
    }

    pub fn path(&self, name: &KeyName) -> PathBuf {
        self.directory.join(format!("{name}.pem"))
    }

    /// The single key of the number function from a file of its own, under the same passphrase, which
    /// several testnet nodes may share.
    pub fn shared_number_secret(&self, path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        KeyFile::open(path, KeyKind::Secret, &self.passphrase)?.secret()
    }

    fn read(&self, name: &KeyName) -> Result<KeyFile, KeyError> {
        KeyFile::open(&self.path(name), name.kind(), &self.passphrase)
    }
}

impl KeyStore for FileKeyStore {
    fn create(&self, name: &KeyName) -> Result<(), KeyError> {
        KeyFile::create(&self.path(name), name.kind(), &self.passphrase).map(drop)
    }

    fn contains(&self, name: &KeyName) -> Result<bool, KeyError> {
        let path = self.path(name);
        path.try_exists().map_err(|source| KeyError::File {
            path,
            what: "cannot be looked at",
            source,
        })
    }

    fn p256(&self, name: &KeyName) -> Result<Arc<dyn Signer>, KeyError> {
        Ok(Arc::new(P256Signer::new(&self.read(name)?)?))
    }

    fn ed25519(&self, name: &KeyName) -> Result<Arc<Ed25519Signer>, KeyError> {
        Ok(Arc::new(Ed25519Signer::new(&self.read(name)?)?))
    }

    fn transport_seed(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        Ed25519Signer::new(&self.read(&KeyName::Transport)?)?.seed()
    }

    fn number_secret(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.read(&KeyName::Number)?.secret()
    }

    fn proofing(&self) -> Result<SealingKey, KeyError> {
        SealingKey::new(&self.read(&KeyName::Proofing)?)
    }
}

#[cfg(test)]
mod tests;
