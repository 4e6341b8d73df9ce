//! Read-ahead: a second thread reads and inflates a file while the first one finds records in it.
//!
//! With two processors, a file takes no longer than inflating it. One thread takes less processor time, so the second
//! one starts when a processor is idle. Records, counts and errors are the same as with [`LogFile::push`] and
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

/// Bytes read from the source at a time. A second thread for a smaller file would not be worth its start.
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
    /// A file that is not being inflated yet, and whether a processor is idle.
    Unread(Unread<'s>, &'s (dyn Fn() -> bool + 's)),
    /// The inflated pieces, and the thread that sends them.
    Inflating(Receiver<Vec<Piece<Vec<u8>>>>, Inflating<'s>),
}

/// The inflating thread. It returns its state and why it ended.
type Inflating<'s> = ScopedJoinHandle<'s, (Inflate, Result<(), ReadError>)>;

/// The rest of a source. The chunk has `length` unread bytes.
struct Unread<'s> {
    chunk: &'s mut [u8],
    length: usize,
    /// The error after these bytes, if any.
    outcome: io::Result<()>,
    source: &'s mut (dyn Read + Send + 's),
    progress: &'s (dyn Fn(u64) + Sync + 's),
}

/// Starts reading a source and calls `read` with the file. `progress` is called with the number of bytes of each read,
/// and `is_idle` for whether a processor is idle. A file of less than 128 KiB is read without a second thread.
pub fn with_read_ahead<R>(
    source: &mut (impl Read + Send),
    progress: &(impl Fn(u64) + Sync),
    is_idle: &impl Fn() -> bool,
    read: impl FnOnce(ReadAhead<'_>) -> R,
) -> R {
    with_read_ahead_of(CHUNK, source, progress, is_idle, read)
}

/// [`with_read_ahead`] with a given chunk size.
pub(crate) fn with_read_ahead_of<R>(
    chunk: usize,
    source: &mut (impl Read + Send),
    progress: &(impl Fn(u64) + Sync),
    is_idle: &impl Fn() -> bool,
    read: impl FnOnce(ReadAhead<'_>) -> R,
) -> R {
    // Zeroing a new buffer for each small file would take time.
    let mut buffer = take_window();
    buffer.resize(buffer.len().max(chunk), 0);
    let mut unread = Unread {
        chunk: &mut buffer[..chunk],
        length: 0,
        outcome: Ok(()),
        source,
        progress,
    };
    let is_large = unread.next() && unread.length == unread.chunk.len();
    let result = if is_large && is_idle() {
        let inflate = Inflate::new(DEFAULT_MAX_UNCOMPRESSED);
        thread::scope(|scope| {
            let (pieces, thread) = start_inflating(scope, inflate, unread);
            read(ReadAhead(State::Inflating(pieces, thread)))
        })
    } else if is_large {
        read(ReadAhead(State::Unread(unread, is_idle)))
    } else {
        read(ReadAhead(State::Unread(unread, &|| false)))
    };
    release_window(buffer);
    result
}

impl Unread<'_> {
    /// Reads the next chunk. Returns false at the end of the source, or after an error.
    fn next(&mut self) -> bool {
        if self.outcome.is_err() {
            return false;
        }
        (self.length, self.outcome) = fill(self.source, self.chunk);
        (self.progress)(self.length as u64);
        self.length > 0
    }
}

/// Starts the inflating thread. `inflate` has read what precedes the unread bytes.
fn start_inflating<'s, 'u: 's>(
    scope: &'s Scope<'s, '_>,
    mut inflate: Inflate,
    mut unread: Unread<'u>,
) -> (Receiver<Vec<Piece<Vec<u8>>>>, Inflating<'s>) {
    let (sender, receiver) = mpsc::sync_channel(MAX_QUEUED_PIECES / PIECES_PER_SEND);
    let thread = scope.spawn(move || {
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
            while is_connected.get() {
                inflate.push(&unread.chunk[..unread.length], &mut send)?;
                if !unread.next() {
                    break;
                }
            }
            // Bytes before a source error are sent, too. The source error is reported rather than the truncation.
            let finished = inflate.finish(&mut send);
            mem::replace(&mut unread.outcome, Ok(()))?;
            Ok(finished?)
        };
        let outcome = read();
        (inflate, outcome)
    });
    (receiver, thread)
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
        let (mut unread, is_idle) = match file.0 {
            State::Inflating(pieces, thread) => {
                return self.read_pieces(pieces, thread, sink, wants_more);
            }
            State::Unread(unread, is_idle) => (unread, is_idle),
        };
        while unread.length > 0 {
            if is_idle() {
                let inflate = mem::replace(&mut self.inflate, Inflate::new(0));
                return thread::scope(|scope| {
                    let (pieces, thread) = start_inflating(scope, inflate, unread);
                    self.read_pieces(pieces, thread, sink, wants_more)
                });
            }
            self.push(&unread.chunk[..unread.length], sink)?;
            if !wants_more() {
                return Ok(());
            }
            if !unread.next() {
                break;
            }
        }
        let finished = self.finish(sink);
        self.is_complete &= unread.outcome.is_ok();
        unread.outcome?;
        Ok(finished?)
    }

    fn read_pieces(
        &mut self,
        pieces: Receiver<Vec<Piece<Vec<u8>>>>,
        thread: Inflating<'_>,
        sink: &mut impl FnMut(Entry),
        wants_more: &mut impl FnMut() -> bool,
    ) -> Result<(), ReadError> {
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
        records.finish()?;
        self.is_complete = true;
        Ok(())
    }
}

/// Fills the buffer as far as possible. Returns the number of bytes read, also if the source failed after them.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> (usize, io::Result<()>) {
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
