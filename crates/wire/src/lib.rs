//! The words of the network: identifiers, deterministic CBOR, the signed envelope, every message
//! and every size limit. Nothing here does I/O, reads a clock or draws randomness.
//!
//! - [`ids`]: names that last, hashes, timestamps, item types and purposes
//! - [`cbor`]: deterministic encoding (RFC 8949 section 4.2.1) and its strict reader
//! - [`crypto`]: the one place that chooses the cryptography
//! - [`registry`]: message types, their versions and reserved ranges
//! - [`envelope`]: `COSE_Sign1` for one signer, `COSE_Sign` for a threshold of them
//! - the message modules: [`consent`], [`channel`], [`notice`], [`exchange`], [`asking`],
//!   [`membership`], [`citizen`], [`witness`]
//! - [`map`]: the proof of what a channel head says of one pair
//! - [`limits`]: how large anything may be

pub mod asking;
pub mod cbor;
pub mod channel;
pub mod citizen;
pub mod consent;
pub mod crypto;
pub mod envelope;
pub mod exchange;
pub mod ids;
pub mod limits;
pub mod map;
pub mod membership;
pub mod notice;
pub mod registry;
pub mod witness;

pub use cbor::{Bytes, CborError};
pub use crypto::{PublicKey, SignatureBytes, hash_parts, sha256};
pub use envelope::{EnvelopeError, MultiSigned, SignError, Signed, Signer, Unsigned, Verified};
pub use ids::*;
pub use registry::{Message, MessageType};
