//! The Lambda function: notifications of CloudTrail log files in, SNS alerts about CloudHSM calls out.
//!
//! ```text
//! invocation payload ──payload──▶ ObjectRef … ──s3──▶ bytes
//!                                                       │
//!                                   cloudhsm_alerts_core: bytes ──▶ Finding ──▶ Alert
//!                                                       │
//!         Alert ──ledger: deduplicate──▶ sns: publish ──▶ counts, failures ──▶ reply, metrics
//! ```
//!
//! Log files, rules and alerts are in the core, which has neither network nor clock. This crate connects the core
//! to S3, SNS and DynamoDB.

pub mod account_names;
mod audit;
pub mod channel;
pub mod chat;
pub mod clock;
pub mod context;
pub mod counts;
mod dynamodb;
pub mod failure;
pub mod files;
pub mod function;
mod instance;
mod invocation;
pub mod ledger;
pub mod logging;
pub mod metrics;
mod panics;
pub mod payload;
pub mod reply;
pub mod roots;
pub mod rule_source;
pub mod s3;
pub mod sdk;
pub mod settings;
pub mod sns;
pub mod timing;
pub mod watch;
