//! Log files in S3: all objects under a prefix, listed page by page and streamed one by one.

use std::{
    error::Error,
    io::{self, Read},
};

use cloudhsm_alerts::s3::{self, FetchError};
use cloudhsm_alerts_core::{alert::Source, text::one_line};
use tokio::runtime::Runtime;

use super::session::{FileKind, Session};
use crate::sdk;

/// Scans `bucket/prefix`.
pub(super) fn scan(address: &str, session: &mut Session<'_>) -> Result<(), Box<dyn Error>> {
    let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
    let runtime = sdk::runtime()?;
    let client = s3::client(&runtime.block_on(sdk::config()));
    let mut page = None;
    let (mut is_empty, mut is_known) = (true, false);
    loop {
        let listed = match runtime.block_on(s3::list(&client, bucket, prefix, page)) {
            Ok(listed) => listed,
            Err(error) => {
                session.error(&format!("s3://{}: {error}", one_line(bucket, 256)));
                return Ok(());
            }
        };
        for s3::Listed { object, size, .. } in listed.objects {
            is_empty = false;
            // An object that is named itself is read whatever its key.
            let kind = if object.key == prefix {
                FileKind::LogFile
            } else {
                session.classify(&object.key)
            };
            is_known |= kind != FileKind::Other;
            if kind != FileKind::LogFile {
                continue;
            }
            session.progress.inc_length(size);
            let source = Source::Object(object.clone());
            match runtime.block_on(s3::open(&client, &object)) {
                Ok(body) => session.scan(
                    &source,
                    &mut Body {
                        runtime: &runtime,
                        body,
                        rest: Vec::new(),
                    },
                )?,
                Err(error) => session.error(&format!("{source}: {error}")),
            }
            if session.broken_pipe {
                return Ok(());
            }
        }
        page = listed.next;
        if page.is_none() {
            break;
        }
    }
    if !is_known {
        session.error(&format!(
            "s3://{}/{}: {}",
            one_line(bucket, 256),
            one_line(prefix, 1024),
            if is_empty {
                "no objects under this prefix"
            } else {
                "no log files under this prefix: expected keys that end in .json or .json.gz"
            }
        ));
    }
    Ok(())
}

/// The body of an object as a blocking reader.
struct Body<'r> {
    runtime: &'r Runtime,
    body: s3::Body,
    /// The unread part of the last chunk.
    rest: Vec<u8>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let chunk = self.runtime.block_on(s3::next_chunk(&mut self.body));
            match chunk.map_err(|error: FetchError| io::Error::other(error.to_string()))? {
                Some(chunk) => self.rest.extend_from_slice(chunk.as_ref()),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}
