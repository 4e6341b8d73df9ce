//! The built-in rules: every call matches with the right level, for all callers and outcomes.

use super::*;
use crate::{
    actor::Actor,
    finding::{Finding, Scan},
    record::Outcome,
    rules::cases::Expected,
    severity::Severity,
};

/// Mutating calls with the level and the rule that a successful call by a user matches.
const MUTATING: &[(&str, &str)] = &[
    ("DeleteBackup", "critical hsm-backup-deleted"),
    ("DeleteHsm", "critical hsm-deleted"),
    ("DeleteCluster", "critical hsm-cluster-deleted"),
    ("InitializeCluster", "critical hsm-cluster-initialized"),
    ("PutResourcePolicy", "critical hsm-backup-shared"),
    ("CopyBackupToRegion", "high hsm-backup-copied-to-region"),
    ("ModifyCluster", "high hsm-cluster-modified"),
    (
        "ModifyBackupAttributes",
        "high hsm-backup-attributes-modified",
    ),
    ("DeleteResourcePolicy", "high hsm-backup-sharing-stopped"),
    ("CreateCluster", "medium hsm-cluster-created"),
    ("CreateHsm", "medium hsm-created"),
    ("RestoreBackup", "medium hsm-backup-restored"),
    ("TagResource", "low hsm-resource-tagged"),
    ("UntagResource", "low hsm-resource-untagged"),
    ("AddTagsToResource", "low hsm-classic-tags-added"),
    ("RemoveTagsFromResource", "low hsm-classic-tags-removed"),
    ("CreateHapg", "medium hsm-classic-hapg-created"),
    ("CreateLunaClient", "medium hsm-classic-client-created"),
    ("DeleteHapg", "high hsm-classic-hapg-deleted"),
    ("DeleteLunaClient", "high hsm-classic-client-deleted"),
    ("ModifyHapg", "high hsm-classic-hapg-modified"),
    ("ModifyHsm", "high hsm-classic-modified"),
    ("ModifyLunaClient", "high hsm-classic-client-modified"),
];

fn severity_of(matched: &str) -> Severity {
    matched.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_mutating_operation_has_its_rule_and_level() {
    let rules = builtin();
    for (event_name, expected) in MUTATING {
        for source in [
            "cloudhsm.amazonaws.com",
            "cloudhsmv2.amazonaws.com",
            "CloudHSM.amazonaws.com",
        ] {
            let mut record = call(event_name);
            record["eventSource"] = source.into();
            if *event_name == "CreateCluster" {
                record["requestParameters"]["hsmType"] = "hsm2m.medium".into();
            }
            assert_eq!(
                matched(rules, record),
                [*expected],
                "{event_name} of {source}"
            );
        }
        for source in [
            "kms.amazonaws.com",
            "xcloudhsm.amazonaws.com",
            "cloudhsm.amazonaws.com.example.com",
        ] {
            let mut record = call(event_name);
            record["eventSource"] = source.into();
            assert_eq!(
                matched(rules, record),
                Vec::<String>::new(),
                "{event_name} of {source}"
            );
        }
    }
}

#[test]
fn the_list_above_is_all_that_aws_has() {
    let api = Api::known().unwrap();
    let mut mutating: Vec<&str> = api
        .operations("cloudhsm.amazonaws.com")
        .filter(|name| {
            !["Describe", "List", "Get"]
                .iter()
                .any(|read| name.starts_with(read))
        })
        .collect();
    let mut listed: Vec<&str> = MUTATING.iter().map(|(name, _)| *name).collect();
    mutating.sort_unstable();
    listed.sort_unstable();
    assert_eq!(mutating, listed);
}

#[test]
fn read_only_calls_are_informational_unless_denied() {
    let rules = builtin();
    let api = Api::known().unwrap();
    let read_only = api
        .operations("cloudhsm.amazonaws.com")
        .filter(|name| !MUTATING.iter().any(|(mutating, _)| mutating == name));
    for event_name in read_only {
        for identity in identities() {
            let mut record = call(event_name);
            record["userIdentity"] = identity;
            let levels: Vec<Severity> = matched(rules, record.clone())
                .iter()
                .map(|rule| severity_of(rule))
                .collect();
            assert_eq!(levels, [Severity::Informational], "{record}");
            record["errorCode"] = "AccessDenied".into();
            record["requestParameters"] = Value::Null;
            let names = matched(rules, record);
            assert!(
                names.contains(&"medium hsm-reconnaissance-denied".to_owned()),
                "{names:?}"
            );
        }
    }
}

fn identities() -> Vec<Value> {
    vec![
        json!({"type": "IAMUser", "userName": "alice", "accountId": "111122223333", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
        json!({"type": "AssumedRole", "arn": "arn:aws:sts::111122223333:assumed-role/hsm-operator/alice", "accountId": "111122223333",
            "sessionContext": {"attributes": {"mfaAuthenticated": "false"}, "sessionIssuer": {"type": "Role", "userName": "hsm-operator"}}}),
        json!({"type": "FederatedUser", "arn": "arn:aws:sts::111122223333:federated-user/bob", "accountId": "111122223333"}),
        json!({"type": "Root", "accountId": "111122223333", "arn": "arn:aws:iam::111122223333:root",
            "sessionContext": {"attributes": {"mfaAuthenticated": "true"}}}),
        json!({"type": "AWSService", "invokedBy": "backup.amazonaws.com"}),
    ]
}

#[test]
fn every_mutating_call_matches_for_all_callers_and_outcomes() {
    let rules = builtin();
    for (event_name, expected) in MUTATING {
        for identity in identities() {
            // The service deletes backups according to the retention policy.
            let is_purge = *event_name == "DeleteBackup" && identity["type"] == "AWSService";
            let expected = if is_purge {
                "informational hsm-backup-purged"
            } else {
                expected
            };
            let (expected_level, expected_name) = expected.split_once(' ').unwrap();
            for (error, outcome) in [
                (None, Outcome::Success),
                (Some("AccessDenied"), Outcome::Denied),
                (Some("CloudHsmAccessDeniedException"), Outcome::Denied),
                (Some("AuthorizationErrorException"), Outcome::Denied),
                (Some("CloudHsmInvalidRequestException"), Outcome::Failed),
            ] {
                let mut fields = call(event_name);
                fields["userIdentity"] = identity.clone();
                if let Some(code) = error {
                    fields["errorCode"] = code.into();
                }
                let record = record(fields.clone());
                assert_eq!(record.outcome(), outcome, "{fields}");
                let actor = Actor::of(&record);
                let finding = Finding::of(record.clone(), rules, NOW).expect("a match");
                let rule = finding
                    .rules
                    .iter()
                    .find(|rule| rule.name == expected_name)
                    .unwrap_or_else(|| panic!("{expected_name} does not match {fields}"));
                assert_eq!(rule.level.as_str(), expected_level);
                assert!(finding.severity() >= rule.severity(outcome));
                let text = rule.response().render(&record, &actor);
                assert!(
                    !text.is_empty() && !text.contains("has no instructions"),
                    "{fields}"
                );
                let is_root = identity["type"] == "Root";
                let matches_root = finding
                    .rules
                    .iter()
                    .any(|rule| rule.name == "hsm-called-by-root");
                assert_eq!(matches_root, is_root, "{fields}");
                let names: Vec<&str> = finding
                    .rules
                    .iter()
                    .map(|rule| rule.name.as_str())
                    .collect();
                assert_eq!(
                    names.contains(&"hsm-call-denied"),
                    outcome == Outcome::Denied,
                    "{fields}"
                );
                assert_eq!(
                    names.contains(&"hsm-call-failed"),
                    outcome == Outcome::Failed,
                    "{fields}"
                );
            }
        }
    }
}

#[test]
fn omitted_parameters_match_the_more_severe_rules() {
    let rules = builtin();
    for (event_name, expected) in [
        (
            "CreateCluster",
            vec![
                "high hsm-cluster-created-from-backup",
                "medium hsm-cluster-created",
            ],
        ),
        (
            "ModifyCluster",
            vec![
                "high hsm-cluster-modified",
                "high hsm-cluster-retention-shortened",
                "high hsm-cluster-type-changed",
            ],
        ),
        (
            "ModifyBackupAttributes",
            vec![
                "high hsm-backup-attributes-modified",
                "high hsm-backup-expiry-enabled",
            ],
        ),
        (
            "PutResourcePolicy",
            vec![
                "critical hsm-backup-shared",
                "critical hsm-backup-shared-with-account",
                "critical hsm-backup-shared-with-everybody",
            ],
        ),
        ("DeleteHsm", vec!["critical hsm-deleted"]),
        ("CreateHsm", vec!["medium hsm-created"]),
    ] {
        let mut record = call(event_name);
        record["requestParameters"] = Value::Null;
        assert_eq!(matched(rules, record.clone()), expected);
        record.as_object_mut().unwrap().remove("requestParameters");
        assert_eq!(matched(rules, record), expected);
    }
}

/// Every change of the type matches exactly one of the two rules, and no other change matches either.
#[test]
fn a_change_of_the_type_is_a_move_or_a_rollback() {
    let moved = "high hsm-cluster-type-changed";
    let rolled_back = "medium hsm-cluster-type-rolled-back";
    let retention =
        json!({"clusterId": "c", "backupRetentionPolicy": {"type": "DAYS", "value": "90"}});
    for (parameters, is_about_type) in [
        (json!({"clusterId": "c", "hsmType": "hsm2m.medium"}), true),
        (json!({"ClusterId": "c", "HsmType": "hsm2m.medium"}), true),
        (json!({}), true),
        (Value::Null, true),
        (retention, false),
    ] {
        for (answer, expected) in [
            (
                json!({"cluster": {"state": "ROLLBACK_IN_PROGRESS"}}),
                rolled_back,
            ),
            (json!({"cluster": {"state": "MODIFY_IN_PROGRESS"}}), moved),
            (json!({"cluster": {"state": null}}), moved),
            (json!({"cluster": {}}), moved),
            (json!({}), moved),
            (Value::Null, moved),
        ] {
            let mut record = call("ModifyCluster");
            record["requestParameters"] = parameters.clone();
            record["responseElements"] = answer;
            let mut found = matched(builtin(), record.clone());
            found.retain(|rule| rule == moved || rule == rolled_back);
            let expected: &[&str] = if is_about_type { &[expected] } else { &[] };
            assert_eq!(found, expected, "{record}");
        }
    }
}

#[test]
fn a_mention_in_another_field_is_not_a_call() {
    let rules = builtin();
    for record in [
        json!({"eventSource": "iam.amazonaws.com", "eventName": "CreatePolicy", "requestParameters": {"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup"}}),
        json!({"eventSource": "cloudtrail.amazonaws.com", "eventName": "LookupEvents", "userAgent": "cloudhsm.amazonaws.com DeleteBackup"}),
        json!({"requestParameters": {"Records": [call("DeleteBackup")]}}),
        json!({}),
    ] {
        assert_eq!(
            matched(rules, record.clone()),
            Vec::<String>::new(),
            "{record}"
        );
    }
}

#[test]
fn odd_types_neither_panic_nor_hide_a_call() {
    let rules = builtin();
    for odd in [
        json!(1),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!("x"),
        json!([[{"a": []}]]),
        json!(1e300),
    ] {
        for (event_name, expected) in MUTATING {
            for field in [
                "userIdentity",
                "requestParameters",
                "responseElements",
                "eventTime",
                "awsRegion",
                "errorMessage",
                "errorCode",
                "userAgent",
                "recipientAccountId",
                "additionalEventData",
            ] {
                let mut record = call(event_name);
                record[field] = odd.clone();
                let names = matched(rules, record);
                assert!(
                    names.iter().any(|rule| rule == expected),
                    "{event_name}, {field} = {odd}: {names:?}"
                );
            }
        }
    }
    // The names themselves may be in a list.
    let mut record = call("DeleteBackup");
    record["eventName"] = json!(["DeleteBackup"]);
    record["eventSource"] = json!(["cloudhsm.amazonaws.com"]);
    assert!(matched(rules, record).contains(&"critical hsm-backup-deleted".to_owned()));
}

#[test]
fn every_rule_passes_its_tests_and_has_both_kinds() {
    let tested = cases::run(&builtin_files(), &Watched::default()).unwrap();
    assert_eq!(tested.len(), BUILTIN.len());
    for rule in tested {
        for (case, outcome) in &rule.cases {
            assert_eq!(*outcome, Ok(()), "{}: {}", rule.rule, case.name);
        }
        for expected in [Expected::Matches, Expected::Misses] {
            assert!(
                rule.cases.iter().any(|(case, _)| case.expected == expected),
                "{}",
                rule.rule
            );
        }
    }
}

#[test]
fn the_check_finds_nothing_in_the_built_in_rules() {
    let diagnostics = check::check(&builtin_files(), NOW);
    assert_eq!(diagnostics, []);
}

#[test]
fn every_rule_is_complete_and_its_text_has_no_open_placeholder() {
    let rules = builtin();
    assert_eq!(rules.len(), BUILTIN.len());
    let open = regex::Regex::new(r"\{[A-Za-z][A-Za-z0-9_.+|]*\}").unwrap();
    for rule in rules.rules() {
        let (file, text) = BUILTIN
            .iter()
            .find(|(file, _)| file.ends_with(&format!("/{}.yml", rule.name)))
            .unwrap_or_else(|| panic!("no file is named after rule {}", rule.name));
        for member in [
            "references:",
            "falsepositives:",
            "description:",
            "  - attack.",
        ] {
            assert!(text.contains(member), "{file} has no {member}");
        }
        assert!(rule.title.len() < 60 && rule.title.is_ascii(), "{file}");
        for error in ["", "AccessDenied", "SomeException"] {
            let nothing = record(json!({ "errorCode": error }));
            let text = rule.response().render(&nothing, &Actor::of(&nothing));
            assert!(!open.is_match(&text), "{file}: {text}");
            assert!(text.is_ascii() && text.len() < 2500, "{file}");
        }
    }
}

#[test]
fn only_named_resources_are_watched() {
    let watched = Watched::parse("trail_bucket=audit,function=alerter").unwrap();
    let rules = RuleSet::builtin(&watched).unwrap();
    let delete = |source: &str, name: &str, parameters: Value| json!({"eventSource": source, "eventName": name, "requestParameters": parameters});
    for (record, expected) in [
        (
            delete(
                "s3.amazonaws.com",
                "DeleteBucket",
                json!({"bucketName": "audit"}),
            ),
            true,
        ),
        (
            delete(
                "s3.amazonaws.com",
                "DeleteBucket",
                json!({"bucketName": "my-cloudtrail-logs"}),
            ),
            false,
        ),
        (
            delete(
                "lambda.amazonaws.com",
                "DeleteFunction20150331",
                json!({"functionName": "alerter"}),
            ),
            true,
        ),
        (
            delete(
                "lambda.amazonaws.com",
                "DeleteFunction20150331",
                json!({"functionName": "arn:aws:lambda:us-west-2:111122223333:function:alerter:7"}),
            ),
            true,
        ),
        (
            delete(
                "lambda.amazonaws.com",
                "DeleteFunction20150331",
                json!({"functionName": "alerter-2"}),
            ),
            false,
        ),
    ] {
        assert_eq!(
            !matched(&rules, record.clone()).is_empty(),
            expected,
            "{record}"
        );
    }
}

#[test]
fn a_key_that_is_not_named_is_not_watched() {
    let delete = |parameters: Value| json!({"eventSource": "kms.amazonaws.com", "eventName": "ScheduleKeyDeletion", "requestParameters": parameters});
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let scheduled = ["critical alert-key-deletion-scheduled"];
    let named = Watched::parse(&format!("key={id}")).unwrap();
    let named = RuleSet::builtin(&named).unwrap();
    for (parameters, of_named) in [
        (json!({"keyId": id}), &scheduled[..]),
        (
            json!({"keyId": format!("arn:aws:kms:us-west-2:111122223333:key/{id}")}),
            &scheduled,
        ),
        (Value::Null, &scheduled),
        (
            json!({"keyId": "0987dcba-09fe-87dc-65ba-ab0987654321"}),
            &[],
        ),
    ] {
        let record = delete(parameters);
        assert_eq!(matched(builtin(), record.clone()), Vec::<String>::new());
        assert_eq!(matched(&named, record.clone()), of_named, "{record}");
    }
}

/// A call without parameters that matches a rule if it succeeds matches the rule for refused calls if it is refused.
#[test]
fn refused_calls_without_parameters_match() {
    let watched = Watched::parse("key=1234abcd-12ab-34cd-56ef-1234567890ab").unwrap();
    let rules = RuleSet::builtin(&watched).unwrap();
    let api = Api::known().unwrap();
    let mut matching = 0;
    for source in api.event_sources() {
        for event_name in api.operations(source) {
            let mut call = json!({"eventSource": source, "eventName": event_name, "userIdentity": {"type": "IAMUser"}, "requestParameters": null});
            let succeeded = matched(&rules, call.clone());
            call["errorCode"] = "AccessDenied".into();
            let refused = matched(&rules, call);
            // Either its own rule matches, or the rule for calls without a name.
            assert_eq!(
                succeeded.is_empty(),
                refused.is_empty(),
                "{event_name} of {source}: {succeeded:?}, {refused:?}"
            );
            matching += usize::from(!refused.is_empty());
        }
    }
    assert!(matching > 100, "{matching}");
}

/// The rules that the build script parsed are the same as those in the files.
#[test]
fn parsed_rules_are_the_same_rules() {
    let watched = Watched::default();
    let whole = RuleSet::of(&builtin_files(), &watched).unwrap();
    let parsed = RuleSet::builtin(&watched).unwrap();
    assert_eq!(parsed.rules(), whole.rules());
    // Rules that are compiled on first use can be compiled.
    for (_, compiled) in &parsed.rules {
        compiled.rule();
    }
    assert!(
        whole.prefilter().excludes_records(),
        "a built-in rule is not bound"
    );
}

/// A scan that skips records finds the same as a scan of every record, for the records of all tests.
#[test]
fn matching_records_of_the_tests_are_not_skipped() {
    let rules = RuleSet::builtin(&Watched::default()).unwrap();
    let mut count = 0;
    for tested in cases::run(&builtin_files(), &Watched::default()).unwrap() {
        for (case, _) in tested.cases {
            let text = format!("{{\"Records\":[{}]}}", case.record.value());
            let findings = |mut scan: Scan<'_>| {
                let mut found = Vec::new();
                scan.push(text.as_bytes(), &mut |finding| found.push(finding))
                    .unwrap();
                scan.finish(&mut |finding| found.push(finding)).unwrap();
                found
            };
            let every = findings(Scan::without_skipping(&rules, NOW));
            assert_eq!(findings(Scan::new(&rules, NOW)), every, "{text}");
            count += every.len();
        }
    }
    assert!(count > 90, "{count} findings");
}
