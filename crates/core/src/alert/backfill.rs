//! The mark of a backfill: a message about calls of the past, told late because somebody looked for them.
//!
//! Nobody may take it for something that happens now, neither a person nor a filter policy: the subject and
//! every text state it, an attribute does, and it pages nobody. The message is otherwise what it would have
//! been.

use serde_json::Value;

use crate::{
    alert::{
        email::MAX_SUBJECT,
        message::{Attribute, Message},
    },
    text::{ascii, escaped_json},
};

/// The message attribute's name.
pub const ATTRIBUTE: &str = "backfill";

const MARK: &str = "BACKFILL ";

const EMAIL: &str = "BACKFILL: found while log files of the past were read again. It did not happen now, and deadlines\nmay be over; the time of each call is below.\n\n";

/// The message, marked. It pages nobody.
pub fn marked(message: Message) -> Message {
    let mut message = message.without_page();
    message.subject = ascii(&format!("{MARK}{}", message.subject), MAX_SUBJECT);
    message.email = message.email.map(|email| format!("{EMAIL}{email}"));
    if let Some(labelled) = labelled(&message.finding) {
        message.finding = labelled;
    }
    message
        .attributes
        .push((ATTRIBUTE, Attribute::One("true".into())));
    message
}

/// A finding with the label `backfill`.
fn labelled(finding: &str) -> Option<String> {
    let mut finding: Value = serde_json::from_str(finding).ok()?;
    let metadata = finding.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("labels".into(), vec![ATTRIBUTE].into());
    Some(escaped_json(&finding))
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
            finding,
            email: Some("Hello".into()),
            sms: Some("S".repeat(140)),
            attributes: vec![("severity", Attribute::One("critical".into()))],
        };
        let subject = format!("BACKFILL CRITICAL: {}..", "x".repeat(78));
        let labelled =
            json!({"metadata": {"uid": "e", "labels": ["backfill"]}, "severity": "Critical"});
        assert_eq!(subject.len(), MAX_SUBJECT);
        assert_eq!(
            marked(message),
            Message {
                subject,
                finding: labelled.to_string(),
                email: Some(format!("{EMAIL}Hello")),
                sms: None,
                attributes: vec![
                    ("severity", Attribute::One("critical".into())),
                    ("page", Attribute::One("false".into())),
                    ("backfill", Attribute::One("true".into())),
                ],
            }
        );
    }
}
