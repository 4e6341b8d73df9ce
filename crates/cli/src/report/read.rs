//! Reads the log files of a report, several at a time, in whatever order they are found.

use std::{
    fs::File,
    io::{self, Read},
    ops::ControlFlow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use cloudhsm_alerts_core::{
    alert::{Alert, Source, accounts::Accounts},
    call_id::CallId,
    finding::{Finding, Scan},
    fingerprint::Fingerprint,
    log_file::with_read_ahead,
    object::Skip,
    rules::{RuleFile, RuleSet},
    severity::Severity,
};
use indicatif::ProgressBar;
use jiff::Timestamp;

use super::{
    call::{Call, email_of},
    collect::{Class, Collector, Counts, Origin, Rank},
    fact,
};
use crate::filter::Filter;
use crate::scan::found::{AllFound, Found, LogFile};

/// The rule that only a report has.
const KEY_DELETIONS: &str = "report-key-deletions";

/// What all files are read with.
pub(super) struct Reader {
    pub rules: RuleSet,
    /// When filters are in force, and with what deadlines are compared.
    pub now: Timestamp,
    pub accounts: Accounts,
    pub filter: Filter,
    pub min_severity: Severity,
    pub progress: ProgressBar,
}

/// The rule that only a report has, as a file.
pub(super) fn added_rule() -> RuleFile {
    RuleFile {
        name: "report/key_deletions.yml".to_owned(),
        text: include_str!("key_deletions.yml").to_owned(),
    }
}

/// Reads all that is found, `jobs` files at a time.
///
/// # Errors
/// The temporary file cannot be written.
pub(super) fn read_all(
    found: AllFound,
    jobs: usize,
    reader: &Reader,
    collector: Collector,
) -> io::Result<Collector> {
    let shared = Shared {
        reader,
        found: Mutex::new(found),
        collector: Mutex::new(collector),
        reading: AtomicUsize::new(0),
        jobs,
        failure: Mutex::new(None),
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| shared.work());
        }
    });
    match shared
        .failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(shared
            .collector
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)),
    }
}

/// What the threads share.
struct Shared<'r> {
    reader: &'r Reader,
    found: Mutex<AllFound>,
    collector: Mutex<Collector>,
    /// How many files are being read.
    reading: AtomicUsize,
    jobs: usize,
    failure: Mutex<Option<io::Error>>,
}

impl Shared<'_> {
    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_failed(&self) -> bool {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn fail(&self, error: io::Error) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    fn work(&self) {
        while !self.has_failed() {
            let next = self
                .found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            match next {
                None => return,
                Some(Found::Skipped(reason)) => self.collector().skip(reason),
                Some(Found::Error(message)) => self.collector().error(message),
                Some(Found::LogFile(file)) => {
                    self.reading.fetch_add(1, Ordering::Relaxed);
                    self.read(file);
                    self.reading.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn read(&self, file: LogFile) {
        match file {
            LogFile::Input => self.scan(&Source::File("-".into()), &mut io::stdin()),
            LogFile::File(path) => match File::open(&path) {
                Ok(mut file) => self.scan(&Source::File(path), &mut file),
                Err(error) => {
                    let message = format!("{}: {error}", Source::File(path));
                    self.collector().error(message);
                }
            },
            LogFile::Object(object) => {
                let (object, mut body) = *object;
                self.scan(&Source::Object(object), &mut body);
            }
        }
    }

    fn scan(&self, source: &Source, file: &mut (impl Read + Send)) {
        let reader = self.reader;
        let mut not_counted = 0;
        let on_read = |length| reader.progress.inc(length);
        let is_idle = || self.reading.load(Ordering::Relaxed) < self.jobs;
        let (scan, failure) = with_read_ahead(file, &on_read, &is_idle, |file| {
            let mut scan = Scan::new(&reader.rules, reader.now).of_any_form();
            let outcome = scan.read(file, &mut |finding| match self.take(finding, source) {
                Ok(is_counted) => {
                    not_counted += u64::from(!is_counted);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    self.fail(error);
                    ControlFlow::Break(())
                }
            });
            (scan, outcome.err())
        });
        let counts = scan.counts();
        let (compressed, bytes) = scan.bytes();
        let mut collector = self.collector();
        for unreadable in scan.unreadable() {
            collector.error(format!("{source}: {unreadable}"));
        }
        let is_empty = compressed == 0 && failure.is_none();
        if let Some(failure) = failure {
            collector.error(format!("{source}: {failure}"));
        }
        if is_empty {
            collector.skip(Skip::Empty.as_str());
            return;
        }
        collector.deliveries.add(&source.address());
        collector.add_counts(&Counts {
            files: 1,
            compressed,
            bytes,
            records: counts.records,
            unreadable: counts.unreadable,
            matched: counts.matched - not_counted,
            ..Counts::default()
        });
    }

    /// Takes what a report needs of a finding. Returns whether it counts as a match.
    fn take(&self, mut finding: Finding, source: &Source) -> io::Result<bool> {
        let reader = self.reader;
        let (id, time) = (id(&finding), finding.record.event_time());
        let principals = || {
            Alert::new(finding.clone(), source, &reader.accounts)
                .sharing
                .principals
        };
        if let Some(fact) = fact::of(&finding.record, id, principals) {
            self.collector().add_fact(fact);
        }
        finding.rules.retain(|rule| rule.name != KEY_DELETIONS);
        finding
            .suppressed
            .retain(|suppressed| suppressed.rule.name != KEY_DELETIONS);
        if finding.rules.is_empty() && finding.suppressed.is_empty() {
            return Ok(false);
        }
        let name = |id: &str| reader.accounts.name(id);
        let class = if reader.filter.excluded_by(&finding, name).is_some() {
            Class::FilteredOut
        } else if finding.is_suppressed() {
            Class::Suppressed
        } else if finding.severity() < reader.min_severity {
            Class::BelowMinSeverity
        } else {
            Class::Listed
        };
        let rank = Rank::new(finding.severity(), time, id);
        let origin: Origin = (source.address(), finding.record.index());
        if !self.collector().wants(class, rank, &origin) {
            return Ok(true);
        }
        // Without the lock: composing an alert takes much longer than reading a record.
        let alert = Alert::new(finding, source, &reader.accounts);
        let call = Call::of(&alert);
        let text = (class == Class::Listed).then(|| {
            let (subject, email) = email_of(&alert);
            serde_json::json!([subject, email, alert.record.value()]).to_string()
        });
        let text = text.as_ref().map(String::as_bytes);
        self.collector().keep(class, rank, origin, call, text)?;
        Ok(true)
    }
}

/// 128 bits that identify the call.
fn id(finding: &Finding) -> u128 {
    let mut hash = Fingerprint::default();
    hash.add(CallId::of(&finding.record).key());
    u128::from_be_bytes(hash.finish())
}
