//! Response: the text of a rule with the next steps for the recipient of an alert, with values of the record in its
//! placeholders.
//!
//! A placeholder is `{name}`, `{name|fallback}` or `{name?text with %}`, which is nothing where the record has no such
//! value. The recipient may paste commands from this text into a shell, and
//! the caller chose the values of the record. So a value is only inserted if a shell does not interpret it
//! ([`is_shell_safe`]); otherwise the fallback is. Without a fallback, the name in capitals is, as in AWS's
//! documentation (`CLUSTER_ID`).

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::{
    Regex,
    bytes::{self, Captures},
};
use serde_json::Value;

use crate::{
    actor::{Actor, other_account},
    defang::defanged,
    record::{Outcome, Record},
    stop_caller,
    text::{is_shell_safe, one_line},
};

/// The texts of a rule by outcome of the call; `None` if the rule has none for an outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    success: Option<String>,
    /// Replaces `success` when the deadline in it is over.
    past: Option<String>,
    denied: Option<String>,
    failed: Option<String>,
    sms: Option<String>,
}

const NOTHING_CHANGED_DENIED: &str = "\
Nothing was changed: the call was denied.
Find out whether {actor} is meant to make this call. If so, a permission is missing; if not,
treat it as an attempt on the HSM.";

const NOTHING_CHANGED_FAILED: &str = "\
The call failed; according to CloudTrail, nothing was changed.
Read the error above, and expect another attempt with other values.";

const NO_INSTRUCTIONS: &str = "\
This rule has no instructions. Find out whether {actor} was meant to make this call.";

/// A step for every alert: look up other calls with the same credentials, if the record has them.
pub fn follow_the_actor(record: &Record) -> Option<String> {
    let region = record.region().filter(|region| is_shell_safe(region))?;
    let key = record
        .str("userIdentity.accessKeyId")
        .filter(|key| is_shell_safe(key))?;
    let purpose = match (other_account(record), record.account()) {
        (Some(theirs), Some(here)) => format!(
            "To see what else the caller did in account {}, {region}, within 90 days (calls in the caller's own \
             account, {}, are only visible there):",
            one_line(&here, 64),
            one_line(&theirs, 64)
        ),
        _ => format!(
            "To see what else was done with the same credentials in {region} within 90 days (then in other regions):"
        ),
    };
    Some(format!(
        "{purpose}\n    \
         aws cloudtrail lookup-events --region {region} --lookup-attributes AttributeKey=AccessKeyId,AttributeValue={key}"
    ))
}

/// `{name}`, `{name+7d}`, `{name|fallback}`, `{name?text with %}`. Anything else in braces, such as JMESPath, is plain text. The pattern
/// matches bytes, because compiling a Unicode class takes longer than composing the alert; a match starts and ends
/// with an ASCII character, so it contains whole characters.
static PLACEHOLDER: LazyLock<Option<bytes::Regex>> = LazyLock::new(|| {
    bytes::Regex::new(
        r"(?-u)\{([A-Za-z][A-Za-z0-9_.]*)(?:\+([0-9]{1,4})([dh]))?(?:\|([^{}\n]*)|\?([^{}\n]*))?\}",
    )
    .ok()
});

/// The text of a capture group.
fn group<'t>(found: &Captures<'t>, number: usize) -> Option<&'t str> {
    str::from_utf8(found.get(number)?.as_bytes()).ok()
}

/// Placeholders whose value is computed by this program.
pub(super) const COMPUTED: &[&str] = &["region", "account", "actor", "eventTime", "stopCredential"];

/// Braces that look like a misspelled placeholder: `{cluster-id}`, `{ clusterId }`, `{clusterId+7days}`. JMESPath has
/// a colon or another first character, and the shorthand syntax of the AWS CLI has an equals sign.
static MISSPELLED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{[ \t]*[A-Za-z%$][^{}:=\n]*\}").ok());

/// A placeholder without its closing brace, up to the end of the line or the next brace.
static UNCLOSED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?m)\{[A-Za-z][A-Za-z0-9_.]*(?:[+|][^{}\n]*|[ \t.;)][^{}:=,\n]*)?(?:\{|$)").ok()
});

impl Response {
    /// Reads the `response` of a rule: one text for every outcome, or a mapping from outcome to text. `sms` is the
    /// short text for an SMS about a call that succeeded.
    ///
    /// # Errors
    /// A wrong type, an unknown key, or a malformed placeholder.
    pub fn read(value: &Value) -> Result<Response, String> {
        let response = Response::of(value)?;
        for (outcome, text) in response.texts() {
            if let Some(found) = malformed_placeholder(text) {
                return Err(format!(
                    "{outcome}: expected a placeholder such as {{clusterId}}, {{clusterId|the cluster}} or {{eventTime+7d}}, found {found}"
                ));
            }
        }
        Ok(response)
    }

    /// Like [`Response::read`], without a check of the placeholders.
    ///
    /// # Errors
    /// A wrong type, or an unknown key.
    pub(super) fn of(value: &Value) -> Result<Response, String> {
        match value {
            Value::String(text) => Ok(Response {
                success: Some(text.clone()),
                denied: Some(text.clone()),
                failed: Some(text.clone()),
                past: None,
                sms: None,
            }),
            Value::Object(texts) => {
                let mut response = Response::default();
                for (outcome, text) in texts {
                    let slot = match outcome.as_str() {
                        "success" => &mut response.success,
                        "past" => &mut response.past,
                        "denied" => &mut response.denied,
                        "failed" => &mut response.failed,
                        "sms" => &mut response.sms,
                        other => {
                            return Err(format!(
                                "expected success, past, denied, failed or sms, found {other:?}"
                            ));
                        }
                    };
                    let text = text
                        .as_str()
                        .ok_or_else(|| format!("{outcome}: expected a string, found {text}"))?;
                    *slot = Some(text.to_owned());
                }
                Ok(response)
            }
            other => Err(format!(
                "expected a string or a mapping from outcome to string, found {other}"
            )),
        }
    }

    /// The texts, by key.
    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("success", &self.success),
            ("past", &self.past),
            ("denied", &self.denied),
            ("failed", &self.failed),
            ("sms", &self.sms),
        ]
        .into_iter()
        .filter_map(|(outcome, text)| Some((outcome, text.as_deref()?)))
    }

    /// The name of every placeholder, with the key of the first text that has it.
    pub(super) fn placeholders(&self) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for (outcome, text) in self.texts() {
            for name in placeholders(text) {
                if !found.iter().any(|(_, known)| *known == name) {
                    found.push((outcome, name));
                }
            }
        }
        found
    }

    /// Whether the rule has a text for this outcome.
    pub fn covers(&self, outcome: Outcome) -> bool {
        self.template(outcome).is_some()
    }

    fn template(&self, outcome: Outcome) -> Option<&str> {
        match outcome {
            Outcome::Success => self.success.as_deref(),
            Outcome::Denied => self.denied.as_deref(),
            Outcome::Failed => self.failed.as_deref(),
        }
    }

    /// Whether the text for this outcome says how to stop the caller.
    pub fn stops_the_caller(&self, outcome: Outcome) -> bool {
        self.template(outcome)
            .is_some_and(|text| text.contains("{stopCredential"))
    }

    /// The text for a record, as if a deadline in it were open.
    pub fn render(&self, record: &Record, actor: &Actor) -> String {
        self.render_on(record, actor, None)
    }

    /// The text for a record, at a time. If the rule has none for the outcome of the call, a general one. Of a
    /// deadline that is over by then, the text says so.
    pub fn render_on(&self, record: &Record, actor: &Actor, now: Option<Timestamp>) -> String {
        let outcome = record.outcome();
        let passed = self
            .template(outcome)
            .and_then(|text| passed_deadline(text, record, now?));
        if let Some(passed) = passed {
            return match (&self.past, outcome) {
                (Some(past), Outcome::Success) => render(past, record, actor),
                _ => format!(
                    "The deadline in this text, {}, has passed. See first what is still there.\n{}",
                    minutes(passed),
                    render(self.template(outcome).unwrap_or_default(), record, actor)
                ),
            };
        }
        let template = self.template(outcome).unwrap_or(match outcome {
            Outcome::Success => NO_INSTRUCTIONS,
            Outcome::Denied => NOTHING_CHANGED_DENIED,
            Outcome::Failed => NOTHING_CHANGED_FAILED,
        });
        render(template, record, actor)
    }

    /// The text for an SMS: the rule's `sms` if the call succeeded, and if a deadline in it is not over by then.
    pub fn render_sms(
        &self,
        record: &Record,
        actor: &Actor,
        now: Option<Timestamp>,
    ) -> Option<String> {
        match record.outcome() {
            Outcome::Success => self.sms.as_ref().map(|template| {
                match now.and_then(|now| passed_deadline(template, record, now)) {
                    Some(passed) => format!("Too late since {}", minutes(passed)),
                    None => render(template, record, actor),
                }
            }),
            Outcome::Denied => Some("Nothing changed".into()),
            Outcome::Failed => None,
        }
    }
}

/// The names of the placeholders in a text.
pub(super) fn placeholders(text: &str) -> Vec<String> {
    let Some(placeholder) = &*PLACEHOLDER else {
        return Vec::new();
    };
    placeholder
        .captures_iter(text.as_bytes())
        .filter_map(|found| group(&found, 1).map(str::to_owned))
        .collect()
}

/// A command: only values that are safe in a shell are in it.
pub(super) fn render_command(template: &str, record: &Record, actor: &Actor) -> String {
    let line = format!("    {}", template.trim());
    render(&line, record, actor).trim().to_owned()
}

pub(super) fn render(template: &str, record: &Record, actor: &Actor) -> String {
    // The tests compile this pattern. Without it, the text would not be changed.
    let Some(placeholder) = &*PLACEHOLDER else {
        return template.to_owned();
    };
    let lines: Vec<String> = template
        .trim_end()
        .lines()
        .filter_map(|line| render_line(placeholder, line, record, actor))
        .collect();
    lines.join("\n")
}

/// One line of a text. `None`: it consisted of optional parts for which the record has no value.
fn render_line(
    placeholder: &bytes::Regex,
    line: &str,
    record: &Record,
    actor: &Actor,
) -> Option<String> {
    // Commands stay exact. In prose, mail programs must not turn a name that the caller chose into a link.
    let is_command = line.starts_with("    ");
    let mut has_optional = false;
    let filled = placeholder.replace_all(line.as_bytes(), |found: &Captures<'_>| {
        let name = group(found, 1).unwrap_or_default();
        let value = match (group(found, 2), group(found, 3)) {
            (Some(count), Some(unit)) => deadline(record, name, count, unit).map(minutes),
            _ => value(record, actor, name),
        };
        let value = value.map(|value| match is_command || COMPUTED.contains(&name) {
            true => value,
            false => defanged(&value, 512),
        });
        if let Some(optional) = group(found, 5) {
            has_optional = true;
            return value.map_or_else(String::new, |value| optional.replace('%', &value));
        }
        value.unwrap_or_else(|| group(found, 4).map_or_else(|| capitals(name), str::to_owned))
    });
    let filled = String::from_utf8_lossy(&filled);
    if !has_optional {
        return Some(filled.into_owned());
    }
    let filled = filled.trim_end();
    (!filled.is_empty()).then(|| filled.to_owned())
}

/// The latest deadline in a text, if all of them are over.
fn passed_deadline(text: &str, record: &Record, now: Timestamp) -> Option<Timestamp> {
    let latest = PLACEHOLDER
        .as_ref()?
        .captures_iter(text.as_bytes())
        .filter_map(|found| {
            deadline(
                record,
                group(&found, 1)?,
                group(&found, 2)?,
                group(&found, 3)?,
            )
        })
        .max()?;
    (latest <= now).then_some(latest)
}

/// The first malformed placeholder.
pub(super) fn malformed_placeholder(text: &str) -> Option<&str> {
    let (placeholder, misspelled) = (PLACEHOLDER.as_ref()?, MISSPELLED.as_ref()?);
    if let Some(unclosed) = UNCLOSED.as_ref()?.find(text) {
        return Some(unclosed.as_str());
    }
    misspelled
        .find_iter(text)
        .map(|found| found.as_str())
        .find(|found| {
            placeholder
                .find(found.as_bytes())
                .is_none_or(|whole| whole.len() != found.len())
        })
}

fn value(record: &Record, actor: &Actor, name: &str) -> Option<String> {
    let value = match name {
        "region" => record.region().map(str::to_owned),
        "account" => record.account(),
        "actor" => Some(actor.short.clone()),
        "eventTime" => return record.event_time().map(minutes),
        "stopCredential" => return Some(stop_caller::first_step(record)),
        // A user of another account: a command would apply to the user with the same name in this account.
        path if path.starts_with("userIdentity.")
            && path.ends_with("userName")
            && other_account(record).is_some() =>
        {
            None
        }
        name => member(record, name),
    };
    value.filter(|value| is_shell_safe(value))
}

/// The member at a path, or the first with a name in the request or the response, as the caller wrote it.
pub(super) fn member(record: &Record, name: &str) -> Option<String> {
    if name.contains('.') {
        return record.scalar(name);
    }
    record
        .find(name)
        .map(str::to_owned)
        .or_else(|| record.scalar(name))
}

/// Whether this may be the name in a placeholder.
pub(super) fn is_member_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
}

/// A deadline: the time of the record plus a duration.
fn deadline(record: &Record, name: &str, count: &str, unit: &str) -> Option<Timestamp> {
    if name != "eventTime" {
        return None;
    }
    let count: i64 = count.parse().ok()?;
    let hours = if unit == "d" { count * 24 } else { count };
    record
        .event_time()?
        .checked_add(SignedDuration::from_hours(hours))
        .ok()
}

/// `2026-11-30 03:41 UTC`.
pub fn minutes(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `requestParameters.clusterId` → `CLUSTER_ID`. The actor is used in prose.
fn capitals(name: &str) -> String {
    if name == "actor" {
        return "the identity named in this alert".into();
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let mut out = String::new();
    for c in last.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: &str, record: Value) -> String {
        let Value::Object(fields) = record else {
            unreachable!("objects below")
        };
        let record = Record::new(0, fields);
        render(template, &record, &Actor::of(&record))
    }

    #[test]
    fn placeholders() {
        let record = json!({
            "awsRegion": "us-west-2", "eventTime": "2026-11-23T03:41:07Z", "recipientAccountId": "111122223333",
            "userIdentity": {"type": "IAMUser", "userName": "alice"},
            "requestParameters": {"backupId": "backup-zxc7vbn2mas", "neverExpires": false, "clusterId": "$(curl evil)"},
            "responseElements": {"backup": {"sourceCluster": "cluster-lk3jhgf4dsa"}},
        });
        for (template, expected) in [
            (
                "--region {region} --backup-id {backupId}",
                "--region us-west-2 --backup-id backup-zxc7vbn2mas",
            ),
            (
                "{sourceCluster} {account} {actor}",
                "cluster-lk3jhgf4dsa 111122223333 alice",
            ),
            ("{requestParameters.neverExpires}", "false"),
            (
                "until {eventTime+7d}, not {eventTime}",
                "until 2026-11-30 03:41 UTC, not 2026-11-23 03:41 UTC",
            ),
            ("{clusterId}", "CLUSTER_ID"),
            ("{clusterId|the cluster}", "the cluster"),
            ("é{clusterId|der Schlüssel · 鍵}é", "éder Schlüssel · 鍵é"),
            ("{requestParameters.hsmId}", "HSM_ID"),
            ("{awsRegion+7d}", "AWS_REGION"),
            (
                "--query 'Backups[].{Id:BackupId}' {} {a b}",
                "--query 'Backups[].{Id:BackupId}' {} {a b}",
            ),
            ("text\n\n", "text"),
        ] {
            assert_eq!(filled(template, record.clone()), expected, "{template}");
        }
    }

    #[test]
    fn a_caller_of_another_account_is_named_in_no_command() {
        let foreign = json!({
            "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "999988887777", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"},
            "recipientAccountId": "111122223333", "awsRegion": "us-west-2",
        });
        assert_eq!(
            filled("{userIdentity.userName|USER_NAME} {actor}", foreign.clone()),
            "USER_NAME 999988887777/alice"
        );
        let record = Record::new(0, foreign.as_object().unwrap().clone());
        let step = follow_the_actor(&record).unwrap();
        assert!(
            step.starts_with("To see what else the caller did in account 111122223333, us-west-2, within 90 days (calls in the caller's own account, 999988887777, are only visible there):\n    aws cloudtrail lookup-events "),
            "{step}"
        );
    }

    #[test]
    fn what_a_record_does_not_have_is_not_printed() {
        let record =
            json!({"requestParameters": {"clusterId": "cluster-a", "name": "www.evil.example"}});
        for (template, expected) in [
            (
                "{clusterId?Cluster: %. }{requestParameters.name?New name: %. }Done.",
                "Cluster: cluster-a. New name: www[.]evil[.]example. Done.",
            ),
            (
                "a\n{clusterId?Cluster: %. }{hsmId?HSM: %. }\nb",
                "a\nCluster: cluster-a.\nb",
            ),
            ("a\n{hsmId?HSM: %. }{backupId?Backup: %. }\nb", "a\nb"),
            (
                "    cmd{clusterId? --id %}{hsmId? --hsm %}",
                "    cmd --id cluster-a",
            ),
        ] {
            assert_eq!(filled(template, record.clone()), expected, "{template}");
        }
    }

    #[test]
    fn a_deadline_in_the_past_is_said_to_be_past() {
        let record = json!({"eventTime": "2026-11-23T03:41:07Z", "requestParameters": {"backupId": "backup-a"}});
        let Value::Object(fields) = record else {
            unreachable!("an object above")
        };
        let record = Record::new(0, fields);
        let actor = Actor::of(&record);
        let response = |past: Value| {
            Response::read(&json!({"success": "Restore {backupId} by {eventTime+7d}.", "past": past, "sms": "By {eventTime+7d}"}))
                .unwrap()
        };
        let with_text = response("It was open until {eventTime+7d}.".into());
        let without = Response::read(&json!("Restore {backupId} by {eventTime+7d}.")).unwrap();
        let open = "Restore backup-a by 2026-11-30 03:41 UTC.";
        for (now, expected, general, sms) in [
            // On its last day a deadline is open until its time, and no longer.
            (
                "2026-11-30T03:41:06Z",
                open,
                open.to_owned(),
                "By 2026-11-30 03:41 UTC",
            ),
            (
                "2026-11-30T03:41:07Z",
                "It was open until 2026-11-30 03:41 UTC.",
                format!(
                    "The deadline in this text, 2026-11-30 03:41 UTC, has passed. See first what is still there.\n{open}"
                ),
                "Too late since 2026-11-30 03:41 UTC",
            ),
        ] {
            let now = Some(now.parse().unwrap());
            assert_eq!(with_text.render_on(&record, &actor, now), expected);
            assert_eq!(without.render_on(&record, &actor, now), general);
            assert_eq!(
                with_text.render_sms(&record, &actor, now).as_deref(),
                Some(sms)
            );
        }
        assert_eq!(with_text.render(&record, &actor), open);
    }

    #[test]
    fn a_placeholder_without_its_closing_brace_is_found() {
        for (text, expected) in [
            ("Restore {backupId now.", Some("{backupId now.")),
            ("Restore {backupId", Some("{backupId")),
            ("{backupId\nnow }", Some("{backupId")),
            ("{backupId|a: backup\n", Some("{backupId|a: backup")),
            ("{eventTime+7d", Some("{eventTime+7d")),
            ("{backupId {region}", Some("{backupId {")),
            ("{backupId|{region}}", Some("{backupId|{")),
            ("{backupId} {backupId|a, b} {eventTime+7d|x}", None),
            ("--query 'Backups[].{id: BackupId}' '{Name:x", None),
            ("{\"Version\": 1}\nf() { x\n}", None),
        ] {
            assert_eq!(malformed_placeholder(text), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_record_leaves_no_placeholder() {
        for text in [
            NOTHING_CHANGED_DENIED,
            NOTHING_CHANGED_FAILED,
            NO_INSTRUCTIONS,
        ] {
            let filled = filled(text, json!({}));
            assert!(!filled.contains('{'), "{filled}");
        }
    }

    #[test]
    fn forms_of_a_response() {
        let all = Response::read(&json!("x")).unwrap();
        assert!(
            all.covers(Outcome::Success)
                && all.covers(Outcome::Denied)
                && all.covers(Outcome::Failed)
        );
        let some = Response::read(&json!({"success": "x"})).unwrap();
        assert!(some.covers(Outcome::Success) && !some.covers(Outcome::Denied));
        assert_eq!(
            Response::read(&json!({"succeeded": "x"})).unwrap_err(),
            "expected success, past, denied, failed or sms, found \"succeeded\""
        );
        assert_eq!(
            Response::read(&json!({"denied": 1})).unwrap_err(),
            "denied: expected a string, found 1"
        );
        assert_eq!(
            Response::read(&json!(1)).unwrap_err(),
            "expected a string or a mapping from outcome to string, found 1"
        );
    }
}
