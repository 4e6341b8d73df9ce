//! Where rules come from beside those built in: `RULES_URI`, a folder or a prefix in S3.
//!
//! The set in use is one value that changes as a whole. A set with a broken file, or one that cannot be
//! read, never takes its place: what was good stays, and the trouble is handed out to be told. Whether
//! something has changed is asked after an invocation's alerts are out, at most once a minute, so that no
//! alert ever waits for it.

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

/// Between two looks for changes.
const INTERVAL: Duration = Duration::from_secs(60);
/// A look that takes longer than this is given up; the next one tries again.
const PATIENCE: Duration = Duration::from_secs(8);
/// Files of one set. SigmaHQ has a hundred for CloudTrail.
const MAX_FILES: usize = 2000;
/// Bytes of one file.
const MAX_FILE: u64 = 1024 * 1024;
/// Problems told of one set; the first says enough to begin with.
const PROBLEMS_TOLD: usize = 5;

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
    /// Whether another look may succeed without anybody mending anything.
    pub is_temporary: bool,
}

/// What a look for changed rules came to, where nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The last one was less than a minute ago, or there is nowhere to look.
    NotTaken,
    /// The rules found there are in use.
    Good,
}

/// Rule files that are not in use, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// They could not be read.
    Unreadable(ReadError),
    /// Some of them cannot be used.
    Broken(Vec<Problem>),
}

impl Trouble {
    /// The stable name in logs and metrics.
    pub fn error_type(&self) -> &'static str {
        match self {
            Trouble::Unreadable(_) => "Rules.Unreadable",
            Trouble::Broken(_) => "Rules.Broken",
        }
    }

    /// Whether another look may succeed without anybody mending anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Trouble::Unreadable(error) if error.is_temporary)
    }

    /// One line for each file and what is wrong with it.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Trouble::Unreadable(error) => vec![error.to_string()],
            Trouble::Broken(problems) => {
                let mut lines: Vec<String> = problems
                    .iter()
                    .take(PROBLEMS_TOLD)
                    .map(ToString::to_string)
                    .collect();
                if problems.len() > PROBLEMS_TOLD {
                    lines.push(format!("and {} more", problems.len() - PROBLEMS_TOLD));
                }
                lines
            }
        }
    }
}

/// What tells one version of a file from another: an object's ETag, a file's time and size.
type Stamp = String;

/// Rule files by name, each with its stamp.
type Files = BTreeMap<String, (Stamp, RuleFile)>;

/// The rules in use, and the place to look for others.
#[derive(Debug)]
pub struct RuleSource {
    uri: Option<RulesUri>,
    watched: Watched,
    client: Client,
    interval: Duration,
    builtin: Builtin,
    /// What has taken the place of the built-in ones.
    current: RwLock<Option<Arc<RuleSet>>>,
    seen: Mutex<Seen>,
}

/// The built-in rules, put together on a thread of their own while clients are made and work is asked for: whoever
/// needs the rules first waits for what is left to do.
type Builtin = LazyLock<Arc<RuleSet>, Box<dyn FnOnce() -> Arc<RuleSet> + Send>>;

fn builtin(watched: &Watched) -> Builtin {
    let watched = watched.clone();
    let put_together = move || RuleSet::builtin(&watched);
    // Where there can be no thread, they are put together when they are needed.
    let thread = thread::Builder::new().spawn(put_together.clone());
    LazyLock::new(Box::new(move || {
        let rules = thread
            .ok()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_else(put_together);
        match rules {
            Ok(rules) => Arc::new(rules),
            // The tests compile the same rules, and the names of watched things are escaped in them.
            Err(problems) => panic!("a built-in rule is malformed: {problems:?}"),
        }
    }))
}

/// What the last look has found.
#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    files: Files,
    /// What kept the files of the last look from being used.
    trouble: Option<Trouble>,
}

impl RuleSource {
    /// The built-in rules, with the place to look for more. Nothing is read yet, and the rules are still being
    /// put together.
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

    /// Rules that were made before, and nowhere to look for more.
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

    /// The same source, looking for changes no sooner than so long after the last look.
    #[must_use]
    pub fn looking_every(mut self, interval: Duration) -> RuleSource {
        self.interval = interval;
        self
    }

    /// Where more rules are looked for.
    pub fn uri(&self) -> Option<&RulesUri> {
        self.uri.as_ref()
    }

    /// The rules in use.
    pub fn current(&self) -> Arc<RuleSet> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(current.as_ref().unwrap_or_else(|| &self.builtin))
    }

    /// Looks for changed rules, unless that was done within the last minute, and takes them into use as a
    /// whole. `Err`: what keeps the files found from being used; the set that was in use stays.
    ///
    /// # Errors
    /// As long as the files are in trouble, each look says so.
    pub async fn refresh(&self) -> Result<Look, Trouble> {
        let Some(uri) = &self.uri else {
            return Ok(Look::NotTaken);
        };
        let mut seen = self.seen.lock().await;
        if seen.at.is_some_and(|at| at.elapsed() < self.interval) {
            return Ok(Look::NotTaken);
        }
        let found = timeout(PATIENCE, self.read(uri, &seen.files))
            .await
            .unwrap_or_else(|_| {
                Err(ReadError {
                    at: uri.to_string(),
                    message: format!("could not be read within {} seconds", PATIENCE.as_secs()),
                    is_temporary: true,
                })
            });
        seen.at = Some(clock::instant());
        let files = match found {
            Ok(files) => files,
            Err(error) => {
                // The next look reads all of it again.
                seen.trouble = Some(Trouble::Unreadable(error.clone()));
                return Err(Trouble::Unreadable(error));
            }
        };
        let is_known = stamps(&files).eq(stamps(&seen.files));
        if is_known && !matches!(seen.trouble, Some(Trouble::Unreadable(_))) {
            return seen.trouble.clone().map_or(Ok(Look::Good), Err);
        }
        let texts: Vec<RuleFile> = files.values().map(|(_, file)| file.clone()).collect();
        seen.files = files;
        match RuleSet::with(&texts, &self.watched) {
            Ok(set) => {
                tracing::info!(uri = %uri, files = texts.len(), rules = set.len(), filters = set.filters().len(), "rules loaded");
                seen.trouble = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
                Ok(Look::Good)
            }
            Err(problems) => {
                seen.trouble = Some(Trouble::Broken(problems.clone()));
                Err(Trouble::Broken(problems))
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
