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

/// Largest message in bytes, attributes included: SNS's 256 KiB, less a little for what it may count beside.
pub const MAX_BYTES: usize = 262_144 - 2048;

/// Protocols that get the finding, beside `default`, which stands for all that are not named.
const JSON_PROTOCOLS: [&str; 6] = ["sqs", "lambda", "http", "https", "email-json", "firehose"];

/// One message as SNS takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `Subject`: printable ASCII, fewer than 100 characters.
    pub subject: String,
    /// `Message` for `MessageStructure=json`: a JSON object from protocol to text.
    pub body: String,
    /// `MessageAttributes`, for filter policies.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Of data type `String`.
    One(String),
    /// Of data type `String.Array`: the values of a digest's calls where they differ. A filter policy
    /// that any of them matches gets the digest, so that no subscriber misses a call.
    Many(Vec<String>),
}

impl Attribute {
    /// SNS's name of the data type.
    pub fn data_type(&self) -> &'static str {
        match self {
            Attribute::One(_) => "String",
            Attribute::Many(_) => "String.Array",
        }
    }

    /// The value as SNS takes it; a list is JSON.
    pub fn value(&self) -> String {
        match self {
            Attribute::One(value) => value.clone(),
            Attribute::Many(values) => Value::from(values.clone()).to_string(),
        }
    }
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

    /// The message about several calls, the most severe one first.
    pub(super) fn of_digest(alerts: &[Alert]) -> Message {
        let email = digest::email_text(alerts);
        let sms = digest::sms_text(alerts);
        let attributes = joint_attributes(alerts);
        let finding = digest::finding(alerts).to_string();
        Message {
            subject: digest::subject(alerts),
            body: body(&finding, &email, &sms, &attributes)
                // The digest's own budget keeps it below the limit.
                .unwrap_or_else(|| compose(&finding, &email, &sms, false)),
            attributes,
        }
    }

    /// The message with these texts.
    pub(super) fn texts(
        subject: &str,
        finding: &str,
        email: &str,
        sms: &str,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Message {
        Message {
            subject: subject.to_owned(),
            body: body(finding, email, sms, &attributes)
                .unwrap_or_else(|| compose(finding, email, sms, false)),
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
fn body(finding: &str, email: &str, sms: &str, attributes: &[(&str, Attribute)]) -> Option<String> {
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

fn attribute_bytes(attributes: &[(&str, Attribute)]) -> usize {
    attributes
        .iter()
        .map(|(name, value)| name.len() + value.data_type().len() + value.value().len())
        .sum()
}

/// The attributes of all these calls, each once.
fn joint_attributes(alerts: &[Alert]) -> Vec<(&'static str, Attribute)> {
    let mut joint: Vec<(&'static str, Vec<String>)> = Vec::new();
    for (name, value) in alerts.iter().flat_map(values) {
        match joint.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => joint.push((name, vec![value])),
        }
    }
    joint
        .into_iter()
        .map(|(name, mut values)| {
            let attribute = match values.len() {
                1 => Attribute::One(values.remove(0)),
                _ => Attribute::Many(values),
            };
            (name, attribute)
        })
        .collect()
}

fn attributes(alert: &Alert) -> Vec<(&'static str, Attribute)> {
    joint_attributes(std::slice::from_ref(alert))
}

fn values(alert: &Alert) -> Vec<(&'static str, String)> {
    // SNS refuses an empty value; what a record does not tell is "unknown".
    let value = |text: Option<&str>| {
        text.map(|text| one_line(text, 256))
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| "unknown".into())
    };
    let mut values = vec![
        ("severity", alert.severity.as_str().to_owned()),
        ("event_name", value(Some(&alert.event_name))),
        ("outcome", alert.outcome.as_str().to_owned()),
        ("account", value(alert.account.as_deref())),
        ("region", value(alert.region.as_deref())),
        ("actor_type", value(Some(alert.actor.kind_or_unknown()))),
    ];
    if let Some(cluster) = alert.cluster_id() {
        values.push(("cluster_id", value(Some(cluster))));
    }
    if let Some(rule) = alert.rules.first() {
        values.push(("rule", value(Some(&rule.name))));
    }
    values
}
