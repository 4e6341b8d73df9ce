//! What is found below a path or prefix, before it is read: log files, files to skip, and errors.

use std::path::PathBuf;

use cloudhsm_alerts_core::object::{ObjectRef, Skip};

use super::bucket::Body;

/// What was found.
pub(crate) enum Found {
    LogFile(LogFile),
    /// A file that is not read, and why.
    Skipped(&'static str),
    /// What could not be read.
    Error(String),
}

/// Everything that is found, in order of names or keys. It is read by several threads.
pub(crate) type AllFound = Box<dyn Iterator<Item = Found> + Send>;

/// A log file to read.
pub(crate) enum LogFile {
    /// Standard input.
    Input,
    /// A file on this machine.
    File(PathBuf),
    /// An object in S3, with the download that has begun.
    Object(Box<(ObjectRef, Body)>),
}

/// What a file in a folder or under a prefix is, by its name or key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A log file to read.
    LogFile,
    /// A file of CloudTrail or another AWS service without management events. The value is why it is skipped.
    Known(&'static str),
    /// Another file. The value is why it is skipped.
    Other(&'static str),
}

impl FileKind {
    pub(super) fn of(name: &str) -> FileKind {
        let is_json = name.ends_with(".json") || name.ends_with(".json.gz");
        match Skip::by_name(name) {
            Some(Skip::Directory) => FileKind::Other(Skip::Directory.as_str()),
            Some(skip) => FileKind::Known(skip.as_str()),
            None if is_json => FileKind::LogFile,
            None => FileKind::Other("neither .json nor .json.gz"),
        }
    }
}
