//! Settings: the function's environment variables, read and checked once at start. Nothing else reads the
//! environment, except that `sdk.rs` and `roots/` read the variables of the AWS SDK.

use thiserror::Error;

use crate::{account_names::AccountNames, files::FilesUri, payload::Trusted};
use cloudhsm_alerts_core::{rules::watched::Watched, severity::Severity};

/// The default of `REMINDERS`.
const REMINDERS: [u16; 3] = [72, 24, 4];
/// The earliest reminder: thirty days, the longest that a key's deletion takes.
const MAX_REMINDER: u16 = 720;

/// A variable that cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("environment variable {name}: {message}")]
pub struct SettingError {
    /// Its name.
    pub name: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

/// The settings of the function that reads log files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `ALERT_TOPIC_ARN`: the topic to publish alerts to.
    pub topic: Topic,
    /// `PAGING_TOPIC_ARN`, `PAGING_MIN_SEVERITY`: without the topic, nothing is paged.
    pub paging: Option<Paging>,
    /// `LEDGER_TABLE`: the DynamoDB table of the ledger, by name or ARN. Without one, each instance has its own ledger
    /// in memory.
    pub ledger_table: Option<String>,
    /// `WATCH_TABLE`: the DynamoDB table of deadlines, by name or ARN. Without one, nobody is reminded.
    pub watch_table: Option<String>,
    /// `DIGEST_AUDIT`: whether CloudTrail's digest files are checked.
    pub digest_audit: bool,
    /// `TICK_RULE_ARN`: the EventBridge rule whose scheduled events are trusted. Without one, none is.
    pub tick_rule: Option<String>,
    /// `REMINDERS`: how many hours before a deadline people are reminded, the most first.
    pub reminders: Vec<u16>,
    /// `MIN_SEVERITY`: the lowest severity that is published.
    pub min_severity: Severity,
    /// `ACCOUNT_NAMES`: names of accounts, or a file with them.
    pub account_names: AccountNames,
    /// `MAX_ALERTS`: alerts of one invocation that are sent one by one.
    pub max_alerts: usize,
    /// `RULES_URI`: a folder or S3 prefix with more rules.
    pub rules_uri: Option<FilesUri>,
    /// `WATCHED`: names of the resources that rules watch, and the names in other variables.
    pub watched: Watched,
    /// `TRUSTED_QUEUES`: ARNs of SQS queues whose messages may hold whole records.
    pub trusted_queues: Vec<String>,
}

/// What is published to the paging topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// The topic.
    pub topic: Topic,
    /// The lowest severity that is paged. Calls below `MIN_SEVERITY` are not alerted, so they are not paged either.
    pub min_severity: Severity,
}

/// The settings of the chat function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatSettings {
    /// `CHAT_TOPIC_ARN`: the topic that the channels show.
    pub topic: Topic,
    /// `MIN_SEVERITY`: the lowest severity that the channels show.
    pub min_severity: Severity,
}

/// An SNS topic's ARN and the region in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The whole ARN.
    pub arn: String,
    /// Its region. It can differ from the function's.
    pub region: String,
}

impl Settings {
    /// The settings of this process.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    #[expect(clippy::disallowed_methods, reason = "settings are read here")]
    pub fn from_env() -> Result<Settings, SettingError> {
        Settings::from_lookup(|name| std::env::var(name).ok())
    }

    /// What payloads are trusted for.
    pub fn trusted(&self) -> Trusted<'_> {
        Trusted {
            queues: &self.trusted_queues,
            tick_rule: self.tick_rule.as_deref(),
        }
    }

    /// The settings of the chat function, if `CHAT_TOPIC_ARN` is set: then this is the chat function.
    ///
    /// # Errors
    /// The first variable that is malformed.
    #[expect(clippy::disallowed_methods, reason = "settings are read here")]
    pub fn chat() -> Result<Option<ChatSettings>, SettingError> {
        let lookup = trimmed(|name| std::env::var(name).ok());
        let Some(topic) = topic(&lookup, "CHAT_TOPIC_ARN")? else {
            return Ok(None);
        };
        let min_severity = severity(&lookup, "MIN_SEVERITY", Severity::Informational)?;
        Ok(Some(ChatSettings {
            topic,
            min_severity,
        }))
    }

    /// Whether Lambda, or an emulator of it, started this process.
    #[expect(clippy::disallowed_methods, reason = "settings are read here")]
    pub fn is_in_lambda() -> bool {
        std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
            && std::env::var_os("AWS_LAMBDA_FUNCTION_NAME").is_some()
    }

    /// The function's name, from Lambda's own variable.
    #[expect(clippy::disallowed_methods, reason = "settings are read here")]
    pub fn function_name() -> String {
        std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default()
    }

    /// The settings from any source of variables. An empty variable counts as not set.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Settings, SettingError> {
        let lookup = trimmed(lookup);
        let error = |name| move |message| SettingError { name, message };
        let alert_topic = topic(&lookup, "ALERT_TOPIC_ARN")?.ok_or_else(|| SettingError {
            name: "ALERT_TOPIC_ARN",
            message: "is missing; expected the ARN of the SNS topic to publish alerts to".into(),
        })?;
        let paging_topic = topic(&lookup, "PAGING_TOPIC_ARN")?;
        if paging_topic.as_ref() == Some(&alert_topic) {
            return Err(SettingError {
                name: "PAGING_TOPIC_ARN",
                message: "is the same as ALERT_TOPIC_ARN; expected a topic of its own, because it gets a text for SMS"
                    .into(),
            });
        }
        let paging_min_severity = severity(&lookup, "PAGING_MIN_SEVERITY", Severity::Critical)?;
        let mut watched =
            Watched::parse(&lookup("WATCHED").unwrap_or_default()).map_err(error("WATCHED"))?;
        watched.add("alert_topic", &alert_topic.arn);
        if let Some(topic) = &paging_topic {
            watched.add("alert_topic", &topic.arn);
        }
        if let Some(name) = lookup("AWS_LAMBDA_FUNCTION_NAME") {
            watched.add("function", &name);
        }
        let ledger_table = lookup("LEDGER_TABLE")
            .map(|table| checked_table(table).map_err(error("LEDGER_TABLE")))
            .transpose()?;
        if let Some(table) = &ledger_table {
            watched.add("ledger_table", table_name(table));
        }
        let watch_table = lookup("WATCH_TABLE")
            .map(|table| checked_table(table).map_err(error("WATCH_TABLE")))
            .transpose()?;
        if let Some(table) = &watch_table {
            if ledger_table.as_deref().map(table_name) == Some(table_name(table)) {
                return Err(SettingError {
                    name: "WATCH_TABLE",
                    message: "is the same as LEDGER_TABLE; expected a table of its own, whose keys are kind and id"
                        .into(),
                });
            }
            watched.add("ledger_table", table_name(table));
        }
        let tick_rule = lookup("TICK_RULE_ARN")
            .map(|arn| checked_rule(arn).map_err(error("TICK_RULE_ARN")))
            .transpose()?;
        if let Some(arn) = &tick_rule {
            watched.add("source_rule", arn);
        }
        Ok(Settings {
            topic: alert_topic,
            paging: paging_topic.map(|topic| Paging {
                topic,
                min_severity: paging_min_severity,
            }),
            digest_audit: digest_audit(
                lookup("DIGEST_AUDIT").as_deref(),
                ledger_table.is_some(),
                watch_table.is_some(),
            )
            .map_err(error("DIGEST_AUDIT"))?,
            ledger_table,
            watch_table,
            tick_rule,
            reminders: lookup("REMINDERS").map_or(Ok(REMINDERS.to_vec()), |text| {
                reminders(&text).map_err(error("REMINDERS"))
            })?,
            min_severity: severity(&lookup, "MIN_SEVERITY", Severity::Low)?,
            account_names: AccountNames::parse(&lookup("ACCOUNT_NAMES").unwrap_or_default())
                .map_err(error("ACCOUNT_NAMES"))?,
            rules_uri: lookup("RULES_URI")
                .map(|text| text.parse().map_err(error("RULES_URI")))
                .transpose()?,
            watched,
            trusted_queues: lookup("TRUSTED_QUEUES").map_or(Ok(Vec::new()), |text| {
                queues(&text).map_err(error("TRUSTED_QUEUES"))
            })?,
            max_alerts: lookup("MAX_ALERTS").map_or(Ok(10), |text| {
                text.parse().map_err(|_| SettingError {
                    name: "MAX_ALERTS",
                    message: format!("expected a whole number that is 0 or more, found {text:?}"),
                })
            })?,
        })
    }
}

/// The value of a variable without white space around it. An empty one counts as not set.
fn trimmed(lookup: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    move |name| {
        lookup(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }
}

fn topic(
    lookup: impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<Topic>, SettingError> {
    lookup(name)
        .map(|arn| Topic::parse(&arn).map_err(|message| SettingError { name, message }))
        .transpose()
}

fn severity(
    lookup: impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: Severity,
) -> Result<Severity, SettingError> {
    lookup(name).map_or(Ok(default), |text| {
        text.parse()
            .map_err(|message| SettingError { name, message })
    })
}

/// ARNs of SQS queues, separated by commas.
fn queues(text: &str) -> Result<Vec<String>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|arn| !arn.is_empty())
        .map(|arn| match arn.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", partition, "sqs", region, account, name]
                if partition.starts_with("aws")
                    && ![region, account, name].iter().any(|part| part.is_empty()) =>
            {
                Ok(arn.to_owned())
            }
            _ => Err(format!(
                "expected ARNs of SQS queues (arn:aws:sqs:REGION:ACCOUNT:NAME), separated by commas, found {arn:?}"
            )),
        })
        .collect()
}

/// Whether digest files are checked, which needs both tables.
fn digest_audit(value: Option<&str>, has_ledger: bool, has_watch: bool) -> Result<bool, String> {
    match value {
        None | Some("off") => Ok(false),
        Some("on") if !has_ledger => Err(
            "is on without LEDGER_TABLE; expected a table, because it has the hashes of the log files that were read"
                .into(),
        ),
        Some("on") if !has_watch => Err(
            "is on without WATCH_TABLE; expected a table, because it has the chains of digest files"
                .into(),
        ),
        Some("on") => Ok(true),
        Some(other) => Err(format!("expected on or off, found {other:?}")),
    }
}

/// Hours before a deadline, separated by commas: the most first.
fn reminders(text: &str) -> Result<Vec<u16>, String> {
    let expected = |found: &str| {
        format!(
            "expected different whole numbers of hours from 1 to {MAX_REMINDER}, separated by commas, such as 72,24,4, found {found:?}"
        )
    };
    let mut hours = text
        .split(',')
        .map(|part| {
            let hours = part.trim().parse().ok();
            hours
                .filter(|hours| (1..=MAX_REMINDER).contains(hours))
                .ok_or_else(|| expected(part.trim()))
        })
        .collect::<Result<Vec<u16>, String>>()?;
    hours.sort_unstable_by(|a, b| b.cmp(a));
    if hours.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(expected(text));
    }
    Ok(hours)
}

/// Checks the ARN of a scheduled rule, which is always on the default event bus.
fn checked_rule(arn: String) -> Result<String, String> {
    let is_rule = match arn.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "events", region, account, rule] => {
            let name = rule.strip_prefix("rule/").unwrap_or_default();
            partition.starts_with("aws")
                && !region.is_empty()
                && !account.is_empty()
                && (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        }
        _ => false,
    };
    if is_rule {
        Ok(arn)
    } else {
        Err(format!(
            "expected the ARN of an EventBridge rule on the default event bus (arn:aws:events:REGION:ACCOUNT:rule/NAME), found {arn:?}"
        ))
    }
}

/// The name of a table, given its name or ARN.
fn table_name(table: &str) -> &str {
    table
        .strip_prefix("arn:")
        .and_then(|arn| arn.split_once(":table/"))
        .map_or(table, |(_, name)| name)
}

/// Checks a table's name (3 to 255 letters, digits and `_.-`) or ARN. DynamoDB accepts both.
fn checked_table(table: String) -> Result<String, String> {
    let name = table_name(&table);
    let is_name = (3..=255).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if is_name {
        Ok(table)
    } else {
        Err(format!(
            "expected the name or ARN of a DynamoDB table, found {table:?}"
        ))
    }
}

impl Topic {
    /// Parses `arn:<partition>:sns:<region>:<account>:<name>`.
    ///
    /// # Errors
    /// The text has another form, or names a FIFO topic, which supports neither e-mail nor SMS.
    pub fn parse(arn: &str) -> Result<Topic, String> {
        let parts: Vec<&str> = arn.split(':').collect();
        match parts.as_slice() {
            ["arn", partition, "sns", region, account, name]
                if partition.starts_with("aws")
                    && !region.is_empty()
                    && !account.is_empty()
                    && !name.is_empty() =>
            {
                if name.ends_with(".fifo") {
                    return Err(format!(
                        "expected a standard topic, found the FIFO topic {arn:?}; FIFO topics do not support e-mail and SMS subscriptions"
                    ));
                }
                Ok(Topic {
                    arn: arn.to_owned(),
                    region: (*region).to_owned(),
                })
            }
            _ => Err(format!(
                "expected the ARN of an SNS topic (arn:aws:sns:REGION:ACCOUNT:NAME), found {arn:?}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use cloudhsm_alerts_core::alert::accounts::Accounts;

    use super::*;

    const TOPIC: &str = "arn:aws:sns:us-west-2:111122223333:alerts";

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::from_lookup(|name| {
            variables
                .iter()
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| (*value).to_owned())
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_topic_is_required() {
        assert_eq!(
            read(&[("ALERT_TOPIC_ARN", TOPIC), ("MIN_SEVERITY", "")]),
            Ok(Settings {
                topic: Topic {
                    arn: TOPIC.into(),
                    region: "us-west-2".into()
                },
                paging: None,
                ledger_table: None,
                watch_table: None,
                digest_audit: false,
                tick_rule: None,
                reminders: vec![72, 24, 4],
                min_severity: Severity::Low,
                account_names: AccountNames::List(Accounts::default()),
                max_alerts: 10,
                rules_uri: None,
                watched: Watched::parse(&format!("alert_topic={TOPIC}")).unwrap(),
                trusted_queues: Vec::new(),
            })
        );
    }

    #[test]
    fn every_variable_is_read() {
        let settings = read(&[
            (
                "ALERT_TOPIC_ARN",
                " arn:aws-us-gov:sns:us-gov-west-1:111122223333:t ",
            ),
            (
                "PAGING_TOPIC_ARN",
                "arn:aws-us-gov:sns:us-gov-east-1:111122223333:p",
            ),
            ("PAGING_MIN_SEVERITY", "medium"),
            ("MIN_SEVERITY", "High"),
            ("ACCOUNT_NAMES", "s3://config/accounts.csv"),
            ("MAX_ALERTS", "3"),
            ("RULES_URI", "s3://config/hsm"),
            ("WATCHED", "trail_bucket=audit"),
            (
                "TRUSTED_QUEUES",
                "arn:aws:sqs:us-west-2:111122223333:calls, arn:aws-cn:sqs:cn-north-1:111122223333:b,",
            ),
            ("AWS_LAMBDA_FUNCTION_NAME", "hsm-alerts"),
            (
                "LEDGER_TABLE",
                "arn:aws-us-gov:dynamodb:us-gov-west-1:111122223333:table/hsm-ledger",
            ),
            ("WATCH_TABLE", "hsm-watch"),
            (
                "TICK_RULE_ARN",
                "arn:aws-us-gov:events:us-gov-west-1:111122223333:rule/hsm-tick",
            ),
            ("REMINDERS", "1, 720,48"),
        ])
        .unwrap();
        assert_eq!(
            settings.ledger_table.as_deref(),
            Some("arn:aws-us-gov:dynamodb:us-gov-west-1:111122223333:table/hsm-ledger")
        );
        assert_eq!(settings.watch_table.as_deref(), Some("hsm-watch"));
        assert_eq!(
            settings.tick_rule.as_deref(),
            Some("arn:aws-us-gov:events:us-gov-west-1:111122223333:rule/hsm-tick")
        );
        assert_eq!(settings.reminders, [720, 48, 1]);
        assert_eq!(
            settings.rules_uri.map(|uri| uri.to_string()).as_deref(),
            Some("s3://config/hsm/")
        );
        assert_eq!(
            settings.watched,
            Watched::parse("function=hsm-alerts,ledger_table=hsm-ledger,ledger_table=hsm-watch,source_rule=hsm-tick,trail_bucket=audit,alert_topic=arn:aws-us-gov:sns:us-gov-west-1:111122223333:t,alert_topic=arn:aws-us-gov:sns:us-gov-east-1:111122223333:p").unwrap()
        );
        assert_eq!(settings.topic.region, "us-gov-west-1");
        assert_eq!(
            (settings.min_severity, settings.max_alerts),
            (Severity::High, 3)
        );
        assert_eq!(
            settings.paging,
            Some(Paging {
                topic: Topic {
                    arn: "arn:aws-us-gov:sns:us-gov-east-1:111122223333:p".into(),
                    region: "us-gov-east-1".into()
                },
                min_severity: Severity::Medium
            })
        );
        assert_eq!(
            settings.account_names,
            AccountNames::File("s3://config/accounts.csv".parse().unwrap())
        );
        assert_eq!(
            settings.trusted_queues,
            [
                "arn:aws:sqs:us-west-2:111122223333:calls",
                "arn:aws-cn:sqs:cn-north-1:111122223333:b"
            ]
        );
    }

    #[test]
    fn errors_name_the_variable_and_what_was_expected() {
        for (variables, message) in [
            (
                vec![],
                "environment variable ALERT_TOPIC_ARN: is missing; expected the ARN of the SNS topic to publish alerts to",
            ),
            (
                vec![("ALERT_TOPIC_ARN", "alerts")],
                "environment variable ALERT_TOPIC_ARN: expected the ARN of an SNS topic (arn:aws:sns:REGION:ACCOUNT:NAME), found \"alerts\"",
            ),
            (
                vec![(
                    "ALERT_TOPIC_ARN",
                    "arn:aws:sns:us-west-2:111122223333:a.fifo",
                )],
                "environment variable ALERT_TOPIC_ARN: expected a standard topic, found the FIFO topic \"arn:aws:sns:us-west-2:111122223333:a.fifo\"; FIFO topics do not support e-mail and SMS subscriptions",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("MIN_SEVERITY", "urgent")],
                "environment variable MIN_SEVERITY: expected informational, low, medium, high or critical, found \"urgent\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("MAX_ALERTS", "-1")],
                "environment variable MAX_ALERTS: expected a whole number that is 0 or more, found \"-1\"",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("ACCOUNT_NAMES", "prod=111122223333"),
                ],
                "environment variable ACCOUNT_NAMES: expected twelve digits, '=' and a name, such as 111122223333=prod, found \"prod=111122223333\"",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("ACCOUNT_NAMES", "s3://config/accounts.json"),
                ],
                "environment variable ACCOUNT_NAMES: expected 111122223333=prod,…, s3://bucket/key.csv or the path of a .csv file, found \"s3://config/accounts.json\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("PAGING_TOPIC_ARN", TOPIC)],
                "environment variable PAGING_TOPIC_ARN: is the same as ALERT_TOPIC_ARN; expected a topic of its own, because it gets a text for SMS",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("PAGING_MIN_SEVERITY", "urgent"),
                ],
                "environment variable PAGING_MIN_SEVERITY: expected informational, low, medium, high or critical, found \"urgent\"",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("RULES_URI", "https://example.com"),
                ],
                "environment variable RULES_URI: expected a folder or s3://bucket/prefix, found https://…",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("TRUSTED_QUEUES", "https://sqs.us-west-2.amazonaws.com/1/q"),
                ],
                "environment variable TRUSTED_QUEUES: expected ARNs of SQS queues (arn:aws:sqs:REGION:ACCOUNT:NAME), separated by commas, found \"https://sqs.us-west-2.amazonaws.com/1/q\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("WATCHED", "audit")],
                "environment variable WATCHED: expected KEY=NAME, found \"audit\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("LEDGER_TABLE", "my table")],
                "environment variable LEDGER_TABLE: expected the name or ARN of a DynamoDB table, found \"my table\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("WATCH_TABLE", "my table")],
                "environment variable WATCH_TABLE: expected the name or ARN of a DynamoDB table, found \"my table\"",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("LEDGER_TABLE", "one-table"),
                    (
                        "WATCH_TABLE",
                        "arn:aws:dynamodb:us-west-2:111122223333:table/one-table",
                    ),
                ],
                "environment variable WATCH_TABLE: is the same as LEDGER_TABLE; expected a table of its own, whose keys are kind and id",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    (
                        "TICK_RULE_ARN",
                        "arn:aws:events:us-west-2:111122223333:rule/bus/tick",
                    ),
                ],
                "environment variable TICK_RULE_ARN: expected the ARN of an EventBridge rule on the default event bus (arn:aws:events:REGION:ACCOUNT:rule/NAME), found \"arn:aws:events:us-west-2:111122223333:rule/bus/tick\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("DIGEST_AUDIT", "yes")],
                "environment variable DIGEST_AUDIT: expected on or off, found \"yes\"",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("WATCH_TABLE", "watch"),
                    ("DIGEST_AUDIT", "on"),
                ],
                "environment variable DIGEST_AUDIT: is on without LEDGER_TABLE; expected a table, because it has the hashes of the log files that were read",
            ),
            (
                vec![
                    ("ALERT_TOPIC_ARN", TOPIC),
                    ("LEDGER_TABLE", "ledger"),
                    ("DIGEST_AUDIT", "on"),
                ],
                "environment variable DIGEST_AUDIT: is on without WATCH_TABLE; expected a table, because it has the chains of digest files",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("REMINDERS", "72,0")],
                "environment variable REMINDERS: expected different whole numbers of hours from 1 to 720, separated by commas, such as 72,24,4, found \"0\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("REMINDERS", "721")],
                "environment variable REMINDERS: expected different whole numbers of hours from 1 to 720, separated by commas, such as 72,24,4, found \"721\"",
            ),
            (
                vec![("ALERT_TOPIC_ARN", TOPIC), ("REMINDERS", "24,4,24")],
                "environment variable REMINDERS: expected different whole numbers of hours from 1 to 720, separated by commas, such as 72,24,4, found \"24,4,24\"",
            ),
        ] {
            assert_eq!(read(&variables), Err(message.to_owned()));
        }
    }
}
