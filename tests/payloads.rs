//! Every payload in `events/`: the reply of the function, and the alerts it publishes.

use std::collections::BTreeSet;

use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{call, empty_key, event_file, log_file_of, sample_key, sample_log_file, second_key},
    moto::Moto,
    process::project_folder,
};
use serde_json::{Value, json};

/// The alerts of the log file in `events/`, most severe first, then in the order of records.
const ALERTS: [&str; 5] = [
    "critical DeleteBackup success",
    "critical InitializeCluster success",
    "critical DeleteBackup denied",
    "medium CreateHsm success",
    "low ModifyCluster failed",
];

const SECOND: &str = "critical DeleteCluster success";

fn counts(objects: u64, skipped: Value, records: u64, matched: u64, published: u64) -> Value {
    json!({
        "objects": objects, "skipped": skipped,
        "records": records, "evaluated": records, "unreadable": 0,
        "matched": matched, "published": published, "summarized": 0, "suppressed": 0,
        "below_min_severity": matched - published, "duplicates": 0, "failed": 0,
    })
}

#[test]
fn every_payload_has_its_reply_and_its_alerts() {
    let aws = Moto::start();
    aws.put(&sample_key(), sample_log_file());
    aws.put(
        &format!("hsm trail + audit/{}", sample_key()),
        sample_log_file(),
    );
    let version = aws.put(
        &second_key(),
        log_file_of(&[call("DeleteCluster", "second")]),
    );
    // The newest version has no records: the function must read the version that the payload names.
    aws.put(&second_key(), log_file_of(&[]));
    aws.put(&empty_key(), Vec::new());
    let batch_response = |failed: &[&str]| {
        let failed: Vec<Value> = failed
            .iter()
            .map(|id| json!({ "itemIdentifier": id }))
            .collect();
        json!({ "batchItemFailures": failed })
    };
    let one = counts(1, json!({}), 9, 7, 5);
    let skipped_only = |reason: &str| {
        let mut skipped = json!({});
        skipped[reason] = 1.into();
        counts(0, skipped, 0, 0, 0)
    };

    // The tick needs a rule to trust, and reads no object.
    let mut seen =
        BTreeSet::from(["README.md", "log-files", "eventbridge-scheduled.json"].map(str::to_owned));
    for (name, reply, alerts) in [
        ("s3-put.json", one.clone(), ALERTS.to_vec()),
        (
            "s3-put-many.json",
            counts(
                2,
                json!({"digest": 1, "directory": 1, "empty": 1, "insight": 1}),
                10,
                8,
                6,
            ),
            {
                let mut alerts = ALERTS.to_vec();
                alerts.insert(2, SECOND);
                alerts
            },
        ),
        ("s3-removed.json", skipped_only("not_created"), vec![]),
        ("s3-test-event.json", skipped_only("test_event"), vec![]),
        ("sns-s3-put.json", one.clone(), ALERTS.to_vec()),
        ("sns-cloudtrail.json", one.clone(), ALERTS.to_vec()),
        ("sns-cloudtrail-string.json", one.clone(), ALERTS.to_vec()),
        (
            "sns-cloudtrail-validation.json",
            skipped_only("validation_message"),
            vec![],
        ),
        ("sqs-s3-put.json", batch_response(&[]), ALERTS.to_vec()),
        ("sqs-sns-s3-put.json", batch_response(&[]), ALERTS.to_vec()),
        (
            "sqs-sns-raw-s3-put.json",
            batch_response(&[]),
            ALERTS.to_vec(),
        ),
        (
            "sqs-sns-cloudtrail.json",
            batch_response(&[]),
            ALERTS.to_vec(),
        ),
        ("sqs-destination.json", batch_response(&[]), ALERTS.to_vec()),
        (
            "eventbridge-object-created.json",
            one.clone(),
            ALERTS.to_vec(),
        ),
        (
            "eventbridge-cloudtrail-call.json",
            counts(0, json!({}), 1, 1, 1),
            vec![ALERTS[0]],
        ),
        ("destination.json", one, ALERTS.to_vec()),
        (
            "batch-1.0.json",
            batch(
                "1.0",
                &event_file("batch-1.0.json"),
                ["9 records, 7 matched", "0 records, 0 matched"],
            ),
            ALERTS.to_vec(),
        ),
        (
            "batch-2.0.json",
            batch(
                "2.0",
                &event_file("batch-2.0.json"),
                ["9 records, 7 matched", "9 records, 7 matched"],
            ),
            ALERTS.to_vec(),
        ),
    ] {
        seen.insert(name.to_owned());
        let mut payload = event_file(name);
        if name == "s3-put-many.json" {
            payload["Records"][1]["s3"]["object"]["versionId"] = version.as_str().into();
        }
        let topic = aws.topic(&name.replace('.', "-"));
        let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
        assert_eq!(
            lambda.invoke(&payload),
            reply,
            "{name}; log:\n{}",
            lambda.log()
        );
        let published: Vec<String> = aws.published(&topic).iter().map(|m| m.headline()).collect();
        assert_eq!(published, alerts, "{name}");

        // The same payload again publishes nothing.
        let again = lambda.invoke(&payload);
        assert_eq!(again.get("errorType"), None, "{name}: {again}");
        assert_eq!(aws.published(&topic).len(), alerts.len(), "{name}, again");
    }
    let there: BTreeSet<String> = std::fs::read_dir(project_folder().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(seen, there, "events/ and this test's table");
}

fn batch(version: &str, payload: &Value, notes: [&str; 2]) -> Value {
    let results: Vec<Value> = payload["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .zip(notes)
        .map(|(task, note)| json!({"taskId": task["taskId"], "resultCode": "Succeeded", "resultString": note}))
        .collect();
    json!({
        "invocationSchemaVersion": version, "treatMissingKeysAs": "PermanentFailure",
        "invocationId": payload["invocationId"], "results": results,
    })
}
