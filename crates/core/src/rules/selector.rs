//! Selectors of a condition (`1 of x_*`, `all of them`), expanded to the selections that they name.
//!
//! The engine deviates from the specification: its patterns also match names that start with an underscore, the
//! text before and after a `*` may overlap, and it accepts a count of zero. Therefore a selector is replaced by the
//! names of its selections, joined with `and` or `or`.
//! Source: Sigma Rules Specification 2.1, "Condition".

use rsigma_parser::{ConditionExpr, Quantifier, SelectorPattern};

/// The condition of a section (`detection`, `filter`) without selectors. `names` are the section's selections.
///
/// # Errors
/// Message and hint, for a selector without a selection, or with a count other than one or all.
pub(super) fn expanded(
    condition: &ConditionExpr,
    section: &str,
    names: &[String],
) -> Result<ConditionExpr, (String, &'static str)> {
    let all = |parts: &[ConditionExpr]| -> Result<Vec<ConditionExpr>, _> {
        parts
            .iter()
            .map(|part| expanded(part, section, names))
            .collect()
    };
    Ok(match condition {
        ConditionExpr::And(parts) => ConditionExpr::And(all(parts)?),
        ConditionExpr::Or(parts) => ConditionExpr::Or(all(parts)?),
        ConditionExpr::Not(part) => ConditionExpr::Not(Box::new(expanded(part, section, names)?)),
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
                .filter(|name| matches(pattern, name))
                .map(|name| ConditionExpr::Identifier(name.clone()))
                .collect();
            let shown = match pattern {
                "*" => "them",
                pattern => pattern,
            };
            if chosen.is_empty() {
                return Err((
                    format!(
                        "expected the name of a selection of the {section}, found `of {shown}`, which matches none"
                    ),
                    "add the selection, or correct the pattern",
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
                        format!("expected `1 of` or `all of`, found `{count} of {shown}`"),
                        "join the names of selections with `and` and `or`",
                    ));
                }
            }
        }
    })
}

/// Whether a pattern matches a name. `*` matches any text. A name that starts with an underscore is only matched
/// by a pattern that does, too.
fn matches(pattern: &str, name: &str) -> bool {
    fn wildcard(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| wildcard(rest, &name[at..])),
            Some((first, rest)) => name
                .split_first()
                .is_some_and(|(byte, others)| first == byte && wildcard(rest, others)),
        }
    }
    (!name.starts_with('_') || pattern.starts_with('_'))
        && wildcard(pattern.as_bytes(), name.as_bytes())
}
