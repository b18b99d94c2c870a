//! Who may say what: certificates, path validation, the trust list, membership
//! (`specs/03-trust.md`). Nothing here does I/O, reads a clock or draws randomness.
//!
//! - [`oids`]: our policies and extended key usages
//! - [`issue`]: building certificates of the network's profile
//! - [`request`]: certification requests (PKCS#10)
//! - [`chain`]: path validation (RFC 5280), giving a [`VerifiedChain`]
//! - [`list`]: root chain, trust list and timestamp, giving a [`Trust`]
//! - [`ceremony`]: how people change root and list: proposals, differences, signatures
//! - [`timestamping`]: how nodes renew the timestamp by themselves, and strike somebody off
//! - [`member`]: a node's identity and hello, giving a [`Member`]
//! - `testing` (feature `testing`): a small network with keys made from numbers

pub mod ceremony;
pub mod chain;
pub mod issue;
pub mod list;
pub mod member;
pub mod oids;
mod profile;
pub mod request;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timestamping;

pub use chain::{
    CertificateKind, ChainError, InvalidChain, LeafSubject, SignedError, VerifiedChain,
    verify_chain, verify_chain_though_revoked, verify_signed, verify_signed_before,
};
pub use issue::{Ca, IssueError, LeafKind, Pointers, Validity, leaf, root_ca, sub_ca};
pub use list::{Freshness, Trust, TrustError, Versions, network_id};
pub use member::{Member, MemberError, verify_hello, verify_identity};
pub use profile::{ProfileError, claimed_validity};
pub use request::{Request, RequestError, request};
