//! The watch table against moto: that its expressions and keys are valid. What happens when several instances write at
//! once is tested against the stub, because moto loses some of such writes.

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts::watch::{Arrival, Change, MAX_LOCK, SeenStop, WatchError, WatchTable};
use cloudhsm_alerts_core::{
    deadline::{Closing, Deadline, DeadlineKey},
    digest::{finding::Stop, key::DigestKey, verdict::Interval},
};
use cloudhsm_alerts_test_support::moto::Moto;
use jiff::{SignedDuration, Timestamp};

fn deletion(opened: Timestamp) -> Deadline {
    Deadline {
        key: DeadlineKey {
            rule: "51c9ca7e-a5b2-4b0e-a6ea-50d1a86c5f2e".into(),
            account: "111122223333".into(),
            region: "us-west-2".into(),
            resource: "backup-zxc7vbn2mas".into(),
        },
        rule_name: "hsm-backup-deleted".into(),
        opened,
        due: opened + SignedDuration::from_hours(168),
        event_id: "e".into(),
        event_name: "DeleteBackup".into(),
        actor: "alice".into(),
        subject: "Backup backup-zxc7vbn2mas".into(),
        cluster: None,
        undone: "restored".into(),
        command: "aws cloudhsmv2 restore-backup --backup-id backup-zxc7vbn2mas".into(),
    }
}

#[test]
fn every_request_is_valid() {
    let aws = Moto::start();
    aws.watch_table("watch");
    let table = WatchTable::new(aws.dynamodb(), "watch".into());
    let now: Timestamp = "2026-11-10T12:00:00Z".parse().unwrap();
    let hours = |hours| now + SignedDuration::from_hours(hours);
    let opened = deletion(now);
    let restored = Closing {
        key: opened.key.clone(),
        time: hours(1),
        event_id: "f".into(),
        event_name: "RestoreBackup".into(),
        actor: "bob".into(),
    };
    aws.block_on(async {
        assert_eq!(table.open(&opened, now).await, Ok(Change::Written));
        assert_eq!(table.open(&opened, now).await, Ok(Change::Known));
        let noted = table.note_reminded(&opened.key, now, &[72, 24], hours(2));
        assert_eq!(noted.await, Ok(true));
        let dismissed = table.dismiss(&opened.key, now, "alice", "planned", hours(2));
        assert_eq!(dismissed.await, Ok(true));
        assert_eq!(table.close(&restored, hours(2)).await, Ok(Change::Written));
        assert_eq!(table.close(&restored, hours(2)).await, Ok(Change::Known));
        let listed = table.list().await.unwrap();
        let watched = &listed.deadlines[0];
        assert_eq!(watched.opened.as_ref(), Some(&opened));
        assert_eq!(watched.reminded, [(72, hours(2)), (24, hours(2))].into());
        assert_eq!(watched.closed.as_ref().unwrap().by, "RestoreBackup by bob");
        assert!(!watched.is_open());
        // The next opening removes the dismissal and the steps.
        let again = deletion(hours(3));
        assert_eq!(table.open(&again, hours(3)).await, Ok(Change::Written));
        let listed = table.list().await.unwrap();
        let watched = &listed.deadlines[0];
        assert_eq!(watched.open(), Some(&again));
        assert_eq!((&watched.dismissed, watched.reminded.len()), (&None, 0));

        assert_eq!(table.lock("a", now + MAX_LOCK, now).await, Ok(true));
        assert_eq!(table.lock("b", now + MAX_LOCK, now).await, Ok(false));
        table.unlock("b").await.unwrap();
        assert_eq!(table.lock("b", now + MAX_LOCK, now).await, Ok(false));
        table.unlock("a").await.unwrap();
        assert_eq!(table.lock("b", now + MAX_LOCK, now).await, Ok(true));
    });
    let mut items = aws.items("watch");
    assert_eq!(items.len(), 2);
    let mut item = items.remove(&opened.key.text()).unwrap();
    item.insert("version".into(), AttributeValue::N("2".into()));
    aws.put_item("watch", item);
    aws.block_on(async {
        let listed = table.list().await.unwrap();
        assert_eq!((listed.deadlines.len(), listed.foreign), (0, 1));
        let error = table.close(&restored, hours(2)).await.unwrap_err();
        let found = "its version is 2".to_owned();
        let id = opened.key.text();
        assert_eq!(error, WatchError::Foreign { id, found });
    });
}

#[test]
fn every_request_about_chains_is_valid() {
    let aws = Moto::start();
    aws.watch_table("watch");
    let table = WatchTable::new(aws.dynamodb(), "watch".into());
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let arrival = |hour: i64, starts: bool| {
        let key = format!(
            "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_audit_us-west-2_20261123T{hour:02}0000Z.json.gz"
        );
        let key = DigestKey::parse("trail", &key).expect("a digest file");
        Arrival {
            start: key.end - SignedDuration::from_hours(1),
            key,
            starts,
            is_wrong: false,
        }
    };
    let chain = arrival(1, false).key.chain;
    let seen = SeenStop {
        stop: Stop {
            time: now,
            event_name: "StopLogging".into(),
            actor: "alice".into(),
        },
        trail: "audit".into(),
        account: "111122223333".into(),
        region: "us-west-2".into(),
        event_id: "e".into(),
    };
    aws.block_on(async {
        assert_eq!(table.chain(&chain).await, Ok(None));
        for (hour, starts) in [(1, false), (5, true), (2, false)] {
            table
                .note_arrival(&arrival(hour, starts), now)
                .await
                .unwrap();
        }
        let watched = table.chain(&chain).await.unwrap().expect("a chain");
        let gap = Interval {
            from: arrival(2, false).key.end,
            to: arrival(5, true).start,
        };
        assert_eq!(watched.newest, arrival(5, true).key);
        assert_eq!(watched.gaps, [(gap, now)]);
        let end = watched.newest.end;
        table
            .note_published(&chain, Some(end), &[gap])
            .await
            .unwrap();
        let (chains, foreign) = table.chains().await.unwrap();
        assert_eq!((chains.len(), foreign), (1, 0));
        assert_eq!(
            (chains[0].silent_since, chains[0].gaps.len()),
            (Some(end), 0)
        );
        for _ in 0..2 {
            table.note_stop(&seen).await.unwrap();
        }
        assert_eq!(table.stops().await, Ok(vec![seen]));
        assert_eq!(table.list().await.unwrap().deadlines, []);
    });
}

#[test]
fn a_missing_or_wrong_table_is_named() {
    let aws = Moto::start();
    aws.table("ledger", "id");
    let now = "2026-11-10T12:00:00Z".parse().unwrap();
    for (name, error_type) in [
        ("missing", "Watch.TableNotFound"),
        ("ledger", "Watch.NotAWatchTable"),
    ] {
        let table = WatchTable::new(aws.dynamodb(), name.into());
        let error = aws.block_on(table.open(&deletion(now), now)).unwrap_err();
        assert_eq!(error.error_type(), error_type, "{error}");
    }
}
