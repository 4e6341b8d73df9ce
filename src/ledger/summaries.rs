//! Shared summaries: when many instances have alerts at the same time, one of them publishes a summary for all.
//!
//! To publish one message each, most of them would sleep for seconds until it is their turn, and Lambda bills the
//! sleep. So an instance whose turn is far away joins the open summary of the topic: it adds its log files to one item
//! of the ledger's table. If none is open, it opens one and leads it: it waits until the summary closes, reads the log
//! files of those that joined, and publishes one summary. Those that joined are still responsible for their calls:
//! they wait until these are marked as sent, and publish them themselves if they are not. So nothing depends on the
//! instance that leads.
//!
//! Summaries have a pace of their own: one closes at least [`Timing::summary_interval`] after the one before.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue},
};
use cloudhsm_alerts_core::object::ObjectRef;
use jiff::{SignedDuration, Timestamp};

use super::table::{LedgerError, Table};
use crate::{
    clock::later,
    dynamodb::{if_condition_held, millis, seconds, string, time},
    timing::Timing,
};

/// Most log files in a shared summary.
const MAX_OBJECTS: usize = 100;
/// A summary that closes later than this was opened by an instance whose clock is wrong, and one that was not closed
/// for this long by an instance that has died. Another one takes its place.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(5);
/// How long the item is kept.
const KEPT: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The part of an instance in a shared summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Another instance leads it. It closes at this time.
    Joined(Timestamp),
    /// This instance leads it, and must close it at this time.
    Leads(Timestamp),
    /// The open one is full.
    Full,
}

impl Table {
    /// Joins the open summary, or opens one.
    pub(super) async fn share_summary(
        &self,
        key: &str,
        owner: &str,
        objects: &[ObjectRef],
        now: Timestamp,
        timing: &Timing,
    ) -> Result<Share, LedgerError> {
        let objects = AttributeValue::Ss(objects.iter().map(encode).collect());
        if let Some(at) = self.join(key, &objects, now).await? {
            return Ok(Share::Joined(at));
        }
        if let Some(at) = self.lead(key, owner, &objects, now, timing).await? {
            return Ok(Share::Leads(at));
        }
        // Another instance opened one in the meantime, or it is full.
        let joined = self.join(key, &objects, now).await?;
        Ok(joined.map_or(Share::Full, Share::Joined))
    }

    async fn join(
        &self,
        key: &str,
        objects: &AttributeValue,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let joined = self
            .update(key)
            .update_expression("ADD objects :objects")
            .condition_expression(
                "attribute_exists(leader) AND closes_at > :now AND closes_at < :never AND size(objects) < :most",
            )
            .expression_attribute_values(":objects", objects.clone())
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(":never", millis(shifted(now, MAX_AGE)))
            .expression_attribute_values(":most", AttributeValue::N(MAX_OBJECTS.to_string()))
            .send()
            .await;
        closing_time(
            if_condition_held(joined)?.map(|output| output.attributes),
            key,
        )
    }

    async fn lead(
        &self,
        key: &str,
        owner: &str,
        objects: &AttributeValue,
        now: Timestamp,
        timing: &Timing,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let update = || {
            self.update(key)
                .expression_attribute_values(":leader", string(owner))
                .expression_attribute_values(":objects", objects.clone())
                .expression_attribute_values(":expires_at", seconds(later(now, KEPT)))
        };
        let (soon, interval) = (timing.gather, timing.summary_interval);
        let idle = SignedDuration::try_from(interval.saturating_sub(soon)).unwrap_or_default();
        // No other one is open, and the last one closed long enough ago.
        let first = update()
            .update_expression(
                "SET leader = :leader, objects = :objects, closes_at = :closes_at, expires_at = :expires_at",
            )
            .condition_expression(
                "attribute_not_exists(closes_at) OR closes_at >= :never OR closes_at < :dead OR \
                 (attribute_not_exists(leader) AND closes_at <= :idle)",
            )
            .expression_attribute_values(":closes_at", millis(later(now, soon)))
            .expression_attribute_values(":never", millis(shifted(now, MAX_AGE)))
            .expression_attribute_values(":dead", millis(shifted(now, -MAX_AGE)))
            .expression_attribute_values(":idle", millis(shifted(now, -idle)))
            .send()
            .await;
        if let Some(output) = if_condition_held(first)? {
            return closing_time(Some(output.attributes), key);
        }
        // The last one closed a moment ago.
        let next = update()
            .update_expression(
                "SET leader = :leader, objects = :objects, closes_at = closes_at + :interval, expires_at = :expires_at",
            )
            .condition_expression("attribute_not_exists(leader) AND closes_at <= :now")
            .expression_attribute_values(":now", millis(now))
            .expression_attribute_values(
                ":interval",
                AttributeValue::N(interval.as_millis().to_string()),
            )
            .send()
            .await;
        closing_time(
            if_condition_held(next)?.map(|output| output.attributes),
            key,
        )
    }

    /// Closes the summary that `owner` leads. Returns the log files; `None`: another instance leads it now.
    pub(super) async fn close_summary(
        &self,
        key: &str,
        owner: &str,
    ) -> Result<Option<Vec<ObjectRef>>, LedgerError> {
        let closed = self
            .update(key)
            .update_expression("REMOVE leader, objects")
            .condition_expression("leader = :leader")
            .expression_attribute_values(":leader", string(owner))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        let Some(output) = if_condition_held(closed)? else {
            return Ok(None);
        };
        let item = output.attributes.unwrap_or_default();
        let texts = item.get("objects").and_then(|value| value.as_ss().ok());
        let objects = texts.into_iter().flatten().map(|text| decode(text));
        objects
            .collect::<Option<Vec<ObjectRef>>>()
            .map(Some)
            .ok_or_else(|| LedgerError::NotALedger(format!("the item {key:?} has other objects")))
    }

    fn update(&self, key: &str) -> UpdateItemFluentBuilder {
        self.client()
            .update_item()
            .table_name(self.name())
            .key("id", string(key))
            .return_values(ReturnValue::AllNew)
    }
}

/// When the summary closes, from the attributes of its item after an update; `None`: there was no update.
fn closing_time(
    attributes: Option<Option<HashMap<String, AttributeValue>>>,
    key: &str,
) -> Result<Option<Timestamp>, LedgerError> {
    let Some(attributes) = attributes else {
        return Ok(None);
    };
    attributes
        .as_ref()
        .and_then(|attributes| attributes.get("closes_at"))
        .and_then(time)
        .map(Some)
        .ok_or_else(|| LedgerError::NotALedger(format!("the item {key:?} has no closes_at")))
}

fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}

/// An object in an item: a JSON list, because a key can have any character.
fn encode(object: &ObjectRef) -> String {
    serde_json::json!([object.bucket, object.key, object.version_id]).to_string()
}

fn decode(text: &str) -> Option<ObjectRef> {
    let (bucket, key, version_id) = serde_json::from_str(text).ok()?;
    Some(ObjectRef {
        bucket,
        key,
        version_id,
    })
}
