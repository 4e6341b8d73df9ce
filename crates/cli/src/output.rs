//! The output of a command: standard output, or a file that appears when it is complete.
//!
//! A file is written beside its place under another name, so that a command that is interrupted leaves the old file, and
//! a scan of its folder does not read it.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempPath};

use crate::terminal::shown;

/// The output of a command.
pub struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    /// The file under its temporary name, and its place.
    file: Option<(TempPath, PathBuf)>,
    is_terminal: bool,
}

impl Output {
    /// Opens the file, or standard output.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(path: Option<&Path>) -> io::Result<Output> {
        let Some(path) = path else {
            let stdout = io::stdout();
            return Ok(Output {
                is_terminal: stdout.is_terminal(),
                writer: BufWriter::new(Box::new(stdout)),
                file: None,
            });
        };
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("--output {}: {error}", shown(&path.to_string_lossy())),
            )
        };
        // A device or a pipe is written as it is.
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let device = File::options().write(true).open(path).map_err(named)?;
            return Ok(Output {
                is_terminal: device.is_terminal(),
                writer: BufWriter::new(Box::new(device)),
                file: None,
            });
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let (file, place) = temporary(folder).map_err(named)?.into_parts();
        Ok(Output {
            is_terminal: false,
            writer: BufWriter::new(Box::new(file)),
            file: Some((place, path.to_owned())),
        })
    }

    /// Writes what is left to standard output. A file that is not complete is removed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn abandon(&mut self) -> io::Result<()> {
        // Threads that still read keep this value until the process ends, so it is not dropped.
        self.file = None;
        self.writer.flush()
    }

    /// Writes what is left, and puts the file in its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn complete(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        match self.file.take() {
            Some((file, place)) => file.persist(place).map_err(|failed| failed.error),
            None => Ok(()),
        }
    }
}

/// A terminal has text at once: part of a line would otherwise stand before the progress bar.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.writer.write(bytes)?;
        if self.is_terminal {
            self.writer.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A new file with the permissions that any new file has.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".cloudhsm-alerts-").suffix(".part");
    #[cfg(unix)]
    {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt};
        builder.permissions(Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
