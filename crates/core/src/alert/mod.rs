//! Alerts: what people and machines receive about a call.
//!
//! An [`Alert`] is a finding prepared for publishing: secrets are removed, sizes are bounded. The modules
//! [`email`], [`sms`] and [`ocsf`] format one alert, [`summary`] formats several, and [`compose`] makes of them the
//! [`message`] for SNS. Publishing it is up to the function.

pub mod accounts;
mod advice;
mod attack;
mod attributes;
pub mod compose;
mod contents;
pub mod email;
mod evidence;
pub mod message;
pub mod ocsf;
pub mod operator;
pub mod reminder;
pub mod resource;
pub mod sharing;
pub mod sms;
mod source;
pub mod summary;
pub mod trail;

pub use advice::Advice;
pub use contents::{Alert, Repeats};
pub use source::Source;

#[cfg(test)]
mod tests;
