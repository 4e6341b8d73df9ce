//! A message as SNS publishes it, read back by tests.

use std::collections::BTreeMap;

use serde_json::Value;

/// One published message.
#[derive(Debug, Clone)]
pub struct Published {
    /// The ARN of its topic.
    pub topic: String,
    /// Empty if it has none.
    pub subject: String,
    /// With `MessageStructure=json`, the text for each protocol; else a string.
    pub body: Value,
    /// Data type and value of each attribute, by name.
    pub attributes: BTreeMap<String, (String, String)>,
}

impl Published {
    /// The text that subscribers of a protocol get, or an empty string.
    pub fn text(&self, protocol: &str) -> &str {
        self.body[protocol].as_str().unwrap_or_default()
    }

    /// The text of a page, which every subscriber gets; `None` for an alert.
    pub fn page(&self) -> Option<&str> {
        self.body.as_str()
    }

    /// The OCSF Detection Finding.
    pub fn finding(&self) -> Value {
        serde_json::from_str(self.text("default")).expect("the finding is JSON")
    }

    /// Data type and value of an attribute, `?` where it is missing.
    pub fn attribute(&self, name: &str) -> (String, String) {
        let missing = || ("?".to_owned(), "?".to_owned());
        self.attributes.get(name).cloned().unwrap_or_else(missing)
    }

    /// `severity EventName outcome`, from the attributes.
    pub fn headline(&self) -> String {
        ["severity", "event_name", "outcome"]
            .map(|name| self.attribute(name).1)
            .join(" ")
    }

    /// Whether it is about deadlines.
    pub fn is_reminder(&self) -> bool {
        self.attribute("event_name").1 == "DeadlineReminder"
    }

    /// Whether it is about the trail's log files and digest files.
    pub fn is_about_the_trail(&self) -> bool {
        self.attribute("event_name").1 == "TrailIntegrity"
    }

    /// The event IDs of all calls in the message, in order, those of grouped calls included. Messages that are not about
    /// calls have none.
    pub fn event_ids(&self) -> Vec<String> {
        if self.page().is_some() || self.is_reminder() || self.is_about_the_trail() {
            return Vec::new();
        }
        let finding = self.finding();
        match finding["evidences"].as_array() {
            Some(evidences) if finding["unmapped"]["summary"] == true => evidences
                .iter()
                .flat_map(|evidence| grouped_event_ids(&evidence["uid"], &evidence["data"]))
                .collect(),
            _ => grouped_event_ids(&finding["finding_info"]["uid"], &finding["unmapped"]),
        }
    }
}

/// The event ID of a call, then those of the calls that are grouped with it.
fn grouped_event_ids(uid: &Value, details: &Value) -> Vec<String> {
    let grouped = details["repeated_event_ids"].as_array();
    std::iter::once(uid)
        .chain(grouped.into_iter().flatten())
        .map(|id| id.as_str().expect("an event ID").to_owned())
        .collect()
}
