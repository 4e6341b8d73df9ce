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
    /// (Amazon SNS quotas). Some messages arrive later than others, so the interval has a margin: see the tests.
    pub interval: Duration,
    /// Between two summaries that instances share.
    pub summary_interval: Duration,
    /// How long a shared summary is open.
    pub gather: Duration,
    /// Without a response of the table, an instance cannot see how many others publish. It then waits for a random
    /// time up to this before each message.
    pub spread: Duration,
    /// How long a claim is valid. Lambda retries a failed asynchronous invocation after a minute: by then the claims of
    /// an invocation that died must have expired.
    pub lease: Duration,
    /// How long a claim must still be valid when its alert is published: longer than publishing may take.
    pub lease_left: Duration,
    /// How long an invocation waits at its end for calls that another invocation has claimed.
    pub settle: Duration,
    /// When the next slot to publish in is further away than this, an instance shares a summary with others, or
    /// combines its alerts into one of its own.
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
            interval: Duration::from_millis(225),
            summary_interval: Duration::from_secs(1),
            gather: Duration::from_millis(150),
            spread: Duration::from_secs(30),
            lease: Duration::from_secs(45),
            lease_left: Duration::from_secs(20),
            settle: Duration::from_secs(6),
            crowded: Duration::from_secs(1),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages that SNS may get in a second, for e-mail (Amazon SNS quotas).
    const MAX_PER_SECOND: usize = 10;
    const STORMS: u64 = 10_000;
    /// Seconds within which 99 of 100 messages arrive after they should.
    const JITTER_P99: f64 = 0.5;

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        /// Between 0 and 1.
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON
        }

        /// The absolute value of a normal variable.
        fn half_normal(&mut self) -> f64 {
            let (radius, angle) = (-2.0 * self.next().ln(), self.next() * std::f64::consts::PI);
            radius.sqrt() * angle.sin()
        }
    }

    /// How late a message arrives, in seconds: distributions with the same 99th percentile.
    const JITTERS: [fn(&mut Random) -> f64; 4] = [
        |random| random.next() * JITTER_P99 / 0.99,
        |random| random.next().ln() * JITTER_P99 / 0.01_f64.ln(),
        |random| random.half_normal() * JITTER_P99 / 2.576,
        // Most are early, and one in a thousand is more than a second late.
        |random| 0.05 * (random.next().powf(-0.5) - 1.0) / 9.0 * 10.0,
    ];

    fn most_in_a_second(mut arrivals: Vec<f64>) -> usize {
        arrivals.sort_by(f64::total_cmp);
        let mut most = 0;
        let mut first = 0;
        for last in 0..arrivals.len() {
            while arrivals[last] - arrivals[first] >= 1.0 {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    fn worst_storm(messages: impl Fn(&mut Random) -> Vec<f64>) -> usize {
        let mut random = Random(7);
        let storms = (0..STORMS).map(|n| {
            let jitter = JITTERS[n as usize % JITTERS.len()];
            let messages = messages(&mut random);
            most_in_a_second(messages.iter().map(|at| at + jitter(&mut random)).collect())
        });
        storms.max().unwrap()
    }

    /// A storm of a minute, in which every slot is used, and every shared summary.
    #[test]
    fn no_subscription_gets_more_messages_than_it_may() {
        let timing = Timing::default();
        let every = |interval: Duration, begin: f64| {
            let interval = interval.as_secs_f64();
            (0..(60.0 / interval) as u32).map(move |n| begin + f64::from(n) * interval)
        };
        let worst = worst_storm(|random| {
            let summaries = every(timing.summary_interval, random.next());
            every(timing.interval, 0.0).chain(summaries).collect()
        });
        assert!(worst <= MAX_PER_SECOND, "{worst} messages in a second");
    }

    /// Forty instances that the table gives neither a slot nor a shared summary, with one message each.
    #[test]
    fn instances_without_a_slot_spread_their_messages() {
        let spread = Timing::default().spread.as_secs_f64();
        let worst = worst_storm(|random| (0..40).map(|_| random.next() * spread).collect());
        assert!(worst <= MAX_PER_SECOND, "{worst} messages in a second");
    }
}
