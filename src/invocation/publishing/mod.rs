//! Publishing: claim, publish, mark as sent; the most severe alert first.
//!
//! An alert goes to the alert topic, and then, if it is severe enough, a page to the paging topic. Each is tried
//! whatever became of the other. If one of them fails, the call fails, and the retry publishes only that one.
//!
//! Calls are claimed in batches, shortly before they are alerted, so that a crash leaves few claims and none gets
//! old. A call that another invocation has claimed is tried again at the end. How publishing can end for a call,
//! and what follows, is the table in [`ending`].

mod backfill;
mod ending;
mod paging;
mod sharing;
mod summaries;
mod topic;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use cloudhsm_alerts_core::{
    alert::{
        Alert,
        accounts::Accounts,
        compose::{self, Age},
        message::Message,
    },
    call_id::CallId,
    record::Outcome,
    severity::Severity,
    text::one_line,
};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use self::{
    backfill::Backfill,
    ending::{ClaimEnding, Ending},
    topic::CircuitBreaker,
};
pub(super) use topic::Slot;

use super::{
    deadlines::Deadlines,
    grouping::{Group, groups, repeats},
    inbox::Inbox,
    queue::{Found, Queue, QueuedCall},
    stops::Stops,
};
use crate::{
    channel::{Channel, Delivered, PerChannel},
    clock::{instant, later},
    instance::{Instance, State},
    ledger::{Claim, Ledger},
    panics,
    payload::{BatchMode, Job},
    sns::PublishError,
    timing::Deadline,
};

/// Most alerts in a batch: some eight summaries, published within seconds.
const BATCH_ALERTS: usize = 400;
/// Most calls in a batch, because claiming them takes time.
const BATCH_CALLS: usize = 2000;
/// Most bytes of the records that the alerts of a batch are about: parsed, they take some ten times as much.
const BATCH_BYTES: usize = 1024 * 1024;
/// Most calls that wait to be written to the watch table: their deadlines take a megabyte or two.
const MAX_UNWRITTEN: usize = 2000;
/// Pauses before calls that another invocation has claimed are tried again. The last one repeats.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The publishing of one invocation.
pub(super) struct Publishing<'a> {
    pub(super) instance: &'a Instance,
    pub(super) state: &'a mut State,
    pub(super) deadline: Deadline,
    accounts: Arc<Accounts>,
    backfill: Backfill,
    breakers: PerChannel<CircuitBreaker>,
    /// How many alerts may still be published one by one.
    singles_left: usize,
    /// Whether an alert was published before everything was read, because it was urgent.
    has_urgent: bool,
    /// Event names of the alerts that were published one by one before everything was read.
    single_names: HashSet<String>,
    /// The calls that this invocation has claimed and that have not ended.
    claimed: HashMap<CallId, Ticket>,
    /// Claimed alerts that wait for a summary, because the next slot is far away.
    waiting: Vec<Alert>,
    /// Whether the next slot was too far away for a single message.
    is_crowded: bool,
    /// Whether a summary to share was looked for. Alerts that follow do not wait for one.
    has_shared: bool,
    /// Whether the next message needs no slot: it is a shared summary, which has a pace of its own.
    has_slot: bool,
    /// Calls that another invocation has claimed.
    held: Vec<QueuedCall>,
    /// What the calls open and close.
    deadlines: Deadlines,
    /// Calls that stopped a trail.
    stops: Stops,
    /// Calls that were alerted but are not marked as sent, because the table failed.
    unmarked: Vec<CallId>,
}

/// What is known of a claimed call.
struct Ticket {
    /// The units that fail if it cannot be alerted.
    units: Vec<usize>,
    duplicates: u64,
    /// When the claim expires.
    until: Timestamp,
    /// Which channels have the message about it.
    delivered: Delivered,
}

/// A message, or the message of the panic while it was composed.
type Composed = Result<Message, String>;

fn calls_of(alerts: &[Alert]) -> Vec<CallId> {
    alerts.iter().flat_map(Alert::call_ids).cloned().collect()
}

impl<'a> Publishing<'a> {
    pub(super) fn new(
        instance: &'a Instance,
        state: &'a mut State,
        deadline: Deadline,
        job: Job,
    ) -> Publishing<'a> {
        Publishing {
            accounts: instance.accounts.current(),
            breakers: PerChannel::default(),
            singles_left: instance.settings.max_alerts,
            has_urgent: false,
            single_names: HashSet::new(),
            claimed: HashMap::new(),
            waiting: Vec::new(),
            is_crowded: false,
            has_shared: false,
            has_slot: false,
            held: Vec::new(),
            deadlines: Deadlines::default(),
            stops: Stops::default(),
            unmarked: Vec::new(),
            backfill: Backfill::new(job),
            instance,
            state,
            deadline,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// Adds a finding to the queue, and what its call does to deadlines and to a trail.
    pub(super) fn push(&mut self, mut found: Found, queue: &mut Queue, inbox: &mut Inbox) {
        if self.backfill.job.mode != BatchMode::DryRun {
            if let Some(call) = found.deadlines.take() {
                self.deadlines.push(*call, &found.units);
            }
            if let Some(stop) = found.stop.take() {
                self.stops.push(*stop, &found.units);
            }
        }
        queue.push(found, &self.state.ledger, &mut inbox.counts);
    }

    /// Whether so many calls wait to be written to the watch table that they must be written before more is read.
    pub(super) fn is_watch_full(&self) -> bool {
        self.deadlines.len() + self.stops.len() > MAX_UNWRITTEN
    }

    /// Writes what the calls did to deadlines and to trails to the watch table.
    pub(super) async fn write_watch(&mut self, inbox: &mut Inbox) {
        let watch = &self.state.watch;
        self.deadlines.write(watch, self.deadline, inbox).await;
        self.stops.write(watch, self.deadline, inbox).await;
    }

    /// Publishes alerts about these calls: the most severe one by one, the rest in summaries, in the order of
    /// [`groups`]. `all_is_read`: no more calls will follow.
    pub(super) async fn publish(
        &mut self,
        calls: Vec<QueuedCall>,
        all_is_read: bool,
        inbox: &mut Inbox,
    ) {
        if self.backfill.job.mode == BatchMode::DryRun {
            for call in calls {
                self.end_unclaimed(call, &Ending::OnlyCounted, inbox);
            }
            return;
        }
        let now = self.instance.clock.now();
        let mut batch = Vec::new();
        let (mut batch_calls, mut batch_bytes) = (0, 0);
        // The first batch has the alerts that are published one by one, so that the first message waits for few claims.
        let mut max_alerts = self.singles_left.clamp(1, BATCH_ALERTS);
        for group in groups(calls, |time| self.backfill.is_old(time, now)) {
            let (calls, bytes) = (group.0.len(), group.first().call.size());
            let is_full = batch.len() == max_alerts
                || batch_calls + calls > BATCH_CALLS
                || batch_bytes + bytes > BATCH_BYTES;
            if is_full && !batch.is_empty() {
                let batch = std::mem::take(&mut batch);
                let more = self.publish_batch(batch, all_is_read, inbox).await;
                self.publish_recent(more, inbox).await;
                (batch_calls, batch_bytes, max_alerts) = (0, 0, BATCH_ALERTS);
            }
            batch_calls += calls;
            batch_bytes += bytes;
            batch.push(group);
        }
        let more = self.publish_batch(batch, all_is_read, inbox).await;
        if all_is_read && self.is_crowded && !self.has_shared && self.can_share(&more, inbox) {
            self.waiting.extend(more);
        } else {
            self.publish_recent(more, inbox).await;
        }
    }

    /// In a storm, publishes one alert before everything is read, if a call is urgent.
    pub(super) async fn publish_urgent(&mut self, queue: &mut Queue, inbox: &mut Inbox) {
        if self.has_urgent || self.singles_left == 0 || self.backfill.job.mode != BatchMode::Live {
            return;
        }
        if let Some(call) = queue.take_urgent() {
            self.has_urgent = true;
            self.publish(vec![call], true, inbox).await;
        }
    }

    /// Publishes single messages, and summaries of old calls. Returns the alerts that remain for summaries.
    async fn publish_batch(
        &mut self,
        batch: Vec<Group>,
        all_is_read: bool,
        inbox: &mut Inbox,
    ) -> Vec<Alert> {
        let mut possible = Vec::new();
        for group in batch {
            let out_of_time = self
                .deadline
                .publishing_is_over()
                .then_some(Ending::OutOfTime(Channel::Alert));
            let first = &group.first().call;
            let age = self.age(first.time);
            match out_of_time.or_else(|| self.rejected_by_topic(first.severity, age)) {
                Some(ending) => {
                    for call in group.0 {
                        self.end_unclaimed(call, &ending, inbox);
                    }
                }
                None => possible.push(group),
            }
        }
        let alerts = self.claim_batch(possible, inbox).await;
        let (old, recent): (Vec<Alert>, Vec<Alert>) = alerts
            .into_iter()
            .partition(|alert| self.age(alert.time) == Age::Old);
        let (mut singles, mut rest) = (Vec::new(), Vec::new());
        for alert in recent {
            if singles.len() < self.singles_left && self.may_be_single(&alert, all_is_read) {
                singles.push(alert);
            } else {
                rest.push(alert);
            }
        }
        let mut singles = singles.into_iter();
        let mut summarized = Vec::new();
        while let Some(alert) = singles.next() {
            if let Some(ending) = self.rejected_by_topic(alert.severity, Age::Recent) {
                self.end(&calls_of(&[alert]), &ending, inbox).await;
                continue;
            }
            let patience = self.instance.timing.crowded;
            match self.wait_for_alert_slot(&alert, patience).await {
                Slot::Now => {
                    self.singles_left = self.singles_left.saturating_sub(1);
                    self.publish_alerts(vec![alert], None, Age::Recent, inbox)
                        .await;
                }
                Slot::Crowded => {
                    self.is_crowded = true;
                    summarized.push(alert);
                    break;
                }
                Slot::OutOfTime => {
                    let mut late = vec![alert];
                    late.extend(singles);
                    late.extend(rest);
                    late.extend(old);
                    let ending = Ending::OutOfTime(Channel::Alert);
                    self.end(&calls_of(&late), &ending, inbox).await;
                    return Vec::new();
                }
            }
        }
        summarized.extend(singles);
        summarized.extend(rest);
        let is_alerted = |alert: &Alert| self.delivered(&alert.call_id)[Channel::Alert];
        let (alerted, old): (Vec<Alert>, Vec<Alert>) = old.into_iter().partition(is_alerted);
        if !old.is_empty() {
            self.publish_recent(std::mem::take(&mut summarized), inbox)
                .await;
        }
        // Old calls do not page. Their claims expire, so that the retry that they lack a page for still finds them.
        self.end(&calls_of(&alerted), &Ending::Duplicate, inbox)
            .await;
        self.publish_summaries(old, Age::Old, inbox).await;
        summarized
    }

    /// Whether a call of this time is recent, or an old one of a backfill.
    fn age(&self, time: Option<Timestamp>) -> Age {
        if self.backfill.is_old(time, self.instance.clock.now()) {
            Age::Old
        } else {
            Age::Recent
        }
    }

    /// The ending of calls of this severity that are not tried any more, because the circuit breaker of the alert
    /// topic is open and no page can be published about them.
    fn rejected_by_topic(&self, severity: Severity, age: Age) -> Option<Ending> {
        let error = self.breakers[Channel::Alert].error()?;
        (!self.can_page(severity, age)).then(|| Ending::Rejected(Channel::Alert, error.clone()))
    }

    /// Which channels have the message about a claimed call.
    fn delivered(&self, call: &CallId) -> Delivered {
        let ticket = self.claimed.get(call);
        ticket.map_or_else(Delivered::default, |ticket| ticket.delivered)
    }

    /// Waits for the next slot to publish an alert, at most `patience`, unless the alert topic has it or is down.
    async fn wait_for_alert_slot(&mut self, alert: &Alert, patience: Duration) -> Slot {
        let is_over = self.delivered(&alert.call_id)[Channel::Alert]
            || self.breakers[Channel::Alert].error().is_some();
        let has_slot = std::mem::take(&mut self.has_slot);
        if (is_over || has_slot) && !self.deadline.publishing_is_over() {
            return Slot::Now;
        }
        self.wait_for_slot(Channel::Alert, patience).await
    }

    /// Waits for the next slot to publish to a topic, at most `patience`.
    pub(super) async fn wait_for_slot(&mut self, channel: Channel, patience: Duration) -> Slot {
        let (instance, deadline) = (self.instance, self.deadline);
        topic::wait_for_slot(instance, self.state, deadline, channel, patience).await
    }

    /// Publishes a message, unless the topic has failed too often. Without a paging topic, no page is published.
    pub(super) async fn send(
        &mut self,
        channel: Channel,
        message: &Message,
        inbox: &mut Inbox,
    ) -> Result<(), PublishError> {
        let Some(publisher) = self.state.publishers[channel].as_mut() else {
            return Ok(());
        };
        let sent = self.breakers[channel]
            .send(publisher, self.deadline, message)
            .await;
        inbox.measures.messages += u64::from(sent.is_ok());
        sent
    }

    /// Whether an alert may be published alone. While more is to be read, only alerts about critical calls that
    /// succeeded may, one for each event name: a more severe call may follow.
    fn may_be_single(&mut self, alert: &Alert, all_is_read: bool) -> bool {
        all_is_read
            || (alert.severity == Severity::Critical
                && alert.outcome == Outcome::Success
                && self.single_names.insert(alert.event_name.clone()))
    }

    /// Claims the calls of a batch; gives the alerts about those that are claimed now.
    async fn claim_batch(&mut self, batch: Vec<Group>, inbox: &mut Inbox) -> Vec<Alert> {
        let until = self.new_expiry();
        let calls: Vec<&CallId> = batch
            .iter()
            .flat_map(|group| &group.0)
            .map(|queued| &queued.call.call_id)
            .collect();
        // One claim for each call, in their order.
        let mut claims = self.claim(&calls).await.into_iter();
        let mut alerts = Vec::new();
        for group in batch {
            // Only calls of which the same was delivered can share an alert.
            let mut ours: Vec<(Delivered, Vec<QueuedCall>)> = Vec::new();
            for (mut queued, claim) in group.0.into_iter().zip(claims.by_ref()) {
                match claim {
                    Claim::Ours(delivered) => {
                        let ticket = Ticket {
                            units: std::mem::take(&mut queued.units),
                            duplicates: queued.duplicates,
                            until,
                            delivered,
                        };
                        self.claimed.insert(queued.call.call_id.clone(), ticket);
                        match ours.iter_mut().find(|(known, _)| *known == delivered) {
                            Some((_, calls)) => calls.push(queued),
                            None => ours.push((delivered, vec![queued])),
                        }
                    }
                    Claim::Alerted => self.end_unclaimed(queued, &Ending::Duplicate, inbox),
                    Claim::Held => self.held.push(queued),
                }
            }
            for (_, calls) in ours {
                alerts.extend(self.alert_about(calls, inbox).await);
            }
        }
        self.note_deadlines(&mut alerts).await;
        alerts
    }

    /// Adds to the alerts what is known of deadlines. If the table does not respond, they go out without that.
    async fn note_deadlines(&mut self, alerts: &mut [Alert]) {
        let calls = alerts.iter().map(|alert| &alert.call_id);
        let listed = if self.deadlines.are_closed_by(calls) {
            let listing = self.state.watch.list();
            self.deadline.response(listing).await.and_then(Result::ok)
        } else {
            None
        };
        let listed = listed.unwrap_or_default();
        let reminders = &self.instance.settings.reminders;
        let now = self.instance.clock.now();
        for alert in alerts {
            let call = &alert.call_id;
            alert.deadline = self.deadlines.note(call, &listed, reminders, now);
        }
    }

    /// The alert about the first of these claimed calls, which all others repeat.
    async fn alert_about(&mut self, calls: Vec<QueuedCall>, inbox: &mut Inbox) -> Option<Alert> {
        let repeats = repeats(&calls);
        let call_ids: Vec<CallId> = calls
            .iter()
            .map(|queued| queued.call.call_id.clone())
            .collect();
        let first = calls.into_iter().next()?;
        match panics::catch(|| first.call.alert(&self.accounts)) {
            Ok(mut alert) => {
                alert.repeats = repeats;
                Some(alert)
            }
            Err(message) => {
                self.end(&call_ids, &Ending::Panicked(message), inbox).await;
                None
            }
        }
    }

    /// The claims, one for each call.
    async fn claim(&mut self, calls: &[&CallId]) -> Vec<Claim> {
        let claims = self.deadline.response(self.state.ledger.claim(calls)).await;
        // Without a response before the end of the invocation, the calls end as out of time, claimed or not.
        claims.unwrap_or_else(|| vec![Claim::Ours(Delivered::default()); calls.len()])
    }

    /// When a claim that is made now expires.
    fn new_expiry(&self) -> Timestamp {
        later(self.instance.clock.now(), self.instance.timing.lease)
    }

    /// Publishes one message about these alerts and the page, and ends their calls. Gives two parts to try instead if
    /// SNS refuses the message for its content: one of the calls in it may be the reason.
    ///
    /// `composed` is the message, if it was composed before.
    async fn publish_alerts(
        &mut self,
        alerts: Vec<Alert>,
        composed: Option<Composed>,
        age: Age,
        inbox: &mut Inbox,
    ) -> Vec<Vec<Alert>> {
        let count = alerts.iter().map(Alert::count).sum::<usize>();
        let mut alerts = self.still_claimed(alerts, inbox).await;
        // Without the calls that were lost, it is another message.
        let composed = composed.filter(|_| alerts.iter().map(Alert::count).sum::<usize>() == count);
        let Some(first) = alerts.first() else {
            return Vec::new();
        };
        let alerted = if self.delivered(&first.call_id)[Channel::Alert] {
            Ok(())
        } else {
            self.publish_message(&alerts, composed, age, inbox).await
        };
        if let Err(Ending::Rejected(_, PublishError::Refused(_))) = alerted
            && alerts.len() > 1
        {
            let second = alerts.split_off(alerts.len() / 2);
            return vec![alerts, second];
        }
        let paged = self.paged(&alerts, age);
        let page = self.publish_page(&paged, inbox).await;
        let whole = if alerts.len() > 1 {
            Ending::Summarized
        } else {
            Ending::Published
        };
        let ended: Vec<(&CallId, &Ending)> = alerts
            .iter()
            .flat_map(|alert| {
                let is_paged = paged.iter().any(|paged| std::ptr::eq(*paged, alert));
                let failed = alerted
                    .as_ref()
                    .err()
                    .or_else(|| page.as_ref().err().filter(|_| is_paged));
                let (first, grouped) = match failed {
                    Some(failed) => (failed, failed),
                    None => (&whole, &Ending::Grouped),
                };
                let grouped = alert.repeats.calls.iter().map(move |call| (call, grouped));
                std::iter::once((&alert.call_id, first)).chain(grouped)
            })
            .collect();
        self.end_each(&ended, inbox).await;
        Vec::new()
    }

    /// Publishes the message about these alerts to the alert topic, and composes it if that was not done before.
    async fn publish_message(
        &mut self,
        alerts: &[Alert],
        composed: Option<Composed>,
        age: Age,
        inbox: &mut Inbox,
    ) -> Result<(), Ending> {
        let message = match composed {
            Some(composed) => composed.map(Some),
            None => panics::catch(|| compose::message(alerts, age)),
        };
        match message {
            Ok(Some(message)) => self
                .send(Channel::Alert, &message, inbox)
                .await
                .map_err(|error| Ending::Rejected(Channel::Alert, error))?,
            // No alert, no message.
            Ok(None) => return Ok(()),
            Err(message) => return Err(Ending::Panicked(message)),
        }
        self.set_delivered(alerts.iter(), Channel::Alert);
        self.log_published(alerts, age, inbox);
        Ok(())
    }

    fn set_delivered<'b>(&mut self, alerts: impl Iterator<Item = &'b Alert>, channel: Channel) {
        for call in alerts.flat_map(Alert::call_ids) {
            if let Some(ticket) = self.claimed.get_mut(call) {
                ticket.delivered[channel] = true;
            }
        }
    }

    /// The alerts, without those whose claims were lost. Claims that would expire before the message is published are
    /// renewed.
    async fn still_claimed(&mut self, alerts: Vec<Alert>, inbox: &mut Inbox) -> Vec<Alert> {
        if !self.state.ledger.is_shared() {
            return alerts;
        }
        let needed = later(self.instance.clock.now(), self.instance.timing.lease_left);
        let expires = |alert: &&Alert| {
            alert
                .call_ids()
                .filter_map(|call| self.claimed.get(call))
                .any(|ticket| ticket.until <= needed)
        };
        let expiring: Vec<CallId> = alerts
            .iter()
            .filter(expires)
            .flat_map(Alert::call_ids)
            .cloned()
            .collect();
        if expiring.is_empty() {
            return alerts;
        }
        let until = self.new_expiry();
        let claims = self.claim(&expiring.iter().collect::<Vec<_>>()).await;
        let claims: HashMap<CallId, Claim> = expiring.into_iter().zip(claims).collect();
        let mut still_claimed = Vec::new();
        for mut alert in alerts {
            let calls: Vec<CallId> = alert.call_ids().cloned().collect();
            let mut lost = HashSet::new();
            for call in &calls {
                let ending = match claims.get(call) {
                    None => continue,
                    Some(Claim::Ours(_)) => {
                        if let Some(ticket) = self.claimed.get_mut(call) {
                            ticket.until = until;
                        }
                        continue;
                    }
                    Some(Claim::Alerted) => Ending::Duplicate,
                    Some(Claim::Held) => Ending::Claimed,
                };
                self.end(std::slice::from_ref(call), &ending, inbox).await;
                lost.insert(call);
            }
            if lost.contains(&alert.call_id) {
                // The claim on the call that the alert is about was lost. A retry alerts the other calls.
                let rest: Vec<CallId> = calls
                    .iter()
                    .filter(|call| !lost.contains(call))
                    .cloned()
                    .collect();
                self.end(&rest, &Ending::OutOfTime(Channel::Alert), inbox)
                    .await;
                continue;
            }
            alert.repeats.calls.retain(|call| !lost.contains(call));
            still_claimed.push(alert);
        }
        still_claimed
    }

    /// Logs alerts that were published, and measures how late.
    fn log_published(&self, alerts: &[Alert], age: Age, inbox: &mut Inbox) {
        for alert in alerts {
            info!(
                event_id = one_line(&alert.event_id, 256),
                event_name = one_line(&alert.event_name, 128),
                severity = alert.severity.as_str(),
                outcome = alert.outcome.as_str(),
                rule = alert.rules.first().map(|rule| rule.name.as_str()),
                source = %alert.source,
                summary = alerts.len() > 1,
                calls = alert.count(),
                "alert published"
            );
        }
        // Of a summary, the call that waited longest. Old calls of a backfill have no latency.
        if age == Age::Recent
            && let Some(first) = alerts.iter().filter_map(|alert| alert.time).min()
        {
            let latency = self.instance.clock.now().duration_since(first);
            let latency = latency.max(SignedDuration::ZERO);
            inbox.measures.latencies_millis.push(latency.as_millis());
        }
    }

    /// Ends claimed calls, all in one way.
    async fn end(&mut self, calls: &[CallId], ending: &Ending, inbox: &mut Inbox) {
        let ended: Vec<(&CallId, &Ending)> = calls.iter().map(|call| (call, ending)).collect();
        self.end_each(&ended, inbox).await;
    }

    /// Ends claimed calls. The requests about their claims are made together, because each takes its time.
    async fn end_each(&mut self, ended: &[(&CallId, &Ending)], inbox: &mut Inbox) {
        let (mut sent, mut released) = (Vec::new(), Vec::new());
        for &(call, ending) in ended {
            let mut delivered = Delivered::default();
            if let Some(ticket) = self.claimed.remove(call) {
                let mode = self.backfill.job.mode;
                ending.record(call, &ticket.units, ticket.duplicates, mode, inbox);
                delivered = ticket.delivered;
            }
            match ending.claim() {
                ClaimEnding::MarkSent => sent.push(call),
                ClaimEnding::Release => released.push((call, delivered)),
                ClaimEnding::None => {}
            }
        }
        self.mark_sent(&sent).await;
        if !released.is_empty() {
            self.deadline
                .response(self.state.ledger.release(&released))
                .await;
        }
    }

    /// Ends a call that this invocation has not claimed.
    fn end_unclaimed(&self, queued: QueuedCall, ending: &Ending, inbox: &mut Inbox) {
        let QueuedCall {
            call,
            units,
            duplicates,
            ..
        } = queued;
        ending.record(
            &call.call_id,
            &units,
            duplicates,
            self.backfill.job.mode,
            inbox,
        );
    }

    async fn mark_sent(&mut self, calls: &[&CallId]) {
        if calls.is_empty() {
            return;
        }
        let unmarked = self
            .deadline
            .response(self.state.ledger.mark_sent(calls))
            .await;
        self.unmarked.extend(unmarked.unwrap_or_default());
    }

    /// After everything was published: waits for the calls that another invocation has claimed until they are
    /// alerted, or can be claimed, or no time is left. A call that is still claimed then fails its units. Then marks
    /// what the table has not accepted before.
    pub(super) async fn finish(&mut self, inbox: &mut Inbox) {
        let end = instant() + self.deadline.left_to_publish(self.instance.timing.settle);
        let mut pauses = PAUSES.iter();
        let mut pause = PAUSES[0];
        while !self.held.is_empty() {
            pause = pauses.next().copied().unwrap_or(pause);
            if instant() + pause >= end {
                break;
            }
            tokio::time::sleep(pause).await;
            let held = std::mem::take(&mut self.held);
            self.publish(held, true, inbox).await;
        }
        for held in std::mem::take(&mut self.held) {
            self.end_unclaimed(held, &Ending::Claimed, inbox);
        }
        let unmarked = std::mem::take(&mut self.unmarked);
        self.mark_sent(&unmarked.iter().collect::<Vec<_>>()).await;
    }
}
