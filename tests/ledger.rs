//! Deduplication: any number of instances that share a ledger table alert each call once. A table that cannot be
//! used does not stop an alert.

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_core::{call_id::CallId, record::Record};
use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{BUCKET, call, gzip, key_named, log_file_of, s3_notification, sqs_event},
    moto::Moto,
};
use serde_json::{Value, json};

/// The ledger ID of the call in a record.
fn ledger_id(record: &Value) -> String {
    let fields = record.as_object().expect("an object").clone();
    CallId::of(&Record::new(0, fields)).key().to_owned()
}

fn start(aws: &Moto, topic: &str, table: &str) -> Lambda {
    Lambda::start(aws, &[("ALERT_TOPIC_ARN", topic), ("LEDGER_TABLE", table)])
}

/// The counts of published alerts, duplicates, failures and ledger errors.
fn counts(reply: &Value) -> [u64; 4] {
    ["published", "duplicates", "failed", "ledger_errors"]
        .map(|name| reply[name].as_u64().unwrap_or_default())
}

#[test]
fn two_instances_alert_a_call_once() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    aws.put(
        &key_named("one"),
        gzip(&log_file_of(&[
            call("DeleteHsm", "a"),
            call("CreateHsm", "b"),
        ])),
    );
    aws.put(
        &key_named("two"),
        gzip(&log_file_of(&[
            call("CreateHsm", "b"),
            call("DeleteBackup", "c"),
        ])),
    );
    let [first, second] = [(), ()].map(|()| start(&aws, &topic, "ledger"));
    assert_eq!(
        counts(&first.invoke(&s3_notification(&[&key_named("one")]))),
        [2, 0, 0, 0]
    );
    assert_eq!(
        counts(&second.invoke(&s3_notification(&[&key_named("two")]))),
        [1, 1, 0, 0]
    );
    assert_eq!(
        counts(&second.invoke(&s3_notification(&[&key_named("one")]))),
        [0, 2, 0, 0]
    );
    let headlines: Vec<String> = aws.published(&topic).iter().map(|m| m.headline()).collect();
    assert_eq!(
        headlines,
        [
            "critical DeleteHsm success",
            "medium CreateHsm success",
            "critical DeleteBackup success"
        ]
    );
    // The items are as documented for the ledger table.
    let items = aws.items("ledger");
    let ids: Vec<String> = items.keys().cloned().collect();
    let calls = [
        ledger_id(&call("DeleteHsm", "a")),
        ledger_id(&call("CreateHsm", "b")),
        ledger_id(&call("DeleteBackup", "c")),
    ];
    let turns = format!("cloudhsm-alerts turns {topic}");
    assert_eq!(ids, [calls.as_slice(), &[turns]].concat());
    for id in &calls {
        assert_eq!(items[id]["status"].as_s().unwrap(), "sent");
        let expires: i64 = items[id]["expires_at"].as_n().unwrap().parse().unwrap();
        let sent: i64 = items[id]["sent_at"].as_n().unwrap().parse().unwrap();
        assert_eq!(expires - sent / 1000, 40 * 24 * 3600);
    }
}

/// EventBridge delivers a record at once, the log file follows minutes later. The two differ in some members.
#[test]
fn a_record_from_eventbridge_and_from_a_log_file_is_alerted_once() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    let mut logged = call("DeleteBackup", "a");
    logged["eventCategory"] = "Management".into();
    let mut delivered = call("DeleteBackup", "a");
    delivered["eventVersion"] = "1.10".into();
    delivered
        .as_object_mut()
        .unwrap()
        .remove("recipientAccountId");
    let event = json!({"id": "e", "source": "aws.cloudhsm", "detail-type": "AWS API Call via CloudTrail", "detail": delivered});
    aws.put(&key_named("one"), log_file_of(&[logged]));
    let [first, second] = [(), ()].map(|()| start(&aws, &topic, "ledger"));
    assert_eq!(counts(&first.invoke(&event)), [1, 0, 0, 0]);
    let file = s3_notification(&[&key_named("one")]);
    assert_eq!(counts(&second.invoke(&file)), [0, 1, 0, 0]);
    assert_eq!(counts(&first.invoke(&file)), [0, 1, 0, 0]);
}

/// A record with the event ID of another call does not suppress that call, whichever comes first.
#[test]
fn different_calls_with_one_event_id_are_alerted_and_counted() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let calls = ["TagResource", "DeleteBackup"].map(|name| call(name, "same"));
    for (n, order) in [[0, 1], [1, 0]].iter().enumerate() {
        let topic = aws.topic(&format!("t{n}"));
        let table = format!("ledger-{n}");
        aws.table(&table, "id");
        for index in order {
            aws.put(
                &key_named(&index.to_string()),
                log_file_of(&[calls[*index].clone()]),
            );
        }
        let instances = [(), ()].map(|()| start(&aws, &topic, &table));
        // Only an instance that read both records counts the reuse.
        for (attempt, reused) in [(0, None), (1, Some(1)), (2, None)] {
            let lambda = &instances[usize::from(attempt == 2)];
            let file = s3_notification(&[&key_named(&order[attempt % 2].to_string())]);
            let reply = lambda.invoke(&file);
            let expected = [u64::from(attempt < 2), u64::from(attempt == 2), 0, 0];
            assert_eq!(counts(&reply), expected, "{order:?} {attempt}: {reply}");
            assert_eq!(reply["event_ids_reused"].as_u64(), reused, "{reply}");
        }
        // Both in one log file.
        let topic = aws.topic(&format!("one-file-{n}"));
        aws.put(
            &key_named("both"),
            log_file_of(&order.map(|index| calls[index].clone())),
        );
        let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
        let reply = lambda.invoke(&s3_notification(&[&key_named("both")]));
        assert_eq!(counts(&reply), [2, 0, 0, 0], "{reply}");
        assert_eq!(reply["event_ids_reused"], 1);
    }
}

/// A call across accounts is recorded in the account of the caller and in that of the resource owner.
#[test]
fn a_call_recorded_in_two_accounts_is_alerted_once() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let mut callers = call("DeleteBackup", "a");
    callers["sharedEventID"] = "shared".into();
    let mut owners = call("DeleteBackup", "b");
    owners["sharedEventID"] = "shared".into();
    owners["recipientAccountId"] = "444455556666".into();
    owners["userIdentity"] =
        json!({"type": "AWSAccount", "accountId": "111122223333", "principalId": "AIDAEXAMPLE"});
    aws.put(&key_named("both"), log_file_of(&[callers, owners]));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&s3_notification(&[&key_named("both")]));
    assert_eq!(counts(&reply), [1, 1, 0, 0], "{reply}");
}

#[test]
fn a_claim_of_another_invocation_holds_until_it_expires() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    aws.put(
        &key_named("held"),
        log_file_of(&[call("DeleteHsm", "held")]),
    );
    aws.put(
        &key_named("free"),
        log_file_of(&[call("DeleteBackup", "free")]),
    );
    let lambda = start(&aws, &topic, "ledger");
    lambda.invoke(&s3_notification(&[&key_named("free")]));
    let now: i64 = aws.items("ledger")[&ledger_id(&call("DeleteBackup", "free"))]["sent_at"]
        .as_n()
        .unwrap()
        .parse()
        .unwrap();
    let claimed = |until: i64| {
        [
            (
                "id",
                AttributeValue::S(ledger_id(&call("DeleteHsm", "held"))),
            ),
            ("status", AttributeValue::S("claimed".into())),
            ("owner", AttributeValue::S("another invocation".into())),
            ("claimed_until", AttributeValue::N(until.to_string())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    };

    aws.put_item("ledger", claimed(now + 60_000));
    let both = sqs_event(&[
        s3_notification(&[&key_named("free")]),
        s3_notification(&[&key_named("held")]),
    ]);
    assert_eq!(
        lambda.invoke(&both),
        json!({"batchItemFailures": [{"itemIdentifier": "m1"}]})
    );
    let reply = lambda.invoke(&s3_notification(&[&key_named("held")]));
    assert_eq!(
        reply,
        json!({
            "errorType": "Ledger.Claimed",
            "errorMessage": "alert for event held: another invocation has claimed it and not yet published it; a retry finds it published, or publishes it",
        })
    );
    let batch = |task: &str| {
        json!({
            "invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"},
            "tasks": [{"taskId": task, "s3Key": key_named("held"), "s3VersionId": null, "s3BucketArn": format!("arn:aws:s3:::{BUCKET}")}],
        })
    };
    let reply = lambda.invoke(&batch("t"));
    assert_eq!(
        reply["results"][0]["resultCode"], "TemporaryFailure",
        "{reply}"
    );
    assert_eq!(aws.published(&topic).len(), 1);

    // An expired claim is taken over, and so is one that expires further in the future than any claim can.
    for until in [now - 1, now + 100 * 24 * 3_600_000] {
        aws.put_item("ledger", claimed(until));
        let fresh = start(&aws, &topic, "ledger");
        let reply = fresh.invoke(&s3_notification(&[&key_named("held")]));
        assert_eq!(counts(&reply), [1, 0, 0, 0], "{reply}");
    }
}

/// That the expressions of a shared summary are valid: each of its requests is made once.
#[test]
fn an_instance_whose_slot_is_far_away_leads_a_summary_or_joins_one() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    for name in ["lead", "next", "join"] {
        let file = log_file_of(&[call("DeleteHsm", name)]);
        aws.put(&key_named(name), file);
    }
    let now = Clock::default().now().as_millisecond();
    let number = |n: i64| AttributeValue::N(n.to_string());
    let turns = [
        (
            "id",
            AttributeValue::S(format!("cloudhsm-alerts turns {topic}")),
        ),
        ("next_turn", number(now + 600_000)),
    ];
    aws.put_item(
        "ledger",
        turns.map(|(name, value)| (name.to_owned(), value)).into(),
    );
    let lambda = start(&aws, &topic, "ledger");
    // The second one closes a second after the first.
    for name in ["lead", "next"] {
        let reply = lambda.invoke(&s3_notification(&[&key_named(name)]));
        assert_eq!(counts(&reply), [1, 0, 0, 0], "{reply}");
    }
    let summary = format!("cloudhsm-alerts summary {topic}");
    let item = aws.items("ledger")[&summary].clone();
    assert_eq!((item.get("leader"), item.get("objects")), (None, None));

    // Nobody publishes the one that it joins, so it publishes the alert itself.
    let mut item = item;
    let closes_at = Clock::default().now().as_millisecond() + 3_000;
    item.insert("leader".into(), AttributeValue::S("dead".into()));
    item.insert("closes_at".into(), number(closes_at));
    item.insert(
        "objects".into(),
        AttributeValue::Ss(vec!["[\"b\",\"k\",null]".into()]),
    );
    aws.put_item("ledger", item);
    let mut turns = aws.items("ledger")[&format!("cloudhsm-alerts turns {topic}")].clone();
    turns.insert("next_turn".into(), number(closes_at));
    aws.put_item("ledger", turns);
    let reply = lambda.invoke(&s3_notification(&[&key_named("join")]));
    assert_eq!(counts(&reply), [1, 0, 0, 0], "{reply}");
    assert_eq!(
        aws.items("ledger")[&summary]["objects"]
            .as_ss()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(aws.published(&topic).len(), 3);
}

#[test]
fn a_missing_or_wrong_table_stops_no_alert() {
    let aws = Moto::start();
    aws.table("other-key", "pk");
    aws.put(
        &key_named("file"),
        log_file_of(&[call("DeleteHsm", "a"), call("CreateHsm", "b")]),
    );
    for (table, error_type) in [
        ("missing", "Ledger.TableNotFound"),
        ("other-key", "Ledger.NotALedger"),
    ] {
        let topic = aws.topic(table);
        let lambda = start(&aws, &topic, table);
        let reply = lambda.invoke(&s3_notification(&[&key_named("file")]));
        let [published, _, failed, ledger_errors] = counts(&reply);
        assert_eq!((published, failed), (2, 0), "{reply}");
        assert!(ledger_errors > 0, "{reply}");
        assert_eq!(aws.published(&topic).len(), 2);
        let log = lambda.log();
        let lines = log
            .lines()
            .filter(|line| line.contains(&format!("\"error_type\":\"{error_type}\"")))
            .count();
        assert_eq!(lines, 1, "logged once:\n{log}");
        // The instance deduplicates in its own memory.
        let reply = lambda.invoke(&s3_notification(&[&key_named("file")]));
        assert_eq!(counts(&reply)[..2], [0, 2], "{reply}");
    }
}

/// By default, SNS sends SMS for one US dollar a month, and denied calls need no permission.
#[test]
fn denied_calls_page_once_an_hour_for_each_caller_and_event_name() {
    let aws = Moto::start();
    let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
    aws.table("ledger", "id");
    let start = || {
        let variables = [
            ("ALERT_TOPIC_ARN", topic.as_str()),
            ("PAGING_TOPIC_ARN", paging.as_str()),
            ("LEDGER_TABLE", "ledger"),
        ];
        Lambda::start(&aws, &variables)
    };
    let mut instances = [(), ()].map(|()| start());
    let denied = |name: &str, id: String, session: &str| {
        let mut call = call(name, &id);
        call["errorCode"] = "AccessDenied".into();
        call["userIdentity"] = json!({
            "type": "AssumedRole", "accountId": "111122223333", "principalId": format!("AROAEXAMPLE:{session}"),
            "arn": format!("arn:aws:sts::111122223333:assumed-role/probe/{session}"),
        });
        call["requestParameters"] = json!({"backupId": format!("backup-{id}")});
        call
    };
    let pages = || aws.published(&paging);
    // The caller chooses the session name, so the role identifies the caller.
    for file in 0..14 {
        let calls: Vec<Value> = (0..11)
            .map(|n| {
                denied(
                    "DeleteBackup",
                    format!("{file}-{n}"),
                    &format!("session-{n}"),
                )
            })
            .collect();
        aws.put(&key_named(&file.to_string()), log_file_of(&calls));
        let reply = instances[file % 2].invoke(&s3_notification(&[&key_named(&file.to_string())]));
        assert_eq!(reply["ledger_errors"].as_u64(), None, "{reply}");
    }
    let all = aws.published(&topic);
    assert_eq!(pages().len(), 1, "of {}", all.len());
    let alerted: usize = all.iter().map(|message| message.event_ids().len()).sum();
    assert_eq!(alerted, 14 * 11);

    // Another event name, another caller and successful calls send an SMS.
    let mut another = denied("DeleteBackup", "another".into(), "x");
    another["userIdentity"]["arn"] = "arn:aws:sts::111122223333:assumed-role/other/x".into();
    let calls = [
        denied("DeleteCluster", "b".into(), "x"),
        denied("DeleteBackup", "c".into(), "x"),
        another,
        call("DeleteBackup", "d"),
        call("DeleteBackup", "e"),
    ];
    for (n, call) in calls.iter().enumerate() {
        aws.put(
            &key_named(&format!("more-{n}")),
            log_file_of(std::slice::from_ref(call)),
        );
        instances[n % 2].invoke(&s3_notification(&[&key_named(&format!("more-{n}"))]));
    }
    assert_eq!(pages().len(), 5, "{:?}", pages());

    // After the hour, one more SMS is sent.
    let until = AttributeValue::N("1".into());
    for (id, mut item) in aws.items("ledger") {
        if id.starts_with("cloudhsm-alerts page ") {
            item.insert("paged_until".into(), until.clone());
            aws.put_item("ledger", item);
        }
    }
    instances = [(), ()].map(|()| start());
    for (n, instance) in instances.iter().enumerate() {
        let name = format!("later-{n}");
        aws.put(
            &key_named(&name),
            log_file_of(&[denied("DeleteBackup", name.clone(), "x")]),
        );
        instance.invoke(&s3_notification(&[&key_named(&name)]));
    }
    assert_eq!(pages().len(), 6);
}
