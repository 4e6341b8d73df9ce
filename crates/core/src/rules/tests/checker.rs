//! `rules check`: rules that load, but do not do what their author intends.

use super::*;

const TESTS: &str = "tests:
  - matches: a backup is deleted
    record: {eventSource: cloudhsm.amazonaws.com, eventName: DeleteBackup}
  - misses: a backup is restored
    record: {eventSource: cloudhsm.amazonaws.com, eventName: RestoreBackup}
";

fn checked(text: &str) -> Vec<String> {
    check::check(&[file("r.yml", text)], NOW)
        .iter()
        .map(|found| format!("{} {found}", found.kind.as_str()))
        .collect()
}

#[test]
fn a_rule_that_can_never_match_is_an_error() {
    let rule = format!("{RULE}{TESTS}");
    assert_eq!(checked(&rule), Vec::<String>::new());
    for (text, expected) in [
        (
            rule.replacen("eventName: DeleteBackup", "eventName: DeleteBackups", 1),
            "error r.yml:9: detection.call.eventName: expected an operation of cloudhsm.amazonaws.com, found \"DeleteBackups\"; did you mean DeleteBackup?",
        ),
        (
            rule.replacen(
                "eventName: DeleteBackup",
                "eventName: [DeleteBackup, ScheduleKeyDeletion]",
                1,
            ),
            "warning r.yml:9: detection.call.eventName: expected an operation of cloudhsm.amazonaws.com, found \"ScheduleKeyDeletion\"; kms.amazonaws.com has an operation with this name",
        ),
        (
            rule.replacen(
                "eventName: DeleteBackup",
                "eventName|startswith: Destroy",
                1,
            ),
            "error r.yml:9: detection.call.eventName: expected an operation of cloudhsm.amazonaws.com, found \"Destroy\"; see the API reference of the service",
        ),
        (
            rule.replacen(
                "eventSource: cloudhsm.amazonaws.com",
                "eventSource: cloudhsmv2.amazonaws.com",
                1,
            ),
            "error r.yml:8: detection.call.eventSource: expected cloudhsm.amazonaws.com, found cloudhsmv2.amazonaws.com, which no record has; CloudTrail uses the same event source for both CloudHSM APIs",
        ),
        (
            rule.replacen(
                "eventSource: cloudhsm.amazonaws.com",
                "eventSource: cloudhms.amazonaws.com",
                1,
            ),
            "error r.yml:8: detection.call.eventSource: expected an event source of AWS, found \"cloudhms.amazonaws.com\"; did you mean cloudhsm.amazonaws.com?",
        ),
        (
            rule.replacen(
                "eventSource: cloudhsm.amazonaws.com",
                "eventSource: cloudhsm",
                1,
            ),
            "error r.yml:8: detection.call.eventSource: expected an event source of AWS, found \"cloudhsm\"; event sources end in .amazonaws.com, such as cloudhsm.amazonaws.com",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    requestParameter.backupId|exists: true",
                1,
            ),
            "error r.yml:10: detection.call.requestParameter.backupId: expected a member of a CloudTrail record, found \"requestParameter\"; did you mean requestParameters?",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    requestParameters.backpId|exists: true",
                1,
            ),
            "error r.yml:10: detection.call.requestParameters.backpId: expected a member of a call of cloudhsm.amazonaws.com, found \"backpId\"; did you mean backupId?",
        ),
        (
            rule.replacen(
                "    eventSource: cloudhsm.amazonaws.com\n    eventName: DeleteBackup",
                "    - eventSource: cloudhsm.amazonaws.com\n      eventName: DeleteBackup\n    - eventSource: kms.amazonaws.com\n      eventName: RestoreBackup",
                1,
            ),
            "error r.yml:9: detection.call.eventName: expected an operation of kms.amazonaws.com, found \"RestoreBackup\"; cloudhsm.amazonaws.com has an operation with this name",
        ),
        (
            rule.replacen(
                "  condition: call",
                "  other: {eventName: RestoreBackup}\n  condition: call and other",
                1,
            ),
            "error r.yml:11: detection.condition: expected event sources and event names that a call can have together; a call has one of each; write the names in one list, or join selections with `or`",
        ),
        (
            rule.replacen(
                "eventName: DeleteBackup",
                "eventName|all: [DeleteBackup, RestoreBackup]",
                1,
            ),
            "error r.yml:10: detection.condition: expected event sources and event names that a call can have together; a call has one of each; write the names in one list, or join selections with `or`",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    userIdentity.typ: Root",
                1,
            ),
            "error r.yml:10: detection.call.userIdentity.typ: expected a member of userIdentity, found \"typ\"; did you mean type?",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    userIdentity.sessionContext.sessionIsuer.userName: x",
                1,
            ),
            "error r.yml:10: detection.call.userIdentity.sessionContext.sessionIsuer.userName: expected a member of userIdentity, found \"sessionIsuer\"; did you mean sessionIssuer?",
        ),
        (
            format!("{rule}response: Look at {{hsmId|HSM_ID}}\n"),
            "error r.yml:16: response: expected a placeholder that matching records can fill, found {hsmId}; use a member of the call's request or response, or region, account, actor, eventTime",
        ),
        (
            format!("{rule}response: Look at {{userIdentity.acountId|ACCOUNT}}\n"),
            "error r.yml:16: response: expected a placeholder that matching records can fill, found {userIdentity.acountId}; did you mean accountId?",
        ),
    ] {
        assert_eq!(checked(&text), [expected], "{text}");
    }
}

#[test]
fn unintended_behavior_is_a_warning() {
    let rule = format!("{RULE}{TESTS}");
    for (text, expected) in [
        (
            RULE.to_owned(),
            "warning r.yml:1: tests: expected tests, found none; add a record that matches, and a similar one that does not",
        ),
        (
            rule.split("  - misses").next().unwrap().to_owned(),
            "warning r.yml:11: tests: expected a test with `misses`, found none; add a record that matches, and a similar one that does not",
        ),
        (
            rule.replacen("    eventSource: cloudhsm.amazonaws.com\n", "", 1),
            "warning r.yml:6: detection: expected a required `eventSource`, found none in t; a rule without a required `eventSource` makes the function parse every record, which takes five to eight times as much processor time; add `eventSource` to a selection that the condition requires",
        ),
        (
            rule.replacen(
                "  condition: call",
                "  root: {userIdentity.type: Root}\n  condition: call",
                1,
            ),
            "warning r.yml:10: detection.root: is not used by a condition; add it to the condition, or remove it",
        ),
        (
            rule.replacen(
                "  condition: call",
                "  not_this:\n    eventName: DeleteBackups\n  condition: call and not not_this",
                1,
            ),
            "warning r.yml:11: detection.not_this.eventName: expected an operation of cloudhsm.amazonaws.com, found \"DeleteBackups\"; did you mean DeleteBackup?",
        ),
        (
            rule.replace(
                "11111111-2222-4333-8444-555555555555",
                "227421ad-3cdc-4fa0-b6fb-99945497ec82",
            ),
            "warning r.yml:2: id: replaces the built-in rule hsm-backup-restored; to keep both rules, change the id",
        ),
        (
            "title: off\nid: d11ee267-6b43-42f3-8655-72ad90d1e71d\nstatus: unsupported\n"
                .to_owned(),
            "warning r.yml:2: id: disables the built-in rule hsm-backup-deleted; to suppress only some of its matches, write a filter",
        ),
        (
            "title: off\nid: d11ee267-0000-42f3-8655-72ad90d1e71d\nstatus: unsupported\n"
                .to_owned(),
            "warning r.yml:2: id: expected the id of a built-in rule to disable, found d11ee267-0000-42f3-8655-72ad90d1e71d; `cloudhsm-alerts rules list --format json` lists the ids",
        ),
    ] {
        assert_eq!(checked(&text), [expected], "{text}");
    }
}

#[test]
fn a_malformed_test_is_an_error_with_its_line() {
    for (tests, expected) in [
        (
            "tests: {}\n",
            "error r.yml:11: tests: expected a list, found an object; write items with `matches: …` or `misses: …`, and `record: {…}`",
        ),
        (
            "tests:\n  - record: {eventName: X}\n",
            "error r.yml:12: tests.0: expected either `matches` or `misses`, found neither; write `matches: …` or `misses: …`, and `record: {…}`",
        ),
        (
            "tests:\n  - matches: x\n    record: DeleteBackup\n",
            "error r.yml:13: tests.0.record: expected a CloudTrail record, found a string; write members such as eventSource and eventName",
        ),
        (
            "tests:\n  - matches: x\n    record: {}\n",
            "error r.yml:13: tests.0.record: expected a CloudTrail record, found an empty mapping; write members such as eventSource and eventName",
        ),
        (
            "tests:\n  - matches: x\n",
            "error r.yml:12: tests.0: expected `record`, found none; write `matches: …` or `misses: …`, and `record: {…}`",
        ),
        (
            "tests:\n  - matches: x\n    record:\n      eventSource: cloudhsm.amazonaws.com\n      evenName: X\n",
            "error r.yml:15: tests.0.record.evenName: expected a member of a CloudTrail record, found \"evenName\"; did you mean eventName?",
        ),
        (
            "tests:\n  - misses: x\n    record: {eventName: X, userIdentity: {sessionContext: {atributes: {}}}}\n",
            "error r.yml:13: tests.0.record.userIdentity.sessionContext.atributes: expected a member of userIdentity, found \"atributes\"; did you mean attributes?",
        ),
        (
            "tests:\n  - misses: x\n    record:\n      eventSource: cloudhsm.amazonaws.com\n      RequestParameters: {BakupId: b}\n",
            "error r.yml:15: tests.0.record.RequestParameters.BakupId: expected a member of a call of cloudhsm.amazonaws.com, found \"BakupId\"; did you mean backupId?",
        ),
        (
            "tests:\n  - matches: x\n    watched: keys=x\n    record: {eventName: X}\n",
            "error r.yml:13: tests.0.watched: expected one of trail_bucket, alert_topic, function, function_role, ledger_table, failure_queue, source_topic, source_queue, source_rule, alarm, key, log_group, rules_bucket, stack before '=', found \"keys\"; write names as in WATCHED: `key=ID,stack=NAME`",
        ),
        (
            "tests:\n  - matches: x\n    watched: [key]\n    record: {eventName: X}\n",
            "error r.yml:13: tests.0.watched: expected text, found a list; write names as in WATCHED: `key=ID,stack=NAME`",
        ),
        (
            "tests:\n  - matches: x\n    records: {eventName: X}\n    record: {eventName: X}\n",
            "error r.yml:13: tests.0.records: expected matches, misses, record, watched, opens or closes, found \"records\"; write `matches: …` or `misses: …`, and `record: {…}`",
        ),
    ] {
        assert_eq!(checked(&format!("{RULE}{tests}")), [expected], "{tests}");
    }
}

#[test]
fn a_rule_that_can_match_is_not_an_error() {
    let rule = format!("{RULE}{TESTS}");
    for (before, after) in [
        // Two names of one call by two patterns.
        (
            "  condition: call",
            "  other: {eventName|startswith: Delete}\n  condition: call and other",
        ),
        (
            "  condition: call",
            "  other: {eventSource: cloudhsm.amazonaws.com, eventName: RestoreBackup}\n  condition: call or other",
        ),
        (
            "  condition: call",
            "  other: {eventName: RestoreBackup}\n  condition: call and not other",
        ),
        (
            "eventName: DeleteBackup",
            "eventName|contains|all: [Delete, Backup]",
        ),
        // A name with any date.
        (
            "eventSource: cloudhsm.amazonaws.com\n    eventName: DeleteBackup",
            "eventSource: lambda.amazonaws.com\n    eventName: DeleteFunctionConcurrency20171031",
        ),
        // Identity providers choose the names of federation data.
        (
            "    eventName: DeleteBackup",
            "    eventName: DeleteBackup\n    userIdentity.sessionContext.webIdFederationData.attributes.typ: x",
        ),
    ] {
        let text = rule.replacen(before, after, 1);
        assert_eq!(checked(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_file_in_another_encoding_is_one_error() {
    let broken = "title: caf\u{fffd}\nid: x\n";
    let files = [file("broken.yml", broken), file("r.yml", RULE)];
    let errors: Vec<String> = check::check(&files, NOW)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "broken.yml:1: expected UTF-8, found other bytes; save the file in UTF-8",
            "r.yml:1: tests: expected tests, found none; add a record that matches, and a similar one that does not",
        ]
    );
}

#[test]
fn a_filter_is_compared_with_rules_and_date() {
    let filter = "title: F
id: 99999999-2222-4333-8444-555555555555
logsource: {product: aws, service: cloudtrail}
filter:
  rules: hsm-backup-delete
  selection: {userIdentity.type: IAMUser}
  condition: not selection
expires: 2026-11-01
";
    assert_eq!(
        checked(filter),
        [
            "error r.yml:5: filter.rules: expected the id or name of a rule, found \"hsm-backup-delete\"; did you mean hsm-backup-deleted?",
            "warning r.yml:8: expires: expected a date in the future, found 2026-11-01; the filter no longer suppresses anything; remove the filter, or change the date",
        ]
    );
}

#[test]
fn a_filter_may_name_a_rule_by_its_id_in_upper_case() {
    let filter = "title: F
id: 99999999-2222-4333-8444-555555555555
logsource: {product: aws, service: cloudtrail}
filter:
  rules: D11EE267-6B43-42F3-8655-72AD90D1E71D
  selection: {userIdentity.type: IAMUser}
  condition: not selection
";
    assert_eq!(checked(filter), Vec::<String>::new());
}

#[test]
fn a_failed_test_has_the_reasons() {
    let text = format!(
        "{RULE}tests:\n  - matches: an HSM is deleted\n    record: {{eventSource: cloudhsm.amazonaws.com, eventName: DeleteHsm}}\n  - misses: a backup is deleted\n    record: {{eventSource: cloudhsm.amazonaws.com, eventName: DeleteBackup}}\n"
    );
    let tested = cases::run(&[file("r.yml", &text)], &Watched::default()).unwrap();
    let outcomes: Vec<_> = tested[0]
        .cases
        .iter()
        .map(|(case, outcome)| (case.line, outcome.clone()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (12, Err("the record does not match: call: eventName is \"DeleteHsm\", expected \"DeleteBackup\"".to_owned())),
            (14, Err("the record matches: call: eventSource is \"cloudhsm.amazonaws.com\"; call: eventName is \"DeleteBackup\"".to_owned())),
        ]
    );
}

#[test]
fn a_test_may_name_watched_resources() {
    let text = rule_with(
        "  call:
    eventSource: kms.amazonaws.com
  key:
    - requestParameters.keyId|expand: '%key%'
    - requestParameters: null
  condition: call and key
tests:
  - matches: a key that is named
    watched: key=a
    record: {eventSource: kms.amazonaws.com, requestParameters: {keyId: a}}
  - matches: none is named
    record: {eventSource: kms.amazonaws.com, requestParameters: {keyId: a}}
  - misses: another key
    watched: key=a
    record: {eventSource: kms.amazonaws.com, requestParameters: {keyId: b}}
  - matches: parameters left out, and a key is named
    watched: key=a
    record: {eventSource: kms.amazonaws.com}
  - misses: parameters left out, and none is named
    record: {eventSource: kms.amazonaws.com}
",
    );
    let outcomes = |watched: &str| -> Vec<bool> {
        let watched = Watched::parse(watched).unwrap();
        let tested = cases::run(&[file("r.yml", &text)], &watched).unwrap();
        let cases = tested[0].cases.iter();
        cases.map(|(_, outcome)| outcome.is_ok()).collect()
    };
    assert_eq!(outcomes(""), [true, false, true, true, true]);
    // The names for all tests apply to a test without its own.
    assert_eq!(outcomes("key=a"), [true, true, true, true, false]);
    assert_eq!(checked(&text), Vec::<String>::new());
}

#[test]
fn explanations_have_reasons_and_no_secrets() {
    let rules = builtin();
    let mut deleted = call("InitializeCluster");
    deleted["requestParameters"] = json!({"signedCert": "S3CRET", "trustAnchor": "S3CRET"});
    let explained = rules.explain(&record(deleted), NOW);
    let text = format!("{explained:?}");
    assert!(!text.contains("S3CRET"));
    assert!(explained[0].is_match);
    assert_eq!(explained[0].rule.name, "hsm-cluster-initialized");
    assert!(!explained[1].is_match);
    let backup = explained
        .iter()
        .find(|found| found.rule.name == "hsm-backup-deleted")
        .unwrap();
    assert_eq!(
        backup.reasons,
        ["call: eventName is \"InitializeCluster\", expected \"DeleteBackup\""]
    );
}

/// The reasons of the only rule of a file for a record.
fn reasons_of(detection: &str, value: Value) -> Vec<String> {
    let set = RuleSet::of(&[file("r.yml", &rule_with(detection))], &Watched::default());
    let mut explained = set.unwrap().explain(&record(value), NOW);
    explained.remove(0).reasons
}

#[test]
fn explanations_have_patterns_as_the_rule_file_writes_them() {
    let caller = |name: &str| json!({"eventName": "DeleteHsm", "userAgent": "Boto3", "userIdentity": {"userName": name}, "requestParameters": {"a": "X", "b": "X"}});
    for (detection, expected) in [
        (
            "  s:\n    userIdentity.userName: [HsmAdmin, '*Break?Glass*']\n  condition: s\n",
            "s: userIdentity.userName is \"alice\", expected one of \"HsmAdmin\", \"*Break?Glass*\"",
        ),
        (
            "  s:\n    userAgent|contains|all: [Boto3, Botocore]\n  condition: s\n",
            "s: userAgent is \"Boto3\", expected it to contain all of \"Boto3\", \"Botocore\"",
        ),
        (
            "  s:\n    eventName|neq: [DeleteHsm, DeleteBackup]\n  condition: s\n",
            "s: eventName is \"DeleteHsm\", expected anything but \"DeleteHsm\", \"DeleteBackup\"",
        ),
        (
            "  s:\n    userAgent|cased: BOTO3\n  condition: s\n",
            "s: userAgent is \"Boto3\", expected \"BOTO3\", with the same upper and lower case",
        ),
        (
            "  s:\n    userAgent|re|i: ^Aws-CLI/\n  condition: s\n",
            "s: userAgent is \"Boto3\", expected it to match ^Aws-CLI/",
        ),
        (
            "  s:\n    requestParameters.a|fieldref|neq: requestParameters.b\n  condition: s\n",
            "s: requestParameters.a matches the field that the rule compares it with: is requestParameters.b",
        ),
        (
            "  s:\n    - requestParameters.c: DoNot\n    - requestParameters.a: Y\n      requestParameters.b: Z\n  condition: s\n",
            "s: requestParameters.c is not in the record, expected \"DoNot\"",
        ),
        (
            "  s:\n    eventName: DeleteHsm\n    '|all': [Boto3, BreakGlass]\n  condition: s\n",
            "s: the record has no text with \"BreakGlass\"",
        ),
    ] {
        assert_eq!(reasons_of(detection, caller("alice")), [expected]);
    }
    assert_eq!(
        reasons_of("  s: [Alice, HsmAdmin]\n  condition: s\n", caller("alice")),
        ["s: the record has text with one of \"Alice\", \"HsmAdmin\""]
    );
}

/// The parsed form of a rule file is kept, that of a built-in rule is read again.
#[test]
fn built_in_rules_are_explained_like_rules_of_files() {
    let mut watched = Watched::default();
    watched.add("trail_bucket", "My-Trail-Bucket");
    let embedded = RuleSet::builtin(&watched).unwrap();
    let files = RuleSet::of(&builtin_files(), &watched).unwrap();
    let mut all = String::new();
    for value in [
        call("DeleteHsm"),
        json!({"eventSource": "s3.amazonaws.com", "eventName": "DeleteBucket", "requestParameters": {"bucketName": "other"}}),
        json!({}),
    ] {
        let reasons = |set: &RuleSet| -> Vec<(String, Vec<String>)> {
            let explained = set.explain(&record(value.clone()), NOW).into_iter();
            explained
                .map(|found| (found.rule.name.clone(), found.reasons))
                .collect()
        };
        let found = reasons(&embedded);
        assert_eq!(found, reasons(&files));
        all.push_str(&format!("{found:?}"));
    }
    for text in ["My-Trail-Bucket", "InitializeCluster"] {
        assert!(all.contains(text), "{text}");
    }
    assert!(!all.contains("initializecluster"));
}

#[test]
fn a_suppressed_match_shows_the_patterns_of_its_filter() {
    let filter = "title: F
id: 99999999-2222-4333-8444-555555555555
name: f
logsource: {product: aws, service: cloudtrail}
filter:
  rules: any
  selection: {userIdentity.userName|startswith: Ali}
  other: {userIdentity.userName: BreakGlass}
  condition: not selection or other
";
    let set = RuleSet::of(
        &[file("r.yml", RULE), file("f.yml", filter)],
        &Watched::default(),
    );
    let explained = set.unwrap().explain(&record(call("DeleteBackup")), NOW);
    assert_eq!(
        explained[0].reasons,
        [
            "call: eventSource is \"cloudhsm.amazonaws.com\"",
            "call: eventName is \"DeleteBackup\"",
            "excluded, selection: userIdentity.userName is \"alice\"",
            "other: userIdentity.userName is \"alice\", expected \"BreakGlass\"",
        ]
    );
}
