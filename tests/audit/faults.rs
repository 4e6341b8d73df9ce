//! Faults of all services while an audit runs: what a retry can fix fails and accuses nobody, and in schedules of faults
//! nothing is lost.

use std::{collections::BTreeSet, time::Duration};

use cloudhsm_alerts_test_support::{
    dice::{Dice, seeds},
    fixtures::s3_notification,
    stub::{ErrorKind, Fault, FaultPlan, Operation, RandomFaults},
    tampering,
};
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;

use crate::{
    trail::{ALTERED, MISSING, chain, finding},
    world::{World, at},
};

#[tokio::test]
async fn what_a_retry_can_fix_fails_and_accuses_nobody() {
    use ErrorKind::{Denied, Internal, Throttled, Unavailable};
    for (operation, fault, error) in [
        (
            Operation::ListPublicKeys,
            Internal,
            "PublicKeys.Unavailable",
        ),
        (Operation::ReadFiles, Throttled, "Ledger.Throttled"),
        (Operation::NoteFile, Unavailable, "Ledger.Unavailable"),
        (Operation::GetObject, Unavailable, "Object.Throttled"),
        (Operation::GetObject, Denied, "Object.Denied"),
        (Operation::ListChains, Internal, "Watch.Unavailable"),
        (Operation::Chain, Internal, "Watch.Unavailable"),
    ] {
        let world = World::auditing().await;
        let digests = chain(1);
        world.put(&digests);
        let faults = FaultPlan::always(operation, Fault::Before(fault));
        world.stub.set_faults(faults);
        let reply = world.invoke(&s3_notification(&[&digests.digest(0)])).await;
        assert_eq!(reply, Err(error.to_owned()), "{operation:?}");
        assert_eq!(world.found(), [""; 0], "{operation:?}");
        world.stub.set_faults(FaultPlan::none());
        world.notify(&digests.digest(0)).await;
        assert_eq!(world.alerted(), ["delete-0"], "{operation:?}");
        assert_eq!(world.found(), [""; 0], "{operation:?}");
    }
}

/// A chain of four hours in which some things are done to log files, the notifications of its objects in any order, some
/// lost, and faults at all services. The default seeds are few: `AUDIT_SEEDS=0..5000` runs more.
async fn schedule(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::auditing().await;
    let mut digests = chain(4);
    let mut expected = BTreeSet::new();
    let mut lost_calls = BTreeSet::new();
    let mut keys = Vec::new();
    for hour in 0..4 {
        for number in 0..2 {
            let key = digests.log_file(hour, number);
            let is_notified = dice.throw(3) > 0;
            match dice.throw(8) {
                // Whatever is done to it before it is read is found.
                0 => {
                    tampering::replace(&mut digests, &key);
                    expected.insert(finding(ALTERED, &key));
                    lost_calls.insert((hour, number));
                }
                1 if !is_notified => {
                    digests.remove(&key);
                    expected.insert(finding(MISSING, &key));
                    lost_calls.insert((hour, number));
                }
                _ => {}
            }
            if is_notified {
                keys.push(key);
            }
        }
        if hour == 3 || (hour > 0 && dice.throw(3) > 0) {
            keys.push(digests.digest(hour));
        }
    }
    dice.shuffle(&mut keys);
    // The first digest file begins the chain: without it, those before the first that comes are not looked at.
    keys.insert(0, digests.digest(0));
    world.put(&digests);
    world.advance_to(at(4) + SignedDuration::from_mins(20));
    let per_mille = dice.pick(&[0, 50, 150, 300]);
    let kills = dice.throw(2) == 0;
    for (number, key) in keys.iter().enumerate() {
        let payload = s3_notification(&[key]);
        let faults = RandomFaults {
            seed: seed ^ ((number as u64) << 32),
            per_mille,
            hangs: false,
            kills,
            denies: None,
        };
        // The last attempt is without faults: then it is not lost.
        if !world.succeeds_despite(faults, &payload, 1).await {
            let reply = world.invoke(&payload).await;
            assert!(reply.is_ok(), "seed {seed}: {reply:?}");
            world.clock.advance(Duration::from_secs(60));
        }
    }
    world.tick().await;
    let most = 1 + world.faults_after(0);
    let found = world.found();
    let distinct: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(distinct, expected, "seed {seed}");
    for one in &expected {
        let times = found.iter().filter(|it| *it == one).count();
        assert!(times <= most, "seed {seed}: {one}, {times} times");
    }
    let alerted = world.alerted();
    for hour in 0..4 {
        let id = format!("delete-{hour}");
        let times = alerted.iter().filter(|it| **it == id).count();
        let is_lost = lost_calls.contains(&(hour, 1));
        assert_eq!(times == 0, is_lost, "seed {seed}: {id}, {times} times");
        assert!(times <= most, "seed {seed}: {id}, {times} times");
    }
}

#[tokio::test]
async fn nothing_is_lost_and_nobody_is_accused_whatever_fails() {
    stream::iter(seeds("AUDIT_SEEDS", 0..60))
        .for_each_concurrent(4, schedule)
        .await;
}
