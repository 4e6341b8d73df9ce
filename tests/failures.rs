//! What goes wrong costs itself and nothing else of its batch, is named, and fails what has to be retried.

use std::process::Command;

use cloudhsm_alerts_test_support::aws::{
    Aws, BUCKET, FOLDER, Lambda, QUEUE_ARN, call, gzip, notification, records, sqs,
};
use cloudhsm_alerts_test_support::event_ids::event_ids;
use serde_json::{Value, json};

fn key(name: &str) -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_{name}.json.gz")
}

/// A bucket with sound and broken log files, and the keys of the latter with the failures they make.
fn put_all(aws: &Aws) -> Vec<(String, &'static str, String)> {
    aws.put(
        &key("sound"),
        gzip(&records(&[
            call("DeleteHsm", "sound-1"),
            call("CreateHsm", "sound-2"),
        ])),
    );
    let whole = gzip(&records(&[
        call("DeleteCluster", "cut-1"),
        json!({"pad": "x".repeat(200_000)}),
        call("DeleteHsm", "cut-2"),
    ]));
    let cut = whole.len() / 2;
    aws.put(&key("cut"), whole[..cut].to_vec());
    let broken = br#"{"Records":[{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteHapg","eventID":"syntax-1"},{"eventSource":]}"#;
    aws.put(&key("syntax"), gzip(broken));
    aws.put(&key("other"), br#"{"configurationItems":[]}"#.to_vec());
    [
        ("missing", "Object.NotFound", "object s3://BUCKET/KEY: there is no such object (NoSuchKey: The specified key does not exist.); if it was moved or has expired, restore it and process this event again".to_owned()),
        ("cut", "LogFile.Truncated", format!("log file s3://BUCKET/KEY: the gzip stream ends in the middle, after {cut} compressed bytes: the object is truncated; restore it or wait for CloudTrail to deliver it again")),
        ("syntax", "LogFile.Syntax", "log file s3://BUCKET/KEY: cannot be read as a log file at byte 99, after 1 records: record 1: expected value at line 1 column 16".to_owned()),
        ("other", "LogFile.Syntax", "log file s3://BUCKET/KEY: cannot be read as a log file at byte 25, after 0 records: this is not a CloudTrail log file: its top level has no member \"Records\"".to_owned()),
    ]
    .into_iter()
    .map(|(name, error_type, message)| (key(name), error_type, message.replace("BUCKET", BUCKET).replace("KEY", &key(name))))
    .collect()
}

#[test]
fn one_bad_object_fails_alone_with_its_type_after_the_rest_was_told() {
    let aws = Aws::start();
    let all = put_all(&aws);
    for (n, (broken, error_type, message)) in all.iter().enumerate() {
        let topic = aws.topic(&format!("t{n}"));
        let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
        let reply = lambda.invoke(&notification(&[broken, &key("sound")]));
        assert_eq!(
            (&reply["errorType"], &reply["errorMessage"]),
            (&json!(error_type), &json!(message)),
            "log:\n{}",
            lambda.log()
        );
        let told: Vec<String> = aws.published(&topic).iter().map(|m| m.summary()).collect();
        // What stood before the damage was told too.
        let mut expected = match n {
            1 => vec!["critical DeleteCluster success"],
            _ => vec![],
        };
        expected.push("critical DeleteHsm success");
        if n == 2 {
            expected.push("high DeleteHapg success");
        }
        expected.push("medium CreateHsm success");
        assert_eq!(told, expected, "{broken}");
    }

    let topic = aws.topic("several");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let keys: Vec<&str> = all.iter().map(|(key, ..)| key.as_str()).collect();
    let reply = lambda.invoke(&notification(&keys));
    let messages: Vec<&str> = all.iter().map(|(.., message)| message.as_str()).collect();
    assert_eq!(reply["errorType"], "SeveralFailures");
    assert_eq!(reply["errorMessage"], messages.join("; "));
}

#[test]
fn only_the_messages_that_failed_come_back() {
    let aws = Aws::start();
    let all = put_all(&aws);
    let topic = aws.topic("t");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&sqs(&[
        notification(&[&key("sound")]),
        notification(&[&all[0].0]),
        json!("no JSON in here"),
        notification(&[&all[1].0, &key("sound")]),
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
fn batch_tasks_get_a_result_each() {
    let aws = Aws::start();
    let all = put_all(&aws);
    let topic = aws.topic("t");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let task = |id: &str, key: &str| json!({"taskId": id, "s3Key": key, "s3VersionId": null, "s3BucketArn": format!("arn:aws:s3:::{BUCKET}")});
    let reply = lambda.invoke(&json!({
        "invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"},
        "tasks": [
            task("a", &key("sound")), task("b", &all[0].0), task("c", &all[1].0),
            task("d", "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/x.json.gz"), task("e", &key("sound")), {"taskId": "f"},
        ],
    }));
    let result = |id: &str, code: &str, text: &str| json!({"taskId": id, "resultCode": code, "resultString": text});
    let shown = |n: usize| format!("{}: {}", all[n].1, all[n].2);
    assert_eq!(
        reply,
        json!({
            "invocationSchemaVersion": "1.0", "treatMissingKeysAs": "PermanentFailure", "invocationId": "i",
            "results": [
                result("a", "Succeeded", "2 records, 2 matched"),
                result("b", "PermanentFailure", &shown(0)),
                result("c", "PermanentFailure", &shown(1)),
                result("d", "Succeeded", "skipped: digest"),
                result("e", "Succeeded", "the same object as another task"),
                result("f", "PermanentFailure", "Payload.Unknown: tasks[5]: expected a task with s3Key and s3Bucket or s3BucketArn, found one without"),
            ],
        })
    );
}

#[test]
fn what_cannot_be_published_fails_what_it_belongs_to() {
    let aws = Aws::start();
    put_all(&aws);
    aws.put(&key("quiet"), records(&[call("DescribeClusters", "quiet")]));
    let topic = aws.topic("gone");
    aws.delete_topic(&topic);
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);

    let reply = lambda.invoke(&notification(&[&key("sound")]));
    assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
    assert_eq!(
        reply["errorMessage"],
        "alert for event sound-1: there is no such topic (NotFound: Endpoint does not exist); deploy the stack again or correct ALERT_TOPIC_ARN; \
         alert for event sound-2: there is no such topic (NotFound: Endpoint does not exist); deploy the stack again or correct ALERT_TOPIC_ARN"
    );
    let reply = lambda.invoke(&sqs(&[
        notification(&[&key("sound")]),
        notification(&[&key("quiet")]),
        notification(&[&key("sound")]),
    ]));
    assert_eq!(
        reply,
        json!({"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]})
    );

    // The same call in the file of another trail: it belongs to both messages.
    aws.put(
        &key("twin"),
        records(&[call("DeleteHsm", "sound-1"), call("ListTags", "x")]),
    );
    let reply = lambda.invoke(&sqs(&[
        notification(&[&key("quiet")]),
        notification(&[&key("sound")]),
        notification(&[&key("twin")]),
    ]));
    assert_eq!(
        reply,
        json!({"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]})
    );

    // Mended, the retry tells what was not told.
    aws.topic("gone");
    let reply = lambda.invoke(&notification(&[&key("sound")]));
    assert_eq!(
        (&reply["published"], &reply["duplicates"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(aws.published(&topic).len(), 2);
}

#[test]
fn an_unknown_payload_is_an_error_that_says_what_was_expected() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    for payload in [
        json!({"hello": "world"}),
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
fn what_is_no_record_costs_itself_and_is_not_left_to_the_log() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let mixed = [
        json!(7),
        call("DeleteHsm", "a"),
        json!(null),
        call("ListTags", "b"),
    ];
    aws.put(&key("mixed"), gzip(&records(&mixed)));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&notification(&[&key("mixed")]));
    assert_eq!(reply["errorType"], "LogFile.UnreadableRecord");
    assert_eq!(
        reply["errorMessage"],
        format!(
            "log file s3://{BUCKET}/{}: record 0 (byte 12) cannot be read: expected a JSON object, found a number, and 1 more; the rest of the file was processed",
            key("mixed")
        )
    );
    let told: Vec<String> = aws.published(&topic).iter().map(|m| m.summary()).collect();
    assert_eq!(told, ["critical DeleteHsm success"]);
    assert!(
        lambda
            .log()
            .contains("\"records\":4,\"evaluated\":2,\"unreadable\":2,\"matched\":2")
    );
}

#[test]
fn legal_but_awkward_json_is_a_call_like_any_other() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let awkward = |id: &str| {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let text = call("DeleteHsm", id).to_string();
        let awkward = format!(
            r#"{{"userAgent":"\ud83d","n":1e400,"deep":{deep},{}"#,
            &text[1..]
        );
        awkward.replacen(r#""userAgent":"aws-cli/2.31.0","#, "", 1)
    };
    aws.put(
        &key("awkward"),
        format!(r#"{{"Records":[{}]}}"#, awkward("file")).into_bytes(),
    );
    let settings = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("TRUSTED_QUEUES", QUEUE_ARN),
    ];
    let lambda = Lambda::start(&aws, &settings);
    let reply = lambda.invoke(&notification(&[&key("awkward")]));
    assert_eq!(reply["published"], 1, "{reply}");
    let event = format!(
        r#"{{"id":"e","source":"aws.cloudhsm","detail-type":"AWS API Call via CloudTrail","detail":{}}}"#,
        awkward("event")
    );
    let reply = lambda.invoke_text(&event);
    assert_eq!(reply["published"], 1, "{reply}");
    let body = sqs(&[json!({})])
        .to_string()
        .replace("{}", &event.replace('\\', r"\\").replace('"', r#"\""#));
    assert_eq!(lambda.invoke_text(&body), json!({"batchItemFailures": []}));
    assert_eq!(aws.published(&topic).len(), 2);
}

/// Anyone who may publish to a topic or a queue that names log files can send a record. Taken for a real one,
/// it would raise a false alarm, or have the real call under its event ID taken for a duplicate.
#[test]
fn records_in_messages_are_refused_and_silence_nothing() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.put(&key("real"), records(&[call("DeleteBackup", "real")]));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let forged = |name: &str, id: &str| json!({"id": "e", "source": "aws.cloudhsm", "detail-type": "AWS API Call via CloudTrail", "detail": call(name, id)});
    let reply = lambda.invoke(&sqs(&[
        forged("TagResource", "real"),
        forged("DeleteCluster", "false-alarm"),
        json!({"requestContext": {}, "requestPayload": forged("TagResource", "real")}),
        notification(&[&key("real")]),
    ]));
    let failed: Vec<Value> = ["m0", "m1", "m2"]
        .iter()
        .map(|id| json!({ "itemIdentifier": id }))
        .collect();
    assert_eq!(reply, json!({ "batchItemFailures": failed }));
    assert!(
        lambda.log().contains(r#"\"untrusted\":3"#),
        "{}",
        lambda.log()
    );
    let told: Vec<String> = aws.published(&topic).iter().map(|m| m.summary()).collect();
    assert_eq!(told, ["critical DeleteBackup success"]);

    let message = forged("DeleteCluster", "false-alarm").to_string();
    let reply = lambda
        .invoke(&json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": message}}]}));
    assert_eq!(reply["errorType"], "Payload.Untrusted");
    assert_eq!(aws.published(&topic).len(), 1);
}

#[test]
fn a_record_without_an_event_id_is_told_once() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let mut record = call("PutResourcePolicy", "x");
    record.as_object_mut().unwrap().remove("eventID");
    record["requestParameters"] = json!({"resourceArn": "arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-a", "policy": "{}"});
    aws.put(&key("nameless"), records(&[record]));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    for told in [1, 0] {
        let reply = lambda.invoke(&notification(&[&key("nameless")]));
        assert_eq!(
            (&reply["published"], &reply["duplicates"]),
            (&json!(told), &json!(1 - told))
        );
    }
}

#[test]
fn a_storm_becomes_digests_and_nothing_is_dropped() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let calls: Vec<Value> = (0..400)
        .map(|n| {
            let name = if n == 399 {
                "DeleteCluster"
            } else {
                "TagResource"
            };
            on_another(call(name, &format!("storm-{n}")), n)
        })
        .collect();
    aws.put(&key("storm"), gzip(&records(&calls)));
    let lambda = Lambda::start(
        &aws,
        &[
            ("ALERT_TOPIC_ARN", &topic),
            ("MAX_ALERTS", "3"),
            ("MIN_SEVERITY", "low"),
        ],
    );
    let reply = lambda.invoke(&notification(&[&key("storm")]));
    assert_eq!(
        (&reply["matched"], &reply["published"], &reply["summarized"]),
        (&json!(400), &json!(3), &json!(397))
    );

    let published = aws.published(&topic);
    assert_eq!(published[0].summary(), "critical DeleteCluster success");
    let mut ids: Vec<String> = published
        .iter()
        .flat_map(|message| event_ids(&message.finding()))
        .collect();
    ids.sort();
    let mut expected: Vec<String> = (0..400).map(|n| format!("storm-{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
}

/// A copy of a call on a resource of its own.
fn on_another(mut call: Value, n: usize) -> Value {
    call["requestParameters"] = json!({"clusterId": format!("cluster-{n}")});
    call
}

/// A denied copy of a call.
fn denied(mut call: Value) -> Value {
    call["errorCode"] = "AccessDenied".into();
    call
}

#[test]
fn refused_calls_do_not_bury_the_one_that_worked() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let mut calls: Vec<Value> = (0..30)
        .map(|n| {
            let mut call = on_another(call("DeleteBackup", &format!("no-{n}")), n);
            call["userIdentity"]["userName"] = format!("user-{}", n % 2).into();
            denied(call)
        })
        .collect();
    calls.push(call("DeleteHsm", "yes-1"));
    calls.push(call("PutResourcePolicy", "yes-2"));
    aws.put(&key("probing"), gzip(&records(&calls)));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("MAX_ALERTS", "1")]);
    let reply = lambda.invoke(&notification(&[&key("probing")]));
    assert_eq!(
        (&reply["published"], &reply["summarized"]),
        (&json!(1), &json!(31)),
        "{reply}"
    );
    let published = aws.published(&topic);
    assert_eq!(published[0].summary(), "critical DeleteHsm success");
    let digest = &published[1];
    assert_eq!(
        digest.subject,
        "CRITICAL: 31 calls: 1 PutResourcePolicy SUCCEEDED, 30 DeleteBackup DENIED"
    );
    assert_eq!(
        digest.text("sms"),
        "CRITICAL CloudHSM, 31 calls: 1 PutResourcePolicy SUCCEEDED, 30 DeleteBackup DENIED. See the e-mail"
    );
    // Whoever filters by an attribute of any of its calls gets it.
    assert_eq!(
        digest.attribute("outcome"),
        ("String.Array".into(), r#"["success","denied"]"#.into())
    );
    assert_eq!(
        digest.attribute("event_name"),
        (
            "String.Array".into(),
            r#"["PutResourcePolicy","DeleteBackup"]"#.into()
        )
    );
    assert_eq!(
        digest.attribute("severity"),
        ("String".into(), "critical".into())
    );
}

#[test]
fn a_storm_larger_than_memory_holds_is_told_whole_and_critical_alone() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let filler: Vec<Value> = (0..600)
        .map(|n| json!({"key": format!("k{n}"), "value": "v"}))
        .collect();
    let mut calls: Vec<Value> = (0..1200)
        .map(|n| {
            let mut record = on_another(call("TagResource", &format!("storm-{n}")), n);
            record["requestParameters"]["tagList"] = filler.clone().into();
            record
        })
        .collect();
    calls.push(call("DeleteCluster", "storm-1200"));
    aws.put(&key("storm"), gzip(&records(&calls)));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic), ("MAX_ALERTS", "2")]);
    let reply = lambda.invoke(&notification(&[&key("storm")]));
    assert_eq!(
        (&reply["matched"], &reply["failed"]),
        (&json!(1201), &json!(0)),
        "{reply}"
    );
    let published = aws.published(&topic);
    assert!(
        published
            .iter()
            .any(|message| message.summary() == "critical DeleteCluster success"),
        "the critical call has a message of its own"
    );
    let mut ids: Vec<String> = published
        .iter()
        .flat_map(|message| event_ids(&message.finding()))
        .collect();
    ids.sort();
    let mut expected: Vec<String> = (0..1201).map(|n| format!("storm-{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
    let peak = lambda.peak_resident_kib();
    assert!(peak < 128 * 1024, "{peak} KiB resident");
}

#[test]
fn a_wrong_variable_ends_the_start_with_one_clear_line() {
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
