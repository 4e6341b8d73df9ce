//! `cloudhsm-alerts backfill` over HTTP. Moto has no S3 Batch Operations, so a proxy in front of it answers requests
//! to S3 Control: it accepts a job and reports its end.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{
        BUCKET, FOLDER, REGION, call, event_file, gzip, log_file_of, sample_key, sample_log_file,
    },
    moto::Moto,
};
use serde_json::{Value, json};

const FUNCTION: &str = "arn:aws:lambda:us-west-2:111122223333:function:cloudhsm-alerts";
const ROLE: &str = "arn:aws:iam::111122223333:role/backfill";

/// S3 Control, as a proxy in front of moto.
struct S3Control {
    endpoint: String,
    /// Request line and body of every request to S3 Control.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl S3Control {
    fn in_front_of(aws: &Moto, status: &'static str) -> S3Control {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let moto = aws.endpoint.trim_start_matches("http://").to_owned();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let received = Arc::clone(&requests);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (moto, received) = (moto.clone(), Arc::clone(&received));
                thread::spawn(move || serve(&client, &moto, &received, status));
            }
        });
        S3Control { endpoint, requests }
    }

    fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

/// Serves one request and closes the connection, because the next request may be for another service.
fn serve(
    mut client: &TcpStream,
    moto: &str,
    received: &Mutex<Vec<(String, String)>>,
    status: &str,
) -> io::Result<()> {
    let mut reader = BufReader::new(client);
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
    if !request[1].starts_with("/v20180820/") {
        let mut server = TcpStream::connect(moto)?;
        let head = head.trim_end();
        write!(server, "{head}\r\nconnection: close\r\n\r\n")?;
        server.write_all(&body)?;
        return io::copy(&mut server, &mut client).map(drop);
    }
    let response = if request[0] == "POST" {
        "<CreateJobResult><JobId>job-of-the-test</JobId></CreateJobResult>".to_owned()
    } else {
        format!(
            "<DescribeJobResult><Job><JobId>job-of-the-test</JobId><Status>{status}</Status>\
             <FailureReasons><member><FailureCode>x</FailureCode><FailureReason>the manifest was deleted</FailureReason></member></FailureReasons>\
             <ProgressSummary><TotalNumberOfTasks>2</TotalNumberOfTasks><NumberOfTasksSucceeded>2</NumberOfTasksSucceeded>\
             <NumberOfTasksFailed>0</NumberOfTasksFailed></ProgressSummary></Job></DescribeJobResult>"
        )
    };
    received.lock().expect("no holder panics").push((
        request.join(" "),
        String::from_utf8_lossy(&body).into_owned(),
    ));
    write!(
        client,
        "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{response}",
        response.len()
    )
}

fn backfill(endpoint: &str, more: &[&str]) -> Output {
    let address = format!("s3://{BUCKET}/AWSLogs/");
    let selection = [address.as_str(), "--role", ROLE, "--from", "2026-11-23"];
    program(endpoint, &[&selection[..], more].concat())
}

fn program(endpoint: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .args(["backfill", "--function", FUNCTION, "--bucket", BUCKET])
        .args(arguments)
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", endpoint)
        .output()
        .expect("the program runs")
}

fn stdout_and_stderr(output: &Output) -> (String, String) {
    let decode = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (decode(&output.stdout), decode(&output.stderr))
}

/// Moto with two log files of the date, one of another date, and a digest file.
fn moto_with_log_files() -> Moto {
    let aws = Moto::start();
    let file = gzip(&log_file_of(&[]));
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

/// The content of the first XML element with this name.
fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let from = xml
        .find(&open)
        .unwrap_or_else(|| panic!("no {name} in {xml}"))
        + open.len();
    let to = xml[from..].find(&close).expect("an end tag");
    &xml[from..from + to]
}

#[test]
fn without_yes_the_job_is_described_and_nothing_is_created() {
    let aws = moto_with_log_files();
    let control = S3Control::in_front_of(&aws, "Complete");
    let output = backfill(&control.endpoint, &[]);
    let (stdout, stderr) = stdout_and_stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout, "");
    assert_eq!(
        stderr,
        format!(
            "2 log files, 0.0 MB compressed; skipped: 1 object without management events; skipped: 1 log file outside the date range\n\
             The job will invoke {FUNCTION} for each log file and publish alerts for calls that were not alerted before. \
             Alerts for calls older than one day are marked as backfill, at most 100 messages.\n\
             Nothing was created. Add --yes to create the job.\n"
        )
    );
    assert_eq!(control.requests(), []);
    assert_eq!(aws.keys("manifests/"), Vec::<String>::new());
}

#[test]
fn yes_writes_the_manifest_creates_the_job_and_prints_its_totals() {
    let aws = moto_with_log_files();
    let control = S3Control::in_front_of(&aws, "Complete");
    let report = "logs,a.json.gz,,succeeded,200,,\"9 records, 6 matched, 5 to alert\"\n\
         logs,b%20c%2Bd.json.gz,,succeeded,200,,\"1 records, 1 matched\"\n";
    aws.put("reports/job-job-of-the-test/results/1.csv", report.into());
    aws.put("reports/job-job-of-the-test/manifest.json", b"{}".to_vec());

    let arguments = ["--dry-run", "--max-messages", "7", "--yes", "--wait"];
    let output = backfill(&control.endpoint, &arguments);
    let (stdout, stderr) = stdout_and_stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "job-of-the-test\n2 log files in the report, 10 records, 7 calls matched; dry run, no alerts were published. \
         A backfill would alert at most 5 calls, in about 1 message\n"
    );

    let keys = aws.keys("manifests/");
    let [key] = keys.as_slice() else {
        panic!("expected one manifest, found {keys:?}")
    };
    assert_eq!(
        String::from_utf8(aws.get(key)).expect("UTF-8"),
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
    let user_arguments = element(operation, "UserArguments");
    for (key, value) in [
        ("cloudhsm-alerts", "dry-run"),
        ("cloudhsm-alerts-max-messages", "7"),
    ] {
        let entry = format!("<key>{key}</key><value>{value}</value>");
        assert!(user_arguments.contains(&entry), "{user_arguments}");
    }
    for (xml, name, expected) in [
        (operation, "FunctionArn", FUNCTION),
        (operation, "InvocationSchemaVersion", "2.0"),
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
    // The same selection creates another job.
    backfill(&control.endpoint, &arguments);
    let tokens: Vec<String> = control
        .requests()
        .iter()
        .filter(|(call, _)| call.starts_with("POST"))
        .map(|(_, job)| element(job, "ClientRequestToken").to_owned())
        .collect();
    assert_eq!(tokens.len(), 2);
    assert_ne!(tokens[0], tokens[1]);
}

#[test]
fn an_existing_job_is_followed() {
    let aws = moto_with_log_files();
    let control = S3Control::in_front_of(&aws, "Complete");
    let report = "logs,a.json.gz,,succeeded,200,,\"9 records, 6 matched, 6 not alerted\"\n";
    aws.put("reports/job-j/results/1.csv", report.into());
    let output = program(&control.endpoint, &["--job", "j"]);
    let (stdout, stderr) = stdout_and_stderr(&output);
    assert_eq!(
        (output.status.code(), stdout.as_str(), stderr.as_str()),
        (
            Some(1),
            "1 log file in the report, 9 records, 6 calls matched\n\
             6 calls not alerted, because the job reached --max-messages: run another job with a larger --max-messages \
             or a shorter date range\n",
            format!(
                "Complete: 2 of 2 log files succeeded, 0 failed\n\
                 the report in s3://{BUCKET}/reports/job-j/ lacks 1 log file of the manifest\n"
            )
            .as_str()
        )
    );
    let requests = control.requests();
    let calls: Vec<&str> = requests.iter().map(|(call, _)| call.as_str()).collect();
    assert_eq!(calls, ["GET /v20180820/jobs/j"]);
}

#[test]
fn a_failed_job_is_reported_with_its_reason() {
    let aws = moto_with_log_files();
    let control = S3Control::in_front_of(&aws, "Failed");
    let output = backfill(&control.endpoint, &["--yes", "--wait"]);
    let (stdout, stderr) = stdout_and_stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(
        stdout,
        "job-of-the-test\n0 log files in the report, 0 records, 0 calls matched\n"
    );
    assert!(
        stderr.contains("the job ended as Failed: the manifest was deleted\n"),
        "{stderr}"
    );
    assert!(
        control.requests()[0]
            .1
            .contains("<key>cloudhsm-alerts</key><value>backfill</value>")
    );
}

#[test]
fn a_prefix_without_log_files_is_an_error() {
    let aws = moto_with_log_files();
    for (day, message) in [
        (
            "2026-11-22",
            "--from 2026-11-23 is after --to 2026-11-22".to_owned(),
        ),
        (
            "2026-11-24",
            format!("no log files from 2026-11-23 to 2026-11-24 under s3://{BUCKET}/elsewhere"),
        ),
    ] {
        let address = format!("s3://{BUCKET}/elsewhere");
        let days = ["--from", "2026-11-23", "--to", day];
        let role = ["--role", ROLE, "--yes"];
        let output = program(
            &aws.endpoint,
            &[&[address.as_str()], &days[..], &role].concat(),
        );
        let (stdout, stderr) = stdout_and_stderr(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
        assert!(
            stderr.ends_with(&format!("cloudhsm-alerts: {message}\n")),
            "{stderr}"
        );
    }
}

/// The payload of a task for one log file.
fn task_payload(key: &str, job: &str, arguments: Value) -> Value {
    let mut payload = event_file("batch-2.0.json");
    payload["job"] = json!({"id": job, "userArguments": arguments});
    payload["tasks"].as_array_mut().expect("tasks").truncate(1);
    payload["tasks"][0]["s3Key"] = key.replace('+', "%2B").into();
    payload
}

/// The function's result for one log file of a job with this mode.
fn task_result(aws: &Moto, topic: &str, mode: &str) -> Value {
    let lambda = Lambda::start(aws, &[("ALERT_TOPIC_ARN", topic)]);
    let reply = lambda.invoke(&task_payload(
        &sample_key(),
        "j",
        json!({"cloudhsm-alerts": mode}),
    ));
    reply["results"][0].clone()
}

/// A call made this many hours ago.
fn call_hours_ago(event_id: &str, hours: i64) -> Value {
    let mut record = call("DeleteBackup", event_id);
    let time = Clock::default().now() - jiff::SignedDuration::from_hours(hours);
    record["eventTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    record
}

#[test]
fn a_dry_run_counts_and_publishes_nothing() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let result = task_result(&aws, &topic, "dry-run");
    assert_eq!(
        (&result["resultCode"], &result["resultString"]),
        (
            &json!("Succeeded"),
            &json!("9 records, 7 matched, 5 to alert")
        )
    );
    assert_eq!(aws.published(&topic).len(), 0);
    // A dry run does not make later alerts duplicates.
    task_result(&aws, &topic, "live");
    assert_eq!(aws.published(&topic).len(), 5);
}

#[test]
fn backfill_alerts_share_a_summary_that_is_marked() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let result = task_result(&aws, &topic, "backfill");
    assert_eq!(
        (&result["resultCode"], &result["resultString"]),
        (&json!("Succeeded"), &json!("9 records, 7 matched"))
    );
    let published = aws.published(&topic);
    let [summary] = published.as_slice() else {
        panic!("expected one summary, found {published:?}")
    };
    assert!(
        summary.subject.starts_with("BACKFILL CRITICAL: 5 calls"),
        "{}",
        summary.subject
    );
    assert_eq!(
        summary.attribute("backfill"),
        ("String".into(), "true".into())
    );
    assert!(summary.text("email").starts_with("BACKFILL: found while"));
    assert_eq!(summary.finding()["metadata"]["labels"], json!(["backfill"]));
}

#[test]
fn calls_of_the_last_day_are_alerted_as_usual() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    let calls = [call_hours_ago("old", 25), call_hours_ago("young", 23)];
    aws.put(&sample_key(), gzip(&log_file_of(&calls)));
    task_result(&aws, &topic, "backfill");
    let alerts: Vec<(String, bool)> = aws
        .published(&topic)
        .iter()
        .map(|message| {
            let uid = message.finding()["finding_info"]["uid"].clone();
            let is_marked = message.subject.starts_with("BACKFILL ");
            assert_eq!(message.attributes.contains_key("backfill"), is_marked);
            (uid.as_str().expect("a uid").to_owned(), is_marked)
        })
        .collect();
    assert_eq!(
        alerts,
        [("young".to_owned(), false), ("old".to_owned(), true)]
    );
}

#[test]
fn max_messages_limits_a_job_across_instances() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.table("ledger", "id");
    let keys = ["a", "b", "c"].map(|name| format!("{FOLDER}/{name}.json.gz"));
    for (key, event_id) in keys.iter().zip(["a", "b", "c"]) {
        let calls = [
            call_hours_ago(event_id, 99),
            call_hours_ago(&event_id.repeat(2), 98),
        ];
        aws.put(key, gzip(&log_file_of(&calls)));
    }
    let variables = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("LEDGER_TABLE", "ledger"),
    ];
    let instances = [(), ()].map(|()| Lambda::start(&aws, &variables));
    let limited = json!({"cloudhsm-alerts": "backfill", "cloudhsm-alerts-max-messages": "2"});
    let results = |job: &str| -> Vec<Value> {
        keys.iter()
            .enumerate()
            .map(|(n, key)| instances[n % 2].invoke(&task_payload(key, job, limited.clone())))
            .map(|reply| reply["results"][0]["resultString"].clone())
            .collect()
    };
    let (alerted, not_alerted) = (
        "2 records, 2 matched",
        "2 records, 2 matched, 2 not alerted",
    );
    assert_eq!(results("first"), [alerted, alerted, not_alerted]);
    assert_eq!(aws.published(&topic).len(), 2);
    assert!(!aws.items("ledger").keys().any(|key| key.starts_with("c#")));
    // Another job has its own limit, and does not repeat the alerts of the first.
    assert_eq!(results("second"), [alerted, alerted, alerted]);
    assert_eq!(aws.published(&topic).len(), 3);
}

#[test]
fn without_a_table_max_messages_limits_each_instance() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let none = json!({"cloudhsm-alerts": "backfill", "cloudhsm-alerts-max-messages": "0"});
    let reply = lambda.invoke(&task_payload(&sample_key(), "j", none));
    assert_eq!(
        reply["results"][0]["resultString"],
        "9 records, 7 matched, 5 not alerted"
    );
    assert_eq!(aws.published(&topic).len(), 0);
}

#[test]
fn a_backfill_neither_reloads_rules_nor_counts_as_live() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let rules_uri = format!("s3://{BUCKET}/no-rules-here/");
    aws.put("no-rules-here/broken.yml", b"title: [".to_vec());
    let variables = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("RULES_URI", rules_uri.as_str()),
        ("WATCHED", "failure_queue=failures"),
    ];
    let lambda = Lambda::start(&aws, &variables);
    let dry = json!({"cloudhsm-alerts": "dry-run"});
    lambda.invoke(&task_payload(&sample_key(), "j", dry));
    assert_eq!(aws.published(&topic).len(), 0);
    let redriven = |queue: &str| {
        let mut payload = event_file("sqs-destination.json");
        payload["Records"][0]["eventSourceARN"] =
            format!("arn:aws:sqs:us-west-2:111122223333:{queue}").into();
        payload
    };
    lambda.invoke(&redriven("failures"));
    lambda.invoke(&redriven("notifications"));
    // Five alerts, and a notice about the invalid rules.
    assert_eq!(aws.published(&topic).len(), 6);
    let log = lambda.log();
    let objects: Vec<[u64; 3]> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_aws").is_some())
        .map(|line| {
            // Values that are 0 are left out.
            ["Records", "LiveObjects", "OnlyCounted"].map(|name| line[name].as_u64().unwrap_or(0))
        })
        .collect();
    assert_eq!(objects, [[9, 0, 5], [9, 0, 0], [9, 1, 0]]);
}

#[test]
fn an_unknown_mode_fails_the_task_and_publishes_nothing() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let result = task_result(&aws, &topic, "dryrun");
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
