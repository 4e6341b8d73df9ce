//! A pending call: a finding in a compact form, while it waits in the queue.
//!
//! Its record is kept as JSON text, which takes a fifth of the memory of the parsed value. So thousands of calls can
//! wait until the most severe of them is known. Such a burst mostly repeats one call: of the records in one log file
//! with the same event name, the first is kept whole, and of the others only the members that differ from it.

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

/// Most event names of one log file whose records are kept as differences.
const MAX_BASES: usize = 64;

/// A fingerprint that calls share if they belong together.
pub(super) type GroupKey = [u8; 16];

/// One call, with what its order among others depends on.
pub(super) struct PendingCall {
    pub(super) call_id: CallId,
    pub(super) severity: Severity,
    pub(super) outcome: Outcome,
    pub(super) time: Option<Timestamp>,
    /// Shared by calls of one caller, event name, account, region and outcome that match the same rules.
    pub(super) kind: GroupKey,
    /// Shared by calls of one kind about the same resources. Calls that succeeded must have the same parameters,
    /// too, because these decide what was done.
    pub(super) repeat: GroupKey,
    source: Arc<Source>,
    /// The finding, with an empty record.
    finding: Finding,
    /// The content of the record.
    record: RecordText,
}

/// A record.
enum RecordText {
    /// As JSON.
    Whole(Arc<str>),
    /// As the difference from another record: a JSON list of an object with the members that are new or changed, and
    /// a list with the names of those that are missing.
    Changed { base: Arc<str>, changes: Box<str> },
}

/// The records of one log file from which others are kept as differences, by event name.
#[derive(Default)]
pub(super) struct Bases(HashMap<String, (Map<String, Value>, Arc<str>)>);

impl Bases {
    fn pack(&mut self, record: Record) -> RecordText {
        let whole = |record: &Record| Arc::from(record.value().to_string());
        let Value::Object(fields) = record.value() else {
            return RecordText::Whole(whole(&record));
        };
        if let Some((base, text)) = self.0.get(record.event_name()) {
            return RecordText::Changed {
                base: Arc::clone(text),
                changes: changes(base, fields).to_string().into(),
            };
        }
        let text = whole(&record);
        if self.0.len() < MAX_BASES {
            self.0.insert(
                record.event_name().to_owned(),
                (fields.clone(), Arc::clone(&text)),
            );
        }
        RecordText::Whole(text)
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

impl RecordText {
    /// The record's members. The text was written from a value, so it can be parsed.
    fn fields(&self) -> Result<Map<String, Value>, String> {
        let parse = |text: &str| json::parse(text.as_bytes()).map_err(|error| error.to_string());
        let object = |value: Value| match value {
            Value::Object(fields) => Ok(fields),
            other => Err(format!("expected a record, found {}", json::kind(&other))),
        };
        match self {
            RecordText::Whole(text) => object(parse(text)?),
            RecordText::Changed { base, changes } => {
                let mut fields = object(parse(base)?)?;
                let Value::Array(mut parts) = parse(changes)? else {
                    return Err("expected a list of changes".into());
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
            RecordText::Whole(text) => text.len(),
            RecordText::Changed { changes, .. } => changes.len(),
        }
    }
}

impl PendingCall {
    pub(super) fn pack(
        mut finding: Finding,
        source: &Arc<Source>,
        bases: &mut Bases,
    ) -> PendingCall {
        let (call_id, severity) = (CallId::of(&finding.record), finding.severity());
        let emptied = Record::new(finding.record.index(), Map::new());
        let record = std::mem::replace(&mut finding.record, emptied);
        let (kind, repeat) = group_keys(&record, &finding);
        PendingCall {
            call_id,
            severity,
            outcome: record.outcome(),
            time: record.event_time(),
            kind,
            repeat,
            source: Arc::clone(source),
            finding,
            record: bases.pack(record),
        }
    }

    /// The ID of the rule with the highest level that it matches.
    pub(super) fn rule_id(&self) -> &str {
        self.finding
            .rules
            .first()
            .map_or("", |rule| rule.id.as_str())
    }

    /// The alert for it.
    ///
    /// # Panics
    /// On a bug in this program; the caller catches it.
    pub(super) fn alert(mut self, accounts: &Accounts) -> Alert {
        let index = self.finding.record.index();
        match self.record.fields() {
            Ok(fields) => self.finding.record = Record::new(index, fields),
            Err(error) => unreachable!("a record cannot be read again: {error}"),
        }
        Alert::of_call(self.finding, self.call_id, &self.source, accounts)
    }

    /// Memory that it takes, in bytes, its entry in the queue included.
    pub(super) fn size(&self) -> usize {
        const FIXED: usize = 768;
        FIXED + self.call_id.key().len() + self.record.len()
    }
}

fn group_keys(record: &Record, finding: &Finding) -> (GroupKey, GroupKey) {
    let mut kind = Fingerprint::default();
    kind.add(record.outcome().as_str());
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
        kind.add(record.str(path).unwrap_or_default());
    }
    for path in ["recipientAccountId", "userIdentity.accountId"] {
        kind.add(&record.account_id(path).unwrap_or_default());
    }
    for rule in &finding.rules {
        kind.add(&rule.id);
    }
    let mut repeat = kind.clone();
    for resource in resource::of(record) {
        repeat.add(&resource.uid);
    }
    if record.outcome() == Outcome::Success {
        let parameters = record.value().get("requestParameters");
        repeat.add(&parameters.map_or_else(String::new, Value::to_string));
    }
    (kind.finish(), repeat.finish())
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
