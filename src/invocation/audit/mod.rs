//! The audit of digest files in one invocation.
//!
//! Alerts come first: log files are read and alerted, and only then the digest files of the payload are looked at
//! ([`walk`]). A log file that a digest file lists and nobody has read is read like any other ([`catch_up`]), so a
//! notification that never came costs an hour, and no alert. A file that somebody removed is a finding at once ([`removed`]). At the end, what was read is noted, findings are published
//! ([`findings`]), and the chains get their new ends. [`tick`] looks for chains that are silent.
//!
//! A temporary error fails the units that named the digest file. Everything that was done until then is kept, so the
//! retry goes on where this invocation stopped.

mod catch_up;
mod findings;
mod removed;
pub(super) mod tick;
mod walk;

use std::collections::HashMap;

use cloudhsm_alerts_core::{
    alert::trail::{Kind, TrailFinding},
    digest::key::DigestKey,
    object::{ObjectRef, Skip},
    text::hex,
};
use futures_util::{StreamExt, stream};

use super::{
    inbox::Inbox,
    items::{ObjectItem, RemovalItem},
    publishing::Publishing,
    queue::Queue,
    reading::{Report, Shared},
};
use crate::{
    audit::files::{self, Noted, ReadFile},
    failure::Failure,
    instance::State,
    ledger::LedgerError,
    watch::Arrival,
};

/// Requests at a time.
const CONCURRENT: usize = 32;

/// What the audit of one invocation has found, and not written yet.
#[derive(Default)]
pub(super) struct Audit {
    /// Log files that were read to their end.
    read: Vec<FileOfUnits>,
    findings: Vec<(TrailFinding, Vec<usize>)>,
    arrivals: Vec<(Arrival, Vec<usize>)>,
}

/// A log file that was read, with the units that named it.
struct FileOfUnits {
    file: ReadFile,
    units: Vec<usize>,
    item: usize,
    /// Whether a rule matched one of its records.
    has_calls: bool,
}

impl Audit {
    /// Notes the result of reading a log file.
    pub(super) fn add_report(&mut self, report: &Report) {
        let Some(content) = report.content.filter(|_| report.failure.is_none()) else {
            return;
        };
        if report.compressed == 0 {
            return;
        }
        self.read.push(FileOfUnits {
            file: ReadFile {
                object: report.object.clone(),
                sha256: content.sha256,
                e_tag: report.e_tag.clone(),
                size: report.compressed,
            },
            units: report.units.to_vec(),
            item: report.item,
            has_calls: report.counts.matched > 0,
        });
    }

    /// The hashes of the log files that this invocation has read, by the IDs of their items.
    fn hashes(&self) -> HashMap<String, String> {
        let hash = |read: &FileOfUnits| {
            let object = &read.file.object;
            (
                files::id(&object.bucket, &object.key),
                hex(&read.file.sha256),
            )
        };
        self.read.iter().map(hash).collect()
    }

    /// Looks at the removals of the payload.
    pub(super) async fn removals(
        &mut self,
        removals: Vec<RemovalItem>,
        shared: Shared<'_>,
        inbox: &mut Inbox,
    ) {
        let found = removed::look(removals, shared, inbox).await;
        self.findings.extend(found);
    }

    /// Looks at the digest files of the payload, and reads and alerts the log files that nobody has read.
    pub(super) async fn digests(
        &mut self,
        digests: Vec<ObjectItem>,
        shared: Shared<'_>,
        queue: &mut Queue,
        publishing: &mut Publishing<'_>,
        inbox: &mut Inbox,
    ) {
        if digests.is_empty() {
            return;
        }
        for digest in digests {
            let Some(key) = DigestKey::parse(&digest.object.bucket, &digest.object.key) else {
                // A copy of one under another name, which belongs to no chain.
                inbox.skip(Skip::Digest, &digest.object.to_string(), digest.units[0]);
                continue;
            };
            self.digest(digest, key, shared, queue, publishing, inbox)
                .await;
        }
        publishing.publish(queue.take(), true, inbox).await;
    }

    async fn digest(
        &mut self,
        digest: ObjectItem,
        key: DigestKey,
        shared: Shared<'_>,
        queue: &mut Queue,
        publishing: &mut Publishing<'_>,
        inbox: &mut Inbox,
    ) {
        let ObjectItem {
            object,
            units,
            item,
        } = digest;
        let State {
            watch, keys, files, ..
        } = &mut *publishing.state;
        let Some(files) = files.as_ref() else { return };
        let mut walk = walk::Walk::new(shared, watch, keys, files, self.hashes());
        let walking = shared.deadline.while_reading(walk.from(&object, key));
        let mut failures: Vec<Failure> = match walking.await {
            Some(Ok(())) => Vec::new(),
            Some(Err(failure)) => vec![*failure],
            None => vec![Failure::DigestOutOfTime {
                object: object.clone(),
                left: None,
            }],
        };
        let walked = walk.walked;
        let counts = &mut inbox.counts;
        counts.digests += walked.digests;
        counts.proved += walked.proved;
        counts.not_verified += walked.not_verified;
        counts.not_checked += walked.not_checked;
        let findings = walked.findings.into_iter();
        self.findings
            .extend(findings.map(|finding| (finding, units.clone())));
        let catching_up = catch_up::CatchUp {
            digest: object,
            units: &units,
            item,
            shared,
        };
        failures.extend(
            catching_up
                .read(walked.unseen, walked.left, self, queue, publishing, inbox)
                .await,
        );
        // Until it was looked at to its end, the next digest file of its chain looks at it again.
        if !failures.iter().any(Failure::is_temporary) {
            let arrivals = walked.arrivals.into_iter().rev();
            self.arrivals
                .extend(arrivals.map(|arrival| (arrival, units.clone())));
        }
        for failure in failures {
            inbox.fail_item(item, failure, &units);
        }
    }

    /// Writes what was read, publishes what was found, and writes the chains.
    pub(super) async fn finish(mut self, publishing: &mut Publishing<'_>, inbox: &mut Inbox) {
        self.note_files(publishing, inbox).await;
        findings::publish(std::mem::take(&mut self.findings), publishing, inbox).await;
        for (arrival, units) in &self.arrivals {
            let noting = publishing.state.watch.note_arrival(arrival);
            if let Err(failure) = Failure::of_watch(publishing.deadline.response(noting).await) {
                inbox.fail(failure, units);
            }
        }
    }

    /// Notes the log files whose alerts are published.
    async fn note_files(&mut self, publishing: &Publishing<'_>, inbox: &mut Inbox) {
        let Some(files) = publishing.state.files.as_ref() else {
            return;
        };
        // Which file an alert that failed belongs to is not known here.
        let is_alerted = |read: &FileOfUnits| !read.has_calls || inbox.is_alerted();
        let mut read = std::mem::take(&mut self.read);
        read.retain(is_alerted);
        let now = publishing.instance.clock.now();
        let deadline = publishing.deadline;
        let noted: Vec<(FileOfUnits, Option<Result<Noted, LedgerError>>)> = stream::iter(read)
            .map(|read| async move {
                let noted = deadline.response(files.note(&read.file, now)).await;
                (read, noted)
            })
            .buffered(CONCURRENT)
            .collect()
            .await;
        for (read, noted) in noted {
            match noted {
                Some(Ok(Noted::Same)) => {}
                Some(Ok(Noted::Other(before))) => {
                    let finding = replaced(&read.file, &before);
                    self.findings.push((finding, read.units));
                }
                Some(Err(error)) => {
                    inbox.fail_item(read.item, Failure::ReadFiles(error), &read.units);
                }
                None => inbox.fail_item(read.item, Failure::ReadFilesOutOfTime, &read.units),
            }
        }
    }
}

/// The finding that a log file was delivered twice, with two contents.
fn replaced(file: &ReadFile, before: &str) -> TrailFinding {
    let ObjectRef { bucket, key, .. } = &file.object;
    let (account, region) = file.object.account_and_region().unwrap_or_default();
    TrailFinding {
        kind: Kind::LogFileReplaced,
        // Each content that it gets is one finding.
        subject: format!("{bucket}/{key} {}", hex(&file.sha256)),
        account: account.to_owned(),
        region: region.to_owned(),
        chain: None,
        object: Some((bucket.clone(), key.clone())),
        interval: None,
        detail: format!(
            "This function read it before with another content: the SHA-256 hash was {before} and is now {}.",
            hex(&file.sha256)
        ),
        caller: None,
    }
}
