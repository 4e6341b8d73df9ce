//! Catching up: the log files that a digest file lists and nobody has read are read now, and their alerts go out.
//!
//! Their hash is computed in the same pass, and compared with the list at their end.

use std::collections::HashMap;

use cloudhsm_alerts_core::{alert::trail::Kind, digest::file_state::FileState, object::ObjectRef};
use tracing::{info, warn};

use super::{
    Audit,
    walk::{Unseen, log_file},
};
use crate::{
    audit::digest,
    failure::Failure,
    invocation::{
        inbox::Inbox,
        items::ObjectItem,
        publishing::Publishing,
        queue::Queue,
        read_all::read_all,
        reading::{Report, Shared},
    },
    s3::FetchError,
};

/// The log files of one digest file's notification.
pub(super) struct CatchUp<'a> {
    pub(super) digest: ObjectRef,
    pub(super) units: &'a [usize],
    /// The number of the digest file among the items of the payload.
    pub(super) item: usize,
    pub(super) shared: Shared<'a>,
}

impl CatchUp<'_> {
    /// Reads log files; `left` more are left for a retry. Returns the failures.
    pub(super) async fn read(
        &self,
        unseen: Vec<Unseen>,
        left: usize,
        audit: &mut Audit,
        queue: &mut Queue,
        publishing: &mut Publishing<'_>,
        inbox: &mut Inbox,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut expected: HashMap<ObjectRef, Unseen> = HashMap::new();
        let mut objects = Vec::new();
        for unseen in unseen {
            if !expected.contains_key(&unseen.object) {
                objects.push(ObjectItem {
                    object: unseen.object.clone(),
                    units: self.units.to_vec(),
                    item: self.item,
                });
                expected.insert(unseen.object.clone(), unseen);
            }
        }
        if objects.is_empty() {
            return failures;
        }
        info!(digest = %self.digest, log_files = objects.len(), "log files that nobody has read are read now");
        let mut reports = Vec::new();
        let unread = read_all(
            objects,
            self.shared,
            |report, _| reports.push(report),
            queue,
            publishing,
            inbox,
        )
        .await;
        for report in reports {
            if let Some(unseen) = expected.get(&report.object) {
                failures.extend(self.add(report, unseen, audit, inbox).await);
            }
        }
        let left = left + unread.len();
        if left > 0 {
            failures.push(Failure::DigestOutOfTime {
                object: self.digest.clone(),
                left: Some(left),
            });
        }
        failures
    }

    /// Adds the result of reading a log file. Returns a failure that is no finding.
    async fn add(
        &self,
        mut report: Report,
        unseen: &Unseen,
        audit: &mut Audit,
        inbox: &mut Inbox,
    ) -> Option<Failure> {
        let expected = &unseen.sha256;
        let state = match (&report.failure, &report.content) {
            (None, Some(content)) => FileState::of(expected, Ok(content)),
            (
                Some(Failure::Object {
                    error: FetchError::NotFound(_),
                    ..
                }),
                _,
            ) => FileState::Missing,
            (Some(Failure::LogFile { .. }), _) => {
                // It is read again for its hash alone: what cannot be read as a log file may be what CloudTrail wrote.
                let reading = digest::content(self.shared.client, &report.object);
                match self.shared.deadline.while_reading(reading).await {
                    Some(Ok(content)) => FileState::of(expected, content.as_ref()),
                    Some(Err(FetchError::NotFound(_))) => FileState::Missing,
                    Some(Err(error)) => {
                        let object = report.object.clone();
                        inbox.add_report(report, false);
                        return Some(Failure::Object { object, error });
                    }
                    None => {
                        inbox.add_report(report, false);
                        return Some(Failure::DigestOutOfTime {
                            object: self.digest.clone(),
                            left: None,
                        });
                    }
                }
            }
            _ => {
                let failure = report.failure.take();
                if report.was_opened {
                    inbox.add_report(report, false);
                }
                return failure;
            }
        };
        let kind = match state {
            FileState::Missing => Some(Kind::LogFileMissing),
            FileState::Altered
            | FileState::Appended
            | FileState::Truncated
            | FileState::Corrupt(_) => Some(Kind::LogFileAltered),
            FileState::Same | FileState::Uncompressed | FileState::NotChecked(_) => None,
        };
        match kind {
            None => {
                if state != FileState::Same {
                    warn!(object = %report.object, "{state}");
                }
                inbox.counts.proved += u64::from(unseen.list.is_authentic);
                inbox.counts.not_checked += u64::from(!unseen.list.is_authentic);
                audit.add_report(&report);
            }
            // A list that may be forged accuses nobody.
            Some(_) if !unseen.list.is_authentic => inbox.counts.not_checked += 1,
            Some(kind) => {
                let mut detail = state.to_string();
                if let Some(first) = detail.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                let place = (unseen.object.bucket.clone(), unseen.object.key.clone());
                let finding = log_file(kind, &unseen.list, place, format!("{detail}."));
                audit.findings.push((finding, self.units.to_vec()));
                // A finding, and no failure: a retry finds the same.
                report.failure = None;
            }
        }
        if report.was_opened {
            inbox.counts.caught_up += 1;
            inbox.add_report(report, false);
        }
        None
    }
}
