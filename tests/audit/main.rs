//! The audit of digest files, through the whole function: signed chains of digest files and log files arrive in any
//! order, late, twice and never, and somebody alters, replaces and deletes them. What is found must be published once, and
//! nothing that did not happen may be published.

mod faults;
mod process;
mod reading;
mod removed;
mod silence;
mod tampering;
mod trail;
#[path = "../world/mod.rs"]
mod world;
