//! The contents of an alert: everything that any message about one call needs.
//!
//! [`Alert::new`] takes it out of a finding, once: secrets are removed, sizes are bounded, and labels such as
//! the account's name are looked up. The formats only arrange it. An alert covers one call and the calls that were
//! grouped with it.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::{
    accounts::Accounts,
    advice::Advice,
    resource::{self, Resource},
    sharing::Sharing,
    source::Source,
};
use crate::{
    actor::{Actor, Client},
    call_id::CallId,
    defang::quoted,
    finding::Finding,
    record::{Omitted, Outcome, Record},
    rules::{Rule, Suppressed},
    severity::Severity,
    text::one_line,
};

/// The calls that were grouped into an alert. They have the same caller, operation and outcome as the call that the
/// alert is about, and may have other resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repeats {
    /// The grouped calls, in the order of their records.
    pub calls: Vec<CallId>,
    /// The time of the earliest call, including the one that the alert is about.
    pub first: Option<Timestamp>,
    /// The time of the latest call.
    pub last: Option<Timestamp>,
    /// Whether some of the calls have other resources.
    pub on_other_resources: bool,
}

/// An alert about one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The highest level among the rules.
    pub severity: Severity,
    /// The matched rules, most severe first. Never empty.
    pub rules: Vec<Arc<Rule>>,
    /// The identity of the call, for deduplication.
    pub call_id: CallId,
    /// CloudTrail's `eventID`.
    pub event_id: String,
    /// The calls that were grouped into this alert.
    pub repeats: Repeats,
    /// CloudTrail's `eventName`, such as `DeleteBackup`.
    pub event_name: String,
    /// CloudTrail's `eventSource`, the called service.
    pub event_source: String,
    /// The time of the call. `None`: the record has no valid `eventTime`.
    pub time: Option<Timestamp>,
    /// Whether the call succeeded.
    pub outcome: Outcome,
    /// Error code and error message, without secrets.
    pub error: Option<(String, String)>,
    /// The caller.
    pub actor: Actor,
    /// The ID of the account.
    pub account: Option<String>,
    /// The name of the account, if configured.
    pub account_name: Option<String>,
    /// The name of the caller's account, if configured.
    pub caller_account_name: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Clusters, HSMs, backups and other resources that the record names.
    pub resources: Vec<Resource>,
    /// The principals to which a resource policy in the record grants access.
    pub sharing: Sharing,
    /// Why the record has no request parameters. A rule that tests them then matches, because the missing
    /// parameters could have matched. `None`: the record has them.
    pub omitted_parameters: Option<Omitted>,
    /// The names of rules whose match was suppressed, each with the name of the filter.
    pub suppressed: Vec<(String, String)>,
    /// What is known of the deadline that the call opens or closes, in sentences. The function sets it; there is none
    /// without a watch table.
    pub deadline: Option<String>,
    /// Where the record was read.
    pub source: Source,
    /// Position in the log file's `Records`, starting at 0.
    pub index: u64,
    /// The record without secrets.
    pub record: Record,
    /// The time at which the record was matched.
    pub(super) now: Timestamp,
    /// What to do now, once it was asked for.
    pub(super) advice: OnceLock<Advice>,
}

impl Alert {
    /// Creates the alert for a finding.
    pub fn new(finding: Finding, source: &Source, accounts: &Accounts) -> Alert {
        // Computed before redaction: without an eventID, the identity is a hash of the whole record.
        let call_id = CallId::of(&finding.record);
        Alert::of_call(finding, call_id, source, accounts)
    }

    /// Creates the alert for a finding, of whose record the identity is known.
    pub fn of_call(
        finding: Finding,
        call_id: CallId,
        source: &Source,
        accounts: &Accounts,
    ) -> Alert {
        let severity = finding.severity();
        let sharing = Sharing::of(&finding.record, accounts);
        let record = finding.record.redacted();
        let actor = Actor::of(&record);
        let outcome = record.outcome();
        let error = (outcome != Outcome::Success).then(|| {
            let code = record.scalar("errorCode").unwrap_or_default();
            let message = record.scalar("errorMessage").unwrap_or_default();
            (code, message)
        });
        let account = record.account();
        let account_name = account
            .as_deref()
            .and_then(|id| accounts.name(id).map(str::to_owned));
        let name_of = |id: Option<String>| id.and_then(|id| accounts.name(&id).map(str::to_owned));
        Alert {
            omitted_parameters: record.omitted_parameters(),
            suppressed: finding
                .suppressed
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
            account_name,
            caller_account_name: name_of(record.account_id("userIdentity.accountId")),
            account,
            region: record.region().map(str::to_owned),
            resources: resource::of(&record),
            sharing,
            deadline: None,
            source: source.clone(),
            index: record.index(),
            record,
            now: finding.now,
            advice: OnceLock::new(),
        }
    }

    /// The title of the most severe rule. It describes a successful call; see [`Alert::headline`].
    pub fn title(&self) -> &str {
        self.rules
            .first()
            .map_or("CloudHSM call", |rule| &rule.title)
    }

    /// The number of calls that the alert covers.
    pub fn count(&self) -> usize {
        1 + self.repeats.calls.len()
    }

    /// The calls that the alert covers.
    pub fn call_ids(&self) -> impl Iterator<Item = &CallId> {
        std::iter::once(&self.call_id).chain(&self.repeats.calls)
    }

    /// ` 400 times`, or an empty string for a single call.
    pub fn times(&self) -> String {
        match self.count() {
            1 => String::new(),
            count => format!(" {count} times"),
        }
    }

    /// A sentence about the grouped calls: how many, in which period, on which resources.
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

    /// The headline: the rule's title, or `DeleteBackup was DENIED` for a call that did not succeed. A reader
    /// must not see "backup deleted" when the backup still exists.
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

    /// `prod (111122223333)`, the ID alone if the account has no name, or `(not in the record)`.
    pub fn account_label(&self) -> String {
        label(self.account.as_deref(), self.account_name.as_deref())
    }

    /// The caller's account, such as `prod (111122223333)`, if it is not the account that recorded the call.
    pub fn caller_account_label(&self) -> Option<String> {
        let id = one_line(self.actor.other_account.as_deref()?, 64);
        Some(match &self.caller_account_name {
            Some(name) => format!("{} ({id})", one_line(name, 64)),
            None => id,
        })
    }

    /// `us-west-2`, or `(not in the record)`.
    pub fn region_label(&self) -> String {
        self.region.as_deref().map_or_else(
            || "(not in the record)".into(),
            |region| one_line(region, 64),
        )
    }

    /// `2026-11-23 03:41:07 UTC`, or `(not in the record)`.
    pub fn time_label(&self) -> String {
        self.time.map_or_else(
            || "(not in the record)".into(),
            |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        )
    }

    /// The resource that the call was about.
    pub fn main_resource(&self) -> Option<&Resource> {
        self.resources.first()
    }

    /// The ID of the first cluster that the record names.
    pub fn cluster_id(&self) -> Option<&str> {
        self.resources
            .iter()
            .find(|resource| resource.kind == resource::Kind::Cluster)
            .map(|resource| resource.uid.as_str())
    }

    /// One sentence: who called which operation on which resource, where and when, and with what outcome.
    pub fn sentence(&self) -> String {
        let event_name = one_line(&self.event_name, 128);
        // The resource of a Create call did not exist before: "called CreateHsm for cluster …".
        let preposition = if event_name.starts_with("Create") {
            "for"
        } else {
            "on"
        };
        let on_resource = self.main_resource().map_or_else(String::new, |resource| {
            format!(" {preposition} {}", resource.label())
        });
        let through = match &self.actor.client {
            Client::Service(service) if self.actor.kind.as_deref() != Some("AWSService") => {
                format!(", through {service},")
            }
            _ => String::new(),
        };
        let account = self
            .account
            .as_ref()
            .map(|_| format!("account {}", self.account_label()));
        let region = self.region.as_ref().map(|_| self.region_label());
        let place: Vec<String> = [account, region].into_iter().flatten().collect();
        let place = match place.as_slice() {
            [] => String::new(),
            known => format!(" in {}", known.join(", ")),
        };
        let time = self.time.map_or_else(String::new, |time| {
            let comma = if place.is_empty() { "" } else { "," };
            format!("{comma} on {}", time.strftime("%Y-%m-%d at %H:%M:%S UTC"))
        });
        let mut sentence = format!(
            "{}{through} called {event_name}{on_resource}{place}{time}. The call {}",
            self.actor.description,
            self.outcome.verb()
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
        capitalized(&sentence)
    }

    /// A link to the event in CloudTrail's event history. `None`: the region is missing or not valid, its
    /// partition has no public console, or the record has no event ID.
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
        let event = percent_encoding::utf8_percent_encode(&self.event_id, LINK_ESCAPES);
        Some(format!(
            "https://{region}.{domain}/cloudtrailv2/home?region={region}#/events/{event}"
        ))
    }

    /// The time of the call, or else of the log file's delivery. Other tools sort findings by time; one with
    /// the time 0 would be filed under 1970 and overlooked.
    pub fn sort_time(&self) -> Option<Timestamp> {
        self.time.or_else(|| self.source.delivery_time())
    }

    /// Whether a rule matches only because CloudTrail omitted the request parameters that it tests.
    pub fn is_assumed(&self, rule: &Rule) -> bool {
        self.omitted_parameters.is_some() && rule.reads_parameters
    }

    /// A note that CloudTrail omitted the request parameters, with the reason. `None` where they are merely
    /// absent, as on most errors.
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
                "CloudTrail omitted the request parameters: they are replaced by {}",
                quoted(found, 128)
            )),
        }
    }
}

/// `prod (111122223333)`, the ID alone if the account has no name, or `(not in the record)`.
fn label(id: Option<&str>, name: Option<&str>) -> String {
    let id = id.map(|id| one_line(id, 64));
    match (name, id) {
        (Some(name), Some(id)) => format!("{} ({id})", one_line(name, 64)),
        (None, Some(id)) => id,
        _ => "(not in the record)".into(),
    }
}

/// Characters that are percent-encoded in a link: all but letters, digits and `-`.
const LINK_ESCAPES: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-');

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
