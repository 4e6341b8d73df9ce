//! The files of one source: which names are rule files, how large they may be, and which version each has.

use std::collections::BTreeMap;

use cloudhsm_alerts_core::rules::RuleFile;
use thiserror::Error;

/// Maximum number of files in one set. SigmaHQ has about a hundred for CloudTrail.
const MAX_FILES: usize = 2000;
/// Maximum size of a file, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// Why rule files could not be read.
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

/// The version of a file: an object's ETag, or a file's modification time and size.
pub(super) type Version = String;

/// Rule files by path or key, each with its version.
pub(super) type Files = BTreeMap<String, (Version, RuleFile)>;

pub(super) fn versions(files: &Files) -> impl Iterator<Item = (&String, &Version)> {
    files.iter().map(|(name, (version, _))| (name, version))
}

/// Whether a file with this name is a rule file. Other files (a README, a LICENSE) are ignored.
pub(super) fn is_rule_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".yml") || lower.ends_with(".yaml")
}

/// Checks the number of files and the size of one file.
pub(super) fn check_limits(at: &str, count: usize, bytes: u64) -> Result<(), ReadError> {
    let message = if count > MAX_FILES {
        format!("expected at most {MAX_FILES} rule files, found more; use a folder with rules only")
    } else if bytes > MAX_FILE_SIZE {
        format!("expected a rule file of at most {MAX_FILE_SIZE} bytes, found a larger file")
    } else {
        return Ok(());
    };
    Err(ReadError {
        at: at.to_owned(),
        message,
        is_temporary: false,
    })
}

/// A rule file. Bytes that are not UTF-8 become U+FFFD. Compiling the rules reports the line of that character, and at
/// the same time the problems of all other files.
pub(super) fn rule_file(name: &str, bytes: &[u8]) -> RuleFile {
    RuleFile {
        name: name.to_owned(),
        text: String::from_utf8_lossy(bytes).into_owned(),
    }
}
