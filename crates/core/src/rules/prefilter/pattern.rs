//! Patterns: a value of a rule for `eventSource` or `eventName`, matched without the engine.

use std::sync::{Arc, OnceLock};

use regex::bytes::Regex;
use regex_syntax::hir::{Look, literal::Extractor};
use rsigma_parser::{SigmaString, StringPart};

/// A pattern. It may match more texts than the value of the rule.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Literals in lower case, in this order, with any text between them.
    Parts {
        parts: Vec<Vec<u8>>,
        /// Whether the text starts with the first part.
        at_start: bool,
        /// Whether the text ends with the last part.
        at_end: bool,
    },
    /// A regular expression.
    Expression(Arc<Expression>),
}

/// A regular expression, compiled for the first text that has one of its prefixes.
#[derive(Debug, Default)]
pub(super) struct Expression {
    text: String,
    /// The prefixes of matching texts; `None` if they are not known.
    prefixes: OnceLock<Option<Vec<Vec<u8>>>>,
    /// `None` if the expression is malformed; then it matches any text.
    compiled: OnceLock<Option<Regex>>,
}

impl Expression {
    pub(super) fn of(text: String) -> Expression {
        Expression {
            text,
            ..Expression::default()
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        let prefixes = self.prefixes.get_or_init(|| prefixes(&self.text)).as_ref();
        prefixes.is_none_or(|all| all.iter().any(|prefix| text.starts_with(prefix)))
            && self
                .compiled
                .get_or_init(|| Regex::new(&self.text).ok())
                .as_ref()
                .is_none_or(|expression| expression.is_match(text))
    }
}

/// The literal prefixes of an expression that is anchored at the start, such as
/// `^(Put|Delete)FunctionConcurrency`.
fn prefixes(expression: &str) -> Option<Vec<Vec<u8>>> {
    let parsed = regex_syntax::parse(expression).ok()?;
    let is_anchored = parsed.properties().look_set_prefix().contains(Look::Start);
    let literals = Extractor::new().limit_class(1).extract(&parsed);
    let texts = literals.literals().filter(|_| is_anchored)?;
    Some(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

impl Pattern {
    /// A pattern for a value; `None` if any text matches.
    pub(super) fn of(text: &SigmaString, starts: bool, ends: bool) -> Option<Pattern> {
        // The literals between wildcards and non-ASCII characters, which match any text.
        let mut literals = vec![Vec::new()];
        let mut push = |text: &str| {
            for (index, part) in text.split(|c: char| !c.is_ascii()).enumerate() {
                if index > 0 {
                    literals.push(Vec::new());
                }
                if let Some(last) = literals.last_mut() {
                    last.extend(part.to_ascii_lowercase().bytes());
                }
            }
        };
        for part in &text.parts {
            match part {
                StringPart::Plain(plain) => push(plain),
                // Any non-ASCII character separates the literals.
                StringPart::Special(_) => push("\u{fffd}"),
            }
        }
        let at_start = starts && literals.first().is_some_and(|literal| !literal.is_empty());
        let at_end = ends && literals.last().is_some_and(|literal| !literal.is_empty());
        let parts: Vec<_> = literals
            .into_iter()
            .filter(|literal| !literal.is_empty())
            .collect();
        (!parts.is_empty()).then_some(Pattern::Parts {
            parts,
            at_start,
            at_end,
        })
    }

    /// The only text that matches, if there is only one.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self {
            Pattern::Parts {
                parts,
                at_start: true,
                at_end: true,
            } => match parts.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn matches(&self, text: &Text<'_>) -> bool {
        match self {
            Pattern::Expression(expression) => expression.matches(text.written),
            Pattern::Parts {
                parts,
                at_start,
                at_end,
            } => {
                if let Some(literal) = self.literal() {
                    return literal == text.lower;
                }
                let mut rest = text.lower.as_slice();
                for (index, part) in parts.iter().enumerate() {
                    let last = index + 1 == parts.len();
                    let at = if index == 0 && *at_start {
                        rest.starts_with(part).then_some(0)
                    } else if last && *at_end {
                        rest.ends_with(part).then(|| rest.len() - part.len())
                    } else {
                        memchr::memmem::find(rest, part)
                    };
                    let Some(at) = at else { return false };
                    rest = &rest[at + part.len()..];
                }
                true
            }
        }
    }
}

/// The value of a field, as written and in lower case.
pub(super) struct Text<'t> {
    written: &'t [u8],
    pub(super) lower: Vec<u8>,
}

impl Text<'_> {
    pub(super) fn of(written: &[u8]) -> Text<'_> {
        Text {
            written,
            lower: written.to_ascii_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The prefixes do not change the result.
        #[test]
        fn an_expression_matches_as_without_prefixes(
            expression in "(\\(\\?[im]\\))?\\^?(a|b\\?|\\(a\\|Bc\\)|\\(b\\|\\)|\\[ab\\]|c\\{2\\}|\\$){0,4}(\\|\\^?b)?",
            text in "[abcABC\n]{0,5}",
        ) {
            let expected = Regex::new(&expression).map_or(true, |regex| regex.is_match(text.as_bytes()));
            prop_assert_eq!(Expression::of(expression).matches(text.as_bytes()), expected);
        }
    }

    #[test]
    fn prefixes_of_expressions() {
        let texts = |texts: &[&str]| {
            let texts = texts.iter().map(|text| text.as_bytes().to_vec());
            Some(texts.collect::<Vec<_>>())
        };
        for (expression, expected) in [
            (
                "^RemovePermission([0-9]{8}(v[0-9]+)?)?$",
                texts(&["RemovePermission"]),
            ),
            (
                "^(Put|Delete)FunctionConcurrency",
                texts(&["PutFunctionConcurrency", "DeleteFunctionConcurrency"]),
            ),
            ("Put", None),
            ("^Put|x", None),
            ("(?m)^Put", None),
            ("(", None),
        ] {
            assert_eq!(prefixes(expression), expected, "{expression}");
        }
    }
}
