//! `report`: what its JSON says, that order does not matter, what its page is made of, and exit codes.

use std::{collections::BTreeSet, fs, path::Path};

use cloudhsm_alerts_test_support::{
    aws_cli,
    fixtures::{call, denied, log_file_of},
    process::{decode_output, run_cli},
};
use serde_json::{Value, json};

const CLUSTER: &str = "cluster-lk3jhgf4dsa";
const BACKUP: &str = "backup-zxc7vbn2mas";
const OTHER_BACKUP: &str = "backup-pl2okm3ijn4";

/// A call at a time of 2026-11-23, with its request and response.
fn at(time: &str, event_name: &str, id: &str, request: Value, response: Value) -> Value {
    let mut record = call(event_name, id);
    record["eventTime"] = format!("2026-11-23T{time}Z").into();
    record["requestParameters"] = request;
    record["responseElements"] = response;
    record
}

fn deleted(time: &str, id: &str, backup: &str) -> Value {
    let response = json!({"backup": {"backupId": backup, "clusterId": CLUSTER, "deleteTimestamp": "Nov 30, 2026, 3:41:09 AM"}});
    at(
        time,
        "DeleteBackup",
        id,
        json!({"backupId": backup}),
        response,
    )
}

/// Two deletions of which one is undone, a copy, a new cluster, and a refused call.
fn incident() -> Vec<(&'static str, Vec<Value>)> {
    let restored =
        json!({"backup": {"backupId": OTHER_BACKUP, "clusterId": CLUSTER, "backupState": "READY"}});
    let policy =
        r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"*"}]}"#;
    vec![
        (
            "111122223333_CloudTrail_us-west-2_20261123T0345Z_a.json",
            vec![
                at(
                    "03:40:00",
                    "CopyBackupToRegion",
                    "1",
                    json!({"backupId": BACKUP, "destinationRegion": "eu-central-1"}),
                    json!({"destinationBackup": {"sourceCluster": CLUSTER}}),
                ),
                at(
                    "03:40:30",
                    "PutResourcePolicy",
                    "2",
                    json!({"resourceArn": format!("arn:aws:cloudhsm:us-west-2:111122223333:backup/{BACKUP}"), "policy": policy}),
                    Value::Null,
                ),
                deleted("03:41:09", "3", BACKUP),
                denied(at(
                    "03:42:00",
                    "DeleteBackup",
                    "4",
                    json!({"backupId": OTHER_BACKUP}),
                    Value::Null,
                )),
            ],
        ),
        (
            "111122223333_CloudTrail_us-west-2_20261123T0355Z_b.json",
            vec![
                deleted("03:43:00", "5", OTHER_BACKUP),
                at(
                    "03:50:00",
                    "RestoreBackup",
                    "6",
                    json!({"backupId": OTHER_BACKUP}),
                    restored,
                ),
                at(
                    "03:52:00",
                    "CreateCluster",
                    "7",
                    json!({"sourceBackupId": OTHER_BACKUP}),
                    json!({"cluster": {"clusterId": "cluster-2qazxsw3edc"}}),
                ),
                at("03:53:00", "DescribeBackups", "8", Value::Null, Value::Null),
                // Delivered again.
                deleted("03:41:09", "3", BACKUP),
            ],
        ),
    ]
}

fn write_files(folder: &Path, files: &[(&str, Vec<Value>)]) {
    for (name, records) in files {
        fs::write(folder.join(name), log_file_of(records)).unwrap();
    }
}

fn report(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<&str> = ["report"].iter().chain(arguments).copied().collect();
    decode_output(&run_cli(&arguments, folder))
}

fn json_report(folder: &Path, arguments: &[&str]) -> Value {
    let fixed = ["--format", "json", "--as-of", "2026-11-25T00:00:00Z"];
    let arguments: Vec<&str> = arguments.iter().chain(&fixed).copied().collect();
    let (code, out, err) = report(folder, &arguments);
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn what_an_incident_was() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &incident());
    let report = json_report(folder.path(), &["."]);

    let read = &report["read"];
    let counts = [
        "files",
        "records",
        "matched",
        "listed",
        "below_min_severity",
        "duplicates",
        "suppressed",
        "filtered_out",
        "not_listed",
    ]
    .map(|name| read[name].as_u64().unwrap());
    assert_eq!(counts, [2, 9, 9, 7, 1, 1, 0, 0, 0]);
    assert_eq!(read["log_files"]["first"], "2026-11-23T03:45:00Z");
    assert_eq!(read["log_files"]["last"], "2026-11-23T03:55:00Z");

    let calls: Vec<String> = report["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| {
            format!(
                "{} {} {} {}",
                call["number"],
                call["event_id"].as_str().unwrap(),
                call["event_name"].as_str().unwrap(),
                call["outcome"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        calls,
        [
            "1 1 CopyBackupToRegion success",
            "2 2 PutResourcePolicy success",
            "3 3 DeleteBackup success",
            "4 4 DeleteBackup denied",
            "5 5 DeleteBackup success",
            "6 6 RestoreBackup success",
            "7 7 CreateCluster success",
        ]
    );

    assert_eq!(
        report["deadlines"],
        json!([
            {
                "state": "open", "due": "2026-11-30T03:41:09Z", "time_left": "5 days 3 h left", "kind": "backup_deletion",
                "resource": format!("Backup {BACKUP}"), "account": "111122223333", "region": "us-west-2",
                "began": "2026-11-23T03:41:09Z", "actor": "alice",
                "what_happened": format!("Deleted by alice on 2026-11-23 03:41:09 UTC. It is a backup of cluster {CLUSTER}, with all its keys and users."),
                "note": null,
                "commands": [
                    format!("aws cloudhsmv2 restore-backup --region us-west-2 --backup-id {BACKUP}"),
                    format!("aws cloudhsmv2 modify-backup-attributes --region us-west-2 --backup-id {BACKUP} --never-expires"),
                    format!("aws cloudhsmv2 describe-backups --region us-west-2 --filters backupIds={BACKUP}"),
                ],
                "call": 3,
            },
            {
                "state": "closed", "due": "2026-11-30T03:41:09Z", "time_left": null, "kind": "backup_deletion",
                "resource": format!("Backup {OTHER_BACKUP}"), "account": "111122223333", "region": "us-west-2",
                "began": "2026-11-23T03:43:00Z", "actor": "alice",
                "what_happened": format!("Deleted by alice on 2026-11-23 03:43:00 UTC. It is a backup of cluster {CLUSTER}, with all its keys and users."),
                "note": "Restored by alice on 2026-11-23 03:50:00 UTC.",
                "commands": [], "call": 5,
            },
        ])
    );

    let mut tree = Vec::new();
    outline(&report["lineage"]["clusters_and_backups"], 0, &mut tree);
    assert_eq!(
        tree,
        [
            "cluster cluster-lk3jhgf4dsa: exists: no deletion in these records".to_owned(),
            format!("  backup {OTHER_BACKUP}: exists: no open deletion in these records"),
            "    cluster cluster-2qazxsw3edc: exists: no deletion in these records".to_owned(),
            format!(
                "  backup {BACKUP}: deleted on 2026-11-23 03:41:09 UTC; can be restored until 2026-11-30 03:41 UTC, 5 days 3 h left; SHARED with 444455556666"
            ),
            "    copy (eu-central-1): no deletion in these records".to_owned(),
        ]
    );

    let actor = &report["actors"][0];
    let counts = [
        "calls",
        "succeeded",
        "denied",
        "failed",
        "below_min_severity",
    ]
    .map(|name| actor[name].as_u64().unwrap());
    assert_eq!(counts, [8, 7, 1, 0, 1]);
    assert_eq!(actor["first_seen"], "2026-11-23T03:40:00Z");
    assert_eq!(actor["last_seen"], "2026-11-23T03:53:00Z");
    assert_eq!(report["actors"].as_array().unwrap().len(), 1);
}

fn outline(nodes: &Value, depth: usize, lines: &mut Vec<String>) {
    for node in nodes.as_array().unwrap() {
        let id = match &node["id"] {
            Value::String(id) => id.clone(),
            _ => format!("({})", node["region"].as_str().unwrap()),
        };
        lines.push(format!(
            "{}{} {id}: {}",
            "  ".repeat(depth),
            node["kind"].as_str().unwrap(),
            node["state_text"].as_str().unwrap()
        ));
        outline(&node["children"], depth + 1, lines);
    }
}

#[test]
fn a_key_deletion_is_open_until_it_is_cancelled() {
    let kms = |time: &str, name: &str, id: &str, key: &str| {
        let mut record = at(
            time,
            name,
            id,
            json!({"keyId": key, "pendingWindowInDays": 7}),
            json!({"keyId": format!("arn:aws:kms:us-west-2:111122223333:key/{key}")}),
        );
        record["eventSource"] = "kms.amazonaws.com".into();
        record
    };
    let folder = tempfile::tempdir().unwrap();
    write_files(
        folder.path(),
        &[(
            "a.json",
            vec![
                kms("05:00:00", "CancelKeyDeletion", "2", "one"),
                kms("03:00:00", "ScheduleKeyDeletion", "1", "one"),
                kms("04:00:00", "ScheduleKeyDeletion", "3", "two"),
            ],
        )],
    );
    let report = json_report(folder.path(), &["a.json"]);
    let states: Vec<_> = report["deadlines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deadline| {
            (
                deadline["resource"].as_str().unwrap(),
                deadline["state"].as_str().unwrap(),
                deadline["due"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            ("KMS key two", "open", "2026-11-30T04:00:00Z"),
            ("KMS key one", "closed", "2026-11-30T03:00:00Z")
        ]
    );
    // As for `scan`, these calls match no rule.
    assert_eq!(
        (&report["read"]["matched"], &report["read"]["records"]),
        (&json!(0), &json!(3))
    );
}

/// The texts of the commands in a report.
fn commands(report: &Value, found: &mut BTreeSet<String>) {
    match report {
        Value::String(text) if text.starts_with("aws ") => {
            found.insert(text.clone());
        }
        Value::Array(all) => all.iter().for_each(|value| commands(value, found)),
        Value::Object(all) => all.values().for_each(|value| commands(value, found)),
        _ => {}
    }
}

/// The commands in the source of the report, as the texts between their placeholders.
fn written_commands() -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let literals = text.split("\"aws ").skip(1);
            let commands = literals.map(|rest| format!("aws {}", rest.split('"').next().unwrap()));
            found.extend(commands.map(|command| {
                let mut parts = command.split(['{', '}']);
                let first = parts.next().map(str::to_owned);
                // Every other part is the name of a placeholder.
                first
                    .into_iter()
                    .chain(parts.skip(1).step_by(2).map(str::to_owned))
                    .collect()
            }));
        }
    }
    found
}

/// Whether a text has these parts in this order, the first one at its beginning.
fn has_in_order(text: &str, parts: &[String]) -> bool {
    text.starts_with(&parts[0])
        && parts
            .iter()
            .try_fold(text, |rest, part| {
                rest.split_once(part.as_str()).map(|(_, rest)| rest)
            })
            .is_some()
}

#[test]
fn every_command_is_one_that_the_aws_cli_knows() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = incident();
    let mut scheduled = at(
        "03:54:00",
        "ScheduleKeyDeletion",
        "10",
        json!({"keyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "pendingWindowInDays": 7}),
        json!({"keyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "deletionDate": "Nov 30, 2026, 3:54:00 AM"}),
    );
    scheduled["eventSource"] = "kms.amazonaws.com".into();
    let others = vec![
        scheduled,
        at(
            "03:55:00",
            "ModifyCluster",
            "11",
            json!({"clusterId": CLUSTER, "hsmType": "hsm2m.medium"}),
            json!({"cluster": {"clusterId": CLUSTER, "hsmType": "hsm2m.medium"}}),
        ),
        // Deleted, and nothing is known of its cluster.
        at(
            "03:56:00",
            "DeleteBackup",
            "12",
            json!({"backupId": "backup-aaaaaaaaaaa"}),
            Value::Null,
        ),
    ];
    files.push(("others.json", others));
    write_files(folder.path(), &files);
    let mut found = BTreeSet::new();
    for as_of in ["2026-11-23T04:00:00Z", "2027-11-23"] {
        let arguments = [".", "--format", "json", "--as-of", as_of];
        let (code, out, err) = report(folder.path(), &arguments);
        assert_eq!(code, Some(0), "{err}");
        commands(&serde_json::from_str(&out).unwrap(), &mut found);
    }
    let errors: Vec<String> = found
        .iter()
        .filter_map(|command| Some(format!("{}: {command}", aws_cli::check(command).err()?)))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    // None of them was left out.
    let written = written_commands();
    let missing: Vec<_> = written
        .iter()
        .filter(|parts| !found.iter().any(|command| has_in_order(command, parts)))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} {found:#?}");
    assert!(written.len() >= 15, "{}", written.len());
}

#[test]
fn a_deletion_time_that_is_no_deadline_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut calls = Vec::new();
    for (backup, deletion) in [
        ("backup-none", Value::Null),
        ("backup-call", json!(1_795_405_269_155_u64)),
        ("backup-later", json!("Nov 28, 2026, 3:41:09 AM")),
    ] {
        let mut call = deleted("03:41:09", backup, backup);
        call["responseElements"]["backup"]["deleteTimestamp"] = deletion;
        calls.push(call);
    }
    write_files(folder.path(), &[("a.json", calls)]);
    let report = json_report(folder.path(), &["a.json"]);
    let mut due: Vec<_> = report["deadlines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deadline| {
            [&deadline["resource"], &deadline["due"]].map(|text| text.as_str().unwrap())
        })
        .collect();
    due.sort_unstable();
    assert_eq!(
        due,
        [
            ["Backup backup-call", "2026-11-30T03:41:09Z"],
            ["Backup backup-later", "2026-11-28T03:41:09Z"],
            ["Backup backup-none", "2026-11-30T03:41:09Z"],
        ]
    );
}

#[test]
fn the_order_of_files_and_records_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &incident());
    let names: Vec<&str> = incident().iter().map(|(name, _)| *name).collect();
    let fixed = ["--as-of", "2026-11-25", "--jobs", "2"];
    for format in ["html", "json"] {
        let run = |paths: &[&str]| {
            let arguments: Vec<&str> = paths
                .iter()
                .chain(&fixed)
                .chain(&["--format", format])
                .copied()
                .collect();
            let (code, out, _) = report(folder.path(), &arguments);
            assert_eq!(code, Some(0));
            out
        };
        assert_eq!(run(&names), run(&[names[1], names[0]]), "{format}");
        assert_eq!(run(&names), run(&names), "{format}");
    }
}

#[test]
fn the_filters_choose_what_is_listed_but_not_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &incident());
    let report = json_report(
        folder.path(),
        &[
            ".",
            "--until",
            "2026-11-23T03:43:30Z",
            "--event-name",
            "DeleteBackup",
        ],
    );
    let read = &report["read"];
    let counts = [
        "matched",
        "listed",
        "below_min_severity",
        "duplicates",
        "filtered_out",
    ]
    .map(|name| read[name].as_u64().unwrap());
    assert_eq!(counts, [9, 3, 0, 1, 5]);
    assert_eq!(
        read["filters"],
        json!(["--until 2026-11-23T03:43:30Z", "--event-name DeleteBackup"])
    );
    // The restore is not listed, and closes the deletion.
    assert_eq!(report["deadlines"][1]["state"], "closed");
}

#[test]
fn hostile_records_do_not_change_the_page() {
    let hostile = "</script></style></pre></svg><script>alert(1)</script><img src=x onerror=alert(1)>\u{202e}\u{200b}\"'`{{7*7}}&lt;]]>--><style>*{display:none}</style>";
    // Of the same length and with its slashes, at which an ARN is divided, but without a meaning.
    let tame: String = hostile
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '/' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut plain = Vec::new();
    let mut bad = Vec::new();
    for (_, records) in incident() {
        for record in records {
            let mut other = record.clone();
            for (text, records) in [(tame.as_str(), &mut plain), (hostile, &mut bad)] {
                other["userAgent"] = text.into();
                other["sourceIPAddress"] = text.into();
                other["errorMessage"] = if record["errorCode"].is_null() {
                    Value::Null
                } else {
                    text.into()
                };
                other["userIdentity"]["userName"] = text.into();
                other["userIdentity"]["arn"] = text.into();
                other["userIdentity"]["accessKeyId"] = text.into();
                other["awsRegion"] = text.into();
                other["additionalEventData"] = json!({"x": text});
                for name in [
                    "backupId",
                    "clusterId",
                    "resourceArn",
                    "destinationRegion",
                    "sourceBackupId",
                ] {
                    if record["requestParameters"][name].is_string() {
                        other["requestParameters"][name] = text.into();
                    }
                }
                records.push(other.clone());
            }
        }
    }
    let page = |records: &[Value]| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), log_file_of(records)).unwrap();
        let (code, page, err) = report(folder.path(), &["a.json", "--as-of", "2026-11-25"]);
        assert_eq!(code, Some(0), "{err}");
        page
    };
    let (plain, bad) = (page(&plain), page(&bad));
    // Where a command cannot name the resource it has a placeholder, so the text differs; the elements do not.
    let differs = elements(&bad)
        .into_iter()
        .zip(elements(&plain))
        .position(|(one, other)| one != other);
    assert_eq!(
        (differs, elements(&bad).len()),
        (None, elements(&plain).len())
    );
    assert!(bad.contains("&#60;script"), "the text itself is there");
    for forbidden in ["<script", "<img", "\u{202e}", "\u{200b}"] {
        assert!(!bad.contains(forbidden), "{forbidden}");
    }
}

/// The names of all tags in the page, in their order.
fn elements(page: &str) -> Vec<&str> {
    page.split('<')
        .skip(1)
        .map(|tag| tag.split([' ', '>', '\n']).next().unwrap())
        .collect()
}

#[test]
fn nothing_found_and_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    write_files(
        folder.path(),
        &[(
            "empty.json",
            vec![json!({"eventSource": "s3.amazonaws.com", "eventName": "GetObject"})],
        )],
    );
    let (code, page, err) = report(folder.path(), &["empty.json"]);
    assert_eq!(code, Some(0));
    assert!(
        page.contains("Nothing was found. No record matches a rule."),
        "{page}"
    );
    assert_eq!(
        err,
        "1 file, 72 B of JSON, 1 record: 0 calls matched; 0 listed\n"
    );

    write_files(folder.path(), &incident()[..1]);
    fs::write(
        folder.path().join("cut.json"),
        "{\"Records\":[{\"eventName\"",
    )
    .unwrap();
    let (code, out, err) = report(
        folder.path(),
        &[".", "--format", "json", "-o", "report.txt"],
    );
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("error: ./cut.json: "), "{err}");
    let written: Value =
        serde_json::from_slice(&fs::read(folder.path().join("report.txt")).unwrap()).unwrap();
    assert_eq!(written["read"]["listed"], 4);
    assert_eq!(written["read"]["errors"].as_array().unwrap().len(), 1);
}

#[test]
fn errors_that_are_not_shown_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1003 {
        fs::write(folder.path().join(format!("{number:04}.json")), "{").unwrap();
    }
    let (code, page, err) = report(folder.path(), &["."]);
    assert_eq!((code, err.lines().count()), (Some(1), 1001));
    assert!(
        err.ends_with("; 1,003 errors, 1,000 shown above\n"),
        "{err}"
    );
    for expected in ["1,003 errors.", "and 3 more errors"] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn options_that_cannot_be_meant_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("a.json", vec![call("DeleteHsm", "1")])]);
    let before = fs::read(folder.path().join("a.json")).unwrap();
    for (arguments, reason) in [
        (
            &["a.json", "-o", "./a.json"][..],
            "--output ./a.json would overwrite an input",
        ),
        (
            &["a.json", "--since", "2026-11-24", "--until", "2026-11-23"],
            "--since 2026-11-24 is later than --until 2026-11-23",
        ),
        (
            &["a.json", "--as-of", "soon"],
            "expected 2026-11-23 or 2026-11-23T14:30:00Z",
        ),
        (
            &["a.json", "--rule", "hsm-nothing"],
            "there is no such rule",
        ),
        (&[], "<PATH>"),
    ] {
        let (code, out, err) = report(folder.path(), arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(reason), "{err}");
    }
    assert_eq!(fs::read(folder.path().join("a.json")).unwrap(), before);
}
