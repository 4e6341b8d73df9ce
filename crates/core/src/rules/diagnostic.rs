//! Diagnostics: errors and warnings about a rule file, for the author of the rule.
//!
//! Each has its place in the file, what was found, what was expected, and what to do. A file with an error is
//! not used. A file with a warning is used, but may not do what its author intends.

use std::fmt;

use thiserror::Error;

use crate::text::one_line;

/// Longest message, in characters; the file may contain anything.
const MAX_MESSAGE: usize = 600;

/// Whether the file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The file cannot be used, or the rule in it can never match.
    Error,
    /// The file can be used.
    Warning,
}

impl Kind {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Error => "error",
            Kind::Warning => "warning",
        }
    }
}

/// An error or a warning.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub kind: Kind,
    /// The name of the file ([`super::RuleFile::name`]).
    pub file: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// The field, such as `detection.call.eventName`; empty if it is about the whole file.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// `field: message; hint`, on one line.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        if !self.field.is_empty() {
            text.push_str(&self.field);
            text.push_str(": ");
        }
        text.push_str(&self.message);
        if let Some(hint) = &self.hint {
            text.push_str("; ");
            text.push_str(hint);
        }
        one_line(&text, MAX_MESSAGE)
    }

    /// `file:line`, or the file alone.
    pub fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.clone(),
        }
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line: field: message; hint`, the form in which editors find the line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.describe())
    }
}

/// The most similar of some names, for `did you mean …?`; `None` if none is similar.
pub(super) fn nearest<'n>(name: &str, among: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = name.to_ascii_lowercase();
    among
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase());
            (distance, candidate)
        })
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 6)
        .map(|(_, candidate)| candidate)
}
