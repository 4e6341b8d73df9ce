//! The topics, as one invocation publishes to them: slots that all instances share, and a circuit breaker for each.

use std::time::Duration;

use cloudhsm_alerts_core::alert::message::Message;

use crate::{
    channel::Channel,
    clock::{self, later},
    instance::{Instance, State},
    ledger::SharedSlot,
    sns::{PublishError, Publisher},
    timing::Deadline,
};

/// After this many temporary failures in a row, no more messages are tried.
const MAX_FAILURES_IN_A_ROW: u32 = 3;
/// The longest wait for a slot.
const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);

/// Circuit breaker for a topic: whether this invocation still publishes to it.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    failures_in_a_row: u32,
    open: Option<PublishError>,
}

impl CircuitBreaker {
    /// Why nothing is published any more.
    pub(super) fn error(&self) -> Option<&PublishError> {
        self.open.as_ref()
    }

    /// Publishes a message, unless the circuit breaker is open.
    pub(super) async fn send(
        &mut self,
        publisher: &Publisher,
        deadline: Deadline,
        message: &Message,
    ) -> Result<(), PublishError> {
        if let Some(error) = self.error() {
            return Err(error.clone());
        }
        let sent = deadline
            .response(publisher.publish(message))
            .await
            .unwrap_or_else(|| {
                Err(PublishError::Unavailable(
                    "no response before the end of the invocation".into(),
                ))
            });
        self.record(&sent);
        sent
    }

    fn record(&mut self, result: &Result<(), PublishError>) {
        match result {
            Err(error) if error.is_about_the_topic() => self.open = Some(error.clone()),
            Err(error) if error.is_temporary() => {
                self.failures_in_a_row += 1;
                if self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
                    self.open = Some(error.clone());
                }
            }
            // A message that SNS refuses for its content shows that the topic works.
            Ok(()) | Err(_) => self.failures_in_a_row = 0,
        }
    }
}

/// Whether the next message may be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::invocation) enum Slot {
    /// Now.
    Now,
    /// Not soon enough: other instances have messages waiting.
    Crowded,
    /// Not before the time for publishing ends.
    OutOfTime,
}

/// Waits for the next slot to publish to a topic, at most `patience` (`Duration::MAX`: as long as there is time). All
/// instances share the slots where there is a table.
pub(super) async fn wait_for_slot(
    instance: &Instance,
    state: &mut State,
    deadline: Deadline,
    channel: Channel,
    patience: Duration,
) -> Slot {
    if deadline.publishing_is_over() {
        return Slot::OutOfTime;
    }
    let Some(publisher) = state.publishers[channel].as_mut() else {
        return Slot::Now;
    };
    let limit = deadline.left_to_publish(patience.min(LONGEST_WAIT));
    let latest = later(instance.clock.now(), limit);
    let slot = deadline
        .response(
            state
                .ledger
                .take_slot(&publisher.topic().arn, instance.timing.interval, latest),
        )
        .await;
    match slot {
        Some(Some(SharedSlot::At(time))) => {
            let wait = time.duration_since(instance.clock.now());
            tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
        }
        Some(Some(SharedSlot::TooLate)) if patience == Duration::MAX => return Slot::OutOfTime,
        Some(Some(SharedSlot::TooLate)) => return Slot::Crowded,
        // Other instances cannot be seen. There may be many, so alerts go into summaries, at random times.
        Some(Some(SharedSlot::Unknown)) if channel == Channel::Alert && patience < LONGEST_WAIT => {
            return Slot::Crowded;
        }
        Some(Some(SharedSlot::Unknown)) => {
            let part = (clock::unique() % 1024) as u32;
            tokio::time::sleep(limit.min(instance.timing.spread) * part / 1024).await;
        }
        // No table that can be used: this instance paces itself.
        Some(None) => {}
        None => return Slot::OutOfTime,
    }
    publisher.wait().await;
    Slot::Now
}
