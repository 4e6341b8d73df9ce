//! A failed request to the watch table: what was found, and what to do.

use thiserror::Error;

use crate::dynamodb::{Failing, RequestError};

/// A failed request to the watch table. Alerts are published all the same.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum WatchError {
    /// A policy of the role, the table or its KMS key does not allow it.
    #[error(
        "using it is not allowed ({0}); expected a role with dynamodb:Query and UpdateItem on the table and, if it is encrypted with a KMS key, kms:Decrypt"
    )]
    Denied(String),
    /// There is no such table.
    #[error(
        "there is no such table ({0}); create it in the function's region, or correct WATCH_TABLE"
    )]
    TableNotFound(String),
    /// The table is not what this function writes.
    #[error(
        "it is not a watch table ({0}); expected a table with the partition key \"kind\" and the sort key \"id\", both of type S"
    )]
    NotAWatchTable(String),
    /// An item that this version cannot read. It is left as it is.
    #[error(
        "the item {id:?} is not one that this version writes ({found}); expected version 1 with all of its members; delete it, or install the version that wrote it"
    )]
    Foreign {
        /// The item's sort key.
        id: String,
        /// What is wrong with it.
        found: String,
    },
    /// The table's capacity is exceeded.
    #[error("DynamoDB throttled the request ({0}); use on-demand capacity, or provision more")]
    Throttled(String),
    /// Anything else, such as a lost connection or a service error.
    #[error("it does not respond ({0})")]
    Unavailable(String),
    /// Not tried, because too many requests of this invocation failed.
    #[error("not tried, because the requests before it failed; a retry writes it")]
    GivenUp,
}

impl WatchError {
    /// The stable name in the log.
    pub fn error_type(&self) -> &'static str {
        match self {
            WatchError::Denied(_) => "Watch.Denied",
            WatchError::TableNotFound(_) => "Watch.TableNotFound",
            WatchError::NotAWatchTable(_) => "Watch.NotAWatchTable",
            WatchError::Foreign { .. } => "Watch.ForeignItem",
            WatchError::Throttled(_) => "Watch.Throttled",
            WatchError::Unavailable(_) => "Watch.Unavailable",
            WatchError::GivenUp => "Watch.GivenUp",
        }
    }

    /// Whether a retry can succeed without any fix.
    pub fn is_temporary(&self) -> bool {
        match self {
            WatchError::Throttled(_) | WatchError::Unavailable(_) | WatchError::GivenUp => true,
            WatchError::Denied(_)
            | WatchError::TableNotFound(_)
            | WatchError::NotAWatchTable(_)
            | WatchError::Foreign { .. } => false,
        }
    }

    /// The error for a circuit breaker; `None`: it says nothing about the next request.
    pub(super) fn failing(&self) -> Option<Failing> {
        match self {
            WatchError::Throttled(_) => Some(Failing::Busy),
            WatchError::NotAWatchTable(_) => Some(Failing::Unfit),
            WatchError::Unavailable(_) => Some(Failing::Silent),
            WatchError::Denied(_) | WatchError::TableNotFound(_) => Some(Failing::Refusing),
            WatchError::Foreign { .. } | WatchError::GivenUp => None,
        }
    }
}

impl From<RequestError> for WatchError {
    fn from(error: RequestError) -> WatchError {
        match error {
            RequestError::Denied(message) => WatchError::Denied(message),
            RequestError::TableNotFound(message) => WatchError::TableNotFound(message),
            RequestError::Invalid(message) => WatchError::NotAWatchTable(message),
            RequestError::Throttled(message) => WatchError::Throttled(message),
            RequestError::Unavailable(message) => WatchError::Unavailable(message),
        }
    }
}
