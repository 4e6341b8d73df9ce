//! Files in S3: the objects under a prefix, or one object. The ETags in a listing show which objects have changed;
//! only those are fetched, several at a time. Each is kept as soon as it is there.

use aws_sdk_s3::Client;
use futures_util::{StreamExt, stream};

use super::{
    kind::{File, FileKind, ReadError},
    read_files::ReadFiles,
};
use crate::s3::{self, FetchError, Listed};
use cloudhsm_alerts_core::object::ObjectRef;

/// Maximum number of objects that are fetched at a time.
const CONCURRENT: usize = 16;

/// Reads the objects that are not in `files` or have changed. A prefix that is the key of one file is read without a
/// listing, for which the role then needs no permission.
pub(super) async fn read<P>(
    kind: FileKind,
    client: &Client,
    bucket: &str,
    prefix: &str,
    files: &mut ReadFiles<P>,
) -> Result<(), ReadError> {
    let at = ObjectRef {
        bucket: bucket.to_owned(),
        key: prefix.to_owned(),
        version_id: None,
    };
    if kind.has(prefix) {
        let file = fetch(kind, client, &at, false).await?;
        let version = file.text.clone();
        files.keep([(prefix, version.as_str())].into_iter());
        if !files.has(prefix, &version) {
            files.add(at.key, version, file);
        }
        return Ok(());
    }
    let uri = at.to_string();
    let mut listed = Vec::new();
    let mut page = None;
    loop {
        let found = s3::list(client, bucket, prefix, page)
            .await
            .map_err(|error| read_error(kind, &uri, &error))?;
        listed.extend(
            found
                .objects
                .into_iter()
                .filter(|found| kind.has(&found.object.key)),
        );
        kind.check_limits(&uri, listed.len(), 0)?;
        page = found.next;
        if page.is_none() {
            break;
        }
    }
    for Listed { object, size, .. } in &listed {
        kind.check_limits(&object.to_string(), 0, *size)?;
    }
    // The key is not shortened, as the name in messages is: two keys can have the same name there.
    files.keep(
        listed
            .iter()
            .map(|found| (found.object.key.as_str(), found.etag.as_str())),
    );
    listed.retain(|found| !files.has(&found.object.key, &found.etag));
    let mut fetched = stream::iter(listed)
        .map(|found| async {
            let file = fetch(kind, client, &found.object, true).await;
            (found, file)
        })
        .buffer_unordered(CONCURRENT);
    while let Some((found, file)) = fetched.next().await {
        files.add(found.object.key, found.etag, file?);
    }
    Ok(())
}

/// Fetches an object. If one that was listed is missing, it was deleted since: the next refresh lists the objects again.
async fn fetch(
    kind: FileKind,
    client: &Client,
    object: &ObjectRef,
    was_listed: bool,
) -> Result<File, ReadError> {
    let name = object.to_string();
    let failed = |error: FetchError| {
        let mut failed = read_error(kind, &name, &error);
        failed.is_temporary |= was_listed && matches!(error, FetchError::NotFound(_));
        failed
    };
    let mut body = s3::open(client, object).await.map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = s3::next_chunk(&mut body).await.map_err(failed)? {
        bytes.extend_from_slice(chunk.as_ref());
        // The object may have grown since it was listed.
        kind.check_limits(&name, 0, bytes.len() as u64)?;
    }
    Ok(File::new(&name, &bytes))
}

/// The error, with advice for the person who set the URI.
fn read_error(kind: FileKind, at: &str, error: &FetchError) -> ReadError {
    let message = match error {
        FetchError::NotFound(message) => {
            format!(
                "there is no such bucket or object ({message}); correct {}",
                kind.variable
            )
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
