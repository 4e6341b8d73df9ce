//! What SNS is given: one message with a text for each protocol, a subject, and attributes to filter by.
//!
//! Whatever a record says, the message fits: the sizes of its parts are bounded where they are made, and
//! here the whole is measured, with the record left out of it as the last resort.
//! Source: Amazon SNS API Reference, Publish; the limits are those of a topic with default settings.

use serde_json::{Map, Value};

use crate::{
    alert::{Alert, digest, email, ocsf, sms},
    text::one_line,
};

/// Largest message in bytes, attributes included.
pub const MAX_BYTES: usize = 262_144;

/// Protocols that get the finding, beside `default`, which stands for all that are not named.
const JSON_PROTOCOLS: [&str; 6] = ["sqs", "lambda", "http", "https", "email-json", "firehose"];

/// One message as SNS takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `Subject`: printable ASCII, fewer than 100 characters.
    pub subject: String,
    /// `Message` for `MessageStructure=json`: a JSON object from protocol to text.
    pub body: String,
    /// `MessageAttributes`, all of type `String`, for filter policies.
    pub attributes: Vec<(&'static str, String)>,
}

impl Message {
    /// The message about one call.
    pub fn of(alert: &Alert) -> Message {
        let email = email::text(alert);
        let sms = sms::text(alert);
        let attributes = attributes(alert);
        let full = ocsf::finding(alert, true).to_string();
        let body = body(&full, &email, &sms, &attributes).unwrap_or_else(|| {
            let short = ocsf::finding(alert, false).to_string();
            body(&short, &email, &sms, &attributes)
                // Without the record every part is bounded, and their sum is far below the limit.
                .unwrap_or_else(|| compose(&short, &email, &sms, false))
        });
        Message {
            subject: email::subject(alert),
            body,
            attributes,
        }
    }

    /// The message about several calls, the most severe one first. The attributes are those of the most
    /// severe call where the calls differ.
    pub(super) fn of_digest(alerts: &[Alert]) -> Message {
        let email = digest::email_text(alerts);
        let sms = digest::sms_text(alerts);
        let mut attributes = alerts.first().map(attributes).unwrap_or_default();
        for (name, value) in &mut attributes {
            if *name == "outcome" {
                *value = ocsf::joint_outcome(alerts).as_str().to_owned();
            }
        }
        let finding = digest::finding(alerts).to_string();
        Message {
            subject: digest::subject(alerts),
            body: body(&finding, &email, &sms, &attributes)
                // The digest's own budget keeps it below the limit.
                .unwrap_or_else(|| compose(&finding, &email, &sms, false)),
            attributes,
        }
    }

    /// Bytes that SNS counts: the body and every attribute's name, type and value.
    pub fn bytes(&self) -> usize {
        self.body.len() + attribute_bytes(&self.attributes)
    }
}

/// The JSON object from protocol to text, if it fits: with the finding under every protocol's own name, or
/// under `default` alone, which reaches the same subscribers.
fn body(finding: &str, email: &str, sms: &str, attributes: &[(&str, String)]) -> Option<String> {
    [true, false]
        .into_iter()
        .map(|spelled_out| compose(finding, email, sms, spelled_out))
        .find(|body| body.len() + attribute_bytes(attributes) <= MAX_BYTES)
}

fn compose(finding: &str, email: &str, sms: &str, spelled_out: bool) -> String {
    let mut texts = Map::new();
    texts.insert("default".into(), finding.into());
    texts.insert("email".into(), email.into());
    texts.insert("sms".into(), sms.into());
    if spelled_out {
        for protocol in JSON_PROTOCOLS {
            texts.insert(protocol.into(), finding.into());
        }
    }
    Value::Object(texts).to_string()
}

fn attribute_bytes(attributes: &[(&str, String)]) -> usize {
    attributes
        .iter()
        .map(|(name, value)| name.len() + "String".len() + value.len())
        .sum()
}

fn attributes(alert: &Alert) -> Vec<(&'static str, String)> {
    // SNS refuses an empty value; what a record does not tell is "unknown".
    let value = |text: Option<&str>| {
        text.map(|text| one_line(text, 256))
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| "unknown".into())
    };
    let mut attributes = vec![
        ("severity", alert.severity.as_str().to_owned()),
        ("event_name", value(Some(&alert.event_name))),
        ("outcome", alert.outcome.as_str().to_owned()),
        ("account", value(alert.account.as_deref())),
        ("region", value(alert.region.as_deref())),
        ("actor_type", value(Some(alert.actor.kind_or_unknown()))),
    ];
    if let Some(cluster) = alert.cluster_id() {
        attributes.push(("cluster_id", value(Some(cluster))));
    }
    if let Some(rule) = alert.rules.first() {
        attributes.push(("rule", value(Some(&rule.name))));
    }
    attributes
}
