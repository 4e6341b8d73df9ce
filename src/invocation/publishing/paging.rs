//! Paging: which alerts also go to the paging topic.
//!
//! Those that are severe enough and about a call that succeeded always do. Calls that were denied, throttled or failed
//! page once an hour for each caller, event name and severity, over all instances of the function: anyone can make
//! such calls in any number, and the SMS spending quota of a month would be used up before the call that matters. The
//! alert topic gets all of them. Old calls of a backfill do not page.

use cloudhsm_alerts_core::{
    alert::Alert, fingerprint::Fingerprint, record::Outcome, severity::Severity, text::hex,
};

use crate::{channel::Channel, ledger::Ledger, timing::Deadline};

use super::Publishing;

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

/// Whether a page about these alerts is due: the kinds of refused calls whose page of this hour it takes, which is
/// none if a call succeeded; or `None`, if no page is due.
pub(super) async fn take_pages(
    ledger: &mut Ledger,
    deadline: Deadline,
    alerts: &[&Alert],
) -> Option<Vec<String>> {
    if alerts.iter().any(|alert| alert.outcome == Outcome::Success) {
        return Some(Vec::new());
    }
    let mut kinds: Vec<String> = alerts.iter().map(|alert| kind(alert)).collect();
    kinds.sort();
    kinds.dedup();
    let taken = deadline
        .response(ledger.take_pages(kinds))
        .await
        .unwrap_or_default();
    (!taken.is_empty()).then_some(taken)
}

impl Publishing<'_> {
    /// Whether alerts of this severity go to the paging topic.
    pub(in crate::invocation) fn is_paged(&self, severity: Severity) -> bool {
        let paging = self.instance.settings.paging.as_ref();
        paging.is_some_and(|paging| severity >= paging.min_severity)
    }

    /// Whether a page of this severity can be published now.
    pub(super) fn can_page(&self, severity: Severity) -> bool {
        self.is_paged(severity) && self.breakers[Channel::Page].error().is_none()
    }

    /// The alerts of a message that its page is about, if no earlier invocation published it.
    pub(super) fn paged<'a>(&self, alerts: &'a [Alert]) -> Vec<&'a Alert> {
        alerts
            .iter()
            .filter(|alert| {
                self.is_paged(alert.severity) && !self.delivered(&alert.call_id)[Channel::Page]
            })
            .collect()
    }
}
