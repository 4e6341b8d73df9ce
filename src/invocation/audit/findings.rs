//! Publishing what the audit found: once for each finding, whatever is retried, and those of one kind in one message.
//!
//! A finding is claimed in the ledger like a call, published to both topics, and marked as sent. If one topic fails, the
//! retry publishes only to that one.

use std::{collections::HashMap, time::Duration};

use cloudhsm_alerts_core::{
    alert::trail::{self, Kind, TrailFinding},
    call_id::CallId,
};
use tracing::{info, warn};

use crate::{
    channel::{Channel, Delivered},
    failure::Failure,
    invocation::{
        inbox::Inbox,
        publishing::{Publishing, Slot},
    },
    ledger::Claim,
};

/// A claimed finding.
struct Claimed<'f> {
    id: CallId,
    finding: &'f TrailFinding,
    units: &'f [usize],
    delivered: Delivered,
}

/// Publishes findings, each with the units that fail if it cannot be published. Returns those that are published, now or
/// before, by their identities.
pub(super) async fn publish(
    found: Vec<(TrailFinding, Vec<usize>)>,
    publishing: &mut Publishing<'_>,
    inbox: &mut Inbox,
) -> Vec<CallId> {
    let found = merged(found, publishing);
    let mut done = Vec::new();
    if found.is_empty() {
        return done;
    }
    let ids: Vec<CallId> = found.iter().map(|(finding, _)| finding.id()).collect();
    let wanted: Vec<&CallId> = ids.iter().collect();
    let claiming = publishing.state.ledger.claim(&wanted);
    let Some(claims) = publishing.deadline.response(claiming).await else {
        let channel = Channel::Alert;
        for (_, units) in &found {
            inbox.fail(Failure::TrailFindingOutOfTime { channel }, units);
        }
        return done;
    };
    let mut groups: HashMap<(Kind, bool, bool), Vec<Claimed<'_>>> = HashMap::new();
    for (((finding, units), id), claim) in found.iter().zip(ids).zip(claims) {
        match claim {
            Claim::Alerted => done.push(id),
            Claim::Held => inbox.fail(Failure::TrailFindingClaimed, units),
            Claim::Ours(delivered) => {
                let key = (finding.kind, delivered.alert, delivered.page);
                groups.entry(key).or_default().push(Claimed {
                    id,
                    finding,
                    units,
                    delivered,
                });
            }
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(key, _)| *key);
    for (_, group) in groups {
        done.extend(publish_group(&group, publishing, inbox).await);
    }
    done
}

/// Each finding once, with all units that it belongs to. Those below `MIN_SEVERITY` are only logged.
fn merged(
    found: Vec<(TrailFinding, Vec<usize>)>,
    publishing: &Publishing<'_>,
) -> Vec<(TrailFinding, Vec<usize>)> {
    let mut merged: Vec<(TrailFinding, Vec<usize>)> = Vec::new();
    let mut index: HashMap<CallId, usize> = HashMap::new();
    for (finding, units) in found {
        let code = finding.kind.code();
        if finding.kind.severity() < publishing.instance.settings.min_severity {
            warn!(
                code,
                subject = finding.subject,
                "below MIN_SEVERITY: {}",
                finding.detail
            );
            continue;
        }
        match index.get(&finding.id()) {
            Some(&at) => {
                let known = &mut merged[at].1;
                known.extend(units);
                known.sort_unstable();
                known.dedup();
            }
            None => {
                warn!(code, subject = finding.subject, "{}", finding.detail);
                index.insert(finding.id(), merged.len());
                merged.push((finding, units));
            }
        }
    }
    merged
}

/// Publishes one message about findings of a kind that lack the same topics.
async fn publish_group(
    group: &[Claimed<'_>],
    publishing: &mut Publishing<'_>,
    inbox: &mut Inbox,
) -> Vec<CallId> {
    let Some(first) = group.first() else {
        return Vec::new();
    };
    let findings: Vec<&TrailFinding> = group.iter().map(|claimed| claimed.finding).collect();
    let (kind, mut delivered) = (first.finding.kind, first.delivered);
    let now = publishing.instance.clock.now();
    let accounts = publishing.instance.accounts.current();
    let Some(notice) = trail::message(&findings, now, &accounts) else {
        return Vec::new();
    };
    let mut messages = vec![(Channel::Alert, &notice.message)];
    if publishing.is_paged(kind.severity()) {
        messages.push((Channel::Page, &notice.page));
    }
    let mut failed = None;
    for (channel, message) in messages {
        if delivered[channel] {
            continue;
        }
        let failure = if publishing.wait_for_slot(channel, Duration::MAX).await == Slot::Now {
            match publishing.send(channel, message, inbox).await {
                Ok(()) => {
                    delivered[channel] = true;
                    info!(code = kind.code(), findings = group.len(), channel = %channel, "finding published");
                    if channel == Channel::Alert {
                        inbox.counts.trail_findings += group.len() as u64;
                    }
                    continue;
                }
                Err(error) => Failure::TrailFinding { channel, error },
            }
        } else {
            Failure::TrailFindingOutOfTime { channel }
        };
        failed = Some(failure);
    }
    let Some(failure) = failed else {
        let ids: Vec<&CallId> = group.iter().map(|claimed| &claimed.id).collect();
        let marking = publishing.state.ledger.mark_sent(&ids);
        let unmarked = publishing.deadline.response(marking).await;
        if unmarked.is_none_or(|unmarked| !unmarked.is_empty()) {
            warn!(
                code = kind.code(),
                "a finding could not be marked as sent, and may come again"
            );
        }
        return group.iter().map(|claimed| claimed.id.clone()).collect();
    };
    let mut units: Vec<usize> = group.iter().flat_map(|it| it.units).copied().collect();
    units.sort_unstable();
    units.dedup();
    inbox.fail(failure, &units);
    let released: Vec<(&CallId, Delivered)> = group.iter().map(|it| (&it.id, delivered)).collect();
    let releasing = publishing.state.ledger.release(&released);
    publishing.deadline.response(releasing).await;
    Vec::new()
}
