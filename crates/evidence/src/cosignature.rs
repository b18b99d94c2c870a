//! Cosignatures of witnesses (c2sp.org/tlog-cosignature, `cosignature/v1`, Ed25519): a further line
//! under a checkpoint that says "at this time this was the largest tree of this log that I have seen,
//! and it extends all that I saw before".
//!
//! ```text
//! — <key name> <base64 of key id ‖ time in seconds (8 bytes, big-endian) ‖ Ed25519 signature>
//! ```
//!
//! What is signed is `cosignature/v1`, `time <seconds>` and the checkpoint's text, so a cosignature
//! never passes for a log's own signature, whatever key made it.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use wire::{NetworkId, OrganisationId, SignError, Timestamp, crypto::verify_ed25519, sha256};

use crate::note::{NoteError, NoteSignature, NoteSigner, SignedNote, is_key_name, log_origin};

/// Algorithm byte of Ed25519 cosignatures in keys and key ids.
const COSIGNATURE: u8 = 4;
/// Largest time that C2SP lets a cosignature bear, in seconds.
const TIME_LIMIT: u64 = i64::MAX as u64;

/// The name under which an organisation's node cosigns.
pub fn witness_name(network: &NetworkId, organisation: &OrganisationId) -> String {
    format!("{}/witness", log_origin(network, organisation))
}

/// The key that a witness's cosignatures are checked with. Prints itself as a C2SP vkey.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CosignerKey {
    name: String,
    key: [u8; 32],
}

impl CosignerKey {
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::VerifierKey);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name ‖ 0x0a ‖ 0x04 ‖ key).
    pub fn key_id(&self) -> [u8; 4] {
        let bytes = [self.name.as_bytes(), &[b'\n', COSIGNATURE], &self.key].concat();
        let [a, b, c, d, ..] = sha256(&bytes).0;
        [a, b, c, d]
    }

    /// Cosigns a checkpoint's text with the key of `signer`, under this name.
    pub fn cosign(
        name: &str,
        text: &str,
        time: Timestamp,
        signer: &dyn NoteSigner,
    ) -> Result<NoteSignature, SignError> {
        let key = Self::new(name, signer.public_key()).map_err(|e| SignError(e.to_string()))?;
        let seconds = time.as_secs();
        let signature = signer.sign(message(text, seconds).as_bytes())?;
        let signature = [&seconds.to_be_bytes()[..], &signature].concat();
        Ok(NoteSignature { name: name.to_owned(), key_id: key.key_id(), signature })
    }

    /// Checks that `line` is this witness's cosignature over a checkpoint's text; tells its time.
    pub fn verify(&self, text: &str, line: &NoteSignature) -> Result<Timestamp, NoteError> {
        if line.name != self.name || line.key_id != self.key_id() {
            return Err(NoteError::NotSigned(self.name.clone()));
        }
        let bad = || NoteError::BadSignature(self.name.clone());
        let (seconds, signature) = line.signature.split_first_chunk().ok_or_else(bad)?;
        let seconds = u64::from_be_bytes(*seconds);
        if seconds > TIME_LIMIT {
            return Err(bad());
        }
        verify_ed25519(&self.key, message(text, seconds).as_bytes(), signature)
            .map_err(|_| bad())?;
        Ok(Timestamp::from_secs(seconds))
    }

    /// Looks for this witness's cosignature in a note. One that bears its name and key id and does
    /// not match spoils the note; of several, the latest time counts.
    pub fn find(&self, note: &SignedNote) -> Result<Timestamp, NoteError> {
        let key_id = self.key_id();
        let mut latest = None;
        for line in note.signatures() {
            if line.name == self.name && line.key_id == key_id {
                latest = latest.max(Some(self.verify(note.text(), line)?));
            }
        }
        latest.ok_or_else(|| NoteError::NotSigned(self.name.clone()))
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.key_id());
        let key = STANDARD.encode([&[COSIGNATURE], &self.key[..]].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

#[cfg(test)]
mod tests;
