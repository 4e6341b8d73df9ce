use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    RuleFile, RuleSet, Suppressed,
    api::Api,
    builtin::{BUILTIN, builtin_files},
    cases, check,
    watched::Watched,
};
use crate::record::Record;

mod builtin;
mod checker;
mod deadlines;
mod exceptions;
mod language;
mod specification;

/// The time of all evaluations: the last second of a day, on which filters that expire with it are in force.
const NOW: Timestamp = Timestamp::constant(1_795_651_199, 0);

fn record(value: Value) -> Record {
    match value {
        Value::Object(fields) => Record::new(0, fields),
        _ => Record::new(0, Map::new()),
    }
}

fn matched(rules: &RuleSet, value: Value) -> Vec<String> {
    rules
        .evaluate(&record(value), NOW)
        .rules
        .iter()
        .map(|rule| format!("{} {}", rule.level, rule.name))
        .collect()
}

fn call(event_name: &str) -> Value {
    json!({
        "eventVersion": "1.11", "eventSource": "cloudhsm.amazonaws.com", "eventName": event_name,
        "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "111122223333"},
        "userAgent": "aws-cli/2.31.4", "recipientAccountId": "111122223333", "requestParameters": {"clusterId": "cluster-lk3jhgf4dsa", "policy": "{\"Statement\":[]}", "neverExpires": true},
    })
}

/// The built-in rules, compiled once for all tests.
fn builtin() -> &'static RuleSet {
    static RULES: LazyLock<RuleSet> =
        LazyLock::new(|| RuleSet::builtin(&Watched::default()).unwrap());
    &RULES
}

fn file(name: &str, text: &str) -> RuleFile {
    RuleFile {
        name: name.into(),
        text: text.into(),
    }
}

const RULE: &str = "title: T
id: 11111111-2222-4333-8444-555555555555
name: t
level: high
logsource: {product: aws, service: cloudtrail}
detection:
  call:
    eventSource: cloudhsm.amazonaws.com
    eventName: DeleteBackup
  condition: call
";

/// The rule of [`RULE`] with another detection.
fn rule_with(detection: &str) -> String {
    let (head, _) = RULE.split_once("detection:").unwrap();
    format!("{head}detection:\n{detection}")
}

/// The errors of loading one file.
fn errors_of(text: &str) -> Vec<String> {
    match RuleSet::of(&[file("r.yml", text)], &Watched::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}
