//! Sharing a summary with other instances, when the next slot of this one is far away.
//!
//! One instance leads: it reads the log files of all that joined, and publishes one summary ([`crate::ledger`] has
//! the item that they share). The others wait until their calls are marked as sent. If they are not, each publishes its
//! own, so that an instance that dies loses nothing.

use std::time::Duration;

use cloudhsm_alerts_core::{
    alert::{Alert, Source, compose::Age},
    call_id::CallId,
    object::ObjectRef,
};
use jiff::Timestamp;
use tracing::info;

use super::{Publishing, calls_of, ending::Ending};
use crate::{
    channel::Channel,
    clock::{instant, later},
    invocation::{grouping::groups, inbox::Inbox, queue::QueuedCall},
    ledger::{Claim, Share},
    payload::BatchMode,
};

/// Most calls of one instance in a shared summary. One with more has a summary of its own to publish.
const MAX_CALLS: usize = 20;
/// Most compressed bytes that an instance has read: the instance that leads reads them again.
const MAX_BYTES: u64 = 1024 * 1024;
/// How long an instance looks for a summary that is not full.
const SEARCH: Duration = Duration::from_secs(15);
/// Pause before an instance checks again whether its calls are marked as sent, or a summary has space.
const PAUSE: Duration = Duration::from_millis(100);

impl Publishing<'_> {
    /// Whether these alerts can be in a summary of another instance.
    pub(super) fn can_share(&self, alerts: &[Alert], inbox: &Inbox) -> bool {
        self.state.ledger.is_shared()
            && self.backfill.job.mode == BatchMode::default()
            && self.breakers[Channel::Alert].error().is_none()
            && inbox.compressed <= MAX_BYTES
            && alerts.iter().map(Alert::count).sum::<usize>() <= MAX_CALLS
            && alerts.iter().all(|alert| object(alert).is_some())
    }

    /// Finds a summary for the alerts that wait. If this instance leads it, returns the log files of the other
    /// instances, to be read and passed to [`Publishing::publish_shared`]; otherwise, the alerts are settled.
    pub(in crate::invocation) async fn share(
        &mut self,
        inbox: &mut Inbox,
    ) -> Option<Vec<ObjectRef>> {
        self.has_shared = true;
        if self.waiting.is_empty() {
            return None;
        }
        let mut own: Vec<ObjectRef> = Vec::new();
        for object in self.waiting.iter().filter_map(object) {
            if !own.contains(object) {
                own.push(object.clone());
            }
        }
        match self.find_summary(&own).await {
            Some(Share::Joined(closes_at)) => {
                self.wait_until_sent(closes_at, inbox).await;
                None
            }
            Some(Share::Leads(closes_at)) => {
                self.sleep_until(closes_at).await;
                let topic = self.instance.settings.topic.arn.clone();
                let closed = self.state.ledger.close_summary(&topic);
                let joined = self.deadline.response(closed).await.flatten();
                self.has_slot = joined.is_some();
                let mut others = joined.unwrap_or_default();
                others.retain(|object| !own.contains(object));
                Some(others)
            }
            Some(Share::Full) | None => Some(Vec::new()),
        }
    }

    async fn find_summary(&mut self, own: &[ObjectRef]) -> Option<Share> {
        let (timing, topic) = (&self.instance.timing, &self.instance.settings.topic.arn);
        let end = instant() + self.deadline.left_to_publish(SEARCH);
        loop {
            let shared = self.state.ledger.share_summary(topic, own, timing);
            let shared = self.deadline.response(shared).await??;
            if shared != Share::Full || instant() >= end {
                return Some(shared);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn sleep_until(&self, time: Timestamp) {
        let wait = time.duration_since(self.instance.clock.now());
        let wait = Duration::try_from(wait).unwrap_or_default();
        tokio::time::sleep(self.deadline.left_to_publish(wait)).await;
    }

    /// Publishes the alerts that wait and those about the calls of other instances, in one summary if it holds them.
    pub(in crate::invocation) async fn publish_shared(
        &mut self,
        mut calls: Vec<QueuedCall>,
        inbox: &mut Inbox,
    ) {
        let mut alerts = std::mem::take(&mut self.waiting);
        for own in calls.extract_if(.., |queued| self.claimed.contains_key(&queued.call.call_id)) {
            self.end_unclaimed(own, &Ending::Duplicate, inbox);
        }
        if !calls.is_empty() {
            info!(
                calls = calls.len(),
                "publishing a summary for other instances, too"
            );
        }
        let others = groups(calls, |_| false);
        let held = std::mem::take(&mut self.held);
        alerts.extend(self.claim_batch(others, inbox).await);
        // Those that their own instances have claimed again are left to them.
        for other in std::mem::replace(&mut self.held, held) {
            self.end_unclaimed(other, &Ending::Duplicate, inbox);
        }
        self.publish_recent(alerts, inbox).await;
        self.has_slot = false;
    }

    /// Waits until another instance has published the summary with the alerts that wait. Publishes those that are
    /// not marked as sent in time.
    async fn wait_until_sent(&mut self, closes_at: Timestamp, inbox: &mut Inbox) {
        let mut alerts = std::mem::take(&mut self.waiting);
        let calls = calls_of(&alerts);
        let released: Vec<_> = calls
            .iter()
            .map(|call| (call, self.delivered(call)))
            .collect();
        self.deadline
            .response(self.state.ledger.release(&released))
            .await;
        info!(
            event_ids = alerts
                .iter()
                .map(|alert| alert.event_id.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            "alerts are left to the summary of another instance"
        );
        let end = later(closes_at, self.instance.timing.settle);
        self.sleep_until(closes_at).await;
        while !alerts.is_empty()
            && self.instance.clock.now() < end
            && !self.deadline.publishing_is_over()
        {
            tokio::time::sleep(PAUSE).await;
            let left = calls_of(&alerts);
            let left: Vec<&CallId> = left.iter().collect();
            let sent = self.state.ledger.sent(&left);
            let sent = self.deadline.response(sent).await.unwrap_or_default();
            for alert in alerts.extract_if(.., |alert| {
                alert.call_ids().all(|call| sent.contains(&call))
            }) {
                self.end(&calls_of(&[alert]), &Ending::Duplicate, inbox)
                    .await;
            }
        }
        let alerts = self.claimed_again(alerts, inbox).await;
        self.publish_recent(alerts, inbox).await;
    }

    /// Claims the calls of these alerts once more. An alert about a call that is not this instance's any more is
    /// settled.
    async fn claimed_again(&mut self, alerts: Vec<Alert>, inbox: &mut Inbox) -> Vec<Alert> {
        let mut ours = Vec::new();
        for alert in alerts {
            let calls = calls_of(std::slice::from_ref(&alert));
            let claims = self.claim(&calls.iter().collect::<Vec<_>>()).await;
            let until = self.new_expiry();
            let mut lost = None;
            for (call, claim) in calls.iter().zip(claims) {
                match (claim, self.claimed.get_mut(call)) {
                    (Claim::Ours(delivered), Some(ticket)) => {
                        ticket.until = until;
                        ticket.delivered = delivered;
                    }
                    (Claim::Alerted, _) if calls.len() == 1 => lost = Some(Ending::Duplicate),
                    // Of several calls, the retry finds out which were alerted.
                    _ => lost = Some(Ending::Claimed),
                }
            }
            match lost {
                Some(ending) => self.end(&calls, &ending, inbox).await,
                None => ours.push(alert),
            }
        }
        ours
    }

    /// Publishes summaries of claimed alerts. One is either about calls that only lack a page, or about calls that the
    /// alert topic does not have.
    pub(super) async fn publish_recent(&mut self, alerts: Vec<Alert>, inbox: &mut Inbox) {
        let is_alerted = |alert: &Alert| self.delivered(&alert.call_id)[Channel::Alert];
        let (only_page, alerts): (Vec<Alert>, Vec<Alert>) =
            alerts.into_iter().partition(is_alerted);
        self.publish_summaries(only_page, Age::Recent, inbox).await;
        self.publish_summaries(alerts, Age::Recent, inbox).await;
    }
}

/// The log file that an alert is from.
fn object(alert: &Alert) -> Option<&ObjectRef> {
    match &alert.source {
        Source::Object(object) => Some(object),
        Source::File(_) | Source::Event(_) => None,
    }
}
