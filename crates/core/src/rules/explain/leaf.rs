//! A leaf of the engine's trace: one field of a selection, or its keywords, with what the record has and what the rule
//! expects.
//!
//! The trace has the compiled pattern, in lower case. What is expected is made from the parsed detection, which has the
//! form of the trace ([`super::super::expectation`]). Values of the record are shown on one line, without secrets.

use rsigma_eval::{DetectionTrace, ItemTrace, MatchReason};
use rsigma_parser::{Detection, DetectionItem, SigmaValue};
use serde_json::{Map, Value};

use super::super::{comparison, expectation};
use crate::{redact, text::one_line};

/// Maximum length of a value, in characters.
const MAX_VALUE: usize = 120;

/// What a leaf of a trace was compiled from.
#[derive(Clone, Copy)]
pub(super) enum Test<'d> {
    Item(&'d DetectionItem),
    Keywords(&'d [SigmaValue]),
    /// The trace does not follow the detection.
    Unknown,
}

/// The items that decide the result of a selection. If no alternative matches, those of the alternative with the
/// fewest. Each has its place in the detection, which the trace has the form of.
pub(super) fn leaves<'t, 'd>(
    trace: &'t DetectionTrace,
    detection: Option<&'d Detection>,
    found: &mut Vec<(&'t ItemTrace, Test<'d>)>,
) {
    let part = |index: usize| match detection {
        Some(Detection::And(parts) | Detection::AnyOf(parts)) => parts.get(index),
        _ => None,
    };
    match trace {
        DetectionTrace::AllOf { matched, items } => {
            let test = |index: usize| match detection {
                Some(Detection::AllOf(items)) => items.get(index).map_or(Test::Unknown, Test::Item),
                _ => Test::Unknown,
            };
            let decisive = items.iter().enumerate();
            let decisive = decisive.filter(|(_, item)| item.matched == *matched);
            found.extend(decisive.map(|(index, item)| (item, test(index))));
        }
        DetectionTrace::And { matched, branches } => {
            for (index, branch) in branches.iter().enumerate() {
                if branch.matched() == *matched {
                    leaves(branch, part(index), found);
                }
            }
        }
        DetectionTrace::AnyOf { matched, branches } => {
            let nearest = branches
                .iter()
                .enumerate()
                .filter(|(_, branch)| branch.matched() == *matched)
                .map(|(index, branch)| {
                    let mut tests = Vec::new();
                    leaves(branch, part(index), &mut tests);
                    tests
                })
                .min_by_key(Vec::len);
            found.extend(nearest.unwrap_or_default());
        }
        DetectionTrace::Keywords { item, .. } => found.push((
            item,
            match detection {
                Some(Detection::Keywords(keywords)) => Test::Keywords(keywords),
                _ => Test::Unknown,
            },
        )),
        // Rejected when rules are loaded.
        DetectionTrace::ArrayMatch { .. }
        | DetectionTrace::Conditional { .. }
        | DetectionTrace::Other { .. } => {}
    }
}

pub(super) fn describe(trace: &ItemTrace, test: Test<'_>) -> String {
    let compiled = || {
        let pattern = trace.pattern.as_deref().unwrap_or_default();
        format!("{:?}", one_line(pattern, MAX_VALUE))
    };
    let Some(field) = &trace.field else {
        let text = match test {
            Test::Item(item) => expectation::of_text(item),
            Test::Keywords(keywords) => expectation::of_keywords(keywords),
            Test::Unknown => format!("with {}", compiled()),
        };
        let found = if trace.matched { "has" } else { "has no" };
        return format!("the record {found} text {text}");
    };
    if let Some((left, right)) = comparison::described(field) {
        let (left, right) = (one_line(left, 200), one_line(&right, 200));
        let is_negated = matches!(test, Test::Item(item) if expectation::is_negated(item));
        let result = if trace.matched != is_negated {
            "matches"
        } else {
            "does not match"
        };
        return format!("{left} {result} the field that the rule compares it with: {right}");
    }
    let field = &one_line(field, 200);
    let is = match &trace.actual {
        None => "is not in the record".to_owned(),
        Some(value) => format!("is {}", shown(field, value)),
    };
    if trace.matched {
        return format!("{field} {is}");
    }
    let expected = match test {
        Test::Item(item) => expectation::of_field(item),
        Test::Keywords(_) | Test::Unknown => compiled(),
    };
    let case = match trace.reason {
        MatchReason::CaseMismatch => ", with the same upper and lower case",
        _ => "",
    };
    format!("{field} {is}, expected {expected}{case}")
}

/// A value of the record, without secrets.
fn shown(field: &str, value: &Value) -> String {
    let name = field.rsplit('.').next().unwrap_or(field);
    // An object is its JSON text here.
    let value = match value {
        Value::String(text) if text.starts_with('{') => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        other => other.clone(),
    };
    let mut holder = Value::Object(Map::from_iter([(name.to_owned(), value)]));
    redact::redact(&mut holder);
    one_line(&holder[name].to_string(), MAX_VALUE)
}
