//! How a record looks to the rule engine.
//!
//! rsigma looks a field up as it is written in the rule. Here a field that is not there in that
//! spelling is looked for without regard to case, so that a record in another spelling than documented
//! cannot pass by a rule; parameters that CloudTrail omitted are null, whatever stands in their place; and
//! an object is its JSON text, so that `contains` sees what stands in it, as in the tools that SigmaHQ's
//! rules were written for. Everything else is the engine's own view of JSON.

use std::borrow::Cow;

use rsigma_eval::event::{Event, EventValue, JsonEvent};
use serde_json::Value;

use super::comparison;
use crate::record::{Record, absence_below, candidates, is_omitted};

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
        if let Some(holds) = comparison::holds(path, |path| self.get_field(path)) {
            return Some(EventValue::Bool(holds));
        }
        // As the engine has it, a member whose name holds the dots itself comes first.
        if let Some(value) = self
            .record
            .value()
            .get(path)
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

/// Every value at the path: as it is spelled, else in any case; a list on the way stands for each of its
/// members, as in the engine's own look-up. What counts as null is for the record to say: of the members of
/// the first object, and of those below.
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
            match (present.peek(), fields.get(*name)) {
                // In the documented spelling it is alone what the rule asks for.
                (Some(first), Some(exact)) if std::ptr::eq(*first, exact) => {
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
        // The engine's own text of a fraction or of a large number is another than the record's.
        Value::Number(number) if !number.is_i64() => EventValue::Array(vec![
            EventValue::from(value),
            EventValue::Str(number.to_string().into()),
        ]),
        other => EventValue::from(other),
    }
}
