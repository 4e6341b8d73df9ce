//! Finds the regions of accounts below a prefix that have digest files or log files.
//!
//! A bucket is descended folder by folder, so that its log files need not be listed for it. A prefix may stop anywhere:
//! before `AWSLogs`, or within one account's folder.

use std::{collections::BTreeSet, path::Path};

use aws_sdk_s3::Client;
use cloudhsm_alerts::s3;
use cloudhsm_alerts_core::{digest::key::Chain, text::one_line};
use walkdir::WalkDir;

use super::source::Source;

/// How many folders above `AWSLogs` are looked into.
const MAX_DEPTH: usize = 3;
/// How many folders are listed of one.
const MAX_FOLDERS: usize = 20_000;
/// The folders in which CloudTrail writes.
const FOLDERS: [&str; 2] = ["CloudTrail-Digest", "CloudTrail"];

/// A region of an account: its folders of digest files and log files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region {
    pub prefix: Option<String>,
    pub organization: Option<String>,
    pub account: String,
    pub region: String,
}

impl Region {
    /// The place of a folder or key: `[prefix/]AWSLogs/[o-…/]account/CloudTrail…/region/…`.
    fn of(key: &str) -> Option<Region> {
        let parts: Vec<&str> = key.split('/').collect();
        let root = parts.iter().rposition(|part| *part == "AWSLogs")?;
        let (organization, rest) = match &parts[root + 1..] {
            [first, rest @ ..] if first.starts_with("o-") => (Some((*first).to_owned()), rest),
            rest => (None, rest),
        };
        let [account, folder, region, _, ..] = rest else {
            return None;
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        (is_account && FOLDERS.contains(folder) && !region.is_empty()).then(|| Region {
            prefix: (root > 0).then(|| parts[..root].join("/")),
            organization,
            account: (*account).to_owned(),
            region: (*region).to_owned(),
        })
    }

    /// A chain in these folders, for their names.
    pub(super) fn folders(&self, bucket: &str) -> Chain {
        Chain {
            bucket: bucket.to_owned(),
            prefix: self.prefix.clone(),
            organization: self.organization.clone(),
            account: self.account.clone(),
            region: self.region.clone(),
            trail: String::new(),
            home_region: self.region.clone(),
            is_backfill: false,
        }
    }
}

/// The regions that are wanted, in order.
///
/// # Errors
/// The bucket or folder cannot be listed.
pub(super) async fn regions(
    source: &Source,
    wanted: &impl Fn(&str, &str) -> bool,
) -> Result<Vec<Region>, String> {
    let mut found = BTreeSet::new();
    match source {
        Source::Bucket {
            client,
            bucket,
            prefix,
        } => {
            let search = Search { client, bucket };
            let describe = |error| format!("{}: {error}", source.describe());
            search.descend(prefix, &mut found).await.map_err(describe)?;
        }
        Source::Folder { named, .. } => {
            for entry in WalkDir::new(named).follow_links(true) {
                let entry = entry.map_err(|error| one_line(&error.to_string(), 500))?;
                if entry.file_type().is_file() {
                    found.extend(Region::of(&source.key_of(Path::new(entry.path()))));
                }
            }
        }
    }
    found.retain(|region| wanted(&region.account, &region.region));
    Ok(found.into_iter().collect())
}

struct Search<'s> {
    client: &'s Client,
    bucket: &'s str,
}

impl Search<'_> {
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, s3::FetchError> {
        s3::folders(self.client, self.bucket, prefix, MAX_FOLDERS).await
    }

    /// Descends from a prefix as it was typed.
    async fn descend(
        &self,
        typed: &str,
        found: &mut BTreeSet<Region>,
    ) -> Result<(), s3::FetchError> {
        // Within an account's folder: the region, or all below.
        let whole = format!("{}/", typed.trim_end_matches('/'));
        if let Some(region) = Region::of(&format!("{whole}x")) {
            found.insert(region);
            return Ok(());
        }
        let start = if typed.is_empty() { "" } else { &whole };
        let mut level = vec![start.to_owned()];
        for _ in 0..=MAX_DEPTH + 5 {
            let mut next = Vec::new();
            for folder in &level {
                for below in self.folders(folder).await? {
                    if let Some(region) = Region::of(&format!("{below}x")) {
                        found.insert(region);
                    } else if leads_to_region(&below, start) {
                        next.push(below);
                    }
                }
            }
            level = next;
            if level.is_empty() || level.len() > MAX_FOLDERS {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a folder can have the folder of a region below it.
fn leads_to_region(folder: &str, start: &str) -> bool {
    let parts: Vec<&str> = folder.trim_end_matches('/').split('/').collect();
    match parts.iter().rposition(|part| *part == "AWSLogs") {
        None => {
            let depth = parts.len() - start.trim_end_matches('/').split('/').count();
            depth < MAX_DEPTH
        }
        Some(root) => match &parts[root + 1..] {
            [organization] if organization.starts_with("o-") => true,
            [] | [_] => true,
            [.., last] => FOLDERS.contains(last) || last.len() == 12,
        },
    }
}
