//! The tick: the hourly invocation that reminds people of deadlines that end soon, or have ended.
//!
//! A deadline is due for the last step that it has reached: three days, one day or four hours before its end, or the
//! end. So a tick that was missed is made up for by the next one. What was published is noted for each step and each
//! topic, and only then is it not published again: a crash between the two repeats a message, and loses none. A lock
//! keeps two ticks at the same time from publishing the same.
//!
//! After that, it looks for chains of digest files that are silent ([`audit::tick`]).
//!
//! Nothing is closed by the clock. A step that a wrong clock reached too early is only one step.

use std::time::Duration;

use cloudhsm_alerts_core::{
    alert::reminder::{self, Reminder, Stage},
    deadline::Deadline,
    severity::Severity,
};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::{
    audit,
    inbox::Inbox,
    publishing::{Publishing, Slot},
};
use crate::{
    channel::Channel,
    clock::{instant, later},
    failure::Failure,
    watch::{PAGED, PASSED, WatchedDeadline},
};

/// From this step on, in hours before the end, the paging topic gets reminders, too.
const PAGED_FROM: u16 = 24;
/// Pause before the lock is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// A deadline that is due for a step.
#[derive(Clone, Copy)]
struct Due<'a> {
    deadline: &'a Deadline,
    step: u16,
}

/// Publishes the reminders that are due. The invocation has one unit, which fails if something did.
pub(super) async fn run(publishing: &mut Publishing<'_>, inbox: &mut Inbox) {
    if !publishing.state.watch.is_on() {
        info!("a scheduled event without WATCH_TABLE: there are no deadlines to remind of");
        return;
    }
    if !lock(publishing, inbox).await {
        return;
    }
    remind(publishing, inbox).await;
    audit::tick::run(publishing, inbox).await;
    // If this fails, which is counted, the lock expires.
    let unlocking = publishing.state.watch.unlock();
    publishing.deadline.response(unlocking).await;
}

fn fail(inbox: &mut Inbox, failure: Failure) {
    inbox.fail(failure, &[0]);
}

/// Takes the lock, or waits a moment for a tick that has it.
async fn lock(publishing: &Publishing<'_>, inbox: &mut Inbox) -> bool {
    let timing = &publishing.instance.timing;
    let end = instant() + publishing.deadline.left_to_publish(timing.settle);
    loop {
        match renew(publishing).await {
            Ok(()) => return true,
            Err(Failure::TickLocked) if instant() + PAUSE < end => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(failure) => {
                fail(inbox, failure);
                return false;
            }
        }
    }
}

/// Takes the lock, or extends it.
async fn renew(publishing: &Publishing<'_>) -> Result<(), Failure> {
    let instance = publishing.instance;
    let until = later(instance.clock.now(), instance.timing.lease);
    let locking = publishing.state.watch.lock(until);
    match Failure::of_watch(publishing.deadline.response(locking).await)? {
        true => Ok(()),
        false => Err(Failure::TickLocked),
    }
}

async fn remind(publishing: &mut Publishing<'_>, inbox: &mut Inbox) {
    let listing = publishing.state.watch.list();
    let listed = match Failure::of_watch(publishing.deadline.response(listing).await) {
        Ok(listed) => listed,
        Err(failure) => return fail(inbox, failure),
    };
    inbox.counts.foreign_items += listed.foreign as u64;
    let now = publishing.instance.clock.now();
    let open: Vec<&Deadline> = listed.deadlines.iter().filter_map(|it| it.open()).collect();
    inbox.counts.deadlines_open = open.len() as u64;
    let steps = &publishing.instance.settings.reminders;
    for channel in [Channel::Alert, Channel::Page] {
        if publishing.state.publishers[channel].is_none() {
            continue;
        }
        let mut due: Vec<Due> = listed
            .deadlines
            .iter()
            .filter_map(|it| due(it, steps, channel, now))
            .collect();
        due.sort_by_key(|due| (due.deadline.due, due.deadline.key.clone()));
        let (passed, soon): (Vec<Due>, Vec<Due>) =
            due.into_iter().partition(|due| due.step == PASSED);
        for (stage, due) in [(Stage::EndsSoon, soon), (Stage::Passed, passed)] {
            if !publish(publishing, inbox, channel, stage, &due, &open).await {
                return;
            }
        }
    }
}

/// A deadline with the last step that it has reached, if the topic has not got that one yet.
fn due<'a>(
    watched: &'a WatchedDeadline,
    steps: &[u16],
    channel: Channel,
    now: Timestamp,
) -> Option<Due<'a>> {
    let deadline = watched.open()?;
    let left = deadline.due.duration_since(now);
    let is_reached = |step: &&u16| left <= SignedDuration::from_hours(i64::from(**step));
    let step = match left <= SignedDuration::ZERO {
        true => PASSED,
        false => *steps.iter().filter(is_reached).min()?,
    };
    let is_for_channel = channel == Channel::Alert || step <= PAGED_FROM;
    let is_done = watched.reminded.contains_key(&noted(step, channel));
    (is_for_channel && !is_done).then_some(Due { deadline, step })
}

/// The step as it is noted for a topic.
fn noted(step: u16, channel: Channel) -> u16 {
    match channel {
        Channel::Alert => step,
        Channel::Page => step + PAGED,
    }
}

/// Publishes the messages about these deadlines, and notes each. Returns whether there is time and a lock for more.
async fn publish(
    publishing: &mut Publishing<'_>,
    inbox: &mut Inbox,
    channel: Channel,
    stage: Stage,
    due: &[Due<'_>],
    open: &[&Deadline],
) -> bool {
    let instance = publishing.instance;
    let deadlines: Vec<&Deadline> = due.iter().map(|due| due.deadline).collect();
    let is_urgent = due.iter().any(|due| due.step <= PAGED_FROM);
    let accounts = instance.accounts.current();
    let messages = reminder::messages(&Reminder {
        stage,
        due: &deadlines,
        open,
        now: instance.clock.now(),
        severity: match is_urgent {
            true => Severity::Critical,
            false => Severity::High,
        },
        accounts: &accounts,
        table: instance.settings.watch_table.as_deref().unwrap_or_default(),
    });
    let mut rest = due;
    for (notice, count) in messages {
        let (about, others) = rest.split_at(count);
        rest = others;
        // Publishing many messages takes longer than a lock lasts.
        if let Err(failure) = renew(publishing).await {
            fail(inbox, failure);
            return false;
        }
        let patience = instance.timing.lease_left;
        if publishing.wait_for_slot(channel, patience).await != Slot::Now {
            fail(inbox, Failure::ReminderOutOfTime { channel });
            return false;
        }
        let message = match channel {
            Channel::Alert => &notice.message,
            Channel::Page => &notice.page,
        };
        if let Err(error) = publishing.send(channel, message, inbox).await {
            fail(inbox, Failure::Reminder { channel, error });
            continue;
        }
        info!(deadlines = count, channel = %channel, "reminder published");
        if channel == Channel::Alert {
            inbox.counts.reminders += count as u64;
        }
        let reminded: Vec<_> = about
            .iter()
            .map(|due| {
                let steps = vec![noted(due.step, channel)];
                (due.deadline.key.clone(), due.deadline.opened, steps)
            })
            .collect();
        let noting = publishing.state.watch.note_reminded(&reminded);
        if let Err(failure) = Failure::of_watch(publishing.deadline.response(noting).await) {
            fail(inbox, failure);
        }
    }
    true
}
