//! What a test expects of deadlines: `opens` and `closes`.
//!
//! `opens` is about the deadline that the rule of the test declares. `closes` is about the deadlines that the record
//! closes by a match of that rule, and about those that the rule declares. `nothing` means that there is none.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{diagnostic::nearest, rule::Rule, rule_set::RuleSet};
use crate::{
    deadline::{self, Closing, Deadline},
    finding::Finding,
    json,
    record::Record,
};

/// What a test expects. `None`: it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedDeadline {
    opens: Option<Members>,
    closes: Option<Members>,
}

/// Members with their values; empty: no deadline.
type Members = Vec<(&'static str, String)>;

/// Members of `opens`. The first two are required.
const OPENS: &[&str] = &[
    "resource", "until", "account", "region", "cluster", "subject", "command",
];
/// Members of `closes`. The first is required.
const CLOSES: &[&str] = &["resource", "account", "region", "rule"];

/// What is wrong: the path below the test, the error and a hint.
pub(super) type Malformed = (Vec<String>, String, String);

/// Takes `opens` and `closes` out of a test.
///
/// # Errors
/// One of them is malformed.
pub(super) fn read(test: &mut Map<String, Value>) -> Result<ExpectedDeadline, Malformed> {
    Ok(ExpectedDeadline {
        opens: members(test.shift_remove("opens"), "opens", OPENS, 2)?,
        closes: members(test.shift_remove("closes"), "closes", CLOSES, 1)?,
    })
}

fn members(
    value: Option<Value>,
    name: &str,
    known: &'static [&'static str],
    required: usize,
) -> Result<Option<Members>, Malformed> {
    let required = &known[..required];
    let hint = format!(
        "write {} and their values, or `nothing`",
        required.join(", ")
    );
    let error = |path: &[&str], message: String, hint: &str| {
        let path = [&[name], path].concat();
        let path = path.iter().map(|&part| part.to_owned()).collect();
        (path, message, hint.to_owned())
    };
    let given = match value {
        None => return Ok(None),
        Some(Value::String(text)) if text == "nothing" => return Ok(Some(Vec::new())),
        Some(Value::Object(given)) => given,
        Some(other) => {
            let message = format!(
                "expected a mapping or `nothing`, found {}",
                json::kind(&other)
            );
            return Err(error(&[], message, &hint));
        }
    };
    if let Some(missing) = required.iter().find(|member| !given.contains_key(**member)) {
        return Err(error(&[missing], "is missing".into(), &hint));
    }
    let mut members = Vec::new();
    for (member, value) in given {
        let Some(member) = known.iter().copied().find(|known| *known == member) else {
            let hint = match nearest(&member, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => hint.clone(),
            };
            let message = format!("expected {}, found {member:?}", known.join(", "));
            return Err(error(&[&member], message, &hint));
        };
        let Value::String(text) = value else {
            let message = format!("expected a string, found {}", json::kind(&value));
            return Err(error(&[member], message, "put the value in quotes"));
        };
        let is_time = member != "until" || text.parse::<Timestamp>().is_ok();
        if !is_time {
            let message = format!("expected a time such as 2026-12-02T03:41:07Z, found {text:?}");
            return Err(error(
                &[member],
                message,
                "write it with its offset, Z for UTC",
            ));
        }
        members.push((member, text));
    }
    Ok(Some(members))
}

impl ExpectedDeadline {
    /// The first member of the test that needs a match of the rule.
    pub(super) fn expects_opening(&self) -> bool {
        self.opens
            .as_ref()
            .is_some_and(|members| !members.is_empty())
    }

    /// Whether the test is about closings, which depend on other rules.
    pub(super) fn is_about_closings(&self) -> bool {
        self.closes.is_some()
    }

    /// Compares the deadline that a match opens.
    ///
    /// # Errors
    /// What was expected and found.
    pub(super) fn check_opening(
        &self,
        rule: &Arc<Rule>,
        record: &Record,
        is_match: bool,
    ) -> Result<(), String> {
        let Some(expected) = &self.opens else {
            return Ok(());
        };
        let finding = Finding {
            record: record.clone(),
            rules: is_match.then(|| rule.clone()).into_iter().collect(),
            suppressed: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
        };
        let found: Vec<Members> = deadline::opened_by(&finding).iter().map(opened).collect();
        compare("opens", expected, &found)
    }

    /// Compares the deadlines that a record closes.
    ///
    /// # Errors
    /// What was expected and found.
    pub(super) fn check_closings(
        &self,
        rule: &Rule,
        record: &Record,
        rules: &RuleSet,
    ) -> Result<(), String> {
        let Some(expected) = &self.closes else {
            return Ok(());
        };
        let Some(finding) = Finding::of(record.clone(), rules, Timestamp::UNIX_EPOCH) else {
            return compare("closes", expected, &[]);
        };
        let mut of_this_rule = finding.clone();
        of_this_rule.rules.retain(|matched| matched.id == rule.id);
        of_this_rule.suppressed.clear();
        let mut closings = deadline::closed_by(&of_this_rule, rules);
        for closing in deadline::closed_by(&finding, rules) {
            if closing.key.rule == rule.id && !closings.contains(&closing) {
                closings.push(closing);
            }
        }
        let found: Vec<Members> = closings.iter().map(|it| closed(it, rules)).collect();
        compare("closes", expected, &found)
    }
}

fn opened(deadline: &Deadline) -> Members {
    let cluster = deadline.cluster.clone();
    vec![
        ("resource", deadline.key.resource.clone()),
        ("until", deadline.due.to_string()),
        ("account", deadline.key.account.clone()),
        ("region", deadline.key.region.clone()),
        ("cluster", cluster.unwrap_or_else(|| "none".to_owned())),
        ("subject", deadline.subject.clone()),
        ("command", deadline.command.clone()),
    ]
}

fn closed(closing: &Closing, rules: &RuleSet) -> Members {
    let declaring = rules
        .rules
        .iter()
        .find(|(rule, _)| rule.id == closing.key.rule);
    vec![
        ("resource", closing.key.resource.clone()),
        ("account", closing.key.account.clone()),
        ("region", closing.key.region.clone()),
        (
            "rule",
            declaring.map_or_else(String::new, |(rule, _)| rule.name.clone()),
        ),
    ]
}

/// Whether one of the found deadlines has every expected member.
fn compare(verb: &str, expected: &Members, found: &[Members]) -> Result<(), String> {
    let has = |found: &Members, (name, value): &(&str, String)| {
        found.iter().any(|(other, text)| {
            other == name
                && (text == value
                    || *name == "until" && text.parse::<Timestamp>().ok() == value.parse().ok())
        })
    };
    let is_as_expected = match expected.is_empty() {
        true => found.is_empty(),
        false => found
            .iter()
            .any(|found| expected.iter().all(|member| has(found, member))),
    };
    if is_as_expected {
        return Ok(());
    }
    let names: Vec<&str> = match expected.is_empty() {
        true => vec!["resource"],
        false => expected.iter().map(|(name, _)| *name).collect(),
    };
    let found: Vec<String> = found
        .iter()
        .map(|found| {
            let shown: Members = found
                .iter()
                .filter(|(name, _)| names.contains(name))
                .cloned()
                .collect();
            describe(&shown)
        })
        .collect();
    let found = match found.is_empty() {
        true => "nothing".to_owned(),
        false => found.join(" and "),
    };
    Err(format!(
        "{verb}: expected {}, found {found}",
        describe(expected)
    ))
}

fn describe(members: &Members) -> String {
    if members.is_empty() {
        return "nothing".to_owned();
    }
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    members.join(", ")
}
