//! Errors of reading a log file, and how much of the file each of them costs.
//!
//! An [`Unreadable`] element costs one record. A [`LogFileError`] costs the rest of the file, or what is missing from it.

use thiserror::Error;

/// Why a log file could not be read to its end.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LogFileError {
    /// The gzip stream ends early.
    #[error(
        "the gzip stream ends in the middle, after {compressed} compressed bytes: the object is truncated; restore it or wait for CloudTrail to deliver it again"
    )]
    Truncated {
        /// The number of compressed bytes.
        compressed: u64,
    },
    /// The gzip stream is damaged.
    #[error("the gzip stream is corrupt at compressed byte {compressed}: {message}")]
    Corrupt {
        /// The number of compressed bytes read before the damage was detected.
        compressed: u64,
        /// The decoder's message.
        message: String,
    },
    /// The uncompressed file is larger than the limit.
    #[error(
        "the uncompressed file is larger than the limit of {limit} bytes: CloudTrail does not write such files; check what wrote this one"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The content is not the JSON of a log file.
    #[error("cannot be read as a log file at byte {offset}, after {records} records: {message}")]
    Syntax {
        /// The position of the error in the uncompressed file.
        offset: u64,
        /// The number of records read before the error.
        records: u64,
        /// What was found and what was expected.
        message: String,
    },
    /// All was read, and it is not all that there is: see [`LogFile::of_any_form`](super::LogFile::of_any_form).
    #[error(transparent)]
    Incomplete(Incomplete),
}

/// Why the output of a command of the AWS CLI does not have all records.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Incomplete {
    /// Events follow.
    #[error(
        "the output of `aws cloudtrail lookup-events` ends with a NextToken: there are more events, which are not in it; run the command without --max-items, --max-results, --next-token and --no-paginate, or append the next pages"
    )]
    Events,
    /// Rows follow.
    #[error(
        "the output of `aws cloudtrail get-query-results` ends with a NextToken: there are more rows, which are not in it; run the command again with --next-token until the output has none, and append each page"
    )]
    Rows,
    /// The query had not finished.
    #[error(
        "the output of `aws cloudtrail get-query-results` has the QueryStatus {status}: rows may be missing; use the output of a query with the status FINISHED"
    )]
    Query {
        /// The status.
        status: String,
    },
}

impl LogFileError {
    /// A stable name, used in the `errorType` of a failed invocation.
    pub fn error_type(&self) -> &'static str {
        match self {
            LogFileError::Truncated { .. } => "LogFile.Truncated",
            LogFileError::Corrupt { .. } => "LogFile.Corrupt",
            LogFileError::TooLarge { .. } => "LogFile.TooLarge",
            LogFileError::Syntax { .. } => "LogFile.Syntax",
            // Only on the command line: the function reads log files only.
            LogFileError::Incomplete(_) => "LogFile.Incomplete",
        }
    }
}

/// An element of `Records` that is not a record. Reading continues after it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("record {index} (byte {offset}) cannot be read: {reason}")]
pub struct Unreadable {
    /// Position in `Records`, starting at 0.
    pub index: u64,
    /// The position of its first byte in the uncompressed file.
    pub offset: u64,
    /// What was found and what was expected.
    pub reason: String,
}
