//! Objects in S3: listed, and fetched as a stream of chunks. The core reads what the chunks contain.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::EncodingType,
};
use aws_types::service_config::ServiceConfigKey;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::sdk;
use cloudhsm_alerts_core::{
    object::ObjectRef,
    text::{chain, one_line},
};

/// How often a fetch is resumed after the connection was lost.
const MAX_RESUMES: u32 = 3;

/// Why an object could not be fetched.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// No such key, version or bucket.
    #[error(
        "there is no such object ({0}); if it was moved or has expired, restore it and process this event again"
    )]
    NotFound(String),
    /// A policy of the caller, the bucket or the KMS key does not allow it. Without s3:ListBucket, S3 returns the same
    /// error for an object that does not exist.
    #[error(
        "reading it is not allowed, or it does not exist ({0}); expected a role with s3:GetObject (with a version: s3:GetObjectVersion; to list: s3:ListBucket) and, if it is encrypted with a KMS key, kms:Decrypt"
    )]
    Denied(String),
    /// The object is archived.
    #[error("it is archived ({0}); restore it from the archive and process this event again")]
    Archived(String),
    /// The bucket is in another region.
    #[error("its bucket is in another region ({0}); deploy the function in that region")]
    WrongRegion(String),
    /// The KMS key that the object is encrypted with cannot be used.
    #[error(
        "the KMS key it is encrypted with cannot be used ({0}); enable or restore the key and process this event again"
    )]
    KmsKey(String),
    /// The object was overwritten while it was read. A retry reads the new one.
    #[error("it was overwritten while it was read ({0}); a retry reads the new object")]
    Changed(String),
    /// S3 or KMS throttled the request. A retry can succeed.
    #[error("S3 throttled the request ({0})")]
    Throttled(String),
    /// Anything else, such as a lost connection or a service error. A retry can succeed.
    #[error("S3 did not return it: {0}")]
    Unavailable(String),
}

impl FetchError {
    /// The stable name in a failed invocation's `errorType`.
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

    /// Whether a retry can succeed without any fix.
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

/// A client. With a custom endpoint (`AWS_ENDPOINT_URL`: an emulator or an S3-compatible store), it uses path-style
/// addressing, because the host name `BUCKET.ENDPOINT` often does not resolve.
pub fn client(sdk: &SdkConfig) -> Client {
    let config = aws_sdk_s3::config::Builder::from(sdk)
        .force_path_style(sdk.endpoint_url().is_some() || has_own_endpoint(sdk))
        .build();
    Client::from_conf(config)
}

/// Whether there is an endpoint for S3 alone: `AWS_ENDPOINT_URL_S3`, or that of a profile.
fn has_own_endpoint(sdk: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let services = sdk.service_config();
    key.is_ok_and(|key| services.is_some_and(|services| services.load_config(key).is_some()))
}

/// An object's body while it is read. If the connection is lost, the fetch is resumed at the same position.
#[derive(Debug)]
pub struct Body {
    client: Client,
    object: ObjectRef,
    stream: ByteStream,
    /// A resumed fetch requires the same ETag: the object may have been overwritten.
    e_tag: Option<String>,
    metadata: HashMap<String, String>,
    /// Bytes of the whole object, if S3 returned its length.
    length: Option<u64>,
    position: u64,
    resumes: u32,
}

/// Opens an object.
///
/// # Errors
/// S3 returned an error or no response. The SDK has retried temporary errors.
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
        metadata: output.metadata.unwrap_or_default(),
        length: output
            .content_length
            .and_then(|length| u64::try_from(length).ok()),
        position: 0,
        resumes: 0,
        stream: output.body,
    })
}

impl Body {
    /// A member of the object's own metadata (`x-amz-meta-…`).
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// The object's ETag, if S3 returned it.
    pub fn e_tag(&self) -> Option<&str> {
        self.e_tag.as_deref()
    }
}

/// The next chunk of a body; `None` at its end.
///
/// # Errors
/// The connection was lost too often, the body does not match its checksum, or the object was overwritten or deleted
/// while it was read.
pub async fn next_chunk(body: &mut Body) -> Result<Option<impl AsRef<[u8]> + use<>>, FetchError> {
    loop {
        let error = match body.stream.try_next().await {
            Ok(Some(chunk)) => {
                body.position += chunk.len() as u64;
                return Ok(Some(chunk));
            }
            Ok(None) => return Ok(None),
            Err(error) => {
                FetchError::Unavailable(format!("the body is incomplete: {}", chain(&error)))
            }
        };
        // An error at the end of the body is a wrong checksum. Resuming does not help.
        let is_incomplete = body.length.is_some_and(|length| body.position < length);
        if !is_incomplete || body.resumes == MAX_RESUMES {
            return Err(error);
        }
        body.resumes += 1;
        body.stream = resume(body).await?;
    }
}

/// Fetches the rest of an object, if it has not changed.
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
    let expected = format!("bytes {}-", body.position);
    match output.content_range {
        Some(range) if range.starts_with(&expected) => Ok(output.body),
        other => Err(FetchError::Unavailable(format!(
            "the body is incomplete: expected the rest from byte {}, found {}",
            body.position,
            one_line(other.as_deref().unwrap_or("no Content-Range"), 100)
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
    /// Its ETag, which changes with its content.
    pub etag: String,
}

/// One page of the objects under a prefix, in order of their keys.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The objects, at most 1,000.
    pub objects: Vec<Listed>,
    /// The continuation token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Lists a page of the objects whose keys begin with `prefix`.
///
/// # Errors
/// As [`open`]. Listing requires s3:ListBucket on the bucket.
pub async fn list(
    client: &Client,
    bucket: &str,
    prefix: &str,
    page: Option<String>,
) -> Result<Page, FetchError> {
    list_after(client, bucket, prefix, None, page).await
}

/// Lists a page of the objects whose keys begin with `prefix` and come after another key.
///
/// # Errors
/// As [`list`].
pub async fn list_after(
    client: &Client,
    bucket: &str,
    prefix: &str,
    after: Option<String>,
    page: Option<String>,
) -> Result<Page, FetchError> {
    let output = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .set_start_after(after)
        .encoding_type(EncodingType::Url)
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
                    key: decoded(entry.key()?, output.encoding_type()),
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

/// The folders directly below a prefix that is empty or ends with a slash, each with its own slash, and at most `limit`.
///
/// # Errors
/// As [`list`].
pub async fn folders(
    client: &Client,
    bucket: &str,
    prefix: &str,
    limit: usize,
) -> Result<Vec<String>, FetchError> {
    let mut folders = Vec::new();
    let mut page = None;
    loop {
        let output = client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .delimiter("/")
            .encoding_type(EncodingType::Url)
            .set_continuation_token(page)
            .send()
            .await
            .map_err(|error| fetch_error(&error))?;
        let common = output.common_prefixes().iter();
        folders.extend(
            common.filter_map(|folder| Some(decoded(folder.prefix()?, output.encoding_type()))),
        );
        page = output.next_continuation_token;
        if page.is_none() || folders.len() >= limit {
            folders.truncate(limit);
            return Ok(folders);
        }
    }
}

/// A key in a list. It is encoded on request, because XML cannot have the control characters that a key may have: one
/// such key would make the whole list unreadable.
fn decoded(key: &str, encoding: Option<&EncodingType>) -> String {
    if encoding != Some(&EncodingType::Url) {
        return key.to_owned();
    }
    let with_spaces = key.replace('+', " ");
    percent_decode_str(&with_spaces)
        .decode_utf8_lossy()
        .into_owned()
}

fn fetch_error<E>(error: &SdkError<E>) -> FetchError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    let message = sdk::error_message(error);
    let code = error.code().unwrap_or_default();
    match (code, status) {
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
        // 405: the version is a delete marker.
        (_, Some(404 | 405)) => FetchError::NotFound(message),
        (_, Some(301)) => FetchError::WrongRegion(message),
        (_, Some(403)) => FetchError::Denied(message),
        (_, Some(412 | 416)) => FetchError::Changed(message),
        (_, Some(429)) => FetchError::Throttled(message),
        _ => FetchError::Unavailable(message),
    }
}
