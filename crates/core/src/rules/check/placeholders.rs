//! Placeholders: whether a record that matches the rule can have the members that its response refers to.
//!
//! With a misspelled name, every alert would contain the fallback, or `CLUSTERID` instead of the cluster's ID.

use rsigma_parser::SigmaRule;

use super::names;
use crate::rules::{
    api::{self, Api, NEVER_RECORDED},
    detection,
    diagnostic::{Diagnostic, nearest},
    origin::Origin,
    response,
    rule::Rule,
};

pub(super) fn check(
    origin: &Origin,
    sigma: &SigmaRule,
    rule: &Rule,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(records) = Records::of(sigma) else {
        return;
    };
    for (outcome, name) in rule.response().placeholders() {
        let Err(hint) = records.can_fill(&name) else {
            continue;
        };
        let path: &[&str] = if origin.lines.has(&["response", outcome]) {
            &["response", outcome]
        } else {
            &["response"]
        };
        diagnostics.push(origin.error(
            path,
            format!("expected a placeholder that matching records can fill, found {{{name}}}"),
            Some(&hint),
        ));
    }
}

/// The records that a rule matches, by what their calls can be.
pub(super) struct Records {
    api: &'static Api,
    sources: Vec<String>,
    operations: Vec<String>,
}

impl Records {
    pub(super) fn of(sigma: &SigmaRule) -> Option<Records> {
        let api = Api::known()?;
        let (sources, operations) = calls(api, sigma);
        Some(Records {
            api,
            sources,
            operations,
        })
    }

    /// Whether one of the records can have the member.
    ///
    /// # Errors
    /// None can: a hint.
    pub(super) fn can_fill(&self, name: &str) -> Result<(), String> {
        let operations: Vec<&str> = self.operations.iter().map(String::as_str).collect();
        can_be_filled(self.api, &self.sources, &operations, name)
    }
}

/// The event sources and event names that the detection requires.
fn calls(api: &Api, sigma: &SigmaRule) -> (Vec<String>, Vec<String>) {
    let tests = detection::field_tests(&sigma.detection);
    let of = |field: &str, known: &[&str]| -> Vec<String> {
        let mut found: Vec<String> = tests
            .iter()
            .filter(|test| test.positive && detection::is_about(test.item, field))
            .flat_map(|test| {
                test.item
                    .values
                    .iter()
                    .flat_map(|value| names::matched(test.item, value, field, known))
            })
            .map(str::to_owned)
            .collect();
        found.sort();
        found.dedup();
        found
    };
    let known: Vec<&str> = api.event_sources().chain([NEVER_RECORDED]).collect();
    let sources = of("eventSource", &known);
    let known: Vec<&str> = sources
        .iter()
        .flat_map(|source| api.operations(source))
        .collect();
    let operations = of("eventName", &known);
    (sources, operations)
}

/// Whether a record of these calls can have the member. The error is a hint.
fn can_be_filled(
    api: &Api,
    sources: &[String],
    operations: &[&str],
    name: &str,
) -> Result<(), String> {
    let is_one_of =
        |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if is_one_of(response::COMPUTED, name) || is_one_of(api::RECORD_MEMBERS, name) {
        return Ok(());
    }
    let (top, last) = match name.split_once('.') {
        Some((top, rest)) => (top, rest.rsplit('.').next().unwrap_or(rest)),
        None => ("", name),
    };
    if !top.is_empty() && !is_one_of(api::RECORD_MEMBERS, top) {
        return Err(match nearest(top, api::RECORD_MEMBERS.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => "start the path with a member of a record, such as requestParameters".into(),
        });
    }
    let is_identity = top.eq_ignore_ascii_case("userIdentity");
    if is_identity && !is_one_of(api::IDENTITY, last) {
        return Err(match nearest(last, api::IDENTITY.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => "userIdentity has no such member".into(),
        });
    }
    let is_of_the_call = ["", "requestParameters", "responseElements"]
        .iter()
        .any(|part| part.eq_ignore_ascii_case(top));
    // The members of other services and of additional data are not in the lists.
    if !is_of_the_call || sources.is_empty() || !sources.iter().all(|source| api.knows(source)) {
        return Ok(());
    }
    if sources
        .iter()
        .any(|source| api.has_member(source, operations, last))
    {
        return Ok(());
    }
    let others = api
        .members(sources)
        .filter(|member| !member.eq_ignore_ascii_case(last));
    Err(match nearest(last, others) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            "use a member of the call's request or response, or region, account, actor, eventTime"
                .into()
        }
    })
}
