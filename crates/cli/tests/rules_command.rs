//! `rules` and `explain`, and rule files for `scan`.

use std::fs;

use cloudhsm_alerts_test_support::{
    fixtures::{call, gzip, log_file_of},
    process::{decode_output, project_folder, run_cli},
};
use serde_json::{Value, json};

const RULE: &str = "title: A backup goes to another region
id: 11111111-2222-4333-8444-555555555555
name: my-copy
status: test
level: high
logsource: {product: aws, service: cloudtrail}
detection:
  call:
    eventSource: cloudhsm.amazonaws.com
    eventName: CopyBackupToRegion
  condition: call
tests:
  - matches: a copy
    record: {eventSource: cloudhsm.amazonaws.com, eventName: CopyBackupToRegion}
  - misses: a restored backup
    record: {eventSource: cloudhsm.amazonaws.com, eventName: RestoreBackup}
";

const FILTER: &str = "title: Copies by the recovery exercise
id: 99999999-2222-4333-8444-555555555555
name: exercise
logsource: {product: aws, service: cloudtrail}
filter:
  rules: any
  selection:
    userIdentity.userName: alice
    eventName: CopyBackupToRegion
  condition: not selection
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn list_shows_the_rules_and_filters_in_use() {
    let folder = folder(&[("rules/mine.yml", RULE), ("rules/filter.yml", FILTER)]);
    let (code, out, err) = decode_output(&run_cli(
        &["rules", "list", "--rules", "rules"],
        folder.path(),
    ));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let single_spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        single_spaced(out.lines().next().unwrap()),
        "LEVEL NAME TITLE ATT&CK"
    );
    let mine = out.lines().find(|line| line.contains("my-copy")).unwrap();
    assert_eq!(
        single_spaced(mine),
        "high my-copy A backup goes to another region"
    );
    assert!(out.ends_with(
        "filter exercise (Copies by the recovery exercise): suppresses matches of every rule\n"
    ));

    let (_, out, _) = decode_output(&run_cli(
        &["rules", "list", "--format", "json"],
        folder.path(),
    ));
    let listed: Value = serde_json::from_str(&out).unwrap();
    let deleted = listed["rules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rule| rule["name"] == "hsm-backup-deleted")
        .unwrap();
    assert_eq!(
        (&deleted["level"], &deleted["attack"]),
        (&json!("critical"), &json!(["T1485", "T1490"]))
    );
}

#[test]
fn check_prints_every_problem_with_its_line_and_exits_with_1_for_errors() {
    let bad = RULE
        .replace("id: 1", "id: 2")
        .replace("my-copy", "bad")
        .replacen("eventName: CopyBackupToRegion", "eventName: CopyBackup", 1);
    let folder = folder(&[
        ("rules/bad.yml", &bad),
        ("rules/good.yml", RULE),
        ("rules/LICENSE", "x"),
        ("warned/w.yml", RULE.split("tests:").next().unwrap()),
    ]);
    let check = |arguments: &[&str]| {
        decode_output(&run_cli(
            &[&["rules", "check"], arguments].concat(),
            folder.path(),
        ))
    };
    let (code, out, err) = check(&["rules"]);
    assert_eq!(
        out,
        "rules/bad.yml:10: error: detection.call.eventName: expected an operation of cloudhsm.amazonaws.com, found \"CopyBackup\"\n    \
         see the API reference of the service\n"
    );
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "2 files checked: 1 error, 0 warnings\n")
    );
    let (code, _, err) = check(&["warned"]);
    assert_eq!(
        (code, err.as_str()),
        (Some(0), "1 file checked: 0 errors, 1 warning\n")
    );
    assert_eq!(check(&["warned", "--strict"]).0, Some(1));
    let (code, _, err) = check(&[]);
    assert_eq!(code, Some(0));
    assert!(
        err.ends_with(" files checked: 0 errors, 0 warnings\n"),
        "{err}"
    );
    assert_eq!(
        check(&["nowhere"]),
        (
            Some(1),
            String::new(),
            "cloudhsm-alerts: nowhere: cannot be read: No such file or directory (os error 2)\n"
                .into()
        )
    );
    assert_eq!(check(&["--nonsense"]).0, Some(2));
    // A file in another encoding is one error, and the other files are still checked.
    fs::write(folder.path().join("rules/latin.yml"), b"# r\xe8gle\n").unwrap();
    let (code, out, err) = check(&["rules"]);
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "3 files checked: 2 errors, 0 warnings\n")
    );
    assert!(
        out.ends_with(
            "rules/latin.yml:1: error: expected UTF-8, found other bytes\n    save the file in UTF-8\n"
        ),
        "{out}"
    );
}

#[test]
fn test_runs_the_tests_of_rules_and_writes_junit() {
    let failing = RULE
        .replace("id: 1", "id: 2")
        .replace("my-copy", "failing")
        .replace("eventName: RestoreBackup", "eventName: CopyBackupToRegion");
    let folder = folder(&[("good/a.yml", RULE), ("bad/b.yml", &failing)]);
    let (code, out, err) = decode_output(&run_cli(&["rules", "test", "good"], folder.path()));
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "", "1 rule: 2 passed, 0 failed\n")
    );
    let (code, out, err) = decode_output(&run_cli(
        &["rules", "test", "good", "bad", "--junit", "junit.xml"],
        folder.path(),
    ));
    assert_eq!(
        out,
        "bad/b.yml:15: FAILED: failing misses \"a restored backup\"\n    \
         the record matches: call: eventSource is \"cloudhsm.amazonaws.com\"; call: eventName is \"CopyBackupToRegion\"\n"
    );
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "2 rules: 3 passed, 1 failed\n")
    );
    let junit = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    assert!(junit.contains("<testsuites name=\"cloudhsm-alerts rules\" tests=\"4\" skipped=\"0\" failures=\"1\" errors=\"0\">"), "{junit}");
    assert!(junit.contains("<testcase name=\"misses a restored backup\" classname=\"failing\" file=\"bad/b.yml\" line=\"15\">"), "{junit}");
}

#[test]
fn explain_shows_matching_rules_and_why_others_do_not_match() {
    let folder = folder(&[("rules/mine.yml", RULE), ("rules/filter.yml", FILTER)]);
    fs::write(
        folder.path().join("log.json.gz"),
        gzip(&log_file_of(&[
            call("DeleteHsm", "1"),
            call("CopyBackupToRegion", "2"),
        ])),
    )
    .unwrap();
    let explain = |arguments: &[&str]| {
        decode_output(&run_cli(
            &[&["explain", "log.json.gz"], arguments].concat(),
            folder.path(),
        ))
    };
    let (code, out, err) = explain(&["--event-id", "2", "--rules", "rules", "--all"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let head: Vec<&str> = out.lines().take(4).collect();
    assert_eq!(
        head[..3],
        [
            "CopyBackupToRegion of cloudhsm.amazonaws.com, SUCCEEDED",
            "",
            "MATCHES"
        ]
    );
    assert_eq!(
        head[3],
        "  high hsm-backup-copied-to-region, suppressed by filter exercise"
    );
    assert!(out.contains("\nDOES NOT MATCH, nearest first\n"));
    assert!(out.contains("\n  hsm-deleted\n      call: eventName is \"CopyBackupToRegion\", expected \"DeleteHsm\"\n"), "{out}");

    let (code, out, err) = explain(&["--event-id", "2", "--rules", "rules"]);
    let (matching, near) = out
        .split_once("\nNEAREST MISSES, each by one condition\n")
        .unwrap();
    assert!(
        matching.starts_with("CopyBackupToRegion of cloudhsm.amazonaws.com, SUCCEEDED\n\nMATCHES\n  high hsm-backup-copied-to-region, suppressed by filter exercise\n"),
        "{out}"
    );
    assert_eq!((code, near.lines().count()), (Some(0), 10), "{out}");
    assert!(
        err.ends_with(
            " other rules not shown; --all shows every rule and condition, --rule NAME one rule\n"
        ),
        "{err}"
    );

    let (_, out, _) = explain(&["--event-id", "1", "--rule", "hsm-deleted"]);
    assert_eq!(
        out,
        "DeleteHsm of cloudhsm.amazonaws.com, SUCCEEDED\n\nMATCHES\n  critical hsm-deleted\n      \
         call: eventSource is \"cloudhsm.amazonaws.com\"\n      call: eventName is \"DeleteHsm\"\n      \
         not excluded, classic: requestParameters.hsmArn is not in the record, expected it to exist\n"
    );
    for (arguments, expected) in [
        (
            vec!["--event-id", "3"],
            "cloudhsm-alerts: log.json.gz: none of 2 records (0 unreadable) has the eventID \"3\"\n",
        ),
        (
            vec!["--event-id", "1", "--rule", "hsm-delet"],
            "cloudhsm-alerts: there is no rule \"hsm-delet\"; did you mean hsm-deleted?\n",
        ),
    ] {
        assert_eq!(
            explain(&arguments),
            (Some(1), String::new(), expected.to_owned())
        );
    }
}

#[test]
fn scan_uses_added_rules_and_counts_suppressed_matches() {
    let folder = folder(&[("rules/filter.yml", FILTER), ("broken/x.yml", "title: [x")]);
    fs::write(
        folder.path().join("log.json"),
        log_file_of(&[call("CopyBackupToRegion", "1"), call("DeleteHsm", "2")]),
    )
    .unwrap();
    let (code, out, err) = decode_output(&run_cli(
        &["scan", "log.json", "--rules", "rules"],
        folder.path(),
    ));
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    assert!(out.starts_with("CRITICAL "));
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        lines[0].ends_with("2 calls matched; 1 alert; 1 suppressed by filters"),
        "{err}"
    );
    assert_eq!(
        lines[1],
        "suppressed: 1 match of hsm-backup-copied-to-region by filter exercise"
    );
    let (code, out, err) = decode_output(&run_cli(
        &["scan", "log.json", "--rules", "broken"],
        folder.path(),
    ));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("cloudhsm-alerts: broken/x.yml:1: expected YAML: "),
        "{err}"
    );
}

#[test]
fn rules_in_the_documentation_pass_check_and_test() {
    for page in ["README.md", "docs/writing-rules.md"] {
        let text = fs::read_to_string(project_folder().join(page)).unwrap();
        let whole: Vec<&str> = text
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
            .filter(|block| block.starts_with("title:"))
            .collect();
        assert!(!whole.is_empty(), "{page}");
        for (number, block) in whole.iter().enumerate() {
            let folder = folder(&[("rules/shown.yml", block)]);
            let (code, out, err) =
                decode_output(&run_cli(&["rules", "check", "rules"], folder.path()));
            assert_eq!(
                (code, out.as_str()),
                (Some(0), ""),
                "{page}, block {number}: {err}"
            );
            let (code, out, _) =
                decode_output(&run_cli(&["rules", "test", "rules"], folder.path()));
            assert_eq!(
                (code, out.as_str()),
                (Some(0), ""),
                "{page}, block {number}"
            );
        }
        // The table of placeholders is complete.
        if page.starts_with("docs/") {
            for (name, what, usual) in cloudhsm_alerts_core::rules::watched::described() {
                let usual: Vec<String> = usual.iter().map(|usual| format!("`{usual}`")).collect();
                let usual = if usual.is_empty() {
                    "nothing".to_owned()
                } else {
                    usual.join(", ")
                };
                let row = format!("| `%{name}%` | {what} | {usual} |");
                assert!(text.contains(&row), "{row}");
            }
        }
    }
}

#[test]
fn docs_rules_md_is_up_to_date() {
    let (code, out, _) = decode_output(&run_cli(&["rules", "document"], project_folder()));
    assert_eq!(code, Some(0));
    let page = fs::read_to_string(project_folder().join("docs/rules.md")).unwrap();
    assert!(
        page == out,
        "docs/rules.md is out of date: run `make rules-page`"
    );
}

#[test]
fn a_new_rule_passes_its_checks_and_tests() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| decode_output(&run_cli(arguments, folder.path()));
    let new = ["rules", "new", "backup-copied-abroad", "--folder", "mine"];
    let (code, out, err) = run(&new);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let (code, out, err) = run(&["rules", "check", "--strict", "mine"]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let (code, out, err) = run(&["rules", "test", "mine"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, _, err) = run(&new);
    assert_eq!(
        (code, err.as_str()),
        (
            Some(1),
            "cloudhsm-alerts: mine/backup-copied-abroad.yml: the file exists; choose another name or folder\n"
        )
    );
    for name in ["Mine", "a--b", "-a", "../a", "1a"] {
        assert_eq!(run(&["rules", "new", "--", name]).0, Some(2), "{name}");
    }
}
