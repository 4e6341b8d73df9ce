//! A deadline: until when what a call did can be undone, and with which command.
//!
//! A rule declares its deadline; a successful call that matches it opens one, and a successful call that matches one
//! of the rules that it names closes it. What is kept of it, and who is reminded when, is up to the function.

use jiff::Timestamp;

use crate::{
    actor::Actor,
    finding::Finding,
    record::{Outcome, Record},
    rules::{Declaration, Resource, Rule, RuleSet},
    text::one_line,
};

/// Longest account and region, in characters.
const MAX_PLACE: usize = 64;
/// Longest event ID and event name, in characters.
const MAX_NAME: usize = 128;

/// What a deadline is about. At most one deadline of a key is open at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadlineKey {
    /// The `id` of the rule that declares the deadline.
    pub rule: String,
    /// The account of the resource: the one in its ARN, or the one that recorded the call. Empty if the record has
    /// neither.
    pub account: String,
    /// The region of the call. Empty if the record has none.
    pub region: String,
    /// The ID of the resource.
    pub resource: String,
}

/// A deadline that a call opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// What it is about.
    pub key: DeadlineKey,
    /// The `name` of the rule that declares it.
    pub rule_name: String,
    /// The time of the call.
    pub opened: Timestamp,
    /// Until when it can be undone.
    pub due: Timestamp,
    /// The event ID of the call.
    pub event_id: String,
    /// The event name of the call.
    pub event_name: String,
    /// The caller in short.
    pub actor: String,
    /// The resource with its kind, such as `Backup backup-zxc7vbn2mas`.
    pub subject: String,
    /// The cluster that it belongs to, if the record names it.
    pub cluster: Option<String>,
    /// What it is when it was undone: `restored`, `cancelled`, `rolled back`.
    pub undone: String,
    /// The command that undoes it, complete; a value that is not safe to paste is a placeholder such as `BACKUP_ID`.
    pub command: String,
}

/// A call that closes the deadline of a key, if that was opened before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The deadline.
    pub key: DeadlineKey,
    /// The time of the call.
    pub time: Timestamp,
    /// The event ID of the call.
    pub event_id: String,
    /// The event name of the call.
    pub event_name: String,
    /// The caller in short.
    pub actor: String,
}

impl DeadlineKey {
    /// A text that identifies the deadline: `rule/account/region/resource`.
    pub fn text(&self) -> String {
        let DeadlineKey {
            rule,
            account,
            region,
            resource,
        } = self;
        format!("{rule}/{account}/{region}/{resource}")
    }
}

/// The deadlines that a finding opens: none if the call did not succeed, if filters suppress it, or if its record
/// gives no time or no resource.
pub fn opened_by(finding: &Finding) -> Vec<Deadline> {
    let Finding { record, rules, .. } = finding;
    let (Outcome::Success, Some(opened)) = (record.outcome(), record.event_time()) else {
        return Vec::new();
    };
    let declared: Vec<(&Rule, &Declaration)> = rules
        .iter()
        .filter_map(|rule| Some((&**rule, rule.deadline()?)))
        .collect();
    if declared.is_empty() {
        return Vec::new();
    }
    let event_id = event_id(record);
    let record = record.clone().redacted();
    let actor = Actor::of(&record);
    declared
        .into_iter()
        .filter_map(|(rule, declaration)| {
            Some(Deadline {
                key: key(&rule.id, &record, declaration.resource(&record)?),
                rule_name: rule.name.clone(),
                opened,
                due: declaration.due(&record)?,
                event_id: event_id.clone(),
                event_name: event_name(&record),
                actor: actor.short.clone(),
                subject: declaration.subject(&record, &actor),
                cluster: declaration.cluster(&record),
                undone: declaration.undone().to_owned(),
                command: declaration.filled_command(&record, &actor),
            })
        })
        .collect()
}

/// The closings that a finding makes, also one that filters suppress: a planned restore closes a deadline, too. None
/// if the call did not succeed.
pub fn closed_by(finding: &Finding, rules: &RuleSet) -> Vec<Closing> {
    let record = &finding.record;
    let (Outcome::Success, Some(time)) = (record.outcome(), record.event_time()) else {
        return Vec::new();
    };
    let suppressed = finding.suppressed.iter().map(|it| &it.rule);
    let matched: Vec<&str> = finding
        .rules
        .iter()
        .chain(suppressed)
        .map(|rule| rule.id.as_str())
        .collect();
    let closing: Vec<_> = rules
        .closing()
        .iter()
        .filter(|closing| matched.contains(&closing.id.as_str()))
        .collect();
    if closing.is_empty() {
        return Vec::new();
    }
    let event_id = event_id(record);
    let record = record.clone().redacted();
    let actor = Actor::of(&record).short;
    let mut closings: Vec<Closing> = closing
        .into_iter()
        .filter_map(|closing| {
            let resource = Resource::of(&record, &closing.resource)?;
            Some(Closing {
                key: key(&closing.declaring.id, &record, resource),
                time,
                event_id: event_id.clone(),
                event_name: event_name(&record),
                actor: actor.clone(),
            })
        })
        .collect();
    // Two rules that match one call may close the same deadline.
    closings.dedup_by(|a, b| a.key == b.key);
    closings
}

fn key(rule: &str, record: &Record, resource: Resource) -> DeadlineKey {
    let account = resource.account.or_else(|| record.account());
    DeadlineKey {
        rule: rule.to_owned(),
        account: one_line(&account.unwrap_or_default(), MAX_PLACE),
        region: one_line(record.region().unwrap_or_default(), MAX_PLACE),
        resource: resource.id,
    }
}

/// Taken before redaction: without an `eventID`, it is a hash of the record.
fn event_id(record: &Record) -> String {
    one_line(&record.event_id(), MAX_NAME)
}

fn event_name(record: &Record) -> String {
    one_line(record.event_name(), MAX_NAME)
}

#[cfg(test)]
mod tests;
