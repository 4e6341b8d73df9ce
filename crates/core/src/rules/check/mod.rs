//! `rules check`: errors and warnings for the author of a rule, before the rule is deployed.
//!
//! Loading rejects rules that cannot be evaluated. The check also finds rules that load and can never match, a
//! common failure that causes no error. It compares event sources and event names with AWS's lists (`api`), each
//! alone (`names`) and in combination (`calls`), and placeholders with the members of records (`placeholders`,
//! `deadlines`). It
//! warns about rules without tests, expired filters, and rules for which the function must parse every record.

mod calls;
mod deadlines;
mod names;
mod placeholders;

use std::sync::Arc;

use jiff::Timestamp;
use rsigma_parser::{SigmaRule, lint};

use super::{
    builtin::builtin_files,
    cases::{self, Expected},
    closing, detection,
    diagnostic::{Diagnostic, Kind, nearest},
    document::{Content, Document, read, split},
    filter::Filter,
    loaded::Loaded,
    origin::{Origin, RuleFile},
    prefilter::{Prefilter, UNBOUND},
    rule::Rule,
    watched::Watched,
};
use crate::text::one_line;

/// Checks rule files that are to be added to the built-in rules. `now` is for filters that expire.
/// Returns all errors and warnings, in the order of files and lines.
pub fn check(files: &[RuleFile], now: Timestamp) -> Vec<Diagnostic> {
    let watched = Watched::default();
    let builtin = builtin_files();
    // The built-in rules can be checked, too; they are not added to themselves.
    let is_builtin = |file: &RuleFile| builtin.iter().any(|known| known.text == file.text);
    let added: Vec<RuleFile> = files
        .iter()
        .filter(|file| !is_builtin(file))
        .cloned()
        .collect();

    let alone = Loaded::files(files, &watched);
    let together = Loaded::layered(&builtin, &added, &watched);
    let mut diagnostics = alone.errors;
    let closing = closing::errors(&together.rules, &together.replaced);
    for error in together.errors.iter().cloned().chain(closing) {
        if !diagnostics.contains(&error) {
            diagnostics.push(error);
        }
    }

    for loaded in &alone.rules {
        check_rule(
            &loaded.origin,
            &loaded.sigma,
            &loaded.rule,
            &mut diagnostics,
        );
        deadlines::check(loaded, &together, &mut diagnostics);
    }
    let rules: Vec<&Rule> = together.rules.iter().map(|loaded| &*loaded.rule).collect();
    for loaded in &alone.filters {
        let (origin, detection) = (&loaded.origin, &loaded.sigma.detection);
        names::check(origin, "filter", detection, &mut diagnostics);
        check_filter(origin, &loaded.filter, &rules, now, &mut diagnostics);
    }
    replacements(&added, &watched, &builtin, &together, &mut diagnostics);
    for file in files {
        specification(file, &mut diagnostics);
    }

    let position = |file: &str| files.iter().position(|known| known.name == file);
    diagnostics.sort_by_key(|found| (position(&found.file), found.line, found.kind));
    diagnostics.dedup();
    diagnostics
}

fn check_rule(origin: &Origin, sigma: &SigmaRule, rule: &Rule, diagnostics: &mut Vec<Diagnostic>) {
    let mut warn = |path: &[&str], message: String, hint: &str| {
        diagnostics.push(origin.warning(path, message, hint));
    };
    if !Prefilter::is_bound(sigma) {
        warn(
            &["detection"],
            format!(
                "expected a required `eventSource`, found none in {}; {UNBOUND}",
                one_line(&rule.name, 100)
            ),
            "add `eventSource` to a selection that the condition requires",
        );
    }
    let used = detection::used_selections(&sigma.detection);
    let mut unused: Vec<&String> = sigma
        .detection
        .named
        .keys()
        .filter(|name| !used.iter().any(|(selection, _)| selection == name))
        .collect();
    unused.sort();
    for name in unused {
        warn(
            &["detection", name],
            "is not used by a condition".into(),
            "add it to the condition, or remove it",
        );
    }
    let (cases, found) = cases::read(origin, sigma.custom_attributes.get("tests"));
    if found.is_empty() {
        let has = |expected| cases.iter().any(|case| case.expected == expected);
        let missing = match (has(Expected::Matches), has(Expected::Misses)) {
            (true, true) => None,
            (false, false) => Some("expected tests, found none"),
            (true, false) => Some("expected a test with `misses`, found none"),
            (false, true) => Some("expected a test with `matches`, found none"),
        };
        if let Some(missing) = missing {
            warn(
                &["tests"],
                missing.into(),
                "add a record that matches, and a similar one that does not",
            );
        }
    }
    diagnostics.extend(found);
    let before = diagnostics.len();
    names::check(origin, "detection", &sigma.detection, diagnostics);
    // A wrong name already explains why the rule can never match.
    if diagnostics.len() == before && calls::can_match(&sigma.detection) == Some(false) {
        diagnostics.push(origin.error(
            &["detection", "condition"],
            "expected event sources and event names that a call can have together",
            Some(
                "a call has one of each; write the names in one list, or join selections with `or`",
            ),
        ));
    }
    placeholders::check(origin, sigma, rule, diagnostics);
}

fn check_filter(
    origin: &Origin,
    filter: &Filter,
    rules: &[&Rule],
    now: Timestamp,
    diagnostics: &mut Vec<Diagnostic>,
) {
    if let (Some(last), true) = (filter.expires, filter.is_expired(now)) {
        diagnostics.push(origin.warning(
            &["expires"],
            format!("expected a date in the future, found {last}; the filter no longer suppresses anything"),
            "remove the filter, or change the date",
        ));
    }
    for name in &filter.rules {
        if rules.iter().any(|rule| rule.is_named(name)) {
            continue;
        }
        let known = rules
            .iter()
            .flat_map(|rule| [rule.name.as_str(), rule.id.as_str()]);
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "`cloudhsm-alerts rules list` lists the names".to_owned(),
        };
        diagnostics.push(origin.error(
            &["filter", "rules"],
            format!("expected the id or name of a rule, found {name:?}"),
            Some(&hint),
        ));
    }
}

/// Warns about built-in rules that the added files replace or disable.
fn replacements(
    added: &[RuleFile],
    watched: &Watched,
    builtin: &[RuleFile],
    together: &Loaded,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let builtin = Loaded::files(builtin, watched);
    let builtin_rule = |id: &str| {
        let mut rules = builtin.rules.iter().map(|loaded| &loaded.rule);
        rules.find(|rule| rule.id == id)
    };
    for file in added {
        for document in read(file, watched, &mut Vec::new()) {
            let (message, hint) = match &document.content {
                Content::Rule { rule, .. } => match builtin_rule(&rule.id) {
                    Some(replaced) => (
                        format!("replaces the built-in rule {}", replaced.name),
                        "to keep both rules, change the id",
                    ),
                    None => continue,
                },
                Content::Disabled(id) => match builtin_rule(id) {
                    Some(disabled) => (
                        format!("disables the built-in rule {}", disabled.name),
                        "to suppress only some of its matches, write a filter",
                    ),
                    None => (
                        format!("expected the id of a built-in rule to disable, found {id}"),
                        "`cloudhsm-alerts rules list --format json` lists the ids",
                    ),
                },
                Content::Filter(..) => continue,
            };
            diagnostics.push(document.origin.warning(&["id"], message, hint));
            diagnostics.extend(lost_deadlines(&document, builtin_rule, together));
        }
    }
}

/// Warns about deadlines that go with a built-in rule, or that nothing closes any more.
fn lost_deadlines<'r>(
    document: &Document,
    builtin_rule: impl Fn(&str) -> Option<&'r Arc<Rule>>,
    together: &Loaded,
) -> Vec<Diagnostic> {
    let origin = &document.origin;
    match &document.content {
        Content::Rule { rule, .. } => builtin_rule(&rule.id)
            .filter(|replaced| replaced.deadline().is_some() && rule.deadline().is_none())
            .map(|replaced| {
                origin.warning(
                    &["deadline"],
                    format!("is missing; the built-in rule {} has one", replaced.name),
                    "copy it, or nobody is reminded of what can still be undone",
                )
            })
            .into_iter()
            .collect(),
        Content::Disabled(id) => builtin_rule(id)
            .map(|off| (off, deadlines::closed_by(off, together)))
            .filter(|(_, open)| !open.is_empty())
            .map(|(off, open)| {
                origin.warning(
                    &["id"],
                    format!(
                        "disables {}, whose calls close the deadline of {}",
                        off.name,
                        open.join(" and ")
                    ),
                    "keep the rule, and suppress its alerts by a filter: a suppressed match closes a deadline, too",
                )
            })
            .into_iter()
            .collect(),
        Content::Filter(..) => Vec::new(),
    }
}

/// Findings of rsigma's linter for the Sigma specification: dates, tags, UUIDs, misspelled members.
fn specification(file: &RuleFile, diagnostics: &mut Vec<Diagnostic>) {
    for (before, text) in split(&file.text) {
        let single = RuleFile {
            name: file.name.clone(),
            text: text.to_owned(),
        };
        // Documents that do not load already have an error, and a document that disables a rule need not be a
        // complete rule.
        let documents = read(&single, &Watched::default(), &mut Vec::new());
        if matches!(
            documents.as_slice(),
            [Document {
                content: Content::Rule { .. } | Content::Filter(..),
                ..
            }]
        ) {
            lint_document(file, before, text, diagnostics);
        }
    }
}

/// Lints a document that loads. Every finding is a warning.
fn lint_document(file: &RuleFile, before: usize, text: &str, diagnostics: &mut Vec<Diagnostic>) {
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
        // The errors and warnings from above explain more.
        let is_known = diagnostics
            .iter()
            .any(|known| known.file == file.name && known.line == line && known.field == field);
        if !is_known {
            diagnostics.push(Diagnostic {
                kind: Kind::Warning,
                file: file.name.clone(),
                line,
                field,
                message: finding.message,
                hint: None,
            });
        }
    }
}
