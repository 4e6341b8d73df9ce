//! Advice: what the recipient of an alert does now, and how the caller is stopped.
//!
//! It is composed on first use, because that takes a large part of the time of an alert, and not every format has it.

use std::sync::Arc;

use super::contents::Alert;
use crate::{
    record::Outcome,
    rules::{Rule, response},
    severity::Severity,
    stop_caller,
};

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The response, without how to stop the caller. [`Alert::instructions`] has both.
    pub response: String,
    /// How to stop the caller, for a call that succeeded, of severity medium or more, by a person or a role.
    pub stop_caller: Option<String>,
    /// The position in `response` after its first step, where stopping the caller belongs.
    after_first_step: usize,
    /// The instructions in short, for an SMS.
    pub response_sms: Option<String>,
}

impl Advice {
    pub(super) fn of(alert: &Alert) -> Advice {
        let (record, actor, outcome) = (&alert.record, &alert.actor, alert.outcome);
        let now = Some(alert.now);
        let advising = advising_rules(&alert.rules, outcome);
        let mut instructions = advising.iter().enumerate().map(|(position, rule)| {
            let text = rule.response().render_on(record, actor, now);
            match (position, outcome) {
                (0, _) => text.trim_end().to_owned(),
                (_, Outcome::Success) => {
                    format!("Also matched: {}.\n{}", rule.title, text.trim_end())
                }
                // The title says that something was done, which it was not.
                _ => format!("More about this call:\n{}", text.trim_end()),
            }
        });
        let mut response = instructions.next().unwrap_or_default();
        let after_first_step = response.find("\n2. ").unwrap_or(response.len());
        for text in instructions {
            response = format!("{response}\n\n{text}");
        }
        let response_sms = advising
            .first()
            .and_then(|rule| rule.response().render_sms(record, actor, now));
        if let Some(step) = response::follow_the_actor(record) {
            response = format!("{}\n{step}", response.trim_end());
        }
        let is_said = advising
            .first()
            .is_some_and(|rule| rule.response().stops_the_caller(outcome));
        let stop_caller =
            (outcome == Outcome::Success && alert.severity >= Severity::Medium && !is_said)
                .then(|| stop_caller::steps(record, &alert.account_label()))
                .flatten();
        Advice {
            response,
            stop_caller,
            after_first_step,
            response_sms,
        }
    }
}

impl Alert {
    /// What to do now.
    pub fn advice(&self) -> &Advice {
        self.advice.get_or_init(|| Advice::of(self))
    }

    /// What to do now: the response, at most so many characters of it, and after its first step how to stop the caller.
    pub fn instructions(&self, limit: usize) -> String {
        let advice = self.advice();
        let clipped = advice
            .response
            .char_indices()
            .nth(limit)
            .map_or(advice.response.as_str(), |(end, _)| &advice.response[..end]);
        let Some(stop_caller) = &advice.stop_caller else {
            return clipped.to_owned();
        };
        let (first, rest) = clipped.split_at(advice.after_first_step.min(clipped.len()));
        format!("{first}\n{stop_caller}{rest}")
    }

    /// The first command of the response. Later commands may be about other resources.
    pub fn first_command(&self) -> Option<&str> {
        self.advice()
            .response
            .lines()
            .find(|line| line.starts_with("    "))
            .map(str::trim)
    }
}

/// The rules whose responses the alert shows, at most two: the most severe rule about this operation, then the
/// most severe rule about how the call was made (by root, for example), if it has a response for this outcome.
/// Further rules about the same operation would repeat the first response.
fn advising_rules(rules: &[Arc<Rule>], outcome: Outcome) -> Vec<&Rule> {
    let with_response = || {
        rules
            .iter()
            .map(|rule| &**rule)
            .filter(|rule| rule.response().covers(outcome))
    };
    let first = with_response()
        .find(|rule| rule.is_about_one_call)
        .or_else(|| with_response().next())
        .or(rules.first().map(|rule| &**rule));
    let Some(first) = first else {
        return Vec::new();
    };
    let others = with_response().filter(|rule| !rule.is_about_one_call && rule.id != first.id);
    // One is enough: the advice of two general rules may conflict.
    std::iter::once(first).chain(others.take(1)).collect()
}
