//! The bytes of an object, inflated where they are gzip: pushed in as they arrive, handed on in windows of
//! bounded size.
//!
//! A window is handed on when it is full and at the end of the object. There is room before its bytes, for the
//! beginning of something unfinished of the last window, and behind them, for whoever looks ahead: so a record
//! stands in one piece without the window being copied.
//!
//! Gzip is told by its magic bytes, never by name or header: S3 clients may have inflated the body on
//! the way. Every member counts. This is the one place that inflates, and it holds the cap on the
//! uncompressed size.

use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use record_scan::PADDING;

use super::LogFileError;

/// Most bytes that are handed on at once. It stays in the processor's second cache, and inflating into it
/// seldom has to copy the 32 KiB that deflate refers back to.
const WINDOW: usize = 256 * 1024;
/// Bytes before them: many times a usual record.
pub(super) const ROOM: usize = 32 * 1024;

/// Windows that no file uses at the moment. Clearing a new one would take as long as inflating a small file. The
/// one that was used last is used first, because it may still be in a cache.
static WINDOWS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is handed on: a window with `length` bytes behind its [`ROOM`], and whether they are the last. Behind them
/// stand at least [`PADDING`] more, which are zeros behind the last bytes. Whoever wants to keep the window leaves
/// another one in its place.
pub(super) struct Piece<W> {
    pub(super) window: W,
    pub(super) length: usize,
    pub(super) last: bool,
}

/// Inflates one object. Its memory is one window and the state of one member.
pub(super) struct Inflate {
    state: State,
    window: Vec<u8>,
    /// Bytes in the window, behind its room.
    filled: usize,
    limit: u64,
    compressed: u64,
    uncompressed: u64,
}

enum State {
    /// Fewer than two bytes seen; the first one, if there was one.
    Start(Option<u8>),
    Plain,
    Member(Box<Decompress>),
    /// Behind a member; the first byte of what may be another one, if it was seen.
    Between(Option<u8>),
    /// Behind the last member: zeros that pad the object, as tape tools write them.
    Padding,
}

/// A window that no file uses.
pub(super) fn window() -> Vec<u8> {
    WINDOWS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop()
        .unwrap_or_else(|| vec![0; ROOM + WINDOW + PADDING])
}

/// The window is used no more.
pub(super) fn done_with(window: Vec<u8>) {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    windows.push(window);
}

impl Drop for Inflate {
    fn drop(&mut self) {
        done_with(std::mem::take(&mut self.window));
    }
}

impl Inflate {
    pub(super) fn new(limit: u64) -> Inflate {
        Inflate {
            state: State::Start(None),
            window: window(),
            filled: 0,
            limit,
            compressed: 0,
            uncompressed: 0,
        }
    }

    /// Bytes of JSON so far.
    pub(super) fn uncompressed(&self) -> u64 {
        self.uncompressed
    }

    /// Bytes pushed in so far.
    pub(super) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Takes the next bytes of the object and hands full windows on to `sink`. What precedes an error is handed on
    /// before the error is returned.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        self.take(input, sink)
            .or_else(|error| self.fail(error, sink))
    }

    fn take(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        while !input.is_empty() {
            match &mut self.state {
                State::Start(seen) => {
                    let first = seen.unwrap_or(input[0]);
                    let at = usize::from(seen.is_none());
                    if let Some(&second) = input.get(at) {
                        let is_gzip = [first, second] == MAGIC;
                        let held = *seen;
                        if is_gzip {
                            self.enter_member(held, sink)?;
                        } else {
                            self.state = State::Plain;
                            if held.is_some() {
                                self.hand_on(&[first], sink)?;
                            }
                        }
                    } else {
                        self.compressed += 1;
                        self.state = State::Start(Some(first));
                        return Ok(());
                    }
                }
                State::Plain => {
                    self.compressed += input.len() as u64;
                    return self.hand_on(input, sink);
                }
                State::Member(_) => input = self.inflate(input, sink)?,
                State::Between(None) if input[0] == 0 => self.state = State::Padding,
                State::Between(seen) => {
                    let first = seen.unwrap_or(input[0]);
                    let at = usize::from(seen.is_none());
                    match input.get(at) {
                        Some(&second) if [first, second] == MAGIC => {
                            let held = *seen;
                            self.enter_member(held, sink)?;
                        }
                        None if first == MAGIC[0] => {
                            self.compressed += 1;
                            self.state = State::Between(Some(first));
                            return Ok(());
                        }
                        _ => return Err(self.trailing()),
                    }
                }
                State::Padding => {
                    if input.iter().any(|b| *b != 0) {
                        return Err(self.trailing());
                    }
                    self.compressed += input.len() as u64;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The object has ended: an error where a member has not.
    pub(super) fn finish(
        &mut self,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        let end = match self.state {
            // One byte is no gzip; let the JSON side say what is wrong with it.
            State::Start(Some(byte)) => self.hand_on(&[byte], sink),
            State::Member(_) => Err(LogFileError::Truncated {
                compressed: self.compressed,
            }),
            State::Between(Some(_)) => Err(self.trailing()),
            State::Start(None) | State::Plain | State::Between(None) | State::Padding => Ok(()),
        };
        match end {
            Ok(()) => self.hand_on_last(sink),
            Err(error) => self.fail(error, sink),
        }
    }

    /// Hands on what precedes the error. An error in that comes first.
    fn fail(
        &mut self,
        error: LogFileError,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        self.hand_on_last(sink)?;
        Err(error)
    }

    fn hand_on_last(
        &mut self,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        let length = std::mem::take(&mut self.filled);
        self.window[ROOM + length..][..PADDING].fill(0);
        sink(Piece {
            window: &mut self.window,
            length,
            last: true,
        })
    }

    fn hand_on_full(
        &mut self,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        if self.filled < WINDOW {
            return Ok(());
        }
        // Taken out of the window first: after an error, it must not be handed on again.
        let length = std::mem::take(&mut self.filled);
        sink(Piece {
            window: &mut self.window,
            length,
            last: false,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn enter_member(
        &mut self,
        held: Option<u8>,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        // 15: the window of 32 KiB, the largest that deflate knows.
        self.state = State::Member(Box::new(Decompress::new_gzip(15)));
        if let Some(byte) = held {
            self.compressed -= 1;
            self.inflate(&[byte], sink)?;
        }
        Ok(())
    }

    /// Inflates until the input is used up or the member ends; returns what is left of the input.
    fn inflate<'i>(
        &mut self,
        mut input: &'i [u8],
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<&'i [u8], LogFileError> {
        loop {
            let State::Member(member) = &mut self.state else {
                return Ok(input);
            };
            let (in_before, out_before) = (member.total_in(), member.total_out());
            let room = &mut self.window[ROOM..][self.filled..WINDOW];
            let outcome = member.decompress(input, room, FlushDecompress::None);
            let used = (member.total_in() - in_before) as usize;
            let made = (member.total_out() - out_before) as usize;
            // A full window may hide more output although the input is used up.
            let is_full = made == room.len();
            input = &input[used..];
            self.compressed += used as u64;
            self.made(made)?;
            self.hand_on_full(sink)?;
            match outcome {
                Ok(Status::StreamEnd) => {
                    self.state = State::Between(None);
                    return Ok(input);
                }
                Ok(_) if input.is_empty() && !is_full => return Ok(input),
                Ok(_) if used == 0 && made == 0 => {
                    return Err(LogFileError::Corrupt {
                        compressed: self.compressed,
                        message: "the decoder makes no progress".into(),
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(LogFileError::Corrupt {
                        compressed: self.compressed,
                        message: error.to_string(),
                    });
                }
            }
        }
    }

    fn hand_on(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        while !bytes.is_empty() {
            let count = bytes.len().min(WINDOW - self.filled);
            self.window[ROOM + self.filled..][..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.made(count)?;
            self.hand_on_full(sink)?;
        }
        Ok(())
    }

    /// So many bytes were put into the window; beyond the cap they are left out of it.
    fn made(&mut self, count: usize) -> Result<(), LogFileError> {
        let left = self.limit - self.uncompressed;
        if count as u64 > left {
            // No more than `count`, which is a usize.
            self.filled += left as usize;
            self.uncompressed = self.limit;
            return Err(LogFileError::TooLarge { limit: self.limit });
        }
        self.filled += count;
        self.uncompressed += count as u64;
        Ok(())
    }

    fn trailing(&self) -> LogFileError {
        LogFileError::Corrupt {
            compressed: self.compressed,
            message: "bytes that are not gzip follow the last gzip member".into(),
        }
    }
}
