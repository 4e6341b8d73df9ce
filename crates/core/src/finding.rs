//! Findings: records that meet rules. Bytes of a log file in, findings out.
//!
//! [`Scan`] is the whole core in one place: inflate, split, match. It is synchronous and pure, with
//! no clock, no environment and no network, so that the function, the command line and the tests are thin
//! shells around the same thing.

use std::{cell::Cell, ops::ControlFlow, sync::Arc};

use jiff::civil::Date;

use crate::{
    log_file::{
        Ahead, DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile, LogFileError, ReadError, Unreadable,
    },
    record::Record,
    rules::{Matched, Rule, RuleSet, Suppressed},
    severity::Severity,
};

/// How many unreadable records of one file are kept with their reasons; the rest is only counted.
const UNREADABLE_KEPT: usize = 20;

/// A record and the rules it meets, at least one of them, be it one that a filter keeps it back from.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The record.
    pub record: Record,
    /// The rules it meets, most severe first. Empty: filters keep it back from all.
    pub rules: Vec<Arc<Rule>>,
    /// The rules it meets from which a filter keeps it back.
    pub filtered: Vec<Suppressed>,
}

impl Finding {
    /// The finding in this record, if it meets any rule; with the filters in force on a day (in UTC).
    pub fn of(record: Record, rules: &RuleSet, today: Date) -> Option<Finding> {
        let Matched {
            rules,
            suppressed: filtered,
        } = rules.evaluate(&record, today);
        (!rules.is_empty() || !filtered.is_empty()).then_some(Finding {
            record,
            rules,
            filtered,
        })
    }

    /// Whether filters keep the record back from every rule it meets.
    pub fn is_filtered(&self) -> bool {
        self.rules.is_empty()
    }

    /// The highest level among the rules.
    pub fn severity(&self) -> Severity {
        self.rules
            .iter()
            .map(|rule| rule.level)
            .max()
            .unwrap_or(Severity::Informational)
    }
}

/// What became of the records of one source: `records = evaluated + unreadable`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Elements of `Records`.
    pub records: u64,
    /// Records that the rules looked at, or that are of calls which no rule can meet.
    pub evaluated: u64,
    /// Elements that are no record, or too large.
    pub unreadable: u64,
    /// Records that met a rule, those included that filters keep back.
    pub matched: u64,
}

/// One log file on its way through the core.
pub struct Scan<'r> {
    log_file: LogFile<'r>,
    tally: Tally<'r>,
}

struct Tally<'r> {
    rules: &'r RuleSet,
    today: Date,
    counts: Counts,
    unreadable: Vec<Unreadable>,
}

impl<'r> Scan<'r> {
    /// A scan of one file with the default cap on its uncompressed size, and the filters in force on a day
    /// (in UTC).
    pub fn new(rules: &'r RuleSet, today: Date) -> Scan<'r> {
        Scan::with_limit(rules, today, DEFAULT_MAX_UNCOMPRESSED)
    }

    /// A scan of one file of at most `max_uncompressed` bytes once inflated.
    pub fn with_limit(rules: &'r RuleSet, today: Date, max_uncompressed: u64) -> Scan<'r> {
        Scan {
            log_file: LogFile::of_relevant(max_uncompressed, rules.prefilter()),
            tally: Tally::new(rules, today),
        }
    }

    /// A scan that parses every record, also those that no rule can meet. It finds the same and takes
    /// longer: tests and benches hold the two against each other.
    pub fn of_every_record(rules: &'r RuleSet, today: Date) -> Scan<'r> {
        Scan {
            log_file: LogFile::new(DEFAULT_MAX_UNCOMPRESSED),
            tally: Tally::new(rules, today),
        }
    }

    /// Takes the next bytes of the file; each finding in them goes to `sink`, in file order.
    ///
    /// # Errors
    /// What costs the rest of the file; the findings before it have gone to `sink`.
    pub fn push(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(Finding),
    ) -> Result<(), LogFileError> {
        let tally = &mut self.tally;
        self.log_file
            .push(chunk, &mut |entry| tally.take(entry, sink))
    }

    /// Takes a file that another thread inflates, to its end. Each finding goes to `sink`, which may want no
    /// more.
    ///
    /// # Errors
    /// What costs the rest of the file; the findings before it have gone to `sink`.
    pub fn read(
        &mut self,
        file: Ahead<'_>,
        sink: &mut impl FnMut(Finding) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let tally = &mut self.tally;
        let enough = Cell::new(false);
        let mut found = |finding| {
            if !enough.get() && sink(finding).is_break() {
                enough.set(true);
            }
        };
        self.log_file.read(
            file,
            &mut |entry| tally.take(entry, &mut found),
            &mut || !enough.get(),
        )
    }

    /// The file has ended.
    ///
    /// # Errors
    /// The file is not complete, or is no log file.
    pub fn finish(&mut self, sink: &mut impl FnMut(Finding)) -> Result<(), LogFileError> {
        let tally = &mut self.tally;
        self.log_file.finish(&mut |entry| tally.take(entry, sink))
    }

    /// Counts so far. Records that no rule can meet count as looked at.
    pub fn counts(&self) -> Counts {
        let skipped = self.log_file.skipped_records();
        let mut counts = self.tally.counts.clone();
        counts.records += skipped;
        counts.evaluated += skipped;
        counts
    }

    /// The first unreadable records, with their reasons.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.tally.unreadable
    }

    /// Bytes as stored, and bytes of JSON, so far.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.log_file.compressed_bytes(),
            self.log_file.uncompressed_bytes(),
        )
    }
}

impl<'r> Tally<'r> {
    fn new(rules: &'r RuleSet, today: Date) -> Tally<'r> {
        Tally {
            rules,
            today,
            counts: Counts::default(),
            unreadable: Vec::new(),
        }
    }

    fn take(&mut self, entry: Entry, sink: &mut impl FnMut(Finding)) {
        self.counts.records += 1;
        match entry {
            Ok(record) => {
                self.counts.evaluated += 1;
                if let Some(finding) = Finding::of(record, self.rules, self.today) {
                    self.counts.matched += 1;
                    sink(finding);
                }
            }
            Err(unreadable) => {
                self.counts.unreadable += 1;
                if self.unreadable.len() < UNREADABLE_KEPT {
                    self.unreadable.push(unreadable);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
