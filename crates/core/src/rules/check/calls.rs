//! Combinations of event source and event name that can match a detection, by AWS's lists.
//!
//! A rule may have only valid names and still require two of them at the same time. Other fields are ignored, so a
//! call that remains may not match in fact, but a call that is excluded never matches.

use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier};

use super::names::{is_versioned, matched, operations, written};
use crate::rules::{
    api::{Api, NEVER_RECORDED},
    detection,
};

/// An event source and an event name.
type Call<'c> = (&'c str, &'c str);

/// Whether a call can match all event sources and event names of a detection. `None` if this cannot be decided,
/// because an event source or a name is not in the lists.
pub(super) fn can_match(detections: &Detections) -> Option<bool> {
    let api = Api::known()?;
    let tests = detection::field_tests(detections);
    let about = |member: &'static str| {
        tests
            .iter()
            .map(|test| test.item)
            .filter(move |item| detection::is_about(item, member))
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
        let sources = [source.to_owned()];
        let operations = operations(api, &sources);
        for value in about("eventName").flat_map(|item| &item.values) {
            if is_versioned(value, &sources, &operations) {
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

/// The calls that can match a condition.
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
        // An exclusion may depend on other fields, too, and then excludes only some records of a call.
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
    let is_source = detection::is_about(item, "eventSource");
    if !is_source && !detection::is_about(item, "eventName") {
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
                found.all(|is_match| is_match)
            } else {
                found.any(|is_match| is_match)
            }
        })
        .collect()
}

/// The calls that are in at least one of several lists, in order.
fn union<'c>(calls: &[Call<'c>], lists: impl Iterator<Item = Vec<Call<'c>>>) -> Vec<Call<'c>> {
    let lists: Vec<_> = lists.collect();
    calls
        .iter()
        .copied()
        .filter(|call| lists.iter().any(|list| list.contains(call)))
        .collect()
}
