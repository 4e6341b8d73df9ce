//! Telling what was found: claim, publish, note as sent; the most severe first.
//!
//! Calls are claimed in waves, shortly before they are told, so that a crash leaves few claims behind and
//! none gets old. What another invocation has claimed is left to it, and asked about again at the end: if it
//! is not told by then, its units fail and come back.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::{
    fold::{Fold, folds, repeats},
    guard::guarded,
    run::{Run, Waiting},
};
use crate::{
    clock::{instant, later},
    ledger::{Claim, Turn},
    outcome::Failure,
    payload::BatchMode,
    sns::PublishError,
};
use cloudhsm_alerts_core::{
    alert::{Alert, backfill, digest, message::Message},
    call_id::CallId,
    record::Outcome,
    severity::Severity,
    text::one_line,
};

/// Alerts whose calls are claimed at a time: some eight digests, published within seconds.
const WAVE: usize = 400;
/// And so many calls, which is what takes time.
const WAVE_CALLS: usize = 2000;
/// And so many bytes of the records that alerts are about, which become trees of some ten times the size.
const WAVE_WEIGHT: usize = 1024 * 1024;
/// After so many messages in a row for which SNS gave no answer, the rest is handed back untried.
const ENOUGH: u32 = 3;
/// Pauses between questions whether another invocation has done with its claim, the last one repeated.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// What belongs to a claimed alert while it is told.
struct Ticket {
    units: Vec<usize>,
    again: u64,
    /// Until when the claim is good.
    until: Timestamp,
}

type Tickets = HashMap<CallId, Ticket>;

/// Whether a message is about what happens now or, in a backfill, about the past.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Present,
    Past,
}

/// Whether the next message may go out.
enum Go {
    Now,
    /// Not soon: other instances have messages waiting.
    Crowded,
    /// The invocation ends before.
    Late,
}

/// All calls that alerts are about.
fn calls_of(alerts: &[Alert]) -> Vec<CallId> {
    alerts.iter().flat_map(Alert::call_ids).cloned().collect()
}

impl Run<'_> {
    /// Publishes what waits: the most severe one by one, the rest in digests, in the order of [`folds`].
    pub(super) async fn publish(&mut self, all_is_read: bool) {
        let waiting = self.take_waiting();
        if self.job.mode == BatchMode::DryRun {
            for waiting in waiting {
                self.only_counted(1 + waiting.again, &waiting.units);
            }
            return;
        }
        self.publish_all(waiting, all_is_read).await;
        if all_is_read {
            self.settle().await;
        }
    }

    async fn publish_all(&mut self, waiting: Vec<Waiting>, all_is_read: bool) {
        let mut wave = Vec::new();
        let (mut calls, mut weight) = (0, 0);
        // The first wave holds what is sent one by one, so that the first message waits for few claims.
        let mut most = self.singles.clamp(1, WAVE);
        for fold in folds(waiting, |time| self.is_past(time)) {
            let (more_calls, more_weight) = (fold.0.len(), fold.first().call.weight());
            let is_full = wave.len() == most
                || calls + more_calls > WAVE_CALLS
                || weight + more_weight > WAVE_WEIGHT;
            if is_full && !wave.is_empty() {
                self.wave(std::mem::take(&mut wave), all_is_read).await;
                (calls, weight, most) = (0, 0, WAVE);
            }
            calls += more_calls;
            weight += more_weight;
            wave.push(fold);
        }
        if !wave.is_empty() {
            self.wave(wave, all_is_read).await;
        }
    }

    /// Claims calls and publishes those that are ours.
    async fn wave(&mut self, wave: Vec<Fold>, all_is_read: bool) {
        if let Some(error) = self.topic_is_down.clone() {
            for waiting in wave.iter().flat_map(|fold| &fold.0) {
                self.not_told(waiting, error.clone());
            }
            return;
        }
        if self.deadline.publishing_is_over() {
            for waiting in wave.iter().flat_map(|fold| &fold.0) {
                self.out_of_time(&waiting.call.call_id, waiting.again, &waiting.units);
            }
            return;
        }
        let function = self.function;
        let until = self.claim_expires();
        let calls: Vec<&CallId> = wave
            .iter()
            .flat_map(|fold| &fold.0)
            .map(|waiting| &waiting.call.call_id)
            .collect();
        let mut claims = self.ask_to_claim(&calls).await.into_iter();
        let mut tickets = Tickets::new();
        let mut ours = Vec::new();
        for fold in wave {
            let mut calls = Vec::new();
            // The claims come in the order of the calls, one for each.
            for (mut waiting, claim) in fold.0.into_iter().zip(claims.by_ref()) {
                match claim {
                    Claim::Ours => {
                        let ticket = Ticket {
                            units: std::mem::take(&mut waiting.units),
                            again: waiting.again,
                            until,
                        };
                        tickets.insert(waiting.call.call_id.clone(), ticket);
                        calls.push(waiting);
                    }
                    Claim::Told => self.counts.already_told += 1 + waiting.again,
                    Claim::Held => self.held.push(waiting),
                }
            }
            let call_ids: Vec<CallId> = calls
                .iter()
                .map(|waiting| waiting.call.call_id.clone())
                .collect();
            let repeats = repeats(&calls);
            let Some(first) = calls.into_iter().next() else {
                continue;
            };
            match guarded(|| first.call.alert(&function.settings.accounts)) {
                Ok(mut alert) => {
                    alert.repeats = repeats;
                    ours.push(alert);
                }
                Err(message) => self.panicked(&call_ids, message, &mut tickets).await,
            }
        }
        let (past, ours): (Vec<Alert>, Vec<Alert>) =
            ours.into_iter().partition(|alert| self.is_past(alert.time));
        let (mut singles, mut rest) = (Vec::new(), Vec::new());
        for alert in ours {
            if singles.len() < self.singles && self.may_be_single(&alert, all_is_read) {
                singles.push(alert);
            } else {
                rest.push(alert);
            }
        }
        let mut singles = singles.into_iter();
        let mut in_digests = Vec::new();
        for alert in singles.by_ref() {
            match self.go(self.function.timing.crowded).await {
                Go::Now => {
                    self.singles = self.singles.saturating_sub(1);
                    self.single(alert, &mut tickets).await;
                }
                Go::Crowded => {
                    in_digests.push(alert);
                    break;
                }
                Go::Late => {
                    let mut late = vec![alert];
                    late.extend(singles);
                    late.extend(rest);
                    late.extend(past);
                    return self.hand_back(late, &mut tickets).await;
                }
            }
        }
        in_digests.extend(singles);
        in_digests.extend(rest);
        self.digests(in_digests, Age::Present, &mut tickets).await;
        self.digests(past, Age::Past, &mut tickets).await;
    }

    /// Whether an alert may be sent by itself. While more remains to be read, only critical calls that succeeded
    /// may, one of each event name: there may be something worse to come.
    fn may_be_single(&mut self, alert: &Alert, all_is_read: bool) -> bool {
        all_is_read
            || (alert.severity == Severity::Critical
                && alert.outcome == Outcome::Success
                && self.single_names.insert(alert.event_name.clone()))
    }

    /// The claims, one for each call.
    async fn ask_to_claim(&mut self, calls: &[&CallId]) -> Vec<Claim> {
        let claims = self.deadline.answer(self.kept.ledger.claim(calls)).await;
        self.counts.ledger_trouble = self.kept.ledger.trouble();
        // No answer before the end of the invocation: it will be handed back, claimed or not.
        claims.unwrap_or_else(|| vec![Claim::Ours; calls.len()])
    }

    fn claim_expires(&self) -> Timestamp {
        later(self.function.clock.now(), self.function.timing.lease)
    }

    /// Publishes one alert by itself.
    async fn single(&mut self, alert: Alert, tickets: &mut Tickets) {
        let Some(alert) = self.still_ours(vec![alert], tickets).await.pop() else {
            return;
        };
        let alerts = [alert];
        let message = match guarded(|| Message::of(&alerts[0])) {
            Ok(message) => message,
            Err(message) => return self.panicked(&calls_of(&alerts), message, tickets).await,
        };
        match self.send_paging(message, &alerts).await {
            Ok(()) => self.told(&alerts, Age::Present, tickets).await,
            Err(error) => self.failed(&calls_of(&alerts), error, tickets).await,
        }
    }

    /// Publishes alerts, several in a message.
    async fn digests(&mut self, alerts: Vec<Alert>, age: Age, tickets: &mut Tickets) {
        if alerts.is_empty() {
            return;
        }
        let calls = calls_of(&alerts);
        let mut digests = match guarded(|| digest::digests(alerts)) {
            Ok(digests) => digests,
            Err(message) => return self.panicked(&calls, message, tickets).await,
        };
        // The most severe first; what comes of one that was taken apart takes its place.
        digests.reverse();
        while let Some((message, alerts)) = digests.pop() {
            if age == Age::Past && !self.may_tell_past().await {
                self.leave_untold(alerts, tickets).await;
                continue;
            }
            if let Go::Crowded | Go::Late = self.go(Duration::MAX).await {
                let late = digests.drain(..).flat_map(|(_, alerts)| alerts);
                let late = alerts.into_iter().chain(late).collect();
                return self.hand_back(late, tickets).await;
            }
            let whole = alerts.len();
            let mut alerts = self.still_ours(alerts, tickets).await;
            let calls = calls_of(&alerts);
            let parts = if alerts.len() < whole {
                guarded(|| digest::digests(alerts))
            } else {
                let sent = match age {
                    Age::Present => self.send_paging(message, &alerts).await,
                    Age::Past => self.send(&backfill::marked(message)).await,
                };
                match sent {
                    Ok(()) => {
                        self.told(&alerts, age, tickets).await;
                        continue;
                    }
                    // What SNS refuses it refuses again. One call in it may be the reason: halves find it.
                    Err(PublishError::Refused(_)) if alerts.len() > 1 => {
                        let second = alerts.split_off(alerts.len() / 2);
                        guarded(|| {
                            let mut parts = digest::digests(alerts);
                            parts.extend(digest::digests(second));
                            parts
                        })
                    }
                    Err(error) => {
                        self.failed(&calls, error, tickets).await;
                        continue;
                    }
                }
            };
            match parts {
                Ok(parts) => digests.extend(parts.into_iter().rev()),
                Err(message) => self.panicked(&calls, message, tickets).await,
            }
        }
    }

    /// Waits for the next turn to publish, shared by all instances where there is a table.
    async fn go(&mut self, patience: Duration) -> Go {
        if self.topic_is_down.is_some() {
            // Nothing goes out any more, so nothing need wait.
            return Go::Now;
        }
        let function = self.function;
        let is_patient = patience == Duration::MAX;
        let most = self
            .deadline
            .left_to_publish(patience.min(Duration::from_secs(20 * 60)));
        if self.deadline.publishing_is_over() {
            return Go::Late;
        }
        let interval = function.timing.interval;
        let latest = later(function.clock.now(), most);
        let ledger = &mut self.kept.ledger;
        let turn = self
            .deadline
            .answer(ledger.turn(&function.settings.topic.arn, interval, latest))
            .await;
        self.counts.ledger_trouble = self.kept.ledger.trouble();
        match turn {
            Some(Some(Turn::At(time))) => {
                let wait = time.duration_since(function.clock.now());
                tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
            }
            Some(Some(Turn::TooLate)) if is_patient => return Go::Late,
            Some(Some(Turn::TooLate)) => return Go::Crowded,
            // No table, or none that answers: this instance paces itself.
            Some(None) => {}
            None => return Go::Late,
        }
        self.kept.publisher.wait().await;
        Go::Now
    }

    /// Those alerts whose claims are good for long enough to publish them; claims that got old in the
    /// waiting are made anew.
    async fn still_ours(&mut self, alerts: Vec<Alert>, tickets: &mut Tickets) -> Vec<Alert> {
        if !self.kept.ledger.is_shared() {
            return alerts;
        }
        let enough = later(self.function.clock.now(), self.function.timing.lease_left);
        let (mut good, old): (Vec<Alert>, Vec<Alert>) = alerts.into_iter().partition(|alert| {
            let mut tickets = alert.call_ids().filter_map(|call| tickets.get(call));
            tickets.all(|ticket| ticket.until > enough)
        });
        if old.is_empty() {
            return good;
        }
        let until = self.claim_expires();
        let calls: Vec<&CallId> = old.iter().flat_map(Alert::call_ids).collect();
        let claims: HashMap<CallId, Claim> = calls
            .iter()
            .map(|call| (*call).clone())
            .zip(self.ask_to_claim(&calls).await)
            .collect();
        for mut alert in old {
            // They were ours until the claims got too old.
            let (kept, lost): (Vec<CallId>, Vec<CallId>) = alert
                .call_ids()
                .cloned()
                .partition(|call| claims.get(call) == Some(&Claim::Ours));
            for call in &lost {
                let Some(ticket) = tickets.remove(call) else {
                    continue;
                };
                match claims.get(call) {
                    Some(Claim::Told) => self.counts.already_told += 1 + ticket.again,
                    _ => self.still_held(call, ticket.again, &ticket.units),
                }
            }
            if lost.contains(&alert.call_id) {
                // The alert was about a call that is another's now: a retry makes one about the rest.
                self.hand_back_calls(&kept, tickets).await;
                continue;
            }
            for call in &kept {
                if let Some(ticket) = tickets.get_mut(call) {
                    ticket.until = until;
                }
            }
            alert.repeats.calls.retain(|call| !lost.contains(call));
            good.push(alert);
        }
        good
    }

    /// Whether there is a turn to publish, having waited for it.
    pub(super) async fn has_turn(&mut self, patience: Duration) -> bool {
        matches!(self.go(patience).await, Go::Now)
    }

    pub(super) async fn send(&mut self, message: &Message) -> Result<(), PublishError> {
        if let Some(error) = self.topic_is_down.clone() {
            return Err(error);
        }
        let sent = self
            .deadline
            .answer(self.kept.publisher.publish(message))
            .await
            .unwrap_or_else(|| {
                Err(PublishError::Unavailable(
                    "no answer before the end of the invocation".into(),
                ))
            });
        match &sent {
            Ok(()) => {
                self.measures.messages += 1;
                self.unanswered = 0;
            }
            Err(error) if error.is_about_the_topic() => self.topic_is_down = Some(error.clone()),
            Err(error) if error.is_temporary() => {
                self.unanswered += 1;
                if self.unanswered >= ENOUGH {
                    self.topic_is_down = Some(error.clone());
                }
            }
            Err(_) => self.unanswered = 0,
        }
        sent
    }

    /// SNS has them: note that, count them, and say it.
    async fn told(&mut self, alerts: &[Alert], age: Age, tickets: &mut Tickets) {
        let calls: Vec<&CallId> = alerts.iter().flat_map(Alert::call_ids).collect();
        let now = self.function.clock.now();
        let unnoted = self.deadline.answer(self.kept.ledger.sent(&calls)).await;
        self.unnoted.extend(unnoted.unwrap_or_default());
        self.counts.ledger_trouble = self.kept.ledger.trouble();
        let digest = alerts.len() > 1;
        for alert in alerts {
            if digest {
                self.counts.digested += 1;
            } else {
                self.counts.published += 1;
            }
            self.counts.folded += alert.repeats.calls.len() as u64;
            for call in alert.call_ids() {
                let again = tickets.remove(call).map_or(0, |ticket| ticket.again);
                self.counts.already_told += again;
            }
            info!(
                event_id = one_line(&alert.event_id, 256),
                event_name = one_line(&alert.event_name, 128),
                severity = alert.severity.as_str(),
                outcome = alert.outcome.as_str(),
                rule = alert.rules.first().map(|rule| rule.name.as_str()),
                source = %alert.source,
                digest,
                calls = alert.count(),
                "alert published"
            );
        }
        // Of a digest the call that waited longest. What a backfill finds has not waited to be told.
        if age == Age::Present
            && let Some(first) = alerts.iter().filter_map(|alert| alert.time).min()
        {
            let latency = now.duration_since(first).max(SignedDuration::ZERO);
            self.measures.latencies_millis.push(latency.as_millis());
        }
    }

    fn not_told(&mut self, waiting: &Waiting, error: PublishError) {
        self.counts.failed += 1 + waiting.again;
        let event_id = one_line(waiting.call.call_id.event_id(), 256);
        self.fail(Failure::Publish { event_id, error }, &waiting.units);
    }

    fn still_held(&mut self, call: &CallId, again: u64, units: &[usize]) {
        self.counts.failed += 1 + again;
        let event_id = one_line(call.event_id(), 256);
        self.fail(Failure::Claimed { event_id }, units);
    }

    fn out_of_time(&mut self, call: &CallId, again: u64, units: &[usize]) {
        self.counts.failed += 1 + again;
        let event_id = one_line(call.event_id(), 256);
        self.fail(Failure::AlertOutOfTime { event_id }, units);
    }

    /// SNS did not take them.
    async fn failed(&mut self, calls: &[CallId], error: PublishError, tickets: &mut Tickets) {
        self.give_up(calls, tickets, |event_id| Failure::Publish {
            event_id,
            error: error.clone(),
        })
        .await;
    }

    /// No message could be made of them.
    async fn panicked(&mut self, calls: &[CallId], message: String, tickets: &mut Tickets) {
        self.give_up(calls, tickets, |event_id| Failure::Panicked {
            at: format!("alert for event {event_id}"),
            message: message.clone(),
        })
        .await;
    }

    /// There is no time for them.
    async fn hand_back(&mut self, alerts: Vec<Alert>, tickets: &mut Tickets) {
        self.hand_back_calls(&calls_of(&alerts), tickets).await;
    }

    async fn hand_back_calls(&mut self, calls: &[CallId], tickets: &mut Tickets) {
        self.give_up(calls, tickets, |event_id| Failure::AlertOutOfTime {
            event_id,
        })
        .await;
    }

    /// The job may send no more messages about the past: their claims are given back, for another job.
    async fn leave_untold(&mut self, alerts: Vec<Alert>, tickets: &mut Tickets) {
        let calls: Vec<&CallId> = alerts.iter().flat_map(Alert::call_ids).collect();
        for call in &calls {
            if let Some(ticket) = tickets.remove(*call) {
                self.only_counted(1 + ticket.again, &ticket.units);
            }
        }
        self.release(&calls).await;
    }

    async fn release(&mut self, calls: &[&CallId]) {
        self.deadline.answer(self.kept.ledger.release(calls)).await;
        self.counts.ledger_trouble = self.kept.ledger.trouble();
    }

    /// Fails the units of calls that are not told, and gives their claims back.
    async fn give_up(
        &mut self,
        calls: &[CallId],
        tickets: &mut Tickets,
        failure: impl Fn(String) -> Failure,
    ) {
        for call in calls {
            let Some(ticket) = tickets.remove(call) else {
                continue;
            };
            self.counts.failed += 1 + ticket.again;
            self.fail(failure(one_line(call.event_id(), 256)), &ticket.units);
        }
        let calls: Vec<&CallId> = calls.iter().collect();
        self.release(&calls).await;
    }

    /// Asks about the calls that another invocation has claimed until they are told, or ours, or there is no
    /// more time to wait. A call that is still held fails its units: the other invocation may yet die.
    async fn settle(&mut self) {
        let end = instant() + self.deadline.left_to_publish(self.function.timing.settle);
        let mut pauses = PAUSES.iter();
        let mut pause = PAUSES[0];
        while !self.held.is_empty() {
            pause = pauses.next().copied().unwrap_or(pause);
            if instant() + pause >= end {
                break;
            }
            tokio::time::sleep(pause).await;
            let held = std::mem::take(&mut self.held);
            self.publish_all(held, true).await;
        }
        for held in std::mem::take(&mut self.held) {
            self.still_held(&held.call.call_id, held.again, &held.units);
        }
    }

    /// Tries once more to note what the table did not take.
    pub(super) async fn finish(&mut self) {
        let unnoted = std::mem::take(&mut self.unnoted);
        let calls: Vec<&CallId> = unnoted.iter().collect();
        self.deadline.answer(self.kept.ledger.sent(&calls)).await;
        self.counts.ledger_trouble = self.kept.ledger.trouble();
    }
}
