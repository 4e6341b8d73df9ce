//! Errors of reading a log file, and how much of the file each of them costs.
//!
//! An [`Unreadable`] element costs one record. A [`LogFileError`] costs the rest of the file.

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
}

impl LogFileError {
    /// A stable name, used in the `errorType` of a failed invocation.
    pub fn error_type(&self) -> &'static str {
        match self {
            LogFileError::Truncated { .. } => "LogFile.Truncated",
            LogFileError::Corrupt { .. } => "LogFile.Corrupt",
            LogFileError::TooLarge { .. } => "LogFile.TooLarge",
            LogFileError::Syntax { .. } => "LogFile.Syntax",
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
