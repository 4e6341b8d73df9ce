//! A digest: several calls in one message, when there are more of them than single messages may be
//! sent. SNS switches an e-mail subscription off above ten messages a second; a storm of alerts must not
//! end the alerting.
//!
//! Every call is in it by its event ID. Calls are ordered by severity, rule and actor, so that those
//! that belong together stand together.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    alert::{Alert, email, message::Message, ocsf, sms},
    text::{ascii, one_line},
};

/// Bytes of one digest's finding and e-mail together before they are put into the message, so that the
/// escapes of two layers of JSON stay within SNS's limit.
const BUDGET: usize = 90 * 1024;

/// As few digests as hold all these alerts, the most severe first.
pub fn digests(mut alerts: Vec<Alert>) -> Vec<(Message, Vec<Alert>)> {
    alerts.sort_by(|a, b| order(a).cmp(&order(b)));
    let mut groups: Vec<Vec<Alert>> = Vec::new();
    let mut size = usize::MAX;
    for alert in alerts {
        let more = ocsf::pruned(ocsf::numbered_evidence(&alert))
            .to_string()
            .len()
            + line(&alert).len();
        match groups.last_mut() {
            Some(group) if size.saturating_add(more) <= BUDGET => {
                size += more;
                group.push(alert);
            }
            _ => {
                size = more;
                groups.push(vec![alert]);
            }
        }
    }
    groups
        .into_iter()
        .map(|group| (Message::of_digest(&group), group))
        .collect()
}

type Order<'a> = (
    std::cmp::Reverse<crate::severity::Severity>,
    String,
    &'a str,
    Option<jiff::Timestamp>,
);

fn order(alert: &Alert) -> Order<'_> {
    (
        std::cmp::Reverse(alert.severity),
        alert.headline(),
        &alert.actor.short,
        alert.time,
    )
}

/// `12 calls` in words that fit a subject.
pub(super) fn subject(alerts: &[Alert]) -> String {
    let Some(first) = alerts.first() else {
        return String::new();
    };
    let mut names: Vec<&str> = Vec::new();
    for alert in alerts {
        if !names.contains(&alert.event_name.as_str()) {
            names.push(&alert.event_name);
        }
    }
    ascii(
        &format!(
            "{}: {} calls in one digest: {}",
            first.severity.as_str().to_uppercase(),
            alerts.len(),
            names.join(", ")
        ),
        email::MAX_SUBJECT,
    )
}

pub(super) fn email_text(alerts: &[Alert]) -> String {
    let mut mail = format!(
        "{} calls in one message: more calls met rules than single alerts may be sent.\n\
         The most severe come first. Each has its event ID; the JSON of this message has the details.\n",
        alerts.len()
    );
    let mut title = String::new();
    for alert in alerts {
        if alert.headline() != title {
            title = alert.headline();
            // Writing into a String cannot fail; likewise below.
            let _ = writeln!(
                mail,
                "\n{}: {}",
                alert.severity.as_str().to_uppercase(),
                title
            );
            if let Some(first) = alert.response.lines().next() {
                let _ = writeln!(mail, "  What to do: {first}");
            }
        }
        let _ = writeln!(mail, "  {}", line(alert));
    }
    mail
}

fn line(alert: &Alert) -> String {
    let thing = alert
        .main_resource()
        .map_or_else(String::new, |thing| format!(" on {}", thing.label()));
    format!(
        "{} {} {}{thing} by {} in {}, {}, event ID {}",
        alert.time_label(),
        one_line(&alert.event_name, 64),
        alert.outcome.verb(),
        alert.actor.short,
        alert.account_label(),
        alert.region_label(),
        one_line(&alert.event_id, 256),
    )
}

pub(super) fn sms_text(alerts: &[Alert]) -> String {
    let Some(first) = alerts.first() else {
        return String::new();
    };
    let highest = alerts
        .iter()
        .filter(|alert| alert.severity == first.severity)
        .count();
    let text = format!(
        "{} CloudHSM calls in one digest, {highest} {}: {} {} by {}. See the e-mail",
        alerts.len(),
        first.severity.as_str().to_uppercase(),
        sms::gsm7(&first.event_name, 24),
        first.outcome.verb(),
        sms::gsm7(&first.actor.short, 24),
    );
    sms::gsm7(&text, sms::MAX_SMS)
}

pub(super) fn finding(alerts: &[Alert]) -> Value {
    let Some(first) = alerts.first() else {
        return Value::Null;
    };
    let sentence = format!(
        "{} calls, the most severe first: {}",
        alerts.len(),
        first.sentence()
    );
    let mut finding = ocsf::frame(
        first,
        &format!("{} CloudHSM calls", alerts.len()),
        &sentence,
    );
    finding["count"] = Value::from(alerts.len());
    finding["start_time"] = time(alerts.iter().filter_map(|alert| alert.time).min());
    finding["end_time"] = time(alerts.iter().filter_map(|alert| alert.time).max());
    finding["cloud"] = ocsf::cloud(first);
    finding["evidences"] = alerts.iter().map(ocsf::numbered_evidence).collect();
    finding["remediation"] = json!({ "desc": ocsf::clip(&first.response, 4096) });
    finding["unmapped"] = json!({
        "object": first.source.to_string(),
        "outcome": ocsf::joint_outcome(alerts).as_str(),
        "digest": true,
    });
    ocsf::pruned(finding)
}

fn time(time: Option<jiff::Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.as_millisecond().into())
}
