//! One request, one presentation, one receipt (`specs/06-exchange.md`). Nothing here does I/O,
//! reads a clock or draws randomness; signatures are made outside.
//!
//! - [`credential`]: the SD-JWT VC that a source releases: issuing and checking
//! - [`request`]: what a recipient asks, and the source's checks of it up to authenticity
//! - [`source`]: from an authentic request to bytes that may leave: evaluate, prepare, commit, send
//! - [`recipient`]: the recipient's side of one request, from the question to the noted receipt
//! - [`receipt`]: the recipient's word that it got what it asked for

pub mod bundle;
pub mod credential;
mod json;
pub mod receipt;
pub mod recipient;
pub mod request;
pub mod source;

pub use credential::{
    CheckedPresentation, Claims, Expected, InvalidPresentation, IssueError, Presentation,
    PresentationError, Record, Terms, UnsignedPresentation, check_presentation,
};
pub use json::BadJson;
pub use receipt::{ReceiptError, ReceivedReceipt, receipt};
pub use recipient::{Answer, Ending, Next, NoEnding, OwnRequest, OwnRequestError, StoredRequest};
pub use request::{Ask, Authentic, Received, RequestFault};
pub use source::{
    Allowed, ChannelView, Committed, Declined, Evaluated, PairView, PrepareError, Prepared,
    PresentConsent, Previous, Released, Resend, View, padded_delay,
};

#[cfg(test)]
mod fixture;
