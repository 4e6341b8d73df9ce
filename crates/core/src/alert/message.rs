//! What SNS gets for one message: an alert has a subject, a body with a text for each protocol, and attributes; a
//! page is one short text.
//!
//! A body is composed once, and its size is measured then. What is in the texts is decided elsewhere
//! ([`super::compose`], [`super::operator`]).
//! Source: Amazon SNS API Reference, Publish; the limits are those of a topic with default settings.

use serde_json::{Map, Value};

use crate::text::escaped_json;

/// Largest message in bytes, attributes included: SNS's 256 KiB less a margin.
pub const MAX_BYTES: usize = 262_144 - 2048;

/// One message, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `Subject`: printable ASCII, fewer than 100 characters. A page has none.
    pub subject: Option<String>,
    /// `Message`.
    pub body: String,
    /// How SNS reads the body.
    pub structure: Structure,
    /// `MessageAttributes`.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// How SNS reads a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// `MessageStructure=json`: a JSON object from protocol to text. Amazon SNS Developer Guide, "Message attributes":
    /// "Message attributes are sent only when the message structure is String, not JSON." So no subscription of the
    /// template filters by them.
    Json,
    /// The text that every subscriber gets.
    Plain,
}

/// The parts of a message before it is composed.
#[derive(Clone, Debug)]
pub struct Parts {
    /// `Subject`: printable ASCII, fewer than 100 characters.
    pub subject: String,
    /// What machines get.
    pub finding: Value,
    /// The text of the e-mail; `None`: e-mail gets the finding.
    pub email: Option<String>,
    /// `MessageAttributes`.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Of data type `String`.
    One(String),
    /// Of data type `String.Array`: the values of a summary's calls where they differ. A filter policy
    /// that any of them matches gets the summary, so that no subscriber misses a call.
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
    /// Composes a message. The finding is `default`, which every protocol gets that has no text of its own; only e-mail
    /// has one. If the message is too large, the finding is replaced by `smaller`, where there is one; the sizes of all
    /// other parts are bounded where they are made.
    pub fn compose(parts: Parts, smaller: Option<&dyn Fn() -> Value>) -> Message {
        let Parts {
            subject,
            finding,
            email,
            attributes,
        } = parts;
        let limit = MAX_BYTES.saturating_sub(attribute_bytes(&attributes));
        let whole = body(&finding, email.as_deref());
        let body = match smaller.filter(|_| whole.len() > limit) {
            Some(smaller) => body(&smaller(), email.as_deref()),
            // What is still too large is published all the same: SNS refuses it, which is counted and reported.
            None => whole,
        };
        Message {
            subject: Some(subject),
            structure: Structure::Json,
            body,
            attributes,
        }
    }

    /// A page: an SMS, or what a pager shows. An SMS of the type Transactional is delivered with the highest
    /// reliability, whatever the account's default is.
    /// Source: Amazon SNS Developer Guide, "Publishing SMS messages to an Amazon SNS topic".
    pub fn page(text: String) -> Message {
        Message {
            subject: None,
            body: text,
            structure: Structure::Plain,
            attributes: vec![(
                "AWS.SNS.SMS.SMSType",
                Attribute::One("Transactional".into()),
            )],
        }
    }

    /// Bytes that SNS counts: the body and every attribute's name, type and value.
    pub fn bytes(&self) -> usize {
        self.body.len() + attribute_bytes(&self.attributes)
    }
}

fn body(finding: &Value, email: Option<&str>) -> String {
    let mut body = Map::new();
    body.insert("default".into(), escaped_json(finding).into());
    if let Some(email) = email {
        body.insert("email".into(), email.into());
    }
    Value::Object(body).to_string()
}

fn attribute_bytes(attributes: &[(&str, Attribute)]) -> usize {
    attributes
        .iter()
        .map(|(name, value)| name.len() + value.data_type().len() + value.value().len())
        .sum()
}
