//! Relevance: which records the rules can meet, as far as `eventSource`, `eventName` and texts tell that a
//! record must have somewhere.
//!
//! It is derived from the parsed rules and from nothing else. A rule is bound when whatever meets it must
//! have an `eventSource` that the rule describes by text; then a record of any other service need not be
//! parsed to know that the rule does not meet it. One rule that is not bound (keywords, a negation alone,
//! an alternative without `eventSource`) makes every record relevant.
//!
//! What is derived may be wider than the rule and never narrower. Sigma compares without regard to case,
//! and how characters beyond ASCII fold is the engine's affair: here they stand for any text, a record's
//! text that has some is relevant, and the rest is compared in lower case.
//!
//! Many rules watch a call that is common (`PutRolePolicy`) on one thing that is not: what they want to find
//! in its parameters must stand in the record's text, and looking for it there takes a twentieth of parsing.

mod needed;
mod pattern;
mod recent;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier, SigmaRule,
    SigmaValue,
};

use needed::Needed;
use pattern::{Expression, Pattern, Text};
use recent::Tables;

pub use recent::Recent;

/// Alternatives of one rule beyond which its narrower conditions are left out.
const MOST_ALTERNATIVES: usize = 64;

/// Texts of one alternative that are looked for. The first ones leave few records over.
const MOST_NEEDED: usize = 4;

/// The calls that rules can meet.
#[derive(Debug, Default)]
pub struct Relevance {
    /// Some rule is not bound.
    everything: bool,
    /// Alternatives by a source that is one text, in lower case: most are.
    by_source: HashMap<Vec<u8>, Vec<OfRule>>,
    /// Alternatives whose sources are patterns, or none.
    others: Vec<OfRule>,
    tables: Tables,
}

/// An alternative, behind the place of its rule among those that the relevance is of.
type OfRule = (usize, Alternative);

/// One way to meet a rule: what it demands of the two fields, and of the text of the record.
#[derive(Debug, Clone, Default)]
struct Alternative {
    source: Demand,
    name: Demand,
    needed: Vec<Arc<Needed>>,
}

/// Whether a rule can meet records of a call.
#[derive(Debug, Clone, Default)]
pub enum Answer {
    /// None can.
    #[default]
    No,
    /// Perhaps.
    Yes,
    /// Perhaps, if the text of the record has all that one of these needs.
    WithText(Arc<[Vec<Arc<Needed>>]>),
}

/// What is demanded of a field: one of some patterns, or nothing.
type Demand = Option<Arc<[Pattern]>>;

impl Relevance {
    /// What these rules can meet.
    pub fn of<'r>(rules: impl IntoIterator<Item = &'r SigmaRule>) -> Relevance {
        let mut relevance = Relevance::default();
        for (place, rule) in rules.into_iter().enumerate() {
            for alternative in alternatives(&rule.detection) {
                relevance.add(place, alternative);
            }
        }
        relevance
    }

    /// Whether only records of certain services can meet this rule.
    pub fn is_bound(rule: &SigmaRule) -> bool {
        alternatives(&rule.detection)
            .iter()
            .all(|alternative| alternative.source.is_some())
    }

    /// The places of the rules that can meet records of an event source and, if it is known, an event name,
    /// which are ASCII.
    pub(super) fn rules(&self, event_source: &str, event_name: Option<&str>) -> BTreeSet<usize> {
        let source = Text::of(event_source.as_bytes());
        let name = event_name.map(|name| Text::of(name.as_bytes()));
        self.meeting(&source, name.as_ref())
            .map(|(rule, _)| *rule)
            .collect()
    }

    /// The alternatives that demand nothing else of the source and, if it is known, the name.
    fn meeting(&self, source: &Text<'_>, name: Option<&Text<'_>>) -> impl Iterator<Item = &OfRule> {
        let of_source = self.by_source.get(&source.lower).into_iter().flatten();
        let of_pattern = self
            .others
            .iter()
            .filter(move |(_, other)| is_met(&other.source, source));
        of_source
            .chain(of_pattern)
            .filter(move |(_, other)| name.is_none_or(|name| is_met(&other.name, name)))
    }

    /// Whether every rule is bound, so that records of other services need not be parsed.
    pub fn is_limited(&self) -> bool {
        !self.everything
    }

    /// The same question, asked again and again for the records of a file.
    pub fn recent(&self) -> Recent<'_> {
        Recent::new(self)
    }

    /// Whether a rule can meet a record with these two fields, which are JSON strings without escapes.
    fn answer(&self, event_source: &[u8], event_name: &[u8]) -> Answer {
        if self.everything || !event_source.is_ascii() || !event_name.is_ascii() {
            return Answer::Yes;
        }
        let source = Text::of(event_source);
        let name = Text::of(event_name);
        let needed: Vec<_> = self
            .meeting(&source, Some(&name))
            .map(|(_, other)| other.needed.clone())
            .collect();
        if needed.is_empty() {
            Answer::No
        } else if needed.iter().any(Vec::is_empty) {
            Answer::Yes
        } else {
            Answer::WithText(needed.into())
        }
    }

    #[cfg(test)]
    fn includes(&self, event_source: &[u8], event_name: &[u8]) -> bool {
        !matches!(self.answer(event_source, event_name), Answer::No)
    }

    fn add(&mut self, rule: usize, alternative: Alternative) {
        self.everything |= alternative.source.is_none();
        match &alternative.source {
            Some(sources) if sources.iter().all(|pattern| pattern.whole().is_some()) => {
                for source in sources.iter().filter_map(Pattern::whole) {
                    self.by_source
                        .entry(source.to_owned())
                        .or_default()
                        .push((rule, alternative.clone()));
                }
            }
            _ => self.others.push((rule, alternative)),
        }
    }
}

fn is_met(demand: &Demand, text: &Text<'_>) -> bool {
    demand
        .as_ref()
        .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.is_met(text)))
}

/// What a rule demands; meeting it, a record meets one of these.
fn alternatives(detections: &Detections) -> Vec<Alternative> {
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
        ConditionExpr::And(all) => both(all.iter().map(|one| of_condition(one, named))),
        ConditionExpr::Or(any) => any
            .iter()
            .flat_map(|one| of_condition(one, named))
            .collect(),
        // What must not be says nothing of what must be.
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
                Quantifier::All => both(chosen),
                Quantifier::Count(0) => anything(),
                Quantifier::Any | Quantifier::Count(_) => chosen.flatten().collect(),
            }
        }
    }
}

fn of_detection(detection: &Detection) -> Vec<Alternative> {
    match detection {
        Detection::AllOf(items) => {
            let demand = |field: &str| {
                items
                    .iter()
                    .filter(|item| is_field(item, field))
                    .find_map(demand)
            };
            let is_text = |patterns: &Arc<[Pattern]>| {
                let mut patterns = patterns.iter();
                patterns.all(|pattern| matches!(pattern, Pattern::Parts { .. }))
            };
            vec![Alternative {
                // What an expression says of services only it knows: such a rule is not bound.
                source: demand("eventSource").filter(is_text),
                name: demand("eventName"),
                needed: items
                    .iter()
                    .filter(|item| !is_field(item, "eventSource") && !is_field(item, "eventName"))
                    .filter_map(Needed::of)
                    .map(Arc::new)
                    .take(MOST_NEEDED)
                    .collect(),
            }]
        }
        Detection::AnyOf(any) => any.iter().flat_map(of_detection).collect(),
        Detection::And(all) => both(all.iter().map(of_detection)),
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
            anything()
        }
    }
}

/// What must be met together: each alternative of one with each of the other.
fn both(all: impl Iterator<Item = Vec<Alternative>>) -> Vec<Alternative> {
    all.fold(anything(), |some, others| {
        if some.len() * others.len() > MOST_ALTERNATIVES {
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
                        needed: one
                            .needed
                            .iter()
                            .chain(&other.needed)
                            .take(MOST_NEEDED)
                            .cloned()
                            .collect(),
                    })
                })
            })
            .collect()
    })
}

/// Both demands on one text; `None`: no text meets both. Where that cannot be said by one set of patterns
/// the first is kept, which is wider.
fn narrower(one: &Demand, other: &Demand) -> Option<Demand> {
    let (Some(some), Some(others)) = (one, other) else {
        return Some(one.clone().or_else(|| other.clone()));
    };
    let all_whole = |patterns: &[Pattern]| patterns.iter().all(|pattern| pattern.whole().is_some());
    if !all_whole(some) || !all_whole(others) {
        return Some(one.clone());
    }
    let in_both: Vec<Pattern> = some
        .iter()
        .filter(|pattern| others.iter().any(|other| other.whole() == pattern.whole()))
        .cloned()
        .collect();
    (!in_both.is_empty()).then(|| Some(in_both.into()))
}

/// Fields are found whatever their case.
fn is_field(item: &DetectionItem, field: &str) -> bool {
    item.field
        .name
        .as_ref()
        .is_some_and(|name| name.eq_ignore_ascii_case(field))
}

/// What an item demands, where that can be said by patterns. Several values are alternatives here, also
/// where the rule demands all of them.
fn demand(item: &DetectionItem) -> Demand {
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

#[cfg(test)]
mod tests;
