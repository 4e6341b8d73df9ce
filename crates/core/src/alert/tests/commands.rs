//! Every command that an alert prints is one that the AWS CLI knows, with parameters that it knows.

use std::collections::BTreeSet;

use cloudhsm_alerts_test_support::aws_cli;
use serde_json::{Value, json};

use super::{RULES, alert_of, delete_backup};
use crate::{actor::Actor, alert::email, record::Record};

/// The commands of a text, without their indent.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with("    "))
        .map(str::trim)
        .filter(|line| line.starts_with("aws "))
}

#[test]
fn every_command_is_one_that_the_aws_cli_knows() {
    let mut texts: Vec<String> = Vec::new();
    for rule in RULES.rules() {
        for record in [
            json!({}),
            json!({"errorCode": "AccessDenied"}),
            json!({"errorCode": "x"}),
            json!({"eventTime": "2020-01-01T00:00:00Z"}),
        ] {
            let Value::Object(fields) = record else {
                unreachable!("objects above")
            };
            let record = Record::new(0, fields);
            let now = Some(super::NOW);
            let text = rule.response().render_on(&record, &Actor::of(&record), now);
            texts.push(text);
        }
        if let Some(deadline) = rule.deadline() {
            texts.push(format!("    {}", deadline.command()));
        }
    }
    let issuer =
        |kind: &str, name: &str| json!({"sessionIssuer": {"type": kind, "userName": name}});
    for identity in [
        json!({"type": "IAMUser", "userName": "alice", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
        json!({"type": "IAMUser", "userName": "alice", "accessKeyId": "ASIAIOSFODNN7EXAMPLE"}),
        json!({"type": "AssumedRole", "sessionContext": issuer("Role", "hsm-operator")}),
        json!({"type": "AssumedRole", "sessionContext": issuer("Role", "AWSReservedSSO_Admin_0123456789abcdef")}),
        json!({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "u-1"}}),
        json!({"type": "FederatedUser", "sessionContext": issuer("IAMUser", "broker")}),
        json!({"type": "Root"}),
    ] {
        for error in [None, Some("AccessDenied"), Some("Throttling")] {
            let mut record = delete_backup();
            record["userIdentity"] = identity.clone();
            record["errorCode"] = error.into();
            texts.push(email::body(&alert_of(record)));
        }
    }
    let mut checked = BTreeSet::new();
    let mut errors = Vec::new();
    for command in texts.iter().flat_map(|text| commands(text)) {
        if checked.insert(command)
            && let Err(error) = aws_cli::check(command)
        {
            errors.push(format!("{error}: {command}"));
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(checked.len() > 300, "{}", checked.len());
}
