//! The audit of CloudTrail's digest files, as the function makes it while files arrive: what it needs of S3, CloudTrail
//! and the tables.
//!
//! ```text
//! log file read ─────▶ its hash, in the ledger's table        files.rs
//! digest file ───────▶ fetched, its signature verified        digest.rs, keys.rs
//! its log files ─────▶ proved by the hash in the table, or not read yet
//! chain ─────────────▶ its newest end, in the watch table     watch/chain.rs
//! ```
//!
//! What a digest file says is judged in the core ([`cloudhsm_alerts_core::digest`]). When it is read, what is read
//! because of it, and what is published, is decided by the invocation.

pub(crate) mod digest;
pub(crate) mod files;
pub(crate) mod keys;
