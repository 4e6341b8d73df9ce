//! The prefilter: an index from event source to the alternatives of rules.

use std::collections::{BTreeSet, HashMap};

use rsigma_parser::SigmaRule;

use super::{
    alternatives::{Alternative, Patterns, alternatives},
    cache::Pool,
    decision::Decision,
    pattern::{Pattern, Text},
};

/// Decides which records can match a rule.
#[derive(Debug, Default)]
pub struct Prefilter {
    /// The indices of the rules that are not bound to event sources.
    unbound: Vec<usize>,
    /// Alternatives by event source in lower case, for sources without wildcards.
    by_source: HashMap<Vec<u8>, Vec<RuleAlternative>>,
    /// Alternatives whose sources are patterns, or missing.
    others: Vec<RuleAlternative>,
    pub(super) caches: Pool,
}

/// The index of a rule, and one of its alternatives.
type RuleAlternative = (usize, Alternative);

impl Prefilter {
    /// Makes a prefilter from rules; their order gives the indices that `Prefilter::rules` returns.
    pub fn of<'r>(rules: impl IntoIterator<Item = &'r SigmaRule>) -> Prefilter {
        let mut prefilter = Prefilter::default();
        for (index, rule) in rules.into_iter().enumerate() {
            for alternative in alternatives(&rule.detection) {
                prefilter.add(index, alternative);
            }
        }
        prefilter
    }

    /// Whether only records of event sources that the rule names can match it.
    pub fn is_bound(rule: &SigmaRule) -> bool {
        alternatives(&rule.detection)
            .iter()
            .all(|alternative| alternative.source.is_some())
    }

    /// The indices of the rules that records of an event source and, if it is known, an event name can match.
    /// Both must be ASCII.
    pub(in crate::rules) fn rules(
        &self,
        event_source: &str,
        event_name: Option<&str>,
    ) -> BTreeSet<usize> {
        let source = Text::of(event_source.as_bytes());
        let name = event_name.map(|name| Text::of(name.as_bytes()));
        self.matching(&source, name.as_ref())
            .map(|(rule, _)| *rule)
            .collect()
    }

    /// The alternatives whose patterns match the source and, if it is known, the name.
    fn matching(
        &self,
        source: &Text<'_>,
        name: Option<&Text<'_>>,
    ) -> impl Iterator<Item = &RuleAlternative> {
        let of_source = self.by_source.get(&source.lower).into_iter().flatten();
        let of_pattern = self
            .others
            .iter()
            .filter(move |(_, other)| matches(&other.source, source));
        of_source
            .chain(of_pattern)
            .filter(move |(_, other)| name.is_none_or(|name| matches(&other.name, name)))
    }

    /// Whether there are records that need not be parsed: every rule is bound to event sources.
    pub fn excludes_records(&self) -> bool {
        self.unbound.is_empty()
    }

    /// The indices of the rules that are not bound to event sources.
    pub(in crate::rules) fn unbound(&self) -> &[usize] {
        &self.unbound
    }

    /// The decision for records with these two fields, which are the contents of JSON strings without escapes.
    pub(super) fn decide(&self, event_source: &[u8], event_name: &[u8]) -> Decision {
        if !self.excludes_records() || !event_source.is_ascii() || !event_name.is_ascii() {
            return Decision::Parse;
        }
        let source = Text::of(event_source);
        let name = Text::of(event_name);
        let required: Vec<_> = self
            .matching(&source, Some(&name))
            .map(|(_, other)| other.required.clone())
            .collect();
        if required.is_empty() {
            Decision::Skip
        } else if required.iter().any(Vec::is_empty) {
            Decision::Parse
        } else {
            Decision::ParseIf(required.into())
        }
    }

    fn add(&mut self, rule: usize, alternative: Alternative) {
        if alternative.source.is_none() && self.unbound.last() != Some(&rule) {
            self.unbound.push(rule);
        }
        match &alternative.source {
            Some(sources) if sources.iter().all(|pattern| pattern.literal().is_some()) => {
                for source in sources.iter().filter_map(Pattern::literal) {
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

fn matches(patterns: &Patterns, text: &Text<'_>) -> bool {
    patterns
        .as_ref()
        .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(text)))
}
