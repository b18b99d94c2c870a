//! Records a citizen hands in themself, straight to the source that will hold them.

use consent::vocabulary;
use wire::{
    ItemType, Nonce, ServiceName, Timestamp, Unsigned, cbor::Bytes, citizen::RecordSubmission,
    limits,
};

use crate::{Wallet, WalletError, error::DraftFault};

impl Wallet {
    /// For the key at `source` to sign. `content` is JSON in UTF-8, at most [`limits::RECORD`] bytes.
    pub fn record(
        &self,
        source: &ServiceName,
        item: ItemType,
        content: &str,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<RecordSubmission>, WalletError> {
        let own = self.service(source)?;
        // A record is one item; a category has none of its own.
        if !vocabulary::CURRENT.is_leaf(&item) {
            return Err(DraftFault::UnknownItem(item).into());
        }
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(content).is_ok();
        if !is_json || content.len() > limits::RECORD {
            return Err(DraftFault::Record.into());
        }
        let submission = RecordSubmission {
            pair: self.pair(source)?,
            item,
            content: Bytes(content.as_bytes().to_vec()),
            nonce,
            time: at,
        };
        Ok(Unsigned::new(submission, self.network(), &own.key))
    }
}
