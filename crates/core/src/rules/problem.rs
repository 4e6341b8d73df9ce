//! A problem with a rule file, told so that the rule's author can act on it without reading this program:
//! where it stands, what was found, what was expected, and what to do.
//!
//! An error keeps a file from being used; a warning says that a file can be used but does not do what its
//! author may think.

use std::fmt;

use thiserror::Error;

use crate::text::one_line;

/// Longest message kept, in characters: a file may be anything.
const MAX_MESSAGE: usize = 600;

/// Whether the file can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It cannot, or the rule in it can never be met.
    Error,
    /// It can.
    Warning,
}

impl Weight {
    /// The word in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Weight::Error => "error",
            Weight::Warning => "warning",
        }
    }
}

/// One problem.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub weight: Weight,
    /// The file, as [`super::RuleFile::name`] has it.
    pub file: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// The field, such as `detection.call.eventName`; empty where it is about the whole file.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// `message; hint`, on one line, behind the field: the problem without its place.
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

impl fmt::Display for Problem {
    /// `file:line: field: message; hint`, the form that editors jump from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.describe())
    }
}

/// The nearest of some names, for `did you mean …?`; none where nothing is near.
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
