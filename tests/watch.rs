//! The watch table against moto: that its expressions and keys are valid. What happens when several instances write at
//! once is tested against the stub, because moto loses some of such writes.

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts::watch::{Change, MAX_LOCK, WatchError, WatchTable};
use cloudhsm_alerts_core::deadline::{Closing, Deadline, DeadlineKey};
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
