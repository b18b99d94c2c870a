//! TLS 1.3 and 1.2 (RFC 8446, RFC 5246) by rustls over aws-lc-rs: the public face as a server, wallets
//! as its clients.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use wire::{Hash, sha256};

use crate::api::bounds::BoundedAcceptor;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may take to send a request's headers.
const HEADERS: Duration = Duration::from_secs(30);
/// How often the files are looked at: whoever renews certificates only has to replace them.
const RENEWAL: Duration = Duration::from_secs(5);

/// Where the public face's certificate and key lie. Whoever renews them replaces the files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and what leads to a root that wallets know, leaf first, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, not encrypted; nobody but its owner and group may use the file.
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {what}", path.display())]
    Content { path: PathBuf, what: &'static str },
    #[error("{}: everybody may read this key; set its mode to 0600 or 0640", path.display())]
    Open { path: PathBuf },
    #[error("{} is not for the certificate in {}", key.display(), certificate.display())]
    OtherKey { key: PathBuf, certificate: PathBuf },
    #[error("TLS")]
    Rustls(#[from] rustls::Error),
    #[error("this machine trusts no certificate authorities: name a file of them")]
    NoRoots,
}

impl TlsFiles {
    /// Reads both files and checks that they belong together.
    pub fn open(&self) -> Result<ServerConfig, TlsError> {
        let (certificate, key) = self.read()?;
        self.server(&certificate, &key)
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        use std::os::unix::fs::PermissionsExt;
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| TlsError::Read { path, source }
        };
        let metadata = std::fs::metadata(&self.key).map_err(failed(&self.key))?;
        if metadata.permissions().mode() & 0o007 != 0 {
            return Err(TlsError::Open { path: self.key.clone() });
        }
        let certificate = std::fs::read(&self.certificate).map_err(failed(&self.certificate))?;
        let key = std::fs::read(&self.key).map_err(failed(&self.key))?;
        Ok((certificate, key))
    }

    fn server(&self, certificate: &[u8], key: &[u8]) -> Result<ServerConfig, TlsError> {
        let chain = certificates(certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Content {
            path: self.key.clone(),
            what: "no private key in PEM that is not encrypted",
        })?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::OtherKey { key: self.key.clone(), certificate: self.certificate.clone() }
            }
            other => other.into(),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn print(&self) -> Result<Hash, TlsError> {
        let (certificate, key) = self.read()?;
        Ok(sha256(&[sha256(&certificate).0, sha256(&key).0].concat()))
    }
}

/// Serves a router over TLS until its task ends. New files are taken up without a connection lost; files
/// that do not hold leave the old ones in use.
pub async fn serve(
    listener: std::net::TcpListener,
    files: TlsFiles,
    config: ServerConfig,
    router: axum::Router,
) -> std::io::Result<()> {
    let config = RustlsConfig::from_config(Arc::new(config));
    let acceptor = RustlsAcceptor::new(config.clone())
        .handshake_timeout(HANDSHAKE)
        .acceptor(BoundedAcceptor::default());
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).http1_only();
    server.http_builder().http1().header_read_timeout(HEADERS);
    tokio::select! {
        served = server.serve(router.into_make_service()) => served,
        () = take_up_new(files, config) => Ok(()),
    }
}

/// Never ends.
async fn take_up_new(files: TlsFiles, config: RustlsConfig) {
    let mut known = files.print().ok();
    loop {
        tokio::time::sleep(RENEWAL).await;
        let print = match files.print() {
            Ok(print) => print,
            Err(error) => {
                tracing::error!(%error, "the public face's TLS files: the old ones stay in use");
                continue;
            }
        };
        if known == Some(print) {
            continue;
        }
        match files.open() {
            Ok(new) => {
                config.reload_from_config(Arc::new(new));
                known = Some(print);
                tracing::info!("the public face has a new TLS certificate");
            }
            // Perhaps one of the two was replaced and the other is about to be.
            Err(error) => {
                tracing::error!(%error, "the public face's TLS files: the old ones stay in use");
            }
        }
    }
}

/// Whom a wallet takes the word of on whose server it speaks to. What a node says is signed besides:
/// TLS keeps `y`, and what a citizen decides, from others on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TlsRoots {
    /// The authorities that this machine trusts.
    #[default]
    System,
    /// Those in a file, PEM, and no others.
    File(PathBuf),
}

impl TlsRoots {
    pub fn client(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        match self {
            // Some that cannot be read are no reason to trust none.
            Self::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Self::File(path) => {
                let read = |source| TlsError::Read { path: path.clone(), source };
                for root in certificates(&std::fs::read(path).map_err(read)?, path)? {
                    roots.add(root)?;
                }
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }
}

/// For whoever speaks plain http only.
pub fn trusting_nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs speaks TLS 1.3 and 1.2")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |what| TlsError::Content { path: path.to_owned(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|_| content("not PEM"))?;
    if chain.is_empty() { Err(content("no certificate in PEM")) } else { Ok(chain) }
}

#[cfg(test)]
mod tests;
