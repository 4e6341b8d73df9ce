//! Objects, fetched from S3 as a stream of chunks. What the chunks mean is the business of the core.

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use thiserror::Error;

use crate::shell;
use cloudhsm_alerts_core::{
    object::ObjectRef,
    text::{chain, one_line},
};

/// How often one object is opened again after its body broke off.
const RESUMES: u32 = 3;

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
    /// The KMS key that the object is encrypted with cannot be used.
    #[error(
        "the KMS key it is encrypted with cannot be used ({0}); enable or restore the key and put this event through again"
    )]
    KmsKey(String),
    /// Another object was put in its place while it was read. A retry reads that one.
    #[error("it was replaced while it was read ({0})")]
    Changed(String),
    /// More requests than S3 or KMS takes. A retry can mend it.
    #[error("S3 is throttled ({0})")]
    Throttled(String),
    /// Anything else: a broken connection, a service error. A retry can mend it.
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
            FetchError::KmsKey(_) => "Object.KmsKey",
            FetchError::Changed(_) => "Object.Changed",
            FetchError::Throttled(_) => "Object.Throttled",
            FetchError::Unavailable(_) => "Object.Unavailable",
        }
    }

    /// Whether the same object may be read later without anybody mending anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            FetchError::Changed(_) | FetchError::Throttled(_) | FetchError::Unavailable(_) => true,
            FetchError::NotFound(_)
            | FetchError::Denied(_)
            | FetchError::Archived(_)
            | FetchError::WrongRegion(_)
            | FetchError::KmsKey(_) => false,
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

/// An object's body while it is read. Where the connection breaks off, it is opened again at that place.
#[derive(Debug)]
pub struct Body {
    client: Client,
    object: ObjectRef,
    stream: ByteStream,
    /// Tells whether it is still the same object.
    e_tag: Option<String>,
    /// Bytes of the whole object, where S3 says.
    length: Option<u64>,
    position: u64,
    resumes: u32,
}

/// Opens an object.
///
/// # Errors
/// S3 refuses it, does not have it, or cannot be reached; the SDK has retried what is worth it.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub async fn open(client: &Client, object: &ObjectRef) -> Result<Body, FetchError> {
    let output = client
        .get_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .set_version_id(object.version_id.clone())
        .send()
        .await
        .map_err(|error| fetch_error(&error))?;
    Ok(Body {
        client: client.clone(),
        object: object.clone(),
        e_tag: output.e_tag,
        length: output
            .content_length
            .and_then(|length| u64::try_from(length).ok()),
        position: 0,
        resumes: 0,
        stream: output.body,
    })
}

/// The next chunk of a body; `None` at its end.
///
/// # Errors
/// The connection broke off again and again, the body does not agree with its checksum, or the object was
/// replaced or removed while it was read.
pub async fn next_chunk(body: &mut Body) -> Result<Option<impl AsRef<[u8]> + use<>>, FetchError> {
    loop {
        let error = match body.stream.try_next().await {
            Ok(Some(chunk)) => {
                body.position += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            Ok(None) => return Ok(None),
            Err(error) => FetchError::Unavailable(format!("the body broke off: {}", chain(&error))),
        };
        // A body that broke off at its end has a wrong checksum: reading on cannot mend it.
        let is_cut = body.length.is_some_and(|length| body.position < length);
        if !is_cut || body.resumes == RESUMES {
            return Err(error);
        }
        body.resumes += 1;
        body.stream = resume(body).await?;
    }
}

/// The rest of an object, if it is still the same.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
async fn resume(body: &Body) -> Result<ByteStream, FetchError> {
    let output = body
        .client
        .get_object()
        .bucket(&body.object.bucket)
        .key(&body.object.key)
        .set_version_id(body.object.version_id.clone())
        .set_if_match(body.e_tag.clone())
        .range(format!("bytes={}-", body.position))
        .send()
        .await
        .map_err(|error| fetch_error(&error))?;
    let wanted = format!("bytes {}-", body.position);
    match output.content_range {
        Some(range) if range.starts_with(&wanted) => Ok(output.body),
        other => Err(FetchError::Unavailable(format!(
            "the body broke off, and asked for its rest from byte {} S3 sent {}",
            body.position,
            one_line(other.as_deref().unwrap_or("all of it"), 100)
        ))),
    }
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
    let code = error.code().unwrap_or_default();
    match (code, status) {
        // 405: the version is a delete marker.
        ("NoSuchKey" | "NoSuchVersion" | "NoSuchBucket", _) => FetchError::NotFound(message),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed", _) => {
            FetchError::WrongRegion(message)
        }
        ("InvalidObjectState", _) => FetchError::Archived(message),
        ("RequestTimeTooSkewed" | "ExpiredToken", _) => FetchError::Unavailable(message),
        ("PreconditionFailed" | "InvalidRange", _) => FetchError::Changed(message),
        ("SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded", _) => {
            FetchError::Throttled(message)
        }
        (code, _) if code.starts_with("KMS.") && code.contains("Throttl") => {
            FetchError::Throttled(message)
        }
        (code, _) if code.starts_with("KMS.") => FetchError::KmsKey(message),
        ("AccessDenied", _) => FetchError::Denied(message),
        (_, Some(404 | 405)) => FetchError::NotFound(message),
        (_, Some(301)) => FetchError::WrongRegion(message),
        (_, Some(403)) => FetchError::Denied(message),
        (_, Some(412 | 416)) => FetchError::Changed(message),
        (_, Some(429)) => FetchError::Throttled(message),
        _ => FetchError::Unavailable(message),
    }
}
