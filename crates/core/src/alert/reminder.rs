//! Reminders: messages about deadlines that end soon, or have ended, while no call was seen that undoes what was done.
//!
//! When a deadline is due for a reminder is up to the function. All reminders that are due together share a message,
//! as far as its size permits.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    accounts::Accounts,
    attributes,
    email::MAX_SUBJECT,
    message::{Attribute, MAX_BYTES, Message, Parts},
    ocsf,
    operator::Notice,
    sms::{MAX_SMS, gsm7},
};
use crate::{
    deadline::Deadline,
    defang::defanged,
    rules::response::minutes,
    severity::Severity,
    text::{ascii, is_shell_safe, one_line},
};

/// Most other open deadlines that are listed.
const MAX_OTHERS: usize = 50;
/// Most of them that the alert about a call that closes one lists.
const MAX_ANSWERED: usize = 5;
/// The attribute `event_name` of every reminder.
pub const EVENT_NAME: &str = "DeadlineReminder";

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The deadlines end soon.
    EndsSoon,
    /// The deadlines have ended.
    Passed,
}

/// What a reminder is made of.
#[derive(Clone, Copy, Debug)]
pub struct Reminder<'a> {
    /// What it is about.
    pub stage: Stage,
    /// The deadlines that it is about, the next to end first.
    pub due: &'a [&'a Deadline],
    /// All open deadlines; those of the same clusters are listed.
    pub open: &'a [&'a Deadline],
    /// The time of the reminder.
    pub now: Timestamp,
    /// How severe it is.
    pub severity: Severity,
    /// The names of accounts.
    pub accounts: &'a Accounts,
    /// The watch table, for commands.
    pub table: &'a str,
}

/// What an alert about a call that opens a deadline promises: the reminders that are still ahead. `steps`: hours before
/// the end, most first; `time_left`: until the end.
pub fn promise(steps: &[u16], time_left: SignedDuration) -> Option<String> {
    let mut times: Vec<String> = steps
        .iter()
        .map(|hours| SignedDuration::from_hours(i64::from(*hours)))
        .filter(|step| *step < time_left)
        .map(left)
        .collect();
    if times.is_empty() {
        return None;
    }
    let last = times.pop().unwrap_or_default();
    let times = match times.is_empty() {
        true => last,
        false => format!("{} and {last}", times.join(", ")),
    };
    Some(format!(
        "Reminders follow {times} before the deadline, until the call that undoes this is seen."
    ))
}

/// What an alert about a call that closes a deadline adds: which call it undoes, how much time was left, and what is
/// still open. `open`: all other open deadlines, the next to end first.
pub fn answer(opened: &Deadline, closed: Timestamp, open: &[&Deadline]) -> String {
    let left_then = opened.due.duration_since(closed);
    let when = if left_then > SignedDuration::ZERO {
        format!("{} before the deadline", left(left_then))
    } else {
        format!("after the deadline, {}", minutes(opened.due))
    };
    let others = others(&[opened], open);
    let still_open = match (others.as_slice(), &opened.cluster) {
        ([], None) => String::new(),
        ([], Some(_)) => " No other deadline of this cluster is open.".to_owned(),
        (others, _) => {
            let mut listed: Vec<String> = others
                .iter()
                .take(MAX_ANSWERED)
                .map(|other| {
                    let subject = defanged(&other.subject, 128);
                    format!("{subject} until {}", minutes(other.due))
                })
                .collect();
            if others.len() > MAX_ANSWERED {
                listed.push(format!("and {} more", others.len() - MAX_ANSWERED));
            }
            format!(" Still open for this cluster: {}.", listed.join("; "))
        }
    };
    format!("It undoes {}, {when}.{still_open}", cause(opened))
}

/// The messages of a reminder in order, each with its page and the number of deadlines that it is about. There is more
/// than one if they do not fit together.
pub fn messages(reminder: &Reminder<'_>) -> Vec<(Notice, usize)> {
    let mut messages = Vec::new();
    let mut rest = reminder.due;
    while !rest.is_empty() {
        let mut count = rest.len();
        loop {
            let part = Reminder {
                due: &rest[..count],
                ..*reminder
            };
            match message(&part) {
                // A single one is bounded where its values are.
                Some(notice) if count == 1 || notice.message.bytes() <= MAX_BYTES => {
                    messages.push((notice, count));
                    break;
                }
                Some(_) => count = count.div_ceil(2),
                None => break,
            }
        }
        rest = &rest[count..];
    }
    messages
}

fn message(reminder: &Reminder<'_>) -> Option<Notice> {
    let Reminder {
        stage,
        due,
        open,
        now,
        severity,
        accounts,
        ..
    } = *reminder;
    let first = due.first()?;
    let left = left(first.due.duration_since(now));
    let subject = match (stage, due.len()) {
        (Stage::EndsSoon, 1) => fitted(
            &format!("REMINDER, {left} left: "),
            &first.subject,
            &format!(" can be {} until {}", undone(first), minutes(first.due)),
        ),
        (Stage::EndsSoon, count) => ascii(
            &format!(
                "REMINDER, {left} left: {count} deadlines, the first ends on {}",
                minutes(first.due)
            ),
            MAX_SUBJECT,
        ),
        (Stage::Passed, 1) => fitted(
            "DEADLINE PASSED: ",
            &first.subject,
            &format!(" cannot be {} any more", undone(first)),
        ),
        (Stage::Passed, count) => ascii(
            &format!("DEADLINE PASSED: {count} calls were not undone"),
            MAX_SUBJECT,
        ),
    };
    let others = others(due, open);
    let mut finding = ocsf::base_finding(
        severity,
        now.as_millisecond(),
        &format!("deadline-{}", first.key.text()),
        &subject,
        &sentence(stage, first),
    );
    finding["cloud"] = json!({ "provider": "AWS" });
    finding["unmapped"] = json!({
        "deadlines": due.iter().map(|deadline| as_json(deadline)).collect::<Vec<_>>(),
    });
    let parts = Parts {
        email: Some(email(reminder, &others)),
        attributes: attributes(due, severity),
        subject,
        finding,
    };
    Some(Notice {
        message: Message::compose(parts, None),
        page: Message::page(page(stage, due, &left, accounts)),
    })
}

/// `1 day`, `2 days 5 hours`, `4 hours`, `20 minutes`. Whole hours are rounded up; the exact end is always beside it.
pub fn left(left: SignedDuration) -> String {
    let plural = |count: i64, unit: &str| match count {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    };
    let minutes = (left.as_secs().max(0) + 59) / 60;
    if minutes < 60 {
        return plural(minutes, "minute");
    }
    let hours = (minutes + 59) / 60;
    match (hours / 24, hours % 24) {
        (0, hours) => plural(hours, "hour"),
        (days, 0) => plural(days, "day"),
        (days, hours) => format!("{} {}", plural(days, "day"), plural(hours, "hour")),
    }
}

/// A subject whose middle part is cut to the length that is left.
fn fitted(head: &str, middle: &str, tail: &str) -> String {
    let tail = ascii(tail, 60);
    let limit = MAX_SUBJECT.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", ascii(&defanged(middle, 256), limit))
}

fn undone(deadline: &Deadline) -> String {
    one_line(&deadline.undone, 24)
}

/// The other open deadlines of the clusters that `due` are about, the next to end first.
fn others<'a>(due: &[&Deadline], open: &[&'a Deadline]) -> Vec<&'a Deadline> {
    let is_related = |other: &&&Deadline| {
        due.iter().all(|deadline| deadline.key != other.key)
            && due.iter().any(|deadline| {
                deadline.cluster.is_some()
                    && deadline.cluster == other.cluster
                    && deadline.key.region == other.key.region
            })
    };
    let mut others: Vec<&Deadline> = open.iter().filter(is_related).copied().collect();
    others.sort_by_key(|other| other.due);
    others
}

fn account_label(deadline: &Deadline, accounts: &Accounts) -> String {
    let id = one_line(&deadline.key.account, 64);
    match accounts.name(&deadline.key.account) {
        Some(name) => format!("{} ({id})", one_line(name, 64)),
        None => id,
    }
}

/// `Backup backup-zxc7vbn2mas of cluster cluster-lk3jhgf4dsa`.
fn what(deadline: &Deadline) -> String {
    let subject = defanged(&deadline.subject, 256);
    match &deadline.cluster {
        Some(cluster) if !deadline.subject.contains(cluster.as_str()) => {
            format!("{subject} of cluster {}", defanged(cluster, 128))
        }
        _ => subject,
    }
}

fn sentence(stage: Stage, deadline: &Deadline) -> String {
    let (what, undone, due) = (what(deadline), undone(deadline), minutes(deadline.due));
    match stage {
        Stage::EndsSoon => format!("{what} can be {undone} until {due}."),
        Stage::Passed => {
            format!("{what} could be {undone} until {due}. It cannot be {undone} any more.")
        }
    }
}

/// `DeleteBackup by alice on 2026-11-23 03:41 UTC`.
fn cause(deadline: &Deadline) -> String {
    format!(
        "{} by {} on {}",
        one_line(&deadline.event_name, 128),
        defanged(&deadline.actor, 256),
        minutes(deadline.opened)
    )
}

fn email(reminder: &Reminder<'_>, others: &[&Deadline]) -> String {
    let Reminder {
        stage,
        due,
        now,
        accounts,
        ..
    } = *reminder;
    let table = if is_shell_safe(reminder.table) {
        reminder.table
    } else {
        "WATCH_TABLE"
    };
    let mut mail = String::new();
    // Writing to a String cannot fail. The same holds below.
    let _ = match (stage, due.len()) {
        (Stage::EndsSoon, 1) => writeln!(mail, "REMINDER: a call can still be undone"),
        (Stage::EndsSoon, count) => writeln!(mail, "REMINDER: {count} calls can still be undone"),
        (Stage::Passed, 1) => writeln!(mail, "The deadline has passed: a call was not undone"),
        (Stage::Passed, count) => {
            writeln!(mail, "{count} deadlines have passed: calls were not undone")
        }
    };
    for deadline in due {
        let ends = deadline.due.duration_since(now);
        let heading = match stage {
            Stage::EndsSoon => format!("{} LEFT", left(ends).to_uppercase()),
            Stage::Passed => "TOO LATE".to_owned(),
        };
        let _ = writeln!(mail, "\n{heading}");
        let mut line = |text: &str| {
            let _ = writeln!(mail, "  {text}");
        };
        line(&sentence(stage, deadline));
        line(&format!("{}.", cause(deadline)));
        line(&format!(
            "Account {}, {}. Event ID {}.",
            account_label(deadline, accounts),
            one_line(&deadline.key.region, 64),
            one_line(&deadline.event_id, 256)
        ));
        if stage == Stage::Passed {
            line("The alert about this call has the commands that show what is left.");
            continue;
        }
        line("Unless it was planned, undo it now, with credentials of that account:");
        line(&format!("    {}", one_line(&deadline.command, 1024)));
        line("If it was planned, end the reminders:");
        line(&format!("    {}", close_command(deadline, table)));
    }
    if !others.is_empty() {
        let _ = writeln!(mail, "\nOTHER OPEN DEADLINES OF THE SAME CLUSTER");
        for other in others.iter().take(MAX_OTHERS) {
            let _ = writeln!(
                mail,
                "  {}  {}, {}",
                minutes(other.due),
                defanged(&other.subject, 256),
                cause(other)
            );
        }
        if others.len() > MAX_OTHERS {
            let _ = writeln!(mail, "  and {} more", others.len() - MAX_OTHERS);
        }
    }
    if stage == Stage::EndsSoon {
        let _ = writeln!(
            mail,
            "\nReminders end when CloudTrail has delivered the call that undoes it, usually within a quarter of an hour.\n\
             To see all open deadlines:\n      cloudhsm-alerts deadlines list --table {table}"
        );
    }
    mail
}

/// The command that ends the reminders about a deadline. Its name is left out if a shell would interpret it.
fn close_command(deadline: &Deadline, table: &str) -> String {
    let id = deadline.key.text();
    let id = if is_shell_safe(&id) { &id } else { "ID" };
    format!("cloudhsm-alerts deadlines close {id} --table {table} --reason 'REASON'")
}

fn page(stage: Stage, due: &[&Deadline], left: &str, accounts: &Accounts) -> String {
    let Some(first) = due.first() else {
        return String::new();
    };
    let subject = gsm7(&defanged(&first.subject, 256), 48);
    let undone = gsm7(&first.undone, 12);
    let time = first.due.strftime("%-d %b %H:%MZ");
    let account = accounts.name(&first.key.account);
    let place = format!(
        "{} {}",
        gsm7(account.unwrap_or(&first.key.account), 16),
        gsm7(&first.key.region, 16)
    );
    let text = match (stage, due.len()) {
        (Stage::EndsSoon, 1) => {
            format!("REMINDER {left} left: {subject} can be {undone} until {time}, {place}")
        }
        (Stage::EndsSoon, count) => format!(
            "REMINDER {left} left: {count} deadlines, first {subject}, {undone} until {time}, {place}"
        ),
        (Stage::Passed, 1) => {
            format!("TOO LATE: {subject} could be {undone} until {time}, {place}")
        }
        (Stage::Passed, count) => {
            format!("TOO LATE: {count} deadlines have ended, first {subject} at {time}, {place}")
        }
    };
    gsm7(&text, MAX_SMS)
}

fn as_json(deadline: &Deadline) -> Value {
    json!({
        "id": deadline.key.text(),
        "resource": deadline.key.resource,
        "account": deadline.key.account,
        "region": deadline.key.region,
        "cluster": deadline.cluster,
        "rule": deadline.rule_name,
        "opened": deadline.opened.to_string(),
        "due": deadline.due.to_string(),
        "event_id": deadline.event_id,
        "event_name": deadline.event_name,
        "actor": deadline.actor,
        "command": deadline.command,
    })
}

fn attributes(due: &[&Deadline], severity: Severity) -> Vec<(&'static str, Attribute)> {
    let joint = |value: fn(&Deadline) -> Option<&str>| {
        let values = due.iter().filter_map(|deadline| value(deadline));
        attributes::joint(values, 256, usize::MAX)
    };
    let one = |text: &str| Some(Attribute::One(text.to_owned()));
    [
        ("severity", one(severity.as_str())),
        ("event_name", one(EVENT_NAME)),
        ("outcome", one("success")),
        ("account", joint(|deadline| Some(&deadline.key.account))),
        ("region", joint(|deadline| Some(&deadline.key.region))),
        ("actor_type", one("cloudhsm-alerts")),
        ("cluster_id", joint(|deadline| deadline.cluster.as_deref())),
        ("rule", joint(|deadline| Some(&deadline.rule_name))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

#[cfg(test)]
mod tests;
