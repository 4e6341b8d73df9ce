//! Grouping: equal calls share one alert with a count, and alerts get their order.
//!
//! Anyone can make calls that are denied, in any number and without a permission. A thousand alerts about one
//! attempt would hide the call that succeeded, and use up the SMS spending quota. So a repetition of a call (same
//! caller, event name, outcome and resource) is counted in the alert of the first. It has its own claim in the ledger,
//! and its event ID is in the message.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use jiff::Timestamp;

use super::{pending::GroupKey, queue::QueuedCall};
use cloudhsm_alerts_core::{alert::Repeats, record::Outcome};

/// Most calls in one alert: the IDs of several times as many would fit into a message.
const MAX_CALLS: usize = 1000;
/// A caller whose calls are refused on more resources than this is guessing names: these calls are grouped whatever
/// the resource is.
const MAX_RESOURCES: usize = 20;

/// Calls that share an alert: at least one. The alert is about the first.
pub(super) struct Group(pub(super) Vec<QueuedCall>);

impl Group {
    /// The call that the alert is about.
    pub(super) fn first(&self) -> &QueuedCall {
        // A group is made with one call, and calls are only added.
        &self.0[0]
    }
}

/// Groups, in the order in which they are published: the most severe first, of equals the calls that succeeded.
/// Of these, rules take turns, so that the calls that match one rule do not use up `MAX_ALERTS`; then the order in
/// the payload decides. Old calls of a backfill are not grouped with recent ones.
pub(super) fn groups(
    mut calls: Vec<QueuedCall>,
    is_old: impl Fn(Option<Timestamp>) -> bool,
) -> Vec<Group> {
    calls.sort_by_key(|queued| queued.position);
    let mut refused: HashMap<GroupKey, HashSet<GroupKey>> = HashMap::new();
    for call in calls.iter().map(|queued| &queued.call) {
        if call.outcome != Outcome::Success {
            refused.entry(call.kind).or_default().insert(call.repeat);
        }
    }
    refused.retain(|_, resources| resources.len() > MAX_RESOURCES);
    let mut groups: Vec<Group> = Vec::new();
    let mut open: HashMap<(GroupKey, bool), usize> = HashMap::new();
    for queued in calls {
        let call = &queued.call;
        let key = if refused.contains_key(&call.kind) {
            call.kind
        } else {
            call.repeat
        };
        let key = (key, is_old(call.time));
        match open.get(&key) {
            Some(&at) if groups[at].0.len() < MAX_CALLS => groups[at].0.push(queued),
            _ => {
                open.insert(key, groups.len());
                groups.push(Group(vec![queued]));
            }
        }
    }
    let mut rounds: HashMap<_, usize> = HashMap::new();
    let mut ordered: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let call = &group.first().call;
            let rule = call.rule_id().to_owned();
            let round = rounds
                .entry((call.severity, call.outcome, rule))
                .or_default();
            *round += 1;
            let order = (Reverse(call.severity), call.outcome, *round);
            (order, group)
        })
        .collect();
    ordered.sort_by_key(|(order, group)| (*order, group.first().position));
    ordered.into_iter().map(|(_, group)| group).collect()
}

/// The repetitions that an alert about the first of these calls mentions.
pub(super) fn repeats(calls: &[QueuedCall]) -> Repeats {
    let Some((first, others)) = calls.split_first() else {
        return Repeats::default();
    };
    Repeats {
        calls: others
            .iter()
            .map(|queued| queued.call.call_id.clone())
            .collect(),
        first: calls.iter().filter_map(|queued| queued.call.time).min(),
        last: calls.iter().filter_map(|queued| queued.call.time).max(),
        on_other_resources: others
            .iter()
            .any(|queued| queued.call.repeat != first.call.repeat),
    }
}
