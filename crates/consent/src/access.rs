//! What the keys of a pair may see of it and do about it beside deciding. Whoever shows a citizen's
//! register, or takes their record, asks here: a certificate alone says only whose key it is, not that
//! the citizen still holds it, nor that they ever did.

use wire::{KeyHash, Timestamp, consent::ExpressedBy};

use crate::pair::PairState;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// See what was decided, and whether it is in force.
    Register,
    /// See what recipients ask, and answer them.
    Requests,
    /// See who looked at what.
    History,
    /// Put a record in at the source.
    Record,
}

/// Why a key may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoAccess {
    #[error(
        "no key-begin names this key here (yet): it may deny, and nothing else; another key of the \
         citizen's has to approve it"
    )]
    NotBegun,
    #[error("the key was ended: it may deny, and nothing else")]
    Ended,
    #[error("the key's time is over: it may deny, and nothing else")]
    Over,
    #[error("this is not for a proxy")]
    NotForProxy,
}

/// Whether `key` may have `access` at `at`. A key that stands may, as far as its basis goes: the
/// citizen's own and a guardian's all of it; a proxy's what deciding asks for.
pub fn may(pair: &PairState, key: &KeyHash, access: Access, at: Timestamp) -> Result<(), NoAccess> {
    let basis = pair.standing_basis(key, at).ok_or_else(|| {
        if pair.ended.contains_key(key) {
            NoAccess::Ended
        } else if pair.keys.contains_key(key) {
            NoAccess::Over
        } else {
            NoAccess::NotBegun
        }
    })?;
    match (basis, access) {
        (ExpressedBy::Proxy, Access::History | Access::Record) => Err(NoAccess::NotForProxy),
        (ExpressedBy::Oneself | ExpressedBy::Guardian, _)
        | (ExpressedBy::Proxy, Access::Register | Access::Requests) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trust::testing::TestSigner;
    use wire::{PublicKey, Signer};

    use super::*;
    use crate::pair::PairKey;

    const UNTIL: Timestamp = Timestamp::from_secs(1000);

    fn key(seed: u8) -> PublicKey {
        TestSigner::new(100 + seed).public_key()
    }

    #[test]
    fn a_key_sees_what_its_standing_and_its_basis_allow() {
        use Access::{History, Record, Register, Requests};
        use NoAccess::{Ended, NotBegun, NotForProxy, Over};
        let mut pair = PairState::default();
        for (seed, basis) in
            [(1, ExpressedBy::Oneself), (2, ExpressedBy::Guardian), (3, ExpressedBy::Proxy)]
        {
            let public_key = key(seed);
            let begun = PairKey { public_key, basis, until: UNTIL };
            pair.keys.insert(public_key.key_hash(), begun);
        }
        let before = Timestamp(UNTIL.0 - 1);
        let all = |pair: &PairState, seed, at| {
            [Register, Requests, History, Record]
                .map(|access| may(pair, &key(seed).key_hash(), access, at))
        };
        assert_eq!(all(&pair, 1, before), [Ok(()); 4]);
        assert_eq!(all(&pair, 2, before), [Ok(()); 4]);
        assert_eq!(all(&pair, 3, before), [Ok(()), Ok(()), Err(NotForProxy), Err(NotForProxy)]);
        // At majority, or when a power of attorney runs out.
        assert_eq!(all(&pair, 2, UNTIL), [Err(Over); 4]);
        assert_eq!(all(&pair, 4, before), [Err(NotBegun); 4], "certified, by whomever");
        // An end that keeps permits keeps no sight; and one may come before its begin.
        pair.ended.insert(key(1).key_hash(), BTreeSet::from([wire::DecisionId([9; 32])]));
        pair.ended.insert(key(4).key_hash(), BTreeSet::new());
        assert_eq!(all(&pair, 1, before), [Err(Ended); 4]);
        assert_eq!(all(&pair, 4, before), [Err(Ended); 4]);
    }
}
