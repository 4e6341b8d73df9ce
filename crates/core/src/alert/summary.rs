//! A summary: several calls in one message, where there are more of them than messages of their own may be sent.
//! SNS suspends an e-mail subscription that gets more than ten messages a second; a storm of alerts must not
//! end the alerting.
//!
//! Here are the texts of a summary and the decision which calls share one. A summary names every call by its event
//! ID, with the first command of its response, and has once for each caller how to stop it. Calls are ordered by
//! severity, outcome, rule and actor, so that similar calls stand together.

use std::{cmp::Reverse, fmt::Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    contents::{Alert, capitalized},
    email, ocsf, sms,
};
use crate::{
    record::Outcome,
    severity::Severity,
    text::{ascii, one_line},
};

/// Longest line of a response, in characters. A command that is cut is of no use.
const MAX_LINE: usize = 600;
/// Most alerts in one summary: a person reads it.
const MAX_CALLS: usize = 100;
/// Most callers for which a summary has the steps that stop them: a person stops a few by hand, and many are stopped
/// elsewhere.
const MAX_STOPPED: usize = 5;

/// Distributes alerts over summaries of at most a hundred, the most severe first, and of equals those whose call
/// succeeded, so that refused calls do not bury one that worked. A group of one alert needs no summary. Whether a summary
/// fits into a message is known when it is composed.
pub fn split(mut alerts: Vec<Alert>) -> Vec<Vec<Alert>> {
    alerts.sort_by(|a, b| order(a).cmp(&order(b)));
    let mut groups: Vec<Vec<Alert>> = Vec::new();
    for alert in alerts {
        match groups.last_mut() {
            Some(group) if group.len() < MAX_CALLS => group.push(alert),
            _ => groups.push(vec![alert]),
        }
    }
    groups
}

type Order<'a> = (
    Reverse<Severity>,
    Outcome,
    &'a str,
    &'a str,
    Option<Timestamp>,
);

fn order(alert: &Alert) -> Order<'_> {
    (
        Reverse(alert.severity),
        alert.outcome,
        alert.title(),
        &alert.actor.short,
        alert.time,
    )
}

/// Calls of one kind stand under one heading.
fn kind(alert: &Alert) -> (Outcome, &str) {
    (alert.outcome, alert.title())
}

/// The subject: how many calls of which event name and outcome, those that succeeded first.
pub(super) fn subject(alerts: &[Alert]) -> String {
    let Some(first) = alerts.first() else {
        return String::new();
    };
    let head = format!(
        "{}: {} calls: ",
        first.severity.as_str().to_uppercase(),
        count(alerts)
    );
    let kinds = kinds(alerts, email::MAX_SUBJECT - head.len());
    ascii(&format!("{head}{kinds}"), email::MAX_SUBJECT)
}

fn count<'a>(alerts: impl IntoIterator<Item = &'a Alert>) -> usize {
    alerts.into_iter().map(Alert::count).sum()
}

/// `1 DeleteBackup SUCCEEDED, 257 DeleteBackup DENIED`, those that succeeded first, as many as fit into `limit`
/// characters of ASCII; then how many kinds are left.
fn kinds<'a>(alerts: impl IntoIterator<Item = &'a Alert>, limit: usize) -> String {
    let mut kinds: Vec<(Outcome, &str, usize)> = Vec::new();
    for alert in alerts {
        let known = kinds
            .iter_mut()
            .find(|(outcome, name, _)| (*outcome, *name) == (alert.outcome, &alert.event_name));
        match known {
            Some((_, _, count)) => *count += alert.count(),
            None => kinds.push((alert.outcome, &alert.event_name, alert.count())),
        }
    }
    kinds.sort_by_key(|(outcome, ..)| *outcome);
    let mut text = String::new();
    for (place, (outcome, name, count)) in kinds.iter().enumerate() {
        let kind = format!("{count} {} {}", ascii(name, 40), outcome.label());
        let comma = if place > 0 { ", " } else { "" };
        let left = kinds.len() - place;
        let more = |left: usize| format!(", +{left} more");
        let reserved = if left > 1 { more(left - 1).len() } else { 0 };
        if place > 0 && text.len() + comma.len() + kind.len() + reserved > limit {
            text.push_str(&more(left));
            break;
        }
        text.push_str(comma);
        text.push_str(&kind);
    }
    text
}

pub(super) fn email_text(alerts: &[Alert]) -> String {
    let mut mail = format!(
        "{}: too many for a message each.\n\
         The most severe come first. Each has its event ID, by which CloudTrail's event history finds it,\n\
         and the first command of what to do.\n",
        tally(alerts)
    );
    let mut last: Option<&Alert> = None;
    for alert in alerts {
        if last.is_none_or(|last| kind(last) != kind(alert)) {
            mail.push_str(&heading(alert));
        }
        mail.push_str(&call(alert));
        // A command that is the same for consecutive calls is printed once.
        let command = alert.first_command();
        if last.is_none_or(|last| last.first_command() != command) {
            mail.push_str(&command.map_or_else(String::new, command_line));
        }
        last = Some(alert);
    }
    mail.push_str(&stop_callers(alerts));
    mail
}

/// How to stop the callers, once for each, the first [`MAX_STOPPED`] of them.
fn stop_callers(alerts: &[Alert]) -> String {
    let mut callers: Vec<(&str, &str)> = Vec::new();
    for alert in alerts {
        if let Some(text) = alert.advice().stop_caller.as_deref()
            && !callers.iter().any(|(_, known)| *known == text)
        {
            callers.push((&alert.actor.description, text));
        }
    }
    if callers.is_empty() {
        return String::new();
    }
    let mut mail = "\nSTOP THE CALLERS\n".to_owned();
    for (description, text) in callers.iter().take(MAX_STOPPED) {
        let _ = writeln!(mail, "  {}:", capitalized(description));
        for line in text.lines() {
            let _ = writeln!(mail, "    {line}");
        }
    }
    if callers.len() > MAX_STOPPED {
        let _ = writeln!(
            mail,
            "  and {} more. Each is in the JSON of this message, as the actor of its call.",
            callers.len() - MAX_STOPPED
        );
    }
    mail
}

/// `25 calls, 1 SUCCEEDED, 24 DENIED`: whether any call succeeded decides how urgent the message is.
fn tally(alerts: &[Alert]) -> String {
    let mut text = format!("{} calls", count(alerts));
    for outcome in [Outcome::Success, Outcome::Denied, Outcome::Failed] {
        let count: usize = alerts
            .iter()
            .filter(|alert| alert.outcome == outcome)
            .map(Alert::count)
            .sum();
        if count > 0 {
            // Writing into a String cannot fail; likewise below.
            let _ = write!(text, ", {count} {}", outcome.label());
        }
    }
    text
}

/// What calls of one kind have in common: the title and the response, rendered for the first of them.
fn heading(alert: &Alert) -> String {
    let mut text = format!(
        "\n{}: {}\n  What to do, for the first of them; for the others likewise:\n",
        alert.severity.as_str().to_uppercase(),
        alert.headline()
    );
    for line in alert.advice().response.lines().take(20) {
        let _ = writeln!(text, "    {}", one_line_indented(line));
    }
    text.push('\n');
    text
}

/// A line of a rule's text with its indent, which distinguishes commands from prose.
fn one_line_indented(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    format!("{:indent$}{}", "", ocsf::clip(line.trim(), MAX_LINE))
}

/// One call.
fn call(alert: &Alert) -> String {
    let resource = alert
        .main_resource()
        .map_or_else(String::new, |resource| format!(" on {}", resource.label()));
    let notes: String = [alert.omission(), alert.sharing.summary()]
        .into_iter()
        .flatten()
        .map(|note| format!("; {note}"))
        .collect();
    let more = match alert.repeats.calls.len() {
        0 => String::new(),
        more => format!(" and {more} more, which are in the JSON"),
    };
    format!(
        "  {} by {}: {}{resource} {}{} in {}, {}, event ID {}{more}{notes}\n",
        alert.time_label(),
        alert.actor.short,
        one_line(&alert.event_name, 64),
        alert.outcome.verb(),
        alert.times(),
        alert.account_label(),
        alert.region_label(),
        one_line(&alert.event_id, 256),
    )
}

/// The command for the call above it.
fn command_line(command: &str) -> String {
    format!("      {}\n", ocsf::clip(command, MAX_LINE))
}

pub(super) fn sms_text(alerts: &[&Alert]) -> String {
    const END: &str = ". See the e-mail";
    let Some(first) = alerts.first() else {
        return String::new();
    };
    let head = format!(
        "{} CloudHSM, {} calls: ",
        first.severity.as_str().to_uppercase(),
        count(alerts.iter().copied())
    );
    let kinds = kinds(
        alerts.iter().copied(),
        sms::MAX_SMS - head.len() - END.len(),
    );
    sms::gsm7(&format!("{head}{kinds}{END}"), sms::MAX_SMS)
}

pub(super) fn finding(alerts: &[Alert]) -> Value {
    let Some(first) = alerts.first() else {
        return Value::Null;
    };
    let sentence = format!("{}; the first: {}", tally(alerts), first.sentence());
    let mut finding = ocsf::call_finding(
        first,
        &format!("{}: {}", tally(alerts), first.headline()),
        &sentence,
    );
    finding["count"] = Value::from(count(alerts));
    let times = || {
        alerts.iter().flat_map(|alert| {
            [alert.time, alert.repeats.first, alert.repeats.last]
                .into_iter()
                .flatten()
        })
    };
    finding["start_time"] = time(times().min());
    finding["end_time"] = time(times().max());
    finding["cloud"] = ocsf::cloud(first);
    finding["evidences"] = alerts.iter().map(ocsf::detailed_evidence).collect();
    finding["remediation"] = json!({ "desc": ocsf::clip(&first.instructions(4096), 4096) });
    finding["status_detail"] = tally(alerts).into();
    finding["unmapped"] = json!({
        "object": ocsf::clip(&first.source.address(), 4096),
        "outcome": ocsf::joint_outcome(alerts).as_str(),
        "summary": true,
    });
    ocsf::pruned(finding)
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.as_millisecond().into())
}
