//! The totals of a scan, printed to standard error at its end.

use std::collections::BTreeMap;

use cloudhsm_alerts_core::{severity::Severity, text::one_line};
use indicatif::HumanBytes;

use crate::{filter::FilteredOut, terminal::counted};

/// Counts of files, records and matches. Each match is an alert, filtered out, below the minimum severity, a
/// duplicate, or suppressed.
#[derive(Default)]
pub(super) struct Totals {
    pub files: u64,
    /// Uncompressed size.
    pub bytes: u64,
    pub records: u64,
    pub unreadable: u64,
    pub matched: u64,
    pub alerts: u64,
    /// Calls that the options do not ask for.
    pub filtered_out: FilteredOut,
    pub below_min_severity: u64,
    pub duplicates: u64,
    /// Calls whose every match was suppressed.
    pub suppressed: u64,
    /// Suppressed matches by the names of rule and filter. A call can match several rules.
    pub suppressed_by: BTreeMap<(String, String), u64>,
    /// Skipped files by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    pub errors: u64,
}

impl Totals {
    /// Prints and counts an error.
    pub fn error(&mut self, message: &str) {
        self.errors += 1;
        eprintln!("error: {message}");
    }

    /// Counts a skipped file.
    pub fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    /// Adds the counts of a file.
    pub fn add(&mut self, file: Totals) {
        self.files += file.files;
        self.bytes += file.bytes;
        self.records += file.records;
        self.unreadable += file.unreadable;
        self.matched += file.matched;
        self.alerts += file.alerts;
        self.filtered_out.add(file.filtered_out);
        self.below_min_severity += file.below_min_severity;
        self.duplicates += file.duplicates;
        self.suppressed += file.suppressed;
        self.errors += file.errors;
        for (names, count) in file.suppressed_by {
            *self.suppressed_by.entry(names).or_default() += count;
        }
        for (reason, count) in file.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
    }

    pub fn print(&self, min_severity: Severity) {
        let mut line = format!(
            "{}, {} of JSON, {}: {} matched; {}",
            counted(self.files, "file"),
            HumanBytes(self.bytes),
            counted(self.records, "record"),
            counted(self.matched, "call"),
            counted(self.alerts, "alert")
        );
        for (count, what) in [
            (self.filtered_out.total(), self.filtered_out.describe()),
            (
                self.below_min_severity,
                format!(
                    "{} below --min-severity {min_severity}",
                    self.below_min_severity
                ),
            ),
            (self.duplicates, counted(self.duplicates, "duplicate")),
            (
                self.suppressed,
                format!("{} suppressed by filters", self.suppressed),
            ),
            (
                self.unreadable,
                counted(self.unreadable, "unreadable record"),
            ),
            (
                self.errors,
                format!("{}, shown above", counted(self.errors, "error")),
            ),
        ] {
            if count > 0 {
                line.push_str(&format!("; {what}"));
            }
        }
        eprintln!("{line}");
        for ((rule, filter), count) in &self.suppressed_by {
            eprintln!(
                "suppressed: {} of {} by filter {}",
                counted(*count, "match"),
                one_line(rule, 100),
                one_line(filter, 100)
            );
        }
        for (reason, count) in &self.skipped {
            eprintln!("skipped: {}, {reason}", counted(*count, "file"));
        }
    }
}
