//! The e-mail: all that a person needs without opening AWS, and its subject line.
//!
//! Headings stand at the left edge, everything else is indented, and what comes from the record is on
//! one line each ([`crate::text`]): a record cannot write a heading, nor a line that looks like ours.

use std::fmt::Write;

use crate::{
    actor::members,
    alert::{Alert, Source, resource::Resource, sharing::Sharing},
    links::{quoted, unlinked},
    record::{Outcome, Record},
    rules::response,
    text::{ascii, is_shell_safe, one_line},
};

/// SNS takes fewer than 100 characters. Source: Amazon SNS API Reference, Publish, `Subject`.
pub const MAX_SUBJECT: usize = 99;

/// At most so many rules are listed.
const RULES_LISTED: usize = 20;
/// At most so many principals of a policy.
const SHARED_LISTED: usize = 100;
/// At most so many event IDs of repeated calls.
const REPEATS_LISTED: usize = 10;
/// At most so many characters of instructions: a rule's text is its author's, and may be anything.
const MAX_RESPONSE: usize = 6000;

/// For a rule that matches because it cannot be ruled out.
const ASSUMED: &str =
    "(CloudTrail omitted the request parameters; this rule matches because it cannot be ruled out)";

/// Printable ASCII of fewer than 100 characters: what, what became of it, where.
pub fn subject(alert: &Alert) -> String {
    let account = alert
        .account_name
        .as_deref()
        .or(alert.account.as_deref())
        .unwrap_or("unknown account");
    let region = alert.region.as_deref().unwrap_or("unknown region");
    let thing = alert.main_resource().map_or_else(String::new, |thing| {
        format!(", {}", unlinked(tail(&thing.uid), 256))
    });
    let subject = format!(
        "{}: {} {}{} in {} {}{}",
        alert.severity.as_str().to_uppercase(),
        ascii(&alert.event_name, 40),
        alert.outcome.verb(),
        alert.times(),
        ascii(account, 24),
        ascii(region, 20),
        ascii(&thing, 40),
    );
    ascii(&subject, MAX_SUBJECT)
}

/// The last part of an ARN, or the identifier itself.
pub(super) fn tail(uid: &str) -> &str {
    uid.rsplit('/')
        .next()
        .filter(|part| !part.is_empty())
        .unwrap_or(uid)
}

/// The text of the e-mail.
pub fn text(alert: &Alert) -> String {
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

    mail.heading("WHAT TO DO NOW");
    if alert.first_command().is_some() {
        mail.paragraph(&format!(
            "The commands need credentials of account {}.",
            alert.account_label()
        ));
    }
    for line in clipped(&alert.response, MAX_RESPONSE).lines() {
        mail.paragraph(line);
    }

    mail.heading("WHO");
    who(&mut mail, alert);

    mail.heading("WHERE AND WHEN");
    mail.line("Account", &alert.account_label());
    mail.line("Region", &alert.region_label());
    mail.line("Time", &alert.time_label());
    mail.line("Service", &one_line(&alert.event_source, 128));
    for Resource { kind, uid } in &alert.resources {
        let mut word = kind.word().to_owned();
        word[..1].make_ascii_uppercase();
        mail.line(&word, &unlinked(uid, 256));
    }
    shared_with(&mut mail, alert);
    mail.field(
        "Copied to",
        &alert.record,
        "requestParameters.destinationRegion",
    );

    mail.heading(match alert.outcome {
        Outcome::Success => "RULES MET",
        Outcome::Denied => "RULES MET, by a call that was DENIED",
        Outcome::Failed => "RULES MET, by a call that FAILED",
    });
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

    for (rule, filter) in alert.filtered.iter().take(RULES_LISTED) {
        mail.line(
            "kept back",
            &format!(
                "{}, by the filter {}",
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
    // A second record of a call that was told already, or one that came late.
    mail.own_field("Addendum", &alert.record, "addendum.reason");
    mail.own_field("Corrects event", &alert.record, "addendum.originalEventID");
    match alert.source {
        Source::Event(_) => mail.line("Carried by", &alert.source.to_string()),
        _ => mail.line(
            "Recorded in",
            &format!("{}, Records[{}]", alert.source, alert.index),
        ),
    }
    if let Some(link) = alert.console_link() {
        mail.line("In the console", &link);
    }
    mail.0
}

/// Whom a policy lets in: the first of them, because they come in the order of what matters.
fn shared_with(mail: &mut Mail, alert: &Alert) {
    const LABEL: &str = "Shared with";
    let Sharing {
        principals,
        is_unreadable,
    } = &alert.sharing;
    for principal in principals.iter().take(SHARED_LISTED) {
        mail.line(LABEL, &unlinked(principal, 256));
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
        let arn = alert.record.text("requestParameters.resourceArn");
        let arn = command_value(arn, "BACKUP_ARN");
        mail.paragraph(&format!(
            "    aws cloudhsmv2 get-resource-policy --region {region} --resource-arn {arn}"
        ));
    }
}

/// A value of the record in a command, or what stands for it.
fn command_value<'v>(value: Option<&'v str>, otherwise: &'v str) -> &'v str {
    value
        .filter(|value| is_shell_safe(value))
        .unwrap_or(otherwise)
}

fn who(mail: &mut Mail, alert: &Alert) {
    let record = &alert.record;
    mail.line("Identity", &alert.actor.description);
    mail.line("Identity type", alert.actor.kind_or_unknown());
    if let Some(account) = alert.caller_account_label() {
        mail.line("Caller's account", &account);
    }
    mail.field("ARN", record, "userIdentity.arn");
    mail.field("Principal", record, "userIdentity.principalId");
    mail.own_field("Access key", record, "userIdentity.accessKeyId");
    let session = "userIdentity.sessionContext";
    if let Some(since) = record.text(&format!("{session}.attributes.creationDate")) {
        let since = since
            .parse()
            .map_or_else(|_| one_line(since, 64), response::minutes);
        mail.line("Session since", &since);
    }
    let mfa = match alert.actor.mfa {
        Some(true) => "yes, the session was opened with multi-factor authentication",
        // For a role, AWS records only its own MFA: an identity provider's is not in the record.
        Some(false) if alert.actor.kind.as_deref() == Some("AssumedRole") => {
            "no: AWS saw none; an identity provider may have asked for one"
        }
        Some(false) => "NO, the session was opened without multi-factor authentication",
        None => "not recorded",
    };
    mail.line("MFA", mfa);
    mail.field(
        "Federated by",
        record,
        &format!("{session}.webIdFederationData.federatedProvider"),
    );
    mail.field("Identity provider", record, "userIdentity.identityProvider");
    mail.field(
        "Source identity",
        record,
        &format!("{session}.sourceIdentity"),
    );
    mail.field("On behalf of", record, "userIdentity.onBehalfOf.userId");
    mail.own_field("Invoked by", record, "userIdentity.invokedBy");
    // Whoever acts with a role of this account under temporary delegation, and what held the credentials.
    for (label, path) in [
        ("Delegate", "userIdentity.invokedByDelegate"),
        ("Credentials of", "userIdentity.inScopeOf"),
    ] {
        if let Some(text) = members(record, path) {
            mail.line(label, &unlinked(&text, 400));
        }
    }
    if record.field(&format!("{session}.assumedRoot")).is_some() {
        mail.line(
            "Assumed root",
            "yes, a short-lived root session opened by another account",
        );
    }
    mail.line("Made with", &alert.actor.means.describe());
    if let Some(agent) = record.text("userAgent") {
        mail.line("User agent", &quoted(agent, 400));
    }
    mail.own_field("From", record, "sourceIPAddress");
    mail.own_field("VPC endpoint", record, "vpcEndpointId");
}

/// A mail in the making.
struct Mail(String);

impl Mail {
    fn heading(&mut self, text: &str) {
        // Writing into a String cannot fail; likewise below.
        let _ = write!(self.0, "\n{text}\n");
    }

    /// One indented line; what stands in it is already one line, save a rule's own text, whose line
    /// breaks are its author's.
    fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, "{}", format!("  {text}").trim_end());
    }

    fn line(&mut self, label: &str, value: &str) {
        let _ = writeln!(self.0, "  {label:<18}{value}");
    }

    /// A line for a field of the record, if it is there.
    fn field(&mut self, label: &str, record: &Record, path: &str) {
        if let Some(value) = record.scalar(path) {
            self.line(label, &unlinked(&value, 400));
        }
    }

    /// The same for a field whose text is AWS's own.
    fn own_field(&mut self, label: &str, record: &Record, path: &str) {
        if let Some(value) = record.scalar(path) {
            self.line(label, &one_line(&value, 400));
        }
    }
}

fn clipped(text: &str, limit: usize) -> &str {
    text.char_indices()
        .nth(limit)
        .map_or(text, |(end, _)| &text[..end])
}
