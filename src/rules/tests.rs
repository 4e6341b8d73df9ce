use serde_json::{Map, Value, json};

use super::*;
use crate::actor::Actor;
use crate::record::Outcome;

fn record(value: Value) -> Record {
    match value {
        Value::Object(fields) => Record::new(0, fields),
        _ => Record::new(0, Map::new()),
    }
}

fn met(rules: &RuleSet, value: Value) -> Vec<String> {
    rules
        .matching(&record(value))
        .iter()
        .map(|rule| format!("{} {}", rule.level, rule.name))
        .collect()
}

fn call(event_name: &str) -> Value {
    json!({
        "eventVersion": "1.11", "eventSource": "cloudhsm.amazonaws.com", "eventName": event_name,
        "userIdentity": {"type": "IAMUser", "userName": "alice"}, "requestParameters": null,
    })
}

#[test]
fn every_mutating_operation_has_its_rule_and_level() {
    let rules = RuleSet::builtin().unwrap();
    for (event_name, expected) in [
        ("DeleteBackup", vec!["critical hsm-backup-deleted"]),
        ("DeleteHsm", vec!["critical hsm-deleted"]),
        ("DeleteCluster", vec!["critical hsm-cluster-deleted"]),
        (
            "InitializeCluster",
            vec!["critical hsm-cluster-initialized"],
        ),
        ("PutResourcePolicy", vec!["critical hsm-backup-shared"]),
        (
            "CopyBackupToRegion",
            vec!["high hsm-backup-copied-to-region"],
        ),
        ("ModifyCluster", vec!["high hsm-cluster-modified"]),
        (
            "ModifyBackupAttributes",
            vec!["high hsm-backup-attributes-modified"],
        ),
        (
            "DeleteResourcePolicy",
            vec!["high hsm-backup-sharing-stopped"],
        ),
        ("CreateCluster", vec!["medium hsm-cluster-created"]),
        ("CreateHsm", vec!["medium hsm-created"]),
        ("RestoreBackup", vec!["medium hsm-backup-restored"]),
        ("TagResource", vec!["low hsm-resource-tagged"]),
        ("UntagResource", vec!["low hsm-resource-untagged"]),
        ("DescribeClusters", vec![]),
        ("DescribeBackups", vec![]),
        ("ListTags", vec![]),
        ("GetResourcePolicy", vec![]),
        ("AddTagsToResource", vec!["low hsm-classic-tags-added"]),
        (
            "RemoveTagsFromResource",
            vec!["low hsm-classic-tags-removed"],
        ),
        ("CreateHapg", vec!["medium hsm-classic-hapg-created"]),
        (
            "CreateLunaClient",
            vec!["medium hsm-classic-client-created"],
        ),
        ("DeleteHapg", vec!["high hsm-classic-hapg-deleted"]),
        ("DeleteLunaClient", vec!["high hsm-classic-client-deleted"]),
        ("ModifyHapg", vec!["high hsm-classic-hapg-modified"]),
        ("ModifyHsm", vec!["high hsm-classic-modified"]),
        ("ModifyLunaClient", vec!["high hsm-classic-client-modified"]),
        ("DescribeHsm", vec![]),
        ("ListHsms", vec![]),
        ("GetConfig", vec![]),
    ] {
        assert_eq!(met(&rules, call(event_name)), expected, "{event_name}");
        for source in ["cloudhsmv2.amazonaws.com", "CloudHSM.amazonaws.com"] {
            let mut other = call(event_name);
            other["eventSource"] = source.into();
            assert_eq!(met(&rules, other), expected, "{event_name} of {source}");
        }
        for source in [
            "kms.amazonaws.com",
            "xcloudhsm.amazonaws.com",
            "cloudhsm.amazonaws.com.example.com",
        ] {
            let mut other = call(event_name);
            other["eventSource"] = source.into();
            assert_eq!(
                met(&rules, other),
                Vec::<String>::new(),
                "{event_name} of {source}"
            );
        }
    }
}

#[test]
fn parameters_tell_calls_apart() {
    let rules = RuleSet::builtin().unwrap();
    let with = |event_name: &str, name: &str, value: Value| {
        let mut record = call(event_name);
        record[name] = value;
        met(&rules, record)
    };
    let from_backup = vec![
        "high hsm-cluster-created-from-backup",
        "medium hsm-cluster-created",
    ];
    assert_eq!(
        with(
            "CreateCluster",
            "requestParameters",
            json!({"sourceBackupId": "backup-zxc7vbn2mas"})
        ),
        from_backup
    );
    assert_eq!(
        with(
            "CreateCluster",
            "RequestParameters",
            json!({"SourceBackupId": "backup-zxc7vbn2mas"})
        ),
        from_backup
    );
    assert_eq!(
        with(
            "CreateCluster",
            "requestParameters",
            json!({"hsmType": "hsm2m.medium"})
        ),
        ["medium hsm-cluster-created"]
    );

    let arn = "arn:aws:cloudhsm:us-west-2:111122223333:hsm-1234abcd";
    assert_eq!(
        with("DeleteHsm", "requestParameters", json!({"hsmArn": arn})),
        ["critical hsm-classic-deleted"]
    );
    assert_eq!(
        with(
            "DeleteHsm",
            "requestParameters",
            json!({"clusterId": "c", "hsmId": "h"})
        ),
        ["critical hsm-deleted"]
    );
    assert_eq!(
        with(
            "CreateHsm",
            "requestParameters",
            json!({"subnetId": "s", "sshKey": "k", "iamRoleArn": "r"})
        ),
        ["medium hsm-classic-created"]
    );
    assert_eq!(
        with(
            "CreateHsm",
            "requestParameters",
            json!({"clusterId": "c", "availabilityZone": "us-west-2b"})
        ),
        ["medium hsm-created"]
    );

    let purged = vec!["informational hsm-backup-purged"];
    assert_eq!(
        with(
            "DeleteBackup",
            "userIdentity",
            json!({"type": "AWSService", "invokedBy": "cloudhsm.amazonaws.com"})
        ),
        purged
    );
    assert_eq!(
        with(
            "DeleteBackup",
            "userIdentity",
            json!({"type": "AssumedRole", "invokedBy": "cloudhsm.amazonaws.com"})
        ),
        purged
    );
    assert_eq!(
        with(
            "DeleteBackup",
            "userIdentity",
            json!({"type": "AssumedRole", "invokedBy": "cloudformation.amazonaws.com"})
        ),
        ["critical hsm-backup-deleted"]
    );
    assert_eq!(
        with("DeleteBackup", "userIdentity", Value::Null),
        ["critical hsm-backup-deleted"]
    );
}

#[test]
fn a_mention_in_another_field_is_not_a_call() {
    let rules = RuleSet::builtin().unwrap();
    for record in [
        json!({"eventSource": "iam.amazonaws.com", "eventName": "CreatePolicy", "requestParameters": {"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup"}}),
        json!({"eventSource": "cloudtrail.amazonaws.com", "eventName": "LookupEvents", "userAgent": "cloudhsm.amazonaws.com DeleteBackup"}),
        json!({"requestParameters": {"Records": [call("DeleteBackup")]}}),
        json!({}),
    ] {
        assert_eq!(
            met(&rules, record.clone()),
            Vec::<String>::new(),
            "{record}"
        );
    }
}

#[test]
fn odd_types_neither_panic_nor_hide_a_call() {
    let rules = RuleSet::builtin().unwrap();
    for odd in [
        json!(1),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!("x"),
        json!([[{"a": []}]]),
    ] {
        for field in [
            "userIdentity",
            "requestParameters",
            "responseElements",
            "eventTime",
            "awsRegion",
            "errorMessage",
        ] {
            let mut record = call("DeleteBackup");
            record[field] = odd.clone();
            assert_eq!(
                met(&rules, record),
                ["critical hsm-backup-deleted"],
                "{field} = {odd}"
            );
        }
    }
}

#[test]
fn every_builtin_rule_is_complete_and_its_text_has_no_open_placeholder() {
    let rules = RuleSet::builtin().unwrap();
    assert_eq!(rules.len(), BUILTIN.len());
    let nothing = record(json!({}));
    let open = regex::Regex::new(r"\{[A-Za-z][A-Za-z0-9_.+|]*\}").unwrap();
    for rule in rules.rules() {
        let (file, _) = BUILTIN
            .iter()
            .find(|(file, _)| file.ends_with(&format!("/{}.yml", rule.name)))
            .unwrap_or_else(|| panic!("no file is named after rule {}", rule.name));
        assert!(rule.response.speaks_of(Outcome::Success), "{file}");
        assert!(rule.title.len() < 60, "{file}");
        assert!(rule.title.is_ascii(), "{file}");
        let text = rule.response.render(&nothing, &Actor::of(&nothing));
        assert!(!open.is_match(&text), "{file}: {text}");
        assert!(text.is_ascii() && text.len() < 2500, "{file}");
    }
}

const RULE: &str = "
title: T
id: 11111111-2222-4333-8444-555555555555
name: t
level: high
logsource: {product: aws, service: cloudtrail}
detection:
  call: {eventName: X}
  condition: call
";

#[test]
fn what_is_no_rule_is_refused_with_its_file() {
    for (yaml, message) in [
        ("", "rule file r.yml: Document is not a YAML mapping"),
        (
            "action: reset\n",
            "rule file r.yml: holds no rule; expected a Sigma detection rule",
        ),
        (
            "- a\n- b\n",
            "rule file r.yml: Document is not a YAML mapping",
        ),
        (
            &RULE.replace("id: 1", "x: 1"),
            "rule file r.yml: rule \"T\" has no id",
        ),
        (
            &RULE.replace("name: t\n", ""),
            "rule file r.yml: rule \"T\" has no name",
        ),
        (
            &RULE.replace("level: high\n", ""),
            "rule file r.yml: rule \"T\" has no level",
        ),
        (
            &format!("{RULE}---{RULE}"),
            "rule file r.yml: id 11111111-2222-4333-8444-555555555555 is already that of rule t",
        ),
        (
            &format!("{RULE}---{}", RULE.replace("id: 1", "id: 2")),
            "rule file r.yml: name t is already that of rule 11111111-2222-4333-8444-555555555555",
        ),
        (
            &format!("{RULE}response: 7\n"),
            "rule file r.yml: response: expected text or a mapping from outcome to text, found 7",
        ),
    ] {
        assert_eq!(
            RuleSet::from_files([("r.yml", yaml)])
                .unwrap_err()
                .to_string(),
            message
        );
    }
    // What the engine or the YAML parser says of these is its own; the file is named all the same.
    for yaml in [
        RULE.replace("eventName:", "eventName|nonsense:"),
        RULE.replace("condition: call", "condition: other"),
        RULE.replace("condition: call", "condition: call and"),
        RULE.replace("level: high", "level: urgent"),
        RULE.replace("title: T", "title: [T"),
    ] {
        let error = RuleSet::from_files([("r.yml", yaml.as_str())]).unwrap_err();
        assert!(
            error.to_string().starts_with("rule file r.yml: "),
            "{error}"
        );
    }
    assert_eq!(RuleSet::from_files([("r.yml", RULE)]).unwrap().len(), 1);
}
