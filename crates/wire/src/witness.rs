//! Between a log's node and its witnesses (`specs/09-evidence.md`): frames of `/mebuku/witness/1`. What
//! convinces others, checkpoints and cosignatures, is text as C2SP writes it.

use serde::{Deserialize, Serialize};

use crate::ids::Hash;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessRequest {
    /// A node to a witness of its log.
    AddCheckpoint(AddCheckpoint),
    /// Asks for the last checkpoint that the witness knows of the log with this origin.
    Latest(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddCheckpoint {
    /// Size of the tree that the proof begins at: the one the witness cosigned last, 0 for none.
    pub old_size: u64,
    /// Consistency proof (RFC 6962 section 2.1.2), at most 63 hashes.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by the log's key (c2sp.org/tlog-checkpoint).
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessReply {
    /// The checkpoint is durable here: the cosignature, one signature line without its newline.
    Cosigned(String),
    /// The proof begins at another size than this witness's last checkpoint: here it is.
    Conflict(WitnessConflict),
    /// To `latest`: the last checkpoint cosigned here, as the log signed it.
    Known(String),
    /// To `latest`: none was cosigned here.
    Unknown,
    Refused(WitnessRefused),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConflict {
    pub size: u64,
    /// As the log signed it; none if the size is 0.
    pub note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessRefused {
    /// This node is no witness.
    NotAWitness,
    /// The checkpoint is not one of the sender's own log, signed by the log key of its descriptor.
    NotYours,
    Malformed,
    /// The tree is not shown to extend the one known.
    Inconsistent,
    /// Try again later.
    Unavailable,
}
