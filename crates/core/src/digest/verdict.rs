//! What an audit says about one chain.

use jiff::{SignedDuration, Timestamp};

use super::{
    chain::{HOUR, later},
    finding::{Finding, Findings, Problem, Stop, Weight},
    key::{Chain, log_file_time},
};

/// How many hours of a gap are listed one by one.
const MAX_HOURS: usize = 1000;
/// The name of a log file has the minute of its delivery. One that was named so shortly before the end of the newest
/// digest file can still be listed by the next one.
const DELIVERY: SignedDuration = SignedDuration::from_mins(5);

/// A period of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// A period that is not proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The period.
    pub interval: Interval,
    /// Why.
    pub reason: GapReason,
    /// The number of its hours, the last of which may be shorter.
    pub count: u64,
}

/// Why a period is not proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Digest files are missing.
    DigestsMissing,
    /// Digest files are due and did not come.
    DigestsSilent,
    /// Logging was stopped and started again, with the call, if it was seen.
    LoggingStopped(Option<Stop>),
    /// The chain had not begun.
    NotBegun,
    /// The digest file was altered, replaced or not read: what was delivered is not known.
    DigestNotProved,
    /// The digest file was read, and its signature could not be verified.
    DigestNotVerified,
    /// Log files that the digest file lists are not proved.
    LogFiles,
}

impl GapReason {
    /// A stable name.
    pub fn as_str(&self) -> &'static str {
        match self {
            GapReason::DigestsMissing => "digest-missing",
            GapReason::DigestsSilent => "digest-silent",
            GapReason::LoggingStopped(_) => "logging-stopped",
            GapReason::NotBegun => "not-begun",
            GapReason::DigestNotProved => "digest-not-proved",
            GapReason::DigestNotVerified => "digest-not-verified",
            GapReason::LogFiles => "log-files",
        }
    }

    /// The reason in words.
    pub fn describe(&self) -> &'static str {
        match self {
            GapReason::DigestsMissing => "digest files are missing",
            GapReason::DigestsSilent => "no digest files, although they are due",
            GapReason::LoggingStopped(_) => "logging was stopped, or digest files were deleted",
            GapReason::NotBegun => "the chain had not begun",
            GapReason::DigestNotProved => "the digest file was altered, replaced or not read",
            GapReason::DigestNotVerified => "the digest file could not be verified",
            GapReason::LogFiles => "log files are not proved",
        }
    }

    /// Whether no digest file lists what was delivered in the gap.
    fn is_without_digest(&self) -> bool {
        matches!(
            self,
            GapReason::DigestsMissing | GapReason::DigestsSilent | GapReason::LoggingStopped(_)
        )
    }
}

impl Gap {
    /// A gap.
    pub fn new(interval: Interval, reason: GapReason) -> Gap {
        let seconds = interval.to.duration_since(interval.from).as_secs();
        let count = u64::try_from(seconds).unwrap_or(0).div_ceil(3600);
        Gap {
            interval,
            reason,
            count,
        }
    }

    /// Its hours, the first thousand of them.
    pub fn hours(&self) -> Vec<Interval> {
        let mut hours = Vec::new();
        let mut from = self.interval.from;
        while from < self.interval.to && hours.len() < MAX_HOURS {
            let to = later(from, HOUR).min(self.interval.to);
            hours.push(Interval { from, to });
            from = to;
        }
        hours
    }
}

/// Counts of digest files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestCounts {
    /// Those that were found in the period.
    pub found: u64,
    /// Those that are authentic, in their place, and the ones that their successors name.
    pub proved: u64,
    /// Those that are missing.
    pub missing: u64,
}

/// Counts of log files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Those that digest files list.
    pub listed: u64,
    /// Those whose content is the one that a proved digest file lists.
    pub proved: u64,
    /// Those whose content is the listed one, but the digest file is not proved.
    pub same_unproved: u64,
    /// Those that were not read.
    pub not_checked: u64,
    /// Those that no digest file lists.
    pub unlisted: u64,
    /// Those that were delivered after the newest digest file: the next one will list them.
    pub pending: u64,
}

/// The verdict on a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The chain.
    pub chain: Chain,
    /// The start of the first digest file in the period.
    pub begin: Option<Timestamp>,
    /// The end of the newest one.
    pub end: Option<Timestamp>,
    /// The periods that are proved, in order.
    pub proved: Vec<Interval>,
    /// The periods that are not, in order.
    pub gaps: Vec<Gap>,
    /// Digest files.
    pub digests: DigestCounts,
    /// Log files.
    pub files: FileCounts,
    /// What was found.
    pub findings: Findings,
}

impl Verdict {
    pub(super) fn new(chain: Chain) -> Verdict {
        Verdict {
            chain,
            begin: None,
            end: None,
            proved: Vec::new(),
            gaps: Vec::new(),
            digests: DigestCounts::default(),
            files: FileCounts::default(),
            findings: Findings::default(),
        }
    }

    /// Whether the chain is proved, as far as it reaches: there is something, nothing is wrong, and everything was
    /// checked.
    pub fn is_proved(&self) -> bool {
        !self.proved.is_empty()
            && self.findings.of_weight(Weight::Wrong) == 0
            && self.findings.of_weight(Weight::NotChecked) == 0
    }

    /// Whether something is wrong.
    pub fn is_wrong(&self) -> bool {
        self.findings.of_weight(Weight::Wrong) > 0
    }

    pub(super) fn prove(&mut self, interval: Interval) {
        match self.proved.last_mut() {
            Some(last) if last.to == interval.from => last.to = interval.to,
            _ => self.proved.push(interval),
        }
    }

    /// Adds a gap. One that continues the last for the same reason extends it.
    pub(super) fn add_gap(&mut self, gap: Gap) {
        match self.gaps.last_mut() {
            Some(last) if last.interval.to == gap.interval.from && last.reason == gap.reason => {
                last.interval.to = gap.interval.to;
                last.count += gap.count;
            }
            _ => self.gaps.push(gap),
        }
    }

    /// Whether the chain covers a time, with its gaps, so that a log file that was delivered then must be listed. Where the
    /// list itself was altered, nothing is known of a log file. `None`: not yet.
    pub fn must_list(&self, key: &str) -> Option<bool> {
        let (Some(begin), Some(end)) = (self.begin, self.end) else {
            return Some(false);
        };
        let last_gap = self
            .gaps
            .last()
            .filter(|gap| gap.reason == GapReason::DigestsSilent);
        let end = last_gap.map_or(end, |gap| gap.interval.to.max(end));
        let first_gap = self
            .gaps
            .first()
            .filter(|gap| gap.reason.is_without_digest());
        let begin = first_gap.map_or(begin, |gap| gap.interval.from.min(begin));
        match log_file_time(key) {
            Some(time) if time < begin => Some(false),
            Some(time) if later(time, DELIVERY) > end => None,
            Some(time) if self.is_unknown(time) => Some(false),
            // A name without a time is not CloudTrail's.
            Some(_) | None => Some(true),
        }
    }

    /// Whether the digest file of a time does not say what was delivered.
    fn is_unknown(&self, time: Timestamp) -> bool {
        self.gaps.iter().any(|gap| {
            gap.reason == GapReason::DigestNotProved
                && gap.interval.from <= time
                && time < gap.interval.to
        })
    }

    /// Notes a log file that no digest file lists. Call [`Verdict::sort`] after the last one.
    pub fn add_unlisted(&mut self, key: &str) {
        let time = log_file_time(key);
        let in_gap = time.is_some_and(|time| {
            self.gaps.iter().any(|gap| {
                gap.reason.is_without_digest()
                    && gap.interval.from <= time
                    && time < gap.interval.to
            })
        });
        self.files.unlisted += 1;
        self.findings.add(Finding {
            problem: Problem::Unlisted { in_gap },
            object: Some((self.chain.bucket.clone(), key.to_owned())),
            time,
        });
    }

    /// Sorts the findings.
    pub fn sort(&mut self) {
        self.findings.sort();
    }
}
