//! Examines all chains of one region of an account: reads their digest files, checks the log files that they list, and
//! finds log files that none lists.
//!
//! Memory is bounded by one region: a digest file is dropped when its log files are checked, and of a listed log file
//! only a hash of its key is kept.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use cloudhsm_alerts_core::{
    digest::{
        chain::{Examined, HOUR, Outcome, Period, ReadDigest, judge},
        document::{ListedFile, read},
        file_state::FileState,
        finding::{Finding, Problem},
        key::{Chain, DigestKey, log_file_time},
        signature::Keys,
        verdict::{GapReason, Verdict},
    },
    text::one_line,
};
use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio::sync::Semaphore;

use super::{find::Region, keys::KeySource, source::Source, stops};

/// Number of digest files of all regions that are read side by side.
const DIGESTS: usize = 8;
/// Number of log files of all regions that are read side by side.
const FILES: usize = 16;
/// How many public keys are asked for by themselves, because a list for the whole period lacks them.
const MAX_KEYS: usize = 20;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What all regions are examined with.
pub(super) struct Audit {
    pub source: Arc<Source>,
    keys: KeySource,
    period: Period,
    progress: ProgressBar,
    digests: Semaphore,
    files: Semaphore,
}

/// The verdicts on the chains of a region.
pub(super) struct RegionResult {
    pub place: Region,
    pub verdicts: Vec<Verdict>,
    /// Log files of the period, if there is no digest file.
    pub log_files_without_digests: u64,
    pub errors: Vec<String>,
}

/// Keys of log files that digest files list, as hashes with a secret of this process: nobody can choose a name that
/// is taken for another one.
#[derive(Default)]
struct Listed {
    secret: RandomState,
    hashes: Mutex<HashSet<u64>>,
}

impl Listed {
    fn add(&self, key: &str) {
        let hash = self.secret.hash_one(key);
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.insert(hash);
    }

    fn has(&self, key: &str) -> bool {
        let hash = self.secret.hash_one(key);
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.contains(&hash)
    }
}

impl Audit {
    pub(super) fn new(
        source: Arc<Source>,
        keys: KeySource,
        period: Period,
        progress: ProgressBar,
    ) -> Audit {
        Audit {
            source,
            keys,
            period,
            progress,
            digests: Semaphore::new(DIGESTS),
            files: Semaphore::new(FILES),
        }
    }

    /// Examines a region.
    pub(super) async fn region(&self, place: &Region) -> RegionResult {
        let mut result = RegionResult {
            place: place.clone(),
            verdicts: Vec::new(),
            log_files_without_digests: 0,
            errors: Vec::new(),
        };
        let folders = place.folders(self.source.bucket_name());
        let listed = Listed::default();
        let (chains, unknown) = match self.chains(&folders.digest_folder()).await {
            Ok(chains) => chains,
            Err(error) => {
                result.errors.push(error);
                return result;
            }
        };
        let has_chain = !chains.is_empty();
        for (chain, digests) in chains {
            let verdict = self.chain(chain, digests, &listed).await;
            if verdict.digests.found > 0 || !verdict.findings.kept().is_empty() {
                result.verdicts.push(verdict);
            }
        }
        for key in unknown {
            if let Some(verdict) = result.verdicts.first_mut() {
                verdict.findings.add(Finding {
                    problem: Problem::UnknownName,
                    object: Some((folders.bucket.clone(), key)),
                    time: None,
                });
            }
        }
        // The chain has no digest file in the period, and none is due yet.
        if has_chain && result.verdicts.is_empty() {
            return result;
        }
        if let Err(error) = self
            .unlisted(&folders.log_folder(), &listed, &mut result)
            .await
        {
            result.errors.push(error);
        }
        for verdict in &mut result.verdicts {
            verdict.sort();
        }
        result
    }

    /// The digest files of the period by chain, with the one before it, and the first names that are none.
    async fn chains(
        &self,
        folder: &str,
    ) -> Result<(BTreeMap<Chain, Vec<DigestKey>>, Vec<String>), String> {
        let from = self.period.from;
        let after = from.map(|from| day_folder(folder, from, -DAY));
        let mut found = self.digest_keys(folder, after).await?;
        // The last one before the period may be older than a day: nothing was delivered since.
        if found.0.is_empty() && from.is_some() {
            found = self.digest_keys(folder, None).await?;
        }
        Ok(found)
    }

    async fn digest_keys(
        &self,
        folder: &str,
        after: Option<String>,
    ) -> Result<(BTreeMap<Chain, Vec<DigestKey>>, Vec<String>), String> {
        let period = self.period;
        let last = period.to.map(|to| day_folder(folder, to, DAY));
        let mut chains: BTreeMap<Chain, Vec<DigestKey>> = BTreeMap::new();
        let mut unknown = Vec::new();
        let bucket = self.source.bucket_name();
        self.source
            .keys(folder, after, &mut |key| {
                if last.as_ref().is_some_and(|last| is_after(key, last)) {
                    return false;
                }
                let Some(found) = DigestKey::parse(bucket, key) else {
                    if unknown.len() < 100 && !key.ends_with('/') {
                        unknown.push(key.to_owned());
                    }
                    return true;
                };
                let start = found.end.checked_sub(HOUR).unwrap_or(found.end);
                if period.to.is_some_and(|to| start >= to) {
                    return true;
                }
                let is_before =
                    |found: &DigestKey| period.from.is_some_and(|from| found.end <= from);
                let of_chain = chains.entry(found.chain.clone()).or_default();
                // Of those before the period, the last one is kept, and none of a backfill chain.
                if of_chain.last().is_some_and(is_before) {
                    of_chain.pop();
                }
                if !(found.chain.is_backfill && is_before(&found)) {
                    of_chain.push(found);
                }
                true
            })
            .await?;
        chains.retain(|_, digests| !digests.is_empty());
        Ok((chains, unknown))
    }

    /// Examines a chain and judges it.
    async fn chain(&self, chain: Chain, digests: Vec<DigestKey>, listed: &Listed) -> Verdict {
        self.progress.inc_length(digests.len() as u64);
        let ends = digests.iter().map(|digest| digest.end);
        let (first, last) = (ends.clone().min(), ends.max());
        let at = |time: Option<Timestamp>, by: SignedDuration| {
            let time = time.unwrap_or(self.period.now);
            time.checked_add(by).unwrap_or(time)
        };
        let mut keys = self
            .keys
            .of(&chain.region, at(first, -HOUR - HOUR), at(last, HOUR))
            .await;
        let (mut examined, times): (Vec<_>, Vec<_>) = stream::iter(digests)
            .map(|digest| self.digest(digest, &keys, listed))
            .buffered(DIGESTS)
            .unzip()
            .await;
        self.add_keys(&examined, &times, &chain.region, &mut keys)
            .await;
        let verdict = judge(chain.clone(), &mut examined, &keys, &self.period, &[]);
        let stopped = verdict
            .gaps
            .iter()
            .filter(|gap| matches!(gap.reason, GapReason::LoggingStopped(_)));
        let stopped: Vec<_> = stopped.map(|gap| gap.interval.from).collect();
        if stopped.is_empty() {
            return verdict;
        }
        let stops = stops::find(&self.source, &chain, &stopped).await;
        judge(chain, &mut examined, &keys, &self.period, &stops)
    }

    /// Asks for public keys that the list for the whole period lacks: a backfill digest file is signed with the key of
    /// the time at which it was made.
    async fn add_keys(
        &self,
        examined: &[Examined],
        times: &[Timestamp],
        region: &str,
        keys: &mut Keys,
    ) {
        let Keys::Complete(known) = keys else { return };
        let mut missing = BTreeMap::new();
        for (digest, time) in examined.iter().zip(times) {
            if let Outcome::Read(read) = &digest.outcome
                && known.find(read.fingerprint()).is_none()
            {
                missing.insert(read.fingerprint(), *time);
            }
        }
        for (_, time) in missing.into_iter().take(MAX_KEYS) {
            let around = |by| time.checked_add(by).unwrap_or(time);
            let more = self.keys.of(region, around(-HOUR), around(HOUR)).await;
            match more {
                Keys::Complete(more) => known.extend(more),
                Keys::Some(..) => {}
                Keys::Unknown(reason) => {
                    *keys = Keys::Some(
                        std::mem::take(known),
                        format!("CloudTrail's list ({})", one_line(&reason, 300)),
                    );
                    return;
                }
            }
        }
    }

    /// Reads a digest file and checks its log files. With the time for which its public key is listed.
    async fn digest(&self, key: DigestKey, keys: &Keys, listed: &Listed) -> (Examined, Timestamp) {
        let mut time = key.end;
        let outcome = match self.read(&key, &mut time).await {
            Err(outcome) => outcome,
            Ok((mut digest, files)) => {
                // The one before the period is only compared with the next one.
                if self.period.from.is_none_or(|from| key.end > from) {
                    self.check(&key.chain, &mut digest, files, keys, listed)
                        .await;
                }
                Outcome::Read(Box::new(digest))
            }
        };
        self.progress.inc(1);
        (Examined { key, outcome }, time)
    }

    async fn read(
        &self,
        key: &DigestKey,
        time: &mut Timestamp,
    ) -> Result<(ReadDigest, Vec<ListedFile>), Outcome> {
        let _permit = self.digests.acquire().await;
        let object = self
            .source
            .digest(&key.chain.bucket, &key.key())
            .await
            .map_err(Outcome::NotRead)?;
        if let Some(generated) = object.generated.and_then(|text| text.parse().ok()) {
            *time = generated;
        }
        let document = read(&object.bytes).map_err(Outcome::Broken)?;
        let digest = ReadDigest::new(key, &document, object.signature);
        Ok((digest, document.digest.log_files))
    }

    /// Checks the log files of a digest file.
    async fn check(
        &self,
        chain: &Chain,
        digest: &mut ReadDigest,
        files: Vec<ListedFile>,
        keys: &Keys,
        listed: &Listed,
    ) {
        let own = self.source.bucket_name();
        // Nobody but CloudTrail may have other buckets read with these credentials.
        let is_authentic = digest.is_authentic(keys);
        let placement = digest.placement().clone();
        let mut states = stream::iter(files)
            .map(async |file: ListedFile| {
                let (bucket, key) = placement.here(chain, &file.bucket, &file.key);
                if bucket != own && !is_authentic {
                    let reason = format!("it lies in another bucket: {}", one_line(&bucket, 100));
                    return (file, FileState::NotChecked(reason));
                }
                if bucket == own {
                    listed.add(&key);
                }
                let _permit = self.files.acquire().await;
                let state = self.source.check(&bucket, &key, &file.sha256).await;
                (file, state)
            })
            .buffered(FILES);
        while let Some((file, state)) = states.next().await {
            digest.add_file(&file, state);
        }
    }

    /// Finds log files that no digest file lists.
    async fn unlisted(
        &self,
        folder: &str,
        listed: &Listed,
        result: &mut RegionResult,
    ) -> Result<(), String> {
        let period = self.period;
        let after = period
            .from
            .map(|from| day_folder(folder, from, SignedDuration::ZERO));
        let last = period.to.map(|to| day_folder(folder, to, DAY));
        let is_in_period = |key: &str| {
            log_file_time(key).is_none_or(|time| {
                period.from.is_none_or(|from| time >= from) && period.to.is_none_or(|to| time < to)
            })
        };
        let RegionResult {
            verdicts,
            log_files_without_digests,
            ..
        } = result;
        let each = &mut |key: &str| {
            if last.as_ref().is_some_and(|last| is_after(key, last)) {
                return false;
            }
            let is_log_file = key.ends_with(".json.gz") || key.ends_with(".json");
            if !is_log_file || listed.has(key) {
                return true;
            }
            if verdicts.is_empty() {
                *log_files_without_digests += u64::from(is_in_period(key));
                return true;
            }
            let mut is_pending = None;
            for (at, verdict) in verdicts.iter().enumerate() {
                if verdict.chain.is_backfill {
                    continue;
                }
                match verdict.must_list(key) {
                    Some(true) => {
                        verdicts[at].add_unlisted(key);
                        return true;
                    }
                    Some(false) => {}
                    None => is_pending = Some(at),
                }
            }
            if let Some(at) = is_pending {
                verdicts[at].files.pending += 1;
            }
            true
        };
        self.source.keys(folder, after, each).await
    }
}

/// The folder of the day that is so long after a time: `…/2026/11/23`.
fn day_folder(folder: &str, time: Timestamp, by: SignedDuration) -> String {
    let day = time.checked_add(by).unwrap_or(time).to_zoned(TimeZone::UTC);
    format!("{folder}{}", day.strftime("%Y/%m/%d"))
}

/// Whether a key is in the folder of a later day.
fn is_after(key: &str, day: &str) -> bool {
    key.get(..day.len()).is_some_and(|start| start > day)
}
