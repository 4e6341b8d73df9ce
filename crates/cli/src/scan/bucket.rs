//! Log files in S3: the objects whose keys begin with a prefix, page by page, each streamed.

use std::{
    error::Error,
    io::{self, Read, Write},
};

use cloudhsm_alerts::s3::{self, FetchError};
use cloudhsm_alerts_core::{alert::Source, text::one_line};
use tokio::runtime::Runtime;

use super::{Session, Wanted};

/// Scans `bucket/prefix`.
pub(super) fn scan(
    address: &str,
    session: &mut Session<'_, impl Write>,
) -> Result<(), Box<dyn Error>> {
    let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = s3::client(&runtime.block_on(crate::sdk::config()));
    let mut page = None;
    let (mut is_empty, mut is_known) = (true, false);
    loop {
        let listed = match runtime.block_on(s3::list(&client, bucket, prefix, page)) {
            Ok(listed) => listed,
            Err(error) => {
                session.problem(&format!("s3://{}: {error}", one_line(bucket, 256)));
                return Ok(());
            }
        };
        for s3::Listed { object, size, .. } in listed.objects {
            is_empty = false;
            let wanted = if object.key == prefix {
                Wanted::Read
            } else {
                session.wants(&object.key)
            };
            is_known |= wanted != Wanted::Other;
            if wanted != Wanted::Read {
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
                Err(error) => session.problem(&format!("{source}: {error}")),
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
        session.problem(&format!(
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

/// An object's body as a reader.
struct Body<'r> {
    runtime: &'r Runtime,
    body: s3::Body,
    /// What of the last chunk was not taken yet.
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
