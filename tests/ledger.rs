//! Told once, by any number of instances of the function that share a table; and told all the same where the
//! table is not what it should be.

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts_core::{call_id::CallId, record::Record};
use cloudhsm_alerts_test_support::aws::{
    Aws, BUCKET, FOLDER, Lambda, call, gzip, notification, records, sqs,
};
use serde_json::{Value, json};

fn key(name: &str) -> String {
    format!("{FOLDER}/111122223333_CloudTrail_us-west-2_20261123T0355Z_{name}.json.gz")
}

/// The key under which the table knows the call of a record.
fn id(record: &Value) -> String {
    let fields = record.as_object().expect("an object").clone();
    CallId::of(&Record::new(0, fields)).key().to_owned()
}

fn start(aws: &Aws, topic: &str, table: &str) -> Lambda {
    Lambda::start(aws, &[("ALERT_TOPIC_ARN", topic), ("LEDGER_TABLE", table)])
}

/// Published, told before, failed, and ledger trouble.
fn told(reply: &Value) -> [u64; 4] {
    ["published", "duplicates", "failed", "ledger_errors"]
        .map(|name| reply[name].as_u64().unwrap_or_default())
}

#[test]
fn two_instances_tell_a_call_once() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    aws.put(
        &key("one"),
        gzip(&records(&[call("DeleteHsm", "a"), call("CreateHsm", "b")])),
    );
    aws.put(
        &key("two"),
        gzip(&records(&[
            call("CreateHsm", "b"),
            call("DeleteBackup", "c"),
        ])),
    );
    let [first, second] = [(), ()].map(|()| start(&aws, &topic, "ledger"));
    assert_eq!(
        told(&first.invoke(&notification(&[&key("one")]))),
        [2, 0, 0, 0]
    );
    assert_eq!(
        told(&second.invoke(&notification(&[&key("two")]))),
        [1, 1, 0, 0]
    );
    assert_eq!(
        told(&second.invoke(&notification(&[&key("one")]))),
        [0, 2, 0, 0]
    );
    let summaries: Vec<String> = aws.published(&topic).iter().map(|m| m.summary()).collect();
    assert_eq!(
        summaries,
        [
            "critical DeleteHsm success",
            "medium CreateHsm success",
            "critical DeleteBackup success"
        ]
    );
    // What the table holds is what a table of this kind is documented to hold.
    let items = aws.items("ledger");
    let ids: Vec<String> = items.keys().cloned().collect();
    let calls = [
        id(&call("DeleteHsm", "a")),
        id(&call("CreateHsm", "b")),
        id(&call("DeleteBackup", "c")),
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

/// EventBridge carries a call at once, the log file minutes later; what the two have in common identifies it.
#[test]
fn a_call_that_eventbridge_and_a_log_file_bring_makes_one_alert() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    let mut logged = call("DeleteBackup", "a");
    logged["eventCategory"] = "Management".into();
    let mut carried = call("DeleteBackup", "a");
    carried["eventVersion"] = "1.10".into();
    carried
        .as_object_mut()
        .unwrap()
        .remove("recipientAccountId");
    let event = json!({"id": "e", "source": "aws.cloudhsm", "detail-type": "AWS API Call via CloudTrail", "detail": carried});
    aws.put(&key("one"), records(&[logged]));
    let [first, second] = [(), ()].map(|()| start(&aws, &topic, "ledger"));
    assert_eq!(told(&first.invoke(&event)), [1, 0, 0, 0]);
    let file = notification(&[&key("one")]);
    assert_eq!(told(&second.invoke(&file)), [0, 1, 0, 0]);
    assert_eq!(told(&first.invoke(&file)), [0, 1, 0, 0]);
}

/// A record under the event ID of another call does not silence that call, whichever comes first.
#[test]
fn other_calls_under_one_event_id_are_alerted_and_counted() {
    let aws = Aws::start();
    aws.table("ledger", "id");
    let calls = ["TagResource", "DeleteBackup"].map(|name| call(name, "same"));
    for (n, order) in [[0, 1], [1, 0]].iter().enumerate() {
        let topic = aws.topic(&format!("t{n}"));
        let table = format!("ledger-{n}");
        aws.table(&table, "id");
        for place in order {
            aws.put(&key(&place.to_string()), records(&[calls[*place].clone()]));
        }
        let instances = [(), ()].map(|()| start(&aws, &topic, &table));
        // Another instance may get the second; only one that got both can count.
        for (time, reused) in [(0, None), (1, Some(1)), (2, None)] {
            let lambda = &instances[usize::from(time == 2)];
            let file = notification(&[&key(&order[time % 2].to_string())]);
            let reply = lambda.invoke(&file);
            let expected = [u64::from(time < 2), u64::from(time == 2), 0, 0];
            assert_eq!(told(&reply), expected, "{order:?} {time}: {reply}");
            assert_eq!(reply["event_ids_reused"].as_u64(), reused, "{reply}");
        }
        // In one file.
        let topic = aws.topic(&format!("one-file-{n}"));
        aws.put(
            &key("both"),
            records(&order.map(|place| calls[place].clone())),
        );
        let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
        let reply = lambda.invoke(&notification(&[&key("both")]));
        assert_eq!(told(&reply), [2, 0, 0, 0], "{reply}");
        assert_eq!(reply["event_ids_reused"], 1);
    }
}

/// An action across accounts is recorded in both, the caller's and the owner's.
#[test]
fn a_call_that_two_accounts_record_makes_one_alert() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    let mut callers = call("DeleteBackup", "a");
    callers["sharedEventID"] = "shared".into();
    let mut owners = call("DeleteBackup", "b");
    owners["sharedEventID"] = "shared".into();
    owners["recipientAccountId"] = "444455556666".into();
    owners["userIdentity"] =
        json!({"type": "AWSAccount", "accountId": "111122223333", "principalId": "AIDAEXAMPLE"});
    aws.put(&key("both"), records(&[callers, owners]));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&notification(&[&key("both")]));
    assert_eq!(told(&reply), [1, 1, 0, 0], "{reply}");
}

#[test]
fn the_same_file_ten_times_at_once_in_two_trails_makes_one_alert_a_call() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    let calls: Vec<Value> = (0..6)
        .map(|n| {
            let mut call = call("DeleteHsm", &format!("call-{n}"));
            call["requestParameters"] = json!({"hsmId": format!("hsm-{n}")});
            call
        })
        .collect();
    let keys = [key("trail-a"), format!("other-trail/{}", key("trail-b"))];
    for key in &keys {
        aws.put(key, gzip(&records(&calls)));
    }
    let instances: Vec<Lambda> = (0..10).map(|_| start(&aws, &topic, "ledger")).collect();
    let replies: Vec<Value> = std::thread::scope(|scope| {
        let running: Vec<_> = instances
            .iter()
            .enumerate()
            .map(|(n, lambda)| scope.spawn(move || lambda.invoke(&notification(&[&keys_of(n)]))))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    fn keys_of(n: usize) -> String {
        match n % 2 {
            0 => key("trail-a"),
            _ => format!("other-trail/{}", key("trail-b")),
        }
    }
    // Whoever came too early says so, and comes back.
    for (reply, lambda) in replies.iter().zip(&instances) {
        let reply = match reply["errorType"].as_str() {
            None => reply.clone(),
            Some("Ledger.Claimed") => lambda.invoke(&notification(&[&keys[0]])),
            Some(other) => panic!("{other}: {reply}"),
        };
        let [published, already_told, failed, trouble] = told(&reply);
        assert_eq!(
            (published + already_told, failed, trouble),
            (6, 0, 0),
            "{reply}"
        );
    }
    let mut ids: Vec<String> = aws
        .published(&topic)
        .iter()
        .map(|message| {
            message.finding()["finding_info"]["uid"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    ids.sort();
    assert_eq!(ids, (0..6).map(|n| format!("call-{n}")).collect::<Vec<_>>());
}

#[test]
fn a_claim_of_another_holds_until_it_expires() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    aws.put(&key("held"), records(&[call("DeleteHsm", "held")]));
    aws.put(&key("free"), records(&[call("DeleteBackup", "free")]));
    let lambda = start(&aws, &topic, "ledger");
    lambda.invoke(&notification(&[&key("free")]));
    let now: i64 = aws.items("ledger")[&id(&call("DeleteBackup", "free"))]["sent_at"]
        .as_n()
        .unwrap()
        .parse()
        .unwrap();
    let claimed = |until: i64| {
        [
            ("id", AttributeValue::S(id(&call("DeleteHsm", "held")))),
            ("status", AttributeValue::S("claimed".into())),
            ("owner", AttributeValue::S("another invocation".into())),
            ("claimed_until", AttributeValue::N(until.to_string())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    };

    aws.put_item("ledger", claimed(now + 60_000));
    let both = sqs(&[notification(&[&key("free")]), notification(&[&key("held")])]);
    assert_eq!(
        lambda.invoke(&both),
        json!({"batchItemFailures": [{"itemIdentifier": "m1"}]})
    );
    let reply = lambda.invoke(&notification(&[&key("held")]));
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
            "tasks": [{"taskId": task, "s3Key": key("held"), "s3VersionId": null, "s3BucketArn": format!("arn:aws:s3:::{BUCKET}")}],
        })
    };
    let reply = lambda.invoke(&batch("t"));
    assert_eq!(
        reply["results"][0]["resultCode"], "TemporaryFailure",
        "{reply}"
    );
    assert_eq!(aws.published(&topic).len(), 1);

    // Its owner died: the claim expires. One that no clock in its right mind has written never held.
    for until in [now - 1, now + 100 * 24 * 3_600_000] {
        aws.put_item("ledger", claimed(until));
        let fresh = start(&aws, &topic, "ledger");
        let reply = fresh.invoke(&notification(&[&key("held")]));
        assert_eq!(told(&reply), [1, 0, 0, 0], "{reply}");
    }
}

#[test]
fn a_table_that_is_none_or_another_keeps_nothing_back() {
    let aws = Aws::start();
    aws.table("other-key", "pk");
    aws.put(
        &key("file"),
        records(&[call("DeleteHsm", "a"), call("CreateHsm", "b")]),
    );
    for (table, error_type) in [
        ("missing", "Ledger.TableNotFound"),
        ("other-key", "Ledger.NotALedger"),
    ] {
        let topic = aws.topic(table);
        let lambda = start(&aws, &topic, table);
        let reply = lambda.invoke(&notification(&[&key("file")]));
        let [published, _, failed, trouble] = told(&reply);
        assert_eq!((published, failed), (2, 0), "{reply}");
        assert!(trouble > 0, "{reply}");
        assert_eq!(aws.published(&topic).len(), 2);
        let log = lambda.log();
        let said = log
            .lines()
            .filter(|line| line.contains(&format!("\"error_type\":\"{error_type}\"")))
            .count();
        assert_eq!(said, 1, "said once:\n{log}");
        // This instance remembers by itself.
        let reply = lambda.invoke(&notification(&[&key("file")]));
        assert_eq!(told(&reply)[..2], [0, 2], "{reply}");
    }
}

/// SNS sends SMS for one dollar a month unless AWS lifts that, and anyone can make calls that are denied.
#[test]
fn refused_calls_page_once_an_hour_for_each_caller_and_event_name() {
    let aws = Aws::start();
    let topic = aws.topic("t");
    aws.table("ledger", "id");
    let mut instances = [(), ()].map(|()| start(&aws, &topic, "ledger"));
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
    let pages = |aws: &Aws| -> Vec<String> {
        aws.published(&topic)
            .iter()
            .filter(|message| !message.text("sms").is_empty())
            .map(|message| message.subject.clone())
            .collect()
    };
    // Whoever may take on the role may call its sessions as they like.
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
        aws.put(&key(&file.to_string()), records(&calls));
        let reply = instances[file % 2].invoke(&notification(&[&key(&file.to_string())]));
        assert_eq!(reply["ledger_errors"].as_u64(), None, "{reply}");
    }
    let all = aws.published(&topic);
    assert_eq!(pages(&aws).len(), 1, "of {}", all.len());
    // The others go to e-mail and machines, and no filter policy need know an SMS's text.
    for message in &all[1..] {
        assert!(!message.text("email").is_empty());
        assert!(message.text("default").len() > 1600);
        assert_eq!(message.attribute("page"), ("String".into(), "false".into()));
    }

    // Another event name, another caller, and a call that succeeds page.
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
            &key(&format!("more-{n}")),
            records(std::slice::from_ref(call)),
        );
        instances[n % 2].invoke(&notification(&[&key(&format!("more-{n}"))]));
    }
    assert_eq!(pages(&aws).len(), 5, "{:?}", pages(&aws));

    // The hour is over, for a new instance and for one whose clock says so.
    let until = AttributeValue::N("1".into());
    for (id, mut item) in aws.items("ledger") {
        if id.starts_with("cloudhsm-alerts page ") {
            item.insert("paged_until".into(), until.clone());
            aws.put_item("ledger", item);
        }
    }
    instances = [(), ()].map(|()| start(&aws, &topic, "ledger"));
    for (n, instance) in instances.iter().enumerate() {
        let name = format!("later-{n}");
        aws.put(
            &key(&name),
            records(&[denied("DeleteBackup", name.clone(), "x")]),
        );
        instance.invoke(&notification(&[&key(&name)]));
    }
    assert_eq!(pages(&aws).len(), 6);
}
