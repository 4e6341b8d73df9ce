use proptest::prelude::*;
use serde_json::json;

use super::*;

const KEY: &str = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/x.json.gz";

const LOG_FILE: &str = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz";
const DIGEST_FILE: &str = "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_audit_us-east-1_20261123T050000Z.json.gz";

fn object(key: &str) -> Item {
    Item::Object(version(key, None))
}

fn version(key: &str, version_id: Option<&str>) -> ObjectRef {
    ObjectRef {
        bucket: "b".into(),
        key: key.into(),
        version_id: version_id.map(str::to_owned),
    }
}

fn s3(key: &str) -> Value {
    json!({"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": key, "size": 9}}})
}

fn notification(key: &str) -> Value {
    json!({ "Records": [s3(key)] })
}

fn envelope(message: &Value) -> Value {
    json!({"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:us-west-2:111122223333:t", "Message": message.to_string()})
}

fn sqs(bodies: &[String]) -> Value {
    let messages: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| {
            json!({"messageId": format!("id-{n}"), "body": body, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-west-2:111122223333:notifications"})
        })
        .collect();
    json!({ "Records": messages })
}

fn whole(payload: &Value) -> Vec<Item> {
    match read(payload, Trusted::default()) {
        Invocation::Whole(unit) => unit.items,
        other => panic!("{payload}: {other:?}"),
    }
}

fn message(item: &Item) -> String {
    match item {
        Item::Bad(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn payloads_that_are_one_unit() {
    let skipped = |skip, name: &str| Item::Skipped(skip, name.into());
    for (payload, expected) in [
        (notification(KEY), vec![object(KEY)]),
        (
            json!({"Records": [s3("a+b%2Bc"), s3("d/"), s3("AWSLogs%2F111122223333%2FCloudTrail-Digest%2Fx.json.gz")]}),
            vec![
                object("a b+c"),
                skipped(Skip::Directory, "s3://b/d/"),
                Item::Digest(ObjectRef {
                    bucket: "b".into(),
                    key: "AWSLogs/111122223333/CloudTrail-Digest/x.json.gz".into(),
                    version_id: None,
                }),
            ],
        ),
        (
            json!({"Records": [{"eventName": "ObjectCreated:CompleteMultipartUpload", "s3": {"bucket": {"name": "b"}, "object": {"key": "k", "versionId": "v1"}}}]}),
            vec![Item::Object(ObjectRef {
                bucket: "b".into(),
                key: "k".into(),
                version_id: Some("v1".into()),
            })],
        ),
        (
            json!({"Records": [{"eventName": "ObjectRemoved:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}]}),
            vec![skipped(
                Skip::NotCreated,
                "ObjectRemoved:Delete of s3://b/k",
            )],
        ),
        (
            json!({"Records": [
                {"eventName": "ObjectRemoved:DeleteMarkerCreated", "eventTime": "2026-11-23T04:10:44.950Z", "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"}, "requestParameters": {"sourceIPAddress": "192.0.2.61"}, "s3": {"bucket": {"name": "b"}, "object": {"key": LOG_FILE, "versionId": "marker"}}},
                {"eventName": "ObjectRemoved:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": DIGEST_FILE}}},
                {"eventName": "LifecycleExpiration:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": LOG_FILE}}},
                {"eventName": "ObjectTagging:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": DIGEST_FILE}}},
            ]}),
            vec![
                Item::Removed(Removal {
                    object: version(LOG_FILE, Some("marker")),
                    is_hidden: true,
                    time: Some("2026-11-23T04:10:44.950Z".parse().unwrap()),
                    caller: "AWS:AIDAEXAMPLE".into(),
                    source_ip: "192.0.2.61".into(),
                }),
                Item::Removed(Removal {
                    object: version(DIGEST_FILE, None),
                    is_hidden: false,
                    time: None,
                    caller: String::new(),
                    source_ip: String::new(),
                }),
                skipped(
                    Skip::NotCreated,
                    &format!("LifecycleExpiration:Delete of s3://b/{LOG_FILE}"),
                ),
                skipped(
                    Skip::NotCreated,
                    &format!("ObjectTagging:Put of s3://b/{DIGEST_FILE}"),
                ),
            ],
        ),
        // Anyone who may send messages can write that somebody removed a file.
        (
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json!({"Records": [
                {"eventName": "ObjectRemoved:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": LOG_FILE}}},
            ]}).to_string()}}]}),
            vec![skipped(
                Skip::NotCreated,
                &format!("ObjectRemoved:Delete of s3://b/{LOG_FILE}"),
            )],
        ),
        (
            json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "k", "size": 0}}}]}),
            vec![object("k")],
        ),
        (
            json!({"Records": [
                {"eventName": "ObjectUploaded:New", "s3": {"bucket": {"name": "b"}, "object": {"key": "1"}}},
                {"eventName": 7, "s3": {"bucket": {"name": "b"}, "object": {"key": "2"}}},
                {"eventName": "s3:ObjectRestore:Completed", "s3": {"bucket": {"name": "b"}, "object": {"key": "3"}}},
                {"eventName": "s3:LifecycleExpiration:Delete", "s3": {"bucket": {"name": "b"}, "object": {"key": "4"}}},
            ]}),
            vec![
                object("1"),
                object("2"),
                object("3"),
                skipped(
                    Skip::NotCreated,
                    "s3:LifecycleExpiration:Delete of s3://b/4",
                ),
            ],
        ),
        (
            json!({"source": "aws.s3", "detail-type": "Object Something New", "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}}),
            vec![object("k")],
        ),
        (
            json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}),
            vec![skipped(Skip::TestEvent, "s3:TestEvent of bucket b")],
        ),
        (
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": notification("a%2Bb").to_string()}}]}),
            vec![object("a+b")],
        ),
        (
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{\"s3Bucket\":\"b\",\"s3ObjectKey\":[\"a+b\",\"c\"]}"}}]}),
            vec![object("a+b"), object("c")],
        ),
        (
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{\"s3Bucket\":\"b\",\"s3ObjectKey\":\"c\"}"}}]}),
            vec![object("c")],
        ),
        (
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "CloudTrail validation message."}}]}),
            vec![skipped(
                Skip::ValidationMessage,
                "CloudTrail validation message",
            )],
        ),
        (
            json!({"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b", "size": 7, "version-id": "v"}}}),
            vec![Item::Object(ObjectRef {
                bucket: "b".into(),
                key: "a+b".into(),
                version_id: Some("v".into()),
            })],
        ),
        (
            json!({"source": "aws.s3", "detail-type": "Object Deleted", "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}}),
            vec![skipped(Skip::NotCreated, "Object Deleted of s3://b/k")],
        ),
        (
            json!({"source": "aws.s3", "detail-type": "Object Deleted", "time": "2026-11-23T04:10:44Z", "detail": {"bucket": {"name": "b"}, "object": {"key": LOG_FILE, "version-id": "marker"}, "requester": "111122223333", "source-ip-address": "192.0.2.61", "reason": "DeleteObject", "deletion-type": "Delete Marker Created"}}),
            vec![Item::Removed(Removal {
                object: version(LOG_FILE, Some("marker")),
                is_hidden: true,
                time: Some("2026-11-23T04:10:44Z".parse().unwrap()),
                caller: "111122223333".into(),
                source_ip: "192.0.2.61".into(),
            })],
        ),
        (
            json!({"source": "aws.s3", "detail-type": "Object Deleted", "detail": {"bucket": {"name": "b"}, "object": {"key": LOG_FILE}, "reason": "Lifecycle Expiration", "deletion-type": "Permanently Deleted"}}),
            vec![skipped(
                Skip::NotCreated,
                &format!("Object Deleted of s3://b/{LOG_FILE}"),
            )],
        ),
        (
            json!({"id": "e1", "source": "aws.cloudhsm", "detail-type": "AWS API Call via CloudTrail", "detail": {"eventName": "DeleteHsm"}}),
            vec![Item::Record(
                Record::new(
                    0,
                    Map::from_iter([("eventName".into(), "DeleteHsm".into())]),
                ),
                "e1".into(),
            )],
        ),
        (
            json!({"version": "1.0", "requestContext": {"condition": "RetriesExhausted"}, "requestPayload": notification(KEY), "responseContext": {}}),
            vec![object(KEY)],
        ),
        (
            json!({"requestContext": {}, "requestPayload": sqs(&[notification(KEY).to_string()])}),
            vec![object(KEY)],
        ),
        (json!({"Records": []}), vec![]),
    ] {
        assert_eq!(whole(&payload), expected, "{payload}");
    }
}

#[test]
fn each_sqs_message_is_a_unit() {
    let bodies = [
        notification("1").to_string(),
        envelope(&notification("2")).to_string(),
        envelope(&json!({"s3Bucket": "b", "s3ObjectKey": ["3", "4"]})).to_string(),
        json!({"requestContext": {}, "requestPayload": notification("5"), "responsePayload": {}})
            .to_string(),
        json!({"Event": "s3:TestEvent"}).to_string(),
        "not json".to_owned(),
        "{}".to_owned(),
    ];
    let Invocation::Sqs {
        queue,
        messages: units,
    } = read(&sqs(&bodies), Trusted::default())
    else {
        panic!("an SQS event is not recognized");
    };
    assert_eq!(queue, "notifications");
    let ids: Vec<&str> = units.iter().map(|unit| unit.id.as_str()).collect();
    assert_eq!(
        ids,
        ["id-0", "id-1", "id-2", "id-3", "id-4", "id-5", "id-6"]
    );
    let items: Vec<&[Item]> = units.iter().map(|unit| unit.items.as_slice()).collect();
    assert_eq!(items[0], [object("1")]);
    assert_eq!(items[1], [object("2")]);
    assert_eq!(items[2], [object("3"), object("4")]);
    assert_eq!(items[3], [object("5")]);
    assert!(matches!(items[4], [Item::Skipped(Skip::TestEvent, _)]));
    assert_eq!(
        message(&items[5][0]),
        "Records[5].body: expected JSON, found \"not json\" (expected ident at line 1 column 2)"
    );
    assert!(
        message(&items[6][0])
            .starts_with("Records[6].body: unknown payload, an empty object; expected an S3")
    );
}

fn record_event() -> Value {
    json!({"id": "e1", "source": "aws.cloudhsm", "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteBackup", "eventID": "forged\n"}})
}

/// Anyone who may send messages can write a record into one, at any depth of nesting.
#[test]
fn records_in_messages_are_refused() {
    let record = record_event();
    let destination = |payload: &Value| json!({"requestContext": {}, "requestPayload": payload});
    let sns = |message: &Value| json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": message.to_string()}}]});
    let queue = |body: &Value| sqs(&[body.to_string()]);
    for payload in [
        destination(&record),
        destination(&destination(&record)),
        sns(&record),
        sns(&envelope(&record)),
        sns(&Value::from(record.to_string())),
        envelope(&record),
        destination(&sns(&record)),
        destination(&queue(&record)),
    ] {
        let items = whole(&payload);
        let [Item::Bad(error)] = items.as_slice() else {
            panic!("{payload}: not refused");
        };
        assert!(error.is_untrusted, "{payload}: {error}");
        assert!(
            error
                .to_string()
                .contains("(event ID forged\\n, DeleteBackup of cloudhsm.amazonaws.com)"),
            "{error}"
        );
    }

    // The ARN from Lambda is trusted, one inside a message is not.
    let own = "arn:aws:sqs:us-west-2:111122223333:notifications".to_owned();
    let inner = queue(&record);
    let bodies = [&record, &envelope(&record), &destination(&record), &inner].map(Value::to_string);
    let bodies = [bodies.as_slice(), &[notification(KEY).to_string()]].concat();
    for (trusted, expected) in [
        (vec![], [false, false, false, false]),
        (vec![format!("{own}-2")], [false, false, false, false]),
        (vec!["x".into(), own], [true, false, false, false]),
    ] {
        let Invocation::Sqs { messages, .. } = read(
            &sqs(&bodies),
            Trusted {
                queues: &trusted,
                tick_rule: None,
            },
        ) else {
            panic!("an SQS event is not recognized");
        };
        assert_eq!(messages[4].items, [object(KEY)]);
        for (message, is_record) in messages.iter().zip(expected) {
            match message.items.as_slice() {
                [Item::Record(_, id)] => assert!(is_record && id == "e1", "{trusted:?}"),
                [Item::Bad(error)] => assert!(!is_record && error.is_untrusted, "{error}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn batch_tasks_of_both_schemas() {
    let task = |id: &str, rest: Value| {
        let mut task = json!({"taskId": id, "s3Key": "a%2Bb+c", "s3VersionId": null});
        for (name, value) in rest.as_object().unwrap() {
            task[name] = value.clone();
        }
        task
    };
    let first = json!({"invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"},
        "tasks": [task("t1", json!({"s3BucketArn": "arn:aws:s3:::b"})), {"taskId": "t2"}]});
    let second = json!({"invocationSchemaVersion": "2.0", "invocationId": "i", "job": {"id": "j", "userArguments": {"a": "b"}},
        "tasks": [task("t1", json!({"s3Bucket": "b", "s3VersionId": "v"}))]});
    let mut mistyped = second.clone();
    mistyped["job"]["userArguments"] = json!({BATCH_MODE: "dryrun"});
    let version = |item: Item| match item {
        Item::Object(object) => (object.bucket, object.key, object.version_id),
        other => panic!("{other:?}"),
    };
    let Invocation::Batch {
        schema_version,
        invocation_id,
        job,
        mut tasks,
    } = read(&first, Trusted::default())
    else {
        panic!("not recognized")
    };
    assert_eq!(job.mode, BatchMode::Live);
    assert_eq!(
        (schema_version.as_str(), invocation_id.as_str()),
        ("1.0", "i")
    );
    assert_eq!(
        tasks
            .iter()
            .map(|task| task.id.as_str())
            .collect::<Vec<_>>(),
        ["t1", "t2"]
    );
    assert_eq!(
        message(&tasks[1].items[0]),
        "tasks[1]: expected a task with s3Key and s3Bucket or s3BucketArn, found one without"
    );
    assert_eq!(
        version(tasks.remove(0).items.remove(0)),
        ("b".into(), "a+b c".into(), None)
    );
    let Invocation::Batch {
        schema_version,
        mut tasks,
        ..
    } = read(&second, Trusted::default())
    else {
        panic!("not recognized")
    };
    assert_eq!(schema_version, "2.0");
    assert_eq!(
        version(tasks.remove(0).items.remove(0)),
        ("b".into(), "a+b c".into(), Some("v".into()))
    );
    let Invocation::Batch { tasks, .. } = read(&mistyped, Trusted::default()) else {
        panic!("not recognized")
    };
    assert_eq!(
        message(&tasks[0].items[0]),
        "job.userArguments: cloudhsm-alerts is \"dryrun\"; expected \"live\", \"backfill\" or \"dry-run\""
    );
}

#[test]
fn errors_name_the_part_and_what_was_expected() {
    let items = whole(
        &json!({"Records": [s3("1"), {"s3": {}}, {"x": 1}, {"eventVersion": "1.11", "eventID": "e"}, s3("%FF"), s3("2")]}),
    );
    assert_eq!((&items[0], &items[5]), (&object("1"), &object("2")));
    assert_eq!(
        message(&items[1]),
        "payload.Records[1]: not an S3 notification record: missing field `bucket`"
    );
    assert!(
        message(&items[2])
            .starts_with("payload.Records[2]: unknown payload, an object with x; expected")
    );
    assert!(
        message(&items[3])
            .starts_with("payload.Records[3]: expected a notification, found a CloudTrail record;")
    );
    assert!(
        message(&items[4])
            .starts_with("payload.Records[4]: the decoded object key \"%FF\" is not UTF-8")
    );

    for (payload, start) in [
        (json!(null), "payload: unknown payload, null; expected"),
        (json!([1]), "payload: unknown payload, a list; expected"),
        (
            json!({"hello": 1, "a\nb": 2}),
            "payload: unknown payload, an object with hello, a\\nb; expected",
        ),
        (
            json!({"detail-type": "AWS API Call via CloudTrail", "source": "my.app", "detail": {}}),
            "payload: expected an EventBridge event with the source of an AWS service, such as \"aws.s3\", found \"my.app\"",
        ),
        (
            json!({"detail-type": "AWS API Call via CloudTrail", "source": "aws.cloudhsm", "detail": {"Records": [], "eventName": null}}),
            "payload: expected a CloudTrail record in detail, found an object with neither eventSource nor eventName, but Records, eventName",
        ),
        (
            json!({"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}),
            "payload: expected a scheduled event of the rule TICK_RULE_ARN that invokes the function itself, found one of null",
        ),
        (
            json!({"s3Bucket": "b", "s3ObjectKey": [1]}),
            "payload.s3ObjectKey[0]: expected a key as a string, found a number",
        ),
        (
            json!({"Type": "SubscriptionConfirmation", "Message": "x"}),
            "payload: unknown payload, an object with Type, Message; expected",
        ),
    ] {
        let items = whole(&payload);
        assert!(
            message(&items[0]).starts_with(start),
            "{payload}: {}",
            message(&items[0])
        );
    }
}

#[test]
fn nesting_is_limited() {
    let mut payload = notification(KEY);
    for _ in 0..20 {
        payload = json!({"requestContext": {}, "requestPayload": payload});
    }
    assert!(
        message(&whole(&payload)[0]).ends_with("expected at most 8 levels of nesting, found more")
    );
    let mut text = notification(KEY).to_string();
    for _ in 0..12 {
        text = Value::from(text).to_string();
    }
    assert!(
        matches!(read(&sqs(&[text]), Trusted::default()), Invocation::Sqs { messages, .. } if matches!(messages[0].items[0], Item::Bad(_)))
    );
}

proptest! {
    #[test]
    fn no_payload_panics(text in "[\\[\\]{}\",:\\\\ 1Recordsbodytasks3Snsdetail-]{0,80}") {
        if let Ok(payload) = serde_json::from_str::<Value>(&text) {
            let _ = read(&payload, Trusted::default());
        }
        let _ = read(&sqs(&[text]), Trusted::default());
    }
}
