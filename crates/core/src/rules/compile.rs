//! Compiling: a parsed rule made into what the engine evaluates.
//!
//! The engine makes a regular expression of every pattern with a wildcard. In it, `*` ends at a line break,
//! which Sigma's does not, so that a value of two lines would pass by the rule; and to compile some hundreds
//! of them is most of what a start takes. A pattern with wildcards at its ends alone is a search in the text,
//! which is made of it here; any other becomes an expression for which a line break is a character like all.
//! Source: Sigma Rules Specification 2.1, "Wildcards".

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use rsigma_eval::{
    CompiledRule,
    compiler::{compile_to_compiled, eval_condition},
    event::Event,
};
use rsigma_ir::{
    IrDetection, IrMatcher, IrPattern, IrPatternPart, IrStrOp, LowerOptions, lower_rule,
};
use rsigma_parser::SigmaRule;

use super::comparison;

/// A rule, ready to evaluate, or to be made so when it is first asked about: most log files have no record of
/// any but a few services.
pub(super) struct Compiled(LazyLock<Box<CompiledRule>, Box<Later>>);

type Later = dyn FnOnce() -> Box<CompiledRule> + Send + Sync;

impl Compiled {
    /// Compiled now.
    ///
    /// # Errors
    /// What the engine says of the rule.
    pub(super) fn now(rule: &SigmaRule) -> Result<Compiled, String> {
        let compiled = Box::new(compile(rule)?);
        let compiled = LazyLock::new(Box::new(move || compiled) as Box<Later>);
        LazyLock::force(&compiled);
        Ok(Compiled(compiled))
    }

    /// Compiled when it is asked about.
    ///
    /// # Panics
    /// When it is, if the engine does not take the rule.
    pub(super) fn later(rule: Arc<SigmaRule>) -> Compiled {
        let compile = move || {
            Box::new(compile(&rule).unwrap_or_else(|message| {
                // Only built-in rules come here, and the tests compile each of them; names of watched things
                // are texts, which the engine takes whatever they are.
                unreachable!("the built-in rule {:?}: {message}", rule.name)
            }))
        };
        Compiled(LazyLock::new(Box::new(compile)))
    }

    pub(super) fn rule(&self) -> &CompiledRule {
        &self.0
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

/// Compiles a rule whose detection has been prepared ([`super::language`]).
///
/// # Errors
/// What the engine says of it.
pub(super) fn compile(rule: &SigmaRule) -> Result<CompiledRule, String> {
    let mut lowered =
        lower_rule(rule, &LowerOptions::default()).map_err(|error| error.to_string())?;
    for detection in lowered.detections.values_mut() {
        wildcards(detection);
    }
    // What stands beside the detection is needed by nobody who evaluates it.
    lowered.metadata.custom_attributes.clear();
    lowered.metadata.description = None;
    compile_to_compiled(&lowered).map_err(|error| error.to_string())
}

/// Whether an event meets a rule. The engine's `evaluate_rule` would go on to look for the fields that made it meet
/// the rule, which takes longer than the question, and which an alert reads from the record itself.
pub(super) fn is_met(rule: &CompiledRule, event: &impl Event) -> bool {
    rule.conditions
        .iter()
        .any(|condition| eval_condition(condition, &rule.detections, event, &mut Vec::new()))
}

fn wildcards(detection: &mut IrDetection) {
    match detection {
        IrDetection::AllOf(items) => {
            for item in items {
                comparison::rewrite(item);
                in_matcher(&mut item.matcher);
            }
        }
        IrDetection::AnyOf(parts) | IrDetection::And(parts) => {
            parts.iter_mut().for_each(wildcards);
        }
        IrDetection::Keywords(matcher) => in_matcher(matcher),
        // Refused before.
        IrDetection::ArrayMatch { .. } | IrDetection::Conditional { .. } => {}
    }
}

fn in_matcher(matcher: &mut IrMatcher) {
    match matcher {
        IrMatcher::Str {
            op,
            pattern,
            case_insensitive,
        } if pattern.has_wildcards() || (*case_insensitive && !is_ascii(pattern)) => {
            *matcher = search(*op, pattern, *case_insensitive);
        }
        IrMatcher::Regex {
            pattern,
            case_insensitive,
            ..
        } if *case_insensitive => {
            *pattern = in_any_case(pattern);
            *case_insensitive = false;
        }
        // The engine takes texts such as `inf` for numbers, too.
        IrMatcher::NumericGt(_)
        | IrMatcher::NumericGte(_)
        | IrMatcher::NumericLt(_)
        | IrMatcher::NumericLte(_) => {
            let digits = IrMatcher::Regex {
                pattern: "[0-9]".into(),
                case_insensitive: false,
                multiline: false,
                dotall: false,
                cased: true,
            };
            let number = std::mem::replace(matcher, IrMatcher::Null);
            *matcher = IrMatcher::AllOf(vec![number, digits]);
        }
        // The engine takes `yes` and `1` for true, too.
        IrMatcher::BoolEq(flag) => {
            *matcher = IrMatcher::Str {
                op: IrStrOp::Exact,
                pattern: IrPattern {
                    parts: vec![IrPatternPart::Literal(flag.to_string())],
                },
                case_insensitive: true,
            };
        }
        IrMatcher::AnyOf(all) | IrMatcher::AllOf(all) => all.iter_mut().for_each(in_matcher),
        IrMatcher::Not(one) => in_matcher(one),
        _ => {}
    }
}

/// An expression for any case. Several of them that begin with the flag are compared by the engine with a text in
/// small letters, which may have more letters than the record's.
fn in_any_case(expression: &str) -> String {
    format!("(?:)(?i){expression}")
}

fn is_ascii(pattern: &IrPattern) -> bool {
    pattern.parts.iter().all(|part| match part {
        IrPatternPart::Literal(text) => text.is_ascii(),
        IrPatternPart::WildcardMulti | IrPatternPart::WildcardSingle => true,
    })
}

/// What a pattern looks for that has wildcards, or letters beyond ASCII in any case.
fn search(op: IrStrOp, pattern: &IrPattern, case_insensitive: bool) -> IrMatcher {
    let is_any = |part: &IrPatternPart| *part == IrPatternPart::WildcardMulti;
    let mut open_start = matches!(op, IrStrOp::Contains | IrStrOp::EndsWith);
    let mut open_end = matches!(op, IrStrOp::Contains | IrStrOp::StartsWith);
    let mut parts = pattern.parts.as_slice();
    while let [first, rest @ ..] = parts
        && is_any(first)
    {
        (open_start, parts) = (true, rest);
    }
    while let [rest @ .., last] = parts
        && is_any(last)
    {
        (open_end, parts) = (true, rest);
    }
    let inner = IrPattern {
        parts: parts.to_vec(),
    };
    // Beyond ASCII, a letter in small depends on its neighbours for the engine, and not for an expression.
    if inner.is_plain() && (!case_insensitive || is_ascii(&inner)) {
        return IrMatcher::Str {
            op: match (open_start, open_end) {
                (true, true) => IrStrOp::Contains,
                (true, false) => IrStrOp::EndsWith,
                (false, true) => IrStrOp::StartsWith,
                (false, false) => IrStrOp::Exact,
            },
            pattern: inner,
            case_insensitive,
        };
    }
    let mut expression = String::from(if open_start { "" } else { "^" });
    for part in parts {
        match part {
            IrPatternPart::Literal(text) => expression.push_str(&regex::escape(text)),
            IrPatternPart::WildcardMulti => expression.push_str(".*"),
            IrPatternPart::WildcardSingle => expression.push('.'),
        }
    }
    expression.push_str(if open_end { "" } else { "$" });
    IrMatcher::Regex {
        pattern: if case_insensitive {
            in_any_case(&expression)
        } else {
            expression
        },
        case_insensitive: false,
        multiline: false,
        dotall: true,
        cased: !case_insensitive,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use crate::{
        record::Record,
        rules::{RuleFile, RuleSet, watched::Watched},
    };

    /// Whether a pattern matches a text, letter by letter.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
            [first, rest @ ..] => text.split_first().is_some_and(|(letter, others)| {
                (*first == '?' || first.eq_ignore_ascii_case(letter)) && matches(rest, others)
            }),
        }
    }

    proptest! {
        #[test]
        fn a_wildcard_stands_for_anything(
            modifier in prop::sample::select(vec!["", "|contains", "|startswith", "|endswith"]),
            pattern in "[ab*?]{1,5}",
            text in "[abA\n.]{0,6}",
        ) {
            let rule = json!({
                "title": "t", "id": "6f6ab1b6-4b0e-4f0e-9f0e-1d2f3a4b5c6d", "name": "t", "level": "high",
                "logsource": {"product": "aws", "service": "cloudtrail"},
                "detection": {"selection": {format!("userAgent{modifier}"): pattern}, "condition": "selection"},
            });
            let file = RuleFile { name: "t.yml".into(), text: rule.to_string() };
            let rules = RuleSet::of(&[file], &Watched::default()).unwrap();
            let record = json!({"userAgent": text});
            let met = rules.evaluate(&Record::new(0, record.as_object().unwrap().clone()), Default::default());
            let open = match modifier {
                "|contains" => ["*", "*"],
                "|startswith" => ["", "*"],
                "|endswith" => ["*", ""],
                _ => ["", ""],
            };
            let whole: Vec<char> = [open[0], &pattern, open[1]].concat().chars().collect();
            let text: Vec<char> = text.chars().collect();
            prop_assert_eq!(!met.rules.is_empty(), matches(&whole, &text));
        }
    }
}
