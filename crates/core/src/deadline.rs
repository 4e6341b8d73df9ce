//! A deadline: until when what a call did can be undone, and with which command.
//!
//! A rule declares its deadline; a successful call that matches it opens one, and a successful call that matches one
//! of the rules that it names closes it. What is kept of it, and who is reminded when, is up to the function.

use jiff::Timestamp;

use crate::{finding::Finding, rules::RuleSet};

/// What a deadline is about. At most one deadline of a key is open at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadlineKey {
    /// The `id` of the rule that declares the deadline.
    pub rule: String,
    /// The account of the resource: the one in its ARN, or the one that recorded the call.
    pub account: String,
    /// The region of the call.
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
/// gives no time.
pub fn opened_by(_finding: &Finding) -> Vec<Deadline> {
    Vec::new()
}

/// The closings that a finding makes, also one that filters suppress: a planned restore closes a deadline, too.
pub fn closed_by(_finding: &Finding, _rules: &RuleSet) -> Vec<Closing> {
    Vec::new()
}
