//! The ID keys of one person's phones, and how a lost one is ended: by any other, or by a new one that
//! the card enrolled.

use wire::{
    KeyHash, Nonce, Timestamp, Unsigned,
    citizen::{IdEnd, IdKeys, IdQuery},
};

use crate::{Wallet, WalletError, error::DraftFault};

impl Wallet {
    /// For the ID key to sign: which ID keys has my number at the home?
    pub fn id_query(&self, nonce: Nonce, at: Timestamp) -> Result<Unsigned<IdQuery>, WalletError> {
        Ok(Unsigned::new(IdQuery { nonce, time: at }, self.network(), &self.id()?.key))
    }

    /// For the ID key to sign: that other phone is lost.
    pub fn end_id_key(
        &self,
        key: KeyHash,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<IdEnd>, WalletError> {
        let own = self.id()?.key;
        if own.key_hash() == key {
            return Err(DraftFault::EndsOwnId.into());
        }
        Ok(Unsigned::new(IdEnd { key, nonce, time: at }, self.network(), &own))
    }

    /// Checks that a home's list has this phone in it, and the key that was to be ended as ended.
    pub fn check_id_keys(&self, keys: &IdKeys, ended: Option<&KeyHash>) -> Result<(), WalletError> {
        let own = self.id()?.key.key_hash();
        let find = |key: &KeyHash| keys.keys.iter().find(|row| row.key == *key);
        let ended = ended.is_none_or(|key| find(key).is_some_and(|row| row.ended.is_some()));
        if find(&own).is_some() && ended { Ok(()) } else { Err(WalletError::OtherIdKeys) }
    }
}

#[cfg(test)]
mod tests {
    use trust::testing::NOW;
    use wire::{Signer, citizen::EnrolledIdKey};

    use super::*;
    use crate::testing::{Citizen, TestHome};

    #[test]
    fn a_phone_ends_another_one_and_checks_that_it_was() {
        let mut home = TestHome::new();
        let Citizen { wallet, id: phone, .. } = Citizen::new(&mut home, "hanako");
        let (own, lost) = (phone.public_key().key_hash(), KeyHash([7; 32]));
        assert!(matches!(
            wallet.end_id_key(own, Nonce([1; 16]), NOW),
            Err(WalletError::Draft(DraftFault::EndsOwnId))
        ));
        let end = wallet.end_id_key(lost, Nonce([1; 16]), NOW).unwrap().sign(&phone).unwrap();
        assert_eq!((end.key(), end.unverified().key), (own, lost));
        let row = |key, ended| EnrolledIdKey { key, enrolled: NOW, ended };
        let keys = |rows: &[EnrolledIdKey]| IdKeys { keys: rows.to_vec() };
        let both = keys(&[row(own, None), row(lost, Some(NOW))]);
        wallet.check_id_keys(&both, Some(&lost)).unwrap();
        for wrong in [
            keys(&[row(own, None), row(lost, None)]),
            keys(&[row(own, None)]),
            keys(&[row(lost, Some(NOW))]),
        ] {
            let checked = wallet.check_id_keys(&wrong, Some(&lost));
            assert!(matches!(checked, Err(WalletError::OtherIdKeys)));
        }
        wallet.check_id_keys(&keys(&[row(own, None)]), None).unwrap();
    }
}
