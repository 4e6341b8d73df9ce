//! The ledger's table: a DynamoDB table in which all instances of the function see which calls were alerted.
//!
//! One item a call, its key `id` the call's identity. It is either `claimed`, by an invocation that is about to
//! publish, until `claimed_until`; or `sent`. Every change is one conditional write, so that of any number
//! of invocations that meet a call at the same time, one gets it. The edge: this file knows DynamoDB, and
//! nothing of alerts; what a failing table means is decided in [`super::Ledger`].

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::put_item::PutItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;
use thiserror::Error;

use crate::{clock::later, shell};
use cloudhsm_alerts_core::{
    call_id::CallId,
    text::{chain, one_line},
};

/// How long a call that was alerted is remembered. CloudTrail tries to deliver a log file for 30 days.
const REMEMBERED: Duration = Duration::from_secs(40 * 24 * 3600);
/// How long an abandoned claim is kept.
const CLAIM_KEPT: Duration = Duration::from_secs(24 * 3600);
/// A claim that expires later than this from now was written by a clock that is wrong. It does not hold.
const NO_CLAIM_LASTS: Duration = Duration::from_secs(15 * 60);

/// Why the table did not do what it was asked. None of these keeps an alert back.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// The role, or the table's KMS key, forbids it.
    #[error(
        "using it is not allowed ({0}); expected a role with dynamodb:PutItem, GetItem, UpdateItem and DeleteItem on the table and, where it is encrypted with a KMS key, kms:Decrypt"
    )]
    Denied(String),
    /// There is no such table.
    #[error(
        "there is no such table ({0}); make it, in the function's region, or correct LEDGER_TABLE"
    )]
    TableNotFound(String),
    /// The table, or an item in it, is not what this function writes.
    #[error(
        "it is no ledger ({0}); expected a table whose only key is the partition key \"id\" of type S, and that nothing else writes to"
    )]
    NotALedger(String),
    /// More than the table's capacity.
    #[error("it is throttled ({0}); expected on-demand capacity, or more of it")]
    Throttled(String),
    /// Anything else: a broken connection, a service error.
    #[error("it does not respond ({0})")]
    Unavailable(String),
}

impl LedgerError {
    /// The stable name in the log.
    pub fn error_type(&self) -> &'static str {
        match self {
            LedgerError::Denied(_) => "Ledger.Denied",
            LedgerError::TableNotFound(_) => "Ledger.TableNotFound",
            LedgerError::NotALedger(_) => "Ledger.NotALedger",
            LedgerError::Throttled(_) => "Ledger.Throttled",
            LedgerError::Unavailable(_) => "Ledger.Unavailable",
        }
    }
}

/// What a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This invocation is the one to tell it.
    Ours,
    /// The call was alerted.
    Alerted,
    /// Another invocation is about to tell it, or died while it was.
    Held,
}

/// One table.
#[derive(Debug)]
pub struct Table {
    client: Client,
    name: String,
    lease: Duration,
}

impl Table {
    /// A table by name or ARN; its claims are good for `lease`.
    pub fn new(client: Client, name: String, lease: Duration) -> Table {
        Table {
            client,
            name,
            lease,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Claims a call for `owner`, if it is not claimed, or its claim has expired, or `owner` has claimed it already (a
    /// request whose response was lost is sent again).
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn claim(
        &self,
        call: &CallId,
        owner: &str,
        now: Timestamp,
    ) -> Result<Claim, LedgerError> {
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("id", text(call.key()))
            .item("status", text("claimed"))
            .item("owner", text(owner))
            .item("claimed_until", millis(later(now, self.lease)))
            .item("expires_at", seconds(later(now, CLAIM_KEPT)))
            .condition_expression(
                "attribute_not_exists(id) OR (#status = :claimed AND \
                 (#owner = :owner OR claimed_until <= :now OR claimed_until > :never))",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":claimed", text("claimed"))
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":never", millis(later(now, NO_CLAIM_LASTS)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match written {
            Ok(_) => return Ok(Claim::Ours),
            Err(error) => error,
        };
        let Some(PutItemError::ConditionalCheckFailedException(refused)) = error.as_service_error()
        else {
            return Err(ledger_error(&error));
        };
        let status = match refused.item() {
            Some(item) => item.get("status").cloned(),
            // Not every store that speaks DynamoDB returns the item.
            None => self.status(call).await?,
        };
        match status.as_ref().and_then(|status| status.as_s().ok()) {
            Some(status) if status == "sent" => Ok(Claim::Alerted),
            Some(status) if status == "claimed" => Ok(Claim::Held),
            _ => Err(LedgerError::NotALedger(format!(
                "the item with id {:?} has no status \"claimed\" or \"sent\"",
                one_line(call.key(), 600)
            ))),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    async fn status(&self, call: &CallId) -> Result<Option<AttributeValue>, LedgerError> {
        let item = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", text(call.key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| ledger_error(&error))?
            .item;
        Ok(match item {
            Some(item) => item.get("status").cloned(),
            // Released in the meantime: the next attempt to claim it succeeds.
            None => Some(text("claimed")),
        })
    }

    /// Marks a call as sent, whichever owner had claimed it.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn mark_sent(
        &self,
        call: &CallId,
        owner: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.client
            .put_item()
            .table_name(&self.name)
            .item("id", text(call.key()))
            .item("status", text("sent"))
            .item("owner", text(owner))
            .item("sent_at", millis(now))
            .item("expires_at", seconds(later(now, REMEMBERED)))
            .send()
            .await
            .map(drop)
            .map_err(|error| ledger_error(&error))
    }

    /// Gives a claim back, so that the next one need not wait until it expires.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn release(&self, call: &CallId, owner: &str) -> Result<(), LedgerError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key("id", text(call.key()))
            .condition_expression("#status = :claimed AND #owner = :owner")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":claimed", text("claimed"))
            .expression_attribute_values(":owner", text(owner))
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(ledger_error(&error)),
        }
    }
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn millis(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.as_millisecond().to_string())
}

/// What a table's time to live is counted in.
pub(super) fn seconds(time: Timestamp) -> AttributeValue {
    AttributeValue::N(time.as_second().to_string())
}

pub(super) fn ledger_error<E>(error: &SdkError<E>) -> LedgerError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = match error {
        SdkError::ServiceError(_) => shell::sdk_message(error),
        _ => chain(error),
    };
    match error.code() {
        Some("ResourceNotFoundException" | "TableNotFoundException") => {
            LedgerError::TableNotFound(message)
        }
        Some("AccessDeniedException" | "AccessDenied") => LedgerError::Denied(message),
        Some("ValidationException") => LedgerError::NotALedger(message),
        Some(
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException",
        ) => LedgerError::Throttled(message),
        _ => LedgerError::Unavailable(message),
    }
}
