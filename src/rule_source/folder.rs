//! Rule files in a folder of this machine, with all below it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use walkdir::WalkDir;

use super::{Files, ReadError, is_rule_file, text, within_limits};
use cloudhsm_alerts_core::text::one_line;

/// Reads what has changed, takes the rest from what is known. A file may be named itself, too.
pub(super) fn read(folder: &Path, known: &Files) -> Result<Files, ReadError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(folder).to_owned();
            let reason = error
                .io_error()
                .map_or_else(|| "is a loop of links".to_owned(), ToString::to_string);
            read_error(&at, &reason)
        })?;
        let is_named = entry.depth() == 0;
        if entry.file_type().is_file()
            && (is_named || is_rule_file(&entry.path().to_string_lossy()))
        {
            paths.push(entry.into_path());
        }
    }
    within_limits(&shown(folder), paths.len(), 0)?;

    let mut files = Files::new();
    for path in paths {
        let name = shown(&path);
        let failed = |error: std::io::Error| read_error(&path, &error.to_string());
        let metadata = fs::metadata(&path).map_err(failed)?;
        within_limits(&name, 0, metadata.len())?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let stamp = format!("{modified:?} {}", metadata.len());
        // The key is the path itself: two paths may be shown alike.
        let key = path.to_string_lossy().into_owned();
        let file = match known.get(&key) {
            Some((known, file)) if *known == stamp => file.clone(),
            _ => text(&name, &fs::read(&path).map_err(failed)?),
        };
        files.insert(key, (stamp, file));
    }
    Ok(files)
}

fn read_error(path: &Path, reason: &str) -> ReadError {
    ReadError {
        at: shown(path),
        message: format!("cannot be read: {}", one_line(reason, 300)),
        is_temporary: false,
    }
}

fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy(), 1024)
}
