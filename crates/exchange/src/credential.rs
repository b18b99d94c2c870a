//! 提示: the SD-JWT VC (RFC 9901; draft-ietf-oauth-sd-jwt-vc) that a source releases to one
//! recipient for one request. Each item is disclosed by a disclosure of its own, so that the
//! recipient can later show one without the others.
//!
//! The signature is made outside (a key store may be slow): [`UnsignedPresentation`] holds the JWS
//! signing input and takes the signature. ssi conceals, encodes, decodes and reveals; what our
//! profile asks beyond it stands in [`check`].

mod check;

use std::collections::BTreeMap;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rand_chacha_03::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ssi_jwk::Algorithm;
use ssi_jws::{Header, JwsPayload};
use ssi_sd_jwt::{DisclosureDescription, JsonPointerBuf, SdAlg, SdJwtPayload};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Nonce, Purpose, ServiceId, ServiceName, SignError,
    SignatureBytes, Signer, Timestamp,
    consent::{Onward, Permit, Window},
    limits,
};

pub use check::{
    CheckedPresentation, Expected, InvalidPresentation, PresentationError, check_presentation,
};

use crate::json::{self, BadJson, Names};

/// The credential's type (`vct`).
pub const VCT: &str = "mebuku:vct/presentation/1";
/// The media type of an SD-JWT VC, as `typ`.
pub const TYP: &str = "dc+sd-jwt";
/// Largest presentation, in bytes: one frame, with room for what stands around it.
pub const PRESENTATION: usize = limits::FRAME - 64 * 1024;
/// Longest time from `iat` to `exp`: a presentation answers one request that lives two minutes.
pub const PRESENTATION_VALIDITY_MS: u64 = 300_000;
/// How far the clocks of two members may be apart.
pub const CLOCK_SKEW_MS: u64 = 60_000;

/// The claim that holds the items, and in it the digests.
const ITEMS: &str = "items";
const DIGESTS: &str = "_sd";

/// A record's JSON as a source holds it, e.g. a FHIR R4 AllergyIntolerance. Numbers keep all
/// their digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Record {
    value: Value,
    about: Option<Timestamp>,
}

/// What a permit asks of the recipient: signed by the citizen, not enforced by the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Which data it is, by the time it is about; `None` is all.
    pub window: Option<Window>,
    /// How long the recipient may keep it, in days; `None` is as the law says.
    pub retention_days: Option<u32>,
    pub onward: Onward,
    /// The first moment at which the permit no longer holds.
    pub valid_until: Timestamp,
}

impl Terms {
    pub fn of(permit: &Permit) -> Self {
        Self {
            window: permit.window,
            retention_days: permit.retention_days,
            onward: permit.onward,
            valid_until: permit.valid_until,
        }
    }

    /// Whether a record lies in the window. One of no known time lies in none.
    pub fn covers(&self, record: &Record) -> bool {
        self.window.is_none_or(|window| {
            record.about.is_some_and(|about| window.from <= about && about < window.until)
        })
    }
}

impl Record {
    /// Reads JSON in UTF-8, at most [`limits::RECORD`] bytes.
    pub fn from_json(text: &[u8]) -> Result<Self, BadJson> {
        if text.len() > limits::RECORD {
            return Err(BadJson);
        }
        json::parse(text, Names::Unreserved, json::RECORD_DEPTH)
            .map(|value| Self { value, about: None })
    }

    /// With the time that it is about.
    #[must_use]
    pub fn about(self, about: Option<Timestamp>) -> Self {
        Self { about, ..self }
    }

    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}

/// What is released to whom, for which request, on which decisions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claims {
    pub source: ServiceName,
    pub recipient: ServiceName,
    /// The citizen's service id at the recipient.
    pub subject: ServiceId,
    /// Id of the signed request.
    pub request: Hash,
    /// The request's nonce.
    pub nonce: Nonce,
    pub purpose: Purpose,
    /// The permits it passes on, each with its terms.
    pub decisions: BTreeMap<DecisionId, Terms>,
    /// Cut down to seconds.
    pub issued: Timestamp,
    /// Cut down to seconds; at most [`PRESENTATION_VALIDITY_MS`] after `issued`.
    pub expires: Timestamp,
    pub items: BTreeMap<ItemType, Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("a presentation holds 1 to {max} items", max = limits::ITEMS)]
    Items,
    #[error("a presentation names the permits it passes on")]
    Decisions,
    #[error("a presentation ends after it begins, at most {max} ms later", max = PRESENTATION_VALIDITY_MS)]
    Validity,
    #[error("a credential chain has 1 to {max} certificates of at most {bytes} bytes", max = limits::CHAIN, bytes = limits::CERTIFICATE)]
    Chain,
    #[error("the presentation is larger than {PRESENTATION} bytes")]
    TooLarge,
    #[error("ssi could not conceal the items")]
    Conceal,
}

/// A presentation waiting for its signature.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnsignedPresentation {
    signing_input: Vec<u8>,
    /// Each with its closing `~`.
    disclosures: Vec<u8>,
}

impl UnsignedPresentation {
    /// `chain` is the credential chain, leaf first, anchor left out; its leaf's key signs. `seed` is
    /// 32 random bytes that are never used twice: salts and `jti` come from it.
    pub fn new(claims: &Claims, chain: &[Bytes], seed: [u8; 32]) -> Result<Self, IssueError> {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut id = Nonce([0; 16]);
        rng.fill_bytes(&mut id.0);
        let claims_set = claim_set(claims, &id)?;
        let pointers: Vec<JsonPointerBuf> = claims
            .items
            .keys()
            .map(|item| JsonPointerBuf::new(format!("/{ITEMS}/{item}")))
            .collect::<Result<_, _>>()
            .map_err(|_| IssueError::Conceal)?;
        let (mut payload, mut disclosures) =
            SdJwtPayload::conceal_claims(claims_set, rng, SdAlg::Sha256, &pointers)
                .map_err(|_| IssueError::Conceal)?;
        // In the order of the digests, which says nothing (RFC 9901 section 4.2.4.1).
        payload.claims[ITEMS][DIGESTS]
            .as_array_mut()
            .ok_or(IssueError::Conceal)?
            .sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        disclosures.sort_by(|a, b| name(&a.desc).cmp(name(&b.desc)));

        let signing_input = header(chain)?.encode_signing_bytes(&payload.payload_bytes());
        let disclosures: Vec<u8> = disclosures
            .iter()
            .flat_map(|disclosure| disclosure.encoded.as_bytes().iter().chain(b"~").copied())
            .collect();
        if signing_input.len() + disclosures.len() + 88 > PRESENTATION {
            return Err(IssueError::TooLarge);
        }
        Ok(Self { signing_input, disclosures })
    }

    /// The JWS signing input (RFC 7515 section 5.1): the bytes to sign with ES256.
    pub fn signing_input(&self) -> &[u8] {
        &self.signing_input
    }

    pub fn finish(self, signature: SignatureBytes) -> Presentation {
        let mut bytes = self.signing_input;
        bytes.push(b'.');
        bytes.extend_from_slice(BASE64_URL_SAFE_NO_PAD.encode(signature.0).as_bytes());
        bytes.push(b'~');
        bytes.extend_from_slice(&self.disclosures);
        Presentation { bytes }
    }

    pub fn sign(self, signer: &dyn Signer) -> Result<Presentation, SignError> {
        let signature = signer.sign(&self.signing_input)?;
        Ok(self.finish(signature))
    }
}

impl std::fmt::Debug for UnsignedPresentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnsignedPresentation")
    }
}

/// A signed presentation in its compact serialisation, all disclosures with it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Presentation {
    bytes: Vec<u8>,
}

impl Presentation {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// SHA-256 of the bytes: how releases and receipts name it.
    pub fn hash(&self) -> Hash {
        wire::sha256(&self.bytes)
    }
}

impl std::fmt::Debug for Presentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presentation({} bytes)", self.bytes.len())
    }
}

fn claim_set(claims: &Claims, id: &Nonce) -> Result<Map<String, Value>, IssueError> {
    if !(1..=limits::ITEMS).contains(&claims.items.len()) {
        return Err(IssueError::Items);
    }
    if !(1..=limits::ITEMS).contains(&claims.decisions.len()) {
        return Err(IssueError::Decisions);
    }
    let lifetime_ms = claims.expires.ms_since(claims.issued);
    if claims.expires.as_secs() <= claims.issued.as_secs() || lifetime_ms > PRESENTATION_VALIDITY_MS
    {
        return Err(IssueError::Validity);
    }
    let decisions: Vec<Value> = claims.decisions.keys().map(|id| id.to_string().into()).collect();
    let terms: Map<String, Value> = claims
        .decisions
        .iter()
        .map(|(id, terms)| Ok((id.to_string(), serde_json::to_value(terms)?)))
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|_| IssueError::Conceal)?;
    let items: Map<String, Value> = claims
        .items
        .iter()
        .map(|(item, record)| (item.to_string(), record.value.clone()))
        .collect();
    let members: [(&str, Value); 13] = [
        ("iss", claims.source.uri().into()),
        ("aud", claims.recipient.uri().into()),
        ("sub", claims.subject.to_string().into()),
        ("iat", claims.issued.as_secs().into()),
        ("exp", claims.expires.as_secs().into()),
        ("vct", VCT.into()),
        ("jti", id.to_string().into()),
        ("request", claims.request.to_string().into()),
        ("nonce", claims.nonce.to_string().into()),
        ("purpose", claims.purpose.to_string().into()),
        ("decisions", decisions.into()),
        ("terms", terms.into()),
        (ITEMS, items.into()),
    ];
    Ok(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The one protected header there is for a chain (RFC 7515 section 4.1.6: standard base64).
fn header(chain: &[Bytes]) -> Result<Header, IssueError> {
    let fits = (1..=limits::CHAIN).contains(&chain.len())
        && chain.iter().all(|der| der.len() <= limits::CERTIFICATE);
    if !fits {
        return Err(IssueError::Chain);
    }
    let chain = chain.iter().map(|der| BASE64_STANDARD.encode(&der[..])).collect();
    Ok(header_with(chain))
}

fn header_with(x5c: Vec<String>) -> Header {
    Header {
        algorithm: Algorithm::ES256,
        type_: Some(TYP.to_owned()),
        x509_certificate_chain: Some(x5c),
        ..Header::default()
    }
}

fn name(description: &DisclosureDescription) -> &str {
    match description {
        DisclosureDescription::ObjectEntry { key, .. } => key,
        DisclosureDescription::ArrayItem(_) => "",
    }
}

#[cfg(test)]
mod tests;
