//! Log files on this machine: a file, or all files of a folder and its subfolders in order of their names.
//!
//! In a folder, only `.json` and `.json.gz` files are read. Digest files and others without management events are
//! recognized by their names and skipped.

use std::{
    error::Error,
    fs::File,
    path::{Path, PathBuf},
};

use cloudhsm_alerts_core::{alert::Source, text::one_line};
use walkdir::WalkDir;

use super::session::{FileKind, Session};

pub(super) fn scan(path: &Path, session: &mut Session<'_>) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = Vec::new();
    // Whether anything was recognized or reported. If not, this is probably the wrong folder.
    let mut is_known = false;
    for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let name = error.path().unwrap_or(path).display().to_string();
                let reason = error.io_error().map_or_else(
                    || "a loop of symbolic links".to_owned(),
                    ToString::to_string,
                );
                session.error(&format!("{}: {reason}", one_line(&name, 500)));
                is_known = true;
                continue;
            }
        };
        let size = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(metadata) => metadata.len(),
            Err(error) => {
                let name = entry.path().display().to_string();
                session.error(&format!("{}: {error}", one_line(&name, 500)));
                is_known = true;
                continue;
            }
        };
        let name = entry.path().to_string_lossy().replace('\\', "/");
        // A file that is named itself is read whatever its name.
        let kind = match entry.depth() {
            0 => FileKind::LogFile,
            _ => session.classify(&name),
        };
        is_known |= kind != FileKind::Other;
        if kind == FileKind::LogFile {
            session.progress.inc_length(size);
            files.push(entry.into_path());
        }
    }
    if !is_known {
        session.error(&format!(
            "{}: no log files in this folder: expected files whose names end in .json or .json.gz",
            one_line(&path.to_string_lossy(), 500)
        ));
    }
    for file in files {
        if session.broken_pipe {
            break;
        }
        let source = Source::File(file.clone());
        match File::open(&file) {
            Ok(mut file) => session.scan(&source, &mut file)?,
            Err(error) => session.error(&format!("{source}: {error}")),
        }
    }
    Ok(())
}
