//! A watched deadline: what the watch table has about one [`DeadlineKey`].
//!
//! Calls open and close a deadline in the order of their event times, in whatever order they are read. So the item of a
//! key has the latest opening and the latest closing, and is open if the opening is the later one. Event times have a
//! resolution of a second: if both are in the same one, it stays open, because a reminder too many is better than one
//! too few.

use std::{collections::BTreeMap, time::Duration};

use cloudhsm_alerts_core::deadline::{Closing, Deadline, DeadlineKey};
use jiff::Timestamp;

use crate::clock::later;

/// How long an item is kept after the deadline, or after the call that closed it. What is older is not stored, so a
/// backfill of old files does not bring it back.
pub(super) const KEPT: Duration = Duration::from_secs(40 * 24 * 3600);
/// The step of the message that the deadline has passed. Every other step is the hours before it.
pub const PASSED: u16 = 0;
/// What is added to a step to note that the paging topic has it: more than the longest step.
pub const PAGED: u16 = 1000;

/// What is known of a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedDeadline {
    /// What it is about.
    pub key: DeadlineKey,
    /// The latest call that opened it; `None`: only calls that close it were read.
    pub opened: Option<Deadline>,
    /// The latest call that closed it.
    pub closed: Option<Closed>,
    /// Who dismissed it on the command line.
    pub dismissed: Option<Dismissed>,
    /// The steps that were reminded of since it was opened, with the times: hours before the deadline, or [`PASSED`].
    pub reminded: BTreeMap<u16, Timestamp>,
}

/// The call that closed a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The time of the call.
    pub at: Timestamp,
    /// Event name and caller, such as `RestoreBackup by alice`.
    pub by: String,
    /// The event ID of the call.
    pub event_id: String,
}

/// A deadline that a person dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dismissed {
    /// The time of the opening that was dismissed. A later opening is not.
    pub opened: Timestamp,
    /// When it was dismissed.
    pub at: Timestamp,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl WatchedDeadline {
    /// The opening, if neither a call nor a person has closed it since.
    pub fn open(&self) -> Option<&Deadline> {
        let opened = self.opened.as_ref()?;
        let is_closed = self
            .closed
            .as_ref()
            .is_some_and(|closed| closed.at > opened.opened);
        let is_dismissed = self
            .dismissed
            .as_ref()
            .is_some_and(|dismissed| dismissed.opened == opened.opened);
        (!is_closed && !is_dismissed).then_some(opened)
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open().is_some()
    }

    /// The latest time in it, from which on it is kept.
    pub(super) fn kept_from(&self) -> Timestamp {
        let due = self.opened.as_ref().map(|opened| opened.due);
        let closed = self.closed.as_ref().map(|closed| closed.at);
        due.max(closed).unwrap_or(Timestamp::MAX)
    }
}

/// A call that opens or closes a deadline.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'c> {
    Opens(&'c Deadline),
    Closes(&'c Closing),
}

impl Call<'_> {
    pub(super) fn key(&self) -> &DeadlineKey {
        match self {
            Call::Opens(deadline) => &deadline.key,
            Call::Closes(closing) => &closing.key,
        }
    }

    /// Whether what it would write has expired.
    pub(super) fn is_too_old(&self, now: Timestamp) -> bool {
        let kept_from = match self {
            Call::Opens(deadline) => deadline.due,
            Call::Closes(closing) => closing.time,
        };
        later(kept_from, KEPT) < now
    }

    /// What is known after this call; `None`: it changes nothing.
    pub(super) fn after(
        &self,
        known: Option<&WatchedDeadline>,
        now: Timestamp,
    ) -> Option<WatchedDeadline> {
        let mut next = known.cloned().unwrap_or_else(|| WatchedDeadline {
            key: self.key().clone(),
            opened: None,
            closed: None,
            dismissed: None,
            reminded: BTreeMap::new(),
        });
        match self {
            Call::Opens(deadline) => {
                let before = next.opened.as_ref().map(|opened| opened.opened);
                if before.is_some_and(|before| before >= deadline.opened) {
                    return None;
                }
                next.opened = Some((*deadline).clone());
                next.dismissed = None;
                next.reminded = BTreeMap::new();
                if deadline.due <= now {
                    // An old file is read: nobody needs to hear now that the deadline has passed. The other steps stay,
                    // because the clock may be wrong.
                    next.reminded.insert(PASSED, now);
                    next.reminded.insert(PASSED + PAGED, now);
                }
            }
            Call::Closes(closing) => {
                let before = next.closed.as_ref().map(|closed| closed.at);
                if before.is_some_and(|before| before >= closing.time) {
                    return None;
                }
                next.closed = Some(Closed {
                    at: closing.time,
                    by: format!("{} by {}", closing.event_name, closing.actor),
                    event_id: closing.event_id.clone(),
                });
            }
        }
        Some(next)
    }
}
