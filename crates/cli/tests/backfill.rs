//! `cloudhsm-alerts backfill`, the real program over HTTP: S3 is moto, and before it stands what moto does
//! not have, S3 Control, which takes a job and says that it is done.

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

/// S3 Control in front of moto.
struct Control {
    endpoint: String,
    /// Method, path and body of every request for S3 Control.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Control {
    fn before(aws: &Moto, status: &'static str) -> Control {
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

/// One request of a client, which takes its next one elsewhere: what is on a connection is of any service.
fn connection(
    mut client: &TcpStream,
    moto: &str,
    kept: &Mutex<Vec<(String, String)>>,
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
        client,
        "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn backfill(endpoint: &str, more: &[&str]) -> Output {
    let address = format!("s3://{BUCKET}/AWSLogs/");
    let which = [address.as_str(), "--role", ROLE, "--from", "2026-11-23"];
    program(endpoint, &[&which[..], more].concat())
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

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Two log files of the day, one of another day, a digest.
fn furnished() -> Moto {
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
             A job invokes {FUNCTION} for each log file. Calls that were not told before are told, those older than a day marked as a backfill, in 100 messages at the most.\n\
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
    let report = "logs,a.json.gz,,succeeded,200,,\"9 records, 6 matched, 5 to tell\"\n\
         logs,b%20c%2Bd.json.gz,,succeeded,200,,\"1 records, 1 matched\"\n";
    aws.put("reports/job-job-of-the-test/results/1.csv", report.into());
    aws.put("reports/job-job-of-the-test/manifest.json", b"{}".to_vec());

    let arguments = ["--dry-run", "--max-messages", "7", "--yes", "--wait"];
    let output = backfill(&control.endpoint, &arguments);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(
        stdout,
        "job-of-the-test\n2 log files in the report, 10 records, 7 calls that met a rule; nobody was told. \
         To tell, unless it was told before: 5 calls, in about 1 message\n"
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
    // The same list may be put through again: another job.
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
fn a_job_of_before_is_followed() {
    let aws = furnished();
    let control = Control::before(&aws, "Complete");
    let report = "logs,a.json.gz,,succeeded,200,,\"9 records, 6 matched, 6 not told\"\n";
    aws.put("reports/job-j/results/1.csv", report.into());
    let output = program(&control.endpoint, &["--job", "j"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(
        (output.status.code(), stdout.as_str(), stderr.as_str()),
        (
            Some(1),
            "1 log file in the report, 9 records, 6 calls that met a rule\n\
             6 calls not told, because the job had sent all its messages: another job, with a larger --max-messages \
             or fewer days, tells them\n",
            format!(
                "Complete: 2 of 2 log files done, 0 failed\n\
                 the report in s3://{BUCKET}/reports/job-j/ lacks 1 log file of the job's list\n"
            )
            .as_str()
        )
    );
    let requests = control.requests();
    let calls: Vec<&str> = requests.iter().map(|(call, _)| call.as_str()).collect();
    assert_eq!(calls, ["GET /v20180820/jobs/j"]);
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
        stderr.contains("the job ended as Failed: the list is gone\n"),
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
    let aws = furnished();
    for (day, message) in [
        (
            "2026-11-22",
            "--from 2026-11-23 is after --to 2026-11-22".to_owned(),
        ),
        (
            "2026-11-24",
            format!(
                "s3://{BUCKET}/elsewhere holds no log file from 2026-11-23 to 2026-11-24 to put through"
            ),
        ),
    ] {
        let address = format!("s3://{BUCKET}/elsewhere");
        let days = ["--from", "2026-11-23", "--to", day];
        let role = ["--role", ROLE, "--yes"];
        let output = program(
            &aws.endpoint,
            &[&[address.as_str()], &days[..], &role].concat(),
        );
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
        assert!(
            stderr.ends_with(&format!("cloudhsm-alerts: {message}\n")),
            "{stderr}"
        );
    }
}

/// A job's task for one log file.
fn task(key: &str, job: &str, arguments: Value) -> Value {
    let mut payload = event_file("batch-2.0.json");
    payload["job"] = json!({"id": job, "userArguments": arguments});
    payload["tasks"].as_array_mut().expect("tasks").truncate(1);
    payload["tasks"][0]["s3Key"] = key.replace('+', "%2B").into();
    payload
}

/// The function's result for one log file of a job with such a mode.
fn of_mode(aws: &Moto, topic: &str, mode: &str) -> Value {
    let lambda = Lambda::start(aws, &[("ALERT_TOPIC_ARN", topic)]);
    let reply = lambda.invoke(&task(&sample_key(), "j", json!({"cloudhsm-alerts": mode})));
    reply["results"][0].clone()
}

/// A call made some time ago.
fn call_before(event_id: &str, hours: i64) -> Value {
    let mut record = call("DeleteBackup", event_id);
    let time = Clock::default().now() - jiff::SignedDuration::from_hours(hours);
    record["eventTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    record
}

#[test]
fn a_dry_run_counts_and_tells_nobody() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let result = of_mode(&aws, &topic, "dry-run");
    assert_eq!(
        (&result["resultCode"], &result["resultString"]),
        (
            &json!("Succeeded"),
            &json!("9 records, 7 matched, 5 to tell")
        )
    );
    assert_eq!(aws.published(&topic).len(), 0);
    // What was only counted is told when it is meant.
    of_mode(&aws, &topic, "live");
    assert_eq!(aws.published(&topic).len(), 5);
}

#[test]
fn a_backfills_alerts_share_a_digest_and_say_that_they_are_the_past() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let result = of_mode(&aws, &topic, "backfill");
    assert_eq!(
        (&result["resultCode"], &result["resultString"]),
        (&json!("Succeeded"), &json!("9 records, 7 matched"))
    );
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
    assert_eq!(
        (digest.text("sms"), digest.attribute("page")),
        ("", ("String".into(), "false".into()))
    );
    assert_eq!(digest.finding()["metadata"]["labels"], json!(["backfill"]));
}

#[test]
fn what_happened_within_a_day_is_told_as_what_happens_now() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    let calls = [call_before("old", 25), call_before("young", 23)];
    aws.put(&sample_key(), gzip(&log_file_of(&calls)));
    of_mode(&aws, &topic, "backfill");
    let told: Vec<(String, bool)> = aws
        .published(&topic)
        .iter()
        .map(|message| {
            let uid = message.finding()["finding_info"]["uid"].clone();
            let is_marked = message.subject.starts_with("BACKFILL ");
            assert_eq!(message.attributes.get("backfill").is_some(), is_marked);
            (uid.as_str().expect("a uid").to_owned(), is_marked)
        })
        .collect();
    assert_eq!(
        told,
        [("young".to_owned(), false), ("old".to_owned(), true)]
    );
}

#[test]
fn a_jobs_messages_are_limited_over_all_instances_and_the_rest_stays_untold() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.table("ledger", "id");
    let keys = ["a", "b", "c"].map(|name| format!("{FOLDER}/{name}.json.gz"));
    for (key, event_id) in keys.iter().zip(["a", "b", "c"]) {
        let calls = [
            call_before(event_id, 99),
            call_before(&event_id.repeat(2), 98),
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
            .map(|(n, key)| instances[n % 2].invoke(&task(key, job, limited.clone())))
            .map(|reply| reply["results"][0]["resultString"].clone())
            .collect()
    };
    let (told, untold) = ("2 records, 2 matched", "2 records, 2 matched, 2 not told");
    assert_eq!(results("first"), [told, told, untold]);
    assert_eq!(aws.published(&topic).len(), 2);
    assert!(!aws.items("ledger").keys().any(|key| key.starts_with("c#")));
    // Another job has messages of its own, and what the first one told it does not tell again.
    assert_eq!(results("second"), [told, told, told]);
    assert_eq!(aws.published(&topic).len(), 3);
}

#[test]
fn without_a_table_each_instance_has_the_jobs_messages_for_itself() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let none = json!({"cloudhsm-alerts": "backfill", "cloudhsm-alerts-max-messages": "0"});
    let reply = lambda.invoke(&task(&sample_key(), "j", none));
    assert_eq!(
        reply["results"][0]["resultString"],
        "9 records, 7 matched, 5 not told"
    );
    assert_eq!(aws.published(&topic).len(), 0);
}

#[test]
fn a_backfill_neither_looks_for_rules_nor_sounds_like_a_heartbeat() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
    let nowhere = format!("s3://{BUCKET}/no-rules-here/");
    aws.put("no-rules-here/broken.yml", b"title: [".to_vec());
    let variables = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("RULES_URI", nowhere.as_str()),
        ("WATCHED", "failure_queue=failures"),
    ];
    let lambda = Lambda::start(&aws, &variables);
    let dry = json!({"cloudhsm-alerts": "dry-run"});
    lambda.invoke(&task(&sample_key(), "j", dry));
    assert_eq!(aws.published(&topic).len(), 0);
    let redriven = |queue: &str| {
        let mut payload = event_file("sqs-destination.json");
        payload["Records"][0]["eventSourceARN"] =
            format!("arn:aws:sqs:us-west-2:111122223333:{queue}").into();
        payload
    };
    lambda.invoke(&redriven("failures"));
    lambda.invoke(&redriven("notifications"));
    // The five calls, and that the rules are broken.
    assert_eq!(aws.published(&topic).len(), 6);
    let log = lambda.log();
    let objects: Vec<[u64; 3]> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_aws").is_some())
        .map(|line| {
            ["Objects", "LiveObjects", "OnlyCounted"]
                .map(|name| line[name].as_u64().expect("a count"))
        })
        .collect();
    assert_eq!(objects, [[1, 0, 5], [1, 0, 0], [1, 1, 0]]);
}

#[test]
fn a_mode_that_is_not_known_fails_the_task_and_tells_nobody() {
    let aws = Moto::start();
    let topic = aws.topic("alerts");
    aws.put(&sample_key(), sample_log_file());
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
