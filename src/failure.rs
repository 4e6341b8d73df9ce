//! Failures: everything that can go wrong with one part of an invocation. A failure fails the units (SQS messages,
//! Batch tasks, or the whole invocation) that contain that part.

use cloudhsm_alerts_core::{
    log_file::{LogFileError, Unreadable},
    object::ObjectRef,
};
use thiserror::Error;

use crate::{
    audit::keys::KeysError, channel::Channel, ledger::LedgerError, payload::PayloadError,
    s3::FetchError, sns::PublishError, watch::WatchError,
};

/// One failure.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A part of the payload cannot be used.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// An object could not be fetched.
    #[error("object {object}: {error}")]
    Object {
        /// The object.
        object: ObjectRef,
        /// The cause.
        error: FetchError,
    },
    /// A log file could not be read to its end.
    #[error("log file {object}: {error}")]
    LogFile {
        /// The log file.
        object: ObjectRef,
        /// The cause.
        error: LogFileError,
    },
    /// A log file was read to its end, but some elements are not records.
    #[error("log file {object}: {first}{}; the rest of the file was processed", and_more(*count))]
    Unreadable {
        /// The log file.
        object: ObjectRef,
        /// How many elements.
        count: u64,
        /// The first of them.
        first: Unreadable,
    },
    /// An alert or a page could not be published.
    #[error("{channel} for event {event_id}: {error}")]
    Publish {
        /// The event ID of its call.
        event_id: String,
        /// Which of the two.
        channel: Channel,
        /// The cause.
        error: PublishError,
    },
    /// Another invocation has claimed the call. It may be about to publish the alert, or may have died.
    #[error("alert for event {event_id}: {CLAIMED}")]
    Claimed {
        /// The event ID of the call.
        event_id: String,
    },
    /// The invocation ended before an object was read.
    #[error(
        "object {object}: there was no time left to read it{}; what was found before that was alerted, and a retry reads the rest", from_byte(*read)
    )]
    ObjectOutOfTime {
        /// The object.
        object: ObjectRef,
        /// Bytes that were read.
        read: u64,
    },
    /// There was no time to publish an alert or a page.
    #[error("{channel} for event {event_id}: {OUT_OF_TIME}")]
    PublishOutOfTime {
        /// The event ID of its call.
        event_id: String,
        /// Which of the two.
        channel: Channel,
    },
    /// A request to the watch table failed.
    #[error("watch table: {0}; a retry writes what is missing")]
    Watch(WatchError),
    /// There was no time to write to the watch table.
    #[error(
        "watch table: there was no response before the end of the invocation; a retry writes what is missing"
    )]
    WatchOutOfTime,
    /// Another tick has the lock, and may have died.
    #[error(
        "tick: another one is running, or died a moment ago; a retry publishes what it did not"
    )]
    TickLocked,
    /// A reminder could not be published.
    #[error("{channel} with a reminder: {error}; a retry, or the next tick, publishes it")]
    Reminder {
        /// Which of the two.
        channel: Channel,
        /// The cause.
        error: PublishError,
    },
    /// There was no time to publish a reminder.
    #[error("{channel} with a reminder: {OUT_OF_TIME}")]
    ReminderOutOfTime {
        /// Which of the two.
        channel: Channel,
    },
    /// The hash of a log file could not be written to the ledger's table, or read from it.
    #[error("ledger table: {0}; a retry checks what is missing")]
    ReadFiles(LedgerError),
    /// There was no time to write the hash of a log file to the ledger's table.
    #[error(
        "ledger table: there was no response before the end of the invocation; a retry writes what is missing"
    )]
    ReadFilesOutOfTime,
    /// The public keys for a digest file could not be listed.
    #[error("public keys of {region}: {error}; a retry lists them again")]
    PublicKeys {
        /// The region of the digest file.
        region: String,
        /// The cause.
        error: KeysError,
    },
    /// The invocation ended before a digest file was checked, or before its log files were read.
    #[error(
        "digest file {object}: there was no time left to check it{}; what was done is kept, and a retry does the rest", and_left(*left)
    )]
    DigestOutOfTime {
        /// The digest file.
        object: ObjectRef,
        /// Log files that were not read, if that is known.
        left: Option<usize>,
    },
    /// A finding about the trail could not be published.
    #[error("{channel} with a finding about the trail: {error}; a retry publishes it")]
    TrailFinding {
        /// Which of the two.
        channel: Channel,
        /// The cause.
        error: PublishError,
    },
    /// There was no time to publish a finding about the trail.
    #[error("{channel} with a finding about the trail: {OUT_OF_TIME}")]
    TrailFindingOutOfTime {
        /// Which of the two.
        channel: Channel,
    },
    /// Another invocation has claimed a finding about the trail.
    #[error("finding about the trail: {CLAIMED}")]
    TrailFindingClaimed,
    /// A bug in this program.
    #[error("{at}: cloudhsm-alerts panicked: {message}; please report it")]
    Panicked {
        /// What was being processed.
        at: String,
        /// The message of the panic.
        message: String,
    },
}

const CLAIMED: &str = "another invocation has claimed it and not yet published it; a retry finds it published, or publishes it";
const OUT_OF_TIME: &str = "there was no time left to publish it; a retry publishes it";

fn from_byte(read: u64) -> String {
    match read {
        0 => String::new(),
        read => format!(" beyond byte {read}"),
    }
}

fn and_left(left: Option<usize>) -> String {
    left.map_or_else(String::new, |left| {
        format!(", and {left} of its log files were not read")
    })
}

fn and_more(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(", and {} more", count - 1),
    }
}

impl Failure {
    /// The result of a request to the watch table; `None`: there was no response before the end of the invocation.
    ///
    /// # Errors
    /// The request failed, or there was no response.
    pub(crate) fn of_watch<T>(response: Option<Result<T, WatchError>>) -> Result<T, Failure> {
        let result = response.ok_or(Failure::WatchOutOfTime)?;
        result.map_err(Failure::Watch)
    }

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
            Failure::PublishOutOfTime { .. } => "Publish.OutOfTime",
            Failure::Watch(error) => error.error_type(),
            Failure::WatchOutOfTime => "Watch.OutOfTime",
            Failure::TickLocked => "Tick.Locked",
            Failure::Reminder { error, .. } => error.error_type(),
            Failure::ReminderOutOfTime { .. } => "Publish.OutOfTime",
            Failure::ReadFiles(error) => error.error_type(),
            Failure::ReadFilesOutOfTime => "Ledger.OutOfTime",
            Failure::PublicKeys { error, .. } => error.error_type(),
            Failure::DigestOutOfTime { .. } => "Object.OutOfTime",
            Failure::TrailFinding { error, .. } => error.error_type(),
            Failure::TrailFindingOutOfTime { .. } => "Publish.OutOfTime",
            Failure::TrailFindingClaimed => "Ledger.Claimed",
            Failure::Panicked { .. } => "Function.Panicked",
        }
    }

    /// For a failure to alert a call: its event ID, what was not published, and the reason without the event ID. `None`
    /// for all others.
    pub fn about_alert(&self) -> Option<(&str, Channel, String)> {
        match self {
            Failure::Publish {
                event_id,
                channel,
                error,
            } => Some((event_id, *channel, error.to_string())),
            Failure::Claimed { event_id } => Some((event_id, Channel::Alert, CLAIMED.to_owned())),
            Failure::PublishOutOfTime { event_id, channel } => {
                Some((event_id, *channel, OUT_OF_TIME.to_owned()))
            }
            _ => None,
        }
    }

    /// Whether a retry can succeed without any fix.
    pub fn is_temporary(&self) -> bool {
        match self {
            Failure::Payload(_)
            | Failure::LogFile { .. }
            | Failure::Unreadable { .. }
            | Failure::Panicked { .. } => false,
            Failure::Claimed { .. }
            | Failure::ObjectOutOfTime { .. }
            | Failure::PublishOutOfTime { .. }
            | Failure::ReminderOutOfTime { .. }
            | Failure::WatchOutOfTime
            | Failure::ReadFilesOutOfTime
            | Failure::PublicKeys { .. }
            | Failure::DigestOutOfTime { .. }
            | Failure::TrailFindingOutOfTime { .. }
            | Failure::TrailFindingClaimed
            | Failure::TickLocked => true,
            Failure::ReadFiles(error) => {
                matches!(
                    error,
                    LedgerError::Throttled(_) | LedgerError::Unavailable(_)
                )
            }
            Failure::Watch(error) => error.is_temporary(),
            Failure::Object { error, .. } => error.is_temporary(),
            Failure::Publish { error, .. }
            | Failure::Reminder { error, .. }
            | Failure::TrailFinding { error, .. } => error.is_temporary(),
        }
    }
}
