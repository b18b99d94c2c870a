//! A certificate authority for servers on the web, for trials of https: what a public face shows to
//! wallets, and nothing that the trust list knows of.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use x509_cert::der::pem;

pub struct WebAuthority {
    key: KeyPair,
    certificate: Certificate,
    /// Its certificate, PEM: whom to trust.
    pub file: PathBuf,
}

impl WebAuthority {
    /// Makes one, and leaves its certificate in `folder`.
    pub fn found(folder: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key)?;
        let file = folder.join("web-ca.pem");
        write(&file, "CERTIFICATE", certificate.der(), 0o644)?;
        Ok(Self { key, certificate, file })
    }

    /// A server's certificate for `host` and its key, in `folder`: in the place of those there were.
    pub fn certify(&self, host: &str, folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let parameters = CertificateParams::new(vec![host.to_owned()])?;
        let certificate = parameters.signed_by(&key, &self.certificate, &self.key)?;
        let (certificate_file, key_file) = (folder.join("web.pem"), folder.join("web-key.pem"));
        write(&key_file, "PRIVATE KEY", &key.serialize_der(), 0o600)?;
        write(&certificate_file, "CERTIFICATE", certificate.der(), 0o644)?;
        Ok((certificate_file, key_file))
    }
}

fn write(path: &Path, label: &str, der: &[u8], mode: u32) -> anyhow::Result<()> {
    let text = pem::encode_string(label, pem::LineEnding::LF, der).context("PEM")?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
