//! Patterns: what a rule says of a text, as far as that is known without the engine.

use std::sync::OnceLock;

use regex::bytes::Regex;
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
    /// A regular expression, compiled when it is first needed: most never are. `None`: it is none, and any
    /// text will do.
    Expression(String, OnceLock<Option<Regex>>),
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
            Pattern::Expression(expression, compiled) => compiled
                .get_or_init(|| Regex::new(expression).ok())
                .as_ref()
                .is_none_or(|expression| expression.is_match(text.written)),
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
