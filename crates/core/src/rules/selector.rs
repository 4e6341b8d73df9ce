//! Selectors of a condition (`1 of x_*`, `all of them`), written out as the parts they mean.
//!
//! The engine counts parts whose names begin with an underscore under a pattern, which the specification leaves
//! out, lets the two sides of a star overlap, and takes a count of zero. So a selector becomes the names it stands
//! for, joined with `and` or `or`, before the engine sees it.
//! Source: Sigma Rules Specification 2.1, "Condition".

use rsigma_parser::{ConditionExpr, Quantifier, SelectorPattern};

/// The condition of a section (`detection`, `filter`) without selectors; `names` are those of the section's parts.
///
/// # Errors
/// A selector that means no part, or another number of them than one or all.
pub(super) fn written_out(
    condition: &ConditionExpr,
    section: &str,
    names: &[String],
) -> Result<ConditionExpr, (String, &'static str)> {
    let all = |parts: &[ConditionExpr]| -> Result<Vec<ConditionExpr>, _> {
        parts
            .iter()
            .map(|part| written_out(part, section, names))
            .collect()
    };
    Ok(match condition {
        ConditionExpr::And(parts) => ConditionExpr::And(all(parts)?),
        ConditionExpr::Or(parts) => ConditionExpr::Or(all(parts)?),
        ConditionExpr::Not(part) => {
            ConditionExpr::Not(Box::new(written_out(part, section, names)?))
        }
        ConditionExpr::Identifier(_) => condition.clone(),
        ConditionExpr::Selector {
            quantifier,
            pattern,
        } => {
            let pattern = match pattern {
                SelectorPattern::Them => "*",
                SelectorPattern::Pattern(pattern) => pattern,
            };
            let mut chosen: Vec<ConditionExpr> = names
                .iter()
                .filter(|name| is_meant(pattern, name))
                .map(|name| ConditionExpr::Identifier(name.clone()))
                .collect();
            let shown = match pattern {
                "*" => "them",
                pattern => pattern,
            };
            if chosen.is_empty() {
                return Err((
                    format!("`of {shown}` names no part of the {section}"),
                    "expected a name, or the beginning of one, that stands beside the condition",
                ));
            }
            match quantifier {
                _ if chosen.len() == 1 && !matches!(quantifier, Quantifier::Count(_)) => {
                    chosen.remove(0)
                }
                Quantifier::All => ConditionExpr::And(chosen),
                Quantifier::Any | Quantifier::Count(1) => ConditionExpr::Or(chosen),
                Quantifier::Count(count) => {
                    return Err((
                        format!("`{count} of {shown}` is not in Sigma"),
                        "expected `1 of` or `all of`; join parts with `and` and `or` for other numbers",
                    ));
                }
            }
        }
    })
}

/// Whether a pattern means a name: a star stands for anything, and names that begin with an underscore are meant
/// only by a pattern that does.
fn is_meant(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
            Some((first, rest)) => name
                .split_first()
                .is_some_and(|(letter, others)| first == letter && matches(rest, others)),
        }
    }
    (!name.starts_with('_') || pattern.starts_with('_'))
        && matches(pattern.as_bytes(), name.as_bytes())
}
