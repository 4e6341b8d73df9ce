//! `scan`, `invoke` and usage errors: output, messages and exit codes.

use std::{fs, process::Command};

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, REGION, call, gzip, log_file_of, sample_key, sample_log_file},
    moto::Moto,
    process::{decode_output, project_folder, run_cli},
};
use serde_json::{Value, json};

/// A folder with valid and broken files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put(
        "logs/a.json.gz",
        gzip(&log_file_of(&[
            call("DeleteHsm", "1"),
            call("ListTags", "2"),
        ])),
    );
    put(
        "logs/b/b.json",
        log_file_of(&[
            call("DeleteHsm", "1"),
            call("TagResource", "3"),
            call("CreateHsm", "4"),
        ]),
    );
    put("logs/b/notes.txt", b"not a log file".to_vec());
    put("logs/empty.json.gz", Vec::new());
    put(
        "logs/AWSLogs/111122223333/CloudTrail-Digest/x.json.gz",
        b"{}".to_vec(),
    );
    put(
        "broken/cut.json.gz",
        gzip(&log_file_of(&[call("DeleteHsm", "1")]))[..60].to_vec(),
    );
    put(
        "broken/mixed.json",
        log_file_of(&[json!(1), call("DeleteCluster", "5")]),
    );
    folder
}

/// The end of the sentence in every alert.
const SENTENCE_END: &str =
    "in account 111122223333, us-west-2, on 2026-11-23 at 03:50:00 UTC. The call SUCCEEDED.";

#[test]
fn a_folder_is_printed_as_text() {
    let folder = folder();
    let (code, out, err) = decode_output(&run_cli(
        &["scan", "logs", "--min-severity", "medium"],
        folder.path(),
    ));
    assert_eq!(
        out,
        format!(
            "CRITICAL IAM user alice called DeleteHsm on cluster cluster-lk3jhgf4dsa {SENTENCE_END}\n    hsm-deleted · event 1 · logs/a.json.gz\n\
             MEDIUM IAM user alice called CreateHsm for cluster cluster-lk3jhgf4dsa {SENTENCE_END}\n    hsm-created · event 4 · logs/b/b.json\n"
        )
    );
    assert_eq!(
        err,
        "2 files, 2.28 KiB of JSON, 5 records: 5 calls matched; 2 alerts; 2 below --min-severity medium; 1 duplicate\n\
         skipped: 1 file, digest\nskipped: 1 file, empty\nskipped: 1 file, neither .json nor .json.gz\n"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn each_format_is_printed() {
    let folder = folder();
    let of = |format: &str| {
        decode_output(&run_cli(
            &[
                "scan",
                "logs/a.json.gz",
                "--format",
                format,
                "--account-names",
                "111122223333=prod",
            ],
            folder.path(),
        ))
        .1
    };
    assert_eq!(
        of("sms"),
        "CRITICAL DeleteHsm SUCCEEDED: cluster-lk3jhgf4dsa, prod us-west-2, 23 Nov 03:50Z, by alice. Check that the cluster has HSMs left\n"
    );
    let finding: Value = serde_json::from_str(&of("ocsf")).unwrap();
    assert_eq!(
        (
            &finding["finding_info"]["uid"],
            &finding["cloud"]["account"]["name"]
        ),
        (&json!("1"), &json!("prod"))
    );
    let email = of("email");
    assert!(email.starts_with("Subject: CRITICAL: DeleteHsm SUCCEEDED in prod us-west-2, cluster-lk3jhgf4dsa\n\nCRITICAL: "), "{email}");
    assert!(email.contains("\nWHAT TO DO NOW\n"), "{email}");
}

#[test]
fn the_readme_shows_the_actual_output() {
    let readme = fs::read_to_string(project_folder().join("README.md")).unwrap();
    let block = |start: &str| {
        let (_, rest) = readme.split_once(start).unwrap();
        rest.split_once("\n```").unwrap().0.to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let record: Value = serde_json::from_str(&block("```json\n")).unwrap();
    fs::write(folder.path().join("log.json"), log_file_of(&[record])).unwrap();
    let of = |format: &str| {
        let names = "111122223333=prod";
        let arguments = [
            "scan",
            "log.json",
            "--format",
            format,
            "--account-names",
            names,
            "--as-of",
            "2026-11-23",
        ];
        decode_output(&run_cli(&arguments, folder.path())).1
    };
    assert_eq!(of("sms").trim_end(), block("140 characters:\n\n```text\n"));
    let printed = of("email");
    let without_location = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("  Recorded in"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let expected = without_location(&block("The e-mail:\n\n```text\n"));
    assert!(
        without_location(&printed).starts_with(&format!("{expected}\n")),
        "{printed}"
    );
}

/// Until 2026-11-30 at 03:41:07. A day means its start.
#[test]
fn a_deadline_is_compared_with_the_time_of_as_of() {
    let folder = tempfile::tempdir().unwrap();
    let record = json!({
        "eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup", "eventID": "1",
        "eventTime": "2026-11-23T03:41:07Z", "requestParameters": {"backupId": "backup-a"},
    });
    fs::write(folder.path().join("log.json"), log_file_of(&[record])).unwrap();
    let sms = |as_of: &str| {
        let arguments = ["scan", "log.json", "--format", "sms", "--as-of", as_of];
        decode_output(&run_cli(&arguments, folder.path()))
    };
    for (as_of, expected) in [
        ("2026-11-30", "Restore it by 2026-11-30 03:41 UTC\n"),
        (
            "2026-11-30T03:41:06Z",
            "Restore it by 2026-11-30 03:41 UTC\n",
        ),
        ("2026-11-30T08:20Z", "Too late since 2026-11-30 03:41 UTC\n"),
        ("2026-12-01", "Too late since 2026-11-30 03:41 UTC\n"),
    ] {
        let (code, out, err) = sms(as_of);
        assert_eq!(code, Some(0), "{as_of}: {err}");
        assert!(out.ends_with(expected), "{as_of}: {out}");
    }
    let (code, out, err) = sms("soon");
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(
        err.contains("expected 2026-11-23 or 2026-11-23T14:30:00Z, found \"soon\""),
        "{err}"
    );
}

#[test]
fn a_broken_input_is_reported_and_the_rest_is_scanned() {
    let folder = folder();
    let (code, out, err) = decode_output(&run_cli(
        &["scan", "broken", "missing.json", "logs/a.json.gz"],
        folder.path(),
    ));
    assert_eq!(
        out,
        format!(
            "CRITICAL IAM user alice called DeleteCluster on cluster cluster-lk3jhgf4dsa {SENTENCE_END}\n    hsm-cluster-deleted · event 5 · broken/mixed.json\n\
             CRITICAL IAM user alice called DeleteHsm on cluster cluster-lk3jhgf4dsa {SENTENCE_END}\n    hsm-deleted · event 1 · logs/a.json.gz\n"
        )
    );
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "error: broken/cut.json.gz: the gzip stream ends in the middle, after 60 compressed bytes: the object is truncated; restore it or wait for CloudTrail to deliver it again",
            "error: broken/mixed.json: record 0 (byte 12) cannot be read: expected a JSON object, found a number",
            "error: missing.json: No such file or directory (os error 2)",
        ],
        "{err}"
    );
    assert!(
        lines[3].ends_with(
            ": 3 calls matched; 2 alerts; 1 below --min-severity low; 1 unreadable record; 3 errors, shown above"
        ),
        "{err}"
    );
    assert_eq!(code, Some(1));
}

/// An input without a CloudTrail record must not look like an input without alerts.
#[test]
fn an_input_without_records_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let wrapped = json!({"detail-type": "AWS API Call via CloudTrail", "source": "aws.cloudhsm", "detail": call("DeleteBackup", "1")});
    put("wrapped.json", log_file_of(&[wrapped]));
    put(
        "nested.json",
        log_file_of(&[json!({"Records": [call("DeleteBackup", "1")]})]),
    );
    put("texts/notes.txt", Vec::new());
    put(
        "digests/AWSLogs/111122223333/CloudTrail-Digest/x.json.gz",
        Vec::new(),
    );
    fs::create_dir(folder.path().join("nothing")).unwrap();
    let not_a_record = "record 0 (byte 12) cannot be read: expected a CloudTrail record, found an object with neither eventSource nor eventName, but";
    let no_log_files =
        "no log files in this folder: expected files whose names end in .json or .json.gz";
    for (path, expected) in [
        (
            "wrapped.json",
            Some(format!("{not_a_record} detail-type, source, detail")),
        ),
        ("nested.json", Some(format!("{not_a_record} Records"))),
        ("nothing", Some(no_log_files.to_owned())),
        ("texts", Some(no_log_files.to_owned())),
        ("digests", None),
    ] {
        let (code, out, err) = decode_output(&run_cli(&["scan", path], folder.path()));
        let first = expected.map(|message| format!("error: {path}: {message}"));
        assert_eq!(
            (code, out.as_str()),
            (Some(i32::from(first.is_some())), ""),
            "{err}"
        );
        if let Some(first) = first {
            assert_eq!(err.lines().next(), Some(first.as_str()));
        }
    }
}

/// Calls that a VPC endpoint policy denies are recorded only in network activity files.
#[test]
fn network_activity_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let day = folder
        .path()
        .join("AWSLogs/111122223333/CloudTrail-NetworkActivity/us-west-2/2026/11/23");
    fs::create_dir_all(&day).unwrap();
    let mut denied = call("DeleteBackup", "1");
    denied["errorCode"] = "VpceAccessDenied".into();
    denied["eventCategory"] = "NetworkActivity".into();
    let name =
        "111122223333_CloudTrail-NetworkActivity_us-west-2_20261123T0345Z_Ab12Cd34Ef56Gh78.json.gz";
    fs::write(day.join(name), gzip(&log_file_of(&[denied]))).unwrap();
    let (code, out, err) = decode_output(&run_cli(&["scan", "."], folder.path()));
    assert!(
        out.starts_with("CRITICAL IAM user alice called DeleteBackup on "),
        "{out}{err}"
    );
    assert!(out.contains("was DENIED with VpceAccessDenied"), "{out}");
    assert_eq!(code, Some(0));
}

#[test]
fn symbolic_links_are_followed_and_a_dangling_one_is_an_error() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let links = folder.path().join("links");
    fs::create_dir(&links).unwrap();
    symlink("../logs/b", links.join("folder")).unwrap();
    symlink("nowhere.json.gz", links.join("dangling.json.gz")).unwrap();
    let (code, out, err) = decode_output(&run_cli(
        &["scan", "links", "--format", "sms"],
        folder.path(),
    ));
    assert_eq!((code, out.lines().count()), (Some(1), 3), "{err}");
    assert!(
        err.starts_with("error: links/dangling.json.gz: No such file or directory (os error 2)\n"),
        "{err}"
    );
}

#[test]
fn invalid_usage_exits_with_2() {
    let folder = folder();
    for arguments in [
        vec![],
        vec!["scan"],
        vec!["scan", "logs", "--format", "pdf"],
        vec!["scan", "logs", "--min-severity", "urgent"],
        vec!["scan", "logs", "--account-names", "prod"],
        vec!["nonsense"],
    ] {
        let (code, out, err) = decode_output(&run_cli(&arguments, folder.path()));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains("Usage") || err.contains("error:"), "{err}");
    }
    for arguments in [
        vec!["--help"],
        vec!["scan", "--help"],
        vec!["invoke", "--help"],
    ] {
        let (code, out, _) = decode_output(&run_cli(&arguments, folder.path()));
        assert_eq!(code, Some(0));
        assert!(out.contains("Exit codes:\n  0  success\n  1  "), "{out}");
    }
}

#[test]
fn account_names_come_from_a_list_or_a_csv_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.json"),
        log_file_of(&[call("DeleteHsm", "1")]),
    )
    .unwrap();
    fs::write(
        folder.path().join("names.csv"),
        "name,account\nprod,111122223333\n",
    )
    .unwrap();
    fs::write(folder.path().join("wrong.csv"), "account\n111122223333\n").unwrap();
    let scan = |names: &str| {
        let arguments = [
            "scan",
            "a.json",
            "--format",
            "sms",
            "--account-names",
            names,
        ];
        decode_output(&run_cli(&arguments, folder.path()))
    };
    let (list, file) = (scan("111122223333=prod"), scan("names.csv"));
    assert_eq!(list.0, Some(0));
    assert!(list.1.contains(", prod us-west-2, "), "{}", list.1);
    assert_eq!(list.1, file.1);
    for (names, message) in [
        (
            "wrong.csv",
            "line 1: expected the columns account and name, found \"account\"",
        ),
        (
            "missing.csv",
            "expected 111122223333=prod,… or a CSV file, which cannot be read",
        ),
    ] {
        let (code, _, err) = scan(names);
        assert_eq!(code, Some(2), "{names}");
        assert!(err.contains(message), "{err}");
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let mut record = call("DeleteHsm", "\u{1b}]0;title\u{7}");
    record["userIdentity"] = json!({"type": "IAMUser", "userName": "\u{1b}[2Jmallory\r\nCRITICAL"});
    record["userAgent"] = "\u{1b}[31m".into();
    fs::write(
        folder.path().join("a\u{1b}[31m.json"),
        log_file_of(&[record]),
    )
    .unwrap();
    for format in ["text", "email", "sms", "ocsf"] {
        let (code, out, err) =
            decode_output(&run_cli(&["scan", ".", "--format", format], folder.path()));
        assert_eq!(code, Some(0));
        for text in [out, err] {
            assert!(
                text.chars().all(|c| c == '\n' || !c.is_control()),
                "{format}: {text:?}"
            );
        }
    }
}

#[test]
fn a_prefix_in_s3_is_scanned() {
    let aws = Moto::start();
    aws.put(&sample_key(), sample_log_file());
    aws.put(
        "AWSLogs/111122223333/CloudTrail-Digest/x.json.gz",
        b"{}".to_vec(),
    );
    aws.put("AWSLogs/111122223333/CloudTrail/marker/", Vec::new());
    aws.put("other/named.log", log_file_of(&[call("DeleteHsm", "s3-1")]));
    let scan = |path: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
            .args(["scan", "--format", "ocsf", path])
            .env_clear()
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            // A host name: the SDK must use path-style requests, because bucket.localhost does not resolve.
            .env(
                "AWS_ENDPOINT_URL",
                aws.endpoint.replace("127.0.0.1", "localhost"),
            )
            .output()
            .expect("the program runs");
        decode_output(&output)
    };

    let (code, out, err) = scan(&format!("s3://{BUCKET}/AWSLogs/"));
    assert_eq!((code, out.lines().count()), (Some(0), 5), "{err}");
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(
        first["unmapped"]["object"],
        format!("s3://{BUCKET}/{}", sample_key())
    );
    assert!(
        err.ends_with("skipped: 1 file, digest\nskipped: 1 file, directory\n"),
        "{err}"
    );

    // An object that is named itself is read whatever its key.
    let (code, out, _) = scan(&format!("s3://{BUCKET}/other/named.log"));
    assert_eq!((code, out.lines().count()), (Some(0), 1));

    let (code, _, err) = scan("s3://no-such-bucket/");
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("error: s3://no-such-bucket/: there is no such object (NoSuchBucket"),
        "{err}"
    );
    let (code, _, err) = scan(&format!("s3://{BUCKET}/nothing/"));
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with(&format!(
            "error: s3://{BUCKET}/nothing/: no objects under this prefix\n"
        )),
        "{err}"
    );
}

#[test]
fn invoke_runs_the_function_in_process() {
    let aws = Moto::start();
    aws.put(&sample_key(), sample_log_file());
    let topic = aws.topic("t");
    let invoke = |event: &str, topic: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
            .args(["invoke", event])
            .current_dir(project_folder())
            .env_clear()
            .env("ALERT_TOPIC_ARN", topic)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &aws.endpoint)
            .output()
            .expect("the program runs");
        decode_output(&output)
    };
    let (code, out, _) = invoke("events/s3-put.json", &topic);
    let reply: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &reply["published"]), (Some(0), &json!(5)), "{out}");
    assert_eq!(aws.published(&topic).len(), 5);

    let (code, out, _) = invoke(
        "events/s3-put.json",
        "arn:aws:sns:us-west-2:111122223333:nowhere",
    );
    let reply: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &reply["errorType"]),
        (Some(1), &json!("Publish.TopicNotFound")),
        "{out}"
    );

    let (code, _, err) = invoke("events/README.md", &topic);
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("cloudhsm-alerts: events/README.md: expected JSON: "),
        "{err}"
    );
    let (code, _, err) = invoke("events/s3-put.json", "");
    assert_eq!(
        (code, err.as_str()),
        (
            Some(1),
            "cloudhsm-alerts: environment variable ALERT_TOPIC_ARN: is missing; expected the ARN of the SNS topic to publish alerts to\n"
        )
    );
}
