//! Cases: the records that a rule carries as its tests, those it must meet and the near misses it must not.
//!
//! They stand in the rule's own file under `tests`, so that a change of a rule and of its tests is one
//! change. A record here is a part of a real one; its members are spelled as CloudTrail spells them, which
//! is checked, because a test with a slip in it proves nothing. A test whose record has `requestParameters:
//! null` is run in every form in which CloudTrail omits them.

use std::slice;

use serde_json::{Map, Value, json};

use super::{
    Parts, RuleFile, RuleSet,
    check::api,
    compile::Compiled,
    document::Origin,
    explain,
    problem::{Problem, Weight, nearest},
    watched::Watched,
};
use crate::{json, record::Record};

/// What a rule must make of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Meet it.
    Meets,
    /// Not meet it.
    Misses,
}

impl Expected {
    /// The member that names the case.
    pub fn as_str(self) -> &'static str {
        match self {
            Expected::Meets => "meets",
            Expected::Misses => "misses",
        }
    }
}

/// One test of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What happens in it.
    pub name: String,
    /// What the rule must make of it.
    pub expected: Expected,
    /// The record.
    pub record: Record,
    /// The names of watched things that it holds for; `None`: those that all tests run with.
    pub watched: Option<Watched>,
    /// Its line in the file.
    pub line: usize,
}

/// The tests of a rule, and what is wrong with those that are none.
pub(super) fn read(
    origin: &Origin,
    tests: Option<&impl serde::Serialize>,
) -> (Vec<Case>, Vec<Problem>) {
    let error = |path: &[&str], message: String, hint: &str| {
        vec![origin.problem(Weight::Error, path, message, Some(hint))]
    };
    let Some(tests) = tests.and_then(|tests| serde_json::to_value(tests).ok()) else {
        return (Vec::new(), Vec::new());
    };
    let Value::Array(tests) = tests else {
        let message = format!("expected a list, found {}", json::kind(&tests));
        let hint = "each item has `meets:` or `misses:` with what happens, and `record:`";
        return (Vec::new(), error(&["tests"], message, hint));
    };
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for (index, test) in tests.into_iter().enumerate() {
        match case(origin, index, test) {
            Ok(case) => cases.push(case),
            Err(found) => problems.extend(found),
        }
    }
    (cases, problems)
}

fn case(origin: &Origin, index: usize, test: Value) -> Result<Case, Vec<Problem>> {
    let number = index.to_string();
    let error = |path: &[&str], message: String, hint: &str| {
        let path = [&["tests", number.as_str()], path].concat();
        vec![origin.problem(Weight::Error, &path, message, Some(hint))]
    };
    let shape = "expected `meets: …` or `misses: …`, and `record: {…}`";
    let Value::Object(mut test) = test else {
        return Err(error(
            &[],
            format!("expected a mapping, found {}", json::kind(&test)),
            shape,
        ));
    };
    let (expected, name) = match (test.remove("meets"), test.remove("misses")) {
        (Some(name), None) => (Expected::Meets, name),
        (None, Some(name)) => (Expected::Misses, name),
        (Some(_), Some(_)) => {
            return Err(error(&[], "says both meets and misses".into(), shape));
        }
        (None, None) => {
            return Err(error(&[], "says neither meets nor misses".into(), shape));
        }
    };
    let Value::String(name) = name else {
        return Err(error(
            &[expected.as_str()],
            format!("expected text, found {}", json::kind(&name)),
            "say in a few words what happens in the record",
        ));
    };
    let record = match test.remove("record") {
        Some(Value::Object(fields)) if !fields.is_empty() => fields,
        Some(other) => {
            let found = match &other {
                Value::Object(_) => "an empty mapping",
                other => json::kind(other),
            };
            return Err(error(
                &["record"],
                format!("expected a CloudTrail record, found {found}"),
                "give its members, such as eventSource and eventName",
            ));
        }
        None => return Err(error(&[], "has no record".into(), shape)),
    };
    let watched = match test.remove("watched") {
        Some(Value::String(names)) => match Watched::parse(&names) {
            Ok(watched) => Some(watched),
            Err(message) => {
                let hint = "names stand here as in WATCHED: `key=ID,stack=NAME`";
                return Err(error(&["watched"], message, hint));
            }
        },
        Some(other) => {
            return Err(error(
                &["watched"],
                format!("expected text, found {}", json::kind(&other)),
                "names stand here as in WATCHED: `key=ID,stack=NAME`",
            ));
        }
        None => None,
    };
    if let Some(other) = test.keys().next() {
        return Err(error(
            &[other],
            format!("expected meets, misses, record or watched, found {other:?}"),
            shape,
        ));
    }
    if let Some((path, message, hint)) = misspelt(&record) {
        let path: Vec<&str> = ["record"].into_iter().chain(path.split('.')).collect();
        return Err(error(&path, message, &hint));
    }
    for member in record.keys() {
        if !api::RECORD_MEMBERS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(member))
        {
            let hint = match nearest(member, api::RECORD_MEMBERS.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => "CloudTrail's page \"record contents\" lists them".to_owned(),
            };
            return Err(error(
                &["record", member],
                format!("expected a member of a CloudTrail record, found {member:?}"),
                &hint,
            ));
        }
    }
    Ok(Case {
        line: origin.lines.line(&["tests", &number, expected.as_str()]),
        name,
        expected,
        record: Record::new(index as u64, record),
        watched,
    })
}

/// The first member below the top of a record that is misspelt, as a path, with what is wrong and what is
/// meant: of `userIdentity`, and of the request where the event source's operations are known.
fn misspelt(record: &Map<String, Value>) -> Option<(String, String, String)> {
    let member = |name: &str| {
        record
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    if let Some((top, identity)) = member("userIdentity") {
        for path in paths(identity) {
            let names = path.iter().map(String::as_str);
            if let Some((name, Some(near))) = api::misspelt_identity(names) {
                return Some((
                    format!("{top}.{}", path.join(".")),
                    format!("no userIdentity has a member {name:?}"),
                    format!("did you mean {near}?"),
                ));
            }
        }
    }
    let api = api::Api::known()?;
    let source = member("eventSource")?.1.as_str()?;
    let (top, parameters) = member("requestParameters")?;
    let sources = [source.to_owned()];
    parameters
        .as_object()?
        .keys()
        // A near miss may carry the parameters of another service's call of the same name.
        .filter(|name| {
            api.knows(source)
                && !api
                    .event_sources()
                    .any(|any| api.has_member(any, &[], name))
        })
        .find_map(|name| {
            let near = nearest(name, api.members(&sources))?;
            Some((
                format!("{top}.{name}"),
                format!("no call of {source} has a member {name:?}"),
                format!("did you mean {near}?"),
            ))
        })
}

/// The paths of all members of a value.
fn paths(value: &Value) -> Vec<Vec<String>> {
    let Value::Object(members) = value else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, inner) in members {
        found.push(vec![name.clone()]);
        found.extend(paths(inner).into_iter().map(|mut path| {
            path.insert(0, name.clone());
            path
        }));
    }
    found
}

/// A test as it is written and, where its record has `requestParameters: null`, the same in the other forms
/// of omitted parameters: a rule must take them all alike.
fn in_every_form(case: Case) -> Vec<Case> {
    let Value::Object(fields) = case.record.value() else {
        return vec![case];
    };
    let null = fields
        .iter()
        .find(|(name, value)| name.eq_ignore_ascii_case("requestParameters") && value.is_null());
    let Some((name, _)) = null else {
        return vec![case];
    };
    let reason = "requestParameters too large";
    let forms = [
        ("requestParameters missing", None),
        (
            "requestParameters omitted: true",
            Some(json!({"reason": reason, "omitted": true, "originalSize": 108_417})),
        ),
        (
            "requestParameters omitted: \"true\"",
            Some(json!({"reason": reason, "omitted": "true", "originalSize": "108417"})),
        ),
        (
            "requestParameters hidden",
            Some("HIDDEN_DUE_TO_SECURITY_REASONS".into()),
        ),
    ];
    let others = forms.map(|(form, value)| {
        let mut fields = fields.clone();
        match value {
            Some(value) => drop(fields.insert(name.clone(), value)),
            None => drop(fields.shift_remove(name)),
        }
        Case {
            name: format!("{} ({form})", case.name),
            record: Record::new(case.record.index(), fields),
            ..case.clone()
        }
    });
    std::iter::once(case.clone()).chain(others).collect()
}

/// What became of a rule's tests.
#[derive(Debug)]
pub struct Tested {
    /// The rule's file.
    pub file: String,
    /// The rule's name.
    pub rule: String,
    /// Each case; where it failed, why.
    pub cases: Vec<(Case, Result<(), String>)>,
}

/// Runs the tests of every rule in some files, each rule by itself: whether a filter would keep the record
/// back, or another rule meets it, too, is not asked. A test that names watched things itself runs with
/// those, and with no others.
///
/// # Errors
/// All that keeps a file from being used, or a test from being run.
pub fn run(files: &[RuleFile], watched: &Watched) -> Result<Vec<Tested>, Vec<Problem>> {
    let parts = Parts::layered(&[], files, watched);
    let mut problems = parts.problems;
    let mut tested = Vec::new();
    for (origin, sigma, compiled, rule) in &parts.rules {
        let (cases, found) = read(origin, sigma.custom_attributes.get("tests"));
        problems.extend(found);
        let cases = cases.into_iter().flat_map(in_every_form);
        let outcomes = cases.map(|case| {
            let named = case
                .watched
                .as_ref()
                .and_then(|names| recompiled(files, &origin.file, &rule.id, names));
            let compiled = named.as_ref().unwrap_or(compiled).rule();
            let met = RuleSet::is_met(compiled, &case.record);
            let outcome = match (case.expected, met) {
                (Expected::Meets, false) | (Expected::Misses, true) => {
                    let reasons = explain::reasons(compiled, &case.record);
                    Err(format!(
                        "{}: {}",
                        if met {
                            "the rule meets it"
                        } else {
                            "the rule does not meet it"
                        },
                        reasons.join("; ")
                    ))
                }
                _ => Ok(()),
            };
            (case, outcome)
        });
        tested.push(Tested {
            file: origin.file.clone(),
            rule: rule.name.clone(),
            cases: outcomes.collect(),
        });
    }
    if problems.is_empty() {
        Ok(tested)
    } else {
        Err(problems)
    }
}

/// The rule once more, with other names of watched things.
fn recompiled(files: &[RuleFile], file: &str, id: &str, names: &Watched) -> Option<Compiled> {
    let file = files.iter().find(|known| known.name == file)?;
    Parts::layered(&[], slice::from_ref(file), names)
        .rules
        .into_iter()
        .find(|(_, _, _, rule)| rule.id == id)
        .map(|(_, _, compiled, _)| compiled)
}
