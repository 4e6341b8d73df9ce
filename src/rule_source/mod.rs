//! The source of additional rules: `RULES_URI`, a folder or a prefix in S3.
//!
//! The rules in use are replaced as a whole. If one file is broken, or the files cannot be read, the previous set stays
//! in use and the caller gets the error. The files are checked for changes at most once a minute, after the alerts of
//! an invocation were published, so that no alert waits for it.

mod bucket;
mod folder;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    thread,
    time::Duration,
};

use aws_sdk_s3::Client;
use thiserror::Error;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::clock;
use cloudhsm_alerts_core::{
    rules::{RuleFile, RuleSet, problem::Problem, watched::Watched},
    text::one_line,
};

/// The shortest time between two refreshes.
const INTERVAL: Duration = Duration::from_secs(60);
/// Timeout of a refresh. The next one tries again.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum number of files in one set. SigmaHQ has about a hundred for CloudTrail.
const MAX_FILES: usize = 2000;
/// Maximum size of a file, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;
/// Maximum number of problems that are reported. The others are counted.
const MAX_REPORTED: usize = 5;

/// The value of `RULES_URI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesUri {
    /// A folder with its subfolders; in Lambda, of the deployment package or a layer.
    Folder(PathBuf),
    /// Objects whose keys begin with a prefix.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// The prefix. It is empty, ends with a slash, or is the key of one rule file.
        prefix: String,
    },
}

impl FromStr for RulesUri {
    type Err = String;

    fn from_str(text: &str) -> Result<RulesUri, String> {
        let Some(address) = text.strip_prefix("s3://") else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!(
                    "expected a folder or s3://bucket/prefix, found {scheme}://…"
                )),
                None if text.is_empty() => Err("expected a folder or s3://bucket/prefix".into()),
                None => Ok(RulesUri::Folder(text.into())),
            };
        };
        let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
        if bucket.is_empty() {
            return Err(format!("expected s3://bucket/prefix, found {text:?}"));
        }
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') && !is_rule_file(&prefix) {
            prefix.push('/');
        }
        Ok(RulesUri::Bucket {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for RulesUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RulesUri::Folder(path) => f.write_str(&one_line(&path.to_string_lossy(), 1024)),
            RulesUri::Bucket { bucket, prefix } => {
                write!(
                    f,
                    "s3://{}/{}",
                    one_line(bucket, 256),
                    one_line(prefix, 1024)
                )
            }
        }
    }
}

/// Why rule files could not be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{at}: {message}")]
pub struct ReadError {
    /// The folder, file or object.
    pub at: String,
    /// What was found and what was expected.
    pub message: String,
    /// Whether a retry can succeed without any fix.
    pub is_temporary: bool,
}

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
    Broken(Vec<Problem>),
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

/// The version of a file: an object's ETag, or a file's modification time and size.
type Version = String;

/// Rule files by path or key, each with its version.
type Files = BTreeMap<String, (Version, RuleFile)>;

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

fn versions(files: &Files) -> impl Iterator<Item = (&String, &Version)> {
    files.iter().map(|(name, (version, _))| (name, version))
}

/// Whether a file with this name is a rule file. Other files (a README, a LICENSE) are ignored.
fn is_rule_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".yml") || lower.ends_with(".yaml")
}

/// Checks the number of files and the size of one file.
fn check_limits(at: &str, count: usize, bytes: u64) -> Result<(), ReadError> {
    let message = if count > MAX_FILES {
        format!("expected at most {MAX_FILES} rule files, found more; use a folder with rules only")
    } else if bytes > MAX_FILE_SIZE {
        format!("expected a rule file of at most {MAX_FILE_SIZE} bytes, found a larger file")
    } else {
        return Ok(());
    };
    Err(ReadError {
        at: at.to_owned(),
        message,
        is_temporary: false,
    })
}

/// A rule file. Bytes that are not UTF-8 become U+FFFD. Compiling the rules reports the line of that character, and at
/// the same time the problems of all other files.
fn rule_file(name: &str, bytes: &[u8]) -> RuleFile {
    RuleFile {
        name: name.to_owned(),
        text: String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_rules_uri() {
        let bucket = |prefix: &str| {
            Ok(RulesUri::Bucket {
                bucket: "b".into(),
                prefix: prefix.into(),
            })
        };
        for (text, expected) in [
            ("rules", Ok(RulesUri::Folder("rules".into()))),
            ("/opt/rules", Ok(RulesUri::Folder("/opt/rules".into()))),
            ("s3://b", bucket("")),
            ("s3://b/", bucket("")),
            ("s3://b/hsm/rules", bucket("hsm/rules/")),
            ("s3://b/hsm/", bucket("hsm/")),
            ("s3://b/one.yml", bucket("one.yml")),
            (
                "s3:///x",
                Err("expected s3://bucket/prefix, found \"s3:///x\"".to_owned()),
            ),
            (
                "https://example.com/x",
                Err("expected a folder or s3://bucket/prefix, found https://…".to_owned()),
            ),
            (
                "",
                Err("expected a folder or s3://bucket/prefix".to_owned()),
            ),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}
