//! SNS: publishing messages to one topic, and the rate at which one instance does so.
//!
//! It uses Publish, not PublishBatch: SNS suspends an e-mail subscription above ten messages a second, and a batch is
//! up to ten messages at once. At one message per interval a batch saves nothing, and after a crash at most one
//! message is published again.

use std::time::Duration;

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_sns::{
    Client,
    config::Region,
    error::{ProvideErrorMetadata, SdkError},
    types::MessageAttributeValue,
};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::{clock, sdk, settings::Topic, timing::Timing};
use cloudhsm_alerts_core::alert::message::{Message, Structure};

/// Why a message was not published.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PublishError {
    /// The function's role, the topic's policy or its KMS key forbids it.
    #[error(
        "publishing is not allowed ({0}); expected a role with sns:Publish on the topic and, if it is encrypted with a KMS key, kms:GenerateDataKey and kms:Decrypt"
    )]
    Denied(String),
    /// The topic does not exist.
    #[error(
        "there is no such topic ({0}); deploy the stack again or correct the topic's ARN in the function's variables"
    )]
    TopicNotFound(String),
    /// The KMS key of an encrypted topic cannot be used.
    #[error(
        "the topic's KMS key cannot be used ({0}); expected an enabled key that allows the function kms:GenerateDataKey and kms:Decrypt"
    )]
    KmsKey(String),
    /// SNS refused the message for its content.
    #[error("SNS refused the message ({0}); this is a bug in cloudhsm-alerts, please report it")]
    Refused(String),
    /// The account's quota is exceeded. A retry can succeed.
    #[error("SNS throttled the request ({0}); if this lasts, request a higher quota")]
    Throttled(String),
    /// Anything else, such as a lost connection or a service error. A retry can succeed.
    #[error("SNS did not accept it: {0}")]
    Unavailable(String),
}

impl PublishError {
    /// The stable name in a failed invocation's `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            PublishError::Denied(_) => "Publish.Denied",
            PublishError::TopicNotFound(_) => "Publish.TopicNotFound",
            PublishError::KmsKey(_) => "Publish.KmsKey",
            PublishError::Refused(_) => "Publish.Refused",
            PublishError::Throttled(_) => "Publish.Throttled",
            PublishError::Unavailable(_) => "Publish.Unavailable",
        }
    }

    /// Whether a retry can succeed without any fix.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            PublishError::Throttled(_) | PublishError::Unavailable(_)
        )
    }

    /// Whether it is about the topic, so that every other message would fail the same way.
    pub fn is_about_the_topic(&self) -> bool {
        match self {
            PublishError::Denied(_) | PublishError::TopicNotFound(_) | PublishError::KmsKey(_) => {
                true
            }
            PublishError::Refused(_)
            | PublishError::Throttled(_)
            | PublishError::Unavailable(_) => false,
        }
    }
}

/// Publishes to one topic.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    topic: Topic,
    pace: Pace,
}

/// The rate of this instance: at most one message per interval.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// When the next message may be published.
    next: Option<Instant>,
}

impl Pace {
    async fn wait(&mut self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
        self.next = Some(clock::instant() + self.interval);
    }
}

impl Publisher {
    /// A publisher to a topic. It calls SNS in the topic's region.
    pub fn new(sdk: &SdkConfig, topic: Topic, timing: &Timing) -> Publisher {
        // Much shorter than a claim is valid, so that no other invocation takes the claim over meanwhile.
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(timing.publish_attempt)
            .operation_timeout(timing.publish_operation)
            .build();
        let config = aws_sdk_sns::config::Builder::from(sdk)
            .region(Region::new(topic.region.clone()))
            .timeout_config(timeouts)
            .build();
        Publisher {
            client: Client::from_conf(config),
            topic,
            pace: Pace {
                interval: timing.interval,
                next: None,
            },
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Waits until this instance may publish the next message.
    pub async fn wait(&mut self) {
        self.pace.wait().await;
    }

    /// Publishes one message without waiting; see [`Publisher::wait`].
    ///
    /// # Errors
    /// SNS returned an error or no response. The SDK has retried temporary errors.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only request that publishes; callers wait for a slot first"
    )]
    pub async fn publish(&self, message: &Message) -> Result<(), PublishError> {
        let mut request = self
            .client
            .publish()
            .topic_arn(&self.topic.arn)
            .set_subject(message.subject.clone())
            .message(&message.body);
        if message.structure == Structure::Json {
            request = request.message_structure("json");
        }
        for (name, value) in &message.attributes {
            let attribute = MessageAttributeValue::builder()
                .data_type(value.data_type())
                .string_value(value.value())
                .build()
                .map_err(|error| PublishError::Refused(format!("attribute {name}: {error}")))?;
            request = request.message_attributes(*name, attribute);
        }
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| publish_error(&error))
    }
}

fn publish_error<E>(error: &SdkError<E>) -> PublishError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = sdk::error_message(error);
    let code = error.code().unwrap_or_default();
    // SNS returns its error codes with and without "Exception".
    match code.strip_suffix("Exception").unwrap_or(code) {
        "AuthorizationError" | "AccessDenied" | "KMSAccessDenied" => PublishError::Denied(message),
        "NotFound" => PublishError::TopicNotFound(message),
        "KMSDisabled" | "KMSInvalidState" | "KMSNotFound" | "KMSOptInRequired" => {
            PublishError::KmsKey(message)
        }
        "InvalidParameter"
        | "InvalidParameterValue"
        | "ParameterValueInvalid"
        | "ValidationError"
        | "Validation" => PublishError::Refused(message),
        "Throttled" | "Throttling" | "KMSThrottling" | "RequestLimitExceeded" => {
            PublishError::Throttled(message)
        }
        _ => PublishError::Unavailable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_most_nine_messages_in_any_second() {
        let interval = Timing::default().interval;
        let mut pace = Pace {
            interval,
            next: None,
        };
        let start = Instant::now();
        let mut sent = Vec::new();
        for n in 0..60 {
            // A pause, as between two invocations.
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
        // No slower than the interval, and no faster after the pause.
        assert_eq!((sent[0], sent[29]), (Duration::ZERO, interval * 29));
        assert_eq!(sent[59] - sent[30], interval * 29);
    }
}
