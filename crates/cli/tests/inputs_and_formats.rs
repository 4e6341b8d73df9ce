//! What `scan` and `explain` read besides log files, and the formats, order and file of the output.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, REGION, call, gzip, log_file_of},
    moto::Moto,
    process::{decode_output, run_cli},
};
use serde_json::{Value, json};

fn at(mut record: Value, time: &str) -> Value {
    record["eventTime"] = time.into();
    record
}

fn with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(input).unwrap();
    program.wait_with_output().unwrap()
}

#[test]
fn standard_input_is_read_in_every_form() {
    let (a, b) = (call("DeleteHsm", "1"), call("DeleteBackup", "2"));
    let event = |record: &Value| json!({"EventId": "x", "CloudTrailEvent": record.to_string()});
    for (what, input) in [
        ("log file", log_file_of(&[a.clone(), b.clone()])),
        (
            "gzip files",
            [
                gzip(&log_file_of(std::slice::from_ref(&a))),
                gzip(&log_file_of(std::slice::from_ref(&b))),
            ]
            .concat(),
        ),
        ("lines", format!("{a}\n{b}\n").into_bytes()),
        ("list", json!([a, b]).to_string().into_bytes()),
        (
            "lookup-events",
            json!({"Events": [event(&a), event(&b)]})
                .to_string()
                .into_bytes(),
        ),
    ] {
        let (code, out, err) =
            decode_output(&with_input(&["scan", "-", "--format", "jsonl"], &input));
        let ids: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["event_id"].clone())
            .collect();
        assert_eq!(
            (ids, code),
            (vec![json!("1"), json!("2")], Some(0)),
            "{what}: {err}"
        );
        let (code, out, err) =
            decode_output(&with_input(&["explain", "-", "--event-id", "2"], &input));
        assert!(
            out.starts_with("DeleteBackup of cloudhsm.amazonaws.com"),
            "{what}: {err}"
        );
        assert_eq!(code, Some(0), "{what}");
    }
    let (code, out, err) = decode_output(&with_input(&["scan", "-"], b"\xff\xfe{\0"));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("error: -: "), "{err}");
    assert!(err.contains("the text is UTF-16"), "{err}");
    let (code, _, err) = decode_output(&with_input(&["scan", "-", "-"], b""));
    assert_eq!(
        (code, err.as_str()),
        (
            Some(2),
            "error: standard input (-) is named twice, and can be read only once\n"
        )
    );
}

/// The calls of the pages that are there are shown, and it is said that others are missing.
#[test]
fn output_without_its_last_page_is_an_error() {
    let page = |name: &str, id: &str, token: Value| {
        let event = json!({"CloudTrailEvent": call(name, id).to_string()});
        json!({"Events": [event], "NextToken": token}).to_string()
    };
    let first = page("DeleteHsm", "1", json!("t"));
    let missing = "-: the output of `aws cloudtrail lookup-events` ends with a NextToken: there are more events, which are not in it; run the command without --max-items, --max-results, --next-token and --no-paginate, or append the next pages";
    let (code, out, err) = decode_output(&with_input(&["scan", "-"], first.as_bytes()));
    assert_eq!((code, out.lines().count()), (Some(1), 2), "{out}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], format!("error: {missing}"));
    assert!(
        lines[1].ends_with("1 record: 1 call matched; 1 alert; 1 error, shown above"),
        "{err}"
    );

    let report = ["report", "-", "--format", "json", "--as-of", "2026-11-23"];
    let (code, out, err) = decode_output(&with_input(&report, first.as_bytes()));
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &found["read"]["errors"], &found["read"]["listed"]),
        (Some(1), &json!([missing]), &json!(1)),
        "{err}"
    );

    let explain = |id: &str| {
        let arguments = ["explain", "-", "--event-id", id];
        decode_output(&with_input(&arguments, first.as_bytes()))
    };
    assert_eq!(explain("1").0, Some(0));
    let (code, out, err) = explain("2");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        format!(
            "cloudhsm-alerts: -: none of 1 records (0 unreadable) has the eventID \"2\", and {}\n",
            &missing[3..]
        )
    );

    let both = first + &page("DeleteBackup", "2", json!(null));
    let (code, out, err) = decode_output(&with_input(&["scan", "-"], both.as_bytes()));
    assert_eq!((code, out.lines().count()), (Some(0), 4), "{err}");
}

#[test]
fn calls_are_sorted_by_time_over_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let calls = [
        at(call("DeleteHsm", "3"), "2026-11-23T03:00:00Z"),
        at(call("DeleteHsm", "1"), "2026-11-21T03:00:00Z"),
        at(call("DeleteHsm", "4"), "never"),
        at(call("DeleteHsm", "2"), "2026-11-22T03:00:00Z"),
        at(call("DeleteHsm", "1"), "2026-11-21T03:00:00Z"),
    ];
    fs::write(folder.path().join("a.json"), log_file_of(&calls[..2])).unwrap();
    fs::write(folder.path().join("b.json"), log_file_of(&calls[2..])).unwrap();
    let ids = |options: &[&str]| {
        let arguments = [&["scan", ".", "--format", "jsonl"], options].concat();
        let (code, out, err) = decode_output(&run_cli(&arguments, folder.path()));
        assert_eq!(code, Some(0), "{err}");
        let ids = out.lines().map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            row["event_id"].as_str().unwrap().to_owned()
        });
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(&[]), "3 1 4 2");
    assert_eq!(ids(&["--sort", "time"]), "1 2 3 4");
    assert_eq!(ids(&["--duplicates"]), "3 1 4 2 1");
    assert_eq!(ids(&["--sort", "time", "--duplicates"]), "1 1 2 3 4");
}

#[test]
fn rows_are_written_for_spreadsheets_and_timelines() {
    let folder = tempfile::tempdir().unwrap();
    let mut record = call("DeleteHsm", "1");
    record["userAgent"] = "=HYPERLINK(1)".into();
    fs::write(folder.path().join("a.json"), log_file_of(&[record])).unwrap();
    fs::write(folder.path().join("none.json"), log_file_of(&[])).unwrap();
    let scan = |file: &str, format: &str| {
        let arguments = ["scan", file, "--format", format];
        decode_output(&run_cli(&arguments, folder.path())).1
    };
    let head = "time,severity,outcome,event_name,event_source,account,account_name,region,actor,actor_type,mfa,source_ip,user_agent,resources,rules,error_code,error_message,event_id,source,record_index,message\n";
    assert_eq!(scan("none.json", "csv"), head);
    let table = scan("a.json", "csv");
    let row = table.strip_prefix(head).unwrap();
    assert!(
        row.starts_with("2026-11-23T03:50:00Z,critical,SUCCEEDED,DeleteHsm,cloudhsm.amazonaws.com,111122223333,,us-west-2,"),
        "{row}"
    );
    assert!(row.contains(",'=HYPERLINK(1),"), "{row}");
    assert_eq!(row.lines().count(), 1, "{row}");
    let timeline: Value = serde_json::from_str(&scan("a.json", "timesketch")).unwrap();
    assert_eq!(
        (
            &timeline["datetime"],
            &timeline["timestamp"],
            &timeline["timestamp_desc"],
            timeline.get("record")
        ),
        (
            &json!("2026-11-23T03:50:00+00:00"),
            &json!(1_795_405_800_000_000_u64),
            &json!("API call"),
            None
        )
    );
    assert_eq!(timeline["user_agent"], "=HYPERLINK(1)");
}

#[test]
fn a_file_of_output_appears_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.json"),
        log_file_of(&[call("DeleteHsm", "1")]),
    )
    .unwrap();
    let scan = |arguments: &[&str]| {
        let arguments = [&["scan", "a.json", "--format", "sms"], arguments].concat();
        decode_output(&run_cli(&arguments, folder.path()))
    };
    let (_, printed, _) = scan(&[]);
    fs::write(folder.path().join("out.txt"), "old").unwrap();
    assert_eq!(scan(&["-o", "out.txt"]).1, "");
    assert_eq!(
        fs::read_to_string(folder.path().join("out.txt")).unwrap(),
        printed
    );
    assert_eq!(scan(&["-o", "/dev/null"]).0, Some(0));
    fs::write(folder.path().join("broken.yml"), "title: [x").unwrap();
    assert_eq!(scan(&["-o", "out.txt", "--rules", "broken.yml"]).0, Some(1));
    assert_eq!(
        fs::read_to_string(folder.path().join("out.txt")).unwrap(),
        printed
    );
    let (code, _, err) = scan(&["-o", "no/such/folder/x"]);
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("cloudhsm-alerts: --output no/such/folder/x: "),
        "{err}"
    );
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a.json", "broken.yml", "out.txt"]);
}

#[test]
fn an_object_is_read_by_its_printed_address() {
    let aws = Moto::start();
    let version = aws.put("a b%20c.json", log_file_of(&[call("DeleteHsm", "1")]));
    let newer = aws.put("a b%20c.json", log_file_of(&[call("DeleteHsm", "2")]));
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
            .args(arguments)
            .env_clear()
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &aws.endpoint)
            .output()
            .unwrap();
        decode_output(&output)
    };
    let address = format!("s3://{BUCKET}/a b%20c.json?versionId={version}");
    let (code, out, err) = run(&["explain", &address, "--event-id", "1"]);
    assert!(
        out.starts_with("DeleteHsm of cloudhsm.amazonaws.com"),
        "{err}"
    );
    assert_eq!(code, Some(0));
    let (code, out, err) = run(&["scan", &address, "--format", "jsonl"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
    assert!(
        out.contains("\"event_id\":\"1\"") && version != newer,
        "{out}"
    );
    let missing = format!("s3://{BUCKET}/no  such.json?versionId=null");
    let (code, _, err) = run(&["scan", &missing]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no such object"), "{err}");
    let (_, _, err) = run(&["scan", "s3://no-such-bucket"]);
    assert!(err.starts_with("error: s3://no-such-bucket: "), "{err}");
}

#[test]
fn without_credentials_the_ways_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .args(["scan", "s3://bucket/prefix"])
        .env_clear()
        .env("HOME", folder.path())
        .env("AWS_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap();
    let (code, out, err) = decode_output(&output);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with(
            "error: s3://bucket/prefix: no AWS credentials. Sign in with `aws sso login`"
        ),
        "{err}"
    );
}

#[test]
fn a_program_gives_credentials_and_is_run_once() {
    let aws = Moto::start();
    aws.put("a.json", log_file_of(&[call("DeleteHsm", "1")]));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(
        path("credentials.sh"),
        "echo run >> \"$1\"\necho '{\"Version\":1,\"AccessKeyId\":\"test\",\"SecretAccessKey\":\"test\"}'\n",
    )
    .unwrap();
    fs::write(
        path("config"),
        format!(
            "[profile program]\nregion = {REGION}\ncredential_process = /bin/sh {} {}\n",
            path("credentials.sh").display(),
            path("runs").display()
        ),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .args(["scan", &format!("s3://{BUCKET}/a.json"), "--format", "sms"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_PROFILE", "program")
        .env("AWS_CONFIG_FILE", path("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", path("none"))
        .env("AWS_ENDPOINT_URL", &aws.endpoint)
        .output()
        .unwrap();
    let (code, out, err) = decode_output(&output);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{err}");
    assert_eq!(fs::read_to_string(path("runs")).unwrap(), "run\n");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = decode_output(&run_cli(&["completions", shell], folder.path()));
        assert_eq!(code, Some(0));
        assert!(
            out.contains("--event-name") || out.contains("event-name"),
            "{shell}"
        );
    }
    let (code, _, err) = decode_output(&run_cli(&["completions", "--man", "man1"], folder.path()));
    assert_eq!(code, Some(0), "{err}");
    let page = fs::read_to_string(folder.path().join("man1/cloudhsm-alerts-scan.1")).unwrap();
    assert!(page.contains("\\-\\-since"), "{page}");
    assert_eq!(
        decode_output(&run_cli(&["completions"], folder.path())).0,
        Some(2)
    );
}
