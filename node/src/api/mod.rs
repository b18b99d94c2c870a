//! The node's http faces: [`public`] for wallets and auditors, [`provider`] for the organisation's
//! own systems on the local network, with metrics and health beside it.

pub mod bounds;
pub mod problem;
pub mod provider;
pub mod public;

pub use problem::{Body, Problem};
