//! Log files of this machine: a file, or a folder with all below it in order of names. In a folder, files
//! ending in `.json` and `.json.gz` are read, but for those whose names say that they hold no management
//! calls (digest files and the like).

use std::{
    error::Error,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use cloudhsm_alerts_core::{alert::Source, text::one_line};
use walkdir::WalkDir;

use super::{Session, Wanted};

pub(super) fn scan(
    path: &Path,
    session: &mut Session<'_, impl Write>,
) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = Vec::new();
    // What could not be looked at has been reported.
    let mut is_known = false;
    for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let at = error.path().unwrap_or(path).display().to_string();
                let reason = error
                    .io_error()
                    .map_or_else(|| "a loop of links".to_owned(), ToString::to_string);
                session.problem(&format!("{}: {reason}", one_line(&at, 500)));
                is_known = true;
                continue;
            }
        };
        let size = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(metadata) => metadata.len(),
            Err(error) => {
                let at = entry.path().display().to_string();
                session.problem(&format!("{}: {error}", one_line(&at, 500)));
                is_known = true;
                continue;
            }
        };
        let name = entry.path().to_string_lossy().replace('\\', "/");
        let wanted = match entry.depth() {
            0 => Wanted::Read,
            _ => session.wants(&name),
        };
        is_known |= wanted != Wanted::Other;
        if wanted == Wanted::Read {
            session.progress.inc_length(size);
            files.push(entry.into_path());
        }
    }
    if !is_known {
        session.problem(&format!(
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
            Err(error) => session.problem(&format!("{source}: {error}")),
        }
    }
    Ok(())
}
