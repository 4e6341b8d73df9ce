//! `deadline`: what is accepted, and what is rejected with its line.

use super::*;

const DEADLINE: &str = "deadline:
  resource: '{backupId}'
  subject: Backup {backupId}
  until: '{eventTime+7d}'
  cluster: '{clusterId}'
  undone: restored
  command: aws cloudhsmv2 restore-backup --region {region} --backup-id {backupId}
  closed_by:
    hsm-backup-restored: '{backupId}'
tests:
  - matches: a backup is deleted
    record: {eventSource: cloudhsm.amazonaws.com, eventName: DeleteBackup, eventTime: '2026-11-23T00:00:00Z', requestParameters: {backupId: b}}
    opens: {resource: b, until: 2026-11-30T00:00:00Z}
  - misses: a backup is restored
    record: {eventSource: cloudhsm.amazonaws.com, eventName: RestoreBackup, eventTime: '2026-11-23T00:00:00Z', requestParameters: {backupId: b}}
    closes: {resource: b}
";

fn rule() -> String {
    format!("{RULE}{DEADLINE}")
}

fn checked(files: &[RuleFile]) -> Vec<String> {
    check::check(files, NOW)
        .iter()
        .map(|found| format!("{} {found}", found.kind.as_str()))
        .collect()
}

#[test]
fn a_deadline_is_checked_with_its_lines() {
    assert_eq!(checked(&[file("r.yml", &rule())]), Vec::<String>::new());
    for (before, after, expected) in [
        (
            "  undone: restored\n",
            "",
            "error r.yml:11: deadline.undone: is missing; expected a few words such as restored",
        ),
        (
            "  undone:",
            "  undne:",
            "error r.yml:16: deadline.undne: expected a member of a deadline, found \"undne\"; did you mean undone?",
        ),
        (
            "undone: restored",
            "undone: '{restored}'",
            "error r.yml:16: deadline.undone: expected at most 40 characters without placeholders, found \"{restored}\"",
        ),
        (
            "resource: '{backupId}'",
            "resource: {backupId}",
            "error r.yml:12: deadline.resource: expected the placeholder of the resource, such as '{backupId}', found an object; put a text that begins with a brace in quotes",
        ),
        (
            "resource: '{backupId}'",
            "resource: '{backupId|any}'",
            "error r.yml:12: deadline.resource: expected a placeholder alone, such as '{backupId}', found \"{backupId|any}\"; it has no text around it, no fallback, and is a member of the record",
        ),
        (
            "resource: '{backupId}'",
            "resource: '{region}'",
            "error r.yml:12: deadline.resource: expected a placeholder alone, such as '{backupId}', found \"{region}\"; it has no text around it, no fallback, and is a member of the record",
        ),
        (
            "resource: '{backupId}'",
            "resource: '{bakupId}'",
            "error r.yml:12: deadline.resource: expected a placeholder that matching records can fill, found {bakupId}; did you mean backupId?",
        ),
        (
            "subject: Backup {backupId}",
            "subject: Backup {backup-id}",
            "error r.yml:13: deadline.subject: expected a placeholder such as {backupId} or {backupId|the backup}, found {backup-id}",
        ),
        (
            "subject: Backup {backupId}",
            "subject: Backup {bakupId}",
            "error r.yml:13: deadline.subject: expected a placeholder that matching records can fill, found {bakupId}; did you mean backupId?",
        ),
        (
            "until: '{eventTime+7d}'",
            "until: 7d",
            "error r.yml:14: deadline.until: expected a time such as {responseElements.deletionDate} or {eventTime+7d}, found \"7d\"",
        ),
        (
            "until: '{eventTime+7d}'",
            "until:\n    - '{eventTime+7d}'\n    - '{eventTime+7w}'",
            "error r.yml:16: deadline.until.1: expected a time such as {responseElements.deletionDate} or {eventTime+7d}, found \"{eventTime+7w}\"",
        ),
        (
            "until: '{eventTime+7d}'",
            "until: []",
            "error r.yml:14: deadline.until: expected a time such as '{eventTime+7d}', or a list, found an empty list",
        ),
        (
            "until: '{eventTime+7d}'",
            "until: ['{responseElements.backup.deletTimestamp}', '{eventTime+7d}']",
            "error r.yml:14: deadline.until.0: expected a placeholder that matching records can fill, found {responseElements.backup.deletTimestamp}; did you mean deleteTimestamp?",
        ),
        (
            "command: aws cloudhsmv2",
            "command: |\n    aws cloudhsmv2\n    more",
            "",
        ),
        (
            "hsm-backup-restored: '{backupId}'",
            "hsm-backup-restord: '{backupId}'",
            "error r.yml:19: deadline.closed_by.hsm-backup-restord: expected the id or name of a rule, found \"hsm-backup-restord\"; did you mean hsm-backup-restored?",
        ),
        (
            "hsm-backup-restored: '{backupId}'",
            "t: '{backupId}'",
            "error r.yml:19: deadline.closed_by.t: expected another rule, found the rule itself, whose calls open the deadline; name the rule that matches the call which undoes it",
        ),
        (
            "hsm-backup-restored: '{backupId}'",
            "hsm-backup-restored: '{keyId}'",
            "error r.yml:19: deadline.closed_by.hsm-backup-restored: expected a placeholder that records of hsm-backup-restored can fill, found {keyId}; use a member of the call's request or response, or region, account, actor, eventTime",
        ),
        (
            "closed_by:\n    hsm-backup-restored: '{backupId}'",
            "closed_by: hsm-backup-restored",
            "error r.yml:18: deadline.closed_by: expected a mapping from rules to placeholders, such as hsm-backup-restored: '{backupId}', found a string",
        ),
        (
            "    opens: {resource: b, until: 2026-11-30T00:00:00Z}",
            "    opens: {resource: b}",
            "error r.yml:23: tests.0.opens.until: is missing; write resource, until and their values, or `nothing`",
        ),
        (
            "    closes: {resource: b}",
            "    opens: {resource: b, until: 2026-11-30T00:00:00Z}",
            "error r.yml:26: tests.1.opens: expected `opens` in a test with `matches`, found it in one with `misses`; a record that does not match opens no deadline",
        ),
        (
            "    closes: {resource: b}",
            "    closes: {resource: b, ruel: t}",
            "error r.yml:26: tests.1.closes.ruel: expected resource, account, region, rule, found \"ruel\"; did you mean rule?",
        ),
    ] {
        let text = rule().replacen(before, after, 1);
        assert_ne!(text, rule());
        let found = checked(&[file("r.yml", &text)]);
        if expected.is_empty() {
            assert!(found[0].contains("found several lines"), "{found:?}");
        } else {
            assert_eq!(found, [expected], "{text}");
        }
    }
}

#[test]
fn a_closing_rule_that_does_not_exist_is_an_error_at_load() {
    let text = rule().replace("hsm-backup-restored:", "hsm-backup-restord:");
    let errors = RuleSet::with(&[file("r.yml", &text)], &Watched::default()).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "r.yml:11: deadline.closed_by.hsm-backup-restord: expected the id or name of a rule, found \"hsm-backup-restord\"; did you mean hsm-backup-restored?"
        ]
    );
    assert!(RuleSet::with(&[file("r.yml", &rule())], &Watched::default()).is_ok());
}

#[test]
fn a_closing_rule_that_is_switched_off_is_a_warning() {
    let off = "id: 227421ad-3cdc-4fa0-b6fb-99945497ec82\nstatus: unsupported\n";
    let files = [file("r.yml", &rule()), file("off.yml", off)];
    assert_eq!(
        checked(&files),
        [
            "warning r.yml:19: deadline.closed_by.hsm-backup-restored: expected a rule that is in use, found one that `status: unsupported` switches off; its calls do not close the deadline; remove the document that switches it off, or name another rule",
            "warning off.yml:1: id: disables the built-in rule hsm-backup-restored; to suppress only some of its matches, write a filter",
            "warning off.yml:1: id: disables hsm-backup-restored, whose calls close the deadline of hsm-backup-deleted and t; keep the rule, and suppress its alerts by a filter: a suppressed match closes a deadline, too",
        ]
    );
    assert!(RuleSet::with(&files, &Watched::default()).is_ok());
}

#[test]
fn a_replacement_without_the_deadline_is_a_warning() {
    let id = "d11ee267-6b43-42f3-8655-72ad90d1e71d";
    let tests = &DEADLINE[DEADLINE.find("tests:").unwrap()..];
    let tests = tests
        .replace(
            "    opens: {resource: b, until: 2026-11-30T00:00:00Z}\n",
            "",
        )
        .replace("    closes: {resource: b}\n", "");
    let without = format!("{RULE}{tests}").replace("11111111-2222-4333-8444-555555555555", id);
    assert_eq!(
        checked(&[file("r.yml", &without)]),
        [
            "warning r.yml:1: deadline: is missing; the built-in rule hsm-backup-deleted has one; copy it, or nobody is reminded of what can still be undone",
            "warning r.yml:2: id: replaces the built-in rule hsm-backup-deleted; to keep both rules, change the id",
        ]
    );
}

#[test]
fn a_test_whose_deadline_differs_fails() {
    for (before, after, expected) in [
        ("opens: {resource: b,", "opens: {resource: b,", vec![]),
        (
            "opens: {resource: b,",
            "opens: {resource: c,",
            vec![
                "opens: expected resource c, until 2026-11-30T00:00:00Z, found resource b, until 2026-11-30T00:00:00Z",
            ],
        ),
        (
            "until: 2026-11-30T00:00:00Z",
            "until: 2026-11-30T01:00:00+01:00",
            vec![],
        ),
        (
            "opens: {resource: b, until: 2026-11-30T00:00:00Z}",
            "opens: nothing",
            vec!["opens: expected nothing, found resource b"],
        ),
        (
            "eventTime: '2026-11-23T00:00:00Z', requestParameters: {backupId: b}}\n    opens",
            "requestParameters: {backupId: b}}\n    opens",
            vec!["opens: expected resource b, until 2026-11-30T00:00:00Z, found nothing"],
        ),
        (
            "closes: {resource: b}",
            "closes: {resource: b, rule: hsm-backup-deleted}",
            vec!["closes: expected resource b, rule hsm-backup-deleted, found resource b, rule t"],
        ),
        (
            "closes: {resource: b}",
            "closes: nothing",
            vec!["closes: expected nothing, found resource b"],
        ),
    ] {
        let text = rule().replacen(before, after, 1);
        let tested = cases::run(&[file("r.yml", &text)], &Watched::default()).unwrap();
        let failures: Vec<String> = tested[0]
            .cases
            .iter()
            .filter_map(|(_, outcome)| outcome.clone().err())
            .collect();
        assert_eq!(failures, expected, "{after}");
    }
}
