//! Messages, published to the alert topic.

use std::time::Duration;

use aws_sdk_sns::{Client, error::ProvideErrorMetadata, types::MessageAttributeValue};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::{alert::message::Message, settings::Topic, shell};

/// SNS suspends an e-mail subscription that gets more than ten messages a second (Amazon SNS quotas). One
/// message in each of these is at most nine in any second.
const INTERVAL: Duration = Duration::from_millis(125);

/// Why a message was not published.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The function's role, the topic's policy or its KMS key forbids it.
    #[error(
        "the function may not publish ({0}); expected sns:Publish on the topic and, where it is encrypted with a KMS key, kms:GenerateDataKey and kms:Decrypt"
    )]
    Denied(String),
    /// The topic is gone.
    #[error("there is no such topic ({0}); deploy the stack again or correct ALERT_TOPIC_ARN")]
    TopicNotFound(String),
    /// SNS refuses the message itself.
    #[error(
        "SNS refuses the message ({0}); this is a mistake in cloudhsm-alerts, please report it"
    )]
    Refused(String),
    /// Anything else: throttling, a broken connection, a service error. A retry can mend it.
    #[error("SNS did not take it: {0}")]
    Unavailable(String),
}

impl PublishError {
    /// The stable name that ends in a failed invocation's `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            PublishError::Denied(_) => "Publish.Denied",
            PublishError::TopicNotFound(_) => "Publish.TopicNotFound",
            PublishError::Refused(_) => "Publish.Refused",
            PublishError::Unavailable(_) => "Publish.Unavailable",
        }
    }
}

/// Publishes to one topic, no faster than its e-mail subscriptions bear.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    topic: Topic,
    pace: Pace,
}

/// When the next message may go out.
#[derive(Debug, Default)]
struct Pace {
    next: Option<Instant>,
}

impl Pace {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    async fn wait(&mut self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
        self.next = Some(Instant::now() + INTERVAL);
    }
}

impl Publisher {
    /// A publisher for as long as the function's instance lives.
    pub fn new(client: Client, topic: Topic) -> Publisher {
        Publisher {
            client,
            topic,
            pace: Pace::default(),
        }
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// SNS refused it or could not be reached; the SDK has retried what is worth it.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub async fn publish(&mut self, message: &Message) -> Result<(), PublishError> {
        self.pace.wait().await;
        let mut request = self
            .client
            .publish()
            .topic_arn(&self.topic.arn)
            .subject(&message.subject)
            .message(&message.body)
            .message_structure("json");
        for (name, value) in &message.attributes {
            let attribute = MessageAttributeValue::builder()
                .data_type(value.data_type())
                .string_value(value.value())
                .build()
                .map_err(|error| PublishError::Refused(format!("attribute {name}: {error}")))?;
            request = request.message_attributes(*name, attribute);
        }
        request.send().await.map(drop).map_err(|error| {
            let message = shell::sdk_message(&error);
            match error.code() {
                Some(
                    "AuthorizationError"
                    | "AccessDenied"
                    | "AccessDeniedException"
                    | "KMSAccessDenied",
                ) => PublishError::Denied(message),
                Some("NotFound" | "NotFoundException") => PublishError::TopicNotFound(message),
                Some(
                    "InvalidParameter"
                    | "InvalidParameterValue"
                    | "ParameterValueInvalid"
                    | "ValidationError",
                ) => PublishError::Refused(message),
                _ => PublishError::Unavailable(message),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "the clock is paused")]
    async fn never_more_than_nine_in_a_second() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut sent = Vec::new();
        for n in 0..60 {
            // A pause in between, as between two invocations.
            if n == 30 {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            pace.wait().await;
            sent.push(start.elapsed());
        }
        for (n, first) in sent.iter().enumerate() {
            let within = sent[n..]
                .iter()
                .take_while(|at| **at - *first <= Duration::from_secs(1));
            assert!(within.count() <= 9, "{sent:?}");
        }
        // And no slower than that; a pause is not made up for.
        assert_eq!((sent[0], sent[29]), (Duration::ZERO, INTERVAL * 29));
        assert_eq!(sent[59] - sent[30], INTERVAL * 29);
    }
}
