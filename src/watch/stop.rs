//! Calls that stop a trail or its validation, as far as this function has seen them, in the watch table: they explain
//! why a chain of digest files is silent or has a gap.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts_core::{
    actor::Actor,
    digest::{
        chain::{GRACE, HOUR},
        finding::Stop,
        key::Chain,
        verdict::Interval,
    },
    finding::Finding,
    record::Outcome,
    text::one_line,
};
use serde_json::Value;

use super::{
    deadline::KEPT,
    error::WatchError,
    table::{WatchTable, set, version},
};
use crate::{
    clock::later,
    dynamodb::{RequestError, millis, seconds, string, time},
};

const KIND: &str = "stop";

/// A call that stopped a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenStop {
    /// The call.
    pub stop: Stop,
    /// The name of the trail.
    pub trail: String,
    /// The account of the caller's trail.
    pub account: String,
    /// The region of the call, which is the trail's home.
    pub region: String,
    /// Its event ID.
    pub event_id: String,
}

impl SeenStop {
    /// The call of a finding, if it succeeded and stops a trail or its validation, or sends it elsewhere.
    pub fn of(finding: &Finding) -> Option<SeenStop> {
        let record = &finding.record;
        let parameter = |name: &str| record.value().get("requestParameters")?.get(name);
        let stops = match record.event_name() {
            "StopLogging" | "DeleteTrail" => true,
            "UpdateTrail" => {
                parameter("enableLogFileValidation") == Some(&Value::Bool(false))
                    || parameter("s3BucketName").is_some()
                    || parameter("s3KeyPrefix").is_some()
            }
            _ => false,
        };
        if !stops
            || record.event_source() != "cloudtrail.amazonaws.com"
            || record.outcome() != Outcome::Success
        {
            return None;
        }
        let name = record.scalar("requestParameters.name")?;
        // A name or an ARN.
        let trail = name.rsplit('/').next().unwrap_or_default();
        let account = record
            .account_id("recipientAccountId")
            .or_else(|| record.account_id("userIdentity.accountId"));
        Some(SeenStop {
            stop: Stop {
                time: record.event_time()?,
                event_name: one_line(record.event_name(), 64),
                actor: one_line(&Actor::of(&record.clone().redacted()).short, 256),
            },
            trail: one_line(trail, 128),
            account: one_line(&account.unwrap_or_default(), 64),
            region: one_line(record.str("awsRegion").unwrap_or_default(), 64),
            event_id: one_line(&record.event_id(), 128),
        })
    }

    /// Whether it stopped this chain.
    fn is_of(&self, chain: &Chain) -> bool {
        // The trail of an organization is in the management account.
        let is_account = chain.organization.is_some() || self.account == chain.account;
        self.trail == chain.trail && self.region == chain.home_region && is_account
    }

    /// `StopLogging by alice at 2026-11-23T03:41:00Z (event ID …)`.
    pub fn describe(&self) -> String {
        format!(
            "{} by {} at {} (event ID {})",
            self.stop.event_name, self.stop.actor, self.stop.time, self.event_id
        )
    }
}

/// The latest call that explains why a chain has nothing in a period: one digest file still comes after it.
pub fn explaining<'s>(
    stops: &'s [SeenStop],
    chain: &Chain,
    period: Interval,
) -> Option<&'s SeenStop> {
    let from = period.from.checked_sub(HOUR + GRACE).unwrap_or(period.from);
    stops
        .iter()
        .filter(|seen| seen.is_of(chain))
        .filter(|seen| seen.stop.time >= from && seen.stop.time <= period.to)
        .max_by_key(|seen| seen.stop.time)
}

impl WatchTable {
    /// Notes a call. Noting it twice changes nothing.
    ///
    /// # Errors
    /// The request failed.
    pub async fn note_stop(&self, seen: &SeenStop) -> Result<(), WatchError> {
        let members = [
            ("version", version()),
            ("event_name", string(&seen.stop.event_name)),
            ("actor", string(&seen.stop.actor)),
            ("at", millis(seen.stop.time)),
            ("trail", string(&seen.trail)),
            ("account", string(&seen.account)),
            ("region", string(&seen.region)),
            ("event_id", string(&seen.event_id)),
            ("expires_at", seconds(later(seen.stop.time, KEPT))),
        ];
        let request = self.update(KIND, &format!("{}/{}", seen.event_id, seen.trail));
        let (request, set) = set(request, members);
        request
            .update_expression(set)
            .send()
            .await
            .map_err(|error| RequestError::of(&error))?;
        Ok(())
    }

    /// All calls that were noted.
    ///
    /// # Errors
    /// A request failed.
    pub async fn stops(&self) -> Result<Vec<SeenStop>, WatchError> {
        let items = self.all(KIND).await?;
        Ok(items.iter().filter_map(read).collect())
    }
}

/// Reads an item; `None`: this version did not write it.
fn read(item: &HashMap<String, AttributeValue>) -> Option<SeenStop> {
    let text = |name: &str| item.get(name)?.as_s().ok().cloned();
    Some(SeenStop {
        stop: Stop {
            time: time(item.get("at")?)?,
            event_name: text("event_name")?,
            actor: text("actor")?,
        },
        trail: text("trail")?,
        account: text("account")?,
        region: text("region")?,
        event_id: text("event_id")?,
    })
}
