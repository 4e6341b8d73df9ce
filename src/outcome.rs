//! What became of an invocation: the counts, the failures, and the reply that the sender wants.

use std::{collections::BTreeMap, fmt};

use aws_lambda_events::{
    s3::batch_job::{S3BatchJobResponse, S3BatchJobResult},
    sqs::SqsBatchResponse,
};
use lambda_runtime::Diagnostic;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::{payload::PayloadError, s3::FetchError, sns::PublishError};
use cloudhsm_alerts_core::{
    log_file::{LogFileError, Unreadable},
    object::ObjectRef,
    rules::Filtered,
};

/// Lambda keeps error messages to a bounded size; so many failures are named, the rest is counted.
const FAILURES_NAMED: usize = 10;

/// Counts of one invocation.
///
/// `records = evaluated + unreadable` and
/// `matched = published + digested + folded + filtered + below_minimum + already_told + failed + only_counted`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Log files read, whole or in part.
    pub objects: u64,
    /// Objects and messages without records of management calls, by what they are.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Elements of `Records`.
    pub records: u64,
    /// Records that the rules looked at.
    pub evaluated: u64,
    /// Elements that are no record, or too large.
    pub unreadable: u64,
    /// Records that met a rule.
    pub matched: u64,
    /// Records in messages, which were refused: anyone who may send messages can have written them.
    #[serde(skip_serializing_if = "is_zero")]
    pub untrusted: u64,
    /// Calls told in a message of their own.
    pub published: u64,
    /// Calls told in a digest.
    pub digested: u64,
    /// Calls that repeat another one, and are counted in its alert.
    #[serde(skip_serializing_if = "is_zero")]
    pub folded: u64,
    /// Calls that filters kept back from every rule they met.
    pub filtered: u64,
    /// What each filter kept back, by rule, then by filter; also of calls that another rule told all the
    /// same.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered_by: BTreeMap<String, BTreeMap<String, u64>>,
    /// Calls below the lowest severity that is published.
    pub below_minimum: u64,
    /// Calls for which an alert had been published before.
    pub already_told: u64,
    /// Calls that could not be told.
    pub failed: u64,
    /// Calls that have the event ID of another call, as far as this instance knows. Each is alerted: a record
    /// that somebody made up silences no other.
    #[serde(skip_serializing_if = "is_zero")]
    pub event_ids_reused: u64,
    /// Looks for changed rules that found files which cannot be used.
    #[serde(skip_serializing_if = "is_zero")]
    pub rules_trouble: u64,
    /// Calls that a backfill only counted: in a dry run, or because the job had sent all its messages.
    #[serde(skip_serializing_if = "is_zero")]
    pub only_counted: u64,
    /// How often the ledger's table failed. No call was kept back for it; some may be told again.
    #[serde(skip_serializing_if = "is_zero")]
    pub ledger_trouble: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Whether every record and every match became something.
    pub fn sums_hold(&self) -> bool {
        let outcomes = [
            self.published,
            self.digested,
            self.folded,
            self.filtered,
            self.below_minimum,
            self.already_told,
            self.failed,
            self.only_counted,
        ];
        self.records == self.evaluated + self.unreadable
            && self.matched == outcomes.iter().sum::<u64>()
    }

    /// Notes what filters kept back of one call.
    pub fn note_filtered(&mut self, filtered: &[Filtered]) {
        for Filtered { rule, filter } in filtered {
            *self
                .filtered_by
                .entry(rule.name.clone())
                .or_default()
                .entry(filter.name.clone())
                .or_default() += 1;
        }
    }
}

/// One thing that went wrong, with what it is about.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A part of the payload.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// An object that could not be fetched.
    #[error("object {object}: {error}")]
    Object {
        /// Which.
        object: ObjectRef,
        /// Why.
        error: FetchError,
    },
    /// A log file that could not be read to its end.
    #[error("log file {object}: {error}")]
    LogFile {
        /// Which.
        object: ObjectRef,
        /// Why.
        error: LogFileError,
    },
    /// A log file that was read to its end, but for records that are none.
    #[error("log file {object}: {first}{}; all else of the file was done", and_more(*count))]
    Unreadable {
        /// Which.
        object: ObjectRef,
        /// How many.
        count: u64,
        /// The first of them.
        first: Unreadable,
    },
    /// An alert that could not be published.
    #[error("alert for event {event_id}: {error}")]
    Publish {
        /// The call, by its event ID.
        event_id: String,
        /// Why.
        error: PublishError,
    },
    /// A call that another invocation is about to tell, or was when it died.
    #[error(
        "alert for event {event_id}: another invocation has claimed it and not yet published it; a retry finds it told, or tells it"
    )]
    Claimed {
        /// The call, by its event ID.
        event_id: String,
    },
    /// An object for which the invocation's time did not suffice.
    #[error(
        "object {object}: there was no time left to read it{}; what was found is told, and a retry reads the rest", from_its_start(*read)
    )]
    ObjectOutOfTime {
        /// Which.
        object: ObjectRef,
        /// Bytes of it that were read.
        read: u64,
    },
    /// An alert for which the invocation's time did not suffice.
    #[error("alert for event {event_id}: there was no time left to publish it; a retry does")]
    AlertOutOfTime {
        /// The call, by its event ID.
        event_id: String,
    },
    /// A fault in this program.
    #[error("{at}: cloudhsm-alerts panicked: {message}; please report it")]
    Panicked {
        /// What it was about.
        at: String,
        /// What the panic said.
        message: String,
    },
}

fn from_its_start(read: u64) -> String {
    match read {
        0 => String::new(),
        read => format!(" beyond byte {read}"),
    }
}

fn and_more(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    }
}

impl Failure {
    /// The stable name in `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Failure::Payload(error) if error.is_untrusted => "Payload.Untrusted",
            Failure::Payload(_) => "Payload.Unknown",
            Failure::Object { error, .. } => error.error_type(),
            Failure::LogFile { error, .. } => error.error_type(),
            Failure::Unreadable { .. } => "LogFile.UnreadableRecord",
            Failure::Publish { error, .. } => error.error_type(),
            Failure::Claimed { .. } => "Ledger.Claimed",
            Failure::ObjectOutOfTime { .. } => "Object.OutOfTime",
            Failure::AlertOutOfTime { .. } => "Publish.OutOfTime",
            Failure::Panicked { .. } => "Function.Panicked",
        }
    }

    /// The call whose alert it is about, by its event ID, and why it was not published; `None`: it is about
    /// something else.
    pub fn about_alert(&self) -> Option<(&str, String)> {
        match self {
            Failure::Publish { event_id, error } => Some((event_id, error.to_string())),
            Failure::Claimed { event_id } => Some((
                event_id,
                "another invocation has claimed them and not yet published them; a retry finds them alerted, or alerts"
                    .into(),
            )),
            Failure::AlertOutOfTime { event_id } => Some((
                event_id,
                "there was no time left to publish them; a retry does".into(),
            )),
            _ => None,
        }
    }

    /// Whether the same work may succeed when it is done again without anybody mending anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Failure::Payload(_)
            | Failure::LogFile { .. }
            | Failure::Unreadable { .. }
            | Failure::Panicked { .. } => false,
            Failure::Claimed { .. }
            | Failure::ObjectOutOfTime { .. }
            | Failure::AlertOutOfTime { .. } => true,
            Failure::Object { error, .. } => error.is_temporary(),
            Failure::Publish { error, .. } => error.is_temporary(),
        }
    }
}

/// A failed invocation, as the runtime hands it to Lambda. The runtime also logs the Debug form of what a
/// handler returns; every failure has its own line in the log by then, so that form only says so.
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

/// What Lambda shows of a failed invocation as `errorType` and `errorMessage`. The type is that of the
/// failures where they agree, else `SeveralFailures`.
pub fn failed(failures: &[Failure]) -> Failed {
    let first = failures.first().map_or("Unknown", Failure::error_type);
    let agree = failures.iter().all(|failure| failure.error_type() == first);
    let named: Vec<String> = failures
        .iter()
        .take(FAILURES_NAMED)
        .map(ToString::to_string)
        .collect();
    let mut message = named.join("; ");
    if failures.len() > FAILURES_NAMED {
        message.push_str(&format!("; and {} more", failures.len() - FAILURES_NAMED));
    }
    Failed(Diagnostic {
        error_type: if agree { first } else { "SeveralFailures" }.to_owned(),
        error_message: bounded(&message, 16_000),
    })
}

/// At most so many characters. The parts are one line each already.
fn bounded(message: &str, limit: usize) -> String {
    message.chars().take(limit).collect()
}

/// Reply to SQS: the messages that failed come back.
///
/// # Errors
/// A failed message without an id cannot be named, so that the whole batch has to come back.
pub fn sqs_reply(results: &[(String, Vec<Failure>)]) -> Result<Value, Failed> {
    let mut reply = SqsBatchResponse::default();
    for (id, failures) in results.iter().filter(|(_, failures)| !failures.is_empty()) {
        if id.is_empty() {
            return Err(failed(failures));
        }
        reply.add_failure(id);
    }
    json(&reply)
}

/// Reply to S3 Batch Operations: a result for each task.
///
/// # Errors
/// None in practice; see [`json`].
pub fn batch_reply(
    schema_version: &str,
    invocation_id: &str,
    results: &[(String, Vec<Failure>, String)],
) -> Result<Value, Failed> {
    let mut reply = S3BatchJobResponse::default();
    reply.invocation_schema_version = Some(schema_version.to_owned());
    reply.invocation_id = Some(invocation_id.to_owned());
    reply.treat_missing_keys_as = Some("PermanentFailure".to_owned());
    reply.results = results
        .iter()
        .map(|(id, failures, done)| {
            let code = match failures.as_slice() {
                [] => "Succeeded",
                some if some.iter().any(Failure::is_temporary) => "TemporaryFailure",
                _ => "PermanentFailure",
            };
            let text = match failures.first() {
                Some(failure) => format!("{}: {failure}", failure.error_type()),
                None => done.clone(),
            };
            let mut result = S3BatchJobResult::default();
            result.task_id = Some(id.clone());
            result.result_code = Some(code.to_owned());
            result.result_string = Some(bounded(&text, 1000));
            result
        })
        .collect();
    json(&reply)
}

/// A reply as JSON.
///
/// # Errors
/// The value has no JSON form; the types of this module have.
pub fn json(reply: &impl Serialize) -> Result<Value, Failed> {
    serde_json::to_value(reply).map_err(|error| {
        Failed(Diagnostic {
            error_type: "Reply.NotJson".into(),
            error_message: error.to_string(),
        })
    })
}
