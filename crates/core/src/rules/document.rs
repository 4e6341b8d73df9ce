//! Documents: the rules, filters and disabled rules in the text of a rule file.
//!
//! A file has one or several YAML documents. Each is a detection rule, a filter, or disables a rule (`status:
//! unsupported`). Whatever cannot be evaluated as Sigma defines it is rejected here, with its line. Whether a
//! rule can ever match is decided by [`super::check`].
//! Source: Sigma Rules and Sigma Filters Specification 2.1.

use std::sync::Arc;

use rsigma_parser::{FilterRule, LogSource, SigmaRule, parse_sigma_yaml};
use serde_json::Value;

use super::{
    compile::{Compiled, compile_error},
    diagnostic::{Diagnostic, Kind, nearest},
    filter::Filter,
    language,
    naming::normalized_id,
    origin::{Origin, RuleFile, Trust},
    position::Lines,
    rule::Rule,
    watched::Watched,
};

/// One document of a file. Clones share its content.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub origin: Arc<Origin>,
    pub content: Content,
}

/// What a document contains.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A detection rule: as written (with the names of watched resources filled in), compiled, and as alerts
    /// use it.
    Rule {
        sigma: Arc<SigmaRule>,
        compiled: Compiled,
        rule: Arc<Rule>,
    },
    Filter(Arc<FilterRule>, Arc<Filter>),
    /// The rule with this id is disabled.
    Disabled(String),
}

/// Members of a rule's or a filter's document. Source: Sigma Rules and Sigma Filters Specification 2.1;
/// `deadline`, `response`, `tests` and `expires` are extensions of this project.
const MEMBERS: &[&str] = &[
    "author",
    "correlation",
    "custom_attributes",
    "date",
    "deadline",
    "description",
    "detection",
    "expires",
    "falsepositives",
    "fields",
    "filter",
    "id",
    "level",
    "license",
    "logsource",
    "modified",
    "name",
    "references",
    "related",
    "response",
    "scope",
    "sigma-version",
    "status",
    "tags",
    "taxonomy",
    "tests",
    "title",
];

/// The valid documents of a file. Errors are added to `errors`.
pub(super) fn read(
    file: &RuleFile,
    watched: &Watched,
    errors: &mut Vec<Diagnostic>,
) -> Vec<Document> {
    // The file was decoded lossily: this character replaces bytes that are not UTF-8.
    if let Some(before) = file.text.find(char::REPLACEMENT_CHARACTER) {
        errors.push(Diagnostic {
            kind: Kind::Error,
            file: file.name.clone(),
            line: Some(1 + file.text[..before].matches('\n').count()),
            field: String::new(),
            message: "expected UTF-8, found other bytes".into(),
            hint: Some("save the file in UTF-8".into()),
        });
        return Vec::new();
    }
    let is_blank = |text: &str| {
        text.lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    };
    // Some editors write a byte order mark.
    let mut parts = split(file.text.trim_start_matches('\u{feff}'));
    parts.retain(|(_, text)| !is_blank(text));
    let (alone, empty) = (parts.len() == 1, parts.is_empty());
    let mut documents = Vec::new();
    for (before, text) in parts {
        let lines = match Lines::of(text, before) {
            Ok(lines) => lines,
            Err((line, message)) => {
                errors.push(Diagnostic {
                    kind: Kind::Error,
                    file: file.name.clone(),
                    line: Some(line),
                    field: String::new(),
                    message: format!("expected YAML: {message}"),
                    hint: Some(
                        "look for a tab character, a missing quotation mark, a tag, or wrong indentation"
                            .into(),
                    ),
                });
                continue;
            }
        };
        let origin = Arc::new(Origin {
            file: file.name.clone(),
            lines,
            alone,
            trust: Trust::Checked,
        });
        match document(&origin, text, watched) {
            Ok(content) => documents.push(Document { origin, content }),
            Err(found) => errors.extend(found),
        }
    }
    if empty {
        errors.push(Diagnostic {
            kind: Kind::Error,
            file: file.name.clone(),
            line: None,
            field: String::new(),
            message: "expected a Sigma detection rule or filter, found no document".into(),
            hint: Some("remove the file, or rename it so that it does not end in .yml".into()),
        });
    }
    documents
}

/// The documents of a YAML text, each with the number of lines before it. Any line that starts with `---`
/// starts a document. Source: YAML 1.2.2, 9.1.2.
pub(super) fn split(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut begin, mut begin_line, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim().is_empty() || rest.starts_with(' '))
        {
            documents.push((begin_line, &text[begin..at]));
            begin = at + 3;
            begin_line = number;
        }
        at += line.len();
    }
    documents.push((begin_line, &text[begin..]));
    documents
}

fn document(origin: &Origin, text: &str, watched: &Watched) -> Result<Content, Vec<Diagnostic>> {
    let mut errors = misspelt(origin);
    errors.extend(language::unknown_modifiers(origin));
    errors.extend(language::nested_values(origin));
    if !errors.is_empty() {
        return Err(errors);
    }
    if origin.lines.has(&["action"]) {
        return Err(vec![origin.error(
            &["action"],
            "expected a complete rule in each document, found a rule collection",
            Some("repeat the shared members in each rule"),
        )]);
    }
    if let Some(taxonomy) = origin
        .lines
        .texts(&["taxonomy"])
        .and_then(|mut texts| texts.pop())
        && taxonomy != "sigma"
    {
        return Err(vec![origin.error(
            &["taxonomy"],
            format!("expected sigma, found {taxonomy:?}"),
            Some("convert the field names of the rule to those of CloudTrail"),
        )]);
    }
    if let Some(id) = disabled(origin) {
        return Ok(Content::Disabled(id));
    }
    let collection =
        parse_sigma_yaml(text).map_err(|error| vec![origin.error(&[], error.to_string(), None)])?;
    errors.extend(
        collection
            .errors
            .iter()
            .map(|message| parser_error(origin, message)),
    );
    if !errors.is_empty() {
        return Err(errors);
    }
    if let Some(rule) = collection.rules.into_iter().next() {
        let member = |name: &str| {
            rule.custom_attributes
                .get(name)
                .map(serde_json::to_value)
                .transpose()
                .map_err(|error| vec![origin.error(&[name], error.to_string(), None)])
        };
        let (response, deadline) = (member("response")?, member("deadline")?);
        return self::rule(origin, rule, response.as_ref(), deadline.as_ref(), watched);
    }
    if let Some(filter) = collection.filters.into_iter().next() {
        return self::filter(origin, filter, watched);
    }
    let message = if collection.correlations.is_empty() {
        "expected a Sigma detection rule or filter, found neither"
    } else {
        "expected a detection rule or a filter, found a correlation; counts over time are not supported"
    };
    Err(vec![origin.error(
        &["correlation"],
        message,
        Some("write a detection rule that matches a single call"),
    )])
}

/// The id of a document with `status: unsupported`, which disables the rule. Other members are not read, so two
/// lines are enough.
fn disabled(origin: &Origin) -> Option<String> {
    let single = |name: &str| origin.lines.texts(&[name])?.pop();
    let is_off = single("status")?.eq_ignore_ascii_case("unsupported");
    is_off
        .then(|| single("id"))
        .flatten()
        .map(|id| normalized_id(&id))
}

/// Members that look like misspelled members of Sigma. Sigma allows additional members, but `expire` or
/// `responce` would have no effect, without an error.
fn misspelt(origin: &Origin) -> Vec<Diagnostic> {
    origin
        .lines
        .members()
        .into_iter()
        .filter(|(name, _)| !MEMBERS.contains(name))
        .filter_map(|(name, line)| {
            let near = nearest(name, MEMBERS.iter().copied())?;
            Some(origin.diagnostic_at(
                Kind::Error,
                line,
                &[name],
                format!("expected a member of a rule, found {name:?}"),
                Some(&format!("did you mean {near}?")),
            ))
        })
        .collect()
}

/// An error of the parser, at the field that it is about.
fn parser_error(origin: &Origin, message: &str) -> Diagnostic {
    let (path, hint): (&[&str], Option<&str>) = if message.starts_with("invalid level") {
        (
            &["level"],
            Some("expected informational, low, medium, high or critical"),
        )
    } else if message.starts_with("invalid status") {
        (
            &["status"],
            Some("expected stable, test, experimental, deprecated or unsupported"),
        )
    } else if message.starts_with("Condition parse error") {
        return condition_error(origin, message);
    } else if message.starts_with("related") || message.starts_with("'related") {
        (&["related"], None)
    } else if message.starts_with("Missing required field") {
        (&[], Some("see docs/writing-rules.md for a complete rule"))
    } else if message.contains("sigma-version") {
        (&["sigma-version"], None)
    } else {
        (&["detection"], None)
    };
    origin.error(path, message.replace('\n', " "), hint)
}

/// A condition that cannot be parsed. The parser's message has several lines; this one has one.
fn condition_error(origin: &Origin, message: &str) -> Diagnostic {
    let section = if origin.lines.has(&["filter"]) {
        "filter"
    } else {
        "detection"
    };
    let path = [section, "condition"];
    let condition = origin.lines.texts(&path).unwrap_or_default().join("; ");
    let column = message
        .strip_prefix("Condition parse error at ")
        .and_then(|rest| rest.split([' ', '\n']).next())
        .and_then(|place| place.trim_end_matches(':').rsplit(':').next())
        .unwrap_or("?");
    let hint = if condition.contains('|') {
        "aggregations such as `| count()` are not supported; write a rule that matches a single call"
    } else {
        "join the names of selections with and, or, not, 1 of, all of"
    };
    origin.error(
        &path,
        format!("expected a condition, found {condition:?}, which cannot be parsed from character {column} on"),
        Some(hint),
    )
}

/// A parsed rule as the content of a document.
pub(super) fn rule(
    origin: &Origin,
    mut sigma: SigmaRule,
    response: Option<&Value>,
    deadline: Option<&Value>,
    watched: &Watched,
) -> Result<Content, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    errors.extend(logsource(origin, &sigma.logsource));
    let rule = match Rule::read(origin, &sigma, response, deadline) {
        Ok(rule) => Some(rule),
        Err(found) => {
            errors.extend(found);
            None
        }
    };
    errors.extend(language::prepare(
        origin,
        "detection",
        &mut sigma.detection,
        watched,
    ));
    let (Some(rule), true) = (rule, errors.is_empty()) else {
        return Err(errors);
    };
    sigma.id = Some(rule.id.clone());
    let sigma = Arc::new(sigma);
    let compiled = match origin.trust {
        Trust::BuiltIn { .. } => Compiled::lazy(Arc::clone(&sigma)),
        Trust::Checked => Compiled::eager(&sigma)
            .map_err(|message| vec![compile_error(origin, "detection", &message)])?,
    };
    Ok(Content::Rule {
        sigma,
        compiled,
        rule: Arc::new(rule),
    })
}

fn filter(
    origin: &Origin,
    mut sigma: FilterRule,
    watched: &Watched,
) -> Result<Content, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    if let Some(source) = &sigma.logsource {
        errors.extend(logsource(origin, source));
    }
    errors.extend(language::prepare(
        origin,
        "filter",
        &mut sigma.detection,
        watched,
    ));
    if !errors.is_empty() {
        return Err(errors);
    }
    let sigma = Arc::new(sigma);
    let filter = Filter::read(origin, &sigma)?;
    Ok(Content::Filter(sigma, Arc::new(filter)))
}

/// Rejects a rule for other logs than CloudTrail's, which can never match.
fn logsource(origin: &Origin, source: &LogSource) -> Option<Diagnostic> {
    let is = |value: &Option<String>, expected: &str| {
        value
            .as_deref()
            .is_some_and(|value| value.eq_ignore_ascii_case(expected))
    };
    if is(&source.product, "aws") && is(&source.service, "cloudtrail") && source.category.is_none()
    {
        return None;
    }
    let members = [
        ("product", &source.product),
        ("service", &source.service),
        ("category", &source.category),
    ];
    let found: Vec<String> = members
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: {value}")))
        .collect();
    Some(origin.error(
        &["logsource"],
        format!(
            "expected {{product: aws, service: cloudtrail}}, found {{{}}}",
            found.join(", ")
        ),
        Some("only CloudTrail records are evaluated, so the rule would never match"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_their_lines() {
        assert_eq!(
            split("a: 1\n---\nb: 2\n--- # c\nd: 3\n"),
            [(0, "a: 1\n"), (1, "\nb: 2\n"), (3, " # c\nd: 3\n")]
        );
        assert_eq!(split("---\na: 1"), [(0, ""), (0, "\na: 1")]);
        assert_eq!(split("a: |\n  ---\n----\n"), [(0, "a: |\n  ---\n----\n")]);
    }
}
