//! Files that the function uses beside log files, and reads again when they change: rules, and account names. They are
//! in a folder or in S3.
//!
//! What is made of them is replaced as a whole. If one file is broken, or the files cannot be read, what was in use
//! stays in use and the caller gets the error. The files are checked for changes at most once a minute, after the
//! alerts of an invocation were published, so that no alert waits for it.

mod bucket;
mod folder;
mod kind;
mod uri;

use std::{
    fmt,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use aws_sdk_s3::Client;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

pub use kind::{ACCOUNT_NAMES, File, FileKind, RULES, ReadError};
use kind::{Files, versions};
pub use uri::FilesUri;

use crate::clock;

/// The shortest time between two refreshes.
const INTERVAL: Duration = Duration::from_secs(60);
/// Timeout of a refresh. The next one tries again.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The result of a refresh without errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The last refresh was less than a minute ago, or there are no such files.
    NotDue,
    /// What the files contain is in use.
    InUse,
}

/// Why the files are not in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The stable name in logs and metrics.
    pub error_type: &'static str,
    /// Whether a retry can succeed without any fix.
    pub is_temporary: bool,
    /// A line for each of the first problems.
    pub lines: Vec<String>,
}

impl LoadError {
    fn unreadable(kind: FileKind, error: &ReadError) -> LoadError {
        LoadError {
            error_type: kind.unreadable,
            is_temporary: error.is_temporary,
            lines: vec![error.to_string()],
        }
    }

    fn broken(kind: FileKind, lines: Vec<String>) -> LoadError {
        LoadError {
            error_type: kind.broken,
            is_temporary: false,
            lines,
        }
    }
}

/// Makes a value of all files of a source, or gives a line for each of the first problems.
type Load<T> = Box<dyn Fn(Vec<File>) -> Result<T, Vec<String>> + Send + Sync>;

/// A source of files, and the value that was made of them.
pub(crate) struct Source<T> {
    kind: FileKind,
    uri: FilesUri,
    client: Client,
    interval: Duration,
    load: Load<T>,
    /// `None`: nothing has been loaded yet.
    current: RwLock<Option<Arc<T>>>,
    last_refresh: Mutex<LastRefresh>,
}

/// The result of the last refresh.
#[derive(Debug, Default)]
struct LastRefresh {
    at: Option<Instant>,
    /// The files that were read last.
    files: Files,
    /// Why these files are not in use.
    broken: Option<LoadError>,
    /// Whether they could not be read again.
    is_unreadable: bool,
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("kind", &self.kind)
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl<T> Source<T> {
    /// A source from which nothing has been read yet.
    pub(crate) fn new(
        kind: FileKind,
        uri: FilesUri,
        client: Client,
        load: impl Fn(Vec<File>) -> Result<T, Vec<String>> + Send + Sync + 'static,
    ) -> Source<T> {
        Source {
            kind,
            uri,
            client,
            interval: INTERVAL,
            load: Box::new(load),
            current: RwLock::new(None),
            last_refresh: Mutex::new(LastRefresh::default()),
        }
    }

    /// `None`: nothing has been loaded yet.
    fn current(&self) -> Option<Arc<T>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(Arc::clone)
    }

    async fn refresh(&self) -> Result<Refresh, LoadError> {
        let mut last = self.last_refresh.lock().await;
        if last.at.is_some_and(|at| at.elapsed() < self.interval) {
            return Ok(Refresh::NotDue);
        }
        let found = timeout(TIMEOUT, self.read(&last.files))
            .await
            .unwrap_or_else(|_| {
                Err(ReadError {
                    at: self.uri.to_string(),
                    message: format!("could not be read within {} seconds", TIMEOUT.as_secs()),
                    is_temporary: true,
                })
            });
        last.at = Some(clock::instant());
        let files = match found {
            Ok(files) => files,
            Err(error) => {
                // Makes the next refresh load the files again, even if they have not changed.
                last.is_unreadable = true;
                return Err(LoadError::unreadable(self.kind, &error));
            }
        };
        let was_unreadable = std::mem::take(&mut last.is_unreadable);
        if versions(&files).eq(versions(&last.files)) && !was_unreadable {
            return last.broken.clone().map_or(Ok(Refresh::InUse), Err);
        }
        let loaded = (self.load)(files.values().map(|(_, file)| file.clone()).collect());
        last.files = files;
        match loaded {
            Ok(value) => {
                last.broken = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::new(value));
                Ok(Refresh::InUse)
            }
            Err(lines) => {
                let error = LoadError::broken(self.kind, lines);
                last.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn read(&self, known: &Files) -> Result<Files, ReadError> {
        read(self.kind, &self.uri, &self.client, known).await
    }
}

/// What is in use: what a source contains, or until that is loaded, a value without files.
#[derive(Debug)]
pub struct Loaded<T> {
    without_files: WithoutFiles<T>,
    source: Option<Source<T>>,
}

/// A value that is made when it is first used.
pub(crate) type WithoutFiles<T> = LazyLock<Arc<T>, Box<dyn FnOnce() -> Arc<T> + Send>>;

impl<T> Loaded<T> {
    pub(crate) fn of(without_files: WithoutFiles<T>, source: Option<Source<T>>) -> Loaded<T> {
        Loaded {
            without_files,
            source,
        }
    }

    /// Sets the shortest time between two refreshes.
    #[must_use]
    pub fn refreshed_every(mut self, interval: Duration) -> Loaded<T> {
        if let Some(source) = &mut self.source {
            source.interval = interval;
        }
        self
    }

    /// Where the files are, if there are any.
    pub fn uri(&self) -> Option<&FilesUri> {
        self.source.as_ref().map(|source| &source.uri)
    }

    /// What is in use.
    pub fn current(&self) -> Arc<T> {
        let loaded = self.source.as_ref().and_then(Source::current);
        loaded.unwrap_or_else(|| Arc::clone(&self.without_files))
    }

    /// Checks the files for changes, unless that was done within the last minute, and loads them if they have changed.
    ///
    /// # Errors
    /// The files cannot be read, or not used. What was in use stays in use, and each refresh returns the error until
    /// it is fixed.
    pub async fn refresh(&self) -> Result<Refresh, LoadError> {
        match &self.source {
            Some(source) => source.refresh().await,
            None => Ok(Refresh::NotDue),
        }
    }
}

async fn read(
    kind: FileKind,
    uri: &FilesUri,
    client: &Client,
    known: &Files,
) -> Result<Files, ReadError> {
    match uri {
        FilesUri::Folder(path) => folder::read(kind, path, known),
        FilesUri::Bucket { bucket, prefix } => {
            bucket::read(kind, client, bucket, prefix, known).await
        }
    }
}

/// Reads files once, for the command line.
///
/// # Errors
/// The files cannot be read.
pub async fn read_once(
    kind: FileKind,
    uri: &FilesUri,
    client: &Client,
) -> Result<Vec<File>, ReadError> {
    let files = read(kind, uri, client, &Files::new()).await?;
    Ok(files.into_values().map(|(_, file)| file).collect())
}
