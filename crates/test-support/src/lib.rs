//! What tests and benches share.
//!
//! [`aws`] has the programs' real surroundings: moto as AWS, and AWS's Runtime Interface Emulator in front of
//! `bootstrap`. [`stub`] is AWS in memory, able to fail in every way a service can. [`log_files`] generates
//! log files of the usual shape from a seed.

pub mod aws;
pub mod event_ids;
pub mod log_files;
pub mod stub;
