//! The ledger's table: a DynamoDB table with the calls that were alerted, shared by all instances of the function.
//!
//! Each call has one item. Its key `id` is the call's identity. Its `status` is `claimed`, by an invocation that is
//! about to publish, until `claimed_until`; or `sent`. `delivered` names the channel that has its message if the other
//! one has not. A claim is one conditional write, so of all invocations that process the same call at the same time,
//! one gets it. This file makes the requests; [`super::Ledger`] decides what happens if they fail.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;
use thiserror::Error;

use crate::{
    channel::Delivered,
    clock::later,
    dynamodb::{
        Failing, RequestError, after_transactions, if_condition_held, millis, seconds, string,
    },
};
use cloudhsm_alerts_core::{call_id::CallId, text::one_line};

/// How long the item of a call is kept. CloudTrail tries to deliver a log file for 30 days.
pub(super) const KEPT: Duration = Duration::from_secs(40 * 24 * 3600);
/// The longest claim. One that expires later than this was written by an instance whose clock is wrong, and can be
/// taken over.
const MAX_CLAIM: Duration = Duration::from_secs(15 * 60);

/// A failed request to the table. Alerts are published all the same.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// A policy of the role, the table or its KMS key does not allow it.
    #[error(
        "using it is not allowed ({0}); expected a role with dynamodb:BatchWriteItem, DeleteItem, GetItem, PutItem and UpdateItem on the table and, if it is encrypted with a KMS key, kms:Decrypt"
    )]
    Denied(String),
    /// There is no such table.
    #[error(
        "there is no such table ({0}); create it in the function's region, or correct LEDGER_TABLE"
    )]
    TableNotFound(String),
    /// The table, or an item in it, is not what this function writes.
    #[error(
        "it is not a ledger ({0}); expected a table whose only key is the partition key \"id\" of type S, and that only this function writes to"
    )]
    NotALedger(String),
    /// The table's capacity is exceeded.
    #[error("DynamoDB throttled the request ({0}); use on-demand capacity, or provision more")]
    Throttled(String),
    /// Anything else, such as a lost connection or a service error.
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

    /// The error for a circuit breaker.
    pub(super) fn failing(&self) -> Failing {
        match self {
            LedgerError::Throttled(_) => Failing::Busy,
            LedgerError::NotALedger(_) => Failing::Unfit,
            LedgerError::Unavailable(_) => Failing::Silent,
            LedgerError::Denied(_) | LedgerError::TableNotFound(_) => Failing::Refusing,
        }
    }
}

impl From<RequestError> for LedgerError {
    fn from(error: RequestError) -> LedgerError {
        match error {
            RequestError::Denied(message) => LedgerError::Denied(message),
            RequestError::TableNotFound(message) => LedgerError::TableNotFound(message),
            RequestError::Invalid(message) => LedgerError::NotALedger(message),
            RequestError::Throttled(message) => LedgerError::Throttled(message),
            RequestError::Unavailable(message) => LedgerError::Unavailable(message),
        }
    }
}

/// The result of claiming a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This invocation has claimed the call. An earlier one may have delivered a part.
    Ours(Delivered),
    /// The call was already alerted.
    Alerted,
    /// Another invocation has claimed the call and is about to alert it, or died before it did.
    Held,
}

/// A DynamoDB table.
#[derive(Debug)]
pub struct Table {
    client: Client,
    name: String,
    lease: Duration,
}

impl Table {
    /// A table, by name or ARN. Claims are valid for `lease`.
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

    /// How long a claim is valid.
    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Claims a call for `owner`, if it is neither claimed nor sent, or its claim has expired, or `owner` has already
    /// claimed it (the SDK repeats a request whose response was lost).
    pub(super) async fn claim(
        &self,
        call: &CallId,
        owner: &str,
        now: Timestamp,
    ) -> Result<Claim, LedgerError> {
        let claim = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", string(call.key()))
            .update_expression(SET_CLAIMED)
            .condition_expression(
                "attribute_not_exists(id) OR (#status = :claimed AND \
                 (#owner = :owner OR claimed_until <= :now OR claimed_until > :never))",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":claimed", string("claimed"))
            .expression_attribute_values(":owner", string(owner))
            .expression_attribute_values(":until", millis(later(now, self.lease)))
            .expression_attribute_values(":expires_at", seconds(later(now, KEPT)))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":never", millis(later(now, MAX_CLAIM)))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match after_transactions(|| claim.clone().send()).await {
            Ok(output) => {
                let item = output.attributes.unwrap_or_default();
                let delivered = item.get("delivered").and_then(|value| value.as_s().ok());
                let delivered = delivered.map(String::as_str);
                return Ok(Claim::Ours(Delivered::parse(delivered)));
            }
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(RequestError::of(&error).into());
        };
        let status = match failed.item() {
            Some(item) => item.get("status").cloned(),
            // Some emulators of DynamoDB do not return the item.
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

    /// Whether a call is marked as sent.
    pub(super) async fn is_sent(&self, call: &CallId) -> Result<bool, LedgerError> {
        Ok(self.status(call).await? == Some(string("sent")))
    }

    async fn status(&self, call: &CallId) -> Result<Option<AttributeValue>, LedgerError> {
        let item = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", string(call.key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| RequestError::of(&error))?
            .item;
        Ok(match item {
            Some(item) => item.get("status").cloned(),
            // The claim was released in the meantime. The next attempt to claim the call succeeds.
            None => Some(string("claimed")),
        })
    }

    /// Notes which channels have the call's message, and renews the claim of `owner`.
    pub(super) async fn note_delivered(
        &self,
        call: &CallId,
        owner: &str,
        delivered: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let request = self
            .update_claim(call, owner)
            .update_expression("SET delivered = :delivered, claimed_until = :until")
            .expression_attribute_values(":delivered", string(delivered))
            .expression_attribute_values(":until", millis(later(now, self.lease)));
        // A claim that another owner has taken over is not an error; likewise below.
        if_condition_held(after_transactions(|| request.clone().send()).await)?;
        Ok(())
    }

    /// Releases a claim of `owner`, so that a retry need not wait for it to expire. What was delivered is kept.
    pub(super) async fn release(
        &self,
        call: &CallId,
        owner: &str,
        delivered: Option<&str>,
    ) -> Result<(), LedgerError> {
        if let Some(delivered) = delivered {
            let request = self
                .update_claim(call, owner)
                .update_expression("SET delivered = :delivered, claimed_until = :released")
                .expression_attribute_values(":delivered", string(delivered))
                .expression_attribute_values(":released", millis(Timestamp::UNIX_EPOCH));
            if_condition_held(after_transactions(|| request.clone().send()).await)?;
            return Ok(());
        }
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key("id", string(call.key()))
            // What an earlier invocation delivered is kept: that claim, whose response was lost, then expires.
            .condition_expression(format!(
                "{CLAIMED_BY_OWNER} AND attribute_not_exists(delivered)"
            ))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":claimed", string("claimed"))
            .expression_attribute_values(":owner", string(owner));
        if_condition_held(after_transactions(|| request.clone().send()).await)?;
        Ok(())
    }

    /// An update of a call that `owner` has claimed.
    fn update_claim(&self, call: &CallId, owner: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("id", string(call.key()))
            .condition_expression(CLAIMED_BY_OWNER)
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":claimed", string("claimed"))
            .expression_attribute_values(":owner", string(owner))
    }
}

/// Makes the item of a call a claim.
pub(super) const SET_CLAIMED: &str =
    "SET #status = :claimed, #owner = :owner, claimed_until = :until, expires_at = :expires_at";
const CLAIMED_BY_OWNER: &str = "#status = :claimed AND #owner = :owner";
