//! A testnet on one machine: four municipalities and five providers as separate processes, and the
//! story that shows what the network is for.
//!
//! - [`roster`]: who takes part; [`founding`]: keys, certificates, trust list in a directory
//! - [`processes`]: the nodes as processes; [`citizen`]: a phone, in this process
//! - [`story`]: the demo
//! - [`faults`]: nodes are killed, suspended and cut off under load, and everything is judged
//! - [`latency`]: how soon a deny bites
//! - [`govern`]: a city joins, another is removed, while exchanges run
//! - [`web`]: a certificate authority for https
//! - [`simulation`]: the promise, model checked and simulated, without processes

pub mod citizen;
pub mod faults;
pub mod founding;
pub mod govern;
pub mod latency;
pub mod processes;
pub mod roster;
pub mod simulation;
pub mod story;
pub mod web;
