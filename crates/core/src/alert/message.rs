//! What SNS is given: one message with a text for each protocol, a subject, and attributes to filter by.
//!
//! Whatever a record says, the message fits: the sizes of its parts are bounded where they are made, and
//! here the whole is measured, with the record left out of it as the last resort.
//! Source: Amazon SNS API Reference, Publish; the limits are those of a topic with default settings.

use serde_json::{Map, Value};

use crate::{
    alert::{Alert, digest, email, ocsf, sms},
    text::{ascii, escaped_json},
};

/// Largest message in bytes, attributes included: SNS's 256 KiB, less a little for what it may count beside.
pub const MAX_BYTES: usize = 262_144 - 2048;

/// Protocols that get the finding, beside `default`, which stands for all that are not named.
const JSON_PROTOCOLS: [&str; 6] = ["sqs", "lambda", "http", "https", "email-json", "firehose"];

/// The attribute of a message that pages nobody, with the value `false`; others do not have it.
pub const PAGE: &str = "page";

/// One message, as its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `Subject`: printable ASCII, fewer than 100 characters.
    pub subject: String,
    /// What machines get: a finding as JSON.
    pub finding: String,
    /// The text of the e-mail; `None`: e-mail gets the finding.
    pub email: Option<String>,
    /// The text of the SMS; `None`: the message pages nobody.
    pub sms: Option<String>,
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
        let mut message = Message {
            subject: email::subject(alert),
            finding: escaped_json(&ocsf::finding(alert, true)),
            email: Some(email::body(alert)),
            sms: Some(sms::body(alert)),
            attributes: attributes(alert),
        };
        if !message.fits(&message.compose(false)) {
            // Without the record every part is bounded, and their sum is far below the limit.
            message.finding = escaped_json(&ocsf::finding(alert, false));
        }
        message
    }

    /// The message about several calls, the most severe one first. The digest's own budget keeps it below the
    /// limit.
    pub(super) fn of_digest(alerts: &[Alert]) -> Message {
        Message {
            subject: digest::subject(alerts),
            finding: escaped_json(&digest::finding(alerts)),
            email: Some(digest::email_text(alerts)),
            sms: Some(digest::sms_text(alerts)),
            attributes: joint_attributes(alerts),
        }
    }

    /// The same for e-mail and machines, and no SMS. Without a text of its own an SMS would be the finding, which
    /// is longer than the 1,600 bytes that SNS sends as SMS; and there is an attribute to filter by.
    pub fn without_page(mut self) -> Message {
        self.sms = None;
        self.attributes.push((PAGE, Attribute::One("false".into())));
        self
    }

    /// `Message` for `MessageStructure=json`, a JSON object from protocol to text: with the finding under every
    /// protocol's own name if that fits, else under `default` alone, which reaches the same subscribers.
    pub fn body(&self) -> String {
        let full = self.compose(true);
        if self.fits(&full) {
            return full;
        }
        self.compose(false)
    }

    fn compose(&self, spelled_out: bool) -> String {
        let mut texts = Map::new();
        texts.insert("default".into(), self.finding.as_str().into());
        for (protocol, text) in [("email", &self.email), ("sms", &self.sms)] {
            if let Some(text) = text {
                texts.insert(protocol.into(), text.as_str().into());
            }
        }
        if spelled_out {
            for protocol in JSON_PROTOCOLS {
                texts.insert(protocol.into(), self.finding.as_str().into());
            }
        }
        Value::Object(texts).to_string()
    }

    /// Whether SNS takes it with this body: it counts the body and every attribute's name, type and value.
    fn fits(&self, body: &str) -> bool {
        body.len() + attribute_bytes(&self.attributes) <= MAX_BYTES
    }

    /// Bytes that SNS counts.
    pub fn bytes(&self) -> usize {
        self.body().len() + attribute_bytes(&self.attributes)
    }
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
    // SNS refuses an empty value, and its guide refers to ASCII; what a record does not have is "unknown".
    let value = |text: Option<&str>| {
        text.map(|text| ascii(text, 256))
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
