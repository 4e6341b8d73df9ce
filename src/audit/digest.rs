//! A digest file in S3: fetched with the signature in its metadata, and judged by itself and by the one that names it.

use aws_sdk_s3::Client;
use cloudhsm_alerts_core::{
    digest::{
        document::{self, Document, DocumentError, MAX_UNCOMPRESSED, Previous},
        finding::Problem,
        key::DigestKey,
        place::Placement,
        signature::{self, ALGORITHM_METADATA, Keys, SIGNATURE_METADATA, SignatureError, Signed},
    },
    log_file::{Content, ContentError, ContentReader, DEFAULT_MAX_UNCOMPRESSED, LogFileError},
    object::ObjectRef,
};
use jiff::{SignedDuration, Timestamp};

use crate::s3::{self, FetchError};

/// The metadata of a backfill digest file with the time at which it was made.
const GENERATED_METADATA: &str = "backfill-generation-timestamp";

/// A digest file that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) key: DigestKey,
    pub(crate) document: Result<Document, DocumentError>,
    /// The signature in its metadata.
    signature: Result<String, SignatureError>,
    /// When a backfill digest file was made.
    generated: Option<Timestamp>,
}

/// What the signature of a digest file shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Authenticity {
    /// CloudTrail wrote it.
    Authentic,
    /// Nobody knows, and why.
    Unknown(String),
    /// Somebody else wrote it, or changed it.
    Wrong(Problem),
}

/// Fetches a digest file, of which at most 32 MiB are held.
pub(crate) async fn fetch(
    client: &Client,
    object: &ObjectRef,
    key: &DigestKey,
) -> Result<Fetched, FetchError> {
    let mut body = s3::open(client, object).await?;
    let mut bytes = Vec::new();
    let mut is_too_large = false;
    while let Some(chunk) = s3::next_chunk(&mut body).await? {
        if bytes.len() + chunk.as_ref().len() > MAX_UNCOMPRESSED as usize {
            is_too_large = true;
            break;
        }
        bytes.extend_from_slice(chunk.as_ref());
    }
    let document = match is_too_large {
        true => Err(DocumentError::Content(LogFileError::TooLarge {
            limit: MAX_UNCOMPRESSED,
        })),
        false => document::read(&bytes),
    };
    Ok(Fetched {
        key: key.clone(),
        document,
        signature: signature::of_metadata(
            body.metadata(SIGNATURE_METADATA),
            body.metadata(ALGORITHM_METADATA),
        ),
        generated: body
            .metadata(GENERATED_METADATA)
            .and_then(|time| time.parse().ok()),
    })
}

impl Fetched {
    /// The period in which its key was in use.
    pub(crate) fn signed_within(&self, document: &Document) -> (Timestamp, Timestamp) {
        let hour = SignedDuration::from_hours(1);
        match self.generated {
            Some(time) => (
                time.checked_sub(hour).unwrap_or(time),
                time.checked_add(hour).unwrap_or(time),
            ),
            None => (document.digest.start, document.digest.end),
        }
    }

    /// Whether CloudTrail wrote it, and for this place.
    pub(crate) fn authenticity(&self, document: &Document, keys: &Keys) -> Authenticity {
        if let Placement::Elsewhere(said) = Placement::of(&self.key, &document.digest) {
            return Authenticity::Wrong(Problem::DigestMisplaced(said));
        }
        let verified = match &self.signature {
            Ok(own) => Signed::of(document).verify(own, keys),
            Err(error) => Err(error.clone()),
        };
        match verified {
            Ok(()) => Authenticity::Authentic,
            Err(error) if error.is_unknown() => Authenticity::Unknown(error.to_string()),
            Err(error) => Authenticity::Wrong(Problem::Signature(error)),
        }
    }

    /// What is wrong with it, given what the next one names.
    pub(crate) fn differs(&self, previous: &Previous, named_by: &str) -> Option<Problem> {
        let document = match &self.document {
            Ok(document) => document,
            Err(error) => return Some(Problem::DigestUnreadable(error.clone())),
        };
        let hash = document.sha256 != previous.sha256;
        let signature = match &self.signature {
            Ok(own) => !own.eq_ignore_ascii_case(&previous.signature),
            Err(error) if !hash => return Some(Problem::Signature(error.clone())),
            Err(_) => true,
        };
        (hash || signature).then(|| Problem::DigestReplaced {
            named_by: named_by.to_owned(),
            hash,
            signature,
        })
    }
}

/// The content of a log file that could not be read as one.
pub(crate) async fn content(
    client: &Client,
    object: &ObjectRef,
) -> Result<Result<Content, ContentError>, FetchError> {
    let mut body = s3::open(client, object).await?;
    let mut reader = ContentReader::new(DEFAULT_MAX_UNCOMPRESSED);
    while let Some(chunk) = s3::next_chunk(&mut body).await? {
        if let Err(error) = reader.push(chunk.as_ref()) {
            return Ok(Err(error));
        }
    }
    Ok(reader.finish())
}
