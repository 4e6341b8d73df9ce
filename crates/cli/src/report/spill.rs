//! A temporary file for what is large and needed once: the e-mail and the record of each call.
//!
//! With 50,000 calls they take some 300 MB, so they are not kept in memory. The records are without secrets. The file
//! has no name, and the system removes it when the program ends, however it ends.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
};

/// Where an entry is in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    offset: u64,
    length: usize,
}

/// The file, while entries are added.
pub(super) struct Spill {
    file: BufWriter<File>,
    end: u64,
}

impl Spill {
    pub(super) fn new() -> io::Result<Spill> {
        Ok(Spill {
            file: BufWriter::with_capacity(256 * 1024, tempfile::tempfile()?),
            end: 0,
        })
    }

    pub(super) fn add(&mut self, entry: &[u8]) -> io::Result<Place> {
        self.file.write_all(entry)?;
        let place = Place {
            offset: self.end,
            length: entry.len(),
        };
        self.end += entry.len() as u64;
        Ok(place)
    }

    /// Ends writing.
    pub(super) fn into_reader(self) -> io::Result<SpillReader> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(SpillReader(file))
    }
}

/// The file, when all is added.
pub(super) struct SpillReader(File);

impl SpillReader {
    pub(super) fn read(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let mut entry = vec![0; place.length];
        self.0.seek(SeekFrom::Start(place.offset))?;
        self.0.read_exact(&mut entry)?;
        Ok(entry)
    }
}
