//! Paging: which messages are also sent by SMS.
//!
//! A message about a call that succeeded always is, if its severity is high enough for the subscription. Calls that
//! were denied, throttled or failed page once an hour for each caller, event name and severity, over all instances of
//! the function: anyone can make such calls in any number, and the SMS spending quota of a month would be used up
//! before the call that matters. E-mail and JSON contain all of them.

use cloudhsm_alerts_core::{
    alert::{Alert, compose::Delivery},
    fingerprint::Fingerprint,
    record::Outcome,
    text::hex,
};

use crate::{ledger::Ledger, timing::Deadline};

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

/// Whether a message about these alerts is to page, and the pages it takes for that.
pub(super) async fn take_pages(
    ledger: &mut Ledger,
    deadline: Deadline,
    alerts: &[Alert],
) -> (Delivery, Vec<String>) {
    if alerts.iter().any(|alert| alert.outcome == Outcome::Success) {
        return (Delivery::Page, Vec::new());
    }
    let mut kinds: Vec<String> = alerts.iter().map(kind).collect();
    kinds.sort();
    kinds.dedup();
    let taken = deadline
        .response(ledger.take_pages(kinds))
        .await
        .unwrap_or_default();
    let delivery = if taken.is_empty() {
        Delivery::NoPage
    } else {
        Delivery::Page
    };
    (delivery, taken)
}
