//! Signed notes (c2sp.org/signed-note) and the checkpoints in them (c2sp.org/tlog-checkpoint): a log's
//! head, as text that a person can read and any C2SP witness can cosign.
//!
//! ```text
//! <origin>
//! <size in decimal>
//! <base64 of the root>
//!
//! — <key name> <base64 of key id ‖ signature>
//! ```
//!
//! Ed25519 only (algorithm byte 0x01). Base64 is the standard alphabet with padding and without stray
//! bits: a note has one spelling.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use wire::{Hash, NetworkId, OrganisationId, SignError, crypto::verify_ed25519, sha256};

/// Algorithm byte of Ed25519 in keys and key ids.
const ED25519: u8 = 1;
/// Largest note that is read, in bytes. A checkpoint with a cosignature of every witness is far below.
pub const NOTE_LIMIT: usize = 64 * 1024;
/// Most signatures that a note may carry, known or unknown.
pub const SIGNATURES_LIMIT: usize = 100;
/// What begins a signature line: an em dash and a space.
const SIGNATURE_MARK: &str = "— ";

/// Why something is not a note, or not the checkpoint that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the note is {0} bytes long, at most {NOTE_LIMIT} are allowed")]
    TooLarge(usize),
    #[error("not a signed note (c2sp.org/signed-note): {0}")]
    Note(&'static str),
    #[error("the note carries more than {SIGNATURES_LIMIT} signatures")]
    TooManySignatures,
    #[error("not a verifier key (<name>+<key id>+<base64 of an Ed25519 key>)")]
    VerifierKey,
    #[error("not a checkpoint (c2sp.org/tlog-checkpoint): {0}")]
    Checkpoint(&'static str),
    #[error("the checkpoint is of the log `{got}`, not of `{expected}`")]
    OtherOrigin { expected: String, got: String },
    #[error("the note carries no signature of the key `{0}`")]
    NotSigned(String),
    #[error("the signature of the key `{0}` does not match the note")]
    BadSignature(String),
}

/// Something that signs with one Ed25519 key. May be slow.
pub trait NoteSigner {
    fn public_key(&self) -> [u8; 32];
    /// Ed25519 (RFC 8032) over `message`.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// A key name: not empty, no whitespace, no plus sign.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The key that a note is checked with, under the name that its signature line bears. Its text form
/// is `<name>+<key id in hexadecimal>+<base64 of 0x01 ‖ key>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::VerifierKey);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The first four bytes of SHA-256(name ‖ 0x0a ‖ 0x01 ‖ key): tells keys apart, proves nothing.
    pub fn key_id(&self) -> [u8; 4] {
        let bytes = [self.name.as_bytes(), &[b'\n', ED25519], &self.key].concat();
        let [a, b, c, d, ..] = sha256(&bytes).0;
        [a, b, c, d]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.key_id());
        let key = STANDARD.encode([&[ED25519], &self.key[..]].concat());
        write!(f, "{}+{id:08x}+{key}", self.name)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        // Base64 may hold a plus sign, a name may not.
        let mut fields = text.splitn(3, '+');
        let mut field = || fields.next().ok_or(NoteError::VerifierKey);
        let (name, _id, key) = (field()?, field()?, field()?);
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::VerifierKey)?;
        let key = bytes.strip_prefix(&[ED25519]).ok_or(NoteError::VerifierKey)?;
        let key = Self::new(name, key.try_into().map_err(|_| NoteError::VerifierKey)?)?;
        // The key id must match, and there is one spelling.
        if key.to_string() == text { Ok(key) } else { Err(NoteError::VerifierKey) }
    }
}

/// One signature line. Its signature may be of any algorithm, and says nothing until checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NoteSignature {
    pub name: String,
    pub key_id: [u8; 4],
    pub signature: Vec<u8>,
}

/// The line as it stands in a note, without the newline.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id, &self.signature[..]].concat();
        write!(f, "{SIGNATURE_MARK}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = NoteError;
    fn from_str(line: &str) -> Result<Self, NoteError> {
        parse_signature(line).ok_or(NoteError::Note("malformed signature line"))
    }
}

/// A note that was read but not checked. Prints itself as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Signs `text` (lines, the last one ended, without control characters) under a key name.
    pub fn sign(text: String, name: &str, signer: &dyn NoteSigner) -> Result<Self, SignError> {
        let fault = |error: NoteError| SignError(error.to_string());
        let key = VerifierKey::new(name, signer.public_key()).map_err(fault)?;
        check_text(&text).map_err(fault)?;
        let signature = signer.sign(text.as_bytes())?.to_vec();
        let signature = NoteSignature { name: name.to_owned(), key_id: key.key_id(), signature };
        Ok(Self { text, signatures: vec![signature] })
    }

    /// Reads a note.
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > NOTE_LIMIT {
            return Err(NoteError::TooLarge(note.len()));
        }
        let note = str::from_utf8(note).map_err(|_| NoteError::Note("not UTF-8"))?;
        // The text may hold empty lines itself: signatures follow the last one.
        let border = note.rfind("\n\n").ok_or(NoteError::Note("no signatures"))?;
        let (text, lines) = (&note[..border + 1], &note[border + 2..]);
        check_text(text)?;
        let lines =
            lines.strip_suffix('\n').ok_or(NoteError::Note("the last line does not end"))?;
        let signatures = lines
            .split('\n')
            .take(SIGNATURES_LIMIT + 1)
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_LIMIT {
            return Err(NoteError::TooManySignatures);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What is signed, newline at its end included.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note with the signatures under one name only.
    #[must_use]
    pub fn signed_only_by(mut self, name: &str) -> Self {
        self.signatures.retain(|line| line.name == name);
        self
    }

    /// Adds a signature line, such as a witness's cosignature.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        if self.signatures.len() >= SIGNATURES_LIMIT {
            return Err(NoteError::TooManySignatures);
        }
        if !is_key_name(&signature.name) || signature.signature.is_empty() {
            return Err(NoteError::Note("malformed signature line"));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Checks that `key` signed the text. Signatures of other keys are passed over; one that names
    /// this key and does not match spoils the note.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let key_id = key.key_id();
        let mut signed = false;
        for line in &self.signatures {
            if line.name == key.name && line.key_id == key_id {
                verify_ed25519(&key.key, self.text.as_bytes(), &line.signature)
                    .map_err(|_| NoteError::BadSignature(key.name.clone()))?;
                signed = true;
            }
        }
        if signed { Ok(()) } else { Err(NoteError::NotSigned(key.name.clone())) }
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Note("the text's last line does not end"));
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Note("control characters in the text"));
    }
    Ok(())
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, base64) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    let bytes = STANDARD.decode(base64).ok()?;
    let (key_id, signature) = bytes.split_first_chunk()?;
    (is_key_name(name) && !signature.is_empty()).then(|| NoteSignature {
        name: name.to_owned(),
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}

/// The origin of the evidence log of an organisation's node, and the name of its key: unique for ever,
/// whatever addresses and keys the node has.
pub fn log_origin(network: &NetworkId, organisation: &OrganisationId) -> String {
    format!("mebuku/{network}/{organisation}")
}

/// A log's head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Which log this is; also the name of the key that signs.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads the text of a note. Extension lines after the root are passed over, as C2SP demands.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let text = text.strip_suffix('\n').ok_or(NoteError::Checkpoint("a line does not end"))?;
        let mut lines = text.split('\n');
        let mut line = |what| lines.next().ok_or(NoteError::Checkpoint(what));
        let (origin, size, root) = (line("no origin")?, line("no size")?, line("no root")?);
        if origin.is_empty() {
            return Err(NoteError::Checkpoint("the origin is empty"));
        }
        if lines.any(str::is_empty) {
            return Err(NoteError::Checkpoint("an extension line is empty"));
        }
        let parsed: u64 = size.parse().map_err(|_| NoteError::Checkpoint("not a size"))?;
        if parsed.to_string() != size || parsed > crate::tree::MAX_SIZE {
            return Err(NoteError::Checkpoint("not a size"));
        }
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| Hash::try_from(&bytes[..]).ok())
            .ok_or(NoteError::Checkpoint("the root is not the base64 of a hash"))?;
        Ok(Self { origin: origin.to_owned(), size: parsed, root })
    }

    /// Signs the checkpoint with the log's key.
    pub fn sign(&self, signer: &dyn NoteSigner) -> Result<SignedNote, SignError> {
        SignedNote::sign(self.text(), &self.origin, signer)
    }
}

/// A checkpoint that the log's key signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifiedCheckpoint(Checkpoint);

impl VerifiedCheckpoint {
    /// Checks that `note` is a checkpoint of the log `origin`, signed by its Ed25519 key.
    pub fn verify(note: &[u8], origin: &str, log_key: &[u8; 32]) -> Result<Self, NoteError> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != origin {
            let got = checkpoint.origin.chars().take(128).collect();
            return Err(NoteError::OtherOrigin { expected: origin.to_owned(), got });
        }
        note.verify(&VerifierKey::new(origin, *log_key)?)?;
        Ok(Self(checkpoint))
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.0
    }
}

#[cfg(test)]
pub(crate) mod tests;
