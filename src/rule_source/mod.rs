//! The source of additional rules: `RULES_URI`, a folder or a prefix in S3.
//!
//! The rules in use are one value that changes as a whole. A set with a broken file, or one that cannot be read, is
//! never used: the previous set stays, and the caller gets the error. Changes are looked for after an invocation's
//! alerts are published, at most once a minute, so that no alert waits for it.

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
    rules::{RuleFile, RuleSet, diagnostic::Diagnostic, watched::Watched},
    text::one_line,
};

/// The shortest time between two refreshes.
const INTERVAL: Duration = Duration::from_secs(60);
/// Timeout of a refresh; the next one tries again.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Most files of one set. SigmaHQ has a hundred for CloudTrail.
const MAX_FILES: usize = 2000;
/// Largest file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// Most problems of one set that are reported; the rest is counted.
const MAX_REPORTED: usize = 5;

/// The value of `RULES_URI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesUri {
    /// A folder of this machine (in Lambda, of the package or a layer), with all below it.
    Folder(PathBuf),
    /// Objects whose keys begin with a prefix.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// The prefix, perhaps empty. It ends with a slash unless it is empty, so that it means a folder.
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
    /// What was found, and what was expected.
    pub message: String,
    /// Whether a retry may succeed although nobody fixes anything.
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

    /// Whether a retry may succeed although nobody fixes anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, RuleLoadError::Unreadable(error) if error.is_temporary)
    }

    /// One line for each file and what is wrong with it.
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

/// Identifies a version of a file: an object's ETag, or a file's time and size.
type Stamp = String;

/// Rule files by name, each with its stamp.
type Files = BTreeMap<String, (Stamp, RuleFile)>;

/// The rules in use, and the source of others.
#[derive(Debug)]
pub struct RuleSource {
    uri: Option<RulesUri>,
    watched: Watched,
    client: Client,
    interval: Duration,
    builtin: Builtin,
    /// The rules that replaced the built-in ones.
    current: RwLock<Option<Arc<RuleSet>>>,
    seen: Mutex<Seen>,
}

/// The built-in rules, loaded on another thread while the clients are made and the first invocation is awaited. The
/// first use waits until they are loaded.
type Builtin = LazyLock<Arc<RuleSet>, Box<dyn FnOnce() -> Arc<RuleSet> + Send>>;

fn builtin(watched: &Watched) -> Builtin {
    let watched = watched.clone();
    let load = move || RuleSet::builtin(&watched);
    // If no thread can be started, they are loaded on first use.
    let thread = thread::Builder::new().spawn(load.clone());
    LazyLock::new(Box::new(move || {
        let rules = thread
            .ok()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_else(load);
        match rules {
            Ok(rules) => Arc::new(rules),
            // The tests compile the same rules, and the names of watched things are escaped in them.
            Err(problems) => panic!("a built-in rule is malformed: {problems:?}"),
        }
    }))
}

/// The result of the last refresh.
#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    files: Files,
    /// Why these files are not in use.
    error: Option<RuleLoadError>,
}

impl RuleSource {
    /// The built-in rules, with the source of more. Nothing has been read yet, and the built-in rules are still being
    /// loaded.
    pub fn new(uri: Option<RulesUri>, watched: Watched, client: Client) -> RuleSource {
        RuleSource {
            uri,
            builtin: builtin(&watched),
            watched,
            client,
            interval: INTERVAL,
            current: RwLock::new(None),
            seen: Mutex::new(Seen::default()),
        }
    }

    /// Rules that exist already, without a source of more.
    pub fn fixed(rules: Arc<RuleSet>, client: Client) -> RuleSource {
        RuleSource {
            uri: None,
            builtin: LazyLock::new(Box::new(move || rules)),
            watched: Watched::default(),
            client,
            interval: INTERVAL,
            current: RwLock::new(None),
            seen: Mutex::new(Seen::default()),
        }
    }

    /// The same source with another shortest time between two refreshes.
    #[must_use]
    pub fn refreshed_every(mut self, interval: Duration) -> RuleSource {
        self.interval = interval;
        self
    }

    /// Where more rules come from.
    pub fn uri(&self) -> Option<&RulesUri> {
        self.uri.as_ref()
    }

    /// The rules in use.
    pub fn current(&self) -> Arc<RuleSet> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(current.as_ref().unwrap_or_else(|| &self.builtin))
    }

    /// Loads changed rules, unless that was done within the last minute, and uses them as a whole.
    ///
    /// # Errors
    /// Why the files cannot be used; the previous rules stay in use. The error is repeated until it is fixed.
    pub async fn refresh(&self) -> Result<Refresh, RuleLoadError> {
        let Some(uri) = &self.uri else {
            return Ok(Refresh::NotDue);
        };
        let mut seen = self.seen.lock().await;
        if seen.at.is_some_and(|at| at.elapsed() < self.interval) {
            return Ok(Refresh::NotDue);
        }
        let found = timeout(TIMEOUT, self.read(uri, &seen.files))
            .await
            .unwrap_or_else(|_| {
                Err(ReadError {
                    at: uri.to_string(),
                    message: format!("could not be read within {} seconds", TIMEOUT.as_secs()),
                    is_temporary: true,
                })
            });
        seen.at = Some(clock::instant());
        let files = match found {
            Ok(files) => files,
            Err(error) => {
                // The next refresh reads everything again.
                seen.error = Some(RuleLoadError::Unreadable(error.clone()));
                return Err(RuleLoadError::Unreadable(error));
            }
        };
        let is_known = stamps(&files).eq(stamps(&seen.files));
        if is_known && !matches!(seen.error, Some(RuleLoadError::Unreadable(_))) {
            return seen.error.clone().map_or(Ok(Refresh::InUse), Err);
        }
        let texts: Vec<RuleFile> = files.values().map(|(_, file)| file.clone()).collect();
        seen.files = files;
        match RuleSet::with(&texts, &self.watched) {
            Ok(set) => {
                tracing::info!(uri = %uri, files = texts.len(), rules = set.len(), filters = set.filters().len(), "rules loaded");
                seen.error = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
                Ok(Refresh::InUse)
            }
            Err(problems) => {
                seen.error = Some(RuleLoadError::Broken(problems.clone()));
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

/// The rule files of one place, read once: for the command line.
///
/// # Errors
/// The place cannot be read.
pub async fn files(uri: &RulesUri, client: &Client) -> Result<Vec<RuleFile>, ReadError> {
    let files = match uri {
        RulesUri::Folder(path) => folder::read(path, &Files::new())?,
        RulesUri::Bucket { bucket, prefix } => {
            bucket::read(client, bucket, prefix, &Files::new()).await?
        }
    };
    Ok(files.into_values().map(|(_, file)| file).collect())
}

fn stamps(files: &Files) -> impl Iterator<Item = (&String, &Stamp)> {
    files.iter().map(|(name, (stamp, _))| (name, stamp))
}

/// Whether a name is that of a rule file. Others (a README, a LICENSE) may stand beside them.
fn is_rule_file(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".yml") || lower.ends_with(".yaml")
}

/// Refuses more, or larger files than a rule set has.
fn within_limits(at: &str, count: usize, bytes: u64) -> Result<(), ReadError> {
    let message = if count > MAX_FILES {
        format!("has more than {MAX_FILES} rule files; name a folder that holds rules only")
    } else if bytes > MAX_FILE {
        format!("is larger than {MAX_FILE} bytes, which no rule file is")
    } else {
        return Ok(());
    };
    Err(ReadError {
        at: at.to_owned(),
        message,
        is_temporary: false,
    })
}

/// The text of a file. Bytes that are no UTF-8 are marked, and the file is refused for the mark with its line
/// when its rules are read: one broken file must not keep the others from being looked at.
fn text(at: &str, bytes: &[u8]) -> RuleFile {
    RuleFile {
        name: at.to_owned(),
        text: String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
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
