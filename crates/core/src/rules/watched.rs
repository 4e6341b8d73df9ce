//! Watched resources: the resources that the alerts depend on, by name, such as the bucket of the trail and the alert
//! topic.
//!
//! A rule refers to one with Sigma's modifier `expand` and a placeholder (`%trail_bucket%`). The configured names
//! replace the placeholder. Without a configured name, default patterns do, which match common names. Some resources
//! have no default pattern, such as a KMS key: without a configured name, a selection with this placeholder never
//! matches, not even a record with omitted parameters.
//! Source: Sigma Modifiers Appendix 2.1, `expand`.

use std::collections::BTreeMap;

/// A kind of watched resource.
struct Kind {
    /// The placeholder, without its percent signs.
    name: &'static str,
    /// A description for messages and documentation.
    what: &'static str,
    /// Sigma patterns that are used if no name is configured.
    defaults: &'static [&'static str],
    /// Sigma patterns for a configured name (`{}`), such as the name and its ARN.
    forms: &'static [&'static str],
    /// Characters before the bare name in its longer forms, such as the slash in the ARN of a key. A configured name is
    /// shortened to the part after the last of them.
    name_after: &'static [char],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "trail_bucket",
        what: "bucket that a trail delivers to",
        defaults: &[
            "*cloudtrail*",
            "*-trail-*",
            "*-trail",
            "aws-controltower-logs-*",
        ],
        forms: &["{}"],
        name_after: &[],
    },
    Kind {
        name: "alert_topic",
        what: "ARN of the alert topic",
        defaults: &["*cloudhsm-alerts*", "*AlertTopic*"],
        // The ARN of a subscription is the ARN of the topic and an identifier.
        forms: &["{}", "{}:*"],
        name_after: &[],
    },
    Kind {
        name: "function",
        what: "name of the function",
        defaults: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        // Lambda accepts a name, an ARN or a part of it, each with an optional version.
        forms: &["{}", "{}:*", "*:{}", "*:{}:*"],
        name_after: &[],
    },
    Kind {
        name: "function_role",
        what: "name of the function's role",
        defaults: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}"],
        name_after: &[],
    },
    Kind {
        name: "ledger_table",
        what: "name of the ledger or of the watch table",
        defaults: &["*cloudhsm-alerts*"],
        // DynamoDB accepts a name or an ARN.
        forms: &["{}", "*:table/{}"],
        name_after: &[],
    },
    Kind {
        name: "failure_queue",
        what: "name of the failure queue",
        defaults: &["*cloudhsm-alerts*"],
        // SQS accepts a URL.
        forms: &["{}", "*/{}", "*:{}"],
        name_after: &[],
    },
    Kind {
        name: "source_topic",
        what: "ARN of the topic that names log files",
        defaults: &["*cloudtrail*"],
        forms: &["{}", "{}:*"],
        name_after: &[],
    },
    Kind {
        name: "source_queue",
        what: "name of the queue that names log files",
        defaults: &["*cloudtrail*"],
        forms: &["{}", "*/{}", "*:{}"],
        name_after: &['/', ':'],
    },
    Kind {
        name: "source_rule",
        what: "name of the EventBridge rule that names log files or calls, or of the hourly tick",
        defaults: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}"],
        // In CloudFormation, the physical ID of a rule is `bus|rule`.
        name_after: &['|', '/'],
    },
    Kind {
        name: "alarm",
        what: "name of the stack whose alarms are named `STACK-...`",
        defaults: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}-*"],
        name_after: &[],
    },
    Kind {
        name: "key",
        what: "ID of a KMS key of the trail, the topics, the queue or the rules",
        // The ID of a key has no pattern.
        defaults: &[],
        forms: &["{}", "*:key/{}"],
        name_after: &['/'],
    },
    Kind {
        name: "log_group",
        what: "name of the function's log group",
        defaults: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}", "*:log-group:{}", "*:log-group:{}:*"],
        name_after: &[],
    },
    Kind {
        name: "rules_bucket",
        what: "bucket of rules of your own",
        defaults: &["*cloudhsm*rules*"],
        forms: &["{}"],
        name_after: &[],
    },
    Kind {
        name: "stack",
        what: "name of the stack",
        defaults: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        // CloudFormation accepts a name or an ARN, which ends with an identifier.
        forms: &["{}", "*:stack/{}/*"],
        name_after: &[],
    },
];

/// Names of watched resources, by placeholder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    names: BTreeMap<&'static str, Vec<String>>,
}

impl Watched {
    /// Parses `trail_bucket=NAME,alert_topic=ARN,…`. A key may be repeated, and the text may be empty.
    ///
    /// # Errors
    /// An unknown key, or a part without a name.
    pub fn parse(text: &str) -> Result<Watched, String> {
        let mut watched = Watched::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, name) = part
                .split_once('=')
                .map(|(key, name)| (key.trim(), name.trim()))
                .filter(|(_, name)| !name.is_empty())
                .ok_or_else(|| format!("expected KEY=NAME, found {part:?}"))?;
            let kind = kind(key).ok_or_else(|| {
                format!(
                    "expected one of {} before '=', found {key:?}",
                    known("", "")
                )
            })?;
            watched.add(kind.name, name);
        }
        Ok(watched)
    }

    /// Adds a name. An unknown placeholder is ignored.
    pub fn add(&mut self, placeholder: &str, name: &str) {
        if let Some(kind) = kind(placeholder) {
            let name = name.rsplit(kind.name_after).next().unwrap_or(name);
            let names = self.names.entry(kind.name).or_default();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }

    /// Whether a name is configured for a placeholder.
    pub fn is(&self, placeholder: &str, name: &str) -> bool {
        self.names
            .get(placeholder)
            .is_some_and(|names| names.iter().any(|known| known == name))
    }

    /// The Sigma patterns that replace a placeholder, possibly none; `None` if the placeholder is unknown.
    pub(super) fn patterns(&self, placeholder: &str) -> Option<Vec<String>> {
        let kind = kind(placeholder)?;
        let names = self.names.get(kind.name).map_or(&[][..], Vec::as_slice);
        if names.is_empty() {
            return Some(
                kind.defaults
                    .iter()
                    .map(|&pattern| pattern.to_owned())
                    .collect(),
            );
        }
        let filled = names.iter().flat_map(|name| {
            let name = escaped(name);
            kind.forms.iter().map(move |form| form.replace("{}", &name))
        });
        Some(filled.collect())
    }
}

/// All placeholders, for messages: `%trail_bucket%, …`.
pub(super) fn placeholders() -> String {
    known("%", "%")
}

/// Each placeholder with its description and default patterns, for documentation.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str, &'static [&'static str])> {
    KINDS
        .iter()
        .map(|kind| (kind.name, kind.what, kind.defaults))
}

fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

fn known(before: &str, after: &str) -> String {
    let names: Vec<String> = KINDS
        .iter()
        .map(|kind| format!("{before}{}{after}", kind.name))
        .collect();
    names.join(", ")
}

/// A Sigma pattern that matches only this name.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_replace_placeholders() {
        let watched =
            Watched::parse("trail_bucket=a, trail_bucket=b*,function=hsm,trail_bucket=a").unwrap();
        assert_eq!(
            watched.patterns("trail_bucket"),
            Some(vec!["a".to_owned(), "b\\*".to_owned()])
        );
        assert_eq!(
            watched.patterns("function").unwrap(),
            ["hsm", "hsm:*", "*:hsm", "*:hsm:*"]
        );
        assert_eq!(
            watched.patterns("failure_queue").unwrap(),
            ["*cloudhsm-alerts*"]
        );
        assert_eq!(watched.patterns("key"), Some(Vec::new()));
        assert_eq!(watched.patterns("nothing"), None);
        assert_eq!(Watched::parse(" , "), Ok(Watched::default()));
    }

    #[test]
    fn a_longer_form_is_shortened_to_the_name() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        for (text, placeholder, name) in [
            (
                format!("key=arn:aws:kms:us-west-2:111122223333:key/{id}"),
                "key",
                id,
            ),
            (format!("key={id}"), "key", id),
            (
                "source_queue=arn:aws:sqs:us-west-2:111122223333:logs".into(),
                "source_queue",
                "logs",
            ),
            (
                "source_queue=https://sqs.us-west-2.amazonaws.com/111122223333/logs".into(),
                "source_queue",
                "logs",
            ),
            (
                "source_rule=hsm-log-files|hsm-LogFileRule-1A2B".into(),
                "source_rule",
                "hsm-LogFileRule-1A2B",
            ),
            (
                "log_group=/aws/lambda/hsm".into(),
                "log_group",
                "/aws/lambda/hsm",
            ),
        ] {
            let patterns = Watched::parse(&text)
                .unwrap()
                .patterns(placeholder)
                .unwrap();
            assert_eq!(patterns[0], name, "{text}");
        }
        let alarms = Watched::parse("alarm=hsm").unwrap();
        assert_eq!(alarms.patterns("alarm").unwrap(), ["hsm-*"]);
    }

    #[test]
    fn malformed_names_are_rejected() {
        for (text, message) in [
            ("bucket", "expected KEY=NAME, found \"bucket\""),
            (
                "trail_bucket=",
                "expected KEY=NAME, found \"trail_bucket=\"",
            ),
            (
                "bucket=x",
                "expected one of trail_bucket, alert_topic, function, function_role, ledger_table, failure_queue, source_topic, source_queue, source_rule, alarm, key, log_group, rules_bucket, stack before '=', found \"bucket\"",
            ),
        ] {
            assert_eq!(Watched::parse(text), Err(message.to_owned()));
        }
    }
}
