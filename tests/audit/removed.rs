//! Removals of log files and digest files, of which S3 notifies: one finding an hour for each caller, and none for a file
//! that is there.

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, s3_notification},
    stub::{ErrorKind, Fault, FaultPlan, Operation},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    trail::{REMOVED, chain, finding},
    world::{World, at},
};

const ALICE: &str = "AWS:AIDAEXAMPLEALICE";

/// The notification that S3 sends when a caller removes an object.
fn removal(key: &str, caller: &str, time: Timestamp) -> Value {
    let mut notification = s3_notification(&[key]);
    let record = &mut notification["Records"][0];
    record["eventName"] = "ObjectRemoved:DeleteMarkerCreated".into();
    record["eventTime"] = time.to_string().into();
    record["userIdentity"] = json!({ "principalId": caller });
    record["requestParameters"] = json!({"sourceIPAddress": "192.0.2.61"});
    record["s3"]["object"]["versionId"] = "marker".into();
    notification
}

/// The notification of the deletion of a version.
fn deletion(key: &str) -> Value {
    let mut notification = removal(key, ALICE, at(3));
    notification["Records"][0]["eventName"] = "ObjectRemoved:Delete".into();
    notification
}

#[tokio::test]
async fn a_removal_is_published_once_an_hour_for_each_caller() {
    let world = World::auditing().await;
    let digests = chain(2);
    let keys = [
        digests.log_file(0, 0),
        digests.log_file(0, 1),
        digests.digest(0),
    ];
    let mut both = removal(&keys[0], ALICE, at(3));
    both["Records"]
        .as_array_mut()
        .unwrap()
        .push(removal(&keys[1], ALICE, at(3))["Records"][0].clone());
    let others = [
        removal(&keys[1], ALICE, at(3)),
        removal(&keys[2], ALICE, at(3)),
        removal(&keys[1], "AWS:AROAEXAMPLE:mallory", at(3)),
        removal(&keys[2], ALICE, at(4)),
    ];
    let mut published = Vec::new();
    for payload in std::iter::once(&both).chain(&others) {
        let reply = world.invoke(payload).await.expect("no failure");
        published.push(reply.get("trail_findings").and_then(Value::as_u64));
    }
    assert_eq!(published, [Some(1), None, None, Some(1), Some(1)]);
    let found = [&keys[0], &keys[1], &keys[2]].map(|key| finding(REMOVED, key));
    assert_eq!(world.found(), found);
    assert_eq!(world.trail_pages(), 3);
    let texts = world.details();
    for text in [
        "A delete marker hides it since 2027-03-01T03:00:00Z. S3 names as the caller AWS:AIDAEXAMPLEALICE, from 192.0.2.61.",
        "aws iam list-users --query \"Users[?UserId=='AIDAEXAMPLEALICE'].Arn\" --output text",
        "aws iam list-roles --query \"Roles[?RoleId=='AROAEXAMPLE'].Arn\" --output text",
    ] {
        assert!(texts.contains(text), "{text}: {texts}");
    }
    // Nothing is read for that, and a digest file that is gone is not taken for one that arrived.
    assert_eq!(world.requests(Operation::GetObject), 0);
}

#[tokio::test]
async fn a_file_that_is_there_is_no_finding() {
    let world = World::auditing().await;
    let digests = chain(1);
    world.put(&digests);
    let key = digests.log_file(0, 1);
    // A delete marker was deleted, or a version that nobody saw.
    let reply = world.invoke(&deletion(&key)).await.expect("no failure");
    assert_eq!(reply["skipped"], json!({"not_created": 1}));
    assert_eq!(world.found(), [""; 0]);
    // S3 does not answer, so nobody knows.
    let throttled = Fault::Before(ErrorKind::Throttled);
    world
        .stub
        .set_faults(FaultPlan::always(Operation::GetObject, throttled));
    let reply = world.invoke(&deletion(&key)).await;
    assert_eq!(reply, Err("Object.Throttled".to_owned()));
    assert_eq!(world.found(), [""; 0]);
    world.stub.set_faults(FaultPlan::none());
    // It is gone; a retry finds the same.
    world
        .stub
        .state()
        .objects
        .remove(&format!("{BUCKET}/{key}"));
    for _ in 0..2 {
        world.invoke(&deletion(&key)).await.expect("no failure");
    }
    assert_eq!(world.found(), [finding(REMOVED, &key)]);
}

#[tokio::test]
async fn what_anyone_can_have_written_is_skipped_and_so_is_all_without_the_audit() {
    let mut world = World::auditing().await;
    let digests = chain(1);
    let payload = removal(&digests.log_file(0, 0), ALICE, at(3));
    let message =
        json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": payload.to_string()}}]});
    let skipped = json!({"not_created": 1});
    let reply = world.invoke(&message).await.expect("no failure");
    assert_eq!(reply["skipped"], skipped);
    world.variables.remove("DIGEST_AUDIT");
    world.restart().await;
    let reply = world.invoke(&payload).await.expect("no failure");
    assert_eq!(reply["skipped"], skipped);
    assert_eq!(world.stub.state().requests.len(), 0);
}
