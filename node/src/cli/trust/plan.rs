//! What root and list are to be, as people write it: one TOML file, with the certificates of CAs beside it.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use trust::{
    Freshness, Trust,
    ceremony::{self, Wanted},
};
use wire::{
    Bytes, Hash, OrganisationId, PublicKey,
    membership::{Authority, CaPurpose, Committee, Denied, Municipality, RoleKeys, TrustList},
};

use crate::clock::{Clock, SystemClock};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whether test roots, single-key numbers and synthetic cards are allowed.
    testnet: bool,
    root_days: u64,
    list_days: u64,
    #[serde(default = "soft_hours")]
    timestamp_soft_hours: u64,
    #[serde(default = "hard_days")]
    timestamp_hard_days: u64,
    #[serde(default)]
    witnesses: Vec<OrganisationId>,
    /// Struck off for good.
    #[serde(default)]
    denied_organisations: Vec<OrganisationId>,
    /// SHA-256 of their DER.
    #[serde(default)]
    denied_certificates: Vec<Hash>,
    root: Keys,
    trust_list: Keys,
    timestamp: Keys,
    committee: CommitteePlan,
    #[serde(default, rename = "municipality")]
    municipalities: Vec<MunicipalityPlan>,
    #[serde(default, rename = "authority")]
    authorities: Vec<AuthorityPlan>,
    #[serde(skip)]
    folder: PathBuf,
    /// Certificates that are still to be written beside the plan.
    #[serde(skip)]
    certificates: Vec<(PathBuf, Bytes)>,
}

const fn soft_hours() -> u64 {
    24
}

const fn hard_days() -> u64 {
    14
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    threshold: u32,
    /// As `mebuku trust key` prints them.
    keys: Vec<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitteePlan {
    threshold: u32,
    members: Vec<OrganisationId>,
    /// Of the number function; empty in a testnet without one.
    public_key: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MunicipalityPlan {
    organisation: OrganisationId,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityPlan {
    organisation: OrganisationId,
    /// The self-signed root CA certificate: a DER file, named from where the plan lies.
    certificate: PathBuf,
    /// citizen, organisation, credential.
    purposes: Vec<CaPurpose>,
}

/// A public key as plans have it: its DER SubjectPublicKeyInfo.
pub fn key_text(key: &PublicKey) -> String {
    let text = serde_json::to_value(Bytes(key.to_spki())).ok();
    text.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

impl Keys {
    fn of(role: &RoleKeys) -> Self {
        let keys = role.keys.iter().map(|key| Bytes(key.to_spki())).collect();
        Self { threshold: role.threshold, keys }
    }

    fn read(&self, role: &str) -> anyhow::Result<RoleKeys> {
        let keys = self.keys.iter().enumerate().map(|(number, key)| {
            PublicKey::from_spki(key)
                .map_err(|error| anyhow::anyhow!("key {} of [{role}]: {error}", number + 1))
        });
        let mut keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
        keys.sort();
        Ok(RoleKeys { keys, threshold: self.threshold })
    }
}

impl Plan {
    /// What is in force.
    pub fn of(trust: &Trust) -> Self {
        let (root, list, timestamp) = (trust.root(), trust.list(), trust.timestamp());
        let mut certificates = Vec::new();
        let authorities = list.authorities.iter().map(|authority| {
            let hash = wire::sha256(&authority.anchor).to_string();
            let name = format!("ca-{}-{}.der", authority.organisation, &hash[..8]);
            certificates.push((PathBuf::from(&name), authority.anchor.clone()));
            AuthorityPlan {
                organisation: authority.organisation.clone(),
                certificate: name.into(),
                purposes: authority.purposes.clone(),
            }
        });
        let authorities = authorities.collect();
        // Whom nodes struck off since is confirmed, unless somebody takes it out of the plan.
        let denied = Wanted::of(trust).list.denied;
        let organisation = |denied: &Denied| match denied {
            Denied::Organisation(organisation) => Some(organisation.clone()),
            Denied::Certificate(_) => None,
        };
        let certificate = |denied: &Denied| match denied {
            Denied::Certificate(hash) => Some(*hash),
            Denied::Organisation(_) => None,
        };
        let municipalities = list.municipalities.iter().map(|city| MunicipalityPlan {
            organisation: city.organisation.clone(),
            name: city.name.clone(),
        });
        Self {
            testnet: root.testnet,
            root_days: root.expires.ms_since(root.issued) / DAY_MS,
            list_days: list.expires.ms_since(list.issued) / DAY_MS,
            timestamp_soft_hours: timestamp.soft_expiry.ms_since(timestamp.issued) / HOUR_MS,
            timestamp_hard_days: timestamp.hard_expiry.ms_since(timestamp.issued) / DAY_MS,
            witnesses: list.witnesses.clone(),
            denied_organisations: denied.iter().filter_map(organisation).collect(),
            denied_certificates: denied.iter().filter_map(certificate).collect(),
            root: Keys::of(&root.root),
            trust_list: Keys::of(&root.trust_list),
            timestamp: Keys::of(&root.timestamp),
            committee: CommitteePlan {
                threshold: list.committee.threshold,
                members: list.committee.members.clone(),
                public_key: list.committee.public_key.clone(),
            },
            municipalities: municipalities.collect(),
            authorities,
            folder: PathBuf::new(),
            certificates,
        }
    }

    /// Writes the plan, and the certificates beside it. What is there already stays, and is an error.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        for (name, certificate) in &self.certificates {
            let file = folder.join(name);
            if !file.exists() {
                super::write_whole(&file, certificate)?;
            }
        }
        if path.exists() {
            anyhow::bail!("{}: there already", path.display());
        }
        super::write_whole(path, toml::to_string_pretty(self)?.as_bytes())
    }

    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let plan: Self = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, ..plan })
    }

    /// Sorted, each once.
    fn denied(&self) -> Vec<Denied> {
        let organisations = self.denied_organisations.iter().cloned().map(Denied::Organisation);
        let certificates = self.denied_certificates.iter().copied().map(Denied::Certificate);
        let mut denied: Vec<_> = organisations.chain(certificates).collect();
        denied.sort();
        denied.dedup();
        denied
    }

    /// For how long a timestamp is fresh, and holds at all.
    pub fn freshness_ms(&self) -> (u64, u64) {
        (self.timestamp_soft_hours * HOUR_MS, self.timestamp_hard_days * DAY_MS)
    }

    /// Reads the certificates that the plan names.
    pub fn wanted(&self) -> anyhow::Result<Wanted> {
        let authorities = self.authorities.iter().map(|authority| {
            let path = self.folder.join(&authority.certificate);
            let anchor = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
            let mut purposes = authority.purposes.clone();
            purposes.sort();
            Ok(Authority {
                organisation: authority.organisation.clone(),
                anchor: anchor.into(),
                purposes,
            })
        });
        let municipalities = self.municipalities.iter().map(|city| Municipality {
            organisation: city.organisation.clone(),
            name: city.name.clone(),
        });
        let list = TrustList {
            version: 0,
            issued: wire::Timestamp(0),
            expires: wire::Timestamp(0),
            authorities: authorities.collect::<anyhow::Result<_>>()?,
            municipalities: municipalities.collect(),
            witnesses: self.witnesses.clone(),
            committee: Committee {
                members: self.committee.members.clone(),
                threshold: self.committee.threshold,
                public_key: self.committee.public_key.clone(),
            },
            denied: self.denied(),
        };
        Ok(Wanted {
            testnet: self.testnet,
            root: self.root.read("root")?,
            trust_list: self.trust_list.read("trust_list")?,
            timestamp: self.timestamp.read("timestamp")?,
            list,
            root_ms: self.root_days * DAY_MS,
            list_ms: self.list_days * DAY_MS,
        })
    }
}

/// Who is on a list, for people.
pub fn summary(trust: &Trust) -> String {
    let mut text = String::new();
    let list = trust.list();
    for city in &list.municipalities {
        let _ = writeln!(text, "  municipality {} {}", city.organisation, city.name);
    }
    for authority in &list.authorities {
        let firm = if trust.is_municipality(&authority.organisation) { "" } else { " (a firm)" };
        let hash = wire::sha256(&authority.anchor);
        let _ = writeln!(text, "  CA of {}{firm}, certificate {hash}", authority.organisation);
    }
    for witness in &list.witnesses {
        let _ = writeln!(text, "  witness {witness}");
    }
    for denied in &trust.list().denied {
        let _ = writeln!(text, "  struck off: {denied}");
    }
    for denied in &trust.timestamp().denylist {
        let _ = writeln!(text, "  struck off until the next list: {denied}");
    }
    let now = SystemClock.now().wall;
    let freshness = match trust.freshness(now) {
        Freshness::Fresh => "fresh",
        Freshness::SoftExpired => "past its soft expiry: nobody new is admitted",
        Freshness::HardExpired => "past its hard expiry",
    };
    let until = ceremony::day(trust.timestamp().hard_expiry);
    let _ = writeln!(text, "  {freshness}; holds until {until}");
    text
}
