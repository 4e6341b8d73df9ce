//! The reply to an invocation, in the form that its sender expects: counts, the failed messages of SQS, a result
//! for each task of S3 Batch Operations, or a failure of the whole invocation.

use std::fmt;

use aws_lambda_events::{
    s3::batch_job::{S3BatchJobResponse, S3BatchJobResult},
    sqs::SqsBatchResponse,
};
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// Failures named in `errorMessage`, whose size Lambda limits; the rest is counted.
const MAX_FAILURES: usize = 10;
/// Characters of `errorMessage`.
const MAX_MESSAGE: usize = 16_000;
/// Characters of a task's result in the report of S3 Batch Operations.
const MAX_RESULT: usize = 1000;

/// What became of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitResult {
    /// SQS's message ID or the task ID of S3 Batch Operations; empty for a whole invocation.
    pub id: String,
    /// Its failures, in the order of the payload.
    pub failures: Vec<Failure>,
    /// For the report of a job, if there are no failures.
    pub summary: String,
}

/// A failed invocation, as the runtime passes it to Lambda. The runtime logs the Debug form, too; each failure
/// has its own line in the log by then, so that form only refers to them.
pub struct Failed(pub Diagnostic);

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the invocation failed with {}; each failure has its own line above",
            self.0.error_type
        )
    }
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Diagnostic {
        failed.0
    }
}

/// `errorType` and `errorMessage` of a failed invocation. The type is that of the failures if they all have the
/// same, else `SeveralFailures`.
pub fn failed(failures: &[Failure]) -> Failed {
    let first = failures.first().map_or("Unknown", Failure::error_type);
    let agree = failures.iter().all(|failure| failure.error_type() == first);
    let named: Vec<String> = failures
        .iter()
        .take(MAX_FAILURES)
        .map(ToString::to_string)
        .collect();
    let mut message = named.join("; ");
    if failures.len() > MAX_FAILURES {
        message.push_str(&format!("; and {} more", failures.len() - MAX_FAILURES));
    }
    Failed(Diagnostic {
        error_type: if agree { first } else { "SeveralFailures" }.to_owned(),
        error_message: truncated(&message, MAX_MESSAGE),
    })
}

/// At most so many characters.
fn truncated(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}

/// The reply to SQS: the messages that failed.
///
/// # Errors
/// A message without an ID failed. It cannot be named, so the whole batch has to be retried.
pub fn sqs(results: &[UnitResult]) -> Result<Value, Failed> {
    let mut reply = SqsBatchResponse::default();
    for unit in results.iter().filter(|unit| !unit.failures.is_empty()) {
        if unit.id.is_empty() {
            return Err(failed(&unit.failures));
        }
        reply.add_failure(&unit.id);
    }
    json(&reply)
}

/// The reply to S3 Batch Operations: a result for each task.
///
/// # Errors
/// None in practice; see [`json`].
pub fn batch(
    schema_version: &str,
    invocation_id: &str,
    results: &[UnitResult],
) -> Result<Value, Failed> {
    let mut reply = S3BatchJobResponse::default();
    reply.invocation_schema_version = Some(schema_version.to_owned());
    reply.invocation_id = Some(invocation_id.to_owned());
    reply.treat_missing_keys_as = Some("PermanentFailure".to_owned());
    reply.results = results.iter().map(task_result).collect();
    json(&reply)
}

fn task_result(unit: &UnitResult) -> S3BatchJobResult {
    let code = match unit.failures.as_slice() {
        [] => "Succeeded",
        some if some.iter().any(Failure::is_temporary) => "TemporaryFailure",
        _ => "PermanentFailure",
    };
    let text = match unit.failures.first() {
        Some(failure) => format!("{}: {failure}", failure.error_type()),
        None => unit.summary.clone(),
    };
    let mut result = S3BatchJobResult::default();
    result.task_id = Some(unit.id.clone());
    result.result_code = Some(code.to_owned());
    result.result_string = Some(truncated(&text, MAX_RESULT));
    result
}

/// A reply as JSON.
///
/// # Errors
/// The value has no JSON form; those of this crate have.
pub fn json(reply: &impl Serialize) -> Result<Value, Failed> {
    serde_json::to_value(reply).map_err(|error| {
        Failed(Diagnostic {
            error_type: "Reply.NotJson".into(),
            error_message: error.to_string(),
        })
    })
}
