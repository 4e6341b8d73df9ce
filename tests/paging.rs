//! The paging topic: what goes there, and what becomes of a call if only one of the two topics accepts its message.

mod world;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts_core::{call_id::CallId, record::Record};
use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{
        BUCKET, TOPIC_ARN, call, denied, key_named, log_file_of, on_cluster, s3_notification,
    },
    moto::Moto,
    published::Published,
    stub::{Fault, FaultPlan, Operation},
};
use serde_json::{Value, json};

use world::{PAGING_ARN, World};

/// A function with a ledger that both topics belong to.
fn start(aws: &Moto, topic: &str, paging: &str, more: &[(&str, &str)]) -> Lambda {
    let mut variables = vec![
        ("ALERT_TOPIC_ARN", topic),
        ("PAGING_TOPIC_ARN", paging),
        ("LEDGER_TABLE", "ledger"),
    ];
    variables.extend_from_slice(more);
    Lambda::start(aws, &variables)
}

fn failed(mut call: Value) -> Value {
    call["errorCode"] = "CloudHsmInternalFailureException".into();
    call
}

fn pages(aws: &Moto, paging: &str) -> Vec<String> {
    let published = aws.published(paging);
    published
        .iter()
        .map(|message| message.page().expect("a plain message").to_owned())
        .collect()
}

fn headlines(aws: &Moto, topic: &str) -> Vec<String> {
    aws.published(topic)
        .iter()
        .map(Published::headline)
        .collect()
}

#[test]
fn alerts_at_or_above_the_paging_severity_are_also_paged() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let calls = [
        call("DescribeClusters", "informational"),
        call("TagResource", "low"),
        call("CreateHsm", "medium"),
        call("ModifyCluster", "high"),
        call("DeleteHsm", "critical"),
        denied(call("DeleteBackup", "denied")),
        failed(call("DeleteCluster", "failed")),
    ];
    aws.put(&key_named("all"), log_file_of(&calls));
    // The failed call weighs two steps less than its rule, and never pages.
    let head = [
        "CRITICAL",
        "CRITICAL",
        "HIGH",
        "MEDIUM",
        "LOW",
        "INFORMATIONAL",
    ];
    for (minimum, expected) in [
        (None, 2),
        (Some("high"), 3),
        (Some("medium"), 4),
        (Some("low"), 5),
        (Some("informational"), 6),
    ] {
        let name = minimum.unwrap_or("default");
        let (topic, paging) = (aws.topic(name), aws.paging_topic(&format!("p-{name}")));
        let table = format!("ledger-{name}");
        aws.table(&table, "id");
        let mut variables = vec![
            ("LEDGER_TABLE", table.as_str()),
            ("MIN_SEVERITY", "informational"),
        ];
        variables.extend(minimum.map(|minimum| ("PAGING_MIN_SEVERITY", minimum)));
        let lambda = start(&aws, &topic, &paging, &variables);
        let reply = lambda.invoke(&s3_notification(&[&key_named("all")]));
        assert_eq!(reply["published"], 7, "{reply}");
        let alerts = aws.published(&topic);
        assert_eq!(alerts.len(), 7);
        for alert in &alerts {
            assert!(
                alert.page().is_none(),
                "an alert has a text for each protocol"
            );
            assert_eq!(alert.body.get("sms"), None);
            assert!(alert.text("email").contains("WHAT HAPPENED"));
        }
        let published = aws.published(&paging);
        let texts = pages(&aws, &paging);
        assert_eq!(texts.len(), expected, "{name}: {texts:?}");
        for (text, head) in texts.iter().zip(head) {
            assert!(text.starts_with(&format!("{head} ")), "{text}");
            assert!(text.len() <= 140, "{text}");
        }
        // The attribute of a page overrides the account's default type of SMS.
        for page in &published {
            assert_eq!(page.subject, "");
            let attributes: Vec<_> = page.attributes.iter().collect();
            let transactional = ("String".to_owned(), "Transactional".to_owned());
            assert_eq!(
                attributes,
                [(&"AWS.SNS.SMS.SMSType".to_owned(), &transactional)]
            );
        }
    }
}

#[test]
fn without_a_paging_topic_nothing_is_paged() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.put(&key_named("a"), log_file_of(&[call("DeleteHsm", "a")]));
    let lambda = Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &topic)]);
    let reply = lambda.invoke(&s3_notification(&[&key_named("a")]));
    assert_eq!(reply["published"], 1, "{reply}");
    assert_eq!(headlines(&aws, &topic), ["critical DeleteHsm success"]);
}

/// The calls of the tests below: one that pages, one that does not.
fn put_two_calls(aws: &Moto) -> Value {
    let calls = [call("DeleteHsm", "critical"), call("CreateHsm", "medium")];
    aws.put(&key_named("two"), log_file_of(&calls));
    s3_notification(&[&key_named("two")])
}

const ALERTS: [&str; 2] = ["critical DeleteHsm success", "medium CreateHsm success"];
const PAGE: &str = "CRITICAL DeleteHsm SUCCEEDED: cluster-lk3jhgf4dsa, 111122223333 us-west-2, 23 Nov 03:50Z, by alice. Check that the cluster has HSMs left";

#[test]
fn a_retry_after_a_failed_page_publishes_only_the_page() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    for table in ["ledger", ""] {
        let name = format!("t{table}");
        let (topic, paging) = (aws.topic(&name), aws.paging_topic(&format!("p{table}")));
        let event = put_two_calls(&aws);
        aws.delete_topic(&paging);
        let mut lambda = start(&aws, &topic, &paging, &[("LEDGER_TABLE", table)]);
        let reply = lambda.invoke(&event);
        assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
        assert_eq!(
            reply["errorMessage"],
            "page for event critical: there is no such topic (NotFound: Endpoint does not exist); \
             deploy the stack again or correct the topic's ARN in the function's variables"
        );
        assert_eq!(headlines(&aws, &topic), ALERTS);

        aws.paging_topic(&format!("p{table}"));
        if !table.is_empty() {
            // With a table, any instance knows what was published.
            lambda = start(&aws, &topic, &paging, &[]);
        }
        let reply = lambda.invoke(&event);
        assert_eq!(
            (&reply["published"], &reply["duplicates"]),
            (&json!(1), &json!(1)),
            "{reply}"
        );
        assert_eq!(headlines(&aws, &topic), ALERTS);
        assert_eq!(pages(&aws, &paging), [PAGE]);
        assert_eq!(reply.get("event_ids_reused"), None, "{reply}");
        let reply = lambda.invoke(&event);
        assert_eq!(reply["duplicates"], 2, "{reply}");
    }
}

#[test]
fn a_retry_after_a_failed_alert_publishes_only_the_alert() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
    let event = put_two_calls(&aws);
    aws.delete_topic(&topic);
    let reply = start(&aws, &topic, &paging, &[]).invoke(&event);
    assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
    let message = reply["errorMessage"].as_str().expect("text");
    assert!(
        message.starts_with("alert for event critical: "),
        "{message}"
    );
    assert!(message.contains("; alert for event medium: "), "{message}");
    assert_eq!(pages(&aws, &paging), [PAGE]);

    aws.topic("t");
    let reply = start(&aws, &topic, &paging, &[]).invoke(&event);
    assert_eq!(reply["published"], 2, "{reply}");
    assert_eq!(headlines(&aws, &topic), ALERTS);
    assert_eq!(pages(&aws, &paging), [PAGE]);
}

/// After the alert topic has failed too often, pages are still published, for the severe calls alone.
#[test]
fn a_storm_pages_although_the_alert_topic_is_gone() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
    aws.delete_topic(&topic);
    let calls: Vec<Value> = (0..40)
        .map(|n| {
            let name = if n % 4 == 0 {
                "DeleteHsm"
            } else {
                "TagResource"
            };
            on_cluster(call(name, &format!("call-{n}")), n)
        })
        .collect();
    aws.put(&key_named("storm"), log_file_of(&calls));
    let event = s3_notification(&[&key_named("storm")]);
    let lambda = start(&aws, &topic, &paging, &[("MAX_ALERTS", "3")]);
    let reply = lambda.invoke(&event);
    assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
    let texts = pages(&aws, &paging);
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert_eq!(
        texts[3],
        "CRITICAL CloudHSM, 7 calls: 7 DeleteHsm SUCCEEDED. See the e-mail"
    );

    aws.topic("t");
    let reply = start(&aws, &topic, &paging, &[("MAX_ALERTS", "3")]).invoke(&event);
    assert_eq!(reply["failed"], 0, "{reply}");
    let published = aws.published(&topic);
    let mut ids: Vec<String> = published.iter().flat_map(Published::event_ids).collect();
    ids.sort();
    let mut expected: Vec<String> = (0..40).map(|n| format!("call-{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(pages(&aws, &paging).len(), 4);
}

/// The ledger's item of a call of which only a part was delivered, by an invocation that has ended.
fn put_delivered(aws: &Moto, record: &Value, delivered: &str) {
    let fields = record.as_object().expect("an object").clone();
    let string = |text: &str| AttributeValue::S(text.to_owned());
    let item = [
        ("id", string(CallId::of(&Record::new(0, fields)).key())),
        ("status", string("claimed")),
        ("owner", string("another invocation")),
        ("claimed_until", AttributeValue::N("0".to_owned())),
        ("delivered", string(delivered)),
    ];
    let item = item.map(|(name, value)| (name.to_owned(), value));
    aws.put_item("ledger", item.into());
}

/// Calls that repeat each other share an alert only if the same was delivered of them.
#[test]
fn repeated_calls_are_alerted_and_paged_whatever_was_delivered_of_the_others() {
    let events = ["alert", "page", "neither"];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let aws = Moto::start();
        aws.table("ledger", "id");
        let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
        let calls = order.map(|n| call("DeleteHsm", events[n]));
        for delivered in ["alert", "page"] {
            put_delivered(&aws, &call("DeleteHsm", delivered), delivered);
        }
        aws.put(&key_named("three"), log_file_of(&calls));
        let lambda = start(&aws, &topic, &paging, &[]);
        let reply = lambda.invoke(&s3_notification(&[&key_named("three")]));
        assert_eq!(reply["published"], 3, "{reply}");
        let published = aws.published(&topic);
        let mut ids: Vec<String> = published.iter().flat_map(Published::event_ids).collect();
        ids.sort();
        assert_eq!(ids, ["neither", "page"], "{order:?}");
        assert_eq!(pages(&aws, &paging), [PAGE; 2], "{order:?}");
    }
}

/// A backfill publishes no pages, and does not repeat an alert. The retry that a page is missing for still finds it.
#[test]
fn a_backfill_alerts_old_calls_beside_one_that_lacks_its_page() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
    let alerted = call("DeleteHsm", "alerted");
    put_delivered(&aws, &alerted, "alert");
    let calls = [alerted, on_cluster(call("DeleteHsm", "new"), 1)];
    aws.put(&key_named("old"), log_file_of(&calls));
    let batch = json!({
        "invocationSchemaVersion": "2.0", "invocationId": "i",
        "job": {"id": "j", "userArguments": {"cloudhsm-alerts": "backfill"}},
        "tasks": [{"taskId": "t", "s3Key": key_named("old"), "s3VersionId": null, "s3BucketArn": format!("arn:aws:s3:::{BUCKET}")}],
    });
    let reply = start(&aws, &topic, &paging, &[]).invoke(&batch);
    assert_eq!(reply["results"][0]["resultCode"], "Succeeded", "{reply}");
    let published = aws.published(&topic);
    let ids: Vec<String> = published.iter().flat_map(Published::event_ids).collect();
    assert_eq!(ids, ["new"], "{reply}");
    assert_eq!(pages(&aws, &paging), [] as [String; 0]);
}

/// The page of an hour belongs to one call, whose retry may publish it again.
#[test]
fn a_page_for_a_refused_call_is_retried() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let (topic, paging) = (aws.topic("t"), aws.paging_topic("p"));
    let refused = |id: &str| denied(call("DeleteHsm", id));
    for id in ["first", "second"] {
        aws.put(&key_named(id), log_file_of(&[refused(id)]));
    }
    let invoke =
        |id: &str| start(&aws, &topic, &paging, &[]).invoke(&s3_notification(&[&key_named(id)]));
    invoke("first");
    assert_eq!(pages(&aws, &paging).len(), 1);
    // The instance died before it knew that SNS had accepted the page.
    put_delivered(&aws, &refused("first"), "alert");
    invoke("first");
    assert_eq!(pages(&aws, &paging).len(), 2);
    invoke("second");
    assert_eq!(pages(&aws, &paging).len(), 2);
}

/// An instance dies after its alert was accepted and before its page was.
#[test]
fn a_crash_between_alert_and_page_repeats_neither() {
    for fault in [Fault::HoldBefore, Fault::HoldAfter] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(crash(fault));
    }
}

async fn crash(fault: Fault) {
    let mut world = World::empty().await;
    world.restart().await;
    let event = world.file("one", &[call("DeleteHsm", "critical")]);
    let faults = FaultPlan::first(Operation::PublishPage, fault);
    world.stub.set_faults(faults);
    assert_eq!(world.invoke_or_die(&event, 1).await, None, "it is held");
    world.stub.set_faults(FaultPlan::none());
    // The claim expires, and Lambda retries.
    world.clock.advance(Duration::from_secs(60));
    let reply = world.invoke(&event).await;
    assert_eq!(reply.expect("success")["published"], 1);
    let state = world.stub.state();
    assert_eq!(state.alerts_by_event_id()["critical"], 1);
    // Whether SNS accepted the first page is not known, so it is published again.
    let accepted = usize::from(fault == Fault::HoldAfter);
    assert_eq!(state.pages(), vec![PAGE; 1 + accepted]);
    let topics: Vec<&str> = state
        .messages
        .iter()
        .map(|message| message.topic.as_str())
        .collect();
    assert_eq!(topics[0], TOPIC_ARN);
    assert!(topics[1..].iter().all(|topic| *topic == PAGING_ARN));
}
