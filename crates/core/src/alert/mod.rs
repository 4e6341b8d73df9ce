//! Alerts: what people and machines receive about a call.
//!
//! An [`Alert`] is a finding prepared for publishing: secrets are removed, sizes are bounded. The modules
//! [`email`], [`sms`] and [`ocsf`] format it, [`digest`] puts several calls into one message, and [`message`]
//! builds what is sent to SNS. Sending it is up to the function.

pub mod accounts;
pub mod backfill;
mod contents;
pub mod digest;
pub mod email;
pub mod message;
pub mod ocsf;
pub mod operator;
pub mod resource;
pub mod sharing;
pub mod sms;
mod source;

pub use contents::{Alert, Repeats};
pub use source::Source;

#[cfg(test)]
mod tests;
