//! `scan` of many files: the output is the same, however many are read at a time and whichever is read first.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, REGION, call, gzip, log_file_of},
    log_files::LogFiles,
    process::{decode_output, run_cli},
    stub::{ErrorKind, Fault, FaultPlan, Operation, RequestKey, Stub},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Numbers of files to read at a time.
const JOBS: [&str; 4] = ["1", "2", "3", "16"];

/// Names and contents of log files, in order of the names: small and large ones, broken, empty and duplicate ones.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut source = LogFiles::new(5);
    let mut files = vec![
        // More alerts than are passed on at once, and more than a thread may be ahead.
        (
            "00/alerts.json.gz".to_owned(),
            source.with_matches(2, 400_000),
        ),
        (
            "00/alerts-2.json.gz".to_owned(),
            source.with_matches(3, 300_000),
        ),
        // More than the first chunk, and more than the part of an object that is downloaded ahead.
        (
            "01/large.json.gz".to_owned(),
            source.with_matches(50, 5_000_000),
        ),
        (
            "03/large.json.gz".to_owned(),
            source.with_matches(100, 3_000_000),
        ),
        (
            "02/cut.json.gz".to_owned(),
            source.with_matches(10, 200_000)[..10_000].to_vec(),
        ),
        ("02/empty.json.gz".to_owned(), Vec::new()),
        ("02/not-json.json".to_owned(), b"{\"Records\":[{]}".to_vec()),
        (
            "02/unreadable.json".to_owned(),
            log_file_of(&[json!(1), call("DeleteCluster", "u-1"), json!(2)]),
        ),
        (
            "03/digest/AWSLogs/111122223333/CloudTrail-Digest/x.json.gz".to_owned(),
            b"{}".to_vec(),
        ),
        ("03/notes.txt".to_owned(), b"not a log file".to_vec()),
    ];
    let mut corrupt = source.with_matches(10, 2_000_000);
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 64].fill(0);
    files.push(("03/corrupt.json.gz".to_owned(), corrupt));
    for n in 0..80 {
        let content = source.with_matches(20, 500 * (n % 40));
        // The same calls once more, in a file in front of it or behind it.
        let copy = (n * 7919) % 80;
        if n % 5 == 0 {
            files.push((format!("04/{copy:03}-copy.json.gz"), content.clone()));
        }
        files.push((format!("04/{n:03}.json.gz"), content));
    }
    files.sort();
    files
}

fn run(arguments: &[&str], jobs: &str, folder: &Path) -> (Option<i32>, String, String) {
    let arguments = [&["scan", "--jobs", jobs], arguments].concat();
    decode_output(&run_cli(&arguments, folder))
}

/// The lines of findings as JSON without the calls that came before, as the scan of a folder shows them.
fn without_duplicates(lines: &str, seen: &mut HashSet<String>) -> String {
    lines
        .lines()
        .filter(|line| {
            let finding: Value = serde_json::from_str(line).unwrap();
            seen.insert(finding["finding_info"]["uid"].to_string())
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

fn errors(messages: &str) -> String {
    let lines = messages.lines().filter(|line| line.starts_with("error: "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_folder_has_the_same_output_with_any_number_of_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let files = files();
    for (name, content) in &files {
        let path = folder.path().join("logs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    symlink("nowhere", folder.path().join("logs/05-dangling.json.gz")).unwrap();

    // The files one by one, each in a process of its own.
    let mut seen = HashSet::new();
    let mut expected = String::new();
    let mut expected_errors =
        "error: logs/05-dangling.json.gz: No such file or directory (os error 2)\n".to_owned();
    for (name, _) in &files {
        if name.ends_with(".txt") || name.contains("Digest") {
            continue;
        }
        let path = format!("logs/{name}");
        let (_, out, err) = run(&[&path, "--format", "ocsf"], "1", folder.path());
        expected += &without_duplicates(&out, &mut seen);
        expected_errors += &errors(&err);
    }
    assert!(expected.len() > 64 * 1024 && expected_errors.lines().count() == 6);

    for format in ["ocsf", "text"] {
        let one = run(&["logs", "--format", format], "1", folder.path());
        for jobs in JOBS {
            let several = run(&["logs", "--format", format], jobs, folder.path());
            assert_eq!(several, one, "{jobs}");
        }
        if format == "ocsf" {
            let (code, out, err) = &one;
            assert_eq!(
                (*code, out, errors(err)),
                (Some(1), &expected, expected_errors.clone())
            );
            assert!(err.contains("104 files, "), "{err}");
            assert!(
                err.ends_with("skipped: 1 file, digest\nskipped: 1 file, empty\nskipped: 1 file, neither .json nor .json.gz\n"),
                "{err}"
            );
        }
    }
    // The same as arguments.
    let paths: Vec<String> = files
        .iter()
        .map(|(name, _)| format!("logs/{name}"))
        .collect();
    let arguments: Vec<&str> = paths.iter().map(String::as_str).collect();
    let one = run(&arguments, "1", folder.path());
    assert_eq!(run(&arguments, "5", folder.path()), one);
}

/// A scan of the files as objects, and the requests that it made.
struct ScannedBucket {
    runtime: Runtime,
    stub: Stub,
}

impl ScannedBucket {
    fn new(files: &[(String, Vec<u8>)], faults: FaultPlan) -> ScannedBucket {
        let runtime = Runtime::new().unwrap();
        let stub = runtime.block_on(Stub::start(faults));
        {
            let mut state = stub.state();
            state.page_size = Some(7);
            for (key, content) in files {
                let target = format!("{BUCKET}/logs/{key}");
                state.objects.insert(target, content.clone());
            }
        }
        ScannedBucket { runtime, stub }
    }

    fn scan(&self, jobs: &str) -> (Option<i32>, String, String) {
        let endpoint = self.stub.endpoint.clone();
        let jobs = jobs.to_owned();
        let scanning = self
            .runtime
            .spawn_blocking(move || scan_bucket(&endpoint, &jobs));
        decode_output(&self.runtime.block_on(scanning).unwrap())
    }
}

fn scan_bucket(endpoint: &str, jobs: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .args(["scan", "--format", "ocsf", "--jobs", jobs])
        .arg(format!("s3://{BUCKET}/logs/"))
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", endpoint)
        .output()
        .expect("the program runs")
}

#[test]
fn a_prefix_has_the_same_output_with_any_number_of_jobs() {
    let mut files = files();
    files.truncate(40);
    let request = |operation, target: &str, attempt| RequestKey {
        operation,
        target: target.to_owned(),
        attempt,
    };
    let object = |key: &str, attempt| {
        request(
            Operation::GetObject,
            &format!("{BUCKET}/logs/{key}"),
            attempt,
        )
    };
    let mut fixed = HashMap::from([(
        object("04/001.json.gz", 0),
        Fault::Before(ErrorKind::Denied),
    )]);
    // The connection is lost each time, and the last attempt to resume fails, too.
    for attempt in 0..4 {
        fixed.insert(object("01/large.json.gz", attempt), Fault::CutBody);
    }
    // It is resumed.
    fixed.insert(object("03/large.json.gz", 0), Fault::CutBody);
    let faults = FaultPlan {
        fixed: fixed.clone(),
        ..FaultPlan::none()
    };
    let bucket = ScannedBucket::new(&files, faults.clone());
    let one = bucket.scan("1");
    let (code, _, err) = &one;
    let errors: Vec<&str> = err
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    let failed = [
        "01/large.json.gz: S3 did not return it: the body is incomplete",
        "02/cut.json.gz: the gzip stream ends in the middle",
        "02/not-json.json: cannot be read as a log file",
        "02/unreadable.json: record 0 (byte 12) cannot be read",
        "02/unreadable.json: record 2 ",
        "03/corrupt.json.gz: ",
        "04/001.json.gz: reading it is not allowed",
    ];
    assert_eq!((*code, errors.len()), (Some(1), failed.len()), "{err}");
    for (error, failed) in errors.iter().zip(failed) {
        assert!(
            error.starts_with(&format!("error: s3://{BUCKET}/logs/{failed}")),
            "{error}"
        );
    }
    for jobs in JOBS {
        let bucket = ScannedBucket::new(&files, faults.clone());
        assert_eq!(bucket.scan(jobs), one, "{jobs}");
    }

    // The third page is denied: what was listed before is scanned.
    let third_page = {
        let state = bucket.stub.state();
        let lists = state.requests.iter().map(|(request, _)| request);
        let mut lists = lists.filter(|request| request.operation == Operation::ListObjects);
        lists.nth(2).unwrap().clone()
    };
    fixed.insert(third_page, Fault::Before(ErrorKind::Denied));
    let scan = |jobs| {
        let faults = FaultPlan {
            fixed: fixed.clone(),
            ..FaultPlan::none()
        };
        ScannedBucket::new(&files, faults).scan(jobs)
    };
    let one = scan("1");
    let last_error = one.2.lines().rfind(|line| line.starts_with("error: "));
    let expected = format!("error: s3://{BUCKET}/logs/: reading it is not allowed");
    assert!(last_error.unwrap().starts_with(&expected), "{}", one.2);
    assert_eq!(scan("4"), one);
}

/// The second file never ends, so the scan must not wait for it.
#[test]
fn a_closed_output_ends_the_scan() {
    let folder = tempfile::tempdir().unwrap();
    let alerts = LogFiles::new(6).with_matches(2, 1_000_000);
    fs::write(folder.path().join("alerts.json.gz"), alerts).unwrap();
    let endless = folder.path().join("endless.json");
    let made = Command::new("mkfifo").arg(&endless).status().unwrap();
    assert!(made.success());
    let mut scan = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .args(["scan", "--jobs", "2", "."])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(scan.stdout.take());
    assert_eq!(scan.wait().unwrap().code(), Some(0));
}

/// Invalid rules end the scan before anything is printed, with one message.
#[test]
fn invalid_rules_end_the_scan() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..10 {
        let file = gzip(&log_file_of(&[call("DeleteHsm", &n.to_string())]));
        fs::write(folder.path().join(format!("{n}.json.gz")), file).unwrap();
    }
    fs::write(folder.path().join("rule.yml"), "title: nothing else\n").unwrap();
    let scan = |jobs| run(&[".", "--rules", "rule.yml"], jobs, folder.path());
    let one = scan("1");
    assert_eq!((one.0, one.1.as_str()), (Some(1), ""));
    assert!(one.2.starts_with("cloudhsm-alerts: rule.yml"), "{}", one.2);
    assert_eq!(scan("4"), one);
}
