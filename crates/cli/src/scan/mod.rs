//! `scan`: log files through the core, alerts on standard output, talk on standard error. Where the files
//! come from is the business of [`local`] and [`bucket`].

mod bucket;
mod local;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashSet},
    error::Error,
    io::{self, BufWriter, IsTerminal, Read, Write},
    mem::ManuallyDrop,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use cloudhsm_alerts::{counts::Counts, shell};
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
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use jiff::civil::Date;

use crate::{rule_files::AddedRules, terminal::counted};

#[derive(Args)]
pub struct Arguments {
    /// Log files (JSON, gzip or not), folders of them, and s3://bucket/prefix
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What to print of each alert
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Lowest severity to print: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Low)]
    min_severity: Severity,
    /// Names of accounts, such as 111122223333=prod,444455556666=dev
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = Accounts::parse, hide_default_value = true)]
    account_names: Accounts,
    #[command(flatten)]
    added: AddedRules,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line or two for a reader
    Text,
    /// The e-mail a subscriber gets, with its subject
    Email,
    /// The SMS a subscriber gets
    Sms,
    /// The OCSF Detection Finding, one JSON object a line
    Ocsf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // To free them would take as long as a small file does.
    let rules = ManuallyDrop::new(OnceCell::new());
    let progress = progress();
    let mut session = Session {
        arguments,
        loaded: &rules,
        today: shell::today(),
        output: BufWriter::new(io::stdout().lock()),
        progress: &progress,
        told: HashSet::new(),
        report: Report::default(),
        broken_pipe: false,
    };
    for path in &arguments.paths {
        match path.to_str().and_then(|path| path.strip_prefix("s3://")) {
            Some(address) => bucket::scan(address, &mut session)?,
            None => local::scan(path, &mut session)?,
        }
    }
    session.flush()?;
    // Where there was no file, too, whoever wrote a rule wants to hear what is wrong with it.
    session.rules()?;
    let report = session.report;
    progress.finish_and_clear();
    report.print(arguments.min_severity);
    Ok(if report.problems == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a file found in a folder or under a prefix is, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A log file, to be read.
    Read,
    /// CloudTrail's, or another service's, without records of calls.
    Known,
    /// Anything else.
    Other,
}

struct Session<'a, W: Write> {
    arguments: &'a Arguments,
    loaded: &'a OnceCell<RuleSet>,
    today: Date,
    output: W,
    progress: &'a ProgressBar,
    told: HashSet<CallId>,
    report: Report,
    broken_pipe: bool,
}

impl<'a, W: Write> Session<'a, W> {
    /// The rules, loaded when they are first asked for.
    fn rules(&self) -> Result<&'a RuleSet, Box<dyn Error>> {
        if let Some(rules) = self.loaded.get() {
            return Ok(rules);
        }
        let rules = self.arguments.added.load()?;
        Ok(self.loaded.get_or_init(|| rules))
    }

    /// Whether a file found in a folder or under a prefix is to be read; if not, it is counted with the
    /// reason. A file that is named itself is always read.
    fn wants(&mut self, name: &str) -> Wanted {
        let is_json = name.ends_with(".json") || name.ends_with(".json.gz");
        let (reason, wanted) = match Skip::by_name(name) {
            Some(Skip::Directory) => (Skip::Directory.as_str(), Wanted::Other),
            Some(skip) => (skip.as_str(), Wanted::Known),
            None if is_json => return Wanted::Read,
            None => ("neither .json nor .json.gz", Wanted::Other),
        };
        *self.report.skipped.entry(reason).or_default() += 1;
        wanted
    }

    fn problem(&mut self, message: &str) {
        self.progress.suspend(|| self.report.problem(message));
    }

    /// Reads one log file to its end. The first one is read and inflated while the rules are loaded.
    fn scan(
        &mut self,
        source: &Source,
        file: &mut (impl Read + Send),
    ) -> Result<(), Box<dyn Error>> {
        let progress = self.progress.clone();
        let seen = |length| progress.inc(length);
        let mut written = Ok(());
        let (scan, outcome) = with_read_ahead(file, &seen, |file| {
            let mut scan = Scan::new(self.rules()?, self.today);
            let outcome = scan.read(file, &mut |finding| {
                written = self.take(finding, source);
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
            *self.report.skipped.entry(Skip::Empty.as_str()).or_default() += 1;
            return Ok(());
        }
        self.report.files += 1;
        self.report.records += counts.records;
        self.report.unreadable += counts.unreadable;
        self.report.matched += counts.matched;
        self.report.bytes += uncompressed;
        let problems: Vec<String> = scan
            .unreadable()
            .iter()
            .map(ToString::to_string)
            .chain(failure)
            .collect();
        for problem in problems {
            self.problem(&format!("{source}: {problem}"));
        }
        Ok(self.end_of(written)?)
    }

    fn take(&mut self, finding: Finding, source: &Source) -> io::Result<()> {
        self.report.counts.add_suppressed(&finding.suppressed);
        if finding.is_suppressed() {
            self.report.counts.suppressed += 1;
            return Ok(());
        }
        if finding.severity() < self.arguments.min_severity {
            self.report.below_minimum += 1;
            return Ok(());
        }
        if !self.told.insert(CallId::of(&finding.record)) {
            self.report.already_told += 1;
            return Ok(());
        }
        let alert = Alert::new(finding, source, &self.arguments.account_names);
        let text = match self.arguments.format {
            Format::Text => text(&alert),
            Format::Email => format!(
                "Subject: {}\n\n{}\n{}\n",
                email::subject(&alert),
                email::body(&alert),
                "-".repeat(78)
            ),
            Format::Sms => format!("{}\n", sms::body(&alert)),
            Format::Ocsf => format!("{}\n", escaped_json(&ocsf::finding(&alert, true))),
        };
        self.report.printed += 1;
        let output = &mut self.output;
        self.progress.suspend(|| output.write_all(text.as_bytes()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.output.flush();
        self.end_of(flushed)
    }

    /// A reader that has seen enough (`| head`) ends the scan without an error.
    fn end_of(&mut self, written: io::Result<()>) -> io::Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.broken_pipe = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn text(alert: &Alert) -> String {
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

fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // The template is a constant; were it wrong, the default style would do.
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// What is said on standard error at the end.
#[derive(Default)]
struct Report {
    files: u64,
    bytes: u64,
    records: u64,
    unreadable: u64,
    matched: u64,
    printed: u64,
    below_minimum: u64,
    already_told: u64,
    /// What filters kept back, as the function counts it.
    counts: Counts,
    skipped: BTreeMap<&'static str, u64>,
    problems: u64,
}

impl Report {
    fn problem(&mut self, message: &str) {
        self.problems += 1;
        eprintln!("error: {message}");
    }

    fn print(&self, min_severity: Severity) {
        let mut line = format!(
            "{}, {} of JSON, {}: {} met a rule, {} told",
            counted(self.files, "file"),
            HumanBytes(self.bytes),
            counted(self.records, "record"),
            counted(self.matched, "call"),
            self.printed
        );
        for (count, what) in [
            (
                self.below_minimum,
                format!("{} below {min_severity}", self.below_minimum),
            ),
            (
                self.already_told,
                format!("{} recorded more than once", self.already_told),
            ),
            (
                self.counts.suppressed,
                format!("{} kept back by filters", self.counts.suppressed),
            ),
            (
                self.unreadable,
                format!("{} unreadable", counted(self.unreadable, "record")),
            ),
            (
                self.problems,
                format!("{}, shown above", counted(self.problems, "problem")),
            ),
        ] {
            if count > 0 {
                line.push_str(&format!(", {what}"));
            }
        }
        eprintln!("{line}");
        for (rule, filters) in &self.counts.suppressed_by {
            for (filter, count) in filters {
                eprintln!(
                    "kept back: {} from the rule {}, by the filter {}",
                    counted(*count, "call"),
                    one_line(rule, 100),
                    one_line(filter, 100)
                );
            }
        }
        for (reason, count) in &self.skipped {
            eprintln!("skipped: {}, {reason}", counted(*count, "file"));
        }
    }
}
