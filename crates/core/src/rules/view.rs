//! A record as the rule engine reads it.
//!
//! It differs from the engine's own view of JSON in three ways. A field that is missing as the rule writes it is
//! looked up regardless of case, so that a record cannot evade a rule by its spelling. Parameters that CloudTrail
//! omitted are null, whatever value replaces them. An object is its JSON text, so that `contains` searches in it,
//! as in the tools that SigmaHQ's rules are written for.

use std::borrow::Cow;

use rsigma_eval::event::{Event, EventValue, JsonEvent};
use serde_json::Value;

use super::comparison;
use crate::record::{Record, absence_below, candidates, exact, is_omitted};

pub(super) struct RecordView<'r> {
    record: &'r Record,
    json: JsonEvent<'r>,
}

impl<'r> RecordView<'r> {
    pub(super) fn new(record: &'r Record) -> RecordView<'r> {
        RecordView {
            record,
            json: JsonEvent::borrow(record.value()),
        }
    }
}

// `top_level_keys` keeps its default, an unknown list. With a list of the record's keys, the engine would not look
// up a field that differs from them in case.
impl Event for RecordView<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        if let Some(value) = comparison::value(path, |path| self.get_field(path)) {
            return Some(EventValue::Bool(value));
        }
        // As in the engine, a member with dots in its name has priority over a path.
        if let Some(value) = self
            .record
            .value()
            .as_object()
            .and_then(|fields| exact(fields, path))
            .map(|(_, value)| value)
            .filter(|value| !is_omitted(path, value))
        {
            return Some(flat(value));
        }
        let names: Vec<&str> = path.split('.').collect();
        let mut found = Vec::new();
        let below = absence_below(names[0]);
        collect(self.record.value(), &names, [is_omitted, below], &mut found);
        match found.len() {
            0 => None,
            1 => found.pop(),
            _ => Some(EventValue::Array(found)),
        }
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        self.json.any_string_value(pred)
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        self.json.all_string_values()
    }

    fn to_json(&self) -> Value {
        self.json.to_json()
    }
}

/// Collects every value at a path, regardless of case if there is none in the exact spelling. A list on the path
/// stands for each of its items, as in the engine's own lookup. `is_null` decides which members of the first
/// object count as null, `below` which members of nested objects do.
fn collect<'v>(
    value: &'v Value,
    names: &[&str],
    [is_null, below]: [fn(&str, &Value) -> bool; 2],
    found: &mut Vec<EventValue<'v>>,
) {
    let Some((name, rest)) = names.split_first() else {
        found.push(flat(value));
        return;
    };
    match value {
        Value::Object(fields) => {
            let present = candidates(fields, name).filter(|(name, inner)| !is_null(name, inner));
            let mut present = present.map(|(_, inner)| inner).peekable();
            match (present.peek(), exact(fields, name)) {
                // The exact spelling has priority over others.
                (Some(first), Some((_, exact))) if std::ptr::eq(*first, exact) => {
                    collect(exact, rest, [below; 2], found);
                }
                (None, Some(_)) if rest.is_empty() => found.push(EventValue::Null),
                _ => present.for_each(|inner| collect(inner, rest, [below; 2], found)),
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(item, names, [is_null, below], found)),
        _ => {}
    }
}

/// A value for the engine: an object as its JSON text. A document that is a string in the object, such as a
/// policy, has escaped quotation marks in this text. Rules are written without the escapes, so the text without
/// them is a second value.
fn flat(value: &Value) -> EventValue<'_> {
    match value {
        Value::Object(_) => {
            let text = value.to_string();
            if text.contains("\\\"") {
                let plain = text.replace("\\\"", "\"");
                return EventValue::Array(
                    [text, plain]
                        .map(|text| EventValue::Str(text.into()))
                        .into(),
                );
            }
            EventValue::Str(text.into())
        }
        Value::Array(items) => EventValue::Array(items.iter().map(flat).collect()),
        // The engine formats fractions and large numbers differently from the record.
        Value::Number(number) if !number.is_i64() => EventValue::Array(vec![
            EventValue::from(value),
            EventValue::Str(number.to_string().into()),
        ]),
        other => EventValue::from(other),
    }
}
