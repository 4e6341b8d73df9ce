//! Deadlines: whether the records of a rule, and of the rules that close its deadline, can have the members that the
//! deadline refers to, and whether anything can close it.

use super::placeholders::Records;
use crate::rules::{
    closing::{self, Named},
    declaration::Declaration,
    diagnostic::Diagnostic,
    loaded::{Loaded, LoadedRule},
    rule::Rule,
};

/// Checks the deadline of a rule against all rules that are in use.
pub(super) fn check(loaded: &LoadedRule, together: &Loaded, diagnostics: &mut Vec<Diagnostic>) {
    let LoadedRule {
        origin,
        sigma,
        rule,
        ..
    } = loaded;
    let Some(declaration) = rule.deadline() else {
        return;
    };
    if let Some(records) = Records::of(sigma) {
        for (path, name) in declaration.placeholders() {
            let mut path: Vec<&str> = ["deadline"]
                .into_iter()
                .chain(path.iter().map(String::as_str))
                .collect();
            // `until` with one time is no list.
            while path.len() > 1 && !origin.lines.has(&path) {
                path.pop();
            }
            if let Err(hint) = records.can_fill(&name) {
                diagnostics.push(origin.error(
                    &path,
                    format!(
                        "expected a placeholder that matching records can fill, found {{{name}}}"
                    ),
                    Some(&hint),
                ));
            }
        }
    }
    for closed_by in declaration.closed_by() {
        let path = ["deadline", "closed_by", closed_by.rule.as_str()];
        let rules = together.rules.iter().map(|loaded| &*loaded.rule);
        match closing::find(rules, &together.replaced, &closed_by.rule) {
            Named::Rule(rule) => {
                let sigma = together
                    .rules
                    .iter()
                    .find(|loaded| loaded.rule.id == rule.id)
                    .map(|loaded| &loaded.sigma);
                let records = sigma.and_then(|sigma| Records::of(sigma));
                let name = &closed_by.resource;
                if let Some(Err(hint)) = records.map(|records| records.can_fill(name)) {
                    diagnostics.push(origin.error(
                        &path,
                        format!(
                            "expected a placeholder that records of {} can fill, found {{{name}}}",
                            rule.name
                        ),
                        Some(&hint),
                    ));
                }
            }
            Named::Off => diagnostics.push(origin.warning(
                &path,
                "expected a rule that is in use, found one that `status: unsupported` switches off; its calls do not close the deadline",
                "remove the document that switches it off, or name another rule",
            )),
            // Loading reports it.
            Named::Unknown => {}
        }
    }
}

/// The rules whose deadline a switched-off rule would close.
pub(super) fn closed_by<'r>(off: &Rule, together: &'r Loaded) -> Vec<&'r str> {
    let closes = |declaration: &Declaration| {
        let mut rules = declaration.closed_by().iter();
        rules.any(|closed_by| off.is_named(&closed_by.rule))
    };
    together
        .rules
        .iter()
        .filter(|loaded| loaded.rule.deadline().is_some_and(closes))
        .map(|loaded| loaded.rule.name.as_str())
        .collect()
}
