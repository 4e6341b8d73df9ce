//! Files in a folder of the file system and in its subfolders.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use walkdir::WalkDir;

use super::kind::{File, FileKind, Files, ReadError};
use cloudhsm_alerts_core::text::one_line;

/// Reads the files that have changed, and takes the others from `known`. `folder` can also be a single file.
pub(super) fn read(kind: FileKind, folder: &Path, known: &Files) -> Result<Files, ReadError> {
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

    let mut files = Files::new();
    for path in paths {
        let name = display(&path);
        let failed = |error: std::io::Error| read_error(&path, &error.to_string());
        let metadata = fs::metadata(&path).map_err(failed)?;
        kind.check_limits(&name, 0, metadata.len())?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let version = format!("{modified:?} {}", metadata.len());
        // The key is the path itself: two paths can have the same name in messages.
        let key = path.to_string_lossy().into_owned();
        let file = match known.get(&key) {
            Some((known, file)) if *known == version => file.clone(),
            _ => File::new(&name, &fs::read(&path).map_err(failed)?),
        };
        files.insert(key, (version, file));
    }
    Ok(files)
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
