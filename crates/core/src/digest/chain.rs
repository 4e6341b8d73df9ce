//! The verdict on a chain: what is proved, where the gaps are, and what was found.
//!
//! A digest file is proved if its signature is CloudTrail's, it lies where it says, the next one names this very content
//! and signature, and every log file that it lists has the content that was delivered. The period of a chain is proved
//! where proved digest files follow each other without a gap.
//!
//! A gap is explained by its ends. A starting digest file after it means that logging was stopped; whether the digest
//! files before the stop were deleted cannot be seen, so nothing is proved there. Any other gap means that digest files
//! are missing. At the newest end, where no later one tells, the schedule does: one an hour.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::{
    document::{Document, DocumentError, ListedFile, Previous},
    file_state::FileState,
    finding::{Finding, Problem, Stop, Weight},
    key::{Chain, DigestKey},
    place::Placement,
    signature::{Keys, SignatureError, Signed},
    verdict::{Gap, GapReason, Interval, Verdict},
};
use crate::log_file::Sha256;

/// The period of a digest file.
pub const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How long after its end a digest file may arrive.
pub const GRACE: SignedDuration = SignedDuration::from_hours(2);

/// A digest file of a chain, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Its place.
    pub key: DigestKey,
    /// What was read.
    pub outcome: Outcome,
}

/// What was read of a digest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read.
    Read(Box<ReadDigest>),
    /// It was read, and is not a digest file.
    Broken(DocumentError),
    /// It was not read, and why.
    NotRead(String),
}

/// What the verdict needs of a digest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadDigest {
    interval: Interval,
    sha256: Sha256,
    signed: Signed,
    /// As its metadata has it. `None`: a copy without metadata.
    signature: Option<Result<String, SignatureError>>,
    previous: Option<Previous>,
    placement: Placement,
    is_compressed: bool,
    other_account: Option<String>,
    files: Files,
}

/// The log files of a digest file, counted by state. Only those that are not proved are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    listed: u64,
    proved: u64,
    not_checked: u64,
    /// Those with a finding, by bucket and key.
    found: Vec<(String, String, FileState)>,
}

impl ReadDigest {
    /// What is needed of a document that was found at a place.
    pub fn new(
        found: &DigestKey,
        document: &Document,
        signature: Option<Result<String, SignatureError>>,
    ) -> ReadDigest {
        let digest = &document.digest;
        ReadDigest {
            interval: Interval {
                from: digest.start,
                to: digest.end,
            },
            sha256: document.sha256,
            signed: Signed::of(document),
            signature,
            previous: digest.previous.clone(),
            placement: Placement::of(found, digest),
            is_compressed: document.is_compressed,
            other_account: (digest.account != found.chain.account).then(|| digest.account.clone()),
            files: Files::default(),
        }
    }

    /// The fingerprint of the key that it names.
    pub fn fingerprint(&self) -> &str {
        self.signed.fingerprint()
    }

    /// Whether its own signature is verified: it may be trusted before its successor is read.
    pub fn is_authentic(&self, keys: &Keys) -> bool {
        let signature = self.signature.as_ref().and_then(|own| own.as_ref().ok());
        signature.is_some_and(|signature| self.signed.verify(signature, keys).is_ok())
    }

    /// Where it says it is.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Notes what became of a log file that it lists.
    pub fn add_file(&mut self, file: &ListedFile, state: FileState) {
        let files = &mut self.files;
        files.listed += 1;
        files.proved += u64::from(state.is_proved());
        files.not_checked += u64::from(matches!(state, FileState::NotChecked(_)));
        if state != FileState::Same {
            files
                .found
                .push((file.bucket.clone(), file.key.clone(), state));
        }
    }
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The beginning. `None`: that of the chain.
    pub from: Option<Timestamp>,
    /// The end. `None`: now.
    pub to: Option<Timestamp>,
    /// The time at which the bucket was listed.
    pub now: Timestamp,
}

impl Period {
    fn overlaps(&self, interval: &Interval) -> bool {
        self.from.is_none_or(|from| interval.to > from)
            && self.to.is_none_or(|to| interval.from < to)
    }

    /// The part of an interval that is asked for.
    fn clip(&self, interval: &Interval) -> Interval {
        Interval {
            from: self
                .from
                .map_or(interval.from, |from| from.max(interval.from)),
            to: self.to.map_or(interval.to, |to| to.min(interval.to)),
        }
    }
}

/// The verdict on a chain, from its digest files. Those that precede the period are only compared with what follows them.
pub fn judge(
    chain: Chain,
    digests: &mut [Examined],
    keys: &Keys,
    period: &Period,
    stops: &[Stop],
) -> Verdict {
    digests.sort_by_key(|digest| digest.key.end);
    let digests = &*digests;
    let mut judge = Judge {
        intervals: intervals(digests),
        is_proved: vec![true; digests.len()],
        is_wrong: vec![false; digests.len()],
        index: digests
            .iter()
            .enumerate()
            .map(|(at, digest)| (digest.key.key(), at))
            .collect(),
        digests,
        keys,
        period,
        stops,
        verdict: Verdict::new(chain),
    };
    judge.signatures();
    judge.links();
    judge.contents();
    judge.continuity();
    judge.verdict.findings.sort();
    judge.verdict
}

/// The period of each digest file. Of one that is not read, it is assumed.
fn intervals(digests: &[Examined]) -> Vec<Interval> {
    let mut end: Option<Timestamp> = None;
    digests
        .iter()
        .map(|digest| {
            let interval = match &digest.outcome {
                Outcome::Read(read) if matches!(read.placement, Placement::Elsewhere(_)) => None,
                Outcome::Read(read) => Some(read.interval),
                _ => None,
            };
            let interval = interval.unwrap_or_else(|| {
                let hour_before = earlier(digest.key.end, HOUR);
                Interval {
                    from: end.map_or(hour_before, |end| end.max(hour_before).min(digest.key.end)),
                    to: digest.key.end,
                }
            });
            end = Some(interval.to);
            interval
        })
        .collect()
}

/// A time before another one, or the earliest that there is.
fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// A time after another one, or the latest that there is.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

struct Judge<'d> {
    digests: &'d [Examined],
    intervals: Vec<Interval>,
    is_proved: Vec<bool>,
    /// Those that are not authentic, or not in their place. What they say means nothing.
    is_wrong: Vec<bool>,
    /// Positions by key.
    index: HashMap<String, usize>,
    keys: &'d Keys,
    period: &'d Period,
    stops: &'d [Stop],
    verdict: Verdict,
}

/// What a digest file names as its previous one.
enum Link<'d> {
    /// Nothing: it starts a chain.
    Starts,
    /// One that was found, at this position.
    To(usize, &'d Previous),
    /// One that is not there: its key.
    Missing(String),
    /// One in another bucket.
    OtherBucket(String),
    /// It could not be read, or is not authentic.
    Unknown,
}

impl<'d> Judge<'d> {
    fn read(&self, at: usize) -> Option<&'d ReadDigest> {
        match &self.digests[at].outcome {
            Outcome::Read(read) => Some(read),
            _ => None,
        }
    }

    /// Whether a digest file belongs to the period, and is not only there to be compared with.
    fn is_in_period(&self, at: usize) -> bool {
        self.period.overlaps(&self.intervals[at])
    }

    fn add(&mut self, at: usize, problem: Problem) {
        let key = &self.digests[at].key;
        self.verdict.findings.add(Finding {
            problem,
            object: Some((key.chain.bucket.clone(), key.key())),
            time: Some(key.end),
        });
    }

    fn link(&self, at: usize) -> Link<'d> {
        let Some(read) = self.read(at).filter(|_| !self.is_wrong[at]) else {
            return Link::Unknown;
        };
        let Some(previous) = &read.previous else {
            return Link::Starts;
        };
        let chain = &self.verdict.chain;
        let (bucket, key) = read.placement.here(chain, &previous.bucket, &previous.key);
        if bucket != chain.bucket {
            return Link::OtherBucket(format!("s3://{bucket}/{key}"));
        }
        match self.index.get(&key) {
            Some(target) => Link::To(*target, previous),
            None => Link::Missing(key),
        }
    }

    /// Each digest file by itself: whether it could be read, is in its place, and is signed.
    fn signatures(&mut self) {
        let mut named: HashMap<usize, &Previous> = HashMap::new();
        for at in 0..self.digests.len() {
            if let Link::To(target, previous) = self.link(at) {
                named.insert(target, previous);
            }
        }
        let mut origins: BTreeMap<_, u64> = BTreeMap::new();
        let problems: Vec<_> = (0..self.digests.len())
            .map(|at| self.problems_of(at, named.get(&at).copied()))
            .collect();
        for (at, problems) in problems.into_iter().enumerate() {
            if let Some(Placement::Copied(origin)) = self.read(at).map(|read| &read.placement)
                && self.is_in_period(at)
            {
                *origins.entry(origin.clone()).or_default() += 1;
            }
            for (problem, is_proved) in problems {
                self.is_proved[at] &= is_proved;
                self.is_wrong[at] |= problem.weight() == Weight::Wrong;
                if self.is_in_period(at) {
                    self.add(at, problem);
                }
            }
        }
        for (origin, count) in origins {
            self.verdict.findings.add(Finding {
                problem: Problem::Copied(origin, count),
                object: None,
                time: None,
            });
        }
    }

    /// What is wrong with a digest file, and whether it is proved nevertheless.
    fn problems_of(&self, at: usize, named: Option<&Previous>) -> Vec<(Problem, bool)> {
        let digest = &self.digests[at];
        let read = match &digest.outcome {
            Outcome::Read(read) => read,
            Outcome::Broken(error) => {
                return vec![(Problem::DigestUnreadable(error.clone()), false)];
            }
            Outcome::NotRead(reason) => {
                return vec![(Problem::DigestNotRead(reason.clone()), false)];
            }
        };
        let mut problems = Vec::new();
        if let Placement::Elsewhere(said) = &read.placement {
            problems.push((Problem::DigestMisplaced(said.clone()), false));
        }
        let signature = match (&read.signature, named) {
            (Some(Ok(own)), _) => Some(read.signed.verify(own, self.keys)),
            (Some(Err(error)), _) => Some(Err(error.clone())),
            (None, Some(named)) => Some(read.signed.verify(&named.signature, self.keys)),
            (None, None) => None,
        };
        match signature {
            Some(Ok(())) => {}
            Some(Err(error)) => problems.push((Problem::Signature(error), false)),
            None => problems.push((Problem::NewestUnsigned, false)),
        }
        if !read.is_compressed {
            problems.push((Problem::DigestUncompressed, true));
        }
        if let Some(account) = &read.other_account {
            problems.push((Problem::OtherAccount(account.clone()), true));
        }
        if digest.key.end > self.period.now {
            problems.push((Problem::InFuture(digest.key.end), true));
        }
        problems
    }

    /// Compares each digest file with what the next one names. What one says that is not authentic means nothing.
    fn links(&mut self) {
        for at in 0..self.digests.len() {
            let Link::To(target, previous) = self.link(at) else {
                continue;
            };
            let Some(read) = self.read(target) else {
                continue;
            };
            // Once is enough.
            if self.is_wrong[target] {
                continue;
            }
            let own = read.signature.as_ref().and_then(|own| own.as_ref().ok());
            let hash = read.sha256 != previous.sha256;
            let signature = own.is_some_and(|own| !own.eq_ignore_ascii_case(&previous.signature));
            if hash || signature {
                self.is_proved[target] = false;
                self.is_wrong[target] = true;
                let named_by = self.digests[at].key.key();
                self.add(
                    target,
                    Problem::DigestReplaced {
                        named_by,
                        hash,
                        signature,
                    },
                );
            }
        }
    }

    /// The log files that the digest files list.
    fn contents(&mut self) {
        for at in 0..self.digests.len() {
            if !self.is_in_period(at) {
                continue;
            }
            self.verdict.digests.found += 1;
            let Some(read) = self.read(at) else { continue };
            let counts = &mut self.verdict.files;
            counts.listed += read.files.listed;
            counts.not_checked += read.files.not_checked;
            if self.is_proved[at] {
                counts.proved += read.files.proved;
            } else {
                counts.same_unproved += read.files.proved;
            }
            self.verdict.digests.proved += u64::from(self.is_proved[at]);
            for (bucket, key, state) in &read.files.found {
                self.verdict.findings.add(Finding {
                    problem: Problem::LogFile(state.clone()),
                    object: Some(read.placement.here(&self.verdict.chain, bucket, key)),
                    time: Some(read.interval.to),
                });
            }
        }
    }

    /// The sequence: what is proved, and the gaps between.
    fn continuity(&mut self) {
        let mut covered: Option<Timestamp> = None;
        for at in 0..self.digests.len() {
            let interval = self.intervals[at];
            if !self.is_in_period(at) {
                // The one before the period.
                if self.period.from.is_some_and(|from| interval.to <= from) {
                    covered = Some(interval.to);
                }
                continue;
            }
            match (self.verdict.chain.is_backfill, covered) {
                (true, _) => self.previous_of(at),
                (false, None) => self.begin(at),
                (false, Some(end)) => self.follow(at, end),
            }
            self.verdict.begin.get_or_insert(interval.from);
            covered = Some(covered.map_or(interval.to, |end| end.max(interval.to)));
            let clipped = self.period.clip(&interval);
            match self.reason_of(at) {
                None => self.verdict.prove(clipped),
                Some(reason) => self.verdict.add_gap(Gap::new(clipped, reason)),
            }
        }
        let Some(end) = covered else { return };
        // Without any in the period, those that are due are missing from its beginning.
        let end = self.period.from.map_or(end, |from| from.max(end));
        self.verdict.begin.get_or_insert(end);
        self.verdict.end = Some(end);
        if !self.verdict.chain.is_backfill {
            self.schedule(end);
        }
    }

    /// Why the period of a digest file is not proved.
    fn reason_of(&self, at: usize) -> Option<GapReason> {
        let Some(read) = self.read(at).filter(|_| !self.is_wrong[at]) else {
            return Some(GapReason::DigestNotProved);
        };
        if !self.is_proved[at] {
            return Some(GapReason::DigestNotVerified);
        }
        (read.files.proved != read.files.listed).then_some(GapReason::LogFiles)
    }

    /// The first digest file of the period, if none precedes it.
    fn begin(&mut self, at: usize) {
        let start = self.intervals[at].from;
        let from = self.period.from.filter(|from| *from < start);
        match self.link(at) {
            Link::Starts => {
                if let Some(from) = from {
                    self.add(at, Problem::Began(start));
                    let interval = Interval { from, to: start };
                    self.verdict
                        .add_gap(Gap::new(interval, GapReason::NotBegun));
                }
            }
            Link::OtherBucket(address) => self.add(at, Problem::BeganElsewhere(address)),
            Link::Missing(_) => {
                let from = match self.period.from {
                    Some(from) => from,
                    None => earlier(start, HOUR),
                };
                self.missing(Interval { from, to: start });
            }
            Link::To(..) | Link::Unknown => {
                if let Some(from) = from {
                    self.missing(Interval { from, to: start });
                }
            }
        }
    }

    /// A digest file after another one, which ends at `end`.
    fn follow(&mut self, at: usize, end: Timestamp) {
        let interval = Interval {
            from: end,
            to: self.intervals[at].from,
        };
        if interval.to <= interval.from {
            return self.previous_of(at);
        }
        if !matches!(self.link(at), Link::Starts) {
            return self.missing(interval);
        }
        let interval = self.period.clip(&interval);
        // The newest call before the gap ends, in the last hour before it began, or in the gap.
        let stop = self
            .stops
            .iter()
            .filter(|stop| {
                stop.time <= interval.to && stop.time >= earlier(interval.from, HOUR + GRACE)
            })
            .max_by_key(|stop| stop.time);
        let by = stop.cloned();
        self.add(
            at,
            Problem::LoggingStopped {
                from: interval.from,
                to: interval.to,
                by: by.clone(),
            },
        );
        self.verdict
            .add_gap(Gap::new(interval, GapReason::LoggingStopped(by)));
    }

    /// Where there is no gap in time, the one that is named must be there all the same.
    fn previous_of(&mut self, at: usize) {
        if let Link::Missing(key) = self.link(at) {
            // Those that end before the period are not listed.
            let named = DigestKey::parse(&self.verdict.chain.bucket, &key);
            let is_before =
                |named: DigestKey| self.period.from.is_some_and(|from| named.end <= from);
            if named.is_some_and(is_before) {
                return;
            }
            self.verdict.digests.missing += 1;
            self.add(at, Problem::PreviousMissing(key));
        }
    }

    /// A gap because digest files are missing.
    fn missing(&mut self, interval: Interval) {
        let interval = self.period.clip(&interval);
        if interval.to <= interval.from {
            return;
        }
        let gap = Gap::new(interval, GapReason::DigestsMissing);
        self.verdict.digests.missing += gap.count;
        self.verdict.findings.add(Finding {
            problem: Problem::DigestsMissing {
                from: interval.from,
                to: interval.to,
                count: gap.count,
            },
            object: None,
            time: Some(interval.from),
        });
        self.verdict.add_gap(gap);
    }

    /// The newest end: one digest file an hour is due.
    fn schedule(&mut self, end: Timestamp) {
        let due = earlier(self.period.now, GRACE);
        let due = self.period.to.map_or(due, |to| to.min(due));
        let hours = due.duration_since(end).as_hours();
        let Ok(count @ 1..) = u64::try_from(hours) else {
            return;
        };
        let interval = Interval {
            from: end,
            to: later(end, SignedDuration::from_hours(hours)),
        };
        self.verdict.digests.missing += count;
        self.verdict.findings.add(Finding {
            problem: Problem::DigestsSilent {
                from: interval.from,
                to: interval.to,
                count,
            },
            object: None,
            time: Some(end),
        });
        self.verdict
            .add_gap(Gap::new(interval, GapReason::DigestsSilent));
    }
}
