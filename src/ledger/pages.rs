//! Pages for refused calls: at most one an hour for each kind of call, over all instances of the function.
//!
//! Anyone can make calls that are denied, and the SMS spending quota of a new account is one US dollar a month. For
//! each kind of call, one item of the ledger's table has the call that paged, and the time until which no other call
//! does. The same call may page again: its invocation may have died before SNS accepted the page. Which calls are of
//! one kind is decided in `invocation/publishing/paging.rs`.

use std::time::Duration;

use cloudhsm_alerts_core::call_id::CallId;
use jiff::Timestamp;

use super::table::{LedgerError, Table};
use crate::{
    clock::later,
    dynamodb::{if_condition_held, millis, seconds, string},
};

/// The shortest time between two pages for one kind of refused call.
pub(super) const INTERVAL: Duration = Duration::from_secs(3600);

/// The page of an hour for one kind of refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The kind.
    pub kind: String,
    /// The call that the page is about.
    pub call: CallId,
}

impl Page {
    /// The key of its item.
    fn key(&self) -> String {
        format!("cloudhsm-alerts page {}", self.kind)
    }
}

impl Table {
    /// Takes a page, unless it was taken for another call within the last hour. Returns whether it was taken now. A
    /// time more than an hour ahead was written by an instance whose clock is wrong, and is overwritten.
    pub(super) async fn take_page(&self, page: &Page, now: Timestamp) -> Result<bool, LedgerError> {
        let until = later(now, INTERVAL);
        let taken = self
            .client()
            .put_item()
            .table_name(self.name())
            .item("id", string(&page.key()))
            .item("paged_for", string(page.call.key()))
            .item("paged_until", millis(until))
            .item("expires_at", seconds(later(now, 2 * INTERVAL)))
            .condition_expression(
                "attribute_not_exists(id) OR paged_for = :call OR paged_until <= :now OR paged_until > :until",
            )
            .expression_attribute_values(":call", string(page.call.key()))
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":until", millis(until))
            .send()
            .await;
        Ok(if_condition_held(taken)?.is_some())
    }

    /// Releases a page whose message was not published, unless another call has taken it over.
    pub(super) async fn release_page(&self, page: &Page) -> Result<(), LedgerError> {
        let released = self
            .client()
            .delete_item()
            .table_name(self.name())
            .key("id", string(&page.key()))
            .condition_expression("paged_for = :call")
            .expression_attribute_values(":call", string(page.call.key()))
            .send()
            .await;
        if_condition_held(released)?;
        Ok(())
    }
}
