//! Pages for refused calls: at most one SMS an hour for each kind of call, over all instances of the function.
//!
//! Anyone can make calls that are denied, and the SMS spending quota of a new account is one US dollar a month. For
//! each kind of call, one item of the ledger's table has the time until which it does not page again. Which calls
//! are of one kind is decided in `invocation/publishing/paging.rs`.

use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use jiff::Timestamp;

use super::table::{LedgerError, Table, ledger_error, millis, seconds, string};
use crate::clock::later;

/// The shortest time between two pages for one kind of refused call.
pub(super) const INTERVAL: Duration = Duration::from_secs(3600);

impl Table {
    /// Takes the page for a kind of call, unless it was taken within the last hour. Returns whether it was taken now.
    /// A time more than an hour ahead was written by an instance whose clock is wrong, and is overwritten.
    pub(super) async fn take_page(&self, key: &str, now: Timestamp) -> Result<bool, LedgerError> {
        let until = later(now, INTERVAL);
        let taken = self
            .client()
            .put_item()
            .table_name(self.name())
            .item("id", string(key))
            .item("paged_until", millis(until))
            .item("expires_at", seconds(later(now, 2 * INTERVAL)))
            .condition_expression(
                "attribute_not_exists(id) OR paged_until <= :now OR paged_until > :until",
            )
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":until", millis(until))
            .send()
            .await;
        match taken {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(ledger_error(&error)),
        }
    }

    /// Releases a page whose message was not published.
    pub(super) async fn release_page(&self, key: &str) -> Result<(), LedgerError> {
        self.client()
            .delete_item()
            .table_name(self.name())
            .key("id", string(key))
            .send()
            .await
            .map(drop)
            .map_err(|error| ledger_error(&error))
    }
}
