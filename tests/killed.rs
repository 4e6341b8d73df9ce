//! `bootstrap` as a process: ten at once, killed in the middle of an invocation and invoked again, out of time, under a storm
//! of calls; and what it writes to log and metrics.

use std::{collections::BTreeMap, time::Duration};

use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_test_support::{
    fixtures::{
        BUCKET, TOPIC_ARN, denied, key_named, log_file_of, on_cluster, s3_notification, sqs_event,
    },
    published::Published,
    runtime_api::{Bootstrap, TRACE_HEADER},
    stub::{ErrorKind, Fault, FaultPlan, Operation, RandomFaults, RequestKey, Stub},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

const VARIABLES: [(&str, &str); 2] = [("ALERT_TOPIC_ARN", TOPIC_ARN), ("LEDGER_TABLE", "ledger")];

/// A call with a secret, which must not appear in the log.
fn call(event_name: &str, event_id: &str) -> Value {
    let mut call = cloudhsm_alerts_test_support::fixtures::call(event_name, event_id);
    call["requestParameters"]["secret"] = "do-not-log-this".into();
    call
}

/// A call of another service, which matches no rule.
fn ec2_call(event_id: &str) -> Value {
    let mut call = call("DescribeInstances", event_id);
    call["eventSource"] = "ec2.amazonaws.com".into();
    call
}

/// Puts a log file with these records.
fn put(stub: &Stub, name: &str, records: &[Value]) {
    let object = format!("{BUCKET}/{}", key_named(name));
    stub.state().objects.insert(object, log_file_of(records));
}

/// A notification for log files that [`put`] has put.
fn notification(names: &[&str]) -> Value {
    let keys: Vec<String> = names.iter().map(|name| key_named(name)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    s3_notification(&keys)
}

fn alerts(stub: &Stub) -> BTreeMap<String, usize> {
    stub.state().alerts_by_event_id()
}

/// With the stub, because moto checks the condition of a write and writes in two steps: two instances can both succeed.
#[tokio::test]
async fn ten_concurrent_invocations_for_two_trails_alert_each_call_once() {
    let stub = Stub::start(FaultPlan::none()).await;
    let calls: Vec<Value> = (0..6)
        .map(|n| {
            let mut call = call("DeleteHsm", &format!("call-{n}"));
            call["requestParameters"] = json!({"hsmId": format!("hsm-{n}")});
            call
        })
        .collect();
    for trail in ["trail-a", "trail-b"] {
        put(&stub, trail, &calls);
    }
    let invoked = |n: usize| {
        let stub = &stub;
        async move {
            let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
            let payload = notification(&[["trail-a", "trail-b"][n % 2]]);
            let reply = bootstrap.invoke(&payload).await;
            // An instance that finds a claim of another one fails, and is invoked again.
            match reply["errorType"].as_str() {
                None => reply,
                Some("Ledger.Claimed") => bootstrap.invoke(&payload).await,
                Some(other) => panic!("{other}: {reply}"),
            }
        }
    };
    for reply in join_all((0..10).map(invoked)).await {
        let count = |name: &str| reply[name].as_u64().unwrap_or_default();
        assert_eq!(
            (
                count("published") + count("duplicates"),
                count("failed"),
                count("ledger_errors")
            ),
            (6, 0, 0),
            "{reply}"
        );
    }
    let once: BTreeMap<String, usize> = (0..6).map(|n| (format!("call-{n}"), 1)).collect();
    assert_eq!(alerts(&stub), once);
}

#[tokio::test]
async fn a_retry_after_a_kill_at_any_request_alerts_every_call() {
    use Operation::{Claim, GetObject, Publish, Sent, Slot};
    let steps = [GetObject, Claim, Slot, Publish, Sent].into_iter();
    let kills = steps.flat_map(|step| [(step, Fault::HoldBefore), (step, Fault::HoldAfter)]);
    join_all(kills.map(|(operation, fault)| killed_at(operation, fault))).await;
}

async fn killed_at(operation: Operation, fault: Fault) {
    use Operation::{Publish, Sent};
    let stub = Stub::start(FaultPlan::first(operation, fault)).await;
    put(
        &stub,
        "two",
        &[call("DeleteHsm", "a"), call("DeleteBackup", "b")],
    );
    let bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let payload = notification(&["two"]);
    bootstrap
        .start_invocation(&payload, Duration::from_secs(300))
        .await;
    stub.wait_until_held().await;
    bootstrap.kill().await;
    let at = format!("{operation:?} {fault:?}");
    stub.set_faults(FaultPlan::none());

    // As long as the claims of the killed process hold, the invocation fails.
    let is_claimed = stub
        .state()
        .items
        .values()
        .any(|item| item["status"]["S"] == "claimed");
    if is_claimed {
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = bootstrap.invoke(&payload).await;
        assert_eq!(reply["errorType"], "Ledger.Claimed", "{at}: {reply}");
        stub.state().expire_claims();
    }
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&payload).await;
    assert_eq!(reply.get("errorType"), None, "{at}: {reply}");
    // A call is alerted twice only if the process dies between publishing and marking it as sent.
    let alerts_of_a = match (operation, fault) {
        (Publish, Fault::HoldAfter) | (Sent, Fault::HoldBefore) => 2,
        _ => 1,
    };
    assert_eq!(
        alerts(&stub),
        BTreeMap::from([("a".into(), alerts_of_a), ("b".into(), 1)]),
        "{at}"
    );
}

#[tokio::test]
async fn an_object_that_times_out_is_returned_and_the_rest_is_alerted() {
    let hang = |name: &str| {
        let request = RequestKey {
            operation: Operation::GetObject,
            target: format!("{BUCKET}/{}", key_named(name)),
            attempt: 0,
        };
        (request, Fault::HangBefore)
    };
    let stub = Stub::start(FaultPlan {
        fixed: [hang("slow")].into(),
        ..FaultPlan::default()
    })
    .await;
    put(&stub, "fast", &[call("DeleteHsm", "fast")]);
    put(&stub, "slow", &[call("DeleteBackup", "slow")]);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let payload = sqs_event(&[notification(&["slow"]), notification(&["fast"])]);
    // Lambda would end the invocation after four seconds. The object does not arrive before that.
    bootstrap
        .start_invocation(&payload, Duration::from_secs(4))
        .await;
    assert_eq!(
        bootstrap.reply().await,
        json!({"batchItemFailures": [{"itemIdentifier": "m0"}]})
    );
    assert_eq!(alerts(&stub), BTreeMap::from([("fast".into(), 1)]));
    assert!(
        bootstrap
            .log()
            .contains("\"error_type\":\"Object.OutOfTime\""),
        "{}",
        bootstrap.log()
    );
    assert_eq!(
        bootstrap.invoke(&payload).await,
        json!({"batchItemFailures": []})
    );
    assert_eq!(
        alerts(&stub),
        BTreeMap::from([("fast".into(), 1), ("slow".into(), 1)])
    );
}

#[tokio::test]
async fn a_retry_continues_a_storm_that_timed_out() {
    let stub = Stub::start(FaultPlan::none()).await;
    let calls: Vec<Value> = (0..60)
        .map(|n| on_cluster(call("DeleteHsm", &format!("call-{n}")), n))
        .collect();
    put(&stub, "many", &calls);
    let variables = [&VARIABLES[..], &[("MAX_ALERTS", "60")]].concat();
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &variables).await;
    let payload = notification(&["many"]);
    // Sixty messages at eight per second take more than seven seconds.
    bootstrap
        .start_invocation(&payload, Duration::from_secs(5))
        .await;
    let reply = bootstrap.reply().await;
    assert_eq!(reply["errorType"], "Publish.OutOfTime", "{reply}");
    let published = alerts(&stub).len();
    assert!(published > 0 && published < 60, "{published}");
    // One log line for all calls.
    let log = bootstrap.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"error_type\":\"Publish.OutOfTime\""))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains(&format!("\"calls\":{}", 60 - published)),
        "{}",
        lines[0]
    );
    // Claims of calls that were not alerted have been released.
    let reply = bootstrap.invoke(&payload).await;
    assert_eq!(
        (&reply["duplicates"], &reply["failed"]),
        (&json!(published), &json!(0)),
        "{reply}"
    );
    let expected: BTreeMap<String, usize> = (0..60).map(|n| (format!("call-{n}"), 1)).collect();
    assert_eq!(alerts(&stub), expected);
}

#[tokio::test]
async fn log_metrics_and_trace_are_complete_and_hold_no_secret() {
    let stub = Stub::start(FaultPlan::none()).await;
    put(
        &stub,
        "some",
        &[
            call("DeleteHsm", "a"),
            ec2_call("b"),
            call("CreateHsm", "c"),
        ],
    );
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    bootstrap.invoke(&notification(&["some"])).await;
    bootstrap.invoke(&notification(&["some"])).await;

    let lines = bootstrap.log_lines();
    let metrics: Vec<&Value> = lines
        .iter()
        .filter(|line| line.get("_aws").is_some())
        .collect();
    let values = |line: &Value| -> BTreeMap<String, Value> {
        line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|metric| metric["Name"].as_str().expect("a name").to_owned())
            .map(|name| (name.clone(), line[&name].clone()))
            .collect()
    };
    assert_eq!(metrics.len(), 2, "{}", bootstrap.log());
    let [first, second] = [values(metrics[0]), values(metrics[1])];
    for (values, expected) in [
        (
            &first,
            [
                ("Records", 3),
                ("Evaluated", 3),
                ("Matched", 2),
                ("Published", 2),
                ("Duplicates", 0),
                ("LiveObjects", 1),
                ("InternalErrors", 0),
            ],
        ),
        (
            &second,
            [
                ("Records", 3),
                ("Evaluated", 3),
                ("Matched", 2),
                ("Published", 0),
                ("Duplicates", 2),
                ("LiveObjects", 1),
                ("InternalErrors", 0),
            ],
        ),
    ] {
        for (name, value) in expected {
            // Values that are 0 are left out.
            let found = values.get(name).and_then(Value::as_u64).unwrap_or(0);
            assert_eq!(found, value, "{name} of {values:?}");
        }
    }
    assert_eq!(first["AlertLatency"].as_array().map(Vec::len), Some(2));
    assert_eq!(metrics[0]["FunctionName"], "cloudhsm-alerts");
    assert_eq!(metrics[0]["xrayTraceId"], TRACE_HEADER);

    let log_lines = |message: &str| -> Vec<&Value> {
        lines
            .iter()
            .filter(|line| line["message"] == message)
            .collect()
    };
    let (objects, alerts) = (log_lines("log file read"), log_lines("alert published"));
    assert_eq!((objects.len(), alerts.len()), (2, 2), "{}", bootstrap.log());
    for line in objects.iter().chain(&alerts) {
        assert_eq!(line["span"]["request_id"], "request-1", "{line}");
        assert_eq!(line["span"]["trace_id"], TRACE_HEADER, "{line}");
    }
    assert_eq!(alerts[0]["event_id"], "a");
    assert!(!bootstrap.log().contains("do-not-log-this"));

    // Requests to AWS belong to the same trace.
    for headers in &stub.state().headers {
        assert_eq!(
            headers.get("x-amzn-trace-id").map(String::as_str),
            Some(TRACE_HEADER)
        );
    }
}

#[tokio::test]
async fn a_batch_of_1000_objects_is_read_within_128_mib() {
    let stub = Stub::start(FaultPlan::none()).await;
    let names: Vec<String> = (0..1000).map(|n| format!("file-{n}")).collect();
    let filler: Vec<Value> = (0..200)
        .map(|n| {
            let mut read = ec2_call(&format!("read-{n}"));
            read["userAgent"] = "x".repeat(500).into();
            read
        })
        .collect();
    for (n, name) in names.iter().enumerate() {
        let mut calls = filler[..n % 200].to_vec();
        if n % 100 == 0 {
            calls.push(call("DeleteHsm", &format!("call-{n}")));
        }
        put(&stub, name, &calls);
    }
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let bodies: Vec<Value> = names
        .iter()
        .map(|name| notification(&[name.as_str()]))
        .collect();
    assert_eq!(
        bootstrap.invoke(&sqs_event(&bodies)).await,
        json!({"batchItemFailures": []})
    );
    let order: Vec<String> = stub
        .state()
        .messages
        .iter()
        .flat_map(Published::event_ids)
        .collect();
    let expected: Vec<String> = (0..10).map(|n| format!("call-{}", n * 100)).collect();
    assert_eq!(order, expected, "in the order of the batch");
    let peak = bootstrap.peak_resident_kib();
    eprintln!("{peak} KiB resident");
    assert!(peak < 128 * 1024, "{peak} KiB resident");
}

#[tokio::test]
async fn an_interrupted_read_resumes_unless_the_object_was_replaced() {
    let stub = Stub::start(FaultPlan::first(Operation::GetObject, Fault::CutBody)).await;
    let calls: Vec<Value> = (0..40)
        .map(|n| call("TagResource", &format!("call-{n}")))
        .collect();
    put(&stub, "long", &calls);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&notification(&["long"])).await;
    assert_eq!(
        (&reply["records"], &reply["matched"], &reply["failed"]),
        (&json!(40), &json!(40), &json!(0)),
        "{reply}"
    );
    assert_eq!(alerts(&stub).values().sum::<usize>(), 40);

    // Halves of two objects must not be joined.
    let stub = Stub::start(FaultPlan::first(
        Operation::GetObject,
        Fault::CutBodyAndReplace,
    ))
    .await;
    put(&stub, "long", &calls);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&notification(&["long"])).await;
    assert_eq!(reply["errorType"], "Object.Changed", "{reply}");
    let reply = bootstrap.invoke(&notification(&["long"])).await;
    assert_eq!(reply["records"], 0, "{reply}");
}

#[tokio::test]
async fn a_denied_ledger_operation_stops_no_alert_and_no_other_operation() {
    let deny = |operation: Operation| FaultPlan {
        random: Some(RandomFaults {
            seed: 0,
            per_mille: 0,
            hangs: false,
            kills: false,
            denies: Some(operation),
        }),
        ..FaultPlan::default()
    };
    // Without slots, each instance limits its own rate. Without claims, calls are still marked as sent.
    for (operation, ledger_errors) in [(Operation::Slot, 1), (Operation::Claim, 2)] {
        let stub = Stub::start(deny(operation)).await;
        put(
            &stub,
            "one",
            &[
                on_cluster(call("DeleteHsm", "a"), 1),
                on_cluster(call("DeleteHsm", "b"), 2),
            ],
        );
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = bootstrap.invoke(&notification(&["one"])).await;
        assert_eq!(
            (&reply["published"], &reply["ledger_errors"]),
            (&json!(2), &json!(ledger_errors)),
            "{operation:?}: {reply}"
        );
        stub.set_faults(FaultPlan::none());
        let mut another = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = another.invoke(&notification(&["one"])).await;
        assert_eq!(reply["duplicates"], 2, "{operation:?}: {reply}");
    }
}

/// Two instances that publish at the same time share one rate.
#[tokio::test]
async fn publish_slots_of_two_instances_keep_the_interval() {
    let stub = Stub::start(FaultPlan::none()).await;
    for name in ["left", "right"] {
        let calls: Vec<Value> = (0..12)
            .map(|n| on_cluster(call("DeleteHsm", &format!("{name}-{n}")), n))
            .collect();
        put(&stub, name, &calls);
    }
    let variables = [&VARIABLES[..], &[("MAX_ALERTS", "12")]].concat();
    let [mut left, mut right] = [
        Bootstrap::start(&stub.endpoint, &variables).await,
        Bootstrap::start(&stub.endpoint, &variables).await,
    ];
    let (left_only, right_only) = (notification(&["left"]), notification(&["right"]));
    let (left, right) = tokio::join!(left.invoke(&left_only), right.invoke(&right_only));
    assert_eq!(
        (&left["published"], &right["published"]),
        (&json!(12), &json!(12))
    );
    // Each reservation moves the next free slot by the interval of 225 ms, or to one interval from now if that is later.
    let slots = stub.state().slots.clone();
    assert!(slots.len() >= 24, "{slots:?}");
    for pair in slots.windows(2) {
        assert!(pair[1] - pair[0] >= 225, "{slots:?}");
    }
}

/// An item that instances share.
fn put_item(stub: &Stub, id: &str, mut item: Value) {
    item["id"] = json!({"S": id});
    stub.state().items.insert(id.to_owned(), item);
}

fn millis_from_now(millis: i64) -> Value {
    json!({"N": (Clock::default().now().as_millisecond() + millis).to_string()})
}

/// Twelve instances with one call each, and what each of them returned.
async fn twelve_at_once(stub: &Stub) -> Vec<Value> {
    let invoked = |n: usize| async move {
        let name = format!("file-{n}");
        let mut call = call("DeleteHsm", &format!("call-{n:02}"));
        call["requestParameters"] = json!({"hsmId": format!("hsm-{n}")});
        put(stub, &name, &[call]);
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        bootstrap.invoke(&notification(&[&name])).await
    };
    join_all((0..12).map(invoked)).await
}

/// The sum of a count of the replies.
fn sum(replies: &[Value], count: &str) -> u64 {
    replies
        .iter()
        .map(|reply| reply[count].as_u64().unwrap_or_default())
        .sum()
}

#[tokio::test]
async fn instances_whose_slots_are_far_away_share_summaries() {
    let stub = Stub::start(FaultPlan::none()).await;
    let turns = format!("cloudhsm-alerts turns {TOPIC_ARN}");
    put_item(&stub, &turns, json!({"next_turn": millis_from_now(60_000)}));
    let replies = twelve_at_once(&stub).await;
    let once: BTreeMap<String, usize> = (0..12).map(|n| (format!("call-{n:02}"), 1)).collect();
    assert_eq!(alerts(&stub), once, "{replies:?}");
    assert_eq!(sum(&replies, "failed"), 0, "{replies:?}");
    assert!(stub.state().messages.len() < 12);
    // Nobody waited for a slot.
    assert!(stub.state().slots.is_empty(), "{:?}", stub.state().slots);
}

#[tokio::test]
async fn alerts_in_a_summary_whose_instance_died_are_published_by_their_own() {
    let stub = Stub::start(FaultPlan::none()).await;
    let summary = format!("cloudhsm-alerts summary {TOPIC_ARN}");
    let turns = format!("cloudhsm-alerts turns {TOPIC_ARN}");
    put_item(&stub, &turns, json!({"next_turn": millis_from_now(3_000)}));
    let dead = json!({"leader": {"S": "dead"}, "closes_at": millis_from_now(4_000), "objects": {"SS": ["[\"b\",\"k\",null]"]}});
    put_item(&stub, &summary, dead);
    let replies = twelve_at_once(&stub).await;
    let once: BTreeMap<String, usize> = (0..12).map(|n| (format!("call-{n:02}"), 1)).collect();
    assert_eq!(alerts(&stub), once, "{replies:?}");
    assert_eq!(sum(&replies, "failed"), 0, "{replies:?}");
}

#[tokio::test]
async fn a_storm_of_5000_calls_is_alerted_completely_critical_first() {
    let stub = Stub::start(FaultPlan::none()).await;
    let mut calls: Vec<Value> = (0..5000)
        .map(|n| {
            let name = match n % 2 {
                0 => "TagResource",
                _ => "CreateHsm",
            };
            let mut call = on_cluster(call(name, &format!("storm-{n}")), n);
            call["userIdentity"]["userName"] = format!("user-{}", n % 7).into();
            call
        })
        .collect();
    calls[4321] = call("DeleteBackup", "storm-4321");
    put(&stub, "storm", &calls);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&notification(&["storm"])).await;
    assert_eq!(
        (
            &reply["matched"],
            &reply["published"],
            &reply["summarized"],
            reply.get("ledger_errors")
        ),
        (&json!(5000), &json!(10), &json!(4990), None),
        "{reply}"
    );
    let state = stub.state();
    assert_eq!(state.messages[0].event_ids(), ["storm-4321"]);
    // At four per second, less than half a minute.
    assert!(
        state.messages.len() < 100,
        "{} messages",
        state.messages.len()
    );
    let severities: Vec<usize> = state
        .messages
        .iter()
        .map(|message| {
            let severity = &message.attributes["severity"].1;
            ["critical", "medium", "low"]
                .iter()
                .position(|known| severity.contains(known))
                .expect("one of them")
        })
        .collect();
    assert!(severities.is_sorted(), "{severities:?}");
    for message in &state.messages {
        let email = message.text("email");
        for id in &message.event_ids() {
            assert!(email.contains(id.as_str()), "{id} is not in its e-mail");
        }
    }
    let alerts = state.alerts_by_event_id();
    assert_eq!(alerts.len(), 5000);
    assert!(alerts.values().all(|times| *times == 1));
}

/// Of 200 calls, the first is claimed alone, so that its message leaves at once, and the others in two transactions. One
/// call was alerted before, so its transaction fails as a whole.
#[tokio::test]
async fn calls_that_a_transaction_could_not_claim_are_claimed_alone() {
    use Operation::{Claim, ClaimNew, Sent};
    let always = |fault| FaultPlan::always(ClaimNew, fault);
    let in_transaction = Fault::Before(ErrorKind::InTransaction);
    join_all(
        [
            (FaultPlan::none(), [2, 101]),
            (always(Fault::Before(ErrorKind::Denied)), [2, 200]),
            (always(Fault::CutBefore), [6, 200]),
            // The first attempt has claimed them, and the next one is refused.
            (FaultPlan::first(ClaimNew, Fault::CutAfter), [4, 200]),
            (FaultPlan::first(Claim, in_transaction), [2, 202]),
            (FaultPlan::first(Sent, in_transaction), [2, 101]),
        ]
        .map(|(faults, requests)| claimed_alone(faults, requests)),
    )
    .await;
}

async fn claimed_alone(faults: FaultPlan, requests: [usize; 2]) {
    let at = format!("{faults:?}");
    let stub = Stub::start(faults).await;
    let id = |n: usize| format!("storm-{n:03}");
    let calls: Vec<Value> = (0..200)
        .map(|n| on_cluster(call("TagResource", &id(n)), n))
        .collect();
    put(&stub, "storm", &calls);
    put_item(
        &stub,
        &id(7),
        json!({"status": {"S": "sent"}, "owner": {"S": "another"}}),
    );
    let variables = [&VARIABLES[..], &[("MAX_ALERTS", "0")]].concat();
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &variables).await;
    let reply = bootstrap.invoke(&notification(&["storm"])).await;
    assert_eq!(
        [
            &reply["published"],
            &reply["summarized"],
            &reply["duplicates"],
            &reply["ledger_errors"]
        ],
        [&json!(1), &json!(198), &json!(1), &Value::Null],
        "{at}: {reply}"
    );
    let expected: BTreeMap<String, usize> =
        (0..200).filter(|n| *n != 7).map(|n| (id(n), 1)).collect();
    assert_eq!(alerts(&stub), expected, "{at}");
    let state = stub.state();
    let count = |wanted| {
        let operations = state.requests.iter().map(|(key, _)| key.operation);
        operations.filter(|operation| *operation == wanted).count()
    };
    assert_eq!(
        [Operation::ClaimNew, Operation::Claim].map(count),
        requests,
        "{at}"
    );
    let is_sent = |item: &Value| item["status"]["S"] == "sent";
    assert_eq!(
        state.items.values().filter(|item| is_sent(item)).count(),
        200,
        "{at}"
    );
}

/// Denied calls need no permission. Thousands of them must not delay the alert for a successful call, and must
/// not become thousands of messages.
#[tokio::test]
async fn denied_calls_do_not_displace_the_successful_one() {
    for (count, varied) in [(2_500_usize, false), (12_000, true)] {
        let stub = Stub::start(FaultPlan::none()).await;
        let mut calls: Vec<Value> = (0..count)
            .map(|n| {
                let call = denied(call("DeleteBackup", &format!("no-{n}")));
                if varied { on_cluster(call, n) } else { call }
            })
            .collect();
        calls.push(call("DeleteBackup", "yes"));
        put(&stub, "storm", &calls);
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = bootstrap.invoke(&notification(&["storm"])).await;
        let alerted: usize = ["published", "summarized", "grouped"]
            .iter()
            .map(|count| reply[count].as_u64().unwrap_or_default() as usize)
            .sum();
        assert_eq!(
            (alerted, &reply["matched"]),
            (count + 1, &json!(count + 1)),
            "{reply}"
        );
        let state = stub.state();
        assert_eq!(state.messages[0].event_ids(), ["yes"], "{varied}");
        assert!(
            state.messages[0]
                .subject
                .starts_with("CRITICAL: DeleteBackup SUCCEEDED in "),
            "{}",
            state.messages[0].subject
        );
        assert!(
            state.messages.len() < 40,
            "{varied}: {} messages",
            state.messages.len()
        );
        let alerts = state.alerts_by_event_id();
        assert_eq!(alerts.len(), count + 1);
        assert!(alerts.values().all(|times| *times == 1));
        let second = &state.messages[1];
        assert!(
            second
                .subject
                .starts_with("CRITICAL: DeleteBackup was DENIED 1000 times in "),
            "{}",
            second.subject
        );
        let resources = if varied {
            "on this and other resources"
        } else {
            "on the same resource"
        };
        let email = second.text("email");
        assert!(
            email.contains(&format!(
                "The same caller made this call 1000 times, {resources}, with the same outcome."
            )),
            "{email}"
        );
    }
}

/// A caller with permissions for trails of their own must not use up the messages for single calls.
#[tokio::test]
async fn messages_for_single_calls_alternate_between_rules() {
    let stub = Stub::start(FaultPlan::none()).await;
    let mut calls: Vec<Value> = (0..40)
        .map(|n| {
            let mut call = call("StopLogging", &format!("own-{n}"));
            call["eventSource"] = "cloudtrail.amazonaws.com".into();
            call["requestParameters"] = json!({"name": format!("cloudhsm-alerts-{n}")});
            call
        })
        .collect();
    calls.push(call("DeleteHsm", "hsm"));
    calls.push(on_cluster(call("DeleteHsm", "another-hsm"), 1));
    put(&stub, "storm", &calls);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&notification(&["storm"])).await;
    assert_eq!(
        (&reply["matched"], &reply["published"], &reply["summarized"]),
        (&json!(42), &json!(10), &json!(32)),
        "{reply}"
    );
    let state = stub.state();
    let first: Vec<String> = state.messages[..5]
        .iter()
        .map(|message| message.event_ids()[0].clone())
        .collect();
    assert_eq!(first, ["own-0", "hsm", "own-1", "another-hsm", "own-2"]);
}
