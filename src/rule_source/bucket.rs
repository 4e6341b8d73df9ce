//! Rule files in S3: the objects below a prefix, told apart by their ETags, so that only what has changed is
//! fetched.

use aws_sdk_s3::Client;

use super::{Files, ReadError, is_rule_file, text, within_limits};
use crate::{
    object::ObjectRef,
    s3::{self, FetchError},
};

pub(super) async fn read(
    client: &Client,
    bucket: &str,
    prefix: &str,
    known: &Files,
) -> Result<Files, ReadError> {
    let place = ObjectRef {
        bucket: bucket.to_owned(),
        key: prefix.to_owned(),
        version_id: None,
    }
    .to_string();
    let failed = |at: &str, error: FetchError| ReadError {
        at: at.to_owned(),
        message: error.to_string(),
    };

    let mut listed = Vec::new();
    let mut page = None;
    loop {
        let found = s3::list(client, bucket, prefix, page)
            .await
            .map_err(|error| failed(&place, error))?;
        listed.extend(
            found
                .objects
                .into_iter()
                .filter(|found| is_rule_file(&found.object.key)),
        );
        within_limits(&place, listed.len(), 0)?;
        page = found.next;
        if page.is_none() {
            break;
        }
    }

    let mut files = Files::new();
    for found in listed {
        let name = found.object.to_string();
        within_limits(&name, 0, found.size)?;
        // The key is the object's own: two may be shown alike.
        let file = match known.get(&found.object.key) {
            Some((stamp, file)) if *stamp == found.etag => file.clone(),
            _ => {
                let mut body = s3::open(client, &found.object)
                    .await
                    .map_err(|error| failed(&name, error))?;
                let mut bytes = Vec::new();
                while let Some(chunk) = s3::next_chunk(&mut body)
                    .await
                    .map_err(|error| failed(&name, error))?
                {
                    bytes.extend_from_slice(chunk.as_ref());
                    // The object may have grown since it was listed.
                    within_limits(&name, 0, bytes.len() as u64)?;
                }
                text(&name, bytes)?
            }
        };
        files.insert(found.object.key, (found.etag, file));
    }
    Ok(files)
}
