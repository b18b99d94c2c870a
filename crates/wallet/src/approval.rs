//! Begin and end of a pair's keys: an earlier key lets a new phone permit, another key ends a lost
//! phone's.

use std::collections::BTreeSet;
use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    DecisionId, KeyHash, Nonce, ServiceName, Timestamp, Unsigned,
    cbor::Bytes,
    consent::{ExpressedBy, KeyBegin, KeyEnd},
};

use crate::{Wallet, WalletError, error::DraftFault};

impl Wallet {
    /// For this wallet's key at `source` to sign: lets the key that `chain` certifies (leaf first,
    /// from the citizen's other phone) permit, as long as its certificate holds.
    pub fn approve_key(
        &self,
        source: &ServiceName,
        chain: Vec<Bytes>,
        trust: &Trust,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<KeyBegin>, WalletError> {
        self.begin(source, chain, (ExpressedBy::Oneself, None), trust, nonce, at)
    }

    /// The same for the phone of a proxy, until a day: this signature is their power of attorney.
    pub fn approve_proxy(
        &self,
        source: &ServiceName,
        chain: Vec<Bytes>,
        until: Timestamp,
        trust: &Trust,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<KeyBegin>, WalletError> {
        self.begin(source, chain, (ExpressedBy::Proxy, Some(until)), trust, nonce, at)
    }

    fn begin(
        &self,
        source: &ServiceName,
        chain: Vec<Bytes>,
        (basis, until): (ExpressedBy, Option<Timestamp>),
        trust: &Trust,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<KeyBegin>, WalletError> {
        let own = self.service(source)?;
        let verified = trust::verify_chain(&chain, CertificateKind::Service, trust, at)
            .map_err(WalletError::Chain)?;
        match verified.subject() {
            LeafSubject::Service { service, subject, .. }
                if service == source && *subject == own.subject => {}
            _ => return Err(WalletError::OtherSubject),
        }
        let begin = KeyBegin {
            nonce,
            pair: self.pair(source)?,
            basis,
            authority: None,
            until: until.map_or(verified.not_after(), |until| until.min(verified.not_after())),
            chain,
            time: at,
        };
        Ok(Unsigned::new(begin, self.network(), &own.key))
    }

    /// For this wallet's key at `source` to sign: ends another key of the pair. All its permits are
    /// void but for those in `keeps` (empty for a lost phone); its denies stand.
    pub fn end_key(
        &self,
        source: &ServiceName,
        key: KeyHash,
        keeps: &BTreeSet<DecisionId>,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<KeyEnd>, WalletError> {
        let own = self.service(source)?;
        if own.key.key_hash() == key {
            return Err(DraftFault::EndsItself.into());
        }
        let pair = self.pair(source)?;
        let keeps = keeps.iter().copied().collect();
        let end = KeyEnd { nonce, pair, key, keeps, time: at };
        Ok(Unsigned::new(end, self.network(), &own.key))
    }
}
