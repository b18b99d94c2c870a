//! The `mebuku` node: carries out the effects of the pure crates. Sockets, disk, clocks and
//! randomness live here and nowhere below.
//!
//! - [`run`]: a node's life, from opening its store to stopping
//! - [`home`], [`source`], [`recipient`]: the roles; [`inbound`] is where other nodes reach them
//! - [`context`]: what all of them share
//! - [`api`]: the http faces; [`net`]: libp2p; [`store`]: the commit point and what is below it
//! - [`cli`]: the command line, with [`wallet_client`] and [`provider_client`] to speak to nodes;
//!   [`tls`] for both ends of the public face

pub mod api;
pub mod bundle;
pub mod ca;
mod catch_up;
pub mod certificates;
pub mod channel_store;
pub mod cli;
pub mod clock;
pub mod config;
pub mod context;
pub mod courier;
pub mod entropy;
pub mod evidence_log;
pub mod home;
mod http_client;
pub mod inbound;
pub mod keys;
pub mod metrics;
pub mod net;
pub mod operator;
pub mod provider_client;
pub mod rate;
pub mod recipient;
pub mod run;
pub mod source;
pub mod store;
pub mod timestamper;
pub mod tls;
pub mod trust_keeper;
pub mod wallet_client;
pub mod witness;
