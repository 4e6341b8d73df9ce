//! Rule files in S3: the objects under a prefix. Their ETags show which have changed; only those are fetched, several
//! at a time.

use aws_sdk_s3::Client;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::files::{Files, ReadError, Version, check_limits, is_rule_file, rule_file};
use crate::s3::{self, FetchError, Listed};
use cloudhsm_alerts_core::{object::ObjectRef, rules::RuleFile};

/// Maximum number of objects that are fetched at a time.
const CONCURRENT: usize = 16;

/// Reads the objects that have changed, and takes the others from `known`.
pub(super) async fn read(
    client: &Client,
    bucket: &str,
    prefix: &str,
    known: &Files,
) -> Result<Files, ReadError> {
    let uri = ObjectRef {
        bucket: bucket.to_owned(),
        key: prefix.to_owned(),
        version_id: None,
    }
    .to_string();
    let mut listed = Vec::new();
    let mut page = None;
    loop {
        let found = s3::list(client, bucket, prefix, page)
            .await
            .map_err(|error| read_error(&uri, &error))?;
        listed.extend(
            found
                .objects
                .into_iter()
                .filter(|found| is_rule_file(&found.object.key)),
        );
        check_limits(&uri, listed.len(), 0)?;
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    stream::iter(listed)
        .map(|found| file(client, found, known))
        .buffered(CONCURRENT)
        .try_collect()
        .await
}

/// One file with its key and ETag. The key is not shortened: two keys can have the same name in messages.
async fn file(
    client: &Client,
    found: Listed,
    known: &Files,
) -> Result<(String, (Version, RuleFile)), ReadError> {
    let name = found.object.to_string();
    check_limits(&name, 0, found.size)?;
    if let Some((version, file)) = known.get(&found.object.key)
        && *version == found.etag
    {
        return Ok((found.object.key, (found.etag, file.clone())));
    }
    let failed = |error: FetchError| {
        let mut failed = read_error(&name, &error);
        // It was deleted after it was listed. The next refresh lists the objects again.
        failed.is_temporary |= matches!(error, FetchError::NotFound(_));
        failed
    };
    let mut body = s3::open(client, &found.object).await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = s3::next_chunk(&mut body).await.map_err(failed)? {
        bytes.extend_from_slice(chunk.as_ref());
        // The object may have grown since it was listed.
        check_limits(&name, 0, bytes.len() as u64)?;
    }
    let file = rule_file(&name, &bytes);
    Ok((found.object.key, (found.etag, file)))
}

/// The error, with advice for the person who set `RULES_URI`.
fn read_error(at: &str, error: &FetchError) -> ReadError {
    let message = match error {
        FetchError::NotFound(message) => {
            format!("there is no such bucket or object ({message}); correct RULES_URI")
        }
        FetchError::Denied(message) => format!(
            "reading it is not allowed ({message}); expected a role with s3:ListBucket and s3:GetObject there and, if it is encrypted with a KMS key, kms:Decrypt"
        ),
        FetchError::Archived(message) => format!("it is archived ({message}); restore it"),
        other => other.to_string(),
    };
    ReadError {
        at: at.to_owned(),
        message,
        is_temporary: error.is_temporary(),
    }
}
