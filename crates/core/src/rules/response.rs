//! What to do now: the text a rule carries for the person who gets the alert, with the record's values
//! put into its placeholders.
//!
//! A placeholder is `{name}` or `{name|text for when the record does not say}`. The person will paste
//! commands out of this text into a shell, and a record's values are the caller's words; so a value is
//! put in only if it is harmless there ([`is_shell_safe`]), and otherwise counts as not said. No
//! placeholder ever reaches a person: without a fallback the name in capitals stands in, as in AWS's
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
    text::{is_shell_safe, one_line},
};

/// A rule's text by outcome of the call; `None`: nothing of its own to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    success: Option<String>,
    denied: Option<String>,
    failed: Option<String>,
    sms: Option<String>,
}

const NOTHING_CHANGED_DENIED: &str = "\
Nothing was changed: the call was denied.
Find out whether {actor} is meant to make this call. If so, a permission is missing; if not,
treat it as an attempt on the HSM.";

const NOTHING_CHANGED_FAILED: &str = "\
The call failed; as far as CloudTrail tells, nothing was changed.
Read the error above, and expect another attempt with other values.";

const NOTHING_SAID: &str = "\
This rule carries no instructions. Find out whether {actor} was meant to make this call.";

/// The step that belongs to every alert: what else the same credentials did, where the record names them.
pub fn follow_the_actor(record: &Record) -> Option<String> {
    let region = record.region().filter(|region| is_shell_safe(region))?;
    let key = record
        .str("userIdentity.accessKeyId")
        .filter(|key| is_shell_safe(key))?;
    let where_else = match (other_account(record), record.account()) {
        (Some(theirs), Some(here)) => format!(
            "To see what else the caller did in account {}, {region}, within 90 days (what was done in the caller's own \
             account, {}, only that account can see):",
            one_line(&here, 64),
            one_line(&theirs, 64)
        ),
        _ => format!(
            "To see what else was done with the same credentials in {region} within 90 days (then in other regions):"
        ),
    };
    Some(format!(
        "{where_else}\n    \
         aws cloudtrail lookup-events --region {region} --lookup-attributes AttributeKey=AccessKeyId,AttributeValue={key}"
    ))
}

/// `{name}`, `{name+7d}`, `{name|fallback}`. Anything else in braces (a JMESPath, say) is plain text. Of bytes,
/// because to compile a class of any character takes longer than to write the alert; what it finds
/// begins and ends beside ASCII, so it is whole characters.
static PLACEHOLDER: LazyLock<Option<bytes::Regex>> = LazyLock::new(|| {
    bytes::Regex::new(
        r"(?-u)\{([A-Za-z][A-Za-z0-9_.]*)(?:\+([0-9]{1,4})([dh]))?(?:\|([^{}\n]*))?\}",
    )
    .ok()
});

/// The text of a group, if it is there.
fn group<'t>(found: &Captures<'t>, number: usize) -> Option<&'t str> {
    str::from_utf8(found.get(number)?.as_bytes()).ok()
}

/// Names that are filled from more than one member, or in words of this program's.
pub(super) const COMPUTED: &[&str] = &["region", "account", "actor", "eventTime", "stopCredential"];

/// Braces that were meant to be a placeholder and would reach a person as they stand: `{cluster-id}`,
/// `{ clusterId }`, `{clusterId+7days}`. A JMESPath has a colon or begins otherwise, the AWS CLI's shorthand
/// an equals sign.
static NEARLY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{[ \t]*[A-Za-z%$][^{}:=\n]*\}").ok());

impl Response {
    /// The rule's `response`: one text for every outcome, or a mapping from outcome to text, with
    /// `sms` for the few words that an SMS about a call that succeeded has room for.
    ///
    /// # Errors
    /// Another type, a key that is no outcome, or braces that are no placeholder.
    pub fn read(value: &Value) -> Result<Response, String> {
        let response = Response::of(value)?;
        for (outcome, text) in response.texts() {
            if let Some(found) = no_placeholder(text) {
                return Err(format!(
                    "{outcome}: expected a placeholder such as {{clusterId}}, {{clusterId|the cluster}} or {{eventTime+7d}}, found {found}"
                ));
            }
        }
        Ok(response)
    }

    /// The same without a look at the braces.
    ///
    /// # Errors
    /// Another type, or a key that is no outcome.
    pub(super) fn of(value: &Value) -> Result<Response, String> {
        match value {
            Value::String(text) => Ok(Response {
                success: Some(text.clone()),
                denied: Some(text.clone()),
                failed: Some(text.clone()),
                sms: None,
            }),
            Value::Object(texts) => {
                let mut response = Response::default();
                for (outcome, text) in texts {
                    let slot = match outcome.as_str() {
                        "success" => &mut response.success,
                        "denied" => &mut response.denied,
                        "failed" => &mut response.failed,
                        "sms" => &mut response.sms,
                        other => {
                            return Err(format!(
                                "expected success, denied, failed or sms, found {other:?}"
                            ));
                        }
                    };
                    let text = text
                        .as_str()
                        .ok_or_else(|| format!("{outcome}: expected text, found {text}"))?;
                    *slot = Some(text.to_owned());
                }
                Ok(response)
            }
            other => Err(format!(
                "expected text or a mapping from outcome to text, found {other}"
            )),
        }
    }

    /// The texts by outcome; a text that stands for several comes once.
    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("success", &self.success),
            ("denied", &self.denied),
            ("failed", &self.failed),
            ("sms", &self.sms),
        ]
        .into_iter()
        .filter_map(|(outcome, text)| Some((outcome, text.as_deref()?)))
    }

    /// Every placeholder's name with the outcome in whose text it stands.
    pub(super) fn placeholders(&self) -> Vec<(&'static str, String)> {
        let Some(placeholder) = &*PLACEHOLDER else {
            return Vec::new();
        };
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for (outcome, text) in self.texts() {
            for found_here in placeholder.captures_iter(text.as_bytes()) {
                let name = group(&found_here, 1).unwrap_or_default().to_owned();
                if !found.iter().any(|(_, known)| *known == name) {
                    found.push((outcome, name));
                }
            }
        }
        found
    }

    /// Whether the rule has words of its own for this outcome.
    pub fn speaks_of(&self, outcome: Outcome) -> bool {
        self.template(outcome).is_some()
    }

    fn template(&self, outcome: Outcome) -> Option<&str> {
        match outcome {
            Outcome::Success => self.success.as_deref(),
            Outcome::Denied => self.denied.as_deref(),
            Outcome::Failed => self.failed.as_deref(),
        }
    }

    /// The text for this record; for a call that changed nothing, and of which the rule says nothing,
    /// a general one.
    pub fn render(&self, record: &Record, actor: &Actor) -> String {
        let outcome = record.outcome();
        let template = self.template(outcome).unwrap_or(match outcome {
            Outcome::Success => NOTHING_SAID,
            Outcome::Denied => NOTHING_CHANGED_DENIED,
            Outcome::Failed => NOTHING_CHANGED_FAILED,
        });
        render(template, record, actor)
    }

    /// The few words for an SMS: the rule's own where the call succeeded.
    pub fn render_sms(&self, record: &Record, actor: &Actor) -> Option<String> {
        match record.outcome() {
            Outcome::Success => self
                .sms
                .as_ref()
                .map(|template| render(template, record, actor)),
            Outcome::Denied => Some("Nothing changed".into()),
            Outcome::Failed => None,
        }
    }
}

fn render(template: &str, record: &Record, actor: &Actor) -> String {
    // The pattern is a constant that the tests compile; without it the text would stay as it is.
    let Some(placeholder) = &*PLACEHOLDER else {
        return template.to_owned();
    };
    let filled = placeholder.replace_all(template.trim_end().as_bytes(), |found: &Captures<'_>| {
        let name = group(found, 1).unwrap_or_default();
        let value = match (group(found, 2), group(found, 3)) {
            (Some(count), Some(unit)) => later(record, name, count, unit),
            _ => value(record, actor, name),
        };
        // A command stays exact; in prose, a name that a caller chose must not become a link.
        let is_in_command = found.get(0).is_some_and(|whole| {
            let before = &template[..whole.start()];
            let line = before.rfind('\n').map_or(before, |at| &before[at + 1..]);
            line.starts_with("    ")
        });
        let value = value.map(|value| match is_in_command || COMPUTED.contains(&name) {
            true => value,
            false => defanged(&value, 512),
        });
        value.unwrap_or_else(|| group(found, 4).map_or_else(|| capitals(name), str::to_owned))
    });
    String::from_utf8_lossy(&filled).into_owned()
}

/// The first braces that nearly are a placeholder.
fn no_placeholder(text: &str) -> Option<&str> {
    let (placeholder, nearly) = (PLACEHOLDER.as_ref()?, NEARLY.as_ref()?);
    nearly
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
        "stopCredential" => return Some(stop_the_credential(record)),
        // A command with the name of another account's user would be about the one of the same name here.
        path if path.starts_with("userIdentity.")
            && path.ends_with("userName")
            && other_account(record).is_some() =>
        {
            None
        }
        path if path.contains('.') => record.scalar(path),
        name => record
            .find(name)
            .map(str::to_owned)
            .or_else(|| record.scalar(name)),
    };
    value.filter(|value| is_shell_safe(value))
}

/// How the credential of a call is taken out of use: a command, or where to do it. Each type of identity has
/// another way; advice for the wrong one costs the minutes that count.
/// Source: IAM User Guide, "Disabling permissions for temporary security credentials".
fn stop_the_credential(record: &Record) -> String {
    let field = |name: &str| {
        record
            .str(&format!("userIdentity.{name}"))
            .filter(|value| is_shell_safe(value))
    };
    if let Some(account) = other_account(record) {
        // A name of that account may be somebody else's here.
        return format!(
            "The caller belongs to account {}, which alone can stop it: tell its owner. Here, take away what lets that account in (resource policies, roles).",
            one_line(&account, 64)
        );
    }
    let user = field("userName").unwrap_or("USER_NAME");
    match record.str("userIdentity.type") {
        Some("IAMUser") => match field("accessKeyId") {
            Some(key) if key.starts_with("AKIA") => format!(
                "aws iam update-access-key --user-name {user} --access-key-id {key} --status Inactive"
            ),
            // A session goes on until everything is denied to the user.
            _ => format!(
                "aws iam attach-user-policy --user-name {user} --policy-arn arn:aws:iam::aws:policy/AWSDenyAll"
            ),
        },
        Some("AssumedRole" | "Role") => {
            let role = field("sessionContext.sessionIssuer.userName").unwrap_or("the role");
            format!("In the IAM console: Roles, {role}, Revoke sessions.")
        }
        Some("Root") => {
            "Sign in as root, Security credentials: deactivate the access keys, change the password."
                .into()
        }
        Some("IdentityCenterUser") => {
            "In IAM Identity Center: Users, the user, delete the active sessions and disable the access."
                .into()
        }
        Some("AWSService") => "An AWS service made the call by itself: there is none to stop.".into(),
        Some("AWSAccount") => {
            "It is another account's: take away what lets that account in (resource policies, roles)."
                .into()
        }
        _ => "At the identity provider that let it in, and in IAM: deny whatever issued the session."
            .into(),
    }
}

/// A point in time so long after the record's, to the minute: a deadline.
fn later(record: &Record, name: &str, count: &str, unit: &str) -> Option<String> {
    if name != "eventTime" {
        return None;
    }
    let count: i64 = count.parse().ok()?;
    let hours = if unit == "d" { count * 24 } else { count };
    let deadline = record
        .event_time()?
        .checked_add(SignedDuration::from_hours(hours))
        .ok()?;
    Some(minutes(deadline))
}

/// `2026-11-30 03:41 UTC`.
pub fn minutes(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `requestParameters.clusterId` → `CLUSTER_ID`; only the actor stands in prose.
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
    fn each_identity_has_its_way_to_be_stopped() {
        for (identity, expected) in [
            (
                json!({"type": "IAMUser", "userName": "alice", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}),
                "aws iam update-access-key --user-name alice --access-key-id AKIAIOSFODNN7EXAMPLE --status Inactive",
            ),
            (
                json!({"type": "IAMUser", "userName": "$(id)", "accessKeyId": "ASIAEXAMPLE"}),
                "aws iam attach-user-policy --user-name USER_NAME --policy-arn arn:aws:iam::aws:policy/AWSDenyAll",
            ),
            (
                json!({"type": "AssumedRole", "sessionContext": {"sessionIssuer": {"userName": "hsm-operator"}}}),
                "In the IAM console: Roles, hsm-operator, Revoke sessions.",
            ),
            (
                json!({"type": "AWSService"}),
                "An AWS service made the call by itself: there is none to stop.",
            ),
        ] {
            let record = json!({ "userIdentity": identity });
            assert_eq!(filled("{stopCredential}", record), expected);
        }
        // The user of that name here is another one.
        let foreign = json!({
            "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "999988887777", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"},
            "recipientAccountId": "111122223333", "awsRegion": "us-west-2",
        });
        assert_eq!(
            filled(
                "{stopCredential} {userIdentity.userName|USER_NAME} {actor}",
                foreign.clone()
            ),
            "The caller belongs to account 999988887777, which alone can stop it: tell its owner. Here, take away what lets that account in (resource policies, roles). USER_NAME 999988887777/alice"
        );
        let record = Record::new(0, foreign.as_object().unwrap().clone());
        let step = follow_the_actor(&record).unwrap();
        assert!(
            step.starts_with("To see what else the caller did in account 111122223333, us-west-2, within 90 days (what was done in the caller's own account, 999988887777, only that account can see):\n    aws cloudtrail lookup-events "),
            "{step}"
        );
    }

    #[test]
    fn an_empty_record_leaves_no_placeholder() {
        for text in [NOTHING_CHANGED_DENIED, NOTHING_CHANGED_FAILED, NOTHING_SAID] {
            let filled = filled(text, json!({}));
            assert!(!filled.contains('{'), "{filled}");
        }
    }

    #[test]
    fn what_a_response_may_be() {
        let all = Response::read(&json!("x")).unwrap();
        assert!(
            all.speaks_of(Outcome::Success)
                && all.speaks_of(Outcome::Denied)
                && all.speaks_of(Outcome::Failed)
        );
        let some = Response::read(&json!({"success": "x"})).unwrap();
        assert!(some.speaks_of(Outcome::Success) && !some.speaks_of(Outcome::Denied));
        assert_eq!(
            Response::read(&json!({"succeeded": "x"})).unwrap_err(),
            "expected success, denied, failed or sms, found \"succeeded\""
        );
        assert_eq!(
            Response::read(&json!({"denied": 1})).unwrap_err(),
            "denied: expected text, found 1"
        );
        assert_eq!(
            Response::read(&json!(1)).unwrap_err(),
            "expected text or a mapping from outcome to text, found 1"
        );
    }
}
