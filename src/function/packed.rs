//! A finding while it waits: its record as text, which takes a fifth of the memory of the tree that it is
//! parsed into. So the calls of a storm can all wait until the most severe of them is known.
//!
//! A storm is mostly one call, made again and again: of records in one log file with the same event name,
//! the first is kept whole, and of the others only the members that differ from it.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};

use cloudhsm_alerts_core::{
    alert::{Alert, Source, accounts::Accounts, resource},
    call_id::CallId,
    finding::Finding,
    fingerprint::Fingerprint,
    json,
    record::{Outcome, Record},
    severity::Severity,
};

/// Event names of one log file whose records are kept as differences.
const MOST_BASES: usize = 64;

/// What calls have in common, as a fingerprint.
pub(super) type Likeness = [u8; 16];

/// One finding, and what its order among others depends on.
pub(super) struct Packed {
    pub(super) call_id: CallId,
    pub(super) severity: Severity,
    pub(super) outcome: Outcome,
    pub(super) time: Option<Timestamp>,
    /// Calls of one caller, event name, account, region and outcome, which match the same rules, are alike.
    pub(super) alike: Likeness,
    /// And if they are about the same resources, they are the same call made again; those that succeeded only
    /// if their parameters are the same, too, because these say what was done.
    pub(super) same: Likeness,
    source: Arc<Source>,
    /// The finding without the content of its record,
    finding: Finding,
    /// which is here.
    record: Text,
}

/// A record.
enum Text {
    /// As JSON.
    Whole(Arc<str>),
    /// As what differs from another one: a list of an object with the members that are new or other, and a list
    /// with the names of those that are missing.
    Changed { base: Arc<str>, changes: Box<str> },
}

/// The records of one log file from which others are kept as differences, by event name.
#[derive(Default)]
pub(super) struct Bases(HashMap<String, (Map<String, Value>, Arc<str>)>);

impl Bases {
    fn pack(&mut self, record: Record) -> Text {
        let whole = |record: &Record| Arc::from(record.value().to_string());
        let Value::Object(fields) = record.value() else {
            return Text::Whole(whole(&record));
        };
        if let Some((base, text)) = self.0.get(record.event_name()) {
            return Text::Changed {
                base: Arc::clone(text),
                changes: changes(base, fields).to_string().into(),
            };
        }
        let text = whole(&record);
        if self.0.len() < MOST_BASES {
            self.0.insert(
                record.event_name().to_owned(),
                (fields.clone(), Arc::clone(&text)),
            );
        }
        Text::Whole(text)
    }
}

fn changes(base: &Map<String, Value>, fields: &Map<String, Value>) -> Value {
    let others: Map<String, Value> = fields
        .iter()
        .filter(|(name, value)| base.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let missing: Vec<Value> = base
        .keys()
        .filter(|name| !fields.contains_key(*name))
        .map(|name| Value::from(name.as_str()))
        .collect();
    Value::Array(vec![Value::Object(others), Value::Array(missing)])
}

impl Text {
    /// What was packed, read again: it was written from values, so it can be.
    fn fields(&self) -> Result<Map<String, Value>, String> {
        let parse = |text: &str| json::parse(text.as_bytes()).map_err(|error| error.to_string());
        let object = |value: Value| match value {
            Value::Object(fields) => Ok(fields),
            other => Err(format!("{} where a record was", json::kind(&other))),
        };
        match self {
            Text::Whole(text) => object(parse(text)?),
            Text::Changed { base, changes } => {
                let mut fields = object(parse(base)?)?;
                let Value::Array(mut parts) = parse(changes)? else {
                    return Err("no list of changes".into());
                };
                if let Some(Value::Array(missing)) = parts.pop() {
                    for name in missing.iter().filter_map(Value::as_str) {
                        fields.shift_remove(name);
                    }
                }
                fields.extend(object(parts.pop().unwrap_or_default())?);
                Ok(fields)
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Text::Whole(text) => text.len(),
            Text::Changed { changes, .. } => changes.len(),
        }
    }
}

impl Packed {
    pub(super) fn pack(mut finding: Finding, source: &Arc<Source>, bases: &mut Bases) -> Packed {
        let (call_id, severity) = (CallId::of(&finding.record), finding.severity());
        let emptied = Record::new(finding.record.index(), Map::new());
        let record = std::mem::replace(&mut finding.record, emptied);
        let (alike, same) = likeness(&record, &finding);
        Packed {
            call_id,
            severity,
            outcome: record.outcome(),
            time: record.event_time(),
            alike,
            same,
            source: Arc::clone(source),
            finding,
            record: bases.pack(record),
        }
    }

    /// The most severe rule that it matches.
    pub(super) fn rule_id(&self) -> &str {
        self.finding
            .rules
            .first()
            .map_or("", |rule| rule.id.as_str())
    }

    /// The alert for it.
    ///
    /// # Panics
    /// Where a fault in this program makes one; the caller keeps it to this call.
    pub(super) fn alert(mut self, accounts: &Accounts) -> Alert {
        let index = self.finding.record.index();
        match self.record.fields() {
            Ok(fields) => self.finding.record = Record::new(index, fields),
            Err(error) => unreachable!("a record cannot be read again: {error}"),
        }
        Alert::new(self.finding, &self.source, accounts)
    }

    /// Bytes that it takes, its place in the queue included.
    pub(super) fn weight(&self) -> usize {
        const FIXED: usize = 768;
        FIXED + self.call_id.key().len() + self.record.len()
    }
}

fn likeness(record: &Record, finding: &Finding) -> (Likeness, Likeness) {
    let mut alike = Fingerprint::default();
    alike.add(record.outcome().as_str());
    for path in [
        "eventSource",
        "eventName",
        "awsRegion",
        "errorCode",
        "userIdentity.type",
        "userIdentity.principalId",
        "userIdentity.arn",
        "userIdentity.userName",
        "userIdentity.invokedBy",
    ] {
        alike.add(record.text(path).unwrap_or_default());
    }
    for path in ["recipientAccountId", "userIdentity.accountId"] {
        alike.add(&record.account_id(path).unwrap_or_default());
    }
    for rule in &finding.rules {
        alike.add(&rule.id);
    }
    let mut same = alike.clone();
    for resource in resource::of(record) {
        same.add(&resource.uid);
    }
    if record.outcome() == Outcome::Success {
        let parameters = record.value().get("requestParameters");
        same.add(&parameters.map_or_else(String::new, Value::to_string));
    }
    (alike.finish(), same.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<u8>().prop_map(Value::from),
            "[a-b]{0,2}".prop_map(Value::from),
            Just(json!({"a": [1]})),
        ];
        prop::collection::vec(("[a-f]", value), 0..6).prop_map(Map::from_iter)
    }

    proptest! {
        #[test]
        fn a_record_kept_as_differences_is_read_as_it_was(records in prop::collection::vec(fields(), 1..5)) {
            let mut bases = Bases::default();
            for fields in records {
                let text = bases.pack(Record::new(0, fields.clone()));
                prop_assert_eq!(text.fields(), Ok(fields));
            }
        }
    }
}
