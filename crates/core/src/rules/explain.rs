//! Explanations: which rules a record meets, and what keeps it from the others.
//!
//! The engine tells for each part of a condition whether it holds, by the very functions that it evaluates
//! with; here that becomes a line or two for a person. What stands in the record is shown as data, on one
//! line, and secrets are not shown.

use std::sync::Arc;

use jiff::civil::Date;
use rsigma_eval::{
    CompiledRule, ConditionTrace, DetectionTrace, ItemTrace, MatchReason, MatcherKind, explain_rule,
};
use serde_json::{Map, Value};

use super::{Rule, RuleSet, comparison, compile::is_met, filter::Filter, view::RecordView};
use crate::{record::Record, redact, text::one_line};

/// Longest value shown, in characters.
const VALUE: usize = 120;
/// At most so many reasons are given for one rule.
const REASONS: usize = 6;

/// What a rule makes of a record.
#[derive(Debug)]
pub struct Explanation {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Whether the record meets it.
    pub is_met: bool,
    /// The filter that keeps the record back from it.
    pub filter: Option<Arc<Filter>>,
    /// Why: what holds, or what does not.
    pub reasons: Vec<String>,
}

impl RuleSet {
    /// What every rule makes of a record on a day (in UTC): those met first, then those that came nearest.
    pub fn explain(&self, record: &Record, today: Date) -> Vec<Explanation> {
        let mut explanations: Vec<Explanation> = self
            .rules
            .iter()
            .map(|(rule, compiled)| {
                let compiled = compiled.rule();
                let is_met = RuleSet::is_met(compiled, record);
                let filter = is_met
                    .then(|| self.filter_of(rule, record, today))
                    .flatten();
                let mut reasons = reasons(compiled, record);
                if let Some(filter) = &filter {
                    reasons.extend(self::reasons(filter.compiled(), record));
                }
                Explanation {
                    rule: Arc::clone(rule),
                    is_met,
                    filter,
                    reasons,
                }
            })
            .collect();
        explanations.sort_by(|a, b| {
            b.is_met
                .cmp(&a.is_met)
                .then_with(|| {
                    if a.is_met {
                        b.rule.level.cmp(&a.rule.level)
                    } else {
                        a.reasons.len().cmp(&b.reasons.len())
                    }
                })
                .then_with(|| a.rule.name.cmp(&b.rule.name))
        });
        explanations
    }

    /// Whether a record meets one rule.
    pub(super) fn is_met(compiled: &CompiledRule, record: &Record) -> bool {
        is_met(compiled, &RecordView::new(record))
    }
}

/// Why a record meets a rule, or why not: a few words for each field that decides it.
pub(super) fn reasons(compiled: &CompiledRule, record: &Record) -> Vec<String> {
    let explanation = explain_rule(compiled, &RecordView::new(record));
    let mut found = Vec::new();
    for condition in &explanation.conditions {
        if condition.matched() == explanation.matched {
            why(condition, &mut found);
        }
    }
    found.dedup();
    let more = found.len().saturating_sub(REASONS);
    found.truncate(REASONS);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

/// What makes this node what it is.
fn why(condition: &ConditionTrace, found: &mut Vec<String>) {
    match condition {
        ConditionTrace::Selection {
            name, detection, ..
        } => part(name, detection, found),
        ConditionTrace::And { matched, children } | ConditionTrace::Or { matched, children } => {
            for child in children.iter().filter(|child| child.matched() == *matched) {
                why(child, found);
            }
        }
        ConditionTrace::Not { child, .. } => {
            let before = found.len();
            why(child, found);
            let word = if child.matched() {
                "excluded"
            } else {
                "not excluded"
            };
            for reason in &mut found[before..] {
                *reason = format!("{word}, {reason}");
            }
        }
        ConditionTrace::Quantified {
            matched, branches, ..
        } => {
            for branch in branches.iter().filter(|branch| branch.matched == *matched) {
                part(&branch.name, &branch.detection, found);
            }
        }
    }
}

fn part(name: &str, detection: &DetectionTrace, found: &mut Vec<String>) {
    let mut items = Vec::new();
    leaves(detection, &mut items);
    found.extend(
        items
            .iter()
            .map(|item| format!("{}: {}", one_line(name, 100), describe(item))),
    );
}

/// The leaves that decide a part: of alternatives of which none holds, those of the nearest.
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
        // Refused when rules are read.
        DetectionTrace::ArrayMatch { .. }
        | DetectionTrace::Conditional { .. }
        | DetectionTrace::Other { .. } => {}
    }
}

fn describe(item: &ItemTrace) -> String {
    let Some(field) = &item.field else {
        let pattern = one_line(item.pattern.as_deref().unwrap_or_default(), VALUE);
        let found = if item.matched { "has" } else { "has no" };
        return format!("the record {found} text with {pattern:?}");
    };
    if let Some((left, right)) = comparison::described(field) {
        let (left, right) = (one_line(left, 200), one_line(&right, 200));
        let word = if item.matched { "" } else { "not " };
        return format!("{left} is {word}what the rule compares it with: {right}");
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
        return format!("{field} {is}, {} in another case", wanted(item));
    }
    format!("{field} {is}, {}", wanted(item))
}

/// What the item asks for.
fn wanted(item: &ItemTrace) -> String {
    let pattern = one_line(item.pattern.as_deref().unwrap_or_default(), VALUE);
    match item.matcher {
        MatcherKind::Exists if pattern == "true" => "expected it to be there".into(),
        MatcherKind::Exists => "expected it not to be there".into(),
        MatcherKind::Null => "expected null or nothing".into(),
        MatcherKind::Contains => format!("expected it to contain {pattern:?}"),
        MatcherKind::StartsWith => format!("expected it to begin with {pattern:?}"),
        MatcherKind::EndsWith => format!("expected it to end with {pattern:?}"),
        MatcherKind::Regex => format!("expected it to match {pattern}"),
        MatcherKind::Cidr => format!("expected an address in {pattern}"),
        MatcherKind::Numeric => format!("expected a number {pattern}"),
        MatcherKind::FieldRef => format!("expected what {pattern} is"),
        MatcherKind::OneOf => format!("expected one of {pattern}"),
        _ => format!("expected {pattern:?}"),
    }
}

/// A value of the record, without secrets.
fn shown(field: &str, value: &Value) -> String {
    let name = field.rsplit('.').next().unwrap_or(field);
    // An object comes here as its JSON text.
    let value = match value {
        Value::String(text) if text.starts_with('{') => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        other => other.clone(),
    };
    let mut holder = Value::Object(Map::from_iter([(name.to_owned(), value)]));
    redact::redact(&mut holder);
    one_line(&holder[name].to_string(), VALUE)
}
