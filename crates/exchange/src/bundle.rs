//! 証拠束: everything that shows, without any node and years later, that one release was allowed:
//! who asked, what the citizen had decided, that the source knew all of it, and what went out
//! (`specs/12-bundle.md`).
//!
//! [`verify`] replays it: it opens the trust list under a root hash that the reader brings, checks
//! every signature and every proof at the time of the release, lets the entries that the channels of the
//! pair's homes hold act on an empty state as the source did, and evaluates the request again. Every byte of a bundle is
//! covered by one of the checks; none is there for show.

mod check;

use evidence::proof::LogProof;
use serde::{Deserialize, Serialize};
use wire::{
    Bytes, CborError, Hash, cbor,
    channel::PairExtract,
    consent::Attested,
    membership::{NodeIdentity, TrustFile},
};

pub use check::{BundleError, Check, Verdict, verify, verify_against};

/// Largest bundle that is read, in bytes.
pub const BUNDLE_LIMIT: usize = 32 * 1024 * 1024;
/// What the file begins with, so that a reader knows it by sight.
pub const FORMAT: &str = "mebuku/bundle/1";

/// The evidence of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// Root chain, trust list and timestamp as the source held them.
    pub trust: TrustFile,
    pub source: NodeIdentity,
    pub recipient: NodeIdentity,
    pub home: NodeIdentity,
    /// The release in the source's evidence log; it holds the signed request.
    pub release: LogProof,
    /// The SD-JWT VC that went out, all disclosures with it.
    pub presentation: Bytes,
    /// The lease it went out under: a signed grant by the home. A release on a present-consent needs
    /// none; that is in the request.
    pub grant: Option<Bytes>,
    /// What the source had applied of the pair from each of its homes, in the order in which they were
    /// that: its keys, permits, denies and moves. One is the channel of the release, at its head.
    pub channels: Vec<PairExtract>,
    /// The recipient's signed receipt, if it came.
    pub receipt: Option<Bytes>,
}

/// A deny and the signed word that it is in force: what its citizen keeps, to hold against a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmedDeny {
    /// [`CONFIRMED_DENY`].
    pub format: String,
    /// A signed [`wire::consent::Decision`], with its chain.
    pub deny: Attested,
    /// A signed [`wire::notice::Effect`], with its chain.
    pub receipt: Attested,
}

/// What the file of a [`ConfirmedDeny`] begins with.
pub const CONFIRMED_DENY: &str = "mebuku/confirmed-deny/1";
/// Largest such file that is read, in bytes.
pub const CONFIRMED_DENY_LIMIT: usize = 256 * 1024;

impl ConfirmedDeny {
    pub fn new(deny: Attested, receipt: Attested) -> Self {
        Self { format: CONFIRMED_DENY.to_owned(), deny, receipt }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads what [`Self::to_bytes`] writes. Nothing in it is checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let confirmed: Self =
            cbor::from_slice_limited(bytes, "confirmed deny", CONFIRMED_DENY_LIMIT)?;
        if confirmed.format != CONFIRMED_DENY {
            return Err(CborError::Shape("not a confirmed deny of this version".to_owned()));
        }
        Ok(confirmed)
    }
}

impl Bundle {
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads exactly what [`Self::to_bytes`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let bundle: Self = cbor::from_slice_limited(bytes, "evidence bundle", BUNDLE_LIMIT)?;
        // Serde reads a field left out as `None`: a second encoding of the same bundle.
        if bundle.to_bytes() == bytes { Ok(bundle) } else { Err(CborError::NotDeterministic) }
    }

    pub fn hash(&self) -> Hash {
        wire::sha256(&self.to_bytes())
    }
}
