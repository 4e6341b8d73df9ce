//! The mark of a backfill: a message about calls of the past, told late because somebody looked for them.
//!
//! Nobody may take it for something that happens now, neither a person nor a filter policy: the subject and
//! every text say it, and an attribute does, by which the template's SMS subscriptions leave it out. The
//! message is otherwise what it would have been.

use serde_json::{Map, Value};

use crate::{
    alert::{
        email::MAX_SUBJECT,
        message::{Attribute, Message},
        sms::MAX_SMS,
    },
    text::ascii,
};

/// The message attribute's name.
pub const ATTRIBUTE: &str = "backfill";

const MARK: &str = "BACKFILL ";

const EMAIL: &str = "BACKFILL: found while log files of the past were read again. It did not happen now, and deadlines\nmay be over; the time of each call is below.\n\n";

/// The message, marked.
pub fn marked(message: Message) -> Message {
    let Message {
        subject,
        body,
        mut attributes,
    } = message;
    attributes.push((ATTRIBUTE, Attribute::One("true".into())));
    Message {
        subject: ascii(&format!("{MARK}{subject}"), MAX_SUBJECT),
        // A body is always a JSON object of texts; were it not, the subject and the attribute still tell.
        body: serde_json::from_str::<Map<String, Value>>(&body).map_or(body, |texts| {
            let texts = texts
                .into_iter()
                .map(|(protocol, text)| {
                    let text = match text {
                        Value::String(text) => Value::String(mark(&protocol, &text)),
                        other => other,
                    };
                    (protocol, text)
                })
                .collect();
            Value::Object(texts).to_string()
        }),
        attributes,
    }
}

fn mark(protocol: &str, text: &str) -> String {
    match protocol {
        "email" => format!("{EMAIL}{text}"),
        // An SMS is cut to one part; what matters most stands at its beginning.
        "sms" => format!("{MARK}{text}").chars().take(MAX_SMS).collect(),
        _ => labelled(text).unwrap_or_else(|| text.to_owned()),
    }
}

/// A finding with the label `backfill`.
fn labelled(finding: &str) -> Option<String> {
    let mut finding: Value = serde_json::from_str(finding).ok()?;
    let metadata = finding.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("labels".into(), vec![ATTRIBUTE].into());
    Some(finding.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_text_says_that_it_is_the_past() {
        let finding = json!({"metadata": {"uid": "e"}, "severity": "Critical"}).to_string();
        let message = Message {
            subject: "CRITICAL: ".to_owned() + &"x".repeat(89),
            body: json!({"default": finding, "email": "Hello", "sms": "S".repeat(140), "sqs": finding})
                .to_string(),
            attributes: vec![("severity", Attribute::One("critical".into()))],
        };
        let marked = marked(message);
        assert_eq!(marked.subject.len(), MAX_SUBJECT);
        assert!(marked.subject.starts_with("BACKFILL CRITICAL: xxx"));
        assert_eq!(
            marked.attributes,
            [
                ("severity", Attribute::One("critical".into())),
                ("backfill", Attribute::One("true".into()))
            ]
        );
        let labelled =
            json!({"metadata": {"uid": "e", "labels": ["backfill"]}, "severity": "Critical"})
                .to_string();
        assert_eq!(
            serde_json::from_str::<Value>(&marked.body).unwrap(),
            json!({
                "default": labelled,
                "email": format!("{EMAIL}Hello"),
                "sms": format!("BACKFILL {}", "S".repeat(131)),
                "sqs": labelled,
            })
        );
    }
}
