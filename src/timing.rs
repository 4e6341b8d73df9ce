//! Time limits: the fixed ones of the function, and the stages of one invocation.
//!
//! At its deadline Lambda ends an invocation at once, without a reply. So work stops before that: first reading,
//! then publishing. What was not done fails, so that it is retried, while there is time to reply.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock;

/// Fixed times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two messages. SNS suspends an e-mail subscription that gets more than ten messages a second
    /// (Amazon SNS quotas); one message in each interval is at most nine in any second.
    pub interval: Duration,
    /// How long a claim is valid. Lambda retries a failed asynchronous invocation after a minute: by then the claims of
    /// an invocation that died must have expired.
    pub lease: Duration,
    /// How long a claim must still be valid when its alert is published: longer than publishing may take.
    pub lease_left: Duration,
    /// How long an invocation waits at its end for calls that another invocation has claimed.
    pub settle: Duration,
    /// When the next slot to publish in is further away than this, alerts go into summaries.
    pub crowded: Duration,
    /// Timeout of one attempt to publish.
    pub publish_attempt: Duration,
    /// Timeout of all attempts to publish a message.
    pub publish_operation: Duration,
    /// Timeout of one request to the ledger's table.
    pub ledger_attempt: Duration,
    /// Timeout of all attempts at one request to it.
    pub ledger_operation: Duration,
    /// How long reading rules and account names may take at the start. Lambda ends a start after ten seconds.
    pub load_at_start: Duration,
    /// How long it may take after an invocation, when no alert waits for it.
    pub load: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            interval: Duration::from_millis(125),
            lease: Duration::from_secs(45),
            lease_left: Duration::from_secs(20),
            settle: Duration::from_secs(6),
            crowded: Duration::from_secs(5),
            publish_attempt: Duration::from_secs(6),
            publish_operation: Duration::from_secs(15),
            ledger_attempt: Duration::from_millis(1500),
            ledger_operation: Duration::from_secs(4),
            load_at_start: Duration::from_secs(8),
            load: Duration::from_secs(30),
        }
    }
}

/// When the stages of one invocation end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Stages>);

#[derive(Debug, Clone, Copy)]
struct Stages {
    reading: Instant,
    publishing: Instant,
    /// After this no response is awaited any more.
    responses: Instant,
}

impl Deadline {
    /// For an invocation that has this much time left; `None`: without limit.
    pub(crate) fn after(left: Option<Duration>) -> Deadline {
        Deadline(left.map(|left| {
            let now = clock::instant();
            // Of five minutes: 30 seconds to publish what was read last, and 10 seconds to release claims and to
            // reply.
            let reply = (left / 6).min(Duration::from_secs(10));
            let publishing = (left / 4).min(Duration::from_secs(30));
            let end = now + left;
            Stages {
                reading: end - reply - publishing,
                publishing: end - reply,
                responses: end - reply / 4,
            }
        }))
    }

    /// Whether the time for reading has passed.
    pub(crate) fn reading_is_over(&self) -> bool {
        self.0
            .is_some_and(|stages| clock::instant() >= stages.reading)
    }

    /// Whether the time for publishing has passed.
    pub(crate) fn publishing_is_over(&self) -> bool {
        self.0
            .is_some_and(|stages| clock::instant() >= stages.publishing)
    }

    /// The time left for publishing, at most `most`.
    pub(crate) fn left_to_publish(&self, most: Duration) -> Duration {
        self.0.map_or(most, |stages| {
            stages
                .publishing
                .saturating_duration_since(clock::instant())
                .min(most)
        })
    }

    /// The time left to wait for responses, at most `most`.
    pub(crate) fn left_for_responses(&self, most: Duration) -> Duration {
        self.0.map_or(most, |stages| {
            stages
                .responses
                .saturating_duration_since(clock::instant())
                .min(most)
        })
    }

    /// The output of `work`; `None` if the time for reading ends first.
    pub(crate) async fn while_reading<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(stages) => timeout_at(stages.reading, work).await.ok(),
            None => Some(work.await),
        }
    }

    /// The response that `work` waits for; `None` if the invocation is about to end.
    pub(crate) async fn response<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(stages) => timeout_at(stages.responses, work).await.ok(),
            None => Some(work.await),
        }
    }
}
