//! The queue: calls that wait to be alerted, bounded in memory.
//!
//! A call that is found twice (two trails, a file delivered again) is in the queue once. Its units fail together if
//! it cannot be alerted.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use cloudhsm_alerts_core::{
    alert::Source,
    call_id::CallId,
    finding::Finding,
    record::Outcome,
    rules::{RuleSet, Suppressed},
    severity::Severity,
    text::one_line,
};
use tracing::warn;

use super::{
    deadlines::CallDeadlines,
    pending::{Bases, PendingCall},
    stops::stop_of,
};
use crate::{counts::Counts, ledger::Ledger, settings::Settings, watch::SeenStop};

/// Maximum memory that queued calls take, in bytes: some ten thousand calls. A full queue is published at once, most
/// severe first, and reading continues: memory is bounded for any file.
const CAPACITY: usize = 24 * 1024 * 1024;

/// With this many calls in the queue there is a storm, and reading the rest takes a while.
const STORM: usize = 64;

/// The position of a record in an invocation: the number of its item, and its index in that item. Alerts of the same
/// severity are published in this order, however fast each object was read.
pub(super) type Position = (usize, u64);

/// A finding that was made while reading, and the units it belongs to.
pub(super) struct Found {
    pub(super) units: Arc<[usize]>,
    pub(super) position: Position,
    /// What filters suppressed of it, in whole or in part.
    pub(super) suppressed: Vec<Suppressed>,
    pub(super) verdict: Verdict,
    /// What it does to deadlines.
    pub(super) deadlines: Option<Box<CallDeadlines>>,
    /// The call, if it stopped a trail whose digest files are checked.
    pub(super) stop: Option<Box<SeenStop>>,
}

/// Whether a finding is to be alerted.
pub(super) enum Verdict {
    /// Filters suppress it for every rule that it matches.
    Suppressed,
    /// Its severity is below `MIN_SEVERITY`.
    BelowMinSeverity,
    /// It is to be alerted, unless it was already.
    Alert(Box<PendingCall>),
}

impl Found {
    /// The finding of a record of item number `item`, in compact form.
    pub(super) fn of(
        finding: Finding,
        rules: &RuleSet,
        settings: &Settings,
        source: &Arc<Source>,
        units: Arc<[usize]>,
        item: usize,
        bases: &mut Bases,
    ) -> Found {
        Found {
            units,
            position: (item, finding.record.index()),
            suppressed: finding.suppressed.clone(),
            deadlines: CallDeadlines::of(&finding, rules, settings),
            stop: stop_of(&finding, settings),
            verdict: if finding.is_suppressed() {
                Verdict::Suppressed
            } else if finding.severity() < settings.min_severity {
                Verdict::BelowMinSeverity
            } else {
                Verdict::Alert(Box::new(PendingCall::pack(finding, source, bases)))
            },
        }
    }
}

/// A call in the queue.
pub(super) struct QueuedCall {
    pub(super) call: PendingCall,
    pub(super) position: Position,
    /// The units that fail if it cannot be alerted.
    pub(super) units: Vec<usize>,
    /// How often the same record was found again.
    pub(super) duplicates: u64,
}

/// The calls that wait.
#[derive(Default)]
pub(super) struct Queue {
    calls: Vec<QueuedCall>,
    /// The index of each call in `calls`.
    index: HashMap<CallId, usize>,
    /// The first call with each event ID, of the whole invocation.
    by_event_id: HashMap<String, CallId>,
    /// The first critical call that succeeded.
    urgent: Option<CallId>,
    /// Memory that the calls take, in bytes.
    size: usize,
}

impl Queue {
    /// Adds a finding, unless it is not to be alerted or was alerted already. Counts it in any case.
    pub(super) fn push(&mut self, found: Found, ledger: &Ledger, counts: &mut Counts) {
        counts.matched += 1;
        counts.add_suppressed(&found.suppressed);
        let call = match found.verdict {
            Verdict::Suppressed => {
                counts.suppressed += 1;
                return;
            }
            Verdict::BelowMinSeverity => {
                counts.below_min_severity += 1;
                return;
            }
            Verdict::Alert(call) => *call,
        };
        if ledger.remembers(&call.call_id) {
            counts.duplicates += 1;
            return;
        }
        if let Some(&index) = self.index.get(&call.call_id) {
            return self.merge(index, call, found.position, &found.units);
        }
        self.check_event_id(&call.call_id, ledger, counts);
        self.size += call.size();
        if call.severity == Severity::Critical && call.outcome == Outcome::Success {
            self.urgent.get_or_insert_with(|| call.call_id.clone());
        }
        self.index.insert(call.call_id.clone(), self.calls.len());
        self.calls.push(QueuedCall {
            call,
            position: found.position,
            units: found.units.to_vec(),
            duplicates: 0,
        });
    }

    /// The same call was found again. The alert is about the most severe of its records (two accounts may each have
    /// one), and of equals about the first in the payload, whichever was read first.
    fn merge(&mut self, index: usize, call: PendingCall, position: Position, units: &[usize]) {
        let known = &mut self.calls[index];
        known.duplicates += 1;
        for unit in units {
            if !known.units.contains(unit) {
                known.units.push(*unit);
            }
        }
        let order = |call: &PendingCall, position| (Reverse(call.severity), position);
        if order(&call, position) < order(&known.call, known.position) {
            self.size = (self.size + call.size()).saturating_sub(known.call.size());
            (known.call, known.position) = (call, position);
        }
    }

    /// Counts a call whose event ID another call has, too: one of the two records may be forged.
    fn check_event_id(&mut self, call: &CallId, ledger: &Ledger, counts: &mut Counts) {
        let event_id = call.event_id();
        let first = self
            .by_event_id
            .entry(event_id.to_owned())
            .or_insert_with(|| call.clone());
        if first == call && !ledger.remembers_other(call) {
            return;
        }
        counts.event_ids_reused += 1;
        // One line is enough for all of an invocation.
        if counts.event_ids_reused == 1 {
            warn!(
                event_id = one_line(event_id, 256),
                "another call has the same event ID: one of the records may be forged"
            );
        }
    }

    /// Whether its calls take more memory than [`CAPACITY`].
    pub(super) fn is_full(&self) -> bool {
        self.size > CAPACITY
    }

    /// In a storm, takes the first critical call that succeeded out: no other is more severe, so its alert need not wait
    /// until all are known.
    pub(super) fn take_urgent(&mut self) -> Option<QueuedCall> {
        if self.calls.len() < STORM {
            return None;
        }
        let call_id = self.urgent.take()?;
        let at = self.index.remove(&call_id)?;
        let taken = self.calls.swap_remove(at);
        self.size = self.size.saturating_sub(taken.call.size());
        if let Some(moved) = self.calls.get(at) {
            self.index.insert(moved.call.call_id.clone(), at);
        }
        Some(taken)
    }

    /// Takes all calls out.
    pub(super) fn take(&mut self) -> Vec<QueuedCall> {
        self.index.clear();
        self.urgent = None;
        self.size = 0;
        std::mem::take(&mut self.calls)
    }
}
