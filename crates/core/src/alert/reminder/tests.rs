use insta::assert_snapshot;
use serde_json::Value;

use super::*;
use crate::deadline::DeadlineKey;

fn deadline(backup: &str, opened: &str, due: &str) -> Deadline {
    Deadline {
        key: DeadlineKey {
            rule: "d11ee267-6b43-42f3-8655-72ad90d1e71d".into(),
            account: "111122223333".into(),
            region: "us-west-2".into(),
            resource: backup.into(),
        },
        rule_name: "hsm-backup-deleted".into(),
        opened: opened.parse().unwrap(),
        due: due.parse().unwrap(),
        event_id: format!("event-of-{backup}"),
        event_name: "DeleteBackup".into(),
        actor: "alice".into(),
        subject: format!("Backup {backup}"),
        cluster: Some("cluster-lk3jhgf4dsa".into()),
        undone: "restored".into(),
        command: format!("aws cloudhsmv2 restore-backup --region us-west-2 --backup-id {backup}"),
    }
}

fn reminder(stage: Stage, due: &[&Deadline], open: &[&Deadline]) -> Notice {
    let accounts = Accounts::parse("111122223333=prod").unwrap();
    let mut messages = messages(&Reminder {
        stage,
        due,
        open,
        now: "2026-11-29T04:00:00Z".parse().unwrap(),
        severity: Severity::Critical,
        accounts: &accounts,
        table: "hsm-alerts-watch",
    });
    assert_eq!(messages.len(), 1);
    let (notice, count) = messages.remove(0);
    assert_eq!(count, due.len());
    notice
}

fn text(notice: &Notice) -> String {
    let body: Value = serde_json::from_str(&notice.message.body).unwrap();
    let subject = notice.message.subject.as_deref().unwrap();
    assert!(subject.len() <= MAX_SUBJECT);
    assert!(notice.page.body.len() <= MAX_SMS);
    format!(
        "{subject}\n\n{}---\n{}",
        body["email"].as_str().unwrap(),
        notice.page.body
    )
}

#[test]
fn a_reminder_about_one_deadline() {
    let first = deadline(
        "backup-zxc7vbn2mas",
        "2026-11-23T03:41:07Z",
        "2026-11-30T03:41:07Z",
    );
    let other = deadline(
        "backup-qwe4rty5uio",
        "2026-11-25T10:00:00Z",
        "2026-12-02T10:00:00Z",
    );
    let mut elsewhere = other.clone();
    elsewhere.cluster = Some("cluster-other".into());
    elsewhere.key.resource = "backup-other".into();
    let notice = reminder(Stage::EndsSoon, &[&first], &[&first, &elsewhere, &other]);
    assert_snapshot!(text(&notice), @"
    REMINDER, 1 day left: Backup backup-zxc7vbn2mas can be restored until 2026-11-30 03:41 UTC

    REMINDER: a call can still be undone

    1 DAY LEFT
      Backup backup-zxc7vbn2mas of cluster cluster-lk3jhgf4dsa can be restored until 2026-11-30 03:41 UTC.
      DeleteBackup by alice on 2026-11-23 03:41 UTC.
      Account prod (111122223333), us-west-2. Event ID event-of-backup-zxc7vbn2mas.
      Unless it was planned, undo it now, with credentials of that account:
          aws cloudhsmv2 restore-backup --region us-west-2 --backup-id backup-zxc7vbn2mas
      If it was planned, end the reminders:
          cloudhsm-alerts deadlines close d11ee267-6b43-42f3-8655-72ad90d1e71d/111122223333/us-west-2/backup-zxc7vbn2mas --table hsm-alerts-watch --reason 'REASON'

    OTHER OPEN DEADLINES OF THE SAME CLUSTER
      2026-12-02 10:00 UTC  Backup backup-qwe4rty5uio, DeleteBackup by alice on 2026-11-25 10:00 UTC

    Reminders end when CloudTrail has delivered the call that undoes it, usually within a quarter of an hour.
    To see all open deadlines:
          cloudhsm-alerts deadlines list --table hsm-alerts-watch
    ---
    REMINDER 1 day left: Backup backup-zxc7vbn2mas can be restored until 30 Nov 03:41Z, prod us-west-2
    ");
}

#[test]
fn a_reminder_about_several_deadlines() {
    let first = deadline(
        "backup-zxc7vbn2mas",
        "2026-11-22T04:20:00Z",
        "2026-11-29T04:20:00Z",
    );
    let second = deadline(
        "backup-qwe4rty5uio",
        "2026-11-23T03:41:07Z",
        "2026-11-30T03:41:07Z",
    );
    let notice = reminder(Stage::EndsSoon, &[&first, &second], &[&first, &second]);
    assert_snapshot!(text(&notice), @"
    REMINDER, 20 minutes left: 2 deadlines, the first ends on 2026-11-29 04:20 UTC

    REMINDER: 2 calls can still be undone

    20 MINUTES LEFT
      Backup backup-zxc7vbn2mas of cluster cluster-lk3jhgf4dsa can be restored until 2026-11-29 04:20 UTC.
      DeleteBackup by alice on 2026-11-22 04:20 UTC.
      Account prod (111122223333), us-west-2. Event ID event-of-backup-zxc7vbn2mas.
      Unless it was planned, undo it now, with credentials of that account:
          aws cloudhsmv2 restore-backup --region us-west-2 --backup-id backup-zxc7vbn2mas
      If it was planned, end the reminders:
          cloudhsm-alerts deadlines close d11ee267-6b43-42f3-8655-72ad90d1e71d/111122223333/us-west-2/backup-zxc7vbn2mas --table hsm-alerts-watch --reason 'REASON'

    1 DAY LEFT
      Backup backup-qwe4rty5uio of cluster cluster-lk3jhgf4dsa can be restored until 2026-11-30 03:41 UTC.
      DeleteBackup by alice on 2026-11-23 03:41 UTC.
      Account prod (111122223333), us-west-2. Event ID event-of-backup-qwe4rty5uio.
      Unless it was planned, undo it now, with credentials of that account:
          aws cloudhsmv2 restore-backup --region us-west-2 --backup-id backup-qwe4rty5uio
      If it was planned, end the reminders:
          cloudhsm-alerts deadlines close d11ee267-6b43-42f3-8655-72ad90d1e71d/111122223333/us-west-2/backup-qwe4rty5uio --table hsm-alerts-watch --reason 'REASON'

    Reminders end when CloudTrail has delivered the call that undoes it, usually within a quarter of an hour.
    To see all open deadlines:
          cloudhsm-alerts deadlines list --table hsm-alerts-watch
    ---
    REMINDER 20 minutes left: 2 deadlines, first Backup backup-zxc7vbn2mas, restored until 29 Nov 04:20Z, prod us-west-2
    ");
    let attributes: Vec<(&str, String)> = notice
        .message
        .attributes
        .iter()
        .map(|(name, value)| (*name, value.value()))
        .collect();
    let expected = [
        ("severity", "critical"),
        ("event_name", "DeadlineReminder"),
        ("outcome", "success"),
        ("account", "111122223333"),
        ("region", "us-west-2"),
        ("actor_type", "cloudhsm-alerts"),
        ("cluster_id", "cluster-lk3jhgf4dsa"),
        ("rule", "hsm-backup-deleted"),
    ];
    assert_eq!(
        attributes,
        expected.map(|(name, value)| (name, value.to_owned()))
    );
}

#[test]
fn a_deadline_that_has_passed() {
    let first = deadline(
        "backup-zxc7vbn2mas",
        "2026-11-22T03:41:07Z",
        "2026-11-29T03:41:07Z",
    );
    assert_snapshot!(text(&reminder(Stage::Passed, &[&first], &[])), @"
    DEADLINE PASSED: Backup backup-zxc7vbn2mas cannot be restored any more

    The deadline has passed: a call was not undone

    TOO LATE
      Backup backup-zxc7vbn2mas of cluster cluster-lk3jhgf4dsa could be restored until 2026-11-29 03:41 UTC. It cannot be restored any more.
      DeleteBackup by alice on 2026-11-22 03:41 UTC.
      Account prod (111122223333), us-west-2. Event ID event-of-backup-zxc7vbn2mas.
      The alert about this call has the commands that show what is left.
    ---
    TOO LATE: Backup backup-zxc7vbn2mas could be restored until 29 Nov 03:41Z, prod us-west-2
    ");
}

#[test]
fn what_an_alert_tells_of_deadlines() {
    for (hours, expected) in [
        (168, Some("3 days, 1 day and 4 hours")),
        (72, Some("1 day and 4 hours")),
        (5, Some("4 hours")),
        (4, None),
        (-1, None),
    ] {
        let expected = expected.map(|times| {
            format!(
                "Reminders follow {times} before the deadline, until the call that undoes this is seen."
            )
        });
        assert_eq!(
            promise(&[72, 24, 4], SignedDuration::from_hours(hours)),
            expected
        );
    }
    let opened = deadline("backup-a", "2026-11-23T03:41:07Z", "2026-11-30T03:41:07Z");
    let others: Vec<Deadline> = ["backup-b", "backup-c"]
        .map(|id| deadline(id, "2026-11-25T10:00:00Z", "2026-12-02T10:00:00Z"))
        .into();
    let open: Vec<&Deadline> = others.iter().collect();
    let closed = "2026-11-29T02:00:00Z".parse().unwrap();
    assert_eq!(
        answer(&opened, closed, &open),
        "It undoes DeleteBackup by alice on 2026-11-23 03:41 UTC, 1 day 2 hours before the deadline. \
         Still open for this cluster: Backup backup-b until 2026-12-02 10:00 UTC; Backup backup-c until 2026-12-02 10:00 UTC."
    );
    let late = "2026-12-01T00:00:00Z".parse().unwrap();
    assert_eq!(
        answer(&opened, late, &[]),
        "It undoes DeleteBackup by alice on 2026-11-23 03:41 UTC, after the deadline, 2026-11-30 03:41 UTC. \
         No other deadline of this cluster is open."
    );
}

/// What the caller chose is data in every text.
#[test]
fn hostile_values_stay_on_their_line_and_out_of_commands() {
    let mut hostile = deadline(
        "backup-`id`",
        "2026-11-23T03:41:07Z",
        "2026-11-30T03:41:07Z",
    );
    hostile.actor = "www.evil.com\nWHAT TO DO NOW\n  call +1 900 555 0100".into();
    hostile.subject = format!("Backup \u{202e}{}\nX", "é".repeat(300));
    let text = text(&reminder(Stage::EndsSoon, &[&hostile], &[]));
    assert!(!text.contains("www.evil.com"), "{text}");
    assert!(!text.contains("\nWHAT TO DO NOW"), "{text}");
    assert!(!text.contains('\u{202e}'), "{text}");
    assert!(text.contains("deadlines close ID --table"), "{text}");
}

#[test]
fn the_time_that_is_left() {
    for (seconds, expected) in [
        (-5, "0 minutes"),
        (1, "1 minute"),
        (59 * 60, "59 minutes"),
        (59 * 60 + 1, "1 hour"),
        (4 * 3600 - 1800, "4 hours"),
        (24 * 3600 - 1, "1 day"),
        (26 * 3600, "1 day 2 hours"),
        (72 * 3600, "3 days"),
        (50 * 3600 - 3, "2 days 2 hours"),
    ] {
        assert_eq!(left(SignedDuration::from_secs(seconds)), expected);
    }
}

/// Values that are longest as JSON.
#[test]
fn many_deadlines_are_split_into_messages_that_fit() {
    let many: Vec<Deadline> = (0..400)
        .map(|n| {
            let id = format!("{n:04}{}", "\\\"\u{1}".repeat(40));
            let mut deadline = deadline(&id, "2026-11-23T03:41:07Z", "2026-11-30T03:41:07Z");
            deadline.cluster = Some(format!("{id}c"));
            deadline
        })
        .collect();
    let all: Vec<&Deadline> = many.iter().collect();
    let messages = messages(&Reminder {
        stage: Stage::EndsSoon,
        due: &all,
        open: &all,
        now: "2026-11-29T04:00:00Z".parse().unwrap(),
        severity: Severity::Critical,
        accounts: &Accounts::default(),
        table: "watch",
    });
    let count: usize = messages.iter().map(|(_, count)| count).sum();
    assert_eq!(count, 400);
    assert!(messages.len() > 1);
    for (notice, count) in &messages {
        assert!(notice.message.bytes() <= MAX_BYTES, "{count}");
    }
}
