//! A scan in progress: reads log files one by one, and writes an alert for each call that is new and severe enough.

use std::{
    cell::OnceCell,
    collections::HashSet,
    error::Error,
    io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write},
    ops::ControlFlow,
};

use clap::{Args, ValueEnum};
use cloudhsm_alerts::clock;
use cloudhsm_alerts_core::{
    alert::{Alert, Source, accounts::Accounts, email, ocsf, sms},
    call_id::CallId,
    finding::{Finding, Scan},
    log_file::with_read_ahead,
    object::Skip,
    rules::RuleSet,
    severity::Severity,
    text::{escaped_json, one_line},
};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;

use super::totals::Totals;
use crate::rule_files::AddedRules;

#[derive(Args)]
pub(super) struct Options {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Lowest severity to print: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Low)]
    pub min_severity: Severity,
    /// Names of accounts, such as 111122223333=prod,444455556666=dev, or a CSV file with the columns account and name
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = account_names, hide_default_value = true)]
    account_names: Accounts,
    #[command(flatten)]
    added: AddedRules,
}

/// Account names: a list, or the path of a CSV file.
fn account_names(text: &str) -> Result<Accounts, String> {
    if text.is_empty() || text.contains('=') {
        return Accounts::parse(text);
    }
    let file = std::fs::read_to_string(text).map_err(|error| {
        format!("expected 111122223333=prod,… or a CSV file, which cannot be read: {error}")
    })?;
    Accounts::parse_csv(&file).map_err(|errors| errors.join("; "))
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Two lines per alert
    Text,
    /// The e-mail with its subject
    Email,
    /// The SMS
    Sms,
    /// The OCSF Detection Finding, one JSON object per line
    Ocsf,
}

/// What a file is, by its name or key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A log file to read.
    LogFile,
    /// A file of CloudTrail or another AWS service without management events.
    Known,
    Other,
}

pub(super) struct Session<'a> {
    options: &'a Options,
    loaded_rules: &'a OnceCell<RuleSet>,
    today: Date,
    output: BufWriter<StdoutLock<'static>>,
    pub progress: &'a ProgressBar,
    alerted: HashSet<CallId>,
    totals: Totals,
    /// Whether the reader of standard output is gone.
    pub broken_pipe: bool,
}

impl<'a> Session<'a> {
    pub fn new(
        options: &'a Options,
        loaded_rules: &'a OnceCell<RuleSet>,
        progress: &'a ProgressBar,
    ) -> Session<'a> {
        Session {
            options,
            loaded_rules,
            today: clock::today(),
            output: BufWriter::new(io::stdout().lock()),
            progress,
            alerted: HashSet::new(),
            totals: Totals::default(),
            broken_pipe: false,
        }
    }

    /// The rules, loaded on first use.
    fn rules(&self) -> Result<&'a RuleSet, Box<dyn Error>> {
        if let Some(rules) = self.loaded_rules.get() {
            return Ok(rules);
        }
        let rules = self.options.added.load()?;
        Ok(self.loaded_rules.get_or_init(|| rules))
    }

    /// What a file in a folder or under a prefix is, by its name. Files that are not read are counted as skipped.
    pub fn classify(&mut self, name: &str) -> FileKind {
        let is_json = name.ends_with(".json") || name.ends_with(".json.gz");
        let (reason, kind) = match Skip::by_name(name) {
            Some(Skip::Directory) => (Skip::Directory.as_str(), FileKind::Other),
            Some(skip) => (skip.as_str(), FileKind::Known),
            None if is_json => return FileKind::LogFile,
            None => ("neither .json nor .json.gz", FileKind::Other),
        };
        *self.totals.skipped.entry(reason).or_default() += 1;
        kind
    }

    /// Prints and counts an error.
    pub fn error(&mut self, message: &str) {
        self.progress.suspend(|| self.totals.error(message));
    }

    /// Reads one log file. A thread reads ahead, so that the rules are loaded while the first file is inflated.
    pub fn scan(
        &mut self,
        source: &Source,
        file: &mut (impl Read + Send),
    ) -> Result<(), Box<dyn Error>> {
        let progress = self.progress.clone();
        let on_read = |length| progress.inc(length);
        let mut written = Ok(());
        let (scan, outcome) = with_read_ahead(file, &on_read, |file| {
            let mut scan = Scan::new(self.rules()?, self.today);
            let outcome = scan.read(file, &mut |finding| {
                written = self.write_alert(finding, source);
                if written.is_ok() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            Ok::<_, Box<dyn Error>>((scan, outcome))
        })?;
        let failure = outcome.err().map(|error| error.to_string());
        let counts = scan.counts();
        let (compressed, uncompressed) = scan.bytes();
        if compressed == 0 && failure.is_none() {
            *self.totals.skipped.entry(Skip::Empty.as_str()).or_default() += 1;
            return Ok(());
        }
        self.totals.files += 1;
        self.totals.records += counts.records;
        self.totals.unreadable += counts.unreadable;
        self.totals.matched += counts.matched;
        self.totals.bytes += uncompressed;
        let errors: Vec<String> = scan
            .unreadable()
            .iter()
            .map(ToString::to_string)
            .chain(failure)
            .collect();
        for error in errors {
            self.error(&format!("{source}: {error}"));
        }
        Ok(self.note_broken_pipe(written)?)
    }

    /// Writes the alert of a finding, or counts why there is none.
    fn write_alert(&mut self, finding: Finding, source: &Source) -> io::Result<()> {
        for filtered in &finding.suppressed {
            let names = (filtered.rule.name.clone(), filtered.filter.name.clone());
            *self.totals.suppressed_by.entry(names).or_default() += 1;
        }
        if finding.is_suppressed() {
            self.totals.suppressed += 1;
            return Ok(());
        }
        if finding.severity() < self.options.min_severity {
            self.totals.below_min_severity += 1;
            return Ok(());
        }
        if !self.alerted.insert(CallId::of(&finding.record)) {
            self.totals.duplicates += 1;
            return Ok(());
        }
        let alert = Alert::new(finding, source, &self.options.account_names);
        let rendered = render(&alert, self.options.format);
        self.totals.alerts += 1;
        let output = &mut self.output;
        self.progress
            .suspend(|| output.write_all(rendered.as_bytes()))
    }

    /// Flushes the output and returns the totals.
    pub fn finish(mut self) -> Result<Totals, Box<dyn Error>> {
        let flushed = self.output.flush();
        self.note_broken_pipe(flushed)?;
        // Reports invalid rules even if there was no log file.
        self.rules()?;
        Ok(self.totals)
    }

    /// Ends the scan without an error when the reader of the output is gone, as with `| head`.
    fn note_broken_pipe(&mut self, written: io::Result<()>) -> io::Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.broken_pipe = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn render(alert: &Alert, format: Format) -> String {
    match format {
        Format::Text => {
            let rules: Vec<&str> = alert.rules.iter().map(|rule| rule.name.as_str()).collect();
            format!(
                "{} {}\n    {} · event {} · {}\n",
                alert.severity.as_str().to_uppercase(),
                alert.sentence(),
                rules.join(", "),
                one_line(&alert.event_id, 256),
                alert.source,
            )
        }
        Format::Email => format!(
            "Subject: {}\n\n{}\n{}\n",
            email::subject(alert),
            email::body(alert),
            "-".repeat(78)
        ),
        Format::Sms => format!("{}\n", sms::body(alert)),
        Format::Ocsf => format!("{}\n", escaped_json(&ocsf::finding(alert, true))),
    }
}

/// A progress bar on standard error, hidden unless that is a terminal.
pub(super) fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
