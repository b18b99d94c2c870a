//! The real binary, as processes: what it says to bad input, and what it does when nodes, disks and
//! operators fail it. One network is founded for all tests here.

mod asking;
mod bad_input;
mod ceremony;
mod confirmed;
mod desk;
mod disk;
mod enrolments;
mod faces;
mod forgeries;
mod governing;
mod http;
mod https;
mod joining;
mod leases;
mod lost;
mod many;
mod members;
mod moves;
mod notices;
mod outage;
mod peer;
mod phones;
mod present;
mod refusals;
mod relay;
mod replay;
mod start;
mod timestamps;
mod witnesses;
mod world;
