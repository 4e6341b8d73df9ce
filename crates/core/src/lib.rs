//! The core: bytes of a CloudTrail log file in, findings and alerts out.
//!
//! ```text
//! bytes ──log_file: inflate, split──▶ Record ──rules──▶ Finding ──▶ Alert
//! ```
//!
//! Everything here is synchronous and deterministic: no network, no environment, no clock. Times come from the
//! records, and callers pass the current one. Neither tokio nor an AWS crate is a dependency. The Lambda function and
//! the command line are built on top of it.

pub mod actor;
pub mod alert;
pub mod call_id;
pub mod deadline;
pub mod defang;
pub mod digest;
pub mod finding;
pub mod fingerprint;
pub mod json;
pub mod log_file;
pub mod object;
mod partition;
pub mod record;
pub mod redact;
pub mod response_time;
pub mod rules;
pub mod severity;
mod stop_caller;
pub mod text;
