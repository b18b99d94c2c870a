//! The real binary, as processes: what it says to bad input, and what it does when nodes, disks and
//! operators fail it. One network is founded for all tests here.

mod asking;
mod desk;
mod disk;
mod enrolments;
mod faces;
mod forgeries;
mod http;
mod https;
mod moves;
mod notices;
mod outage;
mod phones;
mod present;
mod replay;
mod start;
mod witnesses;
mod world;
