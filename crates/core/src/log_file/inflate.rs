//! Inflates the bytes of an object where they are gzip, in pieces of bounded size.
//!
//! A piece is passed on when a window is full and at the end of the object. The window has space before the piece
//! (headroom) for the start of a record from the previous piece, and padding after it for the scanner, which reads
//! ahead. So each record is contiguous, and the window is not copied.
//!
//! Gzip is recognized by its magic bytes and not by name or header, because S3 clients may already have inflated the
//! body. All gzip members are read. This is the only place that inflates, and it enforces the limit of the
//! uncompressed size.

use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use record_scan::PADDING;

use super::{content::Stored, error::LogFileError};

/// The size of a piece in bytes. It fits in the L2 cache, and is large enough that the 32 KiB to which deflate refers
/// back are rarely copied.
const WINDOW: usize = 256 * 1024;
/// Bytes before the piece: many times the size of a typical record.
pub(super) const HEADROOM: usize = 32 * 1024;

/// Unused windows. Zeroing a new one takes as long as inflating a small file. The most recently used window is
/// reused first, because it may still be in a cache.
static FREE_WINDOWS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// The first bytes of a gzip member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A piece of the file: a window with `length` bytes after its [`HEADROOM`], and whether they are the last. At least
/// [`PADDING`] bytes follow, which are zeros after the last piece. A receiver that keeps the window must replace it by
/// another one.
pub(super) struct Piece<W> {
    pub(super) window: W,
    pub(super) length: usize,
    pub(super) last: bool,
}

/// Inflates one object. Its memory is one window and the state of one gzip member.
pub(super) struct Inflate {
    state: State,
    window: Vec<u8>,
    /// Bytes in the window, after the headroom.
    filled: usize,
    limit: u64,
    compressed: u64,
    uncompressed: u64,
    /// Gzip members that have begun.
    members: u64,
}

/// The position in the object.
enum State {
    /// Fewer than two bytes were read. The value is the first byte, if any.
    Start(Option<u8>),
    /// In an object that is not gzip.
    Plain,
    /// In a gzip member.
    Member(Box<Decompress>),
    /// After a member. The value is the first byte of a possible next member, if any.
    Between(Option<u8>),
    /// In zeros after the last member. Some tools pad files to a block size.
    Padding,
}

/// Takes an unused window, or allocates one.
pub(super) fn take_window() -> Vec<u8> {
    FREE_WINDOWS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop()
        .unwrap_or_else(|| vec![0; HEADROOM + WINDOW + PADDING])
}

/// Returns a window for reuse.
pub(super) fn release_window(window: Vec<u8>) {
    let mut windows = FREE_WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    windows.push(window);
}

impl Drop for Inflate {
    fn drop(&mut self) {
        release_window(std::mem::take(&mut self.window));
    }
}

impl Inflate {
    pub(super) fn new(limit: u64) -> Inflate {
        Inflate {
            state: State::Start(None),
            window: take_window(),
            filled: 0,
            limit,
            compressed: 0,
            uncompressed: 0,
            members: 0,
        }
    }

    /// The number of compressed bytes.
    pub(super) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// How the object is stored, as far as it was read.
    pub(super) fn stored(&self) -> Stored {
        match (self.members, &self.state) {
            (0, _) => Stored::Uncompressed,
            (1, State::Start(_) | State::Plain | State::Member(_) | State::Between(None)) => {
                Stored::Gzip
            }
            _ => Stored::GzipAndMore,
        }
    }

    /// Reads the next bytes of the object. Full windows go to `sink`. Bytes that precede an error go to `sink` before
    /// the error is returned.
    pub(super) fn push(
        &mut self,
        input: &[u8],
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        self.read(input, sink)
            .or_else(|error| self.flush_and_fail(error, sink))
    }

    fn read(
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
                                self.write(&[first], sink)?;
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
                    return self.write(input, sink);
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
                        _ => {
                            // More than the member, as `stored` has it.
                            self.state = State::Padding;
                            return Err(self.trailing_bytes());
                        }
                    }
                }
                State::Padding => {
                    if input.iter().any(|b| *b != 0) {
                        return Err(self.trailing_bytes());
                    }
                    self.compressed += input.len() as u64;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Ends the object. Fails if a gzip member is incomplete.
    pub(super) fn finish(
        &mut self,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        let end = match self.state {
            // A single byte cannot be gzip. The reader reports the syntax error.
            State::Start(Some(byte)) => self.write(&[byte], sink),
            State::Member(_) => Err(LogFileError::Truncated {
                compressed: self.compressed,
            }),
            State::Between(Some(_)) => Err(self.trailing_bytes()),
            State::Start(None) | State::Plain | State::Between(None) | State::Padding => Ok(()),
        };
        match end {
            Ok(()) => self.flush_last(sink),
            Err(error) => self.flush_and_fail(error, sink),
        }
    }

    /// Passes on the bytes that precede the error. An error in those bytes takes precedence.
    fn flush_and_fail(
        &mut self,
        error: LogFileError,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        self.flush_last(sink)?;
        Err(error)
    }

    fn flush_last(
        &mut self,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        let length = std::mem::take(&mut self.filled);
        self.window[HEADROOM + length..][..PADDING].fill(0);
        sink(Piece {
            window: &mut self.window,
            length,
            last: true,
        })
    }

    fn flush_if_full(
        &mut self,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        if self.filled < WINDOW {
            return Ok(());
        }
        // Reset before the call: after an error, the bytes must not be passed on again.
        let length = std::mem::take(&mut self.filled);
        sink(Piece {
            window: &mut self.window,
            length,
            last: false,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the only place that inflates")]
    fn enter_member(
        &mut self,
        held: Option<u8>,
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        self.members += 1;
        // 15 bits: a window of 32 KiB, deflate's maximum.
        self.state = State::Member(Box::new(Decompress::new_gzip(15)));
        if let Some(byte) = held {
            self.compressed -= 1;
            self.inflate(&[byte], sink)?;
        }
        Ok(())
    }

    /// Inflates until the input is consumed or the member ends. Returns the remaining input.
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
            let output = &mut self.window[HEADROOM..][self.filled..WINDOW];
            let outcome = member.decompress(input, output, FlushDecompress::None);
            let consumed = (member.total_in() - in_before) as usize;
            let written = (member.total_out() - out_before) as usize;
            // If the window is full, there may be more output although the input is consumed.
            let is_full = written == output.len();
            input = &input[consumed..];
            self.compressed += consumed as u64;
            self.advance(written)?;
            self.flush_if_full(sink)?;
            match outcome {
                Ok(Status::StreamEnd) => {
                    self.state = State::Between(None);
                    return Ok(input);
                }
                Ok(_) if input.is_empty() && !is_full => return Ok(input),
                Ok(_) if consumed == 0 && written == 0 => {
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

    /// Copies bytes to the window.
    fn write(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl FnMut(Piece<&mut Vec<u8>>) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        while !bytes.is_empty() {
            let count = bytes.len().min(WINDOW - self.filled);
            self.window[HEADROOM + self.filled..][..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.advance(count)?;
            self.flush_if_full(sink)?;
        }
        Ok(())
    }

    /// Counts bytes that were written to the window. Bytes beyond the limit are dropped from it.
    fn advance(&mut self, count: usize) -> Result<(), LogFileError> {
        let left = self.limit - self.uncompressed;
        if count as u64 > left {
            // At most `count`, which is a usize.
            self.filled += left as usize;
            self.uncompressed = self.limit;
            return Err(LogFileError::TooLarge { limit: self.limit });
        }
        self.filled += count;
        self.uncompressed += count as u64;
        Ok(())
    }

    fn trailing_bytes(&self) -> LogFileError {
        LogFileError::Corrupt {
            compressed: self.compressed,
            message: "bytes that are not gzip follow the last gzip member".into(),
        }
    }
}
