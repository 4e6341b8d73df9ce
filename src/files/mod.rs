//! Files that the function uses beside log files, and reads again when they change: rules, and account names. They are
//! in a folder or in S3.
//!
//! What is made of them is replaced as a whole. If one file is broken, or the files cannot all be read, what was in use
//! stays in use and the caller gets the error. The files are checked for changes at most once a minute, after the
//! alerts of an invocation were published, so that no alert waits for it. Such a look has a time limit. One that it
//! ends keeps what it has read, and the next one goes on.

mod bucket;
mod folder;
mod kind;
mod read_files;
mod uri;

use std::{
    convert, fmt,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use aws_sdk_s3::Client;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

pub use kind::{ACCOUNT_NAMES, File, FileKind, RULES, ReadError};
use read_files::ReadFiles;
pub use uri::FilesUri;

use crate::clock;

/// The shortest time between two refreshes.
const INTERVAL: Duration = Duration::from_secs(60);

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
    /// Whether only time was missing. The next look at the source goes on where this one ended.
    pub is_incomplete: bool,
    /// A line for each of the first problems.
    pub lines: Vec<String>,
}

impl LoadError {
    /// Whether a notice about one of the two is enough. How far an incomplete look got makes no difference.
    pub(crate) fn is_like(&self, other: &LoadError) -> bool {
        self.error_type == other.error_type && (self.is_incomplete || self.lines == other.lines)
    }

    fn unreadable(kind: FileKind, error: &ReadError) -> LoadError {
        LoadError {
            error_type: kind.unreadable,
            is_temporary: error.is_temporary,
            is_incomplete: false,
            lines: vec![error.to_string()],
        }
    }

    fn incomplete<P>(
        kind: FileKind,
        uri: &FilesUri,
        files: &ReadFiles<P>,
        limit: Duration,
    ) -> LoadError {
        // Tenths, because what is left of an invocation is no round number.
        let seconds = (limit.as_secs_f64() * 10.0).round() / 10.0;
        let line = match files.progress() {
            Some((read, total)) => format!(
                "{uri}: {read} of {total} {} were read in {seconds} s; reading continues after the next invocation",
                kind.noun
            ),
            None => format!(
                "{uri}: no further {} could be read in {seconds} s; reading continues after a later invocation",
                kind.noun
            ),
        };
        LoadError {
            error_type: kind.incomplete,
            is_temporary: true,
            is_incomplete: true,
            lines: vec![line],
        }
    }

    fn broken(kind: FileKind, lines: Vec<String>) -> LoadError {
        LoadError {
            error_type: kind.broken,
            is_temporary: false,
            is_incomplete: false,
            lines,
        }
    }
}

/// Makes a value of all files of a source, or gives a line for each of the first problems.
type Load<T, P> = Box<dyn Fn(Vec<&P>) -> Result<T, Vec<String>> + Send + Sync>;

/// A source of files, each of which is parsed when it is read (`P`), and the value that was made of all of them (`T`).
pub(crate) struct Source<T, P> {
    kind: FileKind,
    uri: FilesUri,
    client: Client,
    interval: Duration,
    load: Load<T, P>,
    /// `None`: nothing has been loaded yet.
    current: RwLock<Option<Arc<T>>>,
    last_look: Mutex<LastLook<P>>,
}

/// The result of the last look at the source.
#[derive(Debug)]
struct LastLook<P> {
    /// `None`: the next look is due at once.
    at: Option<Instant>,
    files: ReadFiles<P>,
    /// Why these files are not in use.
    broken: Option<LoadError>,
}

impl<T, P> fmt::Debug for Source<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("kind", &self.kind)
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl<T, P> Source<T, P> {
    /// A source from which nothing has been read yet.
    pub(crate) fn new(
        kind: FileKind,
        uri: FilesUri,
        client: Client,
        parse: impl Fn(File) -> P + Send + Sync + 'static,
        load: impl Fn(Vec<&P>) -> Result<T, Vec<String>> + Send + Sync + 'static,
    ) -> Source<T, P> {
        Source {
            kind,
            uri,
            client,
            interval: INTERVAL,
            load: Box::new(load),
            current: RwLock::new(None),
            last_look: Mutex::new(LastLook {
                at: None,
                files: ReadFiles::parsed_by(parse),
                broken: None,
            }),
        }
    }

    /// `None`: nothing has been loaded yet.
    fn current(&self) -> Option<Arc<T>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(Arc::clone)
    }

    async fn refresh(&self, limit: Duration) -> Result<Refresh, LoadError> {
        let mut last = self.last_look.lock().await;
        let LastLook { at, files, broken } = &mut *last;
        if at.is_some_and(|at| at.elapsed() < self.interval) {
            return Ok(Refresh::NotDue);
        }
        files.begin();
        let read = timeout(limit, read(self.kind, &self.uri, &self.client, files)).await;
        *at = Some(clock::instant());
        match read {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                files.load_again();
                return Err(LoadError::unreadable(self.kind, &error));
            }
            Err(_) => {
                files.load_again();
                // What has got further goes on. What has not, because S3 does not respond, waits.
                if files.progress().is_some() {
                    *at = None;
                }
                return Err(LoadError::incomplete(self.kind, &self.uri, files, limit));
            }
        }
        let Some(parsed) = files.take_changed() else {
            return broken.clone().map_or(Ok(Refresh::InUse), Err);
        };
        match (self.load)(parsed) {
            Ok(value) => {
                *broken = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) =
                    Some(Arc::new(value));
                Ok(Refresh::InUse)
            }
            Err(lines) => {
                let error = LoadError::broken(self.kind, lines);
                *broken = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// What is in use: what a source contains, or until that is loaded, a value without files.
#[derive(Debug)]
pub struct Loaded<T, P> {
    without_files: WithoutFiles<T>,
    source: Option<Source<T, P>>,
}

/// A value that is made when it is first used.
pub(crate) type WithoutFiles<T> = LazyLock<Arc<T>, Box<dyn FnOnce() -> Arc<T> + Send>>;

impl<T, P> Loaded<T, P> {
    pub(crate) fn of(without_files: WithoutFiles<T>, source: Option<Source<T, P>>) -> Loaded<T, P> {
        Loaded {
            without_files,
            source,
        }
    }

    /// Sets the shortest time between two refreshes.
    #[must_use]
    pub fn refreshed_every(mut self, interval: Duration) -> Loaded<T, P> {
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
    /// Reading ends after `limit`, and the next refresh continues it without waiting for a minute.
    ///
    /// # Errors
    /// The files cannot be read, or not used. What was in use stays in use, and each refresh returns the error until
    /// it is fixed.
    pub async fn refresh(&self, limit: Duration) -> Result<Refresh, LoadError> {
        match &self.source {
            Some(source) => source.refresh(limit).await,
            None => Ok(Refresh::NotDue),
        }
    }
}

/// Reads what is missing in `files`.
async fn read<P>(
    kind: FileKind,
    uri: &FilesUri,
    client: &Client,
    files: &mut ReadFiles<P>,
) -> Result<(), ReadError> {
    match uri {
        FilesUri::Folder(path) => folder::read(kind, path, files).await,
        FilesUri::Bucket { bucket, prefix } => {
            bucket::read(kind, client, bucket, prefix, files).await
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
    let mut files = ReadFiles::parsed_by(convert::identity);
    read(kind, uri, client, &mut files).await?;
    Ok(files.into_parsed())
}
