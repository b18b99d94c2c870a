//! `mebuku init`: makes the keys that a node's roles and services call for, and never replaces one.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use trust::LeafKind;
use wire::{Bytes, OrganisationId, ServiceName, membership::Role};

use crate::{
    config::Config,
    keys::{FileKeyStore, KeyKind, KeyName, KeyStore, Passphrase},
    net,
};

/// What the organisation's CA has to certify, and what others need to know of the node:
/// `<data_dir>/certification-request.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificationRequest {
    pub organisation: OrganisationId,
    pub name: String,
    pub services: Vec<ServiceName>,
    pub peer_id: String,
    /// The public key of each P-256 key, as DER SubjectPublicKeyInfo.
    pub keys: Vec<RequestedKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedKey {
    /// As the key store names it.
    pub name: String,
    pub public_key: Bytes,
    /// What a CA issues a certificate for (PKCS#10, DER): the organisation's key, and the keys for
    /// credentials.
    #[serde(default)]
    pub request: Option<Bytes>,
}

pub const REQUEST_FILE: &str = "certification-request.json";

pub fn run(path: &Path) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    let request = make_keys(&config)?;
    println!("keys are in {}", config.keys_dir().display());
    println!("peer id: {}", request.peer_id);
    println!(
        "next: hand {} to a member CA (`mebuku ca hand-in` there), then `mebuku join`",
        config.data_dir.join(REQUEST_FILE).display()
    );
    Ok(())
}

/// Makes what is missing; what is there stays.
pub fn make_keys(config: &Config) -> anyhow::Result<CertificationRequest> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("{} cannot be made", config.data_dir.display()))?;
    let passphrase = Passphrase::load(config.passphrase_file.as_deref())?;
    let keys = FileKeyStore::open(config.keys_dir(), passphrase)?;
    let mut requested = Vec::new();
    for name in names(config) {
        if !keys.contains(&name)? {
            keys.create(&name)?;
        }
        if name.kind() == KeyKind::P256 {
            let signer = keys.p256(&name)?;
            let kind = asked_for(config, &name)?;
            let request = kind.map(|kind| trust::request(&kind, &*signer)).transpose()?;
            requested.push(RequestedKey {
                name: name.to_string(),
                public_key: Bytes(signer.public_key().to_spki()),
                request: request.map(Bytes),
            });
        }
    }
    let request = CertificationRequest {
        organisation: config.organisation.clone(),
        name: config.name.clone(),
        services: config.service_names(),
        peer_id: net::peer_id(*keys.transport_seed()?),
        keys: requested,
    };
    let file = config.data_dir.join(REQUEST_FILE);
    std::fs::write(&file, serde_json::to_vec_pretty(&request)?)
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(request)
}

/// What an organisation's CA is asked to certify; none for the keys of a municipality's own CAs.
fn asked_for(config: &Config, name: &KeyName) -> anyhow::Result<Option<LeafKind>> {
    let (organisation, shown) = (config.organisation.clone(), config.name.clone());
    Ok(match name {
        KeyName::Organisation => Some(LeafKind::Organisation {
            organisation,
            name: shown,
            services: config.service_names(),
        }),
        KeyName::Credential(short) => {
            let service = format!("{organisation}/{short}").parse()?;
            Some(LeafKind::Credential { organisation, name: shown, service })
        }
        _ => None,
    })
}

fn names(config: &Config) -> Vec<KeyName> {
    let mut names = vec![KeyName::Organisation, KeyName::Transport, KeyName::Log];
    names.extend(config.service_names().iter().map(KeyName::credential));
    if config.has_role(Role::Home) {
        names.extend([KeyName::Witness, KeyName::Timestamp]);
    }
    if config.has_role(Role::Issuer) {
        names.extend([
            KeyName::RootCa,
            KeyName::CitizenCa,
            KeyName::OrganisationCa,
            KeyName::CredentialCa,
            KeyName::Proofing,
        ]);
    }
    names
}
