//! The evidence bundle: an honest one proves its release, and nothing that was changed in it, put
//! into it or left out of it passes. One release in memory, with every signature real.

#[path = "bundle/release.rs"]
mod release;
#[path = "bundle/world.rs"]
mod world;

#[path = "bundle/bytes.rs"]
mod bytes;
#[path = "bundle/collusion.rs"]
mod collusion;
#[path = "bundle/confirmed.rs"]
mod confirmed;
#[path = "bundle/counter.rs"]
mod counter;
#[path = "bundle/honest.rs"]
mod honest;
#[path = "bundle/moved.rs"]
mod moved;
#[path = "bundle/wrong_parts.rs"]
mod wrong_parts;
