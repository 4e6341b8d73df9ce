//! Reads the records of one log file, in file order, while the bytes arrive.
//!
//! A [`Prefilter`] limits the work: records of calls that no rule can match are not parsed. They are only validated
//! by the scanner (`scanned-records`) and counted, so errors and counts are the same as without it.
//!
//! An error costs as little as possible. An element that is too large or not a record costs that element
//! ([`Unreadable`]). A syntax error, truncation or damaged gzip costs the rest of the file ([`LogFileError`]), after
//! all records before it were passed on.

use std::{mem, ops::ControlFlow};

use record_scan::{End, ScannedRecord};

use super::{
    content::{Content, Hash, bytes_of},
    error::{LogFileError, Unreadable},
    form::List,
    inflate::{HEADROOM, Inflate, Piece},
    split::{Element, SplitError, Splitter},
};
use crate::{
    json,
    record::Record,
    rules::prefilter::{CachedPrefilter, Prefilter},
};

/// The default limit of a file's uncompressed size: 2 GiB. CloudTrail's largest files have 50 MB compressed (AWS
/// CloudTrail User Guide, "Quotas"), which is 290 to 530 MB at the ratios seen.
pub const DEFAULT_MAX_UNCOMPRESSED: u64 = 2 * 1024 * 1024 * 1024;

/// One element of `Records`: a record, or why it is not one.
pub type Entry = Result<Record, Unreadable>;

/// A log file being read.
pub struct LogFile<'r> {
    pub(super) inflate: Inflate,
    pub(super) records: RecordReader<'r>,
    /// Whether the file was read to its end without an error.
    pub(super) is_complete: bool,
}

/// Reads records from inflated bytes.
pub(super) struct RecordReader<'r> {
    splitter: Splitter,
    /// Inflated bytes so far. They do not depend on how far another thread has inflated the file when it ends early.
    bytes: u64,
    /// Elements of `Records` so far.
    count: u64,
    /// How many of them were not parsed.
    skipped: u64,
    /// Decides which records are parsed. `None`: all of them.
    prefilter: Option<CachedPrefilter<'r>>,
    /// The bytes of a record that has not ended yet.
    unfinished: Vec<u8>,
    /// The hash of the bytes so far, if it is wanted.
    hash: Option<Hash>,
}

impl<'r> LogFile<'r> {
    /// Reads a file of at most `max_uncompressed` bytes, and parses every record.
    pub fn new(max_uncompressed: u64) -> LogFile<'r> {
        LogFile {
            inflate: Inflate::new(max_uncompressed),
            records: RecordReader {
                splitter: Splitter::new(),
                bytes: 0,
                count: 0,
                skipped: 0,
                prefilter: None,
                unfinished: Vec::new(),
                hash: None,
            },
            is_complete: false,
        }
    }

    /// Reads a file of at most `max_uncompressed` bytes, and parses only relevant records.
    pub fn with_prefilter(max_uncompressed: u64, prefilter: &'r Prefilter) -> LogFile<'r> {
        let mut file = LogFile::new(max_uncompressed);
        // If everything is relevant, the scanner would only cost time.
        if prefilter.excludes_records() {
            file.records.prefilter = Some(CachedPrefilter::new(prefilter));
        }
        file
    }

    /// Also accepts what people have: documents one after another, JSON Lines, a list of records, one record, the output
    /// of `aws cloudtrail lookup-events` and `get-query-results`, and a byte order mark.
    #[must_use]
    pub fn of_any_form(mut self) -> LogFile<'r> {
        self.records.splitter.accept_any_form();
        self
    }

    /// Also computes the hash of the content, for [`LogFile::content`].
    #[must_use]
    pub fn hashing(mut self) -> LogFile<'r> {
        self.records.hash = Some(Hash::new());
        self
    }

    /// The content of a file that was read to its end without an error, with [`LogFile::hashing`].
    pub fn content(&self) -> Option<Content> {
        let hash = self.records.hash.as_ref()?;
        self.is_complete.then(|| Content {
            sha256: hash.value(),
            stored: self.inflate.stored(),
        })
    }

    /// Reads the next bytes of the object. Records that are complete go to `sink`.
    ///
    /// # Errors
    /// The rest of the file cannot be read. The reader must not be used after an error.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(Entry)) -> Result<(), LogFileError> {
        let records = &mut self.records;
        self.inflate
            .push(chunk, &mut |piece| records.push(piece, sink))
    }

    /// Ends the file. An empty object is not an error, because no record can be lost.
    ///
    /// # Errors
    /// The gzip stream or the JSON is incomplete, or there is no member `Records`, or further pages of a command's
    /// output are missing.
    pub fn finish(&mut self, sink: &mut impl FnMut(Entry)) -> Result<(), LogFileError> {
        if self.inflate.compressed() != 0 {
            let records = &mut self.records;
            self.inflate
                .finish(&mut |piece| records.push(piece, sink))?;
            records.finish()?;
        }
        self.is_complete = true;
        Ok(())
    }

    /// The number of records that were not parsed, because they are not relevant.
    pub fn skipped_records(&self) -> u64 {
        self.records.skipped
    }

    /// The number of bytes read from the object.
    pub fn compressed_bytes(&self) -> u64 {
        self.inflate.compressed()
    }

    /// The number of uncompressed bytes.
    pub fn uncompressed_bytes(&self) -> u64 {
        self.records.bytes
    }
}

/// Why pushing bytes to the splitter failed: an error of the splitter, or of the JSON parser.
enum PushError {
    Split(SplitError),
    Json { offset: u64, message: String },
}

impl From<SplitError> for PushError {
    fn from(error: SplitError) -> PushError {
        PushError::Split(error)
    }
}

impl RecordReader<'_> {
    /// Reads a piece of the file. A record that is not complete is copied before the bytes of the next piece, so that
    /// the scanner always sees records in one part.
    pub(super) fn push(
        &mut self,
        piece: Piece<&mut Vec<u8>>,
        sink: &mut impl FnMut(Entry),
    ) -> Result<(), LogFileError> {
        if let Some(hash) = &mut self.hash {
            hash.add(bytes_of(&piece));
        }
        let Piece {
            window,
            length,
            last,
        } = piece;
        self.bytes += length as u64;
        let mut unfinished = mem::take(&mut self.unfinished);
        let start = if let Some(start) = HEADROOM.checked_sub(unfinished.len()) {
            window[start..HEADROOM].copy_from_slice(&unfinished);
            start
        } else {
            // Too long for the headroom. The splitter accepts larger records.
            let mut at = 0;
            while at < unfinished.len() {
                at += self.split(&unfinished[at..], sink)?;
            }
            HEADROOM
        };
        let bytes = &window[start..];
        let length = HEADROOM - start + length;
        let done = self.read_records(bytes, length, last, sink)?;
        unfinished.clear();
        unfinished.extend_from_slice(&bytes[done..length]);
        self.unfinished = unfinished;
        Ok(())
    }

    /// Reads records from the first `length` bytes, alternating between the scanner and the splitter. Returns the
    /// number of bytes consumed: all of them, unless the scanner found an incomplete record and more bytes follow.
    fn read_records(
        &mut self,
        padded: &[u8],
        length: usize,
        last: bool,
        sink: &mut impl FnMut(Entry),
    ) -> Result<usize, LogFileError> {
        let mut at = 0;
        while at < length {
            if self.prefilter.is_some() && self.splitter.expects_element() && padded[at] == b'{' {
                let (next, end) = self.scan((padded, at, length, last), sink)?;
                at = next;
                if end == End::Incomplete && !last {
                    return Ok(at);
                }
            }
            at += self.split(&padded[at..length], sink)?;
        }
        Ok(length)
    }

    /// Scans elements, starting at `at`, and parses the relevant ones. Returns the position at which the scanner
    /// stopped, and why.
    fn scan(
        &mut self,
        (padded, at, length, last): (&[u8], usize, usize, bool),
        sink: &mut impl FnMut(Entry),
    ) -> Result<(usize, End), LogFileError> {
        let base = self.splitter.offset();
        let (count, skipped) = (&mut self.count, &mut self.skipped);
        let prefilter = &mut self.prefilter;
        let mut failed = None;
        let (next, end) = record_scan::scan(padded, at, length, last, &mut |scanned| {
            if is_relevant(prefilter, &scanned) {
                let offset = base + (scanned.start - at) as u64;
                match parse_element(scanned.bytes, List::Records, *count) {
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
                *skipped += 1;
            }
            *count += 1;
            ControlFlow::Continue(())
        });
        if let Some((offset, message)) = failed {
            return Err(self.syntax(offset, message));
        }
        self.splitter
            .skip_elements(next - at, end == End::AfterRecord);
        Ok((next, end))
    }

    /// Passes bytes to the splitter, up to the next element that the scanner may be able to read.
    fn split(&mut self, bytes: &[u8], sink: &mut impl FnMut(Entry)) -> Result<usize, LogFileError> {
        let count = &mut self.count;
        let pause = self.prefilter.is_some();
        let outcome = self.splitter.push(bytes, pause, &mut |element, offset| {
            let index = *count;
            let entry = match element {
                Element::TooLarge(size) => {
                    Err(format!("it has {size} bytes; CloudTrail's limit is 256 KB"))
                }
                Element::Json(bytes, list) => parse_element(bytes, list, index)
                    .map_err(|message| PushError::Json { offset, message })?,
            };
            *count += 1;
            sink(entry.map_err(|reason| Unreadable {
                index,
                offset,
                reason,
            }));
            Ok::<(), PushError>(())
        });
        outcome.map_err(|error| match error {
            PushError::Split(error) => self.syntax(error.offset, error.message),
            PushError::Json { offset, message } => self.syntax(offset, message),
        })
    }

    /// Ends the file. Fails if the root object is incomplete or has no member `Records`, or if further pages are missing.
    pub(super) fn finish(&self) -> Result<(), LogFileError> {
        self.splitter
            .finish()
            .map_err(|error| self.syntax(error.offset, error.message))?;
        match self.splitter.incomplete() {
            None => Ok(()),
            Some(found) => Err(LogFileError::Incomplete(found.clone())),
        }
    }

    fn syntax(&self, offset: u64, message: String) -> LogFileError {
        LogFileError::Syntax {
            offset,
            records: self.count,
            message,
        }
    }
}

/// Whether the record must be parsed. It must if the scanner found no event source or no event name.
#[inline(always)]
fn is_relevant(prefilter: &mut Option<CachedPrefilter<'_>>, scanned: &ScannedRecord<'_>) -> bool {
    match (prefilter, scanned.event_source, scanned.event_name) {
        (Some(prefilter), Some(source), Some(name)) => {
            prefilter.includes(source, name, scanned.bytes)
        }
        _ => true,
    }
}

/// Parses one element. The inner error is the reason why it is not a record, the outer one a syntax error.
fn parse_element(bytes: &[u8], list: List, index: u64) -> Result<Result<Record, String>, String> {
    match json::parse(bytes) {
        Ok(element) => Ok(list
            .record(element)
            .map(|fields| Record::new(index, fields))),
        Err(error) => Err(format!("record {index}: {error}")),
    }
}
