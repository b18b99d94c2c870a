//! Who is wanted struck off, and by how many of the timestamp keys.

use std::collections::{BTreeMap, BTreeSet};

use wire::{
    Bytes, EnvelopeError, MultiSigned, PublicKey,
    membership::{Denial, Denied},
};

use super::sole_signers;
use crate::list::{Trust, denial_signers};

/// Most that one key may want struck off beside one list: whoever needs more makes a new list.
pub const OF_ONE_KEY: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DenialError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the denial is about trust list {named}; {in_force} is in force")]
    Lapsed { named: u64, in_force: u64 },
    #[error("the denial carries a signature of a key that is no timestamp key, or none at all")]
    Stranger,
    #[error("one key wants more than {OF_ONE_KEY} struck off")]
    TooMany,
}

/// Signed denials beside the list in force.
#[derive(Debug, Clone, Default)]
pub struct Denials(BTreeMap<Denied, Known>);

#[derive(Debug, Clone)]
struct Known {
    denial: MultiSigned<Denial>,
    /// Whose signatures were found good: nothing is verified twice.
    signers: BTreeSet<PublicKey>,
}

/// One that waits for more signatures, or has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub denied: Denied,
    pub signed: usize,
    pub needed: usize,
}

impl Denials {
    /// Takes one in; its signatures and those known become one. Gives whether there was anything new.
    pub fn add(&mut self, bytes: &[u8], trust: &Trust) -> Result<bool, DenialError> {
        let denial = MultiSigned::<Denial>::decode(bytes)?;
        let Denial { denied, list_version: named } = denial.unverified().clone();
        let in_force = trust.list().version;
        if named != in_force {
            return Err(DenialError::Lapsed { named, in_force });
        }
        let signers = sole_signers(&denial, trust, &trust.root().timestamp)?;
        let signers = signers.ok_or(DenialError::Stranger)?;
        self.0.retain(|_, known| known.denial.unverified().list_version == in_force);
        for key in &signers {
            let others = self.0.iter().filter(|(other, _)| **other != denied);
            if others.filter(|(_, known)| known.signers.contains(key)).count() >= OF_ONE_KEY {
                return Err(DenialError::TooMany);
            }
        }
        match self.0.get_mut(&denied) {
            Some(known) => {
                let before = known.signers.len();
                known.denial.join(&denial);
                known.signers.extend(signers);
                Ok(known.signers.len() > before)
            }
            None => {
                self.0.insert(denied, Known { denial, signers: signers.into_iter().collect() });
                Ok(true)
            }
        }
    }

    /// Those beside the list in force, with how many of the keys in force want them.
    fn counted<'a>(&'a self, trust: &'a Trust) -> impl Iterator<Item = (&'a Denied, usize)> + 'a {
        let (version, keys) = (trust.list().version, &trust.root().timestamp.keys);
        let current = move |known: &Known| known.denial.unverified().list_version == version;
        // Keys may have left the role since they signed.
        let count = |known: &Known| keys.iter().filter(|key| known.signers.contains(key)).count();
        let all = self.0.iter().filter(move |(_, known)| current(known));
        all.map(move |(denied, known)| (denied, count(known)))
    }

    /// Whom at least so many keys want struck off while this list is in force.
    pub(super) fn wanted_by<'a>(
        &'a self,
        needed: usize,
        trust: &'a Trust,
    ) -> impl Iterator<Item = Denied> + 'a {
        let enough = self.counted(trust).filter(move |(_, signed)| *signed >= needed);
        enough.map(|(denied, _)| denied.clone())
    }

    pub fn pending(&self, trust: &Trust) -> Vec<Pending> {
        let needed = denial_signers(&trust.root().timestamp);
        let pending =
            |(denied, signed): (&Denied, usize)| Pending { denied: denied.clone(), signed, needed };
        self.counted(trust).map(pending).collect()
    }

    /// As they travel.
    pub fn bytes(&self) -> Vec<Bytes> {
        self.0.values().map(|known| Bytes(known.denial.bytes())).collect()
    }
}
