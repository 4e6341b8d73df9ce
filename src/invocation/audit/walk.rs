//! Walking along a chain of digest files: from the one whose notification came, back to the newest one that was looked
//! at before. So a digest file whose notification was lost is looked at with the next one.
//!
//! A walk only reads. What must be done about it is its result.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use cloudhsm_alerts_core::{
    alert::trail::{Kind, TrailFinding},
    digest::{
        chain::HOUR,
        document::Document,
        finding::{Problem, Weight},
        key::{Chain, DigestKey},
        place::Placement,
        verdict::Interval,
    },
    log_file::Sha256,
    object::ObjectRef,
    text::hex,
};
use jiff::{Timestamp, tz::TimeZone};
use tracing::{info, warn};

use crate::{
    audit::{
        digest::{self, Authenticity, Fetched},
        files::{self, ReadFiles},
        keys::{KeyCache, Wanted},
    },
    failure::Failure,
    invocation::reading::Shared,
    s3::{self, FetchError},
    watch::{Arrival, Watch},
};

/// Most digest files that one walk looks at: so many hours are the items of log files kept.
const MAX_STEPS: usize = 72;

/// Most days before a starting digest file in which an earlier one is looked for.
const MAX_DAYS: usize = 14;
/// Most log files that are read because of one notification: their names take some twenty megabytes. A retry reads the
/// others.
const MAX_UNSEEN: usize = 20_000;

/// A log file that nobody has read.
pub(super) struct Unseen {
    pub(super) object: ObjectRef,
    /// The hash that it must have.
    pub(super) sha256: Sha256,
    pub(super) list: Arc<List>,
}

/// The digest file that lists a log file.
pub(super) struct List {
    pub(super) chain: Chain,
    pub(super) interval: Interval,
    /// Whether its signature was verified. Without that, nothing that it says is a finding.
    pub(super) is_authentic: bool,
}

/// The result of a walk.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) findings: Vec<TrailFinding>,
    pub(super) unseen: Vec<Unseen>,
    /// How many more there are.
    pub(super) left: usize,
    /// The digest files, the newest first.
    pub(super) arrivals: Vec<Arrival>,
    pub(super) digests: u64,
    pub(super) not_verified: u64,
    pub(super) proved: u64,
    pub(super) not_checked: u64,
}

pub(super) struct Walk<'a> {
    shared: Shared<'a>,
    watch: &'a Watch,
    keys: &'a mut KeyCache,
    files: &'a ReadFiles,
    /// The hashes of what this invocation has read.
    read: HashMap<String, String>,
    pub(super) walked: Walked,
}

// Boxed, because it is large and rare.
type Failed = Box<Failure>;

impl<'a> Walk<'a> {
    pub(super) fn new(
        shared: Shared<'a>,
        watch: &'a Watch,
        keys: &'a mut KeyCache,
        files: &'a ReadFiles,
        read: HashMap<String, String>,
    ) -> Walk<'a> {
        Walk {
            shared,
            watch,
            keys,
            files,
            read,
            walked: Walked::default(),
        }
    }

    /// Walks from a digest file back.
    pub(super) async fn from(&mut self, object: &ObjectRef, key: DigestKey) -> Result<(), Failed> {
        let chain = key.chain.clone();
        let known = self.watch.chain(&chain).await.map_err(Failure::Watch)?;
        let known_end = known.map(|known| known.newest.end);
        let mut fetched = match digest::fetch(self.shared.client, object, &key).await {
            Ok(fetched) => fetched,
            Err(FetchError::NotFound(_)) => {
                let interval = hour_until(key.end);
                let finding = missing(
                    &key,
                    interval,
                    "Its notification came, and the object is not there any more.",
                );
                self.walked.findings.push(finding);
                return Ok(());
            }
            Err(error) => return Err(failed(object, error)),
        };
        for _ in 0..MAX_STEPS {
            let Some(previous) = self.look_at(&fetched, known_end).await? else {
                break;
            };
            fetched = previous;
        }
        Ok(())
    }

    /// Looks at a digest file and the one that it names as its previous one. Returns that, if nobody has looked at it yet.
    async fn look_at(
        &mut self,
        fetched: &Fetched,
        known_end: Option<Timestamp>,
    ) -> Result<Option<Fetched>, Failed> {
        self.walked.digests += 1;
        let key = &fetched.key;
        let document = match &fetched.document {
            Ok(document) => document,
            Err(error) => {
                self.wrong(key, Problem::DigestUnreadable(error.clone()));
                return Ok(None);
            }
        };
        let (from, to) = fetched.signed_within(document);
        let wanted = Wanted {
            region: &key.chain.region,
            fingerprint: &document.digest.fingerprint,
            from,
            to,
        };
        let keys = self.keys.find(wanted, self.shared.now).await;
        let keys = keys.map_err(|error| Failure::PublicKeys {
            region: key.chain.region.clone(),
            error,
        })?;
        let is_authentic = match fetched.authenticity(document, &keys) {
            Authenticity::Authentic => true,
            Authenticity::Unknown(reason) => {
                self.walked.not_verified += 1;
                warn!(
                    region = key.chain.region,
                    "digest files cannot be verified: {reason}"
                );
                self.walked.findings.push(not_verified(key, reason));
                false
            }
            Authenticity::Wrong(problem) => {
                self.wrong(key, problem);
                return Ok(None);
            }
        };
        let placement = Placement::of(key, &document.digest);
        if let Placement::Copied(_) = placement {
            self.walked.findings.push(copied(key, document));
        }
        if !document.is_compressed {
            warn!(key = key.key(), "{}", Problem::DigestUncompressed);
        }
        let list = Arc::new(List {
            chain: key.chain.clone(),
            interval: Interval {
                from: document.digest.start,
                to: document.digest.end,
            },
            is_authentic,
        });
        self.log_files(document, &placement, &list).await?;
        self.walked.arrivals.push(Arrival {
            key: key.clone(),
            start: document.digest.start,
            starts: document.digest.previous.is_none(),
            is_wrong: false,
        });
        self.previous(key, document, &placement, is_authentic, known_end)
            .await
    }

    /// Compares the log files that a digest file lists with what was read.
    async fn log_files(
        &mut self,
        document: &Document,
        placement: &Placement,
        list: &Arc<List>,
    ) -> Result<(), Failed> {
        let chain = &list.chain;
        let folder = chain.account_folder();
        let mut listed = Vec::new();
        let mut ids = BTreeSet::new();
        for file in &document.digest.log_files {
            let (bucket, key) = placement.here(chain, &file.bucket, &file.key);
            // What is elsewhere is not this function's to read.
            if bucket != chain.bucket || !key.starts_with(&folder) {
                self.walked.not_checked += 1;
                continue;
            }
            let id = files::id(&bucket, &key);
            if !self.read.contains_key(&id) {
                ids.insert(id.clone());
            }
            listed.push((file, bucket, key, id));
        }
        let hashes = self.files.hashes(ids.into_iter().collect()).await;
        let hashes = hashes.map_err(Failure::ReadFiles)?;
        for (file, bucket, key, id) in listed {
            let expected = hex(&file.sha256);
            match self.read.get(&id).or_else(|| hashes.get(&id)) {
                Some(hash) if *hash == expected => self.walked.proved += 1,
                Some(_) if !list.is_authentic => self.walked.not_checked += 1,
                Some(hash) => {
                    let detail = format!(
                        "What this function read is not what CloudTrail delivered: its SHA-256 hash is {hash}, and the digest file lists {expected}."
                    );
                    self.walked.findings.push(log_file(
                        Kind::LogFileAltered,
                        list,
                        (bucket, key),
                        detail,
                    ));
                }
                None if self.walked.unseen.len() >= MAX_UNSEEN => self.walked.left += 1,
                None => self.walked.unseen.push(Unseen {
                    object: ObjectRef {
                        bucket,
                        key,
                        version_id: None,
                    },
                    sha256: file.sha256,
                    list: Arc::clone(list),
                }),
            }
        }
        Ok(())
    }

    /// Compares the previous digest file with what this one names.
    async fn previous(
        &mut self,
        key: &DigestKey,
        document: &Document,
        placement: &Placement,
        is_authentic: bool,
        known_end: Option<Timestamp>,
    ) -> Result<Option<Fetched>, Failed> {
        let chain = &key.chain;
        let Some(named) = &document.digest.previous else {
            return self.before(key, document.digest.start, known_end).await;
        };
        let (bucket, object_key) = placement.here(chain, &named.bucket, &named.key);
        let previous = match DigestKey::parse(&bucket, &object_key) {
            Some(previous) if previous.chain == *chain => previous,
            _ => {
                info!(
                    key = key.key(),
                    "the previous digest file is in another place, and is not compared"
                );
                return Ok(None);
            }
        };
        let object = ObjectRef {
            bucket,
            key: object_key,
            version_id: None,
        };
        let fetched = match digest::fetch(self.shared.client, &object, &previous).await {
            Ok(fetched) => fetched,
            Err(FetchError::NotFound(_)) => {
                // A replica may get the two in any order.
                if is_authentic && *placement == Placement::Here {
                    let start = document.digest.start;
                    let from = known_end.filter(|end| *end < start);
                    let interval =
                        from.map_or_else(|| hour_until(start), |from| Interval { from, to: start });
                    let detail = format!("The next one, which ends at {}, names it.", key.end);
                    self.walked
                        .findings
                        .push(missing(&previous, interval, &detail));
                }
                return Ok(None);
            }
            Err(error) => return Err(failed(&object, error)),
        };
        if let Some(problem) = fetched.differs(named, &key.key()) {
            if is_authentic && problem.weight() == Weight::Wrong {
                self.walked.findings.push(altered(&previous, &problem));
            }
            return Ok(None);
        }
        let is_unseen = known_end.is_some_and(|end| previous.end > end);
        Ok(is_unseen.then_some(fetched))
    }

    /// The newest digest file before a starting one, if nobody has looked at it yet. Nothing names it, so it is looked for
    /// by its name.
    async fn before(
        &self,
        key: &DigestKey,
        start: Timestamp,
        known_end: Option<Timestamp>,
    ) -> Result<Option<Fetched>, Failed> {
        let Some(known_end) = known_end.filter(|end| *end < start) else {
            return Ok(None);
        };
        let chain = &key.chain;
        let mut day = start.to_zoned(TimeZone::UTC).date();
        let last = known_end.to_zoned(TimeZone::UTC).date();
        for _ in 0..MAX_DAYS {
            let folder = format!("{}{}/", chain.digest_folder(), day.strftime("%Y/%m/%d"));
            let newest = self.newest_below(chain, &folder, known_end, start).await?;
            if let Some(found) = newest {
                let object = ObjectRef {
                    bucket: chain.bucket.clone(),
                    key: found.key(),
                    version_id: None,
                };
                return match digest::fetch(self.shared.client, &object, &found).await {
                    Ok(fetched) => Ok(Some(fetched)),
                    Err(FetchError::NotFound(_)) => Ok(None),
                    Err(error) => Err(failed(&object, error)),
                };
            }
            match day.yesterday() {
                Ok(before) if before >= last => day = before,
                _ => break,
            }
        }
        Ok(None)
    }

    /// The newest digest file of a chain in a folder that ends between two times.
    async fn newest_below(
        &self,
        chain: &Chain,
        folder: &str,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<Option<DigestKey>, Failed> {
        let mut newest: Option<DigestKey> = None;
        let mut page = None;
        loop {
            let listing = s3::list(self.shared.client, &chain.bucket, folder, page).await;
            let listed = match listing {
                Ok(listed) => listed,
                Err(FetchError::Denied(reason)) => {
                    warn!(
                        folder,
                        "digest files before a starting one are not looked for: {reason}"
                    );
                    return Ok(newest);
                }
                Err(error) => {
                    let folder = ObjectRef {
                        bucket: chain.bucket.clone(),
                        key: folder.to_owned(),
                        version_id: None,
                    };
                    return Err(failed(&folder, error));
                }
            };
            let found = listed
                .objects
                .iter()
                .filter_map(|it| DigestKey::parse(&it.object.bucket, &it.object.key))
                .filter(|it| it.chain == *chain && it.end > after && it.end <= until);
            newest = found.chain(newest).max_by_key(|it| it.end);
            page = listed.next;
            if page.is_none() {
                return Ok(newest);
            }
        }
    }

    /// A digest file that CloudTrail did not write so. What it says means nothing.
    fn wrong(&mut self, key: &DigestKey, problem: Problem) {
        self.walked.findings.push(altered(key, &problem));
        self.walked.arrivals.push(Arrival {
            key: key.clone(),
            start: hour_until(key.end).from,
            starts: false,
            is_wrong: true,
        });
    }
}

fn failed(object: &ObjectRef, error: FetchError) -> Failed {
    Box::new(Failure::Object {
        object: object.clone(),
        error,
    })
}

fn hour_until(end: Timestamp) -> Interval {
    Interval {
        from: end.checked_sub(HOUR).unwrap_or(end),
        to: end,
    }
}

fn of_digest(kind: Kind, key: &DigestKey, subject: String, detail: String) -> TrailFinding {
    TrailFinding {
        kind,
        subject,
        account: key.chain.account.clone(),
        region: key.chain.region.clone(),
        chain: Some(key.chain.clone()),
        object: Some((key.chain.bucket.clone(), key.key())),
        interval: Some(hour_until(key.end)),
        detail,
        caller: None,
    }
}

fn address(key: &DigestKey) -> String {
    format!("{}/{}", key.chain.bucket, key.key())
}

fn altered(key: &DigestKey, problem: &Problem) -> TrailFinding {
    let text = problem.to_string();
    let mut letters = text.chars();
    let detail = letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    });
    of_digest(Kind::DigestAltered, key, address(key), detail)
}

fn missing(key: &DigestKey, interval: Interval, why: &str) -> TrailFinding {
    let mut finding = of_digest(
        Kind::DigestMissing,
        key,
        address(key),
        format!("The digest file is missing: deleted, or never delivered. {why}"),
    );
    finding.interval = Some(interval);
    finding
}

fn not_verified(key: &DigestKey, reason: String) -> TrailFinding {
    let mut finding = of_digest(
        Kind::NotVerified,
        key,
        key.chain.region.clone(),
        format!("{reason}."),
    );
    finding.object = None;
    finding
}

fn copied(key: &DigestKey, document: &Document) -> TrailFinding {
    let (bucket, origin) = (&key.chain.bucket, &document.digest.bucket);
    let prefix = |prefix: &Option<String>| prefix.clone().unwrap_or_default();
    let mut finding = of_digest(
        Kind::Copied,
        key,
        format!("{bucket}/{} of {origin}", prefix(&key.chain.prefix)),
        format!(
            "The digest files in the bucket {bucket} say that they were delivered to the bucket {origin}, such as the one that ends at {}.",
            key.end
        ),
    );
    finding.object = None;
    finding.interval = None;
    finding
}

/// A finding about a log file that a digest file lists.
pub(super) fn log_file(
    kind: Kind,
    list: &List,
    (bucket, key): (String, String),
    detail: String,
) -> TrailFinding {
    TrailFinding {
        kind,
        subject: format!("{bucket}/{key}"),
        account: list.chain.account.clone(),
        region: list.chain.region.clone(),
        chain: Some(list.chain.clone()),
        object: Some((bucket, key)),
        interval: Some(list.interval),
        detail,
        caller: None,
    }
}
