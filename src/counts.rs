//! Counts of one invocation: what was read, what matched, and what became of each match.

use std::collections::BTreeMap;

use cloudhsm_alerts_core::rules::Suppressed;
use serde::Serialize;
use serde_json::Value;

/// The counts, as the reply and the log show them.
///
/// Two sums always hold: `records = evaluated + unreadable`, and
/// `matched = published + summarized + grouped + suppressed + below_min_severity + duplicates + failed +
/// only_counted`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Log files read, whole or in part.
    pub objects: u64,
    /// Objects and messages without records of management calls, by what they are.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Elements of `Records`.
    pub records: u64,
    /// Records that the rules were applied to.
    pub evaluated: u64,
    /// Elements that are not records, or too large.
    pub unreadable: u64,
    /// Records that matched a rule.
    pub matched: u64,
    /// Records in messages, which were refused: anyone who may send messages can have written them.
    #[serde(skip_serializing_if = "is_zero")]
    pub untrusted: u64,
    /// Calls that were alerted one by one.
    pub published: u64,
    /// Calls that are in a summary.
    pub summarized: u64,
    /// Repetitions of another call, counted in its alert.
    #[serde(skip_serializing_if = "is_zero")]
    pub grouped: u64,
    /// Calls that filters suppressed for every rule that they matched.
    pub suppressed: u64,
    /// Matches that filters suppressed, by rule, then by filter. Calls that were alerted because of another rule
    /// count, too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub suppressed_by: BTreeMap<String, BTreeMap<String, u64>>,
    /// Calls below `MIN_SEVERITY`.
    pub below_min_severity: u64,
    /// Calls that had been alerted before.
    pub duplicates: u64,
    /// Calls whose alert or page could not be published. Each fails the units that named its log file.
    pub failed: u64,
    /// Calls with the event ID of another call, as far as this instance knows. Each is alerted: a forged record must
    /// not hide a real one.
    #[serde(skip_serializing_if = "is_zero")]
    pub event_ids_reused: u64,
    /// Failed attempts to load changed rules.
    #[serde(skip_serializing_if = "is_zero")]
    pub rule_load_errors: u64,
    /// Failed attempts to load changed account names.
    #[serde(skip_serializing_if = "is_zero")]
    pub account_name_errors: u64,
    /// Calls that a backfill only counted: in a dry run, or because the job had sent all its messages.
    #[serde(skip_serializing_if = "is_zero")]
    pub only_counted: u64,
    /// Failed requests to the ledger's table. Alerts are published all the same; some calls may be alerted again.
    #[serde(skip_serializing_if = "is_zero")]
    pub ledger_errors: u64,
    /// Digest files that were checked.
    #[serde(skip_serializing_if = "is_zero")]
    pub digests: u64,
    /// Log files whose content is the one that an authentic digest file lists.
    #[serde(skip_serializing_if = "is_zero")]
    pub proved: u64,
    /// Log files that a digest file lists and that were read because of it. Their records and calls count as usual.
    #[serde(skip_serializing_if = "is_zero")]
    pub caught_up: u64,
    /// Digest files whose signature could not be verified, because the public keys are not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_verified: u64,
    /// Log files in such digest files, and those that lie elsewhere: nothing is known of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_checked: u64,
    /// Findings about log files and digest files that were published, on the alert topic.
    #[serde(skip_serializing_if = "is_zero")]
    pub trail_findings: u64,
    /// Deadlines that calls opened, and those that calls closed, as written to the watch table. What was known already
    /// counts, too.
    #[serde(skip_serializing_if = "is_zero")]
    pub deadlines_opened: u64,
    /// See `deadlines_opened`.
    #[serde(skip_serializing_if = "is_zero")]
    pub deadlines_closed: u64,
    /// Deadlines that are open, as a tick found them.
    #[serde(skip_serializing_if = "is_zero")]
    pub deadlines_open: u64,
    /// Deadlines that reminders were published about, on the alert topic.
    #[serde(skip_serializing_if = "is_zero")]
    pub reminders: u64,
    /// Failed requests to the watch table. Alerts are published all the same, and a retry writes what is missing.
    #[serde(skip_serializing_if = "is_zero")]
    pub watch_errors: u64,
    /// Items of the watch table that this version cannot read. They are left as they are.
    #[serde(skip_serializing_if = "is_zero")]
    pub foreign_items: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Whether both sums hold.
    pub fn sums_hold(&self) -> bool {
        let endings = [
            self.published,
            self.summarized,
            self.grouped,
            self.suppressed,
            self.below_min_severity,
            self.duplicates,
            self.failed,
            self.only_counted,
        ];
        self.records == self.evaluated + self.unreadable
            && self.matched == endings.iter().sum::<u64>()
    }

    /// The counts that are not 0.
    pub fn without_zeros(&self) -> Value {
        // The counts have a JSON form; without one, the line would have no counts.
        let mut counts = serde_json::to_value(self).unwrap_or_default();
        if let Some(members) = counts.as_object_mut() {
            members
                .retain(|_, value| *value != 0 && value.as_object().is_none_or(|m| !m.is_empty()));
        }
        counts
    }

    /// Errors inside the function, which fail nothing or not the invocation alone: the metric `InternalErrors`.
    pub fn internal_errors(&self) -> u64 {
        self.unreadable
            + self.rule_load_errors
            + self.account_name_errors
            + self.ledger_errors
            + self.watch_errors
            + self.foreign_items
            + u64::from(!self.sums_hold())
    }

    /// Counts what filters suppressed of one call.
    pub fn add_suppressed(&mut self, suppressed: &[Suppressed]) {
        for Suppressed { rule, filter } in suppressed {
            *self
                .suppressed_by
                .entry(rule.name.clone())
                .or_default()
                .entry(filter.name.clone())
                .or_default() += 1;
        }
    }
}
