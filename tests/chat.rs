//! The chat function: `bootstrap` with `CHAT_TOPIC_ARN`, invoked as SNS invokes it.

use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{event_file, sample_key, sample_log_file},
    moto::Moto,
};
use serde_json::{Value, json};

/// The payload of a function that subscribes to the alert topic.
fn sns_event(messages: &[&str]) -> Value {
    let records: Vec<Value> = messages
        .iter()
        .map(|message| json!({"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Message": message}}))
        .collect();
    json!({ "Records": records })
}

#[test]
fn alerts_become_messages_for_chat_channels() {
    let aws = Moto::start();
    let (alerts, chat) = (aws.topic("alerts"), aws.topic("chat"));
    aws.put(&sample_key(), sample_log_file());
    Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &alerts)]).invoke(&event_file("s3-put.json"));
    let published = aws.published(&alerts);
    let messages: Vec<&str> = published
        .iter()
        .map(|alert| alert.text("default"))
        .collect();
    assert_eq!(messages.len(), 5);

    let reply = Lambda::start(&aws, &[("CHAT_TOPIC_ARN", &chat)]).invoke(&sns_event(&messages));
    assert_eq!(reply, json!({"published": 5, "below_min_severity": 0}));
    let notifications: Vec<Value> = aws
        .published(&chat)
        .iter()
        .map(|message| serde_json::from_str(message.text("default")).expect("JSON"))
        .collect();
    let titles: Vec<&str> = notifications
        .iter()
        .map(|notification| notification["content"]["title"].as_str().expect("a title"))
        .collect();
    assert_eq!(
        titles,
        [
            "CRITICAL: CloudHSM backup deleted",
            "CRITICAL: CloudHSM cluster initialized",
            "CRITICAL: DeleteBackup was DENIED",
            "MEDIUM: HSM created in a CloudHSM cluster",
            "LOW: ModifyCluster FAILED",
        ]
    );
    // A step that is also there when the deadline of the record is over.
    assert!(
        notifications[0]["content"]["nextSteps"]
            .as_array()
            .expect("steps")
            .contains(&json!(
                "`aws cloudhsmv2 describe-backups --region us-west-2 --filters states=PENDING_DELETION`"
            )),
        "{}",
        notifications[0]
    );
}

#[test]
fn alerts_below_the_minimum_severity_are_not_shown() {
    let aws = Moto::start();
    let chat = aws.topic("chat");
    let finding = |severity: &str| {
        format!(
            r#"{{"severity": "{severity}", "finding_info": {{"uid": "{severity}", "title": "t"}}}}"#
        )
    };
    let findings = ["Low", "High", "Critical", "Of a later version"].map(finding);
    let messages: Vec<&str> = findings.iter().map(String::as_str).collect();
    let lambda = Lambda::start(&aws, &[("CHAT_TOPIC_ARN", &chat), ("MIN_SEVERITY", "high")]);
    let reply = lambda.invoke(&sns_event(&messages));
    assert_eq!(reply, json!({"published": 3, "below_min_severity": 1}));
    assert_eq!(aws.published(&chat).len(), 3);
}

#[test]
fn a_message_that_is_no_finding_fails_and_the_rest_is_published() {
    let aws = Moto::start();
    let chat = aws.topic("chat");
    let lambda = Lambda::start(&aws, &[("CHAT_TOPIC_ARN", &chat)]);
    let finding = r#"{"severity": "Low", "finding_info": {"uid": "e", "title": "t"}}"#;
    let reply = lambda.invoke(&sns_event(&["hello", finding]));
    assert_eq!(
        reply,
        json!({
            "errorType": "Payload.Unknown",
            "errorMessage": "Records[0].Sns.Message: expected a Detection Finding as JSON, found \"hello\"",
        })
    );
    assert_eq!(aws.published(&chat).len(), 1);
    aws.delete_topic(&chat);
    let reply = lambda.invoke(&sns_event(&[finding]));
    assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
}
