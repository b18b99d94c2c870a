//! Witnesses: a node remembers for others how far their logs had come, and asks others how far its own
//! had (`specs/09-evidence.md`, "Witnesses").
//!
//! - [`role`]: what this node does for others' logs, from its first moment on
//! - [`own_log`]: who witnesses this node's log, whether it may serve, and what they have cosigned

pub mod own_log;
pub mod role;

use evidence::note::{Checkpoint, NoteError, SignedNote};
use serde::{Deserialize, Serialize};
use wire::Timestamp;

pub use own_log::{NotServing, OwnLog};
pub use role::Witness;

/// Value of [`crate::store::Column::Witnessed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witnessed {
    /// The checkpoint as the log signed it.
    pub note: String,
    pub time: Timestamp,
}

impl Witnessed {
    fn checkpoint(&self) -> Result<Checkpoint, NoteError> {
        Checkpoint::parse(SignedNote::parse(self.note.as_bytes())?.text())
    }
}

/// Value of [`crate::store::Column::Forks`]: two checkpoints that one log signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// What was known, and stays so.
    pub known: String,
    /// What came later and does not go with it.
    pub later: String,
    pub time: Timestamp,
}
