//! The reference: a Markdown page that describes every rule, for the recipients of alerts.
//!
//! It is generated from the rule files (`rules document`).

use std::fmt::Write;

use rsigma_parser::SigmaRule;
use serde_json::Map;

use super::{
    diagnostic::Diagnostic,
    loaded::{Loaded, LoadedRule},
    origin::RuleFile,
    rule::Rule,
    watched::Watched,
};
use crate::{actor::Actor, record::Record};

/// The subjects of the built-in rules, in the order of the page: folder and heading. Other folders come after them,
/// with their name as heading.
const SUBJECTS: &[(&str, &str)] = &[
    ("cloudhsm", "CloudHSM clusters, HSMs and backups"),
    ("denied", "Denied and failed calls"),
    ("how-called", "How a call was made"),
    (
        "hsm-surroundings",
        "Security groups, audit logs and service role of the HSMs",
    ),
    ("kms-key-store", "KMS key stores"),
    ("cloudhsm-classic", "CloudHSM Classic"),
    ("reconnaissance", "Read-only calls"),
    ("trail", "Trail"),
    ("trail-bucket", "Bucket of the trail"),
    ("alert-function", "Alert function"),
    ("alert-source", "Delivery of log files to the function"),
    ("alert-topic", "Alert topic"),
    ("alert-role", "Role of the function"),
    ("alert-key", "KMS keys of the alerts"),
    (
        "alert-storage",
        "Failure queue, ledger, log and rules bucket",
    ),
    ("alert-alarms", "Alarms"),
    ("alert-stack", "CloudFormation stack"),
];

/// A Markdown page about the rules of some files, by subject, highest level first.
///
/// # Errors
/// All errors of the files.
pub fn page(files: &[RuleFile], watched: &Watched) -> Result<String, Vec<Diagnostic>> {
    let loaded = Loaded::files(files, watched);
    if !loaded.errors.is_empty() {
        return Err(loaded.errors);
    }
    let mut rules = loaded.rules;
    rules.sort_by(|one, other| {
        subject_order(&one.origin.file)
            .cmp(&subject_order(&other.origin.file))
            .then_with(|| other.rule.level.cmp(&one.rule.level))
            .then_with(|| one.rule.name.cmp(&other.rule.name))
    });
    let subjects: Vec<&[LoadedRule]> = rules
        .chunk_by(|one, other| folder(&one.origin.file) == folder(&other.origin.file))
        .collect();
    let mut page = String::from(
        "# Rules\n\n\
        <!-- Generated from the rule files by `make rules-page`. -->\n\n\
        For each rule: what it means, and what its alert recommends after a call that succeeded. Names in CAPITALS \
        are placeholders for values of the record. Alerts of severity `informational` are only published with \
        `MIN_SEVERITY=informational`.\n\n",
    );
    // Writing to a String cannot fail; likewise below.
    for rules in &subjects {
        let heading = heading(folder(&rules[0].origin.file));
        let _ = writeln!(
            page,
            "- [{heading}](#{}) ({})",
            anchor(heading),
            rules.len()
        );
    }
    for rules in &subjects {
        let heading = heading(folder(&rules[0].origin.file));
        let _ = write!(page, "\n## {heading}\n");
        overview(&mut page, rules);
        for loaded in *rules {
            section(&mut page, &loaded.sigma, &loaded.rule);
        }
    }
    Ok(page)
}

/// `rules/cloudhsm/hsm-deleted.yml` → `cloudhsm`.
fn folder(file: &str) -> &str {
    file.rsplit('/').nth(1).unwrap_or("rules")
}

/// A key that sorts files by the position of their subject, then by folder.
fn subject_order(file: &str) -> (usize, &str) {
    let folder = folder(file);
    let position = SUBJECTS.iter().position(|(known, _)| *known == folder);
    (position.unwrap_or(SUBJECTS.len()), folder)
}

fn heading(folder: &str) -> &str {
    SUBJECTS
        .iter()
        .find(|(known, _)| *known == folder)
        .map_or(folder, |(_, heading)| heading)
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

fn overview(page: &mut String, rules: &[LoadedRule]) {
    page.push_str("\n| rule | level | what happened |\n|---|---|---|\n");
    for LoadedRule { rule, .. } in rules {
        let _ = writeln!(
            page,
            "| [{0}](#{0}) | {1} | {2} |",
            rule.name,
            rule.level,
            rule.title.replace('|', "\\|")
        );
    }
}

fn section(page: &mut String, sigma: &SigmaRule, rule: &Rule) {
    let _ = write!(
        page,
        "\n### {}\n\n**{}** ({})",
        rule.name, rule.title, rule.level
    );
    if !rule.techniques.is_empty() {
        let links: Vec<String> = rule
            .techniques
            .iter()
            .map(|technique| {
                let path = technique.replace('.', "/");
                format!("[{technique}](https://attack.mitre.org/techniques/{path}/)")
            })
            .collect();
        let _ = write!(page, " · {}", links.join(", "));
    }
    let _ = write!(page, "\n\n{}\n", rule.description().trim());

    let nothing = Record::new(0, Map::new());
    let text = rule.response().render(&nothing, &Actor::of(&nothing));
    let _ = write!(page, "\nWhat to do:\n\n```text\n{}\n```\n", text.trim_end());
    if let Some(deadline) = rule.deadline() {
        let code = |text: &str| format!("`{text}`");
        let until: Vec<String> = deadline.until().iter().map(|it| code(it.text())).collect();
        let rules = deadline.closed_by().iter();
        let closed_by: Vec<String> = rules.map(|it| code(&it.rule)).collect();
        let _ = write!(
            page,
            "\nDeadline: until {}; undone ({}) with {}; closed by {}.\n",
            until.join(", else "),
            deadline.undone(),
            code(deadline.command()),
            closed_by.join(" or "),
        );
    }
    list(page, "False positives", &sigma.falsepositives);
    list(page, "References", &sigma.references);
}

fn list(page: &mut String, heading: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = write!(page, "\n{heading}:\n\n");
    for item in items {
        let _ = writeln!(page, "- {}", item.trim());
    }
}
