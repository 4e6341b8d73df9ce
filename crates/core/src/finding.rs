//! Findings: records that match rules.
//!
//! [`Scan`] is the whole core in one place: bytes of a log file in, findings out. It is synchronous and pure, without
//! clock, environment or network, so the function, the command line and the tests all use it directly.

use std::{cell::Cell, ops::ControlFlow, sync::Arc};

use jiff::Timestamp;

use crate::{
    log_file::{
        Content, DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile, LogFileError, ReadAhead, ReadError,
        Unreadable,
    },
    record::Record,
    rules::{Matched, Rule, RuleSet, Suppressed},
    severity::Severity,
};

/// Maximum number of unreadable records per file that are reported with a reason. The others are only counted.
const MAX_UNREADABLE: usize = 20;

/// A record and the rules that it matches. It matches at least one, whose match can be suppressed by a filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The record.
    pub record: Record,
    /// The matched rules, most severe first. Empty: filters suppress all matches.
    pub rules: Vec<Arc<Rule>>,
    /// The matches that a filter suppresses.
    pub suppressed: Vec<Suppressed>,
    /// The time at which the record was matched. An alert says of a deadline whether it is over by then.
    pub now: Timestamp,
}

impl Finding {
    /// Matches a record against rules, with the filters that are in force at a time. `None`: no match.
    pub fn of(record: Record, rules: &RuleSet, now: Timestamp) -> Option<Finding> {
        let Matched { rules, suppressed } = rules.evaluate(&record, now);
        (!rules.is_empty() || !suppressed.is_empty()).then_some(Finding {
            record,
            rules,
            suppressed,
            now,
        })
    }

    /// Whether filters suppress all matches.
    pub fn is_suppressed(&self) -> bool {
        self.rules.is_empty()
    }

    /// The highest severity among the matched rules, which for a failed call is below their level
    /// ([`Rule::severity`]).
    pub fn severity(&self) -> Severity {
        let outcome = self.record.outcome();
        self.rules
            .iter()
            .map(|rule| rule.severity(outcome))
            .max()
            .unwrap_or(Severity::Informational)
    }
}

/// Counts of the records in one file: `records = evaluated + unreadable`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanCounts {
    /// Elements of `Records`.
    pub records: u64,
    /// Records that were evaluated, including skipped records, which no rule can match.
    pub evaluated: u64,
    /// Elements that are not a record, or too large.
    pub unreadable: u64,
    /// Records that match a rule, including suppressed matches.
    pub matched: u64,
}

/// The scan of one log file.
pub struct Scan<'r> {
    log_file: LogFile<'r>,
    evaluator: Evaluator<'r>,
}

/// Evaluates records and counts them.
struct Evaluator<'r> {
    rules: &'r RuleSet,
    now: Timestamp,
    counts: ScanCounts,
    unreadable: Vec<Unreadable>,
}

impl<'r> Scan<'r> {
    /// Scans a file with the default size limit, and with the filters that are in force at a time.
    pub fn new(rules: &'r RuleSet, now: Timestamp) -> Scan<'r> {
        Scan::with_limit(rules, now, DEFAULT_MAX_UNCOMPRESSED)
    }

    /// Scans a file of at most `max_uncompressed` bytes after inflating.
    pub fn with_limit(rules: &'r RuleSet, now: Timestamp, max_uncompressed: u64) -> Scan<'r> {
        Scan {
            log_file: LogFile::with_prefilter(max_uncompressed, rules.prefilter()),
            evaluator: Evaluator::new(rules, now),
        }
    }

    /// Also accepts other forms than a log file: see [`LogFile::of_any_form`].
    #[must_use]
    pub fn of_any_form(mut self) -> Scan<'r> {
        self.log_file = self.log_file.of_any_form();
        self
    }

    /// Also computes the hash of the content: see [`LogFile::hashing`].
    #[must_use]
    pub fn hashing(mut self) -> Scan<'r> {
        self.log_file = self.log_file.hashing();
        self
    }

    /// The content of a file that was read to its end without an error, with [`Scan::hashing`].
    pub fn content(&self) -> Option<Content> {
        self.log_file.content()
    }

    /// Scans a file and parses every record, including those that no rule can match. Findings are the same; tests and
    /// benchmarks compare the two.
    pub fn without_skipping(rules: &'r RuleSet, now: Timestamp) -> Scan<'r> {
        Scan {
            log_file: LogFile::new(DEFAULT_MAX_UNCOMPRESSED),
            evaluator: Evaluator::new(rules, now),
        }
    }

    /// Scans the next bytes of the file. Findings go to `sink`, in file order.
    ///
    /// # Errors
    /// The rest of the file cannot be read. The findings before the error have gone to `sink`.
    pub fn push(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Finding),
    ) -> Result<(), LogFileError> {
        let evaluator = &mut self.evaluator;
        self.log_file
            .push(chunk, &mut |entry| evaluator.evaluate(entry, sink))
    }

    /// Scans a file that is read ahead, to its end or until `sink` returns [`ControlFlow::Break`].
    ///
    /// # Errors
    /// The rest of the file cannot be read. The findings before the error have gone to `sink`.
    pub fn read(
        &mut self,
        file: ReadAhead<'_>,
        sink: &mut impl FnMut(Finding) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let evaluator = &mut self.evaluator;
        let is_stopped = Cell::new(false);
        let mut on_finding = |finding| {
            if !is_stopped.get() && sink(finding).is_break() {
                is_stopped.set(true);
            }
        };
        self.log_file.read(
            file,
            &mut |entry| evaluator.evaluate(entry, &mut on_finding),
            &mut || !is_stopped.get(),
        )
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The file is incomplete or not a log file.
    pub fn finish(&mut self, sink: &mut impl FnMut(Finding)) -> Result<(), LogFileError> {
        let evaluator = &mut self.evaluator;
        self.log_file
            .finish(&mut |entry| evaluator.evaluate(entry, sink))
    }

    /// The counts so far. Skipped records count as evaluated, because no rule can match them.
    pub fn counts(&self) -> ScanCounts {
        let skipped = self.log_file.skipped_records();
        let mut counts = self.evaluator.counts.clone();
        counts.records += skipped;
        counts.evaluated += skipped;
        counts
    }

    /// The first unreadable records, with reasons.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.evaluator.unreadable
    }

    /// The numbers of compressed and uncompressed bytes so far.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.log_file.compressed_bytes(),
            self.log_file.uncompressed_bytes(),
        )
    }
}

impl<'r> Evaluator<'r> {
    fn new(rules: &'r RuleSet, now: Timestamp) -> Evaluator<'r> {
        Evaluator {
            rules,
            now,
            counts: ScanCounts::default(),
            unreadable: Vec::new(),
        }
    }

    fn evaluate(&mut self, entry: Entry, sink: &mut impl FnMut(Finding)) {
        self.counts.records += 1;
        match entry {
            Ok(record) => {
                self.counts.evaluated += 1;
                if let Some(finding) = Finding::of(record, self.rules, self.now) {
                    self.counts.matched += 1;
                    sink(finding);
                }
            }
            Err(unreadable) => {
                self.counts.unreadable += 1;
                if self.unreadable.len() < MAX_UNREADABLE {
                    self.unreadable.push(unreadable);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
