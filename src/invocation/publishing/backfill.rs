//! Old calls, which a backfill finds: which calls are old, and how many messages about them a job may publish.
//!
//! A call of the last day is not old: people can still act on it, and its notification may have been lost. It is
//! alerted as if its log file had just arrived. Alerts about older calls are marked as a backfill's, go into
//! summaries, and share the job's limit of messages, so that years of log files do not become thousands of messages.
//! What exceeds the limit is counted and not claimed, so that another job can alert it.

use jiff::{SignedDuration, Timestamp};

use crate::{
    instance::State,
    payload::{BatchMode, Job},
    timing::Deadline,
};

/// A call is old this long after it was made.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// The job of S3 Batch Operations that an invocation belongs to; otherwise the default, which is live.
pub(super) struct Backfill {
    pub(super) job: Job,
    /// Whether the job has published all its messages about old calls.
    limit_is_reached: bool,
}

impl Backfill {
    pub(super) fn new(job: Job) -> Backfill {
        Backfill {
            job,
            limit_is_reached: false,
        }
    }

    /// Whether a call of this time is an old one of a backfill. A call without a time is not.
    pub(super) fn is_old(&self, time: Option<Timestamp>, now: Timestamp) -> bool {
        self.job.mode == BatchMode::Backfill
            && time.is_some_and(|time| now.duration_since(time) > RECENT)
    }

    /// Takes one message off the job's limit; `false`: none is left. The instances of a job share the limit through
    /// the ledger's table; if that does not respond, each instance has it for itself.
    pub(super) async fn take_message(&mut self, state: &mut State, deadline: Deadline) -> bool {
        if self.limit_is_reached {
            return false;
        }
        let limit = self.job.max_messages;
        if state.job_messages.0 != self.job.id {
            state.job_messages = (self.job.id.clone(), 0);
        }
        let shared = deadline
            .response(state.ledger.take_job_message(&self.job.id, limit))
            .await
            .flatten();
        let (_, published) = &mut state.job_messages;
        let may = shared.unwrap_or(*published < limit);
        if may {
            *published += 1;
        } else {
            self.limit_is_reached = true;
        }
        may
    }
}
