//! A log file inflated ahead: one thread reads a source that waits (a disk, a download) and inflates it, while
//! another makes ready, and then finds records in what the first has made, so that a file takes no longer than
//! inflating it where there are two processors.
//!
//! What is found, and what is said of a broken file, is what [`LogFile::push`] and [`LogFile::finish`] find
//! and say. The function in Lambda does not do this: it has less than one processor, and the download takes
//! longer than either.

use std::{
    cell::Cell,
    io::{self, Read},
    mem, panic,
    sync::mpsc::{self, Receiver},
    thread::{self, Scope, ScopedJoinHandle},
};

use thiserror::Error;

use super::{
    DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile, LogFileError,
    inflate::{Inflate, Piece, done_with, window},
};

/// Bytes asked of the source at a time. A file that is smaller is read without another thread.
pub(crate) const CHUNK: usize = 128 * 1024;
/// Pieces that wait to be looked at: memory stays bounded (4 MiB), and inflating goes on while rules are loaded.
const WAITING: usize = 16;
/// Pieces that are handed over at once. Mostly the other thread waits for them, and waking it costs this one a system
/// call.
const AT_ONCE: usize = 2;

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

/// A file that is being read and inflated.
pub struct Ahead<'s>(Begun<'s>);

enum Begun<'s> {
    /// All that the source gave, as stored, and why it gave no more.
    Whole(Vec<u8>, io::Result<()>),
    /// Its inflated pieces, some at once, and the thread that makes them.
    Pieces(
        Receiver<Vec<Piece<Vec<u8>>>>,
        ScopedJoinHandle<'s, (Inflate, Result<(), ReadError>)>,
    ),
}

/// Begins to read a source and lets `then` go on with it ([`crate::finding::Scan::read`]). `seen` hears how many
/// bytes of the source were read.
pub fn ahead<R>(
    source: &mut (impl Read + Send),
    seen: &(impl Fn(u64) + Sync),
    then: impl FnOnce(Ahead<'_>) -> R,
) -> R {
    ahead_by(CHUNK, source, seen, then)
}

/// [`ahead`], so many bytes at a time.
pub(crate) fn ahead_by<R>(
    chunk: usize,
    source: &mut (impl Read + Send),
    seen: &(impl Fn(u64) + Sync),
    then: impl FnOnce(Ahead<'_>) -> R,
) -> R {
    let mut chunk = vec![0; chunk];
    let (length, outcome) = fill(source, &mut chunk);
    seen(length as u64);
    if length < chunk.len() {
        chunk.truncate(length);
        return then(Ahead(Begun::Whole(chunk, outcome)));
    }
    thread::scope(|scope| then(inflating(scope, chunk, source, seen)))
}

/// Starts the thread; `chunk` is the first of the source.
fn inflating<'s>(
    scope: &'s Scope<'s, '_>,
    mut chunk: Vec<u8>,
    source: &'s mut (impl Read + Send),
    seen: &'s (impl Fn(u64) + Sync),
) -> Ahead<'s> {
    let (full, pieces) = mpsc::sync_channel(WAITING / AT_ONCE);
    let thread = scope.spawn(move || {
        let mut inflate = Inflate::new(DEFAULT_MAX_UNCOMPRESSED);
        let is_wanted = Cell::new(true);
        let mut made = Vec::with_capacity(AT_ONCE);
        let mut hand_on = |piece: Piece<&mut Vec<u8>>| {
            made.push(Piece {
                window: mem::replace(piece.window, window()),
                length: piece.length,
                last: piece.last,
            });
            // Nobody listens any more after an error, which is what will be told, or after enough.
            if (made.len() == AT_ONCE || piece.last) && full.send(mem::take(&mut made)).is_err() {
                is_wanted.set(false);
            }
            Ok(())
        };
        let mut read = || {
            let (mut length, mut outcome) = (chunk.len(), Ok(()));
            while length > 0 && is_wanted.get() {
                inflate.push(&chunk[..length], &mut hand_on)?;
                if outcome.is_err() {
                    break;
                }
                (length, outcome) = fill(source, &mut chunk);
                seen(length as u64);
            }
            // What precedes a failure of the source is handed on, too; that the file is not complete is its fault.
            let finished = inflate.finish(&mut hand_on);
            outcome?;
            Ok(finished?)
        };
        let outcome = read();
        (inflate, outcome)
    });
    Ahead(Begun::Pieces(pieces, thread))
}

impl LogFile<'_> {
    /// Reads a file to its end; every record goes to `sink`, as long as it goes on.
    ///
    /// # Errors
    /// What costs the rest of the file; the records before it have gone to `sink`.
    pub(crate) fn read(
        &mut self,
        ahead: Ahead<'_>,
        sink: &mut impl FnMut(Entry),
        goes_on: &mut impl FnMut() -> bool,
    ) -> Result<(), ReadError> {
        let (pieces, thread) = match ahead.0 {
            Begun::Whole(bytes, outcome) => {
                self.push(&bytes, sink)?;
                let finished = self.finish(sink);
                outcome?;
                return Ok(finished?);
            }
            Begun::Pieces(pieces, thread) => (pieces, thread),
        };
        let records = &mut self.records;
        let mut taken = Ok(());
        for mut piece in pieces.iter().flatten() {
            taken = records.push(
                Piece {
                    window: &mut piece.window,
                    length: piece.length,
                    last: piece.last,
                },
                sink,
            );
            if taken.is_err() || !goes_on() {
                break;
            }
            done_with(piece.window);
        }
        // The other thread ends, too, when it has made another piece.
        drop(pieces);
        let ended;
        (self.inflate, ended) = thread
            .join()
            .unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        taken?;
        if !goes_on() {
            return Ok(());
        }
        ended?;
        Ok(records.finish()?)
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
