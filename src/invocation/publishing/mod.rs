//! Publishing: claim, publish, mark as sent; the most severe alert first.
//!
//! Calls are claimed in batches, shortly before they are alerted, so that a crash leaves few claims and none gets
//! old. A call that another invocation has claimed is tried again at the end. How publishing can end for a call,
//! and what follows, is the table in [`ending`].

mod backfill;
mod ending;
mod paging;
mod topic;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use cloudhsm_alerts_core::{
    alert::{
        Alert,
        compose::{self, Delivery},
        message::Message,
        summary,
    },
    call_id::CallId,
    record::Outcome,
    severity::Severity,
    text::one_line,
};
use jiff::{SignedDuration, Timestamp};
use tracing::info;

use self::{
    backfill::{Age, Backfill},
    ending::{ClaimEnding, Ending},
    paging::take_pages,
    topic::CircuitBreaker,
};
pub(super) use topic::Slot;

use super::{
    grouping::{Group, groups, repeats},
    inbox::Inbox,
    queue::QueuedCall,
};
use crate::{
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
/// Pauses before calls that another invocation has claimed are tried again. The last one repeats.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The publishing of one invocation.
pub(super) struct Publishing<'a> {
    instance: &'a Instance,
    pub(super) state: &'a mut State,
    pub(super) deadline: Deadline,
    backfill: Backfill,
    topic: CircuitBreaker,
    /// How many alerts may still be published one by one.
    singles_left: usize,
    /// Event names of the alerts that were published one by one before everything was read.
    single_names: HashSet<String>,
    /// The calls that this invocation has claimed and that have not ended.
    claimed: HashMap<CallId, Ticket>,
    /// Calls that another invocation has claimed.
    held: Vec<QueuedCall>,
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
}

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
            topic: CircuitBreaker::default(),
            singles_left: instance.settings.max_alerts,
            single_names: HashSet::new(),
            claimed: HashMap::new(),
            held: Vec::new(),
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
                self.publish_batch(std::mem::take(&mut batch), all_is_read, inbox)
                    .await;
                (batch_calls, batch_bytes, max_alerts) = (0, 0, BATCH_ALERTS);
            }
            batch_calls += calls;
            batch_bytes += bytes;
            batch.push(group);
        }
        if !batch.is_empty() {
            self.publish_batch(batch, all_is_read, inbox).await;
        }
    }

    async fn publish_batch(&mut self, batch: Vec<Group>, all_is_read: bool, inbox: &mut Inbox) {
        let out_of_time = || {
            self.deadline
                .publishing_is_over()
                .then_some(Ending::OutOfTime)
        };
        if let Some(ending) = self.rejected_by_topic().or_else(out_of_time) {
            for call in batch.into_iter().flat_map(|group| group.0) {
                self.end_unclaimed(call, &ending, inbox);
            }
            return;
        }
        let alerts = self.claim_batch(batch, inbox).await;
        let now = self.instance.clock.now();
        let (old, recent): (Vec<Alert>, Vec<Alert>) = alerts
            .into_iter()
            .partition(|alert| self.backfill.is_old(alert.time, now));
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
            if let Some(ending) = self.rejected_by_topic() {
                self.end(&calls_of(&[alert]), &ending, inbox).await;
                continue;
            }
            match self.wait_for_slot(self.instance.timing.crowded).await {
                Slot::Now => {
                    self.singles_left = self.singles_left.saturating_sub(1);
                    self.publish_alerts(vec![alert], Age::Recent, inbox).await;
                }
                Slot::Crowded => {
                    summarized.push(alert);
                    break;
                }
                Slot::OutOfTime => {
                    let mut late = vec![alert];
                    late.extend(singles);
                    late.extend(rest);
                    late.extend(old);
                    return self.end(&calls_of(&late), &Ending::OutOfTime, inbox).await;
                }
            }
        }
        summarized.extend(singles);
        summarized.extend(rest);
        self.publish_summaries(summarized, Age::Recent, inbox).await;
        self.publish_summaries(old, Age::Old, inbox).await;
    }

    /// The ending of calls that are not tried any more, because the topic's circuit breaker is open.
    fn rejected_by_topic(&self) -> Option<Ending> {
        self.topic.error().cloned().map(Ending::Rejected)
    }

    /// Waits for the next slot to publish, at most `patience`.
    pub(super) async fn wait_for_slot(&mut self, patience: Duration) -> Slot {
        topic::wait_for_slot(self.instance, self.state, self.deadline, patience).await
    }

    /// Publishes a message, unless the topic has failed too often.
    pub(super) async fn send(
        &mut self,
        message: &Message,
        inbox: &mut Inbox,
    ) -> Result<(), PublishError> {
        let sent = self
            .topic
            .send(&self.state.publisher, self.deadline, message)
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
            let mut ours = Vec::new();
            for (mut queued, claim) in group.0.into_iter().zip(claims.by_ref()) {
                match claim {
                    Claim::Ours => {
                        let ticket = Ticket {
                            units: std::mem::take(&mut queued.units),
                            duplicates: queued.duplicates,
                            until,
                        };
                        self.claimed.insert(queued.call.call_id.clone(), ticket);
                        ours.push(queued);
                    }
                    Claim::Alerted => self.end_unclaimed(queued, &Ending::Duplicate, inbox),
                    Claim::Held => self.held.push(queued),
                }
            }
            let repeats = repeats(&ours);
            let call_ids: Vec<CallId> = ours
                .iter()
                .map(|queued| queued.call.call_id.clone())
                .collect();
            let Some(first) = ours.into_iter().next() else {
                continue;
            };
            match panics::catch(|| first.call.alert(&self.instance.settings.accounts)) {
                Ok(mut alert) => {
                    alert.repeats = repeats;
                    alerts.push(alert);
                }
                Err(message) => {
                    self.end(&call_ids, &Ending::Panicked(message), inbox).await;
                }
            }
        }
        alerts
    }

    /// The claims, one for each call.
    async fn claim(&mut self, calls: &[&CallId]) -> Vec<Claim> {
        let claims = self.deadline.response(self.state.ledger.claim(calls)).await;
        // Without a response before the end of the invocation, the calls end as out of time, claimed or not.
        claims.unwrap_or_else(|| vec![Claim::Ours; calls.len()])
    }

    /// When a claim that is made now expires.
    fn new_expiry(&self) -> Timestamp {
        later(self.instance.clock.now(), self.instance.timing.lease)
    }

    /// Publishes alerts, several in a message.
    async fn publish_summaries(&mut self, alerts: Vec<Alert>, age: Age, inbox: &mut Inbox) {
        if alerts.is_empty() {
            return;
        }
        let calls = calls_of(&alerts);
        let mut groups = match panics::catch(|| summary::split(alerts)) {
            Ok(groups) => groups,
            Err(message) => {
                return self.end(&calls, &Ending::Panicked(message), inbox).await;
            }
        };
        // A stack with the most severe on top.
        groups.reverse();
        while let Some(alerts) = groups.pop() {
            if age == Age::Old && !self.backfill.take_message(self.state, self.deadline).await {
                self.end(&calls_of(&alerts), &Ending::OnlyCounted, inbox)
                    .await;
                continue;
            }
            if let Some(ending) = self.rejected_by_topic() {
                self.end(&calls_of(&alerts), &ending, inbox).await;
                continue;
            }
            if self.wait_for_slot(Duration::MAX).await != Slot::Now {
                let late: Vec<Alert> = alerts
                    .into_iter()
                    .chain(groups.into_iter().flatten())
                    .collect();
                return self.end(&calls_of(&late), &Ending::OutOfTime, inbox).await;
            }
            let parts = self.publish_alerts(alerts, age, inbox).await;
            groups.extend(parts.into_iter().rev());
        }
    }

    /// Publishes one message about these alerts and ends their calls. Gives two parts to try instead if SNS refuses
    /// the message for its content: one of the calls in it may be the reason.
    async fn publish_alerts(
        &mut self,
        alerts: Vec<Alert>,
        age: Age,
        inbox: &mut Inbox,
    ) -> Vec<Vec<Alert>> {
        let mut alerts = self.still_claimed(alerts, inbox).await;
        if alerts.is_empty() {
            return Vec::new();
        }
        let failed = match self.deliver(&alerts, age, inbox).await {
            Ok(()) => {
                self.published(&alerts, age, inbox).await;
                return Vec::new();
            }
            Err(Ending::Rejected(PublishError::Refused(_))) if alerts.len() > 1 => {
                let second = alerts.split_off(alerts.len() / 2);
                return vec![alerts, second];
            }
            Err(ending) => ending,
        };
        self.end(&calls_of(&alerts), &failed, inbox).await;
        Vec::new()
    }

    /// Composes and publishes the message about these alerts.
    async fn deliver(
        &mut self,
        alerts: &[Alert],
        age: Age,
        inbox: &mut Inbox,
    ) -> Result<(), Ending> {
        let (delivery, pages) = match age {
            Age::Recent => take_pages(&mut self.state.ledger, self.deadline, alerts).await,
            Age::Old => (Delivery::Backfill, Vec::new()),
        };
        let sent = match panics::catch(|| compose::message(alerts, delivery)) {
            Ok(Some(message)) => self.send(&message, inbox).await.map_err(Ending::Rejected),
            // No alert, no message.
            Ok(None) => Ok(()),
            Err(message) => Err(Ending::Panicked(message)),
        };
        if sent.is_err() {
            self.deadline
                .response(self.state.ledger.release_pages(pages))
                .await;
        }
        sent
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
                    Some(Claim::Ours) => {
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
                self.end(&rest, &Ending::OutOfTime, inbox).await;
                continue;
            }
            alert.repeats.calls.retain(|call| !lost.contains(call));
            still_claimed.push(alert);
        }
        still_claimed
    }

    /// A message about these alerts was published: logs it and ends their calls.
    async fn published(&mut self, alerts: &[Alert], age: Age, inbox: &mut Inbox) {
        let now = self.instance.clock.now();
        let is_summary = alerts.len() > 1;
        let ending = if is_summary {
            Ending::Summarized
        } else {
            Ending::Published
        };
        let ended: Vec<(&CallId, &Ending)> = alerts
            .iter()
            .flat_map(|alert| {
                let grouped = alert.repeats.calls.iter();
                std::iter::once((&alert.call_id, &ending))
                    .chain(grouped.map(|call| (call, &Ending::Grouped)))
            })
            .collect();
        self.end_each(&ended, inbox).await;
        for alert in alerts {
            info!(
                event_id = one_line(&alert.event_id, 256),
                event_name = one_line(&alert.event_name, 128),
                severity = alert.severity.as_str(),
                outcome = alert.outcome.as_str(),
                rule = alert.rules.first().map(|rule| rule.name.as_str()),
                source = %alert.source,
                summary = is_summary,
                calls = alert.count(),
                "alert published"
            );
        }
        // Of a summary, the call that waited longest. Old calls of a backfill have no latency.
        if age == Age::Recent
            && let Some(first) = alerts.iter().filter_map(|alert| alert.time).min()
        {
            let latency = now.duration_since(first).max(SignedDuration::ZERO);
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
            if let Some(ticket) = self.claimed.remove(call) {
                let mode = self.backfill.job.mode;
                ending.record(call, &ticket.units, ticket.duplicates, mode, inbox);
            }
            match ending.claim() {
                ClaimEnding::MarkSent => sent.push(call),
                ClaimEnding::Release => released.push(call),
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
