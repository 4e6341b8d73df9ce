//! Which deadlines the built-in rules and added rules open and close.

use serde_json::{Value, json};

use super::*;
use crate::rules::{RuleFile, watched::Watched};

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

fn builtin() -> RuleSet {
    RuleSet::builtin(&Watched::parse(&format!("key={KEY}")).unwrap()).unwrap()
}

fn finding(record: &Value, rules: &RuleSet) -> Option<Finding> {
    let fields = record.as_object().unwrap().clone();
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    Finding::of(Record::new(0, fields), rules, now)
}

fn opened(record: &Value, rules: &RuleSet) -> Vec<Deadline> {
    finding(record, rules).map_or_else(Vec::new, |finding| opened_by(&finding))
}

fn closed(record: &Value, rules: &RuleSet) -> Vec<Closing> {
    finding(record, rules).map_or_else(Vec::new, |finding| closed_by(&finding, rules))
}

fn call(event_name: &str, parameters: Value) -> Value {
    json!({
        "eventSource": if event_name.contains("Key") { "kms.amazonaws.com" } else { "cloudhsm.amazonaws.com" },
        "eventName": event_name, "eventID": "e-1", "eventTime": "2026-11-23T03:41:07Z", "awsRegion": "us-west-2",
        "recipientAccountId": "111122223333", "userIdentity": {"type": "IAMUser", "userName": "alice"},
        "requestParameters": parameters,
    })
}

fn key_of(rule: &str, resource: &str) -> DeadlineKey {
    DeadlineKey {
        rule: rule.to_owned(),
        account: "111122223333".to_owned(),
        region: "us-west-2".to_owned(),
        resource: resource.to_owned(),
    }
}

const BACKUP_DELETED: &str = "d11ee267-6b43-42f3-8655-72ad90d1e71d";
const TYPE_CHANGED: &str = "958d4640-fc3d-4442-9a05-ff6f9f3e1c34";
const KEY_SCHEDULED: &str = "6530965d-3202-43d9-a5fa-dbd15124a629";

#[test]
fn a_deleted_backup_has_a_deadline_and_its_restore_closes_it() {
    let rules = builtin();
    let mut deleted = call("DeleteBackup", json!({"backupId": "backup-a"}));
    deleted["responseElements"] =
        json!({"backup": {"backupId": "backup-a", "clusterId": "cluster-a"}});
    let key = key_of(BACKUP_DELETED, "backup-a");
    assert_eq!(
        opened(&deleted, &rules),
        [Deadline {
            key: key.clone(),
            rule_name: "hsm-backup-deleted".to_owned(),
            opened: "2026-11-23T03:41:07Z".parse().unwrap(),
            due: "2026-11-30T03:41:07Z".parse().unwrap(),
            event_id: "e-1".to_owned(),
            event_name: "DeleteBackup".to_owned(),
            actor: "alice".to_owned(),
            subject: "Backup backup-a".to_owned(),
            cluster: Some("cluster-a".to_owned()),
            undone: "restored".to_owned(),
            command: "aws cloudhsmv2 restore-backup --region us-west-2 --backup-id backup-a"
                .to_owned(),
        }]
    );
    assert_eq!(closed(&deleted, &rules), []);
    let restored = call("RestoreBackup", json!({"backupId": "backup-a"}));
    assert_eq!(
        closed(&restored, &rules),
        [Closing {
            key: key.clone(),
            time: "2026-11-23T03:41:07Z".parse().unwrap(),
            event_id: "e-1".to_owned(),
            event_name: "RestoreBackup".to_owned(),
            actor: "alice".to_owned(),
        }]
    );
    assert_eq!(opened(&restored, &rules), []);
    assert_eq!(
        key.text(),
        format!("{BACKUP_DELETED}/111122223333/us-west-2/backup-a")
    );
}

#[test]
fn each_call_opens_and_closes_the_right_deadline() {
    let rules = builtin();
    let arn = format!("arn:aws:kms:us-west-2:111122223333:key/{KEY}");
    let modify = |state: &str| {
        let mut record = call(
            "ModifyCluster",
            json!({"clusterId": "cluster-a", "hsmType": "hsm1.medium"}),
        );
        record["responseElements"] = json!({"cluster": {"state": state}});
        record
    };
    let key = Some(key_of(KEY_SCHEDULED, KEY));
    let cluster = Some(key_of(TYPE_CHANGED, "cluster-a"));
    for (record, opens, closes) in [
        (modify("MODIFY_IN_PROGRESS"), cluster.clone(), None),
        (modify("ROLLBACK_IN_PROGRESS"), None, cluster.clone()),
        (
            call("DeleteCluster", json!({"clusterId": "cluster-a"})),
            None,
            cluster,
        ),
        (
            call(
                "ModifyCluster",
                json!({"clusterId": "cluster-a", "backupRetentionPolicy": {"type": "DAYS", "value": "90"}}),
            ),
            None,
            None,
        ),
        // Both forms of a key are one.
        (
            call("ScheduleKeyDeletion", json!({"keyId": KEY})),
            key.clone(),
            None,
        ),
        (
            call("ScheduleKeyDeletion", json!({"keyId": arn})),
            key.clone(),
            None,
        ),
        (
            call("CancelKeyDeletion", json!({"keyId": KEY})),
            None,
            key.clone(),
        ),
        (call("CancelKeyDeletion", json!({"keyId": arn})), None, key),
        (
            call("CancelKeyDeletion", json!({"keyId": "another"})),
            None,
            None,
        ),
    ] {
        let opened: Vec<_> = opened(&record, &rules)
            .into_iter()
            .map(|it| it.key)
            .collect();
        let closed: Vec<_> = closed(&record, &rules)
            .into_iter()
            .map(|it| it.key)
            .collect();
        assert_eq!(
            (opened, closed),
            (
                opens.into_iter().collect::<Vec<_>>(),
                closes.into_iter().collect::<Vec<_>>()
            ),
            "{record}"
        );
    }
}

#[test]
fn the_account_of_an_arn_is_that_of_the_resource() {
    let rules = builtin();
    let arn = format!("arn:aws:kms:us-west-2:444455556666:key/{KEY}");
    let record = call("CancelKeyDeletion", json!({"keyId": arn}));
    let closed = closed(&record, &rules);
    assert_eq!(closed[0].key.account, "444455556666");
}

#[test]
fn a_call_that_did_not_succeed_or_names_no_time_or_resource_does_nothing() {
    let rules = builtin();
    let long = "b".repeat(129);
    for event_name in ["DeleteBackup", "RestoreBackup"] {
        let good = call(event_name, json!({"backupId": "backup-a"}));
        let does_something = |record: &Value| {
            !opened(record, &rules).is_empty() || !closed(record, &rules).is_empty()
        };
        assert!(does_something(&good));
        for (member, value) in [
            ("errorCode", json!("AccessDenied")),
            ("errorCode", json!("CloudHsmInternalFailureException")),
            ("eventTime", json!("yesterday")),
            ("requestParameters", Value::Null),
            ("requestParameters", json!({"backupId": long})),
            (
                "requestParameters",
                json!({"backupId": "backup-a\nbackup-b"}),
            ),
        ] {
            let mut record = good.clone();
            record[member] = value;
            assert!(!does_something(&record), "{record}");
        }
    }
    let mut purge = call("DeleteBackup", json!({"backupId": "backup-a"}));
    purge["userIdentity"] = json!({"type": "AWSService", "invokedBy": "cloudhsm.amazonaws.com"});
    assert_eq!(opened(&purge, &rules), []);
}

const FILTER: &str = "title: Alice works on backups
id: 99999999-2222-4333-8444-555555555555
logsource: {product: aws, service: cloudtrail}
filter:
  rules: [hsm-backup-deleted, hsm-backup-restored]
  alice: {userIdentity.userName: alice}
  condition: not alice
";

fn with(texts: &[&str]) -> RuleSet {
    let files: Vec<RuleFile> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| RuleFile {
            name: format!("{index}.yml"),
            text: (*text).to_owned(),
        })
        .collect();
    RuleSet::with(&files, &Watched::default()).unwrap()
}

#[test]
fn a_suppressed_deletion_opens_nothing_and_a_suppressed_restore_closes() {
    let rules = with(&[FILTER]);
    let deleted = call("DeleteBackup", json!({"backupId": "backup-a"}));
    let restored = call("RestoreBackup", json!({"backupId": "backup-a"}));
    assert_eq!(opened(&deleted, &rules), []);
    assert!(finding(&restored, &rules).unwrap().is_suppressed());
    let keys: Vec<_> = closed(&restored, &rules)
        .into_iter()
        .map(|it| it.key)
        .collect();
    assert_eq!(keys, [key_of(BACKUP_DELETED, "backup-a")]);
}

/// A rule with a deadline that a caller's text could get into.
const RULE: &str = "title: T
id: 11111111-2222-4333-8444-555555555555
name: t
level: high
logsource: {product: aws, service: cloudtrail}
detection:
  call: {eventSource: cloudhsm.amazonaws.com, eventName: TagResource}
  condition: call
deadline:
  resource: '{resourceId}'
  subject: Tag {value} of {resourceId}
  until: '{eventTime+12h}'
  undone: removed
  command: aws cloudhsmv2 untag-resource --resource-id {resourceId} --tag-key-list {key|TAG_KEY}
  closed_by: {hsm-resource-untagged: '{resourceId}'}
";

#[test]
fn a_text_of_the_caller_gets_into_no_command_and_makes_no_link() {
    let rules = with(&[RULE]);
    let record = call(
        "TagResource",
        json!({"resourceId": "cluster-a", "tagList": [{"key": "x; rm -rf ~", "value": "www.evil.example"}]}),
    );
    let opened = opened(&record, &rules);
    assert_eq!(
        (opened[0].subject.as_str(), opened[0].command.as_str()),
        (
            "Tag www[.]evil[.]example of cluster-a",
            "aws cloudhsmv2 untag-resource --resource-id cluster-a --tag-key-list TAG_KEY"
        )
    );
    let untagged = call("UntagResource", json!({"resourceId": "cluster-a"}));
    let keys: Vec<_> = closed(&untagged, &rules)
        .into_iter()
        .map(|it| it.key)
        .collect();
    assert_eq!(
        keys,
        [key_of("11111111-2222-4333-8444-555555555555", "cluster-a")]
    );
}

/// A closing rule keeps its deadline when a rule with another name replaces it.
#[test]
fn a_replaced_rule_closes_under_any_name() {
    let replaced = RULE
        .split("deadline:")
        .next()
        .unwrap()
        .replace(
            "11111111-2222-4333-8444-555555555555",
            "227421ad-3cdc-4fa0-b6fb-99945497ec82",
        )
        .replace("TagResource", "RestoreBackup");
    let restored = call("RestoreBackup", json!({"backupId": "backup-a"}));
    let off = "id: 227421ad-3cdc-4fa0-b6fb-99945497ec82\nstatus: unsupported\n";
    for (text, expected) in [
        (replaced.as_str(), vec![key_of(BACKUP_DELETED, "backup-a")]),
        (off, vec![]),
    ] {
        let rules = with(&[text]);
        let keys: Vec<_> = closed(&restored, &rules)
            .into_iter()
            .map(|it| it.key)
            .collect();
        assert_eq!(keys, expected, "{text}");
    }
}
