//! The watch table against the stub, whose conditional writes hold as DynamoDB's do.

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_dynamodb::config::Credentials;
use cloudhsm_alerts_core::deadline::{Closing, Deadline, DeadlineKey};
use cloudhsm_alerts_test_support::stub::{ErrorKind, Fault, FaultPlan, Operation, Stub};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use super::*;

/// The time at which the calls are read.
const NOW: &str = "2026-11-10T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// A number of hours after [`NOW`].
fn at(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

fn key(resource: &str) -> DeadlineKey {
    DeadlineKey {
        rule: "51c9ca7e-a5b2-4b0e-a6ea-50d1a86c5f2e".into(),
        account: "111122223333".into(),
        region: "us-west-2".into(),
        resource: resource.into(),
    }
}

/// A deletion, this many hours after now, that can be undone for a week.
fn deletion(resource: &str, hours: i64) -> Deadline {
    Deadline {
        key: key(resource),
        rule_name: "hsm-backup-deleted".into(),
        opened: at(hours),
        due: at(hours + 168),
        event_id: format!("delete {hours}"),
        event_name: "DeleteBackup".into(),
        actor: "alice".into(),
        subject: format!("Backup {resource}"),
        cluster: (hours % 2 == 0).then(|| "cluster-1".into()),
        undone: "restored".into(),
        command: format!("aws cloudhsmv2 restore-backup --backup-id {resource}"),
    }
}

fn restore(resource: &str, hours: i64) -> Closing {
    Closing {
        key: key(resource),
        time: at(hours),
        event_id: format!("restore {hours}"),
        event_name: "RestoreBackup".into(),
        actor: "bob".into(),
    }
}

fn sdk(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(crate::roots::http_client())
        .endpoint_url(endpoint)
        .region(Region::new("us-west-2"))
        .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(
            Credentials::new("test", "test", None, None, "test"),
        ))
        .retry_config(RetryConfig::standard().with_initial_backoff(std::time::Duration::ZERO))
        .build()
}

fn table(stub: &Stub) -> WatchTable {
    let client = aws_sdk_dynamodb::Client::new(&sdk(&stub.endpoint));
    WatchTable::new(client, "watch".into())
}

async fn empty() -> (Stub, WatchTable) {
    let stub = Stub::start(FaultPlan::none()).await;
    let table = table(&stub);
    (stub, table)
}

/// The items of the table, by ID.
fn items(stub: &Stub) -> BTreeMap<String, Value> {
    let state = stub.state();
    let items = state.watch.iter();
    items
        .map(|((_, id), item)| (id.clone(), item.clone()))
        .collect()
}

async fn only(table: &WatchTable) -> WatchedDeadline {
    let mut listed = table.list().await.expect("a list").deadlines;
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed.remove(0)
}

#[tokio::test]
async fn a_deadline_is_opened_reminded_of_and_closed() {
    let (stub, table) = empty().await;
    let opened = deletion("backup-1", 0);
    assert_eq!(table.open(&opened, now()).await, Ok(Change::Written));
    let id = "51c9ca7e-a5b2-4b0e-a6ea-50d1a86c5f2e/111122223333/us-west-2/backup-1";
    let millis = |time: Timestamp| json!({"N": time.as_millisecond().to_string()});
    let seconds = |time: Timestamp| json!({"N": time.as_second().to_string()});
    let mut item = json!({
        "kind": {"S": "deadline"}, "id": {"S": id}, "version": {"N": "1"},
        "rule": {"S": "51c9ca7e-a5b2-4b0e-a6ea-50d1a86c5f2e"}, "account": {"S": "111122223333"},
        "region": {"S": "us-west-2"}, "resource": {"S": "backup-1"},
        "opened_at": millis(at(0)), "due_at": millis(at(168)), "rule_name": {"S": "hsm-backup-deleted"},
        "event_id": {"S": "delete 0"}, "event_name": {"S": "DeleteBackup"}, "actor": {"S": "alice"},
        "subject": {"S": "Backup backup-1"}, "cluster": {"S": "cluster-1"}, "undone": {"S": "restored"},
        "command": {"S": "aws cloudhsmv2 restore-backup --backup-id backup-1"}, "reminded": {"M": {}},
        "expires_at": seconds(at(168 + 40 * 24)),
    });
    assert_eq!(items(&stub)[id], item);

    // The same record from another trail, or a retry.
    assert_eq!(table.open(&opened, at(1)).await, Ok(Change::Known));
    let noted = table.note_reminded(&opened.key, opened.opened, &[72, 24], at(145));
    assert_eq!(noted.await, Ok(true));
    let noted = table.note_reminded(&opened.key, at(-1), &[4], at(165));
    assert_eq!(noted.await, Ok(false), "of another opening");
    item["reminded"] = json!({"M": {"72": millis(at(145)), "24": millis(at(145))}});
    assert_eq!(items(&stub)[id], item);
    let watched = only(&table).await;
    let expected = WatchedDeadline {
        key: opened.key.clone(),
        opened: Some(opened.clone()),
        closed: None,
        dismissed: None,
        reminded: [(72, at(145)), (24, at(145))].into(),
    };
    assert_eq!((&watched, watched.is_open()), (&expected, true));

    // Closed after the deadline, as far as that is known: kept from then on.
    let closing = restore("backup-1", 170);
    assert_eq!(table.close(&closing, at(171)).await, Ok(Change::Written));
    assert_eq!(table.close(&closing, at(171)).await, Ok(Change::Known));
    item["closed_at"] = millis(at(170));
    item["closed_by"] = json!({"S": "RestoreBackup by bob"});
    item["closed_event_id"] = json!({"S": "restore 170"});
    item["expires_at"] = seconds(at(170 + 40 * 24));
    assert_eq!(items(&stub)[id], item);
    assert!(!only(&table).await.is_open());

    // Deleted again: it begins anew, and what was another cluster is none now.
    let again = deletion("backup-1", 171);
    assert_eq!(table.open(&again, at(172)).await, Ok(Change::Written));
    let watched = only(&table).await;
    assert_eq!(watched.open(), Some(&again));
    assert_eq!(watched.reminded, BTreeMap::new());
    assert_eq!(items(&stub)[id].get("cluster"), None);
}

#[tokio::test]
async fn a_dismissal_holds_for_one_opening() {
    let (_stub, table) = empty().await;
    let opened = deletion("backup-1", 0);
    let key = key("backup-1");
    let dismiss = || table.dismiss(&key, at(0), "alice", "planned", at(1));
    assert_eq!(dismiss().await, Ok(false));
    table.open(&opened, now()).await.expect("opened");
    assert_eq!(dismiss().await, Ok(true));
    let watched = only(&table).await;
    let dismissed = Dismissed {
        opened: at(0),
        at: at(1),
        by: "alice".into(),
        reason: "planned".into(),
    };
    assert_eq!(
        (&watched.dismissed, watched.is_open()),
        (&Some(dismissed), false)
    );
    table
        .open(&deletion("backup-1", 2), at(3))
        .await
        .expect("opened");
    let watched = only(&table).await;
    assert_eq!((&watched.dismissed, watched.is_open()), (&None, true));
    assert_eq!(dismiss().await, Ok(false));
}

#[tokio::test]
async fn what_is_read_late_is_not_announced_as_passed_and_what_expired_is_not_stored() {
    let (stub, table) = empty().await;
    let late = deletion("late", -169);
    assert_eq!(table.open(&late, now()).await, Ok(Change::Written));
    let watched = only(&table).await;
    assert_eq!(
        watched.reminded,
        [(PASSED, now()), (PASSED + PAGED, now())].into()
    );
    assert!(watched.is_open());

    // In the same second, it is not known which was first.
    table
        .open(&deletion("tie", -1), now())
        .await
        .expect("opened");
    table
        .close(&restore("tie", -1), now())
        .await
        .expect("closed");
    let tie = &table.list().await.expect("a list").deadlines[1];
    assert_eq!((tie.is_open(), tie.closed.is_some()), (true, true));

    let kept = 40 * 24;
    let old = deletion("old", -168 - kept - 1);
    assert_eq!(table.open(&old, now()).await, Ok(Change::TooOld));
    let old = restore("old", -kept - 1);
    assert_eq!(table.close(&old, now()).await, Ok(Change::TooOld));
    assert_eq!(items(&stub).len(), 2);
    let newer = restore("old", -kept);
    assert_eq!(table.close(&newer, now()).await, Ok(Change::Written));
}

/// A call of the property test: which key, when, and whether it opens or closes.
type Drawn = (usize, i64, bool);

async fn write(table: &WatchTable, (resource, hours, opens): Drawn) {
    let resource = format!("backup-{resource}");
    let written = if opens {
        table.open(&deletion(&resource, hours), now()).await
    } else {
        table.close(&restore(&resource, hours), now()).await
    };
    written.expect("written");
}

/// Times are few, so that openings and closings of one second occur; two calls of one kind, key and time are the same.
#[test]
fn the_order_in_which_calls_are_read_does_not_matter() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let calls = prop::collection::vec((0..3_usize, -6..0_i64, any::<bool>()), 1..14).prop_flat_map(
        |calls| {
            let repeated = [calls.clone(), calls.clone()].concat();
            (Just(calls), Just(repeated).prop_shuffle())
        },
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let result = runner.run(&calls, |(mut sorted, shuffled)| {
        sorted.sort_by_key(|(_, hours, _)| *hours);
        let [expected, found] = [sorted.clone(), shuffled].map(|calls| {
            runtime.block_on(async {
                let (stub, table) = empty().await;
                for call in calls {
                    write(&table, call).await;
                }
                (items(&stub), table.list().await.expect("a list"))
            })
        });
        prop_assert_eq!(&expected, &found);
        // A model: a key is open if its last deletion is not before its last restore.
        let last = |resource: usize, opening: bool| {
            let calls = sorted
                .iter()
                .filter(|call| (call.0, call.2) == (resource, opening));
            calls.map(|call| call.1).max()
        };
        let open = (0..3).filter(|resource| {
            last(*resource, true).is_some_and(|opened| Some(opened) >= last(*resource, false))
        });
        let open: Vec<String> = open.map(|resource| format!("backup-{resource}")).collect();
        let listed = found
            .1
            .deadlines
            .into_iter()
            .filter(WatchedDeadline::is_open);
        let listed: Vec<String> = listed.map(|deadline| deadline.key.resource).collect();
        prop_assert_eq!(listed, open);
        Ok(())
    });
    result.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_of_one_key_at_the_same_time_lose_none() {
    for _ in 0..8 {
        let (stub, table) = empty().await;
        let calls = (0..24).map(|n: i64| write(&table, (0, n / 2 - 100, n % 2 == 0)));
        join_all(calls).await;
        let concurrent = items(&stub);
        let (stub, table) = empty().await;
        for n in 0..24 {
            write(&table, (0, n / 2 - 100, n % 2 == 0)).await;
        }
        assert_eq!(concurrent, items(&stub));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_takes_the_lock() {
    let (stub, table) = empty().await;
    let until = now() + MAX_LOCK;
    for round in 0..8 {
        let owners: Vec<String> = (0..24).map(|n| format!("{round}-{n}")).collect();
        let locks = owners.iter().map(|owner| table.lock(owner, until, now()));
        let locks = join_all(locks).await;
        let taken: Vec<usize> = (0..24).filter(|n| locks[*n] == Ok(true)).collect();
        let refused = locks.iter().filter(|lock| **lock == Ok(false)).count();
        assert_eq!((taken.len(), refused), (1, 23), "{locks:?}");
        let owner = &owners[taken[0]];
        // Its own lock again: the response was lost.
        assert_eq!(table.lock(owner, until, now()).await, Ok(true));
        // Others do not unlock it.
        let other = &owners[(taken[0] + 1) % 24];
        table.unlock(other).await.expect("no error");
        assert_eq!(table.lock(other, until, now()).await, Ok(false));
        table.unlock(owner).await.expect("unlocked");
    }
    // It expires, and one that is absurdly far away is taken over.
    assert_eq!(table.lock("dead", until, now()).await, Ok(true));
    let later = until + SignedDuration::from_millis(1);
    assert_eq!(table.lock("a", later, until).await, Ok(true));
    let ahead = at(24 * 365);
    table.unlock("a").await.expect("unlocked");
    assert_eq!(table.lock("ahead", ahead + MAX_LOCK, ahead).await, Ok(true));
    assert_eq!(table.lock("a", until, now()).await, Ok(true));
    assert_eq!(items(&stub).len(), 1);
}

#[tokio::test]
async fn an_item_that_is_not_ours_is_left_alone_and_counted() {
    let (stub, table) = empty().await;
    table
        .open(&deletion("backup-1", 0), now())
        .await
        .expect("opened");
    let (id, ours) = items(&stub).pop_first().expect("an item");
    table.lock("a", at(0), at(0)).await.expect("locked");
    let other_kind = ("chain".to_owned(), "a".to_owned());
    stub.state().watch.insert(
        other_kind,
        json!({"kind": {"S": "chain"}, "id": {"S": "a"}}),
    );
    let changes = [
        ("version", json!(null), "it has no version"),
        ("version", json!({"N": "2"}), "its version is 2"),
        (
            "opened_at",
            json!({"S": "now"}),
            "its opened_at cannot be read",
        ),
        ("due_at", json!(null), "its due_at cannot be read"),
        ("cluster", json!({"N": "1"}), "its cluster cannot be read"),
        (
            "reminded",
            json!({"M": {"soon": {"N": "1"}}}),
            "its reminded cannot be read",
        ),
        (
            "closed_at",
            json!({"N": "1e99"}),
            "its closed_at cannot be read",
        ),
        (
            "dismissed",
            json!({"M": {}}),
            "its dismissed cannot be read",
        ),
        (
            "resource",
            json!({"S": "b"}),
            "its members are those of another id",
        ),
    ];
    for (member, value, found) in changes {
        let mut foreign = ours.clone();
        let members = foreign.as_object_mut().expect("members");
        match value {
            Value::Null => members.remove(member),
            value => members.insert(member.to_owned(), value),
        };
        let place = ("deadline".to_owned(), id.clone());
        stub.state().watch.insert(place.clone(), foreign.clone());
        let error = Err(WatchError::Foreign {
            id: id.clone(),
            found: found.to_owned(),
        });
        assert_eq!(table.open(&deletion("backup-1", 1), at(2)).await, error);
        assert_eq!(table.close(&restore("backup-1", 1), at(2)).await, error);
        assert_eq!(stub.state().watch[&place], foreign, "{found}");
        let listed = table.list().await.expect("a list");
        assert_eq!((listed.deadlines, listed.foreign), (vec![], 1), "{found}");
    }
    let lock = ("tick".to_owned(), "lock".to_owned());
    stub.state().watch.get_mut(&lock).expect("a lock")["version"] = json!({"N": "2"});
    let error = table.lock("b", at(1), at(1)).await.expect_err("foreign");
    assert_eq!(error.error_type(), "Watch.ForeignItem");
}

#[tokio::test]
async fn all_pages_are_listed() {
    let (stub, table) = empty().await;
    stub.state().query_page_size = Some(7);
    for n in 0..22 {
        let opened = deletion(&format!("backup-{n:02}"), 0);
        table.open(&opened, now()).await.expect("opened");
    }
    let listed = table.list().await.expect("a list").deadlines;
    let resources: Vec<String> = listed.into_iter().map(|found| found.key.resource).collect();
    let expected: Vec<String> = (0..22).map(|n| format!("backup-{n:02}")).collect();
    assert_eq!(resources, expected);
}

/// What an attacker can write into a record.
#[tokio::test]
async fn texts_of_any_length_fit_an_item() {
    let (stub, table) = empty().await;
    let long = "é".repeat(200_000);
    let mut opened = deletion(&long, 0);
    for text in [
        &mut opened.rule_name,
        &mut opened.event_id,
        &mut opened.event_name,
        &mut opened.actor,
        &mut opened.subject,
        &mut opened.command,
    ] {
        long.clone_into(text);
    }
    opened.key.rule = long.clone();
    opened.key.account = long.clone();
    opened.key.region = long.clone();
    opened.cluster = Some(long.clone());
    assert_eq!(table.open(&opened, now()).await, Ok(Change::Written));
    assert_eq!(table.open(&opened, now()).await, Ok(Change::Known));
    let noted = table.note_reminded(&opened.key, opened.opened, &[24], now());
    assert_eq!(noted.await, Ok(true));
    let dismissed = table.dismiss(&opened.key, opened.opened, &long, &long, now());
    assert_eq!(dismissed.await, Ok(true));
    let (id, item) = items(&stub).pop_first().expect("an item");
    assert!(id.len() <= 1_024, "{}", id.len());
    assert!(
        item.to_string().len() < 40_000,
        "{}",
        item.to_string().len()
    );
    let watched = only(&table).await;
    assert_eq!(watched.opened.expect("opened").command, "");
    assert_eq!(watched.key.resource, "é".repeat(120));
}

#[tokio::test]
async fn a_lost_response_and_a_transaction_change_nothing() {
    for fault in [
        Fault::After(ErrorKind::Internal),
        Fault::CutAfter,
        Fault::Before(ErrorKind::InTransaction),
    ] {
        let stub = Stub::start(FaultPlan::first(Operation::OpenDeadline, fault)).await;
        let table = table(&stub);
        table
            .open(&deletion("backup-1", 0), now())
            .await
            .expect("opened");
        assert!(only(&table).await.is_open(), "{fault:?}");
    }
}

#[tokio::test]
async fn errors_are_counted_and_a_table_that_is_down_is_given_up() {
    let denied = Fault::Before(ErrorKind::Denied);
    let stub = Stub::start(FaultPlan::always(Operation::OpenDeadline, denied)).await;
    let (timing, clock) = (Timing::default(), Clock::default());
    let mut watch = Watch::new(&sdk(&stub.endpoint), Some("watch"), &timing, clock.clone());
    watch.begin("request");
    let opened: Vec<Deadline> = (0..100)
        .map(|n| deletion(&format!("backup-{n}"), 0))
        .map(|deadline| Deadline {
            due: clock.now() + SignedDuration::from_hours(1),
            ..deadline
        })
        .collect();
    let error = watch.record(&opened, &[]).await.expect_err("denied");
    assert_eq!(error.error_type(), "Watch.Denied");
    assert_eq!(watch.errors(), 100);
    let requests = stub.state().requests.len();
    assert!(
        requests < 50,
        "{requests} requests to a table that refuses them"
    );

    stub.set_faults(FaultPlan::none());
    watch.begin("retry");
    assert_eq!(watch.record(&opened, &[]).await, Ok(()));
    assert_eq!(watch.list().await.expect("a list").deadlines.len(), 100);
    assert_eq!(watch.errors(), 0);
    let until = clock.now() + SignedDuration::from_mins(5);
    assert_eq!(watch.lock(until).await, Ok(true));
    let mut other = Watch::new(&sdk(&stub.endpoint), Some("watch"), &timing, clock);
    other.begin("other");
    assert_eq!(other.lock(until).await, Ok(false));
    watch.unlock().await.expect("unlocked");
    assert_eq!(other.lock(until).await, Ok(true));
}

#[tokio::test]
async fn without_a_table_nothing_is_written_and_nothing_is_open() {
    let watch = Watch::new(
        &sdk("http://127.0.0.1:1"),
        None,
        &Timing::default(),
        Clock::default(),
    );
    let (opened, closed) = (deletion("a", 0), restore("a", 1));
    assert!(!watch.is_on());
    assert_eq!(watch.record(&[opened], &[closed]).await, Ok(()));
    assert_eq!(watch.list().await, Ok(Listed::default()));
    assert_eq!(watch.lock(now()).await, Ok(false));
    assert_eq!(watch.unlock().await, Ok(()));
}
