//! Patterns: what a rule says of a text, as far as that is known without the engine.

use std::sync::{Arc, OnceLock};

use regex::bytes::Regex;
use regex_syntax::hir::{Look, literal::Extractor};
use rsigma_parser::{SigmaString, StringPart};

/// What describes a text.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Parts of it, in lower case, in order, with anything between them.
    Parts {
        parts: Vec<Vec<u8>>,
        /// The first part stands at the beginning, the last one at the end.
        at_start: bool,
        at_end: bool,
    },
    /// A regular expression.
    Expression(Arc<Expression>),
}

/// A regular expression, looked at when it is first asked about, and compiled when a text begins as it wants.
#[derive(Debug, Default)]
pub(super) struct Expression {
    text: String,
    /// What a text must begin with, one of them, where the expression says so.
    starts: OnceLock<Option<Vec<Vec<u8>>>>,
    /// `None`: it is no expression, and any text will do.
    compiled: OnceLock<Option<Regex>>,
}

impl Expression {
    pub(super) fn of(text: String) -> Expression {
        Expression {
            text,
            ..Expression::default()
        }
    }

    fn is_met(&self, text: &[u8]) -> bool {
        let starts = self.starts.get_or_init(|| starts(&self.text)).as_ref();
        starts.is_none_or(|starts| starts.iter().any(|start| text.starts_with(start)))
            && self
                .compiled
                .get_or_init(|| Regex::new(&self.text).ok())
                .as_ref()
                .is_none_or(|expression| expression.is_match(text))
    }
}

/// The literal texts that an expression bound to the start (`^(Put|Delete)FunctionConcurrency`) begins with.
fn starts(expression: &str) -> Option<Vec<Vec<u8>>> {
    let parsed = regex_syntax::parse(expression).ok()?;
    let is_bound = parsed.properties().look_set_prefix().contains(Look::Start);
    let literals = Extractor::new().limit_class(1).extract(&parsed);
    let texts = literals.literals().filter(|_| is_bound)?;
    Some(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

impl Pattern {
    /// `None` where any text meets it.
    pub(super) fn of(text: &SigmaString, starts: bool, ends: bool) -> Option<Pattern> {
        // The pieces between what may stand for anything.
        let mut pieces = vec![Vec::new()];
        let mut push = |piece: &str| {
            for (index, part) in piece.split(|c: char| !c.is_ascii()).enumerate() {
                if index > 0 {
                    pieces.push(Vec::new());
                }
                if let Some(last) = pieces.last_mut() {
                    last.extend(part.to_ascii_lowercase().bytes());
                }
            }
        };
        for part in &text.parts {
            match part {
                StringPart::Plain(plain) => push(plain),
                // Any character that is not ASCII would do: it parts the pieces.
                StringPart::Special(_) => push("\u{fffd}"),
            }
        }
        let at_start = starts && pieces.first().is_some_and(|piece| !piece.is_empty());
        let at_end = ends && pieces.last().is_some_and(|piece| !piece.is_empty());
        let parts: Vec<_> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        (!parts.is_empty()).then_some(Pattern::Parts {
            parts,
            at_start,
            at_end,
        })
    }

    /// The text, where only one meets the pattern.
    pub(super) fn whole(&self) -> Option<&[u8]> {
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

    pub(super) fn is_met(&self, text: &Text<'_>) -> bool {
        match self {
            Pattern::Expression(expression) => expression.is_met(text.written),
            Pattern::Parts {
                parts,
                at_start,
                at_end,
            } => {
                if let Some(whole) = self.whole() {
                    return whole == text.lower;
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

/// A text of a record, as it is written and in lower case.
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
        /// How it begins decides nothing that the expression would not.
        #[test]
        fn an_expression_is_met_as_by_itself(
            expression in "(\\(\\?[im]\\))?\\^?(a|b\\?|\\(a\\|Bc\\)|\\(b\\|\\)|\\[ab\\]|c\\{2\\}|\\$){0,4}(\\|\\^?b)?",
            text in "[abcABC\n]{0,5}",
        ) {
            let expected = Regex::new(&expression).map_or(true, |regex| regex.is_match(text.as_bytes()));
            prop_assert_eq!(Expression::of(expression).is_met(text.as_bytes()), expected);
        }
    }

    #[test]
    fn how_an_expression_begins() {
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
            assert_eq!(starts(expression), expected, "{expression}");
        }
    }
}
