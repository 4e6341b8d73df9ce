//! Reloading rules: after an invocation's alerts are published, so that no alert waits for it.

use std::time::Duration;

use cloudhsm_alerts_core::alert::operator;
use tracing::error;

use super::{
    inbox::Inbox,
    publishing::{Publishing, Slot},
};
use crate::{instance::Instance, payload::BatchMode, rule_source::Refresh};

/// Loads changed rules. A failure is counted each time and published once as an operational notice. It fails
/// nothing, because alerting goes on with the rules in use.
pub(super) async fn reload(
    instance: &Instance,
    publishing: &mut Publishing<'_>,
    mode: BatchMode,
    inbox: &mut Inbox,
) {
    // Jobs do not reload rules: a dry run publishes nothing. The next live invocation does.
    if publishing.deadline.publishing_is_over() || mode != BatchMode::Live {
        return;
    }
    let result = match publishing.state.start_error.take() {
        Some(error) => Err(error),
        None => publishing
            .deadline
            .response(instance.rules.refresh())
            .await
            .unwrap_or(Ok(Refresh::NotDue)),
    };
    let load_error = match result {
        Ok(Refresh::NotDue) => return,
        Ok(Refresh::InUse) => {
            publishing.state.notified_error = None;
            publishing.state.last_load_failed = false;
            return;
        }
        Err(error) => error,
    };
    inbox.counts.rule_load_errors += 1;
    let lines = load_error.lines();
    for line in &lines {
        error!(
            error_type = load_error.error_type(),
            "rules not loaded: {line}"
        );
    }
    // A temporary error is published only if it lasts until the next attempt.
    let may_pass = load_error.is_temporary() && !publishing.state.last_load_failed;
    publishing.state.last_load_failed = load_error.is_temporary();
    if may_pass || publishing.state.notified_error.as_ref() == Some(&load_error) {
        return;
    }
    let uri = instance
        .rules
        .uri()
        .map(ToString::to_string)
        .unwrap_or_default();
    let in_use = instance.rules.current().len();
    let message = operator::rules_not_loaded(&uri, &lines, in_use, instance.clock.now());
    if publishing.wait_for_slot(Duration::MAX).await != Slot::Now {
        // The next invocation tries again.
        return;
    }
    match publishing.send(&message, inbox).await {
        Ok(()) => publishing.state.notified_error = Some(load_error),
        Err(error) => error!(
            error_type = error.error_type(),
            "the operational notice about rules was not published, and will be tried again: {error}"
        ),
    }
}
