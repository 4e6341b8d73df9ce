//! Slots to publish in: all instances of the function share one rate limit for a topic.
//!
//! SNS suspends an e-mail subscription that receives more than ten messages a second, whichever instance publishes
//! them. One item of the ledger's table has the time of the next free slot. To publish, an instance moves that time
//! forward by the interval between two messages, and waits for the slot that it took. So slots are evenly spaced, and
//! the time until the next free one is a measure of the backlog.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use jiff::Timestamp;

use super::table::{LedgerError, Table};
use crate::{
    clock::later,
    dynamodb::{if_condition_held, millis, seconds, string, time},
};

/// The longest backlog. A next slot that is later than this was written by an instance whose clock is wrong, and is
/// overwritten.
const MAX_BACKLOG: Duration = Duration::from_secs(30 * 60);
/// How long the item is kept after the last slot was taken.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A slot that all instances share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedSlot {
    /// The slot at this time was taken.
    At(Timestamp),
    /// The next free slot is later than the caller can wait; none was taken.
    TooLate,
    /// The table is throttled, or does not respond.
    Unknown,
}

impl Table {
    /// Takes the next free slot, unless it is later than `latest`. Each topic has its own `key`.
    pub(super) async fn take_slot(
        &self,
        key: &str,
        now: Timestamp,
        interval: Duration,
        latest: Timestamp,
    ) -> Result<SharedSlot, LedgerError> {
        let update = || {
            self.client()
                .update_item()
                .table_name(self.name())
                .key("id", string(key))
                .expression_attribute_values(":expires_at", seconds(later(now, KEPT)))
        };
        // Without a backlog, the slot is now.
        let idle = update()
            .update_expression("SET next_turn = :next, expires_at = :expires_at")
            .condition_expression(
                "attribute_not_exists(next_turn) OR next_turn <= :now OR next_turn > :never",
            )
            .expression_attribute_values(":next", millis(later(now, interval)))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":never", millis(later(now, MAX_BACKLOG)))
            .send()
            .await;
        if if_condition_held(idle)?.is_some() {
            return Ok(SharedSlot::At(now));
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
        let Some(output) = if_condition_held(busy)? else {
            return Ok(SharedSlot::TooLate);
        };
        output
            .attributes
            .as_ref()
            .and_then(|attributes| attributes.get("next_turn"))
            .and_then(time)
            .and_then(|next| next.checked_sub(interval).ok())
            .map(SharedSlot::At)
            .ok_or_else(|| LedgerError::NotALedger(format!("the item {key:?} has no next_turn")))
    }
}
