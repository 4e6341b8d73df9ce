//! Reading objects, several at a time, each at its own pace: bytes from S3 through the core, findings on to
//! the invocation ([`super::run`]).
//!
//! Memory is bounded by how many objects are read at a time, and by a channel that holds little: when the
//! invocation does not take findings, reading waits.

use std::sync::Arc;

use aws_sdk_s3::Client;
use jiff::civil::Date;
use tokio::sync::mpsc::Sender;

use super::{
    guard::guarded,
    packed::{Bases, Packed},
    timing::Deadline,
};
use crate::{outcome::Failure, s3, settings::Settings};
use cloudhsm_alerts_core::{
    alert::Source,
    finding::{Counts, Finding, Scan},
    log_file::Unreadable,
    object::ObjectRef,
    rules::{Filtered, RuleSet},
};

/// Objects that are read at a time. Each takes a window of 64 KiB, at the most one record of 1 MiB, and what
/// its connection holds.
pub(super) const CONCURRENT: usize = 16;
/// Compressed bytes that are scanned before findings are handed on: small bytes may inflate to a thousand
/// times as much.
const STEP: usize = 16 * 1024;

/// Where something stands in an invocation: the place of its item, and its own within that. The order in
/// which alerts of the same weight are told, however fast each object was read.
pub(super) type Place = (usize, u64);

/// A finding, and whom it belongs to.
pub(super) struct Found {
    pub(super) units: Arc<[usize]>,
    pub(super) place: Place,
    /// What filters kept back of it, be it all or a part.
    pub(super) filtered: Vec<Filtered>,
    pub(super) what: What,
}

/// What is to become of a finding.
pub(super) enum What {
    /// Filters keep it back from every rule.
    Filtered,
    /// Its severity is below the lowest that is published.
    BelowMinimum,
    /// To be told, unless it was.
    Call(Box<Packed>),
}

impl Found {
    pub(super) fn of(
        finding: Finding,
        settings: &Settings,
        source: &Arc<Source>,
        units: Arc<[usize]>,
        item: usize,
        bases: &mut Bases,
    ) -> Found {
        Found {
            units,
            place: (item, finding.record.index()),
            filtered: finding.filtered.clone(),
            what: if finding.is_filtered() {
                What::Filtered
            } else if finding.severity() < settings.min_severity {
                What::BelowMinimum
            } else {
                What::Call(Box::new(Packed::pack(finding, source, bases)))
            },
        }
    }
}

/// What reading one object came to.
pub(super) struct Report {
    pub(super) units: Arc<[usize]>,
    pub(super) item: usize,
    pub(super) object: ObjectRef,
    pub(super) counts: Counts,
    pub(super) compressed: u64,
    pub(super) uncompressed: u64,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) failure: Option<Failure>,
    /// Whether S3 gave it at all.
    pub(super) was_opened: bool,
}

/// One object to read.
pub(super) struct Reading<'f> {
    pub(super) client: &'f Client,
    pub(super) rules: &'f RuleSet,
    pub(super) today: Date,
    pub(super) settings: &'f Settings,
    pub(super) deadline: Deadline,
    pub(super) object: ObjectRef,
    /// Those that name it.
    pub(super) units: Arc<[usize]>,
    /// Its place among the items of the invocation.
    pub(super) item: usize,
    pub(super) findings: Sender<Vec<Found>>,
}

impl Reading<'_> {
    /// Reads it to its end, or as far as it goes.
    pub(super) async fn report(self) -> Report {
        let mut report = Report {
            units: Arc::clone(&self.units),
            item: self.item,
            object: self.object.clone(),
            counts: Counts::default(),
            compressed: 0,
            uncompressed: 0,
            unreadable: Vec::new(),
            failure: None,
            was_opened: false,
        };
        let opened = self
            .deadline
            .while_reading(s3::open(self.client, &self.object))
            .await;
        let mut body = match opened {
            Some(Ok(body)) => body,
            Some(Err(error)) => {
                report.failure = Some(self.fetch_failure(error));
                return report;
            }
            None => {
                report.failure = Some(self.out_of_time(0));
                return report;
            }
        };
        report.was_opened = true;
        let mut scan = Scan::new(self.rules, self.today);
        report.failure = self.scan(&mut body, &mut scan).await;
        report.counts = scan.counts();
        (report.compressed, report.uncompressed) = scan.bytes();
        report.unreadable = scan.unreadable().to_vec();
        report
    }

    async fn scan(&self, body: &mut s3::Body, scan: &mut Scan<'_>) -> Option<Failure> {
        let source = Arc::new(Source::Object(self.object.clone()));
        let mut bases = Bases::default();
        loop {
            let chunk = match self.deadline.while_reading(s3::next_chunk(body)).await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Some(self.fetch_failure(error)),
                None => return Some(self.out_of_time(scan.bytes().0)),
            };
            let is_last = chunk.is_none();
            let steps: Vec<Option<&[u8]>> = match &chunk {
                Some(chunk) => chunk.as_ref().chunks(STEP).map(Some).collect(),
                None => vec![None],
            };
            for step in steps {
                let (found, failure) = self.step(scan, step, &source, &mut bases);
                if !found.is_empty() && self.findings.send(found).await.is_err() {
                    // The other end is the invocation itself, which outlives its readers.
                    return Some(self.out_of_time(scan.bytes().0));
                }
                if failure.is_some() {
                    return failure;
                }
            }
            if is_last {
                return None;
            }
        }
    }

    fn step(
        &self,
        scan: &mut Scan<'_>,
        bytes: Option<&[u8]>,
        source: &Arc<Source>,
        bases: &mut Bases,
    ) -> (Vec<Found>, Option<Failure>) {
        let mut found = Vec::new();
        let mut sink = |finding: Finding| {
            found.push(Found::of(
                finding,
                self.settings,
                source,
                Arc::clone(&self.units),
                self.item,
                bases,
            ));
        };
        let outcome = guarded(|| match bytes {
            Some(bytes) => scan.push(bytes, &mut sink),
            None => scan.finish(&mut sink),
        });
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::LogFile {
                object: self.object.clone(),
                error,
            }),
            Err(message) => Some(Failure::Panicked {
                at: format!("log file {}", self.object),
                message,
            }),
        };
        (found, failure)
    }

    fn fetch_failure(&self, error: s3::FetchError) -> Failure {
        Failure::Object {
            object: self.object.clone(),
            error,
        }
    }

    fn out_of_time(&self, read: u64) -> Failure {
        Failure::ObjectOutOfTime {
            object: self.object.clone(),
            read,
        }
    }
}
