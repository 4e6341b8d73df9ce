//! Objects, fetched from S3 as a stream of chunks. What the chunks mean is the business of the core.

use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    primitives::ByteStream,
};
use thiserror::Error;

use crate::{object::ObjectRef, text::one_line};

/// Why an object could not be fetched.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// No such key, version or bucket.
    #[error(
        "there is no such object ({0}); it may have been moved or expired: restore it and put this event through again"
    )]
    NotFound(String),
    /// S3, or the key the object is encrypted with, does not let the function read.
    #[error(
        "the function may not read it ({0}); expected s3:GetObject (with a version: s3:GetObjectVersion) and, where it is encrypted with a KMS key, kms:Decrypt in the function's role"
    )]
    Denied(String),
    /// The object is archived.
    #[error("it is archived ({0}): restore it from the archive and put this event through again")]
    Archived(String),
    /// Anything else: throttling, a broken connection, a service error. A retry can mend it.
    #[error("S3 did not deliver it: {0}")]
    Unavailable(String),
}

impl FetchError {
    /// The stable name that ends in a failed invocation's `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            FetchError::NotFound(_) => "Object.NotFound",
            FetchError::Denied(_) => "Object.Denied",
            FetchError::Archived(_) => "Object.Archived",
            FetchError::Unavailable(_) => "Object.Unavailable",
        }
    }
}

/// Opens an object. The stream ends in an error where the body is cut off.
///
/// # Errors
/// S3 refuses it, does not have it, or cannot be reached; the SDK has retried what is worth it.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub async fn open(client: &Client, object: &ObjectRef) -> Result<ByteStream, FetchError> {
    client
        .get_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .set_version_id(object.version_id.clone())
        .send()
        .await
        .map(|output| output.body)
        .map_err(|error| {
            let status = error
                .raw_response()
                .map(|response| response.status().as_u16());
            let message = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                _ => DisplayErrorContext(&error).to_string(),
            };
            let message = one_line(&message, 500);
            match (error.code(), status) {
                (Some("NoSuchKey" | "NoSuchVersion" | "NoSuchBucket"), _) | (_, Some(404)) => {
                    FetchError::NotFound(message)
                }
                (Some("InvalidObjectState"), _) => FetchError::Archived(message),
                (Some("RequestTimeTooSkewed" | "ExpiredToken"), _) => {
                    FetchError::Unavailable(message)
                }
                (Some("AccessDenied" | "KMS.DisabledException"), _) | (_, Some(403)) => {
                    FetchError::Denied(message)
                }
                _ => FetchError::Unavailable(message),
            }
        })
}

/// The next chunk of a body; `None` at its end.
///
/// # Errors
/// The connection broke off, or the body does not agree with its checksum.
pub async fn next_chunk(
    body: &mut ByteStream,
) -> Result<Option<impl AsRef<[u8]> + use<>>, FetchError> {
    body.try_next().await.map_err(|error| {
        let message = DisplayErrorContext(&error).to_string();
        FetchError::Unavailable(format!("the body broke off: {}", one_line(&message, 500)))
    })
}
