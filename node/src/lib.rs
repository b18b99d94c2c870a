//! The `mebuku` node: carries out the effects of the pure crates. Sockets, disk, clocks and
//! randomness live here and nowhere below.

pub mod config;
pub mod keys;
pub mod net;
pub mod store;
