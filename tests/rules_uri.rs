//! `RULES_URI`: rules in S3 that are added, changed, broken and repaired while the function runs.

use std::time::Duration;

use cloudhsm_alerts::{
    files::{LoadError, Refresh},
    rule_source::RuleSource,
};
use cloudhsm_alerts_core::{record::Record, rules::watched::Watched};
use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{BUCKET, call, gzip, key_named, log_file_of, s3_notification},
    moto::Moto,
    published::Published,
};
use jiff::Timestamp;
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

fn rules_uri(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

/// Headline and rule of each published alert.
fn alerts(aws: &Moto, topic: &str) -> Vec<String> {
    aws.published(topic)
        .iter()
        .map(|message| {
            let rule = message.attribute("rule").1;
            format!("{} {rule}", message.headline())
        })
        .collect()
}

#[test]
fn added_rules_alert_and_filters_suppress() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.put("rules/mine.yml", RULE.into());
    aws.put("rules/more/filter.yaml", FILTER.into());
    aws.put("rules/README.md", b"not a rule".to_vec());
    aws.put(
        &key_named("a"),
        gzip(&log_file_of(&[
            call("TagResource", "1"),
            call("CreateHsm", "2"),
            call("DeleteHsm", "3"),
        ])),
    );
    let uri = rules_uri("rules");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("RULES_URI", &uri)]);
    let reply = lambda.invoke(&s3_notification(&[&key_named("a")]));
    assert_eq!(
        alerts(&aws, &topic),
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
fn invalid_rules_at_the_start_stop_no_alert_and_are_reported_once() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.put("rules/good.yml", RULE.into());
    aws.put(
        "rules/bad.yml",
        RULE.replace("id: 1", "id: 2")
            .replace("name: my-tags", "name: other")
            .replace("eventName:", "eventName|contians:")
            .into(),
    );
    aws.put(
        &key_named("a"),
        gzip(&log_file_of(&[call("TagResource", "1")])),
    );
    aws.put(
        &key_named("b"),
        gzip(&log_file_of(&[call("DeleteHsm", "2")])),
    );
    let uri = rules_uri("rules/");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("RULES_URI", &uri)]);
    let first = lambda.invoke(&s3_notification(&[&key_named("a")]));
    assert_eq!(
        (&first["published"], &first["rule_load_errors"]),
        (&json!(1), &json!(1)),
        "{first}"
    );
    let second = lambda.invoke(&s3_notification(&[&key_named("b")]));
    assert_eq!(second["published"], json!(1), "{second}");

    let published = aws.published(&topic);
    let events: Vec<String> = published.iter().map(Published::headline).collect();
    assert_eq!(
        events,
        [
            "low TagResource success",
            "high RulesNotLoaded failed",
            "critical DeleteHsm success"
        ]
    );
    let notice = &published[1];
    assert_eq!(
        notice.subject,
        "cloudhsm-alerts: rules were NOT loaded, the previous ones stay in use"
    );
    let line = format!(
        "  {uri}bad.yml:9: detection.call.eventName|contians: expected a Sigma modifier, found \"contians\"; did you mean `contains`?\n"
    );
    assert!(
        notice.text("email").contains(&line),
        "{}",
        notice.text("email")
    );
    assert_eq!(
        notice.finding()["finding_info"]["title"],
        "Rules were not loaded"
    );
    assert!(lambda.log().contains("\"error_type\":\"Rules.Broken\""));
}

#[test]
fn unreadable_rules_stop_no_alert() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.put(
        &key_named("a"),
        gzip(&log_file_of(&[call("DeleteHsm", "1")])),
    );
    let lambda = Lambda::start(
        &aws,
        &[
            ("ALERT_TOPIC_ARN", &topic),
            ("RULES_URI", "s3://no-such-bucket/rules"),
        ],
    );
    let reply = lambda.invoke(&s3_notification(&[&key_named("a")]));
    assert_eq!(
        (&reply["published"], &reply["rule_load_errors"]),
        (&json!(1), &json!(1)),
        "{reply}"
    );
    let events: Vec<String> = aws
        .published(&topic)
        .iter()
        .map(Published::headline)
        .collect();
    assert_eq!(
        events,
        ["critical DeleteHsm success", "high RulesNotLoaded failed"]
    );
}

/// The names of the rules in use that match a call.
fn matching_rules(source: &RuleSource, event_name: &str) -> Vec<String> {
    let Value::Object(fields) = call(event_name, "1") else {
        unreachable!("a call is an object")
    };
    source
        .current()
        .evaluate(
            &Record::new(0, fields),
            Timestamp::constant(1_795_564_800, 0),
        )
        .rules
        .iter()
        .map(|rule| rule.name.clone())
        .collect()
}

#[test]
fn rules_are_added_changed_broken_and_repaired_while_in_use() {
    let aws = Moto::start();
    let source = RuleSource::new(
        Some(rules_uri("rules").parse().unwrap()),
        Watched::default(),
        aws.s3(),
    )
    .refreshed_every(Duration::ZERO);
    let refresh = || aws.block_on(source.refresh(Duration::from_secs(60)));

    // An empty prefix: the built-in rules are in use.
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        matching_rules(&source, "TagResource"),
        ["hsm-resource-tagged"]
    );
    // Added, changed.
    aws.put("rules/mine.yml", RULE.into());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        matching_rules(&source, "TagResource"),
        ["my-tags", "hsm-resource-tagged"]
    );
    aws.put("rules/mine.yml", RULE.replace("my-tags", "our-tags").into());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        matching_rules(&source, "TagResource"),
        ["our-tags", "hsm-resource-tagged"]
    );
    // Invalid: the last valid rules stay in use.
    aws.put(
        "rules/mine.yml",
        RULE.replace("condition: call", "condition: coll").into(),
    );
    for _ in 0..2 {
        let expected = LoadError {
            error_type: "Rules.Broken",
            is_temporary: false,
            is_incomplete: false,
            lines: vec![format!(
                "s3://{BUCKET}/rules/mine.yml:10: detection.condition: expected the name of a selection of the detection, found \"coll\"; add the selection, or correct its name"
            )],
        };
        assert_eq!(refresh(), Err(expected));
        assert_eq!(
            matching_rules(&source, "TagResource"),
            ["our-tags", "hsm-resource-tagged"]
        );
    }
    // Repaired, then removed.
    aws.put("rules/mine.yml", RULE.into());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        matching_rules(&source, "TagResource"),
        ["my-tags", "hsm-resource-tagged"]
    );
    aws.delete("rules/mine.yml");
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(
        matching_rules(&source, "TagResource"),
        ["hsm-resource-tagged"]
    );
}
