//! Claims of many new calls at once: up to 100 in a transaction.
//!
//! A storm is about calls that nobody has claimed, and a request for each of them takes most of its processor time. A
//! transaction writes all of its items, each under its condition, or none. It costs twice the capacity, so few calls are
//! claimed one by one. Other instances cannot write to an item while a transaction has it; they try again after a pause.
//! Source: Amazon DynamoDB Developer Guide, "Amazon DynamoDB Transactions: How it works".

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use cloudhsm_alerts_core::call_id::CallId;
use jiff::Timestamp;

use super::table::{KEPT, SET_CLAIMED, Table};
use crate::{
    clock::later,
    dynamodb::{millis, seconds, string},
};

/// Most items in a transaction.
pub(super) const MAX_ITEMS: usize = 100;

impl Table {
    /// Claims at most [`MAX_ITEMS`] calls for `owner`, if none of them has an item. No two are the same. Otherwise, or if
    /// the request fails in any way, each call must be claimed alone: that shows which ones others have claimed, and what
    /// the table's error is. A transaction whose response was lost has claimed them for the same owner.
    pub(super) async fn claimed_new(&self, calls: &[&CallId], owner: &str, now: Timestamp) -> bool {
        let items = calls.iter().map(|call| {
            let claim = Update::builder()
                .table_name(self.name())
                .key("id", string(call.key()))
                .update_expression(SET_CLAIMED)
                .condition_expression("attribute_not_exists(id)")
                .expression_attribute_names("#status", "status")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_values(":claimed", string("claimed"))
                .expression_attribute_values(":owner", string(owner))
                .expression_attribute_values(":until", millis(later(now, self.lease())))
                .expression_attribute_values(":expires_at", seconds(later(now, KEPT)))
                .build();
            claim.map(|claim| TransactWriteItem::builder().update(claim).build())
        });
        let Ok(items) = items.collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let request = self.client().transact_write_items();
        request.set_transact_items(Some(items)).send().await.is_ok()
    }
}
