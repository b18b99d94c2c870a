//! The citizen's identity: proofing with a My Number Card, the citizen's number and service ids,
//! and what an issuing CA decides (`specs/07-identity.md`). Pure: time, randomness, revocation
//! lists and signers come from outside.
//!
//! - [`jpki`]: the signing certificate on the card, checked to the letter, and its revocation lists
//! - [`proofing`]: the registration authority's machine, from challenge to [`ProofedCitizen`]
//! - [`number`]: canonical identity, the verifiable function behind the number, service ids
//! - [`issuing`]: ID certificates, service certificates and link attestations
//! - `synthetic` (feature): a make-believe J-LIS and its cards, for testnets and tests

pub mod issuing;
pub mod jpki;
pub mod number;
pub mod proofing;
#[cfg(any(test, feature = "synthetic"))]
pub mod synthetic;

pub use jpki::{CardAttributes, CheckedCard, JpkiRoots, check_certificate};
pub use number::{CanonicalIdentity, Number, Y, service_id};
pub use proofing::{CardStatus, EnrolmentError, ProofedCitizen, Registrar};
