//! Objects, fetched from S3 as a stream of chunks. What the chunks mean is the business of the core.

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use thiserror::Error;

use crate::{object::ObjectRef, shell, text::chain};

/// Why an object could not be fetched.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// No such key, version or bucket.
    #[error(
        "there is no such object ({0}); it may have been moved or expired: restore it and put this event through again"
    )]
    NotFound(String),
    /// S3, or the key the object is encrypted with, does not let the caller read. Without s3:ListBucket, S3
    /// gives the same answer for an object that is not there.
    #[error(
        "reading it is not allowed, or it is not there ({0}); expected a role with s3:GetObject (with a version: s3:GetObjectVersion; to list: s3:ListBucket) and, where it is encrypted with a KMS key, kms:Decrypt"
    )]
    Denied(String),
    /// The object is archived.
    #[error("it is archived ({0}): restore it from the archive and put this event through again")]
    Archived(String),
    /// The bucket is in another region.
    #[error("its bucket is in another region ({0}): deploy the function there")]
    WrongRegion(String),
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
            FetchError::WrongRegion(_) => "Object.WrongRegion",
            FetchError::Unavailable(_) => "Object.Unavailable",
        }
    }
}

/// A client. With an endpoint of one's own (`AWS_ENDPOINT_URL`: an emulator, a store that speaks S3), buckets
/// are named in the path, because `bucket.host` seldom resolves there.
pub fn client(sdk: &SdkConfig) -> Client {
    let config = aws_sdk_s3::config::Builder::from(sdk)
        .force_path_style(sdk.endpoint_url().is_some())
        .build();
    Client::from_conf(config)
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
        .map_err(|error| fetch_error(&error))
}

/// The next chunk of a body; `None` at its end.
///
/// # Errors
/// The connection broke off, or the body does not agree with its checksum.
pub async fn next_chunk(
    body: &mut ByteStream,
) -> Result<Option<impl AsRef<[u8]> + use<>>, FetchError> {
    body.try_next()
        .await
        .map_err(|error| FetchError::Unavailable(format!("the body broke off: {}", chain(&error))))
}

/// An object as a listing shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The object.
    pub object: ObjectRef,
    /// Its size in bytes.
    pub size: u64,
    /// What changes with its content.
    pub etag: String,
}

/// One page of the objects under a prefix, in order of their keys.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The objects, at most 1,000.
    pub objects: Vec<Listed>,
    /// What to ask the next page with; `None` on the last one.
    pub next: Option<String>,
}

/// Lists a page of the objects whose keys begin with `prefix`.
///
/// # Errors
/// As [`open`]; the permission to list is s3:ListBucket on the bucket.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub async fn list(
    client: &Client,
    bucket: &str,
    prefix: &str,
    page: Option<String>,
) -> Result<Page, FetchError> {
    let output = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .set_continuation_token(page)
        .send()
        .await
        .map_err(|error| fetch_error(&error))?;
    let objects = output
        .contents()
        .iter()
        .filter_map(|entry| {
            Some(Listed {
                object: ObjectRef {
                    bucket: bucket.to_owned(),
                    key: entry.key()?.to_owned(),
                    version_id: None,
                },
                size: entry.size().unwrap_or(0).try_into().unwrap_or(0),
                etag: entry.e_tag().unwrap_or_default().to_owned(),
            })
        })
        .collect();
    Ok(Page {
        objects,
        next: output.next_continuation_token,
    })
}

fn fetch_error<E>(error: &SdkError<E>) -> FetchError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    let message = shell::sdk_message(error);
    match (error.code(), status) {
        // 405: the version is a delete marker.
        (Some("NoSuchKey" | "NoSuchVersion" | "NoSuchBucket"), _) | (_, Some(404 | 405)) => {
            FetchError::NotFound(message)
        }
        (Some("PermanentRedirect" | "AuthorizationHeaderMalformed"), _) | (_, Some(301)) => {
            FetchError::WrongRegion(message)
        }
        (Some("InvalidObjectState"), _) => FetchError::Archived(message),
        (Some("RequestTimeTooSkewed" | "ExpiredToken"), _) => FetchError::Unavailable(message),
        (Some("AccessDenied" | "KMS.DisabledException"), _) | (_, Some(403)) => {
            FetchError::Denied(message)
        }
        _ => FetchError::Unavailable(message),
    }
}
