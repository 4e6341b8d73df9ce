//! An alert: what a person, or a machine, is told of one call.
//!
//! [`Alert::new`] takes out of a finding all that any message needs, with secrets gone and sizes
//! bounded. The texts are written by [`email`], [`sms`] and [`ocsf`], those of several calls by [`summary`];
//! [`compose`] makes of them the [`message`] that SNS gets.

pub mod accounts;
pub mod compose;
pub mod email;
pub mod message;
pub mod ocsf;
pub mod operator;
pub mod resource;
pub mod sharing;
pub mod sms;
pub mod summary;

use std::{fmt, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    actor::{Actor, Means},
    call_id::CallId,
    finding::Finding,
    links::quoted,
    object::ObjectRef,
    record::{Omitted, Outcome, Record},
    rules::{Rule, Suppressed, response},
    severity::Severity,
    text::one_line,
};
use accounts::Accounts;
use resource::Resource;
use sharing::Sharing;

/// Where a record was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A log file in S3.
    Object(ObjectRef),
    /// A log file on this machine.
    File(PathBuf),
    /// An EventBridge event, which carries the record itself; the event's id.
    Event(String),
}

impl Source {
    /// The address as it is, for machines; [`fmt::Display`] is for people.
    pub fn address(&self) -> String {
        match self {
            Source::Object(object) => {
                let version = object
                    .version_id
                    .as_ref()
                    .map_or_else(String::new, |version| format!("?versionId={version}"));
                format!("s3://{}/{}{version}", object.bucket, object.key)
            }
            Source::File(path) => path.to_string_lossy().into_owned(),
            Source::Event(id) => format!("eventbridge:{id}"),
        }
    }

    /// When CloudTrail delivered the log file, from the stamp in its name (`_20261123T0355Z_`).
    /// Source: AWS CloudTrail User Guide, "CloudTrail log file name format".
    fn delivered(&self) -> Option<Timestamp> {
        let address = self.address();
        let name = address.rsplit('/').next()?;
        name.split('_').find_map(|part| {
            let part = part.strip_suffix('Z')?;
            let stamp = jiff::civil::DateTime::strptime("%Y%m%dT%H%M", part).ok()?;
            Some(stamp.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Object(object) => object.fmt(f),
            Source::File(path) => f.write_str(&one_line(&path.to_string_lossy(), 2048)),
            Source::Event(id) => write!(f, "EventBridge event {}", one_line(id, 256)),
        }
    }
}

/// Calls that repeat the one that an alert is about: by the same caller, with the same outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repeats {
    /// These calls, in the order of their records.
    pub calls: Vec<CallId>,
    /// The time of the earliest call, that of the alert included.
    pub first: Option<Timestamp>,
    /// The time of the latest.
    pub last: Option<Timestamp>,
    /// Whether some of them are about other resources.
    pub on_other_resources: bool,
}

/// What there is to tell of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The highest level among the rules.
    pub severity: Severity,
    /// The rules the call met, most severe first; never empty.
    pub rules: Vec<Arc<Rule>>,
    /// The call's identity, by which it is deduplicated.
    pub call_id: CallId,
    /// CloudTrail's `eventID`.
    pub event_id: String,
    /// Calls that repeat it.
    pub repeats: Repeats,
    /// The call, such as `DeleteBackup`.
    pub event_name: String,
    /// The called service.
    pub event_source: String,
    /// When; `None` where the record has no readable `eventTime`.
    pub time: Option<Timestamp>,
    /// What became of the call.
    pub outcome: Outcome,
    /// Error code and message, as recorded, without secrets.
    pub error: Option<(String, String)>,
    /// Who.
    pub actor: Actor,
    /// The account's number.
    pub account: Option<String>,
    /// The account's name, where one is configured.
    pub account_name: Option<String>,
    /// The name of the caller's account, where one is configured.
    pub caller_account_name: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Clusters, HSMs, backups and other things the call names.
    pub resources: Vec<Resource>,
    /// Whom a resource policy in the record lets in.
    pub sharing: Sharing,
    /// Why the record has no request parameters: then a rule that asks for them matches because it cannot
    /// be ruled out. `None`: it has them.
    pub omitted_parameters: Option<Omitted>,
    /// The rules from which a filter kept the call back, with the filters' names.
    pub filtered: Vec<(String, String)>,
    /// What to do now.
    pub response: String,
    /// What to do now, in a few words for an SMS.
    pub response_sms: Option<String>,
    /// Where the record was read, and its position there.
    pub source: Source,
    /// Position in the log file's `Records`, from 0.
    pub index: u64,
    /// The record without secrets.
    pub record: Record,
}

impl Alert {
    /// The alert for a finding.
    pub fn new(finding: Finding, source: &Source, accounts: &Accounts) -> Alert {
        let severity = finding.severity();
        // Before secrets go: a record without an eventID is known by the hash of all it holds.
        let call_id = CallId::of(&finding.record);
        let sharing = Sharing::of(&finding.record, accounts);
        let record = finding.record.redacted();
        let actor = Actor::of(&record);
        let outcome = record.outcome();
        let error = (outcome != Outcome::Success).then(|| {
            let code = record.scalar("errorCode").unwrap_or_default();
            let message = record.scalar("errorMessage").unwrap_or_default();
            (code, message)
        });
        let speakers = speakers(&finding.rules, outcome);
        let mut texts = speakers.iter().enumerate().map(|(place, rule)| {
            let text = rule.response().render(&record, &actor);
            match place {
                0 => text.trim_end().to_owned(),
                _ => format!("Also met: {}.\n{}", rule.title, text.trim_end()),
            }
        });
        let mut response = texts.next().unwrap_or_default();
        for text in texts {
            response = format!("{response}\n\n{text}");
        }
        let response_sms = speakers
            .first()
            .and_then(|rule| rule.response().render_sms(&record, &actor));
        if let Some(step) = response::follow_the_actor(&record) {
            response = format!("{}\n{step}", response.trim_end());
        }
        let account = record.account();
        let name_of = |id: Option<String>| id.and_then(|id| accounts.name(&id).map(str::to_owned));
        Alert {
            omitted_parameters: record.omitted_parameters(),
            filtered: finding
                .filtered
                .iter()
                .map(|Suppressed { rule, filter }| (rule.name.clone(), filter.name.clone()))
                .collect(),
            severity,
            rules: finding.rules,
            event_id: call_id.event_id().to_owned(),
            call_id,
            repeats: Repeats::default(),
            event_name: record.event_name().to_owned(),
            event_source: record.event_source().to_owned(),
            time: record.event_time(),
            outcome,
            error,
            actor,
            account_name: name_of(account.clone()),
            caller_account_name: name_of(record.account_id("userIdentity.accountId")),
            account,
            region: record.region().map(str::to_owned),
            resources: resource::of(&record),
            sharing,
            response,
            response_sms,
            source: source.clone(),
            index: record.index(),
            record,
        }
    }

    /// The title of the highest rule. It says what the rule is about; [`Alert::headline`] says what became
    /// of it.
    pub fn title(&self) -> &str {
        self.rules
            .first()
            .map_or("CloudHSM call", |rule| &rule.title)
    }

    /// How many calls the alert is about.
    pub fn count(&self) -> usize {
        1 + self.repeats.calls.len()
    }

    /// The calls that the alert is about.
    pub fn call_ids(&self) -> impl Iterator<Item = &CallId> {
        std::iter::once(&self.call_id).chain(&self.repeats.calls)
    }

    /// ` 400 times`, where the call was repeated.
    pub fn times(&self) -> String {
        match self.count() {
            1 => String::new(),
            count => format!(" {count} times"),
        }
    }

    /// How often, until when and on what the call was repeated.
    pub fn repetition(&self) -> Option<String> {
        let Repeats {
            calls,
            first,
            last,
            on_other_resources,
        } = &self.repeats;
        if calls.is_empty() {
            return None;
        }
        let label = |time: &Timestamp| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let between = match (first, last) {
            (Some(first), Some(last)) if first != last => {
                format!(", between {} and {}", label(first), label(last))
            }
            _ => String::new(),
        };
        let resources = if *on_other_resources {
            "on this and other resources"
        } else {
            "on the same resource"
        };
        Some(format!(
            "The same caller made this call {} times{between}, {resources}, with the same outcome.",
            self.count()
        ))
    }

    /// What the alert is headed by: the title, or, where the call was denied or failed, that. Nobody must
    /// read "backup deleted" at night when it was not.
    pub fn headline(&self) -> String {
        match self.outcome {
            Outcome::Success => one_line(self.title(), 200),
            Outcome::Denied | Outcome::Failed => {
                format!(
                    "{} {}",
                    one_line(&self.event_name, 128),
                    self.outcome.verb()
                )
            }
        }
    }

    /// `prod (111122223333)`, or the number alone, or what stands for neither.
    pub fn account_label(&self) -> String {
        let id = self.account.as_deref().map(|id| one_line(id, 64));
        match (&self.account_name, id) {
            (Some(name), Some(id)) => format!("{} ({id})", one_line(name, 64)),
            (None, Some(id)) => id,
            _ => "(not in the record)".into(),
        }
    }

    /// The caller's account, `prod (111122223333)`, where it is not the one whose trail recorded the call.
    pub fn caller_account_label(&self) -> Option<String> {
        let id = one_line(self.actor.other_account.as_deref()?, 64);
        Some(match &self.caller_account_name {
            Some(name) => format!("{} ({id})", one_line(name, 64)),
            None => id,
        })
    }

    /// `us-west-2`, or what stands for it.
    pub fn region_label(&self) -> String {
        self.region.as_deref().map_or_else(
            || "(not in the record)".into(),
            |region| one_line(region, 64),
        )
    }

    /// `2026-11-23 03:41:07 UTC`, or what stands for it.
    pub fn time_label(&self) -> String {
        self.time.map_or_else(
            || "(not in the record)".into(),
            |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        )
    }

    /// The thing the call was about, in a few words: the first resource of the request.
    pub fn main_resource(&self) -> Option<&Resource> {
        self.resources.first()
    }

    /// The call's cluster, where it names one.
    pub fn cluster_id(&self) -> Option<&str> {
        self.resources
            .iter()
            .find(|resource| resource.kind == resource::Kind::Cluster)
            .map(|resource| resource.uid.as_str())
    }

    /// The actor sentence: who called what on which thing, where and when, and what became of it.
    pub fn sentence(&self) -> String {
        let event_name = one_line(&self.event_name, 128);
        // What a call creates was not there to be called on.
        let word = if event_name.starts_with("Create") {
            "for"
        } else {
            "on"
        };
        let on = self
            .main_resource()
            .map_or_else(String::new, |thing| format!(" {word} {}", thing.label()));
        let through = match &self.actor.means {
            Means::Service(service) if self.actor.kind.as_deref() != Some("AWSService") => {
                format!(", through {service},")
            }
            _ => String::new(),
        };
        let mut sentence = format!(
            "{}{through} called {event_name}{on} in {}, {}, {}. The call {}",
            self.actor.description,
            self.account.as_ref().map_or_else(
                || "an account that the record does not name".into(),
                |_| format!("account {}", self.account_label())
            ),
            self.region.as_ref().map_or_else(
                || "a region that it does not name".into(),
                |_| self.region_label()
            ),
            self.time.map_or_else(
                || "at a time that it does not tell".into(),
                |time| time.strftime("on %Y-%m-%d at %H:%M:%S UTC").to_string()
            ),
            self.outcome.verb(),
        );
        if let Some((code, message)) = &self.error {
            if !code.is_empty() {
                sentence.push_str(&format!(" with {}", one_line(code, 128)));
            }
            if !message.is_empty() {
                sentence.push_str(&format!(": {}", quoted(message, 512)));
            }
        }
        if !sentence.ends_with(".\"") {
            sentence.push('.');
        }
        if let Some(omission) = self.omission() {
            sentence.push_str(&format!(" {omission}."));
        }
        capitalised(&sentence)
    }

    /// The event in the AWS console, where the record's region and partition are known.
    /// Source: AWS CloudTrail console, event history.
    pub fn console_link(&self) -> Option<String> {
        let region = self.region.as_deref()?;
        let is_plain = !region.is_empty()
            && region.len() <= 32
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_plain || self.event_id.starts_with("no-event-id-") || self.event_id.len() > 256 {
            return None;
        }
        let domain = match region.split('-').next() {
            Some("cn") => "console.amazonaws.cn",
            Some("us") if region.starts_with("us-gov-") => "console.amazonaws-us-gov.com",
            Some("us") if region.starts_with("us-iso") => return None,
            Some("eusc") => return None,
            _ => "console.aws.amazon.com",
        };
        let event = percent_encoding::utf8_percent_encode(&self.event_id, EVENT_ID);
        Some(format!(
            "https://{region}.{domain}/cloudtrailv2/home?region={region}#/events/{event}"
        ))
    }

    /// When the call was made, else when its record was delivered, for machines that sort by time; an alert
    /// filed under 1970 would be found by nobody.
    pub fn sort_time(&self) -> Option<Timestamp> {
        self.time.or_else(|| self.source.delivered())
    }

    /// The first command of what to do now, which is about this very call.
    pub fn first_command(&self) -> Option<&str> {
        self.response
            .lines()
            .find(|line| line.starts_with("    "))
            .map(str::trim)
    }

    /// Whether a rule was met because nothing rules it out: it asks for parameters, and the record has none.
    pub fn is_assumed(&self, rule: &Rule) -> bool {
        self.omitted_parameters.is_some() && rule.reads_parameters
    }

    /// That CloudTrail omitted the request's parameters, and why, where the record gives more than their
    /// absence.
    pub fn omission(&self) -> Option<String> {
        match self.omitted_parameters.as_ref()? {
            Omitted::Absent => None,
            Omitted::TooLarge {
                reason,
                original_size,
            } => {
                let mut text = "CloudTrail omitted the request parameters".to_owned();
                if let Some(reason) = reason {
                    text.push_str(&format!(": {}", quoted(reason, 128)));
                }
                if let Some(size) = original_size {
                    text.push_str(&format!(", original size {} bytes", one_line(size, 20)));
                }
                Some(text)
            }
            Omitted::Replaced(found) => Some(format!(
                "CloudTrail omitted the request parameters: {} stands in their place",
                quoted(found, 128)
            )),
        }
    }

    /// Roughly how many bytes this alert holds in memory.
    pub fn weight(&self) -> usize {
        4096 + weight(self.record.value())
    }
}

/// The rules whose words the alert gives: the most severe one about this very call, then those about how it
/// was made (by root, say), if one has something of their own to say of this outcome. Another rule about
/// the same call would say the same again.
fn speakers(rules: &[Arc<Rule>], outcome: Outcome) -> Vec<&Rule> {
    let speak = || {
        rules
            .iter()
            .map(|rule| &**rule)
            .filter(|rule| rule.response().covers(outcome))
    };
    let first = speak()
        .find(|rule| rule.is_about_one_call)
        .or_else(|| speak().next())
        .or(rules.first().map(|rule| &**rule));
    let Some(first) = first else {
        return Vec::new();
    };
    let others = speak().filter(|rule| !rule.is_about_one_call && rule.id != first.id);
    // The most severe of them is enough: what two general texts advise may not agree.
    std::iter::once(first).chain(others.take(1)).collect()
}

/// Bytes that a tree of JSON values takes, its nodes included.
fn weight(value: &Value) -> usize {
    const NODE: usize = 96;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, inner)| NODE + name.len() + weight(inner))
            .sum(),
        _ => 0,
    }
}

const EVENT_ID: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-');

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests;
