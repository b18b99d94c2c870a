//! Who is wanted struck off, and by how many of the timestamp keys.

use std::collections::BTreeMap;

use wire::{
    Bytes, EnvelopeError, MultiSigned,
    membership::{Denial, Denied},
};

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
pub struct Denials(BTreeMap<Denied, MultiSigned<Denial>>);

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
        let (named, in_force) = (denial.unverified().list_version, trust.list().version);
        if named != in_force {
            return Err(DenialError::Lapsed { named, in_force });
        }
        let keys = &trust.root().timestamp.keys;
        let signers = denial.signers(trust.network(), keys)?;
        if signers.is_empty() || signers.len() != denial.signatures() {
            return Err(DenialError::Stranger);
        }
        let denied = &denial.unverified().denied;
        for key in &signers {
            let others =
                self.of_this_list(trust).filter(|known| known.unverified().denied != *denied);
            let signed = |other: &&MultiSigned<Denial>| {
                other.signers(trust.network(), keys).is_ok_and(|signers| signers.contains(key))
            };
            if others.filter(signed).count() >= OF_ONE_KEY {
                return Err(DenialError::TooMany);
            }
        }
        self.0.retain(|_, known| known.unverified().list_version == in_force);
        match self.0.get_mut(denied) {
            Some(known) => {
                let before = known.signatures();
                known.join(&denial);
                Ok(known.signatures() > before)
            }
            None => {
                self.0.insert(denied.clone(), denial);
                Ok(true)
            }
        }
    }

    fn of_this_list<'a>(&'a self, trust: &Trust) -> impl Iterator<Item = &'a MultiSigned<Denial>> {
        let version = trust.list().version;
        self.0.values().filter(move |denial| denial.unverified().list_version == version)
    }

    /// Whom at least so many keys want struck off while this list is in force.
    pub(super) fn wanted_by<'a>(
        &'a self,
        needed: usize,
        trust: &'a Trust,
    ) -> impl Iterator<Item = Denied> + 'a {
        let enough = move |denial: &&MultiSigned<Denial>| signed(denial, trust) >= needed;
        self.of_this_list(trust).filter(enough).map(|denial| denial.unverified().denied.clone())
    }

    pub fn pending(&self, trust: &Trust) -> Vec<Pending> {
        let needed = denial_signers(&trust.root().timestamp);
        let pending = |denial: &MultiSigned<Denial>| Pending {
            denied: denial.unverified().denied.clone(),
            signed: signed(denial, trust),
            needed,
        };
        self.of_this_list(trust).map(pending).collect()
    }

    /// As they travel.
    pub fn bytes(&self) -> Vec<Bytes> {
        self.0.values().map(|denial| Bytes(denial.bytes())).collect()
    }
}

fn signed(denial: &MultiSigned<Denial>, trust: &Trust) -> usize {
    // Keys may have left the role since they signed.
    let keys = &trust.root().timestamp.keys;
    denial.signers(trust.network(), keys).map_or(0, |signers| signers.len())
}
