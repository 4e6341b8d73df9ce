//! Whom a resource policy lets in. The policy's text stays in the record; who may use a backup from now on
//! is the first thing its owner wants to know.
//!
//! Source: IAM User Guide, "AWS JSON policy elements: Principal"; AWS CloudHSM API Reference,
//! PutResourcePolicy.

use serde_json::Value;

use crate::{json, record::Record, text::one_line};

/// At most so many are told.
const MOST: usize = 20;

/// The principals of the policy in a PutResourcePolicy's request, each once, one line each; `*` and
/// exceptions in words.
pub(super) fn principals(record: &Record) -> Vec<String> {
    let Some(text) = record.text("requestParameters.policy") else {
        return Vec::new();
    };
    let Ok(policy) = json::parse(text.as_bytes()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for statement in one_or_many(&policy["Statement"]) {
        if statement["Effect"].as_str() == Some("Deny") {
            continue;
        }
        collect(&statement["Principal"], "", &mut found);
        collect(&statement["NotPrincipal"], "everybody but ", &mut found);
    }
    found.dedup();
    found.truncate(MOST);
    found
}

/// A policy has one of a thing, or a list.
fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        single => std::slice::from_ref(single),
    }
}

fn collect(principal: &Value, before: &str, found: &mut Vec<String>) {
    match principal {
        Value::String(text) if text == "*" => found.push(format!("{before}EVERYBODY (*)")),
        Value::String(text) => found.push(format!("{before}{}", one_line(text, 256))),
        Value::Array(items) => items.iter().for_each(|item| collect(item, before, found)),
        Value::Object(kinds) => kinds
            .values()
            .for_each(|inner| collect(inner, before, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn principals_of_a_policy() {
        let arn = "arn:aws:iam::999988887777:root";
        for (policy, expected) in [
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": arn}}]}),
                vec![arn],
            ),
            (
                json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": ["999988887777", arn]}}}),
                vec!["999988887777", arn],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": "*"}]}),
                vec!["EVERYBODY (*)"],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}}]}),
                vec!["EVERYBODY (*)"],
            ),
            (
                json!({"Statement": [{"Effect": "Deny", "Principal": "*"}, {"Principal": {"Service": "x.amazonaws.com"}}]}),
                vec!["x.amazonaws.com"],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "NotPrincipal": {"AWS": arn}}]}),
                vec!["everybody but arn:aws:iam::999988887777:root"],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "a\nb"}}]}),
                vec!["a\\nb"],
            ),
            (json!([1]), vec![]),
            (json!({}), vec![]),
        ] {
            let request = json!({"policy": policy.to_string()});
            let fields = serde_json::Map::from_iter([("requestParameters".to_owned(), request)]);
            assert_eq!(principals(&Record::new(0, fields)), expected, "{policy}");
        }
        for request in [
            json!({"policy": "no JSON"}),
            json!({"policy": 7}),
            Value::Null,
        ] {
            let fields = serde_json::Map::from_iter([("requestParameters".to_owned(), request)]);
            assert!(principals(&Record::new(0, fields)).is_empty());
        }
    }
}
