//! Telling what was found: claim, publish, note as sent; the most severe first.
//!
//! Calls are claimed in waves, shortly before they are told, so that a crash leaves few claims behind and
//! none gets old. What another invocation has claimed is left to it, and asked about again at the end: if it
//! is not told by then, its units fail and come back.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tracing::info;

use super::{
    guard::guarded,
    run::{Run, Waiting},
};
use crate::{
    alert::{Alert, backfill, digest, message::Message},
    call_id::CallId,
    clock::{instant, later},
    ledger::{Claim, Turn},
    outcome::Failure,
    payload::BatchMode,
    severity::Severity,
    sns::PublishError,
    text::one_line,
};

/// Calls that are claimed at a time: some eight digests, published within seconds.
const WAVE: usize = 400;
/// And so many bytes of their records, which become trees of some ten times the size.
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

impl Run<'_> {
    /// Publishes what waits: the most severe one by one, the rest in digests. Of equals, a call that
    /// succeeded goes before refused ones, which anybody without permissions can make in any number. While
    /// there is more to read, only critical calls may use up the single messages.
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

    async fn publish_all(&mut self, mut waiting: Vec<Waiting>, all_is_read: bool) {
        waiting.sort_by_key(|waiting| {
            (
                Reverse(waiting.call.severity),
                waiting.call.outcome,
                waiting.place,
            )
        });
        let mut wave = Vec::new();
        let mut weight = 0;
        for waiting in waiting {
            let more = waiting.call.weight();
            if wave.len() == WAVE || (weight + more > WAVE_WEIGHT && !wave.is_empty()) {
                self.wave(std::mem::take(&mut wave), all_is_read).await;
                weight = 0;
            }
            weight += more;
            wave.push(waiting);
        }
        if !wave.is_empty() {
            self.wave(wave, all_is_read).await;
        }
    }

    /// Claims calls and tells those that are ours.
    async fn wave(&mut self, wave: Vec<Waiting>, all_is_read: bool) {
        if let Some(error) = self.topic_is_down.clone() {
            for waiting in wave {
                self.not_told(&waiting, error.clone());
            }
            return;
        }
        if self.deadline.publishing_is_over() {
            for waiting in &wave {
                self.out_of_time(&waiting.call.call_id, waiting.again, &waiting.units);
            }
            return;
        }
        let function = self.function;
        let until = self.claim_expires();
        let mut tickets = Tickets::new();
        let mut ours = Vec::new();
        for (waiting, claim) in self.claim(wave).await {
            match claim {
                Claim::Ours => {
                    let call_id = waiting.call.call_id.clone();
                    let ticket = Ticket {
                        units: waiting.units,
                        again: waiting.again,
                        until,
                    };
                    tickets.insert(call_id.clone(), ticket);
                    match guarded(|| waiting.call.alert(&function.settings.accounts)) {
                        Ok(alert) => ours.push(alert),
                        Err(message) => self.panicked(&[call_id], message, &mut tickets).await,
                    }
                }
                Claim::Told => self.counts.already_told += 1 + waiting.again,
                Claim::Held => self.held.push(waiting),
            }
        }
        let (past, mut ours): (Vec<Alert>, Vec<Alert>) =
            ours.into_iter().partition(|alert| self.is_past(alert));
        let eligible = ours
            .iter()
            .take_while(|alert| all_is_read || alert.severity == Severity::Critical)
            .count();
        let rest = ours.split_off(self.singles.min(eligible));
        let mut singles = ours.into_iter();
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

    async fn claim(&mut self, waiting: Vec<Waiting>) -> Vec<(Waiting, Claim)> {
        let calls: Vec<&CallId> = waiting
            .iter()
            .map(|waiting| &waiting.call.call_id)
            .collect();
        let claims = self.ask_to_claim(&calls).await;
        waiting.into_iter().zip(claims).collect()
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
        let call_id = alert.call_id.clone();
        let message = match guarded(|| Message::of(&alert)) {
            Ok(message) => message,
            Err(message) => return self.panicked(&[call_id], message, tickets).await,
        };
        match self.send(&message).await {
            Ok(()) => self.told(&[alert], Age::Present, tickets).await,
            Err(error) => self.failed(&[call_id], error, tickets).await,
        }
    }

    /// Publishes alerts, several in a message.
    async fn digests(&mut self, alerts: Vec<Alert>, age: Age, tickets: &mut Tickets) {
        if alerts.is_empty() {
            return;
        }
        let calls: Vec<CallId> = alerts.iter().map(|alert| alert.call_id.clone()).collect();
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
            let calls: Vec<CallId> = alerts.iter().map(|alert| alert.call_id.clone()).collect();
            let parts = if alerts.len() < whole {
                guarded(|| digest::digests(alerts))
            } else {
                let message = match age {
                    Age::Present => message,
                    Age::Past => backfill::marked(message),
                };
                match self.send(&message).await {
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
            tickets
                .get(&alert.call_id)
                .is_none_or(|ticket| ticket.until > enough)
        });
        if old.is_empty() {
            return good;
        }
        let until = self.claim_expires();
        let calls: Vec<&CallId> = old.iter().map(|alert| &alert.call_id).collect();
        let claims = self.ask_to_claim(&calls).await;
        for (alert, claim) in old.into_iter().zip(claims) {
            let Some(mut ticket) = tickets.remove(&alert.call_id) else {
                continue;
            };
            match claim {
                Claim::Ours => {
                    ticket.until = until;
                    tickets.insert(alert.call_id.clone(), ticket);
                    good.push(alert);
                }
                Claim::Told => self.counts.already_told += 1 + ticket.again,
                // It was ours until the claim got too old.
                Claim::Held => self.still_held(&alert.call_id, ticket.again, &ticket.units),
            }
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
        let calls: Vec<&CallId> = alerts.iter().map(|alert| &alert.call_id).collect();
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
            let again = tickets
                .remove(&alert.call_id)
                .map_or(0, |ticket| ticket.again);
            self.counts.already_told += again;
            info!(
                event_id = one_line(&alert.event_id, 256),
                event_name = one_line(&alert.event_name, 128),
                severity = alert.severity.as_str(),
                outcome = alert.outcome.as_str(),
                rule = alert.rules.first().map(|rule| rule.name.as_str()),
                source = %alert.source,
                digest,
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
        let calls: Vec<CallId> = alerts.into_iter().map(|alert| alert.call_id).collect();
        self.give_up(&calls, tickets, |event_id| Failure::AlertOutOfTime {
            event_id,
        })
        .await;
    }

    /// The job may send no more messages about the past: their claims are given back, for another job.
    async fn leave_untold(&mut self, alerts: Vec<Alert>, tickets: &mut Tickets) {
        for alert in &alerts {
            if let Some(ticket) = tickets.remove(&alert.call_id) {
                self.only_counted(1 + ticket.again, &ticket.units);
            }
        }
        let calls: Vec<&CallId> = alerts.iter().map(|alert| &alert.call_id).collect();
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
