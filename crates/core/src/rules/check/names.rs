//! Event sources, event names and members of a record in a detection, compared with AWS's lists.

use std::collections::HashMap;

use rsigma_eval::{
    compiler::{compile_detection, eval_condition},
    event::JsonEvent,
};
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, SigmaValue};
use serde_json::json;

use crate::rules::{
    api::{self, Api, NEVER_RECORDED, RECORDED},
    detection::{self, FieldTest},
    diagnostic::{Diagnostic, Kind, nearest},
    origin::Origin,
};

/// The event source of Lambda. Its event names end with a date and a version in CloudTrail.
const LAMBDA: &str = "lambda.amazonaws.com";

pub(super) fn check(
    origin: &Origin,
    section: &str,
    detections: &Detections,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(api) = Api::known() else {
        return;
    };
    let tests = detection::field_tests(detections);
    let is = |test: &FieldTest<'_>, member: &str| detection::is_about(test.item, member);
    let mut names = Names {
        origin,
        section,
        diagnostics,
    };
    for test in &tests {
        names.member(test);
    }

    let mut sources: Vec<String> = Vec::new();
    for test in tests.iter().filter(|test| is(test, "eventSource")) {
        let known: Vec<&str> = api.event_sources().chain([NEVER_RECORDED]).collect();
        for value in &test.item.values {
            let matched = matched(test.item, value, "eventSource", &known);
            if matched.is_empty() {
                names.event_source(test, value, &known);
            }
            if test.positive {
                sources.extend(matched.into_iter().map(str::to_owned));
            }
        }
    }
    sources.sort();
    sources.dedup();
    if sources == [NEVER_RECORDED] {
        let test = tests
            .iter()
            .find(|test| test.positive && is(test, "eventSource"));
        if let Some(test) = test {
            names.push(
                Kind::Error,
                test,
                format!("expected {RECORDED}, found {NEVER_RECORDED}, which no record has"),
                "CloudTrail uses the same event source for both CloudHSM APIs".into(),
            );
        }
    }

    // The names of a service that is not in the lists cannot be checked.
    if sources.is_empty() || !sources.iter().all(|source| api.knows(source)) {
        return;
    }
    for test in tests.iter().filter(|test| is(test, "eventName")) {
        let sources = &sources_for(test, &sources);
        let operations = operations(api, sources);
        let candidates: Vec<&str> = operations.iter().map(String::as_str).collect();
        let unmatched: Vec<&SigmaValue> = test
            .item
            .values
            .iter()
            .filter(|value| matched(test.item, value, "eventName", &candidates).is_empty())
            .filter(|value| !is_versioned(value, sources, &operations))
            .collect();
        let can_never_match = test.positive && unmatched.len() == test.item.values.len();
        for value in unmatched {
            names.event_name(test, value, sources, &candidates, can_never_match);
        }
    }
    for test in &tests {
        names.parameter(api, test, &sources_for(test, &sources));
    }
}

/// The event sources that apply to a field: those in the same mapping, else those of the whole detection.
fn sources_for(test: &FieldTest<'_>, sources: &[String]) -> Vec<String> {
    let own: Vec<&str> = test
        .mapping
        .iter()
        .filter(|other| detection::is_about(other, "eventSource"))
        .flat_map(|other| {
            let known: Vec<&str> = sources.iter().map(String::as_str).collect();
            other
                .values
                .iter()
                .flat_map(|value| matched(other, value, "eventSource", &known))
                .collect::<Vec<_>>()
        })
        .collect();
    sources
        .iter()
        .filter(|source| own.is_empty() || own.contains(&source.as_str()))
        .cloned()
        .collect()
}

/// Whether a value is an operation of Lambda with any date and version.
pub(super) fn is_versioned(value: &SigmaValue, sources: &[String], operations: &[String]) -> bool {
    let text = written(value);
    let bare = text
        .rsplit_once('v')
        .filter(|(_, version)| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()))
        .map_or(text.as_str(), |(bare, _)| bare);
    let name = bare.trim_end_matches(|c: char| c.is_ascii_digit());
    bare.len() == name.len() + 8
        && sources.iter().any(|source| source == LAMBDA)
        && operations
            .iter()
            .any(|operation| operation.eq_ignore_ascii_case(name))
}

/// The event names that these event sources can have.
pub(super) fn operations(api: &Api, sources: &[String]) -> Vec<String> {
    let mut operations = Vec::new();
    for source in sources {
        for operation in api.operations(source) {
            operations.push(operation.to_owned());
            if source == LAMBDA {
                operations.push(format!("{operation}20150331"));
                operations.push(format!("{operation}20150331v2"));
            }
        }
    }
    operations
}

/// The names that an item with this one value matches, as evaluated by the engine.
pub(super) fn matched<'n>(
    item: &DetectionItem,
    value: &SigmaValue,
    field: &str,
    names: &[&'n str],
) -> Vec<&'n str> {
    let mut single = item.clone();
    single.field.name = Some(field.to_owned());
    // `all` requires several values; here each value is evaluated alone.
    single
        .field
        .modifiers
        .retain(|modifier| *modifier != Modifier::All);
    single.values = vec![value.clone()];
    let Ok(compiled) = compile_detection(&Detection::AllOf(vec![single])) else {
        return Vec::new();
    };
    let detections = HashMap::from([("item".to_owned(), compiled)]);
    let condition = ConditionExpr::Identifier("item".to_owned());
    names
        .iter()
        .copied()
        .filter(|name| {
            let record = json!({ field: name });
            let event = JsonEvent::borrow(&record);
            eval_condition(&condition, &detections, &event, &mut Vec::new())
        })
        .collect()
}

/// A value as it is written in the rule.
pub(super) fn written(value: &SigmaValue) -> String {
    match value {
        SigmaValue::String(text) => text.original.clone(),
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(flag) => flag.to_string(),
        SigmaValue::Null => "null".into(),
    }
}

struct Names<'n> {
    origin: &'n Origin,
    section: &'n str,
    diagnostics: &'n mut Vec<Diagnostic>,
}

impl Names<'_> {
    fn push(&mut self, kind: Kind, test: &FieldTest<'_>, message: String, hint: String) {
        let field = test.item.field.name.as_deref().unwrap_or_default();
        let selection = [self.section, test.selection];
        let line = self.origin.lines.line_of_field(&selection, field);
        self.diagnostics.push(self.origin.diagnostic_at(
            kind,
            line,
            &[self.section, test.selection, field],
            message,
            Some(&hint),
        ));
    }

    /// Checks the first member of a field's path.
    fn member(&mut self, test: &FieldTest<'_>) {
        let Some(field) = test.item.field.name.as_deref() else {
            return;
        };
        let top = field.split('.').next().unwrap_or_default();
        if api::RECORD_MEMBERS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(top))
        {
            self.identity(test, field);
            return;
        }
        match nearest(top, api::RECORD_MEMBERS.iter().copied()) {
            Some(near) => self.push(
                Kind::Error,
                test,
                format!("expected a member of a CloudTrail record, found {top:?}"),
                format!("did you mean {near}?"),
            ),
            None => self.push(
                Kind::Warning,
                test,
                format!("expected a documented member of a CloudTrail record, found {top:?}"),
                "parameters of the call are in requestParameters".into(),
            ),
        }
    }

    /// Checks a path below `userIdentity`.
    fn identity(&mut self, test: &FieldTest<'_>, field: &str) {
        let mut path = field.split('.');
        if !path
            .next()
            .is_some_and(|top| top.eq_ignore_ascii_case("userIdentity"))
        {
            return;
        }
        match api::misspelt_identity(path) {
            Some((name, Some(near))) => self.push(
                Kind::Error,
                test,
                format!("expected a member of userIdentity, found {name:?}"),
                format!("did you mean {near}?"),
            ),
            Some((name, None)) => self.push(
                Kind::Warning,
                test,
                format!("expected a documented member of userIdentity, found {name:?}"),
                "see \"CloudTrail userIdentity element\" in the CloudTrail User Guide".into(),
            ),
            None => {}
        }
    }

    /// Checks a member of the request or the response of a known service.
    fn parameter(&mut self, api: &Api, test: &FieldTest<'_>, sources: &[String]) {
        let Some(field) = test.item.field.name.as_deref() else {
            return;
        };
        let mut names = field.split('.');
        let top = names.next().unwrap_or_default();
        let is_of_the_call = ["requestParameters", "responseElements"]
            .iter()
            .any(|part| part.eq_ignore_ascii_case(top));
        let Some(name) = names.next().filter(|_| is_of_the_call) else {
            return;
        };
        if sources
            .iter()
            .any(|source| api.has_member(source, &[], name))
        {
            return;
        }
        if let Some(near) = nearest(name, api.members(sources)) {
            self.push(
                Kind::Error,
                test,
                format!(
                    "expected a member of a call of {}, found {name:?}",
                    sources.join(", ")
                ),
                format!("did you mean {near}?"),
            );
        }
    }

    fn event_source(&mut self, test: &FieldTest<'_>, value: &SigmaValue, known: &[&str]) {
        // Null and true or false test whether the field exists.
        if matches!(value, SigmaValue::Null | SigmaValue::Bool(_)) {
            return;
        }
        let text = written(value);
        let is_plausible = text.to_ascii_lowercase().ends_with(".amazonaws.com");
        let (kind, message, hint) = match nearest(&text, known.iter().copied()) {
            Some(near) => (
                Kind::Error,
                format!("expected an event source of AWS, found {text:?}"),
                format!("did you mean {near}?"),
            ),
            None if is_plausible => (
                Kind::Warning,
                format!("expected a known event source, found {text:?}"),
                "compare it with the eventSource of a record of the service".into(),
            ),
            None => (
                Kind::Error,
                format!("expected an event source of AWS, found {text:?}"),
                "event sources end in .amazonaws.com, such as cloudhsm.amazonaws.com".into(),
            ),
        };
        // An exclusion that never matches loses no alert.
        self.push(
            if test.positive { kind } else { Kind::Warning },
            test,
            message,
            hint,
        );
    }

    fn event_name(
        &mut self,
        test: &FieldTest<'_>,
        value: &SigmaValue,
        sources: &[String],
        operations: &[&str],
        can_never_match: bool,
    ) {
        if matches!(value, SigmaValue::Null | SigmaValue::Bool(_)) {
            return;
        }
        let text = written(value);
        let hint = match nearest(&text, operations.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => match elsewhere(&text) {
                Some(source) => format!("{source} has an operation with this name"),
                None => "see the API reference of the service".into(),
            },
        };
        let sources: Vec<&str> = sources
            .iter()
            .map(String::as_str)
            .filter(|source| *source != NEVER_RECORDED)
            .collect();
        let message = format!(
            "expected an operation of {}, found {text:?}",
            sources.join(", ")
        );
        // Other values of the list may still match.
        self.push(
            if can_never_match {
                Kind::Error
            } else {
                Kind::Warning
            },
            test,
            message,
            hint,
        );
    }
}

/// An event source with this operation.
fn elsewhere(operation: &str) -> Option<&'static str> {
    let api = Api::known()?;
    api.event_sources().find(|source| {
        api.operations(source)
            .any(|known| known.eq_ignore_ascii_case(operation))
    })
}
