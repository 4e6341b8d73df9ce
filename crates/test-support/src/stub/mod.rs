//! In-memory AWS with fault injection: as much of S3, SNS, DynamoDB and CloudTrail as the function
//! uses.
//!
//! A request can fail with an error before or after it takes effect, lose its connection, lose it in the middle
//! of a response, or never get a response. The stub is fast enough for thousands of test runs. It does not check
//! requests as AWS does: [`crate::moto`] is for that. Its conditional writes hold as DynamoDB's do, so what happens
//! when several clients write at once is tested here: moto loses some of such writes.

mod dynamodb;
mod expressions;
mod faults;
mod request;
mod server;
mod services;
mod state;

pub use faults::{ErrorKind, Fault, FaultPlan, RandomFaults};
pub use request::{Operation, RequestKey};
pub use server::{Latency, Stub};
pub use state::State;
