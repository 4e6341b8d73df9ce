//! The bytes of an object, inflated where they are gzip: pushed in as they arrive, handed on in
//! pieces of bounded size.
//!
//! Gzip is told by its magic bytes, never by name or header: S3 clients may have inflated the body on
//! the way. Every member counts. This is the one place that inflates, and it holds the cap on the
//! uncompressed size.

use flate2::{Decompress, FlushDecompress, Status};

use super::LogFileError;

/// Size of the piece that is inflated at once. 64 KiB stays in the processor's cache.
const WINDOW: usize = 64 * 1024;
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Inflates one object. Its memory is one window and the state of one member.
pub(super) struct Inflate {
    state: State,
    window: Vec<u8>,
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

impl Inflate {
    pub(super) fn new(limit: u64) -> Inflate {
        Inflate {
            state: State::Start(None),
            window: vec![0; WINDOW],
            limit,
            compressed: 0,
            uncompressed: 0,
        }
    }

    /// Bytes handed on so far.
    pub(super) fn uncompressed(&self) -> u64 {
        self.uncompressed
    }

    /// Bytes pushed in so far.
    pub(super) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Takes the next bytes of the object and hands what they inflate to on to `sink`. What precedes
    /// an error is handed on before the error is returned.
    pub(super) fn push(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), LogFileError>,
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
        sink: &mut impl FnMut(&[u8]) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        match self.state {
            // One byte is no gzip; let the JSON side say what is wrong with it.
            State::Start(Some(byte)) => self.hand_on(&[byte], sink),
            State::Member(_) => Err(LogFileError::Truncated {
                compressed: self.compressed,
            }),
            State::Between(Some(_)) => Err(self.trailing()),
            State::Start(None) | State::Plain | State::Between(None) | State::Padding => Ok(()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn enter_member(
        &mut self,
        held: Option<u8>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), LogFileError>,
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
        sink: &mut impl FnMut(&[u8]) -> Result<(), LogFileError>,
    ) -> Result<&'i [u8], LogFileError> {
        loop {
            let State::Member(member) = &mut self.state else {
                return Ok(input);
            };
            let (in_before, out_before) = (member.total_in(), member.total_out());
            let outcome = member.decompress(input, &mut self.window, FlushDecompress::None);
            let used = (member.total_in() - in_before) as usize;
            let made = (member.total_out() - out_before) as usize;
            input = &input[used..];
            self.compressed += used as u64;
            self.uncompressed += made as u64;
            if self.uncompressed > self.limit {
                return Err(LogFileError::TooLarge { limit: self.limit });
            }
            sink(&self.window[..made])?;
            match outcome {
                Ok(Status::StreamEnd) => {
                    self.state = State::Between(None);
                    return Ok(input);
                }
                // A full window may hide more output although the input is used up.
                Ok(_) if input.is_empty() && made < self.window.len() => return Ok(input),
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
        bytes: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), LogFileError>,
    ) -> Result<(), LogFileError> {
        self.uncompressed += bytes.len() as u64;
        if self.uncompressed > self.limit {
            return Err(LogFileError::TooLarge { limit: self.limit });
        }
        sink(bytes)
    }

    fn trailing(&self) -> LogFileError {
        LogFileError::Corrupt {
            compressed: self.compressed,
            message: "bytes that are not gzip follow the last gzip member".into(),
        }
    }
}
