//! The node's configuration: one small TOML file. What can be worked out is not asked; what is
//! misspelt is named with file and line. Relative paths are relative to the file.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use libp2p::{Multiaddr, multiaddr};
use serde::Deserialize;
use wire::{Hash, NetworkId, OrganisationId, ServiceName, limits, membership::Role};

use crate::tls::TlsFiles;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// `reason` says line, column and what is wrong there.
    #[error("{}: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: `{key}`: {reason}", path.display())]
    Value { path: PathBuf, key: &'static str, reason: String },
    #[error("{}: line {line}: {reason}", path.display())]
    ApiKeys { path: PathBuf, line: usize, reason: &'static str },
}

/// A node's configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Corporate number (法人番号) of the organisation that runs the node.
    pub organisation: OrganisationId,
    /// Shown to people.
    pub name: String,
    /// Hash of the network's genesis root.
    pub network: NetworkId,
    pub roles: BTreeSet<Role>,
    /// The services of this organisation that this node serves.
    #[serde(default)]
    pub services: Vec<Service>,

    /// Store and keys.
    pub data_dir: PathBuf,
    /// Opens the keys; without it, MEBUKU_PASSPHRASE does.
    #[serde(default)]
    pub passphrase_file: Option<PathBuf>,
    /// Root chain, trust list and timestamp to start with.
    pub trust_file: PathBuf,

    /// Where other nodes reach this one; empty for a node that only dials out.
    #[serde(default)]
    pub listen: Vec<Multiaddr>,
    /// The addresses that the descriptor gives to others, where they are not those of `listen`: behind
    /// a router or a forwarder.
    #[serde(default)]
    pub announce: Vec<Multiaddr>,
    /// Nodes to dial first, each ending in `/p2p/<peer id>`.
    #[serde(default)]
    pub bootstrap: Vec<Multiaddr>,
    /// Where wallets and verifiers reach this node: https with `public_tls`, else plain http for a TLS
    /// terminator on this machine.
    #[serde(default)]
    pub public_listen: Option<SocketAddr>,
    /// The URL under which `public_listen` is known outside.
    #[serde(default)]
    pub public_url: Option<String>,
    #[serde(default)]
    pub public_tls: Option<TlsFiles>,
    /// The local provider API, with /metrics and /health.
    pub provider_listen: SocketAddr,
    /// SHA-256 of each API key of the provider API.
    #[serde(default)]
    pub api_key_hashes: Vec<Hash>,
    /// More of them: one per line, then a space and a label; `#` begins a comment.
    #[serde(default)]
    pub api_keys_file: Option<PathBuf>,

    /// Home: how long the leases are that it grants, in milliseconds. A source takes what it is granted.
    #[serde(default = "default_lease_ms")]
    pub lease_ms: u64,
    /// Home, testnets only: file with the single key of the number function.
    #[serde(default)]
    pub number_key: Option<PathBuf>,
    /// Issuer: how My Number Card certificates are checked.
    #[serde(default)]
    pub jpki: Option<Jpki>,
    #[serde(default)]
    pub ca: CaConfig,
    #[serde(default)]
    pub home: HomeConfig,
    #[serde(default)]
    pub source: SourceConfig,
    #[serde(default)]
    pub log_level: LogLevel,
    #[serde(default)]
    pub witnesses: Witnesses,

    /// Where the file lies; not a key of it.
    #[serde(skip)]
    directory: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Short name; registered once, never reused.
    pub name: String,
    /// Shown to people.
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jpki {
    /// Root CA certificates of J-LIS, PEM or DER.
    pub roots: Vec<PathBuf>,
    /// The latest CRL, DER; fetched from outside the node.
    pub crl_file: PathBuf,
    /// An older CRL is as good as none: nobody is enrolled.
    #[serde(default = "default_crl_max_age_hours")]
    pub crl_max_age_hours: u32,
}

/// What only a CA needs: a municipality that certifies organisations.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaConfig {
    /// How many operators must approve what is issued, each with an API key of their own. One alone will
    /// do in testnets only.
    pub approvals: usize,
    /// For how many days an organisation's certificate holds.
    pub days: u64,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self { approvals: 2, days: 730 }
    }
}

/// What only a home needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HomeConfig {
    /// How long after proofing the home itself begins keys of the person's pairs, in seconds: one
    /// sitting. With 0, another phone of theirs has to.
    pub fresh_proofing_s: u64,
}

impl Default for HomeConfig {
    fn default() -> Self {
        Self { fresh_proofing_s: 60 * 60 }
    }
}

/// What only a source needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// How old the certificate status of a present-consent may be, in seconds.
    pub status_age_s: u64,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self { status_age_s: exchange::source::STATUS_AGE_MS / 1000 }
    }
}

const LONGEST_STATUS_AGE_S: u64 = exchange::source::LONGEST_STATUS_AGE_MS / 1000;

/// Who watches over this node's log. What is left out follows from the number of municipalities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witnesses {
    /// How many must cosign before something counts as accepted.
    #[serde(default)]
    pub cosign: Option<usize>,
    /// How many must answer before the node serves; together with `cosign` more than there are.
    #[serde(default)]
    pub start: Option<usize>,
    /// Testnets only: no witnesses, so that an old backup goes unnoticed.
    #[serde(default)]
    pub off: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// The hash of an API key, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub hash: Hash,
    pub label: Option<String>,
}

fn default_lease_ms() -> u64 {
    60_000
}

fn default_crl_max_age_hours() -> u32 {
    48
}

/// A shorter lease would be gone before its answer arrives.
const SHORTEST_LEASE_MS: u64 = 2000;
/// A longer one would leave a deny without effect for longer than anybody could be told.
const LONGEST_LEASE_MS: u64 = 24 * 60 * 60 * 1000;

impl Config {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// `path` is where `text` came from: relative paths hang from its directory.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        config.directory = path.parent().unwrap_or(Path::new("")).to_owned();
        config.hang_paths();
        config.check().map_err(|(key, reason)| ConfigError::Value {
            path: path.to_owned(),
            key,
            reason,
        })?;
        Ok(config)
    }

    fn hang_paths(&mut self) {
        let directory = self.directory.clone();
        let jpki = self
            .jpki
            .iter_mut()
            .flat_map(|jpki| jpki.roots.iter_mut().chain(std::iter::once(&mut jpki.crl_file)));
        let tls = self.public_tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
        let optional = [&mut self.passphrase_file, &mut self.api_keys_file, &mut self.number_key];
        [&mut self.data_dir, &mut self.trust_file]
            .into_iter()
            .chain(optional.into_iter().flatten())
            .chain(jpki)
            .chain(tls)
            // Joining an absolute path gives that path.
            .for_each(|path| *path = directory.join(&path));
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        fn need(holds: bool, key: &'static str, why: &str) -> Result<(), (&'static str, String)> {
            if holds { Ok(()) } else { Err((key, why.to_owned())) }
        }
        let has = |role| self.roles.contains(&role);
        need(!self.name.trim().is_empty(), "name", "must not be empty")?;
        need(!self.roles.is_empty(), "roles", "a node needs at least one role")?;
        self.check_services()?;
        for (key, addresses) in
            [("listen", &self.listen), ("announce", &self.announce), ("bootstrap", &self.bootstrap)]
        {
            need(addresses.len() <= limits::DESCRIPTOR_LIST, key, "too many addresses")?;
        }
        let names_peer = |address: &Multiaddr| {
            matches!(address.iter().last(), Some(multiaddr::Protocol::P2p(_)))
        };
        for (key, addresses) in [("listen", &self.listen), ("announce", &self.announce)] {
            if let Some(address) = addresses.iter().find(|address| names_peer(address)) {
                return Err((key, format!("{address}: the peer id is added by the node")));
            }
        }
        if let Some(address) = self.bootstrap.iter().find(|address| !names_peer(address)) {
            return Err(("bootstrap", format!("{address}: must end in /p2p/<peer id>")));
        }
        let url_ok = self.public_url.as_deref().is_none_or(is_url);
        need(
            url_ok,
            "public_url",
            "must be https:// (or http://) and a host, without a slash at the end",
        )?;
        let public = self.public_listen.is_some() == self.public_url.is_some();
        need(public, "public_url", "goes with `public_listen`: set both or neither")?;
        self.check_tls()?;
        for (role, why) in [
            (Role::Home, "a home needs it: wallets hand in decisions there"),
            (Role::Issuer, "an issuer needs it: wallets enrol there"),
        ] {
            need(!has(role) || self.public_listen.is_some(), "public_listen", why)?;
        }
        need(
            !has(Role::Issuer) || self.jpki.is_some(),
            "jpki",
            "an issuer needs it to proof citizens",
        )?;
        if let Some(jpki) = &self.jpki {
            need(!jpki.roots.is_empty(), "jpki.roots", "must name at least one root")?;
            need(jpki.crl_max_age_hours > 0, "jpki.crl_max_age_hours", "must be at least 1")?;
        }
        need(
            self.number_key.is_none() || has(Role::Home),
            "number_key",
            "only a home may hold the single key of the number function",
        )?;
        need(
            (1..=LONGEST_STATUS_AGE_S).contains(&self.source.status_age_s),
            "source.status_age_s",
            "must be from 1 to 86400 (1 day)",
        )?;
        let numbers = self.witnesses.cosign.is_some() || self.witnesses.start.is_some();
        need(!(self.witnesses.off && numbers), "witnesses.off", "leaves nothing to be numbered")?;
        let lease = SHORTEST_LEASE_MS..=LONGEST_LEASE_MS;
        need(
            lease.contains(&self.lease_ms),
            "lease_ms",
            "must be from 2000 (2 s) to 86400000 (1 day)",
        )
    }

    /// What wallets send may be read by nobody on the way.
    fn check_tls(&self) -> Result<(), (&'static str, String)> {
        let secure = self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
        match (&self.public_tls, self.public_listen) {
            (Some(_), None) => Err(("public_tls", "goes with `public_listen`".to_owned())),
            (Some(_), Some(_)) if !secure => {
                Err(("public_url", "must be https:// with `public_tls`".to_owned()))
            }
            (None, Some(address)) if !address.ip().is_loopback() => Err((
                "public_listen",
                format!(
                    "{address}: plain http stays on this machine; set `public_tls`, or listen on loopback behind a TLS terminator"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check_services(&self) -> Result<(), (&'static str, String)> {
        let mut names = BTreeSet::new();
        for service in &self.services {
            if self.service_name(service).is_err() {
                let reason = "must be 1 to 32 of a-z, 0-9 and `-`, without the organisation";
                return Err(("services.name", format!("`{}`: {reason}", service.name)));
            }
            if service.title.trim().is_empty() {
                return Err(("services.title", format!("`{}` has no title", service.name)));
            }
            if !names.insert(&service.name) {
                return Err(("services.name", format!("`{}` stands twice", service.name)));
            }
        }
        if self.services.len() > limits::DESCRIPTOR_LIST {
            return Err(("services", "too many services".to_owned()));
        }
        let needed = [Role::Source, Role::Recipient].iter().any(|role| self.roles.contains(role));
        if needed && self.services.is_empty() {
            return Err(("services", "a source or recipient needs at least one".to_owned()));
        }
        Ok(())
    }

    fn service_name(&self, service: &Service) -> Result<ServiceName, wire::BadId> {
        format!("{}/{}", self.organisation, service.name).parse()
    }

    /// The full names of the services, in the order of the file.
    pub fn service_names(&self) -> Vec<ServiceName> {
        let name = |service| self.service_name(service).expect("checked when it was parsed");
        self.services.iter().map(name).collect()
    }

    /// Where others are told to dial.
    pub fn announced(&self) -> &[Multiaddr] {
        if self.announce.is_empty() { &self.listen } else { &self.announce }
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    pub fn keys_dir(&self) -> PathBuf {
        self.data_dir.join("keys")
    }

    /// The API keys of this file and of `api_keys_file`.
    pub fn api_keys(&self) -> Result<Vec<ApiKey>, ConfigError> {
        let mut keys: Vec<_> =
            self.api_key_hashes.iter().map(|hash| ApiKey { hash: *hash, label: None }).collect();
        let Some(path) = &self.api_keys_file else { return Ok(keys) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (hash, label) = text.split_once(' ').unwrap_or((text, ""));
            let hash = hash.parse().map_err(|_| ConfigError::ApiKeys {
                path: path.clone(),
                line,
                reason: "must begin with the SHA-256 of a key (64 lower-case hexadecimal digits)",
            })?;
            let label = Some(label.trim().to_owned()).filter(|label| !label.is_empty());
            keys.push(ApiKey { hash, label });
        }
        Ok(keys)
    }
}

/// A scheme and a host, perhaps a port and a path: enough to catch slips of the pen.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', ':'])
            && !rest.ends_with('/')
            && !rest.contains(['?', '#', '@', ' '])
    })
}

#[cfg(test)]
mod tests;
