//! Files in a folder of the file system and in its subfolders.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use walkdir::WalkDir;

use tokio::task::yield_now;

use super::{
    kind::{File, FileKind, ReadError},
    read_files::ReadFiles,
};
use cloudhsm_alerts_core::text::one_line;

/// Reads the files that are not in `files` or have changed. `folder` can also be a single file.
pub(super) async fn read<P>(
    kind: FileKind,
    folder: &Path,
    files: &mut ReadFiles<P>,
) -> Result<(), ReadError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(folder).to_owned();
            let reason = error.io_error().map_or_else(
                || "a symbolic link forms a loop".to_owned(),
                ToString::to_string,
            );
            read_error(&at, &reason)
        })?;
        let is_root = entry.depth() == 0;
        if entry.file_type().is_file() && (is_root || kind.has(&entry.path().to_string_lossy())) {
            paths.push(entry.into_path());
        }
    }
    kind.check_limits(&display(folder), paths.len(), 0)?;

    let mut listed = Vec::new();
    for path in paths {
        let metadata = fs::metadata(&path).map_err(|error| failed(&path, &error))?;
        kind.check_limits(&display(&path), 0, metadata.len())?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let version = format!("{modified:?} {}", metadata.len());
        // The key is the path itself: two paths can have the same name in messages.
        let key = path.to_string_lossy().into_owned();
        listed.push((path, key, version));
    }
    files.keep(
        listed
            .iter()
            .map(|(_, key, version)| (key.as_str(), version.as_str())),
    );
    for (path, key, version) in listed {
        if files.has(&key, &version) {
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| failed(&path, &error))?;
        files.add(key, version, File::new(&display(&path), &bytes));
        // Parsing thousands of files takes seconds on a small function. Here the caller's time limit can end it.
        yield_now().await;
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> ReadError {
    read_error(path, &error.to_string())
}

fn read_error(path: &Path, reason: &str) -> ReadError {
    ReadError {
        at: display(path),
        message: format!("cannot be read: {}", one_line(reason, 300)),
        is_temporary: false,
    }
}

/// A path in messages.
fn display(path: &Path) -> String {
    one_line(&path.to_string_lossy(), 1024)
}
