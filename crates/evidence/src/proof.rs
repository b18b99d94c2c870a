//! A record together with all that shows it stands in a node's log: what an evidence bundle carries,
//! and what is checked years later without the node.

use serde::{Deserialize, Serialize};
use wire::{Bytes, CborError, Hash, cbor};

use crate::{
    note::{Checkpoint, NoteError, VerifiedCheckpoint},
    record::{RECORD_LIMIT, Record, RecordError, commitment},
    tree::{self, InvalidTreeProof, Nodes, TreeError},
};

/// Why a log proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the log proof cannot be read: {0}")]
    Encoding(CborError),
    #[error("checkpoint: {0}")]
    Checkpoint(NoteError),
    #[error("the proof is for a log of {proof} leaves, its checkpoint for one of {checkpoint}")]
    OtherSize { proof: u64, checkpoint: u64 },
    #[error("the salt is {0} bytes long, not 32")]
    Salt(usize),
    #[error("inclusion: {0}")]
    Inclusion(InvalidTreeProof),
    #[error("the log holds this leaf, but {0}")]
    Record(RecordError),
}

/// Shows that a record is leaf `index` of a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogProof {
    /// The record's bytes, as the leaf commits to them.
    pub record: Bytes,
    /// 32 bytes.
    pub salt: Bytes,
    pub index: u64,
    /// Leaves under the checkpoint.
    pub size: u64,
    /// Inclusion proof, from the leaf up.
    pub path: Vec<Hash>,
    /// The checkpoint: a signed note.
    pub checkpoint: String,
}

/// A record that was proven to stand in a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProvenRecord {
    record: Record,
    index: u64,
    checkpoint: Checkpoint,
}

impl ProvenRecord {
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Number of its leaf, counted from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The signed head that it is proven under.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl LogProof {
    /// Largest encoded proof that is read, in bytes.
    pub const LIMIT: usize = RECORD_LIMIT + crate::note::NOTE_LIMIT + 4096;

    /// Puts a proof together from a stored record and a stored checkpoint over `size` leaves.
    pub fn new(
        nodes: &dyn Nodes,
        index: u64,
        record: &[u8],
        salt: &[u8; 32],
        size: u64,
        checkpoint: &str,
    ) -> Result<Self, TreeError> {
        Ok(Self {
            record: record.to_vec().into(),
            salt: salt.to_vec().into(),
            index,
            size,
            path: tree::inclusion_proof(nodes, index, size)?,
            checkpoint: checkpoint.to_owned(),
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads exactly what [`Self::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        cbor::from_slice_limited(bytes, "log proof", Self::LIMIT).map_err(ProofError::Encoding)
    }

    /// Checks everything: that the log `origin` signed the checkpoint with its Ed25519 key, that the
    /// leaf is in the tree under it, and that the leaf commits to the record.
    pub fn verify(&self, origin: &str, log_key: &[u8; 32]) -> Result<ProvenRecord, ProofError> {
        let verified = VerifiedCheckpoint::verify(self.checkpoint.as_bytes(), origin, log_key)
            .map_err(ProofError::Checkpoint)?;
        let checkpoint = verified.checkpoint();
        if checkpoint.size != self.size {
            let (proof, checkpoint) = (self.size, checkpoint.size);
            return Err(ProofError::OtherSize { proof, checkpoint });
        }
        let salt: &[u8; 32] =
            self.salt[..].try_into().map_err(|_| ProofError::Salt(self.salt.len()))?;
        let leaf = tree::leaf_hash(&commitment(salt, &self.record).0);
        tree::verify_inclusion(&leaf, self.index, self.size, &self.path, &checkpoint.root)
            .map_err(ProofError::Inclusion)?;
        let record = Record::from_bytes(&self.record).map_err(ProofError::Record)?;
        Ok(ProvenRecord { record, index: self.index, checkpoint: checkpoint.clone() })
    }
}

#[cfg(test)]
mod tests;
