//! The checker: rules that load and do not do what their author thinks.

use super::*;

const TESTS: &str = "tests:
  - meets: a backup is deleted
    record: {eventSource: cloudhsm.amazonaws.com, eventName: DeleteBackup}
  - misses: a backup is restored
    record: {eventSource: cloudhsm.amazonaws.com, eventName: RestoreBackup}
";

fn checked(text: &str) -> Vec<String> {
    check::check(&[file("r.yml", text)], TODAY)
        .iter()
        .map(|problem| format!("{} {problem}", problem.weight.as_str()))
        .collect()
}

#[test]
fn what_can_never_be_met_is_an_error() {
    let rule = format!("{RULE}{TESTS}");
    assert_eq!(checked(&rule), Vec::<String>::new());
    for (text, expected) in [
        (
            rule.replacen("eventName: DeleteBackup", "eventName: DeleteBackups", 1),
            "error r.yml:9: detection.call.eventName: cloudhsm.amazonaws.com has no operation \"DeleteBackups\"; did you mean DeleteBackup?",
        ),
        (
            rule.replacen(
                "eventName: DeleteBackup",
                "eventName: [DeleteBackup, ScheduleKeyDeletion]",
                1,
            ),
            "warning r.yml:9: detection.call.eventName: cloudhsm.amazonaws.com has no operation \"ScheduleKeyDeletion\"; kms.amazonaws.com has an operation of that name",
        ),
        (
            rule.replacen(
                "eventName: DeleteBackup",
                "eventName|startswith: Destroy",
                1,
            ),
            "error r.yml:9: detection.call.eventName: cloudhsm.amazonaws.com has no operation \"Destroy\"; no record has it; see the API reference",
        ),
        (
            rule.replacen(
                "eventSource: cloudhsm.amazonaws.com",
                "eventSource: cloudhsmv2.amazonaws.com",
                1,
            ),
            "error r.yml:8: detection.call.eventSource: cloudhsmv2.amazonaws.com is in AWS's service model, but no record has ever had it; write cloudhsm.amazonaws.com, which CloudTrail records both of CloudHSM's APIs under",
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
            "error r.yml:8: detection.call.eventSource: expected an event source of AWS, found \"cloudhsm\"; they end in .amazonaws.com, such as cloudhsm.amazonaws.com",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    requestParameter.backupId|exists: true",
                1,
            ),
            "error r.yml:10: detection.call.requestParameter.backupId: no record has a member \"requestParameter\"; did you mean requestParameters?",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    requestParameters.backpId|exists: true",
                1,
            ),
            "error r.yml:10: detection.call.requestParameters.backpId: no call of cloudhsm.amazonaws.com has a member \"backpId\"; did you mean backupId?",
        ),
        (
            rule.replacen(
                "    eventSource: cloudhsm.amazonaws.com\n    eventName: DeleteBackup",
                "    - eventSource: cloudhsm.amazonaws.com\n      eventName: DeleteBackup\n    - eventSource: kms.amazonaws.com\n      eventName: RestoreBackup",
                1,
            ),
            "error r.yml:9: detection.call.eventName: kms.amazonaws.com has no operation \"RestoreBackup\"; cloudhsm.amazonaws.com has an operation of that name",
        ),
        (
            rule.replacen(
                "  condition: call",
                "  other: {eventName: RestoreBackup}\n  condition: call and other",
                1,
            ),
            "error r.yml:11: detection.condition: no call has all the event sources and event names that it asks for together; a call has one of each: put names into one list, or join parts by `or`",
        ),
        (
            rule.replacen(
                "eventName: DeleteBackup",
                "eventName|all: [DeleteBackup, RestoreBackup]",
                1,
            ),
            "error r.yml:10: detection.condition: no call has all the event sources and event names that it asks for together; a call has one of each: put names into one list, or join parts by `or`",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    userIdentity.typ: Root",
                1,
            ),
            "error r.yml:10: detection.call.userIdentity.typ: no userIdentity has a member \"typ\"; did you mean type?",
        ),
        (
            rule.replacen(
                "    eventName: DeleteBackup",
                "    eventName: DeleteBackup\n    userIdentity.sessionContext.sessionIsuer.userName: x",
                1,
            ),
            "error r.yml:10: detection.call.userIdentity.sessionContext.sessionIsuer.userName: no userIdentity has a member \"sessionIsuer\"; did you mean sessionIssuer?",
        ),
        (
            format!("{rule}response: Look at {{hsmId|HSM_ID}}\n"),
            "error r.yml:16: response: no record that meets this rule can fill {hsmId}; expected a member of the call's request or response, or region, account, actor, eventTime",
        ),
        (
            format!("{rule}response: Look at {{userIdentity.acountId|ACCOUNT}}\n"),
            "error r.yml:16: response: no record that meets this rule can fill {userIdentity.acountId}; did you mean accountId?",
        ),
    ] {
        assert_eq!(checked(&text), [expected], "{text}");
    }
}

#[test]
fn what_works_otherwise_than_it_seems_is_a_warning() {
    let rule = format!("{RULE}{TESTS}");
    for (text, expected) in [
        (
            RULE.to_owned(),
            "warning r.yml:1: tests: has no tests; add a record that differs in the one thing that matters, under `misses:`, and one under `meets:`",
        ),
        (
            rule.split("  - misses").next().unwrap().to_owned(),
            "warning r.yml:11: tests: has no near miss: no test that it must not meet; add a record that differs in the one thing that matters, under `misses:`, and one under `meets:`",
        ),
        (
            rule.replacen("    eventSource: cloudhsm.amazonaws.com\n", "", 1),
            "warning r.yml:6: detection: is not bound to event sources: with this rule the function reads every record of every file; ask for `eventSource` in a part that the condition requires",
        ),
        (
            rule.replacen(
                "  condition: call",
                "  root: {userIdentity.type: Root}\n  condition: call",
                1,
            ),
            "warning r.yml:10: detection.root: is used by no condition; name it in the condition, or remove it",
        ),
        (
            rule.replacen(
                "  condition: call",
                "  not_this:\n    eventName: DeleteBackups\n  condition: call and not not_this",
                1,
            ),
            "warning r.yml:11: detection.not_this.eventName: cloudhsm.amazonaws.com has no operation \"DeleteBackups\"; did you mean DeleteBackup?",
        ),
        (
            rule.replace(
                "11111111-2222-4333-8444-555555555555",
                "d11ee267-6b43-42f3-8655-72ad90d1e71d",
            ),
            "warning r.yml:2: id: takes the place of the built-in rule hsm-backup-deleted; give it an id of its own if both shall hold",
        ),
        (
            "title: off\nid: d11ee267-6b43-42f3-8655-72ad90d1e71d\nstatus: unsupported\n"
                .to_owned(),
            "warning r.yml:2: id: switches the built-in rule hsm-backup-deleted off; a filter keeps back some of its calls only, and counts them",
        ),
        (
            "title: off\nid: d11ee267-0000-42f3-8655-72ad90d1e71d\nstatus: unsupported\n"
                .to_owned(),
            "warning r.yml:2: id: switches off d11ee267-0000-42f3-8655-72ad90d1e71d, which is the id of no built-in rule; `cloudhsm-alerts rules list --format json` shows the ids",
        ),
    ] {
        assert_eq!(checked(&text), [expected], "{text}");
    }
}

#[test]
fn a_test_that_is_none_is_refused_with_its_place() {
    for (tests, expected) in [
        (
            "tests: {}\n",
            "error r.yml:11: tests: expected a list, found an object; each item has `meets:` or `misses:` with what happens, and `record:`",
        ),
        (
            "tests:\n  - record: {eventName: X}\n",
            "error r.yml:12: tests.0: says neither meets nor misses; expected `meets: …` or `misses: …`, and `record: {…}`",
        ),
        (
            "tests:\n  - meets: x\n    record: DeleteBackup\n",
            "error r.yml:13: tests.0.record: expected a CloudTrail record, found a string; give its members, such as eventSource and eventName",
        ),
        (
            "tests:\n  - meets: x\n    record: {}\n",
            "error r.yml:13: tests.0.record: expected a CloudTrail record, found an empty mapping; give its members, such as eventSource and eventName",
        ),
        (
            "tests:\n  - meets: x\n",
            "error r.yml:12: tests.0: has no record; expected `meets: …` or `misses: …`, and `record: {…}`",
        ),
        (
            "tests:\n  - meets: x\n    record:\n      eventSource: cloudhsm.amazonaws.com\n      evenName: X\n",
            "error r.yml:15: tests.0.record.evenName: expected a member of a CloudTrail record, found \"evenName\"; did you mean eventName?",
        ),
        (
            "tests:\n  - misses: x\n    record: {eventName: X, userIdentity: {sessionContext: {atributes: {}}}}\n",
            "error r.yml:13: tests.0.record.userIdentity.sessionContext.atributes: no userIdentity has a member \"atributes\"; did you mean attributes?",
        ),
        (
            "tests:\n  - misses: x\n    record:\n      eventSource: cloudhsm.amazonaws.com\n      RequestParameters: {BakupId: b}\n",
            "error r.yml:15: tests.0.record.RequestParameters.BakupId: no call of cloudhsm.amazonaws.com has a member \"BakupId\"; did you mean backupId?",
        ),
        (
            "tests:\n  - meets: x\n    watched: keys=x\n    record: {eventName: X}\n",
            "error r.yml:13: tests.0.watched: expected one of trail_bucket, alert_topic, function, function_role, ledger_table, failure_queue, source_topic, source_queue, source_rule, alarm, key, log_group, rules_bucket, stack before '=', found \"keys\"; names stand here as in WATCHED: `key=ID,stack=NAME`",
        ),
        (
            "tests:\n  - meets: x\n    watched: [key]\n    record: {eventName: X}\n",
            "error r.yml:13: tests.0.watched: expected text, found a list; names stand here as in WATCHED: `key=ID,stack=NAME`",
        ),
        (
            "tests:\n  - meets: x\n    records: {eventName: X}\n    record: {eventName: X}\n",
            "error r.yml:13: tests.0.records: expected meets, misses, record or watched, found \"records\"; expected `meets: …` or `misses: …`, and `record: {…}`",
        ),
    ] {
        assert_eq!(checked(&format!("{RULE}{tests}")), [expected], "{tests}");
    }
}

#[test]
fn what_can_be_met_is_no_error() {
    let rule = format!("{RULE}{TESTS}");
    for (asked, instead) in [
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
        // A name with whatever date behind it.
        (
            "eventSource: cloudhsm.amazonaws.com\n    eventName: DeleteBackup",
            "eventSource: lambda.amazonaws.com\n    eventName: DeleteFunctionConcurrency20171031",
        ),
        // What an identity provider says of a person has names of its own.
        (
            "    eventName: DeleteBackup",
            "    eventName: DeleteBackup\n    userIdentity.sessionContext.webIdFederationData.attributes.typ: x",
        ),
    ] {
        let text = rule.replacen(asked, instead, 1);
        assert_eq!(checked(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_file_in_another_encoding_is_one_problem_of_its_folder() {
    let broken = "title: caf\u{fffd}\nid: x\n";
    let files = [file("broken.yml", broken), file("r.yml", RULE)];
    let problems: Vec<String> = check::check(&files, TODAY)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [
            "broken.yml:1: expected YAML in UTF-8, found a character that is none; save the file in UTF-8",
            "r.yml:1: tests: has no tests; add a record that differs in the one thing that matters, under `misses:`, and one under `meets:`",
        ]
    );
}

#[test]
fn a_filter_is_held_against_the_rules_and_the_day() {
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
            "error r.yml:5: filter.rules: names \"hsm-backup-delete\", which is the id or name of no rule here or built in; did you mean hsm-backup-deleted?",
            "warning r.yml:8: expires: has expired: its last day was 2026-11-01, and it keeps nothing back any more; remove the filter, or set another date",
        ]
    );
}

#[test]
fn a_filter_may_name_a_rule_by_its_id_in_capitals() {
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
fn a_test_that_fails_says_what_the_rule_made_of_the_record() {
    let text = format!(
        "{RULE}tests:\n  - meets: an HSM is deleted\n    record: {{eventSource: cloudhsm.amazonaws.com, eventName: DeleteHsm}}\n  - misses: a backup is deleted\n    record: {{eventSource: cloudhsm.amazonaws.com, eventName: DeleteBackup}}\n"
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
            (12, Err("the rule does not meet it: call: eventName is \"DeleteHsm\", expected \"deletebackup\"".to_owned())),
            (14, Err("the rule meets it: call: eventSource is \"cloudhsm.amazonaws.com\"; call: eventName is \"DeleteBackup\"".to_owned())),
        ]
    );
}

#[test]
fn a_test_may_name_what_is_watched() {
    let text = rule_with(
        "  call:
    eventSource: kms.amazonaws.com
  key:
    - requestParameters.keyId|expand: '%key%'
    - requestParameters: null
  condition: call and key
tests:
  - meets: a key that is named
    watched: key=a
    record: {eventSource: kms.amazonaws.com, requestParameters: {keyId: a}}
  - meets: none is named
    record: {eventSource: kms.amazonaws.com, requestParameters: {keyId: a}}
  - misses: another key
    watched: key=a
    record: {eventSource: kms.amazonaws.com, requestParameters: {keyId: b}}
  - meets: parameters left out, and a key is named
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
    // Names for all tests hold where a test has none of its own.
    assert_eq!(outcomes("key=a"), [true, true, true, true, false]);
    assert_eq!(checked(&text), Vec::<String>::new());
}

#[test]
fn explanations_name_what_decides_and_hide_secrets() {
    let rules = builtin();
    let mut deleted = call("InitializeCluster");
    deleted["requestParameters"] = json!({"signedCert": "S3CRET", "trustAnchor": "S3CRET"});
    let explained = rules.explain(&record(deleted), TODAY);
    let text = format!("{explained:?}");
    assert!(!text.contains("S3CRET"));
    assert!(explained[0].is_met);
    assert_eq!(explained[0].rule.name, "hsm-cluster-initialized");
    assert!(!explained[1].is_met);
    let backup = explained
        .iter()
        .find(|found| found.rule.name == "hsm-backup-deleted")
        .unwrap();
    assert_eq!(
        backup.reasons,
        ["call: eventName is \"InitializeCluster\", expected \"deletebackup\""]
    );
}
