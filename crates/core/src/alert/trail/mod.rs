//! What the audit of digest files finds: messages about log files and digest files, and not about a call.
//!
//! Which findings there are, and when, is decided by the function. Findings of one kind share a message: a
//! thousand deleted log files are one e-mail, which names the first and counts the others. The remedies are in
//! `remedy.rs`.

mod remedy;

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    accounts::Accounts,
    attributes,
    email::MAX_SUBJECT,
    message::{Attribute, Message, Parts},
    ocsf,
    operator::Notice,
    sms::{MAX_SMS, gsm7},
};
use crate::{
    call_id::CallId,
    defang::defanged,
    digest::{key::Chain, verdict::Interval},
    rules::response::minutes,
    severity::Severity,
    text::{ascii, one_line},
};

/// The attribute `event_name` of every message about the trail.
pub const EVENT_NAME: &str = "TrailIntegrity";
/// Most findings that an e-mail lists.
const MAX_LISTED: usize = 20;
/// Most findings in the JSON of a message: each takes up to three kilobytes.
const MAX_IN_JSON: usize = 30;
/// Most characters of a bucket and a key.
const MAX_ADDRESS: usize = 1100;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A log file has another content than CloudTrail delivered.
    LogFileAltered,
    /// A log file is not there any more.
    LogFileMissing,
    /// A log file was delivered again with another content.
    LogFileReplaced,
    /// Somebody removed a log file or a digest file.
    FileRemoved,
    /// A digest file is not the one that CloudTrail delivered.
    DigestAltered,
    /// Digest files are missing in a period.
    DigestMissing,
    /// No digest files come any more.
    DigestSilent,
    /// Digest files of a region cannot be verified.
    NotVerified,
    /// The digest files of a bucket are those of another one.
    Copied,
}

impl Kind {
    /// All of them, the most severe first.
    pub const ALL: [Kind; 9] = [
        Kind::LogFileAltered,
        Kind::LogFileMissing,
        Kind::LogFileReplaced,
        Kind::FileRemoved,
        Kind::DigestAltered,
        Kind::DigestMissing,
        Kind::DigestSilent,
        Kind::NotVerified,
        Kind::Copied,
    ];

    /// The stable name.
    pub fn code(self) -> &'static str {
        match self {
            Kind::LogFileAltered => "trail-log-file-altered",
            Kind::LogFileMissing => "trail-log-file-missing",
            Kind::LogFileReplaced => "trail-log-file-replaced",
            Kind::FileRemoved => "trail-file-removed",
            Kind::DigestAltered => "trail-digest-altered",
            Kind::DigestMissing => "trail-digest-missing",
            Kind::DigestSilent => "trail-digest-silent",
            Kind::NotVerified => "trail-digest-not-verified",
            Kind::Copied => "trail-digest-copied",
        }
    }

    /// How severe it is.
    pub fn severity(self) -> Severity {
        match self {
            Kind::LogFileAltered
            | Kind::LogFileMissing
            | Kind::LogFileReplaced
            | Kind::FileRemoved
            | Kind::DigestAltered => Severity::Critical,
            Kind::DigestMissing | Kind::DigestSilent => Severity::High,
            // Nothing was found to be wrong.
            Kind::NotVerified | Kind::Copied => Severity::Medium,
        }
    }

    fn title(self, count: usize) -> String {
        let (one, many) = match self {
            Kind::LogFileAltered => (
                "A CloudTrail log file was altered",
                "log files were altered",
            ),
            Kind::LogFileMissing => ("A CloudTrail log file is missing", "log files are missing"),
            Kind::LogFileReplaced => (
                "A CloudTrail log file was replaced",
                "log files were replaced",
            ),
            Kind::FileRemoved => (
                "Somebody removed a CloudTrail file",
                "callers removed log files or digest files",
            ),
            Kind::DigestAltered => (
                "A CloudTrail digest file was altered",
                "digest files were altered",
            ),
            Kind::DigestMissing => (
                "CloudTrail digest files are missing",
                "periods have no digest files",
            ),
            Kind::DigestSilent => (
                "CloudTrail delivers no digest files any more",
                "trails or regions deliver no digest files any more",
            ),
            Kind::NotVerified => (
                "CloudTrail digest files cannot be verified",
                "regions have digest files that cannot be verified",
            ),
            Kind::Copied => (
                "The digest files are copies of those of another bucket",
                "buckets have copies of digest files",
            ),
        };
        match count {
            1 => one.to_owned(),
            count => format!("CloudTrail: {count} {many}"),
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailFinding {
    /// What was found.
    pub kind: Kind,
    /// What distinguishes it from others of its kind, always the same for the same thing: `bucket/key`, or a chain with a
    /// time.
    pub subject: String,
    /// The account whose calls are recorded.
    pub account: String,
    /// The region whose calls are recorded.
    pub region: String,
    /// The chain of digest files, if it is known.
    pub chain: Option<Chain>,
    /// The object that it is about: bucket and key.
    pub object: Option<(String, String)>,
    /// The period that it is about.
    pub interval: Option<Interval>,
    /// What was found, in whole sentences.
    pub detail: String,
    /// Who did it, as S3 writes a caller, if that is known.
    pub caller: Option<String>,
}

impl TrailFinding {
    /// The identity by which it is deduplicated.
    pub fn id(&self) -> CallId {
        CallId::of_finding(self.kind.code(), &self.subject)
    }

    /// `s3://bucket/key`, or the chain.
    fn what(&self) -> String {
        match (&self.object, &self.chain) {
            (Some((bucket, key)), _) => {
                format!("s3://{}", one_line(&format!("{bucket}/{key}"), MAX_ADDRESS))
            }
            (None, Some(chain)) => defanged(&chain.to_string(), 400),
            (None, None) => one_line(&self.subject, MAX_ADDRESS),
        }
    }

    fn as_json(&self) -> Value {
        let object = self.object.as_ref().map(|(bucket, key)| {
            json!({ "bucket": one_line(bucket, 256), "key": one_line(key, MAX_ADDRESS) })
        });
        json!({
            "code": self.kind.code(),
            "account": one_line(&self.account, 64),
            "region": one_line(&self.region, 64),
            "trail": self.chain.as_ref().map(|chain| one_line(&chain.trail, 128)),
            "object": object,
            "from": self.interval.map(|it| it.from.to_string()),
            "to": self.interval.map(|it| it.to.to_string()),
            "detail": one_line(&self.detail, 1600),
            "caller": self.caller.as_deref().map(|caller| one_line(caller, 256)),
        })
    }
}

/// The message about findings of one kind, with its page. `None`: there are none.
pub fn message(findings: &[&TrailFinding], now: Timestamp, accounts: &Accounts) -> Option<Notice> {
    let first = *findings.first()?;
    let (kind, severity) = (first.kind, first.kind.severity());
    let title = kind.title(findings.len());
    let label = account_label(&first.account, accounts);
    let subject = ascii(
        &format!(
            "{}: {title}, {label} {}",
            severity.as_str().to_uppercase(),
            one_line(&first.region, 24)
        ),
        MAX_SUBJECT,
    );
    let remedies = remedy::of(first);
    let listed = |most: usize| -> Value {
        let mut finding = ocsf::base_finding(
            severity,
            now.as_millisecond(),
            first.id().key(),
            &title,
            &format!(
                "{title}. {}: {}",
                first.what(),
                one_line(&first.detail, 1600)
            ),
        );
        finding["cloud"] = json!({
            "provider": "AWS",
            "account": { "uid": one_line(&first.account, 64), "name": accounts.name(&first.account) },
            "region": one_line(&first.region, 64),
        });
        finding["finding_info"]["types"] = json!([kind.code()]);
        finding["remediation"] = json!({ "desc": remedies.join("\n") });
        finding["unmapped"] = json!({
            "code": kind.code(),
            "count": findings.len(),
            "findings": findings.iter().take(most).map(|it| it.as_json()).collect::<Vec<_>>(),
        });
        finding
    };
    let parts = Parts {
        email: Some(email(findings, &title, &remedies, accounts)),
        attributes: attributes(findings, severity),
        finding: listed(MAX_IN_JSON),
        subject,
    };
    Some(Notice {
        message: Message::compose(parts, Some(&|| listed(1))),
        page: Message::page(page(first, findings.len(), accounts)),
    })
}

fn account_label(account: &str, accounts: &Accounts) -> String {
    let id = one_line(account, 64);
    match accounts.name(account) {
        Some(name) => format!("{} ({id})", one_line(name, 64)),
        None => format!("account {id}"),
    }
}

fn email(
    findings: &[&TrailFinding],
    title: &str,
    remedies: &[String],
    accounts: &Accounts,
) -> String {
    let mut mail = format!("{title}\n\nWHAT HAPPENED\n");
    let mut line = |text: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(mail, "{text}");
    };
    for finding in findings.iter().take(MAX_LISTED) {
        line(&format!("  {}", finding.what()));
        line(&format!("    {}", defanged(&finding.detail, 1600)));
        let trail = finding.chain.as_ref().map_or_else(String::new, |chain| {
            format!(" Trail {}.", defanged(&chain.trail, 128))
        });
        let period = match finding.interval {
            Some(it) if it.from == it.to => format!(" At {}.", minutes(it.from)),
            Some(it) => format!(" From {} to {}.", minutes(it.from), minutes(it.to)),
            None => String::new(),
        };
        line(&format!(
            "    {}, {}.{trail}{period}",
            account_label(&finding.account, accounts),
            one_line(&finding.region, 64)
        ));
    }
    if findings.len() > MAX_LISTED {
        line(&format!("  and {} more", findings.len() - MAX_LISTED));
    }
    if let Some(first) = findings.first() {
        line(&format!(
            "\nWHAT IT MEANS\n  {}",
            remedy::meaning(first.kind)
        ));
    }
    line("\nWHAT TO DO NOW");
    for remedy in remedies {
        line(remedy);
    }
    line(
        "\nCloudTrail signs an hourly list of the log files that it delivers. cloudhsm-alerts compares each list with what is in the bucket.",
    );
    mail
}

fn page(first: &TrailFinding, count: usize, accounts: &Accounts) -> String {
    let account = accounts.name(&first.account).unwrap_or(&first.account);
    let name = match &first.object {
        Some((_, key)) => {
            let name = key.rsplit('/').next().unwrap_or_default();
            name.trim_end_matches(".json.gz")
        }
        None => first.chain.as_ref().map_or("", |chain| &chain.trail),
    };
    let base = format!(
        "{} {}, {} {}",
        first.kind.severity().as_str().to_uppercase(),
        first.kind.title(count),
        gsm7(account, 16),
        gsm7(&first.region, 16)
    );
    let left = MAX_SMS.saturating_sub(base.len() + 2);
    match left {
        0..=11 => gsm7(&base, MAX_SMS),
        left => format!("{base}: {}", gsm7(&defanged(name, 256), left)),
    }
}

fn attributes(findings: &[&TrailFinding], severity: Severity) -> Vec<(&'static str, Attribute)> {
    let joint = |value: fn(&TrailFinding) -> &str| {
        attributes::joint(findings.iter().map(|finding| value(finding)), 64, 50)
    };
    let one = |text: &str| Some(Attribute::One(text.to_owned()));
    [
        ("severity", one(severity.as_str())),
        ("event_name", one(EVENT_NAME)),
        ("outcome", one("success")),
        ("account", joint(|finding| &finding.account)),
        ("region", joint(|finding| &finding.region)),
        ("actor_type", one("cloudhsm-alerts")),
        ("rule", joint(|finding| finding.kind.code())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

#[cfg(test)]
mod tests;
