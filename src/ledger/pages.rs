//! Pages: when people were last woken for a call that was refused.
//!
//! Anyone can make calls that are denied, and an account may send SMS for one dollar a month unless AWS lifts
//! that. One item of the table for each kind of call holds the time until which it does not page again.

use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use jiff::Timestamp;

use super::table::{LedgerError, Table, ledger_error, millis, seconds, text};
use crate::clock::later;

/// How long a kind of refused call does not page after it did.
pub(super) const PAUSE: Duration = Duration::from_secs(3600);

impl Table {
    /// Takes the page for a kind of call, unless it was taken within the last hour; whether it did. What lies
    /// further ahead than that was written by a clock that is wrong.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn page(&self, key: &str, now: Timestamp) -> Result<bool, LedgerError> {
        let until = later(now, PAUSE);
        let taken = self
            .client()
            .put_item()
            .table_name(self.name())
            .item("id", text(key))
            .item("paged_until", millis(until))
            .item("expires_at", seconds(later(now, 2 * PAUSE)))
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

    /// Gives the page back: the message was not published.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub(super) async fn release_page(&self, key: &str) -> Result<(), LedgerError> {
        self.client()
            .delete_item()
            .table_name(self.name())
            .key("id", text(key))
            .send()
            .await
            .map(drop)
            .map_err(|error| ledger_error(&error))
    }
}
