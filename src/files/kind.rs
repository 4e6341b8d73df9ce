//! What kind of files a source has: which names are such files, how large they may be, and what their errors are called.

use thiserror::Error;

/// Maximum number of files in one source. SigmaHQ has about a hundred for CloudTrail.
const MAX_FILES: usize = 2000;
/// Maximum size of a file, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// A kind of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileKind {
    /// What they are, for messages.
    pub noun: &'static str,
    /// The environment variable with their URI.
    pub variable: &'static str,
    /// The ends of their names, in lower case. Other files (a README, a LICENSE) are ignored.
    pub extensions: &'static [&'static str],
    /// The error type if they cannot be read.
    pub unreadable: &'static str,
    /// The error type if their content cannot be used.
    pub broken: &'static str,
    /// The error type if there was no time to read all of them.
    pub incomplete: &'static str,
}

/// Sigma rules and filters.
pub const RULES: FileKind = FileKind {
    noun: "rule files",
    variable: "RULES_URI",
    extensions: &[".yml", ".yaml"],
    unreadable: "Rules.Unreadable",
    broken: "Rules.Broken",
    incomplete: "Rules.Incomplete",
};

/// Account names as CSV.
pub const ACCOUNT_NAMES: FileKind = FileKind {
    noun: "account names",
    variable: "ACCOUNT_NAMES",
    extensions: &[".csv"],
    unreadable: "AccountNames.Unreadable",
    broken: "AccountNames.Broken",
    incomplete: "AccountNames.Incomplete",
};

/// A file with its name in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path or address.
    pub name: String,
    /// Bytes that are not UTF-8 are U+FFFD. The parser of the text reports the line of that character, and at the same
    /// time all other problems.
    pub text: String,
}

impl File {
    pub(super) fn new(name: &str, bytes: &[u8]) -> File {
        File {
            name: name.to_owned(),
            text: String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// Why files could not be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{at}: {message}")]
pub struct ReadError {
    /// The folder, file or object.
    pub at: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether a retry can succeed without any fix.
    pub is_temporary: bool,
}

impl FileKind {
    /// Whether a file with this name is one of these.
    pub fn has(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        self.extensions
            .iter()
            .any(|extension| lower.ends_with(extension))
    }

    /// Checks the number of files and the size of one file.
    pub(super) fn check_limits(&self, at: &str, count: usize, bytes: u64) -> Result<(), ReadError> {
        let message = if count > MAX_FILES {
            format!(
                "expected at most {MAX_FILES} {}, found more; use a folder that has no others",
                self.noun
            )
        } else if bytes > MAX_FILE_SIZE {
            format!("expected a file of at most {MAX_FILE_SIZE} bytes, found a larger one")
        } else {
            return Ok(());
        };
        Err(ReadError {
            at: at.to_owned(),
            message,
            is_temporary: false,
        })
    }
}
