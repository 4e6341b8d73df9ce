//! Where a rule comes from: its file, the lines of its fields, and how far the file is trusted.

use super::{
    diagnostic::{Diagnostic, Kind},
    position::Lines,
};

/// A rule file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// Its path or address, on one line, safe to display. A rule without a `name` is named after it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The origin of one document of a rule file.
#[derive(Debug)]
pub(super) struct Origin {
    /// The name of its file.
    pub file: String,
    /// The lines of its fields.
    pub lines: Lines,
    /// Whether the file has no other document, so that the rule can be named after the file.
    pub alone: bool,
    pub trust: Trust,
}

/// Whether a document has to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything is checked, and errors have their lines.
    Checked,
    /// A built-in rule, by its index. The tests of this project check it, so a start of the function skips
    /// the checks and compiles the rule only for the first record that may match it.
    BuiltIn { index: usize },
}

impl Origin {
    /// An error in a field.
    pub(super) fn error(
        &self,
        path: &[&str],
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Diagnostic {
        self.diagnostic_at(Kind::Error, self.lines.line(path), path, message, hint)
    }

    /// A warning about a field.
    pub(super) fn warning(
        &self,
        path: &[&str],
        message: impl Into<String>,
        hint: &str,
    ) -> Diagnostic {
        let line = self.lines.line(path);
        self.diagnostic_at(Kind::Warning, line, path, message, Some(hint))
    }

    /// An error or a warning at a line that the caller determined.
    pub(super) fn diagnostic_at(
        &self,
        kind: Kind,
        line: usize,
        path: &[&str],
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Diagnostic {
        Diagnostic {
            kind,
            file: self.file.clone(),
            line: Some(line),
            field: path.join("."),
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }
}
