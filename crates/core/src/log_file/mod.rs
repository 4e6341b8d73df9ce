//! A CloudTrail log file, read record by record while its bytes arrive.
//!
//! Bytes of one S3 object go in ([`LogFile::push`]), records come out in file order. Nothing here
//! knows where the bytes come from or what a record means for anybody. Memory does not grow with the
//! file: one window of inflated bytes and one record are held at a time.
//!
//! A caller that needs some calls only passes a [`Relevance`]. Then records of other calls are skipped: validated
//! and counted (`record-scan`), but not parsed and not handed on. Counts and errors of a file are the same with and
//! without it.
//!
//! What is wrong with a file costs as little as it can. A record that is no JSON object, or too large,
//! costs that record ([`Unreadable`]); the file goes on. A syntax error, a truncation or corrupt gzip
//! costs the rest of the file ([`LogFileError`]): the records before it have been handed on by then.

mod ahead;
mod inflate;
mod split;

use std::{mem, ops::ControlFlow};

use record_scan::{End, ScannedRecord};
use serde_json::Value;
use thiserror::Error;

use crate::{
    json,
    record::{Record, not_a_record},
    rules::prefilter::{CachedPrefilter, Prefilter},
};
#[cfg(test)]
pub(crate) use ahead::ahead_by;
pub use ahead::{Ahead, ReadError, ahead};
use inflate::{Inflate, Piece, ROOM};
use split::{Element, SplitError, Splitter};

/// Cap on the uncompressed size of one file, in bytes: 2 GiB. CloudTrail's largest is 50 MB
/// compressed (AWS CloudTrail User Guide, "Quotas"), which is 290 to 530 MB at the ratios seen.
pub const DEFAULT_MAX_UNCOMPRESSED: u64 = 2 * 1024 * 1024 * 1024;

/// Why a log file could not be read to its end.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LogFileError {
    /// The gzip stream ended in the middle.
    #[error(
        "the gzip stream ends in the middle, after {compressed} compressed bytes: the object is truncated; restore it or wait for CloudTrail to deliver it again"
    )]
    Truncated {
        /// Compressed bytes seen.
        compressed: u64,
    },
    /// The gzip stream is damaged.
    #[error("the gzip stream is corrupt at compressed byte {compressed}: {message}")]
    Corrupt {
        /// Compressed bytes read before the damage was noticed.
        compressed: u64,
        /// What the decoder says.
        message: String,
    },
    /// The file is larger than the cap.
    #[error(
        "the uncompressed file is larger than the cap of {limit} bytes: CloudTrail writes no such file; look at what put it there"
    )]
    TooLarge {
        /// The cap in bytes.
        limit: u64,
    },
    /// The content is not the JSON of a log file.
    #[error("cannot be read as a log file at byte {offset}, after {records} records: {message}")]
    Syntax {
        /// Byte of the uncompressed file.
        offset: u64,
        /// Records that were read before it.
        records: u64,
        /// What was found and what was expected.
        message: String,
    },
}

impl LogFileError {
    /// The stable name that ends in a failed invocation's `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            LogFileError::Truncated { .. } => "LogFile.Truncated",
            LogFileError::Corrupt { .. } => "LogFile.Corrupt",
            LogFileError::TooLarge { .. } => "LogFile.TooLarge",
            LogFileError::Syntax { .. } => "LogFile.Syntax",
        }
    }
}

/// One element of `Records` that is no record; the file goes on behind it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("record {index} (byte {offset}) cannot be read: {reason}")]
pub struct Unreadable {
    /// Position in `Records`, from 0.
    pub index: u64,
    /// Byte of the uncompressed file where it starts.
    pub offset: u64,
    /// What was found and what was expected.
    pub reason: String,
}

/// One element of `Records`.
pub type Entry = Result<Record, Unreadable>;

/// A log file in the middle of being read.
pub struct LogFile<'r> {
    inflate: Inflate,
    records: Records<'r>,
}

/// The inflated side: splitter and counts.
struct Records<'r> {
    splitter: Splitter,
    count: u64,
    skipped_records: u64,
    /// `None`: every record is parsed.
    recent: Option<CachedPrefilter<'r>>,
    /// The beginning of a record whose end is still to come.
    unfinished: Vec<u8>,
}

impl<'r> LogFile<'r> {
    /// A reader for one file of at most `max_uncompressed` bytes once inflated, that hands on every record.
    pub fn new(max_uncompressed: u64) -> LogFile<'r> {
        LogFile {
            inflate: Inflate::new(max_uncompressed),
            records: Records {
                splitter: Splitter::new(),
                count: 0,
                skipped_records: 0,
                recent: None,
                unfinished: Vec::new(),
            },
        }
    }

    /// A reader that skips records which are not relevant.
    pub fn of_relevant(max_uncompressed: u64, prefilter: &'r Prefilter) -> LogFile<'r> {
        let mut file = LogFile::new(max_uncompressed);
        // Where everything is relevant, looking first would only take time.
        if prefilter.excludes_records() {
            file.records.recent = Some(CachedPrefilter::new(prefilter));
        }
        file
    }

    /// Takes the next bytes of the object; every record that ends in them goes to `sink`.
    ///
    /// # Errors
    /// What costs the rest of the file. The reader must not be used after an error.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(Entry)) -> Result<(), LogFileError> {
        let records = &mut self.records;
        self.inflate
            .push(chunk, &mut |piece| records.push(piece, sink))
    }

    /// The object has ended. An object without a byte is an empty file, not an error: it holds no
    /// record that could be lost.
    ///
    /// # Errors
    /// A gzip member or the JSON is not complete, or there was no `Records`.
    pub fn finish(&mut self, sink: &mut impl FnMut(Entry)) -> Result<(), LogFileError> {
        if self.inflate.compressed() == 0 {
            return Ok(());
        }
        let records = &mut self.records;
        self.inflate
            .finish(&mut |piece| records.push(piece, sink))?;
        records.finish()
    }

    /// Records that were not parsed, because they are not relevant.
    pub fn skipped_records(&self) -> u64 {
        self.records.skipped_records
    }

    /// Bytes of the object so far, as stored.
    pub fn compressed_bytes(&self) -> u64 {
        self.inflate.compressed()
    }

    /// Bytes of JSON so far.
    pub fn uncompressed_bytes(&self) -> u64 {
        self.inflate.uncompressed()
    }
}

/// Why a push ends early: an error of the splitter, or of the JSON parser.
enum Stop {
    Split(SplitError),
    Json { offset: u64, message: String },
}

impl From<SplitError> for Stop {
    fn from(error: SplitError) -> Stop {
        Stop::Split(error)
    }
}

impl Records<'_> {
    /// Takes a piece; the beginning of a record that it leaves unfinished is kept for the next one.
    fn push(
        &mut self,
        piece: Piece<&mut Vec<u8>>,
        sink: &mut impl FnMut(Entry),
    ) -> Result<(), LogFileError> {
        let Piece {
            window,
            length,
            last,
        } = piece;
        let mut unfinished = mem::take(&mut self.unfinished);
        let from = if let Some(from) = ROOM.checked_sub(unfinished.len()) {
            window[from..ROOM].copy_from_slice(&unfinished);
            from
        } else {
            // The splitter has room for more.
            let mut at = 0;
            while at < unfinished.len() {
                at += self.split(&unfinished[at..], sink)?;
            }
            ROOM
        };
        let bytes = &window[from..];
        let length = ROOM - from + length;
        let done = self.go_over(bytes, length, last, sink)?;
        unfinished.clear();
        unfinished.extend_from_slice(&bytes[done..length]);
        self.unfinished = unfinished;
        Ok(())
    }

    /// Takes what it can of the first `length` bytes and returns how much that was; all of the last ones.
    fn go_over(
        &mut self,
        padded: &[u8],
        length: usize,
        last: bool,
        sink: &mut impl FnMut(Entry),
    ) -> Result<usize, LogFileError> {
        let mut at = 0;
        while at < length {
            if self.recent.is_some() && self.splitter.expects_element() && padded[at] == b'{' {
                let (next, end) = self.scan_records((padded, at, length, last), sink)?;
                at = next;
                if end == End::Incomplete && !last {
                    return Ok(at);
                }
            }
            at += self.split(&padded[at..length], sink)?;
        }
        Ok(length)
    }

    /// Scans records from the piece's `at` on and parses the relevant ones. Returns the position where the scan ended.
    fn scan_records(
        &mut self,
        (padded, at, length, last): (&[u8], usize, usize, bool),
        sink: &mut impl FnMut(Entry),
    ) -> Result<(usize, End), LogFileError> {
        let base = self.splitter.offset();
        let (count, skipped_records) = (&mut self.count, &mut self.skipped_records);
        let recent = &mut self.recent;
        let mut failed = None;
        let (next, end) = record_scan::scan(padded, at, length, last, &mut |record| {
            if is_relevant(recent, &record) {
                let offset = base + (record.start - at) as u64;
                match read(record.bytes, *count) {
                    Ok(entry) => sink(entry.map_err(|reason| Unreadable {
                        index: *count,
                        offset,
                        reason,
                    })),
                    Err(message) => {
                        failed = Some((offset, message));
                        return ControlFlow::Break(());
                    }
                }
            } else {
                *skipped_records += 1;
            }
            *count += 1;
            ControlFlow::Continue(())
        });
        if let Some((offset, message)) = failed {
            return Err(self.syntax(offset, message));
        }
        self.splitter
            .elements_passed(next - at, end == End::AfterRecord);
        Ok((next, end))
    }

    /// Gives bytes to the splitter, up to the next record that may be scanned.
    fn split(&mut self, bytes: &[u8], sink: &mut impl FnMut(Entry)) -> Result<usize, LogFileError> {
        let count = &mut self.count;
        let pause = self.recent.is_some();
        let outcome = self.splitter.push(bytes, pause, &mut |element, offset| {
            let index = *count;
            let entry = match element {
                Element::TooLarge(size) => {
                    Err(format!("it has {size} bytes; CloudTrail's limit is 256 KB"))
                }
                Element::Json(bytes) => {
                    read(bytes, index).map_err(|message| Stop::Json { offset, message })?
                }
            };
            *count += 1;
            sink(entry.map_err(|reason| Unreadable {
                index,
                offset,
                reason,
            }));
            Ok::<(), Stop>(())
        });
        outcome.map_err(|stop| match stop {
            Stop::Split(error) => self.syntax(error.offset, error.message),
            Stop::Json { offset, message } => self.syntax(offset, message),
        })
    }

    /// The file has ended: an error where its root has not, or where it had no `Records`.
    fn finish(&self) -> Result<(), LogFileError> {
        self.splitter
            .finish()
            .map_err(|error| self.syntax(error.offset, error.message))
    }

    fn syntax(&self, offset: u64, message: String) -> LogFileError {
        LogFileError::Syntax {
            offset,
            records: self.count,
            message,
        }
    }
}

/// A record whose `eventSource` or `eventName` the scanner did not find is relevant.
#[inline(always)]
fn is_relevant(recent: &mut Option<CachedPrefilter<'_>>, record: &ScannedRecord<'_>) -> bool {
    match (recent, record.event_source, record.event_name) {
        (Some(recent), Some(source), Some(name)) => recent.includes(source, name, record.bytes),
        _ => true,
    }
}

/// One element: a record, or the reason it is none; the outer error is a syntax error.
fn read(bytes: &[u8], index: u64) -> Result<Result<Record, String>, String> {
    match json::parse(bytes) {
        Ok(Value::Object(fields)) => Ok(match not_a_record(&fields) {
            None => Ok(Record::new(index, fields)),
            Some(found) => Err(format!("expected a CloudTrail record, {found}")),
        }),
        Ok(other) => Ok(Err(format!(
            "expected a JSON object, found {}",
            json::kind(&other)
        ))),
        Err(error) => Err(format!("record {index}: {error}")),
    }
}

#[cfg(test)]
mod tests;
