//! How people change root and trust list: a proposal goes from hand to hand until enough have signed it,
//! wherever they are and whatever machine they sign on. Nothing here is believed: what comes of it is a
//! trust file, and [`Trust::open`] or [`Trust::update`] checks that as if a stranger had sent it.

mod difference;

use std::collections::BTreeSet;

use wire::{
    Bytes, EnvelopeError, Message, MultiSigned, NetworkId, PublicKey, SignError, Signer, Timestamp,
    membership::{RoleKeys, Root, TrustFile, TrustList, TrustTimestamp},
};

use crate::{
    list::{Trust, TrustError, check_list, check_root, check_timestamp_form, network_id},
    timestamping::has_majority,
};

pub use difference::{Difference, day};

/// What is being signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    Root(MultiSigned<Root>),
    List(MultiSigned<TrustList>),
    Timestamp(MultiSigned<TrustTimestamp>),
}

#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    #[error("neither a root, nor a trust list, nor a timestamp: {0}")]
    NoProposal(EnvelopeError),
    #[error("two different proposals of a {0} were handed in: sign and publish one of them")]
    TwoOfAKind(&'static str),
    #[error("a new network begins with a root; none is handed in")]
    NoRoot,
    #[error("there is no {0}, neither in force nor handed in")]
    Missing(&'static str),
    #[error("{what} {got} was proposed where {expected} comes next")]
    OutOfTurn { what: &'static str, expected: u64, got: u64 },
    #[error("the timestamp's threshold must be more than half of its keys")]
    NoMajority,
    #[error("the timestamp is about another trust list")]
    OtherList,
    #[error("the key {0} has no say in this")]
    NoSay(wire::KeyHash),
    #[error("the signature could not be made: {0}")]
    Sign(#[from] SignError),
    #[error("{what}: {signed} of {needed} signatures by the {keys}")]
    NotEnough { what: &'static str, keys: &'static str, signed: usize, needed: usize },
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Proposal {
    /// Reads what [`Proposal::bytes`] gave. Its signatures are not looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CeremonyError> {
        if let Ok(root) = MultiSigned::decode(bytes) {
            return Ok(Self::Root(root));
        }
        if let Ok(list) = MultiSigned::decode(bytes) {
            return Ok(Self::List(list));
        }
        MultiSigned::decode(bytes).map(Self::Timestamp).map_err(CeremonyError::NoProposal)
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Root(root) => root.bytes(),
            Self::List(list) => list.bytes(),
            Self::Timestamp(timestamp) => timestamp.bytes(),
        }
    }

    /// In a word.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Root(_) => ROOT,
            Self::List(_) => LIST,
            Self::Timestamp(_) => TIMESTAMP,
        }
    }

    pub fn version(&self) -> u64 {
        match self {
            Self::Root(root) => root.unverified().version,
            Self::List(list) => list.unverified().version,
            Self::Timestamp(timestamp) => timestamp.unverified().version,
        }
    }
}

const ROOT: &str = "root";
const LIST: &str = "trust list";
const TIMESTAMP: &str = "timestamp";

/// What the governing keys and the list are to be. Versions and times are the ceremony's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub testnet: bool,
    pub root: RoleKeys,
    pub trust_list: RoleKeys,
    pub timestamp: RoleKeys,
    /// Version and times are not looked at.
    pub list: TrustList,
    pub root_ms: u64,
    pub list_ms: u64,
}

impl Wanted {
    /// What is in force, whoever was struck off included; expiries as far ahead as they were.
    pub fn of(trust: &Trust) -> Self {
        let (root, mut list) = (trust.root().clone(), trust.list().clone());
        // The list that comes next confirms who was struck off since, or it would lapse.
        list.denied.extend(trust.timestamp().denylist.iter().cloned());
        list.denied.sort();
        list.denied.dedup();
        Self {
            testnet: root.testnet,
            root_ms: root.expires.ms_since(root.issued),
            list_ms: list.expires.ms_since(list.issued),
            root: root.root,
            trust_list: root.trust_list,
            timestamp: root.timestamp,
            list,
        }
    }

    fn same_keys(&self, root: &Root) -> bool {
        (&self.root, &self.trust_list, &self.timestamp)
            == (&root.root, &root.trust_list, &root.timestamp)
            && self.testnet == root.testnet
    }

    fn same_list(&self, list: &TrustList) -> bool {
        let TrustList { version, issued, expires, .. } = list.clone();
        TrustList { version, issued, expires, ..self.list.clone() } == *list
    }
}

/// How long what is proposed holds, from when it is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renew {
    /// What does not change goes on as it is.
    Changed,
    /// A list is signed anew though nothing in it changes: it would run out.
    List,
    /// So is a root.
    Root,
}

/// Proposes what leads from what is in force to what is wanted: a root if governing keys change, and a list
/// if it does or its keys do. Nothing, if nothing changes.
///
/// # Errors
/// What would not hold once signed is not proposed.
pub fn propose(
    before: Option<&Trust>,
    wanted: &Wanted,
    renew: Renew,
    at: Timestamp,
) -> Result<Vec<Proposal>, CeremonyError> {
    let mut proposals = Vec::new();
    let keeps_root =
        before.is_some_and(|trust| wanted.same_keys(trust.root())) && renew < Renew::Root;
    if !keeps_root {
        let root = Root {
            version: before.map_or(0, |trust| trust.root().version) + 1,
            testnet: wanted.testnet,
            issued: at,
            expires: at.plus_ms(wanted.root_ms),
            root: wanted.root.clone(),
            trust_list: wanted.trust_list.clone(),
            timestamp: wanted.timestamp.clone(),
        };
        check_root(&root)?;
        if !has_majority(&root.timestamp) {
            return Err(CeremonyError::NoMajority);
        }
        proposals.push(Proposal::Root(MultiSigned::new(root)));
    }
    // A list is verified with the keys of the last root.
    let keeps_list = before.is_some_and(|trust| {
        wanted.same_list(trust.list()) && wanted.trust_list == trust.root().trust_list
    });
    if !keeps_list || renew >= Renew::List {
        let list = TrustList {
            version: before.map_or(0, |trust| trust.list().version) + 1,
            issued: at,
            expires: at.plus_ms(wanted.list_ms),
            ..wanted.list.clone()
        };
        check_list(&list, wanted.testnet)?;
        proposals.push(Proposal::List(MultiSigned::new(list)));
    }
    Ok(proposals)
}

/// What is in force, if anything, and the proposals on the table.
#[derive(Debug, Clone)]
pub struct Ceremony {
    before: Option<Trust>,
    root: Option<MultiSigned<Root>>,
    list: Option<MultiSigned<TrustList>>,
    timestamp: Option<MultiSigned<TrustTimestamp>>,
}

/// How far one role is with one proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub what: &'static str,
    /// Whose signatures these are, in words.
    pub keys: &'static str,
    pub signed: Vec<PublicKey>,
    pub role: RoleKeys,
}

impl Standing {
    pub fn is_enough(&self) -> bool {
        self.signed.len() >= self.role.threshold as usize
    }
}

impl Ceremony {
    pub fn new(before: Option<Trust>) -> Self {
        Self { before, root: None, list: None, timestamp: None }
    }

    /// Puts a proposal on the table. Copies of one that were signed in several places become one, with all
    /// their signatures.
    pub fn add(&mut self, proposal: Proposal) -> Result<(), CeremonyError> {
        let before = self.before.as_ref().map(Trust::versions);
        let (what, got) = (proposal.what(), proposal.version());
        let expected = match proposal {
            Proposal::Root(_) => before.map_or(0, |versions| versions.root) + 1,
            Proposal::List(_) => before.map_or(0, |versions| versions.list) + 1,
            Proposal::Timestamp(_) => before.map_or(0, |versions| versions.timestamp) + 1,
        };
        // Lists and timestamps may leave versions out; a root may not.
        let in_turn = match proposal {
            Proposal::Root(_) => got == expected,
            Proposal::List(_) | Proposal::Timestamp(_) => got >= expected,
        };
        if !in_turn {
            return Err(CeremonyError::OutOfTurn { what, expected, got });
        }
        match proposal {
            Proposal::Root(root) => join(&mut self.root, root, what),
            Proposal::List(list) => join(&mut self.list, list, what),
            Proposal::Timestamp(timestamp) => join(&mut self.timestamp, timestamp, what),
        }
    }

    /// The network that all of it is signed for.
    pub fn network(&self) -> Result<NetworkId, CeremonyError> {
        match (&self.before, &self.root) {
            (Some(trust), _) => Ok(*trust.network()),
            (None, Some(genesis)) => Ok(network_id(genesis)),
            (None, None) => Err(CeremonyError::NoRoot),
        }
    }

    /// The root that rules once this is published.
    fn next_root(&self) -> Result<&Root, CeremonyError> {
        let proposed = self.root.as_ref().map(MultiSigned::unverified);
        proposed.or(self.before.as_ref().map(Trust::root)).ok_or(CeremonyError::NoRoot)
    }

    /// Who has signed what so far. A signature that does not hold is an error, not a missing one.
    pub fn standings(&self) -> Result<Vec<Standing>, CeremonyError> {
        let network = self.network()?;
        let mut standings = Vec::new();
        if let Some(root) = &self.root {
            if let Some(before) = &self.before {
                let role = &before.root().root;
                standings.push(standing(root, &network, (ROOT, "root keys of before"), role)?);
            }
            let role = &root.unverified().root;
            standings.push(standing(root, &network, (ROOT, "root keys it names"), role)?);
        }
        if let Some(list) = &self.list {
            let role = &self.next_root()?.trust_list;
            standings.push(standing(list, &network, (LIST, "list keys"), role)?);
        }
        if let Some(timestamp) = &self.timestamp {
            let role = &self.next_root()?.timestamp;
            standings.push(standing(timestamp, &network, (TIMESTAMP, "timestamp keys"), role)?);
        }
        Ok(standings)
    }

    /// Signs whatever on the table the key has a say in; gives what that was.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<Vec<Proposal>, CeremonyError> {
        let (network, key) = (self.network()?, signer.public_key());
        let root = self.next_root()?.clone();
        let of_before = self.before.as_ref().map(|trust| trust.root().root.keys.clone());
        let mut signed = Vec::new();
        if let Some(proposed) = &mut self.root
            && (root.root.keys.contains(&key) || of_before.is_some_and(|keys| keys.contains(&key)))
        {
            proposed.sign(&network, signer)?;
            signed.push(Proposal::Root(proposed.clone()));
        }
        if let Some(list) = &mut self.list
            && root.trust_list.keys.contains(&key)
        {
            list.sign(&network, signer)?;
            signed.push(Proposal::List(list.clone()));
        }
        if let Some(timestamp) = &mut self.timestamp
            && root.timestamp.keys.contains(&key)
        {
            timestamp.sign(&network, signer)?;
            signed.push(Proposal::Timestamp(timestamp.clone()));
        }
        if signed.is_empty() { Err(CeremonyError::NoSay(key.key_hash())) } else { Ok(signed) }
    }

    /// The timestamp that names the list on the table or, without one, the list in force. The denylist is
    /// carried over; with a new list it lapses.
    pub fn draft_timestamp(
        &self,
        at: Timestamp,
        (soft_ms, hard_ms): (u64, u64),
    ) -> Result<Proposal, CeremonyError> {
        let proposed =
            self.list.as_ref().map(|list| (list.unverified().version, list.payload_hash()));
        let in_force = self.before.as_ref().map(|trust| {
            let timestamp = trust.timestamp();
            (timestamp.list_version, timestamp.list_hash)
        });
        let (list_version, list_hash) =
            proposed.or(in_force).ok_or(CeremonyError::Missing(LIST))?;
        let before = self.before.as_ref().map(Trust::timestamp);
        let timestamp = TrustTimestamp {
            version: before.map_or(0, |timestamp| timestamp.version) + 1,
            list_version,
            list_hash,
            issued: at,
            soft_expiry: at.plus_ms(soft_ms),
            hard_expiry: at.plus_ms(hard_ms),
            denylist: match before {
                Some(timestamp) if timestamp.list_hash == list_hash => timestamp.denylist.clone(),
                _ => Vec::new(),
            },
        };
        check_timestamp_form(&timestamp)?;
        Ok(Proposal::Timestamp(MultiSigned::new(timestamp)))
    }

    /// What changes, in the order in which people should read it.
    pub fn differences(&self) -> Vec<Difference> {
        let before = self.before.as_ref();
        let mut all = Vec::new();
        if let Some(root) = &self.root {
            difference::of_roots(before.map(Trust::root), root.unverified(), &mut all);
        }
        if let Some(list) = &self.list {
            difference::of_lists(before.map(Trust::list), list.unverified(), &mut all);
        }
        if let Some(timestamp) = &self.timestamp {
            difference::of_timestamps(
                before.map(Trust::timestamp),
                timestamp.unverified(),
                &mut all,
            );
        }
        all
    }

    /// The file that comes of it where nodes put the timestamp to it: with the timestamp in
    /// force, which names another list. It opens nowhere, but [`Trust::next`] takes it.
    pub fn decided(&self, at: Timestamp) -> Result<TrustFile, CeremonyError> {
        let before = self.before.as_ref().ok_or(CeremonyError::Missing(TIMESTAMP))?;
        self.check_signed()?;
        let file = self.file()?;
        before.next(&file, at)?;
        Ok(file)
    }

    pub fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    /// The trust file that comes of it, and what it opens to. Everything is checked as whoever receives the
    /// file checks it.
    pub fn publish(&self, at: Timestamp) -> Result<(TrustFile, Trust), CeremonyError> {
        self.check_signed()?;
        let file = self.file()?;
        let trust = match &self.before {
            Some(trust) => trust.update(&file, at)?,
            None => Trust::open(&file, &self.network()?, at)?,
        };
        Ok((file, trust))
    }

    fn check_signed(&self) -> Result<(), CeremonyError> {
        for Standing { what, keys, signed, role } in self.standings()? {
            let (signed, needed) = (signed.len(), role.threshold as usize);
            if signed < needed {
                return Err(CeremonyError::NotEnough { what, keys, signed, needed });
            }
        }
        Ok(())
    }

    /// What is on the table, and for the rest what is in force.
    fn file(&self) -> Result<TrustFile, CeremonyError> {
        let before = self.before.as_ref().map(Trust::file);
        let mut roots = before.map_or_else(Vec::new, |file| file.roots.clone());
        roots.extend(self.root.iter().map(|root| Bytes(root.bytes())));
        let list = self.list.as_ref().map(|list| Bytes(list.bytes()));
        let timestamp = self.timestamp.as_ref().map(|timestamp| Bytes(timestamp.bytes()));
        if let (Some(list), Some(timestamp)) = (&self.list, &self.timestamp)
            && timestamp.unverified().list_hash != list.payload_hash()
        {
            return Err(CeremonyError::OtherList);
        }
        Ok(TrustFile {
            roots,
            trust_list: list
                .or_else(|| before.map(|file| file.trust_list.clone()))
                .ok_or(CeremonyError::Missing(LIST))?,
            timestamp: timestamp
                .or_else(|| before.map(|file| file.timestamp.clone()))
                .ok_or(CeremonyError::Missing(TIMESTAMP))?,
        })
    }
}

fn join<M: Message>(
    on_the_table: &mut Option<MultiSigned<M>>,
    proposal: MultiSigned<M>,
    what: &'static str,
) -> Result<(), CeremonyError> {
    match on_the_table {
        None => *on_the_table = Some(proposal),
        Some(known) if known.payload_hash() == proposal.payload_hash() => known.join(&proposal),
        Some(_) => return Err(CeremonyError::TwoOfAKind(what)),
    }
    Ok(())
}

fn standing<M: Message>(
    proposal: &MultiSigned<M>,
    network: &NetworkId,
    (what, keys): (&'static str, &'static str),
    role: &RoleKeys,
) -> Result<Standing, CeremonyError> {
    let signed = proposal.signers(network, &role.keys);
    let signed = signed.map_err(|error| TrustError::Envelope { what: what.to_owned(), error })?;
    // One key, one voice, however the envelope came to hold it.
    debug_assert_eq!(signed.iter().collect::<BTreeSet<_>>().len(), signed.len());
    Ok(Standing { what, keys, signed, role: role.clone() })
}

#[cfg(test)]
mod tests;
