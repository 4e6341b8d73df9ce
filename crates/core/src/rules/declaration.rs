//! Declaration: the `deadline` of a rule. It says until when what the call did can be undone, of which resource, with
//! which command, and which rules' calls close it.
//!
//! The resource is one placeholder and nothing else: a fallback such as `the backup` would join the deadlines of
//! different resources. Texts have placeholders as in [`super::response`]. Whether the rules that close it exist is
//! decided when all rules are loaded ([`super::closing`]).

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{diagnostic::nearest, response, until::Until};
use crate::{actor::Actor, json, record::Record, text::one_line};

/// Longest text in a rule file, in characters.
const MAX_TEXT: usize = 1000;
/// Longest `undone`, in characters.
const MAX_UNDONE: usize = 40;
/// Longest ID of a resource, in characters.
const MAX_ID: usize = 128;
/// Longest subject with its values, in characters.
const MAX_SUBJECT: usize = 256;

/// A checked `deadline`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    resource: String,
    subject: String,
    until: Vec<Until>,
    cluster: Option<String>,
    undone: String,
    command: String,
    closed_by: Vec<ClosedBy>,
}

/// A rule whose calls close the deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedBy {
    /// Its name or id.
    pub rule: String,
    /// The member of its records that has the resource.
    pub resource: String,
}

/// What is wrong with a declaration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where, below `deadline`.
    pub path: Vec<String>,
    pub message: String,
    pub hint: Option<String>,
}

/// The ID of a resource, and its account if the record has it as an ARN.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub id: String,
    pub account: Option<String>,
}

/// The members, each with what it is.
const MEMBERS: [(&str, &str); 7] = [
    (
        "resource",
        "the placeholder of the resource, such as '{backupId}'",
    ),
    ("subject", "a text such as Backup {backupId}"),
    ("until", "a time such as '{eventTime+7d}', or a list"),
    (
        "cluster",
        "the placeholder of the cluster, such as '{clusterId}'",
    ),
    ("undone", "a few words such as restored"),
    (
        "command",
        "a command such as aws cloudhsmv2 restore-backup --region {region} --backup-id {backupId}",
    ),
    (
        "closed_by",
        "a mapping from rules to placeholders, such as hsm-backup-restored: '{backupId}'",
    ),
];

impl Declaration {
    /// Reads the `deadline` of a rule.
    ///
    /// # Errors
    /// Members that are missing, unknown or malformed.
    pub(super) fn read(value: &Value) -> Result<Declaration, Problem> {
        let declaration = Declaration::of(value)?;
        for (member, text) in declaration.texts() {
            if let Some(found) = response::malformed_placeholder(text) {
                return Err(problem(
                    &[member],
                    format!(
                        "expected a placeholder such as {{backupId}} or {{backupId|the backup}}, found {found}"
                    ),
                ));
            }
        }
        Ok(declaration)
    }

    /// Like [`Declaration::read`], without a check of the placeholders in texts.
    ///
    /// # Errors
    /// Members that are missing, unknown or malformed.
    pub(super) fn of(value: &Value) -> Result<Declaration, Problem> {
        let Value::Object(members) = value else {
            return Err(problem(
                &[],
                format!("expected a mapping, found {}", json::kind(value)),
            )
            .with_hint("write resource, subject, until, undone, command and closed_by"));
        };
        let names = MEMBERS.map(|(name, _)| name);
        if let Some(other) = members.keys().find(|name| !names.contains(&name.as_str())) {
            let hint = nearest(other, names).map(|near| format!("did you mean {near}?"));
            return Err(Problem {
                hint,
                ..problem(
                    &[other],
                    format!("expected a member of a deadline, found {other:?}"),
                )
            });
        }
        let undone = text(members, "undone")?;
        if undone.chars().count() > MAX_UNDONE || undone.contains(['{', '}']) {
            return Err(problem(
                &["undone"],
                format!(
                    "expected at most {MAX_UNDONE} characters without placeholders, found {undone:?}"
                ),
            ));
        }
        Ok(Declaration {
            resource: placeholder(&text(members, "resource")?, &["resource"])?,
            subject: text(members, "subject")?,
            until: until(members)?,
            cluster: match members.contains_key("cluster") {
                true => Some(placeholder(&text(members, "cluster")?, &["cluster"])?),
                false => None,
            },
            undone,
            command: text(members, "command")?,
            closed_by: closed_by(members)?,
        })
    }

    /// The members that are texts with placeholders.
    fn texts(&self) -> [(&'static str, &str); 2] {
        [("subject", &self.subject), ("command", &self.command)]
    }

    /// The name of each placeholder, with the path of its member below `deadline`; without those of `closed_by`, which
    /// are about other records.
    pub(super) fn placeholders(&self) -> Vec<(Vec<String>, String)> {
        let mut found = vec![(vec!["resource".to_owned()], self.resource.clone())];
        if let Some(cluster) = &self.cluster {
            found.push((vec!["cluster".to_owned()], cluster.clone()));
        }
        for (index, until) in self.until.iter().enumerate() {
            if let Some(member) = until.member() {
                let path = vec!["until".to_owned(), index.to_string()];
                found.push((path, member.to_owned()));
            }
        }
        for (member, text) in self.texts() {
            for name in response::placeholders(text) {
                found.push((vec![member.to_owned()], name));
            }
        }
        found
    }

    /// The expressions of `until`, in order.
    pub fn until(&self) -> &[Until] {
        &self.until
    }

    /// What the resource is when it was undone, such as `restored`.
    pub fn undone(&self) -> &str {
        &self.undone
    }

    /// The command that undoes it, with placeholders.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The rules whose calls close the deadline.
    pub fn closed_by(&self) -> &[ClosedBy] {
        &self.closed_by
    }

    /// The first time that the record gives.
    pub(crate) fn due(&self, record: &Record) -> Option<Timestamp> {
        self.until.iter().find_map(|until| until.time(record))
    }

    /// The resource in a record that the rule matches.
    pub(crate) fn resource(&self, record: &Record) -> Option<Resource> {
        Resource::of(record, &self.resource)
    }

    /// The cluster, if the record names it.
    pub(crate) fn cluster(&self, record: &Record) -> Option<String> {
        let cluster = Resource::of(record, self.cluster.as_deref()?)?;
        Some(cluster.id)
    }

    /// How people call the resource.
    pub(crate) fn subject(&self, record: &Record, actor: &Actor) -> String {
        one_line(&response::render(&self.subject, record, actor), MAX_SUBJECT)
    }

    /// The command that undoes it, with the values of a record.
    pub(crate) fn filled_command(&self, record: &Record, actor: &Actor) -> String {
        response::render_command(&self.command, record, actor)
    }
}

impl Resource {
    /// The resource that a member of a record names. An ARN stands for its last part. `None`: there is none, or
    /// something that is no ID: longer than any, or with characters that hide or imitate others.
    pub(crate) fn of(record: &Record, member: &str) -> Option<Resource> {
        let text = response::member(record, member)?;
        let (id, account) = match text.starts_with("arn:") {
            true => {
                let account = text.split(':').nth(4).filter(|id| is_account(id));
                let id = text.rsplit('/').next().unwrap_or(&text);
                (id, account.map(str::to_owned))
            }
            false => (text.as_str(), None),
        };
        let is_id = !id.is_empty() && one_line(id, MAX_ID) == id;
        is_id.then(|| Resource {
            id: id.to_owned(),
            account,
        })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Problem {
    fn with_hint(self, hint: &str) -> Problem {
        Problem {
            hint: Some(hint.to_owned()),
            ..self
        }
    }
}

fn problem(path: &[&str], message: String) -> Problem {
    Problem {
        path: path.iter().map(|&name| name.to_owned()).collect(),
        message,
        hint: None,
    }
}

fn expected(member: &str) -> &'static str {
    MEMBERS
        .iter()
        .find(|(name, _)| *name == member)
        .map_or("", |(_, expected)| expected)
}

fn required<'v>(members: &'v Map<String, Value>, member: &str) -> Result<&'v Value, Problem> {
    members.get(member).ok_or_else(|| {
        problem(
            &[member],
            format!("is missing; expected {}", expected(member)),
        )
    })
}

/// A member that is a text of one line.
fn text(members: &Map<String, Value>, member: &str) -> Result<String, Problem> {
    line(required(members, member)?, &[member], expected(member))
}

fn line(value: &Value, path: &[&str], expected: &str) -> Result<String, Problem> {
    let Value::String(text) = value else {
        let problem = problem(
            path,
            format!("expected {expected}, found {}", json::kind(value)),
        );
        return Err(match value {
            Value::Object(_) => problem.with_hint("put a text that begins with a brace in quotes"),
            _ => problem,
        });
    };
    let text = text.trim();
    let found = if text.is_empty() {
        "nothing"
    } else if text.contains(['\n', '\r']) {
        "several lines"
    } else if text.chars().count() > MAX_TEXT {
        "more than 1,000 characters"
    } else {
        return Ok(text.to_owned());
    };
    Err(problem(path, format!("expected {expected}, found {found}")))
}

/// The name in a text that is one placeholder.
fn placeholder(text: &str, path: &[&str]) -> Result<String, Problem> {
    text.strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|name| response::is_member_name(name) && !response::COMPUTED.contains(name))
        .map(str::to_owned)
        .ok_or_else(|| {
            problem(
                path,
                format!("expected a placeholder alone, such as '{{backupId}}', found {text:?}"),
            )
            .with_hint("it has no text around it, no fallback, and is a member of the record")
        })
}

fn until(members: &Map<String, Value>) -> Result<Vec<Until>, Problem> {
    let one = |value: &Value, path: &[&str]| {
        let text = line(value, path, expected("until"))?;
        Until::parse(&text).map_err(|message| problem(path, message))
    };
    match required(members, "until")? {
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .enumerate()
            .map(|(index, item)| one(item, &["until", &index.to_string()]))
            .collect(),
        Value::Array(_) => Err(problem(
            &["until"],
            format!("expected {}, found an empty list", expected("until")),
        )),
        single => Ok(vec![one(single, &["until"])?]),
    }
}

fn closed_by(members: &Map<String, Value>) -> Result<Vec<ClosedBy>, Problem> {
    let value = required(members, "closed_by")?;
    let Some(rules) = value.as_object().filter(|rules| !rules.is_empty()) else {
        let found = match value {
            Value::Object(_) => "an empty mapping",
            other => json::kind(other),
        };
        return Err(problem(
            &["closed_by"],
            format!("expected {}, found {found}", expected("closed_by")),
        ));
    };
    rules
        .iter()
        .map(|(rule, resource)| {
            let path = ["closed_by", rule.as_str()];
            let resource = line(resource, &path, expected("resource"))?;
            Ok(ClosedBy {
                rule: rule.clone(),
                resource: placeholder(&resource, &path)?,
            })
        })
        .collect()
}
