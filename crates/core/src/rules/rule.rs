//! A detection rule as alerts use it: id, name, level and texts. Its compiled detection is kept apart
//! (`compile`).

use rsigma_parser::{SigmaRule, SigmaValue};
use serde_json::Value;

use super::{
    declaration::Declaration,
    detection,
    diagnostic::Diagnostic,
    naming::{checked_name, kebab_case, normalized_id, stem},
    origin::{Origin, Trust},
    response::Response,
    rule_text::{RuleText, TextSource},
};
use crate::{
    record::{Outcome, is_error},
    severity::Severity,
};

/// A detection rule without its detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Sigma's `id`, a UUID.
    pub id: String,
    /// Sigma's `name`, in kebab-case. A rule without one is named after its file, or after its title if the
    /// file has several rules.
    pub name: String,
    /// Sigma's `title`.
    pub title: String,
    /// Sigma's `level`.
    pub level: Severity,
    /// ATT&CK techniques such as `T1485`, from the tags.
    pub techniques: Vec<String>,
    text: TextSource,
    /// Whether the detection tests request parameters. If CloudTrail omitted them from a record, the rule may
    /// match only because nothing excludes it.
    pub reads_parameters: bool,
    /// Whether the detection requires an error code or message. Such a rule is about calls that did not succeed, and
    /// its level says how much that matters.
    pub reads_error: bool,
    /// Whether the detection names one to three event names. Such a rule describes what the call does; other
    /// rules describe how it was made.
    pub is_about_one_call: bool,
}

/// How much less a failed call weighs than the level of a rule about what the call does.
const FAILED_STEPS: usize = 2;

impl Rule {
    /// What a match of this rule weighs for a call with this outcome: the level. A service fault, throttling or a
    /// validation error has changed nothing, and anyone can cause them in any number, so they weigh two steps less. A
    /// denied call keeps the level: someone tried what they may not do.
    pub fn severity(&self, outcome: Outcome) -> Severity {
        match outcome {
            Outcome::Failed if !self.reads_error => self.level.lowered(FAILED_STEPS),
            Outcome::Failed | Outcome::Denied | Outcome::Success => self.level,
        }
    }

    /// Sigma's `description`.
    pub fn description(&self) -> &str {
        &self.text.text().description
    }

    /// What to do, by outcome of the call.
    pub fn response(&self) -> &Response {
        &self.text.text().response
    }

    /// Until when what the call did can be undone, and what closes that deadline.
    pub fn deadline(&self) -> Option<&Declaration> {
        self.text.text().deadline.as_ref()
    }

    /// Reads a parsed rule, except for its detection. `response` and `deadline` are members of its document.
    ///
    /// # Errors
    /// Members that are missing or malformed.
    pub(super) fn read(
        origin: &Origin,
        sigma: &SigmaRule,
        response: Option<&Value>,
        deadline: Option<&Value>,
    ) -> Result<Rule, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let id = sigma.id.clone().filter(|id| !id.trim().is_empty());
        if id.is_none() {
            errors.push(origin.error(
                &["id"],
                "is missing; expected a UUID",
                Some("generate one with `uuidgen`"),
            ));
        }
        if sigma.level.is_none() {
            errors.push(origin.error(
                &["level"],
                "is missing; expected informational, low, medium, high or critical",
                Some("the level of the rule becomes the severity of the alert"),
            ));
        }
        let text = match origin.trust {
            Trust::BuiltIn { index } => TextSource::BuiltIn(index),
            Trust::Checked => {
                let response = response.map_or(Ok(Response::default()), Response::read);
                let response = response.unwrap_or_else(|message| {
                    errors.push(origin.error(&["response"], message, None));
                    Response::default()
                });
                let deadline = deadline.map(Declaration::read).transpose();
                let deadline = deadline.unwrap_or_else(|problem| {
                    let path: Vec<&str> = ["deadline"]
                        .into_iter()
                        .chain(problem.path.iter().map(String::as_str))
                        .collect();
                    errors.push(origin.error(&path, problem.message, problem.hint.as_deref()));
                    None
                });
                TextSource::Loaded(Box::new(RuleText {
                    description: sigma.description.clone().unwrap_or_default(),
                    response,
                    deadline,
                }))
            }
        };
        let name = match &sigma.name {
            Some(name) => checked_name(origin, name).unwrap_or_else(|error| {
                errors.push(error);
                String::new()
            }),
            None if origin.alone => kebab_case(stem(&origin.file)),
            None => kebab_case(&sigma.title),
        };
        let (Some(id), Some(level), true) = (id, sigma.level, errors.is_empty()) else {
            return Err(errors);
        };
        let tests = detection::field_tests(&sigma.detection);
        Ok(Rule {
            id: normalized_id(&id),
            name,
            title: sigma.title.clone(),
            level: Severity::from(level),
            techniques: sigma.tags.iter().filter_map(|tag| technique(tag)).collect(),
            text,
            is_about_one_call: detection::is_about_one_call(&sigma.detection),
            reads_parameters: tests
                .iter()
                .filter_map(|test| test.item.field.name.as_deref())
                .any(is_parameter),
            reads_error: tests.iter().any(requires_error),
        })
    }

    /// Whether this is the id or the name of the rule.
    pub(super) fn is_named(&self, name: &str) -> bool {
        normalized_id(name) == self.id || name == self.name
    }
}

fn is_parameter(field: &str) -> bool {
    let top = field.split('.').next().unwrap_or_default();
    top.eq_ignore_ascii_case("requestParameters")
}

/// Whether a match needs an error. `null` and `exists: false` need the opposite.
fn requires_error(test: &detection::FieldTest<'_>) -> bool {
    let is_absence = test
        .item
        .values
        .iter()
        .all(|value| matches!(value, SigmaValue::Null | SigmaValue::Bool(false)));
    test.positive && test.item.field.name.as_deref().is_some_and(is_error) && !is_absence
}

/// `attack.t1485.001` → `T1485.001`. Source: Sigma Tags Specification 2.1, namespace `attack`.
fn technique(tag: &str) -> Option<String> {
    let name = tag.strip_prefix("attack.")?;
    let digits = name.strip_prefix('t')?;
    digits
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| format!("T{digits}"))
}
