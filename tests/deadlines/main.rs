//! Deadlines and reminders, through the whole function: log files with deletions and restores arrive in any order, late
//! and twice, and ticks are missed, doubled and killed. Each open deadline must be reminded of once at each step, or once
//! more for each fault.

mod schedule;
#[path = "../world/mod.rs"]
mod world;

use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_test_support::{
    fixtures::call,
    published::Published,
    stub::{ErrorKind, Fault, FaultPlan, Operation},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use schedule::entries;
use world::{RULE_ARN, World, at, scheduled};

/// A call at a time, on a backup of the cluster.
fn on_backup(event_name: &str, event_id: &str, backup: usize, time: Timestamp) -> Value {
    let mut call = call(event_name, event_id);
    let id = format!("backup-{backup}");
    call["eventTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    call["requestParameters"] = json!({"backupId": id});
    call["responseElements"] = json!({"backup": {"backupId": id, "clusterId": "cluster-a"}});
    call
}

impl World {
    /// At the beginning.
    async fn start(instances: usize) -> World {
        let mut world = World::empty().await;
        world.timing.settle = std::time::Duration::from_secs(5);
        world.instances = instances;
        world.advance_to(at(0));
        world.restart().await;
        world
    }

    /// Reads a log file with these records.
    async fn read(&self, name: &str, records: &[Value]) {
        let notification = self.file(name, records);
        self.invoke(&notification).await.expect("no failure");
    }

    fn reminders(&self) -> Vec<Published> {
        let state = self.stub.state();
        let reminders = state.messages.iter().filter(|it| it.is_reminder());
        reminders.cloned().collect()
    }

    fn subjects(&self) -> Vec<String> {
        self.reminders()
            .into_iter()
            .map(|message| message.subject)
            .collect()
    }

    /// The pages about deadlines.
    fn pages(&self) -> Vec<String> {
        let state = self.stub.state();
        let is_reminder =
            |page: &&&str| page.starts_with("REMINDER") || page.starts_with("TOO LATE");
        state
            .pages()
            .iter()
            .filter(is_reminder)
            .map(|page| (*page).to_owned())
            .collect()
    }

    /// The e-mail about the call with this event ID.
    fn email_about(&self, event_id: &str) -> String {
        let state = self.stub.state();
        let message = state
            .messages
            .iter()
            .find(|message| message.event_ids().iter().any(|id| id == event_id))
            .unwrap_or_else(|| panic!("no alert about {event_id}"));
        message.text("email").to_owned()
    }
}

#[tokio::test]
async fn a_deletion_is_reminded_of_until_the_backup_is_restored() {
    let world = World::start(1).await;
    let deleted = on_backup("DeleteBackup", "delete-1", 1, at(0));
    let other = on_backup("DeleteBackup", "delete-2", 2, at(12));
    world.read("deleted", &[deleted, other]).await;
    assert!(
        world.email_about("delete-1").contains(
            "Reminders follow 3 days, 1 day and 4 hours before the deadline, until the call that undoes this is seen."
        )
    );
    let mut seen = Vec::new();
    for hour in 0..24 * 9 {
        world.advance_to(at(hour) + SignedDuration::from_mins(30));
        if hour == 24 * 6 + 3 {
            let restored = on_backup("RestoreBackup", "restore-1", 1, world.clock.now());
            world.read("restored", &[restored]).await;
        }
        let before = world.subjects().len();
        world.tick().await;
        for subject in &world.subjects()[before..] {
            seen.push(format!("hour {hour}: {subject}"));
        }
    }
    assert_eq!(
        seen,
        [
            "hour 96: REMINDER, 3 days left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "hour 108: REMINDER, 3 days left: Backup backup-2 can be restored until 2027-03-08 12:00 UTC",
            "hour 144: REMINDER, 1 day left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "hour 156: REMINDER, 1 day left: Backup backup-2 can be restored until 2027-03-08 12:00 UTC",
            "hour 176: REMINDER, 4 hours left: Backup backup-2 can be restored until 2027-03-08 12:00 UTC",
            "hour 180: DEADLINE PASSED: Backup backup-2 cannot be restored any more",
        ]
    );
    assert_eq!(
        world.pages(),
        [
            "REMINDER 1 day left: Backup backup-1 can be restored until 8 Mar 00:00Z, 111122223333 us-west-2",
            "REMINDER 1 day left: Backup backup-2 can be restored until 8 Mar 12:00Z, 111122223333 us-west-2",
            "REMINDER 4 hours left: Backup backup-2 can be restored until 8 Mar 12:00Z, 111122223333 us-west-2",
            "TOO LATE: Backup backup-2 could be restored until 8 Mar 12:00Z, 111122223333 us-west-2",
        ]
    );
    let email = world.email_about("restore-1");
    assert!(
        email.contains(
            "It undoes DeleteBackup by alice on 2027-03-01 00:00 UTC, 21 hours before the deadline. \
             Still open for this cluster: Backup backup-2 until 2027-03-08 12:00 UTC."
        ),
        "{email}"
    );
}

#[tokio::test]
async fn without_a_watch_table_nothing_is_promised_and_nothing_is_requested() {
    let mut world = World::start(1).await;
    world.variables.remove("WATCH_TABLE");
    world.restart().await;
    let deleted = on_backup("DeleteBackup", "delete-1", 1, at(0));
    world.read("deleted", &[deleted]).await;
    assert!(!world.email_about("delete-1").contains("Reminders follow"));
    let before = world.stub.state().requests.len();
    world.tick().await;
    assert_eq!(world.stub.state().requests.len(), before);
}

#[tokio::test]
async fn failed_denied_and_late_calls_and_a_wrong_clock() {
    let mut world = World::start(1).await;
    let mut failed = on_backup("RestoreBackup", "failed", 1, at(2));
    failed["errorCode"] = "CloudHsmInternalFailureException".into();
    let mut denied = on_backup("DeleteBackup", "denied", 3, at(2));
    denied["errorCode"] = "AccessDenied".into();
    let calls = [
        on_backup("DeleteBackup", "open", 1, at(0)),
        failed,
        denied,
        // Over before it is read: no reminder.
        on_backup("DeleteBackup", "over", 4, at(-8 * 24)),
    ];
    world.read("calls", &calls).await;
    world.advance_to(at(24));
    // Its clock is a day ahead, then wrong by a month: nothing is closed by it.
    let wrong = world.clock.clone();
    world.clock = Clock::default();
    world.advance_to(at(6 * 24 + 12));
    world.restart().await;
    world.tick().await;
    world.clock = Clock::default();
    world.advance_to(at(7 * 24 + 1));
    world.restart().await;
    world.tick().await;
    world.clock = wrong;
    world.restart().await;
    world.advance_to(at(4 * 24 + 1));
    world.tick().await;
    world.advance_to(at(6 * 24 + 21));
    world.tick().await;
    assert_eq!(
        world.subjects(),
        [
            "REMINDER, 12 hours left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "DEADLINE PASSED: Backup backup-1 cannot be restored any more",
            "REMINDER, 2 days 23 hours left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "REMINDER, 3 hours left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
        ]
    );
}

#[tokio::test]
async fn only_the_event_of_the_stacks_own_rule_is_a_tick() {
    let world = World::start(1).await;
    let other = "arn:aws:events:us-west-2:111122223333:rule/another";
    let in_message = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs",
        "body": scheduled(RULE_ARN).to_string()}]});
    let in_topic = json!({"Records": [{"EventSource": "aws:sns",
        "Sns": {"Message": scheduled(RULE_ARN).to_string()}}]});
    let mut two_rules = scheduled(RULE_ARN);
    two_rules["resources"] = json!([RULE_ARN, other]);
    for payload in [scheduled(other), two_rules, in_topic] {
        assert!(world.invoke(&payload).await.is_err(), "{payload}");
    }
    let reply = world.invoke(&in_message).await.expect("a reply");
    let failures = json!([{"itemIdentifier": "m"}]);
    assert_eq!(reply["batchItemFailures"], failures);
    assert_eq!(world.stub.state().requests, []);
}

/// The alert goes out, the invocation fails, and the retry writes the deadline without a second alert.
#[tokio::test]
async fn a_failing_watch_table_stops_no_alert_and_a_retry_writes_the_deadline() {
    let world = World::start(1).await;
    let deleted = on_backup("DeleteBackup", "delete-1", 1, at(0));
    let notification = world.file("deleted", &[deleted]);
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Throttled,
        ErrorKind::Denied,
    ] {
        let faults = FaultPlan::always(Operation::OpenDeadline, Fault::Before(kind));
        world.stub.set_faults(faults);
        assert!(world.invoke(&notification).await.is_err());
        assert_eq!(world.stub.state().alerts_by_event_id()["delete-1"], 1);
    }
    world.stub.set_faults(FaultPlan::none());
    world.invoke(&notification).await.expect("no failure");
    world.advance_to(at(4 * 24 + 1));
    world.tick().await;
    assert_eq!(world.subjects().len(), 1);
    assert_eq!(world.stub.state().alerts_by_event_id()["delete-1"], 1);
}

#[tokio::test]
async fn a_thousand_deadlines_at_once_are_reminded_of_once() {
    let world = World::start(1).await;
    let calls: Vec<Value> = (0..1000)
        .map(|n| on_backup("DeleteBackup", &format!("delete-{n}"), n, at(0)))
        .collect();
    world.read("deleted", &calls).await;
    for _ in 0..2 {
        world.advance_to(at(6 * 24 + 1));
        world.tick().await;
    }
    let mut reminded: Vec<String> = world
        .reminders()
        .iter()
        .flat_map(entries)
        .map(|entry| entry.resource)
        .collect();
    reminded.sort();
    let mut expected: Vec<String> = (0..1000).map(|n| format!("backup-{n}")).collect();
    expected.sort();
    assert_eq!(reminded, expected);
    let messages = world.reminders().len();
    assert!(messages <= 10, "{messages} messages");
    assert_eq!(world.pages().len(), messages);
}
