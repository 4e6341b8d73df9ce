//! From alerts to the messages that are published about them: one alert has a message of its own, several share a
//! summary. Those that are severe enough also make a page, which is a message of another topic.

use super::{
    attributes::attributes,
    contents::Alert,
    email::{self, MAX_SUBJECT},
    message::{Attribute, MAX_BYTES, Message, Parts},
    ocsf, sms, summary,
};
use crate::text::ascii;
use serde_json::Value;

/// The attribute, and the label in the finding, of a message about old calls that a backfill found.
pub const BACKFILL: &str = "backfill";
const BACKFILL_SUBJECT: &str = "BACKFILL ";
const BACKFILL_EMAIL: &str = "BACKFILL: found while log files of the past were read again. It did not happen now, and deadlines\nmay be over; the time of each call is below.\n\n";

/// Whether a message is about recent calls or, in a backfill, about old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// They happened within the last day, or their log file has just been delivered.
    Recent,
    /// The subject, every text and an attribute state that the calls are in the past, so that neither a person nor a
    /// filter policy takes them for something that happens now.
    Old,
}

/// The message about these alerts, the most severe first: for one alert its own, for several a summary. `None` if
/// there is no alert.
///
/// A summary may be too large for SNS: [`fitting`] divides it.
pub fn message(alerts: &[Alert], age: Age) -> Option<Message> {
    let finish = |finding: Value| match age {
        Age::Old => labelled(finding),
        Age::Recent => finding,
    };
    let (subject, finding, email) = match alerts {
        [] => return None,
        [alert] => (
            email::subject(alert),
            ocsf::finding(alert, true),
            email::body(alert),
        ),
        several => (
            summary::subject(several),
            summary::finding(several),
            summary::email_text(several),
        ),
    };
    let mut parts = Parts {
        subject,
        finding: finish(finding),
        email: Some(email),
        attributes: attributes(alerts),
    };
    if age == Age::Old {
        parts.subject = ascii(&format!("{BACKFILL_SUBJECT}{}", parts.subject), MAX_SUBJECT);
        parts.email = parts.email.map(|text| format!("{BACKFILL_EMAIL}{text}"));
        parts
            .attributes
            .push((BACKFILL, Attribute::One("true".into())));
    }
    Some(match alerts {
        // Without its record every part of an alert is bounded, and their sum is far below the limit.
        [alert] => Message::compose(parts, Some(&|| finish(ocsf::finding(alert, false)))),
        _ => Message::compose(parts, None),
    })
}

/// The messages about these alerts, each with the number of alerts that it is about: as few as SNS's limit of size
/// permits, in the order of the alerts. Most summaries fit, so one is divided only after it was composed.
pub fn fitting(alerts: &[Alert], age: Age) -> Vec<(usize, Message)> {
    let Some(whole) = message(alerts, age) else {
        return Vec::new();
    };
    if alerts.len() == 1 || whole.bytes() <= MAX_BYTES {
        return vec![(alerts.len(), whole)];
    }
    let (first, second) = alerts.split_at(alerts.len() / 2);
    let mut messages = fitting(first, age);
    messages.extend(fitting(second, age));
    messages
}

/// The page about these alerts, the most severe first. `None` if there is no alert.
pub fn page(alerts: &[&Alert]) -> Option<Message> {
    match alerts {
        [] => None,
        [alert] => Some(Message::page(sms::body(alert))),
        several => Some(Message::page(summary::sms_text(several))),
    }
}

/// A finding with a backfill's label.
fn labelled(mut finding: Value) -> Value {
    finding["metadata"]["labels"] = vec![BACKFILL].into();
    finding
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alert::tests::{alert_of, delete_backup};

    #[test]
    fn every_text_of_a_backfill_states_that_it_is_about_the_past() {
        let alert = alert_of(delete_backup());
        let now = message(std::slice::from_ref(&alert), Age::Recent).unwrap();
        let past = message(&[alert], Age::Old).unwrap();
        let [now_subject, past_subject] = [&now, &past].map(|each| each.subject.clone().unwrap());
        assert_eq!(
            past_subject,
            ascii(&format!("BACKFILL {now_subject}"), MAX_SUBJECT)
        );
        assert!(past_subject.len() < 100);
        let body = |message: &Message| -> Value { serde_json::from_str(&message.body).unwrap() };
        let (now_body, past_body) = (body(&now), body(&past));
        assert_eq!(
            past_body["email"],
            format!("{BACKFILL_EMAIL}{}", now_body["email"].as_str().unwrap())
        );
        assert_eq!(past_body.get("sms"), None);
        let mut expected: Value =
            serde_json::from_str(now_body["default"].as_str().unwrap()).unwrap();
        expected["metadata"]["labels"] = json!(["backfill"]);
        let finding: Value = serde_json::from_str(past_body["default"].as_str().unwrap()).unwrap();
        assert_eq!(finding, expected);
        let mut attributes = now.attributes.clone();
        attributes.push(("backfill", Attribute::One("true".into())));
        assert_eq!(past.attributes, attributes);
    }
}
