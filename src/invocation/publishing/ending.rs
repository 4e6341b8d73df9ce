//! How publishing can end for a call. Every call that leaves the queue ends in exactly one of these ways.
//!
//! | ending | counted as | fails its units with | its claim in the ledger |
//! |---|---|---|---|
//! | [`Ending::Published`] | `published` | | marked as sent |
//! | [`Ending::Summarized`] | `summarized` | | marked as sent |
//! | [`Ending::Grouped`] | `grouped` | | marked as sent |
//! | [`Ending::Duplicate`] | `duplicates` | | another invocation's |
//! | [`Ending::OnlyCounted`] | `only_counted` | | released |
//! | [`Ending::Rejected`] | `failed` | `Publish.…` | released |
//! | [`Ending::OutOfTime`] | `failed` | `Publish.OutOfTime` | released |
//! | [`Ending::Panicked`] | `failed` | `Function.Panicked` | released |
//! | [`Ending::Claimed`] | `failed` | `Ledger.Claimed` | another invocation's |
//!
//! The duplicates of a call that is alerted are counted as `duplicates`; in all other cases they are counted with
//! the call.

use cloudhsm_alerts_core::{call_id::CallId, text::one_line};

use crate::{
    channel::Channel, failure::Failure, invocation::inbox::Inbox, payload::BatchMode,
    sns::PublishError,
};

/// How publishing ended for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// An alert about it alone was published.
    Published,
    /// A summary that contains it was published.
    Summarized,
    /// It repeats another call, in whose alert it is counted.
    Grouped,
    /// It had been alerted before.
    Duplicate,
    /// A backfill does not alert it: the job is a dry run, or has published all its messages.
    OnlyCounted,
    /// SNS did not accept the alert or the page. What it did accept is kept in the ledger.
    Rejected(Channel, PublishError),
    /// There was no time to publish the alert or the page.
    OutOfTime(Channel),
    /// A bug in this program; the message of the panic.
    Panicked(String),
    /// Another invocation had claimed it until the end of this one. That invocation may have died, so this one fails
    /// and is retried.
    Claimed,
}

/// What an ending means for the claim that this invocation has on the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimEnding {
    /// It is marked as sent, so that no other invocation alerts the call.
    MarkSent,
    /// It is released, so that a retry need not wait for it to expire.
    Release,
    /// There is none.
    None,
}

impl Ending {
    pub(super) fn claim(&self) -> ClaimEnding {
        match self {
            Ending::Published | Ending::Summarized | Ending::Grouped => ClaimEnding::MarkSent,
            Ending::OnlyCounted
            | Ending::Rejected(..)
            | Ending::OutOfTime(_)
            | Ending::Panicked(_) => ClaimEnding::Release,
            Ending::Duplicate | Ending::Claimed => ClaimEnding::None,
        }
    }

    fn failure(&self, event_id: String) -> Option<Failure> {
        match self {
            Ending::Rejected(channel, error) => Some(Failure::Publish {
                event_id,
                channel: *channel,
                error: error.clone(),
            }),
            Ending::OutOfTime(channel) => Some(Failure::PublishOutOfTime {
                event_id,
                channel: *channel,
            }),
            Ending::Panicked(message) => Some(Failure::Panicked {
                at: format!("alert for event {event_id}"),
                message: message.clone(),
            }),
            Ending::Claimed => Some(Failure::Claimed { event_id }),
            Ending::Published
            | Ending::Summarized
            | Ending::Grouped
            | Ending::Duplicate
            | Ending::OnlyCounted => None,
        }
    }

    /// Counts the call, and fails its units if this ending is a failure.
    pub(super) fn record(
        &self,
        call: &CallId,
        units: &[usize],
        duplicates: u64,
        mode: BatchMode,
        inbox: &mut Inbox,
    ) {
        let all = 1 + duplicates;
        let counts = &mut inbox.counts;
        let alerted = match self {
            Ending::Published => &mut counts.published,
            Ending::Summarized => &mut counts.summarized,
            Ending::Grouped => &mut counts.grouped,
            Ending::Duplicate => {
                counts.duplicates += all;
                return;
            }
            Ending::OnlyCounted => return inbox.count_only(all, units, mode),
            Ending::Rejected(..) | Ending::OutOfTime(_) | Ending::Panicked(_) | Ending::Claimed => {
                counts.failed += all;
                if let Some(failure) = self.failure(one_line(call.event_id(), 256)) {
                    inbox.fail_alert(failure, units);
                }
                return;
            }
        };
        *alerted += 1;
        counts.duplicates += duplicates;
    }
}

#[cfg(test)]
mod tests {
    use cloudhsm_alerts_core::record::Record;
    use serde_json::Map;

    use super::*;
    use crate::{counts::Counts, payload::Unit};

    /// The table above, line by line, for a call with two duplicates.
    #[test]
    fn every_ending_counts_all_of_its_calls_once() {
        let rejected = PublishError::Throttled("Rate exceeded".into());
        let failed = Counts {
            failed: 3,
            ..Counts::default()
        };
        let duplicates = |counts: Counts| Counts {
            duplicates: 2,
            ..counts
        };
        let table = [
            (
                Ending::Published,
                duplicates(Counts {
                    published: 1,
                    ..Counts::default()
                }),
                None,
                ClaimEnding::MarkSent,
            ),
            (
                Ending::Summarized,
                duplicates(Counts {
                    summarized: 1,
                    ..Counts::default()
                }),
                None,
                ClaimEnding::MarkSent,
            ),
            (
                Ending::Grouped,
                duplicates(Counts {
                    grouped: 1,
                    ..Counts::default()
                }),
                None,
                ClaimEnding::MarkSent,
            ),
            (
                Ending::Duplicate,
                Counts {
                    duplicates: 3,
                    ..Counts::default()
                },
                None,
                ClaimEnding::None,
            ),
            (
                Ending::OnlyCounted,
                Counts {
                    only_counted: 3,
                    ..Counts::default()
                },
                None,
                ClaimEnding::Release,
            ),
            (
                Ending::Rejected(Channel::Page, rejected),
                failed.clone(),
                Some("Publish.Throttled"),
                ClaimEnding::Release,
            ),
            (
                Ending::OutOfTime(Channel::Page),
                failed.clone(),
                Some("Publish.OutOfTime"),
                ClaimEnding::Release,
            ),
            (
                Ending::Panicked("bug".into()),
                failed.clone(),
                Some("Function.Panicked"),
                ClaimEnding::Release,
            ),
            (
                Ending::Claimed,
                failed,
                Some("Ledger.Claimed"),
                ClaimEnding::None,
            ),
        ];
        let call = CallId::of(&Record::new(0, Map::new()));
        for (ending, counts, failure, claim) in table {
            let mut inbox = Inbox::default();
            inbox.open(
                vec![Unit {
                    id: "unit".into(),
                    items: Vec::new(),
                }],
                false,
            );
            ending.record(&call, &[0], 2, BatchMode::Backfill, &mut inbox);
            assert_eq!(inbox.counts, counts, "{ending:?}");
            assert_eq!(ending.claim(), claim, "{ending:?}");
            let results = inbox.into_results();
            let failures: Vec<&str> = results[0]
                .failures
                .iter()
                .map(Failure::error_type)
                .collect();
            assert_eq!(failures, Vec::from_iter(failure), "{ending:?}");
        }
    }
}
