//! The watch table: a DynamoDB table with the deadlines, shared by all instances of the function and the command line.
//!
//! Its partition key is `kind` and its sort key `id`, so that one query reads all deadlines. A call that opens or closes
//! one is merged with the item that is there ([`super::deadline`]), and written under the condition that the item is
//! still the one that was read. If another instance was faster, DynamoDB returns its item, and the call is merged with
//! that. The first attempt expects no item, which is the usual case, so an opening takes one request.

use std::collections::{BTreeMap, HashMap};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    operation::{
        query::builders::QueryFluentBuilder,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use cloudhsm_alerts_core::deadline::{Closing, Deadline, DeadlineKey};
use jiff::Timestamp;

use super::{
    deadline::{Call, Dismissed, WatchedDeadline},
    error::WatchError,
    item::{self, DEADLINE, Item, VERSION},
};
use crate::{
    dynamodb::{self, RequestError, after_transactions, if_condition_held, millis, string},
    timing::Timing,
};

/// Most attempts to write an item. Each failed one means that another writer was faster.
const ATTEMPTS: usize = 64;
/// The members whose change makes a merge obsolete.
const COMPARED: [&str; 3] = ["opened_at", "closed_at", "expires_at"];

/// What became of a call that opens or closes a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Written,
    /// It, or a later call, was known.
    Known,
    /// It is so old that it would expire at once.
    TooOld,
}

/// The deadlines in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Open and closed ones, in the order of their keys.
    pub deadlines: Vec<WatchedDeadline>,
    /// Items that this version cannot read.
    pub foreign: usize,
}

/// A DynamoDB table.
#[derive(Debug, Clone)]
pub struct WatchTable {
    client: Client,
    name: String,
}

impl WatchTable {
    /// A table, by name or ARN.
    pub fn new(client: Client, name: String) -> WatchTable {
        WatchTable { client, name }
    }

    /// A table, by name or ARN, with a client of its own.
    pub fn connect(sdk: &SdkConfig, timing: &Timing, name: String) -> WatchTable {
        WatchTable::new(dynamodb::client(sdk, timing), name)
    }

    /// The name or ARN.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a deadline, unless it was opened by a later call or by this one.
    ///
    /// # Errors
    /// The request failed, or the item under its key is not ours.
    pub async fn open(&self, deadline: &Deadline, now: Timestamp) -> Result<Change, WatchError> {
        self.write(Call::Opens(&item::bounded(deadline)), now).await
    }

    /// Closes a deadline, unless it was closed by a later call or by this one. The call that opens it may be read later.
    ///
    /// # Errors
    /// The request failed, or the item under its key is not ours.
    pub async fn close(&self, closing: &Closing, now: Timestamp) -> Result<Change, WatchError> {
        let closing = item::bounded_closing(closing);
        self.write(Call::Closes(&closing), now).await
    }

    async fn write(&self, call: Call<'_>, now: Timestamp) -> Result<Change, WatchError> {
        if call.is_too_old(now) {
            return Ok(Change::TooOld);
        }
        let is_written = self.write_merged(None, |seen| {
            let known = seen.map(item::read).transpose()?;
            let Some(next) = call.after(known.as_ref(), now) else {
                return Ok(None);
            };
            let before = known.as_ref().map(item::members).unwrap_or_default();
            let after = item::members(&next);
            Ok(Some(self.change(call.key(), &before, &after, seen)))
        });
        Ok(match is_written.await? {
            true => Change::Written,
            false => Change::Known,
        })
    }

    /// Writes an item with the update that `merge` makes from the item as it was last seen, under its condition that this
    /// is what is there. If another writer was faster, DynamoDB returns the item, and the update is made from that. Returns
    /// whether it was written: without an update, nothing is to be changed.
    pub(super) async fn write_merged(
        &self,
        mut seen: Option<Item>,
        merge: impl Fn(Option<&Item>) -> Result<Option<UpdateItemFluentBuilder>, WatchError>,
    ) -> Result<bool, WatchError> {
        for _ in 0..ATTEMPTS {
            let Some(request) = merge(seen.as_ref())? else {
                return Ok(false);
            };
            let request = request.return_values_on_condition_check_failure(
                ReturnValuesOnConditionCheckFailure::AllOld,
            );
            let error = match after_transactions(|| request.clone().send()).await {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    seen = failed.item().cloned();
                }
                _ => return Err(RequestError::of(&error).into()),
            }
        }
        Err(WatchError::Unavailable(format!(
            "the item was changed by others during {ATTEMPTS} attempts to write it"
        )))
    }

    /// The update that makes members `before` into `after`, under the condition that the item is as it was seen.
    fn change(
        &self,
        key: &DeadlineKey,
        before: &BTreeMap<&'static str, AttributeValue>,
        after: &BTreeMap<&'static str, AttributeValue>,
        seen: Option<&Item>,
    ) -> UpdateItemFluentBuilder {
        let changed = after
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(*value))
            .map(|(name, value)| (*name, value.clone()));
        let (mut request, mut update) = set(self.update(DEADLINE, &key.text()), changed);
        let removed = before.keys().filter(|name| !after.contains_key(**name));
        let removed: Vec<&str> = removed.copied().collect();
        if !removed.is_empty() {
            let names: Vec<String> = removed.iter().map(|name| format!("#{name}")).collect();
            update += &format!(" REMOVE {}", names.join(", "));
            for name in removed {
                request = request.expression_attribute_names(format!("#{name}"), name);
            }
        }
        request = request.update_expression(update);
        let Some(seen) = seen else {
            return request.condition_expression("attribute_not_exists(id)");
        };
        let mut conditions = vec!["#version = :seen_version".to_owned()];
        request = request
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":seen_version", version());
        for name in COMPARED {
            request = request.expression_attribute_names(format!("#{name}"), name);
            match seen.get(name) {
                Some(value) => {
                    conditions.push(format!("#{name} = :seen_{name}"));
                    request =
                        request.expression_attribute_values(format!(":seen_{name}"), value.clone());
                }
                None => conditions.push(format!("attribute_not_exists(#{name})")),
            }
        }
        request.condition_expression(conditions.join(" AND "))
    }

    /// Dismisses the deadline that was opened at this time. Returns whether it still is that one.
    ///
    /// # Errors
    /// The request failed.
    pub async fn dismiss(
        &self,
        key: &DeadlineKey,
        opened: Timestamp,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, WatchError> {
        let dismissed = Dismissed {
            opened: item::in_millis(opened),
            at: now,
            by: by.to_owned(),
            reason: reason.to_owned(),
        };
        let request = self
            .update_opened(key, opened)
            .update_expression("SET #dismissed = :dismissed")
            .expression_attribute_names("#dismissed", "dismissed")
            .expression_attribute_values(":dismissed", item::dismissal(&dismissed));
        Ok(if_condition_held(request.send().await)?.is_some())
    }

    /// Notes that a deadline that was opened at this time was reminded of at these steps. Returns whether it still is
    /// that one.
    ///
    /// # Errors
    /// The request failed.
    pub async fn note_reminded(
        &self,
        key: &DeadlineKey,
        opened: Timestamp,
        steps: &[u16],
        now: Timestamp,
    ) -> Result<bool, WatchError> {
        if steps.is_empty() {
            return Ok(true);
        }
        let mut request = self
            .update_opened(key, opened)
            .expression_attribute_names("#reminded", "reminded")
            .expression_attribute_values(":now", millis(now));
        let mut set = Vec::new();
        for step in steps {
            set.push(format!("#reminded.#step_{step} = :now"));
            request = request.expression_attribute_names(format!("#step_{step}"), step.to_string());
        }
        request = request.update_expression(format!("SET {}", set.join(", ")));
        Ok(if_condition_held(request.send().await)?.is_some())
    }

    /// All deadlines, open and closed.
    ///
    /// # Errors
    /// A request failed.
    pub async fn list(&self) -> Result<Listed, WatchError> {
        let mut listed = Listed::default();
        for found in self.all(DEADLINE).await? {
            match item::read(&found) {
                Ok(deadline) => listed.deadlines.push(deadline),
                Err(_) => listed.foreign += 1,
            }
        }
        Ok(listed)
    }

    /// All items of a kind.
    pub(super) async fn all(&self, kind: &str) -> Result<Vec<Item>, WatchError> {
        let mut items = Vec::new();
        let mut from: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let page = self
                .query(kind)
                .key_condition_expression("#kind = :kind")
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| RequestError::of(&error))?;
            items.extend(page.items.unwrap_or_default());
            match page.last_evaluated_key {
                Some(key) if !key.is_empty() => from = Some(key),
                _ => return Ok(items),
            }
        }
    }

    /// A query of items of a kind, without its condition.
    pub(super) fn query(&self, kind: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .expression_attribute_names("#kind", "kind")
            .expression_attribute_values(":kind", string(kind))
            .consistent_read(true)
    }

    /// An update of an item.
    pub(super) fn update(&self, kind: &str, id: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .key("kind", string(kind))
            .key("id", string(id))
    }

    /// An update of a deadline that was opened at this time.
    fn update_opened(&self, key: &DeadlineKey, opened: Timestamp) -> UpdateItemFluentBuilder {
        self.update(DEADLINE, &item::bounded_key(key).text())
            .condition_expression("#version = :version AND #opened_at = :opened_at")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#opened_at", "opened_at")
            .expression_attribute_values(":version", version())
            .expression_attribute_values(":opened_at", millis(opened))
    }
}

/// Adds members to an update. Returns it with its `SET` clause.
pub(super) fn set<'n>(
    mut update: UpdateItemFluentBuilder,
    members: impl IntoIterator<Item = (&'n str, AttributeValue)>,
) -> (UpdateItemFluentBuilder, String) {
    let mut set = Vec::new();
    for (name, value) in members {
        set.push(format!("#{name} = :{name}"));
        update = update
            .expression_attribute_names(format!("#{name}"), name)
            .expression_attribute_values(format!(":{name}"), value);
    }
    (update, format!("SET {}", set.join(", ")))
}

pub(super) fn version() -> AttributeValue {
    AttributeValue::N(VERSION.to_owned())
}
