//! The checker: what a rule's author should hear before the rule is deployed.
//!
//! Loading refuses what cannot be used. The checker goes further: a rule that can never be met is this
//! field's commonest silent failure, and nothing but knowledge of the API shows it. It holds event sources
//! and event names against AWS's own lists (`api.rs`), each by itself (`names.rs`) and together
//! (`calls.rs`), placeholders against what a record can have
//! (`placeholders.rs`), and tells of rules without a near miss, of exceptions that are over, and of rules
//! that make the function read every record.

pub(super) mod api;
mod calls;
mod names;
mod placeholders;

use jiff::civil::Date;
use rsigma_parser::{SigmaRule, lint};

use super::{
    Parts, Rule, RuleFile, bound, builtin_files,
    cases::{self, Expected},
    document::{Content, Document, Origin, read, split},
    filter::{Filter, is_named},
    problem::{Problem, Weight, nearest},
    relevance::Relevance,
    watched::Watched,
};

/// The event source of both of CloudHSM's APIs in every record.
/// Source: AWS CloudHSM User Guide, "Working with AWS CloudTrail and AWS CloudHSM".
pub(super) const RECORDED: &str = "cloudhsm.amazonaws.com";
/// The one that AWS's service model names instead.
pub(super) const NEVER_RECORDED: &str = "cloudhsmv2.amazonaws.com";

/// Checks rule files as they would be added to the built-in rules; on a day (in UTC), for filters that
/// expire. All problems, in the order of files and lines.
pub fn check(files: &[RuleFile], today: Date) -> Vec<Problem> {
    let watched = Watched::default();
    let builtin = builtin_files();
    // Whoever checks this project's own rules does not add them to themselves.
    let is_builtin = |file: &RuleFile| builtin.iter().any(|own| own.text == file.text);
    let added: Vec<RuleFile> = files
        .iter()
        .filter(|file| !is_builtin(file))
        .cloned()
        .collect();

    let alone = Parts::layered(&[], files, &watched);
    let together = Parts::layered(&builtin, &added, &watched);
    let mut problems = alone.problems;
    for problem in together.problems {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    for (origin, sigma, _, rule) in &alone.rules {
        check_rule(origin, sigma, rule, &mut problems);
    }
    let rules: Vec<&Rule> = together
        .rules
        .iter()
        .map(|(_, _, _, rule)| &**rule)
        .collect();
    for (origin, sigma, filter) in &alone.filters {
        names::check(origin, "filter", &sigma.detection, &mut problems);
        check_filter(origin, filter, &rules, today, &mut problems);
    }
    replacements(&added, &watched, &builtin, &mut problems);
    for file in files {
        specification(file, &mut problems);
    }

    let place = |file: &str| files.iter().position(|known| known.name == file);
    problems.sort_by_key(|problem| (place(&problem.file), problem.line, problem.weight));
    problems.dedup();
    problems
}

fn check_rule(origin: &Origin, sigma: &SigmaRule, rule: &Rule, problems: &mut Vec<Problem>) {
    let mut warn = |path: &[&str], message: String, hint: &str| {
        problems.push(origin.problem(Weight::Warning, path, message, Some(hint)));
    };
    if !Relevance::is_bound(sigma) {
        warn(
            &["detection"],
            "is not bound to event sources: with this rule the function reads every record of every file".into(),
            "ask for `eventSource` in a part that the condition requires",
        );
    }
    let used = bound::uses(&sigma.detection);
    let mut unused: Vec<&String> = sigma
        .detection
        .named
        .keys()
        .filter(|name| !used.iter().any(|(part, _)| part == name))
        .collect();
    unused.sort();
    for name in unused {
        warn(
            &["detection", name],
            "is used by no condition".into(),
            "name it in the condition, or remove it",
        );
    }
    let (cases, found) = cases::read(origin, sigma.custom_attributes.get("tests"));
    if found.is_empty() {
        let has = |expected| cases.iter().any(|case| case.expected == expected);
        let missing = match (has(Expected::Meets), has(Expected::Misses)) {
            (true, true) => None,
            (false, false) => Some("has no tests"),
            (true, false) => Some("has no near miss: no test that it must not meet"),
            (false, true) => Some("has no test that it must meet"),
        };
        if let Some(missing) = missing {
            warn(
                &["tests"],
                missing.into(),
                "add a record that differs in the one thing that matters, under `misses:`, and one under `meets:`",
            );
        }
    }
    problems.extend(found);
    let before = problems.len();
    names::check(origin, "detection", &sigma.detection, problems);
    // A name that no record has explains by itself why the rule is never met.
    if problems.len() == before && calls::can_be_met(&sigma.detection) == Some(false) {
        problems.push(origin.problem(
            Weight::Error,
            &["detection", "condition"],
            "no call has all the event sources and event names that it asks for together",
            Some("a call has one of each: put names into one list, or join parts by `or`"),
        ));
    }
    placeholders::check(origin, sigma, rule, problems);
}

fn check_filter(
    origin: &Origin,
    filter: &Filter,
    rules: &[&Rule],
    today: Date,
    problems: &mut Vec<Problem>,
) {
    if let (Some(last), true) = (filter.expires, filter.is_expired(today)) {
        problems.push(origin.problem(
            Weight::Warning,
            &["expires"],
            format!("has expired: its last day was {last}, and it keeps nothing back any more"),
            Some("remove the filter, or set another date"),
        ));
    }
    for name in &filter.rules {
        if rules.iter().any(|rule| is_named(rule, name)) {
            continue;
        }
        let known = rules
            .iter()
            .flat_map(|rule| [rule.name.as_str(), rule.id.as_str()]);
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "`cloudhsm-alerts rules list` shows the names".to_owned(),
        };
        problems.push(origin.problem(
            Weight::Error,
            &["filter", "rules"],
            format!("names {name:?}, which is the id or name of no rule here or built in"),
            Some(&hint),
        ));
    }
}

/// Tells what added files change about the built-in rules.
fn replacements(
    added: &[RuleFile],
    watched: &Watched,
    builtin: &[RuleFile],
    problems: &mut Vec<Problem>,
) {
    let own = Parts::layered(&[], builtin, watched);
    let own = |id: &str| own.rules.iter().find(|(_, _, _, rule)| rule.id == id);
    for file in added {
        for document in read(file, watched, &mut Vec::new()) {
            let (message, hint) = match &document.content {
                Content::Rule { rule, .. } => match own(&rule.id) {
                    Some((_, _, _, replaced)) => (
                        format!("takes the place of the built-in rule {}", replaced.name),
                        "give it an id of its own if both shall hold",
                    ),
                    None => continue,
                },
                Content::Off(id) => match own(id) {
                    Some((_, _, _, off)) => (
                        format!("switches the built-in rule {} off", off.name),
                        "a filter keeps back some of its calls only, and counts them",
                    ),
                    None => (
                        format!("switches off {id}, which is the id of no built-in rule"),
                        "`cloudhsm-alerts rules list --format json` shows the ids",
                    ),
                },
                Content::Filter(..) => continue,
            };
            problems.push(
                document
                    .origin
                    .problem(Weight::Warning, &["id"], message, Some(hint)),
            );
        }
    }
}

/// What the engine's own checker says of the Sigma specification: dates, tags, UUIDs, misspelt members.
fn specification(file: &RuleFile, problems: &mut Vec<Problem>) {
    for (before, text) in split(&file.text) {
        let single = RuleFile {
            name: file.name.clone(),
            text: text.to_owned(),
        };
        // What cannot be loaded was told with more words, and the order to switch a rule off need not be a
        // whole rule.
        let documents = read(&single, &Watched::default(), &mut Vec::new());
        if matches!(
            documents.as_slice(),
            [Document {
                content: Content::Rule { .. } | Content::Filter(..),
                ..
            }]
        ) {
            lint_document(file, before, text, problems);
        }
    }
}

/// A document that loads: what is said of it here keeps nothing from working.
fn lint_document(file: &RuleFile, before: usize, text: &str, problems: &mut Vec<Problem>) {
    for finding in lint::lint_yaml_str(text) {
        if matches!(
            finding.severity,
            lint::Severity::Info | lint::Severity::Hint
        ) {
            continue;
        }
        let line = finding
            .span
            .map(|span| before + span.start_line as usize + 1);
        let field = finding.path.trim_matches('/').replace('/', ".");
        // Loading has told these with more words.
        let is_told = problems
            .iter()
            .any(|known| known.file == file.name && known.line == line && known.field == field);
        if !is_told {
            problems.push(Problem {
                weight: Weight::Warning,
                file: file.name.clone(),
                line,
                field,
                message: finding.message,
                hint: None,
            });
        }
    }
}
