//! Log files in S3: all objects under a prefix, listed page by page and downloaded side by side.
//!
//! Downloads are ahead of reading, because each request takes much longer than reading a typical file. Only the
//! beginning of an object is kept in memory, which is all of a typical file. The rest of a larger one is streamed while
//! it is read.

use std::{
    collections::VecDeque,
    future,
    io::{self, Read},
    iter, mem, panic, thread,
};

use aws_sdk_s3::Client;
use cloudhsm_alerts::s3::{self, FetchError};
use cloudhsm_alerts_core::alert::Source;
use indicatif::ProgressBar;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use super::found::{AllFound, FileKind, Found, LogFile};
use crate::{address::Address, sdk};

/// Number of objects that are downloaded side by side.
const AHEAD: usize = 16;
/// Number of bytes of an object after which its download waits until they are read.
const BEGINNING: usize = 256 * 1024;

/// Makes the requests to S3, on a thread of its own that ends with the process.
pub(crate) struct Requests {
    handle: Handle,
    client: Client,
}

impl Requests {
    /// # Errors
    /// There are no credentials.
    pub(crate) fn start() -> Result<Requests, String> {
        Requests::try_start().map_err(|error| error.to_string())
    }

    fn try_start() -> Result<Requests, Box<dyn std::error::Error>> {
        let runtime = sdk::runtime()?;
        let client = s3::client(&runtime.block_on(sdk::config_with_credentials())?);
        let handle = runtime.handle().clone();
        thread::Builder::new().spawn(move || runtime.block_on(future::pending::<()>()))?;
        Ok(Requests { handle, client })
    }
}

/// Downloads the object at an address, whatever its key.
fn fetch(address: &Address, requests: &Requests) -> Found {
    let named = s3::Listed {
        object: address.object(),
        size: 0,
        etag: String::new(),
    };
    let task = requests
        .handle
        .spawn(download(requests.client.clone(), named));
    requests.handle.block_on(task).unwrap_or_else(|_| {
        Found::Error(format!(
            "{}: reading it failed unexpectedly",
            address.shown()
        ))
    })
}

/// Opens the object at an address.
///
/// # Errors
/// It cannot be read.
pub(crate) fn open(address: &Address, requests: &Requests) -> Result<Body, String> {
    match fetch(address, requests) {
        Found::LogFile(LogFile::Object(object)) => Ok(object.1),
        Found::Error(message) => Err(message),
        Found::LogFile(_) | Found::Skipped(_) => Err(format!(
            "{}: reading it failed unexpectedly",
            address.shown()
        )),
    }
}

/// Finds the log files under a prefix and downloads them; with a version, the object itself. Adds their sizes to the
/// length of the progress bar.
pub(super) fn find(address: &Address, requests: &Requests, progress: ProgressBar) -> AllFound {
    if address.version.is_some() {
        return Box::new(iter::once(fetch(address, requests)));
    }
    let (sender, mut found) = mpsc::channel(1);
    let search = Search {
        client: requests.client.clone(),
        address: address.clone(),
        progress,
        found: sender,
    };
    let shown = address.shown();
    requests.handle.spawn(search.run());
    let mut has_ended = false;
    Box::new(iter::from_fn(move || match found.blocking_recv() {
        Some(found) => found,
        // The search has panicked.
        None => (!mem::replace(&mut has_ended, true))
            .then(|| Found::Error(format!("{shown}: reading it failed unexpectedly"))),
    }))
}

/// A search for log files under a prefix.
struct Search {
    client: Client,
    address: Address,
    progress: ProgressBar,
    /// What was found, in order of the keys, and `None` at the end.
    found: mpsc::Sender<Option<Found>>,
}

/// The receiver of what is found is gone.
struct Unwanted;

impl Search {
    async fn run(self) {
        if self.find_all().await.is_ok() {
            // If the end is not received, nothing is left to do.
            let _ = self.found.send(None).await;
        }
    }

    /// Finds and downloads everything.
    async fn find_all(&self) -> Result<(), Unwanted> {
        let mut downloads = VecDeque::new();
        let mut failed = None;
        let (mut is_empty, mut is_known) = (true, false);
        let mut next_page = Some(self.list(None));
        while let Some(page) = next_page.take() {
            let page = match joined(page).await {
                Ok(page) => page,
                Err(error) => {
                    failed = Some(format!("{}: {error}", self.address.shown()));
                    break;
                }
            };
            // It is listed while the objects of this one are downloaded.
            next_page = page.next.map(|token| self.list(Some(token)));
            let log_files = page
                .objects
                .iter()
                .filter(|listed| self.kind(listed) == FileKind::LogFile);
            self.progress
                .inc_length(log_files.map(|listed| listed.size).sum());
            for listed in page.objects {
                is_empty = false;
                let kind = self.kind(&listed);
                is_known |= !matches!(kind, FileKind::Other(_));
                if let FileKind::Known(reason) | FileKind::Other(reason) = kind {
                    self.pass_on(Found::Skipped(reason)).await?;
                    continue;
                }
                if downloads.len() == AHEAD
                    && let Some(first) = downloads.pop_front()
                {
                    self.pass_on(joined(first).await).await?;
                }
                downloads.push_back(tokio::spawn(download(self.client.clone(), listed)));
            }
        }
        for download in downloads {
            self.pass_on(joined(download).await).await?;
        }
        if failed.is_none() && !is_known {
            failed = Some(format!(
                "{}: {}",
                self.address.shown(),
                if is_empty {
                    "no objects under this prefix"
                } else {
                    "no log files under this prefix: expected keys that end in .json or .json.gz"
                }
            ));
        }
        match failed {
            Some(message) => self.pass_on(Found::Error(message)).await,
            None => Ok(()),
        }
    }

    /// Starts to list a page.
    fn list(&self, token: Option<String>) -> JoinHandle<Result<s3::Page, FetchError>> {
        let (client, bucket, prefix) = (
            self.client.clone(),
            self.address.bucket.clone(),
            self.address.key.clone(),
        );
        tokio::spawn(async move { s3::list(&client, &bucket, &prefix, token).await })
    }

    /// An object that is named itself is read whatever its key.
    fn kind(&self, listed: &s3::Listed) -> FileKind {
        if listed.object.key == self.address.key {
            FileKind::LogFile
        } else {
            FileKind::of(&listed.object.key)
        }
    }

    async fn pass_on(&self, found: Found) -> Result<(), Unwanted> {
        self.found.send(Some(found)).await.map_err(|_| Unwanted)
    }
}

/// The result of a task. A panic is passed on.
async fn joined<T>(task: JoinHandle<T>) -> T {
    task.await
        .unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
}

/// Downloads an object, or its beginning.
async fn download(client: Client, listed: s3::Listed) -> Found {
    let s3::Listed { object, size, .. } = listed;
    let mut body = match s3::open(&client, &object).await {
        Ok(body) => body,
        Err(error) => return Found::Error(format!("{}: {error}", Source::Object(object))),
    };
    let size = usize::try_from(size).unwrap_or(BEGINNING);
    let mut bytes = Vec::with_capacity(size.min(BEGINNING));
    let rest = loop {
        if bytes.len() >= BEGINNING {
            break Ok(Some(body));
        }
        match s3::next_chunk(&mut body).await {
            Ok(Some(chunk)) => {
                let chunk = chunk.as_ref();
                // Otherwise, twice as much memory could be reserved.
                bytes.reserve_exact(chunk.len());
                bytes.extend_from_slice(chunk);
            }
            Ok(None) => break Ok(None),
            Err(error) => break Err(error),
        }
    };
    let body = Body {
        handle: Handle::current(),
        bytes,
        position: 0,
        rest,
    };
    Found::LogFile(LogFile::Object(Box::new((object, body))))
}

/// The body of an object as a blocking reader.
pub(crate) struct Body {
    /// Of the thread that makes the requests.
    handle: Handle,
    /// Bytes that were downloaded, of which those before `position` were read.
    bytes: Vec<u8>,
    position: usize,
    /// What follows these bytes: a stream, nothing or an error.
    rest: Result<Option<s3::Body>, FetchError>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.bytes.len() {
            let failed = |error: &FetchError| io::Error::other(error.to_string());
            let Some(rest) = self.rest.as_mut().map_err(|error| failed(error))? else {
                return Ok(0);
            };
            let chunk = self.handle.block_on(s3::next_chunk(rest));
            let Some(chunk) = chunk.map_err(|error| failed(&error))? else {
                return Ok(0);
            };
            self.bytes.clear();
            self.bytes.extend_from_slice(chunk.as_ref());
            self.position = 0;
        }
        let length = (&self.bytes[self.position..]).read(buffer)?;
        self.position += length;
        Ok(length)
    }
}
