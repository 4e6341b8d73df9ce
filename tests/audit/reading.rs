//! Reading log files that no notification named, keys and copies: nothing was tampered with here, and nobody is accused.

use std::time::Duration;

use cloudhsm_alerts::context::Context;
use cloudhsm_alerts_test_support::{
    digests::{Digests, SigningKey, Trail, listed},
    fixtures::{BUCKET, REGION, s3_notification},
    stub::Operation,
};
use jiff::SignedDuration;
use serde_json::json;

use crate::{
    trail::{COPIED, NOT_VERIFIED, chain, chain_of},
    world::{BEGIN, World},
};

#[tokio::test]
async fn what_was_read_is_proved_by_the_next_digest_file_without_reading_it_again() {
    let world = World::auditing().await;
    let digests = chain(2);
    world.put(&digests);
    for hour in 0..2 {
        for number in 0..2 {
            world.notify(&digests.log_file(hour, number)).await;
        }
        let before = world.requests(Operation::GetObject);
        let seen = world.notify(&digests.digest(hour)).await;
        assert_eq!(seen, "digests 1, proved 2");
        // The digest file, and the previous one.
        assert_eq!(world.requests(Operation::GetObject) - before, 1 + hour);
    }
    // The key is asked for once.
    assert_eq!(world.requests(Operation::ListPublicKeys), 1);
    assert_eq!(world.found(), [""; 0]);
    let state = world.stub.state();
    let key = digests.log_file(1, 1);
    let item = &state.items[&format!("file#{BUCKET}/{key}")];
    assert_eq!(
        item["sha256"]["S"],
        digests.hours[1].document["logFiles"][1]["hashValue"]
    );
    let read_at: i64 = item["read_at"]["N"].as_str().unwrap().parse().unwrap();
    let expires: i64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires, read_at / 1000 + 72 * 3600);
}

#[tokio::test]
async fn a_log_file_without_a_notification_is_read_once() {
    let world = World::auditing().await;
    let digests = chain(1);
    world.put(&digests);
    world.notify(&digests.log_file(0, 0)).await;
    assert_eq!(world.alerted(), [""; 0]);
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(seen, "digests 1, proved 2, caught_up 1");
    assert_eq!(world.alerted(), ["delete-0"]);
    // Again, and at last the notification itself.
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(seen, "digests 1, proved 2");
    world.notify(&digests.log_file(0, 1)).await;
    assert_eq!(world.alerted(), ["delete-0"]);
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn a_digest_file_without_a_notification_is_read_with_the_next() {
    let world = World::auditing().await;
    let digests = chain(4);
    world.put(&digests);
    world.notify(&digests.digest(0)).await;
    let seen = world.notify(&digests.digest(3)).await;
    assert_eq!(seen, "digests 3, proved 6, caught_up 6");
    let all = ["delete-0", "delete-1", "delete-2", "delete-3"];
    assert_eq!(world.alerted(), all);
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn without_the_audit_nothing_is_requested_and_nothing_is_noted() {
    let mut world = World::auditing().await;
    world.variables.remove("DIGEST_AUDIT");
    world.restart().await;
    let digests = chain(1);
    world.put(&digests);
    let reply = world.invoke(&s3_notification(&[&digests.digest(0)])).await;
    assert_eq!(reply.expect("no failure")["skipped"], json!({"digest": 1}));
    assert_eq!(world.stub.state().requests.len(), 0);
    world.notify(&digests.log_file(0, 0)).await;
    let requests = || {
        let state = world.stub.state();
        let all = state.requests.iter();
        all.map(|(key, _)| key.operation).collect::<Vec<_>>()
    };
    assert_eq!(requests(), [Operation::GetObject]);
    assert_eq!(world.stub.state().items.len(), 0);
    world.tick().await;
    let of_tick = [Operation::Tick, Operation::ListDeadlines, Operation::Tick];
    assert_eq!(requests()[1..], of_tick);
}

#[tokio::test]
async fn thousands_of_unseen_log_files_are_read_by_several_invocations() {
    let world = World::auditing().await;
    let mut digests = Digests::starting(Trail::default(), BEGIN);
    digests.hour(400);
    world.put(&digests);
    world.stub.set_latency(|operation| match operation {
        Operation::GetObject => Duration::from_millis(300),
        _ => Duration::ZERO,
    });
    let payload = s3_notification(&[&digests.digest(0)]);
    let mut errors = Vec::new();
    loop {
        let context = Context {
            deadline: Some(world.clock.now() + SignedDuration::from_secs(10)),
            ..Context::default()
        };
        match world.invoke_within(&payload, &context).await {
            Ok(_) => break,
            Err(error) => errors.push(error),
        }
        assert!(errors.len() < 40, "{errors:?}");
    }
    let out_of_time = "Object.OutOfTime".to_owned();
    assert!(errors.contains(&out_of_time), "{errors:?}");
    // What an invocation has read, the next one does not read again, apart from what was on its way.
    let requests = world.requests(Operation::GetObject);
    let most = 401 + 18 * errors.len();
    assert!(requests <= most, "{requests}: {errors:?}");
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn keys_in_another_form_and_regions_that_refuse() {
    let world = World::auditing().await;
    let spki = listed(&SigningKey::first().subject_public_key_info());
    let fingerprint = spki["Fingerprint"].clone();
    let keys = vec![spki];
    world.stub.state().public_keys.insert(REGION.into(), keys);
    let mut digests = chain(1);
    digests.sign_again(0, |document| {
        document["digestPublicKeyFingerprint"] = fingerprint
    });
    world.put(&digests);
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(seen, "digests 1, proved 2, caught_up 2");

    // Another region refuses. Its log files are read all the same, and nobody is accused.
    let trail = Trail {
        region: "ap-east-1".into(),
        ..Trail::default()
    };
    let mut digests = chain_of(trail, 2);
    let key = digests.log_file(0, 0);
    digests.remove(&key);
    world.put(&digests);
    assert_eq!(
        world.notify(&digests.digest(0)).await,
        "digests 1, caught_up 1, not_verified 1, not_checked 2, trail_findings 1"
    );
    world.notify(&digests.digest(1)).await;
    assert_eq!(world.found(), [NOT_VERIFIED]);
    let headline = world.messages()[0].headline();
    assert_eq!(headline, "medium TrailIntegrity success");
    assert_eq!(world.trail_pages(), 0);
}

#[tokio::test]
async fn a_copy_of_a_bucket_is_reported_once() {
    let world = World::auditing().await;
    let trail = Trail {
        bucket: "origin".into(),
        ..Trail::default()
    };
    let mut digests = chain_of(trail, 3);
    // The objects are the same, in another bucket.
    digests.trail.bucket = BUCKET.into();
    world.put(&digests);
    for (hour, finding) in [", trail_findings 1", "", ""].into_iter().enumerate() {
        let seen = world.notify(&digests.digest(hour)).await;
        let expected = format!("digests 1, proved 2, caught_up 2{finding}");
        assert_eq!(seen, expected, "{hour}");
    }
    assert_eq!(world.found(), [COPIED]);
}
