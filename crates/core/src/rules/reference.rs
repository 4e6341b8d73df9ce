//! The reference: every rule in words, for those who get its alerts, as a page of Markdown.
//!
//! What it says stands in the rule files; a page that is written by hand would not stay true.

use std::fmt::Write;

use rsigma_parser::SigmaRule;
use serde_json::Map;

use super::{Parts, Rule, RuleFile, problem::Problem, watched::Watched};
use crate::{actor::Actor, record::Record};

/// The page about the rules of some files, by subject (the folder of a rule's file), most severe first.
///
/// # Errors
/// All that keeps a file from being used.
pub fn page(files: &[RuleFile], watched: &Watched) -> Result<String, Vec<Problem>> {
    let mut parts = Parts::layered(&[], files, watched);
    if !parts.problems.is_empty() {
        return Err(parts.problems);
    }
    parts.rules.sort_by(|(a, _, _, one), (b, _, _, other)| {
        folder(&a.file)
            .cmp(folder(&b.file))
            .then_with(|| other.level.cmp(&one.level))
            .then_with(|| one.name.cmp(&other.name))
    });
    let mut page = String::from(
        "# The rules\n\n\
        <!-- Made by `make rules-page` from the rule files; change those. -->\n\n\
        Each rule with what it means and what its alert says to do after a call that succeeded. Words in \
        CAPITALS stand where the alert has the record's own values. Below `low`, nothing is published unless \
        `MIN_SEVERITY` says so.\n",
    );
    overview(&mut page, &parts);
    let mut subject = None;
    for (origin, sigma, _, rule) in &parts.rules {
        let here = folder(&origin.file);
        if subject != Some(here) {
            subject = Some(here);
            let _ = write!(page, "\n## {here}\n");
        }
        section(&mut page, sigma, rule);
    }
    Ok(page)
}

/// `rules/cloudhsm/hsm-deleted.yml` → `cloudhsm`.
fn folder(file: &str) -> &str {
    file.rsplit('/').nth(1).unwrap_or("rules")
}

fn overview(page: &mut String, parts: &Parts) {
    // Writing into a String cannot fail; likewise below.
    page.push_str("\n| rule | level | what happened |\n|---|---|---|\n");
    for (_, _, _, rule) in &parts.rules {
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
