//! Support for tests and benches: AWS on loopback, payloads and records, and generated log files.
//!
//! AWS comes in two forms. [`moto`] implements the services as AWS documents them, and shows that requests are
//! valid. [`stub`] holds the state of a few services in memory and injects faults, and shows that no alert is
//! lost when a service fails.
//!
//! The function runs as its real program in both: [`emulator`] starts `bootstrap` in the Lambda Runtime
//! Interface Emulator, [`runtime_api`] talks to `bootstrap` directly, so that a test can kill it and set the
//! deadline of an invocation.
//!
//! [`aws_cli`] checks commands in alerts and reports.

pub mod aws_cli;
mod clock;
pub mod dice;
pub mod digests;
pub mod emulator;
pub mod fixtures;
mod http;
pub mod log_files;
pub mod moto;
pub mod process;
pub mod published;
pub mod quota;
pub mod runtime_api;
pub mod sdk;
pub mod stub;
pub mod tampering;
pub mod tls;
