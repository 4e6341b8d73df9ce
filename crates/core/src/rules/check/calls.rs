//! Calls: which pairs of an event source and an event name can meet a detection, by AWS's own lists.
//!
//! A rule whose names are all right may still ask for two of them at once. What other fields ask for is not
//! looked at: a call that is left in may be ruled out by them, one that is left out meets the rule in no
//! record.

use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier};

use super::{
    NEVER_RECORDED,
    api::Api,
    names::{is_versioned, matched, operations, written},
};
use crate::rules::bound;

/// An event source and an event name.
type Call<'c> = (&'c str, &'c str);

/// Whether some call has all the event sources and event names that a detection asks for together. `None`:
/// nothing can be said, because of an event source or a name that is not known.
pub(super) fn can_be_met(detections: &Detections) -> Option<bool> {
    let api = Api::known()?;
    let items = bound::items(detections);
    let about = |member: &'static str| {
        items
            .iter()
            .map(|item| item.item)
            .filter(move |item| bound::is_about(item, member))
    };
    let known: Vec<&str> = api.event_sources().chain([NEVER_RECORDED]).collect();
    let mut sources: Vec<&str> = Vec::new();
    for item in about("eventSource") {
        for value in &item.values {
            let matched = matched(item, value, "eventSource", &known);
            if matched.is_empty() || !matched.iter().all(|source| api.knows(source)) {
                return None;
            }
            sources.extend(matched);
        }
    }
    sources.sort_unstable();
    sources.dedup();
    let mut calls: Vec<(&str, String)> = Vec::new();
    for &source in &sources {
        let own = [source.to_owned()];
        let operations = operations(api, &own);
        for value in about("eventName").flat_map(|item| &item.values) {
            if is_versioned(value, &own, &operations) {
                calls.push((source, written(value)));
            }
        }
        calls.extend(operations.into_iter().map(|name| (source, name)));
    }
    if calls.is_empty() {
        return None;
    }
    let calls: Vec<Call<'_>> = calls.iter().map(|(s, name)| (*s, name.as_str())).collect();
    Some(
        detections
            .conditions
            .iter()
            .any(|condition| !possible(condition, detections, &calls).is_empty()),
    )
}

/// The calls by event source and event name that may meet a condition: none of those left out can.
fn possible<'c>(
    condition: &ConditionExpr,
    detections: &Detections,
    calls: &[Call<'c>],
) -> Vec<Call<'c>> {
    let of = |part: &str| {
        detections
            .named
            .get(part)
            .map_or_else(|| calls.to_vec(), |part| possible_part(part, calls))
    };
    match condition {
        ConditionExpr::And(parts) => parts.iter().fold(calls.to_vec(), |left, part| {
            possible(part, detections, &left)
        }),
        ConditionExpr::Or(parts) => union(
            calls,
            parts.iter().map(|part| possible(part, detections, calls)),
        ),
        ConditionExpr::Identifier(name) => of(name),
        // An exclusion may ask for more than the call, and then leaves some of each.
        ConditionExpr::Not(_) => calls.to_vec(),
        ConditionExpr::Selector {
            quantifier,
            pattern,
        } => {
            let parts: Vec<_> = detections
                .named
                .keys()
                .filter(|name| pattern.matches_detection_name(name))
                .map(|name| of(name))
                .collect();
            match quantifier {
                Quantifier::All => calls
                    .iter()
                    .copied()
                    .filter(|call| parts.iter().all(|part| part.contains(call)))
                    .collect(),
                Quantifier::Count(0) => calls.to_vec(),
                Quantifier::Any | Quantifier::Count(_) => union(calls, parts.into_iter()),
            }
        }
    }
}

fn possible_part<'c>(part: &Detection, calls: &[Call<'c>]) -> Vec<Call<'c>> {
    match part {
        Detection::AllOf(items) => items
            .iter()
            .fold(calls.to_vec(), |left, item| possible_item(item, &left)),
        Detection::And(parts) => parts
            .iter()
            .fold(calls.to_vec(), |left, part| possible_part(part, &left)),
        Detection::AnyOf(parts) => {
            union(calls, parts.iter().map(|part| possible_part(part, calls)))
        }
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
            calls.to_vec()
        }
    }
}

fn possible_item<'c>(item: &DetectionItem, calls: &[Call<'c>]) -> Vec<Call<'c>> {
    let is_source = bound::is_about(item, "eventSource");
    if !is_source && !bound::is_about(item, "eventName") {
        return calls.to_vec();
    }
    let field = if is_source {
        "eventSource"
    } else {
        "eventName"
    };
    let of = |call: &Call<'c>| if is_source { call.0 } else { call.1 };
    let names: Vec<&str> = calls.iter().map(of).collect();
    let by_value: Vec<Vec<&str>> = item
        .values
        .iter()
        .map(|value| matched(item, value, field, &names))
        .collect();
    let is_all = item.field.has_modifier(Modifier::All) || item.field.has_modifier(Modifier::Neq);
    calls
        .iter()
        .copied()
        .filter(|call| {
            let mut found = by_value.iter().map(|names| names.contains(&of(call)));
            if is_all {
                found.all(|holds| holds)
            } else {
                found.any(|holds| holds)
            }
        })
        .collect()
}

/// Those of some calls that are in one of several lists, in their order.
fn union<'c>(calls: &[Call<'c>], lists: impl Iterator<Item = Vec<Call<'c>>>) -> Vec<Call<'c>> {
    let lists: Vec<_> = lists.collect();
    calls
        .iter()
        .copied()
        .filter(|call| lists.iter().any(|list| list.contains(call)))
        .collect()
}
