//! Old calls, which a backfill finds: which calls are old, and how many messages about them a job may publish.
//!
//! A call of the last day is not old: people can still act on it, and its notification may have been lost. It is
//! alerted as if its log file had just arrived. Alerts about older calls are marked as a backfill's, go into
//! summaries, and share the job's limit of messages, so that years of log files do not become thousands of messages.
//! What exceeds the limit is counted and not claimed, so that another job can alert it.

use cloudhsm_alerts_core::alert::Alert;
use jiff::{SignedDuration, Timestamp};

use super::Publishing;
use crate::payload::BatchMode;

/// A call is old this long after it was made.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// Whether alerts are about recent calls or, in a backfill, about old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Recent,
    Old,
}

impl Publishing<'_> {
    /// Whether a call of this time is an old one of a backfill. A call without a time is not.
    pub(super) fn is_old(&self, time: Option<Timestamp>) -> bool {
        let now = self.instance.clock.now();
        self.job.mode == BatchMode::Backfill
            && time.is_some_and(|time| now.duration_since(time) > RECENT)
    }

    /// Alerts about recent calls, and about old ones.
    pub(super) fn by_age(&self, alerts: Vec<Alert>) -> (Vec<Alert>, Vec<Alert>) {
        alerts
            .into_iter()
            .partition(|alert| !self.is_old(alert.time))
    }

    /// Takes one message off the job's limit; `false`: none is left. The instances of a job share the limit through
    /// the ledger's table; if that does not respond, each instance has it for itself.
    pub(super) async fn take_job_message(&mut self) -> bool {
        if self.job_limit_is_reached {
            return false;
        }
        let limit = self.job.max_messages;
        if self.state.job_messages.0 != self.job.id {
            self.state.job_messages = (self.job.id.clone(), 0);
        }
        let shared = self
            .deadline
            .response(self.state.ledger.take_job_message(&self.job.id, limit))
            .await
            .flatten();
        let (_, published) = &mut self.state.job_messages;
        let may = shared.unwrap_or(*published < limit);
        if may {
            *published += 1;
        } else {
            self.job_limit_is_reached = true;
        }
        may
    }
}
