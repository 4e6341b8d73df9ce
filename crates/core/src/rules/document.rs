//! Documents: what a rule file holds, raw text made into checked parts.
//!
//! A file has one or several YAML documents; each is a detection rule, a filter, or the order to switch a
//! rule off (`status: unsupported`). What the engine cannot do is refused here, with its place, and never
//! passed over; whether a rule can ever be met is the checker's question ([`super::check`]).
//! Source: Sigma Rules and Sigma Filters Specification 2.1.

use std::sync::Arc;

use rsigma_parser::{FilterRule, LogSource, SigmaRule, parse_sigma_yaml};
use serde_json::Value;

use super::{
    Rule,
    compile::Compiled,
    filter::Filter,
    language,
    position::Lines,
    problem::{Problem, Weight, nearest},
    watched::Watched,
};

/// A rule file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// Its path or address, on one line, safe to show; a rule without a `name` takes its name from it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    pub origin: Arc<Origin>,
    pub content: Content,
}

/// What a document is.
#[derive(Debug)]
pub(super) enum Content {
    /// A detection rule: as written (with the watched names filled in), ready to evaluate, and what of it
    /// goes into alerts.
    Rule {
        sigma: Arc<SigmaRule>,
        compiled: Compiled,
        rule: Arc<Rule>,
    },
    /// A filter.
    Filter(Box<FilterRule>, Arc<Filter>),
    /// The rule with this id is not to be used.
    Off(String),
}

/// Where a document stands.
#[derive(Debug)]
pub(super) struct Origin {
    /// Its file.
    pub file: String,
    /// The lines of its fields.
    pub lines: Lines,
    /// Whether its file holds nothing else: then it can be named after the file.
    pub alone: bool,
    pub trust: Trust,
}

/// Whether a file is known to be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything is checked, and problems have their lines.
    Checked,
    /// The project's own tests have checked it, so that the start of the function need not, and compiles a rule
    /// only when a record comes that it may meet. Its place among the built-in rules.
    BuiltIn { place: usize },
}

impl Origin {
    /// A problem with a field of the document.
    pub(super) fn problem(
        &self,
        weight: Weight,
        path: &[&str],
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Problem {
        self.problem_at(weight, self.lines.line(path), path, message, hint)
    }

    /// The same at a line that the caller knows better.
    pub(super) fn problem_at(
        &self,
        weight: Weight,
        line: usize,
        path: &[&str],
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Problem {
        Problem {
            weight,
            file: self.file.clone(),
            line: Some(line),
            field: path.join("."),
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }

    pub(super) fn error(
        &self,
        path: &[&str],
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Problem {
        self.problem(Weight::Error, path, message, hint)
    }
}

/// Members of a rule's or a filter's document. Source: Sigma Rules and Sigma Filters Specification 2.1;
/// `response`, `tests` and `expires` are this project's own.
const MEMBERS: &[&str] = &[
    "author",
    "correlation",
    "custom_attributes",
    "date",
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

/// The documents of a file; what cannot be used goes to `problems`, the rest is given all the same.
pub(super) fn read(
    file: &RuleFile,
    watched: &Watched,
    problems: &mut Vec<Problem>,
) -> Vec<Document> {
    // Whoever read the file put this mark in the place of bytes that are no UTF-8. Nobody writes it.
    if let Some(before) = file.text.find(char::REPLACEMENT_CHARACTER) {
        problems.push(Problem {
            weight: Weight::Error,
            file: file.name.clone(),
            line: Some(1 + file.text[..before].matches('\n').count()),
            field: String::new(),
            message: "expected YAML in UTF-8, found a character that is none".into(),
            hint: Some("save the file in UTF-8".into()),
        });
        return Vec::new();
    }
    let is_blank = |text: &str| {
        text.lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    };
    // Some editors begin a file with a mark of its byte order.
    let mut parts = split(file.text.trim_start_matches('\u{feff}'));
    parts.retain(|(_, text)| !is_blank(text));
    let (alone, empty) = (parts.len() == 1, parts.is_empty());
    let mut documents = Vec::new();
    for (before, text) in parts {
        let lines = match Lines::of(text, before) {
            Ok(lines) => lines,
            Err((line, message)) => {
                problems.push(Problem {
                    weight: Weight::Error,
                    file: file.name.clone(),
                    line: Some(line),
                    field: String::new(),
                    message: format!("expected YAML: {message}"),
                    hint: Some(
                        "look for a tab, a missing quote, a tag, or indentation that does not line up"
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
            Err(found) => problems.extend(found),
        }
    }
    if empty {
        problems.push(Problem {
            weight: Weight::Error,
            file: file.name.clone(),
            line: None,
            field: String::new(),
            message: "holds no rule; expected a Sigma detection rule or filter".into(),
            hint: Some("remove the file, or give it another ending than .yml".into()),
        });
    }
    documents
}

/// The documents of a YAML text, each with the number of lines before it. A line that begins with `---`
/// begins a document wherever it stands. Source: YAML 1.2.2, 9.1.2.
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

fn document(origin: &Origin, text: &str, watched: &Watched) -> Result<Content, Vec<Problem>> {
    let mut problems = misspelt(origin);
    problems.extend(language::modifiers(origin));
    problems.extend(language::nested(origin));
    if !problems.is_empty() {
        return Err(problems);
    }
    if origin.lines.has(&["action"]) {
        return Err(vec![origin.error(
            &["action"],
            "is a collection of rules; expected a whole rule in each document",
            Some("write the shared part into each rule"),
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
            Some("field names of another taxonomy are not those of CloudTrail; translate the rule"),
        )]);
    }
    if let Some(id) = switched_off(origin) {
        return Ok(Content::Off(id));
    }
    let collection =
        parse_sigma_yaml(text).map_err(|error| vec![origin.error(&[], error.to_string(), None)])?;
    problems.extend(
        collection
            .errors
            .iter()
            .map(|message| parser_problem(origin, message)),
    );
    if !problems.is_empty() {
        return Err(problems);
    }
    if let Some(rule) = collection.rules.into_iter().next() {
        let response = rule
            .custom_attributes
            .get("response")
            .map(serde_json::to_value)
            .transpose()
            .map_err(|error| vec![origin.error(&["response"], error.to_string(), None)])?;
        return self::rule(origin, rule, response.as_ref(), watched);
    }
    if let Some(filter) = collection.filters.into_iter().next() {
        return self::filter(origin, filter, watched);
    }
    let message = if collection.correlations.is_empty() {
        "holds no rule; expected a Sigma detection rule or filter"
    } else {
        "is a correlation, which counts over time; this function keeps nothing between log files but whom it told"
    };
    Err(vec![origin.error(
        &["correlation"],
        message,
        Some("write a detection rule for each single call"),
    )])
}

/// The id of a document with `status: unsupported`: the rule is switched off, and nothing else of the
/// document counts, so that two lines are enough.
fn switched_off(origin: &Origin) -> Option<String> {
    let single = |name: &str| origin.lines.texts(&[name])?.pop();
    let is_off = single("status")?.eq_ignore_ascii_case("unsupported");
    is_off
        .then(|| single("id"))
        .flatten()
        .map(|id| same_id(&id))
}

/// An id as it is compared: a UUID is the same in capitals. Source: RFC 9562, 4.
pub(super) fn same_id(id: &str) -> String {
    id.trim().to_ascii_lowercase()
}

/// Members that are nearly those of Sigma. Sigma allows others, but `expire` or `responce` is a slip, and
/// nobody would notice what it leaves out.
fn misspelt(origin: &Origin) -> Vec<Problem> {
    origin
        .lines
        .members()
        .into_iter()
        .filter(|(name, _)| !MEMBERS.contains(name))
        .filter_map(|(name, line)| {
            let near = nearest(name, MEMBERS.iter().copied())?;
            Some(origin.problem_at(
                Weight::Error,
                line,
                &[name],
                format!("expected a member of a rule, found {name:?}"),
                Some(&format!("did you mean {near}?")),
            ))
        })
        .collect()
}

/// What the parser says, at the field that it names.
fn parser_problem(origin: &Origin, message: &str) -> Problem {
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
        return condition_problem(origin, message);
    } else if message.starts_with("related") || message.starts_with("'related") {
        (&["related"], None)
    } else if message.starts_with("Missing required field") {
        (
            &[],
            Some("see docs/writing-rules.md for a whole rule to begin from"),
        )
    } else if message.contains("sigma-version") {
        (&["sigma-version"], None)
    } else {
        (&["detection"], None)
    };
    origin.error(path, message.replace('\n', " "), hint)
}

/// A condition that cannot be read. The parser draws it on several lines; here it is one.
fn condition_problem(origin: &Origin, message: &str) -> Problem {
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
        "Sigma has dropped `| count() …`, and this function keeps nothing between log files; write a rule for the single call"
    } else {
        "expected names of the detection's parts, joined with and, or, not, 1 of, all of"
    };
    origin.error(
        &path,
        format!("cannot be read from character {column} on: {condition:?}"),
        Some(hint),
    )
}

/// The parts of a rule, from what the parser made of it.
pub(super) fn rule(
    origin: &Origin,
    mut sigma: SigmaRule,
    response: Option<&Value>,
    watched: &Watched,
) -> Result<Content, Vec<Problem>> {
    let mut problems = Vec::new();
    problems.extend(logsource(origin, &sigma.logsource));
    let rule = match Rule::read(origin, &sigma, response) {
        Ok(rule) => Some(rule),
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    problems.extend(language::prepare(
        origin,
        "detection",
        &mut sigma.detection,
        watched,
    ));
    let (Some(rule), true) = (rule, problems.is_empty()) else {
        return Err(problems);
    };
    sigma.id = Some(rule.id.clone());
    let sigma = Arc::new(sigma);
    let compiled = match origin.trust {
        Trust::BuiltIn { .. } => Compiled::later(Arc::clone(&sigma)),
        Trust::Checked => Compiled::now(&sigma)
            .map_err(|message| vec![compile_problem(origin, "detection", &message)])?,
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
) -> Result<Content, Vec<Problem>> {
    let mut problems = Vec::new();
    if let Some(source) = &sigma.logsource {
        problems.extend(logsource(origin, source));
    }
    problems.extend(language::prepare(
        origin,
        "filter",
        &mut sigma.detection,
        watched,
    ));
    if !problems.is_empty() {
        return Err(problems);
    }
    let filter = Filter::read(origin, &sigma)?;
    Ok(Content::Filter(Box::new(sigma), Arc::new(filter)))
}

/// What the engine says of a detection it cannot compile.
pub(super) fn compile_problem(origin: &Origin, section: &str, message: &str) -> Problem {
    match message.strip_prefix("unknown detection identifier: ") {
        Some(name) => origin.error(
            &[section, "condition"],
            format!("names {name:?}, which the {section} does not have"),
            Some("expected the names that stand beside the condition"),
        ),
        None => origin.error(&[section], message, None),
    }
}

/// A rule for other logs than CloudTrail's can never be met here.
fn logsource(origin: &Origin, source: &LogSource) -> Option<Problem> {
    let is = |value: &Option<String>, expected: &str| {
        value
            .as_deref()
            .is_some_and(|value| value.eq_ignore_ascii_case(expected))
    };
    if is(&source.product, "aws") && is(&source.service, "cloudtrail") && source.category.is_none()
    {
        return None;
    }
    let said = [
        ("product", &source.product),
        ("service", &source.service),
        ("category", &source.category),
    ];
    let said: Vec<String> = said
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: {value}")))
        .collect();
    Some(origin.error(
        &["logsource"],
        format!(
            "expected {{product: aws, service: cloudtrail}}, found {{{}}}",
            said.join(", ")
        ),
        Some("only CloudTrail's records come here: such a rule would never be met"),
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
