//! Closing rules: the rules whose calls close the deadlines of other rules.
//!
//! A declaration names them. A name that no rule has is an error, so that no deadline stays open for ever by a
//! misspelling. A built-in rule that was replaced is found by its id, whatever its name is now; one that
//! `status: unsupported` switched off cannot close anything, which `rules check` reports.

use std::{collections::HashMap, sync::Arc};

use super::{
    diagnostic::{Diagnostic, nearest},
    loaded::LoadedRule,
    naming::normalized_id,
    origin::Trust,
    rule::Rule,
};

/// A rule whose calls close the deadline of another rule.
#[derive(Debug)]
pub(crate) struct ClosingRule {
    /// The id of the rule.
    pub id: String,
    /// The rule that declares the deadline.
    pub declaring: Arc<Rule>,
    /// The member of the record that has the resource.
    pub resource: String,
}

/// What the name of a closing rule stands for.
pub(super) enum Named<'r> {
    Rule(&'r Rule),
    /// A built-in rule that is switched off.
    Off,
    Unknown,
}

/// Finds a rule by its name or id. `replaced` has the names and ids of built-in rules that were replaced or switched
/// off.
pub(super) fn find<'r>(
    rules: impl Iterator<Item = &'r Rule> + Clone,
    replaced: &HashMap<String, String>,
    name: &str,
) -> Named<'r> {
    if let Some(rule) = rules.clone().find(|rule| rule.is_named(name)) {
        return Named::Rule(rule);
    }
    let id = replaced.get(name).map(String::as_str).or_else(|| {
        replaced
            .values()
            .map(String::as_str)
            .find(|id| *id == normalized_id(name))
    });
    match id {
        Some(id) => match { rules }.find(|rule| rule.id == id) {
            Some(rule) => Named::Rule(rule),
            None => Named::Off,
        },
        None => Named::Unknown,
    }
}

/// The closing rules of a rule set.
pub(super) fn of(rules: &[Arc<Rule>], replaced: &HashMap<String, String>) -> Vec<ClosingRule> {
    let mut closing = Vec::new();
    for declaring in rules {
        let named = declaring.deadline().map_or(&[][..], |it| it.closed_by());
        for closed_by in named {
            let all = rules.iter().map(|rule| &**rule);
            if let Named::Rule(rule) = find(all, replaced, &closed_by.rule) {
                closing.push(ClosingRule {
                    id: rule.id.clone(),
                    declaring: Arc::clone(declaring),
                    resource: closed_by.resource.clone(),
                });
            }
        }
    }
    closing
}

/// Errors of the rules in rule files whose deadline is closed by a rule that does not exist, or by themselves. The
/// built-in rules are not read for this: a start must not need their texts.
pub(super) fn errors(loaded: &[LoadedRule], replaced: &HashMap<String, String>) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let rules = loaded.iter().map(|loaded| &*loaded.rule);
    for declaring in loaded {
        if declaring.origin.trust != Trust::Checked {
            continue;
        }
        let Some(declaration) = declaring.rule.deadline() else {
            continue;
        };
        for closed_by in declaration.closed_by() {
            let path = ["deadline", "closed_by", closed_by.rule.as_str()];
            match find(rules.clone(), replaced, &closed_by.rule) {
                Named::Rule(rule) if rule.id == declaring.rule.id => {
                    errors.push(declaring.origin.error(
                        &path,
                        "expected another rule, found the rule itself, whose calls open the deadline",
                        Some("name the rule that matches the call which undoes it"),
                    ));
                }
                Named::Rule(_) | Named::Off => {}
                Named::Unknown => {
                    let known = rules
                        .clone()
                        .flat_map(|rule| [rule.name.as_str(), rule.id.as_str()]);
                    let hint = match nearest(&closed_by.rule, known) {
                        Some(near) => format!("did you mean {near}?"),
                        None => "`cloudhsm-alerts rules list` lists the names".to_owned(),
                    };
                    errors.push(declaring.origin.error(
                        &path,
                        format!(
                            "expected the id or name of a rule, found {:?}",
                            closed_by.rule
                        ),
                        Some(&hint),
                    ));
                }
            }
        }
    }
    errors
}
