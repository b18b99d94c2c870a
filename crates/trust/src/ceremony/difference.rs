//! What a proposal changes, in plain words: what a signer reads before signing.

use std::fmt;

use wire::{
    KeyHash, OrganisationId, PublicKey, Timestamp,
    membership::{Authority, CaPurpose, Denied, RoleKeys, Root, TrustList, TrustTimestamp},
    sha256,
};

/// One change. Its text is meant for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    Begins {
        testnet: bool,
    },
    KeyAdded {
        role: &'static str,
        key: KeyHash,
    },
    KeyRemoved {
        role: &'static str,
        key: KeyHash,
    },
    Threshold {
        role: &'static str,
        before: Option<u32>,
        now: u32,
        of: usize,
    },
    MunicipalityAdded {
        organisation: OrganisationId,
        name: String,
    },
    MunicipalityRemoved {
        organisation: OrganisationId,
        name: String,
    },
    MunicipalityRenamed {
        organisation: OrganisationId,
        before: String,
        now: String,
    },
    /// A CA, by the SHA-256 of its certificate.
    AuthorityAdded {
        organisation: OrganisationId,
        anchor: String,
        purposes: Vec<CaPurpose>,
        is_municipality: bool,
    },
    AuthorityRemoved {
        organisation: OrganisationId,
        anchor: String,
    },
    AuthorityPurposes {
        organisation: OrganisationId,
        anchor: String,
        before: Vec<CaPurpose>,
        now: Vec<CaPurpose>,
    },
    WitnessAdded(OrganisationId),
    WitnessRemoved(OrganisationId),
    CommitteeAdded(OrganisationId),
    CommitteeRemoved(OrganisationId),
    CommitteeThreshold {
        before: Option<u32>,
        now: u32,
    },
    /// Everybody's numbers would change.
    NumberKey,
    StruckOff(Denied),
    NoLongerStruckOff(Denied),
    Holds {
        what: &'static str,
        version: u64,
        until: Timestamp,
    },
}

pub(super) fn of_roots(before: Option<&Root>, now: &Root, all: &mut Vec<Difference>) {
    if before.is_none() {
        all.push(Difference::Begins { testnet: now.testnet });
    }
    for (role, of) in ROLES {
        of_roles(role, before.map(of), of(now), all);
    }
    all.push(Difference::Holds { what: "root", version: now.version, until: now.expires });
}

type RoleOf = fn(&Root) -> &RoleKeys;
const ROLES: [(&str, RoleOf); 3] = [
    ("root", |root| &root.root),
    ("trust list", |root| &root.trust_list),
    ("timestamp", |root| &root.timestamp),
];

fn of_roles(
    role: &'static str,
    before: Option<&RoleKeys>,
    now: &RoleKeys,
    all: &mut Vec<Difference>,
) {
    let known = before.map_or(&[][..], |before| &before.keys);
    let hash = PublicKey::key_hash;
    let removed = known.iter().filter(|key| !now.keys.contains(key));
    all.extend(removed.map(|key| Difference::KeyRemoved { role, key: hash(key) }));
    let added = now.keys.iter().filter(|key| !known.contains(key));
    all.extend(added.map(|key| Difference::KeyAdded { role, key: hash(key) }));
    let (of, threshold) = (now.keys.len(), now.threshold);
    let unchanged = before.is_some_and(|b| b.threshold == threshold && b.keys.len() == of);
    if !unchanged {
        let before = before.map(|before| before.threshold);
        all.push(Difference::Threshold { role, before, now: threshold, of });
    }
}

pub(super) fn of_lists(before: Option<&TrustList>, now: &TrustList, all: &mut Vec<Difference>) {
    let cities = before.map_or(&[][..], |list| &list.municipalities);
    for city in cities {
        match now.municipalities.iter().find(|other| other.organisation == city.organisation) {
            None => all.push(Difference::MunicipalityRemoved {
                organisation: city.organisation.clone(),
                name: city.name.clone(),
            }),
            Some(other) if other.name != city.name => all.push(Difference::MunicipalityRenamed {
                organisation: city.organisation.clone(),
                before: city.name.clone(),
                now: other.name.clone(),
            }),
            Some(_) => {}
        }
    }
    for city in &now.municipalities {
        if cities.iter().all(|known| known.organisation != city.organisation) {
            all.push(Difference::MunicipalityAdded {
                organisation: city.organisation.clone(),
                name: city.name.clone(),
            });
        }
    }
    of_authorities(before.map_or(&[][..], |list| &list.authorities), now, all);
    let (added, removed) = changed(before.map_or(&[][..], |list| &list.witnesses), &now.witnesses);
    all.extend(removed.map(Difference::WitnessRemoved));
    all.extend(added.map(Difference::WitnessAdded));
    let known = before.map(|list| &list.committee);
    let members = known.map_or(&[][..], |committee| &committee.members);
    let (added, removed) = changed(members, &now.committee.members);
    all.extend(removed.map(Difference::CommitteeRemoved));
    all.extend(added.map(Difference::CommitteeAdded));
    if known.is_none_or(|committee| committee.threshold != now.committee.threshold) {
        let before = known.map(|committee| committee.threshold);
        all.push(Difference::CommitteeThreshold { before, now: now.committee.threshold });
    }
    if known.is_some_and(|committee| committee.public_key != now.committee.public_key) {
        all.push(Difference::NumberKey);
    }
    let (added, removed) = changed(before.map_or(&[][..], |list| &list.denied), &now.denied);
    all.extend(removed.map(Difference::NoLongerStruckOff));
    all.extend(added.map(Difference::StruckOff));
    all.push(Difference::Holds { what: "trust list", version: now.version, until: now.expires });
}

fn of_authorities(known: &[Authority], now: &TrustList, all: &mut Vec<Difference>) {
    let anchor = |authority: &Authority| sha256(&authority.anchor).to_string();
    for authority in known {
        let organisation = authority.organisation.clone();
        let anchor = anchor(authority);
        match now.authorities.iter().find(|other| other.anchor == authority.anchor) {
            None => all.push(Difference::AuthorityRemoved { organisation, anchor }),
            Some(other) if other.purposes != authority.purposes => {
                let (before, now) = (authority.purposes.clone(), other.purposes.clone());
                all.push(Difference::AuthorityPurposes { organisation, anchor, before, now });
            }
            Some(_) => {}
        }
    }
    for authority in &now.authorities {
        if known.iter().all(|other| other.anchor != authority.anchor) {
            let is_municipality =
                now.municipalities.iter().any(|city| city.organisation == authority.organisation);
            all.push(Difference::AuthorityAdded {
                organisation: authority.organisation.clone(),
                anchor: anchor(authority),
                purposes: authority.purposes.clone(),
                is_municipality,
            });
        }
    }
}

pub(super) fn of_timestamps(
    before: Option<&TrustTimestamp>,
    now: &TrustTimestamp,
    all: &mut Vec<Difference>,
) {
    let (added, removed) =
        changed(before.map_or(&[][..], |timestamp| &timestamp.denylist), &now.denylist);
    all.extend(removed.map(Difference::NoLongerStruckOff));
    all.extend(added.map(Difference::StruckOff));
    let (version, until) = (now.version, now.hard_expiry);
    all.push(Difference::Holds { what: "timestamp", version, until });
}

fn changed<'a, T: PartialEq + Clone>(
    before: &'a [T],
    now: &'a [T],
) -> (impl Iterator<Item = T> + 'a, impl Iterator<Item = T> + 'a) {
    let added = now.iter().filter(move |item| !before.contains(item)).cloned();
    let removed = before.iter().filter(move |item| !now.contains(item)).cloned();
    (added, removed)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { testnet: true } => write!(f, "a new network begins: a TESTNET"),
            Self::Begins { testnet: false } => write!(f, "a new network begins"),
            Self::KeyAdded { role, key } => write!(f, "{key} may sign the {role}"),
            Self::KeyRemoved { role, key } => write!(f, "{key} may no longer sign the {role}"),
            Self::Threshold { role, before: None, now, of } => {
                write!(f, "the {role} takes {now} of {of} signatures")
            }
            Self::Threshold { role, before: Some(before), now, of } => {
                write!(f, "the {role} takes {now} of {of} signatures (before: {before})")
            }
            Self::MunicipalityAdded { organisation, name } => {
                write!(f, "{name} ({organisation}) becomes a member: it may be home to citizens")
            }
            Self::MunicipalityRemoved { organisation, name } => {
                write!(f, "{name} ({organisation}) is REMOVED: its citizens need another home")
            }
            Self::MunicipalityRenamed { organisation, before, now } => {
                write!(f, "{before} ({organisation}) is called {now}")
            }
            Self::AuthorityAdded { organisation, anchor, purposes, is_municipality } => {
                let firm = if *is_municipality { "" } else { ", which is no municipality," };
                let what = Purposes(purposes);
                write!(f, "a CA of {organisation}{firm} may issue {what} (certificate {anchor})")
            }
            Self::AuthorityRemoved { organisation, anchor } => write!(
                f,
                "a CA of {organisation} is REMOVED: nothing it issued holds any more (certificate {anchor})"
            ),
            Self::AuthorityPurposes { organisation, anchor, before, now } => {
                let (before, now) = (Purposes(before), Purposes(now));
                write!(
                    f,
                    "a CA of {organisation} may issue {now} (before: {before}; certificate {anchor})"
                )
            }
            Self::WitnessAdded(organisation) => write!(f, "{organisation} becomes a witness"),
            Self::WitnessRemoved(organisation) => {
                write!(f, "{organisation} is a witness no longer")
            }
            Self::CommitteeAdded(organisation) => {
                write!(f, "{organisation} joins the number committee")
            }
            Self::CommitteeRemoved(organisation) => {
                write!(f, "{organisation} leaves the number committee")
            }
            Self::CommitteeThreshold { before: None, now } => {
                write!(f, "the number committee needs {now} of its members")
            }
            Self::CommitteeThreshold { before: Some(before), now } => {
                write!(f, "the number committee needs {now} of its members (before: {before})")
            }
            Self::NumberKey => {
                write!(
                    f,
                    "the key of the number function CHANGES: everybody's numbers would change"
                )
            }
            Self::StruckOff(denied) => write!(f, "{} is STRUCK OFF", denied),
            Self::NoLongerStruckOff(denied) => {
                write!(f, "{} is no longer struck off", denied)
            }
            Self::Holds { what, version, until } => {
                write!(f, "{what} {version} holds until {}", day(*until))
            }
        }
    }
}

/// To the second (RFC 3339); beyond the year 9999 in milliseconds since 1970.
pub fn day(at: Timestamp) -> String {
    let since_1970 = std::time::Duration::from_secs(at.as_secs());
    der::DateTime::from_unix_duration(since_1970)
        .map_or_else(|_| format!("{} ms", at.0), |day| day.to_string())
}

struct Purposes<'a>(&'a [CaPurpose]);

impl fmt::Display for Purposes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, purpose) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            f.write_str(match purpose {
                CaPurpose::Citizen => "citizens' certificates and links",
                CaPurpose::Organisation => "members' organisation certificates",
                CaPurpose::Credential => "certificates that sign credentials",
            })?;
        }
        Ok(())
    }
}
