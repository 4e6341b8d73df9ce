//! A rule set: all rules and filters in use, and their evaluation against a record.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use rsigma_eval::event::{Event, EventValue};
use rsigma_parser::SigmaRule;

use super::{
    closing::{self, ClosingRule},
    compile::{Compiled, matches},
    diagnostic::Diagnostic,
    filter::Filter,
    loaded::Loaded,
    origin::{RuleFile, Trust},
    parsed_file::ParsedFile,
    prefilter::Prefilter,
    rule::Rule,
    view::RecordView,
    watched::Watched,
};
use crate::record::Record;

/// The rules that a record matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matched {
    /// The rules whose matches no filter suppresses, highest level first. Of rules with the same level, the
    /// one that describes the call best comes first.
    pub rules: Vec<Arc<Rule>>,
    /// The rules whose matches a filter suppresses, in the same order.
    pub suppressed: Vec<Suppressed>,
}

/// A rule that a record matches, and the filter that suppresses the match.
#[derive(Debug, Clone)]
pub struct Suppressed {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The filter.
    pub filter: Arc<Filter>,
}

impl PartialEq for Suppressed {
    fn eq(&self, other: &Suppressed) -> bool {
        self.rule.id == other.rule.id && self.filter.id == other.filter.id
    }
}

/// Compiled rules and filters.
pub struct RuleSet {
    pub(super) rules: Vec<(Arc<Rule>, Compiled)>,
    /// The parsed rules, which their files share; `None` for built-in rules, which an explanation reads again.
    pub(super) sigma: Vec<Option<Arc<SigmaRule>>>,
    /// The watched resources that the rules were loaded for.
    pub(super) watched: Watched,
    filters: Vec<Arc<Filter>>,
    /// Made from `rules`; it refers to them by index.
    prefilter: Prefilter,
    /// The names and ids of built-in rules that were replaced or switched off.
    replaced: HashMap<String, String>,
    closing: OnceLock<Vec<ClosingRule>>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet")
            .field("rules", &self.rules.len())
            .field("filters", &self.filters.len())
            .finish()
    }
}

impl RuleSet {
    /// The built-in rules.
    ///
    /// # Errors
    /// A built-in rule is malformed, which the tests of this project rule out.
    pub fn builtin(watched: &Watched) -> Result<RuleSet, Vec<Diagnostic>> {
        RuleSet::with(&[], watched)
    }

    /// The built-in rules and those of more files. A rule replaces the built-in rule with the same `id`;
    /// `status: unsupported` disables it.
    ///
    /// # Errors
    /// All errors of the files. If there is one, none of the files is used.
    pub fn with(files: &[RuleFile], watched: &Watched) -> Result<RuleSet, Vec<Diagnostic>> {
        let files: Vec<ParsedFile> = files
            .iter()
            .map(|file| ParsedFile::of(file, watched))
            .collect();
        RuleSet::with_parsed(&files, watched)
    }

    /// As [`RuleSet::with`], from files that were parsed for the same watched resources.
    ///
    /// # Errors
    /// As [`RuleSet::with`].
    pub fn with_parsed<'f>(
        files: impl IntoIterator<Item = &'f ParsedFile>,
        watched: &Watched,
    ) -> Result<RuleSet, Vec<Diagnostic>> {
        RuleSet::from_loaded(Loaded::builtin_and(files, watched), watched)
    }

    /// The rules and filters of these files alone.
    ///
    /// # Errors
    /// All errors of the files.
    pub fn of(files: &[RuleFile], watched: &Watched) -> Result<RuleSet, Vec<Diagnostic>> {
        RuleSet::from_loaded(Loaded::files(files, watched), watched)
    }

    fn from_loaded(loaded: Loaded, watched: &Watched) -> Result<RuleSet, Vec<Diagnostic>> {
        let mut errors = loaded.errors;
        if errors.is_empty() {
            errors = closing::errors(&loaded.rules, &loaded.replaced);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let prefilter = Prefilter::of(loaded.rules.iter().map(|loaded| &*loaded.sigma));
        let sigma = loaded.rules.iter().map(|loaded| {
            let is_builtin = matches!(loaded.origin.trust, Trust::BuiltIn { .. });
            (!is_builtin).then(|| Arc::clone(&loaded.sigma))
        });
        Ok(RuleSet {
            sigma: sigma.collect(),
            watched: watched.clone(),
            rules: loaded
                .rules
                .into_iter()
                .map(|loaded| (loaded.rule, loaded.compiled))
                .collect(),
            filters: loaded
                .filters
                .into_iter()
                .map(|loaded| loaded.filter)
                .collect(),
            prefilter,
            replaced: loaded.replaced,
            closing: OnceLock::new(),
        })
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All rules, highest level first, then by name.
    pub fn rules(&self) -> Vec<Arc<Rule>> {
        let mut rules: Vec<_> = self
            .rules
            .iter()
            .map(|(rule, _)| Arc::clone(rule))
            .collect();
        rules.sort_by_cached_key(|rule| (Reverse(rule.level), rule.name.clone()));
        rules
    }

    /// All filters, in the order of their files.
    pub fn filters(&self) -> &[Arc<Filter>] {
        &self.filters
    }

    /// The rules whose calls close deadlines. Found on first use, because that reads the rule texts.
    pub(crate) fn closing(&self) -> &[ClosingRule] {
        self.closing.get_or_init(|| {
            let rules: Vec<_> = self
                .rules
                .iter()
                .map(|(rule, _)| Arc::clone(rule))
                .collect();
            closing::of(&rules, &self.replaced)
        })
    }

    /// Decides which records need to be parsed.
    pub fn prefilter(&self) -> &Prefilter {
        &self.prefilter
    }

    /// The rules that every record has to be parsed for, because they require no event source.
    pub fn unbound(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.prefilter
            .unbound()
            .iter()
            .map(|index| &*self.rules[*index].0)
    }

    /// The filter that, at a time, suppresses a match of a rule.
    pub(super) fn suppressing_filter(
        &self,
        rule: &Rule,
        record: &Record,
        now: Timestamp,
    ) -> Option<Arc<Filter>> {
        self.filters
            .iter()
            .find(|filter| {
                filter.applies_to(rule) && !filter.is_expired(now) && filter.suppresses(record)
            })
            .cloned()
    }

    /// The rules that may match a record, by its event source and event name. Without an event source in
    /// ASCII, all rules; without such an event name, all rules for the event source.
    fn candidates(&self, view: &RecordView<'_>) -> impl Iterator<Item = &(Arc<Rule>, Compiled)> {
        let ascii = |field| match view.get_field(field) {
            Some(EventValue::Str(value)) if value.is_ascii() => Some(value),
            _ => None,
        };
        let indices = match ascii("eventSource") {
            Some(source) => self.prefilter.rules(&source, ascii("eventName").as_deref()),
            None => (0..self.rules.len()).collect(),
        };
        indices.into_iter().map(|index| &self.rules[index])
    }

    /// The rules that a record matches, and the filters that suppress matches at a time.
    pub fn evaluate(&self, record: &Record, now: Timestamp) -> Matched {
        let view = RecordView::new(record);
        let mut rules: Vec<_> = self
            .candidates(&view)
            .filter(|(_, compiled)| matches(compiled.rule(), &view))
            .map(|(rule, _)| Arc::clone(rule))
            .collect();
        let parameters_omitted = record.omitted_parameters().is_some();
        rules.sort_by_cached_key(|rule| {
            // The first rule gives the alert its title. Of equal levels, prefer rules that name the call; of
            // those, rules that also know its parameters.
            let is_assumed = rule.reads_parameters && parameters_omitted;
            (
                Reverse(rule.level),
                !rule.is_about_one_call,
                is_assumed,
                !rule.reads_parameters,
                rule.name.clone(),
            )
        });
        let mut matched = Matched::default();
        for rule in rules {
            match self.suppressing_filter(&rule, record, now) {
                Some(filter) => matched.suppressed.push(Suppressed { rule, filter }),
                None => matched.rules.push(rule),
            }
        }
        matched
    }
}
