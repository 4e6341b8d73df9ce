//! Alternatives: the ways in which a record can match a detection, as far as the prefilter evaluates them.

use std::{collections::HashMap, sync::Arc};

use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier, SigmaValue,
};

use super::{
    pattern::{Expression, Pattern},
    required::Required,
};

/// If a rule has more alternatives, its narrower conditions are ignored.
const MAX_ALTERNATIVES: usize = 64;

/// Number of requirements that are kept for one alternative. The first ones exclude most records.
const MAX_REQUIRED: usize = 4;

/// One way to match a rule: every record that matches has this source, this name and these requirements.
#[derive(Debug, Clone, Default)]
pub(super) struct Alternative {
    pub source: Patterns,
    pub name: Patterns,
    pub required: Vec<Arc<Required>>,
}

/// The patterns of a field, of which one must match; `None` if any value may match.
pub(super) type Patterns = Option<Arc<[Pattern]>>;

/// The alternatives of a detection: a record that matches it matches at least one of them.
pub(super) fn alternatives(detections: &Detections) -> Vec<Alternative> {
    if detections.conditions.is_empty() {
        return anything();
    }
    detections
        .conditions
        .iter()
        .flat_map(|condition| of_condition(condition, &detections.named))
        .collect()
}

fn anything() -> Vec<Alternative> {
    vec![Alternative::default()]
}

fn of_condition(condition: &ConditionExpr, named: &HashMap<String, Detection>) -> Vec<Alternative> {
    match condition {
        ConditionExpr::And(all) => all_of(all.iter().map(|one| of_condition(one, named))),
        ConditionExpr::Or(any) => any
            .iter()
            .flat_map(|one| of_condition(one, named))
            .collect(),
        // A negation yields no required literal.
        ConditionExpr::Not(_) => anything(),
        ConditionExpr::Identifier(name) => named.get(name).map_or_else(anything, of_detection),
        ConditionExpr::Selector {
            quantifier,
            pattern,
        } => {
            let chosen = named
                .iter()
                .filter(|(name, _)| pattern.matches_detection_name(name))
                .map(|(_, detection)| of_detection(detection));
            match quantifier {
                Quantifier::All => all_of(chosen),
                Quantifier::Count(0) => anything(),
                Quantifier::Any | Quantifier::Count(_) => chosen.flatten().collect(),
            }
        }
    }
}

fn of_detection(detection: &Detection) -> Vec<Alternative> {
    match detection {
        Detection::AllOf(items) => {
            let patterns = |field: &str| {
                items
                    .iter()
                    .filter(|item| is_field(item, field))
                    .find_map(patterns_of)
            };
            let has_no_expression = |patterns: &Arc<[Pattern]>| {
                let mut patterns = patterns.iter();
                patterns.all(|pattern| matches!(pattern, Pattern::Parts { .. }))
            };
            vec![Alternative {
                // A regular expression does not bind a rule to event sources.
                source: patterns("eventSource").filter(has_no_expression),
                name: patterns("eventName"),
                required: items
                    .iter()
                    .filter(|item| !is_field(item, "eventSource") && !is_field(item, "eventName"))
                    .filter_map(Required::of)
                    .map(Arc::new)
                    .take(MAX_REQUIRED)
                    .collect(),
            }]
        }
        Detection::AnyOf(any) => any.iter().flat_map(of_detection).collect(),
        Detection::And(all) => all_of(all.iter().map(of_detection)),
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
            anything()
        }
    }
}

/// The alternatives of parts that must match together: every combination of their alternatives.
fn all_of(all: impl Iterator<Item = Vec<Alternative>>) -> Vec<Alternative> {
    all.fold(anything(), |some, others| {
        if some.len() * others.len() > MAX_ALTERNATIVES {
            let is_bound = |all: &[Alternative]| all.iter().all(|one| one.source.is_some());
            return if is_bound(&some) || !is_bound(&others) {
                some
            } else {
                others
            };
        }
        let others = &others;
        some.iter()
            .flat_map(|one| {
                others.iter().filter_map(move |other| {
                    Some(Alternative {
                        source: narrower(&one.source, &other.source)?,
                        name: narrower(&one.name, &other.name)?,
                        required: one
                            .required
                            .iter()
                            .chain(&other.required)
                            .take(MAX_REQUIRED)
                            .cloned()
                            .collect(),
                    })
                })
            })
            .collect()
    })
}

/// The patterns of a field that must match two lists of patterns; `None` if no value matches both. If one list has
/// wildcards, the first list is returned, which may match more.
fn narrower(one: &Patterns, other: &Patterns) -> Option<Patterns> {
    let (Some(some), Some(others)) = (one, other) else {
        return Some(one.clone().or_else(|| other.clone()));
    };
    let all_literal =
        |patterns: &[Pattern]| patterns.iter().all(|pattern| pattern.literal().is_some());
    if !all_literal(some) || !all_literal(others) {
        return Some(one.clone());
    }
    let in_both: Vec<Pattern> = some
        .iter()
        .filter(|pattern| {
            others
                .iter()
                .any(|other| other.literal() == pattern.literal())
        })
        .cloned()
        .collect();
    (!in_both.is_empty()).then(|| Some(in_both.into()))
}

fn is_field(item: &DetectionItem, field: &str) -> bool {
    item.field
        .name
        .as_ref()
        .is_some_and(|name| name.eq_ignore_ascii_case(field))
}

/// The patterns of an item, if it can be expressed by patterns. Several values are alternatives, even if the rule
/// requires all of them.
fn patterns_of(item: &DetectionItem) -> Patterns {
    if item.field.modifiers == [Modifier::Re] {
        return item
            .values
            .iter()
            .map(|value| match value {
                SigmaValue::String(text) => {
                    let text = text.as_plain().unwrap_or_else(|| text.original.clone());
                    Some(Pattern::Expression(Arc::new(Expression::of(text))))
                }
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Arc::from);
    }
    let (mut starts, mut ends) = (true, true);
    for modifier in &item.field.modifiers {
        match modifier {
            Modifier::Contains => (starts, ends) = (false, false),
            Modifier::StartsWith => ends = false,
            Modifier::EndsWith => starts = false,
            Modifier::All | Modifier::Cased => {}
            _ => return None,
        }
    }
    item.values
        .iter()
        .map(|value| match value {
            SigmaValue::String(text) => Pattern::of(text, starts, ends),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .filter(|patterns| !patterns.is_empty())
        .map(Arc::from)
}
