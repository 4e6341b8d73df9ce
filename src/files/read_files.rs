//! The files of a source that have been read so far, parsed, each with its version.
//!
//! They are kept from one look at the source to the next, so that a look that ran out of time or failed loses nothing:
//! the next one reads only what is missing or has changed. What the source no longer has is forgotten, so there are
//! never more of them than a source may have.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::kind::File;

/// The version of a file: an object's ETag, or a file's modification time and size.
pub(super) type Version = String;

/// Parses a file when it was read.
type Parse<P> = Box<dyn Fn(File) -> P + Send + Sync>;

/// Files by path or key.
pub(super) struct ReadFiles<P> {
    parse: Parse<P>,
    files: BTreeMap<String, (Version, P)>,
    /// How many files the source has; `None`: this look has not listed them yet.
    total: Option<usize>,
    /// Whether this look has read a file.
    has_new: bool,
    /// Whether these files differ from those that were loaded last.
    has_changed: bool,
}

impl<P> fmt::Debug for ReadFiles<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFiles")
            .field("files", &self.files.len())
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl<P> ReadFiles<P> {
    pub(super) fn parsed_by(parse: impl Fn(File) -> P + Send + Sync + 'static) -> ReadFiles<P> {
        ReadFiles {
            parse: Box::new(parse),
            files: BTreeMap::new(),
            total: None,
            has_new: false,
            has_changed: false,
        }
    }

    /// Begins a look at the source.
    pub(super) fn begin(&mut self) {
        self.total = None;
        self.has_new = false;
    }

    /// Forgets all files but those that the source has in the same version.
    pub(super) fn keep<'l>(&mut self, listed: impl Iterator<Item = (&'l str, &'l str)>) {
        let listed: HashMap<&str, &str> = listed.collect();
        let before = self.files.len();
        self.files
            .retain(|key, (version, _)| listed.get(key.as_str()) == Some(&version.as_str()));
        self.has_changed |= self.files.len() < before;
        self.total = Some(listed.len());
    }

    /// Whether a file was read in this version.
    pub(super) fn has(&self, key: &str, version: &str) -> bool {
        self.files
            .get(key)
            .is_some_and(|(known, _)| known == version)
    }

    /// Adds a file that was read.
    pub(super) fn add(&mut self, key: String, version: Version, file: File) {
        let parsed = (self.parse)(file);
        self.files.insert(key, (version, parsed));
        self.has_new = true;
        self.has_changed = true;
    }

    /// How many files have been read, and how many there are, if this look has got further by at least one.
    pub(super) fn progress(&self) -> Option<(usize, usize)> {
        let total = self.total.filter(|_| self.has_new)?;
        Some((self.files.len(), total))
    }

    /// Makes the next look load the files, even if they do not change.
    pub(super) fn load_again(&mut self) {
        self.has_changed = true;
    }

    /// The files in order of their keys, once all are there; `None` if they are those that were loaded last.
    pub(super) fn take_changed(&mut self) -> Option<Vec<&P>> {
        std::mem::take(&mut self.has_changed)
            .then(|| self.files.values().map(|(_, parsed)| parsed).collect())
    }

    /// The files in order of their keys.
    pub(super) fn into_parsed(self) -> Vec<P> {
        self.files.into_values().map(|(_, parsed)| parsed).collect()
    }
}
