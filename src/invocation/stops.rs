//! Calls that stopped a trail or its validation: collected while log files are read, noted in the watch table after the
//! alerts were published. They explain later why digest files are missing.

use cloudhsm_alerts_core::finding::Finding;

use super::inbox::Inbox;
use crate::{
    failure::Failure,
    settings::Settings,
    timing::Deadline,
    watch::{SeenStop, Watch},
};

/// The call of a finding, if digest files are checked and it stopped a trail.
pub(super) fn stop_of(finding: &Finding, settings: &Settings) -> Option<Box<SeenStop>> {
    let stop = settings.digest_audit.then(|| SeenStop::of(finding))?;
    stop.map(Box::new)
}

/// The calls of one invocation that wait to be noted.
#[derive(Default)]
pub(super) struct Stops {
    seen: Vec<SeenStop>,
    /// The units of these calls.
    units: Vec<usize>,
}

impl Stops {
    pub(super) fn push(&mut self, stop: SeenStop, units: &[usize]) {
        self.seen.push(stop);
        for unit in units {
            if !self.units.contains(unit) {
                self.units.push(*unit);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Notes what waits. A failure fails the units, so that a retry notes it again.
    pub(super) async fn write(&mut self, watch: &Watch, limit: Deadline, inbox: &mut Inbox) {
        let Stops { seen, units } = std::mem::take(self);
        if seen.is_empty() {
            return;
        }
        if let Err(failure) = Failure::of_watch(limit.response(watch.note_stops(&seen)).await) {
            inbox.fail(failure, &units);
        }
    }
}
