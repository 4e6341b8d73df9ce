//! Reloading rules and account names: after an invocation's alerts are published, so that no alert waits for it.

use std::time::Duration;

use cloudhsm_alerts_core::alert::operator::{self, NotLoaded, Notice};
use tracing::error;

use super::{
    inbox::Inbox,
    publishing::{Publishing, Slot},
};
use crate::{
    channel::{Channel, PerChannel},
    files::{FilesUri, LoadError, Refresh},
    instance::{Instance, Loads, State},
    payload::BatchMode,
};

/// Loads changed rules and account names. A failure is counted each time and published once as an operational notice,
/// unless only time was missing and the next invocation may go on. It fails nothing, because alerting goes on with what
/// is in use.
pub(super) async fn reload(
    instance: &Instance,
    publishing: &mut Publishing<'_>,
    mode: BatchMode,
    inbox: &mut Inbox,
) {
    // Jobs do not reload: a dry run publishes nothing. The next live invocation does.
    if publishing.deadline.publishing_is_over() || mode != BatchMode::Live {
        return;
    }
    let limit = publishing.deadline.left_for_responses(instance.timing.load);
    let state = &mut *publishing.state;
    let (rules, accounts) = tokio::join!(
        attempt(&mut state.rule_loads, instance.rules.refresh(limit)),
        attempt(&mut state.account_loads, instance.accounts.refresh(limit)),
    );
    if let Some(error) = rules {
        inbox.counts.rule_load_errors += 1;
        let what = NotLoaded::Rules(instance.rules.current().len());
        let notice = notice(instance, what, instance.rules.uri(), &error);
        report(publishing, rule_loads, error, &notice, inbox).await;
    }
    if let Some(error) = accounts {
        inbox.counts.account_name_errors += 1;
        let uri = instance.accounts.uri();
        let notice = notice(instance, NotLoaded::AccountNames, uri, &error);
        report(publishing, account_loads, error, &notice, inbox).await;
    }
}

fn rule_loads(state: &mut State) -> &mut Loads {
    &mut state.rule_loads
}

fn account_loads(state: &mut State) -> &mut Loads {
    &mut state.account_loads
}

/// Refreshes one source. Returns the failure, at the start of this instance or now.
async fn attempt(
    loads: &mut Loads,
    refresh: impl Future<Output = Result<Refresh, LoadError>>,
) -> Option<LoadError> {
    if let Some(error) = loads.start_error.take() {
        return Some(error);
    }
    match refresh.await {
        Ok(Refresh::NotDue) => None,
        Ok(Refresh::InUse) => {
            loads.notified = PerChannel::default();
            loads.last_failed = false;
            None
        }
        Err(error) => (!loads.may_continue(&error)).then_some(error),
    }
}

fn notice(
    instance: &Instance,
    what: NotLoaded,
    uri: Option<&FilesUri>,
    error: &LoadError,
) -> Notice {
    let uri = uri.map(ToString::to_string).unwrap_or_default();
    operator::not_loaded(what, &uri, &error.lines, instance.clock.now())
}

/// Logs a failure, and publishes the notice about it once to each topic. A temporary failure is published only if it
/// lasts until the next attempt.
async fn report(
    publishing: &mut Publishing<'_>,
    loads: fn(&mut State) -> &mut Loads,
    failure: LoadError,
    notice: &Notice,
    inbox: &mut Inbox,
) {
    for line in &failure.lines {
        error!(error_type = failure.error_type, "not loaded: {line}");
    }
    let known = loads(publishing.state);
    let may_pass = failure.is_temporary && !known.last_failed;
    known.last_failed = failure.is_temporary;
    if may_pass {
        return;
    }
    let mut messages = vec![(Channel::Alert, &notice.message)];
    if publishing.is_paged(operator::SEVERITY) {
        messages.push((Channel::Page, &notice.page));
    }
    for (channel, message) in messages {
        let known = loads(publishing.state).notified[channel].as_ref();
        if known.is_some_and(|known| known.is_like(&failure)) {
            continue;
        }
        if publishing.wait_for_slot(channel, Duration::MAX).await != Slot::Now {
            // The next invocation tries again.
            return;
        }
        match publishing.send(channel, message, inbox).await {
            Ok(()) => loads(publishing.state).notified[channel] = Some(failure.clone()),
            Err(error) => error!(
                error_type = error.error_type(),
                "the {channel} about this was not published, and will be tried again: {error}"
            ),
        }
    }
}
