//! What somebody who is woken reads: how to stop the caller, what a failed call weighs, what is over.

use serde_json::{Value, json};

use super::*;

fn call(event_name: &str, parameters: Value) -> Value {
    let mut record = delete_backup();
    record["eventName"] = event_name.into();
    record["requestParameters"] = parameters;
    record["responseElements"] = Value::Null;
    record
}

fn with_error(mut record: Value, code: &str) -> Value {
    record["errorCode"] = code.into();
    record["responseElements"] = Value::Null;
    record
}

fn alert_at(record: Value, time: &str) -> Alert {
    let Value::Object(fields) = record else {
        unreachable!("the tests give objects")
    };
    let finding = Finding::of(Record::new(0, fields), &RULES, time.parse().unwrap()).unwrap();
    Alert::new(finding, &Source::Event("e".into()), &Accounts::default())
}

#[test]
fn stopping_the_caller_follows_the_first_step() {
    let alert = alert_of(delete_backup());
    let text = alert.instructions(6000);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    assert!(at("restore-backup") < at("Stop the caller in account prod (111122223333)"));
    assert!(at("aws iam put-role-policy --role-name AdminRole") < at("\n2. Keep the retention"));
    // Without steps, it follows the text of the first rule; a text that is too long is cut, but not the commands.
    let short = alert.instructions(10);
    assert!(
        short.starts_with("Backup bac\nStop the caller in account"),
        "{short}"
    );
    assert!(short.ends_with("Role.AssumeRolePolicyDocument"), "{short}");
}

#[test]
fn only_a_caller_who_did_something_is_to_be_stopped() {
    let service = json!({"type": "AWSService", "invokedBy": "backup.amazonaws.com"});
    let mut by_service = call("CreateHsm", json!({"clusterId": "cluster-a"}));
    by_service["userIdentity"] = service;
    for (record, expected) in [
        (delete_backup(), true),
        (call("CreateHsm", json!({"clusterId": "cluster-a"})), true),
        (
            call("TagResource", json!({"resourceId": "cluster-a"})),
            false,
        ),
        (call("DescribeClusters", Value::Null), false),
        (with_error(delete_backup(), "AccessDenied"), false),
        (with_error(delete_backup(), "ThrottlingException"), false),
        (by_service, false),
    ] {
        let alert = alert_of(record.clone());
        assert_eq!(alert.advice().stop_caller.is_some(), expected, "{record}");
    }
}

#[test]
fn a_summary_stops_each_caller_once() {
    let alerts: Vec<Alert> = (0..14)
        .map(|n| {
            let mut record = delete_backup();
            record["eventID"] = format!("e-{n}").into();
            record["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"] =
                format!("role-{}", n % 7).into();
            alert_of(record)
        })
        .collect();
    let mail = summary::email_text(&alerts);
    let (_, stop) = mail
        .split_once("\nSTOP THE CALLERS\n")
        .expect("the section");
    assert_eq!(stop.matches("aws iam put-role-policy").count(), 5, "{stop}");
    assert!(
        stop.starts_with("  Role role-0 (session alice):\n    Stop the caller in account prod (111122223333), unless"),
        "{stop}"
    );
    assert!(
        stop.ends_with(
            "  and 2 more. Each is in the JSON of this message, as the actor of its call.\n"
        ),
        "{stop}"
    );
    let denied = alert_of(with_error(delete_backup(), "AccessDenied"));
    let mail = summary::email_text(&[denied.clone(), denied]);
    assert!(!mail.contains("STOP THE CALLERS"), "{mail}");
}

#[test]
fn a_failed_call_weighs_two_levels_less_and_a_denied_one_does_not() {
    for (record, expected) in [
        (delete_backup(), Severity::Critical),
        (
            with_error(delete_backup(), "AccessDenied"),
            Severity::Critical,
        ),
        (
            with_error(delete_backup(), "ThrottlingException"),
            Severity::Medium,
        ),
        (
            with_error(delete_backup(), "CloudHsmInternalFailureException"),
            Severity::Medium,
        ),
        (
            with_error(delete_backup(), "CloudHsmInvalidRequestException"),
            Severity::Medium,
        ),
        // The rule about failed calls keeps its level, low.
        (
            with_error(
                call("ModifyCluster", json!({"clusterId": "c"})),
                "ThrottlingException",
            ),
            Severity::Low,
        ),
    ] {
        assert_eq!(alert_of(record.clone()).severity, expected, "{record}");
    }
    let mail = email::body(&alert_of(with_error(
        delete_backup(),
        "ThrottlingException",
    )));
    assert!(
        mail.contains("\nMATCHED RULES, for a call that FAILED\n  A call that failed weighs two levels less than the rules it matches.\n  critical "),
        "{mail}"
    );
}

#[test]
fn nothing_is_said_to_be_destroyed_by_a_denied_call() {
    let mut record = delete_backup();
    record["userIdentity"] = json!({"type": "IAMUser", "userName": "alice", "accountId": "111122223333", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"});
    let done = alert_of(record.clone());
    assert!(
        done.advice()
            .response
            .contains("\nAlso matched: CloudHSM destroyed or claimed without MFA.\n")
    );
    let denied = alert_of(with_error(record, "AccessDenied"));
    assert!(
        denied.advice().response.contains("\nMore about this call:\nNothing was changed: alice called DeleteBackup without a second factor"),
        "{}",
        denied.advice().response
    );
    assert!(
        !denied.advice().response.contains("destroyed"),
        "{}",
        denied.advice().response
    );
}

#[test]
fn a_deadline_that_is_over_is_said_to_be_over() {
    let open = alert_at(delete_backup(), "2026-11-30T03:40Z");
    assert!(
        open.advice()
            .response
            .contains("It can be restored until 2026-11-30 03:41 UTC")
    );
    assert!(sms::body(&open).ends_with("Restore it by 2026-11-30 03:41 UTC"));
    // Hours matter: it is still the last day.
    let over = alert_at(delete_backup(), "2026-11-30T08:20Z");
    assert!(
        over.advice().response.starts_with(
            "Backup backup-zxc7vbn2mas of cluster-lk3jhgf4dsa was deleted. It could be restored until 2026-11-30 03:41 UTC. That time is over:\n"
        ),
        "{}",
        over.advice().response
    );
    assert!(
        !over.advice().response.contains("Restore it now"),
        "{}",
        over.advice().response
    );
    assert!(
        sms::body(&over).ends_with("Too late since 2026-11-30 03:41 UTC"),
        "{}",
        sms::body(&over)
    );
    // How to stop the caller is not over.
    assert!(over.advice().stop_caller.is_some());
}

#[test]
fn an_sms_says_what_a_person_knows_the_resource_by() {
    let arn = "arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-zxc7vbn2mas";
    let policy = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::999988887777:root", "444455556666"]}}]});
    let mut unnamed = delete_backup();
    unnamed.as_object_mut().unwrap().remove("userIdentity");
    let mut denied = with_error(call("DeleteBackup", Value::Null), "AccessDenied");
    denied["errorMessage"] = format!("User: arn:aws:sts::111122223333:assumed-role/AdminRole/alice is not authorized to perform: cloudhsm:DeleteBackup on resource: {arn} because no identity-based policy allows the cloudhsm:DeleteBackup action").into();
    for (record, expected) in [
        (
            call(
                "DeleteHsm",
                json!({"clusterId": "cluster-lk3jhgf4dsa", "hsmId": "hsm-lgavqitns2a"}),
            ),
            "CRITICAL DeleteHsm SUCCEEDED: hsm-lgavqitns2a of cluster-lk3jhgf4dsa, prod us-west-2, 23 Nov 03:41Z. Check that the cluster has HSMs left",
        ),
        (
            call(
                "PutResourcePolicy",
                json!({"resourceArn": arn, "policy": policy.to_string()}),
            ),
            "CRITICAL PutResourcePolicy SUCCEEDED: backup-zxc7vbn2mas to 999988887777 +1, prod us-west-2, 23 Nov 03:41Z",
        ),
        (
            unnamed,
            "CRITICAL DeleteBackup SUCCEEDED: backup-zxc7vbn2mas, prod us-west-2, 23 Nov 03:41Z. Restore it by 2026-11-30 03:41 UTC",
        ),
        (
            denied.clone(),
            "CRITICAL DeleteBackup DENIED: backup-zxc7vbn2mas, prod us-west-2, 23 Nov 03:41Z, by AdminRole/alice. Nothing changed",
        ),
    ] {
        let text = sms::body(&alert_of(record));
        assert!(text.starts_with(expected), "{text}");
    }
    let denied = alert_of(denied);
    assert_eq!(
        denied.resources,
        [resource::Resource {
            kind: resource::Kind::Backup,
            uid: arn.into()
        }]
    );
    assert!(email::subject(&denied).ends_with(", backup-zxc7vbn2mas"));
}

#[test]
fn mfa_that_nobody_knows_of_is_not_claimed() {
    for (kind, flag, email, is_mfa) in [
        (
            "AssumedRole",
            json!("true"),
            Some("yes, the session"),
            json!(true),
        ),
        (
            "AssumedRole",
            json!("false"),
            Some("unknown: AWS saw none"),
            Value::Null,
        ),
        (
            "IAMUser",
            json!("false"),
            Some("NO, the session"),
            json!(false),
        ),
        ("IAMUser", Value::Null, None, Value::Null),
    ] {
        let mut record = delete_backup();
        record["userIdentity"]["type"] = kind.into();
        record["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"] = flag;
        let alert = alert_of(record);
        let body = email::body(&alert);
        let line = body
            .lines()
            .find_map(|line| line.strip_prefix("  MFA               "));
        match email {
            Some(start) => assert!(line.is_some_and(|line| line.starts_with(start)), "{line:?}"),
            None => assert_eq!(line, None),
        }
        let session = &ocsf::finding(&alert, true)["evidences"][0]["actor"]["session"];
        assert_eq!(
            session.get("is_mfa").cloned().unwrap_or_default(),
            is_mfa,
            "{kind}"
        );
    }
}

/// A record with the members that a rule needs, and no other.
#[test]
fn nothing_is_printed_for_what_a_record_does_not_have() {
    let bare = json!({"eventSource": "cloudhsm.amazonaws.com", "eventName": "ModifyCluster"});
    let mail = email::body(&alert_of(bare));
    assert!(!mail.contains("not in the record"), "{mail}");
    assert!(!mail.contains("not named;"), "{mail}");
    let update = json!({"eventSource": "kms.amazonaws.com", "eventName": "UpdateCustomKeyStore", "requestParameters": {"clusterId": "cluster-a"}});
    let response = alert_of(update).advice().response.clone();
    assert!(
        response.starts_with("Custom key store CUSTOM_KEY_STORE_ID was changed.\nRequested cluster: cluster-a.\nA new password"),
        "{response}"
    );
}
