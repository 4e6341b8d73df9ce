//! Paging: which messages wake people by SMS.
//!
//! A call that succeeded always does, as far as its severity asks for it. A call that was denied, throttled or
//! failed does once an hour for each caller and event name, over all instances of the function: anyone can
//! make such calls in any number, and what SMS may cost in a month would be spent before the one that counts.
//! E-mail and machines get all of them.

use super::run::Run;
use crate::sns::PublishError;
use cloudhsm_alerts_core::{
    alert::{Alert, message::Message},
    fingerprint::Fingerprint,
    record::Outcome,
    text::hex,
};

/// The kind of call that pages once: by whom (sessions of a role are one), what, and how severe.
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

impl Run<'_> {
    /// Sends a message, as SMS only if it takes a page; one that is not published gives its pages back.
    pub(super) async fn send_paging(
        &mut self,
        message: Message,
        alerts: &[Alert],
    ) -> Result<(), PublishError> {
        let (message, taken) = self.paging(message, alerts).await;
        let sent = self.send(&message).await;
        if sent.is_err() {
            self.release_pages(taken).await;
        }
        sent
    }

    /// The message as it is to be sent, and the pages it took.
    async fn paging(&mut self, message: Message, alerts: &[Alert]) -> (Message, Vec<String>) {
        let is_refused = |alert: &Alert| alert.outcome != Outcome::Success;
        if !alerts.iter().all(is_refused) {
            return (message, Vec::new());
        }
        let mut kinds: Vec<String> = alerts.iter().map(kind).collect();
        kinds.sort();
        kinds.dedup();
        let taken = self
            .deadline
            .answer(self.kept.ledger.take_pages(kinds))
            .await
            .unwrap_or_default();
        self.counts.ledger_trouble = self.kept.ledger.trouble();
        if taken.is_empty() {
            return (message.without_page(), taken);
        }
        (message, taken)
    }

    /// The message that took these pages was not published.
    async fn release_pages(&mut self, taken: Vec<String>) {
        self.deadline
            .answer(self.kept.ledger.release_pages(taken))
            .await;
        self.counts.ledger_trouble = self.kept.ledger.trouble();
    }
}
