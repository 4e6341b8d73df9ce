//! The program itself, over the Runtime API: a log file that nobody was notified of, and one that was altered.

use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_test_support::{
    digests::{Digests, Trail, gzip},
    fixtures::{call, s3_notification},
    runtime_api::Bootstrap,
};
use jiff::{SignedDuration, Unit};
use serde_json::Value;

use crate::{
    trail::{ALTERED, finding},
    world::World,
};

#[tokio::test]
async fn the_program_reads_what_nobody_was_notified_of_and_finds_what_was_altered() {
    let world = World::auditing().await;
    let hour = Clock::default().now() - SignedDuration::from_hours(3);
    let hour = hour.round(Unit::Hour).expect("a time");
    let mut digests = Digests::starting(Trail::default(), &hour.to_string());
    let deleted = call("DeleteBackup", "never-notified");
    digests.hour_of(vec![vec![call("DescribeClusters", "read")], vec![deleted]]);
    let altered = digests.log_file(0, 0);
    digests.put(&altered, gzip(br#"{"Records": []}"#));
    world.put(&digests);
    let variables: Vec<(&str, &str)> = world
        .variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut bootstrap = Bootstrap::start(&world.stub.endpoint, &variables).await;
    let payload = s3_notification(&[&digests.digest(0)]);
    let mut counts = Vec::new();
    for _ in 0..2 {
        let reply = bootstrap.invoke(&payload).await;
        assert_eq!(reply.get("errorType"), None, "{reply}");
        let count = |name: &str| reply.get(name).and_then(Value::as_u64).unwrap_or_default();
        counts.push(["proved", "caught_up", "published", "trail_findings"].map(count));
    }
    // The second time, only what was altered is read again.
    assert_eq!(counts, [[1, 2, 1, 1], [1, 1, 0, 0]]);
    assert_eq!(world.found(), [finding(ALTERED, &altered)]);
    assert_eq!(world.alerted(), ["never-notified"]);
}
