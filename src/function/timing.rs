//! How long things may take: the fixed times of the function, and what one invocation still has.
//!
//! Lambda ends an invocation at its deadline without a word, in the middle of whatever it does. So work is
//! given up before: first reading, then publishing, and what was not done is handed back as failed while
//! there is time to say so.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock;

/// Fixed times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two messages. SNS suspends an e-mail subscription that gets more than ten messages a second
    /// (Amazon SNS quotas); one message in each interval is at most nine in any second.
    pub interval: Duration,
    /// How long a claim is good for. Lambda repeats a failed asynchronous invocation after a minute: by then
    /// the claim of one that died must have expired.
    pub lease: Duration,
    /// What must be left of a claim when its alert is published: longer than publishing may take.
    pub lease_left: Duration,
    /// How long an invocation that has nothing else to do waits for another's claim to be decided.
    pub settle: Duration,
    /// When the next turn to publish lies further ahead, alerts go into digests.
    pub crowded: Duration,
    /// One attempt to publish.
    pub publish_attempt: Duration,
    /// All attempts to publish a message.
    pub publish_operation: Duration,
    /// One attempt to reach the ledger's table.
    pub ledger_attempt: Duration,
    /// All attempts at one request to it.
    pub ledger_operation: Duration,
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
        }
    }
}

/// When the stages of one invocation end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Stages>);

#[derive(Debug, Clone, Copy)]
struct Stages {
    reading: Instant,
    publishing: Instant,
    /// No answer is awaited beyond this.
    answers: Instant,
}

impl Deadline {
    /// For an invocation that has so much time left; `None`: as much as it takes.
    pub(super) fn after(left: Option<Duration>) -> Deadline {
        Deadline(left.map(|left| {
            let now = clock::instant();
            // Of five minutes: half a minute to publish what was read last, and ten seconds to give back
            // claims and to reply.
            let reply = (left / 6).min(Duration::from_secs(10));
            let publishing = (left / 4).min(Duration::from_secs(30));
            let end = now + left;
            Stages {
                reading: end - reply - publishing,
                publishing: end - reply,
                answers: end - reply / 4,
            }
        }))
    }

    /// Whether nothing more may be read.
    pub(super) fn reading_is_over(&self) -> bool {
        self.0
            .is_some_and(|stages| clock::instant() >= stages.reading)
    }

    /// Whether nothing more may be published.
    pub(super) fn publishing_is_over(&self) -> bool {
        self.0
            .is_some_and(|stages| clock::instant() >= stages.publishing)
    }

    /// What is left to publish in, at most `most`.
    pub(super) fn left_to_publish(&self, most: Duration) -> Duration {
        self.0.map_or(most, |stages| {
            stages
                .publishing
                .saturating_duration_since(clock::instant())
                .min(most)
        })
    }

    /// The output, unless reading ends first.
    pub(super) async fn while_reading<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(stages) => timeout_at(stages.reading, work).await.ok(),
            None => Some(work.await),
        }
    }

    /// The answer, unless the invocation is about to end.
    pub(super) async fn answer<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(stages) => timeout_at(stages.answers, work).await.ok(),
            None => Some(work.await),
        }
    }
}
