//! Every payload in `events/`, through the real function, over real HTTP: the reply its sender wants, and
//! what subscribers got.

use std::collections::BTreeSet;

use cloudhsm_alerts_test_support::aws::{
    Aws, Lambda, call, empty_key, event, log_file, log_file_key, project, records, second_key,
};
use serde_json::{Value, json};

/// What the log file of `events/` makes, the most severe first and then in file order.
const TOLD: [&str; 5] = [
    "critical DeleteBackup success",
    "critical InitializeCluster success",
    "critical DeleteBackup denied",
    "high ModifyCluster failed",
    "medium CreateHsm success",
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
fn every_event_gets_its_reply_and_tells_its_calls() {
    let aws = Aws::start();
    aws.put(&log_file_key(), log_file());
    aws.put(&format!("hsm trail + audit/{}", log_file_key()), log_file());
    let version = aws.put(&second_key(), records(&[call("DeleteCluster", "second")]));
    // The newest version is another one: only who honours the version reads the call.
    aws.put(&second_key(), records(&[]));
    aws.put(&empty_key(), Vec::new());
    let bare = |failed: &[&str]| {
        let failed: Vec<Value> = failed
            .iter()
            .map(|id| json!({ "itemIdentifier": id }))
            .collect();
        json!({ "batchItemFailures": failed })
    };
    let one = counts(1, json!({}), 9, 7, 5);
    let nothing = |reason: &str| {
        let mut skipped = json!({});
        skipped[reason] = 1.into();
        counts(0, skipped, 0, 0, 0)
    };

    let mut seen = BTreeSet::from(["README.md".to_owned(), "log-files".to_owned()]);
    for (name, reply, told) in [
        ("s3-put.json", one.clone(), TOLD.to_vec()),
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
                let mut told = TOLD.to_vec();
                told.insert(2, SECOND);
                told
            },
        ),
        ("s3-removed.json", nothing("not_created"), vec![]),
        ("s3-test-event.json", nothing("test_event"), vec![]),
        ("sns-s3-put.json", one.clone(), TOLD.to_vec()),
        ("sns-cloudtrail.json", one.clone(), TOLD.to_vec()),
        ("sns-cloudtrail-string.json", one.clone(), TOLD.to_vec()),
        (
            "sns-cloudtrail-validation.json",
            nothing("validation_message"),
            vec![],
        ),
        ("sqs-s3-put.json", bare(&[]), TOLD.to_vec()),
        ("sqs-sns-s3-put.json", bare(&[]), TOLD.to_vec()),
        ("sqs-sns-raw-s3-put.json", bare(&[]), TOLD.to_vec()),
        ("sqs-sns-cloudtrail.json", bare(&[]), TOLD.to_vec()),
        ("sqs-destination.json", bare(&[]), TOLD.to_vec()),
        (
            "eventbridge-object-created.json",
            one.clone(),
            TOLD.to_vec(),
        ),
        (
            "eventbridge-cloudtrail-call.json",
            counts(0, json!({}), 1, 1, 1),
            vec![TOLD[0]],
        ),
        ("destination.json", one, TOLD.to_vec()),
        (
            "batch-1.0.json",
            batch(
                "1.0",
                &event("batch-1.0.json"),
                ["9 records, 7 matched", "0 records, 0 matched"],
            ),
            TOLD.to_vec(),
        ),
        (
            "batch-2.0.json",
            batch(
                "2.0",
                &event("batch-2.0.json"),
                ["9 records, 7 matched", "9 records, 7 matched"],
            ),
            TOLD.to_vec(),
        ),
    ] {
        seen.insert(name.to_owned());
        let mut payload = event(name);
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
        let published: Vec<String> = aws.published(&topic).iter().map(|m| m.summary()).collect();
        assert_eq!(published, told, "{name}");

        // The same event again tells nobody anything new.
        let again = lambda.invoke(&payload);
        assert_eq!(again.get("errorType"), None, "{name}: {again}");
        assert_eq!(aws.published(&topic).len(), told.len(), "{name}, again");
    }
    let there: BTreeSet<String> = std::fs::read_dir(project().join("events"))
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
