//! The budget: how many messages a second all instances of the function may publish together.
//!
//! SNS suspends an e-mail subscription that gets more than ten messages a second from all publishers together. One
//! item of the ledger's table holds the time of the next free turn. To publish, an instance moves it on by the
//! interval between two messages and waits for the turn that it got. So turns are evenly spaced, and the time until
//! the next free one is a measure of the backlog.
//!
//! The same goes for a backfill job: one item of the table counts the messages that its instances have published.

use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue},
};
use jiff::Timestamp;

use super::table::{LedgerError, Table, ledger_error, millis, seconds, text};
use crate::clock::later;

/// No backlog reaches as far: such a turn was written by a clock that is wrong.
pub(super) const NO_BACKLOG_LASTS: Duration = Duration::from_secs(30 * 60);

/// When a message may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At this time.
    At(Timestamp),
    /// Not before the time it was wanted by; nothing was taken.
    TooLate,
}

impl Table {
    /// Takes the next free turn, unless it is later than `latest`. `key` tells topics apart.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn turn(
        &self,
        key: &str,
        now: Timestamp,
        interval: Duration,
        latest: Timestamp,
    ) -> Result<Turn, LedgerError> {
        let update = || {
            self.client()
                .update_item()
                .table_name(self.name())
                .key("id", text(key))
                .expression_attribute_values(
                    ":expires_at",
                    seconds(later(now, Duration::from_secs(24 * 3600))),
                )
        };
        // Nobody waits: the turn is now. A turn that lies too far ahead is overwritten.
        let idle = update()
            .update_expression("SET next_turn = :next, expires_at = :expires_at")
            .condition_expression(
                "attribute_not_exists(next_turn) OR next_turn <= :now OR next_turn > :never",
            )
            .expression_attribute_values(":next", millis(later(now, interval)))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":never", millis(later(now, NO_BACKLOG_LASTS)))
            .send()
            .await;
        match idle {
            Ok(_) => return Ok(Turn::At(now)),
            Err(error) if is_refused(error.as_service_error()) => {}
            Err(error) => return Err(ledger_error(&error)),
        }
        let interval_millis = interval.as_millis().to_string();
        let busy = update()
            .update_expression("SET next_turn = next_turn + :interval, expires_at = :expires_at")
            .condition_expression("next_turn <= :latest")
            .expression_attribute_values(":interval", AttributeValue::N(interval_millis))
            .expression_attribute_values(":latest", millis(latest))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await;
        let attributes = match busy {
            Ok(output) => output.attributes,
            Err(error) if is_refused(error.as_service_error()) => return Ok(Turn::TooLate),
            Err(error) => return Err(ledger_error(&error)),
        };
        attributes
            .as_ref()
            .and_then(|attributes| attributes.get("next_turn")?.as_n().ok())
            .and_then(|next| next.parse::<i64>().ok())
            .and_then(|next| Timestamp::from_millisecond(next).ok())
            .and_then(|next| next.checked_sub(interval).ok())
            .map(Turn::At)
            .ok_or_else(|| LedgerError::NotALedger(format!("the item {key:?} has no next_turn")))
    }
}

/// How long a job's count is kept: longer than a job may take.
const JOB_LASTS: Duration = Duration::from_secs(90 * 24 * 3600);

impl Table {
    /// Counts one more message under `key`, unless there were `most` already; whether it did.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn take_job_message(
        &self,
        key: &str,
        now: Timestamp,
        most: u64,
    ) -> Result<bool, LedgerError> {
        if most == 0 {
            return Ok(false);
        }
        let counted = self
            .client()
            .update_item()
            .table_name(self.name())
            .key("id", text(key))
            .update_expression(
                "SET messages_sent = if_not_exists(messages_sent, :none) + :one, expires_at = :expires_at",
            )
            .condition_expression("attribute_not_exists(messages_sent) OR messages_sent < :most")
            .expression_attribute_values(":none", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(most))
            .expression_attribute_values(":expires_at", seconds(later(now, JOB_LASTS)))
            .send()
            .await;
        match counted {
            Ok(_) => Ok(true),
            Err(error) if is_refused(error.as_service_error()) => Ok(false),
            Err(error) => Err(ledger_error(&error)),
        }
    }
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn is_refused(error: Option<&UpdateItemError>) -> bool {
    error.is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}
