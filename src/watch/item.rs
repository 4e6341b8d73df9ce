//! The item of a watched deadline in the watch table: its members, how they are read, and their limits.
//!
//! Items have a version. One of another version, or with a member that cannot be read, was written by something else
//! and is left as it is.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use cloudhsm_alerts_core::deadline::{Closing, Deadline, DeadlineKey};
use cloudhsm_alerts_core::text::one_line;
use jiff::Timestamp;

use super::{
    deadline::{Closed, Dismissed, KEPT, WatchedDeadline},
    error::WatchError,
};
use crate::{
    clock::later,
    dynamodb::{millis, seconds, string, time},
};

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The `kind` of the items of deadlines.
pub(super) const DEADLINE: &str = "deadline";
/// The version of an item.
pub(super) const VERSION: &str = "1";
/// Most bytes of a part of a key. A sort key has at most 1,024 in all.
const MAX_KEY_PART: usize = 240;
/// Most bytes of another text, so that an item stays far below DynamoDB's limit of 400 KB.
const MAX_TEXT: usize = 2_048;
/// Most bytes of a command. A longer one is not stored at all: half a command is dangerous.
const MAX_COMMAND: usize = 16_384;

/// `text` without what is after the last character that ends within `most` bytes.
fn cut(text: &str, most: usize) -> String {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn text(text: &str) -> String {
    cut(text, MAX_TEXT)
}

/// The key as it is stored.
pub(super) fn bounded_key(key: &DeadlineKey) -> DeadlineKey {
    DeadlineKey {
        rule: cut(&key.rule, MAX_KEY_PART),
        account: cut(&key.account, MAX_KEY_PART),
        region: cut(&key.region, MAX_KEY_PART),
        resource: cut(&key.resource, MAX_KEY_PART),
    }
}

/// The deadline as it is stored: its texts are bounded, and times are in milliseconds.
pub(super) fn bounded(deadline: &Deadline) -> Deadline {
    Deadline {
        key: bounded_key(&deadline.key),
        rule_name: text(&deadline.rule_name),
        opened: in_millis(deadline.opened),
        due: in_millis(deadline.due),
        event_id: text(&deadline.event_id),
        event_name: text(&deadline.event_name),
        actor: text(&deadline.actor),
        subject: text(&deadline.subject),
        cluster: deadline.cluster.as_deref().map(text),
        undone: text(&deadline.undone),
        command: if deadline.command.len() > MAX_COMMAND {
            String::new()
        } else {
            deadline.command.clone()
        },
    }
}

/// The closing as it is stored.
pub(super) fn bounded_closing(closing: &Closing) -> Closing {
    Closing {
        key: bounded_key(&closing.key),
        time: in_millis(closing.time),
        event_id: text(&closing.event_id),
        event_name: text(&closing.event_name),
        actor: text(&closing.actor),
    }
}

/// The dismissal as it is stored.
pub(super) fn dismissal(dismissed: &Dismissed) -> AttributeValue {
    AttributeValue::M(HashMap::from([
        ("opened_at".to_owned(), millis(dismissed.opened)),
        ("at".to_owned(), millis(dismissed.at)),
        ("by".to_owned(), string(&text(&dismissed.by))),
        ("reason".to_owned(), string(&text(&dismissed.reason))),
    ]))
}

pub(super) fn in_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// The members of an item, without its table key. Empty texts are members, too.
pub(super) fn members(deadline: &WatchedDeadline) -> BTreeMap<&'static str, AttributeValue> {
    let key = &deadline.key;
    let mut members = BTreeMap::from([
        ("version", AttributeValue::N(VERSION.to_owned())),
        ("rule", string(&key.rule)),
        ("account", string(&key.account)),
        ("region", string(&key.region)),
        ("resource", string(&key.resource)),
        ("expires_at", seconds(later(deadline.kept_from(), KEPT))),
    ]);
    if let Some(opened) = &deadline.opened {
        let reminded = deadline.reminded.iter();
        let reminded = reminded.map(|(step, at)| (step.to_string(), millis(*at)));
        members.extend([
            ("opened_at", millis(opened.opened)),
            ("due_at", millis(opened.due)),
            ("rule_name", string(&opened.rule_name)),
            ("event_id", string(&opened.event_id)),
            ("event_name", string(&opened.event_name)),
            ("actor", string(&opened.actor)),
            ("subject", string(&opened.subject)),
            ("undone", string(&opened.undone)),
            ("command", string(&opened.command)),
            ("reminded", AttributeValue::M(reminded.collect())),
        ]);
        if let Some(cluster) = &opened.cluster {
            members.insert("cluster", string(cluster));
        }
    }
    if let Some(closed) = &deadline.closed {
        members.extend([
            ("closed_at", millis(closed.at)),
            ("closed_by", string(&closed.by)),
            ("closed_event_id", string(&closed.event_id)),
        ]);
    }
    if let Some(dismissed) = &deadline.dismissed {
        members.insert("dismissed", dismissal(dismissed));
    }
    members
}

/// Reads an item.
pub(super) fn read(item: &Item) -> Result<WatchedDeadline, WatchError> {
    let id = item.get("id").and_then(|id| id.as_s().ok());
    let foreign = |found: String| WatchError::Foreign {
        id: one_line(id.map_or("", String::as_str), 600),
        found,
    };
    let version = item.get("version").and_then(|version| version.as_n().ok());
    match version.map(String::as_str) {
        Some(VERSION) => {}
        Some(other) => return Err(foreign(format!("its version is {}", one_line(other, 40)))),
        None => return Err(foreign("it has no version".to_owned())),
    }
    let deadline = parse(item).map_err(|member| foreign(format!("its {member} cannot be read")))?;
    if id.map(String::as_str) != Some(deadline.key.text().as_str()) {
        return Err(foreign("its members are those of another id".to_owned()));
    }
    Ok(deadline)
}

/// The members of an item, or the name of the first one that cannot be read.
fn parse(item: &Item) -> Result<WatchedDeadline, &'static str> {
    let members = Members(item);
    let key = DeadlineKey {
        rule: members.text("rule")?,
        account: members.text("account")?,
        region: members.text("region")?,
        resource: members.text("resource")?,
    };
    let mut deadline = WatchedDeadline {
        key,
        opened: None,
        closed: None,
        dismissed: None,
        reminded: BTreeMap::new(),
    };
    if members.has("opened_at") {
        deadline.opened = Some(Deadline {
            key: deadline.key.clone(),
            rule_name: members.text("rule_name")?,
            opened: members.time("opened_at")?,
            due: members.time("due_at")?,
            event_id: members.text("event_id")?,
            event_name: members.text("event_name")?,
            actor: members.text("actor")?,
            subject: members.text("subject")?,
            cluster: match members.has("cluster") {
                true => Some(members.text("cluster")?),
                false => None,
            },
            undone: members.text("undone")?,
            command: members.text("command")?,
        });
        for (step, at) in members.map("reminded")? {
            let step = step.parse().map_err(|_| "reminded")?;
            let at = time(at).ok_or("reminded")?;
            deadline.reminded.insert(step, at);
        }
    }
    if members.has("closed_at") {
        deadline.closed = Some(Closed {
            at: members.time("closed_at")?,
            by: members.text("closed_by")?,
            event_id: members.text("closed_event_id")?,
        });
    }
    if members.has("dismissed") {
        let dismissed = Members(members.map("dismissed")?);
        deadline.dismissed = Some(Dismissed {
            opened: dismissed.time("opened_at").map_err(|_| "dismissed")?,
            at: dismissed.time("at").map_err(|_| "dismissed")?,
            by: dismissed.text("by").map_err(|_| "dismissed")?,
            reason: dismissed.text("reason").map_err(|_| "dismissed")?,
        });
    }
    if deadline.opened.is_none() && deadline.closed.is_none() {
        return Err("opened_at");
    }
    Ok(deadline)
}

struct Members<'i>(&'i Item);

impl<'i> Members<'i> {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn text(&self, name: &'static str) -> Result<String, &'static str> {
        let value = self.0.get(name).and_then(|value| value.as_s().ok());
        value.cloned().ok_or(name)
    }

    fn time(&self, name: &'static str) -> Result<Timestamp, &'static str> {
        self.0.get(name).and_then(time).ok_or(name)
    }

    fn map(&self, name: &'static str) -> Result<&'i Item, &'static str> {
        let value = self.0.get(name).and_then(|value| value.as_m().ok());
        value.ok_or(name)
    }
}
