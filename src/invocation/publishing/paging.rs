//! Paging: which alerts also go to the paging topic.
//!
//! Those that are severe enough and about a call that succeeded always do. Denied calls page once an hour for each
//! caller, event name and severity, over all instances of the function: anyone can make such calls in any number, and
//! the SMS spending quota of a month would be used up before the call that matters. Calls that were throttled or failed
//! never page: nothing was changed, and nobody is to be woken. The alert topic gets all of them. Old calls of a backfill
//! do not page.

use cloudhsm_alerts_core::{
    alert::{
        Alert,
        compose::{self, Age},
    },
    call_id::CallId,
    fingerprint::Fingerprint,
    record::Outcome,
    severity::Severity,
    text::{hex, one_line},
};
use tracing::info;

use super::{Publishing, ending::Ending, topic::Slot};
use crate::{channel::Channel, clock::later, invocation::inbox::Inbox, ledger::Page, panics};

/// Most calls whose delivery to the alert topic is noted before their page is published. A crash between the two is
/// rare, and a note is a request for each call. Without one, a crash repeats the alert.
const MAX_NOTED: usize = 10;

/// The kind of refused call that pages once an hour: by whom (all sessions of a role are one caller), what, and how
/// severe.
fn kind(alert: &Alert) -> String {
    let mut hash = Fingerprint::default();
    for part in [
        alert.actor.principal.as_str(),
        &alert.event_source,
        &alert.event_name,
        alert.severity.as_str(),
    ] {
        hash.add(part);
    }
    hex(&hash.finish())
}

/// The pages of this hour that the kinds of these refused calls have, each for the first call of its kind.
fn pages(alerts: &[&Alert]) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    for alert in alerts {
        let kind = kind(alert);
        if pages.iter().all(|page| page.kind != kind) {
            pages.push(Page {
                kind,
                call: alert.call_id.clone(),
            });
        }
    }
    pages
}

impl Publishing<'_> {
    /// Whether alerts of this severity go to the paging topic.
    pub(in crate::invocation) fn is_paged(&self, severity: Severity) -> bool {
        let paging = self.instance.settings.paging.as_ref();
        paging.is_some_and(|paging| severity >= paging.min_severity)
    }

    /// Whether a page about such a call can be published now.
    pub(super) fn can_page(&self, severity: Severity, age: Age) -> bool {
        age == Age::Recent
            && self.is_paged(severity)
            && self.breakers[Channel::Page].error().is_none()
    }

    /// The alerts of a message that its page is about, if no earlier invocation published it.
    pub(super) fn paged<'a>(&self, alerts: &'a [Alert], age: Age) -> Vec<&'a Alert> {
        let is_paged = |alert: &&Alert| {
            age == Age::Recent
                && alert.outcome != Outcome::Failed
                && self.is_paged(alert.severity)
                && !self.delivered(&alert.call_id)[Channel::Page]
        };
        alerts.iter().filter(is_paged).collect()
    }

    /// Publishes the page about these alerts, if one is due.
    pub(super) async fn publish_page(
        &mut self,
        alerts: &[&Alert],
        inbox: &mut Inbox,
    ) -> Result<(), Ending> {
        if alerts.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.breakers[Channel::Page].error() {
            return Err(Ending::Rejected(Channel::Page, error.clone()));
        }
        if alerts.iter().any(|alert| alert.outcome == Outcome::Success) {
            return self.send_page(alerts, inbox).await;
        }
        let taken = self.state.ledger.take_pages(pages(alerts));
        // Without a response before the end of the invocation, whether a page is due is for the retry to find out.
        let Some(taken) = self.deadline.response(taken).await else {
            return Err(Ending::OutOfTime(Channel::Page));
        };
        if taken.is_empty() {
            return Ok(());
        }
        let sent = self.send_page(alerts, inbox).await;
        if sent.is_err() {
            self.deadline
                .response(self.state.ledger.release_pages(taken))
                .await;
        }
        sent
    }

    async fn send_page(&mut self, alerts: &[&Alert], inbox: &mut Inbox) -> Result<(), Ending> {
        let message = match panics::catch(|| compose::page(alerts)) {
            Ok(Some(message)) => message,
            // No alert, no page.
            Ok(None) => return Ok(()),
            Err(message) => return Err(Ending::Panicked(message)),
        };
        self.hold(alerts).await;
        let patience = self.instance.timing.lease_left / 2;
        if self.wait_for_slot(Channel::Page, patience).await != Slot::Now {
            return Err(Ending::OutOfTime(Channel::Page));
        }
        self.send(Channel::Page, &message, inbox)
            .await
            .map_err(|error| Ending::Rejected(Channel::Page, error))?;
        self.set_delivered(alerts.iter().copied(), Channel::Page);
        let calls: usize = alerts.iter().map(|alert| alert.count()).sum();
        let first = alerts.first().map(|alert| one_line(&alert.event_id, 256));
        info!(event_id = first, calls, "page published");
        Ok(())
    }

    /// Notes in the ledger what the alert topic has, so that a crash before the page is published does not repeat it.
    /// Renews claims that would expire before the page is published.
    async fn hold(&mut self, alerts: &[&Alert]) {
        if !self.state.ledger.is_shared() {
            return;
        }
        let calls: Vec<&CallId> = alerts.iter().flat_map(|alert| alert.call_ids()).collect();
        let Some(first) = calls.first() else {
            return;
        };
        // As long as waiting for a slot and publishing may take.
        let needed = later(
            self.instance.clock.now(),
            self.instance.timing.lease_left * 3 / 2,
        );
        let is_expiring = calls
            .iter()
            .filter_map(|call| self.claimed.get(*call))
            .any(|ticket| ticket.until <= needed);
        // The calls of one message have the same.
        let delivered = self.delivered(first);
        if delivered[Channel::Alert] && (is_expiring || calls.len() <= MAX_NOTED) {
            let noted = self.state.ledger.note_delivered(&calls, delivered);
            self.deadline.response(noted).await;
        } else if is_expiring {
            self.claim(&calls).await;
        }
    }
}
