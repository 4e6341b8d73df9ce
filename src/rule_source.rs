//! The rules in use: the built-in ones, and those of `RULES_URI` if they can be loaded.

use std::{
    sync::{Arc, LazyLock},
    thread,
};

use aws_sdk_s3::Client;
use tracing::{info, warn};

use crate::files::{self, File, FilesUri, Loaded, ReadError, Source, WithoutFiles};
use cloudhsm_alerts_core::{
    rules::{ParsedFile, RuleFile, RuleSet, prefilter::UNBOUND, watched::Watched},
    text::{FirstLines, one_line},
};

/// The rules in use: the built-in ones, together with those of `RULES_URI` once these are loaded.
pub type RuleSource = Loaded<RuleSet, ParsedFile>;

/// The built-in rules. A thread loads them while the clients are made and before the first invocation arrives. The
/// first use waits for it.
fn builtin(watched: &Watched) -> WithoutFiles<RuleSet> {
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

impl RuleSource {
    /// The built-in rules, and a source of more, from which nothing has been read yet.
    pub fn new(uri: Option<FilesUri>, watched: Watched, client: Client) -> RuleSource {
        let builtin = builtin(&watched);
        let files = uri.map(|uri| {
            let name = uri.to_string();
            let parse = {
                let watched = watched.clone();
                move |file| ParsedFile::of(&rule_file(file), &watched)
            };
            Source::new(files::RULES, uri, client, parse, move |files| {
                let count = files.len();
                let set = RuleSet::with_parsed(files, &watched).map_err(|problems| {
                    let lines = problems.iter().map(ToString::to_string);
                    lines.collect::<FirstLines>().into_lines()
                })?;
                let (rules, filters) = (set.len(), set.filters().len());
                match unbound(&set) {
                    None => info!(uri = %name, files = count, rules, filters, "rules loaded"),
                    Some(unbound) => {
                        warn!(uri = %name, files = count, rules, filters, unbound, "rules loaded; {UNBOUND}");
                    }
                }
                Ok(set)
            })
        });
        Loaded::of(builtin, files)
    }

    /// These rules only, without a source of more.
    pub fn fixed(rules: Arc<RuleSet>) -> RuleSource {
        Loaded::of(LazyLock::new(Box::new(move || rules)), None)
    }
}

/// The names of the first rules that do not require an event source, and how many more there are; `None`: there are
/// none.
fn unbound(set: &RuleSet) -> Option<String> {
    const SHOWN: usize = 5;
    let mut rules = set.unbound();
    let more = rules.len().saturating_sub(SHOWN);
    let names: Vec<String> = rules
        .by_ref()
        .take(SHOWN)
        .map(|rule| one_line(&rule.name, 100))
        .collect();
    let names = names.join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names),
        (false, more) => Some(format!("{names} and {more} more")),
    }
}

fn rule_file(File { name, text }: File) -> RuleFile {
    RuleFile { name, text }
}

/// Reads the rule files of a folder or prefix once, for the command line.
///
/// # Errors
/// The files cannot be read.
pub async fn read_once(uri: &FilesUri, client: &Client) -> Result<Vec<RuleFile>, ReadError> {
    let files = files::read_once(files::RULES, uri, client).await?;
    Ok(files.into_iter().map(rule_file).collect())
}
