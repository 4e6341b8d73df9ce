//! Compilation: a parsed rule in the form that the engine evaluates.
//!
//! The engine compiles every pattern with a wildcard to a regular expression in which `*` does not match a line
//! break. In Sigma it does, so a value with two lines would not match. Compiling hundreds of regular expressions
//! would also take most of the time of a start. Here, a pattern with wildcards only at its ends becomes a
//! substring search, and any other pattern a regular expression in which `.` matches line breaks.
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

use super::{comparison, diagnostic::Diagnostic, origin::Origin};

/// A compiled rule, or one that is compiled on first use: most log files have records of only a few of the
/// services that rules are about. Clones share it.
#[derive(Clone)]
pub(super) struct Compiled(Arc<CompiledOnUse>);

type CompiledOnUse = LazyLock<Box<CompiledRule>, Box<Compile>>;

type Compile = dyn FnOnce() -> Box<CompiledRule> + Send + Sync;

impl Compiled {
    /// Compiles a rule.
    ///
    /// # Errors
    /// The engine's error message.
    pub(super) fn eager(rule: &SigmaRule) -> Result<Compiled, String> {
        let compiled = Box::new(compile(rule)?);
        let compiled = LazyLock::new(Box::new(move || compiled) as Box<Compile>);
        LazyLock::force(&compiled);
        Ok(Compiled(Arc::new(compiled)))
    }

    /// Compiles a built-in rule on first use.
    ///
    /// # Panics
    /// On first use, if the engine rejects the rule.
    pub(super) fn lazy(rule: Arc<SigmaRule>) -> Compiled {
        let compile = move || {
            Box::new(compile(&rule).unwrap_or_else(|message| {
                // A test compiles every built-in rule. The names of watched resources are strings, which the
                // engine never rejects.
                unreachable!("the built-in rule {:?}: {message}", rule.name)
            }))
        };
        Compiled(Arc::new(LazyLock::new(Box::new(compile))))
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

/// Compiles a rule whose detection was prepared by [`super::language`].
///
/// # Errors
/// The engine's error message.
pub(super) fn compile(rule: &SigmaRule) -> Result<CompiledRule, String> {
    let mut lowered =
        lower_rule(rule, &LowerOptions::default()).map_err(|error| error.to_string())?;
    for detection in lowered.detections.values_mut() {
        wildcards(detection);
    }
    // Evaluation only needs the detection.
    lowered.metadata.custom_attributes.clear();
    lowered.metadata.description = None;
    compile_to_compiled(&lowered).map_err(|error| error.to_string())
}

/// An error of the engine, at the field that it is about.
pub(super) fn compile_error(origin: &Origin, section: &str, message: &str) -> Diagnostic {
    match message.strip_prefix("unknown detection identifier: ") {
        Some(name) => origin.error(
            &[section, "condition"],
            format!("expected the name of a selection of the {section}, found {name:?}"),
            Some("add the selection, or correct its name"),
        ),
        None => origin.error(&[section], message, None),
    }
}

/// Whether an event matches a rule. The engine's `evaluate_rule` would also collect the matching fields, which
/// takes longer than the evaluation and which nothing here reads.
pub(super) fn matches(rule: &CompiledRule, event: &impl Event) -> bool {
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
        // Rejected by `language`.
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
        // The engine also reads strings such as `inf` as numbers.
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
        // The engine also reads `yes` and `1` as true.
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

/// A case-insensitive regular expression. The engine combines expressions that start with `(?i)` and matches
/// them against the lowercased value, which may have other characters than the value; the empty group prevents
/// this.
fn in_any_case(expression: &str) -> String {
    format!("(?:)(?i){expression}")
}

fn is_ascii(pattern: &IrPattern) -> bool {
    pattern.parts.iter().all(|part| match part {
        IrPatternPart::Literal(text) => text.is_ascii(),
        IrPatternPart::WildcardMulti | IrPatternPart::WildcardSingle => true,
    })
}

/// The search for a pattern with wildcards, or with non-ASCII characters regardless of case.
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
    // The engine lowercases a non-ASCII character depending on its neighbors, a regular expression does not.
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

    /// Whether a pattern matches a text, character by character.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
            [first, rest @ ..] => text.split_first().is_some_and(|(character, others)| {
                (*first == '?' || first.eq_ignore_ascii_case(character)) && matches(rest, others)
            }),
        }
    }

    proptest! {
        #[test]
        fn a_wildcard_matches_any_text(
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
            let matched = rules.evaluate(&Record::new(0, record.as_object().unwrap().clone()), Default::default());
            let open = match modifier {
                "|contains" => ["*", "*"],
                "|startswith" => ["", "*"],
                "|endswith" => ["*", ""],
                _ => ["", ""],
            };
            let whole: Vec<char> = [open[0], &pattern, open[1]].concat().chars().collect();
            let text: Vec<char> = text.chars().collect();
            prop_assert_eq!(!matched.rules.is_empty(), matches(&whole, &text));
        }
    }
}
