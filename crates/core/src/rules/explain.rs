//! Explanations: which rules a record matches, and why it does not match the others.
//!
//! The engine traces each selection of a condition with the same functions that evaluate it. The trace is shortened to
//! one line for each field. Values of the record are shown on one line, without secrets.

use std::sync::Arc;

use jiff::Timestamp;
use rsigma_eval::{
    CompiledRule, ConditionTrace, DetectionTrace, ItemTrace, MatchReason, MatcherKind, explain_rule,
};
use serde_json::{Map, Value};

use super::{
    comparison, compile::matches, filter::Filter, rule::Rule, rule_set::RuleSet, view::RecordView,
};
use crate::{record::Record, redact, text::one_line};

/// Maximum length of a value, in characters.
const MAX_VALUE: usize = 120;
/// Maximum number of reasons for one rule.
const MAX_REASONS: usize = 6;

/// The result of one rule for a record.
#[derive(Debug)]
pub struct Explanation {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Whether the record matches.
    pub is_match: bool,
    /// The filter that suppresses the match.
    pub filter: Option<Arc<Filter>>,
    /// The fields that match, or those that do not.
    pub reasons: Vec<String>,
}

impl RuleSet {
    /// The result of every rule for a record at a time: matching rules first, then those with the fewest
    /// fields that do not match.
    pub fn explain(&self, record: &Record, now: Timestamp) -> Vec<Explanation> {
        let mut explanations: Vec<Explanation> = self
            .rules
            .iter()
            .map(|(rule, compiled)| {
                let compiled = compiled.rule();
                let is_match = matches(compiled, &RecordView::new(record));
                let filter = is_match
                    .then(|| self.suppressing_filter(rule, record, now))
                    .flatten();
                let mut reasons = reasons(compiled, record);
                if let Some(filter) = &filter {
                    reasons.extend(self::reasons(filter.compiled(), record));
                }
                Explanation {
                    rule: Arc::clone(rule),
                    is_match,
                    filter,
                    reasons,
                }
            })
            .collect();
        explanations.sort_by(|a, b| {
            b.is_match
                .cmp(&a.is_match)
                .then_with(|| {
                    if a.is_match {
                        b.rule.level.cmp(&a.rule.level)
                    } else {
                        a.reasons.len().cmp(&b.reasons.len())
                    }
                })
                .then_with(|| a.rule.name.cmp(&b.rule.name))
        });
        explanations
    }
}

/// Why a record matches a rule, or why not: one line for each field that decides it.
pub(super) fn reasons(compiled: &CompiledRule, record: &Record) -> Vec<String> {
    let explanation = explain_rule(compiled, &RecordView::new(record));
    let mut found = Vec::new();
    for condition in &explanation.conditions {
        if condition.matched() == explanation.matched {
            explain_condition(condition, &mut found);
        }
    }
    found.dedup();
    let more = found.len().saturating_sub(MAX_REASONS);
    found.truncate(MAX_REASONS);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

/// Adds the reasons for the result of a condition.
fn explain_condition(condition: &ConditionTrace, found: &mut Vec<String>) {
    match condition {
        ConditionTrace::Selection {
            name, detection, ..
        } => explain_selection(name, detection, found),
        ConditionTrace::And { matched, children } | ConditionTrace::Or { matched, children } => {
            for child in children.iter().filter(|child| child.matched() == *matched) {
                explain_condition(child, found);
            }
        }
        ConditionTrace::Not { child, .. } => {
            let before = found.len();
            explain_condition(child, found);
            let prefix = if child.matched() {
                "excluded"
            } else {
                "not excluded"
            };
            for reason in &mut found[before..] {
                *reason = format!("{prefix}, {reason}");
            }
        }
        ConditionTrace::Quantified {
            matched, branches, ..
        } => {
            for branch in branches.iter().filter(|branch| branch.matched == *matched) {
                explain_selection(&branch.name, &branch.detection, found);
            }
        }
    }
}

fn explain_selection(name: &str, detection: &DetectionTrace, found: &mut Vec<String>) {
    let mut items = Vec::new();
    leaves(detection, &mut items);
    found.extend(
        items
            .iter()
            .map(|item| format!("{}: {}", one_line(name, 100), describe(item))),
    );
}

/// The items that decide the result of a selection. If no alternative matches, those of the alternative with the
/// fewest.
fn leaves<'t>(detection: &'t DetectionTrace, found: &mut Vec<&'t ItemTrace>) {
    match detection {
        DetectionTrace::AllOf { matched, items } => {
            found.extend(items.iter().filter(|item| item.matched == *matched));
        }
        DetectionTrace::And { matched, branches } => {
            for branch in branches
                .iter()
                .filter(|branch| branch.matched() == *matched)
            {
                leaves(branch, found);
            }
        }
        DetectionTrace::AnyOf { matched, branches } => {
            let nearest = branches
                .iter()
                .filter(|branch| branch.matched() == *matched)
                .map(|branch| {
                    let mut items = Vec::new();
                    leaves(branch, &mut items);
                    items
                })
                .min_by_key(Vec::len);
            found.extend(nearest.unwrap_or_default());
        }
        DetectionTrace::Keywords { item, .. } => found.push(item),
        // Rejected when rules are loaded.
        DetectionTrace::ArrayMatch { .. }
        | DetectionTrace::Conditional { .. }
        | DetectionTrace::Other { .. } => {}
    }
}

fn describe(item: &ItemTrace) -> String {
    let Some(field) = &item.field else {
        let pattern = one_line(item.pattern.as_deref().unwrap_or_default(), MAX_VALUE);
        let found = if item.matched { "has" } else { "has no" };
        return format!("the record {found} text with {pattern:?}");
    };
    if let Some((left, right)) = comparison::described(field) {
        let (left, right) = (one_line(left, 200), one_line(&right, 200));
        let result = if item.matched {
            "matches"
        } else {
            "does not match"
        };
        return format!("{left} {result} the field that the rule compares it with: {right}");
    }
    let field = &one_line(field, 200);
    let is = match &item.actual {
        None => "is not in the record".to_owned(),
        Some(value) => format!("is {}", shown(field, value)),
    };
    if item.matched {
        return format!("{field} {is}");
    }
    if item.reason == MatchReason::CaseMismatch {
        return format!("{field} {is}, {} in a different case", expected(item));
    }
    format!("{field} {is}, {}", expected(item))
}

/// What the item expects.
fn expected(item: &ItemTrace) -> String {
    let pattern = one_line(item.pattern.as_deref().unwrap_or_default(), MAX_VALUE);
    match item.matcher {
        MatcherKind::Exists if pattern == "true" => "expected it to exist".into(),
        MatcherKind::Exists => "expected it not to exist".into(),
        MatcherKind::Null => "expected null or a missing member".into(),
        MatcherKind::Contains => format!("expected it to contain {pattern:?}"),
        MatcherKind::StartsWith => format!("expected it to start with {pattern:?}"),
        MatcherKind::EndsWith => format!("expected it to end with {pattern:?}"),
        MatcherKind::Regex => format!("expected it to match {pattern}"),
        MatcherKind::Cidr => format!("expected an address in {pattern}"),
        MatcherKind::Numeric => format!("expected a number {pattern}"),
        MatcherKind::FieldRef => format!("expected the value of {pattern}"),
        MatcherKind::OneOf => format!("expected one of {pattern}"),
        _ => format!("expected {pattern:?}"),
    }
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
