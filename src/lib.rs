//! CloudTrail log files in, alerts about CloudHSM's management calls out.
//!
//! The flow, in the order of the modules:
//!
//! ```text
//! invocation payload ──payload──▶ ObjectRef … ──s3──▶ bytes                              shell
//!                                                       │
//!    bytes ──log_file: inflate, split──▶ Record ──rules──▶ Finding ──▶ Alert             core: pure
//!                                                       │
//!              Alert ──ledger: told before?──▶ sns: publish ──▶ Outcome ──▶ reply        shell
//! ```
//!
//! The core ([`finding::Scan`], [`alert`]) takes bytes and gives findings: synchronous, with no clock,
//! no environment, no network. The function ([`function`]), the command line and the tests are shells
//! around it.

pub mod actor;
pub mod alert;
pub mod call_id;
pub mod chat;
pub mod clock;
pub mod finding;
pub mod fingerprint;
pub mod function;
pub mod ledger;
pub mod links;
pub mod log_file;
pub mod metrics;
pub mod object;
pub mod outcome;
pub mod payload;
pub mod record;
pub mod redact;
pub mod rule_source;
pub mod rules;
pub mod s3;
pub mod sdk;
pub mod settings;
pub mod severity;
pub mod shell;
pub mod sns;
pub mod text;

pub use tolerant_json as json;
