//! Filters: exceptions to rules. A record that a filter's condition does not let through is kept back from
//! the rules the filter names, and counted.
//!
//! In Sigma a filter's condition says what stays (`not selection`, most often). A slip there would silence
//! a rule altogether, so a filter that keeps back a record of which it says nothing is refused. Every doubt
//! is decided for the alert: an expired filter filters nothing, and neither does one that names an unknown
//! rule.
//! Source: Sigma Filters Specification 2.1; `expires` is this project's own member.

use std::collections::HashMap;

use jiff::civil::Date;
use rsigma_eval::CompiledRule;
use rsigma_parser::{FilterRule, SigmaRule};
use serde_json::{Map, Value};

use super::{
    Rule,
    check::api::RECORD_MEMBERS,
    checked_name,
    compile::{self, is_met},
    document::{Origin, compile_problem, same_id},
    kebab_case,
    problem::{Problem, Weight},
    view::RecordView,
};
use crate::record::Record;

/// A filter, ready to evaluate.
#[derive(Debug)]
pub struct Filter {
    /// Sigma's `id`.
    pub id: String,
    /// Sigma's `name`, or one made of the title: what counts and alerts call it.
    pub name: String,
    /// Sigma's `title`.
    pub title: String,
    /// Ids or names of the rules it is an exception to; empty: all.
    pub rules: Vec<String>,
    /// The last day, in UTC, on which it filters.
    pub expires: Option<Date>,
    compiled: CompiledRule,
}

impl Filter {
    pub(super) fn read(origin: &Origin, sigma: &FilterRule) -> Result<Filter, Vec<Problem>> {
        let error = |path: &[&str], message: String, hint: &str| {
            vec![origin.problem(Weight::Error, path, message, Some(hint))]
        };
        let id = sigma
            .id
            .clone()
            .filter(|id| !id.trim().is_empty())
            .ok_or_else(|| {
                error(
                    &["id"],
                    "is missing; expected a UUID".into(),
                    "make one with `uuidgen`",
                )
            })?;
        let expires = expires(&sigma.custom_attributes).map_err(|found| {
            error(
                &["expires"],
                format!("expected a date such as 2026-12-31, found {found}"),
                "it is the last day, in UTC, on which the filter keeps anything back",
            )
        })?;
        let compiled =
            compile(sigma).map_err(|message| vec![compile_problem(origin, "filter", &message)])?;
        if origin.lines.has(&["filter", "expires"]) {
            return Err(error(
                &["filter", "expires"],
                "stands in the filter's detection, where it is no date".into(),
                "write it at the left edge, beside `title`",
            ));
        }
        let filter = Filter {
            id: same_id(&id),
            name: match &sigma.name {
                Some(name) => checked_name(origin, name).map_err(|problem| vec![problem])?,
                None => kebab_case(&sigma.title),
            },
            title: sigma.title.clone(),
            rules: targets(origin)?,
            expires,
            compiled,
        };
        // Two records of which a filter says nothing: one without members, and one that has them all.
        let empty = Record::new(0, Map::new());
        let full = RECORD_MEMBERS
            .iter()
            .map(|member| ((*member).to_owned(), Value::from("-")))
            .collect();
        if !filter.lets_through(&empty) && !filter.lets_through(&Record::new(0, full)) {
            return Err(error(
                &["filter", "condition"],
                "keeps back a record that it says nothing of, and so would silence its rules; it says what stays"
                    .into(),
                "write `not selection`, and describe in the selection what shall not be told",
            ));
        }
        Ok(filter)
    }

    /// Whether it is an exception to this rule.
    pub fn is_about(&self, rule: &Rule) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|name| is_named(rule, name))
    }

    /// Whether its last day is over.
    pub fn is_expired(&self, today: Date) -> bool {
        self.expires.is_some_and(|last| today > last)
    }

    /// Whether a record passes its condition.
    pub fn lets_through(&self, record: &Record) -> bool {
        is_met(&self.compiled, &RecordView::new(record))
    }

    /// The filter's detection, for an explanation.
    pub(super) fn compiled(&self) -> &CompiledRule {
        &self.compiled
    }
}

/// Whether this is a rule's id or name.
pub(super) fn is_named(rule: &Rule, name: &str) -> bool {
    same_id(name) == rule.id || name == rule.name
}

/// A filter's condition as a rule of its own: met by what the filter lets through.
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

/// The rules a filter names. The parser takes a missing or odd list for "all", which here must be said.
fn targets(origin: &Origin) -> Result<Vec<String>, Vec<Problem>> {
    let named = origin.lines.texts(&["filter", "rules"]);
    match named.as_deref() {
        Some([any]) if any.eq_ignore_ascii_case("any") => Ok(Vec::new()),
        Some(names) if !names.is_empty() && names.iter().all(|name| !name.trim().is_empty()) => {
            Ok(names.to_vec())
        }
        _ => Err(vec![origin.problem(
            Weight::Error,
            &["filter", "rules"],
            "expected a list of ids or names of rules, or `any` for all of them",
            Some("a filter that names no rule would be an exception to every one"),
        )]),
    }
}

/// The date under `expires`; `Err`: what was found in its place.
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
