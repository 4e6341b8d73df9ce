//! The e-mail: an alert as plain text that can be understood without opening AWS, and its subject.
//!
//! Headings start at the left margin and all other lines are indented. Each value from the record is kept on
//! one line ([`crate::text`]), so a record can forge neither a heading nor a line of the instructions.

use std::fmt::Write;

use super::{
    contents::Alert,
    evidence,
    resource::{Resource, short_id},
    sharing::Sharing,
    source::Source,
};
use crate::{
    actor::members,
    defang::{defanged, quoted},
    record::{Outcome, Record},
    rules::response,
    text::{ascii, is_shell_safe, one_line},
};

/// Maximum length of the subject: SNS accepts fewer than 100 characters. Source: Amazon SNS API Reference, Publish, `Subject`.
pub const MAX_SUBJECT: usize = 99;

/// Maximum number of rules listed.
const RULES_LISTED: usize = 20;
/// Maximum number of principals listed.
const SHARED_LISTED: usize = 100;
/// Maximum number of event IDs of grouped calls listed.
const REPEATS_LISTED: usize = 10;
/// Maximum length of the instructions in characters. Rule authors can write texts of any length.
const MAX_RESPONSE: usize = 6000;

/// The note below a rule that matches only because the parameters it tests are missing.
const ASSUMED: &str =
    "(CloudTrail omitted the request parameters; this rule matches because it cannot be ruled out)";

/// The subject: operation, outcome, place. Printable ASCII, fewer than 100 characters.
pub fn subject(alert: &Alert) -> String {
    let account = alert
        .account_name
        .as_deref()
        .or(alert.account.as_deref())
        .unwrap_or("unknown account");
    let region = alert.region.as_deref().unwrap_or("unknown region");
    let resource = alert.main_resource().map_or_else(String::new, |resource| {
        format!(", {}", defanged(short_id(&resource.uid), 256))
    });
    let subject = format!(
        "{}: {} {}{} in {} {}{}",
        alert.severity.as_str().to_uppercase(),
        ascii(&alert.event_name, 40),
        alert.outcome.verb(),
        alert.times(),
        ascii(account, 24),
        ascii(region, 20),
        ascii(&resource, 40),
    );
    ascii(&subject, MAX_SUBJECT)
}

/// The text of the e-mail.
pub fn body(alert: &Alert) -> String {
    let mut mail = Mail(String::with_capacity(4096));
    mail.0.push_str(&format!(
        "{}: {}\n",
        alert.severity.as_str().to_uppercase(),
        alert.headline()
    ));

    mail.heading("WHAT HAPPENED");
    mail.paragraph(&alert.sentence());
    if let Some(repetition) = alert.repetition() {
        mail.paragraph(&repetition);
    }
    if let Some(deadline) = &alert.deadline {
        mail.paragraph(deadline);
    }

    mail.heading("WHAT TO DO NOW");
    if alert.first_command().is_some() && alert.account.is_some() {
        mail.paragraph(&format!(
            "The commands need credentials of account {}.",
            alert.account_label()
        ));
    }
    for line in alert.instructions(MAX_RESPONSE).lines() {
        mail.paragraph(line);
    }

    mail.heading("WHO");
    who(&mut mail, alert);

    mail.heading("WHERE AND WHEN");
    // What the record does not have is not printed.
    for (label, value) in [
        (
            "Account",
            alert.account.as_ref().map(|_| alert.account_label()),
        ),
        (
            "Region",
            alert.region.as_ref().map(|_| alert.region_label()),
        ),
        ("Time", alert.time.map(|_| alert.time_label())),
    ] {
        if let Some(value) = value {
            mail.line(label, &value);
        }
    }
    mail.line("Service", &one_line(&alert.event_source, 128));
    for Resource { kind, uid } in &alert.resources {
        let mut label = kind.name().to_owned();
        label[..1].make_ascii_uppercase();
        mail.line(&label, &defanged(uid, 256));
    }
    shared_with(&mut mail, alert);
    mail.caller_field(
        "Copied to",
        &alert.record,
        "requestParameters.destinationRegion",
    );

    mail.heading(match alert.outcome {
        Outcome::Success => "MATCHED RULES",
        Outcome::Denied => "MATCHED RULES, for a call that was DENIED",
        Outcome::Failed => "MATCHED RULES, for a call that FAILED",
    });
    if alert.rules.iter().any(|rule| rule.level > alert.severity) {
        mail.paragraph("A call that failed weighs two levels less than the rules it matches.");
    }
    for rule in alert.rules.iter().take(RULES_LISTED) {
        mail.line(
            rule.level.as_str(),
            &format!(
                "{}: {}",
                one_line(&rule.name, 100),
                one_line(&rule.title, 200)
            ),
        );
        if alert.is_assumed(rule) {
            mail.line("", ASSUMED);
        }
    }
    if alert.rules.len() > RULES_LISTED {
        mail.paragraph(&format!("and {} more", alert.rules.len() - RULES_LISTED));
    }

    for (rule, filter) in alert.suppressed.iter().take(RULES_LISTED) {
        mail.line(
            "suppressed",
            &format!(
                "{}, by filter {}",
                one_line(rule, 100),
                one_line(filter, 100)
            ),
        );
    }

    mail.heading("EVIDENCE");
    mail.line("Event ID", &one_line(&alert.event_id, 256));
    let repeats = &alert.repeats.calls;
    if !repeats.is_empty() {
        let mut listed: Vec<String> = repeats
            .iter()
            .take(REPEATS_LISTED)
            .map(|call| one_line(call.event_id(), 64))
            .collect();
        if repeats.len() > REPEATS_LISTED {
            let more = repeats.len() - REPEATS_LISTED;
            listed.push(format!(
                "and {more} more, all of them in the JSON of this alert"
            ));
        }
        mail.line("Repeats", &listed.join(", "));
    }
    // CloudTrail corrects a delivered record, or adds one late, with an addendum.
    mail.aws_field("Addendum", &alert.record, "addendum.reason");
    mail.aws_field("Corrects event", &alert.record, "addendum.originalEventID");
    match alert.source {
        Source::Event(_) => mail.line("Delivered by", &alert.source.to_string()),
        _ => mail.line(
            "Recorded in",
            &format!("{}, Records[{}]", alert.source, alert.index),
        ),
    }
    if let Some(link) = alert.console_link() {
        mail.line("In the console", &link);
    }
    for (label, command) in evidence::commands(&alert.source, &alert.event_id) {
        mail.paragraph(label);
        mail.paragraph(&format!("    {command}"));
    }
    mail.0
}

/// The principals to which a policy grants access. They are sorted by importance, so the first ones are listed.
fn shared_with(mail: &mut Mail, alert: &Alert) {
    const LABEL: &str = "Shared with";
    let Sharing {
        principals,
        is_unreadable,
    } = &alert.sharing;
    for principal in principals.iter().take(SHARED_LISTED) {
        mail.line(LABEL, &defanged(principal, 256));
    }
    if principals.len() > SHARED_LISTED {
        let more = principals.len() - SHARED_LISTED;
        let text = format!("and {more} more, all of them in the JSON of this alert");
        mail.line(LABEL, &text);
    }
    if *is_unreadable {
        mail.line(
            LABEL,
            "the principals of the policy cannot be read from the record. Read the policy:",
        );
        let region = command_value(alert.region.as_deref(), "REGION");
        let arn = alert.record.str("requestParameters.resourceArn");
        let arn = command_value(arn, "BACKUP_ARN");
        mail.paragraph(&format!(
            "    aws cloudhsmv2 get-resource-policy --region {region} --resource-arn {arn}"
        ));
    }
}

/// A value for a command, or the placeholder if the value is not safe to paste into a shell.
fn command_value<'v>(value: Option<&'v str>, placeholder: &'v str) -> &'v str {
    value
        .filter(|value| is_shell_safe(value))
        .unwrap_or(placeholder)
}

fn who(mail: &mut Mail, alert: &Alert) {
    let record = &alert.record;
    mail.line("Identity", &alert.actor.description);
    mail.line("Identity type", alert.actor.kind_or_unknown());
    if let Some(account) = alert.caller_account_label() {
        mail.line("Caller's account", &account);
    }
    mail.caller_field("ARN", record, "userIdentity.arn");
    mail.caller_field("Principal", record, "userIdentity.principalId");
    mail.aws_field("Access key", record, "userIdentity.accessKeyId");
    let session = "userIdentity.sessionContext";
    if let Some(since) = record.str(&format!("{session}.attributes.creationDate")) {
        let since = since
            .parse()
            .map_or_else(|_| one_line(since, 64), response::minutes);
        mail.line("Session since", &since);
    }
    let mfa = match (alert.actor.known_mfa(), alert.actor.mfa) {
        (Some(true), _) => Some("yes, the session was opened with multi-factor authentication"),
        (Some(false), _) => Some("NO, the session was opened without multi-factor authentication"),
        (None, Some(_)) => {
            Some("unknown: AWS saw none, but an identity provider may have asked for one")
        }
        (None, None) => None,
    };
    if let Some(mfa) = mfa {
        mail.line("MFA", mfa);
    }
    mail.caller_field(
        "Federated by",
        record,
        &format!("{session}.webIdFederationData.federatedProvider"),
    );
    mail.caller_field("Identity provider", record, "userIdentity.identityProvider");
    mail.caller_field(
        "Source identity",
        record,
        &format!("{session}.sourceIdentity"),
    );
    mail.caller_field("On behalf of", record, "userIdentity.onBehalfOf.userId");
    mail.aws_field("Invoked by", record, "userIdentity.invokedBy");
    // Who uses a role of this account by temporary delegation, and what the credentials were issued to.
    for (label, path) in [
        ("Delegate", "userIdentity.invokedByDelegate"),
        ("Credentials of", "userIdentity.inScopeOf"),
    ] {
        if let Some(text) = members(record, path) {
            mail.line(label, &defanged(&text, 400));
        }
    }
    if record.field(&format!("{session}.assumedRoot")).is_some() {
        mail.line(
            "Assumed root",
            "yes, a short-lived root session opened by another account",
        );
    }
    mail.line("Client", &alert.actor.client.describe());
    if let Some(agent) = record.str("userAgent") {
        mail.line("User agent", &quoted(agent, 400));
    }
    mail.aws_field("Source IP", record, "sourceIPAddress");
    mail.aws_field("VPC endpoint", record, "vpcEndpointId");
}

/// The e-mail being written.
struct Mail(String);

impl Mail {
    fn heading(&mut self, text: &str) {
        // Writing to a String cannot fail. The same holds below.
        let _ = write!(self.0, "\n{text}\n");
    }

    /// One indented line. The caller ensures that values from the record contain no line breaks.
    fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, "{}", format!("  {text}").trim_end());
    }

    fn line(&mut self, label: &str, value: &str) {
        let _ = writeln!(self.0, "  {label:<18}{value}");
    }

    /// A line for a field that the API caller controls, if present: links in it are defanged.
    fn caller_field(&mut self, label: &str, record: &Record, path: &str) {
        if let Some(value) = record.scalar(path) {
            self.line(label, &defanged(&value, 400));
        }
    }

    /// A line for a field that AWS sets, if present.
    fn aws_field(&mut self, label: &str, record: &Record, path: &str) {
        if let Some(value) = record.scalar(path) {
            self.line(label, &one_line(&value, 400));
        }
    }
}
