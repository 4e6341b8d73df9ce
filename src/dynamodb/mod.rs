//! Requests to DynamoDB tables, as the ledger and the watch table make them: the client, the values of an item, and
//! what a failed request means. What is in a table is up to its owner.

mod breaker;
mod transactions;

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};
use cloudhsm_alerts_core::text::chain;
use jiff::Timestamp;

use crate::{sdk, timing::Timing};
pub(crate) use breaker::{CircuitBreaker, Failing};
pub(crate) use transactions::after_transactions;

/// A client with short timeouts: alerts wait for its requests.
pub(crate) fn client(sdk: &SdkConfig, timing: &Timing) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(timing.ledger_attempt)
        .operation_attempt_timeout(timing.ledger_attempt)
        .operation_timeout(timing.ledger_operation)
        .build();
    let config = aws_sdk_dynamodb::config::Builder::from(sdk)
        .timeout_config(timeouts)
        .build();
    Client::from_conf(config)
}

/// A failed request, with DynamoDB's message. Each table has its own error type, which says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// A policy does not allow it.
    Denied(String),
    /// There is no such table.
    TableNotFound(String),
    /// The table, or an item in it, has another form than the request expects.
    Invalid(String),
    /// The table's capacity is exceeded.
    Throttled(String),
    /// Anything else, such as a lost connection or a service error.
    Unavailable(String),
}

impl RequestError {
    pub(crate) fn of<E>(error: &SdkError<E>) -> RequestError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let message = match error {
            SdkError::ServiceError(_) => sdk::error_message(error),
            _ => chain(error),
        };
        match error.code() {
            Some("ResourceNotFoundException" | "TableNotFoundException") => {
                RequestError::TableNotFound(message)
            }
            Some("AccessDeniedException" | "AccessDenied") => RequestError::Denied(message),
            Some("ValidationException") => RequestError::Invalid(message),
            Some(
                "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "LimitExceededException",
            ) => RequestError::Throttled(message),
            _ => RequestError::Unavailable(message),
        }
    }
}

/// The output of a conditional write; `None`: its condition was false, and nothing was written.
pub(crate) fn if_condition_held<T, E>(
    written: Result<T, SdkError<E>>,
) -> Result<Option<T>, RequestError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match written {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(None),
        Err(error) => Err(RequestError::of(&error)),
    }
}

pub(crate) fn string(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(crate) fn millis(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.as_millisecond().to_string())
}

/// The time that [`millis`] wrote.
pub(crate) fn time(value: &AttributeValue) -> Option<Timestamp> {
    let millis = value.as_n().ok()?.parse().ok()?;
    Timestamp::from_millisecond(millis).ok()
}

/// A time in the format of a time-to-live attribute.
pub(crate) fn seconds(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.as_second().to_string())
}
