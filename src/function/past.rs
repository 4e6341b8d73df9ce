//! Calls of the past, which a backfill finds: whether a call is one, and how many messages about them a job
//! may still send.
//!
//! What happened within the last day is no past: somebody can still act on it, and it may be only here that
//! it is found, because its notification was lost. It is told as if its log file had just come. Everything
//! older is marked, goes into digests, and shares the job's allowance, so that years of log files do not
//! become thousands of messages. What the allowance does not cover is counted, not claimed: another job finds
//! it untold.

use jiff::{SignedDuration, Timestamp};

use super::run::Run;
use crate::payload::BatchMode;

/// How long after a call somebody is told of it as of something that has just happened.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

impl Run<'_> {
    /// Whether a call of this time is past, and an alert about it to be marked as such. A call without a time is
    /// not.
    pub(super) fn is_past(&self, time: Option<Timestamp>) -> bool {
        let now = self.function.clock.now();
        self.job.mode == BatchMode::Backfill
            && time.is_some_and(|time| now.duration_since(time) > RECENT)
    }

    /// Takes one message off the job's allowance; `false`: there is none left. The instances of a job share
    /// the allowance by the ledger's table; where that does not answer, each has it for itself.
    pub(super) async fn may_tell_past(&mut self) -> bool {
        if self.allowance_is_used {
            return false;
        }
        let most = self.job.max_messages;
        if self.kept.job_messages.0 != self.job.id {
            self.kept.job_messages = (self.job.id.clone(), 0);
        }
        let shared = self
            .deadline
            .answer(self.kept.ledger.allowance(&self.job.id, most))
            .await
            .flatten();
        self.counts.ledger_trouble = self.kept.ledger.trouble();
        let (_, sent) = &mut self.kept.job_messages;
        let may = shared.unwrap_or(*sent < most);
        if may {
            *sent += 1;
        } else {
            self.allowance_is_used = true;
        }
        may
    }
}
