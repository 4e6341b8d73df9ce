//! CloudTrail digest files: the signed, hourly lists of the log files that CloudTrail has delivered.
//!
//! ```text
//! key ─────────▶ Chain, end                        key.rs
//! bytes ───────▶ Digest                            document.rs
//! ListPublicKeys ▶ PublicKey ─▶ signature          public_key.rs, signature.rs
//! log file ────▶ FileState                         file_state.rs
//! all of a chain ▶ Verdict: proved, gaps, findings chain.rs
//! ```
//!
//! Everything here is given: what was listed, read and hashed, the public keys, and the time. Where it comes from, and
//! what is done about a finding, is decided by the function and the command line.
//!
//! What CloudTrail writes is described in its User Guide, "CloudTrail digest file structure" and "Custom
//! implementations of CloudTrail log file integrity validation".

pub mod chain;
pub mod document;
pub mod file_state;
pub mod finding;
pub mod key;
pub mod place;
pub mod public_key;
pub mod signature;
pub mod verdict;

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod document_tests;
