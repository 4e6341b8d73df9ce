//! What an audit finds: one sentence about one object or one period, with how much it weighs.
//!
//! What is wrong (somebody altered, deleted or added something) is kept apart from what could not be checked, so that a
//! region without permission or a network error never looks like tampering.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::{
    document::DocumentError, file_state::FileState, place::Origin, signature::SignatureError,
};
use crate::text::one_line;

/// How many findings of one code a chain keeps. The others are only counted.
pub const MAX_KEPT: usize = 1000;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something is wrong: the evidence was altered.
    Wrong,
    /// Something could not be checked. Nothing is known to be wrong.
    NotChecked,
    /// For information.
    Notice,
}

impl Weight {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Weight::Wrong => "wrong",
            Weight::NotChecked => "not_checked",
            Weight::Notice => "notice",
        }
    }
}

/// Something that an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// The object that it is about: bucket and key.
    pub object: Option<(String, String)>,
    /// When: the end of a digest file's period, or the delivery of a log file.
    pub time: Option<Timestamp>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A digest file was read and is not one.
    DigestUnreadable(DocumentError),
    /// A digest file was not read, and why.
    DigestNotRead(String),
    /// The signature of a digest file does not prove it.
    Signature(SignatureError),
    /// A digest file of a copy without metadata, in which its signature was, and no later one names it.
    NewestUnsigned,
    /// An authentic digest file in the place of another one: the address that it names.
    DigestMisplaced(String),
    /// A digest file is not the one that the next one names.
    DigestReplaced {
        /// The key of the next one.
        named_by: String,
        /// Whether the hashes differ.
        hash: bool,
        /// Whether the signatures differ.
        signature: bool,
    },
    /// A digest file names a previous one that is not there: its key.
    PreviousMissing(String),
    /// Digest files are missing in a period, so many.
    DigestsMissing {
        /// From the end of the one before.
        from: Timestamp,
        /// To the start of the one after.
        to: Timestamp,
        /// The number of hours.
        count: u64,
    },
    /// No digest files since then, although they are due.
    DigestsSilent {
        /// The end of the newest one.
        from: Timestamp,
        /// Until when they are due.
        to: Timestamp,
        /// The number of hours.
        count: u64,
    },
    /// Between two digest files, the second of which starts a new chain.
    LoggingStopped {
        /// The end of the one before.
        from: Timestamp,
        /// The start of the starting digest file.
        to: Timestamp,
        /// The call that stopped it, if it was seen.
        by: Option<Stop>,
    },
    /// The first digest file of the chain starts after the period that was asked for.
    Began(Timestamp),
    /// The first digest file names a previous one in another bucket.
    BeganElsewhere(String),
    /// The end of a digest file is in the future.
    InFuture(Timestamp),
    /// So many digest files name another bucket or prefix as their place.
    Copied(Origin, u64),
    /// A digest file is not compressed.
    DigestUncompressed,
    /// A digest file names another account than its key.
    OtherAccount(String),
    /// A log file that a digest file lists.
    LogFile(FileState),
    /// A log file that no digest file lists, and whether it is in a gap.
    Unlisted {
        /// Whether digest files are missing for the time of its delivery.
        in_gap: bool,
    },
    /// An object in the folder of digest files whose name is not that of one.
    UnknownName,
}

/// A call that stopped a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When.
    pub time: Timestamp,
    /// `StopLogging` or `DeleteTrail`.
    pub event_name: String,
    /// Who, as alerts name the caller.
    pub actor: String,
}

impl Problem {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Problem::DigestUnreadable(error) if error.is_truncated() => "digest-truncated",
            Problem::DigestUnreadable(_) => "digest-altered",
            Problem::DigestNotRead(_) => "digest-not-checked",
            Problem::Signature(error) => match error {
                SignatureError::Missing => "digest-unsigned",
                SignatureError::ForeignKey(_) => "digest-foreign-key",
                SignatureError::NoKeys(_) | SignatureError::Key(_) => "digest-not-verified",
                SignatureError::Form(_)
                | SignatureError::Algorithm(_)
                | SignatureError::Invalid => "digest-altered",
            },
            Problem::NewestUnsigned => "digest-newest-unsigned",
            Problem::DigestMisplaced(_) => "digest-misplaced",
            Problem::DigestReplaced { .. } => "digest-replaced",
            Problem::PreviousMissing(_) | Problem::DigestsMissing { .. } => "digest-missing",
            Problem::DigestsSilent { .. } => "digest-silent",
            Problem::LoggingStopped { .. } => "logging-stopped",
            Problem::Began(_) | Problem::BeganElsewhere(_) => "chain-began",
            Problem::InFuture(_) => "digest-in-future",
            Problem::Copied(..) => "copied",
            Problem::DigestUncompressed => "digest-uncompressed",
            Problem::OtherAccount(_) => "digest-other-account",
            Problem::LogFile(state) => match state {
                FileState::Same => "log-file-proved",
                FileState::Uncompressed => "log-file-uncompressed",
                FileState::Altered | FileState::Corrupt(_) => "log-file-altered",
                FileState::Appended => "log-file-appended",
                FileState::Truncated => "log-file-truncated",
                FileState::Missing => "log-file-missing",
                FileState::NotChecked(_) => "log-file-not-checked",
            },
            Problem::Unlisted { .. } => "log-file-unlisted",
            Problem::UnknownName => "unknown-name",
        }
    }

    /// How much it weighs.
    pub fn weight(&self) -> Weight {
        match self {
            Problem::Signature(error) if error.is_unknown() => Weight::NotChecked,
            Problem::DigestUnreadable(_)
            | Problem::Signature(_)
            | Problem::DigestMisplaced(_)
            | Problem::DigestReplaced { .. }
            | Problem::PreviousMissing(_)
            | Problem::DigestsMissing { .. }
            | Problem::DigestsSilent { .. }
            | Problem::Unlisted { .. } => Weight::Wrong,
            Problem::DigestNotRead(_) | Problem::LogFile(FileState::NotChecked(_)) => {
                Weight::NotChecked
            }
            Problem::LogFile(FileState::Same | FileState::Uncompressed)
            | Problem::NewestUnsigned
            | Problem::LoggingStopped { .. }
            | Problem::Began(_)
            | Problem::BeganElsewhere(_)
            | Problem::InFuture(_)
            | Problem::Copied(..)
            | Problem::DigestUncompressed
            | Problem::OtherAccount(_)
            | Problem::UnknownName => Weight::Notice,
            Problem::LogFile(_) => Weight::Wrong,
        }
    }
}

/// `1 digest file`, `3 digest files`.
fn digest_files(count: u64) -> String {
    format!("{count} digest file{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::DigestUnreadable(error) => write!(f, "the digest file was altered: {error}"),
            Problem::DigestNotRead(reason) => write!(f, "not checked: {}", one_line(reason, 400)),
            Problem::Signature(error) => {
                write!(f, "the digest file: {error}")
            }
            Problem::NewestUnsigned => f.write_str(
                "the digest file cannot be verified here: its signature is in the metadata of the object in S3, which this copy does not have, and no later digest file names it",
            ),
            Problem::DigestMisplaced(said) => write!(
                f,
                "another digest file was put in this place: it says that it belongs to {}",
                one_line(said, 1100)
            ),
            Problem::DigestReplaced {
                named_by,
                hash,
                signature,
            } => {
                let what = match (hash, signature) {
                    (true, true) => "hash and signature differ",
                    (true, false) => "the hash differs",
                    _ => "the signature differs",
                };
                write!(
                    f,
                    "this is not the digest file that the next one names ({what}); the next one is {}",
                    one_line(named_by, 1100)
                )
            }
            Problem::PreviousMissing(key) => write!(
                f,
                "the previous digest file that this one names is missing: {}",
                one_line(key, 1100)
            ),
            Problem::DigestsMissing { from, to, count } => write!(
                f,
                "{} missing between {from} and {to}: deleted, or never delivered",
                digest_files(*count)
            ),
            Problem::DigestsSilent { from, to, count } => write!(
                f,
                "no digest file since {from}, and {} due by {to}: deleted, or the trail or its log file validation was switched off",
                if *count == 1 { "1 was".to_owned() } else { format!("{count} were") }
            ),
            Problem::LoggingStopped { from, to, by } => {
                write!(f, "nothing is proved between {from} and {to}: ")?;
                match by {
                    Some(stop) => write!(
                        f,
                        "logging was stopped at {} by {} ({}), and started again",
                        stop.time,
                        one_line(&stop.actor, 200),
                        one_line(&stop.event_name, 60)
                    ),
                    None => f.write_str(
                        "logging was stopped and started again, or the digest files before the stop were deleted; who stopped it was not seen",
                    ),
                }
            }
            Problem::Began(start) => write!(
                f,
                "the chain begins at {start}: validation was switched on or logging started then"
            ),
            Problem::BeganElsewhere(address) => write!(
                f,
                "the chain continues one in another bucket: the previous digest file is {}",
                one_line(address, 1100)
            ),
            Problem::InFuture(end) => write!(
                f,
                "the digest file ends at {end}, which is in the future: the clock of this computer is wrong, or the name was invented"
            ),
            Problem::Copied(origin, count) => {
                write!(
                    f,
                    "this is a copy: {} name{} s3://{}/{} as their place",
                    digest_files(*count),
                    if *count == 1 { "s" } else { "" },
                    one_line(&origin.bucket, 100),
                    one_line(origin.prefix.as_deref().unwrap_or_default(), 500),
                )
            }
            Problem::DigestUncompressed => f.write_str(
                "the digest file is not compressed: somebody wrote it again; its content is checked by its signature",
            ),
            Problem::OtherAccount(account) => write!(
                f,
                "awsAccountId in the digest file is {}, and its key names another account",
                one_line(account, 20)
            ),
            Problem::LogFile(state) => write!(f, "{state}"),
            Problem::Unlisted { in_gap: false } => f.write_str(
                "no digest file lists this log file: somebody else than CloudTrail wrote it, or a trail without validation delivers to this folder",
            ),
            Problem::Unlisted { in_gap: true } => f.write_str(
                "a log file from a period without digest files: logging was not stopped then, and the digest file that listed it is gone",
            ),
            Problem::UnknownName => f.write_str(
                "this name in the folder of digest files is not that of a digest file; it was not read",
            ),
        }
    }
}

/// Findings, of which a bounded number is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<&'static str, u64>,
    weights: [u64; 3],
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.problem.code()).or_default();
        *count += 1;
        self.weights[finding.problem.weight() as usize] += 1;
        if *count <= MAX_KEPT as u64 {
            self.kept.push(finding);
        }
    }

    /// The findings that are kept, in the order in which they were added.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many there are of each code.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// How many there are of a weight.
    pub fn of_weight(&self, weight: Weight) -> u64 {
        self.weights[weight as usize]
    }

    /// Sorts those that are kept: the heaviest first, then by time.
    pub fn sort(&mut self) {
        self.kept
            .sort_by_key(|finding| (finding.problem.weight(), finding.time));
    }
}
