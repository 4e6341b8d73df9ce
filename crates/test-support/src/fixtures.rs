//! Payloads, records and log files that tests share. Names and account IDs are those of `events/`.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::process::project_folder;

pub const REGION: &str = "us-west-2";
/// The bucket that CloudTrail delivers to.
pub const BUCKET: &str = "cloudhsm-alerts-trail-111122223333";
/// A folder of log files in that bucket.
pub const FOLDER: &str = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23";
/// A topic for tests with [`crate::stub`], which accepts any ARN. Tests with moto create their topics.
pub const TOPIC_ARN: &str = "arn:aws:sns:us-west-2:111122223333:alerts";
/// The queue that the messages of [`sqs_event`] come from.
pub const QUEUE_ARN: &str = "arn:aws:sqs:us-west-2:111122223333:notifications";

/// The key of a log file of [`FOLDER`], with a name of the test's choice in place of the random part.
pub fn key_named(name: &str) -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_{name}.json.gz")
}

/// The key of the log file that every payload in `events/` names.
pub fn sample_key() -> String {
    key_named("Kd83hFq0aPzW61Lm")
}

/// The key of a second log file, which some payloads in `events/` name.
pub fn second_key() -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0400Z_Vb72mRt5QxLd90Ns.json.gz")
}

/// The key of an empty object, which some payloads in `events/` name.
pub fn empty_key() -> String {
    key_named("w0eXq5Rz8TnYk2Uv")
}

/// A payload of `events/`.
pub fn event_file(name: &str) -> Value {
    let path = project_folder().join("events").join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The log file of `events/`, compressed as CloudTrail delivers it.
pub fn sample_log_file() -> Vec<u8> {
    let path = project_folder().join("events/log-files/cloudhsm-calls.json");
    gzip(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A log file with these records, not compressed.
pub fn log_file_of(records: &[Value]) -> Vec<u8> {
    json!({ "Records": records }).to_string().into_bytes()
}

/// A gzip stream that stores its content without compression, so that cutting it in half also cuts the content
/// in half.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).expect("writing into a Vec");
    encoder.finish().expect("writing into a Vec")
}

/// A record of a successful CloudHSM call by an IAM user.
pub fn call(event_name: &str, event_id: &str) -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "111122223333", "arn": "arn:aws:iam::111122223333:user/alice"},
        "eventTime": "2026-11-23T03:50:00Z",
        "eventSource": "cloudhsm.amazonaws.com",
        "eventName": event_name,
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2.31.0",
        "requestParameters": {"clusterId": "cluster-lk3jhgf4dsa"},
        "responseElements": null,
        "eventID": event_id,
        "recipientAccountId": "111122223333",
    })
}

/// The same call on cluster number `n`.
pub fn on_cluster(mut call: Value, n: usize) -> Value {
    call["requestParameters"] = json!({"clusterId": format!("cluster-{n}")});
    call
}

/// The same call, denied.
pub fn denied(mut call: Value) -> Value {
    call["errorCode"] = "AccessDenied".into();
    call
}

/// An S3 notification for keys of [`BUCKET`], with the keys encoded as S3 encodes them.
pub fn s3_notification(keys: &[&str]) -> Value {
    let records: Vec<Value> = keys
        .iter()
        .map(|key| {
            let key = utf8_percent_encode(key, NON_ALPHANUMERIC).to_string();
            json!({
                "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 1}},
            })
        })
        .collect();
    json!({ "Records": records })
}

/// An SQS event with one message per body. The message IDs are `m0`, `m1`, and so on.
pub fn sqs_event(bodies: &[Value]) -> Value {
    let messages: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| json!({"messageId": format!("m{n}"), "body": body.to_string(), "eventSource": "aws:sqs", "eventSourceARN": QUEUE_ARN}))
        .collect();
    json!({ "Records": messages })
}
