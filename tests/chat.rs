//! The chat function: the real program with `CHAT_TOPIC_ARN`, given what SNS gives it.

use cloudhsm_alerts_test_support::aws::{Aws, Lambda, event, log_file, log_file_key};
use serde_json::{Value, json};

/// What SNS hands to a function that subscribes to the alert topic.
fn by_sns(messages: &[&str]) -> Value {
    let records: Vec<Value> = messages
        .iter()
        .map(|message| json!({"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Message": message}}))
        .collect();
    json!({ "Records": records })
}

#[test]
fn alerts_of_the_function_become_what_the_channels_show() {
    let aws = Aws::start();
    let (alerts, chat) = (aws.topic("alerts"), aws.topic("chat"));
    aws.put(&log_file_key(), log_file());
    Lambda::start(&aws, &[("ALERT_TOPIC_ARN", &alerts)]).invoke(&event("s3-put.json"));
    let published = aws.published(&alerts);
    let messages: Vec<&str> = published.iter().map(|alert| alert.text("lambda")).collect();
    assert_eq!(messages.len(), 5);

    let reply = Lambda::start(&aws, &[("CHAT_TOPIC_ARN", &chat)]).invoke(&by_sns(&messages));
    assert_eq!(reply, json!({"published": 5}));
    let shown: Vec<Value> = aws
        .published(&chat)
        .iter()
        .map(|shown| shown.finding())
        .collect();
    let titles: Vec<&str> = shown
        .iter()
        .map(|shown| shown["content"]["title"].as_str().expect("a title"))
        .collect();
    assert_eq!(
        titles,
        [
            "CRITICAL: CloudHSM backup deleted",
            "CRITICAL: CloudHSM cluster initialized",
            "CRITICAL: DeleteBackup was DENIED",
            "HIGH: ModifyCluster FAILED",
            "MEDIUM: HSM created in a CloudHSM cluster",
        ]
    );
    assert!(
        shown[0]["content"]["nextSteps"]
            .as_array()
            .expect("steps")
            .contains(&json!(
                "`aws cloudhsmv2 restore-backup --region us-west-2 --backup-id backup-zxc7vbn2mas`"
            )),
        "{}",
        shown[0]
    );
}

#[test]
fn what_cannot_be_shown_fails_and_the_rest_is_shown() {
    let aws = Aws::start();
    let chat = aws.topic("chat");
    let lambda = Lambda::start(&aws, &[("CHAT_TOPIC_ARN", &chat)]);
    let finding = r#"{"severity": "Low", "finding_info": {"uid": "e", "title": "t"}}"#;
    let reply = lambda.invoke(&by_sns(&["hello", finding]));
    assert_eq!(
        reply,
        json!({
            "errorType": "Payload.Unknown",
            "errorMessage": "Records[0].Sns.Message: expected a Detection Finding as JSON, found \"hello\"",
        })
    );
    assert_eq!(aws.published(&chat).len(), 1);
    aws.delete_topic(&chat);
    let reply = lambda.invoke(&by_sns(&[finding]));
    assert_eq!(reply["errorType"], "Publish.TopicNotFound", "{reply}");
}
