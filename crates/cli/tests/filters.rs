//! The options of `scan` that choose calls: what is printed, what the counts say, and errors of usage.

use std::fs;

use cloudhsm_alerts_test_support::{
    fixtures::{call, log_file_of},
    process::{decode_output, run_cli},
};
use serde_json::{Value, json};

/// A call with another value of one member.
fn changed(mut record: Value, member: &str, value: &str) -> Value {
    record[member] = value.into();
    record
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut of_bob = call("DeleteBackup", "3");
    of_bob["userIdentity"] =
        json!({"type": "IAMUser", "userName": "bob", "accountId": "111122223333"});
    of_bob["requestParameters"] = json!({"backupId": "backup-zxc7vbn2mas"});
    let records = [
        call("DeleteHsm", "1"),
        changed(
            call("DeleteCluster", "2"),
            "eventTime",
            "2026-11-24T00:00:00Z",
        ),
        of_bob,
        changed(call("DeleteHsm", "4"), "awsRegion", "eu-west-1"),
        call("DeleteHsm", "1"),
    ];
    fs::write(folder.path().join("a.json"), log_file_of(&records)).unwrap();
    folder
}

/// The event IDs of the alerts, the summary line after "records: ", and the exit code.
fn scan(folder: &tempfile::TempDir, options: &[&str]) -> (Vec<String>, String, Option<i32>) {
    let arguments = [&["scan", "a.json", "--format", "ocsf"], options].concat();
    let (code, out, err) = decode_output(&run_cli(&arguments, folder.path()));
    let ids = out
        .lines()
        .map(|line| {
            let finding: Value = serde_json::from_str(line).unwrap();
            finding["finding_info"]["uid"].as_str().unwrap().to_owned()
        })
        .collect();
    let summary = err
        .split_once("records: ")
        .map_or(err.as_str(), |(_, rest)| rest);
    (ids, summary.to_owned(), code)
}

#[test]
fn only_the_wanted_calls_are_printed_and_the_others_are_counted() {
    let folder = folder();
    for (options, ids, summary) in [
        (
            vec![],
            vec!["1", "2", "3", "4"],
            "5 calls matched; 4 alerts; 1 duplicate\n",
        ),
        (
            vec!["--since", "2026-11-24"],
            vec!["2"],
            "5 calls matched; 1 alert; 4 filtered out (4 by --since)\n",
        ),
        (
            vec!["--until", "2026-11-23"],
            vec!["1", "3", "4"],
            "5 calls matched; 3 alerts; 1 filtered out (1 by --until); 1 duplicate\n",
        ),
        (
            vec!["--actor", "bob", "--actor", "carol"],
            vec!["3"],
            "5 calls matched; 1 alert; 4 filtered out (4 by --actor)\n",
        ),
        (
            vec!["--resource", "backup-zxc7vbn2mas"],
            vec!["3"],
            "5 calls matched; 1 alert; 4 filtered out (4 by --resource)\n",
        ),
        (
            vec!["--event-name", "DeleteHsm", "--region", "eu-west-1"],
            vec!["4"],
            "5 calls matched; 1 alert; 4 filtered out (2 by --event-name, 2 by --region)\n",
        ),
        (
            vec![
                "--account",
                "prod",
                "--account-names",
                "111122223333=prod",
                "--rule",
                "hsm-cluster-deleted",
            ],
            vec!["2"],
            "5 calls matched; 1 alert; 4 filtered out (4 by --rule)\n",
        ),
        (
            vec!["--account", "444455556666"],
            vec![],
            "5 calls matched; 0 alerts; 5 filtered out (5 by --account)\n",
        ),
    ] {
        let (found, said, code) = scan(&folder, &options);
        assert_eq!(
            (found, said.as_str(), code),
            (
                ids.iter().map(ToString::to_string).collect(),
                summary,
                Some(0)
            ),
            "{options:?}"
        );
    }
}

#[test]
fn options_that_cannot_be_met_are_errors_of_usage() {
    let folder = folder();
    for (options, message) in [
        (
            vec!["--since", "2026-11-24", "--until", "2026-11-23"],
            "error: --since 2026-11-24 is later than --until 2026-11-23: no call can be in between\n",
        ),
        (
            vec!["--rule", "hsm-delete"],
            "error: --rule \"hsm-delete\": there is no such rule; did you mean hsm-deleted?\n",
        ),
    ] {
        assert_eq!(
            scan(&folder, &options),
            (vec![], message.to_owned(), Some(2))
        );
    }
    let (_, message, code) = scan(&folder, &["--since", "yesterday"]);
    assert!(
        message.contains("expected a date such as 2026-11-01"),
        "{message}"
    );
    assert_eq!(code, Some(2));
}
