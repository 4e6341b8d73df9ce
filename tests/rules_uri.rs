//! `RULES_URI`: rules from S3, changed, broken and mended while the function runs.

use std::time::Duration;

use cloudhsm_alerts::rule_source::{Refresh, RuleLoadError, RuleSource};
use cloudhsm_alerts_core::{record::Record, rules::watched::Watched};
use cloudhsm_alerts_test_support::aws::{Aws, BUCKET, FOLDER, Lambda, call, gzip, records};
use jiff::civil::Date;
use serde_json::{Value, json};

const RULE: &str = "title: Anything done with tags
id: 11111111-2222-4333-8444-555555555555
name: my-tags
level: high
logsource: {product: aws, service: cloudtrail}
detection:
  call:
    eventSource: cloudhsm.amazonaws.com
    eventName: [TagResource, UntagResource]
  condition: call
response: Refresh at {requestParameters.resourceId|the resource}.
";

const FILTER: &str = "title: The deployment role
id: 99999999-2222-4333-8444-555555555555
name: deploys
logsource: {product: aws, service: cloudtrail}
filter:
  rules: [hsm-created]
  selection:
    userIdentity.userName: alice
  condition: not selection
";

fn key(name: &str) -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_{name}.json.gz")
}

fn notification(key: &str) -> Value {
    json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
    }]})
}

fn rules_at(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

fn told(aws: &Aws, topic: &str) -> Vec<String> {
    aws.published(topic)
        .iter()
        .map(|message| {
            let rule = message.attribute("rule").1;
            format!("{} {rule}", message.summary())
        })
        .collect()
}

#[test]
fn added_rules_tell_and_filters_keep_back_and_are_counted() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.put("rules/mine.yml", RULE.into());
    aws.put("rules/more/filter.yaml", FILTER.into());
    aws.put("rules/README.md", b"not a rule".to_vec());
    aws.put(
        &key("a"),
        gzip(&records(&[
            call("TagResource", "1"),
            call("CreateHsm", "2"),
            call("DeleteHsm", "3"),
        ])),
    );
    let uri = rules_at("rules");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("RULES_URI", &uri)]);
    let reply = lambda.invoke(&notification(&key("a")));
    assert_eq!(
        told(&aws, &topic),
        [
            "critical DeleteHsm success hsm-deleted",
            "high TagResource success my-tags"
        ]
    );
    assert_eq!(
        (&reply["matched"], &reply["published"], &reply["suppressed"]),
        (&json!(3), &json!(2), &json!(1)),
        "{reply}"
    );
    assert_eq!(
        reply["suppressed_by"],
        json!({"hsm-created": {"deploys": 1}})
    );
}

#[test]
fn broken_rules_at_the_start_stop_nothing_and_are_told_once() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.put("rules/good.yml", RULE.into());
    aws.put(
        "rules/bad.yml",
        RULE.replace("id: 1", "id: 2")
            .replace("name: my-tags", "name: other")
            .replace("eventName:", "eventName|contians:")
            .into(),
    );
    aws.put(&key("a"), gzip(&records(&[call("TagResource", "1")])));
    aws.put(&key("b"), gzip(&records(&[call("DeleteHsm", "2")])));
    let uri = rules_at("rules/");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("RULES_URI", &uri)]);
    let first = lambda.invoke(&notification(&key("a")));
    assert_eq!(
        (&first["published"], &first["rule_load_errors"]),
        (&json!(1), &json!(1)),
        "{first}"
    );
    let second = lambda.invoke(&notification(&key("b")));
    assert_eq!(second["published"], json!(1), "{second}");

    let published = aws.published(&topic);
    let events: Vec<String> = published
        .iter()
        .map(cloudhsm_alerts_test_support::aws::Published::summary)
        .collect();
    assert_eq!(
        events,
        [
            "low TagResource success",
            "high RulesNotLoaded failed",
            "critical DeleteHsm success"
        ]
    );
    let operator = &published[1];
    assert_eq!(
        operator.subject,
        "cloudhsm-alerts: rules were NOT loaded, the previous ones stay in use"
    );
    let line = format!(
        "  {uri}bad.yml:9: detection.call.eventName|contians: expected a Sigma modifier, found \"contians\"; did you mean `contains`?\n"
    );
    assert!(
        operator.text("email").contains(&line),
        "{}",
        operator.text("email")
    );
    assert!(operator.text("sms").len() <= 140);
    assert_eq!(
        operator.finding()["finding_info"]["title"],
        "Rules were not loaded"
    );
    assert!(lambda.log().contains("\"error_type\":\"Rules.Broken\""));
}

#[test]
fn rules_that_cannot_be_read_stop_nothing() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.put(&key("a"), gzip(&records(&[call("DeleteHsm", "1")])));
    let lambda = Lambda::start(
        &aws,
        &[
            ("ALERT_TOPIC_ARN", &topic),
            ("RULES_URI", "s3://no-such-bucket/rules"),
        ],
    );
    let reply = lambda.invoke(&notification(&key("a")));
    assert_eq!(
        (&reply["published"], &reply["rule_load_errors"]),
        (&json!(1), &json!(1)),
        "{reply}"
    );
    let events: Vec<String> = aws
        .published(&topic)
        .iter()
        .map(cloudhsm_alerts_test_support::aws::Published::summary)
        .collect();
    assert_eq!(
        events,
        ["critical DeleteHsm success", "high RulesNotLoaded failed"]
    );
}

/// What the rules in use say of a call, by rule.
fn met(source: &RuleSource, event_name: &str) -> Vec<String> {
    let Value::Object(fields) = call(event_name, "1") else {
        unreachable!("a call is an object")
    };
    source
        .current()
        .evaluate(&Record::new(0, fields), Date::constant(2026, 11, 25))
        .rules
        .iter()
        .map(|rule| rule.name.clone())
        .collect()
}

#[test]
fn a_rule_set_is_changed_broken_and_mended_while_it_is_in_use() {
    let aws = Aws::start();
    let source = RuleSource::new(
        Some(rules_at("rules").parse().unwrap()),
        Watched::default(),
        aws.s3(),
    )
    .refreshed_every(Duration::ZERO);
    let refresh = || aws.block_on(source.refresh());

    // Nothing there yet: the built-in rules, and no trouble.
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(met(&source, "TagResource"), ["hsm-resource-tagged"]);
    // Added, changed.
    aws.put("rules/mine.yml", RULE.into());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        met(&source, "TagResource"),
        ["my-tags", "hsm-resource-tagged"]
    );
    aws.put("rules/mine.yml", RULE.replace("my-tags", "our-tags").into());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        met(&source, "TagResource"),
        ["our-tags", "hsm-resource-tagged"]
    );
    // Broken: the last good set stays, for as long as it is broken.
    aws.put(
        "rules/mine.yml",
        RULE.replace("condition: call", "condition: coll").into(),
    );
    for _ in 0..2 {
        let Err(RuleLoadError::Broken(problems)) = refresh() else {
            panic!("broken rules are trouble")
        };
        assert_eq!(
            problems[0].to_string(),
            format!(
                "s3://{BUCKET}/rules/mine.yml:10: detection.condition: names \"coll\", which the detection does not have; expected the names that stand beside the condition"
            )
        );
        assert_eq!(
            met(&source, "TagResource"),
            ["our-tags", "hsm-resource-tagged"]
        );
    }
    // Mended, and gone again.
    aws.put("rules/mine.yml", RULE.into());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        met(&source, "TagResource"),
        ["my-tags", "hsm-resource-tagged"]
    );
    aws.delete("rules/mine.yml");
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(met(&source, "TagResource"), ["hsm-resource-tagged"]);
}
