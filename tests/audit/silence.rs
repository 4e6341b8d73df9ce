//! Silence: digest files that stop coming, and gaps between them, with and without a call that explains them.

use cloudhsm_alerts_test_support::{digests::Digests, fixtures::call};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    trail::{DIGEST_MISSING, SILENT, add_hour, chain},
    world::{World, at},
};

fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

/// Adds an hour in which the trail of the tests is stopped.
fn add_stop(digests: &mut Digests, time: Timestamp) {
    let mut stop = call("StopLogging", "stop");
    stop["eventSource"] = "cloudtrail.amazonaws.com".into();
    stop["eventTime"] = time.to_string().into();
    stop["requestParameters"] =
        json!({"name": "arn:aws:cloudtrail:us-west-2:111122223333:trail/cloudhsm-alerts"});
    digests.hour_of(vec![vec![stop]]);
}

#[tokio::test]
async fn a_silent_chain_is_reported_once_until_digest_files_come_again() {
    let world = World::auditing().await;
    let mut digests = chain(2);
    add_stop(&mut digests, at(2) + minutes(10));
    digests.stop(7);
    add_hour(&mut digests, 10);
    world.put(&digests);
    // Nothing is known of a chain before its first digest file.
    world.tick().await;
    for hour in 0..2 {
        world.notify(&digests.digest(hour)).await;
    }
    world.advance_to(at(5) - minutes(1));
    world.tick().await;
    assert_eq!(world.found(), [""; 0]);
    world.advance_to(at(5) + minutes(1));
    world.tick().await;
    assert_eq!(world.found(), [SILENT]);
    assert!(world.details().contains("Who stopped it was not seen."));
    world.tick().await;
    assert_eq!(world.found(), [SILENT]);

    world.notify(&digests.digest(2)).await;
    world.advance_to(at(6) + minutes(1));
    world.tick().await;
    world.advance_to(at(7));
    world.tick().await;
    assert_eq!(world.found(), [SILENT, SILENT]);
    let details = world.details();
    assert!(
        details.contains("The trail was stopped or changed: StopLogging by alice at 2027-03-01T02:10:00Z (event ID stop)."),
        "{details}"
    );
    assert_eq!(
        world.messages()[1].headline(),
        "high TrailIntegrity success"
    );

    // Started again: the gap is explained, and not reported.
    world.advance_to(at(11));
    world.notify(&digests.digest(3)).await;
    world.advance_to(at(12) + minutes(5));
    world.tick().await;
    assert_eq!(world.found(), [SILENT, SILENT]);
    let state = world.stub.state();
    let chain = state.watch.iter().find(|((kind, _), _)| kind == "chain");
    assert_eq!(chain.expect("a chain").1["gaps"], json!({"L": []}));
}

#[tokio::test]
async fn the_last_digest_file_before_a_stop_is_looked_for() {
    let world = World::auditing().await;
    let mut digests = chain(1);
    add_stop(&mut digests, at(1) + minutes(10));
    digests.stop(30);
    add_hour(&mut digests, 32);
    world.put(&digests);
    world.advance_to(at(33));
    world.notify(&digests.digest(0)).await;
    // The notifications of the log file with the call and of its digest file are lost, and no digest file names that.
    let seen = world.notify(&digests.digest(2)).await;
    assert_eq!(seen, "digests 2, proved 3, caught_up 3");
    let stops = world.alerted().into_iter().filter(|id| id == "stop");
    assert_eq!(stops.count(), 1);
    world.advance_to(at(35));
    world.tick().await;
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn a_gap_that_no_call_explains() {
    let world = World::auditing().await;
    let mut digests = chain(2);
    digests.stop(2);
    add_hour(&mut digests, 4);
    world.put(&digests);
    world.advance_to(at(5));
    for hour in [0, 2] {
        world.notify(&digests.digest(hour)).await;
    }
    // The one before the stop may only be late, and it is.
    world.tick().await;
    world.notify(&digests.digest(1)).await;
    assert_eq!(world.found(), [""; 0]);
    world.advance_to(at(6) + minutes(1));
    world.tick().await;
    assert_eq!(world.found(), [DIGEST_MISSING]);
    let details = world.details();
    assert!(
        details.contains("No digest files between 2027-03-01T02:00:00Z and 2027-03-01T04:00:00Z."),
        "{details}"
    );
    world.tick().await;
    assert_eq!(world.found(), [DIGEST_MISSING]);
}
