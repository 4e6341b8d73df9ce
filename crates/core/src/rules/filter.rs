//! Filters: exceptions to rules. A filter suppresses the matches of the rules that it names, and suppressed
//! matches are counted.
//!
//! In Sigma, a match is kept if the filter's condition is true; the condition is `not selection` most often. A
//! mistake there could suppress every match of a rule, so a filter that suppresses a record without any of the
//! members it selects by is rejected. An expired filter suppresses nothing.
//! Source: Sigma Filters Specification 2.1; `expires` is an extension of this project.

use std::{collections::HashMap, sync::Arc};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rsigma_eval::CompiledRule;
use rsigma_parser::{Detections, FilterRule, SigmaRule};
use serde_json::{Map, Value};

use super::{
    api::RECORD_MEMBERS,
    compile::{self, compile_error, matches},
    diagnostic::Diagnostic,
    naming::{checked_name, kebab_case, normalized_id},
    origin::Origin,
    rule::Rule,
    view::RecordView,
};
use crate::record::Record;

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    /// Sigma's `id`.
    pub id: String,
    /// Sigma's `name`, or one made from the title. Counts and alerts use it.
    pub name: String,
    /// Sigma's `title`.
    pub title: String,
    /// Ids or names of the rules that it applies to; empty: all rules.
    pub rules: Vec<String>,
    /// The last day, in UTC, on which it suppresses matches.
    pub expires: Option<Date>,
    compiled: CompiledRule,
    sigma: Arc<FilterRule>,
}

impl Filter {
    /// Reads and compiles a parsed filter.
    ///
    /// # Errors
    /// Members that are missing or malformed, or a filter that would suppress every match.
    pub(super) fn read(
        origin: &Origin,
        sigma: &Arc<FilterRule>,
    ) -> Result<Filter, Vec<Diagnostic>> {
        let error = |path: &[&str], message: String, hint: &str| {
            vec![origin.error(path, message, Some(hint))]
        };
        let id = sigma
            .id
            .clone()
            .filter(|id| !id.trim().is_empty())
            .ok_or_else(|| {
                error(
                    &["id"],
                    "is missing; expected a UUID".into(),
                    "generate one with `uuidgen`",
                )
            })?;
        let expires = expires(&sigma.custom_attributes).map_err(|found| {
            error(
                &["expires"],
                format!("expected a date such as 2026-12-31, found {found}"),
                "it is the last day, in UTC, on which the filter suppresses matches",
            )
        })?;
        let compiled =
            compile(sigma).map_err(|message| vec![compile_error(origin, "filter", &message)])?;
        if origin.lines.has(&["filter", "expires"]) {
            return Err(error(
                &["filter", "expires"],
                "expected a selection, found `expires`, which is not part of `filter`".into(),
                "write it without indentation, next to `title`",
            ));
        }
        let filter = Filter {
            id: normalized_id(&id),
            name: match &sigma.name {
                Some(name) => checked_name(origin, name).map_err(|error| vec![error])?,
                None => kebab_case(&sigma.title),
            },
            title: sigma.title.clone(),
            rules: targets(origin)?,
            expires,
            compiled,
            sigma: Arc::clone(sigma),
        };
        // Two records that no selection should match: one without members, and one with all of them.
        let empty = Record::new(0, Map::new());
        let full = RECORD_MEMBERS
            .iter()
            .map(|member| ((*member).to_owned(), Value::from("-")))
            .collect();
        if filter.suppresses(&empty) && filter.suppresses(&Record::new(0, full)) {
            return Err(error(
                &["filter", "condition"],
                "would suppress all matches of its rules; a match is kept if the condition is true"
                    .into(),
                "write `not selection`, with a selection that matches what to suppress",
            ));
        }
        Ok(filter)
    }

    /// Whether it suppresses matches of this rule.
    pub fn applies_to(&self, rule: &Rule) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|name| rule.is_named(name))
    }

    /// Whether its last day, in UTC, has passed.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires
            .is_some_and(|last| now.to_zoned(TimeZone::UTC).date() > last)
    }

    /// Whether it suppresses the matches of a record: its condition is false.
    pub fn suppresses(&self, record: &Record) -> bool {
        !matches(&self.compiled, &RecordView::new(record))
    }

    /// The compiled condition, for an explanation.
    pub(super) fn compiled(&self) -> &CompiledRule {
        &self.compiled
    }

    /// What it was compiled from, for an explanation.
    pub(super) fn detections(&self) -> &Detections {
        &self.sigma.detection
    }
}

/// Compiles the condition as that of a rule, which matches the records that the filter does not suppress.
fn compile(sigma: &FilterRule) -> Result<CompiledRule, String> {
    let rule = SigmaRule {
        title: sigma.title.clone(),
        logsource: sigma.logsource.clone().unwrap_or_default(),
        detection: sigma.detection.clone(),
        sigma_version: sigma.sigma_version,
        id: sigma.id.clone(),
        name: None,
        related: Vec::new(),
        taxonomy: None,
        status: None,
        description: None,
        license: None,
        author: None,
        references: Vec::new(),
        date: None,
        modified: None,
        fields: Vec::new(),
        falsepositives: Vec::new(),
        level: None,
        tags: Vec::new(),
        scope: Vec::new(),
        custom_attributes: HashMap::new(),
    };
    compile::compile(&rule)
}

/// The rules that a filter names; empty for `any`. The parser reads a missing or malformed list as "all rules";
/// here it is an error.
fn targets(origin: &Origin) -> Result<Vec<String>, Vec<Diagnostic>> {
    let named = origin.lines.texts(&["filter", "rules"]);
    match named.as_deref() {
        Some([any]) if any.eq_ignore_ascii_case("any") => Ok(Vec::new()),
        Some(names) if !names.is_empty() && names.iter().all(|name| !name.trim().is_empty()) => {
            Ok(names.to_vec())
        }
        _ => Err(vec![origin.error(
            &["filter", "rules"],
            "expected a list of rule ids or names, or `any` for all rules",
            Some("list the rules whose matches the filter suppresses"),
        )]),
    }
}

/// The date in `expires`. The error is what was found instead.
fn expires(attributes: &HashMap<String, impl serde::Serialize>) -> Result<Option<Date>, String> {
    let Some(value) = attributes.get("expires") else {
        return Ok(None);
    };
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    let Some(text) = value.as_str() else {
        return Err(value.to_string());
    };
    text.trim()
        .parse()
        .map(Some)
        .map_err(|_| format!("{text:?}"))
}
