//! What became of a log file that a digest file lists: its content compared with the hash in the list.

use std::fmt;

use crate::{
    log_file::{Content, ContentError, LogFileError, Sha256, Stored},
    text::one_line,
};

/// The state of a listed log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Its content is the one that was delivered.
    Same,
    /// The same, but it is not stored as gzip any more: somebody wrote it again.
    Uncompressed,
    /// Its content is another one.
    Altered,
    /// Bytes follow the end of its gzip stream.
    Appended,
    /// It ends in the middle.
    Truncated,
    /// Its gzip stream is damaged, with the decoder's message.
    Corrupt(String),
    /// There is no such object.
    Missing,
    /// It was not read, and why. Nothing is known about it.
    NotChecked(String),
}

impl FileState {
    /// The state of a log file that was read, or could not be inflated.
    pub fn of(expected: &Sha256, content: Result<&Content, &ContentError>) -> FileState {
        match content {
            Ok(content) if content.stored == Stored::GzipAndMore => FileState::Appended,
            Ok(content) if content.sha256 != *expected => FileState::Altered,
            Ok(content) if content.stored == Stored::Uncompressed => FileState::Uncompressed,
            Ok(_) => FileState::Same,
            Err(ContentError {
                is_after_member: true,
                ..
            }) => FileState::Appended,
            Err(ContentError { error, .. }) => match error {
                LogFileError::Truncated { .. } => FileState::Truncated,
                other => FileState::Corrupt(other.to_string()),
            },
        }
    }

    /// Whether the content is the one that was delivered.
    pub fn is_proved(&self) -> bool {
        matches!(self, FileState::Same | FileState::Uncompressed)
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileState::Same => "the content is the one that CloudTrail delivered",
            FileState::Uncompressed => {
                "the content is right, but the object is not compressed: somebody wrote it again"
            }
            FileState::Altered => "the content is not the one that CloudTrail delivered",
            FileState::Appended => {
                "bytes follow the end of the gzip stream: something was appended to the log file"
            }
            FileState::Truncated => "the log file is cut off: the gzip stream ends in the middle",
            FileState::Corrupt(reason) => {
                return write!(f, "the log file is damaged: {}", one_line(reason, 300));
            }
            FileState::Missing => "there is no such object: the log file was deleted",
            FileState::NotChecked(reason) => {
                return write!(f, "not checked: {}", one_line(reason, 400));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_by_content() {
        let content = |sha256, stored| Content { sha256, stored };
        for (sha256, stored, expected) in [
            ([1; 32], Stored::Gzip, FileState::Same),
            ([1; 32], Stored::Uncompressed, FileState::Uncompressed),
            ([1; 32], Stored::GzipAndMore, FileState::Appended),
            ([2; 32], Stored::Gzip, FileState::Altered),
            ([2; 32], Stored::Uncompressed, FileState::Altered),
            ([2; 32], Stored::GzipAndMore, FileState::Appended),
        ] {
            let state = FileState::of(&[1; 32], Ok(&content(sha256, stored)));
            assert_eq!(state, expected);
        }
        let truncated = LogFileError::Truncated { compressed: 9 };
        let corrupt = LogFileError::Corrupt {
            compressed: 9,
            message: "bad\u{1b}[1m".into(),
        };
        for (error, is_after_member, expected) in [
            (&truncated, false, FileState::Truncated),
            (&truncated, true, FileState::Appended),
            (&corrupt, true, FileState::Appended),
            (&corrupt, false, FileState::Corrupt(corrupt.to_string())),
        ] {
            let error = ContentError {
                error: error.clone(),
                is_after_member,
            };
            assert_eq!(FileState::of(&[1; 32], Err(&error)), expected);
        }
        assert_eq!(
            FileState::Corrupt(corrupt.to_string()).to_string(),
            "the log file is damaged: the gzip stream is corrupt at compressed byte 9: bad\\u{1b}[1m"
        );
    }
}
