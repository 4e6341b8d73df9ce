//! The message limit of a backfill job: one item of the ledger's table counts the messages that all instances
//! published for the job.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::table::{LedgerError, Table};
use crate::{
    clock::later,
    dynamodb::{if_condition_held, seconds, string},
};

/// How long the count is kept after the last message: longer than a job can run.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

impl Table {
    /// Counts one more message under `key`, unless there are `limit` of them. Returns whether it was counted.
    pub(super) async fn take_job_message(
        &self,
        key: &str,
        now: Timestamp,
        limit: u64,
    ) -> Result<bool, LedgerError> {
        if limit == 0 {
            return Ok(false);
        }
        let counted = self
            .client()
            .update_item()
            .table_name(self.name())
            .key("id", string(key))
            .update_expression(
                "SET messages_sent = if_not_exists(messages_sent, :none) + :one, expires_at = :expires_at",
            )
            .condition_expression("attribute_not_exists(messages_sent) OR messages_sent < :most")
            .expression_attribute_values(":none", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(limit))
            .expression_attribute_values(":expires_at", seconds(later(now, KEPT)))
            .send()
            .await;
        Ok(if_condition_held(counted)?.is_some())
    }
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
