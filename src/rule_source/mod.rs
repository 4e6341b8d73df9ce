//! The source of additional rules: `RULES_URI`, a folder or a prefix in S3.
//!
//! The rules in use are replaced as a whole. If one file is broken, or the files cannot be read, the previous set stays
//! in use and the caller gets the error. The files are checked for changes at most once a minute, after the alerts of
//! an invocation were published, so that no alert waits for it.

mod bucket;
mod files;
mod folder;
mod uri;

use std::{
    sync::{Arc, LazyLock, PoisonError, RwLock},
    thread,
    time::Duration,
};

use aws_sdk_s3::Client;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

pub use files::ReadError;
use files::{Files, versions};
pub use uri::RulesUri;

use crate::clock;
use cloudhsm_alerts_core::rules::{RuleFile, RuleSet, diagnostic::Diagnostic, watched::Watched};

/// The shortest time between two refreshes.
const INTERVAL: Duration = Duration::from_secs(60);
/// Timeout of a refresh. The next one tries again.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum number of problems that are reported. The others are counted.
const MAX_REPORTED: usize = 5;

/// The result of a refresh without errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The last refresh was less than a minute ago, or there is no `RULES_URI`.
    NotDue,
    /// The rules of `RULES_URI` are in use.
    InUse,
}

/// Why the rules of `RULES_URI` are not in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleLoadError {
    /// They could not be read.
    Unreadable(ReadError),
    /// Some of them cannot be used.
    Broken(Vec<Diagnostic>),
}

impl RuleLoadError {
    /// The stable name in logs and metrics.
    pub fn error_type(&self) -> &'static str {
        match self {
            RuleLoadError::Unreadable(_) => "Rules.Unreadable",
            RuleLoadError::Broken(_) => "Rules.Broken",
        }
    }

    /// Whether a retry can succeed without any fix.
    pub fn is_temporary(&self) -> bool {
        matches!(self, RuleLoadError::Unreadable(error) if error.is_temporary)
    }

    /// One line for each problem.
    pub fn lines(&self) -> Vec<String> {
        match self {
            RuleLoadError::Unreadable(error) => vec![error.to_string()],
            RuleLoadError::Broken(problems) => {
                let mut lines: Vec<String> = problems
                    .iter()
                    .take(MAX_REPORTED)
                    .map(ToString::to_string)
                    .collect();
                if problems.len() > MAX_REPORTED {
                    lines.push(format!("and {} more", problems.len() - MAX_REPORTED));
                }
                lines
            }
        }
    }
}

/// The rules in use, and the source of additional ones.
#[derive(Debug)]
pub struct RuleSource {
    uri: Option<RulesUri>,
    watched: Watched,
    client: Client,
    interval: Duration,
    builtin: Builtin,
    /// The built-in rules together with those of `uri`; `None`: the built-in rules alone are in use.
    current: RwLock<Option<Arc<RuleSet>>>,
    last_refresh: Mutex<LastRefresh>,
}

/// The built-in rules. A thread loads them while the clients are made and before the first invocation arrives. The
/// first use waits for it.
type Builtin = LazyLock<Arc<RuleSet>, Box<dyn FnOnce() -> Arc<RuleSet> + Send>>;

fn builtin(watched: &Watched) -> Builtin {
    let watched = watched.clone();
    let load = move || RuleSet::builtin(&watched);
    // If the thread cannot be started, they are loaded on first use.
    let thread = thread::Builder::new().spawn(load.clone());
    LazyLock::new(Box::new(move || {
        let rules = thread
            .ok()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_else(load);
        match rules {
            Ok(rules) => Arc::new(rules),
            // Not reached: the tests compile these rules, and the names of watched resources are escaped in them.
            Err(problems) => panic!("a built-in rule is malformed: {problems:?}"),
        }
    }))
}

/// The result of the last refresh.
#[derive(Debug, Default)]
struct LastRefresh {
    at: Option<Instant>,
    /// The files that were read last.
    files: Files,
    /// Why these files are not in use, or could not be read again.
    error: Option<RuleLoadError>,
}

impl RuleSource {
    /// The built-in rules, and a source of more, from which nothing has been read yet.
    pub fn new(uri: Option<RulesUri>, watched: Watched, client: Client) -> RuleSource {
        RuleSource {
            uri,
            builtin: builtin(&watched),
            watched,
            client,
            interval: INTERVAL,
            current: RwLock::new(None),
            last_refresh: Mutex::new(LastRefresh::default()),
        }
    }

    /// These rules only, without a source of more.
    pub fn fixed(rules: Arc<RuleSet>, client: Client) -> RuleSource {
        RuleSource {
            uri: None,
            builtin: LazyLock::new(Box::new(move || rules)),
            watched: Watched::default(),
            client,
            interval: INTERVAL,
            current: RwLock::new(None),
            last_refresh: Mutex::new(LastRefresh::default()),
        }
    }

    /// Sets the shortest time between two refreshes.
    #[must_use]
    pub fn refreshed_every(mut self, interval: Duration) -> RuleSource {
        self.interval = interval;
        self
    }

    /// The value of `RULES_URI`.
    pub fn uri(&self) -> Option<&RulesUri> {
        self.uri.as_ref()
    }

    /// The rules in use.
    pub fn current(&self) -> Arc<RuleSet> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(current.as_ref().unwrap_or_else(|| &self.builtin))
    }

    /// Checks the files for changes, unless that was done within the last minute, and loads them if they have changed.
    ///
    /// # Errors
    /// The files cannot be read, or not used. The previous rules stay in use, and each refresh returns the error until
    /// it is fixed.
    pub async fn refresh(&self) -> Result<Refresh, RuleLoadError> {
        let Some(uri) = &self.uri else {
            return Ok(Refresh::NotDue);
        };
        let mut last = self.last_refresh.lock().await;
        if last.at.is_some_and(|at| at.elapsed() < self.interval) {
            return Ok(Refresh::NotDue);
        }
        let found = timeout(TIMEOUT, self.read(uri, &last.files))
            .await
            .unwrap_or_else(|_| {
                Err(ReadError {
                    at: uri.to_string(),
                    message: format!("could not be read within {} seconds", TIMEOUT.as_secs()),
                    is_temporary: true,
                })
            });
        last.at = Some(clock::instant());
        let files = match found {
            Ok(files) => files,
            Err(error) => {
                // Makes the next refresh compile the files again, even if they have not changed.
                last.error = Some(RuleLoadError::Unreadable(error.clone()));
                return Err(RuleLoadError::Unreadable(error));
            }
        };
        let is_unchanged = versions(&files).eq(versions(&last.files));
        if is_unchanged && !matches!(last.error, Some(RuleLoadError::Unreadable(_))) {
            return last.error.clone().map_or(Ok(Refresh::InUse), Err);
        }
        let rule_files: Vec<RuleFile> = files.values().map(|(_, file)| file.clone()).collect();
        last.files = files;
        match RuleSet::with(&rule_files, &self.watched) {
            Ok(set) => {
                tracing::info!(uri = %uri, files = rule_files.len(), rules = set.len(), filters = set.filters().len(), "rules loaded");
                last.error = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
                Ok(Refresh::InUse)
            }
            Err(problems) => {
                last.error = Some(RuleLoadError::Broken(problems.clone()));
                Err(RuleLoadError::Broken(problems))
            }
        }
    }

    async fn read(&self, uri: &RulesUri, known: &Files) -> Result<Files, ReadError> {
        match uri {
            RulesUri::Folder(path) => folder::read(path, known),
            RulesUri::Bucket { bucket, prefix } => {
                bucket::read(&self.client, bucket, prefix, known).await
            }
        }
    }
}

/// Reads the rule files of a folder or prefix once, for the command line.
///
/// # Errors
/// The files cannot be read.
pub async fn files(uri: &RulesUri, client: &Client) -> Result<Vec<RuleFile>, ReadError> {
    let files = match uri {
        RulesUri::Folder(path) => folder::read(path, &Files::new())?,
        RulesUri::Bucket { bucket, prefix } => {
            bucket::read(client, bucket, prefix, &Files::new()).await?
        }
    };
    Ok(files.into_values().map(|(_, file)| file).collect())
}
