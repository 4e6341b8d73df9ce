//! A CloudTrail log file, read record by record while its bytes arrive.
//!
//! Bytes of one S3 object go in ([`LogFile::push`]), records come out in file order. Nothing here
//! knows where the bytes come from or what a record means for anybody. Memory does not grow with the
//! file: one window of inflated bytes and one record are held at a time.
//!
//! What is wrong with a file costs as little as it can. A record that is no JSON object, or too large,
//! costs that record ([`Unreadable`]); the file goes on. A syntax error, a truncation or corrupt gzip
//! costs the rest of the file ([`LogFileError`]): the records before it have been handed on by then.

mod inflate;
mod split;

use serde_json::Value;
use thiserror::Error;

use crate::{json, record::Record};
use inflate::Inflate;
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
pub struct LogFile {
    inflate: Inflate,
    records: Records,
}

/// The inflated side: splitter and count.
struct Records {
    splitter: Splitter,
    count: u64,
}

impl LogFile {
    /// A reader for one file of at most `max_uncompressed` bytes once inflated.
    pub fn new(max_uncompressed: u64) -> LogFile {
        LogFile {
            inflate: Inflate::new(max_uncompressed),
            records: Records {
                splitter: Splitter::new(),
                count: 0,
            },
        }
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
        records
            .splitter
            .finish()
            .map_err(|e| records.syntax(e.offset, e.message))
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

/// The two ways out of a push: the splitter's word, or that of the JSON parser.
enum Stop {
    Split(SplitError),
    Json { offset: u64, message: String },
}

impl From<SplitError> for Stop {
    fn from(error: SplitError) -> Stop {
        Stop::Split(error)
    }
}

impl Records {
    fn push(&mut self, piece: &[u8], sink: &mut impl FnMut(Entry)) -> Result<(), LogFileError> {
        let count = &mut self.count;
        let outcome = self.splitter.push(piece, &mut |element, offset| {
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

    fn syntax(&self, offset: u64, message: String) -> LogFileError {
        LogFileError::Syntax {
            offset,
            records: self.count,
            message,
        }
    }
}

/// One element: a record, or the reason it is none; the outer error is a syntax error.
fn read(bytes: &[u8], index: u64) -> Result<Result<Record, String>, String> {
    match json::parse(bytes) {
        Ok(Value::Object(fields)) => Ok(Ok(Record::new(index, fields))),
        Ok(other) => Ok(Err(format!(
            "expected a JSON object, found {}",
            json::kind(&other)
        ))),
        Err(error) => Err(format!("record {index}: {error}")),
    }
}

#[cfg(test)]
mod tests;
