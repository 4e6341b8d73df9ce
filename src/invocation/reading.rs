//! Reading: several objects at a time, each at its own speed. Bytes from S3 go through the core; findings and
//! reports go to the invocation.
//!
//! Memory is bounded by the number of objects that are read at a time, and by a small channel: when the invocation does
//! not take findings, reading waits.

use std::{sync::Arc, vec};

use aws_sdk_s3::Client;
use cloudhsm_alerts_core::{
    alert::Source,
    finding::{Finding, Scan, ScanCounts},
    log_file::{Content, Unreadable},
    object::ObjectRef,
    rules::RuleSet,
};
use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use jiff::Timestamp;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{items::ObjectItem, pending::Bases, queue::Found};
use crate::{failure::Failure, panics, s3, settings::Settings, timing::Deadline};

/// Objects that are read at a time. Each takes a window of 256 KiB, at the most one record of 1 MiB, and the
/// buffers of its connection.
const CONCURRENT: usize = 16;
/// Compressed bytes that are scanned before findings are passed on: they may inflate to a thousand times as much.
const STEP: usize = 16 * 1024;
/// Sets of findings in the channel.
const CHANNEL: usize = 4;

/// What all readers of an invocation share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) client: &'a Client,
    pub(super) rules: &'a RuleSet,
    /// When the invocation began.
    pub(super) now: Timestamp,
    pub(super) settings: &'a Settings,
    pub(super) deadline: Deadline,
    /// Whether the hash of each log file is computed.
    pub(super) audit: bool,
}

/// The objects of an invocation, while they are read.
pub(super) struct Readers<'a> {
    shared: Shared<'a>,
    unread: vec::IntoIter<ObjectItem>,
    running: FuturesUnordered<BoxFuture<'a, Report>>,
    sender: Sender<Vec<Found>>,
    findings: Receiver<Vec<Found>>,
    /// An object that was read to its end, whose last findings may still be in the channel.
    ended: Option<Report>,
}

/// An event while objects are read.
pub(super) enum Event {
    /// Findings, in the order of their records.
    Found(Vec<Found>),
    /// One object was read. Its findings came before.
    Read(Box<Report>),
}

impl<'a> Readers<'a> {
    pub(super) fn new(objects: Vec<ObjectItem>, shared: Shared<'a>) -> Readers<'a> {
        let (sender, findings) = mpsc::channel(CHANNEL);
        Readers {
            shared,
            unread: objects.into_iter(),
            running: FuturesUnordered::new(),
            sender,
            findings,
            ended: None,
        }
    }

    /// The next event; `None` when all objects were read, or no time is left to begin another.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            // An object sends its findings before it ends, so they come before its report.
            if let Ok(found) = self.findings.try_recv() {
                return Some(Event::Found(found));
            }
            if let Some(report) = self.ended.take() {
                return Some(Event::Read(Box::new(report)));
            }
            self.start_reading();
            tokio::select! {
                biased;
                Some(found) = self.findings.recv() => return Some(Event::Found(found)),
                report = self.running.next() => self.ended = Some(report?),
            }
        }
    }

    /// Begins with as many objects as may be read at a time.
    fn start_reading(&mut self) {
        while self.running.len() < CONCURRENT && !self.shared.deadline.reading_is_over() {
            let Some(object) = self.unread.next() else {
                break;
            };
            let reading = Reading {
                shared: self.shared,
                object: object.object,
                units: object.units.into(),
                item: object.item,
                findings: self.sender.clone(),
            };
            self.running.push(Box::pin(reading.report()));
        }
    }

    /// The objects that no time was left for.
    pub(super) fn unread(self) -> impl Iterator<Item = ObjectItem> {
        self.unread
    }
}

/// The result of reading one object.
pub(super) struct Report {
    pub(super) units: Arc<[usize]>,
    pub(super) item: usize,
    pub(super) object: ObjectRef,
    pub(super) counts: ScanCounts,
    pub(super) compressed: u64,
    pub(super) uncompressed: u64,
    pub(super) unreadable: Vec<Unreadable>,
    /// The content of a file that was read to its end without an error, if its hash is computed.
    pub(super) content: Option<Content>,
    pub(super) e_tag: Option<String>,
    pub(super) failure: Option<Failure>,
    /// Whether S3 returned it at all.
    pub(super) was_opened: bool,
}

/// One object that is being read.
struct Reading<'a> {
    shared: Shared<'a>,
    object: ObjectRef,
    /// The units that name it.
    units: Arc<[usize]>,
    /// Its number among the items of the payload.
    item: usize,
    findings: Sender<Vec<Found>>,
}

impl Reading<'_> {
    /// Reads it to its end, or as far as possible.
    async fn report(self) -> Report {
        let mut report = Report {
            units: Arc::clone(&self.units),
            item: self.item,
            object: self.object.clone(),
            counts: ScanCounts::default(),
            compressed: 0,
            uncompressed: 0,
            unreadable: Vec::new(),
            content: None,
            e_tag: None,
            failure: None,
            was_opened: false,
        };
        let opened = self
            .shared
            .deadline
            .while_reading(s3::open(self.shared.client, &self.object))
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
        let mut scan = Scan::new(self.shared.rules, self.shared.now);
        if self.shared.audit {
            scan = scan.hashing();
            report.e_tag = body.e_tag().map(str::to_owned);
        }
        report.failure = self.scan(&mut body, &mut scan).await;
        report.counts = scan.counts();
        (report.compressed, report.uncompressed) = scan.bytes();
        report.unreadable = scan.unreadable().to_vec();
        report.content = scan.content();
        report
    }

    async fn scan(&self, body: &mut s3::Body, scan: &mut Scan<'_>) -> Option<Failure> {
        let source = Arc::new(Source::Object(self.object.clone()));
        let mut bases = Bases::default();
        loop {
            let chunk = match self
                .shared
                .deadline
                .while_reading(s3::next_chunk(body))
                .await
            {
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
                    // The receiver is the invocation itself, which outlives its readers.
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
                self.shared.rules,
                self.shared.settings,
                source,
                Arc::clone(&self.units),
                self.item,
                bases,
            ));
        };
        let outcome = panics::catch(|| match bytes {
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
