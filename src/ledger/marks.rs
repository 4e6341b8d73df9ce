//! Marks: calls that were alerted are marked as sent, up to 25 in a request.
//!
//! A mark has no condition, so that many can share a request, which takes no longer than one alone. DynamoDB returns
//! those that it has no capacity for; they are tried again after a pause.
//! Source: Amazon DynamoDB API Reference, BatchWriteItem.

use std::time::Duration;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use cloudhsm_alerts_core::call_id::CallId;
use jiff::Timestamp;

use super::table::{KEPT, LedgerError, Table};
use crate::{
    clock::later,
    dynamodb::{RequestError, after_transactions, millis, seconds, string},
};

/// Most items in a request.
pub(super) const MAX_MARKS: usize = 25;
/// Pauses before the items are tried again that DynamoDB had no capacity for.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];

impl Table {
    /// Marks at most [`MAX_MARKS`] calls as sent, even if another owner has claimed them. No two are the same.
    pub(super) async fn mark_sent(
        &self,
        calls: &[&CallId],
        owner: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut left = calls
            .iter()
            .map(|call| mark(call, owner, now))
            .collect::<Result<Vec<WriteRequest>, LedgerError>>()?;
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            let request = self
                .client()
                .batch_write_item()
                .request_items(self.name(), left);
            let output = after_transactions(|| request.clone().send())
                .await
                .map_err(|error| RequestError::of(&error))?;
            left = output
                .unprocessed_items
                .unwrap_or_default()
                .into_values()
                .flatten()
                .collect();
            match pause {
                _ if left.is_empty() => return Ok(()),
                Some(pause) => tokio::time::sleep(pause).await,
                None => {}
            }
        }
        Err(LedgerError::Throttled(format!(
            "{} of {} items were not written",
            left.len(),
            calls.len()
        )))
    }
}

fn mark(call: &CallId, owner: &str, now: Timestamp) -> Result<WriteRequest, LedgerError> {
    let put = PutRequest::builder()
        .item("id", string(call.key()))
        .item("status", string("sent"))
        .item("owner", string(owner))
        .item("sent_at", millis(now))
        .item("expires_at", seconds(later(now, KEPT)))
        .build()
        .map_err(|error| LedgerError::Unavailable(error.to_string()))?;
    Ok(WriteRequest::builder().put_request(put).build())
}
