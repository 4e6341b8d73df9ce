//! How a record looks to the rule engine.
//!
//! rsigma looks a field up as it is written in the rule. Here a field that is not there in that
//! spelling is looked for without regard to case, so that a record in another spelling than documented
//! cannot pass by a rule; and an object is its JSON text, so that `contains` sees what stands in it, as in
//! the tools that SigmaHQ's rules were written for. Everything else is the engine's own view of JSON.

use std::borrow::Cow;

use rsigma_eval::event::{Event, EventValue, JsonEvent};
use serde_json::Value;

use crate::record::Record;

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

// `top_level_keys` stays at its default, which claims nothing: with the engine's list of the record's
// own spellings, it would not even ask for a field in another one.
impl Event for RecordView<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        // As the engine has it, a member whose name holds the dots itself comes first.
        if let Some(value) = self
            .record
            .value()
            .get(path)
            .filter(|value| !value.is_null())
        {
            return Some(flat(value));
        }
        let names: Vec<&str> = path.split('.').collect();
        let mut found = Vec::new();
        collect(self.record.value(), &names, &mut found);
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

/// Every value at the path: as it is spelled, else whatever its case; a list on the way stands for each of
/// its members, as in the engine's own look-up.
fn collect<'v>(value: &'v Value, names: &[&str], found: &mut Vec<EventValue<'v>>) {
    let Some((name, rest)) = names.split_first() else {
        found.push(flat(value));
        return;
    };
    match value {
        Value::Object(fields) => match fields.get(*name) {
            // A null in the documented spelling does not hide a value in another.
            Some(inner) if !inner.is_null() => collect(inner, rest, found),
            exact => {
                let before = found.len();
                fields
                    .iter()
                    .filter(|(key, inner)| key.eq_ignore_ascii_case(name) && !inner.is_null())
                    .for_each(|(_, inner)| collect(inner, rest, found));
                if let (Some(null), true) = (exact, found.len() == before) {
                    collect(null, rest, found);
                }
            }
        },
        Value::Array(items) => items.iter().for_each(|item| collect(item, names, found)),
        _ => {}
    }
}

/// A value as the engine's matchers take it: an object as its JSON text. A document that stands in it as text
/// (a policy, say) has its quotation marks escaped there; rules are written as if it had not, so the text
/// without the escapes is offered, too.
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
        other => EventValue::from(other),
    }
}
