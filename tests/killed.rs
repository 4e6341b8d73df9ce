//! The real program, killed in the middle of an invocation, or out of time, and invoked again; and what it
//! says about itself in log and metrics.

use std::{collections::BTreeMap, time::Duration};

use cloudhsm_alerts_test_support::stub::{
    Fault, Operation, Plan, Stub,
    plan::Random,
    runtime::{Bootstrap, TRACE},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

const TOPIC: &str = "arn:aws:sns:us-west-2:111122223333:alerts";
const VARIABLES: [(&str, &str); 2] = [("ALERT_TOPIC_ARN", TOPIC), ("LEDGER_TABLE", "ledger")];
const FOLDER: &str = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23";

/// A call with something in it that no log may hold.
fn call(event_name: &str, event_id: &str) -> Value {
    let mut call = cloudhsm_alerts_test_support::stub::call(event_name, event_id);
    call["requestParameters"]["secret"] = "do-not-log-this".into();
    call
}

/// A call that is no business of any rule.
/// A copy of a call on a resource of its own.
fn on_another(mut call: Value, n: usize) -> Value {
    call["requestParameters"] = json!({"clusterId": format!("cluster-{n}")});
    call
}

fn elsewhere(event_id: &str) -> Value {
    let mut call = call("DescribeInstances", event_id);
    call["eventSource"] = "ec2.amazonaws.com".into();
    call
}

fn put(stub: &Stub, name: &str, calls: &[Value]) {
    let body = json!({ "Records": calls }).to_string().into_bytes();
    let object = format!("trail/{FOLDER}/{name}.json");
    stub.world().objects.insert(object, body);
}

fn notification(names: &[&str]) -> Value {
    let records: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
                "bucket": {"name": "trail"}, "object": {"key": format!("{FOLDER}/{name}.json"), "size": 1}}})
        })
        .collect();
    json!({ "Records": records })
}

fn sqs(bodies: &[Value]) -> Value {
    let messages: Vec<Value> = bodies
        .iter()
        .enumerate()
        .map(|(n, body)| json!({"messageId": format!("m{n}"), "body": body.to_string(), "eventSource": "aws:sqs"}))
        .collect();
    json!({ "Records": messages })
}

fn told(stub: &Stub) -> BTreeMap<String, usize> {
    stub.world().told()
}

#[tokio::test]
async fn killed_between_any_two_steps_it_tells_every_call_at_the_next_try() {
    use Operation::{Claim, GetObject, Publish, Sent, Turn};
    let steps = [GetObject, Claim, Turn, Publish, Sent].into_iter();
    let kills = steps.flat_map(|step| [(step, Fault::HoldBefore), (step, Fault::HoldAfter)]);
    join_all(kills.map(|(operation, fault)| killed_at(operation, fault))).await;
}

async fn killed_at(operation: Operation, fault: Fault) {
    use Operation::{Publish, Sent};
    let stub = Stub::start(Plan::first(operation, fault)).await;
    put(
        &stub,
        "two",
        &[call("DeleteHsm", "a"), call("DeleteBackup", "b")],
    );
    let bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let payload = notification(&["two"]);
    bootstrap.begin(&payload, Duration::from_secs(300)).await;
    stub.held().await;
    bootstrap.kill().await;
    let at = format!("{operation:?} {fault:?}");
    stub.plan(Plan::quiet());

    // While the claims of the dead stand, nobody is told that all is well.
    let is_claimed = stub
        .world()
        .items
        .values()
        .any(|item| item["status"]["S"] == "claimed");
    if is_claimed {
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = bootstrap.invoke(&payload).await;
        assert_eq!(reply["errorType"], "Ledger.Claimed", "{at}: {reply}");
        stub.world().expire_claims();
    }
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&payload).await;
    assert_eq!(reply.get("errorType"), None, "{at}: {reply}");
    // Only between publishing and the note of it a crash tells a call again, and only that call.
    let again = match (operation, fault) {
        (Publish, Fault::HoldAfter) | (Sent, Fault::HoldBefore) => 2,
        _ => 1,
    };
    assert_eq!(
        told(&stub),
        BTreeMap::from([("a".into(), again), ("b".into(), 1)]),
        "{at}"
    );
}

#[tokio::test]
async fn what_does_not_fit_into_the_time_comes_back_and_the_rest_is_done() {
    let hang = |about: &str| {
        let call = cloudhsm_alerts_test_support::stub::Call {
            operation: Operation::GetObject,
            about: format!("trail/{FOLDER}/{about}.json"),
            time: 0,
        };
        (call, Fault::HangBefore)
    };
    let stub = Stub::start(Plan {
        fixed: [hang("slow")].into(),
        ..Plan::default()
    })
    .await;
    put(&stub, "fast", &[call("DeleteHsm", "fast")]);
    put(&stub, "slow", &[call("DeleteBackup", "slow")]);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let payload = sqs(&[notification(&["slow"]), notification(&["fast"])]);
    // The object does not come within the four seconds; Lambda would end the invocation after them.
    bootstrap.begin(&payload, Duration::from_secs(4)).await;
    assert_eq!(
        bootstrap.reply().await,
        json!({"batchItemFailures": [{"itemIdentifier": "m0"}]})
    );
    assert_eq!(told(&stub), BTreeMap::from([("fast".into(), 1)]));
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
        told(&stub),
        BTreeMap::from([("fast".into(), 1), ("slow".into(), 1)])
    );
}

#[tokio::test]
async fn a_storm_that_does_not_fit_into_the_time_goes_on_at_the_next_try() {
    let stub = Stub::start(Plan::quiet()).await;
    let calls: Vec<Value> = (0..60)
        .map(|n| on_another(call("DeleteHsm", &format!("call-{n}")), n))
        .collect();
    put(&stub, "many", &calls);
    let variables = [&VARIABLES[..], &[("MAX_ALERTS", "60")]].concat();
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &variables).await;
    let payload = notification(&["many"]);
    // At eight messages a second sixty take more than seven seconds.
    bootstrap.begin(&payload, Duration::from_secs(3)).await;
    let reply = bootstrap.reply().await;
    assert_eq!(reply["errorType"], "Publish.OutOfTime", "{reply}");
    let first = told(&stub).len();
    assert!(first > 0 && first < 60, "{first}");
    // One line for all of them.
    let log = bootstrap.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"error_type\":\"Publish.OutOfTime\""))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains(&format!("\"calls\":{}", 60 - first)),
        "{}",
        lines[0]
    );
    // What it had claimed and not told is free again at once.
    let reply = bootstrap.invoke(&payload).await;
    assert_eq!(
        (&reply["duplicates"], &reply["failed"]),
        (&json!(first), &json!(0)),
        "{reply}"
    );
    let expected: BTreeMap<String, usize> = (0..60).map(|n| (format!("call-{n}"), 1)).collect();
    assert_eq!(told(&stub), expected);
}

#[tokio::test]
async fn log_metrics_and_trace_say_what_was_done_and_no_secret() {
    let stub = Stub::start(Plan::quiet()).await;
    put(
        &stub,
        "some",
        &[
            call("DeleteHsm", "a"),
            elsewhere("b"),
            call("CreateHsm", "c"),
        ],
    );
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    bootstrap.invoke(&notification(&["some"])).await;
    bootstrap.invoke(&notification(&["some"])).await;

    let lines = bootstrap.lines();
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
                ("ColdStart", 1),
                ("Messages", 2),
                ("LedgerErrors", 0),
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
                ("ColdStart", 0),
                ("Messages", 0),
                ("LedgerErrors", 0),
            ],
        ),
    ] {
        for (name, value) in expected {
            assert_eq!(values[name], json!(value), "{name} of {values:?}");
        }
    }
    assert_eq!(first["AlertLatency"].as_array().map(Vec::len), Some(2));
    assert_eq!(metrics[0]["FunctionName"], "cloudhsm-alerts");
    assert_eq!(metrics[0]["xrayTraceId"], TRACE);

    let said = |message: &str| -> Vec<&Value> {
        lines
            .iter()
            .filter(|line| line["message"] == message)
            .collect()
    };
    let (objects, alerts) = (said("log file read"), said("alert published"));
    assert_eq!((objects.len(), alerts.len()), (2, 2), "{}", bootstrap.log());
    for line in objects.iter().chain(&alerts) {
        assert_eq!(line["span"]["request_id"], "request-1", "{line}");
        assert_eq!(line["span"]["trace_id"], TRACE, "{line}");
    }
    assert_eq!(alerts[0]["event_id"], "a");
    assert!(!bootstrap.log().contains("do-not-log-this"));

    // What AWS is asked for belongs to the same trace.
    for headers in &stub.world().headers {
        assert_eq!(
            headers.get("x-amzn-trace-id").map(String::as_str),
            Some(TRACE)
        );
    }
}

#[tokio::test]
async fn a_thousand_objects_in_one_batch_are_read_within_bounds() {
    let stub = Stub::start(Plan::quiet()).await;
    let names: Vec<String> = (0..1000).map(|n| format!("file-{n}")).collect();
    let filler: Vec<Value> = (0..200)
        .map(|n| {
            let mut read = elsewhere(&format!("read-{n}"));
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
        bootstrap.invoke(&sqs(&bodies)).await,
        json!({"batchItemFailures": []})
    );
    let order: Vec<String> = stub
        .world()
        .messages
        .iter()
        .flat_map(|message| message.event_ids.clone())
        .collect();
    let expected: Vec<String> = (0..10).map(|n| format!("call-{}", n * 100)).collect();
    assert_eq!(order, expected, "in the order of the batch");
    let peak = bootstrap.peak_resident_kib();
    eprintln!("{peak} KiB resident");
    assert!(peak < 128 * 1024, "{peak} KiB resident");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_on_and_one_that_was_replaced_is_not_mixed() {
    let stub = Stub::start(Plan::first(Operation::GetObject, Fault::CutBody)).await;
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
    assert_eq!(told(&stub).values().sum::<usize>(), 40);

    // Half of one object and half of another would be neither.
    let stub = Stub::start(Plan::first(Operation::GetObject, Fault::CutBodyAndReplace)).await;
    put(&stub, "long", &calls);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&notification(&["long"])).await;
    assert_eq!(reply["errorType"], "Object.Changed", "{reply}");
    let reply = bootstrap.invoke(&notification(&["long"])).await;
    assert_eq!(reply["records"], 0, "{reply}");
}

#[tokio::test]
async fn a_table_that_may_not_be_used_in_one_way_is_used_in_the_others() {
    let denied = |operation: Operation| Plan {
        random: Some(Random {
            seed: 0,
            per_mille: 0,
            hangs: false,
            kills: false,
            denies: Some(operation),
        }),
        ..Plan::default()
    };
    // Without turns each instance paces itself, and calls are still told once; without claims they are noted.
    for (operation, trouble) in [(Operation::Turn, 1), (Operation::Claim, 2)] {
        let stub = Stub::start(denied(operation)).await;
        put(
            &stub,
            "one",
            &[
                on_another(call("DeleteHsm", "a"), 1),
                on_another(call("DeleteHsm", "b"), 2),
            ],
        );
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = bootstrap.invoke(&notification(&["one"])).await;
        assert_eq!(
            (&reply["published"], &reply["ledger_errors"]),
            (&json!(2), &json!(trouble)),
            "{operation:?}: {reply}"
        );
        stub.plan(Plan::quiet());
        let mut another = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = another.invoke(&notification(&["one"])).await;
        assert_eq!(reply["duplicates"], 2, "{operation:?}: {reply}");
    }
}

/// Two instances with a storm each, at the same time.
#[tokio::test]
async fn instances_take_turns_that_are_never_closer_than_the_interval() {
    let stub = Stub::start(Plan::quiet()).await;
    for name in ["left", "right"] {
        let calls: Vec<Value> = (0..12)
            .map(|n| on_another(call("DeleteHsm", &format!("{name}-{n}")), n))
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
    // The item that was moved on by every turn tells of them all: each moved it by the interval, or, where
    // nobody waited, to an interval after its own time.
    let turns = stub.world().turns.clone();
    assert!(turns.len() >= 24, "{turns:?}");
    for pair in turns.windows(2) {
        assert!(pair[1] - pair[0] >= 125, "{turns:?}");
    }
}

#[tokio::test]
async fn a_storm_of_5_000_calls_is_told_whole_critical_first_within_the_limits() {
    let stub = Stub::start(Plan::quiet()).await;
    let mut calls: Vec<Value> = (0..5000)
        .map(|n| {
            let name = match n % 2 {
                0 => "TagResource",
                _ => "CreateHsm",
            };
            let mut call = on_another(call(name, &format!("storm-{n}")), n);
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
    let world = stub.world();
    assert_eq!(world.messages[0].event_ids, ["storm-4321"]);
    // At eight a second that is under half a minute.
    assert!(
        world.messages.len() < 200,
        "{} messages",
        world.messages.len()
    );
    let severities: Vec<usize> = world
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
    for message in &world.messages {
        let email = message.body["email"].as_str().expect("text");
        for id in &message.event_ids {
            assert!(email.contains(id.as_str()), "{id} is not in its e-mail");
        }
    }
    let told = world.told();
    assert_eq!(told.len(), 5000);
    assert!(told.values().all(|times| *times == 1));
}

/// Denied calls need no permission: thousands of them in one file, whatever they vary, neither come before the
/// one that worked nor take its message, nor become thousands of messages.
#[tokio::test]
async fn denied_calls_do_not_crowd_out_the_one_that_worked() {
    let denied = |mut call: Value| {
        call["errorCode"] = "AccessDenied".into();
        call
    };
    for (count, varied) in [(2_500_usize, false), (12_000, true)] {
        let stub = Stub::start(Plan::quiet()).await;
        let mut calls: Vec<Value> = (0..count)
            .map(|n| {
                let call = denied(call("DeleteBackup", &format!("no-{n}")));
                if varied { on_another(call, n) } else { call }
            })
            .collect();
        calls.push(call("DeleteBackup", "yes"));
        put(&stub, "storm", &calls);
        let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
        let reply = bootstrap.invoke(&notification(&["storm"])).await;
        let sent: usize = ["published", "summarized", "grouped"]
            .iter()
            .map(|count| reply[count].as_u64().unwrap_or_default() as usize)
            .sum();
        assert_eq!(
            (sent, &reply["matched"]),
            (count + 1, &json!(count + 1)),
            "{reply}"
        );
        let world = stub.world();
        assert_eq!(world.messages[0].event_ids, ["yes"], "{varied}");
        assert!(
            world.messages[0]
                .subject
                .starts_with("CRITICAL: DeleteBackup SUCCEEDED in "),
            "{}",
            world.messages[0].subject
        );
        assert!(
            world.messages.len() < 40,
            "{varied}: {} messages",
            world.messages.len()
        );
        let told = world.told();
        assert_eq!(told.len(), count + 1);
        assert!(told.values().all(|times| *times == 1));
        let second = &world.messages[1];
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
        let email = second.body["email"].as_str().expect("text");
        assert!(
            email.contains(&format!(
                "The same caller made this call 1000 times, {resources}, with the same outcome."
            )),
            "{email}"
        );
    }
}

/// Calls that succeed, made on things of one's own, do not take all the single messages.
#[tokio::test]
async fn single_messages_go_round_by_rule() {
    let stub = Stub::start(Plan::quiet()).await;
    let mut calls: Vec<Value> = (0..40)
        .map(|n| {
            let mut call = call("StopLogging", &format!("own-{n}"));
            call["eventSource"] = "cloudtrail.amazonaws.com".into();
            call["requestParameters"] = json!({"name": format!("cloudhsm-alerts-{n}")});
            call
        })
        .collect();
    calls.push(call("DeleteHsm", "hsm"));
    calls.push(on_another(call("DeleteHsm", "another-hsm"), 1));
    put(&stub, "storm", &calls);
    let mut bootstrap = Bootstrap::start(&stub.endpoint, &VARIABLES).await;
    let reply = bootstrap.invoke(&notification(&["storm"])).await;
    assert_eq!(
        (&reply["matched"], &reply["published"], &reply["summarized"]),
        (&json!(42), &json!(10), &json!(32)),
        "{reply}"
    );
    let world = stub.world();
    let first: Vec<&str> = world.messages[..5]
        .iter()
        .map(|message| message.event_ids[0].as_str())
        .collect();
    assert_eq!(first, ["own-0", "hsm", "own-1", "another-hsm", "own-2"]);
}
