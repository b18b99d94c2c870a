//! The node's http faces: [`public`] for wallets and auditors, [`provider`] for the organisation's
//! own systems on the local network, with metrics, health and a home's officer's desk beside it.

pub mod bounds;
mod ca;
mod desk;
mod governance;
pub mod problem;
pub mod provider;
pub mod public;

pub use problem::{Body, Problem};
