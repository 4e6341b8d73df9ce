//! Explanations: which rules a record matches, and why it does not match the others.
//!
//! The engine traces each selection of a condition with the same functions that evaluate it. The trace is shortened to
//! one line for each field, which `leaf` describes. A rule set does not keep the parsed built-in rules, because the
//! function has little memory; they are read again for an explanation.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use rsigma_eval::{CompiledRule, ConditionTrace, DetectionTrace, explain_rule};
use rsigma_parser::{Detections, SigmaRule};

use super::{
    builtin, compile::matches, document::Content, filter::Filter, rule::Rule, rule_set::RuleSet,
    view::RecordView,
};
use crate::{record::Record, text::one_line};

mod leaf;

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
        let builtin = builtin_rules(self);
        let mut explanations: Vec<Explanation> = self
            .rules
            .iter()
            .zip(&self.sigma)
            .map(|((rule, compiled), sigma)| {
                let sigma = sigma.as_ref().or_else(|| builtin.get(rule.id.as_str()));
                let detections = sigma.map(|sigma| &sigma.detection);
                let compiled = compiled.rule();
                let is_match = matches(compiled, &RecordView::new(record));
                let filter = is_match
                    .then(|| self.suppressing_filter(rule, record, now))
                    .flatten();
                let mut reasons = reasons(compiled, detections, record);
                if let Some(filter) = &filter {
                    let detections = Some(filter.detections());
                    reasons.extend(self::reasons(filter.compiled(), detections, record));
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

/// The parsed built-in rules by id, if a rule set has one.
fn builtin_rules(set: &RuleSet) -> HashMap<String, Arc<SigmaRule>> {
    if set.sigma.iter().all(Option::is_some) {
        return HashMap::new();
    }
    // An error would have prevented loading the rule set.
    builtin::documents(&set.watched, &mut Vec::new())
        .into_iter()
        .filter_map(|document| match document.content {
            Content::Rule { sigma, rule, .. } => Some((rule.id.clone(), sigma)),
            Content::Filter(..) | Content::Disabled(_) => None,
        })
        .collect()
}

/// Why a record matches a rule, or why not: one line for each field that decides it. `detections` are those that the
/// rule was compiled from.
pub(super) fn reasons(
    compiled: &CompiledRule,
    detections: Option<&Detections>,
    record: &Record,
) -> Vec<String> {
    let explanation = explain_rule(compiled, &RecordView::new(record));
    let mut found = Vec::new();
    for condition in &explanation.conditions {
        if condition.matched() == explanation.matched {
            explain_condition(condition, detections, &mut found);
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
fn explain_condition(
    condition: &ConditionTrace,
    detections: Option<&Detections>,
    found: &mut Vec<String>,
) {
    match condition {
        ConditionTrace::Selection {
            name, detection, ..
        } => explain_selection(name, detection, detections, found),
        ConditionTrace::And { matched, children } | ConditionTrace::Or { matched, children } => {
            for child in children.iter().filter(|child| child.matched() == *matched) {
                explain_condition(child, detections, found);
            }
        }
        ConditionTrace::Not { child, .. } => {
            let before = found.len();
            explain_condition(child, detections, found);
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
                explain_selection(&branch.name, &branch.detection, detections, found);
            }
        }
    }
}

fn explain_selection(
    name: &str,
    trace: &DetectionTrace,
    detections: Option<&Detections>,
    found: &mut Vec<String>,
) {
    let detection = detections.and_then(|detections| detections.named.get(name));
    let mut tests = Vec::new();
    leaf::leaves(trace, detection, &mut tests);
    found.extend(
        tests.iter().map(|(trace, test)| {
            format!("{}: {}", one_line(name, 100), leaf::describe(trace, *test))
        }),
    );
}
