//! `cloudhsm-alerts deadlines` over HTTP: lists what the watch table has, and ends the reminders about a deadline.

use std::process::{Command, Output};

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts::{clock::Clock, watch::WatchTable};
use cloudhsm_alerts_core::{
    deadline::{Closing, Deadline, DeadlineKey},
    rules::response::minutes,
};
use cloudhsm_alerts_test_support::{fixtures::REGION, moto::Moto, process::decode_output};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const RULE: &str = "d11ee267-6b43-42f3-8655-72ad90d1e71d";
/// Moto's caller.
const CALLER: &str = "arn:aws:sts::123456789012:user/moto";

fn deletion(backup: &str, account: &str, opened: Timestamp) -> Deadline {
    Deadline {
        key: DeadlineKey {
            rule: RULE.into(),
            account: account.into(),
            region: REGION.into(),
            resource: backup.into(),
        },
        rule_name: "hsm-backup-deleted".into(),
        opened,
        due: opened + SignedDuration::from_hours(7 * 24),
        event_id: format!("delete-{backup}"),
        event_name: "DeleteBackup".into(),
        actor: "alice".into(),
        subject: format!("Backup {backup}"),
        cluster: Some("cluster-a".into()),
        undone: "restored".into(),
        command: format!("aws cloudhsmv2 restore-backup --region {REGION} --backup-id {backup}"),
    }
}

fn run(endpoint: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_cloudhsm-alerts"))
        .arg("deadlines")
        .args(arguments)
        .args(["--table", "watch"])
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", endpoint)
        .output()
        .expect("the program runs");
    decode_output(&output)
}

#[test]
fn open_deadlines_are_listed_and_closed_with_a_reason() {
    let aws = Moto::start();
    aws.watch_table("watch");
    let now = Clock::default().now();
    let hours = |hours| now + SignedDuration::from_hours(hours);
    // A day and half an hour are left, which stays so while the test runs.
    let first = hours(-6 * 24) + SignedDuration::from_mins(30);
    let deletions = [
        deletion("backup-a", "111122223333", first),
        deletion("backup-b", "111122223333", hours(-2)),
        deletion("backup-b", "444455556666", hours(-1)),
        deletion("backup-c", "111122223333", hours(-48)),
        deletion("backup-over", "111122223333", hours(-8 * 24)),
    ];
    let restored = Closing {
        key: deletions[3].key.clone(),
        time: hours(-47),
        event_id: "restore-c".into(),
        event_name: "RestoreBackup".into(),
        actor: "bob".into(),
    };
    let table = WatchTable::new(aws.dynamodb(), "watch".into());
    aws.block_on(async {
        for deletion in &deletions {
            table.open(deletion, now).await.expect("written");
        }
        table.close(&restored, now).await.expect("written");
    });
    let endpoint = &aws.endpoint;

    let (code, list, errors) = run(endpoint, &["list"]);
    let text = |deletion: &Deadline, left: &str| {
        format!(
            "{}  {}, open, {left} left\n    DeleteBackup by alice on {}, account {}, us-west-2, cluster cluster-a\n    {}\n    ID {}\n",
            minutes(deletion.due),
            deletion.subject,
            minutes(deletion.opened),
            deletion.key.account,
            deletion.command,
            deletion.key.text()
        )
    };
    let expected = text(&deletions[0], "1 day 1 hour")
        + &text(&deletions[1], "6 days 22 hours")
        + &text(&deletions[2], "6 days 23 hours");
    assert_eq!(
        (code, list.as_str(), errors.as_str()),
        (Some(0), expected.as_str(), "")
    );

    let close = |id: &str, reason: &str| run(endpoint, &["close", id, "--reason", reason]);
    let (code, printed, errors) = close("backup-a", "planned, change 42");
    let closed = format!(
        "No more reminders about Backup backup-a: closed by {CALLER}. Nothing was undone.\n"
    );
    assert_eq!((code, printed, errors.as_str()), (Some(0), closed, ""));
    let both = [&deletions[1], &deletions[2]].map(|deletion| deletion.key.text());
    for (id, reason, error) in [
        ("backup-a", "again", "no open deadline has the ID or resource \"backup-a\"; `cloudhsm-alerts deadlines list` shows those that are open".to_owned()),
        ("backup-c", "restored", "no open deadline has the ID or resource \"backup-c\"; `cloudhsm-alerts deadlines list` shows those that are open".to_owned()),
        ("backup-b", "two", format!("2 open deadlines have the resource \"backup-b\"; give the whole ID of one: {}", both.join(", "))),
        ("backup-b", " ", "--reason: expected why nothing is to be undone, found an empty text".to_owned()),
    ] {
        let expected = (Some(1), String::new(), format!("cloudhsm-alerts: {error}\n"));
        assert_eq!(close(id, reason), expected);
    }
    assert_eq!(close(&both[1], "planned").0, Some(0));

    let (code, all, _) = run(endpoint, &["list", "--all", "--format", "json"]);
    assert_eq!(code, Some(0));
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let found: Vec<Value> = all["deadlines"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|deadline| {
            json!([
                deadline["resource"],
                deadline["is_open"],
                deadline["closed_by"]["call"],
                deadline["dismissed"]["by"],
                deadline["dismissed"]["reason"],
            ])
        })
        .collect();
    assert_eq!(
        Value::from(found),
        json!([
            ["backup-over", true, null, null, null],
            ["backup-a", false, null, CALLER, "planned, change 42"],
            ["backup-c", false, "RestoreBackup by bob", null, null],
            ["backup-b", true, null, null, null],
            ["backup-b", false, null, CALLER, "planned"],
        ])
    );

    // An item of a later version is left alone, and is an error.
    let item = [("kind", "deadline"), ("id", "from/the/future")]
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
    aws.put_item("watch", item.into());
    let (code, _, errors) = run(endpoint, &["list"]);
    assert_eq!(
        (code, errors.as_str()),
        (
            Some(1),
            "1 items of the table cannot be read by this version; they were left as they are\n"
        )
    );
    assert!(aws.items("watch").contains_key("from/the/future"));
}

#[test]
fn a_missing_table_and_missing_arguments_are_named() {
    let aws = Moto::start();
    let (code, printed, errors) = run(&aws.endpoint, &["list"]);
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(errors.contains("there is no such table"), "{errors}");
    let (code, _, errors) = run(&aws.endpoint, &["close", "backup-a"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("--reason <REASON>"), "{errors}");
}
