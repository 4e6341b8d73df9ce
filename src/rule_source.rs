//! The rules in use: the built-in ones, and those of `RULES_URI` if they can be loaded.

use std::{
    sync::{Arc, LazyLock},
    thread,
};

use aws_sdk_s3::Client;

use crate::files::{self, File, FilesUri, Loaded, ReadError, Source, WithoutFiles};
use cloudhsm_alerts_core::{
    rules::{RuleFile, RuleSet, watched::Watched},
    text::FirstLines,
};

/// The rules in use: the built-in ones, together with those of `RULES_URI` once these are loaded.
pub type RuleSource = Loaded<RuleSet>;

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
            Source::new(files::RULES, uri, client, move |files| {
                let files = rule_files(files);
                let set = RuleSet::with(&files, &watched).map_err(|problems| {
                    let lines = problems.iter().map(ToString::to_string);
                    lines.collect::<FirstLines>().into_lines()
                })?;
                tracing::info!(uri = %name, files = files.len(), rules = set.len(), filters = set.filters().len(), "rules loaded");
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

fn rule_files(files: Vec<File>) -> Vec<RuleFile> {
    files
        .into_iter()
        .map(|File { name, text }| RuleFile { name, text })
        .collect()
}

/// Reads the rule files of a folder or prefix once, for the command line.
///
/// # Errors
/// The files cannot be read.
pub async fn read_once(uri: &FilesUri, client: &Client) -> Result<Vec<RuleFile>, ReadError> {
    Ok(rule_files(
        files::read_once(files::RULES, uri, client).await?,
    ))
}
