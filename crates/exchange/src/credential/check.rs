//! What a recipient checks before it believes a presentation. Beyond RFC 9901 section 7.3 it holds
//! the source to this network's profile: one header, exactly these claims, every digest disclosed
//! and every disclosure used, in one order and one spelling.

use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::Value;
use ssi_jwk::Algorithm;
use ssi_jws::Header;
use ssi_sd_jwt::{DecodedSdJwt, RevealError, SdJwt};
use trust::{CertificateKind, ChainError, InvalidChain, LeafSubject, Trust, VerifiedChain};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Nonce, Purpose, ServiceId, ServiceName, SignatureBytes,
    Timestamp, exchange::Request, limits,
};

use super::{
    CLOCK_SKEW_MS, ITEMS, PRESENTATION, PRESENTATION_VALIDITY_MS, TYP, Terms, VCT, header_with,
    name,
};
use crate::json::{self, Names};

/// What the recipient asked for, and when the answer is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Id of the signed request.
    pub request: Hash,
    pub nonce: Nonce,
    pub source: &'a ServiceName,
    pub recipient: &'a ServiceName,
    pub subject: &'a ServiceId,
    pub items: &'a [ItemType],
    pub whole: bool,
    pub purpose: &'a Purpose,
    pub now: Timestamp,
}

impl<'a> Expected<'a> {
    /// The answer to a request that was signed under `id`.
    pub fn answer_to(request: &'a Request, id: Hash, now: Timestamp) -> Self {
        Self {
            request: id,
            nonce: request.nonce,
            source: &request.source,
            recipient: &request.recipient,
            subject: &request.subject,
            items: &request.items,
            whole: request.whole,
            purpose: &request.purpose,
            now,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresentationError {
    /// A verdict: this presentation is not what was asked for.
    #[error(transparent)]
    Invalid(#[from] InvalidPresentation),
    /// No verdict: nothing can be checked with a trust list that old.
    #[error("could not check the presentation: the trust list is past its hard expiry")]
    TrustExpired,
}

/// Why a presentation is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPresentation {
    #[error("the presentation is larger than {PRESENTATION} bytes")]
    TooLarge,
    #[error("not a compact SD-JWT without key binding")]
    Form,
    #[error("{0}: not base64url without padding, in its one spelling")]
    Base64(&'static str),
    #[error("{0}: not JSON of the expected form")]
    Json(&'static str),
    #[error("signed with another algorithm than ES256")]
    Algorithm,
    #[error("`typ` is not {TYP}")]
    Type,
    #[error("the header has other parameters than alg, typ and x5c")]
    Header,
    #[error("x5c: not 1 to {max} certificates in standard base64", max = limits::CHAIN)]
    X5c,
    #[error("credential certificate: {0}")]
    Chain(InvalidChain),
    #[error("the signature does not match")]
    Signature,
    #[error("`iss` is not the service that the credential certificate names")]
    IssuerCertificate,
    #[error("`iss` is not the service that was asked")]
    Issuer,
    #[error("`aud` is not the recipient")]
    Audience,
    #[error("`sub` is not the citizen asked about")]
    Subject,
    #[error("`request` is not the request's id")]
    Request,
    #[error("`nonce` is not the request's")]
    Nonce,
    #[error("`purpose` is not the request's")]
    Purpose,
    #[error("`vct` is not {VCT}")]
    CredentialType,
    #[error("`_sd_alg` is not sha-256")]
    DigestAlgorithm,
    #[error("`decisions` are not 1 to {max} ids, sorted, each once", max = limits::ITEMS)]
    Decisions,
    #[error("`terms` do not stand for exactly the permits in `decisions`")]
    Terms,
    #[error("`exp` is not after `iat`, or more than {max} ms after it", max = PRESENTATION_VALIDITY_MS)]
    Lifetime,
    #[error("issued in the future")]
    NotYetValid,
    #[error("expired")]
    Expired,
    #[error("a digest stands twice")]
    DuplicateDigest,
    #[error("a disclosure stands twice")]
    DuplicateDisclosure,
    #[error("a disclosure that no digest names")]
    UnusedDisclosure,
    #[error("a digest without its disclosure")]
    MissingDisclosure,
    #[error("disclosures are not in the order of their items")]
    DisclosureOrder,
    #[error("an item was not asked for")]
    UnaskedItem,
    #[error("not all of the items, though all or nothing was asked for")]
    NotWhole,
}

/// A presentation that holds: from the service asked, for this recipient, citizen, request and
/// moment.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckedPresentation {
    bytes: Vec<u8>,
    hash: Hash,
    request: Hash,
    id: Nonce,
    issued: Timestamp,
    expires: Timestamp,
    decisions: Vec<DecisionId>,
    terms: BTreeMap<DecisionId, Terms>,
    items: BTreeMap<ItemType, Value>,
    chain: VerifiedChain,
}

impl CheckedPresentation {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes: what a receipt names.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Id of the signed request that it answers.
    pub fn request(&self) -> Hash {
        self.request
    }

    /// `jti`.
    pub fn id(&self) -> Nonce {
        self.id
    }

    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The permits it passes on, sorted.
    pub fn decisions(&self) -> &[DecisionId] {
        &self.decisions
    }

    /// What each of those permits asks of the recipient.
    pub fn terms(&self) -> &BTreeMap<DecisionId, Terms> {
        &self.terms
    }

    /// Leaf item type → the record's JSON. Never empty.
    pub fn items(&self) -> &BTreeMap<ItemType, Value> {
        &self.items
    }

    /// The chain of the key that signed.
    pub fn chain(&self) -> &VerifiedChain {
        &self.chain
    }
}

impl std::fmt::Debug for CheckedPresentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CheckedPresentation({})", self.hash)
    }
}

/// The claims, each once, and no others. Not through `serde(flatten)`, which reads twin names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    #[serde(rename = "_sd_alg")]
    digest_algorithm: String,
    iss: String,
    aud: String,
    sub: ServiceId,
    iat: u64,
    exp: u64,
    vct: String,
    jti: Nonce,
    request: Hash,
    nonce: Nonce,
    purpose: Purpose,
    decisions: Vec<DecisionId>,
    terms: BTreeMap<DecisionId, Terms>,
    items: Concealed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Concealed {
    #[serde(rename = "_sd")]
    digests: Vec<String>,
}

/// Checks a presentation against what was asked. The signature is checked before any claim is read.
pub fn check_presentation(
    bytes: &[u8],
    expected: &Expected<'_>,
    trust: &Trust,
) -> Result<CheckedPresentation, PresentationError> {
    let sd_jwt = split(bytes)?;
    let chain = check_header(sd_jwt)?;
    let chain = trust::verify_chain(&chain, CertificateKind::Credential, trust, expected.now)
        .map_err(|error| match error {
            ChainError::Invalid(why) => InvalidPresentation::Chain(why).into(),
            ChainError::TrustExpired => PresentationError::TrustExpired,
        })?;
    check_signature(sd_jwt, &chain)?;
    let payload = read_payload(sd_jwt)?;
    check_claims(&payload, &chain, expected)?;
    let items = reveal(sd_jwt, &payload)?;
    check_items(&items, expected)?;
    Ok(CheckedPresentation {
        bytes: bytes.to_vec(),
        hash: wire::sha256(bytes),
        request: payload.request,
        id: payload.jti,
        issued: Timestamp::from_secs(payload.iat),
        expires: Timestamp::from_secs(payload.exp),
        decisions: payload.decisions,
        terms: payload.terms,
        items,
        chain,
    })
}

/// ssi takes base64url segments only, three of them before the first `~`.
fn split(bytes: &[u8]) -> Result<&SdJwt, InvalidPresentation> {
    if bytes.len() > PRESENTATION {
        return Err(InvalidPresentation::TooLarge);
    }
    let sd_jwt = SdJwt::new(bytes).map_err(|_| InvalidPresentation::Form)?;
    if sd_jwt.has_kb() { Err(InvalidPresentation::Form) } else { Ok(sd_jwt) }
}

/// Takes the chain from a header that says what it must say and nothing else.
fn check_header(sd_jwt: &SdJwt) -> Result<Vec<Bytes>, InvalidPresentation> {
    let bytes = base64url(sd_jwt.jwt().header(), "header")?;
    let not_json = |_| InvalidPresentation::Json("header");
    let value = json::parse(&bytes, Names::Any, json::DEPTH).map_err(not_json)?;
    let header: Header =
        serde_json::from_slice(&bytes).map_err(|_| InvalidPresentation::Json("header"))?;
    if header.algorithm != Algorithm::ES256 {
        return Err(InvalidPresentation::Algorithm);
    }
    if header.type_.as_deref() != Some(TYP) {
        return Err(InvalidPresentation::Type);
    }
    let x5c = header.x509_certificate_chain.unwrap_or_default();
    if !(1..=limits::CHAIN).contains(&x5c.len()) {
        return Err(InvalidPresentation::X5c);
    }
    // As values: a parameter set to null is one too many.
    if serde_json::to_value(header_with(x5c.clone())).ok() != Some(value) {
        return Err(InvalidPresentation::Header);
    }
    x5c.iter()
        .map(|text| BASE64_STANDARD.decode(text).map(Bytes).map_err(|_| InvalidPresentation::X5c))
        .collect()
}

fn check_signature(sd_jwt: &SdJwt, chain: &VerifiedChain) -> Result<(), InvalidPresentation> {
    let signature = base64url(sd_jwt.jwt().signature().as_bytes(), "signature")?;
    SignatureBytes::try_from(&signature[..])
        .and_then(|signature| chain.public_key().verify(sd_jwt.jwt().signing_bytes(), &signature))
        .map_err(|_| InvalidPresentation::Signature)
}

fn read_payload(sd_jwt: &SdJwt) -> Result<Payload, InvalidPresentation> {
    let bytes = base64url(sd_jwt.jwt().payload(), "payload")?;
    // Twin members of the claims are refused below; those of `terms` only here.
    json::check(&bytes, Names::Any, json::DEPTH)
        .map_err(|_| InvalidPresentation::Json("payload"))?;
    serde_json::from_slice(&bytes).map_err(|_| InvalidPresentation::Json("payload"))
}

fn check_claims(
    payload: &Payload,
    chain: &VerifiedChain,
    expected: &Expected<'_>,
) -> Result<(), InvalidPresentation> {
    use InvalidPresentation as Invalid;
    let certified = match chain.subject() {
        LeafSubject::Credential { service, .. } => service.uri() == payload.iss,
        // A credential chain was asked for; another kind would be the checker's fault.
        _ => false,
    };
    let decisions = &payload.decisions;
    let sorted = decisions.windows(2).all(|pair| pair[0] < pair[1]);
    let (iat, exp) = (Timestamp::from_secs(payload.iat), Timestamp::from_secs(payload.exp));
    let checks = [
        (certified, Invalid::IssuerCertificate),
        (payload.iss == expected.source.uri(), Invalid::Issuer),
        (payload.aud == expected.recipient.uri(), Invalid::Audience),
        (payload.sub == *expected.subject, Invalid::Subject),
        (payload.request == expected.request, Invalid::Request),
        (payload.nonce == expected.nonce, Invalid::Nonce),
        (payload.purpose == *expected.purpose, Invalid::Purpose),
        (payload.vct == VCT, Invalid::CredentialType),
        (payload.digest_algorithm == "sha-256", Invalid::DigestAlgorithm),
        (sorted && (1..=limits::ITEMS).contains(&decisions.len()), Invalid::Decisions),
        (payload.terms.keys().eq(decisions), Invalid::Terms),
        (iat < exp && exp.ms_since(iat) <= PRESENTATION_VALIDITY_MS, Invalid::Lifetime),
        (iat <= expected.now.plus_ms(CLOCK_SKEW_MS), Invalid::NotYetValid),
        (expected.now < exp.plus_ms(CLOCK_SKEW_MS), Invalid::Expired),
    ];
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(why),
        None => Ok(()),
    }
}

/// Puts the disclosures in the digests' places. ssi lets a disclosure that stands twice pass as one,
/// and says nothing of digests without a disclosure; both are looked for here.
fn reveal(
    sd_jwt: &SdJwt,
    payload: &Payload,
) -> Result<BTreeMap<ItemType, Value>, InvalidPresentation> {
    let mut digests = BTreeSet::new();
    for digest in &payload.items.digests {
        if base64url(digest.as_bytes(), "digest")?.len() != 32 {
            return Err(InvalidPresentation::Json("digest"));
        }
        if !digests.insert(digest) {
            return Err(InvalidPresentation::DuplicateDigest);
        }
    }
    let mut seen = BTreeSet::new();
    for disclosure in sd_jwt.disclosures() {
        let bytes = base64url(disclosure.as_bytes(), "disclosure")?;
        json::check(&bytes, Names::Unreserved, json::DEPTH)
            .map_err(|_| InvalidPresentation::Json("disclosure"))?;
        if !seen.insert(disclosure.as_bytes()) {
            return Err(InvalidPresentation::DuplicateDisclosure);
        }
        if seen.len() > limits::ITEMS {
            return Err(InvalidPresentation::Json("disclosure"));
        }
    }
    let decoded = sd_jwt.decode().map_err(|_| InvalidPresentation::Json("disclosure"))?;
    check_order(&decoded)?;
    let revealed = decoded.reveal_any().map_err(|error| match error {
        RevealError::UnusedDisclosure(_) => InvalidPresentation::UnusedDisclosure,
        RevealError::DisclosureUsedMultipleTimes => InvalidPresentation::DuplicateDigest,
        _ => InvalidPresentation::Json("disclosure"),
    })?;
    if seen.len() != digests.len() {
        return Err(InvalidPresentation::MissingDisclosure);
    }
    let items = revealed.into_claims().private.remove(ITEMS);
    let Some(Value::Object(items)) = items else {
        return Err(InvalidPresentation::Json("payload"));
    };
    items
        .into_iter()
        .map(|(item, value)| Ok((item.parse()?, value)))
        .collect::<Result<_, wire::ids::BadId>>()
        .map_err(|_| InvalidPresentation::Json("disclosure"))
}

/// One order, so that a presentation has one spelling.
fn check_order(decoded: &DecodedSdJwt<'_>) -> Result<(), InvalidPresentation> {
    let names: Vec<&str> = decoded.disclosures.iter().map(|d| name(&d.desc)).collect();
    if names.windows(2).all(|pair| pair[0] < pair[1]) {
        Ok(())
    } else {
        Err(InvalidPresentation::DisclosureOrder)
    }
}

fn check_items(
    items: &BTreeMap<ItemType, Value>,
    expected: &Expected<'_>,
) -> Result<(), InvalidPresentation> {
    let asked = |item: &ItemType| expected.items.iter().any(|asked| item.is_within(asked));
    if items.is_empty() || !items.keys().all(asked) {
        return Err(InvalidPresentation::UnaskedItem);
    }
    // A category means every leaf that the recipient knows below it; a type that the vocabulary
    // does not know means itself.
    let vocabulary = consent::vocabulary::CURRENT;
    let present = |asked: &ItemType| match vocabulary.leaves_of(asked) {
        leaves if leaves.is_empty() => items.contains_key(asked),
        leaves => leaves.iter().all(|leaf| items.contains_key(leaf)),
    };
    if expected.whole && !expected.items.iter().all(present) {
        return Err(InvalidPresentation::NotWhole);
    }
    Ok(())
}

/// Strict: no padding, no stray bits in the last character (RFC 4648 section 3.5).
fn base64url(text: &[u8], what: &'static str) -> Result<Vec<u8>, InvalidPresentation> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidPresentation::Base64(what))
}

#[cfg(test)]
mod tests;
