mod commands;
mod incident;

use std::sync::LazyLock;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{accounts::Accounts, message::Message, *};
use crate::{
    finding::Finding,
    object::ObjectRef,
    record::Record,
    rules::{RuleSet, watched::Watched},
    severity::Severity,
};

const NOW: jiff::Timestamp = jiff::Timestamp::constant(1_795_564_800, 0);

pub(super) fn alert_of(record: Value) -> Alert {
    let Value::Object(fields) = record else {
        unreachable!("the tests give objects")
    };
    let source = Source::Object(ObjectRef {
        bucket: "trail".into(),
        key: "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/x.json.gz".into(),
        version_id: None,
    });
    let accounts = Accounts::parse("111122223333=prod").unwrap();
    let finding =
        Finding::of(Record::new(3, fields), &RULES, NOW).expect("the record matches a rule");
    Alert::new(finding, &source, &accounts)
}

pub(super) fn delete_backup() -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLE:alice",
            "arn": "arn:aws:sts::111122223333:assumed-role/AdminRole/alice",
            "accountId": "111122223333",
            "accessKeyId": "ASIAEXAMPLE",
            "sessionContext": {
                "attributes": {"mfaAuthenticated": "true", "creationDate": "2026-11-23T03:00:00Z"},
                "sessionIssuer": {"type": "Role", "arn": "arn:aws:iam::111122223333:role/AdminRole", "accountId": "111122223333", "userName": "AdminRole"},
            },
        },
        "eventTime": "2026-11-23T03:41:07Z",
        "eventSource": "cloudhsm.amazonaws.com",
        "eventName": "DeleteBackup",
        "awsRegion": "us-west-2",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2.31.0",
        "requestParameters": {"backupId": "backup-zxc7vbn2mas"},
        "responseElements": {"backup": {"backupId": "backup-zxc7vbn2mas", "clusterId": "cluster-lk3jhgf4dsa"}},
        "requestID": "r-1",
        "eventID": "e-1",
        "recipientAccountId": "111122223333",
    })
}

fn message_about(alerts: &[Alert]) -> Message {
    compose::message(alerts, compose::Age::Recent).expect("there are alerts")
}

fn texts(alert: &Alert) -> (Message, Value) {
    let message = message_about(std::slice::from_ref(alert));
    let body = serde_json::from_str(&message.body).unwrap();
    (message, body)
}

#[test]
fn the_email_of_a_deleted_backup() {
    assert_snapshot!(email::body(&alert_of(delete_backup())), @r#"
    CRITICAL: CloudHSM backup deleted

    WHAT HAPPENED
      Role AdminRole (session alice) called DeleteBackup on backup backup-zxc7vbn2mas in account prod (111122223333), us-west-2, on 2026-11-23 at 03:41:07 UTC. The call SUCCEEDED.

    WHAT TO DO NOW
      The commands need credentials of account prod (111122223333).
      Backup backup-zxc7vbn2mas of cluster-lk3jhgf4dsa is now PENDING_DELETION.
      It can be restored until 2026-11-30 03:41 UTC (7 days). After that, this backup is gone for good.
      1. Restore it now, unless you know that the deletion was planned:
          aws cloudhsmv2 restore-backup --region us-west-2 --backup-id backup-zxc7vbn2mas
      Stop the caller in account prod (111122223333), unless you know that the call was planned:
          aws iam put-role-policy --role-name AdminRole --policy-name AWSRevokeOlderSessions --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"'"$(date -u +%Y-%m-%dT%H:%M:%SZ)"'"}}}]}'
      It ends every session of the role that is open now, also those of others and your own. Then see who may open a new one:
          aws iam get-role --role-name AdminRole --query Role.AssumeRolePolicyDocument
      2. Keep the retention policy from purging it:
          aws cloudhsmv2 modify-backup-attributes --region us-west-2 --backup-id backup-zxc7vbn2mas --never-expires
      3. Check that BackupState is READY and NeverExpires is true:
          aws cloudhsmv2 describe-backups --region us-west-2 --filters backupIds=backup-zxc7vbn2mas
      4. Look for other backups deleted within the last 7 days:
          aws cloudhsmv2 describe-backups --region us-west-2 --filters states=PENDING_DELETION
      To see what else was done with the same credentials in us-west-2 within 90 days (then in other regions):
          aws cloudtrail lookup-events --region us-west-2 --lookup-attributes AttributeKey=AccessKeyId,AttributeValue=ASIAEXAMPLE

    WHO
      Identity          role AdminRole (session alice)
      Identity type     AssumedRole
      ARN               arn:aws:sts::111122223333:assumed-role/AdminRole/alice
      Principal         AROAEXAMPLE:alice
      Access key        ASIAEXAMPLE
      Session since     2026-11-23 03:00 UTC
      MFA               yes, the session was opened with multi-factor authentication
      Client            AWS CLI (as its user agent claims)
      User agent        "aws-cli/2.31.0"
      Source IP         203.0.113.7

    WHERE AND WHEN
      Account           prod (111122223333)
      Region            us-west-2
      Time              2026-11-23 03:41:07 UTC
      Service           cloudhsm.amazonaws.com
      Backup            backup-zxc7vbn2mas
      Cluster           cluster-lk3jhgf4dsa

    MATCHED RULES
      critical          hsm-backup-deleted: CloudHSM backup deleted

    EVIDENCE
      Event ID          e-1
      Recorded in       s3://trail/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/x.json.gz, Records[3]
      In the console    https://us-west-2.console.aws.amazon.com/cloudtrailv2/home?region=us-west-2#/events/e-1
      To download the log file:
          aws s3api get-object --bucket trail --key AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/x.json.gz x.json.gz
      To see which rules the record matches, and why:
          cloudhsm-alerts explain s3://trail/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/x.json.gz --event-id e-1
    "#);
}

/// A caller can make CloudTrail omit the parameters, for example by padding a policy with white space.
#[test]
fn an_alert_states_that_cloudtrail_omitted_the_parameters_and_why() {
    let of = |parameters: Value| {
        alert_of(json!({
            "eventSource": "iam.amazonaws.com", "eventName": "PutRolePolicy", "awsRegion": "us-east-1",
            "userIdentity": {"type": "IAMUser", "userName": "mallory", "accountId": "111122223333"},
            "requestParameters": parameters, "responseElements": null,
            "eventID": "e", "recipientAccountId": "111122223333",
        }))
    };
    let large =
        json!({"reason": "requestParameters too large", "omitted": true, "originalSize": 108417});
    for (parameters, expected) in [
        (Value::Null, None),
        (
            large,
            Some(
                "CloudTrail omitted the request parameters: \"requestParameters too large\", original size 108417 bytes",
            ),
        ),
        (
            json!("HIDDEN_DUE_TO_SECURITY_REASONS"),
            Some(
                "CloudTrail omitted the request parameters: they are replaced by \"HIDDEN_DUE_TO_SECURITY_REASONS\"",
            ),
        ),
    ] {
        let alert = of(parameters.clone());
        assert_eq!(alert.rules[0].name, "alert-role-permissions-modified");
        assert_eq!(alert.severity, Severity::High);
        let (_, body) = texts(&alert);
        let email = body["email"].as_str().unwrap();
        let finding: Value = serde_json::from_str(body["default"].as_str().unwrap()).unwrap();
        assert_eq!(
            finding["unmapped"].get("parameters_omitted"),
            expected.map(Value::from).as_ref()
        );
        let sentence = expected.map_or_else(String::new, |text| format!(" {text}."));
        assert!(
            email.contains(&format!("The call SUCCEEDED.{sentence}\n")),
            "{email}"
        );
        assert!(
            email.contains("(CloudTrail omitted the request parameters; this rule matches because it cannot be ruled out)"),
            "{email}"
        );
        assert_eq!(
            finding["unmapped"]["rules_assumed"],
            json!(["alert-role-permissions-modified"])
        );
    }
}

#[test]
fn subjects_sms_and_attributes() {
    let denied = {
        let mut record = delete_backup();
        record["errorCode"] = "AccessDenied".into();
        record["errorMessage"] = "no".into();
        record["responseElements"] = Value::Null;
        record
    };
    let failed = {
        let mut record = delete_backup();
        record["errorCode"] = "CloudHsmInvalidRequestException".into();
        record
    };
    let bare = json!({"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup"});
    let attributes = |alert: &Alert| {
        message_about(std::slice::from_ref(alert))
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={}", value.value()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (record, subject, sms, sentence, attribute_list) in [
        (
            delete_backup(),
            "CRITICAL: DeleteBackup SUCCEEDED in prod us-west-2, backup-zxc7vbn2mas",
            "CRITICAL DeleteBackup SUCCEEDED: backup-zxc7vbn2mas, prod us-west-2, 23 Nov 03:41Z, by AdminRole/alice. Restore it by 2026-11-30 03:41 UTC",
            "Role AdminRole (session alice) called DeleteBackup on backup backup-zxc7vbn2mas in account prod (111122223333), us-west-2, on 2026-11-23 at 03:41:07 UTC. The call SUCCEEDED.",
            "severity=critical event_name=DeleteBackup outcome=success account=111122223333 region=us-west-2 actor_type=AssumedRole cluster_id=cluster-lk3jhgf4dsa rule=hsm-backup-deleted",
        ),
        (
            denied,
            "CRITICAL: DeleteBackup was DENIED in prod us-west-2, backup-zxc7vbn2mas",
            "CRITICAL DeleteBackup DENIED: backup-zxc7vbn2mas, prod us-west-2, 23 Nov 03:41Z, by AdminRole/alice. Nothing changed",
            "Role AdminRole (session alice) called DeleteBackup on backup backup-zxc7vbn2mas in account prod (111122223333), us-west-2, on 2026-11-23 at 03:41:07 UTC. The call was DENIED with AccessDenied: \"no\".",
            "severity=critical event_name=DeleteBackup outcome=denied account=111122223333 region=us-west-2 actor_type=AssumedRole rule=hsm-backup-deleted",
        ),
        (
            failed,
            "MEDIUM: DeleteBackup FAILED in prod us-west-2, backup-zxc7vbn2mas",
            "MEDIUM DeleteBackup FAILED: backup-zxc7vbn2mas, prod us-west-2, 23 Nov 03:41Z, by AdminRole/alice",
            "Role AdminRole (session alice) called DeleteBackup on backup backup-zxc7vbn2mas in account prod (111122223333), us-west-2, on 2026-11-23 at 03:41:07 UTC. The call FAILED with CloudHsmInvalidRequestException.",
            "severity=medium event_name=DeleteBackup outcome=failed account=111122223333 region=us-west-2 actor_type=AssumedRole cluster_id=cluster-lk3jhgf4dsa rule=hsm-backup-deleted",
        ),
        (
            bare,
            "CRITICAL: DeleteBackup SUCCEEDED in unknown account unknown region",
            "CRITICAL DeleteBackup SUCCEEDED, unknown account unknown region. Restore it by 7 days after the call",
            "An identity (not named in the record) called DeleteBackup. The call SUCCEEDED.",
            "severity=critical event_name=DeleteBackup outcome=success account=unknown region=unknown actor_type=Unknown rule=hsm-backup-deleted",
        ),
    ] {
        let alert = alert_of(record);
        assert_eq!(email::subject(&alert), subject);
        assert_eq!(sms::body(&alert), sms);
        assert_eq!(alert.sentence(), sentence);
        assert_eq!(attributes(&alert), attribute_list);
    }
}

#[test]
fn a_denied_call_is_not_described_as_done() {
    let mut record = delete_backup();
    record["errorCode"] = "AccessDenied".into();
    let alert = alert_of(record);
    assert!(email::body(&alert).starts_with("CRITICAL: DeleteBackup was DENIED\n"));
    let finding = ocsf::finding(&alert, true);
    assert_eq!(finding["finding_info"]["title"], "DeleteBackup was DENIED");
    assert_eq!(
        finding["evidences"][0]["api"]["response"]["error"],
        "AccessDenied"
    );
    assert_eq!(finding["unmapped"]["outcome"], "denied");
}

#[test]
fn the_finding_of_a_deleted_backup() {
    let alert = alert_of(delete_backup());
    let mut finding = ocsf::finding(&alert, true);
    // Long values, and values that other tests check, are compared separately.
    let raw = finding["raw_data"].take();
    assert_eq!(
        serde_json::from_str::<Value>(raw.as_str().unwrap()).unwrap(),
        delete_backup()
    );
    assert_eq!(
        finding["remediation"]["desc"].take(),
        alert.instructions(4096).as_str()
    );
    finding["metadata"]["product"]["version"].take();
    let rule = &alert.rules[0];
    let sentence = alert.sentence();
    assert_eq!(
        finding,
        json!({
            "class_uid": 2004, "class_name": "Detection Finding",
            "category_uid": 2, "category_name": "Findings",
            "activity_id": 1, "activity_name": "Create",
            "type_uid": 200401, "type_name": "Detection Finding: Create",
            "severity_id": 5, "severity": "Critical", "status_id": 1, "status": "New", "is_alert": true,
            "status_detail": "The call SUCCEEDED",
            "time": 1_795_405_267_000_i64,
            "message": sentence,
            "metadata": {
                "version": "1.5.0",
                "product": {"name": "cloudhsm-alerts", "vendor_name": "cloudhsm-alerts", "version": null},
                "uid": "e-1", "profiles": ["cloud"], "log_name": "AWS CloudTrail", "log_provider": "AWS",
                "original_time": "2026-11-23T03:41:07Z",
            },
            "finding_info": {
                "uid": "e-1", "title": "CloudHSM backup deleted", "desc": sentence,
                "analytic": {"uid": rule.id, "name": "hsm-backup-deleted", "desc": rule.description().trim(), "type_id": 1, "type": "Rule"},
                "attacks": [
                    {"technique": {"uid": "T1485", "name": "Data Destruction"}, "version": "19"},
                    {"technique": {"uid": "T1490", "name": "Inhibit System Recovery"}, "version": "19"},
                ],
                "data_sources": ["AWS CloudTrail"],
                "created_time": 1_795_405_267_000_i64,
            },
            "raw_data": null,
            "raw_data_size": delete_backup().to_string().len(),
            "cloud": {"provider": "AWS", "account": {"uid": "111122223333", "name": "prod", "type_id": 10, "type": "AWS Account"}, "region": "us-west-2"},
            "resources": [
                {"uid": "backup-zxc7vbn2mas", "type": "AWS::CloudHSM::Backup", "region": "us-west-2"},
                {"uid": "cluster-lk3jhgf4dsa", "type": "AWS::CloudHSM::Cluster", "region": "us-west-2"},
            ],
            "evidences": [{
                "api": {"operation": "DeleteBackup", "service": {"name": "cloudhsm.amazonaws.com"}, "request": {"uid": "r-1"}},
                "actor": {
                    "user": {
                        "name": "AdminRole/alice", "uid": "arn:aws:sts::111122223333:assumed-role/AdminRole/alice", "uid_alt": "AROAEXAMPLE:alice",
                        "type_id": 99, "type": "AssumedRole", "credential_uid": "ASIAEXAMPLE",
                        "account": {"uid": "111122223333", "name": "prod", "type_id": 10, "type": "AWS Account"},
                    },
                    "session": {
                        "uid": "alice", "issuer": "arn:aws:iam::111122223333:role/AdminRole", "created_time": 1_795_402_800_000_i64,
                        "is_mfa": true, "credential_uid": "ASIAEXAMPLE",
                    },
                },
                "src_endpoint": {"ip": "203.0.113.7"},
                "http_request": {"user_agent": "aws-cli/2.31.0"},
            }],
            "remediation": {"desc": null},
            "unmapped": {
                "object": "s3://trail/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/x.json.gz",
                "record_index": 3,
                "outcome": "success",
            },
        })
    );
}

#[test]
fn secrets_are_in_no_part_of_a_message() {
    let mut record = delete_backup();
    record["eventName"] = "InitializeCluster".into();
    record["requestParameters"] = json!({"clusterId": "cluster-lk3jhgf4dsa", "signedCert": "S3CRET", "trustAnchor": "S3CRET"});
    record["responseElements"] = json!({"cluster": {"preCoPassword": "S3CRET"}});
    record["errorCode"] = "CloudHsmInvalidRequestException".into();
    record["errorMessage"] =
        "1 validation error detected: Value 'S3CRET' at 'trustAnchor' failed to satisfy constraint"
            .into();
    let (message, _) = texts(&alert_of(record));
    assert!(!format!("{message:?}").contains("S3CRET"), "{message:?}");
}

#[test]
fn only_the_principals_of_a_policy_are_published() {
    let mut record = delete_backup();
    record["eventName"] = "PutResourcePolicy".into();
    let policy = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "999988887777"},
        "Condition": {"StringEquals": {"aws:PrincipalOrgID": "S3CRET"}}}]});
    record["requestParameters"] = json!({"resourceArn": "arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-a", "policy": policy.to_string()});
    let alert = alert_of(record);
    assert!(email::body(&alert).contains("\n  Shared with       999988887777\n"));
    assert_eq!(
        ocsf::finding(&alert, true)["unmapped"]["shared_with"],
        json!(["999988887777"])
    );
    assert!(!format!("{:?}", message_about(std::slice::from_ref(&alert))).contains("S3CRET"));
}

#[test]
fn untrusted_text_stays_on_its_line() {
    let evil = "x\n\nWHAT TO DO NOW\n  Nothing, all is well. https://evil.example/\u{202e}\u{0}\r\nSubject: y";
    let mut record = delete_backup();
    for path in [
        "userAgent",
        "errorMessage",
        "errorCode",
        "eventID",
        "awsRegion",
        "sourceIPAddress",
    ] {
        record[path] = evil.into();
    }
    record["userIdentity"]["arn"] = format!("arn:aws:sts::1:assumed-role/{evil}/{evil}").into();
    record["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"] = evil.into();
    record["requestParameters"]["backupId"] = evil.into();
    let alert = alert_of(record);
    let mail = email::body(&alert);
    let headings: Vec<&str> = mail
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .collect();
    assert_eq!(
        headings,
        [
            "MEDIUM: DeleteBackup FAILED",
            "WHAT HAPPENED",
            "WHAT TO DO NOW",
            "WHO",
            "WHERE AND WHEN",
            "MATCHED RULES, for a call that FAILED",
            "EVIDENCE",
        ]
    );
    assert!(!mail.contains("https://evil"), "{mail}");
    assert!(
        mail.lines().all(|line| !line.starts_with("  Nothing")),
        "{mail}"
    );
    assert!(
        mail.chars().all(|c| c == '\n' || !c.is_control()),
        "{mail:?}"
    );
    // Commands are pasted into a shell, so unsafe values are replaced by a placeholder.
    assert!(mail.contains("describe-backups --region REGION"), "{mail}");
}

#[test]
fn console_links_by_partition() {
    for (region, expected) in [
        (
            "us-west-2",
            Some(
                "https://us-west-2.console.aws.amazon.com/cloudtrailv2/home?region=us-west-2#/events/e-1",
            ),
        ),
        (
            "us-gov-west-1",
            Some(
                "https://us-gov-west-1.console.amazonaws-us-gov.com/cloudtrailv2/home?region=us-gov-west-1#/events/e-1",
            ),
        ),
        (
            "cn-north-1",
            Some(
                "https://cn-north-1.console.amazonaws.cn/cloudtrailv2/home?region=cn-north-1#/events/e-1",
            ),
        ),
        ("us-iso-east-1", None),
        ("evil.example/", None),
        ("", None),
    ] {
        let mut record = delete_backup();
        record["awsRegion"] = region.into();
        assert_eq!(
            alert_of(record).console_link().as_deref(),
            expected,
            "{region}"
        );
    }
    let mut record = delete_backup();
    record["eventID"] = "a/b?c#d".into();
    assert!(
        alert_of(record)
            .console_link()
            .unwrap()
            .ends_with("/events/a%2Fb%3Fc%23d")
    );
}

#[test]
fn a_record_too_large_for_a_message_is_left_out_with_a_reason() {
    let mut record = delete_backup();
    record["requestParameters"]["tagList"] =
        vec![json!({"key": "k".repeat(128), "value": "\"".repeat(256)}); 400].into();
    let (message, body) = texts(&alert_of(record));
    assert!(message.bytes() <= message::MAX_BYTES);
    let finding: Value = serde_json::from_str(body["default"].as_str().unwrap()).unwrap();
    assert_eq!(finding.get("raw_data"), None);
    assert!(finding["raw_data_size"].as_u64().unwrap() > 100_000);
    assert!(
        finding["unmapped"]["raw_data_omitted"]
            .as_str()
            .unwrap()
            .starts_with("the record is too large")
    );
}

/// The messages about these alerts, each with its alerts.
fn fitting(mut alerts: Vec<Alert>) -> Vec<(Vec<Alert>, Message)> {
    compose::fitting(&alerts, compose::Age::Recent)
        .into_iter()
        .map(|(count, message)| (alerts.drain(..count).collect(), message))
        .collect()
}

#[test]
fn a_summary_has_every_call_and_fits() {
    let alerts: Vec<Alert> = (0..1500)
        .map(|n| {
            let mut record = delete_backup();
            record["eventID"] = format!("event-{n}").into();
            record["eventName"] = if n % 3 == 0 {
                "TagResource"
            } else {
                "DeleteBackup"
            }
            .into();
            record["userAgent"] = "\"\\ \u{7}".repeat(300).into();
            alert_of_cheap(record)
        })
        .collect();
    let summaries: Vec<(Vec<Alert>, Message)> = summary::split(alerts)
        .into_iter()
        .flat_map(fitting)
        .collect();
    // A hundred would fit if they were smaller.
    assert!(summaries.len() > 15);
    let mut ids = Vec::new();
    let mut severities = Vec::new();
    for (alerts, message) in &summaries {
        assert!(
            message.bytes() <= message::MAX_BYTES,
            "{} bytes",
            message.bytes()
        );
        let body: Value = serde_json::from_str(&message.body).unwrap();
        let finding: Value = serde_json::from_str(body["default"].as_str().unwrap()).unwrap();
        let evidences = finding["evidences"].as_array().unwrap();
        assert_eq!(finding["count"], alerts.len());
        assert_eq!(evidences.len(), alerts.len());
        for (evidence, alert) in evidences.iter().zip(alerts) {
            assert_eq!(evidence["uid"], alert.event_id.as_str());
            assert!(
                body["email"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("event ID {}\n", alert.event_id))
            );
            ids.push(alert.event_id.clone());
            severities.push(alert.severity);
        }
        let page = compose::page(&alerts.iter().collect::<Vec<_>>()).unwrap();
        assert!(page.body.len() <= sms::MAX_SMS);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1500);
    assert!(
        severities.is_sorted_by(|a, b| a >= b),
        "the most severe first"
    );
}

/// The built-in rules, compiled once for all tests.
static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::builtin(&Watched::default()).unwrap());

/// Like [`alert_of`], but without source and account names.
fn alert_of_cheap(record: Value) -> Alert {
    let Value::Object(fields) = record else {
        unreachable!("the tests give objects")
    };
    let finding =
        Finding::of(Record::new(0, fields), &RULES, NOW).expect("the record matches a rule");
    Alert::new(finding, &Source::Event("e".into()), &Accounts::default())
}

/// Whether a printable ASCII character is in the basic set of GSM 03.38.
fn is_gsm7(c: char) -> bool {
    (c == ' ' || c.is_ascii_graphic()) && !"[]{}\\^~|`".contains(c)
}

fn is_visible(c: char) -> bool {
    !c.is_control() && !"\u{3164}\u{115f}\u{ffff}\u{fffe}\u{2800}\u{1d173}".contains(c)
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "\\PC{0,40}",
        "[\"\\\\\u{0}\n]{0,3000}",
        "\u{202e}?(https://|\r\n  WHO\n){0,30}",
        "[\u{3164}\u{115f}\u{ffff}\u{fffe}\u{2800}\u{1d173}a]{1,20}",
        Just("\u{1f600}".repeat(3000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_alert_is_accepted_by_sns(
        texts in prop::collection::vec(any_text(), 16),
        identity_type in prop_oneof![Just("AssumedRole"), Just("IAMUser"), Just("Root"), Just("AWSService"), Just("FederatedUser"), Just("Strange")],
        event in prop_oneof![Just("DeleteBackup"), Just("PutResourcePolicy"), Just("TagResource"), Just("CreateHsm")],
        filler in 0..4000_usize,
    ) {
        let text = |n: usize| Value::from(texts[n].as_str());
        let record = json!({
            "eventSource": "cloudhsm.amazonaws.com", "eventName": event,
            "eventTime": text(0), "awsRegion": text(1), "sourceIPAddress": text(2), "userAgent": text(3),
            "errorCode": text(4), "errorMessage": text(5), "eventID": text(6), "requestID": text(7), "recipientAccountId": text(8),
            "userIdentity": {"type": identity_type, "arn": text(9), "userName": text(10), "principalId": text(11), "accountId": text(12),
                "sessionContext": {"sessionIssuer": {"userName": text(13)}}},
            "requestParameters": {"clusterId": text(14), "backupId": text(15), "tagList": vec!["\"filler\u{7}"; filler],
                "policy": {"Statement": {"Principal": (0..filler).map(|n| format!("arn:aws:iam::{n:012}:root")).collect::<Vec<_>>()}}},
        });
        let alert = alert_of_cheap(record);
        let summaries = fitting(vec![alert.clone(); 3]);
        prop_assert_eq!(summaries.iter().map(|(alerts, _)| alerts.len()).sum::<usize>(), 3);
        let alone = (vec![alert.clone()], message_about(&[alert]));
        for (alerts, message) in std::iter::once(alone).chain(summaries) {
            prop_assert!(message.bytes() <= message::MAX_BYTES);
            let subject = message.subject.clone().unwrap();
            prop_assert!(subject.len() < 100 && !subject.is_empty());
            prop_assert!(subject.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{:?}", subject);
            prop_assert!(subject.starts_with(|c: char| c.is_ascii_alphanumeric()));
            let body: Value = serde_json::from_str(&message.body).unwrap();
            let page = compose::page(&alerts.iter().collect::<Vec<_>>()).unwrap().body;
            prop_assert!(!page.is_empty() && page.len() <= 140 && page.chars().all(is_gsm7), "{:?}", page);
            let email = body["email"].as_str().unwrap();
            prop_assert!(email.chars().all(|c| c == '\n' || is_visible(c)));
            prop_assert!(message.body.chars().all(is_visible));
            prop_assert!(!email.is_empty());
            let finding: Value = serde_json::from_str(body["default"].as_str().unwrap()).unwrap();
            prop_assert_eq!(&finding["class_uid"], 2004);
            prop_assert!(message.attributes.len() <= 10);
            for (name, value) in &message.attributes {
                let value = value.value();
                prop_assert!(!value.is_empty() && value.len() <= 256 && value.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{}", name);
            }
        }
    }
}
