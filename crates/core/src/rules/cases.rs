//! Test cases: records in a rule file that the rule must match, or must not match.
//!
//! They are in the rule's own file under `tests`. A record of a test has only some members of a real one. Their names
//! are checked, because a test with a misspelled member proves nothing. A test with `requestParameters: null` is run
//! in every form in which CloudTrail omits parameters. A test may also expect the deadline that its record opens or
//! closes (`case_deadline.rs`).

use std::{cell::OnceCell, slice};

use serde_json::{Map, Value, json};

use super::{
    api,
    case_deadline::{self, ExpectedDeadline},
    compile::matches,
    diagnostic::{Diagnostic, nearest},
    explain,
    loaded::{Loaded, LoadedRule},
    origin::{Origin, RuleFile},
    rule::Rule,
    rule_set::RuleSet,
    view::RecordView,
    watched::Watched,
};
use crate::{json, record::Record};

/// The expected result of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The record matches the rule.
    Matches,
    /// The record does not match the rule.
    Misses,
}

impl Expected {
    /// The key of the case's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Expected::Matches => "matches",
            Expected::Misses => "misses",
        }
    }
}

/// One test of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What happens in the record.
    pub name: String,
    /// The expected result.
    pub expected: Expected,
    /// The record.
    pub record: Record,
    /// The deadlines that the record opens and closes.
    pub deadline: ExpectedDeadline,
    /// The names of watched resources for this test; `None`: those for all tests.
    pub watched: Option<Watched>,
    /// Its line in the file.
    pub line: usize,
}

/// The tests of a rule, and the errors of malformed ones.
pub(super) fn read(
    origin: &Origin,
    tests: Option<&impl serde::Serialize>,
) -> (Vec<Case>, Vec<Diagnostic>) {
    let error =
        |path: &[&str], message: String, hint: &str| vec![origin.error(path, message, Some(hint))];
    let Some(tests) = tests.and_then(|tests| serde_json::to_value(tests).ok()) else {
        return (Vec::new(), Vec::new());
    };
    let Value::Array(tests) = tests else {
        let message = format!("expected a list, found {}", json::kind(&tests));
        let hint = "write items with `matches: …` or `misses: …`, and `record: {…}`";
        return (Vec::new(), error(&["tests"], message, hint));
    };
    let mut cases = Vec::new();
    let mut errors = Vec::new();
    for (index, test) in tests.into_iter().enumerate() {
        match case(origin, index, test) {
            Ok(case) => cases.push(case),
            Err(found) => errors.extend(found),
        }
    }
    (cases, errors)
}

fn case(origin: &Origin, index: usize, test: Value) -> Result<Case, Vec<Diagnostic>> {
    let number = index.to_string();
    let error = |path: &[&str], message: String, hint: &str| {
        let path = [&["tests", number.as_str()], path].concat();
        vec![origin.error(&path, message, Some(hint))]
    };
    let shape = "write `matches: …` or `misses: …`, and `record: {…}`";
    let Value::Object(mut test) = test else {
        return Err(error(
            &[],
            format!("expected a mapping, found {}", json::kind(&test)),
            shape,
        ));
    };
    let (expected, name) = match (test.remove("matches"), test.remove("misses")) {
        (Some(name), None) => (Expected::Matches, name),
        (None, Some(name)) => (Expected::Misses, name),
        (Some(_), Some(_)) => {
            return Err(error(
                &[],
                "expected either `matches` or `misses`, found both".into(),
                shape,
            ));
        }
        (None, None) => {
            return Err(error(
                &[],
                "expected either `matches` or `misses`, found neither".into(),
                shape,
            ));
        }
    };
    let Value::String(name) = name else {
        return Err(error(
            &[expected.as_str()],
            format!("expected text, found {}", json::kind(&name)),
            "describe in a few words what happens in the record",
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
                "write members such as eventSource and eventName",
            ));
        }
        None => return Err(error(&[], "expected `record`, found none".into(), shape)),
    };
    let watched = match test.remove("watched") {
        Some(Value::String(names)) => match Watched::parse(&names) {
            Ok(watched) => Some(watched),
            Err(message) => {
                let hint = "write names as in WATCHED: `key=ID,stack=NAME`";
                return Err(error(&["watched"], message, hint));
            }
        },
        Some(other) => {
            return Err(error(
                &["watched"],
                format!("expected text, found {}", json::kind(&other)),
                "write names as in WATCHED: `key=ID,stack=NAME`",
            ));
        }
        None => None,
    };
    let deadline = case_deadline::read(&mut test).map_err(|(path, message, hint)| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        error(&path, message, &hint)
    })?;
    if expected == Expected::Misses && deadline.expects_opening() {
        return Err(error(
            &["opens"],
            "expected `opens` in a test with `matches`, found it in one with `misses`".into(),
            "a record that does not match opens no deadline",
        ));
    }
    if let Some(other) = test.keys().next() {
        return Err(error(
            &[other],
            format!("expected matches, misses, record, watched, opens or closes, found {other:?}"),
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
                None => {
                    "see \"CloudTrail record contents\" in the CloudTrail User Guide".to_owned()
                }
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
        deadline,
        watched,
    })
}

/// The first misspelled member of `userIdentity`, or of the request parameters of a known service: path, error and
/// hint.
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
                    format!("expected a member of userIdentity, found {name:?}"),
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
        // A record that must not match may have the parameters of another service's call.
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
                format!("expected a member of a call of {source}, found {name:?}"),
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

/// A test and, if its record has `requestParameters: null`, the same test with each other form of omitted
/// parameters.
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

/// The results of a rule's tests.
#[derive(Debug)]
pub struct Tested {
    /// The rule's file.
    pub file: String,
    /// The rule's name.
    pub rule: String,
    /// Each case with its result; the error is the reason of the failure.
    pub cases: Vec<(Case, Result<(), String>)>,
}

/// Runs the tests of every rule in some files, each rule alone: other rules and filters are not evaluated. A test with
/// its own names of watched resources uses only those. Only the deadlines that a record closes depend on other rules:
/// those of the files and the built-in ones.
///
/// # Errors
/// All errors of the files and of malformed tests.
pub fn run(files: &[RuleFile], watched: &Watched) -> Result<Vec<Tested>, Vec<Diagnostic>> {
    let loaded = Loaded::files(files, watched);
    let mut errors = loaded.errors;
    let mut tested = Vec::new();
    let together = Together {
        files,
        watched,
        rules: OnceCell::new(),
    };
    for LoadedRule {
        origin,
        sigma,
        compiled,
        rule,
    } in &loaded.rules
    {
        let (cases, found) = read(origin, sigma.custom_attributes.get("tests"));
        errors.extend(found);
        let cases = cases.into_iter().flat_map(in_every_form);
        let outcomes = cases.map(|case| {
            let named = case
                .watched
                .as_ref()
                .and_then(|names| recompiled(files, &origin.file, &rule.id, names));
            let (compiled, sigma) = match &named {
                Some(named) => (&named.compiled, &named.sigma),
                None => (compiled, sigma),
            };
            let compiled = compiled.rule();
            let is_match = matches(compiled, &RecordView::new(&case.record));
            let outcome = match (case.expected, is_match) {
                (Expected::Matches, false) | (Expected::Misses, true) => {
                    let reasons = explain::reasons(compiled, Some(&sigma.detection), &case.record);
                    Err(format!(
                        "{}: {}",
                        if is_match {
                            "the record matches"
                        } else {
                            "the record does not match"
                        },
                        reasons.join("; ")
                    ))
                }
                _ => case
                    .deadline
                    .check_opening(rule, &case.record, is_match)
                    .and_then(|()| together.check_closings(rule, &case)),
            };
            (case, outcome)
        });
        tested.push(Tested {
            file: origin.file.clone(),
            rule: rule.name.clone(),
            cases: outcomes.collect(),
        });
    }
    if errors.is_empty() {
        Ok(tested)
    } else {
        Err(errors)
    }
}

/// The rules of the files and the built-in ones, which decide what a record closes.
struct Together<'f> {
    files: &'f [RuleFile],
    watched: &'f Watched,
    /// With the names of watched resources for all tests; loaded on first use.
    rules: OnceCell<Result<RuleSet, String>>,
}

impl Together<'_> {
    fn check_closings(&self, rule: &Rule, case: &Case) -> Result<(), String> {
        if !case.deadline.is_about_closings() {
            return Ok(());
        }
        let named;
        let rules = match &case.watched {
            Some(names) => {
                named = self.load(names);
                named.as_ref()
            }
            None => self.rules.get_or_init(|| self.load(self.watched)).as_ref(),
        };
        let rules = rules.map_err(Clone::clone)?;
        case.deadline.check_closings(rule, &case.record, rules)
    }

    fn load(&self, watched: &Watched) -> Result<RuleSet, String> {
        RuleSet::with(self.files, watched).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            format!(
                "closes: the rules cannot be used together: {}",
                errors.join("; ")
            )
        })
    }
}

/// The rule, compiled with other names of watched resources.
fn recompiled(files: &[RuleFile], file: &str, id: &str, names: &Watched) -> Option<LoadedRule> {
    let file = files.iter().find(|known| known.name == file)?;
    Loaded::files(slice::from_ref(file), names)
        .rules
        .into_iter()
        .find(|loaded| loaded.rule.id == id)
}
