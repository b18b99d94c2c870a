//! Certificate chains in the node's directory: `certificates/<key name>.pem`, leaf first, anchor left
//! out. They are public; who writes them there is the organisation's CA (or the founding of a
//! testnet).

use std::path::{Path, PathBuf};

use wire::{Bytes, PublicKey};
use x509_cert::{
    Certificate,
    der::{Encode, EncodePem, pem::LineEnding},
};

use crate::keys::KeyName;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{}: no certificate for this key yet: the organisation's CA has to issue one", path.display())]
    Missing { path: PathBuf },
    #[error("{}: not a chain of certificates in PEM", path.display())]
    Format { path: PathBuf },
    #[error("{}: cannot be read or written: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}

fn path_of(data_dir: &Path, key: &KeyName) -> PathBuf {
    data_dir.join("certificates").join(format!("{key}.pem"))
}

/// Reads the chain of a key.
pub fn read(data_dir: &Path, key: &KeyName) -> Result<Vec<Bytes>, CertificateError> {
    let path = path_of(data_dir, key);
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CertificateError::Missing { path: path.clone() },
        _ => CertificateError::File { path: path.clone(), reason: error.to_string() },
    })?;
    let format = || CertificateError::Format { path: path.clone() };
    let chain = Certificate::load_pem_chain(&text).map_err(|_| format())?;
    if chain.is_empty() {
        return Err(format());
    }
    chain.iter().map(|certificate| certificate.to_der().map(Bytes).map_err(|_| format())).collect()
}

/// Whether a chain's leaf is for this key.
pub fn is_for(chain: &[Bytes], key: &PublicKey) -> bool {
    let spki = key.to_spki();
    chain.first().is_some_and(|leaf| leaf.windows(spki.len()).any(|part| part == spki))
}

/// Writes the chain of a key, replacing an older one whole.
pub fn write(data_dir: &Path, key: &KeyName, chain: &[Bytes]) -> Result<(), CertificateError> {
    use x509_cert::der::Decode;
    let path = path_of(data_dir, key);
    let file = |error: std::io::Error| CertificateError::File {
        path: path.clone(),
        reason: error.to_string(),
    };
    let mut text = String::new();
    for der in chain {
        let pem = Certificate::from_der(der)
            .and_then(|certificate| certificate.to_pem(LineEnding::LF))
            .map_err(|_| CertificateError::Format { path: path.clone() })?;
        text.push_str(&pem);
    }
    std::fs::create_dir_all(path.parent().unwrap_or(data_dir)).map_err(file)?;
    let draft = path.with_extension("pem.new");
    std::fs::write(&draft, text).map_err(file)?;
    std::fs::rename(&draft, &path).map_err(file)
}
