//! Read-ahead: a second thread reads and inflates a file while the first one finds records in it.
//!
//! The source is a disk or a download, for which the reader would have to wait. With two processors, a file takes no
//! longer than inflating it. Records, counts and errors are the same as with [`LogFile::push`] and
//! [`LogFile::finish`]. The Lambda function does not use this, because it has less than one processor and the
//! download takes longer than both steps.

use std::{
    cell::Cell,
    io::{self, Read},
    mem, panic,
    sync::mpsc::{self, Receiver},
    thread::{self, Scope, ScopedJoinHandle},
};

use thiserror::Error;

use super::{
    error::LogFileError,
    inflate::{Inflate, Piece, release_window, take_window},
    reader::{DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile},
};

/// Bytes read from the source at a time. A smaller file is read without a second thread.
const CHUNK: usize = 128 * 1024;
/// Maximum number of queued pieces. It bounds memory (4 MiB), and lets inflating continue while rules are loaded.
const MAX_QUEUED_PIECES: usize = 16;
/// Number of pieces sent together. The receiving thread is usually waiting, and waking it costs a system call.
const PIECES_PER_SEND: usize = 2;

/// Why a file could not be read to its end.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Reading the source failed.
    #[error(transparent)]
    Source(#[from] io::Error),
    /// The content is not a complete log file.
    #[error(transparent)]
    LogFile(#[from] LogFileError),
}

/// A file that is being read ahead, to be passed to [`crate::finding::Scan::read`].
pub struct ReadAhead<'s>(State<'s>);

enum State<'s> {
    /// A small file: all bytes of the source, still compressed, and the error that ended it, if any.
    Small(Vec<u8>, io::Result<()>),
    /// The inflated pieces, and the thread that sends them.
    Inflating(
        Receiver<Vec<Piece<Vec<u8>>>>,
        ScopedJoinHandle<'s, (Inflate, Result<(), ReadError>)>,
    ),
}

/// Starts reading a source and calls `read` with the file. `progress` is called with the number of bytes of each read.
pub fn with_read_ahead<R>(
    source: &mut (impl Read + Send),
    progress: &(impl Fn(u64) + Sync),
    read: impl FnOnce(ReadAhead<'_>) -> R,
) -> R {
    with_read_ahead_of(CHUNK, source, progress, read)
}

/// [`with_read_ahead`] with a given chunk size.
pub(crate) fn with_read_ahead_of<R>(
    chunk: usize,
    source: &mut (impl Read + Send),
    progress: &(impl Fn(u64) + Sync),
    read: impl FnOnce(ReadAhead<'_>) -> R,
) -> R {
    let mut chunk = vec![0; chunk];
    let (length, outcome) = fill(source, &mut chunk);
    progress(length as u64);
    if length < chunk.len() {
        chunk.truncate(length);
        return read(ReadAhead(State::Small(chunk, outcome)));
    }
    thread::scope(|scope| read(start_inflating(scope, chunk, source, progress)))
}

/// Starts the inflating thread. `chunk` has the first bytes of the source.
fn start_inflating<'s>(
    scope: &'s Scope<'s, '_>,
    mut chunk: Vec<u8>,
    source: &'s mut (impl Read + Send),
    progress: &'s (impl Fn(u64) + Sync),
) -> ReadAhead<'s> {
    let (sender, receiver) = mpsc::sync_channel(MAX_QUEUED_PIECES / PIECES_PER_SEND);
    let thread = scope.spawn(move || {
        let mut inflate = Inflate::new(DEFAULT_MAX_UNCOMPRESSED);
        let is_connected = Cell::new(true);
        let mut batch = Vec::with_capacity(PIECES_PER_SEND);
        let mut send = |piece: Piece<&mut Vec<u8>>| {
            batch.push(Piece {
                window: mem::replace(piece.window, take_window()),
                length: piece.length,
                last: piece.last,
            });
            // The receiver is gone after an error, which it reports itself, or if no more findings are wanted.
            if (batch.len() == PIECES_PER_SEND || piece.last)
                && sender.send(mem::take(&mut batch)).is_err()
            {
                is_connected.set(false);
            }
            Ok(())
        };
        let mut read = || {
            let (mut length, mut outcome) = (chunk.len(), Ok(()));
            while length > 0 && is_connected.get() {
                inflate.push(&chunk[..length], &mut send)?;
                if outcome.is_err() {
                    break;
                }
                (length, outcome) = fill(source, &mut chunk);
                progress(length as u64);
            }
            // Bytes before a source error are sent, too. The source error is reported rather than the truncation.
            let finished = inflate.finish(&mut send);
            outcome?;
            Ok(finished?)
        };
        let outcome = read();
        (inflate, outcome)
    });
    ReadAhead(State::Inflating(receiver, thread))
}

impl LogFile<'_> {
    /// Reads a file to its end, or until `wants_more` returns false. Every record goes to `sink`.
    ///
    /// # Errors
    /// The rest of the file cannot be read. The records before the error have gone to `sink`.
    pub(crate) fn read(
        &mut self,
        file: ReadAhead<'_>,
        sink: &mut impl FnMut(Entry),
        wants_more: &mut impl FnMut() -> bool,
    ) -> Result<(), ReadError> {
        let (pieces, thread) = match file.0 {
            State::Small(bytes, outcome) => {
                self.push(&bytes, sink)?;
                let finished = self.finish(sink);
                outcome?;
                return Ok(finished?);
            }
            State::Inflating(pieces, thread) => (pieces, thread),
        };
        let records = &mut self.records;
        let mut outcome = Ok(());
        for mut piece in pieces.iter().flatten() {
            outcome = records.push(
                Piece {
                    window: &mut piece.window,
                    length: piece.length,
                    last: piece.last,
                },
                sink,
            );
            if outcome.is_err() || !wants_more() {
                break;
            }
            release_window(piece.window);
        }
        // The inflating thread ends when it cannot send its next batch.
        drop(pieces);
        let ended;
        (self.inflate, ended) = thread
            .join()
            .unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        outcome?;
        if !wants_more() {
            return Ok(());
        }
        ended?;
        Ok(records.finish()?)
    }
}

/// Fills the buffer as far as possible. Returns the number of bytes read, also if the source failed after them.
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
