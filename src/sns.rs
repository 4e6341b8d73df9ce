//! Messages, published to the alert topic.

use std::time::Duration;

use aws_sdk_sns::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::MessageAttributeValue,
};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::{alert::message::Message, settings::Topic, text::one_line};

/// SNS suspends an e-mail subscription that gets more than ten messages a second. So many go out at once …
const BURST: u32 = 8;
/// … and one in each of these after that. Source: Amazon SNS quotas.
const PACE: Duration = Duration::from_millis(125);

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
    sent: u32,
    next: Option<Instant>,
}

impl Publisher {
    /// A publisher for one invocation.
    pub fn new(client: Client, topic: Topic) -> Publisher {
        Publisher {
            client,
            topic,
            sent: 0,
            next: None,
        }
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// SNS refused it or could not be reached; the SDK has retried what is worth it.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub async fn publish(&mut self, message: &Message) -> Result<(), PublishError> {
        if let Some(next) = self.next.filter(|_| self.sent >= BURST) {
            sleep_until(next).await;
        }
        self.sent = self.sent.saturating_add(1);
        self.next = Some(Instant::now() + PACE);

        let mut request = self
            .client
            .publish()
            .topic_arn(&self.topic.arn)
            .subject(&message.subject)
            .message(&message.body)
            .message_structure("json");
        for (name, value) in &message.attributes {
            let attribute = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .map_err(|error| PublishError::Refused(format!("attribute {name}: {error}")))?;
            request = request.message_attributes(*name, attribute);
        }
        request.send().await.map(drop).map_err(|error| {
            let message = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                _ => DisplayErrorContext(&error).to_string(),
            };
            let message = one_line(&message, 500);
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
