//! The state of the stub: objects, items and published messages, and a log of all requests.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use serde_json::Value;

use super::{
    faults::Fault,
    request::{Operation, RequestKey},
};
use crate::published::Published;

#[derive(Default)]
pub struct State {
    /// The content of each object, by `bucket/key`.
    pub objects: HashMap<String, Vec<u8>>,
    /// The metadata of objects that have any, by `bucket/key`, without the prefix `x-amz-meta-`.
    pub metadata: HashMap<String, BTreeMap<String, String>>,
    /// The elements of CloudTrail's `PublicKeyList`, by region. All other regions refuse to list theirs.
    pub public_keys: BTreeMap<String, Vec<Value>>,
    /// Items of the ledger in DynamoDB's JSON, by ID.
    pub items: BTreeMap<String, Value>,
    /// Items of the watch table, by kind and ID.
    pub watch: BTreeMap<(String, String), Value>,
    pub messages: Vec<Published>,
    /// The start of the next free slot to publish in, in milliseconds, after each reservation.
    pub slots: Vec<i64>,
    /// Every request in order, with the fault that was injected.
    pub requests: Vec<(RequestKey, Fault)>,
    /// The headers of every request, in the same order.
    pub headers: Vec<HashMap<String, String>>,
    /// When every request arrived, in the same order.
    pub arrivals: Vec<Instant>,
    /// When the response to every request was sent, in the same order. `None`: not yet, or not as the request asked.
    pub responses: Vec<Option<Instant>>,
    /// Requests without a fault whose client closed the connection before the response.
    pub abandoned: Vec<RequestKey>,
    /// Objects on a page of a list, if not 1,000.
    pub page_size: Option<usize>,
    /// Items on a page of a query, if not 1,000.
    pub query_page_size: Option<usize>,
    attempts: HashMap<(Operation, String), u32>,
}

impl State {
    /// How many messages name each event ID.
    pub fn alerts_by_event_id(&self) -> BTreeMap<String, usize> {
        let mut alerts = BTreeMap::new();
        for id in self.messages.iter().flat_map(Published::event_ids) {
            *alerts.entry(id).or_default() += 1;
        }
        alerts
    }

    /// The texts of the pages.
    pub fn pages(&self) -> Vec<&str> {
        self.messages.iter().filter_map(Published::page).collect()
    }

    /// Lets all claims expire.
    pub fn expire_claims(&mut self) {
        for item in self.items.values_mut() {
            if item["status"]["S"] == "claimed" {
                item["claimed_until"]["N"] = "1".into();
            }
        }
    }

    /// Counts a request as the next attempt.
    pub(super) fn next_attempt(&mut self, operation: Operation, target: &str) -> RequestKey {
        let target = target.to_owned();
        let attempts = self
            .attempts
            .entry((operation, target.clone()))
            .or_default();
        let attempt = *attempts;
        *attempts += 1;
        RequestKey {
            operation,
            target,
            attempt,
        }
    }
}
