//! Evidence: the append-only Merkle log that every node keeps of what it did, proofs from it that
//! convince others, and the Merkle map inside a channel head (`specs/09-evidence.md`).
//!
//! - [`record`]: what is recorded, and the salted commitment that a leaf holds
//! - [`tree`]: the RFC 6962 tree: growing it, proofs, their verification, C2SP tiles
//! - [`log`]: the machine that appends records and says when a checkpoint is due
//! - [`note`]: checkpoints as C2SP signed notes
//! - [`proof`]: a record with all that shows it stands in a log
//! - [`cosignature`]: a witness's signature under another's checkpoint (C2SP `cosignature/v1`)
//! - [`witness`]: what a witness checks, who witnesses whom, when a log's own node may start
//! - [`map`]: the Merkle map pair → digest of a channel head

pub mod cosignature;
pub mod log;
pub mod map;
pub mod note;
pub mod proof;
pub mod record;
pub mod tree;
pub mod witness;
