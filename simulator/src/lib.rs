//! The promise under every fault: one world of homes and sources that run the machines of `consent` and
//! `exchange` (the same code as production, not a copy), explored exhaustively by a model checker
//! ([`model`]) and by seed over simulated days ([`run`]). `specs/14-verification.md` says what is checked
//! and which mutation each guard is proven by.

pub mod cast;
pub mod days;
pub mod explore;
pub mod judge;
pub mod model;
pub mod node;
pub mod reference;
pub mod run;
pub mod scenario;
pub mod script;
pub mod shared;
pub mod world;
