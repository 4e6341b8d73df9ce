//! Failures of one object, message or task. Each is reported with its error type, fails the part of the payload
//! that must be retried, and does not affect the rest.

use std::process::Command;

use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{
        BUCKET, QUEUE_ARN, call, denied, gzip, key_named, log_file_of, on_cluster, s3_notification,
        sqs_event,
    },
    moto::Moto,
    published::Published,
};
use serde_json::{Value, json};

/// Puts one valid log file and several broken ones. Returns key, error type and message of each broken one.
fn put_log_files(aws: &Moto) -> Vec<(String, &'static str, String)> {
    aws.put(
        &key_named("valid"),
        gzip(&log_file_of(&[
            call("DeleteHsm", "valid-1"),
            call("CreateHsm", "valid-2"),
        ])),
    );
    let whole = gzip(&log_file_of(&[
        call("DeleteCluster", "cut-1"),
        json!({"pad": "x".repeat(200_000)}),
        call("DeleteHsm", "cut-2"),
    ]));
    let cut = whole.len() / 2;
    aws.put(&key_named("cut"), whole[..cut].to_vec());
    let broken = br#"{"Records":[{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteHapg","eventID":"syntax-1"},{"eventSource":]}"#;
    aws.put(&key_named("syntax"), gzip(broken));
    aws.put(
        &key_named("other"),
        br#"{"configurationItems":[]}"#.to_vec(),
    );
    [
        ("missing", "Object.NotFound", "object s3://BUCKET/KEY: there is no such object (NoSuchKey: The specified key does not exist.); if it was moved or has expired, restore it and process this event again".to_owned()),
        ("cut", "LogFile.Truncated", format!("log file s3://BUCKET/KEY: the gzip stream ends in the middle, after {cut} compressed bytes: the object is truncated; restore it or wait for CloudTrail to deliver it again")),
        ("syntax", "LogFile.Syntax", "log file s3://BUCKET/KEY: cannot be read as a log file at byte 99, after 1 records: record 1: expected value at line 1 column 16".to_owned()),
        ("other", "LogFile.Syntax", "log file s3://BUCKET/KEY: cannot be read as a log file at byte 25, after 0 records: this is not a CloudTrail log file: its top level has no member \"Records\"".to_owned()),
    ]
    .into_iter()
    .map(|(name, error_type, message)| (key_named(name), error_type, message.replace("BUCKET", BUCKET).replace("KEY", &key_named(name))))
    .collect()
}

#[test]
fn a_broken_object_fails_with_its_error_type_after_the_rest_is_alerted() {
    let aws = Moto::start();
    let all = put_log_files(&aws);
    for (n, (broken, error_type, message)) in all.iter().enumerate() {
        let topic = aws.topic(&format!("t{n}"));
        let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
        let reply = lambda.invoke(&s3_notification(&[broken, &key_named("valid")]));
        assert_eq!(
            (&reply["errorType"], &reply["errorMessage"]),
            (&json!(error_type), &json!(message)),
            "log:\n{}",
            lambda.log()
        );
        let headlines: Vec<String> = aws.published(&topic).iter().map(|m| m.headline()).collect();
        // Records before the damage are alerted too.
        let mut expected = match n {
            1 => vec!["critical DeleteCluster success"],
            _ => vec![],
        };
        expected.push("critical DeleteHsm success");
        if n == 2 {
            expected.push("high DeleteHapg success");
        }
        expected.push("medium CreateHsm success");
        assert_eq!(headlines, expected, "{broken}");
    }

    let topic = aws.topic("several");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let keys: Vec<&str> = all.iter().map(|(key, ..)| key.as_str()).collect();
    let reply = lambda.invoke(&s3_notification(&keys));
    let messages: Vec<&str> = all.iter().map(|(.., message)| message.as_str()).collect();
    assert_eq!(reply["errorType"], "SeveralFailures");
    assert_eq!(reply["errorMessage"], messages.join("; "));
}

#[test]
fn only_failed_sqs_messages_are_returned() {
    let aws = Moto::start();
    let all = put_log_files(&aws);
    let topic = aws.topic("t");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&sqs_event(&[
        s3_notification(&[&key_named("valid")]),
        s3_notification(&[&all[0].0]),
        json!("no JSON in here"),
        s3_notification(&[&all[1].0, &key_named("valid")]),
        json!({"Event": "s3:TestEvent"}),
        json!({}),
    ]));
    let failed: Vec<Value> = ["m1", "m2", "m3", "m5"]
        .iter()
        .map(|id| json!({ "itemIdentifier": id }))
        .collect();
    assert_eq!(
        reply,
        json!({ "batchItemFailures": failed }),
        "log:\n{}",
        lambda.log()
    );
    assert_eq!(aws.published(&topic).len(), 3);
}

#[test]
fn each_batch_task_has_a_result() {
    let aws = Moto::start();
    let all = put_log_files(&aws);
    let topic = aws.topic("t");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let task = |id: &str, key: &str| json!({"taskId": id, "s3Key": key, "s3VersionId": null, "s3BucketArn": format!("arn:aws:s3:::{BUCKET}")});
    let reply = lambda.invoke(&json!({
        "invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"},
        "tasks": [
            task("a", &key_named("valid")), task("b", &all[0].0), task("c", &all[1].0),
            task("d", "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/x.json.gz"), task("e", &key_named("valid")), {"taskId": "f"},
        ],
    }));
    let result = |id: &str, code: &str, text: &str| json!({"taskId": id, "resultCode": code, "resultString": text});
    let error = |n: usize| format!("{}: {}", all[n].1, all[n].2);
    assert_eq!(
        reply,
        json!({
            "invocationSchemaVersion": "1.0", "treatMissingKeysAs": "PermanentFailure", "invocationId": "i",
            "results": [
                result("a", "Succeeded", "2 records, 2 matched"),
                result("b", "PermanentFailure", &error(0)),
                result("c", "PermanentFailure", &error(1)),
                result("d", "Succeeded", "skipped: digest"),
                result("e", "Succeeded", "the same object as another task"),
                result("f", "PermanentFailure", "Payload.Unknown: tasks[5]: expected a task with s3Key and s3Bucket or s3BucketArn, found one without"),
            ],
        })
    );
}

#[test]
fn a_publish_failure_fails_every_message_with_that_call() {
    let aws = Moto::start();
    put_log_files(&aws);
    aws.put(
        &key_named("quiet"),
        log_file_of(&[call("DescribeClusters", "quiet")]),
    );
    let topic = aws.topic("gone");
    aws.delete_topic(&topic);
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);

    let reply = lambda.invoke(&s3_notification(&[&key_named("valid")]));
    assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
    assert_eq!(
        reply["errorMessage"],
        "alert for event valid-1: there is no such topic (NotFound: Endpoint does not exist); deploy the stack again or correct the topic's ARN in the function's variables; \
         alert for event valid-2: there is no such topic (NotFound: Endpoint does not exist); deploy the stack again or correct the topic's ARN in the function's variables"
    );
    let reply = lambda.invoke(&sqs_event(&[
        s3_notification(&[&key_named("valid")]),
        s3_notification(&[&key_named("quiet")]),
        s3_notification(&[&key_named("valid")]),
    ]));
    assert_eq!(
        reply,
        json!({"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]})
    );

    // The same call in the log file of another trail: both messages fail.
    aws.put(
        &key_named("other-trail"),
        log_file_of(&[call("DeleteHsm", "valid-1"), call("ListTags", "x")]),
    );
    let reply = lambda.invoke(&sqs_event(&[
        s3_notification(&[&key_named("quiet")]),
        s3_notification(&[&key_named("valid")]),
        s3_notification(&[&key_named("other-trail")]),
    ]));
    assert_eq!(
        reply,
        json!({"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]})
    );

    // Once the topic exists, a retry publishes the alerts.
    aws.topic("gone");
    let reply = lambda.invoke(&s3_notification(&[&key_named("valid")]));
    assert_eq!(
        (&reply["published"], &reply["duplicates"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(aws.published(&topic).len(), 2);
}

#[test]
fn an_unknown_payload_is_an_error_that_names_the_known_ones() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    for payload in [
        json!({"hello": "state"}),
        json!([]),
        json!("text"),
        json!(null),
    ] {
        let reply = lambda.invoke(&payload);
        assert_eq!(reply["errorType"], "Payload.Unknown", "{payload}");
        let message = reply["errorMessage"].as_str().unwrap();
        assert!(
            message.starts_with("payload: unknown payload, "),
            "{message}"
        );
        assert!(
            message.contains("expected an S3 notification, "),
            "{message}"
        );
    }
}

#[test]
fn an_unreadable_record_fails_the_invocation_and_the_rest_is_alerted() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let mixed = [
        json!(7),
        call("DeleteHsm", "a"),
        json!(null),
        call("ListTags", "b"),
    ];
    aws.put(&key_named("mixed"), gzip(&log_file_of(&mixed)));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&s3_notification(&[&key_named("mixed")]));
    assert_eq!(reply["errorType"], "LogFile.UnreadableRecord");
    assert_eq!(
        reply["errorMessage"],
        format!(
            "log file s3://{BUCKET}/{}: record 0 (byte 12) cannot be read: expected a JSON object, found a number, and 1 more; the rest of the file was processed",
            key_named("mixed")
        )
    );
    let headlines: Vec<String> = aws.published(&topic).iter().map(|m| m.headline()).collect();
    assert_eq!(headlines, ["critical DeleteHsm success"]);
    assert!(
        lambda
            .log()
            .contains("\"records\":4,\"evaluated\":2,\"unreadable\":2,\"matched\":2")
    );
}

#[test]
fn unusual_but_valid_json_is_evaluated_as_any_record() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let unusual = |id: &str| {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let record = call("DeleteHsm", id).to_string();
        let unusual = format!(
            r#"{{"userAgent":"\ud83d","n":1e400,"deep":{deep},{}"#,
            &record[1..]
        );
        unusual.replacen(r#""userAgent":"aws-cli/2.31.0","#, "", 1)
    };
    aws.put(
        &key_named("unusual"),
        format!(r#"{{"Records":[{}]}}"#, unusual("file")).into_bytes(),
    );
    let settings = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("TRUSTED_QUEUES", QUEUE_ARN),
    ];
    let lambda = Lambda::start(&aws, &settings);
    let reply = lambda.invoke(&s3_notification(&[&key_named("unusual")]));
    assert_eq!(reply["published"], 1, "{reply}");
    let event = format!(
        r#"{{"id":"e","source":"aws.cloudhsm","detail-type":"AWS API Call via CloudTrail","detail":{}}}"#,
        unusual("event")
    );
    let reply = lambda.invoke_raw(&event);
    assert_eq!(reply["published"], 1, "{reply}");
    let body = sqs_event(&[json!({})])
        .to_string()
        .replace("{}", &event.replace('\\', r"\\").replace('"', r#"\""#));
    assert_eq!(lambda.invoke_raw(&body), json!({"batchItemFailures": []}));
    assert_eq!(aws.published(&topic).len(), 2);
}

/// Anyone who may publish to the topic or queue of notifications can send a record. If the function trusted it, it
/// could raise a false alarm, or make the real call with the same event ID a duplicate.
#[test]
fn records_in_messages_are_rejected_and_suppress_nothing() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.put(
        &key_named("real"),
        log_file_of(&[call("DeleteBackup", "real")]),
    );
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let forged = |name: &str, id: &str| json!({"id": "e", "source": "aws.cloudhsm", "detail-type": "AWS API Call via CloudTrail", "detail": call(name, id)});
    let reply = lambda.invoke(&sqs_event(&[
        forged("TagResource", "real"),
        forged("DeleteCluster", "false-alarm"),
        json!({"requestContext": {}, "requestPayload": forged("TagResource", "real")}),
        s3_notification(&[&key_named("real")]),
    ]));
    let failed: Vec<Value> = ["m0", "m1", "m2"]
        .iter()
        .map(|id| json!({ "itemIdentifier": id }))
        .collect();
    assert_eq!(reply, json!({ "batchItemFailures": failed }));
    assert!(
        lambda.log().contains(r#""untrusted":3"#),
        "{}",
        lambda.log()
    );
    let headlines: Vec<String> = aws.published(&topic).iter().map(|m| m.headline()).collect();
    assert_eq!(headlines, ["critical DeleteBackup success"]);

    let message = forged("DeleteCluster", "false-alarm").to_string();
    let reply = lambda
        .invoke(&json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": message}}]}));
    assert_eq!(reply["errorType"], "Payload.Untrusted");
    assert_eq!(aws.published(&topic).len(), 1);
}

#[test]
fn a_repeated_record_without_an_event_id_is_alerted_once() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let mut record = call("PutResourcePolicy", "x");
    record.as_object_mut().unwrap().remove("eventID");
    record["requestParameters"] = json!({"resourceArn": "arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-a", "policy": "{}"});
    aws.put(&key_named("without-event-id"), log_file_of(&[record]));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    for published in [1, 0] {
        let reply = lambda.invoke(&s3_notification(&[&key_named("without-event-id")]));
        assert_eq!(
            (&reply["published"], &reply["duplicates"]),
            (&json!(published), &json!(1 - published))
        );
    }
}

#[test]
fn calls_beyond_max_alerts_go_into_summaries_and_none_is_lost() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let calls: Vec<Value> = (0..400)
        .map(|n| {
            let name = if n == 399 {
                "DeleteCluster"
            } else {
                "TagResource"
            };
            on_cluster(call(name, &format!("storm-{n}")), n)
        })
        .collect();
    aws.put(&key_named("storm"), gzip(&log_file_of(&calls)));
    let lambda = Lambda::start(
        &aws,
        &[
            ("ALERT_TOPIC_ARN", &topic),
            ("MAX_ALERTS", "3"),
            ("MIN_SEVERITY", "low"),
        ],
    );
    let reply = lambda.invoke(&s3_notification(&[&key_named("storm")]));
    assert_eq!(
        (&reply["matched"], &reply["published"], &reply["summarized"]),
        (&json!(400), &json!(3), &json!(397))
    );

    let published = aws.published(&topic);
    assert_eq!(published[0].headline(), "critical DeleteCluster success");
    let mut ids: Vec<String> = published.iter().flat_map(Published::event_ids).collect();
    ids.sort();
    let mut expected: Vec<String> = (0..400).map(|n| format!("storm-{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
}

/// The function groups the denied calls of one caller once they name more than 20 clusters. This test is about
/// calls that are not grouped, and stays below.
#[test]
fn denied_calls_do_not_displace_the_successful_one() {
    let aws = Moto::start();
    let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
    const CALLERS: usize = 2;
    const CLUSTERS_PER_CALLER: usize = 15;
    let mut calls: Vec<Value> = (0..CALLERS * CLUSTERS_PER_CALLER)
        .map(|n| {
            let mut call = on_cluster(call("DeleteBackup", &format!("no-{n}")), n);
            call["userIdentity"]["userName"] = format!("user-{}", n % CALLERS).into();
            denied(call)
        })
        .collect();
    calls.push(call("DeleteHsm", "yes-1"));
    calls.push(call("PutResourcePolicy", "yes-2"));
    aws.put(&key_named("probing"), gzip(&log_file_of(&calls)));
    let variables = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("PAGING_TOPIC_ARN", paging.as_str()),
        ("MAX_ALERTS", "1"),
    ];
    let lambda = Lambda::start(&aws, &variables);
    let reply = lambda.invoke(&s3_notification(&[&key_named("probing")]));
    // One of the two successful calls has a message of its own; the other is in the summary.
    let summarized = CALLERS * CLUSTERS_PER_CALLER + 1;
    assert_eq!(
        (&reply["published"], &reply["summarized"]),
        (&json!(1), &json!(summarized)),
        "{reply}"
    );
    let published = aws.published(&topic);
    assert_eq!(published[0].headline(), "critical DeleteHsm success");
    let summary = &published[1];
    assert_eq!(
        summary.subject,
        "CRITICAL: 31 calls: 1 PutResourcePolicy SUCCEEDED, 30 DeleteBackup DENIED"
    );
    let pages: Vec<String> = aws
        .published(&paging)
        .iter()
        .map(|page| page.page().expect("a plain message").to_owned())
        .collect();
    assert_eq!(
        pages,
        [
            "CRITICAL DeleteHsm SUCCEEDED: cluster-lk3jhgf4dsa, 111122223333 us-west-2, 23 Nov 03:50Z, by alice. Check that the cluster has HSMs left",
            "CRITICAL CloudHSM, 31 calls: 1 PutResourcePolicy SUCCEEDED, 30 DeleteBackup DENIED. See the e-mail",
        ]
    );
    // A filter policy that accepts any of its calls accepts the summary.
    assert_eq!(
        summary.attribute("outcome"),
        ("String.Array".into(), r#"["success","denied"]"#.into())
    );
    assert_eq!(
        summary.attribute("event_name"),
        (
            "String.Array".into(),
            r#"["PutResourcePolicy","DeleteBackup"]"#.into()
        )
    );
    assert_eq!(
        summary.attribute("severity"),
        ("String".into(), "critical".into())
    );
}

#[test]
fn many_large_records_are_all_alerted_within_128_mib() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    // 600 tags are some 15 KB of JSON: with 1200 records, the file is larger than 16 MB.
    let tags: Vec<Value> = (0..600)
        .map(|n| json!({"key": format!("k{n}"), "value": "v"}))
        .collect();
    let mut calls: Vec<Value> = (0..1200)
        .map(|n| {
            let mut record = on_cluster(call("TagResource", &format!("storm-{n}")), n);
            record["requestParameters"]["tagList"] = tags.clone().into();
            record
        })
        .collect();
    calls.push(call("DeleteCluster", "storm-1200"));
    aws.put(&key_named("storm"), gzip(&log_file_of(&calls)));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("MAX_ALERTS", "2")]);
    let reply = lambda.invoke(&s3_notification(&[&key_named("storm")]));
    assert_eq!(
        (&reply["matched"], &reply["failed"]),
        (&json!(1201), &json!(0)),
        "{reply}"
    );
    let published = aws.published(&topic);
    assert!(
        published
            .iter()
            .any(|message| message.headline() == "critical DeleteCluster success"),
        "the critical call has a message of its own"
    );
    let mut ids: Vec<String> = published.iter().flat_map(Published::event_ids).collect();
    ids.sort();
    let mut expected: Vec<String> = (0..1201).map(|n| format!("storm-{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
    let peak = lambda.peak_resident_kib();
    assert!(peak < 128 * 1024, "{peak} KiB resident");
}

#[test]
fn an_invalid_variable_stops_the_start_with_one_line() {
    for (variables, line) in [
        (
            vec![],
            "cloudhsm-alerts: environment variable ALERT_TOPIC_ARN: is missing; expected the ARN of the SNS topic to publish alerts to\n",
        ),
        (
            vec![
                ("ALERT_TOPIC_ARN", "arn:aws:sns:us-west-2:111122223333:t"),
                ("MIN_SEVERITY", "urgent"),
            ],
            "cloudhsm-alerts: environment variable MIN_SEVERITY: expected informational, low, medium, high or critical, found \"urgent\"\n",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bootstrap"))
            .env_clear()
            .envs(variables)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
    }
}
