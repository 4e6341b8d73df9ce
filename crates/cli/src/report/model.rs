//! The contents of a report, the same for the page and for JSON.

use std::collections::BTreeMap;

use cloudhsm_alerts_core::{record::Outcome, severity::Severity, text::one_line};
use jiff::Timestamp;
use serde::Serialize;

use crate::as_of::AsOf;

use super::{
    actors::{self, Actor},
    audit::AuditResult,
    call::Call,
    collect::{Class, Collected, MAX_CALLS},
    coverage::Coverage,
    deadlines::{self, Deadline},
    lineage::{self, Lineage},
    spill::{Place, SpillReader},
};

/// What was read, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Read {
    pub files: u64,
    pub compressed_bytes: u64,
    pub bytes: u64,
    pub records: u64,
    pub unreadable_records: u64,
    /// Records that match a rule: the sum of the following.
    pub matched: u64,
    pub listed: u64,
    /// Calls above the limit of a report.
    pub not_listed: u64,
    pub below_min_severity: u64,
    pub min_severity: &'static str,
    pub suppressed: u64,
    pub filtered_out: u64,
    pub duplicates: u64,
    pub skipped_files: BTreeMap<&'static str, u64>,
    pub errors: Vec<String>,
    pub errors_not_shown: u64,
    #[serde(serialize_with = "super::format::json_optional")]
    pub first_call: Option<Timestamp>,
    #[serde(serialize_with = "super::format::json_optional")]
    pub last_call: Option<Timestamp>,
    pub log_files: Coverage,
    /// The options that chose the listed calls.
    pub filters: Vec<String>,
    /// Whether there were too many calls for deadlines and lineage to be complete.
    pub is_lineage_incomplete: bool,
}

impl Read {
    /// The number of errors, shown or not.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.len() as u64 + self.errors_not_shown
    }
}

/// All of a report but the e-mails and records.
pub(super) struct Report {
    pub read: Read,
    pub deadlines: Vec<Deadline>,
    pub lineage: Lineage,
    pub actors: Vec<Actor>,
    pub calls: Vec<Call>,
    pub places: Vec<Place>,
    pub spill: SpillReader,
    /// The cluster of each backup that is known.
    pub clusters: BTreeMap<String, String>,
    pub as_of: AsOf,
    /// What an audit of the digest files said, if its result was given.
    pub audit: Option<AuditResult>,
}

impl Report {
    pub(super) fn new(
        collected: Collected,
        as_of: AsOf,
        min_severity: Severity,
        filters: Vec<String>,
    ) -> Report {
        let Collected {
            listed,
            below,
            facts,
            are_facts_left_out,
            counts,
            calls: classes,
            errors,
            deliveries,
            spill,
        } = collected;
        let of = |class| classes.get(&class).copied().unwrap_or_default();
        let (calls, places): (Vec<(u128, Call)>, Vec<Place>) = listed
            .into_iter()
            .map(|(id, call, place)| ((id, call), place))
            .unzip();
        let numbers = calls
            .iter()
            .zip(1..)
            .map(|((id, _), number)| (*id, number))
            .collect();
        let calls: Vec<Call> = calls.into_iter().map(|(_, call)| call).collect();
        let actors = actors::of(calls.iter(), below.iter());
        let times = || calls.iter().filter_map(|call| call.time);
        let (first_call, last_call) = (times().min(), times().max());
        let listed = calls.len() as u64;
        let different: u64 = classes.values().sum();
        Report {
            read: Read {
                files: counts.files,
                compressed_bytes: counts.compressed,
                bytes: counts.bytes,
                records: counts.records,
                unreadable_records: counts.unreadable,
                matched: counts.matched,
                listed,
                not_listed: of(Class::Listed).saturating_sub(listed),
                below_min_severity: of(Class::BelowMinSeverity),
                min_severity: min_severity.as_str(),
                suppressed: of(Class::Suppressed),
                filtered_out: of(Class::FilteredOut),
                duplicates: counts.matched.saturating_sub(different),
                skipped_files: counts.skipped,
                errors_not_shown: counts.errors.saturating_sub(errors.len() as u64),
                errors: errors
                    .into_iter()
                    .map(|error| one_line(&error, 2000))
                    .collect(),
                first_call,
                last_call,
                log_files: deliveries.coverage(),
                filters,
                is_lineage_incomplete: are_facts_left_out || below.len() >= MAX_CALLS,
            },
            deadlines: deadlines::of(&facts, as_of, &numbers),
            lineage: lineage::of(&facts, as_of),
            clusters: lineage::clusters_of_backups(&facts),
            actors,
            calls,
            places,
            spill,
            as_of,
            audit: None,
        }
    }

    /// How many listed calls have this severity.
    pub(super) fn with_severity(&self, severity: Severity) -> usize {
        self.calls
            .iter()
            .filter(|call| call.severity == severity)
            .count()
    }

    pub(super) fn with_outcome(&self, outcome: Outcome) -> usize {
        self.calls
            .iter()
            .filter(|call| call.outcome == outcome)
            .count()
    }

    pub(super) fn open_deadlines(&self) -> impl Iterator<Item = &Deadline> {
        self.deadlines.iter().filter(|deadline| deadline.is_open())
    }
}

/// The e-mail and the record of a call.
pub(super) struct Text {
    pub subject: String,
    pub email: String,
    pub record: serde_json::Value,
}

impl Report {
    /// The text of a listed call.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(super) fn text(&mut self, position: usize) -> std::io::Result<Text> {
        let place = self
            .places
            .get(position)
            .ok_or_else(|| std::io::Error::other("a call has no text"))?;
        let bytes = self.spill.read(*place)?;
        let (subject, email, record) = serde_json::from_slice(&bytes)?;
        Ok(Text {
            subject,
            email,
            record,
        })
    }
}
