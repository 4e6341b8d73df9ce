//! Log files on this machine: a file, or all files of a folder and its subfolders in order of their names.
//!
//! In a folder, only `.json` and `.json.gz` files are read. Digest files and others without management events are
//! recognized by their names and skipped.
//!
//! A folder is walked twice: for errors and the total size, which are shown first, and for the files to read. So
//! memory does not grow with the number of files.

use std::{
    iter,
    path::{Path, PathBuf},
};

use cloudhsm_alerts_core::text::one_line;
use indicatif::ProgressBar;
use walkdir::{DirEntry, WalkDir};

use super::found::{AllFound, FileKind, Found, LogFile};
use crate::terminal::counted;

/// Finds the log files of a folder, or the file itself. Adds their sizes to the length of the progress bar.
pub(super) fn find(path: PathBuf, progress: ProgressBar) -> AllFound {
    let walk = || WalkDir::new(&path).follow_links(true).sort_by_file_name();
    let mut first_walk = walk().into_iter();
    let mut log_files = walk().into_iter().flatten().filter(is_log_file);
    // Whether anything was recognized or reported. If not, this is probably the wrong folder.
    let mut is_known = false;
    let mut left: u64 = 0;
    Box::new(iter::from_fn(move || {
        for entry in first_walk.by_ref() {
            let (kind, size) = match look_at(&path, &entry) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(message) => {
                    is_known = true;
                    return Some(Found::Error(message));
                }
            };
            is_known |= !matches!(kind, FileKind::Other(_));
            match kind {
                FileKind::LogFile => {
                    progress.inc_length(size);
                    left += 1;
                }
                FileKind::Known(reason) | FileKind::Other(reason) => {
                    return Some(Found::Skipped(reason));
                }
            }
        }
        let shown = || one_line(&path.to_string_lossy(), 500);
        if !is_known {
            is_known = true;
            return Some(Found::Error(format!(
                "{}: no log files in this folder: expected files whose names end in .json or .json.gz",
                shown()
            )));
        }
        if let Some(entry) = log_files.next() {
            left = left.saturating_sub(1);
            return Some(Found::LogFile(LogFile::File(entry.into_path())));
        }
        let gone = std::mem::take(&mut left);
        (gone > 0).then(|| {
            Found::Error(format!(
                "{}: {} removed while the folder was read",
                shown(),
                counted(gone, "log file")
            ))
        })
    }))
}

/// The kind and size of a file; `None` for a folder.
fn look_at(
    path: &Path,
    entry: &walkdir::Result<DirEntry>,
) -> Result<Option<(FileKind, u64)>, String> {
    let error = |name: &Path, reason: &str| {
        format!("{}: {reason}", one_line(&name.display().to_string(), 500))
    };
    let entry = entry.as_ref().map_err(|failed| {
        let reason = failed.io_error().map_or_else(
            || "a loop of symbolic links".to_owned(),
            ToString::to_string,
        );
        error(failed.path().unwrap_or(path), &reason)
    })?;
    let metadata = entry
        .metadata()
        .map_err(|failed| error(entry.path(), &failed.to_string()))?;
    Ok((!metadata.is_dir()).then(|| (kind(entry), metadata.len())))
}

fn is_log_file(entry: &DirEntry) -> bool {
    !entry.file_type().is_dir() && kind(entry) == FileKind::LogFile
}

/// A file that is named itself is read whatever its name.
fn kind(entry: &DirEntry) -> FileKind {
    match entry.depth() {
        0 => FileKind::LogFile,
        _ => FileKind::of(&entry.path().to_string_lossy().replace('\\', "/")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use indicatif::ProgressDrawTarget;

    use super::*;

    #[test]
    fn a_file_that_is_removed_before_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.json", "c.json", "d.txt"] {
            fs::write(folder.path().join(name), "12").unwrap();
        }
        let progress = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let mut found = find(folder.path().to_owned(), progress.clone());
        assert!(matches!(found.next(), Some(Found::Skipped(_))));
        for name in ["b.json", "c.json"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let path = folder.path().join("a.json");
        assert!(matches!(found.next(), Some(Found::LogFile(LogFile::File(file))) if file == path));
        let expected = format!(
            "{}: 2 log files removed while the folder was read",
            folder.path().display()
        );
        assert!(matches!(found.next(), Some(Found::Error(message)) if message == expected));
        assert!(found.next().is_none());
        assert_eq!(progress.length(), Some(6));
    }
}
