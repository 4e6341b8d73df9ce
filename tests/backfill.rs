//! `cloudhsm-alerts backfill`, the real program over HTTP: S3 is moto, and before it stands what moto does
//! not have, S3 Control, which takes a job and says that it is done.

mod common;

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use common::{Aws, BUCKET, FOLDER, Lambda, REGION, event, gzip, log_file, log_file_key, records};
use serde_json::{Value, json};

const FUNCTION: &str = "arn:aws:lambda:us-west-2:111122223333:function:cloudhsm-alerts";
const ROLE: &str = "arn:aws:iam::111122223333:role/backfill";

/// S3 Control in front of moto. A connection is one client's, and a client is of one service, so that its
/// first request says where it belongs.
struct Control {
    endpoint: String,
    /// Method, path and body of every request for S3 Control.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Control {
    fn before(aws: &Aws, status: &'static str) -> Control {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let moto = aws.endpoint.trim_start_matches("http://").to_owned();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (moto, kept) = (moto.clone(), Arc::clone(&kept));
                thread::spawn(move || connection(&client, &moto, &kept, status));
            }
        });
        Control { endpoint, requests }
    }

    fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

fn connection(
    client: &TcpStream,
    moto: &str,
    kept: &Mutex<Vec<(String, String)>>,
    status: &str,
) -> io::Result<()> {
    let mut start = [0; 64];
    let length = client.peek(&mut start)?;
    if !String::from_utf8_lossy(&start[..length]).contains(" /v20180820/") {
        let server = TcpStream::connect(moto)?;
        let (mut up, mut to) = (client.try_clone()?, server.try_clone()?);
        let upwards = thread::spawn(move || io::copy(&mut up, &mut to));
        io::copy(&mut &server, &mut &*client)?;
        let _ = upwards.join();
        return Ok(());
    }
    let mut reader = BufReader::new(client);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let request: Vec<&str> = head.split(' ').take(2).collect();
        let answer = if request[0] == "POST" {
            "<CreateJobResult><JobId>job-of-the-test</JobId></CreateJobResult>".to_owned()
        } else {
            format!(
                "<DescribeJobResult><Job><JobId>job-of-the-test</JobId><Status>{status}</Status>\
                 <FailureReasons><member><FailureCode>x</FailureCode><FailureReason>the list is gone</FailureReason></member></FailureReasons>\
                 <ProgressSummary><TotalNumberOfTasks>2</TotalNumberOfTasks><NumberOfTasksSucceeded>2</NumberOfTasksSucceeded>\
                 <NumberOfTasksFailed>0</NumberOfTasksFailed></ProgressSummary></Job></DescribeJobResult>"
            )
        };
        kept.lock().expect("no holder panics").push((
            request.join(" "),
            String::from_utf8_lossy(&body).into_owned(),
        ));
        write!(
            &mut &*client,
            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

fn backfill(endpoint: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .arg("backfill")
        .args([&format!("s3://{BUCKET}/AWSLogs/"), "--function", FUNCTION])
        .args(["--role", ROLE, "--bucket", BUCKET, "--from", "2026-11-23"])
        .args(more)
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", endpoint)
        .output()
        .expect("the program runs")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Two log files of the day, one of another day, a digest.
fn furnished() -> Aws {
    let aws = Aws::start();
    let file = gzip(&records(&[]));
    for key in [
        format!("{FOLDER}/a.json.gz"),
        format!("{FOLDER}/b c+d.json.gz"),
        FOLDER.replace("/23", "/22/x.json.gz"),
        FOLDER.replace("/CloudTrail/", "/CloudTrail-Digest/") + "/y.json.gz",
    ] {
        aws.put(&key, file.clone());
    }
    aws
}

/// What an element of an XML text holds.
fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = xml
        .find(&open)
        .unwrap_or_else(|| panic!("no {name} in {xml}"))
        + open.len();
    let to = xml[from..].find(&close).expect("it is closed");
    &xml[from..from + to]
}

#[test]
fn without_yes_it_says_what_it_would_do_and_creates_nothing() {
    let aws = furnished();
    let control = Control::before(&aws, "Complete");
    let output = backfill(&control.endpoint, &[]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout, "");
    assert_eq!(
        stderr,
        format!(
            "2 log files, 0.0 MB compressed; left out: 1 object without records of management calls; left out: 1 log file of other days\n\
             A job invokes {FUNCTION} for each. Calls that were not told before are told, marked as a backfill.\n\
             Nothing was created. To create the job, add --yes.\n"
        )
    );
    assert_eq!(control.requests(), []);
    assert_eq!(aws.keys("manifests/"), Vec::<String>::new());
}

#[test]
fn it_writes_the_list_creates_the_job_and_sums_its_report_up() {
    let aws = furnished();
    let control = Control::before(&aws, "Complete");
    let report = "logs,a.json.gz,,succeeded,200,,\"9 records, 6 matched\"\n\
         logs,b%20c%2Bd.json.gz,,succeeded,200,,\"1 records, 1 matched\"\n";
    aws.put("reports/job-job-of-the-test/results/1.csv", report.into());
    aws.put("reports/job-job-of-the-test/manifest.json", b"{}".to_vec());

    let output = backfill(&control.endpoint, &["--dry-run", "--yes", "--wait"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "job-of-the-test\n2 log files in the report, 10 records, 7 calls that met a rule; nobody was told\n"
    );

    let keys = aws.keys("manifests/");
    let [key] = keys.as_slice() else {
        panic!("one list, not {keys:?}")
    };
    assert_eq!(
        String::from_utf8(aws.get(key)).expect("text"),
        format!("{BUCKET},{FOLDER}/a.json.gz\n{BUCKET},{FOLDER}/b%20c%2Bd.json.gz\n")
    );

    let requests = control.requests();
    let calls: Vec<&str> = requests.iter().map(|(call, _)| call.as_str()).collect();
    assert_eq!(
        calls,
        [
            "POST /v20180820/jobs",
            "GET /v20180820/jobs/job-of-the-test"
        ]
    );
    let job = &requests[0].1;
    let operation = element(job, "LambdaInvoke");
    for (xml, name, expected) in [
        (operation, "FunctionArn", FUNCTION),
        (operation, "InvocationSchemaVersion", "2.0"),
        (operation, "key", "cloudhsm-alerts"),
        (operation, "value", "dry-run"),
        (job, "RoleArn", ROLE),
        (job, "ConfirmationRequired", "false"),
        (
            element(job, "Spec"),
            "Format",
            "S3BatchOperations_CSV_20180820",
        ),
        (
            element(job, "Location"),
            "ObjectArn",
            &format!("arn:aws:s3:::{BUCKET}/{key}"),
        ),
        (
            element(job, "Report"),
            "Bucket",
            &format!("arn:aws:s3:::{BUCKET}"),
        ),
        (element(job, "Report"), "Prefix", "reports"),
        (element(job, "Report"), "ReportScope", "AllTasks"),
    ] {
        assert_eq!(element(xml, name), expected, "{name}");
    }
    let etag = element(job, "ETag");
    assert_eq!(
        element(job, "ClientRequestToken"),
        format!("{etag}-dry-run")
    );
}

#[test]
fn a_job_that_fails_is_a_failure_with_its_reason() {
    let aws = furnished();
    let control = Control::before(&aws, "Failed");
    let output = backfill(&control.endpoint, &["--yes", "--wait"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(
        stdout,
        "job-of-the-test\n0 log files in the report, 0 records, 0 calls that met a rule\n"
    );
    assert!(
        stderr.ends_with("the job ended as Failed: the list is gone\n"),
        "{stderr}"
    );
    assert_eq!(element(&control.requests()[0].1, "value"), "backfill");
}

#[test]
fn a_prefix_without_log_files_is_an_error() {
    let aws = furnished();
    let output = backfill(&aws.endpoint, &["--to", "2026-11-22", "--yes"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.ends_with(&format!(
            "cloudhsm-alerts: s3://{BUCKET}/AWSLogs/ holds no log file to put through\n"
        )),
        "{stderr}"
    );
}

/// The function's reply to one log file of a job with such a mode.
fn of_mode(aws: &Aws, topic: &str, mode: &str) -> Value {
    let lambda = Lambda::start(aws, &[("ALERT_TOPIC_ARN", topic)]);
    let mut payload = event("batch-2.0.json");
    payload["job"]["userArguments"] = json!({"cloudhsm-alerts": mode});
    payload["tasks"].as_array_mut().expect("tasks").truncate(1);
    let reply = lambda.invoke(&payload);
    reply["results"][0].clone()
}

#[test]
fn a_dry_run_counts_and_tells_nobody() {
    let aws = Aws::start();
    let topic = aws.topic("alerts");
    aws.put(&log_file_key(), log_file());
    let result = of_mode(&aws, &topic, "dry-run");
    assert_eq!(
        (&result["resultCode"], &result["resultString"]),
        (&json!("Succeeded"), &json!("9 records, 7 matched"))
    );
    assert_eq!(aws.published(&topic).len(), 0);
    // What was only counted is told when it is meant.
    of_mode(&aws, &topic, "live");
    assert_eq!(aws.published(&topic).len(), 5);
}

#[test]
fn a_backfills_alerts_share_a_digest_and_say_that_they_are_the_past() {
    let aws = Aws::start();
    let topic = aws.topic("alerts");
    aws.put(&log_file_key(), log_file());
    let result = of_mode(&aws, &topic, "backfill");
    assert_eq!(result["resultCode"], "Succeeded", "{result}");
    let published = aws.published(&topic);
    let [digest] = published.as_slice() else {
        panic!("one digest, not {published:?}")
    };
    assert!(
        digest.subject.starts_with("BACKFILL CRITICAL: 5 calls"),
        "{}",
        digest.subject
    );
    assert_eq!(
        digest.attribute("backfill"),
        ("String".into(), "true".into())
    );
    assert!(digest.text("email").starts_with("BACKFILL: found while"));
    assert!(digest.text("sms").starts_with("BACKFILL "));
    assert_eq!(digest.finding()["metadata"]["labels"], json!(["backfill"]));
}

#[test]
fn a_mode_that_is_not_known_fails_the_task_and_tells_nobody() {
    let aws = Aws::start();
    let topic = aws.topic("alerts");
    aws.put(&log_file_key(), log_file());
    let result = of_mode(&aws, &topic, "dryrun");
    assert_eq!(
        (&result["resultCode"], &result["resultString"]),
        (
            &json!("PermanentFailure"),
            &json!(
                "Payload.Unknown: job.userArguments: cloudhsm-alerts is \"dryrun\"; expected \"live\", \"backfill\" or \"dry-run\""
            )
        )
    );
    assert_eq!(aws.published(&topic).len(), 0);
}
