//! Root chain, trust list and timestamp: TUF's rules (The Update Framework specification, section
//! 5) in CBOR. A [`Trust`] can only be had from a file whose every signature was checked, starting
//! from the network id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use wire::{
    Bytes, EnvelopeError, Hash, MultiSigned, NetworkId, OrganisationId, Timestamp,
    membership::{
        Authority, CaPurpose, Committee, Denied, Municipality, Role, RoleKeys, Root, TrustFile,
        TrustList, TrustTimestamp, TrustVersions,
    },
};

use crate::{
    chain::HeldChains,
    profile::{CaCertificate, Certificate},
};

/// Most roots in one file, and most keys of one role: far more than a network of 1,741
/// municipalities uses in decades, few enough to check.
const ROOTS: usize = 1024;
const ROLE_KEYS: usize = 256;
/// Most anchors on one list: some generations for every municipality.
const AUTHORITIES: usize = 8192;
/// How many online keys it takes to strike somebody off, whatever the timestamp's threshold.
const DENY_SIGNERS: usize = 3;
const TIMESTAMP: &str = "timestamp";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("{what}: {error}")]
    Envelope { what: String, error: EnvelopeError },
    #[error("the trust file has {0} roots; 1 to {ROOTS} are allowed")]
    Roots(usize),
    #[error("the genesis root belongs to another network")]
    OtherNetwork,
    #[error("root {got} stands where root {expected} belongs")]
    RootOrder { expected: u64, got: u64 },
    #[error("{what}: {why}")]
    Content { what: &'static str, why: &'static str },
    #[error("authority {position} of the trust list: {why}")]
    Authority { position: usize, why: &'static str },
    #[error("the {0} has expired")]
    Expired(&'static str),
    #[error("the timestamp names another trust list (version {named}, the file has {got})")]
    OtherList { named: u64, got: u64 },
    #[error("the {what} would go back from version {have} to {got}")]
    Rollback { what: &'static str, have: u64, got: u64 },
    #[error("{what} version {version} is known with another content")]
    Fork { what: &'static str, version: u64 },
}

/// How far the timestamp can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Freshness {
    Fresh,
    /// Alarm, and admit nobody who was not a member before.
    SoftExpired,
    /// Stop: timestamp (hard), list or root has expired.
    HardExpired,
}

/// The versions that a hello names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    pub root: u64,
    pub list: u64,
    pub timestamp: u64,
}

impl From<Versions> for TrustVersions {
    fn from(Versions { root, list, timestamp }: Versions) -> Self {
        Self { root, list, timestamp }
    }
}

/// The network id: SHA-256 of the genesis root's payload.
pub fn network_id(genesis: &MultiSigned<Root>) -> NetworkId {
    NetworkId(genesis.payload_hash().0)
}

/// A verified trust file. Cloning it is cheap.
#[derive(Clone)]
pub struct Trust(Arc<Contents>);

struct Contents {
    file: TrustFile,
    decided: Decided,
    timestamp: TrustTimestamp,
    timestamp_hash: Hash,
    municipalities: BTreeSet<OrganisationId>,
    denied_organisations: BTreeSet<OrganisationId>,
    denied_certificates: BTreeSet<Hash>,
    held_chains: HeldChains,
}

/// What people decided, verified: the root chain and the list. Nobody goes by it before nodes have put
/// their timestamp to it.
#[derive(Clone)]
pub struct Decided {
    network: NetworkId,
    roots: Vec<Bytes>,
    /// Payload hashes of the roots from version 1 on.
    root_hashes: Vec<Hash>,
    root: Root,
    list_bytes: Bytes,
    list: TrustList,
    list_hash: Hash,
    /// One for each authority of the list, by the identifier of its key.
    anchors: BTreeMap<Vec<u8>, Vec<Anchor>>,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.network() == other.network() && self.0.file == other.0.file
    }
}

impl Eq for Trust {}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({}, {:?})", self.network(), self.versions())
    }
}

/// An authority's root CA, read once.
#[derive(Clone)]
pub(crate) struct Anchor {
    ca: CaCertificate,
    purposes: Vec<CaPurpose>,
}

impl Anchor {
    pub(crate) fn ca(&self) -> &CaCertificate {
        &self.ca
    }

    pub(crate) fn has_purpose(&self, purpose: CaPurpose) -> bool {
        self.purposes.contains(&purpose)
    }
}

impl Trust {
    /// Checks a trust file of which nothing is known but the network it must belong to.
    pub fn open(file: &TrustFile, network: &NetworkId, at: Timestamp) -> Result<Self, TrustError> {
        let decided = Decided::open(&file.roots, &file.trust_list, network, at)?;
        let Decided { root, list, list_hash, .. } = &decided;
        let envelope = open_envelope::<TrustTimestamp>(&file.timestamp, "timestamp")?;
        let signers = verify(&envelope, network, &root.timestamp, "timestamp")?;
        let (timestamp, timestamp_hash) = (envelope.unverified().clone(), envelope.payload_hash());
        check_timestamp(&timestamp, root, signers)?;
        if timestamp.list_version != list.version || timestamp.list_hash != *list_hash {
            let named = timestamp.list_version;
            return Err(TrustError::OtherList { named, got: list.version });
        }
        if at >= timestamp.hard_expiry {
            return Err(TrustError::Expired("timestamp (hard expiry)"));
        }

        let mut denied_organisations = BTreeSet::new();
        let mut denied_certificates = BTreeSet::new();
        for denied in list.denied.iter().chain(&timestamp.denylist) {
            match denied {
                Denied::Organisation(id) => denied_organisations.insert(id.clone()),
                Denied::Certificate(hash) => denied_certificates.insert(*hash),
            };
        }
        let municipalities =
            list.municipalities.iter().map(|city| city.organisation.clone()).collect();
        Ok(Self(Arc::new(Contents {
            file: file.clone(),
            decided,
            timestamp,
            timestamp_hash,
            municipalities,
            denied_organisations,
            denied_certificates,
            held_chains: HeldChains::default(),
        })))
    }

    /// Opens a newer file. None of the three may go back, change under its version, or rest on
    /// another root chain than the one known.
    pub fn update(&self, file: &TrustFile, at: Timestamp) -> Result<Self, TrustError> {
        let new = Self::open(file, self.network(), at)?;
        self.check_leads_to(&new.0.decided)?;
        let (have, got) = (self.versions(), new.versions());
        advances(TIMESTAMP, have.timestamp, got.timestamp)?;
        if have.timestamp == got.timestamp && self.0.timestamp_hash != new.0.timestamp_hash {
            return Err(TrustError::Fork { what: "timestamp", version: got.timestamp });
        }
        Ok(new)
    }

    /// Opens the roots and the list of a file whose timestamp does not count yet: what people decided
    /// next, or what is in force.
    pub fn next(&self, file: &TrustFile, at: Timestamp) -> Result<Decided, TrustError> {
        let decided = Decided::open(&file.roots, &file.trust_list, self.network(), at)?;
        self.check_leads_to(&decided)?;
        Ok(decided)
    }

    /// Neither root nor list goes back, changes under its version, or rests on another root chain.
    fn check_leads_to(&self, next: &Decided) -> Result<(), TrustError> {
        let have = &self.0.decided;
        advances("root", have.root.version, next.root.version)?;
        advances("trust list", have.list.version, next.list.version)?;
        for (version, (known, new)) in (1u64..).zip(have.root_hashes.iter().zip(&next.root_hashes))
        {
            if known != new {
                return Err(TrustError::Fork { what: "root", version });
            }
        }
        if have.list.version == next.list.version && have.list_hash != next.list_hash {
            return Err(TrustError::Fork { what: "trust list", version: next.list.version });
        }
        Ok(())
    }

    /// What people decided of it.
    pub fn decided(&self) -> &Decided {
        &self.0.decided
    }

    pub fn network(&self) -> &NetworkId {
        &self.0.decided.network
    }

    pub fn testnet(&self) -> bool {
        self.root().testnet
    }

    /// Expiries are first moments at which a thing no longer holds.
    pub fn freshness(&self, at: Timestamp) -> Freshness {
        let (root, list, timestamp) = (self.root(), self.list(), self.timestamp());
        if at >= timestamp.hard_expiry || at >= list.expires || at >= root.expires {
            Freshness::HardExpired
        } else if at >= timestamp.soft_expiry {
            Freshness::SoftExpired
        } else {
            Freshness::Fresh
        }
    }

    /// Chains that held under this list.
    pub(crate) fn held_chains(&self) -> &HeldChains {
        &self.0.held_chains
    }

    pub fn is_municipality(&self, organisation: &OrganisationId) -> bool {
        self.0.municipalities.contains(organisation)
    }

    pub fn municipalities(&self) -> impl Iterator<Item = &Municipality> {
        self.list().municipalities.iter()
    }

    /// The first authority of this organisation that may issue for this purpose; there may be
    /// several while one CA generation replaces another.
    pub fn authority(
        &self,
        organisation: &OrganisationId,
        purpose: CaPurpose,
    ) -> Option<&Authority> {
        self.list().authorities.iter().find(|authority| {
            authority.organisation == *organisation && authority.purposes.contains(&purpose)
        })
    }

    /// Whether the list lets an organisation take this role, all but membership itself, which a
    /// certificate gives.
    pub fn allows_role(&self, organisation: &OrganisationId, role: Role) -> bool {
        match role {
            Role::Home => self.is_municipality(organisation),
            Role::Issuer => self.authority(organisation, CaPurpose::Citizen).is_some(),
            Role::Witness => self.list().witnesses.contains(organisation),
            Role::Committee => self.list().committee.members.contains(organisation),
            Role::Source | Role::Recipient => true,
        }
    }

    pub fn is_denied_organisation(&self, organisation: &OrganisationId) -> bool {
        self.0.denied_organisations.contains(organisation)
    }

    /// `certificate` is the SHA-256 of its DER.
    pub fn is_denied_certificate(&self, certificate: &Hash) -> bool {
        self.0.denied_certificates.contains(certificate)
    }

    pub fn root(&self) -> &Root {
        &self.0.decided.root
    }

    pub fn list(&self) -> &TrustList {
        &self.0.decided.list
    }

    pub fn timestamp(&self) -> &TrustTimestamp {
        &self.0.timestamp
    }

    pub fn file(&self) -> &TrustFile {
        &self.0.file
    }

    pub fn versions(&self) -> Versions {
        Versions {
            root: self.root().version,
            list: self.list().version,
            timestamp: self.0.timestamp.version,
        }
    }

    /// The anchors that a certificate names as its issuer: one, or some generations of
    /// certificates for one name and key.
    pub(crate) fn anchors_of(&self, certificate: &Certificate) -> impl Iterator<Item = &Anchor> {
        let of_key = self.0.decided.anchors.get(certificate.authority_key()).into_iter().flatten();
        of_key.filter(move |anchor| certificate.names_as_issuer(anchor.ca().certificate()))
    }
}

impl Decided {
    fn open(
        roots: &[Bytes],
        list_bytes: &Bytes,
        network: &NetworkId,
        at: Timestamp,
    ) -> Result<Self, TrustError> {
        let (root, root_hashes) = walk_roots(roots, network)?;
        if at >= root.expires {
            return Err(TrustError::Expired("root"));
        }
        let envelope = open_envelope::<TrustList>(list_bytes, "trust list")?;
        verify(&envelope, network, &root.trust_list, "trust list")?;
        let (list, list_hash) = (envelope.unverified().clone(), envelope.payload_hash());
        if at >= list.expires {
            return Err(TrustError::Expired("trust list"));
        }
        let mut anchors: BTreeMap<Vec<u8>, Vec<Anchor>> = BTreeMap::new();
        for anchor in check_list(&list, root.testnet)? {
            let key = anchor.ca.certificate().subject_key().to_vec();
            anchors.entry(key).or_default().push(anchor);
        }
        Ok(Self {
            network: *network,
            roots: roots.to_vec(),
            root_hashes,
            root,
            list_bytes: list_bytes.clone(),
            list,
            list_hash,
            anchors,
        })
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    pub fn list(&self) -> &TrustList {
        &self.list
    }

    /// Of the list's payload.
    pub fn list_hash(&self) -> Hash {
        self.list_hash
    }

    /// The file that a timestamp makes of it. Whoever receives it checks all of it.
    pub fn with_timestamp(&self, timestamp: &MultiSigned<TrustTimestamp>) -> TrustFile {
        TrustFile {
            roots: self.roots.clone(),
            trust_list: self.list_bytes.clone(),
            timestamp: Bytes(timestamp.bytes()),
        }
    }
}

fn advances(what: &'static str, have: u64, got: u64) -> Result<(), TrustError> {
    if got < have { Err(TrustError::Rollback { what, have, got }) } else { Ok(()) }
}

fn content(what: &'static str, why: &'static str) -> TrustError {
    TrustError::Content { what, why }
}

fn open_envelope<M: wire::Message>(
    bytes: &Bytes,
    what: &str,
) -> Result<MultiSigned<M>, TrustError> {
    MultiSigned::decode(bytes).map_err(|error| TrustError::Envelope { what: what.into(), error })
}

/// Checks a role's threshold; gives how many of its keys signed.
fn verify<M: wire::Message>(
    envelope: &MultiSigned<M>,
    network: &NetworkId,
    role: &RoleKeys,
    what: &str,
) -> Result<usize, TrustError> {
    let failed = |error| TrustError::Envelope { what: what.into(), error };
    let valid = envelope.signers(network, &role.keys).map_err(failed)?.len();
    let threshold = role.threshold as usize;
    if threshold == 0 || valid < threshold {
        return Err(failed(EnvelopeError::BelowThreshold { what: M::TYPE, valid, threshold }));
    }
    Ok(valid)
}

/// From the genesis root on, each signed by the threshold of the one before and its own. Gives the
/// last root and the payload hashes of all. Earlier roots may have expired.
fn walk_roots(roots: &[Bytes], network: &NetworkId) -> Result<(Root, Vec<Hash>), TrustError> {
    if roots.is_empty() || roots.len() > ROOTS {
        return Err(TrustError::Roots(roots.len()));
    }
    let mut hashes = Vec::with_capacity(roots.len());
    let mut last: Option<Root> = None;
    for (expected, bytes) in (1u64..).zip(roots) {
        let what = format!("root {expected}");
        let envelope = open_envelope::<Root>(bytes, &what)?;
        let root = envelope.unverified();
        match &last {
            None if network_id(&envelope) != *network => return Err(TrustError::OtherNetwork),
            None => {}
            Some(before) => {
                verify(&envelope, network, &before.root, &what)?;
            }
        }
        if root.version != expected {
            return Err(TrustError::RootOrder { expected, got: root.version });
        }
        check_root(root)?;
        verify(&envelope, network, &root.root, &what)?;
        // What was trusted as production must not become a testnet, nor the other way round.
        if last.as_ref().is_some_and(|before| before.testnet != root.testnet) {
            return Err(content("root", "it may not change whether the network is a testnet"));
        }
        hashes.push(envelope.payload_hash());
        last = Some(root.clone());
    }
    match last {
        Some(root) => Ok((root, hashes)),
        None => Err(TrustError::Roots(0)),
    }
}

pub(crate) fn check_root(root: &Root) -> Result<(), TrustError> {
    for role in [&root.root, &root.trust_list, &root.timestamp] {
        if role.keys.is_empty() || role.keys.len() > ROLE_KEYS || !ascending(&role.keys) {
            return Err(content("root", "the keys of a role are sorted, each once, 1 to 256"));
        }
        if role.threshold == 0 || role.threshold as usize > role.keys.len() {
            return Err(content("root", "a threshold is at least 1 and at most the role's keys"));
        }
    }
    Ok(())
}

/// Checks what must hold within the list, and reads its anchors.
pub(crate) fn check_list(list: &TrustList, testnet: bool) -> Result<Vec<Anchor>, TrustError> {
    const LIST: &str = "trust list";
    if list.version == 0 {
        return Err(content(LIST, "versions count from 1"));
    }
    if list.authorities.len() > AUTHORITIES {
        return Err(content(LIST, "too many authorities"));
    }
    if !distinct(list.municipalities.iter().map(|city| &city.organisation)) {
        return Err(content(LIST, "a municipality stands twice"));
    }
    if !distinct(&list.witnesses) {
        return Err(content(LIST, "a witness stands twice"));
    }
    check_committee(&list.committee, testnet)?;
    check_denied(LIST, &list.denied)?;
    if !distinct(list.authorities.iter().map(|authority| &authority.anchor)) {
        return Err(content(LIST, "an anchor stands twice"));
    }
    let anchor = |(position, authority): (usize, &Authority)| {
        let refused = |why| TrustError::Authority { position, why };
        let ca = CaCertificate::read_anchor(&authority.anchor).map_err(|error| refused(error.0))?;
        if *ca.organisation() != authority.organisation {
            return Err(refused("the anchor is another organisation's"));
        }
        if authority.purposes.is_empty() || !ascending(&authority.purposes) {
            return Err(refused("purposes are sorted, each once, at least one"));
        }
        Ok(Anchor { ca, purposes: authority.purposes.clone() })
    };
    list.authorities.iter().enumerate().map(anchor).collect()
}

/// A testnet may do without: its numbers come from a single key.
fn check_committee(committee: &Committee, testnet: bool) -> Result<(), TrustError> {
    let refused = |why| Err(content("number committee", why));
    let Committee { members, threshold, public_key } = committee;
    if !distinct(members) {
        return refused("a member stands twice");
    }
    if *threshold as usize > members.len() || (*threshold == 0 && !members.is_empty()) {
        return refused("the threshold is at least 1 and at most the members");
    }
    if !testnet && *threshold < 2 {
        return refused("outside a testnet no single member may hold the key");
    }
    let compressed = public_key.len() == 33 && matches!(public_key[0], 2 | 3);
    let left_out = testnet && public_key.is_empty();
    if !compressed && !left_out {
        return refused("the public key is no compressed SEC1 point");
    }
    Ok(())
}

fn check_timestamp(
    timestamp: &TrustTimestamp,
    root: &Root,
    signers: usize,
) -> Result<(), TrustError> {
    check_timestamp_form(timestamp)?;
    if !timestamp.denylist.is_empty() && signers < denial_signers(&root.timestamp) {
        return Err(content(TIMESTAMP, "a denylist needs three signers"));
    }
    Ok(())
}

pub(crate) fn check_timestamp_form(timestamp: &TrustTimestamp) -> Result<(), TrustError> {
    if timestamp.version == 0 {
        return Err(content(TIMESTAMP, "versions count from 1"));
    }
    if timestamp.soft_expiry > timestamp.hard_expiry {
        return Err(content(TIMESTAMP, "the soft expiry comes after the hard one"));
    }
    check_denied(TIMESTAMP, &timestamp.denylist)
}

fn check_denied(what: &'static str, denied: &[Denied]) -> Result<(), TrustError> {
    if denied.len() > wire::limits::DENIED {
        return Err(content(what, "too many are struck off"));
    }
    if !ascending(denied) {
        return Err(content(what, "who is struck off stands sorted, each once"));
    }
    Ok(())
}

/// How many of the timestamp keys it takes to strike somebody off.
pub(crate) fn denial_signers(role: &RoleKeys) -> usize {
    DENY_SIGNERS.min(role.keys.len())
}

fn ascending<T: Ord>(items: &[T]) -> bool {
    items.windows(2).all(|pair| pair[0] < pair[1])
}

fn distinct<'a, T: Ord + 'a>(items: impl IntoIterator<Item = &'a T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

#[cfg(test)]
mod tests;
