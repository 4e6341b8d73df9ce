//! The lock of the tick: one item of the watch table, so that of two ticks at the same time one sends the reminders.
//!
//! It expires, because an instance may die before it unlocks.

use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError, types::ReturnValuesOnConditionCheckFailure,
};
use jiff::Timestamp;

use super::{
    deadline::KEPT,
    error::WatchError,
    table::{WatchTable, version},
};
use crate::{
    clock::later,
    dynamodb::{RequestError, if_condition_held, millis, seconds, string},
};

const KIND: &str = "tick";
const ID: &str = "lock";
/// The longest lock: no invocation takes longer. One that expires later than this was written by an instance whose clock
/// is wrong, and can be taken over.
pub const MAX_LOCK: Duration = Duration::from_secs(15 * 60);

impl WatchTable {
    /// Takes the lock until a time, at most [`MAX_LOCK`] away, if nobody has it or `owner` has it already (the SDK repeats
    /// a request whose response was lost). Returns whether `owner` has it now.
    ///
    /// # Errors
    /// The request failed, or the item is not ours.
    pub async fn lock(
        &self,
        owner: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, WatchError> {
        let never = later(now, MAX_LOCK);
        let until = until.min(never);
        let request = self
            .update(KIND, ID)
            .update_expression(
                "SET #version = :version, #owner = :owner, #locked_until = :until, #expires_at = :expires_at",
            )
            .condition_expression(
                "attribute_not_exists(id) OR (#version = :version AND \
                 (#owner = :owner OR #locked_until <= :now OR #locked_until > :never))",
            )
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#locked_until", "locked_until")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_values(":version", version())
            .expression_attribute_values(":owner", string(owner))
            .expression_attribute_values(":until", millis(until))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":never", millis(never))
            .expression_attribute_values(":expires_at", seconds(later(until, KEPT)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match request.send().await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(RequestError::of(&error).into());
        };
        match failed.item() {
            Some(item) if item.get("version") != Some(&version()) => Err(WatchError::Foreign {
                id: ID.to_owned(),
                found: "its version is another one".to_owned(),
            }),
            Some(item) if item.get("locked_until").is_none_or(|until| !until.is_n()) => {
                Err(WatchError::Foreign {
                    id: ID.to_owned(),
                    found: "its locked_until cannot be read".to_owned(),
                })
            }
            _ => Ok(false),
        }
    }

    /// Releases the lock, if `owner` has it.
    ///
    /// # Errors
    /// The request failed.
    pub async fn unlock(&self, owner: &str) -> Result<(), WatchError> {
        let request = self
            .update(KIND, ID)
            .update_expression("SET #locked_until = :released")
            .condition_expression("#version = :version AND #owner = :owner")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#locked_until", "locked_until")
            .expression_attribute_values(":version", version())
            .expression_attribute_values(":owner", string(owner))
            .expression_attribute_values(":released", millis(Timestamp::UNIX_EPOCH));
        if_condition_held(request.send().await)?;
        Ok(())
    }
}
