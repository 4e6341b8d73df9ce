//! Deadlines that the calls of an invocation open and close: collected while log files are read, written to the watch
//! table after the alerts were published.
//!
//! They are written whatever became of the alerts, and again by every retry: writing one twice changes nothing. So a
//! deadline is lost only with its log file.

use std::collections::HashMap;

use cloudhsm_alerts_core::{
    alert::reminder,
    call_id::CallId,
    deadline::{self, Closing, Deadline},
    finding::Finding,
    rules::RuleSet,
};
use jiff::Timestamp;

use super::inbox::Inbox;
use crate::{
    failure::Failure,
    settings::Settings,
    timing,
    watch::{Listed, Watch},
};

/// What one call does to deadlines.
pub(super) struct CallDeadlines {
    call: CallId,
    opens: Vec<Deadline>,
    closes: Vec<Closing>,
}

impl CallDeadlines {
    /// What the call of a finding does; `None`: nothing, or there is no watch table. A call that is not to be alerted
    /// opens nothing, and closes what it closes all the same.
    pub(super) fn of(
        finding: &Finding,
        rules: &RuleSet,
        settings: &Settings,
    ) -> Option<Box<CallDeadlines>> {
        settings.watch_table.as_ref()?;
        let is_alerted = !finding.is_suppressed() && finding.severity() >= settings.min_severity;
        let opens = match is_alerted {
            true => deadline::opened_by(finding),
            false => Vec::new(),
        };
        let closes = deadline::closed_by(finding, rules);
        (!opens.is_empty() || !closes.is_empty()).then(|| {
            Box::new(CallDeadlines {
                call: CallId::of(&finding.record),
                opens,
                closes,
            })
        })
    }
}

/// The deadlines of one invocation.
#[derive(Default)]
pub(super) struct Deadlines {
    opens: Vec<Deadline>,
    closes: Vec<Closing>,
    /// The units of the calls that wait to be written.
    units: Vec<usize>,
    /// What each of these calls does, for its alert: when the deadline ends that it opens, and what it closes.
    by_call: HashMap<CallId, (Option<Timestamp>, Vec<Closing>)>,
}

impl Deadlines {
    pub(super) fn push(&mut self, call: CallDeadlines, units: &[usize]) {
        for unit in units {
            if !self.units.contains(unit) {
                self.units.push(*unit);
            }
        }
        let due = call.opens.iter().map(|opened| opened.due).max();
        let known = (due, call.closes.clone());
        self.by_call.insert(call.call, known);
        self.opens.extend(call.opens);
        self.closes.extend(call.closes);
    }

    /// How many wait to be written.
    pub(super) fn len(&self) -> usize {
        self.opens.len() + self.closes.len()
    }

    /// Writes what waits. A failure fails the units, so that a retry writes it again.
    pub(super) async fn write(
        &mut self,
        watch: &Watch,
        limit: timing::Deadline,
        inbox: &mut Inbox,
    ) {
        let (opens, closes) = (
            std::mem::take(&mut self.opens),
            std::mem::take(&mut self.closes),
        );
        let units = std::mem::take(&mut self.units);
        // Their alerts were published.
        self.by_call.clear();
        if opens.is_empty() && closes.is_empty() {
            return;
        }
        match Failure::of_watch(limit.response(watch.record(&opens, &closes)).await) {
            Ok(()) => {
                inbox.counts.deadlines_opened += opens.len() as u64;
                inbox.counts.deadlines_closed += closes.len() as u64;
            }
            Err(failure) => inbox.fail(failure, &units),
        }
    }

    /// Whether one of these calls closes a deadline, so that its alert needs to know which are open.
    pub(super) fn are_closed_by<'c>(&self, mut calls: impl Iterator<Item = &'c CallId>) -> bool {
        calls.any(|call| {
            self.by_call
                .get(call)
                .is_some_and(|(_, closes)| !closes.is_empty())
        })
    }

    /// The lines about deadlines in the alert about a call. `listed` is what the watch table has, if a call closes one.
    pub(super) fn note(
        &self,
        call: &CallId,
        listed: &Listed,
        reminders: &[u16],
        now: Timestamp,
    ) -> Option<String> {
        let (due, closes) = self.by_call.get(call)?;
        if let Some(answer) = closes
            .iter()
            .find_map(|closing| self.answer(closing, listed))
        {
            return Some(answer);
        }
        reminder::promise(reminders, (*due)?.duration_since(now))
    }

    /// Which call a closing answers, and what is still open. `None`: no opening of its deadline is known.
    fn answer(&self, closing: &Closing, listed: &Listed) -> Option<String> {
        let is_before =
            |opened: &&Deadline| opened.key == closing.key && opened.opened < closing.time;
        let in_table = listed.deadlines.iter().filter_map(|it| it.opened.as_ref());
        let opened = in_table
            .chain(&self.opens)
            .filter(is_before)
            .max_by_key(|opened| opened.opened)?;
        let closes_before = |opened: &Deadline, close: &Closing| {
            close.key == opened.key && close.time > opened.opened
        };
        // What closed it before this call is what answered it.
        let was_closed = listed.deadlines.iter().any(|it| {
            it.key == opened.key
                && it
                    .closed
                    .as_ref()
                    .is_some_and(|closed| closed.at > opened.opened && closed.at < closing.time)
        });
        if was_closed {
            return None;
        }
        let mut open: Vec<&Deadline> = listed
            .deadlines
            .iter()
            .filter_map(|it| it.open())
            .chain(&self.opens)
            .filter(|other| other.key != opened.key)
            .filter(|other| self.closes.iter().all(|close| !closes_before(other, close)))
            .collect();
        open.sort_by_key(|other| (other.due, other.key.clone()));
        open.dedup_by(|a, b| a.key == b.key);
        Some(reminder::answer(opened, closing.time, &open))
    }
}
