//! Summaries: messages about several alerts, the most severe first.

use std::time::Duration;

use cloudhsm_alerts_core::alert::{
    Alert,
    compose::{self, Age},
    summary,
};

use super::{Composed, Publishing, calls_of, ending::Ending, topic::Slot};
use crate::{channel::Channel, invocation::inbox::Inbox, panics};

/// Alerts that share a message, which may be composed already.
type Group = (Vec<Alert>, Option<Composed>);

impl Publishing<'_> {
    /// Publishes alerts, several in a message.
    pub(super) async fn publish_summaries(
        &mut self,
        alerts: Vec<Alert>,
        age: Age,
        inbox: &mut Inbox,
    ) {
        let calls = calls_of(&alerts);
        // A stack with the most severe on top.
        let mut groups: Vec<Group> = match panics::catch(|| summary::split(alerts)) {
            Ok(groups) => groups.into_iter().rev().map(|it| (it, None)).collect(),
            Err(message) => {
                return self.end(&calls, &Ending::Panicked(message), inbox).await;
            }
        };
        while let Some((alerts, composed)) = groups.pop() {
            // The most severe is first.
            let Some(first) = alerts.first() else {
                continue;
            };
            if let Some(ending) = self.rejected_by_topic(first.severity, age) {
                self.end(&calls_of(&alerts), &ending, inbox).await;
                continue;
            }
            // Before the slot is awaited, so that composing it takes no time after that.
            let Some(composed) = composed else {
                groups.extend(compose_all(alerts, age));
                continue;
            };
            if age == Age::Old && !self.backfill.take_message(self.state, self.deadline).await {
                self.end(&calls_of(&alerts), &Ending::OnlyCounted, inbox)
                    .await;
                continue;
            }
            if self.wait_for_alert_slot(first, Duration::MAX).await != Slot::Now {
                let left = groups.into_iter().rev().flat_map(|(alerts, _)| alerts);
                let late: Vec<Alert> = alerts.into_iter().chain(left).collect();
                let ending = Ending::OutOfTime(Channel::Alert);
                return self.end(&calls_of(&late), &ending, inbox).await;
            }
            let parts = self
                .publish_alerts(alerts, Some(composed), age, inbox)
                .await;
            groups.extend(parts.into_iter().rev().map(|alerts| (alerts, None)));
        }
    }
}

/// The messages about these alerts, as few as SNS's limit of size permits, the first one last.
fn compose_all(mut alerts: Vec<Alert>, age: Age) -> Vec<Group> {
    let messages = match panics::catch(|| compose::fitting(&alerts, age)) {
        Ok(messages) => messages,
        Err(message) => return vec![(alerts, Some(Err(message)))],
    };
    let mut groups = Vec::new();
    for (count, message) in messages.into_iter().rev() {
        let about = alerts.split_off(alerts.len().saturating_sub(count));
        groups.push((about, Some(Ok(message))));
    }
    groups
}
