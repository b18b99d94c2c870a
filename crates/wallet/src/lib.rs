//! What a wallet does, as a library: enrolment, service certificates, links, decisions, and reading
//! the register back. Nothing here does I/O, reads a clock, draws randomness or holds a private key:
//! every request comes out as [`wire::Unsigned`], for a file key, a phone's secure element or
//! WebCrypto to sign, and goes out as [`wire::consent::Attested`] with the signer's chain.
//!
//! - [`Wallet`]: what is kept between two runs
//! - [`enrolment`], [`service_key`], [`link`]: how it gets its certificates
//! - [`decision`]: permits and denies; [`approval`]: begin and end of a pair's keys
//! - [`phones`]: the ID keys of the citizen's phones, and the end of a lost one
//! - [`register`]: what the home says stands, each entry checked; [`reopening`]: what may be named in it
//! - [`moving`]: taking the register to another municipality
//! - [`present`]: a permit at the counter, for one request, without the home
//! - [`history`]: who looked at what, and the receipt that a decision is in force
//! - [`asking`]: what recipients ask, and the answer
//! - [`record`]: data the citizen hands in themself
//!
//! Every reply is checked against what the wallet knows of itself before any of it is kept.
//! `specs/10-wallet.md` gives the calls these go into.

pub mod approval;
pub mod asking;
pub mod decision;
pub mod enrolment;
pub mod history;
pub mod link;
pub mod moving;
pub mod phones;
pub mod present;
pub mod record;
pub mod register;
pub mod reopening;
pub mod service_key;

mod error;
mod state;

pub use asking::AskedConsent;
pub use decision::{DenyDraft, NoticeText, PermitDraft};
pub use enrolment::EnrolmentDraft;
pub use error::WalletError;
pub use history::HistoryView;
pub use moving::MoveStep;
pub use register::{RegisterContent, RegisterRow, RegisterView};
pub use state::{Acting, Home, IdKey, PairHome, PendingMove, ServiceKey, ShownNotice, Wallet};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
