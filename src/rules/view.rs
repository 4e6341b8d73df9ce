//! How a record looks to the rule engine.
//!
//! rsigma looks a field up as it is written in the rule. Here a field that is not there in that
//! spelling is looked for without regard to case, so that a record in another spelling than documented
//! cannot pass by a rule; everything else is the engine's own view of JSON.

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
        self.json.get_field(path).or_else(|| {
            let names: Vec<&str> = path.split('.').collect();
            let mut found = Vec::new();
            collect(self.record.value(), &names, &mut found);
            match found.len() {
                0 => None,
                1 => found.pop(),
                _ => Some(EventValue::Array(found)),
            }
        })
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

/// Every value at the path, whatever the case of its names; a list on the way stands for each of its
/// items, as in the engine's own look-up.
fn collect<'v>(value: &'v Value, names: &[&str], found: &mut Vec<EventValue<'v>>) {
    let Some((name, rest)) = names.split_first() else {
        found.push(EventValue::from(value));
        return;
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .for_each(|(_, inner)| collect(inner, rest, found)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, names, found)),
        _ => {}
    }
}
