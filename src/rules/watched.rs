//! Watched things: the trail's bucket, the alert topic and whatever else this deployment depends on, by
//! name, for the rules that tell when somebody touches them.
//!
//! A rule names such a thing with Sigma's modifier `expand` and a placeholder (`%trail_bucket%`). Where the
//! deployment says the names, they take the placeholder's place; where it does not, patterns that such
//! names usually have, so that an unconfigured rule still tells the commonest case.
//! Source: Sigma Modifiers Appendix 2.1, `expand`.

use std::collections::BTreeMap;

/// A kind of thing that rules watch.
struct Kind {
    /// The placeholder, without its percent signs.
    name: &'static str,
    /// What it stands for, for messages and documentation.
    what: &'static str,
    /// Sigma patterns where no name is configured.
    usual: &'static [&'static str],
    /// Sigma patterns of a configured name, `{}` in its place: an ARN, say, besides the bare name.
    forms: &'static [&'static str],
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
    },
    Kind {
        name: "alert_topic",
        what: "ARN of the alert topic",
        usual: &["*:*cloudhsm-alerts*", "*:*AlertTopic*"],
        // A subscription's ARN is the topic's with an identifier behind it.
        forms: &["{}", "{}:*"],
    },
    Kind {
        name: "function",
        what: "name of the function",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        // Lambda takes a name, a part of an ARN or the whole, with or without a version behind it.
        forms: &["{}", "{}:*", "*:{}", "*:{}:*"],
    },
    Kind {
        name: "function_role",
        what: "name of the function's role",
        usual: &["*cloudhsm-alerts*", "*CloudHsmAlerts*"],
        forms: &["{}"],
    },
    Kind {
        name: "ledger_table",
        what: "name of the ledger's table",
        usual: &["*cloudhsm-alerts*"],
        // DynamoDB takes a name or an ARN.
        forms: &["{}", "*:table/{}"],
    },
    Kind {
        name: "failure_queue",
        what: "name of the failure queue",
        usual: &["*cloudhsm-alerts*"],
        // SQS takes a URL.
        forms: &["{}", "*/{}", "*:{}"],
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

    /// The Sigma patterns that take a placeholder's place; `None`: there is no such placeholder.
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
        assert_eq!(watched.patterns("nothing"), None);
        assert_eq!(Watched::parse(" , "), Ok(Watched::default()));
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
                "expected one of trail_bucket, alert_topic, function, function_role, ledger_table, failure_queue before '=', found \"bucket\"",
            ),
        ] {
            assert_eq!(Watched::parse(text), Err(message.to_owned()));
        }
    }
}
