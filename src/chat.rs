//! The chat function: what the program `bootstrap` does if `CHAT_TOPIC_ARN` is set.
//!
//! Amazon Q Developer in chat applications shows only messages in its own format. The chat function is subscribed to
//! the alert topic, receives each alert as an OCSF finding, and publishes it in that format to the topic of the chat
//! channels, unless its severity is below `MIN_SEVERITY`: no filter policy of a subscription is involved. It is separate
//! from the function that reads log files, so a failure here affects neither e-mail nor SMS.
//!
//! Source: Amazon Q Developer in chat applications Administrator Guide, "Custom notifications".

use serde_json::{Value, json};

use crate::{
    channel::Channel,
    failure::Failure,
    payload::PayloadError,
    reply::{self, Failed},
    settings::ChatSettings,
    sns::Publisher,
    timing::Timing,
};
use cloudhsm_alerts_core::{
    alert::message::{Message, Parts},
    json,
    severity::Severity,
    text::one_line,
};

/// Maximum length of a title, in characters. Chat programs truncate longer ones.
const MAX_TITLE: usize = 200;
/// Maximum length of a description, in characters.
const MAX_DESCRIPTION: usize = 2000;
/// Maximum length of the response, in characters. The responses of all built-in rules are shorter.
const MAX_STEPS: usize = 4000;
/// The last step if the response is longer than [`MAX_STEPS`].
const MORE_STEPS: &str = "There are more steps: see the e-mail.";

/// The chat function.
#[derive(Debug)]
pub struct Chat {
    publisher: tokio::sync::Mutex<Publisher>,
    min_severity: Severity,
}

impl Chat {
    /// A chat function with these settings.
    pub fn new(settings: ChatSettings, sdk: &aws_config::SdkConfig) -> Chat {
        Chat {
            publisher: Publisher::new(sdk, settings.topic, &Timing::default()).into(),
            min_severity: settings.min_severity,
        }
    }

    /// Handles one invocation by SNS: publishes each of its messages in the format for chat channels.
    ///
    /// # Errors
    /// The payload is not an SNS event with findings, or a message could not be published. All other messages were
    /// published.
    pub async fn handle_text(&self, payload: &str) -> Result<Value, Failed> {
        let (mut published, mut below_min_severity) = (0_u64, 0_u64);
        let mut failures = Vec::new();
        let mut publisher = self.publisher.lock().await;
        for finding in findings(payload) {
            let finding = match finding {
                Ok(finding) => finding,
                Err(error) => {
                    failures.push(Failure::Payload(error));
                    continue;
                }
            };
            if severity(&finding).is_some_and(|severity| severity < self.min_severity) {
                below_min_severity += 1;
                continue;
            }
            let event_id = one_line(str_at(&finding, "/finding_info/uid"), 256);
            publisher.wait().await;
            match publisher.publish(&message(&finding)).await {
                Ok(()) => {
                    published += 1;
                    tracing::info!(event_id, "alert published for chat");
                }
                Err(error) => failures.push(Failure::Publish {
                    event_id,
                    channel: Channel::Alert,
                    error,
                }),
            }
        }
        if failures.is_empty() {
            return Ok(json!({
                "published": published,
                "below_min_severity": below_min_severity,
            }));
        }
        for failure in &failures {
            tracing::error!(error_type = failure.error_type(), "{failure}");
        }
        Err(reply::failed(&failures))
    }
}

/// The findings in an SNS event; an error for each record without one.
fn findings(payload: &str) -> Vec<Result<Value, PayloadError>> {
    let bad = |at: String, found: String, expected: &str| PayloadError {
        is_untrusted: false,
        at,
        message: format!("expected {expected}, found {found}"),
    };
    let event = "an SNS event with alerts of the alert topic";
    let payload = match json::parse(payload.as_bytes()) {
        Ok(payload) => payload,
        Err(error) => return vec![Err(bad("payload".into(), error.to_string(), event))],
    };
    let records = payload.get("Records").and_then(Value::as_array);
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        let found = one_line(&payload.to_string(), 60);
        return vec![Err(bad("payload".into(), found, event))];
    };
    records
        .iter()
        .enumerate()
        .map(|(index, record)| {
            let at = format!("Records[{index}].Sns.Message");
            let message = record.pointer("/Sns/Message").and_then(Value::as_str);
            message
                .and_then(|message| json::parse(message.as_bytes()).ok())
                .filter(|finding| finding.pointer("/finding_info/title").is_some())
                .ok_or_else(|| {
                    let found = message.map_or("no message".to_owned(), |message| {
                        format!("{:?}", one_line(message, 60))
                    });
                    bad(at, found, "a Detection Finding as JSON")
                })
        })
        .collect()
}

/// The string at a JSON pointer; empty if there is none.
fn str_at<'v>(finding: &'v Value, path: &str) -> &'v str {
    finding
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The severity of a finding. One that is not known is shown, because it may be severe.
fn severity(finding: &Value) -> Option<Severity> {
    str_at(finding, "/severity").parse().ok()
}

/// The message in the format of Amazon Q Developer.
fn message(finding: &Value) -> Message {
    let is_backfill = finding
        .pointer("/metadata/labels")
        .and_then(Value::as_array)
        .is_some_and(|labels| labels.iter().any(|label| label == "backfill"));
    let title = format!(
        "{}{}: {}",
        if is_backfill { "BACKFILL " } else { "" },
        str_at(finding, "/severity").to_uppercase(),
        str_at(finding, "/finding_info/title"),
    );
    let title = plain(&title, MAX_TITLE);
    let steps = steps(str_at(finding, "/remediation/desc"));
    let account = match str_at(finding, "/cloud/account/name") {
        "" => str_at(finding, "/cloud/account/uid"),
        name => name,
    };
    let notification = json!({
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": title,
            "description": plain(str_at(finding, "/finding_info/desc"), MAX_DESCRIPTION),
            "nextSteps": steps,
            "keywords": [
                plain(str_at(finding, "/severity"), 40),
                plain(account, 100),
                plain(str_at(finding, "/cloud/region"), 40),
            ],
        },
        "metadata": {
            "summary": title,
            "eventType": "cloudhsm-alerts",
            "additionalContext": {"event_id": plain(str_at(finding, "/finding_info/uid"), 256)},
        },
    });
    let parts = Parts {
        subject: "cloudhsm-alerts".into(),
        finding: notification,
        email: None,
        attributes: Vec::new(),
    };
    Message::compose(parts, None)
}

/// The response, line by line. Lines are left out, but never truncated: part of a command is another command.
fn steps(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut length = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let step = step(line);
        length += step.chars().count();
        if length > MAX_STEPS {
            steps.push(MORE_STEPS.to_owned());
            break;
        }
        steps.push(step);
    }
    steps
}

/// A line of the response as Markdown. Commands are indented by four spaces. They become code and are not escaped, so
/// that they can be pasted: rules write them, and values from records in them are safe for a shell and for Markdown.
fn step(line: &str) -> String {
    match line.strip_prefix("    ") {
        Some(command) if command.contains('`') => format!("```{}```", command.trim()),
        Some(command) => format!("`{}`", command.trim()),
        None => plain(line.trim(), MAX_STEPS),
    }
}

/// Text on one line, without mentions (`<!channel>`), links (`[text](address)`, `<address>`) and code: it can contain
/// text that the caller chose.
fn plain(text: &str, limit: usize) -> String {
    one_line(text, limit)
        .chars()
        .map(|c| match c {
            '<' => '‹',
            '>' => '›',
            '[' => '(',
            ']' => ')',
            '`' => '\'',
            // `@name` is a mention.
            '@' => '\u{ff20}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudhsm_alerts_core::{
        actor::Actor,
        record::Record,
        rules::{RuleSet, watched::Watched},
    };

    fn notification(finding: &Value) -> Value {
        let body: Value = serde_json::from_str(&message(finding).body).unwrap();
        serde_json::from_str(body["default"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn a_finding_becomes_a_custom_notification() {
        let finding = json!({
            "severity": "Critical",
            "finding_info": {"uid": "e1", "title": "CloudHSM backup deleted", "desc": "Role x called DeleteBackup."},
            "remediation": {"desc": "It can be restored.\n1. Restore it now:\n    aws cloudhsmv2 restore-backup --backup-id b\n"},
            "cloud": {"account": {"uid": "111122223333", "name": "prod"}, "region": "us-west-2"},
        });
        assert_eq!(
            notification(&finding),
            json!({
                "version": "1.0",
                "source": "custom",
                "content": {
                    "textType": "client-markdown",
                    "title": "CRITICAL: CloudHSM backup deleted",
                    "description": "Role x called DeleteBackup.",
                    "nextSteps": [
                        "It can be restored.",
                        "1. Restore it now:",
                        "`aws cloudhsmv2 restore-backup --backup-id b`",
                    ],
                    "keywords": ["Critical", "prod", "us-west-2"],
                },
                "metadata": {
                    "summary": "CRITICAL: CloudHSM backup deleted",
                    "eventType": "cloudhsm-alerts",
                    "additionalContext": {"event_id": "e1"},
                },
            })
        );
    }

    #[test]
    fn text_from_a_caller_has_no_mentions_links_or_code() {
        let finding = json!({
            "severity": "High",
            "metadata": {"labels": ["backfill"]},
            "finding_info": {"title": "t", "desc": "by <!channel> @here [x](https://evil.example) `rm`\n<https://evil.example|ok>"},
            "remediation": {"desc": "Ask <!channel> `rm`"},
        });
        let notification = notification(&finding);
        assert_eq!(notification["content"]["title"], "BACKFILL HIGH: t");
        assert_eq!(
            notification["content"]["description"],
            "by ‹!channel› ＠here (x)(https(://)evil.example) 'rm'\\n‹https(://)evil.example|ok›"
        );
        assert_eq!(
            notification["content"]["nextSteps"],
            json!(["Ask ‹!channel› 'rm'"])
        );
    }

    #[test]
    fn commands_of_built_in_rules_are_unchanged() {
        let rules = RuleSet::builtin(&Watched::default()).expect("the built-in rules");
        let mut commands = 0;
        for rule in rules.rules() {
            for record in [
                json!({}),
                json!({"errorCode": "AccessDenied"}),
                json!({"errorCode": "x"}),
            ] {
                let record = Record::new(0, record.as_object().expect("an object").clone());
                let response = rule.response().render(&record, &Actor::of(&record));
                let steps = steps(&response);
                assert_ne!(
                    steps.last().map(String::as_str),
                    Some(MORE_STEPS),
                    "{}",
                    rule.name
                );
                for command in response
                    .lines()
                    .filter_map(|line| line.strip_prefix("    "))
                {
                    let is_unchanged = steps.iter().any(|step| step.trim_matches('`') == command);
                    assert!(is_unchanged, "{}: {command}", rule.name);
                    commands += 1;
                }
            }
        }
        assert!(commands > 200, "{commands}");
    }

    #[test]
    fn a_long_response_ends_after_a_whole_line() {
        let line = "x".repeat(999);
        let steps = steps(&[line.as_str(); 9].join("\n"));
        let expected = vec![line.as_str(), &line, &line, &line, MORE_STEPS];
        assert_eq!(steps, expected);
        assert_eq!(
            step("    aws x --query 'y[?z==`false`]' > out"),
            "```aws x --query 'y[?z==`false`]' > out```"
        );
    }

    #[test]
    fn each_record_without_a_finding_is_an_error() {
        let good = json!({"finding_info": {"title": "t"}}).to_string();
        let payload = json!({"Records": [{"Sns": {"Message": good}}, {"Sns": {"Message": "hello"}}, {"s3": {}}]});
        let found: Vec<Result<(), String>> = findings(&payload.to_string())
            .into_iter()
            .map(|finding| finding.map(drop).map_err(|error| error.to_string()))
            .collect();
        let expected = "expected a Detection Finding as JSON, found";
        assert_eq!(
            found,
            [
                Ok(()),
                Err(format!("Records[1].Sns.Message: {expected} \"hello\"")),
                Err(format!("Records[2].Sns.Message: {expected} no message")),
            ]
        );
        for payload in ["", "{}", "[]", r#"{"Records":[]}"#] {
            assert_eq!(findings(payload).len(), 1, "{payload}");
            assert!(findings(payload)[0].is_err(), "{payload}");
        }
    }
}
