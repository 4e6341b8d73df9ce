//! Reads one log file, and formats its alerts. Whether a call was alerted before is known for certain only when the
//! results are printed in order.

use std::{
    fs::File,
    io::{self, Read},
    mem,
    ops::ControlFlow,
    sync::OnceLock,
};

use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_core::{
    alert::{Alert, Source},
    call_id::CallId,
    finding::{Finding, Scan},
    log_file::with_read_ahead,
    object::Skip,
    rules::RuleSet,
};
use indicatif::ProgressBar;
use jiff::Timestamp;

use crate::{as_of::AsOf, filter::Filter};

use super::{found::LogFile, options::Options, queue::Turn, render::render, totals::Totals};

/// Size of the alerts of one file that are kept until its turn to be printed, in bytes.
const MAX_ALERTS: usize = 64 * 1024;

/// An alert that is formatted.
pub(super) struct Rendered {
    pub call: CallId,
    /// The time of the call.
    pub time: Option<Timestamp>,
    pub text: String,
}

/// The result of one log file, or the rest of it after a part of the alerts was printed.
#[derive(Default)]
pub(super) struct FileResult {
    /// The alerts, in file order.
    pub alerts: Vec<Rendered>,
    /// Counts of this file, except of these alerts.
    pub totals: Totals,
    pub errors: Vec<String>,
}

impl FileResult {
    /// Of a file that is not read.
    pub(super) fn skipped(reason: &'static str) -> FileResult {
        let mut result = FileResult::default();
        result.totals.skip(reason);
        result
    }

    /// Of what cannot be read.
    pub(super) fn failed(message: String) -> FileResult {
        FileResult {
            errors: vec![message],
            ..FileResult::default()
        }
    }
}

/// What all files are read with.
pub(super) struct Reader {
    pub(super) options: Options,
    filter: Filter,
    rules: OnceLock<Result<RuleSet, String>>,
    now: Timestamp,
    progress: ProgressBar,
}

impl Reader {
    /// A reader with these options.
    ///
    /// # Errors
    /// The options contradict each other, or name a rule that does not exist.
    pub(super) fn new(
        options: Options,
        progress: ProgressBar,
    ) -> Result<Reader, Box<dyn std::error::Error>> {
        let clock = Clock::default();
        let filter = Filter::new(&options.filter, &clock)?;
        let reader = Reader {
            now: options.as_of.map_or_else(|| clock.now(), AsOf::start),
            options,
            filter,
            rules: OnceLock::new(),
            progress,
        };
        if reader.filter.names_rules() {
            reader.filter.check_rules(reader.rules()?)?;
        }
        Ok(reader)
    }

    /// The rules, loaded on first use.
    ///
    /// # Errors
    /// They cannot be read, or are invalid.
    pub(super) fn rules(&self) -> Result<&RuleSet, String> {
        let load = || self.options.added.load().map_err(|error| error.to_string());
        self.rules.get_or_init(load).as_ref().map_err(Clone::clone)
    }

    /// Reads a log file.
    ///
    /// # Errors
    /// The rules are invalid.
    pub(super) fn read(&self, file: LogFile, turn: &Turn<'_>) -> Result<FileResult, String> {
        match file {
            LogFile::Input => self.scan(&Source::File("-".into()), &mut io::stdin(), turn),
            LogFile::File(path) => match File::open(&path) {
                Ok(mut file) => self.scan(&Source::File(path), &mut file, turn),
                Err(error) => {
                    let message = format!("{}: {error}", Source::File(path));
                    Ok(FileResult::failed(message))
                }
            },
            LogFile::Object(object) => {
                let (object, mut body) = *object;
                self.scan(&Source::Object(object), &mut body, turn)
            }
        }
    }

    fn scan(
        &self,
        source: &Source,
        file: &mut (impl Read + Send),
        turn: &Turn<'_>,
    ) -> Result<FileResult, String> {
        let mut result = FileResult::default();
        let FileResult { alerts, totals, .. } = &mut result;
        let mut size = 0;
        let on_read = |length| self.progress.inc(length);
        let is_idle = || turn.is_processor_idle();
        let (scan, outcome) = with_read_ahead(file, &on_read, &is_idle, |file| {
            let mut scan = Scan::new(self.rules()?, self.now).of_any_form();
            let outcome = scan.read(file, &mut |finding| {
                if let Some(alert) = self.alert(finding, source, turn, totals) {
                    size += alert.text.len();
                    alerts.push(alert);
                }
                if size < MAX_ALERTS {
                    return ControlFlow::Continue(());
                }
                size = 0;
                turn.print(mem::take(alerts))
            });
            Ok::<_, String>((scan, outcome))
        })?;
        let failure = outcome.err().map(|error| error.to_string());
        let counts = scan.counts();
        let (compressed, uncompressed) = scan.bytes();
        if compressed == 0 && failure.is_none() {
            totals.skip(Skip::Empty.as_str());
        } else {
            totals.files = 1;
        }
        totals.records = counts.records;
        totals.unreadable = counts.unreadable;
        totals.matched = counts.matched;
        totals.bytes = uncompressed;
        let unreadable = scan.unreadable().iter().map(ToString::to_string);
        result.errors = unreadable
            .chain(failure)
            .map(|error| format!("{source}: {error}"))
            .collect();
        Ok(result)
    }

    /// The alert of a finding. If there is none, the reason is counted.
    fn alert(
        &self,
        finding: Finding,
        source: &Source,
        turn: &Turn<'_>,
        totals: &mut Totals,
    ) -> Option<Rendered> {
        let names = &self.options.account_names;
        if let Some(option) = self.filter.excluded_by(&finding, |id| names.name(id)) {
            totals.filtered_out.count(option);
            return None;
        }
        for filtered in &finding.suppressed {
            let names = (filtered.rule.name.clone(), filtered.filter.name.clone());
            *totals.suppressed_by.entry(names).or_default() += 1;
        }
        if finding.is_suppressed() {
            totals.suppressed += 1;
            return None;
        }
        if finding.severity() < self.options.min_severity {
            totals.below_min_severity += 1;
            return None;
        }
        let call = CallId::of(&finding.record);
        // Formatting an alert takes much longer than reading a record.
        if turn.is_alerted(&call) {
            totals.duplicates += 1;
            return None;
        }
        let alert = Alert::of_call(finding, call.clone(), source, &self.options.account_names);
        Some(Rendered {
            call,
            time: alert.time,
            text: render(&alert, self.options.format),
        })
    }
}
