//! Watched things: the trail's bucket, the alert topic and whatever else this deployment depends on, by
//! name, for the rules that tell when somebody touches them.
//!
//! A rule names such a thing with Sigma's modifier `expand` and a placeholder (`%trail_bucket%`). Where the
//! deployment says the names, they take the placeholder's place; where it does not, patterns that such
//! names usually have, so that an unconfigured rule still tells the commonest case. Some things have names
//! without a pattern, a KMS key's ID for one: unnamed, the part of the rule that asks for it is never met,
//! not even by a record that leaves out what the call was about.
//! Source: Sigma Modifiers Appendix 2.1, `expand`.

use std::collections::BTreeMap;

/// A kind of thing that rules watch.
struct Kind {
    /// The placeholder, without its percent signs.
    name: &'static str,
    /// What it stands for, for messages and documentation.
    what: &'static str,
    /// Sigma patterns where no name is configured; none: then nothing is watched.
    usual: &'static [&'static str],
    /// Sigma patterns of a configured name, `{}` in its place: an ARN, say, besides the bare name.
    forms: &'static [&'static str],
    /// What stands before the bare name in longer forms of it: an ARN with its key's ID behind the last
    /// slash, say. A configured name is taken from there.
    name_behind: &'static [char],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "trail_bucket",
        what: "bucket that a trail delivers to",
        usual: &[
            "*cloudtrail*",
            "*-trail-*",
            "*-trail",
            "aws-controltower-logs-*",
        ],
        forms: &["{}"],
        name_behind: &[],
    },
    Kind {
        name: "alert_topic",
        what: "ARN of the alert topic",
        usual: &["*cloudhsm-alerts*", "*AlertTopic*"],
        // A subscription's ARN is the topic's with an identifier behind it.
        forms: &["{}", "{}:*"],
        name_behind: &[],
    },
    Kind {
        name: "function",
        what: "name of the function",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        // Lambda takes a name, a part of an ARN or the whole, with or without a version behind it.
        forms: &["{}", "{}:*", "*:{}", "*:{}:*"],
        name_behind: &[],
    },
    Kind {
        name: "function_role",
        what: "name of the function's role",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}"],
        name_behind: &[],
    },
    Kind {
        name: "ledger_table",
        what: "name of the ledger's table",
        usual: &["*cloudhsm-alerts*"],
        // DynamoDB takes a name or an ARN.
        forms: &["{}", "*:table/{}"],
        name_behind: &[],
    },
    Kind {
        name: "failure_queue",
        what: "name of the failure queue",
        usual: &["*cloudhsm-alerts*"],
        // SQS takes a URL.
        forms: &["{}", "*/{}", "*:{}"],
        name_behind: &[],
    },
    Kind {
        name: "source_topic",
        what: "ARN of the topic that names log files",
        usual: &["*cloudtrail*"],
        forms: &["{}", "{}:*"],
        name_behind: &[],
    },
    Kind {
        name: "source_queue",
        what: "name of the queue that names log files",
        usual: &["*cloudtrail*"],
        forms: &["{}", "*/{}", "*:{}"],
        name_behind: &['/', ':'],
    },
    Kind {
        name: "source_rule",
        what: "name of the EventBridge rule that names log files or calls",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}"],
        // CloudFormation puts the bus before the rule's name: `bus|rule`.
        name_behind: &['|', '/'],
    },
    Kind {
        name: "alarm",
        what: "name of the stack whose alarms are named `STACK-...`",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}-*"],
        name_behind: &[],
    },
    Kind {
        name: "key",
        what: "ID of a KMS key of the trail, the topics, the queue or the rules",
        // An ID says nothing about what the key is for.
        usual: &[],
        forms: &["{}", "*:key/{}"],
        name_behind: &['/'],
    },
    Kind {
        name: "log_group",
        what: "name of the function's log group",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}", "*:log-group:{}", "*:log-group:{}:*"],
        name_behind: &[],
    },
    Kind {
        name: "rules_bucket",
        what: "bucket of rules of your own",
        usual: &["*cloudhsm*rules*"],
        forms: &["{}"],
        name_behind: &[],
    },
    Kind {
        name: "stack",
        what: "name of the stack",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        // CloudFormation takes a name or an ARN, which has an identifier behind the name.
        forms: &["{}", "*:stack/{}/*"],
        name_behind: &[],
    },
];

/// Names of watched things by placeholder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    names: BTreeMap<&'static str, Vec<String>>,
}

impl Watched {
    /// From `trail_bucket=NAME,alert_topic=ARN,…`; a key may come several times. Empty text names nothing.
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

    /// Adds a name, unless the placeholder is unknown.
    pub fn add(&mut self, placeholder: &str, name: &str) {
        if let Some(kind) = kind(placeholder) {
            let name = name.rsplit(kind.name_behind).next().unwrap_or(name);
            let names = self.names.entry(kind.name).or_default();
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }

    /// Whether this is one of the names configured for a placeholder.
    pub fn is(&self, placeholder: &str, name: &str) -> bool {
        self.names
            .get(placeholder)
            .is_some_and(|names| names.iter().any(|known| known == name))
    }

    /// The Sigma patterns that take a placeholder's place, none if nothing is watched; `None`: there is no
    /// such placeholder.
    pub(super) fn patterns(&self, placeholder: &str) -> Option<Vec<String>> {
        let kind = kind(placeholder)?;
        let names = self.names.get(kind.name).map_or(&[][..], Vec::as_slice);
        if names.is_empty() {
            return Some(kind.usual.iter().map(|&usual| usual.to_owned()).collect());
        }
        let filled = names.iter().flat_map(|name| {
            let name = escaped(name);
            kind.forms.iter().map(move |form| form.replace("{}", &name))
        });
        Some(filled.collect())
    }
}

/// The placeholders, for messages: `%trail_bucket%, …`.
pub(super) fn placeholders() -> String {
    known("%", "%")
}

/// Each placeholder with what it stands for and its usual patterns, for documentation.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str, &'static [&'static str])> {
    KINDS.iter().map(|kind| (kind.name, kind.what, kind.usual))
}

fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

fn known(before: &str, behind: &str) -> String {
    let names: Vec<String> = KINDS
        .iter()
        .map(|kind| format!("{before}{}{behind}", kind.name))
        .collect();
    names.join(", ")
}

/// A name as a Sigma pattern that matches just it.
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
    fn names_take_the_placeholders_place() {
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
    fn a_longer_form_of_a_name_is_the_name() {
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
    fn what_is_no_name_is_refused() {
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
