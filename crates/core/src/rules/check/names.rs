//! Names: event sources, event names and members of a record in a rule's detection, held against AWS's own.

use std::collections::HashMap;

use rsigma_eval::{
    compiler::{compile_detection, eval_condition},
    event::JsonEvent,
};
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, SigmaValue};
use serde_json::json;

use super::{
    NEVER_RECORDED, Problem, RECORDED, Weight,
    api::{self, Api},
    nearest,
};
use crate::rules::{
    bound::{self, Item},
    document::Origin,
};

/// Event source of Lambda, whose event names CloudTrail writes with a date and a version behind them.
const LAMBDA: &str = "lambda.amazonaws.com";

pub(super) fn check(
    origin: &Origin,
    section: &str,
    detections: &Detections,
    problems: &mut Vec<Problem>,
) {
    let Some(api) = Api::known() else {
        return;
    };
    let items = bound::items(detections);
    let is = |item: &Item<'_>, member: &str| bound::is_about(item.item, member);
    let mut names = Names {
        origin,
        section,
        problems,
    };
    for item in &items {
        names.member(item);
    }

    let mut sources: Vec<String> = Vec::new();
    for item in items.iter().filter(|item| is(item, "eventSource")) {
        let known: Vec<&str> = api.event_sources().chain([NEVER_RECORDED]).collect();
        for value in &item.item.values {
            let matched = matched(item.item, value, "eventSource", &known);
            if matched.is_empty() {
                names.event_source(item, value, &known);
            }
            if item.positive {
                sources.extend(matched.into_iter().map(str::to_owned));
            }
        }
    }
    sources.sort();
    sources.dedup();
    if sources == [NEVER_RECORDED] {
        let item = items
            .iter()
            .find(|item| item.positive && is(item, "eventSource"));
        if let Some(item) = item {
            names.push(
                Weight::Error,
                item,
                format!(
                    "{NEVER_RECORDED} is in AWS's service model, but no record has ever had it"
                ),
                format!("write {RECORDED}, which CloudTrail records both of CloudHSM's APIs under"),
            );
        }
    }

    // Of a service that is not known, nothing can be said.
    if sources.is_empty() || !sources.iter().all(|source| api.knows(source)) {
        return;
    }
    for item in items.iter().filter(|item| is(item, "eventName")) {
        let sources = &beside(item, &sources);
        let operations = operations(api, sources);
        let candidates: Vec<&str> = operations.iter().map(String::as_str).collect();
        let dead: Vec<&SigmaValue> = item
            .item
            .values
            .iter()
            .filter(|value| matched(item.item, value, "eventName", &candidates).is_empty())
            .filter(|value| !is_versioned(value, sources, &operations))
            .collect();
        let is_dead = item.positive && dead.len() == item.item.values.len();
        for value in dead {
            names.event_name(item, value, sources, &candidates, is_dead);
        }
    }
    for item in &items {
        names.parameter(api, item, &beside(item, &sources));
    }
}

/// The event sources that stand in the same mapping as an item; where none does, those of the whole
/// detection: of two mappings in a list, each has its own.
fn beside(item: &Item<'_>, sources: &[String]) -> Vec<String> {
    let own: Vec<&str> = item
        .mapping
        .iter()
        .filter(|other| bound::is_about(other, "eventSource"))
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

/// A name of Lambda's with whatever date and version CloudTrail writes behind it.
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

/// Those of some names that an item with this one value matches, by the engine itself.
pub(super) fn matched<'n>(
    item: &DetectionItem,
    value: &SigmaValue,
    field: &str,
    names: &[&'n str],
) -> Vec<&'n str> {
    let mut single = item.clone();
    single.field.name = Some(field.to_owned());
    // `all` wants several values; here each is asked about by itself.
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

/// A value as the rule writes it.
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
    problems: &'n mut Vec<Problem>,
}

impl Names<'_> {
    fn push(&mut self, weight: Weight, item: &Item<'_>, message: String, hint: String) {
        let field = item.item.field.name.as_deref().unwrap_or_default();
        let part = [self.section, item.part];
        let line = self.origin.lines.line_of_field(&part, field);
        self.problems.push(self.origin.problem_at(
            weight,
            line,
            &[self.section, item.part, field],
            message,
            Some(&hint),
        ));
    }

    /// The beginning of a field's path.
    fn member(&mut self, item: &Item<'_>) {
        let Some(field) = item.item.field.name.as_deref() else {
            return;
        };
        let top = field.split('.').next().unwrap_or_default();
        if api::RECORD_MEMBERS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(top))
        {
            self.identity(item, field);
            return;
        }
        match nearest(top, api::RECORD_MEMBERS.iter().copied()) {
            Some(near) => self.push(
                Weight::Error,
                item,
                format!("no record has a member {top:?}"),
                format!("did you mean {near}?"),
            ),
            None => self.push(
                Weight::Warning,
                item,
                format!("CloudTrail documents no member {top:?} of a record"),
                "parameters of the call stand below requestParameters".into(),
            ),
        }
    }

    /// A member below `userIdentity`, which is the same for every service.
    fn identity(&mut self, item: &Item<'_>, field: &str) {
        let mut path = field.split('.');
        if !path
            .next()
            .is_some_and(|top| top.eq_ignore_ascii_case("userIdentity"))
        {
            return;
        }
        match api::misspelt_identity(path) {
            Some((name, Some(near))) => self.push(
                Weight::Error,
                item,
                format!("no userIdentity has a member {name:?}"),
                format!("did you mean {near}?"),
            ),
            Some((name, None)) => self.push(
                Weight::Warning,
                item,
                format!("CloudTrail documents no member {name:?} of a userIdentity"),
                "its page \"userIdentity element\" lists them".into(),
            ),
            None => {}
        }
    }

    /// A member of the request or the response, where the service's are known.
    fn parameter(&mut self, api: &Api, item: &Item<'_>, sources: &[String]) {
        let Some(field) = item.item.field.name.as_deref() else {
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
                Weight::Error,
                item,
                format!("no call of {} has a member {name:?}", sources.join(", ")),
                format!("did you mean {near}?"),
            );
        }
    }

    fn event_source(&mut self, item: &Item<'_>, value: &SigmaValue, known: &[&str]) {
        // Null asks whether it is there at all.
        if matches!(value, SigmaValue::Null | SigmaValue::Bool(_)) {
            return;
        }
        let text = written(value);
        let is_plausible = text.to_ascii_lowercase().ends_with(".amazonaws.com");
        let (weight, message, hint) = match nearest(&text, known.iter().copied()) {
            Some(near) => (
                Weight::Error,
                format!("expected an event source of AWS, found {text:?}"),
                format!("did you mean {near}?"),
            ),
            None if is_plausible => (
                Weight::Warning,
                format!("{text:?} is no event source that this program knows of"),
                "see the eventSource of a record of that service".into(),
            ),
            None => (
                Weight::Error,
                format!("expected an event source of AWS, found {text:?}"),
                "they end in .amazonaws.com, such as cloudhsm.amazonaws.com".into(),
            ),
        };
        // An exclusion that never holds loses nothing.
        self.push(
            if item.positive {
                weight
            } else {
                Weight::Warning
            },
            item,
            message,
            hint,
        );
    }

    fn event_name(
        &mut self,
        item: &Item<'_>,
        value: &SigmaValue,
        sources: &[String],
        operations: &[&str],
        is_dead: bool,
    ) {
        if matches!(value, SigmaValue::Null | SigmaValue::Bool(_)) {
            return;
        }
        let text = written(value);
        let hint = match nearest(&text, operations.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => match elsewhere(&text) {
                Some(source) => format!("{source} has an operation of that name"),
                None => "no record has it; see the API reference".into(),
            },
        };
        let sources: Vec<&str> = sources
            .iter()
            .map(String::as_str)
            .filter(|source| *source != NEVER_RECORDED)
            .collect();
        let message = format!("{} has no operation {text:?}", sources.join(", "));
        // Other values of the list may still be met.
        self.push(
            if is_dead {
                Weight::Error
            } else {
                Weight::Warning
            },
            item,
            message,
            hint,
        );
    }
}

/// Another event source with this operation.
fn elsewhere(operation: &str) -> Option<&'static str> {
    let api = Api::known()?;
    api.event_sources().find(|source| {
        api.operations(source)
            .any(|known| known.eq_ignore_ascii_case(operation))
    })
}
