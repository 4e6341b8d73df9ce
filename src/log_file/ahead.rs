//! Reading a whole file from a source that waits (a disk, a download): one thread inflates ahead, the other
//! finds records in what it has made, so that a file takes no longer than inflating it where there are two
//! processors.
//!
//! What is found, and what is said of a broken file, is what [`LogFile::push`] and [`LogFile::finish`] find
//! and say. The function in Lambda does not do this: it has less than one processor, and the download takes
//! longer than either.

use std::{
    io::{self, Read},
    mem, panic,
    sync::mpsc,
    thread,
};

use thiserror::Error;

use super::{
    Entry, LogFile, LogFileError,
    inflate::{Inflate, Piece, window},
};

/// Bytes asked of the source at a time. A file that is smaller is read without another thread.
pub(crate) const CHUNK: usize = 128 * 1024;
/// Pieces that wait to be looked at: memory stays bounded, and neither thread waits for the other's every step.
const WAITING: usize = 4;

/// Why a file was not read to its end.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// What it gave is not the whole of a log file.
    #[error(transparent)]
    LogFile(#[from] LogFileError),
}

impl LogFile<'_> {
    /// Reads a source to its end, `chunk` bytes at a time; every record goes to `sink`, as long as it goes on.
    /// `seen` hears how many bytes of the source were read.
    ///
    /// # Errors
    /// What costs the rest of the file; the records before it have gone to `sink`.
    pub(crate) fn read(
        &mut self,
        source: &mut (impl Read + Send),
        chunk: usize,
        seen: &(impl Fn(u64) + Sync),
        sink: &mut impl FnMut(Entry),
        goes_on: &mut impl FnMut() -> bool,
    ) -> Result<(), ReadError> {
        let mut chunk = vec![0; chunk];
        let (length, outcome) = fill(source, &mut chunk);
        seen(length as u64);
        if length < chunk.len() {
            self.push(&chunk[..length], sink)?;
            outcome?;
            return Ok(self.finish(sink)?);
        }
        let (full, pieces) = mpsc::sync_channel::<(Vec<u8>, usize)>(WAITING);
        let (empty, spare) = mpsc::channel();
        let LogFile { inflate, records } = self;
        // It only passes on what comes inflated, the beginning of an unfinished record before what follows it.
        let mut inflated = Inflate::of_inflated();
        thread::scope(|scope| {
            let ahead = scope.spawn(move || {
                let mut hand_on = |piece: Piece<'_>| {
                    let empty = spare.try_recv().unwrap_or_else(|_| window());
                    let filled = mem::replace(piece.padded, empty);
                    // Nobody listens any more after an error, which is what will be told.
                    let _ = full.send((filled, piece.length));
                    Ok(piece.length)
                };
                let (mut length, mut outcome) = (length, outcome);
                while length > 0 {
                    inflate.push(&chunk[..length], &mut hand_on)?;
                    outcome?;
                    (length, outcome) = fill(source, &mut chunk);
                    seen(length as u64);
                }
                outcome?;
                Ok(inflate.finish(&mut hand_on)?)
            });
            // Dropped when this ends, so that the other thread ends, too.
            let pieces = pieces;
            let mut on_record = |piece: Piece<'_>| records.push(piece, sink);
            for (filled, length) in &pieces {
                inflated.push(&filled[..length], &mut on_record)?;
                if !goes_on() {
                    return Ok(());
                }
                // Refused when the other thread has no use for it any more.
                let _ = empty.send(filled);
            }
            let ended: Result<(), ReadError> = ahead
                .join()
                .unwrap_or_else(|panicked| panic::resume_unwind(panicked));
            // What precedes an error comes before it.
            inflated.finish(&mut on_record)?;
            ended?;
            Ok(records
                .splitter
                .finish()
                .map_err(|error| records.syntax(error.offset, error.message))?)
        })
    }
}

/// Fills the buffer as far as the source has bytes. What was read before it failed counts.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}
